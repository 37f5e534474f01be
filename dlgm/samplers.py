"""One loop, and samplers that are small frozen dataclasses with a ``step``.

A sampler walks down a grid of times t_N > ... > t_0; the grid is an explicit tensor, and skipping steps is another
grid. A sampler keeps no state: everything it uses comes in as an argument, randomness included.
"""

import itertools
import math
from collections import deque
from dataclasses import dataclass

import torch

from .denoiser import Prediction
from .process import posterior_coefficients, q_sample, tau
from .schedules import increasing, listed
from .tensors import expand, known, randn_like, same_shape


@dataclass(frozen=True, eq=False)
class State:
    """One stop of a sampler: the time t, x_t (B, ...), and what the denoiser said there (None at the last stop).

    before: the States of up to two stops before it, the last one first, for samplers that look back.
    """

    t: float
    x: torch.Tensor
    prediction: Prediction | None
    before: tuple = ()


@torch.no_grad()
def sample_path(denoiser, sampler, x_T, times, generator=None, **cond):
    """Walk from times[0] to times[-1], yielding a State at each of the N + 1 times.

    Args:
        denoiser: has a ``schedule`` and answers denoiser(x_t, t, **cond) with a Prediction.
        sampler: DDPM(), DDIM(), ...
        x_T: (B, ...), the start, a sample of the law at times[0].
        times: N + 1 times that never increase, see ``schedules.time_grid``; only Langevin walks may repeat one.
        generator: source of all randomness of the walk.
    Raises:
        ValueError: times increase, or fewer than two.
    """
    times = listed(times)
    if len(times) < 2 or not all(s <= t for t, s in itertools.pairwise(times)):
        raise ValueError(f"times must be at least two, never increasing; got {times}")
    x, before = x_T, ()
    for t, s in itertools.pairwise(times):
        state = State(t, x, denoiser(x, t, **cond), before)
        yield state
        x = sampler.step(denoiser, state, s, generator, **cond)
        before = (State(t, state.x, state.prediction), *before)[:2]
    yield State(times[-1], x, None, before)


def sample(denoiser, sampler, x_T, times, generator=None, **cond):
    """The last x of ``sample_path``: x_0 where the times end at 0."""
    return deque(sample_path(denoiser, sampler, x_T, times, generator, **cond), maxlen=1).pop().x


