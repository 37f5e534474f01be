"""Homework 2: a diffusion model from scratch, for a process that drifts to a known mean with noise of a known size.

    x_t = m + √ᾱ_t (x_0 − m) + κ √(1 − ᾱ_t) ε

Ledger FWD-4, POST-1, POST-2, VLB-5..VLB-7, VAR-1, LOSS-4, ARCH-3, ARCH-4, ARCH-6, ALG-1, ALG-2. Every part is a variant
that the package does not hold, and stands alone. What students may use, the network too, is in ``dlgm.course.hw2``.
"""

import math

import torch
import torch.nn.functional as F

from ..course.hw2 import broken_walk, held_out, network, parameters, training_run
from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import ONE_T, T4, alpha_bar_of, normal, numbers, random_betas, uniform

MEAN_NOT_SUM = "the dimensions are averaged; a KL or a log-probability of one example is a sum over its dimensions."
IN_BITS = "divided by log 2: this is in bits; the function returns nats."
SHIFTED_T = "alpha_bar[t - 1] stands where alpha_bar[t] belongs; the table has the clean state at index 0."
CUT = "the graph is cut (no_grad, detach, .data, .item()): nothing in front of this function can learn."


def _int(low, high, generator):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _number(low, high, generator):
    """A number with three digits after the point."""
    return round(low + (high - low) * uniform(1, generator=generator).item(), 3)


def _chain(generator, T=None, share=1.0):
    """ᾱ_0..ᾱ_T of a random chain of T steps, or of 12 to 15; ``share`` makes all β smaller."""
    return alpha_bar_of(share * random_betas(T or _int(12, 15, generator), generator))


def _times(B, low, high, generator):
    """B different times from low to high."""
    return low + torch.randperm(high - low + 1, generator=generator)[:B]


def _pair(B, T, generator):
    """Times s < t for each example, all of them different; the second example goes down to s = 0."""
    s, t = _times(2 * B, 1, T, generator).reshape(B, 2).sort(1).values.T
    return s * (torch.arange(B) != 1), t


def _shapes(generator):
    """Points, rows of points, pictures twice, long rows, with the batch in front: no size below 3, none twice."""
    shapes = [(3 + torch.randperm(4, generator=generator)).tolist()[:n] for n in (2, 3, 4, 4, 1)]
    return [*map(tuple, shapes[:4]), (*shapes[4], _int(7, 11, generator))]


# ---- logsnr_chain ---------------------------------------------------------------------------------------------------
def logsnr_chain(T, first, last):
    logsnr = torch.linspace(first, last, T, dtype=torch.float64)
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(logsnr)])
    beta = torch.zeros(T + 1, dtype=torch.float64)
    beta[1:] = 1 - alpha_bar[1:] / alpha_bar[:-1]
    return alpha_bar, beta


def _chain_cases(generator):
    return [
        Case("T = 3, log-SNR 3, 1, −1", (3, 3.0, -1.0)),
        Case("T = 4, log-SNR from 2 to −2.5", (4, 2.0, -2.5)),
        Case("T = 5, log-SNR from 3 to −5", (5, 3.0, -5.0)),
        Case("T = 100, log-SNR from 6 to −6", (100, 6.0, -6.0)),
    ]


def _chain_hidden(generator):
    def case(low, high, last=(2.5, 8.0)):
        T = _int(low, high, generator)
        args = T, _number(2.5, 7.0, generator), -_number(*last, generator)
        return Case(f"T = {T}, log-SNR from {args[1]} to {args[2]}", args)

    return [case(4, 5, last=(30.0, 40.0)), case(7, 15), case(16, 40), case(41, 90), case(91, 200)]


CHAIN = Exercise(
    equation="λ_t on a line from λ_1 to λ_T, ᾱ_t = 1/(1 + e^{−λ_t}), β_t = 1 − ᾱ_t/ᾱ_{t−1}, ᾱ_0 = 1, β_0 = 0 (SCHED-1)",
    reference=logsnr_chain,
    returns=("alpha_bar", "beta"),
    cases=_chain_cases,
    hidden=_chain_hidden,
    start="SNR = ᾱ/(1 − ᾱ) = e^λ. Solve for ᾱ.",
    hint="T numbers with torch.linspace, torch.sigmoid, and a 1 in front. Then one ratio of neighbours. linspace and "
    "ones work in float32 unless given dtype=torch.float64; .double() afterwards comes too late.",
    see="For T = 3 from 3 to −1: ᾱ = (1, 0.9526, 0.7311, 0.2689), β = (0, 0.0474, 0.2325, 0.6321).",
    mistakes=mistakes(
        logsnr_chain,
        ("no clean state at index 0",
         "the line of log-SNRs was laid over the indices 0..T; it runs over 1..T, and index 0 is the clean state "
         "with ᾱ_0 = 1.",
         ("last, T,", "last, T + 1,"),
         ("torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(logsnr)])", "torch.sigmoid(logsnr)")),
        ("the line begins at index 0",
         "ᾱ_0 is 1, but the line of log-SNRs has T + 1 points and its first was thrown away: λ_1 must be first.",
         ("last, T,", "last, T + 1,"), ("sigmoid(logsnr)", "sigmoid(logsnr[1:])")),
        ("signal for its square", "this is √ᾱ_t, the factor of the data; ᾱ_t is its square.",
         ("sigmoid(logsnr)", "sigmoid(logsnr).sqrt()")),
        ("ratio of amplitudes",
         "λ/2 went into the sigmoid: λ is the logarithm of ᾱ/(1 − ᾱ), of signal to noise power, not of amplitudes.",
         ("sigmoid(logsnr)", "sigmoid(logsnr / 2)")),
        ("sign of the log-SNR", "this table is 1 − ᾱ_t: the sigmoid of −λ. A large λ means a clean state.",
         ("sigmoid(logsnr)", "sigmoid(-logsnr)")),
        ("a line in ᾱ", "ᾱ_t was laid on a line between its two ends; λ_t lies on a line, and ᾱ_t follows from it.",
         ("torch.sigmoid(logsnr)", "torch.linspace(*logsnr[[0, -1]].sigmoid().tolist(), T, dtype=torch.float64)")),
        ("the total noise for β_t",
         "1 − ᾱ_t is the noise of all steps up to t; β_t = 1 − ᾱ_t/ᾱ_{t−1} is that of step t alone.",
         (" / alpha_bar[:-1]", "")),
        ("root in β", "1 − √(ᾱ_t/ᾱ_{t−1}) uses the factor of the signal; β_t = 1 − α_t with α_t = ᾱ_t/ᾱ_{t−1}.",
         ("alpha_bar[1:] / alpha_bar[:-1]", "(alpha_bar[1:] / alpha_bar[:-1]).sqrt()")),
        ("a difference for a ratio", "ᾱ_{t−1} − ᾱ_t is the signal power that is lost; divided by ᾱ_{t−1} it is β_t.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "alpha_bar[:-1] - alpha_bar[1:]")),
        ("no first step", "β_1 is 0: the first step leads from ᾱ_0 = 1 to ᾱ_1, so β_1 = 1 − ᾱ_1.",
         ("beta[1:] = 1 - alpha_bar[1:] / alpha_bar[:-1]", "beta[2:] = 1 - alpha_bar[2:] / alpha_bar[1:-1]")),
        ("α for β", "ᾱ_t/ᾱ_{t−1} is α_t, the share of the signal power that step t keeps; β_t is what is left of 1.",
         ("1 - alpha_bar[1:]", "alpha_bar[1:]")),
        ("returned in the other order", "ᾱ comes first and β second.", ("alpha_bar, beta", "beta, alpha_bar")),
        ("no index 0", "these tables have T entries; they have T + 1, with the clean state ᾱ_0 = 1, β_0 = 0 in front.",
         ("alpha_bar, beta", "alpha_bar[1:], beta[1:]")),
    ),
)  # fmt: skip


# ---- drifting_kernel ------------------------------------------------------------------------------------------------
def drifting_kernel(alpha_bar, m, kappa, x0, t, eps):
    bar = alpha_bar[t]
    signal, noise = expand(bar.sqrt(), x0), expand((1 - bar).sqrt(), x0)
    return m + signal * (x0 - m) + kappa * noise * eps


def _world(generator, table, B, *shape, dtype=torch.float64):
    """(alpha_bar, m, kappa, x0): a chain, a mean (...), the size of the noise, and data (B, ...)."""
    m, kappa = normal(*shape, generator=generator, dtype=dtype), _number(0.3, 2.5, generator)
    return table, m, kappa, m + normal(B, *shape, generator=generator, dtype=dtype)


def _kernel_case(label, generator, table, t, *shape, dtype=torch.float64):
    world = _world(generator, table, len(t), *shape, dtype=dtype)
    return Case(label, (*world, torch.as_tensor(t), normal(len(t), *shape, generator=generator, dtype=dtype)))


def _kernel_cases(generator):
    table, random = alpha_bar_of(T4), _chain(generator, 9)
    first = table, numbers(1.0), 2.0, numbers([3.0]), torch.tensor([2]), numbers([0.5])
    return [
        Case("one number, T = 4, t = 2, m = 1, κ = 2, x_0 = 3, ε = 0.5", first),
        _kernel_case("shape (3, 3), a different t for each example", generator, table, [4, 1, 3], 3),
        _kernel_case("shape (5, 4), random β", generator, random, [8, 1, 6, 2, 4], 4),
        _kernel_case("images of shape (3, 4, 6, 5), random β", generator, random, [7, 2, 5], 4, 6, 5),
        _kernel_case("shape (4, 3) in float32", generator, table, [3, 1, 4, 2], 3, dtype=torch.float32),
    ]


def _kernel_hidden(generator):
    cases = []
    for B, *shape in _shapes(generator):
        table = _chain(generator)
        label = f"T = {len(table) - 1}, x0 of shape {(B, *shape)}"
        cases.append(_kernel_case(label, generator, table, _times(B, 1, len(table) - 1, generator), *shape))
    return cases


KERNEL = Exercise(
    equation="x_t = m + √ᾱ_t (x_0 − m) + κ √(1−ᾱ_t) ε (FWD-4 in other coordinates)",
    reference=drifting_kernel,
    returns=("x_t",),
    cases=_kernel_cases,
    hidden=_kernel_hidden,
    start="Write the usual kernel for y = (x − m)/κ and solve for x.",
    hint="m has the shape of one example and broadcasts by itself; coefficients of shape (B,) need expand(c, x0).",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) with m = 1, κ = 2, x_0 = 3, ε = 0.5, t = 2: 3.2133.",
    mistakes=mistakes(
        drifting_kernel,
        ("drift to zero", "the data shrink to 0 and not to m: the mean of this x_t is √ᾱ_t x_0.",
         ("m + signal * (x0 - m)", "signal * x0")),
        ("m added to the data that was not taken off",
         "x_0 shrinks to 0 and m is added whole; what shrinks is x_0 − m. At t = 0 this gives x_0 + m.",
         ("(x0 - m)", "x0")),
        ("m not put back", "x_0 − m is noised well, but this is x_t − m.", ("m + ", "")),
        ("κ forgotten", "the noise has standard deviation √(1−ᾱ_t); it is κ times that.", ("kappa * ", "")),
        ("κ under the root", "√(κ(1−ᾱ_t)) takes κ for a variance; it is the standard deviation of the noise.",
         ("kappa * ", "kappa**0.5 * ")),
        ("variance for standard deviation",
         "ε is multiplied by κ(1−ᾱ_t); the variance is κ²(1−ᾱ_t), and ε takes its root.",
         ("(1 - bar).sqrt()", "1 - bar")),
        ("no root on the signal", "x_0 − m is multiplied by ᾱ_t; its factor is √ᾱ_t.", ("bar.sqrt()", "bar")),
        ("one t for the whole batch", ONE_T, ("[t]", "[t[0]]")),
        ("t off by one", SHIFTED_T, ("[t]", "[t - 1]")),
        ("1 − √ᾱ_t for √(1−ᾱ_t)", "ε is multiplied by κ(1 − √ᾱ_t); the root is of 1 − ᾱ_t as a whole.",
         ("(1 - bar).sqrt()", "1 - bar.sqrt()")),
        ("signal and noise exchanged",
         "√ᾱ_t stands at the noise and √(1−ᾱ_t) at the data; it is the other way round.",
         ("signal, noise =", "noise, signal =")),
        ("coefficient not lined up",
         "alpha_bar[t] is (B,), and torch lines it up with the last axis of x0: write expand(alpha_bar[t], x0).",
         ("expand(bar.sqrt(), x0), expand((1 - bar).sqrt(), x0)", "bar.sqrt(), (1 - bar).sqrt()")),
    ),
)  # fmt: skip


