"""Right answers of generating_data, written differently from the reference and from each other."""

import math

import torch


def flow_log_prob_distributions(x, shift, log_scale):
    law = torch.distributions.Normal(shift, log_scale.exp())
    return law.log_prob(x).sum(-1)


def flow_log_prob_jacobian(x, shift, log_scale):
    out = []
    for row, t, s in zip(x, shift, log_scale, strict=True):
        jacobian = torch.diag(1 / s.exp())
        z = jacobian @ (row - t)
        log_base = -(z @ z) / 2 - len(z) / 2 * math.log(2 * math.pi)
        out.append(log_base + torch.linalg.slogdet(jacobian).logabsdet)
    return torch.stack(out)


def evidence_with_max(log_likelihood):
    top = log_likelihood.max(dim=1, keepdim=True).values
    return (top + (log_likelihood - top).exp().mean(1, keepdim=True).log())[:, 0]


def evidence_loop(log_likelihood):
    out = []
    for row in log_likelihood:
        total = row[0]
        for value in row[1:]:
            total = torch.logaddexp(total, value)
        out.append(total - math.log(len(row)))
    return torch.stack(out)


def ess_logs(log_w):
    return torch.exp(2 * torch.logsumexp(log_w, 1) - torch.logsumexp(2 * log_w, 1))


def ess_shifted(log_w):
    w = (log_w - log_w.max(1, keepdim=True).values).exp()
    return w.sum(1) ** 2 / (w * w).sum(1)


def reconstruction_loop(x, x_hat):
    errors = [torch.nn.functional.mse_loss(b, a) for a, b in zip(x, x_hat, strict=True)]
    return sum(errors) / len(errors)


def draws_needed_shares(log_w, error):
    share = log_w.softmax(1) * log_w.shape[1]  # w over the mean of w
    return (share - 1).square().mean(1) / error**2


def draws_needed_loop(log_w, error):
    out = []
    for row in log_w:
        w = [math.exp(v) for v in (row - row.max()).tolist()]
        mean = sum(w) / len(w)
        variance = sum(v * v for v in w) / len(w) - mean * mean
        out.append(variance / (error * mean) ** 2)
    return torch.tensor(out, dtype=log_w.dtype)


RIGHT = {
    "flow_log_prob": [flow_log_prob_distributions, flow_log_prob_jacobian],
    "evidence_by_sampling": [evidence_with_max, evidence_loop],
    "effective_sample_size": [ess_logs, ess_shifted],
    "reconstruction_error": [reconstruction_loop, lambda x, x_hat: ((x_hat - x) ** 2).mean()],
    "draws_needed": [draws_needed_shares, draws_needed_loop],
}
