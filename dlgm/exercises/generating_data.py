"""Exercises of lesson 01: flow density, evidence by sampling, draws that count, an autoencoder's loss, draws needed.

Ledger GEN-4, LVM-1, LVM-2, AE-1.
"""

import math

import torch

from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers


# ---- flow_log_prob --------------------------------------------------------------------------------------------------
def flow_log_prob(x, shift, log_scale):
    z = (x - shift) * torch.exp(-log_scale)
    log_base = -0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
    log_det = -log_scale.sum(1)
    return log_base + log_det


def _flow_cases(generator):
    def case(label, *shape, dtype=torch.float64, copied=0):
        x, shift, log_scale = (normal(*shape, generator=generator, dtype=dtype, scale=s) for s in (1.5, 1.0, 0.7))
        shift[:, :copied], log_scale[:, :copied] = 0, 0
        return Case(label, (x, shift, log_scale))

    return [
        Case(
            "two examples of one coordinate: x = 1, not moved or scaled, and x = 3, shift 1, scale 2 (so z = 1 twice)",
            (numbers([1.0], [3.0]), numbers([0.0], [1.0]), numbers([0.0], [math.log(2)])),
        ),
        case("shape (4, 6), random, three coordinates copied", 4, 6, copied=3),
        case("shape (3, 4), random", 3, 4),
        case("shape (6, 5), random", 6, 5),
        case("shape (4, 3) in float32", 4, 3, dtype=torch.float32),
    ]


def _integrates_to_one(function):
    x = torch.linspace(-30, 30, 6001, dtype=torch.float64)[:, None]
    log_p = function(x, torch.full_like(x, 0.7), torch.full_like(x, 0.9))
    integral = log_p.exp().sum().item() * 0.01
    return abs(integral - 1) < 1e-6, f"the integral over a line is {integral:.6f}"


FLOW_LOG_PROB = Exercise(
    equation="log p(x) = log N(z; 0, I) + log|det ∂z/∂x|, z = (x − shift) exp(−log_scale) (GEN-4)",
    reference=flow_log_prob,
    returns=("log_p",),
    cases=_flow_cases,
    properties=(Property("the density integrates to 1", _integrates_to_one),),
    start="First move x to z. Then: how much does a small interval around x shrink on the way?",
    hint="∂z/∂x is diagonal with entries exp(−log_scale), so log|det| is minus the sum of log_scale over axis 1.",
    see="−1.418939 for x = 1 unmoved; with scale 2 and the same z = 1, lower by log 2: −2.112086.",
    mistakes=mistakes(
        flow_log_prob,
        ("sign of the log-determinant",
         "log_scale is added. ∂z/∂x is exp(−log_scale), so its logarithm is −log_scale: where the map to z squeezes, "
         "the density of x is lower.", ("-log_scale.sum", "log_scale.sum")),
        ("log-determinant forgotten",
         "this is log N(z; 0, I), the density of z at the place where x lands; the change of volume is missing.",
         (" + log_det", "")),
        ("the inverse direction",
         "z was computed as x exp(log_scale) + shift, which is the way from z to x; the density needs the way from x "
         "to z.",
         ("(x - shift) * torch.exp(-log_scale)", "x * torch.exp(log_scale) + shift"),
         ("-log_scale.sum", "log_scale.sum")),
        ("the inverse direction with the other determinant",
         "z was computed as x exp(log_scale) + shift, the way from z to x.",
         ("(x - shift) * torch.exp(-log_scale)", "x * torch.exp(log_scale) + shift")),
        ("order of shift and scale",
         "the shift was subtracted after scaling: z = x exp(−log_scale) − shift; subtract first, then scale.",
         ("(x - shift) * torch.exp(-log_scale)", "x * torch.exp(-log_scale) - shift")),
        ("shift added", "z is (x + shift) exp(−log_scale) here; from x back to z the shift is subtracted.",
         ("x - shift", "x + shift")),
        ("log-determinant averaged",
         "the coordinates' log-scales were averaged; a determinant is a product, so its logarithm is a sum.",
         ("log_scale.sum(1)", "log_scale.mean(1)")),
        ("constant of the base density missing",
         "−½ log 2π of each coordinate is missing: without it the density does not integrate to 1.",
         (" + math.log(2 * math.pi)", "")),
        ("constant of the base density counted once",
         "−½ log 2π was added once; N(z; 0, I) has it once for each coordinate.",
         ("(z**2 + math.log(2 * math.pi)).sum(1)", "((z**2).sum(1) + math.log(2 * math.pi))")),
        ("the ½ is missing", "the exponent of a Gaussian is −z²/2; here it is −z².", ("(z**2", "(2 * z**2")),
        ("log-scale read as log-variance",
         "exp(log_scale / 2) was taken for the scale; log_scale is the logarithm of the scale itself.",
         ("exp(-log_scale)", "exp(-0.5 * log_scale)"), ("-log_scale.sum", "-0.5 * log_scale.sum")),
        ("log-scale for scale", "x − shift was divided by log_scale; the scale is exp(log_scale).",
         ("* torch.exp(-log_scale)", "/ log_scale"), ("-log_scale.sum", "-log_scale.abs().log().sum")),
        ("absolute value of the log-scale",
         "the absolute value belongs around the determinant, not its logarithm: a map may squeeze or stretch.",
         ("-log_scale.sum", "-log_scale.abs().sum")),
        ("not summed",
         "this is one number for each coordinate, (B, d); independent coordinates add up to one for each example.",
         (")).sum(1)", "))"), ("log_scale.sum(1)", "log_scale")),
        ("summed over the batch too",
         "the examples were added up as well; log p(x) is one number for each example, of shape (B,).",
         (")).sum(1)", ")).sum()"), ("log_scale.sum(1)", "log_scale.sum()")),
        ("the density, not its logarithm", "this is p(x); the logarithm is wanted, which does not underflow.",
         ("log_base + log_det", "torch.exp(log_base + log_det)")),
    ),
)  # fmt: skip


