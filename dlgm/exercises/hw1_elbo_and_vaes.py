"""Homework 1: bounds in exact worlds, three laws that the lessons do not use, collapse, and two models to train.

Ledger LVM-1, ELBO-1, ELBO-2, ELBO-3, ELBO-4, KL-1, GAUSS-2, VAE-2, VAE-3, VAE-4, VAE-5, VAE-6, M-33, M-34.
"""

import functools
import math
import warnings

import torch

from .. import data
from .engine import Case, Exercise, Mistake, Property
from .inputs import normal, numbers


def _size(generator, low, high):
    """A whole number from low to high."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _uniform(*shape, generator, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def _counts(*shape, generator, top):
    """Whole numbers from 0 to top, as float64."""
    return torch.randint(0, top + 1, shape, generator=generator).double()


# ---- mixture_evidence -----------------------------------------------------------------------------------------------
def mixture_evidence(log_prior, log_likelihood, q):
    log_joint = log_prior + log_likelihood
    log_evidence = log_joint.logsumexp(1)
    negative_entropy = torch.xlogy(q, q).sum(1)
    elbo = (q * log_joint).sum(1) - negative_entropy
    gap = negative_entropy - (q * (log_joint - log_evidence[:, None])).sum(1)
    return log_evidence, elbo, gap


def _mixture_case(label, generator, B, K, shift=0.0, zeros=False):
    log_prior = normal(K, generator=generator).log_softmax(0)
    log_likelihood = shift + normal(B, K, generator=generator, scale=2.0)
    q = normal(B, K, generator=generator).softmax(1)
    if zeros:
        q[:, 0] = 0.0
        q = q / q.sum(1, keepdim=True)
    return Case(label, (log_prior, log_likelihood, q))


def _mixture_cases(generator):
    half = numbers(0.5, 0.5).log()
    likelihood = numbers([0.2, 0.6]).log()
    return [
        Case("prior (½, ½), likelihood (0.2, 0.6), q = (½, ½)", (half, likelihood, numbers([0.5, 0.5]))),
        Case("the same with q = (0.25, 0.75), the posterior", (half, likelihood, numbers([0.25, 0.75]))),
        Case("the same with q = (0, 1)", (half, likelihood, numbers([0.0, 1.0]))),
        _mixture_case("B = 3, K = 4", generator, 3, 4),
        _mixture_case("B = K = 4, q with zeros", generator, 4, 4, zeros=True),
        _mixture_case("log-likelihoods near −2000", generator, 3, 2, shift=-2000.0),
    ]


def _mixture_hidden(generator):
    out = []
    for i, (shift, zeros) in enumerate([(0.0, False), (0.0, True), (-1500.0, False), (1200.0, True), (-3.0, False)]):
        B, K = _size(generator, 2, 6), _size(generator, 3, 7)
        label = f"{i + 1}: B = {B}, K = {K}, log-likelihoods near {shift:g}" + (", q with zeros" if zeros else "")
        out.append(_mixture_case(label, generator, B, K, shift, zeros))
    return out


def _mixture(evidence=None, elbo=None, gap=None):
    """mixture_evidence with one of its three values computed otherwise, from (log_prior, log_likelihood, q)."""

    def function(*args):
        right = mixture_evidence(*args)
        return tuple(
            other(*args) if other else value for other, value in zip((evidence, elbo, gap), right, strict=True)
        )

    return function


def _by_difference(evidence=None, elbo=None):
    """mixture_evidence with another evidence or ELBO, and the gap as their difference."""

    def function(*args):
        log_evidence = evidence(*args) if evidence else mixture_evidence(*args)[0]
        bound = elbo(*args) if elbo else mixture_evidence(*args)[1]
        return log_evidence, bound, log_evidence - bound

    return function


def _log_of_zero(p, f, q):
    joint = (p + f).exp()
    elbo = (q * joint.log() - torch.xlogy(q, q)).sum(1)
    return joint.sum(1).log(), elbo, joint.sum(1).log() - elbo


def _underflowing(p, f, q):
    evidence = ((p + f).exp().sum(1)).log()
    elbo = mixture_evidence(p, f, q)[1]
    return evidence, elbo, evidence - elbo


def _prior_forgotten(p, f, q):
    return mixture_evidence(torch.zeros_like(p), f, q)


def _q_times_log_q(p, f, q):
    right = mixture_evidence(p, f, q)
    entropy = (q * q.log()).sum(1)
    return right[0], (q * (p + f)).sum(1) - entropy, entropy - (q * (p + f - right[0][:, None])).sum(1)


MIXTURE_EVIDENCE = Exercise(
    equation="log p(x) = log Σ_z p(z) p(x | z) = Σ_z q_z log [p(x, z)/q_z] + KL(q ‖ p(z | x)) (ELBO-2)",
    reference=mixture_evidence,
    returns=("log_evidence", "elbo", "gap"),
    cases=_mixture_cases,
    hidden=_mixture_hidden,
    mistakes=(
        Mistake(
            "the prior forgotten",
            "the likelihoods were added without the prior: p(x) is the average of p(x | z) under p(z), not its sum.",
            _prior_forgotten,
        ),
        Mistake(
            "a uniform prior",
            "1/K was used for every p(z); the prior is given, and it need not be uniform.",
            lambda p, f, q: mixture_evidence(torch.full_like(p, -math.log(len(p))), f, q),
        ),
        Mistake(
            "the logarithm after an underflow",
            "exp of a log-likelihood of −2000 is 0 in floating point, and log 0 is −∞; logsumexp takes the maximum out "
            "first.",
            _underflowing,
        ),
        Mistake(
            "0 · log 0",
            "q log q is NaN where q = 0; its limit is 0, which torch.xlogy gives.",
            _q_times_log_q,
        ),
        Mistake(
            "the entropy forgotten",
            "the ELBO lacks −Σ q log q: without it the best q is a single state.",
            _mixture(elbo=lambda p, f, q: (q * (p + f)).sum(1)),
        ),
        Mistake(
            "the entropy forgotten, in the gap too",
            "the ELBO lacks −Σ q log q, and so the gap, its distance from log p(x), is too large.",
            _by_difference(elbo=lambda p, f, q: (q * (p + f)).sum(1)),
        ),
        Mistake(
            "the entropy with the wrong sign",
            "Σ q log q is added to the ELBO; the entropy of q is −Σ q log q, and it enters with a plus.",
            _mixture(elbo=lambda p, f, q: (q * (p + f)).sum(1) + torch.xlogy(q, q).sum(1)),
        ),
        Mistake(
            "the entropy with the wrong sign, in the gap too",
            "Σ q log q is added to the ELBO; the entropy of q is −Σ q log q, and it enters with a plus. The gap, taken "
            "as a difference, is wrong with it.",
            _by_difference(elbo=lambda p, f, q: (q * (p + f)).sum(1) + torch.xlogy(q, q).sum(1)),
        ),
        Mistake(
            "the ELBO without the prior",
            "the ELBO has log p(x | z) where log p(z) + log p(x | z) belongs.",
            _by_difference(elbo=lambda p, f, q: mixture_evidence(torch.zeros_like(p), f, q)[1]),
        ),
        Mistake(
            "logarithms of an underflow in both",
            "p(z) p(x | z) was computed itself; where it underflows, its logarithm is −∞ in the evidence and in the "
            "ELBO. Stay with log p(z) + log p(x | z), and use logsumexp for the sum.",
            _log_of_zero,
        ),
        Mistake(
            "evidence and ELBO exchanged",
            "the ELBO comes first; the order is log_evidence, elbo, gap.",
            lambda p, f, q: tuple(mixture_evidence(p, f, q)[i] for i in (1, 0, 2)),
        ),
        Mistake(
            "the KL the other way round",
            "the gap is KL(posterior ‖ q), averaged under the posterior; it is KL(q ‖ posterior), averaged under q.",
            _mixture(gap=lambda p, f, q: ((p + f).softmax(1) * ((p + f).log_softmax(1) - q.log())).sum(1)),
        ),
        Mistake(
            "the KL to the prior",
            "the gap is measured from the prior p(z); it is the divergence from the posterior p(z | x).",
            _mixture(gap=lambda p, f, q: (torch.xlogy(q, q) - q * p).sum(1)),
        ),
        Mistake(
            "the gap with the wrong sign",
            "the gap is ELBO − log p(x), which is never positive; the KL is log p(x) − ELBO.",
            _mixture(gap=lambda p, f, q: -mixture_evidence(p, f, q)[2]),
        ),
    ),
    start="Add log p(z) and log p(x | z) first: all three answers are made of the log joint and q.",
    hint="logsumexp over z for the evidence; torch.xlogy(q, q) is q log q with the right value at 0.",
    see="For prior (½, ½), likelihood (0.2, 0.6) and q = (½, ½): log 0.4 = −0.916, ELBO −1.060, gap 0.144.",
)


# ---- laplace_kl -----------------------------------------------------------------------------------------------------
def laplace_kl(m1, b1, m2, b2):
    distance = (m1 - m2).abs()
    return ((b2 / b1).log() + (distance + b1 * (-distance / b1).exp()) / b2 - 1).sum(1)


def _laplace_case(label, generator, B, D):
    m1, a, m2, b = (normal(B, D, generator=generator) for _ in range(4))
    return Case(label, (m1, a.exp(), m2, b.exp()))


def _laplace_cases(generator):
    return [
        Case("means 1 and 0, scales 1", tuple(numbers([v]) for v in (1.0, 1.0, 0.0, 1.0))),
        Case("means 0, scales 1 and 2", tuple(numbers([v]) for v in (0.0, 1.0, 0.0, 2.0))),
        Case("means −1 and 2, scales 0.5 and 2", tuple(numbers([v]) for v in (-1.0, 0.5, 2.0, 2.0))),
        _laplace_case("shape (3, 2)", generator, 3, 2),
        _laplace_case("shape (4, 4)", generator, 4, 4),
    ]


def _laplace_hidden(generator):
    sizes = [(_size(generator, 1, 6), _size(generator, 2, 6)) for _ in range(5)]
    return [_laplace_case(f"{i + 1}: shape {size}", generator, *size) for i, size in enumerate(sizes)]


def _kl_by_quadrature(function):
    """The integral ∫ p log(p/q) on a grid, split at the two kinks, against the closed form."""
    m1, b1, m2, b2 = 0.7, 0.8, -0.5, 1.7
    z = torch.cat([torch.linspace(a, b, 20_001, dtype=torch.float64) for a, b in ((-30, m2), (m2, m1), (m1, 31))])
    p, q = torch.distributions.Laplace(m1, b1).log_prob(z), torch.distributions.Laplace(m2, b2).log_prob(z)
    want = torch.trapezoid(p.exp() * (p - q), z).item()
    got = function(*(numbers([v]) for v in (m1, b1, m2, b2))).item()
    return abs(got - want) < 1e-5, f"{got:.6f}, quadrature {want:.6f}"  # the grid's own error is 1e-6


def _laplace(term):
    return lambda m1, b1, m2, b2: term((m1 - m2).abs(), b1, b2).sum(1)


LAPLACE_KL = Exercise(
    equation="KL(Laplace(m1, b1) ‖ Laplace(m2, b2)) = Σ [log b2/b1 + (|m1 − m2| + b1 e^{−|m1 − m2|/b1})/b2 − 1] (KL-1)",
    reference=laplace_kl,
    returns=("kl",),
    cases=_laplace_cases,
    hidden=_laplace_hidden,
    properties=(Property("a numerical integral gives the same number", _kl_by_quadrature),),
    mistakes=(
        Mistake(
            "the two laws swapped",
            "this is KL(second ‖ first); the average is taken under the first law.",
            lambda m1, b1, m2, b2: laplace_kl(m2, b2, m1, b1),
        ),
        Mistake(
            "the exponential missing",
            "E|z − m2| was taken for |m1 − m2|; the first law also spreads around m1, which adds b1 e^{−|m1 − m2|/b1}.",
            _laplace(lambda d, b1, b2: (b2 / b1).log() + d / b2 - 1),
        ),
        Mistake(
            "the spread added in full",
            "E|z − m2| is |m1 − m2| + b1 e^{−|m1 − m2|/b1}, not |m1 − m2| + b1: draws between the means are nearer to "
            "m2 than m1 is.",
            _laplace(lambda d, b1, b2: (b2 / b1).log() + (d + b1) / b2 - 1),
        ),
        Mistake(
            "the second scale in the exponent",
            "the exponent is −|m1 − m2|/b1: it comes from the density under which the average is taken, the first.",
            _laplace(lambda d, b1, b2: (b2 / b1).log() + (d + b1 * (-d / b2).exp()) / b2 - 1),
        ),
        Mistake(
            "no absolute value",
            "m1 − m2 stands where |m1 − m2| belongs: exchanging the two means must not change the KL.",
            lambda m1, b1, m2, b2: ((b2 / b1).log() + (m1 - m2 + b1 * (-(m1 - m2) / b1).exp()) / b2 - 1).sum(1),
        ),
        Mistake(
            "the sign of the logarithm",
            "the logarithm is log b2/b1: a narrow first law has little entropy, which makes the KL larger.",
            _laplace(lambda d, b1, b2: (b1 / b2).log() + (d + b1 * (-d / b1).exp()) / b2 - 1),
        ),
        Mistake(
            "Gaussians of the same variances",
            "this is the KL of two Gaussians with variances 2b²; a Laplace density falls with |z − m|, not with its "
            "square.",
            _laplace(lambda d, b1, b2: 0.5 * (2 * (b2 / b1).log() - 1 + (b1**2 + d**2 / 2) / b2**2)),
        ),
        Mistake(
            "no −1",
            "−1 is missing for each coordinate: E log p has −E|z − m1|/b1 = −1. Two equal laws have KL 0.",
            _laplace(lambda d, b1, b2: (b2 / b1).log() + (d + b1 * (-d / b1).exp()) / b2),
        ),
        Mistake(
            "one −1 for all coordinates",
            "the constant is −1 for each coordinate, −D in all; here it was subtracted once.",
            lambda m1, b1, m2, b2: laplace_kl(m1, b1, m2, b2) + m1.shape[1] - 1,
        ),
        Mistake(
            "mean over the coordinates",
            "the coordinates are averaged; independent coordinates add up.",
            lambda m1, b1, m2, b2: laplace_kl(m1, b1, m2, b2) / m1.shape[1],
        ),
    ),
    start="log p − log q has one absolute value under each law. What is E|z − m1|, and what is E|z − m2|?",
    hint="E|z − m1| = b1, and E|z − m2| = |m1 − m2| + b1 e^{−|m1 − m2|/b1}: check it at m1 = m2.",
    see="1/e = 0.368 for means 1 and 0 with scales 1; log 2 − ½ = 0.193 for scales 1 and 2.",
)


# ---- logistic_sample ------------------------------------------------------------------------------------------------
def logistic_sample(mean, log_scale, u):
    z = mean + log_scale.exp() * (u.log() - (1 - u).log())
    return z, (u.log() + (1 - u).log() - log_scale).sum(1)


def _logistic_case(label, generator, B, d, rare=False):
    mean, log_scale = (normal(B, d, generator=generator) for _ in range(2))
    u = _uniform(B, d, generator=generator, low=0.01, high=0.99)
    if rare:
        u[0, :2] = torch.stack([1e-6 * u[0, 0], 1 - 1e-5 * u[0, 1]])
    return Case(label, (mean, log_scale, u))


def _logistic_cases(generator):
    return [
        Case("mean 0, scale 1, u = 0.75", (numbers([0.0]), numbers([0.0]), numbers([0.75]))),
        Case("mean 1, log-scale −1, u = 0.5", (numbers([1.0]), numbers([-1.0]), numbers([0.5]))),
        Case("mean 1, log-scale 2, u = 0.1", (numbers([1.0]), numbers([2.0]), numbers([0.1]))),
        Case("mean 0, scale 1, u = 1e-6 (rare, and not to be clamped)", tuple(numbers([v]) for v in (0.0, 0.0, 1e-6))),
        _logistic_case("shape (3, 2)", generator, 3, 2),
        _logistic_case("shape (4, 4)", generator, 4, 4),
    ]


def _logistic_hidden(generator):
    sizes = [(_size(generator, 2, 6), _size(generator, 2, 6)) for _ in range(5)]
    return [_logistic_case(f"{i + 1}: shape {size}", generator, *size, rare=True) for i, size in enumerate(sizes)]


def _density_is_the_slope(function):
    """For z increasing in u, p(z) = du/dz: the density against a difference quotient."""
    u = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)[:, None]
    mean, log_scale, step = torch.full_like(u, 0.4), torch.full_like(u, 0.6), 1e-5
    above, below = (function(mean, log_scale, u + s)[0] for s in (step, -step))
    slope = (2 * step / (above - below))[:, 0].log()
    gap = (slope - function(mean, log_scale, u)[1]).abs().max().item()
    return gap < 1e-6, f"largest gap {gap:.0e}"  # the quotient is off by 1e-9 or so


LOGISTIC_SAMPLE = Exercise(
    equation="z = m + s log [u/(1 − u)],  log q(z) = Σ [log u + log(1 − u) − log s],  u ~ U(0, 1) (VAE-4)",
    reference=logistic_sample,
    returns=("z", "log_q"),
    gradients=("mean", "log_scale"),
    cases=_logistic_cases,
    hidden=_logistic_hidden,
    properties=(Property("the density is du/dz", _density_is_the_slope),),
    mistakes=(
        Mistake(
            "the log-scale used as the scale",
            "log u/(1 − u) is multiplied by log s; the scale is s = exp(log_scale).",
            lambda m, s, u: (m + s * torch.logit(u), logistic_sample(m, s, u)[1]),
        ),
        Mistake(
            "the log-scale read as a log-variance",
            "the scale is exp(log_scale / 2); there is no variance here, so the exponent is not halved.",
            lambda m, s, u: logistic_sample(m, 0.5 * s, u),
        ),
        Mistake(
            "half the log-scale in z",
            "z was stretched by exp(log_scale / 2); log_scale is the logarithm of the scale itself, not of a variance.",
            lambda m, s, u: (m + (s / 2).exp() * torch.logit(u), logistic_sample(m, s, u)[1]),
        ),
        Mistake(
            "the gradient cut",
            "z carries no gradient to mean and log_scale; that is what the reparameterisation is for. detach, no_grad "
            "and torch.tensor(...) cut it.",
            lambda m, s, u: (logistic_sample(m, s, u)[0].detach(), logistic_sample(m, s, u)[1]),
        ),
        Mistake(
            "nothing carries a gradient",
            "neither z nor log q carries a gradient; training needs both. detach, no_grad and torch.tensor(...) cut "
            "it.",
            lambda m, s, u: tuple(v.detach() for v in logistic_sample(m, s, u)),
        ),
        Mistake(
            "u clamped",
            "u was clamped to [0.001, 0.999]: the logistic law has heavier tails than that, and log u is exact near 0.",
            lambda m, s, u: logistic_sample(m, s, u.clamp(1e-3, 1 - 1e-3)),
        ),
        Mistake(
            "a Gaussian's inverse cdf",
            "z is the quantile of a normal law; the logistic cdf 1/(1 + e^{−(z − m)/s}) = u gives log u/(1 − u).",
            lambda m, s, u: (m + s.exp() * torch.special.ndtri(u), logistic_sample(m, s, u)[1]),
        ),
        Mistake(
            "u used as the noise itself",
            "u ~ U(0, 1) enters as it is; it has to pass through the inverse cdf first.",
            lambda m, s, u: (m + s.exp() * u, logistic_sample(m, s, u)[1]),
        ),
        Mistake(
            "the inverse cdf upside down",
            "z falls as u grows: this is log (1 − u)/u. An inverse cdf grows with u.",
            lambda m, s, u: (m - s.exp() * torch.logit(u), logistic_sample(m, s, u)[1]),
        ),
        Mistake(
            "the scale missing from the density",
            "log q lacks −log s: stretching a law by s divides its density by s.",
            lambda m, s, u: (logistic_sample(m, s, u)[0], (u.log() + (1 - u).log()).sum(1)),
        ),
        Mistake(
            "the scale with the wrong sign",
            "+log s stands where −log s belongs: a wide law has a low density.",
            lambda m, s, u: (logistic_sample(m, s, u)[0], (u.log() + (1 - u).log() + s).sum(1)),
        ),
        Mistake(
            "the logit in the density",
            "log q has log u − log(1 − u), which is z; the density is u (1 − u)/s, so the two logarithms add up.",
            lambda m, s, u: (logistic_sample(m, s, u)[0], (torch.logit(u) - s).sum(1)),
        ),
        Mistake(
            "the negative of log q",
            "this is −log q, that is log dz/du; the density is du/dz.",
            lambda m, s, u: (logistic_sample(m, s, u)[0], -logistic_sample(m, s, u)[1]),
        ),
        Mistake(
            "mean over the coordinates",
            "the log-densities of the coordinates are averaged; independent coordinates add up.",
            lambda m, s, u: (logistic_sample(m, s, u)[0], logistic_sample(m, s, u)[1] / m.shape[1]),
        ),
        Mistake(
            "the density of u",
            "log q is −log s alone, as if z were uniform; du/dz = u (1 − u)/s.",
            lambda m, s, u: (logistic_sample(m, s, u)[0], -s.sum(1)),
        ),
        Mistake(
            "the density not summed",
            "log q has a number for each coordinate; the law of the vector is the product, one log-density an example.",
            lambda m, s, u: (logistic_sample(m, s, u)[0], u.log() + (1 - u).log() - s),
        ),
    ),
    start="Solve u = 1/(1 + e^{−(z − m)/s}) for z. The density at z is du/dz.",
    hint="The derivative of the logistic function σ is σ(1 − σ), and here σ = u.",
    see="For mean 0, scale 1 and u = 0.75: z = log 3 = 1.099 and log q = log 0.1875 = −1.674.",
)


# ---- free_bits_kl ---------------------------------------------------------------------------------------------------
def free_bits_kl(mean, logvar, prior_mean, prior_logvar, free):
    kl = _coordinate_kl(mean, logvar, prior_mean, prior_logvar).mean(0)
    return kl, kl.clamp(min=free).sum()


def _coordinate_kl(mean, logvar, prior_mean, prior_logvar):
    ratio = (logvar - prior_logvar).exp() + (mean - prior_mean) ** 2 / prior_logvar.exp()
    return 0.5 * (ratio - 1 - logvar + prior_logvar)


def _free_case(label, generator, B, d, free):
    """Coordinates that differ in how far they are from the prior, so that some fall below ``free`` and some do not."""
    reach = torch.linspace(0.05, 1.5, d, dtype=torch.float64)
    mean, logvar = (reach * normal(B, d, generator=generator) for _ in range(2))
    prior_mean, prior_logvar = (normal(d, generator=generator, scale=0.6) for _ in range(2))
    near = reach < 0.6
    return Case(
        label,
        (torch.where(near, prior_mean + mean, mean), torch.where(near, prior_logvar + logvar, logvar),
         prior_mean, prior_logvar, free),
    )  # fmt: skip


def _free_cases(generator):
    zero = numbers(0.0)
    return [
        Case("B = 1, d = 1, mean 1 against N(0, 1), λ = 0.1", (numbers([1.0]), numbers([0.0]), zero, zero, 0.1)),
        Case(
            "B = 2, d = 1, means 0 and 1 against N(0, 1), λ = 0.3",
            (numbers([0.0], [1.0]), numbers([0.0], [0.0]), zero, zero, 0.3),
        ),
        _free_case("shape (3, 2), λ = 0.5", generator, 3, 2, 0.5),
        _free_case("shape (4, 4), λ = 0.25", generator, 4, 4, 0.25),
        _free_case("shape (6, 3), λ = 0", generator, 6, 3, 0.0),
        _free_case("shape (5, 6), λ = 0.4", generator, 5, 6, 0.4),
    ]


def _free_hidden(generator):
    out = []
    for i in range(5):
        B, d, free = _size(generator, 2, 7), _size(generator, 3, 7), 0.1 * _size(generator, 2, 6)
        out.append(_free_case(f"{i + 1}: shape ({B}, {d}), λ = {free:.1f}", generator, B, d, free))
    return out


def _penalty(other):
    """free_bits_kl with another penalty, from the KL of each example and coordinate, and λ."""

    def function(mean, logvar, prior_mean, prior_logvar, free):
        kl = _coordinate_kl(mean, logvar, prior_mean, prior_logvar)
        return kl.mean(0), other(kl, free)

    return function


def _with_kl(other):
    """free_bits_kl with another KL of each example and coordinate, from the four tensors."""

    def function(mean, logvar, prior_mean, prior_logvar, free):
        kl = other(mean, logvar, prior_mean, prior_logvar).mean(0)
        return kl, kl.clamp(min=free).sum()

    return function


FREE_BITS_KL = Exercise(
    equation="kl_j = mean_i KL(N(m_ij, v_ij) ‖ N(m_j, v_j)), penalty = Σ_j max(λ, kl_j) (KL-1, M-34)",
    reference=free_bits_kl,
    returns=("kl", "penalty"),
    cases=_free_cases,
    hidden=_free_hidden,
    mistakes=(
        Mistake(
            "the floor before the mean over the batch",
            "the floor λ was put under every example; it belongs under the mean over the batch, which is what may be "
            "small for free.",
            _penalty(lambda kl, free: kl.clamp(min=free).mean(0).sum()),
        ),
        Mistake(
            "one floor for the sum",
            "the floor is under the sum of all coordinates; each one has a λ of its own, or one of them takes it all.",
            _penalty(lambda kl, free: kl.mean(0).sum().clamp(min=free)),
        ),
        Mistake(
            "the free nats subtracted",
            "λ was subtracted, max(0, kl − λ): the same gradient, and a penalty lower by λ for each coordinate.",
            _penalty(lambda kl, free: (kl.mean(0) - free).clamp(min=0).sum()),
        ),
        Mistake(
            "the smaller one instead of the larger",
            "this is min(λ, kl): it stops charging a coordinate that carries much, and free bits do the contrary.",
            _penalty(lambda kl, free: kl.mean(0).clamp(max=free).sum()),
        ),
        Mistake(
            "no floor",
            "λ was not used: the penalty is the plain KL.",
            _penalty(lambda kl, free: kl.mean(0).sum()),
        ),
        Mistake(
            "mean over the coordinates",
            "the penalty is the mean over the coordinates; their divergences add up.",
            _penalty(lambda kl, free: kl.mean(0).clamp(min=free).mean()),
        ),
        Mistake(
            "a standard normal prior",
            "the KL was taken to N(0, 1); the prior has a mean and a log-variance of its own here.",
            _with_kl(lambda m, s, pm, ps: _coordinate_kl(m, s, 0 * pm, 0 * ps)),
        ),
        Mistake(
            "the two laws swapped",
            "this is KL(prior ‖ q); the average is under q.",
            _with_kl(lambda m, s, pm, ps: _coordinate_kl(pm, ps, m, s)),
        ),
        Mistake(
            "the ½ of the KL",
            "the KL is twice too large: ½ stands before [v₁/v₂ + (m₁ − m₂)²/v₂ − 1 − log v₁/v₂].",
            _with_kl(lambda *args: 2 * _coordinate_kl(*args)),
        ),
        Mistake(
            "the distance over the wrong variance",
            "(m₁ − m₂)² was divided by the variance of q; the prior's variance says how far is far.",
            _with_kl(
                lambda m, s, pm, ps: _coordinate_kl(m, s, pm, ps) + 0.5 * (m - pm) ** 2 * ((-s).exp() - (-ps).exp())
            ),
        ),
        Mistake(
            "the floor in the KL that is returned",
            "kl has the floor in it; it is the plain mean, and only the penalty has a floor. (clamp_ changes kl.)",
            lambda *args: (lambda kl: (kl, kl.sum()))(free_bits_kl(*args)[0].clamp(min=args[-1])),
        ),
        Mistake(
            "sum over the batch",
            "the divergences of the examples were added up; kl is their mean, in nats for each example.",
            lambda *args: (lambda kl: (kl, kl.clamp(min=args[-1]).sum()))(free_bits_kl(*args)[0] * len(args[0])),
        ),
        Mistake(
            "log-variances read as log standard deviations",
            "the variances are exp(2 logvar); logvar is the logarithm of the variance already.",
            _with_kl(lambda m, s, pm, ps: _coordinate_kl(m, 2 * s, pm, 2 * ps)),
        ),
    ),
    start="First the KL of two Gaussians for each example and coordinate, (B, d); then the mean over the batch.",
    hint="The floor comes after the mean over the batch and before the sum over the coordinates: clamp(min=free).",
    see="For mean 1 and variance 1 against N(0, 1) and λ = 0.1: kl = (0.5,) and penalty 0.5.",
)


# ---- binomial_log_likelihood ----------------------------------------------------------------------------------------
def binomial_log_likelihood(logits, x, top):
    choices = math.lgamma(top + 1) - torch.lgamma(x + 1) - torch.lgamma(top - x + 1)
    terms = choices + x * logits - top * torch.nn.functional.softplus(logits)
    return terms.flatten(1).sum(1)


def _binomial_case(label, generator, top, *shape, scale=2.0):
    return Case(
        label, (normal(*shape, generator=generator, scale=scale), _counts(*shape, generator=generator, top=top), top)
    )


def _binomial_cases(generator):
    return [
        Case("logit 0, x = 1 of 2", (numbers([0.0]), numbers([1.0]), 2)),
        Case("logits 0 and log 3, x = 2 and 3 of 4", (numbers([0.0, math.log(3)]), numbers([2.0, 3.0]), 4)),
        Case("logits −800 and 800, x = 0 and 16 of 16", (numbers([-800.0, 800.0]), numbers([0.0, 16.0]), 16)),
        _binomial_case("shape (3, 2), 5 trials", generator, 5, 3, 2),
        _binomial_case("images of shape (4, 1, 3, 3), 16 trials", generator, 16, 4, 1, 3, 3),
    ]


def _binomial_hidden(generator):
    out = []
    for i in range(4):
        top, shape = _size(generator, 3, 20), tuple(_size(generator, 2, 4) for _ in range(2 + i % 3))
        out.append(_binomial_case(f"{i + 1}: shape {shape}, {top} trials", generator, top, *shape))
    B, top = _size(generator, 2, 5), _size(generator, 3, 20)
    logits = torch.where(_uniform(B, 3, generator=generator) < 0.5, -900.0, 900.0).double()
    x = torch.where(logits > 0, float(top), 0.0).double()
    x[:, 0] = 1.0  # a trial that the logits call almost impossible: far from 0
    return [*out, Case(f"5: shape ({B}, 3), logits ±900, {top} trials", (logits, x, top))]


def _sums_to_one(function):
    top = 6
    x = torch.arange(top + 1, dtype=torch.float64)[:, None]
    total = function(torch.full_like(x, 0.7), x, top).exp().sum().item()
    return abs(total - 1) < 1e-12, f"sum of p(x) over x = 0..{top}: {total:.12f}"


BINOMIAL_LOG_LIKELIHOOD = Exercise(
    equation="log p(x | z) = Σ [log C(n, x) + x a − n log(1 + e^a)], a the logits (VAE-1)",
    reference=binomial_log_likelihood,
    returns=("log_likelihood",),
    cases=_binomial_cases,
    hidden=_binomial_hidden,
    properties=(Property("the probabilities of x = 0..n add up to 1", _sums_to_one),),
    mistakes=(
        Mistake(
            "the binomial coefficient missing",
            "log C(n, x) is missing: x ones among n trials come in C(n, x) orders, so the probabilities do not add up "
            "to 1.",
            lambda a, x, n: (x * a - n * torch.nn.functional.softplus(a)).flatten(1).sum(1),
        ),
        Mistake(
            "log Γ(x) for log x!",
            "lgamma(x) is log (x − 1)!, and infinite at x = 0; log x! is lgamma(x + 1).",
            lambda a, x, n: (
                (math.lgamma(n) - torch.lgamma(x) - torch.lgamma(n - x) + x * a - n * torch.nn.functional.softplus(a))
                .flatten(1)
                .sum(1)
            ),
        ),
        Mistake(
            "log of a rounded probability",
            "log σ(a) and log(1 − σ(a)) were computed from σ(a): at a = ±800 one of them is log 0, and 0 · ∞ is NaN. "
            "Use x a − n softplus(a).",
            lambda a, x, n: (
                binomial_log_likelihood(torch.zeros_like(a), x, n)
                + (n * math.log(2) + x * a.sigmoid().log() + (n - x) * (1 - a.sigmoid()).log()).flatten(1).sum(1)
            ),
        ),
        Mistake(
            "the exponential of a logit",
            "e^800 overflows, and log(1 + e^a) is infinite; torch.nn.functional.softplus(a) is safe.",
            lambda a, x, n: (
                binomial_log_likelihood(a, x, n)
                + n * (torch.nn.functional.softplus(a) - torch.log1p(a.exp())).flatten(1).sum(1)
            ),
        ),
        Mistake(
            "one trial in the normaliser",
            "log(1 + e^a) is subtracted once; there are n trials, and each has its own.",
            lambda a, x, n: (
                binomial_log_likelihood(a, x, n) + ((n - 1) * torch.nn.functional.softplus(a)).flatten(1).sum(1)
            ),
        ),
        Mistake(
            "the share x/n for the count",
            "x/n a − log(1 + e^a) is the mean log-likelihood of one trial, n times too small: beside a KL that is a "
            "sum, this is a beta-VAE with beta = n (part 14).",
            lambda a, x, n: (x / n * a - torch.nn.functional.softplus(a)).flatten(1).sum(1),
        ),
        Mistake(
            "mean over the pixels",
            "the pixels are averaged; the log-likelihood of an image is the sum over its pixels.",
            lambda a, x, n: binomial_log_likelihood(a, x, n) / a[0].numel(),
        ),
        Mistake(
            "summed over the last axis only",
            "an image has several axes; sum over all but the batch.",
            lambda a, x, n: (
                binomial_log_likelihood(a.reshape(-1, a.shape[-1]), x.reshape(-1, a.shape[-1]), n)
            ).reshape(a.shape[:-1]),
        ),
        Mistake(
            "the negative",
            "this is −log p(x | z), a loss; asked is the log-likelihood.",
            lambda a, x, n: -binomial_log_likelihood(a, x, n),
        ),
    ),
    start="log C(n, x) = log n! − log x! − log (n − x)!, and log k! = lgamma(k + 1).",
    hint="x log σ(a) + (n − x) log(1 − σ(a)) = x a − n softplus(a), which never takes the logarithm of 0.",
    see="For logit 0 and x = 1 of 2 trials: log ½ = −0.693.",
)


# ---- factor_posterior -----------------------------------------------------------------------------------------------
def factor_posterior(W, b, noise, x):
    cov = torch.linalg.inv(torch.eye(W.shape[1], dtype=W.dtype) + W.T @ (W / noise[:, None]))
    return ((x - b) / noise) @ W @ cov, cov


def _factor_model(generator, D, d, B):
    W, b, x = (normal(*shape, generator=generator) for shape in ((D, d), (D,), (B, D)))
    return W, b, _uniform(D, generator=generator, low=0.2, high=2.5), x


def _factor_cases(generator):
    return [
        Case(
            "D = 2, d = 1, W = (1, 2), noise (1, 4), b = 0, x = (1, 2)",
            (numbers([1.0], [2.0]), numbers(0.0, 0.0), numbers(1.0, 4.0), numbers([1.0, 2.0])),
        ),
        Case(
            "the same with b = (1, 0)",
            (numbers([1.0], [2.0]), numbers(1.0, 0.0), numbers(1.0, 4.0), numbers([1.0, 2.0])),
        ),
        Case("D = 3, d = 2, B = 2", _factor_model(generator, 3, 2, 2)),
        Case("D = d = B = 4", _factor_model(generator, 4, 4, 4)),
        Case("D = 2, d = 3, B = 5", _factor_model(generator, 2, 3, 5)),
    ]


def _factor_hidden(generator):
    out = []
    for i in range(5):
        D, d, B = _size(generator, 3, 7), _size(generator, 2, 4), _size(generator, 2, 6)
        out.append(Case(f"{i + 1}: D = {D}, d = {d}, B = {B}", _factor_model(generator, D, d, B)))
    return out


def _factor_bayes(function):
    """log p(z) + log p(x | z) − log p(z | x) must be the same number for every z."""
    W, b, noise = numbers([1.0, 0.5], [-0.3, 2.0], [0.7, 0.1]), numbers(0.1, 0.2, -0.4), numbers(0.3, 0.6, 2.0)
    x = numbers([1.0, -2.0, 0.5])
    mean, cov = function(W, b, noise, x)
    z = numbers([0.0, 0.0], [1.0, -1.0], [2.0, 0.5], [-1.0, 3.0])
    log_joint = -0.5 * (z.square().sum(1) + ((x - z @ W.T - b).square() / noise).sum(1))
    offset = z - mean
    spread = (log_joint + 0.5 * (offset @ torch.linalg.inv(cov) * offset).sum(1)).std().item()
    return spread < 1e-9, f"spread of log p(x, z) − log p(z | x) over four z: {spread:.1e}"


FACTOR_POSTERIOR = Exercise(
    equation="p(z | x) = N(C WᵀΨ⁻¹(x − b), C), C = (I + WᵀΨ⁻¹W)⁻¹, Ψ = diag(noise) (GAUSS-2)",
    reference=factor_posterior,
    returns=("mean", "cov"),
    cases=_factor_cases,
    hidden=_factor_hidden,
    properties=(Property("p(x, z)/p(z | x) does not depend on z", _factor_bayes),),
    mistakes=(
        Mistake(
            "the prior forgotten",
            "I is missing in the precision: this is weighted least squares, the answer for a flat prior.",
            lambda W, b, noise, x: (lambda C: (((x - b) / noise) @ W @ C, C))(
                torch.linalg.pinv(W.T @ (W / noise[:, None]))
            ),
        ),
        Mistake(
            "one noise variance for all coordinates",
            "the mean of the noise variances was used for all; a coordinate with little noise says more about z.",
            lambda W, b, noise, x: factor_posterior(W, b, noise.mean().expand_as(noise), x),
        ),
        Mistake(
            "noise read as standard deviations",
            "noise was squared; it holds variances already.",
            lambda W, b, noise, x: factor_posterior(W, b, noise**2, x),
        ),
        Mistake(
            "multiplied by the noise",
            "Ψ stands where Ψ⁻¹ belongs: the noisiest coordinate would count most.",
            lambda W, b, noise, x: factor_posterior(W, b, 1 / noise, x),
        ),
        Mistake(
            "Ψ⁻¹ missing in the mean",
            "the mean is C Wᵀ(x − b); the data have to be divided by their noise variances too, WᵀΨ⁻¹(x − b).",
            lambda W, b, noise, x: (
                (x - b) @ W @ factor_posterior(W, b, noise, x)[1],
                factor_posterior(W, b, noise, x)[1],
            ),
        ),
        Mistake(
            "Ψ nowhere",
            "noise was not used: the precision is I + WᵀΨ⁻¹W, and the mean C WᵀΨ⁻¹(x − b).",
            lambda W, b, noise, x: factor_posterior(W, b, torch.ones_like(noise), x),
        ),
        Mistake(
            "b not subtracted",
            "x itself was projected; z explains the distance from b.",
            lambda W, b, noise, x: factor_posterior(W, 0 * b, noise, x),
        ),
        Mistake(
            "the precision for the covariance",
            "cov holds I + WᵀΨ⁻¹W, the precision; the covariance is its inverse.",
            lambda W, b, noise, x: (
                factor_posterior(W, b, noise, x)[0],
                torch.eye(W.shape[1], dtype=W.dtype) + W.T @ (W / noise[:, None]),
            ),
        ),
        Mistake(
            "the correlations dropped",
            "cov has the right variances and zeros beside them; in the posterior the coordinates of z are correlated.",
            lambda W, b, noise, x: (lambda mean, cov: (mean, cov.diag().diag()))(*factor_posterior(W, b, noise, x)),
        ),
        Mistake(
            "the best independent covariance",
            "cov is diagonal, 1 over the diagonal of the precision: that is the best q with independent coordinates, "
            "not the posterior.",
            lambda W, b, noise, x: (
                factor_posterior(W, b, noise, x)[0],
                torch.diag(1 / (1 + (W.square() / noise[:, None]).sum(0))),
            ),
        ),
    ),
    start="Precisions add: the prior has I, and each coordinate x_i adds w_i w_iᵀ/ψ_i, with w_i the i-th row of W.",
    hint="W / noise[:, None] is Ψ⁻¹W. With D = 2 and d = 1 everything is a number.",
    see="For W = (1, 2), noise (1, 4), b = 0 and x = (1, 2): precision 1 + 1 + 1 = 3, mean 2/3, variance 1/3.",
)


# ---- linear_encoder_elbo --------------------------------------------------------------------------------------------
def linear_encoder_elbo(W, b, noise, A, c, s, x):
    mean = x @ A.T + c
    squares = (x - b - mean @ W.T) ** 2 + (W**2 * s).sum(1)
    reconstruction = -0.5 * ((2 * math.pi * noise).log() + squares / noise).sum(1)
    return reconstruction, 0.5 * (mean**2 + s - 1 - s.log()).sum(1)


def _encoder_model(generator, D, d, B):
    W, b, noise, x = _factor_model(generator, D, d, B)
    A, c = (normal(*shape, generator=generator, scale=0.6) for shape in ((d, D), (d,)))
    return W, b, noise, A, c, _uniform(d, generator=generator, low=0.2, high=1.8), x


def _encoder_cases(generator):
    one, half = numbers([1.0]), numbers(0.5)
    return [
        Case(
            "D = d = 1: W = 1, b = 0, noise 1, q = N(x/2, 1/2), x = 2",
            (one, numbers(0.0), numbers(1.0), numbers([0.5]), numbers(0.0), half, numbers([2.0])),
        ),
        Case(
            "D = d = 1: W = 2, b = 1, noise 0.5, q = N(x/2 − 1, 1/4), x = 3",
            (2 * one, numbers(1.0), half, numbers([0.5]), numbers(-1.0), numbers(0.25), numbers([3.0])),
        ),
        Case("D = 3, d = 2, B = 2", _encoder_model(generator, 3, 2, 2)),
        Case("D = d = B = 4", _encoder_model(generator, 4, 4, 4)),
        Case("D = 5, d = 2, B = 3", _encoder_model(generator, 5, 2, 3)),
    ]


def _encoder_hidden(generator):
    out = []
    for i in range(5):
        D, d, B = _size(generator, 3, 7), _size(generator, 2, 4), _size(generator, 2, 6)
        out.append(Case(f"{i + 1}: D = {D}, d = {d}, B = {B}", _encoder_model(generator, D, d, B)))
    return out


def _tight_at_the_posterior(function):
    W, b, noise = numbers([1.0], [-0.5], [2.0]), numbers(0.3, -1.0, 0.2), numbers(0.4, 1.5, 0.8)
    x = numbers([1.0, -2.0, 0.5], [0.0, 0.4, 2.0])
    precision = 1 + (W.square()[:, 0] / noise).sum()
    A = (W / noise[:, None]).T / precision
    reconstruction, kl = function(W, b, noise, A, -(A @ b), 1 / precision[None], x)
    evidence = torch.distributions.MultivariateNormal(b, W @ W.T + noise.diag()).log_prob(x)
    gap = (evidence - reconstruction + kl).abs().max().item()
    return gap < 1e-12, f"largest |log p(x) − ELBO| {gap:.0e}"


def _terms(reconstruction=None, kl=None):
    """linear_encoder_elbo with one of its terms computed otherwise, from the same arguments."""

    def function(*args):
        right = linear_encoder_elbo(*args)
        return (reconstruction(*args) if reconstruction else right[0]), (kl(*args) if kl else right[1])

    return function


def _at_the_mean(W, b, noise, A, c, s, x):
    return linear_encoder_elbo(W, b, noise, A, c, 0 * s + 1e-300, x)[0]


def _lacking_constants(W, b, noise, A, c, s, x):
    return linear_encoder_elbo(W, b, noise, A, c, s, x)[0] + 0.5 * len(b) * math.log(2 * math.pi)


def _one_noise(W, b, noise, A, c, s, x):
    return linear_encoder_elbo(W, b, noise.mean().expand_as(noise), A, c, s, x)[0]


LINEAR_ENCODER_ELBO = Exercise(
    equation="E_q log p(x | z) = −½ Σ_i [log 2πψ_i + ((x − b − Wm)_i² + Σ_j W_ij² s_j)/ψ_i], m = A x + c (ELBO-4)",
    reference=linear_encoder_elbo,
    returns=("reconstruction", "kl"),
    cases=_encoder_cases,
    hidden=_encoder_hidden,
    properties=(Property("with one factor, the exact posterior makes the bound log p(x)", _tight_at_the_posterior),),
    mistakes=(
        Mistake(
            "the spread of q ignored",
            "log p(x | z) was taken at the mean of q; its average under q has the term Σ W_ij² s_j/ψ_i as well.",
            _terms(reconstruction=_at_the_mean),
        ),
        Mistake(
            "the spread not sent through W",
            "the variances s were added to every pixel as they are; z passes through W, so W_ij² s_j is added.",
            _terms(
                reconstruction=lambda W, b, noise, A, c, s, x: (
                    _at_the_mean(W, b, noise, A, c, s, x) - 0.5 * s.sum() * (1 / noise).sum()
                )
            ),
        ),
        Mistake(
            "W not squared in the spread",
            "W_ij s_j was added; a variance passes through a linear map with the square of its factor.",
            _terms(
                reconstruction=lambda W, b, noise, A, c, s, x: (
                    _at_the_mean(W, b, noise, A, c, s, x) - 0.5 * ((W @ s) / noise).sum()
                )
            ),
        ),
        Mistake(
            "the constant of the density forgotten",
            "−½ log 2π is missing for each coordinate of x: a bound without it cannot be compared with log p(x).",
            _terms(reconstruction=_lacking_constants),
        ),
        Mistake(
            "the normaliser of the noise forgotten",
            "−½ Σ log ψ_i is missing: it depends on parameters, and training without it makes the noise infinite.",
            _terms(
                reconstruction=lambda W, b, noise, A, c, s, x: (
                    linear_encoder_elbo(W, b, noise, A, c, s, x)[0] + 0.5 * noise.log().sum()
                )
            ),
        ),
        Mistake(
            "one noise variance for all coordinates",
            "the mean of the noise variances was used for all coordinates of x.",
            _terms(reconstruction=_one_noise),
        ),
        Mistake(
            "b subtracted before the encoder",
            "the encoder was given x − b; its mean is A x + c, and c takes care of b where that is wanted.",
            lambda W, b, noise, A, c, s, x: linear_encoder_elbo(W, b, noise, A, c - A @ b, s, x),
        ),
        Mistake(
            "s read as standard deviations",
            "s was squared; it holds variances already.",
            lambda W, b, noise, A, c, s, x: linear_encoder_elbo(W, b, noise, A, c, s**2, x),
        ),
        Mistake(
            "b missing in the error",
            "x − Wm was squared; the decoder's mean is Wm + b.",
            _terms(reconstruction=lambda W, b, noise, A, c, s, x: linear_encoder_elbo(W, 0 * b, noise, A, c, s, x)[0]),
        ),
        Mistake(
            "the sign of the reconstruction",
            "this is −E log p(x | z), a loss; asked is the expected log-likelihood, with −½ in front.",
            _terms(reconstruction=lambda *args: -linear_encoder_elbo(*args)[0]),
        ),
        Mistake(
            "mean over the coordinates of x",
            "the coordinates of x are averaged; their log-densities add up.",
            _terms(reconstruction=lambda *args: linear_encoder_elbo(*args)[0] / len(args[1])),
        ),
        Mistake(
            "the ½ of the KL",
            "the KL is twice too large: ½ stands before Σ [m² + s − 1 − log s].",
            _terms(kl=lambda *args: 2 * linear_encoder_elbo(*args)[1]),
        ),
        Mistake(
            "the sign of log s in the KL",
            "+log s stands where −log s belongs: the KL must grow when q becomes narrow.",
            _terms(kl=lambda *args: linear_encoder_elbo(*args)[1] + args[5].log().sum()),
        ),
        Mistake(
            "reconstruction and KL exchanged",
            "the KL comes first; the order is reconstruction, kl.",
            lambda *args: linear_encoder_elbo(*args)[::-1],
        ),
        Mistake(
            "the mean missing in the KL",
            "Σ m²/2 is missing in the KL: codes could wander off from the prior for free.",
            _terms(kl=lambda W, b, noise, A, c, s, x: (0.5 * (s - 1 - s.log()).sum()).expand(len(x))),
        ),
    ),
    start="For z = m + noise of variance s, what is E[(x − b − Wz)_i²]? The mean squared plus a variance.",
    hint="(x − b − m @ W.T)² + (W² s).sum over j; divide by ψ_i, add log 2πψ_i, sum over i.",
    see="For W = 1, b = 0, noise 1, q = N(1, 1/2) and x = 2: reconstruction −½ log 2π − ¾ = −1.669, KL 0.597; their "
    "difference is log N(2; 0, 2) = −2.266.",
)


# ---- vimco_signal ---------------------------------------------------------------------------------------------------
def vimco_signal(log_w):
    K = log_w.shape[1]
    bound = log_w.logsumexp(1) - math.log(K)
    others = (log_w.sum(1, keepdim=True) - log_w) / (K - 1)
    swapped = torch.where(torch.eye(K, dtype=torch.bool), others[:, :, None], log_w[:, None, :])
    return bound, bound[:, None] - swapped.logsumexp(2) + math.log(K)


def _weights_case(label, generator, B, K, shift=0.0):
    return Case(label, (shift + normal(B, K, generator=generator, scale=1.5),))


def _weights_cases(generator):
    return [
        Case("w = (1, 2, 4)", (numbers([1.0, 2.0, 4.0]).log(),)),
        Case("equal weights", (numbers([2.0, 2.0, 2.0]),)),
        Case("log w = (0, −40, −41)", (numbers([0.0, -40.0, -41.0]),)),
        Case("log w = (0, −1000, −1001)", (numbers([0.0, -1000.0, -1001.0]),)),
        _weights_case("B = 3, K = 4", generator, 3, 4),
        _weights_case("B = K = 5", generator, 5, 5),
        _weights_case("log w near −2000", generator, 2, 3, -2000.0),
        _weights_case("B = 2, K = 2", generator, 2, 2),
    ]


def _weights_hidden(generator):
    out = []
    for i, shift in enumerate((0.0, -1500.0, 1000.0, -20.0, 0.0)):
        B, K = _size(generator, 2, 6), _size(generator, 3, 9)
        case = _weights_case(f"{i + 1}: B = {B}, K = {K}, log w near {shift:g}", generator, B, K, shift)
        if i == 4:  # one draw of each example holds nearly all the weight
            case.args[0][:, _size(generator, 0, K - 1)] += _uniform(generator=generator, low=60.0, high=900.0)
            case = Case(f"{case.label}, one draw far above the others", case.args)
        out.append(case)
    return out


def _signal(baseline):
    """vimco_signal with another baseline (B, K), from log_w."""

    def function(log_w):
        bound = vimco_signal(log_w)[0]
        return bound, bound[:, None] - baseline(log_w)

    return function


def _without_each(log_w):
    """log Σ_{j≠k} w_j, (B, K)."""
    K = log_w.shape[1]
    hole = torch.where(torch.eye(K, dtype=torch.bool), -math.inf, 0.0).to(log_w)
    return (log_w[:, None, :] + hole).logsumexp(2)


def _plain_weights(log_w):
    w, K = log_w.exp(), log_w.shape[1]
    others = ((log_w.sum(1, keepdim=True) - log_w) / (K - 1)).exp()
    total = w.sum(1, keepdim=True)
    return (total[:, 0] / K).log(), (total / K).log() - ((total - w + others) / K).log()


def _subtracted(log_w):
    """log(Σ_{j≠k} w_j + stand-in) − log K with the sum as total minus own, relative to the largest weight."""
    K, top = log_w.shape[1], log_w.max(1, keepdim=True).values
    w = (log_w - top).exp()
    stand_in = ((log_w.sum(1, keepdim=True) - log_w) / (K - 1) - top).exp()
    return ((w.sum(1, keepdim=True) - w + stand_in) / K).log() + top


def _over_all(log_w):
    """The baseline with the sum of the other logarithms divided by K."""
    others = (log_w.sum(1, keepdim=True) - log_w) / log_w.shape[1]
    return torch.logaddexp(_without_each(log_w), others) - math.log(log_w.shape[1])


def _own_draw_kept(log_w):
    K = log_w.shape[1]
    return torch.logaddexp(_without_each(log_w), log_w.mean(1, keepdim=True).expand_as(log_w)) - math.log(K)


VIMCO_SIGNAL = Exercise(
    equation="L = log (1/K) Σ_j w_j,  signal_k = L − log (1/K)[Σ_{j≠k} w_j + (Π_{j≠k} w_j)^{1/(K−1)}] (M-33)",
    reference=vimco_signal,
    returns=("bound", "signal"),
    cases=_weights_cases,
    hidden=_weights_hidden,
    mistakes=(
        Mistake(
            "log K forgotten",
            "this is log Σ_j w_j; the mean has 1/K inside the logarithm. (It cancels in the signal.)",
            lambda log_w: (log_w.logsumexp(1), vimco_signal(log_w)[1]),
        ),
        Mistake(
            "log K forgotten in the bound alone",
            "the bound is log Σ_j w_j, without 1/K inside the logarithm, and the baseline has it: so every signal is "
            "too large by log K.",
            lambda log_w: (log_w.logsumexp(1), vimco_signal(log_w)[1] + math.log(log_w.shape[1])),
        ),
        Mistake(
            "log K forgotten in the baseline alone",
            "the baseline lacks 1/K inside the logarithm, and the bound has it: so every signal is too small by log K.",
            lambda log_w: (vimco_signal(log_w)[0], vimco_signal(log_w)[1] - math.log(log_w.shape[1])),
        ),
        Mistake(
            "the mean of the logarithms",
            "the bound is the mean of log w, which is the ELBO, whatever K; the mean belongs inside the logarithm.",
            lambda log_w: (log_w.mean(1), vimco_signal(log_w)[1]),
        ),
        Mistake(
            "the mean of the logarithms, in the signal too",
            "the bound is the mean of log w, which is the ELBO, whatever K, and the signals start from it; the mean "
            "belongs inside the logarithm.",
            lambda log_w: (
                log_w.mean(1),
                (lambda L, signal: signal + (log_w.mean(1) - L)[:, None])(*vimco_signal(log_w)),
            ),
        ),
        Mistake(
            "no baseline",
            "the signal is the bound itself, the same for every draw: unbiased, and lost in noise.",
            _signal(torch.zeros_like),
        ),
        Mistake(
            "the stand-in left out",
            "draw k was dropped and the rest still divided by K: a draw of average size would get a large signal. Its "
            "place is taken by the geometric mean of the others.",
            _signal(lambda log_w: _without_each(log_w) - math.log(log_w.shape[1])),
        ),
        Mistake(
            "the arithmetic mean as the stand-in",
            "draw k was replaced by the arithmetic mean of the others (or, which is the same, was left out and the "
            "rest divided by K − 1); asked is the geometric one, the mean of log w.",
            _signal(lambda log_w: _without_each(log_w) - math.log(log_w.shape[1] - 1)),
        ),
        Mistake(
            "K for K − 1",
            "the sum of the other log weights was divided by K; there are K − 1 of them.",
            _signal(_over_all),
        ),
        Mistake(
            "a sum minus its largest term",
            "Σ w − w_k cancels when draw k holds almost all the weight; leave k out before adding.",
            _signal(_subtracted),
        ),
        Mistake(
            "the own draw in its stand-in",
            "the geometric mean runs over all K draws; a baseline for draw k that contains draw k biases the gradient.",
            _signal(_own_draw_kept),
        ),
        Mistake(
            "one baseline for all draws",
            "the mean of all log w was subtracted; each draw has a baseline of its own, made of the others.",
            _signal(lambda log_w: log_w.mean(1, keepdim=True)),
        ),
        Mistake(
            "exponentials that underflow",
            "the weights were computed themselves: exp(−2000) is 0, and log 0 is −∞. Stay with log w and logsumexp.",
            _plain_weights,
        ),
        Mistake(
            "the sign of the signal",
            "the baseline minus the bound: a draw better than the others would be pushed away.",
            lambda log_w: (vimco_signal(log_w)[0], -vimco_signal(log_w)[1]),
        ),
    ),
    start="The mean of the other K − 1 log weights is (sum − own)/(K − 1): no loop is needed for it.",
    hint="Make a (B, K, K) table whose row k is log w with entry k replaced, and take logsumexp over the last axis.",
    see="For w = (1, 2, 4): bound log 7/3 = 0.847; the signal of the first draw is log 7 − log(6 + √8) = −0.232.",
)


# ---- collapse_report ------------------------------------------------------------------------------------------------
def collapse_report(mean, logvar, threshold):
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean(0)
    moves, pays = mean.var(0) > threshold, kl > threshold
    state = torch.where(moves, 1, torch.where(pays, 2, 0))
    return kl, state, kl[moves].sum() / kl.sum()


def _codes(generator, N, kinds, threshold=0.02):
    """Codes with a coordinate for each letter: a, t, m and b active, s asleep, i and n idle but paid for."""
    columns = []
    for kind in kinds:
        noise, wobble = (normal(N, generator=generator) for _ in range(2))
        if kind == "a":
            columns.append((0.9 * noise + 0.3, -1.5 + 0.2 * wobble))
        elif kind == "t":  # active with precise codes
            columns.append((0.9 * noise, -6.0 + 0.2 * wobble))
        elif kind in "mb":  # active, with a mean KL below the threshold; b: not by a variance divided by N
            variance = threshold * (1.5 if kind == "m" else (N - 0.5) / (N - 1))
            columns.append(((noise - noise.mean()) / noise.std() * math.sqrt(variance), 0 * wobble))
        elif kind == "s":
            columns.append((0.02 * noise, 0.02 * wobble))
        elif kind == "i":
            columns.append((0.8 + 0.02 * noise, 0.02 * wobble))
        else:  # "n": a code that does not move, with a variance that is narrow, and differs between examples
            columns.append((0.02 * noise, -2.0 + 0.6 * wobble))
    mean, logvar = (torch.stack(v, 1) for v in zip(*columns, strict=True))
    return mean, logvar, threshold


def _collapse_cases(generator):
    return [
        Case(
            "N = 2, d = 2: one code ±1 with variance 1, one asleep",
            (numbers([1.0, 0.0], [-1.0, 0.0]), numbers([0.0, 0.0], [0.0, 0.0]), 0.02),
        ),
        Case(
            "N = 2, d = 2: one code ±1, one constant at 2",
            (numbers([1.0, 2.0], [-1.0, 2.0]), numbers([0.0, 0.0], [0.0, 0.0]), 0.02),
        ),
        Case(
            "N = 2, d = 2: codes ±0.153 and ±0.12, which move more than they pay",
            (numbers([0.153, 0.12], [-0.153, -0.12]), numbers([0.0, 0.0], [0.0, 0.0]), 0.02),
        ),
        Case("N = 20, d = 4: active, asleep, off-centre, narrow", _codes(generator, 20, "asin")),
        Case("N = 12, d = 3: all active, one code very precise", _codes(generator, 12, "ata")),
        Case("N = 30, d = 6: two of each", _codes(generator, 30, "saanis", 0.05)),
    ]


def _collapse_hidden(generator):
    out = []
    for i in range(5):
        kinds = "".join("asintmb"[j] for j in torch.randperm(7, generator=generator).tolist())
        kinds += "".join("asint"[_size(generator, 0, 4)] for _ in range(_size(generator, 1, 3)))
        N, threshold = _size(generator, 15, 40), 0.01 * _size(generator, 2, 4)
        codes = _codes(generator, N, kinds, threshold)
        out.append(Case(f"{i + 1}: N = {N}, d = {len(kinds)}, threshold {threshold:.2f}", codes))
    return out


def _states(moves=None, pays=None):
    """collapse_report with another rule for what moves or what pays, from (mean, logvar, kl, threshold)."""

    def function(mean, logvar, threshold):
        kl = collapse_report(mean, logvar, threshold)[0]
        m = moves(mean, logvar, kl, threshold) if moves else mean.var(0) > threshold
        p = pays(mean, logvar, kl, threshold) if pays else kl > threshold
        return kl, torch.where(m, 1, torch.where(p, 2, 0)), kl[m].sum() / kl.sum()

    return function


def _other_kl(factor):
    """collapse_report with a multiple of the KL throughout."""

    def function(mean, logvar, threshold):
        kl = factor * collapse_report(mean, logvar, threshold)[0]
        m = mean.var(0) > threshold
        return kl, torch.where(m, 1, torch.where(kl > threshold, 2, 0)), kl[m].sum() / kl.sum()

    return function


def _exchanged(*args):
    kl, state, share = collapse_report(*args)
    return kl, torch.tensor([0, 2, 1])[state], share


def _reported(kl=None, share=None):
    """collapse_report with other values for the KL or the share, from (mean, logvar, threshold)."""

    def function(*args):
        right = collapse_report(*args)
        return (kl(*args) if kl else right[0]), right[1], (share(*args, *right) if share else right[2])

    return function


COLLAPSE_REPORT = Exercise(
    equation="kl_j = mean_i KL(q(z_j | x_i) ‖ N(0, 1)); active where Var_i(E[z_j | x_i]) > threshold (VAE-5, VAE-6)",
    reference=collapse_report,
    returns=("kl", "state", "share"),
    cases=_collapse_cases,
    hidden=_collapse_hidden,
    mistakes=(
        Mistake(
            "active by the KL alone",
            "a coordinate was called active because its KL is large; a constant code that is not the prior pays nats "
            "and tells nothing about x.",
            _states(moves=lambda mean, logvar, kl, threshold: kl > threshold),
        ),
        Mistake(
            "active by the second moment",
            "the mean of E[z]² was taken for its variance; a code that stands still at 0.8 does not move.",
            _states(moves=lambda mean, logvar, kl, threshold: (mean**2).mean(0) > threshold),
        ),
        Mistake(
            "active by the variance of q",
            "the variance exp(logvar) was tested; it is the spread of one code, and the question is how codes differ "
            "between examples.",
            _states(moves=lambda mean, logvar, kl, threshold: logvar.exp().mean(0) > threshold),
        ),
        Mistake(
            "active by the total variance",
            "Var(E[z | x]) + E[Var(z | x)] was tested; a coordinate asleep has total variance 1, as the prior does.",
            _states(moves=lambda mean, logvar, kl, threshold: mean.var(0) + logvar.exp().mean(0) > threshold),
        ),
        Mistake(
            "active only if it pays",
            "a coordinate that moves was called asleep because it pays little; moving alone makes it active.",
            lambda mean, logvar, threshold: (
                lambda kl, state, share: (kl, torch.where((state == 1) & (kl <= threshold), 0, state), share)
            )(*collapse_report(mean, logvar, threshold)),
        ),
        Mistake(
            "active only if it pays, in the share too",
            "a coordinate that moves was called asleep because it pays little; moving alone makes it active, and its "
            "KL counts in the share.",
            _states(moves=lambda mean, logvar, kl, threshold: (mean.var(0) > threshold) & (kl > threshold)),
        ),
        Mistake(
            "the variance divided by N",
            "the variance of the means was divided by N; asked is N − 1, torch's default.",
            _states(moves=lambda mean, logvar, kl, threshold: mean.var(0, unbiased=False) > threshold),
        ),
        Mistake(
            "standard deviation for variance",
            "the standard deviation of the means was compared with the threshold; it is for their variance.",
            _states(moves=lambda mean, logvar, kl, threshold: mean.std(0) > threshold),
        ),
        Mistake(
            "states 1 and 2 exchanged",
            "active coordinates are reported as 2 and idle ones as 1; 1 is active, 2 is paid for and idle.",
            _exchanged,
        ),
        Mistake(
            "idle coordinates called asleep",
            "every coordinate that does not move is reported as 0; state 2 tells those that cost KL apart.",
            _states(pays=lambda mean, logvar, kl, threshold: torch.zeros_like(kl, dtype=torch.bool)),
        ),
        Mistake(
            "the ½ of the KL",
            "the KL is twice too large: ½ stands before [m² + v − 1 − log v].",
            _other_kl(2.0),
        ),
        Mistake(
            "the KL summed over the examples",
            "kl holds sums over the examples; it is a mean, in nats for each example.",
            _reported(kl=lambda mean, logvar, threshold: collapse_report(mean, logvar, threshold)[0] * len(mean)),
        ),
        Mistake(
            "the mean missing in the KL",
            "½ E[z]² is missing in the KL: a code far from the prior would cost nothing.",
            _reported(kl=lambda mean, logvar, threshold: 0.5 * (logvar.exp() - 1 - logvar).mean(0)),
        ),
        Mistake(
            "the share of coordinates",
            "share counts coordinates; asked is how much of the nats goes to the active ones.",
            _reported(share=lambda mean, logvar, threshold, kl, state, share: (state == 1).to(kl).mean()),
        ),
        Mistake(
            "idle coordinates in the share",
            "the KL of idle coordinates was counted as useful; it buys no information.",
            _reported(share=lambda mean, logvar, threshold, kl, state, share: kl[state > 0].sum() / kl.sum()),
        ),
    ),
    start="Two vectors of length d decide: how far the means differ between examples, and the mean KL.",
    hint="mean.var(0) > threshold moves; kl > threshold pays. torch.where twice makes the state 0, 1 or 2 (int64).",
    see="For codes ±1 with variance 1 and one constant at 2: kl = (0.5, 2), state (1, 2), share 0.5/2.5 = 0.2.",
)


# ---- train_linear_vae -----------------------------------------------------------------------------------------------
def train_linear_vae(x, W, A, logvar, noise_var, eps, lr):
    for e in eps:
        mean, std = x @ A.T, (0.5 * logvar).exp()
        z = mean + std * e
        error = (x - z @ W.T) / noise_var  # the gradient of log p(x | z) at W z
        at_z = error @ W
        for_W = error.T @ z / len(x)
        for_A = (at_z - mean).T @ x / len(x)
        for_logvar = 0.5 * ((at_z * e).mean(0) * std - logvar.exp() + 1)
        W, A, logvar = W + lr * for_W, A + lr * for_A, logvar + lr * for_logvar
    return W, A, logvar


def _linear_problem(generator, N, D, d, steps, lr, scale=0.5):
    x = normal(N, d, generator=generator) @ normal(d, D, generator=generator, scale=0.7)
    x = x + normal(N, D, generator=generator, scale=0.5)
    x = x - x.mean(0)
    W, A = (normal(*shape, generator=generator, scale=scale) for shape in ((D, d), (d, D)))
    logvar, noise_var = normal(d, generator=generator, scale=0.3), 0.25 + 0.1 * _size(generator, 1, 5)
    return x, W, A, logvar, noise_var, normal(steps, N, d, generator=generator), lr


def _linear_cases(generator):
    one = (numbers([1.0]), numbers([1.0]), numbers([0.5]), numbers(0.0), 0.4, numbers([[1.0]]), 0.1)
    return [
        Case("N = D = d = 1, one step: x = 1, W = 1, A = ½, logvar = 0, s² = 0.4, ε = 1", one),
        Case("N = 3, D = 2, d = 1, one step", _linear_problem(generator, 3, 2, 1, 1, 0.1)),
        Case("N = 4, D = 3, d = 2, two steps", _linear_problem(generator, 4, 3, 2, 2, 0.05)),
        Case("N = D = d = 3, three steps", _linear_problem(generator, 3, 3, 3, 3, 0.03)),
        Case("N = 6, D = 4, d = 2, five steps", _linear_problem(generator, 6, 4, 2, 5, 0.02)),
    ]


def _linear_hidden(generator):
    out = []
    for i in range(5):
        N, D, d, steps = (_size(generator, *v) for v in ((4, 9), (3, 6), (2, 3), (2, 6)))
        problem = _linear_problem(generator, N, D, d, steps, 0.01 * _size(generator, 2, 5))
        out.append(Case(f"{i + 1}: N = {N}, D = {D}, d = {d}, {steps} steps", problem))
    return out


@functools.cache
def _linear_world():
    """100 points in four dimensions with two directions of large variance, and 800 steps of noise to train on."""
    generator = torch.Generator().manual_seed(11)
    spread = numbers([1.6, 0.9, 0.0, 0.4], [0.0, 0.8, -0.9, 0.3])
    x = normal(100, 2, generator=generator) @ spread + normal(100, 4, generator=generator, scale=0.55)
    x = x - x.mean(0)
    W, A = (normal(*shape, generator=generator, scale=0.3) for shape in ((4, 2), (2, 4)))
    values = torch.linalg.eigvalsh(x.T @ x / len(x))
    noise_var = values[:2].mean().item()
    log_det = values[2:].log().sum().item() + 2 * math.log(noise_var)
    best = -0.5 * (4 * math.log(2 * math.pi) + log_det + 4)
    return (x, W, A, numbers(0.0, 0.0), noise_var, normal(800, 100, 2, generator=generator), 0.03), best


def _near_the_optimum(function):
    """The exact bound of what was learned, against the largest log-likelihood of probabilistic PCA with that noise."""
    args, best = _linear_world()
    x, noise_var = args[0], args[4]
    W, A, logvar = function(*args)
    zero, noise = torch.zeros(4, dtype=torch.float64), torch.full((4,), noise_var, dtype=torch.float64)
    reconstruction, kl = linear_encoder_elbo(W, zero, noise, A, zero[:2], logvar.exp(), x)
    gap = best - (reconstruction - kl).mean().item()
    # The noise is given, so every right answer ends 0.006 below.
    return -1e-9 < gap < 0.04, f"{gap:.4f} nats below the best log-likelihood"


def _linear(
    ascent=1.0, kl_A=1.0, kl_logvar=1.0, draw=0.5, cost=0.5, path=1.0, share=None, in_turn=False, precision=None,
    log_std=0.5, noise=1.0, averaged=False, added_up=False,
):  # fmt: skip
    """train_linear_vae with something else in one place; each argument is right by default."""

    def function(x, W, A, logvar, noise_var, eps, lr):
        N, s2 = share or len(x), precision(noise_var) if precision else noise_var
        s2, few = (s2 * x.shape[1], 1 / len(logvar)) if averaged else (s2, 1.0)
        lr, total = ascent * lr, (0.0, 0.0, 0.0)
        for e in eps:
            mean, std = x @ A.T, (log_std * logvar).exp()
            z = mean + noise * std * e
            error = (x - z @ W.T) / s2
            for_W = error.T @ z / N
            if in_turn:
                W = W + lr * for_W
                error = (x - z @ W.T) / s2
            at_z = path * (error @ W)
            for_A = (at_z - kl_A * few * mean).T @ x / N
            narrow = cost * kl_logvar * few * (logvar.exp() - 1) * len(x) / N
            for_logvar = draw * noise * (at_z * e).sum(0) / N * std - narrow
            steps = for_W, for_A, for_logvar
            if added_up:
                steps = total = tuple(u + v for u, v in zip(total, steps, strict=True))
            W, A, logvar = (W if in_turn else W + lr * steps[0]), A + lr * steps[1], logvar + lr * steps[2]
        return W, A, logvar

    return function


def _new_tensors(x, W, A, logvar, noise_var, eps, lr):
    """The results of W + lr * W.grad are no leaves: from the second step on they have no .grad."""
    W, A, logvar = (v.clone().requires_grad_() for v in (W, A, logvar))
    for e in eps:
        mean = x @ A.T
        error = x - (mean + (0.5 * logvar).exp() * e) @ W.T
        fit = -0.5 * error.square().sum() / noise_var
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum()
        ((fit - kl) / len(x)).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            W, A, logvar = (v + lr * v.grad for v in (W, A, logvar))
    return W, A, logvar


TRAIN_LINEAR_VAE = Exercise(
    equation="W, A, logvar ← + lr ∇ mean_i [log N(x_i; W z_i, s² I) − KL(N(A x_i, e^logvar) ‖ N(0, I))] (VAE-2, VAE-4)",
    reference=train_linear_vae,
    returns=("W", "A", "logvar"),
    cases=_linear_cases,
    hidden=_linear_hidden,
    properties=(Property("800 steps end within 0.04 nats of the optimum", _near_the_optimum),),
    rtol=1e-8,
    seconds=20.0,
    mistakes=(
        Mistake(
            "descent",
            "the gradient of the ELBO was subtracted; a bound from below is raised.",
            _linear(ascent=-1.0),
        ),
        Mistake(
            "sum over the examples",
            "the gradient is that of the sum over the examples; the objective is their mean.",
            _linear(share=1),
        ),
        Mistake(
            "no KL",
            "the KL has no part in the gradient: the codes spread without limit and the noise dies out.",
            _linear(kl_A=0.0, kl_logvar=0.0),
        ),
        Mistake(
            "no KL for A",
            "the KL is missing in the gradient of A: the means get no pull towards 0, −mean xᵀ.",
            _linear(kl_A=0.0),
        ),
        Mistake(
            "no KL for logvar",
            "the KL is missing in the gradient of logvar: −½ (e^logvar − 1) keeps the noise of the codes alive.",
            _linear(kl_logvar=0.0),
        ),
        Mistake(
            "exp(logvar) as the standard deviation",
            "z = A x + exp(logvar) ε; the standard deviation is exp(logvar/2).",
            _linear(log_std=1.0),
        ),
        Mistake(
            "exp(logvar) as the standard deviation, with its own derivative",
            "z = A x + exp(logvar) ε, and the gradient follows it; the standard deviation is exp(logvar/2).",
            _linear(log_std=1.0, draw=1.0),
        ),
        Mistake(
            "the ½ of the derivative of std",
            "the gradient of logvar that comes through z is twice too large: d exp(logvar/2)/dlogvar = ½ std.",
            _linear(draw=1.0),
        ),
        Mistake(
            "the ½ of the KL in logvar",
            "the KL's part of the gradient of logvar is twice too large: it is −½ (e^logvar − 1).",
            _linear(cost=1.0),
        ),
        Mistake(
            "no path through z",
            "the gradient of log p(x | z) does not reach the encoder: z depends on A and on logvar, dz/dA = x and "
            "dz/dlogvar = ½ std ε.",
            _linear(path=0.0),
        ),
        Mistake(
            "the ½ of the log-variance",
            "the gradient in logvar is twice too large: std = exp(logvar/2), and the KL has a ½ too.",
            _linear(draw=1.0, cost=1.0),
        ),
        Mistake(
            "W first, then the encoder",
            "the encoder's gradient was taken at the new W; all three are moved from the same point.",
            _linear(in_turn=True),
        ),
        Mistake(
            "the noise variance missing",
            "log N(x; Wz, s² I) has 1/s² in front of the squares; without it, this is another model.",
            _linear(precision=lambda s2: 1.0),
        ),
        Mistake(
            "the noise variance squared",
            "the squares were divided by s⁴: noise_var is a variance already.",
            _linear(precision=lambda s2: s2**2),
        ),
        Mistake(
            "the ½ of the Gaussian",
            "the ½ of −‖x − Wz‖²/(2s²) is missing: the gradient of log p(x | z) is twice too large.",
            _linear(precision=lambda s2: s2 / 2),
        ),
        Mistake(
            "means over the coordinates",
            "the squares were averaged over the coordinates of x and the KL over those of z; both are sums, and the "
            "mean is over the examples alone.",
            _linear(averaged=True),
        ),
        Mistake(
            "gradients not cleared",
            "the gradients of all steps add up: set .grad to None before each backward(), or use torch.autograd.grad.",
            _linear(added_up=True),
        ),
        Mistake(
            "a gradient asked of a new tensor",
            "W + lr * W.grad is a new tensor, which backward() gives no .grad, so the second step finds None. Detach "
            "it and call requires_grad_() again, or change W in place under torch.no_grad().",
            _new_tensors,
        ),
        Mistake(
            "no noise",
            "z is the mean of q and ε is not used: that is an autoencoder with a penalty.",
            _linear(noise=0.0),
        ),
    ),
    start="Write z = A x + exp(logvar/2) ε and the objective for one x. Then three derivatives, or autograd.",
    hint="With r = (x − Wz)/s²: for W it is r zᵀ, at z it is Wᵀr; A gets (Wᵀr − mean) xᵀ, logvar gets "
    "½(Wᵀr ε std − e^logvar + 1).",
    see="For x = 1, W = 1, A = ½, logvar = 0, s² = 0.4, ε = 1: z = 1.5, r = −1.25; after a step of 0.1 W = 0.8125, "
    "A = 0.325, logvar = −0.0625.",
)


# ---- train_digits_vae -----------------------------------------------------------------------------------------------
def network_shapes(pixels, hidden, latent):
    """Shapes of W1, b1, W_mean, b_mean, W_logvar, b_logvar, V1, c1, V2, c2, in the order of theta."""
    return [
        (pixels, hidden), (hidden,), (hidden, latent), (latent,), (hidden, latent), (latent,),
        (latent, hidden), (hidden,), (hidden, pixels), (pixels,),
    ]  # fmt: skip


def unpack(theta, pixels, hidden, latent):
    """theta (P,) as its ten parts."""
    shapes = network_shapes(pixels, hidden, latent)
    return [p.reshape(s) for p, s in zip(theta.split([math.prod(s) for s in shapes]), shapes, strict=True)]


def initial_theta(pixels, hidden, latent, generator):
    """Random weights of variance 1 over the number of inputs, biases 0: (P,)."""
    shapes = network_shapes(pixels, hidden, latent)
    parts = [normal(*s, generator=generator) / math.sqrt(s[0]) * (len(s) == 2) for s in shapes]
    return torch.cat([p.flatten() for p in parts])


def _digits_terms(theta, x, e, hidden, latent, top, noise=1.0, log_std=0.5, read=None):
    """log p(x | z) (B,) and the KL of each coordinate (B, latent); the options are right by default."""
    parts = unpack(theta, x.shape[1], hidden, latent)
    return _digits_network(parts, x, e, top, noise, log_std, read)


def _digits_network(parts, x, e, top, noise=1.0, log_std=0.5, read=None):
    W1, b1, W_mean, b_mean, W_logvar, b_logvar, V1, c1, V2, c2 = parts
    h = torch.tanh((read(x, top) if read else 2 * x / top - 1) @ W1 + b1)
    mean, logvar = h @ W_mean + b_mean, h @ W_logvar + b_logvar
    z = mean + noise * (log_std * logvar).exp() * e
    logits = torch.tanh(z @ V1 + c1) @ V2 + c2
    return binomial_log_likelihood(logits, x, top), 0.5 * (mean**2 + logvar.exp() - 1 - logvar)


def train_digits_vae(theta, x, batches, eps, weights, lr, hidden, latent, top):
    theta = theta.clone().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=lr)
    trace = []
    for rows, e, weight in zip(batches, eps, weights, strict=True):
        log_likelihood, kl = _digits_terms(theta, x[rows], e, hidden, latent, top)
        loss = (weight * kl.sum(1) - log_likelihood).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        trace.append(loss.detach())
    return torch.stack(trace), theta.detach()


def _digits_problem(generator, N, pixels, hidden, latent, B, steps, top=16):
    x = _counts(N, pixels, generator=generator, top=top)
    batches = torch.randint(0, N, (steps, B), generator=generator)
    weights = torch.linspace(0.4, 1.3, steps, dtype=torch.float64)
    theta = initial_theta(pixels, hidden, latent, generator)
    eps = normal(steps, B, latent, generator=generator)
    return theta, x, batches, eps, weights, 0.01, hidden, latent, top


def _digits_cases(generator):
    flat = torch.zeros(sum(math.prod(s) for s in network_shapes(1, 1, 1)), dtype=torch.float64)
    one = (flat + 0.5, numbers([3.0]), torch.tensor([[0]]), numbers([[0.2]]), numbers(1.0), 0.1, 1, 1, 4)
    return [
        Case("one pixel, one unit, one code, one step, θ = ½ throughout", one),
        Case("6 pixels, 3 units, 2 codes, one step", _digits_problem(generator, 5, 6, 3, 2, 2, 1)),
        Case("4 pixels, 5 units, 2 codes, three steps", _digits_problem(generator, 8, 4, 5, 2, 3, 3)),
        Case("9 pixels, 4 units, 3 codes, five steps", _digits_problem(generator, 10, 9, 4, 3, 4, 5)),
    ]


def _digits_hidden(generator):
    out = []
    for i in range(5):
        N, pixels, hidden, latent, B, steps = (
            _size(generator, *v) for v in ((8, 15), (4, 9), (3, 6), (2, 4), (3, 6), (2, 6))
        )
        problem = _digits_problem(generator, N, pixels, hidden, latent, B, steps, _size(generator, 5, 16))
        out.append(Case(f"{i + 1}: {pixels} pixels, {hidden} units, {latent} codes, {steps} steps", problem))
    return out


def digit_counts(split="train"):
    """The 8×8 digits as they were counted, whole numbers 0..16: (N, 64), float64."""
    images, _ = data.load("digits8", split)
    return ((images + 1) * 8).round().double().flatten(1)


DIGITS_STEPS, DIGITS_HIDDEN, DIGITS_LATENT = 400, 32, 6
DIGITS_LEVEL = 3.5  # bits per pixel


def _learns_digits(function):
    """Trained on 1,500 digits: the bound on 297 others, by the grader's own evaluation, and the trace against it."""
    generator = torch.Generator().manual_seed(8)
    x, test = digit_counts(), digit_counts("test")
    batches = torch.randint(0, len(x), (DIGITS_STEPS, 50), generator=generator)
    eps = normal(DIGITS_STEPS, 50, DIGITS_LATENT, generator=generator)
    weights = torch.ones(DIGITS_STEPS, dtype=torch.float64)
    theta = initial_theta(64, DIGITS_HIDDEN, DIGITS_LATENT, generator)
    sizes = DIGITS_HIDDEN, DIGITS_LATENT, 16
    trace, theta = function(theta, x, batches, eps, weights, 0.01, *sizes)

    def loss(images):
        log_likelihood, kl = _digits_terms(theta, images, normal(len(images), sizes[1], generator=generator), *sizes)
        return (kl.sum(1) - log_likelihood).mean().item()

    bits, gap = loss(test) / (64 * math.log(2)), trace[-40:].mean().item() - loss(x)
    saw = f"{bits:.3f} bits per pixel on test digits; the last 40 losses lie {gap:.1f} nats above the final model's"
    return bits < DIGITS_LEVEL and abs(gap) < 4, saw


