"""What lesson 21 hands out: flying digits, numbers of their motion, closed blocks that look through time."""

from dataclasses import dataclass

import torch

from .. import data, nets, training, video
from ..nets.time import sinusoidal
from ..tensors import known

SIZE, DIGIT = 20, 12  # pixels of a frame, and of the digit's square

FAULTS = ("right", "mixes clips", "mixes pixels", "blind to order", "sees the past only")
_KINDS = ("right", "mixes clips", "joint", "turned", "blind to order", "sees the past only", "distances")


@dataclass(frozen=True, repr=False)
class Box:
    """A closed box: box(h, frames) -> h and what attention through time adds to it, (B·F, C, H, W) as h.

    Attributes:
        name: says nothing of the others. seed: of its weights.
        kind: "right" tells frames apart by sines, "distances" by how far apart they are; both are right. "joint" and
            "turned" mix pixels: one looks at all pixels of the clip, the other puts columns back where rows were.
    Source: ledger VID-2, M-28; diffusers issues 4568 (no places of frames) and 6657 (axes in another order).
    """

    name: str
    kind: str
    seed: int

    def __post_init__(self):
        known("kind", self.kind, _KINDS)

    def __call__(self, h, frames):
        """Computed in float64, so that nothing that should be equal differs by a rounding of h's dtype.

        Raises:
            ValueError: h is no (B·F, C, H, W).
        """
        if h.ndim != 4 or len(h) % frames:
            raise ValueError(f"expected ({frames} B, C, H, W) with {frames} frames, got {tuple(h.shape)}")
        clip = h.double().unflatten(0, (frames, -1) if self.kind == "mixes clips" else (-1, frames))
        clip = clip.transpose(0, 1) if self.kind == "mixes clips" else clip
        B, F, C, H, W = clip.shape
        if self.kind == "joint":
            out = self._attend(clip.permute(0, 1, 3, 4, 2).flatten(1, 3), F).unflatten(1, (F, H, W))
            out = out.permute(0, 1, 4, 2, 3)
        else:
            pixels = clip.permute(0, 4, 3, 1, 2) if self.kind == "turned" else clip.permute(0, 3, 4, 1, 2)
            out = self._attend(pixels.flatten(0, 2), F).reshape(B, H, W, F, C).permute(0, 3, 4, 1, 2)
        out = out.transpose(0, 1) if self.kind == "mixes clips" else out
        return h + out.flatten(0, 1).to(h.dtype)

    def _attend(self, sequence, frames):
        """(N, L, C) -> (N, L, C); L is F, or F·H·W with frames first."""
        L, C = sequence.shape[1:]
        generator = torch.Generator().manual_seed(self.seed)
        weights = torch.randn(C + 8, 3 * C, generator=generator, dtype=torch.float64, device="cpu").to(sequence)
        f = torch.arange(frames, device=sequence.device).repeat_interleave(L // frames)
        q, k, v = (sequence @ (weights[:C] / C**0.5)).chunk(3, 2)
        if self.kind not in ("blind to order", "distances"):
            at = sinusoidal(f, 8, max_period=100.0).double() @ (weights[C:] / 2)
            q, k = q + at[:, :C], k + at[:, C : 2 * C]
        scores = torch.tanh(q @ k.transpose(1, 2))  # so that no frame is out of sight
        apart = f[:, None] - f
        if self.kind == "distances":
            scores = scores - 0.5 * apart.abs()
        if self.kind == "sees the past only":
            scores = scores.masked_fill(apart < 0, float("-inf"))
        return 0.5 * scores.softmax(2) @ v

    def __repr__(self):
        return f"box {self.name}"


def boxes(seed=0):
    """Seven boxes, letter -> Box, in an order and with weights that the seed draws."""
    order = torch.randperm(len(_KINDS), generator=torch.Generator().manual_seed(2100 + seed), device="cpu").tolist()
    return {letter: Box(letter, _KINDS[i], 10 * seed + i) for letter, i in zip("ABCDEFG", order, strict=True)}


def judge():
    """The classifier of still digits."""
    model = nets.Classifier()
    training.load_weights(model, data.checkpoint("judge_mnist"))
    return model


def moving(n, generator):
    """n clips of one digit of 12 pixels that flies through 20 × 20 and is reflected, and the corners of its square."""
    clips, tracks = data.moving_digits(n, generator, size=SIZE, digit=DIGIT)
    return clips, tracks[:, 0]


@torch.no_grad()
def digits(clips, judge):
    """The digit that the judge sees in each frame, (n, F)."""
    frames = video.centred(clips.flatten(0, 1), 28, DIGIT)
    return judge(frames).argmax(1).unflatten(0, clips.shape[:2])


@torch.no_grad()
def motion(clips, judge):
    """How clips move and whether they keep what moves: a dict of (n,) numbers.

    "path error": distance from the nearest flight between the walls, pixels; "speed": of that flight, pixels a frame;
    "same digit": the share of frames in which the judge sees the digit that it sees most often; "alike": the cosine of
    the judge's features of neighbouring frames.
    """
    n, F = clips.shape[:2]
    error, speed = video.folded_line(video.centroids(clips), SIZE - DIGIT)
    features = judge.features(video.centred(clips.flatten(0, 1), 28, DIGIT)).unflatten(0, (n, F))
    digit = judge.head(features).argmax(2)
    alike = torch.nn.functional.cosine_similarity(features[:, 1:], features[:, :-1], dim=2).mean(1)
    same = (digit == digit.mode(1).values[:, None]).float().mean(1)
    return {"path error": error, "speed": speed, "same digit": same, "alike": alike}


def straight(clip, known):
    """What is unknown filled in without a network: between known frames the straight mix, beyond them the nearest."""
    places, out = known.nonzero()[:, 0], clip.clone()
    for f in range(clip.shape[1]):
        before, after = places[places <= f], places[places >= f]
        a, b = (before[-1] if len(before) else after[0]), (after[0] if len(after) else before[-1])
        share = 0.0 if a == b else (f - a).item() / (b - a).item()
        out[:, f] = (1 - share) * clip[:, a] + share * clip[:, b]
    return out
