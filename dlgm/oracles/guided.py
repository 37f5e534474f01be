"""What guidance draws, where it can be computed: labelled mixtures, two Gaussians around 0, a chain of finite states.

For the three laws: data of one class N(0, c), of all classes together N(0, u), u > c, noise added without shrinking
(variance exploding) from nothing to infinity. The guided score at noise variance s is −x [γ/(c + s) + (1 − γ)/(u + s)].
The same score gives three laws, all N(0, ·): the one that was asked for at the data, p(x) p(y | x)^γ; the end of the
probability flow; the end of the reverse diffusion. They agree at γ = 0 and 1 only.
"""

import torch

from ..denoiser import Prediction
from ..tensors import host
from .mixtures import GaussianMixture, bayes


class LabelledMixture:
    """p(y) and p(x | y), a GaussianMixture for each label: the exact answers with a label, without, and of the label.

    Args:
        classes: K mixtures of data of one shape, each built of full or of diagonal covariances.
        prior: (K,), positive; scaled to sum 1.
    Raises:
        ValueError: there are not as many priors as classes.
    Source: ledger GUIDE-1, GUIDE-9.
    """

    def __init__(self, classes, prior):
        self.classes, self.prior = list(classes), host(prior)
        if self.prior.shape != (len(self.classes),) or not (self.prior > 0).all():
            raise ValueError(f"expected {len(self.classes)} positive priors, got {self.prior}")
        self.prior = self.prior / self.prior.sum()
        self.shape = self.classes[0].shape
        weights = torch.cat([p * c.weights for p, c in zip(self.prior, self.classes, strict=True)])
        means, covs = (torch.cat([getattr(c, name) for c in self.classes]) for name in ("means", "covs"))
        self.whole = GaussianMixture(weights, means.reshape(-1, *self.shape), covs)

    def log_posterior(self, schedule):
        """The exact classifier of noisy data: a function (x_t, t, y) -> log p(y | x_t), (B,), nats.

        Source: ledger GUIDE-3, M-22.
        """

        def log_prob(x_t, t, y):
            by_class = torch.stack([c.log_marginal(schedule, x_t, t) for c in self.classes], 1)
            return bayes(by_class, self.prior.to(by_class.dtype)).gather(1, y[:, None])[:, 0]

        return log_prob

    def denoiser(self, schedule):
        """The exact denoiser of p(x | y), and of all classes together for y = K, the null label, or no y."""
        return LabelledDenoiser(self, schedule)


class LabelledDenoiser:
    """E[x_0 | x_t, y] of a LabelledMixture, as a denoiser."""

    def __init__(self, oracle, schedule):
        self.oracle, self.schedule, self.null_label = oracle, schedule, len(oracle.classes)

    def __call__(self, x_t, t, y=None):
        """x_t: (B, ...); y: (B,), 0..K, or None. Returns a Prediction."""
        laws = (*self.oracle.classes, self.oracle.whole)
        if y is None:
            return Prediction(self.schedule, x_t, t, x0=laws[-1].posterior_mean(self.schedule, x_t, t))
        answers = torch.stack([law.posterior_mean(self.schedule, x_t, t) for law in laws], 1)
        return Prediction(self.schedule, x_t, t, x0=answers[torch.arange(len(y), device=y.device), y])


def tilted_variance(c, u, gamma):
    """Of p(x) p(y | x)^γ ∝ N(x; 0, u)^(1−γ) N(x; 0, c)^γ: 1/(γ/c + (1 − γ)/u).

    Source: ledger GUIDE-13, E-43.
    """
    return 1 / (gamma / c + (1 - gamma) / u)


def flow_variance(c, u, gamma):
    """Of the end of the guided probability flow, from infinite noise: c^γ u^(1−γ).

    d log x / ds = ½ [γ/(c + s) + (1 − γ)/(u + s)] integrates to x² ∝ (c + s)^γ (u + s)^(1−γ).

    Source: ledger GUIDE-13.
    """
    return c**gamma * u ** (1 - gamma)


def diffusion_variance(c, u, gamma):
    """Of the end of the guided reverse diffusion: c^2γ u^(2−2γ)/(u − c) · ((u/c)^(2γ−1) − 1)/(2γ − 1), γ ≠ ½.

    The variance obeys −dV/ds = 1 − 2V [γ/(c + s) + (1 − γ)/(u + s)]; put r = (c + s)/(u + s).

    Source: ledger GUIDE-13.
    """
    return c ** (2 * gamma) * u ** (2 - 2 * gamma) / (u - c) * ((u / c) ** (2 * gamma - 1) - 1) / (2 * gamma - 1)


def conditional_reverse(chain, likelihood):
    """[q(x_{t−1} | x_t, y)] of a DiscreteChain for one label y, each (K, K), on the CPU: rows x_t, columns x_{t−1}.

    q(x_{t−1} | x_t, y) = q(x_{t−1} | x_t) q(y | x_{t−1}) / q(y | x_t), where noise does not look at the label,
    q(x_t | x_{t−1}, y) = q(x_t | x_{t−1}); the divisor depends on x_t and on y.

    Args:
        chain: ``oracles.DiscreteChain``.
        likelihood: (K,), q(y | x_0).
    Raises:
        ValueError: its shape is not that of the states.
    Source: Dhariwal & Nichol 2021, appendix H; ledger GUIDE-4, M-02, E-33.
    """
    now = host(likelihood)
    if now.shape != chain.p_0.shape:
        raise ValueError(f"expected q(y | x_0) of shape {tuple(chain.p_0.shape)}, got {tuple(now.shape)}")
    steps = []
    for reverse in chain.reverse():
        later = reverse @ now  # q(y | x_t) = Σ q(x_{t−1} | x_t) q(y | x_{t−1})
        steps.append(reverse * now / later[:, None])
        now = later
    return steps
