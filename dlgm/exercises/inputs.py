"""The tensors that cases are made of, and pieces that several banks share."""

from dataclasses import dataclass

import torch

from ..tensors import expand

ONE_T = "t[0] was used for every example; each example has a time of its own."


def normal(*shape, generator, dtype=torch.float64, scale=1.0):
    """Normal numbers of standard deviation ``scale``, drawn in float64 so that every dtype gets the same ones."""
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device).to(dtype)


def numbers(*values):
    """Given numbers, or rows of them, in float64."""
    return torch.tensor(values, dtype=torch.float64, device="cpu")


T4 = numbers(0.0, 0.1, 0.25, 0.4, 0.6)  # β_0..β_4 of a chain in which no step is small
LONG = torch.cat(
    [numbers(0.0), torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64, device="cpu")]
)  # the linear schedule


def random_betas(T, generator):
    """β_0 = 0 and T random β between 0.02 and 0.52."""
    return torch.cat([numbers(0.0), 0.02 + 0.5 * uniform(T, generator=generator)])


def alpha_bar_of(beta):
    """ᾱ_0..ᾱ_T of β_0..β_T."""
    return (1 - beta).cumprod(0)


def uniform(*shape, generator):
    """Uniform numbers in [0, 1), float64."""
    return torch.rand(*shape, generator=generator, dtype=torch.float64, device=generator.device)


def steps_of(alpha_bar):
    """The table that has α_t where the given one has ᾱ_t."""
    return torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def signal_at(alpha_bar, t, x):
    """√ᾱ_t, ready to be multiplied with x."""
    return expand(alpha_bar[t].sqrt(), x)


def noise_at(alpha_bar, t, x):
    """√(1−ᾱ_t), ready to be multiplied with x."""
    return expand((1 - alpha_bar[t]).sqrt(), x)


def mixed(alpha_bar, x0, eps, t):
    """x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε."""
    return signal_at(alpha_bar, t, x0) * x0 + noise_at(alpha_bar, t, x0) * eps


@dataclass(frozen=True)
class Line:
    """A stand-in for a network: predict(x_t, t) = slope x_t + t/rate."""

    slope: float
    rate: float

    def __call__(self, x_t, t):
        shift = torch.as_tensor(t / self.rate).to(x_t.dtype)
        return self.slope * x_t + shift.reshape(-1, *[1] * (x_t.ndim - 1))

    def __repr__(self):
        return f"x_t, t ↦ {self.slope} x_t + t/{self.rate:g}"
