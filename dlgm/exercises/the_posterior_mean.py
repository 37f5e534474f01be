"""Exercises of lesson 06: Bayes' rule on a table and for Gaussian data, μ̃_t, β̃_t, the mean from the noise, one step.

Ledger REV-2, POST-1, POST-2, POST-5, POST-6, ALG-2.
"""

import torch

from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, ONE_T, T4, alpha_bar_of, mixed, normal, numbers, random_betas, steps_of, uniform

WRONG_AXIS = "a coefficient of shape (B,) was lined up with the last axis, not the batch; expand(c, x_t) lines it up."
STEP_LATER = "this is the step from t + 1 to t; the step from t to t − 1 needs alpha_bar[t] and alpha_bar[t - 1]."
STEP_EARLIER = "this is the step from t − 1 to t − 2; the table starts with the clean state, so no shift is needed."


# ---- reverse_kernel -------------------------------------------------------------------------------------------------
def reverse_kernel(q_prev, kernel):
    pairs = q_prev[:, None] * kernel
    q_next = pairs.sum(0)
    return (pairs / q_next).T


def _kernel_cases(generator):
    def rows(*shape, dtype=torch.float64):
        p = 0.1 + uniform(*shape, generator=generator)
        return (p / p.sum(-1, keepdim=True)).to(dtype)

    still = torch.eye(3, dtype=torch.float64)
    one_way = numbers([0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0])
    return [
        Case("two states", (numbers(0.2, 0.8), numbers([0.5, 0.5], [0.25, 0.75]))),
        Case("three states that never move", (rows(3), still)),
        Case("three states and a chain that only climbs", (rows(3), one_way)),
        Case("three random states", (rows(3), rows(3, 3))),
        Case("five random states", (rows(5), rows(5, 5))),
        Case("four random states in float32", (rows(4, dtype=torch.float32), rows(4, 4, dtype=torch.float32))),
    ]


def _returns_the_marginal(function):
    q_prev, kernel = numbers(0.2, 0.5, 0.3), numbers([0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.3, 0.3, 0.4])
    gap = (q_prev @ kernel @ function(q_prev, kernel) - q_prev).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


REVERSE_KERNEL = Exercise(
    equation="q(x_{t−1} | x_t) = q(x_{t−1}) q(x_t | x_{t−1}) / q(x_t) (REV-2)",
    reference=reverse_kernel,
    returns=("reverse",),
    cases=_kernel_cases,
    properties=(Property("one step forward and one back return q(x_{t−1})", _returns_the_marginal),),
    mistakes=mistakes(
        reverse_kernel,
        ("divided by q(x_{t−1}), the printed ratio (E-04)",
         "the ratio has the marginal of x_{t−1} below: that gives back the forward kernel q(x_t | x_{t−1}). Divide "
         "by q(x_t), the sum over x_{t−1}.",
         ("(pairs / q_next).T", "pairs / q_prev[:, None]")),
        ("the forward kernel transposed",
         "this is q(x_t | x_{t−1}) with rows and columns exchanged: each row is a likelihood of x_{t−1}, which need "
         "not sum to 1.",
         ("(pairs / q_next)", "kernel")),
        ("prior forgotten",
         "the likelihood alone was normalised, as if all x_{t−1} were equally frequent. Multiply by q(x_{t−1}), "
         "along the rows: along the columns it cancels.",
         ("q_prev[:, None] * kernel", "kernel")),
        ("rows and columns exchanged in the answer",
         "the numbers are right, but row i holds x_{t−1} = i; a row of the answer is one x_t, and sums to 1.",
         (".T", "")),
        ("kernel transposed on the way in",
         "the kernel was read with rows x_t; its rows are x_{t−1}, where the step starts.",
         ("* kernel", "* kernel.T")),
        ("not normalised", "this is the joint q(x_{t−1}, x_t); dividing by q(x_t) makes each row sum to 1.",
         ("(pairs / q_next)", "pairs")),
        ("divided by q(x_t) on the wrong axis",
         "the division by q(x_t) ran along x_{t−1}: each row x_t of the answer is divided by its own q(x_t).",
         ("(pairs / q_next).T", "pairs.T / q_next")),
        ("transposed, then divided by q(x_{t−1})",
         "the joint was transposed and its row j divided by q_prev[j], the chance of x_{t−1} = j; but now row j is "
         "x_t = j, and its sum q(x_t = j) belongs below.",
         ("(pairs / q_next).T", "pairs.T / q_prev[:, None]")),
    ),
    start="Write down the joint q(x_{t−1}, x_t) as a table. What is the sum over x_{t−1}?",
    hint="Multiply by q(x_{t−1}) before transposing: q_prev[:, None] * kernel is the joint, rows x_{t−1}. Divide each "
    "column by its sum, then transpose.",
    see="For q_prev = (0.2, 0.8) and kernel = ((0.5, 0.5), (0.25, 0.75)): ((1/3, 2/3), (1/7, 6/7)).",
)  # fmt: skip


