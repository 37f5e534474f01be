"""Exercises of lesson 07: the terms of the bound, its other grouping, the decoder, bits, and how to spend draws.

Ledger VLB-1, VLB-3, VLB-5, VLB-6, VLB-7, VLB-9, M-04, M-09.
"""

import math

import torch

from ..tensors import expand
from .engine import Case, Exercise, Property, mistakes
from .inputs import LONG, T4, alpha_bar_of, normal, numbers, random_betas, uniform

BAR1000 = alpha_bar_of(LONG)


# ---- prior_term ------------------------------------------------------------------------------------------------------
def prior_term(alpha_bar, x0):
    a = alpha_bar[-1]
    kl = 0.5 * (a * x0**2 - a - torch.log1p(-a))
    return kl.flatten(1).sum(1)


def _prior_cases(generator):
    def case(label, *shape, table):
        return Case(label, (table, normal(*shape, generator=generator)))

    return [
        Case("one number, x0 = 1, ᾱ = (1, 0.8, 0.6, 0.5)", (numbers(1, 0.8, 0.6, 0.5), numbers([1.0]))),
        case("x0 of shape (6, 3), T = 4", 6, 3, table=alpha_bar_of(T4)),
        case("x0 of shape (3, 4), T = 9, random β", 3, 4, table=alpha_bar_of(random_betas(9, generator))),
        case(
            "images of shape (4, 3, 5, 6), T = 8, random β", 4, 3, 5, 6, table=alpha_bar_of(random_betas(8, generator))
        ),
        case("x0 of shape (5, 4), T = 1000", 5, 4, table=BAR1000),
    ]


def _negligible(function):
    nats = function(BAR1000, numbers([1.0])).item()
    return 1.9e-5 < nats < 2.1e-5, f"{nats:.2g} nats for one pixel of value 1 at T = 1000"


PRIOR_TERM = Exercise(
    equation="KL(N(√ᾱ_T x_0, (1−ᾱ_T) I) ‖ N(0, I)) = ½ Σ_d [ᾱ_T x_0d² − ᾱ_T − log(1−ᾱ_T)] (VLB-5, FWD-8)",
    reference=prior_term,
    returns=("prior",),
    cases=_prior_cases,
    properties=(Property("hardly anything is left at the end of the usual schedule", _negligible),),
    start="Which two Gaussians are compared? Write down the mean and the variance of each.",
    hint="KL(N(m, v) ‖ N(0, 1)) = ½ [m² + v − 1 − log v]; m = √ᾱ_T x_0 and v = 1 − ᾱ_T. Sum all axes but the first.",
    see="For x0 = 1 and ᾱ_T = 0.5: ½ log 2 = 0.3466. At T = 1000, 2e-5 a pixel.",
    mistakes=mistakes(
        prior_term,
        ("mean over the dimensions",
         "the dimensions are averaged; a term of the bound is their sum. Dividing by dims comes once, at the end.",
         (".sum(1)", ".mean(1)")),
        ("sum over the batch", "the examples are summed as well; each example has a term of its own, shape (B,).",
         (".flatten(1).sum(1)", ".sum()")),
        ("average over the batch", "the examples are averaged; each example has a term of its own, shape (B,).",
         (".sum(1)", ".sum(1).mean()")),
        ("KL the wrong way round",
         "this is KL(N(0, I) ‖ q(x_T | x_0)); the average in the bound is under q, so q comes first.",
         ("a * x0**2 - a - torch.log1p(-a)", "(1 + a * x0**2) / (1 - a) - 1 + torch.log1p(-a)")),
        ("factor ½ missing", "this is twice the KL: the ½ is missing.", ("0.5 * ", "")),
        ("the log-variance left out",
         "−log(1−ᾱ_T) is missing: what is left is 0 at x_0 = 1 whatever ᾱ_T is, and negative below.",
         (" - torch.log1p(-a)", "")),
        ("the sign of the log-variance",
         "log(1−ᾱ_T) enters with a minus sign: a q narrower than the prior costs more, not less.",
         ("- torch.log1p", "+ torch.log1p")),
        ("only the distance of the means",
         "this is ½ ᾱ_T x_0², what the KL tends to as ᾱ_T → 0; for a bound the variance's part counts too.",
         (" - a - torch.log1p(-a)", "")),
        ("square root missing on the signal", "the mean of q(x_T | x_0) is √ᾱ_T x_0; ᾱ_T x_0 was squared here.",
         ("a * x0**2", "(a * x0) ** 2")),
        ("standard deviation for variance", "√(1−ᾱ_T) stands where the variance 1 − ᾱ_T belongs.",
         (" - a - torch.log1p(-a)", " + (1 - a).sqrt() - 1 - 0.5 * torch.log1p(-a)")),
        ("signal for noise",
         "ᾱ_T was taken for the variance of x_T; that is the signal's share, the noise has 1 − ᾱ_T.",
         (" - a - torch.log1p(-a)", " + a - 1 - torch.log(a)")),
        ("index shifted: T − 1", "this is the term of x_{T−1}: the chain ends at the last entry of alpha_bar.",
         ("alpha_bar[-1]", "alpha_bar[-2]")),
        ("the first step",
         "this compares x_1 with the prior; it is the last state, x_T, that the model draws from N(0, I).",
         ("alpha_bar[-1]", "alpha_bar[1]")),
        ("bits too early", "divided by log 2: the terms are in nats, the bits come once, at the end.",
         ("0.5", "0.5 / math.log(2)")),
        ("the variances counted once",
         "−ᾱ_T − log(1−ᾱ_T) is what one dimension costs: it comes d times, as the squares do.",
         ("0.5 * (a * x0**2 - a - torch.log1p(-a))", "0.5 * a * x0**2"),
         (".sum(1)", ".sum(1) - 0.5 * (a + torch.log1p(-a))")),
        ("the sign of ᾱ_T", "ᾱ_T enters with a minus sign: variance minus 1 is (1−ᾱ_T) − 1 = −ᾱ_T.",
         ("- a -", "+ a -")),
        ("index 0",
         "this is the term of x_0 itself, infinite since ᾱ_0 = 1: a point against a density. x_T is the last entry.",
         ("alpha_bar[-1]", "alpha_bar[0]")),
        ("signs of the ELBO",
         "this is −KL, as the ELBO has it; the bound L on −log p has the KL, which is never negative.",
         ("0.5", "-0.5")),
        ("only axis 1 summed",
         "only axis 1 is summed, which is right for x0 of shape (B, D) alone; images have more axes: all but the "
         "first.", (".flatten(1)", "")),
        ("no sum", "these are the KLs of the single dimensions; a term of the bound is their sum, shape (B,).",
         (".flatten(1).sum(1)", "")),
    ),
)  # fmt: skip


