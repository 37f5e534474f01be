"""Exercises of lesson 18: gradients through a codebook, its loss, codes of one scale, a scale forgotten, nats lost.

Ledger LAT-1, M-29.
"""

import math

import torch

from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, T4, alpha_bar_of, normal, numbers, random_betas, uniform


# ---- straight_through -----------------------------------------------------------------------------------------------
def straight_through(z, codebook):
    distance = (z[:, None] - codebook).square().sum(2)
    e = codebook[distance.argmin(1)]
    return z + (e - z).detach()


def _through_cases(generator):
    def case(label, N, K, d, dtype=torch.float64):
        z = normal(N, d, generator=generator, dtype=dtype)
        return Case(label, (z, normal(K, d, generator=generator, dtype=dtype, scale=1.5)))

    first = (numbers([1.0, 1.0], [3.0, 3.0], [2.0, 0.0]), numbers([1.0, 0.0], [4.0, 2.0]))
    return [
        Case("three codes (1, 1), (3, 3), (2, 0), two vectors (1, 0), (4, 2)", first),
        case("16 codes, 5 vectors of 3 numbers", 16, 5, 3),
        case("20 codes, 7 vectors of 4 numbers", 20, 7, 4),
        case("9 codes, 30 vectors of 3 numbers", 9, 30, 3),
        case("18 codes, 6 vectors of 5 numbers, float32", 18, 6, 5, dtype=torch.float32),
    ]


def _twice_is_once(function):
    generator = torch.Generator().manual_seed(6)
    z, codebook = normal(40, 3, generator=generator), normal(6, 3, generator=generator)
    once = function(z, codebook)
    gap = (function(once, codebook) - once).abs().max().item()
    return gap < 1e-12, f"the second time moved it by {gap:.0e}"


STRAIGHT_THROUGH = Exercise(
    equation="q = the e_k of least ‖z − e_k‖², for each z; ∂q/∂z = 1 and ∂q/∂e_k = 0 (M-29)",
    reference=straight_through,
    returns=("q",),
    cases=_through_cases,
    gradients=("z", "codebook"),
    properties=(Property("what stands on a vector stays there", _twice_is_once),),
    mistakes=mistakes(
        straight_through,
        ("the farthest", "each z was replaced by the vector that is farthest from it.", ("argmin", "argmax")),
        ("the largest inner product",
         "the vector with the largest z · e was taken. A long vector wins that without being near.",
         ("(z[:, None] - codebook).square().sum(2)", "-(z @ codebook.T)")),
        ("the largest cosine", "the vector at the smallest angle to z was taken; lengths count, too.",
         ("(z[:, None] - codebook).square().sum(2)",
          "-(torch.nn.functional.normalize(z) @ torch.nn.functional.normalize(codebook).T)")),
        ("the 2 missing", "z · e stands without its 2 in ‖z‖² − 2 z · e + ‖e‖².",
         ("(z[:, None] - codebook).square().sum(2)", "codebook.square().sum(1) - z @ codebook.T")),
        ("absolute values", "the distance is a sum of absolute values; nearest is meant in squares.",
         (".square().sum(2)", ".abs().sum(2)")),
        ("a soft choice", "q is a mixture of all vectors, weighted by a softmax of −‖z − e‖²; it is one of them.",
         ("codebook[distance.argmin(1)]", "torch.softmax(-distance, 1) @ codebook")),
        ("roles exchanged", "z and the codebook are exchanged: each vector was replaced by its nearest code.",
         lambda z, codebook: straight_through(codebook, z)),
        ("the indices", "this is the index of each nearest vector; asked for is the vector.",
         ("return z + (e - z).detach()", "return distance.argmin(1)")),
        ("z unchanged", "this is z itself: nothing was replaced.", ("return z + (e - z).detach()", "return z")),
        ("gradient to the codebook only",
         "the gradient goes to the codebook and none to z, as from e itself: an encoder learns nothing.",
         ("return z + (e - z).detach()", "return e")),
        ("no gradient", "the value is right and cut off from everything: no gradient reaches z.",
         ("return z + (e - z).detach()", "return e.detach()")),
        ("gradient to the codebook, too", "the gradient reaches z, and the codebook as well; e must be detached.",
         ("(e - z).detach()", "e - z.detach()")),
        ("z and e exchanged",
         "this is e + sg(z − e): the value is z, the gradient the codebook's. Both are wanted the other way round.",
         ("z + (e - z).detach()", "e + (z - e).detach()")),
        ("gradient doubled", "∂q/∂z is 2: outside of what is detached, z counts twice.",
         ("z + (e - z).detach()", "2 * z + (e - 2 * z).detach()")),
    ),
    start="Find the nearest vectors first. Then write their value so that only z is left when what is detached counts "
    "as a constant.",
    hint="z[:, None] - codebook has shape (N, K, d). The value of z + (e − z) is e; what must be detached?",
    see="Codes (1, 1), (3, 3), (2, 0), vectors (1, 0), (4, 2): q = (1, 0), (4, 2), (1, 0).",
)  # fmt: skip


