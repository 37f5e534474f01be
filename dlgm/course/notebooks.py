"""Run notebooks, bring them into the form in which they are committed, and say what is wrong with them.

    python -m dlgm.course.notebooks notebooks/05_the_diffusion_kernel.ipynb     run, normalise, write back
    python -m dlgm.course.notebooks --check notebooks/*.ipynb                   only say what is not fit to ship
    python -m dlgm.course.notebooks --lint notebooks/0*.ipynb                   and where a lesson leaves the form

This is the only way a committed notebook gets its outputs. A notebook that fails is left as it was.
"""

import argparse
import html
import json
import re
import sys
import time
from pathlib import Path

from ..writing import atomically

MAX_BYTES = 1_500_000
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def execute(path, timeout=300):
    """Run a notebook from a clean kernel in its own folder; returns it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    nb = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(Path(path).parent)}}
    return NotebookClient(nb, timeout=timeout, kernel_name="python3", resources=folder, record_timing=False).execute()


def normalise(nb):
    """Drop what changes from run to run or machine to machine, progress bars too; live widgets become a sentence."""
    nb.metadata = {  # as JupyterLab writes it, so that opening a lesson changes next to nothing
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {
            "codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py", "mimetype": "text/x-python",
            "name": "python", "nbconvert_exporter": "python", "pygments_lexer": "ipython3", "version": "3.11.0",
        },
    }  # fmt: skip
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = _joined([out for out in cell.outputs if not _is_progress_bar(out)])
        for out in cell.get("outputs", []):
            if WIDGET_VIEW in out.get("data", {}):
                out["data"] = {"text/plain": "(Run this cell to get the controls.)"}
                out["metadata"] = {}
    return nb


def _joined(outputs):
    """The outputs, with pieces of one printed text put together as JupyterLab does."""
    out = []
    for one in outputs:
        if out and one.output_type == "stream" and (out[-1].output_type, out[-1].get("name")) == ("stream", one.name):
            out[-1].text += one.text
        else:
            out.append(one)
    return out


def _is_progress_bar(out):
    """Whether an output is tqdm's bar: a widget, or text on stderr (of which the end of the line may come alone)."""
    if out.get("name") == "stderr":
        return not out["text"].strip() or bool(re.search(r"\d+%\|", out["text"]))
    data = out.get("data", {})
    return WIDGET_VIEW in data and bool(re.search(r"\d+%\|", data.get("text/plain", "")))


