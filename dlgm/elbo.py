"""Bounds on log p(x) by sampling, for any joint p(x, z) and any q(z | x).

Everything here rests on one number, the log weight of a draw z ~ q(z | x),

    log w = log p(x, z) − log q(z | x).

Its mean is the ELBO; w itself has mean p(x). Jensen's inequality between the two is the whole theory. Averages of K
weights inside the logarithm interpolate: K = 1 is the ELBO, K → ∞ is log p(x).

A joint is a function ``log_joint(x, z) -> (B,)``. A q is a function ``q(x)`` that gives a law with
``sample(generator)`` and ``log_prob(z)``, such as a ``Gaussian``. z may be one tensor or, in a hierarchy, a list.
"""

import math
from dataclasses import dataclass

import torch

from .gaussian import LOG_2PI, Gaussian
from .metrics import estimate
from .tensors import double, known, normal, to_device


def log_weights(log_joint, q, x, n=1, generator=None):
    """log w = log p(x, z) − log q(z | x) for n draws z ~ q(z | x) for each example, in nats.

    Args:
        log_joint: function (x, z) -> (B,).
        q: function x -> law with ``sample(generator)`` and ``log_prob(z)``.
        x: (B, ...).
        n: draws for each example.
    Returns:
        (B, n); differentiable with respect to whatever the joint and, through reparameterised draws, q depend on.
    Raises:
        ValueError: x is empty, or n < 1.
    Source: ledger ELBO-1, M-42.
    """
    x = _repeated(x, n)
    law = q(x)
    z = law.sample(generator)
    return (log_joint(x, z) - law.log_prob(z)).reshape(-1, n)


def _repeated(x, n):
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"expected at least one example, got x of shape {tuple(x.shape)}")
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"the number of draws must be a whole number of at least 1, got {n!r}")
    return x.repeat_interleave(n, 0)


def elbo(log_joint, q, x, n=1, generator=None):
    """ELBO(x) = E_q[log p(x, z) − log q(z | x)] ≤ log p(x), from n draws: an Estimate of shape (B,), in nats.

    The same function serves a flat model and a hierarchy, and a diffusion chain, which is a long one.

    Source: Kingma & Welling 2014, equation 2; ledger ELBO-1, HVAE-2, VDM-1.
    """
    return estimate(log_weights(log_joint, q, x, n, generator))


def iwae(log_joint, q, x, K, n=1, generator=None, gradient="plain"):
    """The importance-weighted bound L_K = E[log (1/K) Σ_k w_k], ELBO = L_1 ≤ L_2 ≤ ... → log p(x), in nats.

    Args:
        K: draws inside the logarithm.
        n: independent repetitions of them, averaged outside.
        gradient: what differentiating the value gives. "plain" is the gradient of the value itself. "doubly" is the
            doubly-reparameterised one for q's parameters (the same mean, and no longer lost in noise as K grows), and
            the plain one for the joint's. It needs a flat q whose law is a Gaussian with differentiable mean and var.
    Returns:
        An Estimate of shape (B,).
    Raises:
        ValueError: K or n < 1, an unknown gradient, or "doubly" for a law without mean and variance.
    Source: Burda et al. 2016, equation 8; Tucker et al. 2019, equation 9; ledger M-33.
    """
    known("gradient", gradient, ("plain", "doubly"))
    if gradient == "plain":
        return estimate(log_mean_exp(log_weights(log_joint, q, x, n * K, generator).reshape(-1, n, K)))
    repeated = _repeated(x, n * K)
    law = q(repeated)
    if not all(isinstance(getattr(law, name, None), torch.Tensor) for name in ("mean", "var")):
        raise ValueError(f"gradient='doubly' needs a q with mean and var, such as a Gaussian; got {type(law).__name__}")
    z = law.sample(generator)
    frozen = law.detach() if hasattr(law, "detach") else type(law)(law.mean.detach(), law.var.detach())
    log_w = (log_joint(repeated, z) - frozen.log_prob(z)).reshape(-1, n, K)
    share = log_w.detach().softmax(-1)
    if z.requires_grad:  # the path through z gets the share twice, once here and once below
        z.register_hook(lambda g: g * share.reshape(-1, *[1] * (g.ndim - 1)))
    value = log_mean_exp(log_w)
    surrogate = (share * log_w).sum(-1)
    return estimate(value.detach() + surrogate - surrogate.detach())


