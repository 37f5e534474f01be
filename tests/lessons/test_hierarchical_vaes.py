"""Figures of lesson 04, and the facts about hierarchies that its formula sheet cites."""

import math

import pytest
import torch

from dlgm import hvae
from dlgm.gaussian import Gaussian, add, condition
from dlgm.hvae import diffusion
from dlgm.metrics import estimate
from dlgm.oracles import GaussianMixture, LinearGaussianChain
from dlgm.plots import hierarchical_vaes
from dlgm.process import q_marginal
from dlgm.schedules import cosine_beta

F64 = torch.float64
TWO = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], [0.05, 0.1])
ONE = GaussianMixture([1.0], [[0.4]], [0.5])


def test_gauss_1_and_gauss_2_a_chain_of_numbers_comes_down_by_adding_variances():
    chain = LinearGaussianChain([[[1.5]], [[0.8]]], [0.3, 0.4])
    z1 = add(Gaussian(torch.zeros(1, 1, dtype=F64), 0.8**2), Gaussian(torch.zeros(1, 1, dtype=F64), 0.4))
    x = add(Gaussian(torch.zeros(1, 1, dtype=F64), 1.5**2 * z1.var), Gaussian(torch.zeros(1, 1, dtype=F64), 0.3))
    torch.testing.assert_close(chain.covs[0], x.var.reshape(1, 1))
    torch.testing.assert_close(chain.covs[1], z1.var.reshape(1, 1))
    seen = torch.tensor([[0.7]], dtype=F64)
    bayes, exact = condition(z1, seen, 1.5, 0.3), chain.infer()[0](seen)
    torch.testing.assert_close(bayes.mean, exact.mean)
    torch.testing.assert_close(bayes.var.reshape(1, 1), exact.cov)


@pytest.mark.parametrize("variance", ["beta", "posterior"])
def test_hvae_2_terms_and_losses_of_the_steps_add_up(variance):
    """HVAE-2, VDM-2: terms sum to the ELBO, and with the losses of all steps to log p(x), on average over the data."""
    schedule = cosine_beta(T=8)
    terms, losses = hvae.step_gaps(TWO, schedule, variance, n=4000, seed=1)
    x = TWO.sample(4000, torch.Generator().manual_seed(1)).double()
    rest = estimate(TWO.log_prob(x) - terms.sum(1) - losses.sum(1), 0)
    assert abs(rest.value) < 5 * rest.error  # what the control variates took out has mean 0
    model = diffusion(TWO.denoiser(schedule), (2,), variance)
    same = model.terms(x, 1, torch.Generator().manual_seed(2))
    gap = estimate(same.elbo - terms.sum(1), 0)  # independent paths of the same x
    assert abs(gap.value) < 5 * gap.error
    assert (losses.mean(0) > -5 * losses.std(0) / 4000**0.5 - 1e-12).all()


def test_vdm_2_each_loss_is_the_kl_of_its_step_for_gaussian_data():
    """For N(m, v) both kernels are Gaussian with one mean, so the KL is ½ (r − 1 − log r), r the ratio of variances."""
    schedule, v = cosine_beta(T=6), 0.5
    _, losses = hvae.step_gaps(ONE, schedule, "beta", n=20_000)
    for t in range(1, 7):
        a, below = schedule.alpha[t], schedule.alpha_bar[t - 1] * (v - 1) + 1
        exact = below * schedule.beta[t] / (a * below + schedule.beta[t])
        r = (exact / schedule.beta[t]).item()
        kl = estimate(losses[:, t - 1], 0)
        # the denoiser's mean is the exact one; the control variate biases by O(1/n) of the error squared
        assert abs(kl.value - 0.5 * (r - 1 - math.log(r))) < 5 * kl.error + 1e-12
    end = q_marginal(schedule, torch.full((1, 1), 0.4, dtype=F64), 6)
    end = Gaussian(end.mean, schedule.alpha_bar[6] * v + 1 - schedule.alpha_bar[6])
    top = estimate(losses[:, 6], 0)
    assert abs(top.value - end.kl(Gaussian(torch.zeros(1, 1, dtype=F64), 1.0)).item()) < 5 * top.error + 1e-6


def test_the_panel_has_a_bar_for_each_term_and_each_step():
    fig = hierarchical_vaes.chain_panel(TWO, 5, "beta")
    left, right = fig.axes
    assert len(left.patches) == 6 and len(right.patches) == 6
    terms, losses = hvae.step_gaps(TWO, cosine_beta(T=5), "beta")
    heights = torch.tensor([bar.get_height() for bar in left.patches], dtype=F64)
    torch.testing.assert_close(heights, terms.mean(0))
    heights = torch.tensor([bar.get_height() for bar in right.patches], dtype=F64)
    torch.testing.assert_close(heights, losses.mean(0))
