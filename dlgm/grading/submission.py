"""What a student handed in, read tolerantly: cells come back doubled, split, renamed, or without their metadata."""

import ast
import contextlib
import hashlib
import json
import re
import stat
import symtable
import sys
import textwrap
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote, unquote

from .assignment import YOURS, guess, meta, source

LARGEST = 512 * 2**20  # bytes of a file
LONGEST, MOST, WHOLE = 200_000, 300, 2_000_000  # characters of a cell, cells, and characters in all that are read
SHOWN = 20_000  # characters of a written answer
MADE_UP = {"exec", "eval", "globals", "locals", "vars"}  # a source with these may bind any name
IMG = r"<img\b[^<>]{0,500}?\bsrc=[\"']?(attachment:[^\"'\s<>]+)[^<>]{0,500}>"
PICTURES = 20 * 2**20  # characters of its pictures, as they stand in a notebook


class Cell(NamedTuple):
    """A source to run. ``kind``: "answer", "own" (a cell that the student added) or "given" (errors go unmentioned)."""

    text: str
    kind: str


@dataclass
class Submission:
    """The answers of one notebook.

    Attributes:
        code: the Cells to run, in order.
        names: part -> what to call, the student's name for it where it is another.
        text: part marked by hand -> what was written.
        pictures: part marked by hand -> the attachments of what was written, as a notebook has them.
        broken: part -> a sentence, if its cell cannot be run at all.
        notes: sentences for the student about what was found.
        labelled: names of the functions whose answer cells were found by their labels.
        problem: a sentence, if nothing could be read at all.
        digest: SHA-256 of the file.
    """

    code: list = field(default_factory=list)
    names: dict = field(default_factory=dict)
    text: dict = field(default_factory=dict)
    pictures: dict = field(default_factory=dict)
    broken: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    labelled: tuple = ()
    problem: str = ""
    digest: str = ""

    def written(self, part):
        """What was written for a part marked by hand; "" if nothing was."""
        return self.text.get(part.name, "")


def content(path):
    """The bytes of a file that nobody trusts.

    Raises:
        ValueError: a sentence for the student; it is no ordinary file, too large, empty, or cannot be read.
    """
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("This is not a file but a link or something else; hand in the notebook itself.")
        if found.st_size > LARGEST:
            raise ValueError(f"The file has {found.st_size >> 20} MiB; clear its outputs and hand it in again.")
        raw = path.read_bytes()
    except OSError as error:
        raise ValueError(f"The file could not be read ({type(error).__name__}).") from None
    if not raw.strip():
        raise ValueError("The file is empty: the notebook was probably not saved before it was handed in.")
    return raw


def parsed(raw):
    """(cells, metadata) of the bytes of a notebook, also of the old format 3, whose code stands in ``input``.

    Raises:
        ValueError: a sentence for the student; it is no notebook.
    """
    try:
        try:
            notebook = json.loads(raw)
        except UnicodeDecodeError:
            notebook = json.loads(raw.decode("cp1252", errors="replace"))  # saved by an editor on Windows
        sheets = [notebook] if "cells" in notebook else notebook["worksheets"]
        cells = [cell for sheet in sheets for cell in sheet["cells"] if isinstance(cell, dict)]
        cells = [{"source": cell.get("input", ""), **cell, "outputs": []} for cell in cells]
        metadata = notebook.get("metadata")
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, AttributeError):
        raise ValueError(
            "The file is damaged or cut off and cannot be read as a notebook; open it in JupyterLab and save."
        ) from None
    return cells, metadata if isinstance(metadata, dict) else {}


def read(path, assignment):
    """A Submission from a file that nobody trusts; never raises for what is in it."""
    out = Submission()
    try:
        raw = content(path)
        out.digest = hashlib.sha256(raw).hexdigest()
        cells, metadata = parsed(raw)
    except ValueError as error:
        out.problem = str(error)
        return out
    kernel = metadata.get("kernelspec")
    language = kernel.get("language") if isinstance(kernel, dict) else None
    if language not in (None, "python"):
        out.notes.append(f"The notebook's kernel is {str(language)[:50]!r}; its cells were graded as Python.")
    _collect(out, cells, assignment)
    if not out.labelled:
        other = guess(raw.decode(errors="replace"))
        if other not in (None, assignment.name):
            out.problem = f"This looks like {other}, not like {assignment.name}."
    return out


