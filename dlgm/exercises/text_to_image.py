"""Exercises of lesson 20: reading words, a closed box that reads, what an upsampler is told, too much noise, a prior.

Ledger COND-3, CASC-1, CASC-2, LAT-3, M-26, M-27, M-30.
"""

import itertools
import math
from dataclasses import dataclass

import torch

from ..course.text_to_image import BEHAVIOURS, Box
from .engine import Case, Exercise, Property, mistakes
from .inputs import normal, numbers, uniform


# ---- read -----------------------------------------------------------------------------------------------------------
def read(q, k, v, mask):
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[2])
    scores = scores.masked_fill(~mask[:, None], -math.inf)
    return scores.softmax(2) @ v


def _heads(B, N, M, d, generator, dtype=torch.float64):
    """Random q, k, v, and a mask of words that stand anywhere, at least one in each row."""
    q, k, v = (normal(B, n, d, generator=generator, dtype=dtype) for n in (N, M, M))
    mask = uniform(B, M, generator=generator) < 0.5
    mask[torch.arange(B), torch.arange(B) % M] = True
    mask[torch.arange(B), (torch.arange(B) + 1) % M] = False
    return q, k, v, mask


def _read_cases(generator):
    def case(label, B, N, M, d, dtype=torch.float64, full=False):
        q, k, v, mask = _heads(B, N, M, d, generator, dtype)
        return Case(label, (q, k, v, mask | full))

    q, k, v = (numbers(*[[x] for x in row])[None] for row in ((0.0, 1.0, -2.0), (0.0, 1.0, 5.0), (3.0, 7.0, 100.0)))
    return [
        Case("3 pixels, 3 words, d = 1, the last word hidden", (q, k, v, torch.tensor([[True, True, False]]))),
        case("3 pictures of 5 pixels, 7 words, d = 4, none hidden", 3, 5, 7, 4, full=True),
        case("4 pictures of 6 pixels, 5 words, d = 3, some hidden", 4, 6, 5, 3),
        case("5 pictures of 4 pixels, 7 words, d = 6, some hidden", 5, 4, 7, 6),
        case("4 pictures of 3 pixels, 6 words, d = 5, some hidden, float32", 4, 3, 6, 5, torch.float32),
    ]


def _padding_and_order_do_not_count(function):
    generator = torch.Generator().manual_seed(3)
    q, k, v, mask = _heads(3, 4, 5, 6, generator)
    read = function(q, k, v, mask)
    more = normal(3, 2, 6, generator=generator)
    padded = function(
        q, torch.cat([k, more], 1), torch.cat([v, 9 * more], 1), torch.cat([mask, mask[:, :2] & False], 1)
    )
    order = torch.tensor([3, 0, 4, 2, 1])
    turned = function(q, k[:, order], v[:, order], mask[:, order])
    gap, far = ((z - read).abs().max().item() for z in (padded, turned))
    return gap < 1e-12 and far < 1e-12, f"moved by {gap:.0e} and {far:.0e}"


