"""Exact worlds against quadrature and autograd. Ledger GEN-1, FWD-7, SCORE-6."""

import math

import pytest
import torch

from dlgm.oracles import DiscreteChain, EmpiricalData, GaussianMixture
from dlgm.process import q_transition
from dlgm.schedules import VE, DiscreteSchedule, VPLinear, linear_beta

FULL = GaussianMixture(
    [0.2, 0.5, 0.3],
    [[-2.0, 0.5], [1.0, 1.0], [0.0, -1.5]],
    [[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.6]], [[0.5, -0.3], [-0.3, 0.4]]],
)
DIAGONAL = GaussianMixture([1, 3], [[-1.0, 0.0, 2.0], [1.0, 0.5, 0.0]], [[0.1, 0.2, 0.3], [0.5, 0.1, 0.2]])
IMAGES = GaussianMixture([1, 1], torch.stack([torch.zeros(1, 2, 3), torch.ones(1, 2, 3)]), [0.2, 0.05])
SCALAR = GaussianMixture([0.4, 0.6], [-1.0, 1.0], [0.04, 0.09])
WORLDS = {"full": FULL, "diagonal": DIAGONAL, "images": IMAGES, "scalar": SCALAR}


def density_by_hand(mixture, x):
    """p(x) with torch.distributions, an implementation that shares nothing with ours."""
    flat = torch.distributions.MultivariateNormal(mixture.means, mixture.covs)
    mix = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(mixture.weights), flat)
    return mix.log_prob(x.reshape(len(x), -1))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("t", [None, 1, 300, 1000])
