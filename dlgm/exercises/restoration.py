"""Exercises of lesson 19: transposes, known entries drawn anew, up again, what replacement ends with, the push of y.

Ledger APP-3, M-38.
"""

from dataclasses import dataclass, field

import torch

from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, ONE_T, T4, Line, alpha_bar_of, normal, numbers, random_betas, uniform


# ---- adjoint --------------------------------------------------------------------------------------------------------
def adjoint(A, y, shape):
    x = torch.zeros(len(y), *shape, dtype=y.dtype, device=y.device).requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad((A(x) * y).sum(), x)[0]


@dataclass(frozen=True)
class Map:
    """A linear function that prints as what it does."""

    does: str
    function: object = field(repr=False)

    def __call__(self, x):
        return self.function(x)


pooled = Map("means of 2 × 2 pixels", lambda x: torch.nn.functional.avg_pool2d(x, 2))
greyed = Map(
    "a weighted mean of three channels",
    lambda x: torch.einsum("c,bchw->bhw", numbers(0.3, 0.6, 0.1).to(x), x)[:, None],
)


class Times:
    """x -> x Mᵀ for a matrix M."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, x):
        return x @ self.matrix.T.to(x)

    def __repr__(self):
        return f"x ↦ x Mᵀ, M of shape {tuple(self.matrix.shape)}"


def _adjoint_cases(generator):
    def case(label, A, shape, out, dtype=torch.float64):
        return Case(label, (A, normal(*out, generator=generator, dtype=dtype), shape))

    wide = normal(2, 5, generator=generator)
    return [
        Case("a matrix with rows (1, 2, 0) and (0, 3, −1), y = (1, 1)",
             (Times(numbers([1.0, 2.0, 0.0], [0.0, 3.0, -1.0])), numbers([1.0, 1.0]), (3,))),
        case("a matrix of 2 × 5, two examples", Times(wide), (5,), (2, 2)),
        case("means of 2 × 2 pixels", pooled, (1, 4, 6), (3, 1, 2, 3)),
        case("a weighted mean of three channels", greyed, (3, 4, 4), (2, 1, 4, 4)),
        case("a matrix of 5 × 2, four examples", Times(normal(5, 2, generator=generator)), (2,), (4, 5)),
        case("means of 2 × 2 pixels in float32", pooled, (2, 4, 4), (2, 2, 2, 2), torch.float32),
    ]  # fmt: skip


def _turns_over(function):
    g = torch.Generator().manual_seed(5)
    x, y = normal(3, 2, 4, 4, generator=g), normal(3, 2, 2, 2, generator=g)
    gap = ((pooled(x) * y).sum() - (x * function(pooled, y, (2, 4, 4))).sum()).abs().item()
    return gap < 1e-10, f"⟨A x, y⟩ and ⟨x, Aᵀ y⟩ differ by {gap:.0e}"


ADJOINT = Exercise(
    equation="Aᵀ y: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for all x (APP-3)",
    reference=adjoint,
    returns=("x",),
    cases=_adjoint_cases,
    properties=(Property("⟨A x, y⟩ = ⟨x, Aᵀ y⟩", _turns_over),),
    mistakes=mistakes(
        adjoint,
        ("the shortest solution",
         "this is A⁺ y, the shortest x with A x = y; asked for is Aᵀ y, which needs no system.",
         lambda A, y, shape: _by_matrix(A, y, shape, torch.linalg.pinv)),
        ("squared", "this is Aᵀ A Aᵀ y: A was applied once too often.",
         lambda A, y, shape: adjoint(A, A(adjoint(A, y, shape)), shape)),
        ("sign", "the sign is turned, as in the gradient of ½‖A x − y‖² at 0.",
         ("return torch.autograd.grad((A", "return -torch.autograd.grad((A")),
        ("gradient of ‖A x − y‖²", "this is the gradient of ‖A x − y‖² at 0, −2 Aᵀ y.",
         ("(A(x) * y).sum()", "(A(x) - y).square().sum()")),
        ("y left out", "this is Aᵀ applied to ones: y does not occur.", ("(A(x) * y).sum()", "A(x).sum()")),
        ("mean for sum", "the products were averaged over all entries; ⟨·, ·⟩ is a sum.", (".sum()", ".mean()")),
        ("the batch was mixed", "all examples got one answer, the sum of theirs.",
         lambda A, y, shape: adjoint(A, y, shape).sum(0, keepdim=True).expand(len(y), *shape)),
        ("first example for all", "all examples got the answer of the first.",
         lambda A, y, shape: adjoint(A, y, shape)[:1].expand(len(y), *shape)),
        ("length taken out", "the answer was divided by its length.",
         lambda A, y, shape: (v := adjoint(A, y, shape)) / v.flatten(1).norm(dim=1).reshape(-1, *[1] * len(shape))),
        ("twice", "twice too long.", ("(A(x) * y).sum()", "2 * (A(x) * y).sum()")),
    ),
    start="You may ask A about any x. What does the gradient of Σ (A x) y by x have to do with Aᵀ?",
    hint="(A x · y) is linear in x: its gradient is Aᵀ y, whatever x is. torch.autograd.grad takes it.",
    see="Rows (1, 2, 0) and (0, 3, −1), y = (1, 1): Aᵀ y = (1, 5, −1).",
)  # fmt: skip


def _by_matrix(A, y, shape, turn):
    """A as a matrix, turned, applied to y."""
    n = torch.Size(shape).numel()
    columns = A(torch.eye(n, dtype=y.dtype).reshape(n, *shape)).flatten(1)
    return (y.flatten(1) @ turn(columns.T.double()).to(y).T).reshape(len(y), *shape)


# ---- known_again ----------------------------------------------------------------------------------------------------
def known_again(x_s, y, known, s, alpha_bar, z):
    drawn = expand(alpha_bar[s].sqrt(), x_s) * y + expand((1 - alpha_bar[s]).sqrt(), x_s) * z
    return torch.where(known, drawn, x_s)


def _known_cases(generator):
    def case(label, s, *shape, beta=T4, dtype=torch.float64):
        x, y, z = (normal(len(s), *shape, generator=generator, dtype=dtype) for _ in range(3))
        known = uniform(*shape, generator=generator) < 0.5
        known.flatten()[0], known.flatten()[-1] = True, False
        y = torch.where(known, y, torch.full_like(y, 7.0))
        return Case(label, (x, y, known, torch.tensor(s), alpha_bar_of(beta), z))

    first = (numbers([0.5, 0.5]), numbers([1.0, 7.0]), torch.tensor([True, False]), torch.tensor([2]), alpha_bar_of(T4),
             numbers([1.0, 1.0]))  # fmt: skip
    return [
        Case("two numbers, the first known, T = 4, s = 2", first),
        case("shape (3, 5), s = 0 among them", [3, 0, 1], 5),
        case("shape (4, 6), random β", [8, 5, 2, 0], 6, beta=random_betas(9, generator)),
        case("images of shape (3, 2, 4, 4), T = 1000", [999, 500, 20], 2, 4, 4, beta=LONG),
        case("shape (3, 4) in float32", [3, 2, 0], 4, dtype=torch.float32),
    ]


def _clean_at_the_end(function):
    x, y, z = (torch.full((1, 3), v, dtype=torch.float64) for v in (0.2, 0.9, 5.0))
    out = function(x, y, torch.tensor([True, False, True]), torch.tensor([0]), alpha_bar_of(T4), z)
    return out.tolist() == [[0.9, 0.2, 0.9]], f"got {out.tolist()}"


KNOWN_AGAIN = Exercise(
    equation="known entries: √ᾱ_s y + √(1 − ᾱ_s) z; the others: x_s (APP-3)",
    reference=known_again,
    returns=("x_s",),
    cases=_known_cases,
    properties=(Property("at s = 0 known entries are y itself", _clean_at_the_end),),
    mistakes=mistakes(
        known_again,
        ("noise not put on",
         "the known entries are y without noise; at level s they should look like all others there.",
         ("+ expand((1 - alpha_bar[s]).sqrt(), x_s) * z", "")),
        ("clean y", "the known entries are y itself; at level s they are √ᾱ_s y and noise.",
         ("torch.where(known, drawn, x_s)", "torch.where(known, y, x_s)")),
        ("known and unknown exchanged", "the unknown entries were drawn from y and the known ones kept.",
         ("torch.where(known, drawn, x_s)", "torch.where(known, x_s, drawn)")),
        ("everything drawn", "entries where nothing is known were drawn from y, too.",
         ("torch.where(known, drawn, x_s)", "drawn")),
        ("added", "x_s was left under the known entries; they are replaced.",
         ("torch.where(known, drawn, x_s)", "x_s + torch.where(known, drawn, torch.zeros_like(x_s))")),
        ("level s + 1", "the level is that of s + 1; the state is at s already.",
         ("alpha_bar[s].sqrt()", "alpha_bar[s + 1].sqrt()"), ("(1 - alpha_bar[s])", "(1 - alpha_bar[s + 1])")),
        ("1 − ᾱ without the root", "the noise has the factor 1 − ᾱ_s; it is its root.",
         ("(1 - alpha_bar[s]).sqrt()", "(1 - alpha_bar[s])")),
        ("ᾱ without the root", "the signal has the factor ᾱ_s; it is its root.",
         ("alpha_bar[s].sqrt()", "alpha_bar[s]")),
        ("level s − 1", "the level is that of s − 1; the state is at s.",
         ("alpha_bar[s].sqrt()", "alpha_bar[(s - 1).clamp(min=0)].sqrt()"),
         ("(1 - alpha_bar[s])", "(1 - alpha_bar[(s - 1).clamp(min=0)])")),
        ("1 − √ᾱ", "the noise has the factor 1 − √ᾱ_s; it is √(1 − ᾱ_s).",
         ("(1 - alpha_bar[s]).sqrt()", "1 - alpha_bar[s].sqrt()")),
        ("factors exchanged", "signal and noise are exchanged.",
         ("expand(alpha_bar[s].sqrt(), x_s) * y", "expand((1 - alpha_bar[s]).sqrt(), x_s) * y"),
         ("+ expand((1 - alpha_bar[s]).sqrt(), x_s) * z", "+ expand(alpha_bar[s].sqrt(), x_s) * z")),
        ("signal left out", "y stands without √ᾱ_s.", ("expand(alpha_bar[s].sqrt(), x_s) * y", "y")),
        ("one s for all", ONE_T.replace("t[0]", "s[0]"), ("expand(alpha_bar[s].sqrt(), x_s) * y",
         "expand(alpha_bar[s[:1]].sqrt().expand(len(s)), x_s) * y")),
    ),
    start="What would the known entries of x_s be, if x_0 were y there?",
    hint="torch.where(known, a, b) takes a where known is true.",
    see="The first known, y = 1, s = 2, x_s = (0.5, 0.5), z = 1: (1.3917, 0.5).",
)  # fmt: skip


# ---- up_again -------------------------------------------------------------------------------------------------------
def up_again(x_s, s, t, alpha_bar, z):
    kept = alpha_bar[t] / alpha_bar[s]
    return expand(kept.sqrt(), x_s) * x_s + expand((1 - kept).sqrt(), x_s) * z


def _up_cases(generator):
    def case(label, s, t, *shape, beta=T4, dtype=torch.float64):
        x, z = (normal(len(s), *shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (x, torch.tensor(s), torch.tensor(t), alpha_bar_of(beta), z))

    return [
        Case("one number, T = 4, from 2 to 3, x_s = 1, z = 1",
             (numbers(1.0), torch.tensor([2]), torch.tensor([3]), alpha_bar_of(T4), numbers(1.0))),
        case("shape (3, 5), several steps at once", [1, 0, 2], [4, 2, 3], 5),
        case("shape (4, 3), random β", [5, 1, 0, 7], [9, 2, 3, 8], 3, beta=random_betas(9, generator)),
        case("images of shape (3, 2, 4, 4), T = 1000", [900, 400, 10], [1000, 450, 11], 2, 4, 4, beta=LONG),
        case("shape (3, 4) in float32", [1, 2, 0], [2, 4, 1], 4, dtype=torch.float32),
    ]  # fmt: skip


def _keeps_unit_variance(function):
    a, one = alpha_bar_of(T4), torch.ones(1, 1, dtype=torch.float64)
    s, t, none = torch.tensor([1]), torch.tensor([4]), torch.zeros(1, 1, dtype=torch.float64)
    total = function(one, s, t, a, none).item() ** 2 + function(none, s, t, a, one).item() ** 2
    return abs(total - 1) < 1e-9, f"variance 1 became {total:.4f}"


UP_AGAIN = Exercise(
    equation="x_t = √(ᾱ_t/ᾱ_s) x_s + √(1 − ᾱ_t/ᾱ_s) z, s < t (FWD-5)",
    reference=up_again,
    returns=("x_t",),
    cases=_up_cases,
    properties=(Property("what has variance 1 keeps it", _keeps_unit_variance),),
    mistakes=mistakes(
        up_again,
        ("root of the noise forgotten",
         "the noise has the factor 1 − ᾱ_t/ᾱ_s, as in a printed algorithm; it is its root.",
         ("(1 - kept).sqrt()", "(1 - kept)")),
        ("root of the signal forgotten", "x_s has the factor ᾱ_t/ᾱ_s; it is its root.", ("kept.sqrt()", "kept")),
        ("both roots forgotten", "both factors want a root.",
         ("expand(kept.sqrt(), x_s)", "expand(kept, x_s)"), ("(1 - kept).sqrt()", "(1 - kept)")),
        ("from the data", "this goes from x_0 to x_t: the factors are √ᾱ_t and √(1 − ᾱ_t). x_s has noise already.",
         ("alpha_bar[t] / alpha_bar[s]", "alpha_bar[t]")),
        ("upside down", "the ratio is ᾱ_s/ᾱ_t, which is above 1.",
         ("kept = alpha_bar[t] / alpha_bar[s]\n", "kept = alpha_bar[s] / alpha_bar[t]\n"),
         ("(1 - kept).sqrt()", "(1 - kept).abs().sqrt()")),
        ("one step only", "this is one step, s to s + 1; t may be further.",
         ("alpha_bar[t] / alpha_bar[s]", "alpha_bar[s + 1] / alpha_bar[s]")),
        ("the last step only", "this is the step t − 1 to t; s may be earlier.",
         ("alpha_bar[t] / alpha_bar[s]", "alpha_bar[t] / alpha_bar[t - 1]")),
        ("one step early", "the ratio is that of the steps before, ᾱ_{t−1}/ᾱ_{s−1}.",
         ("alpha_bar[t] / alpha_bar[s]", "alpha_bar[t - 1] / alpha_bar[(s - 1).clamp(min=0)]")),
        ("no noise", "there is no noise: x_s only shrinks.", (" + expand((1 - kept).sqrt(), x_s) * z", "")),
        ("not shrunk", "x_s is not shrunk, so the variance grows.", ("expand(kept.sqrt(), x_s) * x_s", "x_s")),
        ("factors exchanged", "the factors of x_s and z are exchanged.",
         ("expand(kept.sqrt(), x_s) * x_s", "expand((1 - kept).sqrt(), x_s) * x_s"),
         ("+ expand((1 - kept).sqrt(), x_s) * z", "+ expand(kept.sqrt(), x_s) * z")),
        ("difference of the noises",
         "the noise has the factor √(ᾱ_s − ᾱ_t), the difference of the variances; x_s's noise "
         "shrinks on the way, so more is missing.", ("(1 - kept).sqrt()", "(alpha_bar[s] - alpha_bar[t]).sqrt()")),
        ("one step for all", "the times of the first example were used for all; each has its own.",
         ("alpha_bar[t] / alpha_bar[s]", "(alpha_bar[t] / alpha_bar[s])[:1].expand(len(t))")),
    ),
    start="How much of x_s's signal is left at t? And how much noise makes up for what was lost?",
    hint="Signal: √ᾱ_s must become √ᾱ_t. The variance of the whole, 1 for data of variance 1, must stay.",
    see="T = 4, from 2 to 3: ᾱ_3/ᾱ_2 = 0.6; x_s = 1, z = 1: 1.4071.",
)  # fmt: skip


# ---- replaced_mean --------------------------------------------------------------------------------------------------
def replaced_mean(rho, y, alpha_bar, times):
    m = torch.zeros((), dtype=alpha_bar.dtype)
    seen = torch.zeros((), dtype=alpha_bar.dtype)
    for t, s in zip(times[:-1], times[1:], strict=True):
        a, b = alpha_bar[t], alpha_bar[s]
        cov = torch.stack([torch.ones_like(a), a * rho, a * rho, torch.ones_like(a)]).reshape(2, 2)
        own = torch.stack([a.sqrt() * rho, a.sqrt()])
        x0 = own @ torch.linalg.solve(cov, torch.stack([seen, m]))
        c_0 = b.sqrt() * (1 - a / b) / (1 - a)
        c_t = (a / b).sqrt() * (1 - b) / (1 - a)
        m = c_0 * x0 + c_t * m
        seen = b.sqrt() * y
    return m


def _replaced_cases(generator):
    beta = random_betas(9, generator)
    return [
        Case("ρ = 0.8, y = 1, T = 4, all four steps", (0.8, 1.0, alpha_bar_of(T4), [4, 3, 2, 1, 0])),
        Case("ρ = 0.5, y = −7, steps skipped", (0.5, -7.0, alpha_bar_of(beta), [9, 6, 5, 2, 0])),
        Case("ρ = −0.7, y = 1.5, T = 9", (-0.7, 1.5, alpha_bar_of(beta), list(range(9, -1, -1)))),
        Case("ρ = 0.3, y = 1, T = 1000, fifty steps", (0.3, 1.0, alpha_bar_of(LONG), list(range(1000, -1, -20)))),
    ]


def _nothing_to_hear(function):
    found = function(0.0, 3.0, alpha_bar_of(T4), [4, 2, 0]).item()
    return abs(found) < 1e-12, f"got {found:.4f}"


REPLACED_MEAN = Exercise(
    equation="m_s = c_0 E[x_0,2 | x_t = (k_t, m_t)] + c_t m_t; k_t = √ᾱ_t y below the start, 0 there (APP-3, M-38)",
    reference=replaced_mean,
    returns=("mean",),
    cases=_replaced_cases,
    properties=(Property("ρ = 0: the known number says nothing", _nothing_to_hear),),
    mistakes=mistakes(
        replaced_mean,
        ("the right posterior", "this is ρ y, the mean that is right. Follow the walk: what does it end with?",
         lambda rho, y, a, times: torch.tensor(rho * y, dtype=a.dtype)),
        ("known from the start", "the known entry has mean √ᾱ_T y at the start too; there it is pure noise, mean 0.",
         ("seen = torch.zeros((), dtype=alpha_bar.dtype)", "seen = alpha_bar[times[0]].sqrt() * y")),
        ("the known entry is clean", "the known entry is y at each level; it is √ᾱ_s y there.",
         ("seen = b.sqrt() * y", "seen = torch.as_tensor(y, dtype=a.dtype)")),
        ("the level of t", "the known entry has the level that the step came from; it is replaced after the step.",
         ("seen = b.sqrt() * y", "seen = a.sqrt() * y")),
        ("nothing gets in",
         "the result is 0, so nothing of y gets in: the known entry is never put in, or x̂_0 does not hear of it, or "
         "the covariance at level t is not [[1, ᾱ_t ρ], [ᾱ_t ρ, 1]].",
         ("a * rho, a * rho", "rho * torch.ones_like(a), rho * torch.ones_like(a)")),
        ("covariance with √ᾱ", "at level t the covariance of the two is ᾱ_t ρ, not √ᾱ_t ρ.",
         ("a * rho, a * rho", "a.sqrt() * rho, a.sqrt() * rho")),
        ("only the known one is heard",
         "x̂_0 of the unknown entry was taken from the known one alone; its own x_t counts.",
         ("x0 = own @ torch.linalg.solve(cov, torch.stack([seen, m]))", "x0 = own[0] * seen")),
        ("x̂_0 itself", "the step ends at x̂_0; the posterior mean is a mix of it and of x_t.",
         ("m = c_0 * x0 + c_t * m", "m = x0")),
        ("DDIM's step", "this is the mean of a DDIM walk; asked for is the step of the text, DDPM's.",
         ("m = c_0 * x0 + c_t * m", "m = b.sqrt() * x0 + ((1 - b) / (1 - a)).sqrt() * (m - a.sqrt() * x0)")),
        ("one step's β for skipped steps", "c_0 and c_t have ᾱ_t/ᾱ_{t−1}; where steps are skipped it is ᾱ_t/ᾱ_s.",
         ("c_0 = b.sqrt() * (1 - a / b)", "b_1 = alpha_bar[t - 1]\n        c_0 = b.sqrt() * (1 - a / b_1)"),
         ("(a / b).sqrt()", "(a / b_1).sqrt()")),
    ),
    start="Means only: noise has mean 0. What is the mean of the known entry at each level, and what does the exact "
    "denoiser make of the two?",
    hint="x_t has covariance [[1, ᾱ_t ρ], [ᾱ_t ρ, 1]], and Cov(x_0,2, x_t) = (√ᾱ_t ρ, √ᾱ_t).",
    see="ρ = 0.8, y = 1, T = 4, four steps: 0.3463.",
)  # fmt: skip


# ---- push -----------------------------------------------------------------------------------------------------------
def push(denoiser, A, y, x_t, t, variance):
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        error = y - A(denoiser(x, t))
        return torch.autograd.grad(-error.square().sum() / (2 * variance), x)[0]


class Bend:
    """A stand-in for a network, not linear: denoiser(x_t, t) = sin(x_t + half of the entry after) / (1 + t/rate)."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x_t, t):
        return torch.sin(x_t + 0.5 * x_t.roll(-1, -1)) / (1 + t / self.rate)

    def __repr__(self):
        return f"x_t, t ↦ sin(x_t + ½ roll(x_t, −1)) / (1 + t/{self.rate:g})"