# ---- codebook_loss --------------------------------------------------------------------------------------------------
def codebook_loss(z, e, beta):
    vectors = (z.detach() - e).square().mean()
    codes = (z - e.detach()).square().mean()
    return vectors + beta * codes


def _loss_cases(generator):
    def case(label, beta, *shape, dtype=torch.float64):
        z, e = (normal(*shape, generator=generator, dtype=dtype) for _ in range(2))
        return Case(label, (z, e, beta))

    return [
        Case("one code (1, 5), its vector (3, 4), β = 0.5", (numbers([1.0, 5.0]), numbers([3.0, 4.0]), 0.5)),
        case("shape (3, 5), β = 0.3", 0.3, 3, 5),
        case("shape (7, 4), β = 2", 2.0, 7, 4),
        case("shape (6, 8), β = 0", 0.0, 6, 8),
        case("shape (9, 3) in float32, β = 0.4", 0.4, 9, 3, dtype=torch.float32),
    ]


def _pulls(function):
    generator = torch.Generator().manual_seed(7)
    z, e = (normal(4, 3, generator=generator).requires_grad_() for _ in range(2))
    on_z, on_e = torch.autograd.grad(function(z, e, 0.3), (z, e))
    gap = (on_z + 0.3 * on_e).abs().max().item()
    return gap < 1e-12, f"β = 0.3, off by {gap:.0e}"


CODEBOOK_LOSS = Exercise(
    equation="mean (sg(z) − e)² + β mean (z − sg(e))², means over all entries; sg: no gradient (M-29)",
    reference=codebook_loss,
    returns=("loss",),
    cases=_loss_cases,
    gradients=("z", "e"),
    properties=(Property("z is pulled to e with β times the pull of e to z", _pulls),),
    mistakes=mistakes(
        codebook_loss,
        ("β at the other term",
         "β weighs the pull on the vectors, and the pull on the codes has weight 1: β is at the other term, or the two "
         "sg are exchanged, which is the same.", ("vectors + beta * codes", "beta * vectors + codes")),
        ("no sg", "no gradient is stopped: both terms pull on both, each with 1 + β.",
         ("z.detach()", "z"), ("e.detach()", "e")),
        ("no sg in the first term", "the first term pulls on z, too; there z must be detached.", ("z.detach()", "z")),
        ("no sg in the second term", "the second term pulls on e, too; there e must be detached.", ("e.detach()", "e")),
        ("everything detached", "the value is right and no gradient reaches z or e.",
         ("(z.detach() - e)", "(z - e).detach()"), ("(z - e.detach())", "(z - e).detach()")),
        ("sg(z) in both", "the codes get no pull: z is detached wherever it stands, and the vectors get both pulls.",
         ("(z - e.detach())", "(z.detach() - e)")),
        ("sg(e) in both", "e is detached in both terms: the codes get both pulls, the vectors none.",
         ("(z.detach() - e)", "(z - e.detach())")),
        ("β missing", "the second term stands without β.", ("beta * codes", "codes")),
        ("β at both", "β weighs both terms; the first has weight 1.",
         ("vectors + beta * codes", "beta * (vectors + codes)")),
        ("1 − β at the first", "the weights are 1 − β and β; they are 1 and β.",
         ("vectors + beta", "(1 - beta) * vectors + beta")),
        ("sum for mean", "the squares were summed; they are averaged over all entries.",
         ("(z.detach() - e).square().mean()", "(z.detach() - e).square().sum()"),
         ("(z - e.detach()).square().mean()", "(z - e.detach()).square().sum()")),
        ("summed over each vector",
         "the squares were summed over each vector and averaged over the codes; they are averaged over all entries.",
         ("(z.detach() - e).square().mean()", "(z.detach() - e).square().sum(1).mean()"),
         ("(z - e.detach()).square().mean()", "(z - e.detach()).square().sum(1).mean()")),
        ("subtracted", "the second term is subtracted, which pushes codes away from their vectors.",
         ("vectors + beta", "vectors - beta")),
        ("absolute values", "absolute values were averaged; they are squares.",
         ("(z.detach() - e).square()", "(z.detach() - e).abs()"),
         ("(z - e.detach()).square()", "(z - e.detach()).abs()")),
        ("roots", "a root was taken of each mean; there is none.",
         ("(z.detach() - e).square().mean()", "(z.detach() - e).square().mean().sqrt()"),
         ("(z - e.detach()).square().mean()", "(z - e.detach()).square().mean().sqrt()")),
    ),
    start="Two terms of one value. Which of z and e may each of them move?",
    hint="sg(z) is z.detach(). The value alone is (1 + β) mean (z − e)²; the gradients are what differs.",
    see="z = (1, 5), e = (3, 4), β = 0.5: loss 2.5 + 0.5 · 2.5 = 3.75, gradients (−1, 0.5) on z and (2, −1) on e.",
)  # fmt: skip


