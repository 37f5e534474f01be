"""What lesson 21 hands out: blocks that look through time, closed, some of them with a fault."""

from dataclasses import dataclass

import torch

from ..nets.time import sinusoidal
from ..tensors import known

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
