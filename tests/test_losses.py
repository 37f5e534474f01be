"""The bound: three equal forms, the closed form of Gaussian data, the discretised decoder; weights and losses."""

import math

import pytest
import torch

from dlgm import losses, vlb
from dlgm import parameterization as P
from dlgm.denoiser import Clipped, Denoiser, Prediction
from dlgm.gaussian import Gaussian, discretized_log_prob
from dlgm.oracles import GaussianMixture, bounds
from dlgm.process import posterior_coefficients, q_path, q_posterior, q_sample, q_transition
from dlgm.schedules import DiscreteSchedule, VPCosine, cosine_beta, linear_beta
from dlgm.vae import bits_per_dim

CHAIN = bounds.T4  # no term of its bound is negligible
LINEAR, V = bounds.short_chain()
SLOPE, OFFSET = (torch.tensor((math.nan, *v), dtype=torch.float64) for v in (LINEAR.net.A, LINEAR.net.B))


def test_vlb_1_3_9_the_three_forms_are_one_number_on_the_short_chain():
    x0 = torch.full((1, 1), 0.8, dtype=torch.float64)
    path, w = bounds.every_path(CHAIN, 0.8)
    whole = w @ vlb.vlb_path(LINEAR, path, V, "gaussian")
    triple = vlb.vlb_consistency(LINEAR, path, V, "gaussian")
    matching = bounds.exact_terms(LINEAR, 0.8, V).total[0]
    assert abs(whole - matching) < 1e-12 and abs(whole - w @ triple.total) < 1e-12  # rounding of sums of order 1
    # the model's own likelihood is Gaussian, run it top-down: the bound lies above it (VLB-1, QUIZ-1.1)
    mean, var = 0.0, 1.0
    for t in range(4, 0, -1):
        mean, var = SLOPE[t].item() * mean + OFFSET[t].item(), SLOPE[t].item() ** 2 * var + V[t].item()
    nll = -Gaussian(torch.full((1, 1), mean, dtype=torch.float64), var).log_prob(x0)[0]
    assert nll < whole
    # VLB-2: the gap is the KL between the path posteriors. E_p-weighted paths: −log p(x_0) = −log E_q[p/q]
    log_ratio = vlb.vlb_path(LINEAR, path, V, "gaussian")
    many = [p.expand(400_000, 1).clone() for p in (path[0][:1],)]
    many = list(q_path(CHAIN, many[0], torch.Generator().manual_seed(0)))
    minus = -vlb.vlb_path(LINEAR, many, V, "gaussian")
    weights = (minus + nll).exp()
    assert abs(weights.mean() - 1) < 5 * weights.std() / math.sqrt(len(minus))  # importance estimate of p(x_0)
    assert log_ratio.std() > 0.1


def test_e06_a_kl_in_the_place_of_the_triple_average_is_another_number():
    """VLB-9, M-09, E-06: the term is an average over (x_{t−1}, x_t, x_{t+1}) and no KL."""
    path, w = bounds.every_path(CHAIN, 0.8)
    steps = vlb.vlb_consistency(LINEAR, path, V, "gaussian").steps
    right = w @ steps
    wrong = torch.zeros(3, dtype=torch.float64)
    for t in (1, 2, 3):
        p = vlb.reverse_step(LINEAR, path[t + 1], t + 1, V)
        wrong[t - 1] = w @ q_transition(CHAIN, path[t - 1], t - 1, t).kl(p)
    error = sum((SLOPE[t + 1] * math.sqrt(CHAIN.alpha[t + 1]) * CHAIN.beta[t] / V[t + 1]).item() for t in (1, 2, 3))
    assert abs((wrong - right).sum() - error) < 1e-12


