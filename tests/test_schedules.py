"""Schedules against 50-digit arithmetic. Ledger SCHED-1, FWD-3, POST-2, SDE-2."""

import math

import mpmath as mp
import pytest
import torch
from helpers import exact_alpha_bar, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from dlgm.schedules import (
    VE,
    DiscreteSchedule,
    LearnedMonotone,
    Linear,
    Rescaled,
    Shifted,
    VPCosine,
    VPLinear,
    cosine_beta,
    increasing,
    linear_beta,
    rates,
    respaced,
    time_grid,
    time_of,
)

DISCRETE = {"linear": linear_beta(), "cosine": cosine_beta(), "T4": DiscreteSchedule([0.1, 0.25, 0.4, 0.6])}
CONTINUOUS = [VPLinear(), VPCosine(), Linear(), Shifted(Linear(), 3.0), VE(), VE(0.002, 80.0)]


@pytest.mark.parametrize("name", DISCRETE)
def test_tables_match_exact_arithmetic_at_every_t(name):
    """≤ 1e-12 relative for ᾱ, √ᾱ, √(1−ᾱ), λ and β̃ at every t, t = 1 and t = T included (FWD-3, POST-2)."""
    schedule = DISCRETE[name]
    a, T = exact_alpha_bar(schedule.beta[1:]), schedule.T
    t = torch.arange(T + 1)
    assert relative_error(schedule.alpha_bar, a) < 1e-12
    assert relative_error(schedule.signal(t), [mp.sqrt(v) for v in a]) < 1e-12
    assert relative_error(schedule.noise(t), [mp.sqrt(1 - v) for v in a]) < 1e-12
    snr = [v / (1 - v) for v in a[1:]]
    # λ crosses 0, where a relative error has no meaning; e^λ is what enters the formulas
    assert relative_error(schedule.logsnr(t[1:]).exp(), snr) < 1e-12
    tilde = [0] + [(1 - a[i - 1]) * mp.mpf(float(schedule.beta[i])) / (1 - a[i]) for i in range(1, T + 1)]
    assert relative_error(schedule.posterior_variance, tilde) < 1e-12


@pytest.mark.parametrize("name", DISCRETE)
def test_float32_use_of_the_tables_is_within_one_rounding(name):
    schedule = DISCRETE[name]
    t = torch.arange(1, schedule.T + 1)
    for f in (schedule.signal, schedule.noise):
        assert ((f(t).float().double() - f(t)).abs() / f(t)).max() < 1e-7  # half a float32 rounding is 6e-8


def test_index_0_is_the_clean_state_and_a_number_gives_what_a_tensor_gives():
    for s in DISCRETE.values():
        assert (s.alpha_bar[0], s.alpha[0], s.beta[0], s.posterior_variance[1]) == (1, 1, 0, 0)
        assert (s.signal(0), s.noise(0), s.logsnr(0)) == (1, 0, math.inf)
        for f in (s.signal, s.noise, s.logsnr):
            table = f(torch.arange(s.T + 1))
            assert [f(t) for t in range(s.T + 1)] == table.tolist()
            assert f(torch.tensor(2)).shape == () and f(torch.tensor(2)) == table[2]


def test_sched_1_linear_end_points():
    """SCHED-1: β runs from 1e-4 to 0.02 and ᾱ_1000 = 4.036e-5; other T keep the end within their discretisation."""
    s = linear_beta()
    assert s.beta[1].item() == pytest.approx(1e-4, rel=1e-15) and s.beta[-1].item() == pytest.approx(0.02, rel=1e-15)
    assert s.alpha_bar[-1].item() == pytest.approx(4.036e-5, rel=2e-4)  # four printed digits
    assert (linear_beta(100).alpha_bar[-1].log() / s.alpha_bar[-1].log()).item() == pytest.approx(1, abs=0.1)


