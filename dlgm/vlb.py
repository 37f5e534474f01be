"""The variational bound of a diffusion model, term by term.

    −log p_θ(x_0) ≤ L = KL(q(x_T | x_0) ‖ p(x_T))                                   prior
                      + Σ_{t=2..T} E KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t))   steps
                      − E log p_θ(x_0 | x_1)                                        reconstruction

The model is p(x_T) = N(0, I) and p_θ(x_{t−1} | x_t) = N(μ_θ, σ_t² I), where μ_θ is the mean of q(x_{t−1} | x_t, x_0)
with the denoiser's x̂_0 in the place of x_0.

Everything is for each example, in nats, summed over non-batch dimensions: (B,). Averages are the caller's.
"""

import math
from dataclasses import dataclass

import torch

from . import parameterization as P
from .gaussian import Gaussian, discretized_log_prob
from .process import (
    posterior_coefficients,
    q_implicit,
    q_marginal,
    q_posterior,
    q_sample,
    q_transition,
    terminal_kl,
)  # fmt: skip
from .tensors import home, known, randn_like, same_shape, to_device

VARIANCES = ("posterior", "beta")
DECODERS = ("discretized", "gaussian")


def reverse_variances(schedule, variance="posterior"):
    """The table σ_t² of p_θ(x_{t−1} | x_t), float64 (T+1,) on the CPU; index 0 is not used.

    "posterior" is β̃_t, exact for a single data point; "beta" is β_t, exact for standard normal data. β̃_1 is 0, a
    point mass that has no density, so β_1 stands there under both names.

    Args:
        schedule: discrete.
        variance: "posterior", "beta", or a table of one's own, (T+1,), positive from index 1 on.
    Raises:
        ValueError: an unknown name, a continuous schedule, or a table of another length or with values that are not
            positive.
    Source: Ho et al. 2020, section 3.2; ledger SCHED-2, PAR-5, POST-6, E-32.
    """
    if not hasattr(schedule, "T"):
        raise ValueError(f"the bound is a sum over the steps of a discrete schedule, got {schedule}")
    if isinstance(variance, torch.Tensor):
        if variance.shape != (schedule.T + 1,) or not (variance[1:] > 0).all():
            raise ValueError(f"expected {schedule.T + 1} variances, positive from index 1 on; got {variance}")
        return variance.cpu().double()
    known("variance", variance, VARIANCES)
    if variance == "beta":
        return schedule.beta
    return torch.cat([schedule.posterior_variance[:1], schedule.beta[1:2], schedule.posterior_variance[2:]])


def _index(t):
    return t.cpu() if isinstance(t, torch.Tensor) else t


def _times(t, x):
    """One time for each example, (B,), on the CPU, where the tables are; t a number, () or (B,)."""
    return torch.as_tensor(_index(t), device="cpu").expand(len(x))


def reverse_step(denoiser, x_t, t, variance="posterior", **cond):
    """p_θ(x_{t−1} | x_t) = N(μ_θ(x_t, t), σ_t² I), μ_θ = c_0 x̂_0 + c_t x_t: a Gaussian of x_t's shape.

    Args:
        denoiser: with a discrete schedule.
        x_t: (B, ...).
        t: a number, () or (B,), 1..T.
        variance: see ``reverse_variances``; or "predicted", the denoiser's own.
    Source: Ho et al. 2020, equations 1 and 7; ledger REV-4, REV-5, PAR-2, PAR-5, VAR-1.
    """
    return _step(denoiser(x_t, t, **cond), variance)


def _step(p, variance):
    """``reverse_step`` of a Prediction."""
    mean = P.mean_from_x0(p.schedule, p.x_t, p.x0, p.t - 1, p.t)
    if isinstance(variance, str) and variance == "predicted":
        return Gaussian.from_logvar(mean, p.logvar)
    return Gaussian(mean, reverse_variances(p.schedule, variance)[_index(p.t)])


def _decode(gaussian, x0, decoder):
    """log p(x_0 | x_1) in nats, (B,), in x0's dtype."""
    known("decoder", decoder, DECODERS)
    return gaussian.log_prob(x0) if decoder == "gaussian" else discretized_log_prob(gaussian, x0).to(x0)


