"""What drawn data are made of: random numbers from generator=, on its device, the CPU if it is None."""

import torch

from ..tensors import home


def uniform(shape, generator):
    return torch.rand(shape, generator=generator, device=home(generator))


def normal(shape, generator):
    return torch.randn(shape, generator=generator, device=home(generator))


def integers(high, shape, generator):
    """Whole numbers 0..high-1, int64."""
    return torch.randint(high, shape, generator=generator, device=home(generator))


def require_positive(**numbers):
    for name, value in numbers.items():
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")


def on_circle(angle):
    return torch.stack([angle.cos(), angle.sin()], -1)
