"""Lesson 21: the numbers of its text, its boxes, what the shipped network of clips does, the table, the figures."""

import math

import pytest
import torch

from dlgm import data, training, video
from dlgm.course import video_diffusion as given
from dlgm.denoiser import Clipped
from dlgm.exercises.video_diffusion import (
    attention_products,
    diagnose_block,
    exact_weight,
    missing,
    through_time,
)
from dlgm.oracles import AutoRegression
from dlgm.plots import to_gif
from dlgm.plots import video_diffusion as figures
from dlgm.samplers import DDIM, sample
from dlgm.schedules import cosine_beta, time_grid

F64 = torch.float64


def test_vid_2_sequences_by_hand():
    h = torch.tensor([111.0, 112, 121, 122, 211, 212, 221, 222]).reshape(4, 1, 1, 2)
    assert through_time(h, 2)[..., 0].tolist() == [[111, 121], [112, 122], [211, 221], [212, 222]]
    assert h.reshape(4, 2, 1)[..., 0].tolist()[0] == [111, 112]


def test_m_28_products_that_the_text_quotes():
    together, apart = attention_products(16, 8, 8)
    assert together / apart == pytest.approx(12.8)


def test_vid_1_the_missing_frame_by_hand_and_in_the_oracle():
    rho, before, after = (torch.tensor(v, dtype=F64) for v in (0.5, 5.0, -2.0))
    mean, var = missing(rho, 1, 2, before, after)
    assert mean.item() == pytest.approx(2) and var.item() == pytest.approx(5 / 7)
    law = AutoRegression(4, 0.5).missing([True, False, False, True], [5.0, 0, 0, -2.0])
    assert law[0][1].item() == pytest.approx(2) and law[1][1, 1].item() == pytest.approx(5 / 7)


@pytest.mark.parametrize("t", (20, 400, 900))
def test_m_28_the_exact_weight_is_the_oracles_spread(t):
    schedule, rho = cosine_beta(), 0.8
    signal, noise = (torch.tensor([float(v)], dtype=F64) for v in (schedule.signal(t), schedule.noise(t)))
    spread = AutoRegression(2, rho).spread([True, False])(schedule, t)
    assert exact_weight(rho, signal, noise).item() == pytest.approx((noise**2 / (signal**2 * spread)).item())
    assert video.of_weight(exact_weight(rho, signal, noise).item())(schedule, t) == pytest.approx(spread)


def test_each_box_does_what_it_is():
    kinds = {"joint": "mixes pixels", "turned": "mixes pixels", "distances": "right"}
    boxes = given.boxes()
    assert len(boxes) == 7
    for box in boxes.values():
        assert diagnose_block(box) == kinds.get(box.kind, box.kind) and box.kind not in repr(box)
    with pytest.raises(ValueError, match=r"expected \(3 B, C, H, W\) with 3 frames, got \(4, 1, 2, 2\)"):
        boxes["A"](torch.zeros(4, 1, 2, 2), 3)


def test_numbers_of_motion_of_true_still_and_shuffled_clips(generator):
    judge = given.judge()
    real, _ = given.moving(24, generator)
    still = real[:, :1].expand(-1, 16, -1, -1, -1)
    shuffled = real[:, torch.randperm(16, generator=generator)]
    true, frozen, mixed = (given.motion(clips, judge) for clips in (real, still, shuffled))
    assert true["path error"].max() < 0.6 and true["same digit"].mean() > 0.97 and true["alike"].mean() > 0.95
    assert frozen["path error"].max() < 1e-3 and frozen["speed"].max() == 0 and frozen["same digit"].min() == 1
    assert mixed["path error"].median() > 1.0 and mixed["same digit"].mean() > 0.97


def test_the_straight_mix_keeps_what_is_known_and_fades_between(generator):
    clip = torch.randn(2, 7, 1, 3, 3, generator=generator)
    known = torch.tensor([False, True, False, False, True, False, False])
    out = given.straight(clip, known)
    assert torch.equal(out[:, known], clip[:, known])
    torch.testing.assert_close(out[:, 2], (2 * clip[:, 1] + clip[:, 4]) / 3)
    assert torch.equal(out[:, 0], clip[:, 1]) and torch.equal(out[:, 6], clip[:, 4])


