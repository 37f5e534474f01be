"""Right answers of guidance, written differently from the reference and from each other."""

import math

import torch


def guided_by_way_of_the_score(alpha_bar, eps, grad, t, gamma):
    size = (1 - alpha_bar[t]).sqrt().reshape(-1, *[1] * (eps.ndim - 1)).to(eps.dtype)
    score = -eps / size + gamma * grad
    return -size * score


def guided_loop(alpha_bar, eps, grad, t, gamma):
    rows = [e - gamma * math.sqrt(1 - alpha_bar[k].item()) * g for e, g, k in zip(eps, grad, t.tolist(), strict=True)]
    return torch.stack(rows)


def tilted_log(mean, var, p, slope, scale):
    push = slope.div(p).mul(var).mul(scale)
    return torch.add(mean, push), var.clone()


def tilted_precision(mean, var, p, slope, scale):
    precision = 1 / var  # natural parameters: a tilt adds to the first and leaves the second
    first = precision * mean + scale * slope / p
    return first / precision, 1 / precision


def chain_matrix(reverse, likelihood):
    later = reverse @ likelihood
    return torch.diag(1 / later) @ reverse @ torch.diag(likelihood), later


def chain_loop(reverse, likelihood):
    rows, later = [], []
    for row in reverse:
        joint = [r * v for r, v in zip(row.tolist(), likelihood.tolist(), strict=True)]
        later.append(sum(joint))
        rows.append([j / later[-1] for j in joint])
    return torch.tensor(rows, dtype=reverse.dtype), torch.tensor(later, dtype=reverse.dtype)


def weight_far_apart(guide):
    a, b = torch.tensor([3.0, -1.0], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    at = [((guide(a, b, scale) - b) / (a - b)).mean() for scale in (0, 2)]
    return at[0], (at[1] - at[0]) / 2


def weight_from_the_other_answer(guide):
    one = torch.ones((), dtype=torch.float64)
    left = [guide(0 * one, one, scale) for scale in (0.0, -1.0)]  # the weight of the answer without y, 1 − γ
    return 1 - left[0], left[1] - left[0]


def flow_logarithms(x, c, u, gamma, high, low):
    a = math.log(c + low) - math.log(c + high)
    b = math.log(u + low) - math.log(u + high)
    return x * math.exp(0.5 * (gamma * a + (1 - gamma) * b))


def flow_two_factors(x, c, u, gamma, high, low):
    alone = math.sqrt((u + low) / (u + high))
    extra = math.sqrt((c + low) / (c + high)) / alone
    return alone * extra**gamma * x


RIGHT = {
    "guided_eps": [guided_by_way_of_the_score, guided_loop],
    "tilted_step": [tilted_log, tilted_precision],
    "conditional_chain": [chain_matrix, chain_loop],
    "implied_weight": [weight_far_apart, weight_from_the_other_answer],
    "guided_flow": [flow_logarithms, flow_two_factors],
}
