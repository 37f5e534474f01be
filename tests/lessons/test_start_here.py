"""The figure and the widget of lesson 00."""

import io
import itertools
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dlgm import data, plots, samplers
from dlgm.course import notation
from dlgm.oracles import EmpiricalData
from dlgm.plots import start_here
from dlgm.process import q_sample
from dlgm.samplers import DDIM
from dlgm.schedules import cosine_beta, time_grid


def test_there_and_back_ends_on_a_data_point_and_is_the_picture_of_the_readme():
    """The picture is made again from data and code; a few grey levels are left for another font or renderer."""
    points, _ = data.load("mnist")
    schedule, generator, times = cosine_beta(), torch.Generator().manual_seed(1), [125 * k for k in range(9)]
    eps = torch.randn(points[:1].shape, generator=generator)
    forth = [q_sample(schedule, points[:1], t, eps)[0] for t in times]
    x_T = schedule.start((1, 1, 28, 28), generator)
    exact = EmpiricalData(points).denoiser(schedule)
    back = samplers.states(exact, DDIM(), x_T, time_grid(schedule, 40))[::5, 0].flip(0)
    fig = start_here.there_and_back(forth, back, times)
    last = torch.as_tensor(fig.axes[9].get_images()[0].get_array())
    assert ((points[:, 0] + 1) / 2 - last).abs().flatten(1).amax(1).min() < 1e-3  # DDIM's last step, in float32
    stored = Image.open(Path(__file__).parents[2] / "notebooks" / "there_and_back.png").convert("RGB")
    made = Image.open(io.BytesIO(plots.to_png(fig))).convert("RGB").resize(stored.size)
    assert np.abs(np.asarray(made, float) - np.asarray(stored, float)).mean() < 3


def test_notation_card_shows_both_notations_and_names_the_erratum():
    card = notation.card("posterior_mean", "004")
    assert notation.formula("posterior_mean") in card and notation.formula("posterior_mean", "004") in card
    assert "POST-1" in card and "E-01" in card and "004 CMU" in card
    missing = notation.card("log_snr", "003")
    assert "does not appear" in missing and "003" not in missing


def test_notation_explorer_follows_both_lists_for_every_pair():
    w = notation.explorer()
    (which, whose), card = w.children[0].children, w.children[1]
    seen = set()
    for name, deck in itertools.product(which.options, whose.options):
        which.value, whose.value = name, deck
        seen.add(card.value)
    assert len(seen) > len(notation.FORMULAS) * 6  # some decks share a notation, few share all of it
    which.value, whose.value = which.options[2], whose.options[3]
    assert card.value == notation.card(list(notation.FORMULAS)[2], list(notation.DECKS)[4])
