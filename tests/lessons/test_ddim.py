"""Lesson 11: the numbers that its text quotes, the four codes, the shipped table, and figures that draw their data."""

import math

import pytest
import torch

from dlgm import data
from dlgm.course import ddim as given
from dlgm.course.reported import FID, FID_STEPS
from dlgm.denoiser import Prediction
from dlgm.exercises.ddim import ddim_step
from dlgm.oracles import GaussianMixture, Spectrum, bounds
from dlgm.plots import ddim as figures
from dlgm.process import q_marginal
from dlgm.samplers import DDIM
from dlgm.schedules import VPCosine, linear_beta, time_grid

F64 = torch.float64
LINEAR, CHAIN = linear_beta(), bounds.T4


def test_num_2_the_table_of_the_paper_without_a_network():
    """NUM-2, DDIM-10, E-62: squared Fréchet distances for photographs; to 1.2 %: other pieces move a third digit."""
    world = Spectrum.photographs()
    table = {
        0.0: (14.6, 4.88, 0.392, 0.018), 0.2: (14.9, 5.01, 0.399, 0.0167), 0.5: (16.7, 5.77, 0.454, 0.0150),
        1.0: (29.3, 10.4, 0.839, 0.0260), "hat": (142.7, 34.8, 1.25, 0.0126),
    }  # fmt: skip
    for eta, want in table.items():
        found = [world.frechet(world.walk(DDIM(eta), LINEAR, time_grid(LINEAR, S))) for S in (10, 20, 100, 1000)]
        assert found == pytest.approx(want, rel=0.012), eta
        assert found == sorted(found, reverse=True)  # more steps are better


def test_e_31_the_hat_row_is_exact_for_variance_one_and_ten_times_too_wide_for_a_thousandth():
    for v, ratio, tolerance in ((1.0, 1.0, 1e-9), (1e-3, 10.149, 1e-3)):
        law = Spectrum([v]).walk(DDIM("hat"), LINEAR, time_grid(LINEAR, 10))
        assert (law.var.item() / v) ** 0.5 == pytest.approx(ratio, abs=tolerance)
    for S in (20, 1000):
        law = Spectrum([1.0]).walk(DDIM("hat"), LINEAR, time_grid(LINEAR, S))
        assert law.var.item() == pytest.approx(1, abs=1e-9)


def test_n_equal_angles():
    """0, .500, .729, .883, .976 for N = 1, 2, 4, 10, 50."""
    for N, want in ((1, 0.0), (2, 0.5), (4, 0.729), (10, 0.883), (50, 0.976)):
        law = Spectrum([1.0], 0.3).walk(DDIM(), VPCosine(), time_grid(VPCosine(), N))
        assert law.var.sqrt().item() == pytest.approx(want, abs=5e-4) and law.mean.item() == pytest.approx(0.3)


def test_e_08_the_misprinted_sigma_leaves_no_root():
    a = LINEAR.alpha_bar
    printed = ((1 - a[499]) / (1 - a[500]) * (1 - a[500]) / a[499]).item()
    assert math.sqrt(printed) == pytest.approx(3.405, abs=5e-4)
    assert LINEAR.posterior_variance[500].sqrt().item() == pytest.approx(0.1002, abs=5e-5)
    assert 1 - a[499].item() - printed == pytest.approx(-10.7, abs=0.05)


def test_e_09_the_logarithm_is_not_optional():
    """E-09: E log q(x_T | x_0) is −1.3306, E q(x_T | x_0) .3082, on the short chain; by quadrature."""
    z, w = bounds.nodes(1, 40)
    law = q_marginal(CHAIN, torch.zeros(len(z), 1, dtype=F64), 4)
    log_q = law.log_prob(law.mean + law.var.sqrt() * z)
    assert (w @ log_q).item() == pytest.approx(-1.3306, abs=5e-5)
    assert (w @ log_q.exp()).item() == pytest.approx(0.3082, abs=5e-5)


def test_e_62_num_2_the_reported_rows_fall_and_no_noise_is_best_but_at_a_thousand():
    for table in FID.values():
        for row in table.values():
            assert list(row) == sorted(row, reverse=True)
        for i, S in enumerate(FID_STEPS):
            best = min(table, key=lambda eta, i=i: table[eta][i])
            assert best == ("hat" if S == 1000 else "0")


def test_ddim_9_each_code_uses_the_alpha_bar_that_it_is_said_to_use():
    indices = {"A": (499, 49), "B": (450, 1), "C": (451, 1), "D": (450, 0)}
    for name, code in given.CODES.items():
        for (t, s), index in zip(((500, 450), (50, 0)), indices[name], strict=True):
            x_t = LINEAR.alpha_bar[t].sqrt()[None]
            assert code(LINEAR.alpha_bar, x_t, 0 * x_t, s, t).item() ** 2 == pytest.approx(
                LINEAR.alpha_bar[index].item()
            )
        assert repr(code) == f"the {name} code"


