"""Right answers of homework 2, written differently from the reference and from each other."""

import math

import torch
import torch.nn.functional as F

from dlgm.course.hw2 import network


def logsnr_chain_loop(T, first, last):
    alpha_bar, beta = [1.0], [0.0]
    for t in range(1, T + 1):
        logsnr = first + (t - 1) / (T - 1) * (last - first)
        alpha_bar.append(1 / (1 + math.exp(-logsnr)))
        beta.append((alpha_bar[-2] - alpha_bar[-1]) / alpha_bar[-2])
    return torch.tensor(alpha_bar, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)


def logsnr_chain_snr(T, first, last):
    snr = torch.linspace(first, last, T, dtype=torch.float64).exp()
    alpha_bar = F.pad(snr / (1 + snr), (1, 0), value=1.0)
    return alpha_bar, F.pad(-torch.diff(alpha_bar) / alpha_bar[:-1], (1, 0))


def drifting_kernel_standard(alpha_bar, m, kappa, x0, t, eps):
    a = alpha_bar[t].view(-1, *([1] * (x0.dim() - 1))).to(x0.dtype)
    y = torch.sqrt(a) * ((x0 - m) / kappa) + torch.sqrt(1 - a) * eps
    return m + kappa * y


def drifting_kernel_loop(alpha_bar, m, kappa, x0, t, eps):
    rows = []
    for x, e, k in zip(x0, eps, t.tolist(), strict=True):
        a = alpha_bar[k].item()
        rows.append((1 - math.sqrt(a)) * m + math.sqrt(a) * x + kappa * math.sqrt(1 - a) * e)
    return torch.stack(rows)


def drifting_posterior_gain(alpha_bar, m, kappa, x0, x_t, s, t):
    """Bayes for a linear observation: prior N(m + √ᾱ_s (x_0 − m), κ²(1−ᾱ_s)), x_t = m + √keep (x_s − m) + noise."""

    def wide(c):
        return c.view(-1, *([1] * (x0.dim() - 1)))

    keep, prior_var = alpha_bar[t] / alpha_bar[s], kappa**2 * (1 - alpha_bar[s])
    prior = m + wide(alpha_bar[s].sqrt()) * (x0 - m)
    evidence = keep * prior_var + kappa**2 * (1 - keep)
    gain = keep.sqrt() * prior_var / evidence
    mean = prior + wide(gain) * (x_t - m - wide(keep.sqrt()) * (prior - m))
    return mean, prior_var * (1 - gain * keep.sqrt())


def drifting_posterior_loop(alpha_bar, m, kappa, x0, x_t, s, t):
    means, variances = [], []
    for x, y, i, k in zip(x0, x_t, s.tolist(), t.tolist(), strict=True):
        a, b = alpha_bar[i].item(), alpha_bar[k].item()
        c_0, c_t = (a - b) / math.sqrt(a) / (1 - b), math.sqrt(b / a) * (1 - a) / (1 - b)
        means.append((1 - c_0 - c_t) * m + c_0 * x + c_t * y)
        variances.append(kappa * kappa * (1 - a) * (1 - b / a) / (1 - b))
    return torch.stack(means), torch.tensor(variances, dtype=alpha_bar.dtype)


def drifting_prior_term_torch(alpha_bar, m, kappa, x0):
    normal = torch.distributions.Normal
    mean = m + alpha_bar[-1].sqrt() * (x0 - m)
    q = normal(mean, (kappa * (1 - alpha_bar[-1]).sqrt()).expand_as(mean))
    p = normal(m.expand_as(mean), torch.full_like(mean, kappa))
    return torch.distributions.kl_divergence(q, p).reshape(len(x0), -1).sum(1)


def drifting_prior_term_counts(alpha_bar, m, kappa, x0):
    bar, D = alpha_bar[-1].item(), x0[0].numel()
    square = ((x0 - m) / kappa).pow(2).sum(dim=tuple(range(1, x0.ndim)))
    return bar / 2 * square - D / 2 * (bar + math.log(1 - bar))


