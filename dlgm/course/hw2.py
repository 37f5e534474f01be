"""Homework 2: the world of parts 12 and 13, the network that is given, and the broken walks of part 14.

Every function here may be used by students; none of them answers a part.
"""

import math

import torch
import torch.nn.functional as F

from ..tensors import expand

WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
CENTRES = torch.tensor([[1.2, 0.6], [-1.2, 0.5], [0.0, -1.3]], dtype=torch.float64)
WIDTHS = torch.tensor([0.25, 0.25, 0.35], dtype=torch.float64)


def _normal(*shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def mixture(n, generator):
    """Points of the mixture the denoiser is trained on: three round clusters in the plane, (n, 2)."""
    k = torch.multinomial(WEIGHTS, n, replacement=True, generator=generator)
    return CENTRES[k] + WIDTHS[k][:, None] * _normal(n, 2, generator=generator)


def exact_eps(x_t, bar):
    """E[ε | x_t] of the mixture at ᾱ = bar (B, 1): (B, 2)."""
    variance = bar * WIDTHS**2 + 1 - bar
    offset = x_t[:, None] - bar.sqrt()[:, :, None] * CENTRES
    share = (WEIGHTS.log() - offset.square().sum(2) / (2 * variance) - variance.log()).softmax(1)
    return (1 - bar).sqrt() * ((share / variance)[:, :, None] * offset).sum(1)


def network(theta, x, phi, width):
    """ε̂ = O SiLU(V SiLU(W (x, φ) + b) + c) + d, all six read off the vector theta: (B, D), (B, F) -> (B, D)."""
    D, n = x.shape[1], x.shape[1] + phi.shape[1]
    W, b, V, c, O, d = theta.split([width * n, width, width * width, width, D * width, D])  # noqa: E741
    h = F.silu(torch.cat([x, phi], 1) @ W.view(width, n).T + b)
    return F.silu(h @ V.view(width, width).T + c) @ O.view(D, width).T + d


def parameters(D, G, width, generator):
    """theta for ``network``: normal numbers over √(inputs), and zero biases."""
    parts = []
    for out, inputs in ((width, D + G), (width, width), (D, width)):
        parts += [_normal(out * inputs, generator=generator) / math.sqrt(inputs), torch.zeros(out, dtype=torch.float64)]
    return torch.cat(parts)


def training_run(generator, steps=1500, batch=192, width=64, T=50):
    """The arguments of a training run on the mixture: log-SNR evenly from 5 to −5, 6 features."""
    u = torch.linspace(1, 0, T, dtype=torch.float64)  # evenly in t, and here evenly in the log-SNR, too
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(10 * u - 5)])
    waves = [wave(math.pi * rate * u) for wave in (torch.sin, torch.cos) for rate in (1, 2, 4)]
    features = torch.stack(waves, 1)[[0, *range(T)]]  # row t for time t; no row is for 0
    x0 = mixture(2000, generator)
    index = torch.randint(0, len(x0), (steps, batch), generator=generator)
    t = torch.randint(1, T + 1, (steps, batch), generator=generator)
    eps = _normal(steps, batch, 2, generator=generator)
    return x0, features, alpha_bar, index, t, eps, parameters(2, 6, width, generator), width, 0.01, 0.995


def held_out(theta, features, alpha_bar, width, generator, n=20_000):
    """(loss, floor, excess) on fresh points: mean (ε̂−ε)², mean (E[ε|x_t]−ε)², mean (ε̂−E[ε|x_t])²."""
    t = torch.randint(1, len(alpha_bar), (n,), generator=generator)
    x0, eps, bar = mixture(n, generator), _normal(n, 2, generator=generator), alpha_bar[t][:, None]
    x_t = bar.sqrt() * x0 + (1 - bar).sqrt() * eps
    best, guess = exact_eps(x_t, bar), network(theta, x_t, features[t], width)
    return tuple((a - b).square().mean().item() for a, b in ((guess, eps), (best, eps), (guess, best)))


def broken_walk(letter):
    """The step function of walk A, B or C of part 14. Each holds one mistake, and reading on gives it away."""

    def step(alpha_bar, m, kappa, x_t, eps_hat, v, s, t, z):
        at_s, at_t = expand(alpha_bar[s], x_t), expand(alpha_bar[t], x_t)
        beta = 1 - at_t / at_s
        share = {"A": beta, "B": beta / (1 - at_t).sqrt(), "C": (1 - at_t).sqrt()}[letter]
        size = kappa**2 * beta * ((1 - at_s) / (1 - at_t)) ** (1 - v)
        size = size if letter == "B" else size.sqrt()
        return m + (x_t - m - kappa * share * eps_hat) / (1 - beta).sqrt() + expand(s > 0, x_t) * size * z

    return step
