"""Walks that are affine in the state and in their noise, and so have an exact Gaussian law: means and covariances.

With a denoiser that is affine in x_t (the exact one of Gaussian data, guided or corrected in whatever way) each step
of a sampler is x_s = M x_t + b + Σ_k N_k z_k. M, b and N_k are read off the step by feeding it basis vectors, so the
law of any walk of the package is found without writing its recursion a second time.
"""

import itertools

import torch

from ..samplers import State
from ..schedules import listed
from ..tensors import host


class _Basis:
    """In the place of a generator: the k-th draw is the unit vectors in rows first + k D to first + (k + 1) D."""

    def __init__(self, first):
        self.first, self.draws = first, 0

    def like(self, x):
        z, D = torch.zeros_like(x), x.shape[1]
        row = self.first + self.draws * D
        z[row : row + D] = torch.eye(D, dtype=x.dtype, device=x.device)[: max(0, len(x) - row)]
        self.draws += 1
        return z


def step_map(denoiser, sampler, t, s, D, draws=1):
    """(M, b, Q) of a step in D coordinates, x_s = M x_t + b + noise of covariance Q: (D, D), (D,), (D, D), on the CPU.

    Raises:
        ValueError: the step is not affine in the state.
    """
    x = torch.zeros(D + 2 + draws * D, D, dtype=torch.float64, device="cpu")
    x[1 : D + 1] = torch.eye(D, dtype=torch.float64, device="cpu")
    x[D + 1] = 2.0 * torch.arange(1, D + 1, device="cpu")
    source = _Basis(D + 2)
    out = sampler.step(denoiser, State(t, x, denoiser(x, t)), s, source)
    if source.draws > draws:
        return step_map(denoiser, sampler, t, s, D, source.draws)
    b = out[0]
    M = (out[1 : D + 1] - b).T
    if not torch.allclose(out[D + 1], M @ x[D + 1] + b, rtol=1e-9, atol=1e-12):
        raise ValueError(f"a step of {sampler} from t={t} to {s} is not affine in the state")
    N = out[D + 2 :] - b
    return M, b, N.T @ N


def walk_law(denoiser, sampler, times, mean, cov):
    """The exact mean and covariance of the last state of a walk: (D,), (D, D), float64, on the CPU.

    Args:
        denoiser: affine in x_t (B, D).
        sampler: keeps no memory of earlier stops (not ``DPMSolverPP``).
        times: see ``samplers.sample_path``. mean, cov: of the state at times[0].
    Raises:
        ValueError: a step is not affine.
    Source: ledger APP-3, M-38.
    """
    mean, cov = host(mean), host(cov)
    for t, s in itertools.pairwise(listed(times)):
        M, b, Q = step_map(denoiser, sampler, t, s, len(mean))
        mean, cov = M @ mean + b, M @ cov @ M.T + Q
    return mean, cov


def conditional(mean, cov, A, y, noise_var=0.0):
    """p(x | y) of x ~ N(mean, cov) and y = A x + N(0, noise_var I): its mean (D,) and covariance (D, D), float64.

    Args:
        A: (d, D). y: (d,).
    Source: ledger GAUSS-2, APP-3.
    """
    gain = torch.linalg.solve(
        A @ cov @ A.T + noise_var * torch.eye(len(A), dtype=cov.dtype, device=cov.device), A @ cov
    ).T
    return mean + gain @ (y - A @ mean), cov - gain @ A @ cov
