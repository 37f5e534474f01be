"""Solvers of the reverse equations, their orders measured for every head and schedule. SDE-1..9, M-11, M-14."""

import math

import pytest
import torch

from dlgm.denoiser import Denoiser, Prediction
from dlgm.oracles import GaussianMixture, Spectrum
from dlgm.samplers import (
    DDIM,
    DDPM,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
    Langevin,
    PredictorCorrector,
    langevin,
    sample,
    sample_path,
)
from dlgm.schedules import (
    VE,
    DiscreteSchedule,
    LearnedMonotone,
    Rescaled,
    VPCosine,
    VPLinear,
    cosine_beta,
    linear_beta,
    time_grid,
    time_of,
)

F64 = torch.float64
WORLD = Spectrum([0.25, 1.5], [0.3, -0.2])
SCHEDULES = [VPLinear(), VPCosine(), VE(0.1, 9.0), Rescaled(VPLinear(), "ve"), Rescaled(VE(0.1, 9.0), "vp")]
SOLVERS = [(DDIM(), 1), (DPMSolverPP(1), 1), (DPMSolverPP(2), 2), (DPMSolverPP(3), 3), (Heun(), 2)]


class Head:
    """The exact denoiser, which answers in one form only, as a network with that target would."""

    def __init__(self, world, schedule, kind):
        self.exact, self.schedule, self.kind = world.denoiser(schedule), schedule, kind

    def __call__(self, x_t, t):
        return Prediction(self.schedule, x_t, t, **{self.kind: getattr(self.exact(x_t, t), self.kind)})


def slopes(error, counts):
    """log2 of the ratios of errors when the steps are doubled."""
    errors = [error(N) for N in counts]
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)], errors


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("solver, order", SOLVERS, ids=str)
def test_m_14_every_solver_has_its_order_on_every_schedule(solver, order, schedule):
    """M-14, SDE-8: the exact law of the last state against the marginal; a wrong order is off by 1, a slope by .2."""
    top, end = 0.95, 0.1
    start, truth = WORLD.marginal(schedule, top), WORLD.marginal(schedule, end)

    def error(N):
        law = WORLD.walk(solver, schedule, time_grid(schedule, N, top, end, "logsnr"), start)
        return ((law.var.sqrt() - truth.var.sqrt()).abs() + (law.mean - truth.mean).abs()).max().item()

    found, errors = slopes(error, (40, 80, 160))
    assert abs(found[-1] - order) < 0.2, (found, errors)


MIXTURE = GaussianMixture([0.4, 0.6], [-1.0, 0.8], [0.3, 0.5])


@pytest.fixture(scope="module")
def fine():
    """(starts, where the flow takes them): by the quantiles."""
    x = VPLinear().start((40,), torch.Generator().manual_seed(0), F64)
    return x, MIXTURE.flow(VPLinear(), x, 0.9, 0.1)


def test_sde_4_on_a_line_the_flow_keeps_quantiles(fine):
    """SDE-4: the solver of order 3 and the distribution functions agree; there and back is where one was."""
    x, truth = fine
    times = time_grid(VPLinear(), 1000, 0.9, 0.1, "logsnr")
    found = sample(MIXTURE.denoiser(VPLinear()), DPMSolverPP(3), x, times)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-7)  # third order, steps of 0.01
    torch.testing.assert_close(MIXTURE.flow(VPLinear(), truth, 0.1, 0.9), x, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="only a mixture of numbers"):
        GaussianMixture([1, 1], torch.eye(2), torch.ones(2)).cdf(torch.zeros(1, 2))


@pytest.mark.parametrize("kind", ["eps", "x0", "v", "score"])
@pytest.mark.parametrize("solver, order", SOLVERS, ids=str)
def test_m_14_the_order_does_not_depend_on_what_the_network_predicts(solver, order, kind, fine):
    """A second stage that takes the wrong noise level is invisible with ε and shows with the other heads."""
    schedule, (x, truth) = VPLinear(), fine

    def error(N):
        times = time_grid(schedule, N, 0.9, 0.1, "logsnr")
        return (sample(Head(MIXTURE, schedule, kind), solver, x, times) - truth).square().mean().sqrt().item()

    found, errors = slopes(error, (40, 80, 160))
    assert abs(found[-1] - order) < 0.2, (found, errors)


