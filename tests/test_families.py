"""The toy families against closed forms: sums and integrals to 1, Jacobians, fixed points."""

import itertools
import math

import pytest
import torch
from helpers import seeded
from torch import nn

from dlgm import families, metrics, oracles, vae
from dlgm.families import EBM, GAN, Coupling, MaskedAR, MixtureAR, RealNVP
from dlgm.gaussian import MultivariateGaussian
from dlgm.nets import inspect
from dlgm.oracles import GaussianMixture

F64 = torch.float64


def bits(d):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=d)), dtype=F64)


def spread(estimate):
    return abs(estimate.value.item()) / estimate.error.item()


# ---- GEN-1: Bayes' rule ---------------------------------------------------------------------------------------------
def test_bayes_from_class_densities_is_the_posterior_of_the_mixture(generator):
    """GEN-1: responsibilities of a mixture, by its own softmax and by class densities and priors."""
    means = torch.randn(4, 3, generator=generator, dtype=F64)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=F64)
    covs = 0.2 + torch.rand(4, 3, generator=generator, dtype=F64)
    x = 2 * torch.randn(50, 3, generator=generator, dtype=F64)
    classes = [GaussianMixture([1.0], means[k : k + 1], covs[k : k + 1]) for k in range(4)]
    ours = oracles.bayes(torch.stack([c.log_prob(x) for c in classes], 1), weights)
    whole = GaussianMixture(weights, means, covs).log_prob(x)
    for k in range(4):
        expected = weights[k].log() + classes[k].log_prob(x) - whole
        torch.testing.assert_close(ours[:, k], expected, rtol=0, atol=1e-12)  # a few roundings of numbers near 50


def test_bayes_far_from_all_classes_and_bad_shapes():
    far = torch.tensor([[-9000.0, -9001.0]], dtype=F64)
    p = oracles.bayes(far, torch.tensor([0.5, 0.5], dtype=F64)).exp()
    assert p[0, 0].item() == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-12)
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(3,\)"):
        oracles.bayes(far, torch.ones(3))


def test_class_densities_recover_styles_and_classify(generator):
    """Two classes of two well separated styles each: p(x | y) finds them, p(x | y, z) stays at one of them."""
    centres = torch.tensor([[[-6.0, 0.0], [6.0, 0.0]], [[0.0, -6.0], [0.0, 6.0]]])
    y, z = (torch.randint(2, (400,), generator=generator) for _ in range(2))
    x = centres[y, z] + 0.3 * torch.randn(400, 2, generator=generator)
    model = oracles.ClassDensities(x, y, styles=2, ridge=0.0, generator=generator)
    assert (model.posterior(x).argmax(1) == y).all()
    torch.testing.assert_close(model.prior, torch.bincount(y).double() / 400)
    found = model.mixtures[0].means
    found = found[found[:, 0].argsort()]
    torch.testing.assert_close(found, centres[0].double(), rtol=0, atol=0.15)  # means of about 100 draws: 5 × 0.03
    one = model.sample(500, 1, generator, style=0)
    assert one[:, 1].sign().unique().numel() == 1  # 6 is twenty standard deviations
    assert model.sample(500, 1, generator)[:, 1].sign().unique().numel() == 2
    assert model.log_prob(x).shape == (400, 2)


# ---- GEN-3: autoregressive ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("d", [1, 2, 5, 8])
def test_probabilities_of_all_bit_vectors_sum_to_one(d):
    model = seeded(lambda: MaskedAR(d, hidden=(20, 13)))
    assert model.log_prob(bits(d)).logsumexp(0).item() == pytest.approx(0, abs=1e-12)  # rounding of 2^8 terms


@pytest.mark.parametrize("outputs", [1, 3])
def test_output_i_depends_on_earlier_inputs_and_on_no_others(generator, outputs):
    net = seeded(lambda: families.MaskedNet(6, outputs, hidden=(30, 30)))
    x = torch.randn(6, generator=generator, dtype=F64)
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], x)  # (6, outputs, 6)
    later = torch.triu(torch.ones(6, 6, dtype=torch.bool))[:, None, :].expand(6, outputs, 6)
    assert (jacobian[later] == 0).all()
    assert (jacobian[~later] != 0).all()


