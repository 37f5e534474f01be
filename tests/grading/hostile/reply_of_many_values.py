# expects: could not be read|process ended
import torch


def affine(x, a):
    return [torch.zeros(0)] * 300000
