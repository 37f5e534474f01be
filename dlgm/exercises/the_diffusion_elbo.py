"""Exercises of lesson 07: the terms of the bound, its other grouping, the discretised decoder, and bits.

Ledger VLB-1, VLB-3, VLB-5, VLB-6, VLB-7, VLB-9, M-04, M-09.
"""

import math

import torch

from ..tensors import expand
from .engine import Case, Exercise, Mistake, Property
from .inputs import LONG, T4, alpha_bar_of, normal, numbers, random_betas

BAR4, BAR1000 = alpha_bar_of(T4), alpha_bar_of(LONG)


def _sum(x):
    return x.flatten(1).sum(1)


def _uniform(*shape, low, high, generator):
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


# ---- prior_term ------------------------------------------------------------------------------------------------------
def prior_term(alpha_bar, x0):
    a = alpha_bar[-1]
    kl = 0.5 * (a * x0**2 - a - torch.log1p(-a))
    return kl.flatten(1).sum(1)


def _prior_cases(generator):
    table = alpha_bar_of(random_betas(9, generator))
    return [
        Case("one number, x0 = 1, T = 1, ᾱ_1 = 0.5", (numbers(1, 0.5), numbers([1.0]))),
        Case("two numbers, T = 4", (BAR4, numbers([0.8, -1.0]))),
        Case("x0 of shape (3, 2), random β", (table, normal(3, 2, generator=generator))),
        Case("images of shape (2, 1, 3, 3), T = 4", (BAR4, normal(2, 1, 3, 3, generator=generator))),
        Case("x0 of shape (2, 4), T = 1000", (BAR1000, normal(2, 4, generator=generator))),
    ]


def _gaussian_prior(mean, var):
    """½ Σ [mean² + var − 1 − log var] with another mean or variance; mean(a, x), var(a)."""

    def function(alpha_bar, x0):
        a = alpha_bar[-1]
        m, v = mean(a, x0), var(a)
        return _sum(0.5 * (m**2 + v - 1 - torch.log(v)))

    return function


def _prior_reversed(alpha_bar, x0):
    a = alpha_bar[-1]
    return _sum(0.5 * ((1 + a * x0**2) / (1 - a) - 1 + torch.log(1 - a)))


def _each_prior(alpha_bar, x0):
    a = alpha_bar[-1]
    return 0.5 * (a * x0**2 - a - torch.log1p(-a))


def _negligible(function):
    nats = function(BAR1000, numbers([1.0])).item()
    return 1.9e-5 < nats < 2.1e-5, f"{nats:.2g} nats for one pixel of value 1 at T = 1000"


