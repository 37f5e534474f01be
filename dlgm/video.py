"""Clips (B, F, C, H, W): frames that are known and frames that are asked for, and numbers that say how things move.

A denoiser of clips (``nets.VideoUNet``) can be told some of the frames: the first ones, to go on from them; every
second one, to fill in the others; none. One network serves all of these if it was trained so. One that was trained for
nothing of the kind can be steered (``restoration``): by replacing what is known, or by pushing with its reconstruction.
"""

from dataclasses import dataclass

import torch

from .denoiser import Prediction, Wrapper
from .losses import sample_t
from .process import q_sample
from .samplers import DDIM, sample
from .tensors import home, randn_like, to_device


def every(frames, step):
    """Which of F frames are every ``step``-th, from the first: (F,), true or false, on the CPU."""
    return torch.arange(frames, device="cpu") % step == 0


def random_known(n, frames, generator=None):
    """Masks to train with, (n, F): none known (3 of 10), the first few (3), every second or fourth (3), any (1).

    At least one frame is always unknown. They lie on the CPU.
    """
    kind, share = torch.rand(2, n, 1, generator=generator, device=home(generator)).cpu()
    place = torch.arange(frames, device="cpu").expand(n, -1)
    first = place < 1 + (share * (frames - 1)).long().clamp(max=frames - 2)
    spaced = place % torch.where(share < 0.5, 2, 4) == 0
    any_of = torch.rand(n, frames, generator=generator, device=home(generator)).cpu() < share
    any_of[:, -1] = False
    kinds = [torch.zeros_like(first), first, spaced, any_of]
    which = (kind > torch.tensor([0.3, 0.6, 0.9], device="cpu")).sum(1, keepdim=True)
    return torch.stack(kinds).gather(0, which.expand(-1, frames)[None])[0]


def beside(clip, known):
    """What a network is told of the frames that are known: they, 0 for the others, and a channel that says which.

    Args:
        clip: (B, F, C, H, W); only its known frames are looked at. known: (B, F) or (F,), true or false.
    Returns:
        (B, F, C + 1, H, W).
    Source: Ho et al. 2022 (Imagen Video), section 2.3; Voleti et al. 2022; ledger VID-1, M-28.
    """
    known = _spread(known, clip)
    there = known.to(clip).expand(*clip.shape[:2], 1, *clip.shape[3:])
    return torch.cat([torch.where(known, clip, torch.zeros_like(clip)), there], 2)


def _spread(known, clip):
    """The mask as (B, F, 1, 1, 1) on the clip's device."""
    if known.shape not in (clip.shape[:2], clip.shape[1:2]):
        raise ValueError(f"expected a mask {tuple(clip.shape[:2])} or {tuple(clip.shape[1:2])}, got {known.shape}")
    return to_device(known, clip.device).expand(clip.shape[:2])[..., None, None, None]


def loss(denoiser, x0, known, generator=None, **cond):
    """The mean squared error of what the network predicts of the frames that it is not told, (B,).

    Args:
        x0: (B, F, C, H, W). known: (B, F).
    Source: ledger VID-1, LOSS-1, M-28.
    """
    t, eps = sample_t(denoiser.schedule, len(x0), generator), randn_like(x0, generator)
    p = denoiser(q_sample(denoiser.schedule, x0, t, eps), t, beside=beside(x0, known), **cond)
    truth = getattr(Prediction(p.schedule, p.x_t, t, eps=eps), p.kind)
    asked = ~_spread(known, x0)
    error = (asked * (truth - getattr(p, p.kind)).square()).flatten(1).sum(1)
    return error / (asked.flatten(1).sum(1) * x0[0, 0].numel())


@dataclass(frozen=True)
class Told(Wrapper):
    """A denoiser that is told frames: its network hears them, and its x̂_0 has them as they are.

    Args:
        denoiser: trained with ``loss``. clip, known: see ``beside``; known false everywhere tells nothing.
    Source: ledger VID-1, M-28.
    """

    clip: torch.Tensor
    known: torch.Tensor

    def __call__(self, x_t, t, **cond):
        """x_t: (B, F, C, H, W). Returns a Prediction."""
        p = self.denoiser(x_t, t, beside=beside(self.clip.to(x_t), self.known), **cond)
        return Prediction(self.schedule, x_t, t, x0=torch.where(_spread(self.known, x_t), self.clip.to(x_t), p.x0))


def of_weight(w):
    """The ``spread`` of ``restoration.Reconstruction`` that is reconstruction guidance of constant weight w.

    x̂_0 − (w signal/2) ∇‖y − A x̂_0‖² is the push of log N(y; A x̂_0, r² A Aᵀ) with r² = noise²/(w signal²).

    Source: Ho et al. 2022 (video), equation 7; ledger APP-3, M-28.
    """
    return lambda schedule, t: float(schedule.noise(t)) ** 2 / (w * float(schedule.signal(t)) ** 2)


