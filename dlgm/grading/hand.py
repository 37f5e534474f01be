"""Points and comments that a person gives: the table by_hand.csv, and a notebook with all written answers to read."""

import csv
import difflib
import hashlib
import io
import json
import re
from dataclasses import dataclass, field, replace

from . import roster
from .report import saved, taken

COLUMNS = ["Student", "part", "out of", "points", "comment", "text"]


@dataclass(frozen=True)
class Given:
    """What a person gave for a part: points or None, a comment, the digest of the text that was read, other columns."""

    points: float | None = None
    comment: str = ""
    text: str = ""
    more: tuple = ()

    def outdated(self, part):
        """Whether points were given for another text than what is there now."""
        return self.points is not None and self.text not in ("", digest(part), digest(part)[1:])  # older: no letter


@dataclass
class Hand:
    """(student, part) -> Given. A row counts for any part: it overrules a program, too.

    Attributes:
        delimiter: of the table as it was saved. more: titles of columns that a person added.
    """

    rows: dict = field(default_factory=dict)
    delimiter: str = ","
    more: tuple = ()

    def of(self, student, part):
        """What was given; nothing yet, if there is no row."""
        return self.rows.get((student, part), Given())

    def given(self, result):
        """Whether a person gave points for any part of a result."""
        return any(self.of(result["student"], part["name"]).points is not None for part in result["parts"])

    def called(self, known):
        """The Hand with each row under the name of the student whom it means, who may be spelled in other ways.

        Args:
            known: student -> all names that the student may be called by.
        """
        rows = {key: given for key, given in self.rows.items() if key[0] in known}
        for (student, part), given in self.rows.items():
            if student in known:
                continue
            meant = (roster.who(student, known) or student, part)
            rows[meant if meant not in rows else (student, part)] = given
        return replace(self, rows=rows)

    def points(self, result, part):
        """The points of a part of a result (dicts): a person's, else the program's; None if (again) to be given."""
        given = self.of(result["student"], part["name"])
        if given.outdated(part):
            return None
        return given.points if given.points is not None or part["state"] == "by hand" else part["points"]

    def waiting(self, result):
        """How many parts of a result a person has still to mark."""
        return sum(self.points(result, part) is None for part in result["parts"])

    def total(self, result):
        """The points of all parts that have some."""
        return round(sum(self.points(result, part) or 0 for part in result["parts"]), 2)

    def remarks(self, results):
        """Sentences about rows that count for nobody, and about texts that changed after they were marked."""
        known = {(r["student"], p["name"]): p for r in results for p in r["parts"]}
        students = {student for student, _ in known}
        for (student, part), given in self.rows.items():
            if student not in students:
                near = difflib.get_close_matches(student, students, 1, 0.5)
                meant = f" (did you mean {near[0]!r}?)" if near else ""
                yield f"no student is called {student!r}{meant}; that row counts for nobody"
            elif given.outdated(known[student, part]):
                yield (
                    f"{student}: the text of {part} has changed since {given.points:g} points were given for it; "
                    "mark it again and empty the column text"
                )


def guarded(text):
    """Text with an apostrophe in front of what a spreadsheet would take for no text; ``_plain`` takes it off."""
    return "'" + text if taken(text) or _has_guard(text) else text


def _has_guard(text):
    """Whether the apostrophe in front of a text keeps a spreadsheet from taking it for something else."""
    return text[:1] == "'" and (text[1:2] == "'" or taken(text[1:]))


def digest(part):
    """A short mark of a written answer and its pictures; it begins with a letter that no number has."""
    pictures = part.get("pictures") or {}
    read = part["words"] + (json.dumps(pictures, sort_keys=True) if pictures else "")
    return "t" + hashlib.sha256(read.encode(errors="replace")).hexdigest()[:8]


