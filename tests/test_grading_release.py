"""The student's version: nothing leaks, it runs, and the committed ones are those of their masters."""

import json

import nbformat
import pytest
from grading import world

from dlgm.grading import __main__ as cli
from dlgm.grading import assignment, release

pytestmark = pytest.mark.usefixtures("toy")


def test_solutions_and_model_answers_are_gone_and_the_rest_stays(toy):
    student = release.strip(toy.notebook)
    cells = {c["id"]: "".join(c["source"]) for c in student["cells"]}
    assert cells["affine"] == "def affine(x, a):\n    raise NotImplementedError"
    assert cells["why"] == release.YOURS and cells["check_affine"] == 'check("affine", affine)'
    assert not release.leaks(toy.notebook, student)
    assert [assignment.meta(c) for c in student["cells"]] == [assignment.meta(c) for c in toy.notebook["cells"]]
    nbformat.validate(nbformat.reads(json.dumps(student), as_version=4))
    assert toy.notebook == world.master()  # the master itself is left alone


@pytest.mark.parametrize("name", ["toy", *assignment.masters()])
def test_cells_are_locked_in_jupyterlab_and_answers_are_not(name, toy):
    student = release.strip(toy.notebook if name == "toy" else assignment.load(name).notebook)
    lock = {"deletable": False, "editable": False}
    for cell in student["cells"]:
        said = {key: cell["metadata"][key] for key in lock if key in cell["metadata"]}
        assert said == ({} if assignment.meta(cell)["solution"] else lock), cell["id"]


@pytest.mark.parametrize("place", ["prose", "another cell", "an output"])
def test_a_solution_that_shows_elsewhere_is_found(place):
    master = world.master()
    secret = "return a * x.std(correction=0)"
    if place == "prose":
        master["cells"][0]["source"] = f"# Toy\nHint: `{secret}`"
    elif place == "another cell":
        master["cells"][1]["source"] += f"\n# {secret}"
    student = release.strip(master)
    if place == "an output":
        student["cells"][3]["outputs"] = [{"text": secret}]
    assert release.leaks(master, student) == [secret]


def test_marks_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="without its partner"):
        release.without_solution("def f():\n    ### BEGIN SOLUTION\n    return 1")


def test_an_indented_solution_keeps_its_place():
    solution = "        ### BEGIN SOLUTION\n        x = 1\n        return x\n        ### END SOLUTION"
    text = f"class A:\n    def f(self):\n{solution}\n    b = 2"
    assert release.without_solution(text) == "class A:\n    def f(self):\n        raise NotImplementedError\n    b = 2"


def test_release_writes_only_what_is_sound(tmp_path, zygote, monkeypatch):
    path = world.save(tmp_path / "toy.ipynb", world.master())
    monkeypatch.setattr(release, "runs", lambda notebook: None)  # a kernel does not know the toy; see the next test
    assert json.loads(release.release(path, zygote)) == release.strip(world.master())
    assert release.release(path) == release.release(path, zygote)  # the same every time

    def refused(match, **answers):
        content = world.notebook(**{**world.SOLUTIONS, **answers})
        content["cells"].append(world.cell("code", f"{release.BEGIN}\n{release.END}"))
        world.save(path, content)
        with pytest.raises(ValueError, match=match):
            release.release(path, zygote)

    refused("affine: the master's own answer earns 0.0 points", affine="def affine(x, a):\n    return x")
    refused("the untouched version earns 10.0 points")  # solutions that no mark surrounds
    world.save(path, release.strip(world.master()))
    with pytest.raises(ValueError, match="is a student's version, not a master"):
        release.release(path)
    leaky = world.master()
    leaky["cells"][0]["source"] += "\nreturn a * x.std(correction=0)"
    world.save(path, leaky)
    with pytest.raises(ValueError, match="would show 'return a"):
        release.release(path, zygote)


