"""The bound: three equal forms, the closed form of Gaussian data, the discretised decoder."""

import math

import pytest
import torch

from dlgm import vlb
from dlgm.denoiser import Clipped, Denoiser
from dlgm.gaussian import Gaussian, discretized_log_prob
from dlgm.oracles import GaussianMixture, bounds
from dlgm.process import posterior_coefficients, q_path, q_sample, q_transition
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


def test_several_variances_from_the_same_draws_are_those_one_by_one(generator):
    denoiser = GaussianMixture([1.0], [[0.2]], [[0.3]]).denoiser(CHAIN)
    x0 = torch.randn(50, 1, generator=generator, dtype=torch.float64)
    names = {"posterior": "posterior", "mine": CHAIN.beta * 1.1}
    both = vlb.vlb_estimates(denoiser, x0, 3, names, torch.Generator().manual_seed(1), decoder="gaussian")
    for name, variance in names.items():
        one = vlb.vlb_estimate(denoiser, x0, 3, torch.Generator().manual_seed(1), variance, decoder="gaussian")
        torch.testing.assert_close(both[name], one, rtol=0, atol=0)


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
    for t in (1, torch.tensor([2, 1])):
        with pytest.raises(ValueError, match="t must be at least 2"):
            vlb.kl_constant(CHAIN, t, 7)
    want = Gaussian(torch.zeros(1, 7, dtype=torch.float64), v).kl(
        Gaussian(torch.zeros(1, 7, dtype=torch.float64), CHAIN.beta[3])
    )
    assert abs(vlb.kl_constant(CHAIN, 3, 7, "beta") - want[0]) < 1e-14


def test_the_bound_of_a_chain_of_one_step_has_no_steps(generator):
    schedule = DiscreteSchedule([0.4])
    denoiser = GaussianMixture([1.0], [[0.0]], [[0.3]]).denoiser(schedule)
    x0 = torch.tensor([[0.5], [-1.0]], dtype=torch.float64)
    for bound in (
        vlb.vlb_terms(denoiser, x0, generator, decoder="gaussian"),
        vlb.vlb_consistency(denoiser, list(q_path(schedule, x0, generator)), decoder="gaussian"),
    ):
        assert bound.steps.shape == (2, 0) and bound.steps.dtype == torch.float64
        torch.testing.assert_close(bound.total, bound.prior + bound.reconstruction, rtol=0, atol=0)


def test_ddim_3_one_path_of_the_implicit_bound_by_hand(generator):
    """log q_σ(x_{1:T} | x_0) − log p_θ(x_{0:T}) of two examples, each density written out."""
    variances = torch.tensor([math.nan, 0.05, 0.1, 0.2, 0.3], dtype=torch.float64)
    path = [torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(5)]
    denoiser = GaussianMixture([1.0], [[0.0] * 3], [[0.3] * 3]).denoiser(CHAIN)

    def density(x, mean, var):
        return -0.5 * ((x - mean) ** 2 / var + math.log(2 * math.pi * var)).sum(1)

    def move(t, x0):
        signal, noise = (([f(s) for s in (t - 1, t)]) for f in (CHAIN.signal, CHAIN.noise))
        left = math.sqrt(noise[0] ** 2 - variances[t].item())
        return signal[0] * x0 + left * (path[t] - signal[1] * x0) / noise[1]

    want = density(path[4], CHAIN.signal(4) * path[0], CHAIN.noise(4) ** 2) - density(path[4], 0, 1.0)
    for t in (4, 3, 2):
        for sign, x0 in ((1, path[0]), (-1, denoiser(path[t], t).x0)):
            want = want + sign * density(path[t - 1], move(t, x0), variances[t].item())
    want = want - density(path[0], denoiser(path[1], 1).x0, variances[1].item())
    torch.testing.assert_close(vlb.implicit_vlb(denoiser, path, variances), want, rtol=1e-11, atol=1e-11)  # float64


def test_the_closed_form_of_several_coordinates_is_so_many_times_that_of_one():
    one, three = (vlb.gaussian_vlb(CHAIN, 0.2, 0.3, dims=d) for d in (1, 3))
    for name in ("prior", "steps", "reconstruction", "total"):
        torch.testing.assert_close(getattr(three, name), 3 * getattr(one, name))
    assert (three.dims, three.decoder) == (3, "gaussian")
