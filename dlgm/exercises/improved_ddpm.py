"""Exercises of lesson 10: the optimal variance, a learned one, the loss that trains it, and a sampler to be mended.

Ledger VAR-1, VAR-2, POST-6, E-32, SCHED-4.
"""

import torch

from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, ONE_T, T4, alpha_bar_of, normal, numbers, random_betas, uniform


# ---- optimal_variance -----------------------------------------------------------------------------------------------
def optimal_variance(alpha_bar, s, t, x0_variance):
    a_s, a_t = alpha_bar[s], alpha_bar[t]
    beta = 1 - a_t / a_s
    beta_tilde = (1 - a_s) / (1 - a_t) * beta
    c_0 = a_s.sqrt() * beta / (1 - a_t)
    return beta_tilde + c_0**2 * x0_variance


def _optimal_cases(generator):
    def case(label, s, t, beta=T4):
        spread = 0.1 + uniform(len(t), generator=generator)
        return Case(label, (alpha_bar_of(beta), torch.tensor(s), torch.tensor(t), spread))

    first = (alpha_bar_of(T4), torch.tensor([1]), torch.tensor([2]), numbers(0.5))
    return [
        Case("T = 4, s = 1, t = 2, Var(x_0 | x_t) = 0.5", first),
        case("T = 4, neighbours", [1, 2, 3], [2, 3, 4]),
        case("T = 4, skipped steps", [1, 2, 1], [3, 4, 4]),
        case("random β, skipped steps", [2, 7, 1, 4], [9, 8, 5, 6], random_betas(9, generator)),
        case("T = 1000, 50 steps at a time", [50, 500, 900], [100, 550, 950], LONG),
        case("T = 4, s = 0 among them (the clean state)", [0, 2, 0], [1, 4, 3]),
    ]


def _one_is_beta(function):
    a, s, t = alpha_bar_of(T4), torch.tensor([1, 2, 1]), torch.tensor([2, 3, 4])
    gap = (function(a, s, t, 1 - a[t]) - (1 - a[t] / a[s])).abs().max().item()
    return gap < 1e-12, f"largest gap {gap:.0e}"


