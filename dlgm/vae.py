"""The variational autoencoder, q_φ(z | x) and p_θ(x | z) as networks, and what can go wrong with it; the plain one.

    ELBO(x) = E_q[log p_θ(x | z)] − KL(q_φ(z | x) ‖ N(0, I))        in nats

An encoder gives the mean and the log-variance of q, a decoder the parameters of the likelihood. The likelihood decides
what x may be and what the number means: Bernoulli and discretised Gaussian give log-probabilities, which can be
turned into bits per dimension; a Gaussian gives a log-density, which depends on the units of x.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from .gaussian import LOG_2PI, Gaussian, discretized_log_prob, scaled
from .metrics import estimate
from .nets import Conditioned, mlp
from .tensors import double, known, same_shape, sum_non_batch, to_device


@dataclass(frozen=True, eq=False)
class Bernoulli:
    """Independent pixels, 0 or 1, with P(x = 1) = σ(logits); logits (B, ...)."""

    logits: torch.Tensor

    @property
    def mean(self):
        """P(x = 1), (B, ...)."""
        return self.logits.sigmoid()

    def log_prob(self, x):
        """log p(x) = Σ [x log π + (1 − x) log(1 − π)], π = σ(logits), in nats: (B, ...) -> (B,)."""
        same_shape(x=x, logits=self.logits)
        return -sum_non_batch(nn.functional.binary_cross_entropy_with_logits(self.logits, x, reduction="none"))

    def sample(self, generator=None):
        """One draw for each example, zeros and ones."""
        device = self.logits.device if generator is None else generator.device
        u = torch.rand(self.logits.shape, generator=generator, dtype=self.logits.dtype, device=device)
        return (to_device(u, self.logits.device) < self.mean).to(self.logits)


@dataclass(frozen=True, eq=False)
class DiscretizedGaussian(Gaussian):
    """A Gaussian in pixel space, of which each pixel keeps the probability of its 1 of 256 levels in [-1, 1].

    Source: Ho et al. 2020, equation 13; ledger VLB-6.
    """

    def log_prob(self, x):
        """log P(the levels of x), in nats: (B, ...) -> (B,)."""
        return discretized_log_prob(self, x).to(x)


LIKELIHOODS = ("bernoulli", "gaussian", "discretized")


class Likelihood(nn.Module):
    """p(x | z) from what a decoder gives, and what x may be.

    Args:
        kind: "bernoulli" (x holds 0 and 1; the decoder gives logits), "gaussian" (x is any real number; the decoder
            gives the mean; a log-density) or "discretized" (x holds the 256 levels in [-1, 1]; the mean).
        variance: of the two Gaussian kinds, one number for all entries; None learns it, starting from 1.
    Raises:
        ValueError: an unknown kind, or a variance that is not positive.
    """

    def __init__(self, kind="bernoulli", variance=None):
        super().__init__()
        known("likelihood", kind, LIKELIHOODS)
        if variance is not None and (kind == "bernoulli" or not variance > 0):
            raise ValueError(f"a variance must be positive, and a Bernoulli has none; got {variance} for {kind}")
        self.kind = kind
        if kind != "bernoulli":
            start = torch.tensor(0.0 if variance is None else math.log(variance))
            self.log_variance = nn.Parameter(start, requires_grad=variance is None)

    def forward(self, out):
        """p(x | z), a law with ``log_prob``, ``mean`` and ``sample``, from the decoder's output (B, ...)."""
        if self.kind == "bernoulli":
            return Bernoulli(out)
        return (Gaussian if self.kind == "gaussian" else DiscretizedGaussian).from_logvar(out, self.log_variance)

    def validate(self, x):
        """Raise ValueError unless x is a batch of at least one example that this likelihood allows."""
        if x.ndim == 0 or len(x) == 0:
            raise ValueError(f"expected at least one example, got x of shape {tuple(x.shape)}")
        if not torch.isfinite(x).all():
            raise ValueError(f"x holds {int((~torch.isfinite(x)).sum())} values that are NaN or infinite")
        low, high = x.min().item(), x.max().item()
        if self.kind == "bernoulli" and not ((x == 0) | (x == 1)).all():
            raise ValueError(
                f"a Bernoulli likelihood needs pixels that are 0 or 1, got values in [{low:g}, {high:g}]; "
                "for images in [-1, 1], vae.binarize(x) makes them"
            )
        if self.kind == "discretized" and (low < -1 - 1e-6 or high > 1 + 1e-6):
            raise ValueError(f"a discretised Gaussian needs pixels in [-1, 1], got values in [{low:g}, {high:g}]")


