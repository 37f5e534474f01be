"""Diffusion in a smaller space: an autoencoder first, then a denoiser of its codes, and back to pixels.

What the autoencoder throws away is never drawn again, so its error is the ceiling of the pictures; what it keeps has a
scale of its own, and noise is measured against it (``Scale``, ``logsnr_shift``). In a space where the encoder is linear
and orthogonal the bound in pixels is the bound of the codes and a residual, to rounding (``Orthogonal``).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from .samplers import DDIM, sample
from .tensors import double, host, same_shape, whole

LOG_2PI = math.log(2 * math.pi)


# ---- codes that are whole numbers -----------------------------------------------------------------------------------
class VectorQuantizer(nn.Module):
    """A codebook of K vectors: each position of a code becomes the nearest of them.

    ``forward`` gives (q, indices, loss). q stands where the codes stood and passes gradients straight through, as if
    nothing had been done: ∂q/∂z = 1. loss = ‖sg(z) − e‖² + β ‖z − sg(e)‖², means over all entries: the first moves
    the codebook to the codes, the second keeps the codes near it (sg: no gradient).

    Args:
        size: K. dim: of each vector. commitment: β.
    Source: van den Oord et al. 2017, equation 3; ledger M-29.
    """

    def __init__(self, size, dim, commitment=0.25):
        super().__init__()
        whole(size=size, dim=dim)
        self.commitment = commitment
        self.codebook = nn.Embedding(size, dim)
        nn.init.uniform_(self.codebook.weight, -1 / size, 1 / size)

    def nearest(self, z):
        """The index of the nearest vector at each position: (B, dim, ...) -> (B, ...)."""
        flat = z.movedim(1, -1).reshape(-1, z.shape[1])
        return torch.cdist(flat, self.codebook.weight.to(flat)).argmin(1).reshape(len(z), *z.shape[2:])

    def vectors(self, indices):
        """The vectors of indices: (B, ...) -> (B, dim, ...)."""
        return self.codebook(indices).movedim(-1, 1)

    def forward(self, z):
        """z: (B, dim, ...). Returns q of z's shape, the indices (B, ...), and the loss, a number.

        Raises:
            ValueError: the codes have another number of channels.
        """
        if z.shape[1] != self.codebook.embedding_dim:
            raise ValueError(f"expected codes of {self.codebook.embedding_dim} channels, got {tuple(z.shape)}")
        indices = self.nearest(z.detach())
        e = self.vectors(indices)
        loss = (e - z.detach()).square().mean() + self.commitment * (z - e.detach()).square().mean()
        return z + (e - z).detach(), indices, loss

    def perplexity(self, indices):
        """exp of the entropy of how often each vector is used: 1 if one is, K if all are used alike; a number."""
        p = torch.bincount(indices.flatten(), minlength=self.codebook.num_embeddings)
        p = double(p) / len(indices.flatten())
        return torch.exp(-torch.special.xlogy(p, p).sum()).item()


# ---- the scale of codes ---------------------------------------------------------------------------------------------
def logsnr_shift(factor):
    """2 log k: what multiplying the data by k adds to log-SNR at every t; a number.

    Latents of standard deviation 1/0.18215 that are not scaled sit 3.41 nats higher than the schedule means.

    Source: Rombach et al. 2022, appendix G; ledger LAT-1, M-29.
    """
    return 2 * math.log(factor)


@dataclass(frozen=True)
class Scale:
    """Codes brought to mean 0 and standard deviation 1, each channel by itself: (z − mean)/std, and back.

    Args:
        mean, std: (C,).
    Raises:
        ValueError: shapes differ, or a standard deviation is not positive.
    Source: Rombach et al. 2022, appendix G; ledger LAT-1, M-29.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __post_init__(self):
        same_shape(mean=self.mean, std=self.std)
        if not (self.std > 0).all():
            raise ValueError(f"expected positive standard deviations, got {self.std.tolist()}")

    @classmethod
    def of(cls, z):
        """Measured over examples and positions of codes (N, C, ...)."""
        flat = z.detach().movedim(1, 0).flatten(1)
        return cls(flat.mean(1), flat.std(1))

    def _shaped(self, v, z):
        return v.to(z).reshape(1, -1, *[1] * (z.ndim - 2))

    def down(self, z):
        """(z − mean)/std: (B, C, ...) -> (B, C, ...)."""
        return (z - self._shaped(self.mean, z)) / self._shaped(self.std, z)

    def up(self, z):
        """mean + std z: (B, C, ...) -> (B, C, ...)."""
        return self._shaped(self.mean, z) + self._shaped(self.std, z) * z


