"""What lesson 20 hands out: captions of faces, a judge that says which of their facts a picture shows, boxes."""

import functools
import math
from dataclasses import dataclass

import torch

from .. import data, draw, nets, training
from ..cascade import Cascade, enlarge, shrink
from ..data.faces import ATTRIBUTES, Faces
from ..denoiser import Clipped, Denoiser
from ..guidance import ClassifierFree
from ..losses import prediction_loss, sample_t
from ..samplers import DDPM, sample
from ..schedules import cosine_beta, time_grid
from ..tensors import known, randn_like

FACTS = ("expression", "hair style", "hair colour", "beard", "clothes", "clothes colour", "background")
LEVELS = draw.CASCADES["faces"][1]  # noise on what the two larger networks are told
BEHAVIOURS = ("right", "padding is read", "mask inverted", "masked after softmax", "softmax over pixels")


def asked(n, generator, **fixed):
    """n random faces as attributes, with some of them fixed, and their captions, which mention every fact."""
    attributes = [_artist().draw_attributes(generator) | fixed for _ in range(n)]
    return attributes, said(attributes)


def said(attributes):
    """Captions of faces that mention every fact."""
    return [_artist().caption(a) for a in attributes]


def pictures(attributes, size):
    """What faces look like, (n, 3, size, size)."""
    return torch.stack([_artist().render(a, size) for a in attributes])


@functools.cache
def _artist():
    return Faces(64)


@functools.cache
def judge():
    """The classifier of faces at 32 pixels that also learned from pictures made large from 16."""
    model = nets.Classifier(3, sum(map(len, ATTRIBUTES.values())), 24)
    training.load_weights(model, data.checkpoint("judge_captions"))
    return model


@torch.no_grad()
def seen(x):
    """Attribute -> (n,) its value in the judge's eyes, as a place in ATTRIBUTES; x (n, 3, n, n) of 16, 32 or 64."""
    x = {16: enlarge, 32: lambda x: x, 64: shrink}[x.shape[-1]](x)
    parts = judge()(x).split([len(values) for values in ATTRIBUTES.values()], 1)
    return {name: part.argmax(1) for name, part in zip(ATTRIBUTES, parts, strict=True)}


def hits(x, attributes):
    """For each of FACTS whether each picture shows what its caption says, (n,) of 0 and 1.

    The style of the hair is that of the rear where there is some, as captions say it.
    """
    found = seen(x)
    names = {"expression": "mouth", "background": "background_colour"}
    out = {}
    for fact in FACTS:
        chosen = [names.get(fact, fact.replace(" ", "_"))] * len(attributes)
        if fact == "hair style":
            chosen = ["hair" if a["rear_hair"] == "none" else "rear_hair" for a in attributes]
        right = [
            ATTRIBUTES[c].index(a[c]) == found[c][i] for i, (c, a) in enumerate(zip(chosen, attributes, strict=True))
        ]
        out[fact] = torch.tensor(right).float()
    return out


def has(x, attributes, names):
    """Whether each picture shows what was asked for in all the named attributes at once, (n,) of 0 and 1."""
    found = seen(x)
    right = [[ATTRIBUTES[name].index(a[name]) == found[name][i] for name in names] for i, a in enumerate(attributes)]
    return torch.tensor(right).all(1).float()


def shipped(w=1.0):
    """The three networks of captions, each guided with weight w: to 16, 32 and 64 pixels; the tokenizer of all."""
    models = draw.shipped("faces").models
    return tuple(Clipped(ClassifierFree(model, w)) for model in models), models[0].net.tokenizer


def cascade(w=1.0):
    """The shipped cascade, and its tokenizer."""
    models, tokenizer = shipped(w)
    return Cascade(models, LEVELS), tokenizer


def prior(z, told, steps, batch=256, seed=0):
    """A denoiser of vectors z (n, d) told vectors (n, k), trained here, and its losses.

    Source: Ramesh et al. 2022, section 2.2; ledger LAT-3, M-30.
    """
    torch.manual_seed(seed)
    model = Denoiser(nets.TimeMLP(z.shape[1], 192, beside=told.shape[1]), cosine_beta(), "x0")

    def loss(model, batch, generator, step):
        x0, beside = batch
        t, eps = sample_t(model.schedule, len(x0), generator), randn_like(x0, generator)
        return prediction_loss(model, x0, t, eps, beside=beside).mean() / x0.shape[1]

    history = training.fit(
        model, loss, (z, told), steps=steps, batch_size=batch, lr=training.CosineLR(3e-3, steps),
        optimizer=training.Muon, progress=False,
    )  # fmt: skip
    return model, history.loss


@torch.no_grad()
def draw_prior(model, told, generator, steps=50):
    """One vector for each vector told, (n, d)."""
    start = model.schedule.start((len(told), model.net.dim), generator)
    return sample(model, DDPM(), start, time_grid(model.schedule, steps), generator, beside=told)


@dataclass(frozen=True, repr=False)
class Box:
    """A closed box: box(q, k, v, mask) is one head of attention of pixels to words, right or with one fault.

    q: (B, N, d); k, v: (B, M, d); mask: (B, M), true where a word is -> (B, N, d).

    Args:
        name: says nothing of the behaviour.
        behaviour: "right"; "padding is read": the mask is ignored; "mask inverted": only what it hides is read, NaN
            where it hides nothing; "masked after softmax": hidden words keep their share of the weights, which is lost;
            "softmax over pixels": the weights of a word sum to 1 over the pixels, those of hidden words are 0.
    Source: ledger COND-3, M-27; diffusers issues 8673 and 12294, ml-stable-diffusion issue 359.
    """

    name: str
    behaviour: str

    def __post_init__(self):
        known("behaviour", self.behaviour, BEHAVIOURS)

    def __call__(self, q, k, v, mask):
        scores, mask = q @ k.transpose(1, 2) / math.sqrt(q.shape[2]), mask[:, None]
        if self.behaviour in ("masked after softmax", "softmax over pixels"):
            over = 1 if self.behaviour == "softmax over pixels" else 2
            return scores.softmax(over).masked_fill(~mask, 0.0) @ v
        if self.behaviour != "padding is read":
            scores = scores.masked_fill(mask if self.behaviour == "mask inverted" else ~mask, -math.inf)
        return scores.softmax(2) @ v

    def __repr__(self):
        return f"the {self.name} box"


def boxes():
    """Letter -> Box, one of each behaviour, in an order of their own."""
    order = (3, 1, 4, 0, 2)
    return {letter: Box(letter, BEHAVIOURS[i]) for letter, i in zip("ABCDE", order, strict=True)}
