"""Exercises of lesson 03: the KL to N(0, I), the Monte Carlo bound, two gradients, and two likelihoods.

Ledger KL-1, ELBO-4, VAE-3, VAE-4.
"""

import math

import torch

from .engine import Case, Exercise, Mistake, Property
from .inputs import normal, numbers


# ---- standard_kl ----------------------------------------------------------------------------------------------------
def standard_kl(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)


def _kl_cases(generator):
    def case(label, *shape, dtype=torch.float64):
        return Case(label, tuple(normal(*shape, generator=generator, dtype=dtype) for _ in range(2)))

    return [
        Case("one coordinate, mean 1, variance 1", (numbers([1.0]), numbers([0.0]))),
        Case("one coordinate, mean 0, log-variance 2", (numbers([0.0]), numbers([2.0]))),
        Case("two coordinates, means (1, -2), log-variances (0, 1)", (numbers([1.0, -2.0]), numbers([0.0, 1.0]))),
        case("mean and logvar of shape (3, 4), random", 3, 4),
        case("mean and logvar of shape (4, 2), random", 4, 2),
        case("shape (2, 3) in float32", 2, 3, dtype=torch.float32),
    ]


def _zero_at_the_prior(function):
    value = function(torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)).item()
    return value == 0, f"KL = {value:g}"


def _kl(formula):
    """A KL with another formula for one coordinate, summed over coordinates."""
    return lambda mean, logvar: formula(mean, logvar).sum(1)


STANDARD_KL = Exercise(
    equation="KL(N(mean, diag(exp(logvar))) ‖ N(0, I)) = ½ Σ_d (mean² + exp(logvar) − 1 − logvar) (KL-1)",
    reference=standard_kl,
    returns=("kl",),
    cases=_kl_cases,
    properties=(Property("the KL is exactly 0 where q is the prior", _zero_at_the_prior),),
    mistakes=(
        Mistake(
            "the ½ is missing",
            "this is twice the KL: the log-density of a Gaussian carries a factor ½ in front of everything.",
            _kl(lambda m, s: m**2 + s.exp() - 1 - s),
        ),
        Mistake(
            "log-variance read as log-standard-deviation",
            "logvar was treated as log σ: the variance is exp(logvar), not exp(2 logvar).",
            _kl(lambda m, s: 0.5 * (m**2 + (2 * s).exp() - 1 - 2 * s)),
        ),
        Mistake(
            "standard deviation for variance",
            "exp(logvar / 2) is the standard deviation; the variance, exp(logvar), stands in the formula.",
            _kl(lambda m, s: 0.5 * (m**2 + (0.5 * s).exp() - 1 - s)),
        ),
        Mistake(
            "log-variance for variance",
            "logvar itself stands where the variance exp(logvar) belongs: the exponential is missing.",
            _kl(lambda m, s: 0.5 * (m**2 + s - 1 - s)),
        ),
        Mistake(
            "sign of the log-variance term",
            "logvar is added; it is subtracted, since a narrow q (very negative logvar) is far from the prior.",
            _kl(lambda m, s: 0.5 * (m**2 + s.exp() - 1 + s)),
        ),
        Mistake(
            "the log-variance term is missing",
            "without −logvar nothing stops the variance from shrinking to 0.",
            _kl(lambda m, s: 0.5 * (m**2 + s.exp() - 1)),
        ),
        Mistake(
            "the −1 is missing",
            "the −1 of each coordinate is missing: the KL of the prior to itself would be ½ for each.",
            _kl(lambda m, s: 0.5 * (m**2 + s.exp() - s)),
        ),
        Mistake(
            "the mean is not squared",
            "mean stands where mean² belongs: a mean of −1 is as far from 0 as a mean of 1.",
            _kl(lambda m, s: 0.5 * (m + s.exp() - 1 - s)),
        ),
        Mistake(
            "the other direction",
            "this is KL(N(0, I) ‖ q), prior and q swapped; the bound needs KL(q ‖ N(0, I)).",
            _kl(lambda m, s: 0.5 * ((m**2 + 1) / s.exp() - 1 + s)),
        ),
        Mistake(
            "minus the KL",
            "this is −KL, the form that is added to the ELBO in many papers; the KL itself is never negative.",
            lambda m, s: -standard_kl(m, s),
        ),
        Mistake(
            "mean over the coordinates",
            "coordinates are averaged; independent coordinates add up, so the KL is a sum over them.",
            lambda m, s: standard_kl(m, s) / m.shape[1],
        ),
        Mistake(
            "sum over the batch too",
            "the examples were added up as well: the KL is one number for each example, of shape (B,).",
            lambda m, s: standard_kl(m, s).sum(),
        ),
        Mistake(
            "mean over the batch",
            "the examples were averaged: the KL is one number for each example, of shape (B,).",
            lambda m, s: standard_kl(m, s).mean(),
        ),
        Mistake(
            "sum over the wrong axis",
            "the sum runs over the batch, axis 0; it runs over the coordinates, axis 1.",
            lambda m, s: (0.5 * (m**2 + s.exp() - 1 - s)).sum(0),
        ),
        Mistake(
            "not summed",
            "this is the KL of each coordinate, (B, d); their sum is the KL of the example.",
            lambda m, s: 0.5 * (m**2 + s.exp() - 1 - s),
        ),
    ),
    start="Write the KL of one coordinate first; its variance is exp(logvar).",
    hint="Sum over axis 1 at the end, and keep the batch axis.",
    see="0.5 for mean 1 and variance 1; 0.5 (e² − 3) = 2.195 for mean 0 and log-variance 2.",
)


