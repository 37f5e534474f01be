"""Floor 3: worlds whose every answer is known exactly.

A Gaussian mixture stays one under the forward process: component k of q(x_t) is N(α μ_k, α² Σ_k + σ² I). So density,
score and E[x_0 | x_t] are exact at every noise level. A finite data set is the limit Σ_k → 0. All sums over
components are taken as log-sum-exp, so the answers hold far from every mode, where no density is representable.
"""

import math

import torch

from .denoiser import Prediction
from .gaussian import Gaussian, MultivariateGaussian, full
from .process import tau
from .tensors import expand


class _ExactDenoiser:
    """E[x_0 | x_t] of an oracle, as a denoiser."""

    def __init__(self, oracle, schedule):
        self.oracle, self.schedule = oracle, schedule

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
        weights, means, covs = (torch.as_tensor(v, dtype=torch.float64) for v in (weights, means, covs))
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
        """Full covariances, (K, D, D)."""
        scaled = self._eye() * self._vars[:, None, :]
        return scaled if self._axes is None else scaled @ self._axes.mT

    def _eye(self):
        D = self.means.shape[1]
        return torch.eye(D, dtype=torch.float64).expand(len(self.means), D, D) if self._axes is None else self._axes

    def _terms(self, x, signal=1.0, noise=0.0):
        """What all answers share, for x_t = signal x_0 + noise ε, in float64.

        Returns log w_k N(x; ...) (B, K), the offset from each mean in the component's own axes (B, K, D), and the
        variance along those axes (B or 1, K, D).
        """
        if x.shape[1:] != self.shape or x.ndim == 0:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (B, {', '.join(map(str, self.shape))})")
        expand(1.0, x)  # checks that x holds floating-point numbers
        signal, noise = (torch.as_tensor(v, dtype=torch.float64).reshape(-1, 1, 1) for v in (signal, noise))
        device = x.device
        means, axes = self.means.to(device), None if self._axes is None else self._axes.to(device)
        signal, noise = signal.to(device), noise.to(device)
        offset = x.double().reshape(len(x), 1, self.means.shape[1]) - signal * means
        if axes is not None:
            offset = torch.einsum("bkd,kde->bke", offset, axes)
        var = signal**2 * self._vars.to(device) + noise**2
        log_density = -0.5 * (offset**2 / var + var.log() + math.log(2 * math.pi)).sum(-1)
        return self.weights.to(device).log() + log_density, offset, var

    def _average(self, log_terms, vectors):
        """Σ_k r_k vectors_k, r the responsibilities; vectors (B, K, D) in the components' axes."""
        if self._axes is not None:
            vectors = torch.einsum("bkd,ked->bke", vectors, self._axes.to(vectors.device))
        return torch.einsum("bk,bkd->bd", log_terms.softmax(-1), vectors)

    def sample(self, n, generator=None):
        """n draws, (n, ...) in float32."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64) * self._vars[k].sqrt()
        if self._axes is not None:
            z = torch.einsum("nd,ned->ne", z, self._axes[k])
        return (self.means[k] + z).reshape(n, *self.shape).float()

    def log_prob(self, x):
        """log p(x) in nats: (B, ...) -> (B,), in x's dtype."""
        return self._terms(x)[0].logsumexp(-1).to(x.dtype)

    def score(self, x):
        """∇ log p(x) = −Σ_k r_k(x) Σ_k⁻¹ (x − μ_k), r_k = P(component k | x): (B, ...) -> (B, ...).

        Source: ledger SCORE-6.
        """
        log_terms, offset, var = self._terms(x)
        return -self._average(log_terms, offset / var).reshape(x.shape).to(x.dtype)

    def diffuse(self, schedule, t):
        """The marginal q(x_t), a mixture again: N(α μ_k, α² Σ_k + σ² I). t: one time.

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
        signal = torch.as_tensor(schedule.signal(t), dtype=torch.float64)
        expand(signal, x_t)  # checks the shape of t
        log_terms, offset, var = self._terms(x_t, signal, schedule.noise(t))
        gain = signal.to(x_t.device).reshape(-1, 1, 1) * self._vars.to(x_t.device) / var
        pulled = self._average(log_terms, gain * offset) + log_terms.softmax(-1) @ self.means.to(x_t.device)
        return pulled.reshape(x_t.shape).to(x_t.dtype)

    def denoiser(self, schedule):
        """The exact denoiser of this mixture."""
        return _ExactDenoiser(self, schedule)

    def reverse(self, schedule, x_t, s, t):
        """The exact reverse step q(x_s | x_t), s < t, from one state x_t: a mixture again, by Bayes in each component.

        With a x_s and b the mean and the variance of q(x_t | x_s), and N(m, v) a component of q(x_s) along one of its
        axes: variance v b / (a² v + b), mean m + a v / (a² v + b) (x_t − a m), weight ∝ w N(x_t; a m, a² v + b).

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
        log_terms, offset, var = earlier._terms(x_t, a, math.sqrt(b))
        shift = a * earlier._vars / var[0] * offset[0]
        out = object.__new__(GaussianMixture)
        out.shape, out.weights, out._axes = self.shape, log_terms[0].softmax(0), self._axes
        out.means = earlier.means + (shift if self._axes is None else torch.einsum("ke,kde->kd", shift, self._axes))
        out._vars = earlier._vars * b / var[0]
        return out

    def moments(self):
        """Mean and covariance of the whole mixture, (D,) and (D, D)."""
        mean = self.weights @ self.means
        offset = self.means - mean
        return mean, torch.einsum("k,kij->ij", self.weights, self.covs + offset[:, :, None] * offset[:, None, :])

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
        x = mean + math.sqrt(var) * torch.linspace(-reach, reach, points, dtype=torch.float64)
        gaussian = torch.exp(-0.5 * (x - mean) ** 2 / var) / math.sqrt(2 * math.pi * var)
        gap = (self.log_prob(x.reshape(-1, *self.shape)).exp() - gaussian).abs()
        return 0.5 * torch.trapezoid(gap, x).item()


