import math

import mpmath as mp
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlgm.gaussian import Gaussian, MultivariateGaussian, add, condition, discretized_log_prob, full, product
from dlgm.tensors import expand, randn_like

SHAPES = [(3,), (3, 2), (3, 1, 4, 5)]


def random_gaussian(shape, generator, var_shape=None):
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    var = torch.rand(var_shape or shape, generator=generator, dtype=torch.float64) + 0.1
    return Gaussian(mean, var)


def as_torch(g):
    return torch.distributions.Normal(g.mean, g.var.expand(g.mean.shape).sqrt())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("var_shape", [None, "batch", "scalar"])
def test_log_prob_and_kl_match_an_independent_implementation(shape, var_shape, generator):
    var_shape = {"batch": shape[:1], "scalar": ()}.get(var_shape)
    p, q = (random_gaussian(shape, generator, var_shape) for _ in range(2))
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    log_prob = as_torch(p).log_prob(x).reshape(3, -1).sum(1)
    kl = torch.distributions.kl_divergence(as_torch(p), as_torch(q)).reshape(3, -1).sum(1)
    # float64 sums of at most 20 terms of order 1
    torch.testing.assert_close(p.log_prob(x), log_prob, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(p.kl(q), kl, rtol=1e-12, atol=1e-13)


def test_kl_1_keeps_its_digits_when_the_laws_are_nearly_equal():
    """KL-1: for v = 1 + 1e-7 the KL is 2.5e-15; the textbook form ½(v − 1 − log v) would return rounding noise."""
    v = 1 + 1e-7
    p, q = Gaussian(torch.zeros(1, dtype=torch.float64), v), Gaussian(torch.zeros(1, dtype=torch.float64), 1.0)
    exact = (mp.mpf(v) - 1 - mp.log(mp.mpf(v))) / 2
    # u − log1p(u) loses half the digits of u² / 2 at worst: 1e-16 / 1e-7
    assert p.kl(q).item() == pytest.approx(float(exact), rel=2e-2)
    assert p.kl(p).item() == 0


def test_sample_has_the_law_and_the_generator_decides_it(generator):
    g = Gaussian(torch.full((200_000,), 2.0, dtype=torch.float64), 0.25)
    x = g.sample(generator)
    assert abs(x.mean() - 2) < 5 * 0.5 / math.sqrt(len(x))  # 5 standard errors of the mean
    assert abs(x.var() - 0.25) < 5 * 0.25 * math.sqrt(2 / len(x))  # 5 standard errors of a variance
    assert torch.equal(x, g.sample(torch.Generator().manual_seed(0)))


def test_gauss_1_sum_against_convolution_by_quadrature():
    """GAUSS-1: the density of the sum is the convolution of the densities, for independent terms (E-36)."""
    p, q = Gaussian(torch.tensor([0.5]).double(), 0.3), Gaussian(torch.tensor([-1.0]).double(), 0.7)
    u = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    for z in (-2.0, 0.1, 1.5):
        density = torch.trapezoid(
            torch.exp(Gaussian(p.mean.expand(len(u)), 0.3).log_prob(u))
            * torch.exp(Gaussian(q.mean.expand(len(u)), 0.7).log_prob(z - u)),
            u,
        )
        # the trapezoid rule is spectrally accurate for a Gaussian integrand
        assert add(p, q).log_prob(torch.tensor([z], dtype=torch.float64)).exp().item() == pytest.approx(
            density.item(), rel=1e-10
        )


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.05, 5), st.floats(0.05, 5), st.floats(-3, 3))
def test_product_holds_at_every_point(m1, m2, v1, v2, x):
    m1, m2, x = (torch.tensor([v], dtype=torch.float64) for v in (m1, m2, x))
    p, q = Gaussian(m1, v1), Gaussian(m2, v2)
    r, log_z = product(p, q)
    left, right = p.log_prob(x) + q.log_prob(x), log_z + r.log_prob(x)
    assert left.item() == pytest.approx(right.item(), rel=1e-11, abs=1e-11)  # float64, terms up to about 400


