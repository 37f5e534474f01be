"""log p(x) in continuous time, against mixtures whose density is known. SDE-4, CELBO-1..5, M-13, M-15, M-16."""

import math

import pytest
import torch

from dlgm import likelihood, vlb
from dlgm.denoiser import Denoiser
from dlgm.oracles import GaussianMixture, Spectrum, bounds
from dlgm.schedules import VE, LearnedMonotone, Rescaled, VPCosine, VPLinear, linear_beta, time_grid
from dlgm.scores import projection_variance

F64 = torch.float64
MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 0.4], [0.8, -0.2]], [[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.5]]])
X = torch.tensor([[0.1, 0.2], [-1.0, 0.5], [2.0, -1.5]], dtype=F64)


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine(), VE(0.02, 9.0), Rescaled(VPLinear(), "ve")], ids=str)
def test_m_13_the_flow_finds_the_density_of_a_mixture(schedule):
    """M-13, SDE-4: exact trace, exact law at the top: to 1e-6 with 200 steps, of fourth order."""
    low, top = 0.02, 0.95
    truth, prior = MIXTURE.diffuse(schedule, low).log_prob(X), MIXTURE.diffuse(schedule, top).log_prob
    errors = []
    for N in (25, 50, 200):
        times = time_grid(schedule, N, top, low, "logsnr").flip(0)
        found = likelihood.log_prob(MIXTURE.denoiser(schedule), X, times, prior=prior)
        errors.append((found - truth).abs().max().item())
    assert errors[-1] < 1e-6 and 3.5 < math.log2(errors[0] / errors[1]) < 5.5, errors


def test_a_chain_has_no_times_between_and_is_walked_to_second_order():
    schedule = linear_beta(1000)
    truth, prior = MIXTURE.diffuse(schedule, 5).log_prob(X), MIXTURE.diffuse(schedule, 900).log_prob
    errors = [
        (likelihood.log_prob(MIXTURE.denoiser(schedule), X, list(range(5, 901, k)), prior=prior) - truth).abs().max()
        for k in (35, 5)
    ]
    assert errors[1] < 2e-2 and errors[0] > 20 * errors[1]


def test_the_standard_prior_is_off_by_the_signal_that_is_left():
    """VP-linear ends at ᾱ = 4e-5: its marginal is not quite N(0, I)."""
    schedule, times = VPLinear(), time_grid(VPLinear(), 200, 1.0, 0.02, "logsnr").flip(0)
    found = likelihood.log_prob(MIXTURE.denoiser(schedule), X, times)
    gap = (found - MIXTURE.diffuse(schedule, 0.02).log_prob(X)).abs().max()
    assert 1e-6 < gap < 0.05


@pytest.mark.parametrize("trace", ["rademacher", "gaussian"])
def test_m_13_probes_are_unbiased_and_as_loud_as_the_formula_says(trace, generator):
    """For a single Gaussian the Jacobian is constant in x: Var log p is that of vᵀSv, S = ∫ noise J du."""
    law = GaussianMixture([1.0], [[0.3, -0.1]], [[[0.5, 0.3], [0.3, 0.9]]])
    schedule, n = VPLinear(), 4000
    times = time_grid(schedule, 40, 0.95, 0.05, "logsnr").flip(0)
    x = X[:1].expand(n, 2)
    prior = law.diffuse(schedule, 0.95).log_prob
    found = likelihood.log_prob(law.denoiser(schedule), x, times, trace, 1, generator, prior)
    truth = law.diffuse(schedule, 0.05).log_prob(X[:1]).item()
    total = torch.zeros(2, 2, dtype=F64)  # ∫ noise ∂ε̂/∂x du, ∂ε̂/∂x = noise (signal² Σ + noise² I)^(−1)
    u = torch.linspace(-schedule.logsnr(0.05) / 2, -schedule.logsnr(0.95) / 2, 2001, dtype=F64)
    for a in ((u[1:] + u[:-1]) / 2).tolist():
        signal2, noise2 = 1 / (1 + math.exp(2 * a)), 1 / (1 + math.exp(-2 * a))
        total += noise2 * torch.linalg.inv(signal2 * law.covs[0] + noise2 * torch.eye(2, dtype=F64))
    total *= (u[1] - u[0]).item()
    want = projection_variance(total[None], trace).item()
    assert abs(found.mean().item() - truth) < 5 * math.sqrt(want / n)
    assert found.var().item() == pytest.approx(want, rel=0.2)  # a fourth moment: about 4 standard errors
    four = likelihood.log_prob(law.denoiser(schedule), x, times, trace, 4, generator, prior)
    assert four.var().item() == pytest.approx(want / 4, rel=0.2)