READ = Exercise(
    equation="softmax over words of q kᵀ/√d, times v; words where the mask is false are not read (COND-3, M-27)",
    reference=read,
    returns=("read",),
    cases=_read_cases,
    properties=(
        Property("padding appended, and words in another order with their mask, change nothing",
                 _padding_and_order_do_not_count),
    ),
    mistakes=mistakes(
        read,
        ("mask ignored", "the mask does not occur: padding is read like words.",
         ("scores.masked_fill(~mask[:, None], -math.inf)", "scores")),
        ("mask inverted", "the mask is inverted: what it hides is read. It is true where a word is.",
         ("~mask", "mask")),
        ("masked after softmax",
         "hidden words count in the softmax and are left out of the sum only: the weights of the others do not sum to "
         "1. The mask belongs before the softmax.",
         ("scores.masked_fill(~mask[:, None], -math.inf)", "scores"),
         ("scores.softmax(2)", "scores.softmax(2).masked_fill(~mask[:, None], 0.0)")),
        ("score 0 for −∞", "hidden words have the score 0, which is a score like others; e⁰ = 1. It is −∞.",
         ("-math.inf", "0.0")),
        ("score and value 0",
         "hidden words have score 0 and value 0: they add nothing and still take a share of the weights. Their score "
         "is −∞.", ("-math.inf", "0.0"), ("@ v", "@ (v * mask[:, :, None])")),
        ("mask added as numbers",
         "the mask was added to the scores as 0 and 1, so hidden words are read a little less. Their score is −∞.",
         ("scores.masked_fill(~mask[:, None], -math.inf)", "scores + mask[:, None]")),
        ("the first mask for all", "the mask of the first text was used for all; each text has its own.",
         ("~mask[:, None]", "~mask[:1, None]")),
        ("softmax over pixels",
         "the softmax runs over the pixels; it runs over words: each pixel shares its attention among them. (A column "
         "of −∞ has no softmax, hence NaN.)", (".softmax(2)", ".softmax(1)")),
        ("softmax over pixels, then the mask",
         "the softmax runs over the pixels, and hidden words got the weight 0 after it. It runs over words: each pixel "
         "shares its attention among those that are there.",
         ("scores.masked_fill(~mask[:, None], -math.inf)", "scores"),
         ("scores.softmax(2)", "scores.softmax(1).masked_fill(~mask[:, None], 0.0)")),
        ("no 1/√d", "1/√d is missing: with more numbers a word, scores grow and one word takes all.",
         (" / math.sqrt(q.shape[2])", "")),
        ("1/d", "the scores were divided by d; it is √d, the size of a sum of d products.",
         ("math.sqrt(q.shape[2])", "q.shape[2]")),
        ("words for d", "√M stands for √d: d is how many numbers a query has, not how many words there are.",
         ("q.shape[2]", "k.shape[1]")),
        ("q and k exchanged", "this is k qᵀ, in which words ask pixels; pixels ask: q kᵀ.",
         ("q @ k.transpose(1, 2)", "k @ q.transpose(1, 2)")),
        ("no softmax", "the scores themselves are the weights; their softmax is positive and sums to 1.",
         ("-math.inf", "0.0"), ("scores.softmax(2)", "scores")),
        ("values averaged", "every word that is there has the same weight: the scores do not occur.",
         ("q @ k", "0 * q @ k")),
        ("keys for values", "the keys were averaged; k says where to look, v what is read there.", ("@ v", "@ k")),
    ),
    start="Which two axes does the table of scores have for each picture, and along which of them must the weights "
    "sum to 1?",
    hint="k.transpose(1, 2) turns words and features. masked_fill with −∞ before the softmax gives a hidden word the "
    "weight 0, and the others share all of it.",
    see="First input: with q = 0 both words weigh the same, (3 + 7)/2 = 5. With q = 1 they weigh 1 : e, so 5.924. The "
    "hidden 100 does not show.",
)  # fmt: skip


# ---- diagnose_attention ---------------------------------------------------------------------------------------------
def diagnose_attention(attention):
    q, k = torch.zeros(1, 3, 1), torch.zeros(1, 2, 1)  # 3 pixels, 2 words, all scores 0
    v, mask = torch.tensor([[[1.0], [10.0]]]), torch.tensor([[True, False]])
    expected = {
        "right": 1.0,  # the word alone
        "padding is read": 5.5,  # half of each
        "mask inverted": 10.0,  # the padding alone
        "masked after softmax": 0.5,  # half of the word, half of nothing
        "softmax over pixels": 1 / 3,  # three pixels share the word
    }
    saw = attention(q, k, v, mask)[0, 0, 0].item()
    return min(expected, key=lambda name: abs(expected[name] - saw))


def _diagnose_cases(generator):
    order = torch.randperm(len(BEHAVIOURS), generator=generator).tolist()
    names = ("first", "second", "third", "fourth", "fifth")
    return [Case(f"the {name} box", (Box(name, BEHAVIOURS[i]),)) for name, i in zip(names, order, strict=True)]


def _taking(names):
    """A diagnosis that takes some behaviours for others: true name -> what is said."""

    def wrong(attention):
        found = diagnose_attention(attention)
        return names.get(found, found)

    return wrong


def _by_what_hidden_words_say(attention):
    q, k, mask = torch.zeros(1, 3, 1), torch.zeros(1, 2, 1), torch.tensor([[True, False]])
    one, other = (attention(q, k, torch.tensor([[[1.0], [x]]]), mask) for x in (10.0, 20.0))
    return "right" if torch.equal(one, other) else "padding is read"