# ---- drifting_posterior ---------------------------------------------------------------------------------------------
def drifting_posterior(alpha_bar, m, kappa, x0, x_t, s, t):
    bar_s, bar_t = alpha_bar[s], alpha_bar[t]
    keep = bar_t / bar_s
    c_0 = bar_s.sqrt() * (1 - keep) / (1 - bar_t)
    c_t = keep.sqrt() * (1 - bar_s) / (1 - bar_t)
    mean = m + expand(c_0, x0) * (x0 - m) + expand(c_t, x_t) * (x_t - m)
    variance = kappa**2 * (1 - bar_s) * (1 - keep) / (1 - bar_t)
    return mean, variance


def _posterior_case(label, generator, table, s, t, *shape):
    world = _world(generator, table, len(t), *shape)
    x_t = world[1] + normal(len(t), *shape, generator=generator)
    return Case(label, (*world, x_t, torch.as_tensor(s), torch.as_tensor(t)))


def _posterior_cases(generator):
    def case(label, *args):
        return _posterior_case(label, generator, *args)

    one, table, random = torch.tensor([1]), alpha_bar_of(T4), _chain(generator, 9)
    first = table, numbers(1.0), 2.0, numbers([3.0]), numbers([0.0]), one, one + 1
    return [
        Case("one number, s = 1, t = 2, m = 1, κ = 2, x_0 = 3, x_t = 0", first),
        case("shape (3, 3), one example to s = 0 (the clean state)", table, [2, 0, 1], [4, 1, 3], 3),
        case("shape (5, 4), one step to five at once", random, [5, 2, 7, 1, 3], [9, 4, 8, 6, 5], 4),
        case("images of shape (4, 3, 6, 5)", random, [4, 1, 6, 2], [7, 5, 8, 3], 3, 6, 5),
    ]


def _posterior_hidden(generator):
    cases = []
    for B, *shape in _shapes(generator):
        table = _chain(generator)
        label = f"T = {len(table) - 1}, x_t of shape {(B, *shape)}"
        cases.append(_posterior_case(label, generator, table, *_pair(B, len(table) - 1, generator), *shape))
    return cases


def _bayes_holds(function):
    """q(x_s | x_0) q(x_t | x_s) / q(x_t | x_0) is the density of the answer, at some x_s."""
    table, m, kappa = alpha_bar_of(T4), numbers(0.7), 1.6
    x0, x_t, x_s = numbers([-0.4]), numbers([1.1]), numbers([0.3])
    mean, variance = function(table, m, kappa, x0, x_t, torch.tensor([1]), torch.tensor([3]))

    def log_normal(x, centre, var):
        return -0.5 * ((x - centre) ** 2 / var + torch.log(2 * math.pi * var))

    bar_s, bar_t = table[1], table[3]
    want = log_normal(x_s, m + bar_s.sqrt() * (x0 - m), kappa**2 * (1 - bar_s))
    want = want + log_normal(x_t, m + (bar_t / bar_s).sqrt() * (x_s - m), kappa**2 * (1 - bar_t / bar_s))
    want = want - log_normal(x_t, m + bar_t.sqrt() * (x0 - m), kappa**2 * (1 - bar_t))
    gap = (log_normal(x_s, mean, variance) - want).abs().max().item()
    return gap < 1e-9, f"gap of the log-densities {gap:.0e}"


POSTERIOR = Exercise(
    equation="q(x_s | x_t, x_0), s < t: mean m + √ᾱ_s (1−ᾱ_t/ᾱ_s)/(1−ᾱ_t) (x_0−m) "
    "+ √(ᾱ_t/ᾱ_s) (1−ᾱ_s)/(1−ᾱ_t) (x_t−m), variance κ² (1−ᾱ_s)(1−ᾱ_t/ᾱ_s)/(1−ᾱ_t) (POST-1, POST-2)",
    reference=drifting_posterior,
    returns=("mean", "variance"),
    cases=_posterior_cases,
    hidden=_posterior_hidden,
    properties=(Property("it is q(x_s | x_0) q(x_t | x_s) / q(x_t | x_0)", _bayes_holds),),
    start="x_s given x_0 and x_t given x_s are both Gaussian; their precisions add. What is one step called here?",
    hint="With keep = ᾱ_t/ᾱ_s in the place of α_t and ᾱ_s in that of ᾱ_{t−1}, it is the posterior of lesson 06 for "
    "x − m. The variance has κ² in front.",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) with s = 1, t = 2, m = 1, κ = 2, x_0 = 3, x_t = 0: mean 2.1930, "
    "variance 0.3077.",
    mistakes=mistakes(
        drifting_posterior,
        ("ᾱ_t for ᾱ_s at x_0 (E-01)", "the coefficient of x_0 − m has √ᾱ_t where √ᾱ_s belongs.",
         ("bar_s.sqrt()", "bar_t.sqrt()")),
        ("ᾱ_t for ᾱ_s at x_t (E-02)",
         "the coefficient of x_t − m has 1 − ᾱ_t where 1 − ᾱ_s belongs: the fraction cancels, √(ᾱ_t/ᾱ_s) is left.",
         ("keep.sqrt() * (1 - bar_s)", "keep.sqrt() * (1 - bar_t)")),
        ("√ᾱ_t for √(ᾱ_t/ᾱ_s) at x_t",
         "the root at x_t is of ᾱ_t/ᾱ_s, the share that the way from s to t keeps, not of ᾱ_t.",
         ("keep.sqrt()", "bar_t.sqrt()")),
        ("the noise share under the root (E-16)",
         "the coefficient of x_0 − m has √(ᾱ_s (1−ᾱ_t/ᾱ_s)); only ᾱ_s stands under the root.",
         ("bar_s.sqrt() * (1 - keep)", "(bar_s * (1 - keep)).sqrt()")),
        ("the step from t − 1", "s was taken for t − 1, whatever it is; the way down may skip times.",
         ("[s]", "[t - 1]")),
        ("drift to zero",
         "these are the right coefficients for a process that drifts to 0; here they multiply x_0 − m and x_t − m, "
         "and m is added.",
         ("m + expand(c_0, x0) * (x0 - m)", "expand(c_0, x0) * x0"), ("(x_t - m)", "x_t")),
        ("κ forgotten in the variance",
         "noise of standard deviation κ gives a variance with κ²; in the mean it cancels.", ("kappa**2 * ", "")),
        ("the forward variance",
         "κ²(1−ᾱ_t/ᾱ_s) is the variance of q(x_t | x_s); knowing x_0 makes it smaller, by (1−ᾱ_s)/(1−ᾱ_t).",
         ("kappa**2 * (1 - bar_s) * (1 - keep) / (1 - bar_t)", "kappa**2 * (1 - keep)")),
        ("standard deviation for variance", "this is the standard deviation; the variance is its square.",
         ("return mean, variance", "return mean, variance.sqrt()")),
        ("not centred", "the coefficients multiply x_0 and x_t; they multiply x_0 − m and x_t − m.",
         ("(x0 - m)", "x0"), ("(x_t - m)", "x_t")),
        ("m not put back", "this is the mean of x_s − m; m is added at the end.", ("m + expand", "expand")),
        ("coefficients exchanged", "the coefficient of x_0 − m stands at x_t − m and the other way round.",
         ("c_0 = ", "c_t = "), ("c_t = keep", "c_0 = keep")),
        ("no root at x_0", "the coefficient of x_0 − m has ᾱ_s; it has √ᾱ_s.", ("bar_s.sqrt()", "bar_s")),
        ("no root at x_t", "the coefficient of x_t − m has ᾱ_t/ᾱ_s; it has the root of that.", ("keep.sqrt()", "keep")),
        ("κ not squared", "κ is a standard deviation: the variance has κ² in front, not κ.", ("kappa**2", "kappa")),
    ),
)  # fmt: skip


