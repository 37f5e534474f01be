"""Right answers of lesson 12, written differently from the reference and from each other."""

import math

import torch


def mixture_score_autograd(x, weights, means, variances):
    x = x.clone().requires_grad_()
    law = torch.distributions.Normal(means, variances.sqrt()[:, None])
    log_p = torch.logsumexp(weights.log() + law.log_prob(x[:, None]).sum(-1), 1)
    return torch.autograd.grad(log_p.sum(), x)[0]


def mixture_score_vmap(x, weights, means, variances):
    """The gradient of one point's log p, for all points at once."""

    def log_p(point):
        square = (point - means).square().sum(1)
        return torch.logsumexp(weights.log() - (len(point) * variances.log() + square / variances) / 2, 0)

    return torch.func.vmap(torch.func.grad(log_p))(x)


def mixture_score_cdist(x, weights, means, variances):
    """Distances by cdist as it comes: beyond 25 points it takes another route."""
    log_joint = weights.log() - x.shape[1] / 2 * variances.log() - torch.cdist(x, means) ** 2 / (2 * variances)
    pull = log_joint.softmax(1) / variances
    return torch.einsum("bk,kd->bd", pull, means) - x * pull.sum(1, keepdim=True)


def mixture_score_matmul(x, weights, means, variances):
    """Distances by cdist and two matrix products: (Σ_k r_k μ_k/v_k) − x Σ_k r_k/v_k."""
    log_joint = weights.log() - x.shape[1] / 2 * (2 * math.pi * variances).log()
    log_joint = log_joint - torch.cdist(x, means, compute_mode="donot_use_mm_for_euclid_dist") ** 2 / (2 * variances)
    pull = (log_joint - torch.logsumexp(log_joint, 1, keepdim=True)).exp() / variances
    return pull @ means - x * pull.sum(1, keepdim=True)


def implicit_loss_einsum(s, jacobian):
    return torch.einsum("bi,bi->b", s, s) / 2 + torch.einsum("bii->b", jacobian)


def implicit_loss_loop(s, jacobian):
    return torch.stack([a @ a / 2 + torch.trace(J) for a, J in zip(s, jacobian, strict=True)])


def sliced_loss_einsum(s, jacobian, v):
    curvature = torch.einsum("bmi,bij,bmj->bm", v, jacobian, v)
    return (curvature + torch.einsum("bmi,bi->bm", v, s) ** 2 / 2).sum(1) / v.shape[1]


def sliced_loss_loop(s, jacobian, v):
    out = []
    for a, J, directions in zip(s, jacobian, v, strict=True):
        terms = [d @ J @ d + 0.5 * (d @ a) ** 2 for d in directions]
        out.append(sum(terms) / len(terms))
    return torch.stack(out)


def denoising_loss_by_x_t(score, x0, eps, t, alpha_bar):
    """The score of the kernel as −(x_t − √ᾱ_t x_0)/(1−ᾱ_t), in float64."""
    a = alpha_bar[t].view(-1, *([1] * (x0.dim() - 1)))
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * eps
    truth = -(x_t - a.sqrt() * x0) / (1 - a)
    error = score(x_t.to(x0.dtype), t) - truth.to(x0.dtype)
    return (error**2).reshape(len(x0), -1).sum(-1) / 2


def denoising_loss_loop(score, x0, eps, t, alpha_bar):
    out = []
    for i in range(len(x0)):
        a = alpha_bar[int(t[i])].item()
        x_t = math.sqrt(a) * x0[i : i + 1] + math.sqrt(1 - a) * eps[i : i + 1]
        out.append(torch.linalg.vector_norm(score(x_t, t[i : i + 1])[0] + eps[i] / math.sqrt(1 - a)) ** 2 / 2)
    return torch.stack(out)


def langevin_move_add(x, score, h, z):
    return torch.add(x.add(score, alpha=h), z, alpha=(2 * h) ** 0.5)


def langevin_move_gaussian(x, score, h, z):
    """A draw of N(x + h s, 2h I)."""
    mean, variance = x + score * h, torch.full_like(x, 2 * h)
    return mean + variance.sqrt() * z


def annealed_langevin_indices(score, x, sigmas, step, z):
    for i in range(len(sigmas)):
        for k in range(z.shape[1]):
            x = x + step * sigmas[i] ** 2 * score(x, sigmas[i]) + math.sqrt(2 * step) * sigmas[i] * z[i, k]
    return x


def annealed_langevin_examples(score, x, sigmas, step, z):
    """One example after another, σ a plain number."""
    out = []
    for b in range(len(x)):
        y = x[b : b + 1]
        for i, sigma in enumerate(sigmas.tolist()):
            for noise in z[i, :, b : b + 1]:
                y = langevin_move_add(y, score(y, sigma), step * sigma**2, noise)
        out.append(y)
    return torch.cat(out)


def ladder_variance_settling(data_var, sigmas, step, K, start):
    """In numbers: the distance to the variance v/(1 − h/2v) at which a level settles shrinks by a² a move."""
    variance = start
    for sigma in sigmas.tolist():
        v, h = data_var + sigma**2, step * sigma**2
        settled = v / (1 - h / (2 * v))
        variance = settled + (1 - h / v) ** (2 * K) * (variance - settled)
    return torch.tensor(variance, dtype=torch.float64)


def ladder_variance_noises(data_var, sigmas, step, K, start):
    """What is left at the end of start and of each noise, all moves of the ladder in one row."""
    every = sigmas.repeat_interleave(K).square()
    a = (1 - step * every / (data_var + every)).square()
    left = torch.cat([a, torch.ones(1, dtype=torch.float64)]).flip(0).cumprod(0).flip(0)
    return torch.cat([torch.tensor([start], dtype=torch.float64), 2 * step * every]) @ left


RIGHT = {
    "mixture_score": [mixture_score_autograd, mixture_score_vmap, mixture_score_matmul, mixture_score_cdist],
    "implicit_loss": [implicit_loss_einsum, implicit_loss_loop],
    "sliced_loss": [sliced_loss_einsum, sliced_loss_loop],
    "denoising_loss": [denoising_loss_by_x_t, denoising_loss_loop],
    "langevin_move": [langevin_move_add, langevin_move_gaussian],
    "annealed_langevin": [annealed_langevin_indices, annealed_langevin_examples],
    "ladder_variance": [ladder_variance_settling, ladder_variance_noises],
}
