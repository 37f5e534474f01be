"""Samplers in worlds with exact answers. Ledger ALG-2, DDIM-2, DDIM-6..9, SCHED-2; erratum E-24."""

import math

import pytest
import torch

from dlgm.denoiser import Denoiser, InCoordinates, Prediction
from dlgm.oracles import EmpiricalData, GaussianMixture
from dlgm.process import q_sample
from dlgm.samplers import DDIM, DDPM, AnnealedLangevin, Langevin, State, langevin, path_answers, sample, sample_path
from dlgm.schedules import VE, DiscreteSchedule, VPCosine, VPLinear, cosine_beta, linear_beta, time_grid

T4 = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])
SAMPLERS = [DDPM(), DDPM("beta"), DDIM(0.0), DDIM(0.3), DDIM(1.0)]
KEEP_MARGINALS = [DDPM(), DDIM(0.0), DDIM(0.3), DDIM(1.0)]
GRIDS = {
    "T4": (T4, [4, 3, 2, 1, 0]),
    "T4 skipping": (T4, [4, 2, 0]),
    "linear": (linear_beta(), time_grid(linear_beta(), 20)),
    "cosine, every step": (cosine_beta(60), time_grid(cosine_beta(60), 60)),
    "VPLinear": (VPLinear(), time_grid(VPLinear(), 12)),
    "VE": (VE(0.01, 20), time_grid(VE(0.01, 20), 12)),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_single_data_point_lands_on_it(grid, sampler, generator):
    """Every x0-based sampler must land on a lone data point; E-24: with variance β too, no noise at the last step."""
    schedule, times = GRIDS[grid]
    for shape in ((), (2,), (1, 3, 3)):
        point = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
        x_T = torch.randn(5, *shape, generator=generator, dtype=torch.float64)
        x0 = sample(EmpiricalData(point).denoiser(schedule), sampler, x_T, times, generator)
        if schedule.noise(float(times[-1])) == 0:
            torch.testing.assert_close(x0, point.expand(x_T.shape), rtol=1e-12, atol=1e-12)  # float64
        elif sampler in KEEP_MARGINALS:  # VE ends at noise sigma_min = 0.01; six standard deviations of it
            assert (x0 - point).abs().max() < 6 * schedule.sigma_min


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("sampler", KEEP_MARGINALS, ids=repr)
def test_ddim_2_the_marginal_standard_deviation_is_kept_at_every_time(grid, sampler, generator):
    """DDIM-2: from x_T ~ q(x_T|x_0) each x_s has mean signal·x_0 and standard deviation noise(s), for every η."""
    schedule, times = GRIDS[grid]
    n, point = 40_000, torch.tensor([0.7], dtype=torch.float64)
    start = float(times[0])
    eps = torch.randn(n, generator=generator, dtype=torch.float64)
    x_T = q_sample(schedule, point.expand(n), start if not hasattr(schedule, "T") else int(start), eps)
    for state in sample_path(EmpiricalData(point).denoiser(schedule), sampler, x_T, times, generator):
        signal, noise = schedule.signal(state.t), schedule.noise(state.t)
        # 5 standard errors of a mean and of a standard deviation, over at most 61 times
        assert abs(state.x.mean() - signal * 0.7) <= 5 * noise / math.sqrt(n) + 1e-12
        assert abs(state.x.std() - noise) <= 5 * noise / math.sqrt(2 * n) + 1e-12
        z4 = ((state.x - signal * 0.7) ** 4).mean()  # the fourth moment sees a wrong law where the variance does not
        assert abs(z4 - 3 * noise**4) <= 5 * math.sqrt(96 / n) * noise**4 + 1e-12


@pytest.mark.parametrize("variance, exact_for", [("posterior", 0.0), ("beta", 1.0)])
def test_sched_2_each_variance_is_exact_for_its_data(variance, exact_for):
    """SCHED-2: β̃ reproduces a point mass, β standard normal data: the variance recursion, step by step, T = 1000."""
    s, v = linear_beta(), None
    for t in range(1000, 0, -1):
        total = s.signal(t) ** 2 * exact_for + s.noise(t) ** 2
        v = total if v is None else v
        gain = s.signal(t) * exact_for / total  # E[x_0|x_t] = gain x_t for N(0, exact_for) data
        x = torch.tensor([1.0, 2.0], dtype=torch.float64)
        p = Prediction(s, x, t, x0=gain * x)
        draw = DDPM(variance).step(_World(s), State(t, x, p), t - 1, _Ones())
        plain = DDPM(variance).step(_World(s), State(t, x, p), t - 1, _Zeros())
        slope, noise = (plain[1] - plain[0]).item(), (draw - plain)[0].item()
        v = slope**2 * v + noise**2
        expected = s.signal(t - 1) ** 2 * exact_for + s.noise(t - 1) ** 2
        if t > 1:
            assert v == pytest.approx(expected, rel=1e-9)  # 1000 float64 steps
        else:  # the last step adds no noise, which costs β-data its last β_1 = 1e-4
            assert v == pytest.approx(expected, abs=1.01e-4)


class _World:
    def __init__(self, schedule):
        self.schedule = schedule


class _Ones:
    """Stands in for a generator in tests of one step: the noise is known."""

    value = 1.0


class _Zeros(_Ones):
    value = 0.0


@pytest.fixture(autouse=True)
def known_noise(monkeypatch):
    import dlgm.samplers as module

    true = module.randn_like

    def randn_like(x, generator=None):
        return torch.full_like(x, generator.value) if isinstance(generator, _Ones) else true(x, generator)

    monkeypatch.setattr(module, "randn_like", randn_like)


@pytest.mark.parametrize("grid", ["T4", "T4 skipping", "linear", "VPLinear"])
def test_ddim_7_eta_1_is_ddpm_step_for_step(grid):
    """DDIM-7, DDIM-9, E-68: given the same noise, every step of DDIM at η = 1 is DDPM's, skipping or not."""
    schedule, times = GRIDS[grid]
    g = GaussianMixture([1, 2], [[-1.0, 0.0], [1.0, 0.5]], [0.1, 0.2])
    x_T = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    paths = [
        list(sample_path(g.denoiser(schedule), sampler, x_T, times, torch.Generator().manual_seed(2)))
        for sampler in (DDPM(), DDIM(1.0))
    ]
    for a, b in zip(*paths, strict=True):
        assert a.t == b.t
        torch.testing.assert_close(a.x, b.x, rtol=1e-11, atol=1e-11)  # two orders of float64 roundings


def test_alg_2_one_step_as_the_paper_prints_it(generator):
    """ALG-2: x_{t−1} = (x_t − (1−α_t)/√(1−ᾱ_t) ε)/√α_t + σ_t z at every t, both variances."""
    s = linear_beta()
    x, eps = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    for t in (1, 2, 500, 999, 1000):
        a, ab = s.alpha[t].item(), s.alpha_bar[t].item()
        mean = (x - (1 - a) / math.sqrt(1 - ab) * eps) / math.sqrt(a)
        p = Prediction(s, x, t, eps=eps)
        for variance, table in (("posterior", s.posterior_variance), ("beta", s.beta)):
            sigma = math.sqrt(table[t]) if t > 1 else 0.0
            step = DDPM(variance).step(_World(s), State(t, x, p), t - 1, _Ones())
            torch.testing.assert_close(step, mean + sigma, rtol=1e-10, atol=1e-10)  # the printed 1 − ᾱ cancels


def test_ddim_6_one_step_as_the_paper_prints_it(generator):
    """DDIM-6, DDIM-9: with σ_τ(η) = η √((1−ᾱ_s)/(1−ᾱ_t)) √(1 − ᾱ_t/ᾱ_s), any s < t."""
    s = linear_beta()
    x, eps = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    for t, u in ((1000, 999), (1000, 400), (500, 1), (2, 1), (30, 0)):
        at, au = s.alpha_bar[t].item(), s.alpha_bar[u].item()
        for eta in (0.0, 0.3, 1.0):
            sigma = eta * math.sqrt((1 - au) / (1 - at)) * math.sqrt(1 - at / au)
            x0 = (x - math.sqrt(1 - at) * eps) / math.sqrt(at)
            printed = math.sqrt(au) * x0 + math.sqrt(1 - au - sigma**2) * eps + sigma
            step = DDIM(eta).step(_World(s), State(t, x, Prediction(s, x, t, eps=eps)), u, _Ones())
            torch.testing.assert_close(step, printed, rtol=1e-10, atol=1e-10)  # as above


def test_ddim_converges_at_first_order():
    """Gaussian data N(1, 0.25): error of DDIM's map at x_T against the exact probability-flow map, slope 1 ± 0.1."""
    schedule, g = VPCosine(), GaussianMixture([1.0], [1.0], [0.25])
    start = 0.98
    x_T = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64)
    std_T = math.sqrt(schedule.signal(start) ** 2 * 0.25 + schedule.noise(start) ** 2)
    exact = 1 + 0.5 * (x_T - schedule.signal(start)) / std_T  # the flow keeps each point's quantile
    steps = [40, 80, 160, 320]
    errors = [
        (sample(g.denoiser(schedule), DDIM(), x_T, time_grid(schedule, n, start=start)) - exact).abs().max().item()
        for n in steps
    ]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    print("DDIM errors", [f"{e:.2e}" for e in errors], "slopes", [f"{s:.3f}" for s in slopes])
    assert all(abs(s - 1) < 0.1 for s in slopes)


