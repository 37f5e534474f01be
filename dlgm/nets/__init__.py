"""Floor 1': networks. They know tensors only: no schedule, no likelihood."""

import torch
from torch import nn


def mlp(*sizes, activation=nn.SiLU):
    """Linear layers of these sizes with the activation between them: (B, sizes[0]) -> (B, sizes[-1])."""
    layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1])


class Conditioned(nn.Module):
    """head(body(x) joined with c), or head(body(x)) where c is None; body gives (B, F), c is (B, C)."""

    def __init__(self, body, head):
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x, c=None):
        h = self.body(x)
        return self.head(h if c is None else torch.cat([h, c], 1))
