"""Learned and optimal variances, short chains, which t: VAR-1, VAR-2, E-32, E-68, SCHED-4, M-05, M-06; closed forms."""

import math

import pytest
import torch
from torch import nn

from dlgm import losses, training, vlb
from dlgm.denoiser import Clipped, Denoiser, InCoordinates, Prediction, Respaced
from dlgm.nets import UNet
from dlgm.oracles import GaussianMixture, Spectrum
from dlgm.process import posterior_coefficients, tau
from dlgm.samplers import DDIM, DDPM, State
from dlgm.schedules import (
    VE,
    DiscreteSchedule,
    LearnedMonotone,
    VPLinear,
    cosine_beta,
    linear_beta,
    respaced,
    time_grid,
)  # fmt: skip

F64 = torch.float64
CHAIN = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])


def says(schedule, t, fraction, x=None):
    x = torch.zeros(3, 2, dtype=F64) if x is None else x
    return Prediction(schedule, x, t, x0=0 * x, fraction=fraction + 0 * x)


@pytest.mark.parametrize("schedule, s, t", [(CHAIN, 2, 3), (linear_beta(), 100, 140), (VPLinear(), 0.2, 0.5)])
def test_var_1_the_ends_are_those_of_the_pair_and_between_them_logarithms_are_interpolated(schedule, s, t):
    """VAR-1: 0 is noise_s² τ, 1 is noise_t² τ, for skipped steps too: not a value of the table at t."""
    low = posterior_coefficients(schedule, s, t)[2]
    high = schedule.noise(t) ** 2 * tau(schedule, s, t)
    for f in (0.0, 0.3, 1.0, 1.4):
        found = says(schedule, t, f).log_variance(s).exp()
        torch.testing.assert_close(found, torch.full_like(found, high**f * low ** (1 - f)), rtol=1e-12, atol=0)
    if s == t - 1:
        torch.testing.assert_close(says(schedule, t, 0.3).logvar, says(schedule, t, 0.3).log_variance(s))
        assert low == pytest.approx(schedule.posterior_variance[t].item())
        assert high == pytest.approx(schedule.beta[t].item())


def test_e_32_at_the_first_step_beta_stands_for_both_ends():
    for s, t in ((0, 1), (0, 3)):
        high = CHAIN.noise(t) ** 2 * tau(CHAIN, s, t)
        assert says(CHAIN, t, -5.0).log_variance(s).exp().max().item() == pytest.approx(high)
    mixed = says(CHAIN, torch.tensor([1, 2, 4]), 0.25)  # a t for each example
    for i, t in enumerate((1, 2, 4)):
        torch.testing.assert_close(mixed.logvar[i], says(CHAIN, t, 0.25).logvar[i])


def test_var_1_one_of_the_two_times_may_be_a_number():
    """s for all and a t for each example, or the reverse: each row is that of its pair."""
    t = torch.tensor([2, 3, 4])
    for s in (0, 1):
        rows = says(CHAIN, t, 0.25).log_variance(s)
        torch.testing.assert_close(rows, torch.stack([says(CHAIN, k, 0.25).log_variance(s)[0] for k in (2, 3, 4)]))
    rows = says(CHAIN, 4, 0.25).log_variance(t - 2)
    torch.testing.assert_close(rows, torch.stack([says(CHAIN, 4, 0.25).log_variance(k)[0] for k in (0, 1, 2)]))


class Head(nn.Module):
    """Exact x̂_0 of N(0, v) and a fraction for each t, as a network with twice as many outputs."""

    def __init__(self, v, fractions):
        super().__init__()
        self.v, self.fractions = v, nn.Parameter(torch.as_tensor(fractions, dtype=F64))
        self.scale = nn.Parameter(torch.ones((), dtype=F64))

    def forward(self, x, t):
        a = CHAIN.alpha_bar[t][:, None]
        x0 = self.scale * a.sqrt() * self.v / (a * self.v + 1 - a) * x
        return torch.cat([x0, (2 * self.fractions[t] - 1)[:, None].expand_as(x)], 1)


