"""Networks. They know tensors only: no schedule, no likelihood."""

import torch
from torch import nn

from .classifier import Classifier
from .codes import decoder, encoder
from .text import CaptionedUNet, ContrastivePair, TextEncoder, Tokenizer, as_text
from .time import Fourier, Sinusoidal, TimeEmbedding, sinusoidal
from .unet import CrossAttention, ResBlock, SelfAttention, Text, UNet
from .video import TimeBlock, VideoUNet, inflate

__all__ = [
    "CaptionedUNet", "Classifier", "Conditioned", "ContrastivePair", "CrossAttention", "Fourier", "ResBlock",
    "SelfAttention", "Sinusoidal", "Text", "TextEncoder", "TimeBlock", "TimeEmbedding", "TimeMLP", "Tokenizer", "UNet",
    "VideoUNet", "as_text", "decoder", "encoder", "inflate", "mlp", "sinusoidal",
]  # fmt: skip


def mlp(*sizes, activation=nn.SiLU):
    """Linear layers of these sizes with the activation between them: (B, sizes[0]) -> (B, sizes[-1])."""
    layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


class Conditioned(nn.Module):
    """head(body(x) joined with c), or head(body(x)) where c is None; body gives (B, F), c is (B, C)."""

    def __init__(self, body, head):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x, c=None):
        h = self.body(x)
        return self.head(h if c is None else torch.cat([h, c], 1))


class TimeMLP(nn.Module):
    """A network for points: residual layers of equal width, each told the time, (B, dim), (B,) -> (B, dim).

        h ← h + W₂ SiLU((1 + s) W₁ SiLU(h) + b),   s, b linear in the embedding of t

    Args:
        dim: of a point.
        width, layers: of the hidden part.
        classes, features, time_scale: see ``TimeEmbedding``.
        beside: numbers that are given with x: a caption's vector, a measurement.
    Raises:
        ValueError: when called, x is not (B, dim), or what is beside it not (B, beside).
    Source: ledger ARCH-3, ARCH-6.
    """

    def __init__(self, dim, width=128, layers=2, *, classes=0, features="sinusoidal", time_scale=1.0, beside=0):
        super().__init__()
        self.settings = dict(
            dim=dim, width=width, layers=layers, classes=classes, features=features, time_scale=time_scale,
            beside=beside,
        )  # fmt: skip
        self.dim, self.beside = dim, beside
        self.embed = TimeEmbedding(width, features, time_scale, classes)
        self.start, self.end = nn.Linear(dim + beside, width), nn.Linear(width, dim)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.time = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(layers))

    def forward(self, x, t, y=None, beside=None):
        """x: (B, dim); t: (B,); y: (B,) labels or None; beside: (B, beside), where there is such a thing."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"expected points (B, {self.dim}), got shape {tuple(x.shape)}")
        want, got = (len(x), self.beside) if self.beside else None, None if beside is None else tuple(beside.shape)
        if got != want:
            raise ValueError(f"expected numbers beside x of shape {want}, got {got}")
        x = x if beside is None else torch.cat([x, beside], 1)
        e, h = self.embed(t, y), self.start(x)
        for first, second, time in zip(self.first, self.second, self.time, strict=True):
            scale, shift = time(e).chunk(2, 1)
            h = h + second(nn.functional.silu((1 + scale) * first(nn.functional.silu(h)) + shift))
        return self.end(nn.functional.silu(h))
