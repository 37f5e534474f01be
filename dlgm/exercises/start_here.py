"""The exercise of lesson 00, small enough to show how checking works. Ledger GAUSS-1."""

import torch

from .engine import Case, Exercise, Mistake, Property


def std_of_sum(a, b):
    return torch.sqrt(a**2 + b**2)


def _cases(generator):
    def positive(n):
        return 0.5 + 3 * torch.rand(n, generator=generator, dtype=torch.float64)

    def pair(*values):
        return tuple(torch.tensor([v], dtype=torch.float64) for v in values)

    return [
        Case("standard deviations 3 and 4", pair(3.0, 4.0)),
        Case("standard deviations 1 and 0", pair(1.0, 0.0)),
        Case("five random pairs", (positive(5), positive(5))),
    ]


def _agrees_with_samples(function):
    generator, n = torch.Generator().manual_seed(2), 200_000
    x, y = (s * torch.randn(n, generator=generator, dtype=torch.float64) for s in (1.5, 2.0))
    expected = function(*(torch.tensor([s], dtype=torch.float64) for s in (1.5, 2.0))).item()
    z = ((x + y).var().item() / expected**2 - 1) / (2 / n) ** 0.5
    return abs(z) < 5, f"z = {z:.1f}; beyond 5 by chance once in two million"


STD_OF_SUM = Exercise(
    equation="Var(X + Y) = Var X + Var Y for independent X, Y (GAUSS-1)",
    reference=std_of_sum,
    returns=("std",),
    cases=_cases,
    properties=(Property("200,000 sampled sums have this standard deviation", _agrees_with_samples),),
    mistakes=(
        Mistake(
            "standard deviations added",
            "this adds the standard deviations; for independent variables the variances add. "
            "It would be right for one and the same draw.",
            lambda a, b: a + b,
        ),
        Mistake(
            "variance for standard deviation",
            "this is the variance of the sum; the question is its square root.",
            lambda a, b: a**2 + b**2,
        ),
        Mistake(
            "root of the sum of standard deviations",
            "the roots are taken of standard deviations: square them first.",
            lambda a, b: torch.sqrt(a + b),
        ),
        Mistake(
            "mean of the two",
            "this is the average of the two; adding noise to noise makes more noise than either.",
            lambda a, b: (a + b) / 2,
        ),
    ),
    start="What is the variance of each of the two? What is the variance of the sum?",
    hint="torch.sqrt, and squares.",
    see="3 and 4 give 5.",
)

EXERCISES = (STD_OF_SUM,)