def test_bits_count_levels_and_dequantised_density_bounds_them(generator):
    """Eight levels in one dimension: the uniform law has 3 bits; a smooth density pays more, never less."""
    levels = torch.arange(8, dtype=F64)[:, None] / 7 * 2 - 1
    x, bin = levels[torch.randint(8, (20_000,), generator=generator)], 2 / 7
    y = likelihood.dequantise(x, generator, bin)
    assert (y - x).abs().max() <= bin / 2 and abs((y - x).mean()) < 5 * bin / math.sqrt(12 * 20_000)
    flat = torch.full((len(y),), -math.log(8 * bin), dtype=F64)
    assert likelihood.bits_per_dim(flat, 1, bin).mean().item() == pytest.approx(3)
    smooth = GaussianMixture([1.0], [[0.0]], [[0.5]]).log_prob(y)
    assert likelihood.bits_per_dim(smooth, 1, bin).mean() > 3
    assert likelihood.bits_per_dim(torch.zeros(1), 784).item() == pytest.approx(math.log2(255 / 2))


# ---- the bound -----------------------------------------------------------------------------------------------------
def exact_bound(world, low, high):
    """½ ∫ E‖ε − ε̂‖² dλ for diagonal Gaussian data between two log-SNRs: Σ ½ log (1 + v e^high)/(1 + v e^low)."""
    v = world.variances
    return 0.5 * torch.log((1 + v * math.exp(high)) / (1 + v * math.exp(low))).sum().item()


@pytest.mark.parametrize(
    "schedule", [VPLinear(), VPCosine(), VE(0.05, 12.0), Rescaled(VPLinear(), "ve"), LearnedMonotone(4, 6.0, -4.0)],
    ids=lambda s: type(s).__name__,
)  # fmt: skip
def test_celbo_1_2_the_bound_sees_the_ends_of_the_schedule_only(schedule, generator):
    """CELBO-1, CELBO-2, M-15: the mean over t, x_0 and ε is the closed form between the log-SNRs of the two ends."""
    world, n, (start, end) = Spectrum([0.3, 1.5]), 200_000, (0.1, 0.9)
    x0 = world.sample(n, generator)
    with torch.no_grad():
        found = likelihood.continuous_loss(world.denoiser(schedule), x0, generator, start, end, antithetic=False)
    want = exact_bound(world, float(schedule.logsnr(end)), float(schedule.logsnr(start)))
    assert abs(found.mean().item() - want) < 5 * found.std().item() / math.sqrt(n)


def test_m_15_even_times_make_the_average_of_a_batch_quieter():
    world, schedule = Spectrum([0.3, 1.5]), VPLinear()
    means = {}
    for even in (True, False):
        generator, found = torch.Generator().manual_seed(0), []
        for _ in range(200):
            x0 = world.sample(64, generator)
            loss = likelihood.continuous_loss(world.denoiser(schedule), x0, generator, 0.05, 0.95, antithetic=even)
            found.append(loss.mean().item())
        means[even] = torch.tensor(found)
    assert means[True].var() < 0.8 * means[False].var()
    assert abs(means[True].mean() - means[False].mean()) < 5 * (means[False].std() / 200**0.5)


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine(), VE(0.05, 12.0)], ids=str)
def test_celbo_2_the_rate_is_the_slope_of_the_log_snr(schedule):
    for t in (0.2, 0.7):
        slope = (schedule.logsnr(t - 1e-5) - schedule.logsnr(t + 1e-5)) / 2e-5
        assert likelihood.logsnr_rate(schedule, t) == pytest.approx(slope, rel=1e-6)