def vlb_term(denoiser, x0, t, eps, variance="posterior", decoder="discretized", **cond):
    """One term of the bound for each example, at x_t = signal x_0 + noise ε.

    t ≥ 2: KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t));  t = 1: −log p_θ(x_0 | x_1).

    A KL is a function of (x_t, x_0); L_{t−1} is its average over ε. T times the term at a uniformly drawn t is an
    unbiased estimate of the sum over all t.

    Args:
        x0: (B, ...); for decoder "discretized", pixels of 256 levels in [-1, 1].
        t: a number, () or (B,), 1..T.
        eps: x0's shape.
        variance: see ``reverse_step``.
        decoder: "discretized", N(μ_θ(x_1, 1), σ_1²) integrated over the bin of each pixel, a log-probability; or
            "gaussian", its density, for data that are not pixels.
    Returns:
        Nats, (B,).
    Source: Ho et al. 2020, equations 5 and 13; ledger VLB-6, VLB-7, LOSS-2, E-15, E-42, E-45.
    """
    t = _times(t, x0)
    x_t = q_sample(denoiser.schedule, x0, t, eps)
    return term_of(denoiser(x_t, t, **cond), x0, variance, decoder)


def term_of(p, x0, variance="posterior", decoder="discretized"):
    """``vlb_term`` of what a denoiser has said already, a Prediction with t (B,) on the CPU: nats (B,)."""
    law, x_t, t = _step(p, variance), p.x_t, p.t

    def decoded(law, x_t, x0, t):
        return -_decode(law, x0, decoder)

    def divergence(law, x_t, x0, t):
        return q_posterior(p.schedule, x_t, x0, t - 1, t).kl(law)

    if len(set((t == 1).tolist())) == 1:  # all alike, so that no rows need to be picked out
        return (decoded if t[0] == 1 else divergence)(law, x_t, x0, t)
    out = x0.new_empty(len(x0))
    for term, rows in ((decoded, (t == 1).nonzero()[:, 0]), (divergence, (t > 1).nonzero()[:, 0])):
        there = to_device(rows, x0.device)
        out[there] = term(law.rows(there), x_t[there], x0[there], t[rows])
    return out


@dataclass(frozen=True, eq=False)
class VLB:
    """The bound on −log p_θ(x_0) term by term, in nats.

    Attributes:
        prior: (B,), KL(q(x_T | x_0) ‖ p(x_T)).
        steps: (B, T−1); column t − 2 is the term of step t, t = 2..T.
        reconstruction: (B,), −log p_θ(x_0 | x_1).
        dims: entries of one example.
        decoder: what the reconstruction is; see ``vlb_term``.
    """

    prior: torch.Tensor
    steps: torch.Tensor
    reconstruction: torch.Tensor
    dims: int
    decoder: str

    @property
    def total(self):
        """prior + Σ_t steps_t + reconstruction, nats, (B,)."""
        return self.prior + self.steps.sum(1) + self.reconstruction

    @property
    def bits_per_dim(self):
        """total / (dims log 2), (B,); fewer is better (E-54). For the discretised decoder: a density has no bits."""
        if self.decoder != "discretized":
            raise ValueError("bits per dimension count probabilities of pixel levels; this bound is on a density")
        return self.total / (self.dims * math.log(2))


def _dims(x0):
    return x0[0].numel()


def vlb_terms(denoiser, x0, generator=None, variance="posterior", decoder="discretized", **cond):
    """The bound in its denoising-matching form, one draw of x_t ~ q(x_t | x_0) for each t: a VLB.

    L = KL(q(x_T | x_0) ‖ p(x_T)) + Σ_{t=2..T} KL(q(x_{t−1} | x_t, x_0) ‖ p_θ(x_{t−1} | x_t)) − log p_θ(x_0 | x_1).

    The expectation of ``total`` bounds −log p_θ(x_0) from above. T evaluations of the network.

    Args, Raises: see ``vlb_term``.
    Source: Ho et al. 2020, equation 5; ledger VLB-1, VLB-3, VLB-5, VLB-8, M-01, M-03, E-26.
    """
    terms = [
        vlb_term(denoiser, x0, t, randn_like(x0, generator), variance, decoder, **cond)
        for t in range(1, denoiser.schedule.T + 1)
    ]
    steps = torch.stack(terms[1:], 1) if len(terms) > 1 else x0.new_zeros(len(x0), 0)
    prior = terminal_kl(denoiser.schedule, x0) * _dims(x0)
    return VLB(prior, steps, terms[0], _dims(x0), decoder)


def vlb_estimate(denoiser, x0, evaluations, generator=None, variance="posterior", decoder="discretized", **cond):
    """An unbiased draw of the bound from fewer evaluations than T: stratified random times, nats, (B,).

    prior + term(1) + Σ_k |S_k| term(t_k), t_k uniform in S_k, where S_1, S_2, ... cut 2..T into equal parts.

    Args:
        evaluations: of the network, 2..T; with T of them every t is used once, as in ``vlb_terms``.
        others: see ``vlb_term``.
    Raises:
        ValueError: fewer than 2 evaluations, or more than T.
    Source: ledger VLB-3, LOSS-6, NUM-1.
    """
    return vlb_estimates(denoiser, x0, evaluations, {"one": variance}, generator, decoder, **cond)["one"]


