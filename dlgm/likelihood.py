"""What a diffusion model says of log p(x), in continuous time: the flow upwards, the bound, denoising alone.

With ρ = noise/signal and y = x/signal the probability flow is dy/du = ρ ε̂, u = log ρ = −λ/2, and along it

    d log p(y)/du = −ρ div_y ε̂ = −noise tr ∂ε̂/∂x.

In the same time the bound loses ½ E‖ε − ε̂‖² for each unit of λ, whatever way the schedule takes from end to end, and
with the exact denoiser the same integral at one x gives log p(x) itself.

All log-densities are nats for each example, (B,). Times run upwards here, from the data to the noise.
"""

import itertools
import math

import torch

from .gaussian import LOG_2PI, Gaussian
from .losses import convert_weight
from .process import q_sample
from .schedules import increasing, listed, time_of
from .scores import directions, divergence, projected_divergence
from .tensors import expand, home, known, randn_like, sum_non_batch

TRACES = ("exact", "rademacher", "gaussian")


def _slope(denoiser, y, t, probes, cond):
    """dy/du at time t, and noise tr ∂ε̂/∂x, (B,)."""
    schedule = denoiser.schedule
    signal, noise = float(schedule.signal(t)), float(schedule.noise(t))
    x = signal * y

    def eps(x):
        return denoiser(x, t, **cond).eps

    value, total = divergence(eps, x) if probes is None else projected_divergence(eps, x, probes)
    return noise / signal * value, noise * total


@torch.no_grad()
def log_prob(denoiser, x, times, trace="exact", probes=1, generator=None, prior=None, **cond):
    """log p(x) by the probability flow from times[0] up to times[-1]: (B,), nats.

        log p(x) = log p(x_T) + D log(signal_T/signal_0) + ∫ noise tr ∂ε̂/∂x du

    It is the density of the law at times[0], of data with that little noise in them: their entropy at ε is part of it,
    and x must have that noise. Fourth order in the steps (Runge–Kutta, four calls a step, or more for the trace); on a
    discrete schedule, which has no times between, second (Heun).

    Args:
        x: (B, ...), at times[0].
        times: N + 1, increasing, with noise at the first and signal at the last.
        trace: "exact", one backward pass for each entry of an example; or by random directions, the same along the
            whole path, "rademacher" or "gaussian": unbiased, at the variance of ``scores.projection_variance``.
        probes: directions for each example.
        prior: log-density of x_T, (B, ...) -> (B,); N(0, start_std²) unless said.
    Raises:
        ValueError: times do not increase, or end without noise or signal; unknown trace; no probe.
    Source: Chen et al. 2018; Grathwohl et al. 2019; Song et al. 2021 (SDE), equation 39; ledger SDE-4, M-13.
    """
    known("trace", trace, TRACES)
    if trace != "exact" and probes < 1:
        raise ValueError(f"expected at least one probe, got {probes}")
    schedule, times = denoiser.schedule, increasing(times)
    ends = [float(schedule.logsnr(t)) for t in (times[0], times[-1])]
    if not all(map(math.isfinite, ends)):
        raise ValueError(f"the flow needs noise at its first time and signal at its last; log-SNR there: {ends}")
    kind = None if trace == "exact" else trace
    v = [directions(x, kind, generator) for _ in range(probes)] if kind else None
    u = [-float(schedule.logsnr(t)) / 2 for t in times]
    between = [None] * (len(times) - 1)
    if not hasattr(schedule, "T"):
        between = time_of(schedule, [-(a + b) for a, b in itertools.pairwise(u)]).tolist()

    def slope(y, t):
        return _slope(denoiser, y, t, v, cond)

    y, total = x / float(schedule.signal(times[0])), x.new_zeros(len(x))
    for (s, t), (a, b), middle in zip(itertools.pairwise(times), itertools.pairwise(u), between, strict=True):
        h, (k1, d1) = b - a, slope(y, s)
        if middle is None:
            k2, d2 = slope(y + h * k1, t)
            y, total = y + h / 2 * (k1 + k2), total + h / 2 * (d1 + d2)
            continue
        k2, d2 = slope(y + h / 2 * k1, middle)
        k3, d3 = slope(y + h / 2 * k2, middle)
        k4, d4 = slope(y + h * k3, t)
        y, total = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), total + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    top = float(schedule.signal(times[-1]))
    x_T, D = top * y, x[0].numel()
    last = Gaussian(torch.zeros_like(x_T), schedule.start_std**2).log_prob(x_T) if prior is None else prior(x_T)
    return last + D * math.log(top / float(schedule.signal(times[0]))) + total


