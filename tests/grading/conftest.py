"""Shared by the tests of grading: the toy assignment in the bank, and one clean process for all."""

import pytest
import world

from dlgm import exercises
from dlgm.grading.assignment import read
from dlgm.grading.sandbox import Zygote


@pytest.fixture(autouse=True)
def _bank(monkeypatch):
    monkeypatch.setitem(exercises.HOMEWORK, "toy", world.BANK)


@pytest.fixture
def toy():
    return read(world.master(), "toy")


@pytest.fixture(scope="session")
def zygote():
    with Zygote() as running:
        yield running
