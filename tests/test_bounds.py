"""Worlds in which every average of the bound is exact, and what they show about it."""

import math

import pytest
import torch

from dlgm import process, vlb
from dlgm.gaussian import Gaussian, MultivariateGaussian
from dlgm.oracles import EmpiricalData, GaussianMixture, bounds
from dlgm.schedules import cosine_beta, linear_beta

F64 = torch.float64
T4 = bounds.T4
MODEL, V = bounds.short_chain()
LUMPS = GaussianMixture([0.4, 0.6], [-0.5, 0.4], [0.05**2, 0.15**2])
PIXEL = bounds.PixelLaw.of(LUMPS)
FOUR = bounds.PixelLaw(torch.zeros(256).index_fill(0, torch.tensor([20, 90, 150, 230]), 1.0))


def test_vlb_1_2_the_gap_is_the_kl_of_the_path_posteriors():
    """VLB-2, M-03: L + log p_θ(x_0) = KL(q(x_{1:T} | x_0) ‖ p_θ(x_{1:T} | x_0)), for three values of x_0."""
    for x0 in (-1.0, 0.3, 0.8):
        path, w = bounds.every_path(T4, x0)
        bound = w @ vlb.vlb_path(MODEL, path, V, "gaussian")
        log_p = bounds.model_law(MODEL, V).log_prob(path[0][:1])
        q, p = bounds.path_posteriors(MODEL, x0, V)
        torch.testing.assert_close(q.kl(p), bound + log_p, rtol=0, atol=1e-12)  # sums of order 1
        # and path by path: log q − log p of the posteriors is the log-ratio of the bound plus log p_θ(x_0)
        whole = torch.cat(path[1:], 1)
        log_q, log_post = (MultivariateGaussian(g.mean.expand_as(whole), g.cov).log_prob(whole) for g in (q, p))
        torch.testing.assert_close(
            log_q - log_post, vlb.vlb_path(MODEL, path, V, "gaussian") + log_p, atol=1e-11, rtol=0
        )


def test_vlb_4_every_line_of_the_telescoping_is_one_number():
    """VLB-3, VLB-4, VLB-5, VLB-7, VLB-9: split, flip, telescope, cancel change no path, averaging no mean."""
    path, w = bounds.every_path(T4, 0.8)
    x0 = path[0]
    up = [None, *(process.q_transition(T4, path[t - 1], t - 1, t).log_prob(path[t]) for t in range(1, 5))]
    down = [None, *(vlb.reverse_step(MODEL, path[t], t, V).log_prob(path[t - 1]) for t in range(1, 5))]
    kernel = [None, *(process.q_marginal(T4, x0, t).log_prob(path[t]) for t in range(1, 5))]
    back = {t: process.q_posterior(T4, path[t], x0, t - 1, t).log_prob(path[t - 1]) for t in (2, 3, 4)}
    prior = Gaussian(0 * x0, 1.0).log_prob(path[4])
    first = -prior + sum(up[t] - down[t] for t in range(1, 5))
    flipped = -prior + sum(back[t] + kernel[t] - kernel[t - 1] - down[t] for t in back) + up[1] - down[1]
    cancelled = kernel[4] - prior + sum(back[t] - down[t] for t in back) - down[1]
    torch.testing.assert_close(first, flipped, rtol=0, atol=1e-12)
    torch.testing.assert_close(first, cancelled, rtol=0, atol=1e-12)
    exact = bounds.exact_terms(MODEL, 0.8, V)
    assert abs(exact.total.item() - (w @ first).item()) < 1e-12
    assert abs(exact.prior.item() - (w @ (kernel[4] - prior)).item()) < 1e-12
    for t in back:
        assert abs(exact.steps[0, t - 2] - w @ (back[t] - down[t])) < 1e-12


def test_vlb_8_without_the_prior_it_bounds_nothing():
    """VLB-8, E-26: with the exact way back of N(0, 2) data the bound is tight, and without L_T it exceeds log p."""
    denoiser = GaussianMixture([1.0], [[0.0]], [[2.0]]).denoiser(T4)
    var = 1 + T4.alpha_bar
    exact_var = torch.cat([var[:1], var[:-1] * T4.beta[1:] / var[1:]])
    terms = bounds.exact_terms(denoiser, 0.3, exact_var)
    log_p = bounds.model_law(denoiser, exact_var).log_prob(torch.tensor([[0.3]], dtype=F64))
    assert -terms.total < log_p < -terms.total + terms.prior
    # the reverse steps are exact, so only the end of the chain is lost, on average over the data: KL(q(x_4) ‖ N(0, 1))
    z, w = bounds.nodes(1)
    total = sum(
        wi * bounds.exact_terms(denoiser, x, exact_var).total for x, wi in zip(2**0.5 * z[:, 0], w, strict=True)
    )
    end = 0.5 * (var[4] - 1 - var[4].log())
    torch.testing.assert_close(total[0], 0.5 * math.log(2 * math.pi * math.e * 2) + end, rtol=1e-12, atol=0)


