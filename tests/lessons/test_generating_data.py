"""Figures of lesson 01."""

import pytest
import torch

from dlgm import metrics, oracles, plots
from dlgm.plots import generating_data

F64 = torch.float64


def test_the_widgets_panel_is_pure_and_quick_to_draw():
    first, second = (plots.to_png(generating_data.prior_sampling_panel(3, 5, repeats=20)) for _ in range(2))
    assert first == second
    assert first != plots.to_png(generating_data.prior_sampling_panel(8, 5, repeats=20))
    for d, k in ((1, 0), (24, 0)):  # one draw; almost all weights vanish
        plots.to_png(generating_data.prior_sampling_panel(d, k, repeats=5))


def test_the_other_figures_draw_what_they_are_given(generator):
    square, truth = metrics.grid(extent=2.0, n=11, dtype=F64), oracles.ring()
    log_p, x = truth.log_prob(square.points), truth.sample(30, generator)
    log_p_y = oracles.bayes(torch.stack([log_p, log_p + 1], 1), torch.tensor([0.5, 0.5], dtype=F64))[:, 1]
    figures = [
        generating_data.two_questions(log_p_y, log_p, 2.0, x, torch.arange(30) % 2, {"A": (0, 0)}, ["milk", "dark"]),
        generating_data.samples_of_families(truth, {str(k): x for k in range(7)}),
        generating_data.densities_of_families({"one": log_p, "two": log_p}, 2.0),
        generating_data.sampling_the_prior([1, 2], {10: [5.0, 3.0]}, {1: ([-0.2, -0.1], [0.1, 0.1])}, [4, 16], 0.25),
        generating_data.codes_and_prior(x, x, x[:, 0].abs(), x[:, 1].abs()),
    ]
    for fig, axes in zip(figures, (4, 8, 3, 2, 2), strict=True):  # colour bars included
        assert plots.to_png(fig)[:4] == b"\x89PNG" and len(fig.axes) == axes
        assert all(ax.get_title(loc="left") or ax.get_ylabel() for ax in fig.axes)
    with pytest.raises(ValueError, match="argument"):
        generating_data.samples_of_families(truth, {"one": x})