# ---- drifting_prior_term --------------------------------------------------------------------------------------------
def drifting_prior_term(alpha_bar, m, kappa, x0):
    bar = alpha_bar[-1]
    square = bar * (x0 - m) ** 2 / kappa**2
    return 0.5 * (square - bar - torch.log1p(-bar)).flatten(1).sum(1)


def _prior_cases(generator):
    table, mean = alpha_bar_of(T4), numbers(1.0, 2.0, -1.0, 0.5)
    return [
        Case("one number, ᾱ_T = 0.162, m = 1, κ = 2, x_0 = 3", (table, numbers(1.0), 2.0, numbers([3.0]))),
        Case("3 points of 4 numbers, all at the mean", (table, mean, 0.5, mean.repeat(3, 1))),
        Case("5 points of 3 numbers", _world(generator, table, 5, 3)),
        Case("images of shape (3, 4, 6, 5), random β", _world(generator, _chain(generator, 9, 0.3), 3, 4, 6, 5)),
    ]


def _prior_hidden(generator):
    cases = []
    for shape in _shapes(generator):
        table = _chain(generator, share=0.3)
        label = f"T = {len(table) - 1}, x0 of shape {shape}"
        cases.append(Case(label, _world(generator, table, *shape)))
    return cases


PRIOR = Exercise(
    equation="KL(q(x_T | x_0) ‖ N(m, κ² I)) = ½ Σ_d [ᾱ_T (x_0−m)²_d/κ² − ᾱ_T − log(1−ᾱ_T)] (VLB-5)",
    reference=drifting_prior_term,
    returns=("kl",),
    cases=_prior_cases,
    hidden=_prior_hidden,
    start="q(x_T | x_0) has mean m + √ᾱ_T (x_0 − m) and variance κ²(1−ᾱ_T). Put it in the KL of two Gaussians.",
    hint="κ² cancels in the ratio of the variances and stays below the squared distance of the means.",
    see="For ᾱ_T = 0.162, m = 1, κ = 2, x_0 = 3: 0.0884 nats. At x_0 = m: 0.0074 nats a dimension.",
    mistakes=mistakes(
        drifting_prior_term,
        ("against N(0, I)", "this is the KL to N(0, I); the process ends near N(m, κ² I), and so does the prior.",
         ("bar * (x0 - m) ** 2 / kappa**2", "(m + bar.sqrt() * (x0 - m)) ** 2"),
         ("- bar - torch.log1p(-bar)", "+ kappa**2 * (1 - bar) - 1 - torch.log(kappa**2 * (1 - bar))")),
        ("mean over dimensions", MEAN_NOT_SUM, (".sum(1)", ".mean(1)")),
        ("nats called bits", IN_BITS, ("0.5 *", "0.5 / math.log(2) *")),
        ("the KL the other way round", "this is KL(N(m, κ² I) ‖ q(x_T | x_0)); the bound has q first.",
         ("square - bar - torch", "(1 + square) / (1 - bar) - 1 + torch")),
        ("the variances left out",
         "only the distance of the means was counted; the variances κ²(1−ᾱ_T) and κ² differ, too.",
         (" - bar - torch.log1p(-bar)", "")),
        ("κ not squared", "the squared distance is divided by the variance κ², not by κ.", ("kappa**2", "kappa")),
        ("κ forgotten", "the squared distance is measured against the variance of the prior: divide it by κ².",
         (" / kappa**2", "")),
        ("the half forgotten", "this is twice the KL: the formula has ½ in front of the whole sum.", ("0.5 * ", "")),
        ("the table ends one step early", "alpha_bar[-2] is ᾱ_{T−1}; the chain ends at T, the last entry.",
         ("[-1]", "[-2]")),
        ("κ² left in the logarithm",
         "log(κ²(1−ᾱ_T)) is the logarithm of q's variance alone; that of the ratio of the two has no κ.",
         ("torch.log1p(-bar)", "torch.log(kappa**2 * (1 - bar))")),
        ("κ² left in the variance",
         "this takes 1 for the variance of the prior: it is κ², so that the ratio of the variances is 1 − ᾱ_T.",
         ("- bar - torch.log1p(-bar)", "+ kappa**2 * (1 - bar) - 1 - torch.log(kappa**2 * (1 - bar))")),
        ("sign of the logarithm",
         "log(1−ᾱ_T) was added; it is subtracted. A KL is never negative, and at x_0 = m this one is.",
         ("- torch.log1p", "+ torch.log1p")),
        ("the variances counted once",
         "−ᾱ_T − log(1−ᾱ_T) belongs to each dimension; here it was added once to the sum of the squares.",
         ("(square - bar - torch.log1p(-bar)).flatten(1).sum(1)",
          "(square.flatten(1).sum(1) - bar - torch.log1p(-bar))")),
        ("the distance from m not taken",
         "ᾱ_T x_0² stands where ᾱ_T (x_0 − m)² belongs: the two means are m + √ᾱ_T (x_0 − m) and m.",
         ("(x0 - m)", "x0")),
    ),
)  # fmt: skip


# ---- learned_variance_kl --------------------------------------------------------------------------------------------
def learned_variance_kl(alpha_bar, kappa, mean, mean_hat, v, t):
    beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
    posterior = beta * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
    log_beta, log_posterior = expand(beta.log(), v), expand(posterior.log(), v)
    log_variance = v * log_beta + (1 - v) * log_posterior  # of the model, over κ²
    log_ratio = log_posterior - log_variance
    distance = (mean - mean_hat) ** 2 / (kappa**2 * log_variance.exp())
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + distance).flatten(1).sum(1)


def _learned_case(label, generator, table, t, *shape):
    shape = (len(t), *shape)
    mean, v = normal(*shape, generator=generator), uniform(*shape, generator=generator)
    hat = mean + normal(*shape, generator=generator, scale=0.5)
    return Case(label, (table, _number(0.3, 2.5, generator), mean, hat, v, torch.as_tensor(t)))


def _learned_cases(generator):
    table, random = alpha_bar_of(T4), _chain(generator, 9)
    first = table, 2.0, numbers([1.0]), numbers([1.3]), numbers([0.25]), torch.tensor([2])
    mean, ends = normal(3, 4, generator=generator), numbers([0.0, 1.0, 0.5, 0.25]).repeat(3, 1)
    return [
        Case("one number, t = 2, κ = 2, means 1 and 1.3, v = 0.25", first),
        Case("equal means, v = 0 (β̃) and v = 1 (β)", (table, 1.5, mean, mean, ends, torch.tensor([4, 2, 3]))),
        _learned_case("5 points of 3 numbers", generator, random, [4, 2, 9, 7, 3], 3),
        _learned_case("images of shape (3, 4, 6, 5), random β", generator, random, [8, 2, 5], 4, 6, 5),
    ]


def _learned_hidden(generator):
    cases = []
    for B, *shape in _shapes(generator):
        table = _chain(generator)
        label = f"T = {len(table) - 1}, means of shape {(B, *shape)}"
        cases.append(_learned_case(label, generator, table, _times(B, 2, len(table) - 1, generator), *shape))
    return cases