def _pulled(denoiser, A, y, x_t, t, variance):
    """Aᵀ (y − A x̂_0)/variance."""
    return push(lambda x, t: x + (denoiser(x_t, t) - x_t).detach(), A, y, x_t, t, variance)


@torch.enable_grad()
def _slopes(denoiser, x_t, t):
    """Σ_i ∂x̂_0,i/∂x_t,j."""
    x = x_t.detach().requires_grad_()
    return torch.autograd.grad(denoiser(x, t).sum(), x)[0]


def _push_cases(generator):
    def case(label, denoiser, A, t, variance, shape, out, dtype=torch.float64):
        x, y = (normal(*v, generator=generator, dtype=dtype) for v in (shape, out))
        return Case(label, (denoiser, A, y, x, t, variance))

    M = normal(2, 5, generator=generator)
    return [
        Case("one number, A x = 2 x, denoiser 0.5 x_t + t/10, x_t = 1, t = 2, y = 3, variance 0.5",
             (Line(0.5, 10.0), Times(numbers([2.0])), numbers([3.0]), numbers([1.0]), 2, 0.5)),
        case("three examples, a matrix of 2 × 5", Bend(100.0), Times(M), 30, 0.2, (3, 5), (3, 2)),
        case("images, means of 2 × 2 pixels", Bend(500.0), pooled, 200, 1.7, (2, 1, 4, 4), (2, 1, 2, 2)),
        case("a weighted mean of three channels", Line(0.8, 50.0), greyed, 5, 0.05, (2, 3, 4, 4), (2, 1, 4, 4)),
        case("three examples in float32", Bend(100.0), Times(M), 60, 0.4, (3, 5), (3, 2), torch.float32),
    ]  # fmt: skip


