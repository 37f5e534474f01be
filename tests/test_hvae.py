"""Hierarchies against a linear-Gaussian chain, and the diffusion chain as one of them.

Ledger HVAE-1, HVAE-2, HVAE-3, VDM-1, VDM-2, M-35.
"""

import math

import pytest
import torch

from dlgm import hvae
from dlgm.denoiser import Denoiser
from dlgm.elbo import elbo, log_weights
from dlgm.gaussian import Gaussian, MultivariateGaussian, condition
from dlgm.metrics import estimate
from dlgm.oracles import GaussianMixture, LinearGaussianChain
from dlgm.process import q_marginal, q_posterior, terminal_kl
from dlgm.schedules import DiscreteSchedule, cosine_beta
from dlgm.training import fit
from dlgm.vlb import VARIANCES

F64 = torch.float64
T4 = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])


def chain(generator, sizes=(3, 2, 2, 1)):
    maps = [torch.randn(a, b, generator=generator, dtype=F64) for a, b in zip(sizes, sizes[1:], strict=False)]
    return LinearGaussianChain(maps, [0.3, 0.2, 0.5][: len(maps)])


# ---- the chain whose answers are exact -----------------------------------------------------------------------------
def test_the_chain_has_the_covariance_of_its_samples(generator):
    world = chain(generator)
    exact = hvae.Hierarchy(world.prior, world.generate(), world.infer())
    n = 40_000
    _, z = exact.sample(n, generator)
    x = world.generate()[0](z[0]).sample(generator)
    for level, cov in zip([x, *z], world.covs, strict=True):
        white = torch.linalg.solve_triangular(torch.linalg.cholesky(cov), level.T, upper=False)
        # products of independent standard normals: standard deviation at most √2; 14 entries, 6 errors
        assert (white @ white.T / n - torch.eye(len(cov))).abs().max() < 6 * math.sqrt(2 / n)


def test_hvae_1_both_factorisations_of_the_joint_agree(generator):
    """p(x) Π p(z_t | z_{t−1}) = p(z_T) Π p(z_{t−1} | z_t), for any x and z whatsoever."""
    world = chain(generator)
    exact = hvae.Hierarchy(world.prior, world.generate(), world.infer())
    x, *z = (torch.randn(7, len(cov), generator=generator, dtype=F64) for cov in world.covs)
    backwards = world.log_prob(x) + exact.q(x).log_prob(z)
    torch.testing.assert_close(exact.log_joint(x, z), backwards, rtol=1e-10, atol=1e-10)


def test_e_23_the_joint_of_x_and_z_sums_to_the_evidence_over_z_and_to_one_over_both(generator):
    """E-23: Π p(z_T) ... p(x | z_1) is a law of x and all z; summed over z it is p(x), not 1."""
    table = lambda a, b: torch.rand(a, b, generator=generator, dtype=F64).softmax(1)  # noqa: E731
    p3, p2_3, p1_2, px_1 = table(1, 3)[0], table(3, 3), table(3, 3), table(3, 4)
    joint = torch.einsum("c,cb,ba,ax->xabc", p3, p2_3, p1_2, px_1)
    evidence = joint.sum((1, 2, 3))
    torch.testing.assert_close(evidence, p3 @ p2_3 @ p1_2 @ px_1)
    assert joint.sum().item() == pytest.approx(1, abs=1e-12) and (evidence < 0.9).all()


