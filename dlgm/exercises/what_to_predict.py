"""Exercises of lesson 08: x̂_0 from ε̂, v, the constant of the KL, the weight of the bound, L_simple, and heads.

Ledger PAR-1, PAR-3, PAR-4, LOSS-1, LOSS-3, LOSS-5, LOSS-9.
"""

import math

import torch

from ..course.what_to_predict import HEADS, Network
from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import (
    LONG,
    ONE_T,
    T4,
    Line,
    alpha_bar_of,
    mixed,
    noise_at,
    normal,
    numbers,
    random_betas,
    signal_at,
    steps_of,
    uniform,
)


def _cases_of_two(generator):
    """(alpha_bar, two tensors of one shape, t), the arguments of eps_to_x0 and of v_target."""

    def case(label, t, *shape, beta=T4, dtype=torch.float64):
        shape = (len(t), *shape)
        a, b = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (alpha_bar_of(beta), a, b, torch.tensor(t)))

    return [
        Case("one number, T = 4, t = 2", (alpha_bar_of(T4), numbers(1.0), numbers(2.0), torch.tensor([2]))),
        case("three numbers, T = 4, t = 3, 1 and 4 (the last)", [3, 1, 4]),
        case("shape (6, 6), each example with its own t", [3, 1, 4, 2, 2, 3], 6),
        case("shape (3, 4), random β", [7, 2, 5], 4, beta=random_betas(9, generator)),
        case("images of shape (4, 3, 5, 6), T = 1000", [500, 1, 999, 40], 3, 5, 6, beta=LONG),
        case("shape (3, 5) in float32", [2, 4, 3], 5, dtype=torch.float32),
    ]


# ---- eps_to_x0 ------------------------------------------------------------------------------------------------------
def eps_to_x0(alpha_bar, x_t, eps, t):
    signal = alpha_bar[t].sqrt()
    noise = (1 - alpha_bar[t]).sqrt()
    return (x_t - expand(noise, x_t) * eps) / expand(signal, x_t)


def _lands_on_x0(function):
    generator, table = torch.Generator().manual_seed(3), alpha_bar_of(LONG)
    x0, eps = (normal(5, 2, generator=generator) for _ in range(2))
    t = torch.tensor([1, 10, 200, 700, 1000])
    gap = (function(table, mixed(table, x0, eps, t), eps, t) - x0).abs().max().item()
    return gap < 1e-10, f"largest distance {gap:.0e} for T = 1000"


def _amplifies(function):
    table, one, t = alpha_bar_of(LONG), torch.ones(1, dtype=torch.float64), torch.tensor([1000])
    moved = abs((function(table, one, 1.01 * one, t) - function(table, one, one, t)).item())
    return abs(moved / 0.01 - 157.4) < 0.1, f"{moved / 0.01:.1f}-fold"


