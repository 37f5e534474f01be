"""Lesson 13: the numbers that its text quotes, and figures that draw what they were given."""

import math

import pytest
import torch

from dlgm.denoiser import Prediction
from dlgm.exercises.stochastic_differential_equations import maruyama_variance
from dlgm.gaussian import Gaussian
from dlgm.oracles import GaussianMixture, Spectrum, spectrum
from dlgm.plots import stochastic_differential_equations as figures
from dlgm.samplers import EulerMaruyama
from dlgm.schedules import VPCosine, VPLinear, linear_beta, time_grid

F64 = torch.float64
SCHEDULE, WORLD = VPLinear(), Spectrum([0.25])


def test_sde_1_2_the_chain_comes_nearer_to_the_equation_as_one_over_t():
    """SDE-1, SDE-2: signal of ``linear_beta(T)`` against that of VP-linear, largest gap 1e-2, 1e-3, 1e-4."""
    t = torch.tensor([0.1, 0.3, 0.6, 1.0], dtype=F64)
    gaps = [(linear_beta(T).signal((t * T).long()) - SCHEDULE.signal(t)).abs().max().item() for T in (100, 1000, 10000)]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.05) and gaps[1] / gaps[2] == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine()], ids=str)
def test_m_12_densities_of_a_mixture_obey_fokker_planck(schedule):
    """M-12: ∂p/∂t = −∂(f x p)/∂x + ½ g² ∂²p/∂x², by central differences."""
    world, x, t, h = (
        GaussianMixture([0.35, 0.65], [-1.0, 0.8], [0.04, 0.09]),
        torch.linspace(-2, 2, 50).double(),
        0.3,
        1e-3,
    )
    f, g2 = schedule.sde(t)

    def p(t, x):
        return world.diffuse(schedule, t).log_prob(x).exp()

    left = (p(t + h / 10, x) - p(t - h / 10, x)) / (2 * h / 10)
    drift = (f * (x + h) * p(t, x + h) - f * (x - h) * p(t, x - h)) / (2 * h)
    right = -drift + 0.5 * g2 * (p(t, x + h) - 2 * p(t, x) + p(t, x - h)) / h**2
    torch.testing.assert_close(left, right, rtol=0, atol=2e-4)  # h² times third and fourth derivatives


def test_sde_3_only_the_reverse_sde_has_the_joint_law_of_the_way_up():
    """SDE-3: correlation of x_0.2 with x_0.3: churn 1 has that of the way up, the flow 1, churn 3 less."""
    times, top = time_grid(SCHEDULE, 500, 0.3, 0.2), WORLD.marginal(SCHEDULE, 0.3)
    m = WORLD.marginal(SCHEDULE, 0.2).var.item()
    up = SCHEDULE.signal(0.3) / SCHEDULE.signal(0.2) * math.sqrt(m / top.var.item())
    found = []
    for churn in (0.0, 1.0, 3.0):
        law, noise = (
            WORLD.walk(EulerMaruyama(churn), SCHEDULE, times, start) for start in (top, Gaussian(top.mean, 0.0))
        )
        found.append(((law.var - noise.var) / law.var).item() ** 0.5)
        assert law.var.item() == pytest.approx(m, rel=2e-3)
    assert found[0] == pytest.approx(1) and found[1] == pytest.approx(up, rel=2e-3) and found[2] < 0.8 * up


def ratio(N, quiet=False):
    t = time_grid(SCHEDULE, N)[:-1]
    m = SCHEDULE.signal(t) ** 2 * 0.25 + SCHEDULE.noise(t) ** 2
    v = maruyama_variance(SCHEDULE.sde(t)[1], m, 1 / N, torch.ones((), dtype=F64))
    return (v / 0.25).item() - quiet * SCHEDULE.sde(t[-1:])[1].item() / N / 0.25


