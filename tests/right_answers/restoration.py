"""Right answers of restoration, written differently from the reference and from each other."""

import math

import torch


def _shaped(c, x):
    return c.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


def adjoint_by_columns(A, y, shape):
    n = torch.Size(shape).numel()
    columns = A(torch.eye(n, dtype=y.dtype).reshape(n, *shape)).flatten(1)
    return (y.flatten(1) @ columns.T).reshape(len(y), *shape)


def adjoint_by_vjp(A, y, shape):
    return torch.func.vjp(A, torch.zeros(len(y), *shape, dtype=y.dtype))[1](y)[0]


def known_by_arithmetic(x_s, y, known, s, alpha_bar, z):
    k = known.to(x_s.dtype)
    drawn = _shaped(alpha_bar[s] ** 0.5, x_s) * y + _shaped((1 - alpha_bar[s]) ** 0.5, x_s) * z
    return k * drawn + (1 - k) * x_s


def known_in_place(x_s, y, known, s, alpha_bar, z):
    out = x_s.clone()
    for i, k in enumerate(s.tolist()):
        a = alpha_bar[k].item()
        out[i][known] = math.sqrt(a) * y[i][known] + math.sqrt(1 - a) * z[i][known]
    return out


def up_by_logarithms(x_s, s, t, alpha_bar, z):
    drop = alpha_bar[t].log() - alpha_bar[s].log()
    return _shaped((drop / 2).exp(), x_s) * x_s + _shaped((-torch.expm1(drop)).sqrt(), x_s) * z


def up_step_by_step(x_s, s, t, alpha_bar, z):
    beta = torch.cat([torch.zeros(1, dtype=alpha_bar.dtype), 1 - alpha_bar[1:] / alpha_bar[:-1]])
    out = torch.empty_like(x_s)
    for i in range(len(x_s)):
        keep, added = 1.0, 0.0
        for k in range(int(s[i]) + 1, int(t[i]) + 1):
            b = beta[k].item()
            keep, added = keep * math.sqrt(1 - b), added * (1 - b) + b
        out[i] = keep * x_s[i] + math.sqrt(added) * z[i]
    return out


def replaced_by_numbers(rho, y, alpha_bar, times):
    m = k = 0.0
    for t, s in zip(times[:-1], times[1:], strict=True):
        a, b = alpha_bar[t].item(), alpha_bar[s].item()
        det = 1 - (a * rho) ** 2
        x0 = math.sqrt(a) * (rho * (k - a * rho * m) + (m - a * rho * k)) / det
        m = math.sqrt(b) * (1 - a / b) / (1 - a) * x0 + math.sqrt(a / b) * (1 - b) / (1 - a) * m
        k = math.sqrt(b) * y
    return torch.tensor(m, dtype=alpha_bar.dtype)


def replaced_by_eps(rho, y, alpha_bar, times):
    """x_s = √b x̂ + √(1 − b − v) ε̂, η = 1."""
    m, k = alpha_bar.new_zeros(()), alpha_bar.new_zeros(())
    corr = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=alpha_bar.dtype)
    for t, s in zip(times, times[1:], strict=False):
        a, b = alpha_bar[t], alpha_bar[s]
        law = a * corr + (1 - a) * torch.eye(2, dtype=a.dtype)
        x0 = (a.sqrt() * corr @ torch.linalg.inv(law) @ torch.stack([k, m]))[1]
        v = (1 - b) / (1 - a) * (1 - a / b)
        m = b.sqrt() * x0 + (1 - b - v).clamp(min=0).sqrt() * (m - a.sqrt() * x0) / (1 - a).sqrt()
        k = b.sqrt() * y
    return m


def push_by_log_prob(denoiser, A, y, x_t, t, variance):
    x = x_t.clone().detach().requires_grad_(True)
    law = torch.distributions.Normal(A(denoiser(x, t)), math.sqrt(variance))
    law.log_prob(y).sum().backward()
    return x.grad


def push_by_vjp(denoiser, A, y, x_t, t, variance):
    seen, pull = torch.func.vjp(lambda x: A(denoiser(x, t)), x_t)
    return pull((y - seen) / variance)[0]


RIGHT = {
    "adjoint": (adjoint_by_columns, adjoint_by_vjp),
    "known_again": (known_by_arithmetic, known_in_place),
    "up_again": (up_by_logarithms, up_step_by_step),
    "replaced_mean": (replaced_by_numbers, replaced_by_eps),
    "push": (push_by_log_prob, push_by_vjp),
}
