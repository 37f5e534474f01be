"""What lesson 03 hands out: losses of VAEs as people write them, each with its own way to reduce the two parts."""

from dataclasses import dataclass

import torch.nn.functional as F

from ..tensors import known

REDUCTIONS = {
    "sum": lambda values: values.sum(1).mean(),  # over an example, averaged over the batch
    "mean": lambda values: values.mean(),  # over everything, the default of PyTorch's losses
    "total": lambda values: values.sum(),  # over everything
    "sum of means": lambda values: values.mean(1).sum(),  # the mean over an example, added up over the batch
}


def objective(x, logits, mean, logvar, pixels="sum", codes="sum", weight=1.0):
    """The loss of a VAE with Bernoulli pixels, a number: cross-entropy and weighted KL to N(0, I), each reduced.

    Args:
        x, logits: (B, D).
        mean, logvar: (B, d), of q(z | x).
        pixels, codes: how the cross-entropy and the KL are reduced, a key of REDUCTIONS.
        weight: of the KL.
    Source: ledger VAE-2, KL-1, M-34.
    """
    for how in (pixels, codes):
        known("reduction", how, REDUCTIONS)
    error = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar)
    return REDUCTIONS[pixels](error) + weight * REDUCTIONS[codes](kl)


@dataclass(frozen=True, repr=False)
class Loss:
    """A closed box around ``objective``, called as loss(x, logits, mean, logvar)."""

    name: str  # says nothing of the reductions
    pixels: str = "sum"
    codes: str = "sum"
    weight: float = 1.0

    def __call__(self, x, logits, mean, logvar):
        return objective(x, logits, mean, logvar, self.pixels, self.codes, self.weight)

    def __repr__(self):
        return f"the {self.name} loss"


LOSSES = {
    loss.name: loss
    for loss in (Loss("A"), Loss("B", pixels="mean"), Loss("C", pixels="mean", codes="mean"), Loss("D", pixels="total"))
}
