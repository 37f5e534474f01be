"""Right answers of lesson 07, written differently from the reference and from each other."""

import math

import torch


def prior_term_torch(alpha_bar, x0):
    q = torch.distributions.Normal(alpha_bar[-1].sqrt() * x0, (1 - alpha_bar[-1]).sqrt())
    p = torch.distributions.Normal(torch.zeros_like(x0), torch.ones_like(x0))
    return torch.distributions.kl_divergence(q, p).sum(dim=tuple(range(1, x0.ndim)))


def prior_term_loop(alpha_bar, x0):
    a, out = alpha_bar[len(alpha_bar) - 1].item(), []
    for x in x0.reshape(len(x0), -1):
        out.append(a * (x @ x) / 2 - len(x) * (a + math.log1p(-a)) / 2)
    return torch.stack(out)


def step_kl_torch(mean_q, var_q, mean_p, var_p):
    shape = [-1] + [1] * (mean_q.ndim - 1)
    q = torch.distributions.Normal(mean_q, var_q.sqrt().reshape(shape))
    p = torch.distributions.Normal(mean_p, var_p.sqrt().reshape(shape))
    return torch.distributions.kl_divergence(q, p).reshape(len(mean_q), -1).sum(-1)


def step_kl_logs(mean_q, var_q, mean_p, var_p):
    d = mean_q.numel() // len(mean_q)
    s = torch.log(var_q) - torch.log(var_p)
    gap = ((mean_p - mean_q) ** 2).reshape(len(mean_q), d).sum(1)
    return d / 2 * (torch.expm1(s) - s) + gap / var_p / 2


def consistency_terms_loop(log_prior, down, up):
    T = up.shape[1]
    steps = torch.zeros(len(up), T - 1, dtype=up.dtype)
    for t in range(1, T):
        steps[:, t - 1] = up[:, t - 1] - down[:, t]
    return up[:, T - 1] - log_prior, steps, -1.0 * down[:, 0]


def consistency_terms_padded(log_prior, down, up):
    ratio = up - torch.cat([down[:, 1:], log_prior[:, None]], 1)
    return ratio[:, -1], ratio[:, :-1], down[:, 0].neg()


def discretised_log_prob_tails(x, mean, var):
    """From erfcx: log Φ(−a) = −a²/2 + log(erfcx(a/√2)/2), with a the distance of the nearer edge of the bin."""
    offset, std = (x - mean).abs(), var.sqrt().reshape(-1, *[1] * (x.ndim - 1))
    outward = (x > mean).logical_and(x > 0.999) | (x < mean).logical_and(x < -0.999)  # an open bin, seen from the mean
    inward = (x > mean).logical_and(x < -0.999) | (x < mean).logical_and(x > 0.999)
    near = torch.where(inward, torch.full_like(x, -math.inf), (offset - 1 / 255) / std)
    far = torch.where(outward, torch.full_like(x, math.inf), (offset + 1 / 255) / std)
    both = torch.special.ndtr(far) - torch.special.ndtr(near)  # accurate where the bin is not in the tail
    a, b = near.clamp(min=0), far
    scaled = torch.special.erfcx(a / 2**0.5) - torch.special.erfcx(b / 2**0.5) * torch.exp((a * a - b * b) / 2)
    return torch.where(near > 1, -a * a / 2 + torch.log(scaled / 2), both.log()).flatten(1).sum(1)


def discretised_log_prob_loop(x, mean, var):
    out = []
    for row, m, v in zip(x.flatten(1), mean.flatten(1), var, strict=True):
        total = 0.0
        for pixel, centre in zip(row, m, strict=True):
            side = -1.0 if pixel > centre else 1.0  # mirror, so that the bin lies below the mean
            a, b = sorted((side * (pixel - 1 / 255 - centre), side * (pixel + 1 / 255 - centre)))
            if pixel.abs() > 0.999:
                a, b = (-torch.inf + 0 * a, b) if side * pixel < 0 else (a, torch.inf + 0 * b)
            la, lb = torch.special.log_ndtr(a / v.sqrt()), torch.special.log_ndtr(b / v.sqrt())
            total = total + lb + torch.log1p(-torch.exp(la - lb))
        out.append(total)
    return torch.stack(out)


def bound_in_bits_loop(prior, steps, reconstruction, dims):
    total = prior.clone()
    for t in range(steps.shape[2]):
        total += steps[:, :, t].mean(1)
    total += reconstruction.sum(1) / reconstruction.shape[1]
    return total / math.log(2) / dims


def bound_in_bits_per_draw(prior, steps, reconstruction, dims):
    return ((prior[:, None] + steps.sum(-1) + reconstruction) / dims).mean(-1) * math.log2(math.e)


def draws_of_each_softmax(variance, n):
    """The shares are exp(½ log variance), normalised."""
    return torch.softmax(variance.log() / 2, dim=1).mul(n)


def draws_of_each_multiplier(variance, n):
    """variance_t/n_t² = λ for all t, and λ = (Σ σ/n)², row by row in plain numbers."""
    rows = []
    for row in variance.tolist():
        multiplier = (sum(math.sqrt(v) for v in row) / n) ** 2
        rows.append([math.sqrt(v / multiplier) for v in row])
    return torch.tensor(rows, dtype=variance.dtype)


RIGHT = {
    "prior_term": [prior_term_torch, prior_term_loop],
    "step_kl": [step_kl_torch, step_kl_logs],
    "consistency_terms": [consistency_terms_loop, consistency_terms_padded],
    "discretised_log_prob": [discretised_log_prob_tails, discretised_log_prob_loop],
    "bound_in_bits": [bound_in_bits_loop, bound_in_bits_per_draw],
    "draws_of_each": [draws_of_each_softmax, draws_of_each_multiplier],
}
