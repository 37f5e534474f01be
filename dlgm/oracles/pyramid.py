"""Two worlds of Gaussian pictures and clips: a cascade with an imperfect base, and frames that follow each other.

Their tables lie on the CPU; their denoisers answer where x_t lies.
"""

import torch

from ..cascade import enlarge, shrink
from ..denoiser import Prediction
from ..tensors import host, normal
from .affine import conditional


def _eye(n):
    """The identity, float64, on the CPU."""
    return torch.eye(n, dtype=torch.float64, device="cpu")


def _matrix(linear, *shape):
    """The matrix of a linear map of (B, 1, *shape) pictures: (outputs, inputs), float64."""
    D = torch.Size(shape).numel()
    return linear(_eye(D).reshape(D, 1, *shape)).flatten(1).T


class Pyramid:
    """Pictures (B, 1, n, n) from N(0, cov), their halves in size, and the exact denoisers of a cascade of both.

    Args:
        cov: (n², n²).
    Raises:
        ValueError: cov is no covariance of a square picture with even sides.
    Source: ledger CASC-1, CASC-2, M-26.
    """

    def __init__(self, cov):
        self.cov = host(cov)
        n = round(len(self.cov) ** 0.5)
        if self.cov.shape != (n * n, n * n) or n % 2:
            raise ValueError(f"expected a covariance (n², n²) with n even, got {tuple(self.cov.shape)}")
        self.side = n
        self.A = _matrix(shrink, n, n)
        self.E = _matrix(enlarge, n // 2, n // 2)
        self.low_cov = self.A @ self.cov @ self.A.T

    def sample(self, n, generator=None):
        """(n, 1, side, side), float64, on the CPU."""
        z = normal((n, len(self.cov)), generator).cpu()
        return (z @ torch.linalg.cholesky(self.cov).T).reshape(n, 1, self.side, self.side)

    def base(self, schedule, error=0.0):
        """The denoiser of small pictures whose every pixel has an error N(0, error²) of its own."""
        eye = _eye(len(self.low_cov))
        return _Exact(schedule, self.low_cov + error**2 * eye)

    def upsampler(self, schedule):
        """The denoiser of pictures that is told ``beside`` and ``level``, as ``cascade.condition`` makes them."""
        return _Exact(schedule, self.cov, self.A, torch.linalg.pinv(self.E))

    def drawn(self, signal, noise, error=0.0, scale=None, std=None):
        """The exact covariance of what a perfect upsampler draws from an imperfect base, (n², n²), on the CPU.

        Trained on z = signal A x + noise n, it is told scale (A x + error e) + std n. With K the gain of E[x | z], the
        covariance is cov + K (Cov(told) − Cov(z)) Kᵀ, and right where the two agree.

        Args:
            scale, std: as in training unless said.
        Source: ledger CASC-1, M-26.
        """
        scale, std = signal if scale is None else scale, noise if std is None else std
        eye = _eye(len(self.low_cov))
        trained = signal**2 * self.low_cov + noise**2 * eye
        told = scale**2 * (self.low_cov + error**2 * eye) + std**2 * eye
        K = torch.linalg.solve(trained, signal * self.A @ self.cov).T
        return self.cov + K @ (told - trained) @ K.T


class _Exact:
    """E[x_0 | x_t] of pictures from N(0, cov), and of what is told beside them, where A and the way back are given."""

    def __init__(self, schedule, cov, A=None, back=None):
        self.schedule, self.cov, self.A, self.back = schedule, cov, A, back

    def __call__(self, x_t, t, beside=None, level=None):
        D = len(self.cov)
        seen, H = [host(x_t).flatten(1)], [float(self.schedule.signal(t)) * _eye(D)]
        R = [float(self.schedule.noise(t)) ** 2] * D
        if beside is not None:
            s = int(level[0]) if isinstance(level, torch.Tensor) else level
            seen.append(host(beside).flatten(1) @ self.back.T)
            H.append(float(self.schedule.signal(s)) * self.A)
            R += [float(self.schedule.noise(s)) ** 2] * len(self.A)
        H, R = torch.cat(H), torch.tensor(R, dtype=torch.float64, device="cpu")
        gain = self.cov @ H.T @ torch.linalg.pinv(H @ self.cov @ H.T + R.diag(), hermitian=True)
        x0 = (torch.cat(seen, 1) @ gain.T).reshape(x_t.shape).to(x_t.dtype).to(x_t.device)
        return Prediction(self.schedule, x_t, t, x0=x0)


class AutoRegression:
    """Frames x_1, ..., x_F of one number each, of variance 1 and correlation ρ^|i − j|: x_f = ρ x_{f−1} + √(1 − ρ²) ε.

    Args:
        frames: F. rho: in (−1, 1).
    Source: ledger VID-1, M-28.
    """

    def __init__(self, frames, rho):
        if not -1 < rho < 1:
            raise ValueError(f"expected rho in (-1, 1), got {rho}")
        place = torch.arange(frames, device="cpu")
        self.cov = torch.tensor(float(rho), dtype=torch.float64, device="cpu") ** (place[:, None] - place).abs()

    def denoiser(self, schedule):
        """The exact denoiser of clips (B, F)."""
        return _Exact(schedule, self.cov)

    def missing(self, known, y):
        """The law of all frames where the known ones (F,) have the values of y (F,): mean, covariance, on the CPU."""
        A = _eye(len(self.cov))[host(known).bool()]
        return conditional(0 * host(y), self.cov, A, A @ host(y))

    def spread(self, known):
        """r_t² that makes ``restoration.Reconstruction`` exact for one known frame: Var(x_known | x_t), a function.

        Args:
            known: (F,), true once.
        """
        k = int(host(known).argmax())

        def variance(schedule, t):
            signal, noise = float(schedule.signal(t)), float(schedule.noise(t))
            eye = _eye(len(self.cov))
            after = self.cov - signal**2 * self.cov @ torch.linalg.solve(
                signal**2 * self.cov + noise**2 * eye, self.cov
            )
            return after[k, k].item()

        return variance
