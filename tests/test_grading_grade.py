"""Marks of a toy assignment: what was earned, and nothing that was not. Student code runs in real workers."""

import csv
import io
import json
import os
import re
import select
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from grading import world

from dlgm import exercises
from dlgm.grading import assignment, batch, grade, hand, release, report, roster, submission
from dlgm.grading.sandbox import Stopped, Zygote

pytestmark = pytest.mark.usefixtures("toy")

SALT = "a secret"
# answer cells of "affine", each a file; its first line says which words the student is told. "spread" is always right.
HOSTILE = {path.stem: path for path in sorted((Path(__file__).parent / "grading" / "hostile").glob("*.py"))}


def graded(zygote, toy, tmp_path, content):
    path = world.save(tmp_path / "student.ipynb", content)
    return grade.grade(zygote, toy, submission.read(path, toy), SALT, "student")


def by_name(result):
    return {part.name: part for part in result.parts}


def test_right_answers_earn_everything(zygote, toy, tmp_path):
    result = graded(zygote, toy, tmp_path, world.notebook(**world.SOLUTIONS))
    parts = by_name(result)
    assert result.points == 10 and not result.notes and not result.problem
    assert (
        parts["affine"].state == "right" and parts["why"].state == "by hand" and parts["why"].words == "What I think."
    )


def test_the_untouched_notebook_earns_nothing_and_is_called_that(zygote, toy, tmp_path):
    result = graded(zygote, toy, tmp_path, world.notebook())
    assert result.points == 0 and by_name(result)["affine"].state == "not attempted"


@pytest.mark.parametrize("null", ["return 0 * x", "return x", "return None", "pass", "return 1.0"])
def test_null_answers_earn_nothing(zygote, toy, tmp_path, null):
    cells = {name: f"def {name}(x, a):\n    {null}" for name in world.SOLUTIONS}
    assert graded(zygote, toy, tmp_path, world.notebook(**cells)).points == 0


def test_partial_credit_follows_the_checks_and_the_mistake_is_named(zygote, toy, tmp_path):
    """An answer that is right for matrices only passes the hidden matrices: 3 of 5 checks of affine's 6 points."""
    text = "def affine(x, a):\n    return a * x + 1 if x.ndim == 2 else x"
    part = by_name(graded(zygote, toy, tmp_path, world.notebook(**{**world.SOLUTIONS, "affine": text})))["affine"]
    assert part.points == round(6 * 3 / 5, 2) and part.state == "not yet"
    assert [passed for _, passed in part.checks] == [False, False, True, True, True]
    text = "def affine(x, a):\n    return a * x"
    part = by_name(graded(zygote, toy, tmp_path, world.notebook(**{**world.SOLUTIONS, "affine": text})))["affine"]
    assert part.points == 0 and part.mistake == "one forgotten" and "the 1 is missing" in part.words


def test_an_answer_made_for_the_shown_examples_earns_nothing(zygote, toy, tmp_path):
    text = "def affine(x, a):\n    return a * x + 1 if tuple(x.shape) in ((2,), (3, 2)) else 0 * x"
    part = by_name(graded(zygote, toy, tmp_path, world.notebook(**{**world.SOLUTIONS, "affine": text})))["affine"]
    assert part.points == 0 and part.state == "not yet" and "On other inputs this fails: shape (4,)," in part.words
    assert part.checks[0] == ("the examples shown, which count only with a hidden case", False)


WAITS = ("sleeps", "loop_that_swallows_interrupts", "memory_hog")  # until a limit ends them


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in WAITS)) for n in HOSTILE])
def test_hostile_answers_gain_nothing_and_cost_only_their_part(name, zygote, toy, tmp_path, monkeypatch):
    monkeypatch.setenv("DLGM_SALT", SALT)
    expected, text = HOSTILE[name].read_text(encoding="utf-8").replace("FOLDER", str(tmp_path)).split("\n", 1)
    (tmp_path / "good.ipynb").write_text("a secret of another student")
    result = graded(zygote, toy, tmp_path, world.notebook(text, world.SOLUTIONS["spread"]))
    parts = by_name(result)
    assert parts["affine"].points == 0 and parts["spread"].points == 4, result
    said = parts["affine"].words + " ".join(result.notes)
    assert re.search(expected.removeprefix("# expects: "), said), said
    assert (tmp_path / "good.ipynb").read_text() == "a secret of another student"
    assert len(said) < 5000 and SALT not in said and "a secret of another" not in said
    assert not os.path.exists("/tmp/dlgm_filled")
    page = report.page(toy, result.as_dict(), hand.Hand())
    assert "<script>" not in page and "<img" not in page


