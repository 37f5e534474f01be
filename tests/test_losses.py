"""What a denoiser is trained on: weights, targets and random times."""

import itertools
import math

import pytest
import torch

from dlgm import losses, vlb
from dlgm import parameterization as P
from dlgm.denoiser import Denoiser, Prediction
from dlgm.oracles import GaussianMixture, bounds
from dlgm.process import q_posterior, q_sample
from dlgm.schedules import VPCosine, cosine_beta, linear_beta

CHAIN = bounds.T4  # no term of its bound is negligible
LINEAR, V = bounds.short_chain()
SLOPE, OFFSET = (torch.tensor((math.nan, *v), dtype=torch.float64) for v in (LINEAR.net.A, LINEAR.net.B))


def test_one_random_time_estimates_the_sum(generator):
    denoiser = GaussianMixture([1.0], [[0.0]], [[0.3]]).denoiser(CHAIN)
    x0 = 0.3**0.5 * torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    exact = vlb.gaussian_vlb(CHAIN, 0.0, 0.3)
    for p in (None, [0.1, 0.2, 0.3, 0.4]):
        t = losses.sample_t(CHAIN, len(x0), generator, p)
        weight = losses.time_weights(p, t)
        eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        one = 4 * weight * vlb.vlb_term(denoiser, x0, t, eps, decoder="gaussian")
        want = (exact.total - exact.prior).item()
        assert abs(one.mean() - want) < 4.5 * one.std() / math.sqrt(len(one))


def test_sample_t_is_uniform_over_1_to_T_and_its_weights_average_to_one(generator):
    t = losses.sample_t(CHAIN, 40_000, generator)
    counts = torch.bincount(t, minlength=5)
    assert (
        counts[0] == 0
        and (counts[1:] - 10_000).abs().max() < 5 * math.sqrt(7500)
        and (losses.time_weights(None, t) == 1).all()
    )
    p = torch.tensor([4.0, 3.0, 2.0, 1.0])
    t = losses.sample_t(CHAIN, 40_000, generator, p)
    weight = losses.time_weights(p, t)
    torch.testing.assert_close(weight, (2.5 / p)[t - 1])
    assert abs(weight.mean() - 1) < 5 * weight.std() / 200
    with pytest.raises(ValueError, match="discrete schedule"):
        losses.sample_t(VPCosine(), 3)
    with pytest.raises(ValueError, match="4 positive probabilities"):
        losses.sample_t(CHAIN, 3, probabilities=[1.0, 2.0])