# ---- elbo_from_samples ----------------------------------------------------------------------------------------------
def elbo_from_samples(log_likelihood, kl):
    return log_likelihood.mean(1) - kl


def _elbo_cases(generator):
    def case(B, L, dtype=torch.float64):
        label = f"B = {B}, L = {L}" + (" in float32" if dtype is torch.float32 else "")
        ll = -5 + normal(B, L, generator=generator, dtype=dtype)
        return Case(label, (ll, 0.5 + normal(B, generator=generator, dtype=dtype).abs()))

    return [
        Case("B = 1, L = 1, log-likelihood -3, KL 1", (numbers([-3.0]), numbers(1.0))),
        Case("B = 1, L = 2, log-likelihoods (-3, -5), KL 1", (numbers([-3.0, -5.0]), numbers(1.0))),
        case(2, 3),
        case(3, 5),
        case(4, 4),
        case(3, 2, torch.float32),
    ]


def _more_draws_same_bound(function):
    ll, kl = numbers([-3.0, -5.0], [-4.0, -4.5]), numbers(1.0, 0.5)
    gap = (function(torch.cat([ll, ll], 1), kl) - function(ll, kl)).abs().max().item()
    return gap < 1e-12, f"difference {gap:.0e}"


ELBO_FROM_SAMPLES = Exercise(
    equation="(1/L) Σ_l log p(x | z_l) − KL(q(z | x) ‖ p(z)) (VAE-3)",
    reference=elbo_from_samples,
    returns=("elbo",),
    cases=_elbo_cases,
    properties=(Property("the same draws taken twice give the same bound", _more_draws_same_bound),),
    mistakes=(
        Mistake(
            "the 1/L is missing",
            "the log-likelihoods are added up: with L draws the reconstruction counts L times, which is a β-VAE with "
            "β = 1/L (erratum E-07). Take the mean over the draws.",
            lambda r, k: r.sum(1) - k,
        ),
        Mistake(
            "KL divided by L",
            "the KL is divided by L too; it is exact and no average over draws, so it counts once.",
            lambda r, k: r.mean(1) - k / r.shape[1],
        ),
        Mistake(
            "KL subtracted at every draw",
            "the reconstruction is summed and the KL subtracted L times: this is L times the bound.",
            lambda r, k: (r - k[:, None]).sum(1),
        ),
        Mistake(
            "KL added",
            "the KL is added: a q far from the prior would be rewarded; the bound is reconstruction minus KL.",
            lambda r, k: r.mean(1) + k,
        ),
        Mistake(
            "the loss, not the bound",
            "this is KL − reconstruction, the negative bound that an optimiser minimises; the ELBO is its negative.",
            lambda r, k: k - r.mean(1),
        ),
        Mistake(
            "the KL is missing",
            "this is the reconstruction alone, the objective of a noisy autoencoder.",
            lambda r, k: r.mean(1),
        ),
        Mistake(
            "logarithm of the mean",
            "the likelihoods were averaged before the logarithm; the bound averages the logarithms. (Inside the "
            "logarithm belong weights p(x, z)/q(z | x), and then no KL is subtracted: that is the IWAE bound.)",
            lambda r, k: r.logsumexp(1) - math.log(r.shape[1]) - k,
        ),
        Mistake(
            "only the first draw",
            "draws 2 to L are ignored; unbiased, and as noisy as L = 1.",
            lambda r, k: r[:, 0] - k,
        ),
        Mistake(
            "the best draw",
            "the largest log-likelihood was taken; a maximum is no average and may exceed log p(x).",
            lambda r, k: r.amax(1) - k,
        ),
        Mistake(
            "averaged over the batch",
            "the examples were averaged as well; return one bound for each example, of shape (B,).",
            lambda r, k: (r.mean(1) - k).mean(),
        ),
        Mistake(
            "summed over the batch",
            "the examples were added up; return one bound for each example, of shape (B,).",
            lambda r, k: (r.mean(1) - k).sum(),
        ),
        Mistake(
            "draws not averaged",
            "this has shape (B, L), one value for each draw; their mean over the draws is the bound.",
            lambda r, k: r - k[:, None],
        ),
        Mistake(
            "1/L of the batch size",
            "the sum was divided by B, the number of examples; L is the size of axis 1.",
            lambda r, k: r.sum(1) / len(r) - k,
        ),
    ),
    start="Which axis of log_likelihood holds the draws?",
    hint="A mean over axis 1 has shape (B,), as kl has.",
    see="For log-likelihoods (−3, −5) and KL 1: −5.",
)


