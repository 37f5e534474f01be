"""Right answers to homework 1, written differently from the references and from each other."""

import math

import torch

from dlgm.exercises.hw1_elbo_and_vaes import unpack


# ---- exact worlds ---------------------------------------------------------------------------------------------------
def mixture_evidence_max(log_prior, log_likelihood, q):
    log_joint = log_prior[None] + log_likelihood
    top = log_joint.max(1, keepdim=True).values
    log_evidence = (top + torch.log(torch.exp(log_joint - top).sum(1, keepdim=True)))[:, 0]
    safe = torch.where(q > 0, q, 1.0).log()
    elbo = (q * (log_joint - safe)).sum(1)
    gap = (q * (safe - log_joint.log_softmax(1))).sum(1)
    return log_evidence, elbo, gap


def mixture_evidence_loop(log_prior, log_likelihood, q):
    rows = []
    for likelihood, weights in zip(log_likelihood, q, strict=True):
        evidence = torch.tensor(-math.inf, dtype=q.dtype)
        for a, b in zip(log_prior, likelihood, strict=True):
            evidence = torch.logaddexp(evidence, a + b)
        used = [(w, a + b) for w, a, b in zip(weights, log_prior, likelihood, strict=True) if w > 0]
        elbo = sum(w * (joint - w.log()) for w, joint in used)
        gap = sum(w * (w.log() - (joint - evidence)) for w, joint in used)
        rows.append(torch.stack([evidence, elbo, gap]))
    return tuple(torch.stack(rows).T)


def laplace_kl_torch(m1, b1, m2, b2):
    p, q = torch.distributions.Laplace(m1, b1), torch.distributions.Laplace(m2, b2)
    return torch.distributions.kl_divergence(p, q).sum(-1)


def laplace_kl_loop(m1, b1, m2, b2):
    out = torch.zeros(len(m1), dtype=m1.dtype)
    for j in range(m1.shape[1]):
        d, s, r = torch.abs(m2[:, j] - m1[:, j]), b1[:, j], b2[:, j]
        out = out - 1 - torch.log(s) + torch.log(r) + d / r + s / r * torch.exp(-d / s)
    return out


def logistic_sample_sigmoid(mean, log_scale, u):
    s = torch.exp(log_scale)
    y = torch.logit(u)
    return mean + s * y, torch.sum(-y - 2 * torch.nn.functional.softplus(-y) - torch.log(s), dim=-1)


def logistic_sample_transform(mean, log_scale, u):
    base = torch.distributions.Uniform(torch.zeros_like(u), torch.ones_like(u))
    steps = [
        torch.distributions.SigmoidTransform().inv,
        torch.distributions.AffineTransform(mean, log_scale.exp()),
    ]
    law = torch.distributions.TransformedDistribution(base, steps)
    z = mean + log_scale.exp() * torch.log(u / (1 - u))
    return z, law.log_prob(z).sum(1)


def free_bits_torch(mean, logvar, prior_mean, prior_logvar, free):
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    p = torch.distributions.Normal(prior_mean, (0.5 * prior_logvar).exp())
    kl = torch.distributions.kl_divergence(q, p).mean(0)
    return kl, torch.where(kl > free, kl, free).sum()


def free_bits_loop(mean, logvar, prior_mean, prior_logvar, free):
    kls = []
    for j in range(mean.shape[1]):
        v1, v2 = torch.exp(logvar[:, j]), torch.exp(prior_logvar[j])
        squares = (mean[:, j] - prior_mean[j]).square()
        kls.append(torch.mean(0.5 * torch.log(v2 / v1) + (v1 + squares) / (2 * v2) - 0.5))
    return torch.stack(kls), sum(torch.maximum(k, torch.full_like(k, free)) for k in kls)


def binomial_torch(logits, x, top):
    law = torch.distributions.Binomial(top, logits=logits)
    return law.log_prob(x).reshape(len(x), -1).sum(dim=1)


def binomial_logsigmoid(logits, x, top):
    log_p, log_not = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    table = torch.tensor([math.log(math.comb(top, k)) for k in range(top + 1)], dtype=x.dtype)
    return (table[x.long()] + x * log_p + (top - x) * log_not).sum(dim=tuple(range(1, x.ndim)))


def factor_posterior_gain(W, b, noise, x):
    """By conditioning the joint Gaussian of (z, x): gain = Wᵀ Cov(x)⁻¹."""
    gain = torch.linalg.solve(W @ W.T + torch.diag(noise), W).T
    return (x - b) @ gain.T, torch.eye(W.shape[1], dtype=W.dtype) - gain @ W


def factor_posterior_one_by_one(W, b, noise, x):
    """Bayes' rule, one coordinate of x after the other."""
    d = W.shape[1]
    mean, cov = torch.zeros(len(x), d, dtype=W.dtype), torch.eye(d, dtype=W.dtype)
    for w, v, offset in zip(W, noise, (x - b).T, strict=True):
        gain = cov @ w / (w @ cov @ w + v)
        mean = mean + (offset - mean @ w)[:, None] * gain
        cov = cov - torch.outer(gain, w @ cov)
    return mean, cov


