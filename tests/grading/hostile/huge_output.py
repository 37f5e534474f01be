# expects: could not be read|did not end
import torch


def affine(x, a):
    return torch.zeros(3 * 10**7)
