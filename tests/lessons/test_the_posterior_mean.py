"""The figures of lesson 06 draw what their labels name, and the facts that its formula sheet cites.

Ledger REV-3, REV-6, POST-1, POST-2, POST-3, POST-4, POST-6, SCHED-2, M-07, TAKE-1, QUIZ-1.2, QUIZ-1.5; errata E-01,
E-02, E-57, E-69. REV-1, REV-2 and E-04 are held to sums in test_oracles.py, REV-4, REV-5 and ALG-2 in test_losses.py
and test_samplers.py, POST-5 in test_denoiser.py, QUIZ-3 and FWD-8 in test_process.py.
"""

import math

import numpy as np
import pytest
import torch
from helpers import lines

from dlgm.gaussian import Gaussian, product
from dlgm.oracles import GaussianMixture
from dlgm.plots import the_posterior_mean
from dlgm.process import posterior_coefficients, q_marginal, q_posterior, q_transition
from dlgm.schedules import DiscreteSchedule, cosine_beta, linear_beta

F64 = torch.float64
TWO = GaussianMixture([0.3, 0.7], [-1.2, 0.8], [0.03, 0.06])
T4 = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])


def number(value):
    return torch.tensor([value], dtype=F64)


# ---- facts ----------------------------------------------------------------------------------------------------------
def third_derivative(law, at):
    x = number(at).requires_grad_()
    value = law.log_prob(x)
    for _ in range(3):
        (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return value.item()


@pytest.mark.parametrize("x_t", [-0.2, 0.5, 0.9])
def test_rev_3_the_distance_from_a_gaussian_is_a_constant_times_beta_to_three_halves(x_t):
    """M-07, TAKE-1: TV → [φ(0) + 4 φ(√3)]/6 |ℓ'''| β^{3/2}, ℓ = log q(x_{t−1}), constant included."""
    beta = 1e-5
    measured = TWO.reverse(DiscreteSchedule([0.1, beta]), number(x_t), 1, 2).non_gaussianity()
    phi = [math.exp(-u / 2) / math.sqrt(2 * math.pi) for u in (0, 3)]
    law = (phi[0] + 4 * phi[1]) / 6 * abs(third_derivative(TWO.diffuse(DiscreteSchedule([0.1]), 1), x_t)) * beta**1.5
    assert measured == pytest.approx(law, rel=0.01)  # the next term is smaller by √β = 0.003 times a few


def test_e57_and_quiz_1_2_a_markov_step_is_gaussian_only_if_small():
    points = GaussianMixture([0.5, 0.5], [-1.0, 1.0], [1e-12, 1e-12])
    gaps = [
        points.reverse(DiscreteSchedule([0.1, b]), number(0.0), 1, 2).non_gaussianity() for b in (0.5, 0.1, 0.01, 0.001)
    ]
    assert gaps == pytest.approx([0.39, 0.28, 0.042, 0.0009], rel=0.06)  # the ledger's two digits


@pytest.mark.parametrize("t", [2, 3, 4])
def test_post_4_both_factorisations_of_the_pair_agree(t):
    x, x0, x_t = (
        torch.linspace(-3, 3, 7, dtype=F64),
        torch.full((7,), 0.7, dtype=F64),
        torch.full((7,), -0.4, dtype=F64),
    )
    up = q_transition(T4, x, t - 1, t).log_prob(x_t) + q_marginal(T4, x0, t - 1).log_prob(x)
    down = q_posterior(T4, x_t, x0, t - 1, t).log_prob(x) + q_marginal(T4, x0, t).log_prob(x_t)
    torch.testing.assert_close(up, down, rtol=1e-12, atol=1e-12)


def test_post_3_precisions_add_and_the_product_is_the_posterior():
    for t in (2, 3, 4):
        alpha, beta, before = T4.alpha[t], T4.beta[t], T4.alpha_bar[t - 1]
        torch.testing.assert_close(1 / T4.posterior_variance[t], alpha / beta + 1 / (1 - before))
        likelihood = Gaussian(number(-0.4) / alpha.sqrt(), beta / alpha)
        both = product(q_marginal(T4, number(0.7), t - 1), likelihood)[0]
        want = q_posterior(T4, number(-0.4), number(0.7), t - 1, t)
        torch.testing.assert_close((both.mean, both.var), (want.mean, want.var))


@pytest.mark.parametrize("t", [2, 3, 4])
def test_rev_6_the_averaged_kl_is_least_at_the_moments_of_the_exact_step(t):
    x_t, (c_0, c_t, v) = number(-0.15), posterior_coefficients(T4, t - 1, t)
    x0 = torch.linspace(-3, 3, 6001, dtype=F64)
    weight = TWO.reverse(T4, x_t, 0, t).log_prob(x0).softmax(0)
    posteriors = Gaussian(c_0 * x0 + c_t * x_t, v)

    def averaged(mean, log_var):
        return (weight * posteriors.kl(Gaussian(mean.expand_as(x0), log_var.exp().expand_as(x0)))).sum()

    mean, var = (m.reshape(1) for m in TWO.reverse(T4, x_t, t - 1, t).moments())
    at = mean.clone().requires_grad_(), var.log().requires_grad_()
    slopes = torch.autograd.grad(averaged(*at), at)
    torch.testing.assert_close(slopes, (number(0.0), number(0.0)), rtol=0, atol=1e-9)  # quadrature on 6001 points
    torch.testing.assert_close(c_0 * TWO.posterior_mean(T4, x_t, t) + c_t * x_t, mean)
    for other in (mean + 0.1, mean - 0.1):
        assert averaged(other, var.log()) > averaged(mean, var.log())


def test_quiz_1_5_the_noise_of_the_step_is_a_fixed_share_of_the_total_noise(generator):
    """E[ε_step | x_t] = √(β_t/(1−ᾱ_t)) E[ε | x_t], for two-point data by Bayes on the points (E-69)."""
    t, x_t = 3, number(0.37)
    a, before, alpha, beta = (v.item() for v in (T4.alpha_bar[t], T4.alpha_bar[t - 1], T4.alpha[t], T4.beta[t]))
    weight = torch.softmax(torch.tensor([-((0.37 - a**0.5 * s) ** 2) / (2 * (1 - a)) for s in (1, -1)], dtype=F64), 0)
    mean_x0 = (weight[0] - weight[1]).item()
    total = (0.37 - a**0.5 * mean_x0) / (1 - a) ** 0.5
    earlier = before**0.5 * beta / (1 - a) * mean_x0 + alpha**0.5 * (1 - before) / (1 - a) * 0.37
    step = (x_t.item() - alpha**0.5 * earlier) / beta**0.5
    assert step / total == pytest.approx((beta / (1 - a)) ** 0.5, rel=1e-12)
    assert step / total == pytest.approx(0.82, abs=0.005)


def final_variance(schedule, c_0, c_t, data_var):
    """Variance of ancestral samples of N(0, data_var) data with the exact denoiser; c_0, c_t of (ᾱ_{t−1}, ᾱ_t)."""
    bar, var = schedule.alpha_bar.tolist(), 1.0
    for s, t in zip(bar[-2::-1], bar[:0:-1], strict=True):
        gain = t**0.5 * data_var / (t * data_var + 1 - t)
        var = (c_0(s, t) * gain + c_t(s, t)) ** 2 * var + (1 - s) / (1 - t) * (1 - t / s)
    return var


def test_e01_and_e02_the_printed_mean_ruins_a_sampler_with_a_perfect_network():
    linear = linear_beta(1000)
    good = lambda s, t: s**0.5 * (1 - t / s) / (1 - t), lambda s, t: (t / s) ** 0.5 * (1 - s) / (1 - t)  # noqa: E731
    printed = lambda s, t: t**0.5 * (1 - t / s) / (1 - t), lambda s, t: t**0.5  # noqa: E731
    assert final_variance(linear, *good, 0.25) == pytest.approx(0.25, rel=0.02)  # β̃ costs 1.6 % at T = 1000
    assert final_variance(linear, *printed, 0.25) == pytest.approx(1918, rel=0.001)  # CK-ALG-6


# ---- figures --------------------------------------------------------------------------------------------------------
def integral(y, x):
    return torch.trapezoid(torch.as_tensor(y), torch.as_tensor(x)).item()


def test_reverse_steps_draws_the_exact_law_and_a_gaussian_of_its_moments():
    axes = the_posterior_mean.reverse_steps(TWO, 0.1, (0.5, 0.01), -0.2).axes
    for ax, beta in zip(axes, (0.5, 0.01), strict=True):
        exact = TWO.reverse(DiscreteSchedule([0.1, beta]), number(-0.2), 1, 2)
        x, y = lines(ax)["exact $q(x_{t-1}|x_t)$"]
        np.testing.assert_allclose(y, exact.log_prob(torch.tensor(x)).exp())
        _, g = lines(ax)["Gaussian, same moments"]
        mean, var = (m.item() for m in exact.moments())
        assert integral(g, x) == pytest.approx(1, abs=1e-3)  # 4 standard deviations each way hold all but 6e-5
        assert integral(g * x, x) == pytest.approx(mean, abs=1e-3)
        assert integral(g * (x - mean) ** 2, x) == pytest.approx(var, rel=5e-3)
        assert f"{exact.non_gaussianity():.2g}" in ax.get_title(loc="left")


def test_gaussianity_draws_points_and_laws_where_there_is_one():
    ax = the_posterior_mean.gaussianity([0.1, 0.2], {"a": [0.01, 0.02], "b": [0.3, 0.4]}, {"a": [0.011, 0.021]}).axes[0]
    drawn = lines(ax)
    assert drawn["a"][1].tolist() == [0.01, 0.02] and drawn["b"][1].tolist() == [0.3, 0.4]
    assert [
        line.get_ydata()[-1] for line in ax.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata())
    ] == [0.021]


