"""Exercises of lesson 11: the family q_σ, the DDIM step, the walk upwards, and which ᾱ a code calls the previous one.

Ledger DDIM-1, DDIM-2, DDIM-6, DDIM-7, DDIM-8, DDIM-9, E-08.
"""

import torch

from ..course.ddim import Code
from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, T4, alpha_bar_of, normal, numbers, random_betas, uniform


# ---- implicit_posterior ---------------------------------------------------------------------------------------------
def implicit_posterior(alpha_bar, x_t, x0, s, t, sigma2):
    a_s, a_t = alpha_bar[s], alpha_bar[t]
    eps = (x_t - expand(a_t.sqrt(), x_t) * x0) / expand((1 - a_t).sqrt(), x_t)
    left = (1 - a_s - sigma2).sqrt()
    return expand(a_s.sqrt(), x0) * x0 + expand(left, x_t) * eps, sigma2


def _posterior_cases(generator):
    def case(label, s, t, *shape, beta=T4, share=None, dtype=torch.float64):
        a = alpha_bar_of(beta)
        x_t, x0 = (normal(len(t), *shape, generator=generator, dtype=dtype) for _ in range(2))
        s, t = torch.tensor(s), torch.tensor(t)
        share = torch.full((len(t),), share) if share is not None else 0.1 + 0.8 * uniform(len(t), generator=generator)
        return Case(label, (a, x_t, x0, s, t, (share * (1 - a[s])).to(dtype)))

    first = (alpha_bar_of(T4), numbers(1.0), numbers(0.0), torch.tensor([2]), torch.tensor([3]), numbers(0.2))
    return [
        Case("one number, T = 4, s = 2, t = 3, x_t = 1, x_0 = 0, σ² = 0.2", first),
        case("shape (3, 5), T = 4, neighbours", [1, 3, 2], [2, 4, 3], 5),
        case("shape (4, 3), T = 4, skipped steps", [1, 2, 1, 1], [3, 4, 4, 2], 3),
        case("shape (3, 4), random β", [2, 5, 1], [9, 7, 6], 4, beta=random_betas(9, generator)),
        case("images of shape (3, 4, 6, 5), T = 1000", [250, 480, 900], [500, 500, 1000], 4, 6, 5, beta=LONG),
        case("shape (5, 3) in float32", [1, 2, 3, 2, 1], [2, 3, 4, 4, 3], 3, dtype=torch.float32),
        case("shape (3, 4), σ² = 0, s = 0 among them", [0, 2, 0], [1, 4, 3], 4, share=0.0),
        case("shape (3, 4), σ² = 1 − ᾱ_s, all noise fresh", [1, 2, 1], [2, 3, 4], 4, share=1.0),
    ]


def _keeps_the_marginal(function):
    a, x0 = alpha_bar_of(T4), numbers(0.7)
    s, t, v = torch.tensor([1]), torch.tensor([3]), numbers(0.04)
    at = [function(a, a[3].sqrt() * x0 + k, x0, s, t, v) for k in (0.0, 1.0)]
    gain = at[1][0] - at[0][0]
    gap = abs((gain**2 * (1 - a[3]) + at[0][1] - (1 - a[1])).item())
    return gap < 1e-12, f"the variance of x_s given x_0 is off by {gap:.0e}"