def test_vlb_10_regrouping_is_quieter_per_term_and_louder_per_path(generator):
    """VLB-10, E-29; the perfect model of N(0, 1) has a joint log-ratio without any variance."""
    x0 = torch.full((50_000, 1), 0.8, dtype=F64)
    perfect = GaussianMixture([1.0], [[0.0]], [[1.0]]).denoiser(T4)
    for denoiser, sigma2 in ((MODEL, V), (perfect, "beta")):
        path = list(process.q_path(T4, x0, generator))
        ratio, kl = [], []
        for t in (2, 3, 4):
            p = vlb.reverse_step(denoiser, path[t], t, sigma2)
            q = process.q_posterior(T4, path[t], x0, t - 1, t)
            ratio.append(q.log_prob(path[t - 1]) - p.log_prob(path[t - 1]))
            kl.append(q.kl(p))
        last = -vlb.reverse_step(denoiser, path[1], 1, sigma2).log_prob(x0)
        assert all(k.var() < 0.5 * r.var() for r, k in zip(ratio, kl, strict=True))
        joint = vlb.vlb_path(denoiser, path, sigma2, "gaussian")
        assert joint.var() < 0.6 * (sum(kl) + last).var()  # variances of 50,000 draws: known to 1 per cent
    assert joint.std() < 1e-12


def test_a_pixel_law_is_the_mass_of_its_bins():
    """M-04, VLB-6: probabilities sum to 1, and inner bins hold what the mixture's density integrates to."""
    torch.testing.assert_close(PIXEL.probabilities.sum(), torch.ones((), dtype=F64))
    k = 70
    x = torch.linspace(-1 + (2 * k - 1) / 255, -1 + (2 * k + 1) / 255, 2001, dtype=F64)
    mass = torch.trapezoid(LUMPS.log_prob(x).exp(), x)
    assert abs(PIXEL.probabilities[k] / mass - 1) < 1e-6  # the trapezoid rule on 2000 pieces
    assert abs(FOUR.entropy - 2) < 1e-12
    uniform = bounds.PixelLaw(torch.ones(256))
    assert abs(uniform.entropy - 8) < 1e-12
    with pytest.raises(ValueError, match="256 probabilities"):
        bounds.PixelLaw(torch.ones(255))


def test_the_pixel_denoiser_is_that_of_its_four_points():
    """With equal weights on four levels it is the exact denoiser of a data set of four points."""
    schedule = cosine_beta(T=16)
    points = FOUR.levels[FOUR.probabilities > 0][:, None]
    x = torch.linspace(-2, 2, 9, dtype=F64)[:, None]
    for t in (1, 7, 16):
        ours, theirs = FOUR.denoiser(schedule)(x, t).x0, EmpiricalData(points).denoiser(schedule)(x, t).x0
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="one time"):
        FOUR.denoiser(schedule)(x[:2], torch.tensor([1, 2]))


@pytest.mark.parametrize("law", [PIXEL, FOUR])
@pytest.mark.parametrize("variance", ["beta", "posterior"])
def test_the_pixels_bound_by_quadrature_is_the_mean_of_sampled_ones(law, variance, generator):
    """VLB-3, VLB-7: term by term, and the bound lies above the entropy."""
    schedule, n = cosine_beta(T=8), 6_000
    exact = law.vlb(schedule, variance)
    drawn = vlb.vlb_terms(law.denoiser(schedule), law.sample(n, generator), generator, variance)
    pairs = [(exact.prior, drawn.prior), (exact.reconstruction, drawn.reconstruction)]
    pairs += [(exact.steps[:, i], drawn.steps[:, i]) for i in range(7)]
    for want, got in pairs:
        assert abs(got.mean() - want[0]) < 5 * got.std() / math.sqrt(n) + 1e-12
    assert exact.bits_per_dim[0] > law.entropy


def test_the_pixels_bound_does_not_depend_on_the_quadrature():
    """For a wide Gaussian law rounded to levels the steps are those of Gaussian data, up to the rounding.

    Rounding adds (2/255)²/12 to the variance and the law is cut at ±1, more than six standard deviations out.
    """
    law = bounds.PixelLaw.of(GaussianMixture([1.0], [0.1], [0.13**2]))
    schedule = linear_beta(T=40)
    v = 0.13**2 + (2 / 255) ** 2 / 12
    want, got = vlb.gaussian_vlb(schedule, 0.1, v, "beta").steps, law.vlb(schedule, "beta").steps
    # at noise 0.16 and more, aliasing of the levels is below e^{−2π² (0.16 · 127.5)²}; what remains is the cut
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


def test_euler_plateau_of_the_posterior_variance():
    """With β̃ the excess of Gaussian data tends to γ/2 nats, with β to 0; both from above, at the rate of 1/T or so."""
    limit, entropy = 0.5772156649 / 2, 0.5 * math.log(2 * math.pi * math.e * 0.3)
    excess = {
        name: [vlb.gaussian_vlb(linear_beta(T=T), 0.7, 0.3, name).total.item() - entropy for T in (2**13, 2**15)]
        for name in ("beta", "posterior")
    }
    assert 0 < excess["beta"][1] < 0.4 * excess["beta"][0] < 1e-3
    far, near = (e - limit for e in excess["posterior"])
    assert 0 < near < 0.5 * far < 0.05


def test_a_pixel_law_refuses_negative_numbers_and_is_scaled_to_sum_1():
    with pytest.raises(ValueError, match="256 probabilities"):
        bounds.PixelLaw(torch.ones(256).index_fill(0, torch.tensor([3]), -1.0))
    assert bounds.PixelLaw(torch.full((256,), 3.0)).probabilities.tolist() == [1 / 256] * 256
