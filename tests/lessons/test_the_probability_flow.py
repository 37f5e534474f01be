"""Lesson 14: the numbers that its text quotes, and figures that draw what they were given."""

import math

import pytest
import torch

from dlgm import data, likelihood
from dlgm.exercises.the_probability_flow import extrapolated, heun_step, mended_heun, probe_error, public_heun
from dlgm.oracles import GaussianMixture, Spectrum
from dlgm.plots import the_probability_flow as figures
from dlgm.samplers import DDIM, DPMSolverPP, Euler, Heun, sample
from dlgm.schedules import VPLinear, cosine_beta, time_grid
from dlgm.scores import projection_variance

F64 = torch.float64
SCHEDULE, TOP, END = VPLinear(), 0.9999, 0.001
LUMPS = GaussianMixture([0.35, 0.65], [-1.0, 0.8], [0.04, 0.09])
EXACT = LUMPS.denoiser(SCHEDULE)
STEPS = (public_heun, mended_heun)


@pytest.fixture(scope="module")
def world():
    """(starts, where the exact flow takes them)."""
    x = LUMPS.diffuse(SCHEDULE, TOP).sample(200, torch.Generator().manual_seed(0)).double()
    return x, LUMPS.flow(SCHEDULE, x, TOP, END)


def ratios(times):
    return [SCHEDULE.noise(t) / SCHEDULE.signal(t) for t in times]


def rms(y, truth):
    return (SCHEDULE.signal(END) * y - truth).square().mean().sqrt().item()


def heun_error(world, N, kind="eps", step=None):
    times = time_grid(SCHEDULE, N, TOP, END, "logsnr").tolist()
    rho, y = ratios(times), world[0] / SCHEDULE.signal(TOP)
    at = dict(zip(rho, times, strict=True))

    def network(y, r):
        return getattr(EXACT(SCHEDULE.signal(at[r]) * y, at[r]), kind)

    for a, b in zip(rho, rho[1:], strict=False):
        y = heun_step(network, y, a, b) if step is None else step(network, kind, y, a, b)
    return rms(y, world[1])


def line_error(world, N, spacing="logsnr", line=extrapolated):
    times = time_grid(SCHEDULE, N, TOP, END, spacing).tolist()
    rho, y, before = ratios(times), world[0] / SCHEDULE.signal(TOP), None
    for i in range(N):
        x0, h = EXACT(SCHEDULE.signal(times[i]) * y, times[i]).x0, math.log(rho[i] / rho[i + 1])
        target = x0 if before is None else line(x0, before, h, math.log(rho[i - 1] / rho[i]))
        y, before = rho[i + 1] / rho[i] * y - math.expm1(-h) * target, x0
    return rms(y, world[1])


def order(error, *of):
    return math.log2(error(80, *of) / error(160, *of))


def test_by_hand_the_flow_of_a_gaussian_keeps_standard_deviations():
    """Data N(0, 4), x_T = 1.5: x_0 = 3 and log p(3) = −2.737."""
    world = GaussianMixture([1.0], [0.0], [4.0])
    far = cosine_beta(1000)  # ends at ᾱ = 2e-9
    assert world.flow(far, torch.tensor([1.5], dtype=F64), 1000, 0).item() == pytest.approx(3, abs=1e-4)
    assert world.log_prob(torch.tensor([3.0], dtype=F64)).item() == pytest.approx(-2.737, abs=5e-4)


def test_m_18_a_straight_step_in_rho_is_ddim_and_exact_for_one_point():
    """M-18: y_s = y_t + (ρ_s − ρ_t) ε̂; for a single point one step is the flow, in t no Euler step is."""
    point, x, (t, s) = Spectrum([0.0], 0.7), torch.tensor([[0.4], [-1.1]], dtype=F64), (0.8, 0.55)
    denoiser = point.denoiser(SCHEDULE)
    rho_t, rho_s = ratios([t, s])
    straight = SCHEDULE.signal(s) * (x / SCHEDULE.signal(t) + (rho_s - rho_t) * denoiser(x, t).eps)
    torch.testing.assert_close(straight, sample(denoiser, DDIM(), x, [t, s]))
    exact = SCHEDULE.signal(s) * 0.7 + SCHEDULE.noise(s) / SCHEDULE.noise(t) * (x - SCHEDULE.signal(t) * 0.7)
    torch.testing.assert_close(straight, exact)
    assert (sample(denoiser, Euler(), x, [t, s]) - exact).abs().min() > 0.01


def test_m_14_the_learners_solvers_are_those_of_the_package(world):
    """M-14: Heun and two answers have order 2 and the errors of ``samplers``; counted in calls, two answers win."""
    for N in (16, 64):
        times = time_grid(SCHEDULE, N, TOP, END, "logsnr")
        for error, solver in ((heun_error, Heun()), (line_error, DPMSolverPP(2))):
            found = rms(sample(EXACT, solver, world[0], times) / SCHEDULE.signal(END), world[1])
            assert error(world, N) == pytest.approx(found, rel=1e-6)
    assert order(lambda N: heun_error(world, N)) == pytest.approx(2, abs=0.1)
    assert order(lambda N: line_error(world, N)) == pytest.approx(2, abs=0.1)
    assert 2 * line_error(world, 128) < heun_error(world, 64)