def learned_variance_kl_torch(alpha_bar, kappa, mean, mean_hat, v, t):
    shape = (-1, *[1] * (mean.dim() - 1))
    beta = (1 - alpha_bar[t] / alpha_bar[t - 1]).reshape(shape)
    posterior = beta * ((1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])).reshape(shape)
    q = torch.distributions.Normal(mean, kappa * posterior.sqrt().expand_as(mean))
    p = torch.distributions.Normal(mean_hat, kappa * (beta**v * posterior ** (1 - v)).sqrt())
    return torch.distributions.kl_divergence(q, p).flatten(1).sum(1)


def learned_variance_kl_loop(alpha_bar, kappa, mean, mean_hat, v, t):
    out = []
    for a, b, w, k in zip(mean, mean_hat, v, t.tolist(), strict=True):
        beta, share = 1 - alpha_bar[k] / alpha_bar[k - 1], (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])
        r, sigma2 = share**w, kappa**2 * beta * share ** (1 - w)
        out.append(((r - 1 - r.log()) / 2 + (a - b) ** 2 / sigma2 / 2).sum())
    return torch.stack(out)


def _log_difference(low, high):
    """log (S(high) − S(low)), by way of the smaller tails."""
    low, high = torch.where(low + high > 0, -high, low), torch.where(low + high > 0, -low, high)
    return F.logsigmoid(high) + torch.log1p(-torch.exp(F.logsigmoid(low) - F.logsigmoid(high)))


def logistic_decoder_infinite(x, mean, log_scale, levels):
    k = torch.round((x + 1) * (levels - 1) / 2)
    infinite = torch.full_like(x, torch.inf)
    scale = log_scale.exp()
    low = torch.where(k == 0, -infinite, (2 * k - 1) / (levels - 1) - 1 - mean) / scale
    high = torch.where(k == levels - 1, infinite, (2 * k + 1) / (levels - 1) - 1 - mean) / scale
    return _log_difference(low, high).reshape(len(x), -1).sum(-1)


def logistic_decoder_softplus(x, mean, log_scale, levels):
    """log S(b) = −softplus(−b), log S(−a) = −softplus(a), and log (1 − e^{a−b}) where there are two ends."""
    h, inverse = 1 / (levels - 1), torch.exp(-log_scale)
    upper, lower = (x + h - mean) * inverse, (x - h - mean) * inverse
    black, white = torch.isclose(x, -torch.ones_like(x)), torch.isclose(x, torch.ones_like(x))
    inside = torch.log(1 - torch.exp(-2 * h * inverse)) * (~black & ~white)
    terms = inside - F.softplus(-upper).masked_fill(white, 0) - F.softplus(lower).masked_fill(black, 0)
    return terms.flatten(1).sum(1)


def min_snr_loss_where(eps, eps_hat, alpha_bar, kappa, t, gamma):
    snr = alpha_bar[t] / (1 - alpha_bar[t])
    weight = torch.where(snr < gamma, torch.ones_like(snr), gamma / snr)
    error = (eps - eps_hat).pow(2).sum(dim=tuple(range(1, eps.ndim)))
    return weight * error, weight * snr / kappa**2


def min_snr_loss_loop(eps, eps_hat, alpha_bar, kappa, t, gamma):
    losses, weights = [], []
    for e, g, k in zip(eps, eps_hat, t.tolist(), strict=True):
        snr = alpha_bar[k] / (1 - alpha_bar[k])
        losses.append(min(1.0, gamma / snr) * F.mse_loss(g, e, reduction="sum"))
        weights.append(snr.clamp(max=gamma) / kappa / kappa)
    return torch.stack(losses), torch.stack(weights)