OPTIMAL_VARIANCE = Exercise(
    equation="σ² = β̃ + c_0² Var(x_0 | x_t) for any pair s < t (M-05)",
    reference=optimal_variance,
    returns=("variance",),
    cases=_optimal_cases,
    properties=(
        Property("data of variance 1, where Var(x_0 | x_t) = 1 − ᾱ_t: the variance is 1 − ᾱ_t/ᾱ_s", _one_is_beta),
    ),
    mistakes=mistakes(
        optimal_variance,
        ("c_0 not squared",
         "Var(x_0 | x_t) is multiplied by c_0; a factor comes out of a variance squared.",
         ("c_0**2", "c_0")),
        ("β̃ left out",
         "this is c_0² Var(x_0 | x_t) alone, the spread of the means; each of the laws that are mixed has its own "
         "variance β̃ besides.",
         ("beta_tilde + c_0", "c_0")),
        ("c_0² Var left out",
         "this is β̃ alone, what is uncertain when x_0 is known. It is not known: c_0² Var(x_0 | x_t) comes on top.",
         ("beta_tilde + c_0**2 * x0_variance", "beta_tilde + 0 * x0_variance")),
        ("limited by β",
         "the sum is cut off at β. For data of variance above 1 the best variance lies above β.",
         ("beta_tilde + c_0**2 * x0_variance", "torch.minimum(beta_tilde + c_0**2 * x0_variance, beta)")),
        ("the difference of the ᾱ for β", "β is ᾱ_s − ᾱ_t here; it is 1 − ᾱ_t/ᾱ_s.", ("1 - a_t / a_s", "a_s - a_t")),
        ("Var squared", "Var(x_0 | x_t) was squared with c_0; it is a variance already.",
         ("c_0**2 * x0_variance", "(c_0 * x0_variance) ** 2")),
        ("β for β̃",
         "β stands in the first term. What is left when x_0 is known is β̃, the variance of q(x_s | x_t, x_0).",
         ("return beta_tilde", "return beta")),
        ("β̃ upside down", "(1 − ᾱ_t)/(1 − ᾱ_s) stands in β̃; it is (1 − ᾱ_s)/(1 − ᾱ_t), below 1.",
         ("(1 - a_s) / (1 - a_t) * beta", "(1 - a_t) / (1 - a_s) * beta")),
        ("c_t for c_0",
         "Var(x_0 | x_t) is multiplied by the square of c_t, the factor of x_t. Given x_t only x_0 is uncertain, and "
         "its "
         "factor is c_0.",
         ("a_s.sqrt() * beta / (1 - a_t)", "(a_t / a_s).sqrt() * (1 - a_s) / (1 - a_t)")),
        ("√ᾱ_t in c_0", "c_0 has √ᾱ_t; it is √ᾱ_s β/(1 − ᾱ_t).", ("a_s.sqrt()", "a_t.sqrt()")),
        ("square root missing in c_0", "c_0 has ᾱ_s; it is √ᾱ_s β/(1 − ᾱ_t).", ("a_s.sqrt()", "a_s")),
        ("the denominator of c_0 not squared",
         "c_0² is divided by 1 − ᾱ_t; the denominator of c_0 is 1 − ᾱ_t, so that of c_0² is its square.",
         ("beta / (1 - a_t)\n", "beta / (1 - a_t).sqrt()\n")),
        ("the factor of one step back to x_0",
         "Var(x_0 | x_t) is multiplied by ᾱ_s: that would be right if the mean of x_s were √ᾱ_s x_0. Part of it comes "
         "from x_t, which is known, so the factor is c_0² = ᾱ_s β²/(1 − ᾱ_t)².",
         ("c_0**2", "a_s")),
        ("β of the table",
         "β and β̃ are those of the single step from t − 1 to t, whatever s is; they agree only for s = t − 1.",
         lambda a, s, t, v: optimal_variance(a, t - 1, t, v)),
        ("standard deviation for variance", "this is the square root of the variance.",
         ("return beta_tilde + c_0**2 * x0_variance", "return (beta_tilde + c_0**2 * x0_variance).sqrt()")),
        ("standard deviations added",
         "√β̃ and c_0 √Var were added and squared; variances add, standard deviations do not.",
         ("beta_tilde + c_0**2 * x0_variance", "(beta_tilde.sqrt() + c_0 * x0_variance.sqrt()) ** 2")),
        ("variances averaged", "this is the mean of the two terms; the law of total variance adds them.",
         ("beta_tilde + c_0**2 * x0_variance", "(beta_tilde + c_0**2 * x0_variance) / 2")),
        ("one pair for the whole batch", "s[0] and t[0] were used for every example; each has a pair of its own.",
         lambda a, s, t, v: optimal_variance(a, s[:1].expand(len(s)), t[:1].expand(len(t)), v)),
    ),
    start="Given x_t, which part of x_s is still uncertain when x_0 is known, and which because it is not?",
    hint="β = 1 − ᾱ_t/ᾱ_s, β̃ = β (1 − ᾱ_s)/(1 − ᾱ_t), c_0 = √ᾱ_s β/(1 − ᾱ_t).",
    see="For Var(x_0 | x_t) = 0 it is β̃; for data of variance 1 it is β.",
)  # fmt: skip


# ---- learned_logvar -------------------------------------------------------------------------------------------------
def learned_logvar(alpha_bar, o, t):
    beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
    beta_tilde = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta
    low = torch.where(t > 1, beta_tilde, beta)
    f = (o + 1) / 2
    return f * expand(beta.log(), o) + (1 - f) * expand(low.log(), o)


def _logvar_cases(generator):
    def case(label, t, *shape, beta=T4, dtype=torch.float64):
        o = 2 * uniform(len(t), *shape, generator=generator) - 1
        return Case(label, (alpha_bar_of(beta), o.to(dtype), torch.tensor(t)))

    first = (alpha_bar_of(T4), numbers(0.5), torch.tensor([2]))
    return [
        Case("one number, T = 4, t = 2, o = 0.5", first),
        case("o of shape (3, 5), T = 4", [2, 4, 3], 5),
        case("o of shape (4, 3), T = 4, t = 1 among them", [3, 1, 4, 1], 3),
        case("images of shape (3, 4, 6, 5), T = 1000", [2, 500, 1000], 4, 6, 5, beta=LONG),
        case("o of shape (5, 3) in float32", [4, 1, 2, 3, 1], 3, dtype=torch.float32),
        Case("o beyond [−1, 1]", (alpha_bar_of(T4), normal(3, 4, generator=generator, scale=3.0),
                                  torch.tensor([4, 2, 3]))),
    ]  # fmt: skip


