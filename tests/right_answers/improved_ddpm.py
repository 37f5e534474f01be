"""Right answers of improved_ddpm, written differently from the reference and from each other."""

import math

import torch


def optimal_snr(alpha_bar, s, t, x0_variance):
    a, b = alpha_bar[s], alpha_bar[t]
    share = 1 - (b / (1 - b)) / (a / (1 - a))
    return share * (1 - a) + a * share**2 * x0_variance


def optimal_loop(alpha_bar, s, t, x0_variance):
    out = []
    for i in range(len(t)):
        a, b = float(alpha_bar[s[i]]), float(alpha_bar[t[i]])
        step = 1 - b / a
        out.append(step * (1 - a) / (1 - b) + a * step**2 / (1 - b) ** 2 * x0_variance[i])
    return torch.stack(out)


def logvar_lerp(alpha_bar, o, t):
    view = (len(t), *[1] * (o.dim() - 1))
    step = (alpha_bar[t - 1] - alpha_bar[t]) / alpha_bar[t - 1]
    kept = torch.where(t == 1, torch.ones_like(step), (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]))
    # log β + (1 − f) log of what β̃ is smaller by
    return step.log().view(view).to(o.dtype) + (1 - o) / 2 * kept.log().view(view).to(o.dtype)


def logvar_loop(alpha_bar, o, t):
    rows = []
    for row, k in zip(o, t.tolist(), strict=True):
        beta = 1 - (alpha_bar[k] / alpha_bar[k - 1]).item()
        low = beta if k == 1 else beta * (1 - alpha_bar[k - 1].item()) / (1 - alpha_bar[k].item())
        rows.append((row + 1) / 2 * math.log(beta) + (1 - row) / 2 * math.log(low))
    return torch.stack(rows)


def hybrid_distributions(eps, eps_hat, mean_q, var_q, mean_p, logvar_p, weight):
    shape = [-1] + [1] * (eps.ndim - 1)
    q = torch.distributions.Normal(mean_q, var_q.view(shape).sqrt().expand_as(mean_q))
    with torch.no_grad():
        frozen = mean_p.clone()
    p = torch.distributions.Normal(frozen, (logvar_p / 2).exp())
    axes = tuple(range(1, eps.ndim))
    return ((eps_hat - eps) ** 2).sum(axes) + weight * torch.distributions.kl_divergence(q, p).sum(axes)


def hybrid_einsum(eps, eps_hat, mean_q, var_q, mean_p, logvar_p, weight):
    a, b, c = ((u - v).reshape(len(u), -1) for u, v in ((eps, eps_hat), (mean_q, mean_p.detach()), (mean_q, mean_q)))
    log_ratio = logvar_p.reshape(len(eps), -1) - var_q.log()[:, None] + c
    kl = 0.5 * (log_ratio + torch.expm1(-log_ratio) + b**2 * torch.exp(-logvar_p.reshape(len(eps), -1)))
    return torch.einsum("bi,bi->b", a, a) + weight * kl.sum(1)


def mended_tau(alpha_bar, x_t, x0_hat, o, s, t, z):
    a, b = alpha_bar[s].item(), alpha_bar[t].item()
    share = 1 - (b * (1 - a)) / ((1 - b) * a)
    x_s = math.sqrt(a) * share * x0_hat + math.sqrt(b / a) * (1 - a) / (1 - b) * x_t
    if s > 0:
        low, high = math.log((1 - a) * share), math.log((1 - b) * share)
        x_s = x_s + torch.exp((low + (high - low) * (o + 1) / 2) / 2) * z
    return x_s


def mended_powers(alpha_bar, x_t, x0_hat, o, s, t, z):
    ratio = alpha_bar[t] / alpha_bar[s]
    left = (1 - alpha_bar[s]) / (1 - alpha_bar[t])
    eps = (x_t - alpha_bar[t].sqrt() * x0_hat) / (1 - alpha_bar[t]).sqrt()
    x_s = alpha_bar[s].sqrt() * x0_hat + ratio.sqrt() * left * (1 - alpha_bar[t]).sqrt() * eps
    variance = (1 - ratio) * left ** ((1 - o) / 2) if s else torch.zeros_like(o)
    return x_s + variance.sqrt() * z


RIGHT = {
    "optimal_variance": [optimal_snr, optimal_loop],
    "learned_logvar": [logvar_lerp, logvar_loop],
    "hybrid_loss": [hybrid_distributions, hybrid_einsum],
    "mended_step": [mended_tau, mended_powers],
}
