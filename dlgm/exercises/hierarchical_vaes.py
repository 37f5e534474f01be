"""Exercises of lesson 04: a linear-Gaussian hierarchy of two levels, the bound of a hierarchy by levels, and its gap.

    generation, top-down:   z_2 ~ N(0, I),  z_1 | z_2 ~ N(A_2 z_2, v_2 I),  x | z_1 ~ N(A_1 z_1, v_1 I)
    inference, bottom-up:   z_1 | x ~ N(K_1 x, s_1 I),  z_2 | z_1 ~ N(K_2 z_1, s_2 I)

Ledger HVAE-1, HVAE-2, GAUSS-1, GAUSS-2.
"""

import math

import torch

from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers, uniform


# ---- chain_marginal -------------------------------------------------------------------------------------------------
def chain_marginal(A1, A2, v1, v2):
    cov_z1 = A2 @ A2.T + v2 * torch.eye(len(A2), dtype=A2.dtype)
    cov_x = A1 @ cov_z1 @ A1.T + v1 * torch.eye(len(A1), dtype=A1.dtype)
    return cov_z1, cov_x


def _marginal_cases(generator):
    def case(label, d0, d1, d2, v1, v2):
        maps = normal(d0, d1, generator=generator), normal(d1, d2, generator=generator)
        return Case(label, (*maps, *numbers(v1, v2)))

    return [
        Case("one number a level", (numbers([2.0]), numbers([3.0]), *numbers(0.5, 0.25))),
        case("5 data dimensions, levels of 4 and 3", 5, 4, 3, 0.3, 0.6),
        case("3 numbers a level", 3, 3, 3, 0.7, 0.2),
        case("3 data dimensions, levels of 4 and 6", 3, 4, 6, 0.05, 1.7),
    ]


def _reaches_the_data(function):
    """Without noise in the middle and below, x = A_1 A_2 z_2 + noise of almost no variance."""
    A1, A2 = numbers([2.0]), numbers([3.0])
    seen = function(A1, A2, *numbers(1e-9, 1e-9))[1].item()
    return abs(seen - 36) < 1e-6, f"Cov x = {seen:.6f} for A_1 = 2, A_2 = 3"


