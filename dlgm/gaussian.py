"""Gaussians, with independent coordinates or a full covariance, and the algebra the course needs of them.

Three facts carry the course. Independent Gaussians add: N(m1, v1) + N(m2, v2) = N(m1 + m2, v1 + v2). Products of
Gaussian densities are Gaussian again, with precisions (1 / var) that add. The KL divergence has a closed form.
"""

import math
from dataclasses import dataclass

import torch

from .tensors import double, expand, randn_like, same_shape, sum_non_batch, to_device

LOG_2PI = math.log(2 * math.pi)
FAR = 60.0  # a log-variance beyond ± this is not made a variance first, which float32 could not hold


@dataclass(frozen=True, eq=False)
class Gaussian:
    """The law N(mean, var) of independent coordinates, one for each example of a batch.

    Args:
        mean: (B, ...).
        var: variance, not standard deviation: a number, (), (B,) or the shape of mean; zero means a point mass.
    Raises:
        ValueError: var has another shape, or is negative somewhere. It is looked at where it lies, which for a tensor
            on a GPU means waiting for it; ``from_logvar`` needs no look.
    """

    mean: torch.Tensor
    var: torch.Tensor | float

    def __post_init__(self):
        expand(1.0, self.mean)  # checks that mean holds floating-point numbers
        least = self.var
        if isinstance(least, torch.Tensor):
            least = least.detach().min().item() if least.numel() else math.inf
        if not least >= 0:
            raise ValueError(f"a variance cannot be negative or NaN, got {least:.6g}")
        self._set(self.mean, self.var, least > 0)

    def _set(self, mean, var, has_density, logvar=None):
        if isinstance(var, torch.Tensor):
            var = to_device(var.to(mean.dtype), mean.device) if var.shape == mean.shape else expand(var, mean)
        else:
            var = torch.full((), var, dtype=mean.dtype, device=mean.device)
        if logvar is not None:
            logvar = to_device(logvar, mean.device) if logvar.shape == mean.shape else expand(logvar, mean)
        return self._hold(mean, var, has_density, logvar)

    def _hold(self, mean, var, has_density, logvar=None):
        for name, value in {"mean": mean, "var": var, "_has_density": has_density, "_logvar": logvar}.items():
            object.__setattr__(self, name, value)
        return self

    @classmethod
    def from_logvar(cls, mean, logvar):
        """N(mean, exp(logvar)), as networks give it; the logarithm is kept, so that −200 or 200 lose nothing.

        Raises:
            ValueError: logvar holds NaN. It is looked at on the CPU only, since a GPU would be waited for.
        """
        if logvar.device.type == "cpu" and logvar.isnan().any():
            raise ValueError(f"{int(logvar.isnan().sum())} of {logvar.numel()} log-variances are NaN")
        return object.__new__(cls)._set(mean, logvar.exp(), True, logvar)

    def repeat(self, n):
        """The law of a batch in which each example stands n times in a row; var has mean's shape."""
        return self._each(lambda v: v.expand_as(self.mean).repeat_interleave(n, 0))

    def rows(self, index):
        """The law of the examples that an index tensor names."""
        return self._each(lambda v: v[index] if v.ndim else v)

    def detach(self):
        """The same law; no gradient goes through it."""
        return self._each(torch.Tensor.detach)

    def _each(self, change):
        """The law whose mean, var and log-variance are those of this one, changed."""
        logvar = None if self._logvar is None else change(self._logvar)
        return object.__new__(type(self))._hold(change(self.mean), change(self.var), self._has_density, logvar)

    def by_variance(self, usual, far):
        """usual(var), and in its place far(logvar) where a network gave a log-variance beyond ±FAR.

        Each is computed at harmless numbers where the other counts, so that no gradient becomes NaN.
        """
        if self._logvar is None:
            return usual(self.var)
        out = self._logvar.abs() > FAR
        return torch.where(
            out, far(torch.where(out, self._logvar, 0.0)), usual(torch.where(out, 0.0, self._logvar).exp())
        )

    def sample(self, generator=None):
        """One draw for each example, mean + √var ε with ε ~ N(0, I): (B, ...)."""
        eps = randn_like(self.mean, generator)
        return self.mean + self.by_variance(lambda var: var.sqrt() * eps, lambda logvar: scaled(eps, 0.5 * logvar))

    def log_prob(self, x):
        """log N(x; mean, var) = −½ Σ [(x − mean)² / var + log var + log 2π], in nats: (B, ...) -> (B,).

        Raises:
            ValueError: x has another shape than mean, or a variance is zero (a point mass has no density).
        """
        same_shape(x=x, mean=self.mean)
        self._require_density()
        d = x - self.mean
        return -0.5 * sum_non_batch(
            self.by_variance(
                lambda var: d**2 / var + var.log() + LOG_2PI,
                lambda logvar: scaled(d, -0.5 * logvar) ** 2 + logvar + LOG_2PI,
            )
        )

    def kl(self, other):
        """KL(self ‖ other) = ½ Σ [r − 1 − log r + (m₁ − m₂)² / v₂], r = v₁/v₂, in nats: (B,).

        r − 1 − log r is taken as u − log1p(u) with u = r − 1 where r is near 1, so that nearly equal variances do not
        cancel, and with the two logarithms apart elsewhere.

        Raises:
            ValueError: shapes differ, or a variance is zero.
        Source: Kingma & Welling 2014, appendix B; ledger KL-1.
        """
        same_shape(self=self.mean, other=other.mean)
        self._require_density()
        other._require_density()
        d = self.mean - other.mean
        if self._logvar is None and other._logvar is None:
            return 0.5 * sum_non_batch(_kl(self.var, other.var, d))
        logs = [v.var.log() if v._logvar is None else v._logvar for v in (self, other)]
        far = (logs[0].abs() > FAR) | (logs[1].abs() > FAR)
        kept = (v.var if v._logvar is None else torch.where(far, 0.0, v._logvar).exp() for v in (self, other))
        usual = _kl(*(torch.where(far, 1.0, v) for v in kept), d)
        a, b = (torch.where(far, v, 0.0) for v in logs)
        return 0.5 * sum_non_batch(torch.where(far, torch.expm1(a - b) - (a - b) + scaled(d, -0.5 * b) ** 2, usual))

    def _require_density(self):
        if not self._has_density:
            raise ValueError("a Gaussian with variance 0 is a point mass: it has no density and no finite KL")