def _by_padding_appended(attention):
    one, other = (
        attention(torch.zeros(1, 3, 1), torch.zeros(1, n, 1), torch.ones(1, n, 1).cumsum(1), torch.arange(n)[None] < 2)
        for n in (3, 4)
    )
    return "right" if torch.allclose(one, other) else "padding is read"


def _functions_are_told_apart(function):
    """The same behaviours in functions that have no attribute to look at."""
    boxes = [Box("", behaviour) for behaviour in BEHAVIOURS]
    said = [function(lambda q, k, v, mask, box=box: box(q, k, v, mask)) for box in boxes]
    return said == list(BEHAVIOURS), f"said {', '.join(map(repr, said))}"


DIAGNOSE = Exercise(
    equation='"right", "padding is read", "mask inverted", "masked after softmax" or "softmax over pixels": what '
    "attention(q, k, v, mask) does (COND-3, M-27)",
    reference=diagnose_attention,
    returns=("behaviour",),
    cases=_diagnose_cases,
    properties=(Property("plain functions that do the same are told apart, too", _functions_are_told_apart),),
    mistakes=mistakes(
        diagnose_attention,
        ("all right", "boxes with a fault are called right. Give one a hidden word whose value you would recognise.",
         ("return min(", 'return "right" or min(')),
        ("no padding in the probe",
         "nothing was hidden in the probe, or nothing that shows: without padding, three of the boxes give the same, "
         "whatever they do with a mask.",
         ("[[True, False]]", "[[True, True]]"), ('"right": 1.0', '"right": 5.5'), ("1 / 3", "11 / 3")),
        ("only whether a hidden value moves it",
         "whether the value of a hidden word moves the answer is not enough to ask: it does so under an inverted mask, "
         "too, and it does not where the mask comes after the softmax or the softmax runs over pixels.",
         _by_what_hidden_words_say),
        ("only whether padding moves it",
         "whether more padding moves the answer is not enough to ask: it does so with three of the faults, and not "
         "with a softmax over pixels.", _by_padding_appended),
        ("only the sum of the weights",
         "only the sum of the weights was seen, as with v = 1. It is 1, too, where padding is read or where the mask "
         "is inverted: give word and padding values of their own.",
         ("[10.0]", "[1.0]"), ('"mask inverted": 10.0', '"mask inverted": 1.0')),
        ("inverted taken for read",
         "an inverted mask is called padding that is read. Look whether words are still read besides.",
         _taking({"mask inverted": "padding is read"})),
        ("read and inverted exchanged",
         "padding that is read is called an inverted mask, and the other way round: inverted, words are not read at "
         "all.", _taking({"mask inverted": "padding is read", "padding is read": "mask inverted"})),
        ("mask taken the other way",
         "right is called inverted and inverted right: the mask is true where a word is, and false at padding.",
         _taking({"mask inverted": "right", "right": "mask inverted"})),
        ("one pixel",
         "a softmax over pixels is called right. With one pixel and one word that shows, both give the weight 1: take "
         "more pixels.", ("torch.zeros(1, 3, 1)", "torch.zeros(1, 1, 1)")),
        ("as many pixels as words",
         "a softmax over pixels is called a mask after the softmax. With equal scores and as many pixels as words both "
         "have the same weights: take another number of pixels.", ("torch.zeros(1, 3, 1)", "torch.zeros(1, 2, 1)")),
        ("padding of value 0",
         "a mask after the softmax is called padding that is read. Where the padding's value is 0 both give the same: "
         "give it another one.",
         ("[10.0]", "[0.0]"), ("5.5", "0.5"), ('"mask inverted": 10.0', '"mask inverted": 0.0')),
        ("after the softmax taken for right",
         "a mask after the softmax is called right. It reads no padding, but its weights sum to less than 1.",
         _taking({"masked after softmax": "right"})),
        ("after the softmax and over pixels exchanged",
         "a mask after the softmax is called a softmax over pixels, and the other way round. Only the latter changes "
         "with the number of pixels.",
         _taking({"masked after softmax": "softmax over pixels", "softmax over pixels": "masked after softmax"})),
        ("one name for all faults",
         "other faults are called padding that is read, as well. They differ in what they give.",
         _taking(dict.fromkeys(BEHAVIOURS[1:], "padding is read"))),
    ),
    start="You choose all four inputs. Which scores make the weights known at once, and which values show who was "
    "read with what weight?",
    hint="With q = 0 all weights are equal. Take one word of value 1, one padding of value 10 and three pixels, and "
    "compute on paper what each behaviour gives.",
    see="With q = 0, values 1 and 10, the second hidden, and three pixels: 1, 5.5, 10, 0.5 and 1/3 in the order of "
    "the list. One call tells all five apart.",
)  # fmt: skip


