"""Exercises of lesson 05: ᾱ, q_sample, q_transition for s < t, the cosine schedule, and a chain to be mended.

Ledger FWD-3, FWD-4, FWD-5, FWD-6, SCHED-1.
"""

import math

import torch

from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, ONE_T, T4, alpha_bar_of, normal, numbers, random_betas, steps_of, uniform


# ---- alpha_bar ------------------------------------------------------------------------------------------------------
def alpha_bar(betas):
    alpha = 1 - betas
    return torch.cat([torch.ones(1, dtype=betas.dtype), torch.cumprod(alpha, dim=0)])


def _alpha_bar_cases(generator):
    return [
        Case("T = 1, β = (0.3)", (numbers(0.3),)),
        Case("T = 4, β = (0.1, 0.25, 0.4, 0.6)", (T4[1:],)),
        Case("T = 30, random β", (random_betas(30, generator)[1:],)),
        Case("T = 1000, the linear schedule", (LONG[1:],)),
    ]


def _starts_clean(function):
    first = function(T4[1:])[0].item()
    return first == 1, f"alpha_bar[0] = {first:g}"


ALPHA_BAR = Exercise(
    equation="ᾱ_t = Π_{s≤t} (1 − β_s), ᾱ_0 = 1 (FWD-3)",
    reference=alpha_bar,
    returns=("alpha_bar",),
    cases=_alpha_bar_cases,
    properties=(Property("the clean state comes first: alpha_bar[0] is exactly 1", _starts_clean),),
    mistakes=mistakes(
        alpha_bar,
        ("without the product",
         "these are the α_t = 1 − β_t of single steps; ᾱ_t is the product of all of them up to t.",
         ("torch.cumprod(alpha, dim=0)", "alpha")),
        ("index shifted: the clean state is missing",
         "entry i holds ᾱ_{i+1}: put ᾱ_0 = 1 in front, so that alpha_bar[t] is ᾱ_t and the length is T + 1.",
         ("[torch.ones(1, dtype=betas.dtype), ", "[")),
        ("index shifted: one step too late",
         "entry t holds ᾱ_{t−1}: the 1 was put in front twice (or the last factor was dropped).",
         ("ones(1", "ones(2"), ("dim=0)", "dim=0)[:-1]")),
        ("product of β",
         "this multiplies the β_s; what survives a step is 1 − β_s, and that is what has to be multiplied.",
         ("cumprod(alpha", "cumprod(betas")),
        ("sum for product", "this is 1 − Σ β_s, the first-order approximation of the product; it even turns negative.",
         ("torch.cumprod(alpha, dim=0)", "1 - torch.cumsum(betas, dim=0)")),
        ("the noise share",
         "this is 1 − ᾱ_t, the share of the variance that is noise; ᾱ_t is what is left of the data.",
         ("return torch", "return 1 - torch")),
        ("the 1 at the end", "ᾱ_0 = 1 stands at the end; the clean state comes first.",
         lambda betas: alpha_bar(betas).roll(-1)),
        ("0 in front",
         "a 0 stands in front, as F.pad puts it there, or torch.zeros whose first entry was not set; before the first "
         "step all of the data is left: ᾱ_0 = 1.",
         ("torch.ones(1", "torch.zeros(1")),
        ("betas[t] for β_t",
         "entry t has the factors 1 − betas[1], ..., 1 − betas[t]; betas starts with β_1, so β_t is betas[t - 1].",
         ("alpha = 1 - betas", "alpha = 1 - torch.cat([betas[1:], 0 * betas[:1]])")),
        ("betas[t] for β_t, the last entry never filled",
         "entry t has the factors 1 − betas[1], ..., 1 − betas[t], and entry T still holds the 1 it was made with. "
         "betas starts with β_1, so β_t is betas[t - 1], for t up to T.",
         ("alpha = 1 - betas", "alpha = 1 - betas[1:]"), ("dim=0)]", "dim=0), torch.ones(1, dtype=betas.dtype)]")),
        ("the last entry never filled: 1",
         "entry T still holds the 1 it was made with: t has to go from 1 to T, which is range(1, T + 1).",
         ("dim=0)]", "dim=0)[:-1], torch.ones(1, dtype=betas.dtype)]")),
        ("the last entry never filled: 0",
         "entry T still holds the 0 it was made with: t has to go from 1 to T, which is range(1, T + 1).",
         ("dim=0)]", "dim=0)[:-1], torch.zeros(1, dtype=betas.dtype)]")),
        ("square root taken",
         "this is √ᾱ_t, the factor of x_0; the table holds ᾱ_t itself, the share of the variance that is left.",
         lambda betas: alpha_bar(betas).sqrt()),
    ),
    start="What fraction of the variance is left after one step? After two?",
    hint="torch.cumprod multiplies up; torch.cat puts a 1 in front.",
    see="For β = (0.1, 0.25, 0.4, 0.6): 1, 0.9, 0.675, 0.405, 0.162.",
)  # fmt: skip


