"""A denoiser is anything with a ``schedule`` that answers ``denoiser(x_t, t, **cond)`` with a Prediction.

Trained networks, exact oracles, guidance and students all have this shape, so a sampler needs to know only one.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from . import parameterization as P
from .parameterization import TARGETS
from .process import check_time, tau
from .schedules import Rescaled, listed, respaced
from .tensors import expand, host, known, to_device


class Prediction:
    """What a denoiser says about x_t, in the form that is asked for: .x0 .eps .score .v .velocity, each of x_t's shape.

    Built from exactly one of them; the others are derived when first used. ``mean``, the mean of q(x_s | x_t, x_0),
    needs the earlier time ``s`` too.

    Args:
        schedule, x_t, t: where the prediction was made.
        x0, eps, score, v, velocity, mean: exactly one, (B, ...).
        s: the earlier time that ``mean`` speaks of.
        fraction: where between log β̃ (0) and log β (1) the network puts the log-variance of a reverse step, (B, ...),
            if it says so; see ``log_variance``.
    Raises:
        ValueError: not exactly one was given, or its shape is not x_t's.
    Source: ledger PAR-1, PAR-2, PAR-4.
    """

    def __init__(self, schedule, x_t, t, *, s=None, fraction=None, **given):
        if len(given) != 1 or not set(given) <= set(TARGETS):
            raise ValueError(f"give exactly one of {', '.join(TARGETS)}; got {', '.join(given) or 'none'}")
        ((self.kind, value),) = given.items()
        if value.shape != x_t.shape:
            raise ValueError(f"{self.kind} has shape {tuple(value.shape)}, x_t has {tuple(x_t.shape)}; they must agree")
        self.schedule, self.x_t, self.t, self.fraction = schedule, x_t, t, fraction
        if self.kind == "mean":
            if s is None:
                raise ValueError("a predicted mean belongs to a pair s < t; s is missing")
            self.kind, value = "x0", P.x0_from_mean(schedule, x_t, value, s, t)
        self.__dict__[self.kind] = value

    def _derive(self, target):
        convert = getattr(P, f"{target}_from_{self.kind}")
        return convert(self.schedule, self.x_t, self.__dict__[self.kind], self.t)

    @cached_property
    def x0(self):
        return self._derive("x0")

    @cached_property
    def eps(self):
        return self._derive("eps")

    @cached_property
    def score(self):
        return self._derive("score")

    @cached_property
    def v(self):
        return self._derive("v")

    @cached_property
    def velocity(self):
        return self._derive("velocity")

    def log_variance(self, s):
        """log σ² of p(x_s | x_t) = f log(noise_t² τ) + (1 − f) log(noise_s² τ), f = fraction: (B, ...).

        The two ends are β_t and β̃_t at s = t − 1, and what takes their place when steps are skipped. Where s is the
        clean state (noise_s = 0) the second is no variance, and log(noise_t² τ) stands for it too. Logarithms are
        interpolated: variances of neighbouring ends differ little, those near the data by powers of ten.

        Raises:
            ValueError: no fraction was predicted, or s is not before t.
        Source: Nichol & Dhariwal 2021, equation 15; ledger VAR-1, E-32.
        """
        if self.fraction is None:
            raise ValueError('this denoiser predicts no variance; Denoiser(..., variance="learned") does')
        share, noise_s = tau(self.schedule, s, self.t), self.schedule.noise(s)
        high = self.schedule.noise(self.t) ** 2 * share
        if isinstance(share, torch.Tensor):
            noise_s = host(noise_s)  # a number where s is one and t is not
            low = torch.where(noise_s > 0, noise_s**2 * share, high)
            high, low = high.log(), low.log()
        else:
            low = noise_s**2 * share if noise_s > 0 else high
            high, low = math.log(high), math.log(low)
        high, low = expand(high, self.x_t), expand(low, self.x_t)
        return self.fraction * high + (1 - self.fraction) * low

    @property
    def logvar(self):
        """``log_variance`` of the step from t to t − 1 of a discrete schedule."""
        return self.log_variance(self.t - 1)

    def frozen(self):
        """The Prediction whose x0 carries no gradient, so that a loss on it trains the variance alone."""
        return Prediction(self.schedule, self.x_t, self.t, x0=self.x0.detach(), fraction=self.fraction)

    def clip(self, low=-1.0, high=1.0):
        """The Prediction whose x0 is this one's, clipped to [low, high]; eps, score and v follow from it."""
        return Prediction(self.schedule, self.x_t, self.t, x0=self.x0.clamp(low, high), fraction=self.fraction)


