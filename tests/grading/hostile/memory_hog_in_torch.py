# expects: RuntimeError
import torch


def affine(x, a):
    return torch.ones(2**36)