IMPLICIT_POSTERIOR = Exercise(
    equation="q_σ(x_s | x_t, x_0) = N(√ᾱ_s x_0 + √(1 − ᾱ_s − σ²) (x_t − √ᾱ_t x_0)/√(1 − ᾱ_t), σ² I) (DDIM-1)",
    reference=implicit_posterior,
    returns=("mean", "var"),
    cases=_posterior_cases,
    properties=(Property("x_s has the marginal q(x_s | x_0)", _keeps_the_marginal),),
    mistakes=mistakes(
        implicit_posterior,
        ("the variance missing in the direction",
         "the direction has the factor √(1 − ᾱ_s), as if no noise were added: with the fresh noise the variance of x_s "
         "is 1 − ᾱ_s + σ², too much by σ².",
         ("(1 - a_s - sigma2).sqrt()", "(1 - a_s).sqrt()")),
        ("the mean of the chain",
         "this is the posterior mean of lesson 06, whatever σ² is; it belongs to σ² = β̃ only. The factor of the "
         "noise is "
         "√(1 − ᾱ_s − σ²).",
         ("left = (1 - a_s - sigma2).sqrt()", "left = (1 - a_s) * (a_t / a_s / (1 - a_t)).sqrt()")),
        ("sign of the noise", "the direction is subtracted; it is added.", ("x0 + expand(left", "x0 - expand(left")),
        ("σ² added under the root", "1 − ᾱ_s + σ² stands under the root; fresh noise takes the place of old.",
         ("1 - a_s - sigma2", "1 - a_s + sigma2")),
        ("ᾱ_t x_0 taken off", "ᾱ_t x_0 was subtracted from x_t; it holds √ᾱ_t x_0.",
         ("expand(a_t.sqrt(), x_t) * x0) /", "expand(a_t, x_t) * x0) /")),
        ("the noise made with ᾱ_s", "the noise of x_t was made with the scales of s; x_t holds those of t.",
         ("(x_t - expand(a_t.sqrt(), x_t) * x0) / expand((1 - a_t).sqrt(), x_t)",
          "(x_t - expand(a_s.sqrt(), x_t) * x0) / expand((1 - a_s).sqrt().clamp(min=1e-9), x_t)")),
        ("σ⁴ under the root", "sigma2 was squared once more; it is a variance already.",
         ("1 - a_s - sigma2", "1 - a_s - sigma2**2")),
        ("σ for σ² under the root", "σ was subtracted under the root; variances are subtracted.",
         ("1 - a_s - sigma2", "1 - a_s - sigma2.sqrt()")),
        ("subtracted after the root", "this is √(1 − ᾱ_s) − σ; the subtraction belongs under the root.",
         ("(1 - a_s - sigma2).sqrt()", "(1 - a_s).sqrt() - sigma2.sqrt()")),
        ("root missing", "the direction has the factor 1 − ᾱ_s − σ², without the root.",
         ("(1 - a_s - sigma2).sqrt()", "(1 - a_s - sigma2)")),
        ("1 − ᾱ_t in the direction", "the factor of the direction is √(1 − ᾱ_t − σ²); x_s has the noise of s.",
         ("1 - a_s - sigma2", "1 - a_t - sigma2")),
        ("x_t for the direction",
         "x_t itself is multiplied; the direction is the noise in it, (x_t − √ᾱ_t x_0)/√(1 − ᾱ_t).",
         ("(x_t - expand(a_t.sqrt(), x_t) * x0) / expand((1 - a_t).sqrt(), x_t)", "x_t")),
        ("noise not scaled to size 1",
         "x_t − √ᾱ_t x_0 has variance 1 − ᾱ_t; divide by √(1 − ᾱ_t), so that the direction has variance 1.",
         (" / expand((1 - a_t).sqrt(), x_t)", "")),
        ("divided by 1 − ᾱ_t", "the noise is divided by 1 − ᾱ_t; it is √(1 − ᾱ_t).",
         ("(1 - a_t).sqrt()", "(1 - a_t)")),
        ("x_0 not scaled", "x_0 stands without √ᾱ_s.", ("expand(a_s.sqrt(), x0) * x0", "x0")),
        ("√ᾱ_t at x_0", "x_0 has the factor √ᾱ_t in the mean; x_s holds √ᾱ_s x_0.",
         ("expand(a_s.sqrt(), x0) * x0", "expand(a_t.sqrt(), x0) * x0")),
        ("ᾱ_s at x_0", "x_0 has the factor ᾱ_s; it is √ᾱ_s.", ("expand(a_s.sqrt(), x0)", "expand(a_s, x0)")),
        ("standard deviation for variance", "var holds σ, the standard deviation.",
         ("* eps, sigma2", "* eps, sigma2.sqrt()")),
        ("all of the variance of s",
         "var holds 1 − ᾱ_s, the variance of x_s given x_0 alone; given x_t as well it is σ².",
         ("* eps, sigma2", "* eps, 1 - a_s")),
        ("ᾱ_{t−1} whatever s is", "ᾱ_{t−1} stands for ᾱ_s; they agree only for s = t − 1.",
         ("alpha_bar[s]", "alpha_bar[t - 1]")),
    ),
    start="Which noise is in x_t? How much of it may stay, if σ² is added afresh?",
    hint="ε = (x_t − √ᾱ_t x_0)/√(1 − ᾱ_t). Old and fresh noise together must have variance 1 − ᾱ_s.",
    see="For σ² = β̃ it is the posterior of lesson 06, for σ = 0 a point.",
)  # fmt: skip


