"""The forward process q, for any pair of times s < t and any schedule.

Everything follows from the kernel q(x_t | x_0) = N(signal_t x_0, noise_t² I) and the Markov property. With λ for
logsnr and

    τ = 1 − SNR_t / SNR_s = −expm1(λ_t − λ_s)        (the share of the variance at t that was added after s)

    q(x_t | x_s)      = N( (signal_t / signal_s) x_s,  noise_t² τ )
    q(x_s | x_t, x_0) = N( signal_s τ x_0 + (signal_t/signal_s) (noise_s/noise_t)² x_t,  noise_s² τ )

For s = t − 1 these are β_t, μ̃_t and β̃_t of the papers. No stride arithmetic is needed to skip steps.
"""

import math

import torch

from .gaussian import Gaussian
from .tensors import expand, host, randn_like, same_shape, to_device


def check_time(schedule, t, x):
    """Raise ValueError unless t is a time of the schedule, a number, () or (B,), one for each example of x (B, ...)."""
    schedule.logsnr(t)
    if isinstance(t, torch.Tensor) and t.shape not in ((), x.shape[:1]):
        raise ValueError(f"t of shape {tuple(t.shape)} does not fit x of shape {tuple(x.shape)}; expected () or (B,)")


def q_sample(schedule, x0, t, eps):
    """x_t = signal(t) x_0 + noise(t) ε, without walking the chain; no parameters.

    Args:
        x0: (B, ...).
        t: a number, () or (B,).
        eps: standard normal noise of x0's shape.
    Returns:
        x_t, of x0's shape, dtype and device.
    Raises:
        ValueError: shapes differ, or t is out of range.
    Source: Ho et al. 2020, equation 4; ledger FWD-6, FWD-9, QUIZ-1.4.
    """
    same_shape(x0=x0, eps=eps)
    return expand(schedule.signal(t), x0) * x0 + expand(schedule.noise(t), x0) * eps


def q_marginal(schedule, x0, t):
    """The diffusion kernel q(x_t | x_0) = N(signal(t) x_0, noise(t)² I).

    Source: Ho et al. 2020, equation 4; ledger FWD-4.
    """
    return Gaussian(expand(schedule.signal(t), x0) * x0, schedule.noise(t) ** 2)


def tau(schedule, s, t):
    """τ = 1 − SNR_t/SNR_s, in (0, 1]: the share of x_t's noise variance that came after s.

    τ noise_t² is the variance of q(x_t | x_s) and τ noise_s² that of q(x_s | x_t, x_0).

    Raises:
        ValueError: not s < t (so that SNR_s > SNR_t) for every example.
    Returns:
        A number for numbers, a float64 tensor () or (B,) on the CPU for tensors.
    """
    lam_s, lam_t = schedule.logsnr(s), schedule.logsnr(t)
    later = lam_t < lam_s
    if not (later if isinstance(later, bool) else later.all()):
        raise ValueError(f"expected s < t, got s={s} and t={t}")
    if not isinstance(lam_s, torch.Tensor) and not isinstance(lam_t, torch.Tensor):
        return -math.expm1(lam_t - lam_s)
    return -torch.expm1(lam_t - lam_s)


def q_transition(schedule, x_s, s, t):
    """q(x_t | x_s) = N((signal_t/signal_s) x_s, noise_t² τ) for any s < t.

    At s = t − 1 this is one step of the chain, N(√α_t x_{t−1}, β_t I).

    Args:
        x_s: (B, ...).
        s, t: numbers, () or (B,), s < t.
    Raises:
        ValueError: s is not before t.
    Source: Ho et al. 2020, equation 2; Kingma et al. 2021, equation 22; ledger FWD-1, FWD-5.
    """
    ratio = schedule.signal(t) / schedule.signal(s)
    return Gaussian(expand(ratio, x_s) * x_s, schedule.noise(t) ** 2 * tau(schedule, s, t))


def posterior_coefficients(schedule, s, t):
    """(c_0, c_t, v) of q(x_s | x_t, x_0) = N(c_0 x_0 + c_t x_t, v I).

    c_0 = signal_s τ,  c_t = (signal_t/signal_s) (noise_s/noise_t)²,  v = noise_s² τ.
    At s = t − 1: √ᾱ_{t−1} β_t/(1−ᾱ_t),  √α_t (1−ᾱ_{t−1})/(1−ᾱ_t),  β̃_t.

    Returns:
        Numbers for numbers, float64 tensors () or (B,) on the CPU for tensors.
    Source: Ho et al. 2020, equation 7; Kingma et al. 2021, appendix A; ledger POST-1, POST-2.
    """
    share, signal_s, noise_s = tau(schedule, s, t), schedule.signal(s), schedule.noise(s)
    c_t = schedule.signal(t) / signal_s * (noise_s / schedule.noise(t)) ** 2
    return signal_s * share, c_t, noise_s**2 * share