@pytest.mark.parametrize("answered", [True, False])
def test_a_grader_that_ends_without_reading_an_answer_leaves_no_traceback(capfd, answered):
    with Zygote() as own:
        own.worker().close()
        own._control.sendall(b"stop")
        if answered:
            select.select([own._control], [], [], 60)
        own._control.close()
        assert own._process.wait(60) == 0
    assert capfd.readouterr().err == ""


def test_workers_hold_no_answers(zygote):
    worker = zygote.worker()
    worker.ask({"do": "run", "source": "import os, sys\ndef look():\n    return [*map(str, sys.modules)]"}, 5)
    modules = worker.ask({"do": "call", "name": "look", "args": []}, 5)["value"]
    worker.close()
    zygote.stop_worker()
    assert [m for m in modules if m.startswith("dlgm")] == ["dlgm", "dlgm.tensors"]


def test_a_worker_that_is_gone_says_so(zygote):
    worker = zygote.worker()
    with pytest.raises(Stopped, match="process ended"):
        worker.ask({"do": "run", "source": "import os\nos._exit(3)"}, 5)
    worker.close()
    zygote.stop_worker()


BOMBS = [
    "x = 0x" + "f" * 4000,
    "x = " + "1 + " * 3000 + "1",
    "x = " + "-" * 50_000 + "1",
    "x = " + "[" * 150 + "]" * 150,
]


def changed(cells, name, change):
    """The cells with the source of one of them changed."""
    return [{**c, "source": change(c["source"])} if c["id"] == name else c for c in cells]


HELPER = world.cell("code", "one = 1\ndef plus(x):\n    return x + one\nprint(undefined)")
DECORATED = (
    "from dataclasses import dataclass\n@dataclass\nclass Law:\n    a: float\n    def of(self, x): return self.a * x"
)
LOOP = "ones = torch.zeros(4)\nfor k in range(4):\n    ones[k] = 1\nif True:\n    two = 2\n"
FUTURE = "from __future__ import annotations\n"
BOAST = {"source": "print('full marks')", "metadata": {"nbgrader": {"points": 100, "grade": True}}}


def test_what_one_part_was_asked_stays_unknown_to_the_others(zygote, toy, tmp_path):
    first = "SAW = []\ndef affine(x, a):\n    SAW.append(x)\n    return a * x + 1"
    second = "def spread(x, a):\n    raise ValueError(f'seen {len(SAW)}')"
    parts = by_name(graded(zygote, toy, tmp_path, world.notebook(first, second)))
    assert parts["affine"].points == 6 and "seen 0" in parts["spread"].words


@pytest.mark.parametrize(
    "line, words", [("x.zero_()", "modified in place"), ("torch.randn(3)", "global random generator")]
)
def test_changed_inputs_and_hidden_randomness_are_seen_from_afar(line, words, zygote, toy, tmp_path):
    text = f"import torch\ndef affine(x, a):\n    y = a * x + 1\n    {line}\n    return y"
    part = by_name(graded(zygote, toy, tmp_path, world.notebook(text)))["affine"]
    assert part.points == 0 and words in part.words


def test_gradients_are_compared_from_afar(zygote, toy, tmp_path, monkeypatch):
    exercise = exercises.find("affine")
    monkeypatch.setattr(exercises, "find", lambda name: replace(exercise, gradients=("x",)))
    for line, points in (("return 1 + x * a", 6), ("with torch.no_grad(): return a * x + 1", 0)):
        text = f"import torch\ndef affine(x, a):\n    {line}"
        part = by_name(graded(zygote, toy, tmp_path, world.notebook(text)))["affine"]
        assert part.points == points and ("gradient with respect to x" in part.words) == (points == 0)
    wrong = "def affine(x, a):\n    x.zero_()\n    return a * x"
    part = by_name(graded(zygote, toy, tmp_path, world.notebook(wrong)))["affine"]
    assert part.points == 0 and "modified in place" in part.words


def test_an_error_comes_with_its_line(zygote, toy, tmp_path):
    text = "def affine(x, a):\n    y = x * a\n    return y @ y.reshape(-1, 99)"
    result = graded(zygote, toy, tmp_path, world.notebook(text + "\nprint(missing)"))
    assert "RuntimeError" in by_name(result)["affine"].words
    assert "in line 3: return y @ y.reshape(-1, 99)" in by_name(result)["affine"].words
    assert "in line 4: print(missing)" in result.notes[0]