EPS_TO_X0 = Exercise(
    equation="x_0 = (x_t − √(1−ᾱ_t) ε) / √ᾱ_t (PAR-1)",
    reference=eps_to_x0,
    returns=("x0",),
    cases=_cases_of_two,
    properties=(
        Property("with the true noise it gives back x_0", _lands_on_x0),
        Property("at t = 1000 of the linear schedule an error of ε counts 157-fold", _amplifies),
    ),
    mistakes=mistakes(
        eps_to_x0,
        ("not divided by √ᾱ_t", "this is √ᾱ_t x_0, the shrunk picture; divide by √ᾱ_t to undo the shrinking.",
         (" / expand(signal, x_t)", "")),
        ("divided by ᾱ_t",
         "x_0 was multiplied by √ᾱ_t on the way up, so it is √ᾱ_t, not ᾱ_t, that has to be divided out.",
         ("signal = alpha_bar[t].sqrt()", "signal = alpha_bar[t]")),
        ("square root missing on the noise", "ε is multiplied by the variance 1 − ᾱ_t; the noise in x_t is √(1−ᾱ_t) ε.",
         ("(1 - alpha_bar[t]).sqrt()", "1 - alpha_bar[t]")),
        ("noise added", "the noise is added a second time; to get rid of it, subtract it.",
         ("x_t - expand", "x_t + expand")),
        ("the predicted noise subtracted as it is",
         "this is x_t − ε: the noise in x_t is √(1−ᾱ_t) ε, and what remains is √ᾱ_t x_0.",
         lambda a, x, e, t: x - e),
        ("noise not scaled", "ε is subtracted at full size; in x_t it stands with the factor √(1−ᾱ_t).",
         ("expand(noise, x_t) * eps", "eps")),
        ("only the noise divided", "√ᾱ_t divides the whole difference x_t − √(1−ᾱ_t) ε; here the bracket is missing.",
         ("(x_t - expand(noise, x_t) * eps)", "x_t - expand(noise, x_t) * eps")),
        ("multiplied by √ᾱ_t", "the difference is multiplied by √ᾱ_t once more, where it has to be divided by it.",
         (") / expand", ") * expand")),
        ("the mean of one step",
         "this is (x_t − β_t/√(1−ᾱ_t) ε)/√α_t, the mean of x_{t−1} (POST-5); x_0 lies t steps back.",
         ("alpha_bar[t].sqrt()", "(alpha_bar[t] / alpha_bar[t - 1]).sqrt()"),
         ("= (1 - alpha_bar[t]).sqrt()", "= (1 - signal**2) / (1 - alpha_bar[t]).sqrt()")),
        ("α_t for ᾱ_t",
         "these are the factors √α_t and √β_t of a single step; from x_0 to x_t it takes the product ᾱ_t.",
         lambda a, x, e, t: eps_to_x0(steps_of(a), x, e, t)),
        ("signal and noise swapped", "√ᾱ_t multiplies ε and √(1−ᾱ_t) divides: it is the other way round.",
         ("expand(noise, x_t) * eps) / expand(signal, x_t)", "expand(signal, x_t) * eps) / expand(noise, x_t)")),
        ("1 − √ᾱ for √(1−ᾱ)", "ε is multiplied by 1 − √ᾱ_t; the factor is √(1−ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "1 - signal")),
        ("index shifted: t − 1",
         "this is ᾱ_{t−1}: the table starts with the clean state, so ᾱ_t is alpha_bar[t], without a shift.",
         lambda a, x, e, t: eps_to_x0(a, x, e, t - 1)),
        ("index shifted: t + 1", "this is ᾱ_{t+1}, one step too noisy, and it runs past the table at t = T.",
         lambda a, x, e, t: eps_to_x0(a, x, e, t + 1)),
        ("clamped to [−1, 1]",
         "the answer was clamped to [−1, 1]. A sampler of pictures may do that with its estimate (lesson 12); the "
         "identity holds for data of any size.",
         lambda a, x, e, t: eps_to_x0(a, x, e, t).clamp(-1, 1)),
        ("one t for the whole batch", ONE_T, lambda a, x, e, t: eps_to_x0(a, x, e, t[:1].expand(len(t)))),
        ("broadcast over the wrong axis",
         "a coefficient of shape (B,) was lined up with the last axis instead of the batch; expand lines it up.",
         ("expand(noise, x_t)", "noise.to(x_t.dtype)"), ("expand(signal, x_t)", "signal.to(x_t.dtype)")),
        ("the arguments of expand exchanged",
         "expand takes the coefficient first: expand(c, x_t); with x_t first, x_t itself stands where the factor "
         "should, or the call raises.",
         ("expand(noise, x_t)", "expand(x_t, noise)"), ("expand(signal, x_t)", "expand(x_t, signal)")),
    ),
    start="Write down x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε and solve for x_0.",
    hint="alpha_bar[t] has shape (B,). expand(c, x_t) from dlgm.tensors lines it up with x_t and casts it.",
    see="For T = 4 at t = 4, ᾱ_4 = 0.162: from x_t = ε = 1 you get (1 − 0.9154)/0.4025 = 0.2101.",
)  # fmt: skip


# ---- v_target -------------------------------------------------------------------------------------------------------
def v_target(alpha_bar, x0, eps, t):
    signal = expand(alpha_bar[t].sqrt(), x0)
    noise = expand((1 - alpha_bar[t]).sqrt(), x0)
    return signal * eps - noise * x0


def _turns_back(function):
    generator, table, t = torch.Generator().manual_seed(4), alpha_bar_of(T4), torch.tensor([1, 2, 4])
    x0, eps = (normal(3, 2, generator=generator) for _ in range(2))
    v = function(table, x0, eps, t)
    signal, noise = signal_at(table, t, x0), noise_at(table, t, x0)
    x_t = mixed(table, x0, eps, t)
    gap = max((signal * x_t - noise * v - x0).abs().max(), (noise * x_t + signal * v - eps).abs().max()).item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


V_TARGET = Exercise(
    equation="v = √ᾱ_t ε − √(1−ᾱ_t) x_0 (PAR-3; Salimans & Ho 2022)",
    reference=v_target,
    returns=("v",),
    cases=_cases_of_two,
    properties=(Property("x_0 = √ᾱ_t x_t − √(1−ᾱ_t) v and ε = √(1−ᾱ_t) x_t + √ᾱ_t v", _turns_back),),
    mistakes=mistakes(
        v_target,
        ("sign of v", "this is −v = √(1−ᾱ_t) x_0 − √ᾱ_t ε; v points from the data towards the noise.",
         ("signal * eps - noise * x0", "noise * x0 - signal * eps")),
        ("plus for minus",
         "the two parts are added; with a plus sign v is not at right angles to x_t, and x_0 cannot be got back by "
         "√ᾱ_t x_t − √(1−ᾱ_t) v.",
         ("eps - noise", "eps + noise")),
        ("alpha and sigma swapped", "√(1−ᾱ_t) stands at ε and √ᾱ_t at x_0; in v it is the other way round than in x_t.",
         ("signal * eps - noise * x0", "noise * eps - signal * x0")),
        ("x_t for v", "this is x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε itself, which the network is given.",
         ("signal * eps - noise * x0", "signal * x0 + noise * eps")),
        ("target x_t − x_0", "this is x_t − x_0, what the noising changed; v is √ᾱ_t ε − √(1−ᾱ_t) x_0.",
         ("signal * eps - noise * x0", "signal * x0 + noise * eps - x0")),
        ("squares for roots", "ᾱ_t and 1 − ᾱ_t stand where the formula has their square roots.",
         ("alpha_bar[t].sqrt()", "alpha_bar[t]"), ("(1 - alpha_bar[t]).sqrt()", "1 - alpha_bar[t]")),
        ("square root missing on the signal", "ε is multiplied by ᾱ_t; its factor is √ᾱ_t.",
         ("alpha_bar[t].sqrt()", "alpha_bar[t]")),
        ("square root missing on the noise", "x_0 is multiplied by 1 − ᾱ_t; its factor is √(1−ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "1 - alpha_bar[t]")),
        ("1 − √ᾱ for √(1−ᾱ)", "x_0 is multiplied by 1 − √ᾱ_t; the factor is √(1−ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "1 - alpha_bar[t].sqrt()")),
        ("ε − x_0",
         "this is ε − x_0, the velocity on a straight line between data and noise (flow matching, lesson 22); "
         "the diffusion kernel moves on a circle, and v has the factors √ᾱ_t and √(1−ᾱ_t).",
         ("signal * eps - noise * x0", "eps - x0")),
        ("x_t for x_0", "x_t was put where the formula has x_0: v = √ᾱ_t ε − √(1−ᾱ_t) x_0.",
         ("noise * x0", "noise * (signal * x0 + noise * eps)")),
        ("α_t for ᾱ_t", "these are the factors √α_t and √β_t of a single step; v has the product ᾱ_t.",
         lambda a, x, e, t: v_target(steps_of(a), x, e, t)),
        ("index shifted: t − 1",
         "this is ᾱ_{t−1}: the table starts with the clean state, so ᾱ_t is alpha_bar[t], without a shift.",
         lambda a, x, e, t: v_target(a, x, e, t - 1)),
        ("index shifted: t + 1", "this is ᾱ_{t+1}, one step too noisy, and it runs past the table at t = T.",
         lambda a, x, e, t: v_target(a, x, e, t + 1)),
        ("one t for the whole batch", ONE_T, lambda a, x, e, t: v_target(a, x, e, t[:1].expand(len(t)))),
        ("broadcast over the wrong axis",
         "a coefficient of shape (B,) was lined up with the last axis instead of the batch; expand lines it up.",
         ("expand(alpha_bar[t].sqrt(), x0)", "alpha_bar[t].sqrt().to(x0.dtype)"),
         ("expand((1 - alpha_bar[t]).sqrt(), x0)", "(1 - alpha_bar[t]).sqrt().to(x0.dtype)")),
        ("the arguments of expand exchanged",
         "expand takes the coefficient first: expand(c, x0); with x0 first, x0 itself stands where the factor "
         "should, or the call raises.",
         ("expand(alpha_bar[t].sqrt(), x0)", "expand(x0, alpha_bar[t].sqrt())"),
         ("expand((1 - alpha_bar[t]).sqrt(), x0)", "expand(x0, (1 - alpha_bar[t]).sqrt())")),
    ),
    start="v mixes ε and x_0 with the two factors of x_t, exchanged, and one minus sign.",
    hint="Small t: √ᾱ_t is nearly 1, and v is nearly ε. Late t: v is nearly −x_0.",
    see="For T = 4 at t = 4: from x_0 = ε = 1 you get 0.4025 − 0.9154 = −0.5129.",
)  # fmt: skip


# ---- kl_constant ----------------------------------------------------------------------------------------------------
def kl_constant(beta_tilde, sigma2, dims):
    ratio = beta_tilde / sigma2
    return 0.5 * dims * (ratio - 1 - ratio.log())


def _kl_constant_cases(generator):
    def random(n):
        return 0.01 + uniform(n, generator=generator)

    return [
        Case("one step, β̃ = 0.1, σ² = 0.2, d = 1", (numbers(0.1), numbers(0.2), 1)),
        Case("three steps, β̃ above, below and above σ², d = 5", (numbers(0.3, 0.02, 0.4), numbers(0.1, 0.05, 0.2), 5)),
        Case("four steps, random variances, d = 7", (random(4), random(4), 7)),
        Case("64 steps, random variances, d = 784", (random(64), random(64), 784)),
    ]


def _is_the_kl(function):
    v, sigma2 = numbers(0.1, 0.02), numbers(0.15, 0.01)
    zero = torch.zeros(2, dtype=torch.float64)
    q, p = (torch.distributions.Normal(zero, s.sqrt()) for s in (v, sigma2))
    gap = (function(v, sigma2, 3) - 3 * torch.distributions.kl_divergence(q, p)).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


def _zero_at_equality(function):
    v = numbers(0.3, 0.01)
    value, around = function(v, v, 4), torch.stack([function(v, v * k, 4) for k in (0.9, 1.1)])
    return value.abs().max() < 1e-12 and bool((around > 0).all()), f"at equality {value.abs().max().item():.0e}"


KL_CONSTANT = Exercise(
    equation="C = ½ d [β̃/σ² − 1 − log(β̃/σ²)] in nats (LOSS-1)",
    reference=kl_constant,
    returns=("C",),
    cases=_kl_constant_cases,
    properties=(
        Property("it is 0 for σ² = β̃ and positive beside it", _zero_at_equality),
        Property("it is the KL of d pairs of Gaussians with equal means", _is_the_kl),
    ),
    mistakes=mistakes(
        kl_constant,
        ("ratio inverted",
         "the ratio is σ²/β̃; in KL(q ‖ p) the variance of q is divided by that of p, and q is the true step.",
         ("beta_tilde / sigma2", "sigma2 / beta_tilde")),
        ("sign of C", "every sign is turned: C is negative, and a KL with equal means never is.", ("0.5 *", "-0.5 *")),
        ("sign of the logarithm", "the logarithm is added; with log(β̃/σ²) it is subtracted (with log(σ²/β̃) added).",
         ("- ratio.log()", "+ ratio.log()")),
        ("without −1", "the −1 is missing: for σ² = β̃ this is d/2, and it should be 0.", (" - 1", "")),
        ("one dimension", "this is C for d = 1; each of the d dimensions adds as much.", (" * dims", "")),
        ("½ missing", "this is twice C: the KL of two Gaussians has ½ in front.", ("0.5 * ", "")),
        ("standard deviations for variances", "the ratio is √(β̃/σ²); the formula has the ratio of the variances.",
         ("beta_tilde / sigma2", "(beta_tilde / sigma2).sqrt()")),
        ("variances squared", "the ratio is (β̃/σ²)²: β̃ and σ² are variances already.",
         ("beta_tilde / sigma2", "(beta_tilde / sigma2) ** 2")),
        ("bits for nats", "the logarithm has base 2; C is in nats, with the natural logarithm.", (".log()", ".log2()")),
        ("logarithm to base 10", "the logarithm has base 10; C is in nats, with the natural logarithm.",
         (".log()", ".log10()")),
        ("log1p of the ratio", "log1p(r) is log(1 + r); the formula has log r (or log1p(r − 1)).",
         (".log()", ".log1p()")),
        ("summed over the steps", "one number came out, the sum over the steps; C_t is one number for each of them.",
         ("ratio.log())", "ratio.log()).sum()")),
        ("a function of single numbers",
         "math.log and float take one number, and the ratio is a tensor with one for each step: torch.log, or "
         "ratio.log().",
         ("ratio.log()", "math.log(ratio)")),
        ("the logarithm alone", "this is −½ d log(β̃/σ²), without the part β̃/σ² − 1.",
         ("ratio - 1 - ratio.log()", "-ratio.log()")),
    ),
    start="Take the KL of two Gaussians with variances v (first) and w (second) and put the means equal.",
    hint="With the ratio r of the first variance to the second: r − 1 − log r, halved, times d.",
    see="For β̃ = 0.1, σ² = 0.2, d = 1: ½ (0.5 − 1 + 0.6931) = 0.0966 nats.",
)  # fmt: skip


# ---- vlb_weight_eps -------------------------------------------------------------------------------------------------
def vlb_weight_eps(beta, alpha_bar, t, sigma2):
    alpha = 1 - beta[t]
    return beta[t] ** 2 / (2 * sigma2 * alpha * (1 - alpha_bar[t]))


def _weight_cases(generator):
    def case(label, t, beta, sigma2=None):
        t = torch.tensor(t)
        return Case(label, (beta, alpha_bar_of(beta), t, beta[t] if sigma2 is None else numbers(*sigma2)))

    return [
        case("T = 4, t = 2, σ² = β_2 = 0.25", [2], T4),
        case("T = 4, t = 3, 1, 4 with σ² of their own", [3, 1, 4], T4, [0.3, 0.1, 0.5]),
        case("T = 7, random β, σ² of their own", [4, 2, 7, 1], random_betas(7, generator), [0.2, 0.15, 0.4, 0.05]),
        case("T = 9, random β, σ² above 1", [2, 8, 5, 3], random_betas(9, generator), [1.5, 3.0, 2.0, 4.0]),
        case("T = 1000, the linear schedule, σ² = β_t", [349, 1, 999, 2, 640], LONG),
    ]


def _is_the_mean_error(function):
    """λ_t (ε error)² = (mean error)²/(2σ²), both of one error of x̂_0."""
    a, t, sigma2 = alpha_bar_of(T4), torch.tensor([2, 3, 4]), numbers(0.2, 0.3, 0.5)
    c_0 = a[t - 1].sqrt() * T4[t] / (1 - a[t])
    of_eps = a[t].sqrt() / (1 - a[t]).sqrt()
    gap = (function(T4, a, t, sigma2) * of_eps**2 - c_0**2 / (2 * sigma2)).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


VLB_WEIGHT_EPS = Exercise(
    equation="λ_t = β_t² / (2 σ_t² α_t (1−ᾱ_t)) (LOSS-3)",
    reference=vlb_weight_eps,
    returns=("weight",),
    cases=_weight_cases,
    properties=(Property("λ_t ‖ε − ε̂‖² is ‖μ̃ − μ_θ‖²/(2σ²) at t = 2, 3, 4 of the short chain", _is_the_mean_error),),
    mistakes=mistakes(
        vlb_weight_eps,
        ("σ⁴ for σ²",
         "sigma2 was squared. It is the variance σ_t² already; deck 002 prints the norm of Σ squared (E-10).",
         ("2 * sigma2", "2 * sigma2**2")),
        ("index shifted: t + 1",
         "these are β, α and ᾱ of step t + 1: with the weight of step t belongs the term of step t (E-11).",
         lambda b, a, t, s: vlb_weight_eps(b, a, t + 1, s)),
        ("index shifted: t − 1",
         "these are β, α and ᾱ of step t − 1; the tables start with the clean state, so index t is right.",
         lambda b, a, t, s: vlb_weight_eps(b, a, t - 1, s)),
        ("β_{t−1} with ᾱ_t",
         "beta was read at t − 1, as in a list that starts with β_1; this table holds β_0 = 0 first, so β_t is "
         "beta[t].",
         ("1 - beta[t]", "1 - beta[t - 1]"), ("beta[t] ** 2", "beta[t - 1] ** 2")),
        ("sigma2 indexed with t",
         "an index runs out of range. Only beta and alpha_bar are tables; sigma2 holds one σ_t² for each example "
         "already, and needs no index.",
         ("2 * sigma2", "2 * sigma2[t]")),
        ("sigma2 ignored",
         "β_t stands where sigma2 should: right for σ_t² = β_t only, and the choice is the caller's (PAR-5).",
         ("2 * sigma2", "2 * beta[t]")),
        ("brackets missing around the denominator",
         "b**2 / 2 * s * … multiplies by everything after the 2; put the whole denominator in brackets.",
         ("(2 * sigma2 * alpha * (1 - alpha_bar[t]))", "2 * sigma2 * alpha * (1 - alpha_bar[t])")),
        ("the bracket of the denominator closed too early",
         "b**2 / (2 * s) * … multiplies by α_t (1−ᾱ_t); both belong into the denominator.",
         ("(2 * sigma2 * alpha * (1 - alpha_bar[t]))", "(2 * sigma2) * alpha * (1 - alpha_bar[t])")),
        ("ᾱ_{t−1} in the denominator", "the denominator has 1 − ᾱ_{t−1}; the noise in x_t has the variance 1 − ᾱ_t.",
         ("alpha_bar[t]", "alpha_bar[t - 1]")),
        ("β_t not squared", "the difference of the means has the factor β_t, and its square has β_t².", (" ** 2", "")),
        ("2 missing", "this is 2 λ_t: the KL is the squared distance of the means over 2 σ².",
         ("2 * sigma2", "sigma2")),
        ("α_t missing", "the factor 1/√α_t of the mean was left out; squared, it is 1/α_t.", (" * alpha *", " *")),
        ("ᾱ_t for α_t", "ᾱ_t, the product of all steps, stands where the formula has the α_t of this step.",
         ("1 - beta[t]", "alpha_bar[t]")),
        ("α_t for ᾱ_t", "1 − α_t stands where the formula has 1 − ᾱ_t, the variance of all the noise in x_t.",
         ("alpha_bar[t]", "alpha")),
        ("1 − ᾱ_t squared",
         "1 − ᾱ_t enters the mean under a root, so it enters the weight once; its square belongs to the weight of "
         "the x_0 error.",
         ("(1 - alpha_bar[t])", "(1 - alpha_bar[t]) ** 2")),
        ("root of 1 − ᾱ_t",
         "the factor of the mean is β_t/√(1−ᾱ_t); the weight has its square, without the root.",
         ("(1 - alpha_bar[t])", "(1 - alpha_bar[t]).sqrt()")),
        ("the weight of the mean",
         "1/(2σ²) is the weight of ‖μ̃ − μ_θ‖²; an error of ε enters the mean with β_t/√(α_t(1−ᾱ_t)).",
         lambda b, a, t, s: 0.5 / s),
        ("the weight of x_0", "this is ᾱ_{t−1} β_t²/(2σ²(1−ᾱ_t)²), the weight of ‖x_0 − x̂_0‖² (LOSS-4).",
         ("beta[t] ** 2", "alpha_bar[t - 1] * beta[t] ** 2"),
         ("alpha * (1 - alpha_bar[t])", "(1 - alpha_bar[t]) ** 2")),
        ("not squared", "this is the factor of ε in the mean over 2 σ²; the weight has the square of the factor.",
         (" ** 2", ""), ("alpha * (1 - alpha_bar[t])", "(alpha * (1 - alpha_bar[t])).sqrt()")),
        ("σ for σ²", "the square root of sigma2 stands in the denominator; the KL is over 2 σ².",
         ("2 * sigma2", "2 * sigma2.sqrt()")),
    ),
    start="The mean is (x_t − β_t/√(1−ᾱ_t) ε)/√α_t. By how much does it move when ε moves by δ?",
    hint="Square that factor of δ and divide by 2 σ².",
    see="T = 4, t = 2, σ² = β_2: 0.25²/(2 · 0.25 · 0.75 · 0.325) = 0.5128.",
)  # fmt: skip


# ---- simple_loss ----------------------------------------------------------------------------------------------------
def simple_loss(predict, x0, t, eps, alpha_bar):
    signal, noise = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
    x_t = expand(signal, x0) * x0 + expand(noise, x0) * eps
    error = eps - predict(x_t, t)
    return error.square().flatten(1).sum(1)


def _simple_cases(generator):
    def case(label, predict, t, *shape, beta=T4, dtype=torch.float64):
        x0, eps = (normal(len(t), *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (predict, x0, torch.tensor(t), eps, alpha_bar_of(beta)))

    line = Line(0.5, 10.0)
    first = (Line(0.5, 10.0), numbers([1.0]), torch.tensor([2]), numbers([2.0]), alpha_bar_of(T4))
    return [
        Case("one number, T = 4, t = 2, x_0 = 1, ε = 2", first),
        case("x0 of shape (3, 6), T = 4, t = 3, 1 and 4 (the last)", line, [3, 1, 4], 6),
        case("x0 of shape (6, 3), each example with its own t", line, [3, 1, 4, 2, 2, 3], 3),
        case("x0 of shape (3, 4), random β", Line(-0.3, 4.0), [7, 2, 5], 4, beta=random_betas(9, generator)),
        case("images of shape (4, 3, 5, 6), T = 1000", Line(0.9, 1e3), [500, 1, 999, 40], 3, 5, 6, beta=LONG),
        case("x0 of shape (3, 5) in float32", line, [2, 4, 3], 5, dtype=torch.float32),
    ]


def _reaches_the_network(function):
    slope = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    x0, eps = normal(2, 2, 3, generator=torch.Generator().manual_seed(5))
    args = x0, torch.tensor([1, 3]), eps, alpha_bar_of(T4)

    def gradient(f):
        return torch.autograd.grad(f(lambda x, t: slope * x, *args).sum(), slope)[0].item()

    if not function(lambda x, t: slope * x, *args).requires_grad:
        return False, "no gradient: the prediction was cut off (detach, item, no_grad or a new tensor made of it)"
    got, want = gradient(function), gradient(simple_loss)
    return math.isclose(got, want, rel_tol=1e-9), f"dL/dθ = {got:.6g}, required {want:.6g}"


def _knows(function):
    """For data that are all 0 the noise is x_t / √(1−ᾱ_t), and a network can know it."""
    table, eps = alpha_bar_of(T4), normal(4, 3, generator=torch.Generator().manual_seed(6))
    loss = function(lambda x, t: x / noise_at(table, t, x), 0 * eps, torch.tensor([1, 2, 3, 4]), eps, table)
    return loss.abs().max().item() < 1e-12, f"largest loss {loss.abs().max().item():.0e}"


SIMPLE_LOSS = Exercise(
    equation="L_simple = ‖ε − ε_θ(√ᾱ_t x_0 + √(1−ᾱ_t) ε, t)‖² for each example (LOSS-5)",
    reference=simple_loss,
    returns=("loss",),
    cases=_simple_cases,
    properties=(
        Property("a network that knows the noise has loss 0", _knows),
        Property("the gradient reaches the network", _reaches_the_network),
    ),
    mistakes=mistakes(
        simple_loss,
        ("mean over the dimensions",
         "the squares of one example are averaged; ‖·‖² is their sum. The average over the batch comes later.",
         (".sum(1)", ".mean(1)")),
        ("mean over dimensions and batch",
         "one number came out, the mean over examples and dimensions; the loss is one number for each example, "
         "summed over its dimensions, so that each can get a weight of its own.",
         (".flatten(1).sum(1)", ".mean()")),
        ("mean over the batch", "one number came out, the mean over the examples; keep one number for each example.",
         (".sum(1)", ".sum(1).mean()")),
        ("sum over the batch", "one number came out, the sum over the examples; keep one number for each example.",
         (".flatten(1).sum(1)", ".sum()")),
        ("norm not squared", "this is ‖ε − ε_θ‖; the loss is its square.", (".sum(1)", ".sum(1).sqrt()")),
        ("with a factor ½", "this is half the loss; L_simple has no ½ (the bound has it, inside λ_t).",
         ("error.square()", "0.5 * error.square()")),
        ("only the first data axis summed",
         "sum(1) adds up one axis, and an image has three; flatten(1).sum(1) adds up all of one example.",
         (".flatten(1)", "")),
        ("only the last axis summed",
         "sum(-1) adds up one axis, and an image has three; flatten(1).sum(1) adds up all of one example.",
         (".flatten(1).sum(1)", ".sum(-1)")),
        ("one t for the whole batch", ONE_T, lambda f, x, t, e, a: simple_loss(f, x, t[:1].expand(len(t)), e, a)),
        ("one t in x_t, the right one in the network",
         "x_t was made with t[0] for every example, while the network was told t.",
         ("alpha_bar[t].sqrt(), (1 - alpha_bar[t])", "alpha_bar[t[0]].sqrt(), (1 - alpha_bar[t[0]])")),
        ("the network sees x_0",
         "predict was called with the clean x_0; it is given x_t, or there would be nothing to find out.",
         ("predict(x_t, t)", "predict(x0, t)")),
        ("the network sees √ᾱ_t x_0 alone (E-63)",
         "predict was called with √ᾱ_t x_0: the bracket closes too early, as deck 000 prints it. Its argument is "
         "all of x_t, noise included.",
         ("predict(x_t, t)", "predict(expand(signal, x0) * x0, t)")),
        ("the arguments of the network exchanged",
         "predict was called as predict(t, x_t); the state comes first: predict(x_t, t).",
         ("predict(x_t, t)", "predict(t, x_t)")),
        ("target x_0",
         "the prediction is compared with x_0; this network predicts the noise (option B would predict x_0).",
         ("eps - predict", "x0 - predict")),
        ("target x_t − x_0", "the target is x_t − x_0, what the noising changed; it is the noise ε itself.",
         ("eps - predict", "x_t - x0 - predict")),
        ("target v",
         "the prediction is compared with v = √ᾱ_t ε − √(1−ᾱ_t) x_0 (exercise 3); this network predicts ε.",
         ("eps - predict", "v_target(alpha_bar, x0, eps, t) - predict")),
        ("target √(1−ᾱ_t) ε", "the target is the noise as scaled in x_t; it is ε itself, of variance 1 at every t.",
         ("eps - predict", "expand(noise, x0) * eps - predict")),
        ("step noise in x_t",
         "x_t was made with √α_t and √β_t, as if the walk had one step; from x_0 to x_t it takes ᾱ_t.",
         lambda f, x, t, e, a: simple_loss(f, x, t, e, steps_of(a))),
        ("step noise as the target",
         "the target is √(β_t/(1−ᾱ_t)) ε, what ε tells of the last step's noise; the network predicts the noise of "
         "all steps together (E-69).",
         ("eps - predict", "expand((1 - steps_of(alpha_bar)[t]).sqrt() / noise, x0) * eps - predict")),
        ("another noise as the target",
         "fresh noise was drawn for the target; it has to be the same ε that went into x_t, or there is nothing "
         "to learn.",
         ("eps - predict", "torch.randn_like(x0) - predict")),
        ("another noise in x_t",
         "eps was ignored in x_t and new noise drawn; the target must be the noise that went in.",
         ("expand(noise, x0) * eps", "expand(noise, x0) * torch.randn_like(x0)")),
        ("one noise for the whole batch",
         "the noise of the first example was used for all; each example has noise of its own.",
         lambda f, x, t, e, a: simple_loss(f, x, t, e[:1].expand_as(e), a)),
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
        ("the network is told t/T", "predict was called with t/T; it is given the whole number t.",
         ("predict(x_t, t)", "predict(x_t, t / (len(alpha_bar) - 1))")),
        ("weighted as in the bound",
         "the error is multiplied by λ_t for σ² = β_t; L_simple leaves the weight out (LOSS-9).",
         ("return ",
          "beta = 1 - steps_of(alpha_bar)\n    return vlb_weight_eps(beta, alpha_bar, t, beta[t]).to(x0) * ")),
    ),
    start="Three lines: make x_t, ask the network, sum the squares of each example.",
    hint="error.square().flatten(1).sum(1) sums everything but the batch. expand(c, x0) lines a coefficient up.",
    see="For T = 4, t = 2, x_0 = 1, ε = 2: x_t = 0.8216 + 2 · 0.5701 = 1.9618, prediction 1.1809, loss 0.6709.",
)  # fmt: skip


# ---- head_of --------------------------------------------------------------------------------------------------------
def head_of(network, alpha_bar, c):
    t = len(alpha_bar) // 2
    signal, noise = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
    eps = torch.linspace(-2, 1, len(c), dtype=c.dtype)
    answer = network((signal * c + noise * eps)[None], torch.tensor([t]))[0]
    heads = torch.stack([eps, c, signal * eps - noise * c, -eps / noise])
    return (heads - answer).square().sum(1).argmin()


def _head_cases(generator):
    """Each head with a short table, with a long one, and with one that is nearly all noise in the middle."""
    steep = torch.cat([numbers(0.0), torch.linspace(1e-5, 0.04, 800, dtype=torch.float64)])
    shorts = (T4, random_betas(6, generator), random_betas(9, generator), T4)

    def case(place, k):
        name, head, which = f"{place + 2}", HEADS[k % 4], k // 4
        D, dtype = (3, 4, 6, 5, 7)[place % 5], torch.float32 if place % 6 == 5 else torch.float64
        a = alpha_bar_of((shorts[k % 4], LONG, steep)[which])
        sign = 1 - 2 * ((torch.arange(D) + place) % 2)
        c = (sign * (0.5 + 1.5 * uniform(D, generator=generator)) * (0.2 if place % 3 == 2 else 1)).to(dtype)
        words = f"checkpoint {name}, T = {len(a) - 1}, D = {D}" + (" in float32" if dtype == torch.float32 else "")
        return Case(words, (Network(name, head, c, a), a, c))

    table, c = numbers(1, 0.64, 0.36, 0.1), numbers(5, -10)
    first = Case("checkpoint 1, ᾱ = (1, 0.64, 0.36, 0.1), c = (5, −10)", (Network("1", "v", c, table), table, c))
    order = torch.randperm(12, generator=generator).tolist()
    return [first, *(case(place, k) for place, k in enumerate(order))]


def _recognises_others(function):
    cases = [case for seed in range(2, 8) for case in _head_cases(torch.Generator().manual_seed(seed))[1:]]
    found = sum(int(function(*case.args)) == HEADS.index(case.args[0].head) for case in cases)
    return found == len(cases), f"{found} of {len(cases)}"


HEAD_OF = Exercise(
    equation="0 for ε, 1 for x_0, 2 for v = √ᾱ_t ε − √(1−ᾱ_t) x_0, 3 for the score −ε/√(1−ᾱ_t) (PAR-1, PAR-3, PAR-4)",
    reference=head_of,
    returns=("head",),
    cases=_head_cases,
    properties=(Property("it recognises 72 other networks", _recognises_others),),
    mistakes=mistakes(
        head_of,
        ("always 0",
         "networks that do not predict ε are called 0 all the same. Ask each at an x_t of your choice and compare.",
         ("(heads - answer).square().sum(1).argmin()", "torch.tensor(0)")),
        ("always 1",
         "networks that do not predict x_0 are called 1 all the same. Ask each at an x_t of your choice and compare.",
         ("(heads - answer).square().sum(1).argmin()", "torch.tensor(1)")),
        ("always 2",
         "networks that do not predict v are called 2 all the same. Ask each at an x_t of your choice and compare.",
         ("(heads - answer).square().sum(1).argmin()", "torch.tensor(2)")),
        ("always 3",
         "networks that do not predict the score are called 3 all the same. Ask each at an x_t of your choice and "
         "compare.",
         ("(heads - answer).square().sum(1).argmin()", "torch.tensor(3)")),
        ("the score taken for ε",
         "networks of the score are called networks of ε. The two differ in sign and size, which shows only where x_t "
         "holds noise.",
         ("torch.linspace(-2, 1, len(c), dtype=c.dtype)", "torch.zeros_like(c)")),
        ("ε and the score exchanged",
         "networks of ε are called networks of the score, or the other way round. The two have opposite signs: look at "
         "those in your list and in x_t.",
         ("[eps, c,", "[-eps / noise, c,"), ("noise * c, -eps / noise]", "noise * c, eps]")),
        ("the score not recognised",
         "networks of the score are called networks of something else. The score is −ε/√(1−ᾱ_t), with a minus sign.",
         ("-eps / noise", "eps / noise")),
        ("v taken for ε",
         "networks of v are called networks of ε. v is √ᾱ_t ε − √(1−ᾱ_t) x_0 with a minus sign, and it is nearly ε "
         "where t is small.",
         ("signal * eps - noise * c", "noise * c - signal * eps")),
        ("counted from 1", "the answer is one more than the number of the head. Counting starts with 0, for ε.",
         ("argmin()", "argmin() + 1")),
    ),
    start="You choose ε, so you know x_t and what each of the four heads would have to answer there.",
    hint="Take a t in the middle of the table and an ε with unequal entries. Compare the answer with all four.",
    see="The first checkpoint predicts v: 2. Its c is (5, −10) and ᾱ_2 = 0.36, so that x_t = (3, −6) holds no noise; "
    "it answers about (−4, 8). "
    "No head fits exactly, since every network is off by up to 2 %.",
)  # fmt: skip

EXERCISES = (EPS_TO_X0, V_TARGET, KL_CONSTANT, VLB_WEIGHT_EPS, SIMPLE_LOSS, HEAD_OF)
