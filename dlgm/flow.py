"""Flow matching: data and noise joined by straight lines, the velocity of the flow as a posterior mean, reflow.

    x_t = (1 − t) x_0 + t ε,    dx_t/dt = ε − x_0,    u(x, t) = E[ε − x_0 | x_t = x]        (``schedules.Linear``)

The flow dx/dt = u has the marginals of x_t. u is one more thing that a denoiser may predict (``Prediction.velocity``),
so that every sampler of the course walks here too, and a step of Euler on the line is a step of DDIM.
"""

import math

import torch

from .losses import prediction_loss
from .samplers import DDIM, sample
from .schedules import listed
from .tensors import home, same_shape, to_device, whole


def velocity(prediction):
    """u = E[dx_t/dt | x_t] = signal' x̂_0 + noise' ε̂, of any Prediction: its shape. On ``Linear`` it is ε̂ − x̂_0.

    Source: Lipman et al. 2023, theorem 1; Liu et al. 2023, equation 2; ledger TAKE-4, M-32.
    """
    return prediction.velocity


def sample_times(n, generator=None, spread=None):
    """n random times in (0, 1), uniform or sigmoid(spread · z), z ~ N(0, 1): (n,).

    The second kind, the logit-normal, prefers the middle and hardly ever comes near the ends. They lie on the
    generator's device, where a schedule must fetch them; a generator of the CPU, or None, saves that.

    Raises:
        ValueError: n < 1, or spread ≤ 0.
    Source: Esser et al. 2024, section 3.1; ledger M-32.
    """
    whole(n=n)
    if spread is None:
        return torch.rand(n, generator=generator, device=home(generator))
    if not spread > 0:
        raise ValueError(f"expected a spread > 0, or None for uniform times, got {spread}")
    return (spread * torch.randn(n, generator=generator, device=home(generator))).sigmoid()


def loss(denoiser, x0, t, eps, **cond):
    """‖(signal' x_0 + noise' ε) − û(x_t, t)‖²: (B,). On ``Linear`` the target is ε − x_0.

    Its minimum is not 0: E Var(ε − x_0 | x_t) is left, whatever the network: Var(x_0 | x_t) times the square of
    ``error_scale`` of "velocity". It is 0 where x_t tells which line it is on, as after reflow.

    Args:
        denoiser: on a continuous schedule, best predicting "velocity", "v" or "x0".
        x0, eps: (B, ...), pairs as they come, of ``couple`` or of ``reflow``.
        t: a number, () or (B,), not 0.
    Source: Lipman et al. 2023, equation 9; Liu et al. 2023, equation 1; ledger TAKE-4, M-32.
    """
    return prediction_loss(denoiser, x0, t, eps, target="velocity", **cond)


def couple(x0, eps, y=None):
    """The noise in the order in which Σ ‖x_0 − ε‖² is least over this batch: (B, ...). x0 stays, with its labels.

    Pairs that cost less cross less, so lines are learned straighter. Of a conditional model give the labels, too: noise
    that prefers a label is not the noise of sampling, N(0, I) whatever the label. Pairs are then sought within each.

    Args:
        x0, eps: (B, ...).
        y: (B,) or None.
    Returns:
        eps in another order.
    Raises:
        ValueError: shapes differ, or there is not one label for each.
    Source: Tong et al. 2024; Pooladian et al. 2023; ledger M-32.
    """
    from scipy.optimize import linear_sum_assignment

    same_shape(x0=x0, eps=eps)
    if y is not None and y.shape != x0.shape[:1]:
        raise ValueError(f"expected one label for each of {len(x0)} examples, got shape {tuple(y.shape)}")
    cost = torch.cdist(*(v.detach().flatten(1).cpu().double() for v in (x0, eps))).square()
    order, labels = torch.arange(len(x0), device="cpu"), torch.zeros(len(x0), device="cpu") if y is None else y.cpu()
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        rows, columns = linear_sum_assignment(cost[own][:, own].numpy())  # picture rows[i] gets noise columns[i]
        order[own[torch.from_numpy(rows)]] = own[torch.from_numpy(columns)]
    return eps[to_device(order, eps.device)]


@torch.no_grad()
def reflow(denoiser, eps, times, sampler=None, **cond):
    """x_0 at the end of the flow from each ε: the pairs (x_0, ε) on which a straighter flow is trained; (B, ...).

    The marginals of the pairs are those of the flow, and the lines of two pairs cross less than those of independent
    ones. On Gaussian data they do not cross at all, and one step of Euler is exact.

    Args:
        eps: (B, ...), drawn from ``schedule.start`` at times[0].
        times: decreasing, to 0. sampler: deterministic; DDIM unless said.
    Source: Liu et al. 2023, section 2.2; ledger M-32, TAKE-4.
    """
    return sample(denoiser, sampler or DDIM(), eps, times, **cond)


def cosines(schedule, times, variance):
    """Π cos(θ_k − θ_k+1): the standard deviation that DDIM draws, divided by the true one, for data N(m, variance).

    θ_t = arctan(noise / (signal √variance)). Whatever the schedule, only the angles count; N equal ones, with product
    cos(π/2N)^N, are the best from noise to data. Exact for a start that is drawn from the marginal at times[0], which
    is noise where no signal is left, and an end at 0.

    Args:
        times: decreasing. variance: a positive number.
    Returns:
        A number in (0, 1].
    Raises:
        ValueError: variance ≤ 0.
    Source: ledger DDIM-6, NUM-2, M-32.
    """
    if not variance > 0:
        raise ValueError(f"expected a variance > 0, got {variance}")
    angles = [math.atan2(float(schedule.noise(t)), float(schedule.signal(t)) * variance**0.5) for t in listed(times)]
    return math.prod(math.cos(a - b) for a, b in zip(angles, angles[1:], strict=False))