def vlb_estimates(denoiser, x0, evaluations, variances, generator=None, decoder="discretized", **cond):
    """``vlb_estimate`` under several variances from the same draws and the same answers of the network.

    Their differences have far smaller errors than they themselves.

    Args:
        variances: dict name -> variance.
    Returns:
        A dict name -> nats (B,).
    """
    T = denoiser.schedule.T
    if not 2 <= evaluations <= T:
        raise ValueError(f"expected 2 to T = {T} evaluations, got {evaluations}")
    strata = [torch.ones(1, dtype=torch.int64, device="cpu")]
    strata += torch.arange(2, T + 1, device="cpu").tensor_split(evaluations - 1)
    total = dict.fromkeys(variances, terminal_kl(denoiser.schedule, x0) * _dims(x0))
    for stratum in strata:
        t = stratum[torch.randint(len(stratum), (len(x0),), generator=generator, device=home(generator)).cpu()]
        p = denoiser(q_sample(denoiser.schedule, x0, t, randn_like(x0, generator)), t, **cond)
        for name, variance in variances.items():
            total[name] = total[name] + len(stratum) * term_of(p, x0, variance, decoder)
    return total


@torch.no_grad()
def optimal_variances(denoiser, x0, generator=None, **cond):
    """The best single number for each step, σ_t² = β̃_t + c_0² mean (x_0 − x̂_0)², from a denoiser and some images.

    The mean is over the images, one x_t each, and their entries. No training: with it the KL of step t ≥ 2, averaged
    over these images, is least among the tables. At t = 1 it is the variance of a Gaussian decoder.

    Args:
        denoiser: with a discrete schedule.
        x0: (B, ...).
    Returns:
        A table for ``reverse_step``, (T+1,), float64 on the CPU; index 0 is not used.
    Source: Bao et al. 2022, theorem 1; ledger VAR-1, M-05, POST-6.
    """
    schedule, table = denoiser.schedule, [math.nan]
    for t in range(1, schedule.T + 1):
        x_t = q_sample(schedule, x0, t, randn_like(x0, generator))
        c_0, _, v = posterior_coefficients(schedule, t - 1, t)
        table.append(v + c_0**2 * (x0 - denoiser(x_t, t, **cond).x0).square().mean().item())
    return torch.tensor(table, dtype=torch.float64, device="cpu")


def vlb_path(denoiser, path, variance="posterior", decoder="discretized", **cond):
    """The bound as one log-ratio of whole paths, −log p_θ(x_{0:T}) / q(x_{1:T} | x_0), in nats: (B,).

    Args:
        path: [x_0, x_1, ..., x_T], a draw of q(x_{1:T} | x_0), each (B, ...); see ``process.q_path``.
    Source: Ho et al. 2020, equation 3; ledger VLB-1, VLB-2, VLB-10, REV-4, QUIZ-1.1.
    """
    down, up = _log_path(denoiser, path, variance, decoder, cond)
    return -_log_prior(path[-1]) - torch.stack(down, 1).sum(1) + torch.stack(up, 1).sum(1)


def vlb_consistency(denoiser, path, variance="posterior", decoder="discretized", **cond):
    """The bound in its consistency form, each x_t compared with what is left and right of it: a VLB.

    prior: log q(x_T | x_{T−1}) / p(x_T);  steps, t = 1..T−1: log q(x_t | x_{t−1}) / p_θ(x_t | x_{t+1});
    reconstruction: −log p_θ(x_0 | x_1).

    Each step is an average over the triple (x_{t−1}, x_t, x_{t+1}), not a KL: given x_{t−1}, x_t and x_{t+1} depend on
    each other (erratum E-06). Column t − 1 of ``steps`` belongs to t. ``total`` equals ``vlb_path`` path by path.

    Args: see ``vlb_path``.
    Source: Sohl-Dickstein et al. 2015; Luo 2022; ledger VLB-9, M-09.
    """
    down, up = _log_path(denoiser, path, variance, decoder, cond)
    steps = [u - d for u, d in zip(up[:-1], down[1:], strict=True)]
    steps = torch.stack(steps, 1) if steps else path[0].new_zeros(len(path[0]), 0)
    return VLB(up[-1] - _log_prior(path[-1]), steps, -down[0], _dims(path[0]), decoder)


