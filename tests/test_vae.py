"""The pieces of a VAE against closed forms, and a linear VAE against its optimum.

Ledger VAE-1, VAE-2, VAE-3, VAE-4, VAE-5, VAE-6, VAE-7, LVM-1, KL-1, ELBO-4, M-33, M-34.
"""

import math

import pytest
import torch

from dlgm import vae
from dlgm.elbo import elbo, iwae
from dlgm.gaussian import Gaussian
from dlgm.oracles import LinearGaussian
from dlgm.training import fit

F64 = torch.float64


def small(likelihood="gaussian", classes=0, seed=0, shape=(1, 4, 4), latent=2, **options):
    torch.manual_seed(seed)
    return vae.mlp_vae(shape, latent, (8,), likelihood=likelihood, classes=classes, **options).double()


def images(n, likelihood, generator, shape=(1, 4, 4)):
    if likelihood == "bernoulli":
        return (torch.rand(n, *shape, generator=generator) < 0.4).to(F64)
    return torch.randint(0, 256, (n, *shape), generator=generator).to(F64) / 127.5 - 1


# ---- likelihoods ------------------------------------------------------------------------------------------------
def test_bernoulli_matches_torch_and_survives_extreme_logits(generator):
    logits = 3 * torch.randn(5, 2, 3, generator=generator, dtype=F64)
    x = (torch.rand(5, 2, 3, generator=generator) < 0.5).to(F64)
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((1, 2))
    torch.testing.assert_close(vae.Bernoulli(logits).log_prob(x), expected, rtol=1e-13, atol=1e-13)
    far = vae.Bernoulli(torch.tensor([[800.0, -800.0]], dtype=F64))
    assert far.log_prob(torch.tensor([[1.0, 0.0]], dtype=F64)).item() == 0
    assert far.log_prob(torch.tensor([[0.0, 1.0]], dtype=F64)).item() == -1600


def test_bernoulli_samples_have_its_mean(generator):
    logits = torch.tensor([-1.0, 0.0, 2.0], dtype=F64)
    n = 20_000
    seen = vae.Bernoulli(logits.expand(n, 3)).sample(generator).mean(0)
    p = logits.sigmoid()
    assert ((seen - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_probabilities_of_a_pixel_sum_to_one(likelihood):
    out = torch.tensor([[0.3]], dtype=F64)
    law = vae.Likelihood(likelihood, None if likelihood == "bernoulli" else 0.2).double()(out)
    if likelihood == "bernoulli":
        total = sum(law.log_prob(torch.tensor([[v]], dtype=F64)).exp().item() for v in (0.0, 1.0))
    elif likelihood == "discretized":
        total = sum(law.log_prob(torch.tensor([[v / 127.5 - 1]], dtype=F64)).exp().item() for v in range(256))
    else:
        x = torch.linspace(-10, 10, 20_001, dtype=F64)[:, None]
        total = torch.trapezoid(Gaussian(out.expand(len(x), 1), law.var).log_prob(x).exp(), x[:, 0]).item()
    assert total == pytest.approx(1, abs=1e-6)  # the variance 0.2 passes through a float32 logarithm


def test_units():
    x = torch.zeros(3, 1, 2, 2)
    # four fair coins: 4 log 2 nats, one bit each
    assert vae.bits_per_dim(torch.tensor(-4 * math.log(2)), x).item() == pytest.approx(1)
    nats = vae.Bernoulli(torch.zeros(3, 1, 2, 2)).log_prob(x)
    assert vae.bits_per_dim(nats, x).tolist() == pytest.approx([1, 1, 1])


def test_binarize():
    assert vae.binarize(torch.tensor([[-1.0, -0.1, 0.1, 1.0]])).tolist() == [[0, 0, 1, 1]]


# ---- the KL, reparameterisation ---------------------------------------------------------------------------------
def test_kl_1_of_each_coordinate_sums_to_the_gaussian_kl(generator):
    q = Gaussian(
        torch.randn(6, 3, generator=generator, dtype=F64), torch.rand(6, 3, generator=generator, dtype=F64) + 0.1
    )
    kl = vae.standard_kl(q)
    torch.testing.assert_close(kl.sum(1), q.kl(Gaussian(torch.zeros_like(q.mean), 1.0)), rtol=1e-12, atol=1e-13)
    assert vae.standard_kl(Gaussian(torch.zeros(1, 2, dtype=F64), 1.0)).abs().max() == 0


def test_vae_4_reparameterised_gradient_of_a_second_moment():
    """E[z²] = μ² + σ²: with the antithetic draws ±1 the estimate (2μ, 2σ) is exact."""
    mean, logvar = (torch.full((2,), v, dtype=F64, requires_grad=True) for v in (0.7, -0.4))
    z = vae.reparameterize(mean, logvar, torch.tensor([1.0, -1.0], dtype=F64))
    by_mean, by_logvar = torch.autograd.grad((z**2).mean(), (mean, logvar))
    sigma = math.exp(-0.2)
    assert by_mean.sum().item() == pytest.approx(2 * 0.7, rel=1e-12)
    assert by_logvar.sum().item() == pytest.approx(2 * sigma * sigma / 2, rel=1e-12)  # dσ/dlogvar = σ/2


def test_e_52_the_covariance_of_a_draw_is_diagonal_and_no_multiple_of_the_identity():
    """E-52: σ = (0.3, 2) gives diag(0.09, 4); exact with the four corners ±1 as noise."""
    corners = torch.cartesian_prod(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 1.0])).double()
    logvar = torch.tensor([0.09, 4.0], dtype=F64).log().expand(4, 2)
    z = vae.reparameterize(torch.zeros(4, 2, dtype=F64), logvar, corners)
    torch.testing.assert_close(z.T @ z / 4, torch.diag(torch.tensor([0.09, 4.0], dtype=F64)))