LEARNED = Exercise(
    equation="½ Σ_d [r − 1 − log r + (μ−μ̂)²/σ²]_d, log σ² = log κ² + v log β_t + (1−v) log β̃_t, r = κ²β̃_t/σ² "
    "(VLB-7, VAR-1)",
    reference=learned_variance_kl,
    returns=("kl",),
    cases=_learned_cases,
    hidden=_learned_hidden,
    start="Write down the KL of two Gaussians in one dimension. What is the ratio of the two variances here?",
    hint="log r = v (log β̃_t − log β_t): κ² and the rest cancel. Sum over all but the batch.",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) at t = 2 with κ = 2, means 1 and 1.3, v = 0.25: 0.1286 nats.",
    mistakes=mistakes(
        learned_variance_kl,
        ("v and 1 − v exchanged", "v = 1 gave β̃_t and v = 0 gave β_t; it is the other way round.",
         ("v * log_beta + (1 - v) * log_posterior", "(1 - v) * log_beta + v * log_posterior")),
        ("the variances averaged", "the variances were interpolated; their logarithms are: σ² = β̃^(1−v) β^v.",
         ("v * log_beta + (1 - v) * log_posterior", "(v * log_beta.exp() + (1 - v) * log_posterior.exp()).log()")),
        ("the KL the other way round",
         "this is KL(p_θ ‖ q): the ratio of the variances is upside down and the distance divided by q's variance.",
         ("log_posterior - log_variance", "log_variance - log_posterior"),
         ("log_variance.exp()", "log_posterior.exp()")),
        ("β_t for β̃_t", "q(x_{t−1} | x_t, x_0) was given the variance κ²β_t; it is κ²β̃_t.",
         ("log_posterior - log_variance", "log_beta - log_variance")),
        ("κ forgotten",
         "both variances lack κ²; it cancels in their ratio and not below the distance of the means.",
         ("kappa**2 * ", "")),
        ("the squared error alone",
         "the part of the variances, r − 1 − log r, is missing: with it gone, a wide σ² costs nothing.",
         ("torch.expm1(log_ratio) - log_ratio + distance", "distance")),
        ("mean over dimensions", MEAN_NOT_SUM, (".sum(1)", ".mean(1)")),
        ("one v for all dimensions", "v was averaged first; each dimension has a variance of its own.",
         ("log_variance = v", "v = expand(v.flatten(1).mean(1), v)\n    log_variance = v")),
        ("nats called bits", IN_BITS, ("0.5 *", "0.5 / math.log(2) *")),
        ("the half forgotten", "this is twice the KL: the formula has ½ in front of the whole sum.", ("0.5 * ", "")),
        ("v missing in log r",
         "log r was taken as log(β̃_t/β_t); it is v times that, since σ² moves from β̃_t to β_t with v.",
         ("- log_ratio +", "- (log_posterior - log_beta) +")),
        ("sign of log r", "log r was added; it is subtracted. r − 1 − log r is never negative.",
         ("- log_ratio +", "+ log_ratio +")),
        ("r upside down", "this r is σ²/(κ²β̃_t); the variance of q stands above, that of the model below.",
         ("log_posterior - log_variance", "log_variance - log_posterior")),
        ("the distance over q's variance",
         "the squared distance was divided by κ²β̃_t, the variance of q; it is divided by σ², the model's.",
         ("log_variance.exp()", "log_posterior.exp()")),
    ),
)  # fmt: skip


# ---- logistic_decoder -----------------------------------------------------------------------------------------------
def logistic_decoder(x, mean, log_scale, levels):
    half, scale = 1 / (levels - 1), log_scale.exp()
    low, high = (x - half - mean) / scale, (x + half - mean) / scale
    black, white = x < -1 + half / 2, x > 1 - half / 2
    inside = F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(low - high))
    log_p = torch.where(black, F.logsigmoid(high), torch.where(white, F.logsigmoid(-low), inside))
    return log_p.flatten(1).sum(1)


def _decoder_case(label, levels, shape, generator, far=1.0, sharp=False):
    x = -1 + 2 * torch.randint(0, levels, shape, generator=generator).double() / (levels - 1)
    x.view(-1)[:2] = numbers(-1, 1)  # both edges occur
    mean = x + normal(*shape, generator=generator, scale=0.3)
    log_scale = -3 + normal(*shape, generator=generator, scale=0.5)
    if sharp:  # the edges and a level between them far off, on a scale where differences of sigmoids are 0
        x.view(-1)[-1] = -1 + 2 / (levels - 1)
        mean.view(-1)[:2], log_scale.view(-1)[[0, 1, -1]] = numbers(0.9, -0.9), -8.0
    mean.view(-1)[-1] = x.view(-1)[-1] + far  # one pixel far off in any case
    return Case(label, (x, mean, log_scale, levels))


def _decoder_cases(generator):
    def alike(label, low, high, mean, log_scale):
        """3 examples of 4 pixels, all of a level between low and high of 0..16, with nearly one mean and scale."""
        x = -1 + torch.randint(low, high + 1, (3, 4), generator=generator).double() / 8
        shifts = (normal(3, 4, generator=generator, scale=0.02) for _ in range(2))
        return Case(label, (x, *(v + d for v, d in zip((mean, log_scale), shifts, strict=True)), 17))

    return [
        Case("one pixel, level 1 of 0..2, mean 0, s = 1", (numbers([0.0]), numbers([0.0]), numbers([0.0]), 3)),
        alike("black (level 0 of 0..16) below the mean, log s = −1", 0, 0, -0.5, -1.0),
        alike("white (level 16 of 0..16) above the mean, log s = −2", 16, 16, 0.8, -2.0),
        alike("pixels far below the mean, log s = −5", 2, 5, 0.9, -5.0),
        alike("pixels far above the mean, log s = −5", 11, 14, -0.9, -5.0),
        alike("the same with log s = −7", 11, 14, -0.9, -7.0),
        alike("white far above the mean, log s = −5", 16, 16, -0.9, -5.0),
        alike("white far above the mean, log s = −7", 16, 16, -0.9, -7.0),
        alike("black far below the mean, log s = −7", 0, 0, 0.9, -7.0),
        _decoder_case("5 examples of 3 pixels of 17 levels", 17, (5, 3), generator),
        _decoder_case("images of shape (3, 4, 6, 5), 256 levels", 256, (3, 4, 6, 5), generator),
    ]


def _decoder_hidden(generator):
    cases = []
    for k, shape in enumerate(_shapes(generator)):
        levels, far = _int(12, 64, generator), (-1) ** k * _number(1.5, 4.0, generator)
        label = f"{levels} levels, x of shape {shape}"
        cases.append(_decoder_case(label, levels, shape, generator, far, sharp=k in (1, 4)))
    return cases


def _levels_sum_to_one(function):
    levels = 9
    x = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None]
    total = function(x, torch.full_like(x, 0.8), torch.full_like(x, -1.0), levels).exp().sum().item()
    return abs(total - 1) < 1e-9, f"{total:.12f}, for a mean near white"


IN_PIECES = "Write log S(b) + log S(−a) + log(1 − e^{a−b}) for the bin from a to b, each with F.logsigmoid or expm1."
INSIDE = "F.logsigmoid(high) + F.logsigmoid(-low) + torch.log(-torch.expm1(low - high))"
DECODER = Exercise(
    equation="Σ_d log [S((x_d + h − m_d)/s_d) − S((x_d − h − m_d)/s_d)], S(y) = 1/(1+e^{−y}), h = 1/(K−1), "
    "edge bins open to ±∞ (VLB-6)",
    reference=logistic_decoder,
    returns=("log_prob",),
    cases=_decoder_cases,
    hidden=_decoder_hidden,
    properties=(Property("the probabilities of all levels sum to 1", _levels_sum_to_one),),
    start="Where does the bin of a pixel begin and end? What changes for black and for white?",
    hint="With a < b: S(b) − S(a) = S(b) S(−a) (1 − e^{a−b}). Take logarithms with F.logsigmoid: nothing "
    "cancels, however far the mean.",
    see="For level 1 of 0..2, mean 0, s = 1: log(S(0.5) − S(−0.5)) = −1.4068. Black at mean 0: log S(−0.5) = −0.9741.",
    mistakes=mistakes(
        logistic_decoder,
        ("edge bins closed",
         "level 0 must collect everything below it and level K − 1 everything above: otherwise the probabilities do "
         "not sum to 1.",
         ("x < -1 + half / 2, x > 1 - half / 2", "x < -2, x > 2")),
        ("black edge closed", "level 0 must collect everything below it.", ("x < -1 + half / 2", "x < -2")),
        ("white edge closed", "level K − 1 must collect everything above it.", ("x > 1 - half / 2", "x > 2")),
        ("K gaps",
         "K levels have K − 1 gaps of 2/(K − 1) between them, so a bin reaches 1/(K − 1) to either side.",
         ("1 / (levels - 1)", "1 / levels")),
        ("bins twice as wide", "levels lie 2/(K−1) apart; a bin reaches half as far to either side, 1/(K−1).",
         ("1 / (levels - 1)", "2 / (levels - 1)")),
        ("a clamp caps the penalty",
         "probabilities below 1e-12 were raised to it, so a mean that is far off costs 40 bits and no more. Stay in "
         "logarithms.",
         ("return log_p", "return log_p.clamp(min=math.log(1e-12))")),
        ("the normal distribution",
         "these are differences of Φ; the decoder is logistic, S(y) = 1/(1 + e^{−y}), with heavier tails.",
         ("    black",  # S at logit Φ(y) is Φ(y)
          "    log_phi = torch.special.log_ndtr\n"
          "    low, high = (log_phi(y) - log_phi(-y) for y in (low, high))\n    black")),
        ("density times width",
         "the density at the pixel times the width of the bin is not the integral over the bin; it can exceed 1.",
         (INSIDE, "F.logsigmoid((x - mean) / scale) + F.logsigmoid((mean - x) / scale) + torch.log(high - low)")),
        ("mean over dimensions", MEAN_NOT_SUM, (".sum(1)", ".mean(1)")),
        ("a difference of sigmoids",
         "far above the mean both sigmoids round to 1 and their difference to 0. " + IN_PIECES,
         (INSIDE, "torch.log(high.sigmoid() - low.sigmoid())")),
        ("a difference of small numbers",
         "further out still, the difference is 0 on either side of the mean, also of log S(b) and log S(a). "
         + IN_PIECES,
         (INSIDE, "(high.sigmoid() - low.sigmoid()).where(x < mean, (-low).sigmoid() - (-high).sigmoid()).log()")),
        ("edges outside logarithms",
         "an edge bin has one sigmoid, and far off that is 0 or 1 in the computer: write F.logsigmoid(b) for black "
         "and F.logsigmoid(−a) for white, which is log(1 − S(a)).",
         ("black, F.logsigmoid(high)", "black, high.sigmoid().log()"),
         ("white, F.logsigmoid(-low)", "white, (1 - low.sigmoid()).log()")),
        ("log S for log (1 − S) at white",
         "white has the probability 1 − S(a), what lies above its lower end a; S(a) is what lies below.",
         ("white, F.logsigmoid(-low)", "white, F.logsigmoid(low)")),
        ("edges exchanged",
         "black collects what lies below its upper end, white what lies above its lower end, not the other way.",
         ("black, F.logsigmoid(high)", "black, F.logsigmoid(-low)"),
         ("white, F.logsigmoid(-low)", "white, F.logsigmoid(high)")),
        ("log_scale taken for a log-variance", "s is exp(log_scale), not exp(log_scale/2).",
         ("log_scale.exp()", "(log_scale / 2).exp()")),
        ("the sign", "this is −log p; a log-probability is at most 0.", ("return log_p", "return -log_p")),
    ),
)  # fmt: skip


