"""What lesson 18 hands out: scales as people forget them, and two plain priors over grids of indices."""

from dataclasses import dataclass

import torch

from ..latent import Scale
from ..tensors import known

FAULTS = (None, "multiplied", "one for all", "not undone", "mean kept")


@dataclass(frozen=True)
class Faulty:
    """A ``Scale`` with one fault: down(z) for training, up(z) before the decoder.

    Args:
        scale: the right one.
        fault: "multiplied" takes times for divided by, both ways; "one for all" has one standard deviation for all
            channels, the root of the mean variance; "not undone" gives the decoder scaled codes; "mean kept" divides
            only; None is right.
    Source: ledger M-29; diffusers issue 437, DiffusionAsShader issue 25.
    """

    scale: Scale
    fault: str | None = None

    def __post_init__(self):
        known("fault", self.fault, FAULTS)

    @property
    def _used(self):
        mean, std = self.scale.mean, self.scale.std
        if self.fault == "multiplied":
            return Scale(mean * 0, 1 / std)
        if self.fault == "one for all":
            return Scale(mean, std.square().mean().sqrt().expand(len(std)))
        return Scale(mean * 0, std) if self.fault == "mean kept" else self.scale

    def down(self, z):
        """Codes as the denoiser is trained on them, (B, C, ...)."""
        return self._used.down(z)

    def up(self, z):
        """Codes as the decoder gets them, (B, C, ...)."""
        return z if self.fault == "not undone" else self._used.up(z)


class GridPrior:
    """A law of grids of indices, counted: each position on its own, or given its left neighbour.

        p(k | left) = (n(left, k) + strength p(k)) / (n(left) + strength),   p(k) = (n(k) + ½) / (N + K/2)

    Args:
        grids: (N, h, w), whole numbers below size. size: K. neighbours: whether the left neighbour is heard; at a
            row's start it is the first of the row above.
        strength: how many examples the position's own law counts as.
    Source: ledger M-29.
    """

    def __init__(self, grids, size, neighbours=True, strength=2.0):
        self.shape, self.size, self.neighbours, self.strength = grids.shape[1:], size, neighbours, strength
        flat = grids.flatten(1)
        counts = torch.stack([torch.bincount(column, minlength=size) for column in flat.T]).double()
        self.alone = (counts + 0.5) / (len(flat) + size / 2)
        self.pairs = torch.zeros(len(counts), size, size)
        for i in range(1, len(counts)):
            where = flat[:, self._before(i)] * size + flat[:, i]
            self.pairs[i] = torch.bincount(where, minlength=size**2).reshape(size, size).float()

    def _before(self, i):
        return i - 1 if i % self.shape[1] else i - self.shape[1]

    def _law(self, i, flat):
        """p(index at i | what is before it): (B, K)."""
        if i == 0 or not self.neighbours:
            return self.alone[i].expand(len(flat), -1)
        counts = self.pairs[i][flat[:, self._before(i)]].double()
        return (counts + self.strength * self.alone[i]) / (counts.sum(1, keepdim=True) + self.strength)

    def bits(self, grids):
        """−log₂ p of each grid: (B, h, w) -> (B,)."""
        flat = grids.flatten(1)
        logs = [self._law(i, flat).gather(1, flat[:, i : i + 1]).log2() for i in range(flat.shape[1])]
        return -torch.cat(logs, 1).sum(1)

    def sample(self, n, generator):
        """n grids, (n, h, w)."""
        flat = torch.zeros(n, self.shape[0] * self.shape[1], dtype=torch.int64)
        for i in range(flat.shape[1]):
            flat[:, i] = self._law(i, flat).multinomial(1, generator=generator)[:, 0]
        return flat.reshape(n, *self.shape)