def table(assignment, results, hand):
    """by_hand.csv: a row for each written answer, filled as far as it was; what was entered is never dropped."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=hand.delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow([*COLUMNS, *hand.more])
    found = [(r["student"], part) for r in results for part in r["parts"] if part["state"] == "by hand"]
    written = {(student, part["name"]): digest(part) for student, part in found}
    limits = {part.name: part.points for part in assignment.parts}
    for student, part in sorted({*written, *hand.rows}):
        given = hand.of(student, part)
        text = given.text if given.points is not None and given.text else written.get((student, part), "")
        numbers = [f"{limits[part]:g}", "" if given.points is None else f"{given.points:g}"]
        if hand.delimiter == ";":
            numbers = [number.replace(".", ",") for number in numbers]
        own = [v if v == f"{_number(v) or 0:g}" else guarded(v) for v in given.more]  # a number stays a number
        writer.writerow([guarded(student), part, *numbers, guarded(given.comment), text, *own])
    return "\ufeff" + out.getvalue()  # spreadsheets take a file for UTF-8 only with this mark


def read(path, assignment):
    """The Hand in a table, as a spreadsheet may have saved it.

    Raises:
        ValueError: it is not UTF-8, or rows are wrong; all of them are named.
    """
    if not path.exists():
        return Hand()
    text = saved(path).removeprefix("\ufeff")
    first = io.StringIO(text, newline=None).readline().rstrip()
    hand = Hand(delimiter=max(",;\t", key=first.count))
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=hand.delimiter, strict=True)
    try:
        rows = list(table)
    except csv.Error as error:
        raise ValueError(f"{path}, near line {table.line_num}: {error}") from None
    if not {"Student", "part", "points"} <= set(table.fieldnames or ()):
        raise ValueError(f"{path}: its first line must name Student, part and points; got {first!r}")
    hand.more = tuple(name for name in table.fieldnames if name not in COLUMNS)
    limits, problems = {part.name: part.points for part in assignment.parts}, []
    for line, row in enumerate(rows, 2):
        wanted = ("Student", "part", "points", "comment", "text")
        student, part, points, comment, mark = (_plain(row.get(name)) for name in wanted)
        more = tuple(_plain(row[name]) for name in hand.more)
        if not points and not comment and not any(more):
            continue
        if row.get(None):
            problems.append(f"line {line}: more cells than titles; a comma in a comment needs quotes around it")
        elif part not in limits:
            problems.append(f"line {line}: no part {part!r}; there are {', '.join(limits)}")
        elif (student, part) in hand.rows:
            problems.append(f"line {line}: {student!r} and {part} have a row above already")
        else:
            value = _number(points)
            if points and (value is None or not 0 <= value <= limits[part]):
                problems.append(f"line {line}: {points!r} for {part}; write a number from 0 to {limits[part]:g}")
            hand.rows[student, part] = Given(value, comment, mark, more)
    if problems:
        raise ValueError(f"{path}: " + "; ".join(problems) + "; put these rows right, or delete them, and run again")
    return hand


def _plain(cell):
    """A cell without the spaces and the apostrophe that a spreadsheet's safety put there."""
    text = (cell or "").strip()
    return text[1:] if _has_guard(text) else text


def _number(text):
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


BREAK = "\u200b"  # a space without width
MACROS = r"[egx]?def|(?:future)?let|(?:re)?new[a-z]+|providecommand|Declare[A-Za-z]+|definecolor|require"
ACTS = [  # what a text does beyond itself: for the whole page, to the headings, or by fetching something
    (rf"\\(?=(?:{MACROS})(?![A-Za-z]))", rf"\g<0>{BREAK}"),  # MathJax keeps macros for all cells
    (r"\\label\s*\{[^{}]*\}", ""),  # and refuses a label that another cell has
    (r"<(?=[A-Za-z/!?])|&(?=#?\w+;)", rf"\g<0>{BREAK}"),  # HTML
    (r"!(?=\[)(?!\[[^\[\]]*\]\(\s*<?attachment:)", rf"\g<0>{BREAK}"),  # pictures from elsewhere
    (r"(?m)^[ \t>*+\-\d.)]*(?=#)|^[ \t>]*(?=(?:=+|-+)[ \t]*$)", rf"\g<0>{BREAK}"),  # headings
]


def harmless(text):
    """Markdown of a student as a cell of the teacher's notebook: it changes no other cell and makes no heading."""
    for pattern, instead in ACTS:
        text = re.sub(pattern, instead, text)
    return text


def notebook(assignment, results, hand):
    """by_hand.ipynb, for JupyterLab, which renders formulas: each written part, its model answer and the students'."""
    texts, pictures = [f"# {assignment.title}: written answers\n\nPoints and comments go into `by_hand.csv`."], {}
    for part in assignment.parts:
        if not part.by_hand:
            continue
        texts += [f"## {part.title} (`{part.name}`), {part.points:g} points", part.model]
        for result in sorted(results, key=lambda r: r["student"]):
            for found in result["parts"]:
                if found["name"] == part.name and found["state"] == "by hand":
                    given = hand.of(result["student"], part.name)
                    said = "to be marked" if given.points is None else f"{given.points:g} of {part.points:g}"
                    said += ", given for another text: mark it again" * given.outdated(found)
                    texts += [f"### {harmless(result['student'])} · {said}", harmless(found["words"])]
                    pictures[len(texts) - 1] = found.get("pictures") or {}
    cells = [{"cell_type": "markdown", "id": f"c{i}", "metadata": {}, "source": t} for i, t in enumerate(texts)]
    for i, attachments in pictures.items():
        cells[i] |= {"attachments": attachments} if attachments else {}
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    out = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(out, indent=1) + "\n"
