"""Exercises of lesson 14: Heun's step, a line through two answers, a solver to be mended, an error bar foreseen.

Ledger SDE-4, M-13, M-14.
"""

import math
from dataclasses import dataclass

import torch

from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers


@dataclass(frozen=True)
class Field:
    """A stand-in for a network: (y, ρ) ↦ a y + b ρ + c y ρ."""

    a: float
    b: float
    c: float = 0.0

    def __call__(self, y, rho):
        return self.a * y + self.b * rho + self.c * y * rho

    def __repr__(self):
        return f"(y, ρ) ↦ {self.a:g} y + {self.b:g} ρ" + (f" + {self.c:g} y ρ" if self.c else "")


# ---- heun_step ------------------------------------------------------------------------------------------------------
def heun_step(eps_hat, y, rho_t, rho_s):
    h = rho_s - rho_t
    first = eps_hat(y, rho_t)
    guess = y + h * first
    return y + 0.5 * h * (first + eps_hat(guess, rho_s))


def _heun_cases(generator):
    def case(label, rho_t, rho_s, *shape, dtype=torch.float64):
        return Case(label, (Field(0.7, -0.4, 0.3), normal(*shape, generator=generator, dtype=dtype), rho_t, rho_s))

    return [
        Case("ε̂ = y + ρ, y = 2, from ρ = 3 to 1", (Field(1.0, 1.0), numbers(2.0), 3.0, 1.0)),
        case("shape (3, 5), from ρ = 0.9 to 0.5", 0.9, 0.5, 3, 5),
        case("shape (4, 3), from ρ = 2.5 to 0.3", 2.5, 0.3, 4, 3),
        case("images of shape (3, 4, 6, 5), from ρ = 1.4 to 1.1", 1.4, 1.1, 3, 4, 6, 5),
        case("shape (3, 4), from ρ = 40 to 0.01: far, and nearly to the data", 40.0, 0.01, 3, 4),
        case("shape (5, 3), float32", 0.8, 0.2, 5, 3, dtype=torch.float32),
    ]


def _second_order(function):
    """dy/dρ = y over one step of length h: y (1 + h + h²/2), e^h up to h³."""
    one = numbers(1.0)
    gap = [abs(function(Field(1.0, 0.0), one, 1.0, 1.0 - h).item() - math.exp(-h)) for h in (0.1, 0.05)]
    return 7 < gap[0] / gap[1] < 9, f"the error of a step is divided by {gap[0] / gap[1]:.2f}; 8 is expected"


