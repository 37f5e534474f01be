"""Exercises of lesson 03: the KL to N(0, I), two gradients, two likelihoods, and a loss's β.

Ledger KL-1, ELBO-4, VAE-2, VAE-4, M-34.
"""

import math

import torch

from ..course.variational_autoencoders import Loss
from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers, uniform


# ---- standard_kl ----------------------------------------------------------------------------------------------------
def standard_kl(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(1)


def _kl_cases(generator):
    def case(label, *shape, dtype=torch.float64):
        return Case(label, tuple(normal(*shape, generator=generator, dtype=dtype) for _ in range(2)))

    return [
        Case(
            "two examples of one coordinate: mean 1, log-variance 0 and mean 0, log-variance 2",
            (numbers([1.0], [0.0]), numbers([0.0], [2.0])),
        ),
        case("mean and logvar of shape (3, 4), random", 3, 4),
        case("mean and logvar of shape (5, 3), random", 5, 3),
        case("shape (4, 6) in float32", 4, 6, dtype=torch.float32),
    ]


def _zero_at_the_prior(function):
    value = function(torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)).item()
    return value == 0, f"KL = {value:g}"


STANDARD_KL = Exercise(
    equation="KL(N(mean, diag(exp(logvar))) ‖ N(0, I)) = ½ Σ_d (mean² + exp(logvar) − 1 − logvar) (KL-1)",
    reference=standard_kl,
    returns=("kl",),
    cases=_kl_cases,
    properties=(Property("the KL is exactly 0 where q is the prior", _zero_at_the_prior),),
    start="Write the KL of one coordinate first; its variance is exp(logvar).",
    hint="Sum over axis 1 at the end, and keep the batch axis.",
    see="0.5 for mean 1 and variance 1; 0.5 (e² − 3) = 2.195 for mean 0 and log-variance 2.",
    mistakes=mistakes(
        standard_kl,
        ("the ½ is missing",
         "this is twice the KL: the log-density of a Gaussian carries a factor ½ in front of everything.",
         ("0.5 * ", "")),
        ("log-variance read as log-standard-deviation",
         "logvar was treated as log σ: the variance is exp(logvar), not exp(2 logvar).",
         ("logvar.exp() - 1 - logvar", "(2 * logvar).exp() - 1 - 2 * logvar")),
        ("standard deviation for variance",
         "exp(logvar / 2) is the standard deviation; the variance, exp(logvar), stands in the formula.",
         ("logvar.exp()", "(0.5 * logvar).exp()")),
        ("log-variance for variance",
         "logvar itself stands where the variance exp(logvar) belongs: the exponential is missing.",
         ("logvar.exp()", "logvar")),
        ("sign of the log-variance term",
         "logvar is added; it is subtracted, since a narrow q (very negative logvar) is far from the prior.",
         ("- 1 - logvar", "- 1 + logvar")),
        ("the log-variance term is missing", "without −logvar nothing stops the variance from shrinking to 0.",
         (" - logvar", "")),
        ("the −1 is missing",
         "the −1 of each coordinate is missing: the KL of the prior to itself would be ½ for each.", (" - 1", "")),
        ("the mean is not squared", "mean stands where mean² belongs: a mean of −1 is as far from 0 as a mean of 1.",
         ("mean**2", "mean")),
        ("the other direction", "this is KL(N(0, I) ‖ q), prior and q swapped; the bound needs KL(q ‖ N(0, I)).",
         ("mean**2 + logvar.exp() - 1 - logvar", "(mean**2 + 1) / logvar.exp() - 1 + logvar")),
        ("minus the KL",
         "this is −KL, the form that is added to the ELBO in many papers; the KL itself is never negative.",
         ("0.5", "-0.5")),
        ("mean over the coordinates",
         "coordinates are averaged; independent coordinates add up, so the KL is a sum over them.",
         (".sum(1)", ".mean(1)")),
        ("sum over the batch too",
         "the examples were added up as well: the KL is one number for each example, of shape (B,).",
         (".sum(1)", ".sum()")),
        ("mean over the batch", "the examples were averaged: the KL is one number for each example, of shape (B,).",
         (".sum(1)", ".sum(1).mean()")),
        ("sum over the wrong axis", "the sum runs over the batch, axis 0; it runs over the coordinates, axis 1.",
         (".sum(1)", ".sum(0)")),
        ("not summed", "this is the KL of each coordinate, (B, d); their sum is the KL of the example.",
         (".sum(1)", "")),
    ),
)  # fmt: skip


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
        case("shape (3, 4), random", 3, 4),
        case("shape (5, 3), random", 5, 3),
        case("feature maps of shape (4, 3, 5, 6)", 4, 3, 5, 6),
        case("shape (4, 3) in float32", 4, 3, dtype=torch.float32),
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