# ---- ddim_step ------------------------------------------------------------------------------------------------------
def ddim_step(alpha_bar, x_t, eps, s, t, eta, z):
    a_s, a_t = alpha_bar[s], alpha_bar[t]
    x0 = (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()
    sigma2 = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    return a_s.sqrt() * x0 + (1 - a_s - sigma2).sqrt() * eps + sigma2.sqrt() * z


def _step_cases(generator):
    def case(label, s, t, eta, *shape, beta=T4, dtype=torch.float64):
        x_t, eps, z = (normal(*shape, generator=generator, dtype=dtype) for _ in range(3))
        return Case(label, (alpha_bar_of(beta), x_t, eps, s, t, eta, z))

    first = (alpha_bar_of(T4), numbers(1.0), numbers(0.5), 2, 3, 1.0, numbers(2.0))
    return [
        Case("one number, T = 4, from t = 3 to s = 2, x_t = 1, ε̂ = 0.5, η = 1, z = 2", first),
        case("T = 4, η = 0, from 4 to 1", 1, 4, 0.0, 3, 5),
        case("T = 9, random β, η = 0.3, from 8 to 3", 3, 8, 0.3, 4, 3, beta=random_betas(9, generator)),
        case("T = 4, the last step, from 3 to s = 0, η = 0.7", 0, 3, 0.7, 3, 4),
        case("images, T = 1000, from 500 to 450, η = 0.5", 450, 500, 0.5, 3, 4, 6, 5, beta=LONG),
        case("T = 4, η = 0.6, from 4 to 1, float32", 1, 4, 0.6, 5, 3, dtype=torch.float32),
    ]


def _lands_on_a_point(function):
    a, x0, gap = alpha_bar_of(T4), numbers(0.7, -1.2), 0.0
    for eta in (0.0, 0.6, 1.0):
        x = a[4].sqrt() * x0 + numbers(0.4, 1.1)
        for t, s in ((4, 2), (2, 1), (1, 0)):
            x = function(a, x, (x - a[t].sqrt() * x0) / (1 - a[t]).sqrt(), s, t, eta, numbers(0.3, -0.8))
        gap = max(gap, (x - x0).abs().max().item())
    return gap < 1e-12, f"off by {gap:.0e}"


DDIM_STEP = Exercise(
    equation="x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z, σ² = η² (1−ᾱ_s)/(1−ᾱ_t) (1 − ᾱ_t/ᾱ_s) (DDIM-6, DDIM-9)",
    reference=ddim_step,
    returns=("x_s",),
    cases=_step_cases,
    properties=(Property("data of one point: every walk to s = 0 ends on it", _lands_on_a_point),),
    mistakes=mistakes(
        ddim_step,
        ("the variance missing in the direction",
         "ε̂ has the factor √(1 − ᾱ_s) although σ z is added: the noise of x_s is too large by σ². At η = 0 nothing is "
         "seen of it.",
         ("(1 - a_s - sigma2).sqrt()", "(1 - a_s).sqrt()")),
        ("σ of the misprinted slide",
         "the second factor of σ² is (1 − ᾱ_t)/ᾱ_s, as one slide prints it (E-08); it is 1 − ᾱ_t/ᾱ_s. The first is so "
         "large that 1 − ᾱ_s − σ² turns negative.",
         ("(1 - a_t / a_s)", "((1 - a_t) / a_s)")),
        ("η not squared", "σ² has the factor η; σ has it, so σ² has η².", ("eta**2", "eta")),
        ("σ² before z", "z is multiplied by σ²; a draw has the standard deviation σ before it.",
         ("sigma2.sqrt() * z", "sigma2 * z")),
        ("no noise added", "σ z is missing: with η > 0 the spread is too small.", (" + sigma2.sqrt() * z", "")),
        ("η ignored: 0", "this is the deterministic step whatever η is.", ("eta**2", "0 * eta")),
        ("η ignored: 1", "this is the step of η = 1 whatever η is.", ("eta**2", "1")),
        ("β for β̃",
         "σ² is η² (1 − ᾱ_t/ᾱ_s), without the factor (1 − ᾱ_s)/(1 − ᾱ_t); at s = 0 the root is then that of a negative "
         "number.",
         (" * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)", " * (1 - a_t / a_s)")),
        ("(1 − ᾱ_s)/(1 − ᾱ_t) upside down", "σ² has (1 − ᾱ_t)/(1 − ᾱ_s), above 1.",
         ("(1 - a_s) / (1 - a_t)", "((1 - a_t) / (1 - a_s))")),
        ("all of the variance of s", "σ² is η² (1 − ᾱ_s), without the factor τ: at η = 1 nothing of ε̂ would be left.",
         (" * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)", " * (1 - a_s)")),
        ("η on the fresh noise only",
         "the direction has √(1 − ᾱ_s − σ²) of η = 1 whatever η is; less fresh noise leaves more of the old.",
         ("return a_s.sqrt()", "full = (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)\n    return a_s.sqrt()"),
         ("(1 - a_s - sigma2).sqrt() * eps", "(1 - a_s - full).sqrt() * eps")),
        ("σ for σ² under the root", "σ was subtracted under the root; variances are subtracted.",
         ("(1 - a_s - sigma2)", "(1 - a_s - sigma2.sqrt())")),
        ("σ⁴ under the root", "σ² was squared once more under the root.",
         ("(1 - a_s - sigma2)", "(1 - a_s - sigma2**2)")),
        ("subtracted after the root", "this is √(1 − ᾱ_s) − σ; the subtraction belongs under the root.",
         ("(1 - a_s - sigma2).sqrt() * eps", "((1 - a_s).sqrt() - sigma2.sqrt()) * eps")),
        ("root missing on the direction", "ε̂ has the factor 1 − ᾱ_s − σ², without the root.",
         ("(1 - a_s - sigma2).sqrt() * eps", "(1 - a_s - sigma2) * eps")),
        ("σ² added under the root", "1 − ᾱ_s + σ² stands under the root; fresh noise takes the place of old.",
         ("(1 - a_s - sigma2)", "(1 - a_s + sigma2)")),
        ("the direction missing", "ε̂ does not occur but in x̂_0: the old noise that stays is missing.",
         (" + (1 - a_s - sigma2).sqrt() * eps", "")),
        ("√ᾱ_t at x̂_0", "x̂_0 has the factor √ᾱ_t; x_s holds √ᾱ_s x̂_0.",
         ("return a_s.sqrt() * x0", "return a_t.sqrt() * x0")),
        ("ᾱ_s at x̂_0", "x̂_0 has the factor ᾱ_s; it is √ᾱ_s.", ("return a_s.sqrt() * x0", "return a_s * x0")),
        ("sign of the noise in x̂_0", "the noise is added to x_t; x̂_0 is what is left when it is taken off.",
         ("x_t - (1 - a_t)", "x_t + (1 - a_t)")),
        ("root missing in x̂_0", "(1 − ᾱ_t) ε̂ is taken off; the noise in x_t is √(1 − ᾱ_t) ε̂.",
         ("(1 - a_t).sqrt() * eps)", "(1 - a_t) * eps)")),
        ("x̂_0 divided by ᾱ_t", "x̂_0 is divided by ᾱ_t; it is √ᾱ_t.", (" / a_t.sqrt()", " / a_t")),
        ("only the noise divided by √ᾱ_t", "√ᾱ_t divides the noise only; a bracket is missing around the difference.",
         ("(x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()", "x_t - (1 - a_t).sqrt() * eps / a_t.sqrt()")),
        ("ᾱ_{s+1}", "ᾱ_{s+1} stands for ᾱ_s: every state is one step too noisy.",
         ("alpha_bar[s]", "alpha_bar[s + 1]")),
        ("x_t for x̂_0", "x_t is scaled instead of x̂_0 = (x_t − √(1−ᾱ_t) ε̂)/√ᾱ_t.",
         ("(x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()", "x_t")),
        ("x̂_0 not divided by √ᾱ_t", "x_t − √(1−ᾱ_t) ε̂ is √ᾱ_t x̂_0; it has to be divided by √ᾱ_t.",
         (" / a_t.sqrt()", "")),
        ("√(1 − ᾱ_s) in x̂_0", "x̂_0 was made with the noise of s; x_t holds that of t.",
         ("x_t - (1 - a_t).sqrt() * eps", "x_t - (1 - a_s).sqrt() * eps")),
        ("the noise of t kept", "ε̂ has the factor √(1 − ᾱ_t − σ²); x_s has the noise of s.",
         ("(1 - a_s - sigma2)", "(1 - a_t - sigma2)")),
        ("ᾱ_{t−1} whatever s is",
         "ᾱ_{t−1} stands for ᾱ_s: the state is taken for one of t − 1 while the walk goes on from s.",
         ("alpha_bar[s]", "alpha_bar[t - 1]")),
        ("the clean state missing", "at s = 0 ᾱ_1 was used; ᾱ_0 = 1, and the last step ends on x̂_0.",
         ("alpha_bar[s]", "alpha_bar[max(s, 1)]")),
        ("x̂_0 returned", "this is x̂_0; x_s has √ᾱ_s of it and noise besides.",
         ("return a_s.sqrt() * x0 + (1 - a_s - sigma2).sqrt() * eps + sigma2.sqrt() * z", "return x0")),
        ("ε̂ and z swapped", "the fresh noise has the factor of the old one and the other way round.",
         ("(1 - a_s - sigma2).sqrt() * eps + sigma2.sqrt() * z",
          "(1 - a_s - sigma2).sqrt() * z + sigma2.sqrt() * eps")),
    ),
    start="First x̂_0, then σ², then three terms.",
    hint="s and t are whole numbers, so alpha_bar[s] is a single number.",
    see="At η = 0 z does not matter; at s = 0 the answer is x̂_0 for every η.",
)  # fmt: skip


# ---- invert_step ----------------------------------------------------------------------------------------------------
def invert_step(alpha_bar, x_s, eps, s, t):
    a_s, a_t = alpha_bar[s], alpha_bar[t]
    x0 = (x_s - (1 - a_s).sqrt() * eps) / a_s.sqrt()
    return a_t.sqrt() * x0 + (1 - a_t).sqrt() * eps


def _invert_cases(generator):
    def case(label, s, t, *shape, beta=T4, dtype=torch.float64):
        x_s, eps = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (alpha_bar_of(beta), x_s, eps, s, t))

    return [
        Case("one number, T = 4, from s = 2 up to t = 3, x_s = 1, ε̂ = 0.5",
             (alpha_bar_of(T4), numbers(1.0), numbers(0.5), 2, 3)),
        case("T = 4, from 1 to 4", 1, 4, 3, 5),
        case("T = 4, from the clean state", 0, 2, 4, 3),
        case("images, T = 1000, from 450 to 500", 450, 500, 3, 4, 6, 5, beta=LONG),
        case("T = 4, from 1 to 3, float32", 1, 3, 5, 3, dtype=torch.float32),
    ]  # fmt: skip


