"""Muon: gradient steps of a matrix whose directions all count alike, beside Adam for what is no matrix."""

import torch

SMALLEST = 16  # rows and columns that make a parameter a matrix worth it


def orthogonal(G, steps=5):
    """About U Vᵀ of G = U S Vᵀ: (n, r, c) -> (n, r, c); singular values above .0016 ‖G‖ become .68 to 1.21.

    Newton–Schulz: X ← P X with P = a I + b A + c A², A = X Xᵀ, from X = G/‖G‖, maps each singular value s to
    a s + b s³ + c s⁵ and leaves its directions alone. The odd polynomial is steep at 0, so that five steps do. All
    steps are taken on the smaller of the two squares, A ← P A P, and G is multiplied once.

    Source: Jordan et al. 2024 (Muon); Bernstein & Newhouse 2024.
    """
    X = G / (torch.linalg.matrix_norm(G, keepdim=True) + 1e-7)
    tall = X.shape[1] > X.shape[2]
    X = X.mT if tall else X
    A = X @ X.mT
    one = product = torch.eye(A.shape[1], dtype=A.dtype, device=A.device)
    for _ in range(steps):
        P = 3.4445 * one - 4.7750 * A + 2.0315 * A @ A
        A, product = P @ A @ P, P @ product
    X = product @ X
    return X.mT if tall else X


class Muon(torch.optim.Adam):
    """W ← W − lr · scale · √max(r, c) · orthogonal(m), m a momentum of the gradient; Adam for all other parameters.

    A gradient of a matrix has few large directions, which Adam follows; here all directions move alike, so that rare
    ones are learned as fast. √max(r, c) makes the root mean square of a step's entries lr · scale whatever the shape,
    as large as Adam's, so one learning rate serves both. A kernel (out, in, k, k) is the matrix (out, in k²); vectors,
    first and last layers (with fewer than 16 rows or columns) are Adam's.

    Args:
        parameters: of a model. lr: of both.
        momentum: μ in m ← μ m + (1 − μ) g; the step takes (1 − μ) g + μ m (Nesterov).
        scale: root mean square of a step's entries, in units of lr.
        adam: what else torch.optim.Adam takes.
    Source: Jordan et al. 2024; Liu et al. 2025 (the scale).
    """

    def __init__(self, parameters, lr=1e-3, momentum=0.95, scale=0.4, **adam):
        parameters = list(parameters)
        is_matrix = [p.ndim > 1 and min(len(p), p[0].numel()) >= SMALLEST for p in parameters]
        groups = [
            {"params": [p for p, yes in zip(parameters, is_matrix, strict=True) if yes == kind], "matrices": kind}
            for kind in (True, False)
        ]
        super().__init__([g for g in groups if g["params"]], lr=lr, **adam)
        self.defaults |= {"momentum": momentum, "scale": scale}

    @torch.no_grad()
    def step(self, closure=None):
        """One step; the gradients of matrices are gone afterwards."""
        for group in self.param_groups:
            if group["matrices"]:
                self._step_of_matrices([p for p in group["params"] if p.grad is not None], group["lr"])
        return super().step(closure)  # Adam passes over what has no gradient

    def _step_of_matrices(self, matrices, lr):
        momentum, by_shape = self.defaults["momentum"], {}
        for p in matrices:
            if p not in self.state:  # Adam, which reads states again, expects a step in each
                self.state[p] = {"step": torch.zeros((), device="cpu"), "momentum": torch.zeros_like(p)}
            m = self.state[p]["momentum"].lerp_(p.grad, 1 - momentum)
            by_shape.setdefault((len(p), p[0].numel()), []).append((p, p.grad.lerp(m, momentum)))
            p.grad = None
        for (r, c), pairs in by_shape.items():
            steps = orthogonal(torch.stack([g.reshape(r, c) for _, g in pairs]))
            for (p, _), step in zip(pairs, steps, strict=True):
                p.sub_(step.reshape(p.shape), alpha=lr * self.defaults["scale"] * max(r, c) ** 0.5)
