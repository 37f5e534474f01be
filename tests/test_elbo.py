"""The bounds, on models whose log p(x) is exact: LVM-1, LVM-2, ELBO-1, ELBO-2, ELBO-3, ELBO-4, GAUSS-3, M-33, M-42."""

import math

import pytest
import torch

from dlgm.elbo import decompose, effective_sample_size, elbo, iwae, log_weights, posterior_kl
from dlgm.gaussian import Gaussian, MultivariateGaussian
from dlgm.hvae import Hierarchy
from dlgm.metrics import Estimate, estimate
from dlgm.oracles import LinearGaussian, LinearGaussianChain, NonlinearModel


def linear(generator, D=4, d=2):
    W = torch.randn(D, d, generator=generator, dtype=torch.float64)
    return LinearGaussian(W, torch.randn(D, generator=generator, dtype=torch.float64), 0.3)


def other_q(x, d=2):
    """Some q that is not the posterior."""
    return Gaussian(0.3 * x[:, :d], torch.tensor(0.4, dtype=torch.float64))


NONLINEAR = {"square": lambda z: z**2, "sine": lambda z: torch.sin(2 * z), "cubic": lambda z: z**3 / 3 - z}


# ---- exact --------------------------------------------------------------------------------------------------------
def test_elbo_2_and_elbo_3_on_the_linear_gaussian_model(generator):
    model = linear(generator)
    x, _ = model.sample(20, generator)
    for q in (model.posterior, model.best_independent, other_q):
        exact = decompose(model, q, x)
        assert exact.residual.abs().max() < 1e-10  # sums of numbers of order 10 in float64
        assert (exact.elbo <= exact.log_evidence + 1e-10).all()
    tight = decompose(model, model.posterior, x)
    assert (tight.elbo - tight.log_evidence).abs().max() < 1e-10
    # the best independent Gaussian misses by ½[Σ log Λ_dd − log det Λ], whatever x is
    gap = 0.5 * (model.precision.diagonal().log().sum() - torch.logdet(model.precision))
    torch.testing.assert_close(decompose(model, model.best_independent, x).kl, gap.expand(20), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NONLINEAR)
def test_elbo_2_on_a_nonlinear_model_by_quadrature(name, generator):
    model = NonlinearModel(NONLINEAR[name], 0.1)
    x, _ = model.sample(8, generator)
    law = Gaussian(0.2 * x, torch.tensor(0.15, dtype=torch.float64))
    exact = decompose(model, lambda x: law, x)
    assert exact.residual.abs().max() < 1e-10 and (exact.kl > 0).all()


def test_elbo_3_equality_at_the_exact_posterior_of_a_nonlinear_model_that_is_linear():
    model = NonlinearModel(lambda z: 1.5 * z, 0.5)
    x = torch.tensor([[-1.0], [0.3], [2.0]], dtype=torch.float64)
    posterior = LinearGaussian([[1.5]], [0.0], 0.5).posterior(x)
    exact = decompose(model, lambda x: Gaussian(posterior.mean, posterior.cov[0, 0]), x)
    assert exact.kl.abs().max() < 1e-10 and (exact.elbo - exact.log_evidence).abs().max() < 1e-10


def test_a_gaussian_q_cannot_be_tight_on_two_modes():
    """E-71: for x = z² + noise the posterior has two equal modes; half of its mass stays uncovered, log 2 nats."""
    model, x = NonlinearModel(lambda z: z**2, 0.01), torch.tensor([[1.5]], dtype=torch.float64)
    best = model.best_gaussian(x)
    gap = model.posterior_kl(x, best).item()
    # far apart, narrow modes: KL = log 2 plus what non-Gaussian shape of one mode costs, below 0.01 here
    assert math.log(2) < gap < math.log(2) + 0.01
    for shift in (-0.01, 0.01):  # a local optimum in mean and variance
        assert model.posterior_kl(x, Gaussian(best.mean + shift, best.var)) > gap
        assert model.posterior_kl(x, Gaussian(best.mean, best.var * (1 + 5 * shift))) > gap


