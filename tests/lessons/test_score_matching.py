"""Figures of lesson 12, and what its cells take for granted. Ledger SCORE-1, SCORE-3, SCORE-5..7, M-10, M-11."""

import math

import pytest
import torch

from dlgm import metrics, samplers, scores
from dlgm.denoiser import Denoiser
from dlgm.exercises import score_matching as bank
from dlgm.oracles import EmpiricalData, GaussianMixture
from dlgm.plots import score_matching
from dlgm.samplers import AnnealedLangevin, sample
from dlgm.schedules import VE, DiscreteSchedule

F64 = torch.float64
WORLD = GaussianMixture([0.8, 0.2], [[-4.0, 0.0], [4.0, 0.0]], [0.25, 0.25])
VE20 = VE(0.2, 20.0)
EXACT = WORLD.denoiser(VE20)
ZERO = Denoiser(lambda x, t: 0 * x, VE20, "score")


def points(collection):
    return torch.tensor(collection.get_offsets().tolist(), dtype=F64)


def test_score_7_a_walk_moves_by_h_score_and_root_two_h_noise():
    t, step, x = 0.4, 0.3, score_matching.starts()
    path = samplers.states(EXACT, AnnealedLangevin(step), x, [t] * 3, torch.Generator().manual_seed(5))
    assert torch.equal(path[0], x)
    h, noise = step * VE20.noise(t) ** 2, torch.Generator().manual_seed(5)
    for state in path[1:]:
        z = torch.randn(x.shape, generator=noise)
        x = x + h * WORLD.diffuse(VE20, t).score(x) + math.sqrt(2 * h) * z
        torch.testing.assert_close(state, x, rtol=1e-4, atol=1e-4)  # float32, exact score by another route


def check_field(ax, denoiser, t, moves, step):
    """Shade, arrows and walks of one panel."""
    window, sigma = (7 * max(1, VE20.noise(t) / 2), 4 * max(1, VE20.noise(t) / 2)), VE20.noise(t)
    shade = torch.tensor(ax.images[0].get_array().tolist(), dtype=F64)
    corner = WORLD.diffuse(VE20, t).log_prob(torch.tensor([[-window[0], -window[1]]], dtype=F64)).exp()
    middle = WORLD.diffuse(VE20, t).log_prob(torch.zeros(1, 2, dtype=F64)).exp()
    torch.testing.assert_close(shade[0, 0], corner[0].sqrt())
    torch.testing.assert_close(shade[52, 90], middle[0].sqrt())
    arrows, *dots = ax.collections
    with torch.no_grad():
        want = sigma * denoiser(points(arrows).float(), t).score.double()
    drawn = torch.stack([torch.tensor(v, dtype=F64) for v in (arrows.U, arrows.V)], -1).reshape(-1, 2)
    torch.testing.assert_close(drawn, want / (1 + want.norm(dim=1, keepdim=True)), rtol=1e-4, atol=1e-5)  # float32
    generator, start_points = torch.Generator().manual_seed(0), score_matching.starts(window)
    path = samplers.states(denoiser, AnnealedLangevin(step), start_points, [t] * (moves + 1), generator)
    torch.testing.assert_close(torch.cat([points(dot) for dot in dots[::2]]), path[0].double())
    torch.testing.assert_close(torch.cat([points(dot) for dot in dots[1::2]]), path[-1].double())
    assert len(ax.lines) == path.shape[1]
    torch.testing.assert_close(torch.tensor(ax.lines[2].get_ydata()), path[:, 2, 1])
    assert ax.get_xlim() == pytest.approx((-window[0], window[0]))


@pytest.mark.parametrize("moves, last", [(5, 5), ((5, 3), 3)])
def test_score_1_fields_draws_density_score_and_walks_of_each_level(moves, last):
    fig = score_matching.fields(WORLD, VE20, [0.0, 0.7], moves=moves, step=0.2)
    for ax, t, count in zip(fig.axes, (0.0, 0.7), (5, last), strict=True):
        check_field(ax, EXACT, t, count, 0.2)
        assert ax.get_title("left") == f"σ = {VE20.noise(t):.3g}"


