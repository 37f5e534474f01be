"""Shared by all tests: a seeded generator, and closed forms in 50-digit arithmetic to hold the package against."""

import sys
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import torch
from grading import world

from dlgm import exercises
from dlgm.grading.assignment import read
from dlgm.grading.sandbox import Zygote

mp.mp.dps = 50
torch.set_num_threads(1)  # two threads that spin on busy cores are slower than one


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


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


def exact_alpha_bar(betas):
    """ᾱ_0..ᾱ_T in 50 digits from the float64 values of β_1..β_T."""
    out = [mp.mpf(1)]
    for b in betas:
        out.append(out[-1] * (1 - mp.mpf(float(b))))
    return out


def relative_error(got, exact):
    """Largest |got − exact| / |exact| over two equally long lists; 0/0 counts as 0."""
    worst = mp.mpf(0)
    for g, e in zip(got, exact, strict=True):
        g, e = mp.mpf(float(g)), mp.mpf(e)
        worst = max(worst, abs(g) if e == 0 else abs(g - e) / abs(e))
    return float(worst)


def lines(ax):
    """Label -> (x, y) of the lines drawn in a matplotlib Axes."""
    return {line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in ax.get_lines()}


def seeded(make, gain=2.0):
    """A float64 module with seeded weights, larger than PyTorch's by ``gain``, so that nothing is nearly linear."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = make().double()
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(gain)
    return module