PRIOR_TERM = Exercise(
    equation="KL(N(√ᾱ_T x_0, (1−ᾱ_T) I) ‖ N(0, I)) = ½ Σ_d [ᾱ_T x_0d² − ᾱ_T − log(1−ᾱ_T)] (VLB-5, FWD-8)",
    reference=prior_term,
    returns=("prior",),
    cases=_prior_cases,
    properties=(Property("hardly anything is left at the end of the usual schedule", _negligible),),
    mistakes=(
        Mistake(
            "mean over the dimensions",
            "the dimensions are averaged; a term of the bound is their sum. Dividing by dims comes once, at the end.",
            lambda a, x: prior_term(a, x) / x[0].numel(),
        ),
        Mistake(
            "sum over the batch",
            "the examples are summed as well; each example has a term of its own, shape (B,).",
            lambda a, x: prior_term(a, x).sum(),
        ),
        Mistake(
            "average over the batch",
            "the examples are averaged; each example has a term of its own, shape (B,).",
            lambda a, x: prior_term(a, x).mean(),
        ),
        Mistake(
            "KL the wrong way round",
            "this is KL(N(0, I) ‖ q(x_T | x_0)); the average in the bound is under q, so q comes first.",
            _prior_reversed,
        ),
        Mistake("factor ½ missing", "this is twice the KL: the ½ is missing.", lambda a, x: 2 * prior_term(a, x)),
        Mistake(
            "the log-variance left out",
            "−log(1−ᾱ_T) is missing: what is left is 0 at x_0 = 1 whatever ᾱ_T is, and negative below.",
            lambda a, x: _sum(0.5 * (a[-1] * x**2 - a[-1])),
        ),
        Mistake(
            "the sign of the log-variance",
            "log(1−ᾱ_T) enters with a minus sign: a q narrower than the prior costs more, not less.",
            lambda a, x: _sum(0.5 * (a[-1] * x**2 - a[-1] + torch.log(1 - a[-1]))),
        ),
        Mistake(
            "only the distance of the means",
            "this is ½ ᾱ_T x_0², what the KL tends to as ᾱ_T → 0; for a bound the variance's part counts too.",
            lambda a, x: _sum(0.5 * a[-1] * x**2),
        ),
        Mistake(
            "square root missing on the signal",
            "the mean of q(x_T | x_0) is √ᾱ_T x_0; ᾱ_T x_0 was squared here.",
            _gaussian_prior(lambda a, x: a * x, lambda a: 1 - a),
        ),
        Mistake(
            "standard deviation for variance",
            "√(1−ᾱ_T) stands where the variance 1 − ᾱ_T belongs.",
            _gaussian_prior(lambda a, x: a.sqrt() * x, lambda a: (1 - a).sqrt()),
        ),
        Mistake(
            "signal for noise",
            "ᾱ_T was taken for the variance of x_T; that is the signal's share, the noise has 1 − ᾱ_T.",
            _gaussian_prior(lambda a, x: a.sqrt() * x, lambda a: a),
        ),
        Mistake(
            "index shifted: T − 1",
            "this is the term of x_{T−1}: the chain ends at the last entry of alpha_bar.",
            lambda a, x: prior_term(a[:-1].clamp(max=1 - 1e-15), x),
        ),
        Mistake(
            "the first step",
            "this compares x_1 with the prior; it is the last state, x_T, that the model draws from N(0, I).",
            lambda a, x: prior_term(a[:2], x),
        ),
        Mistake(
            "bits too early",
            "divided by log 2: the terms are in nats, the bits come once, at the end.",
            lambda a, x: prior_term(a, x) / math.log(2),
        ),
        Mistake(
            "the variances counted once",
            "−ᾱ_T − log(1−ᾱ_T) is what one dimension costs: it comes d times, as the squares do.",
            lambda a, x: 0.5 * (_sum(a[-1] * x**2) - a[-1] - torch.log1p(-a[-1])),
        ),
        Mistake(
            "the sign of ᾱ_T",
            "ᾱ_T enters with a minus sign: variance minus 1 is (1−ᾱ_T) − 1 = −ᾱ_T.",
            lambda a, x: _sum(0.5 * (a[-1] * x**2 + a[-1] - torch.log1p(-a[-1]))),
        ),
        Mistake(
            "index 0",
            "this is the term of x_0 itself, infinite since ᾱ_0 = 1: a point against a density. x_T is the last entry.",
            lambda a, x: prior_term(a[:1], x),
        ),
        Mistake(
            "signs of the ELBO",
            "this is −KL, as the ELBO has it; the bound L on −log p has the KL, which is never negative.",
            lambda a, x: -prior_term(a, x),
        ),
        Mistake(
            "only axis 1 summed",
            "only axis 1 is summed, which is right for x0 of shape (B, D) alone; images have more axes: all but the "
            "first.",
            lambda a, x: _each_prior(a, x).sum(1),
        ),
        Mistake(
            "no sum",
            "these are the KLs of the single dimensions; a term of the bound is their sum, shape (B,).",
            lambda a, x: _each_prior(a, x),
        ),
    ),
    start="Which two Gaussians are compared? Write down the mean and the variance of each.",
    hint="KL(N(m, v) ‖ N(0, 1)) = ½ [m² + v − 1 − log v]; m = √ᾱ_T x_0 and v = 1 − ᾱ_T. Sum all axes but the first.",
    see="For x0 = 1 and ᾱ_T = 0.5: ½ log 2 = 0.3466. At T = 1000, 2e-5 a pixel.",
)


# ---- step_kl ---------------------------------------------------------------------------------------------------------
def step_kl(mean_q, var_q, mean_p, var_p):
    dims = mean_q[0].numel()
    ratio = var_q / var_p
    distance = (mean_q - mean_p).square().flatten(1).sum(1)
    return 0.5 * (dims * (ratio - 1 - torch.log(ratio)) + distance / var_p)


def _kl_cases(generator):
    def case(label, *shape, narrower=1.0):
        means = [normal(*shape, generator=generator) for _ in range(2)]
        variances = [_uniform(shape[0], low=0.1, high=0.9, generator=generator) for _ in range(2)]
        return Case(label, (means[0], narrower * variances[0], means[1], variances[1]))

    return [
        Case("one number, N(1, 0.5) and N(0, 1)", (numbers([1.0]), numbers(0.5), numbers([0.0]), numbers(1))),
        Case("the same mean, three dimensions", (*_same_mean(3),)),
        case("means of shape (3, 3), a variance for each example, v_q far below v_p", 3, 3, narrower=0.01),
        case("means of shape (4, 2)", 4, 2),
        case("images of shape (3, 1, 3, 3)", 3, 1, 3, 3),
    ]


