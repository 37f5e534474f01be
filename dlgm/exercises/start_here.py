"""The exercise of lesson 00, small enough to show how checking works. Ledger GAUSS-1."""

import torch

from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers, uniform


def std_of_sum(a, b):
    return torch.sqrt(a**2 + b**2)


def _cases(generator):
    return [
        Case("standard deviations 3 and 4", (numbers(3.0), numbers(4.0))),
        Case("standard deviations 1 and 0", (numbers(1.0), numbers(0.0))),
        Case("five random pairs", tuple(0.5 + 3 * uniform(5, generator=generator) for _ in range(2))),
    ]


def _agrees_with_samples(function):
    generator, n = torch.Generator().manual_seed(2), 200_000
    x, y = (normal(n, generator=generator, scale=s) for s in (1.5, 2.0))
    expected = function(numbers(1.5), numbers(2.0)).item()
    z = ((x + y).var().item() / expected**2 - 1) / (2 / n) ** 0.5
    return abs(z) < 5, f"z = {z:.1f}; beyond 5 by chance once in two million"


STD_OF_SUM = Exercise(
    equation="Var(X + Y) = Var X + Var Y for independent X, Y (GAUSS-1)",
    reference=std_of_sum,
    returns=("std",),
    cases=_cases,
    properties=(Property("200,000 sampled sums have this standard deviation", _agrees_with_samples),),
    mistakes=mistakes(
        std_of_sum,
        ("standard deviations added",
         "this adds the standard deviations; for independent variables the variances add. It would be right for one "
         "and the same draw.",
         ("torch.sqrt(a**2 + b**2)", "a + b")),
        ("variance for standard deviation", "this is the variance of the sum; the question is its square root.",
         ("torch.sqrt(a**2 + b**2)", "a**2 + b**2")),
        ("root of the sum of standard deviations", "the roots are taken of standard deviations: square them first.",
         ("a**2 + b**2", "a + b")),
        ("mean of the two", "this is the average of the two; adding noise to noise makes more noise than either.",
         ("torch.sqrt(a**2 + b**2)", "(a + b) / 2")),
    ),
    start="What is the variance of each of the two? What is the variance of the sum?",
    hint="torch.sqrt, and squares.",
    see="3 and 4 give 5.",
)  # fmt: skip

EXERCISES = (STD_OF_SUM,)
