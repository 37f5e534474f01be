"""Lesson 16: the numbers that its text quotes, the boxes, and figures that draw what they were given."""

import math

import pytest
import torch

from dlgm import guidance, oracles, process
from dlgm.course import guidance as given
from dlgm.course.reported import CLASSIFIER_FREE, CLASSIFIER_SCALE
from dlgm.exercises.guidance import conditional_chain, guided_eps, guided_flow, implied_weight, tilted_step
from dlgm.oracles import GaussianMixture, guided
from dlgm.plots import guidance as figures
from dlgm.schedules import DiscreteSchedule, linear_beta

F64 = torch.float64


def islands():
    return guided.LabelledMixture([GaussianMixture([1.0], [[m]], [[[0.25]]]) for m in (-1.0, 1.0)], [0.5, 0.5])


def test_guide_1_7_the_example_by_hand():
    """GUIDE-1, GUIDE-7: x_0 = ±1, signal 0.6, noise 0.8, x_t = 0: gradient and score .9375, ε of the class −0.75."""
    gradient = 1.875 * (1 - 1 / 2)
    assert gradient == pytest.approx(0.6 / 0.64) == 0.9375
    schedule = DiscreteSchedule([0.64])
    points = guided.LabelledMixture([GaussianMixture([1.0], [[m]], [[[1e-12]]]) for m in (-1.0, 1.0)], [0.5, 0.5])
    x, t, y = torch.zeros(1, 1, dtype=F64), torch.tensor([1]), torch.tensor([1])
    found = guidance.gradient(points.log_posterior(schedule), x, 1, y)
    assert found.item() == pytest.approx(gradient)
    eps = guided_eps(schedule.alpha_bar, points.denoiser(schedule)(x, 1).eps, found, t, 1.0)
    torch.testing.assert_close(eps, points.denoiser(schedule)(x, 1, y=y).eps)
    assert eps.item() == pytest.approx(-0.75)


def test_e_33_where_noise_looks_at_the_label_the_formula_is_off():
    """GUIDE-4, M-02, E-33: exact with the premise; .134 without it, in the chain of the lesson."""
    move = torch.tensor([[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]], dtype=F64)
    p_0, says_y = torch.tensor([0.5, 0.3, 0.2], dtype=F64), torch.tensor([0.9, 0.5, 0.1], dtype=F64)
    chain = oracles.DiscreteChain(p_0, [move, move])
    of_y = oracles.DiscreteChain(p_0 * says_y / (p_0 @ says_y), [move, move])
    package, now = guided.conditional_reverse(chain, says_y), says_y
    for reverse, truth, ours in zip(chain.reverse(), of_y.reverse(), package, strict=True):
        table, now = conditional_chain(reverse, now)
        torch.testing.assert_close(table, truth)
        torch.testing.assert_close(table, ours)
    still = 0.5 * move + 0.5 * torch.eye(3, dtype=F64)
    looking = oracles.DiscreteChain(of_y.p_0, [still, still])
    rest = oracles.DiscreteChain(p_0 * (1 - says_y) / (p_0 @ (1 - says_y)), [move, move])
    share = (p_0 @ says_y).item()
    pair = (share * looking.joint() + (1 - share) * rest.joint()).sum(2)
    formula, _ = conditional_chain((pair / pair.sum(0)).T, says_y)
    assert (formula - looking.reverse()[0]).abs().max().item() == pytest.approx(0.134, abs=5e-4)


def test_e_17_e_48_the_pushes_of_a_step():
    """GUIDE-2, GUIDE-5, GUIDE-6: at β = .2 the pushes at μ and at x_t differ by .135, at .02 by .0016."""
    x_t, y = torch.tensor([[-0.6]], dtype=F64), torch.tensor([1])
    for beta, gap in ((0.2, 0.135), (0.02, 0.0016), (0.002, 1.7e-5)):
        schedule = DiscreteSchedule([0.4, beta])
        log_p = islands().log_posterior(schedule)
        x0 = islands().whole.posterior_mean(schedule, x_t, 2)
        mean = process.q_posterior(schedule, x_t, x0, 1, 2).mean
        p = log_p(mean, 1, y).exp()[:, None]
        at_mean, late = (guidance.gradient(log_p, x, t, y) for x, t in ((mean, 1), (x_t, 2)))
        pushed, var = tilted_step(mean, torch.full_like(mean, beta), p, p * at_mean, 1.0)
        assert var.item() == beta
        assert (pushed - mean - beta * late).item() == pytest.approx(gap, rel=0.05)
        assert p.item() == pytest.approx(0.156, abs=2e-3)  # E-17: what is missing where the logarithm was forgotten


