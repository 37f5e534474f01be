"""Diagonal Gaussian data: what a sampler of the package does to them is a scalar recursion for each variance.

With an exact denoiser every step of a sampler is affine in the state and in the noise that it draws, coordinate by
coordinate: x_s = a x_t + b + Σ_k c_k z_k. So a Gaussian start stays Gaussian, and the law of the last state is exact,
without sampling, for any grid of times.

Tables and laws lie on the CPU in float64; what is asked about x is answered where x lies.
"""

import itertools
from dataclasses import dataclass

import torch

from ..data import photos
from ..denoiser import Prediction
from ..gaussian import Gaussian
from ..process import tau
from ..samplers import DPMSolverPP, State, sample
from ..schedules import listed
from ..tensors import double, expand, host, known, near, normal
from .mixtures import ExactDenoiser


class Spectrum:
    """Data N(mean, diag(variances)) in D coordinates, the axes of a covariance; both are kept on the CPU.

    Args:
        variances: (D,), not negative.
        mean: a number or (D,).
    Raises:
        ValueError: variances are not a list of numbers that are not negative, or mean has another shape.
    Source: ledger POST-6, DDIM-2, NUM-1, NUM-2.
    """

    def __init__(self, variances, mean=0.0):
        self.variances = host(variances)
        if self.variances.ndim != 1 or not (self.variances >= 0).all():
            raise ValueError(f"expected variances (D,), not negative, got shape {tuple(self.variances.shape)}")
        if host(mean).shape not in ((), self.variances.shape):
            raise ValueError(f"expected a mean () or ({len(self.variances)},), got shape {tuple(host(mean).shape)}")
        self.mean = host(mean).expand(len(self.variances)).contiguous()
        self.shape = self.variances.shape

    @classmethod
    def power_law(cls, D, exponent=2.0):
        """Variances j^(−exponent), j = 1..D, scaled to mean 1; on the CPU."""
        variances = torch.arange(1, D + 1, dtype=torch.float64, device="cpu") ** -exponent
        return cls(variances / variances.mean())

    @classmethod
    def photographs(cls, size=24, crops=8000, seed=0):
        """The variances along the axes of square pieces of the photographs that ship, D = 3 size², falling; on the CPU.

        Args:
            size: of a piece, in pixels. crops: pieces, from random places of the pictures in turn. seed: of the places.
        """
        generator, pieces, pictures = torch.Generator().manual_seed(seed), [], list(photos().values())
        for i in range(crops):
            picture = pictures[i % len(pictures)]
            y, x = (int(torch.randint(n - size + 1, (), generator=generator, device="cpu")) for n in picture.shape[1:])
            pieces.append(picture[:, y : y + size, x : x + size].flatten())
        return cls(torch.linalg.eigvalsh(torch.cov(torch.stack(pieces).T.double())).flip(0).clamp(min=0))

    # ---- the data ----------------------------------------------------------------------------------------------------
    def sample(self, n, generator=None):
        """n draws of the data, float64, on the generator's device: (n, D)."""
        z = normal((n, *self.shape), generator)
        mean, variances = near(self, z.device, "mean", "variances")
        return mean + variances.sqrt() * z

    def log_prob(self, x):
        """log p(x) in nats: (B, D) -> (B,).

        Raises:
            ValueError: a variance is 0.
        """
        y = double(x)
        mean, variances = (table.expand_as(y) for table in near(self, y.device, "mean", "variances"))
        return Gaussian(mean, variances).log_prob(y).to(x)

    def marginal(self, schedule, t):
        """The law of x_t, t a number, N(signal m, signal² v + noise²): a Gaussian (1, D), float64, on the CPU."""
        signal, noise = float(schedule.signal(t)), float(schedule.noise(t))
        return Gaussian(signal * self.mean[None], (signal**2 * self.variances + noise**2)[None])

    def posterior_mean(self, schedule, x_t, t):
        """E[x_0 | x_t] = m + signal v / (signal² v + noise²) (x_t − signal m): (B, D) -> (B, D).

        Source: ledger SCORE-6.
        """
        x = double(x_t)
        mean, v = near(self, x.device, "mean", "variances")
        signal, noise2 = expand(schedule.signal(t), x), expand(schedule.noise(t) ** 2, x)
        return (mean + signal * v / (signal**2 * v + noise2) * (x - signal * mean)).to(x_t)

    def x0_variance(self, schedule, t):
        """The mean over coordinates of Var(x_0 | x_t) = v noise² / (signal² v + noise²): a number, t a number."""
        signal2, noise2 = float(schedule.signal(t)) ** 2, float(schedule.noise(t)) ** 2
        return (self.variances * noise2 / (signal2 * self.variances + noise2)).mean().item()

    def denoiser(self, schedule):
        """The exact denoiser of these data."""
        return ExactDenoiser(self, schedule)

    def flow_map(self, schedule, x_t, t, s):
        """Where the probability flow takes x_t from t to s, numbers: the law of x_t stretched to that of x_s; (B, D).

        x_s = signal_s m + √(Var x_s / Var x_t) (x_t − signal_t m). What a student of one step would have to say.

        Raises:
            ValueError: a coordinate has no variance at t.
        Source: ledger SDE-4, DIST-1, M-32.
        """
        x = double(x_t)
        here, there = (self.marginal(schedule, time) for time in (t, s))
        if not (here.var > 0).all():
            raise ValueError(f"x_t has no variance at t={t} in some coordinate, so the flow cannot be followed from it")
        stretch, left, right = (v.to(x.device) for v in ((there.var / here.var).sqrt(), here.mean, there.mean))
        return (right + stretch * (x - left)).to(x_t)

    def reflowed(self, schedule):
        """The exact denoiser of the pairs that one reflow makes, x_0 = m + √v ε: a denoiser of these data.

        x_t = signal m + (signal √v + noise) ε tells ε, so its lines are followed without an error, in one step as in
        many.

        Source: Liu et al. 2023, theorem 3.6; ledger M-32.
        """
        return Reflowed(self, schedule)

    # ---- walks -------------------------------------------------------------------------------------------------------
    def walk(self, sampler, schedule, times, start=None):
        """The exact law of the last state of a walk with the exact denoiser: a Gaussian (1, D), float64, on the CPU.

        Args:
            sampler: whose step is affine in the state and in its noise, coordinate by coordinate.
            times: see ``samplers.sample_path``.
            start: the law at times[0], a Gaussian (1, D); that of ``schedule.start`` unless said.
        Raises:
            ValueError: a step is not affine.
        Source: ledger NUM-2, DDIM-6, DDIM-10, ALG-2.
        """
        if start is None:
            start = Gaussian(torch.zeros_like(self.mean[None]), float(schedule.start_std) ** 2)
        return walk(self.denoiser(schedule), sampler, times, start)

    def frechet(self, law):
        """Squared Fréchet distance of a diagonal law to the data, Σ (√v̂ − √v)² + (m̂ − m)²: a number.

        Source: Dowson & Landau 1982; ledger NUM-2, E-62.
        """
        mean, std = host(law.mean)[0], host(law.var.expand_as(law.mean))[0].sqrt()
        return ((mean - self.mean).square() + (std - self.variances.sqrt()).square()).sum().item()

    # ---- the bound ---------------------------------------------------------------------------------------------------
    def reverse_variance(self, schedule, s, t):
        """Var(x_s | x_t) = q m_s / m_t, q = noise_t² τ what was added from s to t, m the variances of x_s, x_t: (D,).

        On the CPU. In the papers' terms β̃_t + c_0² Var(x_0 | x_t): β̃_t for data of variance 0, β_t for variance 1.

        Source: Bao et al. 2022, theorem 1; ledger POST-6, VAR-1.
        """
        added = float(schedule.noise(t)) ** 2 * tau(schedule, s, t)
        return added * (self.marginal(schedule, s).var / self.marginal(schedule, t).var)[0]

    def step_kl(self, schedule, times, variance="posterior"):
        """E KL(q(x_s | x_t) ‖ p(x_s | x_t)) of each step, exact means: Σ_d ½ (r − 1 − log r), r = exact/σ²; (N,).

        Nats, on the CPU. Together with KL(q(x_T) ‖ p(x_T)) at the top it is what the bound exceeds the entropy by.

        Args:
            times: N + 1 times, decreasing, to 0.
            variance: σ² of a step, one number for all coordinates: "posterior" (β̃; at the last step, whose β̃ is 0, β),
                "beta", or "optimal", the mean of the exact ones, which no number beats.
        Raises:
            ValueError: unknown variance.
        Source: Nichol & Dhariwal 2021, section 3.1; ledger VAR-1, NUM-1.
        """
        known("variance", variance, ("posterior", "beta", "optimal"))
        times = listed(times)
        exact, fixed = [], []
        for t, s in itertools.pairwise(times):
            exact.append(self.reverse_variance(schedule, s, t))
            share, noise = tau(schedule, s, t), float(schedule.noise(s) or schedule.noise(t))
            fixed.append({
                "posterior": noise**2 * share,
                "beta": float(schedule.noise(t)) ** 2 * share,
                "optimal": exact[-1].mean().item(),
            }[variance])  # fmt: skip
        ratio = torch.stack(exact) / host(fixed)[:, None]
        return 0.5 * (ratio - 1 - ratio.log()).sum(1)


