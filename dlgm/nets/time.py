"""Features of the time t: what lets one network serve every noise level."""

import math

import torch
from torch import nn

from ..tensors import known


def sinusoidal(t, dim, max_period=10_000.0):
    """[sin(ω_i t), cos(ω_i t)], ω_i = max_period^(−i/(dim/2)), i = 0..dim/2 − 1: (B,) -> (B, dim).

    A shift of t turns each pair by the angle ω_i · shift, so near times have near features and all rows differ.

    Raises:
        ValueError: dim is odd.
    Source: Vaswani et al. 2017, section 3.5; Ho et al. 2020, appendix B; ledger ARCH-4.
    """
    if dim % 2:
        raise ValueError(f"sines and cosines come in pairs: dim must be even, got {dim}")
    rate = torch.exp(-math.log(max_period) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angle = t.float()[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)


class Sinusoidal(nn.Module):
    """``sinusoidal`` as a layer."""

    def __init__(self, dim, max_period=10_000.0):
        super().__init__()
        self.dim, self.max_period = dim, max_period

    def forward(self, t):
        """(B,) -> (B, dim)."""
        return sinusoidal(t, self.dim, self.max_period)


class Fourier(nn.Module):
    """√2 [sin(2π f_i t), cos(2π f_i t)] / √dim with frequencies f_i ~ N(0, scale²), drawn once and not trained.

    The inner product of the features of t and t' averages cos(2π f (t − t')), which approaches
    exp(−2 (π scale (t − t'))²) as dim grows: a Gaussian kernel of width 1/(2π scale).

    Args:
        dim: even.
        scale: standard deviation of the frequencies, in cycles per unit of t.
    Source: Tancik et al. 2020, section 4; Song et al. 2021 (SDE); ledger ARCH-5.
    """

    def __init__(self, dim, scale=16.0):
        super().__init__()
        if dim % 2:
            raise ValueError(f"sines and cosines come in pairs: dim must be even, got {dim}")
        self.register_buffer("frequency", torch.randn(dim // 2) * scale)

    def forward(self, t):
        """(B,) -> (B, dim)."""
        angle = 2 * math.pi * t.float()[:, None] * self.frequency
        return torch.cat([angle.sin(), angle.cos()], 1) / math.sqrt(len(self.frequency))


TIME_FEATURES = {"sinusoidal": Sinusoidal, "fourier": Fourier}


class TimeEmbedding(nn.Module):
    """Features of t (and a label), through two layers: (B,) -> (B, width).

    Args:
        width: of the embedding.
        features: "sinusoidal" or "fourier".
        time_scale: t is multiplied by it first. Sinusoidal features are made for times from 0 to about 1000: 1 serves
            T = 1000, 1000/T serves another T, 1000 serves continuous time. Fourier features are made for 0 to 1.
        classes: number of labels, 0 for none. Label ``classes`` is the null label, "none given".
        guided: whether a guidance weight w is told, too; at first nothing hangs on it.
        noised: whether the noise level of a picture beside is told, too, a time like t; at first nothing hangs on it.
    Raises:
        ValueError: unknown features; when called, a label, a weight or a level for a network that was built without.
    Source: ledger ARCH-4, ARCH-5, ARCH-7, COND-1; Meng et al. 2023 (w).
    """

    def __init__(self, width, features="sinusoidal", time_scale=1.0, classes=0, guided=False, noised=False):
        super().__init__()
        known("time features", features, TIME_FEATURES)
        self.features, self.time_scale, self.classes = TIME_FEATURES[features](64), time_scale, classes
        self.layers = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.label = nn.Embedding(classes + 1, 64) if classes else None
        self.weight, self.level = (self._number() if there else None for there in (guided, noised))

    @staticmethod
    def _number():
        """Features of one more number, which start at zero."""
        layers = nn.Sequential(Sinusoidal(64), nn.Linear(64, 64, bias=False))
        nn.init.zeros_(layers[1].weight)
        return layers

    def forward(self, t, y=None, w=None, level=None):
        """t: (B,). y: (B,) whole numbers 0..classes, or None for the null label. w, level: (B,), or None for 0."""
        if y is not None and self.label is None:
            raise ValueError("this network was built without labels (classes=0), so it cannot use y")
        features = self.features(t.float() * self.time_scale)
        if self.label is not None:
            y = torch.full((len(t),), self.classes, device=t.device) if y is None else y
            features = features + self.label(y)
        # a weight of 0 to 10 becomes 0 to 1000, as times are
        numbers = (("w", w, self.weight, 100.0), ("level", level, self.level, self.time_scale))
        for name, value, layers, factor in numbers:
            if value is not None and layers is None:
                option = {"w": "guided", "level": "noised"}[name]
                raise ValueError(f"this network was built without {name} ({option}=False), so it cannot use it")
            if layers is not None:
                value = torch.zeros_like(features[:, 0]) if value is None else value
                features = features + layers(factor * value.float())
        return self.layers(features.to(self.layers[0].weight.dtype))