def test_guide_11_three_draws_leave_a_thousandth():
    """GUIDE-11, E-49: a tenth by one draw for all parts, a thousandth by three."""
    y, g = torch.zeros(100_000, dtype=torch.int64), torch.Generator().manual_seed(0)
    together = guidance.drop_labels((y, y, y), 0.1, -1, g)
    apart = [guidance.drop_labels(y, 0.1, -1, g) for _ in range(3)]
    for dropped, share in ((together, 0.1), (apart, 0.001)):
        found = torch.stack(list(dropped)).eq(-1).all(0).double().mean().item()
        assert found == pytest.approx(share, abs=5 * math.sqrt(share / 100_000))


def test_guide_10_e_47_what_the_boxes_mean():
    """GUIDE-10, E-47: at "scale 7.5" γ is 7.5, 8.5 and −6.5."""
    at = {name: sum(v * s for v, s in zip(implied_weight(box), (1, 7.5), strict=True)) for name, box in
          given.GUIDES.items()}  # fmt: skip
    assert {name: v.item() for name, v in at.items()} == pytest.approx({"A": 7.5, "B": 8.5, "C": -6.5})


def test_guide_13_e_43_the_flow_of_the_exercise_ends_where_the_closed_form_says():
    """GUIDE-13, E-43: from noise 1e8; at γ = 7.5 it has a twentieth of the variance that was asked for."""
    assert guided.flow_variance(1.0, 2.0, 7.5) / guided.tilted_variance(1.0, 2.0, 7.5) == pytest.approx(0.047, abs=5e-4)
    x = torch.tensor([1.0], dtype=F64)
    for gamma in (0.0, 1.0, 3.0):
        stretch = guided_flow(x, 1.0, 2.0, gamma, 1e8, 0.0).item()
        assert 1e8 * stretch**2 == pytest.approx(guided.flow_variance(1.0, 2.0, gamma), rel=1e-6)


def test_num_3_4_the_reported_numbers():
    assert CLASSIFIER_FREE == {0: (1.80, 53.71), 1: (12.6, 170.1), 3: (24.83, 250.4)}
    assert CLASSIFIER_SCALE == {1: 33.0, 10: 12.0}


def test_figures_draw_what_they_are_given():
    g = torch.Generator().manual_seed(0)
    grey, blue, x = (torch.randn(20, 2, generator=g) for _ in range(3))
    fig = figures.guided_clouds(grey, blue, {"γ = 1": x, "γ = 3": 2 * x})
    assert [ax.get_title() for ax in fig.axes] == ["γ = 1", "γ = 3"]
    offsets = torch.tensor(fig.axes[1].collections[2].get_offsets().tolist())
    torch.testing.assert_close(offsets, 2 * x)
    fig = figures.three_laws([0, 1, 3], {"a": [2, 1, 0.5], "b": [2, 1, 0.25], "c": [2, 1, 0.4]}, {"b": {3: 0.26}})
    assert [line.get_ydata().tolist() if hasattr(line.get_ydata(), "tolist") else list(line.get_ydata())
            for line in fig.axes[0].lines] == [[2, 1, 0.5], [2, 1, 0.25], [0.26], [2, 1, 0.4]]  # fmt: skip
    rows = {"exact": ([0.1, 0.6], [1, 1]), "seen": ([0.1, 0.7], [1, 1.1]), "clean": ([0.1, 3.0], [1, 90])}
    fig = figures.classifiers([1, 900], rows)
    assert [len(ax.lines) for ax in fig.axes] == [4, 3] and list(fig.axes[1].lines[2].get_ydata()) == [1, 90]
    fig = figures.guided_panel(grey, blue, x, (-x[:, 0].abs(), -blue[:, 0].abs()), "γ = 2")
    assert fig.axes[0].get_title() == "γ = 2" and "log p(x | y)" in fig.axes[1].get_xlabel()
    rows = {name: [(0.5, 0.01), (0.9, 0.02)] for name in ("hits", "fidelity", "variety", "distance")}
    left, right = figures.tradeoff([0, 4], rows, (0.2, 0.01)).axes
    assert [b.get_label() for b in left.containers] == ["hits", "fidelity", "variety"]
    assert right.containers[0].lines[2][0].get_segments()[1][:, 1].tolist() == pytest.approx([0.86, 0.94])
    assert right.lines[-1].get_ydata()[0] == 0.2


def test_the_plane_of_the_lesson_is_steered_by_bayes():
    """GUIDE-1, GUIDE-9: the implied classifier is the exact one."""
    world, schedule = islands(), linear_beta()
    x, y = torch.randn(5, 1, generator=torch.Generator().manual_seed(1), dtype=F64), torch.ones(5, dtype=torch.int64)
    exact = world.denoiser(schedule)
    implied = guidance.implicit_gradient(exact(x, 300, y=y), exact(x, 300))
    torch.testing.assert_close(implied, guidance.gradient(world.log_posterior(schedule), x, 300, y))