@pytest.mark.parametrize("variance", vlb.VARIANCES)
@pytest.mark.parametrize("schedule", [CHAIN, linear_beta(100), cosine_beta(60), linear_beta(1000)])
def test_the_bound_of_gaussian_data_equals_its_closed_form(schedule, variance):
    mean, var = 0.7, 0.3
    denoiser = GaussianMixture([1.0], [[mean]], [[var]]).denoiser(schedule)
    z, w = bounds.nodes(2)  # of x_0 and of ε: every term is quadratic in both
    x0, eps = mean + math.sqrt(var) * z[:, :1], z[:, 1:]
    exact = vlb.gaussian_vlb(schedule, mean, var, variance)
    terms = [w @ vlb.vlb_term(denoiser, x0, t, eps, variance, "gaussian") for t in range(1, schedule.T + 1)]
    got = vlb.VLB(
        w @ vlb.vlb_terms(denoiser, x0, variance=variance, decoder="gaussian").prior,
        torch.stack(terms[1:])[None],
        terms[0],
        1,
        "gaussian",
    )
    assert abs(got.total / exact.total - 1) < 1e-10  # 1000 terms of which each is right to 1e-13 of its size
    torch.testing.assert_close(got.steps, exact.steps, rtol=1e-9, atol=1e-15)
    entropy = 0.5 * math.log(2 * math.pi * math.e * var)
    assert exact.total > entropy  # E[−log p_θ] cannot be less than the entropy of the data


def test_the_steps_approach_the_continuous_bound():
    """Σ KL → ½ log((1 + v e^λmax)/(1 + v e^λmin)) as the steps in log-SNR get smaller, with an excess of order 1/T."""
    v, excess = 0.3, []
    for T in (50, 200, 800):
        alpha_bar = torch.cat([torch.ones(1), torch.linspace(7, -7, T).sigmoid()]).double()
        schedule = DiscreteSchedule(1 - alpha_bar[1:] / alpha_bar[:-1])
        limit = 0.5 * math.log((1 + v * math.exp(schedule.logsnr(1))) / (1 + v * math.exp(schedule.logsnr(T))))
        excess.append(vlb.gaussian_vlb(schedule, 0.0, v).steps.sum().item() / limit - 1)
    assert excess[0] > 3.5 * excess[1] > 12 * excess[2] > 0 and excess[2] < 0.02


def test_the_matching_form_is_an_unbiased_draw_of_the_bound(generator):
    mixture = GaussianMixture([0.5, 0.5], [[-0.6, 0.0], [0.6, 0.3]], [[0.02, 0.02], [0.02, 0.05]])
    denoiser = mixture.denoiser(CHAIN)
    x0 = mixture.sample(20_000, generator).double()
    a = vlb.vlb_terms(denoiser, x0, generator, decoder="gaussian").total
    b = vlb.vlb_path(denoiser, list(q_path(CHAIN, x0, generator)), decoder="gaussian")
    c = vlb.vlb_consistency(denoiser, list(q_path(CHAIN, x0, generator)), decoder="gaussian").total
    for u, v in ((a, b), (a, c)):
        assert abs((u - v).mean()) < 4.5 * (u - v).std() / math.sqrt(len(u))
    assert a.mean() > -mixture.log_prob(x0).mean()


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


@pytest.mark.parametrize("evaluations", [2, 3, 4])
def test_stratified_times_estimate_the_bound(evaluations, generator):
    denoiser = GaussianMixture([1.0], [[0.2]], [[0.3]]).denoiser(CHAIN)
    x0 = 0.2 + 0.3**0.5 * torch.randn(100_000, 1, generator=generator, dtype=torch.float64)
    found = vlb.vlb_estimate(denoiser, x0, evaluations, generator, decoder="gaussian")
    exact = vlb.gaussian_vlb(CHAIN, 0.2, 0.3).total.item()
    assert abs(found.mean() - exact) < 4.5 * found.std() / math.sqrt(len(found))
    for bad in (1, 5):
        with pytest.raises(ValueError, match=f"expected 2 to T = 4 evaluations, got {bad}"):
            vlb.vlb_estimate(denoiser, x0, bad)


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