def _collect(out, cells, assignment):
    found = _sorted_out(out, cells, assignment)
    _written(out, [part.name for part in assignment.parts if part.by_hand], found)
    graded = [part.name for part in assignment.parts if not part.by_hand]
    code, changed = {}, 0
    for cell in found:
        text = "" if cell.name in graded else cell.python()
        if text and (cell.is_code or cell.name is None and _names(text).binds & {*graded}):
            code[cell.place] = Cell(text, "given" if cell.given else "own")
            changed += cell.given and bool(_names(text).binds)
    for name in graded:
        pieces = [cell for cell in found if cell.name == name]
        code |= {place: Cell(text, "answer") for place, text in _pieces(out, name, pieces).items()}
    if changed:
        out.notes.append(f"Locked cells were changed ({changed}); what they define was read all the same.")
    labels = {cell.place: cell.name for cell in found if cell.name in graded}
    out.labelled = tuple(name for name in graded if name in labels.values())
    if not labels:
        out.notes.append("No answer cell was found by its label; functions of the right names were looked for.")
    for name in graded:  # what was left to be done counts only where nothing was done
        done = {place: Cell(_without_stub(text, name), kind) for place, (text, kind) in code.items()}
        code = done if any(name in _names(cell.text).binds for cell in done.values()) else code
    out.code = [code[place] for place in sorted(code)]
    defined = {name for cell in out.code for name in _names(cell.text).binds}
    out.broken = {name: said for name, said in out.broken.items() if name not in defined}
    for name in graded:
        own = [code[place].text for place, label in labels.items() if label == name]
        out.names[name] = _called(out, name, own, defined)


def _called(out, name, own, defined):
    """What to call for a part: the only function of its cells ``own``, where none has the right name."""
    if not own and out.labelled:
        where = "its function was found in another cell" if name in defined else "nothing was found for it"
        out.notes.append(f"The answer cell of {name} is missing or lost its label; {where}.")
    if not own or name in defined:
        return name
    nodes = [node for text in own for node in ast.parse(text).body]
    targets = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    made = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    made = made or [target.id for target in targets if isinstance(target, ast.Name)]
    if len(made) != 1:
        return name
    if not any(_names(cell.text).reads & MADE_UP for cell in out.code):
        out.notes.append(f"{name} is called {made[0]} in your notebook; it was graded under that name.")
    return made[0]


# ---- cells ----------------------------------------------------------------------------------------------------------
@dataclass
class _Found:
    """A cell of a submission.

    Attributes:
        name: its label, of the assignment's cell that it was; None for a student's own.
        type: as it is now. is_code: as the assignment has it, which counts; a key pressed by mistake changes a type.
        given: whether it is the assignment's, by its label or its text; the text is "" where it is as it was.
    """

    place: int
    name: str | None
    type: str
    is_code: bool
    given: bool
    text: str
    attachments: dict

    def python(self):
        """The text if it is Python that can be run, else ""."""
        text = self.plain()
        return text if len(text) <= LONGEST and _error(text) is None else ""

    def plain(self):
        """The text without magics; where code became text, without the fences around it."""
        text = without_magics(self.text)
        if self.type != "code" and len(fenced := re.split(r"(?m)^[ \t]*(?:```|~~~).*$", text)) > 2:
            return without_magics("\n".join(fenced[1::2]))
        return text


def _sorted_out(out, cells, assignment):
    """The cells of a submission as _Found, in their order: those with answers, and as many others as are read.

    A cell that lost its label is known by its name in the notebook's format, its id.
    """
    parts = {part.name for part in assignment.parts}
    given = [(meta(cell).get("grade_id"), cell) for cell in assignment.notebook["cells"]]
    labels = {str(cell.get("id")): name for name, cell in given}
    known = {name: cell for name, cell in given if name}
    locked = {_squeezed(source(cell)) for _, cell in given if not meta(cell).get("solution")} - {""}
    found, whole = [], {}
    for place, cell in enumerate(cells):
        metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
        key, name = str(cell.get("id") or metadata.get("id")), meta(cell).get("grade_id")
        name = name if isinstance(name, str) and name in known else labels.get(key)
        kind = str(cell.get("cell_type"))
        is_code = (known[name]["cell_type"] if name in known else kind) == "code"
        text, attachments = _without_data(source(cell), cell.get("attachments"), place)
        found.append(_Found(place, name, kind, is_code, name in known or key in labels, text, attachments))
        whole[name] = whole.get(name, "") + _squeezed(text)
    as_it_was = {name for name, text in whole.items() if name is not None and text in locked}  # perhaps in pieces
    kept, count, size = [], 0, 0
    for cell in sorted(found, key=lambda cell: cell.name not in parts):
        if cell.name not in parts and (cell.name in as_it_was or _squeezed(cell.text) in locked):
            cell.text, cell.given = "", True
        elif not cell.is_code and cell.name in known and cell.name not in parts:  # an answer under the question itself
            cell.text = cell.text.partition(source(known[cell.name]).strip() or cell.text)[2].strip()
        count, size = count + bool(cell.is_code and cell.text.strip()), size + len(cell.text)
        if count > MOST or size > WHOLE:
            out.notes.append(
                f"The notebook has more than {MOST} cells of code or {WHOLE:,} characters; "
                "its answer cells and the first of the others were read."
            )
            break
        kept.append(cell)
    return sorted(kept, key=lambda cell: cell.place)