REPARAMETERIZE = Exercise(
    equation="z = mean + exp(logvar / 2) ⊙ eps (VAE-4)",
    reference=reparameterize,
    returns=("z",),
    cases=_reparameterize_cases,
    properties=(Property("a gradient reaches mean and logvar", _lets_gradients_through),),
    start="What is the standard deviation if logvar is the logarithm of the variance?",
    hint="√exp(a) = exp(a / 2). Everything is multiplied entry by entry.",
    see="mean 1, variance 4, eps 0.5: z = 1 + 2 · 0.5 = 2.",
    mistakes=mistakes(
        reparameterize,
        ("the variance multiplies eps",
         "eps is multiplied by exp(logvar), the variance; a draw is scaled by the standard deviation √exp(logvar).",
         ("(0.5 * logvar)", "logvar")),
        ("logvar multiplies eps", "the exponential is missing: logvar is a logarithm and may be negative.",
         ("(0.5 * logvar).exp()", "logvar")),
        ("half of logvar multiplies eps", "logvar / 2 is log σ; the exponential is missing.", (".exp()", "")),
        ("twice the exponent",
         "this is exp(2 logvar), the square of the variance; the exponent is halved, not doubled.", ("0.5", "2")),
        ("the reciprocal", "eps is divided by the standard deviation: exp(−logvar / 2) is its reciprocal.",
         ("0.5", "-0.5")),
        ("half of the standard deviation",
         "the ½ stands outside the exponential; it belongs inside, where it takes the square root.",
         ("(0.5 * logvar).exp()", "0.5 * logvar.exp()")),
        ("one eps for the whole batch",
         "the noise of the first example was used for all; each example has noise of its own.", ("* eps", "* eps[:1]")),
        ("one standard deviation for all coordinates",
         "the standard deviation of the first coordinate was used for all; ⊙ multiplies coordinate by coordinate, and "
         "the covariance is diag(σ²), not σ² I (erratum E-52).", ("0.5 * logvar", "0.5 * logvar[:, :1]")),
        ("no noise", "eps is ignored: z is the mean, and the model becomes an ordinary autoencoder.",
         (" + (0.5 * logvar).exp() * eps", "")),
        ("the mean is missing", "mean is not added: every example has its code at 0.", ("mean + ", "")),
        ("noise subtracted", "eps is subtracted. The law is the same, but the draw is not the one that eps names.",
         ("mean +", "mean -")),
        ("noise not scaled", "eps is added at full size; its factor is the standard deviation.",
         ("(0.5 * logvar).exp() * ", "")),
    ),
)  # fmt: skip


# ---- score_function_gradient ----------------------------------------------------------------------------------------
def score_function_gradient(values, logvar, eps):
    std = (0.5 * logvar).exp()
    score_mean = eps / std
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
        case(3, 4),
        case(6, 5),
        case(5, 3),
        case(4, 3, torch.float32),
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