def test_the_slip_of_the_second_stage_shows_with_v_only(world):
    for kind in ("eps", "v"):
        slip, mended = (lambda N, step=step, kind=kind: heun_error(world, N, kind, step) for step in STEPS)
        assert order(mended) == pytest.approx(2, abs=0.1)
        assert slip(80) == pytest.approx(mended(80)) if kind == "eps" else slip(80) > 50 * mended(80)
        assert (order(slip) > 1.9) == (kind == "eps")


def test_exchanged_steps_keep_the_order_and_fail_on_a_line(world):
    def exchanged(x0, before, h, h_before):
        return extrapolated(x0, before, h, h_before * (h_before / h) ** -2)  # h/h' becomes h'/h

    for spacing in ("logsnr", "karras"):
        assert order(lambda N, s=spacing: line_error(world, N, s, exchanged)) == pytest.approx(2, abs=0.1)
    one = torch.ones(1, dtype=F64)
    right, wrong = (line(one, one - 0.4, 1.3, 0.4).item() for line in (extrapolated, exchanged))
    assert right == pytest.approx(1.787, abs=1e-3) and wrong == pytest.approx(1.075, abs=1e-3)


def test_m_13_the_error_bar_of_a_direction_is_that_of_one_matrix():
    """M-13: 2 Σ_{i≠j} S² and 2 Σ S²; ``probe_error`` and ``scores.projection_variance`` say the same."""
    A = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    for kind in ("rademacher", "gaussian"):
        want = projection_variance(A, kind).sqrt() / 3**0.5
        torch.testing.assert_close(probe_error(A, kind, 3), want)


def test_bits_read_at_the_levels_fall_without_end_and_dequantised_they_bound_the_rate():
    """Eight levels: dequantised − rate is least near a third of a bin, .08 bits there; at the levels below 0 at .03."""
    levels, bin = (torch.arange(8, dtype=F64) - 3.5) / 3.5, 2 / 7
    P = torch.tensor([0.02, 0.10, 0.30, 0.08, 0.05, 0.25, 0.15, 0.05], dtype=F64)
    inside = levels[:, None] + bin * ((torch.arange(2001, dtype=F64) + 0.5) / 2001 - 0.5)
    found = {}
    for s in (1, 0.5, 0.3, 0.2, 0.1, 0.03):
        law = GaussianMixture(P, levels, torch.full((8,), (s * bin) ** 2))
        log_p = law.log_prob(inside.flatten()).reshape(8, -1)
        nats = law.log_prob(levels), log_p.mean(1), log_p.logsumexp(1) - math.log(2001)
        found[s] = [likelihood.bits_per_dim(P @ v, 1, bin).item() for v in nats]
    entropy = -(P @ P.log2()).item()
    assert all(entropy - 1e-6 < rate < bound for _, bound, rate in found.values())
    assert min(found, key=lambda s: found[s][1]) == 0.3 and found[0.3][1] - found[0.3][2] == pytest.approx(
        0.08, abs=0.02
    )
    assert found[0.03][0] < -1


def test_the_tables_of_the_digits_say_what_the_text_says():
    bits = data.measured("flow_mnist")["values"]
    for name, gap in (("bound, posterior, minus flow", 0.09), ("bound, predicted, minus flow", 0.03)):
        value, error = bits[name]
        assert round(value, 2) == gap and value > 2 * error
    assert bits["flow, as a density of pixels"][0] - bits["flow"][0] == pytest.approx(0.34, abs=0.005)
    sigma = cosine_beta(1000).noise(1)
    assert -math.log2(sigma * math.sqrt(2 * math.pi * math.e)) == pytest.approx(5.2, abs=0.05)


def test_the_figures_hold_their_data():
    x = torch.linspace(-2, 2, 50, dtype=F64)
    side = (x, LUMPS.log_prob(x).exp(), LUMPS.cdf(x))
    axes = figures.quantiles([1.0, 0.5, 0.0], torch.zeros(3, 10), side, side).axes
    assert len(axes[1].lines) == 10 and len({line.get_color() for line in axes[1].lines}) == 5
    ax = figures.error_by_calls({"a": ([8, 16], [0.1, 0.05]), "b, yours": ([8, 16], [0.1, 0.02])}).axes[0]
    assert list(ax.lines[1].get_ydata()) == [0.1, 0.02] and list(ax.lines[-1].get_ydata()) == [0.1, 0.0125]
    ax = figures.distance_by_calls({"a": [(5, 3.0, 0.1), (8, 2.0, 0.2)]}, 0.2).axes[0]
    assert ax.containers[0].lines[2][0].get_segments()[1][:, 1].tolist() == pytest.approx([1.6, 2.4])
    picture = figures.densities(3, 1.0, {"a": torch.arange(9.0), "b": torch.zeros(9)}).axes[0].images[0]
    assert picture.get_array().tolist() == torch.arange(9.0).reshape(3, 3).T.tolist()
    ax = figures.bits_by_width([1, 0.5], {"a": [2.0, 3.0]}, 1.5).axes[0]
    assert list(ax.lines[0].get_ydata()) == [2.0, 3.0]
    left, right = figures.flow_panel(LUMPS, SCHEDULE, "DDIM", DDIM(), 4, walkers=3).axes
    assert len(left.lines) == 6 and left.lines[3].get_ydata()[0] == pytest.approx(-2.2)
    end = LUMPS.flow(SCHEDULE, torch.tensor([-2.2], dtype=F64), TOP, END).item()
    assert left.lines[0].get_ydata()[-1] == pytest.approx(end)
