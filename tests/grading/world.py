"""A small assignment and what students make of it: two graded functions, one written answer."""

import json

SOLUTIONS = {
    "affine": "def affine(x, a):\n    return a * x + 1",
    "spread": "def spread(x, a):\n    return a * x.std(correction=0)",
}
STUB = "def {0}(x, a):\n    raise NotImplementedError"


def cell(kind, text, **nbgrader):
    """A notebook cell, with nbgrader's metadata if any are given."""
    metadata = {"nbgrader": {"schema_version": 3, "task": False, **nbgrader}} if nbgrader else {}
    out = {"cell_type": kind, "id": nbgrader.get("grade_id", "cell"), "metadata": metadata, "source": text}
    return out | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook(affine=None, spread=None, written="What I think.", extra=(), **metadata):
    """A notebook of the assignment with these answers, source texts; None leaves the stub."""
    cells = [cell("markdown", "# Toy", grade=False, solution=False, locked=True, grade_id="top")]
    setup = "import torch\nfrom dlgm.exercises import check"
    cells.append(cell("code", setup, grade=False, solution=False, locked=True, grade_id="setup"))
    for name, text in (("affine", affine), ("spread", spread)):
        text = STUB.format(name) if text is None else text
        cells.append(cell("code", text, grade=False, solution=True, locked=False, grade_id=name))
        call = f'check("{name}", {name})'
        points = {"affine": 6, "spread": 4}[name]
        cells.append(
            cell("code", call, grade=True, solution=False, locked=True, grade_id=f"check_{name}", points=points)
        )
    cells.append(cell("markdown", written, grade=True, solution=True, locked=False, grade_id="why", points=5))
    cells += extra
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def master():
    """The master: solutions between marks."""
    marked = {
        name: text.replace("\n    ", "\n    ### BEGIN SOLUTION\n    ") + "\n    ### END SOLUTION"
        for name, text in SOLUTIONS.items()
    }
    return notebook(**marked, written="Because the model answer says so, at length.")


def save(path, content):
    """Write a notebook, or raw text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
