"""What lesson 19 hands out: small digits whose completions are known exactly, and a row of methods to complete them."""

from dataclasses import dataclass

import torch

from .. import data, losses, nets, restoration, training
from ..denoiser import Denoiser
from ..gaussian import Gaussian
from ..oracles import GaussianMixture
from ..restoration import Replacement
from ..samplers import DDPM, sample
from ..schedules import cosine_beta, time_grid
from ..tensors import known, randn_like


class SoftDigits:
    """8 × 8 digits, each pixel blurred by noise of standard deviation ``width``: a mixture, so that all is known.

    The upper half of a digit is measured with noise; ``answers`` draws from the exact posterior of the whole.

    Args:
        digits: how many, the first of the set. width: of a component. noise_std: of the measurement.
    Source: ledger APP-3.
    """

    def __init__(self, digits=300, width=0.2, noise_std=0.2):
        self.points = data.load("digits8")[0][:digits]
        self.width, self.noise_std, self.schedule = width, noise_std, cosine_beta()
        self.mixture = GaussianMixture(torch.ones(digits), self.points, torch.full((digits,), width**2))
        self.denoiser = self.mixture.denoiser(self.schedule)
        self.known = torch.zeros(1, 8, 8, dtype=torch.bool)
        self.known[:, :4] = True
        self.operator = restoration.mask(self.known)

    def draw(self, n, generator):
        """n digits and what is measured of each: two of (n, 1, 8, 8), the second 0 where nothing is known."""
        x = self.mixture.sample(n, generator).reshape(n, 1, 8, 8).float()
        noise = torch.randn(x.shape, generator=generator)
        return x, self.operator(x + self.noise_std * noise)

    def answers(self, y, n, generator):
        """n draws of p(x_0 | y) for each y (B, 1, 8, 8): (B, n, 1, 8, 8)."""
        seen = self.points[:, self.known]
        total = self.width**2 + self.noise_std**2
        apart = (y[:, self.known][:, None] - seen).square().sum(2)
        k = (-apart / (2 * total)).softmax(1).multinomial(n, True, generator=generator)
        gain = torch.where(self.known, self.width**2 / total, 0.0)
        mean = self.points[k] + gain * (y[:, None] - self.points[k])
        return Gaussian(mean, (self.width**2 * (1 - gain)).expand(mean.shape)).sample(generator)

    def methods(self, y):
        """name -> (sampler, denoiser) for measurements y; the pushes know noise_std, the others take y as it is."""
        push = lambda spread, weight=1.0: restoration.Reconstruction(  # noqa: E731
            self.denoiser, self.operator, y, self.noise_std, spread, weight
        )
        return {
            "replacement": (restoration.Replacement(DDPM(), self.known, y), self.denoiser),
            "RePaint, 5 times": (restoration.RePaint(DDPM(), self.known, y, 5), self.denoiser),
            "push, unit data": (DDPM(), push(restoration.of_unit_data)),
            "push, none": (DDPM(), push(restoration.none)),
            "push, none, half": (DDPM(), push(restoration.none, 0.5)),
            "null space": (DDPM(), restoration.NullSpace(self.denoiser, self.operator, y)),
        }


def palette(world, steps, seed=0):
    """A denoiser of soft digits that is shown, beside x_t, what was measured: trained on pairs of both.

    Source: Saharia et al. 2022 (Palette); ledger COND-2.
    """
    torch.manual_seed(seed)
    model = Denoiser(nets.UNet(1, (32, 64), beside=1), world.schedule, "v")
    ema = training.EMA(model, 0.995 if steps > 1000 else 0.98)

    def loss(model, batch, generator, step):
        x, y = world.draw(len(batch), generator)
        t, eps = losses.sample_t(world.schedule, len(x), generator), torch.randn(x.shape, generator=generator)
        return losses.prediction_loss(model, x, t, eps, weight=1 / 64, beside=y).mean()

    training.fit(
        model, loss, torch.zeros(64, 1), steps=steps, batch_size=64, ema=ema, seed=seed, progress=False,
        lr=training.CosineLR(3e-3, steps), optimizer=training.Muon,
    )  # fmt: skip
    return ema.model


@torch.no_grad()
def walk(world, sampler, denoiser, like, generator=None, steps=50, **cond):
    """Draws of like's shape from noise."""
    generator = generator or torch.Generator().manual_seed(0)
    x_T = world.schedule.start(like.shape, generator)
    return sample(denoiser, sampler, x_T, time_grid(world.schedule, steps), generator, **cond).float()


FAULTS = ("level of t", "no root", "unknown noised", "never at the end")


@dataclass(frozen=True)
class Faulty(Replacement):
    """``Replacement`` as people write it, with one fault.

    Args:
        fault: "level of t" draws the known entries at the level that the step came from; "no root" gives their noise
            the factor noise², not noise; "unknown noised" adds that noise to all entries; "never at the end" leaves
            the last step's known entries to the sampler.
    Source: ledger APP-3, M-38; diffusers issue 1581, lucidrains issues 319 and 322.
    """

    fault: str = "level of t"

    def __post_init__(self):
        known("fault", self.fault, FAULTS)

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        x, schedule = self.predictor.step(denoiser, state, s, generator, **cond), denoiser.schedule
        level = state.t if self.fault == "level of t" else s
        signal, noise = schedule.signal(level), schedule.noise(level)
        if self.fault == "never at the end" and schedule.noise(s) == 0:
            return x
        z = (noise**2 if self.fault == "no root" else noise) * randn_like(x, generator)
        rest = x + z if self.fault == "unknown noised" else x
        return torch.where(self.known.to(x.device), signal * self.y.to(x) + z, rest)
