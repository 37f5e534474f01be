"""Exercises of lesson 12: the score of a mixture, three losses that learn a score, one Langevin move and many, and
the variance that many end with.

Ledger SCORE-3, SCORE-4, SCORE-6, SCORE-7, M-10, M-11; erratum E-13.
"""

import math
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, T4, Line, alpha_bar_of, normal, numbers, random_betas, steps_of, uniform


# ---- mixture_score --------------------------------------------------------------------------------------------------
def mixture_score(x, weights, means, variances):
    to_mean, D = means - x[:, None], x.shape[1]
    log_joint = weights.log() - 0.5 * D * variances.log() - 0.5 * to_mean.square().sum(2) / variances
    posterior = log_joint.softmax(1)[:, :, None]
    return (posterior * to_mean / variances[:, None]).sum(1)


def _mixture_cases(generator):
    def case(label, B, K, D, reach=1.5, variance=1.0, dtype=torch.float64):
        w = 0.1 + uniform(K, generator=generator)
        v = variance * (0.3 + uniform(K, generator=generator))
        x, means = (normal(n, D, generator=generator, scale=s) for n, s in ((B, reach), (K, 1.0)))
        return Case(label, tuple(a.to(dtype) for a in (x, w / w.sum(), means, v)))

    pair = numbers(0.6, 0.4), numbers([0.0], [2.0]), numbers(1.0, 1.0)
    near = numbers(0.3, 0.7), numbers([0.8], [-0.8]), numbers(0.36, 0.36)
    return [
        Case("x = 0, two parts of variance 1", (numbers([0.0]), *pair)),
        Case("x = 1.1, parts at 0.8 and −0.8 of variance 0.36", (numbers([1.1]), *near)),
        case("4 points of the line, 3 parts", 4, 3, 1),
        case("5 points of 4 numbers, 3 parts of unequal variance", 5, 3, 4),
        case("3 points of 5 numbers, 4 parts", 3, 4, 5),
        case("5 points of 3 numbers, far from all 4 modes", 5, 4, 3, reach=60.0),
        case("4 points of 200 numbers, 3 parts of small variance", 4, 3, 200, variance=0.05),
        case("3 points of 4 numbers, 5 parts, in float32", 3, 5, 4, dtype=torch.float32),
    ]


def _climbs_log_density(function):
    g = torch.Generator().manual_seed(3)
    weights, means, variances = numbers(0.5, 0.3, 0.2), normal(3, 3, generator=g), numbers(0.4, 1.0, 2.0)

    def log_density(x):
        parts = [torch.distributions.Normal(m, v.sqrt()) for m, v in zip(means, variances, strict=True)]
        return torch.stack([p.log_prob(x).sum(1) for p in parts], 1).add(weights.log()).logsumexp(1)

    x, h = normal(4, 3, generator=g), 1e-5
    shifts = h * torch.eye(3, dtype=torch.float64)
    slopes = torch.stack([(log_density(x + s) - log_density(x - s)) / (2 * h) for s in shifts], 1)
    gap = (function(x, weights, means, variances) - slopes).abs().max().item()
    return gap < 1e-7, f"largest gap to differences of log p {gap:.0e}"


def _is_the_expected_noise(function):
    """−E[ε | x_t]/√(1−ᾱ_t), the data being two points of the line: SCORE-6 at x = 1.1, α = 0.8, σ = 0.6."""
    x, points, weights = 1.1, numbers(1.0, -1.0), numbers(0.3, 0.7)
    eps = (x - 0.8 * points) / 0.6
    posterior = weights * (-0.5 * eps.square()).exp()
    want = -(posterior @ eps / posterior.sum()).item() / 0.6
    got = function(numbers([x]), weights, 0.8 * points[:, None], numbers(0.36, 0.36)).item()
    return abs(got - want) < 1e-12, f"{got:.4f}; −E[ε | x_t]/√(1−ᾱ_t) = {want:.4f}"


class _Operations(TorchDispatchMode):
    """Counts the torch operations of what runs inside; a batch is one operation, under torch.func.vmap too."""

    count = 0

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # otherwise torch loads its compiler for this, in 2 s

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def _takes_all_points_at_once(function):
    """30 and 60 points: torch.cdist, which is no loop, takes a few more operations beyond 25 of them."""
    g, counts = torch.Generator().manual_seed(7), []
    parts = numbers(0.5, 0.3, 0.2), normal(3, 4, generator=g), numbers(0.4, 1.0, 2.0)
    for points in (30, 60):
        x = normal(points, 4, generator=g)
        with _Operations() as operations:
            function(x, *parts)
        counts.append(operations.count)
    few, many = counts
    saw = f"{few} operations for 30 points, {many} for 60"
    if many > few:
        saw += f", {(many - few) / 30:.3g} more for each point: a loop. x[:, None] or torch.func.vmap takes all at once"
    return many <= few, saw