HEUN_STEP = Exercise(
    equation="y_s = y_t + ½ (ρ_s − ρ_t) (ε̂(y_t, ρ_t) + ε̂(y′, ρ_s)), y′ = y_t + (ρ_s − ρ_t) ε̂(y_t, ρ_t) (M-14)",
    reference=heun_step,
    returns=("y_s",),
    cases=_heun_cases,
    properties=(Property("half the step, an eighth of its error", _second_order),),
    mistakes=mistakes(
        heun_step,
        ("Euler's step", "this is y′, one step with one slope; the mean of two slopes is asked for.",
         ("return y + 0.5 * h * (first + eps_hat(guess, rho_s))", "return guess")),
        ("the second slope at the old ρ", "the second slope was asked at ρ_t; y′ lies at ρ_s.",
         ("eps_hat(guess, rho_s)", "eps_hat(guess, rho_t)")),
        ("the second slope at the old place", "the second slope was asked at y_t; it belongs to y′.",
         ("eps_hat(guess, rho_s)", "eps_hat(y, rho_s)")),
        ("the second slope alone", "only the slope at y′ was used; it is the mean of both.",
         ("0.5 * h * (first + eps_hat(guess, rho_s))", "h * eps_hat(guess, rho_s)")),
        ("the half missing", "the slopes are added, not averaged: ½ is missing.", ("0.5 * h * (first", "h * (first")),
        ("the step turned",
         "the step is ρ_t − ρ_s, or the slope has the wrong sign; downwards the step is ρ_s − ρ_t, a negative number.",
         ("rho_s - rho_t", "rho_t - rho_s")),
        ("the midpoint", "this is the midpoint rule, of second order too; asked for is the mean of the two ends.",
         ("guess = y + h * first", "guess = y + 0.5 * h * first"),
         ("0.5 * h * (first + eps_hat(guess, rho_s))", "h * eps_hat(guess, 0.5 * (rho_t + rho_s))")),
        ("half a step to y′", "y′ lies half a step away; the second slope is asked a whole step away.",
         ("guess = y + h * first", "guess = y + 0.5 * h * first")),
        ("on top of y′", "the mean slope was added to y′; the step starts at y_t.",
         ("return y + 0.5", "return guess + 0.5")),
        ("y′ in the wrong direction", "y′ was found by going up in ρ.",
         ("guess = y + h * first", "guess = y - h * first")),
        ("in log ρ", "the step is the change of log ρ; the slope is dy/dρ.",
         ("h = rho_s - rho_t", "h = rho_s - rho_t\n    step = math.log(rho_s / rho_t)"),
         ("return y + 0.5 * h * (", "return y + 0.5 * step * (")),
        ("y shrunk as well", "y was multiplied by ρ_s/ρ_t besides; in these coordinates nothing shrinks.",
         ("return y + 0.5", "return y * rho_s / rho_t + 0.5")),
        ("the difference of the slopes", "the slopes are subtracted; their mean is asked for.",
         ("(first + eps_hat(guess, rho_s))", "(first - eps_hat(guess, rho_s))")),
        ("half a step of Euler", "this is half of a step with one slope.",
         ("return y + 0.5 * h * (first + eps_hat(guess, rho_s))", "return y + 0.5 * h * first")),
        ("the change alone", "this is the change of y; y_t itself is missing.", ("return y + 0.5", "return 0.5")),
        ("one third, two thirds", "the slopes have weights ⅓ and ⅔; each has ½.",
         ("0.5 * h * (first + eps_hat(guess, rho_s))", "h * (first + 2 * eps_hat(guess, rho_s)) / 3")),
    ),
    start="Make a whole step with the first slope. What slope would the network give at its end?",
    hint="The step is ρ_s − ρ_t, negative on the way down. Both slopes act on the y you came with.",
    see="In the first case ε̂ = 5, y′ = 2 − 2·5 = −8, ε̂ there is −8 + 1 = −7, and y_s = 2 − 1·(5 − 7) = 4.",
)  # fmt: skip


# ---- extrapolated ---------------------------------------------------------------------------------------------------
def extrapolated(x0, before, h, h_before):
    mean_u = 1 / -math.expm1(-h) - 1 / h
    return x0 + mean_u * h / h_before * (x0 - before)


def _line_cases(generator):
    def case(label, h, h_before, *shape, dtype=torch.float64):
        x0, before = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (x0, before, h, h_before))

    return [
        Case("x̂_0 = 3, before it 1, h = log 2, before it ½ log 2",
             (numbers(3.0), numbers(1.0), math.log(2), math.log(2) / 2)),
        case("shape (3, 5), h = 0.6, before it 0.9", 0.6, 0.9, 3, 5),
        case("shape (4, 3), h = 2.5, before it 0.7", 2.5, 0.7, 4, 3),
        case("images of shape (3, 4, 6, 5), h = 0.05, before it 0.03", 0.05, 0.03, 3, 4, 6, 5),
        case("shape (5, 3), float32", 0.8, 0.5, 5, 3, dtype=torch.float32),
    ]  # fmt: skip


def _exact_on_lines(function):
    """x̂_0 = λ, known at −h_before and 0: its average over 0..h under the weight e^(λ − h), by quadrature."""
    h, h_before = 1.3, 0.4
    u = (torch.arange(20_000, dtype=torch.float64, device="cpu") + 0.5) / 20_000 * h
    want = (((u - h).exp() * u).sum() / (u - h).exp().sum()).item()
    got = function(numbers(0.0), numbers(-h_before), h, h_before).item()
    return abs(got - want) < 1e-6, f"{got:.6f}, by quadrature {want:.6f}"


