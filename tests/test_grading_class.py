"""A class of sixty for each assignment: right answers in several styles, every known mistake, gaps, mixed at random.

Answers come from the banks as source text and run in workers; what each should earn is worked out here, in this
process, from the same functions.
"""

import ast
import importlib
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import psutil
import pytest
from grading import world

from dlgm import exercises
from dlgm.exercises.engine import mark
from dlgm.grading import assignment, batch, grade

pytestmark = pytest.mark.slow  # a class of sixty, and runs that are killed

NOTHING = "import torch\n    return torch.zeros((), dtype=torch.float64)"
STUDENTS, SALT = 60, "the class of 2026"
STAND_INS = """
from types import SimpleNamespace
import torch
def Mistake(name, says, function): return SimpleNamespace(name=name, function=function)
def Exercise(**fields): return SimpleNamespace(name=fields["reference"].__name__, **fields)
def Case(*a, **k): return None
Property = Case
def edited(function, *changes):
    source = SOURCES[function.__name__]
    for change in changes:
        source = source.replace(*change)
    scope = dict(function.__globals__)
    exec(source, scope)
    return scope[function.__name__]
def mistakes(reference, *rows):
    return [Mistake(n, says, *c if callable(c[0]) else [edited(reference, *c)]) for n, says, *c in rows]
"""


def standalone(path):
    """The source of a module of the bank without what a worker does not have: the engine and imports of dlgm.

    What it imports of inputs.py and of dlgm/course stands in front of it.
    """
    text = Path(path).read_text(encoding="utf-8")
    body = ast.parse(text).body
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    sources = {node.name: ast.get_source_segment(text, node) for node in functions}  # a worker can open no file

    def stripped(path):
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        tree.body = [
            node for node in tree.body
            if not (isinstance(node, ast.ImportFrom) and (node.level or node.module.startswith("dlgm")))
        ]  # fmt: skip
        return ast.unparse(tree)

    bank = Path(inspect.getfile(exercises)).parent
    imported = [node.module or "" for node in body if isinstance(node, ast.ImportFrom)]
    course = [bank.with_name("course") / f"{m.split('.')[-1]}.py" for m in imported if "course." in m]
    before = f"{STAND_INS}\nSOURCES = {sources!r}\nfrom dlgm.tensors import expand"
    return "\n".join([before, *map(stripped, (bank / "inputs.py", *course, path))])


@cache
def sources(name):
    """Cells that load an assignment's bank and its right answers."""
    right = importlib.import_module(f"right_answers.{name}")
    bank = Path(inspect.getfile(exercises)).with_name(f"{name}.py")
    cells = (  # right answers may use the bank's helpers
        f"_bank = {{'__name__': 'bank'}}\nexec({standalone(bank)!r}, _bank)",
        f"_right = dict(_bank)\nexec({standalone(right.__file__)!r}, _right)",
    )
    return *cells, right.RIGHT


def variants(name, part):
    """(what it is, the code of the cell, the function itself or None) of all that a student may write for a part."""
    exercise, right = part.exercise, sources(name)[2][part.name]
    chosen = f"next(e for e in _bank['EXERCISES'] if e.name == {part.name!r})"
    yield "reference", f"{part.name} = {chosen}.reference", exercise.reference
    for i, function in enumerate(right):
        yield "right", f"{part.name} = _right['RIGHT'][{part.name!r}][{i}]", function
    for i, mistake in enumerate(exercise.mistakes):
        yield mistake.name, f"{part.name} = {chosen}.mistakes[{i}].function", mistake.function
    yield "missing", f"def {part.name}(*args):\n    raise NotImplementedError", None