def _digits(loss=None, step=None, reported=None, sign=1.0, clear=True, fresh=False, **options):
    """train_digits_vae with another loss (log_likelihood, kl, weight, x, top), update, or reported number."""
    loss = loss or (lambda log_likelihood, kl, weight, x, top: (weight * kl.sum(1) - log_likelihood).mean())

    def function(theta, x, batches, eps, weights, lr, hidden, latent, top):
        theta = theta.clone().requires_grad_()
        make = step or (lambda p, lr: torch.optim.Adam(p, lr=lr))
        optimiser = make([theta], lr)
        trace = []
        for rows, e, weight in zip(batches, eps, weights, strict=True):

            def value(images=x[rows], e=e, weight=weight):
                return loss(*_digits_terms(theta, images, e, hidden, latent, top, **options), weight, images, top)

            optimiser = make([theta], lr) if fresh else optimiser
            if clear:
                optimiser.zero_grad()
            now = value()
            (sign * now).backward()
            optimiser.step()
            trace.append((reported(now, value) if reported else now).detach())
        return torch.stack(trace), theta.detach()

    return function


def _cut_once(theta, x, batches, eps, weights, lr, hidden, latent, top):
    """theta cut into its parts before the loop: the second step meets the graph of the first."""
    theta = theta.clone().requires_grad_()
    optimiser, trace = torch.optim.Adam([theta], lr=lr), []
    parts = unpack(theta, x.shape[1], hidden, latent)
    for rows, e, weight in zip(batches, eps, weights, strict=True):
        log_likelihood, kl = _digits_network(parts, x[rows], e, top)
        loss = (weight * kl.sum(1) - log_likelihood).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        trace.append(loss.detach())
    return torch.stack(trace), theta.detach()