EXTRAPOLATED = Exercise(
    equation="x̂_0 + w (h/h_before) (x̂_0 − before), w = 1/(1 − e^(−h)) − 1/h (M-14)",
    reference=extrapolated,
    returns=("average",),
    cases=_line_cases,
    properties=(Property("exact where x̂_0 is a line in λ", _exact_on_lines),),
    mistakes=mistakes(
        extrapolated,
        ("the steps exchanged", "h_before/h stands for h/h_before: a longer step goes further along the line.",
         ("h / h_before", "h_before / h")),
        ("½ for w", "½ stands for w. It is w's limit for small steps, and of second order too; the line's own average "
         "is asked for.", ("1 / -math.expm1(-h) - 1 / h", "0.5")),
        ("both steps taken as equal", "h/h_before is missing; it is 1 for equal steps only.", (" * h / h_before", "")),
        ("towards the past", "the difference is added with the wrong sign: this leads back to the answer before.",
         ("(x0 - before)", "(before - x0)")),
        ("the mean of the two", "this is the mean of the two answers; the step lies beyond both of them.",
         ("x0 + mean_u * h / h_before * (x0 - before)", "0.5 * (x0 + before) + 0 * mean_u")),
        ("the line not used", "this is x̂_0 alone, of first order.",
         ("x0 + mean_u * h / h_before * (x0 - before)", "x0 + 0 * mean_u")),
        ("from the answer before", "the line was continued from the answer before; it starts at x̂_0.",
         ("return x0 + mean_u", "return before + mean_u")),
        ("to the end of the step", "w is missing: this is the line at the end of the step, not its average over it.",
         ("mean_u * h / h_before", "(1 + 0 * mean_u) * h / h_before")),
        ("w of the step before", "w was taken of h_before; it belongs to h.",
         ("1 / -math.expm1(-h) - 1 / h", "1 / -math.expm1(-h_before) - 1 / h_before")),
        ("e^h", "e^(+h) stands in w; it is e^(−h).", ("1 / -math.expm1(-h) - 1 / h", "1 / -math.expm1(h) - 1 / h")),
        ("w counted from the end", "1 − w stands for w: u is 0 at the start of the step and 1 at its end.",
         ("1 / -math.expm1(-h) - 1 / h", "1 - 1 / -math.expm1(-h) + 1 / h")),
        ("1/h left out", "−1/h is missing in w.", ("1 / -math.expm1(-h) - 1 / h", "1 / -math.expm1(-h)")),
        ("e^(−2h)", "h is half the change of the log-SNR already; e^(−2h) takes it twice.",
         ("1 / -math.expm1(-h)", "1 / -math.expm1(-2 * h)")),
        ("half of w", "w was halved; it is near ½ as it is.", ("return x0 + mean_u", "return x0 + 0.5 * mean_u")),
        ("equal steps, to the end",
         "this is 2 x̂_0 − before: the line after a whole equal step; its average is wanted.",
         ("mean_u * h / h_before", "(1 + 0 * mean_u)")),
        ("the integral, not the average",
         "this was multiplied by 1 − e^(−h): the integral; its average over the step is asked for.",
         ("return x0 + mean_u * h / h_before * (x0 - before)",
          "return -math.expm1(-h) * (x0 + mean_u * h / h_before * (x0 - before))")),
        ("½ and equal steps", "this is 3/2 x̂_0 − ½ before: ½ for w, and both steps taken as equal.",
         ("mean_u * h / h_before", "(0.5 + 0 * mean_u)")),
        ("w not divided by 1 − e^(−h)",
         "1 − (1 − e^(−h))/h stands for w: the average was not divided by the sum of weights.",
         ("1 / -math.expm1(-h) - 1 / h", "1 + math.expm1(-h) / h")),
        ("½ and the steps exchanged", "½ stands for w, and h_before/h for h/h_before.",
         ("mean_u * h / h_before", "(0.5 + 0 * mean_u) * h_before / h")),
        ("the change alone", "x̂_0 itself is missing.", ("return x0 + mean_u", "return mean_u")),
        ("w/h_before", "w was divided by h_before; it is multiplied by h/h_before.",
         ("mean_u * h / h_before", "mean_u / h_before")),
    ),
    start="A line through two known values: how far does it rise over the step h?",
    hint="Over the step the line rises by (h/h_before)(x̂_0 − before); w says which share of it counts on average.",
    see="In the first case w = 2 − 1/0.6931 = 0.5573 and 3 + 0.5573 · 2 · 2 = 5.2292.",
)  # fmt: skip


