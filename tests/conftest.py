"""Shared by all tests: a seeded generator, and a small assignment with the process that grades it."""

import sys
from pathlib import Path

import pytest
import torch
from grading import world

from dlgm import exercises
from dlgm.grading.assignment import read
from dlgm.grading.sandbox import Zygote

torch.set_num_threads(1)  # two threads that spin on busy cores are slower than one


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def digit(generator):
    return torch.rand(1, 6, 6, generator=generator) * 2 - 1


@pytest.fixture
def eps(generator):
    return torch.randn(1, 6, 6, generator=generator)


@pytest.fixture
def toy(monkeypatch):
    """The small assignment of tests/grading, and its exercises in the bank."""
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(Path(world.__file__).with_name("bank"))])
    monkeypatch.delitem(sys.modules, "dlgm.exercises.toy", raising=False)
    return read(world.master(), "toy")


@pytest.fixture(scope="session")
def zygote():
    """A clean process that forks workers."""
    with Zygote() as running:
        yield running
