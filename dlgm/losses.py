"""What a denoiser is trained on: a squared error of x̂_0, ε̂, v̂, the score, the mean or the velocity, with a weight.

``vlb_weight`` is the weight of the variational bound (``dlgm.vlb``), ``convert_weight`` carries a weight from one
target to another. Losses are for each example, in nats, summed over non-batch dimensions: (B,).
"""

import itertools

import torch

from . import parameterization as P
from .metrics import estimate
from .parameterization import TARGETS
from .process import posterior_coefficients, q_sample
from .schedules import rates
from .tensors import choose, expand, home, host, known, randn_like, same_shape, sum_non_batch, whole
from .vlb import _index, _times, reverse_variances, term_of


def error_scale(schedule, t, target):
    """|error of target| / |error of x̂_0|, at given x_t: how a mistake in x̂_0 shows in another quantity.

    x0: 1;  eps: signal/noise;  v: (signal² + noise²)/noise;  score: signal/noise²;
    velocity: (signal noise' − noise signal')/noise;  mean: c_0 of (t − 1, t).

    Args:
        t: a number, () or (B,), not 0.
        target: "x0", "eps", "v", "score", "velocity" or "mean" (discrete schedules).
    Returns:
        A number, or a float64 tensor of t's shape on the CPU.
    Source: ledger LOSS-4, LOSS-7, PAR-3.
    """
    known("target", target, TARGETS)
    if target == "x0":
        return schedule.signal(t) * 0 + 1
    if target == "mean":
        return posterior_coefficients(schedule, t - 1, t)[0]
    signal, noise = schedule.signal(t), schedule.noise(t)
    if target == "velocity":
        return P.turn(schedule, t) / noise
    return {"eps": signal / noise, "v": (signal**2 + noise**2) / noise, "score": signal / noise**2}[target]


def convert_weight(schedule, t, weight, source, target):
    """The weight of ‖target error‖² that makes the same loss as ``weight`` on ‖source error‖².

    weight_target = weight_source (scale_source / scale_target)², with ``error_scale``.

    Args:
        weight: a number, or a tensor of t's shape on the CPU.
        source, target: "x0", "eps", "v", "score", "velocity" or "mean".
    Source: ledger LOSS-3, LOSS-4, LOSS-7, SCORE-5, E-18, E-20, E-74; Kingma & Gao 2023, table 1.
    """
    return weight * (error_scale(schedule, t, source) / error_scale(schedule, t, target)) ** 2


def implicit_weight(schedule, s, t, variance):
    """γ: the weight of ‖ε error‖² in KL(q_σ(x_s | x_t, x_0) ‖ q_σ(x_s | x_t, x̂_0)), at any σ² and any pair s < t.

    γ = (signal_s noise_t/signal_t − √(noise_s² − σ²))² / (2σ²). For σ² = β̃_t it is ``vlb_weight`` of "eps". Since only
    the weights differ, one network serves every σ if it is free at each t (E-30). Where s is the clean state it is the
    weight in −log N(x_0; x̂_0, σ²), for any σ².

    Args:
        variance: σ², a number or tensor of t's shape, positive, up to noise_s² where that is not 0.
    Returns:
        A number or a float64 tensor of t's shape on the CPU.
    Raises:
        ValueError: a variance out of range.
    Source: Song, Meng & Ermon 2021, theorem 1; ledger DDIM-4, DDIM-5, E-30.
    """
    noise_s = host(schedule.noise(s))
    left = noise_s**2 - host(variance)
    if ((left < 0) & (noise_s > 0)).any() or not (host(variance) > 0).all():
        raise ValueError(f"expected a variance in (0, noise_s²], up to {schedule.noise(s) ** 2}, got {variance}")
    gamma = (schedule.signal(s) * schedule.noise(t) / schedule.signal(t) - left.clamp(min=0).sqrt()) ** 2
    gamma = gamma / (2 * host(variance))
    return gamma if isinstance(t, torch.Tensor) or isinstance(variance, torch.Tensor) else gamma.item()


def vlb_weight(schedule, t, target="eps", variance="posterior"):
    """The weight λ_t with which ‖target error‖² enters the bound at t.

    mean: 1/(2σ_t²);  eps: β_t²/(2σ_t² α_t (1−ᾱ_t));  x0: ᾱ_{t−1} β_t²/(2σ_t² (1−ᾱ_t)²), which is
    ½ (SNR_{t−1} − SNR_t) for σ_t² = β̃_t, t ≥ 2.

    Args:
        t: a whole number, () or (B,), 1..T.
        variance: see ``reverse_variances``.
    Returns:
        A float64 tensor of t's shape on the CPU.
    Source: Ho et al. 2020, equation 12; Kingma et al. 2021, equation 14; ledger LOSS-1, LOSS-3, LOSS-4, M-08; errata
        E-10, E-11.
    """
    return convert_weight(schedule, t, 0.5 / reverse_variances(schedule, variance)[_index(t)], "mean", target)


