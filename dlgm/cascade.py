"""A cascade: one denoiser draws a small picture, others make it larger, each told the picture before.

    p(x) = p(low) p(x | low):    base  ──►  low  ── augment, enlarge ──►  upsampler  ──►  x   ──►  ...

The chain rule is exact where the upsampler is told what it was trained with. In training that is a small picture of
the data; in sampling one that another network drew, with errors of its own. Noise on the condition, in both, hides the
difference: if the base's pictures have an error of variance e² and the upsampler was trained with noise of variance
s² ≥ e² on true ones, then adding s² − e² in sampling gives it the training law again.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .losses import prediction_loss, sample_t
from .process import q_sample
from .samplers import DDIM, sample
from .tensors import home, randn_like, to_device


def shrink(x, factor=2):
    """Means of squares of factor × factor pixels: (B, C, H, W) -> (B, C, H/factor, W/factor).

    Raises:
        ValueError: factor does not divide the sides.
    """
    if x.shape[2] % factor or x.shape[3] % factor:
        raise ValueError(f"expected sides that {factor} divides, got {tuple(x.shape[2:])}")
    return F.avg_pool2d(x, factor)


def enlarge(x, factor=2):
    """Between the pixels straight lines: (B, C, H, W) -> (B, C, factor H, factor W).

    Source: Saharia et al. 2021 (SR3), section 2.1; ledger CASC-2.
    """
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def condition(schedule, low, level, factor=2, generator=None):
    """What an upsampler is told of a small picture: signal(level) low + noise(level) ε, made large; (B, C, f H, f W).

    First to [−1, 1], then noise, then size, in training and in sampling: in another order the noise has another
    strength or another grain.

    Args:
        level: a time of the schedule, a number or (B,); 0 adds nothing.
    Source: Ho et al. 2022 (cascades), section 4.2; ledger CASC-2, M-26.
    """
    return enlarge(q_sample(schedule, low, level, randn_like(low, generator)), factor)


def loss(denoiser, x0, generator=None, most=300, factor=2, **cond):
    """What an upsampler is trained on: its squared error, told x0 made small, noised to a level of 0 to ``most``; (B,).

    Args:
        denoiser: its network takes ``beside`` and ``level``.
        x0: (B, C, H, W). cond: what else it is told.
    Source: Ho et al. 2022 (cascades), section 4.2; Saharia et al. 2022, section 2.4; ledger CASC-2, M-26.
    """
    level = torch.randint(0, most + 1, (len(x0),), generator=generator, device=home(generator)).cpu()
    beside = condition(denoiser.schedule, shrink(x0, factor), level, factor, generator)
    t = sample_t(denoiser.schedule, len(x0), generator)
    cond |= {"beside": beside, "level": to_device(level, x0.device)}
    return prediction_loss(denoiser, x0, t, randn_like(x0, generator), **cond)


def added_level(schedule, level, error):
    """How much noise to add in sampling, so that a picture with errors looks as in training: (scale, std), numbers.

    The upsampler was trained with signal(level) low + noise(level) ε. Told scale · low + std · ε of a low with an error
    of standard deviation ``error``, it sees the same law: scale = signal(level), std² = noise² − signal² error².

    Raises:
        ValueError: the error is larger than what the training covered, noise(level)/signal(level).
    Source: ledger CASC-1, M-26.
    """
    signal, noise = float(schedule.signal(level)), float(schedule.noise(level))
    left = noise**2 - (signal * error) ** 2
    if left < 0:
        raise ValueError(f"level {level} covers errors up to {noise / signal:.3g}, got {error}; take a higher level")
    return signal, left**0.5


@dataclass(frozen=True)
class Cascade:
    """Denoisers, the smallest picture's first; each further one is told the picture before, noised and made large.

    Args:
        models: denoisers; guided ones, clipped ones, oracles too.
        levels: to which each further one's condition is noised, one number for all or one for each.
        factor: by which each makes larger.
    Source: Ho et al. 2022 (cascades), algorithm 1; Saharia et al. 2022, section 2; ledger CASC-1, CASC-3.
    """

    models: tuple
    levels: object = 0
    factor: int = 2

    def sample(self, shape, times, generator=None, sampler=None, device=None, **cond):
        """Pictures at every size, the smallest first: a list of (B, C, H, W).

        Args:
            shape: (B, C, H, W) of the smallest. times: see ``samplers.sample_path``; of all models.
            device: where the models are; that of the generator unless said.
            cond: what every model is told, such as the caption.
        Raises:
            ValueError: there is not one level for each model that makes larger.
        """
        sampler, base = sampler or DDIM(), self.models[0]
        start = base.schedule.start(shape, generator)
        start = start if device is None else to_device(start, device)
        pictures = [sample(base, sampler, start, times, generator, **cond)]
        more = self.models[1:]
        levels = self.levels if isinstance(self.levels, (tuple, list)) else (self.levels,) * len(more)
        if len(levels) != len(more):
            raise ValueError(f"expected {len(more)} levels, one for each model that makes larger, got {len(levels)}")
        for model, level in zip(more, levels, strict=True):
            pictures.append(self.enlarged(model, pictures[-1], level, times, generator, sampler, **cond))
        return pictures

    def enlarged(self, model, low, level, times, generator=None, sampler=None, **cond):
        """One picture made larger by one of the models."""
        beside = condition(model.schedule, low, level, self.factor, generator)
        told = torch.full((len(low),), level, device=low.device)
        start = model.schedule.start(beside.shape, generator).to(beside)
        return sample(model, sampler or DDIM(), start, times, generator, beside=beside, level=told, **cond)


@dataclass(frozen=True)
class PriorDecoder:
    """DALL·E 2's way from a caption to a picture: a prior draws the picture's vector, a decoder the picture from it.

    Args:
        prior: a denoiser of vectors that is told ``beside``, the caption's vectors.
        decoder: a denoiser of pictures. told: function vectors -> dict of what the decoder is told of them.
    Source: Ramesh et al. 2022, section 2; ledger LAT-3, M-30.
    """

    prior: object
    decoder: object
    told: object = lambda z: {"beside": z}

    def sample(self, captions, dim, shape, times, generator=None, sampler=None):
        """The vectors (B, dim) and the pictures (B, *shape) for vectors of captions (B, k)."""
        sampler = sampler or DDIM()
        z = self.prior.schedule.start((len(captions), dim), generator).to(captions)
        z = sample(self.prior, sampler, z, times, generator, beside=captions)
        x = self.decoder.schedule.start((len(captions), *shape), generator).to(captions)
        return z, sample(self.decoder, sampler, x, times, generator, **self.told(z))
