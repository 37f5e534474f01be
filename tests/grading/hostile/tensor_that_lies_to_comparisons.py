# expects: Liar cannot be handed in
import torch


class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, f, t, args=(), kwargs=None):
        return True


def affine(x, a):
    return torch.zeros_like(x).as_subclass(Liar)