def test_gaussianity_draws_a_law_only_where_it_can_be_a_total_variation():
    ax = the_posterior_mean.gaussianity([0.1, 0.2, 0.5], {"a": [0.2, 0.3, 0.4]}, {"a": [0.5, 0.9, 3.0]}).axes[0]
    (law,) = [line for line in ax.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata())]
    assert list(law.get_xdata()) == [0.1, 0.2] and list(law.get_ydata()) == [0.5, 0.9]


@pytest.mark.parametrize("t", [1, 2, 7, 10])
def test_posterior_panel_draws_prior_likelihood_and_posterior(t):
    ten, x0, x_t = cosine_beta(T=10), 1.1, -0.4
    left, right = the_posterior_mean.posterior_panel(ten, x0, x_t, t).axes
    drawn = lines(left)
    c_0, c_t, v = posterior_coefficients(ten, t - 1, t)
    mean = c_0 * x0 + c_t * x_t
    x, y = drawn["posterior $q(x_{t-1}|x_t,x_0)$"]
    if t == 1:
        assert list(x) == [x0, x0]
    else:
        np.testing.assert_allclose(
            y, np.exp(-((x - mean) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v), rtol=1e-7, atol=1e-12
        )
        x, prior = drawn["prior $q(x_{t-1}|x_0)$"]
        _, likelihood = drawn["likelihood $q(x_t|x_{t-1})$, area 1"]
        ratio = (y / (prior * likelihood))[np.abs(x - mean) < 2 * math.sqrt(v)]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)  # the posterior is their product, normalised
    assert f"{mean:.3f}".replace("-", "−") in right.get_title(loc="left")
    labels = {
        text.get_text(): line for text, line in zip(right.get_legend().get_texts(), right.get_lines(), strict=False)
    }
    for value in (c_0, c_t, v / ten.beta[t].item()):
        (curve,) = [line for text, line in labels.items() if text.endswith(f"= {value:.3f}")][:1] or [None]
        assert curve.get_ydata()[t - 1] == pytest.approx(value)