def _ends(function):
    a, t = alpha_bar_of(T4), torch.tensor([2, 3, 4])
    beta = 1 - a[t] / a[t - 1]
    tilde = beta * (1 - a[t - 1]) / (1 - a[t])
    gaps = [(function(a, torch.full((3,), o).double(), t).exp() - v).abs().max() for o, v in ((-1, tilde), (1, beta))]
    return max(gaps) < 1e-12, f"largest gap {max(gaps).item():.0e}"


LEARNED_LOGVAR = Exercise(
    equation="log σ² = f log β_t + (1 − f) log β̃_t with f = (o + 1)/2; at t = 1 β_1 stands for β̃_1 (VAR-1, E-32)",
    reference=learned_logvar,
    returns=("logvar",),
    cases=_logvar_cases,
    gradients=("o",),
    properties=(Property("o = −1 gives β̃_t and o = 1 gives β_t", _ends),),
    mistakes=mistakes(
        learned_logvar,
        ("variances interpolated",
         "f β + (1 − f) β̃ was taken, and its logarithm then: the logarithms are to be interpolated.",
         ("f * expand(beta.log(), o) + (1 - f) * expand(low.log(), o)",
          "(f * expand(beta, o) + (1 - f) * expand(low, o)).log()")),
        ("the ends swapped", "f = 1 gives β̃_t and f = 0 gives β_t; it is the other way round.",
         ("f * expand(beta.log(), o) + (1 - f)", "(1 - f) * expand(beta.log(), o) + f")),
        ("o taken for the fraction",
         "o itself was used as the fraction; a network's output is centred at 0, so the fraction is (o + 1)/2.",
         ("(o + 1) / 2", "o")),
        ("a sigmoid",
         "the fraction is sigmoid(o). That never reaches its ends, and cannot leave [0, 1], where data of variance "
         "above 1 need it to; it is (o + 1)/2.",
         ("(o + 1) / 2", "o.sigmoid()")),
        ("the fraction clamped",
         "the fraction is kept in [0, 1]. Data whose variance is above 1 need more than β_t: it may leave the "
         "interval.",
         ("(o + 1) / 2", "((o + 1) / 2).clamp(0, 1)")),
        ("no clip at t = 1",
         "log β̃_1 is −∞, because x_0 is known exactly once x_1 and x_0 are: at t = 1 use β_1 for it.",
         ("torch.where(t > 1, beta_tilde, beta)", "beta_tilde")),
        ("a small constant at t = 1",
         "a constant such as 1e-20 stands for β̃_1 = 0: a factor e^40 lies between the ends then. Use β_1.",
         ("torch.where(t > 1, beta_tilde, beta)", "beta_tilde.clamp(min=1e-20)")),
        ("the clip after the logarithm",
         "the values are right, but the gradient at t = 1 is NaN: log β̃_1 = −∞ was computed and then replaced, and "
         "0 · ∞ comes back. Choose the variance first, torch.where(t > 1, β̃, β), then take its logarithm.",
         ("low = torch.where(t > 1, beta_tilde, beta)", "low = beta_tilde"),
         ("return f * expand(beta.log(), o) + (1 - f) * expand(low.log(), o)",
          "at_1, high = (t == 1).reshape(-1, *[1] * (o.ndim - 1)), expand(beta.log(), o)\n    "
          "return torch.where(at_1, high, f * high + (1 - f) * expand(low.log(), o))")),
        ("β̃_2 at t = 1",
         "β̃_2 stands for β̃_1, as in the code of the paper. It would serve; here β_1 stands at both ends at t = 1.",
         ("low = torch.where(t > 1, beta_tilde, beta)",
          "second = (1 - alpha_bar[1]) / (1 - alpha_bar[2]) * (1 - alpha_bar[2] / alpha_bar[1])\n    "
          "low = torch.where(t > 1, beta_tilde, second)")),
        ("o cut off from the gradient", "the values are right, but no gradient reaches o: nothing could train it.",
         ("f = (o + 1) / 2", "f = (o.detach() + 1) / 2")),
        ("standard deviations interpolated",
         "f √β + (1 − f) √β̃ was taken; it is the logarithms that are interpolated.",
         ("f * expand(beta.log(), o) + (1 - f) * expand(low.log(), o)",
          "2 * (f * expand(beta.sqrt(), o) + (1 - f) * expand(low.sqrt(), o)).log()")),
        ("the bracket forgotten", "this is o + 1/2; the fraction is (o + 1)/2.", ("(o + 1) / 2", "o + 1 / 2")),
        ("tanh", "o went through tanh first. The fraction is (o + 1)/2, and it may leave [0, 1].",
         ("(o + 1) / 2", "(o.tanh() + 1) / 2")),
        ("one t decides for all", "t = 1 of one example changed the ends of all: torch.where decides for each.",
         ("torch.where(t > 1, beta_tilde, beta)", "beta if (t == 1).any() else beta_tilde")),
        ("variance returned", "this is σ²; the function returns its logarithm.",
         ("return f * expand(beta.log(), o) + (1 - f) * expand(low.log(), o)",
          "return (f * expand(beta.log(), o) + (1 - f) * expand(low.log(), o)).exp()")),
        ("log σ returned", "this is log σ, half of log σ².",
         ("return f * expand(beta.log(), o) + (1 - f) * expand(low.log(), o)",
          "return (f * expand(beta.log(), o) + (1 - f) * expand(low.log(), o)) / 2")),
        ("1 − ᾱ_t for β_t",
         "the upper end is 1 − ᾱ_t, the noise of all steps up to t; β_t is that of one step, 1 − ᾱ_t/ᾱ_{t−1}.",
         ("expand(beta.log(), o)", "expand((1 - alpha_bar[t]).log(), o)")),
        ("index shifted: t − 1", "both ends are those of t − 1.",
         lambda a, o, t: learned_logvar(a, o, (t - 1).clamp(min=1))),
        ("broadcast over the wrong axis",
         "a coefficient of shape (B,) was lined up with the last axis of o instead of the batch; expand(coefficient, "
         "o) "
         "lines it up.",
         ("expand(beta.log(), o)", "beta.log().to(o.dtype)"), ("expand(low.log(), o)", "low.log().to(o.dtype)")),
        ("one t for the whole batch", ONE_T, lambda a, o, t: learned_logvar(a, o, t[:1].expand(len(t)))),
    ),
    start="Write the two ends, log β̃_t and log β_t, as tensors of shape (B,).",
    hint="torch.where(t > 1, beta_tilde, beta) before the logarithm.",
    see="At t = 2 of the short chain o = −1, 0, 1 give variances 0.0769, 0.1387, 0.25.",
)  # fmt: skip


