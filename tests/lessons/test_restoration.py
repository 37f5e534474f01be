"""Lesson 19: the numbers that its text quotes, the world of soft digits, the faults, and its figures."""

import pytest
import torch

from dlgm import data, restoration
from dlgm.course import restoration as given
from dlgm.exercises.restoration import adjoint, replaced_mean
from dlgm.gaussian import Gaussian
from dlgm.oracles import GaussianMixture, affine
from dlgm.plots import restoration as figures
from dlgm.samplers import DDPM
from dlgm.schedules import linear_beta, time_grid

F64 = torch.float64
LINEAR, ZERO, ONES = linear_beta(), torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)
COV = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
EXACT = GaussianMixture([1.0], [[0.0, 0.0]], COV[None]).denoiser(LINEAR)
KNOWN, Y = torch.tensor([True, False]), torch.tensor([[1.0, 0.0]], dtype=F64)


def law(sampler, N=100, denoiser=EXACT):
    mean, cov = affine.walk_law(denoiser, sampler, time_grid(LINEAR, N), ZERO, ONES)
    return round(mean[1].item(), 3), round(cov[1, 1].item(), 3)


def test_app_3_the_transpose_by_hand():
    A = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, -1.0]])
    assert adjoint(lambda x: x @ A.T, torch.ones(1, 2), (3,)).tolist() == [[1, 5, -1]]


def test_app_3_the_laws_that_the_text_quotes():
    """APP-3, M-38: .490 and .499 by replacement, .762 by ten resamplings, .490 by the null space; right are .8, .36."""
    assert law(restoration.Replacement(DDPM("beta"), KNOWN, Y)) == (0.49, 0.508)
    assert law(restoration.Replacement(DDPM("beta"), KNOWN, Y), 1000)[0] == 0.499
    mean = replaced_mean(0.8, 1.0, LINEAR.alpha_bar, time_grid(LINEAR, 100).tolist())
    assert round(mean.item(), 3) == 0.49
    assert law(restoration.RePaint(DDPM("beta"), KNOWN, Y)) == (0.762, 0.377)
    seen = restoration.matrix([[1.0, 0.0]])
    corrected = restoration.NullSpace(EXACT, seen, torch.tensor([[1.0]], dtype=F64))
    assert law(DDPM("beta"), denoiser=corrected) == (0.49, 0.553)
    right = affine.conditional(ZERO, COV, torch.tensor([[1.0, 0.0]], dtype=F64), torch.ones(1, dtype=F64))
    assert (right[0][1].item(), right[1][1, 1].item()) == pytest.approx((0.8, 0.36))
    # data N(0, 1), ᾱ = .5, σ_y = .1: (σ_y² + 1 − ᾱ)/σ_y² = 51
    assert (0.1**2 + 0.5) / 0.1**2 == pytest.approx(51)


def test_app_3_completions_of_soft_digits_are_those_of_the_mixture():
    """APP-3: the weights of the digits and each pixel's law, against the joint Gaussian of one digit."""
    world = given.SoftDigits(digits=3, width=0.3, noise_std=0.4)
    y = torch.where(world.known, world.points[1:2] + 0.05, torch.zeros(1, 1, 8, 8))
    x = world.answers(y, 4000, torch.Generator().manual_seed(0))[0]
    seen = world.points[:, world.known]
    each = Gaussian(seen, 0.09 + 0.16).log_prob(y[:, world.known].expand_as(seen)).softmax(0)
    gain = 0.09 / 0.25
    centre = torch.where(world.known, world.points + gain * (y - world.points), world.points)
    wanted = (each[:, None, None, None] * centre).sum(0)
    assert (x.mean(0) - wanted).abs().max() < 5 * 0.3 / 4000**0.5
    unknown = x[:, ~world.known].var(0)
    assert each.max() > 0.999  # one digit, so that variances are its own
    assert (unknown / 0.09 - 1).abs().max() < 0.12 and (x[:, world.known].var(0) / 0.09 / 0.64 - 1).abs().max() < 0.12


