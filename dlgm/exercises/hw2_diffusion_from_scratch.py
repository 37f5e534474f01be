"""Homework 2: a diffusion model from scratch, for a process that drifts to a known mean with noise of a known size.

    x_t = m + √ᾱ_t (x_0 − m) + κ √(1 − ᾱ_t) ε

Ledger FWD-4, POST-1, POST-2, VLB-5..VLB-7, VAR-1, LOSS-4, ARCH-3, ARCH-4, ARCH-6, ALG-1, ALG-2. Every part is a variant
that the package does not hold, and stands alone.
"""

import math

import torch
import torch.nn.functional as F

from ..tensors import expand
from .engine import Case, Exercise, Mistake, Property
from .inputs import ONE_T, T4, alpha_bar_of, normal, numbers, random_betas

MEAN_NOT_SUM = "the dimensions are averaged; a KL or a log-probability of one example is a sum over its dimensions."
IN_BITS = "divided by log 2: this is in bits; the function returns nats."
SHIFTED_T = "alpha_bar[t - 1] stands where alpha_bar[t] belongs; the table has the clean state at index 0."


def _uniform(*shape, generator, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def _int(low, high, generator):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _number(low, high, generator):
    """A number with three digits after the point."""
    return round(_uniform((), generator=generator, low=low, high=high).item(), 3)


def _times(B, low, T, generator):
    return torch.randint(low, T + 1, (B,), generator=generator)


def _chain(generator):
    """ᾱ_0..ᾱ_T of a random chain of 5 to 12 steps."""
    return alpha_bar_of(random_betas(_int(5, 12, generator), generator))


def _shapes(generator):
    """Five data shapes of other sizes: points, rows of points, images of one and of three channels, and a long row."""
    a, b = _int(2, 5, generator), _int(2, 4, generator)
    return [(a,), (b, a), (1, a, b), (3, b, a), (_int(9, 15, generator),)]


def _coefficient(c, x):
    """c (B,) lined up with x (B, ...)."""
    return c.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


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
        Case("T = 2, log-SNR 2 and −2", (2, 2.0, -2.0)),
        Case("T = 5, log-SNR from 3 to −5", (5, 3.0, -5.0)),
        Case("T = 100, log-SNR from 6 to −6", (100, 6.0, -6.0)),
    ]


def _chain_hidden(generator):
    def case(low, high):
        T = _int(low, high, generator)
        args = T, _number(2.5, 7.0, generator), -_number(2.5, 8.0, generator)
        return Case(f"T = {T}, log-SNR from {args[1]} to {args[2]}", args)

    return [case(4, 6), case(7, 15), case(16, 40), case(41, 90), case(91, 200)]


def _chain_with(alpha_bar=None, beta=None):
    """logsnr_chain with another map from the line λ_1..λ_T to ᾱ_1..ᾱ_T, or from (ᾱ_{t−1}, ᾱ_t) to β_t."""

    def function(T, first, last):
        line = torch.linspace(first, last, T, dtype=torch.float64)
        bar = torch.cat([numbers(1.0), (alpha_bar or (lambda v, T: v.sigmoid()))(line, T)])
        return bar, torch.cat([numbers(0.0), (beta or (lambda s, t: 1 - t / s))(bar[:-1], bar[1:])])

    return function


def _chain_from_zero(T, first, last):
    bar = torch.linspace(first, last, T + 1, dtype=torch.float64).sigmoid()
    return bar, torch.cat([numbers(0.0), 1 - bar[1:] / bar[:-1]])


def _chain_from_zero_cleaned(T, first, last):
    bar = torch.linspace(first, last, T + 1, dtype=torch.float64).sigmoid()
    bar[0] = 1
    return bar, torch.cat([numbers(0.0), 1 - bar[1:] / bar[:-1]])


CHAIN = Exercise(
    equation="λ_t on a line from λ_1 to λ_T, ᾱ_t = 1/(1 + e^{−λ_t}), β_t = 1 − ᾱ_t/ᾱ_{t−1}, ᾱ_0 = 1, β_0 = 0 (SCHED-1)",
    reference=logsnr_chain,
    returns=("alpha_bar", "beta"),
    cases=_chain_cases,
    hidden=_chain_hidden,
    mistakes=(
        Mistake(
            "no clean state at index 0",
            "the line of log-SNRs was laid over the indices 0..T; it runs over 1..T, and index 0 is the clean state "
            "with ᾱ_0 = 1.",
            _chain_from_zero,
        ),
        Mistake(
            "the line begins at index 0",
            "ᾱ_0 is 1, but the line of log-SNRs has T + 1 points and its first was thrown away: λ_1 must be first.",
            _chain_from_zero_cleaned,
        ),
        Mistake(
            "signal for its square",
            "this is √ᾱ_t, the factor of the data; ᾱ_t is its square.",
            _chain_with(lambda v, T: v.sigmoid().sqrt()),
        ),
        Mistake(
            "ratio of amplitudes",
            "λ/2 went into the sigmoid: λ is the logarithm of ᾱ/(1 − ᾱ), of signal to noise power, not of amplitudes.",
            _chain_with(lambda v, T: (v / 2).sigmoid()),
        ),
        Mistake(
            "sign of the log-SNR",
            "this table is 1 − ᾱ_t: the sigmoid of −λ. A large λ means a clean state.",
            _chain_with(lambda v, T: (-v).sigmoid()),
        ),
        Mistake(
            "a line in ᾱ",
            "ᾱ_t was laid on a line between its two ends; λ_t lies on a line, and ᾱ_t follows from it.",
            _chain_with(lambda v, T: torch.linspace(v[0].sigmoid().item(), v[-1].sigmoid().item(), T, dtype=v.dtype)),
        ),
        Mistake(
            "the total noise for β_t",
            "1 − ᾱ_t is the noise of all steps up to t; β_t = 1 − ᾱ_t/ᾱ_{t−1} is that of step t alone.",
            _chain_with(beta=lambda s, t: 1 - t),
        ),
        Mistake(
            "root in β",
            "1 − √(ᾱ_t/ᾱ_{t−1}) uses the factor of the signal; β_t = 1 − α_t with α_t = ᾱ_t/ᾱ_{t−1}.",
            _chain_with(beta=lambda s, t: 1 - (t / s).sqrt()),
        ),
        Mistake(
            "a difference for a ratio",
            "ᾱ_{t−1} − ᾱ_t is the signal power that is lost; divided by ᾱ_{t−1} it is β_t.",
            _chain_with(beta=lambda s, t: s - t),
        ),
        Mistake(
            "no first step",
            "β_1 is 0: the first step leads from ᾱ_0 = 1 to ᾱ_1, so β_1 = 1 − ᾱ_1.",
            _chain_with(beta=lambda s, t: torch.where(s == 1, 0.0, 1 - t / s)),
        ),
        Mistake(
            "α for β",
            "ᾱ_t/ᾱ_{t−1} is α_t, the share of the signal power that step t keeps; β_t is what is left of 1.",
            _chain_with(beta=lambda s, t: t / s),
        ),
        Mistake(
            "returned in the other order",
            "ᾱ comes first and β second.",
            lambda T, first, last: logsnr_chain(T, first, last)[::-1],
        ),
        Mistake(
            "no index 0",
            "these tables have T entries; they have T + 1, with the clean state ᾱ_0 = 1, β_0 = 0 in front.",
            lambda T, first, last: tuple(v[1:] for v in logsnr_chain(T, first, last)),
        ),
    ),
    start="SNR = ᾱ/(1 − ᾱ) = e^λ. Solve for ᾱ.",
    hint="T numbers with torch.linspace, torch.sigmoid, and a 1 in front. Then one ratio of neighbours. linspace and "
    "ones work in float32 unless given dtype=torch.float64; .double() afterwards comes too late.",
    see="For T = 3 from 3 to −1: ᾱ = (1, 0.9526, 0.7311, 0.2689), β = (0, 0.0474, 0.2325, 0.6321).",
)


# ---- drifting_kernel ------------------------------------------------------------------------------------------------
def drifting_kernel(alpha_bar, m, kappa, x0, t, eps):
    signal, noise = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
    return m + expand(signal, x0) * (x0 - m) + kappa * expand(noise, x0) * eps


def _world(generator, B, *shape, table=None, dtype=torch.float64, kappa=None):
    """(alpha_bar, m, kappa, x0): a chain, a mean (...), the size of the noise, and data (B, ...)."""
    table = alpha_bar_of(T4) if table is None else table
    m = normal(*shape, generator=generator, dtype=dtype)
    kappa = _number(0.3, 2.5, generator) if kappa is None else kappa
    return table, m, kappa, m + normal(B, *shape, generator=generator, dtype=dtype)


def _kernel_cases(generator):
    def case(label, t, *shape, table=None, dtype=torch.float64):
        world = _world(generator, len(t), *shape, table=table, dtype=dtype)
        return Case(label, (*world, torch.tensor(t), normal(len(t), *shape, generator=generator, dtype=dtype)))

    first = alpha_bar_of(T4), numbers(1.0), 2.0, numbers([3.0]), torch.tensor([2]), numbers([0.5])
    return [
        Case("one number, T = 4, t = 2, m = 1, κ = 2, x_0 = 3, ε = 0.5", first),
        case("one point, t = 4 (the last)", [4], 2),
        case("shape (4, 4), a different t for each example", [3, 1, 4, 2], 4),
        case("images of shape (3, 1, 2, 2), random β", [5, 2, 9], 1, 2, 2,
             table=alpha_bar_of(random_betas(9, generator))),
        case("shape (2, 3) in float32", [2, 3], 3, dtype=torch.float32),
    ]  # fmt: skip


def _kernel_hidden(generator):
    cases = []
    for shape in _shapes(generator):
        table, B = _chain(generator), _int(2, 6, generator)
        world = _world(generator, B, *shape, table=table)
        t = _times(B, 1, len(table) - 1, generator)
        label = f"T = {len(table) - 1}, x0 of shape {(B, *shape)}"
        cases.append(Case(label, (*world, t, normal(B, *shape, generator=generator))))
    return cases


def _kernel_with(f):
    """x_t = f(m, κ, x_0, ε, ᾱ_t), ᾱ_t lined up with the batch."""
    return lambda a, m, k, x0, t, e: f(m, k, x0, e, _coefficient(a[t], x0))