def test_hvae_2_the_terms_sum_to_the_bound_and_each_is_where_it_belongs(generator):
    world = chain(generator)
    loose = [lambda z, k=k: MultivariateGaussian(0.7 * k(z).mean, 1.5 * k(z).cov) for k in world.infer()]
    model = hvae.Hierarchy(world.prior, world.generate(), loose)
    x = torch.randn(3, 3, generator=generator, dtype=F64)
    terms = model.terms(x, 6, torch.Generator().manual_seed(5))
    whole = elbo(model.log_joint, model.q, x, 6, torch.Generator().manual_seed(5))
    torch.testing.assert_close(terms.elbo, whole.value, rtol=1e-12, atol=1e-12)
    assert terms.levels.shape == (3, 3)
    # by hand, from the same draws
    repeated = x.repeat_interleave(6, 0)
    z = model.q(repeated).sample(torch.Generator().manual_seed(5))
    p, q = world.generate(), loose
    by_hand = [
        p[0](z[0]).log_prob(repeated),
        p[1](z[1]).log_prob(z[0]) - q[0](repeated).log_prob(z[0]),
        p[2](z[2]).log_prob(z[1]) - q[1](z[0]).log_prob(z[1]),
        world.prior(18).log_prob(z[2]) - q[2](z[1]).log_prob(z[2]),
    ]
    ours = torch.cat([terms.reconstruction[:, None], terms.levels], 1)
    for k, value in enumerate(by_hand):
        torch.testing.assert_close(ours[:, k], value.reshape(3, 6).mean(1), rtol=1e-12, atol=1e-12)


def test_the_bound_is_below_log_p_and_tight_with_the_exact_chain(generator):
    world = chain(generator)
    tight = hvae.Hierarchy(world.prior, world.generate(), world.infer())
    x, _ = tight.sample(5, generator)
    assert (log_weights(tight.log_joint, tight.q, x, 4, generator) - world.log_prob(x)[:, None]).abs().max() < 1e-10
    loose = [lambda z, k=k: MultivariateGaussian(k(z).mean, 1.5 * k(z).cov) for k in world.infer()]
    bound = elbo(tight.log_joint, hvae.Hierarchy(world.prior, world.generate(), loose).q, x, 4000, generator)
    # KL of N(m, 1.5 S) and N(m, S) is ½ d (0.5 − log 1.5) for each level: 5 coordinates in all
    gap = 0.5 * 5 * (0.5 - math.log(1.5))
    assert ((bound.value - (world.log_prob(x) - gap)).abs() < 5 * bound.error).all()


def test_a_flat_hierarchy_is_a_vae(generator):
    """One level: reconstruction − KL(q(z | x) ‖ N(0, I)), the KL here by sampling."""
    torch.manual_seed(0)
    model = hvae.HVAE((3,), (2,), (8,)).double()
    x = torch.randn(4, 3, generator=generator, dtype=F64)
    with torch.no_grad():
        law = model.infer[0](x)
        exact = law.kl(Gaussian(torch.zeros(4, 2, dtype=F64), 1.0))
        draws = estimate(torch.stack([model.terms(x, 1, generator).levels[:, 0] for _ in range(1500)]), 0)
    assert ((draws.value + exact).abs() < 5 * draws.error).all()


def test_hvae_trains_and_every_network_takes_part(generator):
    torch.manual_seed(0)
    model = hvae.HVAE((2,), (2, 2, 1), (8,))
    x = torch.randn(200, 2, generator=generator) * 0.2 + 1
    loss = lambda m, b, g, s: -m.terms(b, generator=g).elbo.mean()  # noqa: E731
    loss(model, x, generator, 0).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    history = fit(model, loss, x, steps=150, lr=1e-2, progress=False)
    assert sum(history.loss[-20:]) / 20 < history.loss[0] - 1  # nats; it starts near 3.5 and log p is about −0.4
    means, z = model.sample(9, generator)
    assert means.shape == (9, 2) and [v.shape[1] for v in z] == [2, 2, 1]


def test_bad_hierarchies():
    with pytest.raises(ValueError, match="as many kernels down as up, got 1 and 2"):
        hvae.Hierarchy(None, [None], [None, None])
    with pytest.raises(ValueError, match="at least one level"):
        hvae.HVAE((2,), ())
    with pytest.raises(ValueError, match="NaN or infinite"):
        hvae.HVAE((2,), (1,)).validate(torch.full((1, 2), math.nan))
    with pytest.raises(ValueError, match="unknown variance 'both'; known: posterior, beta"):
        hvae.diffusion(GaussianMixture([1.0], [0.0], [1.0]).denoiser(T4), (), "both")