SCORE_FUNCTION_GRADIENT = Exercise(
    equation="∇E_q[f] ≈ (1/L) Σ_l f(z_l) ∇ log q(z_l), z_l = mean + exp(logvar / 2) eps_l (VAE-4)",
    reference=score_function_gradient,
    returns=("grad_mean", "grad_logvar"),
    cases=_score_cases,
    properties=(Property("for f = z² the gradient is (2 mean, variance)", _agrees_with_theory),),
    start="Write log N(z; mean, exp(logvar)) and differentiate it by mean and by logvar, with z held fixed.",
    hint="(z − mean)/variance = eps/std, and (z − mean)²/variance = eps². values[:, None] lines f up with eps.",
    see="For f = 3, variance 4 and eps = 2: 3 · 2/2 = 3 and 3 · ½(4 − 1) = 4.5.",
    mistakes=mistakes(
        score_function_gradient,
        ("divided by the variance",
         "the score of the mean is eps/std: std was divided out twice, or taken as exp(logvar).",
         ("eps / std", "eps / std**2")),
        ("multiplied by the standard deviation",
         "eps is multiplied by std (that is z − mean); the score is (z − mean)/variance = eps/std.",
         ("eps / std", "eps * std")),
        ("not divided by the standard deviation", "the score of the mean is eps/std, not eps.", ("eps / std", "eps")),
        ("sign of the scores", "both gradients point downhill: ∂ log q/∂mean is +(z − mean)/variance.",
         ("eps / std", "-eps / std"), ("eps**2 - 1", "1 - eps**2")),
        ("sign of the mean's score",
         "this differentiates log q with respect to z; with respect to the mean the sign is the other one.",
         ("eps / std", "-eps / std")),
        ("the normaliser is forgotten",
         "grad_logvar lacks the −1: log q holds −½ logvar, from the normalising constant, which depends on logvar.",
         ("(eps**2 - 1)", "eps**2")),
        ("derivative with respect to log-standard-deviation",
         "eps² − 1 is the derivative by log σ; by logvar = 2 log σ it is half of that.",
         ("0.5 * (eps**2 - 1)", "eps**2 - 1")),
        ("derivative with respect to the standard deviation",
         "(eps² − 1)/std is the derivative by σ; the parameter is logvar, whose derivative is ½(eps² − 1).",
         ("0.5 * (eps**2 - 1)", "(eps**2 - 1) / std")),
        ("derivative with respect to the variance",
         "½(eps² − 1)/variance is the derivative by σ²; the parameter is logvar, whose derivative is ½(eps² − 1).",
         ("(eps**2 - 1)", "(eps**2 - 1) / std**2")),
        ("sum over the draws", "the draws were added up; an expectation is estimated by their mean.",
         ("(f * score_mean).mean(0)", "(f * score_mean).sum(0)"),
         ("(f * score_logvar).mean(0)", "(f * score_logvar).sum(0)")),
        ("f is forgotten", "this is the mean score, whose expectation is 0; each score is weighted with f(z_l).",
         ("values[:, None]", "1.0")),
        ("f averaged before it is multiplied",
         "mean(f) times mean(score) was computed; the product is averaged, draw by draw.",
         ("values[:, None]", "values.mean()")),
        ("draws not averaged",
         "these are the contributions of the draws, (L, d); their mean over the draws is the gradient.",
         ("(f * score_mean).mean(0)", "f * score_mean"), ("(f * score_logvar).mean(0)", "f * score_logvar")),
        ("the two gradients swapped", "grad_mean comes first, grad_logvar second.",
         ("(f * score_mean).mean(0), (f * score_logvar).mean(0)",
          "(f * score_logvar).mean(0), (f * score_mean).mean(0)")),
    ),
)  # fmt: skip


# ---- bernoulli_log_likelihood ---------------------------------------------------------------------------------------
def bernoulli_log_likelihood(logits, x):
    log_one = torch.nn.functional.logsigmoid(logits)
    log_zero = torch.nn.functional.logsigmoid(-logits)
    return (x * log_one + (1 - x) * log_zero).flatten(1).sum(1)


def _bernoulli_cases(generator):
    def case(label, *shape, dtype=torch.float64, sure=None):
        x = (uniform(*shape, generator=generator) < 0.5).to(dtype)
        logits = normal(*shape, generator=generator, dtype=dtype, scale=2.0)
        if sure:
            logits[1, 2], x[1, 2] = sure
        return Case(label, (logits, x))

    return [
        Case(
            "two examples of one pixel: logit 0, x = 1 and logit 2, x = 0",
            (numbers([0.0], [2.0]), numbers([1.0], [0.0])),
        ),
        case("shape (3, 4), random", 3, 4),
        case("images of shape (4, 3, 5, 6), random", 4, 3, 5, 6),
        case("images of shape (3, 4, 6, 5) in float32", 3, 4, 6, 5, dtype=torch.float32),
        case("shape (3, 5) with a confident mistake: logit 1000, x = 0", 3, 5, sure=(1000.0, 0.0)),
        case("shape (5, 4) with a confident mistake the other way: logit -1000, x = 1", 5, 4, sure=(-1000.0, 1.0)),
    ]