def test_density_and_score_against_autograd(world, t, generator):
    g = WORLDS[world] if t is None else WORLDS[world].diffuse(linear_beta(), t)
    x = torch.randn(20, *g.shape, generator=generator, dtype=torch.float64).requires_grad_()
    log_p = density_by_hand(g, x)
    torch.testing.assert_close(g.log_prob(x), log_p, rtol=1e-11, atol=1e-11)  # float64, eigen- against Cholesky factors
    torch.testing.assert_close(g.score(x), torch.autograd.grad(log_p.sum(), x)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("distance", [50, 1000])
def test_score_6_exact_50_standard_deviations_from_every_mode(world, distance, generator):
    """The largest standard deviation times 50 from all means; no density is representable there."""
    g = WORLDS[world]
    direction = torch.randn(8, *g.shape, generator=generator, dtype=torch.float64)
    flat = direction.reshape(8, -1)
    flat /= flat.norm(dim=1, keepdim=True)
    far = g.means.norm(dim=1).max() + distance * torch.linalg.eigvalsh(g.covs).max().sqrt()
    x = (flat * far).reshape(direction.shape).requires_grad_()
    log_p = density_by_hand(g, x)
    assert (log_p.exp() == 0).all()
    torch.testing.assert_close(g.log_prob(x), log_p, rtol=1e-11, atol=0)
    torch.testing.assert_close(g.score(x), torch.autograd.grad(log_p.sum(), x)[0], rtol=1e-9, atol=0)
    for t in (1, 400):  # the posterior mean out there, against Tweedie with the exact score
        s, x_t = linear_beta(), x.detach()
        score = g.diffuse(s, t).score(x_t)
        tweedie = (x_t + s.noise(t) ** 2 * score) / s.signal(t)
        torch.testing.assert_close(g.posterior_mean(s, x_t, t), tweedie, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("x_t", [-46.0, -3.0, -0.2, 0.0, 1.0, 46.0])
@pytest.mark.parametrize("t", [1, 100, 600])
def test_posterior_mean_by_quadrature(x_t, t):
    """E[x_0|x_t] = ∫ x_0 q(x_t|x_0) p(x_0) dx_0 / q(x_t), 50 standard deviations out included, in log space."""
    s, x_t = linear_beta(), torch.tensor([x_t], dtype=torch.float64)
    exact = SCALAR.posterior_mean(s, x_t, t)
    width = 12 * math.sqrt(0.09 * s.noise(t) ** 2 / (0.04 * s.signal(t) ** 2 + s.noise(t) ** 2))
    u = torch.linspace(exact.item() - width, exact.item() + width, 100_001, dtype=torch.float64)
    if abs(x_t) < 10:
        u = torch.linspace(-6, 6, 100_001, dtype=torch.float64)
    log_w = SCALAR.log_prob(u) - 0.5 * ((x_t - s.signal(t) * u) / s.noise(t)) ** 2
    # trapezoid rule on a smooth integrand that vanishes at both ends
    assert ((log_w.softmax(0) * u).sum()).item() == pytest.approx(exact.item(), rel=1e-9, abs=1e-9)


def test_fwd_7_the_marginal_is_the_integral_over_the_data():
    """FWD-7, CK-FWD-7: q(x_t) = ∫ p(x_0) q(x_t|x_0) dx_0 by quadrature equals the diffused mixture."""
    s = linear_beta()
    u = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    x = torch.tensor([-1.5, 0.0, 0.3, 2.0], dtype=torch.float64)
    for t in (50, 250, 1000):
        kernel = (
            torch.exp(-0.5 * ((x[:, None] - s.signal(t) * u) / s.noise(t)) ** 2) / s.noise(t) / math.sqrt(2 * math.pi)
        )
        integral = torch.trapezoid(kernel * SCALAR.log_prob(u).exp(), u)
        torch.testing.assert_close(SCALAR.diffuse(s, t).log_prob(x).exp(), integral, rtol=1e-10, atol=0)


def test_gen_1_density_integrates_to_one():
    u = torch.linspace(-8, 8, 801, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(u, u, indexing="ij"), -1).reshape(-1, 2)
    # midpoint sums of Gaussians are spectrally accurate once the spacing, 0.02, is below the smallest deviation
    assert FULL.log_prob(grid).exp().sum().item() * 0.02**2 == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("world", WORLDS)
def test_samples_follow_the_mixture(world, generator):
    g, n = WORLDS[world], 100_000
    x = g.sample(n, generator).double().reshape(n, -1)
    mean = g.weights @ g.means
    centred = g.means - mean
    cov = torch.einsum("k,kij->ij", g.weights, g.covs + centred[:, :, None] * centred[:, None, :])
    se = (cov.diagonal() / n).sqrt()
    assert ((x.mean(0) - mean).abs() < 5 * se).all()  # 5 standard errors
    products = torch.einsum("ni,nj->nij", x - mean, x - mean)
    assert ((products.mean(0) - cov).abs() < 5 * products.std(0) / math.sqrt(n) + 1e-12).all()
    log_p = g.log_prob(g.sample(20_000, generator).double())
    assert torch.isfinite(log_p).all()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("schedule", [linear_beta(), VPLinear(), VE()], ids=repr)
def test_denoiser_for_every_kind_of_t(world, schedule, generator):
    """The exact denoiser's ε and score agree with the marginal's, and a batch of times equals a loop."""
    g = WORLDS[world]
    t = torch.tensor([5, 300, 900]) if hasattr(schedule, "T") else torch.tensor([0.05, 0.4, 0.8], dtype=torch.float64)
    x = torch.randn(3, *g.shape, generator=generator, dtype=torch.float64)
    d = g.denoiser(schedule)
    together = d(x, t)
    for i in range(3):
        for time in (t[i], t[i].item()):
            one = d(x[i : i + 1], time)
            torch.testing.assert_close(one.x0, together.x0[i : i + 1], rtol=1e-12, atol=1e-12)
        marginal = g.diffuse(schedule, t[i].item())
        # score from x0 divides by σ²: 1e-16 / 2e-3 at the smallest t here
        torch.testing.assert_close(together.score[i : i + 1], marginal.score(x[i : i + 1]), rtol=1e-8, atol=1e-8)
    assert d(x.float(), t).x0.dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (2,), (1, 3, 3)])
