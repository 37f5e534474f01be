"""What lesson 08 hands out: networks that do not say what they predict."""

from dataclasses import dataclass

import torch

from ..tensors import expand, known

HEADS = ("eps", "x0", "v", "score")


@dataclass(frozen=True, repr=False, eq=False)
class Network:
    """A closed box, called as network(x_t, t): the answer of a well-trained network on data that are all one point.

    ε is what turns the point into x_t, and the head is ε, the point, √ᾱ ε − √(1−ᾱ) point or −ε/√(1−ᾱ), each entry with
    a relative error of at most ``error`` that depends on x_t and t.

    Args:
        name: says nothing of the head.
        head: one of HEADS.
        point: (D,), what all data are.
        alpha_bar: (T + 1,), index 0 the clean state.
    Source: ledger PAR-1, PAR-3, PAR-4.
    """

    name: str
    head: str
    point: torch.Tensor
    alpha_bar: torch.Tensor
    error: float = 0.02

    def __post_init__(self):
        known("head", self.head, HEADS)

    def __call__(self, x_t, t):
        """The head's answer, like x_t.

        Raises:
            ValueError: x_t is not (B, D), or t holds something else than times 1..T.
        """
        if x_t.ndim != 2 or x_t.shape[1] != len(self.point):
            raise ValueError(f"expected x_t of shape (B, {len(self.point)}), got {tuple(x_t.shape)}")
        t, T = torch.as_tensor(t), len(self.alpha_bar) - 1
        if t.is_floating_point() or t.min() < 1 or t.max() > T:
            raise ValueError(f"expected times t that are whole numbers from 1 to {T}, got {t.tolist()}")
        signal, noise = expand(self.alpha_bar[t].sqrt(), x_t), expand((1 - self.alpha_bar[t]).sqrt(), x_t)
        point = self.point.to(x_t).expand_as(x_t)
        eps = (x_t - signal * point) / noise
        answer = {"eps": eps, "x0": point, "v": signal * eps - noise * point, "score": -eps / noise}[self.head]
        return answer * (1 + self.error * torch.cos(x_t + expand(t, x_t)))

    def __repr__(self):
        return f"checkpoint {self.name}"


def checkpoints(alpha_bar, point):
    """Four networks for the same data, one with each head, called A to D: {name: Network}."""
    shuffled = ("v", "eps", "score", "x0")
    return {name: Network(name, head, point, alpha_bar) for name, head in zip("ABCD", shuffled, strict=True)}
