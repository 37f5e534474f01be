"""Implicit models: the family q_σ, its weights, the walk upwards, the σ̂ row. DDIM-1..11, E-30, E-31."""

import math

import pytest
import torch

from dlgm.denoiser import Denoiser
from dlgm.losses import implicit_weight, vlb_weight
from dlgm.oracles import GaussianMixture, Spectrum, bounds
from dlgm.process import implicit_path, posterior_coefficients, q_implicit, q_posterior, q_sample, tau
from dlgm.samplers import DDIM, DDPM, invert, sample, slerp
from dlgm.schedules import VE, DiscreteSchedule, VPCosine, VPLinear, linear_beta, time_grid
from dlgm.vlb import implicit_vlb

F64 = torch.float64
CHAIN = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])
RING = GaussianMixture([0.4, 0.6], [[-1.0, 0.3], [0.8, -0.2]], [0.1, 0.05])


@pytest.mark.parametrize(
    "schedule, s, t", [(CHAIN, 2, 3), (CHAIN, 1, 4), (VPLinear(), 0.3, 0.6), (VE(0.1, 9), 0.2, 0.7)]
)
def test_ddim_1_2_every_variance_keeps_the_marginal(schedule, s, t):
    """DDIM-1, DDIM-2: mean and variance of x_s given x_0, through x_t, are those of q(x_s | x_0), for any σ²."""
    x0 = torch.tensor([[0.7, -1.3]], dtype=F64)
    for share in (0.0, 0.3, 0.9, 1.0):
        variance = share * schedule.noise(s) ** 2
        at = [q_implicit(schedule, schedule.signal(t) * x0 + k, x0, s, t, variance).mean for k in (0.0, 1.0)]
        torch.testing.assert_close(at[0], schedule.signal(s) * x0)
        total = (at[1] - at[0]) ** 2 * schedule.noise(t) ** 2 + variance
        torch.testing.assert_close(total, torch.full_like(total, schedule.noise(s) ** 2))


def test_ddim_7_8_the_markov_chain_and_the_deterministic_model_are_two_of_them(generator):
    x_t, x0 = torch.randn(2, 5, 3, generator=generator, dtype=F64)
    _, _, v = posterior_coefficients(CHAIN, 2, 3)
    a, b = q_implicit(CHAIN, x_t, x0, 2, 3, v), q_posterior(CHAIN, x_t, x0, 2, 3)
    torch.testing.assert_close(a.mean, b.mean)
    torch.testing.assert_close(a.var, b.var)
    eps = torch.randn(5, 3, generator=generator, dtype=F64)
    x_t = q_sample(CHAIN, x0, 3, eps)
    torch.testing.assert_close(q_implicit(CHAIN, x_t, x0, 1, 3, 0.0).mean, q_sample(CHAIN, x0, 1, eps))  # one ε for all
    t, s = torch.tensor([4, 3, 2, 4, 3]), torch.tensor([1, 2, 0, 3, 1])
    mixed = q_implicit(CHAIN, x_t, x0, s, t, torch.zeros(5))
    torch.testing.assert_close(mixed.mean[3:4], q_implicit(CHAIN, x_t[3:4], x0[3:4], 3, 4, 0.0).mean)
    with pytest.raises(ValueError, match="expected a variance in"):
        q_implicit(CHAIN, x_t, x0, 2, 3, 1.0)
    with pytest.raises(ValueError, match="expected s < t"):
        q_implicit(CHAIN, x_t, x0, 3, 3, 0.0)