def exact_fractions(v):
    """Where the exact reverse variance lies between log β̃ and log β, t = 0..4; 0 where there is nothing to say."""
    out = [0.0, 0.0]
    for t in (2, 3, 4):
        low, high = CHAIN.posterior_variance[t].log().item(), CHAIN.beta[t].log().item()
        out.append((Spectrum([v]).reverse_variance(CHAIN, t - 1, t).log().item() - low) / (high - low))
    return out


@pytest.mark.parametrize("v", [0.25, 1.0, 4.0])
def test_num_1_with_the_exact_fraction_a_step_costs_nothing_but_what_x_t_does_not_say(v, generator):
    """E KL(q(x_{t−1} | x_t, x_0) ‖ p) is then the information of x_0 in x_{t−1} given x_t, ½ log(exact/β̃)."""
    model = Denoiser(Head(v, exact_fractions(v)), CHAIN, "x0", variance="learned")
    n = 40_000
    x0 = v**0.5 * torch.randn(n, 1, generator=generator, dtype=F64)
    for t in (2, 3, 4):
        eps = torch.randn(n, 1, generator=generator, dtype=F64)
        term = vlb.vlb_term(model, x0, t, eps, "predicted", "gaussian")
        exact = Spectrum([v]).reverse_variance(CHAIN, t - 1, t).item()
        want = 0.5 * math.log(exact / CHAIN.posterior_variance[t].item())
        assert abs(term.mean().item() - want) < 5 * term.std().item() / math.sqrt(n)
        for name in ("beta", "posterior"):  # no fixed variance is better on average
            fixed = vlb.vlb_term(model, x0, t, eps, name, "gaussian")
            gap = fixed - term
            assert gap.mean() > -5 * gap.std() / math.sqrt(n) - 1e-12  # they are equal for v = 1
    first = vlb.vlb_term(model, x0, 1, eps, "predicted", "gaussian")
    torch.testing.assert_close(first, vlb.vlb_term(model, x0, 1, eps, "beta", "gaussian"))


def test_m_05_the_best_table_is_that_of_the_data_and_beats_the_formulas(generator):
    """σ_t² = β̃_t + c_0² E (x_0 − x̂_0)², for Gaussian data the mean of the exact variances; 4·10⁵ draws of it."""
    world = Spectrum([0.2, 2.0])
    x0 = world.sample(200_000, generator)
    table = vlb.optimal_variances(world.denoiser(CHAIN), x0, generator)
    assert math.isnan(table[0])
    for t in range(2, 5):
        want = world.reverse_variance(CHAIN, t - 1, t).mean().item()
        assert table[t].item() == pytest.approx(want, rel=0.01)  # relative error of a variance: √(2/n), below 0.3 %
    assert table[1].item() == pytest.approx(world.x0_variance(CHAIN, 1), rel=0.02)
    eps = torch.randn(x0.shape, generator=generator, dtype=F64)
    for t in (2, 3, 4):
        mine, *others = (
            vlb.vlb_term(world.denoiser(CHAIN), x0, t, eps, v, "gaussian").mean().item()
            for v in (table, "beta", "posterior")
        )
        assert mine < min(others)


def test_a_mixed_batch_is_that_of_single_times(generator):
    model = Denoiser(Head(0.25, exact_fractions(0.25)), CHAIN, "x0", variance="learned")
    x0, eps = torch.randn(2, 4, 1, generator=generator, dtype=F64)
    t = torch.tensor([2, 1, 4, 3])
    mixed = vlb.vlb_term(model, x0, t, eps, "predicted", "gaussian")
    one = [vlb.vlb_term(model, x0[i : i + 1], int(t[i]), eps[i : i + 1], "predicted", "gaussian") for i in range(4)]
    torch.testing.assert_close(mixed, torch.cat(one))