INVERT_STEP = Exercise(
    equation="x_t = √ᾱ_t x̂_0 + √(1 − ᾱ_t) ε̂, x̂_0 and ε̂ those of x_s, s < t (DDIM-8)",
    reference=invert_step,
    returns=("x_t",),
    cases=_invert_cases,
    mistakes=mistakes(
        invert_step,
        ("downwards", "this is the step from t down to s; here x_s is given and x_t is wanted.",
         lambda a, x, e, s, t: invert_step(a, x, e, t, s)),
        ("x̂_0 with the scales of t",
         "x̂_0 was made with ᾱ_t; the state at hand is x_s, so it is made with ᾱ_s.",
         ("(x_s - (1 - a_s).sqrt() * eps) / a_s.sqrt()", "(x_s - (1 - a_t).sqrt() * eps) / a_t.sqrt()")),
        ("a fresh step of the chain",
         "this is √(ᾱ_t/ᾱ_s) x_s + √(1 − ᾱ_t/ᾱ_s) ε̂, a step of the Markov chain with ε̂ for its noise; the walk "
         "upwards makes no fresh noise, it enlarges the one that is there.",
         ("a_t.sqrt() * x0 + (1 - a_t).sqrt() * eps",
          "(a_t / a_s).sqrt() * x_s + (1 - a_t / a_s).sqrt() * eps")),
        ("x_s for x̂_0", "x_s is scaled instead of x̂_0: noise is then in it twice.",
         ("a_t.sqrt() * x0", "a_t.sqrt() * x_s")),
        ("x̂_0 not divided by √ᾱ_s", "x_s − √(1−ᾱ_s) ε̂ is √ᾱ_s x̂_0; it has to be divided by √ᾱ_s.",
         (" / a_s.sqrt()", "")),
        ("the noise of s kept", "ε̂ has the factor √(1 − ᾱ_s); x_t has the noise of t.",
         ("a_t.sqrt() * x0 + (1 - a_t)", "a_t.sqrt() * x0 + (1 - a_s)")),
        ("square roots missing", "ᾱ_t and 1 − ᾱ_t stand without their roots.",
         ("a_t.sqrt() * x0 + (1 - a_t).sqrt() * eps", "a_t * x0 + (1 - a_t) * eps")),
        ("the variance for its root at the noise", "ε̂ has the factor 1 − ᾱ_t; it is the root of that.",
         ("* x0 + (1 - a_t).sqrt()", "* x0 + (1 - a_t)")),
        ("sign of the noise", "ε̂ is subtracted; x_t holds +√(1 − ᾱ_t) ε̂.",
         ("x0 + (1 - a_t)", "x0 - (1 - a_t)")),
        ("index shifted: t − 1 for s", "x̂_0 was made with ᾱ_{t−1}; the state at hand is one of s.",
         ("alpha_bar[s]", "alpha_bar[t - 1]")),
        ("sign of the noise in x̂_0", "the noise is added to x_s; x̂_0 is what is left when it is taken off.",
         ("x_s - (1 - a_s)", "x_s + (1 - a_s)")),
        ("root missing in x̂_0", "(1 − ᾱ_s) ε̂ is taken off; the noise in x_s is √(1 − ᾱ_s) ε̂.",
         ("(1 - a_s).sqrt() * eps)", "(1 - a_s) * eps)")),
        ("x̂_0 divided by ᾱ_s", "x̂_0 is divided by ᾱ_s; it is √ᾱ_s.", (" / a_s.sqrt()", " / a_s")),
        ("√ᾱ_s at x̂_0", "x̂_0 has the factor √ᾱ_s; x_t holds √ᾱ_t x̂_0.",
         ("return a_t.sqrt() * x0", "return a_s.sqrt() * x0")),
        ("ᾱ_t at x̂_0", "x̂_0 has the factor ᾱ_t; it is √ᾱ_t.", ("return a_t.sqrt() * x0", "return a_t * x0")),
        ("x̂_0 returned", "this is x̂_0; x_t has √ᾱ_t of it, and noise besides.",
         ("return a_t.sqrt() * x0 + (1 - a_t).sqrt() * eps", "return x0")),
        ("the noise missing", "ε̂ does not occur but in x̂_0; x_t holds √(1 − ᾱ_t) of it.",
         (" + (1 - a_t).sqrt() * eps", "")),
        ("index shifted: s + 1", "this walks to s + 1 whatever t is; they agree only for t = s + 1.",
         ("alpha_bar[t]", "alpha_bar[s + 1]")),
        ("index shifted: t − 1", "the target is t − 1, one step short.",
         ("alpha_bar[t]", "alpha_bar[t - 1]")),
        ("index shifted: s − 1", "x̂_0 was made with ᾱ_{s−1}, as if the state came from one step before.",
         ("alpha_bar[s]", "alpha_bar[max(s - 1, 0)]")),
    ),
    start="Which x̂_0 and which ε̂ does x_s hold? The same two make x_t.",
    hint="It is the step of DDIM with η = 0, with the roles of s and t exchanged.",
    see="From the clean state, s = 0: √ᾱ_t x_0 + √(1−ᾱ_t) ε̂.",
)  # fmt: skip