# ---- step_kl ---------------------------------------------------------------------------------------------------------
def step_kl(mean_q, var_q, mean_p, var_p):
    dims = mean_q[0].numel()
    ratio = var_q / var_p
    distance = (mean_q - mean_p).square().flatten(1).sum(1)
    return 0.5 * (dims * (ratio - 1 - torch.log(ratio)) + distance / var_p)


def _kl_cases(generator):
    def case(label, *shape, narrower=1.0, apart=1.0):
        mean, offset = (normal(*shape, generator=generator) for _ in range(2))
        var_q, var_p = (0.1 + 0.8 * uniform(shape[0], generator=generator) for _ in range(2))
        return Case(label, (mean, narrower * var_q, mean + apart * offset, var_p))

    return [
        Case("one number, N(1, 0.5) and N(0, 1)", (numbers([1.0]), numbers(0.5), numbers([0.0]), numbers(1))),
        case("the same means, shape (3, 5)", 3, 5, apart=0.0),
        case("means of shape (4, 4), a variance for each example, v_q far below v_p", 4, 4, narrower=0.01),
        case("means of shape (5, 3)", 5, 3),
        case("images of shape (4, 3, 5, 4)", 4, 3, 5, 4),  # W = B: a variance lined up with W has a value
    ]


def _zero_for_equal_laws(function):
    mean, var = numbers([0.3, -2.0], [1.0, 0.0]), numbers(0.2, 0.7)
    largest = function(mean, var, mean.clone(), var.clone()).abs().max().item()
    return largest < 1e-15, f"largest {largest:.0e}"