def _same_mean(dims):
    mean = torch.full((1, dims), 0.3, dtype=torch.float64)
    return mean, numbers(0.2), mean.clone(), numbers(0.4)


def _zero_for_equal_laws(function):
    mean, var = numbers([0.3, -2.0], [1.0, 0.0]), numbers(0.2, 0.7)
    largest = function(mean, var, mean.clone(), var.clone()).abs().max().item()
    return largest < 1e-15, f"largest {largest:.0e}"


def _kl_aligned_with_pixels(m, v, n, w):
    ratio = v / w
    return 0.5 * ((ratio - 1 - torch.log(ratio)) + (m - n).square() / w).flatten(1).sum(1)


def _kl_terms(m, v, n, w, ratio=1.0, one=1.0, log=1.0, square=1.0, dims=None, over=None):
    """The four parts of the KL with factors of one's own."""
    d, r = m[0].numel() if dims is None else dims, v / w
    over = w if over is None else over
    return 0.5 * (d * (ratio * r - one - log * torch.log(r)) + square * _sum((m - n).square()) / over)


STEP_KL = Exercise(
    equation="KL(N(m_q, v_q I) ‖ N(m_p, v_p I)) = ½ [d (v_q/v_p − 1 − log v_q/v_p) + ‖m_q − m_p‖²/v_p] (VLB-7, KL-1)",
    reference=step_kl,
    returns=("kl",),
    cases=_kl_cases,
    properties=(Property("0 where the two laws are equal", _zero_for_equal_laws),),
    mistakes=(
        Mistake(
            "KL the wrong way round",
            "this is KL(p ‖ q): the average is under the process q, so q comes first and v_p stands below.",
            lambda m, v, n, w: step_kl(n, w, m, v),
        ),
        Mistake(
            "mean over the dimensions",
            "the dimensions are averaged; a term of the bound is their sum.",
            lambda m, v, n, w: step_kl(m, v, n, w) / m[0].numel(),
        ),
        Mistake(
            "the variances counted once",
            "v_q/v_p − 1 − log(v_q/v_p) is what one dimension costs: it comes d times, as the squares do.",
            lambda m, v, n, w: _kl_terms(m, v, n, w, dims=1),
        ),
        Mistake(
            "the batch counted in d",
            "d is mean_q.numel() here, which counts the batch as well; d is the number of entries of one example.",
            lambda m, v, n, w: _kl_terms(m, v, n, w, dims=m.numel()),
        ),
        Mistake(
            "one axis for d",
            "d is mean_q.shape[1] here, which is right for means of shape (B, D) alone: an image has more axes, and d "
            "is the number of all its entries.",
            lambda m, v, n, w: _kl_terms(m, v, n, w, dims=m.shape[1]),
        ),
        Mistake(
            "only axis 1 summed",
            "only axis 1 of the squares is summed, which is right for means of shape (B, D) alone; images have more "
            "axes: all but the first.",
            lambda m, v, n, w: _kl_terms(m, v, n, w, square=0.0) + 0.5 * (m - n).square().sum(1) / w,
        ),
        Mistake(
            "only the variances",
            "the distance of the means is missing: what is left is ½ d (r − 1 − log r), which no network can change.",
            lambda m, v, n, w: _kl_terms(m, v, n, w, square=0.0),
        ),
        Mistake(
            "only the squared error",
            "this is ‖m_q − m_p‖²/(2 v_p): it is the KL only where the variances are equal (E-12).",
            lambda m, v, n, w: _sum((m - n).square()) / (2 * w),
        ),
        Mistake(
            "divided by the variance of q",
            "the squared distance is divided by v_q; it is measured in the spread of the law on the right, v_p.",
            lambda m, v, n, w: _kl_terms(m, v, n, w, over=v),
        ),
        Mistake(
            "ratio upside down",
            "v_p/v_q stands where v_q/v_p belongs.",
            lambda m, v, n, w: 0.5 * (m[0].numel() * (w / v - 1 - torch.log(w / v)) + _sum((m - n).square()) / w),
        ),
        Mistake(
            "the sign of the logarithm",
            "log(v_q/v_p) enters with a minus sign; with a plus the KL of equal means can be negative.",
            lambda m, v, n, w: _kl_terms(m, v, n, w, log=-1.0),
        ),
        Mistake(
            "the −1 left out",
            "without the −1 the KL of two equal laws is ½ for each dimension instead of 0.",
            lambda m, v, n, w: _kl_terms(m, v, n, w, one=0.0),
        ),
        Mistake("factor ½ missing", "this is twice the KL: the ½ is missing.", lambda *a: 2 * step_kl(*a)),
        Mistake(
            "standard deviations expected",
            "the variances were squared: var_q and var_p are variances already.",
            lambda m, v, n, w: step_kl(m, v**2, n, w**2),
        ),
        Mistake(
            "roots of the variances",
            "standard deviations stand where the variances belong.",
            lambda m, v, n, w: step_kl(m, v.sqrt(), n, w.sqrt()),
        ),
        Mistake(
            "the variance of q on both sides",
            "v_p was ignored: β̃_t stands where the model's own σ_t² belongs.",
            lambda m, v, n, w: step_kl(m, v, n, v),
        ),
        Mistake(
            "distance not squared",
            "the distances enter with their absolute values; the Gaussian's exponent has squares.",
            lambda m, v, n, w: 0.5 * (m[0].numel() * (v / w - 1 - torch.log(v / w)) + _sum((m - n).abs()) / w),
        ),
        Mistake(
            "sum over the batch",
            "the examples are summed as well; each example has a KL of its own, shape (B,).",
            lambda *a: step_kl(*a).sum(),
        ),
        Mistake(
            "average over the batch",
            "the examples are averaged; each example has a KL of its own, shape (B,).",
            lambda *a: step_kl(*a).mean(),
        ),
        Mistake(
            "broadcast over the wrong axis",
            "a variance of shape (B,) was lined up with the last axis of the means instead of the batch.",
            _kl_aligned_with_pixels,
        ),
        Mistake(
            "one example for all",
            "the KL of the first example was used for the whole batch; it depends on x_t and x_0 (E-42).",
            lambda *a: step_kl(*a)[:1].expand(len(a[0])).clone(),
        ),
    ),
    start="Write the KL of two Gaussians in one dimension (lesson 02), then add up d of them.",
    hint="The variance part is the same in every dimension: multiply it by d = mean_q[0].numel().",
    see="For N(1, 0.5) and N(0, 1): ½ [0.5 − 1 + log 2 + 1] = 0.5966.",
)


