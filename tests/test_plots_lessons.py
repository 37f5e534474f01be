"""The figures of lessons 01 to 04 draw the quantities that their labels name."""

import math

import numpy as np
import pytest
import torch
from conftest import lines

from dlgm import plots, vae
from dlgm.course import widgets
from dlgm.gaussian import Gaussian
from dlgm.metrics import Estimate
from dlgm.oracles import NonlinearModel
from dlgm.plots import the_elbo, variational_autoencoders

SQUARE = NonlinearModel(lambda z: z**2, 0.1)


# ---- lesson 02 ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mean, std", [(0.0, 0.8), (0.93, 0.17), (-2.0, 0.05)])
def test_bound_panel_stacks_the_gap_on_the_elbo(mean, std):
    """The last q is so far off that its ELBO lies below the axis; the gap then fills the whole bar."""
    left, right = the_elbo.bound_panel(SQUARE, 1.0, mean, std).axes
    x = torch.tensor([[1.0]], dtype=torch.float64)
    q = Gaussian(torch.full((1, 1), mean, dtype=torch.float64), std**2)
    log_p, elbo = SQUARE.log_prob(x).item(), SQUARE.elbo(x, q).item()
    bound, gap = right.patches
    floor = bound.get_y()
    assert bound.get_y() + bound.get_height() == pytest.approx(max(elbo, floor))
    assert gap.get_y() + gap.get_height() == pytest.approx(log_p)
    assert f"{elbo:.2f}".replace("-", "−") in right.texts[0].get_text()
    z, density = lines(left)["q(z)"]
    exact = Gaussian(torch.full((len(z),), mean, dtype=torch.float64), std**2).log_prob(torch.tensor(z)).exp()
    np.testing.assert_allclose(density, exact, rtol=1e-9, atol=1e-12)
    posterior = left.collections[0].get_paths()[0].vertices
    assert posterior[:, 1].max() == pytest.approx(SQUARE.log_posterior(x, torch.tensor(z)[None]).exp().max().item())


def test_bound_explorer_follows_its_sliders():
    explorer = widgets.bound_explorer({"square": SQUARE})
    for name, value in (("mean", 0.9), ("std", 0.2), ("x", 2.0)):
        before = bytes(explorer.image.value)
        explorer.controls[name].value = value
        expected = the_elbo.bound_panel(SQUARE, *(explorer.controls[k].value for k in ("x", "mean", "std")))
        assert explorer.image.value != before and explorer.image.value == plots.to_png(expected, colours=None)


def test_weight_histogram_marks_elbo_and_evidence():
    values = torch.tensor([-30.0, -2.0, -1.0, 0.0])
    fig = the_elbo.weight_histogram({"a": values, "b": values + 0.5}, log_p=-0.3)
    for ax, shift in zip(fig.axes, (0, 0.5), strict=True):
        drawn = lines(ax)
        assert drawn["their mean: the ELBO"][0][0] == pytest.approx(-8.25 + shift)
        assert drawn["log p(x)"][0][0] == -0.3 and "25.0% below" in ax.get_title(loc="left") + ax.get_title()


def test_correlated_posterior_draws_both_laws():
    left, right = the_elbo.correlated_posterior([0.0, 0.5], [0.0, 0.14], shown=0.9).axes
    slanted, circle = left.patches
    # 2 standard deviations along the axes of the covariance [[1, 0.9], [0.9, 1]], and 1/Λ_ii = 1 − 0.81
    assert slanted.width == pytest.approx(4 * math.sqrt(1.9)) and slanted.height == pytest.approx(4 * math.sqrt(0.1))
    assert circle.width == circle.height == pytest.approx(4 * math.sqrt(0.19))
    assert right.get_lines()[0].get_ydata().tolist() == [0.0, 0.14]


def test_bounds_against_draws_shows_two_standard_errors():
    bounds = [Estimate(torch.tensor(v), torch.tensor(0.1)) for v in (-3.0, -2.0)]
    ax = the_elbo.bounds_against_draws([1, 4], {"q": bounds}, -1.5).axes[0]
    segments = ax.containers[0].lines[2][0].get_segments()
    assert segments[0][:, 1].tolist() == pytest.approx([-3.2, -2.8])
    assert lines(ax)["log p(x), exact"][1][0] == -1.5


