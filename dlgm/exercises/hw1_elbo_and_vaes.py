"""Homework 1: bounds in exact worlds, three laws that the lessons do not use, collapse, and two models to train.

Ledger LVM-1, ELBO-1, ELBO-2, ELBO-3, ELBO-4, KL-1, GAUSS-2, VAE-2, VAE-3, VAE-4, VAE-5, VAE-6, M-33, M-34.
"""

import functools
import math

import torch

from .. import data
from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers, uniform


def _size(generator, low, high):
    """A whole number from low to high."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _sizes(generator, count, low=3, high=8):
    """So many different whole numbers from low to high."""
    return (low + torch.randperm(high - low + 1, generator=generator)[:count]).tolist()


def _counts(*shape, generator, top):
    """Whole numbers from 0 to top, as float64."""
    return torch.randint(0, top + 1, shape, generator=generator).double()


# ---- mixture_evidence -----------------------------------------------------------------------------------------------
def mixture_evidence(log_prior, log_likelihood, q):
    log_joint = log_prior + log_likelihood
    log_evidence = log_joint.logsumexp(1)
    minus_entropy = torch.xlogy(q, q).sum(1)
    elbo = (q * log_joint).sum(1) - minus_entropy
    gap = minus_entropy - (q * (log_joint - log_evidence[:, None])).sum(1)
    return log_evidence, elbo, gap


def _mixture_case(label, generator, B, K, shift=0.0, zeros=False, peak=1.0):
    log_prior = normal(K, generator=generator).log_softmax(0)
    log_likelihood = shift + normal(B, K, generator=generator, scale=2.0)
    q = normal(B, K, generator=generator, scale=peak).softmax(1)
    if zeros:
        q[:, 0] = 0.0
        q = q / q.sum(1, keepdim=True)
    return Case(label, (log_prior, log_likelihood, q))


def _mixture_cases(generator):
    half, three = numbers(0.5, 0.5).log(), numbers(0.5, 0.25, 0.25)
    q = numbers([0.25, 0.25, 0.5], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.25, 0.25])
    return [
        Case("prior (½, ½), likelihood (0.2, 0.6), q = (½, ½)", (half, numbers([0.2, 0.6]).log(), numbers([0.5, 0.5]))),
        Case(
            "prior (½, ¼, ¼), likelihood (0.2, 0.4, 0.8), q = the posterior, (0, 1, 0), (½, ½, 0), the prior",
            (three.log(), numbers(*[[0.2, 0.4, 0.8]] * 4).log(), q),
        ),
        _mixture_case("B = 3, K = 4", generator, 3, 4),
        _mixture_case("B = 4, K = 5, q with zeros", generator, 4, 5, zeros=True),
        _mixture_case("B = 5, K = 3, log-likelihoods near −2000", generator, 5, 3, shift=-2000.0),
    ]


def _mixture_hidden(generator):
    out = []
    for i, (shift, zeros) in enumerate([(0.0, False), (0.0, True), (-1500.0, False), (1200.0, True), (-3.0, False)]):
        B, K = _sizes(generator, 2)
        label = f"{i + 1}: B = {B}, K = {K}, log-likelihoods near {shift:g}" + (", q with zeros" if zeros else "")
        out.append(_mixture_case(label, generator, B, K, shift, zeros, peak=6.0 if i == 4 else 1.0))  # q near 0, too
    return out


MIXTURE_EVIDENCE = Exercise(
    equation="log p(x) = log Σ_z p(z) p(x | z) = Σ_z q_z log [p(x, z)/q_z] + KL(q ‖ p(z | x)) (ELBO-2)",
    reference=mixture_evidence,
    returns=("log_evidence", "elbo", "gap"),
    cases=_mixture_cases,
    hidden=_mixture_hidden,
    mistakes=mistakes(
        mixture_evidence,
        ("the prior forgotten",
         "the likelihoods were added without the prior: p(x) is the average of p(x | z) under p(z), not its sum.",
         ("log_prior + log_likelihood", "log_likelihood")),
        ("a uniform prior", "1/K was used for every p(z); the prior is given, and it need not be uniform.",
         ("log_prior + log_likelihood", "log_likelihood - math.log(len(log_prior))")),
        ("the logarithm after an underflow",
         "exp of a log-likelihood of −2000 is 0 in floating point, and log 0 is −∞; logsumexp takes the maximum out "
         "first.", ("log_joint.logsumexp(1)", "log_joint.exp().sum(1).log()")),
        ("0 · log 0", "q log q is NaN where q = 0; its limit is 0, which torch.xlogy gives.",
         ("torch.xlogy(q, q)", "(q * q.log())")),
        ("the entropy forgotten", "the ELBO lacks −Σ q log q: without it the best q is a single state.",
         ("(q * log_joint).sum(1) - minus_entropy", "(q * log_joint).sum(1)")),
        ("the entropy forgotten, in the gap too",
         "the ELBO lacks −Σ q log q, and so the gap, its distance from log p(x), is too large.",
         ("(q * log_joint).sum(1) - minus_entropy", "(q * log_joint).sum(1)"),
         ("elbo, gap", "elbo, log_evidence - elbo")),
        ("the entropy with the wrong sign",
         "Σ q log q is added to the ELBO; the entropy of q is −Σ q log q, and it enters with a plus.",
         (".sum(1) - minus_entropy", ".sum(1) + minus_entropy")),
        ("the entropy with the wrong sign, in the gap too",
         "Σ q log q is added to the ELBO; the entropy of q is −Σ q log q, and it enters with a plus. The gap, taken "
         "as a difference, is wrong with it.",
         (".sum(1) - minus_entropy", ".sum(1) + minus_entropy"), ("elbo, gap", "elbo, log_evidence - elbo")),
        ("the ELBO without the prior", "the ELBO has log p(x | z) where log p(z) + log p(x | z) belongs.",
         ("q * log_joint", "q * log_likelihood"), ("elbo, gap", "elbo, log_evidence - elbo")),
        ("logarithms of an underflow in both",
         "p(z) p(x | z) was computed itself; where it underflows, its logarithm is −∞ in the evidence and in the "
         "ELBO. Stay with log p(z) + log p(x | z), and use logsumexp for the sum.",
         ("log_prior + log_likelihood", "(log_prior + log_likelihood).exp().log()")),
        ("evidence and ELBO exchanged", "the ELBO comes first; the order is log_evidence, elbo, gap.",
         ("log_evidence, elbo, gap", "elbo, log_evidence, gap")),
        ("the KL the other way round",
         "the gap is KL(posterior ‖ q), averaged under the posterior; it is KL(q ‖ posterior), averaged under q.",
         ("elbo, gap", "elbo, (log_joint.softmax(1) * (log_joint.log_softmax(1) - q.log())).sum(1)")),
        ("the KL to the prior",
         "the gap is measured from the prior p(z); it is the divergence from the posterior p(z | x).",
         ("log_joint - log_evidence[:, None]", "log_prior")),
        ("the gap with the wrong sign",
         "the gap is ELBO − log p(x), which is never positive; the KL is log p(x) − ELBO.",
         ("elbo, gap", "elbo, -gap")),
    ),
    start="Add log p(z) and log p(x | z) first: all three answers are made of the log joint and q.",
    hint="logsumexp over z for the evidence; torch.xlogy(q, q) is q log q with the right value at 0.",
    see="For prior (½, ½), likelihood (0.2, 0.6) and q = (½, ½): log 0.4 = −0.916, ELBO −1.060, gap 0.144.",
)  # fmt: skip


# ---- laplace_kl -----------------------------------------------------------------------------------------------------
def laplace_kl(m1, b1, m2, b2):
    distance = (m1 - m2).abs()
    average = distance + b1 * (-distance / b1).exp()  # E|z − m2| under the first law
    return ((b2 / b1).log() + average / b2 - 1).sum(1)


def _laplace_case(label, generator, B, D):
    m1, a, m2, b = (normal(B, D, generator=generator) for _ in range(4))
    return Case(label, (m1, a.exp(), m2, b.exp()))


def _laplace_cases(generator):
    first = (numbers([1.0], [0.0]), numbers([1.0], [1.0]), numbers([0.0], [0.0]), numbers([1.0], [2.0]))
    return [
        Case("means 1 and 0, scales 1; means 0, scales 1 and 2", first),
        _laplace_case("shape (3, 4)", generator, 3, 4),
        _laplace_case("shape (5, 3)", generator, 5, 3),
    ]


def _laplace_hidden(generator):
    sizes = [_sizes(generator, 2) for _ in range(5)]
    return [_laplace_case(f"{i + 1}: shape {tuple(size)}", generator, *size) for i, size in enumerate(sizes)]


def _kl_by_quadrature(function):
    """The integral ∫ p log(p/q) on a grid, split at the two kinks, against the closed form."""
    m1, b1, m2, b2 = 0.7, 0.8, -0.5, 1.7
    z = torch.cat([torch.linspace(a, b, 20_001, dtype=torch.float64) for a, b in ((-30, m2), (m2, m1), (m1, 31))])
    p, q = torch.distributions.Laplace(m1, b1).log_prob(z), torch.distributions.Laplace(m2, b2).log_prob(z)
    want = torch.trapezoid(p.exp() * (p - q), z).item()
    got = function(*(numbers([v]) for v in (m1, b1, m2, b2))).item()
    return abs(got - want) < 1e-5, f"{got:.6f}, quadrature {want:.6f}"  # the grid's own error is 1e-6


LAPLACE_KL = Exercise(
    equation="KL(Laplace(m1, b1) ‖ Laplace(m2, b2)) = Σ [log b2/b1 + (|m1 − m2| + b1 e^{−|m1 − m2|/b1})/b2 − 1] (KL-1)",
    reference=laplace_kl,
    returns=("kl",),
    cases=_laplace_cases,
    hidden=_laplace_hidden,
    properties=(Property("a numerical integral gives the same number", _kl_by_quadrature),),
    mistakes=mistakes(
        laplace_kl,
        ("the two laws swapped", "this is KL(second ‖ first); the average is taken under the first law.",
         ("m1, b1, m2, b2", "m2, b2, m1, b1")),
        ("the exponential missing",
         "E|z − m2| was taken for |m1 − m2|; the first law also spreads around m1, which adds b1 e^{−|m1 − m2|/b1}.",
         (" + b1 * (-distance / b1).exp()", "")),
        ("the spread added in full",
         "E|z − m2| is |m1 − m2| + b1 e^{−|m1 − m2|/b1}, not |m1 − m2| + b1: draws between the means are nearer to m2 "
         "than m1 is.", (" * (-distance / b1).exp()", "")),
        ("the second scale in the exponent",
         "the exponent is −|m1 − m2|/b1: it comes from the density under which the average is taken, the first.",
         ("-distance / b1", "-distance / b2")),
        ("no absolute value",
         "m1 − m2 stands where |m1 − m2| belongs: exchanging the two means must not change the KL.", (".abs()", "")),
        ("the sign of the logarithm",
         "the logarithm is log b2/b1: a narrow first law has little entropy, which makes the KL larger.",
         ("b2 / b1", "b1 / b2")),
        ("Gaussians of the same variances",
         "this is the KL of two Gaussians with variances 2b²; a Laplace density falls with |z − m|, not with its "
         "square.", ("average / b2 - 1", "(b1**2 + distance**2 / 2) / (2 * b2**2) - 0.5")),
        ("no −1", "−1 is missing for each coordinate: E log p has −E|z − m1|/b1 = −1. Two equal laws have KL 0.",
         (" - 1)", ")")),
        ("one −1 for all coordinates",
         "the constant is −1 for each coordinate, −D in all; here it was subtracted once.",
         (" - 1).sum(1)", ").sum(1) - 1")),
        ("mean over the coordinates", "the coordinates are averaged; independent coordinates add up.",
         (".sum(1)", ".mean(1)")),
    ),
    start="log p − log q has one absolute value under each law. What is E|z − m1|, and what is E|z − m2|?",
    hint="E|z − m1| = b1, and E|z − m2| = |m1 − m2| + b1 e^{−|m1 − m2|/b1}: check it at m1 = m2.",
    see="1/e = 0.368 for means 1 and 0 with scales 1; log 2 − ½ = 0.193 for scales 1 and 2.",
)  # fmt: skip


# ---- logistic_sample ------------------------------------------------------------------------------------------------
def logistic_sample(mean, log_scale, u):
    z = mean + log_scale.exp() * (u.log() - (1 - u).log())
    log_q = (u.log() + (1 - u).log() - log_scale).sum(1)
    return z, log_q


def _logistic_case(label, generator, B, d, rare=False):
    mean, log_scale = (normal(B, d, generator=generator) for _ in range(2))
    u = 0.01 + 0.98 * uniform(B, d, generator=generator)
    if rare:
        u[0, :2] = torch.stack([1e-20 * u[0, 0], 1 - 1e-5 * u[0, 1]])
    return Case(label, (mean, log_scale, u))


def _logistic_cases(generator):
    return [
        Case("mean 0, scale 1, u = 0.75", (numbers([0.0]), numbers([0.0]), numbers([0.75]))),
        _logistic_case("shape (3, 4)", generator, 3, 4),
        _logistic_case("shape (5, 3)", generator, 5, 3),
        _logistic_case("shape (4, 6), two u near 0 and 1 (rare, and not to be clamped)", generator, 4, 6, rare=True),
    ]


def _logistic_hidden(generator):
    sizes = [_sizes(generator, 2) for _ in range(5)]
    out = [_logistic_case(f"{i + 1}: shape {tuple(v)}", generator, *v, rare=True) for i, v in enumerate(sizes)]
    out[4].args[1][:, 0] -= 12  # scales that are usually clamped
    return out


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
    mistakes=mistakes(
        logistic_sample,
        ("the log-scale used as the scale", "log u/(1 − u) is multiplied by log s; the scale is s = exp(log_scale).",
         ("log_scale.exp()", "log_scale")),
        ("the log-scale read as a log-variance",
         "the scale is exp(log_scale / 2); there is no variance here, so the exponent is not halved.",
         lambda mean, log_scale, u: logistic_sample(mean, 0.5 * log_scale, u)),
        ("half the log-scale in z",
         "z was stretched by exp(log_scale / 2); log_scale is the logarithm of the scale itself, not of a variance.",
         ("log_scale.exp()", "(log_scale / 2).exp()")),
        ("the gradient cut",
         "z carries no gradient to mean and log_scale; that is what the reparameterisation is for. detach, no_grad "
         "and torch.tensor(...) cut it.", ("return z, log_q", "return z.detach(), log_q")),
        ("nothing carries a gradient",
         "neither z nor log q carries a gradient; training needs both. detach, no_grad and torch.tensor(...) cut it.",
         ("return z, log_q", "return z.detach(), log_q.detach()")),
        ("u clamped",
         "u was clamped to [0.001, 0.999]: the logistic law has heavier tails than that, and log u is exact near 0.",
         lambda mean, log_scale, u: logistic_sample(mean, log_scale, u.clamp(1e-3, 1 - 1e-3))),
        ("a Gaussian's inverse cdf",
         "z is the quantile of a normal law; the logistic cdf 1/(1 + e^{−(z − m)/s}) = u gives log u/(1 − u).",
         ("(u.log() - (1 - u).log())", "torch.special.ndtri(u)")),
        ("u used as the noise itself", "u ~ U(0, 1) enters as it is; it has to pass through the inverse cdf first.",
         ("(u.log() - (1 - u).log())", "u")),
        ("the inverse cdf upside down", "z falls as u grows: this is log (1 − u)/u. An inverse cdf grows with u.",
         ("mean + ", "mean - ")),
        ("the scale missing from the density", "log q lacks −log s: stretching a law by s divides its density by s.",
         (" - log_scale", "")),
        ("the scale with the wrong sign", "+log s stands where −log s belongs: a wide law has a low density.",
         ("- log_scale", "+ log_scale")),
        ("the logit in the density",
         "log q has log u − log(1 − u), which is z; the density is u (1 − u)/s, so the two logarithms add up.",
         ("u.log() + (1 - u).log()", "u.log() - (1 - u).log()")),
        ("the negative of log q", "this is −log q, that is log dz/du; the density is du/dz.",
         ("z, log_q", "z, -log_q")),
        ("mean over the coordinates",
         "the log-densities of the coordinates are averaged; independent coordinates add up.", (".sum(1)", ".mean(1)")),
        ("the density of u", "log q is −log s alone, as if z were uniform; du/dz = u (1 − u)/s.",
         ("(u.log() + (1 - u).log() - log_scale)", "-log_scale")),
        ("the density not summed",
         "log q has a number for each coordinate; the law of the vector is the product, one log-density an example.",
         (".sum(1)", "")),
    ),
    start="Solve u = 1/(1 + e^{−(z − m)/s}) for z. The density at z is du/dz.",
    hint="The derivative of the logistic function σ is σ(1 − σ), and here σ = u.",
    see="For mean 0, scale 1 and u = 0.75: z = log 3 = 1.099 and log q = log 0.1875 = −1.674.",
)  # fmt: skip


# ---- free_bits_kl ---------------------------------------------------------------------------------------------------
def free_bits_kl(mean, logvar, prior_mean, prior_logvar, free):
    ratio = (logvar - prior_logvar).exp() + (mean - prior_mean) ** 2 / prior_logvar.exp()
    each = 0.5 * (ratio - 1 - logvar + prior_logvar)  # (B, d)
    kl = each.mean(0)
    return kl, kl.clamp(min=free).sum()


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
        _free_case("shape (3, 4), λ = 0.5", generator, 3, 4, 0.5),
        _free_case("shape (4, 5), λ = 0.25", generator, 4, 5, 0.25),
        _free_case("shape (5, 4), λ = 20, more than all the KL", generator, 5, 4, 20.0),
        _free_case("shape (6, 3), λ = 0", generator, 6, 3, 0.0),
        _free_case("shape (5, 6), λ = 0.4", generator, 5, 6, 0.4),
    ]


def _free_hidden(generator):
    out = []
    for i in range(5):
        (B, d), free = _sizes(generator, 2), 0.1 * _size(generator, 2, 6)
        out.append(_free_case(f"{i + 1}: shape ({B}, {d}), λ = {free:.1f}", generator, B, d, free))
    for which in (1, 3):  # log-variances that are usually clamped, of q and of the prior
        out[4].args[which].view(-1, out[4].args[which].shape[-1])[:, 0] = numbers(7.5) * (which - 2)
    return out


FREE_BITS_KL = Exercise(
    equation="kl_j = mean_i KL(N(m_ij, v_ij) ‖ N(m_j, v_j)), penalty = Σ_j max(λ, kl_j) (KL-1, M-34)",
    reference=free_bits_kl,
    returns=("kl", "penalty"),
    cases=_free_cases,
    hidden=_free_hidden,
    mistakes=mistakes(
        free_bits_kl,
        ("the floor before the mean over the batch",
         "the floor λ was put under every example; it belongs under the mean over the batch, which is what may be "
         "small for free.", ("kl.clamp(min=free)", "each.clamp(min=free).mean(0)")),
        ("one floor for the sum",
         "the floor is under the sum of all coordinates; each one has a λ of its own, or one of them takes it all.",
         ("kl.clamp(min=free).sum()", "kl.sum().clamp(min=free)")),
        ("the free nats subtracted",
         "λ was subtracted, max(0, kl − λ): the same gradient, and a penalty lower by λ for each coordinate.",
         ("kl.clamp(min=free)", "(kl - free).clamp(min=0)")),
        ("the smaller one instead of the larger",
         "this is min(λ, kl): it stops charging a coordinate that carries much, and free bits do the contrary.",
         ("min=free", "max=free")),
        ("no floor", "λ was not used: the penalty is the plain KL.", (".clamp(min=free)", "")),
        ("mean over the coordinates", "the penalty is the mean over the coordinates; their divergences add up.",
         (".sum()", ".mean()")),
        ("a standard normal prior",
         "the KL was taken to N(0, 1); the prior has a mean and a log-variance of its own here.",
         lambda m, s, prior_m, prior_s, free: free_bits_kl(m, s, 0 * prior_m, 0 * prior_s, free)),
        ("the two laws swapped", "this is KL(prior ‖ q); the average is under q.",
         lambda m, s, prior_m, prior_s, free: free_bits_kl(prior_m, prior_s, m, s, free)),
        ("the ½ of the KL", "the KL is twice too large: ½ stands before [v₁/v₂ + (m₁ − m₂)²/v₂ − 1 − log v₁/v₂].",
         ("0.5 * ", "")),
        ("the distance over the wrong variance",
         "(m₁ − m₂)² was divided by the variance of q; the prior's variance says how far is far.",
         ("/ prior_logvar.exp()", "/ logvar.exp()")),
        ("the floor in the KL that is returned",
         "kl has the floor in it; it is the plain mean, and only the penalty has a floor. (clamp_ changes kl.)",
         ("each.mean(0)", "each.mean(0).clamp(min=free)")),
        ("sum over the batch",
         "the divergences of the examples were added up; kl is their mean, in nats for each example.",
         (".mean(0)", ".sum(0)")),
        ("log-variances read as log standard deviations",
         "the variances are exp(2 logvar); logvar is the logarithm of the variance already.",
         lambda m, s, prior_m, prior_s, free: free_bits_kl(m, 2 * s, prior_m, 2 * prior_s, free)),
    ),
    start="First the KL of two Gaussians for each example and coordinate, (B, d); then the mean over the batch.",
    hint="The floor comes after the mean over the batch and before the sum over the coordinates: clamp(min=free).",
    see="For mean 1 and variance 1 against N(0, 1) and λ = 0.1: kl = (0.5,) and penalty 0.5.",
)  # fmt: skip


# ---- binomial_log_likelihood ----------------------------------------------------------------------------------------
def binomial_log_likelihood(logits, x, top):
    choices = math.lgamma(top + 1) - torch.lgamma(x + 1) - torch.lgamma(top - x + 1)
    terms = choices + x * logits - top * torch.nn.functional.softplus(logits)
    return terms.flatten(1).sum(1)


def _binomial_case(label, generator, top, *shape):
    logits, x = normal(*shape, generator=generator, scale=2.0), _counts(*shape, generator=generator, top=top)
    return Case(label, (logits, x, top))


def _binomial_cases(generator):
    extreme = numbers([-800.0, 0.0, -800.0, 2.0], [800.0, -800.0, 800.0, 1.0], [3.0, -2.0, 1.0, 0.0])
    return [
        Case("logit 0, x = 1 of 2", (numbers([0.0]), numbers([1.0]), 2)),
        _binomial_case("shape (4, 3), 5 trials", generator, 5, 4, 3),
        Case(
            "shape (3, 4), logits ±800 with x = 16 and 0 of 16, others with 8",
            (extreme, (8 + extreme / 100).clamp(0, 16).round(), 16),
        ),
        _binomial_case("images of shape (6, 3, 5, 4), 16 trials", generator, 16, 6, 3, 5, 4),
    ]


def _binomial_hidden(generator):
    out = []
    for i in range(4):
        top, shape = _size(generator, 9, 20), tuple(_sizes(generator, 2 + i % 3, high=6))
        out.append(_binomial_case(f"{i + 1}: shape {shape}, {top} trials", generator, top, *shape))
    B, top = _size(generator, 4, 7), _size(generator, 9, 20)
    logits = torch.where(uniform(B, 3, generator=generator) < 0.5, -900.0, 900.0).double()
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
    mistakes=mistakes(
        binomial_log_likelihood,
        ("the binomial coefficient missing",
         "log C(n, x) is missing: x ones among n trials come in C(n, x) orders, so the probabilities do not add up to "
         "1.", ("choices + ", "")),
        ("log Γ(x) for log x!", "lgamma(x) is log (x − 1)!, and infinite at x = 0; log x! is lgamma(x + 1).",
         ("lgamma(top + 1)", "lgamma(top)"), ("lgamma(x + 1)", "lgamma(x)"),
         ("lgamma(top - x + 1)", "lgamma(top - x)")),
        ("log of a rounded probability",
         "log σ(a) and log(1 − σ(a)) were computed from σ(a): at a = ±800 one of them is log 0, and 0 · ∞ is NaN. Use "
         "x a − n softplus(a).",
         ("x * logits - top * torch.nn.functional.softplus(logits)",
          "x * logits.sigmoid().log() + (top - x) * (1 - logits.sigmoid()).log()")),
        ("the exponential of a logit",
         "e^800 overflows, and log(1 + e^a) is infinite; torch.nn.functional.softplus(a) is safe.",
         ("torch.nn.functional.softplus(logits)", "torch.log1p(logits.exp())")),
        ("one trial in the normaliser", "log(1 + e^a) is subtracted once; there are n trials, and each has its own.",
         ("- top * ", "- ")),
        ("the share x/n for the count",
         "x/n a − log(1 + e^a) is the mean log-likelihood of one trial, n times too small: beside a KL that is a sum, "
         "this is a beta-VAE with beta = n (part 14).", ("choices + x * logits - top * ", "x / top * logits - ")),
        ("mean over the pixels", "the pixels are averaged; the log-likelihood of an image is the sum over its pixels.",
         (".sum(1)", ".mean(1)")),
        ("summed over the last axis only", "an image has several axes; sum over all but the batch.",
         (".flatten(1).sum(1)", ".sum(-1)")),
        ("the negative", "this is −log p(x | z), a loss; asked is the log-likelihood.",
         ("return terms", "return -terms")),
    ),
    start="log C(n, x) = log n! − log x! − log (n − x)!, and log k! = lgamma(k + 1).",
    hint="x log σ(a) + (n − x) log(1 − σ(a)) = x a − n softplus(a), which never takes the logarithm of 0.",
    see="For logit 0 and x = 1 of 2 trials: log ½ = −0.693.",
)  # fmt: skip


# ---- factor_posterior -----------------------------------------------------------------------------------------------
def factor_posterior(W, b, noise, x):
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ (W / noise[:, None])
    cov = torch.linalg.inv(precision)
    return ((x - b) / noise) @ W @ cov, cov


def _factor_model(generator, D, d, B):
    W, b, x = (normal(*shape, generator=generator) for shape in ((D, d), (D,), (B, D)))
    return W, b, 0.2 + 2.3 * uniform(D, generator=generator), x


def _factor_cases(generator):
    first = (numbers([1.0], [2.0]), numbers(0.0, 0.0), numbers(1.0, 4.0), numbers([1.0, 2.0]))
    return [
        Case("D = 2, d = 1, W = (1, 2), noise (1, 4), b = 0, x = (1, 2)", first),
        Case("D = 4, d = 3, B = 5", _factor_model(generator, 4, 3, 5)),
        Case("D = 5, d = 4, B = 3", _factor_model(generator, 5, 4, 3)),
        Case("D = 3, d = 4, B = 6", _factor_model(generator, 3, 4, 6)),
    ]


def _factor_hidden(generator):
    out = []
    for i in range(5):
        D, d, B = _sizes(generator, 3)
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
    mistakes=mistakes(
        factor_posterior,
        ("the prior forgotten",
         "I is missing in the precision: this is weighted least squares, the answer for a flat prior.",
         ("torch.eye(W.shape[1], dtype=W.dtype) + ", ""), ("linalg.inv", "linalg.pinv")),
        ("one noise variance for all coordinates",
         "the mean of the noise variances was used for all; a coordinate with little noise says more about z.",
         lambda W, b, noise, x: factor_posterior(W, b, noise.mean().expand_as(noise), x)),
        ("noise read as standard deviations", "noise was squared; it holds variances already.",
         lambda W, b, noise, x: factor_posterior(W, b, noise**2, x)),
        ("multiplied by the noise", "Ψ stands where Ψ⁻¹ belongs: the noisiest coordinate would count most.",
         lambda W, b, noise, x: factor_posterior(W, b, 1 / noise, x)),
        ("Ψ⁻¹ missing in the mean",
         "the mean is C Wᵀ(x − b); the data have to be divided by their noise variances too, WᵀΨ⁻¹(x − b).",
         ("((x - b) / noise)", "(x - b)")),
        ("Ψ nowhere", "noise was not used: the precision is I + WᵀΨ⁻¹W, and the mean C WᵀΨ⁻¹(x − b).",
         ("((x - b) / noise)", "(x - b)"), ("W / noise[:, None]", "W")),
        ("b not subtracted", "x itself was projected; z explains the distance from b.", ("(x - b)", "x")),
        ("the precision for the covariance", "cov holds I + WᵀΨ⁻¹W, the precision; the covariance is its inverse.",
         ("@ cov, cov", "@ cov, precision")),
        ("the correlations dropped",
         "cov has the right variances and zeros beside them; in the posterior the coordinates of z are correlated.",
         ("@ cov, cov", "@ cov, cov.diag().diag()")),
        ("the best independent covariance",
         "cov is diagonal, 1 over the diagonal of the precision: that is the best q with independent coordinates, not "
         "the posterior.", ("@ cov, cov", "@ cov, (1 / precision.diag()).diag()")),
    ),
    start="Precisions add: the prior has I, and each coordinate x_i adds w_i w_iᵀ/ψ_i, with w_i the i-th row of W.",
    hint="W / noise[:, None] is Ψ⁻¹W. With D = 2 and d = 1 everything is a number.",
    see="For W = (1, 2), noise (1, 4), b = 0 and x = (1, 2): precision 1 + 1 + 1 = 3, mean 2/3, variance 1/3.",
)  # fmt: skip


# ---- linear_encoder_elbo --------------------------------------------------------------------------------------------
def linear_encoder_elbo(W, b, noise, A, c, s, x):
    mean = x @ A.T + c
    error, spread = x - b - mean @ W.T, (W**2 * s).sum(1)
    reconstruction = -0.5 * ((2 * math.pi * noise).log() + (error**2 + spread) / noise).sum(1)
    kl = 0.5 * (mean**2 + s - 1 - s.log()).sum(1)
    return reconstruction, kl


def _encoder_model(generator, D, d, B):
    W, b, noise, x = _factor_model(generator, D, d, B)
    A, c = (normal(*shape, generator=generator, scale=0.6) for shape in ((d, D), (d,)))
    return W, b, noise, A, c, 0.2 + 1.6 * uniform(d, generator=generator), x


def _encoder_cases(generator):
    zero, one, half = numbers(0.0), numbers(1.0), numbers(0.5)
    first = (one[:, None], zero, one, half[:, None], zero, half, numbers([2.0]))
    return [
        Case("D = d = 1: W = 1, b = 0, noise 1, q = N(x/2, 1/2), x = 2", first),
        Case("D = 4, d = 3, B = 5", _encoder_model(generator, 4, 3, 5)),
        Case("D = 5, d = 4, B = 3", _encoder_model(generator, 5, 4, 3)),
        Case("D = 3, d = 5, B = 4", _encoder_model(generator, 3, 5, 4)),
    ]


def _encoder_hidden(generator):
    out = []
    for i in range(5):
        D, d, B = _sizes(generator, 3)
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


LINEAR_ENCODER_ELBO = Exercise(
    equation="E_q log p(x | z) = −½ Σ_i [log 2πψ_i + ((x − b − Wm)_i² + Σ_j W_ij² s_j)/ψ_i], m = A x + c (ELBO-4)",
    reference=linear_encoder_elbo,
    returns=("reconstruction", "kl"),
    cases=_encoder_cases,
    hidden=_encoder_hidden,
    properties=(Property("with one factor, the exact posterior makes the bound log p(x)", _tight_at_the_posterior),),
    mistakes=mistakes(
        linear_encoder_elbo,
        ("the spread of q ignored",
         "log p(x | z) was taken at the mean of q; its average under q has the term Σ W_ij² s_j/ψ_i as well.",
         ("error**2 + spread", "error**2")),
        ("the spread not sent through W",
         "the variances s were added to every pixel as they are; z passes through W, so W_ij² s_j is added.",
         ("(W**2 * s).sum(1)", "s.sum()")),
        ("W not squared in the spread",
         "W_ij s_j was added; a variance passes through a linear map with the square of its factor.",
         ("W**2 * s", "W * s")),
        ("the constant of the density forgotten",
         "−½ log 2π is missing for each coordinate of x: a bound without it cannot be compared with log p(x).",
         ("2 * math.pi * noise", "noise")),
        ("the normaliser of the noise forgotten",
         "−½ Σ log ψ_i is missing: it depends on parameters, and training without it makes the noise infinite.",
         ("(2 * math.pi * noise).log()", "math.log(2 * math.pi)")),
        ("one noise variance for all coordinates", "the mean of the noise variances was used for all coordinates of x.",
         lambda W, b, noise, *rest: linear_encoder_elbo(W, b, noise.mean().expand_as(noise), *rest)),
        ("b subtracted before the encoder",
         "the encoder was given x − b; its mean is A x + c, and c takes care of b where that is wanted.",
         ("x @ A.T", "(x - b) @ A.T")),
        ("s read as standard deviations", "s was squared; it holds variances already.",
         lambda W, b, noise, A, c, s, x: linear_encoder_elbo(W, b, noise, A, c, s**2, x)),
        ("b missing in the error", "x − Wm was squared; the decoder's mean is Wm + b.", ("x - b - mean", "x - mean")),
        ("the sign of the reconstruction",
         "this is −E log p(x | z), a loss; asked is the expected log-likelihood, with −½ in front.",
         ("-0.5 * ", "0.5 * ")),
        ("mean over the coordinates of x", "the coordinates of x are averaged; their log-densities add up.",
         ("/ noise).sum(1)", "/ noise).mean(1)")),
        ("the ½ of the KL", "the KL is twice too large: ½ stands before Σ [m² + s − 1 − log s].",
         ("kl = 0.5 * ", "kl = ")),
        ("the sign of log s in the KL", "+log s stands where −log s belongs: the KL must grow when q becomes narrow.",
         ("- s.log()", "+ s.log()")),
        ("reconstruction and KL exchanged", "the KL comes first; the order is reconstruction, kl.",
         ("return reconstruction, kl", "return kl, reconstruction")),
        ("the mean missing in the KL", "Σ m²/2 is missing in the KL: codes could wander off from the prior for free.",
         ("(mean**2 + s", "(0 * mean + s")),
    ),
    start="For z = m + noise of variance s, what is E[(x − b − Wz)_i²]? The mean squared plus a variance.",
    hint="(x − b − m @ W.T)² + (W² s).sum over j; divide by ψ_i, add log 2πψ_i, sum over i.",
    see="For W = 1, b = 0, noise 1, q = N(1, 1/2) and x = 2: reconstruction −½ log 2π − ¾ = −1.669, KL 0.597; their "
    "difference is log N(2; 0, 2) = −2.266.",
)  # fmt: skip


# ---- vimco_signal ---------------------------------------------------------------------------------------------------
def vimco_signal(log_w):
    K = log_w.shape[1]
    bound = log_w.logsumexp(1) - math.log(K)
    stand_in = (log_w.sum(1, keepdim=True) - log_w) / (K - 1)
    swapped = torch.where(torch.eye(K, dtype=torch.bool), stand_in[:, :, None], log_w[:, None, :])
    baseline = swapped.logsumexp(2) - math.log(K)
    return bound, bound[:, None] - baseline


def _weights_case(label, generator, B, K, shift=0.0):
    return Case(label, (shift + normal(B, K, generator=generator, scale=1.5),))


def _weights_cases(generator):
    far = numbers([0.0, -40.0, -41.0], [-1000.0, 0.0, -1001.0], [-1040.0, -1041.0, -1000.0], [2.0, 2.0, 2.0])
    return [
        Case("w = (1, 2, 4)", (numbers([1.0, 2.0, 4.0]).log(),)),
        Case("log w = (0, −40, −41), (−1000, 0, −1001), (−1040, −1041, −1000), (2, 2, 2)", (far,)),
        _weights_case("B = 3, K = 4", generator, 3, 4),
        _weights_case("B = 6, K = 5", generator, 6, 5),
        _weights_case("B = 4, K = 7, log w near −2000", generator, 4, 7, -2000.0),
    ]


def _weights_hidden(generator):
    out = []
    for i, shift in enumerate((0.0, -1500.0, 1000.0, -20.0, 0.0)):
        B, K = _sizes(generator, 2)
        case = _weights_case(f"{i + 1}: B = {B}, K = {K}, log w near {shift:g}", generator, B, K, shift)
        if i == 4:  # one draw of each example holds nearly all the weight
            case.args[0][:, _size(generator, 0, K - 1)] += 60 + 840 * uniform(1, generator=generator)
            case = Case(f"{case.label}, one draw far above the others", case.args)
        out.append(case)
    return out


def _subtracted(log_w, stand_in, top):
    """log(Σ w − w_k + stand-in) with the weights as multiples of e^top; what is left of Σ w − w_k may be nothing."""
    w = (log_w - top).exp()
    return top + (w.sum(1, keepdim=True) - w + (stand_in - top).exp()).log()


VIMCO_SIGNAL = Exercise(
    equation="L = log (1/K) Σ_j w_j,  signal_k = L − log (1/K)[Σ_{j≠k} w_j + (Π_{j≠k} w_j)^{1/(K−1)}] (M-33)",
    reference=vimco_signal,
    returns=("bound", "signal"),
    cases=_weights_cases,
    hidden=_weights_hidden,
    mistakes=mistakes(
        vimco_signal,
        ("log K forgotten", "this is log Σ_j w_j; the mean has 1/K inside the logarithm. (It cancels in the signal.)",
         ("return bound", "return log_w.logsumexp(1)")),
        ("log K forgotten in the bound alone",
         "the bound is log Σ_j w_j, without 1/K inside the logarithm, and the baseline has it: so every signal is too "
         "large by log K.", ("log_w.logsumexp(1) - math.log(K)", "log_w.logsumexp(1)")),
        ("log K forgotten in the baseline alone",
         "the baseline lacks 1/K inside the logarithm, and the bound has it: so every signal is too small by log K.",
         ("swapped.logsumexp(2) - math.log(K)", "swapped.logsumexp(2)")),
        ("the mean of the logarithms",
         "the bound is the mean of log w, which is the ELBO, whatever K; the mean belongs inside the logarithm.",
         ("return bound", "return log_w.mean(1)")),
        ("the mean of the logarithms, in the signal too",
         "the bound is the mean of log w, which is the ELBO, whatever K, and the signals start from it; the mean "
         "belongs inside the logarithm.", ("log_w.logsumexp(1) - math.log(K)", "log_w.mean(1)")),
        ("no baseline", "the signal is the bound itself, the same for every draw: unbiased, and lost in noise.",
         ("bound[:, None] - baseline", "bound[:, None].expand_as(log_w)")),
        ("the stand-in left out",
         "draw k was dropped and the rest still divided by K: a draw of average size would get a large signal. Its "
         "place is taken by the geometric mean of the others.", ("stand_in[:, :, None]", "-math.inf")),
        ("the arithmetic mean as the stand-in",
         "draw k was replaced by the arithmetic mean of the others (or, which is the same, was left out and the rest "
         "divided by K − 1); asked is the geometric one, the mean of log w.",
         ("stand_in[:, :, None]", "-math.inf"),
         ("swapped.logsumexp(2) - math.log(K)", "swapped.logsumexp(2) - math.log(K - 1)")),
        ("K for K − 1", "the sum of the other log weights was divided by K; there are K − 1 of them.",
         ("/ (K - 1)", "/ K")),
        ("a sum minus its largest term",
         "Σ w − w_k cancels when draw k holds almost all the weight; leave k out before adding.",
         ("swapped.logsumexp(2)", "_subtracted(log_w, stand_in, log_w.amax(1, keepdim=True))")),
        ("the own draw in its stand-in",
         "the geometric mean runs over all K draws; a baseline for draw k that contains draw k biases the gradient.",
         ("(log_w.sum(1, keepdim=True) - log_w) / (K - 1)", "log_w.mean(1, keepdim=True).expand_as(log_w)")),
        ("one baseline for all draws",
         "the mean of all log w was subtracted; each draw has a baseline of its own, made of the others.",
         ("- baseline", "- log_w.mean(1, keepdim=True)")),
        ("exponentials that underflow",
         "the weights were computed themselves: exp(−2000) is 0, and log 0 is −∞. Stay with log w and logsumexp.",
         ("log_w.logsumexp(1)", "log_w.exp().sum(1).log()"),
         ("swapped.logsumexp(2)", "_subtracted(log_w, stand_in, 0)")),
        ("the sign of the signal", "the baseline minus the bound: a draw better than the others would be pushed away.",
         ("bound[:, None] - baseline", "baseline - bound[:, None]")),
    ),
    start="The mean of the other K − 1 log weights is (sum − own)/(K − 1): no loop is needed for it.",
    hint="Make a (B, K, K) table whose row k is log w with entry k replaced, and take logsumexp over the last axis.",
    see="For w = (1, 2, 4): bound log 7/3 = 0.847; the signal of the first draw is log 7 − log(6 + √8) = −0.232.",
)  # fmt: skip


# ---- collapse_report ------------------------------------------------------------------------------------------------
def collapse_report(mean, logvar, threshold):
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean(0)
    moves = mean.var(0) > threshold
    pays = kl > threshold
    state = torch.where(moves, 1, torch.where(pays, 2, 0))
    return kl, state, kl[moves].sum() / kl.sum()


def _codes(generator, N, kinds, threshold=0.02):
    """Codes with a coordinate for each letter: a, t, m and b active, s and h asleep, i and n idle but paid for."""
    columns = []
    for kind in kinds:
        noise, wobble = (normal(N, generator=generator) for _ in range(2))
        if kind == "a":
            columns.append((0.9 * noise + 0.3, -1.5 + 0.2 * wobble))
        elif kind == "t":  # active with precise codes
            columns.append((0.9 * noise, -6.0 + 0.2 * wobble))
        elif kind in "mbh":  # m, b: active, with a mean KL below the threshold; h: both below it, but not by much
            part = {"m": 1.5, "b": (N - 0.5) / (N - 1), "h": 0.7}[kind]  # b: not active by a variance divided by N
            unit = (noise - noise.mean()) / noise.std()
            columns.append((math.sqrt(part * threshold) * (unit + (kind == "h")), 0 * wobble))
        elif kind == "s":
            columns.append((0.005 * noise, 0.02 * wobble))
        elif kind == "i":
            columns.append((0.8 + 0.08 * noise, 0.02 * wobble))
        else:  # "n": a code that does not move, with a variance that is narrow, and differs between examples
            columns.append((0.08 * noise, -2.0 + 0.6 * wobble))
    mean, logvar = (torch.stack(v, 1) for v in zip(*columns, strict=True))
    return mean, logvar, threshold


def _collapse_cases(generator):
    first = (numbers([1.0, 2.0], [-1.0, 2.0]), numbers([0.0, 0.0], [0.0, 0.0]), 0.02)
    return [
        Case("N = 2, d = 2: one code ±1, one constant at 2, both of variance 1", first),
        Case("N = 20, d = 7: of all kinds", _codes(generator, 20, "asintmh")),
        Case("N = 12, d = 5: all active, one very precise, two hardly moving", _codes(generator, 12, "atbam")),
        Case("N = 30, d = 8: of all kinds, threshold 0.05", _codes(generator, 30, "saanisbh", 0.05)),
    ]


def _collapse_hidden(generator):
    out = []
    for i in range(5):
        kinds = "".join("asintmbh"[j] for j in torch.randperm(8, generator=generator).tolist())
        kinds += "".join("asint"[_size(generator, 0, 4)] for _ in range(_size(generator, 1, 3)))
        N, threshold = _size(generator, 15, 40), 0.01 * _size(generator, 2, 4)
        codes = _codes(generator, N, kinds, threshold)
        out.append(Case(f"{i + 1}: N = {N}, d = {len(kinds)}, threshold {threshold:.2f}", codes))
    return out


COLLAPSE_REPORT = Exercise(
    equation="kl_j = mean_i KL(q(z_j | x_i) ‖ N(0, 1)); active where Var_i(E[z_j | x_i]) > threshold (VAE-5, VAE-6)",
    reference=collapse_report,
    returns=("kl", "state", "share"),
    cases=_collapse_cases,
    hidden=_collapse_hidden,
    mistakes=mistakes(
        collapse_report,
        ("active by the KL alone",
         "a coordinate was called active because its KL is large; a constant code that is not the prior pays nats and "
         "tells nothing about x.", ("mean.var(0) > threshold", "kl > threshold")),
        ("active by the second moment",
         "the mean of E[z]² was taken for its variance; a code that stands still at 0.8 does not move.",
         ("mean.var(0)", "(mean**2).mean(0)")),
        ("active by the variance of q",
         "the variance exp(logvar) was tested; it is the spread of one code, and the question is how codes differ "
         "between examples.", ("mean.var(0)", "logvar.exp().mean(0)")),
        ("active by the total variance",
         "Var(E[z | x]) + E[Var(z | x)] was tested; a coordinate asleep has total variance 1, as the prior does.",
         ("mean.var(0)", "mean.var(0) + logvar.exp().mean(0)")),
        ("active only if it pays",
         "a coordinate that moves was called asleep because it pays little; moving alone makes it active.",
         ("where(moves, 1", "where(moves & pays, 1")),
        ("active only if it pays, in the share too",
         "a coordinate that moves was called asleep because it pays little; moving alone makes it active, and its KL "
         "counts in the share.", ("mean.var(0) > threshold", "(mean.var(0) > threshold) & (kl > threshold)")),
        ("the variance divided by N", "the variance of the means was divided by N; asked is N − 1, torch's default.",
         ("mean.var(0)", "mean.var(0, unbiased=False)")),
        ("standard deviation for variance",
         "the standard deviation of the means was compared with the threshold; it is for their variance.",
         ("mean.var(0)", "mean.std(0)")),
        ("states 1 and 2 exchanged",
         "active coordinates are reported as 2 and idle ones as 1; 1 is active, 2 is paid for and idle.",
         ("moves, 1, torch.where(pays, 2, 0)", "moves, 2, torch.where(pays, 1, 0)")),
        ("idle coordinates called asleep",
         "every coordinate that does not move is reported as 0; state 2 tells those that cost KL apart.",
         ("torch.where(pays, 2, 0)", "0")),
        ("the ½ of the KL", "the KL is twice too large: ½ stands before [m² + v − 1 − log v].", ("0.5 * ", "")),
        ("the KL summed over the examples", "kl holds sums over the examples; it is a mean, in nats for each example.",
         (".mean(0)", ".sum(0)")),
        ("the mean missing in the KL", "½ E[z]² is missing in the KL: a code far from the prior would cost nothing.",
         ("mean**2 + logvar", "logvar")),
        ("the share of coordinates", "share counts coordinates; asked is how much of the nats goes to the active ones.",
         ("kl[moves].sum() / kl.sum()", "moves.to(kl).mean()")),
        ("idle coordinates in the share", "the KL of idle coordinates was counted as useful; it buys no information.",
         ("kl[moves]", "kl[moves | pays]")),
    ),
    start="Two vectors of length d decide: how far the means differ between examples, and the mean KL.",
    hint="mean.var(0) > threshold moves; kl > threshold pays. torch.where twice makes the state 0, 1 or 2 (int64).",
    see="For codes ±1 with variance 1 and one constant at 2: kl = (0.5, 2), state (1, 2), share 0.5/2.5 = 0.2.",
)  # fmt: skip


# ---- train_linear_vae -----------------------------------------------------------------------------------------------
def train_linear_vae(x, W, A, logvar, noise_var, eps, lr):
    for e in eps:
        mean, std = x @ A.T, (0.5 * logvar).exp()
        z = mean + std * e
        error = (x - z @ W.T) / noise_var  # the gradient of log p(x | z) at W z
        at_z = error @ W
        for_W = error.T @ z / len(x)
        for_A = (at_z - mean).T @ x / len(x)
        for_logvar = 0.5 * (at_z * e).mean(0) * std - 0.5 * (logvar.exp() - 1)
        W, A, logvar = W + lr * for_W, A + lr * for_A, logvar + lr * for_logvar
    return W, A, logvar


def _linear_problem(generator, N, D, d, steps, lr):
    x = normal(N, d, generator=generator) @ normal(d, D, generator=generator, scale=0.8 / math.sqrt(d))
    x = x + normal(N, D, generator=generator, scale=0.5)
    x = x - x.mean(0)
    W, A = (normal(*shape, generator=generator, scale=0.4) for shape in ((D, d), (d, D)))
    logvar, noise_var = normal(d, generator=generator, scale=0.3), 0.25 + 0.1 * _size(generator, 1, 5)
    return x, W, A, logvar, noise_var, normal(steps, N, d, generator=generator), lr


def _linear_cases(generator):
    one = (numbers([1.0]), numbers([1.0]), numbers([0.5]), numbers(0.0), 0.4, numbers([[1.0]]), 0.1)
    return [
        Case("N = D = d = 1, one step: x = 1, W = 1, A = ½, logvar = 0, s² = 0.4, ε = 1", one),
        Case("N = 6, D = 5, d = 4, three steps", _linear_problem(generator, 6, 5, 4, 3, 0.02)),
        Case("N = 5, D = 4, d = 3, six steps", _linear_problem(generator, 5, 4, 3, 6, 0.02)),
        Case("N = 8, D = 6, d = 3, four steps", _linear_problem(generator, 8, 6, 3, 4, 0.01)),
    ]


def _linear_hidden(generator):
    out = []
    for i in range(5):
        d, D, steps, N = sorted(_sizes(generator, 4, high=8))
        problem = _linear_problem(generator, N, D, d, steps, 0.005 * _size(generator, 1, 4))
        if i == 4:  # gradients that are usually clipped
            problem = (*problem[:4], problem[4] / 300, problem[5], problem[6] / 1000)
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


def _new_tensors(x, W, A, logvar, noise_var, eps, lr):
    """The results of W + lr * W.grad are no leaves: from the second step on they have no .grad."""
    W, A, logvar = (v.clone().requires_grad_() for v in (W, A, logvar))
    for e in eps:
        mean = x @ A.T
        error = x - (mean + (0.5 * logvar).exp() * e) @ W.T
        fit, kl = -0.5 * error.square().sum() / noise_var, 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum()
        ((fit - kl) / len(x)).backward()
        W, A, logvar = (v + lr * (v.grad if v.is_leaf else None) for v in (W, A, logvar))
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
    mistakes=mistakes(
        train_linear_vae,
        ("descent", "the gradient of the ELBO was subtracted; a bound from below is raised.",
         lambda *args: train_linear_vae(*args[:-1], -args[-1])),
        ("sum over the examples", "the gradient is that of the sum over the examples; the objective is their mean.",
         lambda x, *rest: train_linear_vae(x, *rest[:-1], rest[-1] * len(x))),
        ("no KL", "the KL has no part in the gradient: the codes spread without limit and the noise dies out.",
         ("at_z - mean", "at_z"), (" - 0.5 * (logvar.exp() - 1)", "")),
        ("no KL for A", "the KL is missing in the gradient of A: the means get no pull towards 0, −mean xᵀ.",
         ("at_z - mean", "at_z")),
        ("no KL for logvar",
         "the KL is missing in the gradient of logvar: −½ (e^logvar − 1) keeps the noise of the codes alive.",
         (" - 0.5 * (logvar.exp() - 1)", "")),
        ("exp(logvar) as the standard deviation", "z = A x + exp(logvar) ε; the standard deviation is exp(logvar/2).",
         ("(0.5 * logvar).exp()", "logvar.exp()")),
        ("exp(logvar) as the standard deviation, with its own derivative",
         "z = A x + exp(logvar) ε, and the gradient follows it; the standard deviation is exp(logvar/2).",
         ("(0.5 * logvar).exp()", "logvar.exp()"), ("0.5 * (at_z", "(at_z")),
        ("the ½ of the derivative of std",
         "the gradient of logvar that comes through z is twice too large: d exp(logvar/2)/dlogvar = ½ std.",
         ("0.5 * (at_z", "(at_z")),
        ("the ½ of the KL in logvar",
         "the KL's part of the gradient of logvar is twice too large: it is −½ (e^logvar − 1).",
         ("0.5 * (logvar.exp() - 1)", "(logvar.exp() - 1)")),
        ("no path through z",
         "the gradient of log p(x | z) does not reach the encoder: z depends on A and on logvar, dz/dA = x and "
         "dz/dlogvar = ½ std ε.", ("error @ W", "0 * error @ W")),
        ("the ½ of the log-variance",
         "the gradient in logvar is twice too large: std = exp(logvar/2), and the KL has a ½ too.",
         ("0.5 * (at_z", "(at_z"), ("0.5 * (logvar.exp() - 1)", "(logvar.exp() - 1)")),
        ("W first, then the encoder",
         "the encoder's gradient was taken at the new W; all three are moved from the same point.",
         ("for_A =", "W = W + lr * for_W\n        at_z = (x - z @ W.T) / noise_var @ W\n        for_A ="),
         ("= W + lr * for_W, A", "= W, A")),
        ("the noise variance missing",
         "log N(x; Wz, s² I) has 1/s² in front of the squares; without it, this is another model.",
         (" / noise_var", "")),
        ("the noise variance squared", "the squares were divided by s⁴: noise_var is a variance already.",
         ("/ noise_var", "/ noise_var**2")),
        ("the ½ of the Gaussian",
         "the ½ of −‖x − Wz‖²/(2s²) is missing: the gradient of log p(x | z) is twice too large.",
         ("/ noise_var", "/ (noise_var / 2)")),
        ("means over the coordinates",
         "the squares were averaged over the coordinates of x and the KL over those of z; both are sums, and the mean "
         "is over the examples alone.",
         ("/ noise_var", "/ (noise_var * x.shape[1])"), ("at_z - mean", "at_z - mean / len(logvar)"),
         ("0.5 * (logvar.exp() - 1)", "0.5 * (logvar.exp() - 1) / len(logvar)")),
        ("gradients not cleared",
         "the gradients of all steps add up: set .grad to None before each backward(), or use torch.autograd.grad.",
         ("    for e in", "    for_W = for_A = for_logvar = 0\n    for e in"),
         ("for_W = error", "for_W = for_W + error"), ("for_A = (", "for_A = for_A + ("),
         ("for_logvar = 0.5", "for_logvar = for_logvar + 0.5")),
        ("a gradient asked of a new tensor",
         "W + lr * W.grad is a new tensor, which backward() gives no .grad, so the second step finds None. Detach it "
         "and call requires_grad_() again, or change W in place under torch.no_grad().", _new_tensors),
        ("no noise", "z is the mean of q and ε is not used: that is an autoencoder with a penalty.",
         ("mean + std * e", "mean"), ("0.5 * (at_z * e).mean(0) * std - ", "-")),
    ),
    start="Write z = A x + exp(logvar/2) ε and the objective for one x. Then three derivatives, or autograd.",
    hint="With r = (x − Wz)/s²: for W it is r zᵀ, at z it is Wᵀr; A gets (Wᵀr − mean) xᵀ, logvar gets "
    "½(Wᵀr ε std − e^logvar + 1).",
    see="For x = 1, W = 1, A = ½, logvar = 0, s² = 0.4, ε = 1: z = 1.5, r = −1.25; after a step of 0.1 W = 0.8125, "
    "A = 0.325, logvar = −0.0625.",
)  # fmt: skip


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


def train_digits_vae(theta, x, batches, eps, weights, lr, hidden, latent, top):
    def loss_of(images, e, weight):
        W1, b1, W_mean, b_mean, W_logvar, b_logvar, V1, c1, V2, c2 = unpack(theta, x.shape[1], hidden, latent)
        h = torch.tanh((2 * images / top - 1) @ W1 + b1)
        mean, logvar = h @ W_mean + b_mean, h @ W_logvar + b_logvar
        z = mean + (0.5 * logvar).exp() * e
        logits = torch.tanh(z @ V1 + c1) @ V2 + c2
        log_likelihood = binomial_log_likelihood(logits, images, top)
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)
        return (weight * kl - log_likelihood).mean()

    theta = theta.clone().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=lr)
    trace = []
    for rows, e, weight in zip(batches, eps, weights, strict=True):
        loss = loss_of(x[rows], e, weight)
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
        Case("6 pixels, 5 units, 3 codes, 7 steps", _digits_problem(generator, 9, 6, 5, 3, 4, 7)),
        Case("4 pixels, 6 units, 5 codes, 3 steps", _digits_problem(generator, 8, 4, 6, 5, 7, 3)),
        Case("9 pixels, 4 units, 3 codes, 5 steps", _digits_problem(generator, 10, 9, 4, 3, 6, 5)),
    ]


def _digits_hidden(generator):
    out = []
    for i in range(5):
        N, pixels, hidden, latent, B, steps = _sizes(generator, 6, high=9)
        problem = _digits_problem(generator, N, pixels, hidden, latent, B, steps, _size(generator, 10, 16))
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
        """What the trace of one step on all of them begins with."""
        e = normal(1, len(images), DIGITS_LATENT, generator=generator)
        return train_digits_vae(theta, images, torch.arange(len(images))[None], e, weights[:1], 0.01, *sizes)[0].item()

    bits, gap = loss(test) / (64 * math.log(2)), trace[-40:].mean().item() - loss(x)
    saw = f"{bits:.3f} bits per pixel on test digits; the last 40 losses lie {gap:.1f} nats above the final model's"
    return bits < DIGITS_LEVEL and abs(gap) < 4, saw


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
    mistakes=mistakes(
        train_digits_vae,
        ("the KL weight ignored", "weights was not used: step t multiplies the KL by weights[t].",
         ("weight * kl", "kl")),
        ("the weight on the likelihood",
         "weights[t] multiplies the reconstruction; it belongs to the KL, which a warm-up introduces slowly.",
         ("weight * kl - log_likelihood", "kl - weight * log_likelihood")),
        ("the sign of the KL", "the KL is subtracted from the loss: training would drive q away from the prior.",
         ("weight * kl", "-weight * kl")),
        ("the likelihood averaged over pixels",
         "log p(x | z) is the mean over pixels beside a KL that is a sum: the KL wins, and the code collapses.",
         ("- log_likelihood", "- log_likelihood / x.shape[1]")),
        ("the KL averaged over coordinates", "the KL is the mean over the coordinates; independent coordinates add up.",
         ("logvar).sum(1)", "logvar).mean(1)")),
        ("sum over the batch",
         "the loss is the sum over the batch; Adam hardly minds, but the trace is not in nats for each example.",
         (".mean()", ".sum()")),
        ("the binomial coefficient missing",
         "the trace lacks log C(n, x): no gradient changes, and the number is no longer a bound on log p(x).",
         ("binomial_log_likelihood(logits, images, top)",
          "(images * logits - top * torch.nn.functional.softplus(logits)).sum(1)")),
        ("the log-variance used as a log standard deviation",
         "z = mean + exp(logvar) ε; the standard deviation is exp(logvar/2).",
         ("(0.5 * logvar).exp()", "logvar.exp()")),
        ("gradients not cleared",
         "the gradients of all steps add up: optimiser.zero_grad() belongs before each backward().",
         ("        optimiser.zero_grad()\n", "")),
        ("theta cut once, before the loop",
         "theta was cut into its parts before the loop. Adam changes theta in place, and the old views belong to the "
         "graph of the first step: call unpack again in every step.",
         ("unpack(theta, x.shape[1], hidden, latent)", "parts"),
         ("    trace = []\n", "    trace = []\n    parts = unpack(theta, x.shape[1], hidden, latent)\n")),
        ("a new Adam in every step",
         "the optimiser is made anew in each step and forgets its averages; make it once, before the loop.",
         ("optimiser.zero_grad()", "optimiser = torch.optim.Adam([theta], lr=lr)\n        optimiser.zero_grad()")),
        ("the loss raised",
         "the trace starts right and the step goes uphill: backward() belongs to the loss itself, not to its "
         "negative.", ("loss.backward()", "(-loss).backward()")),
        ("the ELBO as the loss",
         "the bound was minimised: the loss is weight · KL − log p(x | z), and the optimiser goes down.",
         ("weight * kl - log_likelihood", "log_likelihood - weight * kl")),
        ("the negative in the trace", "theta is right, and trace holds the negative of the loss.",
         ("loss.detach()", "-loss.detach()")),
        ("the trace after the step",
         "trace holds the loss after the step, of the new theta; asked is the loss before it, which was minimised.",
         ("loss.detach()", "loss_of(x[rows], e, weight).detach()")),
        ("theta and trace exchanged", "trace and theta are exchanged: asked is trace, then theta.",
         ("torch.stack(trace), theta.detach()", "theta.detach(), torch.stack(trace)")),
        ("the ½ of the KL", "the KL is twice too large: ½ stands before [m² + v − 1 − log v].",
         ("0.5 * (mean", "(mean")),
        ("one trial",
         "this is the log-likelihood of one trial with share x/n, without its coefficient; a pixel has n of them.",
         ("binomial_log_likelihood(logits, images, top)",
          "(images / top * logits - torch.nn.functional.softplus(logits)).sum(1)")),
        ("x/n into the encoder", "the encoder was given x/n; its input is 2x/n − 1, between −1 and 1.",
         ("2 * images / top - 1", "images / top")),
        ("plain gradient descent", "the update is θ − lr ∇; asked is Adam with torch's default settings.",
         ("optim.Adam", "optim.SGD")),
    ),
    start="unpack gives the ten parts of theta as views: gradients flow through them. In each step: cut theta, one "
    "loss, three lines of an optimiser.",
    hint="theta = theta.clone().requires_grad_() leaves the caller's theta as it is; torch.optim.Adam([theta], lr=lr).",
    see="On digits, 400 steps bring the test bound from 13 bits per pixel to 3.2.",
)  # fmt: skip


# ---- report_bound ---------------------------------------------------------------------------------------------------
def report_bound(x, mean, logvar, V1, c1, V2, c2, eps, top):
    z = mean[:, None] + (0.5 * logvar).exp()[:, None] * eps
    logits = torch.tanh(z @ V1 + c1) @ V2 + c2
    images = x[:, None].expand_as(logits)
    log_likelihood = binomial_log_likelihood(logits.flatten(0, 1), images.flatten(0, 1), top).reshape(z.shape[:2])
    log_prior = -0.5 * (z**2 + math.log(2 * math.pi)).sum(2)
    log_q = -0.5 * (eps**2 + logvar[:, None] + math.log(2 * math.pi)).sum(2)
    log_w = log_likelihood + log_prior - log_q
    nats = log_w.logsumexp(1) - math.log(eps.shape[1])
    bits = -nats / (x.shape[1] * math.log(2))
    return bits.mean(), bits.std() / math.sqrt(len(x))


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
        Case("N = 4, K = 3, 6 pixels, 7 units, 5 codes", _bound_problem(generator, 4, 3, 6, 7, 5, 8)),
        Case("N = 6, K = 5, 64 pixels, 7 units, 3 codes", _bound_problem(generator, 6, 5, 64, 7, 3, 16)),
        Case("N = 5, K = 3, 900 pixels, 6 units, 4 codes", _bound_problem(generator, 5, 3, 900, 6, 4, 16)),
    ]


def _bound_hidden(generator):
    out = []
    for i in range(5):
        N, K, pixels, hidden, latent, top = _sizes(generator, 6, high=12)
        pixels += 800 * (i == 4)  # a log-likelihood whose exponential is 0
        label = f"{i + 1}: N = {N}, K = {K}, {pixels} pixels, {latent} codes, 0..{top}"
        out.append(Case(label, _bound_problem(generator, N, K, pixels, hidden, latent, top)))
    return out


REPORT_BOUND = Exercise(
    equation="L_K(x) = log (1/K) Σ_k p(x, z_k)/q(z_k | x), reported as −L_K/(D log 2), mean ± std/√N (M-33)",
    reference=report_bound,
    returns=("bits", "error"),
    cases=_bound_cases,
    hidden=_bound_hidden,
    seconds=20.0,
    mistakes=mistakes(
        report_bound,
        ("the mean of the logarithms",
         "the K log weights were averaged, which is the ELBO for every K; the mean belongs inside the logarithm.",
         ("log_w.logsumexp(1) - math.log(eps.shape[1])", "log_w.mean(1)")),
        ("log K forgotten",
         "log Σ w was reported; without 1/K the number improves with K for no reason, and is no bound.",
         (" - math.log(eps.shape[1])", "")),
        ("exponentials that underflow",
         "the weights themselves were averaged: e^{−1500} is 0 in floating point. Use logsumexp.",
         ("log_w.logsumexp(1)", "log_w.exp().sum(1).log()")),
        ("log q forgotten", "the weight is p(x, z)/q(z | x): without q it is a log joint, not a bound.",
         ("log_prior - log_q", "log_prior")),
        ("log p(z) forgotten", "the weight is p(x | z) p(z)/q(z | x); the prior is missing.",
         ("log_likelihood + log_prior", "log_likelihood")),
        ("p(z) and q exchanged", "the weight is p(x | z) q/p(z); the prior stands above and q below.",
         ("+ log_prior - log_q", "- log_prior + log_q")),
        ("the log-variance missing in q",
         "log q = −½ Σ [ε² + log 2π] lacks −½ Σ logvar: a narrow q has a high density.",
         ("eps**2 + logvar[:, None]", "eps**2")),
        ("exp(logvar) as the standard deviation", "z = mean + exp(logvar) ε; the standard deviation is exp(logvar/2).",
         ("(0.5 * logvar).exp()", "logvar.exp()")),
        ("exp(logvar) as the standard deviation, in q too",
         "the standard deviation of q is exp(logvar/2); exp(logvar) is its variance. Normal(mean, std) takes the "
         "standard deviation.", ("(0.5 * logvar).exp()", "logvar.exp()"), ("eps**2 + logvar", "eps**2 + 2 * logvar")),
        ("the binomial coefficient missing", "log C(n, x) is missing: the number is not a log-probability of counts.",
         ("log_w = log_likelihood",
          "log_w = (images * logits - top * torch.nn.functional.softplus(logits)).sum(2)")),
        ("the KL outside the logarithm",
         "the closed form of the KL was subtracted from log (1/K) Σ p(x | z_k); p(z_k)/q(z_k | x) belongs inside, "
         "draw by draw.",
         ("log_likelihood + log_prior - log_q",
          "log_likelihood - 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)[:, None]")),
        ("nats", "the number is in nats per pixel; divide by log 2 for bits.",
         ("(x.shape[1] * math.log(2))", "x.shape[1]")),
        ("bits per image", "the number is for a whole image; divide by its number of pixels.",
         ("x.shape[1] * math.log(2)", "math.log(2)")),
        ("the sign",
         "bits per pixel are −log₂ p for each pixel: fewer are better, and for counts they are not negative.",
         ("-nats", "nats")),
        ("standard deviation for standard error",
         "error is the spread between images; their mean varies √N times less.", (" / math.sqrt(len(x))", "")),
        ("draws counted as images",
         "the spread was divided by √(N K): K draws inside one logarithm give one number for each image.",
         ("math.sqrt(len(x))", "math.sqrt(log_w.numel())")),
        ("the spread of the draws",
         "the error is made of all N K log weights; take the standard deviation of the N numbers bits(x).",
         ("bits.std() / math.sqrt(len(x))", "log_w.std() / (x.shape[1] * math.log(2)) / math.sqrt(log_w.numel())")),
    ),
    start="z has shape (N, K, d). Three log-densities of shape (N, K) make the log weights.",
    hint="(z − mean)²/variance is ε² here, so log q = −½ Σ [ε² + logvar + log 2π].",
    see="For images 1 and 2 of 2 trials, logit 0 and codes at 0 and 1: 1 and 2 + ½/log 2 bits, so 1.861 ± 0.861.",
)  # fmt: skip

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