CHAIN_MARGINAL = Exercise(
    equation="Cov z_1 = A_2 A_2ᵀ + v_2 I, Cov x = A_1 (Cov z_1) A_1ᵀ + v_1 I (GAUSS-1, HVAE-1)",
    reference=chain_marginal,
    returns=("cov_z1", "cov_x"),
    cases=_marginal_cases,
    properties=(Property("without noise on the way, x is A_1 A_2 z_2", _reaches_the_data),),
    start="First z_1 = A_2 z_2 + √v_2 ε: what is the covariance of A_2 z_2 if that of z_2 is I?",
    hint="Cov(A z) = A Cov(z) Aᵀ, and independent noise adds v I. Use the first result in the second.",
    see="For A_1 = 2, A_2 = 3, v_1 = 0.5, v_2 = 0.25: Cov z_1 = 9.25 and Cov x = 37.5.",
    mistakes=mistakes(
        chain_marginal,
        ("standard deviation for variance",
         "v_1 and v_2 were squared; they are variances already, and covariances add as they are.",
         ("v2 * torch", "v2**2 * torch"), ("v1 * torch", "v1**2 * torch")),
        ("root of the variances", "√v_1 and √v_2 were added; standard deviations do not add, variances do (GAUSS-1).",
         ("v2 * torch", "v2.sqrt() * torch"), ("v1 * torch", "v1.sqrt() * torch")),
        ("middle noise not carried down",
         "the noise v_2 of z_1 was added to x as it is; it enters through A_1 and arrives as v_2 A_1 A_1ᵀ.",
         ("A1 @ cov_z1 @ A1.T + v1", "A1 @ A2 @ A2.T @ A1.T + (v1 + v2)")),
        ("noise of the middle level lost",
         "cov_x is A_1 A_2 A_2ᵀ A_1ᵀ + v_1 I: the noise v_2 that z_1 has of its own never reached x.",
         ("A1 @ cov_z1 @ A1.T", "A1 @ A2 @ A2.T @ A1.T")),
        ("noise dropped at both levels", "v_1 and v_2 do not appear: each step adds fresh noise to the diagonal.",
         (" + v2 * torch.eye(len(A2), dtype=A2.dtype)", ""), (" + v1 * torch.eye(len(A1), dtype=A1.dtype)", "")),
        ("noise of x dropped", "cov_x lacks v_1 I, the noise of the last step.",
         (" + v1 * torch.eye(len(A1), dtype=A1.dtype)", "")),
        ("prior on z_1 instead of z_2",
         "z_1 was taken as N(0, I); only the top level z_2 has that prior, and z_1 inherits A_2 A_2ᵀ + v_2 I.",
         ("A2 @ A2.T + v2 * ", "")),
        ("top level dropped", "Cov z_1 is v_2 I alone: the part A_2 A_2ᵀ that comes down from z_2 is missing.",
         ("A2 @ A2.T + ", "")),
        ("noise added to every entry",
         "v was added to the whole matrix; independent noise is v I and touches the diagonal only.",
         (" * torch.eye(len(A2), dtype=A2.dtype)", ""), (" * torch.eye(len(A1), dtype=A1.dtype)", "")),
        ("transposed", "this is Aᵀ (...) A; for column vectors Cov(A z) = A Cov(z) Aᵀ.",
         lambda A1, A2, v1, v2: chain_marginal(A1.T, A2.T, v1, v2)),
        ("the two noises swapped",
         "v_1 was used for z_1 and v_2 for x; v_t belongs to the kernel that produces level t − 1.",
         lambda A1, A2, v1, v2: chain_marginal(A1, A2, v2, v1)),
        ("the map on one side only", "a covariance is quadratic: the map stands on both sides, A Cov Aᵀ.",
         ("A2 @ A2.T", "A2"), ("A1 @ cov_z1 @ A1.T", "A1 @ cov_z1")),
    ),
)  # fmt: skip


# ---- hierarchy_log_joint --------------------------------------------------------------------------------------------
def hierarchy_log_joint(x, z1, z2, A1, A2, v1, v2):
    def log_normal(value, mean, var):
        return -0.5 * ((value - mean) ** 2 / var + torch.log(2 * math.pi * var)).sum(1)

    one = torch.ones_like(v1)
    return log_normal(z2, 0.0, one) + log_normal(z1, z2 @ A2.T, v2) + log_normal(x, z1 @ A1.T, v1)


def _joint_cases(generator):
    def case(label, B, d0, d1, d2, v1, v2):
        levels = [normal(B, d, generator=generator) for d in (d0, d1, d2)]
        maps = normal(d0, d1, generator=generator), normal(d1, d2, generator=generator)
        return Case(label, (*levels, *maps, *numbers(v1, v2)))

    small = [numbers([4.0]), numbers([1.0]), numbers([0.5]), numbers([2.0]), numbers([4.0]), *numbers(0.5, 0.25)]
    return [
        Case("one number a level", tuple(small)),
        case("4 examples, three numbers a level", 4, 3, 3, 3, 0.6, 0.2),
        case("3 examples, five numbers a level", 3, 5, 5, 5, 0.15, 1.4),
        case("3 examples, 6 data dimensions, levels of 5 and 4", 3, 6, 5, 4, 0.3, 0.5),
    ]