STEP_KL = Exercise(
    equation="KL(N(m_q, v_q I) ‖ N(m_p, v_p I)) = ½ [d (v_q/v_p − 1 − log v_q/v_p) + ‖m_q − m_p‖²/v_p] (VLB-7, KL-1)",
    reference=step_kl,
    returns=("kl",),
    cases=_kl_cases,
    properties=(Property("0 where the two laws are equal", _zero_for_equal_laws),),
    start="Write the KL of two Gaussians in one dimension (lesson 02), then add up d of them.",
    hint="The variance part is the same in every dimension: multiply it by d = mean_q[0].numel().",
    see="For N(1, 0.5) and N(0, 1): ½ [0.5 − 1 + log 2 + 1] = 0.5966.",
    mistakes=mistakes(
        step_kl,
        ("KL the wrong way round",
         "this is KL(p ‖ q): the average is under the process q, so q comes first and v_p stands below.",
         lambda m, v, n, w: step_kl(n, w, m, v)),
        ("mean over the dimensions", "the dimensions are averaged; a term of the bound is their sum.",
         ("return 0.5", "return 0.5 / dims")),
        ("the variances counted once",
         "v_q/v_p − 1 − log(v_q/v_p) is what one dimension costs: it comes d times, as the squares do.",
         ("dims * (", "(")),
        ("the batch counted in d",
         "d is mean_q.numel() here, which counts the batch as well; d is the number of entries of one example.",
         ("mean_q[0].numel()", "mean_q.numel()")),
        ("one axis for d",
         "d is mean_q.shape[1] here, which is right for means of shape (B, D) alone: an image has more axes, and d is "
         "the number of all its entries.", ("mean_q[0].numel()", "mean_q.shape[1]")),
        ("only axis 1 summed",
         "only axis 1 of the squares is summed, which is right for means of shape (B, D) alone; images have more axes: "
         "all but the first.", (".flatten(1)", "")),
        ("only the variances",
         "the distance of the means is missing: what is left is ½ d (r − 1 − log r), which no network can change.",
         (" + distance / var_p", "")),
        ("only the squared error",
         "this is ‖m_q − m_p‖²/(2 v_p): it is the KL only where the variances are equal (E-12).",
         ("dims * (ratio - 1 - torch.log(ratio)) + ", "")),
        ("divided by the variance of q",
         "the squared distance is divided by v_q; it is measured in the spread of the law on the right, v_p.",
         ("distance / var_p", "distance / var_q")),
        ("ratio upside down", "v_p/v_q stands where v_q/v_p belongs.", ("var_q / var_p", "var_p / var_q")),
        ("the sign of the logarithm",
         "log(v_q/v_p) enters with a minus sign; with a plus the KL of equal means can be negative.",
         ("- torch.log", "+ torch.log")),
        ("the −1 left out", "without the −1 the KL of two equal laws is ½ for each dimension instead of 0.",
         (" - 1", "")),
        ("factor ½ missing", "this is twice the KL: the ½ is missing.", ("0.5 * ", "")),
        ("standard deviations expected", "the variances were squared: var_q and var_p are variances already.",
         lambda m, v, n, w: step_kl(m, v**2, n, w**2)),
        ("roots of the variances", "standard deviations stand where the variances belong.",
         lambda m, v, n, w: step_kl(m, v.sqrt(), n, w.sqrt())),
        ("the variance of q on both sides", "v_p was ignored: β̃_t stands where the model's own σ_t² belongs.",
         lambda m, v, n, w: step_kl(m, v, n, v)),
        ("distance not squared", "the distances enter with their absolute values; the Gaussian's exponent has squares.",
         (".square()", ".abs()")),
        ("sum over the batch", "the examples are summed as well; each example has a KL of its own, shape (B,).",
         ("(dims * (ratio - 1 - torch.log(ratio)) + distance / var_p)",
          "(dims * (ratio - 1 - torch.log(ratio)) + distance / var_p).sum()")),
        ("average over the batch", "the examples are averaged; each example has a KL of its own, shape (B,).",
         ("(dims * (ratio - 1 - torch.log(ratio)) + distance / var_p)",
          "(dims * (ratio - 1 - torch.log(ratio)) + distance / var_p).mean()")),
        ("broadcast over the wrong axis",
         "a variance of shape (B,) was lined up with the last axis of the means instead of the batch.",
         (".flatten(1).sum(1)", ""),
         ("(dims * (ratio - 1 - torch.log(ratio)) + distance / var_p)",
          "(ratio - 1 - torch.log(ratio) + distance / var_p).flatten(1).sum(1)")),
        ("one example for all",
         "the KL of the first example was used for the whole batch; it depends on x_t and x_0 (E-42).",
         lambda *a: step_kl(*a)[:1].expand(len(a[0]))),
    ),
)  # fmt: skip


# ---- consistency_terms -----------------------------------------------------------------------------------------------
def consistency_terms(log_prior, down, up):
    prior = up[:, -1] - log_prior
    steps = up[:, :-1] - down[:, 1:]
    reconstruction = -down[:, 0]
    return prior, steps, reconstruction


def _path_cases(generator):
    def case(label, B, T):
        return Case(
            label,
            (normal(B, generator=generator), normal(B, T, generator=generator), normal(B, T, generator=generator)),
        )

    small = (numbers(-1.0), numbers([-2.0, -3.0, -5.0]), numbers([-4.0, -7.0, -6.0]))
    return [
        Case("one path, T = 3", small),
        case("3 paths, T = 5", 3, 5),
        case("6 paths, T = 4", 6, 4),
        case("4 paths, T = 1 (no steps)", 4, 1),
        case("5 paths, T = 20", 5, 20),
    ]