# ---- the objective ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_elbo_4_terms_agree_with_the_joint(likelihood, generator):
    """Reconstruction − KL and E_q[log p(x, z) − log q(z | x)] are two estimates of one number."""
    model = small(likelihood)
    x = images(3, likelihood, generator)
    with torch.no_grad():
        terms = model.terms(x, samples=4000, generator=generator)
        found = elbo(model.log_joint, model.encode, x, 4000, generator)
    # the closed-form KL has no error and the reconstructions vary less than the log weights: 2 errors cover both
    assert ((terms.elbo - found.value).abs() < 5 * 2**0.5 * found.error).all()
    assert (terms.kl >= 0).all() and terms.kl.shape == (3, 2)


def test_vae_3_the_mean_over_draws_does_not_depend_on_their_number(generator):
    """E-07: without 1/L the reconstruction would grow L-fold; its variance falls like 1/L."""
    model, x = small(), images(1, "gaussian", generator)
    with torch.no_grad():
        one = model.terms(x.expand(4000, 1, 4, 4), samples=1, generator=generator).reconstruction
        ten = model.terms(x.expand(4000, 1, 4, 4), samples=10, generator=generator).reconstruction
    assert abs(one.mean() - ten.mean()) < 5 * math.sqrt((one.var() + ten.var()) / 4000)
    # a ratio of two sample variances of 4000: relative error about √(2·2/4000) = 3 % for Gaussian tails; 6 of these
    assert (one.var() / ten.var() / 10).item() == pytest.approx(1, abs=0.2)


