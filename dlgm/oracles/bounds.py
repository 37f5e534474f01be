"""Two worlds in which every average of the variational bound is exact.

A *linear chain*: the reverse mean is a_t x_t + b_t, so log-ratios are quadratic in the noise and a few Gauss–Hermite
nodes give their averages to rounding. *One pixel*: x_0 is one of 256 grey levels with known probabilities, so the exact
denoiser is a sum of 256 terms, and the least any model can pay is an entropy in bits.

Everything is float64 on the CPU; only the denoisers answer where x_t lies.
"""

import itertools
import math

import numpy as np
import torch

from ..denoiser import Denoiser, Prediction
from ..gaussian import Gaussian, MultivariateGaussian, discretized_log_prob
from ..process import posterior_coefficients, q_transition
from ..schedules import DiscreteSchedule
from ..tensors import choose, double, host, near, to_device
from ..vlb import VLB, reverse_step, reverse_variances, vlb_term, vlb_terms

EXACT = dict(dtype=torch.float64, device="cpu")
T4 = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])


# ---- linear chains ---------------------------------------------------------------------------------------------------
class _Line(torch.nn.Module):
    A, B = (0.9, 0.8, 0.55, 0.5), (0.05, -0.1, 0.02, 0.1)

    def forward(self, x, t):
        a, b = (
            to_device(torch.tensor((math.nan, *v), dtype=x.dtype, device="cpu"), x.device)[t] for v in (self.A, self.B)
        )
        return a[:, None] * x + b[:, None]


def short_chain():
    """A model of the T = 4 chain, some reverse mean a_t x_t + b_t and some variances: (denoiser, variances (5,)).

    It fits no data in particular, so that no term of its bound is negligible.
    """
    variances = torch.tensor([math.nan, 0.2, 0.25, 0.3, 0.5], **EXACT)
    return Denoiser(_Line(), T4, predicts="mean"), variances


def nodes(k, n=3):
    """Gauss–Hermite nodes (n^k, k) and weights (n^k,) of N(0, I): exact for polynomials up to degree 2n − 1 in each."""
    z, w = np.polynomial.hermite_e.hermegauss(n)
    z, w = host(z), host(w / math.sqrt(2 * math.pi))
    grid = torch.tensor(list(itertools.product(range(n), repeat=k)), device="cpu")
    return z[grid], w[grid].prod(1)


def every_path(schedule, x0):
    """All 3^T nodes of q(x_{1:T} | x_0) for a number x_0: [x_0, ..., x_T], each (3^T, 1), and weights (3^T,).

    The weighted sum of a quadratic function of the path is its exact average.

    Source: ledger VLB-4.
    """
    z, w = nodes(schedule.T)
    path = [torch.full((len(w), 1), float(x0), **EXACT)]
    for t in range(1, schedule.T + 1):
        law = q_transition(schedule, path[-1], t - 1, t)
        path.append(law.mean + law.var.sqrt() * z[:, t - 1 : t])
    return path, w


def exact_terms(denoiser, x0, variance="posterior"):
    """The bound of a linear chain at a number x_0, every term averaged exactly over ε: a VLB with one row.

    Source: ledger VLB-3, VLB-7, VLB-8.
    """
    z, w = nodes(1)
    x = torch.full((len(w), 1), float(x0), **EXACT)
    terms = torch.stack(
        [w @ vlb_term(denoiser, x, t, z, variance, "gaussian") for t in range(1, denoiser.schedule.T + 1)]
    )
    prior = vlb_terms(denoiser, x[:1], variance=variance, decoder="gaussian").prior
    return VLB(prior, terms[None, 1:], terms[:1], 1, "gaussian")


def _model_path(denoiser, variance):
    """p_θ(x_0, ..., x_T) of a linear chain as mean (T+1,) and covariance (T+1, T+1), from x_T ~ N(0, 1) down."""
    T = denoiser.schedule.T
    sigma = reverse_variances(denoiser.schedule, variance).sqrt()
    mean, root = torch.zeros(T + 1, **EXACT), torch.zeros(T + 1, T + 1, **EXACT)
    root[T, T] = 1
    for t in range(T, 0, -1):
        b, a = reverse_step(denoiser, torch.tensor([[0.0], [1.0]], **EXACT), t, variance).mean[:, 0]
        a = a - b
        mean[t - 1], root[t - 1] = a * mean[t] + b, a * root[t]
        root[t - 1, t - 1] = sigma[t]
    return mean, root @ root.T


def model_law(denoiser, variance="posterior"):
    """p_θ(x_0) of a linear chain, all of x_1, ..., x_T integrated out: a Gaussian of shape (1, 1)."""
    mean, cov = _model_path(denoiser, variance)
    return Gaussian(mean[:1, None], cov[0, 0])


def path_posteriors(denoiser, x0, variance="posterior"):
    """q(x_{1:T} | x_0) and p_θ(x_{1:T} | x_0) of a linear chain at a number x_0: two MultivariateGaussians (1, T).

    The KL between them is what the bound misses.

    Source: ledger VLB-2, M-03.
    """
    schedule, (mean, cov) = denoiser.schedule, _model_path(denoiser, variance)
    gain = cov[1:, 0] / cov[0, 0]
    model = MultivariateGaussian((mean[1:] + gain * (x0 - mean[0]))[None], cov[1:, 1:] - gain[:, None] * cov[0, 1:])
    bar = schedule.alpha_bar[1:]
    low, high = torch.minimum(bar[:, None], bar), torch.maximum(bar[:, None], bar)  # ᾱ falls with t
    return MultivariateGaussian((bar.sqrt() * x0)[None], (low / high).sqrt() * (1 - high)), model