def test_sde_6_euler_maruyama_is_of_first_order_and_the_wrong_recipe_crosses_the_truth():
    """SDE-6: variance ratios for data N(0, ¼), VP-linear: 1.0321, 1.0150, 1.0072, 1.0036 at 50, 100, 200, 400 steps."""
    world, schedule = Spectrum([0.25]), VPLinear()
    ratios = [
        (world.walk(EulerMaruyama(), schedule, time_grid(schedule, N)).var / 0.25).item() for N in (50, 100, 200, 400)
    ]
    assert ratios == pytest.approx([1.0321, 1.0150, 1.0072, 1.0036], abs=5e-5)
    assert (ratios[2] - 1) / (ratios[3] - 1) == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine(), VE(0.1, 9.0), Rescaled(VPLinear(), "vp")], ids=str)
def test_sde_3_4_5_every_churn_keeps_the_marginals_to_first_order(churn, schedule):
    """SDE-3, SDE-4, SDE-5: one family of equations with the same laws at each time."""
    top, end = 0.9, 0.1
    start, truth = WORLD.marginal(schedule, top), WORLD.marginal(schedule, end)

    def error(N):
        law = WORLD.walk(EulerMaruyama(churn), schedule, time_grid(schedule, N, top, end), start)
        return ((law.var - truth.var).abs() + (law.mean - truth.mean).abs()).max().item()

    found, errors = slopes(error, (400, 800, 1600))
    assert abs(found[-1] - 1) < 0.1, (found, errors)


def test_sde_4_7_euler_is_the_family_without_noise(generator):
    x, schedule = torch.randn(5, 2, generator=generator, dtype=F64), VPLinear()
    times = [0.8, 0.6, 0.5]
    a = sample(WORLD.denoiser(schedule), Euler(), x, times)
    torch.testing.assert_close(a, sample(WORLD.denoiser(schedule), EulerMaruyama(0.0), x, times))
    p = WORLD.denoiser(schedule)(x, 0.8)  # SDE-7: x + ½ β (x + s) Δ
    beta = 0.1 + 0.8 * 19.9
    step = x + 0.5 * beta * (x + p.score) * 0.2
    torch.testing.assert_close(sample(WORLD.denoiser(schedule), Euler(), x, [0.8, 0.6]), step)


def test_sde_5_the_reverse_sde_is_the_flow_and_langevin_dynamics():
    """SDE-5: for small steps one step of churn a is one of Euler and a Langevin move of size a g² Δ/2, up to Δ²."""
    schedule, x = VPLinear(), torch.tensor([[0.4, -1.0]], dtype=F64)
    z = torch.tensor([[0.7, -0.3]], dtype=F64)

    class Given:
        def like(self, _):
            return z

    denoiser, dt, a = WORLD.denoiser(schedule), 1e-4, 0.7
    whole = sample(denoiser, EulerMaruyama(a), x, [0.5, 0.5 - dt], Given())
    flow = sample(denoiser, Euler(), x, [0.5, 0.5 - dt])
    h = a * schedule.sde(0.5)[1] * dt / 2
    both = langevin(lambda y: denoiser(y, 0.5).score, flow, 1, h, Given())
    assert (whole - both).abs().max() < 100 * dt**1.5 * 1e-1  # the score is asked at the moved state


@pytest.mark.parametrize("schedule", [linear_beta(1000), VPLinear()], ids=str)
def test_sde_1_2_8_the_chain_is_a_step_of_the_equation_up_to_second_order(schedule):
    """SDE-1, SDE-2, SDE-8: an ancestral step with β and one of Euler–Maruyama differ by order β² in the variance."""
    world, (t, s) = Spectrum([0.5]), (500, 499) if schedule.last == 1000 else (0.5, 0.499)
    one = world.marginal(schedule, t)
    a, b = (world.walk(sampler, schedule, [t, s], one) for sampler in (DDPM("beta"), EulerMaruyama()))
    beta = schedule.noise(t) ** 2 * -math.expm1(schedule.logsnr(t) - schedule.logsnr(s))
    assert abs((a.var - b.var).item()) < 3 * beta**2 and abs(beta) < 0.02