@pytest.mark.parametrize("variance", vlb.VARIANCES)
@pytest.mark.parametrize("schedule", [CHAIN, linear_beta(1000), cosine_beta(200)])
def test_loss_1_3_4_weights_turn_squared_errors_into_the_kl(schedule, variance):
    g = torch.Generator().manual_seed(0)
    x0, eps, guess = (torch.randn(3, 2, generator=g, dtype=torch.float64) for _ in range(3))
    for t in {2, schedule.T // 2, schedule.T}:
        x_t = q_sample(schedule, x0, t, eps)
        guesser = lambda x, t, guess=guess: Prediction(schedule, x, t, x0=guess)  # noqa: E731
        guesser = type("Guess", (), {"schedule": schedule, "__call__": lambda self, x, t, f=guesser: f(x, t)})()
        kl = vlb.vlb_term(guesser, x0, t, eps, variance, "gaussian")
        constant = vlb.kl_constant(schedule, t, 2, variance)
        errors = {
            "x0": x0 - guess,
            "eps": eps - P.eps_from_x0(schedule, x_t, guess, t),
            "v": P.v_from_eps(schedule, x_t, eps, t) - P.v_from_x0(schedule, x_t, guess, t),
            "score": P.score_from_eps(schedule, x_t, eps, t) - P.score_from_x0(schedule, x_t, guess, t),
            "velocity": P.velocity_from_eps(schedule, x_t, eps, t) - P.velocity_from_x0(schedule, x_t, guess, t),
            "mean": q_posterior(schedule, x_t, x0, t - 1, t).mean - P.mean_from_x0(schedule, x_t, guess, t - 1, t),
        }
        assert set(errors) == set(losses.TARGETS)
        for target, error in errors.items():
            weight = losses.vlb_weight(schedule, t, target, variance)
            torch.testing.assert_close(weight * error.square().sum(1) + constant, kl, rtol=1e-8, atol=1e-12)


def test_loss_weights_in_the_papers_own_symbols():
    s = linear_beta(1000)
    for t in (2, 400, 1000):
        beta, alpha, bar, before = s.beta[t], s.alpha[t], s.alpha_bar[t], s.alpha_bar[t - 1]
        eps_beta = beta**2 / (2 * beta * alpha * (1 - bar))
        torch.testing.assert_close(losses.vlb_weight(s, t, "eps", "beta"), eps_beta, rtol=1e-10, atol=0)
        x0 = 0.5 * (before / (1 - before) - bar / (1 - bar))  # half the drop of the signal-to-noise ratio, M-08
        torch.testing.assert_close(losses.vlb_weight(s, t, "x0", "posterior"), x0, rtol=1e-8, atol=0)
    first = losses.vlb_weight(s, 1, "eps", "beta")
    t = torch.arange(1, 1001)
    ratio = losses.vlb_weight(s, t, "eps", "beta")
    assert abs(first - 0.5 / s.alpha[1]) < 1e-12  # E-72: at t = 1 it is 1/(2 α_1), not infinite
    assert ratio.argmin() + 1 == 349 and 100 < ratio[0] / ratio.min() < 102


def test_loss_10_the_first_term_has_the_same_form():
    """E-45: −log N(x_0; μ_θ(x_1, 1), σ_1²) = λ_1 ‖ε − ε̂‖² + a constant."""
    net = lambda x, t: 0.3 * x - 0.1  # noqa: E731
    denoiser = Denoiser(net, CHAIN, "eps")
    g = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
    nll = vlb.vlb_term(denoiser, x0, 1, eps, "beta", "gaussian")
    constant = 0.5 * 3 * math.log(2 * math.pi * CHAIN.beta[1])
    error = losses.simple_loss(denoiser, x0, 1, eps)
    torch.testing.assert_close(nll, losses.vlb_weight(CHAIN, 1, "eps", "beta") * error + constant)


def test_convert_weight_there_and_back_and_through_the_loss():
    g = torch.Generator().manual_seed(1)
    x0, eps = (torch.randn(6, 4, generator=g, dtype=torch.float64) for _ in range(2))
    denoiser = Denoiser(lambda x, t: 0.5 * x, CHAIN, "v")
    t = torch.tensor([1, 2, 3, 4, 2, 1])
    base = losses.prediction_loss(denoiser, x0, t, eps, "v", weight=2.0)
    for target in losses.TARGETS:
        weight = losses.convert_weight(CHAIN, t, 2.0, "v", target)
        torch.testing.assert_close(losses.prediction_loss(denoiser, x0, t, eps, target, weight), base)
        back = losses.convert_weight(CHAIN, t, weight, target, "v")
        torch.testing.assert_close(back, torch.full_like(back, 2.0))
    for name in ("source", "target"):
        with pytest.raises(ValueError, match="unknown target 'noise'"):
            losses.convert_weight(CHAIN, 1, 1.0, **{"source": "v", "target": "v", name: "noise"})


@pytest.mark.parametrize("predicts", losses.TARGETS)
def test_options_a_b_c_and_v_are_interchangeable_when_they_say_the_same(predicts):
    """PAR-2, PAR-3, ALG-4: heads that agree give one loss, one reverse step and one bound."""
    truth = GaussianMixture([0.4, 0.6], [[-0.5, 0.2], [0.6, 0.0]], [[0.05, 0.1], [0.2, 0.05]]).denoiser(CHAIN)

    def net(x, t):
        p = truth(x, t)
        return P.mean_from_x0(CHAIN, x, p.x0, t - 1, t) if predicts == "mean" else getattr(p, predicts)

    head = Denoiser(net, CHAIN, predicts)
    g = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(8, 2, generator=g, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([1, 2, 3, 4] * 2)
    torch.testing.assert_close(losses.simple_loss(head, x0, t, eps), losses.simple_loss(truth, x0, t, eps))
    a, b = (vlb.vlb_term(d, x0, t, eps, decoder="gaussian") for d in (head, truth))
    torch.testing.assert_close(a, b)


def test_simple_loss_of_gaussian_data_has_the_conditional_variance_as_its_minimum(generator):
    """LOSS-5, LOSS-10, E-19: E‖ε − E[ε | x_t]‖² = Var(ε | x_t) = α² v/(α² v + σ²), and Var E[ε | x_t] is below 1."""
    v, schedule = 0.25, linear_beta(1000)
    denoiser = GaussianMixture([1.0], [[0.0]], [[v]]).denoiser(schedule)
    z, w = bounds.nodes(2)
    for t in (10, 100, 500, 1000):
        x0, eps = math.sqrt(v) * z[:, :1], z[:, 1:]
        power = schedule.alpha_bar[t].item() * v
        share = power / (power + schedule.noise(t) ** 2)
        assert abs(w @ losses.simple_loss(denoiser, x0, t, eps) - share) < 1e-12
        predicted = denoiser(q_sample(schedule, x0, t, eps), t).eps[:, 0]
        assert abs(w @ predicted**2 - (1 - share)) < 1e-12


def test_wrong_input_is_refused():
    denoiser = Denoiser(lambda x, t: x, CHAIN)
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="expected a path of T \\+ 1 = 5 states, got 3"):
        vlb.vlb_path(denoiser, [x, x, x])
    for i, call in itertools.product(range(5), (vlb.vlb_path, vlb.vlb_consistency)):
        with pytest.raises(ValueError, match=r"expected one shape for all, got x_0 .* x_1 .* x_4 \("):
            call(denoiser, [x[:1] if k == i else x for k in range(5)])
    with pytest.raises(ValueError, match="unknown decoder"):
        vlb.vlb_term(denoiser, x, 1, x, decoder="softmax")
    with pytest.raises(ValueError, match="expected one shape"):
        losses.prediction_loss(denoiser, x, 1, x[:1])
    with pytest.raises(ValueError, match="unknown target"):
        losses.prediction_loss(denoiser, x, 1, x, target="noise")


def test_ddim_5_a_weight_is_a_number_for_numbers_only():
    """γ at s = 2, t = 3 of the chain, for σ² = β̃_3: a number, or a tensor as soon as t or σ² is one."""
    s, t, variance = 2, 3, CHAIN.posterior_variance[3]
    want = losses.vlb_weight(CHAIN, 3).item()
    assert losses.implicit_weight(CHAIN, s, t, variance.item()) == pytest.approx(want, rel=1e-12)
    one, two = torch.tensor([s, s]), torch.tensor([t, t])
    both = torch.full((2,), want, dtype=torch.float64)
    torch.testing.assert_close(losses.implicit_weight(CHAIN, s, t, variance.expand(2)), both)
    torch.testing.assert_close(losses.implicit_weight(CHAIN, one, two, variance.item()), both)


def test_loss_6_second_moments_of_a_loss_and_of_its_gradient(generator):
    """L = 3w for t in {1, 2} and 6w for t in {3, 4} at w = 0.5: E L² = 2.25 and 9, E (dL/dw)² = 9 and 36."""
    denoiser = Denoiser(torch.nn.Linear(1, 1), CHAIN)
    denoiser.net.forward = lambda x, t: x
    with torch.no_grad():
        denoiser.net.weight.fill_(0.5)  # the bias takes no part: its gradient is 0

    def term(p, x, eps):
        assert x.shape == eps.shape == (1, 1) and p.x_t.shape == (1, 1)
        return (3 if p.t.item() < 3 else 6) * denoiser.net.weight[0]

    loss, gradient = losses.moments_by_time(denoiser, term, torch.zeros(5, 1), [1, 3, 5], 3, generator)
    assert loss.tolist() == [2.25, 9] and gradient.tolist() == [9, 36]
    assert not loss.requires_grad and not gradient.requires_grad


def test_ddim_5_the_weight_at_the_clean_state():
    """s = 0: −log N(x_0; x̂_0, σ²) weighs ‖ε error‖² by noise²/(2 σ² signal²), for any σ²."""
    for variance in (0.05, 3.0):
        want = CHAIN.noise(2) ** 2 / CHAIN.signal(2) ** 2 / (2 * variance)
        assert losses.implicit_weight(CHAIN, 0, 2, variance) == pytest.approx(want, rel=1e-12)
    for bad in (0.0, -0.1, 0.9):
        with pytest.raises(ValueError, match="expected a variance in"):
            losses.implicit_weight(CHAIN, 2, 3, bad)