# ---- min_snr_loss ---------------------------------------------------------------------------------------------------
def min_snr_loss(eps, eps_hat, alpha_bar, kappa, t, gamma):
    bar = alpha_bar[t]
    snr = bar / (1 - bar)
    capped = snr.clamp(max=gamma)
    error = (eps - eps_hat).square().flatten(1).sum(1)
    return capped / snr * error, capped / kappa**2


def _snr_case(label, generator, table, t, gamma, *shape):
    eps, hat = (normal(len(t), *shape, generator=generator) for _ in range(2))
    return Case(label, (eps, hat, table, _number(0.3, 0.9, generator), torch.as_tensor(t), gamma))


def _snr_cases(generator):
    table, random = alpha_bar_of(T4), _chain(generator, 9)
    first = numbers([1.0]), numbers([0.7]), table, 2.0, torch.tensor([1]), 5.0
    return [
        Case("one number, t = 1 (SNR 9), γ = 5, κ = 2, error 0.3", first),
        _snr_case("4 points of 3 numbers", generator, table, [3, 1, 4, 2], 1.5, 3),
        _snr_case("3 points of 5 numbers, random β", generator, random, [7, 9, 2], 1.0, 5),
        _snr_case("images of shape (3, 4, 6, 5), random β", generator, random, [2, 1, 8], 0.5, 4, 6, 5),
    ]


def _snr_hidden(generator):
    cases = []
    for B, *shape in _shapes(generator):
        table = _chain(generator)
        t = _times(B, 2, len(table) - 2, generator)
        t[1:3] = torch.tensor([1, len(table) - 1])  # the largest SNR and the least
        first, last = ((v / (1 - v)).item() for v in (table[1], table[-1]))
        gamma = round(last + (first - last) * _number(0.1, 0.7, generator), 3)
        label = f"T = {len(table) - 1}, γ = {gamma}, ε of shape {(B, *shape)}"
        cases.append(_snr_case(label, generator, table, t, gamma, *shape))
    return cases


MIN_SNR = Exercise(
    equation="loss = min(SNR_t, γ)/SNR_t ‖ε − ε̂‖², SNR_t = ᾱ_t/(1−ᾱ_t); the same loss is w ‖x_0 − x̂_0‖² with "
    "w = min(SNR_t, γ)/κ² (LOSS-4)",
    reference=min_snr_loss,
    gradients=("eps_hat",),
    returns=("loss", "weight_x0"),
    cases=_snr_cases,
    hidden=_snr_hidden,
    start="Which error does min(SNR, γ) weight in the paper, that of x_0 or that of ε?",
    hint="From x_t = m + √ᾱ (x_0 − m) + κ√(1−ᾱ) ε at fixed x_t: √ᾱ (x_0 − x̂_0) = −κ√(1−ᾱ) (ε − ε̂).",
    see="At SNR 9 with γ = 5, error 0.3 and κ = 2: loss 0.05, weight of x_0 1.25.",
    mistakes=mistakes(
        min_snr_loss,
        ("the weight of x_0 on ε",
         "min(SNR, γ) is the weight of the error in x_0; the error in ε is weighted with min(SNR, γ)/SNR.",
         ("capped / snr * error", "capped * error")),
        ("maximum for minimum", "max(SNR, γ) raises the small weights; min-SNR lowers the large ones.",
         ("max=gamma", "min=gamma")),
        ("no minimum",
         "γ/SNR without the minimum grows without bound as the noise grows; where SNR < γ the weight is 1.",
         ("snr.clamp(max=gamma)", "torch.full_like(snr, gamma)")),
        ("ratio of amplitudes",
         "√SNR stands where SNR belongs: the signal-to-noise ratio is one of powers, ᾱ/(1−ᾱ).",
         ("bar / (1 - bar)", "(bar / (1 - bar)).sqrt()")),
        ("κ forgotten", "the error in ε is √SNR/κ times the error in x_0, so the weight of x_0 has 1/κ².",
         (" / kappa**2", "")),
        ("κ not squared", "a weight of a squared error carries the square: 1/κ², not 1/κ.", ("kappa**2", "kappa")),
        ("the weight of ε for that of x_0",
         "weight_x0 was left at min(SNR, γ)/SNR; at given x_t, ‖ε − ε̂‖² = SNR/κ² ‖x_0 − x̂_0‖².",
         ("/ kappa**2", "/ snr")),
        ("mean over dimensions", "the loss of one example is a sum over its dimensions here.", (".sum(1)", ".mean(1)")),
        ("t off by one", SHIFTED_T, ("[t]", "[t - 1]")),
        ("κ² on the wrong side",
         "‖ε − ε̂‖² = SNR/κ² ‖x_0 − x̂_0‖²: the weight of x_0 is divided by κ², not multiplied.",
         ("/ kappa**2", "* kappa**2")),
        ("κ in the SNR",
         "SNR_t is ᾱ_t/(1−ᾱ_t) here, without κ: what is capped does not depend on κ, only the weight of x_0 does.",
         (" / kappa**2", ""), ("bar / (1 - bar)", "bar / (1 - bar) / kappa**2")),
        ("the graph cut", CUT, ("(eps - eps_hat)", "(eps - eps_hat.detach())")),
    ),
)  # fmt: skip


# ---- logsnr_features ------------------------------------------------------------------------------------------------
def logsnr_features(alpha_bar, t, dim):
    logsnr = torch.logit(alpha_bar[1:])
    u = (logsnr[t - 1] - logsnr[-1]) / (logsnr[0] - logsnr[-1])
    angle = math.pi * u[:, None] * 2.0 ** torch.arange(dim // 2, dtype=torch.float64)
    return torch.cat([angle.sin(), angle.cos()], 1)


def _features_cases(generator):
    table, random = alpha_bar_of(T4), _chain(generator, 9)
    return [
        Case("T = 4, t = 2, dim = 2", (table, torch.tensor([2]), 2)),
        Case("T = 4, t = 4, 1 and 3 (at 1, u = 1; at 4, u = 0), dim = 12", (table, torch.tensor([4, 1, 3]), 12)),
        Case("random β, 4 times, dim = 10", (random, torch.tensor([7, 3, 9, 5]), 10)),
        Case("random β, 5 times, dim = 8", (random, torch.tensor([6, 2, 8, 3, 1]), 8)),
    ]


def _features_hidden(generator):
    cases = []
    for _ in range(5):
        table, (half, B) = _chain(generator), (4 + torch.randperm(4, generator=generator)[:2]).tolist()
        t = _times(B, 1, len(table) - 1, generator)
        cases.append(Case(f"T = {len(table) - 1}, {B} times, dim = {2 * half}", (table, t, 2 * half)))
    return cases


FEATURES = Exercise(
    equation="u = (λ_t − λ_T)/(λ_1 − λ_T), λ = log ᾱ/(1−ᾱ); (sin π2ⁱu, i = 0..d/2−1, then cos π2ⁱu) (ARCH-4)",
    reference=logsnr_features,
    returns=("features",),
    cases=_features_cases,
    hidden=_features_hidden,
    start="A table of λ_1..λ_T from alpha_bar[1:]; entry t stands at index t − 1.",
    hint="torch.logit is log ᾱ/(1−ᾱ). Two columns for each of the dim/2 rates.",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) at t = 2: u = 0.6182, features (0.9318, −0.3629).",
    mistakes=mistakes(
        logsnr_features,
        ("the place of t among the steps",
         "u runs evenly with t; it must run evenly with the log-SNR, so that chains of any length mean the same.",
         ("(logsnr[t - 1] - logsnr[-1]) / (logsnr[0] - logsnr[-1])", "(len(logsnr) - t.double()) / (len(logsnr) - 1)")),
        ("the SNR itself", "λ is the logarithm of the SNR; without it nearly all times crowd near u = 0.",
         ("torch.logit(alpha_bar[1:])", "torch.logit(alpha_bar[1:]).exp()")),
        ("the logarithm of ᾱ", "λ = log ᾱ − log(1 − ᾱ); the second part tells the small noise levels apart.",
         ("torch.logit", "torch.log")),
        ("u turned round", "u is 1 at t = 1, where the log-SNR is highest, and 0 at t = T.",
         ("u[:, None]", "(1 - u[:, None])")),
        ("rates that do not double", "the rates are π, 2π, 3π, ...; they double: π, 2π, 4π, ...",
         ("2.0 ** torch.arange(dim // 2, ", "torch.arange(1, dim // 2 + 1, ")),
        ("the first octave left out",
         "the rates begin with 2π, a full turn: then u = 0 and u = 1 look alike. They begin with π.",
         ("math.pi", "2 * math.pi")),
        ("π left out", "the angle is π 2ⁱ u; here it is 2ⁱ u.", ("math.pi * ", "")),
        ("sines and cosines exchanged", "the cosines come first; the sines do.",
         ("angle.sin(), angle.cos()", "angle.cos(), angle.sin()")),
        ("sines and cosines interleaved",
         "the numbers are right and stand as sin, cos, sin, cos; all sines come first.",
         ("cat([angle.sin(), angle.cos()], 1)", "stack([angle.sin(), angle.cos()], 2).flatten(1)")),
        ("t/T", "u is t/T, and so grows with the noise; u is the place of λ_t between λ_T and λ_1.",
         ("(logsnr[t - 1] - logsnr[-1]) / (logsnr[0] - logsnr[-1])", "t.double() / len(logsnr)")),
        ("λ_0 for λ_1", "λ_0 is infinite, so that every u is 0; the line ends at λ_1.",
         ("alpha_bar[1:]", "alpha_bar"), ("[t - 1]", "[t]")),
    ),
)  # fmt: skip


