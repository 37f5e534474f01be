"""Noise schedules. A schedule says how much signal and how much noise x_t holds:

    x_t = signal(t) x_0 + noise(t) ε,      logsnr(t) = log signal(t)² / noise(t)².

Every schedule answers ``signal(t)``, ``noise(t)`` and ``logsnr(t)``. A number t gives a float; a tensor t of shape ()
or (B,) gives a float64 tensor of that shape on the CPU, which is cast to the sample's dtype and device where it is
used. ``logsnr`` is +inf where nothing has been added and −inf where nothing is left.

Discrete time runs over the integers 0..T, continuous time over [0, 1]; the data stand at t = 0 in both.
"""

import itertools
import math
from dataclasses import dataclass

import torch

from .tensors import bisect, home, known, whole


def _log(x):
    """Natural logarithm of a number or a tensor, −inf at 0."""
    if isinstance(x, torch.Tensor):
        return x.log()
    return math.log(x) if x > 0 else -math.inf


class DiscreteSchedule:
    """The chain x_t = √α_t x_{t−1} + √β_t ε, t = 1..T, with α_t = 1 − β_t and ᾱ_t = Π_{s≤t} α_s.

    The tables have length T + 1 and index 0 is the clean state, so that code indexes as the formulas do:
    ``beta[0] == 0``, ``alpha[0] == alpha_bar[0] == 1``, and ``alpha_bar[t - 1]`` is right at t = 1 too.

    ᾱ is kept as log ᾱ_t = Σ log(1 − β_s); signal, noise and log-SNR are read off it without subtracting nearly
    equal numbers (1 − ᾱ_t = −expm1(log ᾱ_t)).

    Args:
        betas: β_1..β_T, a sequence or tensor of T numbers strictly between 0 and 1.
    Attributes:
        T: number of steps.
        beta, alpha, alpha_bar, posterior_variance: float64 tensors of length T + 1. posterior_variance is
            β̃_t = (1 − ᾱ_{t−1}) β_t / (1 − ᾱ_t), the variance of q(x_{t−1} | x_t, x_0); β̃_1 = 0.
    Raises:
        ValueError: betas is empty, not one-dimensional, or not inside (0, 1).
    Source: Ho et al. 2020, section 2; ledger FWD-3, POST-2.
    """

    def __init__(self, betas):
        betas = betas.detach().cpu() if isinstance(betas, torch.Tensor) else betas
        betas = torch.as_tensor(betas, dtype=torch.float64, device="cpu")
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(f"betas must be a list of T numbers β_1..β_T, got shape {tuple(betas.shape)}")
        bad = ~((betas > 0) & (betas < 1))
        if bad.any():
            i = int(bad.nonzero()[0])
            raise ValueError(f"each β must lie strictly between 0 and 1; β_{i + 1} is {betas[i].item():.6g}")
        zero = torch.zeros(1, dtype=torch.float64, device="cpu")
        log_alpha_bar = torch.cat([zero, torch.log1p(-betas).cumsum(0)])
        one_minus = torch.expm1(log_alpha_bar).abs()
        self.T = len(betas)
        self.beta = torch.cat([zero, betas])
        self.alpha = 1 - self.beta
        self.alpha_bar = log_alpha_bar.exp()
        self.posterior_variance = torch.cat([zero, one_minus[:-1] * betas / one_minus[1:]])
        tables = (log_alpha_bar / 2).exp(), one_minus.sqrt(), log_alpha_bar - one_minus.log()
        self._signal, self._noise, self._logsnr = ((v, v.tolist()) for v in tables)  # the list serves t a number

    @property
    def last(self):
        """T, the time at which nothing but noise should be left."""
        return self.T

    start_std = 1.0  # of the law that a walk begins with

    def start(self, shape, generator=None, dtype=None):
        """x_T to begin a walk with, drawn from N(0, I): a tensor of that shape, on the generator's device."""
        return _normal(shape, generator, dtype)

    def signal(self, t):
        """√ᾱ_t, the factor of x_0 in x_t. t: an integer 0..T, or an integer tensor () or (B,)."""
        return self._at(self._signal, t)

    def noise(self, t):
        """√(1 − ᾱ_t), the standard deviation of x_t given x_0."""
        return self._at(self._noise, t)

    def logsnr(self, t):
        """log ᾱ_t / (1 − ᾱ_t); +inf at t = 0."""
        return self._at(self._logsnr, t)

    def sde(self, t):
        """(f, g²) of dx = f x dt + g dw in steps of length 1: f = −½ β_t, g² = β_t."""
        beta = self.beta[t.cpu()] if isinstance(t, torch.Tensor) else self.beta[int(t)].item()
        return -beta / 2, beta

    def _at(self, table, t):
        values, numbers = table
        if isinstance(t, torch.Tensor):
            if t.dtype.is_floating_point or t.dtype.is_complex or t.dtype == torch.bool:
                raise ValueError(f"discrete time must be an integer tensor, got {t.dtype}; for example t.long()")
            t = t.cpu().long()
            if t.numel() and not 0 <= t.min() <= t.max() <= self.T:
                raise ValueError(f"t must lie in 0..{self.T}, got values from {t.min()} to {t.max()}")
            return values[t].clone()  # a () index would be a view of the table
        if not 0 <= t <= self.T or t != int(t):
            raise ValueError(f"t must be an integer in 0..{self.T}, got {t}")
        return numbers[int(t)]

    def __repr__(self):
        return f"DiscreteSchedule(T={self.T}, alpha_bar[T]={self.alpha_bar[-1].item():.4g})"


