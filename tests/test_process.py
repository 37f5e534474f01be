"""The forward process in closed form. Ledger FWD-1..9, POST-1, POST-2, SCHED-3."""

import math

import mpmath as mp
import pytest
import torch
from helpers import exact_alpha_bar, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from dlgm.gaussian import Gaussian, condition
from dlgm.process import (
    posterior_coefficients,
    q_implicit,
    q_marginal,
    q_path,
    q_posterior,
    q_sample,
    q_transition,
    spectral_snr,
    tau,
    terminal_kl,
)
from dlgm.schedules import VE, DiscreteSchedule, VPCosine, VPLinear, cosine_beta, linear_beta

SHAPES = [(3,), (3, 2), (3, 1, 4, 5)]
SCHEDULES = {"linear": linear_beta(), "cosine": cosine_beta(), "T4": DiscreteSchedule([0.1, 0.25, 0.4, 0.6])}


@pytest.mark.parametrize("name", SCHEDULES)
def test_fwd_1_and_post_1_one_step_coefficients_at_every_t(name):
    """≤ 1e-12 relative against 50 digits for s = t − 1 at every t = 1..T (FWD-1, POST-1, POST-2)."""
    schedule = SCHEDULES[name]
    a, T = exact_alpha_bar(schedule.beta[1:]), schedule.T
    t = torch.arange(1, T + 1)
    beta = [mp.mpf(float(b)) for b in schedule.beta]
    step = q_transition(schedule, torch.ones(T, dtype=torch.float64), t - 1, t)
    assert relative_error(step.var, beta[1:]) < 1e-12
    assert relative_error(step.mean, [mp.sqrt(1 - b) for b in beta[1:]]) < 1e-12
    c_0, c_t, v = posterior_coefficients(schedule, t - 1, t)
    exact = [
        (mp.sqrt(a[i - 1]) * beta[i], mp.sqrt(1 - beta[i]) * (1 - a[i - 1]), (1 - a[i - 1]) * beta[i], 1 - a[i])
        for i in range(1, T + 1)
    ]
    for got, column in ((c_0, 0), (c_t, 1), (v, 2)):
        assert relative_error(got, [row[column] / row[3] for row in exact]) < 1e-12
    assert (c_0[0], c_t[0], v[0]) == (1, 0, 0)  # t = 1: the clean state itself
    for i in (1, 2, T):  # numbers give what tensors give
        assert posterior_coefficients(schedule, i - 1, i) == pytest.approx(
            tuple(c[i - 1].item() for c in (c_0, c_t, v)), rel=1e-14
        )


@pytest.mark.parametrize("name", SCHEDULES)
def test_float32_stays_within_1e_6(name, generator):
    """q_sample, q_transition and q_posterior in float32 against the same in float64, relative to the sizes added."""
    schedule = SCHEDULES[name]
    t = torch.arange(1, schedule.T + 1)
    s = t - 1
    x, y = (torch.randn(len(t), generator=generator) for _ in range(2))
    both = [(x, y), (x.double(), y.double())]
    for f in (
        lambda a, b: (q_sample(schedule, a, t, b), a.abs() + b.abs()),
        lambda a, b: (q_transition(schedule, a, s, t).mean, a.abs()),
        lambda a, b: (q_posterior(schedule, a, b, s, t).mean, a.abs() + b.abs()),
        lambda a, b: (q_marginal(schedule, a, t).var, torch.ones_like(a) * schedule.noise(t) ** 2),
        lambda a, b: (q_transition(schedule, a, s, t).var, torch.ones_like(a) * schedule.beta[1:]),
    ):
        (low, _), (high, size) = (f(*pair) for pair in both)
        assert low.dtype == torch.float32
        assert ((low.double() - high).abs() / size).max() < 1e-6  # a few float32 roundings of 6e-8


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("schedule", [linear_beta(50), VPLinear(), VPCosine(), VE()], ids=repr)
def test_every_shape_and_every_kind_of_t(shape, schedule, generator):
    """A number, () and (B,) agree, and a batch with different times equals a loop over examples."""
    x, y = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    if isinstance(schedule, DiscreteSchedule):
        s, t = torch.tensor([1, 7, 20]), torch.tensor([2, 30, 50])
    else:
        s, t = (torch.tensor(v, dtype=torch.float64) for v in ([0.01, 0.2, 0.5], [0.02, 0.6, 0.99]))
    functions = [
        lambda i, s, t: q_sample(schedule, x[i], t, y[i]),
        lambda i, s, t: q_marginal(schedule, x[i], t).mean,
        lambda i, s, t: q_transition(schedule, x[i], s, t).mean,
        lambda i, s, t: q_posterior(schedule, x[i], y[i], s, t).mean,
        lambda i, s, t: q_posterior(schedule, x[i], y[i], s, t).var.expand(x[i].shape),
        lambda i, s, t: q_transition(schedule, x[i], s, t).kl(Gaussian(y[i], 1.0)),
    ]
    everything = slice(None)
    for f in functions:
        batch = f(everything, s, t)
        loop = torch.cat([f(slice(i, i + 1), s[i].item(), t[i].item()) for i in range(3)])
        torch.testing.assert_close(batch, loop, rtol=1e-14, atol=0)  # number and tensor paths differ by a rounding
        torch.testing.assert_close(
            f(everything, s[1], t[1]), f(everything, s[1].item(), t[1].item()), rtol=1e-14, atol=0
        )