# ---- consistency_terms -----------------------------------------------------------------------------------------------
def consistency_terms(log_prior, down, up):
    prior = up[:, -1] - log_prior
    steps = up[:, :-1] - down[:, 1:]
    reconstruction = -down[:, 0]
    return prior, steps, reconstruction


def _path_cases(generator):
    def case(label, B, T):
        return Case(
            label,
            (normal(B, generator=generator), normal(B, T, generator=generator), normal(B, T, generator=generator)),
        )

    small = (numbers(-1.0), numbers([-0.5, -2.0]), numbers([-0.25, -4.0]))
    return [
        Case("one path, T = 2", small),
        case("one path, T = 4", 1, 4),
        case("3 paths, T = 3", 3, 3),
        case("2 paths, T = 1 (no steps)", 2, 1),
        case("5 paths, T = 20", 5, 20),
    ]


CONSISTENCY = Exercise(
    equation="log q(x_T|x_{T−1})/p(x_T); log q(x_t|x_{t−1})/p_θ(x_t|x_{t+1}), t = 1..T−1; −log p_θ(x_0|x_1) (VLB-9)",
    reference=consistency_terms,
    returns=("prior", "steps", "reconstruction"),
    cases=_path_cases,
    mistakes=(
        Mistake(
            "the two densities of one step paired",
            "this pairs q(x_t | x_{t−1}) with p(x_{t−1} | x_t). The sum is the same, but the two are densities of "
            "different variables; the consistency form pairs two densities of x_t.",
            lambda p, d, u: (u[:, 0] - p, u[:, 1:] - d[:, 1:], -d[:, 0]),
        ),
        Mistake(
            "index shifted the wrong way",
            "this pairs q(x_{t+1} | x_t) with p(x_{t−1} | x_t); both of a pair are densities of one x_t, with the "
            "model coming from x_{t+1}.",
            lambda p, d, u: (u[:, -1] - p, u[:, 1:] - d[:, :-1], -d[:, 0]),
        ),
        Mistake(
            "signs of the ELBO",
            "these are the terms of the ELBO, which is to be large; the bound L on −log p has the opposite signs.",
            lambda *a: tuple(-v for v in consistency_terms(*a)),
        ),
        Mistake(
            "the sign of the reconstruction",
            "the reconstruction is log p_θ(x_0 | x_1); the bound has −log p_θ(x_0 | x_1).",
            lambda p, d, u: (u[:, -1] - p, u[:, :-1] - d[:, 1:], d[:, 0]),
        ),
        Mistake(
            "the steps upside down",
            "this is log p/q for the steps; q stands above.",
            lambda p, d, u: (u[:, -1] - p, d[:, 1:] - u[:, :-1], -d[:, 0]),
        ),
        Mistake(
            "the prior upside down",
            "this is log p(x_T)/q(x_T | x_{T−1}); q stands above.",
            lambda p, d, u: (p - u[:, -1], u[:, :-1] - d[:, 1:], -d[:, 0]),
        ),
        Mistake(
            "the prior without q",
            "log q(x_T | x_{T−1}) is missing from the prior term: the last step of the process is left over.",
            lambda p, d, u: (-p, u[:, :-1] - d[:, 1:], -d[:, 0]),
        ),
        Mistake(
            "the prior with the kernel of the first step",
            "log q(x_1 | x_0) stands in the prior term; x_T is reached by the last step, up[:, -1].",
            lambda p, d, u: (u[:, 0] - p, u[:, :-1] - d[:, 1:], -d[:, 0]),
        ),
        Mistake(
            "the reconstruction from the other end",
            "down[:, -1] is log p_θ(x_{T−1} | x_T); x_0 is reached by the first column.",
            lambda p, d, u: (u[:, -1] - p, u[:, :-1] - d[:, 1:], -d[:, -1]),
        ),
        Mistake(
            "the prior alone",
            "log p(x_T) alone is no term of the bound: it stands below, with a minus sign, and log q(x_T | x_{T−1}) "
            "stands above.",
            lambda p, d, u: (p, u[:, :-1] - d[:, 1:], -d[:, 0]),
        ),
        Mistake(
            "steps in reverse",
            "the columns run from t = T − 1 down to 1; the first column is t = 1, as in up and down.",
            lambda p, d, u: (u[:, -1] - p, (u[:, :-1] - d[:, 1:]).flip(1), -d[:, 0]),
        ),
        Mistake(
            "the first kernel counted in the reconstruction",
            "log q(x_1 | x_0) was added to the reconstruction, as in VLB-1; here it belongs to the step t = 1.",
            lambda p, d, u: (u[:, -1] - p, u[:, :-1] - d[:, 1:], u[:, 0] - d[:, 0]),
        ),
        Mistake(
            "VLB-1 not regrouped",
            "this is VLB-1, not regrouped: each term pairs q(x_t | x_{t−1}) with p(x_{t−1} | x_t), densities of "
            "different variables. Pair the two densities of x_t.",
            lambda p, d, u: (-p, u[:, 1:] - d[:, 1:], u[:, 0] - d[:, 0]),
        ),
        Mistake(
            "steps summed",
            "the steps are added up already; one column for each t is asked for, (B, T − 1).",
            lambda p, d, u: (u[:, -1] - p, (u[:, :-1] - d[:, 1:]).sum(1), -d[:, 0]),
        ),
        Mistake(
            "steps averaged",
            "the steps are divided by their number: the bound is a sum over t.",
            lambda p, d, u: (u[:, -1] - p, (u[:, :-1] - d[:, 1:]) / max(u.shape[1] - 1, 1), -d[:, 0]),
        ),
    ),
    start="Which column of down holds a density of x_t? Which column of up?",
    hint="up[:, t − 1] and down[:, t] are both densities of x_t: cut one column off each, at opposite ends.",
    see="The three parts add up to −log_prior − Σ down + Σ up, path by path, however they are paired.",
)


