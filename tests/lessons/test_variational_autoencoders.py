"""Figures of lesson 03 draw the quantities that their labels name."""

import math

import numpy as np
import pytest
import torch
from helpers import lines

from dlgm import vae
from dlgm.course import variational_autoencoders as given
from dlgm.gaussian import Gaussian
from dlgm.plots import variational_autoencoders


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
    grid, line = ax.get_lines()[2].get_data()
    np.testing.assert_allclose(line, np.maximum(1.5 - grid, 0), atol=1e-6)
    trained = [lines(ax)[name][1].tolist() for name in ("λ = 3.00", "λ = 1.50")]
    assert trained[0] == pytest.approx([2.5, 1.0]) and trained[1] == pytest.approx([1.0, 0.0])


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


def test_vae_2_the_four_losses_are_the_bound_with_four_weights():
    """Loss A is minus the mean ELBO with Bernoulli pixels; B to D weigh its two parts as their reductions say."""
    generator = torch.Generator().manual_seed(0)
    logits, mean, logvar = (torch.randn(*shape, generator=generator).double() for shape in ((5, 7), (5, 3), (5, 3)))
    x = torch.bernoulli(torch.full((5, 7), 0.4), generator=generator).double()
    error = -vae.Bernoulli(logits).log_prob(x)
    kl = vae.standard_kl(Gaussian(mean, logvar.exp())).sum(1)
    want = {
        "A": error.mean() + kl.mean(), "B": error.mean() / 7 + kl.mean(), "C": error.mean() / 7 + kl.mean() / 3,
        "D": error.sum() + kl.mean(),
    }  # fmt: skip
    for name, loss in given.LOSSES.items():
        torch.testing.assert_close(loss(x, logits, mean, logvar), want[name], msg=name)
    with pytest.raises(ValueError, match="unknown reduction"):
        given.Loss("E", pixels="median")(x, logits, mean, logvar)
