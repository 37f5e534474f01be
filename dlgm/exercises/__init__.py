"""The bank of exercises, one module for each lesson or homework and named as its notebook; ``check`` for learners.

A module is found by its file and loaded when one of its exercises is asked for. It holds ``EXERCISES``; the name of an
exercise is that of its reference, ``def NAME(``.
"""

import difflib
import functools
import importlib.util
import pkgutil
import re

from .engine import run


def modules():
    """Names of the modules of the bank; those of homework begin with hw."""
    return [m.name for m in pkgutil.iter_modules(__path__) if m.name not in ("engine", "inputs", "__main__")]


def of(module):
    """The exercises of one lesson or homework."""
    return importlib.import_module(f"{__name__}.{module}").EXERCISES


def bank():
    """Name -> exercise, of all lessons and all homework."""
    return {e.name: e for module in modules() for e in of(module)}


@functools.cache
def _functions(module):
    """Names of the functions that a module of the bank defines, read from its source."""
    path = f"{__name__}.{module}"
    source = importlib.util.find_spec(path).loader.get_source(path)
    return frozenset(re.findall(r"^def (\w+)\(", source, re.MULTILINE))


def find(name):
    """The exercise of a lesson or of homework with that name.

    Raises:
        ValueError: there is none.
    """
    for module in modules():
        if str(name) in _functions(module):  # then it is loaded, if it is not yet
            for exercise in of(module):
                if exercise.name == name:
                    return exercise
    known = bank()
    near = ", ".join(difflib.get_close_matches(str(name), known, 5, 0.4)) or f"no name like it among {len(known)}"
    raise ValueError(f"no exercise is called {name!r}; there is {near}")


def check(name, function):
    """Check a learner's function against the exercise of that name.

    Returns:
        A Report: not attempted, not yet (with the mistake named where it is a known one), or right. Its ``.function``
        is the learner's own if right, otherwise the reference, so that a lesson can always go on.
    Raises:
        ValueError: there is no exercise of that name, or ``function`` is not callable.
    """
    return run(find(name), function)
