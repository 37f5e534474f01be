"""What is left to a worker: the filter's table, walked by an interpreter, and the calls as Linux answers them."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

from dlgm.grading import batch, hand, lockdown, sandbox
from dlgm.grading.__main__ import main

EQUAL, LOAD, RETURN = lockdown.EQUAL, lockdown.LOAD, lockdown.RETURN


def verdict(steps, number, architecture, first=0, second=0):
    """What the filter says about a call."""
    data = {
        lockdown.NUMBER: number, lockdown.ARCHITECTURE: architecture, lockdown.FIRST: first, lockdown.SECOND: second
    }  # fmt: skip
    at, held = 0, None
    while True:
        code, yes, no, k = steps[at]
        if code == RETURN:
            return k
        if code == LOAD:
            held = data[k]
        at += 1 + ((yes if held == k else no) if code == EQUAL else 0)


@pytest.mark.parametrize("machine", lockdown.MACHINES)
def test_the_filter_allows_the_table_and_nothing_else(machine):
    column, architecture = lockdown.MACHINES[machine]
    steps = lockdown.steps(machine)
    numbers = {call[column] for call in lockdown.CALLS.values()}
    allowed = {n for n in range(600) if verdict(steps, n, architecture) == lockdown.ALLOW}
    assert allowed == numbers | {lockdown.LIMIT[column]}
    assert all(verdict(steps, n | 0x40000000, architecture) == lockdown.REFUSE for n in range(600))  # x32 numbers
    assert all(verdict(steps, n, 0x40000003) == lockdown.REFUSE for n in range(600))  # 32-bit calls
    limit = lockdown.LIMIT[column]
    assert verdict(steps, limit, architecture, first=7) == lockdown.REFUSE  # of another process
    assert verdict(steps, limit, architecture, second=9) == lockdown.REFUSE  # more memory


TRIED = """
import ctypes, mmap, os, resource, signal, socket, threading
LIBC = ctypes.CDLL(None, use_errno=True)

def libc(name, *args):
    if getattr(LIBC, name)(*args) == -1:
        raise OSError(ctypes.get_errno(), name)

ATTEMPTS = {
    "read a file": lambda: open("/etc/hostname"),
    "look at a file": lambda: os.stat("/etc/hostname"),
    "list a folder": lambda: os.listdir("/"),
    "make a folder": lambda: os.mkdir("/tmp/dlgm_seen"),
    "remove a file": lambda: os.unlink("/tmp/dlgm_seen"),
    "a socket": lambda: socket.socket(),
    "a pipe": lambda: os.pipe(),
    "a copy of a descriptor": lambda: os.dup(0),
    "a process": lambda: os.fork(),
    "another program": lambda: os.execv("/bin/true", ["true"]),
    "a signal to others": lambda: os.kill(1, 0),
    "limits of others": lambda: resource.prlimit(1, resource.RLIMIT_CPU),
    "more memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40)),
    "another root": lambda: os.chroot("/"),
    "who is there": lambda: os.sched_getaffinity(1),
    "shared memory": lambda: libc("shmget", 1, 4096, 0o1666),
    "memory of others": lambda: libc("ptrace", 16, 1, 0, 0),
    "a namespace": lambda: libc("unshare", 0x10000000),
    "a user": lambda: os.setuid(0),
    "an environment": lambda: dict(os.environ)["PATH"],
}

def tried():
    out = {}
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
            out[name] = "done"
        except (OSError, ValueError, KeyError) as error:
            out[name] = type(error).__name__
    try:
        threading.Thread(target=print).start()
        out["a thread"] = "done"
    except RuntimeError:
        out["a thread"] = "RuntimeError"
    return repr(out)