MIXTURE_SCORE = Exercise(
    equation="∇ log p(x) = Σ_k P(k | x) (μ_k − x)/v_k, P(k | x) ∝ w_k N(x; μ_k, v_k I) (SCORE-6)",
    reference=mixture_score,
    returns=("score",),
    cases=_mixture_cases,
    properties=(
        Property("it is the slope of log p", _climbs_log_density),
        Property("for noised data points it is −E[ε | x_t]/√(1−ᾱ_t)", _is_the_expected_noise),
        Property("more points do not take more torch operations: no loop over the points", _takes_all_points_at_once),
    ),
    mistakes=mistakes(
        mixture_score,
        ("sign", "this is −∇ log p: the score points uphill, from x to the means, μ_k − x.", ("return (", "return -(")),
        ("σ for σ²",
         "the way to each mean is divided by √v_k; in the score of a Gaussian it is divided by the variance v_k.",
         ("to_mean / variances[:, None]", "to_mean / variances[:, None].sqrt()")),
        ("roots of the variances", "√v_k stands wherever the formula has v_k: variances holds variances already.",
         lambda x, w, m, v: mixture_score(x, w, m, v.sqrt())),
        ("variances squared",
         "v_k² stands wherever the formula has v_k: variances holds variances, not standard deviations.",
         lambda x, w, m, v: mixture_score(x, w, m, v.square())),
        ("not divided by the variances",
         "this is E[μ | x] − x; each part's way to its mean is divided by its variance v_k.",
         ("to_mean / variances[:, None]", "to_mean")),
        ("prior average (E-13)",
         "the scores of the parts are averaged with w_k, the prior; the weights are P(k | x), the posterior: a part "
         "that is far away has no say at x.",
         ("log_joint.softmax(1)[:, :, None]", "weights[:, None]")),
        ("the slope of p, without the logarithm (E-13)",
         "this is ∇p(x), the prior average of the slopes of the densities, as deck 002 prints it. ∇ log p is ∇p "
         "divided by p.",
         ("log_joint.softmax(1)", "(log_joint.exp() / (2 * torch.pi) ** (D / 2))")),
        ("plain mean of the parts", "every part counts the same, 1/K; the weights are the responsibilities P(k | x).",
         ("log_joint.softmax(1)[:, :, None]", "1 / len(weights)")),
        ("w_k missing in the responsibilities",
         "P(k | x) was made of the densities of the parts alone; a heavy part counts in proportion to w_k.",
         ("weights.log() - 0.5 * D", "-0.5 * D")),
        ("w_k after the softmax",
         "the softmax of the log-densities was multiplied by w_k, and the products do not sum to 1. Add log w_k before "
         "the softmax.",
         ("weights.log() - 0.5 * D", "-0.5 * D"), ("log_joint.softmax(1)", "(weights * log_joint.softmax(1))")),
        ("w_k for log w_k",
         "w_k itself is added to the log-densities, so that a part counts in proportion to e^(w_k); add log w_k.",
         ("weights.log()", "weights")),
        ("the densities not normalised",
         "the factor v_k^(−D/2) of the Gaussians is missing. It cancels for equal variances only; otherwise the wide "
         "parts get too much.",
         (" - 0.5 * D * variances.log()", "")),
        ("normalised for one dimension", "the Gaussians have the factor v_k^(−1/2); in D dimensions it is v_k^(−D/2).",
         ("0.5 * D * variances", "0.5 * variances")),
        ("½ missing in the exponent", "the Gaussians have e^(−‖x−μ_k‖²/v_k); the exponent is −‖x−μ_k‖²/(2 v_k).",
         ("0.5 * to_mean.square()", "to_mean.square()")),
        ("underflow far from the modes",
         "all densities are 0 there in floating point, and 0/0 is nan. Keep their logarithms and use softmax or "
         "logsumexp.",
         ("log_joint.softmax(1)", "(log_joint.exp() / log_joint.exp().sum(1, keepdim=True))")),
        ("a small number added to p",
         "the small number keeps nan away and pulls the score to 0 wherever p is smaller than it; far from the modes "
         "the score is large. Keep the logarithms and use softmax or logsumexp.",
         ("posterior = ", "p = log_joint.exp() / (2 * torch.pi) ** (D / 2)\n    posterior = "),
         ("log_joint.softmax(1)", "(p / (p.sum(1, keepdim=True) + 1e-12))")),
        ("the most probable part alone", "only the part with the largest P(k | x) counts; between the modes all do.",
         ("log_joint.softmax(1)[:, :, None]", "torch.eye(len(weights), dtype=x.dtype)[log_joint.argmax(1), :, None]")),
        ("responsibilities for each coordinate",
         "P(k | x) was computed for each coordinate on its own; a point belongs to a part as a whole: sum the squares "
         "over the coordinates first.",
         ("weights.log() - 0.5 * D * variances.log()", "(weights.log() - 0.5 * variances.log())[:, None]"),
         (".sum(2) / variances", " / variances[:, None]"),
         ("log_joint.softmax(1)[:, :, None]", "log_joint.softmax(1)")),
        ("softmax over the batch", "the softmax runs over the points; over the parts of each point it has to sum to 1.",
         ("softmax(1)", "softmax(0)")),
        ("mean of the means over mean of the variances",
         "E[μ | x] − x is divided by E[v | x]: right for equal variances only. Average the scores of the parts.",
         ("to_mean / variances[:, None]).sum(1)", "to_mean).sum(1) / (posterior * variances[:, None]).sum(1)")),
    ),
    start="Each part has the score (μ_k − x)/v_k. Average them with P(k | x), by Bayes' rule ∝ w_k N(x; μ_k, v_k I).",
    hint="means - x[:, None] has shape (B, K, D). Put log w_k and the log-densities into softmax(1); constants cancel.",
    see="x = 0, weights 0.6 and 0.4, means 0 and 2, variances 1: P(2 | x) = 0.0828, and the score is 0.1655.",
)  # fmt: skip


# ---- implicit_loss --------------------------------------------------------------------------------------------------
def implicit_loss(s, jacobian):
    divergence = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    return 0.5 * s.square().sum(1) + divergence


J_3 = numbers([[-1.0, 1.0, 0.0], [2.0, -3.0, 1.0], [0.0, 4.0, -2.0]])  # of one point: (1, 3, 3)


def _implicit_cases(generator):
    def case(label, B, D, dtype=torch.float64):
        s = normal(B, D, generator=generator, dtype=dtype)
        return Case(label, (s, normal(B, D, D, generator=generator, dtype=dtype)))

    return [
        Case("s = 3, slope −2", (numbers([3.0]), numbers([[-2.0]]))),
        Case("one point, s = (1, 2, 4), trace of J −6", (numbers([1.0, 2.0, 4.0]), J_3)),
        case("3 points of 3 numbers", 3, 3),
        case("5 points of 3 numbers", 5, 3),
        case("6 points of 4 numbers", 6, 4),
        case("5 points of 4 numbers in float32", 5, 4, dtype=torch.float32),
    ]


def _finds_the_score(function):
    """For s = −a x and the two data points ±√v, D times over, the mean loss is D (a² v/2 − a), least at a = 1/v."""
    v, x = 0.5, numbers([1.0, 1.0], [-1.0, -1.0]) * 0.5**0.5

    def mean_loss(a):
        return function(-a * x, -a * torch.eye(2, dtype=torch.float64).expand(2, 2, 2)).mean().item()

    least, below, above = (mean_loss(a / v) for a in (1.0, 0.9, 1.1))
    gap = abs(least + 0.5 * 2 / v)
    return gap < 1e-12 and least < min(below, above), f"{least:.4g} at a = 1/v, {below:.4g} and {above:.4g} beside it"


