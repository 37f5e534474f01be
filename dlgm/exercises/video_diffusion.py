"""Exercises of lesson 21: pixels through time, products, blocks with a fault, a missing frame, the exact push.

Ledger VID-1, VID-2, M-28.
"""

import torch

from ..course.video_diffusion import boxes
from ..oracles import GaussianMixture
from ..oracles.affine import conditional
from ..restoration import Reconstruction, mask
from ..schedules import cosine_beta
from ..video import of_weight
from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers, uniform


# ---- through_time ---------------------------------------------------------------------------------------------------
def through_time(h, frames):
    _, C, H, W = h.shape
    clip = h.reshape(-1, frames, C, H, W)
    return clip.permute(0, 3, 4, 1, 2).reshape(-1, frames, C)


def _through_cases(generator):
    def case(label, B, F, C, H, W, dtype=torch.float64):
        return Case(label, (normal(B * F, C, H, W, generator=generator, dtype=dtype), F))

    first = numbers([[[111.0, 112.0]]], [[[121.0, 122.0]]], [[[211.0, 212.0]]], [[[221.0, 222.0]]])
    return [
        Case("2 clips of 2 frames of 1 × 2 pixels; 212 is clip 2, frame 1, pixel 2", (first, 2)),
        case("B = 3, F = 4, C = 5, H = 6, W = 7", 3, 4, 5, 6, 7),
        case("B = 5, F = 3, C = 4, H = 7, W = 6", 5, 3, 4, 7, 6),
        case("B = 4, F = 6, C = 3, H = 5, W = 8", 4, 6, 3, 5, 8),
        case("B = 3, F = 7, C = 6, H = 4, W = 5 in float32", 3, 7, 6, 4, 5, torch.float32),
    ]


def _nothing_strays(function):
    """∂out/∂h is 1 where clip and pixel are the same, and 0 elsewhere: row i hears F·C numbers."""
    B, F, C, H, W = 3, 4, 2, 3, 5
    where = torch.arange(B * H * W, dtype=torch.float64).reshape(B, 1, 1, H, W).expand(B, F, C, H, W)
    rows = function(where.flatten(0, 1), F)
    strays = int((rows != torch.arange(B * H * W)[:, None, None]).sum())
    return strays == 0, f"{strays} of {rows.numel()} strayed"