# ---- shuffle_pixels -------------------------------------------------------------------------------------------------
def shuffle_pixels(x, r, way):
    B, C, H, W = x.shape
    if way == "down":
        return x.reshape(B, C, H // r, r, W // r, r).permute(0, 3, 5, 1, 2, 4).reshape(B, r * r * C, H // r, W // r)
    c = C // (r * r)
    return x.reshape(B, r, r, c, H, W).permute(0, 3, 4, 1, 5, 2).reshape(B, c, H * r, W * r)


def _shuffle_case(r, way, B, C, H, W, generator):
    shape = (B, C, H * r, W * r) if way == "down" else (B, C * r * r, H, W)
    return Case(f"{way}, r = {r}, x of shape {shape}", (normal(*shape, generator=generator), r, way))


def _shuffle_cases(generator):
    count = torch.arange(1, 9, dtype=torch.float64)
    return [
        Case("down, r = 2, two channels of 2×2 pixels", (count.reshape(1, 2, 2, 2), 2, "down")),
        _shuffle_case(2, "up", 3, 5, 4, 6, generator),
        _shuffle_case(3, "down", 5, 4, 6, 7, generator),
        _shuffle_case(3, "up", 4, 5, 7, 6, generator),
        _shuffle_case(2, "down", 3, 4, 6, 5, generator),
    ]


def _shuffle_hidden(generator):
    def case(r, way):
        return _shuffle_case(r, way, *(4 + torch.randperm(4, generator=generator)).tolist(), generator)

    return [case(2, "down"), case(3, "up"), case(2, "down"), case(3, "up"), case(2, "down")]


SHUFFLE = Exercise(
    equation="down: y[b, (i r + j) C + c, p, q] = x[b, c, p r + i, q r + j]; up: the inverse (ARCH-1 without loss)",
    reference=shuffle_pixels,
    returns=("y",),
    cases=_shuffle_cases,
    hidden=_shuffle_hidden,
    start="Split H into (H/r, r) and W into (W/r, r) with reshape. Which axes hold i and j?",
    hint="Down: reshape to (B, C, H/r, r, W/r, r), permute so that i, j, c stand in this order before the two "
    "pixel axes, reshape. Up: the same in reverse.",
    see="Two channels ((1, 2), (3, 4)) and ((5, 6), (7, 8)) become the eight channels 1, 5, 2, 6, 3, 7, 4, 8.",
    mistakes=mistakes(
        shuffle_pixels,
        ("torch's order",
         "this is torch's pixel_unshuffle, channel c r² + i r + j; here the offset comes first: (i r + j) C + c.",
         lambda x, r, way: F.pixel_unshuffle(x, r) if way == "down" else F.pixel_shuffle(x, r)),
        ("torch's order on the way up",
         "the way down is right and the way up is torch's pixel_shuffle, which undoes another order.",
         lambda x, r, way: shuffle_pixels(x, r, way) if way == "down" else F.pixel_shuffle(x, r)),
        ("i and j exchanged", "channel (j r + i) C + c holds what (i r + j) C + c should: i counts rows, j columns.",
         ("(0, 3, 5, 1, 2, 4)", "(0, 5, 3, 1, 2, 4)"), ("(0, 3, 4, 1, 5, 2)", "(0, 3, 4, 2, 5, 1)")),
        ("quarters of the picture",
         "the picture was cut into r × r large pieces; each new channel takes every r-th pixel of the whole.",
         ("H // r, r, W // r, r).permute(0, 3, 5, 1, 2, 4)", "r, H // r, r, W // r).permute(0, 2, 4, 1, 3, 5)"),
         ("(0, 3, 4, 1, 5, 2)", "(0, 3, 1, 4, 2, 5)")),
        ("reshape alone",
         "a reshape keeps the order in memory: pixels of one row become channels. The axes have to be permuted.",
         (".permute(0, 3, 5, 1, 2, 4)", ""), (".permute(0, 3, 4, 1, 5, 2)", "")),
        ("no permutation on the way up",
         "the way down is right; the way up is a reshape alone and does not undo it.",
         (".permute(0, 3, 4, 1, 5, 2)", "")),
    ),
)  # fmt: skip


# ---- gated_block ----------------------------------------------------------------------------------------------------
def gated_block(x, e, w1, b1, w_time, b_time, w2, b2, w_skip, groups):
    scale, shift, gate = F.linear(F.silu(e), w_time, b_time)[:, :, None, None].chunk(3, 1)
    h = F.conv2d(F.silu(F.group_norm(x, groups)), w1, b1, padding=1)
    h = (1 + scale) * F.group_norm(h, groups) + shift
    return F.conv2d(x, w_skip) + gate * F.conv2d(F.silu(h), w2, b2, padding=1)


def _block_case(label, B, c_in, c_out, H, W, E, groups, generator):
    def weights(*shape):
        return normal(*shape, generator=generator, scale=0.5)

    x, e = normal(B, c_in, H, W, generator=generator), normal(B, E, generator=generator)
    layers = weights(c_out, c_in, 3, 3), weights(c_out), weights(3 * c_out, E), weights(3 * c_out)
    return Case(label, (x, e, *layers, weights(c_out, c_out, 3, 3), weights(c_out), weights(c_out, c_in, 1, 1), groups))


def _block_cases(generator):
    copy = numbers([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    told = numbers([0.0], [0.0], [0.0]), numbers(1.0, 0.5, 2.0)
    first = numbers([[[1.0, 2.0], [3.0, 5.0]]]), numbers([1.0]), copy, numbers(0.0), *told, copy, numbers(0.0)
    return [
        Case("2×2 pixels, 1 channel, kernels that copy, s = 1, b = 0.5, g = 2", (*first, numbers([[[3.0]]]), 1)),
        _block_case("4 pictures of 5×7 pixels, 6 channels to 9, 3 groups", 4, 6, 9, 5, 7, 8, 3, generator),
        _block_case("3 pictures of 7×6 pixels, 12 channels to 8, 4 groups", 3, 12, 8, 7, 6, 5, 4, generator),
    ]


def _block_hidden(generator):
    def case(groups, a, b):
        c_in, c_out, free = a * groups, b * groups, torch.tensor({3: [4, 5, 7, 8], 4: [3, 5, 6, 7]}[groups])
        B, H, W, E = free[torch.randperm(4, generator=generator)].tolist()
        label = f"{B} pictures of {H}×{W} pixels, {c_in} channels to {c_out}, {groups} groups"
        return _block_case(label, B, c_in, c_out, H, W, E, groups, generator)

    return [case(3, 2, 3), case(4, 3, 2), case(3, 3, 2), case(4, 2, 3)]


BLOCK = Exercise(
    equation="h = conv₁(SiLU(GN(x))); (s, b, g) = W SiLU(e) + c; out = conv₁ₓ₁(x) + g conv₂(SiLU((1+s) GN(h) + b)) "
    "(ARCH-3, ARCH-6 with a gate)",
    reference=gated_block,
    gradients=("x", "e", "w1", "b1", "w_time", "b_time", "w2", "b2", "w_skip"),
    returns=("out",),
    cases=_block_cases,
    hidden=_block_hidden,
    start="Follow the data: which of F.group_norm, F.silu, F.conv2d, F.linear comes first?",
    hint="F.linear(F.silu(e), w_time, b_time) has 3 c_out columns: chunk(3, 1) after adding two axes for the pixels.",
    see="With w_time and b_time zero, g = 0 and the block is conv₁ₓ₁(x).",
    mistakes=mistakes(
        gated_block,
        ("scale without the 1", "GN(h) is multiplied by s; it is multiplied by 1 + s, so that s = 0 changes nothing.",
         ("(1 + scale)", "scale")),
        ("no gate", "the branch is added whole; it is multiplied by g first.", ("gate * ", "")),
        ("the gate on everything", "g multiplies the sum; the path of x stays open whatever g is.",
         ("return F.conv2d", "return gate * F.conv2d")),
        ("no residual", "this is the branch alone; conv₁ₓ₁(x) is added to it.", ("F.conv2d(x, w_skip) + ", "")),
        ("scale and shift exchanged",
         "the first third of the time layer's output is the scale, the second the shift, the last the gate.",
         ("scale, shift, gate =", "shift, scale, gate =")),
        ("e without SiLU", "the time embedding goes through SiLU before the linear layer.", ("F.silu(e)", "e")),
        ("normalised after the modulation",
         "scale and shift were applied before the normalisation, which takes much of them away again.",
         ("(1 + scale) * F.group_norm(h, groups) + shift", "F.group_norm((1 + scale) * h + shift, groups)")),
        ("SiLU before the first normalisation", "the order is normalise, SiLU, convolve.",
         ("F.silu(F.group_norm(x, groups))", "F.group_norm(F.silu(x), groups)")),
        ("one group", "all channels were normalised together; channels/groups of them are at a time.",
         ("(x, groups)", "(x, 1)"), ("(h, groups)", "(h, 1)")),
        ("no first normalisation", "x went into the first convolution without F.group_norm.",
         ("F.group_norm(x, groups)", "x")),
        ("no first SiLU", "SiLU is missing between the first normalisation and the first convolution.",
         ("F.silu(F.group_norm(x, groups))", "F.group_norm(x, groups)")),
        ("no second normalisation", "scale and shift were applied to h itself; they are applied to GN(h).",
         ("F.group_norm(h, groups)", "h")),
        ("SiLU before the modulation", "SiLU comes after scale and shift: SiLU((1+s) GN(h) + b).",
         ("F.group_norm(h, groups)", "F.silu(F.group_norm(h, groups))"), ("F.silu(h)", "h")),
        ("the gate first",
         "the thirds of the time layer's output are scale, shift, gate, in this order; the first was taken as gate.",
         ("scale, shift, gate =", "gate, scale, shift =")),
        ("(B, C) not lined up",
         "scale, shift and gate have shape (B, C) and torch lines them up with the pixels: [:, :, None, None] gives "
         "them the two missing axes.",
         ("[:, :, None, None]", "")),
        ("the graph cut", CUT, lambda *args: gated_block(*args).detach()),
    ),
)  # fmt: skip


# ---- train_denoiser -------------------------------------------------------------------------------------------------
def train_denoiser(x0, features, alpha_bar, index, t, eps, theta, width, lr, decay):
    theta, average = theta.clone().requires_grad_(), theta.clone()
    optimiser = torch.optim.Adam([theta], lr=lr)
    for i, k, e in zip(index, t, eps, strict=True):
        bar = alpha_bar[k][:, None]
        x_t = bar.sqrt() * x0[i] + (1 - bar).sqrt() * e
        loss = (network(theta, x_t, features[k], width) - e).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average = decay * average + (1 - decay) * theta.detach()
    return average


def _training_case(label, generator, *, N, D, G, width, S, B, lr=0.01, decay=0.9, size=1.0):
    """One call; noise and last layer are multiplied by ``size``: at 1e-6, Adam's 1e-8 shows the scale of the loss."""
    table = _chain(generator)
    T = len(table) - 1
    index = torch.randint(0, N, (S, B), generator=generator)
    t = torch.randint(1, T + 1, (S, B), generator=generator)
    x0, features = normal(N, D, generator=generator), normal(T + 1, G, generator=generator)
    eps, theta = normal(S, B, D, generator=generator, scale=size), parameters(D, G, width, generator)
    theta[-D * (width + 1) :] *= size
    return Case(label, (x0, features, table, index, t, eps, theta, width, lr, decay))


def _training_cases(generator):
    tables = torch.tensor([[1, 0], [0, 1]]), torch.tensor([[1, 3], [4, 2]]), numbers([[1.0], [-2.0]], [[0.5], [1.0]])
    data, features = numbers([1.0], [2.0]), numbers([0.0], [1.0], [-1.0], [2.0], [0.5])
    theta = numbers(1.0, 0.5, 0.0, 1.0, 0.0, 1.0, 0.0)
    return [
        Case("two steps on two numbers, width 1", (data, features, alpha_bar_of(T4), *tables, theta, 1, 0.1, 0.5)),
        _training_case("four steps, batch of 5 points", generator, N=8, D=3, G=6, width=7, S=4, B=5),
        _training_case("six steps, batch of 8 points", generator, N=20, D=3, G=4, width=5, S=6, B=8, decay=0.7),
        _training_case("three steps, noise of size 1e-6", generator, N=9, D=4, G=5, width=6, S=3, B=7, size=1e-6),
    ]


def _training_hidden(generator):
    cases = []
    for size in (1.0, 1.0, 1.0, 1e-6):
        D, G, width, S, B = (3 + torch.randperm(5, generator=generator)).tolist()
        sizes = dict(N=_int(8, 20, generator), D=D, G=G, width=width, S=S, B=B)
        rates = dict(lr=_number(0.003, 0.03, generator), decay=_number(0.5, 0.95, generator))
        label = "{S} steps of {B} points of {D} numbers, width {width}".format(**sizes)
        cases.append(_training_case(label, generator, **sizes, **rates, size=size))
    return cases


def _learns(function):
    generator = torch.Generator().manual_seed(17)
    args = training_run(generator)
    _, features, alpha_bar, *_, width, _, _ = args
    theta = function(*args)
    if not isinstance(theta, torch.Tensor) or theta.shape != args[6].shape:
        return False, "no vector of parameters came back"
    _, floor, excess = held_out(theta.detach().double(), features, alpha_bar, width, generator)
    return excess < 0.04 * floor, f"excess {excess:.4f} over a floor of {floor:.4f}"


SCALED = "the loss is the mean over all B·D entries; Adam hides a constant factor, but for its 1e-8 not all of it."
TRAIN = Exercise(
    equation="for each row of (index, t, ε): x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε, one Adam step on mean (ε̂(x_t, φ_t) − ε)², "
    "then θ̄ ← decay θ̄ + (1−decay) θ (ALG-1)",
    reference=train_denoiser,
    returns=("average",),
    cases=_training_cases,
    hidden=_training_hidden,
    properties=(Property("trained on a mixture, its excess over the exact floor is below 4 %", _learns),),
    rtol=1e-6,
    seconds=60.0,
    start="Write one step: four lines from the kernel to the loss, three for the optimiser, one for the average.",
    hint="theta = theta.clone().requires_grad_() is what Adam trains; average starts as a copy, takes theta.detach().",
    see="Steps of about lr in each parameter at first. On the mixture the loss ends about 2 % above its floor.",
    mistakes=mistakes(
        train_denoiser,
        ("gradients not set to zero", "backward adds to the gradient of the steps before; call zero_grad in each step.",
         ("        optimiser.zero_grad()\n", "")),
        ("average taken before the step",
         "θ̄ is one step behind: it took the parameters from before the optimiser's step, or the tables' last row "
         "was left out.",
         ("        optimiser.step()\n", ""), ("theta.detach()\n", "theta.detach()\n        optimiser.step()\n")),
        ("parameters instead of their average",
         "this is the last θ: it was returned itself, or θ̄ shares its memory (.detach() makes no copy, .clone() "
         "does).",
         ("return average", "return theta.detach()")),
        ("average started at zero",
         "θ̄ starts at the first parameters; from 0 it is too small for about 1/(1 − decay) steps.",
         ("theta.clone()\n", "torch.zeros_like(theta)\n")),
        ("decay and 1 − decay exchanged", "θ̄ keeps the share decay of itself; here it keeps 1 − decay.",
         ("decay * average + (1 - decay) *", "(1 - decay) * average + decay *")),
        ("one t for the whole batch",
         "the first t of the row was used for the whole batch; each example has its own.",
         ("        bar =", "        k = k[:1].expand_as(k)\n        bar =")),
        ("one noise for all steps", "eps[0] was used in every step; each step has noise of its own.",
         ("t, eps, strict", "t, eps[:1].expand_as(eps), strict")),
        ("x_0 for the target", "the network was trained towards x_0; its answer is compared with ε.",
         ("width) - e)", "width) - x0[i])")),
        ("features of another time", "features[t - 1] was given; the table has T + 1 rows and row t belongs to t.",
         ("features[k]", "features[k - 1]")),
        ("plain gradient descent", "these are SGD steps; torch.optim.Adam with its default betas is asked for.",
         ("optim.Adam", "optim.SGD")),
        ("the average begun in θ's memory",
         "θ̄ began with the θ after the first step: .detach() makes no copy, so the optimiser changed both; .clone() "
         "makes one.",
         ("    optimiser = ", "    average = theta.detach()\n    optimiser = ")),
        ("sum for mean", SCALED, (".mean()", ".sum()")),
        ("sum over dimensions", SCALED, (".mean()", ".sum(1).mean()")),
        ("no roots", "x_t was formed with ᾱ_t and 1 − ᾱ_t; their roots belong there.",
         ("bar.sqrt() * x0[i] + (1 - bar).sqrt()", "bar * x0[i] + (1 - bar)")),
        ("signal and noise exchanged",
         "√ᾱ_t stands at the noise and √(1−ᾱ_t) at the data; it is the other way round.",
         ("bar.sqrt() * x0[i] + (1 - bar).sqrt()", "(1 - bar).sqrt() * x0[i] + bar.sqrt()")),
        ("the first points in every step",
         "x0[:B] was used in every step; row n of index says which points step n takes.",
         ("x0[i]", "x0[: len(i)]")),
        ("a new optimiser in each step",
         "Adam was made anew inside the loop and forgot its averages; make it once, before the loop.",
         ("        bar =", "        optimiser = torch.optim.Adam([theta], lr=lr)\n        bar =")),
    ),
)  # fmt: skip


# ---- drifting_step --------------------------------------------------------------------------------------------------
def drifting_step(alpha_bar, m, kappa, x_t, eps_hat, v, s, t, z):
    bar_s, bar_t = alpha_bar[s], alpha_bar[t]
    beta = 1 - bar_t / bar_s
    posterior = beta * (1 - bar_s) / (1 - bar_t)
    share = kappa * expand(beta / (1 - bar_t).sqrt(), x_t)
    mean = m + (x_t - m - share * eps_hat) / expand((1 - beta).sqrt(), x_t)
    beta, posterior = expand(beta, v), expand(posterior, v)
    std = kappa * (posterior ** (1 - v) * beta**v).sqrt()
    return mean + expand(s > 0, z) * std * z


def _step_case(label, generator, table, s, t, *shape):
    B = len(t)
    m, kappa = normal(*shape, generator=generator), _number(0.3, 2.5, generator)
    x_t, eps, z = (normal(B, *shape, generator=generator) for _ in range(3))
    v = uniform(B, *shape, generator=generator)
    v.view(B, -1)[:, 0] = 1  # where s = 0, only v = 1 tells whether noise was added
    return Case(label, (table, m, kappa, m + x_t, eps, v, torch.as_tensor(s), torch.as_tensor(t), z))


def _step_cases(generator):
    def case(label, *args):
        return _step_case(label, generator, *args)

    table, random, one = alpha_bar_of(T4), _chain(generator, 9), torch.tensor([1])
    first = table, numbers(1.0), 2.0, numbers([0.0]), numbers([0.5]), numbers([0.0]), one, one + 1, numbers([1.0])
    return [
        Case("one number, s = 1, t = 2, m = 1, κ = 2, x_t = 0, ε̂ = 0.5, v = 0, z = 1", first),
        case("shape (3, 3), one example to s = 0: no noise for it", table, [2, 0, 1], [4, 1, 3], 3),
        case("shape (5, 4), one step to five at once", random, [5, 2, 7, 1, 3], [9, 4, 8, 6, 5], 4),
        case("images of shape (4, 3, 6, 5)", random, [4, 1, 6, 2], [7, 5, 8, 3], 3, 6, 5),
    ]


def _step_hidden(generator):
    cases = []
    for B, *shape in _shapes(generator):
        table = _chain(generator)
        label = f"T = {len(table) - 1}, x_t of shape {(B, *shape)}"
        cases.append(_step_case(label, generator, table, *_pair(B, len(table) - 1, generator), *shape))
    cases[-1].args[-1].view(B, -1)[:, -1] = 4.5  # noise that is usually clamped
    return cases


def _walk_keeps_the_law(function):
    """Normal data of variance κ² around m: with the exact ε̂ and v = 1, each step keeps that variance."""
    table, m, kappa, signs = alpha_bar_of(T4), numbers(0.7), 1.5, numbers(-1.0, 1.0)
    spread = kappa * torch.ones(2, dtype=torch.float64)  # of ± one standard deviation
    for t in (4, 3, 2):
        x_t = m + (signs * spread)[:, None]
        eps = (1 - table[t]).sqrt() * (x_t - m) / kappa
        times = torch.tensor([t - 1] * 2), torch.tensor([t] * 2)
        still = function(table, m, kappa, x_t, eps, torch.ones_like(x_t), *times, torch.zeros_like(x_t))
        moved = function(table, m, kappa, x_t, eps, torch.ones_like(x_t), *times, torch.ones_like(x_t))
        spread = ((still - m).square() + (moved - still).square())[:, 0].sqrt()
    gap = (spread / kappa - 1).abs().max().item()
    return gap < 1e-9, f"largest relative gap {gap:.0e}"


STEP = Exercise(
    equation="x_s = m + (x_t − m − κ β/√(1−ᾱ_t) ε̂)/√(1−β) + κ √(β̃^(1−v) β^v) z, β = 1−ᾱ_t/ᾱ_s, β̃ = β(1−ᾱ_s)/(1−ᾱ_t); "
    "no noise at s = 0 (ALG-2, POST-5, VAR-1)",
    reference=drifting_step,
    returns=("x_s",),
    cases=_step_cases,
    hidden=_step_hidden,
    properties=(Property("normal data of variance κ² keep it, with the exact ε̂ and v = 1", _walk_keeps_the_law),),
    start="x̂_0 − m = (x_t − m − κ√(1−ᾱ_t) ε̂)/√ᾱ_t in the mean of part 3. Collect x_t − m and ε̂; ᾱ_t/ᾱ_s is 1 − β.",
    hint="c = β/√(1−ᾱ_t), as in lesson 09 with ᾱ_t/ᾱ_s in the place of α_t. At s = 0 and v = 1 the variance formula "
    "gives β, not 0: multiply the noise by (s > 0).",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6), s = 1, t = 2, m = 1, κ = 2, x_t = 0, ε̂ = 0.5, z = 1: mean −0.6611; "
    "with v = 0, −0.1064; with v = 1, 0.3389.",
    mistakes=mistakes(
        drifting_step,
        ("variance for standard deviation", "z is multiplied by the variance; it takes its root.", broken_walk("B")),
        ("noise at the last step (E-24)",
         "noise was added where s = 0; the clean state is the end of the walk and gets none.",
         ("expand(s > 0, z) * ", "")),
        ("β for β/√(1−ᾱ_t)",
         "the noise estimate is multiplied by κβ; ε̂ is the noise of all steps, and the share is β/√(1−ᾱ_t).",
         broken_walk("A")),
        ("the estimate subtracted whole (E-46)",
         "κ√(1−ᾱ_t) ε̂ is all the noise in x_t; one step takes off the share β/√(1−ᾱ_t).", broken_walk("C")),
        ("√ᾱ_t in the prefactor",
         "the difference is divided by √ᾱ_t; it is divided by √(ᾱ_t/ᾱ_s), the share this step keeps.",
         ("(1 - beta).sqrt()", "bar_t.sqrt()")),
        ("v and 1 − v exchanged", "v = 1 gave β̃ and v = 0 gave β; it is the other way round.",
         ("posterior ** (1 - v) * beta**v", "posterior**v * beta ** (1 - v)")),
        ("the variances averaged", "the variances were interpolated; their logarithms are: β̃^(1−v) β^v.",
         ("posterior ** (1 - v) * beta**v", "(1 - v) * posterior + v * beta")),
        ("drift to zero",
         "x_t shrinks from 0; the process drifts to m, so x_t − m is what is rescaled, and m is added.",
         ("m + (x_t - m - share", "(x_t - share")),
        ("κ forgotten at ε̂", "ε̂ estimates standard normal noise; in x_t it has the size κ√(1−ᾱ_t).",
         ("share = kappa * ", "share = ")),
        ("sign of ε̂", "the noise estimate was added; it is taken off.", ("- share", "+ share")),
        ("no root below β", "the estimate is multiplied by κβ/(1−ᾱ_t); below β stands the root of 1 − ᾱ_t.",
         ("(1 - bar_t).sqrt()", "(1 - bar_t)")),
        ("ε̂ outside the division",
         "only x_t − m was divided by √(1−β); the estimate is taken off first, and the difference divided.",
         (" - share * eps_hat)", ")"), (".sqrt(), x_t)\n    beta", ".sqrt(), x_t) - share * eps_hat\n    beta")),
        ("x_t not centred", "x_t itself was rescaled and m added; what is rescaled is x_t − m.",
         ("(x_t - m - share", "(x_t - share")),
        ("m not put back", "this is x_s − m.", ("m + (", "(")),
        ("κ forgotten at z", "the fresh noise lacks κ: its standard deviation is κ√(β̃^(1−v) β^v).",
         ("std = kappa * ", "std = ")),
        ("no root at z", "z is multiplied by κ β̃^(1−v) β^v; that is κ times a variance, and the root of it is missing.",
         ("beta**v).sqrt()", "beta**v)")),
        ("no fresh noise", "z was left out: this is the mean of the step.", (" + expand(s > 0, z) * std * z", "")),
        ("the step from t − 1", "s was taken for t − 1, whatever it is; the way down may skip times.",
         ("[s]", "[t - 1]")),
        ("one s for the whole batch",
         "as soon as one s of the batch is 0, no example gets noise; each has an s of its own.",
         ("expand(s > 0, z)", "bool((s > 0).all())")),
        ("the logarithm of 0",
         "β̃ is 0 at s = 0: its logarithm is −∞, and 0 · ∞ is nan. A power, β̃^(1−v), is 1 or 0 there.",
         ("(posterior ** (1 - v) * beta**v).sqrt()",
          "torch.exp(((1 - v) * posterior.log() + v * beta.log()) / 2)")),
    ),
)  # fmt: skip


EXERCISES = (
    CHAIN, KERNEL, POSTERIOR, PRIOR, LEARNED, DECODER, MIN_SNR, FEATURES, SHUFFLE, BLOCK, TRAIN, STEP
)  # fmt: skip
