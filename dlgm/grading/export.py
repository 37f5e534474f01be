"""The same assignment for other graders: an nbgrader course folder, and an autograder archive for Gradescope."""

import copy
import json
import os
import secrets
import stat
import sys
import zipfile
from pathlib import Path

from ..exercises import find
from ..exercises.engine import mark
from . import batch, grade, report, submission
from .assignment import load, meta, read, source
from .release import strip
from .sandbox import Zygote

HIDDEN = """{code}
### BEGIN HIDDEN TESTS
from dlgm.grading.export import points
points({name!r}, {name}, {out_of})
### END HIDDEN TESTS"""
CONFIG = """c = get_config()
c.CourseDirectory.course_id = {name!r}
c.ExecutePreprocessor.timeout = 300
c.ClearSolutions.code_stub = {{"python": "raise NotImplementedError"}}
"""


def points(name, function, out_of):
    """The points of one part, for the last line of a hidden test of nbgrader, which takes them as partial credit.

    It runs in the student's own kernel: for people who are trusted. The salt is the environment's DLGM_SALT.
    """
    share = mark(find(name), function, grade.generator(os.environ.get("DLGM_SALT", ""), name)).share
    return round(out_of * share, 2)


def nbgrader(name, folder):
    """Write FOLDER/nbgrader_config.py and FOLDER/source/NAME/NAME.ipynb; returns the notebook's path.

    Raises:
        ValueError: the notebook is there already, and it is another.
    """
    assignment, folder = load(name), Path(folder)
    notebook = copy.deepcopy(assignment.notebook)
    for cell in notebook["cells"]:
        m = meta(cell)
        if m.get("grade") and not m.get("solution"):
            part = m["grade_id"].removeprefix("check_")
            cell["source"] = HIDDEN.format(code=source(cell), name=part, out_of=f"{m['points']:g}")
    path = folder / "source" / assignment.name / f"{assignment.name}.ipynb"
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ValueError(f"{path} is there and differs; move it away first")
    report.write(path, text)
    config = folder / "nbgrader_config.py"
    if not config.exists():
        report.write(config, CONFIG.format(name=folder.resolve().name))
    return path


SETUP = """#!/usr/bin/env bash
# Runs once, when Gradescope builds the image. TORCH: arguments that choose a CPU build of torch, if yours needs any.
set -e
apt-get update && apt-get install -y python3 python3-pip python3-venv
python3 -m venv /autograder/env
/autograder/env/bin/pip install ${TORCH:-} torch==2.13.0 numpy==2.4.6 safetensors==0.8.0
"""
RUN = """#!/usr/bin/env bash
# Runs for each submission. Student code runs as nobody and can open no file.
root="${AUTOGRADER:-/autograder}"
python="${AUTOGRADER_PYTHON:-/autograder/env/bin/python}"
chmod 700 "$root/source" "$root/results"
cd "$root/source" && exec "$python" -m dlgm.grading.export "$root/submission" "$root/results/results.json"
"""


def gradescope(name, path, salt=None):
    """Write an autograder archive; returns its path.

    Args:
        salt: the secret of the hidden cases, drawn if not given; it lies in the archive, which only teachers see.
    """
    assignment, path = load(name), Path(path)
    package = Path(__file__).parents[1]
    files = {"setup.sh": SETUP, "run_autograder": RUN, "salt.txt": (salt or secrets.token_hex(16)) + "\n"}
    files["assignment.json"] = json.dumps({"name": assignment.name, "notebook": strip(assignment.notebook)})
    for code in sorted(package.rglob("*.py")):
        files[f"dlgm/{code.relative_to(package).as_posix()}"] = code.read_text(encoding="utf-8")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, text in files.items():
            entry = zipfile.ZipInfo(file, (1980, 1, 1, 0, 0, 0))
            mode = 0o755 if file in ("setup.sh", "run_autograder") else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, text)
    return path


def gradescope_results(assignment, result):
    """A result as Gradescope reads it: one test for each part that a program can mark."""
    by_hand = {part.name for part in assignment.parts if part.by_hand}
    tests = [
        {
            "name": part["name"], "score": part["points"], "max_score": part["out_of"], "visibility": "visible",
            "status": "passed" if part["state"] == "right" else "failed", "output": part["words"],
        }
        for part in result["parts"] if part["name"] not in by_hand
    ]  # fmt: skip
    words = [result["problem"]] if result["problem"] else result["notes"]
    return {"tests": tests, "output": "\n".join(words), "stdout_visibility": "hidden"}


def main(submitted, results):
    """Grade the one notebook of a Gradescope submission; a score of 0 is there from the start."""
    here, submitted, results = Path.cwd(), Path(submitted), Path(results)
    report.write(results, json.dumps({"score": 0, "output": "Grading did not end. Tell your teacher."}))
    given = json.loads((here / "assignment.json").read_text(encoding="utf-8"))
    assignment = read(given["notebook"], given["name"])
    found = (entry.path for entry in batch.entries(submitted, assignment)[0])
    files = batch.in_order(filter(None, found), assignment)
    handed = submission.read(files[-1], assignment) if files else submission.Submission(problem="There is no notebook.")
    with Zygote() as zygote:
        salt = (here / "salt.txt").read_text(encoding="utf-8").strip()
        result = grade.grade(zygote, assignment, handed, salt).as_dict()
    report.write(results, json.dumps(gradescope_results(assignment, result), indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