def test_the_iwae_bound_of_a_vae_lies_above_its_elbo(generator):
    model, x = small("bernoulli"), images(5, "bernoulli", generator)
    with torch.no_grad():
        low, high = (iwae(model.log_joint, model.encode, x, K, 4000 // K, generator) for K in (1, 20))
    assert (high.value > low.value).all()


def test_objective_beta_and_free_bits():
    kl = torch.tensor([[0.1, 3.0], [0.3, 5.0]], dtype=F64)
    terms = vae.Terms(torch.tensor([-10.0, -20.0], dtype=F64), kl)
    assert terms.elbo.tolist() == pytest.approx([-13.1, -25.3])
    assert vae.objective(terms).item() == pytest.approx(15 + 0.2 + 4)
    assert vae.objective(terms, beta=2).item() == pytest.approx(15 + 2 * 4.2)
    assert vae.objective(terms, free_bits=0.5).item() == pytest.approx(15 + 0.5 + 4)  # the first coordinate is free
    for wrong in ({"beta": -1}, {"free_bits": -0.1}):
        with pytest.raises(ValueError, match="negative"):
            vae.objective(terms, **wrong)


def test_free_bits_leave_a_cheap_coordinate_alone():
    kl = torch.tensor([[0.1, 3.0]], dtype=F64, requires_grad=True)
    vae.objective(vae.Terms(torch.zeros(1, dtype=F64), kl), free_bits=0.5).backward()
    assert kl.grad.tolist() == [[0, 1]]


def test_warm_up():
    assert [vae.warm_up(s, 4) for s in (0, 1, 4, 9)] == [0, 0.25, 1, 1] and vae.warm_up(0, 0) == 1


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
@pytest.mark.parametrize("make", [vae.mlp_vae, vae.conv_vae])
def test_every_parameter_gets_a_finite_gradient(likelihood, make, generator):
    """Among them a learned decoder variance; pixels at both ends of the range included."""
    torch.manual_seed(0)
    model = make((1, 8, 8), 2, likelihood=likelihood)
    x = images(3, likelihood, generator, (1, 8, 8)).float()
    x[0, 0, 0, :2] = torch.tensor([0.0, 1.0]) if likelihood == "bernoulli" else torch.tensor([-1.0, 1.0])
    vae.objective(model.terms(x, generator=generator)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_a_fixed_variance_stays(generator):
    model = small(variance=0.25)
    assert (
        model.likelihood.log_variance.exp().item() == pytest.approx(0.25)
        and not model.likelihood.log_variance.requires_grad
    )
    assert model.decode(torch.zeros(1, 2, dtype=F64)).var.item() == pytest.approx(0.25)


# ---- conditional ------------------------------------------------------------------------------------------------
def test_a_conditional_model_depends_on_its_label(generator):
    model, x = small("bernoulli", classes=3), images(2, "bernoulli", generator)
    y0, y1 = torch.tensor([0, 0]), torch.tensor([1, 2])
    assert (model.encode(x, y0).mean != model.encode(x, y1).mean).any(1).all()
    z = torch.zeros(2, 2, dtype=F64)
    assert (model.decode(z, y0).logits != model.decode(z, y1).logits).flatten(1).any(1).all()
    assert model.sample(2, generator, y1).shape == (2, 1, 4, 4)
    alone = model.terms(x[:1], y1[:1], generator=torch.Generator().manual_seed(0))
    both = model.terms(x, y1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(alone.kl, both.kl[:1], rtol=1e-12, atol=1e-12)  # batch = loop


# ---- what goes wrong --------------------------------------------------------------------------------------------
def test_collapse_and_active_units(generator):
    q = Gaussian(torch.stack([torch.randn(500, generator=generator), torch.full((500,), 0.3)], 1), torch.ones(500, 2))
    assert vae.active_units(q).tolist() == [True, False]


def test_vae_5_rate_decomposition_of_gaussian_codes(generator):
    """z | x ~ N(a x, v) with x ~ N(0, 1): q(z) = N(0, a² + v), I = ½ log(1 + a²/v), both parts in closed form."""
    a, v, n = 0.8, 0.5, 4000
    x = torch.randn(n, 1, generator=generator, dtype=F64)
    found = vae.rate_decomposition(Gaussian(a * x, torch.full((n, 1), v, dtype=F64)), generator)
    information, total = 0.5 * math.log(1 + a * a / v), a * a + v
    marginal = 0.5 * (total - 1 - math.log(total))
    # 4000 draws of spread about 1, and a finite mixture for q(z): 0.05 is three standard errors and more
    assert found.information == pytest.approx(information, abs=0.05)
    assert found.marginal_kl == pytest.approx(marginal, abs=0.05)
    assert found.rate == pytest.approx(found.information + found.marginal_kl, abs=1e-12)


def test_information_cannot_exceed_log_n(generator):
    """E-50, seen from the other side: codes that never overlap tell x apart, which takes log N nats and no more."""
    q = Gaussian(torch.arange(50.0, dtype=F64)[:, None] * 100, torch.full((50, 1), 1e-4, dtype=F64))
    assert vae.rate_decomposition(q, generator).information == pytest.approx(math.log(50), abs=1e-9)
    collapsed = Gaussian(torch.zeros(50, 1, dtype=F64), torch.ones(50, 1, dtype=F64))
    assert vae.rate_decomposition(collapsed, generator).information == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("logvar, share", [(-150.0, 1.0), (-1.0, None), (1.3, None), (150.0, 0.0)])
def test_information_of_codes_given_by_their_log_variance(logvar, share):
    """Laws that never overlap carry log N, the same law nothing; between them it is that of the variance."""
    means, again = torch.arange(-2.0, 3.0, dtype=F64)[:, None].expand(5, 2), lambda: torch.Generator().manual_seed(3)
    ordinary = torch.zeros(5, 1, dtype=F64)  # the same for all x, so it adds nothing
    law = Gaussian.from_logvar(means * torch.tensor([1, 0]), torch.cat([ordinary + logvar, ordinary], 1))
    found = vae.rate_decomposition(law, again())
    if share is not None:  # terms of 150 twice over, in float64
        assert found.information == pytest.approx(share * math.log(5), abs=1e-12)
    else:
        same = vae.rate_decomposition(Gaussian(law.mean, law.var), again())
        assert found.information == pytest.approx(same.information, rel=1e-12)
        assert found.rate == pytest.approx(same.rate, rel=1e-12)


# ---- the optimum ------------------------------------------------------------------------------------------------
def test_vae_2_a_linear_vae_reaches_the_likelihood_of_probabilistic_pca(generator):
    """Within 1e-3 nats per dimension of the maximum, by gradient ascent on the bound alone, q independent."""
    D, d, n = 6, 2, 500
    truth = LinearGaussian(torch.randn(D, d, generator=generator), torch.randn(D, generator=generator), 0.2)
    x, _ = truth.sample(n, generator)
    best = LinearGaussian.fit(x, d)
    torch.manual_seed(0)
    model = vae.mlp_vae((D,), d, (), likelihood="gaussian").double()

    def loss(model, x, generator, step):
        """−ELBO with E_q in closed form: a linear decoder makes it LinearGaussian's."""
        layer = model.decoder.head[0][0]
        q, s2 = model.encode(x), model.likelihood.log_variance.exp()
        offset = (x - layer(q.mean)).square().sum(1) + (layer.weight.square().sum(0) * q.var).sum(1)
        reconstruction = -0.5 * (offset / s2 + D * (s2.log() + math.log(2 * math.pi)))
        return -(reconstruction - vae.standard_kl(q).sum(1)).mean()

    for lr in (0.03, 0.003):
        fit(model, loss, x, steps=600, batch_size=n, lr=lr, progress=False)
    layer = model.decoder.head[0][0]
    learned = LinearGaussian(layer.weight.detach(), layer.bias.detach(), model.likelihood.log_variance.exp().item())
    bound = -loss(model, x, None, 0).item()
    reached, optimum = learned.log_prob(x).mean().item(), best.log_prob(x).mean().item()
    assert bound <= reached <= optimum + 1e-9
    assert (optimum - bound) / D < 1e-3
    sampled = model.terms(x, samples=20, generator=generator).elbo  # the sampled bound is the same number
    assert abs(sampled.mean().item() - bound) < 5 * (sampled - sampled.mean()).std().item() / math.sqrt(n)


# ---- bad input --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "likelihood, x, words",
    [
        ("bernoulli", torch.zeros(0, 1, 4, 4), "at least one example"),
        ("bernoulli", torch.full((2, 1, 4, 4), math.nan), "NaN or infinite"),
        ("gaussian", torch.full((2, 1, 4, 4), math.inf), "NaN or infinite"),
        ("bernoulli", torch.full((2, 1, 4, 4), -1.0), "0 or 1.*binarize"),
        ("discretized", torch.full((2, 1, 4, 4), 255.0), r"\[-1, 1\], got values in \[255, 255\]"),
    ],
)
def test_bad_pixels_stop_before_the_first_step(likelihood, x, words):
    model = vae.mlp_vae((1, 4, 4), 2, (8,), likelihood=likelihood)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=words):
        model.terms(x)
    words = words if len(x) else "at least 1"
    with pytest.raises(ValueError, match=words):
        fit(model, lambda m, b, g, s: vae.objective(m.terms(b, generator=g)), x, steps=1, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    "classes, y, words",
    [
        (3, torch.tensor([0, 3]), "labels 0..2, got .* from 0 to 3"),
        (3, torch.tensor([-1, 2]), "labels 0..2"),
        (3, torch.tensor([0.0, 1.0]), "whole labels"),
        (3, torch.tensor([0]), "expected 2"),
        (3, None, "takes labels 0..2, got y = None"),
        (0, torch.tensor([0, 1]), "takes no labels"),
    ],
)
def test_bad_labels(classes, y, words):
    with pytest.raises(ValueError, match=words):
        small("bernoulli", classes=classes).terms(torch.zeros(2, 1, 4, 4, dtype=F64), y)


def test_bad_labels_stop_a_training_before_its_first_step():
    model = small("bernoulli", classes=3)
    data = (torch.zeros(4, 1, 4, 4, dtype=F64), torch.tensor([0, 1, 2, 3]))
    steps = []
    with pytest.raises(ValueError, match="labels 0..2"):
        fit(model, lambda m, b, g, s: steps.append(s) or vae.objective(m.terms(*b)), data, steps=3, progress=False)
    assert steps == []


def test_unknown_options():
    with pytest.raises(ValueError, match="unknown likelihood 'poisson'; known: bernoulli, gaussian, discretized"):
        vae.mlp_vae((2,), 1, likelihood="poisson")
    with pytest.raises(ValueError, match="variance"):
        vae.mlp_vae((2,), 1, likelihood="bernoulli", variance=1.0)
    with pytest.raises(ValueError, match="variance"):
        vae.mlp_vae((2,), 1, likelihood="gaussian", variance=0.0)
    with pytest.raises(ValueError, match="divisible by 4, got 30 x 28"):
        vae.conv_vae((1, 30, 28), 2)


def test_draws_of_pixels_and_of_codes_follow_their_generator():
    again = lambda: torch.Generator().manual_seed(2)  # noqa: E731
    law = vae.Bernoulli(torch.tensor([[-1.0, 0.0, 2.0]] * 20, dtype=F64))
    u = torch.rand(20, 3, generator=again(), dtype=F64)
    assert torch.equal(law.sample(again()), (u < torch.tensor([-1.0, 0.0, 2.0]).double().sigmoid()).double())
    q = Gaussian(torch.linspace(-1, 1, 30, dtype=F64)[:, None], 0.1)
    assert vae.rate_decomposition(q, again()) == vae.rate_decomposition(q, again())
    assert vae.rate_decomposition(q, again(), chunk=7).information == pytest.approx(
        vae.rate_decomposition(q, again()).information, rel=1e-12
    )


def test_the_range_of_bad_pixels_is_named_low_to_high():
    with pytest.raises(ValueError, match=r"0 or 1, got values in \[-0.5, 2\]"):
        vae.Likelihood("bernoulli").validate(torch.tensor([-0.5, 2.0]))
    with pytest.raises(ValueError, match=r"in \[-1, 1\], got values in \[-1, 1.5\]"):
        vae.Likelihood("discretized").validate(torch.tensor([-1.0, 1.5]))
    for side in (-1, 1):  # either end, with room for the rounding of pixels in float32
        vae.Likelihood("discretized").validate(side * torch.tensor([0.0, 1 + 9e-7], dtype=torch.float64))
        with pytest.raises(ValueError, match=r"in \[-1, 1\], got"):
            vae.Likelihood("discretized").validate(side * torch.tensor([0.0, 1 + 1.1e-6], dtype=torch.float64))


def test_a_convolutional_vae_of_pictures_that_are_no_squares():
    torch.manual_seed(0)
    model = vae.conv_vae((3, 8, 12), 2)
    x = torch.rand(2, 3, 8, 12).round()
    assert model.decode(model.encode(x).mean).mean.shape == x.shape
    widths = [layer.out_channels for layer in model.encoder.body if hasattr(layer, "out_channels")]
    assert widths == [32, 64] and model.encoder.head[0].in_features == 64 * 2 * 3
    assert model.encoder.head[0].out_features == 256  # 8 width


@pytest.mark.parametrize("make", [vae.mlp_vae, vae.conv_vae])
def test_a_vae_of_classes_hears_the_label_on_both_ways(make):
    torch.manual_seed(0)
    model, x = make((1, 4, 8), 2, classes=3), torch.rand(2, 1, 4, 8).round()
    a, b = (model.encode(x, torch.full((2,), y)) for y in (0, 2))
    assert a.mean.shape == (2, 2) and not torch.allclose(a.mean, b.mean)
    c, d = (model.decode(a.mean, torch.full((2,), y)).mean for y in (0, 2))
    assert c.shape == x.shape and not torch.allclose(c, d)
    for shape in ((1, 6, 8), (1, 8, 6)):
        with pytest.raises(ValueError, match=f"divisible by 4, got {shape[1]} x {shape[2]}"):
            vae.conv_vae(shape, 2)


# ---- log-variances far out ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("logvar", [-200.0, -110.0, -61.0, -59.0, 0.3, 59.0, 61.0, 90.0, 200.0])
def test_kl_1_a_log_variance_far_out_loses_nothing(logvar):
    """KL to N(0, 1) and between two, log-density and a draw, with their gradients, in float64 by the formulas."""
    out = torch.tensor([[0.5, logvar]], dtype=torch.float64, requires_grad=True)
    q, wide = vae.gaussian_from(out), Gaussian.from_logvar(*torch.tensor([[[1.5]], [[-logvar]]], dtype=torch.float64))
    kl = vae.standard_kl(q).sum()
    assert kl.item() == pytest.approx(0.5 * (0.25 + math.exp(logvar) - 1 - logvar), rel=1e-12)
    (slope,) = torch.autograd.grad(kl, out)
    assert slope[0].tolist() == pytest.approx([0.5, 0.5 * (math.exp(logvar) - 1)], rel=1e-12)
    both = q.kl(wide).item()
    assert both == pytest.approx(0.5 * (math.expm1(2 * logvar) - 2 * logvar + math.exp(logvar)), rel=1e-9)
    eps = torch.randn(1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).item()
    z = q.sample(torch.Generator().manual_seed(0))
    assert z.item() == pytest.approx(0.5 + math.exp(logvar / 2) * eps, rel=1e-12)
    assert torch.autograd.grad(z, out, retain_graph=True)[0][0, 1].item() == pytest.approx(
        0.5 * math.exp(logvar / 2) * eps, rel=1e-12
    )
    at = torch.tensor([[0.5 + 3 * math.exp(logvar / 2)]], dtype=torch.float64)
    d = at.item() - 0.5  # as it is rounded
    log_p = q.log_prob(at)
    want = -0.5 * (d**2 * math.exp(-logvar) + logvar + math.log(2 * math.pi))
    assert log_p.item() == pytest.approx(want, rel=1e-9)
    slopes = torch.autograd.grad(log_p.sum(), out)[0][0].tolist()
    assert slopes == pytest.approx([d * math.exp(-logvar), 0.5 * (d**2 * math.exp(-logvar) - 1)], rel=1e-9)


@pytest.mark.parametrize("logvar", [-200.0, -110.0, 80.0])
def test_in_float32_too_and_a_vae_trains_from_there(logvar):
    out = torch.tensor([[0.5, logvar]], requires_grad=True)
    q = vae.gaussian_from(out)
    kl = vae.standard_kl(q).sum() - q.log_prob(q.sample(torch.Generator().manual_seed(0))).sum()
    (slope,) = torch.autograd.grad(kl, out)
    assert torch.isfinite(kl) and torch.isfinite(slope).all()
    assert vae.standard_kl(q).item() == pytest.approx(0.5 * (0.25 + math.exp(logvar) - 1 - logvar), rel=1e-5)
    both = Gaussian.from_logvar(torch.zeros(2, 3), torch.tensor([[logvar, 0.0, 1.0]] * 2))
    assert torch.isfinite(vae.rate_decomposition(both, torch.Generator().manual_seed(0)).rate * torch.ones(()))
    for law in (both.rows([1]), both.repeat(2), both.detach()):
        assert torch.equal(vae.standard_kl(law)[0], vae.standard_kl(both)[0])
    model = vae.mlp_vae((4,), 2, hidden=(8,), likelihood="gaussian", variance=1.0)
    with torch.no_grad():
        model.encoder.head[-1].bias[2:] = min(logvar, 5.0)
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    loss = -model.terms(x, generator=torch.Generator().manual_seed(2)).elbo.mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_log_variance_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="1 of 2 log-variances are NaN"):
        Gaussian.from_logvar(torch.zeros(1, 2), torch.tensor([[0.0, math.nan]]))


def test_vae_4_a_draw_is_mean_plus_std_times_eps():
    mean, logvar, eps = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, math.log(9)]]), torch.tensor([[0.5, -1.0]])
    torch.testing.assert_close(vae.reparameterize(mean, logvar, eps), torch.tensor([[1.5, -5.0]]))
    with pytest.raises(ValueError, match=r"mean \(1, 2\), logvar \(1, 1\)"):
        vae.reparameterize(mean, logvar[:, :1], eps)


def test_a_unit_is_active_above_a_hundredth():
    """Variances over two examples m ± d are 2 d²: 0.0098 and 0.0102 lie on both sides of the threshold."""
    means = torch.tensor([0.07, 0.0715, 1.0], dtype=F64)
    q = Gaussian(torch.stack([means, -means]) + 5, 1.0)
    assert vae.active_units(q).tolist() == [False, True, True]
    assert vae.active_units(q, 0.0101).tolist() == [False, True, True]
    assert vae.active_units(q, 1.5).tolist() == [False, False, True]