def test_bits_are_drawn_from_the_model_in_d_passes(generator):
    model = seeded(lambda: MaskedAR(3, hidden=(16,)))
    drawn = {}
    assert inspect.count_passes(model, lambda: drawn.update(x=model.sample(40_000, generator))) == 3
    index = (drawn["x"] @ torch.tensor([4.0, 2.0, 1.0], dtype=F64)).long()
    p = model.log_prob(bits(3)).exp().detach()
    z = (torch.bincount(index, minlength=8) - 40_000 * p) / (40_000 * p * (1 - p)).sqrt()
    assert z.abs().max() < 5  # eight z-scores: beyond 5 by chance once in 200,000


def test_mixture_conditionals_integrate_to_one_and_sampling_follows_them(generator):
    model = seeded(lambda: MixtureAR(2, components=3, hidden=(16, 16)), gain=1.0)
    square = metrics.grid(extent=40.0, n=1601, dtype=F64)
    with torch.no_grad():
        log_p = torch.cat([model.log_prob(part) for part in square.points.split(200_000)])
    # spacing 0.05 against standard deviations of e^-1 and more: quadrature exact, tails beyond 40 are what is left
    assert square.log_integral(log_p).item() == pytest.approx(0, abs=1e-5)
    first = (log_p.exp()[:, None] * square.points).sum(0) * square.cell
    drawn = model.sample(20_000, generator)
    z = (drawn.mean(0) - first) / (drawn.std(0) / math.sqrt(20_000))
    assert z.abs().max() < 5


# ---- GEN-4: flow ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("d", [2, 3, 5])
def test_flow_round_trip_and_log_determinant(generator, d):
    flow = seeded(lambda: RealNVP(d, layers=4, hidden=(16,)))
    x = torch.randn(7, d, generator=generator, dtype=F64)
    z, log_det = flow(x)
    torch.testing.assert_close(flow.inverse(z), x, rtol=0, atol=1e-9)  # couplings scale by up to e^2 each, both ways
    for i in range(7):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0][0], x[i])
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(log_det[i], expected, rtol=1e-9, atol=1e-9)
    base = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(flow.log_prob(x), base + log_det)


def test_flow_density_integrates_to_one():
    flow = seeded(lambda: RealNVP(2, layers=3, hidden=(16,)), gain=1.0)
    square = metrics.grid(extent=30.0, n=1501, dtype=F64)
    with torch.no_grad():
        log_p = torch.cat([flow.log_prob(part) for part in square.points.split(300_000)])
    assert square.log_integral(log_p).item() == pytest.approx(0, abs=2e-3)  # spacing 0.04; densities have sharp ridges


def test_one_coupling_against_its_formula(generator):
    coupling = seeded(lambda: Coupling(3, hidden=(8,)))
    x = torch.randn(4, 3, generator=generator, dtype=F64)
    z, log_det = coupling(x)
    shift, raw = coupling.net(x[:, :1]).chunk(2, 1)
    s = 2 * torch.tanh(raw / 2)
    torch.testing.assert_close(z, torch.cat([x[:, :1], (x[:, 1:] - shift) / s.exp()], 1))
    torch.testing.assert_close(log_det, -s.sum(1))
    with pytest.raises(ValueError, match="two coordinates"):
        RealNVP(1)


# ---- GEN-5: GAN -----------------------------------------------------------------------------------------------------
def test_the_best_discriminator_and_the_value_at_equality(generator):
    """GEN-5: no other D has a larger value than D*; it is −log 4 at p_g = p and −log 4 + 2 JS elsewhere."""
    p, p_g = (torch.rand(6, generator=generator, dtype=F64).softmax(0) for _ in range(2))
    best = families.optimal_discriminator(p, p_g)
    value = families.gan_value(p, p_g, best)
    for _ in range(50):
        other = torch.rand(6, generator=generator, dtype=F64)
        assert families.gan_value(p, p_g, other) < value
    m = (p + p_g) / 2
    js = 0.5 * ((p * (p / m).log()).sum() + (p_g * (p_g / m).log()).sum())
    assert (value + math.log(4) - 2 * js).abs() < 1e-14
    equal = families.gan_value(p, p, families.optimal_discriminator(p, p)).item()
    assert equal == pytest.approx(-math.log(4), rel=1e-14)
    apart = torch.tensor([1.0, 0.0], dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)
    assert families.gan_value(*apart, families.optimal_discriminator(*apart)) == 0  # 0 log 0 counts as 0