def linear_beta(T=1000, beta_start=1e-4, beta_end=0.02):
    """β_t on a line from beta_start·1000/T to beta_end·1000/T.

    The end points are given for T = 1000 and scaled, so that ᾱ ends near the same value for every T.

    Raises:
        ValueError: not 0 < beta_start ≤ beta_end, or T so small that a scaled β reaches 1.
    Source: Ho et al. 2020, section 4; ledger SCHED-1.
    """
    whole(T=T)
    if not 0 < beta_start <= beta_end:
        raise ValueError(f"expected 0 < beta_start <= beta_end, got {beta_start} and {beta_end}")
    scale = 1000 / T
    if scale * beta_end >= 1:
        raise ValueError(
            f"T = {T} scales beta_end to {scale * beta_end:.4g}, not below 1; "
            f"take T > {1000 * beta_end:.0f} or a smaller beta_end"
        )
    return DiscreteSchedule(torch.linspace(scale * beta_start, scale * beta_end, T, dtype=torch.float64, device="cpu"))


def cosine_beta(T=1000, s=0.008, max_beta=0.999):
    """ᾱ_t = f(t)/f(0), f(t) = cos²(π/2 · (t/T + s)/(1 + s)), as β_t = min(1 − ᾱ_t/ᾱ_{t−1}, max_beta).

    With a = the angle at t − 1 and d = one step of it, 1 − ᾱ_t/ᾱ_{t−1} = sin(d) sin(2a + d) / cos²(a): the same
    number without the cancellation.

    Raises:
        ValueError: s < 0 or max_beta outside (0, 1).
    Source: Nichol & Dhariwal 2021, equation 17; ledger SCHED-1, M-41.
    """
    whole(T=T)
    if s < 0 or not 0 < max_beta < 1:
        raise ValueError(f"expected s >= 0 and 0 < max_beta < 1, got s={s}, max_beta={max_beta}")
    d = math.pi / 2 / (T * (1 + s))
    a = math.pi / 2 * (torch.arange(T, dtype=torch.float64, device="cpu") / T + s) / (1 + s)
    return DiscreteSchedule((math.sin(d) * torch.sin(2 * a + d) / a.cos() ** 2).clamp(max=max_beta))


def respaced(schedule, times):
    """The chain of N steps that stops only at the given times: ᾱ'_k = signal(t_k)², so β'_k = 1 − ᾱ'_k/ᾱ'_{k−1}.

    Skipping steps of a Markov chain gives a Markov chain, with the β of several steps merged into one.

    Args:
        schedule: variance preserving, discrete or continuous, with noise 0 at t = 0.
        times: N + 1 times, decreasing, to 0; see ``time_grid``.
    Returns:
        A DiscreteSchedule of T = N.
    Raises:
        ValueError: times do not decrease to 0, or the schedule is not variance preserving there.
    Source: Nichol & Dhariwal 2021, section 4; ledger DDIM-9, FWD-5, E-68.
    """
    times = listed(times)
    signal, noise = ([scale(t) for t in reversed(times)] for scale in (schedule.signal, schedule.noise))
    if len(times) < 2 or times[-1] != 0 or any(s >= t for t, s in itertools.pairwise(times)):
        raise ValueError(f"expected at least two times that decrease to 0, got {times}")
    if noise[0] != 0 or any(abs(a * a + b * b - 1) > 1e-9 for a, b in zip(signal, noise, strict=True)):
        raise ValueError(f"expected a variance-preserving schedule with noise 0 at t = 0, got {schedule}")
    return DiscreteSchedule([-math.expm1(2 * (math.log(b) - math.log(a))) for a, b in itertools.pairwise(signal)])