def gaussian_from(out):
    """N(mean, exp(logvar)) from a network's output (B, 2d), the mean first."""
    mean, logvar = out.chunk(2, dim=1)
    return Gaussian.from_logvar(mean, logvar)


def bits_per_dim(nats, x):
    """−nats / (D log 2), D the number of entries of one example of x: fewer is better. For log-probabilities only."""
    return -nats / (x[0].numel() * math.log(2))


def binarize(x):
    """Images in [-1, 1] as zeros and ones, 1 where a pixel is brighter than the middle.

    Not the random binarisation of the literature, P(1) = (x + 1)/2: nats of the two do not compare.
    """
    return (x > 0).to(x)


def reparameterize(mean, logvar, eps):
    """z = mean + exp(logvar / 2) ε: a draw from N(mean, exp(logvar)) that can be differentiated with respect to both.

    Source: Kingma & Welling 2014, section 2.4; ledger VAE-4, E-52.
    """
    same_shape(mean=mean, logvar=logvar, eps=eps)
    return mean + (0.5 * logvar).exp() * eps


@dataclass(frozen=True, eq=False)
class Terms:
    """The two parts of the ELBO: ``reconstruction`` (B,) and ``kl`` (B, d), a KL for each latent coordinate; nats."""

    reconstruction: torch.Tensor
    kl: torch.Tensor

    @property
    def elbo(self):
        """reconstruction − Σ_d kl_d, (B,)."""
        return self.reconstruction - self.kl.sum(1)


def objective(terms, beta=1.0, free_bits=0.0):
    """What training minimises, −mean[reconstruction] + β Σ_d max(mean[kl_d], free_bits), a scalar in nats.

    β = 1 and free_bits = 0 give the negative ELBO. A β that grows from 0 to 1 is KL warm-up. With free bits, a
    coordinate pays nothing for its first nats (the means are over the batch), so that it is not switched off early.

    Source: Higgins et al. 2017, equation 4; Kingma et al. 2016, equation 15; ledger VAE-6, M-34.
    """
    if beta < 0 or free_bits < 0:
        raise ValueError(f"beta and free_bits cannot be negative, got {beta} and {free_bits}")
    return beta * terms.kl.mean(0).clamp(min=free_bits).sum() - terms.reconstruction.mean()


def warm_up(step, steps):
    """β for KL warm-up: from 0 to 1 in a straight line over the first ``steps`` steps, then 1."""
    return min(1.0, step / steps) if steps > 0 else 1.0


