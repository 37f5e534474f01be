"""Mixtures: every answer about them is exact, and so is the denoiser of a finite data set, their limit.

A Gaussian mixture stays one under the forward process: component k of q(x_t) is N(α μ_k, α² Σ_k + σ² I). So density,
score and E[x_0 | x_t] are exact at every noise level. A finite data set is the limit Σ_k → 0. All sums over
components are taken as log-sum-exp, so the answers hold far from every mode, where no density is representable.

Weights, means and covariances lie on the CPU in float64, whatever was given; a GPU keeps a copy once it has seen some
x. What is asked about x is answered where x lies; draws lie where their generator does.
"""

import functools
import math

import torch

from ..denoiser import Prediction
from ..process import tau
from ..tensors import bisect, choose, double, expand, home, host, near, normal, to_device


class ExactDenoiser:
    """E[x_0 | x_t] of an oracle, as a denoiser."""

    def __init__(self, oracle, schedule):
        self.oracle, self.schedule = oracle, schedule

    @property
    def x0_variance(self):
        """t -> the mean over coordinates of E Var(x_0 | x_t), a number; an attribute of those whose oracle knows it."""
        return functools.partial(self.oracle.x0_variance, self.schedule)

    def __call__(self, x_t, t, **cond):
        """The same for every condition: the oracle knows of none."""
        return Prediction(self.schedule, x_t, t, x0=self.oracle.posterior_mean(self.schedule, x_t, t))