# ---- reparameterize -------------------------------------------------------------------------------------------------
def reparameterize(mean, logvar, eps):
    return mean + (0.5 * logvar).exp() * eps


def _reparameterize_cases(generator):
    def case(label, *shape, dtype=torch.float64):
        return Case(label, tuple(normal(*shape, generator=generator, dtype=dtype) for _ in range(3)))

    return [
        Case(
            "one number: mean 1, log-variance log 4, eps 0.5", (numbers([1.0]), numbers([math.log(4)]), numbers([0.5]))
        ),
        Case("one number: mean 0, log-variance 0, eps -1", (numbers([0.0]), numbers([0.0]), numbers([-1.0]))),
        case("shape (3, 2), random", 3, 2),
        case("shape (4, 5), random", 4, 5),
        case("feature maps of shape (2, 3, 2, 2)", 2, 3, 2, 2),
        case("shape (2, 3) in float32", 2, 3, dtype=torch.float32),
    ]


def _lets_gradients_through(function):
    mean, logvar = numbers([0.3, -0.2]).requires_grad_(), numbers([0.4, -1.0]).requires_grad_()
    eps = numbers([0.7, -1.3])
    z = function(mean, logvar, eps)
    if not z.requires_grad:
        return (
            False,
            "z no longer depends on mean and logvar: detach, no_grad or torch.tensor(...) has cut the gradient",
        )
    grads = torch.autograd.grad(z.sum(), (mean, logvar), allow_unused=True)
    want = torch.ones(1, 2).double(), 0.5 * (0.5 * logvar.detach()).exp() * eps
    for name, got, right in zip(("mean", "logvar"), grads, want, strict=True):
        if got is None:
            return False, f"no gradient reaches {name}: it was detached on the way"
        if not torch.allclose(got, right, rtol=1e-9):
            return False, f"∂z/∂{name} = {got.flatten().tolist()} where it should be {right.flatten().tolist()}"
    return True, "∂z/∂mean = 1 and ∂z/∂logvar = ½ σ ε"


def _own_seed(m, s, e):
    torch.manual_seed(0)
    return reparameterize(m, s, torch.randn_like(m))