"""


def test_a_worker_can_do_none_of_this(zygote):
    if not zygote.isolated:
        pytest.skip("this system filters no calls: the teacher is warned")
    worker = zygote.worker()
    assert worker.ask({"do": "run", "source": TRIED}, 5) == {"value": None}
    out = eval(worker.ask({"do": "call", "name": "tried", "args": []}, 5)["value"])
    worker.close()
    zygote.stop_worker()
    others = {"a thread": "RuntimeError", "an environment": "KeyError", "more memory": "ValueError"}  # Python's words
    assert {name: out.pop(name) for name in others} == others
    assert len(out) == 18 and {name: word for name, word in out.items() if word != "PermissionError"} == {}


def test_where_nothing_is_filtered_the_teacher_is_warned(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dlgm.grading.__main__.load", lambda name: toy)
    monkeypatch.setattr(batch, "run", lambda *a, **k: batch.Outcome([], False, [], hand.Hand()))
    main(["grade", str(tmp_path), "--assignment", "toy", "--out", str(tmp_path)])
    assert "warning: this system lets no process be shut in" in capsys.readouterr().err
    monkeypatch.setattr(batch, "run", lambda *a, **k: batch.Outcome([], True, [], hand.Hand()))
    main(["grade", str(tmp_path), "--assignment", "toy", "--out", str(tmp_path)])
    assert capsys.readouterr().err == ""


PATCHED = {  # what an answer does to the functions that watch it
    "torch.equal": "import torch\ntorch.equal = lambda *a: True",
    "any": "import builtins\nbuiltins.any = lambda *a: False",
    "Tensor.clone": "import torch\ntorch.Tensor.clone = lambda x, **k: x",
    "default_generator": (
        "import torch\nclass Still:\n    def get_state(self): return torch.zeros(1)\n"
        "real, torch.default_generator = torch.default_generator, Still()"
    ),
    "touched": "import dlgm.tensors\ndlgm.tensors.touched = lambda *a: False",
    "send": (
        "import sys\nframe = sys._getframe()\nwhile 'wire' not in frame.f_globals:\n    frame = frame.f_back\n"
        "wire = frame.f_globals['wire']\nreal_send = wire.send\n"
        "wire.send = lambda c, r: real_send(c, {**r, 'changed': [], 'drew': False})"
    ),
}


@pytest.mark.parametrize("name", PATCHED)
@pytest.mark.parametrize("later", [False, True])
def test_an_answer_that_patches_what_watches_it_is_seen_all_the_same(name, later, zygote):
    """It changes its input and draws; the patch is made when the cell runs, or in the call itself."""
    patch = PATCHED[name].replace("\n", "\n    ") if later else "pass"
    source = f"{'pass' if later else PATCHED[name]}\ndef f(x):\n    {patch}\n    import torch\n    torch.randn(3)\n"
    worker = zygote.worker()
    worker.ask({"do": "run", "source": source + "    return x.zero_()"}, 5)
    reply = worker.ask({"do": "call", "name": "f", "args": [torch.ones(3)]}, 5)
    worker.close()
    zygote.stop_worker()
    assert (reply.get("changed"), reply.get("drew")) == ([0], True), reply


def test_the_search_path_of_the_process_that_runs_answers_is_that_of_this_one(monkeypatch, tmp_path):
    user, inside = tmp_path / "user site", tmp_path / "submissions"
    inside.mkdir()
    monkeypatch.chdir(inside)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", ["", str(inside), str(user), "relative", "/usr/lib/python.zip"])
    root = str(Path(sandbox.__file__).resolve().parents[2])
    found = [root, str(user), str(inside / "relative"), "/usr/lib/python.zip"]
    assert sandbox.search_path() == found
    monkeypatch.setenv("PYTHONPATH", f"{inside}{os.pathsep}")
    assert sandbox.search_path() == [root, str(inside), *found[1:]]
    monkeypatch.setattr(sys, "path", [str(user), root])
    assert sandbox.search_path() == [str(user), root]  # the order stays


START = "from dlgm.grading.sandbox import Zygote\nwith Zygote() as zygote: print('it started')"


@pytest.mark.slow
def test_grading_starts_where_packages_are_not_in_the_folder_of_this_python(tmp_path):
    """A Python without packages, which are in PYTHONPATH or in the user's own folder: cluster, hub, pip --user."""
    venv.create(tmp_path / "bare")
    root, packages = str(Path(sandbox.__file__).resolve().parents[2]), str(Path(torch.__file__).parents[1])
    python = [str(tmp_path / "bare" / "bin" / "python"), "-c"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((root, packages))}
    done = subprocess.run([*python, START], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout == "it started\n", done.stderr
    lost = f"import sys, torch\nimport dlgm.grading.sandbox\nsys.path.remove({packages!r})\n{START}"
    done = subprocess.run([*python, lost], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "lacks a package: No module named" in done.stderr and "the grading process did not start" in done.stderr