THROUGH_TIME = Exercise(
    equation="row (b H + i) W + j, frame f, channel c: h[b F + f, c, i, j], numbers from 0 (VID-2)",
    reference=through_time,
    returns=("sequences",),
    cases=_through_cases,
    properties=(Property("no number strays to another clip or pixel", _nothing_strays),),
    mistakes=mistakes(
        through_time,
        ("reshape alone",
         "h was reshaped, and no axis moved: numbers that lie side by side in memory, pixels of one frame, became "
         "frames. The shape is right, the rest is not.", ("clip.permute(0, 3, 4, 1, 2)", "clip")),
        ("channels moved, frames not",
         "channels were moved to the end, frames stayed where they were: pixels that are neighbours became frames.",
         ("clip.permute(0, 3, 4, 1, 2)", "clip.permute(0, 1, 3, 4, 2)")),
        ("clips and frames exchanged",
         "h was read as frame after frame, each of all clips. It is clip after clip, so B stands before F.",
         ("clip = h.reshape(-1, frames, C, H, W)", "clip = h.reshape(frames, -1, C, H, W).transpose(0, 1)")),
        ("channels before frames", "h was read as (B, C, F, H, W); in it the frames stand before the channels.",
         ("clip = h.reshape(-1, frames, C, H, W)", "clip = h.reshape(-1, C, frames, H, W).transpose(1, 2)")),
        ("channels and frames exchanged at the end",
         "before the last reshape the axes are (B, H, W, C, F), so channels were cut into frames; F goes before C.",
         ("clip.permute(0, 3, 4, 1, 2)", "clip.permute(0, 3, 4, 2, 1)")),
        ("frames last", "this is (B·H·W, C, F), as a convolution through time has it; asked for is (B·H·W, F, C).",
         ("return clip.permute(0, 3, 4, 1, 2).reshape(-1, frames, C)",
          "return clip.permute(0, 3, 4, 2, 1).reshape(-1, C, frames)")),
        ("columns before rows", "pixels go down the columns; they go along the rows, as in memory.",
         ("permute(0, 3, 4, 1, 2)", "permute(0, 4, 3, 1, 2)")),
        ("pixels before clips", "sequences of one pixel of all clips follow each other; clips come first.",
         ("permute(0, 3, 4, 1, 2)", "permute(3, 4, 0, 1, 2)")),
        ("clips between rows and columns", "the order is rows, clips, columns; clips come first.",
         ("permute(0, 3, 4, 1, 2)", "permute(3, 0, 4, 1, 2)")),
        ("height and width exchanged", "h was read as (B·F, C, W, H); rows stand before columns.",
         ("clip = h.reshape(-1, frames, C, H, W)", "clip = h.reshape(-1, frames, C, W, H).transpose(3, 4)")),
        ("frames backwards", "the frames run backwards.", ("reshape(-1, frames, C)", "reshape(-1, frames, C).flip(1)")),
        ("through space", "these are the pixels of each frame, (B·F, H·W, C): a look through space.",
         ("clip.permute(0, 3, 4, 1, 2).reshape(-1, frames, C)", "h.flatten(2).transpose(1, 2)")),
        ("through space and time",
         "this is one sequence of all pixels of all frames for each clip; each pixel wants a sequence of its own.",
         ("clip.permute(0, 3, 4, 1, 2).reshape(-1, frames, C)", "clip.permute(0, 1, 3, 4, 2).flatten(1, 3)")),
        ("whole frames", "this is one sequence for each clip, a frame one long row of it, (B, F, C·H·W).",
         ("clip.permute(0, 3, 4, 1, 2).reshape(-1, frames, C)", "clip.flatten(2)")),
    ),
    start="Which five axes hide in the four of h? Split the first, and name each of the five before you move any.",
    hint="h.reshape(-1, F, C, H, W) splits the first axis, flatten joins neighbours; only permute changes the order of "
    "axes.",
    see="2 clips of 2 frames of 2 pixels, each number its clip, frame and pixel: (111, 121), (112, 122), (211, 221), "
    "(212, 222).",
)  # fmt: skip


# ---- attention_products ---------------------------------------------------------------------------------------------
def attention_products(F, H, W):
    pixels = H * W
    joint = (F * pixels) ** 2
    space = F * pixels**2
    time = pixels * F**2
    return joint, space + time


def _products_cases(generator):
    sizes = [(2, 2, 3), (3, 4, 5), (7, 5, 3), (16, 8, 12), (5, 32, 24), (40, 3, 4)]
    return [Case(f"F = {F}, H = {H}, W = {W}", (F, H, W)) for F, H, W in sizes]