# ---- discretised_log_prob --------------------------------------------------------------------------------------------
def discretised_log_prob(x, mean, var):
    std, half = expand(var.sqrt(), x), 1 / 255
    low = torch.where(x < -0.999, -torch.inf, (x - half - mean) / std)
    high = torch.where(x > 0.999, torch.inf, (x + half - mean) / std)
    mirror = low + high > 0  # Φ(b) − Φ(a) = Φ(−a) − Φ(−b): stay in the lower tail
    low, high = torch.where(mirror, -high, low), torch.where(mirror, -low, high)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return (log_high + torch.log(-torch.expm1(log_low - log_high))).flatten(1).sum(1)


def _decoder_cases(generator):
    def level(*k):
        return -1 + 2 * numbers(*k) / 255

    def case(label, *shape):
        x = -1 + 2 * torch.randint(0, 256, shape, generator=generator).double() / 255
        x.view(-1)[:2] = numbers(-1, 1)  # both edges occur
        mean = x + normal(*shape, generator=generator, scale=0.1)
        return Case(label, (x, mean, _uniform(shape[0], low=0.002, high=0.05, generator=generator)))

    return [
        Case("one pixel, level 128, mean 0, variance 0.01", (level([128]), numbers([0.0]), numbers(0.01))),
        Case("one pixel, level 0 (black), mean −0.9", (level([0]), numbers([-0.9]), numbers(0.01))),
        Case("one pixel, level 255 (white), mean 0.95", (level([255]), numbers([0.95]), numbers(0.01))),
        Case("one pixel far below the mean", (level([30]), numbers([0.8]), numbers(0.0004))),
        Case("two pixels far above and far below", (level([255, 30]), numbers([-0.9, 0.8]), numbers(0.0004))),
        case("3 examples of 3 pixels", 3, 3),
        case("images of shape (2, 1, 3, 3)", 2, 1, 3, 3),
    ]


