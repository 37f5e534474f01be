"""A process that runs student code and answers calls: arrays in, arrays out. It holds no answers and no marks.

The first process, started by ``sandbox``, loads the libraries once and stays clean; for each part of a submission it
forks a worker, which gives up (``lockdown``) what student code could abuse before it runs any of it.
"""

import __future__

import ast
import builtins
import contextlib
import importlib
import io
import itertools
import linecache
import os
import signal
import socket
import sys
import traceback
import warnings

from . import lockdown, wire

STANDARD = (
    "abc", "array", "base64", "bisect", "calendar", "cmath", "cmd", "code", "collections.abc", "colorsys",
    "concurrent.futures", "contextlib", "contextvars", "copy", "csv", "ctypes", "dataclasses", "datetime", "decimal",
    "difflib", "dis", "doctest", "enum", "fractions", "functools", "gc", "glob", "graphlib", "gzip",
    "hashlib", "heapq", "html", "html.parser", "inspect", "io", "itertools", "json", "keyword", "logging", "math",
    "numbers", "operator", "optparse", "os", "pathlib", "pdb", "pickle", "platform", "pprint",
    "queue", "random", "re", "secrets", "shutil", "statistics", "string", "struct", "sys", "tempfile",
    "textwrap", "threading", "time", "timeit", "traceback", "types", "typing", "typing_extensions", "unicodedata",
    "unittest", "unittest.mock", "uuid", "warnings", "weakref", "zlib",
    "numpy.char", "numpy.ctypeslib", "numpy.fft", "numpy.lib.stride_tricks", "numpy.linalg", "numpy.ma",
    "numpy.matlib", "numpy.polynomial", "numpy.random", "numpy.rec", "numpy.strings", "numpy.testing", "numpy.typing",
    "torch.autograd.forward_ad", "torch.nn.utils.parametrizations", "torch.optim.swa_utils",
)  # fmt: skip


def preload():
    """Load what answers may use, and what those libraries load late: afterwards no file can be opened."""
    warnings.simplefilter("ignore")  # of libraries, on the teacher's screen
    for name in STANDARD:
        importlib.import_module(name)
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn

    import dlgm.tensors  # noqa: F401

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), nn.Linear(64, 2))
    for optimiser in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        step = optimiser(net.parameters(), lr=1e-3)
        step.zero_grad()
        net(torch.randn(2, 1, 4, 4)).square().mean().backward()
        step.step()
    repr(net), repr(torch.randn(2, dtype=torch.float64)), str(np.linspace(0, 1, 3)), f"{torch.ones(()):.3f}"
    square = torch.eye(2, dtype=torch.float64)
    for f in ("cholesky", "inv", "eigh", "svd", "det", "slogdet", "qr", "pinv"):
        getattr(torch.linalg, f)(square)
    torch.linalg.solve(square, square), torch.einsum("ij,jk->ik", square, square)
    torch.autograd.functional.jacobian(lambda x: x.sin(), torch.ones(2))
    torch.func.vmap(torch.func.grad(lambda x: x.sin().sum()))(torch.ones(2, 2))
    torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.5))
    F.scaled_dot_product_attention(*(torch.ones(1, 1, 2, 4) for _ in range(3))), F.softplus(torch.ones(1))
    torch.func.jvp(torch.sin, (torch.ones(2),), (torch.ones(2),))
    torch.func.hessian(lambda x: x.sin().sum())(torch.ones(2))
    torch.func.linearize(torch.sin, torch.ones(2))
    torch.save({"a": torch.ones(1)}, buffer := io.BytesIO())
    buffer.seek(0)
    torch.load(buffer)
    wire.pack({"a": torch.ones(1)})  # what the first answer with a tensor needs
    with contextlib.suppress(Exception):
        torch.ones(2) @ torch.ones(3)  # what an error message needs
    torch.set_num_threads = torch.set_num_interop_threads = lambda count: None  # a worker cannot start threads
    for place in (builtins, torch, torch.Tensor, dlgm.tensors, wire):
        _OWN.append((place, dict(vars(place))))
    _HIDING.update(dir(builtins), dir(torch._C.TensorBase))


_OWN = []  # (module or class, what it held before any student code ran)
_HIDING, _MISSING = set(), object()  # names that would hide functions which are used here


def restore(set_to=setattr, delete=delattr, held_by=vars):
    """Undo what student code did to the functions that tell what a call changed, drew and returned."""
    for place, held in _OWN:
        now = held_by(place)
        for name in held:
            if now.get(name, _MISSING) is not held[name]:
                set_to(place, name, held[name])
        for name in [*now]:
            if name not in held and name in _HIDING:
                delete(place, name)


class Refused:
    """An import hook: only what was loaded beforehand can be imported."""

    def find_spec(self, name, path=None, target=None):
        raise ImportError(f"{name} cannot be imported while grading; torch, numpy and the plain standard library can")


