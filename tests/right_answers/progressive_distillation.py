"""Right answers of progressive distillation, written differently from the reference and from each other."""

import math

import torch


def _shaped(c, x):
    return c.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


def implied_by_root_snr(x_t, x_s, t, s, alpha_bar):
    """In units of the noise at t; √SNR is infinite at s = 0, so the noise of s stays a factor."""
    n_t, n_s = (1 - alpha_bar[t]).sqrt(), (1 - alpha_bar[s]).sqrt()
    grown = x_s * _shaped(n_t, x_t) - x_t * _shaped(n_s, x_t)
    return grown / _shaped(alpha_bar[s].sqrt() * n_t - alpha_bar[t].sqrt() * n_s, x_t)


def implied_loop(x_t, x_s, t, s, alpha_bar):
    out = torch.empty_like(x_t)
    for k in range(len(t)):
        a, b = alpha_bar[t[k]].item(), alpha_bar[s[k]].item()
        r = math.sqrt((1 - b) / (1 - a))
        out[k] = (x_s[k] - r * x_t[k]) / (math.sqrt(b) - r * math.sqrt(a))
    return out


def target_by_the_quotient(teacher, x_t, t, m, s, alpha_bar):
    def step(x, x0, t, s):
        ratio = ((1 - alpha_bar[s]) / (1 - alpha_bar[t])).sqrt()
        return _shaped(alpha_bar[s].sqrt(), x) * x0 + _shaped(ratio, x) * (x - _shaped(alpha_bar[t].sqrt(), x) * x0)

    x_m = step(x_t, teacher(x_t, t), t, m)
    return implied_by_root_snr(x_t, step(x_m, teacher(x_m, m), m, s), t, s, alpha_bar)


def target_from_the_second_answer(teacher, x_t, t, m, s, alpha_bar):
    a, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    one = teacher(x_t, t)
    ratio = noise[m] / noise[t]
    x_m = _shaped(ratio, x_t) * x_t + _shaped(a[m] - ratio * a[t], x_t) * one
    two = teacher(x_m, m)
    root_t, root_m = a[t] / noise[t], a[m] / noise[m]
    part = noise[s] * (root_m - root_t) / (a[s] - noise[s] * root_t)
    return two + _shaped(part, x_t) * (one - two)


def spread_by_logarithms(angles, K):
    def kept(grid):
        return grid.diff().neg().cos().log().sum().exp()

    return kept(angles), kept(angles[[i for i in range(len(angles)) if i % 2**K == 0]])


def spread_loop(angles, K):
    def walk(grid):
        x = 1.0
        for a, b in zip(grid[:-1], grid[1:], strict=True):
            x *= math.cos(a - b)
        return torch.tensor(x, dtype=torch.float64)

    grid = angles.tolist()
    few = grid
    for _ in range(K):
        few = few[::2]
    return walk(grid), walk(few)


def loss_by_log_snr(x0_hat, target, t, alpha_bar, weight):
    logsnr = torch.logit(alpha_bar)[t]
    w = {"snr": logsnr.exp(), "truncated": logsnr.clamp(min=0).exp(), "snr+1": 1 / (1 - alpha_bar[t])}[weight]
    return ((x0_hat - target).flatten(1) ** 2).sum(1) * w.to(x0_hat.dtype)


def loss_loop(x0_hat, target, t, alpha_bar, weight):
    rows = []
    for x, y, k in zip(x0_hat, target, t.tolist(), strict=True):
        snr = (alpha_bar[k] / (1 - alpha_bar[k])).item()
        w = snr + 1 if weight == "snr+1" else max(snr, 1.0) if weight == "truncated" else snr
        rows.append(w * (x - y).pow(2).sum())
    return torch.stack(rows)


def inside_by_an_iterator(loop, i):
    answers, told = iter([1.0, *[0.0] * 99]), []

    def teacher(x_t, t):
        told.append(t)
        return torch.full_like(x_t, next(answers))

    found = loop(teacher, torch.full((2,), 0.7, dtype=torch.float64), i)
    return torch.tensor(told), found.mean()


def inside_twice(loop, i):
    """How much more comes back if the first answer is one more."""

    def ask(more):
        told = []

        def teacher(x_t, t):
            told.append(t)
            return torch.full_like(x_t, 0.3 * len(told) + (more if len(told) == 1 else 0.0))

        return told, loop(teacher, torch.zeros((), dtype=torch.float64), i)

    told, low = ask(0.0)
    return torch.tensor(told), ask(1.0)[1] - low


RIGHT = {
    "implied_answer": (implied_by_root_snr, implied_loop),
    "student_target": (target_by_the_quotient, target_from_the_second_answer),
    "kept_spread": (spread_by_logarithms, spread_loop),
    "student_loss": (loss_by_log_snr, loss_loop),
    "steps_inside": (inside_by_an_iterator, inside_twice),
}