ATTENTION_PRODUCTS = Exercise(
    equation="together (F H W)²; apart, in each frame over its pixels and in each pixel over its frames, "
    "F (H W)² + H W F² (VID-2, M-28)",
    reference=attention_products,
    returns=("together", "apart"),
    cases=_products_cases,
    mistakes=mistakes(
        attention_products,
        ("together not squared", "together, it is F H W, the number of places; each looks at all, so squared.",
         ("(F * pixels) ** 2", "F * pixels")),
        ("nothing squared", "places were counted and not pairs of places: the squares are missing.",
         ("(F * pixels) ** 2", "F * pixels"), ("pixels**2", "pixels"), ("F**2", "F")),
        ("apart as together",
         "apart, it is F² (H W)² again, as if each frame looked at the pixels of all others.",
         ("space + time", "joint")),
        ("once each", "(H W)² + F² is one frame and one pixel. There are F frames and H W pixels.",
         ("F * pixels**2", "pixels**2"), ("pixels * F**2", "F**2")),
        ("one frame", "(H W)² is one frame; space is looked through in each of F.", ("F * pixels**2", "pixels**2")),
        ("one pixel", "F² is one pixel; time is looked through at each of H W.", ("pixels * F**2", "F**2")),
        ("space only", "apart, the look through time is missing, H W F².", ("space + time", "space")),
        ("time only", "apart, the look through space is missing, F (H W)².", ("space + time", "time")),
        ("multiplied", "the two looks were multiplied; one follows the other, so they add.",
         ("space + time", "space * time")),
        ("how often and how long exchanged",
         "this is H W (H W)² + F F²: sequences of H W pixels there are F, sequences of F frames H W.",
         ("F * pixels**2", "pixels * pixels**2"), ("pixels * F**2", "F * F**2")),
        ("rows and columns apart, too",
         "this is F H W (F + H + W): rows and columns were taken apart as well. In a frame all pixels look at all.",
         ("F * pixels**2", "F * pixels * (H + W)")),
        ("pairs once", "each pair was counted once; q of one with k of the other is not k with q, and a place sees "
         "itself.", ("(F * pixels) ** 2", "F * pixels * (F * pixels - 1) // 2"),
         ("F * pixels**2", "F * pixels * (pixels - 1) // 2"), ("pixels * F**2", "pixels * F * (F - 1) // 2")),
        ("values exchanged", "both are right, in the other order: first together, then apart.",
         ("return joint, space + time", "return space + time, joint")),
    ),
    start="Attention over a sequence of n places needs n² products. How many sequences are there each time, and how "
    "long are they?",
    hint="Apart: F sequences of H W pixels, then H W sequences of F frames. Give back Python's whole numbers, no "
    "tensors.",
    see="F = 2, H = 2, W = 3: together 12² = 144, apart 2 · 36 + 6 · 4 = 96. The larger the clip, the further they "
    "part.",
)  # fmt: skip