def _sums_to_one(function):
    logits = numbers([0.7, -1.2, 2.0])
    images = torch.cartesian_prod(*[numbers(0.0, 1.0)] * 3)
    total = function(logits.expand(8, 3).clone(), images).exp().sum().item()
    return abs(total - 1) < 1e-12, f"sum of the 8 probabilities − 1 = {total - 1:.0e}"


BERNOULLI_LOG_LIKELIHOOD = Exercise(
    equation="log p(x | z) = Σ_i [x_i log π_i + (1 − x_i) log(1 − π_i)], π = σ(logits) (ELBO-4)",
    reference=bernoulli_log_likelihood,
    returns=("log_likelihood",),
    cases=_bernoulli_cases,
    properties=(Property("the probabilities of all images sum to 1", _sums_to_one),),
    start="log σ(a) is the log-probability of a 1, log σ(−a) that of a 0.",
    hint="torch.nn.functional.logsigmoid is exact for large logits. flatten(1).sum(1) sums over the pixels.",
    see="One pixel with logit 0: log ½ = −0.693. Logit 1000 where x = 0: −1000.",
    mistakes=mistakes(
        bernoulli_log_likelihood,
        ("log of a rounded sigmoid",
         "σ(logit) rounds to exactly 0 or 1 for large logits, and its logarithm is infinite (or 0 · ∞ = NaN). "
         "logsigmoid and binary_cross_entropy_with_logits take the logarithm of the formula, not of the number.",
         ("torch.nn.functional.logsigmoid(logits)", "logits.sigmoid().log()"),
         ("torch.nn.functional.logsigmoid(-logits)", "(1 - logits.sigmoid()).log()")),
        ("logarithms cut off at −100",
         "F.binary_cross_entropy on probabilities clamps each logarithm at −100: confident mistakes then cost too "
         "little and give no gradient; use binary_cross_entropy_with_logits.",
         ("torch.nn.functional.logsigmoid(logits)", "logits.sigmoid().log().clamp(min=-100)"),
         ("torch.nn.functional.logsigmoid(-logits)", "(1 - logits.sigmoid()).log().clamp(min=-100)")),
        ("mean over the pixels",
         "pixels are averaged; independent pixels multiply, so their log-probabilities add. With the mean the KL "
         "weighs as many times too much as there are pixels.", (".sum(1)", ".mean(1)")),
        ("mean over everything",
         "this is one number, averaged over pixels and examples (the default reduction of PyTorch's losses).",
         (".flatten(1).sum(1)", ".mean()")),
        ("minus the mean over everything",
         "this is PyTorch's default loss: one number, averaged over pixels and examples, with the sign of a loss.",
         ("return (", "return -("), (".flatten(1).sum(1)", ".mean()")),
        ("sum over everything",
         "the examples were added up as well; return one number for each example, of shape (B,).",
         (".flatten(1).sum(1)", ".sum()")),
        ("the loss, not the log-likelihood",
         "this is the cross-entropy, −log p; the log-likelihood of binary pixels is never positive.",
         ("return (", "return -(")),
        ("only the ones count", "the term (1 − x) log(1 − π) is missing: painting everything white would be free.",
         (" + (1 - x) * log_zero", "")),
        ("only the zeros count", "the term x log π is missing: leaving everything black would be free.",
         ("x * log_one + ", "")),
        ("ones and zeros swapped", "σ(logit) is the probability of a 1; here it is used for a 0.",
         ("x * log_one + (1 - x) * log_zero", "x * log_zero + (1 - x) * log_one")),
        ("logits read as probabilities",
         "the sigmoid is missing: the decoder's outputs are any real numbers, and their logarithm may not exist.",
         ("torch.nn.functional.logsigmoid(logits)", "logits.log()"),
         ("torch.nn.functional.logsigmoid(-logits)", "(1 - logits).log()")),
        ("sigmoid taken twice",
         "σ(σ(logit)) lies between 0.5 and 0.73: F.binary_cross_entropy_with_logits applies the sigmoid itself.",
         ("logsigmoid(logits)", "logsigmoid(logits.sigmoid())"),
         ("logsigmoid(-logits)", "logsigmoid(-logits.sigmoid())")),
        ("squared error", "this is −Σ (x − π)², no log-probability: its exponentials do not sum to 1 over all images.",
         ("x * log_one + (1 - x) * log_zero", "-((x - logits.sigmoid()) ** 2)")),
        ("not summed over the pixels",
         "these are the log-probabilities of the pixels; their sum over all but the batch axis is the image's.",
         (".flatten(1).sum(1)", "")),
    ),
)  # fmt: skip