def test_var_2_the_bound_trains_the_variance_and_leaves_the_mean_to_the_simple_loss(generator):
    """VAR-2: the mean head has the gradient of L_simple, the variance head weight · T times that of the bound."""
    model = Denoiser(Head(0.5, [0.0, 0.1, 0.4, 0.6, 0.2]), CHAIN, "x0", variance="learned")
    x0, eps = torch.randn(2, 6, 1, generator=generator, dtype=F64)
    t = torch.tensor([1, 2, 3, 4, 2, 3])
    hybrid = losses.hybrid_loss(model, x0, t, eps, weight=0.01, decoder="gaussian")
    simple = losses.simple_loss(model, x0, t, eps)
    bound = vlb.vlb_term(model, x0, t, eps, "predicted", "gaussian")
    torch.testing.assert_close(hybrid, simple + 0.01 * 4 * bound)
    both = model.net.scale, model.net.fractions
    mean, variance = torch.autograd.grad(hybrid.sum(), both)
    torch.testing.assert_close(mean, torch.autograd.grad(simple.sum(), both[0], retain_graph=True)[0])
    torch.testing.assert_close(variance, 0.04 * torch.autograd.grad(bound.sum(), both[1])[0])
    assert variance[2:].abs().min() > 0


def one_step(sampler, denoiser, x, t, s, z):
    """x_s for given noise z."""

    class Given:
        def like(self, x):
            return z

    with torch.no_grad():
        return sampler.step(denoiser, State(t, x, denoiser(x, t)), s, Given())


def test_a_sampler_with_predicted_variance_takes_that_of_the_pair():
    model = Denoiser(Head(0.25, [0.3] * 5), CHAIN, "x0", variance="learned")
    x, z = torch.tensor([[0.7], [-1.2]], dtype=F64), torch.tensor([[1.0], [2.0]], dtype=F64)
    for t, s in ((4, 3), (4, 1), (3, 1)):
        low, high = posterior_coefficients(CHAIN, s, t)[2], CHAIN.noise(t) ** 2 * tau(CHAIN, s, t)
        std = math.sqrt(high**0.3 * low**0.7)
        found = one_step(DDPM("predicted"), model, x, t, s, z) - one_step(DDPM("predicted"), model, x, t, s, 0 * z)
        torch.testing.assert_close(found, std * z)
        wrapped = one_step(DDPM("predicted"), Clipped(model, -9, 9), x, t, s, z)
        torch.testing.assert_close(wrapped, one_step(DDPM("predicted"), model, x, t, s, z))
    torch.testing.assert_close(*(one_step(DDPM("predicted"), model, x, 2, 0, k * z) for k in (0, 1)))  # no noise at 0
    assert InCoordinates(model, "ve")(x, 3).fraction is None


@pytest.mark.parametrize("v", [0.04, 1.0, 9.0])
def test_post_6_with_the_optimal_variance_every_walk_on_gaussian_data_is_exact(v):
    """Mean and variance of each reverse step are then those of the data, at any grid, but for the start and the end."""
    world = Spectrum([v, v], 0.3)
    start = world.marginal(CHAIN, 4)
    for times in ([4, 1], [4, 3, 2, 1], [4, 2, 1]):
        law = world.walk(DDPM("optimal"), CHAIN, times, start)
        torch.testing.assert_close(law.mean, world.marginal(CHAIN, 1).mean)
        torch.testing.assert_close(law.var, world.marginal(CHAIN, 1).var)
    exact = world.reverse_variance(CHAIN, 2, 3)[0].item()
    c_0, _, low = posterior_coefficients(CHAIN, 2, 3)
    assert low + c_0**2 * world.x0_variance(CHAIN, 3) == pytest.approx(exact, rel=1e-12)