def test_cosine_betas_match_the_definition_in_exact_arithmetic():
    def f(t):
        return mp.cos((mp.mpf(t) / 1000 + mp.mpf(0.008)) / (1 + mp.mpf(0.008)) * mp.pi / 2) ** 2

    exact = [min(1 - f(t) / f(t - 1), mp.mpf(0.999)) for t in range(1, 1001)]
    # cos(a) near π/2 has relative error 1e-16 / 1.5e-3 in float64
    assert relative_error(cosine_beta().beta[1:], exact) < 1e-12


def test_beta_and_signal_agree_between_continuous_and_discrete_time():
    """VPLinear is the limit of linear_beta: log ᾱ differs by O(1/T), halving as T doubles (SDE-1)."""
    gaps = []
    for T in (1000, 2000, 4000):
        t = torch.tensor([T // 4, T // 2, T])
        gaps.append((2 * linear_beta(T).signal(t).log() - 2 * VPLinear().signal(t / T).log()).abs().max().item())
    assert gaps[0] < 0.2
    # the gap is c/T + O(1/T²): ratio 2 to within a few per cent
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.05) and gaps[1] / gaps[2] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("schedule", CONTINUOUS, ids=repr)
def test_continuous_schedules_in_exact_arithmetic(schedule):
    forms = {
        VPLinear: lambda t: mp.exp(-(t * mp.mpf(0.1) + t**2 * mp.mpf(19.9) / 2) / 2),
        VPCosine: lambda t: mp.cos(mp.pi * t / 2),
        Linear: lambda t: 1 - t,
        Shifted: lambda t: 1 - 3 * t / (1 + 2 * t),
        VE: lambda t: mp.mpf(1),
    }
    signal = forms[type(schedule)]
    allowed = 1e-10 if isinstance(schedule, Shifted) else 1e-12  # 1 − time cancels near the end
    for t in (1e-5, 0.1, 0.5, 0.9, 0.99999):
        s = signal(mp.mpf(t))
        if isinstance(schedule, VE):
            n = mp.mpf(schedule.sigma_min) * (mp.mpf(schedule.sigma_max) / mp.mpf(schedule.sigma_min)) ** mp.mpf(t)
        else:
            n = 1 - s if isinstance(schedule, Linear | Shifted) else mp.sqrt(1 - s**2)
        tensor = torch.tensor(t, dtype=torch.float64)
        for value in (schedule.signal(t), schedule.signal(tensor)):
            assert relative_error([value], [s]) < allowed
        for value in (schedule.noise(t), schedule.noise(tensor)):
            assert relative_error([value], [n]) < 1e-12
        for value in (schedule.logsnr(t), schedule.logsnr(tensor)):
            assert float(value) == pytest.approx(float(2 * mp.log(s / n)), abs=10 * allowed)


@pytest.mark.parametrize("schedule", CONTINUOUS, ids=repr)
def test_sde_coefficients_are_the_derivatives_of_the_kernel(schedule):
    """f = d log signal/dt and g² = d noise²/dt − 2 f noise², both by autograd (SDE-1, SDE-2)."""
    t = torch.tensor([0.05, 0.3, 0.8], dtype=torch.float64, requires_grad=True)
    f, g2 = schedule.sde(t)
    log_signal = schedule.signal(t).log().sum()
    df = torch.autograd.grad(log_signal, t)[0] if log_signal.requires_grad else torch.zeros(3, dtype=torch.float64)
    dn = torch.autograd.grad((schedule.noise(t) ** 2).sum(), t)[0]
    torch.testing.assert_close(f.detach(), df, rtol=1e-12, atol=1e-12)  # float64 autograd of smooth functions
    torch.testing.assert_close(g2.detach(), dn - 2 * df * schedule.noise(t).detach() ** 2, rtol=1e-10, atol=1e-12)
    assert schedule.sde(0.3) == pytest.approx((f[1].item(), g2[1].item()), rel=1e-14)


def test_ends_of_continuous_time():
    assert VPCosine().signal(1.0) == 0 and VPCosine().logsnr(1.0) == -math.inf
    assert VPLinear().noise(0.0) == 0 and VPLinear().logsnr(0.0) == math.inf
    assert VE(0.01, 50).noise(0.0) == 0.01 and VE(0.01, 50).noise(1.0) == pytest.approx(50)
    assert VPCosine().logsnr(torch.tensor([0.0, 1.0])).tolist() == [math.inf, -math.inf]


def test_a_constant_beta_is_a_schedule():
    """signal² = e^{−βt}, noise² = 1 − e^{−βt}; the ends of what is allowed: beta_min = beta_max, beta_min = 0."""
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    for schedule, integral in ((VPLinear(2.0, 2.0), 2 * t), (VPLinear(0.0, 3.0), 1.5 * t**2)):
        torch.testing.assert_close(schedule.signal(t), (-integral / 2).exp(), rtol=1e-15, atol=0)  # one rounding
        torch.testing.assert_close(schedule.noise(t), (-torch.expm1(-integral)).sqrt(), rtol=1e-15, atol=0)


@settings(max_examples=50)
@given(st.lists(st.floats(1e-6, 0.999), min_size=1, max_size=40))
def test_any_valid_betas_make_a_schedule_that_only_loses_signal(betas):
    s = DiscreteSchedule(betas)
    t = torch.arange(s.T + 1)
    assert (s.signal(t).diff() < 0).all() and (s.noise(t).diff() >= 0).all() and (s.logsnr(t[1:]).diff() < 0).all()
    assert (s.signal(t) ** 2 + s.noise(t) ** 2 - 1).abs().max() < 1e-14  # two roundings
    assert (s.posterior_variance <= s.beta + 1e-18).all()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: DiscreteSchedule([0.1, 1.0]), "β_2 is 1"),
        (lambda: DiscreteSchedule([0.1, float("nan")]), "β_2 is nan"),
        (lambda: DiscreteSchedule([]), r"shape \(0,\)"),
        (lambda: DiscreteSchedule([[0.1]]), r"shape \(1, 1\)"),
        (lambda: linear_beta(10), "T > 20"),
        (lambda: linear_beta(0), "whole number"),
        (lambda: linear_beta(beta_start=0.1, beta_end=0.01), "beta_start <= beta_end"),
        (lambda: cosine_beta(max_beta=1.0), "max_beta"),
        (lambda: cosine_beta(10.0), "whole number"),
        (lambda: VPLinear(2.0, 1.0), "beta_min"),
        (lambda: VPLinear(-0.1, 1.0), "0 <= beta_min"),
        (lambda: VPLinear(0.0, 0.0), "beta_min"),
        (lambda: VE(1.0, 0.1), "sigma_min"),
        (lambda: linear_beta().signal(1001), "0..1000, got 1001"),
        (lambda: linear_beta().signal(0.5), "integer"),
        (lambda: linear_beta().signal(torch.tensor([-1, 3])), "from -1 to 3"),
        *[
            (lambda d=d: linear_beta().signal(torch.ones(2).to(d)), f"integer tensor, got {d}")
            for d in (torch.float32, torch.bfloat16, torch.complex64, torch.bool)
        ],
        (lambda: VPLinear().signal(1.5), r"\[0, 1\], got 1.5"),
        (lambda: VPCosine().noise(torch.tensor([-0.1])), r"\[0, 1\]"),
        (lambda: time_grid(linear_beta(50), 51), "51 steps do not fit"),
        *[(lambda n=n: time_grid(VPLinear(), n), "steps must be a whole number") for n in (0, -1, 2.0, True)],
        (lambda: time_grid(VPLinear(), 5, start=0, end=1), "decrease"),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@given(st.integers(1, 300), st.data())