KERNEL = Exercise(
    equation="x_t = m + √ᾱ_t (x_0 − m) + κ √(1−ᾱ_t) ε (FWD-4 in other coordinates)",
    reference=drifting_kernel,
    returns=("x_t",),
    cases=_kernel_cases,
    hidden=_kernel_hidden,
    mistakes=(
        Mistake(
            "drift to zero",
            "the data shrink to 0 and not to m: the mean of this x_t is √ᾱ_t x_0.",
            _kernel_with(lambda m, k, x, e, a: a.sqrt() * x + k * (1 - a).sqrt() * e),
        ),
        Mistake(
            "m added to the data that was not taken off",
            "x_0 shrinks to 0 and m is added whole; what shrinks is x_0 − m. At t = 0 this gives x_0 + m.",
            _kernel_with(lambda m, k, x, e, a: m + a.sqrt() * x + k * (1 - a).sqrt() * e),
        ),
        Mistake(
            "m not put back",
            "x_0 − m is noised well, but this is x_t − m.",
            _kernel_with(lambda m, k, x, e, a: a.sqrt() * (x - m) + k * (1 - a).sqrt() * e),
        ),
        Mistake(
            "κ forgotten",
            "the noise has standard deviation √(1−ᾱ_t); it is κ times that.",
            _kernel_with(lambda m, k, x, e, a: m + a.sqrt() * (x - m) + (1 - a).sqrt() * e),
        ),
        Mistake(
            "κ under the root",
            "√(κ(1−ᾱ_t)) takes κ for a variance; it is the standard deviation of the noise.",
            _kernel_with(lambda m, k, x, e, a: m + a.sqrt() * (x - m) + (k * (1 - a)).sqrt() * e),
        ),
        Mistake(
            "variance for standard deviation",
            "ε is multiplied by κ(1−ᾱ_t); the variance is κ²(1−ᾱ_t), and ε takes its root.",
            _kernel_with(lambda m, k, x, e, a: m + a.sqrt() * (x - m) + k * (1 - a) * e),
        ),
        Mistake(
            "no root on the signal",
            "x_0 − m is multiplied by ᾱ_t; its factor is √ᾱ_t.",
            _kernel_with(lambda m, k, x, e, a: m + a * (x - m) + k * (1 - a).sqrt() * e),
        ),
        Mistake("one t for the whole batch", ONE_T, lambda a, m, k, x, t, e: drifting_kernel(a, m, k, x, t[0], e)),
        Mistake("t off by one", SHIFTED_T, lambda a, m, k, x, t, e: drifting_kernel(a, m, k, x, t - 1, e)),
        Mistake(
            "1 − √ᾱ_t for √(1−ᾱ_t)",
            "ε is multiplied by κ(1 − √ᾱ_t); the root is of 1 − ᾱ_t as a whole.",
            _kernel_with(lambda m, k, x, e, a: m + a.sqrt() * (x - m) + k * (1 - a.sqrt()) * e),
        ),
        Mistake(
            "signal and noise exchanged",
            "√ᾱ_t stands at the noise and √(1−ᾱ_t) at the data; it is the other way round.",
            _kernel_with(lambda m, k, x, e, a: m + (1 - a).sqrt() * (x - m) + k * a.sqrt() * e),
        ),
        Mistake(
            "coefficient not lined up",
            "alpha_bar[t] is (B,), and torch lines it up with the last axis of x0: write expand(alpha_bar[t], x0).",
            lambda a, m, k, x, t, e: m + a[t].sqrt() * (x - m) + k * (1 - a[t]).sqrt() * e,
        ),
    ),
    start="Write the usual kernel for y = (x − m)/κ and solve for x.",
    hint="m has the shape of one example and broadcasts by itself; coefficients of shape (B,) need expand(c, x0).",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) with m = 1, κ = 2, x_0 = 3, ε = 0.5, t = 2: 3.2133.",
)


# ---- drifting_posterior ---------------------------------------------------------------------------------------------
def drifting_posterior(alpha_bar, m, kappa, x0, x_t, s, t):
    bar_s, bar_t = alpha_bar[s], alpha_bar[t]
    keep = bar_t / bar_s
    c_0 = bar_s.sqrt() * (1 - keep) / (1 - bar_t)
    c_t = keep.sqrt() * (1 - bar_s) / (1 - bar_t)
    mean = m + expand(c_0, x0) * (x0 - m) + expand(c_t, x_t) * (x_t - m)
    return mean, kappa**2 * (1 - bar_s) * (1 - keep) / (1 - bar_t)


def _pair(B, T, generator):
    """Times s < t in 0..T for each example."""
    s = _times(B, 0, T - 1, generator)
    return s, s + 1 + (_uniform(B, generator=generator) * (T - s)).long()


def _posterior_cases(generator):
    def case(label, s, t, *shape, table=None):
        world = _world(generator, len(t), *shape, table=table)
        x_t = world[1] + normal(len(t), *shape, generator=generator)
        return Case(label, (*world, x_t, torch.tensor(s), torch.tensor(t)))

    one = torch.tensor([1])
    first = alpha_bar_of(T4), numbers(1.0), 2.0, numbers([3.0]), numbers([0.0]), one, one + 1
    return [
        Case("one number, s = 1, t = 2, m = 1, κ = 2, x_0 = 3, x_t = 0", first),
        case("one number, s = 1, t = 4 (three steps at once)", [1], [4]),
        case("one number, s = 0 (the clean state)", [0], [3]),
        case("shape (4, 4), other times for each example", [2, 1, 0, 3], [3, 4, 1, 4], 4),
        case("images of shape (3, 1, 2, 2), random β", [5, 0, 2], [9, 2, 6], 1, 2, 2,
             table=alpha_bar_of(random_betas(9, generator))),
    ]  # fmt: skip


def _posterior_hidden(generator):
    cases = []
    for shape in _shapes(generator):
        table, B = _chain(generator), _int(3, 6, generator)
        world = _world(generator, B, *shape, table=table)
        x_t = world[1] + normal(B, *shape, generator=generator)
        label = f"T = {len(table) - 1}, x_t of shape {(B, *shape)}"
        cases.append(Case(label, (*world, x_t, *_pair(B, len(table) - 1, generator))))
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


def _posterior_with(c_0=None, c_t=None, variance=None):
    """drifting_posterior with a coefficient, or the variance over κ², as another function of (ᾱ_s, ᾱ_t)."""
    c_0 = c_0 or (lambda s, t: s.sqrt() * (1 - t / s) / (1 - t))
    c_t = c_t or (lambda s, t: (t / s).sqrt() * (1 - s) / (1 - t))
    variance = variance or (lambda s, t, k: k**2 * (1 - s) * (1 - t / s) / (1 - t))

    def function(a, m, k, x0, x_t, s, t):
        mean = m + _coefficient(c_0(a[s], a[t]), x0) * (x0 - m) + _coefficient(c_t(a[s], a[t]), x_t) * (x_t - m)
        return mean, variance(a[s], a[t], k)

    return function


def _posterior_around_zero(a, m, k, x0, x_t, s, t):
    return drifting_posterior(a, 0 * m, k, x0, x_t, s, t)


POSTERIOR = Exercise(
    equation="q(x_s | x_t, x_0), s < t: mean m + √ᾱ_s (1−ᾱ_t/ᾱ_s)/(1−ᾱ_t) (x_0−m) "
    "+ √(ᾱ_t/ᾱ_s) (1−ᾱ_s)/(1−ᾱ_t) (x_t−m), variance κ² (1−ᾱ_s)(1−ᾱ_t/ᾱ_s)/(1−ᾱ_t) (POST-1, POST-2)",
    reference=drifting_posterior,
    returns=("mean", "variance"),
    cases=_posterior_cases,
    hidden=_posterior_hidden,
    properties=(Property("it is q(x_s | x_0) q(x_t | x_s) / q(x_t | x_0)", _bayes_holds),),
    mistakes=(
        Mistake(
            "ᾱ_t for ᾱ_s at x_0 (E-01)",
            "the coefficient of x_0 − m has √ᾱ_t where √ᾱ_s belongs.",
            _posterior_with(c_0=lambda s, t: t.sqrt() * (1 - t / s) / (1 - t)),
        ),
        Mistake(
            "ᾱ_t for ᾱ_s at x_t (E-02)",
            "the coefficient of x_t − m has 1 − ᾱ_t where 1 − ᾱ_s belongs: the fraction cancels, √(ᾱ_t/ᾱ_s) is left.",
            _posterior_with(c_t=lambda s, t: (t / s).sqrt()),
        ),
        Mistake(
            "√ᾱ_t for √(ᾱ_t/ᾱ_s) at x_t",
            "the root at x_t is of ᾱ_t/ᾱ_s, the share that the way from s to t keeps, not of ᾱ_t.",
            _posterior_with(c_t=lambda s, t: t.sqrt() * (1 - s) / (1 - t)),
        ),
        Mistake(
            "the noise share under the root (E-16)",
            "the coefficient of x_0 − m has √(ᾱ_s (1−ᾱ_t/ᾱ_s)); only ᾱ_s stands under the root.",
            _posterior_with(c_0=lambda s, t: (s * (1 - t / s)).sqrt() / (1 - t)),
        ),
        Mistake(
            "the step from t − 1",
            "s was taken for t − 1, whatever it is; the way down may skip times.",
            lambda a, m, k, x0, x_t, s, t: drifting_posterior(a, m, k, x0, x_t, t - 1, t),
        ),
        Mistake(
            "drift to zero",
            "these are the right coefficients for a process that drifts to 0; here they multiply x_0 − m and x_t − m, "
            "and m is added.",
            _posterior_around_zero,
        ),
        Mistake(
            "κ forgotten in the variance",
            "noise of standard deviation κ gives a variance with κ²; in the mean it cancels.",
            _posterior_with(variance=lambda s, t, k: (1 - s) * (1 - t / s) / (1 - t)),
        ),
        Mistake(
            "the forward variance",
            "κ²(1−ᾱ_t/ᾱ_s) is the variance of q(x_t | x_s); knowing x_0 makes it smaller, by (1−ᾱ_s)/(1−ᾱ_t).",
            _posterior_with(variance=lambda s, t, k: k**2 * (1 - t / s)),
        ),
        Mistake(
            "standard deviation for variance",
            "this is the standard deviation; the variance is its square.",
            _posterior_with(variance=lambda s, t, k: k * ((1 - s) * (1 - t / s) / (1 - t)).sqrt()),
        ),
        Mistake(
            "not centred",
            "the coefficients multiply x_0 and x_t; they multiply x_0 − m and x_t − m.",
            lambda a, m, k, x0, x_t, s, t: drifting_posterior(a, m, k, x0 + m, x_t + m, s, t),
        ),
        Mistake(
            "m not put back",
            "this is the mean of x_s − m; m is added at the end.",
            lambda a, m, k, x0, x_t, s, t: drifting_posterior(a, 0 * m, k, x0 - m, x_t - m, s, t),
        ),
        Mistake(
            "coefficients exchanged",
            "the coefficient of x_0 − m stands at x_t − m and the other way round.",
            _posterior_with(
                lambda s, t: (t / s).sqrt() * (1 - s) / (1 - t), lambda s, t: s.sqrt() * (1 - t / s) / (1 - t)
            ),
        ),
        Mistake(
            "no root at x_0",
            "the coefficient of x_0 − m has ᾱ_s; it has √ᾱ_s.",
            _posterior_with(c_0=lambda s, t: s * (1 - t / s) / (1 - t)),
        ),
        Mistake(
            "no root at x_t",
            "the coefficient of x_t − m has ᾱ_t/ᾱ_s; it has the root of that.",
            _posterior_with(c_t=lambda s, t: t / s * (1 - s) / (1 - t)),
        ),
        Mistake(
            "κ not squared",
            "κ is a standard deviation: the variance has κ² in front, not κ.",
            _posterior_with(variance=lambda s, t, k: k * (1 - s) * (1 - t / s) / (1 - t)),
        ),
    ),
    start="x_s given x_0 and x_t given x_s are both Gaussian; their precisions add. What is one step called here?",
    hint="With keep = ᾱ_t/ᾱ_s in the place of α_t and ᾱ_s in that of ᾱ_{t−1}, it is the posterior of lesson 06 for "
    "x − m. The variance has κ² in front.",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) with s = 1, t = 2, m = 1, κ = 2, x_0 = 3, x_t = 0: mean 2.1930, "
    "variance 0.3077.",
)


