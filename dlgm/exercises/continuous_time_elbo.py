"""Exercises of lesson 15: stairs over a curve, one draw of the bound, a weight to be mended, a law of noise levels.

Ledger CELBO-1, CELBO-3, CELBO-4, CELBO-6.
"""

import math

import torch

from ..tensors import expand, sum_non_batch
from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers, uniform


# ---- stair_bound ----------------------------------------------------------------------------------------------------
def stair_bound(snr, error):
    return 0.5 * ((snr[:-1] - snr[1:]) * error[1:]).sum()


def _falling(n, generator):
    return uniform(n, generator=generator).add(0.1).flip(0).cumsum(0).flip(0)


def _stair_cases(generator):
    def case(label, n):
        return Case(label, (_falling(n, generator), uniform(n, generator=generator) + 0.2))

    return [
        Case("SNR 4, 1, 0 and errors ¼, ½, 1", (numbers(4.0, 1.0, 0.0), numbers(0.25, 0.5, 1.0))),
        case("5 stops", 5),
        case("12 stops", 12),
        Case("one step, SNR 4 to 1", (numbers(4.0, 1.0), numbers(0.2, 0.5))),
    ]


def _above_the_curve(function):
    """For data N(0, 1) the stairs lie above ½ log of the ratio, and more stops bring them nearer."""
    found = []
    for n in (5, 9, 17):
        snr = torch.linspace(3, 0, n, dtype=torch.float64, device="cpu")
        found.append(function(snr, 1 / (1 + snr)).item())
    good = found[0] > found[1] > found[2] > 0.5 * math.log(4)
    return (
        good,
        f"{found[0]:.4f}, {found[1]:.4f}, {found[2]:.4f} with 4, 8, 16 steps; the limit is {math.log(4) / 2:.4f}",
    )


STAIR_BOUND = Exercise(
    equation="½ Σ (SNR_s − SNR_t) error_t, over the steps t → s (CELBO-6)",
    reference=stair_bound,
    returns=("bound",),
    cases=_stair_cases,
    properties=(Property("more stops make it smaller, never below the limit", _above_the_curve),),
    mistakes=mistakes(
        stair_bound,
        ("the lower stairs",
         "the error at s was taken, where the SNR is higher; a step back begins at t, with the error there.",
         ("error[1:]", "error[:-1]")),
        ("the mean of both errors", "this is the trapezoidal rule, nearer to the limit but not the bound of a chain.",
         ("error[1:]", "(error[1:] + error[:-1]) / 2")),
        ("½ missing", "½ is missing.", ("0.5 * (", "1.0 * (")),
        ("the sign", "SNR_t − SNR_s is negative; the SNR rises on the way back.",
         ("snr[:-1] - snr[1:]", "snr[1:] - snr[:-1]")),
        ("the mean over the steps", "this is the mean over the steps; the bound is their sum.", (".sum()", ".mean()")),
        ("differences of the logarithm", "differences of log SNR were taken; that weight belongs to errors of ε.",
         ("snr[:-1] - snr[1:]", "snr[:-1].log() - snr[1:].clamp(min=1e-300).log()")),
        ("the SNR itself", "SNR_t stands for the difference of two.", ("(snr[:-1] - snr[1:])", "snr[1:]")),
        ("the SNR at s", "SNR_s stands for the difference of two.", ("(snr[:-1] - snr[1:])", "snr[:-1]")),
        ("the last step left out", "the last step, to the lowest SNR, is missing.",
         ("(snr[:-1] - snr[1:]) * error[1:]", "(snr[:-2] - snr[1:-1]) * error[1:-1]")),
        ("the first step left out", "the first step, from the highest SNR, is missing.",
         ("(snr[:-1] - snr[1:]) * error[1:]", "(snr[1:-1] - snr[2:]) * error[2:]")),
        ("squared errors squared", "the errors are squares already.", ("error[1:]", "error[1:] ** 2")),
        ("all at once", "the SNR of the whole walk times the mean error: only right for equal steps.",
         ("((snr[:-1] - snr[1:]) * error[1:]).sum()", "(snr[0] - snr[-1]) * error[1:].mean()")),
        ("no difference", "SNR times error was summed, both at the same time; a step has the width SNR_s − SNR_t.",
         ("(snr[:-1] - snr[1:]) * error[1:]", "snr * error")),
        ("the whole range times the mean error", "the SNR of the whole walk times the mean of all errors.",
         ("((snr[:-1] - snr[1:]) * error[1:]).sum()", "(snr[0] - snr[-1]) * error.mean()")),
        ("the errors differenced, SNR at t", "the errors were subtracted; it is the SNR that changes over a step.",
         ("(snr[:-1] - snr[1:]) * error[1:]", "(error[1:] - error[:-1]) * snr[1:]")),
        ("wrapped round", "the first entry was paired with the last: roll wraps round.",
         ("(snr[:-1] - snr[1:]) * error[1:]", "(snr.roll(1) - snr) * error")),
        ("times T", "the sum was multiplied by the number of steps; that belongs to one step drawn at random.",
         ("0.5 * (", "0.5 * (len(snr) - 1) * (")),
        ("one term for each step", "these are the steps one by one; their sum is asked for.", (".sum()", "")),
        ("the errors differenced", "the errors were subtracted and the SNR taken whole.",
         ("(snr[:-1] - snr[1:]) * error[1:]", "(error[1:] - error[:-1]) * snr[:-1]")),
    ),
    start="One step: how high is the stair, and how wide?",
    hint="Entry i and entry i + 1 are s and t of one step. Width SNR_s − SNR_t, height error_t.",
    see="In the first case ½ (3 · ½ + 1 · 1) = 1.25.",
)  # fmt: skip