# ---- hybrid_loss ----------------------------------------------------------------------------------------------------
def hybrid_loss(eps, eps_hat, mean_q, var_q, mean_p, logvar_p, weight):
    simple = (eps - eps_hat).square().flatten(1).sum(1)
    var_q = expand(var_q, mean_q)
    square = (mean_q - mean_p.detach()).square()
    kl = 0.5 * ((var_q + square) / logvar_p.exp() - 1 - var_q.log() + logvar_p)
    return simple + weight * kl.flatten(1).sum(1)


def _hybrid_cases(generator):
    def case(label, B, *shape, weight=0.1, spread=0.5, dtype=torch.float64):
        eps, eps_hat, mean_q, mean_p, logvar = (normal(B, *shape, generator=generator, dtype=dtype) for _ in range(5))
        var = (0.2 + uniform(B, generator=generator)).to(dtype)
        return Case(label, (eps, eps_hat, mean_q, var, mean_p, spread * logvar, weight))

    first = (
        numbers([2.0]), numbers([0.0]), numbers([1.0]), numbers(0.5), numbers([0.0]), numbers([0.0]), 0.5,
    )  # fmt: skip
    return [
        Case("ε = 2, ε̂ = 0, q = N(1, 0.5), p = N(0, 1), weight 0.5", first),
        case("shape (3, 5)", 3, 5),
        case("shape (4, 3), log-variances beyond ±10", 4, 3, spread=8.0),
        case("images of shape (4, 3, 6, 5), weight 1", 4, 3, 6, 5, weight=1.0),
        case("shape (5, 3), weight 0.001, float32", 5, 3, weight=1e-3, dtype=torch.float32),
    ]


