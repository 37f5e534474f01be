"""What a network may predict, and one function for each arrow between the choices.

    eps     ε, the noise in x_t = α x_0 + σ ε                       (α = signal(t), σ = noise(t))
    x0      the clean data
    v       α ε − σ x_0
    score   ∇ log q(x_t | x_0) = −ε/σ
    mean    the mean of q(x_s | x_t, x_0)
    velocity  dx_t/dt = α' x_0 + σ' ε, with x_0 and ε held        (α', σ' = schedules.rates)

Given x_t, all are linear in each other. Nothing here assumes α² + σ² = 1, so the variance-exploding family works too.

Shapes: x_t and the predicted quantity (B, ...), t (and s) a number, () or (B,). Every function returns x_t's shape and
dtype. Going from ε to x_0 divides by α(t): at t = T of the linear schedule an error in ε counts 157-fold.
Source: Ho et al. 2020, section 3.2; Salimans & Ho 2022 (v); Lipman et al. 2023 (velocity); ledger PAR-1, PAR-2, PAR-4,
SCORE-4, POST-5, M-32.
"""

import torch

from .process import posterior_coefficients, tau
from .schedules import rates
from .tensors import expand, same_shape

TARGETS = ("eps", "x0", "v", "score", "mean", "velocity")  # what a denoiser may predict


def _scales(schedule, x_t, t, given):
    same_shape(x_t=x_t, prediction=given)
    return expand(schedule.signal(t), x_t), expand(schedule.noise(t), x_t)


def _divisor(schedule, name, t, x_t, power=1):
    """signal(t) or noise(t), to a power, ready to divide by; looked at where the schedule keeps it, on the host."""
    value = getattr(schedule, name)(t)
    if (value == 0).any() if isinstance(value, torch.Tensor) else value == 0:
        raise ValueError(f"{name}(t) is 0 at t={t}, so it cannot be divided by; take another t or another prediction")
    return expand(value**power, x_t)


def _norm(schedule, x_t, t):
    """α² + σ², squared and added in float64: 1 for the variance-preserving schedules."""
    return expand(schedule.signal(t) ** 2 + schedule.noise(t) ** 2, x_t)


def x0_from_eps(schedule, x_t, eps, t):
    """x_0 = (x_t − σ ε) / α. Ledger PAR-1."""
    signal, noise = _scales(schedule, x_t, t, eps)
    return (x_t - noise * eps) / _divisor(schedule, "signal", t, x_t)


def x0_from_v(schedule, x_t, v, t):
    """x_0 = (α x_t − σ v) / (α² + σ²)."""
    signal, noise = _scales(schedule, x_t, t, v)
    return (signal * x_t - noise * v) / _norm(schedule, x_t, t)


def x0_from_score(schedule, x_t, score, t):
    """x_0 = (x_t + σ² score) / α; with the marginal score, Tweedie's formula for E[x_0 | x_t]. Ledger SCORE-6."""
    signal, _ = _scales(schedule, x_t, t, score)
    return (x_t + expand(schedule.noise(t) ** 2, x_t) * score) / _divisor(schedule, "signal", t, x_t)


def x0_from_mean(schedule, x_t, mean, s, t):
    """x_0 = (mean − c_t x_t) / c_0, from the mean of q(x_s | x_t, x_0). Ledger PAR-2."""
    same_shape(x_t=x_t, prediction=mean)
    c_0, c_t, _ = posterior_coefficients(schedule, s, t)
    return (mean - expand(c_t, x_t) * x_t) / expand(c_0, x_t)


def eps_from_x0(schedule, x_t, x0, t):
    """ε = (x_t − α x_0) / σ. Ledger PAR-1."""
    signal, noise = _scales(schedule, x_t, t, x0)
    return (x_t - signal * x0) / _divisor(schedule, "noise", t, x_t)


def eps_from_v(schedule, x_t, v, t):
    """ε = (σ x_t + α v) / (α² + σ²)."""
    signal, noise = _scales(schedule, x_t, t, v)
    return (noise * x_t + signal * v) / _norm(schedule, x_t, t)


def eps_from_score(schedule, x_t, score, t):
    """ε = −σ score. Ledger PAR-4."""
    return -_scales(schedule, x_t, t, score)[1] * score


def eps_from_mean(schedule, x_t, mean, s, t):
    """ε by way of x_0."""
    return eps_from_x0(schedule, x_t, x0_from_mean(schedule, x_t, mean, s, t), t)


def v_from_x0(schedule, x_t, x0, t):
    """v = α ε − σ x_0 = (α x_t − (α² + σ²) x_0) / σ."""
    signal, noise = _scales(schedule, x_t, t, x0)
    return (signal * x_t - _norm(schedule, x_t, t) * x0) / _divisor(schedule, "noise", t, x_t)


def v_from_eps(schedule, x_t, eps, t):
    """v = ((α² + σ²) ε − σ x_t) / α."""
    signal, noise = _scales(schedule, x_t, t, eps)
    return (_norm(schedule, x_t, t) * eps - noise * x_t) / _divisor(schedule, "signal", t, x_t)


def v_from_score(schedule, x_t, score, t):
    """v by way of ε = −σ score."""
    return v_from_eps(schedule, x_t, eps_from_score(schedule, x_t, score, t), t)