def q_posterior(schedule, x_t, x0, s, t):
    """q(x_s | x_t, x_0) = N(c_0 x_0 + c_t x_t, v I) for any s < t; see ``posterior_coefficients``.

    Source: Ho et al. 2020, equations 6 and 7; ledger POST-1, POST-2.
    """
    same_shape(x_t=x_t, x0=x0)
    c_0, c_t, v = posterior_coefficients(schedule, s, t)
    return Gaussian(expand(c_0, x0) * x0 + expand(c_t, x_t) * x_t, v)


def q_implicit(schedule, x_t, x0, s, t, variance):
    """q_σ(x_s | x_t, x_0) = N(signal_s x_0 + √(noise_s² − σ²) (x_t − signal_t x_0)/noise_t, σ² I) for any s < t.

    Whatever σ² between 0 and noise_s² is, x_s has the marginal q(x_s | x_0); σ² = noise_s² τ is the Markov chain's
    ``q_posterior``.

    Args:
        variance: σ², a number, () or (B,).
    Raises:
        ValueError: s is not before t, or σ² lies outside [0, noise_s²].
    Source: Song, Meng & Ermon 2021, equation 7; ledger DDIM-1, DDIM-2, DDIM-7, DDIM-8.
    """
    same_shape(x_t=x_t, x0=x0)
    tau(schedule, s, t)
    left = host(schedule.noise(s)) ** 2 - host(variance)
    if (left < 0).any() or (host(variance) < 0).any():
        raise ValueError(f"expected a variance in [0, noise_s²], up to {schedule.noise(s) ** 2}, got {variance}")
    direction = (x_t - expand(schedule.signal(t), x_t) * x0) / expand(schedule.noise(t), x_t)
    return Gaussian(expand(schedule.signal(s), x0) * x0 + expand(left.sqrt(), x_t) * direction, variance)


def implicit_path(schedule, x0, variances, noise):
    """x_0..x_T of q_σ: x_T = signal_T x_0 + noise_T ε_T, then x_{t−1} ~ q_σ(x_{t−1} | x_t, x_0) for t = T..2.

    Args:
        schedule: discrete.
        x0: (B, ...).
        variances: σ_t², (T + 1,); see ``q_implicit``. Index 0 and 1 are not used.
        noise: T standard normal draws of x0's shape; noise[t − 1] makes x_t.
    Returns:
        A list of T + 1 states.
    Source: Song, Meng & Ermon 2021, equation 6; ledger DDIM-1.
    """
    T = schedule.T
    path = [q_sample(schedule, x0, T, noise[T - 1])]
    for t in range(T, 1, -1):
        law = q_implicit(schedule, path[-1], x0, t - 1, t, variances[t])
        path.append(law.mean + law.var.sqrt() * noise[t - 2])
    return [x0, *path[::-1]]


def q_path(schedule, x0, generator=None):
    """The whole chain x_0, x_1, ..., x_T, step by step: q(x_{1:T} | x_0) = Π q(x_t | x_{t−1}).

    The slow way to x_t, for looking at and for checking the kernel; discrete schedules only.

    Yields:
        T + 1 tensors of x0's shape, x_0 first.
    Source: ledger FWD-2.
    """
    if not hasattr(schedule, "T"):
        raise ValueError(f"a chain of steps needs a discrete schedule, got {schedule}")
    x = x0
    yield x
    for t in range(1, schedule.T + 1):
        x = math.sqrt(schedule.alpha[t]) * x + math.sqrt(schedule.beta[t]) * randn_like(x, generator)
        yield x


def terminal_kl(schedule, x0):
    """KL(q(x_T | x_0) ‖ N(0, I)) per dimension, what is left of x_0 when the chain ends.

    Args:
        schedule: variance preserving (a variance-exploding one ends in another prior); a discrete one ends at T, a
            continuous one at 1.
        x0: (B, ...).
    Returns:
        Nats per dimension, (B,).
    Source: Ho et al. 2020, section 3.1; ledger FWD-8, VLB-5, QUIZ-3; erratum E-59.
    """
    end = q_marginal(schedule, x0, schedule.last)
    prior = Gaussian(torch.zeros_like(x0), 1.0)
    return end.kl(prior) / (x0.numel() // len(x0))


def spectral_snr(schedule, power, t):
    """Signal-to-noise ratio of each frequency of x_t: signal(t)² power / noise(t)².

    White noise has the same power, 1, in every frequency of an orthonormal Fourier transform; images do not.

    Args:
        power: (F,), mean power of the clean data in each frequency.
        t: a number, () or (B,).
    Returns:
        (F,) for one t, (B, F) for B of them.
    Source: ledger SCHED-3.
    """
    snr = host(schedule.logsnr(t)).exp()
    return to_device(snr[..., None].to(power.dtype), power.device) * power