HYBRID_LOSS = Exercise(
    equation="‖ε − ε̂‖² + weight · KL(N(m_q, v_q) ‖ N(m_p, e^logvar)), no gradient to m_p from the KL (VAR-2)",
    reference=hybrid_loss,
    returns=("loss",),
    cases=_hybrid_cases,
    gradients=("eps_hat", "mean_p", "logvar_p"),
    mistakes=mistakes(
        hybrid_loss,
        ("gradient of the bound reaches the mean",
         "the value is right, but the KL sends a gradient to mean_p. In this loss the bound trains the variance only: "
         "detach the mean inside the KL.",
         ("mean_p.detach()", "mean_p")),
        ("the variance is detached too",
         "no gradient reaches logvar_p: detach the mean, not the whole KL. The variance is what the KL is there to "
         "train.",
         ("return simple + weight * kl", "return simple + weight * kl.detach()")),
        ("gradient of ε̂ stopped", "eps_hat was detached: nothing trains the mean then.",
         ("(eps - eps_hat)", "(eps - eps_hat.detach())")),
        ("the KL the wrong way round", "this is KL(p ‖ q); the bound has KL(q ‖ p).",
         ("(var_q + square) / logvar_p.exp() - 1 - var_q.log() + logvar_p",
          "(logvar_p.exp() + square) / var_q - 1 + var_q.log() - logvar_p")),
        ("logvar taken for log σ",
         "exp(logvar) was taken for σ, and squared: logvar is log σ², so exp(logvar) is the variance.",
         ("logvar_p.exp() - 1 - var_q.log() + logvar_p", "(2 * logvar_p).exp() - 1 - var_q.log() + 2 * logvar_p")),
        ("v_q taken for a standard deviation",
         "var_q was taken for a standard deviation, and squared; it is a variance already.",
         ("var_q = expand(var_q, mean_q)", "var_q = expand(var_q, mean_q) ** 2")),
        ("the logarithm of v_q left out",
         "−log v_q is missing. Its gradient is 0, so training looks right, and the value is no KL.",
         ("- 1 - var_q.log()", "- 1")),
        ("the −1 left out", "−1 is missing: a KL of a law to itself is 0.",
         (" - 1 - var_q.log()", " - var_q.log()")),
        ("the half left out", "the factor ½ of the KL is missing.", ("0.5 * (", "1.0 * (")),
        ("the square left out",
         "(m_q − m_p)² is missing in the KL. Detached is not left out: how far the mean is off decides how wide the "
         "variance must be.",
         ("(var_q + square)", "var_q")),
        ("weight on the wrong term", "the weight stands before the squared error; it belongs before the KL.",
         ("simple + weight * kl", "weight * simple + kl")),
        ("averaged over dimensions",
         "the two terms are means over the entries of an example; they are sums, in nats.",
         ("square().flatten(1).sum(1)", "square().flatten(1).mean(1)"),
         ("kl.flatten(1).sum(1)", "kl.flatten(1).mean(1)")),
        ("only the KL averaged", "the KL is a mean over the entries of an example; it is a sum.",
         ("kl.flatten(1).sum(1)", "kl.flatten(1).mean(1)")),
        ("summed over the batch", "the KLs of all examples were added up; the result has one number for each example.",
         ("kl.flatten(1).sum(1)", "kl.sum()")),
        ("weight hard-coded", "the weight is 0.001 whatever is passed in.", ("weight * kl", "1e-3 * kl")),
        ("the first term left out", "the squared error of ε̂ is missing: nothing trains the mean.",
         ("return simple + weight", "return weight")),
        ("the second term left out", "the KL is missing: nothing trains the variance.",
         ("return simple + weight * kl.flatten(1).sum(1)", "return simple + 0 * logvar_p.flatten(1).sum(1)")),
        ("the first term averaged", "‖ε − ε̂‖² is a mean over the entries of an example; it is a sum.",
         ("square().flatten(1).sum(1)", "square().flatten(1).mean(1)")),
        ("the logarithms the wrong way round", "log v_q − log σ² has the wrong sign; the KL has log σ² − log v_q.",
         ("- 1 - var_q.log() + logvar_p", "- 1 + var_q.log() - logvar_p")),
        ("the exponential forgotten", "logvar_p itself stands in the denominator; σ² is exp(logvar_p).",
         ("logvar_p.exp() - 1", "logvar_p - 1")),
        ("weight left out", "the weight is missing.", ("simple + weight * kl", "simple + kl")),
    ),
    start="Two terms, each a sum over all but the batch.",
    hint="KL = ½ [(v_q + (m_q − m_p)²)/σ² − 1 − log v_q + log σ²]; mean_p.detach() stops the gradient.",
    see="In the first case 4 + 0.5 · ½ (0.5 + 1 − 1 − log 0.5) = 4.298, and the gradient with respect to mean_p is 0.",
)  # fmt: skip