REPARAMETERIZE = Exercise(
    equation="z = mean + exp(logvar / 2) ⊙ eps (VAE-4)",
    reference=reparameterize,
    returns=("z",),
    cases=_reparameterize_cases,
    properties=(Property("a gradient reaches mean and logvar", _lets_gradients_through),),
    mistakes=(
        Mistake(
            "the variance multiplies eps",
            "eps is multiplied by exp(logvar), the variance; a draw is scaled by the standard deviation √exp(logvar).",
            lambda m, s, e: m + s.exp() * e,
        ),
        Mistake(
            "logvar multiplies eps",
            "the exponential is missing: logvar is a logarithm and may be negative.",
            lambda m, s, e: m + s * e,
        ),
        Mistake(
            "half of logvar multiplies eps",
            "logvar / 2 is log σ; the exponential is missing.",
            lambda m, s, e: m + 0.5 * s * e,
        ),
        Mistake(
            "twice the exponent",
            "this is exp(2 logvar), the square of the variance; the exponent is halved, not doubled.",
            lambda m, s, e: m + (2 * s).exp() * e,
        ),
        Mistake(
            "the reciprocal",
            "eps is divided by the standard deviation: exp(−logvar / 2) is its reciprocal.",
            lambda m, s, e: m + (-0.5 * s).exp() * e,
        ),
        Mistake(
            "half of the standard deviation",
            "the ½ stands outside the exponential; it belongs inside, where it takes the square root.",
            lambda m, s, e: m + 0.5 * s.exp() * e,
        ),
        Mistake(
            "one eps for the whole batch",
            "the noise of the first example was used for all; each example has noise of its own.",
            lambda m, s, e: reparameterize(m, s, e[:1].expand_as(e)),
        ),
        Mistake(
            "one standard deviation for all coordinates",
            "the standard deviation of the first coordinate was used for all; ⊙ multiplies coordinate by coordinate, "
            "and the covariance is diag(σ²), not σ² I (erratum E-52).",
            lambda m, s, e: reparameterize(m, s[:, :1].expand_as(s), e),
        ),
        Mistake(
            "no noise",
            "eps is ignored: z is the mean, and the model becomes an ordinary autoencoder.",
            lambda m, s, e: m.clone(),
        ),
        Mistake(
            "the mean is missing",
            "mean is not added: every example has its code at 0.",
            lambda m, s, e: (0.5 * s).exp() * e,
        ),
        Mistake(
            "noise subtracted",
            "eps is subtracted. The law is the same, but the draw is not the one that eps names.",
            lambda m, s, e: m - (0.5 * s).exp() * e,
        ),
        Mistake(
            "noise not scaled",
            "eps is added at full size; its factor is the standard deviation.",
            lambda m, s, e: m + e,
        ),
        Mistake(
            "noise of its own instead of the given one",
            "eps was ignored and new noise drawn from the global generator, so the draw cannot be repeated.",
            lambda m, s, e: reparameterize(m, s, torch.randn_like(m)),
        ),
        Mistake(
            "a fixed seed instead of the given noise",
            "eps was ignored; torch.manual_seed(0) makes the noise the same at every call.",
            _own_seed,
        ),
        Mistake(
            "input modified in place",
            "the values are right, but mean itself was overwritten, and the KL still needs it.",
            lambda m, s, e: m.add_((0.5 * s).exp() * e),
        ),
    ),
    start="What is the standard deviation if logvar is the logarithm of the variance?",
    hint="√exp(a) = exp(a / 2). Everything is multiplied entry by entry.",
    see="mean 1, variance 4, eps 0.5: z = 1 + 2 · 0.5 = 2.",
)


# ---- score_function_gradient ----------------------------------------------------------------------------------------
def score_function_gradient(values, logvar, eps):
    score_mean = eps / (0.5 * logvar).exp()
    score_logvar = 0.5 * (eps**2 - 1)
    f = values[:, None]
    return (f * score_mean).mean(0), (f * score_logvar).mean(0)


def _score_cases(generator):
    def case(L, d, dtype=torch.float64):
        label = f"L = {L}, d = {d}, random" + (" in float32" if dtype is torch.float32 else "")
        values = 1 + normal(L, generator=generator, dtype=dtype)
        rest = normal(d, generator=generator, dtype=dtype), normal(L, d, generator=generator, dtype=dtype)
        return Case(label, (values, *rest))

    return [
        Case("L = 1, d = 1: f = 3, log-variance log 4, eps 2", (numbers(3.0), numbers(math.log(4)), numbers([2.0]))),
        Case("L = 2, d = 1: f = (1, 3), log-variance 0", (numbers(1.0, 3.0), numbers(0.0), numbers([0.5], [-1.0]))),
        case(3, 2),
        case(5, 4),
        case(4, 4),
        case(2, 3, torch.float32),
    ]