class VAE(nn.Module):
    """A flat variational autoencoder with prior N(0, I), conditional on a label if ``classes`` > 0.

    Args:
        encoder: module (x, c) -> (B, 2 latent): the mean and the log-variance of q(z | x).
        decoder: module (z, c) -> parameters of the likelihood, of x's shape; c is None or the
            label as one-hot (B, classes).
        latent: number of coordinates of z.
        likelihood, variance: of p(x | z), see ``Likelihood``.
        classes: number of labels y of the conditional model p(x | y, z), or 0.
    Source: Kingma & Welling 2014; Sohn et al. 2015; ledger VAE-1, LVM-1.
    """

    def __init__(self, encoder, decoder, latent, likelihood="bernoulli", variance=None, classes=0):
        super().__init__()
        self.encoder, self.decoder, self.latent, self.classes = encoder, decoder, latent, classes
        self.likelihood = Likelihood(likelihood, variance)

    def validate(self, x, y=None):
        """Raise ValueError unless the likelihood allows x, and y holds a label 0..classes − 1 for each example."""
        self.likelihood.validate(x)
        if (y is None) != (self.classes == 0):
            needs = f"labels 0..{self.classes - 1}" if self.classes else "no labels"
            raise ValueError(f"this model takes {needs}, got y = {'None' if y is None else tuple(y.shape)}")
        if y is not None and (y.shape != (len(x),) or y.is_floating_point() or y.min() < 0 or y.max() >= self.classes):
            got = f"shape {tuple(y.shape)}, {y.dtype}, from {y.min()} to {y.max()}"
            raise ValueError(f"expected {len(x)} whole labels 0..{self.classes - 1}, got {got}")

    def _one_hot(self, y, like):
        return None if y is None else nn.functional.one_hot(y, self.classes).to(like)

    def encode(self, x, y=None):
        """q(z | x), or q(z | x, y): a Gaussian of shape (B, latent)."""
        return gaussian_from(self.encoder(x, self._one_hot(y, x)))

    def decode(self, z, y=None):
        """p(x | z), or p(x | y, z): a law with ``log_prob``, ``mean`` and ``sample``."""
        return self.likelihood(self.decoder(z, self._one_hot(y, z)))

    def prior(self, n):
        """p(z) = N(0, I) for n examples, on the model's device."""
        return Gaussian(next(self.parameters()).new_zeros(n, self.latent), 1.0)

    def terms(self, x, y=None, samples=1, generator=None):
        """The two parts of the ELBO: (1/L) Σ_l log p(x | z_l) and KL(q(z | x) ‖ N(0, I)), the KL in closed form.

        Args:
            x: (B, ...). y: (B,) labels of a conditional model.
            samples: L, draws z_l ~ q(z | x) for each example.
        Returns:
            Terms.
        Raises:
            ValueError: see ``validate``. On a GPU values are not looked at, since each look waits; ``fit`` looks once.
        Source: Kingma & Welling 2014, equations 7 and 10; ledger ELBO-4, VAE-2, VAE-3, E-07.
        """
        if x.device.type == "cpu":
            self.validate(x, y)
        q = self.encode(x, y)
        z = q.repeat(samples).sample(generator)
        y = None if y is None else y.repeat_interleave(samples, 0)
        log_likelihood = self.decode(z, y).log_prob(x.repeat_interleave(samples, 0)).reshape(-1, samples)
        return Terms(log_likelihood.mean(1), standard_kl(q))

    def log_joint(self, x, z, y=None):
        """log p(x, z) = log p(x | z) + log N(z; 0, I), in nats: (B,). What ``elbo.iwae`` needs, with ``encode``."""
        return self.decode(z, y).log_prob(x) + self.prior(len(z)).log_prob(z)

    @torch.no_grad()
    def sample(self, n, generator=None, y=None):
        """The means of p(x | z) for n draws z ~ N(0, I): (n, ...).

        Source: ledger VAE-7.
        """
        return self.decode(self.prior(n).sample(generator), y).mean


def standard_kl(q):
    """KL(q ‖ N(0, I)) of each coordinate, ½ (mean² + var − 1 − log var), in nats: (B, d).

    Source: Kingma & Welling 2014, appendix B; ledger KL-1, ELBO-4.
    """
    return 0.5 * (q.mean**2 + q.by_variance(lambda var: var - 1 - var.log(), lambda logvar: logvar.exp() - 1 - logvar))


@dataclass(frozen=True)
class Rate:
    """E_x KL(q(z | x) ‖ p(z)) = ``information`` + ``marginal_kl``, all in nats; see ``rate_decomposition``."""

    rate: float
    information: float
    marginal_kl: float


@torch.no_grad()
def rate_decomposition(q, generator=None, chunk=100):
    """Where the KL term goes: E_x KL(q(z|x) ‖ p(z)) = I_q(x; z) + KL(q(z) ‖ p(z)), p = N(0, I).

    q(z) = (1/N) Σ_n q(z | x_n) is the aggregate posterior of the N examples, summed exactly. One draw z_n ~ q(z | x_n)
    for each example: I = mean[log q(z_n | x_n) − log q(z_n)], which cannot exceed log N; the rate is in closed form
    and the marginal KL is the difference, so that both share one Monte Carlo error.

    Args:
        q: Gaussian of shape (N, d), the posteriors of a data set; ``model.encode(x)``.
    Returns:
        Rate, with attributes in nats.
    Source: Hoffman & Johnson 2016, equation 5; ledger VAE-5, E-50.
    """
    z, log_marginal = q.sample(generator), []
    for part in z.split(chunk):
        d = part[:, None, :] - q.mean
        offset = q.by_variance(
            lambda var, d=d: d**2 / var + var.log(), lambda logvar, d=d: scaled(d, -0.5 * logvar) ** 2 + logvar
        )
        log_marginal.append((-0.5 * (offset + LOG_2PI).sum(-1)).logsumexp(1) - math.log(len(z)))
    rate = standard_kl(q).sum(1).mean().item()
    information = (q.log_prob(z) - torch.cat(log_marginal)).mean().item()
    return Rate(rate, information, rate - information)


