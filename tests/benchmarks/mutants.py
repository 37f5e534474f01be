"""Which small faults of a module the tests do not notice.

    python tests/benchmarks/mutants.py dlgm/gaussian.py [--sample 25 --seed 0 --tests tests/test_gaussian.py --out FILE]

A mutant is the module with one place changed: a constant, an operation, a comparison or its boundary, a condition, a
branch, a term, statement, keyword, dtype, generator, default or call that is left out, a name swapped for a neighbour.
Messages, annotations and ``device=`` stay. Each runs in a temporary copy, in a process of its own with a time limit
(--limit, and five times what the tests take), against the quick tests that reach its line, or all if it runs on import.
Without --tests these are sought in tests/test_<module>.py and in the files of tests and tests/lessons whose text
imports the module. --sample 0 takes all mutants. killed: a test failed or the time was up. survived: all passed, or
none reaches the line; a person decides which of these, the table, are equivalent. same: it compiles to the same code.
With --out each result becomes a line of that file, and is not run again while module and tests stay.
"""

import argparse
import ast
import contextlib
import functools
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT, REACH, MUTATED = Path(__file__).parents[2], {}, os.environ.get("MUTATED")
SWAPS = {kind: {getattr(ast, a): getattr(ast, b) for a, b in map(str.split, pairs.split(","))} for kind, pairs in {
    "arithmetic": "Add Sub, Sub Add, Mult Div, Div Mult, Pow Mult, FloorDiv Mult, Mod FloorDiv",
    "comparison": "Lt GtE, LtE Gt, Gt LtE, GtE Lt, Eq NotEq, NotEq Eq, Is IsNot, IsNot Is, In NotIn, NotIn In",
    "boundary": "Lt LtE, LtE Lt, Gt GtE, GtE Gt"}.items()}  # fmt: skip
CALLS = {"abs", "clamp", "detach", "double", "exp", "flatten", "float", "log", "mean", "round", "sqrt", "square"}


def changed(node, **parts):
    return type(node)(**{**vars(node), **parts})


def without(values, i, *instead):
    return [*values[:i], *instead, *values[i + 1 :]]


def replacements(node, neighbours, default):
    """(kind, another node) for each small fault at a node; neighbours: name -> a name it may be taken for."""
    match node:
        case ast.Constant(value=int() | float() as v):
            step = v / 2 if isinstance(v, float) else v - 1
            yield from (("constant", ast.Constant(w)) for w in ([not v] if isinstance(v, bool) else [v + 1, step]))
        case ast.Constant(value=str() as v) if default:
            yield "default", ast.Constant(v + "_")
        case ast.BinOp():
            if other := SWAPS["arithmetic"].get(type(node.op)):
                yield "arithmetic", changed(node, op=other())
            if not isinstance(node.op, (ast.Pow, ast.Mod)):
                yield from (("dropped term", part) for part in (node.left, node.right))
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield "boolean" if isinstance(node.op, ast.Not) else "arithmetic", node.operand
        case ast.Compare(ops=ops):
            for i, kind in itertools.product(range(len(ops)), ("comparison", "boundary")):
                if other := SWAPS[kind].get(type(ops[i])):
                    yield kind, changed(node, ops=without(ops, i, other()))
        case ast.BoolOp(values=values):
            yield "boolean", changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            yield from (("boolean", changed(node, values=without(values, i))) for i in range(len(values)))
        case ast.IfExp():
            yield from (("branch", part) for part in (node.body, node.orelse))
        case ast.If(body=[ast.Raise()], orelse=[]) | ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield "dropped statement", ast.Pass()
        case ast.If():
            yield from (("branch", changed(node, test=ast.Constant(v))) for v in (True, False))
        case ast.Call():
            if isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                yield "dtype dropped" if node.func.attr in ("double", "float") else "dropped call", node.func.value
            if isinstance(node.func, ast.Name) and node.func.id == "double":
                yield "dtype dropped", node.args[0]
            for i, name in ((i, k.arg) for i, k in enumerate(node.keywords) if k.arg not in ("device", "strict", None)):
                kind = name if name in ("dtype", "generator") else "keyword"
                yield f"{kind} dropped", changed(node, keywords=without(node.keywords, i))
            for i in (i for i, a in enumerate(node.args) if isinstance(a, ast.Name) and a.id == "generator"):
                yield "generator dropped", changed(node, args=without(node.args, i, ast.Constant(None)))
        case ast.Name(ctx=ast.Load(), id=name) if name in neighbours:
            yield "name", ast.Name(neighbours[name], ast.Load())


def places(owner, names, first=None):
    """(owner, field, index, node, whether a default, neighbours, lines, or None where they run on import), of each."""
    if isinstance(owner, (ast.FunctionDef, ast.Lambda)):
        a, first = owner.args, first or 1
        for field in "defaults", "kw_defaults":
            yield from ((a, field, i, node, True, {}, None) for i, node in enumerate(getattr(a, field)) if node)
        lists = [node.targets[0] for node in ast.walk(owner) if isinstance(node, ast.Assign)]
        lists = [[v.id for v in t.elts if isinstance(v, ast.Name)] for t in lists if isinstance(t, ast.Tuple)]
        arguments = [v.arg for v in (*a.args, *a.kwonlyargs) if v.arg not in ("self", "cls", "generator", "device")]
        names = names | {n: m for v in (arguments, *lists) for n, m in zip(v, v[1:] + v[:1], strict=True) if n != m}
    for field, value in ast.iter_fields(owner):
        if field in ("annotation", "decorator_list", "returns", "args") and not isinstance(owner, ast.Call):
            continue
        for i, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST) and not isinstance(node, (ast.Raise, ast.JoinedStr, ast.Import)):
                start = node.lineno if first and isinstance(node, ast.stmt) else first
                lines = range(start, node.end_lineno + 1) if start and hasattr(node, "lineno") else None
                yield owner, field, i, node, isinstance(owner, ast.AnnAssign) and field == "value", names, lines
                yield from places(node, names, start)


