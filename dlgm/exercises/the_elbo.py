"""Exercises of lesson 02: ELBO from samples, KL of two Gaussians, exact posterior, weighted bound, one mean at a time.

Ledger ELBO-1, ELBO-2, KL-1, GAUSS-2, M-33.
"""

import math

import torch

from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers


# ---- elbo_estimate --------------------------------------------------------------------------------------------------
def elbo_estimate(log_joint, log_q):
    log_w = log_joint - log_q
    return log_w.mean(1), log_w.std(1) / math.sqrt(log_w.shape[1])


def _estimate_cases(generator):
    def case(B, n, dtype=torch.float64):
        log_joint, log_q = (normal(B, n, generator=generator, dtype=dtype) for _ in range(2))
        return Case(f"B = {B}, n = {n}" + (" in float32" if dtype is torch.float32 else ""), (log_joint - 3, log_q))

    first = (numbers([-3.0, -1.0]), numbers([-1.0, -1.0]))
    log_joint = numbers([-3.0, -2.0, -1.0, -1.0], [-2.0, -4.0, -3.0, -1.0], [-5.0, -2.0, 0.0, -3.0])
    equal = (log_joint, log_joint + numbers([1.0], [2.0], [4.0]))
    return [
        Case("one example, two draws, log p(x, z) = (-3, -1), log q = (-1, -1)", first),
        Case("three examples, four draws with equal weights", equal),
        case(3, 4),
        case(5, 3),
        case(4, 7),
        case(3, 50),
        case(4, 6, torch.float32),
    ]


ELBO_ESTIMATE = Exercise(
    equation="ELBO ≈ (1/n) Σ_i [log p(x, z_i) − log q(z_i | x)], error std / √n (ELBO-1)",
    reference=elbo_estimate,
    returns=("elbo", "error"),
    cases=_estimate_cases,
    start="Write the log weight of each draw first; it is one subtraction.",
    hint="mean(1) and std(1) work over the draws; the standard error divides std by the root of their number.",
    see="For log p = (−3, −1) and log q = (−1, −1): log weights −2 and 0, so ELBO −1 and error 1.",
    mistakes=mistakes(
        elbo_estimate,
        ("the sign of log q", "log q is added; the entropy of q enters as −log q.",
         ("log_joint - log_q", "log_joint + log_q")),
        ("log q forgotten",
         "this is E_q[log p(x, z)] alone: without −log q the best q is a spike on the highest point of the joint.",
         ("log_joint - log_q", "log_joint")),
        ("the negative ELBO", "this is −ELBO, what a training loop minimises; asked is the bound itself.",
         ("log_w.mean(1)", "-log_w.mean(1)")),
        ("log of the mean",
         "this is the logarithm of the mean weight, an estimate of log p(x); the ELBO is the mean of log w.",
         ("log_w.mean(1)", "log_w.logsumexp(1) - math.log(log_w.shape[1])")),
        ("mean of the weights",
         "this is the mean of w = p/q, an estimate of p(x) itself; the ELBO is the mean of log w.",
         ("log_w.mean(1)", "log_w.exp().mean(1)")),
        ("sum for mean", "the draws are added up: n draws would give a bound n times as large.",
         ("log_w.mean(1)", "log_w.sum(1)")),
        ("mean over the batch",
         "the mean runs over the examples, axis 0; each example has a bound of its own, over its draws, axis 1.",
         ("log_w.mean(1)", "log_w.mean(0)"),
         ("log_w.std(1) / math.sqrt(log_w.shape[1])", "(log_w.var(0, correction=0) / (len(log_w) - 1)).sqrt()")),
        ("one mean for everything",
         "examples and draws were averaged together; the result has one bound for each example, (B,).",
         ("log_w.mean(1), log_w.std(1) / math.sqrt(log_w.shape[1])",
          "log_w.mean(), log_w.std() / math.sqrt(log_w.numel())")),
        ("standard deviation for standard error",
         "error is the spread of single draws; the mean of n independent draws varies √n times less.",
         (" / math.sqrt(log_w.shape[1])", "")),
        ("variance for standard deviation",
         "error is var / n, the variance of the mean; the standard error is its root.",
         ("log_w.std(1) / math.sqrt(log_w.shape[1])", "log_w.var(1) / log_w.shape[1]")),
        ("divided by n, not √n",
         "error is std / n; variances of independent draws add, so the error of their mean is std / √n.",
         ("math.sqrt(log_w.shape[1])", "log_w.shape[1]")),
        ("error of log p alone",
         "error comes from log p(x, z) only; the spread of the difference log p − log q is what counts, and at the "
         "posterior it is 0.", ("log_w.std(1)", "log_joint.std(1)")),
        ("errors of log p and log q apart",
         "the variances of log p and log q were added as if they were independent; they come from the same draws, and "
         "the spread of their difference is what counts.",
         ("log_w.std(1)", "(log_joint.var(1) + log_q.var(1)).sqrt()")),
        ("the biased standard deviation",
         "the spread is divided by n; with the mean taken from the same draws it is n − 1 (torch's default).",
         ("std(1)", "std(1, correction=0)")),
    ),
)  # fmt: skip