# ---- previous_alpha_bar ---------------------------------------------------------------------------------------------
def previous_alpha_bar(step, alpha_bar, s, t):
    x_t, eps = alpha_bar[t].sqrt().reshape(1), torch.zeros(1, dtype=alpha_bar.dtype)
    return step(alpha_bar, x_t, eps, s, t)[0] ** 2  # x̂_0 = 1 and no noise: what comes back is √ᾱ_s


BOXES = (Code("first"), Code("second", "table"), Code("third", "one too noisy"), Code("fourth", "never clean"))


def _previous_cases(generator):
    short, long = alpha_bar_of(T4), alpha_bar_of(LONG)
    table = alpha_bar_of(random_betas(9, generator))
    places = (
        (0, short, 2, 4), (1, table, 3, 8), (3, table, 0, 3), (2, table, 4, 7), (0, table, 0, 5), (0, long, 450, 500),
        (2, long, 50, 100), (1, long, 50, 100),
    )  # fmt: skip
    return [
        Case(f"{BOXES[k]!r}, T = {len(a) - 1}, from t = {t} to s = {s}", (BOXES[k], a, s, t)) for k, a, s, t in places
    ]


PREVIOUS_ALPHA_BAR = Exercise(
    equation="the ᾱ that a given code uses in the place of ᾱ_s in √ᾱ_s x̂_0 + √(1 − ᾱ_s) ε̂ (DDIM-9)",
    reference=previous_alpha_bar,
    returns=("alpha_bar_s",),
    cases=_previous_cases,
    mistakes=mistakes(
        previous_alpha_bar,
        ("the right one instead of the one in use",
         "this is ᾱ_s, what the code should use. Find out what it does use: call step on inputs of your choice.",
         ("return step(alpha_bar, x_t, eps, s, t)[0] ** 2", "return alpha_bar[s]")),
        ("not squared", "what comes back is √ᾱ; the table holds ᾱ.", ("[0] ** 2", "[0]")),
        ("x_t = 1 put in",
         "with x_t = 1 and ε̂ = 0 the code's x̂_0 is 1/√ᾱ_t, so that ᾱ/ᾱ_t comes back. Put in √ᾱ_t, or multiply.",
         ("alpha_bar[t].sqrt().reshape(1)", "torch.ones(1, dtype=alpha_bar.dtype)")),
        ("ε̂ = 1 besides",
         "with noise in the input both terms come back at once, √ᾱ x̂_0 + √(1 − ᾱ) ε̂; with ε̂ = 0 the first stands "
         "alone.",
         ("torch.zeros(1", "torch.ones(1")),
        ("the noise instead",
         "this is 1 − ᾱ, the square of what the code multiplies ε̂ by.",
         ("[0] ** 2", "[0] ** 2 * -1 + 1")),
        ("ᾱ_{t−1} taken for granted",
         "this is the table's neighbour of ᾱ_t, as if s were t − 1; step has to be called with the s that is given.",
         ("return step(alpha_bar, x_t, eps, s, t)[0] ** 2", "return alpha_bar[t - 1]")),
        ("x_0 in, not x_t", "ᾱ_t was put in; an x_t whose x̂_0 is 1 is √ᾱ_t.", ("alpha_bar[t].sqrt()", "alpha_bar[t]")),
        ("asked at s, not at t", "the answer is off by the factor ᾱ_s/ᾱ_t: put in √ᾱ_t, the x_t whose x̂_0 is 1.",
         ("alpha_bar[t].sqrt()", "alpha_bar[s].sqrt()")),
        ("the place in the table",
         "this is where the number stands in the table; asked for is the number itself.",
         ("return step(alpha_bar, x_t, eps, s, t)[0] ** 2",
          "return (alpha_bar - step(alpha_bar, x_t, eps, s, t)[0] ** 2).abs().argmin()")),
        ("√(1 − ᾱ) returned", "this is √(1 − ᾱ), what the code multiplies ε̂ by; asked for is ᾱ.",
         ("[0] ** 2", "[0].square().mul(-1).add(1).sqrt()")),
        ("s and t exchanged", "the code was asked to go from s to t; it goes from t to s.",
         ("step(alpha_bar, x_t, eps, s, t)", "step(alpha_bar, x_t, eps, t, s)")),
    ),
    start="You may call step with any x_t and ε̂. For which does the answer show ᾱ_s alone?",
    hint="Choose x_t and ε̂ so that x̂_0 = 1 and ε̂ = 0.",
    see="For a right code the answer is alpha_bar[s]; at s = 0 it is 1.",
)  # fmt: skip

EXERCISES = (IMPLICIT_POSTERIOR, DDIM_STEP, INVERT_STEP, PREVIOUS_ALPHA_BAR)