def mutants(source):
    """(line, function for what was changed and the text, None where the code is the same; lines), of each."""
    tree, code = ast.parse(source), compile(ast.unparse(ast.parse(source)), "m", "exec")

    def make(owner, field, i, node, kind, other):
        held = getattr(owner, field)
        setattr(owner, field, other if i is None else without(held, i, other))
        text = ast.unparse(tree)
        setattr(owner, field, held)
        was, became = (" ".join(ast.unparse(v).split())[:100].replace("|", "\\|") for v in (node, other))
        return f"{kind} | {was} | {became}", None if compile(text, "m", "exec") == code else text

    for owner, field, i, node, default, names, lines in list(places(tree, {})):
        for kind, other in replacements(node, names, default):
            change = owner, field, i, node, "default" if default else kind, other
            yield node.lineno, functools.partial(make, *change), lines


def pytest_runtest_logstart(nodeid, location):
    """With the two below a plugin: which lines of MUTATED each test runs, whether it passed and how long it took."""
    test = REACH.setdefault(nodeid.split("[")[0], {"lines": {}, "seconds": 0, "passed": True})

    def line(frame, event, _):
        return test["lines"].update({frame.f_lineno: 1}) or line if frame.f_code.co_filename == MUTATED else None

    sys.settrace(line)


def pytest_runtest_logreport(report):
    test = REACH[report.nodeid.split("[")[0]]
    test.update(passed=test["passed"] and not report.failed, seconds=test["seconds"] + report.duration)


def pytest_unconfigure():
    Path("reach.json").write_text(json.dumps(REACH))


def run(folder, tests, limit, *options, **env):
    """Whether the tests pass within so many seconds."""
    env |= {"PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parent}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "-m", "not slow"]
    rest = dict(cwd=folder, env=os.environ | env, timeout=limit, capture_output=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run([*command, *options, *tests], **rest).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", type=Path, help="a file of the package, such as dlgm/gaussian.py")
    for name, default in ("sample", 25), ("seed", 0), ("limit", 60):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tests", nargs="*", help="files")
    parser.add_argument("--out", type=Path, default=os.devnull, help="a file to go on from and to add to")
    args = parser.parse_args()
    file = (ROOT / args.module).resolve().relative_to(ROOT)
    package, _, name = ".".join(file.with_suffix("").parts).removesuffix(".__init__").rpartition(".")
    named = re.compile(rf"{re.escape(package)}\.{name}\b|from {re.escape(package)} import [^\n]*\b{name}\b")
    files = [f for part in ("tests", "tests/lessons") for f in sorted((ROOT / part).glob("test_*.py"))]
    files = [str(f.relative_to(ROOT)) for f in files if f.stem == f"test_{name}" or named.search(f.read_text())]
    tests, source = args.tests or files, (ROOT / file).read_text()
    state = hashlib.sha256("".join([source, *((ROOT / t).read_text() for t in tests)]).encode()).hexdigest()
    chosen, count = sorted(mutants(source), key=lambda m: m[0]), Counter()
    if 0 < args.sample < len(chosen):
        chosen = [chosen[i] for i in sorted(random.Random(args.seed).sample(range(len(chosen)), args.sample))]
    with tempfile.TemporaryDirectory() as folder, args.out.open("a+") as out:
        out.seek(0)
        known = {key: result for at, key, result in map(json.loads, out) if at == state}
        folder = Path(folder).resolve()
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs"), dirs_exist_ok=True)
        run(folder, tests, 3600, "-p", "mutants", MUTATED=str(folder / file))
        found = sorted(json.loads((folder / "reach.json").read_text()).items(), key=lambda item: item[1]["seconds"])
        reach = {n: t for n, t in found if t["passed"]}
        (folder / file).write_text(ast.unparse(ast.parse(source)))
        if not run(folder, reach, 3600):
            raise SystemExit("the tests fail though nothing but the layout of the module was changed")
        left_out = "".join(f"left out, since it fails without a mutant: {n}\n" for n, t in found if not t["passed"])
        print(left_out + "| line | kind | was | became | result |\n| --- | --- | --- | --- | --- |", flush=True)
        for line, make, lines in chosen:
            row, text = make()
            key = hashlib.sha256(str(text).encode()).hexdigest()
            met = [n for n in reach if lines is None or any(str(k) in reach[n]["lines"] for k in lines)]
            result = known.get(key) or ("same" if text is None else "" if met else "survived, not reached")
            if not result:
                (folder / file).write_text(text)
                limit = args.limit + 5 * sum(reach[n]["seconds"] for n in met)
                result = "survived" if run(folder, met, limit, "-x") else "killed"
                print(json.dumps([state, key, result]), file=out, flush=True)
            count[result.split(",")[0]] += 1
            if "survived" in result:
                print(f"| {line} | {row} | {result} |", flush=True)
    print(f"{file}: {dict(count)}, score {count['killed'] / max(count['killed'] + count['survived'], 1):.0%}")


if __name__ == "__main__":
    main()
