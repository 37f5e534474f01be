"""Lesson 17: the numbers that its text quotes, the boxes, and figures that draw what they were given."""

import math

import pytest
import torch

from dlgm import data, distillation, metrics, samplers, training
from dlgm.course import progressive_distillation as given
from dlgm.course.reported import ONE_STEP, STUDENTS
from dlgm.denoiser import Prediction
from dlgm.exercises.progressive_distillation import (
    implied_answer,
    kept_spread,
    steps_inside,
    student_loss,
    student_target,
)  # fmt: skip
from dlgm.oracles import GaussianMixture
from dlgm.plots import progressive_distillation as figures
from dlgm.schedules import DiscreteSchedule, VPCosine, cosine_beta, time_grid

F64 = torch.float64
COSINE = cosine_beta()
LUMPS = GaussianMixture([0.5, 0.5], [[-1.0, 0.3], [0.7, -0.2]], [[0.05, 0.1]] * 2)


def test_dist_3_the_example_by_hand():
    """DIST-2, DIST-3: from 1 by way of 2/3 to 1/3, answers 0.2 and 0.6: x_m .966, x_s .904, x̃ .467."""
    schedule, x = VPCosine(), torch.ones(1, 1, dtype=F64)
    x_m = distillation.ddim_step(schedule, x, 0.2 * x, 1.0, 2 / 3)
    x_s = distillation.ddim_step(schedule, x_m, 0.6 * x, 2 / 3, 1 / 3)
    assert (round(x_m.item(), 3), round(x_s.item(), 3)) == (0.966, 0.904)
    assert distillation.implied_x0(schedule, x, x_s, 1.0, 1 / 3).item() == pytest.approx(0.2 / 3 + 0.6 * 2 / 3)
    assert 1 / 3 * 0.2 + 2 / 3 * 0.6 == pytest.approx(0.467, abs=5e-4)


def test_dist_3_the_two_exercises_are_one():
    """DIST-2, DIST-3: the mean of the two answers is the quotient of the two steps' ends."""
    exact, g = LUMPS.denoiser(COSINE), torch.Generator().manual_seed(0)
    x, teacher = COSINE.start((40, 2), g, F64), lambda x, t: exact(x, t).x0
    t, m, s = (torch.full((40,), v) for v in (700, 500, 300))
    target = student_target(teacher, x, t, m, s, COSINE.alpha_bar)
    x_s = samplers.sample(exact, samplers.DDIM(), x, [700, 500, 300])
    torch.testing.assert_close(target, implied_answer(x, x_s, t, s, COSINE.alpha_bar))
    torch.testing.assert_close(target, distillation.target(exact, x, 700, 500, 300))


def test_dist_4_the_spread_that_the_text_quotes():
    """DIST-4: 1024 steps in one: .9988; 8: .856; about 1 − π²/8N."""
    grid = {N: torch.linspace(math.pi / 2, 0, N + 1, dtype=F64) for N in (8, 1024)}
    student, plain = kept_spread(grid[1024], 10)
    assert round(student.item(), 4) == 0.9988 and plain.item() == pytest.approx(0, abs=1e-15)
    assert round(kept_spread(grid[8], 3)[0].item(), 3) == 0.856
    for N in (8, 1024):
        assert kept_spread(grid[N], 1)[0].item() == pytest.approx(distillation.spread(N))
    assert distillation.spread(1024) == pytest.approx(1 - math.pi**2 / 8 / 1024, abs=1e-6)


def test_dist_1_the_weights_by_hand():
    """DIST-1, M-19: signal .6, noise .8: SNR .5625, the weight of v 1.5625."""
    a = torch.tensor([1.0, 0.36], dtype=F64)
    one, none, t = torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64), torch.tensor([1])
    found = [student_loss(one, none, t, a, w).item() for w in ("snr", "truncated", "snr+1")]
    assert found == pytest.approx([0.5625, 1.0, 1.5625])
    schedule = DiscreteSchedule([0.64])
    assert [distillation.weights(schedule, 1, w) for w in ("snr", "truncated", "snr+1")] == pytest.approx(found)


def boxes():
    grid = time_grid(COSINE, 8, end=20).tolist()
    return grid, given.loops(COSINE, grid)


def test_what_each_box_asks_and_weighs():
    grid, loops = boxes()
    assert grid[2:5] == [755, 632, 510]
    found = {name: steps_inside(loop, 1) for name, loop in loops.items()}
    assert {name: asked.tolist() for name, (asked, _) in found.items()} == {
        "A": [755], "B": [755, 632], "C": [755, 632], "D": [755, 388], "E": [755, 510],
    }  # fmt: skip
    assert [round(share.item(), 3) for _, share in found.values()] == [1.0, 0.44, 0.0, 0.558, 2.274]
    assert repr(loops["A"]) == "the A loop"
    with pytest.raises(ValueError, match="unknown fault 'late'"):
        given.Loop("", COSINE, tuple(grid), "late")