def _agrees_with_theory(function):
    n = 40_000
    mean, logvar = numbers(0.5), numbers(-0.4)
    eps = normal(n, 1, generator=torch.Generator().manual_seed(3))
    values = (mean + (0.5 * logvar).exp() * eps)[:, 0] ** 2
    got = torch.cat(list(function(values, logvar, eps)))
    draws = values[:, None] * torch.cat([eps / (0.5 * logvar).exp(), 0.5 * (eps**2 - 1)], 1)
    z = (got - torch.cat([2 * mean, logvar.exp()])) / (draws.std(0) / math.sqrt(n))
    worst = z.abs().max().item()
    return worst < 5, f"largest z = {worst:.1f}; beyond 5 by chance once in a million"


def _score(of_mean, of_logvar):
    """The estimator with other scores; of_mean(std, eps) and of_logvar(std, eps)."""

    def function(values, logvar, eps):
        std = (0.5 * logvar).exp()
        return tuple((values[:, None] * score(std, eps)).mean(0) for score in (of_mean, of_logvar))

    return function


def _right_mean(std, eps):
    return eps / std


def _right_logvar(std, eps):
    return 0.5 * (eps**2 - 1)


SCORE_FUNCTION_GRADIENT = Exercise(
    equation="∇E_q[f] ≈ (1/L) Σ_l f(z_l) ∇ log q(z_l), z_l = mean + exp(logvar / 2) eps_l (VAE-4)",
    reference=score_function_gradient,
    returns=("grad_mean", "grad_logvar"),
    cases=_score_cases,
    properties=(Property("for f = z² the gradient is (2 mean, variance)", _agrees_with_theory),),
    mistakes=(
        Mistake(
            "divided by the variance",
            "the score of the mean is eps/std: std was divided out twice, or taken as exp(logvar).",
            _score(lambda s, e: e / s**2, _right_logvar),
        ),
        Mistake(
            "multiplied by the standard deviation",
            "eps is multiplied by std (that is z − mean); the score is (z − mean)/variance = eps/std.",
            _score(lambda s, e: e * s, _right_logvar),
        ),
        Mistake(
            "not divided by the standard deviation",
            "the score of the mean is eps/std, not eps.",
            _score(lambda s, e: e, _right_logvar),
        ),
        Mistake(
            "sign of the scores",
            "both gradients point downhill: ∂ log q/∂mean is +(z − mean)/variance.",
            _score(lambda s, e: -e / s, lambda s, e: 0.5 * (1 - e**2)),
        ),
        Mistake(
            "sign of the mean's score",
            "this differentiates log q with respect to z; with respect to the mean the sign is the other one.",
            _score(lambda s, e: -e / s, _right_logvar),
        ),
        Mistake(
            "the normaliser is forgotten",
            "grad_logvar lacks the −1: log q holds −½ logvar, from the normalising constant, which depends on logvar.",
            _score(_right_mean, lambda s, e: 0.5 * e**2),
        ),
        Mistake(
            "derivative with respect to log-standard-deviation",
            "eps² − 1 is the derivative by log σ; by logvar = 2 log σ it is half of that.",
            _score(_right_mean, lambda s, e: e**2 - 1),
        ),
        Mistake(
            "derivative with respect to the standard deviation",
            "(eps² − 1)/std is the derivative by σ; the parameter is logvar, whose derivative is ½(eps² − 1).",
            _score(_right_mean, lambda s, e: (e**2 - 1) / s),
        ),
        Mistake(
            "derivative with respect to the variance",
            "½(eps² − 1)/variance is the derivative by σ²; the parameter is logvar, whose derivative is ½(eps² − 1).",
            _score(_right_mean, lambda s, e: 0.5 * (e**2 - 1) / s**2),
        ),
        Mistake(
            "sum over the draws",
            "the draws were added up; an expectation is estimated by their mean.",
            lambda f, s, e: tuple(len(f) * g for g in score_function_gradient(f, s, e)),
        ),
        Mistake(
            "f is forgotten",
            "this is the mean score, whose expectation is 0; each score is weighted with f(z_l).",
            lambda f, s, e: score_function_gradient(torch.ones_like(f), s, e),
        ),
        Mistake(
            "f averaged before it is multiplied",
            "mean(f) times mean(score) was computed; the product is averaged, draw by draw.",
            lambda f, s, e: score_function_gradient(f.mean().expand_as(f), s, e),
        ),
        Mistake(
            "draws not averaged",
            "these are the contributions of the draws, (L, d); their mean over the draws is the gradient.",
            lambda f, s, e: (f[:, None] * e / (0.5 * s).exp(), f[:, None] * 0.5 * (e**2 - 1)),
        ),
        Mistake(
            "the two gradients swapped",
            "grad_mean comes first, grad_logvar second.",
            lambda f, s, e: score_function_gradient(f, s, e)[::-1],
        ),
    ),
    start="Write log N(z; mean, exp(logvar)) and differentiate it by mean and by logvar, with z held fixed.",
    hint="(z − mean)/variance = eps/std, and (z − mean)²/variance = eps². values[:, None] lines f up with eps.",
    see="For f = 3, variance 4 and eps = 2: 3 · 2/2 = 3 and 3 · ½(4 − 1) = 4.5.",
)


