"""Exercises of lesson 13: the reverse drift, one step of Euler–Maruyama, its exact variance, and a number to distrust.

Ledger SDE-3, SDE-4, SDE-5, SDE-6, SDE-7.
"""

import math
from dataclasses import dataclass

import torch

from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers, uniform


# ---- reverse_drift --------------------------------------------------------------------------------------------------
def reverse_drift(f, g2, x, score, churn):
    return expand(f, x) * x - 0.5 * (1 + churn) * expand(g2, x) * score


def _drift_cases(generator):
    def case(label, churn, B, *shape, dtype=torch.float64):
        x, score = (normal(B, *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (-uniform(B, generator=generator), 0.5 + uniform(B, generator=generator), x, score, churn))

    first = (numbers(-1.0), numbers(3.0), numbers(3.0), numbers(-0.5), 2.0)
    return [
        Case("f = −1, g² = 3, x = 3, score = −0.5, churn 2", first),
        case("shape (3, 5), churn 0 (the flow)", 0.0, 3, 5),
        case("shape (4, 3), churn 0.5", 0.5, 4, 3),
        case("images of shape (3, 4, 6, 5), churn 2", 2.0, 3, 4, 6, 5),
        case("shape (5, 3), churn 1, float32", 1.0, 5, 3, dtype=torch.float32),
    ]


REVERSE_DRIFT = Exercise(
    equation="f x − ½ (1 + a) g² score, a = churn (SDE-3, SDE-4, SDE-5)",
    reference=reverse_drift,
    returns=("drift",),
    cases=_drift_cases,
    mistakes=mistakes(
        reverse_drift,
        ("the drift of the flow", "this is the drift for churn 0, f x − ½ g² score, whatever churn is.",
         ("(1 + churn)", "1")),
        ("the drift of the SDE", "this is the drift for churn 1, f x − g² score, whatever churn is.",
         ("(1 + churn)", "2")),
        ("churn without the 1", "½ churn g² score was taken off; at churn 0 the flow still has ½ g² score.",
         ("(1 + churn)", "churn")),
        ("the half left out", "½ is missing before (1 + churn).", ("0.5 * (1 + churn)", "(1 + churn)")),
        ("1 + churn/2", "this is (1 + churn/2) g²; it is ½ (1 + churn) g².",
         ("0.5 * (1 + churn)", "(1 + 0.5 * churn)")),
        ("sign of the score", "the score is added; in the drift that is run backwards it is taken off.",
         (" - 0.5", " + 0.5")),
        ("the whole sign turned",
         "this is −f x + ½ (1 + churn) g² score, the drift in the time that runs backwards. Asked "
         "for is the drift of dx = (…) dt with dt < 0.",
         ("return expand(f, x) * x - 0.5", "return -expand(f, x) * x + 0.5")),
        ("sign of f", "f x has the wrong sign; only the score is taken off.",
         ("expand(f, x) * x -", "-expand(f, x) * x -")),
        ("f x left out", "f x is missing: only the score was used.", ("expand(f, x) * x -", "0 * x -")),
        ("1 − churn", "1 − churn stands for 1 + churn.", ("(1 + churn)", "(1 - churn)")),
        ("the half on f x as well", "½ was taken of f x, too; it belongs to the score.",
         ("expand(f, x) * x -", "0.5 * expand(f, x) * x -")),
        ("g for g²", "√g² stands before the score; it is g².", ("expand(g2, x)", "expand(g2.sqrt(), x)")),
        ("g⁴", "g2 was squared; it is a square already.", ("expand(g2, x)", "expand(g2**2, x)")),
        ("f not multiplied by x", "f stands alone; the drift up is f x.", ("expand(f, x) * x", "expand(f, x) + 0 * x")),
        ("f times the score", "f multiplies the score; it belongs to x.", ("expand(f, x) * x", "expand(f, x) * score")),
        ("x in the place of the score", "g² multiplies x; it belongs to the score.",
         ("expand(g2, x) * score", "expand(g2, x) * x")),
        ("one number for the whole batch", "f[0] and g2[0] were used for every example.",
         lambda f, g2, x, score, churn: reverse_drift(f[:1].expand(len(x)), g2[:1].expand(len(x)), x, score, churn)),
    ),
    start="Which two values of churn do you know already?",
    hint="expand(f, x) from dlgm.tensors lines f (B,) up with x.",
    see="In the first case −3 + ½ · 3 · 3 · 0.5 = −0.75.",
)  # fmt: skip


# ---- maruyama_step --------------------------------------------------------------------------------------------------
def maruyama_step(beta, x, score, dt, z):
    return x + 0.5 * beta * (x + 2 * score) * dt + math.sqrt(beta * dt) * z


def _step_cases(generator):
    def case(label, beta, dt, *shape, dtype=torch.float64):
        x, score, z = (normal(*shape, generator=generator, dtype=dtype) for _ in range(3))
        return Case(label, (beta, x, score, dt, z))

    return [
        Case("β = 2, x = 1, score = −3, Δ = 0.02, z = 1", (2.0, numbers(1.0), numbers(-3.0), 0.02, numbers(1.0))),
        case("shape (3, 5), β = 7.3, Δ = 0.05", 7.3, 0.05, 3, 5),
        case("shape (4, 3), β = 0.4, Δ = 0.5", 0.4, 0.5, 4, 3),
        case("images of shape (3, 4, 6, 5)", 19.0, 0.001, 3, 4, 6, 5),
        case("shape (5, 3), float32", 3.0, 0.1, 5, 3, dtype=torch.float32),
    ]


def _keeps_normal(function):
    """N(0, 1) has score −x: the gain of a step is 1 − ½βΔ and its variance stays 1 up to Δ²."""
    one = numbers(1.0)
    gain, added = function(2.0, one, -one, 0.01, 0 * one), function(2.0, 0 * one, 0 * one, 0.01, one)
    off = (gain**2 + added**2).item() - 1
    return abs(off - 1e-4) < 1e-9, f"off by {off:.1e}, (½βΔ)² = 1.0e-04"


MARUYAMA_STEP = Exercise(
    equation="x_s = x_t + ½ β (x_t + 2 score) Δ + √(βΔ) z, Δ = t − s > 0 (SDE-6)",
    reference=maruyama_step,
    returns=("x_s",),
    cases=_step_cases,
    properties=(Property("data N(0, 1) keep their variance up to (½βΔ)²", _keeps_normal),),
    mistakes=mistakes(
        maruyama_step,
        ("the drift of the flow",
         "x + score stands in the drift, that of the flow; with noise added it is x + 2 score.",
         ("2 * score", "score")),
        ("a step up", "x is shrunk and the score taken off: this walks upwards in time. With Δ > 0 both are added.",
         ("x + 0.5", "x - 0.5")),
        ("only the sign of x turned", "½ β x Δ is taken off; backwards in time x is enlarged by it.",
         ("(x + 2", "(-x + 2")),
        ("sign of the score", "the score is taken off; it leads towards the data, so it is added.",
         ("+ 2 * score", "- 2 * score")),
        ("the half left out", "½ is missing before β (x + 2 score).", ("0.5 * beta", "beta")),
        ("the half on x left out", "β x + β score was added; it is ½ β x + β score.",
         ("0.5 * beta * (x + 2 * score)", "beta * (x + score)")),
        ("the root of β missing", "the noise has the factor β √Δ; it is √(βΔ).",
         ("math.sqrt(beta * dt)", "beta * math.sqrt(dt)")),
        ("the root of Δ missing",
         "the noise has the factor √β Δ; it is √(βΔ). With many steps nothing would be left of it.",
         ("math.sqrt(beta * dt)", "math.sqrt(beta) * dt")),
        ("both roots missing", "the noise has the variance for its factor; it is the root, √(βΔ).",
         ("math.sqrt(beta * dt)", "beta * dt")),
        ("no noise", "√(βΔ) z is missing, while the drift is that of the SDE.", (" + math.sqrt(beta * dt) * z", "")),
        ("Δ missing in the drift", "the drift is not multiplied by Δ.", (" * dt + math", " + math")),
        ("√Δ in the drift", "the drift is multiplied by √Δ; only the noise has a root.",
         ("score) * dt", "score) * math.sqrt(dt)")),
        ("a step of the flow", "this is Euler's step for the flow: one score and no noise.",
         ("2 * score", "score"), (" + math.sqrt(beta * dt) * z", "")),
        ("Δ missing in the noise", "the noise has the factor √β; it is √(βΔ).",
         ("math.sqrt(beta * dt)", "math.sqrt(beta)")),
        ("β missing in the noise", "the noise has the factor √Δ; it is √(βΔ).",
         ("math.sqrt(beta * dt)", "math.sqrt(dt)")),
        ("the drift without x", "only the score drifts: ½ β x Δ is missing.", ("(x + 2 * score)", "(2 * score)")),
        ("the 2 on x", "2 x + score stands in the drift; it is x + 2 score.", ("(x + 2 * score)", "(2 * x + score)")),
        ("doubled noise", "the noise has the variance 2βΔ, as in Langevin dynamics of step βΔ; here it is βΔ.",
         ("math.sqrt(beta * dt)", "math.sqrt(2 * beta * dt)")),
        ("only the increment", "this is what is added to x_t; x_t itself is missing.",
         ("return x + 0.5", "return 0.5")),
    ),
    start="Three terms: where it is, where it drifts, what chance adds.",
    hint="beta and dt are numbers: math.sqrt(beta * dt).",
    see="In the first case 1 + 0.02 · (1 − 6) + 0.2 = 1.1.",
)  # fmt: skip


# ---- maruyama_variance ----------------------------------------------------------------------------------------------
def maruyama_variance(beta, m, dt, start):
    v = start
    for b, marginal in zip(beta.tolist(), m.tolist(), strict=True):
        gain = 1 + 0.5 * b * dt - b * dt / marginal
        v = gain**2 * v + b * dt
    return v


def _variance_cases(generator):
    def case(label, N, dt):
        beta, m = 1 + 5 * uniform(N, generator=generator), 0.3 + uniform(N, generator=generator)
        return Case(label, (beta, m, dt, 0.5 + uniform(1, generator=generator)[0]))

    return [
        Case("one step, β = 2, m = ½, Δ = 0.1, from variance 3", (numbers(2.0), numbers(0.5), 0.1, numbers(3.0)[0])),
        case("3 steps, random β and m", 3, 0.1),
        case("7 steps", 7, 0.04),
        case("50 steps", 50, 0.01),
    ]


MARUYAMA_VARIANCE = Exercise(
    equation="v ← (1 + ½βΔ − βΔ/m)² v + βΔ at each step, with score −x/m (SDE-6)",
    reference=maruyama_variance,
    returns=("variance",),
    cases=_variance_cases,
    mistakes=mistakes(
        maruyama_variance,
        ("the gain not squared", "the variance is multiplied by the gain; it takes its square.",
         ("gain**2 * v", "gain * v")),
        ("noise not added", "βΔ is not added: each step draws fresh noise.", ("gain**2 * v + b * dt", "gain**2 * v")),
        ("the noise's standard deviation added", "√(βΔ) is added; variances add, and that of the noise is βΔ.",
         ("v + b * dt", "v + (b * dt) ** 0.5")),
        ("the gain of the flow", "½βΔ/m stands in the gain, that of the flow; with noise it is βΔ/m.",
         ("- b * dt / marginal", "- 0.5 * b * dt / marginal")),
        ("a step up", "½βΔ is taken off and βΔ/m added: this walks upwards.",
         ("1 + 0.5 * b * dt - b * dt / marginal", "1 - 0.5 * b * dt + b * dt / marginal")),
        ("the score of N(0, 1)", "m is not used: the score was taken for −x.", ("b * dt / marginal", "b * dt")),
        ("multiplied by m", "βΔ is multiplied by m; the score is −x/m.", ("b * dt / marginal", "b * dt * marginal")),
        ("m squared", "βΔ is divided by m²; the score is −x/m.", ("/ marginal", "/ marginal**2")),
        ("the square linearised", "1 + 2 (½βΔ − βΔ/m) stands for the square of the gain: its second order is missing.",
         ("gain**2 * v", "(2 * gain - 1) * v")),
        ("the variance for m", "the score was taken from the v of the walk; it is that of q(x_t), −x/m.",
         ("b * dt / marginal", "b * dt / v")),
        ("the noise multiplied by the gain", "fresh noise was multiplied by the gain of its own step.",
         ("gain**2 * v + b * dt", "gain**2 * (v + b * dt)")),
        ("Δ missing in the noise", "β is added; the variance of a step's noise is βΔ.", ("v + b * dt", "v + b")),
        ("sign of the score", "the score pulls outwards: βΔ/m is added.",
         ("- b * dt / marginal", "+ b * dt / marginal")),
        ("the half missing", "βΔ stands for ½βΔ in the first term of the gain.", ("0.5 * b * dt - b", "b * dt - b")),
        ("the last noise left out", "no noise is added in the last step.",
         lambda beta, m, dt, start: maruyama_variance(beta, m, dt, start) - beta[-1].item() * dt),
        ("the order turned", "the entries were used from the last to the first; entry 0 is the first step.",
         lambda beta, m, dt, start: maruyama_variance(beta.flip(0), m.flip(0), dt, start)),
        ("the last step left out", "the last entry was not used.",
         lambda beta, m, dt, start: maruyama_variance(beta[:-1], m[:-1], dt, start)),
        ("from variance 1", "start was not used; the recursion begins with it.", ("v = start", "v = 0 * start + 1")),
        ("standard deviation returned", "this is the root of the variance.", ("return v", "return v**0.5")),
    ),
    start="One step: x_s = gain · x_t + noise. What is the gain if the score is −x/m?",
    hint="Independent variances add: v ← gain² v + βΔ.",
    see="In the first case 3 (1 + 0.1 − 0.4)² + 0.2 = 1.67.",
)  # fmt: skip


# ---- misleading_count -----------------------------------------------------------------------------------------------
def misleading_count(ratio, counts):
    best = min(counts, key=lambda N: abs(ratio(N) - 1))
    return torch.tensor(best)


@dataclass(frozen=True)
class Ratio:
    """What a sampler with two errors of opposite sign shows: 1 + a/N − b/N²."""

    a: float
    b: float

    def __call__(self, N):
        return 1 + self.a / N - self.b / N**2

    def __repr__(self):
        return f"N ↦ 1 + {self.a:.3g}/N − {self.b:.3g}/N²"


def _count_cases(generator):
    """Answers in the middle and at both ends; counts in order and not; ratios that rise, fall, and cross twice."""
    a = (1 + uniform(6, generator=generator)).tolist()
    shuffled = (3 * torch.randperm(20, generator=generator) + 5).tolist()
    return [
        Case("ratio(N) = 1 + 2/N − 22/N², N = 5, 10, 20", (Ratio(2, 22), [5, 10, 20])),
        Case("another ratio, N = 4, 7, ..., 61", (Ratio(a[0], 13.2 * a[0]), list(range(4, 64, 3)))),
        Case("counts that are not in order", (Ratio(a[1], 21.9 * a[1]), shuffled)),
        Case("a ratio that falls below 1", (Ratio(-a[2], -31.2 * a[2]), list(range(9, 60, 4)))),
        Case("a ratio that is best at the first count", (Ratio(a[3], 5.1 * a[3]), [5, 9, 13, 40])),
        Case("a ratio that is best at the last count", (Ratio(a[4], 0.0), [6, 11, 30, 55])),
        Case("counts that fall", (Ratio(a[5], 17.7 * a[5]), list(range(70, 8, -5)))),
    ]


MISLEADING_COUNT = Exercise(
    equation="the N among counts for which ratio(N) is nearest to 1",
    reference=misleading_count,
    returns=("N",),
    cases=_count_cases,
    mistakes=mistakes(
        misleading_count,
        ("the smallest ratio", "this is the N of the smallest ratio; nearest to 1 is asked for, from either side.",
         ("abs(ratio(N) - 1)", "ratio(N)")),
        ("the largest ratio", "this is the N of the largest ratio; nearest to 1 is asked for.",
         ("min(", "max("), ("abs(ratio(N) - 1)", "ratio(N)")),
        ("the farthest", "this is the N farthest from 1.", ("min(", "max(")),
        ("the most steps", "this is the largest N, whatever the ratios say.",
         ("min(counts, key=lambda N: abs(ratio(N) - 1))", "max(counts)")),
        ("the fewest steps", "this is the smallest N, whatever the ratios say.",
         ("min(counts, key=lambda N: abs(ratio(N) - 1))", "min(counts)")),
        ("the place in the list", "this is where N stands in counts; asked for is N itself.",
         ("torch.tensor(best)", "torch.tensor(counts.index(best))")),
        ("the ratio", "this is the ratio at that N; asked for is N.",
         ("torch.tensor(best)", "torch.tensor(ratio(best))")),
        ("one N too late", "this is the N after the one that is nearest.",
         ("torch.tensor(best)", "torch.tensor(counts[(counts.index(best) + 1) % len(counts)])")),
        ("the first above 1", "this is the first N whose ratio is above 1; the one before may be nearer.",
         ("min(counts, key=lambda N: abs(ratio(N) - 1))", "next((N for N in counts if ratio(N) > 1), counts[-1])")),
    ),
    start="Ask for the ratio at every count, and compare each with 1.",
    hint="min(counts, key=...) finds the entry for which a function is least.",
    see="In the first case ratio(10) = 0.98 is nearer than ratio(5) = 0.52 and ratio(20) = 1.045: 10.",
)  # fmt: skip

EXERCISES = (REVERSE_DRIFT, MARUYAMA_STEP, MARUYAMA_VARIANCE, MISLEADING_COUNT)