def test_gauss_3_the_posterior_of_a_bent_map_is_not_gaussian_though_the_likelihood_is():
    """E-05: for x = z² + noise the kurtosis of p(z | x = 0.5) is far from 3; E-41, E-56: log p(x) knows no q."""
    model, x = NonlinearModel(lambda z: z**2, 0.05), torch.tensor([[0.5]], dtype=torch.float64)
    z = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    density = model.log_posterior(x, z[None])[0].exp()
    second, fourth = (torch.trapezoid(density * z**k, z).item() for k in (2, 4))
    assert torch.trapezoid(density, z).item() == pytest.approx(1, abs=1e-10)
    assert fourth / second**2 < 2  # two well separated peaks have a kurtosis near 1
    widths = [Gaussian(0 * x + 0.7, torch.tensor(v, dtype=torch.float64)) for v in (0.01, 0.5)]
    a, b = (decompose(model, lambda x, q=q: q, x) for q in widths)
    assert a.log_evidence == b.log_evidence and abs(a.elbo - b.elbo) > 0.5


def test_lvm_2_the_ratio_of_joint_and_posterior_is_the_evidence_for_every_z(generator):
    model = linear(generator)
    x, _ = model.sample(5, generator)
    for z in torch.randn(7, 5, 2, generator=generator, dtype=torch.float64):
        ratio = model.log_joint(x, z) - model.posterior(x).log_prob(z)
        torch.testing.assert_close(ratio, model.log_prob(x), rtol=1e-11, atol=1e-11)


# ---- estimated ----------------------------------------------------------------------------------------------------
def z_scores(found, exact):
    return ((found.value - exact) / found.error).abs().max()


@pytest.mark.parametrize("name", ["linear", *NONLINEAR])
def test_the_estimates_meet_the_exact_elbo_and_kl_and_stay_below_log_p(name, generator):
    model = linear(generator) if name == "linear" else NonlinearModel(NONLINEAR[name], 0.3)
    d = 2 if name == "linear" else 1
    x, _ = model.sample(4, generator)
    q = lambda x: other_q(x, d)  # noqa: E731
    exact = decompose(model, q, x)
    evidence = exact.log_evidence.repeat_interleave(4000)
    log_posterior = lambda x, z: model.log_joint(x, z) - evidence  # noqa: E731
    found = elbo(model.log_joint, q, x, 4000, generator)
    # 8 z-scores in all; one beyond 5 by chance in 200,000 runs
    assert z_scores(found, exact.elbo) < 5
    assert z_scores(posterior_kl(log_posterior, q, x, 4000, generator), exact.kl) < 5
    assert (found.value < exact.log_evidence + 5 * found.error).all()


def test_the_estimate_is_exact_for_every_draw_at_the_posterior(generator):
    """ELBO-1: the weights are constant, so Jensen's inequality is an equality and one draw is enough."""
    model = linear(generator)
    x, _ = model.sample(6, generator)
    log_w = log_weights(model.log_joint, model.posterior, x, 50, generator)
    assert (log_w - model.log_prob(x)[:, None]).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["linear", "square"])