def test_time_grids_decrease_strictly_and_end_where_asked(T, data):
    steps = data.draw(st.integers(1, T))
    s = DiscreteSchedule([0.01] * T)
    times = time_grid(s, steps)
    assert times[0] == T and times[-1] == 0 and len(times) == steps + 1 and (times.diff() < 0).all()
    if steps == T:
        assert times.tolist() == list(range(T, -1, -1))
    times = time_grid(VPCosine(), steps, start=0.9, end=0.1)
    assert (times[0], times[-1]) == (0.9, 0.1) and (times.diff() < 0).all()


def test_what_a_schedule_returns_is_not_a_view_of_its_tables():
    s = linear_beta()
    value = s.signal(torch.tensor(500))
    value *= 2
    assert s.signal(torch.tensor(500)).item() == s.signal(500)


@pytest.mark.parametrize("start, end", [(5000, 0), (10, -1), (0, 0)])
def test_a_time_grid_stays_inside_the_schedule(start, end):
    with pytest.raises(ValueError, match="0 <= end < start <= 1000"):
        time_grid(linear_beta(), 3, start=start, end=end)


@pytest.mark.parametrize("schedule, times", [(linear_beta(), [1, 500, 1000]), (VPLinear(), [0.01, 0.5, 1.0])])
def test_score_1_coordinates_there_and_back(schedule, times):
    """SCORE-1: to VE and back to VP; the log-SNR stays, the scales are what they say."""
    ve = Rescaled(schedule, "ve")
    back = Rescaled(ve, "vp")
    for t in times:
        assert ve.signal(t) == 1 and ve.logsnr(t) == back.logsnr(t) == schedule.logsnr(t)
        assert float(ve.noise(t)) == pytest.approx(math.exp(-float(schedule.logsnr(t)) / 2), rel=1e-12)
        assert float(back.signal(t)) == pytest.approx(float(schedule.signal(t)), rel=1e-12)
        assert float(back.noise(t)) == pytest.approx(float(schedule.noise(t)), rel=1e-12)
        assert float(ve.scale(t) * back.scale(t)) == pytest.approx(1, rel=1e-12)
    t = torch.tensor(times)
    torch.testing.assert_close(ve.signal(t), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(ve.noise(t), torch.stack([torch.as_tensor(ve.noise(v)).double() for v in times]))


def test_unknown_coordinates_and_no_signal_are_named():
    with pytest.raises(ValueError, match="known: ve, vp"):
        Rescaled(VPLinear(), "edm")
    with pytest.raises(ValueError, match="no signal is left at t=1"):
        Rescaled(VPCosine(), "ve").noise(1.0)


@pytest.mark.parametrize(
    "schedule, std",
    [
        (linear_beta(), 1.0),
        (VPLinear(), 1.0),
        (VE(0.2, 20.0), 20.0),
        (Rescaled(linear_beta(), "ve"), linear_beta().alpha_bar[-1].item() ** -0.5),
        (Rescaled(VE(0.2, 20.0), "vp"), 20 / 401**0.5),  # the data's own variance, 1, is in the scale: σ/√(1 + σ²)
    ],
)
def test_a_walk_starts_from_the_law_at_the_last_time(schedule, std):
    """N(0, I), or N(0, σ_max² I), in the coordinates of the schedule."""
    x = schedule.start((40_000, 2), torch.Generator().manual_seed(0))
    z = torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, std * z)
    assert abs(schedule.noise(schedule.last) / std - 1) < 3e-3  # what is left of the data at the end is not in it
    assert schedule.start((2,), dtype=torch.float64).dtype == torch.float64


