"""Floor 6: the tensors that cases are made of."""

import torch


def normal(*shape, generator, dtype=torch.float64, scale=1.0):
    """Normal numbers of standard deviation ``scale``, drawn in float64 so that every dtype gets the same ones."""
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def numbers(*values):
    """Given numbers, or rows of them, in float64."""
    return torch.tensor(values, dtype=torch.float64)


T4 = numbers(0.0, 0.1, 0.25, 0.4, 0.6)  # β_0..β_4 of a chain in which no step is small
LONG = torch.cat([numbers(0.0), torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)])  # the linear schedule


def random_betas(T, generator):
    """β_0 = 0 and T random β between 0.02 and 0.52."""
    return torch.cat([numbers(0.0), 0.02 + 0.5 * torch.rand(T, generator=generator, dtype=torch.float64)])


def alpha_bar_of(beta):
    """ᾱ_0..ᾱ_T of β_0..β_T."""
    return (1 - beta).cumprod(0)