def _is_bayes_for_gaussians(function):
    a = 0.5
    x, y = torch.tensor([[0.4]], dtype=torch.float64), torch.tensor([[1.0]], dtype=torch.float64)
    spread, noise = 1 - a, 0.01  # data N(0, 1): x̂_0 = √ᾱ x_t, Var(x_0 | x_t) = 1 − ᾱ
    found = function(lambda x, t: a**0.5 * x, lambda x: x, y, x, 5, noise + spread).item()
    want = a**0.5 * (1.0 - a**0.5 * 0.4) / (noise + spread)
    return abs(found - want) < 1e-9, f"off by {abs(found - want):.0e}"


PUSH = Exercise(
    equation="∇ log N(y; A x̂_0(x_t), variance I) by x_t = Jᵀ Aᵀ (y − A x̂_0)/variance, J = ∂x̂_0/∂x_t (APP-3)",
    reference=push,
    returns=("push",),
    cases=_push_cases,
    properties=(Property("Gaussian data: the gradient of log p(y | x_t)", _is_bayes_for_gaussians),),
    mistakes=mistakes(
        push,
        ("sign", "the sign is turned: this leads away from y.", ("-error.square()", "error.square()")),
        ("½ missing", "the ½ of the Gaussian's exponent is missing, so this is twice too long.",
         ("/ (2 * variance)", "/ variance")),
        ("the deviation for the variance",
         "it is divided by the standard deviation; in the exponent stands the variance.",
         ("(2 * variance)", "(2 * variance**0.5)")),
        ("variance squared", "it is divided by the squared variance (Normal takes a standard deviation).",
         ("(2 * variance)", "(2 * variance**2)")),
        ("not divided", "the variance does not occur.", ("/ (2 * variance)", "/ 2")),
        ("multiplied", "it is multiplied by the variance; a sure measurement pushes harder.",
         ("/ (2 * variance)", "* variance / 2")),
        ("½ twice", "a ½ stands in the exponent twice, so this is half of what is right.",
         ("-error.square()", "-0.5 * error.square()")),
        ("J taken as diagonal",
         "the derivative of the sum of x̂_0 was taken for J: each entry of x̂_0 hangs on other entries of x_t, too.",
         lambda denoiser, A, y, x_t, t, v: _slopes(denoiser, x_t, t) * _pulled(denoiser, A, y, x_t, t, v)),
        ("J for Jᵀ", "J was applied forwards; the gradient needs its transpose, as autograd.grad gives it.",
         lambda denoiser, A, y, x_t, t, variance: torch.func.jvp(
             lambda v: denoiser(v, t), (x_t.detach(),), (_pulled(denoiser, A, y, x_t, t, variance),))[1]),
        ("past the network", "this is the gradient by x̂_0; the network between x_t and x̂_0, J, is left out.",
         lambda denoiser, A, y, x_t, t, variance: push(lambda x, t: x + (denoiser(x_t, t) - x_t), A, y, x_t, t,
         variance)),
        ("x_t for x̂_0", "A was applied to x_t; y is about x_0, so to x̂_0.", ("A(denoiser(x, t))", "A(x)")),
        ("the distance, not its square",
         "this is the gradient of the distance ‖y − A x̂_0‖, as in published code, whose "
         "steps have that length on purpose; asked for is log N's.",
         ("-error.square().sum() / (2 * variance)", "-error.flatten(1).norm(dim=1).sum() / variance")),
        ("mean for sum",
         "the squares were averaged over all entries.", ("error.square().sum()", "error.square().mean()")),
        ("averaged over the batch", "the squares were averaged over the batch; each example has its own y.",
         ("error.square().sum()", "error.square().sum() / len(x_t)")),
        ("only Aᵀ of the error", "J and the variance are left out: this is Aᵀ(y − A x̂_0).",
         lambda denoiser, A, y, x_t, t, variance: push(lambda x, t: x + (denoiser(x_t, t) - x_t), A, y, x_t, t, 1.0)),
    ),
    start="log N(y; A x̂_0, v I) is −‖y − A x̂_0‖²/2v and a constant. x̂_0 hangs on x_t through the network.",
    hint="x = x_t.detach().requires_grad_(), then torch.autograd.grad of the sum over the batch: examples do "
    "not see each "
    "other.",
    see="A x = 2 x, denoiser 0.5 x_t + t/10, x_t = 1, t = 2, y = 3, variance 0.5: x̂_0 = 0.7, error 1.6, push 3.2.",
)  # fmt: skip

EXERCISES = (ADJOINT, KNOWN_AGAIN, UP_AGAIN, REPLACED_MEAN, PUSH)