def extend(denoiser, clip, frames, overlap, times, generator=None, sampler=None, **cond):
    """The clip with at least so many frames more, drawn window by window: each is told the last ``overlap`` frames.

    Args:
        denoiser: trained with ``loss``. clip: (B, F, C, H, W); windows have F frames, too.
    Raises:
        ValueError: overlap does not lie between 1 and F − 1.
    Source: Ho et al. 2022 (video), section 3.1; ledger VID-1, M-28.
    """
    F = clip.shape[1]
    if not 1 <= overlap < F:
        raise ValueError(f"expected 1 <= overlap < {F}, got {overlap}")
    known, out = torch.arange(F, device="cpu") < overlap, clip
    while out.shape[1] < F + frames:
        window = torch.cat([out[:, -overlap:], torch.zeros_like(clip[:, overlap:])], 1)
        start = denoiser.schedule.start(window.shape, generator).to(clip)
        drawn = sample(Told(denoiser, window, known), sampler or DDIM(), start, times, generator, **cond)
        out = torch.cat([out, drawn[:, overlap:]], 1)
    return out


def between(denoiser, clip, times, factor=2, generator=None, sampler=None, **cond):
    """A clip with ``factor`` times as many frames: the given ones stay, the others are drawn; (B, factor F, ...).

    Source: Ho et al. 2022 (Imagen Video), section 2.3; ledger VID-1, M-28.
    """
    F = factor * clip.shape[1]
    known = every(F, factor)
    full = torch.zeros(len(clip), F, *clip.shape[2:], dtype=clip.dtype, device=clip.device)
    full[:, ::factor] = clip
    start = denoiser.schedule.start(full.shape, generator).to(clip)
    return sample(Told(denoiser, full, known), sampler or DDIM(), start, times, generator, **cond)


# ---- how things move ------------------------------------------------------------------------------------------------
def centroids(clips):
    """The centre of brightness of each frame: (B, F, C, H, W) in [−1, 1], −1 black -> (B, F, 2), (x, y) in pixels."""
    light = (clips.clamp(-1, 1) + 1).sum(2)
    light = light / light.flatten(2).sum(2).clamp(min=1e-6)[..., None, None]
    y, x = (torch.arange(n, device=clips.device, dtype=clips.dtype) for n in light.shape[2:])
    return torch.stack([(light.sum(2) * x).sum(2), (light.sum(3) * y).sum(2)], 2)


def folded_line(path, span, fastest=3.0, starts=64, speeds=61):
    """How near a path comes to a straight flight between two walls: its error and its speed, (B,) each.

    Along each axis the place is fold(start + speed · f) + offset, fold reflecting at 0 and at ``span``; the best of a
    grid of starts and speeds, the offset by least squares.

    Args:
        path: (B, F, 2). span: between the walls, in pixels. fastest: of the speeds along an axis, pixels a frame.
    Returns:
        Root mean square distance from the best flight, in pixels; its speed, in pixels a frame.
    Source: ledger VID-1, M-28.
    """
    f = torch.arange(path.shape[1], dtype=path.dtype, device=path.device)
    start = torch.linspace(0, 2 * span, starts + 1, dtype=path.dtype, device=path.device)[:-1]
    speed = torch.linspace(0, fastest, speeds, dtype=path.dtype, device=path.device)
    flight = (start[:, None, None] + speed[:, None] * f).flatten(0, 1)  # start, speed -> (S, F)
    flight = span - (span - flight.remainder(2 * span)).abs()
    shape = flight - flight.mean(1, keepdim=True)
    seen = (path - path.mean(1, keepdim=True)).transpose(1, 2)  # (B, 2, F)
    error = seen.square().sum(2)[..., None] - 2 * seen @ shape.T + shape.square().sum(1)
    best = error.clamp(min=0).min(2)
    rms = (best.values.sum(1) / len(f)).sqrt()
    return rms, speed[best.indices % speeds].square().sum(1).sqrt()


def steps_of(path):
    """How far each step of a path goes: (B, F, 2) -> (B, F − 1), pixels."""
    return path.diff(dim=1).square().sum(2).sqrt()


def centred(frames, size, window):
    """Frames moved so that their centre of brightness is the middle, cut to a window and enlarged to ``size``.

    Args:
        frames: (N, C, H, W) in [−1, 1], black outside.
    Returns:
        (N, C, size, size).
    """
    shift = centroids(frames[:, None])[:, 0]
    scale = torch.tensor([window / n for n in (frames.shape[3], frames.shape[2])], device=frames.device)
    middle = (2 * shift + 1) / torch.tensor([frames.shape[3], frames.shape[2]], device=frames.device) - 1
    theta = torch.cat([torch.diag_embed(scale.expand(len(frames), 2)), middle[..., None]], 2)
    grid = torch.nn.functional.affine_grid(theta, (len(frames), frames.shape[1], size, size), align_corners=False)
    return torch.nn.functional.grid_sample(frames + 1, grid, align_corners=False) - 1