def _integrates_to_the_marginal(function):
    """With one number a level, ∫∫ p(x, z_1, z_2) dz_1 dz_2 on a grid against N(x; 0, Cov x)."""
    A1, A2, v1, v2 = numbers([0.8]), numbers([0.6]), *numbers(0.5, 0.4)
    line = torch.linspace(-8, 8, 161, dtype=torch.float64)
    z1, z2 = (v.reshape(-1, 1) for v in torch.meshgrid(line, line, indexing="ij"))
    x = torch.full_like(z1, 0.7)
    seen = function(x, z1, z2, A1, A2, v1, v2).logsumexp(0).item() + 2 * math.log(0.1)
    var = chain_marginal(A1, A2, v1, v2)[1].item()
    want = -0.5 * (0.49 / var + math.log(2 * math.pi * var))
    return abs(seen - want) < 1e-8, f"log p(x) = {seen:.6f}, exact {want:.6f}"


HIERARCHY_LOG_JOINT = Exercise(
    equation="log p(x, z_1, z_2) = log p(z_2) + log p(z_1 | z_2) + log p(x | z_1) (HVAE-1)",
    reference=hierarchy_log_joint,
    returns=("log_joint",),
    cases=_joint_cases,
    properties=(Property("z_1 and z_2 integrated out leave p(x)", _integrates_to_the_marginal),),
    start="Write log N(value; mean, v I), summed over dimension 1, once. Then call it three times.",
    hint="For rows z of a batch, A z is z @ A.T. The top level has mean 0 and variance 1.",
    see="For x = 4, z_1 = 1, z_2 = 0.5, A = (2, 4), v = (0.5, 0.25): −2.7568 − 0.125 − 2 − 4 + 1.0397 = −7.8421.",
    mistakes=mistakes(
        hierarchy_log_joint,
        ("top prior dropped", "log p(z_2) = log N(z_2; 0, I) is missing: without it z_2 may wander off for free.",
         ("log_normal(z2, 0.0, one) + ", "")),
        ("prior on z_1 instead of z_2",
         "N(0, I) was put on z_1; it belongs to the top level, and z_1 has its law from z_2.",
         ("log_normal(z2, 0.0, one)", "log_normal(z1, 0.0, one)")),
        ("a prior on both levels",
         "z_1 is counted twice, once as N(0, I) and once given z_2; only the top level has a prior of its own.",
         ("log_normal(z2, 0.0, one)", "log_normal(z2, 0.0, one) + log_normal(z1, 0.0, one)")),
        ("middle level dropped", "log p(z_1 | z_2) is missing: nothing ties the two levels together.",
         ("log_normal(z1, z2 @ A2.T, v2) + ", "")),
        ("likelihood dropped",
         "log p(x | z_1) is missing: this is log p(z_1, z_2), and x does not appear (erratum E-23 the other way).",
         (" + log_normal(x, z1 @ A1.T, v1)", "")),
        ("z_1 conditioned on itself",
         "the mean of z_1 is A_2 z_2; here it is A_2 z_1, so the variable predicts itself.",
         ("z2 @ A2.T", "z1 @ A2.T")),
        ("chain skipped: x from z_2",
         "the mean of x is A_1 z_1; here z_2 stands in the place of z_1, and the level between is jumped over.",
         ("z1 @ A1.T", "z2 @ A1.T")),
        ("order reversed", "this generates z_1 from N(0, I) and z_2 from z_1; generation runs from the top, z_2, down.",
         ("log_normal(z2, 0.0, one) + log_normal(z1, z2 @ A2.T, v2)",
          "log_normal(z1, 0.0, one) + log_normal(z2, z1 @ A2.T, v2)")),
        ("standard deviation for variance",
         "v was squared as if it were a standard deviation; v_1 and v_2 are variances.",
         ("A2.T, v2", "A2.T, v2**2"), ("A1.T, v1", "A1.T, v1**2")),
        ("the two noises swapped", "v_1 was used for z_1 and v_2 for x; v_1 is the variance of x given z_1.",
         ("A2.T, v2", "A2.T, v1"), ("A1.T, v1", "A1.T, v2")),
        ("the two maps swapped", "A_2 was used to make x and A_1 to make z_1; A_t maps level t to the level below it.",
         ("z2 @ A2.T", "z2 @ A1.T"), ("z1 @ A1.T", "z1 @ A2.T")),
        ("maps transposed", "z @ A multiplies by Aᵀ; for rows of a batch the product A z is z @ A.T.",
         ("A2.T", "A2"), ("A1.T", "A1")),
        ("mean over dimensions",
         "the dimensions were averaged; independent coordinates multiply, so their log-densities are summed.",
         (".sum(1)", ".mean(1)")),
        ("normalising constant dropped",
         "½ log(2πv) is missing for each coordinate: without it the density does not integrate to 1, and levels with "
         "different variances cannot be compared.", (" + torch.log(2 * math.pi * var)", "")),
        ("sign", "this is −log p(x, z_1, z_2), a loss; the function returns the log-density itself.", ("-0.5", "0.5")),
        ("density, not its logarithm",
         "this is p(x, z_1, z_2) itself; it underflows in high dimensions, which is why everything stays in logs.",
         lambda *a: hierarchy_log_joint(*a).exp()),
        ("summed over the batch", "the examples were summed too; return one number for each example, of shape (B,).",
         (".sum(1)", ".sum()")),
    ),
)  # fmt: skip


