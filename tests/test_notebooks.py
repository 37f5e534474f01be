"""The committed notebooks are fit to ship, and the command that makes them does not lose or hide anything."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from dlgm.course import notebooks
from dlgm.exercises import modules, of

FOLDER = Path(__file__).parent.parent / "notebooks"
LESSON_FILES = sorted(FOLDER.glob("*.ipynb"))


def write(path, *sources, tags=()):
    cells = [nbformat.v4.new_code_cell(s, metadata={"tags": list(tags)}) for s in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.parametrize("path", LESSON_FILES, ids=lambda p: p.name)
def test_committed_notebooks_are_fit_to_ship(path):
    assert notebooks.faults(path) == []


@pytest.mark.parametrize("path", LESSON_FILES[1:-1], ids=lambda p: p.name)
def test_lessons_have_one_form(path):
    assert re.match(r"(0[1-9]|[12]\d)_", path.name) and notebooks.form(path) == []


def test_what_leaves_the_form_is_said(tmp_path):
    nb = nbformat.read(LESSON_FILES[14], as_version=4)
    guesses = next(i for i, c in enumerate(nb.cells) if c.source.startswith("guess = {"))
    name = re.search(r'"([^"]+)": ', nb.cells[guesses].source).group(1)
    for cell in nb.cells:
        cell.source = cell.source.replace(f'guess["{name}"]', "0").replace("## Exit questions", "## Exit")
        cell.source = cell.source.replace("## 2 ·", "## 7 ·")
    nb.cells[0].source = nb.cells[0].source.replace("**Needs:**", "Needs:")
    nb.cells.insert(1, nbformat.v4.new_markdown_cell("<details> " + "word " * 400 + "CELBO-1 " * 13))
    nb.cells.append(nbformat.v4.new_code_cell('check("nothing", nothing)' + "\nnothing()" * 40))
    for text in ("### Why $x$?", "<details><summary>What is $x$?</summary></details>", "$x_t=\\alpha x_0$"):
        nb.cells.append(nbformat.v4.new_markdown_cell(text))
    wide = nbformat.v4.new_output("stream", text="short\n" + 84 * "-" + "\n" + 83 * "-")
    nb.cells.append(nbformat.v4.new_code_cell("print(table)", outputs=[wide]))
    nbformat.write(nb, tmp_path / "broken.ipynb")
    found, n = "\n".join(notebooks.form(tmp_path / "broken.ipynb")), len(nb.cells) - 1
    for text in (
        "the header lacks **Needs:**", "there is no '## Exit questions'", f"the guess {name!r} is nowhere compared",
        "cell 1 has 4", "cell 1 has 13 labels", "cell 1 opens and closes folds", "nothing is checked, and there is no",
        "41 lines, 20 at most", "sections are numbered [1, 7, 3", f"cell {n - 3} has a formula in a heading",
        f"cell {n - 2} has a formula in a heading", f"cell {n - 1} has a bare alpha",
        f"cell {n} prints a line of 84 characters, 83 at most",
    ):  # fmt: skip
        assert text in found, found
    assert notebooks.main(["--lint", str(tmp_path / "broken.ipynb")]) == 1


@pytest.mark.parametrize("path", LESSON_FILES, ids=lambda p: p.name)
def test_links_between_lessons_and_functions_named_in_them_exist(path):
    import dlgm

    text = "\n".join("".join(c["source"]) for c in json.loads(path.read_text())["cells"])
    for link in re.findall(r"\]\(([\w./-]+\.(?:ipynb|md))\)", text):
        assert (path.parent / link).exists(), link
    for module, name in re.findall(r"`(process|schedules|samplers|gaussian|metrics|oracles|data)\.(\w+)", text):
        assert hasattr(getattr(dlgm, module), name), f"{module}.{name}"


@pytest.mark.parametrize("path", LESSON_FILES, ids=lambda p: p.name)
def test_each_label_of_a_formula_sheet_leads_to_a_function_and_a_test(path):
    text = "\n".join("".join(c["source"]) for c in json.loads(path.read_text())["cells"])
    sheet = re.findall(r"^\| ([A-Z]+-\d+) \|", text.partition("## Formula sheet")[2], flags=re.M)
    root = FOLDER.parent
    for folder in ("dlgm", "tests"):
        code = "\n".join(f.read_text() for f in (root / folder).rglob("*.py") if f.name != "notation.py")
        assert [label for label in sheet if not re.search(rf"\b{label}\b", code)] == []


@pytest.mark.parametrize("lesson", [m for m in modules() if not m.startswith("hw")])
def test_every_exercise_of_the_bank_is_in_its_lesson_and_untouched(lesson):
    found = list(FOLDER.glob(f"[0-9][0-9]_{lesson}.ipynb"))
    assert len(found) == 1, f"dlgm/exercises/{lesson}.py belongs to notebooks/NN_{lesson}.ipynb; found {found}"
    for path in found:
        nb = json.loads(path.read_text())
        code = ["".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "code"]
        for exercise in of(lesson):
            stub = next((s for s in code if f"def {exercise.name}(" in s), "")
            assert stub, f"{path.name} has no cell with def {exercise.name}("
            assert "raise NotImplementedError" in stub
            call = f'check("{exercise.name}", {exercise.name})'
            first = next(c for c in nb["cells"] if "".join(c["source"]).endswith(call))
            assert "not attempted" in first["outputs"][0]["data"]["text/plain"][0]


def test_run_normalise_and_check(tmp_path):
    path = write(tmp_path / "a.ipynb", "x = 1", "import ipywidgets; ipywidgets.IntSlider()", "print(x + 1)")
    assert any("execution count None" in line for line in notebooks.faults(path))
    assert notebooks.main([str(path)]) == 0
    nb = json.loads(path.read_text())
    assert nb["cells"][2]["outputs"][0]["text"] == ["2\n"] or nb["cells"][2]["outputs"][0]["text"] == "2\n"
    assert notebooks.WIDGET_VIEW not in path.read_text() and "widgets" not in nb["metadata"]
    assert not any("execution" in c["metadata"] for c in nb["cells"])
    first = path.read_bytes()
    assert notebooks.main([str(path)]) == 0 and path.read_bytes() == first  # running again changes nothing


def test_progress_bars_leave_no_trace(tmp_path):
    path = write(
        tmp_path / "bar.ipynb",
        "import tqdm.auto\nfor i in tqdm.auto.tqdm(range(3), leave=False): print(i)",
        "import tqdm\nfor _ in tqdm.tqdm(range(3)): pass",
    )
    assert notebooks.main([str(path)]) == 0
    first, second = json.loads(path.read_text())["cells"]
    assert ["".join(o["text"]) for o in first["outputs"]] == ["0\n1\n2\n"] and second["outputs"] == []


def test_a_failing_notebook_is_left_as_it_was(tmp_path, capsys):
    path = write(tmp_path / "b.ipynb", "1 / 0")
    before = path.read_bytes()
    assert notebooks.main([str(path)]) == 1
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert notebooks.main([str(tmp_path / "missing.ipynb")]) == 1


@pytest.mark.parametrize(
    "source, word",
    [
        ("import warnings; warnings.warn('careful')", "warning"),
        ("print('/ho' 'me/somebody/file')", "path of a machine"),
        ("import matplotlib.pyplot as plt", "pyplot"),
        ("from IPython.display import Image, display\nimport io\nfrom PIL import Image as P\nb = io.BytesIO()\n"
         "P.new('L', (2, 2)).save(b, 'PNG')\ndisplay(Image(b.getvalue()))", "alternative text"),
        ("from IPython.display import Image, display\nimport io\nfrom PIL import Image as P\nb = io.BytesIO()\n"
         "P.new('L', (2, 2)).save(b, 'PNG')\ndisplay(Image(b.getvalue(), alt='a dot'))", "does not stand beside it"),
        ("print('x' * 1_600_000)", "kB"),
    ],
)  # fmt: skip
def test_each_fault_is_seen(tmp_path, source, word):
    path = write(tmp_path / "c.ipynb", source)
    notebooks.main([str(path)])
    assert any(word in line for line in notebooks.faults(path))


def test_words_counts_prose_only(tmp_path):
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("Two words $x+y$ <b>and</b> [more](a/b.md) $$z$$")]
    )
    assert notebooks.words(nb) == 4