# ---- evidence_by_sampling -------------------------------------------------------------------------------------------
def evidence_by_sampling(log_likelihood):
    N = log_likelihood.shape[1]
    return torch.logsumexp(log_likelihood, dim=1) - math.log(N)


def _evidence_cases(generator):
    def case(label, B, N, centre, dtype=torch.float64):
        return Case(label, (centre + normal(B, N, generator=generator, dtype=dtype, scale=2.0),))

    return [
        Case("p(x | z_n) = 0.5 and 0.1", (numbers([0.5, 0.1]).log(),)),
        Case("B = 3, one sample each", (numbers([-3.0], [-5.0], [-4.0]),)),
        case("B = 3, N = 4, random", 3, 4, -2.0),
        case("B = 4, N = 50, random", 4, 50, -5.0),
        case("B = 5, N = 3 near −1000, as pictures have", 5, 3, -1000.0),
        case("B = 3, N = 5, from −9000 to −1000", 3, 5, torch.linspace(-9000, -1000, 15).double().reshape(3, 5)),
        case("B = 4, N = 6 in float32", 4, 6, -3.0, dtype=torch.float32),
    ]


def _constant_likelihood(function):
    value = function(torch.full((1, 7), -4.0, dtype=torch.float64)).item()
    return abs(value + 4) < 1e-12, f"seven times −4 gives {value:.6g}"