def _normal(shape, generator, dtype):
    """Standard normal numbers on the generator's device."""
    return torch.randn(shape, generator=generator, dtype=dtype, device=home(generator))


class _Continuous:
    """What the continuous schedules share: logsnr from signal and noise, where they end, and the check of t."""

    last = 1  # the time at which nothing but noise should be left
    start_std = 1.0  # of the law that a walk begins with

    def start(self, shape, generator=None, dtype=None):
        """x at t = 1 to begin a walk with, N(0, start_std² I): a tensor of that shape, on the generator's device."""
        return self.start_std * _normal(shape, generator, dtype)

    def logsnr(self, t):
        """log signal(t)² / noise(t)²."""
        return 2 * (_log(self.signal(t)) - _log(self.noise(t)))

    @staticmethod
    def _time(t):
        """(math or torch, t), t checked to lie in [0, 1]: both modules name their functions alike."""
        if isinstance(t, torch.Tensor):
            t = t.cpu().double()
            if t.numel() and not 0 <= t.min() <= t.max() <= 1:
                raise ValueError(f"t must lie in [0, 1], got values from {t.min():.6g} to {t.max():.6g}")
            return torch, t
        if not 0 <= t <= 1:
            raise ValueError(f"t must lie in [0, 1], got {t}")
        return math, float(t)