# ---- sample_q -------------------------------------------------------------------------------------------------------
def sample_q(x, K1, K2, s1, s2, eps1, eps2):
    z1 = x @ K1.T + s1.sqrt() * eps1
    z2 = z1 @ K2.T + s2.sqrt() * eps2
    return z1, z2


def _sample_cases(generator):
    def case(label, B, d0, d1, d2, s1, s2):
        maps = normal(d1, d0, generator=generator), normal(d2, d1, generator=generator)
        noise = normal(B, d1, generator=generator), normal(B, d2, generator=generator)
        return Case(label, (normal(B, d0, generator=generator), *maps, *numbers(s1, s2), *noise))

    first = (numbers([1.0]), numbers([2.0]), numbers([3.0]), *numbers(0.25, 0.16), numbers([1.0]), numbers([-1.0]))
    return [
        Case("one number a level", first),
        case("4 examples, three numbers a level", 4, 3, 3, 3, 0.6, 0.2),
        case("3 examples, five numbers a level", 3, 5, 5, 5, 0.15, 1.4),
        case("3 examples, 6 data dimensions, levels of 5 and 4", 3, 6, 5, 4, 0.3, 0.5),
    ]


def _spreads(function):
    """Var(z_2 | x) = K_2 s_1 K_2ᵀ + s_2 for one number a level, over many draws."""
    generator, n = torch.Generator().manual_seed(3), 40_000
    eps1, eps2 = normal(n, 1, generator=generator), normal(n, 1, generator=generator)
    z2 = function(
        torch.ones(n, 1, dtype=torch.float64), numbers([2.0]), numbers([3.0]), *numbers(0.25, 0.5), eps1, eps2
    )[1]
    z = (z2.var().item() / 2.75 - 1) / math.sqrt(2 / n)
    return abs(z) < 5, f"z = {z:.1f}; beyond 5 by chance once in two million"