# ---- bernoulli_log_likelihood ---------------------------------------------------------------------------------------
def bernoulli_log_likelihood(logits, x):
    log_one = torch.nn.functional.logsigmoid(logits)
    log_zero = torch.nn.functional.logsigmoid(-logits)
    return (x * log_one + (1 - x) * log_zero).flatten(1).sum(1)


def _bernoulli_cases(generator):
    def case(label, *shape, dtype=torch.float64):
        x = (torch.rand(shape, generator=generator, dtype=torch.float64) < 0.5).to(dtype)
        return Case(label, (normal(*shape, generator=generator, dtype=dtype, scale=2.0), x))

    return [
        Case("one pixel, logit 0, x = 1", (numbers([0.0]), numbers([1.0]))),
        Case("two pixels, logits (2, -1), x = (1, 0)", (numbers([2.0, -1.0]), numbers([1.0, 0.0]))),
        case("shape (3, 4), random", 3, 4),
        case("images of shape (2, 1, 3, 3), random", 2, 1, 3, 3),
        case("images of shape (3, 1, 2, 2) in float32", 3, 1, 2, 2, dtype=torch.float32),
        Case("a confident mistake: logit 1000, x = 0", (numbers([1000.0]), numbers([0.0]))),
        Case("a confident mistake the other way: logit -1000, x = 1", (numbers([-1000.0, 0.5]), numbers([1.0, 1.0]))),
    ]


def _sums_to_one(function):
    logits = numbers([0.7, -1.2, 2.0])
    images = torch.cartesian_prod(*[numbers(0.0, 1.0)] * 3)
    total = function(logits.expand(8, 3).clone(), images).exp().sum().item()
    return abs(total - 1) < 1e-12, f"sum of the 8 probabilities − 1 = {total - 1:.0e}"


def _plain(logits, x):
    p = logits.sigmoid()
    return (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)


def _bernoulli(p, one=1.0, zero=1.0):
    """The formula with another function for the probability, stable for the right one, and other weights."""

    def function(logits, x):
        return (one * x * p(logits) + zero * (1 - x) * p(-logits)).flatten(1).sum(1)

    return function


_log_sigmoid = torch.nn.functional.logsigmoid

