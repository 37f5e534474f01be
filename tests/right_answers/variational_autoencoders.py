"""Right answers of variational_autoencoders, written differently from the reference and from each other."""

import math

import torch


def standard_kl_torch(mean, logvar):
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return torch.distributions.kl_divergence(q, p).sum(1)


def standard_kl_loop(mean, logvar):
    out = torch.zeros(len(mean), dtype=mean.dtype)
    for m, s in zip(mean.T, logvar.T, strict=True):
        out = out + (m.square() + torch.expm1(s) - s) / 2
    return out


def reparameterize_root(mean, logvar, eps):
    return torch.addcmul(mean, torch.sqrt(torch.exp(logvar)), eps)


def reparameterize_distribution(mean, logvar, eps):
    return eps * torch.exp(logvar / 2) + mean


def score_gradient_autograd(values, logvar, eps):
    mean, free = torch.zeros_like(logvar).requires_grad_(), logvar.clone().requires_grad_()
    z = (0.5 * logvar).exp() * eps
    log_q = -0.5 * ((z - mean) ** 2 / free.exp() + free).sum(1)
    return torch.autograd.grad((values * log_q).mean(), (mean, free))


def score_gradient_matmul(values, logvar, eps):
    L = len(values)
    return values @ eps / logvar.exp().sqrt() / L, values @ (eps * eps - 1) / (2 * L)


def bernoulli_softplus(logits, x):
    a = torch.where(x == 1, logits, -logits)
    return -torch.nn.functional.softplus(-a).reshape(len(x), -1).sum(-1)


def bernoulli_bce(logits, x):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return -loss.sum(dim=tuple(range(1, x.ndim)))


def gaussian_log_likelihood_torch(mean, log_variance, x):
    law = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    return law.log_prob(x).reshape(len(x), -1).sum(-1)


def gaussian_log_likelihood_counts(mean, log_variance, x):
    D = x[0].numel()
    error = (x - mean).square().sum(dim=tuple(range(1, x.ndim)))
    return -error / (2 * torch.exp(log_variance)) - D / 2 * (log_variance + math.log(2 * math.pi))


def effective_beta_two_equations(loss, B, D, d):
    """loss = a R + b K at two inputs, with an R and a K of every example that are not 0: solved for a and b."""
    rows, seen = [], []
    for logit, log_variance in ((2.0, 0.5), (-1.0, 3.0)):
        x = torch.ones(B, D, dtype=torch.float64)
        code = torch.full((B, d), 0.5, dtype=torch.float64)
        seen.append(loss(x, logit * x, code, torch.full_like(code, log_variance)))
        R = D * math.log1p(math.exp(-logit))
        K = d * (0.25 + math.exp(log_variance) - 1 - log_variance) / 2
        rows.append([R, K])
    a, b = torch.linalg.solve(torch.tensor(rows, dtype=torch.float64), torch.stack(seen))
    return b / a


def effective_beta_gradients(loss, B, D, d):
    """∂R/∂logit = ½ at x = 0 and logit 0, ∂K/∂mean = 1 at mean 1: summed over all, B D a/2 and B d b, each over B."""
    x = torch.zeros(B, D, dtype=torch.float64)
    logits, mean = torch.zeros_like(x, requires_grad=True), torch.ones(B, d, dtype=torch.float64, requires_grad=True)
    by_logits, by_mean = torch.autograd.grad(loss(x, logits, mean, torch.zeros_like(mean)), (logits, mean))
    return by_mean.sum() / d / (2 * by_logits.sum() / D)


RIGHT = {
    "gaussian_log_likelihood": [gaussian_log_likelihood_torch, gaussian_log_likelihood_counts],
    "standard_kl": [standard_kl_torch, standard_kl_loop],
    "reparameterize": [reparameterize_root, reparameterize_distribution],
    "score_function_gradient": [score_gradient_autograd, score_gradient_matmul],
    "bernoulli_log_likelihood": [bernoulli_softplus, bernoulli_bce],
    "effective_beta": [effective_beta_two_equations, effective_beta_gradients],
}
