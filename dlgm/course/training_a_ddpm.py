"""What lesson 09 hands out: training losses as people write them, right and with one fault in their times."""

from dataclasses import dataclass

import torch

from ..tensors import expand, known

FAULTS = (None, "told one less", "made one early", "never the last", "one for all")


@dataclass(frozen=True, eq=False, repr=False)
class Loss:
    """A closed box, the training loss of Algorithm 1 in ε, called as loss(predict, x0, u, eps); predict is called once.

    Without a fault t = 1 + ⌊uT⌋, x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε, and what comes back is the mean over the entries of
    (ε − predict(x_t, t))², for each example.

    Attributes:
        name: says nothing of the fault.
        alpha_bar: (T + 1,), ᾱ_0 = 1 first.
        fault: "told one less" tells predict t − 1; "made one early" makes x_t with ᾱ_{t−1}, clean data among them;
            "never the last" draws t from 1 to T − 1; "one for all" makes all x_t with the first example's t.
    Source: ledger ALG-1.
    """

    name: str
    alpha_bar: torch.Tensor
    fault: str | None = None

    def __post_init__(self):
        known("fault", self.fault, FAULTS)

    def __call__(self, predict, x0, u, eps):
        T = len(self.alpha_bar) - 1
        t = 1 + (u * (T - 1 if self.fault == "never the last" else T)).long()
        made = {"made one early": t - 1, "one for all": t[:1].expand(len(t))}.get(self.fault, t)
        told = t - 1 if self.fault == "told one less" else t
        a = self.alpha_bar[made]
        x_t = expand(a.sqrt(), x0) * x0 + expand((1 - a).sqrt(), x0) * eps
        return (eps - predict(x_t, told)).square().reshape(len(x0), -1).mean(1)

    def __repr__(self):
        return f"the {self.name} loss"


def losses(alpha_bar):
    """Four boxes "A" to "D" around that table: a dictionary."""
    boxes = (
        Loss("A", alpha_bar, "never the last"), Loss("B", alpha_bar, "told one less"), Loss("C", alpha_bar),
        Loss("D", alpha_bar, "made one early"),
    )  # fmt: skip
    return {box.name: box for box in boxes}
