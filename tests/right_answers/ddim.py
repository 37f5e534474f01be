"""Right answers of ddim, written differently from the reference and from each other."""

import math

import torch


def posterior_coefficients(alpha_bar, x_t, x0, s, t, sigma2):
    view = (-1, *[1] * (x_t.ndim - 1))
    a, b = (alpha_bar[k].view(view).to(x_t.dtype) for k in (s, t))
    slope = ((1 - a - sigma2.view(view).to(x_t.dtype)) / (1 - b)) ** 0.5
    return slope * x_t + (a**0.5 - slope * b**0.5) * x0, sigma2


def posterior_loop(alpha_bar, x_t, x0, s, t, sigma2):
    rows = []
    for i in range(len(t)):
        a, b, v = alpha_bar[s[i]].item(), alpha_bar[t[i]].item(), sigma2[i].item()
        eps = (x_t[i] - math.sqrt(b) * x0[i]) / math.sqrt(1 - b)
        rows.append(math.sqrt(a) * x0[i] + math.sqrt(1 - a - v) * eps)
    return torch.stack(rows), sigma2.clone()


def step_tau(alpha_bar, x_t, eps, s, t, eta, z):
    a, b = float(alpha_bar[s]), float(alpha_bar[t])
    share = 1 - b * (1 - a) / (a * (1 - b))
    std = eta * math.sqrt(1 - a) * math.sqrt(share)
    x0 = x_t / math.sqrt(b) - math.sqrt(1 / b - 1) * eps
    return math.sqrt(a) * x0 + math.sqrt(1 - a) * math.sqrt(1 - eta**2 * share) * eps + std * z


def step_rescaled(alpha_bar, x_t, eps, s, t, eta, z):
    # the ordinary equation in y = x/√ᾱ, with noise level √(1/ᾱ − 1)
    a, b = alpha_bar[s], alpha_bar[t]
    sigma = eta * torch.sqrt((1 - a) / (1 - b)) * torch.sqrt(1 - b / a)
    y = x_t / b.sqrt() + (torch.sqrt((1 - a - sigma**2) / a) - torch.sqrt((1 - b) / b)) * eps
    return a.sqrt() * y + sigma * z


def invert_rescaled(alpha_bar, x_s, eps, s, t):
    a, b = alpha_bar[s], alpha_bar[t]
    return (b / a).sqrt() * x_s + b.sqrt() * (torch.sqrt(1 / b - 1) - torch.sqrt(1 / a - 1)) * eps


def invert_numbers(alpha_bar, x_s, eps, s, t):
    a, b = alpha_bar[s].item(), alpha_bar[t].item()
    clean = (x_s - math.sqrt(1 - a) * eps) / math.sqrt(a)
    return clean * math.sqrt(b) + eps * math.sqrt(1 - b)


def previous_from_noise(step, alpha_bar, s, t):
    # an input whose x̂_0 is 0: what comes back is √(1 − ᾱ) ε̂
    eps = torch.full((2,), 3.0, dtype=torch.float64)
    out = step(alpha_bar, (1 - alpha_bar[t]).sqrt() * eps, eps, s, t)
    return 1 - (out[1] / 3) ** 2


def previous_from_slope(step, alpha_bar, s, t):
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    slope = step(alpha_bar, one, zero, s, t) - step(alpha_bar, zero, zero, s, t)
    return (slope.mean() ** 2) * alpha_bar[t]


RIGHT = {
    "implicit_posterior": [posterior_coefficients, posterior_loop],
    "ddim_step": [step_tau, step_rescaled],
    "invert_step": [invert_rescaled, invert_numbers],
    "previous_alpha_bar": [previous_from_noise, previous_from_slope],
}