# ---- drifting_prior_term --------------------------------------------------------------------------------------------
def drifting_prior_term(alpha_bar, m, kappa, x0):
    bar = alpha_bar[-1]
    square = bar * (x0 - m) ** 2 / kappa**2
    return 0.5 * (square - bar - torch.log1p(-bar)).flatten(1).sum(1)


def _prior_cases(generator):
    def case(label, B, *shape, table=None):
        return Case(label, _world(generator, B, *shape, table=table))

    return [
        Case("one number, ᾱ_T = 0.162, m = 1, κ = 2, x_0 = 3", (alpha_bar_of(T4), numbers(1.0), 2.0, numbers([3.0]))),
        Case("data at the mean", (alpha_bar_of(T4), numbers(1.0, 2.0), 0.5, numbers([1.0, 2.0]))),
        case("3 points of 2 numbers", 3, 2),
        case("images of shape (2, 1, 3, 3), random β", 2, 1, 3, 3, table=alpha_bar_of(random_betas(6, generator))),
    ]  # fmt: skip


def _prior_hidden(generator):
    cases = []
    for shape in _shapes(generator):
        table, B = alpha_bar_of(random_betas(_int(2, 6, generator), generator)), _int(2, 6, generator)
        cases.append(
            Case(f"T = {len(table) - 1}, x0 of shape {(B, *shape)}", _world(generator, B, *shape, table=table))
        )
    return cases


def _prior_with(f, reduce=lambda v: v.flatten(1).sum(1)):
    """f(ᾱ_T, (x_0 − m)², κ, x_0, m), reduced to (B,)."""
    return lambda a, m, k, x0: reduce(f(a[-1], (x0 - m) ** 2, k, x0, m))


def _prior(bar, square, k, x0, m):
    return 0.5 * (bar * square / k**2 - bar - torch.log(1 - bar))


def _squares(a, m, k, x0):
    """ᾱ_T ‖x_0 − m‖²/κ², (B,)."""
    return (a[-1] * (x0 - m) ** 2 / k**2).flatten(1).sum(1)


PRIOR = Exercise(
    equation="KL(q(x_T | x_0) ‖ N(m, κ² I)) = ½ Σ_d [ᾱ_T (x_0−m)²_d/κ² − ᾱ_T − log(1−ᾱ_T)] (VLB-5)",
    reference=drifting_prior_term,
    returns=("kl",),
    cases=_prior_cases,
    hidden=_prior_hidden,
    mistakes=(
        Mistake(
            "against N(0, I)",
            "this is the KL to N(0, I); the process ends near N(m, κ² I), and so does the prior.",
            _prior_with(
                lambda b, q, k, x, m: (
                    0.5 * (k**2 * (1 - b) + (m + b.sqrt() * (x - m)) ** 2 - 1 - torch.log(k**2 * (1 - b)))
                )
            ),
        ),
        Mistake("mean over dimensions", MEAN_NOT_SUM, _prior_with(_prior, lambda v: v.flatten(1).mean(1))),
        Mistake("nats called bits", IN_BITS, _prior_with(lambda *v: _prior(*v) / math.log(2))),
        Mistake(
            "the KL the other way round",
            "this is KL(N(m, κ² I) ‖ q(x_T | x_0)); the bound has q first.",
            _prior_with(lambda b, q, k, x, m: 0.5 * (1 / (1 - b) + b * q / k**2 / (1 - b) - 1 + torch.log(1 - b))),
        ),
        Mistake(
            "the variances left out",
            "only the distance of the means was counted; the variances κ²(1−ᾱ_T) and κ² differ, too.",
            _prior_with(lambda b, q, k, x, m: 0.5 * b * q / k**2),
        ),
        Mistake(
            "κ not squared",
            "the squared distance is divided by the variance κ², not by κ.",
            _prior_with(lambda b, q, k, x, m: 0.5 * (b * q / k - b - torch.log(1 - b))),
        ),
        Mistake(
            "κ forgotten",
            "the squared distance is measured against the variance of the prior: divide it by κ².",
            _prior_with(lambda b, q, k, x, m: 0.5 * (b * q - b - torch.log(1 - b))),
        ),
        Mistake(
            "the half forgotten",
            "this is twice the KL: the formula has ½ in front of the whole sum.",
            _prior_with(lambda *v: 2 * _prior(*v)),
        ),
        Mistake(
            "the table ends one step early",
            "alpha_bar[-2] is ᾱ_{T−1}; the chain ends at T, the last entry.",
            lambda a, m, k, x0: drifting_prior_term(a[:-1], m, k, x0),
        ),
        Mistake(
            "κ² left in the logarithm",
            "log(κ²(1−ᾱ_T)) is the logarithm of q's variance alone; that of the ratio of the two has no κ.",
            _prior_with(lambda b, q, k, x, m: 0.5 * (b * q / k**2 - b - torch.log(k**2 * (1 - b)))),
        ),
        Mistake(
            "κ² left in the variance",
            "this takes 1 for the variance of the prior: it is κ², so that the ratio of the variances is 1 − ᾱ_T.",
            _prior_with(lambda b, q, k, x, m: 0.5 * (b * q / k**2 + k**2 * (1 - b) - 1 - torch.log(k**2 * (1 - b)))),
        ),
        Mistake(
            "sign of the logarithm",
            "log(1−ᾱ_T) was added; it is subtracted. A KL is never negative, and at x_0 = m this one is.",
            _prior_with(lambda b, q, k, x, m: 0.5 * (b * q / k**2 - b + torch.log(1 - b))),
        ),
        Mistake(
            "the variances counted once",
            "−ᾱ_T − log(1−ᾱ_T) belongs to each dimension; here it was added once to the sum of the squares.",
            lambda a, m, k, x0: 0.5 * (_squares(a, m, k, x0) - a[-1] - torch.log(1 - a[-1])),
        ),
        Mistake(
            "the distance from m not taken",
            "ᾱ_T x_0² stands where ᾱ_T (x_0 − m)² belongs: the two means are m + √ᾱ_T (x_0 − m) and m.",
            _prior_with(lambda b, q, k, x, m: 0.5 * (b * x**2 / k**2 - b - torch.log(1 - b))),
        ),
    ),
    start="q(x_T | x_0) has mean m + √ᾱ_T (x_0 − m) and variance κ²(1−ᾱ_T). Put it in the KL of two Gaussians.",
    hint="κ² cancels in the ratio of the variances and stays below the squared distance of the means.",
    see="For ᾱ_T = 0.162, m = 1, κ = 2, x_0 = 3: 0.0884 nats. At x_0 = m: 0.0074 nats a dimension.",
)


# ---- learned_variance_kl --------------------------------------------------------------------------------------------
def learned_variance_kl(alpha_bar, kappa, mean, mean_hat, v, t):
    beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
    posterior = beta * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
    log_beta, log_posterior = expand(beta.log(), v), expand(posterior.log(), v)
    log_ratio = v * (log_posterior - log_beta)
    variance = kappa**2 * torch.exp(v * log_beta + (1 - v) * log_posterior)
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + (mean - mean_hat) ** 2 / variance).flatten(1).sum(1)


def _learned_case(label, table, t, shape, generator, kappa):
    shape = (len(t), *shape)
    mean = normal(*shape, generator=generator)
    hat, v = mean + normal(*shape, generator=generator, scale=0.5), _uniform(*shape, generator=generator)
    return Case(label, (table, kappa, mean, hat, v, t))


def _learned_cases(generator):
    def case(label, t, *shape, table=None):
        table = alpha_bar_of(T4) if table is None else table
        return _learned_case(label, table, torch.tensor(t), shape, generator, 0.8)

    first = alpha_bar_of(T4), 2.0, numbers([1.0]), numbers([1.3]), numbers([0.25]), torch.tensor([2])
    means = numbers([0.3, -1.0]), numbers([0.3, -1.0])
    equal = alpha_bar_of(T4), 1.0, *means, numbers([0.0, 1.0]), torch.tensor([3])
    return [
        Case("one number, t = 2, κ = 2, means 1 and 1.3, v = 0.25", first),
        Case("equal means, v = 0 (β̃) and v = 1 (β)", equal),
        case("3 points of 2 numbers", [4, 2, 3], 2),
        case("images of shape (2, 1, 2, 2), random β", [7, 2], 1, 2, 2, table=alpha_bar_of(random_betas(9, generator))),
    ]  # fmt: skip


def _learned_hidden(generator):
    cases = []
    for shape in _shapes(generator):
        table, B = _chain(generator), _int(2, 6, generator)
        t, kappa = _times(B, 2, len(table) - 1, generator), _number(0.3, 2.5, generator)
        label = f"T = {len(table) - 1}, means of shape {(B, *shape)}"
        cases.append(_learned_case(label, table, t, shape, generator, kappa))
    return cases


def _learned_with(f, reduce=lambda v: v.flatten(1).sum(1)):
    """f(β_t, β̃_t, κ², v, (μ − μ̂)²), reduced to (B,)."""

    def function(a, k, mean, hat, v, t):
        beta = 1 - a[t] / a[t - 1]
        post = _coefficient(beta * (1 - a[t - 1]) / (1 - a[t]), v)
        return reduce(f(_coefficient(beta, v), post, k**2, v, (mean - hat) ** 2))

    return function


def _between(b, p, v):
    return p ** (1 - v) * b**v


def _kl(q, p, square):
    """KL of N(μ, q) to N(μ̂, p), one dimension."""
    return _sum_of(q / p, torch.log(q / p), square / p)


def _sum_of(r, log_r, distance):
    return 0.5 * (r - 1 - log_r + distance)