class DiscreteChain:
    """A Markov chain x_0 → x_1 → ... → x_T over K states, in which every law is a sum that is carried out.

    Args:
        p_0: (K,), the law of x_0.
        kernels: [q(x_1 | x_0), ..., q(x_T | x_{T−1})], each (K, K), rows x_{t−1}, columns x_t, rows of sum 1.
    Raises:
        ValueError: shapes do not fit, an entry is negative or a row does not sum to 1.
    Source: ledger REV-1, E-04, E-58.
    """

    def __init__(self, p_0, kernels):
        self.p_0 = torch.as_tensor(p_0, dtype=torch.float64)
        self.kernels = [torch.as_tensor(k, dtype=torch.float64) for k in kernels]
        K = len(self.p_0)
        if self.p_0.ndim != 1 or not kernels or any(k.shape != (K, K) for k in self.kernels):
            got = [tuple(k.shape) for k in self.kernels]
            raise ValueError(f"expected p_0 (K,) and kernels (K, K), got {tuple(self.p_0.shape)} and {got}")
        one = torch.ones((), dtype=torch.float64)
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


class EmpiricalData:
    """A finite data set, each point equally likely: what a denoiser that memorises perfectly has learned.

    Args:
        points: (N, ...).
    Source: Karras et al. 2022, appendix B.3; ledger POST-6.
    """

    def __init__(self, points):
        if points.ndim == 0 or len(points) == 0:
            raise ValueError(f"expected at least one data point, got shape {tuple(points.shape)}")
        self.points = points
        self._flat = points.double().reshape(len(points), -1)
        self._half_norms = (self._flat**2).sum(1) / 2

    def posterior_weights(self, schedule, x_t, t):
        """P(x_0 = point i | x_t) ∝ exp(−‖x_t − α point_i‖² / 2σ²): (B, N), float64; t > 0."""
        signal, noise = (torch.as_tensor(f(t), dtype=torch.float64) for f in (schedule.signal, schedule.noise))
        if (noise == 0).any():
            raise ValueError(f"at t={t} nothing has been added: x_t is x_0 and there is nothing to infer")
        if x_t.shape[1:] != self.points.shape[1:]:
            raise ValueError(f"x_t has shape {tuple(x_t.shape)}, data points have {tuple(self.points.shape[1:])}")
        expand(signal, x_t)  # checks the shape of t
        signal, noise = signal.to(x_t.device).reshape(-1, 1), noise.to(x_t.device).reshape(-1, 1)
        inner = x_t.double().reshape(len(x_t), self._flat.shape[1]) @ self._flat.to(x_t.device).T
        return ((signal * inner - signal**2 * self._half_norms.to(x_t.device)) / noise**2).softmax(-1)

    def posterior_mean(self, schedule, x_t, t):
        """E[x_0 | x_t], the average of the points under ``posterior_weights``: (B, ...)."""
        mean = self.posterior_weights(schedule, x_t, t) @ self._flat.to(x_t.device)
        return mean.reshape(x_t.shape).to(x_t.dtype)

    def diffuse(self, schedule, t):
        """The marginal q(x_t) as a GaussianMixture, one component a point; t: one time > 0."""
        N, noise = len(self.points), float(schedule.noise(t))
        variance = torch.full((N,), noise**2, dtype=torch.float64)
        return GaussianMixture(torch.ones(N), float(schedule.signal(t)) * self.points.double(), variance)

    def denoiser(self, schedule):
        """The exact denoiser of this data set."""
        return _ExactDenoiser(self, schedule)