# ---- mended_step ----------------------------------------------------------------------------------------------------
def mended_step(alpha_bar, x_t, x0_hat, o, s, t, z):
    a_s, a_t = alpha_bar[s], alpha_bar[t]
    beta = 1 - a_t / a_s
    beta_tilde = (1 - a_s) / (1 - a_t) * beta
    mean = a_s.sqrt() * beta / (1 - a_t) * x0_hat + (a_t / a_s).sqrt() * (1 - a_s) / (1 - a_t) * x_t
    if s == 0:
        return mean
    f = (o + 1) / 2
    return mean + (f * beta.log() + (1 - f) * beta_tilde.log()).exp().sqrt() * z


def public_step(alpha_bar, x_t, x0_hat, o, s, t, z):
    """The sampler of lesson 10 that is to be mended."""
    a_s, a_t = alpha_bar[s], alpha_bar[t]
    beta = 1 - a_t / a_s
    mean = a_s.sqrt() * beta / (1 - a_t) * x0_hat
    mean = mean + (a_t / a_s).sqrt() * (1 - a_s) / (1 - a_t) * x_t
    if s == 0:
        return mean
    beta_t = 1 - alpha_bar[t] / alpha_bar[t - 1]
    beta_tilde_t = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta_t
    f = (o + 1) / 2
    log_variance = f * beta_t.log() + (1 - f) * beta_tilde_t.log()
    return mean + log_variance.exp().sqrt() * z


def _mended_cases(generator):
    def case(label, s, t, *shape, beta=T4, reach=1.0, dtype=torch.float64):
        x_t, x0, z = (normal(*shape, generator=generator, dtype=dtype) for _ in range(3))
        o = reach * (2 * uniform(*shape, generator=generator) - 1).to(dtype)
        return Case(label, (alpha_bar_of(beta), x_t, 2 * x0, o, s, t, z))

    first = (alpha_bar_of(T4), numbers(1.0), numbers(0.0), numbers(0.0), 2, 4, numbers(1.0))
    return [
        Case("one number, T = 4, from t = 4 to s = 2, x_t = 1, x̂_0 = 0, o = 0, z = 1", first),
        case("T = 4, neighbours", 2, 3, 3, 5),
        case("T = 4, the last step, to s = 0, o beyond [−1, 1]", 0, 2, 3, 4, reach=3.0),
        case("T = 4, from 4 to 1, o beyond [−1, 1]", 1, 4, 4, 3, reach=3.0),
        case("T = 4, from 2 to 1", 1, 2, 3, 4),
        case("T = 4, from 4 to 2, float32", 2, 4, 3, 5, dtype=torch.float32),
        case("images, T = 1000, from 500 to 480", 480, 500, 3, 4, 6, 5, beta=LONG),
    ]