def test_empirical_data_is_the_mixture_with_vanishing_covariances(shape, generator):
    points = torch.randn(6, *shape, generator=generator, dtype=torch.float64)
    data, s = EmpiricalData(points), linear_beta()
    narrow = GaussianMixture(torch.ones(6), points, torch.full((6,), 1e-14))
    x = torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    t = torch.tensor([40, 200, 600, 1000])
    torch.testing.assert_close(
        data.posterior_mean(s, x, t), narrow.posterior_mean(s, x, t), rtol=1e-8, atol=1e-8
    )  # the widths of 1e-7 are felt at 1e-14 / σ²
    marginal = data.diffuse(s, 200)
    x = x.requires_grad_()
    score = torch.autograd.grad(marginal.log_prob(x).sum(), x)[0]
    torch.testing.assert_close(data.denoiser(s)(x.detach(), 200).score, score, rtol=1e-9, atol=1e-9)


def test_empirical_weights_find_the_nearest_point_when_noise_is_small():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    w = EmpiricalData(points).posterior_weights(linear_beta(), torch.tensor([[0.99, 0.02]]), 1)
    assert w[0, 1] > 1 - 1e-12
    w = EmpiricalData(points).posterior_weights(linear_beta(), torch.tensor([[0.99, 0.02]]), 1000)
    assert (w - 1 / 3).abs().max() < 0.01  # ᾱ_T = 4e-5 leaves √ᾱ = 0.006 of signal


def test_errors():
    ok = [[0.0, 0.0], [1.0, 1.0]]
    for args, words in (
        (([1, -1], ok, [1.0, 1.0]), "positive weights"),
        (([1, 1, 1], ok, [1.0, 1.0]), "positive weights"),
        (([1, 1], ok, [[1.0], [1.0]]), r"expected \(2, 2, 2\), \(2, 2\) or \(2,\)"),
        (([1, 1], ok, [1.0, 0.0]), "positive definite"),
        (([1, 1], ok, [[[1.0, 2.0], [2.0, 1.0]]] * 2), "positive definite"),
        (([1, 1], ok, [[[1.0, 0.5], [0.0, 1.0]]] * 2), "not symmetric"),
    ):
        with pytest.raises(ValueError, match=words):
            GaussianMixture(*args)
    with pytest.raises(ValueError, match=r"shape \(3, 5\); expected \(B, 2\)"):
        FULL.score(torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"expected \(\) or \(3,\)"):
        FULL.posterior_mean(linear_beta(), torch.zeros(3, 2), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="nothing to infer"):
        EmpiricalData(torch.zeros(1, 2)).posterior_mean(linear_beta(), torch.zeros(1, 2), 0)
    with pytest.raises(ValueError, match="at least one"):
        EmpiricalData(torch.zeros(0, 2))


def test_full_covariances_in_three_dimensions(generator):
    """In two dimensions a matrix of eigenvectors can be symmetric, and a transposed one goes unseen."""
    a = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    g = GaussianMixture([0.4, 0.6], torch.randn(2, 3, generator=generator), a @ a.mT + 0.2 * torch.eye(3))
    x = torch.randn(10, 3, generator=generator, dtype=torch.float64).requires_grad_()
    log_p = density_by_hand(g, x)
    torch.testing.assert_close(g.score(x), torch.autograd.grad(log_p.sum(), x)[0], rtol=1e-9, atol=1e-9)
    s, x_t = linear_beta(), x.detach()
    tweedie = (x_t + s.noise(300) ** 2 * g.diffuse(s, 300).score(x_t)) / s.signal(300)
    torch.testing.assert_close(g.posterior_mean(s, x_t, 300), tweedie, rtol=1e-9, atol=1e-9)
    one = GaussianMixture([1.0], g.means[:1], g.covs[:1])
    y = one.sample(100_000, generator).double() - g.means[0]
    products = torch.einsum("ni,nj->nij", y, y)
    assert ((products.mean(0) - g.covs[0]).abs() < 5 * products.std(0) / math.sqrt(len(y))).all()  # standard errors


