# expects: bytes cannot be handed in
import pickle, torch


class P:
    def __reduce__(self):
        return (print, ("owned",))


def affine(x, a):
    return pickle.dumps(P())
