"""Right answers of hierarchical_vaes, written differently from the reference and from each other."""

import math

import torch


def chain_marginal_einsum(A1, A2, v1, v2):
    cov_z1 = torch.einsum("ik,jk->ij", A2, A2)
    cov_z1 = cov_z1 + torch.diag(v2.expand(len(A2)))
    return cov_z1, torch.einsum("ik,kl,jl->ij", A1, cov_z1, A1) + torch.diag(v1.expand(len(A1)))


def chain_marginal_sum(A1, A2, v1, v2):
    """x = A_1 A_2 z_2 + √v_2 A_1 ε_2 + √v_1 ε_1: three independent parts."""
    A = A1 @ A2
    eye = torch.eye(A1.shape[0], dtype=A1.dtype)
    cov_z1 = A2 @ A2.mT + torch.eye(A2.shape[0], dtype=A2.dtype) * v2
    return cov_z1, A @ A.mT + v2 * (A1 @ A1.mT) + v1 * eye


def hierarchy_log_joint_distributions(x, z1, z2, A1, A2, v1, v2):
    normal = torch.distributions.Normal
    return (
        normal(torch.zeros_like(z2), 1.0).log_prob(z2).sum(-1)
        + normal(torch.einsum("ij,bj->bi", A2, z2), v2.sqrt()).log_prob(z1).sum(-1)
        + normal(torch.einsum("ij,bj->bi", A1, z1), v1.sqrt()).log_prob(x).sum(-1)
    )


def hierarchy_log_joint_loop(x, z1, z2, A1, A2, v1, v2):
    rows = []
    for i in range(len(x)):
        quadratic = z2[i] @ z2[i]
        quadratic = quadratic + (z1[i] - A2 @ z2[i]).square().sum() / v2 + (x[i] - A1 @ z1[i]).square().sum() / v1
        size = x.shape[1] + z1.shape[1] + z2.shape[1]
        log_det = x.shape[1] * v1.log() + z1.shape[1] * v2.log()
        rows.append(-(quadratic + log_det + size * math.log(2 * math.pi)) / 2)
    return torch.stack(rows)


def sample_q_einsum(x, K1, K2, s1, s2, eps1, eps2):
    z1 = torch.einsum("ij,bj->bi", K1, x) + eps1 * s1**0.5
    return z1, torch.einsum("ij,bj->bi", K2, z1) + eps2 * s2**0.5


def sample_q_substituted(x, K1, K2, s1, s2, eps1, eps2):
    noise = eps1 * torch.sqrt(s1)
    return x @ K1.mT + noise, x @ (K2 @ K1).mT + noise @ K2.mT + eps2 * torch.sqrt(s2)


def level_terms_loop(log_p, log_q):
    B, K, T = log_q.shape
    levels = torch.zeros(B, T, dtype=log_p.dtype)
    for t in range(T):
        for k in range(K):
            levels[:, t] += (log_p[:, k, t + 1] - log_q[:, k, t]) / K
    return log_p[..., 0].mean(-1), levels


def level_terms_padded(log_p, log_q):
    terms = log_p - torch.cat([torch.zeros_like(log_p[..., :1]), log_q], -1)
    terms = terms.sum(1) / terms.shape[1]
    return terms[:, 0], terms[:, 1:]


def path_gap_entropies(x, slope, var, exact_slope, exact_var):
    """−E log p minus the entropy of q at each level, with the mean and the variance of z_{t−1} on their own."""
    mean, spread, terms = x, torch.zeros_like(x), []
    for t in range(len(slope)):
        error = var[t] + (slope[t] - exact_slope[t]).square() * (mean.square() + spread)
        cross = (torch.log(2 * math.pi * exact_var[t]) + error / exact_var[t]) / 2
        terms.append(cross - torch.log(2 * math.pi * math.e * var[t]) / 2)
        mean, spread = slope[t] * mean, slope[t] * spread * slope[t] + var[t]
    return torch.stack(terms).sum(0)


def path_gap_of_the_whole_path(x, slope, var, exact_slope, exact_var):
    """z_{1:T} given x is one Gaussian under q and one under p: their KL, (I − S) z = (slope_1 x, 0, ...) + noise."""

    def law(slope, var):
        T = len(slope)
        eye = torch.eye(T, dtype=torch.float64)
        up = torch.linalg.solve_triangular(eye - torch.diag(slope[1:], -1), eye, upper=False)
        mean = slope[0] * x.double()[:, None] * up[:, 0]
        return torch.distributions.MultivariateNormal(mean, scale_tril=up * var.sqrt())

    q, p = law(slope.double(), var.double()), law(exact_slope.double(), exact_var.double())
    return torch.distributions.kl_divergence(q, p).to(x.dtype)


RIGHT = {
    "chain_marginal": [chain_marginal_einsum, chain_marginal_sum],
    "hierarchy_log_joint": [hierarchy_log_joint_distributions, hierarchy_log_joint_loop],
    "sample_q": [sample_q_einsum, sample_q_substituted],
    "level_terms": [level_terms_loop, level_terms_padded],
    "path_gap": [path_gap_entropies, path_gap_of_the_whole_path],
}