def _kl(v1, v2, d):
    """r − 1 − log r + d²/v₂ with r = v₁/v₂, entry by entry."""
    u = (v1 - v2) / v2
    near = u.abs() < 0.5
    small = torch.where(near, u, 0.0)  # keeps log1p, and its gradient, away from −1
    return torch.where(near, small - torch.log1p(small), u - v1.log() + v2.log()) + d**2 / v2


def scaled(x, log_scale):
    """x · exp(log_scale) in two halves, so that 0 · ∞ does not occur."""
    half = (0.5 * log_scale).exp()
    return x * half * half


def add(p, q):
    """The law of X + Y for independent X ~ p and Y ~ q: means add and variances add (never standard deviations).

    Source: ledger GAUSS-1, FWD-5, E-36.
    """
    same_shape(p=p.mean, q=q.mean)
    return Gaussian(p.mean + q.mean, p.var + q.var)


def product(p, q):
    """N(x; m₁, v₁) N(x; m₂, v₂) = Z N(x; m, v) with 1/v = 1/v₁ + 1/v₂ and Z = N(m₁; m₂, v₁ + v₂).

    Returns:
        The Gaussian N(m, v), and log Z in nats, (B,).
    Source: ledger POST-3.
    """
    same_shape(p=p.mean, q=q.mean)
    total = p.var + q.var
    mean = (p.mean * q.var + q.mean * p.var) / total
    return Gaussian(mean, p.var * q.var / total), Gaussian(q.mean, total).log_prob(p.mean)


def condition(prior, y, a, noise_var):
    """Bayes for a linear observation: x ~ prior and y | x ~ N(a x, noise_var) give the posterior of x.

    gain = a v / (a² v + noise_var);  mean = m + gain (y − a m);  var = v noise_var / (a² v + noise_var).

    Args:
        prior: Gaussian of shape (B, ...).
        y: (B, ...), what was observed.
        a, noise_var: numbers, () or (B,).
    Source: ledger GAUSS-2, POST-3.
    """
    same_shape(prior=prior.mean, y=y)
    a, noise_var = expand(a, y), expand(noise_var, y)
    evidence = a**2 * prior.var + noise_var
    return Gaussian(prior.mean + a * prior.var / evidence * (y - a * prior.mean), prior.var * noise_var / evidence)