# ---- posterior_mean -------------------------------------------------------------------------------------------------
def posterior_mean(alpha_bar, x0, x_t, t):
    bar, before = alpha_bar[t], alpha_bar[t - 1]
    alpha = bar / before
    c_0 = before.sqrt() * (1 - alpha) / (1 - bar)
    c_t = alpha.sqrt() * (1 - before) / (1 - bar)
    return expand(c_0, x0) * x0 + expand(c_t, x_t) * x_t


def _pair_cases(generator, noise=False):
    """Cases (alpha_bar, first, second, t) of every shape, t = 1 and t = T included; with noise, a third tensor z."""

    def case(label, t, *shape, beta=T4, dtype=torch.float64):
        tensors = [normal(len(t), *shape, generator=generator, dtype=dtype) for _ in range(3)]
        return made(label, t, tensors, beta)

    def made(label, t, tensors, beta=T4):
        first, second, z = tensors
        args = alpha_bar_of(beta), first, second, torch.tensor(t)
        return Case(label, (*args, z) if noise else args)

    return [
        made("one number, T = 4, t = 2", [2], (numbers(1.0), numbers(2.0), numbers(3.0))),
        case("three numbers, T = 4, t = 3, 4 (the last) and 1 (the clean state is next)", [3, 4, 1]),
        case("shape (6, 6), each example with its own t", [3, 1, 4, 2, 2, 3], 6),
        case("shape (3, 4), random β", [7, 2, 5], 4, beta=random_betas(9, generator)),
        case("images of shape (4, 3, 5, 6), T = 1000", [1, 400, 1000, 40], 3, 5, 6, beta=LONG),
        case("shape (3, 5) in float32", [2, 4, 3], 5, dtype=torch.float32),
    ]


def _keeps_the_noiseless_line(function):
    table, t = alpha_bar_of(T4), torch.tensor([1, 2, 3, 4])
    x0 = numbers(1.5, 1.5, 1.5, 1.5)
    gap = (function(table, x0, table[t].sqrt() * x0, t) - table[t - 1].sqrt() * x0).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