EVIDENCE_BY_SAMPLING = Exercise(
    equation="log p̂(x) = log (1/N) Σ_n p(x | z_n), z_n ~ p(z) (LVM-1)",
    reference=evidence_by_sampling,
    returns=("log_p",),
    cases=_evidence_cases,
    properties=(Property("equal likelihoods give that likelihood, whatever N", _constant_likelihood),),
    start="Write it with exp, mean and log first. Then ask what exp(−1000) is.",
    hint="torch.logsumexp(..., dim=1) is the logarithm of a sum of exponentials; an average is a sum divided by N.",
    see="log 0.3 = −1.203973 for likelihoods 0.5 and 0.1; −1000.379885 for −1000 and −1001.",
    mistakes=mistakes(
        evidence_by_sampling,
        ("mean of the logarithms",
         "the logarithms were averaged; the average of p(x | z) is wanted and its logarithm taken last. By Jensen "
         "yours is always the smaller one, by a gap that more samples do not close.",
         ("torch.logsumexp(log_likelihood, dim=1) - math.log(N)", "log_likelihood.mean(1)")),
        ("log N not subtracted", "this is the logarithm of the sum; for the average subtract log N.",
         (" - math.log(N)", "")),
        ("log N added", "log N was added; dividing by N subtracts it.", ("- math", "+ math")),
        ("divided by N after the logarithm",
         "the logarithm of the sum was divided by N; the sum has to be, inside the logarithm.",
         ("- math.log(N)", "/ N")),
        ("exponentials that underflow",
         "right for likelihoods that a float can hold. exp(−1000) is 0, and the logarithm of 0 is −∞: take out the "
         "largest term first, or use logsumexp.",
         ("torch.logsumexp(log_likelihood, dim=1) - math.log(N)", "log_likelihood.exp().mean(1).log()")),
        ("the largest term not added back",
         "the largest log-likelihood was subtracted before exp and never added again.",
         ("torch.logsumexp(log_likelihood, dim=1) - math.log(N)",
          "(log_likelihood - log_likelihood.amax(1, keepdim=True)).exp().mean(1).log()")),
        ("the largest term only",
         "this is the largest log-likelihood, the best explanation found; all samples count, each with 1/N.",
         ("torch.logsumexp(log_likelihood, dim=1) - math.log(N)", "log_likelihood.amax(1)")),
        ("averaged with posterior weights",
         "each log-likelihood was weighted with its softmax. That is an average of log p(x | z) over the posterior, "
         "not the evidence.",
         ("torch.logsumexp(log_likelihood, dim=1) - math.log(N)",
          "(log_likelihood.softmax(1) * log_likelihood).sum(1)")),
        ("summed over the wrong axis", "the average runs over the batch, axis 0; samples lie along axis 1.",
         ("shape[1]", "shape[0]"), ("dim=1", "dim=0")),
        ("one number for the whole batch",
         "all entries were averaged together; each example has an evidence of its own.",
         ("log_likelihood.shape[1]", "log_likelihood.numel()"), ("dim=1", "dim=(0, 1)")),
        ("batch size for N",
         "the logarithm of the batch size was subtracted; N is the number of samples, the length of axis 1.",
         ("shape[1]", "shape[0]")),
        ("the average, not its logarithm",
         "this is p̂(x) itself, which is 0 in floating point for any real picture; return its logarithm.",
         ("torch.logsumexp(log_likelihood, dim=1) - math.log(N)",
          "torch.exp(torch.logsumexp(log_likelihood, dim=1) - math.log(N))")),
    ),
)  # fmt: skip


# ---- effective_sample_size ------------------------------------------------------------------------------------------
def effective_sample_size(log_w):
    share = torch.softmax(log_w, dim=1)
    return 1 / (share**2).sum(1)


def _ess_cases(generator):
    def case(label, B, N, centre, dtype=torch.float64):
        return Case(label, (centre + normal(B, N, generator=generator, dtype=dtype),))

    return [
        Case("two examples: weights (1, 1) and (3, 1)", (numbers([1.0, 1.0], [3.0, 1.0]).log(),)),
        case("B = 3, N = 5, random", 3, 5, 0.0),
        case("B = 4, N = 40, random", 4, 40, -3.0),
        case("B = 5, N = 3 near −1000", 5, 3, -1000.0),
        case("B = 3, N = 4, from −4000 to 2600", 3, 4, torch.linspace(-4000, 2600, 12).double().reshape(3, 4)),
        case("B = 4, N = 6 in float32", 4, 6, 0.0, dtype=torch.float32),
    ]


def _scale_free(function):
    log_w = numbers([0.3, -1.0, 0.9, 0.1])
    values = [function(log_w + c).item() for c in (0.0, 500.0)]
    return abs(values[0] - values[1]) < 1e-9, f"ESS {values[0]:.6f}, and {values[1]:.6f} with all weights times e^500"


