"""What a student handed in, read tolerantly: cells come back doubled, split, renamed, or without their metadata."""

import ast
import contextlib
import hashlib
import itertools
import json
import re
import stat
import sys
from dataclasses import dataclass, field

from .assignment import YOURS, guess, meta, source

LARGEST = 512 * 2**20  # bytes of a file
LONGEST, MOST, WHOLE = 200_000, 300, 2_000_000  # characters of a cell, cells, and characters in all that are read
SHOWN = 20_000  # characters of a written answer


@dataclass
class Submission:
    """The answers of one notebook.

    Attributes:
        code: the sources to run, in order; own cells of the student reduced to imports, definitions and assignments.
        quiet: those of them that the student did not write, whose errors need no mention.
        names: part -> what to call, the student's name for it where it is another.
        text: part marked by hand -> what was written.
        broken: part -> a sentence, if its cell cannot be run at all.
        notes: sentences for the student about what was found.
        labelled: names of the functions whose answer cells were found by their labels.
        problem: a sentence, if nothing could be read at all.
        digest: SHA-256 of the file.
    """

    code: list = field(default_factory=list)
    quiet: set = field(default_factory=set)
    names: dict = field(default_factory=dict)
    text: dict = field(default_factory=dict)
    broken: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    labelled: tuple = ()
    problem: str = ""
    digest: str = ""

    def written(self, part):
        """What was written for a part marked by hand; "" if nothing was."""
        text = self.text.get(part.name, "").strip()
        return "" if text == YOURS else text


def read(path, assignment):
    """A Submission from a file that nobody trusts; never raises for what is in it."""
    try:
        found = path.lstat()
    except OSError as error:
        return Submission(problem=f"The file could not be read ({type(error).__name__}).")
    if not stat.S_ISREG(found.st_mode):
        return Submission(problem="This is not a file but a link or something else; hand in the notebook itself.")
    if found.st_size > LARGEST:
        return Submission(problem=f"The file has {found.st_size >> 20} MiB; clear its outputs and hand it in again.")
    try:
        raw = path.read_bytes()
    except OSError as error:
        return Submission(problem=f"The file could not be read ({type(error).__name__}).")
    out = Submission(digest=hashlib.sha256(raw).hexdigest())
    if not raw.strip():
        out.problem = "The file is empty: the notebook was probably not saved before it was handed in."
        return out
    try:
        notebook = json.loads(raw)
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        count = len(cells)
        cells = [{**cell, "outputs": []} for cell in itertools.islice((c for c in cells if isinstance(c, dict)), MOST)]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError):
        out.problem = "The file is damaged or cut off and cannot be read as a notebook; open it in JupyterLab and save."
        return out
    kernel = notebook.get("metadata", {}) if isinstance(notebook.get("metadata"), dict) else {}
    language = (kernel.get("kernelspec") or {}).get("language") if isinstance(kernel.get("kernelspec"), dict) else None
    if language not in (None, "python"):
        out.notes.append(f"The notebook's kernel is {str(language)[:50]!r}; its cells were graded as Python.")
    if count > MOST:
        out.notes.append(f"The notebook has {count} cells; the first {MOST} were read.")
    _collect(out, cells, assignment)
    if not out.labelled:
        other = guess(raw.decode(errors="replace"))
        if other not in (None, assignment.name):
            out.problem = f"This looks like {other}, not like {assignment.name}."
    return out


def _collect(out, cells, assignment):
    wanted = {part.name: part for part in assignment.parts}
    answers, others, texts, changed = _by_label(out, cells, assignment)
    pieces = {i: _parsed(out, name, text) for name, (i, text) in answers.items()}
    for i, text in others:
        pieces[i] = definitions(without_magics(text)) if len(text) <= LONGEST else ""
    out.code = [pieces[i] for i in sorted(pieces) if pieces[i]]
    out.quiet = {pieces[i] for i in changed}
    out.labelled = tuple(answers)
    defined = {name for piece in out.code for name in _functions(piece)}
    out.broken = {name: said for name, said in out.broken.items() if name not in defined}
    if changed:
        out.notes.append(f"Locked cells were changed ({len(changed)}); what they define was read all the same.")
    if not answers:
        out.notes.append("No answer cell was found by its label; functions of the right names were looked for.")
    for name, part in wanted.items():
        if part.by_hand:
            if not out.written(part) and any(text.strip() for text in texts):
                out.text[name] = "\n\n".join(texts)[:SHOWN]
                out.notes.append(f"Nothing stands in the cell of {name}; your other text cells are shown for it.")
            continue
        out.names[name] = name
        if name not in answers and answers:
            where = "its function was found in another cell" if name in defined else "nothing was found for it"
            out.notes.append(f"The answer cell of {name} is missing or lost its label; {where}.")
        elif name in answers and name not in defined:
            own = _functions(pieces[answers[name][0]])
            if len(own) == 1:
                out.names[name] = own[0]
                out.notes.append(f"{name} is called {own[0]} in your notebook; it was graded under that name.")