@dataclass(frozen=True)
class LatentDiffusion:
    """A denoiser of scaled codes between an encoder and a decoder.

    Args:
        encoder: function (B, ...) -> codes (B, C, ...). decoder: back.
        denoiser: of scaled codes.
        scale: a Scale.
    Source: Rombach et al. 2022, section 3; ledger LAT-1, LAT-2.
    """

    encoder: object
    decoder: object
    denoiser: object
    scale: Scale

    def encode(self, x):
        """Scaled codes of pictures: (B, ...) -> (B, C, ...)."""
        return self.scale.down(self.encoder(x))

    def decode(self, z):
        """Pictures of scaled codes: (B, C, ...) -> (B, ...)."""
        return self.decoder(self.scale.up(z))

    @torch.no_grad()
    def sample(self, shape, times, generator=None, sampler=None, **cond):
        """Pictures, drawn as codes of ``shape`` (n, C, ...) along ``times`` and decoded.

        Args:
            sampler: DDIM() unless said.
        """
        z_T = self.denoiser.schedule.start(tuple(shape), generator)
        return self.decode(sample(self.denoiser, sampler or DDIM(), z_T, times, generator, **cond))


# ---- where pixels and codes agree to rounding -----------------------------------------------------------------------
@dataclass(frozen=True)
class Orthogonal:
    """A linear autoencoder with orthonormal columns: z = Wᵀ x, and x = W z + what is lost, N(0, s²) beside the columns.

    −log p(x) = −log p(z) + residual(x): any bound on the codes is one on the pixels, the residual added.

    Args:
        W: (D, d), d < D. noise_var: s² of the D − d directions that are lost.
    Raises:
        ValueError: the columns are not orthonormal, there are D of them or more, or noise_var is not positive.
    Source: ledger LAT-1.
    """

    W: torch.Tensor
    noise_var: float

    def __post_init__(self):
        D, d = self.W.shape
        unit = torch.eye(d, dtype=self.W.dtype, device=self.W.device)
        if d >= D or not torch.allclose(self.W.T @ self.W, unit, atol=1e-6) or not self.noise_var > 0:
            raise ValueError(f"expected fewer orthonormal columns than rows and noise_var > 0, got {D} x {d} "
                             f"and {self.noise_var}")  # fmt: skip

    @classmethod
    def fit(cls, x, latent):
        """The directions of greatest variance of data x (N, D), and the mean variance of the others.

        Source: Tipping & Bishop 1999; ledger LAT-1.
        """
        values, vectors = torch.linalg.eigh(torch.cov(host(x).T, correction=0))
        rest = x.shape[1] - latent
        return cls(vectors[:, rest:].flip(1).to(x), values[:rest].mean().item())

    def encode(self, x):
        """Wᵀ x: (B, D) -> (B, d)."""
        return x @ self.W.to(x)

    def decode(self, z):
        """W z: (B, d) -> (B, D)."""
        return z @ self.W.to(z).T

    def residual(self, x):
        """−log N of what W loses: ½ (‖x − W Wᵀ x‖²/s² + (D − d) log 2π s²), nats: (B, D) -> (B,)."""
        lost = (x - self.decode(self.encode(x))).square().sum(1) / self.noise_var
        return 0.5 * (lost + (self.W.shape[0] - self.W.shape[1]) * (LOG_2PI + math.log(self.noise_var)))


# ---- what it costs --------------------------------------------------------------------------------------------------
def conv_cost(size, channels_in, channels_out, kernel=3):
    """Multiply-adds of a convolution over size × size positions: k² C_in C_out size².

    Source: ledger LAT-2.
    """
    return kernel**2 * channels_in * channels_out * size**2


def attention_cost(size, channels):
    """Multiply-adds of self-attention over n = size² positions: 4 n C² for its maps, 2 n² C for its products.

    Halving the side divides the first by 4 and the second by 16.

    Source: ledger LAT-2.
    """
    n = size**2
    return 4 * n * channels**2 + 2 * n**2 * channels


def first_state(schedule, std, t):
    """The standard deviation of x_t for data of standard deviation ``std``, and what a walk starts from there: numbers.

    They differ where data were not scaled: √(signal² std² + noise²) against √(signal² + noise²).

    Source: ledger LAT-1, M-29.
    """
    signal, noise = float(schedule.signal(t)), float(schedule.noise(t))
    return math.hypot(signal * std, noise), math.hypot(signal, noise)