MENDED_STEP = Exercise(
    equation="x_s = c_0 x̂_0 + c_t x_t + σ z with log σ² between the β̃ and β of the pair s < t (VAR-1)",
    reference=mended_step,
    returns=("x_s",),
    cases=_mended_cases,
    mistakes=mistakes(
        mended_step,
        ("as it was: the variance of one step of the table",
         "the ends are still β_t and β̃_t of the table, the variance of the step from t − 1 to t. From t to s more "
         "noise "
         "was added: β = 1 − ᾱ_t/ᾱ_s, and β̃ with it. At s = t − 1 the two are the same.",
         public_step),
        ("only the upper end mended",
         "β is that of the pair, but β̃ is still that of the step from t − 1 to t.",
         ("(1 - a_s) / (1 - a_t) * beta\n",
          "(1 - alpha_bar[t - 1]) / (1 - a_t) * (1 - a_t / alpha_bar[t - 1])\n")),
        ("only the lower end mended", "β̃ is that of the pair, but the upper end is still β_t = 1 − ᾱ_t/ᾱ_{t−1}.",
         ("f * beta.log()", "f * (1 - a_t / alpha_bar[t - 1]).log()")),
        ("only the prefactor of β̃ mended",
         "(1 − ᾱ_s)/(1 − ᾱ_t) is that of the pair, but both ends still have the β of the step from t − 1 to t.",
         ("f * beta.log() + (1 - f) * beta_tilde.log()",
          "f * (one := 1 - a_t / alpha_bar[t - 1]).log() + (1 - f) * ((1 - a_s) / (1 - a_t) * one).log()")),
        ("the prefactor of the table",
         "β is that of the pair, but in β̃ it is multiplied by (1 − ᾱ_{t−1})/(1 − ᾱ_t); that is (1 − ᾱ_s)/(1 − ᾱ_t).",
         ("(1 - a_s) / (1 - a_t) * beta\n", "(1 - alpha_bar[t - 1]) / (1 - a_t) * beta\n")),
        ("the fraction clamped", "the fraction is kept in [0, 1]; data of variance above 1 need it to leave.",
         ("(o + 1) / 2", "((o + 1) / 2).clamp(0, 1)")),
        ("no noise at all", "nothing is added: σ z is missing.",
         ("mean + (f", "mean + 0 * (f")),
        ("standard deviations interpolated", "the standard deviations are interpolated, not the logarithms.",
         ("(f * beta.log() + (1 - f) * beta_tilde.log()).exp().sqrt()",
          "(f * beta.sqrt() + (1 - f) * beta_tilde.sqrt())")),
        ("β̃ with the β of the table",
         "(1 − ᾱ_s)/(1 − ᾱ_t) is right in β̃, but the β that it multiplies is that of the step from t − 1 to t.",
         ("(1 - a_s) / (1 - a_t) * beta\n", "(1 - a_s) / (1 - a_t) * (1 - a_t / alpha_bar[t - 1])\n")),
        ("the variance multiplied by the number of steps",
         "the table's variance was multiplied by t − s. The β of the steps differ, and earlier noise is shrunk by "
         "later "
         "steps: the merged β is 1 − ᾱ_t/ᾱ_s.",
         lambda a, x, x0, o, s, t, z: public_step(a, x, x0, o, s, t, z * (t - s) ** 0.5)),
        ("the β of the steps added up",
         "β_{s+1} + ... + β_t stands for the merged β; earlier noise is shrunk by later steps, so it is 1 − ᾱ_t/ᾱ_s.",
         ("f * beta.log() + (1 - f) * beta_tilde.log()",
          "f * (added := sum(1 - alpha_bar[i] / alpha_bar[i - 1] for i in range(s + 1, t + 1))).log()"
          " + (1 - f) * ((1 - a_s) / (1 - a_t) * added).log()")),
        ("the mean changed to that of one step",
         "the mean now belongs to the step from t − 1 to t; it was right as it stood.",
         lambda a, x, x0, o, s, t, z: mended_step(a, x, x0, o, s, t, z)
         - mended_step(a, x, x0, o, s, t, 0 * z) + mended_step(a, x, x0, o, t - 1, t, 0 * z)),
        ("noise at the last step", "noise is added on the way to s = 0 as well; there nothing may be added.",
         ("    if s == 0:\n        return mean\n", ""), ("beta_tilde.log()", "(beta_tilde if s else beta).log()")),
        ("variances interpolated", "the variances are interpolated, not their logarithms.",
         ("(f * beta.log() + (1 - f) * beta_tilde.log()).exp()", "(f * beta + (1 - f) * beta_tilde)")),
        ("the variance for its root", "z is multiplied by σ²; a draw has the standard deviation σ before it.",
         (".exp().sqrt()", ".exp()")),
        ("the ends swapped", "f = 1 gives β̃ and f = 0 gives β; it is the other way round.",
         ("f * beta.log() + (1 - f) * beta_tilde.log()", "(1 - f) * beta.log() + f * beta_tilde.log()")),
        ("always β̃", "o is not used any more: the variance is β̃ of the pair, whatever the network says.",
         ("(f * beta.log() + (1 - f) * beta_tilde.log()).exp()", "beta_tilde")),
        ("always β", "o is not used any more: the variance is β of the pair, whatever the network says.",
         ("(f * beta.log() + (1 - f) * beta_tilde.log()).exp()", "beta")),
    ),
    start="Which numbers does the sampler print right at 1000 steps, and what changes when t − s is 20 instead of 1?",
    hint="Everything in the mean speaks of the pair (s, t). Does everything in the noise?",
    see="With 50 steps the exact spread comes back; with 1000 nothing changes.",
)  # fmt: skip

EXERCISES = (OPTIMAL_VARIANCE, LEARNED_LOGVAR, HYBRID_LOSS, MENDED_STEP)