# ---- gaussian_kl ----------------------------------------------------------------------------------------------------
def gaussian_kl(m1, v1, m2, v2):
    return 0.5 * (v2.log() - v1.log() - 1 + (v1 + (m1 - m2) ** 2) / v2).sum(1)


def _kl_cases(generator):
    def case(B, D, dtype=torch.float64):
        m1, a, m2, b = (normal(B, D, generator=generator, dtype=dtype) for _ in range(4))
        return Case(f"shape ({B}, {D})" + (" in float32" if dtype is torch.float32 else ""), (m1, a.exp(), m2, b.exp()))

    three = numbers([1.0, 0.0, 3.0]), numbers([1.0, 1.0, 2.0]), numbers([0.0, 0.0, 1.0]), numbers([1.0, 4.0, 1.0])
    return [
        Case("means 1 and 0, variances 1", (numbers([1.0]), numbers([1.0]), numbers([0.0]), numbers([1.0]))),
        Case("three coordinates, means 1, 0, 3 and 0, 0, 1, variances 1, 1, 2 and 1, 4, 1", three),
        case(3, 4),
        case(5, 3),
        case(4, 7),
        case(6, 3, torch.float32),
    ]


def _zero_with_itself(function):
    m, v = numbers([0.3, -2.0]), numbers([0.5, 3.0])
    value = function(m, v, m, v).abs().max().item()
    return value < 1e-14, f"KL(p ‖ p) = {value:g}"


def _never_negative(function):
    generator = torch.Generator().manual_seed(4)
    m1, a, m2, b = (normal(500, 2, generator=generator) for _ in range(4))
    low = function(m1, a.exp(), m2, b.exp()).min().item()
    return low >= 0, f"smallest of 500 random pairs {low:.3g}"


