"""Figures of lesson 02 draw the quantities that their labels name."""

import math

import numpy as np
import pytest
import torch
from helpers import lines

from dlgm import plots
from dlgm.course import widgets
from dlgm.gaussian import Gaussian
from dlgm.metrics import Estimate
from dlgm.oracles import NonlinearModel
from dlgm.plots import the_elbo

SQUARE = NonlinearModel(lambda z: z**2, 0.1)


@pytest.mark.parametrize("mean, std", [(0.0, 0.8), (0.93, 0.17), (-2.0, 0.05)])
def test_bound_panel_draws_log_p_and_the_elbo_as_two_levels(mean, std):
    """The last q is so far off that its ELBO is drawn eight nats down and only its number is right."""
    left, right = the_elbo.bound_panel(SQUARE, 1.0, mean, std).axes
    x = torch.tensor([[1.0]], dtype=torch.float64)
    q = Gaussian(torch.full((1, 1), mean, dtype=torch.float64), std**2)
    log_p, elbo = SQUARE.log_prob(x).item(), SQUARE.elbo(x, q).item()
    evidence, bound = (line.get_ydata()[0] for line in right.lines)
    assert evidence == pytest.approx(log_p) and bound == pytest.approx(max(elbo, log_p - 8))
    below = "" if bound == elbo else ", below the axis"
    words = [text.get_text() for text in right.texts if text.get_text()]
    assert words == [f"log p(x) = −{-log_p:.2f}", f"ELBO = −{-elbo:.2f}{below}", f"KL {log_p - elbo:.2f}"]
    z, density = lines(left)["q(z)"]
    exact = Gaussian(torch.full((len(z),), mean, dtype=torch.float64), std**2).log_prob(torch.tensor(z)).exp()
    np.testing.assert_allclose(density, exact, rtol=1e-9, atol=1e-12)
    posterior = left.collections[0].get_paths()[0].vertices
    assert posterior[:, 1].max() == pytest.approx(SQUARE.log_posterior(x, torch.tensor(z)[None]).exp().max().item())


def test_bound_explorer_follows_its_sliders():
    explorer = widgets.Explorer(
        lambda x, mean, std: the_elbo.bound_panel(SQUARE, x, mean, std),
        "bound",
        x=widgets.slider("x", 0.2, 3.0, 1.0, 0.1),
        mean=widgets.slider("mean of q", -2.0, 2.0, 0.0, 0.05),
        std=widgets.slider("std of q", 0.05, 1.5, 0.5, 0.05),
    )
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