def test_m_11_correctors_bring_back_what_a_wrong_start_lost():
    """M-11: from a start of wrong variance, moves at each level pull the law to the marginal, many all the way."""
    world, schedule = Spectrum([0.5]), VPLinear()
    times = time_grid(schedule, 60, 0.6, 0.05)
    start = world.marginal(schedule, 0.6)
    wrong = type(start)(start.mean, start.var * 2)
    truth = world.marginal(schedule, 0.05).var.item()
    off = [
        abs(world.walk(sampler, schedule, times, wrong).var.item() / truth - 1)
        for sampler in (DDIM(), PredictorCorrector(DDIM(), 0.16, 1), PredictorCorrector(DDIM(), 0.16, 20))
    ]
    assert off[0] > 2 * off[1] > 2 * off[2] and off[2] < 0.05
    h = 2 * (0.16 * schedule.noise(0.3)) ** 2
    step = PredictorCorrector(DDIM(), 0.16, 3)
    by_hand = world.walk(Langevin(h, 3), schedule, [0.3, 0.3], world.walk(DDIM(), schedule, [0.31, 0.3], start))
    torch.testing.assert_close(world.walk(step, schedule, [0.31, 0.3], start).var, by_hand.var)


@pytest.mark.parametrize("solver", [Euler(), Heun(), DPMSolverPP(2), DPMSolverPP(3), DDIM()], ids=str)
def test_the_last_step_lands_on_a_single_point(solver):
    """Right at noise 0, where λ is infinite; and from a start without signal."""
    point = Spectrum([0.0, 0.0], [0.7, -0.4])
    for schedule in (VPLinear(), cosine_beta(50), VPCosine()):
        times = time_grid(schedule, 25)
        if isinstance(solver, Euler):
            if schedule.last != 1 or schedule.signal(1.0) == 0:
                continue
            assert (point.walk(solver, schedule, times).mean - point.mean).abs().max() < 0.1  # first order, 25 steps
            continue
        torch.testing.assert_close(point.walk(solver, schedule, times).mean[0], point.mean)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("schedule", [VPCosine(), Rescaled(VPLinear(), "ve")], ids=str)
def test_a_step_from_no_signal_or_to_no_noise_is_ddims(schedule, order):
    """There λ is infinite: x_s = noise_s/noise_t x_t + (signal_s − signal_t noise_s/noise_t) x̂_0 for each order."""
    x = torch.tensor([[0.3, -1.2]], dtype=F64)
    stops = list(sample_path(Head(WORLD, schedule, "x0"), DPMSolverPP(order), x, [1.0, 0.7, 0.4, 0.1, 0.0]))
    for a, b in zip(stops, stops[1:], strict=False):
        if schedule.signal(a.t) == 0 or schedule.noise(b.t) == 0:
            share = schedule.noise(b.t) / schedule.noise(a.t)
            want = share * a.x + (schedule.signal(b.t) - schedule.signal(a.t) * share) * a.prediction.x0
            torch.testing.assert_close(b.x, want, rtol=1e-14, atol=1e-14)  # float64, terms of order 1
    assert schedule.noise(0.0) == 0  # so the last step was looked at


def test_the_calls_of_the_network_are_counted():
    counts = []

    class Counted(Head):
        def __call__(self, x_t, t):
            counts[-1] += 1
            return super().__call__(x_t, t)

    x = torch.zeros(1, 2, dtype=F64)
    for solver, want in ((DDIM(), 10), (DPMSolverPP(2), 10), (DPMSolverPP(3), 11), (Heun(), 19), (EulerMaruyama(), 10)):
        counts.append(0)
        sample(Counted(WORLD, VPLinear(), "eps"), solver, x, time_grid(VPLinear(), 10), torch.Generator())
        assert counts[-1] == want, solver


def test_the_walk_tells_its_last_stops(generator):
    x = torch.randn(3, 2, generator=generator, dtype=F64)
    stops = list(sample_path(WORLD.denoiser(VPLinear()), DDIM(), x, [0.9, 0.6, 0.3, 0.1]))
    assert [[b.t for b in stop.before] for stop in stops] == [[], [0.9], [0.6, 0.9], [0.3, 0.6]]
    assert all(b.before == () for stop in stops for b in stop.before)