def test_a_submission_has_a_budget_as_a_whole(zygote, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(grade.Session, "_start", lambda self: None)
    path = world.save(tmp_path / "s.ipynb", world.notebook(**world.SOLUTIONS))
    session = grade.Session(zygote, toy, submission.read(path, toy))
    session.end = 0.0
    with pytest.raises(Stopped, match="used up the time"):
        session.ask({"do": "call"}, 1)


MANGLED = {  # what -> (cells -> cells, points, words in the notes)
    "check cells deleted": (lambda n: [c for c in n if "check" not in c["id"]], 10, ""),
    "check cells edited": (lambda n: [{**c, **BOAST} if c["id"].startswith("check") else c for c in n], 10, ""),
    "answer doubled, the last wrong": (lambda n: [*n, *changed(n[2:3], "affine", lambda s: s[:-1] + "2")], 4, "twice"),
    "labels lost": (lambda n: [{**c, "metadata": {}, "id": "x"} for c in n], 10, "No answer cell was found"),
    "labels lost, names of cells kept": (lambda n: [{**c, "metadata": {}} for c in n], 10, ""),
    "answer cell deleted": (lambda n: [c for c in n if c["id"] != "affine"], 4, "missing"),
    "answer moved": (
        lambda n: [*changed(n, "affine", lambda s: ""), world.cell("code", world.SOLUTIONS["affine"])], 10, ""
    ),
    "function renamed": (lambda n: changed(n, "affine", lambda s: s.replace("affine", "mine")), 10, "called mine"),
    "helper in a cell of its own": (
        lambda n: [HELPER, *changed(n, "affine", lambda s: "def affine(x, a):\n    return plus(a * x)")], 10, ""
    ),
    "magics and shell": (lambda n: changed(n, "affine", lambda s: "%matplotlib inline\n!pip list\n" + s), 10, ""),
    "syntax error": (lambda n: changed(n, "affine", lambda s: s.replace(":", "")), 4, "in line 1: def affine"),
    "error after it": (lambda n: changed(n, "affine", lambda s: s + "\nplt.plot(missing)"), 10, "NameError"),
    "labels that are no labels": (
        lambda n: [*n, world.cell("code", "x = 1", grade_id=["affine"]), {"cell_type": "raw", "metadata": 7}], 10, ""
    ),
    "bombs for the parser": (
        lambda n: [*n, *(world.cell("code", t) for t in BOMBS)], 10, ""
    ),
    "a call that ends the process": (
        lambda n: changed(n, "affine", lambda s: s + "\nresult = __import__('os')._exit(0)"), 10, "run in part only"
    ),
    "a locked cell changed": (
        lambda n: changed(changed(n, "setup", lambda s: s + "\nimport math as m"), "affine",
                          lambda s: "def affine(x, a):\n    return a * x + m.cos(0)"), 10, "cells were changed (1)"
    ),
    "a line that begins with %": (
        lambda n: changed(n, "affine", lambda s: "def affine(x, a):\n    return a * x + (7\n    % 2)"), 10, ""
    ),
    "a stub below the answer": (
        lambda n: [*n, *changed(n[2:3], "affine", lambda s: world.STUB.format("affine"))], 10, "twice"
    ),
    "half characters": (lambda n: [*n, world.cell("code", "'\ud800'"), world.cell("markdown", "\udfff")], 10, ""),
    "ten thousand lines in a cell of one's own": (lambda n: [*n, world.cell("code", "a = 1\n" * 40_000)], 10, ""),
    "a line of blanks": (lambda n: [*n, world.cell("code", " " * 190_000 + "$")], 10, ""),
    "a decorated helper": (
        lambda n: [world.cell("code", DECORATED), *changed(n, "affine", lambda s: s.replace("a * x", "Law(a).of(x)"))],
        10, "",
    ),
    "a helper made in a loop": (
        lambda n: [world.cell("code", LOOP), *changed(n, "affine", lambda s: s.replace("+ 1", "+ ones[3]"))], 10, ""
    ),
    "help, and a shell line in two": (
        lambda n: changed(n, "affine", lambda s: "torch.sum?\n!pip list \\\n    --quiet\n" + s), 10, ""
    ),
    "threads asked for": (lambda n: changed(n, "affine", lambda s: "torch.set_num_threads(4)\n" + s), 10, ""),
    "annotations that nobody defined": (
        lambda n: changed(n, "affine", lambda s: FUTURE + s.replace("(x, a)", "(x: Tensor, a: Real) -> Tensor")), 10, ""
    ),
    "cells that are no cells": (lambda n: [*n, 3, None, {"cell_type": "code"}, {"source": ["a", 4]}], 10, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MANGLED)
def test_mangled_notebooks_get_marks_for_what_works(name, zygote, toy, tmp_path):
    change, points, expected = MANGLED[name]
    content = world.notebook(**world.SOLUTIONS)
    content["cells"] = change(content["cells"])
    result = graded(zygote, toy, tmp_path, content)
    said = " ".join([*result.notes, *(part.words for part in result.parts)])
    assert result.points == points and expected in said, result


UNREADABLE = {
    "empty": ("", "empty"),
    "cut off": (json.dumps(world.notebook())[:200], "damaged"),
    "no notebook": ("[1, 2]", "damaged"),
    "deep": ("[" * 100_000, "damaged"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files_get_a_sentence(name, zygote, toy, tmp_path):
    text, expected = UNREADABLE[name]
    result = graded(zygote, toy, tmp_path, text)
    assert result.points == 0 and expected in result.problem
    assert len(result.parts) == 3


def test_a_link_is_not_followed_and_another_kernel_is_said(zygote, toy, tmp_path):
    target = world.save(tmp_path / "target.ipynb", world.notebook(**world.SOLUTIONS))
    (tmp_path / "link.ipynb").symlink_to(target)
    assert "link" in submission.read(tmp_path / "link.ipynb", toy).problem
    kernel = world.notebook(**world.SOLUTIONS, kernelspec={"name": "julia-1.10", "language": "julia"})
    result = graded(zygote, toy, tmp_path, kernel)
    assert result.points == 10 and "julia" in result.notes[0]


def test_large_outputs_do_not_matter(zygote, toy, tmp_path):
    content = world.notebook(**world.SOLUTIONS)
    content["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x" * (20 * 2**20)}]
    assert graded(zygote, toy, tmp_path, content).points == 10


# ---- a folder -------------------------------------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A class: its assignment's master is a file, since a grading process reads it by its name."""
    world.save(tmp_path / "source" / "toy.ipynb", world.master())
    box = tmp_path / "in"
    world.save(box / "ada.ipynb", world.notebook(**world.SOLUTIONS))
    world.save(box / "bob" / "hw" / "toy.ipynb", world.notebook(world.SOLUTIONS["affine"]))
    world.save(box / "=cmd.ipynb", world.notebook())
    world.save(box / "..eve <b>.ipynb", world.notebook("import os\nos._exit(0)"))
    world.save(box / "zed.ipynb", "")
    (box / "nobody").mkdir()
    return tmp_path


def run(folder, **options):
    options = {"salt": SALT, **options}
    return batch.run(folder / "in", str(folder / "source" / "toy.ipynb"), folder / "out", **options)


def table(folder, name="marks.csv"):
    with (folder / "out" / name).open(encoding="utf-8-sig", newline="") as file:
        return {row["Student"]: row for row in csv.DictReader(file)}


def test_a_folder_gives_marks_feedback_and_a_row_for_each_student(folder):
    listing = roster.parse("class.txt", "ada\n\n yan\n")
    run(folder, listing=listing)
    marks = table(folder)
    total = {student: float(row["toy (of 15)"]) for student, row in marks.items()}
    assert total == {"ada": 10, "bob": 6, "'=cmd": 0, "..eve <b>": 0, "zed": 0, "nobody": 0, "yan": 0}
    assert "empty" in marks["zed"]["remark"] and marks["yan"]["remark"] == "Nothing was handed in."
    pages = sorted(p.name for p in (folder / "out" / "feedback").iterdir())
    assert len(pages) == 7 and all(p.endswith(".html") and not p.startswith(".") for p in pages)
    for path in (folder / "out" / "feedback").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "<b>" not in text and "http" not in text and SALT not in text
    assert {p.resolve().parent for p in (folder / "out").rglob("*")} <= {
        (folder / "out").resolve(), (folder / "out" / "results").resolve(), (folder / "out" / "feedback").resolve()
    }  # fmt: skip


def test_whatever_one_notebook_does_the_others_are_graded(folder, monkeypatch):
    """Half characters in a written answer reach the page; an error of the grader itself stops nobody else."""
    world.save(folder / "in" / "odd.ipynb", json.dumps(world.notebook(**world.SOLUTIONS, written="\ud800 odd")))
    real = batch.grade

    def fails(zygote, assignment, read, salt, student):
        if student == "bob":
            raise ZeroDivisionError
        return real(zygote, assignment, read, salt, student)

    monkeypatch.setattr(batch, "grade", fails)
    run(folder)
    marks = table(folder)
    assert float(marks["odd"]["toy (of 15)"]) == float(marks["ada"]["toy (of 15)"]) == 10
    assert "ZeroDivisionError" in marks["bob"]["remark"]
    monkeypatch.setattr(batch, "grade", real)
    run(folder)  # the next run tries again
    assert float(table(folder)["bob"]["toy (of 15)"]) == 6
    assert "? odd" in (folder / "out" / "feedback" / "odd.html").read_text(encoding="utf-8")


def test_a_second_run_changes_nothing_and_grades_only_what_is_new(folder, monkeypatch):
    run(folder)
    before = {p: p.stat().st_mtime_ns for p in (folder / "out" / "results").iterdir()}
    asked = []
    real = batch.grade_one
    monkeypatch.setattr(batch, "grade_one", lambda *a: asked.append(a[1].student) or real(*a))
    run(folder)
    assert asked == [] and before == {p: p.stat().st_mtime_ns for p in (folder / "out" / "results").iterdir()}
    (folder / "out" / "results" / "ada.json").write_text('{"half')  # as if the power had failed
    world.save(folder / "in" / "bob" / "hw" / "toy.ipynb", world.notebook(**world.SOLUTIONS))
    run(folder)
    assert sorted(asked) == ["ada", "bob"] and table(folder)["bob"]["toy (of 15)"] == "10.0"
    run(folder, again=["zed"])
    assert asked[2:] == ["zed"]


def test_what_a_killed_run_left_half_written_counts_for_nothing(folder):
    gone = 2**22 + 1  # no process has a number larger than 2**22
    for name in ("results/ada.json", "by_hand.csv", "marks.csv", "run.json", "salt.txt", "feedback/ada.html"):
        world.save(folder / "out" / f"{name}.{gone}.part", "half")
    world.save(folder / "out" / "marks.csv.1.part", "of another run that goes on")
    outcome = run(folder, salt=None)
    assert table(folder)["ada"]["toy (of 15)"] == "10.0" and not outcome.given.rows
    assert (folder / "out" / "salt.txt").read_text() != "half"
    assert [p.name for p in (folder / "out").rglob("*.part")] == ["marks.csv.1.part"]


def hand_text(folder):
    """by_hand.csv with quotes only where they are needed, as a spreadsheet saves it."""
    text = (folder / "out" / "by_hand.csv").read_text(encoding="utf-8-sig")
    delimiter, out = (";" if '";"' in text else ","), io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(
        csv.reader(io.StringIO(text), delimiter=delimiter)
    )
    return out.getvalue()


def by_hand(folder, change):
    """Change by_hand.csv as a person would; returns its rows after the next run, and the run's remarks."""
    text = change(hand_text(folder))
    (folder / "out" / "by_hand.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    remarks = run(folder).remarks
    return hand_text(folder).splitlines(), remarks


def test_points_by_hand_are_kept_and_counted(folder):
    run(folder)
    rows, remarks = by_hand(folder, lambda text: text.replace("ada,why,5,,", "ada,why,5,4.5,A step is missing"))
    assert table(folder)["ada"]["toy (of 15)"] == "14.5" and table(folder)["bob"]["to be marked by hand"] == "1"
    page = (folder / "out" / "feedback" / "ada.html").read_text()
    assert "14.5 of 15" in page and "A step is missing" in page and remarks == []
    written = (folder / "out" / "by_hand.ipynb").read_text()
    assert "4.5 of 5" in written and "What I think." in written and "the model answer says so" in written
    as_saved_in_german = lambda text: "\ufeff" + text.replace(",", ";").replace("4.5", "4,5")  # noqa: E731
    again, _ = by_hand(folder, as_saved_in_german)
    assert table(folder)["ada"]["toy (of 15)"] == "14.5" and "ada;why;5;4,5;A step is missing" in "\n".join(again)


def test_what_is_entered_while_a_run_goes_on_is_not_lost(folder):
    run(folder)
    path = folder / "out" / "by_hand.csv"
    filled = hand_text(folder).replace("ada,why,5,,", "ada,why,5,4.5,")
    run(folder, again=["bob"], tell=lambda done, count: path.write_text(filled))
    assert table(folder)["ada"]["why"] == "4.5" and "ada,why,5,4.5" in hand_text(folder)
    wrong = filled.replace("4.5", "x")
    remarks = run(folder, again=["bob"], tell=lambda done, count: path.write_text(wrong)).remarks
    assert table(folder)["ada"]["why"] == "4.5" and path.read_text() == wrong and "'x' for why" in remarks[0]


def test_names_comments_and_columns_come_back_as_they_were(folder):
    names = ("Jane  Doe_77_assignsubmission_file", "a;=b", "-dash")
    for name in names:
        world.save(folder / "in" / name / "toy.ipynb", world.notebook(**world.SOLUTIONS))
    run(folder)
    comment = "'tis a good start; -2 for the sign.\nSee the lecture."
    path = folder / "out" / "by_hand.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [[*row, "grader" if k == 0 else f"me{k}"] for k, row in enumerate(csv.reader(file))]
    for row in rows[1:]:
        row[3], row[4] = "3", comment
    for _ in range(2):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        remarks = run(folder).remarks
        assert remarks == []
        with path.open(encoding="utf-8-sig", newline="") as file:
            assert list(csv.reader(file)) == rows
    assert table(folder)["Jane  Doe_77".replace("  ", " ")]["why"] == "3.0"
    assert comment[1:] in (folder / "out" / "feedback" / "ada.html").read_text()


@pytest.mark.slow
def test_a_grading_process_that_is_killed_costs_one_submission_only(folder, monkeypatch, tmp_path):
    """A pool whose processes die for one student: the others are graded, that one is said, and not kept."""
    tasks = [(batch.Entry(name, None), name) for name in "abcde"]
    done = {}
    monkeypatch.setattr(batch, "grade_one", dies)
    batch._in_processes(
        tasks, 2, assignment.read(world.master(), "toy"), "", None, lambda e, r, ok: done.update({e.student: r})
    )
    assert {name: r["problem"] for name, r in done.items() if name != "c"} == dict.fromkeys("abde", "graded")
    assert done["c"]["stamp"] == "" and "it ended the grading process" in done["c"]["problem"]


def dies(assignment, entry, mark, salt, due):
    """What stands for ``grade_one``: ends the process for one of the students."""
    if entry.student == "c":
        os._exit(1)
    return {"problem": "graded", "stamp": mark}, True


def test_a_row_overrules_a_program(folder):
    run(folder)
    rows, _ = by_hand(folder, lambda text: text + "bob,affine,6,3,agreed after a talk\n=cmd,why,5,2,on paper\n")
    assert (table(folder)["bob"]["affine"], table(folder)["bob"]["toy (of 15)"]) == ("3.0", "3.0")
    assert table(folder)["'=cmd"]["why"] == "2.0" and any(row.startswith("bob,affine,6,3") for row in rows)
    page = (folder / "out" / "feedback" / "bob.html").read_text()
    assert "3 of 6" in page and "agreed after a talk" in page and "marked by hand" in page


def test_points_for_a_text_that_changed_are_pointed_out(folder):
    run(folder)
    by_hand(folder, lambda text: text.replace("ada,why,5,,", "ada,why,5,4,"))
    world.save(folder / "in" / "ada.ipynb", world.notebook(**world.SOLUTIONS, written="Something else."))
    rows, remarks = by_hand(folder, lambda text: text)
    assert "the text of why has changed since 4 points were given" in remarks[0]
    assert table(folder)["ada"]["to be marked by hand"] == "1" and any(row.startswith("ada,why,5,4,") for row in rows)
    assert "given for another text" in (folder / "out" / "by_hand.ipynb").read_text()
    row = next(row for row in rows if row.startswith("ada,"))
    _, remarks = by_hand(folder, lambda text: text.replace(row, row.rpartition(",")[0] + ","))
    assert remarks == [] and table(folder)["ada"]["why"] == "4.0"


def test_rows_by_hand_that_fit_nobody_are_said_and_wrong_ones_refused(folder):
    run(folder)
    _, remarks = by_hand(folder, lambda text: text + "Adda,why,5,3,\n")
    assert "'Adda' (did you mean 'ada'?); that row counts for nobody" in remarks[0]
    for rows, words in (
        ("ada,why,5,77,\n", "line 2: '77' for why; write a number from 0 to 5"),
        ("ada,why,5,3,\nada,why,5,4,\n", "line 3: 'ada' and why have a row above already"),
        ("ada,why,5,3,well done, Ada\n", "line 2: more cells than titles"),
        ('ada,why,5,3,"well done\n"bob","why","5","3",""\n', "near line"),
        ("ada,wy,5,3,\nada,why,5,x,\n", "line 2: no part 'wy'; there are affine, spread, why; line 3: 'x' for why"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            by_hand(folder, lambda text, rows=rows: "Student,part,out of,points,comment\n" + rows)
    with pytest.raises(ValueError, match="first line must name Student, part and points"):
        by_hand(folder, lambda text: "name,points\nada,3\n")
    with pytest.raises(ValueError, match="is not UTF-8"):
        by_hand(folder, lambda text: "Student,part,points\nmüller,why,3\n".encode("latin-1"))


def test_a_written_answer_without_its_label_is_shown_to_the_teacher(folder):
    for name, content in (
        ("lost", [{**c, "metadata": {}, "id": "x"} for c in world.notebook(written="My proof.")["cells"]]),
        (
            "below",
            [
                *world.notebook(written="*Your answer here.*")["cells"],
                {**world.cell("markdown", "My proof."), "id": "new"},
            ],
        ),
    ):
        world.save(folder / "in" / f"{name}.ipynb", {**world.notebook(), "cells": content})
    run(folder)
    for name in ("lost", "below"):
        assert table(folder)[name]["to be marked by hand"] == "1"
        assert "Nothing stands in the cell of why" in table(folder)[name]["remark"]
    assert (folder / "out" / "by_hand.ipynb").read_text().count("My proof.") == 2


def test_another_homework_is_called_that(folder):
    other = assignment.load(assignment.masters()[0])
    world.save(folder / "in" / "wrong.ipynb", release.strip(other.notebook))
    run(folder)
    assert table(folder)["wrong"]["remark"] == f"This looks like {other.name}, not like toy."


CLASS = """Student,ID,SIS Login ID,Section
,,,Manual Posting
    Points Possible,,,
"Doe, Jane",123,jdoe,A
"Roe, Rob",124,rob,A
"Poe, Ann",125,ann,B
"""


def test_a_gradebook_comes_back_with_one_column_more(folder):
    """Canvas: rows are found by its ID in a file's name, or by any cell; with a part unmarked there is no total yet."""
    (folder / "in" / "ada.ipynb").rename(folder / "in" / "doejane_LATE_123_99_toy.ipynb")
    (folder / "in" / "bob").rename(folder / "in" / "ROB")
    listing = roster.parse("class.csv", CLASS)
    remarks = run(folder, listing=listing).remarks
    assert "nothing handed in: Poe, Ann" in remarks and any("not on the roster: " in line for line in remarks)
    by_hand(folder, lambda text: text.replace("ROB,why,5,,", "ROB,why,5,1,"))
    run(folder, listing=listing)
    with (folder / "out" / "gradebook.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["Student", "ID", "SIS Login ID", "Section", "toy"] and rows[2][-1] == "15"
    assert [row[-1] for row in rows[3:]] == ["", "7.0", ""] and rows[3][0] == "Doe, Jane"
    assert [row[:-1] for row in rows] == list(csv.reader(io.StringIO(CLASS)))
    run(folder)
    assert not (folder / "out" / "gradebook.csv").exists()


def test_names_as_moodle_and_canvas_write_them():
    assert batch.listed("Jane Doe_4711_assignsubmission_file_") == ("Jane Doe_4711", ("Jane Doe_4711", "Jane Doe"))
    assert batch.listed("doejane_123_99_hw1-1") == ("doejane_123", ("doejane_123", "123", "doejane"))
    assert batch.listed("jane_doe") == ("jane_doe", ("jane_doe",))
    moodle = roster.parse("m.csv", "First name;Last name;Email\nJane;Doe;j@x\nJohn;Doe;k@x\n")
    students, unlisted = moodle.match({"Jane Doe_4711": ("Jane Doe_4711", "Jane Doe"), "doe": ("doe",)})
    assert students == ["Jane Doe_4711", "doe"] and unlisted == []
    students, unlisted = moodle.match({"doe": ("doe",)})
    assert students == [None, None] and unlisted == ["doe"]


def test_who_handed_in_nothing_is_called_by_name():
    moodle = roster.parse("m.csv", "Identifier,Full name,Grade\nParticipant 1,Ann Poe,\n")
    assert roster.names(moodle, moodle.rows[0])[0] == "Ann Poe"
    short = roster.parse("m.csv", "First name,Surname\nMadonna,\nAnn,Poe\n")
    assert [roster.names(short, row)[0] for row in short.rows] == ["Madonna", "Ann Poe"]
    canvas = roster.parse("c.csv", CLASS)
    assert roster.names(canvas, canvas.rows[2])[:2] == ["Doe, Jane", "Doe, Jane 123"]


def test_a_file_that_cannot_be_read_stops_nobody(folder, monkeypatch):
    real = Path.open

    def refuses(path, *args, **options):
        if path.name == "ada.ipynb" and folder / "in" in path.parents:
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuses)
    run(folder)
    assert "could not be read" in table(folder)["ada"]["remark"] and table(folder)["bob"]["affine"] == "6.0"


def test_two_of_one_first_name_who_handed_in_nothing_keep_apart(folder):
    listing = roster.parse("m.csv", "First name,Surname,ID\nJane,Roe,1\nJane,Poe,2\nada,x,3\n,,\n")
    remarks = run(folder, listing=listing).remarks
    assert "nothing handed in: Jane Roe; Jane Poe" in remarks
    by_hand(folder, lambda text: text + "Jane Poe,why,5,3,on paper\n")
    run(folder, listing=listing)
    with (folder / "out" / "gradebook.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row[-1] for row in csv.reader(file)] == ["toy", "", "3.0", "", ""]


def test_what_a_run_was_told_holds_for_the_next(folder):
    out, names = folder / "out", folder / "class.txt"
    names.write_text("ada\nyan\n")
    due, listing, said = batch.remembered(out, "toy", "2026-01-01T12:00", str(names))
    assert (due.hour, listing.rows, said) == (12, (("ada",), ("yan",)), [])
    names.unlink()
    due, listing, said = batch.remembered(out, "toy")
    assert (due.hour, listing.rows) == (12, (("ada",), ("yan",))) and len(said) == 2
    due, listing, said = batch.remembered(out, "toy", "none", "none")
    assert (due, listing, said) == (None, None, []) == batch.remembered(out, "toy")
    with pytest.raises(ValueError, match="holds the results of toy"):
        batch.remembered(out, "hw1")
    with pytest.raises(ValueError, match="write it like"):
        batch.remembered(out, "toy", "tomorrow")
    with pytest.raises(ValueError, match="cannot be read"):
        batch.remembered(out, "toy", None, "nobody.txt")


def test_what_cannot_be_done_is_said(folder):
    for options, words in (
        ({"jobs": 0}, "at least 1"),
        ({"again": ["Bob"]}, "no submission of 'Bob'; did you mean"),
    ):
        with pytest.raises(ValueError, match=words):
            run(folder, **options)
    assert not (folder / "out").exists()


def test_names_that_look_alike_keep_apart_and_other_files_get_a_row(folder):
    for name in ("t\tx.ipynb", "t?x.ipynb", "'dan.ipynb", "upper.IPYNB"):
        world.save(folder / "in" / name, world.notebook(**world.SOLUTIONS))
    world.save(folder / "in" / "notes.ipynb.txt", "not a notebook")
    world.save(folder / "in" / "bob" / "._toy.ipynb", "what a Mac leaves behind")
    world.save(folder / "in" / "eve.ipynb.part", "half a file of a run that was killed, or of a download")
    assert "left alone: eve.ipynb.part" in run(folder).remarks[0]
    marks = table(folder)
    names = [name for name in marks if name.startswith("t?x")]
    assert len(names) == 2 and len(list((folder / "out" / "feedback").iterdir())) == len(marks) == 11
    assert float(marks["bob"]["toy (of 15)"]) == 6 and float(marks["upper"]["toy (of 15)"]) == 10
    assert "but notes.ipynb.txt; hand in" in marks["notes.ipynb"]["remark"] and "''dan" in marks


def test_a_cell_for_a_spreadsheet_is_no_formula():
    assert [report.safe(v) for v in ("=1+1", "-2", "'x", "a; =1+1", "two\n=lines", 3.5)] == [
        "'=1+1", "'-2", "''x", "a; '=1+1", "two =lines", 3.5
    ]  # fmt: skip


def test_lateness_is_reported_and_costs_nothing(folder):
    due = batch.due_time("2026-01-01T12:00")
    os.utime(folder / "in" / "ada.ipynb", (due.timestamp() + 5400,) * 2)
    os.utime(folder / "in" / "zed.ipynb", (due.timestamp() - 5400,) * 2)
    run(folder, due=due)
    assert (table(folder)["ada"]["late hours"], table(folder)["zed"]["late hours"]) == ("1.5", "0.0")
    assert (
        table(folder)["ada"]["toy (of 15)"] == "10.0" and "1.5 hours" in (folder / "out/feedback/ada.html").read_text()
    )
    run(folder)  # the due time may come later, or go
    assert table(folder)["ada"]["late hours"] == "0.0"
    with pytest.raises(ValueError, match="write it like"):
        batch.due_time("tomorrow")


def test_hidden_cases_depend_on_the_salt_and_the_part_only():
    draw = lambda *a: torch.rand(3, generator=grade.generator(*a)).tolist()  # noqa: E731
    assert draw("a", "p") == draw("a", "p") != draw("b", "p") and draw("a", "p") != draw("a", "q")