GAUSSIAN_KL = Exercise(
    equation="KL(N(m1, v1) ‖ N(m2, v2)) = ½ Σ [log v2/v1 − 1 + (v1 + (m1 − m2)²)/v2] (KL-1)",
    reference=gaussian_kl,
    returns=("kl",),
    cases=_kl_cases,
    properties=(
        Property("a law has no divergence from itself", _zero_with_itself),
        Property("the KL is never negative", _never_negative),
    ),
    start="Average the difference of the two log-densities under the first law, one coordinate at a time.",
    hint="E₁[(z − m1)²] = v1 and E₁[(z − m2)²] = v1 + (m1 − m2)².",
    see="0.5 for means 1 and 0 with variances 1; ½(log 4 − 1 + ¼) = 0.318 for variances 1 and 4.",
    mistakes=mistakes(
        gaussian_kl,
        ("the ½ is missing", "this is twice the KL; each of its terms comes from a log-density with a factor ½.",
         ("0.5 * ", "")),
        ("the ½ at the logarithm only",
         "the ½ multiplies log v2/v1 alone; it belongs to −1 and to (v1 + (m1 − m2)²)/v2 as well.",
         ("0.5 * (v2.log() - v1.log() - 1", "(0.5 * (v2.log() - v1.log()) - 1")),
        ("the two laws swapped",
         "this is KL(second ‖ first). The average is taken under the first law, so its variance stands in a numerator "
         "and the second's in the denominator.", ("m1, v1, m2, v2", "m2, v2, m1, v1")),
        ("the sign of the logarithm",
         "the logarithm is log v2/v1: a narrow first law has little entropy, which makes the KL larger.",
         ("v2.log() - v1.log()", "v1.log() - v2.log()")),
        ("the logarithm is missing",
         "without log v2/v1 the KL of a law with itself is 0, but nothing keeps v1 from shrinking.",
         ("v2.log() - v1.log() - 1", "-1")),
        ("the −1 is missing", "the −1 of each coordinate is missing: the KL of a law with itself would be ½ for each.",
         (" - 1", "")),
        ("+1 for −1",
         "1 is added for each coordinate; it is subtracted: −(z − m1)²/v1 has the mean −1 under the first law.",
         ("- 1", "+ 1")),
        ("one −1 for all coordinates",
         "the constant is −1 for each coordinate, −D in all; here it was subtracted once.", (" - 1", ""),
         (".sum(1)", ".sum(1) - 0.5")),
        ("the means are missing", "the distance of the means, (m1 − m2)²/v2, is missing.", (" + (m1 - m2) ** 2", "")),
        ("the distance is not squared", "m1 − m2 stands where (m1 − m2)² belongs.", ("(m1 - m2) ** 2", "m1 - m2")),
        ("the distance is not divided by the variance",
         "(m1 − m2)² is measured in units of the second law's variance: divide it by v2.",
         ("(v1 + (m1 - m2) ** 2) / v2", "v1 / v2 + (m1 - m2) ** 2")),
        ("the first variance is not divided by the second",
         "the bracket is v1 + (m1 − m2)²/v2; both v1 and (m1 − m2)² are divided by v2.",
         ("(v1 + (m1 - m2) ** 2) / v2", "v1 + (m1 - m2) ** 2 / v2")),
        ("the distance divided by the first variance",
         "(m1 − m2)² is divided by v1; the log-density that is averaged is that of the second law, so it is v2.",
         ("(v1 + (m1 - m2) ** 2) / v2", "v1 / v2 + (m1 - m2) ** 2 / v1")),
        ("variances read as standard deviations",
         "v1 and v2 were taken for standard deviations and squared (torch.distributions.Normal squares its second "
         "argument, the standard deviation); they are variances already.",
         lambda m1, v1, m2, v2: gaussian_kl(m1, v1**2, m2, v2**2)),
        ("variances read as log-variances", "v1 and v2 were exponentiated; they are variances already.",
         lambda m1, v1, m2, v2: gaussian_kl(m1, v1.exp(), m2, v2.exp())),
        ("not summed", "this is the KL of each coordinate, (B, D); their sum is the KL of the example.",
         (".sum(1)", "")),
        ("bits", "this is the KL in bits; the course counts in nats, natural logarithms throughout.",
         (".sum(1)", ".sum(1) / math.log(2)")),
        ("mean over the coordinates", "the coordinates are averaged; independent coordinates add up.",
         (".sum(1)", ".mean(1)")),
        ("sum over the batch too",
         "the examples were added up as well: the KL is one number for each example, of shape (B,).",
         (".sum(1)", ".sum()")),
        ("sum over the wrong axis", "the sum runs over the batch, axis 0; it runs over the coordinates, axis 1.",
         (".sum(1)", ".sum(0)")),
    ),
)  # fmt: skip


