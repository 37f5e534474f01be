"""Conversions between what a network may predict, Prediction and Denoiser. Ledger PAR-1..4, SCORE-4, POST-5."""

import itertools
import math
import re

import pytest
import torch

from dlgm import parameterization as P
from dlgm.denoiser import Clipped, Denoiser, Prediction
from dlgm.process import q_posterior, q_sample
from dlgm.schedules import VE, DiscreteSchedule, Linear, Shifted, VPCosine, VPLinear, cosine_beta, linear_beta, rates

KINDS = ("x0", "eps", "v", "score", "velocity")
SHAPES = [(1000,), (1000, 2), (1000, 1, 3, 4)]


def truth(schedule, x0, eps, t):
    """All quantities from their definitions, with x_t."""
    scales = schedule.signal(t), schedule.noise(t), *rates(schedule, t)
    signal, noise, signal_rate, noise_rate = (c.reshape(-1, *[1] * (x0.ndim - 1)).to(x0.dtype) for c in scales)
    values = {
        "x0": x0,
        "eps": eps,
        "v": signal * eps - noise * x0,
        "score": -eps / noise,
        "velocity": signal_rate * x0 + noise_rate * eps,
    }
    return q_sample(schedule, x0, t, eps), values


def condition_number(schedule, target, t):
    """By how much the target's formula amplifies a rounding of x_t: 1/σ² for the score, 1/σ or 1/α for ε, x0, v."""
    a, n = schedule.signal(t), schedule.noise(t)
    return {"x0": 1 / a, "eps": 1 / n, "v": 1 / (a * n), "score": 1 / n**2, "velocity": 1 / (a * n)}[target]


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("pair", list(itertools.permutations(KINDS, 2)), ids="->".join)
@pytest.mark.parametrize("shape", SHAPES)
def test_par_1_every_arrow_there_and_back_at_every_t(name, pair, shape, generator):
    """PAR-1, PAR-4, SCORE-4: the definition, and the way back, at each t = 1..1000."""
    schedule = {"linear": linear_beta(), "cosine": cosine_beta()}[name]
    source, target = pair
    if not hasattr(P, f"{target}_from_{source}"):
        pytest.fail(f"no arrow {source} -> {target}")
    t = torch.arange(1, 1001)
    x0, eps = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    x_t, values = truth(schedule, x0, eps, t)
    there = getattr(P, f"{target}_from_{source}")(schedule, x_t, values[source], t)
    back = getattr(P, f"{source}_from_{target}")(schedule, x_t, there, t)
    for got, kind in ((there, target), (back, source)):
        error = (got - values[kind]).abs().reshape(1000, -1).max(1).values
        # five float64 roundings of numbers up to 5, times what the arrows themselves amplify
        allowed = 5e-15 * condition_number(schedule, source, t) * condition_number(schedule, target, t)
        assert (error <= allowed.clamp(min=1e-14)).all()
        if name == "linear":  # relative to the size of the quantity, at every t including 1 and T
            assert (error / values[kind].abs().reshape(1000, -1).amax(1).clamp(min=1e-1)).max() < 1e-12


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_float32_arrows_stay_within_1e_6_of_the_size_of_their_terms(name, generator):
    """Each arrow in float32 against float64 on the same input; the error is measured against the terms it adds."""
    schedule = {"linear": linear_beta(), "cosine": cosine_beta()}[name]
    t = torch.arange(1, 1001)
    signal, noise = schedule.signal(t), schedule.noise(t)
    x_t, value = (torch.randn(1000, generator=generator) for _ in range(2))
    x, y = x_t.double().abs(), value.double().abs()
    size = {
        "x0_from_eps": (x + noise * y) / signal,
        "x0_from_score": (x + noise**2 * y) / signal,
        "x0_from_v": signal * x + noise * y,
        "eps_from_x0": (x + signal * y) / noise,
        "eps_from_v": noise * x + signal * y,
        "eps_from_score": noise * y,
        "v_from_x0": (signal * x + y) / noise,
        "v_from_eps": (noise * x + y) / signal,
        "v_from_score": (noise * x + noise * y) / signal,
        "score_from_x0": (x + signal * y) / noise**2,
        "score_from_eps": y / noise,
        "score_from_v": (noise * x + signal * y) / noise,
    }
    for arrow, terms in size.items():
        low, high = (getattr(P, arrow)(schedule, a, b, t) for a, b in ((x_t, value), (x_t.double(), value.double())))
        assert low.dtype == torch.float32
        assert ((low.double() - high).abs() / terms).max() < 1e-6, arrow  # a few roundings of 6e-8