def test_wrong_event_shape_integers_and_empty_batches():
    s, data = linear_beta(), EmpiricalData(torch.zeros(5, 4))
    with pytest.raises(ValueError, match=r"\(3, 2, 2\), data points have \(4,\)"):
        data.posterior_mean(s, torch.zeros(3, 2, 2), 5)
    with pytest.raises(ValueError, match="floating-point"):
        SCALAR.log_prob(torch.tensor([0, 1]))
    assert FULL.score(torch.zeros(0, 2)).shape == (0, 2) and data.posterior_mean(s, torch.zeros(0, 4), 5).shape == (
        0,
        4,
    )
    assert SCALAR.score(torch.zeros(2)).dtype == SCALAR.log_prob(torch.zeros(2)).dtype == torch.float32


def test_rev_2_the_exact_reverse_step_is_bayes_on_a_grid():
    """q(x_s | x_t) ∝ q(x_s) q(x_t | x_s), by quadrature in one dimension, for steps of one and of several."""
    mixture = GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], [[0.02], [0.1]])
    schedule = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)[:, None]
    for s, t, at in ((0, 1, -0.3), (2, 3, 0.9), (1, 4, 6.0)):
        x_t = torch.tensor([[at]], dtype=torch.float64)
        log_joint = mixture.diffuse(schedule, s).log_prob(grid)
        log_joint = log_joint + q_transition(schedule, grid, s, t).log_prob(x_t.expand_as(grid))
        want = log_joint - log_joint.logsumexp(0) - torch.log(grid[1] - grid[0])
        got = mixture.reverse(schedule, x_t, s, t)
        torch.testing.assert_close(got.log_prob(grid), want, rtol=1e-9, atol=1e-9)  # the sum is exact to rounding
        if s == 0:
            torch.testing.assert_close(got.moments()[0], mixture.posterior_mean(schedule, x_t, t)[0])


def test_the_reverse_step_of_correlated_data_has_the_conditional_moments_of_a_joint_gaussian():
    cov = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
    mixture = GaussianMixture([1.0], [[0.4, -0.2]], cov[None])
    schedule, x_t = linear_beta(100), torch.tensor([[0.7, 0.1]], dtype=torch.float64)
    got = mixture.reverse(schedule, x_t, 30, 60)
    earlier = mixture.diffuse(schedule, 30)
    step = q_transition(schedule, earlier.means, 30, 60)
    a, S = schedule.signal(60) / schedule.signal(30), earlier.covs[0]
    gain = a * S @ torch.linalg.inv(a**2 * S + step.var.max() * torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(got.means[0], earlier.means[0] + gain @ (x_t[0] - step.mean[0]))
    torch.testing.assert_close(got.covs[0], S - gain @ (a * S))
    with pytest.raises(ValueError, match="one x_t at a time"):
        mixture.reverse(schedule, x_t.expand(2, 2), 30, 60)
    with pytest.raises(ValueError, match="s < t"):
        mixture.reverse(schedule, x_t, 60, 30)


def test_post_6_both_variances_are_exact_for_some_data():
    """Reverse variance β_t for N(0, 1) data, β̃_t for a point mass (the limit of a small variance)."""
    schedule, x_t = linear_beta(1000), torch.zeros(1, 1, dtype=torch.float64)
    for t in (2, 400, 1000):
        unit = GaussianMixture([1.0], [[0.0]], [[1.0]]).reverse(schedule, x_t, t - 1, t)
        point = GaussianMixture([1.0], [[0.0]], [[1e-14]]).reverse(schedule, x_t, t - 1, t)
        torch.testing.assert_close(unit._vars[0, 0], schedule.beta[t], rtol=1e-12, atol=0)
        torch.testing.assert_close(point._vars[0, 0], schedule.posterior_variance[t], rtol=1e-8, atol=0)


def test_non_gaussianity_is_zero_for_a_gaussian_and_falls_with_the_step():
    assert GaussianMixture([1.0], [[2.0]], [[0.3]]).non_gaussianity() < 1e-12
    apart = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [[1e-4], [1e-4]])
    # two far, narrow halves against N(0, 1): the halves hold 1 where the Gaussian holds 4 · 0.01 · φ(1) · about 2
    assert 0.9 < apart.non_gaussianity(200_001) < 1
    half = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [[0.05], [0.05]])
    x_t = torch.zeros(1, 1, dtype=torch.float64)
    gaps = [half.reverse(DiscreteSchedule([0.3, b]), x_t, 1, 2).non_gaussianity() for b in (0.5, 0.1, 0.01, 0.001)]
    assert all(a > 2 * b for a, b in zip(gaps, gaps[1:], strict=False))
    with pytest.raises(ValueError, match="one number each"):
        GaussianMixture([1.0], [[0.0, 0.0]], [[1.0, 1.0]]).non_gaussianity()