def _by_label(out, cells, assignment):
    """Answers: part -> (place, source); other code: (place, source); other texts; places of changed locked cells.

    A cell that lost its label is known by its name in the notebook's format, its id.
    """
    wanted, given = {part.name: part for part in assignment.parts}, assignment.notebook["cells"]
    labels = {str(cell.get("id")): meta(cell).get("grade_id") for cell in given}
    locked = {source(cell) for cell in given if not meta(cell).get("solution")}
    checks = {meta(cell).get("grade_id") for cell in given if meta(cell).get("grade")}
    answers, others, texts, changed, read = {}, [], [], [], 0
    for i, cell in enumerate(cells):
        key, text = str(cell.get("id")), source(cell)
        name = str(meta(cell).get("grade_id") or labels.get(key))
        read += len(text)
        if read > WHOLE:
            out.notes.append(f"The notebook has more than {WHOLE:,} characters; the rest was not read.")
            break
        if cell.get("cell_type") != "code":
            if name in wanted and wanted[name].by_hand:
                out.text[name] = text[:SHOWN] if text.strip() not in ("", YOURS) else out.text.get(name, "")
            elif key not in labels and text not in locked:
                texts.append(text)
        elif name in wanted:
            if name in answers:
                out.notes.append(f"The answer cell of {name} is there twice; the last one with an answer counts.")
            if name not in answers or "raise NotImplementedError" not in text:
                answers[name] = (i, text)
        elif name not in checks and text not in locked:
            changed += [i] * (name in labels.values())
            others.append((i, text))
    return answers, others, texts, changed


def _parsed(out, name, text):
    if len(text) > LONGEST:
        out.broken[name] = f"The answer cell has {len(text)} characters, more than {LONGEST}; it was not read."
        return ""
    text = without_magics(text)
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}: {(error.text or '').strip()[:100]}" if getattr(error, "lineno", None) else ""
        python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        out.broken[name] = f"The answer cell is not valid {python}{line or ' at all'}. None of it could be run."
        return ""
    return text


def without_magics(text):
    """The source without lines for IPython and the shell (%..., !..., name?), cells of another language emptied."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        ast.parse(text)
        return text  # Python as it is; a line of it may begin with %
    if re.match(r"\s*%%(?!(time|timeit|capture)\b)", text):
        return ""
    rest = r"(?:.*\\\n)*.*$"  # to the end of the line, or of the lines that a backslash joins to it
    text = re.sub(rf"(?m)^([ \t]*\w[\w, ]*=[ \t]*)[%!]{rest}", r"\1None", text)
    text = re.sub(rf"(?m)^([ \t]*)[%!]{rest}", r"\1pass", text)
    return re.sub(r"(?m)^([ \t]*)(?:\?{1,2}[\w.]+|[\w.]+\?{1,2})[ \t]*$", r"\1pass", text)


def definitions(text, calls=True):
    """The statements of a source that may define something an answer needs; "" if it is not Python.

    Args:
        calls: keep loops, conditions and assignments that call something, which may take long or fail. What is only
            called for its effect (a plot, a check) is left out either way, but for the default of dtypes.
    """
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    more = (ast.AugAssign, ast.For, ast.While, ast.If, ast.Try, ast.With, ast.AsyncFunctionDef)
    plain = (ast.Assign, ast.AnnAssign)
    try:
        body = ast.parse(text).body
        if calls:
            body = [n for n in body if isinstance(n, kept + more) or "set_default_dtype" in ast.dump(n)]
        else:
            body = [n for n in body if isinstance(n, kept)]
            body = [n for n in body if not (isinstance(n, plain) and any(isinstance(v, ast.Call) for v in ast.walk(n)))]
        return ast.unparse(ast.Module(body, []))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _functions(text):
    """Names of the functions that a source defines at its top level."""
    names = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [t.id for t in node.targets if isinstance(t, ast.Name)]
    return names