def test_only_the_right_box_lands_where_two_steps_do():
    grid, loops = boxes()
    exact, x = LUMPS.denoiser(COSINE), torch.randn(50, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    two = samplers.sample(exact, samplers.DDIM(), x, grid[2:5])
    for name, loop in loops.items():
        told = loop(lambda x, t: exact(x, t).x0, x, 1)
        gap = (distillation.ddim_step(COSINE, x, told, grid[2], grid[4]) - two).abs().max().item()
        assert (gap < 1e-10) == (name == "B"), (name, gap)
        assert ((told - exact(x, grid[2]).x0).abs().max().item() < 1e-12) == (name == "A"), name


def test_loops_c_and_d_draw_samples_that_look_right():
    """What the lesson says of its check on samples: of the four faults it sees only E's."""
    grid, loops = boxes()
    exact, g = LUMPS.denoiser(COSINE), torch.Generator().manual_seed(2)
    x_T, real = COSINE.start((1000, 2), g, F64), LUMPS.sample(1000, g)

    class Taught:
        schedule = COSINE

        def __init__(self, loop):
            self.loop = loop

        def __call__(self, x_t, t):
            i = self.loop.times.index(int(t)) // 2
            return Prediction(COSINE, x_t, t, x0=self.loop(lambda x, t: exact(x, t).x0, x_t, i))

    far = {
        name: metrics.energy_distance(samplers.sample(Taught(loop), samplers.DDIM(), x_T, grid[::2]), real).value.item()
        for name, loop in loops.items()
    }
    assert max(far[name] for name in "ABCD") < 0.05 < far["E"]


def test_m_20_the_shipped_tables_have_what_the_lesson_says_of_them():
    """DIST-4, M-20: students are nearer than both solvers at as many calls; each halving costs."""
    table = data.measured("students_mnist")["values"]
    for n in (1, 2, 4, 8):
        value, error = table[f"student {n}"]
        for other in {f"ddim {n}", f"dpm++ 2 {n}"} & set(table):
            assert value + 2 * error < table[other][0] - 2 * table[other][1], (n, other)
    values = [table[f"student {n}"][0] for n in (8, 4, 2, 1)]
    assert values == sorted(values) and values[0] > table["floor"][0]
    ways = data.measured("ways_digits8")["values"]
    for steps in (450, 1800):
        assert ways[f"pairs {steps}"][0] < min(ways[f"halvings {steps}"][0], ways[f"consistency {steps}"][0])
    assert all(ways[f"{name} 1800"][0] < ways[f"{name} 450"][0] for name in ("halvings", "consistency", "pairs"))
    assert ways["teacher 8"][0] < min(value for name, (value, _) in ways.items() if name != "teacher 8")
    assert STUDENTS[1] == ONE_STEP["halvings"] and list(STUDENTS.values()) == sorted(STUDENTS.values())


def test_dist_5_the_shipped_guided_student_hears_of_w_and_of_the_digit():
    model, card = training.load(data.checkpoint("student_mnist_guided"))
    assert {f"hits, w = {w}" for w in (0, 1, 4)} <= set(card)
    x, y = COSINE.start((2, 1, 28, 28), torch.Generator().manual_seed(0)), torch.tensor([3, 5])
    with torch.no_grad():
        low, high = (model(x, 1000, y=y, w=torch.full((2,), w)).x0 for w in (0.0, 4.0))
        other = model(x, 1000, y=y.flip(0), w=torch.zeros(2)).x0
    assert (low - high).abs().max() > 0.05 and (low - other).abs().max() > 0.05


def test_the_figures_hold_their_data():
    axes = figures.clouds({"a": torch.zeros(3, 2), "b": torch.ones(4, 2)}).axes
    assert [ax.get_title(loc="center") for ax in axes] == ["a", "b"]
    assert [len(ax.collections[0].get_offsets()) for ax in axes] == [3, 4]
    rows = {"student": [(1, 2.0, 0.1), (4, 0.5, 0.2)], "ddim": [(1, 50.0, 0.5), (4, 5.0, 0.5)]}
    ax = figures.distance_by_calls(rows, (0.4, 0.01), (0.2, 0.01)).axes[0]
    assert [b.lines[0].get_ydata().tolist() for b in ax.containers] == [[2.0, 0.5], [50.0, 5.0]]
    assert ax.containers[0].lines[2][0].get_segments()[1][:, 1].tolist() == pytest.approx([0.1, 0.9])
    assert [line.get_ydata()[0] for line in ax.lines[-2:]] == [0.4, 0.2]
    kept = {"student": torch.tensor([0.9, 1.0]), "plain walk": torch.tensor([0.5, 0.6])}
    panel = figures.panel(
        torch.zeros(3, 2), torch.ones(4, 2), torch.ones(5, 2), torch.tensor([0.1, 1.0]), kept, "title"
    )
    assert [len(ax.collections[1].get_offsets()) for ax in panel.axes[:2]] == [4, 5]
    assert [line.get_label() for line in panel.axes[2].lines[:2]] == ["student", "plain walk"]
    assert panel.axes[2].lines[1].get_ydata().tolist() == pytest.approx([0.5, 0.6])