def implicit_vlb(denoiser, path, variances, **cond):
    """log q_σ(x_{1:T} | x_0) − log p_θ(x_{0:T}) of one path of q_σ, nats (B,): its average is J_σ.

    p_θ takes x̂_0 for x_0 in q_σ(x_{t−1} | x_t, x_0); p_θ(x_0 | x_1) = N(x̂_0, σ_1² I), p(x_T) = N(0, I).

    Args:
        path: [x_0, ..., x_T]; see ``process.implicit_path``.
        variances: σ_t², (T + 1,), positive from index 1 on.
    Source: Song, Meng & Ermon 2021, equation 11; ledger DDIM-3, DDIM-4, E-09.
    """
    schedule, x0, T = denoiser.schedule, path[0], denoiser.schedule.T
    total = q_marginal(schedule, x0, T).log_prob(path[T]) - _log_prior(path[T])
    for t in range(T, 0, -1):
        guess = denoiser(path[t], t, **cond).x0
        if t == 1:
            return total - Gaussian(guess, variances[1]).log_prob(x0)
        q, p = (q_implicit(schedule, path[t], x, t - 1, t, variances[t]) for x in (x0, guess))
        total = total + q.log_prob(path[t - 1]) - p.log_prob(path[t - 1])


def _log_prior(x_T):
    return Gaussian(torch.zeros_like(x_T), 1.0).log_prob(x_T)


def _log_path(denoiser, path, variance, decoder, cond):
    """[log p_θ(x_{t−1} | x_t)] and [log q(x_t | x_{t−1})], both for t = 1..T, each (B,)."""
    schedule = denoiser.schedule
    if len(path) != schedule.T + 1:
        raise ValueError(f"expected a path of T + 1 = {schedule.T + 1} states, got {len(path)}")
    same_shape(**{f"x_{t}": x for t, x in enumerate(path)})
    times = range(1, schedule.T + 1)
    laws = [reverse_step(denoiser, path[t], t, variance, **cond) for t in times]
    down = [_decode(laws[0], path[0], decoder), *(p.log_prob(path[t]) for t, p in enumerate(laws[1:], 1))]
    return down, [q_transition(schedule, path[t - 1], t - 1, t).log_prob(path[t]) for t in times]


def gaussian_vlb(schedule, x0_mean, x0_var, variance="posterior", dims=1):
    """The bound averaged over data N(x0_mean, x0_var I) for the exact denoiser E[x_0 | x_t], in closed form.

    Every x̂_0 is off by a Gaussian of variance x0_var noise_t²/(signal_t² x0_var + noise_t²), so every average is exact.
    The reconstruction is that of decoder "gaussian".

    Args:
        x0_mean, x0_var: numbers, x0_var ≥ 0.
        dims: number of independent coordinates with this law.
    Returns:
        A VLB with one row, on the CPU: averages over the data, nats.
    Source: ledger VLB-3, POST-6, LOSS-1.
    """
    sigma2 = reverse_variances(schedule, variance)[1:]
    t = torch.arange(1, schedule.T + 1, device="cpu")
    signal, noise2 = schedule.signal(t), schedule.noise(t) ** 2
    error = x0_var * noise2 / (signal**2 * x0_var + noise2)  # E (x_0 − x̂_0)²
    c_0, _, v = posterior_coefficients(schedule, t - 1, t)
    squares = c_0**2 * error / sigma2
    kl = 0.5 * (v / sigma2 - 1 - torch.log(v / sigma2) + squares)[1:]
    reconstruction = 0.5 * (torch.log(2 * math.pi * sigma2) + squares)[0]
    power = signal[-1] ** 2 * (x0_mean**2 + x0_var)
    prior = 0.5 * (noise2[-1] - 1 - torch.log(noise2[-1]) + power)
    return VLB(dims * prior[None], dims * kl[None], dims * reconstruction[None], dims, "gaussian")


def kl_constant(schedule, t, dims, variance="posterior"):
    """C = ½ d [β̃/σ² − 1 − log(β̃/σ²)], the part of the KL of step t ≥ 2 without the mean; 0 iff σ_t² = β̃_t. Nats.

    No price of the choice of σ²: the squared error of the mean is weighted by 1/2σ², less for a larger σ², and no
    network can make it 0. For data N(0, I) the bound with β, where ΣC > 0, is the entropy, and with β̃ above it.

    Args:
        t: a whole number, () or (B,), 2..T.
        dims: d, entries of one example.
    Returns:
        A float64 tensor of t's shape on the CPU.
    Raises:
        ValueError: t < 2; at t = 1 there is a decoder, no KL.
    Source: ledger LOSS-1, E-12, E-28.
    """
    index = _index(t)
    if (torch.as_tensor(index, device="cpu") < 2).any():
        raise ValueError(f"t must be at least 2, where the KL begins; got {index}")
    excess = (schedule.posterior_variance / reverse_variances(schedule, variance))[index] - 1
    return 0.5 * dims * (excess - torch.log1p(excess))
