"""What lesson 20 hands out: attention to words as it is written wrongly, in closed boxes."""

import math
from dataclasses import dataclass

from ..tensors import known

BEHAVIOURS = ("right", "padding is read", "mask inverted", "masked after softmax", "softmax over pixels")


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