class GaussianMixture:
    """p(x) = Σ_k w_k N(x; μ_k, Σ_k), in any number of dimensions.

    Args:
        weights: (K,), positive; scaled to sum 1.
        means: (K, D), or (K, ...) for data of shape (...); (K,) for scalars.
        covs: full (K, D, D), diagonal of means' shape, or one variance a component (K,). D counts all entries of a
            data point.
    Raises:
        ValueError: shapes do not fit, a weight is not positive, or a covariance is not symmetric positive definite.
    Source: ledger GEN-1, FWD-7, SCORE-6.
    """

    def __init__(self, weights, means, covs):
        weights, means, covs = map(host, (weights, means, covs))
        K, self.shape = len(means) if means.ndim else 0, means.shape[1:]
        if K == 0 or weights.shape != (K,) or not (weights > 0).all():
            raise ValueError(f"expected {K} positive weights for means of shape {tuple(means.shape)}, got {weights}")
        D = math.prod(self.shape)
        self.weights, self.means = weights / weights.sum(), means.reshape(K, D)
        if covs.shape == means.shape or covs.shape == (K,):
            self._vars, self._axes = covs.reshape(K, -1).expand(K, D), None
        elif covs.shape == (K, D, D):
            if not torch.allclose(covs, covs.mT):
                raise ValueError("a covariance is not symmetric")
            self._vars, self._axes = torch.linalg.eigh(covs)  # Σ_k = axes diag(vars) axesᵀ
        else:
            raise ValueError(
                f"covs of shape {tuple(covs.shape)} fit no means of shape {tuple(means.shape)}; "
                f"expected {(K, D, D)}, {tuple(means.shape)} or {(K,)}"
            )
        if not (self._vars > 0).all():
            raise ValueError(f"covariances must be positive definite; the smallest eigenvalue is {self._vars.min()}")

    @property
    def covs(self):
        """Full covariances, (K, D, D), on the CPU."""
        scaled = self._eye() * self._vars[:, None, :]
        return scaled if self._axes is None else scaled @ self._axes.mT

    def _eye(self):
        if self._axes is not None:
            return self._axes
        K, D = self.means.shape
        return torch.eye(D, dtype=torch.float64, device="cpu").expand(K, D, D)

    def _terms(self, x, signal=1.0, noise=0.0):
        """What all answers share, for x_t = signal x_0 + noise ε, in float64.

        Returns log w_k N(x; ...) (B, K), the offset from each mean in the component's own axes (B, K, D), and the
        variance along those axes (B or 1, K, D).
        """
        if x.shape[1:] != self.shape or x.ndim == 0:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, {', '.join(map(str, self.shape))})")
        expand(1.0, x)  # checks that x holds floating-point numbers
        x = double(x)
        signal, noise = (to_device(host(v).reshape(-1, 1, 1), x.device) for v in (signal, noise))
        weights, means, variances, axes = near(self, x.device, "weights", "means", "_vars", "_axes")
        offset = x.reshape(len(x), 1, means.shape[1]) - signal * means
        if axes is not None:
            offset = torch.einsum("bkd,kde->bke", offset, axes)
        var = signal**2 * variances + noise**2
        log_density = -0.5 * (offset**2 / var + var.log() + math.log(2 * math.pi)).sum(-1)
        return weights.log() + log_density, offset, var

    def _average(self, log_terms, vectors):
        """Σ_k r_k vectors_k, r the responsibilities; vectors (B, K, D) in the components' axes."""
        (axes,) = near(self, vectors.device, "_axes")
        if axes is not None:
            vectors = torch.einsum("bkd,ked->bke", vectors, axes)
        return torch.einsum("bk,bkd->bd", log_terms.softmax(-1), vectors)

    def sample(self, n, generator=None):
        """n draws, (n, ...) in float32, on the generator's device, the CPU for None."""
        k = choose(self.weights, n, generator)
        z = normal((n, self.means.shape[1]), generator)
        k = k.to(z.device)
        means, variances, axes = near(self, z.device, "means", "_vars", "_axes")
        z = z * variances[k].sqrt()
        if axes is not None:
            z = torch.einsum("nd,ned->ne", z, axes[k])
        return (means[k] + z).reshape(n, *self.shape).float().to(home(generator))

    def log_prob(self, x):
        """log p(x) in nats: (B, ...) -> (B,), in x's dtype."""
        return self._terms(x)[0].logsumexp(-1).to(x)

    def log_marginal(self, schedule, x_t, t):
        """log q(x_t) in nats, t a number, () or (B,): (B, ...) -> (B,), in x_t's dtype. Ledger FWD-7."""
        expand(host(schedule.signal(t)), x_t)  # checks the shape of t
        return self._terms(x_t, schedule.signal(t), schedule.noise(t))[0].logsumexp(-1).to(x_t)

    def score(self, x):
        """∇ log p(x) = −Σ_k r_k(x) Σ_k⁻¹ (x − μ_k), r_k = P(component k | x): (B, ...) -> (B, ...).

        Source: ledger SCORE-6.
        """
        log_terms, offset, var = self._terms(x)
        return -self._average(log_terms, offset / var).reshape(x.shape).to(x)

    def diffuse(self, schedule, t):
        """The marginal q(x_t), a mixture again, on the CPU: N(α μ_k, α² Σ_k + σ² I). t: one time.

        Source: ledger FWD-7.
        """
        signal, noise = float(schedule.signal(t)), float(schedule.noise(t))
        out = object.__new__(GaussianMixture)
        out.shape, out.weights, out._axes = self.shape, self.weights, self._axes
        out.means, out._vars = signal * self.means, signal**2 * self._vars + noise**2
        return out

    def posterior_mean(self, schedule, x_t, t):
        """E[x_0 | x_t] = Σ_k r_k [μ_k + α Σ_k (α² Σ_k + σ² I)⁻¹ (x_t − α μ_k)].

        Args:
            x_t: (B, ...).
            t: a number, () or (B,).
        Source: ledger SCORE-6, POST-1.
        """
        signal = host(schedule.signal(t))
        expand(signal, x_t)  # checks the shape of t
        log_terms, offset, var = self._terms(x_t, signal, schedule.noise(t))
        means, variances = near(self, var.device, "means", "_vars")
        gain = to_device(signal, var.device).reshape(-1, 1, 1) * variances / var
        pulled = self._average(log_terms, gain * offset) + log_terms.softmax(-1) @ means
        return pulled.reshape(x_t.shape).to(x_t)

    def denoiser(self, schedule):
        """The exact denoiser of this mixture."""
        return ExactDenoiser(self, schedule)

    def reverse(self, schedule, x_t, s, t):
        """The exact reverse step q(x_s | x_t), s < t, from one state x_t: a mixture again, by Bayes in each component.

        With a x_s and b the mean and the variance of q(x_t | x_s), and N(m, v) a component of q(x_s) along one of its
        axes: variance v b / (a² v + b), mean m + a v / (a² v + b) (x_t − a m), weight ∝ w N(x_t; a m, a² v + b).
        The mixture lies on the CPU, as every other.

        Args:
            x_t: one state, (1, ...).
            s, t: numbers, s < t.
        Raises:
            ValueError: x_t is not one state, or s is not before t.
        Source: ledger REV-2, REV-3, POST-6.
        """
        if len(x_t) != 1:
            raise ValueError(f"q(x_s | x_t) is asked for one x_t at a time; got {len(x_t)} of them")
        a, b = schedule.signal(t) / schedule.signal(s), schedule.noise(t) ** 2 * tau(schedule, s, t)
        earlier = self.diffuse(schedule, s)
        log_terms, offset, var = earlier._terms(x_t.cpu(), a, math.sqrt(b))
        shift = a * earlier._vars / var[0] * offset[0]
        out = object.__new__(GaussianMixture)
        out.shape, out.weights, out._axes = self.shape, log_terms[0].softmax(0), self._axes
        out.means = earlier.means + (shift if self._axes is None else torch.einsum("ke,kde->kd", shift, self._axes))
        out._vars = earlier._vars * b / var[0]
        return out

    def cdf(self, x):
        """P(X ≤ x) of a mixture of numbers, float64: (B,) -> (B,).

        Raises:
            ValueError: the data are not numbers.
        """
        if self.means.shape[1] != 1:
            raise ValueError(f"only a mixture of numbers has a distribution function, got data of shape {self.shape}")
        x = double(x)
        weights, means, variances = near(self, x.device, "weights", "means", "_vars")
        return torch.special.ndtr((x[..., None] - means[:, 0]) / variances[:, 0].sqrt()) @ weights

    def flow(self, schedule, x, t, s, reach=40.0):
        """Where the exact probability flow takes numbers x from time t to time s, float64: (B,) -> (B,).

        On a line its paths cannot cross, so each keeps the share of the mass below it: F_s(x_s) = F_t(x_t), solved by
        bisection in [−reach, reach].

        Raises:
            ValueError: the data are not numbers.
        Source: ledger SDE-4.
        """
        share, law = self.diffuse(schedule, t).cdf(x), self.diffuse(schedule, s)
        ends = torch.full_like(share, -reach), torch.full_like(share, reach)
        return bisect(lambda y: law.cdf(y) < share, *ends)

    def moments(self):
        """Mean and covariance of the whole mixture, (D,) and (D, D), float64 on the CPU."""
        mean = self.weights @ self.means
        offset = self.means - mean
        return mean, torch.einsum("k,kij->ij", self.weights, self.covs + offset[:, :, None] * offset[:, None, :])

    def mass_level(self, share=0.99):
        """The log-density below which 1 − share of the mass lies, from 4000 draws: a number, nats."""
        draws = self.sample(4000, torch.Generator().manual_seed(0)).double()
        return self.log_prob(draws).quantile(1 - share).item()

    def non_gaussianity(self, points=20_001, reach=12.0):
        """½ ∫ |p(x) − N(x; mean, var)| dx, the total variation from the Gaussian of equal moments, between 0 and 1.

        Args:
            points, reach: of the trapezoid sum, over ``reach`` standard deviations of the mixture each way.
        Raises:
            ValueError: the data are not one number each.
        Source: ledger REV-3, QUIZ-1.2, M-07, E-57.
        """
        if self.means.shape[1] != 1:
            raise ValueError(f"expected data of one number each, got shape {tuple(self.shape)}")
        mean, var = (float(v) for v in self.moments())
        x = mean + math.sqrt(var) * torch.linspace(-reach, reach, points, dtype=torch.float64, device="cpu")
        gaussian = torch.exp(-0.5 * (x - mean) ** 2 / var) / math.sqrt(2 * math.pi * var)
        gap = (self.log_prob(x.reshape(-1, *self.shape)).exp() - gaussian).abs()
        return 0.5 * torch.trapezoid(gap, x).item()


