"""What lesson 22 hands out: two-dimensional worlds, networks trained on lines, walks, closed fields of velocities."""

from dataclasses import dataclass

import torch

from .. import flow, nets, training
from ..denoiser import Denoiser
from ..oracles import GaussianMixture
from ..samplers import DDIM
from ..schedules import Linear, time_grid
from ..tensors import known, randn_like

BEHAVIOURS = ("right", "sign turned", "time reversed", "v for velocity", "noise for velocity")


def world():
    """Three clouds of points in the plane, not alike, a GaussianMixture."""
    return GaussianMixture([0.3, 0.5, 0.2], [[-2.0, 0.0], [1.0, 1.5], [1.0, -1.5]], [0.1, 0.05, 0.2])


def learned(draw, steps, seed=0, batch=256, width=96, times=None):
    """A Denoiser, a small network of velocities trained here; draw(n, generator) gives pairs x0, eps (n, 2).

    times: n -> (n,), the times to train at; uniform unless said.
    """
    torch.manual_seed(seed)
    model = Denoiser(nets.TimeMLP(2, width, time_scale=1000.0), Linear(), "velocity")
    ema = training.EMA(model, 0.99)

    def loss(model, _, generator, step):
        x0, eps = draw(batch, generator)
        t = times(batch) if times else flow.sample_times(batch, generator)
        return flow.loss(model, x0, t, eps).mean()

    training.fit(
        model, loss, torch.zeros(batch, 1), steps=steps, batch_size=batch, lr=training.CosineLR(3e-3, steps),
        ema=ema, seed=seed, progress=False,
    )  # fmt: skip
    return ema.model


def independent(n, generator):
    """Pairs that know nothing of each other."""
    x0 = world().sample(n, generator).float()
    return x0, randn_like(x0, generator)


def coupled(n, generator):
    """Pairs put into the order that costs least, in each batch."""
    x0, eps = independent(n, generator)
    return x0, flow.couple(x0, eps)


def reflowed(denoiser, n=8192, steps=100, seed=7):
    """A function that draws from n pairs (x0, ε) which the flow of ``denoiser`` joins."""
    eps = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    x0 = flow.reflow(denoiser, eps, time_grid(denoiser.schedule, steps), DDIM())

    def draw(n, generator):
        i = torch.randint(len(x0), (n,), generator=generator)
        return x0[i], eps[i]

    return draw


@dataclass(frozen=True, repr=False)
class Field:
    """A closed field: field(x, t) -> the velocity at x (B,) at time t, a number in (0, 1), or something taken for it.

    All data are one number, ``data``; t = 0 is the data and t = 1 noise, x_t = (1 − t) x_0 + t ε.

    Args:
        name: says nothing of the behaviour. data: the number.
        behaviour: "right": ε − x_0 given x_t. "sign turned": x_0 − ε. "time reversed": the right one, of time 1 − t.
            "v for velocity": (1 − t) ε − t x_0, what v-prediction calls v. "noise for velocity": ε.
    Source: ledger M-32, TAKE-4; public issues of two opposite conventions of time and sign (LFM 19, flow_grpo 32).
    """

    name: str
    data: float
    behaviour: str

    def __post_init__(self):
        known("behaviour", self.behaviour, BEHAVIOURS)

    def __call__(self, x, t):
        """x: (B,) or a number's tensor; t: a number in (0, 1)."""
        if not 0 < t < 1:
            raise ValueError(f"expected a time between 0 and 1, got {t}")
        t = 1 - t if self.behaviour == "time reversed" else t
        eps = (x - (1 - t) * self.data) / t
        return {
            "sign turned": self.data - eps,
            "v for velocity": (1 - t) * eps - t * self.data,
            "noise for velocity": eps,
        }.get(self.behaviour, eps - self.data)

    def __repr__(self):
        return f"the {self.name} field"


def fields(data=2.0, seed=0):
    """Letter -> Field, one of each behaviour, in an order that the seed draws."""
    order = torch.randperm(len(BEHAVIOURS), generator=torch.Generator().manual_seed(2200 + seed), device="cpu").tolist()
    return {letter: Field(letter, data, BEHAVIOURS[i]) for letter, i in zip("ABCDE", order, strict=True)}
