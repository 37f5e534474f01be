"""What a process gives up before it runs student code: resource limits, and on Linux most system calls.

The filter (seccomp) leaves the calls of ``CALLS``: to compute, to use memory, to tell the time, to answer on the socket
that is open already, and to end. Every other call fails with "Operation not permitted": files by path, new sockets and
processes, signals to others, shared memory, mounts. It needs no privilege and cannot be undone.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
NOBODY = 65534
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of CALLS, the architecture's audit number
LIMIT = (302, 261)  # prlimit64: allowed for one's own processor time, (pid, resource) = (0, 0)
CALLS = {  # name -> its number on x86-64 and on 64-bit ARM
    "brk": (12, 214), "clock_getres": (229, 114), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115),
    "close": (3, 57), "exit": (60, 93), "exit_group": (231, 94), "fstat": (5, 80), "futex": (202, 98),
    "getpid": (39, 172), "getrandom": (318, 278), "getrusage": (98, 165), "gettid": (186, 178),
    "gettimeofday": (96, 169), "lseek": (8, 62), "madvise": (28, 233), "mmap": (9, 222), "mprotect": (10, 226),
    "mremap": (25, 216), "munmap": (11, 215), "nanosleep": (35, 101), "read": (0, 63), "recvfrom": (45, 207),
    "restart_syscall": (219, 128), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124), "sendto": (44, 206), "sigaltstack": (131, 132), "write": (1, 64),
}  # fmt: skip
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of the filter's machine: a word of the call's data, a comparison, the verdict
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # yes; no, with the error EPERM
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24  # where a call's data holds these


class Step(ctypes.Structure):
    """A step of the filter: code, how many steps to skip if true and if false, and an operand."""

    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    """A filter as the system takes it."""

    _fields_ = [("length", ctypes.c_uint16), ("steps", ctypes.POINTER(Step))]


def steps(machine):
    """The filter of a machine: the right architecture, then prlimit64 by its arguments, then a number of ``CALLS``."""
    column, architecture = MACHINES[machine]
    allowed = [numbers[column] for numbers in CALLS.values()]
    return [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE),
        (LOAD, 0, 0, NUMBER), (EQUAL, 0, 6, LIMIT[column]),
        (LOAD, 0, 0, FIRST), (EQUAL, 0, 3, 0), (LOAD, 0, 0, SECOND), (EQUAL, 0, 1, resource.RLIMIT_CPU),
        (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE),
        *((EQUAL, len(allowed) - i, 0, number) for i, number in enumerate(allowed)),
        (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip


def filter_calls():
    """Leave this process, from here on, the calls of ``CALLS`` only: True if the system took the filter."""
    machine = os.uname().machine
    if LIBC is None or machine not in MACHINES or sys.maxsize < 2**32:
        return False
    program = [Step(*step) for step in steps(machine)]
    program = Program(len(program), (Step * len(program))(*program))
    return LIBC.prctl(38, 1, 0, 0, 0) == 0 and LIBC.prctl(22, 2, ctypes.byref(program), 0, 0) == 0


def can_filter():
    """Whether ``filter_calls`` works here, tried in a process of its own."""
    child = os.fork()
    if child == 0:
        os._exit(0 if filter_calls() else 1)
    return os.waitpid(child, 0)[1] == 0


def mapped():
    """Bytes of address space that this process has now, libraries included; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:  # as bytes: nothing may have to be imported here
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def give_up(memory):
    """No files, sockets, processes, threads or writing from here on, and ``memory`` bytes more; not to be undone."""
    memory += mapped()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    die_with_parent()  # a change of user forgets it
    for name, value in (("NPROC", 0), ("FSIZE", 0), ("CORE", 0), ("AS", memory), ("NOFILE", 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS has no firm RLIMIT_AS
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    filter_calls()


def cpu_limit(seconds):
    """End this process after so many more seconds of processor time."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def die_with_parent():
    """Ask Linux to end this process when its parent ends."""
    if LIBC:
        LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)


def begin_grading(memory=8 * 2**30):
    """For a process that grades: end with the one that started it, leave Ctrl-C to that one, use so many bytes more."""
    memory += mapped()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