# ---- gaussian_log_likelihood ----------------------------------------------------------------------------------------
def gaussian_log_likelihood(mean, log_variance, x):
    squared = (x - mean) ** 2 / log_variance.exp()
    return -0.5 * (squared + log_variance + math.log(2 * math.pi)).flatten(1).sum(1)


def _gaussian_cases(generator):
    def case(label, *shape, dtype=torch.float64):
        mean, x = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (mean, normal(generator=generator, dtype=dtype), x))

    return [
        Case(
            "two pixels, means 0, σ² = 4, x = (2, 4)", (numbers([0.0, 0.0]), *numbers(4.0).log(), numbers([2.0, 4.0]))
        ),
        case("shape (3, 4), random", 3, 4),
        case("shape (6, 5), random", 6, 5),
        case("images of shape (4, 3, 5, 6), random", 4, 3, 5, 6),
        case("images of shape (3, 4, 6, 5) in float32", 3, 4, 6, 5, dtype=torch.float32),
    ]


def _integrates_to_one(function):
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)[:, None]
    total = torch.trapezoid(function(0.3 + 0 * x, torch.tensor(0.4).double(), x).exp(), x[:, 0]).item()
    return abs(total - 1) < 1e-9, f"integral of the density − 1 = {total - 1:.0e}"


GAUSSIAN_LOG_LIKELIHOOD = Exercise(
    equation="log N(x; mean, σ² I) = −½ Σ_i [(x_i − mean_i)²/σ² + log σ² + log 2π] (ELBO-4)",
    reference=gaussian_log_likelihood,
    returns=("log_likelihood",),
    cases=_gaussian_cases,
    properties=(Property("the density integrates to 1", _integrates_to_one),),
    start="Write the log-density of one pixel: three terms in a bracket, and −½ in front.",
    hint="log_variance.exp() is σ². flatten(1).sum(1) sums over the pixels.",
    see="Means 0, σ² = 4, x = (2, 4): −½(1 + 4 + 2 log 4 + 2 log 2π) = −5.724.",
    mistakes=mistakes(
        gaussian_log_likelihood,
        ("the variance is forgotten",
         "this is −½ the squared error, a Gaussian with σ² = 1 and without its constant: against the KL it weighs the "
         "reconstruction as β = σ² would.",
         (" / log_variance.exp()", ""), (" + log_variance + math.log(2 * math.pi)", "")),
        ("variance 1", "log_variance does not appear: this is the log-density for σ² = 1.",
         (" / log_variance.exp()", ""), (" + log_variance", "")),
        ("log σ² is missing",
         "the error is divided by σ², but the −½ log σ² of the normaliser is missing: learned, σ² would grow without "
         "limit.", (" + log_variance", "")),
        ("the constant is missing",
         "−½ log 2π for each pixel is missing. It moves no gradient, but the number is no log-density any more.",
         (" + math.log(2 * math.pi)", "")),
        ("the constant counted once", "log 2π and log σ² stand once for each pixel, not once for the image.",
         ("(squared + log_variance + math.log(2 * math.pi)).flatten(1).sum(1)",
          "(squared.flatten(1).sum(1) + log_variance + math.log(2 * math.pi))")),
        ("sign of log σ²", "log σ² is subtracted inside the bracket: a wider density is lower at its top, not higher.",
         ("+ log_variance", "- log_variance")),
        ("log-variance read as log-standard-deviation",
         "log_variance was treated as log σ: the variance is exp(log_variance), not exp(2 log_variance).",
         ("log_variance.exp()", "(2 * log_variance).exp()"), ("+ log_variance", "+ 2 * log_variance")),
        ("divided by the standard deviation", "the squared error is divided by σ; it is divided by σ².",
         ("log_variance.exp()", "(0.5 * log_variance).exp()")),
        ("divided by log σ²", "log_variance itself stands where the variance exp(log_variance) belongs.",
         (".exp()", "")),
        ("the ½ is missing", "this is twice the log-density.", ("-0.5 * ", "-")),
        ("the loss, not the log-likelihood", "this is −log p(x | z), what training minimises.", ("-0.5", "0.5")),
        ("mean over the pixels",
         "pixels are averaged; independent pixels add up. With a mean, the KL in nats weighs as many times too much as "
         "there are pixels.", (".sum(1)", ".mean(1)")),
        ("sum over everything",
         "the examples were added up as well: the log-likelihood is one number for each example, (B,).",
         (".flatten(1).sum(1)", ".sum()")),
        ("not summed over the pixels",
         "these are the log-densities of the pixels; their sum over all but the batch axis is the image's.",
         (".flatten(1).sum(1)", "")),
    ),
)  # fmt: skip