@settings(max_examples=60)
@given(st.lists(st.floats(1e-4, 0.9), min_size=3, max_size=12), st.data())
def test_fwd_5_kernels_compose_for_any_times(betas, data):
    """q(x_t|x_r) = ∫ q(x_t|x_s) q(x_s|x_r) dx_s for any r < s < t, over random schedules (FWD-5)."""
    schedule = DiscreteSchedule(betas)
    r, s, t = sorted(data.draw(st.lists(st.integers(0, len(betas)), min_size=3, max_size=3, unique=True)))
    x = torch.tensor([1.3], dtype=torch.float64)
    first, whole = q_transition(schedule, x, r, s), q_transition(schedule, x, r, t)
    second = q_transition(schedule, first.mean, s, t)
    ratio = schedule.signal(t) / schedule.signal(s)
    torch.testing.assert_close(whole.mean, second.mean, rtol=1e-13, atol=0)  # float64
    torch.testing.assert_close(whole.var, second.var + ratio**2 * first.var, rtol=1e-12, atol=0)


@settings(max_examples=60)
@given(st.lists(st.floats(1e-3, 0.9), min_size=2, max_size=12), st.floats(-2, 2), st.floats(-2, 2), st.data())
def test_post_1_is_bayes_rule_for_any_pair_of_times(betas, x0, x_t, data):
    """q(x_s|x_t,x_0) by conditioning q(x_s|x_0) on x_t: the general formula, not only s = t − 1 (POST-1)."""
    schedule = DiscreteSchedule(betas)
    s, t = sorted(data.draw(st.lists(st.integers(1, len(betas)), min_size=2, max_size=2, unique=True)))
    x0, x_t = (torch.tensor([v], dtype=torch.float64) for v in (x0, x_t))
    one = torch.ones(1, dtype=torch.float64)
    a = q_transition(schedule, one, s, t)
    bayes = condition(q_marginal(schedule, x0, s), x_t, a.mean, a.var)
    ours = q_posterior(schedule, x_t, x0, s, t)
    torch.testing.assert_close(ours.mean, bayes.mean, rtol=1e-10, atol=1e-12)  # the reference cancels, ours does not
    torch.testing.assert_close(ours.var.expand(1), bayes.var, rtol=1e-10, atol=0)


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine(), VE()], ids=repr)
def test_continuous_transitions_compose_and_invert(schedule):
    x, x_t = (torch.tensor([v], dtype=torch.float64) for v in (0.7, -0.4))
    a = q_transition(schedule, torch.ones_like(x), 0.3, 0.7)
    bayes = condition(q_marginal(schedule, x, 0.3), x_t, a.mean, a.var)
    ours = q_posterior(schedule, x_t, x, 0.3, 0.7)
    torch.testing.assert_close(ours.mean, bayes.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.var.expand(1), bayes.var, rtol=1e-12, atol=0)
    kernel = q_marginal(schedule, x, 0.7)  # FWD-5 again, in continuous time
    torch.testing.assert_close(
        kernel.var.expand(1), a.var + a.mean**2 * q_marginal(schedule, x, 0.3).var, rtol=1e-12, atol=0
    )