def dequantise(x, generator=None, bin=2 / 255):
    """x with uniform noise over the bin of each grey level, x + (u − ½) bin: a density of it bounds a probability.

    By Jensen −E log p(x + noise) ≥ −log P(x), P the mass of the bin. Without it, data on a lattice have no density.

    Source: Theis et al. 2016; ledger M-13.
    """
    u = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=home(generator)).to(x.device)
    return x + (u - 0.5) * bin


def bits_per_dim(log_p, dims, bin=2 / 255):
    """Bits for each entry of a discretised example from its log-density: −log p/(D log 2) − log2(bin).

    Args:
        log_p: nats, of a whole example. dims: D. bin: width of a level in the units of x: 2/255 for 256 in [−1, 1].
    Source: Theis et al. 2016; ledger NUM-1, M-13.
    """
    return -log_p / (dims * math.log(2)) - math.log2(bin)


# ---- the bound -------------------------------------------------------------------------------------------------------
def logsnr_rate(schedule, t):
    """−dλ/dt = g²/noise², how fast the log-SNR falls: a number, or a float64 tensor of t's shape on the CPU.

    Source: Kingma et al. 2021, equation 18; ledger CELBO-1, CELBO-2.
    """
    return schedule.sde(t)[1] / schedule.noise(t) ** 2


def continuous_loss(denoiser, x0, generator=None, start=0.0, end=1.0, weight=None, antithetic=True, **cond):
    """½ (end − start) w(t) (−dλ/dt) ‖ε − ε̂‖² at one random t for each example, nats (B,).

    Its mean is ½ ∫ w E‖ε − ε̂‖² dλ between the two ends, whatever the schedule does between them; with w = 1 the part of
    the bound that noise and data between them contribute.

    Args:
        start, end: times, with noise at the first and signal at the last.
        weight: a function of t (B,) on the CPU, or None for 1.
        antithetic: spread the t of a batch evenly, t_i = (u + i/B) mod 1, so that their average is quieter.
    Raises:
        ValueError: a discrete schedule.
    Source: Kingma et al. 2021, equations 17 and 18; ledger CELBO-1, CELBO-3, M-15; errata E-21, E-22.
    """
    schedule, n = denoiser.schedule, len(x0)
    if hasattr(schedule, "T"):
        raise ValueError(f"the continuous bound needs a continuous schedule, got {schedule}; vlb has that of a chain")
    u = torch.rand(1 if antithetic else n, generator=generator, dtype=torch.float64, device=home(generator)).cpu()
    if antithetic:
        u = (u + torch.arange(n, dtype=torch.float64, device="cpu") / n) % 1
    t = start + (end - start) * u
    eps = randn_like(x0, generator)
    error = sum_non_batch((eps - denoiser(q_sample(schedule, x0, t, eps), t, **cond).eps).square())
    scale = 0.5 * (end - start) * logsnr_rate(schedule, t) * (1 if weight is None else weight(t))
    return expand(scale, error) * error


def implied_weight(schedule, t, target="eps"):
    """w(t) = ŵ/(−dλ/dt): the weight, in ½ ∫ w ‖ε − ε̂‖² dλ, of a squared error of ``target`` at uniform t, up to ½.

    ŵ is 1 for target eps, and what ``convert_weight`` makes of 1 for another. Like t's tables it lies on the CPU.

    Source: Kingma & Gao 2023, table 1; ledger CELBO-5, E-73, M-16.
    """
    return convert_weight(schedule, t, 1.0, target, "eps") / logsnr_rate(schedule, t)