def test_tables_carry_no_gradient_of_the_betas():
    betas = torch.tensor([0.1, 0.2], requires_grad=True)
    s = DiscreteSchedule(betas)
    assert not any(v.requires_grad for v in (s.beta, s.alpha_bar, s.posterior_variance, s.signal(torch.tensor([1]))))


@pytest.mark.parametrize("schedule", [DISCRETE["T4"], *CONTINUOUS, Rescaled(VPLinear(), "ve")], ids=repr)
def test_no_times_have_no_values(schedule):
    t = torch.zeros(0, dtype=torch.int64 if isinstance(schedule, DiscreteSchedule) else torch.float64)
    for f in (schedule.signal, schedule.noise, schedule.logsnr):
        assert f(t).shape == (0,) and f(t).dtype == torch.float64


@pytest.mark.parametrize("schedule", CONTINUOUS, ids=repr)
@pytest.mark.parametrize("t", [-1e-9, 1 + 1e-9, math.nan])
def test_times_outside_are_refused_as_numbers_and_as_tensors(schedule, t):
    for bad in (t, torch.tensor([0.5, t], dtype=torch.float64)):
        for f in (schedule.signal, schedule.noise, schedule.logsnr, schedule.sde):
            with pytest.raises(ValueError, match=r"t must lie in \[0, 1\], got"):
                f(bad)