def _squeezed(text):
    """A text without white space, to compare."""
    return re.sub(r"\s+", "", text)


def _without_data(text, attachments, place):
    """(text, attachments) of a cell; pictures that stand in the text itself, as data, become attachments."""
    attachments = dict(attachments) if isinstance(attachments, dict) else {}

    def named(match):
        name = f"picture-{place}-{len(attachments)}"
        attachments[name] = {match[1]: unquote(match[2])}
        return f"attachment:{name}"

    return re.sub(r"data:(image/[\w.+-]+);base64,([\w+/=%]+)", named, text), attachments


# ---- written answers ------------------------------------------------------------------------------------------------
def _written(out, names, found):
    """Put together what was written for each part: its cells, and the student's own text cells next to them.

    For a part without any, all other text cells of the student.
    """
    beside = {name: _beside(name, found) for name in names}
    shown = {cell.place for cells in beside.values() for cell in cells}
    texts = [c for c in found if c.name not in names and not (c.is_code or c.type == "code") and c.text.strip()]
    for name in names:
        filled = [cell for cell in found if cell.name == name and cell.text.strip() not in ("", YOURS)]
        more = beside[name] or [cell for cell in texts if not filled and cell.place not in shown]
        if more and filled:
            out.notes.append(f"Your text cells next to the cell of {name} are shown with it.")
        elif more:
            out.notes.append(f"Nothing stands in the cell of {name}; your other text cells are shown for it.")
        if more or filled:
            _show(out, name, sorted([*filled, *more], key=lambda cell: cell.place))


def _beside(name, found):
    """The student's own texts that no cell of the assignment separates from the cells of this name.

    One may stand in that cell itself, below what the assignment says there.
    """
    out, before = [], []
    for apart, run in groupby(found, lambda cell: cell.given and cell.name != name):
        run = list(run)
        if not apart and any(cell.name == name for cell in run):
            own = [cell for cell in (*before, *run) if cell.name != name and cell.text.strip()]
            out += [cell for cell in own if not cell.is_code or not cell.python()]
        before = [cell for cell in run[-1:] if not cell.is_code]
    return out


def _show(out, name, cells):
    """Join the texts of cells, and their pictures; say what is not shown."""
    texts, pictures = [], {}
    for cell in cells:
        text = re.sub(r"\A\s*%%(?:markdown|latex|html)\b.*\n?", "", cell.text)
        for old, data in cell.attachments.items():
            data = {str(kind): source({"source": v}) for kind, v in data.items()} if isinstance(data, dict) else {}
            data = {k: re.sub(r"[^\w+/=]", "", v) for k, v in data.items() if re.fullmatch(r"image/[\w.+-]+", k)}
            new = old if pictures.get(old, data) == data else f"{cell.place}-{old}"  # old editors name all image.png
            for link in {old, quote(old)} if new != old else ():
                text = text.replace(f"attachment:{link}", f"attachment:{quote(new)}")
            if data:
                pictures[new] = data
        texts.append(re.sub(IMG, r"![](\1)", text).strip())
    text = "\n\n".join(texts).strip()
    if len(text) > SHOWN:
        out.notes.append(f"What you wrote for {name} has {len(text):,} characters; the first {SHOWN:,} are shown.")
        text = f"{text[:SHOWN]}\n\n(Cut here: {SHOWN:,} of {len(text):,} characters.)"
    if sum(len(v) for data in pictures.values() for v in data.values()) > PICTURES:
        out.notes.append(f"The pictures of {name} are larger than {PICTURES >> 20} MiB in all; they are not shown.")
        pictures = {}
    links = re.findall(r"!\[[^\]\n]{0,300}\]\(\s*<?([^)\s>]+)|\bsrc=[\"']?([^\"'\s>]+)", text)
    there = {f"attachment:{link}" for name in pictures for link in (name.split()[0], quote(name)) if name.strip()}
    lost = [link for link in dict.fromkeys(a or b for a, b in links) if link not in there]
    if lost:
        few = ", ".join(v[:80] for v in lost[:3])
        out.notes.append(f"Pictures of {name} are not in the notebook, so your teacher does not see them: {few}.")
    out.text[name], out.pictures[name] = text, pictures