def encoder_elbo_traces(W, b, noise, A, c, s, x):
    precision, D, d = torch.diag(1 / noise), len(noise), len(s)
    mean = torch.addmm(c, x, A.T)
    error = x - (mean @ W.T + b)
    fit = ((error @ precision) * error).sum(1) + torch.trace(W.T @ precision @ W @ torch.diag(s))
    reconstruction = -(fit + D * math.log(2 * math.pi) + noise.log().sum()) / 2
    return reconstruction, (mean.square().sum(1) + s.sum() - d - s.log().sum()) / 2


def encoder_elbo_distributions(W, b, noise, A, c, s, x):
    normal, rows, kls = torch.distributions.Normal, [], []
    spread = torch.einsum("ij,j,ij->i", W, s, W)
    for one in x:
        m = A @ one + c
        rows.append((normal(W @ m + b, noise.sqrt()).log_prob(one) - spread / noise / 2).sum())
        prior = normal(torch.zeros_like(m), torch.ones_like(m))
        kls.append(torch.distributions.kl_divergence(normal(m, s.sqrt()), prior).sum())
    return torch.stack(rows), torch.stack(kls)


def vimco_loop(log_w):
    B, K = log_w.shape
    bound = torch.logsumexp(log_w, 1) - math.log(K)
    signal = torch.zeros_like(log_w)
    for k in range(K):
        keep = [j for j in range(K) if j != k]
        replaced = torch.cat([log_w[:, keep], log_w[:, keep].mean(1, keepdim=True)], 1)
        signal[:, k] = bound - (torch.logsumexp(replaced, 1) - math.log(K))
    return bound, signal


def vimco_shifted(log_w):
    """Each replaced row relative to its own largest entry."""
    K, top = log_w.shape[1], log_w.max(1, keepdim=True).values
    bound = (top + torch.log(torch.exp(log_w - top).mean(1, keepdim=True)))[:, 0]
    signal = []
    for k in range(K):
        others = torch.stack([log_w[:, j] for j in range(K) if j != k], 1)
        highest = others.max(1).values  # the stand-in, a mean, lies below
        stand_in = torch.exp(others.mean(1) - highest)
        total = torch.exp(others - highest[:, None]).sum(1) + stand_in
        signal.append(bound - highest - torch.log(total / K))
    return bound, torch.stack(signal, 1)


def collapse_loop(mean, logvar, threshold):
    kls, states, useful = [], [], 0.0
    for m, s in zip(mean.T, logvar.T, strict=True):
        q = torch.distributions.Normal(m, (s / 2).exp())
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean()
        state = 1 if m.var() > threshold else 2 if kl > threshold else 0
        kls.append(kl)
        states.append(state)
        useful = useful + kl * (state == 1)
    return torch.stack(kls), torch.tensor(states), useful / sum(kls)


def collapse_counting(mean, logvar, threshold):
    kl = (mean.square() + torch.exp(logvar) - logvar - 1).sum(0) / (2 * len(mean))
    offset = mean - mean.mean(0)
    moves = offset.square().sum(0) / (len(mean) - 1) > threshold
    state = moves.long() + 2 * ((~moves) & (kl > threshold)).long()
    return kl, state, (kl * moves).sum() / kl.sum()


# ---- models to train ------------------------------------------------------------------------------------------------
def linear_vae_autograd(x, W, A, logvar, noise_var, eps, lr):
    parameters = [v.clone().requires_grad_() for v in (W, A, logvar)]
    optimiser = torch.optim.SGD(parameters, lr=lr, maximize=True)
    for e in eps:
        W, A, logvar = parameters
        q = torch.distributions.Normal(x @ A.T, (logvar / 2).exp())
        z = q.mean + q.stddev * e
        fit = torch.distributions.Normal(z @ W.T, math.sqrt(noise_var)).log_prob(x).sum(1)
        prior = torch.distributions.Normal(torch.zeros_like(z), 1.0)
        elbo = (fit - torch.distributions.kl_divergence(q, prior).sum(1)).mean()
        optimiser.zero_grad()
        elbo.backward()
        optimiser.step()
    return tuple(p.detach() for p in parameters)


def linear_vae_einsum(x, W, A, logvar, noise_var, eps, lr):
    for e in eps:
        std, mean = torch.exp(logvar / 2), torch.einsum("jd,nd->nj", A, x)
        z = torch.addcmul(mean, e, std)
        left = x - torch.einsum("dj,nj->nd", W, z)
        pull = torch.einsum("dj,nd->nj", W, left) / noise_var
        for_W = torch.einsum("nd,nj->ndj", left, z).mean(0) / noise_var
        for_A = torch.einsum("nj,nd->njd", pull - mean, x).mean(0)
        for_logvar = (pull * e * std - std**2 + 1).mean(0) / 2
        W, A, logvar = (v + lr * g for v, g in ((W, for_W), (A, for_A), (logvar, for_logvar)))
    return W, A, logvar