def test_rates_at_the_two_ends():
    """VE: f = 0 also at t = 0 and g² = 2 σ² log(σ_max/σ_min); VPLinear: β_min and β_max."""
    rate = 2 * math.log(50 / 0.01)
    for t, sigma in ((0.0, 0.01), (1.0, 50.0)):
        f, g2 = VE(0.01, 50.0).sde(t)
        assert f == 0 and g2 == pytest.approx(rate * sigma**2, rel=1e-12)
        f, g2 = VE(0.01, 50.0).sde(torch.tensor([t]))
        assert f.tolist() == [0] and g2.item() == pytest.approx(rate * sigma**2, rel=1e-12)
    assert VPLinear(0.2, 30.0).sde(0.0) == (-0.1, 0.2) and VPLinear(0.2, 30.0).sde(1.0) == (-15, 30)
    assert VPCosine().sde(0.0) == (0, 0)


def test_variance_preserving_coordinates_of_a_variance_preserving_schedule_are_its_own():
    for schedule, t in ((VPLinear(), 0.5), (linear_beta(), 500), (VPCosine(), 0.9)):
        assert Rescaled(schedule, "vp").scale(t) == pytest.approx(1, rel=1e-14)
    assert Rescaled(VE(0.2, 20.0), "vp").scale(1.0) == pytest.approx(401**-0.5, rel=1e-12)


def test_the_rates_in_other_coordinates():
    """ "ve": (0, c² g²), c = 1/signal; "vp" of VE: c² = 1/(1 + σ²), f = −½ c² g²."""
    t, vp, ve = 0.4, VPLinear(), VE(0.2, 20.0)
    f, g2 = Rescaled(vp, "ve").sde(t)
    assert f == 0 and g2 == pytest.approx(vp.sde(t)[1] / vp.signal(t) ** 2, rel=1e-12)
    f, g2 = Rescaled(ve, "vp").sde(t)
    assert g2 == pytest.approx(ve.sde(t)[1] / (1 + ve.noise(t) ** 2), rel=1e-12) and f == pytest.approx(-g2 / 2)


def test_the_papers_numbers_are_the_defaults():
    assert VPLinear() == VPLinear(beta_min=0.1, beta_max=20.0) and VE() == VE(sigma_min=0.01, sigma_max=50.0)
    assert torch.equal(linear_beta().beta, linear_beta(1000, 1e-4, 0.02).beta)
    assert torch.equal(cosine_beta().beta, cosine_beta(1000, 0.008, 0.999).beta)
    assert Rescaled(VPLinear()).coordinates == "ve"
    assert torch.equal(time_grid(VE(), 9, spacing="karras"), time_grid(VE(), 9, 1, 0, "karras", 7.0))


@pytest.mark.parametrize(
    "schedule",
    [*CONTINUOUS, Rescaled(VPLinear(), "ve"), LearnedMonotone(4)],
    ids=lambda schedule: type(schedule).__name__,
)
def test_times_in_float32_have_values_in_float64(schedule):
    t = torch.tensor([0.25, 0.5])  # exact in float32
    for f in (schedule.signal, schedule.noise, schedule.logsnr):
        assert f(t).dtype == torch.float64 and torch.equal(f(t), f(t.double()))
    assert all(torch.equal(a, b) for a, b in zip(schedule.sde(t), schedule.sde(t.double()), strict=True))


def test_no_rate_in_other_coordinates_either():
    """VPCosine has g² = 0 at t = 0, where nothing is divided by it."""
    assert Rescaled(VPCosine(), "ve").sde(0.0) == (0, 0) == Rescaled(VPCosine(), "vp").sde(0.0)