# ---- diffusion as a hierarchy --------------------------------------------------------------------------------------
def closed_form_vlb(denoiser, x0, mean, var, variance):
    """The bound of the T = 4 chain on data N(mean, var), term by term from Gaussian moments; x0 fixed, no sampling.

    The denoiser is affine in x_t here, so μ_θ − μ̃ is affine in x_t too, and E over q(x_t | x_0) needs two moments.
    """
    schedule, total = denoiser.schedule, -terminal_kl(denoiser.schedule, x0[:, None])
    for t in range(1, schedule.T + 1):
        marginal = q_marginal(schedule, x0, t)
        line = lambda x: q_posterior(schedule, x, denoiser(x, t).x0, t - 1, t).mean  # noqa: B023, E731
        slope = line(torch.ones(1, dtype=F64)) - line(torch.zeros(1, dtype=F64))
        offset = line(torch.zeros(1, dtype=F64))
        s2 = schedule.beta[t] if variance == "beta" or t == 1 else schedule.posterior_variance[t]
        if t == 1:
            error = (slope * marginal.mean + offset - x0) ** 2 + slope**2 * marginal.var
            total = total - 0.5 * (error / s2 + s2.log() + math.log(2 * math.pi))
        else:
            truth = q_posterior(schedule, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64), t - 1, t)
            c_0 = truth.mean  # the coefficient of x_0
            one = torch.ones(1, dtype=F64)
            c_t = q_posterior(schedule, one, one, t - 1, t).mean - c_0
            gap = (slope - c_t) * marginal.mean + offset - c_0 * x0
            ratio = truth.var / s2
            total = total - 0.5 * ((gap**2 + (slope - c_t) ** 2 * marginal.var) / s2 + ratio - 1 - ratio.log())
    return total


@pytest.mark.parametrize("variance", VARIANCES)
def test_vdm_1_the_hierarchical_bound_of_a_diffusion_chain_is_its_variational_bound(variance, generator):
    """The same code that bounds a hierarchy of networks, against the KL form of the bound in closed form."""
    denoiser = GaussianMixture([1.0], [0.4], [0.5]).denoiser(T4)
    model = hvae.diffusion(denoiser, (), variance)
    x0 = torch.tensor([-1.0, 0.2, 2.0], dtype=F64)
    bound = elbo(model.log_joint, model.q, x0, 20_000, generator)
    exact = closed_form_vlb(denoiser, x0, 0.4, 0.5, variance)
    assert ((bound.value - exact).abs() < 5 * bound.error).all()
    # p_θ is not the law of the data, so single x may do better than log p; the mean over the data cannot (Gibbs)
    grid = torch.linspace(-6, 7, 2001, dtype=F64)
    weight = Gaussian(torch.full_like(grid, 0.4), 0.5).log_prob(grid).exp() * (grid[1] - grid[0])
    mean = (closed_form_vlb(denoiser, grid, 0.4, 0.5, variance) * weight).sum()
    assert mean < -0.5 * math.log(2 * math.pi * math.e * 0.5)


def test_vdm_1_with_exact_reverse_kernels_only_the_end_of_the_chain_is_missing(generator):
    """Data N(m, v): exact kernels p(x_{t−1} | x_t) = q(x_{t−1} | x_t) leave log p(x) + E log N(x_T; 0, 1)/q(x_T)."""
    m, v = 0.4, 0.5

    def marginal(z, t):
        a = T4.alpha_bar[t]
        return Gaussian((a.sqrt() * m).expand_as(z), a * v + 1 - a)

    kernels = [
        lambda z, t=t: condition(marginal(z, t - 1), z, T4.alpha[t].sqrt(), T4.beta[t]) for t in range(1, T4.T + 1)
    ]
    forward = hvae.diffusion(GaussianMixture([1.0], [m], [v]).denoiser(T4), ()).infer
    exact = hvae.Hierarchy(lambda n: marginal(torch.zeros(n, dtype=F64), T4.T), kernels, forward)
    x = torch.tensor([-1.0, 0.4, 1.7], dtype=F64)
    log_p = Gaussian(torch.full_like(x, m), v).log_prob(x)
    assert (log_weights(exact.log_joint, exact.q, x, 3, generator) - log_p[:, None]).abs().max() < 1e-12