LEARNED = Exercise(
    equation="½ Σ_d [r − 1 − log r + (μ−μ̂)²/σ²]_d, log σ² = log κ² + v log β_t + (1−v) log β̃_t, r = κ²β̃_t/σ² "
    "(VLB-7, VAR-1)",
    reference=learned_variance_kl,
    returns=("kl",),
    cases=_learned_cases,
    hidden=_learned_hidden,
    mistakes=(
        Mistake(
            "v and 1 − v exchanged",
            "v = 1 gave β̃_t and v = 0 gave β_t; it is the other way round.",
            _learned_with(lambda b, p, k, v, q: _kl(k * p, k * _between(p, b, v), q)),
        ),
        Mistake(
            "the variances averaged",
            "the variances were interpolated; their logarithms are: σ² = β̃^(1−v) β^v.",
            _learned_with(lambda b, p, k, v, q: _kl(k * p, k * (v * b + (1 - v) * p), q)),
        ),
        Mistake(
            "the KL the other way round",
            "this is KL(p_θ ‖ q): the ratio of the variances is upside down and the distance divided by q's variance.",
            _learned_with(lambda b, p, k, v, q: _kl(k * _between(b, p, v), k * p, q)),
        ),
        Mistake(
            "β_t for β̃_t",
            "q(x_{t−1} | x_t, x_0) was given the variance κ²β_t; it is κ²β̃_t.",
            _learned_with(lambda b, p, k, v, q: _kl(k * b, k * _between(b, p, v), q)),
        ),
        Mistake(
            "κ forgotten",
            "both variances lack κ²; it cancels in their ratio and not below the distance of the means.",
            _learned_with(lambda b, p, k, v, q: _kl(p, _between(b, p, v), q)),
        ),
        Mistake(
            "the squared error alone",
            "the part of the variances, r − 1 − log r, is missing: with it gone, a wide σ² costs nothing.",
            _learned_with(lambda b, p, k, v, q: 0.5 * q / (k * _between(b, p, v))),
        ),
        Mistake(
            "mean over dimensions",
            MEAN_NOT_SUM,
            _learned_with(lambda b, p, k, v, q: _kl(k * p, k * _between(b, p, v), q), lambda v: v.flatten(1).mean(1)),
        ),
        Mistake(
            "one v for all dimensions",
            "v was averaged first; each dimension has a variance of its own.",
            lambda a, k, mean, hat, v, t: learned_variance_kl(
                a, k, mean, hat, _coefficient(v.flatten(1).mean(1), v).expand_as(v), t
            ),
        ),
        Mistake(
            "nats called bits",
            IN_BITS,
            _learned_with(lambda b, p, k, v, q: _kl(k * p, k * _between(b, p, v), q) / math.log(2)),
        ),
        Mistake(
            "the half forgotten",
            "this is twice the KL: the formula has ½ in front of the whole sum.",
            _learned_with(lambda b, p, k, v, q: 2 * _kl(k * p, k * _between(b, p, v), q)),
        ),
        Mistake(
            "v missing in log r",
            "log r was taken as log(β̃_t/β_t); it is v times that, since σ² moves from β̃_t to β_t with v.",
            _learned_with(lambda b, p, k, v, q: _sum_of((p / b) ** v, torch.log(p / b), q / (k * _between(b, p, v)))),
        ),
        Mistake(
            "sign of log r",
            "log r was added; it is subtracted. r − 1 − log r is never negative.",
            _learned_with(
                lambda b, p, k, v, q: _sum_of((p / b) ** v, v * torch.log(b / p), q / (k * _between(b, p, v)))
            ),
        ),
        Mistake(
            "r upside down",
            "this r is σ²/(κ²β̃_t); the variance of q stands above, that of the model below.",
            _learned_with(
                lambda b, p, k, v, q: _sum_of((b / p) ** v, v * torch.log(b / p), q / (k * _between(b, p, v)))
            ),
        ),
        Mistake(
            "the distance over q's variance",
            "the squared distance was divided by κ²β̃_t, the variance of q; it is divided by σ², the model's.",
            _learned_with(lambda b, p, k, v, q: _sum_of((p / b) ** v, v * torch.log(p / b), q / (k * p))),
        ),
    ),
    start="Write down the KL of two Gaussians in one dimension. What is the ratio of the two variances here?",
    hint="log r = v (log β̃_t − log β_t): κ² and the rest cancel. Sum over all but the batch.",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) at t = 2 with κ = 2, means 1 and 1.3, v = 0.25: 0.1286 nats.",
)


# ---- logistic_decoder -----------------------------------------------------------------------------------------------
def logistic_decoder(x, mean, log_scale, levels):
    half, scale = 1 / (levels - 1), log_scale.exp()
    low, high = (x - half - mean) / scale, (x + half - mean) / scale
    log_below = torch.where(x > 1 - half, 0.0, F.logsigmoid(high))
    log_above = torch.where(x < -1 + half, 0.0, F.logsigmoid(-low))
    edge = (x > 1 - half) | (x < -1 + half)
    width = torch.where(edge, torch.inf, high - low)
    return (log_below + log_above + torch.log(-torch.expm1(-width))).flatten(1).sum(1)


def _pixels(*k, levels):
    return -1 + 2 * numbers(*k) / (levels - 1)


def _decoder_case(label, levels, shape, generator, far=1.0, sharp=False):
    x = -1 + 2 * torch.randint(0, levels, shape, generator=generator).double() / (levels - 1)
    x.view(-1)[:2] = numbers(-1, 1)  # both edges occur
    mean = x + normal(*shape, generator=generator, scale=0.3)
    log_scale = -3 + normal(*shape, generator=generator, scale=0.5)
    if sharp:  # the edges and a level between them far off, on a scale where differences of sigmoids are 0
        x.view(-1)[-1] = -1 + 2 / (levels - 1)
        mean.view(-1)[:2], log_scale.view(-1)[[0, 1, -1]] = numbers(0.9, -0.9), -7.0
    mean.view(-1)[-1] = x.view(-1)[-1] + far  # one pixel far off in any case
    return Case(label, (x, mean, log_scale, levels))


def _decoder_cases(generator):
    def one(k, mean, log_scale, levels):
        return _pixels([k], levels=levels), numbers([mean]), numbers([log_scale]), levels

    return [
        Case("one pixel, level 1 of 0..2, mean 0, s = 1", one(1, 0.0, 0.0, 3)),
        Case("one pixel, level 0 of 0..2 (black), mean 0, s = 1", one(0, 0.0, 0.0, 3)),
        Case("one pixel, level 16 of 0..16 (white), mean 0.8, log s = −2", one(16, 0.8, -2.0, 17)),
        Case("one pixel far below the mean, log s = −5", one(3, 0.9, -5.0, 17)),
        Case("one pixel far above the mean, log s = −5", one(13, -0.9, -5.0, 17)),
        Case("the same with log s = −7", one(13, -0.9, -7.0, 17)),
        Case("white far above the mean, log s = −5", one(16, -0.9, -5.0, 17)),
        Case("white far above the mean, log s = −7", one(16, -0.9, -7.0, 17)),
        Case("black far below the mean, log s = −7", one(0, 0.9, -7.0, 17)),
        _decoder_case("3 examples of 4 pixels of 17 levels", 17, (3, 4), generator),
        _decoder_case("images of shape (2, 1, 3, 3), 256 levels", 256, (2, 1, 3, 3), generator),
    ]


def _decoder_hidden(generator):
    cases = []
    for k, shape in enumerate(_shapes(generator)):
        levels, B = _int(3, 64, generator), _int(2, 5, generator)
        far = (-1) ** k * _number(1.5, 4.0, generator)
        label, shape = f"{levels} levels, x of shape {(B, *shape)}", (B, *shape)
        cases.append(_decoder_case(label, levels, shape, generator, far, sharp=k in (1, 4)))
    return cases


def _levels_sum_to_one(function):
    levels = 9
    x = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None]
    total = function(x, torch.full_like(x, 0.8), torch.full_like(x, -1.0), levels).exp().sum().item()
    return abs(total - 1) < 1e-9, f"{total:.12f}, for a mean near white"


def _decoder_with(
    black=True, white=True, half=lambda K: 1 / (K - 1), cdf=None, floor=None, scale=torch.exp, reduce=None
):
    """A difference of two distribution functions with one thing changed; a floor clamps the probability."""
    reduce = reduce or (lambda v: v.flatten(1).sum(1))

    def function(x, mean, log_scale, K):
        h, s = half(K), scale(log_scale)
        low, high = (x - h - mean) / s, (x + h - mean) / s
        low = torch.where(x < -1 + 0.5 / (K - 1), -torch.inf, low) if black else low
        high = torch.where(x > 1 - 0.5 / (K - 1), torch.inf, high) if white else high
        flip = low + high > 0
        low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
        if floor is not None:
            return reduce((high.sigmoid() - low.sigmoid()).clamp(min=floor).log())
        log_low, log_high = (cdf or F.logsigmoid)(low), (cdf or F.logsigmoid)(high)
        return reduce(log_high + torch.log(-torch.expm1(log_low - log_high)))

    return function


def _decoder_bins(inside=None, black=None, white=None):
    """logistic_decoder with the logarithm of one kind of bin as another function of its ends a < b."""
    inside = inside or (lambda a, b: F.logsigmoid(b) + F.logsigmoid(-a) + torch.log(-torch.expm1(a - b)))
    black, white = black or (lambda a, b: F.logsigmoid(b)), white or (lambda a, b: F.logsigmoid(-a))

    def function(x, mean, log_scale, K):
        h, s = 1 / (K - 1), log_scale.exp()
        a, b = (x - h - mean) / s, (x + h - mean) / s
        log_p = torch.where(x < -1 + h / 2, black(a, b), torch.where(x > 1 - h / 2, white(a, b), inside(a, b)))
        return log_p.flatten(1).sum(1)

    return function


def _nearer_tail(a, b):
    """log (S(b) − S(a)) with both ends turned to the lower side, which is not enough far out."""
    a, b = torch.where(a + b > 0, -b, a), torch.where(a + b > 0, -a, b)
    return (b.sigmoid() - a.sigmoid()).log()


IN_PIECES = "Write log S(b) + log S(−a) + log(1 − e^{a−b}) for the bin from a to b, each with F.logsigmoid or expm1."


DECODER = Exercise(
    equation="Σ_d log [S((x_d + h − m_d)/s_d) − S((x_d − h − m_d)/s_d)], S(y) = 1/(1+e^{−y}), h = 1/(K−1), "
    "edge bins open to ±∞ (VLB-6)",
    reference=logistic_decoder,
    returns=("log_prob",),
    cases=_decoder_cases,
    hidden=_decoder_hidden,
    properties=(Property("the probabilities of all levels sum to 1", _levels_sum_to_one),),
    mistakes=(
        Mistake(
            "edge bins closed",
            "level 0 must collect everything below it and level K − 1 everything above: otherwise the probabilities do "
            "not sum to 1.",
            _decoder_with(black=False, white=False),
        ),
        Mistake("black edge closed", "level 0 must collect everything below it.", _decoder_with(black=False)),
        Mistake("white edge closed", "level K − 1 must collect everything above it.", _decoder_with(white=False)),
        Mistake(
            "K gaps",
            "K levels have K − 1 gaps of 2/(K − 1) between them, so a bin reaches 1/(K − 1) to either side.",
            _decoder_with(half=lambda K: 1 / K),
        ),
        Mistake(
            "bins twice as wide",
            "levels lie 2/(K−1) apart; a bin reaches half as far to either side, 1/(K−1).",
            _decoder_with(half=lambda K: 2 / (K - 1)),
        ),
        Mistake(
            "a clamp caps the penalty",
            "probabilities below 1e-12 were raised to it, so a mean that is far off costs 40 bits and no more. Stay in "
            "logarithms.",
            _decoder_with(floor=1e-12),
        ),
        Mistake(
            "the normal distribution",
            "these are differences of Φ; the decoder is logistic, S(y) = 1/(1 + e^{−y}), with heavier tails.",
            _decoder_with(cdf=torch.special.log_ndtr),
        ),
        Mistake(
            "density times width",
            "the density at the pixel times the width of the bin is not the integral over the bin; it can exceed 1.",
            _decoder_bins(lambda a, b: F.logsigmoid((a + b) / 2) + F.logsigmoid(-(a + b) / 2) + (b - a).log()),
        ),
        Mistake("mean over dimensions", MEAN_NOT_SUM, _decoder_with(reduce=lambda v: v.flatten(1).mean(1))),
        Mistake(
            "a difference of sigmoids",
            "far above the mean both sigmoids round to 1 and their difference to 0. " + IN_PIECES,
            _decoder_bins(lambda a, b: (b.sigmoid() - a.sigmoid()).log()),
        ),
        Mistake(
            "a difference of small numbers",
            "further out still, the difference is 0 on either side of the mean, also of log S(b) and log S(a). "
            + IN_PIECES,
            _decoder_bins(_nearer_tail),
        ),
        Mistake(
            "edges outside logarithms",
            "an edge bin has one sigmoid, and far off that is 0 or 1 in the computer: write F.logsigmoid(b) for black "
            "and F.logsigmoid(−a) for white, which is log(1 − S(a)).",
            _decoder_bins(black=lambda a, b: b.sigmoid().log(), white=lambda a, b: (1 - a.sigmoid()).log()),
        ),
        Mistake(
            "log S for log (1 − S) at white",
            "white has the probability 1 − S(a), what lies above its lower end a; S(a) is what lies below.",
            _decoder_bins(white=lambda a, b: F.logsigmoid(a)),
        ),
        Mistake(
            "edges exchanged",
            "black collects what lies below its upper end, white what lies above its lower end, not the other way.",
            _decoder_bins(black=lambda a, b: F.logsigmoid(-a), white=lambda a, b: F.logsigmoid(b)),
        ),
        Mistake(
            "log_scale taken for a log-variance",
            "s is exp(log_scale), not exp(log_scale/2).",
            _decoder_with(scale=lambda v: (v / 2).exp()),
        ),
        Mistake(
            "the sign",
            "this is −log p; a log-probability is at most 0.",
            lambda x, mean, log_scale, levels: -logistic_decoder(x, mean, log_scale, levels),
        ),
    ),
    start="Where does the bin of a pixel begin and end? What changes for black and for white?",
    hint="With a < b: S(b) − S(a) = S(b) S(−a) (1 − e^{a−b}). Take logarithms with F.logsigmoid: nothing "
    "cancels, however far the mean.",
    see="For level 1 of 0..2, mean 0, s = 1: log(S(0.5) − S(−0.5)) = −1.4068. Black at mean 0: log S(−0.5) = −0.9741.",
)


