"""Markovian hierarchies of latent variables, with networks or without, and the diffusion chain as one of them.

    generation, top-down:   p(x, z_{1:T}) = p(z_T) p(x | z_1) Π_{t=2..T} p(z_{t−1} | z_t)
    inference, bottom-up:   q(z_{1:T} | x) = q(z_1 | x) Π_{t=2..T} q(z_t | z_{t−1})

A kernel is a function of the variable it is conditioned on that gives a law with ``sample`` and ``log_prob``. The
bound needs nothing else, so a hierarchy of networks, a linear-Gaussian chain and a diffusion model share this code.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from .gaussian import Gaussian
from .nets import mlp
from .process import q_transition
from .vae import Likelihood, gaussian_from
from .vlb import reverse_step, reverse_variances


@dataclass(frozen=True, eq=False)
class Path:
    """q(z_{1:T} | x) for a batch: the law of a list of T tensors."""

    kernels: tuple
    x: torch.Tensor

    def sample(self, generator=None):
        """z_1 ~ q(z_1 | x), then z_t ~ q(z_t | z_{t−1}), bottom-up: a list [z_1, ..., z_T]."""
        below, levels = self.x, []
        for kernel in self.kernels:
            below = kernel(below).sample(generator)
            levels.append(below)
        return levels

    def log_prob(self, z):
        """log q(z_{1:T} | x) = log q(z_1 | x) + Σ_{t≥2} log q(z_t | z_{t−1}), in nats: (B,)."""
        return sum(
            kernel(below).log_prob(z_t) for kernel, below, z_t in zip(self.kernels, [self.x, *z], z, strict=False)
        )


@dataclass(frozen=True, eq=False)
class Terms:
    """The ELBO of a hierarchy: ``reconstruction`` (B,) and ``levels`` (B, T), in nats.

    levels[:, t − 1] = E_q[log p(z_t | z_{t+1}) − log q(z_t | z_{t−1})], with p(z_T) at the top and z_0 = x below.
    """

    reconstruction: torch.Tensor
    levels: torch.Tensor

    @property
    def elbo(self):
        """reconstruction + Σ_t levels_t, (B,)."""
        return self.reconstruction + self.levels.sum(1)


class Hierarchy:
    """A Markovian hierarchy of T latent variables.

    Args:
        prior: function n -> p(z_T) for n examples.
        generate: T kernels [p(x | z_1), p(z_1 | z_2), ..., p(z_{T−1} | z_T)].
        infer: T kernels [q(z_1 | x), q(z_2 | z_1), ..., q(z_T | z_{T−1})].
    Raises:
        ValueError: the two lists are empty or of different lengths.
    Source: ledger HVAE-1, HVAE-2, E-23.
    """

    def __init__(self, prior, generate, infer):
        if len(generate) != len(infer) or not infer:
            raise ValueError(f"expected as many kernels down as up, got {len(generate)} and {len(infer)}")
        self.prior, self.generate, self.infer = prior, list(generate), list(infer)

    def q(self, x):
        """q(z_{1:T} | x), a law of lists of tensors."""
        return Path(tuple(self.infer), x)

    def log_joint(self, x, z):
        """log p(x, z_{1:T}) = log p(z_T) + log p(x | z_1) + Σ_{t≥2} log p(z_{t−1} | z_t), in nats: (B,)."""
        down = zip(self.generate, [x, *z], z, strict=False)
        return self.prior(len(z[-1])).log_prob(z[-1]) + sum(p(above).log_prob(below) for p, below, above in down)

    def terms(self, x, samples=1, generator=None):
        """The ELBO term by term, each averaged over ``samples`` paths: Terms; their sum is ``elbo.elbo``.

        Source: ledger HVAE-2.
        """
        repeated = x.repeat_interleave(samples, 0)
        z = self.q(repeated).sample(generator)
        below = [repeated, *z]
        log_p = [p(above).log_prob(b) for p, b, above in zip(self.generate, below, z, strict=False)]
        log_p.append(self.prior(len(repeated)).log_prob(z[-1]))
        log_q = [q(b).log_prob(above) for q, b, above in zip(self.infer, below, z, strict=False)]
        terms = [log_p[0], *(p - q for p, q in zip(log_p[1:], log_q, strict=True))]
        terms = torch.stack(terms, 1).reshape(len(x), samples, -1).mean(1)
        return Terms(terms[:, 0], terms[:, 1:])

    def sample(self, n, generator=None):
        """n draws from the top down: the mean of p(x | z_1), and the list [z_1, ..., z_T] it came from."""
        z = [self.prior(n).sample(generator)]
        for kernel in self.generate[:0:-1]:
            z.insert(0, kernel(z[0]).sample(generator))
        return self.generate[0](z[0]).mean, z


class HVAE(nn.Module, Hierarchy):
    """A hierarchy of networks: every kernel between latents is a Gaussian whose mean and log-variance an MLP gives.

    Args:
        shape: of one example.
        latents: (d_1, ..., d_T), the sizes of z_1 to z_T; one size makes it a flat VAE.
        hidden: sizes of the hidden layers of every network.
        likelihood: see ``vae.Likelihood``; variance too.
    Raises:
        ValueError: no latents.
    Source: Sønderby et al. 2016, section 2; ledger HVAE-1, HVAE-3, M-35.
    """

    def __init__(self, shape, latents, hidden=(64, 64), likelihood="gaussian", variance=None):
        super().__init__()
        D, T = math.prod(shape), len(latents)
        if T == 0:
            raise ValueError("a hierarchy needs at least one level, got latents = ()")
        sizes = [D, *latents]
        self.latents = tuple(latents)
        self.likelihood = Likelihood(likelihood, variance)
        self.decoder = nn.Sequential(mlp(latents[0], *hidden, D), nn.Unflatten(1, shape))
        self.up = nn.ModuleList(nn.Sequential(nn.Flatten(), mlp(sizes[t], *hidden, 2 * sizes[t + 1])) for t in range(T))
        self.down = nn.ModuleList(mlp(latents[t + 1], *hidden, 2 * latents[t]) for t in range(T - 1))

    @property
    def infer(self):
        """[q(z_1 | x), q(z_2 | z_1), ...]"""
        return [lambda z, net=net: gaussian_from(net(z)) for net in self.up]

    @property
    def generate(self):
        """[p(x | z_1), p(z_1 | z_2), ...]"""
        return [self.decode, *(lambda z, net=net: gaussian_from(net(z)) for net in self.down)]

    def decode(self, z):
        """p(x | z_1)."""
        return self.likelihood(self.decoder(z))

    def prior(self, n):
        """p(z_T) = N(0, I) for n examples, on the model's device."""
        return Gaussian(next(self.parameters()).new_zeros(n, self.latents[-1]), 1.0)

    def validate(self, x):
        """Raise ValueError unless x is a batch that the likelihood allows."""
        self.likelihood.validate(x)