EFFECTIVE_SAMPLE_SIZE = Exercise(
    equation="ESS = (Σ_n w_n)² / Σ_n w_n² (LVM-1)",
    reference=effective_sample_size,
    returns=("ess",),
    cases=_ess_cases,
    properties=(Property("only ratios of weights matter", _scale_free),),
    start="What should it be if all N weights are equal? If one of them is everything?",
    hint="Divide the weights by their sum first: softmax does. Then Σw is 1.",
    see="2 for weights 1 and 1; 16/10 = 1.6 for weights 3 and 1.",
    mistakes=mistakes(
        effective_sample_size,
        ("upside down", "this is Σw² / (Σw)², one divided by the effective sample size.", ("1 / ", "")),
        ("divided by N", "this is ESS / N, the share of the samples that counts; the number itself is wanted.",
         (".sum(1)", ".sum(1) / log_w.shape[1]")),
        ("log-weights for weights",
         "the log-weights were squared and summed; take their exponentials, or softmax, first.",
         ("1 / (share**2).sum(1)", "log_w.sum(1) ** 2 / (log_w**2).sum(1)")),
        ("exponentials that underflow",
         "right while exp(log_w) can be held. At −1000 both sums are 0 and the ratio is NaN: softmax first, since a "
         "common factor of the weights cancels.",
         ("1 / (share**2).sum(1)", "log_w.exp().sum(1) ** 2 / (log_w.exp() ** 2).sum(1)")),
        ("the sum not squared", "Σw / Σw² depends on the scale of the weights; the sum above is squared.",
         ("1 / (share**2).sum(1)", "log_w.exp().sum(1) / (log_w.exp() ** 2).sum(1)")),
        ("a factor 2 lost in logarithms", "the logarithm of (Σw)² is twice the log-sum-exp; the 2 is missing in front.",
         ("1 / (share**2).sum(1)", "torch.exp(log_w.logsumexp(1) - (2 * log_w).logsumexp(1))")),
        ("the logarithm returned", "this is log ESS; two equal weights are worth two samples.",
         ("1 / (share**2).sum(1)", "torch.log(1 / (share**2).sum(1))")),
        ("one over the largest share",
         "this is 1 / max share, another measure of the same thing and never above ESS; all squares count here.",
         ("(share**2).sum(1)", "share.amax(1)")),
        ("exponential of the entropy", "this is the perplexity exp(−Σ share log share), which never lies below ESS.",
         ("1 / (share**2).sum(1)", "torch.exp(-(share * log_w.log_softmax(1)).sum(1))")),
        ("over the wrong axis", "the sums run over the batch, axis 0; samples lie along axis 1.",
         ("dim=1", "dim=0"), (".sum(1)", ".sum(0)")),
        ("one number for the whole batch", "the examples were averaged; each one has weights, and an ESS, of its own.",
         ("1 / (share**2).sum(1)", "(1 / (share**2).sum(1)).mean()")),
    ),
)  # fmt: skip


# ---- reconstruction_error -------------------------------------------------------------------------------------------
def reconstruction_error(x, x_hat):
    P = x[0].numel()
    squared = (x - x_hat).square().flatten(1).sum(1)
    return (squared / P).mean()


def _error_cases(generator):
    def case(label, *shape, dtype=torch.float64):
        return Case(label, tuple(normal(*shape, generator=generator, dtype=dtype) for _ in range(2)))

    return [
        Case("one example, x = (1, 2), x̂ = (1, 5)", (numbers([1.0, 2.0]), numbers([1.0, 5.0]))),
        case("shape (3, 5), random", 3, 5),
        case("shape (6, 4), random", 6, 4),
        case("images of shape (4, 3, 5, 6)", 4, 3, 5, 6),
        case("images of shape (5, 4, 3, 7)", 5, 4, 3, 7),
        case("shape (4, 3) in float32", 4, 3, dtype=torch.float32),
    ]