def prediction_loss(denoiser, x0, t, eps, target=None, weight=1.0, **cond):
    """weight ‖target − predicted target‖², the target being what the denoiser predicts unless said: (B,).

    Args:
        x0, eps: (B, ...).
        t: a number, () or (B,).
        target: "eps", "x0", "v", "score", "velocity" or "mean" (of q(x_{t−1} | x_t, x_0)); any, whatever the network
            predicts.
        weight: a number, () or (B,); see ``vlb_weight`` and ``convert_weight``.
    Source: ledger LOSS-1, LOSS-4, LOSS-5, LOSS-7, PAR-3.
    """
    target = target or getattr(denoiser, "predicts", "eps")
    same_shape(x0=x0, eps=eps)
    error = _squared_error(denoiser(q_sample(denoiser.schedule, x0, t, eps), t, **cond), x0, eps, target)
    return expand(weight, error) * error


def _squared_error(p, x0, eps, target):
    """‖target − predicted target‖² of a Prediction, (B,)."""
    known("target", target, TARGETS)
    schedule, x_t, t = p.schedule, p.x_t, p.t
    if target == "mean":
        truth, guess = (P.mean_from_x0(schedule, x_t, v, t - 1, t) for v in (x0, p.x0))
    else:
        truth = {"eps": eps, "x0": x0}.get(target)
        if target == "velocity":
            truth = sum(expand(rate, x0) * held for rate, held in zip(rates(schedule, t), (x0, eps), strict=True))
        truth = getattr(P, f"{target}_from_eps")(schedule, x_t, eps, t) if truth is None else truth
        guess = getattr(p, target)
    return sum_non_batch((truth - guess).square())


def simple_loss(denoiser, x0, t, eps, **cond):
    """L_simple: ‖ε − ε̂(x_t, t)‖² without weight: (B,).

    The bound has ``vlb_weight`` in front; leaving it out is a separate, empirical choice that favours the noisier t.

    Source: Ho et al. 2020, equation 14; ledger LOSS-5, LOSS-8, LOSS-9, ALG-1, E-18.
    """
    return prediction_loss(denoiser, x0, t, eps, target="eps", **cond)


def hybrid_loss(denoiser, x0, t, eps, weight=1e-3, target="eps", decoder="discretized", **cond):
    """‖target error‖² + weight · T · (the bound's term at t with the predicted variance and a frozen mean): (B,), nats.

    T times the term at a random t estimates L_vlb. The mean is trained by the squared error alone, L_simple for the
    target eps: in the bound it is held fixed (its gradient stopped), so that the bound trains the variance.

    Args:
        denoiser: with variance="learned" and a discrete schedule.
        x0, eps: (B, ...). t: a number, () or (B,), 1..T.
        target: see ``prediction_loss``. decoder: see ``vlb.vlb_term``.
    Source: Nichol & Dhariwal 2021, equation 16; ledger VAR-2.
    """
    same_shape(x0=x0, eps=eps)
    t = _times(t, x0)
    p = denoiser(q_sample(denoiser.schedule, x0, t, eps), t, **cond)
    bound = term_of(p.frozen(), x0, "predicted", decoder)
    return _squared_error(p, x0, eps, target) + weight * denoiser.schedule.T * bound


def sample_t(schedule, n, generator=None, probabilities=None):
    """n random times t (n,), uniform or with given probabilities; see ``time_weights`` for the latter.

    They lie on the generator's device, where a schedule must fetch them; a generator of the CPU, or None, saves that.

    Args:
        schedule: discrete.
        probabilities: (T,) of t = 1..T, positive; scaled to sum 1. None means uniform.
    Raises:
        ValueError: a continuous schedule, or probabilities that do not fit.
    Source: Ho et al. 2020, algorithm 1; Nichol & Dhariwal 2021, equation 18; ledger LOSS-6.
    """
    if not hasattr(schedule, "T"):
        raise ValueError(f"times 1..T need a discrete schedule, got {schedule}")
    if probabilities is None:
        return torch.randint(1, schedule.T + 1, (n,), generator=generator, device=home(generator))
    return choose(_probabilities(probabilities, schedule.T), n, generator) + 1


def time_weights(probabilities, t):
    """1/(T p_t) for times drawn with these probabilities, (n,): the mean of weight · f(t) estimates (1/T) Σ_t f(t).

    The variance is least for p_t ∝ √E f(t)². The weights lie on the CPU, as all that a schedule says.

    Args:
        probabilities: (T,) of t = 1..T, positive; scaled to sum 1. None means uniform, of weight 1.
        t: (n,), 1..T.
    Raises:
        ValueError: see ``sample_t``.
    Source: Nichol & Dhariwal 2021, equation 18; ledger LOSS-6.
    """
    if probabilities is None:
        return torch.ones(len(t), device="cpu")
    p = _probabilities(probabilities, len(probabilities))
    return (p.mean() / p[t.cpu() - 1]).float()