def _choices(x, top):
    """log C(n, x) of an image, (B,)."""
    return (math.lgamma(top + 1) - torch.lgamma(x + 1) - torch.lgamma(top - x + 1)).sum(1)


TRAIN_DIGITS_VAE = Exercise(
    equation="θ ← Adam step on mean_i [w_t KL(q(z | x_i) ‖ N(0, I)) − log p(x_i | z_i)], z_i ~ q(z | x_i) (VAE-3)",
    reference=train_digits_vae,
    returns=("trace", "theta"),
    cases=_digits_cases,
    hidden=_digits_hidden,
    properties=(
        Property(
            f"400 steps on digits reach {DIGITS_LEVEL} bits per pixel, and the trace reports them", _learns_digits
        ),
    ),
    rtol=1e-6,
    seconds=60.0,
    mistakes=(
        Mistake(
            "the KL weight ignored",
            "weights was not used: step t multiplies the KL by weights[t].",
            _digits(loss=lambda f, kl, w, x, n: (kl.sum(1) - f).mean()),
        ),
        Mistake(
            "the weight on the likelihood",
            "weights[t] multiplies the reconstruction; it belongs to the KL, which a warm-up introduces slowly.",
            _digits(loss=lambda f, kl, w, x, n: (kl.sum(1) - w * f).mean()),
        ),
        Mistake(
            "the sign of the KL",
            "the KL is subtracted from the loss: training would drive q away from the prior.",
            _digits(loss=lambda f, kl, w, x, n: (-w * kl.sum(1) - f).mean()),
        ),
        Mistake(
            "the likelihood averaged over pixels",
            "log p(x | z) is the mean over pixels beside a KL that is a sum: the KL wins, and the code collapses.",
            _digits(loss=lambda f, kl, w, x, n: (w * kl.sum(1) - f / x.shape[1]).mean()),
        ),
        Mistake(
            "the KL averaged over coordinates",
            "the KL is the mean over the coordinates; independent coordinates add up.",
            _digits(loss=lambda f, kl, w, x, n: (w * kl.mean(1) - f).mean()),
        ),
        Mistake(
            "sum over the batch",
            "the loss is the sum over the batch; Adam hardly minds, but the trace is not in nats for each example.",
            _digits(loss=lambda f, kl, w, x, n: (w * kl.sum(1) - f).sum()),
        ),
        Mistake(
            "the binomial coefficient missing",
            "the trace lacks log C(n, x): no gradient changes, and the number is no longer a bound on log p(x).",
            _digits(loss=lambda f, kl, w, x, n: (w * kl.sum(1) - f + _choices(x, n)).mean()),
        ),
        Mistake(
            "the log-variance used as a log standard deviation",
            "z = mean + exp(logvar) ε; the standard deviation is exp(logvar/2).",
            _digits(log_std=1.0),
        ),
        Mistake(
            "gradients not cleared",
            "the gradients of all steps add up: optimiser.zero_grad() belongs before each backward().",
            _digits(clear=False),
        ),
        Mistake(
            "theta cut once, before the loop",
            "theta was cut into its parts before the loop. Adam changes theta in place, and the old views belong to "
            "the graph of the first step: call unpack again in every step.",
            _cut_once,
        ),
        Mistake(
            "a new Adam in every step",
            "the optimiser is made anew in each step and forgets its averages; make it once, before the loop.",
            _digits(fresh=True),
        ),
        Mistake(
            "the loss raised",
            "the trace starts right and the step goes uphill: backward() belongs to the loss itself, not to its "
            "negative.",
            _digits(sign=-1.0),
        ),
        Mistake(
            "the ELBO as the loss",
            "the bound was minimised: the loss is weight · KL − log p(x | z), and the optimiser goes down.",
            _digits(loss=lambda f, kl, w, x, n: (f - w * kl.sum(1)).mean()),
        ),
        Mistake(
            "the negative in the trace",
            "theta is right, and trace holds the negative of the loss.",
            _digits(reported=lambda now, value: -now),
        ),
        Mistake(
            "the trace after the step",
            "trace holds the loss after the step, of the new theta; asked is the loss before it, which was minimised.",
            _digits(reported=lambda now, value: value()),
        ),
        Mistake(
            "theta and trace exchanged",
            "trace and theta are exchanged: asked is trace, then theta.",
            lambda *args: train_digits_vae(*args)[::-1],
        ),
        Mistake(
            "the ½ of the KL",
            "the KL is twice too large: ½ stands before [m² + v − 1 − log v].",
            _digits(loss=lambda f, kl, w, x, n: (2 * w * kl.sum(1) - f).mean()),
        ),
        Mistake(
            "one trial",
            "this is the log-likelihood of one trial with share x/n, without its coefficient; a pixel has n of them.",
            _digits(loss=lambda f, kl, w, x, n: (w * kl.sum(1) - (f - _choices(x, n)) / n).mean()),
        ),
        Mistake(
            "x/n into the encoder",
            "the encoder was given x/n; its input is 2x/n − 1, between −1 and 1.",
            _digits(read=lambda x, n: x / n),
        ),
        Mistake(
            "plain gradient descent",
            "the update is θ − lr ∇; asked is Adam with torch's default settings.",
            _digits(step=lambda p, lr: torch.optim.SGD(p, lr=lr)),
        ),
    ),
    start="unpack gives the ten parts of theta as views: gradients flow through them. In each step: cut theta, one "
    "loss, three lines of an optimiser.",
    hint="theta = theta.clone().requires_grad_() leaves the caller's theta as it is; torch.optim.Adam([theta], lr=lr).",
    see="On digits, 400 steps bring the test bound from 13 bits per pixel to 3.2.",
)