@given(st.floats(-3, 3), st.floats(0.05, 5), st.floats(-2, 2), st.floats(0.05, 5), st.floats(-3, 3), st.floats(-3, 3))
def test_gauss_2_condition_is_bayes_rule(m, v, a, r, y, x):
    """GAUSS-2, on one number; the matrix form is tested with LinearGaussian."""
    m, x, y = (torch.tensor([u], dtype=torch.float64) for u in (m, x, y))
    prior = Gaussian(m, v)
    joint = prior.log_prob(x) + Gaussian(a * x, r).log_prob(y)
    evidence = Gaussian(a * m, a**2 * v + r).log_prob(y)
    posterior = condition(prior, y, a, r)
    assert posterior.log_prob(x).item() == pytest.approx((joint - evidence).item(), rel=1e-10, abs=1e-10)  # as above


def test_discretized_bins_sum_to_one_and_are_exact_in_the_tails():
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)
    for mean, std in ((0.3, 0.01), (-1.2, 0.5), (0.0, 3.0)):
        log_p = discretized_log_prob(Gaussian(torch.full_like(x, mean), std**2), x)
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)  # 256 float64 terms
    # 60 standard deviations away: compared with 50-digit arithmetic
    g = Gaussian(torch.tensor([-0.6], dtype=torch.float64), 0.01**2)
    value = discretized_log_prob(g, x[128:129]).item()
    a, b = ((mp.mpf(float(x[128])) + d * mp.mpf(1) / 255 - mp.mpf("-0.6")) / mp.mpf("0.01") for d in (-1, 1))
    exact = mp.log((mp.erfc(a / mp.sqrt(2)) - mp.erfc(b / mp.sqrt(2))) / 2)
    assert value == pytest.approx(float(exact), rel=1e-9)  # mean −0.6 is rounded to float64, amplified by 60²
    with pytest.raises(ValueError, match="pixel values"):
        discretized_log_prob(g, torch.tensor([0.001], dtype=torch.float64))


def test_errors_say_what_came_and_what_was_expected():
    with pytest.raises(ValueError, match=r"\(4,\).*\(8, 1, 28, 28\); expected \(\) or \(8,\)"):
        expand(torch.ones(4), torch.ones(8, 1, 28, 28))
    with pytest.raises(ValueError, match="negative or NaN, got -0.5"):
        Gaussian(torch.zeros(2), -0.5)
    with pytest.raises(ValueError, match="point mass"):
        Gaussian(torch.zeros(2), 0.0).log_prob(torch.zeros(2))
    with pytest.raises(ValueError, match=r"x \(3, 1\), mean \(3,\)"):
        Gaussian(torch.zeros(3), 1.0).log_prob(torch.zeros(3, 1))
    with pytest.raises(ValueError):
        expand(torch.ones(5), torch.ones(3, 5))  # equal to the last axis is not enough


def test_expand_casts_at_the_end_and_accepts_every_data_shape():
    c = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
    for shape in ((2,), (2, 5), (2, 1, 4, 4)):
        x = torch.ones(shape)
        out = expand(c, x) * x
        assert out.dtype == torch.float32 and torch.equal(out.flatten(1).T[0] if x.ndim > 1 else out, c.float())