# ---- ppca_posterior -------------------------------------------------------------------------------------------------
def ppca_posterior(W, b, noise_var, x):
    M = W.T @ W + noise_var * torch.eye(W.shape[1], dtype=W.dtype)
    M_inv = torch.linalg.inv(M)
    return (x - b) @ W @ M_inv, noise_var * M_inv


def _posterior_cases(generator):
    def case(D, d, noise_var, B):
        W, b, x = ((2 * normal(*shape, generator=generator)).round() for shape in ((D, d), (D,), (B, D)))
        return Case(f"D = {D}, d = {d}, s² = {noise_var}, B = {B}", (W, b, noise_var, x))

    one = (numbers([2.0]), numbers(1.0), 0.5, numbers([4.0]))
    W = numbers([1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0])
    by_hand = (W, numbers(1.0, 0.0, -1.0, 2.0), 2.0, numbers([3.0, 1.0, 3.0, 5.0]))
    return [
        Case("D = d = 1, W = 2, b = 1, s² = 0.5, x = 4", one),
        Case("D = 4, d = 3, s² = 2, one x: M = ((4, 1, 0), (1, 4, 0), (0, 0, 6)), Wᵀ(x − b) = (3, 6, 6)", by_hand),
        case(5, 3, 0.3, 4),
        case(6, 4, 3.0, 5),
        case(3, 4, 0.1, 5),
    ]


def _bayes_rule_holds(function):
    """log p(z) + log p(x | z) − log p(z | x) must be the same number for every z."""
    W, b, s2, x = numbers([1.0, 0.5], [-0.3, 2.0], [0.7, 0.1]), numbers(0.1, 0.2, -0.4), 0.6, numbers([1.0, -2.0, 0.5])
    mean, cov = function(W, b, s2, x)
    z = numbers([0.0, 0.0], [1.0, -1.0], [2.0, 0.5])
    log_joint = -0.5 * (z.square().sum(1) + (x - z @ W.T - b).square().sum(1) / s2)
    offset = z - mean
    spread = (log_joint + 0.5 * (offset @ torch.linalg.inv(cov) * offset).sum(1)).std().item()
    return spread < 1e-9, f"spread of log p(x, z) − log p(z | x) over three z: {spread:.1e}"