# ---- told -----------------------------------------------------------------------------------------------------------
def told(v, signal, noise, eps, enlarge):
    low = v / 127.5 - 1
    return enlarge(signal * low + noise * eps)


@dataclass(frozen=True, repr=False)
class Twice:
    """A function that makes pictures twice as large: mode "nearest" or "bilinear"."""

    mode: str

    def __call__(self, x):
        return torch.nn.functional.interpolate(x, scale_factor=2, mode=self.mode)

    def __repr__(self):
        return {"nearest": "each pixel 2 × 2 times", "bilinear": "straight lines between pixels"}[self.mode]


def _told_cases(generator):
    def case(label, signal, noise, mode, *shape):
        v = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8, device=generator.device)
        eps = normal(*shape, generator=generator, dtype=torch.float32)
        return Case(label, (v, signal, noise, eps, Twice(mode)))

    v = torch.tensor([[[[0, 255], [51, 204]]]], dtype=torch.uint8)
    eps = torch.tensor([[[[1.0, 1.0], [0.0, -1.0]]]])
    return [
        Case("one picture of 2 × 2 pixels (0, 255), (51, 204), signal 0.5, noise 2",
             (v, 0.5, 2.0, eps, Twice("nearest"))),
        case("shape (3, 4, 5, 6), straight lines between pixels", 0.8, 0.6, "bilinear", 3, 4, 5, 6),
        case("shape (5, 3, 6, 4), each pixel 2 × 2 times", 0.96, 0.28, "nearest", 5, 3, 6, 4),
        case("shape (4, 3, 7, 5), straight lines between pixels", 0.6, 0.8, "bilinear", 4, 3, 7, 5),
        case("shape (3, 5, 4, 7), signal 1, noise 0: nothing added", 1.0, 0.0, "bilinear", 3, 5, 4, 7),
        case("shape (4, 5, 3, 6), signal 1, noise 1.5", 1.0, 1.5, "nearest", 4, 5, 3, 6),
    ]  # fmt: skip


def _black_and_white(function):
    """Without noise bytes 0 and 255 are −1 and 1; with signal 0 the noise alone is left."""
    v = torch.tensor([0, 255, 0], dtype=torch.uint8).expand(3, 4, 5, 3)
    eps = normal(3, 4, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float32)
    grown = Twice("nearest")
    gap = (function(v, 1.0, 0.0, eps, grown) - grown(torch.tensor([-1.0, 1.0, -1.0]).expand(3, 4, 5, 3))).abs().max()
    far = (function(v, 0.0, 1.0, eps, grown) - grown(eps)).abs().max()
    return max(gap, far).item() < 1e-6, f"off by {gap.item():.0e} and {far.item():.0e}"