# ---- q_sample -------------------------------------------------------------------------------------------------------
def q_sample(alpha_bar, x0, t, eps):
    signal = alpha_bar[t].sqrt()
    noise = (1 - alpha_bar[t]).sqrt()
    return expand(signal, x0) * x0 + expand(noise, x0) * eps


def _q_sample_cases(generator):
    def case(label, t, *shape, beta=T4, dtype=torch.float64):
        x0, eps = (normal(len(t), *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (alpha_bar_of(beta), x0, torch.tensor(t), eps))

    first = (alpha_bar_of(T4), numbers(1.0), torch.tensor([1]), numbers(2.0))
    return [
        Case("one number, T = 4, t = 1, x_0 = 1, ε = 2", first),
        case("x0 of shape (3, 5), T = 4, t = 0 (nothing may change)", [0, 0, 0], 5),
        case("x0 of shape (4, 4), a different t for each example", [3, 1, 4, 2], 4),
        case("x0 of shape (3, 5), random β", [7, 1, 9], 5, beta=random_betas(9, generator)),
        case("images of shape (3, 4, 6, 5), T = 1000", [1, 500, 1000], 4, 6, 5, beta=LONG),
        case("x0 of shape (5, 3) in float32", [4, 1, 2, 3, 1], 3, dtype=torch.float32),
    ]


def _keeps_the_variance(function):
    generator, n = torch.Generator().manual_seed(2), 40_000
    x0, eps = (normal(n, generator=generator) for _ in range(2))
    z = (function(alpha_bar_of(T4), x0, torch.full((n,), 2), eps).var().item() - 1) / math.sqrt(2 / n)
    return abs(z) < 5, f"z = {z:.1f}; beyond 5 by chance once in two million"


Q_SAMPLE = Exercise(
    equation="x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε (FWD-6)",
    reference=q_sample,
    returns=("x_t",),
    cases=_q_sample_cases,
    properties=(Property("data of variance 1 keep variance 1", _keeps_the_variance),),
    mistakes=mistakes(
        q_sample,
        ("square root missing on the signal", "x_0 is multiplied by ᾱ_t where the formula has √ᾱ_t.",
         ("alpha_bar[t].sqrt()", "alpha_bar[t]")),
        ("square root missing on the noise",
         "ε is multiplied by its variance 1 − ᾱ_t; a sample is scaled by the standard deviation √(1−ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "1 - alpha_bar[t]")),
        ("1 − √ᾱ for √(1−ᾱ)",
         "ε is multiplied by 1 − √ᾱ_t; the factor is √(1−ᾱ_t): the squares of the two factors sum to 1, not they.",
         ("(1 - alpha_bar[t]).sqrt()", "1 - signal")),
        ("noise subtracted",
         "ε is subtracted. The law is the same, but eps is then not the noise that was added, and a network trained "
         "to predict it would learn the wrong sign.",
         ("x0 + expand", "x0 - expand")),
        ("one noise for the whole batch",
         "the noise of the first example was used for all; each example has noise of its own.",
         lambda a, x, t, e: q_sample(a, x, t, e[:1].expand_as(e))),
        ("square root missing on both",
         "both square roots are missing: the two squared factors, not the factors, must sum to 1.",
         ("alpha_bar[t].sqrt()", "alpha_bar[t]"), ("(1 - alpha_bar[t]).sqrt()", "1 - alpha_bar[t]")),
        ("ᾱ_t taken for the signal",
         "x_0 has the factor ᾱ_t and ε the factor √(1−ᾱ_t²). Their squares sum to 1, but ᾱ_t is already the square of "
         "the signal: the factors are √ᾱ_t and √(1−ᾱ_t).",
         ("alpha_bar[t].sqrt()", "alpha_bar[t]"), ("(1 - alpha_bar[t])", "(1 - alpha_bar[t] ** 2)")),
        ("signal and noise swapped", "√(1−ᾱ_t) stands at x_0 and √ᾱ_t at ε: at t = 0 this is pure noise.",
         lambda a, x, t, e: q_sample(a, e, t, x)),
        ("ᾱ without the product",
         "these are the coefficients √α_t and √β_t of the single step from t − 1 to t; from x_0 it takes ᾱ_t.",
         lambda a, x, t, e: q_sample(steps_of(a), x, t, e)),
        ("index shifted: t − 1",
         "this is ᾱ_{t−1}: the table starts with the clean state, so ᾱ_t is alpha_bar[t], without a shift.",
         lambda a, x, t, e: q_sample(a, x, t - 1, e)),
        ("index shifted: t + 1", "this is ᾱ_{t+1}, one step too noisy, and it runs past the table at t = T.",
         lambda a, x, t, e: q_sample(a, x, t + 1, e)),
        ("noise not scaled", "ε is added at full size at every t; its factor is √(1−ᾱ_t), which is 0 at t = 0.",
         ("expand(noise, x0) * eps", "eps")),
        ("signal not scaled", "x_0 is not shrunk: without the factor √ᾱ_t the variance grows past 1.",
         ("expand(signal, x0) * x0", "x0")),
        ("broadcast over the wrong axis",
         "a coefficient of shape (B,) was lined up with the last axis of x0 instead of the batch; expand(coefficient, "
         "x0) lines it up.",
         ("expand(signal, x0)", "signal.to(x0.dtype)"), ("expand(noise, x0)", "noise.to(x0.dtype)")),
        ("one t for the whole batch", ONE_T, lambda a, x, t, e: q_sample(a, x, t[:1].expand(len(t)), e)),
        ("a fixed seed instead of the given noise",
         "eps was ignored; torch.manual_seed(0) makes the noise repeatable, and the same at every call.",
         ("return", "torch.manual_seed(0)\n    eps = torch.randn_like(x0)\n    return")),
    ),
    start="Which two numbers multiply x_0 and ε? They depend on t only, so there is one of each per example.",
    hint="alpha_bar[t] has shape (B,). expand(c, x0) from dlgm.tensors lines it up with x0 and casts it.",
    see="At t = 0 you get x0 back; for large t hardly anything of it.",
)  # fmt: skip


# ---- q_transition ---------------------------------------------------------------------------------------------------
def q_transition(alpha_bar, x_s, s, t):
    ratio = alpha_bar[t] / alpha_bar[s]
    mean = expand(ratio.sqrt(), x_s) * x_s
    return mean, 1 - ratio


def _transition_cases(generator):
    def case(label, s, t, *shape, beta=T4):
        x = normal(len(s), *shape, generator=generator)
        return Case(label, (alpha_bar_of(beta), x, torch.tensor(s), torch.tensor(t)))

    first = (alpha_bar_of(T4), numbers(2.0), torch.tensor([1]), torch.tensor([2]))
    return [
        Case("one number, T = 4, x_s = 2, s = 1, t = 2 (a single step)", first),
        case("x_s of shape (3, 5), T = 4, s = 0 (from the clean state)", [0, 0, 0], [3, 1, 4], 5),
        case("x_s of shape (4, 4), different s and t", [1, 0, 2, 1], [3, 2, 4, 2], 4),
        case("x_s of shape (3, 5), random β", [2, 0, 7], [9, 5, 8], 5, beta=random_betas(9, generator)),
        case("images of shape (3, 4, 6, 5), T = 1000", [250, 0, 600], [700, 500, 1000], 4, 6, 5, beta=LONG),
    ]


def _composes(function):
    table, x = alpha_bar_of(T4), numbers(1.3)
    r, s, t = (torch.tensor([k]) for k in (0, 2, 4))
    m1, v1 = function(table, x, r, s)
    m2, v2 = function(table, m1, s, t)
    mean, var = function(table, x, r, t)
    shrink = (table[t] / table[s]).item()
    gap = max((m2 - mean).abs().item(), (v2 + shrink * v1 - var).abs().item())
    return gap < 1e-12, f"largest gap {gap:.0e}"


Q_TRANSITION = Exercise(
    equation="q(x_t | x_s) = N(√(ᾱ_t/ᾱ_s) x_s, (1 − ᾱ_t/ᾱ_s) I), s < t (FWD-5)",
    reference=q_transition,
    returns=("mean", "var"),
    cases=_transition_cases,
    properties=(Property("two jumps, 0 → 2 and 2 → 4, make the jump 0 → 4", _composes),),
    mistakes=mistakes(
        q_transition,
        ("square root missing on the signal",
         "the mean is multiplied by ᾱ_t/ᾱ_s; its factor is the square root of that.",
         ("ratio.sqrt()", "ratio")),
        ("standard deviation for variance",
         "var holds √(1 − ᾱ_t/ᾱ_s), the standard deviation; the variance is its square.",
         ("1 - ratio", "(1 - ratio).sqrt()")),
        ("square root inside the variance",
         "the variance is 1 − ᾱ_t/ᾱ_s, without a root: the squared factor of the mean and the variance sum to 1.",
         ("1 - ratio", "1 - ratio.sqrt()")),
        ("ratio upside down", "the ratio is ᾱ_s/ᾱ_t, above 1: the mean grows and the variance is negative.",
         ("alpha_bar[t] / alpha_bar[s]", "alpha_bar[s] / alpha_bar[t]")),
        ("the kernel from x_0", "this is q(x_t | x_0), right only for s = 0: x_s has been shrunk and noised already.",
         (" / alpha_bar[s]", "")),
        ("the variance from x_0",
         "var is 1 − ᾱ_t, the variance when x_0 is known; x_s is known here, so less noise has been added since.",
         ("1 - ratio", "1 - alpha_bar[t]")),
        ("the mean from x_0", "the mean is √ᾱ_t x_s; x_s has been shrunk by √ᾱ_s already.",
         ("ratio.sqrt()", "alpha_bar[t].sqrt()")),
        ("the first t − s steps",
         "this is ᾱ_{t−s}, the product of the first t − s steps; the steps from s to t are others.",
         ("alpha_bar[t] / alpha_bar[s]", "alpha_bar[t - s]")),
        ("a single step", "this is the step from t − 1 to t whatever s is; it agrees only for s = t − 1.",
         ("alpha_bar[s]", "alpha_bar[t - 1]")),
        ("difference of the variances",
         "var is (1−ᾱ_t) − (1−ᾱ_s): the noise that x_s already has is shrunk on the way to t as well, by ᾱ_t/ᾱ_s, "
         "before the variances add.",
         ("1 - ratio", "alpha_bar[s] - alpha_bar[t]")),
        ("index shifted: step s counted too",
         "this is the product of α from s to t, ᾱ_t/ᾱ_{s−1}; the steps that lead from s to t are s + 1, ..., t.",
         ("alpha_bar[s]", "alpha_bar[s - 1]")),
        ("index shifted: the last step left out", "this is ᾱ_{t−1}/ᾱ_s: the step to t itself is missing.",
         ("alpha_bar[t]", "alpha_bar[t - 1]")),
        ("broadcast over the wrong axis",
         "a coefficient of shape (B,) was lined up with the last axis of x_s instead of the batch.",
         ("expand(ratio.sqrt(), x_s)", "ratio.sqrt()")),
    ),
    start="The steps from s to t multiply the signal by √α_{s+1} ··· √α_t. Write that product with ᾱ.",
    hint="ᾱ_t/ᾱ_s plays the part that ᾱ_t plays in the kernel from x_0.",
    see="For s = t − 1 the variance is β_t; for s = 0 it is 1 − ᾱ_t.",
)  # fmt: skip


# ---- cosine_betas ---------------------------------------------------------------------------------------------------
def cosine_betas(T, s, max_beta):
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + s) / (1 + s) * torch.pi / 2) ** 2
    alpha_bar = f / f[0]
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta)