def log_mean_exp(log_w, dim=-1):
    """log (1/K) Σ_k w_k from log w_k, K of them along ``dim``, without overflow."""
    return log_w.logsumexp(dim) - math.log(log_w.shape[dim])


def effective_sample_size(log_w):
    """(Σ_k w_k)² / Σ_k w_k², from 1 to K: how many equally weighted draws K weights are worth, (..., K) -> (...).

    Source: Kong 1992; ledger LVM-1.
    """
    return (2 * log_w.logsumexp(-1) - (2 * log_w).logsumexp(-1)).exp()


def posterior_kl(log_posterior, q, x, n=1, generator=None):
    """KL(q(z | x) ‖ p(z | x)) = E_q[log q(z | x) − log p(z | x)] from n draws: an Estimate of shape (B,), in nats.

    Args:
        log_posterior: function (x, z) -> (B,), the exact log p(z | x).
    Source: ledger ELBO-2.
    """
    return estimate(-log_weights(log_posterior, q, x, n, generator))


@dataclass(frozen=True, eq=False)
class Decomposition:
    """log p(x) = ELBO + KL(q(z | x) ‖ p(z | x)): the three numbers, each computed on its own, (B,), in nats."""

    log_evidence: torch.Tensor
    elbo: torch.Tensor
    kl: torch.Tensor

    @property
    def residual(self):
        """log p(x) − ELBO − KL, zero but for rounding."""
        return self.log_evidence - self.elbo - self.kl


def decompose(model, q, x):
    """The exact decomposition log p(x) = ELBO + KL, without sampling, for a model that knows all three.

    Args:
        model: an oracle with ``log_prob(x)``, ``elbo(x, law)`` and ``posterior_kl(x, law)``; see ``oracles``.
        q: function x -> law.
        x: (B, ...).
    Returns:
        A Decomposition; its ``residual`` is a check, not a definition.
    Source: ledger ELBO-2, ELBO-3, E-41, E-56.
    """
    law = q(x)
    return Decomposition(model.log_prob(x), model.elbo(x, law), model.posterior_kl(x, law))


# ---- the evidence, without a q ---------------------------------------------------------------------------------------
def evidence_integral(log_likelihood, dim=-1):
    """log p(x) ≈ log (1/N) Σ_n p(x | z_n) with z_n ~ p(z), by log-sum-exp, in nats; biased low for finite N.

    Args:
        log_likelihood: log p(x | z_n), (..., N) along ``dim``.
    Source: ledger LVM-1, LVM-2.
    """
    return log_mean_exp(log_likelihood, dim)


def evidence_ratio(model, x, z):
    """log p(x) = log p(x, z) − log p(z | x), the same for every z, in nats: (B,).

    Args:
        model: has ``log_joint(x, z)`` and ``posterior(x)``, such as ``oracles.LinearGaussian``.
    Source: ledger LVM-2.
    """
    return model.log_joint(x, z) - model.posterior(x).log_prob(z)


def prior_weight_ratio(x, noise_var):
    """E[w]² / E[w²] of w = Π_i N(x_i; z_i, s²) for z ~ N(0, I): the share of N prior draws that counts, for large N.

    Coordinate by coordinate E[w] = N(x; 0, 1 + s²) and E[w²] = N(x; 0, 1 + s²/2) / (2s√π), so it falls
    exponentially with the dimension.

    Args:
        x: (B, d). noise_var: s².
    Returns:
        (B,), between 0 and 1.
    Source: ledger LVM-1.
    """
    first = Gaussian(torch.zeros_like(x), 1 + noise_var).log_prob(x)
    second = Gaussian(torch.zeros_like(x), 1 + noise_var / 2).log_prob(x)
    return (2 * first - second + 0.5 * x[0].numel() * math.log(4 * math.pi * noise_var)).exp()


def prior_log_weights(x, noise_var, n, repeats=1, generator=None):
    """log p(x | z_n) for z_n ~ N(0, I) and x | z ~ N(z, s² I), for one x (d,): (repeats, n), float64.

    On x's device; on the CPU where that has no float64 (MPS).
    """
    x = double(x)
    z = to_device(normal((repeats, n, len(x)), generator), x.device)
    return -0.5 * ((x - z).square().sum(-1) / noise_var + len(x) * (LOG_2PI + math.log(noise_var)))