def _unit_noise(function):
    generator = torch.Generator().manual_seed(3)
    x = torch.zeros(200, 1, 10, 10, dtype=torch.float64)
    z = (function(x, normal(*x.shape, generator=generator)).item() - 1) / math.sqrt(2 / x.numel())
    return abs(z) < 5, f"z = {z:.1f}; beyond 5 by chance once in two million"


RECONSTRUCTION_ERROR = Exercise(
    equation="J = (1/N) Σ_i (1/P) ‖x_i − x̂_i‖² (AE-1)",
    reference=reconstruction_error,
    returns=("J",),
    cases=_error_cases,
    properties=(Property("noise of variance 1 in each entry gives J = 1", _unit_noise),),
    start="One example first: squared differences, averaged over its P entries.",
    hint="flatten(1) keeps the batch axis and lines all entries up, whatever the shape of an example.",
    see="(0 + 9)/2 = 4.5 for (1, 2) against (1, 5).",
    mistakes=mistakes(
        reconstruction_error,
        ("summed over the entries",
         "the 1/P is missing: this is the squared distance of whole examples, which grows with their size.",
         ("squared / P", "squared")),
        ("summed over the batch",
         "the 1/N is missing: the examples are averaged, so that J does not grow with the batch.",
         (".mean()", ".sum()")),
        ("summed over everything", "both 1/N and 1/P are missing.", ("(squared / P).mean()", "squared.sum()")),
        ("one number for each example", "the mean over the batch is missing: J is a single number.", (".mean()", "")),
        ("one number for each example, summed",
         "these are the squared distances ‖x_i − x̂_i‖² themselves: divide by P and average.",
         ("(squared / P).mean()", "squared")),
        ("not averaged at all", "these are the squared differences of single entries.",
         ("(squared / P).mean()", "(x - x_hat).square()")),
        ("root taken", "this is √J; its gradient is that of J divided by 2√J, and it is no log-likelihood.",
         (".mean()", ".mean().sqrt()")),
        ("distance for squared distance",
         "‖x_i − x̂_i‖ was not squared: this weighs badly reconstructed examples less.",
         ("squared / P", "squared.sqrt() / P")),
        ("absolute error",
         "the absolute differences were averaged, the error of a Laplace likelihood; here they are squared.",
         (".square()", ".abs()")),
        ("difference not squared", "the differences themselves were averaged, so that errors of opposite sign cancel.",
         (".square()", "")),
        ("a ½ too many", "this is J/2; the formula has no ½.", ("return", "return 0.5 *")),
        ("the last axis taken for P",
         "P counts all entries of an example, C·H·W for an image; here only the last axis was counted.",
         ("x[0].numel()", "x.shape[-1]")),
        ("batch size and entries swapped",
         "P counts the entries of one example, not the examples: the sum over entries was divided by N, twice.",
         ("x[0].numel()", "len(x)")),
    ),
)  # fmt: skip


# ---- draws_needed ---------------------------------------------------------------------------------------------------
def draws_needed(log_w, error):
    log_ratio = torch.logsumexp(2 * log_w, 1) - 2 * torch.logsumexp(log_w, 1)  # log Σw²/(Σw)², that is log 1/ESS
    return (log_w.shape[1] * log_ratio.exp() - 1) / error**2


def _needed_cases(generator):
    def case(label, B, N, centre, error, dtype=torch.float64, scale=1.0):
        log_w = centre + normal(B, N, generator=generator, dtype=dtype, scale=scale)
        return Case(f"B = {B}, N = {N}{label}, error {error}", (log_w, error))

    apart = torch.linspace(-4000, 2600, 12).double().reshape(3, 4)
    equal = numbers([-2.0, -2.0, -2.0, -2.0], [0.0, 0.0, 0.0, 0.0], [-7.0, -7.0, -7.0, -7.0])
    return [
        Case("a pilot of weights 1 and 3, error 0.1", (numbers([1.0, 3.0]).log(), 0.1)),
        case("", 3, 5, 0.0, 0.05),
        case("", 4, 40, -3.0, 0.01),
        case(" near −1000, as pictures have", 5, 3, -1000.0, 0.1),
        Case("B = 3, N = 4, from −4000 to 2600, error 0.3", (apart, 0.3)),
        Case("B = 3, N = 4, equal weights, error 0.2", (equal, 0.2)),
        case(" in float32", 4, 6, 0.0, 0.2, torch.float32, 2.0),
    ]


