"""The student's version of an assignment: the master without solutions, and only if nothing would leak."""

import copy
import json
import re
import tempfile
from pathlib import Path

from . import grade, submission
from .assignment import ROOT, YOURS, headings, load, meta, source

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def strip(notebook):
    """A copy of a master without solutions, model answers, hidden tests and outputs, its locked cells locked.

    nbgrader's own ``locked`` means nothing to a JupyterLab without its extension; ``editable`` and ``deletable`` do.
    """
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        m, text = meta(cell), source(cell)
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            text = without_solution(text)
        elif m.get("grade") and m.get("solution"):
            text = YOURS
        if m.get("locked"):
            cell["metadata"] |= {"deletable": False, "editable": False}
        cell["source"] = text.splitlines(keepends=True)
    return notebook


def without_solution(text):
    """The source with each marked solution replaced by ``raise NotImplementedError`` in its place.

    Raises:
        ValueError: a mark without its partner.
    """
    if text.count(BEGIN) != text.count(END):
        raise ValueError(f"a solution begins or ends without its partner in:\n{text}")
    pattern = rf"(?ms)^([ \t]*){BEGIN}.*?{END}[ \t]*$"
    return re.sub(pattern, r"\1raise NotImplementedError", text)


def leaks(master, student):
    """Lines of solutions and model answers of the master that stand anywhere in the student's version."""
    shown = json.dumps(student, ensure_ascii=False)
    found = []
    for cell in master["cells"]:
        m, text = meta(cell), source(cell)
        secret = re.findall(rf"(?s){BEGIN}(.*?){END}", text) if cell["cell_type"] == "code" else []
        if cell["cell_type"] != "code" and m.get("grade") and m.get("solution"):
            secret = [text]
        for line in "\n".join(secret).splitlines():
            line = line.strip()
            if len(line) > 12 and json.dumps(line, ensure_ascii=False)[1:-1] in shown:
                found.append(line)
    return found


def runs(notebook, seconds=300):
    """Execute a notebook in an empty folder.

    Raises:
        ValueError: a cell raises.
    """
    import nbclient
    import nbformat

    node = nbformat.reads(json.dumps(notebook), as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(node, timeout=seconds, resources={"metadata": {"path": folder}})
        try:
            client.execute()
        except nbclient.exceptions.CellExecutionError as error:
            raise ValueError(f"without answers a cell raises {error.ename}: {error.evalue}") from None


def told_points(assignment):
    """What the text of a master says about points and its metadata contradict: sentences.

    The first "N points" from a part's heading to its answer cell, and the first of the notebook, are the text's.
    """
    parts = {part.name: part.points for part in assignment.parts}
    said, text = {}, ""
    for cell in assignment.notebook["cells"][1:]:
        if cell["cell_type"] == "markdown" and not meta(cell).get("solution"):
            text = source(cell) if any(headings([cell])) else text + source(cell)
        elif (name := meta(cell).get("grade_id")) in parts:
            said[name], text = re.search(r"(\d+(?:\.\d+)?) points", text), ""
    for name, points in parts.items():
        if said.get(name) and float(said[name][1]) != points:
            yield f"the text above {name} says {said[name][1]} points, the metadata say {points:g}"
    header = source(assignment.notebook["cells"][0])
    total = re.search(r"(\d+(?:\.\d+)?) points|\*\*Points:\*\* (\d+(?:\.\d+)?)", header)
    if total and float(total[1] or total[2]) != assignment.points:
        yield f"the text says {total[1] or total[2]} points in all, the metadata {assignment.points:g}"
    count = re.search(r"(\d+) parts", header)
    if count and int(count[1]) != len(parts):
        yield f"the text says {count[1]} parts, the metadata {len(parts)}"


def release(name, zygote=None):
    """The student's version of an assignment as text, checked.

    Args:
        name: of the assignment, or a master's path.
        zygote: if given, the solved master is graded and must reach full marks, and the untouched version is run.
    Raises:
        ValueError: it is no master, its text and metadata disagree on points, something would leak, the untouched
            version does not run to its end or earns points, or the solved one does not earn all.
    """
    assignment = load(name)
    if not any(BEGIN in source(cell) for cell in assignment.notebook["cells"]):
        raise ValueError(f"{name} is a student's version, not a master: no {BEGIN!r} stands in it")
    if wrong := "; ".join(told_points(assignment)):
        raise ValueError(f"{assignment.name}: {wrong}; nothing was written")
    student = strip(assignment.notebook)
    shown = leaks(assignment.notebook, student)
    if shown:
        raise ValueError(f"{assignment.name}: the student's version would show {shown[0]!r}; nothing was written")
    text = json.dumps(student, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if zygote is not None:
        with tempfile.TemporaryDirectory() as folder:
            earned = {}
            for kind, notebook in (("solved", assignment.notebook), ("untouched", student)):
                path = Path(folder) / f"{kind}.ipynb"
                path.write_text(json.dumps(notebook), encoding="utf-8")
                earned[kind] = grade.grade(zygote, assignment, submission.read(path, assignment), "release")
        for part in earned["solved"].parts:
            if part.points < part.out_of and part.state != "by hand":
                raise ValueError(f"{part.name}: the master's own answer earns {part.points} points: {part.words}")
        if earned["untouched"].points:
            raise ValueError(f"{assignment.name}: the untouched version earns {earned['untouched'].points} points")
        runs(student)
    return text


def path_of(assignment):
    """Where the student's version stands."""
    return ROOT / f"{assignment.name}.ipynb"