# ---- bound_draw -----------------------------------------------------------------------------------------------------
def bound_draw(eps, eps_hat, t, start, end):
    rate = 2 * math.pi / torch.sin(math.pi * t)
    error = sum_non_batch((eps - eps_hat).square())
    return 0.5 * (end - start) * expand(rate, error) * error


def _draw_cases(generator):
    def case(label, start, end, *shape, dtype=torch.float64):
        eps, hat = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        t = start + (end - start) * uniform(shape[0], generator=generator)
        return Case(label, (eps, hat, t, start, end))

    first = (numbers([1.0, 0.0, 2.0]), numbers([0.0, 1.0, 1.0]), numbers(1 / 6), 0.1, 0.5)
    near = (*(normal(3, 4, generator=generator) for _ in range(2)), numbers(0.0004, 0.7, 0.9996), 0.0004, 0.9996)
    return [
        Case("ε = (1, 0, 2), ε̂ = (0, 1, 1), t = 1/6, from 0.1 to 0.5", first),
        case("shape (3, 5), from 0.1 to 0.9", 0.1, 0.9, 3, 5),
        case("images of shape (4, 3, 6, 5), from 0.05 to 0.6", 0.05, 0.6, 4, 3, 6, 5),
        Case("t near both ends, from 0.0004 to 0.9996", near),
        case("shape (5, 3), float32", 0.2, 0.7, 5, 3, dtype=torch.float32),
    ]