@dataclass(frozen=True)
class VPLinear(_Continuous):
    """Variance preserving, β(t) = beta_min + t (beta_max − beta_min): signal(t)² = exp(−∫₀ᵗ β), noise² = 1 − signal².

    The limit of ``linear_beta(T)`` for T → ∞ at t = step/T, up to terms of order 1/T.

    Raises:
        ValueError: not 0 ≤ beta_min ≤ beta_max, or both 0.
    Source: Song et al. 2021 (SDE), equation 33; ledger SDE-2.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self):
        if not 0 <= self.beta_min <= self.beta_max or self.beta_max == 0:
            raise ValueError(f"expected 0 <= beta_min <= beta_max, got {self.beta_min} and {self.beta_max}")

    def _log_signal(self, t):
        return -t * (self.beta_min + t * (self.beta_max - self.beta_min) / 2) / 2

    def signal(self, t):
        """exp(−½ ∫₀ᵗ β)."""
        m, t = self._time(t)
        return m.exp(self._log_signal(t))

    def noise(self, t):
        """√(1 − exp(−∫₀ᵗ β))."""
        m, t = self._time(t)
        return m.sqrt(-m.expm1(2 * self._log_signal(t)))

    def logsnr(self, t):
        """L − log(1 − e^L) with L = −∫₀ᵗ β."""
        m, t = self._time(t)
        log_signal2 = 2 * self._log_signal(t)
        return log_signal2 - _log(-m.expm1(log_signal2))

    def sde(self, t):
        """(f, g²) of dx = f x dt + g dw: f = −½ β(t), g² = β(t)."""
        beta = self.beta_min + self._time(t)[1] * (self.beta_max - self.beta_min)
        return -beta / 2, beta


@dataclass(frozen=True)
class VPCosine(_Continuous):
    """Variance preserving, signal(t) = cos(πt/2), noise(t) = sin(πt/2); logsnr = −2 log tan(πt/2).

    At t = 1 no signal is left at all (logsnr = −inf): sample from a t slightly below 1, or predict x0 or v.

    Source: Nichol & Dhariwal 2021, section 3.2 with s = 0; Salimans & Ho 2022; ledger M-41.
    """

    def signal(self, t):
        """cos(πt/2), written as sin(π(1−t)/2) to be exact near t = 1."""
        m, t = self._time(t)
        return m.sin(math.pi / 2 * (1 - t))

    def noise(self, t):
        """sin(πt/2)."""
        m, t = self._time(t)
        return m.sin(math.pi / 2 * t)

    def rates(self, t):
        """(d signal/dt, d noise/dt) = π/2 · (−noise, signal)."""
        return -math.pi / 2 * self.noise(t), math.pi / 2 * self.signal(t)

    def sde(self, t):
        """(f, g²) of dx = f x dt + g dw: f = −(π/2) tan(πt/2), g² = π tan(πt/2); both diverge as t → 1."""
        m, t = self._time(t)
        tan = m.tan(math.pi / 2 * t)
        return -math.pi / 2 * tan, math.pi * tan


@dataclass(frozen=True)
class Linear(_Continuous):
    """The straight line from data to noise, signal(t) = 1 − t, noise(t) = t; signal + noise = 1, not their squares.

    Between x_0 and ε the state moves at the constant velocity ε − x_0. At t = 1 no signal is left at all.

    Source: Liu et al. 2023 (rectified flow); Lipman et al. 2023, section 4.1; ledger TAKE-4, M-32.
    """

    def signal(self, t):
        """1 − t."""
        return 1 - self._time(t)[1]

    def noise(self, t):
        """t."""
        return self._time(t)[1]

    def rates(self, t):
        """(d signal/dt, d noise/dt) = (−1, 1)."""
        zero = 0 * self._time(t)[1]
        return zero - 1, zero + 1

    def sde(self, t):
        """(f, g²) of dx = f x dt + g dw: f = −1/(1−t), g² = 2t/(1−t); both diverge as t → 1."""
        left = 1 - self._time(t)[1]
        return -1 / left, 2 * (1 - left) / left


@dataclass(frozen=True)
class Shifted(_Continuous):
    """A continuous schedule that goes through its own times sooner: at t it stands where it stood at s t/(1+(s−1)t).

    Of ``Linear`` this makes noise/signal s times as large at every t: exactly what data that are s times smaller would
    see. Two shifts are one by their product, so a shift that is applied twice by mistake is one by s².

    Args:
        schedule: continuous, 0 to 1.
        shift: s > 0; 1 changes nothing.
    Raises:
        ValueError: a discrete schedule, or s ≤ 0.
    Source: Esser et al. 2024, section 5.3.2; ledger TAKE-4, M-32.
    """

    schedule: object
    shift: float

    def __post_init__(self):
        if hasattr(self.schedule, "T"):
            raise ValueError(f"times are shifted between 0 and 1; got the discrete schedule {self.schedule}")
        if not 0 < self.shift < math.inf:
            raise ValueError(f"expected a shift > 0, got {self.shift}")

    @property
    def start_std(self):
        """That of the schedule."""
        return self.schedule.start_std

    def time(self, t):
        """s t/(1 + (s − 1) t), the time of the schedule at t."""
        t = self._time(t)[1]
        return self.shift * t / (1 + (self.shift - 1) * t)

    def _speed(self, t):
        """d time/dt = s/(1 + (s − 1) t)²."""
        return self.shift / (1 + (self.shift - 1) * self._time(t)[1]) ** 2

    def signal(self, t):
        """That of the schedule at ``time(t)``."""
        return self.schedule.signal(self.time(t))

    def noise(self, t):
        """That of the schedule at ``time(t)``."""
        return self.schedule.noise(self.time(t))

    def logsnr(self, t):
        """That of the schedule at ``time(t)``; of ``Linear`` it is 2 log s less than unshifted."""
        return self.schedule.logsnr(self.time(t))

    def rates(self, t):
        """Those of the schedule at ``time(t)``, as many times faster as time goes."""
        speed = self._speed(t)
        return tuple(speed * rate for rate in rates(self.schedule, self.time(t)))

    def sde(self, t):
        """(f, g²) of the schedule at ``time(t)``, as many times faster as time goes."""
        speed = self._speed(t)
        return tuple(speed * rate for rate in self.schedule.sde(self.time(t)))


@dataclass(frozen=True)
class VE(_Continuous):
    """Variance exploding: signal(t) = 1, noise(t) = sigma_min (sigma_max/sigma_min)^t.

    A geometric ladder of noise levels. noise(0) is sigma_min, small but not zero.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max.
    Source: Song & Ermon 2019; Song et al. 2021 (SDE), equation 30; ledger SCORE-1.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"expected 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")

    @property
    def start_std(self):
        """sigma_max."""
        return self.sigma_max

    def signal(self, t):
        """1: the data are never shrunk."""
        return 0 * self._time(t)[1] + 1

    def noise(self, t):
        """sigma_min (sigma_max/sigma_min)^t."""
        m, t = self._time(t)
        return self.sigma_min * m.exp(t * math.log(self.sigma_max / self.sigma_min))

    def sde(self, t):
        """(f, g²) of dx = f x dt + g dw: f = 0, g² = d noise²/dt = 2 noise² log(sigma_max/sigma_min)."""
        return 0 * self._time(t)[1], 2 * self.noise(t) ** 2 * math.log(self.sigma_max / self.sigma_min)


