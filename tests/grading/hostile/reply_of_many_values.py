# expects: could not be read|process ended|did not end
import torch


def affine(x, a):
    return [torch.zeros(0)] * 300000