@pytest.mark.parametrize(
    "schedule", [VPLinear(), VPCosine(), VE(), Linear(), Shifted(Linear(), 3.0), linear_beta(40)], ids=repr
)
def test_all_schedules_and_all_kinds_of_t(schedule, generator):
    """Continuous families too, VE included, where α² + σ² is not 1; numbers equal tensors."""
    discrete = isinstance(schedule, DiscreteSchedule)
    t = torch.tensor([2, 11, 20]) if discrete else torch.tensor([0.01, 0.5, 0.95], dtype=torch.float64)
    for shape in ((3,), (3, 2), (3, 1, 4, 4)):
        x0, eps = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
        x_t, values = truth(schedule, x0, eps, t)
        for source in KINDS:
            p = Prediction(schedule, x_t, t, **{source: values[source]})
            for target in KINDS:
                # amplification below 1e6 in this set of times
                torch.testing.assert_close(getattr(p, target), values[target], rtol=1e-9, atol=1e-9)
            one = Prediction(schedule, x_t[1:2], t[1].item(), **{source: values[source][1:2]})
            torch.testing.assert_close(one.x0, p.x0[1:2], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_par_2_and_post_5_the_mean_in_three_forms(name, generator):
    """PAR-2, POST-5: from x0, from ε, and μ̃ = (x_t − β_t/√(1−ᾱ_t) ε)/√α_t as the papers print it, at every t."""
    schedule = {"linear": linear_beta(), "cosine": cosine_beta()}[name]
    t = torch.arange(1, 1001)
    x0, eps = (torch.randn(1000, generator=generator, dtype=torch.float64) for _ in range(2))
    x_t = q_sample(schedule, x0, t, eps)
    mean = q_posterior(schedule, x_t, x0, t - 1, t).mean
    printed = (x_t - schedule.beta[t] / schedule.noise(t) * eps) / schedule.alpha[t].sqrt()
    amplification = 1 / schedule.alpha[t].sqrt()
    for other in (P.mean_from_x0(schedule, x_t, x0, t - 1, t), P.mean_from_eps(schedule, x_t, eps, t - 1, t), printed):
        assert ((other - mean).abs() / amplification).max() < 2e-14  # a few roundings, divided by √α_t
    back = P.x0_from_mean(schedule, x_t, mean, t - 1, t)
    c_0 = P.posterior_coefficients(schedule, t - 1, t)[0]
    assert ((back - x0).abs() * c_0).max() < 1e-14  # dividing by c_0 amplifies, by up to 1e4 at t = T
    torch.testing.assert_close(P.eps_from_mean(schedule, x_t, mean, t - 1, t) * schedule.noise(t) / schedule.signal(t),
                               (x_t - schedule.signal(t) * back) / schedule.signal(t))  # fmt: skip


def test_par_3_an_error_in_eps_counts_157_fold_at_the_end():
    s, x = linear_beta(), torch.zeros(1, dtype=torch.float64)
    gap = P.x0_from_eps(s, x, x + 1, 1000) - P.x0_from_eps(s, x, x, 1000)
    assert abs(gap.item()) == pytest.approx(157.4, abs=0.1)


def test_score_6_tweedie_for_gaussian_data(generator):
    """SCORE-6: for x_0 ~ N(m, v), x0_from_score of the marginal score is E[x_0 | x_t] by Gaussian conditioning."""
    s, m, v, t = linear_beta(), 0.5, 0.3, 400
    x_t = torch.randn(5, generator=generator, dtype=torch.float64)
    a, n = s.signal(t), s.noise(t)
    score = -(x_t - a * m) / (a**2 * v + n**2)
    expected = m + a * v / (a**2 * v + n**2) * (x_t - a * m)
    torch.testing.assert_close(P.x0_from_score(s, x_t, score, t), expected, rtol=1e-12, atol=1e-13)  # float64


def test_prediction_derives_each_once_and_clip_rederives_the_rest(generator):
    s, x_t = linear_beta(), torch.randn(4, 3, generator=generator)
    p = Prediction(s, x_t, 300, eps=torch.randn(4, 3, generator=generator))
    assert p.x0 is p.x0
    c = p.clip(-0.5, 0.5)
    assert c.x0.abs().max() <= 0.5 and torch.equal(c.x0, p.x0.clamp(-0.5, 0.5))
    for kind in ("eps", "v", "score"):
        torch.testing.assert_close(getattr(c, kind), getattr(P, f"{kind}_from_x0")(s, x_t, c.x0, 300))
    inside = p.clip(-100, 100)
    torch.testing.assert_close(inside.eps, p.eps, rtol=1e-5, atol=1e-5)  # float32, there and back


class Net(torch.nn.Module):
    """Records the time it was given and answers with the truth it was built with."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.weight = answer, torch.nn.Parameter(torch.ones(1))

    def forward(self, x_t, t, scale=1.0):
        self.t = t
        return scale * self.answer


@pytest.mark.parametrize("predicts", ["eps", "x0", "v", "score", "mean"])
def test_par_3_heads_are_interchangeable(predicts, generator):
    s = linear_beta()
    x0, eps = (torch.randn(3, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    for t in (torch.tensor([1, 500, 1000]), torch.tensor(500), 500):
        x_t, values = truth(s, x0, eps, torch.as_tensor(t).expand(3))
        values["mean"] = q_posterior(s, x_t, x0, t - 1, t).mean
        d = Denoiser(Net(values[predicts]), s, predicts)
        # c_0 at t = 1000 is 1.3e-4: a predicted mean determines x0 to about 1e-11
        torch.testing.assert_close(d(x_t, t).x0, x0, rtol=1e-10, atol=1e-10)
        assert d.net.t.dtype == torch.int64 and d.net.t.tolist() == torch.as_tensor(t).expand(3).tolist()
    assert len(list(d.parameters())) == 1  # the schedule holds no parameters and no buffers
    assert not list(d.buffers()) and d.to(torch.bfloat16).schedule.alpha_bar.dtype == torch.float64


def test_conditioning_reaches_the_network_and_clipping_wraps():
    s, x = VPCosine(), torch.ones(2, 3)
    d = Denoiser(Net(torch.ones(2, 3)), s, "x0")
    assert d(x, 0.5, scale=3.0).x0.max() == 3 and d.net.t.dtype == torch.float32
    c = Clipped(d, -1, 1)
    assert c.schedule is s and c(x, 0.5, scale=3.0).x0.max() == 1


def test_errors():
    s, x = linear_beta(), torch.zeros(2, 3)
    with pytest.raises(ValueError, match="known: eps, x0, v, score, mean, velocity"):
        Denoiser(Net(x), s, "noise")
    with pytest.raises(ValueError, match="needs a discrete schedule"):
        Denoiser(Net(x), VPLinear(), "mean")
    with pytest.raises(ValueError, match=r"eps has shape \(2, 1\), x_t has \(2, 3\)"):
        Denoiser(Net(torch.zeros(2, 1)), s)(x, 5)
    with pytest.raises(ValueError, match="exactly one of"):
        Prediction(s, x, 5, eps=x, x0=x)
    with pytest.raises(ValueError, match="s is missing"):
        Prediction(s, x, 5, mean=x)
    with pytest.raises(ValueError, match="signal.t. is 0 at t=1.0"):
        P.x0_from_eps(VPCosine(), x, x, 1.0)
    with pytest.raises(ValueError, match="noise.t. is 0 at t=0"):
        P.eps_from_x0(s, x, x, 0)
    assert math.isfinite(P.x0_from_v(VPCosine(), x, x, 1.0).sum())  # v and x0 have no such point


def test_zero_signal_or_noise_is_named_for_tensor_times_too():
    x = torch.zeros(2)
    for arrow in (P.x0_from_eps, P.x0_from_score, P.v_from_eps):
        with pytest.raises(ValueError, match="signal"):
            arrow(VPCosine(), x, x, torch.tensor([1.0, 0.5]))
    for arrow in (P.eps_from_x0, P.score_from_x0, P.score_from_eps, P.v_from_x0):
        with pytest.raises(ValueError, match="noise"):
            arrow(linear_beta(), x, x, torch.tensor([0, 5]))


@pytest.mark.parametrize("t", [5000, -3, 0.5, torch.tensor([5.7, 6.2]), torch.tensor([3]), torch.tensor([[1], [2]])])
def test_a_network_never_sees_a_time_that_does_not_exist(t):
    with pytest.raises(ValueError):
        Denoiser(Net(torch.zeros(2, 3)), linear_beta(), "x0")(torch.zeros(2, 3), t)


def test_clipping_bounds_and_the_fraction_is_kept():
    s, x = linear_beta(), torch.ones(2, 3)
    assert Clipped(Denoiser(Net(x), s, "x0"), -0.25, 0.5)(x, 5).x0.max() == 0.5
    p = Prediction(s, x, 5, x0=x, fraction=2 * x)
    assert p.clip(-0.5, 0.5).fraction is p.fraction and p.fraction.max() == 2


@pytest.mark.parametrize("name", [n for n in dir(P) if "_from_" in n])
def test_no_arrow_broadcasts(name):
    times = (1, 2) if "mean" in name.split("_from_") else (2,)
    for value in (torch.zeros(3, 1), torch.zeros(1)):
        with pytest.raises(ValueError, match=rf"x_t \(3,\), prediction {re.escape(str(tuple(value.shape)))}"):
            getattr(P, name)(linear_beta(50), torch.zeros(3), value, *times)


def test_a_prediction_is_of_exactly_one_known_thing():
    x = torch.zeros(2)
    for given, got in (({}, "none"), ({"x0": x, "eps": x}, "x0, eps"), ({"noise": x}, "noise")):
        with pytest.raises(ValueError, match=f"exactly one of eps, x0, v, score, mean, velocity; got {got}$"):
            Prediction(linear_beta(50), x, 3, **given)


@pytest.mark.parametrize("schedule, t, dtype", [(VPLinear(), 0.25, torch.float64), (linear_beta(50), 7, torch.int64)])
def test_a_network_is_told_one_time_for_each_example_in_its_dtype(schedule, t, dtype):
    told = []
    denoiser = Denoiser(lambda x, t: told.append(t) or x, schedule)
    for given in (t, torch.tensor(t), torch.tensor([t, t])):
        denoiser(torch.zeros(2, 3, dtype=torch.float64), given)
    assert [(v.dtype, v.tolist()) for v in told] == [(dtype, [t, t])] * 3


def test_pixels_are_clipped_to_minus_one_and_one_unless_said():
    x = torch.tensor([-3.0, -0.5, 0.75, 3.0])
    guess = Denoiser(lambda x, t: x, linear_beta(50), predicts="x0")
    want = [-1, -0.5, 0.75, 1]
    assert guess(x, 3).clip().x0.tolist() == Clipped(guess)(x, 3).x0.tolist() == want
    assert Clipped(guess, -2.0, 0.5)(x, 3).x0.tolist() == [-2, -0.5, 0.5, 0.5]