def _probabilities(p, T):
    p = (p.detach().cpu() if isinstance(p, torch.Tensor) else torch.tensor(p, device="cpu")).double()
    if p.shape != (T,) or not (p > 0).all():
        raise ValueError(f"expected {T} positive probabilities, got shape {tuple(p.shape)}")
    return p


class ImportanceTimes:
    """Probabilities of t that follow the losses seen: p_t ∝ √(mean of the last ``keep`` L_t²), uniform before that.

    For ``sample_t`` and ``time_weights``. p_t ∝ √E L_t² makes the estimate of Σ L_t quietest; the noise of a *gradient*
    is least for p_t ∝ √E‖∇L_t‖², which this does not know. A share ``floor`` of p stays uniform, so that no t is
    forgotten. What was seen lies on the CPU (one more wait for a GPU in a step), and no checkpoint keeps it.

    Args:
        T: number of times.
        keep: losses remembered at each t.
        floor: between 0 and 1.
    Raises:
        ValueError: T or keep is no whole number of at least 1, or floor lies outside [0, 1].
    Source: Nichol & Dhariwal 2021, equation 18; ledger VAR-2, LOSS-6, M-05.
    """

    def __init__(self, T, keep=10, floor=1e-3):
        whole(T=T, keep=keep)
        if not 0 <= floor <= 1:
            raise ValueError(f"floor must lie in [0, 1], got {floor}")
        self.keep, self.floor = keep, floor
        self.squares = torch.zeros(T, keep, dtype=torch.float64, device="cpu")
        self.seen = torch.zeros(T, dtype=torch.int64, device="cpu")

    def update(self, t, loss):
        """Remember the losses (n,) at times t (n,), 1..T."""
        for i, value in zip((t.cpu() - 1).tolist(), loss.detach().cpu().double().tolist(), strict=True):
            self.squares[i, self.seen[i] % self.keep] = value**2
            self.seen[i] += 1

    @property
    def probabilities(self):
        """p_1..p_T, sum 1: (T,), float64 on the CPU."""
        T = len(self.seen)
        if (self.seen < self.keep).any():
            return torch.full((T,), 1 / T, dtype=torch.float64, device="cpu")
        p = self.squares.mean(1).sqrt()
        return (1 - self.floor) * p / p.sum() + self.floor / T


def moments_by_time(denoiser, term, x0, edges, draws, generator=None):
    """E L_t² and E‖∇L_t‖² over single examples, t uniform in each of several intervals: two (K,), on the CPU.

    With them the second moment of (1/(T p_t)) L_t at t ~ p, Σ_t E L_t²/(T² p_t), is known for every p, and that of its
    gradient likewise. Their means do not depend on p, so differences of second moments are differences of variances.

    Args:
        denoiser: a module; the gradient is with respect to its parameters.
        term: (Prediction, x0, eps) -> L (1,).
        x0: (N, ...), examples to draw from.
        edges: K + 1 whole numbers, increasing; interval k holds t = edges[k]..edges[k + 1] − 1.
        draws: of an example, t and ε, in each interval.
    Source: Nichol & Dhariwal 2021, section 3.3; ledger LOSS-6, M-05.
    """
    weights, found = [w for w in denoiser.parameters() if w.requires_grad], []
    for low, high in itertools.pairwise(edges):
        for _ in range(draws):
            t = torch.randint(low, high, (1,), generator=generator, device=home(generator)).cpu()
            x = x0[torch.randint(len(x0), (1,), generator=generator, device=home(generator)).to(x0.device)]
            eps = randn_like(x, generator)
            loss = term(denoiser(q_sample(denoiser.schedule, x, t, eps), t), x, eps).sum()
            gradient = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            found.append(torch.stack([loss.detach() ** 2, sum(g.square().sum() for g in gradient)]).cpu().double())
    return torch.stack(found).reshape(-1, draws, 2).mean(1).T


@torch.no_grad()
def loss_by_time(denoiser, x0, times, seed=1):
    """The mean squared error of ε̂ at each of some times, over x0 (N, ...): (times, mean, standard error), each (len,).

    One seed gives the same noise to every network. The answer lies on the CPU.
    Source: ledger LOSS-5.
    """
    eps = randn_like(x0, torch.Generator().manual_seed(seed))
    loss = torch.stack([simple_loss(denoiser, x0, t, eps) for t in times]) / x0[0].numel()
    found = estimate(loss.cpu(), 1)
    return torch.tensor(times, device="cpu"), found.value, found.error