BOUND_DRAW = Exercise(
    equation="½ (end − start) (−dλ/dt) ‖ε − ε̂‖², −dλ/dt = 2π/sin(πt) (CELBO-1)",
    reference=bound_draw,
    returns=("loss",),
    cases=_draw_cases,
    gradients=("eps_hat",),
    mistakes=mistakes(
        bound_draw,
        ("the length left out", "end − start is missing: a mean over t is the integral divided by its length.",
         ("0.5 * (end - start) *", "0.5 *")),
        ("divided by the length", "end − start belongs in the numerator.", ("* (end - start)", "/ (end - start)")),
        ("½ missing", "½ is missing.", ("0.5 * (end", "1.0 * (end")),
        ("the sign", "this is negative; −dλ/dt and end − start are positive, and a squared error is.",
         ("2 * math.pi / torch", "-2 * math.pi / torch")),
        ("the mean over the entries", "the error is averaged over the entries of an example; nats add up.",
         ("sum_non_batch((eps - eps_hat).square())", "(eps - eps_hat).square().flatten(1).mean(1)")),
        ("g² for the rate", "this is g² = π tan(πt/2); the rate of the log-SNR is g²/noise².",
         ("2 * math.pi / torch.sin(math.pi * t)", "math.pi * torch.tan(math.pi * t / 2)")),
        ("the weight of the simple loss", "this is 1/(−dλ/dt), the weight that undoes the rate.",
         ("2 * math.pi / torch.sin(math.pi * t)", "torch.sin(math.pi * t) / (2 * math.pi)")),
        ("sin in the numerator", "2π sin(πt) stands for 2π/sin(πt).",
         ("2 * math.pi / torch.sin(math.pi * t)", "2 * math.pi * torch.sin(math.pi * t)")),
        ("the rate of the SNR", "this is −dSNR/dt, the weight of ‖x_0 − x̂_0‖²; that of ε is −dλ/dt.",
         ("2 * math.pi / torch.sin(math.pi * t)",
          "2 * math.pi / torch.sin(math.pi * t) * torch.tan(math.pi * t / 2) ** -2")),
        ("in bits", "this was divided by log 2: bits, where nats are asked for.",
         ("return 0.5 * (end", "return 0.5 / math.log(2) * (end")),
        ("the simple loss", "the rate is missing: this is the loss with every t alike.",
         ("expand(rate, error) * error", "error + 0 * expand(rate, error)")),
        ("π/sin",
         "half of what is asked for: the rate is 2π/sin(πt), λ being the logarithm of a square; or ½ was taken twice.",
         ("2 * math.pi / torch", "math.pi / torch")),
        ("the inner derivative", "π from inside the tangent is missing: 2/sin(πt).",
         ("2 * math.pi / torch", "2 / torch")),
        ("sin(πt/2)", "this is sin(πt/2); tan′/tan of πt/2 gives 2/sin(πt).",
         ("torch.sin(math.pi * t)", "torch.sin(math.pi * t / 2)")),
        ("the log-SNR for its rate", "λ itself stands for −dλ/dt.",
         ("2 * math.pi / torch.sin(math.pi * t)", "-2 * torch.tan(math.pi * t / 2).log()")),
        ("not squared", "the norm is not squared.",
         ("sum_non_batch((eps - eps_hat).square())", "sum_non_batch((eps - eps_hat).square()).sqrt()")),
        ("the SNR as weight", "SNR is the weight between errors of x_0 and of ε, not the rate.",
         ("2 * math.pi / torch.sin(math.pi * t)", "torch.tan(math.pi * t / 2) ** -2")),
        ("the mean over all entries", "the error is the mean over the whole batch and all entries (mse_loss).",
         ("error = sum_non_batch((eps - eps_hat).square())",
          "error = (eps - eps_hat).square().mean().expand(len(eps))")),
        ("the length in λ", "λ(start) − λ(end) stands for the length times the rate: right for t even in λ, not in t.",
         lambda eps, eps_hat, t, start, end: 0.5 * sum_non_batch((eps - eps_hat).square())
         * 2 * math.log(math.tan(math.pi * end / 2) / math.tan(math.pi * start / 2))),
        ("½ and the length missing", "½ and end − start are missing.", ("0.5 * (end - start)", "1.0")),
        ("the mean over the batch", "one number for each example is asked for.",
         ("return 0.5 * (end - start) * expand(rate, error) * error",
          "return (0.5 * (end - start) * expand(rate, error) * error).mean()")),
        ("one t for the batch", "t[0] was used for every example.",
         ("torch.sin(math.pi * t)", "torch.sin(math.pi * t[:1])"),
         ("expand(rate, error)", "expand(rate.expand(len(t)), error)")),
        ("times T = 1000", "a factor 1000 stands for the length; here time runs from start to end.",
         ("(end - start)", "1000")),
    ),
    start="λ = −2 log tan(πt/2). What is its derivative?",
    hint="The derivative of log tan u is 2/sin(2u). An average over uniform t is an integral divided by its length.",
    see="In the first case the rate is 2π/½ = 4π, ‖ε − ε̂‖² = 3, and ½ · 0.4 · 4π · 3 = 7.5398.",
)  # fmt: skip


# ---- mended_weight --------------------------------------------------------------------------------------------------
def mended_weight(snr, kind, gamma):
    capped = snr.clamp(max=gamma)
    if kind == "x0":
        return capped
    if kind == "eps":
        return torch.where(snr > 0, capped / snr, torch.ones_like(snr))
    return capped / (snr + 1)