def test_cond_2_a_network_that_is_shown_halves_learns_from_them():
    """COND-2: before training what is beside changes nothing; afterwards the known half comes back."""
    world = given.SoftDigits(digits=30)
    fresh, taught = (given.palette(world, steps) for steps in (1, 120))
    x, y = world.draw(16, torch.Generator().manual_seed(5))
    x_t = world.schedule.start(x.shape, torch.Generator().manual_seed(6))

    def heard(model):
        with torch.no_grad():
            return model(x_t, 900, beside=y).x0 - model(x_t, 900, beside=torch.zeros_like(y)).x0

    assert heard(fresh).abs().max() == 0 and heard(taught).abs().mean() > 0.1
    with torch.no_grad():
        told = taught(x_t, 900, beside=y).x0
    error, guess = (told - x).square(), (x - x.mean(0)).square()
    assert error[:, world.known].mean() < 0.5 * guess[:, world.known].mean()


def test_each_fault_is_seen_where_the_text_says():
    grid = time_grid(LINEAR, 100)
    mean, cov = affine.walk_law(EXACT, restoration.Replacement(DDPM("beta"), KNOWN, Y), grid, ZERO, ONES)
    right, found = affine.step_map(EXACT, restoration.Replacement(DDPM("beta"), KNOWN, Y), 600, 500, 2), {}
    for fault in given.FAULTS:
        sampler = given.Faulty(DDPM("beta"), KNOWN, Y, fault)
        step = affine.step_map(EXACT, sampler, 600, 500, 2)
        m, C = affine.walk_law(EXACT, sampler, grid, ZERO, ONES)
        checks = (
            all(torch.allclose(a, b) for a, b in zip(step, right, strict=True)),
            abs(m[0] - 1) + C[0, 0] < 1e-9,
            abs(m[1] - mean[1]) < 0.01,
            abs(C[1, 1] - cov[1, 1]) < 0.05,
        )
        found[fault] = "".join(".x"[not holds] for holds in checks)
    assert found == {"level of t": "xx..", "no root": "x...", "unknown noised": "x..x", "never at the end": ".x.."}
    with pytest.raises(ValueError, match="unknown fault 'late'"):
        given.Faulty(DDPM(), KNOWN, Y, "late")


def test_the_table_of_methods_says_what_the_lesson_says():
    """APP-3, COND-2: the pushes with r = 0 are near the exact draws, the trained network follows, the rest is far."""
    table = data.measured("restoration_digits8")["values"]
    far, wide = (
        {name.split(":")[0]: value for name, (value, _) in table.items() if name.endswith(what)}
        for what in (": distance", ": spread")
    )
    near = max(far["push, none"], far["push, none, half"])
    others = [far[name] for name in ("replacement", "RePaint, 5 times", "push, unit data", "null space")]
    assert far["exact"] < near < far["trained"] < min(others)
    assert min(wide[name] for name in ("replacement", "RePaint, 5 times", "push, unit data", "null space")) > 1.8
    psnr = {name: table[f"{name}: psnr of the mean"][0] - table[f"{name}: psnr"][0] for name in far}
    assert min(psnr.values()) > 2  # the mean of the draws has the higher PSNR, for every method


def test_the_figures_hold_their_data():
    fig = figures.law_panel(0.8, 1.0, (0.8, 0.36), (0.49, 0.5), "title")
    assert [line.get_label() for line in fig.axes[1].lines] == [
        "right: mean 0.800, variance 0.360", "found: mean 0.490, variance 0.500",
    ]  # fmt: skip
    fig = figures.resampled([1, 2], [0.4, 0.6], [0.5, 0.4], (0.8, 0.36))
    assert [ax.lines[0].get_ydata().tolist() for ax in fig.axes] == [[0.4, 0.6], [0.5, 0.4]]
    row = {"psnr": (10.0, 0.1), "psnr of the mean": (12.0, 0.2), "spread": (1.5, 0.1), "distance": (0.3, 0.1)}
    axes = figures.methods({"a": row, "b": row}).axes
    assert [len(ax.containers) for ax in axes] == [2, 1, 1]
    assert axes[1].containers[0].lines[0].get_xdata().tolist() == [1.5, 1.5]
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["a", "b"]