CONSISTENCY = Exercise(
    equation="log q(x_T|x_{T−1})/p(x_T); log q(x_t|x_{t−1})/p_θ(x_t|x_{t+1}), t = 1..T−1; −log p_θ(x_0|x_1) (VLB-9)",
    reference=consistency_terms,
    returns=("prior", "steps", "reconstruction"),
    cases=_path_cases,
    start="Which column of down holds a density of x_t? Which column of up?",
    hint="up[:, t − 1] and down[:, t] are both densities of x_t: cut one column off each, at opposite ends.",
    see="The three parts add up to −log_prior − Σ down + Σ up, path by path, however they are paired.",
    mistakes=mistakes(
        consistency_terms,
        ("the two densities of one step paired",
         "this pairs q(x_t | x_{t−1}) with p(x_{t−1} | x_t). The sum is the same, but the two are densities of "
         "different variables; the consistency form pairs two densities of x_t.",
         ("up[:, -1] - log_prior", "up[:, 0] - log_prior"), ("up[:, :-1] - down[:, 1:]", "up[:, 1:] - down[:, 1:]")),
        ("index shifted the wrong way",
         "this pairs q(x_{t+1} | x_t) with p(x_{t−1} | x_t); both of a pair are densities of one x_t, with the model "
         "coming from x_{t+1}.", ("up[:, :-1] - down[:, 1:]", "up[:, 1:] - down[:, :-1]")),
        ("signs of the ELBO",
         "these are the terms of the ELBO, which is to be large; the bound L on −log p has the opposite signs.",
         ("return prior, steps, reconstruction", "return -prior, -steps, -reconstruction")),
        ("the sign of the reconstruction",
         "the reconstruction is log p_θ(x_0 | x_1); the bound has −log p_θ(x_0 | x_1).", ("-down[:, 0]", "down[:, 0]")),
        ("the steps upside down", "this is log p/q for the steps; q stands above.",
         ("up[:, :-1] - down[:, 1:]", "down[:, 1:] - up[:, :-1]")),
        ("the prior upside down", "this is log p(x_T)/q(x_T | x_{T−1}); q stands above.",
         ("up[:, -1] - log_prior", "log_prior - up[:, -1]")),
        ("the prior without q",
         "log q(x_T | x_{T−1}) is missing from the prior term: the last step of the process is left over.",
         ("up[:, -1] - log_prior", "-log_prior")),
        ("the prior with the kernel of the first step",
         "log q(x_1 | x_0) stands in the prior term; x_T is reached by the last step, up[:, -1].",
         ("up[:, -1] - log_prior", "up[:, 0] - log_prior")),
        ("the reconstruction from the other end",
         "down[:, -1] is log p_θ(x_{T−1} | x_T); x_0 is reached by the first column.", ("-down[:, 0]", "-down[:, -1]")),
        ("the prior alone",
         "log p(x_T) alone is no term of the bound: it stands below, with a minus sign, and log q(x_T | x_{T−1}) "
         "stands above.", ("up[:, -1] - log_prior", "log_prior")),
        ("steps in reverse", "the columns run from t = T − 1 down to 1; the first column is t = 1, as in up and down.",
         ("return prior, steps,", "return prior, steps.flip(1),")),
        ("the first kernel counted in the reconstruction",
         "log q(x_1 | x_0) was added to the reconstruction, as in VLB-1; here it belongs to the step t = 1.",
         ("-down[:, 0]", "up[:, 0] - down[:, 0]")),
        ("VLB-1 not regrouped",
         "this is VLB-1, not regrouped: each term pairs q(x_t | x_{t−1}) with p(x_{t−1} | x_t), densities of different "
         "variables. Pair the two densities of x_t.",
         ("up[:, -1] - log_prior", "-log_prior"), ("up[:, :-1] - down[:, 1:]", "up[:, 1:] - down[:, 1:]"),
         ("-down[:, 0]", "up[:, 0] - down[:, 0]")),
        ("steps summed", "the steps are added up already; one column for each t is asked for, (B, T − 1).",
         ("return prior, steps,", "return prior, steps.sum(1),")),
        ("steps averaged", "the steps are divided by their number: the bound is a sum over t.",
         ("return prior, steps,", "return prior, steps / max(steps.shape[1], 1),")),
    ),
)  # fmt: skip


# ---- discretised_log_prob --------------------------------------------------------------------------------------------
def discretised_log_prob(x, mean, var):
    std, half = expand(var.sqrt(), x), 1 / 255
    low = torch.where(x < -0.999, -torch.inf, (x - half - mean) / std)
    high = torch.where(x > 0.999, torch.inf, (x + half - mean) / std)
    mirror = low + high > 0  # Φ(b) − Φ(a) = Φ(−a) − Φ(−b): stay in the lower tail
    low, high = torch.where(mirror, -high, low), torch.where(mirror, -low, high)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return (log_high + torch.log(-torch.expm1(log_low - log_high))).flatten(1).sum(1)