def active_units(q, threshold=0.01):
    """Which latent coordinates carry information: Var_x(E[z_d | x]) > threshold. (N, d) -> (d,) of True and False.

    Source: Burda et al. 2016, section 5.2; ledger VAE-6.
    """
    return q.mean.var(0) > threshold


def mlp_vae(shape, latent, hidden=(256, 256), **options):
    """A VAE of fully connected layers, for data of any shape; no hidden layers make it linear.

    Args:
        shape: of one example, such as (1, 28, 28) or (2,).
        options: likelihood, variance and classes of ``VAE``.
    """
    D, classes = math.prod(shape), options.get("classes", 0)
    encoder = Conditioned(nn.Flatten(), mlp(D + classes, *hidden, 2 * latent))
    decoder = Conditioned(nn.Identity(), nn.Sequential(mlp(latent + classes, *hidden[::-1], D), nn.Unflatten(1, shape)))
    return VAE(encoder, decoder, latent, **options)


def conv_vae(shape, latent, width=32, **options):
    """A small convolutional VAE: two strided convolutions, one dense layer of 8 width, and the mirror image.

    Args:
        shape: (C, H, W) with H and W divisible by 4.
        options: likelihood, variance and classes of ``VAE``.
    Raises:
        ValueError: H or W is not divisible by 4.
    """
    C, H, W = shape
    if H % 4 or W % 4:
        raise ValueError(f"two halvings need height and width divisible by 4, got {H} x {W}")
    classes, grid, dense = options.get("classes", 0), (2 * width, H // 4, W // 4), 8 * width
    body = nn.Sequential(
        nn.Conv2d(C, width, 4, 2, 1), nn.SiLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.SiLU(), nn.Flatten(),
    )  # fmt: skip
    encoder = Conditioned(body, mlp(math.prod(grid) + classes, dense, 2 * latent))
    up = nn.Sequential(
        mlp(latent + classes, dense, math.prod(grid)), nn.SiLU(), nn.Unflatten(1, grid),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(width, C, 4, 2, 1),
    )  # fmt: skip
    return VAE(encoder, Conditioned(nn.Identity(), up), latent, **options)


# ---- the plain autoencoder, which has a code but no law for it -----------------------------------------------------
def reconstruction_error(x, x_hat):
    """J = (1/N) Σ_i (1/P) ‖x_i − x̂_i‖², P the number of entries of one example: (N, ...) twice -> ().

    With x | z ~ N(x̂, s² I) it is the negative log-likelihood in disguise:
    −mean log p = P J / (2 s²) + (P/2) log(2π s²).

    Source: Hinton & Salakhutdinov 2006; ledger AE-1.
    """
    same_shape(x=x, x_hat=x_hat)
    return (x - x_hat).square().flatten(1).mean(1).mean()


class Autoencoder(nn.Module):
    """x̂ = f_G(f_E(x)): an encoder to few numbers and a decoder back, trained on ``reconstruction_error``.

    A code is a point, and nothing is said about the law of the codes: there is no p(z) to sample from.

    Args:
        shape: of one example. latent: numbers of the code. hidden: widths; none makes both maps linear.
    Source: Hinton & Salakhutdinov 2006; ledger AE-1, AE-2.
    """

    def __init__(self, shape, latent, hidden=(256, 64)):
        super().__init__()
        P = math.prod(shape)
        self.encoder = nn.Sequential(nn.Flatten(), mlp(P, *hidden, latent))
        self.decoder = nn.Sequential(mlp(latent, *hidden[::-1], P), nn.Unflatten(1, shape))

    def forward(self, x):
        """x̂, of x's shape."""
        return self.decoder(self.encoder(x))

    def loss(self, x, generator=None):
        """The reconstruction error of a batch."""
        return reconstruction_error(x, self(x))


def outside_share(z, codes, quantile=0.99):
    """The share of points z that lie outside the cloud of codes, as an Estimate.

    Outside means: farther from the nearest code than 99 % of the codes are from *their* nearest other code. In float64,
    which on MPS means on the CPU.

    Args:
        z: (M, d). codes: (N, d).
    Source: ledger AE-2.
    """
    z, codes = double(z), double(codes)
    limit = torch.cdist(codes, codes).fill_diagonal_(math.inf).min(1).values.quantile(quantile)
    return estimate((torch.cdist(z, codes).min(1).values > limit).double())