def test_iwae_grows_with_K_and_stays_below_log_p(name, generator):
    model = linear(generator) if name == "linear" else NonlinearModel(NONLINEAR[name], 0.3)
    d = 2 if name == "linear" else 1
    x, _ = model.sample(3, generator)
    found = [iwae(model.log_joint, lambda x: other_q(x, d), x, K, 20_000 // K, generator) for K in (1, 4, 16, 64)]
    for low, high in zip(found, found[1:], strict=False):
        assert (high.value > low.value - 5 * (low.error**2 + high.error**2).sqrt()).all()
    assert found[-1].value.sum() > found[0].value.sum()
    for bound in found:
        assert (bound.value < model.log_prob(x) + 5 * bound.error).all()


def test_iwae_of_one_draw_is_the_elbo(generator):
    model = linear(generator)
    x, _ = model.sample(3, generator)
    a = elbo(model.log_joint, other_q, x, 10, torch.Generator().manual_seed(3))
    b = iwae(model.log_joint, other_q, x, 1, 10, torch.Generator().manual_seed(3))
    assert torch.equal(a.value, b.value) and torch.equal(a.error, b.error)


def test_iwae_averages_weights_and_not_their_logarithms():
    """Two draws with weights 1 and 3: log 2, not (log 1 + log 3)/2."""
    steps = iter(torch.tensor([1.0, 3.0], dtype=torch.float64).log().split(2))

    class Law:
        def sample(self, generator):
            return next(steps)

        def log_prob(self, z):
            return torch.zeros(2, dtype=torch.float64)

    x = torch.zeros(1, 1, dtype=torch.float64)
    bound = iwae(lambda x, z: z, lambda x: Law(), x, 2)
    assert bound.value.item() == pytest.approx(math.log(2), abs=1e-15)


def test_the_bounds_work_on_a_hierarchy(generator):
    maps = [torch.randn(a, b, generator=generator, dtype=torch.float64) for a, b in ((3, 2), (2, 2), (2, 1))]
    chain = LinearGaussianChain(maps, [0.3, 0.2, 0.5])
    exact = Hierarchy(chain.prior, chain.generate(), chain.infer())
    x, _ = exact.sample(4, generator)
    assert (log_weights(exact.log_joint, exact.q, x, 5, generator) - chain.log_prob(x)[:, None]).abs().max() < 1e-10
    wrong = [lambda z, k=k: MultivariateGaussian(0.8 * k(z).mean, 1.3 * k(z).cov) for k in chain.infer()]
    q = Hierarchy(chain.prior, chain.generate(), wrong).q
    found = [iwae(exact.log_joint, q, x, K, 8000 // K, generator) for K in (1, 16)]
    assert (found[0].value < chain.log_prob(x)).all()
    assert (found[0].value < found[1].value).all()
    assert (found[1].value < chain.log_prob(x) + 5 * found[1].error).all()


# ---- gradients ------------------------------------------------------------------------------------------------------
def gradients(gradient, K, runs, theta, phi, seed):
    """Gradients of L_K of z ~ N(0, 1), x ~ N(θ z, 0.3) with q = N(φ x, 0.5), one for each run: (runs, 2)."""
    model = lambda x, z: Gaussian(theta * z, 0.3).log_prob(x) + Gaussian(torch.zeros_like(z), 1.0).log_prob(z)  # noqa: E731
    q = lambda x: Gaussian(phi * x, torch.full_like(x, 0.5))  # noqa: E731
    x = torch.full((1, 1), 1.2, dtype=torch.float64)
    generator, rows = torch.Generator().manual_seed(seed), []
    for _ in range(runs):
        value = iwae(model, q, x, K, 1, generator, gradient).value.sum()
        rows.append(torch.stack(torch.autograd.grad(value, (theta, phi))))
    return torch.stack(rows)


@pytest.mark.parametrize("K", [1, 8])
def test_both_gradients_have_one_mean_and_doubly_reparameterised_varies_less(K):
    """Tucker et al. 2019: the φ-gradient keeps its mean and loses variance; the θ-gradient is the same each time."""
    theta, phi = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.3, 0.6))
    plain, doubly = (gradients(name, K, 1500, theta, phi, seed=1) for name in ("plain", "doubly"))
    torch.testing.assert_close(plain[:, 0], doubly[:, 0], rtol=1e-9, atol=1e-12)
    gap = estimate(plain[:, 1] - doubly[:, 1], 0)
    assert gap.value.abs() < 5 * gap.error
    if K == 8:
        assert doubly[:, 1].var() < plain[:, 1].var()


def test_the_gradient_of_the_elbo_vanishes_at_the_posterior_draw_by_draw_with_doubly_reparameterised():
    theta = torch.tensor(1.0, dtype=torch.float64)
    posterior_gain = 1 / (1 + 0.3)
    phi = torch.tensor(posterior_gain, dtype=torch.float64, requires_grad=True)
    model = lambda x, z: Gaussian(theta * z, 0.3).log_prob(x) + Gaussian(torch.zeros_like(z), 1.0).log_prob(z)  # noqa: E731
    q = lambda x: Gaussian(phi * x, torch.full_like(x, 0.3 / 1.3))  # noqa: E731
    x = torch.full((1, 1), 1.2, dtype=torch.float64)
    for name, zero in (("doubly", True), ("plain", False)):
        value = iwae(model, q, x, 1, 1, torch.Generator().manual_seed(0), name).value.sum()
        assert (abs(torch.autograd.grad(value, phi)[0].item()) < 1e-12) == zero


# ---- estimates, weights, errors -------------------------------------------------------------------------------------
def test_estimate_and_average():
    found = estimate(torch.tensor([[1.0, 3.0], [2.0, 2.0]], dtype=torch.float64))
    assert found.value.tolist() == [2, 2] and found.error.tolist() == [1, 0]
    assert found.average().value.item() == 2 and found.average().error.item() == 0
    assert str(Estimate(torch.tensor(1.23456), torch.tensor(0.01))) == "1.2346 ± 0.0100"
    assert str(found) == "[2.0000 ± 1.0000, 2.0000 ± 0.0000]"
    assert estimate(torch.ones(3, 1)).error.isnan().all()  # one draw says nothing about its error


def test_the_standard_error_covers_the_truth_as_often_as_it_should(generator):
    found = estimate(torch.randn(4000, 50, generator=generator, dtype=torch.float64))
    outside = (found.value.abs() > 2 * found.error).double().mean().item()
    # Student's t with 49 degrees of freedom: 5.1 %; 4000 trials give ± 0.35 %, five of them allowed
    assert abs(outside - 0.051) < 0.0175


def test_lvm_1_effective_sample_size():
    assert effective_sample_size(torch.zeros(2, 7)).tolist() == pytest.approx([7, 7])
    assert effective_sample_size(torch.tensor([0.0, -1000.0, -1000.0])).item() == pytest.approx(1)
    w = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    expected = (w.sum() ** 2 / (w**2).sum()).item()
    assert effective_sample_size(w.log() + 5000).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [0, -1, 2.0, True + 0.5])
def test_bad_numbers_of_draws(n, generator):
    model = linear(generator)
    with pytest.raises(ValueError, match="draws"):
        elbo(model.log_joint, model.posterior, torch.zeros(2, 4, dtype=torch.float64), n)


def test_bad_input_is_named(generator):
    model = linear(generator)
    with pytest.raises(ValueError, match="at least one example"):
        elbo(model.log_joint, model.posterior, torch.zeros(0, 4, dtype=torch.float64))
    x = torch.zeros(2, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="unknown gradient 'dreg'; known: plain, doubly"):
        iwae(model.log_joint, model.posterior, x, 2, gradient="dreg")
    with pytest.raises(ValueError, match="mean and var"):
        iwae(model.log_joint, model.posterior, x, 2, gradient="doubly")


def test_one_draw_unless_said():
    """n = 1 in all four: the value of that draw, and no error that could be known."""
    model = linear(torch.Generator().manual_seed(0))
    x, _ = model.sample(3, torch.Generator().manual_seed(1))
    again = lambda: torch.Generator().manual_seed(2)  # noqa: E731
    weights = log_weights(model.log_joint, other_q, x, generator=again())
    z = other_q(x).sample(again())
    want = model.log_joint(x, z) - other_q(x).log_prob(z)
    assert weights.shape == (3, 1)
    torch.testing.assert_close(weights[:, 0], want)
    for found, value in (
        (elbo(model.log_joint, other_q, x, generator=again()), want),
        (iwae(model.log_joint, other_q, x, 1, generator=again()), want),
        (posterior_kl(model.log_joint, other_q, x, generator=again()), -want),
    ):
        torch.testing.assert_close(found.value, value)
        assert found.error.isnan().all()


def test_the_doubly_reparameterised_bound_has_the_value_of_the_plain_one():
    model = linear(torch.Generator().manual_seed(0))
    x, _ = model.sample(3, torch.Generator().manual_seed(1))
    plain, doubly = (
        iwae(model.log_joint, other_q, x, 4, 5, torch.Generator().manual_seed(2), kind) for kind in ("plain", "doubly")
    )
    torch.testing.assert_close(doubly.value, plain.value, rtol=1e-12, atol=0)  # sums in another order
    torch.testing.assert_close(doubly.error, plain.error, rtol=1e-12, atol=0)
