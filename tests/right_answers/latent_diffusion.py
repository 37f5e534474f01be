"""Right answers of latent diffusion, written differently from the reference and from each other."""

import math

import torch
import torch.nn.functional as F

from dlgm.latent import Orthogonal, Scale, logsnr_shift


class _Through(torch.autograd.Function):
    """e forwards, z backwards."""

    @staticmethod
    def forward(ctx, z, e):
        return e.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def through_by_a_function(z, codebook):
    return _Through.apply(z, codebook[torch.cdist(z, codebook).argmin(1)].detach())


def through_by_one_hot(z, codebook):
    with torch.no_grad():
        score = 2 * z @ codebook.T - codebook.square().sum(1)
        e = F.one_hot(score.argmax(1), len(codebook)).to(z.dtype) @ codebook
    return e + z - z.detach()


def through_loop(z, codebook):
    rows = []
    for code in z:
        nearest = min(codebook, key=lambda e, code=code: ((code - e) ** 2).sum().item())
        rows.append(code - (code - nearest).detach())
    return torch.stack(rows)


def codebook_loss_by_mse(z, e, beta):
    return F.mse_loss(e, z.detach()) + beta * F.mse_loss(z, e.detach())


def codebook_loss_by_shares(z, e, beta):
    """One square, of which z and e feel their shares."""

    def felt(x, share):
        return share * x + (x - share * x).detach()

    gap = felt(z, beta / (1 + beta)) - felt(e, 1 / (1 + beta))
    return (1 + beta) * (gap**2).sum() / gap.numel()


def codebook_loss_loop(z, e, beta):
    total = 0.0
    for code, vector in zip(z, e, strict=True):
        still, fixed = code.detach(), vector.detach()
        total = total + torch.dot(vector - still, vector - still) + beta * torch.dot(code - fixed, code - fixed)
    return total / (z.shape[0] * z.shape[1])


def scaled_by_the_package(z):
    return Scale.of(z).down(z)


def scaled_by_the_covariance(z):
    rows = z.transpose(0, 1).flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows * torch.cov(rows).diag().rsqrt()[:, None]
    return rows.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)


def scaled_loop(z):
    out = torch.empty_like(z)
    for c in range(z.shape[1]):
        v = z[:, c] - z[:, c].sum() / z[:, c].numel()
        out[:, c] = v / ((v * v).sum() / (v.numel() - 1)).sqrt()
    return out


def factor_by_log_snr(x_t, t, alpha_bar):
    """The log-SNR that the network meets, minus the one that the schedule means."""
    a = alpha_bar[t].item()
    met = math.log((x_t.double() ** 2).mean().item() - (1 - a)) - math.log(1 - a)
    return torch.tensor(met - (math.log(a) - math.log(1 - a)), dtype=x_t.dtype)


def factor_by_excess(x_t, t, alpha_bar):
    """k² − 1 is the excess of the mean square over 1, divided by ᾱ_t."""
    excess = (x_t.flatten() @ x_t.flatten() / x_t.numel() - 1) / alpha_bar[t].item()
    return torch.log1p(excess)


def factor_by_the_package(x_t, t, alpha_bar):
    a = float(alpha_bar[t])
    k = math.sqrt((x_t.norm().item() ** 2 / x_t.numel() - 1 + a) / a)
    return torch.as_tensor(logsnr_shift(k), dtype=x_t.dtype)


def lost_by_the_package(x, W, noise_var):
    return Orthogonal(W, noise_var).residual(x)


def lost_by_other_directions(x, W, noise_var):
    """Coordinates along columns that complete W, each N(0, s²)."""
    U = torch.linalg.svd(W).U
    law = torch.distributions.Normal(torch.zeros((), dtype=x.dtype), math.sqrt(noise_var))
    return -law.log_prob(x @ U[:, W.shape[1] :]).sum(1)


def lost_by_pythagoras(x, W, noise_var):
    lost = (x**2).sum(1) - ((x @ W) ** 2).sum(1)
    count = x.shape[1] - W.shape[1]
    return lost / (2 * noise_var) + count * (math.log(2 * math.pi) / 2 + math.log(noise_var) / 2)


RIGHT = {
    "straight_through": (through_by_a_function, through_by_one_hot, through_loop),
    "codebook_loss": (codebook_loss_by_mse, codebook_loss_by_shares, codebook_loss_loop),
    "scaled_codes": (scaled_by_the_package, scaled_by_the_covariance, scaled_loop),
    "hidden_factor": (factor_by_log_snr, factor_by_excess, factor_by_the_package),
    "lost_nats": (lost_by_the_package, lost_by_other_directions, lost_by_pythagoras),
}