def test_ddim_8_deterministic_and_ddpm_depends_on_the_generator_only():
    s, g = linear_beta(), GaussianMixture([1, 1], [-1.0, 1.0], [0.1, 0.1])
    times, x_T = time_grid(s, 10), torch.linspace(-2, 2, 7)
    run = [sample(g.denoiser(s), DDIM(), x_T, times) for _ in range(2)]
    assert torch.equal(*run)
    noisy = [sample(g.denoiser(s), DDPM(), x_T, times, torch.Generator().manual_seed(k)) for k in (0, 0, 1)]
    assert torch.equal(noisy[0], noisy[1]) and not torch.equal(noisy[0], noisy[2])
    before = torch.get_rng_state()
    sample(g.denoiser(s), DDPM(), x_T, times, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sampler", [DDPM(), DDIM()], ids=repr)
def test_the_mixture_is_sampled_with_its_weights(sampler, generator):
    """A system test, not the proof: mode weights 0.3/0.7 within 5 standard errors after 100 steps."""
    s, n = linear_beta(), 20_000
    g = GaussianMixture([0.3, 0.7], [-2.0, 2.0], [0.1, 0.1])
    x = sample(g.denoiser(s), sampler, torch.randn(n, generator=generator), time_grid(s, 100), generator)
    # starting from N(0, 1) instead of q(x_T) moves the share by about √ᾱ_T · 2 · φ(0) = 0.005
    assert abs((x > 0).float().mean() - 0.7) < 5 * math.sqrt(0.21 / n) + 0.005


def test_path_states_and_errors(generator):
    s, x = linear_beta(), torch.zeros(2)
    world = EmpiricalData(torch.ones(1)).denoiser(s)
    states = list(sample_path(world, DDIM(), x, [1000, 10, 0]))
    assert [p.t for p in states] == [1000, 10, 0] and states[-1].prediction is None
    torch.testing.assert_close(states[0].prediction.x0, torch.ones(2))
    for times in ([0, 10], [10], [10, 20, 0]):
        with pytest.raises(ValueError, match="never increasing"):
            sample(world, DDIM(), x, times)
    with pytest.raises(ValueError, match="known: posterior, beta"):
        DDPM("learned")
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        DDIM(1.5)


def test_no_gradient_graph_is_kept():
    s = linear_beta()
    x = torch.zeros(2, requires_grad=True)
    assert not sample(EmpiricalData(torch.ones(1)).denoiser(s), DDIM(), x, [10, 0]).requires_grad


def test_conditions_reach_the_denoiser_and_listed_times_keep_their_digits(generator):
    schedule, seen = VPCosine(), []

    class Recording:
        def __call__(self, x_t, t, **cond):
            seen.append((t, cond))
            return Prediction(schedule, x_t, t, x0=0 * x_t)

    recording = Recording()
    recording.schedule = schedule
    states = list(sample_path(recording, DDIM(), torch.ones(2), [0.9, 0.3, 0.1], generator, label=3))
    assert seen == [(0.9, {"label": 3}), (0.3, {"label": 3})] and states[-1].t == 0.1
    before = generator.get_state()
    sample(recording, DDIM(), torch.ones(2), [0.9, 0.1], generator)
    assert torch.equal(before, generator.get_state())  # η = 0 draws nothing


@pytest.mark.parametrize("schedule, t", [(VE(0.5, 5.0), 0.3), (linear_beta(), 250)])
def test_score_7_a_langevin_move_is_x_plus_h_score_plus_root_two_h_z(schedule, t, generator):
    """SCORE-7, M-11: move by move, with the noise known."""
    world, h = GaussianMixture([0.4, 0.6], [-1.0, 2.0], [0.3, 0.5]), 0.07
    x_t = torch.randn(6, generator=generator, dtype=torch.float64)
    path = list(sample_path(world.denoiser(schedule), Langevin(h), x_t, [t, t, t], torch.Generator().manual_seed(3)))
    x, noise = x_t, torch.Generator().manual_seed(3)
    for state in path[1:]:
        z = torch.randn(6, generator=noise, dtype=torch.float64)
        x = x + h * world.diffuse(schedule, t).score(x) + math.sqrt(2 * h) * z
        torch.testing.assert_close(state.x, x)
    together = sample(world.denoiser(schedule), Langevin(h, 2), x_t, [t, t], torch.Generator().manual_seed(3))
    torch.testing.assert_close(together, x)


def test_score_7_the_stationary_variance_is_off_by_order_h(generator):
    """For N(0, v) the walk settles at v/(1 − h/2v): z-scores at three h, and a bias that halves with h."""
    schedule, n, bias = VE(0.6, 5.0), 200_000, {}
    world = GaussianMixture([1.0], [0.0], [0.64])
    v = 0.64 + 0.36
    for h in (0.4, 0.2, 0.1):
        start = math.sqrt(v) * torch.randn(n, generator=generator, dtype=torch.float64)
        moves = round(16 / h)  # what is left of the start: (1 − h)^(2 moves) < e^−32
        x = sample(world.denoiser(schedule), Langevin(h, moves), start, [0.0, 0.0], generator)
        settled = v / (1 - h / (2 * v))
        assert abs(x.var() - settled) < 5 * settled * math.sqrt(2 / n)
        bias[h] = settled - v
    assert 2 < bias[0.4] / bias[0.2] < 2.3 and 2 < bias[0.2] / bias[0.1] < 2.15


def test_annealed_langevin_finds_the_weights_that_langevin_misses(generator):
    """M-11: modes 8 apart, weights 0.8 and 0.2. At one level a walk stays with the mode next to its start."""
    schedule, n = VE(0.2, 20.0), 2000
    world = GaussianMixture([0.8, 0.2], [[-4.0, 0.0], [4.0, 0.0]], [0.25, 0.25])
    exact, error = 0.8, math.sqrt(0.8 * 0.2 / n)
    levels = [*torch.linspace(1, 0, 31, dtype=torch.float64).tolist(), 0.0]
    x = schedule.noise(1.0) * torch.randn(n, 2, generator=generator)
    walked = sample(world.denoiser(schedule), AnnealedLangevin(0.3, 20), x, levels, generator)
    assert abs((walked[:, 0] < 0).double().mean() - exact) < 4 * error
    covariance = (walked - 4 * walked[:, :1].sign() * torch.tensor([1.0, 0.0])).square().mean(0)
    # at the last level h = 0.012: settled variance v/(1 − h/2v), v = 0.29, a bias of 2 %; 5 standard errors are 16 %
    assert (covariance / 0.29 - 1).abs().max() < 0.18
    uniform = 12 * torch.rand(n, 2, generator=generator) - 6
    stuck = sample(world.denoiser(schedule), Langevin(0.012, 600), uniform, [0.0, 0.0], generator)
    assert abs((stuck[:, 0] < 0).double().mean() - 0.5) < 5 * math.sqrt(0.25 / n)


@pytest.mark.parametrize("schedule, times", [(linear_beta(50), [50, 30, 30, 10, 1, 0]), (VPLinear(), [1.0, 0.5, 0.2])])
def test_score_1_annealed_langevin_is_the_same_walk_in_both_coordinates(schedule, times, generator):
    """SCORE-1: y_t = x_t/signal_t at every stop, and so at the end."""
    world = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [2.0, 1.0]], [0.3, 0.5]).denoiser(schedule)
    other, walk = InCoordinates(world, "ve"), AnnealedLangevin(0.1, 3)
    x_T = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    y_T = x_T * other.schedule.scale(times[0])
    there = sample_path(world, walk, x_T, times, torch.Generator().manual_seed(1))
    here = sample_path(other, walk, y_T, times, torch.Generator().manual_seed(1))
    for a, b in zip(there, here, strict=True):
        torch.testing.assert_close(a.x * other.schedule.scale(a.t), b.x, rtol=1e-9, atol=1e-9)  # float64, 16 moves