# ---- effective_beta -------------------------------------------------------------------------------------------------
def effective_beta(loss, B, D, d):
    x, mean = torch.zeros(B, D, dtype=torch.float64), torch.zeros(B, d, dtype=torch.float64)
    pixels = loss(x, x, mean, mean)  # logits 0: log 2 nats for each pixel; the KL is 0
    code = loss(x, x, mean + 1, mean) - pixels  # mean 1, variance 1: half a nat for each coordinate
    return (code / (d / 2)) / (pixels / (D * math.log(2)))


def _beta_cases(generator):
    *large, weight = (numbers(20, 300, 60, 0.1) + numbers(30, 500, 40, 1) * uniform(4, generator=generator)).tolist()
    boxes = (
        (Loss("first", "mean", "sum"), 2, 6, 4),
        (Loss("second", "sum", "sum"), 3, 8, 5),
        (Loss("third", "mean", "mean"), 4, 10, 3),
        (Loss("fourth", "total", "sum"), 5, 7, 4),
        (Loss("fifth", "sum", "mean", 4.0), 6, 9, 5),
        (Loss("sixth", "sum of means", "total", 0.5), 3, 11, 7),
        (Loss("seventh", "total", "total", 4.0), 7, 5, 3),
        (Loss("eighth", "mean", "sum of means", weight), *map(int, large)),
    )  # fmt: skip
    return [Case(f"{box!r}, B = {B}, D = {D}, d = {d}", (box, B, D, d)) for box, B, D, d in boxes]


def _free_of_scale(function):
    loss = Loss("ninth", "mean", "sum", 0.25)
    one, three = (function(lambda *a, k=k: k * loss(*a), 3, 8, 5).item() for k in (1, 3))
    return abs(three / one - 1) < 1e-9, f"β = {one:.6g}, and {three:.6g} for three times the loss"