class EmpiricalData:
    """A finite data set, each point equally likely: what a denoiser that memorises perfectly has learned.

    Args:
        points: (N, ...), kept on the CPU; a GPU keeps a copy in float64 from the first x_t on.
    Source: Karras et al. 2022, appendix B.3; ledger POST-6.
    """

    def __init__(self, points):
        if points.ndim == 0 or len(points) == 0:
            raise ValueError(f"expected at least one data point, got shape {tuple(points.shape)}")
        self.points = points.cpu()
        self._flat = host(points).reshape(len(points), -1)
        self._half_norms = (self._flat**2).sum(1) / 2

    def posterior_weights(self, schedule, x_t, t):
        """P(x_0 = point i | x_t) ∝ exp(−‖x_t − α point_i‖² / 2σ²): (B, N), float64; t > 0.

        On x_t's device; on the CPU where that has no float64 (MPS).
        """
        signal, noise = host(schedule.signal(t)), host(schedule.noise(t))
        if (noise == 0).any():
            raise ValueError(f"at t={t} nothing has been added: x_t is x_0 and there is nothing to infer")
        if x_t.shape[1:] != self.points.shape[1:]:
            raise ValueError(f"x_t has shape {tuple(x_t.shape)}, data points have {tuple(self.points.shape[1:])}")
        expand(signal, x_t)  # checks the shape of t
        x = double(x_t).reshape(len(x_t), self._flat.shape[1])
        signal, noise = (to_device(v.reshape(-1, 1), x.device) for v in (signal, noise))
        flat, half_norms = near(self, x.device, "_flat", "_half_norms")
        return ((signal * (x @ flat.T) - signal**2 * half_norms) / noise**2).softmax(-1)

    def posterior_mean(self, schedule, x_t, t):
        """E[x_0 | x_t], the average of the points under ``posterior_weights``: (B, ...)."""
        weights = self.posterior_weights(schedule, x_t, t)
        (flat,) = near(self, weights.device, "_flat")
        return (weights @ flat).reshape(x_t.shape).to(x_t)

    def diffuse(self, schedule, t):
        """The marginal q(x_t) as a GaussianMixture, one component a point, on the CPU; t: one time > 0."""
        N, noise = len(self.points), float(schedule.noise(t))
        weights, variance = torch.ones(N, device="cpu"), torch.full((N,), noise**2, dtype=torch.float64, device="cpu")
        return GaussianMixture(weights, float(schedule.signal(t)) * self.points.double(), variance)

    def denoiser(self, schedule):
        """The exact denoiser of this data set."""
        return ExactDenoiser(self, schedule)