def public_weight(snr, kind, gamma):
    """The weight of lesson 15 to be mended: min(SNR, γ) on ‖x̂_0 − x_0‖²."""
    if kind == "v":
        snr = snr + 1  # v needs one more before the division
    capped = snr.clamp(max=gamma)
    return capped if kind == "x0" else capped / snr


def _weight_cases(generator):
    def case(label, kind, n, gamma):
        snr = (4 * normal(n, generator=generator)).exp()
        return Case(label, (snr, kind, gamma))

    return [
        Case("SNR 1, 4, 9, γ = 5, v", (numbers(1.0, 4.0, 9.0), "v", 5.0)),
        Case("SNR 1, 4, 9, γ = 5, eps", (numbers(1.0, 4.0, 9.0), "eps", 5.0)),
        Case("SNR 0, 0.5, 20, γ = 5, eps", (numbers(0.0, 0.5, 20.0), "eps", 5.0)),
        Case("SNR 0, 0.5, 2, γ = 5, eps, all below γ", (numbers(0.0, 0.5, 2.0), "eps", 5.0)),
        Case("SNR 0, 0.5, 20, γ = 3, v", (numbers(0.0, 0.5, 20.0), "v", 3.0)),
        case("8 of them, γ = 3, x0", "x0", 8, 3.0),
        case("7 of them, γ = 2, v", "v", 7, 2.0),
        case("9 of them, γ = 7, eps", "eps", 9, 7.0),
    ]


MENDED_WEIGHT = Exercise(
    equation="x0: min(SNR, γ);  eps: min(SNR, γ)/SNR, 1 at SNR 0;  v: min(SNR, γ)/(SNR + 1) (CELBO-3)",
    reference=mended_weight,
    returns=("weight",),
    cases=_weight_cases,
    mistakes=mistakes(
        mended_weight,
        ("as it came",
         "for v, SNR + 1 is still capped; only the denominator should have the 1. And at SNR 0, ε has 0/0.",
         public_weight),
        ("no answer at SNR 0", "at SNR 0 the weight of ε is 0/0; its limit is 1.",
         ("torch.where(snr > 0, capped / snr, torch.ones_like(snr))", "capped / snr")),
        ("v right, 0 for ε at SNR 0", "at SNR 0 the weight of ε became 0; min(SNR, γ)/SNR tends to 1.",
         ("torch.ones_like(snr)", "torch.zeros_like(snr)")),
        ("v without the 1", "v has the weight of ε here; its denominator is SNR + 1.",
         ("capped / (snr + 1)", "torch.where(snr > 0, capped / snr, torch.ones_like(snr))")),
        ("1 added to the weight", "1 was added to the weight of ε; it belongs to the SNR in the denominator.",
         ("capped / (snr + 1)", "torch.where(snr > 0, capped / snr, torch.ones_like(snr)) + 1")),
        ("γ + 1", "the cap became γ + 1 and the SNR SNR + 1; the numerator is min(SNR, γ).",
         ("return capped / (snr + 1)", "return (snr + 1).clamp(max=gamma + 1) / (snr + 1)")),
        ("only ε mended", "for v, SNR + 1 is still capped; the numerator is min(SNR, γ).",
         ("return capped / (snr + 1)", "return (snr + 1).clamp(max=gamma) / (snr + 1)")),
        ("divided twice", "for v the weight of ε was divided by SNR + 1 once more.",
         ("capped / (snr + 1)", "torch.where(snr > 0, capped / snr, torch.ones_like(snr)) / (snr + 1)")),
        ("x_0 divided as well", "x_0 needs no division: min(SNR, γ) is its weight.",
         ('if kind == "x0":\n        return capped', 'if kind == "x0":\n        return capped / snr.clamp(min=1e-30)')),
        ("max for min", "the SNR was kept above γ, not below.", ("clamp(max=gamma)", "clamp(min=gamma)")),
        ("no cap", "γ was not used.", ("snr.clamp(max=gamma)", "snr.clone()")),
        ("a small number under SNR", "a small number in the denominator gives 0 at SNR 0; the limit is 1.",
         ("torch.where(snr > 0, capped / snr, torch.ones_like(snr))", "capped / (snr + 1e-8)")),
        ("v with SNR/(SNR + 1)",
         "min(SNR, γ) was multiplied by SNR/(SNR + 1): that translates a weight of ε, not of x_0.",
         ("capped / (snr + 1)", "capped * snr / (snr + 1)")),
        ("ε translated the wrong way", "min(SNR, γ) was multiplied by the SNR; it is divided by it.",
         ("torch.where(snr > 0, capped / snr, torch.ones_like(snr))", "capped * snr")),
        ("ε and v exchanged", "ε and v have each other's weight.", ('kind == "eps"', 'kind == "v"')),
        ("v capped after the division", "SNR/(SNR + 1) is below 1, so that γ does nothing; cap first.",
         ("capped / (snr + 1)", "(snr / (snr + 1)).clamp(max=gamma)")),
        ("one weight for every kind", "min(SNR, γ) was returned for every kind; it is the weight of x_0.",
         ("    if kind == \"x0\":\n        return capped\n", "    return capped\n")),
        ("ε divided by SNR + 1 as well", "ε's denominator is SNR; SNR + 1 belongs to v.",
         ("torch.where(snr > 0, capped / snr, torch.ones_like(snr))", "capped / (snr + 1)")),
        ("1 for every ε", "the weight of ε is 1 up to SNR γ only; beyond it is γ/SNR.",
         ("torch.where(snr > 0, capped / snr, torch.ones_like(snr))", "torch.ones_like(snr)")),
        ("as it came, 0 for 0/0", "0/0 became 0 where the limit is 1, and for v SNR + 1 is still capped.",
         lambda snr, kind, gamma: public_weight(snr, kind, gamma).nan_to_num()),
        ("γ in v's denominator", "min(SNR, γ) + 1 stands in the denominator of v; it is SNR + 1.",
         ("capped / (snr + 1)", "capped / (capped + 1)")),
        ("multiplied by SNR + 1", "for v it is divided by SNR + 1, not multiplied.",
         ("capped / (snr + 1)", "capped * (snr + 1)")),
    ),
    start="‖ε error‖² = SNR ‖x_0 error‖² and ‖v error‖² = (SNR + 1) ‖x_0 error‖². When are three losses one?",
    hint="Turn the three weights into weights of ‖x_0 error‖². They must agree.",
    see="In the first case ½, 4/5 and 5/10.",
)  # fmt: skip