# ---- mended_heun ----------------------------------------------------------------------------------------------------
def mended_heun(network, kind, y, rho_t, rho_s):
    def slope(y, rho, level):
        out = network(y, rho)
        x0 = y - level * out if kind == "eps" else (y - level * (1 + level**2) ** 0.5 * out) / (1 + level**2)
        return (y - x0) / level

    first = slope(y, rho_t, rho_t)
    guess = y + (rho_s - rho_t) * first
    second = slope(guess, rho_s, rho_s)
    return y + 0.5 * (rho_s - rho_t) * (first + second)


def public_heun(network, kind, y, rho_t, rho_s):
    """The solver of lesson 14 that is to be mended."""

    def slope(y, rho, level):
        out = network(y, rho)
        x0 = y - level * out
        if kind == "v":
            x0 = (y - level * (1 + level**2) ** 0.5 * out) / (1 + level**2)
        return (y - x0) / level

    first = slope(y, rho_t, rho_t)
    guess = y + (rho_s - rho_t) * first
    second = slope(guess, rho_s, rho_t)
    return y + 0.5 * (rho_s - rho_t) * (first + second)


def _mended_cases(generator):
    field = Field(0.4, -0.3, 0.2)

    def case(label, kind, rho_t, rho_s, *shape, dtype=torch.float64):
        return Case(label, (field, kind, normal(*shape, generator=generator, dtype=dtype), rho_t, rho_s))

    return [
        Case("network = y + ρ, kind eps, y = 2, from ρ = 3 to 1", (Field(1.0, 1.0), "eps", numbers(2.0), 3.0, 1.0)),
        Case("network = y, kind v, y = 25, from ρ = 4/3 to 3/4", (Field(1.0, 0.0), "v", numbers(25.0), 4 / 3, 0.75)),
        case("kind v, shape (3, 5), from ρ = 0.9 to 0.5", "v", 0.9, 0.5, 3, 5),
        case("kind eps, shape (4, 3), from ρ = 2.5 to 0.3", "eps", 2.5, 0.3, 4, 3),
        case("kind v, images of shape (3, 4, 6, 5)", "v", 2.5, 1.4, 3, 4, 6, 5),
        case("kind v, shape (5, 3), float32", "v", 0.8, 0.2, 5, 3, dtype=torch.float32),
    ]


