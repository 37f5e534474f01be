"""Lesson 15: the numbers that its text quotes, and figures that draw what they were given."""

import math

import pytest
import torch

from dlgm import likelihood
from dlgm.exercises.continuous_time_elbo import bound_draw, mended_weight, noise_law, public_weight, stair_bound
from dlgm.losses import convert_weight
from dlgm.oracles import GaussianMixture, Spectrum, bounds
from dlgm.plots import continuous_time_elbo as figures
from dlgm.schedules import LearnedMonotone, VPCosine, VPLinear, time_grid, time_of

F64 = torch.float64
WORLD, HIGH, LOW = Spectrum([0.3, 1.5]), 8.0, -6.0


def exact(high, low, variances=(0.3, 1.5)):
    return 0.5 * sum(math.log((1 + v * math.exp(high)) / (1 + v * math.exp(low))) for v in variances)


def test_celbo_6_the_excess_of_100_and_200_steps():
    """CELBO-6: data N(0, ¼), log-SNR 8 to −6: .2052 and .1004 nats above the limit; the exercise is ``staircase``."""
    for T, want in ((100, 0.2052), (200, 0.1004)):
        lam = torch.linspace(HIGH, LOW, T + 1, dtype=F64)
        error = 0.25 / (1 + 0.25 * lam.exp())
        found = stair_bound(lam.exp(), error).item()
        assert found == pytest.approx(likelihood.staircase(lam, error).item(), rel=1e-12)
        assert found - exact(HIGH, LOW, (0.25,)) == pytest.approx(want, abs=5e-5)


def test_celbo_1_e_21_one_draw_has_the_mean_of_the_integral_and_needs_the_length():
    """CELBO-1, E-21, E-22: ``bound_draw`` at evenly spread t; without the length 43 % too large from .2 to .9."""
    schedule, n, g = VPCosine(), 200_000, torch.Generator().manual_seed(0)
    for a, b, tolerance in ((0.01, 0.99, 0.02), (0.2, 0.9, 0.01)):
        t = a + (b - a) * (torch.arange(n, dtype=F64) + 0.5) / n
        x0, eps = WORLD.sample(n, g), torch.randn(n, 2, generator=g, dtype=F64)
        x_t = schedule.signal(t)[:, None] * x0 + schedule.noise(t)[:, None] * eps
        row = bound_draw(eps, WORLD.denoiser(schedule)(x_t, t).eps, t, a, b)
        want = exact(schedule.logsnr(a), schedule.logsnr(b))
        assert row.mean().item() == pytest.approx(want, rel=tolerance)
        assert abs(row.mean().item() - want) < 5 * row.std().item() / n**0.5
    assert row.mean().item() / 0.7 > 1.4 * want


def test_celbo_2_three_schedules_one_number_and_three_error_bars():
    """CELBO-2: the spread of a draw is 37, 23 and 11 nats for linear, cosine and even log-SNR."""
    spread = {}
    for name, s in {"linear": VPLinear(), "cosine": VPCosine(), "even": LearnedMonotone(1, HIGH, LOW)}.items():
        ends = [time_of(s, [v]).item() for v in (HIGH, LOW)]
        g = torch.Generator().manual_seed(0)
        row = likelihood.continuous_loss(WORLD.denoiser(s), WORLD.sample(50_000, g), g, *ends, antithetic=False)
        row = row.detach()
        assert abs(row.mean().item() - exact(HIGH, LOW)) < 5 * row.std().item() / 50_000**0.5
        spread[name] = row.std().item()
    assert spread["linear"] > 1.4 * spread["cosine"] > 2 * spread["even"]
    assert spread["linear"] / spread["even"] == pytest.approx(3.3, rel=0.15)


def test_celbo_2_the_whole_bound_does_not_depend_on_the_clean_end():
    """Diffusion term and reconstruction: 2.4743, 2.4436, 2.4393, ... → the entropy 2.4386 nats."""
    for top, want in ((4.0, 2.4743), (6.0, 2.4436), (8.0, 2.4393), (12.0, 2.4386)):
        found = exact(top, -14.0) + math.log(2 * math.pi * math.e) - top
        assert found == pytest.approx(want, abs=1e-4)
    entropy = 0.5 * sum(math.log(2 * math.pi * math.e * v) for v in (0.3, 1.5))
    assert entropy == pytest.approx(2.4386, abs=5e-5)