def _as_many_as_it_takes(function):
    """With weights 1 and 3 and error 1/4 four draws do: the spread of their mean over all 16 outcomes is 1/4 of it."""
    weights, error = numbers(1.0, 3.0), 0.25
    asked = function(weights.log()[None], error).item()
    n = round(asked)
    if abs(asked - n) > 1e-9 or not 2 <= n <= 12:
        return False, f"{asked:.6g} draws asked for"
    means = torch.cartesian_prod(*[weights] * n).mean(1)
    seen = (means.std(correction=0) / means.mean()).item()
    return abs(seen - error) < 1e-12, f"{n} draws of the weights 1 and 3: {seen:.6g}, wanted {error}"


DRAWS_NEEDED = Exercise(
    equation="n such that std(log p̂) ≈ std(p̂)/p = error; E[w] and E[w²] are means over the pilot (LVM-1)",
    reference=draws_needed,
    returns=("n",),
    cases=_needed_cases,
    properties=(Property("the mean of n draws has that relative error", _as_many_as_it_takes),),
    start="The variance of one weight is known from the pilot. What is that of a mean of n weights, relative to E[w]²?",
    hint="log p̂ − log p ≈ (p̂ − p)/p. Only the ratio of E[w²] to E[w]² is needed, and logsumexp gives its logarithm.",
    see="25 for the weights 1 and 3 and error 0.1. With equal weights it is 0: every draw says the same. Half the "
    "error takes four times the draws.",
    mistakes=mistakes(
        draws_needed,
        ("the −1 missing",
         "this is E[w²]/E[w]² over error²; a variance is E[w²] − E[w]², so 1 is subtracted from the ratio. With equal "
         "weights the answer is 0.",
         (" - 1)", ")")),
        ("error not squared",
         "the relative variance was divided by error; error is a standard deviation, and its square is the variance.",
         ("error**2", "error")),
        ("multiplied by error²", "error² is a factor; it divides, for a smaller error takes more draws.",
         ("/ error", "* error")),
        ("the bias instead",
         "the relative variance was divided by 2·error. That makes the bias of log p̂, half the relative variance of p̂, "
         "as small as error; the standard error is its root: divide by error².",
         ("/ error**2", "/ (2 * error)")),
        ("upside down",
         "this has ESS/N for N/ESS, so that it is never positive; E[w²]/E[w]² is N/ESS and at least 1.",
         ("log_w.shape[1] * log_ratio.exp() - 1", "torch.exp(-log_ratio) / log_w.shape[1] - 1")),
        ("N forgotten",
         "this has Σw²/(Σw)², never above 1, for the ratio of means E[w²]/E[w]²; a factor N is missing.",
         ("log_w.shape[1] * log_ratio.exp()", "log_ratio.exp()")),
        ("N twice", "this has N² Σw²/(Σw)² for the ratio of means E[w²]/E[w]²; a single N is left there.",
         ("log_w.shape[1] *", "log_w.shape[1] ** 2 *")),
        ("divided by N − 1",
         "the variance has the divisor N − 1 (torch's default). Here E[w] and E[w²] are means over the pilot, with the "
         "divisor N.",
         ("return (log_w", "return log_w.shape[1] / (log_w.shape[1] - 1) * (log_w")),
        ("the root of the relative variance",
         "the relative standard deviation of one weight was divided by error²; variances shrink as 1/n, so its square "
         "belongs there.",
         ("(log_w.shape[1] * log_ratio.exp() - 1)", "(log_w.shape[1] * log_ratio.exp() - 1).clamp(min=0).sqrt()")),
        ("the variance of the logarithms",
         "the variance of log w was taken. p̂ averages the weights themselves, so it is their variance that counts, "
         "relative to E[w]².",
         ("(log_w.shape[1] * log_ratio.exp() - 1)", "log_w.var(1, correction=0)")),
        ("the variance of the logarithms, divisor N − 1",
         "the variance of log w was taken. p̂ averages the weights themselves, so it is their variance that counts, "
         "relative to E[w]².",
         ("(log_w.shape[1] * log_ratio.exp() - 1)", "log_w.var(1, correction=1)")),
        ("not relative",
         "the variance of the weights was not divided by E[w]²; log p̂ errs by the error of p̂ relative to p.",
         ("(log_w.shape[1] * log_ratio.exp() - 1)", "log_w.exp().var(1, correction=0)")),
        ("not relative, divisor N − 1",
         "the variance of the weights was not divided by E[w]²; log p̂ errs by the error of p̂ relative to p.",
         ("(log_w.shape[1] * log_ratio.exp() - 1)", "log_w.exp().var(1, correction=1)")),
        ("E[w] not squared",
         "the variance of the weights was divided by E[w]; a relative variance is divided by its square.",
         ("(log_w.shape[1] * log_ratio.exp() - 1)", "log_w.exp().var(1, correction=0) / log_w.exp().mean(1)")),
        ("the root of everything",
         "this is the root of the right number: the relative standard deviation of one weight over error.",
         ("return (log_w.shape[1] * log_ratio.exp() - 1) / error**2",
          "return (log_w.shape[1] * log_ratio.exp() - 1).clamp(min=0).sqrt() / error")),
        ("times the pilot's size", "the right number was multiplied by N, the size of the pilot.",
         ("/ error**2", "/ error**2 * log_w.shape[1]")),
        ("over the pilot's size", "the right number was divided by N, the size of the pilot.",
         ("/ error**2", "/ error**2 / log_w.shape[1]")),
        ("log-weights for weights", "the log-weights were squared and summed in the place of the weights.",
         ("(log_w.shape[1] * log_ratio.exp() - 1)", "(log_w.shape[1] * (log_w**2).sum(1) / log_w.sum(1) ** 2 - 1)")),
        ("the largest share",
         "this has the largest share max w/Σw in the place of Σw²/(Σw)²; all squares count.",
         ("torch.logsumexp(2 * log_w, 1) - 2 * torch.logsumexp(log_w, 1)",
          "log_w.amax(1) - torch.logsumexp(log_w, 1)")),
        ("the pilot's draws subtracted",
         "N was subtracted, as if the pilot's draws were used again; asked is how many draws it takes in all.",
         ("/ error**2", "/ error**2 - log_w.shape[1]")),
        ("rounded up", "the number was rounded up to a whole one; return it as it is.",
         ("(log_w.shape[1] * log_ratio.exp() - 1) / error**2",
          "torch.ceil((log_w.shape[1] * log_ratio.exp() - 1) / error**2)")),
        ("exponentials that underflow",
         "right while exp(log_w) can be held. At −1000 both sums are 0 and the ratio is NaN; a common factor of the "
         "weights cancels, so take it out first.",
         ("log_w.shape[1] * log_ratio.exp()",
          "log_w.shape[1] * (log_w.exp() ** 2).sum(1) / log_w.exp().sum(1) ** 2")),
        ("one largest for the whole batch",
         "the largest log-weight of the batch was taken out of every example: where all weights are much smaller, they "
         "become 0 and the ratio NaN. Each example needs its own.",
         ("log_w.shape[1] * log_ratio.exp()",
          "log_w.shape[1] * (2 * (log_w - log_w.max())).exp().sum(1) / (log_w - log_w.max()).exp().sum(1) ** 2")),
        ("summed over the batch", "the examples were added up; each has a number of draws of its own, shape (B,).",
         ("/ error**2", "/ error**2).sum()"), ("return (", "return ((")),
    ),
)  # fmt: skip

EXERCISES = (FLOW_LOG_PROB, EVIDENCE_BY_SAMPLING, EFFECTIVE_SAMPLE_SIZE, RECONSTRUCTION_ERROR, DRAWS_NEEDED)