def test_moments_of_a_mixture():
    covs = torch.tensor([[[0.5, 0.2], [0.2, 0.3]], [[0.1, 0.0], [0.0, 0.4]]])
    mixture = GaussianMixture([1.0, 3.0], [[1.0, 0.0], [-1.0, 2.0]], covs)
    x = mixture.sample(200_000, torch.Generator().manual_seed(0)).double()
    mean, cov = mixture.moments()
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.012)  # 5 standard errors of 1/√200,000
    torch.testing.assert_close(torch.cov(x.T), cov, rtol=0, atol=0.02)


def chain():
    p_0 = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    flip = lambda p: (1 - p) * torch.eye(3, dtype=torch.float64) + p / 3  # noqa: E731
    return DiscreteChain(p_0, [flip(0.2), flip(0.5), flip(0.7)])


def test_rev_1_the_reverse_chain_has_the_same_joint_and_is_markov():
    c = chain()
    joint, q, reverse = c.joint(), c.marginals(), c.reverse()
    backwards = q[3]
    for kernel in reversed(reverse):  # x_3, then x_2 | x_3, x_1 | x_2, x_0 | x_1
        backwards = backwards[..., None] * kernel
    torch.testing.assert_close(backwards.permute(3, 2, 1, 0), joint)
    for t, kernel in enumerate(reverse):
        torch.testing.assert_close(kernel.sum(1), torch.ones(3, dtype=torch.float64))
        torch.testing.assert_close(q[t + 1] @ kernel, q[t])
    # x_0 and x_2 are independent given x_1: the joint of the three factorises
    three = joint.sum(3)
    given = three / three.sum((0, 2), keepdim=True)
    torch.testing.assert_close(given, given.sum(2, keepdim=True) * given.sum(0, keepdim=True))


def test_e04_the_ratio_as_printed_is_the_forward_kernel():
    """004 divides the marginal of (x_{t−1}, x_t) by that of x_{t−1}: q(x_t | x_{t−1})."""
    rows = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.3, 0.3, 0.4]])
    c, t = DiscreteChain([0.5, 0.3, 0.2], [rows.double()] * 3), 2
    pair = c.joint().sum((0, 3))
    printed = pair / pair.sum(1, keepdim=True)
    torch.testing.assert_close(printed, c.kernels[t - 1])
    assert (printed.sum(0) - 1).abs().max() > 0.09  # columns of x_t: no law of x_{t−1}
    torch.testing.assert_close((pair / pair.sum(0, keepdim=True)).T, c.reverse()[t - 1])


def test_a_discrete_chain_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="expected p_0"):
        DiscreteChain([0.5, 0.5], [torch.eye(3)])
    with pytest.raises(ValueError, match="sum to 1"):
        DiscreteChain([0.5, 0.6], [torch.eye(2)])


def test_a_discrete_chain_has_a_step_and_no_negative_entry():
    for p_0, kernels in (([0.5, 0.5], []), ([[0.5, 0.5]], [torch.eye(1)])):
        with pytest.raises(ValueError, match=r"expected p_0 \(K,\) and kernels \(K, K\), got"):
            DiscreteChain(p_0, kernels)
    for p_0, kernel in (([1.5, -0.5], torch.eye(2)), ([0.5, 0.5], torch.tensor([[1.0, 0.0], [1.5, -0.5]]))):
        with pytest.raises(ValueError, match="nonnegative and sum to 1"):
            DiscreteChain(p_0, [kernel])
