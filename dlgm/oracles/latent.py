"""Latent-variable models whose evidence, posterior and bound are exact: linear-Gaussian ones, and one by quadrature.

What they are made of lies on the CPU in float64, whatever was given; a GPU keeps a copy once it has seen some x. What
is asked about x or z is answered on its device and in its dtype. Draws are float64 and lie on their generator's device,
which on MPS means on the CPU.
"""

import math

import torch

from ..gaussian import Gaussian, MultivariateGaussian, full
from ..tensors import double, host, near, normal, to_device


class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z + b, s² I): probabilistic PCA, a latent-variable model with every answer exact.

    p(x) = N(b, W Wᵀ + s² I) and p(z | x) = N(M⁻¹ Wᵀ (x − b), s² M⁻¹) with M = Wᵀ W + s² I.

    Args:
        W: (D, d). b: (D,). noise_var: s² > 0.
    Source: Tipping & Bishop 1999, equations 3 to 8; ledger LVM-1, LVM-2, GAUSS-2.
    """

    def __init__(self, W, b, noise_var):
        self.W, self.b = host(W), host(b)
        self.noise_var = float(noise_var)
        if self.W.ndim != 2 or self.b.shape != self.W.shape[:1] or not self.noise_var > 0:
            got = f"{tuple(self.W.shape)}, {tuple(self.b.shape)} and {noise_var}"
            raise ValueError(f"expected W (D, d), b (D,) and noise_var > 0, got {got}")
        D, d = self.W.shape
        self.cov = self.W @ self.W.T + self.noise_var * _eye(D)
        self.precision = self.W.T @ self.W / self.noise_var + _eye(d)  # of p(z | x)
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
        x = host(x)
        values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
        noise_var = values[: D - latent].mean()
        return cls(vectors[:, D - latent :] * (values[D - latent :] - noise_var).sqrt(), x.mean(0), noise_var)

    def sample(self, n, generator=None):
        """n draws of (x, z), float64: (n, D) and (n, d)."""
        z = normal((n, self.W.shape[1]), generator)
        mean = self.likelihood(z).mean
        return mean + math.sqrt(self.noise_var) * normal(mean.shape, generator), z

    def likelihood(self, z):
        """p(x | z): (B, d) -> Gaussian (B, D)."""
        exact = double(z)
        W, b = near(self, exact.device, "W", "b")
        return Gaussian((exact @ W.T + b).to(z), self.noise_var)

    def log_joint(self, x, z):
        """log p(x, z) = log p(x | z) + log N(z; 0, I), in nats: (B,)."""
        return self.likelihood(z).log_prob(x) + Gaussian(torch.zeros_like(z), 1.0).log_prob(z)

    def log_prob(self, x):
        """log p(x), z integrated out, in nats: (B, D) -> (B,)."""
        exact = double(x)
        (b,) = near(self, exact.device, "b")
        return MultivariateGaussian(b.expand(len(x), -1), self.cov).log_prob(exact).to(x)

    def posterior(self, x):
        """p(z | x): a MultivariateGaussian of shape (B, d), the covariance the same for all x."""
        exact = double(x)
        W, b, cov = near(self, exact.device, "W", "b", "_posterior_cov")
        return MultivariateGaussian(((exact - b) @ W @ cov / self.noise_var).to(x), self._posterior_cov)

    def best_independent(self, x):
        """The Gaussian with independent coordinates closest to p(z | x) in KL(q ‖ p): var_d = 1/precision_dd."""
        mean = self.posterior(x).mean
        return Gaussian(mean, (1 / self.precision.diagonal()).expand(mean.shape))

    def elbo(self, x, q):
        """ELBO(x) in closed form for a Gaussian q: E_q[log p(x | z)] − KL(q ‖ N(0, I)), in nats: (B,).

        E_q‖x − W z − b‖² = ‖x − W m − b‖² + tr(Wᵀ W S) for q = N(m, S).

        Source: ledger ELBO-4.
        """
        q = full(q)
        cov = double(q.cov)
        (W,) = near(self, cov.device, "W")
        spread = (W.T @ W * cov).sum((-2, -1)).to(x)
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
        self.maps = [host(A) for A in maps]
        self.noise_vars = [float(v) for v in noise_vars]
        fits = all(a.shape[1] == b.shape[0] for a, b in zip(self.maps, self.maps[1:], strict=False))
        if len(self.maps) != len(self.noise_vars) or not fits or not all(v > 0 for v in self.noise_vars):
            got = f"{[tuple(A.shape) for A in self.maps]} and {self.noise_vars}"
            raise ValueError(f"expected maps that fit each other and one noise_var > 0 for each, got {got}")
        cov = _eye(self.maps[-1].shape[1])
        self.covs = [cov]  # of z_T, ..., z_0; reversed below
        for A, v in zip(reversed(self.maps), reversed(self.noise_vars), strict=True):
            cov = A @ cov @ A.T + v * _eye(len(A))
            self.covs.append(cov)
        self.covs.reverse()

    def prior(self, n, like=None):
        """p(z_T) for n examples: Gaussian (n, d_T), with device and dtype of ``like``, or float64 on the CPU."""
        like = self.covs[0] if like is None else like
        return Gaussian(like.new_zeros(n, self.maps[-1].shape[1]), 1.0)

    def generate(self):
        """The generative kernels [p(x | z_1), p(z_1 | z_2), ..., p(z_{T−1} | z_T)], functions z -> Gaussian."""
        return [
            lambda z, A=A, v=v: Gaussian(_applied(A, z), v) for A, v in zip(self.maps, self.noise_vars, strict=True)
        ]

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
            kernels.append(lambda z, K=K, cov=cov: MultivariateGaussian(_applied(K, z), cov))
        return kernels

    def log_prob(self, x):
        """log p(x) with all levels integrated out, in nats: (B, d_0) -> (B,)."""
        return MultivariateGaussian(torch.zeros_like(x), self.covs[0]).log_prob(x)


def _eye(n):
    return torch.eye(n, dtype=torch.float64, device="cpu")


def _applied(A, z):
    """A z for each row of z, in float64, in z's dtype and on its device."""
    exact = double(z)
    return (exact @ to_device(A, exact.device).T).to(z)


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
        self.z = torch.linspace(-12, 12, 12_001, dtype=torch.float64, device="cpu")
        self._u = torch.linspace(-12, 12, 4001, dtype=torch.float64, device="cpu")
        self._weights = torch.exp(-0.5 * self._u**2) * (self._u[1] - self._u[0]) / math.sqrt(2 * math.pi)

    def sample(self, n, generator=None):
        """n draws of (x, z), float64, each (n, 1)."""
        z = normal((n, 1), generator)
        return self.f(z) + math.sqrt(self.noise_var) * normal(z.shape, generator), z

    def log_joint(self, x, z):
        """log p(x, z), in nats: (B, 1) and (B, 1) -> (B,)."""
        return self._log_joint(x, z)[:, 0]

    def _log_joint(self, x, z):
        log_likelihood = -0.5 * ((x - self.f(z)) ** 2 / self.noise_var + math.log(2 * math.pi * self.noise_var))
        return log_likelihood - 0.5 * (z**2 + math.log(2 * math.pi))

    def log_prob(self, x):
        """log p(x) = log ∫ p(x | z) p(z) dz, in nats: (B, 1) -> (B,)."""
        step, exact = (self.z[1] - self.z[0]).item(), double(x)
        (z,) = near(self, exact.device, "z")
        return (self._log_joint(exact, z).logsumexp(1) + math.log(step)).to(x)

    def log_posterior(self, x, z):
        """log p(z | x) = log p(x, z) − log p(x): x (B, 1), z (B, n) -> (B, n)."""
        exact = double(x)
        return (self._log_joint(exact, double(z)) - self.log_prob(exact)[:, None]).to(x)

    def _average(self, mean, var, values):
        """E[values(z)], z ~ N(mean, var), by quadrature in float64; values (B, n) -> (B, n)."""
        u, weights = near(self, mean.device, "_u", "_weights")
        return (values(mean + var.sqrt() * u) * weights).sum(1)

    def elbo(self, x, q):
        """ELBO(x) = E_q[log p(x, z)] + ½ log(2πe var) for a Gaussian q of shape (B, 1), in nats: (B,)."""
        exact, mean, var = map(double, (x, q.mean, q.var))
        entropy = 0.5 * torch.log(2 * math.pi * math.e * var.expand_as(mean))[:, 0]
        return (self._average(mean, var, lambda z: self._log_joint(exact, z)) + entropy).to(x)

    def posterior_kl(self, x, q):
        """KL(q ‖ p(z | x)) for a Gaussian q of shape (B, 1), in nats: (B,)."""
        exact, mean, var = map(double, (x, q.mean, q.var))

        def log_ratio(z):
            log_q = -0.5 * ((z - mean) ** 2 / var + torch.log(2 * math.pi * var))
            return log_q - self.log_posterior(exact, z)

        return self._average(mean, var, log_ratio).to(x)

    def best_gaussian(self, x):
        """The Gaussian closest to p(z | x) in KL(q ‖ p(z | x)), for one x (1, 1): the best of six local searches.

        They run on the CPU in float64, and so lies the answer.
        """
        x = host(x)
        found = [self._search(x, start) for start in torch.linspace(-2.5, 2.5, 6, dtype=torch.float64, device="cpu")]
        return max(found, key=lambda q: self.elbo(x, q).item())

    def _search(self, x, start):
        """The Gaussian that a local search for the largest ELBO reaches from N(start, e⁻²)."""
        mean, log_std = (torch.full_like(x, v, requires_grad=True) for v in (start.item(), -1.0))
        search = torch.optim.LBFGS([mean, log_std], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

        def loss():
            search.zero_grad()
            value = -self.elbo(x, Gaussian(mean, (2 * log_std).exp())).sum()
            value.backward()
            return value

        search.step(loss)
        return Gaussian(mean.detach(), (2 * log_std.detach()).exp())