@pytest.mark.parametrize("which, denoiser", [("true", EXACT), ("net", ZERO)])
def test_score_panel_draws_the_chosen_score_and_all_of_them_on_the_line(which, denoiser):
    left, right = score_matching.score_panel(WORLD, VE20, 0.35, {"net": ZERO}, which, moves=4, step=0.1).axes
    check_field(left, denoiser, 0.35, 4, 0.1)
    assert left.get_title("left").startswith(f"{which} score")
    truth, learned = right.lines
    x = torch.tensor(truth.get_xdata(), dtype=F64)
    line = torch.stack([x, 0 * x], 1)
    want = VE20.noise(0.35) * WORLD.diffuse(VE20, 0.35).score(line)[:, 0]
    torch.testing.assert_close(torch.tensor(truth.get_ydata()), want, rtol=1e-4, atol=1e-5)  # float32
    assert not learned.get_ydata().any()
    assert right.get_ylim()[0] < want.min() and want.max() < right.get_ylim()[1]


def test_mass_level_is_that_of_a_normal_in_the_plane():
    """‖x‖² is χ² with two degrees of freedom: 99 % of it lie below −2 log 0.01."""
    one = GaussianMixture([1.0], [[0.0, 0.0]], [1.0])
    want = -math.log(2 * math.pi) + math.log(0.01)
    # of 4000 draws, standard error of log 0.01: √(0.99/(0.01 · 4000)) = 0.16
    assert abs(one.mass_level() - want) < 4 * 0.16


def test_score_2_score_5_error_maps_draws_the_error_times_sigma():
    """SCORE-5: σ ‖s − ∇log q‖ is ‖ε̂ − E[ε | x_t]‖."""
    off = Denoiser(lambda x, t: WORLD.diffuse(VE20, 0.5).score(x) + torch.tensor([0.3, 0.4]), VE20, "score")
    data = WORLD.sample(7, torch.Generator().manual_seed(0))
    panels = {"size": (None, 0.5, VE20), "error": (off, 0.5), "none": (EXACT, 0.5)}
    fig = score_matching.error_maps(WORLD, panels, data)
    size, error, none, left_over, bar = fig.axes
    maps = [torch.tensor(ax.images[0].get_array().tolist(), dtype=F64) for ax in (size, error, none)]
    sigma = VE20.noise(0.5)
    torch.testing.assert_close(maps[1], torch.full_like(maps[1], 0.5 * sigma), rtol=1e-4, atol=0)  # float32
    assert (maps[2] == 0.01).all()
    corner = WORLD.diffuse(VE20, 0.5).score(torch.tensor([[-7.0, -4.0]], dtype=F64)).norm() * sigma
    torch.testing.assert_close(maps[0][0, 0], corner.clamp(0.01, 5), rtol=1e-5, atol=0)
    assert [ax.get_title("left") for ax in (size, error, none)] == list(panels)
    torch.testing.assert_close(points(size.collections[-1]), data.double())
    assert not left_over.axison and "σ" in bar.get_ylabel()


def test_m_10_projections_draws_predicted_lines_and_measured_dots():
    m = torch.tensor([1, 4])
    table = {"a": (m, torch.tensor([4.0, 2.0]), torch.tensor([4.1, 1.9]), torch.tensor([0.1, 0.1]))}
    (ax,) = score_matching.projections(table, 100).axes
    line, dots, limit = ax.lines[0], ax.lines[1], ax.lines[-1]
    assert line.get_ydata().tolist() == [4.0, 2.0] and dots.get_ydata().tolist() == pytest.approx([4.1, 1.9])
    assert limit.get_xdata() == [100, 100]
    bars = ax.containers[0].lines[2][0].get_segments()
    assert bars[0][:, 1].tolist() == pytest.approx([3.9, 4.3])  # two standard errors each way