# ---- lesson 03 ------------------------------------------------------------------------------------------------------
def test_ellipse_holds_its_share():
    mean, cov = torch.tensor([1.0, -2.0]).double(), torch.tensor([[2.0, 0.8], [0.8, 1.0]]).double()
    border = variational_autoencoders.ellipse(mean, cov, share=0.95) - mean
    squared = (border @ torch.linalg.inv(cov) * border).sum(1)
    # the 95 % quantile of χ² with two degrees of freedom is −2 log 0.05
    np.testing.assert_allclose(squared, -2 * math.log(0.05), rtol=1e-10)


def test_plane_panel_decodes_the_point_it_marks():
    torch.manual_seed(0)
    model = vae.mlp_vae((1, 4, 4), 2, (8,))
    labels = torch.arange(10)
    fig = variational_autoencoders.plane_panel(model, torch.zeros(10, 2), labels, -1.0, 0.5)
    law = model.decode(torch.tensor([[-1.0, 0.5]]))
    np.testing.assert_allclose(fig.axes[1].get_images()[0].get_array(), law.mean[0, 0].detach(), atol=1e-6)  # float32
    assert [line.get_xydata().tolist() for line in fig.axes[0].get_lines()] == [[[-1.0, 0.5]]]
    assert set(np.unique(fig.axes[2].get_images()[0].get_array())) <= {0.0, 1.0}


def test_latent_plane_lays_the_grid_out_row_by_row():
    decoded = torch.arange(4.0).reshape(2, 2, 1, 1).expand(2, 2, 3, 3) / 3
    sheet = (
        variational_autoencoders.latent_plane(torch.zeros(3, 2), torch.zeros(3), decoded, 2.0)
        .axes[1]
        .get_images()[0]
        .get_array()
    )
    assert sheet.shape == (6, 6)
    corners = [sheet[0, 0], sheet[0, 5], sheet[5, 0], sheet[5, 5]]
    np.testing.assert_allclose(corners, [0, 1 / 3, 2 / 3, 1], rtol=1e-6)


def test_collapse_draws_the_closed_form_beside_the_trained_lengths():
    ax = variational_autoencoders.collapse(
        [0.5, 2.0], torch.tensor([[2.5, 1.0, 0.3, 0], [1.0, 0, 0, 0]]), torch.tensor([3.0, 1.5, 0.8, 0.2])
    ).axes[0]
    grid, line = lines(ax)["λ = 1.50"]
    np.testing.assert_allclose(line, np.maximum(1.5 - grid, 0), atol=1e-6)
    dots = [ln.get_ydata().tolist() for ln in ax.get_lines() if ln.get_marker() == "o"]
    assert dots[0] == pytest.approx([2.5, 1.0]) and dots[1] == pytest.approx([1.0, 0.0])


def test_curves_of_lesson_03_hold_what_they_are_given():
    ax = variational_autoencoders.training_curve([3.0, 2.0], [(2, -2.5)], -1.0).axes[0]
    assert lines(ax)["a training batch"][1].tolist() == [-3, -2] and lines(ax)["1,000 test digits"][1].tolist() == [
        -2.5
    ]
    ax = variational_autoencoders.information_curve((10, 100), {"d = 2": [1.0, 2.0]}).axes[0]
    np.testing.assert_allclose(lines(ax)["the cap, log N"][1], np.log([10, 100]))
    ax = variational_autoencoders.coordinate_kl({"run": torch.tensor([0.1, 2.0])}).axes[0]
    assert lines(ax)["run"][1].tolist() == pytest.approx([2.0, 0.1])
    ax = variational_autoencoders.gradient_variance([1, 10], {"score function": [2.0, 3.0]}).axes[0]
    assert lines(ax)["score function"][1].tolist() == [2.0, 3.0]