def _decoder_cases(generator):
    def pixels(level):
        return -1 + 2 * level / 255

    def case(label, *shape):
        x = pixels(torch.randint(0, 256, shape, generator=generator).double())
        x.view(-1)[:2] = numbers(-1, 1)  # both edges occur
        mean = x + normal(*shape, generator=generator, scale=0.1)
        return Case(label, (x, mean, 0.002 + 0.048 * uniform(shape[0], generator=generator)))

    def near(label, B, levels, means, var):
        mean = numbers(means) + normal(B, len(means), generator=generator, scale=0.02)
        return Case(label, (pixels(numbers(levels)).repeat(B, 1), mean, var * (1 + uniform(B, generator=generator))))

    return [
        Case("one pixel, level 128, mean 0, variance 0.01", (pixels(numbers([128])), numbers([0.0]), numbers(0.01))),
        near("levels 0 (black) in shape (3, 4), means near −0.9", 3, [0] * 4, [-0.9] * 4, 0.01),
        near("levels 255 (white) in shape (4, 3), means near 0.95", 4, [255] * 3, [0.95] * 3, 0.01),
        near("shape (3, 5), levels far below the mean", 3, [20, 30, 40, 50, 60], [0.8] * 5, 0.0004),
        near("shape (5, 3), levels far above and far below", 5, [255, 30, 220], [-0.9, 0.8, -0.7], 0.0004),
        case("4 examples of 4 pixels, edges among them", 4, 4),
        case("images of shape (4, 3, 5, 4)", 4, 3, 5, 4),
    ]


def _sums_to_one(function):
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    total = function(x, torch.full_like(x, 0.97), torch.full((256,), 0.01, dtype=torch.float64)).exp().sum().item()
    return abs(total - 1) < 1e-9, f"{total:.12f}, for a mean near white"


def _rounded(floor):
    """Φ(b) − Φ(a) as plain numbers, the tails not mirrored, and no smaller than floor."""
    return (
        ("low + high > 0", "torch.tensor(False)"),
        ("log_high + torch.log(-torch.expm1(log_low - log_high))",
         f"(torch.special.ndtr(high) - torch.special.ndtr(low)).clamp(min={floor}).log()"),
    )  # fmt: skip


