"""Lesson 10: the numbers that its text quotes, the shipped table, and figures that draw what they were given."""

import functools
import math

import pytest
import torch

from dlgm import data, training, vlb
from dlgm.course.reported import LIKELIHOODS
from dlgm.denoiser import Clipped, Respaced
from dlgm.exercises.improved_ddpm import mended_step, public_step
from dlgm.metrics import estimate
from dlgm.oracles import GaussianMixture, Spectrum, bounds
from dlgm.plots import improved_ddpm as figures
from dlgm.samplers import Rule
from dlgm.schedules import cosine_beta, linear_beta, time_grid

F64 = torch.float64
LINEAR = linear_beta()
PHOTOGRAPHS = functools.cache(Spectrum.photographs)  # a second and a half


def test_var_1_the_fractions_of_the_short_chain():
    """VAR-1, POST-6: .645, .432, .321 for variance ¼, 1 for 1, and 1.17, 1.52, 2.17 for 4, at t = 2, 3, 4."""
    for v, want in ((0.25, (0.645, 0.432, 0.321)), (1.0, (1, 1, 1)), (4.0, (1.171, 1.515, 2.166))):
        for t, w in zip((2, 3, 4), want, strict=True):
            exact = Spectrum([v]).reverse_variance(bounds.T4, t - 1, t).item()
            low, high = bounds.T4.posterior_variance[t].item(), bounds.T4.beta[t].item()
            assert math.log(exact / low) / math.log(high / low) == pytest.approx(w, abs=5e-4)


def test_num_1_the_order_of_the_two_variances_flips_between_200_and_500_steps():
    """NUM-1: excess bits per dimension of photographs; to 1 %, since other random pieces move the third digit.

    Where the last β̃ is replaced by that of the step before, as in the paper's code, β̃ has 2.43, 1.04, .733, .448.
    """
    world, D = PHOTOGRAPHS(), 1728
    table = {
        10: (3.01, 2.59, 1.53), 50: (1.63, 1.19, 0.783), 100: (1.13, 0.863, 0.540), 1000: (0.223, 0.410, 0.110),
    }  # fmt: skip
    for N, want in table.items():
        times = time_grid(LINEAR, N)
        kl = [world.step_kl(LINEAR, times, v).sum().item() for v in ("beta", "posterior", "optimal")]
        found = [v / (D * math.log(2)) for v in kl]
        assert found == pytest.approx(want, rel=0.01)
    for N, cheaper, dearer in ((200, "posterior", "beta"), (500, "beta", "posterior")):
        kl = {v: world.step_kl(LINEAR, time_grid(LINEAR, N), v).sum() for v in (cheaper, dearer)}
        assert kl[cheaper] < kl[dearer]


def test_m_41_the_cosine_schedule_pays_less_and_ends_in_less_signal():
    """M-41: excess bits of photographs with the best single number, .540 and .343 at 100 steps; ᾱ_T."""
    world = PHOTOGRAPHS()
    for schedule, bits, left in ((LINEAR, 0.540, 4.04e-5), (cosine_beta(), 0.343, 2.43e-9)):
        kl = world.step_kl(schedule, time_grid(schedule, 100), "optimal").sum().item()
        assert kl / (1728 * math.log(2)) == pytest.approx(bits, abs=5e-3)
        assert schedule.alpha_bar[-1].item() == pytest.approx(left, rel=0.01)


def test_e_54_the_bold_entry_is_not_the_least_of_its_column():
    """NUM-1, E-54: 3.43 and 2.80 bits per dimension against 3.53 and 2.94."""
    for column, least in ((0, 3.43), (1, 2.80)):
        found = [row[column] for row in LIKELIHOODS.values() if row[column] is not None]
        assert min(found) == least < LIKELIHOODS["Improved DDPM"][column]


def test_var_1_two_per_cent_of_the_output_cost_five_bits_or_none():
    low, high = LINEAR.posterior_variance[2:].log(), LINEAR.beta[2:].log()

    def cost(off):
        return (0.5 * (torch.exp(-off) - 1 + off)).sum().item() / math.log(2)

    assert cost(0 * low + 0.02 * (low.max() - low.min())) == pytest.approx(4.83, abs=0.01)
    assert cost(0.02 * (high - low)) < 3e-4