BERNOULLI_LOG_LIKELIHOOD = Exercise(
    equation="log p(x | z) = Σ_i [x_i log π_i + (1 − x_i) log(1 − π_i)], π = σ(logits) (ELBO-4)",
    reference=bernoulli_log_likelihood,
    returns=("log_likelihood",),
    cases=_bernoulli_cases,
    properties=(Property("the probabilities of all images sum to 1", _sums_to_one),),
    mistakes=(
        Mistake(
            "log of a rounded sigmoid",
            "σ(logit) rounds to exactly 0 or 1 for large logits, and its logarithm is infinite (or 0 · ∞ = NaN). "
            "logsigmoid and binary_cross_entropy_with_logits take the logarithm of the formula, not of the number.",
            _plain,
        ),
        Mistake(
            "logarithms cut off at −100",
            "F.binary_cross_entropy on probabilities clamps each logarithm at −100: confident mistakes then cost too "
            "little and give no gradient; use binary_cross_entropy_with_logits.",
            lambda o, x: -torch.nn.functional.binary_cross_entropy(o.sigmoid(), x, reduction="none").flatten(1).sum(1),
        ),
        Mistake(
            "mean over the pixels",
            "pixels are averaged; independent pixels multiply, so their log-probabilities add. With the mean the KL "
            "weighs as many times too much as there are pixels.",
            lambda o, x: bernoulli_log_likelihood(o, x) / x[0].numel(),
        ),
        Mistake(
            "mean over everything",
            "this is one number, averaged over pixels and examples (the default reduction of PyTorch's losses).",
            lambda o, x: bernoulli_log_likelihood(o, x).mean() / x[0].numel(),
        ),
        Mistake(
            "minus the mean over everything",
            "this is PyTorch's default loss: one number, averaged over pixels and examples, with the sign of a loss.",
            lambda o, x: -bernoulli_log_likelihood(o, x).mean() / x[0].numel(),
        ),
        Mistake(
            "sum over everything",
            "the examples were added up as well; return one number for each example, of shape (B,).",
            lambda o, x: bernoulli_log_likelihood(o, x).sum(),
        ),
        Mistake(
            "the loss, not the log-likelihood",
            "this is the cross-entropy, −log p; the log-likelihood of binary pixels is never positive.",
            lambda o, x: -bernoulli_log_likelihood(o, x),
        ),
        Mistake(
            "only the ones count",
            "the term (1 − x) log(1 − π) is missing: painting everything white would be free.",
            _bernoulli(_log_sigmoid, zero=0.0),
        ),
        Mistake(
            "only the zeros count",
            "the term x log π is missing: leaving everything black would be free.",
            _bernoulli(_log_sigmoid, one=0.0),
        ),
        Mistake(
            "ones and zeros swapped",
            "σ(logit) is the probability of a 1; here it is used for a 0.",
            lambda o, x: bernoulli_log_likelihood(-o, x),
        ),
        Mistake(
            "logits read as probabilities",
            "the sigmoid is missing: the decoder's outputs are any real numbers, and their logarithm may not exist.",
            lambda o, x: (x * o.log() + (1 - x) * (1 - o).log()).flatten(1).sum(1),
        ),
        Mistake(
            "sigmoid taken twice",
            "σ(σ(logit)) lies between 0.5 and 0.73: F.binary_cross_entropy_with_logits applies the sigmoid itself.",
            lambda o, x: bernoulli_log_likelihood(o.sigmoid(), x),
        ),
        Mistake(
            "squared error",
            "this is −Σ (x − π)², no log-probability: its exponentials do not sum to 1 over all images.",
            lambda o, x: -((x - o.sigmoid()) ** 2).flatten(1).sum(1),
        ),
        Mistake(
            "not summed over the pixels",
            "these are the log-probabilities of the pixels; their sum over all but the batch axis is the image's.",
            lambda o, x: x * _log_sigmoid(o) + (1 - x) * _log_sigmoid(-o),
        ),
    ),
    start="log σ(a) is the log-probability of a 1, log σ(−a) that of a 0.",
    hint="torch.nn.functional.logsigmoid is exact for large logits. flatten(1).sum(1) sums over the pixels.",
    see="One pixel with logit 0: log ½ = −0.693. Logit 1000 where x = 0: −1000.",
)


# ---- gaussian_log_likelihood ----------------------------------------------------------------------------------------
def gaussian_log_likelihood(mean, log_variance, x):
    squared = (x - mean) ** 2 / log_variance.exp()
    return -0.5 * (squared + log_variance + math.log(2 * math.pi)).flatten(1).sum(1)


def _gaussian_cases(generator):
    def case(label, *shape, dtype=torch.float64):
        mean, x = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (mean, normal(generator=generator, dtype=dtype), x))

    return [
        Case("one pixel, mean 0, σ² = 1, x = 1", (numbers([0.0]), torch.tensor(0.0).double(), numbers([1.0]))),
        Case("one pixel, mean 0, σ² = 4, x = 2", (numbers([0.0]), torch.tensor(4.0).double().log(), numbers([2.0]))),
        case("shape (3, 4), random", 3, 4),
        case("images of shape (2, 1, 3, 3), random", 2, 1, 3, 3),
        case("images of shape (3, 1, 2, 2) in float32", 3, 1, 2, 2, dtype=torch.float32),
    ]


def _integrates_to_one(function):
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    total = torch.trapezoid(function(0.3 + 0 * x, torch.tensor(0.4).double(), x).exp(), x[:, 0]).item()
    return abs(total - 1) < 1e-9, f"integral of the density − 1 = {total - 1:.0e}"


def _density(term):
    """The log-density with another formula for one pixel, summed over pixels; term of (offset, log σ²)."""
    return lambda mean, s, x: term(x - mean, s).flatten(1).sum(1)


_LOG_2PI = math.log(2 * math.pi)