POSTERIOR_MEAN = Exercise(
    equation="μ̃_t = √ᾱ_{t−1} β_t/(1−ᾱ_t) x_0 + √α_t (1−ᾱ_{t−1})/(1−ᾱ_t) x_t (POST-1)",
    reference=posterior_mean,
    returns=("mean",),
    cases=_pair_cases,
    properties=(Property("without noise, x_t = √ᾱ_t x_0, the mean is √ᾱ_{t−1} x_0", _keeps_the_noiseless_line),),
    mistakes=mistakes(
        posterior_mean,
        ("ᾱ_t for ᾱ_{t−1} at x_0 (E-01)",
         "the coefficient of x_0 has √ᾱ_t where the formula has √ᾱ_{t−1}; they agree only as β_t → 0.",
         ("before.sqrt()", "bar.sqrt()")),
        ("√ᾱ_t at x_t (E-02)",
         "the coefficient of x_t is √ᾱ_t(1−ᾱ_t)/(1−ᾱ_t) = √ᾱ_t, as deck 004 prints it; it is "
         "√α_t(1−ᾱ_{t−1})/(1−ᾱ_t).",
         ("alpha.sqrt() * (1 - before)", "bar.sqrt() * (1 - bar)")),
        ("both coefficients as deck 004 prints them (E-01, E-02)",
         "both coefficients have ᾱ_t where ᾱ_{t−1} belongs, and √ᾱ_t stands where √α_t does, as deck 004 prints "
         "them.",
         ("before.sqrt()", "bar.sqrt()"), ("alpha.sqrt() * (1 - before)", "bar.sqrt() * (1 - bar)")),
        ("ᾱ_t for ᾱ_{t−1} at x_t",
         "with 1 − ᾱ_t for 1 − ᾱ_{t−1} the fraction at x_t cancels and √α_t is left; the numerator is 1 − ᾱ_{t−1}.",
         ("(1 - before)", "(1 - bar)")),
        ("weights that sum to 1",
         "the coefficient of x_0 is 1 − c_t, as if x_0 and x_t were averaged. The average is of √ᾱ_{t−1} x_0 and "
         "x_t/√α_t; c_0 + c_t is 1 at t = 1 only.",
         ("expand(c_0, x0)", "expand(1 - c_t, x0)")),
        ("β_t for √α_t at x_t", "the coefficient of x_t has β_t where √α_t belongs; β_t stands with x_0.",
         ("alpha.sqrt()", "(1 - alpha)")),
        ("√ᾱ_t for √α_t at x_t",
         "x_t is multiplied by √ᾱ_t(1−ᾱ_{t−1})/(1−ᾱ_t); the root is of α_t, one step's share: the likelihood "
         "speaks of one step.",
         ("alpha.sqrt()", "bar.sqrt()")),
        ("β under the root (E-16)",
         "the coefficient of x_0 has √(ᾱ_{t−1}β_t), as deck 001 prints it; β_t stands outside the root.",
         ("before.sqrt() * (1 - alpha)", "(before * (1 - alpha)).sqrt()")),
        ("coefficients swapped",
         "the coefficient of x_0 multiplies x_t and the other way round; for small β_t nearly all weight is on x_t.",
         lambda a, x0, x_t, t: posterior_mean(a, x_t, x0, t)),
        ("square root missing at x_0", "x_0 is multiplied by ᾱ_{t−1}β_t/(1−ᾱ_t); its factor has √ᾱ_{t−1}.",
         ("before.sqrt()", "before")),
        ("x_t not divided by √α_t before averaging",
         "the coefficient of x_t has α_t where √α_t belongs: the likelihood is centred at x_t/√α_t, not at x_t.",
         ("alpha.sqrt()", "alpha")),
        ("square roots missing at both", "both roots are missing: √ᾱ_{t−1} at x_0 and √α_t at x_t.",
         ("before.sqrt()", "before"), ("alpha.sqrt()", "alpha")),
        ("the total noise for β_t", "1 − ᾱ_t was taken for β_t; β_t = 1 − ᾱ_t/ᾱ_{t−1} is the noise of step t alone.",
         ("(1 - alpha)", "(1 - bar)")),
        ("denominator 1 − ᾱ_{t−1}", "both denominators are 1 − ᾱ_t; 1 − ᾱ_{t−1} is 0 at t = 1.",
         ("(1 - alpha) / (1 - bar)", "(1 - alpha) / (1 - before)"),
         ("(1 - before) / (1 - bar)", "(1 - before) / (1 - before)")),
        ("the weights exchanged",
         "prior and likelihood were weighted with their own variances; in a product of Gaussians each mean is "
         "weighted with its precision, 1/variance.",
         ("before.sqrt() * (1 - alpha)", "before.sqrt() * alpha * (1 - before)"),
         ("alpha.sqrt() * (1 - before)", "(1 - alpha) / alpha.sqrt()")),
        ("x_0 ignored",
         "this is x_t/√α_t, where the likelihood is centred; what is known of x_0 pulls the mean away from it.",
         ("expand(c_0, x0) * x0 + expand(c_t, x_t) * x_t", "x_t / expand(alpha.sqrt(), x_t)")),
        ("x_t ignored",
         "this is √ᾱ_{t−1}x_0, the mean of q(x_{t−1} | x_0); x_t says where the path went, too.",
         ("expand(c_0, x0) * x0 + expand(c_t, x_t) * x_t", "expand(before.sqrt(), x0) * x0")),
        ("0 / 0 at t = 1",
         "the precision of q(x_{t−1} | x_0) is infinite at t = 1, and inf/inf is nan. Multiply numerator and "
         "denominator by the variances first: that is POST-1.",
         ("before.sqrt() * (1 - alpha) / (1 - bar)",
          "before.sqrt() / (1 - before) / (1 / (1 - before) + alpha / (1 - alpha))")),
        ("t off by one: the step from t + 1", STEP_LATER,
         lambda a, x0, x_t, t: posterior_mean(a, x0, x_t, t + 1)),
        ("t off by one: the step from t − 1", STEP_EARLIER,
         lambda a, x0, x_t, t: posterior_mean(a, x0, x_t, t - 1)),
        ("one t for the whole batch", ONE_T,
         lambda a, x0, x_t, t: posterior_mean(a, x0, x_t, t[:1].expand(len(t)))),
        ("broadcast over the wrong axis", WRONG_AXIS,
         ("expand(c_0, x0)", "c_0.to(x0.dtype)"), ("expand(c_t, x_t)", "c_t.to(x_t.dtype)")),
    ),
    start="Two numbers for each example: α_t = ᾱ_t/ᾱ_{t−1}, and from it β_t = 1 − α_t.",
    hint="c_0 and c_t come from alpha_bar[t] and alpha_bar[t - 1]; expand(c, x_t) lines each up with the batch.",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) at t = 2: 0.7298 x_0 + 0.2665 x_t. At t = 1 the mean is x_0.",
)  # fmt: skip


# ---- posterior_variance ---------------------------------------------------------------------------------------------
def posterior_variance(alpha_bar, t):
    bar, before = alpha_bar[t], alpha_bar[t - 1]
    beta = 1 - bar / before
    return (1 - before) / (1 - bar) * beta


def _variance_cases(generator):
    def case(label, t, beta):
        return Case(label, (alpha_bar_of(beta), torch.tensor(t)))

    return [
        case("T = 4, t = 2", [2], T4),
        case("T = 4, t = 3, 1 (the clean state is next) and 4 (the last)", [3, 1, 4], T4),
        case("T = 9, random β, t = 7, 2 and 5", [7, 2, 5], random_betas(9, generator)),
        case("T = 30, random β", [7, 30, 1, 2], random_betas(30, generator)),
        case("T = 1000, the linear schedule", [400, 1, 1000, 2, 50], LONG),
    ]


def _below_both(function):
    table, t = alpha_bar_of(T4), torch.tensor([1, 2, 3, 4])
    alpha = table[t] / table[t - 1]
    variance = function(table, t)
    room = torch.minimum((1 - alpha) / alpha, 1 - table[t - 1]) - variance
    first = variance[0].item()
    if 0 < first < 1e-18 or 1e-15 < first < 1e-6:  # rounding leaves 0, or a few times 1e-17
        return False, f"{first:.3g} at t = 1: β̃_1 is exactly 0, and no clamp is needed here"
    return bool((room >= -1e-12).all()), f"least room {room.min().item():.3g}"


