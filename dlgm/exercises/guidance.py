"""Exercises of lesson 16: guidance in ε, the tilted step, a conditional chain, whose scale is whose, the guided flow.

Ledger GUIDE-2, GUIDE-4, GUIDE-5, GUIDE-7, GUIDE-10, GUIDE-13, E-14, E-17, E-33, E-47.
"""

import torch

from ..course.guidance import Guide
from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, ONE_T, T4, alpha_bar_of, normal, numbers, random_betas, uniform


# ---- guided_eps -----------------------------------------------------------------------------------------------------
def guided_eps(alpha_bar, eps, grad, t, gamma):
    return eps - gamma * expand((1 - alpha_bar[t]).sqrt(), eps) * grad


def _eps_cases(generator):
    def case(label, t, gamma, *shape, beta=T4, dtype=torch.float64):
        eps, grad = (normal(len(t), *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (alpha_bar_of(beta), eps, grad, torch.tensor(t), gamma))

    first = (alpha_bar_of(T4), numbers(1.0), numbers(0.5), torch.tensor([2]), 3.0)
    return [
        Case("one number, T = 4, t = 2, ε̂ = 1, gradient 0.5, γ = 3", first),
        case("shape (3, 5), γ = 1", [1, 4, 2], 1.0, 5),
        case("shape (4, 3), random β, γ = 2.5", [9, 1, 5, 3], 2.5, 3, beta=random_betas(9, generator)),
        case("images of shape (3, 2, 4, 5), T = 1000, γ = 7", [1, 500, 1000], 7.0, 2, 4, 5, beta=LONG),
        case("shape (3, 4), γ = 0: no guidance", [1, 2, 3], 0.0, 4),
        case("shape (2, 3) in float32", [4, 1], 1.5, 3, dtype=torch.float32),
    ]


def _is_bayes_for_gaussians(function):
    """x_0 is 1 or −1, y says which: with γ = 1 the guided ε̂ is exactly the noise of the class."""
    a, t = alpha_bar_of(T4), torch.tensor([3])
    x, s, n = numbers(0.3), a[3].sqrt(), 1 - a[3]
    eps = (x - s * torch.tanh(s * x / n)) / n.sqrt()
    grad = s / n * (1 - torch.tanh(s * x / n))
    gap = (function(a, eps, grad, t, 1.0) - (x - s) / n.sqrt()).abs().max().item()
    return gap < 1e-12, f"off by {gap:.0e}"


GUIDED_EPS = Exercise(
    equation="ε̄ = ε̂ − γ √(1 − ᾱ_t) ∇ log p(y | x_t) (GUIDE-7)",
    reference=guided_eps,
    returns=("guided",),
    cases=_eps_cases,
    properties=(Property("two points, γ = 1: the ε of the class that was asked for", _is_bayes_for_gaussians),),
    mistakes=mistakes(
        guided_eps,
        ("added", "the gradient is added. The score is −ε/√(1 − ᾱ_t): adding to the score is subtracting from ε.",
         ("eps - gamma", "eps + gamma")),
        ("γ missing", "γ does not occur, as in one printed algorithm (E-14).", ("gamma * ", "")),
        ("√(1 − ᾱ_t) missing",
         "the gradient stands without √(1 − ᾱ_t): it belongs to the score, and ε is −√(1 − ᾱ_t) "
         "times that.", ("expand((1 - alpha_bar[t]).sqrt(), eps) * grad", "grad")),
        ("1 − ᾱ_t without the root", "the factor is 1 − ᾱ_t; it is its root.",
         ("(1 - alpha_bar[t]).sqrt()", "(1 - alpha_bar[t])")),
        ("divided by √(1 − ᾱ_t)", "the gradient is divided by √(1 − ᾱ_t); ε = −√(1 − ᾱ_t) · score multiplies by it.",
         ("(1 - alpha_bar[t]).sqrt()", "(1 - alpha_bar[t]).rsqrt()")),
        ("√ᾱ_t", "the factor is √ᾱ_t, the size of the signal; it is √(1 − ᾱ_t), the size of the noise.",
         ("(1 - alpha_bar[t])", "alpha_bar[t]")),
        ("the factor of v", "√((1 − ᾱ_t)/ᾱ_t) is the factor of v; that of ε is √(1 − ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "((1 - alpha_bar[t]) / alpha_bar[t]).sqrt()")),
        ("the formula of x_0", "γ (1 − ᾱ_t)/√ᾱ_t is added, as to x̂_0; from ε̂ γ √(1 − ᾱ_t) is subtracted.",
         ("eps - gamma", "eps + gamma"), ("(1 - alpha_bar[t]).sqrt()", "((1 - alpha_bar[t]) / alpha_bar[t].sqrt())")),
        ("the factor of x_0", "(1 − ᾱ_t)/√ᾱ_t is the factor of x_0; that of ε is √(1 − ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "((1 - alpha_bar[t]) / alpha_bar[t].sqrt())")),
        ("1 − √ᾱ_t", "the factor is 1 − √ᾱ_t; the root is that of the difference, √(1 − ᾱ_t).",
         ("(1 - alpha_bar[t]).sqrt()", "(1 - alpha_bar[t].sqrt())")),
        ("ᾱ_t squared", "the factor is √(1 − ᾱ_t²); ᾱ_t is a product of variances already.",
         ("(1 - alpha_bar[t])", "(1 - alpha_bar[t] ** 2)")),
        ("√β_t", "the factor is √(1 − ᾱ_t/ᾱ_{t−1}), the noise of one step; it is that of all t steps together.",
         ("(1 - alpha_bar[t])", "(1 - alpha_bar[t] / alpha_bar[t - 1])")),
        ("the noise of the step before", "ᾱ_{t−1} stands for ᾱ_t.", ("alpha_bar[t]", "alpha_bar[t - 1]")),
        ("one t for all", ONE_T, ("alpha_bar[t]", "alpha_bar[t[:1]].expand(len(t))")),
        ("γ + 1",
         "the gradient has the weight 1 + γ; γ = 0 must leave ε̂ as it is. (The w of classifier-free guidance "
         "is counted from the conditional answer, γ is not.)", ("gamma * ", "(1 + gamma) * ")),
        ("γ − 1", "the gradient has the weight γ − 1. ε̂ is that of all classes: γ = 1 is Bayes' rule.",
         ("gamma * ", "(gamma - 1) * ")),
        ("ε̂ weighted down", "ε̂ has the factor 1 − γ; only the gradient is weighted.",
         ("eps - gamma", "(1 - gamma) * eps - gamma")),
        ("γ on ε̂, too", "ε̂ is multiplied by γ; only the gradient is.", ("eps - gamma", "gamma * eps - gamma")),
        ("the gradient squared", "the gradient occurs twice.", (" * grad", " * grad * grad")),
        ("the gradient's direction only",
         "the gradient was scaled to length 1; its length says how sure the classifier "
         "is.",
         (" * grad",
         " * grad / grad.square().reshape(len(t), -1).sum(1).sqrt().reshape(-1, *[1] * (grad.ndim - 1))")),
        ("the gradient alone", "ε̂ does not occur.", ("eps - gamma", "-gamma")),
        ("the score returned", "this is the guided score, −ε̄/√(1 − ᾱ_t); asked for is ε̄.",
         ("return eps - gamma * expand((1 - alpha_bar[t]).sqrt(), eps) * grad",
          "return gamma * grad - eps / expand((1 - alpha_bar[t]).sqrt(), eps)")),
    ),
    start="Write the score of p(x_t) p(y | x_t)^γ, and then each score as −ε/√(1 − ᾱ_t).",
    hint="∇ log p(x_t) + γ ∇ log p(y | x_t) = −ε̄/√(1 − ᾱ_t). Solve for ε̄.",
    see="At γ = 0 it is ε̂. T = 4, t = 2, ε̂ = 1, gradient 0.5, γ = 3: 1 − 3 · √0.325 · 0.5 = 0.1449.",
)  # fmt: skip


# ---- tilted_step ----------------------------------------------------------------------------------------------------
def tilted_step(mean, var, p, slope, scale):
    return mean + scale * var * slope / p, var


def _tilted_cases(generator):
    def case(label, scale, *shape, dtype=torch.float64):
        mean, slope = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        var, p = (0.05 + 0.9 * uniform(*shape, generator=generator) for _ in range(2))
        return Case(label, (mean, var.to(dtype), p.to(dtype), slope, scale))

    first = (numbers(1.0), numbers(0.5), numbers(0.1), numbers(0.2), 1.0)
    return [
        Case("one number, mean 1, variance 0.5, p = 0.1, slope 0.2, scale 1", first),
        case("5 numbers, scale 1", 1.0, 5),
        case("shape (4, 3), scale 2.5", 2.5, 4, 3),
        case("5 numbers, scale 0", 0.0, 5),
        case("shape (3, 2), scale 3, float32", 3.0, 3, 2, dtype=torch.float32),
    ]


def _is_exact_for_an_exponential(function):
    """p = e^{kx − 5}: the product of the Gaussian with it is a Gaussian, mean m + v k."""
    k, m, v, p = 0.7, numbers(0.4), numbers(0.3), numbers(0.7 * 0.4 - 5).exp()
    mean, var = function(m, v, p, k * p, 1.0)
    gap = max((mean - (m + k * v)).abs().item(), (var - v).abs().item())
    return gap < 1e-12, f"off by {gap:.0e}"


TILTED_STEP = Exercise(
    equation="N(x; μ, Σ) p(y | x)^scale ≈ N(μ + scale · Σ ∇ log p(y | x), Σ), the gradient at x = μ (GUIDE-2, "
    "GUIDE-5)",
    reference=tilted_step,
    returns=("mean", "var"),
    cases=_tilted_cases,
    properties=(Property("where log p is a straight line it is exact", _is_exact_for_an_exponential),),
    mistakes=mistakes(
        tilted_step,
        ("without the logarithm",
         "the slope of p itself was taken, as one slide prints it (E-17). The logarithm's is "
         "slope/p; without it the push fades exactly where the class is unlikely.", ("slope / p", "slope")),
        ("multiplied by p", "the slope was multiplied by p; d log p = slope/p.", ("slope / p", "slope * p")),
        ("divided by p²", "the slope is divided by p²; d log p = slope/p.", ("slope / p", "slope / p**2")),
        ("divided by 1 − p", "the slope is divided by 1 − p; d log p = slope/p.", ("slope / p", "slope / (1 - p)")),
        ("the slope of the logit",
         "this is the slope of log p/(1 − p), slope/(p (1 − p)); asked for is that of log p.",
         ("slope / p", "slope / p / (1 - p)")),
        ("a sigmoid's slope, too", "the slope has the factor 1 − p besides; it is the slope of p already.",
         ("slope / p", "slope / p * (1 - p)")),
        ("p over slope", "p is divided by the slope; d log p = slope/p.", ("slope / p", "p / slope")),
        ("the mean divided, too", "p divides the mean, too; a bracket is in the wrong place.",
         ("mean + scale * var * slope / p", "(mean + scale * var * slope) / p")),
        ("scale squared", "scale occurs twice.", ("scale * var", "scale**2 * var")),
        ("values exchanged", "both are right, in the other order: first the mean, then the variance.",
         ("mean + scale * var * slope / p, var", "var, mean + scale * var * slope / p")),
        ("precision returned", "the second value is a precision, 1/Σ; asked for is the variance.",
         ("/ p, var", "/ p, 1 / var")),
        ("log p in the place of its slope", "log p itself was taken; asked for is its slope.",
         ("slope / p", "p.log()")),
        ("standard deviation for variance",
         "the push has the factor √Σ, it is Σ: completing the square divides by the "
         "precision.", ("var * slope", "var.sqrt() * slope")),
        ("divided by Σ", "the push is divided by Σ: a wide step must be pushed further, not less.",
         ("scale * var * slope / p", "scale * slope / p / var")),
        ("Σ missing", "the push stands without Σ.", ("scale * var * slope", "scale * slope")),
        ("Σ²", "Σ occurs squared; once is enough.", ("var * slope", "var**2 * slope")),
        ("half of it", "the push has a factor ½ or Σ/2; completing the square gives Σ.",
         ("scale * var", "0.5 * scale * var")),
        ("exp(½ Σ)",
         "the push has the factor exp(½ · variance), from a program in which the variance was a logarithm.",
         ("scale * var *", "scale * (0.5 * var).exp() *")),
        ("sign", "the push goes the wrong way: up the slope of log p.", ("mean + scale", "mean - scale")),
        ("scale missing", "scale does not occur.", ("scale * var", "var")),
        ("scale on the mean, too", "μ is multiplied by scale; only the push is.",
         ("return mean", "return scale * mean")),
        ("scale as a power", "scale is the exponent of the p that divides; log p^s = s · log p, so it is a factor.",
         ("scale * var * slope / p", "var * slope / p**scale")),
        ("1 + scale", "the push has the factor 1 + scale; at scale 0 nothing may happen.",
         ("scale * var", "(1 + scale) * var")),
        ("variance changed",
         "var was multiplied by scale. A push that does not depend on x leaves the width as it was.",
         ("/ p, var", "/ p, scale * var")),
        ("standard deviation returned", "the second value is a standard deviation; asked for is the variance.",
         ("/ p, var", "/ p, var.sqrt()")),
        ("only the push", "this is the push; the mean of the step is μ and the push.",
         ("return mean + scale", "return scale")),
        ("curvature of p", "the variance was changed by the slope. To first order log p is a straight line, and that "
         "leaves it.", ("/ p, var", "/ p, 1 / (1 / var + scale * (slope / p) ** 2)")),
    ),
    start="What is the slope of log p if p and its slope are known? Then complete the square in x.",
    hint="−(x − μ)²/(2Σ) + s g x is a square around μ + s Σ g.",
    see="Mean 1, variance 0.5, p = 0.1, slope 0.2, scale 1: mean 2, variance 0.5.",
)  # fmt: skip


# ---- conditional_chain ----------------------------------------------------------------------------------------------
def conditional_chain(reverse, likelihood):
    joint = reverse * likelihood
    later = joint.sum(1)
    return joint / later[:, None], later


def _chain_cases(generator):
    def case(label, K, dtype=torch.float64, even=False):
        reverse = 0.05 + uniform(K, K, generator=generator)
        likelihood = (
            torch.full((K,), 0.3, dtype=torch.float64) if even else 0.02 + 0.9 * uniform(K, generator=generator)
        )
        return Case(label, ((reverse / reverse.sum(1, keepdim=True)).to(dtype), likelihood.to(dtype)))

    first = (numbers((0.75, 0.25), (0.5, 0.5)), numbers(0.2, 0.8))
    return [
        Case("2 states: from the first (0.75, 0.25), from the second (0.5, 0.5); p(y | state) = 0.2, 0.8", first),
        case("4 states", 4),
        case("6 states", 6),
        case("3 states, the label says nothing", 3, even=True),
        case("5 states, float32", 5, dtype=torch.float32),
    ]


def _two_steps_are_one(function):
    """The label's probability is passed on: two steps and one step of the product agree."""
    generator = torch.Generator().manual_seed(4)
    A, B = (0.1 + uniform(3, 3, generator=generator) for _ in range(2))
    A, B = (M / M.sum(1, keepdim=True) for M in (A, B))
    now = 0.1 + 0.8 * uniform(3, generator=generator)
    first, later = function(A, now)
    second, _ = function(B, later)
    gap = (second @ first - function(B @ A, now)[0]).abs().max().item()
    return gap < 1e-12, f"off by {gap:.0e}"


CONDITIONAL_CHAIN = Exercise(
    equation="q(x_{t−1} | x_t, y) = q(x_{t−1} | x_t) q(y | x_{t−1}) / q(y | x_t) (GUIDE-4)",
    reference=conditional_chain,
    returns=("conditional", "later"),
    cases=_chain_cases,
    properties=(Property("two steps with the label are one step of both with it", _two_steps_are_one),),
    mistakes=mistakes(
        conditional_chain,
        ("not divided", "the rows do not sum to 1: q(y | x_t) is missing in the denominator. It is no constant.",
         ("joint / later[:, None]", "joint")),
        ("one constant for all",
         "the whole table is divided by one number. The divisor q(y | x_t) depends on x_t: each "
         "row has its own.", ("joint / later[:, None]", "joint / later.mean()")),
        ("divided along the columns", "columns were made to sum to 1; x_t is the row.",
         ("joint / later[:, None]", "joint / joint.sum(0)")),
        ("summed over x_t",
         "both values use the sum over x_t, along columns; q(y | x_t) is the sum over x_{t−1}, along a "
         "row.", ("joint.sum(1)", "joint.sum(0)"), ("later[:, None]", "later")),
        ("summed over x_t, divided by rows",
         "q(y | x_t) was summed over the rows, x_t; it is the sum over x_{t−1}, the "
         "columns.", ("joint.sum(1)", "joint.sum(0)")),
        ("divided by the whole sum",
         "the whole table was made to sum to 1. The divisor q(y | x_t) depends on x_t: each "
         "row has its own.", ("joint / later[:, None]", "joint / joint.sum()")),
        ("mean in both", "the mean of a row stands for its sum, in both values: the rows do not sum to 1.",
         ("joint.sum(1)", "joint.mean(1)")),
        ("the label of x_t over the right divisor",
         "the label is that of the row, x_t; it looks at x_{t−1}, the column.",
         ("joint / later[:, None]", "reverse * likelihood[:, None] / later[:, None]")),
        ("turned", "the table is turned: rows are x_t.", ("joint / later[:, None]", "(joint / later[:, None]).T")),
        ("q(y | x_t) with the new table",
         "the second value averages q(y | x_{t−1}) with the label known already; it is "
         "the mean under reverse.", (", later", ", joint / later[:, None] @ likelihood")),
        ("likelihood made to sum to 1",
         "the likelihood was divided by its sum: the table does not notice, q(y | x_t) "
         "does.", ("reverse * likelihood", "reverse * likelihood / likelihood.sum()")),
        ("square of the likelihood, in the table only", "the likelihood occurs twice in the table.",
         ("joint / later[:, None]", "joint * likelihood / (joint * likelihood).sum(1, keepdim=True)")),
        ("row divided by the wrong entry", "the divisor of column j is q(y | x_t = j); it belongs to the row.",
         ("later[:, None]", "later")),
        ("the label of x_t",
         "q(y | x_t) multiplies, by rows; then it drops out. The label looks at x_{t−1}, the column.",
         ("reverse * likelihood", "reverse * likelihood[:, None]")),
        ("the table turned", "reverse was taken with columns for x_t.",
         ("joint = reverse * ", "joint = reverse.T * ")),
        ("likelihood for q(y | x_t)", "q(y | x_{t−1} = i) was used for q(y | x_t = i): one level too early.",
         ("joint / later[:, None]", "joint / likelihood[:, None]")),
        ("divided by the likelihood", "the likelihood divides; states in which y is likely must gain.",
         ("reverse * likelihood", "reverse / likelihood")),
        ("square of the likelihood", "the likelihood occurs twice.",
         ("reverse * likelihood", "reverse * likelihood**2")),
        ("1 − likelihood", "this is the chain of the other label.",
         ("reverse * likelihood", "reverse * (1 - likelihood)")),
        ("softmax", "a softmax was taken; these are probabilities, to be divided by their sum.",
         ("joint / later[:, None]", "joint.softmax(1)")),
        ("the label ignored", "the likelihood does not change the table.", ("joint / later[:, None]", "reverse")),
        ("only the posterior of x_0", "rows are all alike: reverse was left out.",
         ("joint / later[:, None]", "(likelihood / likelihood.sum()).expand(reverse.shape)")),
        ("likelihood passed on unchanged",
         "the second value is q(y | x_{t−1}) again; q(y | x_t) = Σ q(x_{t−1} | x_t) "
         "q(y | x_{t−1}).", (", later", ", likelihood")),
        ("second value summed over x_t",
         "the second value is summed over the rows, x_t; it is the mean over x_{t−1}, the columns.",
         (", later", ", joint.sum(0)")),
        ("mean for sum", "the second value is divided by the number of states; the rows of reverse sum to 1 already.",
         (", later", ", joint.mean(1)")),
        ("second value normalised",
         "q(y | x_t) was made to sum to 1 over x_t. It is the probability of y for each x_t.",
         (", later", ", later / later.sum()")),
        ("reverse turned for the second value", "the second value is reverseᵀ times the likelihood.",
         (", later", ", reverse.T @ likelihood")),
    ),
    start="Write q(x_{t−1}, y | x_t) as a product. What does its sum over x_{t−1} say?",
    hint="The label depends on x_t only by way of x_{t−1}: q(y | x_{t−1}, x_t) = q(y | x_{t−1}).",
    see="reverse (0.75, 0.25), (0.5, 0.5) and likelihood 0.2, 0.8: rows (3/7, 4/7) and (1/5, 4/5); q(y | x_t) = 0.35, "
    "0.5.",
)  # fmt: skip


# ---- implied_weight -------------------------------------------------------------------------------------------------
def implied_weight(guide):
    one, zero = numbers(1.0, 0.0)
    at = [guide(one, zero, scale) for scale in (0.0, 1.0)]
    return at[0], at[1] - at[0]


def _weight_cases(generator):
    boxes = {
        "first": (0.0, 2.0),
        "second": (1.5, 1.0),
        "third": (1.0, -0.5),
        "fourth": (0.25, 0.75),
        "fifth": (-1.0, 3.0),
    }
    return [Case(f"the {name} box", (Guide(name, *weights),)) for name, weights in boxes.items()]


def _reads_a_box_that_scales_by_three(function):
    start, slope = function(lambda with_y, without, scale: (0.5 + 3 * scale) * with_y + (0.5 - 3 * scale) * without)
    return abs(start - 0.5) + abs(slope - 3) < 1e-9, f"γ = {start:g} + {slope:g} · scale; it is 0.5 + 3 · scale"


IMPLIED_WEIGHT = Exercise(
    equation="guide(with_y, without, scale) = (1 − γ) without + γ with_y, γ = start + slope · scale (GUIDE-10, E-47)",
    reference=implied_weight,
    returns=("start", "slope"),
    cases=_weight_cases,
    properties=(Property("a box that counts by threes is read, too", _reads_a_box_that_scales_by_three),),
    mistakes=mistakes(
        implied_weight,
        ("the weight without y", "this is the weight of the answer without y, 1 − γ. Give the answer with y the 1.",
         ("guide(one, zero, scale)", "guide(zero, one, scale)")),
        ("γ at scale 1 for the slope", "the second value is γ at scale 1; the slope is what one unit of scale adds.",
         ("at[0], at[1] - at[0]", "at[0], at[1]")),
        ("w counted from the conditional answer",
         "start is γ − 1, the w of classifier-free guidance. Asked for is γ, "
         "the weight of the classifier.", ("return at[0]", "return at[0] - 1")),
        ("γ + 1", "start is γ + 1. At γ = 1 the box gives the answer with y.",
         ("return at[0]", "return at[0] + 1")),
        ("slope upside down", "the slope has the wrong sign.", ("at[1] - at[0]", "at[0] - at[1]")),
        ("values exchanged", "both are right, in the other order.",
         ("return at[0], at[1] - at[0]", "return at[1] - at[0], at[0]")),
        ("γ at scale 1 for the start", "the first value is γ at scale 1; start is γ at scale 0.",
         ("return at[0]", "return at[1]")),
        ("the two answers alike", "the two answers that were given to the box do not differ, so γ cannot be seen.",
         ("numbers(1.0, 0.0)", "numbers(1.0, 1.0)")),
        ("difference not divided out", "what came back was not divided by the difference of the two answers.",
         ("numbers(1.0, 0.0)", "numbers(2.0, 0.0)")),
        ("two units of scale", "the slope is what two units of scale add.", ("(0.0, 1.0)]", "(0.0, 2.0)]")),
        ("start taken for 1", "start is said to be 1 whatever the box does. Ask at scale 0.",
         ("return at[0], at[1] - at[0]", "return one, at[1] - one")),
        ("start taken for 0", "start is said to be 0 whatever the box does. Ask at scale 0.",
         ("return at[0], at[1] - at[0]", "return zero, at[1] - zero")),
        ("slope taken for 1", "the slope is said to be 1 whatever the box does. Ask at two scales.",
         ("return at[0], at[1] - at[0]", "return at[0], one")),
        ("ratio", "the slope is a ratio of γ at scale 1 and 0; it is their difference.",
         ("return at[0], at[1] - at[0]", "return at[0], at[1] / at[0]")),
        ("slope without its sign", "the slope lost its sign: a box may turn away from the class as its scale grows.",
         ("at[1] - at[0]", "(at[1] - at[0]).abs()")),
        ("the weight without y for the start", "start is 1 − γ, the weight of the answer without y.",
         ("return at[0], at[1]", "return 1 - at[0], at[1]")),
        ("sign of the difference of the answers", "both have the wrong sign: divide by with_y − without.",
         ("return at[0], at[1] - at[0]", "return -at[0], at[0] - at[1]")),
        ("γ at scales 1 and 0", "these are γ at scale 1 and at scale 0; asked for are γ at 0 and what a unit adds.",
         ("return at[0], at[1] - at[0]", "return at[1], at[0]")),
        ("one convention for all", "every box is said to mean γ = 1 + scale, the (1 + w) of the paper. Ask this one.",
         ("return at[0], at[1] - at[0]", "return one, one")),
        ("γ = scale for all", "every box is said to mean γ = scale. Ask this one.",
         ("return at[0], at[1] - at[0]", "return zero, one")),
    ),
    start="You choose both answers and the scale. Which pair makes γ visible at once?",
    hint="With with_y = 1 and without = 0 the box returns γ itself.",
    see="A box that computes with_y + scale · (with_y − without): start 1, slope 1.",
)  # fmt: skip


# ---- guided_flow ----------------------------------------------------------------------------------------------------
def guided_flow(x, c, u, gamma, high, low):
    return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)


def _flow_cases(generator):
    def case(label, n, c, u, gamma, high, low, dtype=torch.float64):
        return Case(label, (normal(n, generator=generator, dtype=dtype), c, u, gamma, high, low))

    return [
        Case("x = 2, c = 1, u = 2, γ = 3, from s = 6 down to 0", (numbers(2.0), 1.0, 2.0, 3.0, 6.0, 0.0)),
        case("5 points, γ = 1, from 10 to 0", 5, 1.0, 2.0, 1.0, 10.0, 0.0),
        case("5 points, γ = 0, from 10 to 0", 5, 1.0, 2.0, 0.0, 10.0, 0.0),
        case("4 points, c = 0.3, u = 4, γ = 2.5, from 20 to 0.5", 4, 0.3, 4.0, 2.5, 20.0, 0.5),
        case("4 points, γ = 7, from 3 to 1, float32", 4, 0.8, 1.5, 7.0, 3.0, 1.0, dtype=torch.float32),
    ]


def _obeys_the_equation(function):
    x, c, u, gamma, s, h = numbers(1.3), 1.0, 2.0, 3.0, 2.0, 1e-6
    change = (function(x, c, u, gamma, s, s - h) - function(x, c, u, gamma, s - h, s - h)) / -h
    gap = (change - x / 2 * (gamma / (c + s) + (1 - gamma) / (u + s))).abs().item()
    return gap < 1e-5, f"dx/ds is off by {gap:.0e}"


GUIDED_FLOW = Exercise(
    equation="dx/ds = (x/2) [γ/(c + s) + (1 − γ)/(u + s)], from s = high down to low (GUIDE-13)",
    reference=guided_flow,
    returns=("x",),
    cases=_flow_cases,
    properties=(Property("it solves the equation", _obeys_the_equation),),
    mistakes=mistakes(
        guided_flow,
        ("½ missing",
         "the exponents lack the ½ of the flow: x was multiplied by the ratio of variances, points move by its root.",
         ("(gamma / 2)", "gamma"), ("((1 - gamma) / 2)", "(1 - gamma)")),
        ("upwards", "this walks from low up to high; the ends are exchanged.",
         ("((c + low) / (c + high))", "((c + high) / (c + low))"),
         ("((u + low) / (u + high))", "((u + high) / (u + low))")),
        ("γ and 1 − γ exchanged", "γ stands at u and 1 − γ at c. γ weighs the class, whose variance is c.",
         ("(c + low) / (c + high)", "(u + low) / (u + high)"),
         ("((u + low) / (u + high)) ** ((1", "((c + low) / (c + high)) ** ((1")),
        ("1 + γ", "the class has the exponent (1 + γ)/2 and all classes −γ/2: that is the convention of w = γ.",
         ("(gamma / 2)", "((1 + gamma) / 2)"), ("((1 - gamma) / 2)", "(-gamma / 2)")),
        ("sign of 1 − γ", "the exponent of u is (γ − 1)/2; it is (1 − γ)/2.",
         ("((1 - gamma) / 2)", "((gamma - 1) / 2)")),
        ("all classes left out", "u does not occur: with γ > 1 its part works against the class's.",
         (" * ((u + low) / (u + high)) ** ((1 - gamma) / 2)", "")),
        ("the class alone", "c does not occur.", ("((c + low) / (c + high)) ** (gamma / 2) * ", "")),
        ("added", "the two factors were added. The logarithms add, so the factors multiply.",
         ("** (gamma / 2) * ((u", "** (gamma / 2) + x * ((u")),
        ("start left out", "x does not occur; the flow stretches where it starts.",
         ("x * ((c", "torch.ones_like(x) * ((c")),
        ("low ignored", "the walk ends at s = 0 whatever low is.", ("(c + low)", "c"), ("(u + low)", "u")),
        ("high ignored", "the start at s = high does not occur in the factors.", (" / (c + high)", ""),
         (" / (u + high)", "")),
        ("one Euler step", "this is one Euler step from high to low, not the solution.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "return x + (low - high) * x / 2 * (gamma / (c + high) + (1 - gamma) / (u + high))")),
        ("many Euler steps",
         "these are many Euler steps, near the solution and not equal to it. The equation can be solved on "
         "paper: divide by x.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "n = 1000\n    for i in range(n):\n        s = high + (low - high) * i / n\n        x = x + (low - "
          "high) / n * x / 2 * (gamma / (c + s) + (1 - gamma) / (u + s))\n    return x")),
        ("one Euler step upwards", "this is one Euler step, and in the wrong direction: s falls from high to low.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "return x + (high - low) * x / 2 * (gamma / (c + high) + (1 - gamma) / (u + high))")),
        ("one Euler step with the slope at low",
         "this is one Euler step from high to low with the slope at low, not the solution.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "return x + (low - high) * x / 2 * (gamma / (c + low) + (1 - gamma) / (u + low))")),
        ("exponential forgotten",
         "log x was moved by the integral and x was not: the integral is that of d log x/ds, so its exponential "
         "multiplies x.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "r = [torch.log((v + low) / (v + high) + 0 * x) for v in (c, u)]\n    return x + (gamma * r[0] + (1 - "
          "gamma) * "
          "r[1]) / 2")),
        ("multiplied by the logarithm", "x was multiplied by the integral of d log x/ds; by its exponential.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "r = [torch.log((v + low) / (v + high) + 0 * x) for v in (c, u)]\n    return x * (gamma * r[0] + (1 - "
          "gamma) * "
          "r[1]) / 2")),
        ("½ missing at the class", "the exponent of the class's factor lacks the ½.", ("(gamma / 2)", "gamma")),
        ("½ missing at all", "the exponent of u's factor lacks the ½.", ("((1 - gamma) / 2)", "(1 - gamma)")),
        ("½ twice", "the exponents are a quarter of γ and of 1 − γ; the flow has one ½.",
         ("(gamma / 2)", "(gamma / 4)"), ("((1 - gamma) / 2)", "((1 - gamma) / 4)")),
        ("−γ at all", "the exponent of u is −γ/2; it is (1 − γ)/2.", ("((1 - gamma) / 2)", "(-gamma / 2)")),
        ("1 + γ at all", "the exponent of u is (1 + γ)/2; it is (1 − γ)/2.",
         ("((1 - gamma) / 2)", "((1 + gamma) / 2)")),
        ("c and u squared", "c and u were squared; they are variances already.",
         ("((c + low) / (c + high))", "((c**2 + low) / (c**2 + high))"),
         ("((u + low) / (u + high))", "((u**2 + low) / (u**2 + high))")),
        ("s squared", "high and low were squared; they are variances already.",
         ("((c + low) / (c + high))", "((c + low**2) / (c + high**2))"),
         ("((u + low) / (u + high))", "((u + low**2) / (u + high**2))")),
        ("the tilted law, noised",
         "this is the flow of p(x) p(y | x)^γ with noise added. The guided score is not that law's: noise and "
         "the power do not commute.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "v = 1 / (gamma / c + (1 - gamma) / u)\n    return x * ((v + low) / (v + high)) ** 0.5")),
        ("the end's law, noised",
         "this is the flow of data of variance c^γ u^(1 − γ): the right end from infinite noise, another way there.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "v = c**gamma * u ** (1 - gamma)\n    return x * ((v + low) / (v + high)) ** 0.5")),
        ("γ ignored, the class", "γ does not occur: this is the flow of the class.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "return x * ((c + low) / (c + high)) ** 0.5")),
        ("γ ignored, all", "γ does not occur: this is the flow of all classes.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "return x * ((u + low) / (u + high)) ** 0.5")),
        ("a weighted sum",
         "the two plain flows were averaged with weights γ and 1 − γ. The logarithms are, so the factors multiply.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "return x * (gamma * ((c + low) / (c + high)) ** 0.5 + (1 - gamma) * ((u + low) / (u + high)) ** 0.5)")),
        ("exponential of the slope", "the slope at high was continued as if it did not depend on s.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "return x * (torch.ones_like(x) * (low - high) / 2 * (gamma / (c + high) + (1 - gamma) / (u + "
          "high))).exp()")),
        ("the tilted law's width", "this rescales x by the width of p(x) p(y | x)^γ at each level. The flow does not "
         "know that law.",
         ("return x * ((c + low) / (c + high)) ** (gamma / 2) * ((u + low) / (u + high)) ** ((1 - gamma) / 2)",
          "width = [1 / (gamma / (c + s) + (1 - gamma) / (u + s)) for s in (low, high)]\n    return x * "
          "(width[0] / width[1]) ** 0.5")),
    ),
    start="Divide by x: what is d log x/ds, and which function of s has that slope?",
    hint="∫ ds/(c + s) = log(c + s). Take the difference between low and high, then the exponential.",
    see="γ = 1, c = 1, from s = 3 to 0: x/2.",
)  # fmt: skip


EXERCISES = (GUIDED_EPS, TILTED_STEP, CONDITIONAL_CHAIN, IMPLIED_WEIGHT, GUIDED_FLOW)