def test_the_given_step_is_the_reference_and_its_clip_that_of_a_prediction(generator):
    x_t, eps, z = torch.randn(3, 4, 2, generator=generator, dtype=F64)
    for t, s, eta in ((3, 2, 1.0), (4, 1, 0.3), (2, 0, 0.0)):
        torch.testing.assert_close(
            given.step(CHAIN.alpha_bar, x_t, eps, s, t, eta, z), ddim_step(CHAIN.alpha_bar, x_t, eps, s, t, eta, z)
        )
    p = Prediction(CHAIN, x_t, 4, eps=eps).clip()
    want = CHAIN.signal(2) * p.x0 + CHAIN.noise(2) * p.eps
    torch.testing.assert_close(given.step(CHAIN.alpha_bar, x_t, eps, 2, 4, clip=True), want)
    with pytest.raises(ValueError, match="unknown fault 'none'"):
        given.step(CHAIN.alpha_bar, x_t, eps, 2, 4, fault="none")


def test_num_2_the_shipped_table_has_every_entry_that_the_lesson_draws():
    table = data.measured("steps_mnist")
    assert table["command"] == "python data/measure.py steps_mnist"
    names = ("ddim", "posterior", "beta", "predicted", "hat")
    assert {f"{name} {S}" for name in names for S in (10, 20, 50)} <= set(table["values"])
    for name in names:  # more steps are better, within two standard errors of the difference
        for a, b in ((10, 20), (20, 50)):
            (v, e), (w, f) = table["values"][f"{name} {a}"], table["values"][f"{name} {b}"]
            assert w < v + 2 * math.hypot(e, f), (name, a, b)


def test_a_table_that_is_missing_is_named():
    with pytest.raises(data.DataError, match=r"cannot read the table 'nothing'.*there: bits_mnist, .*steps_mnist"):
        data.measured("nothing")


def test_the_figures_hold_their_data():
    axes = figures.few_steps(torch.zeros(5, 2), {"a": torch.ones(4, 2), "b": torch.ones(3, 2)}).axes
    assert [ax.get_title(loc="center") for ax in axes] == ["a", "b"]
    assert [len(ax.collections[1].get_offsets()) for ax in axes] == [4, 3]
    left, right = figures.two_graphs().axes
    arrows = [sum(getattr(text, "arrow_patch", None) is not None for text in ax.texts) for ax in (left, right)]
    assert arrows == [3, 5]
    ax = figures.angle_paths([1, 2]).axes[0]
    assert ax.lines[2].get_xdata()[-1] == pytest.approx(0.5) and ax.lines[1].get_xdata()[-1] == pytest.approx(
        0, abs=1e-6
    )
    rows, errors = {"0": [3.0, 1.0], "hat": [9.0, 2.0]}, {"0": [0.1, 0.2], "hat": [0.3, 0.4]}
    ax = figures.distance_by_steps([10, 20], rows, "distance", errors, floor=0.5).axes[0]
    bars = ax.containers
    assert ax.lines[-1].get_ydata()[0] == 0.5
    assert [b.lines[0].get_ydata().tolist() for b in bars] == list(rows.values())
    assert bars[1].lines[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([8.4, 9.6])
    ax = figures.distance_by_steps([10, 20], rows, "distance").axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == list(rows.values())
    ax = figures.spread_by_direction([0.1, 1.0], {"0": [0.5, 0.9], "1": [0.4, 0.8]}).axes[0]
    assert list(ax.lines[1].get_ydata()) == [0.4, 0.8]
    ax = figures.round_trip([10, 20], {"a": [0.2, 0.1]}).axes[0]
    assert list(ax.lines[1].get_ydata()) == pytest.approx([0.2, 0.1])  # the line of slope −1 ends on the data
    ax = figures.four_codes([10, 20], {"code A": [2.0, 1.9], "code B": [0.7, 0.8]}).axes[0]
    assert list(ax.lines[0].get_ydata()) == [2.0, 1.9]


def test_the_panel_walks_and_one_step_ends_at_the_mean():
    world = GaussianMixture([0.35, 0.65], [-1.0, 0.8], [0.04, 0.09])
    left, right = figures.walk_panel(world, VPCosine(), 1, 0.0, walkers=200, shown=7).axes
    assert len(left.lines) == 7
    for line in left.lines:
        assert line.get_ydata()[-1] == pytest.approx(0.17, abs=1e-9)  # .35 · (−1) + .65 · .8
    x = torch.tensor(right.lines[0].get_ydata(), dtype=F64)
    torch.testing.assert_close(torch.tensor(right.lines[0].get_xdata()), world.log_prob(x).exp())