def test_celbo_3_5_e_73_the_simple_loss_has_a_weight_that_is_not_monotone():
    """CELBO-3, CELBO-5, E-73: w = 1/(−λ′) peaks at t = .5 (cosine) and near .35 (linear), and falls after that."""
    t = torch.linspace(0.01, 0.99, 99, dtype=F64)
    for schedule, peak in ((VPCosine(), 0.50), (VPLinear(), 0.35)):
        w = likelihood.implied_weight(schedule, t)
        assert t[w.argmax()].item() == pytest.approx(peak, abs=0.011)
        with pytest.raises(ValueError, match="must not decrease"):
            likelihood.augmentation(w)
    world, schedule = Spectrum([0.3, 1.5]), VPLinear()
    x0, g = world.sample(50, torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    weighted = likelihood.continuous_loss(
        world.denoiser(schedule), x0, g, 0.1, 0.9, lambda t: likelihood.implied_weight(schedule, t)
    )
    plain = likelihood.continuous_loss(world.denoiser(schedule), x0, torch.Generator().manual_seed(2), 0.1, 0.9)
    assert (weighted < plain).any() and torch.isfinite(weighted).all()


def test_celbo_4_e_27_a_rising_weight_is_a_law_of_noise_levels_with_an_atom():
    """CELBO-4, E-27: ½ ∫ w E‖ε − ε̂‖² dλ = w(0) L(0) + ∫ L(t) dw; without the atom the two sides differ."""
    world, schedule = Spectrum([0.3, 1.5]), VPCosine()
    t = torch.linspace(0.05, 0.95, 4001, dtype=F64)
    lam = schedule.logsnr(t)
    w = 0.5 + t**2
    density = 0.5 * (world.variances * lam.exp()[:, None] / (1 + world.variances * lam.exp()[:, None])).sum(1)
    mid = lambda v: (v[1:] + v[:-1]) / 2  # noqa: E731
    left = (mid(w * density) * -lam.diff()).sum().item()
    low = float(lam[-1])
    tail = torch.tensor([exact_bound(world, low, float(high)) for high in lam], dtype=F64)  # the bound from t on
    atom, mass = likelihood.augmentation(w)
    right = w[-1].item() * (atom * tail[0].item() + (mass * mid(tail)).sum().item())
    assert left == pytest.approx(right, rel=1e-6)
    assert atom + mass.sum().item() == pytest.approx(1) and w[-1].item() * (mass * mid(tail)).sum().item() < 0.9 * left
    assert likelihood.augmentation(torch.ones(5))[0] == 1.0  # the bound itself: all mass in the atom


# ---- denoising alone -----------------------------------------------------------------------------------------------
def test_i_mmse_denoising_alone_gives_the_density():
    """Two components at x = .7: −log p = .4930, by quadrature in ε and over the log-SNR."""
    law, schedule = GaussianMixture([0.3, 0.7], [-1.0, 0.8], [0.3, 0.2]), VPCosine()
    nodes = bounds.nodes(1, 40)
    x = torch.tensor([0.7, -1.2], dtype=F64)
    times = time_grid(schedule, 240, 0.9999, 1e-4, "logsnr")
    found = likelihood.pointwise(law.denoiser(schedule), x, times, nodes=nodes)
    torch.testing.assert_close(found, law.log_prob(x), rtol=0, atol=2e-4)
    drawn = likelihood.pointwise(
        law.denoiser(schedule), x[:1].expand(400), times[::4], 1, torch.Generator().manual_seed(0)
    )
    assert abs(drawn.mean() - law.log_prob(x[:1])[0]) < 5 * drawn.std() / 20


def test_celbo_6_m_15_more_steps_between_the_same_ends_make_the_bound_smaller():
    """CELBO-6, VDM-2: stairs over a falling curve; 1.5, 1 and ½ log 4 by hand; the excess falls as 1/T to ½ ∫ mmse."""
    by_hand = [torch.tensor([3.0, 0.0], dtype=F64), torch.tensor([3.0, 1.0, 0.0], dtype=F64)]
    found = [likelihood.staircase(snr.log(), 1 / (1 + snr)).item() for snr in by_hand]
    assert found == pytest.approx([1.5, 1.0])
    low, high, v = -4.0, 3.0, 0.6
    limit, excess = 0.5 * math.log((1 + v * math.exp(high)) / (1 + v * math.exp(low))), []
    for T in (10, 20, 40, 80):
        lam = torch.linspace(high, low, T + 1, dtype=F64)
        excess.append(likelihood.staircase(lam, v / (1 + v * lam.exp())).item() - limit)
    assert excess == sorted(excess, reverse=True) and excess[-1] > 0
    assert excess[2] / excess[3] == pytest.approx(2, rel=0.05)
    with pytest.raises(ValueError, match="one error at each of two stops or more, got 2 for 3"):
        likelihood.staircase(torch.zeros(3), torch.zeros(2))


def test_celbo_6_the_staircase_is_the_bound_of_the_chain():
    """The sum of ``vlb`` over the steps from 2 on, exact means and variances β̃, of Gaussian data."""
    schedule, v = linear_beta(50), 0.3
    lam = schedule.logsnr(torch.arange(1, 51))
    error = v / (1 + v * lam.exp())
    bound = vlb.gaussian_vlb(schedule, 0.0, v)
    assert likelihood.staircase(lam, error).item() == pytest.approx(bound.steps.sum().item(), rel=1e-9)


def test_bad_input_is_named():
    schedule = VPCosine()
    denoiser = MIXTURE.denoiser(schedule)
    for times, text in (([0.5, 0.2], "increasing"), ([0.0, 0.5], "noise at its first"), ([0.1, 1.0], "signal at its")):
        with pytest.raises(ValueError, match=text):
            likelihood.log_prob(denoiser, X, times)
    with pytest.raises(ValueError, match="unknown trace 'all'; known: exact, rademacher, gaussian"):
        likelihood.log_prob(denoiser, X, [0.1, 0.5], "all")
    with pytest.raises(ValueError, match="at least one probe"):
        likelihood.log_prob(denoiser, X, [0.1, 0.5], "gaussian", 0)
    assert Denoiser(None, schedule).schedule is schedule


def test_celbo_4_a_weight_that_rises_at_the_last_time_only():
    atom, steps = likelihood.augmentation(torch.tensor([0.0, 0.0, 4.0]))
    assert atom == 0 and steps.tolist() == [0, 1]
    atom, steps = likelihood.augmentation(torch.tensor([1.0, 2.0, 4.0]))
    assert atom == 0.25 and steps.tolist() == [0.25, 0.5]
    for bad, words in (
        ([0.0, 0.0], "0, 1 are 0, 0"), ([1.0, 0.5], "0, 1 are 1, 0.5"), ([-1.0, 1.0], "0, 1 are -1, 1"),
        ([1.0, 2.0, 2.5, 0.5, 0.25], "2, 3 are 2.5, 0.5"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"must not decrease: entries {words}$"):
            likelihood.augmentation(torch.tensor(bad))


def test_celbo_6_the_error_of_a_gaussian_at_one_x(generator):
    """x̂_0 = k x_t with k = α v/(α² v + σ²): (1 − k α)² ‖x‖² + D k² σ² exactly by nodes; one draw unless said."""
    v, schedule, times = 0.5, VPLinear(), [0.2, 0.6]
    denoiser = GaussianMixture([1.0], [[0.0, 0.0]], [[v, v]]).denoiser(schedule)
    found = likelihood.mmse(denoiser, X, times, nodes=bounds.nodes(2))
    a, s = (f(torch.tensor(times, dtype=F64))[:, None] for f in (schedule.signal, schedule.noise))
    k = a * v / (a**2 * v + s**2)
    torch.testing.assert_close(found, (1 - k * a) ** 2 * X.square().sum(1) + 2 * k**2 * s**2)
    again = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    draws = again()
    one = likelihood.mmse(denoiser, X, times, generator=again())
    z = torch.stack([torch.randn(X.shape, generator=draws, dtype=F64) for _ in times])
    x_t = a[..., None] * X + s[..., None] * z
    torch.testing.assert_close(one, (X - k[..., None] * x_t).square().sum(-1))
    grid = time_grid(schedule, 400, 1.0, 1e-4, "logsnr")
    alone = likelihood.pointwise(denoiser, X[:1], grid, nodes=bounds.nodes(2))
    log_p = -0.5 * X[:1].square().sum(1) / v - math.log(2 * math.pi * v)
    torch.testing.assert_close(alone, log_p, rtol=0, atol=2e-3)  # trapezoids, and what lies beyond both ends


@pytest.mark.parametrize("even", [True, False])
def test_m_15_the_times_of_a_batch_are_spread_evenly(even):
    """t_i = start + (end − start)((u + i/B) mod 1) with one u, the generator's first number; without it B numbers."""
    world, seen = Spectrum([0.5, 2.0]), []
    likelihood.continuous_loss(
        world.denoiser(VPLinear()), torch.zeros(8, 2, dtype=F64), torch.Generator().manual_seed(5), 0.2, 0.9,
        lambda t: seen.append(t) or torch.ones_like(t), even,
    )  # fmt: skip
    u = torch.rand(1 if even else 8, generator=torch.Generator().manual_seed(5), dtype=F64)
    want = [(v + i / 8) % 1 for i, v in enumerate(8 * u.tolist())] if even else u.tolist()
    torch.testing.assert_close(seen[0], 0.2 + 0.7 * torch.tensor(want, dtype=F64), rtol=1e-14, atol=0)  # roundings