def _decoder(half=1 / 255, black=True, white=True, floor=None, power=0.5, cut=False, mirrored=True):
    """The difference of two Φ with one thing changed; a floor means: without logarithms, and clamped."""

    def function(x, mean, var):
        std = expand(var**power, x)
        low, high = x - half, x + half
        if cut:
            low, high = low.clamp(min=-1), high.clamp(max=1)
        low, high = (low - mean) / std, (high - mean) / std
        low = torch.where(x < -0.999, -torch.inf, low) if black else low
        high = torch.where(x > 0.999, torch.inf, high) if white else high
        if floor is None:
            mirror = (low + high > 0) & mirrored
            low, high = torch.where(mirror, -high, low), torch.where(mirror, -low, high)
            log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
            return _sum(log_high + torch.log(-torch.expm1(log_low - log_high)))
        return _sum((torch.special.ndtr(high) - torch.special.ndtr(low)).clamp(min=floor).log())

    return function


def _density(x, mean, var):
    v = expand(var, x)
    return _sum(-0.5 * ((x - mean) ** 2 / v + torch.log(2 * torch.pi * v)))


def _decoder_aligned_with_pixels(x, mean, var):
    return (
        discretised_log_prob(x.reshape(-1, 1), mean.reshape(-1, 1), var.expand_as(x).reshape(-1))
        .reshape(len(x), -1)
        .sum(1)
    )


def _sums_to_one(function):
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    total = function(x, torch.full_like(x, 0.97), torch.full((256,), 0.01, dtype=torch.float64)).exp().sum().item()
    return abs(total - 1) < 1e-9, f"{total:.12f}, for a mean near white"