SAMPLE_Q = Exercise(
    equation="z_1 = K_1 x + √s_1 ε_1, z_2 = K_2 z_1 + √s_2 ε_2 (HVAE-1)",
    reference=sample_q,
    returns=("z1", "z2"),
    cases=_sample_cases,
    properties=(Property("given x, z_2 has variance s_1 K_2² + s_2", _spreads),),
    start="Draw z_1 from x first. What does z_2 need to know?",
    hint="Each level is mean + √s ε, and the mean of z_2 uses the z_1 you have drawn.",
    see="For x = 1, K = (2, 3), s = (0.25, 0.16), ε = (1, −1): z_1 = 2.5 and z_2 = 7.1.",
    mistakes=mistakes(
        sample_q,
        ("variance for standard deviation",
         "the noise is multiplied by the variance s; a sample is scaled by the standard deviation √s.",
         ("s1.sqrt()", "s1"), ("s2.sqrt()", "s2")),
        ("one eps for all levels",
         "ε_1 was used at both levels; then z_1 and z_2 share their noise and q is another law.", ("* eps2", "* eps1")),
        ("chain skipped: x given where z_1 belongs",
         "z_2 was computed from x; its kernel is conditioned on z_1, the level right below.",
         ("z1 @ K2.T", "x @ K2.T")),
        ("the mean passed up instead of the sample",
         "z_2 was computed from the mean K_1 x; the noise of z_1 has to travel up with it.",
         ("z1 @ K2.T", "x @ K1.T @ K2.T")),
        ("no noise", "these are the means; q is a law, and a draw from it uses both noises.",
         (" + s1.sqrt() * eps1", ""), (" + s2.sqrt() * eps2", "")),
        ("top level without its mean", "z_2 is noise alone: it ignores z_1, as a collapsed level does.",
         ("z1 @ K2.T + ", "")),
        ("noise subtracted", "ε is subtracted. The law is the same, but eps is then not the noise that was added.",
         ("+ s1", "- s1"), ("+ s2", "- s2")),
        ("the two noises swapped",
         "s_1 was used for z_2 and s_2 for z_1; s_t is the variance of z_t given the level below.",
         ("s1.sqrt() * eps1", "s2.sqrt() * eps1"), ("s2.sqrt() * eps2", "s1.sqrt() * eps2")),
        ("order of the results reversed", "z_2 came first; return the levels bottom-up, z_1 and then z_2.",
         ("return z1, z2", "return z2, z1")),
        ("one noise for the whole batch",
         "the noise of the first example was used for all; each example has noise of its own.",
         ("* eps1", "* eps1[:1]"), ("* eps2", "* eps2[:1]")),
    ),
)  # fmt: skip


# ---- level_terms ----------------------------------------------------------------------------------------------------
def level_terms(log_p, log_q):
    reconstruction = log_p[:, :, 0].mean(1)
    levels = (log_p[:, :, 1:] - log_q).mean(1)
    return reconstruction, levels


def _terms_cases(generator):
    def case(label, B, K, T):
        return Case(label, (normal(B, K, T + 1, generator=generator) - 2, normal(B, K, T, generator=generator) - 1))

    return [
        Case("one example, one draw, T = 2", (numbers([[-5.0, -1.0, -2.0]]), numbers([[-0.5, -0.25]]))),
        case("three examples, four draws, T = 6", 3, 4, 6),
        case("six examples, three draws, T = 4", 6, 3, 4),
        case("three examples, five draws, T = 1 (a flat model)", 3, 5, 1),
    ]


def _sums_to_the_bound(function):
    """reconstruction + Σ levels must be the mean log weight, log p(x, z) − log q(z | x), each summed on its own."""
    log_p, log_q = _terms_cases(torch.Generator().manual_seed(4))[1].args
    reconstruction, levels = function(log_p, log_q)
    gap = (reconstruction + levels.sum(1) - (log_p.sum(-1) - log_q.sum(-1)).mean(1)).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