def test_posterior_bells_are_the_left_panels_and_points_stay_below_the_legend():
    ten = cosine_beta(T=10)
    for ax, t in zip(the_posterior_mean.posterior_bells(ten, 1.1, -0.4, (10, 5, 1)).axes, (10, 5, 1), strict=True):
        left = the_posterior_mean.posterior_panel(ten, 1.1, -0.4, t).axes[0]
        assert ax.get_title(loc="left") == f"t = {t}"
        for name, curve in lines(left).items():
            x, y = lines(ax)[name]
            np.testing.assert_array_equal(x, curve[0])
            if t > 1 or name.startswith("likelihood"):
                np.testing.assert_array_equal(y, curve[1])
    legend = left.get_legend()
    left.figure.draw_without_rendering()
    bottom = left.transAxes.inverted().transform(legend.get_window_extent())[0, 1]
    assert lines(left)["prior $q(x_{t-1}|x_0)$"][1].max() < bottom  # axvline counts in fractions of the axis


def test_mean_of_posteriors_marks_the_exact_mean():
    exact = TWO.reverse(T4, number(-0.15), 1, 2)
    mean, var = (m.item() for m in exact.moments())
    posteriors = Gaussian(torch.tensor([-0.5, 0.5, 0.6], dtype=F64), 0.05)
    left, right = the_posterior_mean.mean_of_posteriors(posteriors, exact, (mean, var), [0.0, 0.1], [1.0, 0.9]).axes
    x, y = lines(left)["exact $q(x_{t-1}|x_t)$"]
    np.testing.assert_allclose(y, exact.log_prob(torch.tensor(x)).exp())
    assert len(left.get_lines()) == 3 + 2
    assert lines(right)["mean of $q(x_{t-1}|x_t)$"][0][0] == pytest.approx(mean)
    assert lines(right)["averaged KL"][1].tolist() == [1.0, 0.9]


def test_reverse_variances_are_in_units_of_beta_and_start_at_the_point_mass():
    """POST-6, SCHED-2: 1 at data variance 1, β̃/β at the left end."""

    def exact(t, v):
        return GaussianMixture([1.0], [0.0], [v]).reverse(T4, number(0.0), t - 1, t).moments()[1].item()

    ax = the_posterior_mean.reverse_variances(T4, (2, 4), torch.tensor([1e-9, 1.0, 4.0], dtype=F64), exact).axes[0]
    for t in (2, 4):
        _, y = lines(ax)[f"t = {t}"]
        floor = (T4.posterior_variance[t] / T4.beta[t]).item()
        assert y[0] == pytest.approx(floor) and y[1] == pytest.approx(1) and y[2] > 1
        assert any(
            len(line.get_xdata()) == 1 and line.get_ydata()[0] == pytest.approx(floor) for line in ax.get_lines()
        )