# ---- code -----------------------------------------------------------------------------------------------------------
def _pieces(out, name, cells):
    """Place -> source of the cells of one answer, all to be run in their order; together where only that is Python."""
    texts = {cell.place: cell.plain() for cell in cells}
    if len([text for text in texts.values() if text.strip()]) > 1:
        many = {2: "twice"}.get(len(texts), f"{len(texts)} times")
        out.notes.append(f"The answer cell of {name} is there {many}; all were run in their order.")
    if any(cell.type != "code" and cell.text.strip() for cell in cells):
        out.notes.append(f"The answer cell of {name} is no code cell any more; it was read as one.")
    together = without_magics("\n".join(cell.text for cell in cells))
    if len(together) > LONGEST:
        out.broken[name] = f"The answer cell has {len(together)} characters, more than {LONGEST}; it was not read."
        return dict.fromkeys(texts, "")
    if len(cells) > 1 and any(_error(cell.text) for cell in cells) and _error(together) is None:
        return {**dict.fromkeys(texts, ""), cells[-1].place: together}
    for place, text in texts.items():
        if error := _error(text):
            number = getattr(error, "lineno", None)
            line = f" in line {number}: {(error.text or '').strip()[:100]}" if number else ""
            python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
            out.broken[name] = f"The answer cell is not valid {python}{line or ' at all'}. None of it could be run."
            texts[place] = ""
    return texts


def _error(text):
    """Why a text is not Python; None if it is."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return error


def without_magics(text):
    """The source without lines for IPython and the shell (%..., !..., name?), cells of another language emptied."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for whole in (text, textwrap.dedent(text)):
        if _error(whole) is None:
            return whole  # Python as it is; a line of it may begin with %
    if re.match(r"\s*%%(?!(time|timeit|capture)\b)", text):
        return ""
    rest = r"(?:.*\\\n)*.*$"  # to the end of the line, or of the lines that a backslash joins to it
    text = re.sub(r"(?m)^([ \t]*)%time[ \t]+(?=\S)", r"\1", text)
    text = re.sub(rf"(?m)^([ \t]*\w[\w, ]*=[ \t]*)[%!]{rest}", r"\1None", text)
    text = re.sub(rf"(?m)^([ \t]*)[%!]{rest}", r"\1pass", text)
    return re.sub(r"(?m)^([ \t]*)(?:\?{1,2}[\w.]+|[\w.]+\?{1,2})[ \t]*$", r"\1pass", text)


class _Statement(NamedTuple):
    """The first and last line of a statement, its text and nodes; those that share a line come together."""

    first: int
    last: int
    text: str
    nodes: list


def _statements(text):
    """The _Statements of a source; none if it is not Python."""
    spans, lines = [], text.split("\n")
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.parse(text).body:
            first, nodes = min(n.lineno for n in (node, *getattr(node, "decorator_list", ()))), []
            if spans and spans[-1][1] >= first:
                first, _, nodes = spans.pop()
            spans.append((first, node.end_lineno, [*nodes, node]))
    return [_Statement(a, b, "\n".join(lines[a - 1 : b]), nodes) for a, b, nodes in spans]


def _only(text, wanted):
    """The source with the lines of wanted statements; the others are blank, so that numbers of lines stay."""
    out = [""] * (text.count("\n") + 1)
    for statement in _statements(text):
        if wanted(statement):
            out[statement.first - 1 : statement.last] = statement.text.split("\n")
    return "\n".join(out).rstrip()