def test_sched_4_a_learned_schedule_goes_from_high_to_low():
    for high, low in ((1.0, 1.0), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="logsnr_min < logsnr_max"):
            LearnedMonotone(3, high, low)
    schedule = LearnedMonotone(4, 6.0, -2.0)
    assert schedule.logsnr(0.0) == 6 and schedule.logsnr(1.0) == -2 and schedule.logsnr(0.25) == 4
    assert schedule.noise(0.75) ** 2 == pytest.approx(0.5, rel=1e-12)  # λ = 0


@pytest.mark.parametrize("times", [[], [0.5], [0.5, 0.5], [0.1, 0.7, 0.3], torch.tensor([1, 0])])
def test_increasing_times(times):
    with pytest.raises(ValueError, match="at least two, increasing; got"):
        increasing(times)
    assert increasing(torch.tensor([0, 2, 3])) == [0, 2, 3]


def test_m_14_grids_are_even_in_what_they_are_called_after():
    """In the log-SNR, and in (noise/signal)^(1/7); both ends as given."""
    for schedule, start, end in ((VPLinear(), 0.9, 0.1), (VE(0.02, 50.0), 1.0, 0.0)):
        for spacing, rho, of in (
            ("logsnr", 7.0, lambda lam: lam),
            ("karras", 7.0, lambda lam: (-lam / 14).exp()),
            ("karras", 2.0, lambda lam: (-lam / 4).exp()),
        ):
            times = time_grid(schedule, 5, start, end, spacing, rho)
            assert (times[0], times[-1], len(times)) == (start, end, 6)
            steps = of(schedule.logsnr(times)).diff()
            # 60 halvings find a time to 1e-16, up to 60 times less exact in the log-SNR; steps are of order 0.1 or more
            torch.testing.assert_close(steps, steps[:1].expand(5), rtol=1e-10, atol=0)
    with pytest.raises(ValueError, match="needs finite log-SNRs at start=1 and end=0"):
        time_grid(VPCosine(), 5, spacing="logsnr")
    with pytest.raises(ValueError, match="11 steps do not fit between t=20 and t=10; at most 10"):
        time_grid(linear_beta(50), 11, start=20, end=10)
    with pytest.raises(ValueError, match="two fall on one time"):
        time_grid(linear_beta(50), 40, end=1, spacing="logsnr")


def test_the_time_of_a_log_snr():
    chain, t = DISCRETE["T4"], torch.tensor([4, 2, 1])
    assert time_of(chain, chain.logsnr(t) + 0.01).tolist() == [4, 2, 1]  # the nearest, and the clean state is far
    times = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    for schedule in (VPLinear(), VPCosine(), VE()):
        torch.testing.assert_close(time_of(schedule, schedule.logsnr(times)), times, rtol=1e-12, atol=0)  # bisection
    for bad in (20.0, -20.0):
        with pytest.raises(ValueError, match="log-SNR must lie between"):
            time_of(VE(), torch.tensor([bad]))


def test_ddim_9_the_chain_that_stops_at_some_times():
    """β'_k = 1 − ᾱ(t_k)/ᾱ(t_{k−1}), of a chain and of continuous time."""
    full, s = DISCRETE["T4"], respaced(DISCRETE["T4"], [4, 3, 0])
    torch.testing.assert_close(s.alpha_bar, full.alpha_bar[[0, 3, 4]], rtol=1e-14, atol=0)
    torch.testing.assert_close(s.beta[1:], 1 - full.alpha_bar[[3, 4]] / full.alpha_bar[[0, 3]], rtol=1e-14, atol=0)
    assert respaced(VPCosine(), [0.5, 0.0]).alpha_bar[1].item() == pytest.approx(0.5, rel=1e-14)  # cos² of 45°
    for schedule, times, words in (
        (full, [4, 3, 1], "decrease to 0"),
        (full, [3, 3, 0], "decrease to 0"),
        (full, [0], "decrease to 0"),
        (VE(), [0.5, 0.0], "variance-preserving"),
        (Rescaled(VPLinear(), "ve"), [0.5, 0.0], "variance-preserving"),
    ):
        with pytest.raises(ValueError, match=words):
            respaced(schedule, times)