LEVEL_TERMS = Exercise(
    equation="ELBO = E[log p(x | z_1)] + Σ_t E[log p(z_t | z_{t+1}) − log q(z_t | z_{t−1})] (HVAE-2)",
    reference=level_terms,
    returns=("reconstruction", "levels"),
    cases=_terms_cases,
    properties=(Property("reconstruction + Σ levels is the mean log weight", _sums_to_the_bound),),
    start="Which entries of log_p and log_q are densities of the same variable z_1?",
    hint="log_p[:, :, 1:] and log_q line up. Average over dimension 1, the draws.",
    see="For log_p = (−5, −1, −2) and log_q = (−0.5, −0.25): reconstruction −5, levels (−0.5, −1.75), ELBO −7.25.",
    mistakes=mistakes(
        level_terms,
        ("sign of log q",
         "log q was added; it is subtracted: a sharp q pays for the information it puts into the level.",
         ("- log_q", "+ log_q")),
        ("KL instead of −KL", "these are log q − log p, what a level costs; in the ELBO they enter as log p − log q.",
         ("log_p[:, :, 1:] - log_q", "log_q - log_p[:, :, 1:]")),
        ("top prior term dropped", "log p(z_T) is missing from the top level: the last entry of log_p.",
         ("levels = ", "log_p = log_p.clone(); log_p[:, :, -1] = 0; levels = ")),
        ("entropy of the top level dropped",
         "log q(z_T | z_{T−1}) is missing from the top level: then q is free to be a point.",
         ("levels = ", "log_q = log_q.clone(); log_q[:, :, -1] = 0; levels = ")),
        ("entropy dropped at every level", "log q does not appear: this is the expected log joint, not the ELBO.",
         (" - log_q", "")),
        ("levels paired one off",
         "log p(z_{t−1} | z_t) was paired with log q(z_t | z_{t−1}); both must be densities of the same z_t. Entry 0 "
         "of log_p is log p(x | z_1) and stands alone.", ("[:, :, 0]", "[:, :, -1]"), ("[:, :, 1:]", "[:, :, :-1]")),
        ("levels in reversed order", "levels[:, 0] belongs to z_1; here the top level comes first.",
         ("return reconstruction, levels", "return reconstruction, levels.flip(1)")),
        ("log q in reversed order",
         "log q was paired from the top: log q(z_1 | x) belongs to log p(z_1 | z_2), of the same variable.",
         ("- log_q", "- log_q.flip(2)")),
        ("logarithm of means",
         "the ratios were averaged inside the logarithm; each term of the ELBO is a mean of logarithms. (The logarithm "
         "of the mean weight is the importance-weighted bound, for the sum over levels, not for each.)",
         ("0].mean(1)", "0].exp().mean(1).log()"), ("log_q).mean(1)", "log_q).exp().mean(1).log()")),
        ("sum over draws", "the draws were summed; an expectation is estimated by their mean.",
         ("0].mean(1)", "0].sum(1)"), ("log_q).mean(1)", "log_q).sum(1)")),
        ("only the first draw", "draw 0 was used; all K draws are averaged.",
         ("0].mean(1)", "0][:, 0]"), ("log_q).mean(1)", "log_q)[:, 0]")),
        ("mean over levels",
         "the reconstruction and the levels were divided by their number T + 1; terms of a bound are summed.",
         ("return reconstruction, levels", "return reconstruction / log_p.shape[2], levels / log_p.shape[2]")),
        ("mean over the batch", "the examples were averaged too; return the terms of each example.",
         ("return reconstruction, levels", "return reconstruction.mean(0), levels.mean(0)")),
        ("levels summed", "the levels were summed into one number; return each level by itself, (B, T).",
         ("return reconstruction, levels", "return reconstruction, levels.sum(1)")),
    ),
)  # fmt: skip


# ---- path_gap -------------------------------------------------------------------------------------------------------
def path_gap(x, slope, var, exact_slope, exact_var):
    second, gap = x**2, torch.zeros_like(x)  # second = E_q z_{t-1}^2
    for k, v, exact_k, exact_v in zip(slope, var, exact_slope, exact_var, strict=True):
        ratio = v / exact_v
        gap = gap + 0.5 * (ratio - 1 - ratio.log() + (k - exact_k) ** 2 * second / exact_v)
        second = k**2 * second + v
    return gap