def test_the_points_in_the_text_are_those_of_the_metadata():
    def told(text):
        master = world.master()
        master["cells"][0]["source"] = "# Toy\n**15 points** in all"
        master["cells"].insert(2, world.cell("markdown", text))
        return list(release.told_points(assignment.read(master, "toy")))

    assert told("## 1 · Affine\n**`affine` · 6 points · 10 minutes.** Twice 7 points.") == []
    more = world.master()
    more["cells"][0]["source"] = "# Toy\n**Points:** 16, in 2 parts"
    assert list(release.told_points(assignment.read(more, "toy"))) == [
        "the text says 16 points in all, the metadata 15", "the text says 2 parts, the metadata 3",
    ]  # fmt: skip
    assert told("## 1 · Affine (7 points)") == ["the text above affine says 7 points, the metadata say 6"]
    master = world.master()
    master["cells"][0]["source"] = "# Toy\n**14 points** in all"
    assert list(release.told_points(assignment.read(master, "toy"))) == [
        "the text says 14 points in all, the metadata 15"
    ]


def test_several_assignments_do_not_go_into_one_file(tmp_path, zygote, toy, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="one file for 2 assignments"):
        cli.main(["release", "a", "b", "--to", str(tmp_path / "x.ipynb")])
    monkeypatch.setattr(release, "runs", lambda notebook: None)
    path = world.save(tmp_path / "toy.ipynb", world.master())
    cli.main(["release", str(path), "--to", str(tmp_path / "new folder")])
    assert json.loads((tmp_path / "new folder" / "toy.ipynb").read_text()) == release.strip(world.master())
    assert "3 parts, 15 points" in capsys.readouterr().out


@pytest.mark.parametrize("name", assignment.masters())
def test_the_committed_student_version_is_that_of_its_master(name):
    cli.main(["release", name, "--compare"])


@pytest.mark.parametrize("name", assignment.masters())
def test_masters_have_parts_points_and_clean_cells(name):
    found = assignment.load(name)
    graded = [p for p in found.parts if not p.by_hand]
    assert 10 <= len(found.parts) <= 14 and found.points == 100 and len(graded) >= 9
    node = nbformat.reads(json.dumps(found.notebook), as_version=4)
    nbformat.validate(node)
    ids = [c.metadata.nbgrader.grade_id for c in node.cells if "nbgrader" in c.metadata]
    assert len(ids) == len(set(ids))
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in node.cells)


def test_problems_are_sentences(tmp_path, toy):
    for call, words in (
        (["grade", str(tmp_path / "none"), "--assignment", "nope", "--out", str(tmp_path)], "no assignment 'nope'"),
        (["check", str(world.save(tmp_path / "x.ipynb", world.notebook()))], "which assignment is x.ipynb"),
        (["release", "nope"], "no assignment 'nope'"),
    ):
        with pytest.raises(SystemExit, match=words):
            cli.main(call)


def test_a_student_sees_the_same_words_as_in_the_notebook(tmp_path, capsys):
    world.save(tmp_path / "source.ipynb", world.master())
    path = world.save(tmp_path / "mine.ipynb", world.notebook("def affine(x, a):\n    return a * x"))
    before = path.read_bytes()
    cli.main(["check", str(path), "--assignment", str(tmp_path / "source.ipynb")])
    said = capsys.readouterr().out
    assert "affine (6 points): not yet" in said and "The mistake: the 1 is missing." in said
    assert "spread (4 points): not attempted" in said and path.read_bytes() == before
    assert "Right on these examples: 0 of 2 parts, 0 of 10 points." in said and "why (5 points): written" in said
    answer = "from dlgm.elbo import elbo\n" + world.SOLUTIONS["affine"]
    world.save(path, world.notebook(answer, written="YOUR ANSWER HERE"))
    cli.main(["check", str(path), "--assignment", str(tmp_path / "source.ipynb")])
    said = capsys.readouterr().out
    assert "1 of 2 parts, 6 of 10 points" in said and "dlgm.elbo cannot be imported while grading" in said


def test_a_renamed_notebook_is_known_by_its_labels(tmp_path):
    for name in assignment.masters():
        path = world.save(tmp_path / "my homework (2).ipynb", release.strip(assignment.load(name).notebook))
        assert assignment.guess(path.read_text(encoding="utf-8")) == name
    assert assignment.guess(json.dumps(world.notebook())) is None


def test_where_no_homework_ships_releasing_nothing_is_an_error_that_says_why(tmp_path, monkeypatch):
    """As after ``pip install .``, which takes the package alone."""
    monkeypatch.setattr(assignment, "ROOT", tmp_path)
    for call in (["release"], ["release", "--compare"], ["release", "hw1_elbo_and_vaes"]):
        with pytest.raises(SystemExit, match="install with `pip install -e .` there, or give a master's path"):
            cli.main(call)
