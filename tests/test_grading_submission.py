"""What is read out of a submission: cells of any type, in pieces, with pictures; which file counts; in real workers."""

import contextlib
import copy
import io
import json
import os
import re
import subprocess
import sys
import time

import pytest
from grading import world

from dlgm.grading import __main__ as cli
from dlgm.grading import assignment, batch, grade, hand, submission

pytestmark = pytest.mark.usefixtures("toy")

SALT = "a secret"
AFFINE, SPREAD = world.SOLUTIONS["affine"], world.SOLUTIONS["spread"]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
OTHER = PIXEL.replace("SK+kcQ", "SK+kcA")


def graded(zygote, toy, tmp_path, content):
    path = world.save(tmp_path / "student.ipynb", content)
    result = grade.grade(zygote, toy, submission.read(path, toy), SALT, "student")
    return {part.name: part for part in result.parts}, " ".join([*result.notes, result.problem])


def with_cells(*cells, name="affine", at=None, **answers):
    """A solved notebook whose cell of this name is replaced by others; own ones carry no label."""
    content = world.notebook(**{**world.SOLUTIONS, **answers})
    place = next(i for i, c in enumerate(content["cells"]) if c["id"] == name)
    content["cells"][place : place + 1] = cells
    return content


def piece(text, kind="code", name="affine"):
    """A piece of an answer cell as JupyterLab splits it: the same label, another id."""
    return {**world.cell(kind, text, grade=False, solution=True, grade_id=name), "id": f"piece-{abs(hash(text))}"}


def own(text, kind="code", **more):
    return {**world.cell(kind, text), "id": f"own-{abs(hash(text))}", **more}


# ---- code -----------------------------------------------------------------------------------------------------------
def three(*texts):
    return [piece(text) for text in texts]