@pytest.mark.parametrize("schedule", [Rescaled(VPLinear(), "line"), Rescaled(VPCosine(), "line")], ids=repr)
def test_m_32_any_schedule_walks_on_the_line_in_its_own_time(schedule):
    t = torch.tensor([0.05, 0.3, 0.8], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(schedule.signal(t) + schedule.noise(t), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(schedule.logsnr(t), schedule.schedule.logsnr(t))
    f, g2 = schedule.sde(t)
    df = torch.autograd.grad(schedule.signal(t).log().sum(), t)[0]
    dn = torch.autograd.grad((schedule.noise(t) ** 2).sum(), t)[0]
    torch.testing.assert_close(f.detach(), df, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(g2.detach(), dn - 2 * df * schedule.noise(t).detach() ** 2, rtol=1e-10, atol=1e-12)
    same, line = schedule.noise(0.3), Linear()
    assert schedule.logsnr(0.3) == pytest.approx(line.logsnr(same), rel=1e-12)


@pytest.mark.parametrize("schedule", [*CONTINUOUS, Rescaled(VPLinear(), "ve")], ids=repr)
def test_m_32_rates_are_the_derivatives_of_signal_and_noise(schedule):
    t = torch.tensor([0.05, 0.3, 0.8], dtype=torch.float64, requires_grad=True)
    for rate, f in zip(rates(schedule, t), (schedule.signal, schedule.noise), strict=True):
        value = f(t).sum()
        slope = torch.autograd.grad(value, t)[0] if value.requires_grad else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(rate.detach(), slope, rtol=1e-11, atol=1e-12)
    assert rates(schedule, 0.3) == pytest.approx([r[1].item() for r in rates(schedule, t)], rel=1e-13)


def test_m_32_ends_of_the_line_and_rates_that_are_not_known():
    line = Linear()
    assert [line.signal(t) for t in (0, 1)] == [1, 0] and [line.noise(t) for t in (0, 1)] == [0, 1]
    assert line.logsnr(0) == math.inf and line.logsnr(1.0) == -math.inf and rates(line, 1.0) == (-1, 1)
    assert rates(VPCosine(), 1.0) == pytest.approx((-math.pi / 2, 0))
    for schedule, t, name in ((VPLinear(), 0.0, "noise"), (linear_beta(), torch.tensor([0, 3]), "noise")):
        with pytest.raises(ValueError, match=rf"{name}\(t\) is 0"):
            rates(schedule, t)


@pytest.mark.parametrize("s", [0.25, 1.0, 3.0])
def test_take_4_a_shift_is_a_factor_of_the_data_and_two_are_one_by_the_product(s):
    """noise/signal is s times as large; a shift applied twice is one by s² (3 becomes 9); 1/s undoes s."""
    t, line = torch.linspace(0.01, 0.99, 50, dtype=torch.float64), Linear()
    once, twice = Shifted(line, s), Shifted(Shifted(line, s), s)
    torch.testing.assert_close(once.noise(t) / once.signal(t), s * t / (1 - t), rtol=1e-12, atol=0)
    torch.testing.assert_close(once.logsnr(t), line.logsnr(t) - 2 * math.log(s), rtol=1e-12, atol=1e-12)
    for other, same in ((twice, Shifted(line, s**2)), (Shifted(once, 1 / s), line)):
        for f in ("signal", "noise"):
            torch.testing.assert_close(getattr(other, f)(t), getattr(same, f)(t), rtol=1e-12, atol=1e-13)
    assert (once.signal(1.0), once.noise(0.0), once.start_std) == (0, 0, 1)


def test_a_shift_needs_a_number_above_0_and_continuous_time():
    for shift in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="shift > 0"):
            Shifted(Linear(), shift)
    with pytest.raises(ValueError, match="discrete schedule"):
        Shifted(linear_beta(), 3.0)
