"""Exercises of lesson 17: one answer for two steps, the student's target, what a walk keeps of a spread, weights, and
the steps inside a loop that is closed.

Ledger DIST-1, DIST-2, DIST-3, DIST-4, M-19.
"""

import math

import torch

from ..course.progressive_distillation import Loop
from ..schedules import DiscreteSchedule
from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, ONE_T, T4, Line, alpha_bar_of, normal, numbers, random_betas


# ---- implied_answer -------------------------------------------------------------------------------------------------
def implied_answer(x_t, x_s, t, s, alpha_bar):
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    ratio = noise[s] / noise[t]
    share = signal[s] - ratio * signal[t]
    return (x_s - expand(ratio, x_t) * x_t) / expand(share, x_t)


def _implied_cases(generator):
    def case(label, t, s, *shape, beta=T4, dtype=torch.float64):
        x_t, x_s = (normal(len(t), *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (x_t, x_s, torch.tensor(t), torch.tensor(s), alpha_bar_of(beta)))

    first = (numbers(1.0), numbers(0.9), torch.tensor([4]), torch.tensor([2]), alpha_bar_of(T4))
    return [
        Case("one number, T = 4, t = 4, s = 2, x_t = 1, x_s = 0.9", first),
        case("shape (3, 5), s = 0 among them", [4, 2, 3], [1, 0, 2], 5),
        case("shape (4, 3), random β", [9, 7, 4, 2], [3, 6, 1, 0], 3, beta=random_betas(9, generator)),
        case("images of shape (3, 2, 4, 5), T = 1000", [1000, 600, 40], [500, 599, 0], 2, 4, 5, beta=LONG),
        case("shape (3, 4) in float32", [4, 3, 1], [2, 1, 0], 4, dtype=torch.float32),
    ]


def _a_step_comes_back(function):
    a, generator = alpha_bar_of(T4), torch.Generator().manual_seed(2)
    x0, x_t = normal(2, 4, generator=generator), normal(2, 4, generator=generator)
    t, s = torch.tensor([4, 3]), torch.tensor([1, 2])
    eps = (x_t - expand(a[t].sqrt(), x0) * x0) / expand((1 - a[t]).sqrt(), x0)
    x_s = expand(a[s].sqrt(), x0) * x0 + expand((1 - a[s]).sqrt(), x0) * eps
    gap = (function(x_t, x_s, t, s, a) - x0).abs().max().item()
    return gap < 1e-10, f"off by {gap:.0e}"


IMPLIED_ANSWER = Exercise(
    equation="x̃ = (x_s − r x_t)/(√ᾱ_s − r √ᾱ_t), r = √(1 − ᾱ_s)/√(1 − ᾱ_t) (DIST-3)",
    reference=implied_answer,
    returns=("x0",),
    cases=_implied_cases,
    properties=(Property("a DDIM step with a known x̂_0 gives that x̂_0 back", _a_step_comes_back),),
    mistakes=mistakes(
        implied_answer,
        ("ratio upside down", "r is √(1 − ᾱ_t)/√(1 − ᾱ_s); the noise that is left is the smaller one, over the larger.",
         ("noise[s] / noise[t]", "noise[t] / noise[s]")),
        ("ratio of the signals", "r is a ratio of signals; what shrinks like x_t's noise is the noise.",
         ("noise[s] / noise[t]", "signal[t] / signal[s]")),
        ("ratio of variances", "r is (1 − ᾱ_s)/(1 − ᾱ_t); it is the ratio of the roots.",
         ("noise[s] / noise[t]", "(noise[s] / noise[t]) ** 2")),
        ("times exchanged", "t and s are exchanged throughout: the step goes from t down to s.",
         lambda x_t, x_s, t, s, a: implied_answer(x_t, x_s, s, t, a)),
        ("states exchanged", "x_t and x_s are exchanged.",
         ("(x_s - expand(ratio, x_t) * x_t)", "(x_t - expand(ratio, x_t) * x_s)")),
        ("only the signal of s", "the divisor is √ᾱ_s: the part of x̂_0 that came along with r x_t is not taken off.",
         ("signal[s] - ratio * signal[t]", "signal[s]")),
        ("r missing in the divisor", "the divisor is √ᾱ_s − √ᾱ_t; x_t's signal shrinks by r as its noise does.",
         ("ratio * signal[t]", "signal[t]")),
        ("r missing before x_t", "x_t is subtracted without r.", ("expand(ratio, x_t) * x_t", "x_t")),
        ("sign of x_t", "r x_t is added; the step put it there, so it is taken away.", ("(x_s - ", "(x_s + ")),
        ("sign in the divisor", "r √ᾱ_t is added in the divisor.", ("signal[s] - ratio", "signal[s] + ratio")),
        ("not divided", "this is the part of the step that x̂_0 made, (√ᾱ_s − r √ᾱ_t) x̂_0; divide by its factor.",
         (" / expand(share, x_t)", "")),
        ("multiplied for divided", "the factor of x̂_0 multiplies; it divides.", (" / expand(share", " * expand(share")),
        ("ᾱ without roots", "signal and noise are ᾱ and 1 − ᾱ; they are their roots.",
         ("alpha_bar.sqrt(), (1 - alpha_bar).sqrt()", "alpha_bar, 1 - alpha_bar")),
        ("1 − √ᾱ for the noise", "the noise is 1 − √ᾱ; it is √(1 − ᾱ).",
         ("(1 - alpha_bar).sqrt()", "1 - alpha_bar.sqrt()")),
        ("x̂_0 of x_s alone", "this is x_s/√ᾱ_s, as if nothing of x_s were noise.",
         ("(x_s - expand(ratio, x_t) * x_t) / expand(share, x_t)", "x_s / expand(signal[s], x_t)")),
        ("ε of the step", "this is the noise that both states share, (√ᾱ_s x_t − √ᾱ_t x_s)/(…); asked for is x̂_0.",
         ("(x_s - expand(ratio, x_t) * x_t) / expand(share, x_t)",
          "(expand(signal[s], x_t) * x_t - expand(signal[t], x_t) * x_s) / expand(signal[s] * noise[t] - signal[t] * "
          "noise[s], x_t)")),
        ("in units of the noise",
         "√SNR is infinite where s = 0, so x/√(1 − ᾱ) is no way to write it down there: multiply above and below by "
         "the noise at s.",
         ("ratio = noise[s] / noise[t]", "root = signal / noise"),
         ("share = signal[s] - ratio * signal[t]", "share = root[s] - root[t]"),
         ("(x_s - expand(ratio, x_t) * x_t)", "(x_s / expand(noise[s], x_t) - x_t / expand(noise[t], x_t))")),
        ("one t for all", ONE_T, ("noise[s] / noise[t]", "noise[s] / noise[t[:1]].expand(len(t))")),
    ),
    start="Write the DDIM step from x_t to x_s with an unknown x̂_0. Where does x̂_0 stand in it?",
    hint="x_s = √ᾱ_s x̂_0 + r (x_t − √ᾱ_t x̂_0). Gather x̂_0 on one side.",
    see="T = 4, t = 4, s = 2, x_t = 1, x_s = 0.9: r = 0.6226, x̃ = 0.5372.",
)  # fmt: skip


# ---- student_target -------------------------------------------------------------------------------------------------
def student_target(teacher, x_t, t, m, s, alpha_bar):
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    first = teacher(x_t, t)
    eps = (x_t - expand(signal[t], x_t) * first) / expand(noise[t], x_t)
    x_m = expand(signal[m], x_t) * first + expand(noise[m], x_t) * eps
    second = teacher(x_m, m)
    far = noise[s] / noise[m]
    share = far * (signal[m] - noise[m] / noise[t] * signal[t]) / (signal[s] - noise[s] / noise[t] * signal[t])
    return expand(share, x_t) * first + expand(1 - share, x_t) * second


def _target_cases(generator):
    def case(label, t, m, s, *shape, beta=T4, dtype=torch.float64, teacher=None):
        x_t = normal(len(t), *shape, generator=generator, dtype=dtype)
        times = [torch.tensor(v) for v in (t, m, s)]
        return Case(label, (teacher or Line(0.5, 10.0), x_t, *times, alpha_bar_of(beta)))

    first = (Line(0.5, 10.0), numbers(1.0), *(torch.tensor([v]) for v in (4, 2, 1)), alpha_bar_of(T4))
    wide, longer = random_betas(9, generator), Line(-0.4, 700.0)
    return [
        Case("one number, T = 4, t = 4, m = 2, s = 1, x_t = 1, teacher(x, t) = 0.5 x + t/10", first),
        case("shape (3, 5), s = 0 among them", [4, 2, 3], [3, 1, 2], [1, 0, 1], 5),
        case("shape (4, 3), random β", [9, 7, 4, 3], [5, 6, 3, 1], [3, 4, 1, 0], 3, beta=wide, teacher=Line(0.8, 6.0)),
        case("images of shape (3, 2, 4, 5), T = 1000", [1000, 600, 40], [700, 500, 20], [500, 300, 0], 2, 4, 5,
             beta=LONG, teacher=longer),
        case("shape (3, 4) in float32", [4, 3, 2], [2, 2, 1], [1, 0, 0], 4, dtype=torch.float32),
    ]  # fmt: skip


def _one_step_is_two(function):
    a, teacher = alpha_bar_of(T4), Line(-0.3, 4.0)
    x, (t, m, s) = normal(2, 3, generator=torch.Generator().manual_seed(3)), ([4, 3], [3, 2], [1, 1])

    def step(x, x0, t, s):
        ratio = ((1 - a[s]) / (1 - a[t])).sqrt()
        return expand(a[s].sqrt(), x) * x0 + expand(ratio, x) * (x - expand(a[t].sqrt(), x) * x0)

    t, m, s = (torch.tensor(v) for v in (t, m, s))
    x_m = step(x, teacher(x, t), t, m)
    gap = (step(x, function(teacher, x, t, m, s, a), t, s) - step(x_m, teacher(x_m, m), m, s)).abs().max().item()
    return gap < 1e-10, f"the ends are {gap:.0e} apart"


STUDENT_TARGET = Exercise(
    equation="x̃ = a x̂(x_t, t) + (1 − a) x̂(x_m, m), a = (√SNR_m − √SNR_t)/(√SNR_s − √SNR_t), x_m the teacher's first "
    "step (DIST-2, DIST-3)",
    reference=student_target,
    returns=("target",),
    cases=_target_cases,
    properties=(Property("one step with it ends where the teacher's two do", _one_step_is_two),),
    mistakes=mistakes(
        student_target,
        ("m and s exchanged", "the two later times are exchanged: t is followed by m, and m by s.",
         lambda teacher, x, t, m, s, a: student_target(teacher, x, t, s, m, a)),
        ("asked twice at x_t", "the second answer was asked at x_t, told m. The teacher is at x_m by then.",
         ("teacher(x_m, m)", "teacher(x_t, m)")),
        ("asked at x_m, told t", "at x_m the teacher was told t; it is at m.", ("teacher(x_m, m)", "teacher(x_m, t)")),
        ("asked at x_m, told s", "at x_m the teacher was told s, where the second step ends; it starts at m.",
         ("teacher(x_m, m)", "teacher(x_m, s)")),
        ("the first answer only", "this is the teacher's answer at x_t: a student that learns it is the teacher.",
         ("return expand(share, x_t) * first + expand(1 - share, x_t) * second", "return first")),
        ("the second answer only",
         "this is the teacher's second answer, the x̂_0 of the step that starts at x_m. The student starts at x_t, and "
         "the first answer counts too, save where s = 0.",
         ("return expand(share, x_t) * first + expand(1 - share, x_t) * second", "return second + 0 * first")),
        ("half and half", "the two answers count alike; how much each counts follows from the times.",
         ("expand(share, x_t) * first + expand(1 - share, x_t) * second", "(first + second) / 2")),
        ("shares exchanged", "the weights of the two answers are exchanged.",
         ("expand(share, x_t) * first + expand(1 - share, x_t) * second",
          "expand(1 - share, x_t) * first + expand(share, x_t) * second")),
        ("SNR without the root", "a is a quotient of differences of SNR; it is one of √SNR.",
         ("share = far * (signal[m] - noise[m] / noise[t] * signal[t]) / (signal[s] - noise[s] / noise[t] * signal[t])",
          "share = far**2 * (signal[m]**2 - (noise[m] / noise[t] * signal[t])**2) / (signal[s]**2 - (noise[s] / "
          "noise[t] * signal[t])**2)")),
        ("shares by time", "a is (t − m)/(t − s), a share of the times; it is one of √SNR.",
         ("share = far * (signal[m] - noise[m] / noise[t] * signal[t]) / (signal[s] - noise[s] / noise[t] * signal[t])",
          "share = ((t - m) / (t - s)).to(signal.dtype)")),
        ("∞/∞ at s = 0", "√SNR is infinite at s = 0, and 1 − a is ∞/∞ there: a is 0 there, and counts only the second "
         "answer.",
         ("share = far * (signal[m] - noise[m] / noise[t] * signal[t]) / (signal[s] - noise[s] / noise[t] * signal[t])",
          "root = signal / noise\n    share = 1 - (root[s] - root[m]) / (root[s] - root[t])")),
        ("a = 1 at s = 0", "where s = 0 the first answer got all the weight; it gets none: √SNR is infinite there.",
         ("share = far * (signal[m] - noise[m] / noise[t] * signal[t]) / (signal[s] - noise[s] / noise[t] * signal[t])",
          "root = signal / noise\n    share = 1 - torch.nan_to_num((root[s] - root[m]) / (root[s] - root[t]))")),
        ("the two increases", "a is the first increase of √SNR over the second; it is the first over both together.",
         ("/ (signal[s] - noise[s] / noise[t] * signal[t])", "/ (signal[s] - noise[s] / noise[m] * signal[m])")),
        ("shares of the signals", "a is made of the signals alone; it is a share of √SNR, signal over noise.",
         ("share = far * (signal[m] - noise[m] / noise[t] * signal[t]) / (signal[s] - noise[s] / noise[t] * signal[t])",
          "share = (signal[m] - signal[t]) / (signal[s] - signal[t])")),
        ("r forgotten in the quotient", "the factor √(1 − ᾱ_s)/√(1 − ᾱ_m), by which the first step's part shrinks in "
         "the second, is missing.", ("share = far * ", "share = ")),
        ("the end of the walk", "this is x_s, where the two steps end; asked for is the x̂_0 whose one step ends there.",
         ("return expand(share, x_t) * first + expand(1 - share, x_t) * second",
          "return expand(signal[s], x_t) * second + expand(far, x_t) * (x_m - expand(signal[m], x_t) * second)")),
        ("first step to s", "the first step goes to s at once, and the second answer is asked there.",
         ("expand(signal[m], x_t) * first + expand(noise[m], x_t) * eps",
          "expand(signal[s], x_t) * first + expand(noise[s], x_t) * eps")),
        ("no signal in the first step", "x_m has the noise of m and nothing of x̂_0.",
         ("expand(signal[m], x_t) * first + expand(noise[m], x_t) * eps", "expand(noise[m], x_t) * eps")),
        ("x_t not cleared", "ε of the first step is x_t/√(1 − ᾱ_t); x̂_0's part, √ᾱ_t x̂_0, is in x_t too.",
         ("(x_t - expand(signal[t], x_t) * first)", "x_t")),
        ("ᾱ without roots", "signal and noise are ᾱ and 1 − ᾱ; they are their roots.",
         ("alpha_bar.sqrt(), (1 - alpha_bar).sqrt()", "alpha_bar, 1 - alpha_bar")),
        ("one t for all", ONE_T, ("first = teacher(x_t, t)", "t = t[:1].expand(len(t))\n    first = teacher(x_t, t)")),
        ("the difference of the answers", "the second answer is subtracted; this is a mean of the two.",
         ("* first + expand(1 - share", "* first - expand(1 - share")),
    ),
    start="Take the teacher's two DDIM steps. Then ask, as in exercise 1, which x̂_0 one step would have needed.",
    hint="In each step x/√(1 − ᾱ) grows by the increase of √SNR times x̂_0. √SNR is infinite at s = 0: multiply a above "
    "and below by √(1 − ᾱ_s), or use exercise 1.",
    see="T = 4, t = 4, m = 2, s = 1, x_t = 1, teacher 0.5 x + t/10: answers 0.9 and 0.7355, a = 0.3604, x̃ = 0.7948.",
)  # fmt: skip


# ---- kept_spread ----------------------------------------------------------------------------------------------------
def kept_spread(angles, K):
    student = (angles[:-1] - angles[1:]).cos().prod()
    kept = angles[:: 2**K]
    plain = (kept[:-1] - kept[1:]).cos().prod()
    return student, plain


def _spread_cases(generator):
    def angles(N):
        cuts = torch.rand(N, generator=generator, dtype=torch.float64)
        return torch.cat([cuts.cumsum(0).flip(0) * (math.pi / 2 / cuts.sum()), numbers(0.0)])

    return [
        Case("4 equal angles, one halving", (torch.linspace(math.pi / 2, 0, 5, dtype=torch.float64), 1)),
        Case("8 angles, no halving", (angles(8), 0)),
        Case("8 angles, 3 halvings", (angles(8), 3)),
        Case("16 angles, 2 halvings", (angles(16), 2)),
        Case("12 angles, 2 halvings", (angles(12), 2)),
        Case("1024 equal angles, 10 halvings", (torch.linspace(math.pi / 2, 0, 1025, dtype=torch.float64), 10)),
    ]


def _halvings_change_nothing(function):
    grid = torch.linspace(math.pi / 2, 0, 17, dtype=torch.float64)
    found = [function(grid, K)[0].item() for K in range(5)]
    want = math.cos(math.pi / 32) ** 16
    return all(abs(v - want) < 1e-12 for v in found), ", ".join(f"{v:.4f}" for v in found)


KEPT_SPREAD = Exercise(
    equation="a step through the angle δ keeps cos δ of the spread of data N(0, 1); a perfect student copies its "
    "teacher's walk (DIST-4)",
    reference=kept_spread,
    returns=("student", "plain"),
    cases=_spread_cases,
    properties=(Property("16 angles: perfect students of 16, 8, 4, 2, 1 steps are alike", _halvings_change_nothing),),
    mistakes=mistakes(
        kept_spread,
        ("the student loses as a plain walk does",
         "both numbers are those of the few steps. A perfect student lands where its teacher does.",
         ("student = (angles[:-1] - angles[1:]).cos().prod()", "student = (angles[:: 2**K][:-1] - "
          "angles[:: 2**K][1:]).cos().prod()")),
        ("the plain walk copies the teacher", "both numbers are the teacher's; the plain walk has fewer, wider steps.",
         ("kept = angles[:: 2**K]", "kept = angles")),
        ("exchanged", "both are right, in the other order: the student's first.",
         ("return student, plain", "return plain, student")),
        ("a loss in each halving", "the student loses a factor again in each halving; a perfect halving adds no error.",
         ("return student, plain", "return student ** (K + 1), plain")),
        ("K-th for 2^K-th", "every K-th time was kept; each halving drops half of them, so it is every 2^K-th.",
         ("2**K", "max(K, 1)")),
        ("2K-th for 2^K-th", "every 2K-th time was kept; K halvings keep every 2^K-th.", ("2**K", "max(2 * K, 1)")),
        ("one halving too few", "every 2^(K−1)-th time was kept; K halvings keep every 2^K-th.",
         ("2**K", "2 ** max(K - 1, 0)")),
        ("one halving too many", "every 2^(K+1)-th time was kept.", ("2**K", "2 ** (K + 1)")),
        ("one halving only", "every second time was kept, whatever K is.", ("2**K", "2 ** min(K, 1)")),
        ("sum for product", "the cosines were added; the spreads of a walk multiply.",
         ("(kept[:-1] - kept[1:]).cos().prod()", "(kept[:-1] - kept[1:]).cos().sum()"),
         ("(angles[:-1] - angles[1:]).cos().prod()", "(angles[:-1] - angles[1:]).cos().sum()")),
        ("variances", "these are variances; asked for are standard deviations.",
         ("return student, plain", "return student**2, plain**2")),
        ("cosines of the angles", "the cosines of the angles themselves were multiplied; a step turns by a difference.",
         ("(kept[:-1] - kept[1:]).cos()", "kept[1:].cos()"), ("(angles[:-1] - angles[1:]).cos()", "angles[1:].cos()")),
        ("sines", "sines for cosines: a step that does not turn keeps everything.",
         ("(kept[:-1] - kept[1:]).cos()", "(kept[:-1] - kept[1:]).sin()"),
         ("(angles[:-1] - angles[1:]).cos()", "(angles[:-1] - angles[1:]).sin()")),
        ("equal angles supposed", "cos(π/2N)^N is the product for equal angles; these are not equal.",
         ("student = (angles[:-1] - angles[1:]).cos().prod()",
          "student = torch.cos(math.pi / 2 / (angles[1:] + 2).sign().sum()) ** (angles[1:] + 2).sign().sum()")),
        ("equal angles supposed in both", "cos(π/2N)^N is the product for equal angles; these are not equal.",
         ("student = (angles[:-1] - angles[1:]).cos().prod()",
          "N = len(angles) - 1\n    student = angles.new_tensor(math.cos(math.pi / 2 / N) ** N)"),
         ("plain = (kept[:-1] - kept[1:]).cos().prod()",
          "n = N // 2**K\n    plain = angles.new_tensor(math.cos(math.pi / 2 / n) ** n)")),
        ("equal angles supposed in the plain walk",
         "cos(π/2N)^N is the product for equal angles; the plain walk's are not "
         "equal.", ("plain = (kept[:-1] - kept[1:]).cos().prod()",
          "n = (len(angles) - 1) // 2**K\n    plain = angles.new_tensor(math.cos(math.pi / 2 / n) ** n)")),
        ("what is lost", "this is the share that is lost; asked for is what is kept.",
         ("return student, plain", "return 1 - student, 1 - plain")),
        ("one step for one halving", "the plain walk is one single step; K halvings leave N/2^K of them.",
         ("kept = angles[:: 2**K]", "kept = torch.stack([angles[0], angles[-1]])")),
        ("last step left out", "the last step, down to the data, is missing in both.",
         ("(angles[:-1] - angles[1:])", "(angles[:-2] - angles[1:-1])"),
          ("(kept[:-1] - kept[1:])", "(kept[:-2] - kept[1:-1])")),
        ("first step left out", "the first step, from pure noise, is missing in both.",
         ("(angles[:-1] - angles[1:])", "(angles[1:-1] - angles[2:])"),
          ("(kept[:-1] - kept[1:])", "(kept[1:-1] - kept[2:])")),
    ),
    start="What does one step keep? Which steps does the teacher take, and where does a perfect student land?",
    hint="The student's number has nothing to do with K. The plain walk stops at angles[:: 2**K].",
    see="4 equal angles, one halving: the student keeps cos(π/8)^4 = 0.7286, two plain steps cos(π/4)^2 = 0.5.",
)  # fmt: skip


# ---- student_loss ---------------------------------------------------------------------------------------------------
def student_loss(x0_hat, target, t, alpha_bar, weight):
    snr = alpha_bar[t] / (1 - alpha_bar[t])
    if weight == "snr":
        w = snr
    elif weight == "truncated":
        w = snr.clamp(min=1)
    else:
        w = snr + 1
    error = (target - x0_hat).square().reshape(len(t), -1).sum(1)
    return expand(w, error) * error


def _loss_cases(generator):
    def case(label, weight, t, *shape, beta=T4, dtype=torch.float64):
        x0_hat, target = (normal(len(t), *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (x0_hat, target, torch.tensor(t), alpha_bar_of(beta), weight))

    many, beta = [9, 1, 6, 3], random_betas(9, generator)
    return [
        Case('two numbers, T = 4, t = 3, "snr+1"',
             (numbers([1.0, 0.0]), numbers([0.5, 1.0]), torch.tensor([3]), alpha_bar_of(T4), "snr+1")),
        case('shape (3, 5), "snr"', "snr", [4, 1, 2], 5),
        case('shape (3, 5), "truncated"', "truncated", [4, 1, 2], 5),
        case('shape (4, 3), "truncated", random β', "truncated", many, 3, beta=beta),
        case('shape (4, 3), "snr+1", random β', "snr+1", many, 3, beta=beta),
        case('images of shape (3, 2, 4, 5), T = 1000, "snr+1"', "snr+1", [1000, 500, 10], 2, 4, 5, beta=LONG),
        case('shape (3, 4) in float32, "truncated"', "truncated", [1, 4, 3], 4, dtype=torch.float32),
    ]  # fmt: skip


def _is_the_loss_on_v(function):
    a, t = alpha_bar_of(T4), torch.tensor([1, 3, 4])
    x, x_hat, eps = (normal(3, 5, generator=torch.Generator().manual_seed(k)) for k in (1, 2, 3))
    signal, noise = a[t].sqrt()[:, None], (1 - a[t]).sqrt()[:, None]
    x_t = signal * x + noise * eps
    v, v_hat = (signal * (x_t - signal * y) / noise - noise * y for y in (x, x_hat))
    gap = (function(x_hat, x, t, a, "snr+1") - (v - v_hat).square().sum(1)).abs().max().item()
    return gap < 1e-9, f"off by {gap:.0e}"


def _gradient_is_the_students(function):
    x_hat = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    args = torch.zeros(3, 4, dtype=torch.float64), torch.tensor([1, 2, 4]), alpha_bar_of(T4), "snr+1"
    gradients = [torch.autograd.grad(f(x_hat, *args).sum(), x_hat)[0] for f in (function, student_loss)]
    gap = (gradients[0] - gradients[1]).abs().max().item()
    return gap < 1e-9, f"off by {gap:.0e}"


STUDENT_LOSS = Exercise(
    equation="w ‖x̃ − x̂_0‖², w = SNR, max(SNR, 1) or SNR + 1, SNR = ᾱ_t/(1 − ᾱ_t) (DIST-1, M-19)",
    reference=student_loss,
    returns=("loss",),
    cases=_loss_cases,
    properties=(
        Property('"snr+1" is the squared error of v', _is_the_loss_on_v),
        Property("the gradient reaches the student's answer", _gradient_is_the_students),
    ),
    mistakes=mistakes(
        student_loss,
        ("noise over signal", "this is (1 − ᾱ)/ᾱ, noise over signal: SNR is ᾱ/(1 − ᾱ).",
         ("alpha_bar[t] / (1 - alpha_bar[t])", "(1 - alpha_bar[t]) / alpha_bar[t]")),
        ("the root of SNR", "this is √SNR; a squared error has the weight SNR.",
         ("alpha_bar[t] / (1 - alpha_bar[t])", "(alpha_bar[t] / (1 - alpha_bar[t])).sqrt()")),
        ("ᾱ for SNR", "ᾱ stands for SNR; it is ᾱ/(1 − ᾱ).", ("alpha_bar[t] / (1 - alpha_bar[t])", "alpha_bar[t]")),
        ("log SNR", "this is log SNR, which is negative where noise prevails; the weight is SNR.",
         ("alpha_bar[t] / (1 - alpha_bar[t])", "(alpha_bar[t] / (1 - alpha_bar[t])).log()")),
        ("cut off above", '"truncated" is min(SNR, 1), which vanishes with the signal; it is max(SNR, 1).',
         ("clamp(min=1)", "clamp(max=1)")),
        ("truncated by the batch", "the larger of SNR and 1 was taken over the batch; each example has its own.",
         ("snr.clamp(min=1)", "snr.max().clamp(min=1)")),
        ("truncated and one more", '"truncated" is max(SNR, 1), not max(SNR, 1) + 1.',
         ("snr.clamp(min=1)", "snr.clamp(min=1) + 1")),
        ("SNR for all three", "the weight is SNR whatever was asked for.",
         ("w = snr.clamp(min=1)", "w = snr"), ("w = snr + 1", "w = snr")),
        ("SNR + 1 for all three", "the weight is SNR + 1 whatever was asked for.",
         ("w = snr.clamp(min=1)", "w = snr + 1"), ("        w = snr\n", "        w = snr + 1\n")),
        ("truncated not truncated",
         '"truncated" is max(SNR, 1); here it is SNR itself.', ("w = snr.clamp(min=1)", "w = snr")),
        ("truncated is SNR + 1",
         '"truncated" is max(SNR, 1); here it is SNR + 1.', ("w = snr.clamp(min=1)", "w = snr + 1")),
        ("two weights exchanged", 'the weights "snr" and "snr+1" are exchanged.',
         ("        w = snr\n", "        w = snr + 1.0\n"), ("w = snr + 1\n", "w = snr\n")),
        ("brackets", "a/1 − a is 0: the 1 − ᾱ below needs brackets.",
         ("alpha_bar[t] / (1 - alpha_bar[t])", "alpha_bar[t] / 1 - alpha_bar[t]")),
        ("no weight", "the error is not weighted.", ("return expand(w, error) * error", "return error")),
        ("divided by the weight", "the error is divided by the weight.",
         ("expand(w, error) * error", "error / expand(w, error)")),
        ("mean over the entries", "the squares were averaged over the entries; they are summed.",
         (".sum(1)", ".mean(1)")),
        ("one number", "the batch was summed too; each example has a loss of its own.",
         ("return expand(w, error) * error", "return (expand(w, error) * error).sum()")),
        ("not squared", "this is the distance; the loss has its square.", (".sum(1)", ".sum(1).sqrt()")),
        ("absolute values", "the errors are not squared.", (".square()", ".abs()")),
        ("weight squared", "the weight was squared: it stands before the square, not in it.",
         ("return expand(w, error) * error", "return expand(w, error) ** 2 * error")),
        ("SNR − 1", "the weight is SNR − 1; it is SNR + 1.", ("snr + 1", "snr - 1")),
        ("half of it", "there is a factor ½ that was not asked for.",
         ("return expand(w, error) * error", "return expand(w, error) * error / 2")),
        ("one t for all", ONE_T, ("alpha_bar[t] / (1 - alpha_bar[t])",
                                  "(alpha_bar[t] / (1 - alpha_bar[t]))[:1].expand(len(t))")),
    ),
    start="First the three weights as numbers for each example, then the squares, summed over each example.",
    hint="clamp(min=1) is max(·, 1). .flatten(1).sum(1) keeps the batch.",
    see='T = 4, t = 3, "snr+1": ᾱ_3 = 0.405, SNR + 1 = 1.6807, squares 0.25 + 1, loss 2.1008.',
)  # fmt: skip


# ---- steps_inside ---------------------------------------------------------------------------------------------------
def steps_inside(loop, i):
    asked, x = [], torch.zeros(1, dtype=torch.float64)

    def spy(x_t, t):
        asked.append(t)
        return torch.ones_like(x) if len(asked) == 1 else torch.zeros_like(x)

    share = loop(spy, x, i)
    return torch.tensor(asked), share[0]


def _inside_cases(generator):
    five = DiscreteSchedule(T4[1:].tolist())
    long = DiscreteSchedule(LONG[1:].tolist())
    some = DiscreteSchedule(random_betas(9, generator)[1:].tolist())
    return [
        Case("the first loop, 2 steps, i = 0", (Loop("first", five, (4, 2, 0)), 0)),
        Case("the second loop, 4 steps, i = 0", (Loop("second", five, (4, 3, 2, 1, 0), "exchanged"), 0)),
        Case("the third loop, 4 steps, i = 0", (Loop("third", some, (9, 6, 4, 1, 0), "one pair late"), 0)),
        Case("the fourth loop, 6 steps, i = 1", (Loop("fourth", some, (9, 8, 6, 5, 3, 2, 0), "asked once"), 1)),
        Case("the fifth loop, i = 0", (Loop("fifth", long, (1000, 700, 400, 90, 0), "solved from the middle"), 0)),
        Case("the sixth loop, 4 steps, i = 1", (Loop("sixth", long, (1000, 700, 400, 90, 10)), 1)),
        Case("the seventh loop, i = 0", (Loop("seventh", some, (9, 6, 4, 1, 0), "told t again"), 0)),
    ]  # fmt: skip


def _a_loop_that_asks_three_times(function):
    def loop(teacher, x_t, i):
        return sum(c * teacher(x_t, t) + 0 * x_t for c, t in ((0.2, 7), (0.5, 5), (0.3, 6)))

    asked, share = function(loop, 0)
    seen = f"asked {asked.tolist()}, share {share:g}"
    return asked.tolist() == [7, 5, 6] and abs(
        share - 0.2
    ) < 1e-9, seen + "; it asks at 7, 5, 6 and weighs the first .2"


def _same_answer_twice(loop, i):
    asked, x = [], torch.zeros(1, dtype=torch.float64)
    share = loop(lambda x_t, t: (asked.append(t), torch.ones_like(x))[1], x, i)
    return torch.tensor(asked), share[0]


def _second_share(loop, i):
    asked, share = steps_inside(loop, i)
    return asked, 1 - share


STEPS_INSIDE = Exercise(
    equation="asked: the times at which loop(teacher, x_t, i) asks its teacher, in order; share: the weight of the "
    "first answer in what comes back (DIST-2, DIST-3)",
    reference=steps_inside,
    returns=("asked", "share"),
    cases=_inside_cases,
    properties=(Property("a loop that asks three times is found out, too", _a_loop_that_asks_three_times),),
    mistakes=mistakes(
        steps_inside,
        ("the same answer each time",
         "every question got the same answer, so what comes back is that answer whatever the weights. Answer 1 first, "
         "then 0.", _same_answer_twice),
        ("the weight of the second answer",
         "this is the weight of the other answers together; asked for is that of the first: answer 1 to the first "
         "question.", _second_share),
        ("the share that a right loop has",
         "share is the one of a right loop with these times. Ask this loop: what it does with the answers may differ.",
         lambda loop, i: (steps_inside(loop, i)[0], steps_inside(Loop("", loop.schedule, loop.times), i)[1])),
        ("asked from the loop's times",
         "asked was read off the loop's times. What it tells its teacher may differ; a spy hears it.",
         lambda loop, i: (torch.tensor(loop.times[2 * i : 2 * i + 2]), steps_inside(loop, i)[1])),
        ("both of a right loop", "asked and share are those of a right loop with these times. Ask this one.",
         lambda loop, i: steps_inside(Loop("", loop.schedule, loop.times), i)),
        ("i = 0 always", "the first pair of steps was asked about, whatever i is.",
         lambda loop, i: steps_inside(loop, 0)),
        ("the pair after", "the pair after the i-th was asked about.",
         lambda loop, i: steps_inside(loop, min(i + 1, len(loop.times) // 2 - 1))),
        ("only the first question", "asked holds the first time only; the loop may ask again.",
         ("torch.tensor(asked)", "torch.tensor(asked[:1])")),
        ("only the last question", "asked holds the last time only.",
         ("torch.tensor(asked)", "torch.tensor(asked[-1:])")),
        ("in reverse", "asked is in reverse: the first question first.",
         ("torch.tensor(asked)", "torch.tensor(asked[::-1])")),
        ("two questions supposed", "asked always has two times; a loop may ask once, and that is a fault to be found.",
         ("torch.tensor(asked)", "torch.tensor([asked[0], asked[-1]])")),
        ("values exchanged", "both are right, in the other order: asked comes first.",
         ("return torch.tensor(asked), share[0]", "return share[0], torch.tensor(asked)")),
        ("how often it asked", "asked is the number of questions; asked for are their times.",
         ("torch.tensor(asked)", "torch.tensor(len(asked))")),
        ("each time once", "a time at which the loop asks twice stands there once; asked is a list of questions.",
         ("torch.tensor(asked)", "torch.tensor(list(dict.fromkeys(asked)))")),
        ("answers by time",
         "the answer hangs on the time, so a second question at the same time got 1 as well; only the "
         "first question gets 1.", ("if len(asked) == 1 else", "if t == asked[0] else")),
        ("answers of size 2", "the first answer was not 1, and what came back was not divided by it.",
         ("torch.ones_like(x) if", "2 * torch.ones_like(x) if")),
    ),
    start="You choose the teacher. What must it note, and what must it answer for one number to show the weights?",
    hint="A spy may keep a list. It answers 1 to the first question and 0 to all others; then what comes back is the "
    "first answer's weight, whatever x_t is.",
    see="The first loop, T = 4, times (4, 2, 0): asked (4, 2); its last step ends at 0, where the second answer is the "
    "whole target: share 0.",
)  # fmt: skip

EXERCISES = (IMPLIED_ANSWER, STUDENT_TARGET, KEPT_SPREAD, STUDENT_LOSS, STEPS_INSIDE)
