"""A Markov chain with finitely many states, summed exactly."""

import torch

from ..tensors import host


class DiscreteChain:
    """A Markov chain x_0 → x_1 → ... → x_T over K states, in which every law is a sum that is carried out, on the CPU.

    Args:
        p_0: (K,), the law of x_0.
        kernels: [q(x_1 | x_0), ..., q(x_T | x_{T−1})], each (K, K), rows x_{t−1}, columns x_t, rows of sum 1.
    Raises:
        ValueError: shapes do not fit, an entry is negative or a row does not sum to 1.
    Source: ledger REV-1, E-04, E-58.
    """

    def __init__(self, p_0, kernels):
        self.p_0, self.kernels = host(p_0), [host(k) for k in kernels]
        K = len(self.p_0)
        if self.p_0.ndim != 1 or not kernels or any(k.shape != (K, K) for k in self.kernels):
            got = [tuple(k.shape) for k in self.kernels]
            raise ValueError(f"expected p_0 (K,) and kernels (K, K), got {tuple(self.p_0.shape)} and {got}")
        one = torch.ones((), dtype=torch.float64, device="cpu")
        if not all((p >= 0).all() and torch.allclose(p.sum(-1), one) for p in [self.p_0, *self.kernels]):
            raise ValueError("probabilities must be nonnegative and sum to 1")

    def marginals(self):
        """[q(x_0), ..., q(x_T)], each (K,)."""
        out = [self.p_0]
        for kernel in self.kernels:
            out.append(out[-1] @ kernel)
        return out

    def joint(self):
        """q(x_0, ..., x_T), one axis a time: (K, ..., K)."""
        table = self.p_0
        for kernel in self.kernels:
            table = table[..., None] * kernel
        return table

    def reverse(self):
        """[q(x_0 | x_1), ..., q(x_{T−1} | x_T)] by Bayes, each (K, K): rows x_t, columns x_{t−1}.

        q(x_{t−1} | x_t) = q(x_{t−1}) q(x_t | x_{t−1}) / q(x_t).

        Source: ledger REV-1, REV-2.
        """
        q = self.marginals()
        return [(q[t][:, None] * kernel / q[t + 1]).T for t, kernel in enumerate(self.kernels)]