POSTERIOR_VARIANCE = Exercise(
    equation="β̃_t = (1−ᾱ_{t−1})/(1−ᾱ_t) β_t (POST-2)",
    reference=posterior_variance,
    returns=("variance",),
    cases=_variance_cases,
    properties=(Property("no wider than prior and likelihood, at any t", _below_both),),
    mistakes=mistakes(
        posterior_variance,
        ("β_t",
         "this is β_t, the variance of the forward step (1 − ᾱ_t for 1 − ᾱ_{t−1} in the numerator gives it too). "
         "Knowing x_0 makes the step back narrower: by (1−ᾱ_{t−1})/(1−ᾱ_t).",
         ("(1 - before) / (1 - bar) * beta", "beta")),
        ("ratio upside down",
         "the ratio is (1−ᾱ_t)/(1−ᾱ_{t−1}), above 1 and infinite at t = 1; it is the other way round.",
         ("(1 - before) / (1 - bar)", "(1 - bar) / (1 - before)")),
        ("standard deviation for variance", "this is √β̃_t, the standard deviation; the variance is its square.",
         ("(1 - before) / (1 - bar) * beta", "((1 - before) / (1 - bar) * beta).sqrt()")),
        ("precision for variance", "this is α_t/β_t + 1/(1−ᾱ_{t−1}), the precision; the variance is one over it.",
         ("(1 - before) / (1 - bar) * beta", "(1 - beta) / beta + 1 / (1 - before)")),
        ("variances added",
         "the variances of likelihood and prior were added; in a product of Gaussians the precisions add.",
         ("(1 - before) / (1 - bar) * beta", "beta / (1 - beta) + (1 - before)")),
        ("precision of the likelihood without α_t",
         "the likelihood's precision was taken as 1/β_t; as a function of x_{t−1} it is α_t/β_t, because x_{t−1} is "
         "shrunk by √α_t before the noise comes.",
         ("(1 - before) / (1 - bar) * beta", "1 / (1 / beta + 1 / (1 - before))")),
        ("the variance of the prior",
         "this is 1 − ᾱ_{t−1}, the variance of q(x_{t−1} | x_0); x_t has not been used.",
         (" / (1 - bar) * beta", "")),
        ("the variance of the likelihood",
         "this is β_t/α_t, the width of q(x_t | x_{t−1}) as a function of x_{t−1}; x_0 has not been used. (A ratio "
         "of the ᾱ, where one of the 1 − ᾱ belongs, gives it too.)",
         ("(1 - before) / (1 - bar) * beta", "beta / (1 - beta)")),
        ("β_t left out", "this is (1−ᾱ_{t−1})/(1−ᾱ_t) alone; it multiplies β_t.", (" * beta", "")),
        ("β_1 put in at t = 1",
         "β̃_1 is 0: with x_0 known, the step to x_0 has nothing left to guess. (Losses that need a density at "
         "t = 1 put β_1 there; that is their choice, not this variance.)",
         ("(1 - before) / (1 - bar) * beta", "torch.where(t == 1, 1, (1 - before) / (1 - bar)) * beta")),
        ("a table of β without an entry for t = 0",
         "1 - alpha_bar[1:] / alpha_bar[:-1] starts with β_1: its entry t is β_{t+1}, and there is none at t = T. "
         "Index it with t - 1, or compute 1 - alpha_bar[t] / alpha_bar[t - 1].",
         ("1 - bar / before", "(1 - alpha_bar[1:] / alpha_bar[:-1])[t]")),
        ("t off by one: the step from t + 1", "this is β̃_{t+1}; β̃_t needs alpha_bar[t] and alpha_bar[t - 1].",
         lambda a, t: posterior_variance(a, t + 1)),
        ("t off by one: the step from t − 1",
         "this is β̃_{t−1}; the table starts with the clean state, so no shift is needed.",
         lambda a, t: posterior_variance(a, t - 1)),
    ),
    start="Precisions add: α_t/β_t from the step, 1/(1−ᾱ_{t−1}) from x_0. One over the sum is β̃_t.",
    hint="beta = 1 - alpha_bar[t] / alpha_bar[t - 1]; both noise shares come from the same table.",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6): 0, 0.0769, 0.2185, 0.4260.",
)  # fmt: skip


# ---- mean_from_eps --------------------------------------------------------------------------------------------------
def mean_from_eps(alpha_bar, x_t, eps, t):
    alpha = alpha_bar[t] / alpha_bar[t - 1]
    weight = (1 - alpha) / (1 - alpha_bar[t]).sqrt()
    return (x_t - expand(weight, x_t) * eps) / expand(alpha.sqrt(), x_t)