class LearnedMonotone(_Continuous):
    """Variance preserving; log-SNR falls from logsnr_max to logsnr_min, and how long it stays where is learned.

    λ(t) is piecewise linear: it passes K pieces of equal height in the times w = softmax(logits), Σ w = 1. A uniform t
    then meets λ with density p(λ) = K w_k / (logsnr_max − logsnr_min), k the piece of λ. For the continuous bound,
    ½ ∫ E‖ε − ε̂‖² dλ, only the two ends count; p decides how quiet its estimate is at random t.

    Args:
        pieces: K.
        logsnr_max, logsnr_min: at t = 0 and t = 1.
    Attributes:
        logits: (K,), float64 on the CPU, where schedules live; an optimiser takes ``parameters()``.
    Raises:
        ValueError: no pieces, or ends in the wrong order.
    Source: Kingma et al. 2021, section 5.1 and appendix I; ledger SCHED-4, M-06.
    """

    def __init__(self, pieces=16, logsnr_max=10.0, logsnr_min=-10.0):
        whole(pieces=pieces)
        if not logsnr_min < logsnr_max:
            raise ValueError(f"expected logsnr_min < logsnr_max, got {logsnr_min} and {logsnr_max}")
        self.high, self.low = float(logsnr_max), float(logsnr_min)
        self.logits = torch.zeros(pieces, dtype=torch.float64, device="cpu", requires_grad=True)

    def parameters(self):
        """[logits], for an optimiser."""
        return [self.logits]

    @property
    def shares(self):
        """w, the time spent in each piece, from logsnr_max on: (K,), sum 1."""
        return self.logits.softmax(0)

    def _logsnr(self, t):
        w = self.shares
        ends = w.cumsum(0)
        k = torch.searchsorted(ends.detach(), t).clamp(max=len(w) - 1)
        inside = (t - (ends[k] - w[k])) / w[k]
        return self.high - (self.high - self.low) / len(w) * (k + inside)

    def _at(self, t, of):
        m, t = self._time(t)
        if m is torch:
            return of(self._logsnr(t))
        return of(self._logsnr(torch.tensor(t, dtype=torch.float64, device="cpu"))).item()

    def signal(self, t):
        """√sigmoid(λ)."""
        return self._at(t, lambda lam: lam.sigmoid().sqrt())

    def noise(self, t):
        """√sigmoid(−λ)."""
        return self._at(t, lambda lam: (-lam).sigmoid().sqrt())

    def logsnr(self, t):
        """λ(t)."""
        return self._at(t, lambda lam: lam)

    def sde(self, t):
        """(f, g²) of dx = f x dt + g dw: f = ½ noise² dλ/dt, g² = −noise² dλ/dt."""
        lam = self.logsnr(t)
        rate = self.slope(lam) if isinstance(lam, torch.Tensor) else self.slope(torch.tensor(lam)).item()
        g2 = self.noise(t) ** 2 * rate
        return -g2 / 2, g2

    def slope(self, logsnr):
        """−dλ/dt = 1/p(λ) where the log-SNR is λ, a float64 tensor: of its shape, on the CPU."""
        K, share = len(self.logits), (self.high - logsnr.cpu()) / (self.high - self.low)
        return (self.high - self.low) / (K * self.shares[(share * K).long().clamp(0, K - 1)])

    def variance_loss(self, t, errors):
        """(½ error)² slope_now slope: its mean estimates the second moment of ½ error · slope, whose mean is fixed.

        Its gradient with respect to ``logits`` is that of the variance of the bound's estimate at a uniform t, with no
        derivative through the network: where λ is met stays, how often it is met changes. At the minimum p(λ) is
        proportional to √E error², as in importance sampling of t.

        Args:
            t: (n,), uniform in [0, 1].
            errors: (n,), ‖ε − ε̂‖² at those t.
        Returns:
            (n,), float64 on the CPU.
        """
        logsnr, errors = self.logsnr(t).detach(), errors.detach().cpu().double()
        slope = self.slope(logsnr)
        return (errors / 2) ** 2 * slope.detach() * slope