TOLD = Exercise(
    equation="enlarge(signal · (v/127.5 − 1) + noise · ε): to [−1, 1], then noise, then size (CASC-2, M-26)",
    reference=told,
    returns=("told",),
    cases=_told_cases,
    properties=(Property("noise 0: from −1 to 1; signal 0: ε, made larger", _black_and_white),),
    mistakes=mistakes(
        told,
        ("noise on [0, 1]",
         "noise was added to a picture in [0, 1], and both were brought to [−1, 1]: so the noise is twice as strong "
         "as trained with. First to [−1, 1], then noise.",
         ("v / 127.5 - 1", "v / 255"), ("signal * low + noise * eps", "2 * (signal * low + noise * eps) - 1")),
        ("[0, 1]", "the picture is in [0, 1]; the network knows pictures in [−1, 1].", ("v / 127.5 - 1", "v / 255")),
        ("128 for 127.5", "bytes were divided by 128, so 255 is not 1. Half of 255 is 127.5.",
         ("v / 127.5", "v / 128")),
        ("bytes", "the bytes were left as they are, from 0 to 255; the network knows pictures in [−1, 1].",
         ("v / 127.5 - 1", "v")),
        ("bytes that overflow",
         "2 v was taken in bytes, which start again at 256: bright pixels are dark. Divide first, or make floats "
         "first.", ("v / 127.5 - 1", "2 * v / 255 - 1")),
        ("noise in squares",
         "noise was added after enlarging, each number repeated 2 × 2 times: where the picture is smooth it is in "
         "squares. Noise is added to the small picture, then both are enlarged.",
         ("enlarge(signal * low + noise * eps)",
          "enlarge(signal * low) + noise * eps.repeat_interleave(2, 2).repeat_interleave(2, 3)")),
        ("signal forgotten", "signal does not occur: noise was added to the whole picture.", ("signal * low", "low")),
        ("noise forgotten", "no noise was added.", (" + noise * eps", "")),
        ("signal and noise exchanged", "signal and noise are exchanged: signal belongs to the picture.",
         ("signal * low + noise * eps", "noise * low + signal * eps")),
        ("noise squared", "noise was squared; it is a standard deviation, and multiplies ε as it is.",
         ("noise * eps", "noise**2 * eps")),
        ("signal on the noise, too", "signal multiplies the noise, too; it belongs to the picture alone.",
         ("signal * low + noise * eps", "signal * (low + noise * eps)")),
        ("clamped",
         "the noisy picture was cut off at −1 and 1; in training it was not, and what goes beyond says how much is "
         "noise.", ("signal * low + noise * eps", "(signal * low + noise * eps).clamp(-1, 1)")),
        ("clamped at the end",
         "the large picture was cut off at −1 and 1; in training it was not, and what goes beyond says how much is "
         "noise.",
         ("enlarge(signal * low + noise * eps)", "enlarge(signal * low + noise * eps).clamp(-1, 1)")),
        ("not enlarged", "the picture is still small; it goes beside the large one and needs its size.",
         ("enlarge(signal * low + noise * eps)", "signal * low + noise * eps")),
        ("enlarged twice", "the picture was enlarged twice.", ("enlarge(signal", "enlarge(enlarge(signal"),
         ("eps)", "eps))")),
    ),
    start="Three things happen to the small picture: a range, noise, a size. In which units does noise have the "
    "strength that it had in training?",
    hint="Bytes from 0 to 255 become −1 to 1 by v/127.5 − 1, which also makes floats of them. Noise comes next, on "
    "the small picture; enlarge comes last.",
    see="First input: 0, 255, 51, 204 become −1, 1, −0.6, 0.6. With signal 0.5, noise 2 and ε = 1, 1, 0, −1: 1.5, "
    "2.5, −0.3, −1.7, each four times.",
)  # fmt: skip


# ---- excess ---------------------------------------------------------------------------------------------------------
def excess(v, s, e, a):
    k = v / (v + s**2)
    return k**2 * (e**2 + a**2 - s**2)


def _excess_cases(generator):
    def case(label, n, dtype=torch.float64, **given):
        drawn = (0.2 + 2 * uniform(n, generator=generator) for _ in range(4))
        args = {name: x * given.get(name, 1.0) for name, x in zip("vsea", drawn, strict=True)}
        return Case(label, tuple(x.to(dtype) for x in args.values()))

    return [
        Case("v = 12, s = 2, e = 1, a = 3", tuple(torch.tensor(x, dtype=torch.float64) for x in (12.0, 2.0, 1.0, 3.0))),
        case("5 numbers of each", 5),
        case("7 numbers of each, small errors and little noise", 7, e=0.1, a=0.1),
        case("6 numbers of each, a perfect base", 6, e=0.0),
        case("4 numbers of each, no noise added", 4, a=0.0),
        case("3 numbers of each, float32", 3, torch.float32),
    ]


def _none_where_the_law_is_restored(function):
    v, s, e, zero = numbers(0.5, 2.0, 7.0), numbers(1.0, 0.5, 2.0), numbers(0.6, 0.4, 0.0), numbers(0.0, 0.0, 0.0)
    gap, far = (z.abs().max().item() for z in (function(v, s, e, (s**2 - e**2).sqrt()), function(v, s, zero, s)))
    return gap < 1e-12 and far < 1e-12, f"off by {gap:.0e} and {far:.0e}"