DISCRETISED = Exercise(
    equation="Σ_d log [Φ((x_d + 1/255 − m_d)/σ) − Φ((x_d − 1/255 − m_d)/σ)], edge bins open to ±∞ (VLB-6)",
    reference=discretised_log_prob,
    returns=("log_prob",),
    cases=_decoder_cases,
    properties=(Property("the probabilities of the 256 levels sum to 1", _sums_to_one),),
    start="Where does the bin of a pixel begin and end? What changes for black and for white?",
    hint="torch.special.log_ndtr is log Φ. With a < b both in the lower tail, log(Φ(b) − Φ(a)) is "
    "log Φ(b) + log(1 − exp(log Φ(a) − log Φ(b))); in the upper tail use Φ(b) − Φ(a) = Φ(−a) − Φ(−b).",
    see="For level 128, mean 0 and variance 0.01: about 0.031, that is −3.47 nats.",
    mistakes=mistakes(
        discretised_log_prob,
        ("variance for standard deviation",
         "the distances are divided by the variance; Φ takes distances in standard deviations.", ("var.sqrt()", "var")),
        ("edge bins closed",
         "level 0 must collect everything below it and level 255 everything above: otherwise the probabilities do not "
         "sum to 1.",
         ("torch.where(x < -0.999, -torch.inf, (x - half - mean) / std)", "(x - half - mean) / std"),
         ("torch.where(x > 0.999, torch.inf, (x + half - mean) / std)", "(x + half - mean) / std")),
        ("black edge closed", "level 0 must collect everything below it.",
         ("torch.where(x < -0.999, -torch.inf, (x - half - mean) / std)", "(x - half - mean) / std")),
        ("white edge closed", "level 255 must collect everything above it.",
         ("torch.where(x > 0.999, torch.inf, (x + half - mean) / std)", "(x + half - mean) / std")),
        ("bins half as wide",
         "levels lie 2/255 apart, so a bin reaches 1/255 to either side; here it reaches half as far.",
         ("1 / 255", "0.5 / 255")),
        ("bins twice as wide", "a bin reaches 1/255 to either side; here it reaches 2/255 and overlaps its neighbours.",
         ("1 / 255", "2 / 255")),
        ("256 gaps", "256 levels have 255 gaps between them: the half width is 1/255.", ("1 / 255", "1 / 256")),
        ("a clamp caps the penalty",
         "probabilities below 1e-12 were raised to it: a model that is far off pays 40 bits a pixel and no more. Stay "
         "in logarithms: torch.special.log_ndtr.", *_rounded(1e-12)),
        ("a clamp at 1e-10",
         "probabilities below 1e-10 were raised to it: a model that is far off pays 33 bits a pixel and no more. Stay "
         "in logarithms: torch.special.log_ndtr.", *_rounded(1e-10)),
        ("a clamp at 1e-30",
         "probabilities below 1e-30 were raised to it: a model that is far off pays 100 bits a pixel and no more, and "
         "above the mean Φ(b) − Φ(a) is 0 long before. Stay in logarithms: torch.special.log_ndtr.", *_rounded(1e-30)),
        ("no mirror",
         "right below the mean, −∞ far above it: there log Φ(a) and log Φ(b) are both 0, and their difference is lost. "
         "Mirror such a bin to the lower tail: Φ(b) − Φ(a) = Φ(−a) − Φ(−b).",
         ("low + high > 0", "torch.tensor(False)")),
        ("edges cut at ±1", "the bins of black and white end at −1 and 1 here; they are open, and reach to −∞ and +∞.",
         ("torch.where(x < -0.999, -torch.inf, (x - half - mean) / std)", "((x - half).clamp(min=-1) - mean) / std"),
         ("torch.where(x > 0.999, torch.inf, (x + half - mean) / std)", "((x + half).clamp(max=1) - mean) / std")),
        ("difference lost in rounding",
         "Φ(b) − Φ(a) is 0 in floating point far from the mean, and its logarithm −∞. Mirror upper tails to the lower "
         "side and stay in logarithms: torch.special.log_ndtr.", *_rounded(0.0)),
        ("a density",
         "this is the log-density at the pixel, not the probability of its bin; it can exceed 0 and has no bits.",
         ("log_high + torch.log(-torch.expm1(log_low - log_high))",
          "-0.5 * ((x - mean) ** 2 / std**2 + torch.log(2 * torch.pi * std**2))")),
        ("density times bin width",
         "a good approximation for wide Gaussians, no bound for narrow ones: integrate over the bin, and open the "
         "edges.",
         ("log_high + torch.log(-torch.expm1(log_low - log_high))",
          "-0.5 * ((x - mean) ** 2 / std**2 + torch.log(2 * torch.pi * std**2)) + math.log(2 / 255)")),
        ("mean over the dimensions", "the pixels are averaged; log-probabilities of independent pixels add up.",
         (".sum(1)", ".mean(1)")),
        ("sum over the batch", "the examples are summed as well; each has a log-probability of its own, shape (B,).",
         (".flatten(1).sum(1)", ".sum()")),
        ("the sign", "this is −log P, a cost; the function returns log P.", ("return (", "return -(")),
        ("bits too early", "divided by log 2: this is in bits; the function returns nats.",
         (".sum(1)", ".sum(1) / math.log(2)")),
        ("broadcast over the wrong axis",
         "a variance of shape (B,) was lined up with the last axis of x instead of the batch.",
         ("expand(var.sqrt(), x)", "var.sqrt()")),
    ),
)  # fmt: skip


# ---- bound_in_bits ---------------------------------------------------------------------------------------------------
def bound_in_bits(prior, steps, reconstruction, dims):
    nats = prior + steps.mean(1).sum(1) + reconstruction.mean(1)
    return nats / (dims * math.log(2))


def _bound_cases(generator):
    def case(label, B, K, T, dims):
        u = [0.1 + 2.9 * uniform(*shape, generator=generator) for shape in ((B,), (B, K, T - 1), (B, K))]
        return Case(label, (*u, dims))

    return [
        Case("one number, one draw, T = 2", (numbers(0.1), numbers([[0.2]]), numbers([0.3]), 1)),
        case("3 examples of 7 numbers, 4 draws, T = 6", 3, 4, 6, 7),
        case("5 examples of 4 numbers, 3 draws, T = 9", 5, 3, 9, 4),
        case("3 digits of 784 pixels, 5 draws, T = 50", 3, 5, 50, 784),
    ]