def work(channel, memory):
    """Answer requests until the other side hangs up. Student code runs in here."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    keep = channel.fileno()
    os.closerange(3, keep), os.closerange(keep + 1, 4096)
    os.environ.clear()
    for name in [n for n in sys.modules if n.startswith("dlgm.") and n != "dlgm.tensors"]:
        del sys.modules[name]
    sys.meta_path[:] = [Refused()]
    sys.path[:], sys.argv[:], sys.orig_argv[:] = [], [""], []  # they name folders of the teacher's
    lockdown.give_up(memory)
    world = {"__name__": "__main__", "__builtins__": builtins}
    while True:
        request = wire.receive(channel)
        lockdown.cpu_limit(request["seconds"])
        try:
            reply = call(request, world) if request["do"] == "call" else run(request, world)
            restore()
            wire.send(channel, reply)
        except EOFError:
            return
        except BaseException as error:  # sys.exit, KeyboardInterrupt and what could not be packed included
            restore()
            wire.send(channel, described(error))


def described(error):
    """An exception as a message, with the last line of an answer that it went through."""
    try:
        text = str(error)[:2000]
    except BaseException:
        text = ""
    own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<answer")]
    where = f"in line {own[-1].lineno}: {own[-1].line}"[:300] if own else ""
    return {"error": type(error).__name__[:200], "text": text, "where": where}


def single(statement):
    """The statements for which one stands: an import of several names is several, so that one missing costs one."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        fields = dict(ast.iter_fields(statement))
        return [ast.copy_location(type(statement)(**fields | {"names": [v]}), statement) for v in statement.names]
    return [statement]


def run(request, world):
    """Execute a cell statement by statement and go on after an error: what works, works.

    With ``effects`` false, errors go unmentioned of what is there for its effect only: a plot, a check.
    ``from __future__ import annotations`` counts from where it stands on, as in a notebook.
    """
    source, first, name = request["source"], None, f"<answer {len(linecache.cache)}>"
    silent = () if request.get("effects", True) else (ast.Expr, ast.Assert, ast.Delete, ast.Raise)
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)  # for the lines of errors
    for statement in itertools.chain.from_iterable(map(single, ast.parse(source).body)):
        try:
            later = world.get("annotations") is __future__.annotations
            flags = __future__.annotations.compiler_flag if later else 0
            exec(compile(ast.Module([statement], []), name, "exec", flags, dont_inherit=True), world)
        except BaseException as error:
            first = first or (None if isinstance(statement, silent) else described(error))
    return first or {"value": None}


def call(request, world):
    """The value of one call of a student's function."""
    function = next((f for f in map(world.get, (request["name"], request.get("instead"))) if callable(f)), None)
    if function is None:
        text = (
            f"there is no function {request['name']}: its cell is gone, has no `def {request['name']}`, or is no Python"
        )
        return {"error": "NameError", "text": text}
    import torch

    from dlgm.tensors import pullback, touched

    args, before = request["args"], torch.default_generator.get_state()
    wanted = request.get("gradients", [False] * len(args))
    leaves = [a.clone().requires_grad_() if w else a for a, w in zip(args, wanted, strict=True)]
    mine = [a.clone() if isinstance(a, torch.Tensor) else a for a in leaves]
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if request.get("float64") else default)
        value = function(*mine)
    finally:
        restore()
        torch.set_default_dtype(default)
    changed = [
        i for i, (a, b) in enumerate(zip(leaves, mine, strict=True)) if isinstance(a, torch.Tensor) and touched(a, b)
    ]
    drew = not torch.equal(before, torch.default_generator.get_state())
    gradients = pullback(value, [a for a, w in zip(leaves, wanted, strict=True) if w]) if any(wanted) else []
    return {"value": value, "changed": changed, "drew": drew, "gradients": gradients}


def main(fd):
    """Load, then fork a worker whenever asked; a worker is ended when the next is asked for, or the grader hangs up."""
    control = socket.socket(fileno=fd)
    lockdown.die_with_parent()
    preload()
    with contextlib.suppress(ConnectionError):  # the grader ended and left an answer unread: as good as hanging up
        wire.send(control, {"isolated": lockdown.can_filter()})
        _serve(control)


def _serve(control):
    """Fork whenever asked, until the grader hangs up."""
    child = None
    while True:
        order, fds, _, _ = socket.recv_fds(control, 64, 1)
        status = 0
        if child:
            os.kill(child, signal.SIGKILL)  # has no effect on one that has ended by itself
            _, status = os.waitpid(child, 0)
            child = None
        if not order:
            return
        if order.startswith(b"fork"):
            child = os.fork()
            if child == 0:
                control.close()
                lockdown.die_with_parent()
                try:
                    work(socket.socket(fileno=fds[0]), int(order.split()[1]))
                finally:
                    os._exit(0)
            os.close(fds[0])
        wire.send(control, {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0})