MENDED_HEUN = Exercise(
    equation="Heun's step for a network that predicts ε or v, each answer read at its own ρ (M-14)",
    reference=mended_heun,
    returns=("y_s",),
    cases=_mended_cases,
    mistakes=mistakes(
        mended_heun,
        ("as it came", "the second answer is still read at ρ_t. It was given at ρ_s.",
         ("slope(guess, rho_s, rho_s)", "slope(guess, rho_s, rho_t)")),
        ("told the old ρ as well",
         "at the second stage the network is told ρ_t and its answer is read at ρ_t; y′ has the noise of ρ_s.",
         ("slope(guess, rho_s, rho_s)", "slope(guess, rho_t, rho_t)")),
        ("the network told the old ρ", "the second answer is read at ρ_s, but the network was told ρ_t.",
         ("slope(guess, rho_s, rho_s)", "slope(guess, rho_t, rho_s)")),
        ("the first stage changed", "the first answer is now read at ρ_s; it was given at ρ_t.",
         ("slope(y, rho_t, rho_t)", "slope(y, rho_t, rho_s)")),
        ("the two levels exchanged", "each answer is read at the other one's ρ.",
         ("slope(y, rho_t, rho_t)", "slope(y, rho_t, rho_s)"),
         ("slope(guess, rho_s, rho_s)", "slope(guess, rho_s, rho_t)")),
        ("halfway", "the second answer is read at the mean of the two ρ; it belongs to ρ_s.",
         ("slope(guess, rho_s, rho_s)", "slope(guess, rho_s, 0.5 * (rho_s + rho_t))")),
        ("only the division mended", "x̂_0 is still found with ρ_t, only the division uses ρ_s.",
         ("second = slope(guess, rho_s, rho_s)",
          "second = slope(guess, rho_s, rho_t) * rho_t / rho_s")),
        ("only x̂_0 mended", "x̂_0 is found with ρ_s, but y′ − x̂_0 is still divided by ρ_t.",
         ("second = slope(guess, rho_s, rho_s)",
          "second = slope(guess, rho_s, rho_s) * rho_s / rho_t")),
        ("one slope", "this is Euler's step: without a second slope the fault is gone, and so is the second order.",
         ("(first + second)", "(first + first)")),
        ("the half missing", "the two slopes are added; their mean is asked for.",
         ("return y + 0.5 * (rho_s", "return y + 1.0 * (rho_s")),
        ("the second slope alone", "only the second slope was used; it is the mean of both.",
         ("0.5 * (rho_s - rho_t) * (first + second)", "(rho_s - rho_t) * (0 * first + second)")),
        ("every network predicts ε", "the answer was taken for ε where kind says v.",
         (' if kind == "eps" else (y - level * (1 + level**2) ** 0.5 * out) / (1 + level**2)', "")),
        ("every network predicts v", "the answer was taken for v where kind says eps.",
         ('y - level * out if kind == "eps" else ', "")),
        ("the second slope at y", "the second slope was asked at y; it belongs to y′.",
         ("slope(guess, rho_s, rho_s)", "slope(y, rho_s, rho_s)")),
        ("the step turned", "the step is ρ_t − ρ_s; downwards it is ρ_s − ρ_t, a negative number.",
         ("guess = y + (rho_s - rho_t)", "guess = y + (rho_t - rho_s)"),
         ("return y + 0.5 * (rho_s - rho_t)", "return y + 0.5 * (rho_t - rho_s)")),
        ("the sign of v", "v was added where x̂_0 is found; it is taken off.",
         ("(y - level * (1 + level**2) ** 0.5 * out)", "(y + level * (1 + level**2) ** 0.5 * out)")),
        ("the root in v missing", "√(1 + ρ²) before v became 1 + ρ².", ("(1 + level**2) ** 0.5", "(1 + level**2)")),
    ),
    start="Run it with the two kinds, and print the order. What does the second stage know of ρ_s?",
    hint="An answer that was given at ρ can be read at ρ only. With ε it does not show: why?",
    see="In the first case 4, as before: with ε the slip is invisible. In the second, −0.5625.",
)  # fmt: skip


# ---- probe_error ----------------------------------------------------------------------------------------------------
def probe_error(A, kind, probes):
    S = (A + A.mT) / 2
    total = S.square().sum((-2, -1))
    if kind == "rademacher":
        total = total - S.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return (2 * total / probes).sqrt()


def _probe_cases(generator):
    def case(label, kind, probes, *shape, dtype=torch.float64):
        return Case(label, (normal(*shape, generator=generator, dtype=dtype), kind, probes))

    first = numbers([[1.0, 3.0, 0.0], [1.0, 5.0, 0.0], [0.0, 0.0, 2.0]])
    return [
        Case("A = [[1, 3, 0], [1, 5, 0], [0, 0, 2]], signs, 1 probe", (first, "rademacher", 1)),
        Case("the same A, Gaussian, 1 probe", (first, "gaussian", 1)),
        case("shape (3, 4, 4), signs, 7 probes", "rademacher", 7, 3, 4, 4),
        case("shape (5, 3, 3), Gaussian, 3 probes", "gaussian", 3, 5, 3, 3),
        case("shape (4, 6, 6), Gaussian, 5 probes, float32", "gaussian", 5, 4, 6, 6, dtype=torch.float32),
        Case("a diagonal A, signs: nothing is left to chance",
             (torch.diag_embed(numbers([1.0, 2.0, 3.0], [4.0, 1.0, 5.0])), "rademacher", 3)),
    ]  # fmt: skip