def _same_as_from_x0(function):
    table, t = alpha_bar_of(T4), torch.tensor([1, 2, 3, 4])
    x0, eps = numbers(0.5, -1.0, 2.0, 0.3), numbers(1.0, 0.4, -0.7, 0.2)
    x_t = table[t].sqrt() * x0 + (1 - table[t]).sqrt() * eps
    gap = (function(table, x_t, eps, t) - posterior_mean(table, x0, x_t, t)).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


MEAN_FROM_EPS = Exercise(
    equation="μ̃_t = (x_t − β_t/√(1−ᾱ_t) ε) / √α_t (POST-5)",
    reference=mean_from_eps,
    returns=("mean",),
    cases=_pair_cases,
    properties=(Property("the same mean as from x_0, where x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε", _same_as_from_x0),),
    mistakes=mistakes(
        mean_from_eps,
        ("√ᾱ_t for √α_t in the prefactor (E-03)",
         "the result is divided by √ᾱ_t, as deck 004 prints it; one step back divides by √α_t.",
         ("alpha.sqrt()", "alpha_bar[t].sqrt()")),
        ("the noise subtracted at the scale of one step",
         "√β_t ε was subtracted, the size of the step's own noise; ε is the noise of all t steps, and what one "
         "step takes away of it is β_t/√(1−ᾱ_t) ε.",
         ("(1 - alpha) / (1 - alpha_bar[t]).sqrt()", "(1 - alpha).sqrt()")),
        ("all of the noise subtracted (E-46)",
         "√(1−ᾱ_t) ε was subtracted, all noise there is; one step back takes away β_t/√(1−ᾱ_t) ε only.",
         ("(1 - alpha) / ", "")),
        ("x_0 instead of the mean", "this is (x_t − √(1−ᾱ_t) ε)/√ᾱ_t = x_0, all t steps at once.",
         ("(1 - alpha) / ", ""), ("alpha.sqrt()", "alpha_bar[t].sqrt()")),
        ("square root missing under β", "ε is multiplied by β_t/(1−ᾱ_t); the denominator is √(1−ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "(1 - alpha_bar[t])")),
        ("square root missing in the prefactor", "the result is divided by α_t; the factor is 1/√α_t.",
         ("alpha.sqrt()", "alpha")),
        ("prefactor missing",
         "the result was not divided by √α_t: the step shrank the state, and one step back undoes that.",
         (" / expand(alpha.sqrt(), x_t)", "")),
        ("the parenthesis forgotten",
         "only x_t was divided by √α_t; the whole difference is, so the weight of ε is β_t/(√α_t √(1−ᾱ_t)).",
         ("(x_t - expand(weight, x_t) * eps) / expand(alpha.sqrt(), x_t)",
          "x_t / expand(alpha.sqrt(), x_t) - expand(weight, x_t) * eps")),
        ("multiplied by √α_t", "the result was multiplied by √α_t where it has to be divided by it.",
         (") / expand", ") * expand")),
        ("β without a weight", "β_t ε was subtracted; ε counts with β_t/√(1−ᾱ_t).",
         (" / (1 - alpha_bar[t]).sqrt()", "")),
        ("noise added", "ε was added; the step back takes noise away.", ("x_t - expand", "x_t + expand")),
        ("ᾱ_{t−1} under the root", "the root is of 1 − ᾱ_t, the noise in x_t; with 1 − ᾱ_{t−1} it is 0 at t = 1.",
         ("(1 - alpha_bar[t])", "(1 - alpha_bar[t - 1])")),
        ("the arguments exchanged", "x_t and eps were exchanged: ε is what is subtracted.",
         lambda a, x_t, eps, t: mean_from_eps(a, eps, x_t, t)),
        ("t off by one: the step from t + 1", STEP_LATER,
         lambda a, x_t, eps, t: mean_from_eps(a, x_t, eps, t + 1)),
        ("t off by one: the step from t − 1", STEP_EARLIER,
         lambda a, x_t, eps, t: mean_from_eps(a, x_t, eps, t - 1)),
        ("one t for the whole batch", ONE_T,
         lambda a, x_t, eps, t: mean_from_eps(a, x_t, eps, t[:1].expand(len(t)))),
        ("broadcast over the wrong axis", WRONG_AXIS,
         ("expand(weight, x_t)", "weight.to(x_t.dtype)"), ("expand(alpha.sqrt(), x_t)", "alpha.sqrt().to(x_t.dtype)")),
    ),
    start="How much of the noise in x_t is taken away by one step? And what did the forward step multiply by?",
    hint="alpha = alpha_bar[t] / alpha_bar[t - 1]; the weight of eps is (1 - alpha) / sqrt(1 - alpha_bar[t]).",
    see="At t = 1 this is x_0: (x_1 − √β_1 ε)/√α_1. For small β_t it is close to x_t.",
)  # fmt: skip


# ---- gaussian_reverse -----------------------------------------------------------------------------------------------
def gaussian_reverse(alpha_bar, x_t, s, t, m, v):
    a_s, a_t = alpha_bar[s], alpha_bar[t]
    var_s, var_t = a_s * v + 1 - a_s, a_t * v + 1 - a_t
    cov = (a_t / a_s).sqrt() * var_s
    return a_s.sqrt() * m + cov / var_t * (x_t - a_t.sqrt() * m), var_s - cov**2 / var_t


def _gaussian_cases(generator):
    def case(label, s, t, v, *shape, beta=T4, dtype=torch.float64):
        x_t, m = normal(*shape, generator=generator, dtype=dtype), normal(1, generator=generator).item()
        return Case(label, (alpha_bar_of(beta), x_t, s, t, m, v))

    first = (alpha_bar_of(numbers(0.0, 0.36, 0.75)), numbers(3.8), 1, 2, 5.0, 6.0)
    return [
        Case("one number, ᾱ = (1, 0.64, 0.16), from t = 2 to s = 1, x_t = 3.8, data N(5, 6)", first),
        case("T = 4, neighbours, from 3 to 2, v = 0.3", 2, 3, 0.3, 3, 5),
        case("T = 4, from 3 to s = 0 (the clean state), v = 2.5", 0, 3, 2.5, 4, 3),
        case("T = 4, from 4 to 1, v = 0.04", 1, 4, 0.04, 3, 4),
        case("T = 9, random β, from 8 to 3", 3, 8, 1.5 + uniform(1, generator=generator).item(), 4, 3,
             beta=random_betas(9, generator)),
        case("images, T = 1000, from 500 to 450, v = 0.25", 450, 500, 0.25, 3, 4, 6, 5, beta=LONG),
        case("T = 4, from 4 to 2, v = 3, float32", 2, 4, 3.0, 5, 3, dtype=torch.float32),
    ]  # fmt: skip


def _has_both_ends(function):
    table, times = alpha_bar_of(T4), (1, 2, 3, 4)
    wide = [(function(table, numbers(0.7), t - 1, t, 0.2, 1.0)[1] - 1 + table[t] / table[t - 1]).abs() for t in times]
    floor = posterior_variance(table, torch.tensor(times))
    point = [(function(table, numbers(0.7), t - 1, t, 0.2, 1e-9)[1] - floor[t - 1]).abs() for t in times]
    gaps = [max(gaps).item() for gaps in (wide, point)]  # at small v the variance is β̃ + c_0² v, with c_0 <= 1
    return gaps[0] < 1e-12 and gaps[1] < 2e-9, f"off by {gaps[0]:.0e} at v = 1 and by {gaps[1]:.0e} at v = 1e-9"


GAUSSIAN_REVERSE = Exercise(
    equation="q(x_s | x_t) = N(√ᾱ_s m + C/V_t (x_t − √ᾱ_t m), V_s − C²/V_t), V = ᾱ v + 1 − ᾱ, C = √(ᾱ_t/ᾱ_s) V_s "
    "(REV-2, POST-6)",
    reference=gaussian_reverse,
    returns=("mean", "var"),
    cases=_gaussian_cases,
    properties=(Property("for s = t − 1 the variance is β_t at v = 1, and tends to β̃_t as v → 0", _has_both_ends),),
    mistakes=mistakes(
        gaussian_reverse,
        ("β̃ for the variance",
         "var is β̃ of the step from t to s, the variance for a known x_0; v does not enter. Here x_0 is not known, and "
         "its spread makes the variance larger.",
         ("var_s - cov**2 / var_t", "(1 - a_s) / (1 - a_t) * (1 - a_t / a_s)")),
        ("β for the variance",
         "var is 1 − ᾱ_t/ᾱ_s, the noise of the way from s to t; v does not enter. It is the variance of the way back "
         "at v = 1 only.",
         ("var_s - cov**2 / var_t", "1 - a_t / a_s")),
        ("ᾱ_t in the variance of x_s", "ᾱ_t v + 1 − ᾱ_t stands for Var x_s as well; x_s has ᾱ_s v + 1 − ᾱ_s.",
         ("a_s * v + 1 - a_s", "a_t * v + 1 - a_t")),
        ("√ᾱ_t in the covariance",
         "√ᾱ_t Var x_s stands for the covariance. From s to t the state is multiplied by √(ᾱ_t/ᾱ_s); √ᾱ_t is the "
         "factor from the clean state.",
         ("(a_t / a_s).sqrt()", "a_t.sqrt()")),
        ("Var x_s missing in the covariance",
         "√(ᾱ_t/ᾱ_s) alone stands for the covariance. x_t is that times x_s plus fresh noise, so the covariance has "
         "the factor Var x_s as well.",
         ("(a_t / a_s).sqrt() * var_s", "(a_t / a_s).sqrt()")),
        ("the covariance of the data's part only",
         "√(ᾱ_s ᾱ_t) v stands for the covariance, as if x_s and x_t shared the data and no noise. The noise of x_s is "
         "in x_t too, shrunk by √(ᾱ_t/ᾱ_s).",
         ("(a_t / a_s).sqrt() * var_s", "(a_s * a_t).sqrt() * v")),
        ("divided by the variance of x_s",
         "the covariance is divided by Var x_s in mean and variance, as if x_s were known. What is known is x_t: "
         "divide by Var x_t.",
         ("cov / var_t", "cov / var_s"), ("cov**2 / var_t", "cov**2 / var_s")),
        ("x_t not centred",
         "x_t itself is multiplied by Cov/Var x_t; what counts is how far x_t is from its mean √ᾱ_t m.",
         ("(x_t - a_t.sqrt() * m)", "x_t")),
        ("m not scaled", "the mean starts from m; before x_t is known, that of x_s is √ᾱ_s m.",
         ("a_s.sqrt() * m +", "m +")),
        ("ᾱ_s for its root at m", "the mean starts from ᾱ_s m; before x_t is known, that of x_s is √ᾱ_s m.",
         ("a_s.sqrt() * m +", "a_s * m +")),
        ("variance added",
         "Cov²/Var x_t is added to Var x_s; knowing x_t makes x_s less uncertain, so it is subtracted.",
         ("var_s - cov", "var_s + cov")),
        ("standard deviation for variance", "var holds the standard deviation; the variance is its square.",
         ("var_s - cov**2 / var_t", "(var_s - cov**2 / var_t).sqrt()")),
        ("the noise missing in both variances",
         "the mean is √(ᾱ_s/ᾱ_t) x_t and var is 0, as if x_t told x_s exactly. Noise was added: Var x_t is "
         "ᾱ_t v + 1 − ᾱ_t, and Var x_s likewise.",
         ("a_s * v + 1 - a_s, a_t * v + 1 - a_t", "a_s * v, a_t * v")),
        ("v at the noise",
         "the variances are ᾱ + (1 − ᾱ) v; v is that of the data and stands with ᾱ, the noise has variance 1.",
         ("a_s * v + 1 - a_s, a_t * v + 1 - a_t", "a_s + (1 - a_s) * v, a_t + (1 - a_t) * v")),
        ("covariance not squared",
         "Cov/Var x_t is subtracted from Var x_s; the covariance has to be squared before the division.",
         ("cov**2", "cov")),
        ("root missing in the covariance",
         "the covariance has the factor ᾱ_t/ᾱ_s; the state is multiplied by the root of that from s to t.",
         ("(a_t / a_s).sqrt()", "(a_t / a_s)")),
        ("ᾱ_{t−1} whatever s is", "ᾱ_{t−1} stands for ᾱ_s; they agree only for s = t − 1.",
         ("alpha_bar[s]", "alpha_bar[t - 1]")),
        ("m put in for x_0",
         "this is the law for a known x_0 = m, with variance β̃; v does not enter. x_0 is spread around m, and x_t "
         "tells something of where it is.",
         lambda a, x_t, s, t, m, v: gaussian_reverse(a, x_t, s, t, m, 0.0)),
    ),
    start="x_s and x_t are Gaussian together. Which means, variances and which covariance do they have?",
    hint="x_t is a multiple of x_s plus fresh noise, so the covariance comes from the multiple alone.",
    see="For ᾱ = (1, 0.64, 0.16), s = 1, t = 2, x_t = 3.8 and data N(5, 6): mean 6.1, variance 1.75.",
)  # fmt: skip


# ---- ancestral_step -------------------------------------------------------------------------------------------------
def ancestral_step(alpha_bar, x_t, x0_hat, t, z):
    mean = posterior_mean(alpha_bar, x0_hat, x_t, t)
    std = posterior_variance(alpha_bar, t).sqrt()
    return mean + expand(std, x_t) * z


def _step_cases(generator):
    return _pair_cases(generator, noise=True)


def _lands_on_the_estimate(function):
    x_t, x0, z = numbers(2.0, -1.0), numbers(0.3, 0.7), numbers(1.5, -3.0)
    gap = (function(alpha_bar_of(T4), x_t, x0, torch.tensor([1, 1]), z) - x0).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


def _keeps_the_kernel(function):
    """With the true x_0 = 0 the step turns variance 1 − ᾱ_t into 1 − ᾱ_{t−1}; read off the answers to unit inputs."""
    table, t, zero = alpha_bar_of(T4), torch.tensor([1, 2, 3, 4]), numbers(0.0, 0.0, 0.0, 0.0)
    c_t, std = function(table, zero + 1, zero, t, zero), function(table, zero, zero, t, zero + 1)
    gap = (c_t**2 * (1 - table[t]) + std**2 - (1 - table[t - 1])).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


_MEANS = {m.name: m.function for m in POSTERIOR_MEAN.mistakes}  # wrong ones, by name

ANCESTRAL_STEP = Exercise(
    equation="x_{t−1} = μ̃_t(x_t, x̂_0) + √β̃_t z (ALG-2)",
    reference=ancestral_step,
    returns=("x_{t−1}",),
    cases=_step_cases,
    properties=(
        Property("the step from t = 1 ends on x̂_0, whatever the noise", _lands_on_the_estimate),
        Property("with the true x_0, variance 1 − ᾱ_t becomes 1 − ᾱ_{t−1}", _keeps_the_kernel),
    ),
    mistakes=mistakes(
        ancestral_step,
        ("variance for standard deviation",
         "z is multiplied by β̃_t; a sample is scaled by the standard deviation √β̃_t.",
         (".sqrt()", "")),
        ("noise added at the last step (E-24)",
         "at t = 1 noise of variance β_1 is added to the finished x̂_0; β̃_1 is 0, and the last step adds nothing.",
         ("posterior_variance(alpha_bar, t)",
          "torch.where(t == 1, 1 - alpha_bar[1], posterior_variance(alpha_bar, t))")),
        ("the first t decides for the whole batch",
         "whether noise is added was read off t[0]; each example has a time of its own. √β̃_1 is 0 already, so no "
         "branch is needed.",
         ("* z", "* (z if t[0] > 1 else 0 * z)")),
        ("√β_t for √β̃_t",
         "the noise has variance β_t. That is the other usual choice, right for N(0, I) data; asked for is β̃_t, "
         "which also is 0 at t = 1.",
         ("posterior_variance(alpha_bar, t)", "(1 - alpha_bar[t] / alpha_bar[t - 1])")),
        ("noise doubled", "z is multiplied by 2√β̃_t; the variance of one step is then four times β̃_t.",
         ("* z", "* 2 * z")),
        ("variance doubled", "z is multiplied by √(2β̃_t), twice the variance.",
         ("posterior_variance(alpha_bar, t)", "(2 * posterior_variance(alpha_bar, t))")),
        ("no noise", "this is the mean; a sample of q(x_{t−1} | x_t, x_0) adds √β̃_t z.",
         (" + expand(std, x_t) * z", "")),
        ("noise at full size", "z was added as it came; its factor is √β̃_t.", ("expand(std, x_t) * z", "z")),
        ("noise subtracted",
         "z is subtracted. The law is the same, but a run with given noise cannot be compared with another one.",
         ("mean + ", "mean - ")),
        ("x_t forgotten: a fresh draw from x̂_0",
         "this is √ᾱ_{t−1}x̂_0 + √(1−ᾱ_{t−1}) z, a jump from x̂_0; the step stays near x_t, which enters the mean.",
         lambda a, x_t, x0, t, z: mixed(a, x0, z, t - 1)),
        ("the forward step", "this is √α_t x_t + √β_t z, one step further into the noise.",
         lambda a, x_t, x0, t, z: mixed(steps_of(a), x_t, z, t)),
        ("ᾱ_t for ᾱ_{t−1} at x̂_0 (E-01)",
         "the coefficient of x̂_0 has √ᾱ_t where it is √ᾱ_{t−1}: the last step then ends on √ᾱ_1 x̂_0.",
         ("posterior_mean(", "_MEANS['ᾱ_t for ᾱ_{t−1} at x_0 (E-01)'](")),
        ("√ᾱ_t at x_t (E-02)", "the coefficient of x_t is √ᾱ_t; it is √α_t(1−ᾱ_{t−1})/(1−ᾱ_t).",
         ("posterior_mean(", "_MEANS['√ᾱ_t at x_t (E-02)'](")),
        ("β under the root (E-16)", "the coefficient of x̂_0 has √(ᾱ_{t−1}β_t); β_t stands outside the root.",
         ("posterior_mean(", "_MEANS['β under the root (E-16)'](")),
        ("x_t and x̂_0 exchanged",
         "the state and the estimate were exchanged: posterior_mean takes x_0 first, ancestral_step x_t.",
         ("x0_hat, x_t, t)", "x_t, x0_hat, t)")),
        ("t off by one: the step from t + 1",
         "this is the step from t + 1 to t, a slip of code that counts t from 0; here alpha_bar[0] = 1 is the clean "
         "state and the last step is t = 1.",
         lambda a, x_t, x0, t, z: ancestral_step(a, x_t, x0, t + 1, z)),
        ("t off by one: the step from t − 1",
         "this is the step from t − 1 to t − 2; alpha_bar[t] belongs to x_t as it came in.",
         lambda a, x_t, x0, t, z: ancestral_step(a, x_t, x0, t - 1, z)),
        ("the noise of t + 1, the mean of t",
         "the mean is right, but z is scaled with √β̃_{t+1}; mean and noise belong to one step.",
         ("posterior_variance(alpha_bar, t)", "posterior_variance(alpha_bar, t + 1)")),
        ("one noise for the whole batch",
         "the noise of the first example was used for all; each example has noise of its own.",
         ("* z", "* z[:1]")),
        ("one t for the whole batch", ONE_T,
         lambda a, x_t, x0, t, z: ancestral_step(a, x_t, x0, t[:1].expand(len(t)), z)),
        ("broadcast over the wrong axis", WRONG_AXIS,
         ("posterior_mean(", "_MEANS['broadcast over the wrong axis']("), ("expand(std, x_t)", "std.to(x_t.dtype)")),
    ),
    start="A sample of a Gaussian is mean + √variance · z. You have written both.",
    hint="posterior_mean(alpha_bar, x0_hat, x_t, t) and posterior_variance(alpha_bar, t); mind the square root.",
    see="At t = 1 the answer is x0_hat, whatever z.",
)  # fmt: skip

EXERCISES = (REVERSE_KERNEL, POSTERIOR_MEAN, POSTERIOR_VARIANCE, MEAN_FROM_EPS, GAUSSIAN_REVERSE, ANCESTRAL_STEP)