PPCA_POSTERIOR = Exercise(
    equation="p(z | x) = N(M⁻¹Wᵀ(x − b), s² M⁻¹), M = WᵀW + s² I (GAUSS-2)",
    reference=ppca_posterior,
    returns=("mean", "cov"),
    cases=_posterior_cases,
    properties=(Property("p(x, z)/p(z | x) does not depend on z", _bayes_rule_holds),),
    start="Collect the terms of log p(z) + log p(x | z) that are quadratic in z, then those that are linear.",
    hint="torch.linalg.inv; for a batch of rows, Wᵀ(x − b) is (x - b) @ W, and M is symmetric.",
    see="For W = 2, b = 1, s² = 0.5 and x = 4: mean 6/4.5 = 1.333, variance 0.5/4.5 = 0.111.",
    mistakes=mistakes(
        ppca_posterior,
        ("the prior is missing",
         "this is least squares, M = WᵀW: the term s² I, which the prior N(0, I) contributes, is missing.",
         (" + noise_var * torch.eye(W.shape[1], dtype=W.dtype)", ""), ("inv(M)", "pinv(M)")),
        ("s² on every entry",
         "s² was added to every entry of WᵀW, as W.T @ W + noise_var does; s² I has it on the diagonal and 0 "
         "elsewhere.", ("noise_var * torch.eye(W.shape[1], dtype=W.dtype)", "noise_var")),
        ("I for s² I",
         "M is WᵀW + I here; the prior's I is multiplied by s² once the precision WᵀW/s² + I is scaled by s².",
         ("+ noise_var *", "+")),
        ("standard deviation for variance", "the noise enters as √s² = s; noise_var is the variance already.",
         lambda W, b, s, x: ppca_posterior(W, b, math.sqrt(s), x)),
        ("s² squared", "noise_var was squared; it is the variance already.",
         lambda W, b, s, x: ppca_posterior(W, b, s * s, x)),
        ("covariance without s²", "the covariance is M⁻¹ here; it is s² M⁻¹, since the precision is M/s².",
         ("noise_var * M_inv", "M_inv")),
        ("mean divided by s²", "the mean has a factor 1/s² too many: s² M⁻¹ times Wᵀ(x − b)/s² leaves none.",
         ("@ M_inv", "@ M_inv / noise_var")),
        ("1/s² missing in the mean",
         "the mean is Λ⁻¹Wᵀ(x − b) with Λ = WᵀW/s² + I; a factor 1/s² is missing. Λ⁻¹Wᵀ(x − b)/s² is M⁻¹Wᵀ(x − b).",
         ("@ M_inv", "@ M_inv * noise_var")),
        ("precision for covariance", "cov holds the precision M/s²; the covariance is its inverse.",
         ("noise_var * M_inv", "M / noise_var")),
        ("b not subtracted", "the offset b is still in x: the posterior looks at x − b.", ("(x - b)", "x")),
        ("b added", "b is added to x; the model adds it to Wz, so inference subtracts it.", ("x - b", "x + b")),
        ("M⁻¹ left out of the mean", "the mean is Wᵀ(x − b), not yet multiplied by M⁻¹.", (" @ M_inv", "")),
        ("the covariance of x", "WWᵀ + s² I is the covariance of x, D × D; the posterior needs M = WᵀW + s² I, d × d.",
         ("noise_var * M_inv", "W @ W.T + noise_var * torch.eye(len(W), dtype=W.dtype)")),
        ("a diagonal covariance",
         "the off-diagonal entries are dropped: that is a factorised approximation, not the posterior.",
         ("noise_var * M_inv", "noise_var * M_inv.diag().diag()")),
    ),
)  # fmt: skip


# ---- iwae_bound -----------------------------------------------------------------------------------------------------
def iwae_bound(log_w):
    return log_w.logsumexp(1) - math.log(log_w.shape[1])


def _iwae_cases(generator):
    def case(B, K, shift=0.0, dtype=torch.float64):
        label = f"B = {B}, K = {K}" + (f", weights near e^{shift:g}" if shift else "")
        return Case(label, (2 * normal(B, K, generator=generator, dtype=dtype) + shift,))

    apart = numbers([0.0, 1.0, 2.0, -1.0], [-1000.0, -1001.0, -1003.0, -1002.0], [3.0, 1.0, 2.0, 5.0])
    wide = numbers([-1500.0, 0.0, -1500.0], [-800.0, -900.0, 900.0], [-2700.0, -1200.0, -2710.0], [2.0, 1.0, 4.0])
    return [
        Case("K = 2, weights 1 and 3", (numbers([1.0, 3.0]).log(),)),
        Case("K = 1: the log weight itself", (numbers([-2.0], [1.0], [3.0]),)),
        case(3, 5),
        case(5, 3),
        case(4, 6),
        case(3, 7, dtype=torch.float32),
        case(3, 4, -1200.0),
        case(5, 4, 900.0),
        Case("three examples whose weights differ by e^1000", (apart,)),
        Case("four examples, in three of which the weights differ by more than e^709", (wide,)),
    ]


def _at_least_the_mean(function):
    log_w = 3 * normal(200, 8, generator=torch.Generator().manual_seed(5))
    low = (function(log_w) - log_w.mean(1)).min().item()
    return low >= 0, f"smallest lead over the mean of log w, 200 groups: {low:.3g}"