GAUSSIAN_LOG_LIKELIHOOD = Exercise(
    equation="log N(x; mean, σ² I) = −½ Σ_i [(x_i − mean_i)²/σ² + log σ² + log 2π] (ELBO-4)",
    reference=gaussian_log_likelihood,
    returns=("log_likelihood",),
    cases=_gaussian_cases,
    properties=(Property("the density integrates to 1", _integrates_to_one),),
    mistakes=(
        Mistake(
            "the variance is forgotten",
            "this is −½ the squared error, a Gaussian with σ² = 1 and without its constant: against the KL it weighs "
            "the reconstruction as β = σ² would.",
            _density(lambda r, s: -0.5 * r**2),
        ),
        Mistake(
            "variance 1",
            "log_variance does not appear: this is the log-density for σ² = 1.",
            _density(lambda r, s: -0.5 * (r**2 + _LOG_2PI)),
        ),
        Mistake(
            "log σ² is missing",
            "the error is divided by σ², but the −½ log σ² of the normaliser is missing: learned, σ² would grow "
            "without limit.",
            _density(lambda r, s: -0.5 * (r**2 / s.exp() + _LOG_2PI)),
        ),
        Mistake(
            "the constant is missing",
            "−½ log 2π for each pixel is missing. It moves no gradient, but the number is no log-density any more.",
            _density(lambda r, s: -0.5 * (r**2 / s.exp() + s)),
        ),
        Mistake(
            "the constant counted once",
            "log 2π and log σ² stand once for each pixel, not once for the image.",
            lambda mean, s, x: -0.5 * (((x - mean) ** 2 / s.exp()).flatten(1).sum(1) + s + _LOG_2PI),
        ),
        Mistake(
            "sign of log σ²",
            "log σ² is subtracted inside the bracket: a wider density is lower at its top, not higher.",
            _density(lambda r, s: -0.5 * (r**2 / s.exp() - s + _LOG_2PI)),
        ),
        Mistake(
            "log-variance read as log-standard-deviation",
            "log_variance was treated as log σ: the variance is exp(log_variance), not exp(2 log_variance).",
            _density(lambda r, s: -0.5 * (r**2 / (2 * s).exp() + 2 * s + _LOG_2PI)),
        ),
        Mistake(
            "divided by the standard deviation",
            "the squared error is divided by σ; it is divided by σ².",
            _density(lambda r, s: -0.5 * (r**2 / (0.5 * s).exp() + s + _LOG_2PI)),
        ),
        Mistake(
            "divided by log σ²",
            "log_variance itself stands where the variance exp(log_variance) belongs.",
            _density(lambda r, s: -0.5 * (r**2 / s + s + _LOG_2PI)),
        ),
        Mistake(
            "the ½ is missing",
            "this is twice the log-density.",
            lambda mean, s, x: 2 * gaussian_log_likelihood(mean, s, x),
        ),
        Mistake(
            "the loss, not the log-likelihood",
            "this is −log p(x | z), what training minimises.",
            lambda mean, s, x: -gaussian_log_likelihood(mean, s, x),
        ),
        Mistake(
            "mean over the pixels",
            "pixels are averaged; independent pixels add up. With a mean, the KL in nats weighs as many times too "
            "much as there are pixels.",
            lambda mean, s, x: gaussian_log_likelihood(mean, s, x) / x[0].numel(),
        ),
        Mistake(
            "sum over everything",
            "the examples were added up as well: the log-likelihood is one number for each example, (B,).",
            lambda mean, s, x: gaussian_log_likelihood(mean, s, x).sum(),
        ),
        Mistake(
            "not summed over the pixels",
            "these are the log-densities of the pixels; their sum over all but the batch axis is the image's.",
            lambda mean, s, x: -0.5 * ((x - mean) ** 2 / s.exp() + s + _LOG_2PI),
        ),
    ),
    start="Write the log-density of one pixel: three terms in a bracket, and −½ in front.",
    hint="log_variance.exp() is σ². flatten(1).sum(1) sums over the pixels.",
    see="Mean 0, σ² = 1, x = 1: −½(1 + log 2π) = −1.419.",
)

EXERCISES = (
    STANDARD_KL,
    ELBO_FROM_SAMPLES,
    REPARAMETERIZE,
    SCORE_FUNCTION_GRADIENT,
    BERNOULLI_LOG_LIKELIHOOD,
    GAUSSIAN_LOG_LIKELIHOOD,
)