def _path_cases(generator):
    def case(label, B, T, dtype=torch.float64, x=None, same_slopes=False):
        x = normal(B, generator=generator, dtype=dtype) if x is None else x
        k, exact_k = (normal(T, generator=generator, dtype=dtype) for _ in range(2))
        v, exact_v = (0.3 + uniform(T, generator=generator).to(dtype) for _ in range(2))
        return Case(f"{label}, B = {B}, T = {T}", (x, k, v, k.clone() if same_slopes else exact_k, exact_v))

    one, two = numbers(1.0), numbers(1.0, 1.0)
    return [
        Case("x = 2, T = 1, slope 1, exact slope ½, both variances 1", (numbers(2.0), one, one, numbers(0.5), one)),
        Case(
            "x = 1, T = 2, slopes (1, 2), exact slopes (1, 1), all variances 1", (one, numbers(1.0, 2.0), two, two, two)
        ),
        case("random kernels", 3, 4),
        case("random kernels", 7, 3),
        case("exact slopes, other variances", 4, 5, same_slopes=True),
        case("x = 0 among them", 3, 6, x=numbers(0.0, -1.5, 3.0)),
        case("random kernels in float32", 5, 3, dtype=torch.float32),
        case("random kernels", 300, 20),
    ]


def _zero_for_the_exact_only(function):
    x, slope, var = numbers(0.0, -1.5, 2.0), numbers(0.7, -1.2, 0.4), numbers(0.5, 1.3, 0.8)
    at_best = function(x, slope, var, slope.clone(), var.clone()).abs().max().item()
    others = [(slope + 0.1, var), (slope - 0.1, var), (slope, 1.2 * var), (slope, 0.8 * var)]
    least = min(function(x, *other, slope, var).min().item() for other in others)
    return at_best < 1e-12 and least > 0, f"{at_best:.0e} for the exact kernels, at least {least:.2g} for four others"


def _gap_of_marginals(x, slope, var, exact_slope, exact_var):
    mean, v, exact_mean, exact_v, gap = x, 0 * x, x, 0 * x, 0 * x
    for k, s, exact_k, exact_s in zip(slope, var, exact_slope, exact_var, strict=True):
        mean, v, exact_mean, exact_v = k * mean, k**2 * v + s, exact_k * exact_mean, exact_k**2 * exact_v + exact_s
        gap = gap + 0.5 * (v / exact_v - 1 - (v / exact_v).log() + (mean - exact_mean) ** 2 / exact_v)
    return gap