IWAE_BOUND = Exercise(
    equation="L_K = log (1/K) Σ_k w_k, from log w_k (M-33)",
    reference=iwae_bound,
    returns=("bound",),
    cases=_iwae_cases,
    properties=(Property("the bound is at least the mean of log w (Jensen)", _at_least_the_mean),),
    start="Which comes first, the logarithm or the average? Write the formula with w, then with log w.",
    hint="torch.logsumexp(log_w, 1) is log Σ w without overflow.",
    see="log 2 = 0.693 for the weights 1 and 3, where the mean of the logarithms is 0.549.",
    mistakes=mistakes(
        iwae_bound,
        ("logarithms averaged",
         "this is the mean of log w, the ELBO with K draws, and no larger K makes it tighter; the weights are "
         "averaged inside the logarithm.", ("log_w.logsumexp(1) - math.log(log_w.shape[1])", "log_w.mean(1)")),
        ("1/K is missing",
         "this is the logarithm of the sum of the weights; the bound has their mean, so subtract log K.",
         (" - math.log(log_w.shape[1])", "")),
        ("log K added", "log K is added; dividing by K inside the logarithm subtracts it.", ("- math", "+ math")),
        ("divided by K outside", "the division by K stands outside the logarithm; inside, it becomes − log K.",
         ("- math.log(log_w.shape[1])", "/ log_w.shape[1]")),
        ("K subtracted", "K itself is subtracted; it is log K.", ("math.log(log_w.shape[1])", "log_w.shape[1]")),
        ("underflow",
         "the weights were exponentiated one by one: for log w near −1200 they are all 0 and the bound −∞, near 900 "
         "all ∞. Take the largest out first; logsumexp does.",
         ("log_w.logsumexp(1) - math.log(log_w.shape[1])", "log_w.exp().mean(1).log()")),
        ("the minimum or the mean for the maximum",
         "the row's minimum (or mean, or another number) is subtracted, not its maximum: the largest weight is then e "
         "to its distance from that, which overflows to ∞ beyond 709. With the maximum subtracted no weight is above "
         "1.",
         ("log_w.logsumexp(1) - math.log(log_w.shape[1])",
          "log_w.amin(1) + (log_w - log_w.amin(1, keepdim=True)).exp().mean(1).log()")),
        ("one largest for the whole batch",
         "the largest log weight of the batch was taken out of every example: an example with much smaller weights "
         "underflows to −∞. Each example needs its own.",
         ("log_w.logsumexp(1) - math.log(log_w.shape[1])", "log_w.max() + (log_w - log_w.max()).exp().mean(1).log()")),
        ("the largest not put back",
         "the largest log weight was taken out to avoid overflow, and not added again at the end.",
         ("log_w.logsumexp(1) - math.log(log_w.shape[1])",
          "(log_w - log_w.amax(1, keepdim=True)).exp().mean(1).log()")),
        ("the largest weight only", "this is max log w − log K, the bound as if the other weights were 0.",
         ("logsumexp", "amax")),
        ("the mean weight", "the logarithm is missing: this is the mean weight, an estimate of p(x).",
         ("log_w.logsumexp(1) - math.log(log_w.shape[1])", "log_w.exp().mean(1)")),
        ("over the wrong axis",
         "the average runs over the examples, axis 0; the K draws of an example lie along axis 1.",
         ("logsumexp(1)", "logsumexp(0)"), ("shape[1]", "shape[0]")),
        ("one number for the batch",
         "examples and draws were averaged together; the bound is one number for each example, (B,).",
         ("logsumexp(1)", "logsumexp((0, 1))"), ("log_w.shape[1]", "log_w.numel()")),
        ("the negative bound", "this is −L_K, what a training loop minimises; asked is the bound itself.",
         lambda w: -iwae_bound(w)),
        ("B for K", "log B, of the number of examples, is subtracted; K is the number of draws, the length of axis 1.",
         ("shape[1]", "shape[0]")),
    ),
)  # fmt: skip


# ---- coordinate_update ----------------------------------------------------------------------------------------------
def coordinate_update(precision, m, a, i):
    pull = (a - m) @ precision[i]  # minus the slope of the ELBO in a_i
    out = a.clone()
    out[:, i] = a[:, i] - pull / precision[i, i]
    return out


