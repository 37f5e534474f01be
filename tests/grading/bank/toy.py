"""The bank of the small assignment: two graded functions."""

import torch

from dlgm.exercises.engine import Case, Exercise, mistakes


def _cases(sizes):
    def cases(generator):
        return [Case(f"shape {s}", (torch.randn(*s, generator=generator, dtype=torch.float64), 3.0)) for s in sizes]

    return cases


def affine(x, a):
    return a * x + 1


def spread(x, a):
    return (x - x.mean()).square().mean().sqrt() * a


def _exercise(reference, *wrong):
    return Exercise(
        equation="", reference=reference, returns=("y",), cases=_cases([(2,), (3, 2)]),
        mistakes=mistakes(reference, *wrong),
        start="s", hint="h", see="v", hidden=_cases([(4,), (2, 5), (7, 1), (1, 3)]), seconds=2.0,
    )  # fmt: skip


AFFINE = _exercise(
    affine,
    ("one forgotten", "the 1 is missing.", (" + 1", "")),
    ("sign", "the 1 is added, not subtracted.", ("+ 1", "- 1")),
)
SPREAD = _exercise(spread, ("variance", "the root is missing.", (".sqrt()", "")))
EXERCISES = (AFFINE, SPREAD)
