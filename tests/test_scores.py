"""Score matching in worlds with exact answers. Ledger SCORE-2..6, PAR-4, M-10; errata E-13, E-20, E-25, E-64."""

import itertools
import math

import pytest
import torch
from torch import nn

from dlgm import losses, scores
from dlgm.denoiser import Denoiser
from dlgm.oracles import EmpiricalData, GaussianMixture
from dlgm.schedules import VE, DiscreteSchedule, VPLinear, linear_beta

F64 = torch.float64
MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.5, -0.5]], [[0.4, 0.9], [0.7, 0.5]])
LINE = GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.16, 0.36])


def network(seed, dim):
    """A smooth function that is the gradient of nothing."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(dim, 16), nn.Tanh(), nn.Linear(16, dim)).double()


def plane(extent=8.0, n=321):
    """Points of a grid and the area of a cell: trapezoid sums of smooth functions that vanish at the edge are exact."""
    axis = torch.linspace(-extent, extent, n, dtype=F64)
    return torch.cartesian_prod(axis, axis), (2 * extent / (n - 1)) ** 2


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 2)])
def test_divergence_of_a_linear_and_of_a_curved_score(shape, generator):
    """div (A x + b) = tr A and div sin(x) = Σ cos x_i, for any data shape; a constant score has divergence 0."""
    x = torch.randn(5, *shape, generator=generator, dtype=F64)
    d = math.prod(shape)
    A = torch.randn(d, d, generator=generator, dtype=F64)
    s, div = scores.divergence(lambda x: (x.reshape(5, d) @ A.T + 2).reshape(x.shape), x)
    torch.testing.assert_close(s.reshape(5, d), x.reshape(5, d) @ A.T + 2)
    torch.testing.assert_close(div, A.trace().expand(5))
    torch.testing.assert_close(scores.divergence(torch.sin, x)[1], x.cos().reshape(5, -1).sum(1))
    assert (scores.divergence(torch.ones_like, x)[1] == 0).all()


def test_projected_divergence_is_the_mean_of_its_quadratic_forms(generator):
    """For A x + 2 it is the mean of vᵀ A v, over all axes tr A / d; its gradient exists where one is asked for."""
    A, x, v = (torch.randn(n, 3, dtype=F64, generator=generator) for n in (3, 5, 2))
    A.requires_grad_()
    rows = [one.expand(5, 3) for one in v]
    s, slope = scores.projected_divergence(lambda x: x @ A.T + 2, x, rows)
    torch.testing.assert_close(s, x @ A.T + 2)
    torch.testing.assert_close(slope, torch.einsum("mi,ij,mj->m", v, A, v).mean().expand(5))
    (grad,) = torch.autograd.grad(slope.sum(), A)
    torch.testing.assert_close(grad, 5 * torch.einsum("mi,mj->ij", v, v) / 2)
    with torch.no_grad():
        s, slope = scores.projected_divergence(torch.sin, x, [one.expand(5, 3) for one in torch.eye(3, dtype=F64)])
    assert not s.requires_grad and not slope.requires_grad
    torch.testing.assert_close(3 * slope, x.cos().sum(1))


def test_losses_can_be_differentiated_by_parameters_and_leave_no_graph_otherwise(generator):
    """For s = θ x, implicit = ½ θ² ‖x‖² + θ D, so its slope is θ ‖x‖² + D; the same for sliced with signs."""
    x, theta = torch.randn(4, 3, generator=generator, dtype=F64), torch.tensor(-0.7, dtype=F64, requires_grad=True)
    slope = -0.7 * x.square().sum() + 4 * 3
    for loss in (
        scores.implicit(lambda x: theta * x, x),
        scores.sliced(lambda x: theta * x, x, kind="rademacher", generator=generator),
    ):
        torch.testing.assert_close(torch.autograd.grad(loss.sum(), theta)[0], slope)
    with torch.no_grad():
        assert not scores.implicit(lambda x: theta * x, x).requires_grad
        assert not scores.sliced(lambda x: theta * x, x, generator=generator).requires_grad


@pytest.mark.parametrize("seed", [0, 1])
def test_implicit_is_explicit_minus_a_constant_for_every_network(seed):
    """E implicit − E explicit = −½ E‖∇log p‖², by quadrature over the plane."""
    x, area = plane()
    p, truth, s = MIXTURE.log_prob(x).exp() * area, MIXTURE.score(x), network(seed, 2)
    with torch.no_grad():
        gap = p @ (scores.implicit(s, x) - scores.explicit(s, x, truth))
    torch.testing.assert_close(gap, -0.5 * p @ truth.square().sum(1), rtol=1e-10, atol=0)  # trapezoid sum: 1e-13
    assert abs(p.sum() - 1) < 1e-12


def test_m_10_the_boundary_condition_of_implicit_score_matching():
    """p(x) = e^{−x}, x > 0, does not vanish at 0. For s = c, explicit is ½ (c + 1)², implicit ½ c²: another minimum."""
    x = torch.linspace(0.001, 40, 5, dtype=F64)
    for c in (-1.0, 0.0, 0.5):
        constant = lambda x, c=c: torch.full_like(x, c)  # noqa: E731
        torch.testing.assert_close(
            scores.explicit(constant, x, -torch.ones_like(x)), torch.full_like(x, (c + 1) ** 2 / 2)
        )
        torch.testing.assert_close(scores.implicit(constant, x), torch.full_like(x, c**2 / 2))


@pytest.mark.parametrize("reduced", [True, False])
def test_mean_of_sliced_over_all_signs_is_implicit(reduced, monkeypatch, generator):
    """The 2^D sign vectors have mean vvᵀ = I exactly, so their average is implicit, with either second term."""
    x, s = torch.randn(6, 3, generator=generator, dtype=F64), network(2, 3)
    signs = iter(torch.tensor(v, dtype=F64).expand(6, 3) for v in itertools.product((-1, 1), repeat=3))
    monkeypatch.setattr(scores, "directions", lambda x, kind, generator: next(signs))
    got = scores.sliced(s, x, projections=8, reduced=reduced)
    torch.testing.assert_close(got, scores.implicit(s, x), rtol=1e-10, atol=1e-12)  # float64
    assert next(signs, None) is None


@pytest.mark.parametrize("kind", scores.DIRECTIONS)
def test_variance_of_sliced_over_directions(kind, generator):
    """Reduced sliced at one x has variance projection_variance / projections; z-score of mean and of variance."""
    n, J = 40_000, torch.randn(3, 3, generator=generator, dtype=F64)
    x = torch.randn(1, 3, generator=generator, dtype=F64)
    for m in (1, 4):
        draws = scores.sliced(lambda x: x @ J.T, x.expand(n, 3), m, kind=kind, generator=generator)
        variance = scores.projection_variance(J[None], kind) / m
        assert abs(draws.mean() - scores.implicit(lambda x: x @ J.T, x)) < 5 * (variance / n).sqrt()
        fourth = (draws - draws.mean()).pow(4).mean()
        assert abs(draws.var() - variance) < 5 * ((fourth - variance**2) / n).sqrt()


def test_signs_find_a_diagonal_jacobian_at_once(generator):
    x = torch.randn(7, 4, generator=generator, dtype=F64)
    one = scores.sliced(torch.tanh, x, kind="rademacher", generator=generator)
    torch.testing.assert_close(one, scores.implicit(torch.tanh, x))
    assert (scores.projection_variance(torch.diag_embed(x), "rademacher") == 0).all()


def test_directions_are_each_examples_own_and_have_unit_covariance(generator):
    for kind in scores.DIRECTIONS:
        v = scores.directions(torch.zeros(50_000, 2, dtype=F64), kind, generator)
        cov = v.T @ v / len(v)
        assert (cov - torch.eye(2)).abs().max() < 5 * math.sqrt(2 / len(v))  # 5 standard errors
    assert v.abs().eq(1).all()


@pytest.mark.parametrize(
    "schedule, t", [(VE(0.3, 3.0), 0.0), (VE(0.3, 3.0), 0.7), (VPLinear(), 0.2), (linear_beta(), 300)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_score_3_denoising_is_explicit_plus_a_constant_for_every_network(schedule, t, seed):
    """Vincent's identity, by quadrature over x_0 and ε on the left, over x_t on the right."""
    signal, noise, s = float(schedule.signal(t)), float(schedule.noise(t)), network(seed, 1)
    x0, eps = torch.linspace(-5, 5, 401, dtype=F64), torch.linspace(-9, 9, 401, dtype=F64)
    a, b = (v.reshape(-1) for v in torch.meshgrid(x0, eps, indexing="ij"))
    p = LINE.log_prob(a).exp() * torch.exp(-(b**2) / 2) / math.sqrt(2 * math.pi) * (10 / 400) * (18 / 400)
    marginal, x = LINE.diffuse(schedule, t), torch.linspace(-30, 30, 20_001, dtype=F64)
    q, truth = marginal.log_prob(x).exp() * (60 / 20_000), marginal.score(x)
    column = lambda x: s(x[:, None])[:, 0]  # noqa: E731
    with torch.no_grad():
        denoising = p @ scores.denoising(column, a, b, signal, noise)
        explicit = q @ scores.explicit(column, x, truth)
    constant = 0.5 / noise**2 - 0.5 * q @ truth.square()
    torch.testing.assert_close(denoising - explicit, constant, rtol=1e-8, atol=0)


