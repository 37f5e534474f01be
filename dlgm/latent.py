"""Diffusion in a smaller space: an autoencoder first, then a denoiser of its codes, and back to pixels.

What the autoencoder throws away is never drawn again, so its error is the ceiling of the pictures; what it keeps has a
scale of its own, and noise is measured against it (``Scale``, ``logsnr_shift``). In a space where the encoder is linear
and orthogonal the bound in pixels is the bound of the codes and a residual, to rounding (``Orthogonal``).
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from . import nets
from .samplers import DDIM, sample
from .tensors import double, host, same_shape, whole
from .vae import gaussian_from, standard_kl

LOG_2PI = math.log(2 * math.pi)


# ---- codes that are Gaussians ---------------------------------------------------------------------------------------
class KLAutoencoder(nn.Module):
    """A VAE whose code is a small picture, and whose decoder is trusted to ``noise_std``: q(z | x) = N(mean, var).

        loss = mean (x − x̂)² + 2 s² KL(q(z | x) ‖ N(0, I))/P,  x̂ of a draw z ~ q,  P entries of x,  s = noise_std

    which is 2 s²/P times the negative ELBO with p(x | z) = N(x̂, s² I), but for a constant: a small weight of the KL is
    a decoder that claims to be exact, and leaves the scale of the codes free.

    Args:
        channels: of the pictures. widths: see ``nets.encoder``; the side shrinks by 2^len(widths). code: channels of z.
        noise_std: s, in the units of x.
    Raises:
        ValueError: noise_std is not positive.
    Source: Rombach et al. 2022, section 3.1 and appendix G; Kingma & Welling 2014; ledger LAT-1, M-29.
    """

    def __init__(self, channels=3, widths=(32, 64), code=4, noise_std=0.02):
        super().__init__()
        if not noise_std > 0:
            raise ValueError(f"expected noise_std > 0, got {noise_std}")
        self.noise_std = noise_std
        self.encoder = nets.encoder(channels, widths, 2 * code)
        self.decoder = nets.decoder(channels, widths, code)

    def posterior(self, x):
        """q(z | x), a Gaussian of shape (B, code, h, w)."""
        return gaussian_from(self.encoder(x))

    def encode(self, x):
        """The means of q(z | x): (B, C, H, W) -> (B, code, h, w)."""
        return self.posterior(x).mean

    def decode(self, z):
        """(B, code, h, w) -> (B, C, H, W)."""
        return self.decoder(z)

    def loss(self, x, generator=None):
        """See above: a number, in units of x²."""
        q = self.posterior(x)
        kl = standard_kl(q).flatten(1).sum(1).mean() / x[0].numel()
        return (x - self.decode(q.sample(generator))).square().mean() + 2 * self.noise_std**2 * kl


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


class VQAutoencoder(nn.Module):
    """An autoencoder whose code is a grid of whole numbers, indices of a codebook's vectors.

        loss = mean (x − x̂)² + the codebook's own loss (``VectorQuantizer``),  x̂ of the vectors

    Args:
        channels, widths: see ``KLAutoencoder``. size, dim: of the codebook.
    Source: van den Oord et al. 2017; ledger LAT-1, M-29.
    """

    def __init__(self, channels=3, widths=(32, 64), size=256, dim=8):
        super().__init__()
        self.encoder, self.decoder = nets.encoder(channels, widths, dim), nets.decoder(channels, widths, dim)
        self.quantizer = VectorQuantizer(size, dim)

    def encode(self, x):
        """Indices: (B, C, H, W) -> (B, h, w)."""
        return self.quantizer.nearest(self.encoder(x))

    def decode(self, indices):
        """Pictures of indices: (B, h, w) -> (B, C, H, W)."""
        return self.decoder(self.quantizer.vectors(indices))

    def loss(self, x, generator=None):
        """See above: a number. Nothing is drawn."""
        q, _, moved = self.quantizer(self.encoder(x))
        return (x - self.decoder(q)).square().mean() + moved


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


# ---- one space for two kinds of things ------------------------------------------------------------------------------
def contrastive_loss(scores):
    """−½ mean_i [log softmax_j(s_ij) at j = i + log softmax_j(s_ji) at j = i]: each finds its partner; a number, nats.

    Pairs (x_i, y_i) are drawn from p(x, y); s_ij is high where x_i and y_j belong together. For every N the best
    scores are log p(x, y)/(p(x) p(y)) and a constant, the pointwise mutual information.

    Args:
        scores: (N, N).
    Raises:
        ValueError: they are not square.
    Source: van den Oord et al. 2018; Radford et al. 2021, figure 3; ledger LAT-3, M-30.
    """
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"expected scores (N, N), got {tuple(scores.shape)}")
    own = torch.arange(len(scores), device=scores.device)
    return 0.5 * sum(nn.functional.cross_entropy(s, own) for s in (scores, scores.T))


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


def unet_cost(net, size):
    """Multiply-adds of one call of a ``nets.UNet`` for a picture of size × size, by the two rules above: a number.

    Layers that the time passes through, normalisations and activations are left out.

    Source: ledger LAT-2.
    """
    s = net.settings
    widths, sides = s["widths"], [-(-size // 2**i) for i in range(net.sizes)]

    def block(side, a, b):
        return conv_cost(side, a, b) + conv_cost(side, b, b) + (a != b) * conv_cost(side, a, b, 1)

    total = conv_cost(size, s["channels"] + s["beside"], widths[0])
    total += conv_cost(size, widths[0], s["out_channels"] or s["channels"])
    for i, (side, c) in enumerate(zip(sides, widths, strict=True)):
        attend = s["attention"][i] * attention_cost(side, c)
        total += s["blocks"][i] * (block(side, c, c) + block(side, 2 * c, c) + 2 * attend)
        if i:
            total += 2 * conv_cost(side, widths[i - 1], c)  # on the way down and up
    return total + block(sides[-1], widths[-1], widths[-1]) + attention_cost(sides[-1], widths[-1])


def first_state(schedule, std, t):
    """The standard deviation of x_t for data of standard deviation ``std``, and what a walk starts from there: numbers.

    They differ where data were not scaled: √(signal² std² + noise²) against √(signal² + noise²).

    Source: ledger LAT-1, M-29.
    """
    signal, noise = float(schedule.signal(t)), float(schedule.noise(t))
    return math.hypot(signal * std, noise), math.hypot(signal, noise)