def discretized_log_prob(gaussian, x, bins=256):
    """log P(bin of x), N(mean, var) integrated over the pixel bin around x; the two edge bins reach to infinity.

    Pixels are spaced 2/(bins − 1) apart in [-1, 1]. Differences of Φ are taken in the tail where they do not cancel
    (Φ(b) − Φ(a) = Φ(−a) − Φ(−b)), with log Φ throughout, so the value is exact however far x lies from the mean.

    Args:
        gaussian: of shape (B, ...), with var > 0.
        x: (B, ...), values −1 + 2k/(bins − 1).
    Returns:
        Nats, summed over non-batch dimensions, float64, which on MPS means on the CPU: (B,).
    Raises:
        ValueError: x is not on the grid of pixel values (looked at on the CPU only, since a GPU would be waited for),
            or bins < 2.
    Source: Ho et al. 2020, equation 13; ledger VLB-6.
    """
    same_shape(x=x, mean=gaussian.mean)
    gaussian._require_density()
    if not isinstance(bins, int) or bins < 2:
        raise ValueError(f"bins must be a whole number of at least 2, got {bins!r}")
    (x, mean), half = map(double, (x, gaussian.mean)), 1 / (bins - 1)
    level = (x + 1) / (2 * half)
    on_grid = (x.abs() <= 1 + 1e-6) & ((level - level.round()).abs() <= 1e-3)
    if x.device.type == "cpu" and not on_grid.all():
        raise ValueError(f"x must hold pixel values -1 + 2k/{bins - 1}, k = 0..{bins - 1}; got {x.min()} to {x.max()}")
    logvar = gaussian._logvar
    std = double(gaussian.var).sqrt() if logvar is None else (0.5 * double(logvar)).exp()
    low = torch.where(level < 0.5, -math.inf, (x - half - mean) / std)
    high = torch.where(level > bins - 1.5, math.inf, (x + half - mean) / std)
    flip = low + high > 0  # the bin lies in the upper tail: mirror it
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return sum_non_batch(log_high + torch.log(-torch.expm1(log_low - log_high)))


@dataclass(frozen=True, eq=False)
class MultivariateGaussian:
    """The law N(mean, cov) with full covariance, one for each example of a batch.

    Args:
        mean: (B, D).
        cov: symmetric positive definite, (D, D) for all examples or (B, D, D); held in mean's dtype.
    Raises:
        ValueError: shapes do not fit, or cov is not symmetric positive definite. It is looked at where it lies.
    """

    mean: torch.Tensor
    cov: torch.Tensor

    def __post_init__(self):
        expand(1.0, self.mean)  # checks that mean holds floating-point numbers
        D = self.mean.shape[-1] if self.mean.ndim == 2 else None
        if D is None or self.cov.shape not in ((D, D), (len(self.mean), D, D)):
            got = f"{tuple(self.mean.shape)} and {tuple(self.cov.shape)}"
            raise ValueError(f"expected mean (B, D) and cov (D, D) or (B, D, D), got shapes {got}")
        cov = self.cov.to(self.mean.dtype)
        root, failed = torch.linalg.cholesky_ex(cov)
        if failed.any() or not torch.allclose(cov, cov.mT):
            raise ValueError("cov must be symmetric positive definite")
        object.__setattr__(self, "cov", to_device(cov, self.mean.device))
        object.__setattr__(self, "_root", to_device(root, self.mean.device))  # cov = root rootᵀ, root lower triangular

    def sample(self, generator=None):
        """One draw for each example, mean + L ε with cov = L Lᵀ and ε ~ N(0, I): (B, D)."""
        return self.mean + (self._root @ randn_like(self.mean, generator)[..., None])[..., 0]

    def log_prob(self, x):
        """log N(x; mean, cov) = −½ [(x − mean)ᵀ cov⁻¹ (x − mean) + log det cov + D log 2π], in nats: (B, D) -> (B,)."""
        same_shape(x=x, mean=self.mean)
        return -0.5 * (self._squared(x - self.mean) + self._log_det() + x.shape[1] * LOG_2PI)

    def kl(self, other):
        """KL(self ‖ other) = ½ [log det S₂/det S₁ − D + tr(S₂⁻¹ S₁) + (m₂ − m₁)ᵀ S₂⁻¹ (m₂ − m₁)], in nats: (B,).

        Args:
            other: MultivariateGaussian, or a Gaussian of shape (B, D).
        Source: ledger KL-1.
        """
        other = full(other)
        same_shape(self=self.mean, other=other.mean)
        batch = torch.broadcast_shapes(self._root.shape, other._root.shape)
        roots = (other._root.expand(batch), self._root.expand(batch))
        whitened = torch.linalg.solve_triangular(*roots, upper=False)
        trace = whitened.square().sum((-2, -1))  # tr(S₂⁻¹ S₁) = ‖L₂⁻¹ L₁‖²
        distance = other._squared(other.mean - self.mean)
        return 0.5 * (other._log_det() - self._log_det() - self.mean.shape[1] + trace + distance)

    def _log_det(self):
        return 2 * self._root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _squared(self, offset):
        """offsetᵀ cov⁻¹ offset: (B, D) -> (B,)."""
        return torch.linalg.solve_triangular(self._root, offset[..., None], upper=False).square().sum((-2, -1))


def full(q):
    """A Gaussian of shape (B, D) as a MultivariateGaussian, which comes back as it is."""
    if isinstance(q, MultivariateGaussian):
        return q
    return MultivariateGaussian(q.mean, torch.diag_embed(q.var.expand_as(q.mean)))