def _with_noise(mean, variance, generator):
    """mean + √variance z, the variance a number or one for each entry; nothing is drawn where the number 0 stands."""
    if isinstance(variance, torch.Tensor):
        return mean + variance.sqrt() * randn_like(mean, generator)
    if variance == 0:
        return mean
    return torch.add(mean, randn_like(mean, generator), alpha=math.sqrt(variance))


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling: x_s ~ N(c_0 x̂_0 + c_t x_t, σ²), the posterior q(x_s | x_t, x_0) with x̂_0 for x_0.

    variance "posterior" takes σ² = noise_s² τ (β̃_t for s = t − 1), right for a single data point; "beta" takes
    σ² = noise_t² τ (β_t), right for standard normal data; "predicted" what the denoiser says of this pair of times
    (``Prediction.log_variance``); "optimal" β̃ + c_0² V, which no other number beats, with V the mean of Var(x_0 | x_t)
    that an exact denoiser knows (``x0_variance(t)``). Where the clean state is reached (noise_s = 0) no noise is added,
    whichever was chosen.

    Raises:
        ValueError: unknown variance; on the way, one that the denoiser does not know.
    Source: Ho et al. 2020, algorithm 2; Bao et al. 2022, theorem 1; ledger ALG-2, ALG-4, ALG-6, SCHED-2, SDE-8, VAR-1;
        errata E-24, E-46.
    """

    variance: str = "posterior"

    def __post_init__(self):
        known("variance", self.variance, ("posterior", "beta", "predicted", "optimal"))

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        c_0, c_t, v = posterior_coefficients(denoiser.schedule, s, state.t)
        if self.variance == "beta" and v > 0:
            v = denoiser.schedule.noise(state.t) ** 2 * tau(denoiser.schedule, s, state.t)
        if self.variance == "predicted" and v > 0:
            v = state.prediction.log_variance(s).exp()
        if self.variance == "optimal" and v > 0:
            if not hasattr(denoiser, "x0_variance"):
                raise ValueError(f"the optimal variance needs a denoiser with x0_variance(t), got {denoiser}")
            v = v + c_0**2 * denoiser.x0_variance(state.t)
        return _with_noise(c_0 * state.prediction.x0 + c_t * state.x, v, generator)


@dataclass(frozen=True)
class DDIM:
    """x_s = signal_s x̂_0 + √(noise_s² − v) ε̂ + √v z,  v = η² noise_s² τ.

    η = 0 is deterministic, η = 1 is DDPM with the posterior variance. For every η the marginals of x_s are kept when
    x̂_0 is x_0. "hat" is the σ̂ row of the paper's tables: the mean of η = 1 with noise of variance noise_t² τ, at the
    last step too.

    Args:
        eta: a number in [0, 1], or "hat".
    Raises:
        ValueError: any other eta.
    Source: Song, Meng & Ermon 2021, equations 12 and 16; ledger DDIM-6, DDIM-9, DDIM-11, E-31.
    """

    eta: float = 0.0

    def __post_init__(self):
        if self.eta != "hat" and (isinstance(self.eta, str) or not 0 <= self.eta <= 1):
            raise ValueError(f'eta must be "hat" or lie in [0, 1], got {self.eta}')

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        schedule, p = denoiser.schedule, state.prediction
        noise_s = schedule.noise(s)
        hat, later = self.eta == "hat", tau(schedule, s, state.t)
        share = later if hat else self.eta**2 * later
        mean = schedule.signal(s) * p.x0 + noise_s * math.sqrt(1 - share) * p.eps
        return _with_noise(mean, schedule.noise(state.t) ** 2 * later if hat else noise_s**2 * share, generator)


# ---- equations, solved in steps -------------------------------------------------------------------------------------
def _rates(schedule, t):
    """(f, g²) of the schedule at t, numbers."""
    if not hasattr(schedule, "sde"):
        raise ValueError(f"this sampler needs a schedule with sde(t), got {schedule}")
    if schedule.signal(t) == 0:
        raise ValueError(f"no signal is left at t={t}, where the equation has no finite rates; start at a smaller time")
    return tuple(float(rate) for rate in schedule.sde(t))


@dataclass(frozen=True)
class EulerMaruyama:
    """Straight steps along the reverse equation, x_s = x_t − [f x_t − ½ (1 + a) g² score] Δ + √(a g² Δ) z, Δ = t − s.

    Every a = churn ≥ 0 has the marginals q(x_t) where the score is exact: 1 is the reverse SDE, 0 the probability flow.
    What a adds is Langevin dynamics at each level, which forgets errors of the score's making. First order in Δ, in the
    law. The noise stays on at the last step.

    Args:
        churn: a.
    Raises:
        ValueError: churn < 0; on the way, a schedule without sde(t), or a time without signal.
    Source: Anderson 1982; Song et al. 2021 (SDE), equations 6 and 13; Karras et al. 2022, equation 6; ledger SDE-3,
        SDE-5, SDE-6, SDE-9, M-12, QUIZ-2.2.
    """

    churn: float = 1.0

    def __post_init__(self):
        if not self.churn >= 0:
            raise ValueError(f"expected churn >= 0, got {self.churn}")

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        (f, g2), dt = _rates(denoiser.schedule, state.t), state.t - s
        drift = f * state.x - 0.5 * (1 + self.churn) * g2 * state.prediction.score
        return _with_noise(state.x - dt * drift, self.churn * g2 * dt, generator)


@dataclass(frozen=True)
class Euler:
    """Straight steps along the probability flow, x_s = x_t − u (t − s), u = f x_t − ½ g² score the velocity.

    EulerMaruyama(0), also at a time without signal where the schedule says its ``rates`` and the denoiser does not
    predict ε. On ``schedules.Linear`` it is DDIM.

    Source: Song et al. 2021 (SDE), equation 13; Liu et al. 2023; ledger SDE-4, SDE-7, M-32.
    """

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        return state.x - (state.t - s) * state.prediction.velocity


@dataclass(frozen=True)
class Heun:
    """The probability flow in y = x/signal, dy/dρ = ε̂, ρ = noise/signal, by the trapezoidal rule with a DDIM predictor.

        x_s = (signal_s/signal_t) x_t + ½ [noise_s − (signal_s/signal_t) noise_t] (ε̂_t + ε̂_s'),   ε̂_s' at the DDIM step

    Second order; two calls of the network a step. Where s is clean or t is without signal it is the DDIM step.

    Source: Karras et al. 2022, algorithm 1; ledger SDE-4, M-14.
    """

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        schedule, p = denoiser.schedule, state.prediction
        x = DDIM().step(denoiser, state, s)
        signal_t, noise_s = schedule.signal(state.t), schedule.noise(s)
        if signal_t == 0 or noise_s == 0:
            return x
        ratio = schedule.signal(s) / signal_t
        slope = (p.eps + denoiser(x, s, **cond).eps) / 2
        return ratio * state.x + (noise_s - ratio * schedule.noise(state.t)) * slope


@dataclass(frozen=True)
class DPMSolverPP:
    """The probability flow in λ = log-SNR/2, its linear part exact, x̂_0 a polynomial through the last ``order`` stops.

        x_s = (noise_s/noise_t) x_t + signal_s ∫ e^(λ − λ_s) x̂_0(λ) dλ   from λ_t to λ_s

    order 1 is DDIM. One call of the network a step, whatever the order; the first steps have fewer stops to look back
    to (for order 3 the very first asks once more, at its end, or the walk would be of order 2), and the step to the
    clean state, where λ is infinite, is that of DDIM.

    Args:
        order: 1, 2 or 3.
    Raises:
        ValueError: another order.
    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2 and appendix A; ledger M-14, M-18.
    """

    order: int = 2

    def __post_init__(self):
        known("order", self.order, (1, 2, 3))

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        schedule, t, x0 = denoiser.schedule, state.t, state.prediction.x0
        if schedule.signal(t) == 0 or schedule.noise(s) == 0:
            return DDIM().step(denoiser, state, s)
        half = [schedule.logsnr(v) / 2 for v in (s, t, *(b.t for b in state.before[: self.order - 1]))]
        past = [b.prediction.x0 for b, v in zip(state.before, half[2:], strict=False) if v > -math.inf]
        h, rest = half[0] - half[1], -math.expm1(half[1] - half[0])
        line = 1 - rest / h  # ∫ e^(λ − λ_s) u^k dλ is rest for k = 0, line for 1, curve for 2, u = (λ − λ_t)/h
        curve = 1 - 2 * line / h
        x = schedule.noise(s) / schedule.noise(t) * state.x + schedule.signal(s) * rest * x0
        if not past:
            if self.order < 3:
                return x
            return x + schedule.signal(s) * line * (denoiser(x, s, **cond).x0 - x0)
        r = (half[1] - half[2]) / h
        slope = (x0 - past[0]) / r
        if len(past) == 1:
            return x + schedule.signal(s) * line * slope
        q = (half[2] - half[3]) / h
        bend = (slope - (past[0] - past[1]) / q) / (r + q)
        return x + schedule.signal(s) * (line * (slope + r * bend) + curve * bend)


@dataclass(frozen=True)
class PredictorCorrector:
    """A step of any sampler, then ``moves`` Langevin moves at the level reached, of size h = 2 snr² noise_s².

    Where the score has the length √D/noise_s of pure noise's, snr is the ratio of a move's drift to its noise in Song
    et al.'s rule. Where s is the clean state there is no level to move at.

    Args:
        predictor: any sampler. snr: positive. moves: at each stop.
    Raises:
        ValueError: snr not positive, or fewer than one move.
    Source: Song et al. 2021 (SDE), algorithms 2 and 3; ledger M-11, SDE-5.
    """

    predictor: object
    snr: float = 0.16
    moves: int = 1

    def __post_init__(self):
        if not self.snr > 0 or self.moves < 1:
            raise ValueError(f"expected snr > 0 and moves >= 1, got {self.snr} and {self.moves}")

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        x, noise_s = self.predictor.step(denoiser, state, s, generator, **cond), denoiser.schedule.noise(s)
        if noise_s == 0:
            return x
        return langevin(lambda x: denoiser(x, s, **cond).score, x, self.moves, 2 * (self.snr * noise_s) ** 2, generator)


@dataclass(frozen=True)
class Rule:
    """A sampler made of any function, right or wrong: x_s = rule(x_t, prediction, t, s, z), z ~ N(0, I).

    Args:
        rule: answers with x_s, of x_t's shape.
    """

    rule: object

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        return self.rule(state.x, state.prediction, state.t, s, randn_like(state.x, generator))


@torch.no_grad()
def invert(denoiser, x, times, **cond):
    """The deterministic walk upwards, x_t = signal_t x̂_0 + noise_t ε̂, both asked at (x_s, s), s < t: the last x.

    Walked down again by DDIM(0) along the same times it comes back up to an error of the order of the steps. Where
    nothing has been added yet (noise_s = 0) there is no ε to speak of, and the network is asked about x_s at the first
    t.

    Args:
        x: (B, ...), at times[0].
        times: at least two, increasing.
    Raises:
        ValueError: times do not increase.
    Source: Song, Meng & Ermon 2021, section 4.3; ledger DDIM-8, M-17.
    """
    schedule = denoiser.schedule
    for s, t in itertools.pairwise(increasing(times)):
        p = denoiser(x, s if schedule.noise(s) > 0 else t, **cond)
        x0 = p.x0 if schedule.noise(s) > 0 else x
        x = schedule.signal(t) * x0 + schedule.noise(t) * p.eps
    return x


def slerp(a, b, share):
    """From a to b on the sphere, [sin((1−w)θ) a + sin(wθ) b] / sin θ with θ their angle: noise that stays noise.

    The straight line between two independent draws of N(0, I) passes at 1/√2 of their length.

    Args:
        a, b: (B, ...), not parallel. share: w, a number, () or (B,): 0 gives a, 1 gives b.
    Source: Shoemake 1985; Song, Meng & Ermon 2021, section 5.3.
    """
    same_shape(a=a, b=b)
    u, v = a.flatten(1), b.flatten(1)
    angle = torch.acos(torch.nn.functional.cosine_similarity(u, v, dim=1).clamp(-1, 1))
    w = expand(share, a)
    angle = angle.reshape(-1, *[1] * (a.ndim - 1))
    return (torch.sin((1 - w) * angle) * a + torch.sin(w * angle) * b) / torch.sin(angle)


def langevin(score, x, steps, step_size, generator=None):
    """Repeat x ← x + h score(x) + √(2h) z, z ~ N(0, I), h = step_size: (B, ...) -> (B, ...).

    As h → 0 and steps → ∞ the law of x becomes the one whose score it is. At finite h it is off by a term of order h:
    for N(0, v) the variance settles at v / (1 − h/2v).

    Source: Welling & Teh 2011, equation 3; Song & Ermon 2019, equation 4; ledger SCORE-7, GEN-6, M-11.
    """
    if not step_size > 0:
        raise ValueError(f"expected a step size > 0, got {step_size}")
    for _ in range(steps):
        x = x + step_size * score(x) + math.sqrt(2 * step_size) * randn_like(x, generator)
    return x


@dataclass(frozen=True)
class Langevin:
    """``langevin`` with the score of one noise level: ``moves`` moves of size h at time t, then x is carried to s.

    times that repeat t stay at its level. For s < t the state is scaled by signal_s/signal_t, so that the data in it
    keep their place; where s is the clean state (noise_s = 0, no score) the answer is x̂_0, Tweedie's formula.

    Args:
        step_size: h > 0.
        moves: at each time but the last.
    Raises:
        ValueError: step_size or moves not positive; or, on the way, no signal at t.
    Source: Song & Ermon 2019, algorithm 1 (α_i = 2h); ledger SCORE-7, M-11.
    """

    step_size: float
    moves: int = 1

    def __post_init__(self):
        if not self.step_size > 0 or self.moves < 1:
            raise ValueError(f"expected step_size > 0 and moves >= 1, got {self.step_size} and {self.moves}")

    def size(self, schedule, t):
        """h at time t."""
        return self.step_size

    def step(self, denoiser, state, s, generator=None, **cond):
        """x at s ≤ t from the State at t."""
        schedule, t = denoiser.schedule, state.t
        h = float(self.size(schedule, t))
        x = langevin(lambda x: state.prediction.score, state.x, 1, h, generator)
        x = langevin(lambda x: denoiser(x, t, **cond).score, x, self.moves - 1, h, generator)
        if s == t:
            return x
        if schedule.noise(s) == 0:
            return denoiser(x, t, **cond).x0
        if schedule.signal(t) == 0:
            raise ValueError(f"no signal is left at t={t}, so x cannot be carried to s={s}; start from a smaller time")
        return schedule.signal(s) / schedule.signal(t) * x


class AnnealedLangevin(Langevin):
    """Langevin walks down a ladder of noise levels, h_t = step_size · noise_t².

    Each move then has the same ratio of drift to noise at every level. Song & Ermon's rule α_i = ε σ_i²/σ_L² is
    step_size = ε/2σ_L². Variance-preserving and variance-exploding coordinates give the same walk.

    Args: see ``Langevin``; step_size 0.05 to 0.2 is usual, below 2 is needed.
    Source: Song & Ermon 2019, algorithm 1; ledger SCORE-1, SCORE-7, M-11.
    """

    def size(self, schedule, t):
        """h_t = step_size · noise_t²."""
        return self.step_size * schedule.noise(t) ** 2


def lag(step, moves, ratio):
    """ρ, the noise in an annealed Langevin walk over σ once it has settled, for data that are one point.

    A move multiplies the noise by 1 − step, a level multiplies σ by ``ratio``; with a = (1 − step)^(2 moves),

        ρ² = (1 − a) / ((1 − step/2) (1 − a/ratio²)).

    Returns:
        A number, inf where a ≥ ratio²: the walk never catches up with the ladder.
    Source: ledger M-11.
    """
    a = (1 - step) ** (2 * moves)
    return math.inf if a >= ratio**2 else math.sqrt((1 - a) / (1 - step / 2) / (1 - a / ratio**2))


# ---- walks that are looked at ---------------------------------------------------------------------------------------
def states(denoiser, sampler, x_T, times, generator=None, **cond):
    """Every x of ``sample_path`` in one tensor: (N + 1, B, ...)."""
    return torch.stack([state.x for state in sample_path(denoiser, sampler, x_T, times, generator, **cond)])


@torch.no_grad()
def walk(denoiser, step, x_T, times, seed=0, clip=True, told=lambda t, s: t):
    """A sampler made of any rule, right or wrong: x_s = step(x_t, mean, ε̂, std, z), from times[0] to times[-1].

    Args:
        step: gets mean and standard deviation of q(x_s | x_t, x̂_0), and z ~ N(0, I). mean + std · z is ALG-2.
        times: N + 1 decreasing whole numbers. seed: of all z.
        clip: whether x̂_0 is kept in [−1, 1].
        told: the time that the network is told, a function of (t, s).
    Source: ledger ALG-2.
    """
    x, generator = x_T, torch.Generator().manual_seed(seed)
    for t, s in itertools.pairwise(times.tolist()):
        p = Prediction(denoiser.schedule, x, t, v=denoiser(x, told(t, s)).v)
        p = p.clip() if clip else p
        c_0, c_t, variance = posterior_coefficients(denoiser.schedule, s, t)
        x = step(x, c_0 * p.x0 + c_t * x, p.eps, math.sqrt(variance), randn_like(x, generator))
    return x


@dataclass(frozen=True, eq=False)
class Answers:
    """What a denoiser said at several times, ready to be drawn.

    Attributes:
        times: (N,). x_t, eps, x0: (N, C, H, W).
        error: (N,), the root mean squared error of x̂_0 in grey levels of 255, against ``truth`` (C, H, W).
    """

    times: list
    x_t: torch.Tensor
    eps: torch.Tensor
    x0: torch.Tensor
    truth: torch.Tensor

    @property
    def error(self):
        return (self.x0 - self.truth).square().flatten(1).mean(1).sqrt() * 127.5


@torch.no_grad()
def one_step_answers(denoiser, image, eps, times):
    """The answers about one image made noisy with one noise, x_t = signal x_0 + noise ε: Answers.

    Args:
        image, eps: (C, H, W).
        times: whole numbers from 1.
    """
    t = torch.tensor(times, device="cpu")
    x_t = q_sample(denoiser.schedule, image.expand(len(t), *image.shape), t, eps.expand(len(t), *eps.shape))
    p = denoiser(x_t, t)
    return Answers(list(times), x_t, p.eps, p.x0, image)


def path_answers(denoiser, sampler, x_T, times, generator=None, every=1):
    """The answers along a sampling path, every so many stops; the truth is where the path ends: Answers.

    Args:
        x_T: (C, H, W), the size of every state of the walk; each step asks the denoiser once.
    Source: ledger NUM-5, NUM-6, TAKE-3.
    """
    states = list(sample_path(denoiser, sampler, x_T[None], times, generator))
    kept = [state for state in states[:-1] if state.prediction is not None][::-1][::every]
    stack = [torch.cat(v) for v in zip(*((s.x, s.prediction.eps, s.prediction.x0) for s in kept), strict=True)]
    return Answers([int(s.t) for s in kept], *stack, states[-1].x[0])
