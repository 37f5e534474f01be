"""Floor 6: the tensors that cases are made of."""

import torch


def normal(*shape, generator, dtype=torch.float64, scale=1.0):
    """Normal numbers of standard deviation ``scale``, drawn in float64 so that every dtype gets the same ones."""
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def numbers(*values):
    """Given numbers, or rows of them, in float64."""
    return torch.tensor(values, dtype=torch.float64)