def test_fwd_4_the_recursion_gives_the_kernel():
    """FWD-4, CK-FWD-1: mean and variance by 1000 steps of the recursion against the closed form."""
    s = SCHEDULES["linear"]
    m, v = 1.0, 0.0
    for t in range(1, 1001):
        m, v = math.sqrt(s.alpha[t]) * m, s.alpha[t].item() * v + s.beta[t].item()
        assert m == pytest.approx(s.signal(t), rel=1e-12) and v == pytest.approx(s.noise(t) ** 2, rel=1e-12)


def test_fwd_2_the_chain_as_one_gaussian(generator):
    """FWD-2, FWD-6: mean and covariance of (x_1..x_4) over sampled chains, within 5 standard errors of exact."""
    s, n = SCHEDULES["T4"], 200_000
    path = torch.stack(list(q_path(s, torch.ones(n, dtype=torch.float64), generator)))
    assert torch.equal(path[0], torch.ones(n, dtype=torch.float64))
    t = torch.arange(1, 5)
    a, v = s.signal(t), s.noise(t) ** 2
    early, late = torch.minimum(t[:, None], t), torch.maximum(t[:, None], t)
    cov = s.signal(late) / s.signal(early) * s.noise(early) ** 2  # Cov(x_s, x_t) = (α_t/α_s) noise_s²
    assert ((path[1:].mean(1) - a).abs() < 5 * (v / n).sqrt()).all()
    se = ((v[:, None] * v + cov**2) / n).sqrt()
    assert ((path[1:].cov() - cov).abs() < 5 * se).all()


def test_fwd_6_one_shot_equals_sequential_in_law(generator):
    """FWD-6, QUIZ-1.4: a two-sample Kolmogorov–Smirnov test, plus the fourth moment, at t = 3 of the T = 4 chain."""
    s, n = SCHEDULES["T4"], 100_000
    x0 = torch.randn(n, generator=generator, dtype=torch.float64).sign()
    slow = list(q_path(s, x0, generator))[3]
    fast = q_sample(s, x0, 3, torch.randn(n, generator=generator, dtype=torch.float64))
    grid = torch.linspace(-4, 4, 401, dtype=torch.float64)
    cdf = [torch.searchsorted(v.sort().values, grid).double() / n for v in (slow, fast)]
    assert (cdf[0] - cdf[1]).abs().max() < 1.95 * math.sqrt(2 / n)  # KS: false alarm below 0.1 %
    m4 = [(v**4).mean() for v in (slow, fast)]
    assert abs(m4[0] - m4[1]) < 5 * math.sqrt(2 / n) * (slow**4).std()  # 5 standard errors


def test_fwd_9_any_sample_is_carried_to_the_same_end(generator):
    """FWD-9: no parameters, same size; two very different x_0 with one noise end √ᾱ_T |x_0 − x_0'| apart, 0.64 here."""
    s, eps = SCHEDULES["linear"], torch.randn(3, 1, 4, 4, generator=generator, dtype=torch.float64)
    a, b = (q_sample(s, torch.full_like(eps, v), 1000, eps) for v in (-50.0, 50.0))
    assert a.shape == eps.shape and not isinstance(s, torch.nn.Module)
    torch.testing.assert_close(b - a, torch.full_like(eps, 100 * math.sqrt(4.03582e-5)), rtol=1e-5, atol=0)  # 6 digits