def _update_cases(generator):
    def case(k, B, i, dtype=torch.float64):
        A, m, a = (normal(*shape, generator=generator, dtype=dtype) for shape in ((k, k), (k,), (B, k)))
        label = f"k = {k}, B = {B}, i = {i}" + (" in float32" if dtype is torch.float32 else "")
        return Case(label, (A @ A.T + torch.eye(k, dtype=dtype), m, a, i))

    first = (numbers([2.0, 1.0], [1.0, 3.0]), numbers(1.0, 2.0), numbers([0.0, 0.0]), 0)
    _, m, a, _ = case(4, 5, 2).args
    return [
        Case("precision ((2, 1), (1, 3)), m (1, 2), a = (0, 0), i = 0", first),
        case(3, 4, 1),
        case(4, 3, 3),
        case(5, 6, 0),
        Case("k = 4, B = 5, i = 2, a diagonal precision", (numbers(2.0, 0.5, 3.0, 1.0).diag(), m, a, 2)),
        case(12, 30, 7),
        Case("k = 4, B = 5, i = 3, means far out", (numbers(2.0, 0.5, 3.0, 1.0).diag() + 0.3, 40 * m, 30 * a, 3)),
        case(4, 5, 2, torch.float32),
    ]


def _nothing_is_higher(function):
    """The part of the ELBO that depends on a, before and after the move, and with a_i moved further either way."""
    precision = numbers([3.0, 1.0, -0.5], [1.0, 2.0, 0.4], [-0.5, 0.4, 1.5])
    m, a = numbers(0.5, -1.0, 2.0), numbers([1.5, 0.3, -0.2], [-2.0, 1.0, 0.7])

    def elbo(a):
        return -0.5 * ((a - m) @ precision * (a - m)).sum(1)

    rise, fall = math.inf, math.inf
    for i in range(3):
        new = function(precision, m, a, i)
        rise = min(rise, (elbo(new) - elbo(a)).min().item())
        step = 0.01 * torch.eye(3, dtype=a.dtype)[i]
        fall = min(fall, *((elbo(new) - elbo(new + s * step)).min().item() for s in (-1, 1)))
    return rise >= 0 and fall > 0, f"the least rise is {rise:.3g}, the least fall {fall:.3g} nats"