EXCESS = Exercise(
    equation="Var(ℓ̂) − v. Trained on z = ℓ + s n, Var(ℓ) = v, ℓ̂ is drawn from N(k z, v s²/(v + s²)), k = v/(v + s²). "
    "In sampling z = ℓ′ + a n, Var(ℓ′) = v + e², n ~ N(0, 1) (CASC-1, M-26)",
    reference=excess,
    returns=("excess",),
    cases=_excess_cases,
    properties=(
        Property("none for a² = s² − e², and none for a = s with a perfect base", _none_where_the_law_is_restored),
    ),
    mistakes=mistakes(
        excess,
        ("k for k²", "k stands where k² should: a number that is multiplied by k has k² times the variance.",
         ("k**2", "k")),
        ("the draw's own variance forgotten",
         "v s²/(v + s²), the variance with which ℓ̂ is drawn around k z, was left out.",
         ("k**2 * (e**2 + a**2 - s**2)", "k**2 * (v + e**2 + a**2) - v")),
        ("k knows of e",
         "k has e² in it. The network learned on true small pictures and knows nothing of the base's error.",
         ("(v + s**2)", "(v + s**2 + e**2)")),
        ("trained with a",
         "a stands for s everywhere, as if the network had been trained with the noise that is added in sampling.",
         ("(v + s**2)", "(v + a**2)"), ("- s**2", "- a**2")),
        ("e not squared", "e was added as it is; it is a standard deviation, and variances add.", ("e**2", "e")),
        ("a not squared", "a was added as it is; it is a standard deviation, and variances add.", ("a**2", "a")),
        ("s not squared in k", "k is v/(v + s); s is a standard deviation, so it is v/(v + s²).",
         ("(v + s**2)", "(v + s)")),
        ("s not squared", "s was subtracted as it is; it is a standard deviation, and its square counts.",
         ("- s**2", "- s")),
        ("sign", "the sign is turned: with more noise than in training, ℓ̂ varies more than ℓ.",
         ("return k**2", "return -(k**2)")),
        ("a perfect base", "e does not occur: the base's pictures have an error, with variance e².",
         ("e**2 + a**2", "a**2")),
        ("s² not taken off", "s² was not taken off: as much noise is what the network expects.", (" - s**2", "")),
        ("e² taken off", "the variance was compared with v + e², that of the base; asked for is by how much it is "
         "above v.", ("(e**2 + a**2 - s**2)", "(e**2 + a**2 - s**2) - e**2")),
        ("the variance itself", "this is Var(ℓ̂); asked for is by how much it is above v.",
         ("(e**2 + a**2 - s**2)", "(e**2 + a**2 - s**2) + v")),
        ("the noise's share for k", "k is s²/(v + s²), the share of the noise in z; it is that of ℓ, v/(v + s²).",
         ("v / (v + s**2)", "s**2 / (v + s**2)")),
        ("the excess of z", "this is by how much z varies more than in training; ℓ̂ has k² times that.",
         ("k**2 * (e", "(e")),
        ("cut off at 0", "what is negative was cut off; with too little noise added ℓ̂ varies less than ℓ.",
         ("k**2 * (e**2 + a**2 - s**2)", "k**2 * (e**2 + a**2 - s**2).clamp(min=0)")),
    ),
    start="What is the variance of z in sampling? ℓ̂ is k z and a draw around it that is independent: what do their "
    "variances add up to?",
    hint="Var(ℓ̂) = k² (v + e² + a²) + v s²/(v + s²). With the noise of training, e = 0 and a = s, this must be v: "
    "subtract the two.",
    see="v = 12, s = 2, e = 1, a = 3: k = 12/16, so (9/16) · (1 + 9 − 4) = 3.375. With a² = s² − e² = 3 instead, "
    "nothing is left.",
)  # fmt: skip


# ---- through_prior --------------------------------------------------------------------------------------------------
def through_prior(a, prior_var, b, decoder_var, c):
    mean = a * b * c
    return mean, decoder_var + b**2 * prior_var


def _prior_cases(generator):
    def case(label, n, dtype=torch.float64, prior=1.0, decoder=1.0):
        a, b, c = (normal(n, generator=generator) for _ in range(3))
        p, d = (0.1 + 2 * uniform(n, generator=generator) for _ in range(2))
        return Case(label, tuple(x.to(dtype) for x in (a, prior * p, b, decoder * d, c)))

    return [
        Case("a = 2, prior variance 3, b = 4, decoder variance 5, c = 1.5",
             tuple(numbers(x) for x in (2.0, 3.0, 4.0, 5.0, 1.5))),
        case("5 captions", 5),
        case("7 captions, a sure prior", 7, prior=0.01),
        case("3 captions, a sure decoder", 3, decoder=0.01),
        case("4 captions, float32", 4, torch.float32),
    ]  # fmt: skip