def diffusion(denoiser, shape, variance="beta", device=None):
    """A diffusion model as a Hierarchy: latents as large as the data, an inference chain without parameters.

    q(z_t | z_{t−1}) = N(√α_t z_{t−1}, β_t I), p(z_T) = N(0, I), and p(z_{t−1} | z_t) is the forward posterior
    q(z_{t−1} | z_t, x_0) with the denoiser's estimate in the place of x_0. Three restrictions, and nothing else.

    Args:
        denoiser: (x_t, t) -> Prediction, with a discrete schedule.
        shape: of one example.
        variance: of p(z_{t−1} | z_t): "beta" (β_t) or "posterior" (β̃_t); for t = 1 it is β_1, since β̃_1 = 0.
        device: where the prior draws; None takes that of the denoiser's network, or the CPU where it has none.
    Raises:
        ValueError: an unknown variance.
    Source: Luo 2022, section 3; ledger VDM-1, VDM-2.
    """
    schedule = denoiser.schedule
    if device is None and isinstance(denoiser, nn.Module):
        device = next((p.device for p in denoiser.parameters()), None)
    reverse_variances(schedule, variance)  # refuses an unknown one now, not in the middle of a walk

    def up(t):
        return lambda z: q_transition(schedule, z, t - 1, t)

    def down(t):
        return lambda z: reverse_step(denoiser, z, t, variance)

    times = range(1, schedule.T + 1)
    return Hierarchy(
        lambda n: Gaussian(torch.zeros(n, *shape, device=device), 1.0), [down(t) for t in times], [up(t) for t in times]
    )


def step_gaps(world, schedule, variance, n=250, seed=0):
    """What each level of a diffusion hierarchy loses, E KL(q(x_{t−1} | x_t) ‖ p(x_{t−1} | x_t)), and the bound's terms.

    The true reverse kernel is known for a mixture: q(x_{t−1} | x_t) = q(x_t | x_{t−1}) q(x_{t−1}) / q(x_t), each
    factor in closed form. With the KL at the top, KL(q(x_T) ‖ N(0, I)), the losses sum to log p(x) − ELBO on average.

    Args:
        world: a GaussianMixture; schedule: DiscreteSchedule; variance: see ``hvae.diffusion``.
    Returns:
        The terms (n, T + 1): reconstruction first, then the levels; and the losses (n, T + 1): steps 1 to T, then
        the top, each with a control variate. One path for each of n draws of the data; nats, on the CPU.
    Source: ledger HVAE-2, VDM-1, VDM-2.
    """
    generator = torch.Generator().manual_seed(seed)
    x = world.sample(n, generator).double()
    model = diffusion(world.denoiser(schedule), world.shape, variance)
    path = [x, *model.q(x).sample(generator)]
    up = [q(below).log_prob(above) for q, below, above in zip(model.infer, path, path[1:], strict=False)]
    down = [p(above).log_prob(below) for p, below, above in zip(model.generate, path, path[1:], strict=False)]
    down.append(Gaussian(torch.zeros_like(x), 1.0).log_prob(path[-1]))
    marginal = [world.diffuse(schedule, t).log_prob(level) for t, level in enumerate(path)]
    terms = [down[0], *(p - q for p, q in zip(down[1:], up, strict=True))]
    losses = [u + a - b - p for u, a, b, p in zip(up, marginal, marginal[1:], down, strict=False)]
    return torch.stack(terms, 1), _quieter(torch.stack([*losses, marginal[-1] - down[-1]], 1))


def _quieter(f):
    """f − c (e^{−f} − 1) for each column, f = log q/p drawn from q: the same mean, since E_q[p/q] = 1, less noise.

    c is the regression coefficient of f on e^{−f}, estimated from the column itself.
    """
    ratio = (-f).exp()
    centred = ratio - ratio.mean(0)
    c = (centred * f).sum(0) / centred.square().sum(0).clamp(min=1e-300)
    return f - c * (ratio - 1)
