"""The figures of lesson 07 draw the numbers they were given."""

import math

import pytest
import torch

from dlgm import vlb
from dlgm.gaussian import Gaussian, discretized_log_prob
from dlgm.metrics import estimate
from dlgm.oracles import GaussianMixture, bounds
from dlgm.plots import the_diffusion_elbo
from dlgm.schedules import cosine_beta

F64 = torch.float64
PIXEL = bounds.PixelLaw.of(GaussianMixture([0.4, 0.6], [-0.5, 0.4], [0.05**2, 0.15**2]))


def test_the_stacked_bars_add_up_to_the_bounds():
    bounds = {T: PIXEL.vlb(cosine_beta(T=T)) for T in (4, 8)}
    ax = the_diffusion_elbo.bits_by_length(bounds, PIXEL.entropy).axes[0]
    heights = torch.tensor([bar.get_height() for bar in ax.patches], dtype=F64).reshape(2, 3).sum(1)
    torch.testing.assert_close(heights, torch.cat([v.bits_per_dim for v in bounds.values()]))
    assert ax.lines[0].get_ydata()[0] == PIXEL.entropy
    assert "prior (too small to see)" in ax.get_legend_handles_labels()[1]
    totals = [f"{v.bits_per_dim.item():.2f}" for v in bounds.values()]
    assert [label.get_text() for label in ax.texts] == totals


@pytest.mark.parametrize("variance", ["beta", "posterior"])
def test_the_panel_draws_every_step_in_bits(variance):
    schedule = cosine_beta(T=12)
    left, right = the_diffusion_elbo.terms_panel(PIXEL, schedule, variance).axes
    vlb = PIXEL.vlb(schedule, variance)
    drawn = torch.tensor(left.lines[0].get_ydata(), dtype=F64)
    torch.testing.assert_close(drawn, vlb.steps[0] / math.log(2))
    assert list(left.lines[0].get_xdata()) == list(range(2, 13))
    assert abs(sum(bar.get_height() for bar in right.patches) - vlb.bits_per_dim.item()) < 1e-12
    assert f"{vlb.bits_per_dim.item():.3f}" in right.get_title(loc="left")


def test_the_decoder_panel_charges_in_bits_and_its_clamp_stops():
    left, right = the_diffusion_elbo.decoder_panel(-0.99, 0.012, 1e-12).axes
    exact, clamped = (torch.tensor(line.get_ydata()) for line in right.lines)
    assert clamped.max() == pytest.approx(-math.log2(1e-12)) and exact.max() > 10 * clamped.max()
    law = Gaussian(torch.full((1, 1), -0.99, dtype=F64), 0.012**2)
    black = discretized_log_prob(law, torch.full((1, 1), -1.0, dtype=F64)).exp().item()
    assert left.texts[0].get_text() == f"{black:.2f}" and len(left.texts) == 7
    ticks = {label.get_text(): -1 + 2 * int(label.get_text()) / 255 for label in left.get_xticklabels()}
    assert list(ticks) == list("0123456")
    assert left.get_xticks().tolist() == pytest.approx(list(ticks.values()))


def test_the_other_figures_hold_their_data(generator):
    ax = the_diffusion_elbo.excess_by_length([32, 64], {"a": [0.2, 0.1], "b": [0.3, 0.3]}).axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.2, 0.1], [0.3, 0.3]]
    values = {4: estimate(torch.tensor([1.0, 3.0]), 0), 8: estimate(torch.tensor([1.0, 2.0]), 0)}
    ax = the_diffusion_elbo.estimates_on_exact({"beta": values}, {"beta": {4: 1.9, 8: 1.4}}, 1.0).axes[0]
    assert list(ax.lines[0].get_ydata()) == [1.9, 1.4]
    assert ax.containers[0].lines[0].get_ydata().tolist() == [2.0, 1.5]
    run = vlb.vlb_terms(PIXEL.denoiser(cosine_beta(T=6)), PIXEL.sample(20, generator), generator)
    ax = the_diffusion_elbo.terms_by_step({"one": run}).axes[0]
    paid = torch.tensor(ax.lines[0].get_ydata(), dtype=F64)
    torch.testing.assert_close(paid[0], run.bits_per_dim.mean())  # all is paid at t = 1
    assert f"one: {run.bits_per_dim.mean():.2f} bits" in ax.get_legend_handles_labels()[1]
    torch.testing.assert_close(paid[-1], (run.prior + run.steps[:, -1]).mean() / math.log(2))