def test_noise_does_not_depend_on_the_global_generator(generator):
    x = torch.zeros(5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = randn_like(x, generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a, torch.randn(5, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("dtype, ratio, rtol", [(torch.float32, 1e-8, 1e-6), (torch.float64, 1e-17, 1e-14)])
def test_kl_1_of_very_narrow_and_very_wide_laws(dtype, ratio, rtol):
    """KL-1: r − 1 − log r for r far from 1, where log1p(r − 1) has lost r; the gradient stays finite too."""
    mean, var = torch.zeros(1, dtype=dtype), torch.tensor([ratio], dtype=dtype, requires_grad=True)
    for p, q, r in (
        (Gaussian(mean, var), Gaussian(mean, 1.0), var.item()),
        (Gaussian(mean, 1.0), Gaussian(mean, var), 1 / var.item()),
    ):
        kl = p.kl(q)
        assert kl.item() == pytest.approx(float((mp.mpf(r) - 1 - mp.log(mp.mpf(r))) / 2), rel=rtol)  # roundings
        assert torch.isfinite(torch.autograd.grad(kl.sum(), var)[0]).all()


@pytest.mark.parametrize("std", [0.3, 0.02, 1e-3])
@pytest.mark.parametrize("mean", [0.1, -0.97, 1 - 1 / 255])
def test_discretized_bins_are_those_of_the_mirrored_law(mean, std):
    """P(x; m) = P(−x; −m): also of a pixel at the edge that is all but certain, whose −log P is Φ(−z) ≪ 1e-16."""
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)
    value, mirrored = (discretized_log_prob(Gaussian(torch.full_like(x, v * mean), std**2), v * x) for v in (1, -1))
    # z = (edge − m)/std is off by 1e-16/std, log Φ(−z) thus by a factor 1 + z 1e-16/std, |z| ≤ 2/std
    torch.testing.assert_close(value, mirrored, rtol=4e-16 / std**2 + 1e-12, atol=0)


def test_a_pixel_at_the_edge_is_all_but_certain():
    """Far beyond the last edge, at z standard deviations, −log P = −log Φ(z), at both ends."""
    for side in (-1.0, 1.0):
        x, z = torch.tensor([side], dtype=torch.float64), 9.0
        std = 1 / 255 / z
        value = discretized_log_prob(Gaussian(x, std**2), x).item()
        exact = mp.log1p(-mp.erfc(1 / mp.mpf(255) / mp.mpf(std) / mp.sqrt(2)) / 2)
        assert value == pytest.approx(float(exact), rel=1e-12, abs=0)  # −1.1e-19; z² 2e-16 for the rounding of z


@pytest.mark.parametrize("bins", [2, 16, 17])
def test_discretized_bins_of_other_sizes_sum_to_one(bins):
    x = torch.linspace(-1, 1, bins, dtype=torch.float64)
    log_p = discretized_log_prob(Gaussian(torch.full_like(x, 0.2), 0.3**2), x, bins)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-13)  # float64
    edges = (x[:-1] + x[1:]) / 2
    first = torch.special.ndtr((edges[0] - 0.2) / 0.3)
    assert log_p[0].exp().item() == pytest.approx(first.item(), rel=1e-12)
    for bad in (1, 0, 2.5):
        with pytest.raises(ValueError, match="bins"):
            discretized_log_prob(Gaussian(x, 1.0), x, bad)


def test_integers_and_nan_are_refused():
    with pytest.raises(ValueError, match="floating-point numbers, got torch.int64"):
        Gaussian(torch.tensor([0, 1]), 0.5)
    with pytest.raises(ValueError, match="floating-point numbers, got torch.uint8"):
        expand(torch.tensor(0.5), torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="NaN"):
        Gaussian(torch.zeros(1), float("nan"))
    with pytest.raises(ValueError, match="variance 0"):
        Gaussian(torch.zeros(1), 1.0).kl(Gaussian(torch.zeros(1), 0.0))


def random_multivariate(B, D, generator, shared=False):
    root = torch.randn(*(() if shared else (B,)), D, D, generator=generator, dtype=torch.float64)
    cov = root @ root.mT + 0.3 * torch.eye(D, dtype=torch.float64)
    return MultivariateGaussian(torch.randn(B, D, generator=generator, dtype=torch.float64), cov)


def as_torch_multivariate(g):
    return torch.distributions.MultivariateNormal(g.mean, g.cov.expand(len(g.mean), -1, -1))


@pytest.mark.parametrize("shared", [(False, False), (True, False), (False, True), (True, True)])
def test_multivariate_log_prob_and_kl_1_match_an_independent_implementation(shared, generator):
    p, q = (random_multivariate(4, 3, generator, s) for s in shared)
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    kl = torch.distributions.kl_divergence(as_torch_multivariate(p), as_torch_multivariate(q))
    # float64, 3 x 3 systems of condition number below 1e3
    torch.testing.assert_close(p.log_prob(x), as_torch_multivariate(p).log_prob(x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(p.kl(q), kl, rtol=1e-10, atol=1e-11)
    assert (p.kl(q) > 0).all() and p.kl(p).abs().max() < 1e-12


def test_multivariate_with_diagonal_covariance_is_the_gaussian(generator):
    g, h = random_gaussian((4, 3), generator), random_gaussian((4, 3), generator)
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(full(g).log_prob(x), g.log_prob(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(full(g).kl(h), g.kl(h), rtol=1e-11, atol=1e-12)
    assert full(full(g)).cov is not None
    number = Gaussian(g.mean, 0.25)  # one variance for all coordinates
    torch.testing.assert_close(full(number).log_prob(x), number.log_prob(x), rtol=1e-12, atol=1e-12)


def test_multivariate_samples_have_its_mean_and_covariance(generator):
    p = random_multivariate(1, 3, generator)
    n = 50_000
    x = MultivariateGaussian(p.mean.expand(n, -1), p.cov[0]).sample(generator)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(p.cov[0]), (x - p.mean).T, upper=False).T
    # 9 products with mean 0 or 1 and standard deviation at most √2; 6 standard errors: 2e-8 by chance
    assert ((white.T @ white / n - torch.eye(3)).abs() < 6 * math.sqrt(2 / n)).all()
    assert (white.mean(0).abs() < 6 / math.sqrt(n)).all()


@pytest.mark.parametrize(
    "mean, cov, word",
    [
        (torch.zeros(3), torch.eye(3), "expected mean"),
        (torch.zeros(2, 3), torch.eye(2), "expected mean"),
        (torch.zeros(2, 3), -torch.eye(3), "positive definite"),
        (torch.zeros(2, 2), torch.tensor([[1.0, 0.9], [0.0, 1.0]]), "symmetric"),
        (torch.zeros(2, 2), torch.tensor([[1.0, math.nan], [math.nan, 1.0]]), "positive definite"),
    ],
)
def test_a_multivariate_gaussian_refuses_what_is_none(mean, cov, word):
    with pytest.raises(ValueError, match=word):
        MultivariateGaussian(mean, cov)


@pytest.mark.parametrize("var", [0.5, torch.tensor(0.5), torch.arange(1.0, 5), torch.arange(1.0, 9).reshape(4, 2)])
def test_rows_and_repetitions_are_the_laws_of_their_examples(var):
    law, x = Gaussian(torch.arange(8.0).reshape(4, 2), var), torch.ones(4, 2)
    index = torch.tensor([3, 1])
    torch.testing.assert_close(law.rows(index).log_prob(x[index]), law.log_prob(x)[index])
    torch.testing.assert_close(law.repeat(3).log_prob(x.repeat_interleave(3, 0)), law.log_prob(x).repeat_interleave(3))
    with pytest.raises(ValueError, match="point mass"):
        Gaussian(torch.zeros(3, 1), 0.0).rows(torch.tensor([1])).log_prob(torch.zeros(1, 1))


def test_a_sample_is_mean_plus_std_times_the_noise_of_its_generator():
    law = Gaussian(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.25, 9.0]))
    eps = randn_like(law.mean, torch.Generator().manual_seed(4))
    want = law.mean + torch.tensor([[0.5], [3.0]]) * eps
    torch.testing.assert_close(law.sample(torch.Generator().manual_seed(4)), want, rtol=0, atol=0)
    wide = MultivariateGaussian(law.mean.expand(2, 2), torch.tensor([[4.0, 2.0], [2.0, 10.0]]))
    eps = randn_like(wide.mean, torch.Generator().manual_seed(4))
    want = wide.mean + torch.stack([2 * eps[:, 0], eps[:, 0] + 3 * eps[:, 1]], 1)  # L = [[2, 0], [1, 3]]
    torch.testing.assert_close(wide.sample(torch.Generator().manual_seed(4)), want)


def test_no_function_of_gaussians_broadcasts():
    a, b = Gaussian(torch.zeros(1, 2), 1.0), Gaussian(torch.zeros(3, 2), 1.0)
    pixels = torch.ones(3, 2)
    for call in (
        lambda: a.kl(b), lambda: b.kl(a), lambda: a.log_prob(b.mean), lambda: add(a, b), lambda: product(a, b),
        lambda: condition(a, b.mean, 1.0, 1.0), lambda: discretized_log_prob(a, pixels),
        lambda: full(a).log_prob(b.mean), lambda: full(b).log_prob(a.mean), lambda: full(a).kl(full(b)),
        lambda: full(b).kl(a),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"expected one shape for all, got \w+ \([13], 2\), \w+ \([13], 2\)"):
            call()


def test_both_ends_of_a_kl_and_a_bin_need_a_density():
    point, law = Gaussian(torch.zeros(2, dtype=torch.float64), 0.0), Gaussian(torch.zeros(2, dtype=torch.float64), 1.0)
    for call in (lambda: point.kl(law), lambda: law.kl(point), lambda: discretized_log_prob(point, law.mean + 1)):
        with pytest.raises(ValueError, match="point mass"):
            call()


def test_pixels_in_float32_get_their_log_probability_in_float64():
    x = torch.linspace(-1, 1, 256)
    law = Gaussian(torch.full_like(x, 0.25), 0.125)
    got = discretized_log_prob(law, x)
    want = discretized_log_prob(Gaussian(law.mean.double(), 0.125), torch.linspace(-1, 1, 256, dtype=torch.float64))
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)  # x is rounded to float32, 6e-8, with slopes up to 10
    edge = torch.tensor([1 + 9e-7], dtype=torch.float64)  # a rounding beyond the last level is that level
    one = Gaussian(edge, 0.1)
    torch.testing.assert_close(
        discretized_log_prob(one, edge), discretized_log_prob(one, edge * 0 + 1), rtol=0, atol=1e-5
    )


def test_a_bin_of_a_law_given_by_its_log_variance():
    x, logvar = torch.linspace(-1, 1, 256, dtype=torch.float64), torch.linspace(-9, 2, 256, dtype=torch.float64)
    mean = 0.9 * x + 0.01
    got = discretized_log_prob(Gaussian.from_logvar(mean, logvar), x)
    # z = (x − mean)/std is rounded in two ways, its square counts: up to 10² at std = e^−4.5
    torch.testing.assert_close(got, discretized_log_prob(Gaussian(mean, logvar.exp()), x), rtol=1e-12, atol=1e-13)


def test_kl_1_and_log_prob_have_gradients_where_a_variance_is_0_or_infinite_in_float64():
    """log v of 720 and −760 beside ordinary ones; d = 0.7 √v₂. By m₁, log v₁ and log v₂, entry by entry."""
    b = torch.tensor([[720.0, -760.0, 0.2, 1.0]], dtype=torch.float64, requires_grad=True)
    gap = torch.tensor([[0.5, -0.3, 0.6, -1.0]], dtype=torch.float64)
    a, m = (b.detach() + gap).requires_grad_(), (0.7 * (b.detach() / 2).exp()).requires_grad_()
    p, q = Gaussian.from_logvar(m, a), Gaussian.from_logvar(torch.zeros_like(b), b)
    slope = 0.7 * (-b.detach() / 2).exp()  # d/v₂
    # 760 is rounded to 1e-13, which e^(b/2) and e^(a − b) keep as a relative error
    by_m, by_a, by_b = torch.autograd.grad(p.kl(q).sum(), (m, a, b))
    torch.testing.assert_close(by_m, slope, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_a, gap.expm1() / 2, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_b, (-gap.expm1() - 0.49) / 2, rtol=1e-12, atol=0)
    by_m, by_b = torch.autograd.grad(q.log_prob(m).sum(), (m, b))
    torch.testing.assert_close(by_m, -slope, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_b, torch.full_like(b, (0.49 - 1) / 2), rtol=1e-12, atol=0)
    g = torch.Generator().manual_seed(0)
    (by_a,) = torch.autograd.grad(p.sample(g).sum(), a)
    eps = torch.randn(b.shape, generator=g.manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(by_a, eps * (a.detach() / 2).exp() / 2, rtol=1e-12, atol=0)