def _without_stub(text, name):
    """The source without functions of this name that come to ``raise NotImplementedError`` before any return."""

    def is_stub(node):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            for line in node.body:
                if isinstance(line, ast.Raise) and "id='NotImplementedError'" in ast.dump(line):
                    return True
                if any(isinstance(inner, ast.Return) for inner in ast.walk(line)):
                    return False
        return False

    if "NotImplementedError" not in text:
        return text
    return _only(text, lambda statement: not all(map(is_stub, statement.nodes)))


def definitions(text, calls=True):
    """The source with the statements that may define something an answer needs; "" if it is not Python.

    Args:
        calls: keep loops, conditions and assignments that call something, which may take long or fail. What is only
            called for its effect (a plot, a check) is left out either way, but for the default of dtypes.
    """
    plain = (ast.Assign, ast.AnnAssign)
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, *plain)
    more = (ast.AugAssign, ast.For, ast.While, ast.If, ast.Try, ast.With, ast.Match, ast.AsyncFunctionDef)

    def wanted(node):
        if calls:
            return isinstance(node, kept + more) or "set_default_dtype" in ast.dump(node)
        calling = isinstance(node, plain) and any(isinstance(inner, ast.Call) for inner in ast.walk(node))
        return isinstance(node, kept) and not calling

    return _only(text, lambda statement: any(map(wanted, statement.nodes)))


class _Names(NamedTuple):
    """What a source reads and binds outside of functions, or in them where it is not local to them."""

    reads: frozenset
    binds: frozenset


@lru_cache(2000)
def _names(text):
    """The _Names of a source."""
    reads, binds = set(), set()
    for statement in _statements(text):
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            tables = [symtable.symtable(statement.text, "cell", "exec")]
            for table in tables:  # it grows
                tables += table.get_children()
                for symbol in table.get_symbols():
                    if table is tables[0] or symbol.is_global():
                        reads |= {symbol.get_name()} if symbol.is_referenced() else set()
                        binds |= {symbol.get_name()} if symbol.is_assigned() or symbol.is_imported() else set()
    return _Names(frozenset(reads), frozenset(binds))


def needed(texts, names, given=0):
    """The sources without the statements that the functions of these names cannot depend on.

    What a statement reads or binds it may change, and so what functions change that it mentions. Definitions, imports
    and settings stay, and so does everything where names may be made up while it runs.

    Args:
        given: so many sources at the beginning are the assignment's, which makes up none.
    """
    if any(_names(text).reads & MADE_UP for text in texts[given:]):
        return texts
    lasting = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    statements = {statement.text: statement for text in texts for statement in _statements(text)}
    mentions, changes, variables = {}, {}, set()  # the first two of a function or class
    for text, statement in statements.items():
        reads, binds = _names(text)
        made = {
            getattr(found, "asname", None) or found.name.partition(".")[0]
            for node in statement.nodes if isinstance(node, lasting) for found in getattr(node, "names", [node])
        }  # fmt: skip
        stored, used = _changed(statement.nodes)
        mentions |= {name: mentions.get(name, set()) | reads | binds for name in made}
        changes |= {name: changes.get(name, set()) | stored | used | binds for name in made}
        variables |= binds - made | stored
    changes = {name: changed | (mentions[name] & mentions.keys()) for name, changed in changes.items()}

    def reached(names, links):
        out, new = set(), set(names)
        while new:
            out |= new
            new = {other for name in new for other in links.get(name, ())} - out
        return out & variables

    own = {text: _names(text).reads | _names(text).binds for text in statements}
    gives = {text: reached(own[text], changes) for text in statements}
    needs = {text: reached(own[text], mentions) for text in statements}
    matter, before = reached(names, mentions), None
    while matter != before:
        before = set(matter)
        matter |= set().union(*(needs[text] for text in statements if gives[text] & matter))

    def wanted(statement):
        stays = any(isinstance(node, lasting) or "attr='set_" in ast.dump(node) for node in statement.nodes)
        return stays or bool(gives[statement.text] & matter)

    return [_only(text, wanted) for text in texts]


def _changed(nodes):
    """(names into which statements store: attributes, items; names that they hand to a call or call a method of)."""
    stored, used = set(), set()
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Call):
            kept = stored if getattr(node.func, "id", "") == "setattr" else used
            kept.update(map(_base, node.args))
            used |= {_base(node.func)} if isinstance(node.func, ast.Attribute) else set()
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            stored.add(_base(node))
    return stored - {None}, used - {None}


def _base(node):
    """The name in front of attributes and items; None if there is none."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None
