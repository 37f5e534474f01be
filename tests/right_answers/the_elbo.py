"""Right answers of the_elbo, written differently from the reference and from each other."""

import math

import torch


def elbo_estimate_loop(log_joint, log_q):
    means, errors = [], []
    for p, q in zip(log_joint, log_q, strict=True):
        w = p - q
        m = w.sum() / len(w)
        means.append(m)
        errors.append(((w - m).square().sum() / (len(w) - 1) / len(w)).sqrt())
    return torch.stack(means), torch.stack(errors)


def elbo_estimate_var(log_joint, log_q):
    n = log_joint.shape[-1]
    mean = log_joint.mean(-1) - log_q.mean(-1)
    return mean, ((log_joint - log_q).var(dim=-1) / n) ** 0.5


def gaussian_kl_torch(m1, v1, m2, v2):
    p, q = (torch.distributions.Normal(m, v.sqrt()) for m, v in ((m1, v1), (m2, v2)))
    return torch.distributions.kl_divergence(p, q).sum(dim=-1)


def gaussian_kl_precision(m1, v1, m2, v2):
    r = v1 / v2
    return (((r - 1) - torch.log(r)) / 2 + (m2 - m1).pow(2) / (2 * v2)).sum(-1)


def ppca_posterior_precision(W, b, noise_var, x):
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / noise_var
    cov = torch.linalg.inv(precision)
    return torch.linalg.solve(precision, W.T @ (x - b).T / noise_var).T, cov


def ppca_posterior_gain(W, b, noise_var, x):
    """By conditioning the joint Gaussian of (z, x): gain = Wᵀ Cov(x)⁻¹."""
    gain = W.T @ torch.linalg.inv(W @ W.T + noise_var * torch.eye(len(W), dtype=W.dtype))
    return (x - b) @ gain.T, torch.eye(W.shape[1], dtype=W.dtype) - gain @ W


def iwae_bound_max(log_w):
    top = log_w.max(dim=1).values
    return top + torch.log(torch.exp(log_w - top[:, None]).mean(dim=1))


def iwae_bound_loop(log_w):
    out = []
    for row in log_w:
        total = row[0]
        for v in row[1:]:
            total = torch.logaddexp(total, v)
        out.append(total - math.log(len(row)))
    return torch.stack(out)


def coordinate_update_conditional(precision, m, a, i):
    """The mean of coordinate i under the posterior, given that the others are at their means."""
    others = torch.arange(len(m)) != i
    value = m[i] - (a[:, others] - m[others]) @ precision[others, i] / precision[i, i]
    return torch.cat([a[:, :i], value[:, None], a[:, i + 1 :]], 1)


def coordinate_update_parabola(precision, m, a, i):
    """The top of the parabola through three of its points."""
    rows = []
    for row in a.double().unbind():
        unit = torch.zeros_like(row)
        unit[i] = 1
        d = [row + s * unit - m for s in (-1, 0, 1)]
        left, middle, right = (-0.5 * v @ precision.double() @ v for v in d)
        rows.append(row + unit * (left - right) / (left - 2 * middle + right) / 2)
    return torch.stack(rows).to(a.dtype)


RIGHT = {
    "elbo_estimate": [elbo_estimate_loop, elbo_estimate_var],
    "gaussian_kl": [gaussian_kl_torch, gaussian_kl_precision],
    "ppca_posterior": [ppca_posterior_precision, ppca_posterior_gain],
    "iwae_bound": [iwae_bound_max, iwae_bound_loop],
    "coordinate_update": [coordinate_update_conditional, coordinate_update_parabola],
}
