"""Floor 4: one loop, and samplers that are small frozen dataclasses with a ``step``.

A sampler walks down a grid of times t_N > ... > t_0; the grid is an explicit tensor, and skipping steps is another
grid. A sampler keeps no state: everything it uses comes in as an argument, randomness included.
"""

import math
from collections import deque
from dataclasses import dataclass

import torch

from .denoiser import Prediction
from .process import posterior_coefficients, tau
from .tensors import randn_like


@dataclass(frozen=True, eq=False)
class State:
    """One stop of a sampler: the time t, x_t (B, ...), and what the denoiser said there (None at the last stop)."""

    t: float
    x: torch.Tensor
    prediction: Prediction | None


@torch.no_grad()
def sample_path(denoiser, sampler, x_T, times, generator=None, **cond):
    """Walk from times[0] to times[-1], yielding a State at each of the N + 1 times.

    Args:
        denoiser: has a ``schedule`` and answers denoiser(x_t, t, **cond) with a Prediction.
        sampler: DDPM(), DDIM(), ...
        x_T: (B, ...), the start, a sample of the law at times[0].
        times: N + 1 decreasing times, see ``schedules.time_grid``.
        generator: source of all randomness of the walk.
    Raises:
        ValueError: times do not decrease.
    """
    times = times.tolist() if isinstance(times, torch.Tensor) else times
    if not isinstance(times, list) or len(times) < 2 or not all(s < t for t, s in zip(times, times[1:], strict=False)):
        raise ValueError(f"times must be at least two, strictly decreasing; got {times}")
    x = x_T
    for t, s in zip(times, times[1:], strict=False):
        state = State(t, x, denoiser(x, t, **cond))
        yield state
        x = sampler.step(denoiser, state, s, generator, **cond)
    yield State(times[-1], x, None)


def sample(denoiser, sampler, x_T, times, generator=None, **cond):
    """The last x of ``sample_path``: x_0 where the times end at 0."""
    return deque(sample_path(denoiser, sampler, x_T, times, generator, **cond), maxlen=1).pop().x


def _with_noise(mean, variance, generator):
    """mean + √variance z; nothing is drawn where the variance is 0."""
    if variance == 0:
        return mean
    return torch.add(mean, randn_like(mean, generator), alpha=math.sqrt(variance))


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling: x_s ~ N(c_0 x̂_0 + c_t x_t, σ²), the posterior q(x_s | x_t, x_0) with x̂_0 for x_0.

    variance "posterior" takes σ² = noise_s² τ (β̃_t for s = t − 1), right for a single data point; "beta" takes
    σ² = noise_t² τ (β_t), right for standard normal data. Where the clean state is reached (noise_s = 0) no noise is
    added, whichever was chosen.

    Raises:
        ValueError: unknown variance.
    Source: Ho et al. 2020, algorithm 2; ledger ALG-2, ALG-4, ALG-6, SCHED-2; errata E-24, E-46.
    """

    variance: str = "posterior"

    def __post_init__(self):
        if self.variance not in ("posterior", "beta"):
            raise ValueError(f"unknown variance {self.variance!r}; known: posterior, beta")

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        c_0, c_t, v = posterior_coefficients(denoiser.schedule, s, state.t)
        if self.variance == "beta" and v > 0:
            v = denoiser.schedule.noise(state.t) ** 2 * tau(denoiser.schedule, s, state.t)
        return _with_noise(c_0 * state.prediction.x0 + c_t * state.x, v, generator)


@dataclass(frozen=True)
class DDIM:
    """x_s = signal_s x̂_0 + √(noise_s² − v) ε̂ + √v z,  v = η² noise_s² τ.

    η = 0 is deterministic, η = 1 is DDPM with the posterior variance. For every η the marginals of x_s are kept when
    the prediction is exact.

    Raises:
        ValueError: eta outside [0, 1].
    Source: Song, Meng & Ermon 2021, equations 12 and 16; ledger DDIM-6, DDIM-9.
    """

    eta: float = 0.0

    def __post_init__(self):
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        schedule, p = denoiser.schedule, state.prediction
        noise_s = schedule.noise(s)
        share = self.eta**2 * tau(schedule, s, state.t)
        mean = schedule.signal(s) * p.x0 + noise_s * math.sqrt(1 - share) * p.eps
        return _with_noise(mean, noise_s**2 * share, generator)