def test_walks_draws_walkers_noise_and_shares():
    path = torch.linspace(-1, 1, 8).repeat(3, 1)
    sigma = torch.tensor([3.0, 2.0, 1.0])
    fig = score_matching.walks({"a": path}, {"a": sigma}, lambda x: torch.exp(-x.abs()) / 2, 0.5)
    left, right = fig.axes
    assert len(left.lines) == 4 + 2
    torch.testing.assert_close(torch.tensor(left.lines[3].get_ydata()), path[:, 3])
    torch.testing.assert_close(torch.tensor(left.lines[4].get_ydata()), sigma)
    torch.testing.assert_close(torch.tensor(left.lines[5].get_ydata()), -sigma)
    assert right.get_title("left").startswith("below 0: 0.50 ± 0.18")  # √(0.5 · 0.5/8) = 0.177
    assert sum(bar.get_width() * bar.get_height() for bar in right.patches) == pytest.approx(1.0)
    torch.testing.assert_close(
        torch.tensor(right.lines[0].get_xdata()), torch.exp(-torch.tensor(right.lines[0].get_ydata()).abs()) / 2
    )


def test_score_3_the_exercise_and_the_package_have_one_denoising_loss(generator):
    """SCORE-3."""
    chain = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])
    x0, eps = torch.randn(2, 4, 3, generator=generator, dtype=F64)
    t = torch.tensor([1, 4, 2, 3])
    mine = bank.denoising_loss(lambda x, t: torch.sin(x), x0, eps, t, chain.alpha_bar)
    torch.testing.assert_close(mine, scores.denoising(torch.sin, x0, eps, chain.signal(t), chain.noise(t)))


@pytest.mark.parametrize("step, moves, ratio", [(0.3, 2, 0.876), (0.1, 2, 0.876), (0.1, 4, 0.876)])
def test_m_11_how_far_the_state_falls_behind_the_ladder(step, moves, ratio, generator):
    """For one data point the noise in the state over σ settles at ρ, ρ² = (1 − a)/((1 − step/2)(1 − a/r²)), a < r²."""
    levels, n = 120, 30_000
    schedule = VE(20 * ratio ** (levels - 1), 20.0)
    world = EmpiricalData(torch.zeros(1, 1, dtype=F64)).denoiser(schedule)
    # a walk down the ladder; at the last level the moves are made too
    times = [1 - i / (levels - 1) for i in range(levels)]
    times[-1] = 0.0
    x = 20 * torch.randn(n, 1, generator=generator, dtype=F64)
    x = sample(world, AnnealedLangevin(step, moves), x, [*times, 0.0], generator)
    rho2 = samplers.lag(step, moves, ratio) ** 2
    found = x.square().mean().item() / schedule.sigma_min**2
    # what is left of the start is (a/r²)^119 < 1e-7; x is normal, so the standard error is ρ² √(2/n)
    assert abs(found - rho2) < 5 * rho2 * math.sqrt(2 / n)


def test_m_11_a_ladder_that_is_too_steep_is_never_caught_up_with():
    assert samplers.lag(0.1, 1, 0.876) == math.inf  # 0.9 > 0.876
    assert math.isclose(samplers.lag(1.0, 1, 0.5), math.sqrt(2))  # a = 0: one move forgets all, settles at 1/(1 − ½)


def test_spread_has_the_standard_error_of_a_normal(generator):
    std, error = metrics.spread(3 * torch.randn(2, 40_000, generator=generator, dtype=F64))
    must = 3 / math.sqrt(2 * 40_000)
    torch.testing.assert_close(error, torch.full((2,), must, dtype=F64), rtol=0.05, atol=0)  # m₄ is known to about 3 %
    assert (abs(std - 3) < 5 * must).all()