def test_terms_of_a_mixed_batch_equal_those_one_by_one(generator):
    denoiser = GaussianMixture([0.3, 0.7], [[-0.5], [0.5]], [[0.1], [0.2]]).denoiser(CHAIN)
    x0, eps = (torch.randn(7, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([1, 4, 2, 1, 3, 2, 4])
    batch = vlb.vlb_term(denoiser, x0, t, eps, decoder="gaussian")
    for i, s in enumerate(t.tolist()):
        torch.testing.assert_close(
            batch[i : i + 1], vlb.vlb_term(denoiser, x0[i : i + 1], s, eps[i : i + 1], decoder="gaussian")
        )


def test_the_reconstruction_is_the_discretised_decoder(generator):
    """VLB-6, E-15: probabilities of 256 levels from (μ_θ, σ_1) alone, summing to 1; nothing else is trained."""
    schedule = linear_beta(100)
    denoiser = GaussianMixture([1.0], [[0.2]], [[0.09]]).denoiser(schedule)
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    x_1 = torch.full((256, 1), 0.37, dtype=torch.float64)
    p = vlb.reverse_step(denoiser, x_1, 1)
    assert abs(discretized_log_prob(p, levels).exp().sum() - 1) < 1e-12
    x0 = levels[[0, 3, 128, 255]]
    eps = torch.tensor([[0.3], [-2.0], [0.0], [9.0]], dtype=torch.float64)  # 9: deep in a tail
    got = vlb.vlb_term(denoiser, x0, 1, eps)
    want = -discretized_log_prob(vlb.reverse_step(denoiser, q_sample(schedule, x0, 1, eps), 1), x0)
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    with pytest.raises(ValueError, match="pixel values"):
        vlb.vlb_term(denoiser, x0 + 0.001, 1, eps)


def test_nats_and_bits():
    schedule = linear_beta(50)
    mixture = GaussianMixture([1.0], torch.zeros(1, 1, 2, 2), torch.full((1,), 0.2))
    x0 = torch.tensor([[[[-1.0, 1.0], [0.0039215686, -0.0039215686]]]], dtype=torch.float64)
    bound = vlb.vlb_terms(mixture.denoiser(schedule), x0, torch.Generator().manual_seed(0))
    assert bound.dims == 4 and bound.steps.shape == (1, 49)
    torch.testing.assert_close(bound.total, bound.prior + bound.steps.sum(1) + bound.reconstruction)
    torch.testing.assert_close(bound.bits_per_dim, bits_per_dim(-bound.total, x0))
    with pytest.raises(ValueError, match="density"):
        _ = vlb.vlb_terms(mixture.denoiser(schedule), x0, decoder="gaussian").bits_per_dim


def test_clipping_the_estimate_tightens_a_bad_model_and_goes_through():
    schedule = linear_beta(50)
    wild = Clipped(Denoiser(lambda x, t: x * 0 + 3.0, schedule, "x0"))
    x0 = torch.ones(2, 1, 2, 2)
    bound = vlb.vlb_terms(wild, x0, torch.Generator().manual_seed(0))
    assert (bound.steps.abs() < 1e-4).all()  # x̂_0 = 1 is right for these images


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


def test_reverse_variances():
    table = vlb.reverse_variances(CHAIN)
    torch.testing.assert_close(table[2:], CHAIN.posterior_variance[2:], rtol=0, atol=0)
    assert table[1] == CHAIN.beta[1] and (vlb.reverse_variances(CHAIN, "beta") == CHAIN.beta).all()
    _, _, v = posterior_coefficients(CHAIN, 2, 3)
    assert abs(table[3] - v) < 1e-15
    with pytest.raises(ValueError, match="unknown variance 'tilde'; known: posterior, beta"):
        vlb.reverse_variances(CHAIN, "tilde")
    with pytest.raises(ValueError, match="discrete schedule"):
        vlb.reverse_variances(VPCosine())
    for bad in (torch.ones(4), torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])):
        with pytest.raises(ValueError, match="expected 5 variances"):
            vlb.reverse_variances(CHAIN, bad)
    assert vlb.kl_constant(CHAIN, 3, 7) == 0
    want = Gaussian(torch.zeros(1, 7, dtype=torch.float64), v).kl(
        Gaussian(torch.zeros(1, 7, dtype=torch.float64), CHAIN.beta[3])
    )
    assert abs(vlb.kl_constant(CHAIN, 3, 7, "beta") - want[0]) < 1e-14


def test_wrong_input_is_refused():
    denoiser = Denoiser(lambda x, t: x, CHAIN)
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="expected a path of T \\+ 1 = 5 states, got 3"):
        vlb.vlb_path(denoiser, [x, x, x])
    with pytest.raises(ValueError, match="unknown decoder"):
        vlb.vlb_term(denoiser, x, 1, x, decoder="softmax")
    with pytest.raises(ValueError, match="expected one shape"):
        losses.prediction_loss(denoiser, x, 1, x[:1])
    with pytest.raises(ValueError, match="unknown target"):
        losses.prediction_loss(denoiser, x, 1, x, target="noise")