def test_score_4_par_4_denoising_is_half_the_score_loss_of_a_denoiser(generator):
    """SCORE-4, PAR-4: ∇log q(x_t | x_0) = −(x_t − α x_0)/σ² = −ε/σ."""
    schedule, t = linear_beta(), torch.tensor([1, 400, 1000])
    x0, eps = torch.randn(2, 3, 2, generator=generator, dtype=F64)
    model = Denoiser(lambda x, t: torch.sin(x), schedule, "score")
    half = scores.denoising(torch.sin, x0, eps, schedule.signal(t), schedule.noise(t))
    torch.testing.assert_close(2 * half, losses.prediction_loss(model, x0, t, eps))
    x_t = schedule.signal(400) * x0[1:2] + schedule.noise(400) * eps[1:2]
    direct = -(x_t - schedule.signal(400) * x0[1:2]) / schedule.noise(400) ** 2
    got = scores.denoising(lambda x: direct, x0[1:2], eps[1:2], schedule.signal(400), schedule.noise(400))
    torch.testing.assert_close(got, torch.zeros(1, dtype=F64))


@pytest.mark.parametrize("schedule, t", [(linear_beta(), 200), (VE(0.1, 5.0), 0.6)])
def test_score_5_e_20_a_weight_of_the_score_is_divided_by_the_variance(schedule, t, generator):
    """SCORE-5, E-20: w̃ ‖score error‖² = (w̃/σ²) ‖ε error‖², and back; the deck's w̃/σ gives another loss."""
    x0, eps = torch.randn(2, 8, 2, generator=generator, dtype=F64)
    model, noise = Denoiser(lambda x, t: torch.tanh(x), schedule, "eps"), schedule.noise(t)
    there = losses.convert_weight(schedule, t, 1.7, "score", "eps")
    assert math.isclose(there, 1.7 / noise**2, rel_tol=1e-12)
    assert math.isclose(losses.convert_weight(schedule, t, there, "eps", "score"), 1.7, rel_tol=1e-12)
    by_score = losses.prediction_loss(model, x0, t, eps, "score", 1.7)
    torch.testing.assert_close(losses.prediction_loss(model, x0, t, eps, "eps", there), by_score)
    printed = losses.prediction_loss(model, x0, t, eps, "eps", 1.7 / noise)
    torch.testing.assert_close(printed, by_score * noise)