def test_fwd_8_terminal_kl():
    """FWD-8, CK-FWD-4: 2.0e-5 nats per dimension at x_0 = 1 for the linear schedule, per dimension for any shape."""
    s = SCHEDULES["linear"]
    a = exact_alpha_bar(s.beta[1:])[-1]
    exact = float((-mp.log(1 - a) - a + a) / 2)
    # ½(u − log1p(u)) for u = −4e-5 keeps about 1e-16 / u² of its own 4e-10, the rest is ½ᾱ
    assert terminal_kl(s, torch.ones(1, dtype=torch.float64)).item() == pytest.approx(exact, rel=1e-9)
    assert exact == pytest.approx(2.0e-5, rel=0.02)
    images = torch.ones(2, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(terminal_kl(s, images), torch.full((2,), exact, dtype=torch.float64), rtol=1e-9, atol=0)
    assert terminal_kl(VPLinear(), images).shape == (2,)


def test_fwd_6_without_the_shrink_the_variance_runs_away():
    """E-35, CK-FWD-6: Σβ = 10.05 is where the variance would go; with √(1−β) it stays below 1."""
    s = SCHEDULES["linear"]
    assert s.beta.sum().item() == pytest.approx(10.05, abs=1e-6)
    assert s.noise(1000) ** 2 == pytest.approx(1 - 4.036e-5, rel=1e-7)


def test_fwd_5_summable_betas_never_reach_noise():
    """E-34, CK-FWD-5: β_t = 0.5/t² ends at ᾱ → sin(π√½)/(π√½) = 0.358, not 0."""
    s = DiscreteSchedule(0.5 / torch.arange(1, 200_001, dtype=torch.float64) ** 2)
    limit = math.sin(math.pi * math.sqrt(0.5)) / (math.pi * math.sqrt(0.5))
    assert s.alpha_bar[-1].item() == pytest.approx(limit, rel=1e-5)  # the tail of the product, 0.5/200000


def test_sched_3_high_frequencies_are_lost_first():
    """SCHED-3, CK-SCHED-1: with power f⁻² the first t with SNR < 1 falls as f grows."""
    s, f = SCHEDULES["linear"], torch.tensor([1.0, 4.0, 16.0], dtype=torch.float64)
    snr = spectral_snr(s, f**-2, torch.arange(1, 1001))
    assert snr.shape == (1000, 3)
    first = [int((snr[:, k] < 1).nonzero()[0]) + 1 for k in range(3)]
    exact = [next(t for t in range(1, 1001) if s.alpha_bar[t] * p < 1 - s.alpha_bar[t]) for p in (f**-2).tolist()]
    assert first == exact and first[0] > first[1] > first[2]
    torch.testing.assert_close(spectral_snr(s, f**-2, 10), snr[9])


def test_s_must_come_before_t():
    s, x = SCHEDULES["linear"], torch.zeros(2)
    for bad in ((5, 5), (6, 5)):
        with pytest.raises(ValueError, match=f"expected s < t, got s={bad[0]} and t={bad[1]}"):
            q_transition(s, x, *bad)
    with pytest.raises(ValueError, match="expected s < t"):
        q_posterior(s, x, x, torch.tensor([1, 9]), torch.tensor([2, 8]))
    with pytest.raises(ValueError, match=r"x0 \(2,\), eps \(2, 1\)"):
        q_sample(s, x, 3, torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"expected \(\) or \(2,\)"):
        q_sample(s, x, torch.tensor([1, 2, 3]), x)


def test_tau_is_the_share_of_the_variance_added_after_s():
    s = SCHEDULES["T4"]
    assert tau(s, 0, 3) == 1
    assert s.noise(3) ** 2 * tau(s, 2, 3) == pytest.approx(0.4, rel=1e-14)  # β_3
    assert s.noise(2) ** 2 * tau(s, 2, 3) == pytest.approx(s.posterior_variance[3].item(), rel=1e-14)


def test_tau_of_a_number_and_a_batch():
    s = SCHEDULES["T4"]
    t, low = torch.tensor([2, 4]), torch.tensor([0, 1])
    torch.testing.assert_close(tau(s, 1, t), torch.tensor([tau(s, 1, 2), tau(s, 1, 4)], dtype=torch.float64))
    torch.testing.assert_close(tau(s, low, 3), torch.tensor([tau(s, 0, 3), tau(s, 1, 3)], dtype=torch.float64))


def test_posteriors_do_not_broadcast_and_a_chain_has_steps():
    s, x, y = SCHEDULES["T4"], torch.zeros(2), torch.zeros(2, 2)
    for call in (lambda: q_posterior(s, x, y, 1, 2), lambda: q_implicit(s, x, y, 1, 2, 0.05)):
        with pytest.raises(ValueError, match=r"x_t \(2,\), x0 \(2, 2\)"):
            call()
    with pytest.raises(ValueError, match="needs a discrete schedule, got VPLinear"):
        next(q_path(VPLinear(), x))


def test_powers_keep_their_dtype_and_one_time_gives_one_row():
    s, power = SCHEDULES["T4"], torch.tensor([1.0, 0.25])
    got = spectral_snr(s, power, torch.tensor(2))
    snr = s.alpha_bar[2] / (1 - s.alpha_bar[2])
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.stack([snr, snr / 4]).float())