DISCRETISED = Exercise(
    equation="Σ_d log [Φ((x_d + 1/255 − m_d)/σ) − Φ((x_d − 1/255 − m_d)/σ)], edge bins open to ±∞ (VLB-6)",
    reference=discretised_log_prob,
    returns=("log_prob",),
    cases=_decoder_cases,
    properties=(Property("the probabilities of the 256 levels sum to 1", _sums_to_one),),
    mistakes=(
        Mistake(
            "variance for standard deviation",
            "the distances are divided by the variance; Φ takes distances in standard deviations.",
            _decoder(power=1.0),
        ),
        Mistake(
            "edge bins closed",
            "level 0 must collect everything below it and level 255 everything above: otherwise the probabilities "
            "do not sum to 1.",
            _decoder(black=False, white=False),
        ),
        Mistake("black edge closed", "level 0 must collect everything below it.", _decoder(black=False)),
        Mistake("white edge closed", "level 255 must collect everything above it.", _decoder(white=False)),
        Mistake(
            "bins half as wide",
            "levels lie 2/255 apart, so a bin reaches 1/255 to either side; here it reaches half as far.",
            _decoder(half=0.5 / 255),
        ),
        Mistake(
            "bins twice as wide",
            "a bin reaches 1/255 to either side; here it reaches 2/255 and overlaps its neighbours.",
            _decoder(half=2 / 255),
        ),
        Mistake(
            "256 gaps",
            "256 levels have 255 gaps between them: the half width is 1/255.",
            _decoder(half=1 / 256),
        ),
        Mistake(
            "a clamp caps the penalty",
            "probabilities below 1e-12 were raised to it: a model that is far off pays 40 bits a pixel and no more. "
            "Stay in logarithms: torch.special.log_ndtr.",
            _decoder(floor=1e-12),
        ),
        Mistake(
            "a clamp at 1e-10",
            "probabilities below 1e-10 were raised to it: a model that is far off pays 33 bits a pixel and no more. "
            "Stay in logarithms: torch.special.log_ndtr.",
            _decoder(floor=1e-10),
        ),
        Mistake(
            "a clamp at 1e-30",
            "probabilities below 1e-30 were raised to it: a model that is far off pays 100 bits a pixel and no more, "
            "and above the mean Φ(b) − Φ(a) is 0 long before. Stay in logarithms: torch.special.log_ndtr.",
            _decoder(floor=1e-30),
        ),
        Mistake(
            "no mirror",
            "right below the mean, −∞ far above it: there log Φ(a) and log Φ(b) are both 0, and their difference is "
            "lost. Mirror such a bin to the lower tail: Φ(b) − Φ(a) = Φ(−a) − Φ(−b).",
            _decoder(mirrored=False),
        ),
        Mistake(
            "edges cut at ±1",
            "the bins of black and white end at −1 and 1 here; they are open, and reach to −∞ and +∞.",
            _decoder(black=False, white=False, cut=True),
        ),
        Mistake(
            "difference lost in rounding",
            "Φ(b) − Φ(a) is 0 in floating point far from the mean, and its logarithm −∞. Mirror upper tails to the "
            "lower side and stay in logarithms: torch.special.log_ndtr.",
            _decoder(floor=0.0),
        ),
        Mistake(
            "a density",
            "this is the log-density at the pixel, not the probability of its bin; it can exceed 0 and has no bits.",
            _density,
        ),
        Mistake(
            "density times bin width",
            "a good approximation for wide Gaussians, no bound for narrow ones: integrate over the bin, and open the "
            "edges.",
            lambda x, m, v: _density(x, m, v) + x[0].numel() * math.log(2 / 255),
        ),
        Mistake(
            "mean over the dimensions",
            "the pixels are averaged; log-probabilities of independent pixels add up.",
            lambda x, m, v: discretised_log_prob(x, m, v) / x[0].numel(),
        ),
        Mistake(
            "sum over the batch",
            "the examples are summed as well; each has a log-probability of its own, shape (B,).",
            lambda x, m, v: discretised_log_prob(x, m, v).sum(),
        ),
        Mistake(
            "the sign",
            "this is −log P, a cost; the function returns log P.",
            lambda x, m, v: -discretised_log_prob(x, m, v),
        ),
        Mistake(
            "bits too early",
            "divided by log 2: this is in bits; the function returns nats.",
            lambda x, m, v: discretised_log_prob(x, m, v) / math.log(2),
        ),
        Mistake(
            "broadcast over the wrong axis",
            "a variance of shape (B,) was lined up with the last axis of x instead of the batch.",
            _decoder_aligned_with_pixels,
        ),
    ),
    start="Where does the bin of a pixel begin and end? What changes for black and for white?",
    hint="torch.special.log_ndtr is log Φ. With a < b both in the lower tail, log(Φ(b) − Φ(a)) is "
    "log Φ(b) + log(1 − exp(log Φ(a) − log Φ(b))); in the upper tail use Φ(b) − Φ(a) = Φ(−a) − Φ(−b).",
    see="For level 128, mean 0 and variance 0.01: about 0.031, that is −3.47 nats.",
)


# ---- bound_in_bits ---------------------------------------------------------------------------------------------------
def bound_in_bits(prior, steps, reconstruction, dims):
    nats = prior + steps.mean(1).sum(1) + reconstruction.mean(1)
    return nats / (dims * math.log(2))


def _bound_cases(generator):
    def case(label, B, K, T, dims):
        u = [_uniform(*shape, low=0.1, high=3.0, generator=generator) for shape in ((B,), (B, K, T - 1), (B, K))]
        return Case(label, (*u, dims))

    return [
        Case("one number, one draw, T = 2", (numbers(0.1), numbers([[0.2]]), numbers([0.3]), 1)),
        case("one example of 2 numbers, 3 draws, T = 4", 1, 3, 4, 2),
        case("4 examples of 3 numbers, 2 draws, T = 6", 4, 2, 6, 3),
        case("3 digits of 784 pixels, 5 draws, T = 50", 3, 5, 50, 784),
    ]


def _bits(total):
    return lambda p, s, r, d: total(p, s, r, d) / (d * math.log(2))


