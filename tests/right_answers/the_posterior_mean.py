"""Right answers of lesson 06, written differently from the reference and from each other."""

import math

import torch


def reverse_kernel_loop(q_prev, kernel):
    K = len(q_prev)
    out = torch.zeros_like(kernel)
    for j in range(K):
        evidence = sum(q_prev[i] * kernel[i, j] for i in range(K))
        for i in range(K):
            out[j, i] = q_prev[i] * kernel[i, j] / evidence
    return out


def reverse_kernel_einsum(q_prev, kernel):
    return torch.einsum("i,ij,j->ji", q_prev, kernel, 1 / (q_prev @ kernel))


def posterior_mean_gain(alpha_bar, x0, x_t, t):
    """Bayes as a correction: the prior mean, plus a gain times what x_t says beyond it."""
    shape = (-1, *[1] * (x_t.ndim - 1))
    s, a = alpha_bar[t - 1].reshape(shape), (alpha_bar[t] / alpha_bar[t - 1]).reshape(shape)
    prior = s.sqrt() * x0
    gain = a.sqrt() * (1 - s) / (a * (1 - s) + 1 - a)
    return (prior + gain * (x_t - a.sqrt() * prior)).to(x_t.dtype)


def posterior_mean_loop(alpha_bar, x0, x_t, t):
    rows = []
    for i in range(len(x_t)):
        now, before = alpha_bar[t[i]].item(), alpha_bar[t[i] - 1].item()
        alpha = now / before
        rows.append((before**0.5 * (1 - alpha) * x0[i] + alpha**0.5 * (1 - before) * x_t[i]) / (1 - now))
    return torch.stack(rows)


def posterior_variance_precisions(alpha_bar, t):
    alpha = alpha_bar[t] / alpha_bar[t - 1]
    return 1 / (alpha / (1 - alpha) + 1 / (1 - alpha_bar[t - 1]))


def posterior_variance_loop(alpha_bar, t):
    out = []
    for i in t.tolist():
        now, before = alpha_bar[i].item(), alpha_bar[i - 1].item()
        out.append((1 - before) * (1 - now / before) / (1 - now))
    return torch.tensor(out, dtype=alpha_bar.dtype)


def posterior_variance_by_subtraction(alpha_bar, t):
    """β_t − ᾱ_{t−1} β_t²/(1−ᾱ_t): β_t less what knowing x_0 takes away (POST-6); 0 at t = 1 up to rounding only."""
    beta = 1 - alpha_bar[t] / alpha_bar[t - 1]
    return beta - alpha_bar[t - 1] * beta**2 / (1 - alpha_bar[t])


def mean_from_eps_by_x0(alpha_bar, x_t, eps, t):
    def column(c):
        return c.view(-1, *([1] * (x_t.dim() - 1)))

    wide = x_t.double()
    x0 = (wide - column((1 - alpha_bar[t]).sqrt()) * eps) / column(alpha_bar[t].sqrt())
    return posterior_mean_gain(alpha_bar, x0, wide, t).to(x_t.dtype)


def mean_from_eps_loop(alpha_bar, x_t, eps, t):
    rows = []
    for x, e, i in zip(x_t, eps, t.tolist(), strict=True):
        now, before = alpha_bar[i].item(), alpha_bar[i - 1].item()
        beta = 1 - now / before
        rows.append(math.sqrt(before / now) * x - math.sqrt(before / now) * beta / math.sqrt(1 - now) * e)
    return torch.stack(rows)


def gaussian_reverse_by_x0(alpha_bar, x_t, s, t, m, v):
    """The law of x_0 given x_t, put through q(x_s | x_t, x_0): mean c_0 E[x_0 | x_t] + c_t x_t (REV-6)."""
    now, before = alpha_bar[t].item(), alpha_bar[s].item()
    spread = v * (1 - now) / (v * now + 1 - now)
    x0 = (m * (1 - now) + v * math.sqrt(now) * x_t) / (v * now + 1 - now)
    beta = 1 - now / before
    c_0, c_t = math.sqrt(before) * beta / (1 - now), math.sqrt(now / before) * (1 - before) / (1 - now)
    var = (1 - before) * beta / (1 - now) + c_0 * c_0 * spread
    return c_0 * x0 + c_t * x_t, torch.tensor(var, dtype=alpha_bar.dtype)


def gaussian_reverse_precisions(alpha_bar, x_t, s, t, m, v):
    """The marginal of x_s times the likelihood of x_t: precisions add."""
    ratio = alpha_bar[t] / alpha_bar[s]
    prior, likelihood = 1 / (1 + alpha_bar[s] * (v - 1)), ratio / (1 - ratio)
    var = 1 / (prior + likelihood)
    return (prior * alpha_bar[s] ** 0.5 * m + likelihood / ratio.sqrt() * x_t.double()).mul(var).to(x_t.dtype), var


def ancestral_step_addcmul(alpha_bar, x_t, x0_hat, t, z):
    std = posterior_variance_precisions(alpha_bar, t).sqrt().to(x_t.dtype)
    return torch.addcmul(posterior_mean_loop(alpha_bar, x0_hat, x_t, t), std.reshape(-1, *[1] * (z.ndim - 1)), z)


def ancestral_step_ddim(alpha_bar, x_t, x0_hat, t, z):
    """x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − v) ε̂ + √v z with v = β̃_t: the form of DDIM at η = 1."""
    rows = []
    for x, x0, i, noise in zip(x_t, x0_hat, t.tolist(), z, strict=True):
        now, before = alpha_bar[i].item(), alpha_bar[i - 1].item()
        v = (1 - before) * (1 - now / before) / (1 - now)
        eps = (x - now**0.5 * x0) / (1 - now) ** 0.5
        rows.append(before**0.5 * x0 + (1 - before - v) ** 0.5 * eps + v**0.5 * noise)
    return torch.stack(rows)


RIGHT = {
    "reverse_kernel": [reverse_kernel_loop, reverse_kernel_einsum],
    "posterior_mean": [posterior_mean_gain, posterior_mean_loop],
    "posterior_variance": [
        posterior_variance_precisions,
        posterior_variance_loop,
        posterior_variance_by_subtraction,
    ],
    "mean_from_eps": [mean_from_eps_by_x0, mean_from_eps_loop],
    "gaussian_reverse": [gaussian_reverse_by_x0, gaussian_reverse_precisions],
    "ancestral_step": [ancestral_step_addcmul, ancestral_step_ddim],
}