# ---- times ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("schedule", [*SCHEDULES, LearnedMonotone(5, 8.0, -6.0)], ids=lambda s: type(s).__name__)
def test_the_time_of_a_log_snr_is_found(schedule):
    t = torch.tensor([0.9, 0.4, 0.05], dtype=F64)
    torch.testing.assert_close(time_of(schedule, schedule.logsnr(t)), t, rtol=0, atol=1e-9)
    if math.isfinite(schedule.logsnr(schedule.last)):
        with pytest.raises(ValueError, match="must lie between"):
            time_of(schedule, [schedule.logsnr(schedule.last) - 1])


def test_grids_are_even_in_what_they_say():
    schedule = VPCosine()
    even = schedule.logsnr(time_grid(schedule, 8, 0.95, 0.02, "logsnr")).diff()
    torch.testing.assert_close(even, even[:1].expand(8))
    root = (-schedule.logsnr(time_grid(schedule, 8, 0.95, 0.02, "karras", rho=7)) / 2 / 7).exp().diff()
    torch.testing.assert_close(root, root[:1].expand(8))
    whole = time_grid(cosine_beta(1000), 12, 990, 3, "logsnr")
    assert whole.dtype == torch.int64 and whole[0] == 990 and whole[-1] == 3 and (whole.diff() < 0).all()
    with pytest.raises(ValueError, match="unknown spacing 'log'; known: time, logsnr, karras"):
        time_grid(schedule, 8, spacing="log")
    with pytest.raises(ValueError, match="needs finite log-SNRs"):
        time_grid(schedule, 8, 0.9, 0, "logsnr")
    with pytest.raises(ValueError, match="two fall on one time"):
        time_grid(cosine_beta(1000), 200, 990, 1, "logsnr")


@pytest.mark.parametrize(
    "schedule", [VPLinear(), VPCosine(), VE(0.1, 9.0), Rescaled(VPLinear(), "ve"), Rescaled(VE(0.1, 9.0), "vp"),
                 LearnedMonotone(5, 8.0, -6.0)], ids=lambda s: type(s).__name__,
)  # fmt: skip
def test_sde_2_the_rates_are_those_of_signal_and_noise(schedule):
    """SDE-2: f = d log signal/dt and g² = d noise²/dt − 2 f noise², by central differences."""
    h = 1e-5
    for t in (0.21, 0.5, 0.83):
        f, g2 = schedule.sde(t)
        slope = (math.log(schedule.signal(t + h)) - math.log(schedule.signal(t - h))) / (2 * h)
        grow = (schedule.noise(t + h) ** 2 - schedule.noise(t - h) ** 2) / (2 * h)
        assert f == pytest.approx(slope, rel=1e-6, abs=1e-9)
        assert g2 == pytest.approx(grow - 2 * f * schedule.noise(t) ** 2, rel=1e-6)
        both = schedule.sde(torch.tensor([t], dtype=F64))
        assert both[0].item() == pytest.approx(f) and both[1].item() == pytest.approx(g2)


def test_sde_1_the_rates_of_a_chain_are_its_betas():
    chain = DiscreteSchedule([0.1, 0.25, 0.4])
    assert chain.sde(2) == (-0.125, 0.25)
    torch.testing.assert_close(chain.sde(torch.tensor([1, 3]))[1], torch.tensor([0.1, 0.4], dtype=F64))


def test_bad_input_is_named():
    denoiser, x = WORLD.denoiser(VPCosine()), torch.zeros(1, 2, dtype=F64)
    with pytest.raises(ValueError, match="no signal is left at t=1"):
        sample(denoiser, EulerMaruyama(), x, [1.0, 0.5], torch.Generator())
    with pytest.raises(ValueError, match="churn >= 0"):
        EulerMaruyama(-1.0)
    with pytest.raises(ValueError, match="unknown order 4; known: 1, 2, 3"):
        DPMSolverPP(4)
    with pytest.raises(ValueError, match="snr > 0"):
        PredictorCorrector(DDIM(), 0.0)

    class Bare:
        last, T = 4, 4
        signal = noise = logsnr = lambda self, t: 0.5

    with pytest.raises(ValueError, match=r"needs a schedule with sde\(t\)"):
        EulerMaruyama().step(Denoiser(None, Bare()), next(sample_path(denoiser, DDIM(), x, [0.9, 0.5])), 0.5)