class Denoiser(torch.nn.Module):
    """A network, the schedule it was trained on, and what its output means.

    Args:
        net: called as net(x_t, t, **cond), t a tensor (B,) on x_t's device: integers for a discrete schedule,
            x_t's dtype for a continuous one. Returns x_t's shape.
        schedule: kept outside the module's buffers, in float64, so ``.to(bfloat16)`` does not touch it.
        predicts: "eps", "x0", "v", "score", "velocity" or "mean" (of q(x_{t−1} | x_t, x_0); discrete schedules only).
        variance: "fixed", or "learned": the network gives twice as many channels, and the second half, o, says where
            the log-variance of the reverse step lies, fraction (o + 1)/2.
    Raises:
        ValueError: unknown ``predicts`` or variance; or, when called, a network output of another shape than expected.
    Source: ledger PAR-2, PAR-3, PAR-4, VAR-1.
    """

    def __init__(self, net, schedule, predicts="eps", variance="fixed"):
        super().__init__()
        known("prediction", predicts, TARGETS)
        known("variance", variance, ("fixed", "learned"))
        if predicts == "mean" and not hasattr(schedule, "T"):
            raise ValueError('predicts="mean" speaks of the step from t to t - 1 and needs a discrete schedule')
        self.net, self.schedule, self.predicts, self.variance = net, schedule, predicts, variance

    @property
    def channels(self):
        """Of the images that the network takes; None where it says nothing of them."""
        return getattr(self.net, "settings", {}).get("channels")

    @property
    def null_label(self):
        """What stands for "none" in y: the number of classes, or the padding of captions; None for a net without y."""
        null = getattr(self.net, "null", None)
        return (getattr(self.net, "settings", {}).get("classes") or None) if null is None else null

    def forward(self, x_t, t, **cond):
        """x_t: (B, ...); t: a number, () or (B,), best on the CPU, where schedules read it. Returns a Prediction."""
        check_time(self.schedule, t, x_t)
        dtype = torch.int64 if hasattr(self.schedule, "T") else x_t.dtype
        if isinstance(t, torch.Tensor):
            t_batch = to_device(t.to(dtype), x_t.device).expand(len(x_t))
        else:
            t_batch = torch.full((len(x_t),), t, dtype=dtype, device=x_t.device)
        s = t - 1 if self.predicts == "mean" else None
        out, fraction = self.net(x_t, t_batch, **cond), None
        if self.variance == "learned":
            if out.shape != (len(x_t), 2 * x_t.shape[1], *x_t.shape[2:]):
                got = f"{tuple(out.shape)} for x_t of {tuple(x_t.shape)}"
                raise ValueError(f"a learned variance needs twice as many channels, got a network output of {got}")
            out, fraction = out.chunk(2, dim=1)
            fraction = (fraction + 1) / 2
        return Prediction(self.schedule, x_t, t, s=s, fraction=fraction, **{self.predicts: out})


@dataclass(frozen=True)
class Wrapper:
    """A denoiser that asks another one, and has its schedule."""

    denoiser: object

    @property
    def schedule(self):
        return self.denoiser.schedule


@dataclass(frozen=True)
class Clipped(Wrapper):
    """A denoiser whose predicted x0 is kept in [low, high], the range of the data."""

    low: float = -1.0
    high: float = 1.0

    def __call__(self, x_t, t, **cond):
        return self.denoiser(x_t, t, **cond).clip(self.low, self.high)


@dataclass(frozen=True)
class InCoordinates(Wrapper):
    """A denoiser in other coordinates, y_t = scale(t) x_t: asked about y_t, it answers for x_t = y_t / scale(t).

    The same network is a noise-conditional score network in variance-exploding coordinates and a noise predictor in
    variance-preserving ones; ε̂ and x̂_0 are the same in both, the score is divided by scale(t). A learned variance is
    left behind: its upper end, β, is another in other coordinates.

    Args:
        denoiser: any.
        coordinates: "ve", "vp" or "line"; see ``schedules.Rescaled``.
    Source: ledger SCORE-1, PAR-4.
    """

    coordinates: str = "ve"

    @property
    def schedule(self):
        return Rescaled(self.denoiser.schedule, self.coordinates)

    def __call__(self, x_t, t, **cond):
        """x_t: (B, ...) in the new coordinates. Returns a Prediction in them."""
        schedule = self.schedule
        x0 = self.denoiser(x_t / expand(schedule.scale(t), x_t), t, **cond).x0
        return Prediction(schedule, x_t, t, x0=x0)


class Respaced:
    """A denoiser on the shorter chain that stops only at some of its times: step k of it is times[N − k].

    Its ``schedule`` has β of its own, so bounds, reverse variances and samplers of the short chain need to know nothing
    of the long one; only the network is told the time that it was trained with. A learned fraction is kept: it lies
    between log β̃ and log β of the *short* chain.

    Args:
        denoiser: on a variance-preserving schedule.
        times: N + 1 times, decreasing, to 0; see ``schedules.time_grid``.
    Raises:
        ValueError: see ``schedules.respaced``.
    Source: Nichol & Dhariwal 2021, section 4; ledger DDIM-9, E-68, VAR-1.
    """

    def __init__(self, denoiser, times):
        self.denoiser, self.schedule = denoiser, respaced(denoiser.schedule, times)
        numbers = listed(times)
        exact = torch.float64 if isinstance(numbers[0], float) else torch.int64
        self.times = torch.tensor(numbers[::-1], dtype=exact, device="cpu")  # times[k] for step k

    def __call__(self, x_t, t, **cond):
        """x_t: (B, ...); t: a number, () or (B,), 0..N."""
        check_time(self.schedule, t, x_t)
        asked = self.times[t.cpu() if isinstance(t, torch.Tensor) else t]
        p = self.denoiser(x_t, asked if isinstance(t, torch.Tensor) else asked.item(), **cond)
        return Prediction(self.schedule, x_t, t, fraction=p.fraction, **{p.kind: getattr(p, p.kind)})