COORDINATES = ("ve", "vp", "line")


@dataclass(frozen=True, eq=False)
class Rescaled:
    """The same noising in other coordinates, y_t = scale(t) x_t: the log-SNR and the times stay.

    "ve": scale 1/signal, so y_t = x_0 + (noise/signal) ε.  "vp": scale 1/√(signal² + noise²), so signal² + noise² = 1.
    "line": scale 1/(signal + noise), so signal + noise = 1 and y_t lies on the straight line from x_0 to ε, as far
    along as noise(t) says.

    Args:
        schedule: any.
        coordinates: "ve" (variance exploding), "vp" (variance preserving) or "line".
    Raises:
        ValueError: unknown coordinates; or, for "ve", a time at which no signal is left.
    Source: Song et al. 2021 (DDIM), section 4.3; Karras et al. 2022, section 2; ledger SCORE-1, M-32.
    """

    schedule: object
    coordinates: str = "ve"

    def __post_init__(self):
        known("coordinates", self.coordinates, COORDINATES)

    @property
    def last(self):
        """That of the schedule."""
        return self.schedule.last

    @property
    def start_std(self):
        """scale(last) times that of the schedule."""
        return float(self.scale(self.last)) * self.schedule.start_std

    def start(self, shape, generator=None, dtype=None):
        """y at the last time, scale(last) times the start of the schedule."""
        return self.start_std * _normal(shape, generator, dtype)

    def scale(self, t):
        """y_t / x_t."""
        signal = self.schedule.signal(t)
        if self.coordinates == "vp":
            return (signal**2 + self.schedule.noise(t) ** 2) ** -0.5
        if self.coordinates == "line":
            return 1 / (signal + self.schedule.noise(t))
        if (signal == 0).any() if isinstance(signal, torch.Tensor) else signal == 0:
            raise ValueError(f"no signal is left at t={t}: the noise is infinite in these coordinates")
        return 1 / signal

    def signal(self, t):
        """scale(t) · signal(t) of the schedule; exactly 1 for "ve"."""
        return 0 * self.scale(t) + 1 if self.coordinates == "ve" else self.scale(t) * self.schedule.signal(t)

    def noise(self, t):
        """scale(t) · noise(t) of the schedule."""
        return self.scale(t) * self.schedule.noise(t)

    def logsnr(self, t):
        """That of the schedule."""
        return self.schedule.logsnr(t)

    def sde(self, t):
        """(f, g²) of dy = f y dt + g dw: g² = c² g_x², c the scale; f = 0 for "ve", −½ g² for "vp", else f_x + c'/c."""
        f, g2 = self.schedule.sde(t)
        c = self.scale(t)
        if self.coordinates == "line":
            return f - c * sum(rates(self.schedule, t)), c**2 * g2
        return (-(c**2) * g2 / 2 if self.coordinates == "vp" else 0 * g2), c**2 * g2


def rates(schedule, t):
    """(d signal/dt, d noise/dt), from ``sde(t)`` where the schedule does not say them itself.

    signal' = f signal and noise' = f noise + g²/(2 noise), since g² = d noise²/dt − 2 f noise². For a discrete
    schedule they are those of the equation whose steps have length 1.

    Args:
        t: a number, () or (B,); with noise, and with signal unless the schedule has ``rates``.
    Returns:
        Two numbers, or float64 tensors of t's shape on the CPU.
    Raises:
        ValueError: a time at which there is no noise, or no signal, to divide by.
    Source: ledger SDE-1, SDE-4, M-32.
    """
    if hasattr(schedule, "rates"):
        return schedule.rates(t)
    signal, noise = schedule.signal(t), schedule.noise(t)
    for name, value in (("signal", signal), ("noise", noise)):
        if (value == 0).any() if isinstance(value, torch.Tensor) else value == 0:
            raise ValueError(f"{name}(t) is 0 at t={t}, where the rates of {schedule} are not known")
    f, g2 = schedule.sde(t)
    return f * signal, f * noise + g2 / (2 * noise)