def test_a_network_with_two_heads_trains_and_comes_back_from_its_file(tmp_path):
    torch.manual_seed(0)
    net = UNet(1, (8,), heads=2, out_channels=2)
    model = Denoiser(net, cosine_beta(20), "eps", variance="learned")
    x = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(1)).mul(255).round() / 127.5 - 1

    def loss(model, x0, generator, step):
        t = losses.sample_t(model.schedule, len(x0), generator)
        eps = torch.randn(x0.shape, generator=generator)
        return losses.hybrid_loss(model, x0, t, eps).mean() / 64

    history = training.fit(model, loss, x, steps=30, batch_size=16, lr=3e-3, progress=False)
    assert sum(history.loss[-5:]) < sum(history.loss[:5])
    training.save(model, tmp_path / "m.safetensors")
    back, _ = training.load(tmp_path / "m.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(back(x[:2], 7).logvar, model(x[:2], 7).logvar)
    assert back(x[:2], 7).fraction.shape == (2, 1, 8, 8)


@pytest.mark.parametrize("schedule, times", [(CHAIN, [4, 3, 1, 0]), (VPLinear(), [1.0, 0.6, 0.2, 0.0])])
def test_e_68_var_1_the_short_chain_is_a_chain_with_merged_steps(schedule, times, generator):
    """E-68: its β is the variance of the jump; predicted variance and samplers are those of the pair of times."""
    short = respaced(schedule, times)
    for k in range(1, 4):
        t, s = times[3 - k], times[4 - k]
        assert short.beta[k].item() == pytest.approx(schedule.noise(t) ** 2 * tau(schedule, s, t), rel=1e-12)
        assert short.signal(k) == pytest.approx(schedule.signal(t), rel=1e-12)

    class Told:
        schedule = CHAIN

        def __call__(self, x, t):
            told.append(t)
            return Prediction(schedule, x, t, x0=0.5 * x, fraction=0.3 + 0 * x)

    told, x = [], torch.randn(3, 2, generator=generator, dtype=F64)
    long = Told()
    long.schedule = schedule
    model = Respaced(long, times)
    found = model(x, 2)
    assert told[-1] == times[1] and type(told.pop()) is type(times[1])  # a number for a number
    torch.testing.assert_close(found.logvar, long(x, times[1]).log_variance(times[2]))
    mixed = model(x, torch.tensor([3, 1, 2])).logvar
    torch.testing.assert_close(mixed[1], model(x, 1).logvar[1])
    z = torch.randn(3, 2, generator=generator, dtype=F64)
    for sampler in (DDPM(), DDPM("predicted"), DDPM("beta"), DDIM(0.4)):
        torch.testing.assert_close(
            one_step(sampler, model, x, 3, 2, z), one_step(sampler, long, x, times[0], times[1], z)
        )


def test_e_68_a_bound_on_the_short_chain_is_that_of_its_steps():
    """The excess of the short chain's bound over the entropy is what Spectrum says of its pairs of times."""
    world, times = Spectrum([0.3], 0.4), [4, 2, 1, 0]
    short = Respaced(world.denoiser(CHAIN), times)
    bound = vlb.gaussian_vlb(short.schedule, 0.4, 0.3, "beta")
    end = world.marginal(CHAIN, 4)
    top = 0.5 * (end.var - 1 - end.var.log() + end.mean**2).item()
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.3)
    excess = world.step_kl(CHAIN, times, "beta").sum().item()
    assert bound.total.item() == pytest.approx(entropy + top + excess, rel=1e-12)


def test_bad_times_of_a_short_chain_are_named():
    for times, schedule in (([4, 2], CHAIN), ([2, 3, 0], CHAIN), ([0], CHAIN), ([1.0, 0.0], VE(0.1, 9.0))):
        with pytest.raises(ValueError, match="decrease to 0|variance-preserving"):
            respaced(schedule, times)


def test_var_2_the_hybrid_loss_takes_any_target(generator):
    model = Denoiser(Head(0.5, [0.0, 0.1, 0.4, 0.6, 0.2]), CHAIN, "x0", variance="learned")
    x0, eps = torch.randn(2, 4, 1, generator=generator, dtype=F64)
    t = torch.tensor([1, 2, 3, 4])
    by = {k: losses.hybrid_loss(model, x0, t, eps, 0.01, k, decoder="gaussian") for k in ("eps", "v")}
    want = losses.prediction_loss(model, x0, t, eps, "v") - losses.simple_loss(model, x0, t, eps)
    torch.testing.assert_close(by["v"] - by["eps"], want)