def test_ddim_5_the_weight_is_that_of_the_kl_and_at_beta_tilde_that_of_the_bound(generator):
    """DDIM-4, DDIM-5: KL of two laws whose x_0 come from ε and ε̂ is γ ‖ε − ε̂‖²."""
    x_t, eps, guess = torch.randn(3, 4, 2, generator=generator, dtype=F64)
    for s, t in ((2, 3), (1, 4)):
        for variance in (0.01, 0.5 * CHAIN.noise(s) ** 2, CHAIN.noise(s) ** 2):
            laws = []
            for e in (eps, guess):
                x0 = (x_t - CHAIN.noise(t) * e) / CHAIN.signal(t)
                laws.append(q_implicit(CHAIN, x_t, x0, s, t, variance))
            want = implicit_weight(CHAIN, s, t, variance) * (eps - guess).square().sum(1)
            torch.testing.assert_close(laws[0].kl(laws[1]), want)
    t = torch.tensor([2, 3, 4])
    found = implicit_weight(CHAIN, t - 1, t, CHAIN.posterior_variance[t])
    torch.testing.assert_close(found, vlb_weight(CHAIN, t, "eps", "posterior"))


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_4_theorem_1_the_two_objectives_differ_by_what_no_network_changes(eta):
    """DDIM-3, DDIM-4, DDIM-5: J_σ − Σ γ_t E‖ε − ε̂‖² is one number whatever the network; by quadrature."""
    variances = eta**2 * CHAIN.posterior_variance
    variances[1] = 0.3**2
    t = torch.arange(1, 5)
    gamma = implicit_weight(CHAIN, t - 1, t, variances[1:])
    z, w = bounds.nodes(4)
    x0 = torch.full((len(z), 1), 0.8, dtype=F64)
    path = implicit_path(CHAIN, x0, variances, [z[:, k : k + 1] for k in range(4)])
    constants = []
    for slopes in ((0.1, 0.2, 0.3, 0.4), (0.9, 0.5, 0.7, 0.2)):
        slope = torch.tensor((0.0, *slopes), dtype=F64)
        model = Denoiser(lambda x, t, slope=slope: slope[t][:, None] * x, CHAIN)
        J = w @ implicit_vlb(model, path, variances)
        e, v = bounds.nodes(1)
        L = sum(
            gamma[k - 1] * (v @ (e - model(q_sample(CHAIN, x0[:3], k, e), k).eps).square().sum(1)) for k in range(1, 5)
        )
        constants.append((J - L).item())
    assert constants[0] == pytest.approx(constants[1], abs=1e-12)


def test_ddim_1_a_path_from_the_top_has_the_marginals_of_the_chain_and_at_eta_one_its_law():
    """DDIM-2, DDIM-7: moments of all 81 nodes; only at η = 1 is the covariance of neighbours the Markov chain's."""
    z, w = bounds.nodes(4)
    x0 = torch.full((len(z), 1), 0.8, dtype=F64)
    for eta in (0.0, 0.5, 1.0):
        path = implicit_path(CHAIN, x0, eta**2 * CHAIN.posterior_variance, [z[:, k : k + 1] for k in range(4)])
        for t in range(1, 5):
            law = q_sample(CHAIN, x0[:1], t, 0 * x0[:1])
            torch.testing.assert_close((w @ path[t]), law[0])
            torch.testing.assert_close(w @ (path[t] - law).square()[:, 0], torch.tensor(CHAIN.noise(t) ** 2, dtype=F64))
        cross = w @ ((path[2] - w @ path[2]) * (path[3] - w @ path[3]))[:, 0]
        markov = CHAIN.alpha[3].sqrt() * CHAIN.noise(2) ** 2
        assert torch.isclose(cross, markov, rtol=1e-12, atol=0) == (eta == 1)


def test_theorem_1_has_a_weight_at_the_last_step_and_refuses_what_has_none():
    """At s = 0 it is the weight in −log N(x_0; x̂_0, σ²), for any σ²; elsewhere σ² ends at noise_s²."""
    assert implicit_weight(CHAIN, 0, 1, 0.09) == pytest.approx((0.1 / 0.9) / (2 * 0.09))
    for variance in (0.0, 1.0):
        with pytest.raises(ValueError, match="expected a variance in"):
            implicit_weight(CHAIN, 1, 2, variance)