# ---- min_snr_loss ---------------------------------------------------------------------------------------------------
def min_snr_loss(eps, eps_hat, alpha_bar, kappa, t, gamma):
    snr = alpha_bar[t] / (1 - alpha_bar[t])
    capped = snr.clamp(max=gamma)
    return (capped / snr) * (eps - eps_hat).square().flatten(1).sum(1), capped / kappa**2


def _snr_case(label, table, t, shape, generator, kappa, gamma):
    eps, hat = (normal(len(t), *shape, generator=generator) for _ in range(2))
    return Case(label, (eps, hat, table, kappa, t, gamma))


def _snr_cases(generator):
    first = numbers([1.0]), numbers([0.7]), alpha_bar_of(T4), 2.0, torch.tensor([1]), 5.0
    second = numbers([1.0]), numbers([0.7]), alpha_bar_of(T4), 2.0, torch.tensor([3]), 5.0

    def case(label, t, *shape, table=None, gamma=1.5):
        table = alpha_bar_of(T4) if table is None else table
        return _snr_case(label, table, torch.tensor(t), shape, generator, 0.8, gamma)

    return [
        Case("one number, t = 1 (SNR 9), γ = 5, κ = 2, error 0.3", first),
        Case("one number, t = 3 (SNR 0.681), γ = 5", second),
        case("3 points of 2 numbers", [1, 4, 2], 2),
        case("images of shape (3, 1, 2, 2), random β", [1, 2, 9], 1, 2, 2,
             table=alpha_bar_of(random_betas(9, generator)), gamma=1.0),
    ]  # fmt: skip


def _snr_hidden(generator):
    cases = []
    for shape in _shapes(generator):
        table, B = _chain(generator), _int(3, 7, generator)
        t = torch.cat([torch.tensor([1, len(table) - 1]), _times(B, 1, len(table) - 1, generator)])
        first, last = ((v / (1 - v)).item() for v in (table[1], table[-1]))
        gamma = round(last + (first - last) * _number(0.1, 0.7, generator), 3)
        label = f"T = {len(table) - 1}, γ = {gamma}, ε of shape {(len(t), *shape)}"
        cases.append(_snr_case(label, table, t, shape, generator, _number(0.3, 0.9, generator), gamma))
    return cases


def _snr_with(weight, x0_weight=None, reduce=lambda v: v.flatten(1).sum(1)):
    """min_snr_loss with the weights as other functions of (SNR, γ, κ)."""

    def function(eps, hat, a, k, t, gamma):
        snr = a[t] / (1 - a[t])
        right = snr.clamp(max=gamma) / k**2
        loss = weight(snr, gamma, k) * reduce((eps - hat) ** 2)
        return loss, right if x0_weight is None else x0_weight(snr, gamma, k)

    return function


def _capped(s, g, k):
    return s.clamp(max=g) / s


def _without_graph(function):
    def cut(*args):
        with torch.no_grad():
            return function(*args)

    return cut


CUT = "the graph is cut (no_grad, detach, .data, .item()): nothing in front of this function can learn."


MIN_SNR = Exercise(
    equation="loss = min(SNR_t, γ)/SNR_t ‖ε − ε̂‖², SNR_t = ᾱ_t/(1−ᾱ_t); the same loss is w ‖x_0 − x̂_0‖² with "
    "w = min(SNR_t, γ)/κ² (LOSS-4)",
    reference=min_snr_loss,
    gradients=("eps_hat",),
    returns=("loss", "weight_x0"),
    cases=_snr_cases,
    hidden=_snr_hidden,
    mistakes=(
        Mistake(
            "the weight of x_0 on ε",
            "min(SNR, γ) is the weight of the error in x_0; the error in ε is weighted with min(SNR, γ)/SNR.",
            _snr_with(lambda s, g, k: s.clamp(max=g)),
        ),
        Mistake(
            "maximum for minimum",
            "max(SNR, γ) raises the small weights; min-SNR lowers the large ones.",
            _snr_with(lambda s, g, k: s.clamp(min=g) / s, lambda s, g, k: s.clamp(min=g) / k**2),
        ),
        Mistake(
            "no minimum",
            "γ/SNR without the minimum grows without bound as the noise grows; where SNR < γ the weight is 1.",
            _snr_with(lambda s, g, k: g / s, lambda s, g, k: g / k**2 + 0 * s),
        ),
        Mistake(
            "ratio of amplitudes",
            "√SNR stands where SNR belongs: the signal-to-noise ratio is one of powers, ᾱ/(1−ᾱ).",
            _snr_with(lambda s, g, k: _capped(s.sqrt(), g, k), lambda s, g, k: s.sqrt().clamp(max=g) / k**2),
        ),
        Mistake(
            "κ forgotten",
            "the error in ε is √SNR/κ times the error in x_0, so the weight of x_0 has 1/κ².",
            _snr_with(_capped, lambda s, g, k: s.clamp(max=g)),
        ),
        Mistake(
            "κ not squared",
            "a weight of a squared error carries the square: 1/κ², not 1/κ.",
            _snr_with(_capped, lambda s, g, k: s.clamp(max=g) / k),
        ),
        Mistake(
            "the weight of ε for that of x_0",
            "weight_x0 was left at min(SNR, γ)/SNR; at given x_t, ‖ε − ε̂‖² = SNR/κ² ‖x_0 − x̂_0‖².",
            _snr_with(_capped, _capped),
        ),
        Mistake(
            "mean over dimensions",
            "the loss of one example is a sum over its dimensions here.",
            _snr_with(_capped, reduce=lambda v: v.flatten(1).mean(1)),
        ),
        Mistake(
            "t off by one", SHIFTED_T, lambda e, h, a, k, t, g: min_snr_loss(e, h, a, k, (t - 2) % (len(a) - 1) + 1, g)
        ),
        Mistake(
            "κ² on the wrong side",
            "‖ε − ε̂‖² = SNR/κ² ‖x_0 − x̂_0‖²: the weight of x_0 is divided by κ², not multiplied.",
            _snr_with(_capped, lambda s, g, k: s.clamp(max=g) * k**2),
        ),
        Mistake(
            "κ in the SNR",
            "SNR_t is ᾱ_t/(1−ᾱ_t) here, without κ: what is capped does not depend on κ, only the weight of x_0 does.",
            _snr_with(lambda s, g, k: _capped(s / k**2, g, k), lambda s, g, k: (s / k**2).clamp(max=g)),
        ),
        Mistake("the graph cut", CUT, _without_graph(min_snr_loss)),
    ),  # fmt: skip
    start="Which error does min(SNR, γ) weight in the paper, that of x_0 or that of ε?",
    hint="From x_t = m + √ᾱ (x_0 − m) + κ√(1−ᾱ) ε at fixed x_t: √ᾱ (x_0 − x̂_0) = −κ√(1−ᾱ) (ε − ε̂).",
    see="At SNR 9 with γ = 5, error 0.3 and κ = 2: loss 0.05, weight of x_0 1.25.",
)


