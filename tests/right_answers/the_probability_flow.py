"""Right answers of the_probability_flow, written differently from the reference and from each other."""

import math

import torch


def heun_mean(eps_hat, y, rho_t, rho_s):
    k1 = eps_hat(y, rho_t)
    end = y - (rho_t - rho_s) * k1
    return y - (rho_t - rho_s) * torch.stack([k1, eps_hat(end, rho_s)]).mean(0)


def heun_corrected(eps_hat, y, rho_t, rho_s):
    step = rho_s - rho_t
    slope = eps_hat(y, rho_t)
    euler = y + step * slope
    return euler + step / 2 * (eps_hat(euler, rho_s) - slope)


def line_weights(x0, before, h, h_before):
    # the average of λ over the step, from its closed integral
    mean = (math.exp(-h) + h - 1) / (1 - math.exp(-h))
    a = mean / h_before
    return (1 + a) * x0 - a * before


def line_slope(x0, before, h, h_before):
    slope = (x0 - before) / h_before
    return x0 + slope * (h / (1 - math.exp(-h)) - 1)


def heun_by_eps(network, kind, y, rho_t, rho_s):
    def eps(y, rho):
        answer = network(y, rho)
        if kind == "eps":
            return answer
        return answer / math.sqrt(1 + rho**2) + y * rho / (1 + rho**2)

    k1 = eps(y, rho_t)
    k2 = eps(y + (rho_s - rho_t) * k1, rho_s)
    return y + (rho_s - rho_t) * (k1 + k2) / 2


def heun_by_signal(network, kind, y, rho_t, rho_s):
    def slope(y, rho):
        signal = (1 + rho * rho) ** -0.5
        noise, x = rho * signal, signal * y
        x0 = (x - noise * network(y, rho)) / signal if kind == "eps" else signal * x - noise * network(y, rho)
        return (y - x0) / rho

    d = rho_s - rho_t
    k = slope(y, rho_t)
    return y + d / 2 * k + d / 2 * slope(y + d * k, rho_s)


def probe_pairs(A, kind, probes):
    D, var = A.shape[-1], 0
    for i in range(D):
        for j in range(i):
            var = var + (A[:, i, j] + A[:, j, i]) ** 2
        if kind == "gaussian":
            var = var + 2 * A[:, i, i] ** 2
    return torch.sqrt(var / probes)


def probe_products(A, kind, probes):
    # ‖S‖² = (‖A‖² + tr A²)/2
    norm = (torch.einsum("bij,bij->b", A, A) + torch.einsum("bij,bji->b", A, A)) / 2
    if kind != "gaussian":
        norm = norm - torch.einsum("bii,bii->b", A, A)
    return math.sqrt(2 / probes) * norm.clamp(min=0).sqrt()


RIGHT = {
    "heun_step": [heun_mean, heun_corrected],
    "extrapolated": [line_weights, line_slope],
    "mended_heun": [heun_by_eps, heun_by_signal],
    "probe_error": [probe_pairs, probe_products],
}