# ---- noise_law ------------------------------------------------------------------------------------------------------
def noise_law(w):
    return w[0] / w[-1], (w[1:] - w[:-1]) / w[-1]


def _law_cases(generator):
    def case(label, n):
        return Case(label, ((uniform(n, generator=generator) + 0.05).cumsum(0),))

    return [
        Case("w = 1, 2, 4, 8", (numbers(1.0, 2.0, 4.0, 8.0),)),
        case("5 values", 5),
        case("11 values", 11),
        Case("w = 3, 3, 3, 3, the bound itself", (numbers(3.0, 3.0, 3.0, 3.0),)),
        Case("w = 0, 1, 1, 5", (numbers(0.0, 1.0, 1.0, 5.0),)),
    ]


def _is_a_law(function):
    atom, mass = function(numbers(0.5, 0.7, 1.9, 2.0, 2.2))
    total = atom.item() + mass.sum().item()
    return abs(total - 1) < 1e-12, f"the masses sum to {total:.6g}"


NOISE_LAW = Exercise(
    equation="atom w_0/w_n at the first time, mass (w_{i+1} − w_i)/w_n between neighbours (CELBO-4)",
    reference=noise_law,
    returns=("atom", "mass"),
    cases=_law_cases,
    properties=(Property("all masses together are 1", _is_a_law),),
    mistakes=mistakes(
        noise_law,
        ("no atom", "the atom is 0 and the rest was scaled to 1: w(0) is missing.",
         ("w[0] / w[-1], (w[1:] - w[:-1]) / w[-1]",
          "0 * w[0], (w[1:] - w[:-1]) / (w[-1] - w[0]).clamp(min=1e-300)")),
        ("the atom left out", "the atom is 0, and the masses do not sum to 1.", ("w[0] / w[-1]", "0 * w[0]")),
        ("not divided by w_n", "w(0) and the differences are not divided by their sum, w at the last time.",
         ("w[0] / w[-1], (w[1:] - w[:-1]) / w[-1]", "w[0].clone(), w[1:] - w[:-1]")),
        ("the atom at the end", "the atom is 1, as w at the last time divided by itself is; it is w(0)/w_n.",
         ("w[0] / w[-1]", "w[-1] / w[-1]")),
        ("divided by the sum of w", "divided by the sum of all w; the differences and w(0) add up to w_n.",
         ("w[0] / w[-1], (w[1:] - w[:-1]) / w[-1]", "w[0] / w.sum(), (w[1:] - w[:-1]) / w.sum()")),
        ("the weight taken for the law", "w itself was taken for the law; it is w's increase.",
         ("w[0] / w[-1], (w[1:] - w[:-1]) / w[-1]", "w[0] / w.sum(), w[1:] / w.sum()")),
        ("the differences turned",
         "the subtraction is turned round: w[i] − w[i + 1]; it is w[i + 1] − w[i].",
         ("w[1:] - w[:-1]", "w[:-1] - w[1:]")),
        ("divided by w(0)", "divided by w[0]; the atom and all increases add up to w[-1].",
         ("w[0] / w[-1], (w[1:] - w[:-1]) / w[-1]", "w[0] / w[0], (w[1:] - w[:-1]) / w[0]")),
        ("the atom not divided", "w(0) itself stands for the atom; it is w(0)/w_n.", ("w[0] / w[-1]", "w[0].clone()")),
        ("the masses not divided", "the differences are not divided by w_n.",
         ("(w[1:] - w[:-1]) / w[-1]", "w[1:] - w[:-1]")),
        ("the cumulative law", "these are the shares below each time; the mass of each step is asked for.",
         ("(w[1:] - w[:-1]) / w[-1]", "w[1:] / w[-1]")),
        ("relative increases", "each difference was divided by its own w; all are divided by w_n.",
         ("(w[1:] - w[:-1]) / w[-1]", "(w[1:] - w[:-1]) / w[1:]")),
        ("1 − w(0)/w_n for the atom", "1 − w[0]/w[-1] was returned for the atom; that is the mass of everything else.",
         ("w[0] / w[-1]", "1 - w[0] / w[-1]")),
        ("the masses scaled to 1", "the masses alone sum to 1; atom and masses together do.",
         ("(w[1:] - w[:-1]) / w[-1]", "(w[1:] - w[:-1]) / (w[-1] - w[0]).clamp(min=1e-300)")),
        ("a density for the masses", "the masses were divided by the width of a step: a density.",
         ("(w[1:] - w[:-1]) / w[-1]", "(w[1:] - w[:-1]) * (len(w) - 1) / w[-1]")),
        ("atom and masses exchanged", "the masses were returned first; the atom comes first.",
         ("w[0] / w[-1], (w[1:] - w[:-1]) / w[-1]", "(w[1:] - w[:-1]) / w[-1], w[0] / w[-1]")),
        ("divided by the increase", "divided by w[-1] − w[0]; the atom w[0] and all increases add up to w[-1].",
         ("w[0] / w[-1], (w[1:] - w[:-1]) / w[-1]",
          "w[0] / (w[-1] - w[0]).clamp(min=1e-300), (w[1:] - w[:-1]) / (w[-1] - w[0]).clamp(min=1e-300)")),
        ("the atom among the masses as well", "w(0)/w_n stands in front of the masses, too.",
         lambda w: (w[0] / w[-1], torch.cat([w[:1], w.diff()]) / w[-1])),
        ("the order turned", "the masses stand from the last time to the first.",
         ("(w[1:] - w[:-1]) / w[-1]", "((w[1:] - w[:-1]) / w[-1]).flip(0)")),
    ),
    start="w is a sum: w(0) and all its increases up to t.",
    hint="Which number do w(0) and all increases together make?",
    see="In the first case 1/8 and (1/8, 2/8, 4/8).",
)  # fmt: skip

EXERCISES = (STAIR_BOUND, BOUND_DRAW, MENDED_WEIGHT, NOISE_LAW)