PATH_GAP = Exercise(
    equation="log p(x) − ELBO = Σ_t E_q KL(q(z_t | z_{t−1}) ‖ p(z_t | z_{t−1})), Gaussian kernels, z_0 = x (HVAE-2)",
    reference=path_gap,
    returns=("gap",),
    cases=_path_cases,
    properties=(Property("the gap is 0 for the exact kernels, and larger for others", _zero_for_the_exact_only),),
    start="Write the KL of the two kernels of one level for a given z_{t−1}. What in it depends on z_{t−1}?",
    hint="The two means differ by a multiple of z_{t−1}, so E_q z_{t−1}² is needed. Below the first level it is x²; "
    "how does a level of q change it?",
    see="For x = 2, slope 1, exact slope ½ and both variances 1: a gap of ½.",
    mistakes=mistakes(
        path_gap,
        ("x² at every level",
         "x² stands at every level; above the first one E_q z_{t−1}² belongs there, which each level of q changes.",
         ("        second = k**2 * second + v\n", "")),
        ("the noise of z_{t−1} left out",
         "the square of the mean of z_{t−1} stands where E_q z_{t−1}² belongs, which is larger by the variance of "
         "z_{t−1}.", ("k**2 * second + v", "k**2 * second")),
        ("the variance of z_{t−1} alone",
         "the variance of z_{t−1} given x stands where E_q z_{t−1}² belongs; the square of its mean is missing.",
         ("second, gap = x**2, torch.zeros_like(x)", "second, gap = 0 * x, torch.zeros_like(x)")),
        ("the exact kernels carry z up",
         "E z_{t−1}² was taken under the exact kernels; the expectation is one under q, so slope and var carry it.",
         ("k**2 * second + v", "exact_k**2 * second + exact_v")),
        ("the KL the wrong way round",
         "this has KL(p ‖ q) at each level; the gap has KL(q ‖ p), where the exact variance divides.",
         ("ratio = v / exact_v", "ratio = exact_v / v"), ("second / exact_v", "second / v")),
        ("the means' difference over the variance of q",
         "the squared difference of the means is divided by var; in KL(q ‖ p) it is divided by the variance of p.",
         ("second / exact_v", "second / v")),
        ("q and p exchanged",
         "q and the exact chain are exchanged: this is the gap of the exact kernels if q were the truth.",
         lambda x, slope, var, exact_slope, exact_var: path_gap(x, exact_slope, exact_var, slope, var)),
        ("the −1 missing", "1 is not subtracted: with the exact kernels ½ would be left at each level.",
         ("(ratio - 1 - ratio", "(ratio - ratio")),
        ("the slope multiplies the noise, too",
         "E_q z_t² was taken as slope² (E_q z_{t−1}² + var); the noise of level t is added after the slope.",
         ("k**2 * second + v", "k**2 * (second + v)")),
        ("the exact variances carried up",
         "E_q z_t² was taken with exact_var; under q the noise of a level has the variance var.",
         ("k**2 * second + v", "k**2 * second + exact_v")),
        ("the slopes left out of E z²", "E_q z_t² was taken as E_q z_{t−1}² + var; the slope of q is missing, squared.",
         ("k**2 * second + v", "second + v")),
        ("the means' difference not divided",
         "the squared difference of the means is not divided by exact_var.", (" * second / exact_v", " * second")),
        ("the ½ is missing", "this is twice the gap: the KL of two Gaussians has a factor ½ in front of everything.",
         ("0.5 * (", "(")),
        ("the logarithm is missing",
         "−log(var/exact_var) is missing: without it a q that is too narrow would cost less than nothing.",
         (" - ratio.log()", "")),
        ("sign of the logarithm", "the logarithm of var/exact_var is added; it is subtracted.",
         ("- ratio.log()", "+ ratio.log()")),
        ("the slopes' difference not squared",
         "the difference of the slopes is not squared; the KL has the square of the difference of the means.",
         ("(k - exact_k) ** 2", "(k - exact_k)")),
        ("the means' part missing",
         "only the variances are compared: kernels with wrong slopes have a wrong mean as well, which costs more.",
         (" + (k - exact_k) ** 2 * second / exact_v", "")),
        ("only the first level", "this is the term of z_1 alone; every level has one, and they add up.",
         ("zip(slope, var, exact_slope, exact_var,", "zip(slope[:1], var[:1], exact_slope[:1], exact_var[:1],")),
        ("only the top level", "this is the term of the top level alone; every level has one, and they add up.",
         ("gap = gap + ", "gap = ")),
        ("the slope not squared in E z²",
         "E_q z_t² was taken as slope times E_q z_{t−1}², plus var; the slope is squared there.",
         ("k**2 * second", "k * second")),
        ("the standard deviation added", "√var was added to E_q z²; var is a variance already.",
         ("second + v", "second + v.sqrt()")),
        ("z_t for z_{t−1}",
         "E_q z_t² stands in the term of level t; the means of both kernels are multiples of z_{t−1}.",
         ("        second = k**2 * second + v\n", ""),
         ("        ratio = v", "        second = k**2 * second + v\n        ratio = v")),
        ("mean over the levels", "the terms were averaged over the levels; by the chain rule they add up.",
         ("return gap", "return gap / len(slope)")),
        ("the marginals compared",
         "this adds up the KL of q(z_t | x) to p(z_t | x), level by level. The chain rule has the kernels for "
         "a given z_{t−1}, and their KL is averaged over z_{t−1}.", _gap_of_marginals),
    ),
)  # fmt: skip

EXERCISES = (CHAIN_MARGINAL, HIERARCHY_LOG_JOINT, SAMPLE_Q, LEVEL_TERMS, PATH_GAP)