@dataclass(frozen=True)
class Reflowed:
    """See ``Spectrum.reflowed``."""

    world: Spectrum
    schedule: object

    def __call__(self, x_t, t, **cond):
        """x_t: (B, D); t: a number, () or (B,). Returns a Prediction."""
        x = double(x_t)
        mean, variances = near(self.world, x.device, "mean", "variances")
        signal, noise, std = expand(self.schedule.signal(t), x), expand(self.schedule.noise(t), x), variances.sqrt()
        eps = (x - signal * mean) / (signal * std + noise)
        return Prediction(self.schedule, x_t, t, x0=(mean + std * eps).to(x_t))


def walk(denoiser, sampler, times, start):
    """The exact law of the last state for any denoiser that is affine in x, coordinate by coordinate, right or wrong.

    Args:
        sampler, times: see ``Spectrum.walk``. start: the law at times[0], a Gaussian (1, D), float64, on the CPU.
    Returns:
        A Gaussian (1, D).
    Raises:
        ValueError: a step is not affine.
    Source: ledger SDE-9, NUM-2.
    """
    times = listed(times)
    mean, var = start.mean, start.var.expand_as(start.mean)
    if isinstance(sampler, DPMSolverPP):  # it looks back, so the whole walk is one map, and nothing is drawn
        x = torch.zeros(2, *mean.shape[1:], dtype=torch.float64, device="cpu")
        x[1] = 1
        out = sample(denoiser, sampler, x, times)
        gain = out[1:] - out[:1]
        return Gaussian(gain * mean + out[:1], gain**2 * var)
    for t, s in itertools.pairwise(times):
        gain, shift, added = _affine(denoiser, sampler, t, s, mean.shape[1:])
        mean, var = gain * mean + shift, gain**2 * var + added
    return Gaussian(mean, var)


