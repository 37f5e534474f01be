"""Four ways to learn a score s(x) ≈ ∇ log p(x), of which three do without p.

    explicit   ½ E ‖s(x) − ∇ log p(x)‖²                       needs the answer
    implicit   E [½ ‖s(x)‖² + div s(x)]                       integration by parts
    sliced     E [½ ‖s(x)‖² + vᵀ ∇s(x) v],  E vvᵀ = I          the divergence by random directions
    denoising  ½ E ‖s(x_t) − ∇ log q(x_t | x_0)‖²             the score of the kernel for that of the marginal

For every s, implicit = explicit − ½ E ‖∇ log p‖², and the mean of sliced is implicit. For every s, denoising at noise
level t = explicit for q(x_t) + ½ E ‖∇ log q(x_t | x_0)‖² − ½ E ‖∇ log q(x_t)‖². None of the constants depends on s.

``score`` is a function of x, (B, ...) -> (B, ...), that treats each example alone; of a denoiser,
``lambda x: denoiser(x, t).score``. All losses are for each example, (B,), and can be differentiated by s's parameters.
Over many noise levels denoising is ``losses.prediction_loss`` with target "score".
"""

import torch

from .tensors import expand, known, randn_like, same_shape, sum_non_batch

DIRECTIONS = ("gaussian", "rademacher")


def explicit(score, x, truth):
    """½ ‖s(x) − truth‖², (B,).

    Args:
        x: (B, ...), draws of p.
        truth: ∇ log p(x), x's shape; known for oracles only.
    Source: Hyvärinen 2005, equation 2; ledger SCORE-2, E-25, E-64.
    """
    same_shape(x=x, truth=truth)
    return 0.5 * sum_non_batch((score(x) - truth).square())


def _evaluate(score, x):
    """x as a leaf, and s(x) connected to it."""
    x = x.detach().requires_grad_()
    s = score(x)
    same_shape(x=x, score=s)
    return x, s + 0 * x  # a constant score is connected too


def divergence(score, x):
    """s(x), x's shape, and div s(x) = Σ_i ∂s_i/∂x_i, (B,): exact, one backward pass for each entry of an example.

    Source: ledger M-10.
    """
    trained, total = torch.is_grad_enabled(), 0
    with torch.enable_grad():
        x, s = _evaluate(score, x)
        for i, column in enumerate(s.reshape(len(x), -1).unbind(1)):
            (slope,) = torch.autograd.grad(column.sum(), x, retain_graph=True, create_graph=trained)
            total = total + slope.reshape(len(x), -1)[:, i]
    return (s if trained else s.detach()), total


def implicit(score, x):
    """½ ‖s(x)‖² + div s(x), (B,): explicit score matching up to a constant, where p(x) s(x) → 0 at the boundary.

    Source: Hyvärinen 2005, theorem 1; ledger M-10.
    """
    s, div = divergence(score, x)
    return 0.5 * sum_non_batch(s.square()) + div


def directions(x, kind="gaussian", generator=None):
    """Random v of x's shape with E vvᵀ = I: standard normal, or signs of equal probability.

    Raises:
        ValueError: unknown kind.
    """
    known("directions", kind, DIRECTIONS)
    v = randn_like(x, generator)
    return v if kind == "gaussian" else torch.where(v < 0, -1.0, 1.0).to(x.dtype)


def projected_divergence(score, x, v):
    """s(x), x's shape, and the mean over the directions v, a list, of vᵀ ∇s(x) v, (B,): one backward pass for each.

    Its mean over random v with E vvᵀ = I is ``divergence``, at the variance of ``projection_variance``.

    Source: Hutchinson 1990; ledger M-10, M-13.
    """
    trained, total = torch.is_grad_enabled(), 0
    with torch.enable_grad():
        x, s = _evaluate(score, x)
        for one in v:
            (slope,) = torch.autograd.grad((one * s).sum(), x, retain_graph=True, create_graph=trained)
            total = total + sum_non_batch(one * slope)
    return (s if trained else s.detach()), total / len(v)


def sliced(score, x, projections=1, reduced=True, kind="gaussian", generator=None):
    """mean over v of vᵀ ∇s(x) v + ½ ‖s(x)‖² (reduced) or + ½ (vᵀ s(x))², (B,): its mean over v is ``implicit``.

    Each example has its own directions; one backward pass for each. ``projection_variance`` says what they cost.

    Args:
        projections: directions v for each example.
        reduced: take ½ ‖s‖², the mean of ½ (vᵀs)² over v, where it is known.
        kind: see ``directions``.
    Raises:
        ValueError: no projection, or unknown kind.
    Source: Song et al. 2019 (sliced score matching), equations 7 and 8; ledger M-10.
    """
    if projections < 1:
        raise ValueError(f"expected at least one projection, got {projections}")
    v = [directions(x, kind, generator) for _ in range(projections)]
    s, slope = projected_divergence(score, x, v)
    if reduced:
        return slope + 0.5 * sum_non_batch(s.square())
    return slope + 0.5 * sum(sum_non_batch(one * s).square() for one in v) / projections


def projection_variance(jacobian, kind="gaussian"):
    """Var_v vᵀ J v for one direction: 2 ‖S‖_F² (gaussian), 2 (‖S‖_F² − Σ_i J_ii²) (rademacher), S = (J + Jᵀ)/2.

    Divided by the number of projections, the variance of reduced ``sliced`` at given x.

    Args:
        jacobian: ∇s(x), (B, D, D).
    Returns:
        (B,).
    Source: Hutchinson 1990; ledger M-10.
    """
    known("directions", kind, DIRECTIONS)
    symmetric = (jacobian + jacobian.mT) / 2
    diagonal = jacobian.diagonal(dim1=-2, dim2=-1).square().sum(-1) if kind == "rademacher" else 0
    return 2 * (symmetric.square().sum((-2, -1)) - diagonal)


def denoising(score, x0, eps, signal, noise):
    """½ ‖s(x_t) + ε/noise‖² at x_t = signal x_0 + noise ε, (B,): −ε/noise = ∇ log q(x_t | x_0).

    Args:
        x0, eps: (B, ...).
        signal, noise: numbers, () or (B,), noise > 0.
    Raises:
        ValueError: noise is not positive.
    Source: Vincent 2011, equation 9; ledger SCORE-3, SCORE-4, E-64, M-10.
    """
    same_shape(x0=x0, eps=eps)
    if not (noise > 0 if isinstance(noise, (int, float)) else (noise > 0).all()):
        raise ValueError(f"without noise q(x_t | x_0) is a point and has no score; got noise = {noise}")
    x_t = expand(signal, x0) * x0 + expand(noise, x0) * eps
    return 0.5 * sum_non_batch((score(x_t) + eps / expand(noise, x0)).square())