# ---- report_bound ---------------------------------------------------------------------------------------------------
def report_bound(x, mean, logvar, V1, c1, V2, c2, eps, top):
    nats = _log_weights(x, mean, logvar, V1, c1, V2, c2, eps, top).logsumexp(1) - math.log(eps.shape[1])
    bits = -nats / (x.shape[1] * math.log(2))
    return bits.mean(), bits.std() / math.sqrt(len(x))


def _log_weights(
    x, mean, logvar, V1, c1, V2, c2, eps, top, prior=1.0, posterior=1.0, log_std=0.5, width=1.0, choices=1.0
):
    N, K, _ = eps.shape
    z = mean[:, None] + (log_std * logvar).exp()[:, None] * eps
    logits = torch.tanh(z @ V1 + c1) @ V2 + c2
    wide = x[:, None].expand_as(logits)
    log_likelihood = binomial_log_likelihood(logits.flatten(0, 1), wide.flatten(0, 1), top).reshape(N, K)
    log_2pi = math.log(2 * math.pi)
    log_prior = -0.5 * (z**2 + log_2pi).sum(2)
    log_q = -0.5 * (eps**2 + width * logvar[:, None] + log_2pi).sum(2)
    log_likelihood = log_likelihood - (1 - choices) * _choices(x, top)[:, None]
    return log_likelihood + prior * log_prior - posterior * log_q


