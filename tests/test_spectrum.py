"""Diagonal Gaussian data: exact laws of walks against closed forms and against sampling, and the price of a step."""

import math

import pytest
import torch

from dlgm.metrics import frechet_gaussians
from dlgm.oracles import GaussianMixture, Spectrum
from dlgm.process import posterior_coefficients
from dlgm.samplers import DDIM, DDPM, AnnealedLangevin, Langevin, Rule, sample
from dlgm.schedules import VE, DiscreteSchedule, Rescaled, VPCosine, VPLinear, cosine_beta, linear_beta, time_grid
from dlgm.vlb import gaussian_vlb

F64 = torch.float64
CHAIN = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])
THREE = Spectrum([4.0, 1.0, 0.04], [0.5, 0.0, -1.0])


def test_it_is_the_mixture_of_one_component(generator):
    world = GaussianMixture([1.0], THREE.mean[None], THREE.variances[None])
    x = torch.randn(5, 3, generator=generator, dtype=F64)
    torch.testing.assert_close(THREE.log_prob(x), world.log_prob(x))
    for schedule, t in ((CHAIN, 3), (VPLinear(), 0.4), (VE(0.1, 9.0), 0.7)):
        torch.testing.assert_close(THREE.denoiser(schedule)(x, t).x0, world.denoiser(schedule)(x, t).x0)
        law = THREE.marginal(schedule, t)
        torch.testing.assert_close(law.log_prob(x[:1]), world.diffuse(schedule, t).log_prob(x[:1]))
    drawn, n = THREE.sample(40_000, generator), 40_000
    assert (abs(drawn.mean(0) - THREE.mean) < 5 * (THREE.variances / n).sqrt()).all()
    assert (abs(drawn.var(0) / THREE.variances - 1) < 5 * math.sqrt(2 / n)).all()


@pytest.mark.parametrize(
    "sampler, schedule, times",
    [
        (DDPM(), CHAIN, [4, 3, 2, 1, 0]),
        (DDPM("beta"), linear_beta(100), [100, 60, 20, 5, 0]),
        (DDIM(), VPLinear(), [1.0, 0.5, 0.2, 0.0]),
        (DDIM(0.6), cosine_beta(50), [50, 30, 10, 0]),
        (AnnealedLangevin(0.3, moves=2), VE(0.1, 9.0), [1.0, 0.6, 0.3, 0.0]),
        (Langevin(0.01, moves=3), Rescaled(linear_beta(100), "ve"), [40, 20, 5]),
    ],
)
def test_the_law_of_a_walk_is_that_of_samples(sampler, schedule, times, generator):
    """Mean and variance of 10⁶ walks are within five standard errors of the exact ones, in each coordinate."""
    n, law = 1_000_000, THREE.walk(sampler, schedule, times)
    x = schedule.start((n, 3), generator, F64)
    x = sample(THREE.denoiser(schedule), sampler, x, times, generator)
    mean, var = law.mean[0], law.var[0]
    assert (abs(x.mean(0) - mean) < 5 * (var / n).sqrt()).all()
    assert (abs(x.var(0) - var) < 5 * var * math.sqrt(2 / n)).all()


def test_ddim_6_every_deterministic_step_shrinks_the_spread_by_a_cosine():
    """DDIM-6, DDIM-8: with θ = arctan(noise/(signal √v)) the standard deviation over √m_t falls by cos(θ_t − θ_s)."""
    times = [1.0, 0.7, 0.35, 0.1, 0.0]
    for schedule in (VPLinear(), VPCosine(), VE(0.05, 12.0)):
        std = (THREE.walk(DDIM(), schedule, times).var[0] / THREE.marginal(schedule, times[-1]).var[0]).sqrt()
        signal, noise = (torch.tensor([f(t) for t in times], dtype=F64) for f in (schedule.signal, schedule.noise))
        angle = torch.atan2(noise[:, None], signal[:, None] * THREE.variances.sqrt())
        start = schedule.start_std / THREE.marginal(schedule, 1.0).var[0].sqrt()
        torch.testing.assert_close(std, start * torch.cos(angle.diff(dim=0)).prod(0))


@pytest.mark.parametrize("N", [1, 2, 4, 10, 50])
def test_n_equal_angles_leave_the_nth_power_of_a_cosine(N):
    """For data of variance 1 the cosine schedule's angle is πt/2: std cos(π/2N)^N. One step gives the mean."""
    world = Spectrum([1.0], 0.3)
    law = world.walk(DDIM(), VPCosine(), time_grid(VPCosine(), N))
    assert law.var.sqrt().item() == pytest.approx(math.cos(math.pi / 2 / N) ** N, abs=1e-12)
    assert law.mean.item() == pytest.approx(0.3)


