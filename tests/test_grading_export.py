"""Other graders: nbgrader itself where it is installed, and Gradescope's entry script run as it would run there."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from grading import world

from dlgm.grading import assignment, export

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def source(tmp_path):
    return world.save(tmp_path / "masters" / "toy.ipynb", world.master())


def test_points_are_those_of_the_grader(monkeypatch):
    monkeypatch.setenv("DLGM_SALT", "x")
    assert export.points("affine", lambda x, a: a * x + 1, 6) == 6
    assert export.points("affine", lambda x, a: a * x + 1 if x.ndim == 2 else x, 6) == 3.6
    assert export.points("affine", lambda x, a: 0 * x, 6) == 0


def test_the_course_folder_has_hidden_tests_after_each_check_and_is_not_overwritten(source, tmp_path):
    path = export.nbgrader(source, tmp_path / "course")
    cells = {c["id"]: c for c in json.loads(path.read_text())["cells"]}
    text = cells["check_affine"]["source"]
    assert text.startswith('check("affine", affine)\n### BEGIN HIDDEN TESTS')
    assert "points('affine', affine, 6)\n### END HIDDEN TESTS" in text
    assert cells["affine"]["source"] == {c["id"]: c for c in world.master()["cells"]}["affine"]["source"]
    assert "NotImplementedError" in (tmp_path / "course" / "nbgrader_config.py").read_text()
    export.nbgrader(source, tmp_path / "course")
    path.write_text("edited by the teacher")
    with pytest.raises(ValueError, match="there and differs"):
        export.nbgrader(source, tmp_path / "course")


@pytest.mark.skipif(not shutil.which("nbgrader"), reason="nbgrader is not installed")
def test_nbgrader_generates_and_grades_what_was_exported(tmp_path):
    """One of the masters handed in as it is: nbgrader's own commands give it full marks for the graded parts."""
    name = assignment.masters()[0]
    course = tmp_path / "course"
    master = assignment.load(name)
    export.nbgrader(name, course)

    def nbgrader(*words):
        subprocess.run(["nbgrader", *words], cwd=course, check=True, capture_output=True, timeout=900)

    nbgrader("generate_assignment", name)
    released = (course / "release" / name / f"{name}.ipynb").read_text()
    assert "HIDDEN" not in released and "BEGIN SOLUTION" not in released and "NotImplementedError" in released
    for student, notebook in (("ada", master.notebook), ("bob", json.loads(released))):
        world.save(course / "submitted" / student / name / f"{name}.ipynb", notebook)
    nbgrader("autograde", name)
    nbgrader("export", "--to", "marks.csv")
    rows = [line.split(",") for line in (course / "marks.csv").read_text().splitlines()]
    score, student = rows[0].index("raw_score"), rows[0].index("student_id")
    marks = {row[student]: float(row[score]) for row in rows[1:]}
    assert marks == {"ada": sum(p.points for p in master.parts if not p.by_hand), "bob": 0}


def autograder(tmp_path, archive):
    """Unpack an archive where Gradescope would, run its script, return the results."""
    root = tmp_path / "autograder"
    for name in ("source", "submission", "results"):
        (root / name).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as file:
        file.extractall(root / "source")
    env = {**os.environ, "AUTOGRADER": str(root), "AUTOGRADER_PYTHON": sys.executable, "PYTHONPATH": ""}

    def run():
        script = ["bash", str(root / "source" / "run_autograder")]
        done = subprocess.run(script, env=env, capture_output=True, encoding="utf-8", timeout=600)
        return json.loads((root / "results" / "results.json").read_text()), done

    return root, run


def test_the_archive_holds_no_solution_text_of_the_master_and_is_repeatable(source, tmp_path):
    first = export.gradescope(source, tmp_path / "a.zip", salt="s").read_bytes()
    assert export.gradescope(source, tmp_path / "b.zip", salt="s").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert "std(correction=0)" not in file.read("assignment.json").decode()
        assert file.getinfo("run_autograder").external_attr >> 16 & 0o111
        assert {"setup.sh", "run_autograder", "salt.txt", "dlgm/grading/worker.py"} <= set(file.namelist())


@pytest.mark.slow
def test_gradescopes_entry_script_grades_in_gradescopes_format(tmp_path):
    name = assignment.masters()[0]
    master = assignment.load(name)
    archive = export.gradescope(name, tmp_path / "autograder.zip", salt="s")
    root, run = autograder(tmp_path, archive)
    graded = [p for p in master.parts if not p.by_hand]
    keep = graded[0].name  # one answer, so that nothing is trained here
    cells = []
    for cell in master.notebook["cells"]:
        mine = assignment.meta(cell)
        if not (mine.get("solution") and cell["cell_type"] == "code" and mine["grade_id"] != keep):
            cells.append(cell)
    world.save(root / "submission" / "whatever.ipynb", {**master.notebook, "cells": cells})
    results, done = run()
    assert done.returncode == 0, done.stderr
    assert [t["name"] for t in results["tests"]] == [p.name for p in graded]
    scores = {t["name"]: t["score"] for t in results["tests"]}
    assert scores[keep] == graded[0].points and sum(scores.values()) == scores[keep]
    assert all(t["visibility"] == "visible" and t["status"] in ("passed", "failed") for t in results["tests"])
    assert (root / "results").stat().st_mode & 0o077 == 0
    Path(root / "submission" / "whatever.ipynb").unlink()
    results, done = run()
    assert sum(t["score"] for t in results["tests"]) == 0 and "no notebook" in results["output"]