def test_gan_losses_from_logits(generator):
    real, fake = (3 * torch.randn(9, generator=generator, dtype=F64) for _ in range(2))
    loss_d, loss_g = families.gan_losses(real, fake)
    D_real, D_fake = real.sigmoid(), fake.sigmoid()
    torch.testing.assert_close(loss_d, -(D_real.log().mean() + (1 - D_fake).log().mean()))
    torch.testing.assert_close(loss_g, -D_fake.log().mean())
    assert all(v.isfinite() for v in families.gan_losses(torch.tensor([-800.0]), torch.tensor([800.0])))


def test_each_player_gets_the_gradient_of_its_own_loss(generator):
    model, x = seeded(lambda: GAN(hidden=(8,))), torch.randn(32, 2, generator=generator, dtype=F64)
    model.loss(x, torch.Generator().manual_seed(1)).backward()
    fake = model.generator(torch.randn(32, 2, generator=torch.Generator().manual_seed(1), dtype=F64))
    loss_d, loss_g = families.gan_losses(model.discriminator(x)[:, 0], model.discriminator(fake)[:, 0])
    for player, loss in ((model.generator, loss_g), (model.discriminator, loss_d)):
        parameters = list(player.parameters())
        for parameter, expected in zip(
            parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(parameter.grad, expected)


# ---- GEN-6: energies ------------------------------------------------------------------------------------------------
class QuadraticEnergy(nn.Module):
    def __init__(self, mean, precision):
        super().__init__()
        self.mean, self.precision = mean, precision

    def forward(self, x):
        return 0.5 * ((x - self.mean) @ self.precision * (x - self.mean)).sum(1)


MEAN, PRECISION = torch.tensor([0.4, -0.3], dtype=F64), torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=F64)


def test_gaussian_energy_score_normaliser_and_langevin_moments(generator):
    """GEN-6: score −Λ(x − m), Z = 2π/√det Λ, and the walk's law, which for step h has covariance Λ⁻¹(I − hΛ/2)⁻¹."""
    model = EBM(QuadraticEnergy(MEAN, PRECISION))
    x = torch.randn(20, 2, generator=generator, dtype=F64)
    torch.testing.assert_close(model.score(x), -(x - MEAN) @ PRECISION)
    square = metrics.grid(extent=12.0, n=241, dtype=F64)
    log_z = math.log(2 * math.pi) - 0.5 * torch.logdet(PRECISION)
    # the trapezoid rule on a Gaussian is exact to rounding at spacing 0.1
    torch.testing.assert_close(square.log_integral(model.log_unnormalised(square.points)), log_z, rtol=1e-10, atol=0)
    h, n = 0.1, 20_000
    walk = model.langevin(torch.zeros(n, 2, dtype=F64), 300, h, generator)  # slowest mode: (1 − 0.07)^300 < 1e-9
    cov = torch.linalg.inv(PRECISION @ (torch.eye(2, dtype=F64) - h * PRECISION / 2))
    assert ((walk.mean(0) - MEAN) / (cov.diagonal() / n).sqrt()).abs().max() < 5
    seen = torch.cov(walk.T)
    error = ((cov**2 + torch.outer(cov.diagonal(), cov.diagonal())) / n).sqrt()  # of a sample covariance
    assert ((seen - cov) / error).abs().max() < 5


def test_the_energys_loss_is_the_exact_negative_log_likelihood(generator):
    square = metrics.grid(extent=12.0, n=241, dtype=F64)
    x = torch.randn(30, 2, generator=generator, dtype=F64)
    exact = MultivariateGaussian(MEAN.expand(30, 2), torch.linalg.inv(PRECISION)).log_prob(x).mean()
    torch.testing.assert_close(EBM(QuadraticEnergy(MEAN, PRECISION), square).loss(x), -exact, rtol=1e-9, atol=0)


# ---- GEN-2: measuring -----------------------------------------------------------------------------------------------
def test_grid_and_its_integral():
    square = metrics.grid(extent=8.0, n=161, dtype=F64)
    assert square.points[1, 0] > square.points[0, 0] and square.points[1, 1] == square.points[0, 1]
    x = square.points
    log_f = oracles.ring().log_prob(x) + x[:, 0].clamp(min=1e-300).log()  # E[max(x_1, 0)] of the ring
    half = x[:, 0] > 0
    direct = (oracles.ring().log_prob(x).exp() * x[:, 0])[half].sum() * square.cell
    torch.testing.assert_close(square.log_integral(log_f).exp(), direct)
    assert square.log_integral(oracles.ring().log_prob(x)).item() == pytest.approx(0, abs=1e-9)