def test_two_walks_that_are_known_to_be_exact():
    """β is right for variance 1, at any grid (POST-6); and DDIM of η = 1 is DDPM."""
    one = Spectrum([1.0, 1.0])
    for times in ([4, 2, 0], [4, 3, 2, 1, 0]):
        assert (one.walk(DDPM("beta"), CHAIN, times[:-1]).var - 1).abs().max() < 1e-12
        a, b = THREE.walk(DDPM(), CHAIN, times), THREE.walk(DDIM(1.0), CHAIN, times)
        torch.testing.assert_close(a.mean, b.mean)
        torch.testing.assert_close(a.var, b.var)
    point = Spectrum([0.0], 0.7).walk(DDPM(), CHAIN, [4, 3, 2, 1, 0])
    assert point.mean.item() == pytest.approx(0.7) and point.var.item() < 1e-24


def test_num_2_the_distance_is_frechets():
    law = THREE.walk(DDIM(), linear_beta(), time_grid(linear_beta(), 10))
    cov = torch.diag(law.var[0]), torch.diag(THREE.variances)
    want = frechet_gaussians(law.mean[0], cov[0], THREE.mean, cov[1])
    assert THREE.frechet(law) == pytest.approx(float(want), rel=1e-9)
    assert THREE.frechet(THREE.marginal(CHAIN, 0)) == 0


def test_var_1_the_exact_variance_lies_between_the_two_for_data_of_variance_below_one_and_beyond_above():
    """VAR-1: the place of the exact variance between log β̃ and log β is 0 for a point, 1 for v = 1, above for v > 1."""
    for v, between in ((1e-12, (0, 1e-9)), (0.25, (0, 1)), (1.0, (1 - 1e-12, 1 + 1e-12)), (4.0, (1, math.inf))):
        for t in (2, 3, 4):
            exact = Spectrum([v]).reverse_variance(CHAIN, t - 1, t).item()
            low, high = CHAIN.posterior_variance[t].item(), CHAIN.beta[t].item()
            place = math.log(exact / low) / math.log(high / low)
            assert between[0] - 1e-9 <= place <= between[1] + 1e-9, (v, t, place)
            mixture = GaussianMixture([1.0], [0.0], [v]).reverse(CHAIN, torch.zeros(1, dtype=F64), t - 1, t)
            assert exact == pytest.approx(mixture.moments()[1].item(), rel=1e-9)


def test_num_1_the_steps_and_the_top_are_what_the_bound_exceeds_the_entropy_by():
    """NUM-1: E bound = entropy + KL at the top + Σ KL of the steps, in closed form, for Gaussian data."""
    mean, v = 0.4, 0.3
    world, times = Spectrum([v], mean), [4, 3, 2, 1, 0]
    bound = gaussian_vlb(CHAIN, mean, v, "beta").total.item()
    end = world.marginal(CHAIN, 4)
    top = 0.5 * (end.var - 1 - end.var.log() + end.mean**2).item()
    entropy = 0.5 * math.log(2 * math.pi * math.e * v)
    assert bound == pytest.approx(entropy + top + world.step_kl(CHAIN, times, "beta").sum().item(), rel=1e-12)
    by = {name: THREE.step_kl(CHAIN, times, name) for name in ("beta", "posterior", "optimal")}
    assert (by["optimal"] <= by["beta"] + 1e-12).all() and (by["optimal"] <= by["posterior"] + 1e-12).all()
    assert Spectrum([0.3, 0.3]).step_kl(CHAIN, times, "optimal").abs().max() < 1e-14  # one number fits both


def test_two_spectra_of_pictures():
    photographs, law = Spectrum.photographs(size=4, crops=200), Spectrum.power_law(50, 2.0)
    assert photographs.shape == (48,) and (photographs.variances.diff() <= 0).all()
    assert law.variances.mean().item() == pytest.approx(1) and law.variances[1] / law.variances[9] == 25


def test_a_sampler_made_of_a_rule_is_walked_like_any_other():
    """The rule of DDIM and that of DDPM, written out."""
    times = [4, 2, 1, 0]
    ddim = Rule(lambda x, p, t, s, z: CHAIN.signal(s) * p.x0 + CHAIN.noise(s) * p.eps)
    torch.testing.assert_close(THREE.walk(ddim, CHAIN, times).var, THREE.walk(DDIM(), CHAIN, times).var)

    def ddpm(x, p, t, s, z):
        c_0, c_t, v = posterior_coefficients(CHAIN, s, t)
        return c_0 * p.x0 + c_t * x + math.sqrt(v) * z

    torch.testing.assert_close(THREE.walk(Rule(ddpm), CHAIN, times).var, THREE.walk(DDPM(), CHAIN, times).var)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="not affine"):
        THREE.walk(Rule(lambda x, p, t, s, z: x**2), CHAIN, [2, 1])
    with pytest.raises(ValueError, match="not negative"):
        Spectrum([1.0, -1.0])
    with pytest.raises(ValueError, match=r"expected a mean \(\) or \(2,\)"):
        Spectrum([1.0, 1.0], [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="unknown variance 'best'; known: posterior, beta, optimal"):
        THREE.step_kl(CHAIN, [2, 1], "best")