# ---- scaled_codes ---------------------------------------------------------------------------------------------------
def scaled_codes(z):
    mean = z.mean((0, 2, 3), keepdim=True)
    std = z.std((0, 2, 3), keepdim=True)
    return (z - mean) / std


def _scaled_cases(generator):
    def case(label, *shape, dtype=torch.float64, least=0.05, far=2.0):
        spread = least + 3 * uniform(shape[1], 1, 1, generator=generator)
        spread[0] = least
        place = far * (2 * uniform(shape[1], 1, 1, generator=generator) - 1)
        return Case(label, ((place + spread * normal(*shape, generator=generator)).to(dtype),))

    first = numbers([[[4.0, 0.0]], [[0.0, 20.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]])
    return [
        Case("2 codes of 2 channels and 1 × 2 positions: 4, 0, 0, 0 in the first channel, 0, 20, 0, 0 in the other",
             (first,)),
        case("shape (5, 3, 4, 6)", 5, 3, 4, 6),
        case("shape (4, 7, 3, 5)", 4, 7, 3, 5),
        case("shape (9, 4, 5, 3)", 9, 4, 5, 3),
        case("shape (6, 3, 5, 4) in float32", 6, 3, 5, 4, dtype=torch.float32, least=0.5, far=1.0),
    ]  # fmt: skip


def _units_do_not_count(function):
    z = normal(4, 3, 5, 6, generator=torch.Generator().manual_seed(8))
    factor, place = (numbers(*v).reshape(3, 1, 1) for v in ((0.1, 2.0, 30.0), (5.0, -1.0, 0.0)))
    gap = (function(factor * z + place) - function(z)).abs().max().item()
    return gap < 1e-9, f"moved by {gap:.0e}"


SCALED_CODES = Exercise(
    equation="(z − mean)/std, each channel by itself, both over examples and positions; std divides by n − 1 (LAT-1)",
    reference=scaled_codes,
    returns=("codes",),
    cases=_scaled_cases,
    properties=(Property("in other units, channel by channel, the codes are the same", _units_do_not_count),),
    mistakes=mistakes(
        scaled_codes,
        ("one mean and std for all", "all channels share one mean and one std; each has its own.",
         ("z.mean((0, 2, 3), keepdim=True)", "z.mean()"), ("z.std((0, 2, 3), keepdim=True)", "z.std()")),
        ("one std for all", "all channels were divided by one std, that of all entries of z; each has its own.",
         ("z.std((0, 2, 3), keepdim=True)", "z.std()")),
        ("one mean for all", "one mean was taken off all channels; each has its own.",
         ("z.mean((0, 2, 3), keepdim=True)", "z.mean()")),
        ("per position",
         "mean and std were measured over the examples only, at each position; they are over positions, too.",
         ("z.mean((0, 2, 3)", "z.mean((0,)"), ("z.std((0, 2, 3)", "z.std((0,)")),
        ("per example",
         "each example has a mean and a std of its own for each channel; they are measured over examples, too.",
         ("z.mean((0, 2, 3)", "z.mean((2, 3)"), ("z.std((0, 2, 3)", "z.std((2, 3)")),
        ("per example, over channels",
         "each example has one mean and one std, over its channels and positions; each channel has one, over examples "
         "and positions.", ("z.mean((0, 2, 3)", "z.mean((1, 2, 3)"), ("z.std((0, 2, 3)", "z.std((1, 2, 3)")),
        ("multiplied", "z − mean was multiplied by std; divided by it, std becomes 1.", ("/ std", "* std")),
        ("variance for std", "z − mean was divided by the variance; std is its root.", ("/ std", "/ std**2")),
        ("mean not taken off", "z was divided by std, and its mean left in.", ("(z - mean)", "z")),
        ("only the mean", "the mean was taken off and the scale left as it was.", (" / std", "")),
        ("brackets", "this is z − mean/std: the difference needs brackets.", ("(z - mean) / std", "z - mean / std")),
        ("n for n − 1", "the variance was divided by n; here it is n − 1, as in torch's std and in dlgm.latent.Scale.",
         ("z.std((0, 2, 3), ", "z.std((0, 2, 3), correction=0, ")),
        ("batch norm",
         "this is batch_norm, which divides by the root of the variance with n and 1e-5 added; here it is std, with "
         "n − 1, and nothing added.", lambda z: torch.nn.functional.batch_norm(z, None, None, training=True)),
        ("largest value for std", "each channel was divided by the largest |z − mean| in it; std is asked for.",
         ("(z - mean) / std", "(z - mean) / (z - mean).abs().amax((0, 2, 3), keepdim=True)")),
        ("0.18215", "z was multiplied by 0.18215, the constant of one autoencoder; these codes have scales of their "
         "own.", ("(z - mean) / std", "0.18215 * z")),
    ),
    start="Over which of the four axes of z run mean and std, and which one is left?",
    hint="z.mean((0, 2, 3), keepdim=True) has shape (1, C, 1, 1) and lines up with z; z.std takes the same arguments.",
    see="A channel with 4, 0, 0, 0: mean 1, std √(12/3) = 2, codes 1.5, −0.5, −0.5, −0.5.",
)  # fmt: skip


# ---- hidden_factor --------------------------------------------------------------------------------------------------
def hidden_factor(x_t, t, alpha_bar):
    kept = alpha_bar[t].to(x_t.dtype)
    power = x_t.square().mean()
    return ((power - (1 - kept)) / kept).log()


def _factor_cases(generator):
    def case(label, t, k, *shape, beta=T4, dtype=torch.float64):
        alpha_bar = alpha_bar_of(beta)
        z, eps = (normal(*shape, generator=generator) for _ in range(2))
        x_t = alpha_bar[t].sqrt() * k * z + (1 - alpha_bar[t]).sqrt() * eps
        return Case(label, (x_t.to(dtype), t, alpha_bar))

    return [
        Case("x_t = (1, −1), (3, 1), ᾱ = (1, 0.75, 0.25), t = 2",
             (numbers([1.0, -1.0], [3.0, 1.0]), 2, numbers(1.0, 0.75, 0.25))),
        case("shape (500, 3), T = 4, t = 3", 3, 2.0, 500, 3),
        case("shape (300, 7), random β, t = 2", 2, 0.6, 300, 7, beta=random_betas(9, generator)),
        case("codes of shape (60, 3, 4, 5), T = 1000, t = 500", 500, 1 / 0.18215, 60, 3, 4, 5, beta=LONG),
        case("shape (200, 4) in float32, T = 4, t = 2", 2, 3.0, 200, 4, dtype=torch.float32),
    ]  # fmt: skip


def _a_known_constant(function):
    """x_t of which the mean of squares is exact: ±√(ᾱ_t k² + 1 − ᾱ_t)."""
    a, k, sign = alpha_bar_of(T4), 1 / 0.18215, numbers([1.0, -1.0, 1.0], [-1.0, 1.0, -1.0])
    found = [function((a[t] * k**2 + 1 - a[t]).sqrt() * sign, t, a).item() for t in (1, 2, 3, 4)]
    return all(abs(v - 2 * math.log(k)) < 1e-9 for v in found), ", ".join(f"{v:.4f}" for v in found)


HIDDEN_FACTOR = Exercise(
    equation="2 log k in nats, where x_t = √ᾱ_t k z + √(1 − ᾱ_t) ε, z and ε independent with mean 0 and variance 1; "
    "for E[x_t²] take the mean of x_t² over all entries (M-29)",
    reference=hidden_factor,
    returns=("shift",),
    cases=_factor_cases,
    properties=(Property("k = 1/0.18215: 3.41 nats at each t", _a_known_constant),),
    mistakes=mistakes(
        hidden_factor,
        ("log k", "this is log k. SNR is a ratio of variances, so log-SNR moves by 2 log k.",
         (" / kept).log()", " / kept).log() / 2")),
        ("4 log k", "this is 4 log k: what was found is k² already, and its logarithm is 2 log k.",
         (" / kept).log()", " / kept).log() * 2")),
        ("k itself", "this is k; asked for is what it does to log-SNR, 2 log k.",
         (" / kept).log()", " / kept).sqrt()")),
        ("noise not taken off", "the variance of the noise, 1 − ᾱ_t, was left in.", ("(power - (1 - kept))", "power")),
        ("not divided by ᾱ_t", "this is log ᾱ_t k²: the noise was taken off, the schedule's own ᾱ_t was not.",
         (" / kept", "")),
        ("divided by √ᾱ_t", "a variance was divided by √ᾱ_t; in x_t² the factor is ᾱ_t.",
         (" / kept", " / kept.sqrt()")),
        ("√(1 − ᾱ_t) taken off",
         "√(1 − ᾱ_t), the noise's standard deviation, was taken off a variance; its variance is 1 − ᾱ_t.",
         ("(1 - kept)", "(1 - kept).sqrt()")),
        ("the step before", "ᾱ_{t−1} stands for ᾱ_t.", ("alpha_bar[t]", "alpha_bar[t - 1]")),
        ("sign", "this is −2 log k. Larger codes have more signal, so log-SNR rises.",
         ("return (", "return -(")),
        ("log10", "this is a logarithm to base 10; nats are natural logarithms.", (".log()", ".log10()")),
        ("standard deviation for variance",
         "a root was taken of the mean of x_t²; variances add, so there is none.",
         (".square().mean()", ".square().mean().sqrt()")),
        ("the sample's mean taken off",
         "the mean of all entries was taken off before squaring; it is known to be 0, and the sample's own is chance.",
         ("x_t.square().mean()", "x_t.var(correction=0)")),
        ("var()",
         "this has x_t.var(), which takes off the sample's mean and divides by n − 1; the mean is known to be 0, so it "
         "is the mean of x_t².", ("x_t.square().mean()", "x_t.var()")),
        ("each example's mean taken off",
         "each example's own mean was taken off before squaring, and some of the variance with it.",
         ("x_t.square().mean()", "(x_t - x_t.flatten(1).mean(1).reshape(-1, *[1] * (x_t.ndim - 1))).square().mean()")),
        ("all of log-SNR", "this is log-SNR with k in it, log ᾱ_t k²/(1 − ᾱ_t); asked for is by how much k moved it.",
         (" / kept)", " / (1 - kept))")),
    ),
    start="Write down the mean of x_t² that the formula of x_t promises. Which number in it do you not know?",
    hint="z and ε are independent with mean 0, so their product drops out and variances add.",
    see="x_t = (1, −1), (3, 1), ᾱ_t = 0.25: the mean of x_t² is 3, k² = (3 − 0.75)/0.25 = 9, the shift 2.1972 nats.",
)  # fmt: skip


# ---- lost_nats ------------------------------------------------------------------------------------------------------
def lost_nats(x, W, noise_var):
    D, d = W.shape
    lost = (x - x @ W @ W.T).square().sum(1)
    return 0.5 * (lost / noise_var + (D - d) * math.log(2 * math.pi * noise_var))


def _lost_cases(generator):
    def case(label, B, D, d, noise_var, dtype=torch.float64):
        W = torch.linalg.qr(normal(D, d, generator=generator)).Q
        return Case(label, (normal(B, D, generator=generator, dtype=dtype), W.to(dtype), noise_var))

    first = (numbers([3.0, 1.0, 2.0], [5.0, 0.0, 0.0]), numbers([1.0], [0.0], [0.0]), 0.5)
    return [
        Case("x = (3, 1, 2) and (5, 0, 0), W = (1, 0, 0)ᵀ, s² = 0.5", first),
        case("5 examples, D = 7, d = 3, s² = 0.2", 5, 7, 3, 0.2),
        case("3 examples, D = 9, d = 5, s² = 1.5", 3, 9, 5, 1.5),
        case("6 examples, D = 12, d = 4, s² = 0.03", 6, 12, 4, 0.03),
        Case(
            "x a hundredth of N(0, I): negative nats",
            (0.01 * normal(5, 9, generator=generator), torch.linalg.qr(normal(9, 4, generator=generator)).Q, 1e-4),
        ),
        case("4 examples, D = 8, d = 3, s² = 0.4, float32", 4, 8, 3, 0.4, dtype=torch.float32),
    ]


def _codes_and_what_is_lost(function):
    generator = torch.Generator().manual_seed(9)
    W, x = torch.linalg.qr(normal(5, 3, generator=generator)).Q, normal(4, 5, generator=generator)
    eye, zero = torch.eye(5, dtype=W.dtype), torch.zeros(5, dtype=W.dtype)
    law = torch.distributions.MultivariateNormal(zero, W @ W.T + 0.3 * (eye - W @ W.T))
    codes = 0.5 * ((x @ W).square() + math.log(2 * math.pi)).sum(1)
    gap = (codes + function(x, W, 0.3) + law.log_prob(x)).abs().max().item()
    return gap < 1e-9, f"off by {gap:.0e}"


LOST_NATS = Exercise(
    equation="½ (‖x − W Wᵀ x‖²/s² + (D − d) log 2π s²) nats, s² = noise_var, W of shape (D, d) with orthonormal "
    "columns (LAT-1)",
    reference=lost_nats,
    returns=("nats",),
    cases=_lost_cases,
    properties=(Property("codes N(0, I): −log p(Wᵀ x) and this add up to −log p(x)", _codes_and_what_is_lost),),
    mistakes=mistakes(
        lost_nats,
        ("D for D − d", "the logarithm is counted D times; only D − d directions are lost.", ("(D - d)", "D")),
        ("d for D − d", "the logarithm is counted d times, once for each direction that is kept; D − d are lost.",
         ("(D - d)", "d")),
        ("½ missing", "the ½ is missing, so all of it is twice too large.", ("0.5 * (", "(")),
        ("½ at the squares only", "the ½ stands before the squares only; the logarithm has it, too.",
         ("0.5 * (lost / noise_var + (D - d) * math.log(2 * math.pi * noise_var))",
          "0.5 * lost / noise_var + (D - d) * math.log(2 * math.pi * noise_var)")),
        ("s for s²", "the squares are divided by s, the standard deviation; it is s².",
         ("lost / noise_var", "lost / noise_var**0.5")),
        ("noise_var squared", "noise_var was squared in both places; it is s² already.",
         ("lost / noise_var", "lost / noise_var**2"), ("math.pi * noise_var", "math.pi * noise_var**2")),
        ("2π forgotten", "2π is missing under the logarithm.", ("2 * math.pi * noise_var", "noise_var")),
        ("s² missing in the logarithm", "the logarithm is that of 2π alone; it is log 2π s².",
         ("math.pi * noise_var", "math.pi")),
        ("no logarithm", "these are the squares alone; a density needs its normalizer, (D − d)/2 · log 2π s².",
         (" + (D - d) * math.log(2 * math.pi * noise_var)", "")),
        ("what is kept", "this has ‖Wᵀ x‖², what the codes keep; asked for is what is left of x beside W Wᵀ x.",
         ("(x - x @ W @ W.T)", "(x @ W)")),
        ("no projection", "this has ‖x‖², all of x; W Wᵀ x is kept and must be taken off.", ("(x - x @ W @ W.T)", "x")),
        ("mean for sum", "the squares were averaged over the D entries; ‖·‖² is their sum.", (".sum(1)", ".mean(1)")),
        ("not squared", "the distance stands where its square should.", (".sum(1)", ".sum(1).sqrt()")),
        ("sign", "this is the log-density; asked for is minus that, nats that are lost.",
         ("return 0.5", "return -0.5")),
        ("averaged over the batch", "the examples were averaged; each has nats of its own.",
         ("return 0.5 * (lost", "return 0.5 * (lost.mean()")),
    ),
    start="What is left of x when W Wᵀ x is taken off, and in how many directions can it lie?",
    hint="Rows of x are examples: Wᵀ x is x @ W, and W z is z @ W.T. A Gaussian in D − d directions has that many "
    "logarithms.",
    see="x = (3, 1, 2), W = (1, 0, 0)ᵀ, s² = 0.5: lost (1, 2), so ½ (5/0.5 + 2 log π) = 6.1447.",
)  # fmt: skip

EXERCISES = (STRAIGHT_THROUGH, CODEBOOK_LOSS, SCALED_CODES, HIDDEN_FACTOR, LOST_NATS)