@pytest.mark.parametrize("sampler", [DDIM(), DDPM()], ids=repr)
def test_samplers_give_the_same_x0_in_both_coordinates(sampler, generator):
    schedule, times = linear_beta(100), [100, 60, 20, 0]
    world = GaussianMixture([0.4, 0.6], [-1.0, 2.0], [0.3, 0.5]).denoiser(schedule)
    other = InCoordinates(world, "ve")
    x_T = torch.randn(7, generator=generator, dtype=torch.float64)
    same = [torch.Generator().manual_seed(1) for _ in range(2)]
    there = sample(world, sampler, x_T, times, same[0])
    here = sample(other, sampler, x_T * other.schedule.scale(100), times, same[1])
    torch.testing.assert_close(there, here)


def test_annealed_langevin_ends_on_a_lone_point_and_its_size_follows_the_variance(generator):
    point = torch.randn(1, 2, generator=generator, dtype=torch.float64)
    x_T = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    x0 = sample(EmpiricalData(point).denoiser(T4), AnnealedLangevin(0.2, 2), x_T, [4, 3, 1, 0], generator)
    torch.testing.assert_close(x0, point.expand(5, 2))  # Tweedie's formula at the last stop
    assert AnnealedLangevin(0.2).size(VE(0.1, 10.0), 1.0) == pytest.approx(0.2 * 100)
    assert Langevin(0.2).size(VE(0.1, 10.0), 1.0) == 0.2


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda world, x: Langevin(0.0), "step_size > 0"),
        (lambda world, x: AnnealedLangevin(0.1, 0), "moves >= 1"),
        (lambda world, x: langevin(torch.neg, x, 1, -1.0), "step size > 0"),
        (lambda world, x: sample(world, AnnealedLangevin(0.1), x, [0.2, 0.4]), "never increasing"),
        (lambda world, x: sample(world, AnnealedLangevin(0.1), x, [1.0, 0.4]), "no signal is left"),
        (lambda world, x: sample(world, DDPM(), x, [0.4, 0.4]), "expected s < t"),
        (lambda world, x: sample(world, Langevin(0.1), x, [0.0, 0.0]), "noise"),
    ],
)
def test_bad_langevin_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(GaussianMixture([1.0], [0.5], [0.3]).denoiser(VPCosine()), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("times", [[], [4], torch.tensor([4]), [1, 2], torch.tensor([4, 0, 2])])
def test_a_walk_has_two_times_or_more_that_never_increase(times):
    denoiser = EmpiricalData(torch.zeros(1, 1)).denoiser(T4)
    with pytest.raises(ValueError, match="times must be at least two, never increasing; got"):
        sample(denoiser, DDIM(), torch.zeros(1, 1), times)


@pytest.mark.parametrize("every, kept", [(1, [3, 2, 1, 0]), (2, [3, 1]), (3, [3, 0])])
def test_num_6_the_answers_along_a_path_are_those_of_its_stops(every, kept, generator):
    """From the last stop back, every so many; the truth is where the path ends."""
    schedule, x_T = linear_beta(50), torch.randn(1, 2, 2, generator=generator)
    model = Denoiser(lambda x, t: (0.3 + 0.01 * t[:, None, None, None]) * x.sin(), schedule)
    stops = list(sample_path(model, DDIM(), x_T[None], [40, 30, 20, 10, 0]))
    answers = path_answers(model, DDIM(), x_T, [40, 30, 20, 10, 0], every=every)
    assert answers.times == [stops[i].t for i in kept] and torch.equal(answers.truth, stops[-1].x[0])
    for i, row in zip(kept, range(len(kept)), strict=True):
        p = model(stops[i].x, stops[i].t)
        for got, want in ((answers.x_t, stops[i].x), (answers.eps, p.eps), (answers.x0, p.x0)):
            torch.testing.assert_close(got[row], want[0])
