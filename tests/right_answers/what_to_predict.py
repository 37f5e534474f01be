"""Right answers of lesson 08, written differently from the reference and from each other."""

import math

import torch


def eps_to_x0_views(alpha_bar, x_t, eps, t):
    a = alpha_bar[t].view(-1, *([1] * (x_t.dim() - 1)))
    return torch.rsqrt(a).to(x_t.dtype) * x_t - torch.sqrt(1 / a - 1).to(x_t.dtype) * eps


def eps_to_x0_loop(alpha_bar, x_t, eps, t):
    rows = []
    for i in range(len(x_t)):
        a = alpha_bar[int(t[i])].item()
        rows.append((x_t[i] - math.sqrt(1 - a) * eps[i]) / math.sqrt(a))
    return torch.stack(rows)


def v_target_angle(alpha_bar, x0, eps, t):
    """The angle whose cosine is the signal: v = cos φ ε − sin φ x_0."""
    phi = torch.acos(alpha_bar[t].sqrt())
    phi = phi.reshape([len(x0)] + [1] * (x0.ndim - 1))
    return phi.cos().to(x0.dtype) * eps - phi.sin().to(x0.dtype) * x0


def v_target_by_x_t(alpha_bar, x0, eps, t):
    """v = (√ᾱ_t x_t − x_0)/√(1−ᾱ_t)."""
    out = []
    for x, e, k in zip(x0, eps, t.tolist(), strict=True):
        a = alpha_bar[k].item()
        x_t = math.sqrt(a) * x.double() + math.sqrt(1 - a) * e.double()
        out.append(((math.sqrt(a) * x_t - x.double()) / math.sqrt(1 - a)).to(x0.dtype))
    return torch.stack(out)


def kl_constant_torch(beta_tilde, sigma2, dims):
    zero = torch.zeros_like(sigma2)
    q, p = (torch.distributions.Normal(zero, v**0.5) for v in (beta_tilde, sigma2))
    return dims * torch.distributions.kl_divergence(q, p)


def kl_constant_logs(beta_tilde, sigma2, dims):
    excess = (beta_tilde - sigma2) / sigma2
    return (excess - torch.log1p(excess)) * dims / 2


def vlb_weight_eps_factor(beta, alpha_bar, t, sigma2):
    b, a = beta.gather(0, t), alpha_bar.gather(0, t)
    factor = b / torch.sqrt((1 - b) * (1 - a))
    return factor.square() / sigma2 / 2


def vlb_weight_eps_by_x0(beta, alpha_bar, t, sigma2):
    """By way of c_0: (c_0 √(1−ᾱ_t)/√ᾱ_t)²/(2σ²)."""
    before, now = alpha_bar[t - 1], alpha_bar[t]
    c_0 = before.sqrt() * beta[t] / (1 - now)
    return c_0**2 * (1 - now) / now / (2 * sigma2)


def simple_loss_views(predict, x0, t, eps, alpha_bar):
    a = alpha_bar[t].view(-1, *([1] * (x0.dim() - 1))).to(x0.dtype)
    guess = predict(torch.sqrt(a) * x0 + torch.sqrt(1 - a) * eps, t)
    return ((guess - eps) ** 2).reshape(len(x0), -1).sum(-1)


def simple_loss_loop(predict, x0, t, eps, alpha_bar):
    out = []
    for i in range(len(x0)):
        a = alpha_bar[int(t[i])].item()
        x_t = math.sqrt(a) * x0[i : i + 1] + math.sqrt(1 - a) * eps[i : i + 1]
        out.append(torch.linalg.vector_norm(eps[i] - predict(x_t, t[i : i + 1])[0]) ** 2)
    return torch.stack(out)


def head_of_by_two_questions(network, alpha_bar, c):
    """Without noise only x_0 and v answer, with opposite signs along c; a little noise then tells ε from the score."""
    t = torch.tensor([len(alpha_bar) // 2])
    clean = (alpha_bar[t].sqrt().to(c.dtype) * c)[None]
    along = (network(clean, t)[0] * c).sum().item() / (c * c).sum().item()
    if abs(along) > 0.2:
        return torch.tensor(1 if along > 0 else 2)
    return torch.tensor(0 if network(clean + 0.5, t).mean() > 0 else 3)


def head_of_by_x0(network, alpha_bar, c):
    """Read the answers as each head in turn, and see which reading gives back c."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(1, len(alpha_bar))[len(alpha_bar) // 3 :][:200]
    a = alpha_bar[t].to(c.dtype)[:, None]
    x_t = a.sqrt() * c + (1 - a).sqrt() * torch.randn(len(t), len(c), generator=generator, dtype=c.dtype)
    said = network(x_t, t)
    back = (
        (x_t - (1 - a).sqrt() * said) / a.sqrt(),
        said,
        a.sqrt() * x_t - (1 - a).sqrt() * said,
        (x_t + (1 - a) * said) / a.sqrt(),
    )
    misses = [((b - c) * a.sqrt()).abs().median().item() for b in back]
    return torch.tensor(misses.index(min(misses)))


RIGHT = {
    "eps_to_x0": [eps_to_x0_views, eps_to_x0_loop],
    "v_target": [v_target_angle, v_target_by_x_t],
    "kl_constant": [kl_constant_torch, kl_constant_logs],
    "vlb_weight_eps": [vlb_weight_eps_factor, vlb_weight_eps_by_x0],
    "simple_loss": [simple_loss_views, simple_loss_loop],
    "head_of": [head_of_by_two_questions, head_of_by_x0],
}
