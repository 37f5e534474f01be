"""Training on pictures: the loss of the course, samples, and pictures from a set that ships or a folder of yours."""

import torch

from .. import data
from ..denoiser import Clipped
from ..guidance import ClassifierFree, drop_labels
from ..losses import prediction_loss, sample_t
from ..samplers import DDIM, sample
from ..schedules import time_grid
from ..tensors import randn_like


def image_loss(model, batch, generator, step, label_dropout=0.1):
    """The mean squared error of what the network predicts, per pixel, at one random t for each image.

    Args:
        batch: uint8 images (B, C, H, W) or clips (B, F, C, H, W), or a pair of them and labels (B,) or captions (B, L).
        label_dropout: the share of examples whose label is hidden, so that the network also learns to do without.
    Source: Ho et al. 2020, algorithm 1; ledger ALG-1.
    """
    v, *y = batch if isinstance(batch, tuple) else (batch,)
    x0 = data.from_uint8(v)
    t = sample_t(model.schedule, len(x0), generator)
    eps, cond = randn_like(x0, generator), {}
    if y:
        cond["y"] = drop_labels(y[0], label_dropout, model.null_label, generator)
    return prediction_loss(model, x0, t, eps, weight=1 / x0[0].numel(), **cond).mean()


def draw(denoiser, n, size, steps=50, seed=0, device=None, frames=None, y=None, w=0.0):
    """n images from noise, (n, C, size, size) in [-1, 1]; with labels, as evenly over the classes as n allows.

    DDIM in ``steps`` steps, the predicted x_0 kept in [-1, 1]; one seed gives the same noise to every network. They lie
    where the network is, unless a device is named.

    Args:
        frames: of a clip; a network of clips gives (n, frames, C, size, size).
        y: what to draw, labels (n,) or captions (n, L). Without it, a network of captions is told the empty one.
        w: weight of guidance towards y, or the classes; without either it changes nothing.
    """
    generator, classes = torch.Generator().manual_seed(seed), denoiser.null_label
    device = device or next(denoiser.parameters()).device
    shape = (n, *([frames] if frames else []), denoiser.channels, size, size)
    x_T = denoiser.schedule.start(shape, generator).to(device)
    if y is None and classes:
        y = torch.arange(n) % classes
    cond = {} if y is None else {"y": y.to(device)}
    times = time_grid(denoiser.schedule, min(steps, getattr(denoiser.schedule, "T", steps)))
    guided = ClassifierFree(denoiser, w) if w and cond else denoiser
    return sample(Clipped(guided), DDIM(), x_T, times, generator, **cond)


def load_images(source, size, channels):
    """(uint8 images, labels) of a set that ships with the course, or of a folder, as ``image_loss`` takes them."""
    if source not in data.SETS:
        return data.images(source, 32 if size is None else size, channels, raw=True)
    if source == "digits8":  # its grey values end at 16
        x, y = data.load(source)
        v = data.to_uint8(x)
    else:
        v, y = data.load(source, raw=True)
    if size not in (None, v.shape[-1]):
        raise ValueError(f"{source} has {v.shape[-1]}×{v.shape[-1]} pixels; --size is for folders")
    return v, y
