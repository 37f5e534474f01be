"""The grader's side of a worker: start it, call functions in it, end it."""

import builtins
import contextlib
import hashlib
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from . import wire

MEMORY = 4 * 2**30  # bytes beyond what the libraries take
START = 120  # seconds of wall clock to load the libraries
GONE = "its process ended"


BEGIN = """
import sys
sys.path[:] = {path!r}
try:
    from dlgm.grading import worker
    worker.main({fd})
except ImportError as error:
    sys.exit(f"what runs answers lacks a package: {{error}}; it was looked for in " + ", ".join(sys.path))
"""


def search_path():
    """Where the grading process finds packages: where this one does, the folder it was started in only if it is told.

    That folder may hold what students handed in.
    """
    named = {os.path.realpath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p}
    left_out = {os.path.realpath(os.curdir)} - named
    out = [os.path.abspath(p) for p in sys.path if p and os.path.realpath(p) not in left_out]
    root = str(Path(__file__).resolve().parents[2])
    return out if root in map(os.path.realpath, out) else [root, *out]


class Stopped(Exception):
    """The student's code did not answer: too slow, too large, or its process ended."""

    verb = "gives no answer"  # where another exception is said to be raised


class Zygote:
    """A clean process that forks workers, one at a time; use one for each grading thread.

    Attributes:
        isolated: whether workers are kept from files by path, other processes and the network (``lockdown``). If not,
            a submission that means harm can rename or empty files of the user who grades and end other processes.
    Raises:
        RuntimeError: the platform has no fork or no resource limits (Windows), or the process did not start.
    """

    def __init__(self, memory=MEMORY):
        if not hasattr(os, "fork"):
            raise RuntimeError(
                "grading needs Linux or macOS: Windows has no resource limits; use WSL or a class server"
            )
        self.memory, (self._control, theirs) = memory, socket.socketpair()
        code = BEGIN.format(path=search_path(), fd=theirs.fileno())
        keep = {k: os.environ[k] for k in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if k in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", code], env={**keep, "OMP_NUM_THREADS": "1"}, cwd="/",
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        try:
            self.isolated = wire.receive(self._control, START)["isolated"]
        except (TimeoutError, EOFError, wire.Malformed) as error:
            self.close()
            raise RuntimeError(f"the grading process did not start: {error or type(error).__name__}") from None

    def worker(self):
        """A fresh Worker; the one before is ended."""
        ours, theirs = socket.socketpair()
        socket.send_fds(self._control, [f"fork {self.memory}".encode()], [theirs.fileno()])
        theirs.close()
        wire.receive(self._control, START)
        return Worker(ours)

    def stop_worker(self):
        """End the running worker, whatever it is doing; returns the signal that ended it, 0 if it called exit."""
        self._control.sendall(b"stop")
        return wire.receive(self._control, START)["signal"]

    def close(self):
        """End everything."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Worker:
    """A forked process with an empty namespace."""

    def __init__(self, channel):
        self._channel = channel

    def ask(self, message, seconds, longest=math.inf):
        """Send a request and return the reply.

        Args:
            seconds: of processor time. longest: seconds by the clock.

        Raises:
            Stopped: no reply within the limit (``seconds`` of processor time; by the clock three times that and 10 more
                for a busy machine), or no sensible one.
        """
        wall = min(3 * seconds + 10, longest)
        try:
            wire.send(self._channel, {**message, "seconds": seconds})
            return wire.receive(self._channel, wall)
        except TimeoutError:
            raise Stopped(f"it did not end within {wall:.0f} seconds") from None
        except wire.Malformed as error:
            raise Stopped(f"its answer could not be read: {str(error)[:200]}") from None
        except (EOFError, OSError):
            raise Stopped(GONE) from None

    def close(self):
        """Hang up."""
        self._channel.close()


class Remote:
    """A student's function in a worker. Calling it returns what the student's code returned, or raises what it raised.

    Equal calls are made once. After a call that had to be stopped, the others fail at once. Where there is no function
    of that name, the one called ``instead`` is meant.
    """

    def __init__(self, session, name, seconds, instead=None):
        self._session, self._names, self._seconds = session, {"name": name, "instead": instead or name}, seconds
        self._seen, self.stopped = {}, None
        self.changed, self.drew = (), False  # the arguments that the last call changed; whether it drew numbers
        self.gradients = []  # if an argument of the last call required gradients: what ``tensors.pullback`` gave there

    def __call__(self, *args):
        wanted = [bool(getattr(a, "requires_grad", False)) for a in args]
        float64 = torch.get_default_dtype() is torch.float64
        message = {"do": "call", **self._names, "args": list(args), "gradients": wanted, "float64": float64}
        key = hashlib.sha256(wire.pack(message)).digest()
        if key not in self._seen:
            self._seen[key] = self._ask(message)
        reply = self._seen[key]
        if isinstance(reply, Stopped):
            raise reply
        changed, found = reply.get("changed"), reply.get("gradients")
        self.changed = tuple(i for i in range(len(args)) if isinstance(changed, list) and i in changed)
        self.drew = reply.get("drew") is True
        self.gradients = found if isinstance(found, list) else []
        if "error" in reply:
            raise rebuilt(reply)
        return reply.get("value")

    def _ask(self, message):
        if self.stopped is None:
            try:
                return self._session.ask(message, self._seconds)
            except Stopped as error:
                self.stopped = error
        return self.stopped


def rebuilt(reply):
    """The exception of a reply: a built-in one of the same name, else a RuntimeError that names it; noted, its line."""
    name, text, where = (str(reply.get(key, ""))[:2000] for key in ("error", "text", "where"))
    kind, error = getattr(builtins, name, None), RuntimeError(f"{name[:100]}: {text}")
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(Exception):
            error = kind(text) if text else kind()
    if where:
        error.add_note(where[:300])
    return error