def score_from_eps(schedule, x_t, eps, t):
    """score = −ε/σ. Ledger SCORE-4, PAR-4."""
    same_shape(x_t=x_t, prediction=eps)
    return -eps / _divisor(schedule, "noise", t, x_t)


def score_from_x0(schedule, x_t, x0, t):
    """score = −(x_t − α x_0) / σ². Ledger SCORE-4."""
    signal, _ = _scales(schedule, x_t, t, x0)
    return (signal * x0 - x_t) / _divisor(schedule, "noise", t, x_t, power=2)


def score_from_v(schedule, x_t, v, t):
    """score by way of ε."""
    return score_from_eps(schedule, x_t, eps_from_v(schedule, x_t, v, t), t)


def mean_from_x0(schedule, x_t, x0, s, t):
    """mean of q(x_s | x_t, x_0) = c_0 x_0 + c_t x_t. Ledger PAR-2, POST-1."""
    same_shape(x_t=x_t, prediction=x0)
    c_0, c_t, _ = posterior_coefficients(schedule, s, t)
    return expand(c_0, x_t) * x0 + expand(c_t, x_t) * x_t


def mean_from_eps(schedule, x_t, eps, s, t):
    """mean = (x_t − noise_t τ ε) · signal_s/signal_t; at s = t − 1, (x_t − β_t/√(1−ᾱ_t) ε) / √α_t.

    ε is the noise of all steps up to t, not of the last one (QUIZ-1.5, E-69). Ledger POST-5, PAR-2.
    """
    signal, noise = _scales(schedule, x_t, t, eps)
    share = tau(schedule, s, t)
    return (
        (x_t - noise * expand(share, x_t) * eps)
        * expand(schedule.signal(s), x_t)
        / _divisor(schedule, "signal", t, x_t)
    )


def turn(schedule, t):
    """α σ' − σ α': how much (x_t, velocity) knows of (x_0, ε); 1 on the straight line, π/2 on the cosine.

    A number, or float64 of t's shape on the CPU, as all that a schedule says.
    """
    (signal_rate, noise_rate), signal, noise = rates(schedule, t), schedule.signal(t), schedule.noise(t)
    return signal * noise_rate - noise * signal_rate


def x0_from_velocity(schedule, x_t, velocity, t):
    """x_0 = (σ' x_t − σ u) / (α σ' − σ α'); on the straight line x_t − t u. Ledger M-32."""
    _, noise = _scales(schedule, x_t, t, velocity)
    rate = expand(rates(schedule, t)[1], x_t)
    return (rate * x_t - noise * velocity) / expand(turn(schedule, t), x_t)


def eps_from_velocity(schedule, x_t, velocity, t):
    """ε = (α u − α' x_t) / (α σ' − σ α'); on the straight line x_t + (1 − t) u. Ledger M-32."""
    signal, _ = _scales(schedule, x_t, t, velocity)
    rate = expand(rates(schedule, t)[0], x_t)
    return (signal * velocity - rate * x_t) / expand(turn(schedule, t), x_t)


def v_from_velocity(schedule, x_t, velocity, t):
    """v = α ε − σ x_0, both from the velocity. Ledger M-32."""
    signal, noise = _scales(schedule, x_t, t, velocity)
    x0, eps = (arrow(schedule, x_t, velocity, t) for arrow in (x0_from_velocity, eps_from_velocity))
    return signal * eps - noise * x0


def score_from_velocity(schedule, x_t, velocity, t):
    """score by way of ε. Ledger M-32."""
    return score_from_eps(schedule, x_t, eps_from_velocity(schedule, x_t, velocity, t), t)


def velocity_from_x0(schedule, x_t, x0, t):
    """u = (σ' x_t − (α σ' − σ α') x_0) / σ; on the straight line (x_t − x_0)/t. Ledger M-32."""
    same_shape(x_t=x_t, prediction=x0)
    rate = expand(rates(schedule, t)[1], x_t)
    return (rate * x_t - expand(turn(schedule, t), x_t) * x0) / _divisor(schedule, "noise", t, x_t)


def velocity_from_eps(schedule, x_t, eps, t):
    """u = (α' x_t + (α σ' − σ α') ε) / α; on the straight line (ε − x_t)/(1 − t). Ledger M-32."""
    same_shape(x_t=x_t, prediction=eps)
    rate = expand(rates(schedule, t)[0], x_t)
    return (rate * x_t + expand(turn(schedule, t), x_t) * eps) / _divisor(schedule, "signal", t, x_t)


def velocity_from_v(schedule, x_t, v, t):
    """u = α' x_0 + σ' ε, both from v. Ledger M-32."""
    signal_rate, noise_rate = (expand(rate, x_t) for rate in rates(schedule, t))
    return signal_rate * x0_from_v(schedule, x_t, v, t) + noise_rate * eps_from_v(schedule, x_t, v, t)


def velocity_from_score(schedule, x_t, score, t):
    """u by way of ε = −σ score; f x_t − ½ g² score. Ledger SDE-4, M-32."""
    return velocity_from_eps(schedule, x_t, eps_from_score(schedule, x_t, score, t), t)