# ---- which t -------------------------------------------------------------------------------------------------------
def test_m_05_times_follow_the_losses_once_each_was_seen_often_enough():
    times = losses.ImportanceTimes(3, keep=2, floor=0.1)
    times.update(torch.tensor([1, 2, 3, 1, 2]), torch.tensor([1.0, 2.0, 2.0, 3.0, 4.0]))
    torch.testing.assert_close(times.probabilities, torch.full((3,), 1 / 3, dtype=F64))  # t = 3 once only
    times.update(torch.tensor([3, 1]), torch.tensor([2.0, 1.0]))  # t = 1: 3 and 1 are the last two
    roots = torch.tensor([(9 + 1) / 2, (4 + 16) / 2, 4.0], dtype=F64).sqrt()
    torch.testing.assert_close(times.probabilities, 0.9 * roots / roots.sum() + 0.1 / 3)
    usual = losses.ImportanceTimes(2)  # 10 losses at each t, a share 1/1000 stays uniform
    for _ in range(10):
        torch.testing.assert_close(usual.probabilities, torch.full((2,), 0.5, dtype=F64))
        usual.update(torch.tensor([1, 2]), torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(usual.probabilities, 0.999 * torch.tensor([0.25, 0.75], dtype=F64) + 0.0005)
    for bad in (dict(T=0), dict(T=3, keep=0), dict(T=3, floor=2.0), dict(T=3, floor=-0.1)):
        with pytest.raises(ValueError, match="must"):
            losses.ImportanceTimes(**bad)


def test_loss_6_the_estimate_keeps_its_mean_and_its_variance_falls_to_the_known_least(generator):
    """LOSS-6: Var = Σ E L_t²/(T² p_t) − mean², least at p ∝ √E L_t²; against 10⁵ draws."""
    second = torch.tensor([0.2, 4.0, 30.0, 1.0], dtype=F64)
    level = (second / 2).sqrt()  # L_t = level_t |z|·√2: E L_t² = second, E L_t = 2 level/√π
    p = second.sqrt() / second.sqrt().sum()
    mean, least = (2 * level / math.pi**0.5).mean().item(), (second.sqrt().mean() ** 2).item()
    for probabilities, want in ((None, second.mean().item() - mean**2), (p, least - mean**2)):
        t = losses.sample_t(CHAIN, 100_000, generator, probabilities)
        z = torch.randn(100_000, generator=generator, dtype=F64).abs()
        found = losses.time_weights(probabilities, t) * level[t - 1] * 2**0.5 * z
        assert abs(found.mean().item() - mean) < 5 * math.sqrt(want / 100_000)
        assert found.var().item() == pytest.approx(want, rel=0.06)  # fourth moments: 5 standard errors


def test_loss_6_moments_of_values_and_gradients_are_those_of_the_closed_form(generator):
    """x̂_0 = θ x_t for data N(0, 1): ‖x_0 − x̂_0‖² = e² with e normal, so E L² = 3 E[e²]² and E (dL/dθ)² is known."""

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.tensor(0.3, dtype=F64))

        def forward(self, x, t):
            return self.theta * x

    model = Denoiser(Line(), CHAIN, "x0")
    x0 = torch.randn(20_000, 1, generator=generator, dtype=F64)
    values, gradients = losses.moments_by_time(
        model, lambda p, x0, eps: (x0 - p.x0).square()[:, 0], x0, [1, 2, 4, 5], 1000, generator
    )
    for k, times in enumerate(([1], [2, 3], [4])):
        want_value, want_gradient = [], []
        for t in times:  # x_t ~ N(0, 1), Cov(x_0, x_t) = signal; L' = −2 e x_t
            e2, cross = 1 - 2 * 0.3 * CHAIN.signal(t) + 0.3**2, CHAIN.signal(t) - 0.3
            want_value.append(3 * e2**2)
            want_gradient.append(4 * (e2 + 2 * cross**2))
        # fourth and eighth moments of normal numbers: standard errors of 9 % and 10 %
        assert values[k].item() == pytest.approx(sum(want_value) / len(times), rel=0.3)
        assert gradients[k].item() == pytest.approx(sum(want_gradient) / len(times), rel=0.3)