def test_celbo_3_one_loss_in_three_errors():
    """CELBO-3: the mended weights are ``convert_weight`` of one weight; the public ones of v are not, nor finite."""
    schedule, t = VPCosine(), torch.linspace(0.1, 0.9, 9, dtype=F64)
    snr = schedule.logsnr(t).exp()
    for kind in ("x0", "eps", "v"):
        want = convert_weight(schedule, t, snr.clamp(max=5.0), "x0", kind)
        torch.testing.assert_close(mended_weight(snr, kind, 5.0), want)
        assert torch.allclose(public_weight(snr, kind, 5.0), want) == (kind != "v")
    assert public_weight(torch.zeros(1), "eps", 5.0).isnan().all()


def test_celbo_4_5_e_73_which_simple_losses_are_bounds_of_noisy_data():
    """CELBO-4, CELBO-5, E-73, M-16: in ε neither linear nor cosine; in v, cosine, w = e^(−λ/2)/π, which rises."""
    t = torch.linspace(0.05, 0.95, 401, dtype=F64)
    for schedule in (VPLinear(), VPCosine()):
        with pytest.raises(ValueError, match="must not decrease"):
            likelihood.augmentation(likelihood.implied_weight(schedule, t))
    w = likelihood.implied_weight(VPCosine(), t, "v")
    torch.testing.assert_close(w, (-VPCosine().logsnr(t) / 2).exp() / math.pi)
    atom, mass = likelihood.augmentation(w)
    assert atom == pytest.approx(0.006, abs=5e-4)
    mine = noise_law(w)
    assert mine[0].item() == pytest.approx(atom)
    torch.testing.assert_close(mine[1], mass)


def test_four_numbers_at_one_point():
    """x = .7: exact, flow and denoising alone −log p = .4930; the bound comes down to it, .5156 with 2000 steps."""
    law, s, x = GaussianMixture([0.3, 0.7], [-1.0, 0.8], [0.3, 0.2]), VPCosine(), torch.tensor([0.7], dtype=F64)
    denoiser, times = law.denoiser(VPCosine()), time_grid(VPCosine(), 160, 0.9999, 1e-4, "logsnr")
    up, nodes = time_grid(s, 200, 0.9999, 1e-4, "logsnr").flip(0), bounds.nodes(1, 40)
    for found in (
        law.log_prob(x),
        likelihood.log_prob(denoiser, x, up),
        likelihood.pointwise(denoiser, x, times, nodes=nodes),
    ):
        assert found.item() == pytest.approx(-0.4930, abs=2e-4)
    for T, want in ((100, 0.9737), (500, 0.5840)):
        lam = torch.linspace(11.0, -11.0, T + 1, dtype=F64)
        errors = likelihood.mmse(denoiser, x, time_of(s, lam), nodes=nodes)
        found = likelihood.staircase(lam, errors) + 0.5 * (math.log(2 * math.pi * math.e) - 11.0)
        assert found.item() == pytest.approx(want, abs=1e-3)  # without the prior term, 1e-5


def test_the_figures_hold_their_data():
    snr = torch.linspace(4, 0, 3, dtype=F64)
    fine = torch.linspace(0, 4, 50, dtype=F64)
    fig = figures.stairs(dict.fromkeys("ab", (snr, 1 / (1 + snr))), (fine, 1 / (1 + fine)))
    assert list(fig.axes[0].lines[-1].get_ydata()) == (1 / (1 + fine)).tolist()
    ax = figures.excess_by_steps([10, 20], {"a": [0.2, 0.1]}, ("line", [0.3, 0.15])).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.2, 0.1], [0.3, 0.15]]
    ax = figures.weights({"a": (fine, fine + 1), "b": (fine, 2 * fine + 1)}).axes[0]
    assert list(ax.lines[1].get_ydata()) == (2 * fine + 1).tolist()
    ax = figures.integrands(fine, {"x": fine**2}).axes[0]
    assert list(ax.lines[0].get_ydata()) == (fine**2).tolist()
    for spacing in figures.SPACINGS:
        title = figures.stairs_panel(1.0, 6, spacing).axes[0].get_title(loc="left")
        assert spacing in title and "limit 1.273" in title
    assert "1.853 nats" in figures.stairs_panel(1.0, 6, "even in SNR").axes[0].get_title(loc="left")