def ring(modes=8, radius=1.5, std=0.2):
    """Gaussians on a circle, every second one twice as heavy as its neighbours: a known density with separate modes.

    Returns:
        GaussianMixture in two dimensions.
    Source: ledger GEN-2.
    """
    angle = torch.arange(modes, dtype=torch.float64, device="cpu") * (2 * math.pi / modes)
    means = radius * torch.stack([angle.cos(), angle.sin()], 1)
    weights, variance = [1.0 + k % 2 for k in range(modes)], torch.full((modes,), std**2, device="cpu")
    return GaussianMixture(weights, means, variance)


def bayes(log_likelihood, prior):
    """log p(y | x) = log p(x | y) + log p(y) − log Σ_y p(x | y) p(y), in nats.

    Args:
        log_likelihood: (B, K), log p(x | y) of each of K labels.
        prior: (K,), p(y), on any device.
    Returns:
        (B, K), where log_likelihood lies (on the CPU if that is MPS and the prior float64); the exponentials of a row
        sum to 1.
    Raises:
        ValueError: the shapes do not fit.
    Source: ledger GEN-1.
    """
    if log_likelihood.ndim != 2 or prior.shape != log_likelihood.shape[1:]:
        got = f"{tuple(log_likelihood.shape)} and {tuple(prior.shape)}"
        raise ValueError(f"expected log_likelihood (B, K) and prior (K,), got {got}")
    if prior.dtype == torch.float64:
        log_likelihood = double(log_likelihood)
    return (log_likelihood + to_device(prior.log(), log_likelihood.device)).log_softmax(1)


class ClassDensities:
    """p(x | y) for each label: a mixture of Gaussians, p(x | y) = Σ_z p(z | y) N(x; μ_yz, C), with style z.

    The μ_yz are k-means centres of the class; one covariance C is shared by all: that of the data around their
    centres, plus a ridge.

    Args:
        x: (N, ...). y: (N,), labels 0..K − 1, each occurring at least ``styles`` times.
        styles: components of each class.
        ridge: variance that is added to every coordinate.
        generator: of the CPU, for the start of k-means.
    Source: ledger GEN-1.
    """

    def __init__(self, x, y, styles=3, ridge=0.02, generator=None):
        y = y.cpu()
        flat, labels = host(x).flatten(1), range(int(y.max()) + 1)
        self.shape, self.prior = x.shape[1:], torch.bincount(y).double() / len(y)
        found = [_k_means(flat[y == k], styles, generator) for k in labels]
        offset = torch.cat(
            [flat[y == k] - centres[nearest] for k, (centres, nearest) in zip(labels, found, strict=True)]
        )
        cov = offset.T @ offset / len(flat) + ridge * torch.eye(flat.shape[1], dtype=torch.float64, device="cpu")
        self.mixtures = [
            GaussianMixture(torch.bincount(nearest, minlength=styles).clamp(min=1), centres, cov.expand(styles, -1, -1))
            for centres, nearest in found
        ]

    def log_prob(self, x):
        """log p(x | y) of every label, in nats: (B, ...) -> (B, K)."""
        return torch.stack([mixture.log_prob(x.flatten(1)) for mixture in self.mixtures], 1)

    def posterior(self, x):
        """log p(y | x) by Bayes' rule: (B, ...) -> (B, K), float64, which on MPS means on the CPU."""
        return bayes(self.log_prob(x), self.prior)

    def sample(self, n, y, generator=None, style=None):
        """n draws from p(x | y), or from p(x | y, z) where a style z is given: (n, ...), on the generator's device."""
        mixture = self.mixtures[y]
        if style is not None:
            mixture = GaussianMixture([1.0], mixture.means[style : style + 1], mixture.covs[style : style + 1])
        return mixture.sample(n, generator).reshape(n, *self.shape)


def _k_means(x, k, generator, steps=20):
    """Centres (k, D) and the index of the nearest one for each row of x; k different rows are the start."""
    centres = x[torch.randperm(len(x), generator=generator, device="cpu")[:k]]
    for _ in range(steps):
        nearest = torch.cdist(x, centres).argmin(1)
        centres = torch.stack([x[nearest == j].mean(0) if (nearest == j).any() else centres[j] for j in range(k)])
    return centres, torch.cdist(x, centres).argmin(1)