def _cosine_cases(generator):
    return [
        Case("T = 2, s = 0.5, max_beta = 0.9", (2, 0.5, 0.9)),  # angles of 30, 60, 90°: ᾱ = 1, 1/3, 0
        Case("T = 4, s = 0.05, max_beta = 0.5", (4, 0.05, 0.5)),
        Case("T = 25, random s, max_beta = 0.99", (25, 0.2 * uniform(1, generator=generator).item(), 0.99)),
        Case("T = 1000, s = 0.008, max_beta = 0.999", (1000, 0.008, 0.999)),
    ]


def _ends_in_noise(function):
    last = (1 - function(1000, 0.008, 0.999)).prod().item()
    return 0 < last < 1e-6, f"ᾱ_T = {last:.1e} for T = 1000"


COSINE_BETAS = Exercise(
    equation="ᾱ_t = f(t)/f(0), f(t) = cos²(π/2 · (t/T + s)/(1 + s)), β_t = min(1 − ᾱ_t/ᾱ_{t−1}, max_beta) (SCHED-1)",
    reference=cosine_betas,
    returns=("betas",),
    cases=_cosine_cases,
    properties=(Property("the chain ends in noise", _ends_in_noise),),
    mistakes=mistakes(
        cosine_betas,
        ("cosine not squared", "ᾱ is a squared cosine; √ᾱ is the cosine.", (" ** 2", "")),
        ("not divided by f(0)",
         "f(0) is a little below 1: without dividing by it the first step removes the difference on top.",
         ("f / f[0]", "torch.cat([f.new_ones(1), f[1:]])")),
        ("offset s left out", "s is ignored: the first β is then far too small.", ("(t / T + s) / (1 + s)", "t / T")),
        ("not divided by 1 + s",
         "t/T + s is not divided by 1 + s: the angle passes π/2 before the end and β turns negative.",
         (" / (1 + s)", "")),
        ("only s divided by 1 + s",
         "this has t/T + s/(1 + s); the whole sum t/T + s is divided by 1 + s. As it is, the angle passes π/2 before "
         "the end and β turns negative.",
         ("(t / T + s) / (1 + s)", "(t / T + s / (1 + s))")),
        ("index shifted: one step early", "entry t holds β_{t+1}: f was taken at 1..T+1 instead of 0..T.",
         ("arange(T + 1", "arange(1, T + 2")),
        ("index shifted: one step late", "entry t holds β_{t−1}: f was taken at −1..T−1 instead of 0..T.",
         ("arange(T + 1", "arange(-1, T")),
        ("π for π/2", "the angle runs to π instead of π/2: the signal comes back.", ("torch.pi / 2", "torch.pi")),
        ("β not clipped",
         "the last β is 1: no signal would be left at all. min(β, max_beta) keeps every α_t above 0, so that later "
         "formulas may divide by it.",
         (".clamp(max=max_beta)", "")),
        ("max_beta as the smallest value",
         "clamp(max_beta) raises every β to at least max_beta, because the first argument of clamp is the minimum; "
         "clamp(max=max_beta) limits β from above.",
         ("max=max_beta", "max_beta")),
        ("max_beta ignored", "β is clipped at 0.999 whatever max_beta says.", ("max=max_beta", "max=0.999")),
        ("s hard-coded", "s is 0.008 here whatever was passed in.",
         lambda T, s, max_beta: cosine_betas(T, 0.008, max_beta)),
        ("α returned instead of β", "these are α_t = ᾱ_t/ᾱ_{t−1}; β_t = 1 − α_t.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "alpha_bar[1:] / alpha_bar[:-1]")),
        ("the total noise", "this is 1 − ᾱ_t, the noise of all steps up to t; β_t is that of one step.",
         ("alpha_bar[1:] / alpha_bar[:-1]", "alpha_bar[1:]")),
        ("ᾱ returned instead of β", "these are ᾱ_1..ᾱ_T; the function returns the β_t they belong to.",
         ("(1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta)", "alpha_bar[1:]")),
        ("ratio upside down", "this is 1 − ᾱ_{t−1}/ᾱ_t, negative at every t.",
         ("alpha_bar[1:] / alpha_bar[:-1]", "alpha_bar[:-1] / alpha_bar[1:]")),
        ("computed in float32",
         "schedules are computed in float64: 1 − ᾱ_t/ᾱ_{t−1} in float32 leaves three digits of β_1. Start from "
         "torch.arange(T + 1, dtype=torch.float64).",
         ("float64", "float32")),
    ),
    start="Compute f at t = 0, 1, ..., T in one go, T + 1 numbers.",
    hint="alpha_bar[1:] / alpha_bar[:-1] holds α_1..α_T.",
    see="Small β at first, rising to 1 at the last step, where max_beta cuts it off.",
)  # fmt: skip


# ---- mended_betas ---------------------------------------------------------------------------------------------------
def mended_betas(beta, times):
    alpha_bar = (1 - beta).cumprod(0)[times]
    return torch.cat([beta[:1], 1 - alpha_bar[1:] / alpha_bar[:-1]])


def public_betas(beta, times):
    """The shorter chain of lesson 05 that is to be mended: it takes the β of the visited steps."""
    return beta[times]


def _mended_cases(generator):
    def case(label, beta, times, dtype=torch.float64):
        return Case(label, (beta.to(dtype), torch.tensor(times)))

    return [
        case("T = 2, β = (0, ½, ½), times 0 and 2", numbers(0.0, 0.5, 0.5), [0, 2]),
        case("T = 4, every state visited (nothing may change)", T4, [0, 1, 2, 3, 4]),
        case("T = 4, times 0, 2 and 3: it stops before T", T4, [0, 2, 3]),
        case("T = 9, random β, unequal jumps", random_betas(9, generator), [0, 1, 4, 6, 9]),
        case("T = 12, random β, unequal jumps", random_betas(12, generator), [0, 3, 5, 9, 10, 12]),
        case("T = 1000, the linear schedule, every 20th state", LONG, list(range(0, 1001, 20))),
        case("T = 1000, the linear schedule, times 0, 400 and 1000 (the last β is almost 1)", LONG, [0, 400, 1000]),
        case(
            "T = 4, β = (0, 1e-5, 2e-5, 0.99, 0.999), times 0, 1, 2 and 4",
            numbers(0.0, 1e-5, 2e-5, 0.99, 0.999),
            [0, 1, 2, 4],
        ),
        case("T = 7 in float32, random β", random_betas(7, generator), [0, 3, 5, 7], torch.float32),
    ]


def _keeps_the_levels(function):
    beta, times = numbers(0.0, 0.2, 0.05, 0.5, 0.3, 0.1, 0.4), torch.tensor([0, 2, 3, 6])
    gap = (alpha_bar_of(function(beta, times)) - alpha_bar_of(beta)[times]).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


MENDED_BETAS = Exercise(
    equation="β'_i = 1 − ᾱ_t/ᾱ_s for s = times[i − 1], t = times[i], and β'_0 = 0 (FWD-5)",
    reference=mended_betas,
    returns=("beta",),
    cases=_mended_cases,
    properties=(Property("the short chain has the ᾱ of the long one at each of the times", _keeps_the_levels),),
    mistakes=mistakes(
        mended_betas,
        ("as it came: the β of the visited step",
         "entry i is the β of step times[i] alone, the last of the steps that are merged. The noise of the steps "
         "before it, back to times[i − 1], is missing.",
         public_betas),
        ("the β of the steps added up",
         "the β between two visits were added up, but later steps shrink earlier noise. The β of a jump from s to t is "
         "1 − ᾱ_t/ᾱ_s, close to the sum for small β only.",
         ("alpha_bar = (1 - beta).cumprod(0)[times]", "total = beta.cumsum(0)[times]"),
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "total[1:] - total[:-1]")),
        ("multiplied by the number of steps",
         "the β of the visited step was multiplied by the number of steps since the last visit. These steps differ, "
         "and later ones shrink earlier noise: the β of a jump from s to t is 1 − ᾱ_t/ᾱ_s.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "beta[times[1:]] * (times[1:] - times[:-1])")),
        ("one β to the power of the jump's length",
         "1 − (1 − β_t)ⁿ stands for a jump of n steps to t, as if each of them had the last one's β; they differ.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "1 - (1 - beta[times[1:]]) ** (times[1:] - times[:-1])")),
        ("divided by the later ᾱ",
         "for a jump from s to t this is (ᾱ_s − ᾱ_t)/ᾱ_t, above 1 for long jumps; it is a share of what is left at s: "
         "divide by ᾱ_s.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "alpha_bar[:-1] / alpha_bar[1:] - 1")),
        ("exp(−Σβ) for the product",
         "for a jump this is 1 − exp(−Σβ); the share that is left is the product of 1 − β, which is smaller.",
         ("alpha_bar = (1 - beta).cumprod(0)[times]", "alpha_bar = (-beta.cumsum(0)).exp()[times]")),
        ("the noise from the clean state on",
         "entry i is 1 − ᾱ_t with t = times[i], the noise of all steps since the clean state. One step of the short "
         "chain starts from the state before it: divide by the ᾱ there.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "1 - alpha_bar[1:]")),
        ("α for β",
         "entries 1 to K are ᾱ_t/ᾱ_s, the share of the variance that a jump from s to t keeps; β is 1 minus that.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "alpha_bar[1:] / alpha_bar[:-1]")),
        ("the last step of each jump left out",
         "the product of 1 − β ends at step times[i] − 1; step times[i] itself belongs to the jump.",
         ("(1 - beta).cumprod(0)[times]", "(1 - beta).cumprod(0)"),
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "1 - alpha_bar[times[1:] - 1] / alpha_bar[times[:-1]]")),
        ("the step to the earlier state counted too",
         "the product of 1 − β starts at step times[i − 1], which has led to the earlier state already; the jump "
         "starts with the step after it.",
         ("(1 - beta).cumprod(0)[times]", "(1 - beta).cumprod(0)"),
         ("1 - alpha_bar[1:] / alpha_bar[:-1]",
          "1 - alpha_bar[times[1:]] / alpha_bar[(times[:-1] - 1).clamp(min=0)]")),
        ("index shifted: one step early",
         "the product of 1 − β runs over the steps times[i − 1] to times[i] − 1, one step early. beta[0] = 0 stands in "
         "front already, so β_t is beta[t] and (1 − beta).cumprod(0)[t] is ᾱ_t.",
         ("(1 - beta)", "(1 - beta.roll(1).index_fill(0, torch.tensor([0]), 0))")),
        ("the β of the first step of the jump",
         "entry i is the β of step times[i − 1] + 1 alone, the first of the steps that are merged; the noise of the "
         "others is missing.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "beta[times[:-1] + 1]")),
        ("a root in the ratio",
         "for a jump from s to t this is 1 − √(ᾱ_t/ᾱ_s). The root belongs to the factor of the state; β is a "
         "variance, 1 − ᾱ_t/ᾱ_s.",
         ("alpha_bar[1:] / alpha_bar[:-1]", "(alpha_bar[1:] / alpha_bar[:-1]).sqrt()")),
        ("without the product",
         "for a jump from s to t this is 1 − α_t/α_s, with α = 1 − β of two single steps. What all steps up to t keep "
         "is the product ᾱ_t of their α.",
         (".cumprod(0)", "")),
        ("ratio upside down",
         "for a jump from s to t this is 1 − ᾱ_s/ᾱ_t, which is negative; the later ᾱ is divided by the earlier one.",
         ("alpha_bar[1:] / alpha_bar[:-1]", "alpha_bar[:-1] / alpha_bar[1:]")),
        ("difference for ratio",
         "this is ᾱ_s − ᾱ_t, what a jump from s to t takes away as a share of the clean data. A β is a share of what "
         "is left at s: divide by ᾱ_s.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "alpha_bar[:-1] - alpha_bar[1:]")),
        ("index 0 is missing",
         "the answer starts with the β of the first jump. Put a 0 in front, so that its length is that of times.",
         ("torch.cat([beta[:1], 1 - alpha_bar[1:] / alpha_bar[:-1]])", "1 - alpha_bar[1:] / alpha_bar[:-1]")),
        ("the last entry never filled",
         "the last entry is still 0; i has to go from 1 to K, which is range(1, K + 1) or range(1, len(times)).",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]])", "1 - alpha_bar[1:-1] / alpha_bar[:-2], beta[:1]])")),
        ("the largest β of the jump",
         "entry i is the largest β between two visits. Every step of the jump adds noise, not the strongest alone.",
         lambda beta, times: torch.stack(
             [beta[0], *(beta[s + 1 : t + 1].max() for s, t in zip(times[:-1], times[1:], strict=True))])),
        ("the mean β of the jump",
         "entry i is the mean of the β between two visits, the noise of one average step. The jump has the noise of "
         "all of them.",
         lambda beta, times: torch.stack(
             [beta[0], *(beta[s + 1 : t + 1].mean() for s, t in zip(times[:-1], times[1:], strict=True))])),
        ("the logarithm",
         "for a jump from s to t this is −log(ᾱ_t/ᾱ_s), close to 1 − ᾱ_t/ᾱ_s for small β only, and above it always.",
         ("1 - alpha_bar[1:] / alpha_bar[:-1]", "-(alpha_bar[1:] / alpha_bar[:-1]).log()")),
    ),
    start="How much noise do all steps from times[i − 1] to times[i] add together?",
    hint="You know the law of a jump from any s to any t. Its variance is what a single step calls β.",
    see="For β = (0, ½, ½) and times 0, 2 the answer is (0, ¾).",
)  # fmt: skip

EXERCISES = (ALPHA_BAR, Q_SAMPLE, Q_TRANSITION, COSINE_BETAS, MENDED_BETAS)
