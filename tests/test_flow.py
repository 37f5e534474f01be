"""Flow matching against exact worlds. Ledger TAKE-4, M-32."""

import itertools
import math

import pytest
import torch

from dlgm import flow
from dlgm.denoiser import Denoiser, InCoordinates, Prediction
from dlgm.losses import error_scale
from dlgm.oracles import GaussianMixture, Spectrum, ring
from dlgm.process import q_sample
from dlgm.samplers import DDIM, DDPM, DPMSolverPP, Euler, EulerMaruyama, Heun, sample, sample_path
from dlgm.schedules import Linear, Rescaled, Shifted, VPCosine, VPLinear, linear_beta, time_grid

F64 = torch.float64
LINE = Linear()


def draws(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_the_velocity_is_the_average_of_the_lines_through_a_point():
    """TAKE-4: u(x, t) = E[ε − x_0 | x_t = x], here by quadrature over x_0 of a mixture."""
    law = GaussianMixture([0.3, 0.7], [-1.0, 0.8], [0.3, 0.2])
    grid = torch.linspace(-6, 6, 20001, dtype=F64)
    for t, x in itertools.product((0.1, 0.5, 0.9), (-0.7, 0.0, 1.1)):
        eps = (x - (1 - t) * grid) / t
        weight = (law.log_prob(grid) - eps**2 / 2).exp()
        mean = ((eps - grid) * weight).sum() / weight.sum()
        p = law.denoiser(LINE)(torch.tensor([x], dtype=F64), t)
        assert flow.velocity(p).item() == pytest.approx(mean.item(), rel=1e-9, abs=1e-9)
        torch.testing.assert_close(flow.velocity(p), p.eps - p.x0, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("schedule", [VPLinear(), VPCosine(), LINE, Rescaled(LINE, "vp")], ids=repr)
def test_the_velocity_is_the_probability_flow(schedule):
    """SDE-4: u = f x − ½ g² score, the same in every head."""
    x, t = draws(5, 2), 0.4
    p = ring().denoiser(schedule)(x, t)
    f, g2 = schedule.sde(t)
    torch.testing.assert_close(p.velocity, f * x - g2 / 2 * p.score, rtol=1e-10, atol=1e-10)
    for kind in ("x0", "eps", "v", "score"):
        again = Prediction(schedule, x, t, **{kind: getattr(p, kind)})
        torch.testing.assert_close(flow.velocity(again), p.velocity, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(getattr(Prediction(schedule, x, t, velocity=p.velocity), kind), getattr(p, kind))


def test_on_the_cosine_the_velocity_is_v():
    p = ring().denoiser(VPCosine())(draws(5, 2), 0.3)
    torch.testing.assert_close(p.velocity, math.pi / 2 * p.v)


@pytest.mark.parametrize("world", [ring(), GaussianMixture([0.3, 0.7], [-1.0, 0.8], [0.3, 0.2])])
@pytest.mark.parametrize("schedule", [LINE, Shifted(LINE, 1.0)], ids=repr)
def test_m_32_a_step_of_euler_on_the_line_is_a_step_of_ddim(world, schedule):
    x, times = draws(6, *world.sample(1).shape[1:]), [1.0, 0.8, 0.35, 0.1, 0.0]
    for a, b in zip(
        *(sample_path(world.denoiser(schedule), sampler, x, times) for sampler in (Euler(), DDIM())), strict=True
    ):
        torch.testing.assert_close(a.x, b.x, rtol=1e-10, atol=1e-10)


def test_euler_on_a_shifted_line_is_not_ddim_but_of_the_same_order():
    """In a shifted time the line is walked at a changing speed, which Euler takes for constant and DDIM does not."""
    schedule, world = Shifted(LINE, 3.0), Spectrum([0.25])
    exact = {}
    for N in (200, 400):
        times = time_grid(schedule, N)
        exact[N] = [abs(world.walk(s, schedule, times).var.item() - 0.25) for s in (Euler(), DDIM())]
        shifted = [schedule.time(t) for t in times.tolist()]
        torch.testing.assert_close(
            world.walk(DDIM(), schedule, times).var, world.walk(DDIM(), LINE, shifted).var, rtol=1e-10, atol=0
        )
    assert abs(exact[200][0] - exact[200][1]) > 1e-6
    for a, b in zip(exact[200], exact[400], strict=True):
        assert a / b == pytest.approx(2, rel=0.05)


def test_take_4_the_same_product_of_cosines_whatever_the_schedule():
    """N = 10 even times on the line: .879, .862, .787 for v = 1, .25, .05; equal angles .883."""
    times = time_grid(LINE, 10)
    for v, want in ((1.0, 0.879), (0.25, 0.862), (0.05, 0.7875)):
        product = flow.cosines(LINE, times, v)
        assert product == pytest.approx(want, abs=5e-4)
        drawn = Spectrum([v], 0.4).walk(Euler(), LINE, times).var.item() ** 0.5
        assert drawn / v**0.5 == pytest.approx(product, rel=1e-10)
    assert flow.cosines(VPCosine(), time_grid(VPCosine(), 10), 1.0) == pytest.approx(math.cos(math.pi / 20) ** 10)
    assert math.cos(math.pi / 20) ** 10 == pytest.approx(0.883, abs=5e-4)
    with pytest.raises(ValueError, match="variance > 0"):
        flow.cosines(LINE, times, 0.0)


def test_a_network_of_any_schedule_draws_on_the_line_what_it_draws_by_ddim():
    """No training is needed: only the coordinates and the clock change. Euler in the line's own time, by hand."""
    schedule, x = linear_beta(), draws(6, 2)
    old = ring().denoiser(schedule)
    new, times = InCoordinates(old, "line"), [1000, 800, 500, 200, 50, 0]
    y = x * float(new.schedule.scale(1000))
    for t, s in itertools.pairwise(times):
        p = new(y, t)
        y = y + (new.schedule.noise(s) - new.schedule.noise(t)) * (p.eps - p.x0)
    torch.testing.assert_close(y, sample(old, DDIM(), x, times), rtol=1e-9, atol=1e-9)


def test_one_step_from_noise_is_the_mean_on_every_schedule():
    """Straight lines between pairs are no straight paths: one step of any schedule gives E[x_0]."""
    world = Spectrum([0.25, 2.0], torch.tensor([0.4, -1.0]))
    for schedule in (LINE, VPCosine(), Shifted(LINE, 3.0)):
        law = world.walk(DDIM(), schedule, [1.0, 0.0])
        assert law.var.max() < 1e-20
        torch.testing.assert_close(law.mean[0], world.mean)


@pytest.mark.parametrize(
    "sampler",
    [DDIM(), DDPM(), DDIM("hat"), Heun(), DPMSolverPP(2), DPMSolverPP(3), Euler(), EulerMaruyama(1.0)],
    ids=repr,
)
def test_every_sampler_of_the_course_walks_on_the_line(sampler):
    world, times = Spectrum([0.25, 2.0], 0.4), time_grid(LINE, 400, start=0.999)
    start = world.marginal(LINE, 0.999)
    law = world.walk(sampler, LINE, times, start)
    torch.testing.assert_close(law.var[0], world.variances, rtol=0.02, atol=0)  # of first order: 400 steps
    torch.testing.assert_close(law.mean[0], world.mean, rtol=0.01, atol=0)


def test_what_is_left_of_the_loss_is_known():
    """E Var(ε − x_0 | x_t) = (1/t)² Var(x_0 | x_t), and a network that errs by d has d² more."""
    world, g, t = Spectrum([0.25, 2.0], 0.4), torch.Generator().manual_seed(1), 0.4
    x0, eps = world.sample(200_000, g), draws(200_000, 2, seed=2)
    left = 2 * world.x0_variance(LINE, t) * error_scale(LINE, t, "velocity") ** 2
    assert error_scale(LINE, t, "velocity") == pytest.approx(1 / t)
    exact = flow.loss(world.denoiser(LINE), x0, t, eps)
    assert exact.mean().item() == pytest.approx(left, rel=0.01)  # 200,000 draws: .3%

    def wrong(x, t):
        return Prediction(LINE, x, t, velocity=world.denoiser(LINE)(x, t).velocity + 0.5)

    wrong.schedule = LINE
    assert flow.loss(wrong, x0, t, eps).mean().item() - exact.mean().item() == pytest.approx(0.5, abs=0.03)
    t = flow.sample_times(200_000, g)
    (p,) = [world.denoiser(LINE)(q_sample(LINE, x0, t, eps), t)]
    torch.testing.assert_close(
        flow.loss(world.denoiser(LINE), x0, t, eps), (eps - x0 - p.velocity).square().sum(1), rtol=1e-9, atol=1e-9
    )


def test_times_are_uniform_or_prefer_the_middle():
    g = torch.Generator().manual_seed(0)
    even, middle = flow.sample_times(100_000, g), flow.sample_times(100_000, g, spread=1.0)
    assert even.mean().item() == pytest.approx(0.5, abs=0.005) and even.var().item() == pytest.approx(1 / 12, abs=0.002)
    logit = (middle / (1 - middle)).log()
    assert logit.mean().item() == pytest.approx(0, abs=0.02) and logit.std().item() == pytest.approx(1, abs=0.02)
    assert (middle < 0.02).double().mean() < 1e-4 < (even < 0.02).double().mean()
    for spread in (0.0, -1.0):
        with pytest.raises(ValueError, match="spread > 0"):
            flow.sample_times(3, spread=spread)


def test_couple_finds_the_cheapest_order_and_moves_the_noise_only():
    x0, eps = draws(6, 1, 2, 2), draws(6, 1, 2, 2, seed=1)
    found = flow.couple(x0, eps)
    costs = {p: (x0 - eps[list(p)]).square().sum().item() for p in itertools.permutations(range(6))}
    assert (x0 - found).square().sum().item() == pytest.approx(min(costs.values()), rel=1e-12)
    assert min(costs.values()) < costs[tuple(range(6))]  # the identity would be worse
    assert sorted(found.flatten().tolist()) == sorted(eps.flatten().tolist())
    line = flow.couple(torch.tensor([[0.0], [5.0], [3.0]]), torch.tensor([[1.0], [-1.0], [0.5]]))
    assert line.flatten().tolist() == [-1.0, 1.0, 0.5]


def test_couple_within_labels_leaves_the_noise_of_each_label_alone():
    """Without labels the noise of a class leans to its pictures, with them it stays N(0, 1)."""
    g = torch.Generator().manual_seed(3)
    y = torch.randint(2, (512,), generator=g)
    x0, eps = (2.0 * y - 1)[:, None].double() + 0.1 * draws(512, 1, seed=5), draws(512, 1, seed=6)
    blind, told = flow.couple(x0, eps), flow.couple(x0, eps, y)
    assert blind[y == 1].mean() > 0.7 and blind[y == 0].mean() < -0.7  # ±√(2/π) = ±.80 in the limit
    assert told[y == 1].mean().abs() < 0.2 and told[y == 1].flatten().sort().values.equal(
        eps[y == 1].flatten().sort().values
    )
    with pytest.raises(ValueError, match=r"one label for each of 512 examples, got shape \(3,\)"):
        flow.couple(x0, eps, y[:3])
    with pytest.raises(ValueError):
        flow.couple(x0, eps[:3])


def test_m_32_reflow_of_a_gaussian_is_exact_in_one_step():
    world, eps = Spectrum([0.25, 2.0, 0.0], 0.4), draws(2000, 3)
    pairs = flow.reflow(world.denoiser(LINE), eps, time_grid(LINE, 2000))
    torch.testing.assert_close(pairs, world.flow_map(LINE, eps, 1.0, 0.0), rtol=0.01, atol=0.01)  # 2,000 steps
    straight = world.reflowed(LINE)
    exact = world.flow_map(LINE, eps, 1.0, 0.0)
    for times in ([1.0, 0.0], [1.0, 0.6, 0.1, 0.0]):
        torch.testing.assert_close(sample(straight, Euler(), eps, times), exact, rtol=1e-10, atol=1e-10)
    for t in (0.2, 0.7, 1.0):
        assert flow.loss(straight, exact, t, eps).max() < 1e-20  # nothing is left where lines do not cross
    assert flow.loss(straight, world.sample(2000), 0.5, eps).mean() > 0.5  # on other pairs it is wrong


def test_the_flow_map_follows_the_flow_and_joins():
    world, x = Spectrum([0.25, 2.0], torch.tensor([0.4, -1.0])), draws(50, 2)
    for schedule in (LINE, VPLinear()):
        walked = sample(world.denoiser(schedule), Heun(), x, torch.linspace(0.9, 0.2, 400, dtype=F64))
        torch.testing.assert_close(world.flow_map(schedule, x, 0.9, 0.2), walked, rtol=1e-4, atol=1e-4)
        half = world.flow_map(schedule, world.flow_map(schedule, x, 0.9, 0.5), 0.5, 0.2)
        torch.testing.assert_close(half, world.flow_map(schedule, x, 0.9, 0.2), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="no variance at t=0.0"):
        Spectrum([0.0]).flow_map(LINE, x[:, :1], 0.0, 0.5)


def test_a_network_of_velocities_is_a_denoiser():
    class Net(torch.nn.Module):
        def forward(self, x, t):
            return 0.5 * x

    x = draws(4, 3)
    p = Denoiser(Net(), LINE, "velocity")(x, 0.3)
    torch.testing.assert_close(p.x0, x - 0.3 * 0.5 * x)
    torch.testing.assert_close(p.eps, x + 0.7 * 0.5 * x)
    assert Denoiser(Net(), linear_beta(), "velocity")(x, 5).x0.isfinite().all()
    one = sample(Denoiser(Net(), LINE, "velocity"), Euler(), x, [1.0, 0.0])
    torch.testing.assert_close(one, 0.5 * x)