def digits_vae_parts(theta, x, batches, eps, weights, lr, hidden, latent, top):
    """Ten leaves, torch's laws, one optimiser."""
    parts = [p.clone().requires_grad_() for p in unpack(theta, x.shape[1], hidden, latent)]
    optimiser, losses = torch.optim.Adam(parts, lr), []
    for t in range(len(batches)):
        W1, b1, W_mean, b_mean, W_logvar, b_logvar, V1, c1, V2, c2 = parts
        images = x[batches[t]]
        h = torch.tanh(torch.addmm(b1, images / (top / 2) - 1, W1))
        q = torch.distributions.Normal(h @ W_mean + b_mean, torch.exp((h @ W_logvar + b_logvar) / 2))
        z = q.loc + q.scale * eps[t]
        law = torch.distributions.Binomial(top, logits=torch.tanh(z @ V1 + c1) @ V2 + c2)
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros_like(z), 1.0))
        loss = -(law.log_prob(images).sum(1) - weights[t] * kl.sum(1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=x.dtype), torch.cat([p.detach().flatten() for p in parts])


def digits_vae_own_adam(theta, x, batches, eps, weights, lr, hidden, latent, top):
    """Adam written out, gradients from torch.func."""

    def loss(theta, images, e, weight):
        W1, b1, W_mean, b_mean, W_logvar, b_logvar, V1, c1, V2, c2 = unpack(theta, x.shape[1], hidden, latent)
        h = ((2 / top) * images - 1) @ W1 + b1
        mean, logvar = h.tanh() @ W_mean + b_mean, h.tanh() @ W_logvar + b_logvar
        z = torch.addcmul(mean, logvar.mul(0.5).exp(), e)
        logits = (z @ V1 + c1).tanh() @ V2 + c2
        bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, images / top, reduction="sum")
        choices = math.lgamma(top + 1) - torch.lgamma(images + 1) - torch.lgamma(top + 1 - images)
        kl = 0.5 * (mean.square() + torch.expm1(logvar) - logvar).sum()
        return (top * bce - choices.sum() + weight * kl) / len(images)

    first, second, losses = torch.zeros_like(theta), torch.zeros_like(theta), []
    for t, (rows, e, weight) in enumerate(zip(batches, eps, weights, strict=True), start=1):
        gradient, value = torch.func.grad_and_value(loss)(theta, x[rows], e, weight)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        theta = theta - lr * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        losses.append(value)
    return torch.stack(losses), theta


def report_bound_distributions(x, mean, logvar, V1, c1, V2, c2, eps, top):
    normal, K = torch.distributions.Normal, eps.shape[1]
    q = normal(mean[:, None], (logvar / 2).exp()[:, None])
    z = q.loc + q.scale * eps
    law = torch.distributions.Binomial(top, logits=torch.tanh(z @ V1 + c1) @ V2 + c2)
    log_w = law.log_prob(x[:, None]).sum(-1) + normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
    bits = (math.log(K) - torch.logsumexp(log_w, 1)) / math.log(2) / x.shape[1]
    return bits.mean(), (bits.var() / len(bits)) ** 0.5


def report_bound_loop(x, mean, logvar, V1, c1, V2, c2, eps, top):
    bounds = []
    for one, m, s, draws in zip(x, mean, logvar, eps, strict=True):
        total = torch.tensor(-math.inf, dtype=x.dtype)
        for e in draws:
            z = m + torch.exp(s / 2) * e
            logits = torch.tanh(z @ V1 + c1) @ V2 + c2
            choices = math.lgamma(top + 1) - torch.lgamma(one + 1) - torch.lgamma(top - one + 1)
            fit = (choices + one * logits - top * torch.nn.functional.softplus(logits)).sum()
            total = torch.logaddexp(total, fit - 0.5 * (z @ z) + 0.5 * (e @ e + s.sum()))
        bounds.append(-(total - math.log(len(draws))) / (len(one) * math.log(2)))
    bounds = torch.stack(bounds)
    return bounds.mean(), (bounds - bounds.mean()).square().sum().div(len(x) * (len(x) - 1)).sqrt()


RIGHT = {
    "mixture_evidence": [mixture_evidence_max, mixture_evidence_loop],
    "laplace_kl": [laplace_kl_torch, laplace_kl_loop],
    "logistic_sample": [logistic_sample_sigmoid, logistic_sample_transform],
    "free_bits_kl": [free_bits_torch, free_bits_loop],
    "binomial_log_likelihood": [binomial_torch, binomial_logsigmoid],
    "factor_posterior": [factor_posterior_gain, factor_posterior_one_by_one],
    "linear_encoder_elbo": [encoder_elbo_traces, encoder_elbo_distributions],
    "vimco_signal": [vimco_loop, vimco_shifted],
    "collapse_report": [collapse_loop, collapse_counting],
    "train_linear_vae": [linear_vae_autograd, linear_vae_einsum],
    "train_digits_vae": [digits_vae_parts, digits_vae_own_adam],
    "report_bound": [report_bound_distributions, report_bound_loop],
}