def test_sched_4_m_06_a_learned_schedule_arrives_at_importance_sampling_and_keeps_the_bound(generator):
    """SCHED-4: for Gaussian data E‖ε − ε̂‖⁴ = (Σ e)² + 2 Σ e² is known at each λ; w_k ∝ √ of its mean in piece k."""
    world = Spectrum([0.01, 0.3, 2.0])
    schedule = LearnedMonotone(6, 8.0, -6.0)

    def error(lam):  # E (ε − ε̂)² of each coordinate
        snr = lam.exp()[:, None]
        return snr * world.variances / (snr * world.variances + 1)

    t = (torch.arange(6000, dtype=F64) + 0.5) / 6000  # every λ, so that no draw is needed
    optimiser = torch.optim.Adam(schedule.parameters(), lr=0.05)
    bound = []
    for step in range(401):
        lam = schedule.logsnr(t).detach()
        e = error(lam)
        second = e.sum(1) ** 2 + 2 * e.square().sum(1)
        if step % 200 == 0:  # ½ ∫ E‖ε − ε̂‖² dλ
            bound.append((e.sum(1) / 2 * schedule.slope(lam).detach()).mean().item())
        optimiser.zero_grad()
        schedule.variance_loss(t, second.sqrt()).mean().backward()
        optimiser.step()
    lam = torch.linspace(8.0, -6.0, 6 * 2000 + 1, dtype=F64)
    e = error((lam[1:] + lam[:-1]) / 2)
    want = (e.sum(1) ** 2 + 2 * e.square().sum(1)).reshape(6, -1).mean(1).sqrt()
    torch.testing.assert_close(schedule.shares.detach(), want / want.sum(), rtol=2e-3, atol=5e-4)  # Adam, 400 steps
    assert max(bound) - min(bound) < 1e-3 * bound[0]  # a sum over 6000 points


def test_sched_4_a_learned_schedule_is_a_schedule():
    schedule = LearnedMonotone(4, 9.0, -7.0)
    with torch.no_grad():
        schedule.logits += torch.tensor([0.3, -1.0, 0.5, 2.0])
    t = torch.linspace(0, 1, 101, dtype=F64)
    lam = schedule.logsnr(t).detach()
    assert lam[0] == 9 and lam[-1].item() == pytest.approx(-7) and (lam.diff() < 0).all()
    torch.testing.assert_close(schedule.signal(t) ** 2 + schedule.noise(t) ** 2, torch.ones(101, dtype=F64))
    torch.testing.assert_close(2 * (schedule.signal(t) / schedule.noise(t)).log().detach(), lam)
    assert schedule.logsnr(0.37) == pytest.approx(lam[37].item()) and isinstance(schedule.signal(0.37), float)
    middle = torch.tensor([0.2, 0.5, 0.9], dtype=F64)
    slope = (schedule.logsnr(middle - 1e-6) - schedule.logsnr(middle + 1e-6)) / 2e-6
    torch.testing.assert_close(schedule.slope(schedule.logsnr(middle)), slope, rtol=1e-6, atol=0)
    assert schedule.shares.sum().item() == pytest.approx(1) and len(time_grid(schedule, 5)) == 6
    with pytest.raises(ValueError, match="logsnr_min < logsnr_max"):
        LearnedMonotone(4, -1.0, 1.0)
    with pytest.raises(ValueError, match="pieces must be"):
        LearnedMonotone(0)


def test_what_is_missing_is_named():
    plain = Denoiser(lambda x, t: 0 * x, CHAIN)
    x = torch.zeros(2, 1)
    with pytest.raises(ValueError, match="predicts no variance"):
        plain(x, 2).log_variance(1)
    with pytest.raises(ValueError, match=r"twice as many channels, got a network output of \(2, 1\)"):
        Denoiser(lambda x, t: 0 * x, CHAIN, variance="learned")(x, 2)
    with pytest.raises(ValueError, match="unknown variance 'free'; known: fixed, learned"):
        Denoiser(lambda x, t: x, CHAIN, variance="free")
    with pytest.raises(ValueError, match="x0_variance"):
        one_step(DDPM("optimal"), plain, x, 3, 2, x)
    world = GaussianMixture([1.0], [[0.0]], [1.0]).denoiser(CHAIN)
    with pytest.raises(ValueError, match="x0_variance"):
        one_step(DDPM("optimal"), world, x, 3, 2, x)
    assert world(x, 2).fraction is None