IMPLICIT_LOSS = Exercise(
    equation="½ ‖s‖² + Σ_i ∂s_i/∂x_i for each example (M-10; Hyvärinen 2005)",
    reference=implicit_loss,
    returns=("loss",),
    cases=_implicit_cases,
    properties=(Property("for data of variance v and s = −a x the mean loss is least at a = 1/v", _finds_the_score),),
    mistakes=mistakes(
        implicit_loss,
        ("minus the divergence", "the divergence is subtracted. Integrating −sᵀ∇p by parts turns its sign: + div s.",
         ("+ divergence", "- divergence")),
        ("sign of the loss", "both signs are turned; a loss is made small, and this would be made large.",
         lambda s, J: -implicit_loss(s, J)),
        ("½ missing", "this is ‖s‖² + div s; from the square ½ ‖s − ∇ log p‖² comes ½ ‖s‖².", ("0.5 * ", "")),
        ("½ on both terms", "the divergence is halved; it comes from the cross term 2 · ½, and has no ½.",
         ("+ divergence", "+ 0.5 * divergence")),
        ("norm not squared", "this has ½ ‖s‖; the loss has ½ ‖s‖², the sum of the squares.",
         ("s.square().sum(1)", "s.norm(dim=1)")),
        ("one coordinate of the divergence",
         "only ∂s_1/∂x_1 is there; the divergence adds up ∂s_i/∂x_i over all coordinates.",
         ("jacobian.diagonal(dim1=1, dim2=2).sum(1)", "jacobian[:, 0, 0]")),
        ("all entries of the Jacobian",
         "all ∂s_i/∂x_j are added up; the divergence has i = j only. The gradient of s.sum() adds them up so.",
         ("jacobian.diagonal(dim1=1, dim2=2).sum(1)", "jacobian.sum((1, 2))")),
        ("mean of the diagonal", "the diagonal is averaged over D and ‖s‖² is not; the divergence is its sum.",
         ("dim2=2).sum(1)", "dim2=2).mean(1)")),
        ("mean over D", "both terms are divided by D; the loss is their sum over the coordinates.",
         lambda s, J: implicit_loss(s, J) / s.shape[1]),
        ("the diagonal of the wrong axes",
         "diagonal() takes the first two axes, and the first is the batch: diagonal(dim1=1, dim2=2).",
         ("dim1=1, dim2=2", "")),
        ("without the divergence",
         "½ ‖s‖² alone is least at s = 0, whatever the data; the divergence keeps s away from 0.",
         (" + divergence", "")),
        ("mean over the batch", "one number came out; keep one for each example.",
         lambda s, J: implicit_loss(s, J).mean()),
    ),
    start="Two terms: the squared length of s, halved, and the sum of ∂s_i/∂x_i.",
    hint="jacobian.diagonal(dim1=1, dim2=2) has shape (B, D). torch.trace takes one matrix, not a batch.",
    see="For s = 3 with slope −2: ½ · 9 − 2 = 2.5.",
)  # fmt: skip


# ---- sliced_loss ----------------------------------------------------------------------------------------------------
def sliced_loss(s, jacobian, v):
    curvature = (v @ jacobian * v).sum(2)
    along = (v * s[:, None]).sum(2)
    return (curvature + 0.5 * along.square()).mean(1)


def _sliced_cases(generator):
    def case(label, B, M, D, dtype=torch.float64):
        shapes = (B, D), (B, D, D), (B, M, D)
        return Case(label, tuple(normal(*shape, generator=generator, dtype=dtype) for shape in shapes))

    return [
        Case("s = 3, slope −2, v = 2", (numbers([3.0]), numbers([[-2.0]]), numbers([[2.0]]))),
        Case("one point, s = (1, 2, 4), v = (1, −1, 2)", (numbers([1.0, 2.0, 4.0]), J_3, numbers([[1.0, -1.0, 2.0]]))),
        case("4 points of 5 numbers, 3 directions", 4, 3, 5),
        case("3 points of 4 numbers, 5 directions", 3, 5, 4),
        case("5 points of 3 numbers, 4 directions", 5, 4, 3),
        case("3 points of 5 numbers, 4 directions, in float32", 3, 4, 5, dtype=torch.float32),
    ]


def _axes_give_implicit(function):
    """With D directions at right angles, each of length √D, the mean of vvᵀ is the unit matrix, without an error."""
    g = torch.Generator().manual_seed(4)
    s, J = normal(3, 4, generator=g), normal(3, 4, 4, generator=g)
    v = 2 * torch.linalg.qr(normal(3, 4, 4, generator=g)).Q
    gap = (function(s, J, v) - implicit_loss(s, J)).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


SLICED_LOSS = Exercise(
    equation="mean over the directions v of vᵀ J v + ½ (vᵀs)², J_ij = ∂s_i/∂x_j (M-10; Song et al. 2019)",
    reference=sliced_loss,
    returns=("loss",),
    cases=_sliced_cases,
    properties=(
        Property("with D directions at right angles, of length √D, it is the implicit loss", _axes_give_implicit),
    ),
    mistakes=mistakes(
        sliced_loss,
        ("vᵀs not squared", "½ vᵀs stands where the loss has ½ (vᵀs)²; it is odd in v, and its mean over v is 0.",
         ("along.square()", "along")),
        ("½ missing", "(vᵀs)² has the factor ½, as ‖s‖² has in the implicit loss.", ("0.5 * ", "")),
        ("½ on both terms", "vᵀJv is halved too; its mean over v is the divergence, which has no ½.",
         ("(curvature + ", "(0.5 * curvature + ")),
        ("minus vᵀJv", "vᵀJv is subtracted; integrating by parts turned its sign to +.",
         ("(curvature + ", "(-curvature + ")),
        ("½ ‖s‖² for ½ (vᵀs)²",
         "this is the reduced form, in which the mean of (vᵀs)² over v is taken exactly. It has the same mean and "
         "less noise; this exercise asks for the form with (vᵀs)².",
         ("along.square()", "s.square().sum(1, keepdim=True)")),
        ("directions of length 1",
         "v was divided by its length. Then E vvᵀ = I/D, and the mean is that of tr J + ½ ‖s‖² over D.",
         lambda s, J, v: sliced_loss(s, J, v / v.norm(dim=2, keepdim=True))),
        ("one set of directions for the whole batch",
         "the directions of the first example were used for all. The mean stays right, but the errors of the examples "
         "no longer cancel.",
         lambda s, J, v: sliced_loss(s, J, v[:1].expand_as(v))),
        ("first direction only", "only v[:, 0] was used; average over the M directions.",
         lambda s, J, v: sliced_loss(s, J, v[:, :1])),
        ("sum over the directions", "the directions are summed; their mean does not grow with M.",
         (".mean(1)", ".sum(1)")),
        ("directions averaged first",
         "the v were averaged before they were used; both terms are squares in v: take the mean of the terms.",
         lambda s, J, v: sliced_loss(s, J, v.mean(1, keepdim=True))),
        ("vᵀs averaged before the square", "the mean over the directions was taken of vᵀs; it is taken of (vᵀs)².",
         ("along.square()", "along.mean(1, keepdim=True).square()")),
        ("the diagonal alone",
         "this has Σ_i v_i² ∂s_i/∂x_i; vᵀJv has the other entries of J too. One backward pass gives Jᵀv, and the "
         "diagonal would take D of them.",
         ("v @ jacobian * v", "v.square() * jacobian.diagonal(dim1=1, dim2=2)[:, None]")),
        ("the trace itself", "tr J stands where the loss has vᵀJv: right in the mean, but it costs D backward passes.",
         ("(v @ jacobian * v).sum(2)", "jacobian.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)")),
        ("mean over D", "the products with v are averaged over the coordinates; vᵀJv and vᵀs are sums over them.",
         ("jacobian * v).sum(2)", "jacobian * v).mean(2)"), ("s[:, None]).sum(2)", "s[:, None]).mean(2)")),
        ("mean over the batch", "one number came out; keep one for each example.", (".mean(1)", ".mean()")),
    ),
    start="For one example and one direction: v @ J @ v and half the square of v @ s. Then the mean over directions.",
    hint="v @ jacobian has shape (B, M, D): row m is vᵀJ. s[:, None] lines s up with the directions.",
    see="s = 3, slope −2, v = 2: −2 · 4 + ½ · 36 = 10.",
)  # fmt: skip