BOUND = Exercise(
    equation="[prior + Σ_t mean_k steps + mean_k reconstruction] / (dims · log 2), bits per dimension (VLB-3, M-04)",
    reference=bound_in_bits,
    returns=("bits",),
    cases=_bound_cases,
    start="Which axes are averaged, which are summed?",
    hint="Draws (axis 1 of steps and reconstruction) are averaged, times summed. One bit is log 2 nats.",
    see="For prior 0.1, one step of 0.2 and reconstruction 0.3: 0.6/log 2 = 0.866 bits.",
    mistakes=mistakes(
        bound_in_bits,
        ("nats called bits", "log 2 is missing: these are nats per dimension. One bit is log 2 = 0.693 nats.",
         ("dims * math.log(2)", "dims")),
        ("multiplied by log 2", "one bit is log 2 nats, so nats are divided by log 2.",
         ("nats / (dims * math.log(2))", "nats / dims * math.log(2)")),
        ("not divided by dims", "these are bits for a whole example; divide by its number of entries.",
         ("dims * math.log(2)", "math.log(2)")),
        ("divided by the batch",
         "divided by the number of examples where the number of entries of one example, dims, belongs.",
         ("dims * math", "len(prior) * math")),
        ("average over t", "the T − 1 steps are averaged; the bound is their sum.",
         (".mean(1).sum(1)", ".mean(1).mean(1)")),
        ("sum over the draws", "the draws of the noise are summed; they estimate one average each.",
         ("steps.mean(1).sum(1) + reconstruction.mean(1)", "steps.sum(1).sum(1) + reconstruction.sum(1)")),
        ("axes swapped", "the draws (axis 1) are summed and the times (axis 2) averaged; it is the other way round.",
         (".mean(1).sum(1)", ".sum(1).mean(1)")),
        ("the steps' draws summed",
         "the draws of the steps are summed, those of the reconstruction averaged; all of them estimate averages.",
         (".mean(1).sum(1)", ".sum(1).sum(1)")),
        ("logarithm of the total", "this is log₂ of the nats; they are logarithms already. Nats are divided by log 2.",
         ("nats / (dims * math.log(2))", "torch.log2(nats) / dims")),
        ("one draw for the average",
         "only the first draw was used: a KL at one x_t is not yet its average over x_t (E-42).",
         ("steps.mean(1).sum(1) + reconstruction.mean(1)", "steps[:, 0].sum(1) + reconstruction[:, 0]")),
        ("prior dropped", "the prior term is missing: what is left is no bound any more (E-26).", ("prior + ", "")),
        ("reconstruction dropped",
         "the reconstruction is missing: it is the cost of the last step, from x_1 to the pixel itself.",
         (" + reconstruction.mean(1)", "")),
        ("the sign of the reconstruction",
         "the reconstruction is subtracted; it came as −log p_θ(x_0 | x_1), a cost like the others.",
         ("+ reconstruction", "- reconstruction")),
        ("signs of the ELBO",
         "this is the ELBO, which is negative here; bits per dimension are the cost, with a plus sign.",
         ("return nats", "return -nats")),
        ("average over the batch", "the examples are averaged; each has a bound of its own, shape (B,).",
         ("return nats", "return nats.mean()")),
        ("prior not divided by dims",
         "the prior term is added whole to the others' share of one dimension; it is a sum over dimensions too.",
         ("nats = prior", "nats = prior * dims")),
        ("only the prior divided by dims",
         "the steps and the reconstruction are sums over the dimensions too: divide the whole bound by dims.",
         ("nats = prior", "nats = prior / dims"), ("dims * math", "math")),
    ),
)  # fmt: skip


# ---- draws_of_each ---------------------------------------------------------------------------------------------------
def draws_of_each(variance, n):
    spread = variance.sqrt()
    return n * spread / spread.sum(1, keepdim=True)


def _spending_cases(generator):
    def case(label, B, T, n, still=(), unit=1.0, dtype=torch.float64):
        variance = unit * (0.2 + 2.8 * uniform(B, T, generator=generator)).square()
        for place in still:
            variance[place] = 0
        return Case(label, (variance.to(dtype), n))

    falling = numbers(*(10.0 ** (-k / 5) for k in range(20)))
    return [
        Case("one example, variances 1, 4, 9, n = 12", (numbers([1, 4, 9]), 12)),
        case("3 examples, T = 5, n = 100", 3, 5, 100),
        case("4 examples, T = 3, some variances 0, n = 30", 4, 3, 30, still=[(0, 1), (2, 0), (1, 1), (1, 2)]),
        case("5 examples, T = 7, fewer draws than terms, n = 2.5", 5, 7, 2.5),
        Case("3 examples, T = 20, variances over four decades, n = 1000",
             (falling * (0.5 + uniform(3, 20, generator=generator)), 1000)),
        case("7 examples, T = 4, variances of order 1e-6, n = 60", 7, 4, 60, unit=1e-6),
        case("6 examples, T = 4 in float32, n = 64", 6, 4, 64, dtype=torch.float32),
    ]  # fmt: skip


def _no_other_split_is_better(function):
    variance, n = numbers([0.3, 2.0, 0.9, 5.0], [4.0, 0.6, 0.1, 1.5]), 40
    draws, one = function(variance, n), torch.eye(4, dtype=torch.float64)
    moved = torch.stack([draws + 0.5 * (one[i] - one[j]) for i in range(4) for j in range(4) if i != j])
    least = ((variance / moved).sum(2) / (variance / draws).sum(1)).min().item()
    off = (draws.sum(1) - n).abs().max().item()
    if off > 1e-9 or moved.min() <= 0:
        return False, f"rows that miss n by {off:.1g}, or draws below 0"
    return least > 1, f"the best of 12 moves multiplies the variance by {least:.4f}"


