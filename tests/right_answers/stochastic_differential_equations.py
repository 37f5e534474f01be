"""Right answers of stochastic_differential_equations, written differently from the reference and from each other."""

import math

import torch


def drift_split(f, g2, x, score, churn):
    view = (-1, *[1] * (x.ndim - 1))
    f, g2 = f.view(view).to(x.dtype), g2.view(view).to(x.dtype)
    flow = f * x - g2 * score / 2
    return flow - churn * g2 / 2 * score


def drift_loop(f, g2, x, score, churn):
    rows = [a.item() * u - b.item() * (0.5 + churn / 2) * s for a, b, u, s in zip(f, g2, x, score, strict=True)]
    return torch.stack(rows)


def step_flow_and_langevin(beta, x, score, dt, z):
    flow = x + beta * dt / 2 * (x + score)
    return flow + beta * dt / 2 * score + beta**0.5 * dt**0.5 * z


def step_std(beta, x, score, dt, z):
    std = math.sqrt(beta * dt)
    return (1 + std**2 / 2) * x + std * (std * score + z)


def variance_tensor(beta, m, dt, start):
    gains = (1 + beta * dt * (0.5 - 1 / m)) ** 2
    out = start.clone()
    for g, b in zip(gains, beta, strict=True):
        out = torch.addcmul(b * dt, g, out)
    return out


def variance_products(beta, m, dt, start):
    # each step's noise, shrunk by all later gains
    gains = 1 - beta * dt / m + beta * dt / 2
    later = torch.cat([gains.flip(0).cumprod(0).flip(0)[1:], torch.ones(1, dtype=gains.dtype)])
    return start * gains.prod() ** 2 + (later**2 * beta * dt).sum()


def count_sorted(ratio, counts):
    return torch.tensor(sorted(counts, key=lambda N: (ratio(N) - 1) ** 2)[0])


def count_argmin(ratio, counts):
    off = torch.tensor([abs(1 - ratio(N)) for N in counts], dtype=torch.float64)
    return torch.tensor(counts)[off.argmin()]


RIGHT = {
    "reverse_drift": [drift_split, drift_loop],
    "maruyama_step": [step_flow_and_langevin, step_std],
    "maruyama_variance": [variance_tensor, variance_products],
    "misleading_count": [count_sorted, count_argmin],
}