def _bound_problem(generator, N, K, pixels, hidden, latent, top):
    x = _counts(N, pixels, generator=generator, top=top)
    mean, logvar = normal(N, latent, generator=generator), normal(N, latent, generator=generator, scale=0.5)
    decoder = [normal(*s, generator=generator, scale=0.7) for s in network_shapes(pixels, hidden, latent)[6:]]
    return x, mean, logvar, *decoder, normal(N, K, latent, generator=generator), top


def _bound_cases(generator):
    zero = numbers([0.0])
    one = (numbers([1.0], [2.0]), numbers([0.0], [1.0]), numbers([0.0], [0.0]), zero, zero[0], zero, zero[0])
    return [
        Case("two images of one pixel, a decoder of zeros, K = 1", (*one, numbers([[0.0]], [[0.0]]), 2)),
        Case("N = 3, K = 2, 2 pixels, 2 units, 1 code", _bound_problem(generator, 3, 2, 2, 2, 1, 4)),
        Case("N = K = 4, 4 pixels, 4 units, 4 codes", _bound_problem(generator, 4, 4, 4, 4, 4, 5)),
        Case("N = 6, K = 5, 64 pixels, 7 units, 3 codes", _bound_problem(generator, 6, 5, 64, 7, 3, 16)),
        Case("N = 5, K = 3, 900 pixels, 6 units, 2 codes", _bound_problem(generator, 5, 3, 900, 6, 2, 16)),
    ]