COORDINATE_UPDATE = Exercise(
    equation="a_i that maximises −½ (a − m)ᵀ precision (a − m), the other means kept (ELBO-2)",
    reference=coordinate_update,
    returns=("a",),
    cases=_update_cases,
    properties=(Property("the ELBO rises, and falls when a_i moves on by 0.01 either way", _nothing_is_higher),),
    start="Which terms of (a − m)ᵀ precision (a − m) contain a_i? What is their derivative?",
    hint="The sum over j of precision_ij (a_j − m_j) must become 0, and only a_i may move. Write into a.clone().",
    see="(2, 0) for the first case: a_i passes m_i = 1, for the other mean is too small. With a diagonal "
    "precision a_i goes to m_i. Done for each i in turns, again and again, it takes every mean to its m.",
    mistakes=mistakes(
        coordinate_update,
        ("the covariance for the precision",
         "covariance and precision are exchanged: in the ELBO's quadratic form stands precision, as it is given.",
         ("pull = ", "precision = torch.linalg.inv(precision)\n    pull = ")),
        ("the whole change not divided",
         "a_i − Σ_j precision_ij (a_j − m_j) is a gradient step of length 1; the parabola has the curvature "
         "precision_ii, and its top is reached with the step divided by it.",
         (" / precision[i, i]", "")),
        ("the others' pull not divided",
         "this is m_i − Σ precision_ij (a_j − m_j) over j ≠ i; the sum has to be divided by precision_ii.",
         ("a[:, i] - pull / precision[i, i]", "m[i] - pull + precision[i, i] * (a[:, i] - m[i])")),
        ("divided by the root", "the change was divided by √precision_ii; the curvature is precision_ii itself.",
         ("/ precision[i, i]", "/ precision[i, i].sqrt()")),
        ("divided by the sum of the row",
         "the change was divided by Σ_j precision_ij; only a_i moves, so the curvature is precision_ii.",
         ("/ precision[i, i]", "/ precision[i].sum()")),
        ("divided by precision_jj",
         "the term of each other j was divided by its own precision_jj; a_i moves, so all are divided by precision_ii.",
         ("@ precision[i] ", "@ (precision[i] / precision.diagonal()) "), (" / precision[i, i]", "")),
        ("downhill", "the step has the wrong sign: it leads from the top of the parabola away.",
         ("a[:, i] - pull", "a[:, i] + pull")),
        ("the others' sign",
         "this is m_i + Σ precision_ij (a_j − m_j)/precision_ii over j ≠ i; the sum is subtracted.",
         ("a[:, i] - pull / precision[i, i]", "2 * m[i] - a[:, i] + pull / precision[i, i]")),
        ("j = i left in the sum",
         "from m_i the sum over all j was subtracted. The one that starts at m_i runs over j ≠ i; that over "
         "all j starts at a_i.",
         ("= a[:, i] - pull", "= m[i] - pull")),
        ("started at a_i, summed over the others",
         "from a_i the sum over j ≠ i was subtracted. That sum starts at m_i; the one from a_i runs over all j.",
         ("= a[:, i] - pull / precision[i, i]", "= 2 * a[:, i] - m[i] - pull / precision[i, i]")),
        ("neither divided nor subtracted",
         "this is m_i + Σ precision_ij (a_j − m_j) over j ≠ i; the sum is divided by precision_ii and subtracted.",
         ("a[:, i] - pull / precision[i, i]", "m[i] + pull - precision[i, i] * (a[:, i] - m[i])")),
        ("half the way", "a_i goes half the way to the top of its parabola; the top is one full step away.",
         ("- pull /", "- 0.5 * pull /")),
        ("the change alone", "column i holds the change of a_i; it has to hold the new a_i.",
         ("= a[:, i] - pull", "= -pull")),
        ("a_i set to m_i",
         "a_i was set to m_i, its place once all means are right; while others are off, their off-diagonal terms "
         "move the best a_i.",
         ("a[:, i] - pull / precision[i, i]", "m[i]")),
        ("m forgotten", "m was taken for 0: the sum is over precision_ij (a_j − m_j).",
         ("(a - m) @", "a @")),
        ("the others' centres forgotten",
         "m_i stands there, those of the other means do not: the sum over j ≠ i is over "
         "precision_ij (a_j − m_j).",
         ("a[:, i] - pull / precision[i, i]", "m[i] + a[:, i] - a @ precision[i] / precision[i, i]")),
        ("all coordinates at once", "every mean was moved, each as if the others stayed; only a_i moves.",
         ("out[:, i] = a[:, i] - pull / precision[i, i]", "out = a - (a - m) @ precision / precision.diagonal()")),
        ("a whole sweep", "all means were moved, one after the other; only a_i moves in this call.",
         ("out[:, i] = a[:, i] - pull / precision[i, i]",
          "for j in range(len(m)):\n        out[:, j] -= (out - m) @ precision[j] / precision[j, j]")),
        ("all but i moved", "the other means were moved and a_i was kept; it is the other way round.",
         ("out = a.clone()", "out = a - (a - m) @ precision / precision.diagonal()"),
         ("a[:, i] - pull / precision[i, i]", "a[:, i]")),
        ("all means at m",
         "all means are at their best places; asked is the best a_i while the others are kept.",
         ("out[:, i] = a[:, i] - pull / precision[i, i]", "out[:] = m")),
    ),
)  # fmt: skip

EXERCISES = (ELBO_ESTIMATE, GAUSSIAN_KL, PPCA_POSTERIOR, IWAE_BOUND, COORDINATE_UPDATE)