PROBE_ERROR = Exercise(
    equation="√(2 Σ S_ij² / probes), S = (A + Aᵀ)/2, over all i, j (gaussian) or i ≠ j (rademacher) (M-13)",
    reference=probe_error,
    returns=("error",),
    cases=_probe_cases,
    mistakes=mistakes(
        probe_error,
        ("A not made symmetric", "A itself was squared; vᵀAv knows only its symmetric part.",
         ("S = (A + A.mT) / 2", "S = A")),
        ("the variance", "this is the variance; asked for is its root.",
         ("(2 * total / probes).sqrt()", "2 * total / probes")),
        ("the 2 missing", "the factor 2 is missing.", ("2 * total / probes", "total / probes")),
        ("probes not used", "the error of one probe; the mean of several is quieter.",
         ("2 * total / probes", "2 * total")),
        ("divided by probes, not by their root",
         "the error was divided by the number of probes; it falls with its root.",
         ("(2 * total / probes).sqrt()", "(2 * total).sqrt() / probes")),
        ("multiplied by probes", "this grows with the probes: the error of their sum.",
         ("2 * total / probes", "2 * total * probes")),
        ("the diagonal kept for signs",
         "the diagonal counts for signs too; v_i² is 1 there and leaves nothing to chance.",
         ("total = total - S", "total = total - 0 * S")),
        ("the diagonal left out for both", "the diagonal was left out for Gaussian probes, too; their v_i² vary.",
         ('if kind == "rademacher":', "if True:")),
        ("the kinds exchanged", "the two kinds of probe were exchanged.", ('== "rademacher"', '!= "rademacher"')),
        ("the half of S missing", "S is A + Aᵀ; its half is missing.", ("(A + A.mT) / 2", "A + A.mT")),
        ("the antisymmetric part", "A − Aᵀ was taken; vᵀAv does not see that part at all.", ("A + A.mT", "A - A.mT")),
        ("each pair once", "each pair i < j was counted once; the sum runs over both orders.",
         lambda A, kind, probes: ((2 * (((A + A.mT) / 2).triu(1).square().sum((-2, -1))
                                        + (kind == "gaussian") * A.diagonal(dim1=-2, dim2=-1).square().sum(-1)))
                                  / probes).sqrt()),
        ("the trace", "only the diagonal was used; the entries off it leave the most to chance.",
         ("total = S.square().sum((-2, -1))", "total = S.diagonal(dim1=-2, dim2=-1).square().sum(-1)"),
         ("total = total - S", "total = total - 0 * S")),
        ("4 for each order", "4 stands under the root, or 2 outside it; it is 4 for each pair, so 2 for each order.",
         ("2 * total", "4 * total")),
        ("the square of the matrix", "A was multiplied by itself as a matrix; each entry of S is squared.",
         ("S.square().sum((-2, -1))", "(A @ A).diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=0)"),
         ("total = total - S", "total = total - 0 * S")),
        ("one probe lost", "the error was divided by the root of probes − 1.", ("/ probes", "/ max(probes - 1, 1)")),
        ("one number for the batch", "the sum runs over the batch as well.",
         lambda A, kind, probes: probe_error(A, kind, probes).square().sum().sqrt().expand(len(A))),
        ("no squares", "|S_ij| was summed; it is S_ij².",
         ("total = S.square().sum((-2, -1))", "total = S.abs().sum((-2, -1))"),
         (".square().sum(-1)", ".abs().sum(-1)")),
    ),
    start="For signs in the plane vᵀAv = A_11 + A_22 ± 2 S_12. What is its standard deviation?",
    hint="Var v_i v_j = 1 for i ≠ j; Var v_i² is 2 for Gaussian v and 0 for signs. The mean of K is quieter by √K.",
    see="In the first case S_12 = 2, and √(2 · (4 + 4)) = 4: the two outcomes are tr A ± 4.",
)  # fmt: skip

EXERCISES = (HEUN_STEP, EXTRAPOLATED, MENDED_HEUN, PROBE_ERROR)
