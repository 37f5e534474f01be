"""Right answers of the_diffusion_kernel, written differently from the reference and from each other."""

import itertools
import math

import torch


def alpha_bar_loop(betas):
    out = [torch.tensor(1.0, dtype=betas.dtype)]
    for b in betas:
        out.append(out[-1] * (1 - b))
    return torch.stack(out)


def alpha_bar_logs(betas):
    table = torch.zeros(len(betas) + 1, dtype=betas.dtype)
    table[1:] = torch.log1p(-betas).cumsum(0)
    return table.exp()


def q_sample_views(alpha_bar, x0, t, eps):
    a = alpha_bar[t].view(-1, *([1] * (x0.dim() - 1))).to(x0.dtype)
    return torch.sqrt(a) * x0 + torch.sqrt(1 - a) * eps


def q_sample_loop(alpha_bar, x0, t, eps):
    rows = []
    for i in range(len(x0)):
        a = alpha_bar[int(t[i])].item()
        rows.append(math.sqrt(a) * x0[i] + math.sqrt(1 - a) * eps[i])
    return torch.stack(rows)


def q_transition_product(alpha_bar, x_s, s, t):
    alpha = alpha_bar[1:] / alpha_bar[:-1]
    keep = torch.stack([alpha[int(a) : int(b)].prod() for a, b in zip(s, t, strict=True)])
    return (keep.sqrt() * x_s.movedim(0, -1)).movedim(-1, 0), 1 - keep


def q_transition_variances(alpha_bar, x_s, s, t):
    ratio = alpha_bar[t] / alpha_bar[s]
    shape = [len(x_s)] + [1] * (x_s.ndim - 1)
    return x_s * ratio.pow(0.5).reshape(shape), (1 - alpha_bar[t]) - ratio * (1 - alpha_bar[s])


def cosine_loop(T, s, max_beta):
    def f(t):
        return math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2

    return torch.tensor([min(1 - f(t) / f(t - 1), max_beta) for t in range(1, T + 1)], dtype=torch.float64)


def cosine_linspace(T, s, max_beta):
    angle = torch.linspace(s / (1 + s), 1, T + 1, dtype=torch.float64) * math.pi / 2
    f = (1 + torch.cos(2 * angle)) / 2
    return torch.minimum(1 - f[1:] / f[:-1], torch.tensor(max_beta, dtype=torch.float64))


def mended_betas_merged(beta, times):
    """The noise of a jump step by step: a step shrinks the variance that is there and adds its β (GAUSS-1)."""
    out = torch.zeros(len(times), dtype=beta.dtype)
    for i, (s, t) in enumerate(itertools.pairwise(times.tolist()), start=1):
        for k in range(s + 1, t + 1):
            out[i] = (1 - beta[k]) * out[i] + beta[k]
    return out


def mended_betas_logs(beta, times):
    kept = torch.log1p(-beta).cumsum(0)[times]
    return -torch.expm1(torch.diff(kept, prepend=kept[:1]))


RIGHT = {
    "alpha_bar": [alpha_bar_loop, alpha_bar_logs],
    "q_sample": [q_sample_views, q_sample_loop],
    "q_transition": [q_transition_product, q_transition_variances],
    "cosine_betas": [cosine_loop, cosine_linspace],
    "mended_betas": [mended_betas_merged, mended_betas_logs],
}