def test_e_30_one_network_for_all_t_has_another_optimum_under_other_weights():
    """E-30: ε̂ = k x_t for every t. Without weights the best k is .7204, under the bound's (σ_1 = .3) it is .7519."""
    t, v0 = torch.arange(1, 5), 0.8
    variances = CHAIN.posterior_variance.clone()
    variances[1] = 0.3**2
    power, noise = CHAIN.alpha_bar[1:] * v0 + 1 - CHAIN.alpha_bar[1:], CHAIN.noise(t)
    for gamma, want in ((torch.ones(4), 0.7204), (implicit_weight(CHAIN, t - 1, t, variances[1:]), 0.7519)):
        assert ((gamma * noise).sum() / (gamma * power).sum()).item() == pytest.approx(want, abs=5e-5)


def test_e_31_the_hat_row_has_the_mean_of_eta_one_and_the_noise_of_the_forward_step():
    """DDIM-11: for data N(0, 1) its walk ends at variance 1 + what no mean shrinks: the last noise stays."""
    world, times = Spectrum([1.0, 0.0]), [4, 2, 1, 0]
    hat, one = world.walk(DDIM("hat"), CHAIN, times), world.walk(DDIM(1.0), CHAIN, times)
    beta = world.walk(DDPM("beta"), CHAIN, times)
    last = CHAIN.noise(1) ** 2 * tau(CHAIN, 0, 1)
    torch.testing.assert_close(hat.var, beta.var + last)  # DDPM("beta") leaves the last noise out
    assert hat.var[0, 0].item() == pytest.approx(1.0, abs=1e-12) and (hat.var > one.var).all()
    with pytest.raises(ValueError, match="eta must be"):
        DDIM("none")


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine(), linear_beta(1000)])
def test_a_walk_up_and_down_comes_back_to_first_order(schedule, generator):
    """M-17. Twice as many steps, half the error, the more nearly the smaller the steps: slopes rise to 0.9."""
    denoiser, x = RING.denoiser(schedule), RING.sample(50, generator).double()
    top, errors = (0.9 if schedule.last == 1 else 800), []
    for steps in (100, 200, 400, 800):
        down = time_grid(schedule, steps, start=top)
        up = invert(denoiser, x, down.flip(0))
        errors.append((sample(denoiser, DDIM(), up, down) - x).square().mean().sqrt().item())
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert slopes == sorted(slopes) and 0.9 < slopes[-1] < 1.05, (errors, slopes)
    with pytest.raises(ValueError, match="increasing"):
        invert(denoiser, x, down)


def test_a_walk_up_ends_where_the_noise_came_from():
    """For a single point all x_t = signal x_0 + noise ε with one ε: from any t the walk up is exact."""
    point = GaussianMixture([1.0], [[0.4, -0.2]], [1e-12])
    eps, x0 = torch.tensor([[0.3, -1.1]], dtype=F64), torch.tensor([[0.4, -0.2]], dtype=F64)
    x = invert(point.denoiser(CHAIN), q_sample(CHAIN, x0, 1, eps), [1, 2, 4])
    torch.testing.assert_close(x, q_sample(CHAIN, x0, 4, eps), rtol=1e-6, atol=1e-6)  # the point is 1e-6 wide


def test_slerp_keeps_the_length_and_the_plane(generator):
    a, b = torch.randn(2, 3, 2, 5, generator=generator, dtype=F64)
    a, b = (v / v.flatten(1).norm(dim=1)[:, None, None] for v in (a, b))
    for w in (0.0, 0.25, 1.0):
        c = slerp(a, b, w)
        torch.testing.assert_close(c.flatten(1).norm(dim=1), torch.ones(3, dtype=F64))
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, torch.tensor([1.0, 0.0, 1.0])), torch.stack([b[0], a[1], b[2]]))
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(slerp(x, y, 0.5), torch.tensor([[0.5, 0.5]]).sqrt())
