"""Right answers of lesson 09, written differently from the reference and from each other."""

import math

import torch


def ddpm_training_loss_views(predict, x0, u, eps, alpha_bar):
    t = torch.floor(u * (alpha_bar.numel() - 1)).to(torch.int64) + 1
    a = alpha_bar[t].view(-1, *([1] * (x0.dim() - 1))).to(x0.dtype)
    guess = predict(torch.sqrt(a) * x0 + torch.sqrt(1 - a) * eps, t)
    return ((guess - eps) ** 2).mean(tuple(range(1, x0.dim()))), t


def ddpm_training_loss_loop(predict, x0, u, eps, alpha_bar):
    T, losses, times = len(alpha_bar) - 1, [], []
    for x, e, w in zip(x0, eps, u.tolist(), strict=True):
        t = int(w * T) + 1
        a = alpha_bar[t].item()
        x_t = math.sqrt(a) * x[None] + math.sqrt(1 - a) * e[None]
        losses.append(torch.nn.functional.mse_loss(predict(x_t, torch.tensor([t])), e[None]))
        times.append(t)
    return torch.stack(losses), torch.tensor(times)


def ddpm_sampling_step_by_x0(x_t, eps_hat, t, alpha_bar, z):
    """By way of x̂_0 and the posterior mean."""
    now, before = alpha_bar[t].item(), alpha_bar[t - 1].item()
    beta = 1 - now / before
    x0 = (x_t - math.sqrt(1 - now) * eps_hat) / math.sqrt(now)
    mean = (math.sqrt(before) * beta * x0 + math.sqrt(1 - beta) * (1 - before) * x_t) / (1 - now)
    return mean + math.sqrt(beta) * (t > 1) * z


def ddpm_sampling_step_score(x_t, eps_hat, t, alpha_bar, z):
    """x_t + β_t score, rescaled."""
    beta = (1 - alpha_bar[t] / alpha_bar[t - 1]).item()
    score = -eps_hat / (1 - alpha_bar[t].item()) ** 0.5
    z = torch.zeros_like(z) if t == 1 else z
    return torch.rsqrt(torch.tensor(1 - beta, dtype=torch.float64)).to(x_t.dtype) * (x_t + beta * score) + beta**0.5 * z


def time_features_loop(t, dim, max_period):
    out = torch.empty(len(t), dim, dtype=t.dtype)
    for i in range(dim // 2):
        rate = math.exp(-math.log(max_period) * 2 * i / dim)
        out[:, i], out[:, dim // 2 + i] = torch.sin(t * rate), torch.cos(t * rate)
    return out


def time_features_complex(t, dim, max_period):
    rate = torch.logspace(0, -1 + 2 / dim, dim // 2, base=max_period, dtype=torch.float64)
    z = torch.polar(torch.ones(len(t), dim // 2, dtype=torch.float64), torch.outer(t.double(), rate))
    return torch.hstack([z.imag, z.real]).to(t.dtype)


def adaptive_group_norm_torch(h, scale, shift, groups):
    normed = torch.nn.functional.group_norm(h, groups)
    return torch.addcmul(shift[..., None, None], normed, 1 + scale[..., None, None])


def adaptive_group_norm_loop(h, scale, shift, groups):
    rows = []
    for x, s, b in zip(h, scale, shift, strict=True):
        parts = [(p - p.mean()) * torch.rsqrt(p.var(correction=0) + 1e-5) for p in x.chunk(groups)]
        normed = torch.cat(parts).movedim(0, -1)
        rows.append((normed + normed * s + b).movedim(-1, 0))
    return torch.stack(rows)


def attention_torch(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def attention_einsum(q, k, v):
    e = torch.einsum("bnd,bmd->bnm", q * q.shape[-1] ** -0.5, k).exp()
    return torch.einsum("bnm,bme->bne", e / e.sum(-1, keepdim=True), v)


def ema_update_lerp(average, weights, decay, n):
    warm = (1 + n) / (10 + n)
    return torch.lerp(average, weights, 1 - (warm if warm < decay else decay))


def ema_update_step(average, weights, decay, n):
    return average + (weights - average) * max(1 - decay, 9 / (10 + n))


def times_inside_noise(loss, alpha_bar, u):
    """x_0 = 0, ε = 1: x_t is √(1 − ᾱ), looked up one example after another."""
    notes = {}

    def predict(x_t, t):
        notes.update(x_t=x_t.tolist(), t=t.clone())
        return torch.zeros_like(x_t)

    clean = torch.zeros(len(u), dtype=torch.float64)
    loss(predict, clean, u, clean + 1)
    levels = [math.sqrt(1 - a) for a in alpha_bar.tolist()]
    places = [min(range(len(levels)), key=lambda k, x=x: abs(levels[k] - x)) for x in notes["x_t"]]
    return notes["t"], torch.tensor(places)


def times_inside_edges(loss, alpha_bar, u):
    """Pictures of 3s, and the number of halfway marks between neighbours of the table that ᾱ lies below."""

    class Spy(torch.nn.Module):
        def forward(self, x_t, t):
            self.level, self.t = (x_t[:, 0, 0, 0] / 3) ** 2, t
            return x_t

    spy, x0 = Spy(), torch.full((len(u), 1, 2, 5), 3.0)
    loss(spy, x0, u, torch.zeros_like(x0))
    halfway = (alpha_bar[1:] + alpha_bar[:-1]) / 2
    return spy.t, (spy.level[:, None] < halfway).sum(1)


RIGHT = {
    "ddpm_training_loss": [ddpm_training_loss_views, ddpm_training_loss_loop],
    "ddpm_sampling_step": [ddpm_sampling_step_by_x0, ddpm_sampling_step_score],
    "time_features": [time_features_loop, time_features_complex],
    "adaptive_group_norm": [adaptive_group_norm_torch, adaptive_group_norm_loop],
    "attention": [attention_torch, attention_einsum],
    "ema_update": [ema_update_lerp, ema_update_step],
    "times_inside": [times_inside_noise, times_inside_edges],
}