# ---- logsnr_features ------------------------------------------------------------------------------------------------
def logsnr_features(alpha_bar, t, dim):
    logsnr = torch.logit(alpha_bar[1:])
    u = (logsnr[t - 1] - logsnr[-1]) / (logsnr[0] - logsnr[-1])
    angle = math.pi * u[:, None] * 2.0 ** torch.arange(dim // 2, dtype=torch.float64)
    return torch.cat([angle.sin(), angle.cos()], 1)


def _features_cases(generator):
    return [
        Case("T = 4, t = 2, dim = 2", (alpha_bar_of(T4), torch.tensor([2]), 2)),
        Case("T = 4, t = 1 and 4 (u = 1 and 0), dim = 4", (alpha_bar_of(T4), torch.tensor([1, 4]), 4)),
        Case("T = 4, all t, dim = 6", (alpha_bar_of(T4), torch.tensor([1, 2, 3, 4]), 6)),
        Case("random β, dim = 8", (alpha_bar_of(random_betas(9, generator)), torch.tensor([9, 3, 5]), 8)),
    ]


def _features_hidden(generator):
    cases = []
    for _ in range(5):
        table, dim, B = _chain(generator), 2 * _int(2, 6, generator), _int(2, 6, generator)
        t = torch.cat([torch.tensor([2]), _times(B, 1, len(table) - 1, generator)])
        cases.append(Case(f"T = {len(table) - 1}, {B + 1} times, dim = {dim}", (table, t, dim)))
    return cases


def _features_with(position=None, rate=None, arrange=None):
    """logsnr_features with another u(ᾱ table, t), other rates, or another arrangement of sines and cosines."""
    position = position or (lambda a, t: _place(torch.logit(a[1:]), t))
    rate = rate or (lambda n: math.pi * 2.0**n)
    arrange = arrange or (lambda s, c: torch.cat([s, c], 1))

    def function(a, t, dim):
        angle = position(a, t)[:, None] * rate(torch.arange(dim // 2, dtype=torch.float64))
        return arrange(angle.sin(), angle.cos())

    return function


def _place(table, t):
    return (table[t - 1] - table[-1]) / (table[0] - table[-1])


FEATURES = Exercise(
    equation="u = (λ_t − λ_T)/(λ_1 − λ_T), λ = log ᾱ/(1−ᾱ); (sin π2ⁱu, i = 0..d/2−1, then cos π2ⁱu) (ARCH-4)",
    reference=logsnr_features,
    returns=("features",),
    cases=_features_cases,
    hidden=_features_hidden,
    mistakes=(
        Mistake(
            "the place of t among the steps",
            "u runs evenly with t; it must run evenly with the log-SNR, so that chains of any length mean the same.",
            _features_with(lambda a, t: (len(a) - 1 - t) / (len(a) - 2)),
        ),
        Mistake(
            "the SNR itself",
            "λ is the logarithm of the SNR; without it nearly all times crowd near u = 0.",
            _features_with(lambda a, t: _place(a[1:] / (1 - a[1:]), t)),
        ),
        Mistake(
            "the logarithm of ᾱ",
            "λ = log ᾱ − log(1 − ᾱ); the second part tells the small noise levels apart.",
            _features_with(lambda a, t: _place(a[1:].log(), t)),
        ),
        Mistake(
            "u turned round",
            "u is 1 at t = 1, where the log-SNR is highest, and 0 at t = T.",
            _features_with(lambda a, t: 1 - _place(torch.logit(a[1:]), t)),
        ),
        Mistake(
            "rates that do not double",
            "the rates are π, 2π, 3π, ...; they double: π, 2π, 4π, ...",
            _features_with(rate=lambda n: math.pi * (n + 1)),
        ),
        Mistake(
            "the first octave left out",
            "the rates begin with 2π, a full turn: then u = 0 and u = 1 look alike. They begin with π.",
            _features_with(rate=lambda n: 2 * math.pi * 2.0**n),
        ),
        Mistake("π left out", "the angle is π 2ⁱ u; here it is 2ⁱ u.", _features_with(rate=lambda n: 2.0**n)),
        Mistake(
            "sines and cosines exchanged",
            "the cosines come first; the sines do.",
            _features_with(arrange=lambda s, c: torch.cat([c, s], 1)),
        ),
        Mistake(
            "sines and cosines interleaved",
            "the numbers are right and stand as sin, cos, sin, cos; all sines come first.",
            _features_with(arrange=lambda s, c: torch.stack([s, c], 2).flatten(1)),
        ),
        Mistake(
            "t/T",
            "u is t/T, and so grows with the noise; u is the place of λ_t between λ_T and λ_1.",
            _features_with(lambda a, t: t.double() / (len(a) - 1)),
        ),
        Mistake(
            "λ_0 for λ_1",
            "λ_0 is infinite, so that every u is 0; the line ends at λ_1.",
            _features_with(lambda a, t: _place(torch.logit(a), t + 1)),
        ),
    ),
    start="A table of λ_1..λ_T from alpha_bar[1:]; entry t stands at index t − 1.",
    hint="torch.logit is log ᾱ/(1−ᾱ). Two columns for each of the dim/2 rates.",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6) at t = 2: u = 0.6182, features (0.9318, −0.3629).",
)


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
        Case("up, r = 2, eight channels of one pixel", (count.reshape(1, 8, 1, 1), 2, "up")),
        _shuffle_case(2, "down", 2, 3, 2, 3, generator),
        _shuffle_case(2, "up", 2, 3, 3, 2, generator),
        _shuffle_case(3, "down", 1, 2, 2, 1, generator),
    ]


def _shuffle_hidden(generator):
    ways = ("down", "up", "down", "up", "down")
    sizes = [[_int(2, 4, generator) for _ in range(4)] for _ in ways]
    return [
        _shuffle_case(2 + k % 2, way, *size, generator) for k, (way, size) in enumerate(zip(ways, sizes, strict=True))
    ]


def _shuffle_with(down, up=None):
    """down and up rearrange x seen as (B, c, H, r, W, r) and (B, r, r, c, H, W)."""

    def function(x, r, way):
        B, C, H, W = x.shape
        if way == "down":
            return down(x.reshape(B, C, H // r, r, W // r, r)).reshape(B, r * r * C, H // r, W // r)
        c = C // (r * r)
        y = up(x, r) if up else x.reshape(B, r, r, c, H, W).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(B, c, H * r, W * r)

    return function


def _right_down(v):
    return v.permute(0, 3, 5, 1, 2, 4)


def _quadrants(x, r, way):
    B, C, H, W = x.shape
    if way == "down":
        return x.reshape(B, C, r, H // r, r, W // r).permute(0, 2, 4, 1, 3, 5).reshape(B, r * r * C, H // r, W // r)
    c = C // (r * r)
    return x.reshape(B, r, r, c, H, W).permute(0, 3, 1, 4, 2, 5).reshape(B, c, H * r, W * r)


SHUFFLE = Exercise(
    equation="down: y[b, (i r + j) C + c, p, q] = x[b, c, p r + i, q r + j]; up: the inverse (ARCH-1 without loss)",
    reference=shuffle_pixels,
    returns=("y",),
    cases=_shuffle_cases,
    hidden=_shuffle_hidden,
    mistakes=(
        Mistake(
            "torch's order",
            "this is torch's pixel_unshuffle, channel c r² + i r + j; here the offset comes first: (i r + j) C + c.",
            lambda x, r, way: F.pixel_unshuffle(x, r) if way == "down" else F.pixel_shuffle(x, r),
        ),
        Mistake(
            "torch's order on the way up",
            "the way down is right and the way up is torch's pixel_shuffle, which undoes another order.",
            _shuffle_with(_right_down, lambda x, r: F.pixel_shuffle(x, r)),
        ),
        Mistake(
            "i and j exchanged",
            "channel (j r + i) C + c holds what (i r + j) C + c should: i counts rows, j columns.",
            _shuffle_with(
                lambda v: v.permute(0, 5, 3, 1, 2, 4),
                lambda x, r: x.reshape(len(x), r, r, -1, *x.shape[2:]).permute(0, 3, 4, 2, 5, 1),
            ),
        ),
        Mistake(
            "quarters of the picture",
            "the picture was cut into r × r large pieces; each new channel takes every r-th pixel of the whole.",
            _quadrants,
        ),
        Mistake(
            "reshape alone",
            "a reshape keeps the order in memory: pixels of one row become channels. The axes have to be permuted.",
            _shuffle_with(lambda v: v, lambda x, r: x),
        ),
        Mistake(
            "no permutation on the way up",
            "the way down is right; the way up is a reshape alone and does not undo it.",
            _shuffle_with(_right_down, lambda x, r: x),
        ),
    ),
    start="Split H into (H/r, r) and W into (W/r, r) with reshape. Which axes hold i and j?",
    hint="Down: reshape to (B, C, H/r, r, W/r, r), permute so that i, j, c stand in this order before the two "
    "pixel axes, reshape. Up: the same in reverse.",
    see="Two channels ((1, 2), (3, 4)) and ((5, 6), (7, 8)) become the eight channels 1, 5, 2, 6, 3, 7, 4, 8.",
)


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
    return [
        _block_case("one picture of 2×2 pixels, 2 channels to 2, one group", 1, 2, 2, 2, 2, 1, 1, generator),
        _block_case("2 pictures of 3×3 pixels, 2 channels to 4, two groups", 2, 2, 4, 3, 3, 3, 2, generator),
        _block_case("2 pictures of 4×3 pixels, 4 channels to 2, two groups", 2, 4, 2, 4, 3, 2, 2, generator),
    ]


def _block_hidden(generator):
    cases = []
    for _ in range(4):
        B, a, b = _int(2, 3, generator), _int(1, 3, generator), _int(1, 3, generator)
        groups, E = _int(2, 3, generator), _int(2, 5, generator)
        c_in, c_out, H, W = a * groups, b * groups, _int(3, 6, generator), _int(3, 6, generator)
        label = f"{B} pictures of {H}×{W} pixels, {c_in} channels to {c_out}, {groups} groups"
        cases.append(_block_case(label, B, c_in, c_out, H, W, E, groups, generator))
    return cases


def _block_with(
    embed=F.silu, first=None, modulate=None, out=None, order=(0, 1, 2), inner=F.silu, skip=lambda x, w: F.conv2d(x, w)
):
    """gated_block with one part exchanged."""
    first = first or (lambda x, n: F.silu(F.group_norm(x, n)))
    modulate = modulate or (lambda h, s, b, n: (1 + s) * F.group_norm(h, n) + b)
    out = out or (lambda skip, gate, h: skip + gate * h)

    def function(x, e, w1, b1, wt, bt, w2, b2, ws, n):
        parts = F.linear(embed(e), wt, bt)[:, :, None, None].chunk(3, 1)
        scale, shift, gate = (parts[k] for k in order)
        h = F.conv2d(first(x, n), w1, b1, padding=1)
        h = F.conv2d(inner(modulate(h, scale, shift, n)), w2, b2, padding=1)
        return out(skip(x, ws), gate, h)

    return function


def _block_not_lined_up(x, e, w1, b1, w_time, b_time, w2, b2, w_skip, groups):
    scale, shift, gate = F.linear(F.silu(e), w_time, b_time).chunk(3, 1)
    h = F.conv2d(F.silu(F.group_norm(x, groups)), w1, b1, padding=1)
    h = (1 + scale) * F.group_norm(h, groups) + shift
    return F.conv2d(x, w_skip) + gate * F.conv2d(F.silu(h), w2, b2, padding=1)


BLOCK = Exercise(
    equation="h = conv₁(SiLU(GN(x))); (s, b, g) = W SiLU(e) + c; out = conv₁ₓ₁(x) + g conv₂(SiLU((1+s) GN(h) + b)) "
    "(ARCH-3, ARCH-6 with a gate)",
    reference=gated_block,
    gradients=("x", "e", "w1", "b1", "w_time", "b_time", "w2", "b2", "w_skip"),
    returns=("out",),
    cases=_block_cases,
    hidden=_block_hidden,
    mistakes=(
        Mistake(
            "scale without the 1",
            "GN(h) is multiplied by s; it is multiplied by 1 + s, so that s = 0 changes nothing.",
            _block_with(modulate=lambda h, s, b, n: s * F.group_norm(h, n) + b),
        ),
        Mistake(
            "no gate", "the branch is added whole; it is multiplied by g first.", _block_with(out=lambda k, g, h: k + h)
        ),
        Mistake(
            "the gate on everything",
            "g multiplies the sum; the path of x stays open whatever g is.",
            _block_with(out=lambda k, g, h: g * (k + h)),
        ),
        Mistake(
            "no residual",
            "this is the branch alone; conv₁ₓ₁(x) is added to it.",
            _block_with(out=lambda k, g, h: g * h),
        ),
        Mistake(
            "scale and shift exchanged",
            "the first third of the time layer's output is the scale, the second the shift, the last the gate.",
            _block_with(order=(1, 0, 2)),
        ),
        Mistake(
            "e without SiLU", "the time embedding goes through SiLU before the linear layer.", _block_with(lambda e: e)
        ),
        Mistake(
            "normalised after the modulation",
            "scale and shift were applied before the normalisation, which takes much of them away again.",
            _block_with(modulate=lambda h, s, b, n: F.group_norm((1 + s) * h + b, n)),
        ),
        Mistake(
            "SiLU before the first normalisation",
            "the order is normalise, SiLU, convolve.",
            _block_with(first=lambda x, n: F.group_norm(F.silu(x), n)),
        ),
        Mistake(
            "one group",
            "all channels were normalised together; channels/groups of them are at a time.",
            _block_with(
                first=lambda x, n: F.silu(F.group_norm(x, 1)),
                modulate=lambda h, s, b, n: (1 + s) * F.group_norm(h, 1) + b,
            ),
        ),
        Mistake(
            "no first normalisation",
            "x went into the first convolution without F.group_norm.",
            _block_with(first=lambda x, n: F.silu(x)),
        ),
        Mistake(
            "no first SiLU",
            "SiLU is missing between the first normalisation and the first convolution.",
            _block_with(first=F.group_norm),
        ),
        Mistake(
            "no second normalisation",
            "scale and shift were applied to h itself; they are applied to GN(h).",
            _block_with(modulate=lambda h, s, b, n: (1 + s) * h + b),
        ),
        Mistake(
            "SiLU before the modulation",
            "SiLU comes after scale and shift: SiLU((1+s) GN(h) + b).",
            _block_with(modulate=lambda h, s, b, n: (1 + s) * F.silu(F.group_norm(h, n)) + b, inner=lambda h: h),
        ),
        Mistake(
            "the gate first",
            "the thirds of the time layer's output are scale, shift, gate, in this order; the first was taken as gate.",
            _block_with(order=(1, 2, 0)),
        ),
        Mistake(
            "(B, C) not lined up",
            "scale, shift and gate have shape (B, C) and torch lines them up with the pixels: [:, :, None, None] gives "
            "them the two missing axes.",
            _block_not_lined_up,
        ),
        Mistake("the graph cut", CUT, _without_graph(gated_block)),
    ),  # fmt: skip
    start="Follow the data: which of F.group_norm, F.silu, F.conv2d, F.linear comes first?",
    hint="F.linear(F.silu(e), w_time, b_time) has 3 c_out columns: chunk(3, 1) after adding two axes for the pixels.",
    see="With w_time and b_time zero, g = 0 and the block is conv₁ₓ₁(x).",
)


# ---- train_denoiser -------------------------------------------------------------------------------------------------
def network(theta, x, phi, width):
    """ε̂ = O SiLU(V SiLU(W (x, φ) + b) + c) + d, all six read off the vector theta: (B, D), (B, F) -> (B, D)."""
    D, n = x.shape[1], x.shape[1] + phi.shape[1]
    W, b, V, c, O, d = theta.split([width * n, width, width * width, width, D * width, D])  # noqa: E741
    h = F.silu(torch.cat([x, phi], 1) @ W.view(width, n).T + b)
    return F.silu(h @ V.view(width, width).T + c) @ O.view(D, width).T + d


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


def _parameters(D, G, width, generator):
    """theta for ``network``: normal numbers over √(inputs), and zero biases."""
    parts = []
    for out, inputs in ((width, D + G), (width, width), (D, width)):
        parts += [normal(out * inputs, generator=generator) / math.sqrt(inputs), torch.zeros(out, dtype=torch.float64)]
    return torch.cat(parts)


def _training_case(label, generator, *, N, D, G, width, S, B, table=None, lr=0.01, decay=0.9, size=1.0):
    """One call; noise and last layer are multiplied by ``size``: at 1e-6, Adam's 1e-8 shows the scale of the loss."""
    table = _chain(generator) if table is None else table
    T = len(table) - 1
    index = torch.randint(0, N, (S, B), generator=generator)
    t = torch.randint(1, T + 1, (S, B), generator=generator)
    x0, features = normal(N, D, generator=generator), normal(T + 1, G, generator=generator)
    eps, theta = normal(S, B, D, generator=generator, scale=size), _parameters(D, G, width, generator)
    theta[-D * (width + 1) :] *= size
    return Case(label, (x0, features, table, index, t, eps, theta, width, lr, decay))


def _training_cases(generator):
    T = alpha_bar_of(T4)
    return [
        _training_case("two steps on two numbers, width 1", generator, N=2, D=1, G=1, width=1, S=2, B=2, table=T),
        _training_case("three steps, batch of 4 points", generator, N=5, D=2, G=2, width=3, S=3, B=4, table=T),
        _training_case("six steps, random β", generator, N=20, D=3, G=4, width=5, S=6, B=8, decay=0.7),
        _training_case("two steps, noise of size 1e-6", generator, N=6, D=2, G=2, width=3, S=2, B=4, size=1e-6),
    ]


def _training_hidden(generator):
    cases = []
    for size in (1.0, 1.0, 1.0, 1e-6):
        sizes = dict(N=_int(6, 20, generator), D=_int(2, 4, generator), G=_int(2, 5, generator))
        sizes |= dict(width=_int(3, 9, generator), S=_int(3, 9, generator), B=_int(3, 9, generator))
        rates = dict(lr=_number(0.003, 0.03, generator), decay=_number(0.5, 0.95, generator))
        label = "{S} steps of {B} points of {D} numbers, width {width}".format(**sizes)
        cases.append(_training_case(label, generator, **sizes, **rates, size=size))
    return cases


WEIGHTS, CENTRES, WIDTHS = (
    numbers(0.5, 0.3, 0.2),
    numbers([1.2, 0.6], [-1.2, 0.5], [0.0, -1.3]),
    numbers(0.25, 0.25, 0.35),
)


def mixture(n, generator):
    """Points of the mixture the denoiser is trained on: three round clusters in the plane, (n, 2)."""
    k = torch.multinomial(WEIGHTS, n, replacement=True, generator=generator)
    return CENTRES[k] + WIDTHS[k][:, None] * normal(n, 2, generator=generator)


def exact_eps(x_t, bar):
    """E[ε | x_t] of the mixture at ᾱ = bar (B, 1): (B, 2)."""
    variance = bar * WIDTHS**2 + 1 - bar
    offset = x_t[:, None] - bar.sqrt()[:, :, None] * CENTRES
    share = (WEIGHTS.log() - offset.square().sum(2) / (2 * variance) - variance.log()).softmax(1)
    return (1 - bar).sqrt() * ((share / variance)[:, :, None] * offset).sum(1)


def training_run(generator, steps=1500, batch=192, width=64, T=50):
    """The arguments of a training run on the mixture, log-SNR from 5 to −5 and 6 octave features."""
    alpha_bar = logsnr_chain(T, 5.0, -5.0)[0]
    features = logsnr_features(alpha_bar, torch.arange(1, T + 1), 6)
    features = torch.cat([features[:1], features])
    x0 = mixture(2000, generator)
    index = torch.randint(0, len(x0), (steps, batch), generator=generator)
    t = torch.randint(1, T + 1, (steps, batch), generator=generator)
    eps = normal(steps, batch, 2, generator=generator)
    return x0, features, alpha_bar, index, t, eps, _parameters(2, 6, width, generator), width, 0.01, 0.995


def held_out(theta, features, alpha_bar, width, generator, n=20_000):
    """(loss, floor, excess) on fresh points: mean (ε̂−ε)², mean (E[ε|x_t]−ε)², mean (ε̂−E[ε|x_t])²."""
    t = _times(n, 1, len(alpha_bar) - 1, generator)
    x0, eps, bar = mixture(n, generator), normal(n, 2, generator=generator), alpha_bar[t][:, None]
    x_t = bar.sqrt() * x0 + (1 - bar).sqrt() * eps
    best, guess = exact_eps(x_t, bar), network(theta, x_t, features[t], width)
    return tuple((a - b).square().mean().item() for a, b in ((guess, eps), (best, eps), (guess, best)))


def _learns(function):
    generator = torch.Generator().manual_seed(17)
    args = training_run(generator)
    _, features, alpha_bar, *_, width, _, _ = args
    theta = function(*args)
    if not isinstance(theta, torch.Tensor) or theta.shape != args[6].shape:
        return False, "no vector of parameters came back"
    _, floor, excess = held_out(theta.detach().double(), features, alpha_bar, width, generator)
    return excess < 0.04 * floor, f"excess {excess:.4f} over a floor of {floor:.4f}"


def _training_with(
    target=lambda e, x: e, told=lambda k: k, zero=True, order="after", start=torch.clone, t_of=lambda k: k, eps_of=None,
    optimiser=torch.optim.Adam, raw=False, points=lambda x0, i: x0[i], fresh=False, reduce=torch.mean,
    mix=lambda bar, x, e: bar.sqrt() * x + (1 - bar).sqrt() * e,
):  # fmt: skip
    """train_denoiser with one part exchanged."""

    def function(x0, features, a, index, t, eps, theta, width, lr, decay):
        theta = theta.clone().requires_grad_()
        average = start(theta.detach())
        steps = optimiser([theta], lr=lr)
        for n, (i, k, e) in enumerate(zip(index, t, eps, strict=True)):
            k = t_of(k)
            e = e if eps_of is None else eps_of(eps, n)
            x = points(x0, i)
            guess = network(theta, mix(a[k][:, None], x, e), features[told(k)], width)
            before = theta.detach().clone()
            loss = reduce((guess - target(e, x)).square())
            if fresh:
                steps = optimiser([theta], lr=lr)
            if zero:
                steps.zero_grad()
            loss.backward()
            steps.step()
            average = decay * average + (1 - decay) * (theta.detach() if order == "after" else before)
        return theta.detach() if raw else average

    return function


def _weights_exchanged(x0, features, a, index, t, eps, theta, width, lr, decay):
    return train_denoiser(x0, features, a, index, t, eps, theta, width, lr, 1 - decay)


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
    mistakes=(
        Mistake(
            "gradients not set to zero",
            "backward adds to the gradient of the steps before; call zero_grad in each step.",
            _training_with(zero=False),
        ),
        Mistake(
            "average taken before the step",
            "θ̄ is one step behind: it took the parameters from before the optimiser's step, or the tables' last row "
            "was left out.",
            _training_with(order="before"),
        ),
        Mistake(
            "parameters instead of their average",
            "this is the last θ: it was returned itself, or θ̄ shares its memory (.detach() makes no copy, .clone() "
            "does).",
            _training_with(raw=True),
        ),
        Mistake(
            "average started at zero",
            "θ̄ starts at the first parameters; from 0 it is too small for about 1/(1 − decay) steps.",
            _training_with(start=torch.zeros_like),
        ),
        Mistake(
            "decay and 1 − decay exchanged",
            "θ̄ keeps the share decay of itself; here it keeps 1 − decay.",
            _weights_exchanged,
        ),
        Mistake(
            "one t for the whole batch",
            "the first t of the row was used for the whole batch; each example has its own.",
            _training_with(t_of=lambda k: k[:1].expand_as(k)),
        ),
        Mistake(
            "one noise for all steps",
            "eps[0] was used in every step; each step has noise of its own.",
            _training_with(eps_of=lambda eps, n: eps[0]),
        ),
        Mistake(
            "x_0 for the target",
            "the network was trained towards x_0; its answer is compared with ε.",
            _training_with(target=lambda e, x: x),
        ),
        Mistake(
            "features of another time",
            "features[t - 1] was given; the table has T + 1 rows and row t belongs to t.",
            _training_with(told=lambda k: k - 1),
        ),
        Mistake(
            "plain gradient descent",
            "these are SGD steps; torch.optim.Adam with its default betas is asked for.",
            _training_with(optimiser=torch.optim.SGD),
        ),
        Mistake(
            "the average begun in θ's memory",
            "θ̄ began with the θ after the first step: .detach() makes no copy, so the optimiser changed both; .clone() "
            "makes one.",
            _training_with(start=lambda theta: theta),
        ),
        Mistake("sum for mean", SCALED, _training_with(reduce=torch.sum)),
        Mistake("sum over dimensions", SCALED, _training_with(reduce=lambda v: v.sum(1).mean())),
        Mistake(
            "no roots",
            "x_t was formed with ᾱ_t and 1 − ᾱ_t; their roots belong there.",
            _training_with(mix=lambda bar, x, e: bar * x + (1 - bar) * e),
        ),
        Mistake(
            "signal and noise exchanged",
            "√ᾱ_t stands at the noise and √(1−ᾱ_t) at the data; it is the other way round.",
            _training_with(mix=lambda bar, x, e: (1 - bar).sqrt() * x + bar.sqrt() * e),
        ),
        Mistake(
            "the first points in every step",
            "x0[:B] was used in every step; row n of index says which points step n takes.",
            _training_with(points=lambda x0, i: x0[: len(i)]),
        ),
        Mistake(
            "a new optimiser in each step",
            "Adam was made anew inside the loop and forgot its averages; make it once, before the loop.",
            _training_with(fresh=True),
        ),
    ),
    start="Write one step: four lines from the kernel to the loss, three for the optimiser, one for the average.",
    hint="theta = theta.clone().requires_grad_() is what Adam trains; average starts as a copy, takes theta.detach().",
    see="Steps of about lr in each parameter at first. On the mixture the loss ends about 2 % above its floor.",
)


# ---- drifting_step --------------------------------------------------------------------------------------------------
def drifting_step(alpha_bar, m, kappa, x_t, eps_hat, v, s, t, z):
    bar_s, bar_t = alpha_bar[s], alpha_bar[t]
    keep = bar_t / bar_s
    beta = 1 - keep
    posterior = beta * (1 - bar_s) / (1 - bar_t)
    mean = m + (x_t - m - kappa * expand(beta / (1 - bar_t).sqrt(), x_t) * eps_hat) / expand(keep.sqrt(), x_t)
    root = kappa * expand(posterior, v) ** ((1 - v) / 2) * expand(beta, v) ** (v / 2)
    return mean + expand(s > 0, x_t) * root * z


def _step_case(label, table, s, t, shape, generator, kappa):
    B = len(t)
    m = normal(*shape, generator=generator)
    x_t, eps, z = (normal(B, *shape, generator=generator) for _ in range(3))
    v = _uniform(B, *shape, generator=generator)
    v.view(B, -1)[:, 0] = 1  # where s = 0, only v = 1 tells whether noise was added
    return Case(label, (table, m, kappa, m + x_t, eps, v, s, t, z))


def _step_cases(generator):
    def case(label, s, t, *shape, table=None):
        table = alpha_bar_of(T4) if table is None else table
        return _step_case(label, table, torch.tensor(s), torch.tensor(t), shape, generator, 0.8)

    def one(s, t, v):
        times = torch.tensor([s]), torch.tensor([t])
        values = (numbers([x]) for x in (0.0, 0.5, v))
        return alpha_bar_of(T4), numbers(1.0), 2.0, *values, *times, numbers([1.0])

    return [
        Case("one number, s = 1, t = 2, m = 1, κ = 2, x_t = 0, ε̂ = 0.5, v = 0, z = 1", one(1, 2, 0.0)),
        Case("the same with v = 1", one(1, 2, 1.0)),
        Case("the same with s = 0 and v = 1: no noise", one(0, 2, 1.0)),
        case("shape (4, 4), other times for each example", [2, 1, 0, 3], [3, 4, 1, 4], 4),
        case("images of shape (3, 1, 2, 2), random β", [5, 0, 2], [9, 2, 6], 1, 2, 2,
             table=alpha_bar_of(random_betas(9, generator))),
    ]  # fmt: skip


def _step_hidden(generator):
    cases = []
    for shape in _shapes(generator):
        table, B = _chain(generator), _int(2, 4, generator)
        s, t = _pair(B, len(table) - 1, generator)
        s, t = torch.cat([s, torch.tensor([0, 1])]), torch.cat([t, torch.tensor([2, 3])])
        label = f"T = {len(table) - 1}, x_t of shape {(B + 2, *shape)}"
        cases.append(_step_case(label, table, s, t, shape, generator, _number(0.3, 2.5, generator)))
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


def _step_with(slope=None, root=None, denominator=None, last=True, mean=None, eps_kappa=True):
    """drifting_step with one part exchanged: functions of (ᾱ_s, ᾱ_t), (β, β̃, v, κ) or (m, x_t, κ share ε̂, divisor)."""
    mean = mean or (lambda m, x, e, d: m + (x - m - e) / d)
    slope = slope or (lambda s, t: (1 - t / s) / (1 - t).sqrt())
    denominator = denominator or (lambda s, t: (t / s).sqrt())
    root = root or (lambda b, p, v, k: k * (p ** (1 - v) * b**v).sqrt())

    def function(a, m, k, x_t, eps, v, s, t, z):
        bar_s, bar_t = _coefficient(a[s], x_t), _coefficient(a[t], x_t)
        beta = 1 - bar_t / bar_s
        share = (k if eps_kappa else 1) * slope(bar_s, bar_t) * eps
        noise = root(beta, beta * (1 - bar_s) / (1 - bar_t), v, k) * z
        noise = noise * _coefficient(s > 0, x_t) if last else noise
        return mean(m, x_t, share, denominator(bar_s, bar_t)) + noise

    return function


STEP = Exercise(
    equation="x_s = m + (x_t − m − κ β/√(1−ᾱ_t) ε̂)/√(1−β) + κ √(β̃^(1−v) β^v) z, β = 1−ᾱ_t/ᾱ_s, β̃ = β(1−ᾱ_s)/(1−ᾱ_t); "
    "no noise at s = 0 (ALG-2, POST-5, VAR-1)",
    reference=drifting_step,
    returns=("x_s",),
    cases=_step_cases,
    hidden=_step_hidden,
    properties=(Property("normal data of variance κ² keep it, with the exact ε̂ and v = 1", _walk_keeps_the_law),),
    mistakes=(
        Mistake(
            "variance for standard deviation",
            "z is multiplied by the variance; it takes its root.",
            _step_with(root=lambda b, p, v, k: k**2 * p ** (1 - v) * b**v),
        ),
        Mistake(
            "noise at the last step (E-24)",
            "noise was added where s = 0; the clean state is the end of the walk and gets none.",
            _step_with(last=False),
        ),
        Mistake(
            "β for β/√(1−ᾱ_t)",
            "the noise estimate is multiplied by κβ; ε̂ is the noise of all steps, and the share is β/√(1−ᾱ_t).",
            _step_with(slope=lambda s, t: 1 - t / s),
        ),
        Mistake(
            "the estimate subtracted whole (E-46)",
            "κ√(1−ᾱ_t) ε̂ is all the noise in x_t; one step takes off the share β/√(1−ᾱ_t).",
            _step_with(slope=lambda s, t: (1 - t).sqrt()),
        ),
        Mistake(
            "√ᾱ_t in the prefactor",
            "the difference is divided by √ᾱ_t; it is divided by √(ᾱ_t/ᾱ_s), the share this step keeps.",
            _step_with(denominator=lambda s, t: t.sqrt()),
        ),
        Mistake(
            "v and 1 − v exchanged",
            "v = 1 gave β̃ and v = 0 gave β; it is the other way round.",
            _step_with(root=lambda b, p, v, k: k * (p**v * b ** (1 - v)).sqrt()),
        ),
        Mistake(
            "the variances averaged",
            "the variances were interpolated; their logarithms are: β̃^(1−v) β^v.",
            _step_with(root=lambda b, p, v, k: k * ((1 - v) * p + v * b).sqrt()),
        ),
        Mistake(
            "drift to zero",
            "x_t shrinks from 0; the process drifts to m, so x_t − m is what is rescaled, and m is added.",
            _step_with(mean=lambda m, x, e, d: (x - e) / d),
        ),
        Mistake(
            "κ forgotten at ε̂",
            "ε̂ estimates standard normal noise; in x_t it has the size κ√(1−ᾱ_t).",
            _step_with(eps_kappa=False),
        ),
        Mistake(
            "sign of ε̂",
            "the noise estimate was added; it is taken off.",
            _step_with(mean=lambda m, x, e, d: m + (x - m + e) / d),
        ),
        Mistake(
            "no root below β",
            "the estimate is multiplied by κβ/(1−ᾱ_t); below β stands the root of 1 − ᾱ_t.",
            _step_with(slope=lambda s, t: (1 - t / s) / (1 - t)),
        ),
        Mistake(
            "ε̂ outside the division",
            "only x_t − m was divided by √(1−β); the estimate is taken off first, and the difference divided.",
            _step_with(mean=lambda m, x, e, d: m + (x - m) / d - e),
        ),
        Mistake(
            "x_t not centred",
            "x_t itself was rescaled and m added; what is rescaled is x_t − m.",
            _step_with(mean=lambda m, x, e, d: m + (x - e) / d),
        ),
        Mistake("m not put back", "this is x_s − m.", _step_with(mean=lambda m, x, e, d: (x - m - e) / d)),
        Mistake(
            "κ forgotten at z",
            "the fresh noise lacks κ: its standard deviation is κ√(β̃^(1−v) β^v).",
            _step_with(root=lambda b, p, v, k: (p ** (1 - v) * b**v).sqrt()),
        ),
        Mistake(
            "no root at z",
            "z is multiplied by κ β̃^(1−v) β^v; that is κ times a variance, and the root of it is missing.",
            _step_with(root=lambda b, p, v, k: k * p ** (1 - v) * b**v),
        ),
        Mistake(
            "no fresh noise",
            "z was left out: this is the mean of the step.",
            _step_with(root=lambda b, p, v, k: 0 * v),
        ),
        Mistake(
            "the step from t − 1",
            "s was taken for t − 1, whatever it is; the way down may skip times.",
            lambda a, m, k, x_t, eps, v, s, t, z: drifting_step(
                a, m, k, x_t, eps, v, t - 1, t, z * _coefficient(s > 0, z)
            ),
        ),
        Mistake(
            "one s for the whole batch",
            "as soon as one s of the batch is 0, no example gets noise; each has an s of its own.",
            lambda a, m, k, x_t, eps, v, s, t, z: drifting_step(a, m, k, x_t, eps, v, s, t, z * bool(s.all())),
        ),
        Mistake(
            "the logarithm of 0",
            "β̃ is 0 at s = 0: its logarithm is −∞, and 0 · ∞ is nan. A power, β̃^(1−v), is 1 or 0 there.",
            _step_with(root=lambda b, p, v, k: k * torch.exp(((1 - v) * p.log() + v * b.log()) / 2)),
        ),
    ),
    start="x̂_0 − m = (x_t − m − κ√(1−ᾱ_t) ε̂)/√ᾱ_t in the mean of part 3. Collect x_t − m and ε̂; ᾱ_t/ᾱ_s is 1 − β.",
    hint="c = β/√(1−ᾱ_t), as in lesson 09 with ᾱ_t/ᾱ_s in the place of α_t. At s = 0 and v = 1 the variance formula "
    "gives β, not 0: multiply the noise by (s > 0).",
    see="On the chain β = (0.1, 0.25, 0.4, 0.6), s = 1, t = 2, m = 1, κ = 2, x_t = 0, ε̂ = 0.5, z = 1: mean −0.6611; "
    "with v = 0, −0.1064; with v = 1, 0.3389.",
)


BROKEN = {
    "A": "β for β/√(1−ᾱ_t)",
    "B": "variance for standard deviation",
    "C": "the estimate subtracted whole (E-46)",
}


def broken_walk(letter):
    """The step function of walk A, B or C of part 14."""
    return next(m.function for m in STEP.mistakes if m.name == BROKEN[letter])


EXERCISES = (
    CHAIN, KERNEL, POSTERIOR, PRIOR, LEARNED, DECODER, MIN_SNR, FEATURES, SHUFFLE, BLOCK, TRAIN, STEP
)  # fmt: skip