def augmentation(weight):
    """The law of noise levels whose averaged bound is the weighted loss: (atom at the first time, mass of each step).

        L_w = w(0) L(0) + ∫ L(t) dw(t),   L(t) = the bound of data with the noise of t in them

    Args:
        weight: w at increasing times, (n,), not decreasing.
    Returns:
        (a number, (n − 1,) on weight's device), together of mass 1.
    Raises:
        ValueError: w decreases somewhere, where the theorem says nothing, or is 0 throughout.
    Source: Kingma & Gao 2023, theorem 1; ledger CELBO-4, E-27, E-73, M-16.
    """
    rise = weight.diff()
    if (rise < 0).any() or not weight[-1] > 0 or weight[0] < 0:
        i = int((rise < 0).nonzero()[0]) if (rise < 0).any() else 0
        raise ValueError(f"the weight must not decrease: entries {i}, {i + 1} are {weight[i]:.6g}, {weight[i + 1]:.6g}")
    return (weight[0] / weight[-1]).item(), rise / weight[-1]


# ---- denoising alone -------------------------------------------------------------------------------------------------
@torch.no_grad()
def mmse(denoiser, x, times, draws=1, generator=None, nodes=None, **cond):
    """E_ε ‖x − x̂_0(x_t)‖² at each of N times, x_t = signal x + noise ε: (N, B).

    Args:
        x: (B, ...), clean.
        draws: of ε at each time, for each example; or nodes: (z (K, D), weights (K,)), a quadrature in their place.
    Source: Guo, Shamai & Verdú 2005; ledger CELBO-6.
    """

    def error(x, eps, t):
        return sum_non_batch((x - denoiser(q_sample(denoiser.schedule, x, t, eps), t, **cond).x0).square())

    found = []
    for t in listed(times):
        if nodes:  # all of them in one call
            eps = nodes[0].to(x).reshape(-1, 1, *x.shape[1:]).expand(-1, *x.shape)
            many = x.expand_as(eps).flatten(0, 1)
            found.append(nodes[1].to(x) @ error(many, eps.flatten(0, 1), t).reshape(-1, len(x)))
        else:
            found.append(sum(error(x, randn_like(x, generator), t) for _ in range(draws)) / draws)
    return torch.stack(found)


def staircase(logsnr, error):
    """½ Σ (SNR_s − SNR_t) error_t, the diffusion part of the bound of a chain with variances β̃: error's shape less one.

    The mean of error = E‖x_0 − x̂_0(x_t)‖² falls as the SNR rises, for the exact denoiser, so more stops between the
    same ends make the sum smaller; its limit is ½ ∫ error dSNR.

    Args:
        logsnr: (N,), of times that increase, so that it falls.
        error: (N, ...), at the same times; that at the first is not used.
    Raises:
        ValueError: fewer than two stops, or other numbers of them.
    Source: Kingma et al. 2021, equations 12 to 15; ledger CELBO-6, M-15, VDM-2.
    """
    if len(logsnr) < 2 or len(logsnr) != len(error):
        raise ValueError(f"expected one error at each of two stops or more, got {len(error)} for {len(logsnr)} stops")
    snr = logsnr.exp()
    return 0.5 * sum(step * e for step, e in zip((snr[:-1] - snr[1:]).tolist(), error[1:], strict=True))


@torch.no_grad()
def pointwise(denoiser, x, times, draws=1, generator=None, nodes=None, **cond):
    """log p(x) = −½ D log 2πe − ½ ∫ (mmse(x, γ) − D/(1 + γ)) dγ, γ = SNR, ``mmse`` at one x: nats (B,).

    With the exact denoiser an equality, for each x; the integral over the log-SNR by the trapezoidal rule at the given
    times. A network that denoises worse than the exact one on average makes the average too small, as a bound is.

    Args:
        x: (B, ...), clean.
        times: increasing or decreasing, from nearly no noise to nearly no signal.
        draws, nodes: see ``mmse``.
    Source: Guo, Shamai & Verdú 2005; Kong et al. 2023, equation 8; ledger CELBO-1.
    """
    D, times = x[0].numel(), listed(times)
    lam = torch.tensor([float(denoiser.schedule.logsnr(t)) for t in times], dtype=torch.float64, device="cpu")
    errors = mmse(denoiser, x, times, draws, generator, nodes, **cond)
    values = [snr * error - D * snr / (1 + snr) for snr, error in zip(lam.exp().tolist(), errors, strict=True)]
    area = sum(h * (a + b) / 2 for h, (a, b) in zip(lam.diff().abs().tolist(), itertools.pairwise(values), strict=True))
    return -0.5 * D * (LOG_2PI + 1) - 0.5 * area
