"""Two routes to the evidence p(x) without a q: LVM-1, LVM-2."""

import math

import torch

from dlgm import elbo, metrics
from dlgm.elbo import effective_sample_size, prior_log_weights
from dlgm.gaussian import Gaussian
from dlgm.oracles import LinearGaussian, NonlinearModel

F64 = torch.float64


def linear_world(generator):
    W = torch.randn(4, 2, generator=generator, dtype=F64)
    return LinearGaussian(W, torch.randn(4, generator=generator, dtype=F64), 0.5)


def test_both_routes_to_the_evidence_meet_the_closed_form(generator):
    """LVM-1, LVM-2 on the linear-Gaussian model: quadrature over z, and the ratio at any z."""
    model = linear_world(generator)
    x, _ = model.sample(5, generator)
    square = metrics.grid(extent=9.0, n=181, dtype=F64)
    for i in range(5):
        joint = model.log_joint(x[i : i + 1].expand(len(square.points), -1), square.points)
        # trapezoid sums of Gaussians at spacing 0.1 are exact to rounding; mass beyond 9 below 1e-17
        torch.testing.assert_close(square.log_integral(joint), model.log_prob(x[i : i + 1])[0], rtol=1e-9, atol=0)
    for _ in range(3):
        z = 3 * torch.randn(5, 2, generator=generator, dtype=F64)
        torch.testing.assert_close(elbo.evidence_ratio(model, x, z), model.log_prob(x), rtol=1e-9, atol=1e-9)


def test_sampling_the_prior_estimates_p_without_bias_and_log_p_low(generator):
    """LVM-1: E[p̂] = p by a z-score, E[log p̂] < log p; for a curved mean, quadrature is the judge."""
    model = NonlinearModel(torch.sin, 0.1)
    x = torch.tensor([[0.8]], dtype=F64)
    z = torch.randn(4000, 20, generator=generator, dtype=F64)
    log_w = -0.5 * ((x - z.sin()) ** 2 / 0.1 + math.log(2 * math.pi * 0.1))
    log_p, estimates = model.log_prob(x)[0], elbo.evidence_integral(log_w)
    ratio = (estimates - log_p).exp()
    assert abs(ratio.mean() - 1) / (ratio.std() / math.sqrt(4000)) < 5
    assert (estimates.mean() - log_p) / (estimates.std() / math.sqrt(4000)) < -5


def test_exact_weight_ratio_against_quadrature_and_samples(generator):
    x, s2 = torch.tensor([[0.9, -0.4]], dtype=F64), 0.25
    square = metrics.grid(extent=9.0, n=361, dtype=F64)
    log_w = Gaussian(square.points, s2).log_prob(x.expand(len(square.points), -1))
    prior = Gaussian(torch.zeros_like(square.points), 1.0).log_prob(square.points)
    first, second = square.log_integral(log_w + prior), square.log_integral(2 * log_w + prior)
    torch.testing.assert_close(elbo.prior_weight_ratio(x, s2)[0], (2 * first - second).exp(), rtol=1e-9, atol=0)
    drawn = elbo.prior_log_weights(x[0], s2, 50_000, repeats=4, generator=generator)
    measured = effective_sample_size(drawn) / 50_000
    torch.testing.assert_close(measured.mean(), elbo.prior_weight_ratio(x, s2)[0], rtol=0.05, atol=0)  # error ~1 %


def test_lvm_1_prior_draws_are_weighed_by_their_likelihood():
    """log N(x; z_n, s² I) for one row of draws unless said, in float64 whatever x is."""
    x, again = torch.tensor([0.5, -1.0]), lambda: torch.Generator().manual_seed(3)
    found = prior_log_weights(x, 0.3, 4, generator=again())
    z = torch.randn(1, 4, 2, generator=again(), dtype=torch.float64)
    want = torch.distributions.Normal(z, 0.3**0.5).log_prob(x.double()).sum(-1)
    assert found.shape == (1, 4) and found.dtype == torch.float64
    torch.testing.assert_close(found, want)
    assert prior_log_weights(x, 0.3, 4, repeats=3).shape == (3, 4)
