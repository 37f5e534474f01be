"""A function that is given a generator draws from it alone: every case of test_devices, on the CPU."""

import sys
from pathlib import Path

import pytest
import torch
from test_devices import World, cases
from torch.utils._python_dispatch import TorchDispatchMode

import dlgm
from dlgm import elbo, gaussian, hvae, likelihood, losses, metrics, process, samplers, scores, tensors, vae, vlb

MODULES = (elbo, gaussian, hvae, likelihood, losses, metrics, process, samplers, scores, tensors, vae, vlb)
PACKAGE = str(Path(dlgm.__file__).parent)
DRAWS = set("bernoulli cauchy exponential geometric log_normal multinomial normal poisson rand randint".split())
DRAWS |= set("rand_like randint_like randn randn_like random randperm uniform".split())
# Runs that are seeded by themselves, for layers that take no generator: their models are made and trained inside.
SEEDED = ("training.", "images.", "files.")


class Watch(TorchDispatchMode):
    """Notes each draw from the state that all share, below a function of the package that has a generator."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.name.split("::")[1].rstrip("_") in DRAWS and not has_generator(func, args, kwargs):
            frame = sys._getframe(1)
            while frame is not None:
                if frame.f_code.co_filename.startswith(PACKAGE) and frame.f_locals.get("generator") is not None:
                    self.found.add(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
                    break
                frame = frame.f_back
        return func(*args, **kwargs)


def has_generator(func, args, kwargs):
    return any(isinstance(v, torch.Generator) or "Generator" in type(v).__name__ for v in [*args, *kwargs.values()])


def test_the_watch_sees_a_draw():
    code = compile("def f(generator, inner):\n  return torch.randn(3, generator=inner)", f"{PACKAGE}/x.py", "exec")
    exec(code, globals(), space := {})
    g = torch.Generator()
    for generator, inner, want in ((g, None, {"x.py:2"}), (g, g, set()), (None, None, set())):
        with Watch() as watch:
            space["f"](generator, inner)
        assert watch.found == want


with torch.random.fork_rng([]):
    CASES = {f"{name}{' (CPU)' * host}": call for name, call, host in cases("cpu") if not name.startswith(SEEDED)}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_every_module_that_draws_has_cases(module):
    assert any(name.startswith(module.__name__.split(".")[-1] + ".") for name in CASES)


@pytest.mark.parametrize("name", CASES)
def test_all_draws_come_from_the_generator(name):
    with torch.random.fork_rng([]), Watch() as watch:
        list_all(CASES[name](World("cpu")))
    assert watch.found == set()


def list_all(v):
    """Runs what generates."""
    if hasattr(v, "__next__"):
        list(v)
    elif isinstance(v, (list, tuple)):
        for i in v:
            list_all(i)