def roll(name, master, parts):
    """The code of each student and what it is: everything at least once, slow parts once for each variant."""
    random.seed(0)
    columns = {}
    for part in parts:
        found = list(variants(name, part))
        if part.exercise.seconds > 10:
            columns[part.name] = found[: STUDENTS - 1] + [found[-1]] * (STUDENTS - len(found))
        else:
            columns[part.name] = (found * (1 + STUDENTS // len(found)))[:STUDENTS]
        random.shuffle(columns[part.name])
    return [{part.name: columns[part.name][i] for part in parts} for i in range(STUDENTS)]


@pytest.mark.parametrize("name", assignment.masters())
def test_everyone_in_the_class_earns_exactly_what_was_done(name, tmp_path):
    master = assignment.load(name)
    parts = [p for p in master.parts if not p.by_hand]
    students = roll(name, master, parts)
    bank, right, _ = sources(name)
    for i, answers in enumerate(students):
        notebook = json.loads(json.dumps(master.notebook))
        for cell in notebook["cells"]:
            part = assignment.meta(cell).get("grade_id")
            if part in answers:
                load = f"{bank}\n{right}\n" if part == parts[0].name else ""
                cell["source"] = load + answers[part][1]
        world.save(tmp_path / "in" / f"student{i:02d}.ipynb", notebook)

    @cache
    def expected(part, what, function):
        marks = mark(part.exercise, function, grade.generator(SALT, part.name))
        return round(part.points * marks.share, 2)

    results, *_ = batch.run(tmp_path / "in", name, tmp_path / "out", jobs=2, salt=SALT)
    assert len(results) == STUDENTS
    seen = set()
    for i, answers in enumerate(students):
        result = next(r for r in results if r["student"] == f"student{i:02d}")
        got = {p["name"]: p for p in result["parts"]}
        for part in parts:
            what, _, function = answers[part.name]
            seen.add((part.name, what))
            points = 0 if function is None else expected(part, what, function)
            where = (result["student"], part.name, what, got[part.name])
            assert got[part.name]["points"] == points, where
            if what in ("reference", "right"):
                assert points == part.points and got[part.name]["state"] == "right", where
            elif what == "missing":
                assert got[part.name]["state"] == "not attempted", where
            else:
                assert points < part.points and got[part.name]["mistake"] == what, where
    assert seen == {(p.name, v[0]) for p in parts for v in variants(name, p)}


@pytest.mark.parametrize("name", assignment.masters())
@pytest.mark.parametrize("null", ["return 0 * args[0]", "return args[0]", NOTHING])
def test_a_null_submission_earns_at_most_five_percent(name, null, zygote, tmp_path):
    from dlgm.grading import submission

    master = assignment.load(name)
    notebook = json.loads(json.dumps(master.notebook))
    for cell in notebook["cells"]:
        part = assignment.meta(cell).get("grade_id")
        if part in {p.name for p in master.parts if not p.by_hand}:
            cell["source"] = f"def {part}(*args):\n    {null}"
    path = world.save(tmp_path / "null.ipynb", notebook)
    result = grade.grade(zygote, master, submission.read(path, master), SALT)
    assert result.points <= 0.05 * master.points, [(p.name, p.points) for p in result.parts if p.points]


def hears_ctrl_c():
    """A shell that starts pytest in the background has it, and its children, ignore the signal."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_killed_run_goes_on_where_it_was_and_gives_the_same_marks(tmp_path):
    """kill -9 after the first results, then Ctrl-C: nothing goes on behind, what is there is kept, the end is equal.

    The processes that a killed run leaves are gone soon where Linux ends them with their parent.
    """
    name = assignment.masters()[-1]
    master = assignment.load(name)
    quick = [p.name for p in master.parts if not p.by_hand and p.exercise.seconds <= 10]
    for i in range(20):  # enough of them that no run is over before its signal has come
        notebook = json.loads(json.dumps(master.notebook))
        cells, k = notebook["cells"], i % 8
        notebook["cells"] = [c for c in cells if assignment.meta(c).get("grade_id") in quick[k : k + 2]]
        world.save(tmp_path / "in" / f"student{i}.ipynb", notebook)

    def command(out):
        words = ["grade", str(tmp_path / "in"), "--assignment", name, "--out", str(tmp_path / out), "--quiet"]
        return [sys.executable, "-m", "dlgm.grading", *words]

    env = {**os.environ, "DLGM_SALT": SALT}
    folder = tmp_path / "out" / "results"
    for number, count in ((signal.SIGKILL, 2), (signal.SIGINT, 4)):
        first = subprocess.Popen(
            [*command("out"), "--jobs", "2"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=hears_ctrl_c if os.name == "posix" else None,
        )  # fmt: skip
        end = time.monotonic() + 300
        while len(list(folder.glob("*.json"))) < count and time.monotonic() < end:
            time.sleep(0.01)
        graders = psutil.Process(first.pid).children(recursive=True)
        first.send_signal(number)
        _, said = first.communicate(timeout=60)
        if sys.platform.startswith("linux"):
            assert len(graders) >= 2 and psutil.wait_procs(graders, timeout=60)[1] == []
    assert first.returncode == 130 and "The same command goes on from here." in said and "Traceback" not in said
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*.json")}
    assert 4 <= len(before) < 20
    subprocess.run(command("out"), env=env, check=True, stdout=subprocess.DEVNULL)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items()) and len(list(folder.glob("*.json"))) == 20
    subprocess.run([*command("whole"), "--jobs", "2"], env=env, check=True, stdout=subprocess.DEVNULL)
    for table in ("marks.csv", "by_hand.csv"):
        assert (tmp_path / "out" / table).read_text() == (tmp_path / "whole" / table).read_text()