READ = {  # what -> (the cells in place of the answer's, words in the notes)
    "answer as Markdown": ([piece(AFFINE, "markdown")], "no code cell any more"),
    "answer as raw text": ([piece(AFFINE, "raw")], "no code cell any more"),
    "answer as Markdown with a fence": ([piece(f"Mine:\n```python\n{AFFINE}\n```\n", "markdown")], "no code cell"),
    "label lost and Markdown": ([own(AFFINE, "markdown")], ""),
    "helper above": (three("def plus(x):\n    return x + 1", "def affine(x, a):\n    return plus(a * x)"), "twice"),
    "a try below": (three(AFFINE, "import torch\naffine(torch.ones(2), 2.0)"), "twice"),
    "an empty copy below": (three(AFFINE, ""), ""),
    "in three": (three("ONE = 1", "def affine(x, a):\n    return a * x + ONE", "print(ONE)"), "3 times"),
    "split within the function": (three("def affine(x, a):\n    y = a * x", "    return y + 1"), "twice"),
    "a broken try below": (three(AFFINE, "affine(2"), "twice"),
    "a stub below": (three(AFFINE, world.STUB.format("affine")), "twice"),
    "a stub below in the same cell": (three(AFFINE + "\n" + world.STUB.format("affine")), ""),
    "the answer above the stub": ([own(AFFINE), piece(world.STUB.format("affine"))], ""),
    "an unfinished try below": (
        three(AFFINE, "def affine(x, a):\n    y = a * x\n    raise NotImplementedError"), "twice"
    ),
    "merged with the check above": (
        [{**world.cell("code", f'check("affine", affine)\n{AFFINE}', grade=True, grade_id="check_spread"), "id": "x"}],
        "missing or lost its label; its function was found",
    ),
    "indented": ([piece("\n".join(f"    {line}" for line in AFFINE.split("\n")))], ""),
    "annotated": (three("from typing import Callable\ndef _a(x, a, b):\n    return a * x + b\n"
                        "affine: Callable = lambda x, a: _a(x, a, 1)"), ""),
    "a class": (three("def _a(x, a):\n    return a * x + 1\nclass affine:\n    def __new__(cls, x, a):\n"
                      "        return _a(x, a)"), ""),
    "tried and defined": (three("def _a(x):\n    return x + 1\ntry:\n    import numba\n    f = numba.f\n"
                                "except ImportError:\n    def affine(x, a):\n        return _a(a * x)"), ""),
    "made while it runs": (three("def _a(a, x, b):\n    return a * x + b\n"
                                 "globals()['affine'] = lambda x, a: _a(a, x, 1)"), ""),
    "imports in one line": (three(f"import matplotlib.pyplot as plt, math as m\n{AFFINE.replace('1', 'm.cos(0)')}"),
                            "matplotlib cannot be imported"),
    "a list filled": ([own("TERMS = []\ndef f(x):\n    return x + 1"), own("TERMS.append(f)"),
                       piece("def affine(x, a):\n    return TERMS[0](a * x)")], ""),
    "an entry set": ([own("C = {}"), own("C.update(one=1)"),
                      piece("def affine(x, a):\n    return a * x + C['one']")], ""),
    "a tensor changed": ([own("import torch\nONE = torch.zeros(())\nONE.add_(1)"),
                          piece("def affine(x, a):\n    return a * x + ONE")], ""),
    "a class changed": ([own("class Law:\n    pass\nsetattr(Law, 'kl', lambda self, x: x + 1)"),
                         piece("def affine(x, a):\n    return Law().kl(a * x)")], ""),
    "a match": ([own("match 'one':\n    case 'one':\n        ONE = 1"),
                 piece("def affine(x, a):\n    return a * x + ONE")], ""),
    "a no-break space": ([own("NAME = f\"{'1\u00a0nat'}\"\nONE = 1"),
                          piece("def affine(x, a):\n    return a * x + ONE")], ""),
    "a negative view": (three("import torch\ndef affine(x, a):\n"
                              "    return torch.complex(torch.zeros_like(x), -a * x - 1).conj().imag"), ""),
    "timed by a magic": ([own("%time ONE = 1"), piece("def affine(x, a):\n    return a * x + ONE")], ""),
    "many own cells above": ([*(own(f"x{i} = 1") for i in range(400)), piece(AFFINE)], "more than 300 cells"),
    "a long own text above": ([own("x" * 2_100_000, "markdown"), piece(AFFINE)], "2,000,000 characters"),
    "a photo in the text above": ([own(f"![](data:image/png;base64,{'A' * 2_100_000})", "markdown"),
                                   piece(AFFINE)], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_an_answer_is_read_whatever_became_of_its_cell(name, zygote, toy, tmp_path):
    cells, expected = READ[name]
    parts, said = graded(zygote, toy, tmp_path, with_cells(*copy.deepcopy(cells)))
    assert parts["affine"].points == 6 and parts["spread"].points == 4, (parts["affine"].words, said)
    assert expected in said and (expected or "affine is called" not in said), said


def test_the_later_of_two_answers_counts_as_in_the_notebook(zygote, toy, tmp_path):
    wrong = AFFINE.replace("+ 1", "+ 2")
    for cells, points in ((three(wrong, AFFINE), 6), (three(AFFINE, wrong), 0)):
        assert graded(zygote, toy, tmp_path, with_cells(*cells))[0]["affine"].points == points


def test_the_stub_s_line_in_one_branch_costs_that_branch_only(zygote, toy, tmp_path):
    text = "def affine(x, a):\n    if x.ndim == 2:\n        return a * x + 1\n    raise NotImplementedError"
    parts, _ = graded(zygote, toy, tmp_path, world.notebook(text))
    assert parts["affine"].state == "not yet" and parts["affine"].points == round(6 * 3 / 5, 2)
    assert parts["spread"].state == "not attempted"


def test_a_split_locked_cell_is_not_a_changed_one(zygote, toy, tmp_path):
    content = world.notebook(**world.SOLUTIONS)
    setup = content["cells"][1]
    first, second = setup["source"].split("\n")
    content["cells"][1:2] = [{**setup, "source": first}, {**setup, "source": second, "id": "new"}]
    parts, said = graded(zygote, toy, tmp_path, content)
    assert parts["affine"].points == 6 and said == ""
    content["cells"][1]["cell_type"] = "markdown"
    assert graded(zygote, toy, tmp_path, content)[1] == ""


@pytest.mark.parametrize("sheets", [1, 2])
def test_the_old_format_is_read(sheets, zygote, toy, tmp_path):
    cells = world.notebook(**world.SOLUTIONS)["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
    half = len(cells) // sheets
    content = {"worksheets": [{"cells": cells[:half]}, {"cells": cells[half:]}], "nbformat": 3, "metadata": {}}
    parts, _ = graded(zygote, toy, tmp_path, content)
    assert (parts["affine"].points, parts["spread"].points, parts["why"].words) == (6, 4, "What I think.")


def test_a_file_of_an_editor_of_windows_is_read(zygote, toy, tmp_path):
    text = json.dumps(world.notebook(**world.SOLUTIONS, written="Größer."), ensure_ascii=False)
    path = tmp_path / "s.ipynb"
    path.write_bytes(text.encode("cp1252"))
    assert submission.read(path, toy).text["why"] == "Größer."


def test_experiments_do_not_use_up_the_time_of_the_answers(zygote, toy, tmp_path, monkeypatch):
    """A slow cell is run once, then without what no answer needs; what an answer needs is run each time."""
    monkeypatch.setattr(grade, "SLOW", 0.1)
    asked, real = [], type(zygote.worker()).ask
    monkeypatch.setattr(
        "dlgm.grading.sandbox.Worker.ask", lambda self, m, *a: asked.append(m.get("source", "")) or real(self, m, *a)
    )
    slow = "import time\ntime.sleep(0.2)\nlosses = []\nfor k in range(3):\n    losses.append(affine(k, 1))\n"
    helper = "def one():\n    return TABLE['one']\ntime.sleep(0.1)\nTABLE = {}\nTABLE['one'] = 1\n"
    cells = [own(helper.replace("time.", "import time; time.")), piece(AFFINE.replace("+ 1", "+ one()") + "\n" + slow)]
    parts, said = graded(zygote, toy, tmp_path, with_cells(*cells, own(slow)))
    assert parts["affine"].points == 6 and parts["spread"].points == 4 and said == ""
    assert sum("losses.append" in text for text in asked) == 2 and sum("TABLE['one'] = 1" in t for t in asked) == 2


def test_what_answers_need_stays():
    kept = submission.needed(
        ["import torch\nW = torch.ones(3)\nb = W.sum()\nlosses = []\n", "def helper(x):\n    return x * c\n",
         "c = b + 1\ntorch.set_default_dtype(torch.float64)", "losses.append(affine(1))\nx = losses",
         "def register(f):\n    TERMS.append(f)\n    return f\nTERMS = []\nregister(abs)\n",
         "class Law:\n    pass\nLaw.kl = 3\nsetattr(Law, 'a', 1)\nother = 4; y = other"],
        {"affine": "", "f": ""} | dict.fromkeys(("helper", "Law", "TERMS")),
    )  # fmt: skip
    assert [text.split() for text in kept] == [
        text.split()
        for text in (
            "import torch\nW = torch.ones(3)\nb = W.sum()", "def helper(x):\n    return x * c",
            "c = b + 1\ntorch.set_default_dtype(torch.float64)", "",
            "def register(f):\n    TERMS.append(f)\n    return f\nTERMS = []\nregister(abs)",
            "class Law:\n    pass\nLaw.kl = 3\nsetattr(Law, 'a', 1)",
        )
    ]  # fmt: skip
    assert submission.needed(["exec('z = 1')", "y = 2"], {"f"}) == ["exec('z = 1')", "y = 2"]
    assert submission.needed(["a = globals()", "y = 2"], {"a"}, given=1) == ["a = globals()", ""]


def test_the_time_for_running_the_cells_is_its_own(zygote, toy, tmp_path, monkeypatch):
    path = world.save(tmp_path / "s.ipynb", world.notebook(**world.SOLUTIONS))
    session = grade.Session(zygote, toy, submission.read(path, toy))
    end = session.end
    monkeypatch.setattr(session, "_run_all", lambda: time.sleep(0.2) or True)
    session._start()
    assert 0.2 <= session.end - end == pytest.approx(grade.STARTS - session._spare) and session._spare < grade.STARTS
    session._spare, end = 0, session.end
    session._start()
    assert session.end == end


LIBRARIES = [
    "torch.func.linearize(torch.sin, torch.ones(2))", "np.rec.array([1])", "np.char.upper('a')",
    "np.strings.upper('a')",
    "import doctest", "import html", "import pdb", "import decimal", "import enum, contextlib", "import unittest.mock",
    "torch.optim.LBFGS([torch.nn.Parameter(torch.ones(1))])", "torch.fft.fft(torch.ones(3))",
    "torch.distributions.kl_divergence(torch.distributions.Normal(0., 1.), torch.distributions.Normal(1., 1.))",
    "torch.optim.lr_scheduler.StepLR(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 1.), 1)",
    "np.random.default_rng(0).normal()", "np.ma.array([1.]).mean()", "np.einsum('i,i', np.ones(2), np.ones(2))",
]  # fmt: skip


def test_libraries_work_in_a_worker_and_folders_of_the_teacher_stay_unknown(zygote):
    worker = zygote.worker()
    try:
        failed = {}
        for line in LIBRARIES:
            reply = worker.ask({"do": "run", "source": f"import torch\nimport numpy as np\n{line}"}, 10)
            failed |= {line: reply} if "error" in reply else {}
        look = "import sys\ndef look():\n    return [*sys.path, *sys.argv, *sys.orig_argv]"
        worker.ask({"do": "run", "source": look}, 5)
        assert failed == {} and worker.ask({"do": "call", "name": "look", "args": []}, 5)["value"] == [""]
    finally:
        worker.close()
        zygote.stop_worker()


# ---- written answers ------------------------------------------------------------------------------------------------
def why(*cells, after=()):
    content = with_cells(*cells, name="why")
    content["cells"] += after
    return content


def text(content, toy, tmp_path):
    return submission.read(world.save(tmp_path / "s.ipynb", content), toy)


def test_a_written_answer_is_shown_whole(toy, tmp_path):
    def label(words, kind="markdown"):
        return piece(words, kind, "why")

    for content, shown, said in (
        (why(label("One."), label("Two.")), "One.\n\nTwo.", ""),
        (why(label("One."), label("*Your answer here.*")), "One.", ""),
        (why(label("A proof.", "code")), "A proof.", ""),
        (why(label("%%markdown\nA proof.", "code")), "A proof.", ""),
        (why(label("A proof.", "raw")), "A proof.", ""),
        (why(label("See below."), own("My proof.", "markdown")), "See below.\n\nMy proof.", "next to the cell of why"),
        (why(own("My proof.", "markdown"), label("See above.")), "My proof.\n\nSee above.", "next to the cell of why"),
        (why(label("See below."), own("a proof in words")), "See below.\n\na proof in words", "next to the cell"),
        (why(label("One."), own("x = 1")), "One.", ""),
        (why(label("*Your answer here.*"), own("Mine.", "markdown")), "Mine.", "Nothing stands in the cell of why"),
        (why(label("One."), own(" ", "markdown")), "One.", ""),
    ):
        found = text(content, toy, tmp_path)
        assert found.text["why"] == shown and said in " ".join(found.notes), (found.text, found.notes)
        assert said or not found.notes
    found = text(why(label("a" * 30_000)), toy, tmp_path)
    assert "first 20,000 are shown" in found.notes[0] and "Cut here: 20,000 of 30,000" in found.text["why"]


def two_questions(*own_cells):
    """An assignment with two written parts, and a submission with own cells after the first."""
    master = world.master()
    ask = world.cell("markdown", "# Again", grade=False, solution=False, locked=True, grade_id="ask")
    again = world.cell("markdown", "Its model.", grade=True, solution=True, locked=False, grade_id="again", points=5)
    master["cells"] += [ask, again]
    content = world.notebook(**world.SOLUTIONS)
    content["cells"] += [*own_cells, copy.deepcopy(ask), {**again, "source": "*Your answer here.*"}]
    return assignment.read(master, "toy"), content


def test_a_text_next_to_one_answer_is_not_shown_for_another(tmp_path):
    toy, content = two_questions(own("More.", "markdown"))
    found = text(content, toy, tmp_path)
    assert found.text == {"why": "What I think.\n\nMore."}
    content["cells"][-2]["source"] += "\n\nMine, under the question."
    found = text(content, toy, tmp_path)
    assert found.text["again"] == "Mine, under the question." and "Again" not in found.text["again"]


def picture(name="proof.jpg", data=PIXEL):
    return {name: {"image/png": data}}


def test_pictures_travel_and_are_part_of_the_digest(zygote, toy, tmp_path):
    def result(content):
        path = world.save(tmp_path / "s.ipynb", content)
        return grade.grade(zygote, toy, submission.read(path, toy), SALT, "ada").as_dict()

    def part(content):
        return next(p for p in result(content)["parts"] if p["name"] == "why")

    pasted = {**piece("![proof.jpg](attachment:proof.jpg)", "markdown", "why"), "attachments": picture()}
    first = result(why(pasted))
    shown = json.loads(hand.notebook(toy, [first], hand.Hand()))["cells"][-1]
    assert shown["source"] == "![proof.jpg](attachment:proof.jpg)" and shown["attachments"] == picture()
    marks = {
        hand.digest(part(why({**pasted, **change})))
        for change in ({}, {"attachments": picture(data=OTHER)}, {"attachments": {}})
    }
    assert len(marks) == 3
    for inline in (f"![a photo](data:image/png;base64,{PIXEL})", f'<img alt="a" src="data:image/png;base64,{PIXEL}"/>'):
        found = part(why(piece(inline, "markdown", "why")))
        [(name, data)] = found["pictures"].items()
        assert data == {"image/png": PIXEL} and f"](attachment:{name})" in found["words"]
        assert PIXEL not in found["words"]


def test_two_pictures_of_one_name_keep_apart_and_missing_ones_are_said(toy, tmp_path):
    cells = [
        {**piece(f"{word}: ![](attachment:image.png)", "markdown", "why"), "attachments": picture("image.png", data)}
        for word, data in (("one", PIXEL), ("two", OTHER))
    ]
    found = text(why(*cells), toy, tmp_path)
    links = re.findall(r"attachment:([^)]+)", found.text["why"])
    assert [found.pictures["why"][name]["image/png"] for name in links] == [PIXEL, OTHER]
    for words in ("![](attachment:gone.png)", "![](proof.jpg)", "<img src='http://x/y.png'>"):
        found = text(why(piece(words, "markdown", "why")), toy, tmp_path)
        assert "are not in the notebook, so your teacher does not see them" in found.notes[-1]
    odd = {"a": 3, "b.html": {"text/html": "<script>"}, "c d.png": {"image/png": ["iV", "BO\n"]}}
    cell = {**piece("![](attachment:c%20d.png)", "markdown", "why"), "attachments": odd}
    found = text(why(cell), toy, tmp_path)
    assert found.pictures["why"] == {"c d.png": {"image/png": "iVBO"}} and not found.notes


def test_pictures_that_are_too_large_are_said(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "PICTURES", 50)
    cell = {**piece("![](attachment:proof.jpg)", "markdown", "why"), "attachments": picture()}
    found = text(why(cell), toy, tmp_path)
    assert found.pictures["why"] == {} and "they are not shown" in found.notes[0]


# ---- files ----------------------------------------------------------------------------------------------------------
SOLVED = world.notebook(**world.SOLUTIONS)
NOTES = {"cells": [world.cell("code", "x = 1")], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
COUNTS = {  # what -> (files, one in a line, the one that counts first)
    "Canvas, without folders": ["doejane_123_456_toy", "doejane_123_457_zz_scratch"],
    "Canvas, late": ["doejane_LATE_123_456_toy", "doejane_LATE_123_457_zz_scratch"],
    "Canvas, handed in again": ["doejane_123_458_toy-2", "doejane_123_457_toy-1", "doejane_123_456_toy"],
    "Canvas, for the tenth time": ["doejane_123_458_toy-10", "doejane_123_457_toy-9"],
    "Moodle, without folders": [f"Jane Doe_9_assignsubmission_file_{name}" for name in ("toy", "zz")],
    "Moodle, in folders": [f"Jane Doe_9_assignsubmission_file_/{name}" for name in ("toy", "zz")],
    "Blackboard": [f"jane/Homework_jdoe_attempt_2026-11-28-10-00-00_{name}" for name in ("toy", "zz")],
    "Brightspace": [f"jane/12-34 - Jane Doe - Nov 28, 2026 1159 PM - {name}" for name in ("toy", "zz")],
    "a browser's copy": ["jane/toy (1)", "jane/zz"],
    "Windows' copy": ["jane/toy - Copy", "jane/zz"],
    "JupyterLab's copy": ["jane/toy-Copy1", "jane/zz"],
    "a suffix": ["jane/toy-1", "jane/zz"],
    "a second one of the same age": ["jane/toy-1", "jane/toy"],
    "one's own name beside it": ["jane/toy_jane_doe", "jane/zz"],
    "another case": ["jane/Toy", "jane/zz"],
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_notebook_of_the_assignment_counts_under_every_name(name, toy, tmp_path):
    """After a download files are of one age, give or take the seconds that unpacking takes."""
    right, *others = COUNTS[name]
    for later in (0, 1):
        for place in (right, *others):
            path = world.save(tmp_path / f"{place}.ipynb", SOLVED)
            os.utime(path, (2e9 + later * (place != right),) * 2)
        [entry], _ = batch.entries(tmp_path, toy)
        assert entry.path == tmp_path / f"{right}.ipynb" and len(entry.others) == len(others)


def test_of_other_names_the_one_with_labels_counts_then_the_newest(toy, tmp_path):
    def counts(*files):
        for name, content, hours in files:
            path = world.save(tmp_path / str(len(files)) / "jane" / f"{name}.ipynb", content)
            os.utime(path, (2e9, 2e9 + 3600 * hours))
        return batch.entries(tmp_path / str(len(files)), toy)[0][0].path.stem

    assert counts(("mine", SOLVED, 0), ("notes", NOTES, 5)) == "mine"
    assert counts(("mine", SOLVED, 0), ("notes", NOTES, 5), ("later", SOLVED, 1)) == "later"
    empty = world.notebook(written="*Your answer here.*")
    files = ("toy", empty, 9), ("mine", SOLVED, 0), ("notes", NOTES, 5), ("zzz", empty, 9)
    assert counts(*files) == "mine"


@pytest.mark.parametrize("outer", ["", "Download/", "Download/all/", "Section A/"])
def test_a_level_more_and_what_a_mac_leaves_are_no_students(outer, toy, tmp_path):
    world.save(tmp_path / outer / "Jane Doe_1_assignsubmission_file_" / "toy.ipynb", SOLVED)
    world.save(tmp_path / outer / "Bob Ray_2_assignsubmission_file_" / "toy.ipynb", SOLVED)
    world.save(tmp_path / outer / "Bob Ray_2_assignsubmission_file_" / "__MACOSX" / "toy.ipynb", NOTES)
    world.save(tmp_path / "__MACOSX" / "._jane.ipynb", "x")
    world.save(tmp_path / "readme.txt", "x")
    expected = {"Jane Doe_1", "Bob Ray_2"}
    if outer.startswith("Section"):
        world.save(tmp_path / "Section B" / "annpoe_3_4_toy.ipynb", SOLVED)
        world.save(tmp_path / "Section B" / "zoeroe_5_6_toy.ipynb", SOLVED)
        expected |= {"annpoe_3", "zoeroe_5"}
    found, others = batch.entries(tmp_path, toy)
    assert {entry.student for entry in found} == expected and others == ["readme.txt"]
    assert not any(entry.others or entry.more for entry in found)


def test_a_student_s_own_folders_are_nobody_else_s(toy, tmp_path):
    for path in ("eve/Jane Doe_1_assignsubmission_file_/toy", "eve/Bob Ray_2_assignsubmission_file_/toy", "ada/toy"):
        world.save(tmp_path / f"{path}.ipynb", SOLVED)
    assert {entry.student for entry in batch.entries(tmp_path, toy)[0]} == {"ada", "eve"}


@pytest.fixture
def run(tmp_path, zygote, monkeypatch):
    """Grades the folder ``in``; returns the results by student, and the remarks."""
    monkeypatch.setattr(batch, "_here", [zygote])
    source = world.save(tmp_path / "source" / "toy.ipynb", world.master())
    world.save(tmp_path / "in" / "ada.ipynb", SOLVED)

    def run(**options):
        outcome = batch.run(tmp_path / "in", str(source), tmp_path / "out", salt=SALT, **options)
        return {result["student"]: result for result in outcome.results}, outcome.remarks

    return run


def test_no_folder_of_one_student_stops_the_others(run, tmp_path, monkeypatch):
    """1,200 folders in one another, and folders and files that the system does not open."""
    os.mkdir(tmp_path / "in" / "eve")
    here = os.open(tmp_path / "in" / "eve", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("x", dir_fd=here)
        inner = os.open("x", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    world.save(tmp_path / "in" / "bob" / "toy.ipynb", SOLVED)
    (tmp_path / "in" / "closed").mkdir()
    lists, looks = os.listdir, batch.Path.lstat

    def refuses(name, real):
        def call(path, *args):
            if str(path).endswith(name):
                raise PermissionError(13, "Permission denied")
            return real(path, *args)

        return call

    monkeypatch.setattr(os, "listdir", refuses("closed", lists))
    monkeypatch.setattr(batch.Path, "lstat", refuses("bob/toy.ipynb", looks))
    try:
        results, remarks = run(due=batch.due_time("2026-01-01T12:00"))
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "in" / "eve")], check=True)  # pytest's own way is recursive
    assert results["ada"]["points"] == 10 and results["eve"]["problem"] == "Nothing was handed in."
    assert "could not be read (PermissionError)" in results["bob"]["problem"]
    assert results["closed"]["problem"] == "No notebook was handed in, but closed; hand in the .ipynb itself."
    assert "no notebook, but other files: closed (closed)" in remarks


def test_what_was_handed_in_instead_of_a_notebook_is_said(run, tmp_path):
    world.save(tmp_path / "in" / "bob" / "all.zip", "x")
    world.save(tmp_path / "in" / "bob" / "deep" / "essay.pdf", "x")
    world.save(tmp_path / "in" / "doejane_12_34_essay.pdf", "x")
    for i in range(3):
        world.save(tmp_path / "in" / "eve" / f"{i}.ipynb", SOLVED)
    results, remarks = run()
    assert results["bob"]["problem"] == "No notebook was handed in, but all.zip, essay.pdf; hand in the .ipynb itself."
    assert "but doejane_12_34_essay.pdf;" in results["doejane_12"]["problem"]
    assert "no notebook, but other files: bob (all.zip, essay.pdf); doejane_12 (doejane_12_34_essay.pdf)" in remarks
    assert "many notebooks in one entry, is FOLDER a level too high? eve (3)" in remarks


# ---- the student's command ------------------------------------------------------------------------------------------
def test_check_says_what_is_wrong_with_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.ipynb")
    for name, content, words in (
        ("empty", "", "The file is empty"),
        ("half", '{"cells": [', "damaged or cut off"),
        ("other", NOTES, "which assignment is other.ipynb"),
        ("pipe", None, "not a file but a link or something else"),
        ("gone", None, "could not be read"),
    ):
        path = tmp_path / f"{name}.ipynb"
        if content is not None:
            world.save(path, content)
        with pytest.raises(SystemExit, match=words):
            cli.main(["check", str(path)])


def test_a_name_in_an_error_steers_no_terminal(tmp_path):
    with pytest.raises(SystemExit, match=r"check: .*a\?\[2J.ipynb: The file could not be read"):
        cli.main(["check", str(tmp_path / "a\x1b[2J.ipynb")])


@pytest.mark.parametrize("command", [("dlgm.grading", "grade"), ("dlgm.train", "x")])
def test_an_interrupt_while_libraries_load_ends_in_a_word(command):
    code = f"""
import runpy, sys
class Interrupted:
    def find_spec(self, name, *rest):
        if name == "torch":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
sys.argv = {list(command)!r}
runpy.run_module({command[0]!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "stopped\n")


def test_check_never_steers_the_terminal(zygote, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "Zygote", lambda: contextlib.nullcontext(zygote))
    source = str(world.save(tmp_path / "source.ipynb", world.master()))
    text = "def affine(x, a):\n    raise ValueError('\\x1b[2J\\x07 \\u202e')"
    path = world.save(tmp_path / "mine.ipynb", world.notebook(text + "\nraise ValueError('\\x1b]0;title')"))
    cli.main(["check", str(path), "--assignment", source])
    said = capsys.readouterr().out
    assert "ValueError" in said and "0;title" in said and all(c.isprintable() or c == "\n" for c in said)


def test_a_console_that_cannot_show_a_name_stops_nothing(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "load", lambda name: toy)
    monkeypatch.setattr(batch, "run", lambda *a, **k: batch.Outcome([], True, ["猫: nothing handed in"], hand.Hand()))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    cli.main(["grade", str(tmp_path), "--assignment", "toy", "--out", str(tmp_path)])
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue().decode().startswith("\\u732b: nothing handed in")