class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z + b, s² I): probabilistic PCA, a latent-variable model with every answer exact.

    p(x) = N(b, W Wᵀ + s² I) and p(z | x) = N(M⁻¹ Wᵀ (x − b), s² M⁻¹) with M = Wᵀ W + s² I.

    Args:
        W: (D, d). b: (D,). noise_var: s² > 0.
    Source: Tipping & Bishop 1999, equations 3 to 8; ledger LVM-1, LVM-2, GAUSS-2.
    """

    def __init__(self, W, b, noise_var):
        self.W, self.b = (torch.as_tensor(v, dtype=torch.float64) for v in (W, b))
        self.noise_var = float(noise_var)
        if self.W.ndim != 2 or self.b.shape != self.W.shape[:1] or not self.noise_var > 0:
            got = f"{tuple(self.W.shape)}, {tuple(self.b.shape)} and {noise_var}"
            raise ValueError(f"expected W (D, d), b (D,) and noise_var > 0, got {got}")
        D, d = self.W.shape
        self.cov = self.W @ self.W.T + self.noise_var * torch.eye(D, dtype=torch.float64)
        self.precision = self.W.T @ self.W / self.noise_var + torch.eye(d, dtype=torch.float64)  # of p(z | x)
        self._posterior_cov = torch.linalg.inv(self.precision)

    @classmethod
    def fit(cls, x, latent):
        """The maximum-likelihood model of data x (N, D): W = U (Λ − s² I)^½, U the top eigenvectors of the covariance.

        Λ holds their eigenvalues; s² is the mean of the D − d that are left over.

        Source: Tipping & Bishop 1999, equations 7 and 8; ledger VAE-2.
        """
        D = x.shape[1]
        if not 0 < latent < D:
            raise ValueError(f"latent must lie between 1 and D - 1 = {D - 1}, got {latent}")
        x = x.double()
        values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
        noise_var = values[: D - latent].mean()
        return cls(vectors[:, D - latent :] * (values[D - latent :] - noise_var).sqrt(), x.mean(0), noise_var)

    def sample(self, n, generator=None):
        """n draws of (x, z), float64: (n, D) and (n, d)."""
        z = torch.randn(n, self.W.shape[1], generator=generator, dtype=torch.float64)
        return self.likelihood(z).sample(generator), z

    def likelihood(self, z):
        """p(x | z): (B, d) -> Gaussian (B, D)."""
        return Gaussian(z @ self.W.T + self.b, self.noise_var)

    def log_joint(self, x, z):
        """log p(x, z) = log p(x | z) + log N(z; 0, I), in nats: (B,)."""
        return self.likelihood(z).log_prob(x) + Gaussian(torch.zeros_like(z), 1.0).log_prob(z)

    def log_prob(self, x):
        """log p(x), z integrated out, in nats: (B, D) -> (B,)."""
        return MultivariateGaussian(self.b.expand(len(x), -1), self.cov).log_prob(x)

    def posterior(self, x):
        """p(z | x): a MultivariateGaussian of shape (B, d), the covariance the same for all x."""
        mean = (x - self.b) @ self.W @ self._posterior_cov / self.noise_var
        return MultivariateGaussian(mean, self._posterior_cov)

    def best_independent(self, x):
        """The Gaussian with independent coordinates closest to p(z | x) in KL(q ‖ p): var_d = 1/precision_dd."""
        mean = self.posterior(x).mean
        return Gaussian(mean, (1 / self.precision.diagonal()).expand_as(mean))

    def elbo(self, x, q):
        """ELBO(x) in closed form for a Gaussian q: E_q[log p(x | z)] − KL(q ‖ N(0, I)), in nats: (B,).

        E_q‖x − W z − b‖² = ‖x − W m − b‖² + tr(Wᵀ W S) for q = N(m, S).

        Source: ledger ELBO-4.
        """
        q = full(q)
        spread = (self.W.T @ self.W * q.cov).sum((-2, -1))
        reconstruction = self.likelihood(q.mean).log_prob(x) - 0.5 * spread / self.noise_var
        return reconstruction - q.kl(Gaussian(torch.zeros_like(q.mean), 1.0))

    def posterior_kl(self, x, q):
        """KL(q(z | x) ‖ p(z | x)) in closed form for a Gaussian q, in nats: (B,)."""
        return full(q).kl(self.posterior(x))


class LinearGaussianChain:
    """z_T ~ N(0, I), z_{t−1} | z_t ~ N(A_t z_t, s_t² I), x = z_0: a hierarchy with every answer exact.

    All levels are jointly Gaussian with mean 0. The exact posterior runs the other way and is again a chain,
    p(z_{1:T} | x) = p(z_1 | x) Π_t p(z_t | z_{t−1}), since a Markov chain read backwards is one.

    Args:
        maps: [A_1, ..., A_T], A_t of shape (d_{t−1}, d_t).
        noise_vars: [s_1², ..., s_T²].
    Source: ledger HVAE-1, HVAE-2.
    """

    def __init__(self, maps, noise_vars):
        self.maps = [torch.as_tensor(A, dtype=torch.float64) for A in maps]
        self.noise_vars = [float(v) for v in noise_vars]
        fits = all(a.shape[1] == b.shape[0] for a, b in zip(self.maps, self.maps[1:], strict=False))
        if len(self.maps) != len(self.noise_vars) or not fits or not all(v > 0 for v in self.noise_vars):
            got = f"{[tuple(A.shape) for A in self.maps]} and {self.noise_vars}"
            raise ValueError(f"expected maps that fit each other and one noise_var > 0 for each, got {got}")
        cov = torch.eye(self.maps[-1].shape[1], dtype=torch.float64)
        self.covs = [cov]  # of z_T, ..., z_0; reversed below
        for A, v in zip(reversed(self.maps), reversed(self.noise_vars), strict=True):
            cov = A @ cov @ A.T + v * torch.eye(len(A), dtype=torch.float64)
            self.covs.append(cov)
        self.covs.reverse()

    def prior(self, n):
        """p(z_T) for n examples: Gaussian (n, d_T)."""
        return Gaussian(torch.zeros(n, self.maps[-1].shape[1], dtype=torch.float64), 1.0)

    def generate(self):
        """The generative kernels [p(x | z_1), p(z_1 | z_2), ..., p(z_{T−1} | z_T)], functions z -> Gaussian."""
        return [lambda z, A=A, v=v: Gaussian(z @ A.T, v) for A, v in zip(self.maps, self.noise_vars, strict=True)]

    def infer(self):
        """The exact inference kernels [p(z_1 | x), p(z_2 | z_1), ..., p(z_T | z_{T−1})], functions z -> law.

        p(z_t | z_{t−1}) = N(K z_{t−1}, P_t − K A_t P_t) with P_t = Cov z_t and K = P_t A_tᵀ (Cov z_{t−1})⁻¹.
        """
        kernels = []
        for t, A in enumerate(self.maps):
            P = self.covs[t + 1]
            K = torch.linalg.solve(self.covs[t], A @ P).T
            cov = P - K @ A @ P
            cov = (cov + cov.T) / 2  # symmetric up to rounding; make it so
            kernels.append(lambda z, K=K, cov=cov: MultivariateGaussian(z @ K.T, cov))
        return kernels

    def log_prob(self, x):
        """log p(x) with all levels integrated out, in nats: (B, d_0) -> (B,)."""
        return MultivariateGaussian(torch.zeros_like(x), self.covs[0]).log_prob(x)


class NonlinearModel:
    """z ~ N(0, 1), x | z ~ N(f(z), s²), both one number: whatever f is, quadrature gives every answer.

    Integrals over z are trapezoid sums on a fine grid. For smooth integrands that vanish at both ends these converge
    faster than any power of the spacing, so they are exact to rounding here.

    Args:
        f: a smooth function of z, applied to tensors of any shape.
        noise_var: s² > 0; the grid resolves posteriors of standard deviation 0.01 and more.
    Source: ledger LVM-1, GAUSS-3, ELBO-3, E-05, E-71.
    """

    def __init__(self, f, noise_var):
        if not noise_var > 0:
            raise ValueError(f"noise_var must be positive, got {noise_var}")
        self.f, self.noise_var = f, float(noise_var)
        self.z = torch.linspace(-12, 12, 12_001, dtype=torch.float64)

    def sample(self, n, generator=None):
        """n draws of (x, z), float64, each (n, 1)."""
        z = torch.randn(n, 1, generator=generator, dtype=torch.float64)
        return Gaussian(self.f(z), self.noise_var).sample(generator), z

    def log_joint(self, x, z):
        """log p(x, z), in nats: (B, 1) and (B, 1) -> (B,)."""
        return self._log_joint(x, z)[:, 0]

    def _log_joint(self, x, z):
        log_likelihood = -0.5 * ((x - self.f(z)) ** 2 / self.noise_var + math.log(2 * math.pi * self.noise_var))
        return log_likelihood - 0.5 * (z**2 + math.log(2 * math.pi))

    def log_prob(self, x):
        """log p(x) = log ∫ p(x | z) p(z) dz, in nats: (B, 1) -> (B,)."""
        step = (self.z[1] - self.z[0]).item()
        return self._log_joint(x.double(), self.z).logsumexp(1) + math.log(step)

    def log_posterior(self, x, z):
        """log p(z | x) = log p(x, z) − log p(x): x (B, 1), z (B, n) -> (B, n)."""
        return self._log_joint(x, z) - self.log_prob(x)[:, None]

    def _average(self, q, values):
        """E_q[values(z)] by quadrature; values (B, n) -> (B, n)."""
        u = torch.linspace(-12, 12, 4001, dtype=torch.float64)
        weight = torch.exp(-0.5 * u**2) * (u[1] - u[0]) / math.sqrt(2 * math.pi)
        return (values(q.mean + q.var.sqrt() * u) * weight).sum(1)

    def elbo(self, x, q):
        """ELBO(x) = E_q[log p(x, z)] + ½ log(2πe var) for a Gaussian q of shape (B, 1), in nats: (B,)."""
        entropy = 0.5 * torch.log(2 * math.pi * math.e * q.var.expand_as(q.mean))[:, 0]
        return self._average(q, lambda z: self._log_joint(x, z)) + entropy

    def posterior_kl(self, x, q):
        """KL(q ‖ p(z | x)) for a Gaussian q of shape (B, 1), in nats: (B,)."""

        def log_ratio(z):
            log_q = -0.5 * ((z - q.mean) ** 2 / q.var + torch.log(2 * math.pi * q.var))
            return log_q - self.log_posterior(x, z)

        return self._average(q, log_ratio)

    def best_gaussian(self, x):
        """The Gaussian closest to p(z | x) in KL(q ‖ p(z | x)), for one x (1, 1): the best of six local searches."""
        found = [self._search(x, start) for start in torch.linspace(-2.5, 2.5, 6, dtype=torch.float64)]
        return max(found, key=lambda q: self.elbo(x, q).item())

    def _search(self, x, start):
        """The Gaussian that a local search for the largest ELBO reaches from N(start, e⁻²)."""
        mean, log_std = (torch.full((1, 1), v, dtype=torch.float64, requires_grad=True) for v in (start.item(), -1.0))
        search = torch.optim.LBFGS([mean, log_std], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

        def loss():
            search.zero_grad()
            value = -self.elbo(x, Gaussian(mean, (2 * log_std).exp())).sum()
            value.backward()
            return value

        search.step(loss)
        return Gaussian(mean.detach(), (2 * log_std.detach()).exp())