class _Impulses:
    """In the place of a generator: the k-th draw is 1 in row 3 + k and 0 elsewhere."""

    def __init__(self):
        self.draws = 0

    def like(self, x):
        z = torch.zeros_like(x)
        z[3 + self.draws : 4 + self.draws] = 1
        self.draws += 1
        return z


def _affine(denoiser, sampler, t, s, shape, draws=1):
    """(a, b, Σ_k c_k²), each (1, D), of one step x_s = a x_t + b + Σ_k c_k z_k: asked at x_t = 0, 1, 2, and z_k = 1.

    Raises:
        ValueError: what comes back lies on no line.
    """
    source, x = _Impulses(), torch.zeros(3 + draws, *shape, dtype=torch.float64, device="cpu")
    x[1], x[2] = 1, 2
    out = sampler.step(denoiser, State(t, x, denoiser(x, t)), s, source)
    if source.draws > draws:
        return _affine(denoiser, sampler, t, s, shape, source.draws)
    shift, gain = out[:1], out[1:2] - out[:1]
    if not torch.allclose(out[2:3], shift + 2 * gain, rtol=1e-9, atol=1e-12):
        raise ValueError(f"a step of {sampler} from t={t} to {s} is not affine in the state")
    return gain, shift, (out[3:] - shift).square().sum(0, keepdim=True)