def test_energy_distance_of_shifted_gaussians_and_of_one_law(generator):
    """In one dimension E|N(m, s²)| is known: s√(2/π) e^{−m²/2s²} + m erf(m/(s√2))."""
    m, s = 0.7, math.sqrt(2)
    across = s * math.sqrt(2 / math.pi) * math.exp(-(m**2) / (2 * s**2)) + m * math.erf(m / (s * math.sqrt(2)))
    exact = 2 * across - 2 * s * math.sqrt(2 / math.pi)
    x, y = (torch.randn(8000, 1, generator=generator) for _ in range(2))
    far = metrics.energy_distance(x + m, y)
    assert abs(far.value.item() - exact) / far.error.item() < 5
    assert spread(metrics.energy_distance(x, y)) < 5
    with pytest.raises(ValueError, match="cannot be cut"):
        metrics.energy_distance(x[:30], y[:30])
    with pytest.raises(ValueError, match="expected one shape"):
        metrics.energy_distance(x[:40], y[:50])


def test_modes_counts_shares_and_strays():
    truth = oracles.ring(modes=4, radius=2.0, std=0.1)
    x = torch.cat([truth.means[0].expand(5, 2), truth.means[2].expand(3, 2), torch.zeros(2, 2, dtype=F64)])
    share, stray = metrics.modes(x, truth)
    assert share.tolist() == pytest.approx([0.5, 0, 0.3, 0]) and stray == pytest.approx(0.2)
    torch.testing.assert_close(truth.weights, torch.tensor([1, 2, 1, 2], dtype=F64) / 6)


def test_reports_say_what_each_family_offers(generator):
    """GEN-2, M-36: untrained toys are enough to see which have a density, how often they call their network."""
    torch.manual_seed(0)
    models, truth, square = families.toys(metrics.grid(n=9)), oracles.ring(), metrics.grid(n=33)
    models["energy-based"].steps = 7
    rows = [families.report(n, m, truth, square, 1.0, 200, generator) for n, m in models.items()]
    assert {r.name: r.passes for r in rows} == {
        "autoregressive": 2, "flow": 1, "GAN": 1, "energy-based": 7, "VAE": 1, "diffusion": 100,
    }  # fmt: skip
    assert [r.density for r in rows] == ["exact", "exact", "none", "up to Z", "a bound", "a bound"]
    assert all((r.gap is None) == (r.density == "none") for r in rows)
    text = families.table(rows)
    assert text.count("\n") == 6 and all(n in text for n in models) and len(text.splitlines()[0]) <= 83
    assert set(families.RECIPES) == set(models)
    for model in models.values():
        value = families.batch_loss(model, truth.sample(16, generator), generator, 0)
        value.backward()
        assert value.isfinite() and any(p.grad is not None for p in model.parameters())


def test_the_diffusion_bound_of_the_exact_denoiser_stays_below_log_p(generator):
    """With E[x_0 | x_t] in place of the network the bound is tight up to the length of the steps."""
    truth = oracles.ring()
    model = families.Diffusion(T=400)
    del model.denoiser
    model.denoiser = truth.denoiser(model.schedule)
    x = truth.sample(2000, generator).double()
    gap = truth.log_prob(x) - model.bound(x, generator)
    error = gap.std().item() / math.sqrt(2000)
    assert gap.mean().item() > -3 * error
    assert gap.mean().item() < 0.25 + 5 * error  # Δλ = 14/400: at most 400 Δλ²/2 nats where noise dominates


def test_the_vae_toys_bound_is_that_of_its_model(generator):
    model = families.PlaneVAE().double()
    x = torch.randn(5, 2, generator=generator, dtype=F64)
    ours = model.bound(x, torch.Generator().manual_seed(2), samples=4)
    torch.testing.assert_close(ours, model.model.terms(x, samples=4, generator=torch.Generator().manual_seed(2)).elbo)
    torch.testing.assert_close(
        model.loss(x, torch.Generator().manual_seed(2)),
        vae.objective(model.model.terms(x, generator=torch.Generator().manual_seed(2))),
    )