def test_sde_6_the_recursion_is_the_walk_and_a_quiet_end_looks_perfect_at_70_steps():
    for N in (50, 100, 200, 400):
        law = WORLD.walk(EulerMaruyama(), SCHEDULE, time_grid(SCHEDULE, N))
        assert ratio(N) == pytest.approx(law.var.item() / 0.25, rel=1e-9)
    found = [ratio(N, quiet=True) for N in (50, 100, 200, 400)]
    assert found == pytest.approx([0.9922, 1.0030, 1.0033, 1.0021], abs=5e-5)
    best = min(range(50, 401), key=lambda N: abs(ratio(N, quiet=True) - 1))
    assert best == 70 and abs(ratio(70, quiet=True) - 1) < 1e-4 < abs(ratio(70) - 1)
    assert (ratio(3200, True) - 1) / (ratio(6400, True) - 1) == pytest.approx(2, rel=0.06)  # of first order, too


class Wrong:
    """The exact denoiser with a score 20 % too large between two times."""

    def __init__(self, low, high):
        self.exact, self.schedule, self.low, self.high = WORLD.denoiser(SCHEDULE), SCHEDULE, low, high

    def __call__(self, x, t):
        p = self.exact(x, t)
        return Prediction(SCHEDULE, x, t, score=p.score * (1.2 if self.low <= t <= self.high else 1.0))


def test_sde_9_noise_forgets_early_errors_and_believes_late_ones():
    """SDE-9: exact variance ratios at churn 0, 1, 4 after 1000 steps."""
    times, truth = time_grid(SCHEDULE, 1000, 1.0, 0.001), WORLD.marginal(SCHEDULE, 0.001).var.item()

    def row(denoiser, start):
        start = Gaussian(torch.zeros(1, 1, dtype=F64), start)
        return [spectrum.walk(denoiser, EulerMaruyama(a), times, start).var.item() / truth for a in (0.0, 1.0, 4.0)]

    assert row(WORLD.denoiser(SCHEDULE), 1.5) == pytest.approx([1.499, 1.001, 1.005], abs=1e-3)
    assert row(Wrong(0.5, 1.0), 1.0) == pytest.approx([0.219, 0.996, 1.005], abs=1e-3)
    assert row(Wrong(0.0, 0.1), 1.0) == pytest.approx([0.925, 0.883, 0.834], abs=1e-3)


def test_quiz_2_2_the_drift_leads_uphill_and_the_process_to_the_law():
    """QUIZ-2.2: a small step along the score raises log p_t; the walk ends with the spread of the data all the same."""
    world, x = GaussianMixture([0.35, 0.65], [-1.0, 0.8], [0.04, 0.09]), torch.linspace(-2, 2, 9).double()
    law = world.diffuse(SCHEDULE, 0.2)
    assert (law.log_prob(x + 1e-3 * law.score(x)) > law.log_prob(x)).all()
    assert WORLD.walk(EulerMaruyama(), SCHEDULE, time_grid(SCHEDULE, 400)).var.item() > 0.25


def test_the_figures_hold_their_data():
    x = torch.linspace(-1, 1, 24)
    axes = figures.walks([1.0, 0.5, 0.0], {"a": torch.zeros(3, 4), "b": torch.ones(3, 2)}, (x, x.abs())).axes
    assert [len(ax.lines) for ax in axes] == [4, 2, 0] and axes[1].get_title(loc="left") == "b"
    ax = figures.both_sides(x, {"left": 2 * x, "right": 2 * x}).axes[0]
    assert len(ax.lines[1].get_xdata()) == 2 and list(ax.lines[0].get_ydata()) == (2 * x).tolist()
    ax = figures.variance_by_steps([50, 100], {"a": [1.03, 1.01], "b": [0.99, 1.0]}).axes[0]
    assert list(ax.lines[1].get_ydata()) == [0.99, 1.0]
    ax = figures.error_by_churn([0, 1], {"a": [(0.2, 0.1), (0.1, 0.05)], "b": [0.3, 0.4]}, "error").axes[0]
    assert ax.containers[0].lines[2][0].get_segments()[0][:, 1].tolist() == pytest.approx([0.0, 0.4])
    assert list(ax.lines[-1].get_ydata()) == [0.3, 0.4]
    world = GaussianMixture([0.35, 0.65], [-1.0, 0.8], [0.04, 0.09])
    left, right = figures.churn_panel(world, SCHEDULE, 10, 1.0, walkers=100, shown=5).axes
    assert len(left.lines) == 5
    torch.testing.assert_close(
        torch.tensor(right.lines[0].get_xdata()), world.log_prob(torch.tensor(right.lines[0].get_ydata())).exp()
    )