def test_score_6_e_13_the_score_is_the_posterior_average_of_the_kernels_score(generator):
    """SCORE-6: ∇log q(x_t) = E_{q(x_0|x_t)} ∇log q(x_t|x_0) = −E[ε|x_t]/σ; Tweedie. E-13: the prior average is off."""
    T4 = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])
    data = EmpiricalData(torch.randn(5, 2, generator=generator, dtype=F64))
    x_t = torch.randn(4, 2, generator=generator, dtype=F64)
    signal, noise = float(T4.signal(2)), float(T4.noise(2))
    kernel = -(x_t[:, None] - signal * data.points) / noise**2
    truth = data.diffuse(T4, 2).score(x_t)
    weights = data.posterior_weights(T4, x_t, 2)
    torch.testing.assert_close(torch.einsum("bn,bnd->bd", weights, kernel), truth)
    answer = data.denoiser(T4)(x_t, 2)
    torch.testing.assert_close(-answer.eps / noise, truth)
    torch.testing.assert_close(signal * answer.x0, x_t + noise**2 * truth)  # Tweedie
    assert (kernel.mean(1) - truth).abs().max() > 0.1


def test_e_25_a_difference_of_norms_is_no_distance():
    """E-25: E‖s‖ − E‖∇log q‖² is smaller for s = 0 than for the true score; explicit is smallest for the true one."""
    x, area = plane()
    p, truth = MIXTURE.log_prob(x).exp() * area, MIXTURE.score(x)
    printed = lambda s: p @ (s.square().sum(1).sqrt() - truth.square().sum(1))  # noqa: E731
    assert printed(0 * x) < printed(truth)
    assert p @ scores.explicit(lambda x: truth, x, truth) == 0 < p @ scores.explicit(torch.zeros_like, x, truth)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: scores.explicit(torch.sin, x, x[:2]), "one shape"),
        (lambda x: scores.implicit(lambda x: x.sum(1), x), "one shape"),
        (lambda x: scores.sliced(torch.sin, x, 0), "at least one projection, got 0"),
        (lambda x: scores.sliced(torch.sin, x, kind="cauchy"), "known: gaussian, rademacher"),
        (lambda x: scores.projection_variance(x[None], "cauchy"), "known: gaussian, rademacher"),
        (lambda x: scores.denoising(torch.sin, x, x, 1.0, 0.0), "without noise"),
        (lambda x: scores.denoising(torch.sin, x, x[:2], 1.0, 1.0), "one shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(3, 3, dtype=F64))


def test_directions_are_gaussian_unless_said(generator):
    """By default standard normal noise of the generator, in all three functions."""
    x = torch.zeros(2, 3, dtype=F64)
    again = lambda: torch.Generator().manual_seed(6)  # noqa: E731
    z = torch.randn(2, 3, generator=again(), dtype=F64)
    assert torch.equal(scores.directions(x, generator=again()), z)
    signs = scores.directions(x, "rademacher", again())
    assert signs.dtype == F64 and torch.equal(signs, z.sign())
    A = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 1.0], [3.0, 0.0, 2.0]], dtype=F64)
    want = ((z @ A) * z).sum(1)  # s(0) = 0, so that vᵀ ∇s v is all
    torch.testing.assert_close(scores.sliced(lambda x: x @ A, x, generator=again()), want)
    S = (A + A.T) / 2
    torch.testing.assert_close(scores.projection_variance(A[None]), 2 * S.square().sum()[None])


def test_without_noise_there_is_no_score():
    x = torch.zeros(2, 1)
    for noise in (0, 0.0, -1.0, torch.tensor(0.0), torch.tensor([0.5, 0.0])):
        with pytest.raises(ValueError, match="has no score"):
            scores.denoising(lambda x: x, x, x, 1.0, noise)
    torch.testing.assert_close(scores.denoising(lambda x: -x, x + 1, x + 2, 3, 2), torch.full((2,), 18.0))  # ½ (1 − 7)²