BOUND = Exercise(
    equation="[prior + Σ_t mean_k steps + mean_k reconstruction] / (dims · log 2), bits per dimension (VLB-3, M-04)",
    reference=bound_in_bits,
    returns=("bits",),
    cases=_bound_cases,
    mistakes=(
        Mistake(
            "nats called bits",
            "log 2 is missing: these are nats per dimension. One bit is log 2 = 0.693 nats.",
            lambda p, s, r, d: bound_in_bits(p, s, r, d) * math.log(2),
        ),
        Mistake(
            "multiplied by log 2",
            "one bit is log 2 nats, so nats are divided by log 2.",
            lambda p, s, r, d: bound_in_bits(p, s, r, d) * math.log(2) ** 2,
        ),
        Mistake(
            "not divided by dims",
            "these are bits for a whole example; divide by its number of entries.",
            lambda p, s, r, d: bound_in_bits(p, s, r, d) * d,
        ),
        Mistake(
            "divided by the batch",
            "divided by the number of examples where the number of entries of one example, dims, belongs.",
            lambda p, s, r, d: bound_in_bits(p, s, r, d) * d / len(p),
        ),
        Mistake(
            "average over t",
            "the T − 1 steps are averaged; the bound is their sum.",
            _bits(lambda p, s, r, d: p + s.mean((1, 2)) + r.mean(1)),
        ),
        Mistake(
            "sum over the draws",
            "the draws of the noise are summed; they estimate one average each.",
            _bits(lambda p, s, r, d: p + s.sum((1, 2)) + r.sum(1)),
        ),
        Mistake(
            "axes swapped",
            "the draws (axis 1) are summed and the times (axis 2) averaged; it is the other way round.",
            _bits(lambda p, s, r, d: p + s.sum(1).mean(1) + r.mean(1)),
        ),
        Mistake(
            "the steps' draws summed",
            "the draws of the steps are summed, those of the reconstruction averaged; all of them estimate averages.",
            _bits(lambda p, s, r, d: p + s.sum((1, 2)) + r.mean(1)),
        ),
        Mistake(
            "logarithm of the total",
            "this is log₂ of the nats; they are logarithms already. Nats are divided by log 2.",
            lambda p, s, r, d: torch.log2(p + s.mean(1).sum(1) + r.mean(1)) / d,
        ),
        Mistake(
            "one draw for the average",
            "only the first draw was used: a KL at one x_t is not yet its average over x_t (E-42).",
            _bits(lambda p, s, r, d: p + s[:, 0].sum(1) + r[:, 0]),
        ),
        Mistake(
            "prior dropped",
            "the prior term is missing: what is left is no bound any more (E-26).",
            _bits(lambda p, s, r, d: s.mean(1).sum(1) + r.mean(1)),
        ),
        Mistake(
            "reconstruction dropped",
            "the reconstruction is missing: it is the cost of the last step, from x_1 to the pixel itself.",
            _bits(lambda p, s, r, d: p + s.mean(1).sum(1)),
        ),
        Mistake(
            "the sign of the reconstruction",
            "the reconstruction is subtracted; it came as −log p_θ(x_0 | x_1), a cost like the others.",
            _bits(lambda p, s, r, d: p + s.mean(1).sum(1) - r.mean(1)),
        ),
        Mistake(
            "signs of the ELBO",
            "this is the ELBO, which is negative here; bits per dimension are the cost, with a plus sign.",
            lambda *a: -bound_in_bits(*a),
        ),
        Mistake(
            "average over the batch",
            "the examples are averaged; each has a bound of its own, shape (B,).",
            lambda *a: bound_in_bits(*a).mean(),
        ),
        Mistake(
            "prior not divided by dims",
            "the prior term is added whole to the others' share of one dimension; it is a sum over dimensions too.",
            lambda p, s, r, d: p / math.log(2) + bound_in_bits(0 * p, s, r, d),
        ),
        Mistake(
            "only the prior divided by dims",
            "the steps and the reconstruction are sums over the dimensions too: divide the whole bound by dims.",
            lambda p, s, r, d: (p / d + s.mean(1).sum(1) + r.mean(1)) / math.log(2),
        ),
    ),
    start="Which axes are averaged, which are summed?",
    hint="Draws (axis 1 of steps and reconstruction) are averaged, times summed. One bit is log 2 nats.",
    see="For prior 0.1, one step of 0.2 and reconstruction 0.3: 0.6/log 2 = 0.866 bits.",
)

EXERCISES = (PRIOR_TERM, STEP_KL, CONSISTENCY, DISCRETISED, BOUND)