def time_of(schedule, logsnr):
    """The times at which the log-SNR is this, by bisection; of a discrete schedule the nearest whole ones.

    Args:
        logsnr: numbers or a tensor (n,), between those of the last time and of time 0.
    Returns:
        (n,), float64 or int64 on the CPU.
    Raises:
        ValueError: a log-SNR that the schedule does not reach.
    """
    target = torch.as_tensor(logsnr, dtype=torch.float64, device="cpu").detach()
    low, high = schedule.logsnr(schedule.last), schedule.logsnr(0)
    if not ((target >= low - 1e-9) & (target <= high + 1e-9)).all():
        raise ValueError(
            f"log-SNR must lie between {low:.6g} and {high:.6g}, got {target.min():.6g} to {target.max():.6g}"
        )
    if hasattr(schedule, "T"):
        table = schedule.logsnr(torch.arange(schedule.T + 1, device="cpu"))
        return (table[None] - target[:, None]).abs().argmin(1)
    ends = torch.zeros_like(target), torch.full_like(target, float(schedule.last))
    return bisect(lambda t: schedule.logsnr(t).detach() > target, *ends, steps=60)


def listed(times):
    """Times, a tensor or a sequence, as a list of numbers."""
    return times.tolist() if isinstance(times, torch.Tensor) else list(times)


def increasing(times):
    """Times as a list of numbers.

    Raises:
        ValueError: fewer than two, or they do not increase.
    """
    times = listed(times)
    if len(times) < 2 or not all(s < t for s, t in itertools.pairwise(times)):
        raise ValueError(f"times must be at least two, increasing; got {times}")
    return times


SPACINGS = ("time", "logsnr", "karras")


def time_grid(schedule, steps, start=None, end=0, spacing="time", rho=7.0):
    """steps + 1 decreasing times from start to end; what a sampler walks along.

    Args:
        schedule: a DiscreteSchedule gives integers (start = T unless said), any other schedule float64 times
            (start = 1 unless said).
        spacing: even in "time"; in the log-SNR ("logsnr"); or in (noise/signal)^(1/rho) ("karras"). The latter two need
            an end with noise and a start with signal; a last step to 0 is appended by hand.
    Raises:
        ValueError: steps < 1, unknown spacing, start or end outside the schedule or without a finite log-SNR, or more
            steps than there are integers between them.
    Source: Karras et al. 2022, equation 5; Lu et al. 2022; ledger M-14.
    """
    whole(steps=steps)
    known("spacing", spacing, SPACINGS)
    discrete, last = isinstance(schedule, DiscreteSchedule), schedule.last
    start = last if start is None else start
    if not 0 <= end < start <= last:
        raise ValueError(f"times must decrease: expected 0 <= end < start <= {last}, got start={start}, end={end}")
    if discrete and steps > start - end:
        raise ValueError(f"{steps} steps do not fit between t={start} and t={end}; at most {start - end}")
    if spacing == "time":
        times = torch.linspace(start, end, steps + 1, dtype=torch.float64, device="cpu")
        return times.round().long() if discrete else times
    ends = [float(schedule.logsnr(t)) for t in (start, end)]
    if not all(math.isfinite(lam) for lam in ends):
        raise ValueError(f"spacing {spacing!r} needs finite log-SNRs at start={start} and end={end}, got {ends}")
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64, device="cpu")
    if spacing == "karras":  # noise/signal = e^(−λ/2)
        roots = [math.exp(-lam / 2 / rho) for lam in ends]
        logsnr = -2 * rho * (roots[0] + share * (roots[1] - roots[0])).log()
    else:
        logsnr = ends[0] + share * (ends[1] - ends[0])
    times = time_of(schedule, logsnr)
    times[0], times[-1] = start, end  # exactly
    if not (times.diff() < 0).all():
        raise ValueError(f"{steps} steps {spacing!r} do not fit between t={start} and t={end}: two fall on one time")
    return times