def faults(path):
    """What makes a notebook unfit to ship, a list of sentences; empty where all is well."""
    found, last = [], 0
    text = Path(path).read_text(encoding="utf-8")
    nb = json.loads(text)
    for i, cell in enumerate(nb["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        count = cell.get("execution_count")
        if count != last + 1:
            found.append(f"cell {i} has execution count {count}, expected {last + 1}")
        last = count or last
        if re.search(
            r"\binteract(ive)?(_output)?\(|\bwidgets\.Output\(|\bimport matplotlib\.pyplot|pip install", source
        ):
            found.append(f"cell {i} uses pyplot, interact, Output or an install; see dlgm.course.widgets")
        outputs = cell.get("outputs", [])
        pictures = "".join("".join(out["data"].get("text/html", "")) for out in outputs if "data" in out)
        for out in outputs:
            dump = json.dumps(out)
            if out["output_type"] == "error" and "raises-exception" not in cell["metadata"].get("tags", []):
                found.append(f"cell {i} stores an error, {out['ename']}")
            if out.get("name") == "stderr":
                found.append(f"cell {i} stores a warning: {dump[:120]}")
            if re.search(r"/(home|root|tmp|usr|Users|work|opt)/", dump):
                found.append(f"cell {i} stores a path of a machine")
            for kind in {"image/png", "image/gif"} & out.get("data", {}).keys():
                alt = out.get("metadata", {}).get(kind, {}).get("alt")
                if not alt:
                    found.append(f"cell {i} stores a picture without alternative text")
                elif html.escape(alt) not in pictures:
                    found.append(f"cell {i} stores a picture whose text does not stand beside it")
            if WIDGET_VIEW in out.get("data", {}):
                found.append(f"cell {i} stores a live widget")
    if "widgets" in nb["metadata"]:
        found.append("widget state is stored")
    if len(text.encode()) > MAX_BYTES:
        found.append(f"{len(text.encode()) // 1000} kB is more than {MAX_BYTES // 1000}")
    return found


def words(nb):
    """Number of words of prose: Markdown cells without formulas, links' targets and HTML tags."""
    prose = " ".join("".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "markdown")
    prose = re.sub(r"\$\$.*?\$\$|\$.*?\$|<[^>]*>|\]\([^)]*\)", " ", prose, flags=re.S)
    return len(re.findall(r"[A-Za-z]+", prose))


LIMITS = {  # a printed line is what JupyterLab shows unwrapped in a window of 1100 pixels
    "cells": 80, "words": 3500, "lines of a code cell": 20, "words of a prose cell": 350, "labels of a cell": 12,
    "characters of a printed line": 83,
}  # fmt: skip
LABEL = re.compile(r"\b(?:[A-Z]{2,7}|[EM])-\d+\b")


def form(path):
    """Where a lesson leaves the form that all lessons have, a list of sentences; empty where it keeps it.

    In order: a question, what is needed, minutes; guesses in a cell right after "Predict", each printed again later;
    sections; a stub before each check; five sentences, exit questions with folded answers, a sheet of formulas. Limits
    for cells, words, lines, labels and what is printed are LIMITS.
    """
    nb, found = json.loads(Path(path).read_text(encoding="utf-8")), []
    cells = [(c["cell_type"], "".join(c["source"])) for c in nb["cells"]]
    prose = [source for kind, source in cells if kind == "markdown"]
    code = [source for kind, source in cells if kind == "code"]
    head, everything = prose[0], "\n".join(prose)
    found += [f"the header lacks {part}" for part in ("**Needs:**", "**Minutes:**", "**Sources:**") if part not in head]
    if not re.search(r"(?m)^\*\*[^*]+\?", head):
        found.append("the header asks no question")
    order = ["## Predict", "## The effect first", "## 1 ·", "## Five sentences to remember", "## Exit questions",
             "## What we skipped", "## Formula sheet"]  # fmt: skip
    places = [everything.find(part) for part in order]
    found += [f"there is no {part!r}" for part, at in zip(order, places, strict=True) if at < 0]
    if not found and places != sorted(places):
        found.append(f"sections are not in the order {', '.join(order)}")
    numbers = [int(n) for n in re.findall(r"(?m)^## (\d+) ·", everything)]
    if numbers != list(range(1, len(numbers) + 1)):
        found.append(f"sections are numbered {numbers}")
    for i, (kind, source) in enumerate(cells):
        size, limit = sum(map(bool, source.split("\n"))), "lines of a code cell"
        if kind == "markdown":
            size, limit = words({"cells": [nb["cells"][i]]}), "words of a prose cell"
        if size > LIMITS[limit]:
            found.append(f"cell {i} has {size} {limit.split(' of ')[0]}, {LIMITS[limit]} at most")
        labels = len(LABEL.findall(source)) if kind == "markdown" and "Corrections" not in source else 0
        if "## Formula sheet" not in source and labels > LIMITS["labels of a cell"]:
            found.append(f"cell {i} has {labels} labels, {LIMITS['labels of a cell']} at most")
        if source.count("<details>") != source.count("</details>"):
            found.append(f"cell {i} opens and closes folds in different numbers")
        if kind == "markdown" and re.search(r"(?m)<summary>.*\$.*</summary>|^#+ .*\$", source):
            found.append(f"cell {i} has a formula in a heading or a summary, where some viewers show it raw")
        told = re.sub(r"(?s)<summary>In the decks</summary>.*?</details>", "", source)
        if kind == "markdown" and "alpha=1-" not in told and re.search(r"(?<!\\bar)\\alpha(?![_A-Za-z])", told):
            found.append(f"cell {i} has a bare alpha; alpha_t is 1 - beta_t, and the signal scale has another name")
        for out in nb["cells"][i].get("outputs", []):
            longest, limit = max(map(len, "".join(out.get("text", "")).split("\n"))), "characters of a printed line"
            if longest > LIMITS[limit]:
                found.append(f"cell {i} prints a line of {longest} characters, {LIMITS[limit]} at most")
    at = next((i for i, (_, source) in enumerate(cells) if source.lstrip().startswith("## Predict")), None)
    guesses = cells[at + 1][1] if at is not None else ""
    if not guesses.startswith("guess = {"):
        found.append("no cell with guesses follows the predictions")
    for name in re.findall(r'"([^"]+)": ', guesses):
        if not any(re.search(rf"guess\[[\"']{re.escape(name)}[\"']\]", source) for source in code):
            found.append(f"the guess {name!r} is nowhere compared")
    for name in re.findall(r'check\("(\w+)"', "\n".join(code)):
        if not any(f"def {name}(" in source and "raise NotImplementedError" in source for source in code):
            found.append(f"{name} is checked, and there is no stub")
    for part, size in (("cells", len(cells)), ("words", words(nb))):
        if size > LIMITS[part]:
            found.append(f"{size} {part}, {LIMITS[part]} at most")
    return found


def main(argv=None):
    """The command; returns the number of notebooks that are not fit to ship."""
    import nbformat
    from nbclient.exceptions import CellExecutionError

    parser = argparse.ArgumentParser(prog="python -m dlgm.course.notebooks", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="do not run, only check")
    parser.add_argument("--lint", action="store_true", help="do not run; check, the form of a lesson included")
    args, bad = parser.parse_args(argv), 0
    for path in args.files:
        if not path.is_file():
            print(f"{path}: there is no such file")
            bad += 1
            continue
        start = time.perf_counter()
        if not (args.check or args.lint):
            try:
                nb = normalise(execute(path))
            except CellExecutionError as error:
                plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
                print(f"{path}: a cell failed, the file is left as it was", *plain[:12], "...", plain[-1], sep="\n")
                bad += 1
                continue
            text = nbformat.writes(nb) + "\n"
            atomically(path, lambda part, text=text: part.write_text(text, encoding="utf-8"))
        seconds = "" if args.check or args.lint else f", {time.perf_counter() - start:.0f} s"
        nb, wrong = json.loads(path.read_text(encoding="utf-8")), faults(path)
        wrong = wrong + form(path) if args.lint else wrong
        print(f"{path}: {len(nb['cells'])} cells, {words(nb)} words, {path.stat().st_size // 1000} kB{seconds}")
        print("".join(f"  {line}\n" for line in wrong), end="")
        bad += bool(wrong)
    return bad


if __name__ == "__main__":
    sys.exit(main())