def logsnr_features_loop(alpha_bar, t, dim):
    def logsnr(k):
        return math.log(alpha_bar[k].item()) - math.log1p(-alpha_bar[k].item())

    T, rows = len(alpha_bar) - 1, []
    for k in t.tolist():
        u = (logsnr(k) - logsnr(T)) / (logsnr(1) - logsnr(T))
        waves = [f(math.pi * 2**i * u) for f in (math.sin, math.cos) for i in range(dim // 2)]
        rows.append(torch.tensor(waves, dtype=torch.float64))
    return torch.stack(rows)


def logsnr_features_doubling(alpha_bar, t, dim):
    """sin 2a and cos 2a from sin a and cos a."""
    snr = alpha_bar[1:] / (1 - alpha_bar[1:])
    u = torch.log(snr[t - 1] / snr[-1]) / torch.log(snr[0] / snr[-1])
    sines, cosines = [torch.sin(math.pi * u)], [torch.cos(math.pi * u)]
    for _ in range(dim // 2 - 1):
        s, c = sines[-1], cosines[-1]
        sines.append(2 * s * c), cosines.append(c * c - s * s)
    return torch.stack(sines + cosines, dim=-1)


def shuffle_pixels_slices(x, r, way):
    if way == "down":
        return torch.cat([x[:, :, i::r, j::r] for i in range(r) for j in range(r)], 1)
    out = x.new_empty(len(x), x.shape[1] // r**2, x.shape[2] * r, x.shape[3] * r)
    for n, part in enumerate(x.chunk(r * r, 1)):
        out[:, :, n // r :: r, n % r :: r] = part
    return out


def shuffle_pixels_torch(x, r, way):
    if way == "down":
        y = F.pixel_unshuffle(x, r)
        return y.unflatten(1, (-1, r * r)).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(x.unflatten(1, (r * r, -1)).transpose(1, 2).flatten(1, 2), r)


def _group_norm(x, groups):
    parts = x.reshape(len(x), groups, -1)
    centred = parts - parts.mean(2, keepdim=True)
    return (centred * torch.rsqrt(parts.var(2, keepdim=True, correction=0) + 1e-5)).reshape(x.shape)


def gated_block_by_hand(x, e, w1, b1, w_time, b_time, w2, b2, w_skip, groups):
    c = len(b1)
    told = (e * torch.sigmoid(e)) @ w_time.T + b_time
    scale, shift, gate = (told[:, n * c : (n + 1) * c, None, None] for n in range(3))
    h = _group_norm(x, groups)
    h = F.conv2d(h * torch.sigmoid(h), w1, padding="same") + b1[:, None, None]
    h = _group_norm(h, groups) * (1 + scale) + shift
    h = F.conv2d(h * torch.sigmoid(h), w2, padding="same") + b2[:, None, None]
    return torch.einsum("oi,bihw->bohw", w_skip[:, :, 0, 0], x) + h * gate


def gated_block_modules(x, e, w1, b1, w_time, b_time, w2, b2, w_skip, groups):
    rows = []
    norm = torch.nn.GroupNorm
    for one, told in zip(x, e, strict=True):
        s, b, g = (torch.mv(w_time, F.silu(told)) + b_time).reshape(3, -1, 1, 1)
        h = F.conv2d(F.silu(norm(groups, len(one), affine=False)(one[None])), w1, b1, stride=1, padding=(1, 1))
        h = torch.addcmul(b, norm(groups, len(b1), affine=False)(h), s + 1)
        rows.append(F.conv2d(F.silu(h), w2, b2, padding=1) * g + F.conv2d(one[None], w_skip))
    return torch.cat(rows)


def train_denoiser_lists(x0, features, alpha_bar, index, t, eps, theta, width, lr, decay):
    """Six tensors for the optimiser, torch's own layers, the average as a lerp."""
    D, n = x0.shape[1], x0.shape[1] + features.shape[1]
    shapes = [(width, n), (width,), (width, width), (width,), (D, width), (D,)]
    parts = [p.clone() for p in theta.split([math.prod(s) for s in shapes])]
    parts = [p.view(s).requires_grad_() for p, s in zip(parts, shapes, strict=True)]
    average, adam = theta.clone(), torch.optim.Adam(parts, lr=lr)
    for step in range(len(index)):
        i, k = index[step], t[step]
        signal, noise = alpha_bar[k].sqrt().unsqueeze(1), (1 - alpha_bar[k]).sqrt().unsqueeze(1)
        h = torch.hstack([signal * x0[i] + noise * eps[step], features[k]])
        h = F.silu(F.linear(F.silu(F.linear(h, *parts[:2])), *parts[2:4]))
        loss = F.mse_loss(F.linear(h, *parts[4:]), eps[step])
        adam.zero_grad()
        loss.backward()
        adam.step()
        average.lerp_(torch.cat([p.detach().flatten() for p in parts]), 1 - decay)
    return average


def train_denoiser_own_adam(x0, features, alpha_bar, index, t, eps, theta, width, lr, decay):
    """Adam written out."""
    theta, average = theta.clone(), theta.clone()
    first, second = torch.zeros_like(theta), torch.zeros_like(theta)
    for n in range(len(t)):
        bar = alpha_bar[t[n]].reshape(-1, 1)
        x_t = x0[index[n]] * bar**0.5 + eps[n] * (1 - bar) ** 0.5
        free = theta.clone().requires_grad_()
        error = eps[n] - network(free, x_t, features[t[n]], width)
        (g,) = torch.autograd.grad((error * error).mean(), free)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        root = (second / (1 - 0.999 ** (n + 1))).sqrt() + 1e-8
        theta = theta - lr * first / (1 - 0.9 ** (n + 1)) / root
        average = average + (1 - decay) * (theta - average)
    return average


def drifting_step_by_x0(alpha_bar, m, kappa, x_t, eps_hat, v, s, t, z):
    """By way of x̂_0 and the posterior mean."""

    def wide(c):
        return c.reshape(-1, *[1] * (x_t.ndim - 1))

    a, b = wide(alpha_bar[s]), wide(alpha_bar[t])
    y = (x_t - m - kappa * (1 - b).sqrt() * eps_hat) / b.sqrt()  # x̂_0 − m
    mean = m + (a.sqrt() * (1 - b / a) * y + (b / a).sqrt() * (1 - a) * (x_t - m)) / (1 - b)
    beta = 1 - b / a
    std = kappa * beta.sqrt() * ((1 - a) / (1 - b)) ** ((1 - v) / 2)
    return mean + torch.where(wide(s) == 0, torch.zeros_like(z), std * z)


def drifting_step_loop(alpha_bar, m, kappa, x_t, eps_hat, v, s, t, z):
    rows = []
    for n in range(len(x_t)):
        a, b = alpha_bar[s[n]].item(), alpha_bar[t[n]].item()
        y, root = (x_t[n] - m) / kappa, math.sqrt(b / a)
        y = (y - (1 - b / a) / math.sqrt(1 - b) * eps_hat[n]) / root
        if s[n] > 0:
            low, high = math.log((1 - b / a) * (1 - a) / (1 - b)), math.log(1 - b / a)
            y = y + torch.exp((low + v[n] * (high - low)) / 2) * z[n]
        rows.append(m + kappa * y)
    return torch.stack(rows)


RIGHT = {
    "logsnr_chain": [logsnr_chain_loop, logsnr_chain_snr],
    "drifting_kernel": [drifting_kernel_standard, drifting_kernel_loop],
    "drifting_posterior": [drifting_posterior_gain, drifting_posterior_loop],
    "drifting_prior_term": [drifting_prior_term_torch, drifting_prior_term_counts],
    "learned_variance_kl": [learned_variance_kl_torch, learned_variance_kl_loop],
    "logistic_decoder": [logistic_decoder_infinite, logistic_decoder_softplus],
    "min_snr_loss": [min_snr_loss_where, min_snr_loss_loop],
    "logsnr_features": [logsnr_features_loop, logsnr_features_doubling],
    "shuffle_pixels": [shuffle_pixels_slices, shuffle_pixels_torch],
    "gated_block": [gated_block_by_hand, gated_block_modules],
    "train_denoiser": [train_denoiser_lists, train_denoiser_own_adam],
    "drifting_step": [drifting_step_by_x0, drifting_step_loop],
}