# ---- diagnose_block -------------------------------------------------------------------------------------------------
def diagnose_block(block):
    B, F, C, H, W = 2, 4, 3, 3, 5
    row, column = 0, 1
    h = torch.randn(B, F, C, H, W, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def answer(clips):
        return block(clips.flatten(0, 1), F).unflatten(0, (B, F))

    def moved(frame):  # by a change of one pixel in that frame of the first clip: (B, F, H, W)
        other = h.clone()
        other[0, frame, :, row, column] += 1
        return ((answer(other) - answer(h)).abs() > 1e-9).any(2)

    there = moved(F - 1)
    if there[1:].any():
        return "mixes clips"
    here = there[0, :, row, column].clone()
    there[0, :, row, column] = False
    if there.any():
        return "mixes pixels"
    if not here[0]:
        return "sees the past only"
    order = [2, 0, 3, 1]
    if torch.allclose(answer(h[:, order]), answer(h)[:, order]):
        return "blind to order"
    return "right"


def _diagnose_cases(generator):
    again = boxes(int(torch.randint(1, 1000, (), generator=generator)))
    return [
        *(Case(repr(box), (box,)) for box in boxes().values()),
        *(Case(f"{box!r} of seven others", (box,)) for box in again.values()),
    ]


DIAGNOSE = Exercise(
    equation="row b F + f of the answer at pixel (i, j) may hear h[b F + g, :, i, j] for each frame g, before f or "
    "after it, and nothing else; if frames change places, more than places must change (VID-2, M-28)",
    reference=diagnose_block,
    returns=("diagnosis",),
    cases=_diagnose_cases,
    mistakes=mistakes(
        diagnose_block,
        ("one clip",
         "a box that mixes clips was called right. With one clip it does nothing wrong: give it two or more, change "
         "one, and look at the others.", ("F, C, H, W = 2, 4", "F, C, H, W = 1, 4")),
        ("one pixel",
         "boxes that mix pixels were called right. Give them several rows and columns, change one pixel, and look at "
         "all others.", ("3, 3, 5", "3, 1, 1"), ("row, column = 0, 1", "row, column = 0, 0")),
        ("a corner",
         "a box that puts rows where columns were was called right. Pixels in a corner, or in the very middle, come "
         "back to their places there, and all do in a single row or column: change another one.",
         ("row, column = 0, 1", "row, column = 0, 0")),
        ("faults not found",
         "boxes with a fault were called right. The shape of an answer says nothing: change a little of what goes in, "
         "and look at what moves and what does not.", lambda block: "right"),
        ("equal frames",
         "boxes that know the order were called blind to it. Did you ask with frames that are all the same? These "
         "can change places unseen.", ("    order = ", "    h = h[:, :1].expand(B, F, C, H, W)\n    order = ")),
        ("reversed only",
         "a box that knows how far apart frames are, and not which comes first, was called blind. Reversing a clip "
         "keeps all distances: let two neighbours of four frames change places.", ("[2, 0, 3, 1]", "[3, 2, 1, 0]")),
        ("blindness not found",
         "a box that is blind to order was called right. There frames that change places in a clip change places in "
         "the answer, and that is all, up to roundings: compare block(clip[order]) with block(clip)[order].",
         ("answer(h)[:, order])", "answer(h))")),
        ("the past not found",
         "a box that sees the past only was called right. Its last frame hears the first; ask whether the first hears "
         "the last.", ("there = moved(F - 1)", "there = moved(0)"), ("not here[0]", "not here[F - 1]")),
        ("clips and frames exchanged",
         "your clips were read, or put together, frame after frame: row b F + f is frame f of clip b. So a box that "
         "keeps them apart seemed to mix them, and the one that mixes them seemed right.",
         ("block(clips.flatten(0, 1), F).unflatten(0, (B, F))",
          "block(clips.transpose(0, 1).flatten(0, 1), F).unflatten(0, (F, B)).transpose(0, 1)")),
        ("frames taken for clips",
         "boxes that only look through time were said to mix clips. The other frames of the same clip should move; "
         "those of another clip should not.", ("there[1:].any()", "there.any(3).any(2).sum() > 1")),
        ("all mix clips",
         "every box was said to mix clips. When one frame changes, the others of the same clip should move; those of "
         "another clip should not.", lambda block: "mixes clips"),
        ("frames asked first",
         "boxes that mix clips or pixels were said to see the past only. Ask about clips and pixels first: where the "
         "wrong places are put together, it says nothing that one frame does not hear another.",
         ('return "mixes clips"', 'return "mixes clips" if there[0, 0, row, column].any() else "sees the past only"'),
         ('return "mixes pixels"', 'return "mixes pixels" if here[0] else "sees the past only"')),
        ("channels or frames taken for pixels",
         "boxes that keep pixels apart were said to mix them. Channels of one pixel may mix and its frames should; "
         "only other rows and columns count.", ("if there.any()", "if True")),
        ("past turned round",
         "boxes whose first frame hears the last were said to see the past only. That is said of a box where a change "
         "of the last frame moves none before.", ("not here[0]", "here[0]")),
    ),
    start="Put your own numbers in, change one pixel of one frame of one clip, and write down which clips, pixels and "
    "frames of the answer move.",
    hint="One change answers three questions: does another clip move, another pixel, an earlier frame? Order is asked "
    "with frames that change places. Draw with a generator of your own.",
    see="Seven boxes, five diagnoses: two boxes are right, two mix pixels. With one clip, or one pixel, some faults "
    "hide.",
)  # fmt: skip


# ---- missing --------------------------------------------------------------------------------------------------------
def missing(rho, a, b, before, after):
    left = 1 - rho ** (2 * a)
    right = 1 - rho ** (2 * b)
    whole = 1 - rho ** (2 * (a + b))
    mean = (rho**a * right * before + rho**b * left * after) / whole
    return mean, left * right / whole


def _missing_cases(generator):
    def case(label, a, b, *shape, dtype=torch.float64, sign=1):
        rho = sign * (0.4 + 0.55 * uniform(*shape, generator=generator))
        before, after = (1 + normal(*shape, generator=generator) for _ in range(2))
        return Case(label, (rho.to(dtype), a, b, before.to(dtype), after.to(dtype)))

    return [
        Case("ρ = 0.5, one after 5, two before −2", (numbers(0.5), 1, 2, numbers(5.0), numbers(-2.0))),
        case("5 numbers, a = 1, b = 3", 1, 3, 5),
        case("7 numbers, a = 4, b = 2", 4, 2, 7),
        case("6 numbers with negative ρ, a = 3, b = 2", 3, 2, 6, sign=-1),
        case("shape (3, 4), a = 2, b = 5", 2, 5, 3, 4),
        case("8 numbers in float32, a = 3, b = 1", 3, 1, 8, dtype=torch.float32),
    ]


def _is_the_conditional_law(function):
    """Frames 0, 2 and 5, 6 of eight are known: the fourth (3) hears those at 2 and 5 only."""
    rho, known, place = 0.8, [0, 2, 5, 6], torch.arange(8)
    cov = rho ** (place[:, None] - place).abs().double()
    y = numbers(0.3, -1.2, 0.7, 2.0)
    mean, var = conditional(torch.zeros(8, dtype=cov.dtype), cov, torch.eye(8, dtype=cov.dtype)[known], y)
    got = function(numbers(rho), 1, 2, y[1:2], y[2:3])
    gap = max(abs(got[0].item() - mean[3].item()), abs(got[1].item() - var[3, 3].item()))
    return gap < 1e-9, f"off by {gap:.0e}"


MISSING = Exercise(
    equation="mean (ρ^a (1 − ρ^{2b}) before + ρ^b (1 − ρ^{2a}) after)/(1 − ρ^{2(a+b)}), variance (1 − ρ^{2a}) "
    "(1 − ρ^{2b})/(1 − ρ^{2(a+b)}) (VID-1, M-28)",
    reference=missing,
    returns=("mean", "var"),
    cases=_missing_cases,
    properties=(Property("the law of one frame given four, two of them farther away", _is_the_conditional_law),),
    mistakes=mistakes(
        missing,
        ("a straight line",
         "the mean lies on a straight line from before to after. Both pull only as far as they are known to agree: "
         "with distance the mean goes back to 0.",
         ("(rho**a * right * before + rho**b * left * after) / whole", "(b * before + a * after) / (a + b)")),
        ("only the one before", "this is the law given the frame before alone; the one after counts as well.",
         ("(rho**a * right * before + rho**b * left * after) / whole", "rho**a * before"),
         ("left * right / whole", "left")),
        ("sum of two predictions",
         "the mean is the sum of two predictions, ρ^a before + ρ^b after. What the two frames have in common is "
         "counted twice.",
         ("(rho**a * right * before + rho**b * left * after) / whole", "rho**a * before + rho**b * after")),
        ("known frames taken as uncorrelated",
         "the two known frames were taken as uncorrelated: predictions add, and so do the parts of the variance that "
         "they explain. Their correlation is ρ^{a+b}.",
         ("(rho**a * right * before + rho**b * left * after) / whole", "rho**a * before + rho**b * after"),
         ("left * right / whole", "left + right - 1")),
        ("average of two predictions", "the mean is the average of two predictions, one from each side; together the "
         "two frames say more than each.",
         ("(rho**a * right * before + rho**b * left * after) / whole", "(rho**a * before + rho**b * after) / 2")),
        ("two opinions weighted",
         "two predictions were weighted by their precisions, as if they were independent. Each has the law of the "
         "frame itself, N(0, 1), in it already, which then counts twice.",
         ("1 - rho ** (2 * (a + b))", "left + right")),
        ("a and b exchanged", "a and b, or before and after, are exchanged: before lies a frames away, after b frames.",
         ("rho**a", "rho**b * 1"), ("rho**b * left", "rho**a * left"), ("* right * before", "* left * before"),
         ("* left * after", "* right * after")),
        ("the weights exchanged", "before has 1 − ρ^{2a} and after 1 − ρ^{2b}; each is weighed by how little the other "
         "says, so the exponents are the other way round.",
         ("* right * before", "* left * before"), ("* left * after", "* right * after")),
        ("exponents not doubled", "1 − ρ^a stands for 1 − ρ^{2a}, and so with b and a + b: variance explained is a "
         "correlation squared.", ("(2 * a)", "a"), ("(2 * b)", "b"), ("(2 * (a + b))", "(a + b)")),
        ("nothing divided by", "the denominator 1 − ρ^{2(a+b)} is missing in both.", (" * left * after) / whole",
         " * left * after)"), ("right / whole", "right")),
        ("the variance not divided", "the variance is the product of those given one side; it is that over "
         "1 − ρ^{2(a+b)}.", ("left * right / whole", "left * right")),
        ("variance of one side", "the mean is right, and the variance is that given the frame before alone; the frame "
         "after makes it smaller.", ("left * right / whole", "left")),
        ("standard deviation", "the second value is the standard deviation; asked for is the variance.",
         ("left * right / whole", "(left * right / whole) ** 0.5")),
        ("values exchanged", "both are right, in the other order: first the mean, then the variance.",
         ("return mean, left * right / whole", "return left * right / whole, mean")),
    ),
    start="The missing frame and the two known ones are Gaussian together. Write down their 3 × 3 covariance first.",
    hint="The mean is cᵀ K⁻¹ y and the variance 1 − cᵀ K⁻¹ c, with c = (ρ^a, ρ^b), y the two known values, and K with "
    "ones and ρ^{a+b}.",
    see="ρ = 0.5, one frame after 5 and two before −2: mean 2, variance 5/7. The straight line has 2.67.",
)  # fmt: skip


# ---- exact_weight ---------------------------------------------------------------------------------------------------
def exact_weight(rho, signal, noise):
    own = 1 / (1 - rho**2) + signal**2 / noise**2
    other = -rho / (1 - rho**2)
    var = own / (own**2 - other**2)
    return noise**2 / (signal**2 * var)


def _weight_cases(generator):
    def case(label, rho, B, dtype=torch.float64):
        signal, noise = (0.2 + 1.5 * uniform(B, generator=generator) for _ in range(2))
        return Case(label, (rho, signal.to(dtype), noise.to(dtype)))

    signal = numbers(0.95, 0.7, 0.4, 0.15)
    return [
        Case("ρ = 0.5, z = 2 x + ε", (0.5, numbers(2.0), numbers(1.0))),
        Case("ρ = 0.8, four levels with signal² + noise² = 1", (0.8, signal, (1 - signal**2).sqrt())),
        case("ρ = 0.3, 5 levels", 0.3, 5),
        case("ρ = −0.6, 7 levels", -0.6, 7),
        case("ρ = 0.95, 3 levels", 0.95, 3),
        case("ρ = 0.7, 6 levels in float32", 0.7, 6, torch.float32),
    ]


def _guidance_is_exact(function):
    """ρ = 0.8, t = 100, 500, 900 of 1000: the pushed denoiser and E[x_0 | z, x^a = y]."""
    schedule, rho, y, gap = cosine_beta(), 0.8, numbers(1.3, 0.0), 0.0
    cov = numbers([1.0, rho], [rho, 1.0])
    denoiser = GaussianMixture(numbers(1.0), numbers([0.0, 0.0]), cov[None]).denoiser(schedule)
    z = numbers([0.5, -1.0], [-2.0, 0.3])
    for t in (100, 500, 900):
        signal, noise = (numbers(float(v)) for v in (schedule.signal(t), schedule.noise(t)))
        w = function(rho, signal, noise).item()
        known = mask(torch.tensor([True, False]))
        pushed = Reconstruction(denoiser, known, y, spread=of_weight(w))(z, t).x0
        K, own = signal**2 * cov + noise**2 * torch.eye(2), signal * cov
        joint = torch.cat([torch.cat([cov, own], 1), torch.cat([own, K], 1)])
        A = torch.eye(4, dtype=cov.dtype)[[0, 2, 3]]
        for row, of_row in zip(z, pushed, strict=True):
            law = conditional(torch.zeros(4, dtype=cov.dtype), joint, A, torch.cat([y[:1], row]))
            gap = max(gap, (law[0][:2] - of_row).abs().max().item())
    return gap < 1e-6, f"off by {gap:.0e}"


EXACT_WEIGHT = Exercise(
    equation="w* = noise²/(signal² Var(x^a | z)), z = signal · x + noise · ε of both frames, x of variance 1 and "
    "correlation ρ (VID-1, M-28)",
    reference=exact_weight,
    returns=("weight",),
    cases=_weight_cases,
    properties=(Property("with it the pushed denoiser is the exact one, at three times", _guidance_is_exact),),
    mistakes=mistakes(
        exact_weight,
        ("its own noised frame only",
         "this has the variance given the frame's own z alone, noise²/(signal² + noise²); the other frame's z says "
         "something about it, too.",
         ("own / (own**2 - other**2)", "noise**2 / (signal**2 + noise**2)")),
        ("the variance of the data", "Var(x^a | z) was taken to be 1, that of the data; z makes it smaller.",
         ("own / (own**2 - other**2)", "1.0")),
        ("given the other frame itself",
         "this is the variance of one frame when z and the other frame are known, 1 over an entry of the precision; "
         "the other frame is not known. Invert the 2 × 2 matrix first.", ("own / (own**2 - other**2)", "1 / own")),
        ("noise² for the variance", "noise² stands for Var(x^a | z) and cancels; noise is that of z, not what is "
         "unknown of x.", ("own / (own**2 - other**2)", "noise**2")),
        ("upside down", "this is 1/w*.", ("noise**2 / (signal**2 * var)", "signal**2 * var / noise**2")),
        ("multiplied by the variance", "Var(x^a | z) multiplies; it divides: where x^a is nearly known the push must "
         "be strong.", ("(signal**2 * var)", "signal**2 * var")),
        ("signal not squared", "signal stands without its square before Var(x^a | z).",
         ("(signal**2 * var)", "(signal * var)")),
        ("noise not squared", "noise stands without its square above.", ("return noise**2", "return noise")),
        ("signal forgotten", "signal² is missing below.", ("(signal**2 * var)", "var")),
        ("standard deviation for variance", "the root of Var(x^a | z) was taken; it is a variance.",
         ("signal**2 * var", "signal**2 * var**0.5")),
        ("the covariance", "this has Cov(x^a, x^b | z), beside the diagonal; the known frame's own variance stands on "
         "it.", ("own / (own**2 - other**2)", "-other / (own**2 - other**2)")),
        ("the variance of z", "this has the variance of z, signal² + noise²; asked for is what z leaves unknown of x.",
         ("own / (own**2 - other**2)", "signal**2 + noise**2")),
        ("the spread", "this is Var(x^a | z), the r² of the pull; the weight is noise²/(signal² r²).",
         ("return noise**2 / (signal**2 * var)", "return var")),
        ("twice", "twice as large: the ½ of w signal/2 is not part of w.", ("return noise**2", "return 2 * noise**2")),
    ),
    start="Write the 2 × 2 covariance of x given z, or its inverse, the precision. Which entry is Var(x^a | z)?",
    hint="The precision given z is the inverse of the data's covariance, plus signal²/noise² on the diagonal. Invert "
    "it; its diagonal then holds Var(x^a | z).",
    see="ρ = 0.5, z = 2 x + ε: Var(x^a | z) = 4/21, w* = 21/16. For little noise w* is near 1, for much it grows "
    "without end.",
)  # fmt: skip

EXERCISES = (THROUGH_TIME, ATTENTION_PRODUCTS, DIAGNOSE, MISSING, EXACT_WEIGHT)
