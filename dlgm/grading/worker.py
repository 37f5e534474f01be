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
import linecache
import os
import signal
import socket
import sys
import traceback

from . import lockdown, wire

STANDARD = (
    "bisect", "cmath", "collections", "copy", "dataclasses", "fractions", "functools", "heapq", "itertools", "math",
    "numbers", "operator", "random", "statistics", "string", "time", "typing", "warnings",
)  # fmt: skip


def preload():
    """Load what answers may use, and what those libraries load late: afterwards no file can be opened."""
    for name in STANDARD:
        importlib.import_module(name)
    import numpy as np
    import numpy.ma
    import numpy.polynomial
    import numpy.testing  # noqa: F401
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
    torch.save({"a": torch.ones(1)}, buffer := io.BytesIO())
    buffer.seek(0)
    torch.load(buffer)
    wire.pack({"a": torch.ones(1)})  # what the first answer with a tensor needs
    with contextlib.suppress(Exception):
        torch.ones(2) @ torch.ones(3)  # what an error message needs
    torch.set_num_threads = torch.set_num_interop_threads = lambda count: None  # a worker cannot start threads


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
    lockdown.give_up(memory)
    world = {"__name__": "__main__", "__builtins__": builtins}
    while True:
        request = wire.receive(channel)
        lockdown.cpu_limit(request["seconds"])
        try:
            reply = run(request["source"], world) if request["do"] == "run" else call(request, world)
            wire.send(channel, reply)
        except EOFError:
            return
        except BaseException as error:  # sys.exit, KeyboardInterrupt and what could not be packed included
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


def run(source, world):
    """Execute a cell statement by statement and go on after an error: what works, works.

    ``from __future__ import annotations`` counts from where it stands on, as in a notebook.
    """
    first, name = None, f"<answer {len(linecache.cache)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)  # for the lines of errors
    for statement in ast.parse(source).body:
        try:
            later = world.get("annotations") is __future__.annotations
            flags = __future__.annotations.compiler_flag if later else 0
            exec(compile(ast.Module([statement], []), name, "exec", flags, dont_inherit=True), world)
        except BaseException as error:
            first = first or described(error)
    return first or {"value": None}


def call(request, world):
    """The value of one call of a student's function."""
    if not callable(world.get(request["name"])):
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
        value = world[request["name"]](*mine)
    finally:
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