# ---- one pixel -------------------------------------------------------------------------------------------------------
class PixelLaw:
    """One grey value: 256 levels −1 + 2k/255 with given probabilities, and the exact denoiser of that law.

    Args:
        probabilities: (256,), not negative; scaled to sum 1.
    Attributes:
        levels, probabilities: (256,), float64.
    Source: ledger M-04, VLB-6.
    """

    def __init__(self, probabilities):
        self.probabilities = host(probabilities)
        if self.probabilities.shape != (256,) or not (self.probabilities >= 0).all():
            raise ValueError(f"expected 256 probabilities, got shape {tuple(self.probabilities.shape)}")
        self.probabilities = self.probabilities / self.probabilities.sum()
        self.levels = torch.linspace(-1, 1, 256, **EXACT)

    @classmethod
    def of(cls, mixture):
        """A one-dimensional GaussianMixture rounded to grey levels: its mass in each bin, the edge bins open."""
        grid = torch.linspace(-1, 1, 256, **EXACT)[:, None]
        parts = zip(mixture.weights, mixture.means, mixture.covs.flatten(), strict=True)
        return cls(sum(w * discretized_log_prob(Gaussian(m.expand(256, 1), v), grid).exp() for w, m, v in parts))

    @property
    def entropy(self):
        """−Σ p log₂ p, in bits: what a model that knows the law exactly pays on average."""
        return -torch.special.xlogy(self.probabilities, self.probabilities).sum().item() / math.log(2)

    def sample(self, n, generator=None):
        """n grey values, (n, 1), float64, on the generator's device; on MPS and for None on the CPU."""
        k = choose(self.probabilities, n, generator)
        (levels,) = near(self, torch.device("cpu") if k.device.type == "mps" else k.device, "levels")
        return levels[k.to(levels.device)][:, None]

    def _joint(self, schedule, x_t, t):
        """log p_k N(x_t; signal level_k, noise²): (B, 1) -> (B, 256)."""
        a, s = float(schedule.signal(t)), float(schedule.noise(t))
        probabilities, levels = near(self, x_t.device, "probabilities", "levels")
        return probabilities.log() - 0.5 * ((x_t - a * levels) / s) ** 2 - math.log(s * (2 * math.pi) ** 0.5)

    def denoiser(self, schedule):
        """E[x_0 | x_t], one time for the whole batch."""
        return _PixelDenoiser(self, schedule)

    def vlb(self, schedule, variance="beta"):
        """The bound of the exact denoiser with the discretised decoder, averaged over the law: a VLB with one row.

        Given x_t the error x_0 − x̂_0 has the posterior variance, so step t costs ½[r − 1 − log r + c_0² E Var/σ²],
        r = β̃_t/σ_t². Averages over x_t are trapezoid sums with four points in each standard deviation of the noise.

        Source: ledger VLB-3, VLB-6, VLB-7, M-04.
        """
        sigma2, steps = reverse_variances(schedule, variance), []
        for t in range(1, schedule.T + 1):
            a, s = float(schedule.signal(t)), float(schedule.noise(t))
            x = torch.arange(-a - 8 * s, a + 8 * s + s / 4, s / 4, **EXACT)[:, None]
            joint = self._joint(schedule, x, t)
            r, density = joint.softmax(1), joint.exp().sum(1) * s / 4
            mean = r @ self.levels
            if t == 1:
                law = Gaussian(mean.repeat_interleave(256)[:, None], sigma2[1])  # the mean of step 1 is x̂_0
                log_p = discretized_log_prob(law, self.levels.repeat(len(x))[:, None]).reshape(-1, 256)
                reconstruction = -(density @ (r * log_p).sum(1))
                continue
            spread = density @ (r * (self.levels - mean[:, None]) ** 2).sum(1)
            c_0, _, v = posterior_coefficients(schedule, t - 1, t)
            excess = v / sigma2[t] - 1
            steps.append(0.5 * (excess - torch.log1p(excess) + c_0**2 * spread / sigma2[t]))
        end, power = schedule.noise(schedule.T) ** 2, self.probabilities @ self.levels**2
        prior = 0.5 * (schedule.alpha_bar[-1] * power + end - 1 - math.log(end))
        return VLB(prior[None], torch.stack(steps)[None], reconstruction[None], 1, "discretized")


class _PixelDenoiser:
    def __init__(self, law, schedule):
        self.law, self.schedule = law, schedule

    def __call__(self, x_t, t, **cond):
        t = t.cpu() if isinstance(t, torch.Tensor) else torch.tensor(t, device="cpu")
        if t.numel() > 1 and not (t == t.flatten()[0]).all():
            raise ValueError("this denoiser takes one time for the whole batch")
        r = self.law._joint(self.schedule, double(x_t), int(t.flatten()[0])).softmax(1)
        (levels,) = near(self.law, r.device, "levels")
        return Prediction(self.schedule, x_t, t, x0=(r @ levels)[:, None].to(x_t))