EFFECTIVE_BETA = Exercise(
    equation="loss = a R + b K, R the reconstruction error and K the KL of an example in nats: β = b/a (VAE-2, M-34)",
    reference=effective_beta,
    returns=("beta",),
    cases=_beta_cases,
    properties=(Property("three times a loss has the same β", _free_of_scale),),
    start="You may call loss with any x, logits, mean and logvar. For which is the KL 0, and what do the pixels cost "
    "then?",
    hint="A pixel with logit 0 costs log 2 nats; a coordinate with mean 1 and log-variance 0 costs half a nat. What "
    "does the loss make of each of these nats?",
    see="For a loss that averages over pixels and sums over codes, with B = 2, D = 6, d = 4: β = 6.",
    mistakes=mistakes(
        effective_beta,
        ("the reciprocal", "this is a/b; β is the weight of the KL divided by that of the reconstruction, b/a.",
         ("(code / (d / 2)) / (pixels / (D * math.log(2)))", "(pixels / (D * math.log(2))) / (code / (d / 2))")),
        ("the parts as they come out",
         "the two parts of the loss were divided as they come out. β compares the weight of one nat with that of "
         "another, so each part is first divided by the nats that were put in.",
         ("(code / (d / 2)) / (pixels / (D * math.log(2)))", "code / pixels")),
        ("log 2 forgotten",
         "too large by the factor 1/log 2: one part is counted in bits, the other in nats. A pixel of logit 0 costs "
         "log 2 = 0.693 nats, which is 1 bit.",
         ("D * math.log(2)", "D")),
        ("½ forgotten",
         "half of the right value: a factor ½ or 2 is lost. A coordinate with mean 1 and variance 1 has a KL of ½ nat; "
         "in general it is ½ (mean² + variance − 1 − log-variance).",
         ("(d / 2)", "d")),
        ("the pixels not counted",
         "too small by the factor D: R is the sum over the D pixels of an example; D of them were counted as one, or "
         "one as D.",
         ("D * math.log(2)", "math.log(2)")),
        ("the coordinates not counted",
         "too large by the factor d: K is the sum over the d coordinates of an example; d of them were counted as one, "
         "or one as d.",
         ("(d / 2)", "0.5")),
        ("β = 1 taken for granted",
         "this is 1 for losses with another β. Find out what a loss does: call it on inputs of your choice.",
         lambda loss, B, D, d: torch.ones((), dtype=torch.float64)),
        ("the pixels left in the code's part",
         "the loss at mean 1 was taken for the KL's part. It holds the pixels' part as well, which has to be taken "
         "off.", (" - pixels", "")),
        ("the KL left in the pixels' part",
         "the loss at mean 1 was taken for the pixels' part. It holds the KL's part as well: put in mean 0 and "
         "log-variance 0, where the KL is 0.", ("(pixels / (D", "((pixels + code) / (D")),
        ("multiplied by B",
         "too large by the factor B: R and K both belong to one example, and B may not count on one side alone. (Has "
         "every example the R that you put in?)",
         ("(D * math.log(2))", "(B * D * math.log(2))")),
        ("divided by B",
         "too small by the factor B: R and K both belong to one example, and B may not count on one side alone. (Has "
         "every example the K that you put in?)",
         ("(d / 2)", "(B * d / 2)")),
        ("log-variance 1 put in beside mean 1",
         "mean 1 and log-variance 1 cost (e − 1)/2 = 0.859 nats a coordinate, not ½; variance 1 is log-variance 0.",
         ("mean + 1, mean)", "mean + 1, mean + 1)")),
        ("variance 1 given as log-variance 1",
         "log-variance 1 was taken for variance 1: then the KL is not 0 at mean 0 but (e − 2)/2 = 0.359 nats for each "
         "coordinate, and counts among the pixels. Variance 1 is log-variance 0.",
         ("loss(x, x, mean, mean)", "loss(x, x, mean, mean + 1)"), ("mean + 1, mean)", "mean + 1, mean + 1)")),
        ("logit 1 counted as log 2",
         "a pixel 0 with logit 1 costs log(1 + e) = 1.313 nats; log 2 belongs to logit 0, which is probability ½.",
         ("loss(x, x, mean, mean)", "loss(x, x + 1, mean, mean)"), ("loss(x, x, mean + 1", "loss(x, x + 1, mean + 1")),
        ("x = 1 with logit 1 counted as log 2",
         "a pixel 1 with logit 1 costs log(1 + 1/e) = 0.313 nats; log 2 belongs to logit 0, which is probability ½.",
         ("loss(x, x, mean, mean)", "loss(x + 1, x + 1, mean, mean)"),
         ("loss(x, x, mean + 1", "loss(x + 1, x + 1, mean + 1")),
        ("D and d exchanged",
         "the pixels' part was divided by the number of coordinates and the code's part by that of pixels; R has D "
         "terms and K has d.", ("(d / 2)", "(D / 2)"), ("(D * math.log(2))", "(d * math.log(2))")),
        ("b alone", "this is b, the weight of the KL; only where the reconstruction has weight 1 is it β.",
         (" / (pixels / (D * math.log(2)))", "")),
        ("a batch of one",
         "this is the β of a batch of one example. A loss that adds up one part over the batch has a β that depends "
         "on B: call it with B examples.",
         ("zeros(B, D", "zeros(1, D"), ("zeros(B, d", "zeros(1, d")),
    ),
)  # fmt: skip

EXERCISES = (
    STANDARD_KL,
    REPARAMETERIZE,
    SCORE_FUNCTION_GRADIENT,
    BERNOULLI_LOG_LIKELIHOOD,
    GAUSSIAN_LOG_LIKELIHOOD,
    EFFECTIVE_BETA,
)