DRAWS_OF_EACH = Exercise(
    equation="the n_t with Σ_t n_t = n for which Σ_t variance_t/n_t is least, for each example (VLB-3)",
    reference=draws_of_each,
    returns=("draws",),
    cases=_spending_cases,
    properties=(Property("moving half a draw to another term makes the sum noisier", _no_other_split_is_better),),
    start="The variance of the estimated sum is Σ variance_t/n_t. What does one more draw for term t take from it?",
    hint="At the best split every term gains equally from a further draw: variance_t/n_t² is the same for all t.",
    see="For variances 1, 4, 9 and n = 12: 2, 4 and 6 draws. The sum then has variance ½ + 1 + 1.5 = 3. "
    "A term without variance gets no draws.",
    mistakes=mistakes(
        draws_of_each,
        ("in proportion to the variance",
         "n_t grows with variance_t itself. That makes all variance_t/n_t equal; their sum is least elsewhere.",
         ("variance.sqrt()", "variance")),
        ("evenly", "every term gets n/T draws; where the variances differ, the sum is quieter if n_t differs too.",
         ("variance.sqrt()", "torch.ones_like(variance)")),
        ("fourth root",
         "n_t grows as the root of σ_t, which is best for Σ σ_t/n_t. The variances of independent means are added: "
         "Σ σ_t²/n_t.",
         ("variance.sqrt()", "variance.sqrt().sqrt()")),
        ("cube root",
         "n_t grows as the cube root of the variance, which is best for Σ variance_t/n_t². The variance of a mean of "
         "n_t draws is variance_t/n_t.",
         ("variance.sqrt()", "variance ** (1 / 3)")),
        ("inversely to σ", "n_t falls with σ_t: the quiet terms get most. A noisy term needs more draws, not fewer.",
         ("variance.sqrt()", "1 / variance.sqrt()")),
        ("inversely to the variance",
         "n_t falls with the variance. Such weights are best for averaging estimates of one number; here each term is "
         "another number, and all are added.",
         ("variance.sqrt()", "1 / variance")),
        ("softmax of σ", "n_t grows with the exponential of σ_t, in whatever unit that is.",
         ("variance.sqrt()", "variance.sqrt().softmax(1)")),
        ("all to the noisiest", "one term gets all n draws; with n_t = 0 for the others nothing is known of them.",
         ("variance.sqrt()", "(variance == variance.amax(1, keepdim=True)).to(variance.dtype)")),
        ("not divided by the sum", "the proportions are right, the total is not: the n_t have to sum to n.",
         (" / spread.sum(1, keepdim=True)", "")),
        ("shares", "these sum to 1 in each row; they are to be draws, n in all.", ("n * ", "")),
        ("n for every term",
         "these sum to n T in each row; n is what may be spent on all terms of an example together.",
         ("spread.sum(1", "spread.mean(1")),
        ("normalised over the batch",
         "each column sums to n; each example spends n on its own terms, so that each row does.",
         ("sum(1, keepdim=True)", "sum(0, keepdim=True)")),
        ("n for the whole batch", "all rows together sum to n; each example may spend n, so that each row sums to it.",
         ("sum(1, keepdim=True)", "sum()")),
        ("root of the share of the variance",
         "n_t is n times the root of variance_t/Σ variance, and these sum to more than n. Divide by the sum of the "
         "roots, not by the root of the sum.",
         ("spread.sum(1, keepdim=True)", "variance.sum(1, keepdim=True).sqrt()")),
        ("what each term adds",
         "this is variance_t/n_t at the best split, what the term adds to the variance; asked for is n_t.",
         ("n * spread / spread.sum(1, keepdim=True)", "spread * spread.sum(1, keepdim=True) / n")),
        ("one draw for each first",
         "every term gets one draw before the rest is split. The n_t may be any numbers that are not negative: a term "
         "without variance needs none.",
         ("n * spread / spread.sum(1, keepdim=True)",
          "1 + (n - variance.shape[1]) * spread / spread.sum(1, keepdim=True)")),
        ("rounded", "the n_t were rounded to whole numbers; real ones are asked for, which sum to n.",
         ("n * spread / spread.sum(1, keepdim=True)", "(n * spread / spread.sum(1, keepdim=True)).round()")),
        ("the sum not lined up",
         "a sum over t of shape (B,) does not line up with (B, T), and dividing fails; keep its axis: keepdim=True.",
         ("sum(1, keepdim=True)", "sum(1)")),
    ),
)  # fmt: skip

EXERCISES = (PRIOR_TERM, STEP_KL, CONSISTENCY, DISCRETISED, BOUND, DRAWS_OF_EACH)