def _bound_hidden(generator):
    out = []
    for i in range(5):
        N, K, pixels, hidden, latent, top = (
            _size(generator, *v) for v in ((3, 8), (3, 7), (5, 40), (2, 6), (2, 4), (3, 16))
        )
        pixels += 800 * (i == 4)  # a log-likelihood whose exponential is 0
        label = f"{i + 1}: N = {N}, K = {K}, {pixels} pixels, {latent} codes, 0..{top}"
        out.append(Case(label, _bound_problem(generator, N, K, pixels, hidden, latent, top)))
    return out


def _bits(values=None, error=None, scale=None, **options):
    """report_bound with another bound for each example, another error, or another unit, from what they are made of."""

    def function(x, *rest):
        log_w = _log_weights(x, *rest, **options)
        nats = values(log_w) if values else log_w.logsumexp(1) - math.log(log_w.shape[1])
        bits = -nats / (scale(x) if scale else x.shape[1] * math.log(2))
        return bits.mean(), error(bits, log_w) if error else bits.std() / math.sqrt(len(x))

    return function


def _kl_outside(x, mean, logvar, V1, c1, V2, c2, eps, top):
    """The closed form of the KL subtracted from the logarithm of the mean of p(x | z)."""
    fit = _log_weights(x, mean, logvar, V1, c1, V2, c2, eps, top, prior=0.0, posterior=0.0)
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)
    bits = (kl - fit.logsumexp(1) + math.log(eps.shape[1])) / (x.shape[1] * math.log(2))
    return bits.mean(), bits.std() / math.sqrt(len(x))