def test_vdm_2_the_bound_tightens_as_the_chain_gets_longer(generator):
    world = GaussianMixture([0.4, 0.6], [-1.0, 1.0], [0.05, 0.1])
    x = world.sample(150, generator).double()
    bounds = []
    for T in (4, 16, 64):
        model = hvae.diffusion(world.denoiser(cosine_beta(T=T)), ())
        bounds.append(elbo(model.log_joint, model.q, x, 20, generator).value)
    for shorter, longer in zip(bounds, bounds[1:], strict=False):
        gain = estimate(longer - shorter, 0)  # example by example, which removes the spread between examples
        assert gain.value > 5 * gain.error
    missing = estimate(world.log_prob(x) - bounds[-1], 0)
    assert missing.value > 3 * missing.error


def test_the_hierarchy_of_a_diffusion_works_on_pictures(generator):
    world = GaussianMixture([1.0], torch.zeros(1, 1, 4, 4), torch.ones(1))
    model = hvae.diffusion(world.denoiser(T4), (1, 4, 4))
    x = torch.randn(3, 1, 4, 4, generator=generator, dtype=F64)
    terms = model.terms(x, 2, generator)
    assert terms.levels.shape == (3, 4) and (terms.elbo < world.log_prob(x) + 3).all()
    assert model.sample(2, generator)[0].shape == (2, 1, 4, 4)


def test_one_path_and_two_hidden_layers_of_64_unless_said(generator):
    world = chain(generator)
    flat = hvae.Hierarchy(world.prior, world.generate(), world.infer())
    x, again = torch.randn(4, 3, generator=generator, dtype=F64), lambda: torch.Generator().manual_seed(1)
    one, same = flat.terms(x, generator=again()), flat.terms(x, 1, again())
    assert torch.equal(one.reconstruction, same.reconstruction) and torch.equal(one.levels, same.levels)
    model = hvae.HVAE((3,), (2, 1))
    sizes = [[(v.in_features, v.out_features) for v in net.modules() if hasattr(v, "in_features")] for net in model.up]
    assert sizes == [[(3, 64), (64, 64), (64, 4)], [(2, 64), (64, 64), (64, 2)]]


def test_a_hierarchy_has_a_level():
    for down, up in (([], []), ([None], []), ([None], [None, None])):
        with pytest.raises(ValueError, match=f"as many kernels down as up, got {len(down)} and {len(up)}"):
            hvae.Hierarchy(lambda n: None, down, up)


def test_quieter_is_a_regression_on_a_mean_that_is_known():
    """f − c (e^(−f) − 1), c the slope of f on e^(−f), for numbers of order 1 and far smaller; 0 stays 0."""
    f = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=F64) * torch.tensor([1.0, 1e-3, 0.0])
    got = hvae._quieter(f)
    for k in (0, 1):
        ratio = (-f[:, k]).exp()
        slope = torch.cov(torch.stack([ratio, f[:, k]]))
        torch.testing.assert_close(got[:, k], f[:, k] - slope[0, 1] / slope[0, 0] * (ratio - 1), rtol=1e-9, atol=1e-12)
    assert not got[:, 2].any()


def test_the_prior_of_a_diffusion_is_where_it_was_asked_to_be():
    world = GaussianMixture([1.0], [[0.0]], [[1.0]])
    net = Denoiser(torch.nn.Linear(1, 1), T4)
    for denoiser in (world.denoiser(T4), net):
        for device in (None, "meta"):
            law = hvae.diffusion(denoiser, (3,), device=device).prior(2)
            assert law.mean.shape == (2, 3) and law.mean.device.type == (device or "cpu")
    assert hvae.step_gaps(world, T4, "beta")[0].shape == (250, 5)