# ---- denoising_loss -------------------------------------------------------------------------------------------------
def denoising_loss(score, x0, eps, t, alpha_bar):
    signal, noise = alpha_bar[t].sqrt(), (1 - alpha_bar[t]).sqrt()
    x_t = expand(signal, x0) * x0 + expand(noise, x0) * eps
    kernel_score = -eps / expand(noise, x0)
    return 0.5 * (score(x_t, t) - kernel_score).square().flatten(1).sum(1)


def _denoising_cases(generator):
    def case(label, score, t, *shape, beta=T4, dtype=torch.float64):
        x0, eps = (normal(len(t), *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (score, x0, eps, torch.tensor(t), alpha_bar_of(beta)))

    line = Line(-0.5, 10.0)
    first = (line, numbers([1.0]), numbers([2.0]), torch.tensor([2]), alpha_bar_of(T4))
    return [
        Case("one number, T = 4, t = 2, x_0 = 1, ε = 2", first),
        case("x0 of shape (3, 5), T = 4", line, [4, 1, 2], 5),
        case("x0 of shape (4, 4), a different t for each example", line, [3, 1, 4, 2], 4),
        case("x0 of shape (5, 3), random β", Line(-0.3, 4.0), [6, 1, 8, 3, 5], 3, beta=random_betas(9, generator)),
        case("images of shape (3, 4, 6, 5), T = 1000", Line(-0.9, 1e3), [1, 500, 999], 4, 6, 5, beta=LONG),
        case("x0 of shape (5, 4) in float32", line, [3, 1, 4, 2, 2], 4, dtype=torch.float32),
    ]


def _one_point(function):
    """For data that are all 0, q(x_t) = q(x_t | x_0): its score −x_t/(1−ᾱ_t) makes every term 0."""
    table, eps = alpha_bar_of(T4), normal(4, 3, generator=torch.Generator().manual_seed(6))
    loss = function(lambda x, t: -x / expand(1 - table[t], x), 0 * eps, eps, torch.tensor([1, 2, 3, 4]), table)
    return loss.abs().max().item() < 1e-12, f"largest loss {loss.abs().max().item():.0e}"


def _normal_data(function):
    """Data and noise ±1: of all s = −a x_t the mean loss is least at a = 1, the score of standard normal data."""
    table, t = alpha_bar_of(T4), torch.full((4,), 3)
    x0, eps = numbers([1.0], [1.0], [-1.0], [-1.0]), numbers([1.0], [-1.0], [1.0], [-1.0])
    losses = [function(lambda x, t, a=a: -a * x, x0, eps, t, table).mean().item() for a in (0.9, 1.0, 1.1)]
    return losses[1] < min(losses[0], losses[2]), "{:.4g}, {:.4g}, {:.4g} at a = 0.9, 1, 1.1".format(*losses)


def _score_learns(function):
    slope = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    x0, eps = normal(2, 2, 3, generator=torch.Generator().manual_seed(5))
    args = x0, eps, torch.tensor([1, 3]), alpha_bar_of(T4)

    def gradient(f):
        return torch.autograd.grad(f(lambda x, t: slope * x, *args).sum(), slope)[0].item()

    if not function(lambda x, t: slope * x, *args).requires_grad:
        return False, "no gradient: the score was cut off (detach, item, no_grad or a new tensor made of it)"
    got, want = gradient(function), gradient(denoising_loss)
    return math.isclose(got, want, rel_tol=1e-9), f"dL/dθ = {got:.6g}, required {want:.6g}"


DENOISING_LOSS = Exercise(
    equation="½ ‖s(x_t, t) + ε/√(1−ᾱ_t)‖², x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε, for each example (SCORE-3, SCORE-4)",
    reference=denoising_loss,
    returns=("loss",),
    cases=_denoising_cases,
    properties=(
        Property("for a lone data point at 0 the score −x_t/(1−ᾱ_t) has loss 0", _one_point),
        Property("for data of variance 1 the best s = −a x_t has a = 1", _normal_data),
        Property("the gradient reaches the score network", _score_learns),
    ),
    start="Make x_t from x_0 and ε, ask the score at (x_t, t), and compare it with −ε/√(1−ᾱ_t).",
    hint="alpha_bar[t] has shape (B,); expand(c, x0) from dlgm.tensors lines it up with x0. .flatten(1).sum(1) sums.",
    see="T = 4, t = 2, x_0 = 1, ε = 2: x_t = 1.9618, s = −0.7809, target −3.5082, loss ½ · 2.72735² = 3.7192.",
    mistakes=mistakes(
        denoising_loss,
        ("sign of the score",
         "the target is +ε/√(1−ᾱ_t); the score of the kernel points back towards the data: −ε/√(1−ᾱ_t).",
         ("-eps / expand", "eps / expand")),
        ("target −ε", "the noise is not divided by √(1−ᾱ_t): this teaches −√(1−ᾱ_t) times the score.",
         ("-eps / expand(noise, x0)", "-eps")),
        ("target ε", "this is a noise network's loss; the score of the kernel is −ε/√(1−ᾱ_t).",
         ("-eps / expand(noise, x0)", "eps")),
        ("σ² for σ", "ε is divided by 1 − ᾱ_t. It is x_t − √ᾱ_t x_0 that is divided by the variance; ε by its root.",
         ("-eps / expand(noise, x0)", "-eps / expand(noise**2, x0)")),
        ("the score of the step",
         "ε is divided by √β_t, the noise of one step; x_t was made from x_0, with noise of variance 1 − ᾱ_t.",
         ("-eps / expand(noise, x0)", "-eps / expand((1 - alpha_bar[t] / alpha_bar[t - 1]).sqrt(), x0)")),
        ("√ᾱ_t missing in the target", "this is −(x_t − x_0)/(1−ᾱ_t); the mean of the kernel is √ᾱ_t x_0.",
         ("-eps / expand(noise, x0)", "-(x_t - x0) / expand(noise**2, x0)")),
        ("multiplied through by σ",
         "this is ½ ‖σ s + ε‖², the loss with weight 1 − ᾱ_t. It is a good one to train with (E-20); this exercise "
         "asks for the loss without a weight.",
         ("score(x_t, t) - kernel_score", "expand(noise, x0) * (score(x_t, t) - kernel_score)")),
        ("½ missing", "this is twice the loss; all four losses of this lesson have ½ in front of the square.",
         ("0.5 * ", "")),
        ("norm not squared", "this is half the length of the error; the loss has its square.",
         (".sum(1)", ".sum(1).sqrt()")),
        ("sum over one axis only",
         "the squares were summed over axis 1 only; an image has more axes: .flatten(1).sum(1).", (".flatten(1)", "")),
        ("coefficients not lined up with x0",
         "alpha_bar[t] has shape (B,), and (B,) times (B, D) multiplies column by column, or raises; "
         "expand(alpha_bar[t], x0) gives it the shape (B, 1, ...).",
         ("expand(signal, x0) * x0 + expand(noise, x0) *", "signal * x0 + noise *"),
         ("-eps / expand(noise, x0)", "-eps / noise")),
        ("mean over the dimensions", "the squares of an example are averaged; ‖·‖² is their sum.",
         (".sum(1)", ".mean(1)")),
        ("mean over the batch", "one number came out; keep one for each example.", (".sum(1)", ".sum(1).mean()")),
        ("the network sees x_0", "score was called with the clean x_0; it is the score of noisy data, at x_t.",
         ("score(x_t, t)", "score(x0, t)")),
        ("√ᾱ_t missing on x_0", "this x_t is x_0 + √(1−ᾱ_t) ε; the kernel shrinks x_0 by √ᾱ_t.",
         ("expand(signal, x0) * x0", "x0")),
        ("square roots missing in x_t", "x_t was made with ᾱ_t and 1 − ᾱ_t; the factors are their square roots.",
         ("expand(signal, x0) * x0 + expand(noise, x0)", "expand(signal**2, x0) * x0 + expand(noise**2, x0)")),
        ("noise subtracted in x_t", "x_t has −√(1−ᾱ_t) ε, and then its score is +ε/√(1−ᾱ_t): the two do not fit.",
         ("x0 + expand(", "x0 - expand(")),
        ("α_t for ᾱ_t", "x_t and target have √α_t and √β_t, the factors of one step; from x_0 to x_t it takes ᾱ_t.",
         lambda f, x, e, t, a: denoising_loss(f, x, e, t, steps_of(a))),
        ("index shifted: t − 1",
         "x_t and target have ᾱ_{t−1}: the table starts with the clean state, so ᾱ_t is alpha_bar[t].",
         ("alpha_bar[t].sqrt(), (1 - alpha_bar[t])", "alpha_bar[t - 1].sqrt(), (1 - alpha_bar[t - 1])")),
        ("one t for the whole batch", "t[0] was used for every example; each has a time of its own.",
         lambda f, x, e, t, a: denoising_loss(f, x, e, t[:1].expand(len(t)), a)),
        ("the network is told t − 1",
         "x_t is right, but score was called with t − 1; in this course t runs from 1 to T for the network too.",
         ("score(x_t, t)", "score(x_t, t - 1)")),
    ),
)  # fmt: skip


# ---- langevin_move --------------------------------------------------------------------------------------------------
def langevin_move(x, score, h, z):
    return x + h * score + math.sqrt(2 * h) * z


def _move_cases(generator):
    def case(label, h, *shape, dtype=torch.float64):
        x, score, z = (normal(*shape, generator=generator, dtype=dtype) for _ in range(3))
        return Case(label, (x, score, h, z))

    return [
        Case("x = 1, score −2, h = 0.08, z = 1", (numbers([1.0]), numbers([-2.0]), 0.08, numbers([1.0]))),
        case("4 points of 3 numbers, h = 0.3", 0.3, 4, 3),
        case("5 points of 4 numbers, h = 0.02", 0.02, 5, 4),
        case("3 points of 5 numbers, h = 1.5", 1.5, 3, 5),
        case("arrays of shape (3, 5, 4), h = 0.1", 0.1, 3, 5, 4),
        case("5 points of 3 numbers in float32", 0.1, 5, 3, dtype=torch.float32),
    ]


def _settles(function):
    """For N(0, v) the move is linear; read off the answers to units, it keeps the variance v/(1 − h/2v)."""
    one, zero, v, worst = numbers([1.0]), numbers([0.0]), 0.5, 0.0
    for h in (0.01, 0.1, 0.4):
        gain, std = function(one, -one / v, h, zero).item(), function(zero, zero, h, one).item()
        worst = max(worst, abs(std**2 / (1 - gain**2) - v / (1 - h / (2 * v))))
    return worst < 1e-12, f"largest gap {worst:.0e}"


LANGEVIN_MOVE = Exercise(
    equation="x ← x + h ∇ log p(x) + √(2h) z, z ~ N(0, I) (SCORE-7)",
    reference=langevin_move,
    returns=("x",),
    cases=_move_cases,
    properties=(Property("for N(0, v) it keeps the variance v/(1 − h/2v)", _settles),),
    mistakes=mistakes(
        langevin_move,
        ("noise √h",
         "the noise is √h z: half the variance it needs, and the walk settles at about half the variance of p.",
         ("2 * h", "h")),
        ("noise h",
         "the noise is h z; in many small moves its variance vanishes, and the walk only climbs. It is √(2h) z.",
         ("math.sqrt(2 * h)", "h")),
        ("noise 2h", "the noise is 2h z: 2h is its variance. A sample is scaled by the standard deviation √(2h).",
         ("math.sqrt(2 * h)", "2 * h")),
        ("noise √2 · h", "the noise is √2 · h z: the root was taken of the 2 alone. Its variance must be 2h: √(2h) z.",
         ("math.sqrt(2 * h)", "math.sqrt(2) * h")),
        ("noise not scaled", "z is added at full size, whatever the step; it is scaled by √(2h).",
         ("math.sqrt(2 * h) * z", "z")),
        ("½h drift with √(2h) noise",
         "two conventions are mixed: h with √(2h), as here, or ½h with √h. With ½h and √(2h) the walk settles at "
         "about twice the variance of p.",
         ("h * score", "h / 2 * score")),
        ("½h drift with √h noise",
         "this is a right Langevin move, in the convention of Song & Ermon, and half as long; in this course it is h "
         "with √(2h).",
         lambda x, score, h, z: langevin_move(x, score, h / 2, z)),
        ("2h drift", "the drift is 2h s; with noise √(2h) z it is h s.", ("h * score", "2 * h * score")),
        ("score not scaled", "the whole score is added; it is multiplied by h.", ("h * score", "score")),
        ("against the score",
         "the score is subtracted, so the walk runs downhill, out of the data; the score points uphill, add it.",
         ("x + h", "x - h")),
        ("noise subtracted",
         "z is subtracted. z and −z have the same law, so the walk is right in law; the check expects + √(2h) z.",
         ("+ math", "- math")),
        ("without noise", "without noise every walk climbs to the nearest mode and stays there.",
         (" + math.sqrt(2 * h) * z", "")),
        ("without drift", "the score does not enter: this is a random walk that spreads for ever.",
         (" + h * score", "")),
        ("one noise for the whole batch",
         "the first example's z was used for all, so that all walk in step; each has noise of its own.",
         lambda x, score, h, z: langevin_move(x, score, h, z[:1].expand_as(z))),
    ),
    start="Three summands: where you are, a step uphill, noise.",
    hint="h is a number: math.sqrt(2 * h).",
    see="x = 1, score −2, h = 0.08, z = 1: 1 − 0.16 + 0.4 = 1.24.",
)  # fmt: skip


# ---- annealed_langevin ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Pull:
    """A stand-in for a network: the score of N(centre, variance) data with noise of standard deviation sigma."""

    centre: float
    variance: float

    def __call__(self, x, sigma):
        return (self.centre - x) / (self.variance + sigma**2)

    def __repr__(self):
        return f"x, σ ↦ ({self.centre:g} − x)/({self.variance:g} + σ²)"


def annealed_langevin(score, x, sigmas, step, z):
    for sigma, noises in zip(sigmas, z, strict=True):
        h = step * sigma**2
        for noise in noises:
            x = x + h * score(x, sigma) + (2 * h) ** 0.5 * noise
    return x


def _annealed_cases(generator):
    def case(label, sigmas, K, B, D, score=Pull(1.5, 0.3), step=0.2, dtype=torch.float64):
        x, z = (normal(*shape, generator=generator, dtype=dtype) for shape in ((B, D), (len(sigmas), K, B, D)))
        return Case(label, (score, sigmas[0] * x, torch.tensor(sigmas, dtype=dtype), step, z))

    first = (Pull(1.0, 1.0), numbers([3.0]), numbers(1.0), 0.5, numbers(1.0).reshape(1, 1, 1, 1))
    return [
        Case("one number, one level σ = 1, one move, step 0.5, z = 1", first),
        case("3 points of 5 numbers, one level of 4 moves", [0.7], 4, 3, 5),
        case("4 points of 5 numbers, 3 levels of 6 moves", [4.0, 1.5, 0.5], 6, 4, 5),
        case("4 points of 5 numbers, 3 levels of 3 moves", [5.0, 2.0, 0.8], 3, 4, 5, Pull(-1.0, 0.5), 0.1),
        case("3 points of 5 numbers, 6 levels of 4 moves", [8.0, 4.0, 2.0, 1.0, 0.5, 0.25], 4, 3, 5, step=0.3),
        case(
            "3 points of 6 numbers, 4 levels of 5 moves, in float32", [4.0, 2.0, 1.0, 0.5], 5, 3, 6, dtype=torch.float32
        ),
    ]


def _settles_at_the_last_level(function):
    """One example for each noise, which gets a unit of it: the squares of the answers sum to the variance."""
    sigmas, step, L, K = numbers(4.0, 2.0, 1.0), 0.3, 3, 8
    z = torch.eye(L * K, dtype=torch.float64).reshape(L, K, L * K, 1)
    got = function(Pull(0.0, 0.0), torch.zeros(L * K, 1, dtype=torch.float64), sigmas, step, z).square().sum().item()
    want = 1 / (1 - step / 2)  # what is left of the levels before is 16 (1 − step)^(2 · 8), below 0.1
    return abs(got - want) < 0.1, f"{got:.4f}; σ_L²/(1 − step/2) = {want:.4f}"


ANNEALED_LANGEVIN = Exercise(
    equation="for σ_1 > ... > σ_L: K moves x ← x + h s(x, σ) + √(2h) z with h = step σ² (M-11; Song & Ermon 2019)",
    reference=annealed_langevin,
    returns=("x",),
    cases=_annealed_cases,
    properties=(
        Property(
            "around a lone data point it ends with variance σ_L²/(1 − step/2), to 0.1", _settles_at_the_last_level
        ),
    ),
    mistakes=mistakes(
        annealed_langevin,
        ("ladder upwards",
         "the walk goes from the smallest σ to the largest; it starts at the largest, where the modes are one hill.",
         lambda score, x, sigmas, step, z: annealed_langevin(score, x, sigmas.flip(0), step, z)),
        ("h = step σ", "h has the factor σ; with σ² drift and noise keep the same ratio at every level.",
         ("sigma**2", "sigma")),
        ("h = step at every level",
         "h is the same at all levels: too short to cross the wide ones, or too long for the narrow ones.",
         ("step * sigma**2", "step")),
        ("one h for all levels, from σ_L",
         "h was computed once, from σ_L, the smallest σ: at the wide levels the moves are too short to get anywhere. "
         "Each level has its own h = step σ².",
         ("sigma**2", "sigmas[-1] ** 2")),
        ("one h for all levels, from σ_1",
         "h was computed once, from σ_1, the largest σ: at the narrow levels the moves leap across the modes. Each "
         "level has its own h = step σ².",
         ("sigma**2", "sigmas[0] ** 2")),
        ("h = step σ²/σ_L²",
         "this is the convention of Song & Ermon, step for the last level; in this exercise h = step σ².",
         ("sigma**2", "sigma**2 / sigmas[-1] ** 2")),
        ("h = step σ²/σ_1²",
         "h is divided by σ_1², so that step is h at the first level; in this exercise h = step σ².",
         ("sigma**2", "sigma**2 / sigmas[0] ** 2")),
        ("h = step σ²/2",
         "every move is half as long: h = step σ²/2, drift and noise. It is a right walk, with step as Song & Ermon "
         "would count it, twice h; in this exercise h = step σ².",
         ("sigma**2", "sigma**2 / 2")),
        ("½h drift with √(2h) noise", "two conventions are mixed: h with √(2h), as here, or ½h with √h.",
         ("h * score", "h / 2 * score")),
        ("noise √h", "the noise is √h z: half the variance it needs. It is √(2h) z.", ("(2 * h)", "h")),
        ("noise √(2 step)",
         "the noise has √(2 step) at every level; h has the factor σ², so the noise is √(2 step) σ z.",
         ("2 * h", "2 * step")),
        ("without noise",
         "without noise this is a climb to one mode; the walk needs √(2h) z to keep the weights of the modes.",
         (" + (2 * h) ** 0.5 * noise", "")),
        ("no noise in the last move",
         "the last move has no noise. Samplers of lesson 09 end so; a Langevin walk keeps its variance only if every "
         "move has its noise.",
         ("return x", "return x - (2 * h) ** 0.5 * noise")),
        ("one move at each level", "only the first of the K moves was made; the walk needs time to settle at a level.",
         ("in noises:", "in noises[:1]:")),
        ("the last move of each level left out",
         "each level makes K − 1 of its K moves; range(K) has K entries, 0 to K − 1.",
         ("in noises:", "in noises[:-1]:")),
        ("return after the first move",
         "return stands inside the loop over the moves, so the walk ends after its first move; it belongs after both "
         "loops.",
         ("    return x", "            return x")),
        ("the same z for all moves of a level",
         "the first noise of a level was used for all its moves; they add up to a drift of their own.",
         ("* noise", "* noises[0]")),
        ("the same z at every level", "the noises of the first level were used at all; every move has one of its own.",
         lambda score, x, sigmas, step, z: annealed_langevin(score, x, sigmas, step, z[:1].expand_as(z))),
        ("score of the next level", "the score was asked at the σ of the next level; h and the score belong to one σ.",
         ("sigma, noises in zip(sigmas, ", "sigma, told, noises in zip(sigmas, [*sigmas[1:], sigmas[-1]], "),
         ("score(x, sigma)", "score(x, told)")),
        ("score of the last level",
         "the score was asked at σ_L throughout. That is the walk without annealing: far from the data a learned "
         "score of one small σ knows nothing.",
         ("score(x, sigma)", "score(x, sigmas[-1])")),
        ("the score is told σ²", "score was called with σ²; it takes the standard deviation σ.",
         ("score(x, sigma)", "score(x, sigma**2)")),
        ("the score is told h",
         "score was called with h; h is the length of the move, and the score takes the noise level σ.",
         ("score(x, sigma)", "score(x, h)")),
        ("z[k, i] for z[i, k]",
         "z was asked for [move, level]; z[i, k] is the noise of move k at level i, the level first.",
         ("sigma, noises in zip(sigmas, z, strict=True)", "i, sigma in enumerate(sigmas)"),
         ("noise in noises", "k in range(z.shape[1])"), ("* noise", "* z[k, i]")),
        ("the score is told the number of the level", "score was called with 0, 1, 2, ...; this one takes σ itself.",
         ("sigma, noises in zip(sigmas, z, strict=True)", "i, (sigma, noises) in enumerate(zip(sigmas, z))"),
         ("score(x, sigma)", "score(x, i)")),
        ("score computed once a level",
         "the score was kept for all moves of a level; x moves, and the score is asked anew at each.",
         ("h = step * sigma**2", "h, s = step * sigma**2, score(x, sigma)"), ("h * score(x, sigma)", "h * s")),
        ("the last level left out", "the walk ends at σ_{L−1}, and its answer still has that much noise.",
         ("zip(sigmas, z,", "zip(sigmas[:-1], z[:-1],")),
        ("the first level left out", "the walk starts at σ_2; x comes from σ_1 and has to settle there first.",
         ("zip(sigmas, z,", "zip(sigmas[1:], z[1:],")),
        ("return after the first level",
         "return stands inside the loop over the levels, so the walk ends at σ_1; it belongs after both loops.",
         ("    return x", "        return x")),
        ("each level starts afresh",
         "every level starts from the x that came in; the point of the ladder is to go on from the level before.",
         lambda score, x, sigmas, step, z: annealed_langevin(score, x, sigmas[-1:], step, z[-1:])),
        ("x multiplied by σ_1", "x is the start already, noise and all; it needs no factor.",
         lambda score, x, sigmas, step, z: annealed_langevin(score, sigmas[0] * x, sigmas, step, z)),
        ("cleaned at the end",
         "x + σ_L² s(x, σ_L) at the end is Tweedie's formula and a good last step; it is not part of this function.",
         ("return x", "return x + sigma**2 * score(x, sigma)")),
    ),
    start="Two loops: over the levels, and over the moves of a level. Inside, the Langevin move with h = step σ².",
    hint="zip(sigmas, z) goes over the levels; z[l] has shape (K, B, D), one noise for each move.",
    see="x = 3, score (1 − x)/2 = −1, σ = 1, step 0.5, z = 1: h = 0.5, and 3 − 0.5 + 1 = 3.5.",
)  # fmt: skip


# ---- ladder_variance ------------------------------------------------------------------------------------------------
def ladder_variance(data_var, sigmas, step, K, start):
    variance = torch.as_tensor(start, dtype=sigmas.dtype)
    for sigma in sigmas:
        h = step * sigma**2
        gain = 1 - h / (data_var + sigma**2)
        for _ in range(K):
            variance = gain**2 * variance + 2 * h
    return variance


def _ladder_cases(generator):
    def case(label, L, K, data_var, step, start):
        sigmas = (0.2 + uniform(L, generator=generator)).cumsum(0).flip(0)  # falling
        return Case(label, (data_var, sigmas, step, K, start))

    long = torch.logspace(1.3, -1, 10, dtype=torch.float64)
    return [
        Case("data of variance 1, one level σ = 1, one move, step ½, start 4", (1.0, numbers(1.0), 0.5, 1, 4.0)),
        case("one level of 3 moves", 1, 3, 0.5, 0.4, 1.6),
        case("3 levels of 4 moves", 3, 4, 1.7, 0.2, 6.3),
        case("5 levels of 3 moves, narrow data", 5, 3, 0.09, 0.1, 9.1),
        case("4 levels of 3 moves, the data one point", 4, 3, 0.0, 0.3, 5.2),
        case("3 levels of 5 moves, all walkers begin at 0", 3, 5, 2.5, 0.15, 0.0),
        case("4 levels of 5 moves so long that they leap over the mean", 4, 5, 0.05, 1.7, 2.1),
        Case("10 levels of 60 moves, σ from 20 to 0.1", (0.6, long, 0.03, 60, 400.0)),
        case("25 levels of 3 moves", 25, 3, 0.4, 0.2, 3.7),
    ]


def _is_that_of_the_walk(function):
    """annealed_langevin, one example for the start and one for each noise: the squares of the answers sum to it."""
    v, sigmas, step, L, K, start = 0.8, numbers(2.0, 1.1, 0.4), 0.25, 3, 4, 2.0
    units = torch.eye(L * K + 1, dtype=torch.float64)
    x, z = start**0.5 * units[0][:, None], units[1:].reshape(L, K, L * K + 1, 1)
    want = annealed_langevin(Pull(0.0, v), x, sigmas, step, z).square().sum().item()
    got = function(v, sigmas, step, K, start).item()
    return math.isclose(got, want, rel_tol=1e-9), f"{got:.6g}; the walk has {want:.6g}"


LADDER_VARIANCE = Exercise(
    equation="Var x after K moves x ← x + h s(x, σ) + √(2h) z a level, h = step σ², s exact for N(0, data_var) (M-11)",
    reference=ladder_variance,
    returns=("variance",),
    cases=_ladder_cases,
    properties=(Property("the walk of annealed_langevin has this variance", _is_that_of_the_walk),),
    mistakes=mistakes(
        ladder_variance,
        ("factor not squared", "the variance is multiplied by the factor of x itself; a x has a² times the variance.",
         ("gain**2", "gain")),
        ("h² dropped",
         "1 − 2h/(data_var + σ²) stands for the square of 1 − h/(data_var + σ²); they agree for very small h only.",
         ("gain**2", "(2 * gain - 1)")),
        ("noise h", "a move adds h to the variance; √(2h) z has variance 2h.", ("+ 2 * h", "+ h")),
        ("the standard deviation of the noise added", "a move adds √(2h) to the variance; √(2h) z has variance 2h.",
         ("+ 2 * h", "+ (2 * h) ** 0.5")),
        ("noise left out", "a move adds nothing to the variance; √(2h) z adds 2h.", (" + 2 * h", "")),
        ("x and its score taken for independent",
         "1 + h²/(data_var + σ²)² stands for the square of 1 − h/(data_var + σ²): x and its score move together.",
         ("gain**2", "(1 + (1 - gain) ** 2)")),
        ("noise that is not shrunk",
         "a level's noise was added K times in full; each later move shrinks what the earlier ones added.",
         ("            variance = gain**2 * variance + 2 * h\n",
          "            variance = gain**2 * variance\n        variance = variance + 2 * h * K\n")),
        ("standard deviations added", "standard deviations were added; of independent parts the variances add up.",
         ("gain**2 * variance + 2 * h", "(gain * variance.sqrt() + (2 * h) ** 0.5) ** 2")),
        ("noise subject to the factor",
         "the 2h of a move is multiplied by the squared factor too; the score is asked at x, before the noise is in.",
         ("gain**2 * variance + 2 * h", "gain**2 * (variance + 2 * h)")),
        ("score of the data alone",
         "the score is −x/data_var, that of clean data; at level σ the noisy data have the variance data_var + σ².",
         ("(data_var + sigma**2)", "data_var")),
        ("score of one data point",
         "the score is −x/σ², as if the data were one point; the noisy data have the variance data_var + σ².",
         ("(data_var + sigma**2)", "sigma**2")),
        ("data_var squared", "the noisy data got the variance data_var² + σ²; data_var is a variance already.",
         ("data_var + sigma**2", "data_var**2 + sigma**2")),
        ("σ not squared in the score", "the noisy data got the variance data_var + σ; variances add up, data_var + σ².",
         ("data_var + sigma**2", "data_var + sigma")),
        ("half the drift",
         "the drift is ½h s with the noise √(2h) z, two conventions mixed; the move of this lesson has h s.",
         ("1 - h /", "1 - 0.5 * h /")),
        ("away from the mean",
         "the factor of x is 1 + h/(data_var + σ²); the score points to the mean, so that x shrinks.",
         ("1 - h", "1 + h")),
        ("h = step at every level", "h is the same at all levels; here each has its own, h = step σ².",
         ("step * sigma**2", "step")),
        ("h = step σ", "h has the factor σ; here h = step σ².", ("step * sigma**2", "step * sigma")),
        ("one h for all levels, from σ_L", "h is step σ_L² throughout; each level has its own h = step σ².",
         ("step * sigma**2", "step * sigmas[-1] ** 2")),
        ("one h for all levels, from σ_1", "h is step σ_1² throughout; each level has its own h = step σ².",
         ("step * sigma**2", "step * sigmas[0] ** 2")),
        ("h = step σ²/σ_L²", "h was divided by σ_L²; here h = step σ².",
         ("step * sigma**2", "step * sigma**2 / sigmas[-1] ** 2")),
        ("h = step σ²/2",
         "every move is half as long: Song & Ermon's step counts twice h; in this lesson h = step σ².",
         ("step * sigma**2", "step * sigma**2 / 2")),
        ("ladder upwards", "the levels were taken from the smallest σ to the largest; the walk begins at the largest.",
         ("in sigmas:", "in sigmas.flip(0):")),
        ("the last level left out", "this is the variance after σ_{L−1}; the K moves at σ_L belong to the walk.",
         ("in sigmas:", "in sigmas[:-1]:")),
        ("the first level left out", "the K moves at σ_1 are missing; the walk begins there.",
         ("in sigmas:", "in sigmas[1:]:")),
        ("the first level only", "this is the variance after the moves at σ_1; the other levels follow.",
         ("in sigmas:", "in sigmas[:1]:")),
        ("the last level only",
         "this is what K moves at σ_L alone make of start; every level begins with what the one before has left.",
         ("in sigmas:", "in sigmas[-1:]:")),
        ("one move a level", "each level makes one move; it makes K.", ("range(K)", "range(1)")),
        ("one move too few", "each level makes K − 1 moves; range(K) has K entries, 0 to K − 1.",
         ("range(K)", "range(K - 1)")),
        ("loops exchanged",
         "the whole ladder is walked K times with one move a level; a level makes all its K moves before the next one.",
         ("in sigmas:", "in sigmas.repeat(K):"), ("range(K)", "range(1)")),
        ("every level settled",
         "this is the variance at which the moves of σ_L would settle after infinitely many. K moves get part of the "
         "way only, and start has a say.",
         ("gain**2 * variance + 2 * h", "2 * h / (1 - gain**2)")),
        ("the perfect ladder",
         "this is data_var + σ_L², what the ladder aims at. Asked for is where K moves of this length a level get to.",
         ("return variance", "return data_var + sigma**2")),
        ("standard deviation", "this is the standard deviation; asked for is the variance.",
         ("return variance", "return variance.sqrt()")),
        ("no noise in the last move", "the last move has no noise; in annealed_langevin every move has.",
         ("return variance", "return variance - 2 * h")),
        ("start ignored, σ_1² for it", "the walk begins with the variance σ_1²; it begins with start.",
         ("torch.as_tensor(start, dtype=sigmas.dtype)", "sigmas[0] ** 2")),
        ("start ignored, the noisy data for it",
         "the walk begins with data_var + σ_1², the variance of the noisy data; it begins with start.",
         ("torch.as_tensor(start, dtype=sigmas.dtype)", "data_var + sigmas[0] ** 2")),
        ("start squared", "start was squared; it is a variance already.", ("(start,", "(start**2,")),
    ),
    start="What is the exact score at level σ? Then one move: what is x multiplied by, and how much noise is added?",
    hint="For independent x and z the variance of a x + b z is a² Var x + b² Var z. Then two loops.",
    see="The first case has h = ½, and its one move leads from 4 to 3.25.",
)  # fmt: skip

EXERCISES = (
    MIXTURE_SCORE, IMPLICIT_LOSS, SLICED_LOSS, DENOISING_LOSS, LANGEVIN_MOVE, ANNEALED_LANGEVIN, LADDER_VARIANCE,
)  # fmt: skip