def _all_draws(x, *rest):
    """The error from the spread of all N K log weights."""
    log_w = _log_weights(x, *rest)
    spread = log_w.std() / (x.shape[1] * math.log(2))
    return report_bound(x, *rest)[0], spread / math.sqrt(log_w.numel())


def _error_over_draws(bits, log_w):
    """The standard error as if all draws of all images were independent; zero for one draw in all."""
    return bits.std() / math.sqrt(log_w.numel())


REPORT_BOUND = Exercise(
    equation="L_K(x) = log (1/K) Σ_k p(x, z_k)/q(z_k | x), reported as −L_K/(D log 2), mean ± std/√N (M-33)",
    reference=report_bound,
    returns=("bits", "error"),
    cases=_bound_cases,
    hidden=_bound_hidden,
    seconds=20.0,
    mistakes=(
        Mistake(
            "the mean of the logarithms",
            "the K log weights were averaged, which is the ELBO for every K; the mean belongs inside the logarithm.",
            _bits(values=lambda log_w: log_w.mean(1)),
        ),
        Mistake(
            "log K forgotten",
            "log Σ w was reported; without 1/K the number improves with K for no reason, and is no bound.",
            _bits(values=lambda log_w: log_w.logsumexp(1)),
        ),
        Mistake(
            "exponentials that underflow",
            "the weights themselves were averaged: e^{−1500} is 0 in floating point. Use logsumexp.",
            _bits(values=lambda log_w: log_w.exp().mean(1).log()),
        ),
        Mistake(
            "log q forgotten",
            "the weight is p(x, z)/q(z | x): without q it is a log joint, not a bound.",
            _bits(posterior=0.0),
        ),
        Mistake(
            "log p(z) forgotten",
            "the weight is p(x | z) p(z)/q(z | x); the prior is missing.",
            _bits(prior=0.0),
        ),
        Mistake(
            "p(z) and q exchanged",
            "the weight is p(x | z) q/p(z); the prior stands above and q below.",
            _bits(prior=-1.0, posterior=-1.0),
        ),
        Mistake(
            "the log-variance missing in q",
            "log q = −½ Σ [ε² + log 2π] lacks −½ Σ logvar: a narrow q has a high density.",
            _bits(width=0.0),
        ),
        Mistake(
            "exp(logvar) as the standard deviation",
            "z = mean + exp(logvar) ε; the standard deviation is exp(logvar/2).",
            _bits(log_std=1.0),
        ),
        Mistake(
            "exp(logvar) as the standard deviation, in q too",
            "the standard deviation of q is exp(logvar/2); exp(logvar) is its variance. Normal(mean, std) takes the "
            "standard deviation.",
            _bits(log_std=1.0, width=2.0),
        ),
        Mistake(
            "the binomial coefficient missing",
            "log C(n, x) is missing: the number is not a log-probability of counts.",
            _bits(choices=0.0),
        ),
        Mistake(
            "the KL outside the logarithm",
            "the closed form of the KL was subtracted from log (1/K) Σ p(x | z_k); p(z_k)/q(z_k | x) belongs inside, "
            "draw by draw.",
            _kl_outside,
        ),
        Mistake(
            "nats",
            "the number is in nats per pixel; divide by log 2 for bits.",
            _bits(scale=lambda x: x.shape[1]),
        ),
        Mistake(
            "bits per image",
            "the number is for a whole image; divide by its number of pixels.",
            _bits(scale=lambda x: math.log(2)),
        ),
        Mistake(
            "the sign",
            "bits per pixel are −log₂ p for each pixel: fewer are better, and for counts they are not negative.",
            _bits(scale=lambda x: -x.shape[1] * math.log(2)),
        ),
        Mistake(
            "standard deviation for standard error",
            "error is the spread between images; their mean varies √N times less.",
            _bits(error=lambda bits, log_w: bits.std()),
        ),
        Mistake(
            "draws counted as images",
            "the spread was divided by √(N K): K draws inside one logarithm give one number for each image.",
            _bits(error=_error_over_draws),
        ),
        Mistake(
            "the spread of the draws",
            "the error is made of all N K log weights; take the standard deviation of the N numbers bits(x).",
            _all_draws,
        ),
    ),
    start="z has shape (N, K, d). Three log-densities of shape (N, K) make the log weights.",
    hint="(z − mean)²/variance is ε² here, so log q = −½ Σ [ε² + logvar + log 2π].",
    see="For images 1 and 2 of 2 trials, logit 0 and codes at 0 and 1: 1 and 2 + ½/log 2 bits, so 1.861 ± 0.861.",
)

EXERCISES = (
    MIXTURE_EVIDENCE,
    LAPLACE_KL,
    LOGISTIC_SAMPLE,
    FREE_BITS_KL,
    BINOMIAL_LOG_LIKELIHOOD,
    FACTOR_POSTERIOR,
    LINEAR_ENCODER_ELBO,
    VIMCO_SIGNAL,
    COLLAPSE_REPORT,
    TRAIN_LINEAR_VAE,
    TRAIN_DIGITS_VAE,
    REPORT_BOUND,
)