def test_vid_1_the_shipped_network_moves_a_digit_keeps_clips_apart_and_heeds_what_it_is_told(generator):
    moving, card = training.load(data.checkpoint("video_digits"))
    real, _ = given.moving(8, generator)
    noise, times = torch.randn(real.shape, generator=generator), time_grid(moving.schedule, 10)
    x = noise[:3].clone().requires_grad_()
    answer = moving(x, 500, beside=video.beside(real[:3], torch.zeros(16, dtype=torch.bool))).x0
    heard = torch.autograd.grad(answer[0].sum(), x)[0].flatten(1).abs().sum(1)
    assert heard[0] > 0 and (heard[1:] == 0).all()
    known = video.every(16, 5)
    told = sample(video.Told(Clipped(moving), real, known), DDIM(), noise, times)
    assert torch.equal(told[:, known], real[:, known])
    off = (video.centroids(told) - video.centroids(real)).square().sum(2).sqrt()[:, ~known].median()
    mixed = (video.centroids(given.straight(real, known)) - video.centroids(real)).square().sum(2).sqrt()
    assert off < mixed[:, ~known].median() + 0.5
    numbers = given.motion(
        sample(video.Told(Clipped(moving), real, ~known & False), DDIM(), noise, times), given.judge()
    )
    assert numbers["speed"].median() > 0.3 and numbers["alike"].mean() > 0.7
    assert {"path error, drawn", "speed, real"} <= set(card)


def test_vid_1_the_table_says_what_the_lesson_says():
    table = data.measured("motion_digits")["values"]
    assert table["one noise: speed"][0] == 0 and table["one noise: same digit"][0] == 1
    alike = {name: table[f"{name}: alike"] for name in ("real", "clips", "one by one")}
    assert alike["real"][0] > alike["clips"][0] > alike["one by one"][0] + 4 * alike["one by one"][1]
    told, put = table["fill, told: off"], table["fill, replacement: off"]
    assert put[0] - told[0] > 2 * math.hypot(told[1], put[1])


def test_vid_2_the_table_of_starts_decides_nothing():
    """No start is more than four errors better than another in path and likeness at once, as the lesson says."""
    table = data.measured("starts_digits")["values"]
    nothing, pictures = (table[f"after {name}: alike"] for name in ("nothing", "pictures"))
    assert pictures[0] < nothing[0] + 4 * math.hypot(nothing[1], pictures[1])
    assert all(table[f"after {name}: speed"][0] < 0.8 for name in ("nothing", "pictures", "nothing, pictures in turn"))


def test_the_figures_hold_their_data(generator):
    clip = torch.rand(6, 1, 4, 4, generator=generator)
    fig = figures.strips({"a": clip, "b": clip[:4]}, every=2)
    assert [ax.get_ylabel() for ax in fig.axes[::3]] == ["a", "b"]
    path = torch.rand(2, 6, 2, generator=generator)
    ax, other = figures.paths({"x": path, "y": path + 1}).axes
    assert torch.tensor(other.lines[0].get_xdata()).tolist() == pytest.approx((path[0, :, 0] + 1).tolist())
    left, right = figures.weights([1, 2], [(0.3, 0.5), (0.6, 0.4)], (0.8, 0.36), (0.3, 0.6), (0.8, 0.36)).axes
    assert list(right.lines[0].get_ydata()) == [0.5, 0.4] and right.lines[2].get_ydata()[0] == 0.6
    fig = figures.told(clip, clip, torch.arange(6) < 2, path)
    assert [ax.get_ylabel() for ax in fig.axes[:18:6]] == ["true", "told", "drawn"]
    gif = to_gif(torch.rand(2, 5, 1, 8, 8, generator=generator), columns=2, scale=2)
    assert gif[:6] == b"GIF89a" and len(gif) < 300_000