def _four_pictures(function):
    """Two embeddings, two pixels of each, all equally likely, have mean and variance of the two Gaussians."""
    a, p, b, d, c = (numbers(*x) for x in ((0.5, -2.0, 3.0), (0.2, 1.0, 4.0), (2.0, 0.3, -1.0), (1.0, 0.5, 0.1),
                                           (1.0, -3.0, 0.7)))  # fmt: skip
    signs = list(itertools.product((1, -1), repeat=2))
    x = torch.stack([b * (a * c + i * p.sqrt()) + j * d.sqrt() for i, j in signs])
    mean, var = function(a, p, b, d, c)
    gap = max((mean - x.mean(0)).abs().max().item(), (var - x.var(0, correction=0)).abs().max().item())
    return gap < 1e-12, f"off by {gap:.0e}"


THROUGH_PRIOR = Exercise(
    equation="mean and variance of p(x | c) = ∫ p(x | z) p(z | c) dz, z ~ N(a c, prior_var), x ~ N(b z, decoder_var) "
    "(LAT-3, M-30)",
    reference=through_prior,
    returns=("mean", "var"),
    cases=_prior_cases,
    properties=(Property("two embeddings with two pixels each have that mean and variance", _four_pictures),),
    mistakes=mistakes(
        through_prior,
        ("the mean embedding",
         "this is the variance of a decoder that is told the mean embedding. The prior draws z: b² · prior_var adds "
         "to it.", ("decoder_var + b**2 * prior_var", "decoder_var")),
        ("b not squared", "prior_var was multiplied by b; b z has b² times the variance of z.", ("b**2", "b")),
        ("b not there", "the variances were added without b; b z has b² times the variance of z.",
         ("b**2 * prior_var", "prior_var")),
        ("standard deviations added",
         "standard deviations were added; what the prior and what the decoder draw is independent, so variances add.",
         ("decoder_var + b**2 * prior_var", "(decoder_var**0.5 + b * prior_var**0.5) ** 2")),
        ("multiplied", "the variances were multiplied; those of independent draws add.",
         ("decoder_var + b**2", "decoder_var * b**2")),
        ("b² on the wrong one", "b² multiplies decoder_var; b stretches z, so it belongs to prior_var.",
         ("decoder_var + b**2 * prior_var", "b**2 * decoder_var + prior_var")),
        ("a² in the variance", "prior_var was multiplied by a², too; a stretches c, and c is known.",
         ("b**2", "a**2 * b**2")),
        ("the decoder's own variance forgotten", "decoder_var is missing: for one z there are still many x.",
         ("decoder_var + ", "")),
        ("as a product of densities",
         "precisions were added, as where two Gaussians are multiplied. Here one draw follows another, and variances "
         "add.", ("decoder_var + b**2 * prior_var", "1 / (1 / decoder_var + 1 / (b**2 * prior_var))")),
        ("a missing", "a is missing in the mean: the caption c goes through the prior first.", ("a * b * c", "b * c")),
        ("b missing", "b is missing in the mean: this is the mean embedding, not yet a picture.",
         ("a * b * c", "a * c")),
        ("standard deviation", "the second value is the standard deviation; asked for is the variance.",
         ("decoder_var + b**2 * prior_var", "(decoder_var + b**2 * prior_var) ** 0.5")),
        ("values exchanged", "both are right, in the other order: first the mean, then the variance.",
         ("return mean, decoder_var + b**2 * prior_var", "return decoder_var + b**2 * prior_var, mean")),
    ),
    start="Write z as its mean plus a draw, put it into x = b z plus another draw, and sort what is known from what "
    "is drawn.",
    hint="x = b (a c + √prior_var · n₁) + √decoder_var · n₂. The first term is the mean; n₁ and n₂ are independent, so "
    "squares of their factors add up.",
    see="a = 2, prior variance 3, b = 4, decoder variance 5, c = 1.5: mean 2 · 4 · 1.5 = 12, variance 5 + 16 · 3 = 53.",
)  # fmt: skip


EXERCISES = (READ, DIAGNOSE, TOLD, EXCESS, THROUGH_PRIOR)
