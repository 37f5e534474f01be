"""Right answers of continuous_time_elbo, written differently from the reference and from each other."""

import math

import torch


def stairs_loop(snr, error):
    total = torch.zeros((), dtype=snr.dtype)
    for i in range(1, len(snr)):
        total = total + (snr[i - 1] - snr[i]) * error[i] / 2
    return total


def stairs_dot(snr, error):
    return -torch.dot(snr.diff(), error[1:]) / 2


def draw_tan(eps, eps_hat, t, start, end):
    u = math.pi * t / 2
    rate = math.pi / (u.sin() * u.cos())
    error = ((eps_hat - eps) ** 2).reshape(len(t), -1).sum(-1)
    return (end - start) * (rate / 2).to(error.dtype) * error


def draw_loop(eps, eps_hat, t, start, end):
    rows = [
        (end - start) * math.pi / math.sin(math.pi * s.item()) * torch.linalg.vector_norm(a - b) ** 2
        for s, a, b in zip(t, eps, eps_hat, strict=True)
    ]
    return torch.stack(rows)


def weight_table(snr, kind, gamma):
    top = torch.minimum(snr, torch.full_like(snr, gamma))
    if kind == "v":
        return top / (1 + snr)
    return top if kind == "x0" else torch.minimum(torch.ones_like(snr), gamma / snr)


def weight_loop(snr, kind, gamma):
    out = []
    for s in snr.tolist():
        w = min(s, gamma)
        below = {"x0": 1.0, "eps": s, "v": s + 1}[kind]
        out.append(w / below if below > 0 else 1.0)
    return torch.tensor(out, dtype=snr.dtype)


def law_diff(w):
    share = w / w[-1]
    return share[0], share.diff()


def law_loop(w):
    top = w[len(w) - 1]
    return w[0] / top, torch.stack([(b - a) / top for a, b in zip(w, w[1:], strict=False)])


RIGHT = {
    "stair_bound": [stairs_loop, stairs_dot],
    "bound_draw": [draw_tan, draw_loop],
    "mended_weight": [weight_table, weight_loop],
    "noise_law": [law_diff, law_loop],
}