def test_var_1_the_published_sampler_is_right_at_1000_steps_and_loses_three_quarters_of_the_spread_at_50():
    """The network says the exact fraction of each step of the long chain."""
    world, outputs = Spectrum([0.25]), [0.0, 0.0]
    for t in range(2, 1001):
        low, high = LINEAR.posterior_variance[t].log(), LINEAR.beta[t].log()
        exact = world.reverse_variance(LINEAR, t - 1, t).log()
        outputs.append((2 * (exact - low) / (high - low) - 1).item())

    def told(rule):
        return Rule(lambda x, p, t, s, z: rule(LINEAR.alpha_bar, x, p.x0, torch.full_like(x, outputs[t]), s, t, z))

    for rule, at_1000, at_50 in ((public_step, 0.9998, 0.2416), (mended_step, 0.9998, 0.9845)):
        sampler = told(rule)
        for N, want in ((1000, at_1000), (50, at_50)):
            law = world.walk(sampler, LINEAR, time_grid(LINEAR, N))
            assert law.var.sqrt().item() / 0.5 == pytest.approx(want, abs=5e-5)


def test_num_1_the_shipped_table_is_that_of_the_shipped_network():
    """What a learned variance saves, from 20 digits again: the paired difference agrees within five standard errors."""
    table = data.measured("bits_mnist")
    assert table["command"] == "python data/measure.py bits_mnist"
    saved, error = table["values"]["ddpm_mnist_variance predicted minus posterior 25"]
    assert saved < -10 * error
    model = Clipped(training.load(data.checkpoint("ddpm_mnist_variance"))[0])
    short, x0 = Respaced(model, time_grid(model.schedule, 25)), data.load("mnist", split="test")[0][500:520]
    names = {"predicted": "predicted", "posterior": "posterior"}
    with torch.no_grad():
        nats = vlb.vlb_estimates(short, x0, 25, names, torch.Generator().manual_seed(0))
    found = estimate((nats["predicted"] - nats["posterior"]) / (784 * math.log(2)), 0)
    assert abs(found.value.item() - saved) < 5 * math.hypot(found.error.item(), error)


def test_the_figures_hold_their_data():
    ax = figures.excess_by_steps([10, 100], {"beta": [3.0, 1.0], "posterior": [2.0, 0.7]}).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[3.0, 1.0], [2.0, 0.7]]
    five = GaussianMixture([0.2, 0.3, 0.5], [-0.8, 0.1, 0.9], [1e-8] * 3)
    law = five.reverse(bounds.T4, torch.tensor([0.3], dtype=F64), 2, 3)
    left, right = figures.two_sources(law, {"a": 0.2, "b": 0.3}).axes
    assert len(left.collections) == 3 and len(right.lines) == 2
    x = torch.tensor(left.lines[0].get_xdata(), dtype=F64)
    torch.testing.assert_close(torch.tensor(left.lines[0].get_ydata(), dtype=F64), law.log_prob(x).exp())
    ax = figures.fractions([0.1, 1.0], {"t = 2": [0.3, 1.0]}).axes[0]
    assert list(ax.lines[0].get_ydata()) == [0.3, 1.0]
    ax = figures.spread_by_steps([20, 1000], {"a": [0.2, 1.0], "b": [0.9, 1.0]}).axes[0]
    assert list(ax.lines[1].get_ydata()) == [0.9, 1.0]
    ax = figures.time_probabilities([1, 2, 11], {"a": [0.5, 0.05]}).axes[0]
    assert ax.patches[0].get_data().values.tolist() == [0.5, 0.05]
    ax = figures.learned_schedule(torch.tensor([0.0, 1.0]), {"a": torch.tensor([9.0, -9.0])}).axes[0]
    assert list(ax.lines[0].get_ydata()) == [9.0, -9.0]
    rows = {("β", "beta", "-"): {25: (2.0, 0.1), 1000: (1.5, 0.05)}}
    bars = figures.bits_on_digits(rows).axes[0].containers[0]
    assert bars.lines[0].get_ydata().tolist() == [2.0, 1.5]
    assert bars.lines[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([1.8, 2.2])


def test_the_panel_says_what_the_world_says():
    world = Spectrum([2.0, 0.3, 0.01])
    left, right = figures.variance_panel(world, LINEAR, 30, 0.5).axes
    small, times = Spectrum(world.variances * 0.25), time_grid(LINEAR, 30)
    for line, name in zip(left.lines, ("beta", "posterior", "optimal"), strict=True):
        want = small.step_kl(LINEAR, times, name) / (3 * math.log(2))
        torch.testing.assert_close(torch.tensor(line.get_ydata()), want)
    t, s = times[-3:-1].tolist()
    torch.testing.assert_close(torch.tensor(right.lines[0].get_ydata()), small.reverse_variance(LINEAR, s, t))
