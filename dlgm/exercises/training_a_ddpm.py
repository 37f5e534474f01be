"""Exercises of lesson 09: the training loss, one sampling step, four parts of the network and its training, and the
times inside a loss that is closed.

Ledger ALG-1, ALG-2, ARCH-3, ARCH-4, ARCH-6, M-25.
"""

import math

import torch
import torch.nn.functional as F

from ..course.training_a_ddpm import Loss
from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, T4, Line, alpha_bar_of, normal, numbers, random_betas, steps_of, uniform


# ---- ddpm_training_loss ---------------------------------------------------------------------------------------------
def ddpm_training_loss(predict, x0, u, eps, alpha_bar):
    T = len(alpha_bar) - 1
    t = 1 + (u * T).long()
    signal, noise = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
    x_t = expand(signal, x0) * x0 + expand(noise, x0) * eps
    error = eps - predict(x_t, t)
    return error.square().flatten(1).mean(1), t


def _training_cases(generator):
    def case(label, predict, u, *shape, beta=T4, dtype=torch.float64):
        x0, eps = (normal(len(u), *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (predict, x0, numbers(*u), eps, alpha_bar_of(beta)))

    line, high = Line(0.5, 10.0), Line(0.9, 1e3)
    zero = (Line(0.0, math.inf), numbers([1.0]), numbers(0.0), numbers([2.0]), alpha_bar_of(T4))
    first = (line, numbers([1.0]), numbers(0.3), numbers([2.0]), alpha_bar_of(T4))
    many, wide = (0.1 + 0.8 * uniform(7, generator=generator)).tolist(), [0.5123, 0.0004, 0.9996, 0.25]
    return [
        Case("a network that answers 0, u = 0 (its loss is ε² at every t, so t is compared by itself)", zero),
        Case("one number, T = 4, u = 0.3, x_0 = 1, ε = 2", first),
        case("x0 of shape (3, 6), T = 4, u from 0, the smallest draw, to 0.99", line, [0.6, 0.0, 0.99], 6),
        case("x0 of shape (3, 3), where (B,) fits the wrong axis", line, [0.7, 0.1, 0.4], 3),
        case("x0 of shape (7, 3), random u and β", Line(-0.3, 4.0), many, 3, beta=random_betas(9, generator)),
        case("images of shape (4, 3, 4, 5), where (B, 1) fits the rows, T = 1000", high, wide, 3, 4, 5, beta=LONG),
        case("x0 of shape (3, 7) in float32", line, [0.7, 0.3, 0.4], 7, dtype=torch.float32),
    ]


def _times_are_uniform(function):
    """So that the gradient of one random t aims at the sum over all t (ALG-3)."""
    T, n = 4, 8
    u = (torch.arange(T * n, dtype=torch.float64) + 0.5) / (T * n)
    t = function(lambda x, t: 0 * x, u[:, None], u, u[:, None], alpha_bar_of(T4))[1]
    counts = [int((t == k).sum()) for k in range(T + 2)]
    return counts == [0, n, n, n, n, 0], f"counts of t = 0..5: {counts}"


def _gradient_reaches(function):
    slope = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    x0, eps = normal(2, 2, 3, generator=torch.Generator().manual_seed(5))
    args = x0, numbers(0.1, 0.6), eps, alpha_bar_of(T4)

    def gradient(f):
        return torch.autograd.grad(f(lambda x, t: slope * x, *args)[0].sum(), slope)[0].item()

    got, want = gradient(function), gradient(ddpm_training_loss)
    return math.isclose(got, want, rel_tol=1e-9), f"dL/dθ = {got:.6g}, required {want:.6g}"


DDPM_TRAINING_LOSS = Exercise(
    equation="t = 1 + ⌊uT⌋, x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε, loss = mean over the entries of (ε − ε_θ(x_t, t))² (ALG-1)",
    reference=ddpm_training_loss,
    returns=("loss", "t"),
    cases=_training_cases,
    properties=(
        Property("evenly spread u use every t = 1..T equally often, 0 and T + 1 never", _times_are_uniform),
        Property("the gradient reaches the network", _gradient_reaches),
    ),
    start="Lines 3 to 5 of Algorithm 1: make t from u, make x_t, compare ε with what the network says.",
    hint="(u * T).long() cuts off the fraction. alpha_bar has T + 1 entries. expand(alpha_bar[t].sqrt(), x0) can be "
    "multiplied with x0. .flatten(1).mean(1) keeps the batch.",
    see="For T = 4, u = 0.3: t = 2, x_t = 0.8216 + 2 · 0.5701 = 1.9618, prediction 1.1809, loss 0.6709.",
    mistakes=mistakes(
        ddpm_training_loss,
        ("t from 0 to T − 1",
         "t is off by one: ⌊uT⌋ runs over 0..T−1. At t = 0 there is no noise to find, and T, where sampling starts, "
         "is never trained. Add 1.", ("1 + (u * T)", "(u * T)")),
        ("t never reaches T",
         "1 + ⌊u(T−1)⌋ runs over 1..T−1: the network never sees the level at which sampling starts.",
         ("u * T", "u * (T - 1)")),
        ("t from 2 to T", "2 + ⌊u(T−1)⌋ leaves out t = 1, the step that finishes the picture.",
         ("1 + (u * T)", "2 + (u * (T - 1))")),
        ("T taken for the length of the table",
         "the table has T + 1 entries, ᾱ_0 = 1 first; with its length for T, t can be T + 1 and the index runs out.",
         ("len(alpha_bar) - 1", "len(alpha_bar)")),
        ("rounded up",
         "⌈uT⌉ is 0 where u = 0, and torch.rand can draw 0; take 1 + ⌊uT⌋, which is never 0 and, as u < 1, never "
         "T + 1.", ("1 + (u * T)", "(u * T).ceil()")),
        ("rounded", "round(uT) runs over 0..T, with both ends half as likely; cut off the fraction and add 1.",
         ("1 + (u * T)", "(u * T).round()")),
        ("one t for the whole batch",
         "u[0] was used for every example. Each gets a time of its own; with a shared one the gradient is far "
         "noisier.", ("(u * T)", "(u[:1].expand(len(u)) * T)")),
        ("one t in x_t, the right one in the network",
         "x_t was made with the first example's t for all, while the network was told t.",
         ("alpha_bar[t].sqrt(), (1 - alpha_bar[t])", "alpha_bar[t[0]].sqrt(), (1 - alpha_bar[t[0]])")),
        ("one noise for the whole batch",
         "the noise of the first example was used for all; each example has noise of its own.",
         lambda f, x, u, e, a: ddpm_training_loss(f, x, u, e[:1].expand_as(e), a)),
        ("another noise as the target",
         "the target is not the noise that went into x_t, so there is nothing to learn: the loss stays at 1.",
         ("eps - predict", "torch.randn_like(x0) - predict")),
        ("target x_0", "the prediction is compared with x_0; this network predicts the noise.",
         ("eps - predict", "x0 - predict")),
        ("target √(1−ᾱ_t) ε", "the target is the noise as scaled in x_t; it is ε itself, of variance 1 at every t.",
         ("eps - predict", "expand(noise, x0) * eps - predict")),
        ("the network sees x_0", "predict was called with the clean x_0; it is given x_t.",
         ("predict(x_t, t)", "predict(x0, t)")),
        ("ᾱ without the product",
         "x_t was made with √α_t and √β_t, the coefficients of a single step; from x_0 to x_t it takes ᾱ_t.",
         lambda f, x, u, e, a: ddpm_training_loss(f, x, u, e, steps_of(a))),
        ("square roots missing", "x_t was made with ᾱ_t and 1 − ᾱ_t; the factors are their square roots.",
         ("alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()", "alpha_bar[t], 1 - alpha_bar[t]")),
        ("noise subtracted", "x_t has −√(1−ᾱ_t) ε, so the network would have to predict −ε.",
         ("x0 + expand", "x0 - expand")),
        ("index shifted: t − 1 in x_t",
         "x_t was made with ᾱ_{t−1}; the table starts with the clean state, so ᾱ_t is alpha_bar[t].",
         ("alpha_bar[t].sqrt(), (1 - alpha_bar[t])", "alpha_bar[t - 1].sqrt(), (1 - alpha_bar[t - 1])")),
        ("the network is told t − 1",
         "x_t is right, but predict was called with t − 1; in this course t runs from 1 to T for the network too.",
         ("predict(x_t, t)", "predict(x_t, t - 1)")),
        ("the network is told t/T",
         "predict was called with t/T; it is given the whole number t. Time features made for 0..1000 would hardly "
         "tell such times apart.", ("predict(x_t, t)", "predict(x_t, t / T)")),
        ("mean over the batch",
         "one number came out, the mean over the batch; keep one number for each example, so that the loss can be "
         "looked at by t.", (".flatten(1).mean(1)", ".mean()")),
        ("sum over the entries",
         "the squares of an example are summed; this loss is their mean, so that 1 is what a network that always "
         "answers 0 gets, whatever the size of the pictures.", (".mean(1)", ".sum(1)")),
        ("sum over entries and batch",
         "one number came out, the sum of all squares; keep the mean over the entries of each example.",
         (".flatten(1).mean(1)", ".sum()")),
        ("not squared",
         "this is the mean absolute error; the network would learn medians, and the sampler needs means.",
         (".square()", ".abs()")),
        ("coefficients not shaped for x0",
         "ᾱ_t has shape (B,), and torch lines it up with the last axis of x0, not with the first: an error about "
         "sizes, or, where they happen to fit, wrong values without one. expand(alpha_bar[t].sqrt(), x0) makes it "
         "(B, 1, ..., 1).", ("expand(signal, x0) * x0 + expand(noise, x0)", "signal * x0 + noise")),
        ("coefficients shaped for (B, D) only",
         "with [:, None] the coefficients have shape (B, 1): right for vectors, but in images they line up with the "
         "rows of pixels. expand(alpha_bar[t].sqrt(), x0) fits every shape.",
         ("expand(signal, x0) * x0 + expand(noise, x0)", "signal[:, None] * x0 + noise[:, None]")),
    ),
)  # fmt: skip


# ---- ddpm_sampling_step ---------------------------------------------------------------------------------------------
def ddpm_sampling_step(x_t, eps_hat, t, alpha_bar, z):
    alpha = alpha_bar[t] / alpha_bar[t - 1]
    mean = (x_t - (1 - alpha) / (1 - alpha_bar[t]).sqrt() * eps_hat) / alpha.sqrt()
    return mean + (1 - alpha).sqrt() * z if t > 1 else mean


def _sampling_cases(generator):
    def case(label, t, *shape, beta=T4, dtype=torch.float64):
        x_t, eps, z = (normal(*shape, generator=generator, dtype=dtype) for _ in range(3))
        return Case(label, (x_t, eps, t, alpha_bar_of(beta), z))

    first = (numbers(2.0), numbers(1.0), 2, alpha_bar_of(T4), numbers(0.5))
    return [
        Case("one number, T = 4, t = 2, x_t = 2, ε̂ = 1, z = 0.5", first),
        case("three numbers, T = 4, t = 1 (the last step)", 1, 3),
        case("three numbers, T = 4, t = 4 (the first step)", 4, 3),
        case("x_t of shape (6, 3), T = 4, t = 3", 3, 6, 3),
        case("x_t of shape (3, 5), random β, t = 7", 7, 3, 5, beta=random_betas(9, generator)),
        case("images of shape (4, 3, 6, 5), T = 1000, t = 400", 400, 4, 3, 6, 5, beta=LONG),
        case("x_t of shape (3, 7) in float32, t = 3", 3, 3, 7, dtype=torch.float32),
    ]


def _lands_on_the_point(function):
    """With the true noise of a lone point the walk ends on it, whatever the fresh noise."""
    table, point, g = alpha_bar_of(T4), numbers(0.3, -0.7), torch.Generator().manual_seed(3)
    x = normal(2, generator=g)
    for t in (4, 3, 2, 1):
        eps = (x - table[t].sqrt() * point) / (1 - table[t]).sqrt()
        x = function(x, eps, t, table, normal(2, generator=g))
    gap = (x - point).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


def _keeps_standard_normal(function):
    """For N(0, 1) data ε̂ = √(1−ᾱ_t) x_t, and a step with σ² = β_t keeps variance 1; read off the answers to units."""
    table, one, zero, worst = alpha_bar_of(T4), numbers(1.0), numbers(0.0), 0.0
    for t in (4, 3, 2):
        gain = function(one, (1 - table[t]).sqrt() * one, t, table, zero)
        std = function(zero, zero, t, table, one)
        worst = max(worst, abs((gain**2 + std**2).item() - 1))
    return worst < 1e-12, f"largest gap {worst:.0e}"


DDPM_SAMPLING_STEP = Exercise(
    equation="x_{t−1} = (x_t − β_t/√(1−ᾱ_t) ε̂)/√α_t + √β_t z, without z at t = 1 (ALG-2)",
    reference=ddpm_sampling_step,
    returns=("x_{t−1}",),
    cases=_sampling_cases,
    properties=(
        Property("with the true noise of a lone data point the walk ends on the point", _lands_on_the_point),
        Property("for standard normal data a step keeps variance 1", _keeps_standard_normal),
    ),
    start="Take some of the noise away, undo the shrinking of one step, add fresh noise. Which step adds none?",
    hint="alpha = alpha_bar[t] / alpha_bar[t - 1] and β_t = 1 - alpha; t is one number for the whole batch.",
    see="For T = 4, t = 2, x_t = 2, ε̂ = 1, z = 0.5: (2 − 0.4385)/0.8660 + 0.25 = 2.0530.",
    mistakes=mistakes(
        ddpm_sampling_step,
        ("variance for standard deviation",
         "z is multiplied by β_t; a sample is scaled by the standard deviation √β_t.",
         ("(1 - alpha).sqrt() * z", "(1 - alpha) * z")),
        ("noise added at the last step (E-24)",
         "at t = 1 noise of variance β_1 is added to the finished picture; the last step adds nothing.",
         ("t > 1", "t > 0")),
        ("noise left out at t = 2 as well",
         "the last two steps add nothing; only the step from t = 1, which reaches the clean state, is without z.",
         ("t > 1", "t > 2")),
        ("noise doubled",
         "z is multiplied by 2√β_t. Final samples may still look fine; one step has four times the variance.",
         ("(1 - alpha).sqrt() * z", "2 * (1 - alpha).sqrt() * z")),
        ("no noise", "this is the mean; away from the last step √β_t z is added.",
         (" + (1 - alpha).sqrt() * z if t > 1 else mean", "")),
        ("the predicted noise subtracted whole (E-46)",
         "x_t − ε̂ takes away all the noise there is, unscaled; one step takes away β_t/√(1−ᾱ_t) of it.",
         ("(1 - alpha) / (1 - alpha_bar[t]).sqrt() * eps_hat", "eps_hat")),
        ("β_t where β_t/√(1−ᾱ_t) belongs",
         "ε̂ is multiplied by β_t; the factor is β_t/√(1−ᾱ_t). The two agree only late in the chain.",
         ("(1 - alpha) / (1 - alpha_bar[t]).sqrt()", "(1 - alpha)")),
        ("alpha_bar[t] taken for α_t",
         "α_t was read off the table of ᾱ, so that β_t is 1 − ᾱ_t, the noise of all steps so far. α_t is the factor "
         "of one step, alpha_bar[t] / alpha_bar[t - 1].", ("alpha_bar[t] / alpha_bar[t - 1]", "alpha_bar[t]")),
        ("√β_t where β_t/√(1−ᾱ_t) belongs",
         "ε̂ is multiplied by √β_t, which is β_t/√(1−α_t): the bar is missing. ε̂ is the noise of all steps, not of "
         "the last one.", ("(1 - alpha) / (1 - alpha_bar[t]).sqrt()", "(1 - alpha).sqrt()")),
        ("1 − ᾱ_t without its root", "ε̂ is multiplied by β_t/(1−ᾱ_t); the factor is β_t/√(1−ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "(1 - alpha_bar[t])")),
        ("ᾱ_{t−1} under the root",
         "the factor of ε̂ has √(1−ᾱ_{t−1}), which is 0 at t = 1; x_t contains the noise of all steps up to t.",
         ("(1 - alpha_bar[t])", "(1 - alpha_bar[t - 1])")),
        ("not rescaled",
         "the division by √α_t is missing: the step forward shrank the picture, the step back has to undo it.",
         (" / alpha.sqrt()", "")),
        ("multiplied by √α_t", "the mean is multiplied by √α_t; the step back divides by it.",
         ("/ alpha.sqrt()", "* alpha.sqrt()")),
        ("divided by α_t",
         "the mean is divided by α_t; it is divided by √α_t, the factor that the step forward applied.",
         ("/ alpha.sqrt()", "/ alpha")),
        ("divided by √ᾱ_t", "the mean is divided by √ᾱ_t, the shrinking of all steps; one step back undoes √α_t only.",
         ("/ alpha.sqrt()", "/ alpha_bar[t].sqrt()")),
        ("noise added", "β_t/√(1−ᾱ_t) ε̂ is added; it is subtracted.", ("x_t - (1 - alpha)", "x_t + (1 - alpha)")),
        ("x̂_0 without dividing by √ᾱ_t",
         "the step goes by way of x̂_0 = x_t − √(1−ᾱ_t) ε̂; that is √ᾱ_t x̂_0: divide by √ᾱ_t.",
         ("mean = (x_t - (1 - alpha) / (1 - alpha_bar[t]).sqrt() * eps_hat) / alpha.sqrt()",
          "x0_hat, now, before = x_t - (1 - alpha_bar[t]).sqrt() * eps_hat, alpha_bar[t], alpha_bar[t - 1]\n"
          "    mean = (before.sqrt() * (1 - alpha) * x0_hat + alpha.sqrt() * (1 - before) * x_t) / (1 - now)")),
        ("x̂_0 returned", "this is the estimate x̂_0 of the clean picture; one step goes a small part of the way.",
         lambda x, e, t, a, z: (x - (1 - a[t]).sqrt() * e) / a[t].sqrt()),
        ("√β̃_t for √β_t",
         "the noise has variance β̃_t. That is the other usual choice (ancestral_step of lesson 06); asked for here "
         "is β_t.",
         ("(1 - alpha).sqrt() * z", "((1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * (1 - alpha)).sqrt() * z")),
        ("ε̂ used as the fresh noise",
         "z was ignored and ε̂ added in its place: what was subtracted comes back, and nothing is fresh.",
         (".sqrt() * z", ".sqrt() * eps_hat")),
        ("z subtracted",
         "z is subtracted. The law is the same, but a run with given noise cannot be compared with another one.",
         ("mean + ", "mean - ")),
        ("z divided by √α_t as well", "the noise was added inside the bracket; only the mean is divided by √α_t.",
         ("(1 - alpha).sqrt() * z", "((1 - alpha) / alpha).sqrt() * z")),
        ("t off by one: the step from t + 1",
         "these are the coefficients of step t + 1; the table starts with the clean state, so ᾱ_t is alpha_bar[t].",
         lambda x, e, t, a, z: ddpm_sampling_step(x, e, t + 1, a, z)),
        ("t off by one: the step from t − 1",
         "these are the coefficients of step t − 1, as in code that counts t from 0.",
         lambda x, e, t, a, z: ddpm_sampling_step(x, e, t - 1, a, z)),
        ("one noise for the whole batch",
         "the noise of the first example was used for all; each example has noise of its own.",
         lambda x, e, t, a, z: ddpm_sampling_step(x, e, t, a, z[:1].expand_as(z))),
    ),
)  # fmt: skip


# ---- time_features --------------------------------------------------------------------------------------------------
def time_features(t, dim, max_period):
    i = torch.arange(dim // 2, dtype=t.dtype)
    rate = max_period ** (-i / (dim // 2))
    angle = t[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)


def _feature_cases(generator):
    def some(n, top, dtype=torch.float64):
        return (top * uniform(n, generator=generator)).to(dtype)

    return [
        Case("t = 2, dim = 2", (numbers(2.0), 2, 10_000.0)),
        Case("t = 100, dim = 4, max_period = 10,000", (numbers(100.0), 4, 10_000.0)),
        Case("t = 3, 0, 500, dim = 8 (at t = 0 sines 0, cosines 1)", (numbers(3.0, 0.0, 500.0), 8, 10_000.0)),
        Case("5 times, dim = 8, max_period = 100", (some(5, 50.0), 8, 100.0)),
        Case("7 times up to 1000, dim = 32", (some(7, 1000.0), 32, 10_000.0)),
        Case("5 times up to 4, dim = 6, in float32", (some(5, 4.0, torch.float32), 6, 50.0)),
    ]


def _turns(function):
    """Features of t + 7 are those of t, each pair turned by an angle that does not depend on t."""
    t, rate = numbers(0.0, 3.0, 500.0), 10_000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    (sin, cos), (sin7, cos7) = (function(v, 8, 10_000.0).chunk(2, 1) for v in (t, t + 7))
    c, s = (7 * rate).cos(), (7 * rate).sin()
    gap = max((sin * c + cos * s - sin7).abs().max().item(), (cos * c - sin * s - cos7).abs().max().item())
    return gap < 1e-10, f"largest gap {gap:.0e}"


TIME_FEATURES = Exercise(
    equation="[sin(ω_i t), cos(ω_i t)], ω_i = max_period^(−i/(dim/2)), i = 0..dim/2 − 1 (ARCH-4)",
    reference=time_features,
    returns=("features",),
    cases=_feature_cases,
    properties=(Property("a shift of t turns each pair (sin, cos) by ω_i times the shift", _turns),),
    start="dim/2 angles for each t: t times rates that fall from 1 by equal factors. Then all sines, then all cosines.",
    hint="torch.arange(dim // 2, dtype=t.dtype) / (dim // 2) is the exponent; t[:, None] * rate has shape (B, dim/2).",
    see="For t = 100, dim = 4, max_period 10,000: rates 1 and 0.01, so sin 100, sin 1, cos 100, cos 1.",
    mistakes=mistakes(
        time_features,
        ("exponent over dim",
         "the exponent is −i/dim; i runs over half of dim only, so the rates stop at 1/√max_period.",
         ("-i / (dim // 2)", "-i / dim")),
        ("exponent over dim/2 − 1",
         "the last rate is exactly 1/max_period: a variant that is in use (it divides by 0 at dim = 2). The formula "
         "here divides i by dim/2.", ("-i / (dim // 2)", "-i / (dim // 2 - 1)")),
        ("rates grow",
         "the sign of the exponent is missing: the rates grow up to max_period, and neighbouring t get unrelated "
         "features.", ("(-i /", "(i /")),
        ("2π too much",
         "the angle has a factor 2π. Fourier features have it (their rates are frequencies, in cycles); ω_i is an "
         "angular rate already.", ("* rate", "* rate * 2 * math.pi")),
        ("2π divided out",
         "the angle was divided by 2π; max_period sets the slowest rate ω, so that its period is about "
         "2π · max_period.", ("* rate", "* rate / (2 * math.pi)")),
        ("max_period ignored",
         "the rates are e^(−i/(dim/2)) whatever max_period is; its logarithm is missing in the exponent.",
         ("max_period **", "math.e **")),
        ("rates in float32",
         "torch.arange without a dtype holds integers, and a division of integers gives float32: the rates are off in "
         "the eighth digit, the angles of large t in the fifth decimal. Say dtype=t.dtype.", (", dtype=t.dtype", "")),
        ("i from 1", "i runs from 1 to dim/2; it starts at 0, so that the fastest rate is 1 per step.",
         ("torch.arange(dim // 2,", "torch.arange(1, dim // 2 + 1,")),
        ("rates on a line",
         "the rates fall on a line, 1 − i/(dim/2); they fall by equal factors, so that all time scales are covered.",
         ("max_period ** (-i / (dim // 2))", "1 - i / (dim // 2)")),
        ("cosines first",
         "the cosines stand before the sines. A network would learn as well; weights trained with one order do not "
         "fit the other.", ("angle.sin(), angle.cos()", "angle.cos(), angle.sin()")),
        ("sines and cosines interleaved", "the order is sin, cos, sin, cos, ...; here all sines come first.",
         ("torch.cat([angle.sin(), angle.cos()], 1)", "torch.stack([angle.sin(), angle.cos()], 2).flatten(1)")),
        ("sines twice", "the cosines are missing: from sines alone, t and π/ω − t cannot be told apart.",
         ("angle.cos()", "angle.sin()")),
        ("t divided by max_period",
         "t was divided by max_period first: the features hardly change over the whole chain.",
         ("t[:, None]", "(t / max_period)[:, None]")),
        ("one t for the whole batch", "t[0] was used for every example.",
         ("t[:, None]", "t[:1].expand(len(t))[:, None]")),
        ("t off by one", "these are the features of t − 1.", ("t[:, None]", "(t - 1)[:, None]")),
        ("rows and columns exchanged", "the features came out as (dim, B); each example is a row: (B, dim).",
         ("angle.cos()], 1)", "angle.cos()], 1).T")),
    ),
)  # fmt: skip


# ---- adaptive_group_norm --------------------------------------------------------------------------------------------
def adaptive_group_norm(h, scale, shift, groups):
    B, C, H, W = h.shape
    grouped = h.reshape(B, groups, -1)
    mean, var = grouped.mean(2, keepdim=True), grouped.var(2, correction=0, keepdim=True)
    normed = ((grouped - mean) / (var + 1e-5).sqrt()).reshape(h.shape)
    s, b = scale[:, :, None, None], shift[:, :, None, None]
    return (1 + s) * normed + b


def _norm_cases(generator):
    def case(label, *shape, groups, dtype=torch.float64, scale=True):
        h = normal(*shape, generator=generator, dtype=dtype, scale=2.0) + 0.7
        s, b = (normal(*shape[:2], generator=generator, dtype=dtype, scale=0.5) for _ in range(2))
        return Case(label, (h, s if scale else 0 * s, b if scale else 0 * b, groups))

    small = (numbers(1.0, 3.0).reshape(1, 1, 1, 2), numbers([0.5]), numbers([0.1]), 1)
    return [
        Case("one channel of two pixels, 1 and 3", small),
        case("scale 0 and shift 0: plain group normalisation", 5, 12, 6, 7, groups=4, scale=False),
        case("h of shape (5, 12, 6, 7), 4 groups", 5, 12, 6, 7, groups=4),
        case("h of shape (4, 15, 7, 6), 3 groups", 4, 15, 7, 6, groups=3),
        case("h of shape (5, 3, 4, 6), 1 group", 5, 3, 4, 6, groups=1),
        case("h of shape (5, 12, 7, 6) in float32, 3 groups", 5, 12, 7, 6, groups=3, dtype=torch.float32),
    ]


def _starts_plain(function):
    h = normal(2, 4, 3, 3, generator=torch.Generator().manual_seed(4), scale=3.0)
    zero = torch.zeros(2, 4, dtype=torch.float64)
    gap = (function(h, zero, zero, 2) - F.group_norm(h, 2)).abs().max().item()
    return gap < 1e-9, f"largest gap {gap:.0e}"


ADAPTIVE_GROUP_NORM = Exercise(
    equation="(1 + s) GN(h) + b, GN(h) = (h − mean)/√(var + 10⁻⁵) over each group of channels (ARCH-6)",
    reference=adaptive_group_norm,
    returns=("h",),
    cases=_norm_cases,
    properties=(Property("scale 0 and shift 0 leave plain group normalisation", _starts_plain),),
    start="Normalise first, in groups of neighbouring channels; then one factor and one summand for each channel.",
    hint="h.reshape(B, groups, -1) puts a group in a row; correction=0 divides by n; scale[:, :, None, None].",
    see="For pixels 1 and 3, scale 0.5, shift 0.1: mean 2, variance 1, so −1.4 and 1.6, but for the 10⁻⁵.",
    mistakes=mistakes(
        adaptive_group_norm,
        ("s GN(h) + b without the 1",
         "the factor is s where it is 1 + s. The layer that makes s starts at zero, so the block would start by "
         "multiplying everything by 0.", ("(1 + s)", "s")),
        ("exp(s) for 1 + s", "the factor is eˢ; it is 1 + s. The two agree for small s only.", ("(1 + s)", "s.exp()")),
        ("1 + s around everything", "the shift is multiplied by 1 + s too; it is added after.",
         ("normed + b", "(normed + b)")),
        ("scale and shift exchanged", "the factor is 1 + b and the summand s: scale comes first.",
         ("s, b = scale", "b, s = scale")),
        ("shift forgotten", "b is missing.", ("normed + b", "normed")),
        ("normalised last", "h was scaled and shifted first and normalised after, which takes most of it out again.",
         lambda h, s, b, groups: F.group_norm((1 + s[:, :, None, None]) * h + b[:, :, None, None], groups)),
        ("not normalised", "h itself was scaled and shifted; GN(h) is.", ("* normed", "* h")),
        ("each channel on its own",
         "mean and variance were taken over each channel (instance normalisation); they are taken over a group.",
         ("B, groups, -1", "B, C, -1")),
        ("all channels together",
         "mean and variance were taken over all channels (layer normalisation), whatever groups says.",
         ("B, groups, -1", "B, 1, -1")),
        ("over the batch",
         "mean and variance were taken over the batch (batch normalisation): examples of different t would mix.",
         ("((grouped - mean) / (var + 1e-5).sqrt()).reshape(h.shape)", "F.batch_norm(h, None, None, training=True)")),
        ("groups taken for channels per group",
         "groups was read as the number of channels in a group; it is the number of groups.",
         ("B, groups, -1", "B, C // groups, -1")),
        ("reshape(B, -1, groups), mean over the last axis",
         "reshape(B, -1, groups) makes rows of `groups` neighbouring entries, and each was normalised by itself. A "
         "group is a row of reshape(B, groups, -1).", ("B, groups, -1", "B, -1, groups")),
        ("reshape(B, -1, groups), mean over the middle axis",
         "reshape(B, -1, groups) puts every k-th entry into one group, whichever channel it is of. A group is a row "
         "of reshape(B, groups, -1).", ("B, groups, -1", "B, -1, groups"), ("mean(2", "mean(1"), ("var(2", "var(1")),
        ("std() + 10⁻⁵",
         "two things at once: std() divides by n − 1, and 10⁻⁵ was added to it. Take the variance with correction=0, "
         "add 10⁻⁵, then the root.", ("(var + 1e-5).sqrt()", "(grouped.std(2, keepdim=True) + 1e-5)")),
        ("groups of channels that are not neighbours",
         "a group was made of every k-th channel; a group is a run of neighbouring channels.",
         ("h.reshape(B, groups, -1)", "h.reshape(B, -1, groups, H * W).transpose(1, 2).flatten(2)"),
         (".reshape(h.shape)", ".reshape(B, groups, -1, H * W).transpose(1, 2).reshape(h.shape)")),
        ("variance with n − 1", "the variance divides by n − 1; normalisation layers divide by n (correction=0).",
         ("correction=0, ", "")),
        ("divided by the variance", "the root is missing: divide by the standard deviation.",
         ("(var + 1e-5).sqrt()", "(var + 1e-5)")),
        ("10⁻⁵ added outside the root",
         "the small number was added to the standard deviation; it belongs to the variance, under the root.",
         ("(var + 1e-5).sqrt()", "(var.sqrt() + 1e-5)")),
        ("one scale for the whole batch",
         "scale and shift of the first example were used for all; each example has a time, and so a scale, of its "
         "own.", ("scale[:, :, None, None], shift[:, :", "scale[:1, :, None, None], shift[:1, :")),
    ),
)  # fmt: skip


# ---- attention ------------------------------------------------------------------------------------------------------
def attention(q, k, v):
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
    return scores.softmax(2) @ v


def _attention_cases(generator):
    def case(label, B, N, M, d, e, dtype=torch.float64):
        q, k, v = ((B, N, d), (B, M, d), (B, M, e))
        return Case(label, tuple(normal(*shape, generator=generator, dtype=dtype) for shape in (q, k, v)))

    small = (numbers([[1.0, 0.0]]), numbers([[1.0, 1.0], [0.0, 0.0]]), numbers([[4.0], [0.0]]))
    return [
        Case("one query, two keys", small),
        case("one key: its value comes out", 3, 4, 1, 5, 6),
        case("q, k, v of shape (4, 4, 4), where every axis fits every other", 4, 4, 4, 4, 4),
        case("3 queries, 5 keys, values of another width", 4, 3, 5, 6, 7),
        case("9 pixels of 8 channels", 3, 9, 9, 8, 8),
        case("6 queries and 7 keys of length 3 in float32", 5, 6, 7, 3, 4, torch.float32),
    ]


def _averages(function):
    g = torch.Generator().manual_seed(7)
    q, k = (normal(2, 4, 3, generator=g) for _ in range(2))
    gap = (function(q, k, 0 * k + 2.5) - 2.5).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


def _no_order(function):
    g = torch.Generator().manual_seed(8)
    q, k, v = (normal(2, 5, 3, generator=g) for _ in range(3))
    order = torch.tensor([3, 0, 4, 1, 2])
    gap = (function(q, k[:, order], v[:, order]) - function(q, k, v)).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


ATTENTION = Exercise(
    equation="softmax(q kᵀ/√d) v, the softmax over the keys of each query (ARCH-3)",
    reference=attention,
    returns=("h",),
    cases=_attention_cases,
    properties=(
        Property("what comes out is an average: equal values come out as they are", _averages),
        Property("the order of keys and values does not matter", _no_order),
    ),
    start="Compare each query with each key; make weights of the scores; average the values.",
    hint="k.transpose(1, 2) turns (B, M, d) into (B, d, M); @ multiplies the matrices of each example.",
    see="One query (1, 0), keys (1, 1) and (0, 0): scores 0.7071 and 0, weights 0.6698 and 0.3302.",
    mistakes=mistakes(
        attention,
        ("scale missing",
         "q kᵀ is not divided by √d: its variance is d, so that for wide vectors the softmax picks one key and passes "
         "hardly any gradient.", (" / math.sqrt(q.shape[2])", "")),
        ("divided by d", "q kᵀ is divided by d; it is divided by √d, which makes its variance 1.",
         ("math.sqrt(q.shape[2])", "q.shape[2]")),
        ("multiplied by √d", "q kᵀ is multiplied by √d; divide.", ("/ math", "* math")),
        ("scaled by the number of pixels",
         "q kᵀ is divided by the root of the number of keys; it is divided by √d, d the length of a query.",
         ("q.shape[2]", "k.shape[1]")),
        ("divided by the root of v's width",
         "q kᵀ is divided by the root of the width of v; d is the length of a query and of a key.",
         ("q.shape[2]", "v.shape[2]")),
        ("k.T",
         "the shapes of q and k do not meet. k.T turns all three axes around, the batch as well; transpose(1, 2) "
         "exchanges the last two: (B, M, d) becomes (B, d, M).", ("k.transpose(1, 2)", "k.permute(2, 1, 0)")),
        ("softmax over the queries",
         "the softmax runs over the wrong axis: the weights of one key over all queries sum to 1. Those of one query "
         "over all keys have to.", ("softmax(2)", "softmax(1)")),
        ("softmax over the batch", "the softmax runs over the batch, so that examples mix.",
         ("softmax(2)", "softmax(0)")),
        ("softmax over everything", "all weights of an example sum to 1; those of each query have to.",
         ("scores.softmax(2)", "scores.flatten(1).softmax(1).reshape(scores.shape)")),
        ("no softmax", "the scores themselves weigh the values; the softmax makes them positive and sum to 1.",
         (".softmax(2)", "")),
        ("softmax last", "the softmax was taken of the result; it turns the scores into weights before they meet v.",
         ("scores.softmax(2) @ v", "(scores @ v).softmax(2)")),
        ("a sigmoid for the softmax",
         "each score went through a sigmoid on its own; the weights of a query then do not sum to 1.",
         ("softmax(2)", "sigmoid()")),
        ("queries for keys", "the queries are compared with themselves; compare them with the keys.",
         ("q @ k", "q @ q")),
        ("keys for values", "the keys are averaged; the values are.", ("@ v", "@ k")),
        ("queries and keys exchanged", "each key asks all queries; each query asks all keys.", ("q @ k", "k @ q")),
    ),
)  # fmt: skip


# ---- ema_update -----------------------------------------------------------------------------------------------------
def ema_update(average, weights, decay, n):
    d = min(decay, (1 + n) / (10 + n))
    return d * average + (1 - d) * weights


def _ema_cases(generator):
    def case(label, decay, n, *shape, dtype=torch.float64):
        a, w = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (a, w, decay, n))

    return [
        Case("average 1, weight 3, decay 0.9, update 1", (numbers(1.0), numbers(3.0), 0.9, 1)),
        case("decay 0.9, update 1,000: the warm-up is over", 0.9, 1000, 4),
        case("decay 0.999, update 100: still warming up", 0.999, 100, 5),
        case("decay 0: a copy of the weights", 0.0, 5, 3),
        case("weights of shape (3, 5), decay 0.99, update 30", 0.99, 30, 3, 5),
        case("weights of shape (4, 3) in float32, update 20", 0.5, 20, 4, 3, dtype=torch.float32),
    ]


def _forgets(function):
    """Thirty updates towards weights that are 1 leave little of the first average."""
    average, one = numbers(0.0), numbers(1.0)
    for n in range(1, 31):
        average = function(average, one, 0.999, n)
    left = 1 - average.item()
    return left < 1e-4, f"{left:.1e} of the first weights left; without a warm-up it is {0.999**30:.2f}"


EMA_UPDATE = Exercise(
    equation="θ̄ ← d θ̄ + (1 − d) θ, d = min(decay, (1 + n)/(10 + n)) at update n = 1, 2, ... (M-25)",
    reference=ema_update,
    returns=("average",),
    cases=_ema_cases,
    properties=(Property("thirty updates forget the first weights", _forgets),),
    start="First the number d, the smaller of two; then a weighted mean of two tensors.",
    hint="d stays with the average. For n = 1, d is 2/11 unless decay is smaller.",
    see="Average 1, weight 3, update 1: d = 2/11, and 2/11 + 27/11 = 2.6364.",
    mistakes=mistakes(
        ema_update,
        ("decay's roles swapped",
         "the new weights get d and the average 1 − d: with d = 0.999 this follows the raw weights and averages "
         "nothing.", ("d * average + (1 - d) * weights", "(1 - d) * average + d * weights")),
        ("no warm-up",
         "d is decay from the start, so that the first, random weights stay in the average for about 1/(1 − decay) "
         "updates.", ("min(decay, (1 + n) / (10 + n))", "decay")),
        ("warm-up without an end", "d is (1 + n)/(10 + n) for ever and passes decay: the memory keeps growing.",
         ("min(decay, (1 + n) / (10 + n))", "(1 + n) / (10 + n)")),
        ("the larger of the two",
         "d is the maximum; it is the minimum: the warm-up holds d down, decay is where it stops.", ("min(", "max(")),
        ("n counted from 0",
         "the warm-up is one update behind, n/(9 + n): n counts the updates from 1, this one included.",
         ("(1 + n) / (10 + n)", "n / (9 + n)")),
        ("n/(10 + n)", "the warm-up is n/(10 + n); it is (1 + n)/(10 + n).", ("(1 + n)", "n")),
        ("decay times the warm-up", "d is the product decay · (1 + n)/(10 + n); it is the smaller of the two.",
         ("min(decay, (1 + n) / (10 + n))", "decay * (1 + n) / (10 + n)")),
        ("n one ahead", "the warm-up is one update ahead, (2 + n)/(11 + n).",
         ("(1 + n) / (10 + n)", "(2 + n) / (11 + n)")),
        ("1 − decay for 1 − d",
         "the two factors do not sum to 1 during the warm-up: d stands at the average, 1 − decay at the weights.",
         ("(1 - d)", "(1 - decay)")),
        ("the new weights not scaled", "θ is added whole; it is multiplied by 1 − d.",
         ("(1 - d) * weights", "weights")),
        ("the plain mean of all weights so far",
         "this is θ̄ + (θ − θ̄)/n: every step counts the same, the useless first ones too.",
         ("min(decay, (1 + n) / (10 + n))", "1 - 1 / n")),
        ("a copy", "the new weights came back; nothing is averaged.",
         ("d * average + (1 - d) * weights", "weights.clone()")),
        ("the average unchanged", "the old average came back; the new weights did not enter.",
         ("d * average + (1 - d) * weights", "average.clone()")),
        ("divided by 1 − decayⁿ",
         "this corrects the start as Adam does. It presumes an average that began at 0; this one began at the first "
         "weights.", ("min(decay, (1 + n) / (10 + n))", "decay"),
         ("d * average + (1 - d) * weights", "(d * average + (1 - d) * weights) / (1 - d**n)")),
    ),
)  # fmt: skip


# ---- times_inside ---------------------------------------------------------------------------------------------------
def times_inside(loss, alpha_bar, u):
    seen = []

    def spy(x_t, t):
        seen.extend([x_t, t])
        return x_t

    one = torch.ones(len(u), 1, dtype=torch.float64)
    loss(spy, one, u, 0 * one)
    made = (seen[0] ** 2 - alpha_bar).abs().argmin(1)  # x_0 = 1 and no noise: x_t is √ᾱ
    return seen[1], made


def _one_at_a_time(loss, alpha_bar, u):
    told, made = zip(*(times_inside(loss, alpha_bar, u[i : i + 1]) for i in range(len(u))), strict=True)
    return torch.cat(told), torch.cat(made)


def _inside_cases(generator):
    short, long = alpha_bar_of(T4), alpha_bar_of(LONG)
    table = alpha_bar_of(random_betas(9, generator))

    def case(name, fault, a, *u, shown=None, dtype=torch.float64):
        u = numbers(*u) if u else uniform(7, generator=generator)
        box, shown = Loss(name, a, fault), shown or f"{len(u)} examples"
        return Case(f"{box!r}, T = {len(a) - 1}, {shown}", (box, a, u.to(dtype)))

    return [
        case("first", "told one less", short, 0.0, 0.3, 0.6, shown="u = (0, 0.3, 0.6)"),
        case("second", None, table),
        case("third", "made one early", table, 0.5, 0.02, 0.97, 0.3),
        case("fourth", "one for all", short, 0.6, 0.1, 0.9, 0.3, 0.0, 0.99),
        case("fifth", "never the last", short, 0.99, 0.5, 0.76),
        case("sixth", "told one less", long, 0.0004, 0.0033, 0.9996, 0.25, 0.75, 0.5),
        case("seventh", "made one early", long, 0.0017, 0.0, 0.9996, 0.6123, shown="u in float32", dtype=torch.float32),
        case("eighth", "one for all", table),
        case("ninth", "never the last", long, 0.0004, 0.9996, 0.4123, 0.7051),
        case("tenth", None, short, 0.8, 0.0, 0.3, 0.99, 0.2, 0.5),
    ]


def _finds_a_loss_that_runs_backwards(function):
    table, u = alpha_bar_of(T4), numbers(0.1, 0.9, 0.4)

    def backwards(predict, x0, u, eps):
        t = 1 + (u * 4).long()  # told 1, 4, 2, made 4, 1, 3
        a = table[5 - t]
        x_t = expand(a.sqrt(), x0) * x0 + expand((1 - a).sqrt(), x0) * eps
        return (eps - predict(x_t, t)).square().reshape(len(x0), -1).mean(1)

    told, made = (v.tolist() for v in function(backwards, table, u))
    return (told, made) == ([1, 4, 2], [4, 1, 3]), f"told {told}, made {made}; it tells [1, 4, 2] and makes [4, 1, 3]"


TIMES_INSIDE = Exercise(
    equation="told: the t of predict(x_t, t); made: the place in alpha_bar of the ᾱ in x_t = √ᾱ x_0 + √(1−ᾱ) ε (ALG-1)",
    reference=times_inside,
    returns=("told", "made"),
    cases=_inside_cases,
    properties=(Property("a loss whose noise falls with t is found out too", _finds_a_loss_that_runs_backwards),),
    start="You choose predict, x_0 and ε. Which of them lets you see what the loss hands to the network?",
    hint="predict may put x_t and t into a list; it returns something of x_t's shape. Choose x_0 and ε so that x_t "
    "depends on ᾱ alone.",
    see="A loss that tells each time as one less, at T = 4, u = (0, 0.3, 0.6): told 0, 1, 2 and made 1, 2, 3.",
    mistakes=mistakes(
        times_inside,
        ("told for both",
         "made is the time that predict was told. Which noise x_t has is another question: read it off x_t.",
         ("return seen[1], made", "return seen[1], seen[1]")),
        ("made for both", "told is the time of the noise in x_t. What predict was told is its second argument.",
         ("return seen[1], made", "return made, made")),
        ("told and made exchanged", "both are right, and in the other order: told comes first, then made.",
         ("return seen[1], made", "return made, seen[1]")),
        ("ᾱ compared with √ᾱ",
         "the table holds ᾱ and √ᾱ was looked up in it. The factor of x_0 in x_t is √ᾱ: square it first.",
         ("seen[0] ** 2", "seen[0]")),
        ("signal compared with noise",
         "a share of the signal, ᾱ, is compared with a share of the noise, 1 − ᾱ. The table holds ᾱ: compare ᾱ with ᾱ.",
         ("- alpha_bar)", "- (1 - alpha_bar))")),
        ("always 0",
         "made is 0 where x_t is not clean. Is ε 0, is x_0 divided out, are the square and .abs() there, and does "
         "anything in the table match?",
         ("0 * one", "one")),
        ("always T",
         "made is T where it is another time. x_t has to show ᾱ: x_0 must not be 0, ε must, and x_t²/x_0² is what "
         "is compared with the table.",
         ("loss(spy, one, u", "loss(spy, 0 * one, u")),
        ("one place too high", "made is too high by 1. The table begins with ᾱ_0, so that a place in it is the time.",
         ("argmin(1)", "argmin(1) + 1")),
        ("one place too low", "made is too low by 1. The table begins with ᾱ_0, so that a place in it is the time.",
         ("argmin(1)", "argmin(1) - 1")),
        ("ᾱ_0 left out of the search",
         "made is 1 where x_t has no noise at all. Look ᾱ_0 up too: clean data have the time 0.",
         ("- alpha_bar)", "- alpha_bar[1:])"), ("argmin(1)", "argmin(1) + 1")),
        ("places counted without ᾱ_0",
         "made is too low by 1, save for clean data: the search begins at ᾱ_1, which stands at place 1. Search the "
         "whole table.",
         ("- alpha_bar)", "- alpha_bar[1:])")),
        ("α_t looked up", "ᾱ was looked up among the α_t of single steps; the table to search is that of the products.",
         ("- alpha_bar)", "- torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]]))")),
        ("made guessed from told", "made is told + 1: that is so for one kind of fault only. Look at x_t.",
         ("return seen[1], made", "return seen[1], seen[1] + 1")),
        ("told is ⌊uT⌋",
         "told is ⌊uT⌋, what one kind of loss would tell. Ask this one: a spy in the place of the network hears it.",
         ("return seen[1], made", "return (u * (len(alpha_bar) - 1)).long(), made")),
        ("told worked out from u",
         "told is 1 + ⌊uT⌋, what a right loss would tell. Ask this one: a spy in the place of the network hears it.",
         ("return seen[1], made", "return 1 + (u * (len(alpha_bar) - 1)).long(), made")),
        ("told put right",
         "told is too high by 1. Asked for is what predict was told, also where that begins at 0.",
         ("return seen[1], made", "return seen[1] + 1, made")),
        ("made worked out from u",
         "made is 1 + ⌊uT⌋, the noise of a right loss. Ask this one: a spy in the place of the network sees x_t.",
         ("return seen[1], made", "return seen[1], 1 + (u * (len(alpha_bar) - 1)).long()")),
        ("both worked out from u",
         "told and made are 1 + ⌊uT⌋, as in a right loss. Ask this one, with a spy in the place of the network.",
         ("return seen[1], made", "return (1 + (u * (len(alpha_bar) - 1)).long(),) * 2")),
        ("one example at a time",
         "a loss that makes all x_t with one example's time was not found out. Hand in the whole batch and look at "
         "every row of x_t: an example that is asked about alone shows nothing of the others.",
         _one_at_a_time),
        ("made of the first example for all",
         "made is that of the first example throughout. Each example has a noise level of its own.",
         ("argmin(1)", "argmin(1)[:1].expand(len(u))")),
        ("ᾱ in the place of its place", "made holds ᾱ itself; asked for is the place in alpha_bar at which it stands.",
         ("return seen[1], made", "return seen[1], alpha_bar[made]")),
        ("compared by ==",
         "the square of x_t was compared with the table by ==. A root and its square are rounded: look for the nearest "
         "entry.",
         ("(seen[0] ** 2 - alpha_bar).abs().argmin(1)", "(seen[0] ** 2 == alpha_bar).long().argmax(1)")),
    ),
)  # fmt: skip

EXERCISES = (
    DDPM_TRAINING_LOSS, DDPM_SAMPLING_STEP, TIME_FEATURES, ADAPTIVE_GROUP_NORM, ATTENTION, EMA_UPDATE, TIMES_INSIDE,
)  # fmt: skip
