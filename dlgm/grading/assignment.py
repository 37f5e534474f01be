"""An assignment: a notebook in nbgrader's cell metadata, whose parts are exercises of the bank or marked by hand."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from .. import exercises

ROOT = Path(__file__).resolve().parents[2] / "notebooks" / "homework"
YOURS = "*Your answer here.*"  # what a student finds in place of a model answer


@dataclass(frozen=True)
class Part:
    """One graded part.

    Attributes:
        name: of the answer cell, and of the exercise unless the part is marked by hand.
        points: at most. by_hand: whether a person marks it. title: the heading above it. model: the model answer, if a
            person marks it.
    """

    name: str
    points: float
    by_hand: bool
    title: str = ""
    model: str = ""

    @property
    def exercise(self):
        """The exercise in the bank."""
        return exercises.find(self.name)


@dataclass(frozen=True)
class Assignment:
    """A notebook and its parts in order; ``setup`` is the code of its locked cells."""

    name: str
    notebook: dict
    parts: tuple[Part, ...]
    setup: tuple[str, ...]

    @property
    def title(self):
        """The first heading of the notebook."""
        return next(headings(self.notebook["cells"][:1]), self.name)

    @property
    def points(self):
        """The points of all parts."""
        return sum(part.points for part in self.parts)


def meta(cell):
    """nbgrader's metadata of a cell, {} where there is none."""
    metadata = cell.get("metadata")
    found = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


def source(cell):
    """The text of a cell."""
    text = cell.get("source", "")
    return "".join(v for v in text if isinstance(v, str)) if isinstance(text, list) else str(text)


def headings(cells):
    """The headings of some cells, without what stands in brackets behind them."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            yield from re.findall(r"(?m)^#+ +(.*?)(?: *\([^()]*\))? *$", source(cell))


def masters():
    """The names of the assignments that ship."""
    return sorted(path.stem for path in (ROOT / "source").glob("*.ipynb"))


def nowhere():
    """What to do where no assignment is beside the package."""
    return (
        f"no master is in {ROOT / 'source'}; homework and data are in the course's folder and not in an installed "
        "package: install with `pip install -e .` there, or give a master's path"
    )


def guess(text):
    """The name of the shipped assignment that a notebook's text was made from, by its labels; None if none fits."""
    found = {name: sum(f'"{part.name}"' in text for part in load(name).parts) for name in masters()}
    best = max(found, key=found.get, default=None)
    return best if best and found[best] else None


def load(name):
    """The assignment of that name, or in the master notebook at that path.

    Raises:
        ValueError: there is none, or its metadata do not fit together.
    """
    path = Path(name) if str(name).endswith(".ipynb") else ROOT / "source" / f"{name}.ipynb"
    if not path.is_file():
        raise ValueError(
            f"no assignment {str(name)!r}; "
            + (f"there are {', '.join(masters())}, or give a master's path" if masters() else nowhere())
        )
    return read(json.loads(path.read_text(encoding="utf-8")), path.stem)


def read(notebook, name):
    """An Assignment from a notebook's cells."""
    parts, setup, solutions = [], [], set()
    title = ""
    for cell in notebook["cells"]:
        m, title = meta(cell), [title, *headings([cell])][-1]
        if m.get("solution") and cell["cell_type"] == "code":
            solutions.add(m["grade_id"])
        if m.get("grade") and m.get("solution"):
            parts.append(Part(m["grade_id"], float(m["points"]), True, title, source(cell)))
        elif m.get("grade"):
            answer = m["grade_id"].removeprefix("check_")
            if answer not in solutions:
                raise ValueError(f"{name}: the check {m['grade_id']!r} follows no answer cell called {answer!r}")
            exercise = exercises.find(answer)
            if exercise.hidden is None:
                raise ValueError(f"{name}: {answer!r} has no hidden cases, so it cannot be graded")
            parts.append(Part(answer, float(m["points"]), False, title))
        elif cell["cell_type"] == "code" and not m.get("solution"):
            setup.append(source(cell))
    if len({part.name for part in parts}) < len(parts):
        raise ValueError(f"{name}: two parts have the same grade_id")
    return Assignment(name, notebook, tuple(parts), tuple(setup))
