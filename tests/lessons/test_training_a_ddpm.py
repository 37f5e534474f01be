"""Figures of lesson 09, and the facts about training, sampling and the network that its formula sheet cites."""

import math

import pytest
import torch
from helpers import lines
from torch import nn

from dlgm import losses, nets, samplers
from dlgm.course import training_a_ddpm as given
from dlgm.denoiser import Clipped, Denoiser, Prediction
from dlgm.nets import inspect
from dlgm.oracles import EmpiricalData, GaussianMixture
from dlgm.parameterization import mean_from_eps
from dlgm.plots import training_a_ddpm
from dlgm.process import q_posterior, q_sample
from dlgm.samplers import DDIM, DDPM, sample, sample_path
from dlgm.schedules import DiscreteSchedule, cosine_beta, linear_beta, time_grid
from dlgm.training import EMA

F64 = torch.float64
CHAIN = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ---- figures --------------------------------------------------------------------------------------------------------
def test_a_sheet_holds_each_image_in_its_place():
    images = {
        "a": noise(6, 1, 3, 4).clamp(-1, 1),
        "b": noise(6, 1, 3, 4, seed=1).clamp(-1, 1),
        "c": torch.ones(6, 1, 3, 4),
    }
    fig = training_a_ddpm.sheets(images, columns=3, across=2)
    assert len(fig.axes) == 4  # two by two, the last one empty
    for ax, (title, x) in zip(fig.axes, images.items(), strict=False):
        assert ax.get_title(loc="center") == title
        drawn = torch.tensor(ax.images[0].get_array().tolist())
        torch.testing.assert_close(drawn[4:7, 5:9], (x[4, 0] + 1) / 2)  # row 1, column 1, one white line between
        torch.testing.assert_close(drawn[0:3, 10:14], (x[2, 0] + 1) / 2)
    assert not fig.axes[3].images


def test_arch_1_2_7_the_table_counts_what_a_unet_does():
    """ARCH-1, ARCH-2, ARCH-7: shapes by definition, odd sizes too; multiply-adds are pixels · k² · c_in · c_out."""
    net = nets.UNet(2, (8, 16), heads=2)
    table = {row["part"]: row for row in inspect.layer_table(net, torch.zeros(1, 2, 7, 9))}
    assert list(table) == ["stem", "down 0", "shrink 1", "down 1", "middle", "up 1", "grow 1", "up 0", "head"]
    shapes = {"stem": (8, 7, 9), "shrink 1": (16, 4, 5), "up 1": (16, 4, 5), "grow 1": (8, 7, 9), "head": (2, 7, 9)}
    for part, shape in shapes.items():
        assert table[part]["out"] == shape
    assert table["stem"]["macs"] == 63 * 9 * 2 * 8 and table["shrink 1"]["macs"] == 20 * 9 * 8 * 16
    assert table["head"]["macs"] == 63 * 9 * 8 * 2 and table["head"]["parameters"] == 16 + 9 * 8 * 2 + 2
    assert table["grow 1"]["macs"] == 20 * 9 * 16 * 8 and table["grow 1"]["level"] == 1  # before it grows
    block = 63 * (9 * 16 * 8 + 9 * 8 * 8 + 16 * 8) + 32 * 16  # two convolutions, the shortcut, the time's layer
    assert table["up 0"]["macs"] == block
    embedding = sum(p.numel() for p in net.embed.parameters())
    assert sum(row["parameters"] for row in table.values()) + embedding == sum(p.numel() for p in net.parameters())
    assert not net.stem._forward_hooks  # the hooks are gone


def test_the_map_names_every_part_with_its_size_and_draws_the_skips():
    table = inspect.layer_table(nets.UNet(1, (8, 8, 8), heads=2), torch.zeros(1, 1, 8, 8))
    fig = training_a_ddpm.unet_map(table)
    texts = [text.get_text() for text in fig.axes[0].texts]
    for row in table:
        part = row["part"].replace("shrink", "↓").replace("grow", "↑")
        assert f"{part}\n{row['out'][0]}×{row['out'][1]}²\n{row['macs'] / 1e6:.2f} M" in texts
    assert sum(t.startswith("↓") for t in texts) == sum(t.startswith("↑") for t in texts) == 2
    boxes = [p for p in fig.axes[0].patches if type(p).__name__ == "Rectangle"]
    dashed = [p for p in fig.axes[0].patches if type(p).__name__ == "FancyArrowPatch" and p.get_linestyle() == "--"]
    assert len(boxes) == len(table) and len(dashed) == 3


def test_similarity_is_the_cosine_of_two_rows():
    """And features of near times are alike, those of far ones are not (ARCH-4, ARCH-5)."""
    times, f = torch.arange(5.0), noise(5, 6)
    fig = training_a_ddpm.time_similarity({"some": f, "same": torch.ones(5, 2)}, times, cut=2)
    want = nn.functional.cosine_similarity(f[:, None], f[None], dim=2)
    drawn = torch.tensor(fig.axes[0].images[0].get_array().tolist())
    torch.testing.assert_close(drawn, want, rtol=0, atol=1e-6)
    found = lines(fig.axes[2])
    torch.testing.assert_close(torch.tensor(found["some"][1]), want[2], rtol=0, atol=1e-6)
    assert abs(found["same"][1] - 1).max() < 1e-6
    t = torch.arange(1001.0)
    torch.manual_seed(0)
    for f in (nets.sinusoidal(t, 64), nets.Fourier(64)(t / 1000)):
        curve = lines(training_a_ddpm.time_similarity({"f": f}, t, cut=500).axes[1])["f"][1]
        assert curve[[499, 501]].min() > 0.9 and curve[[100, 900]].max() < 0.5


def test_the_report_draws_every_loss_and_its_running_mean():
    loss, t = [4.0, 2.0, 1.0, 0.5, 0.5], torch.tensor([1, 500])
    mean, error = torch.tensor([0.5, 0.1]), torch.tensor([0.1, 0.01])
    fig = training_a_ddpm.training_report(loss, {"net": (t, mean, error)}, floor=0.3, window=2)
    left, right = (lines(ax) for ax in fig.axes)
    assert left["each step"][1].tolist() == loss
    assert left["mean of 2 steps"][0].tolist() == [2, 3, 4, 5]
    assert left["mean of 2 steps"][1].tolist() == [3.0, 1.5, 0.75, 0.5]
    assert set(left["floor"][1]) == {0.3}
    assert right["net"][1].tolist() == mean.tolist()
    band = fig.axes[1].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(0.08) and band.max() == pytest.approx(0.7)


def test_the_panel_shows_the_nearest_time_and_the_error_in_grey_levels():
    points = 2 * torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)) - 1
    schedule, eps = linear_beta(100), noise(1, 4, 4, seed=2)
    denoiser = EmpiricalData(points).denoiser(schedule)
    answers = samplers.one_step_answers(denoiser, points[0], eps, [1, 40, 100])
    x_t = q_sample(schedule, points[:1], 40, eps[None])
    p = denoiser(x_t, 40)
    torch.testing.assert_close(answers.x_t[1], x_t[0])
    torch.testing.assert_close(answers.x0[1], p.x0[0])
    torch.testing.assert_close(answers.eps[1], p.eps[0])
    fig = training_a_ddpm.one_step_panel({"it": answers}, "it", 45)
    assert "t = 40" in fig.axes[0].get_title(loc="center")
    want = 127.5 * (p.x0 - points[:1]).square().mean().sqrt()
    assert fig.axes[3].get_lines()[0].get_ydata()[1] == pytest.approx(want.item())
    assert fig.axes[3].get_lines()[1].get_ydata() == pytest.approx(want.item())


def test_num_6_the_guess_comes_nearer_to_the_end_of_the_path():
    """NUM-6: the last guess is where the path ends, and on average the distance falls with t."""
    points = 2 * torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1)) - 1
    schedule, g = cosine_beta(50), torch.Generator().manual_seed(3)
    denoiser, errors = Clipped(EmpiricalData(points).denoiser(schedule)), []
    for seed in range(20):
        x_T = noise(1, 4, 4, seed=seed)
        a = samplers.path_answers(denoiser, DDPM(), x_T, time_grid(schedule, 50), g, every=7)
        assert a.times == sorted(a.times) and a.times[0] == 1 and a.error[0] < 1e-3  # float32, in grey levels
        errors.append(a.error)
    mean = torch.stack(errors).mean(0)
    assert (mean.diff() > -1e-3).all() and mean[-1] > 20


def test_the_loss_by_time_is_that_of_the_exact_denoiser():
    """For data that are all 0 the noise is known at every t; an answer of 0 has loss 1 within its standard error."""
    schedule, x0 = linear_beta(100), torch.zeros(400, 1, 3, 3)
    exact = EmpiricalData(torch.zeros(1, 1, 3, 3)).denoiser(schedule)
    t, mean, error = losses.loss_by_time(exact, x0, [1, 50, 100])
    assert t.tolist() == [1, 50, 100] and mean.max() < 1e-10 and error.max() < 1e-10
    _, mean, error = losses.loss_by_time(Denoiser(lambda x, t: 0 * x, schedule), x0, [1, 50])
    assert (mean - 1).abs().max() < 5 * error.max()
    assert error[0].item() == pytest.approx(math.sqrt(2 / 9 / 400), rel=0.2)  # Var of a mean of 9 squares, 400 times


def test_alg_2_a_walk_with_the_right_step_is_the_sampler():
    """ALG-2, and one made wrong is another: E-46, doubled noise, a time shifted."""
    points = 2 * torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1)).double() - 1
    schedule = linear_beta(100)
    denoiser, x_T, times = (
        EmpiricalData(points).denoiser(schedule),
        noise(3, 1, 4, 4, dtype=F64),
        time_grid(schedule, 10),
    )

    def right(x, mean, eps, std, z):
        return mean + std * z

    for clip in (True, False):
        g = torch.Generator().manual_seed(4)
        want = sample(Clipped(denoiser) if clip else denoiser, DDPM(), x_T, times, g)
        got = samplers.walk(denoiser, right, x_T, times, seed=4, clip=clip)
        torch.testing.assert_close(got, want)
    first = times[:2]
    for step in (lambda x, m, e, s, z: x - e + s * z, lambda x, m, e, s, z: m + 2 * s * z):
        wrong = samplers.walk(denoiser, step, x_T, first, seed=4)
        assert (wrong - samplers.walk(denoiser, right, x_T, first, seed=4)).abs().max() > 0.1
    shifted = samplers.walk(denoiser, right, x_T, times[4:6], seed=4, told=lambda t, s: int(s))
    assert (shifted - samplers.walk(denoiser, right, x_T, times[4:6], seed=4)).abs().max() > 1e-3


# ---- facts of the formula sheet -------------------------------------------------------------------------------------
def test_m_25_a_warm_average_forgets_the_first_weights_and_a_cold_one_keeps_them():
    """M-25: after n updates the share of the first weights is Π d_k, with d_k = (1 + k)/(10 + k) below the decay."""
    model = nn.Linear(1, 1)
    nn.init.ones_(model.weight)
    ema, n = EMA(model, 0.999), 40
    nn.init.zeros_(model.weight)
    for _ in range(n):
        ema.update(model)
    share = math.prod((1 + k) / (10 + k) for k in range(1, n + 1))
    assert ema.model.weight.item() == pytest.approx(share, rel=1e-4)  # forty roundings of float32
    assert share < 1e-5 < 0.96 < 0.999**n


def test_alg_3_the_gradient_over_all_t_is_T_times_the_mean_gradient_of_one():
    """ALG-3: so one random t for each example estimates it without bias."""
    theta = torch.tensor(0.3, dtype=F64, requires_grad=True)
    guess = Denoiser(lambda x, t: theta * x * t[:, None], CHAIN)
    x0, eps = noise(2, 6, 3, dtype=F64)
    each = [losses.simple_loss(guess, x0, t, eps).mean() for t in range(1, 5)]
    single = [torch.autograd.grad(v, theta, retain_graph=True)[0] for v in each]
    together = torch.autograd.grad(sum(each), theta)[0]
    torch.testing.assert_close(together, 4 * torch.stack(single).mean())


def test_alg_4_the_heads_a_b_and_c_make_one_step():
    """ALG-2, ALG-4, ALG-6: by the mean, by x̂_0 and by a scaled part of ε̂, and no noise at t = 1."""
    x_t, x0 = noise(2, 5, 3, dtype=F64)
    for t in range(1, 5):
        c = Prediction(CHAIN, x_t, t, x0=x0)
        b = q_posterior(CHAIN, x_t, x0, t - 1, t)
        torch.testing.assert_close(mean_from_eps(CHAIN, x_t, c.eps, t - 1, t), b.mean)
        a = Prediction(CHAIN, x_t, t, s=t - 1, mean=b.mean)
        torch.testing.assert_close(a.eps, c.eps)
        share = CHAIN.beta[t] / (1 - CHAIN.alpha_bar[t]).sqrt()
        torch.testing.assert_close((x_t - share * c.eps) / CHAIN.alpha[t].sqrt(), b.mean)


@pytest.mark.parametrize("steps", [1, 4, 25])
def test_num_5_and_take_3_a_walk_of_n_steps_asks_n_times_and_keeps_the_size(steps):
    """NUM-5, TAKE-3, E-75: the cost is one evaluation for each step, on arrays of the picture's size."""
    calls, schedule = [], linear_beta(100)

    def net(x, t):
        calls.append(t)
        return 0 * x

    x_T = noise(3, 1, 4, 4)
    path = list(sample_path(Denoiser(net, schedule), DDIM(), x_T, time_grid(schedule, steps)))
    assert len(calls) == steps and len(path) == steps + 1
    assert all(state.x.shape == x_T.shape for state in path)


def test_alg_1_the_loss_of_the_exact_denoiser_is_the_floor():
    """ALG-1, LOSS-5: data N(0, v) leave ᾱ v/(ᾱ v + 1 − ᾱ) per dimension, which another rule does not beat."""
    world, n = GaussianMixture([1.0], [[0.0]], [0.25]), 20_000
    denoiser = world.denoiser(CHAIN)
    x0, eps = noise(2, n, 1, dtype=F64) * torch.tensor([0.5, 1.0], dtype=F64)[:, None, None]
    for t in range(1, 5):
        share = CHAIN.alpha_bar[t] * 0.25
        floor = (share / (share + 1 - CHAIN.alpha_bar[t])).item()
        loss = losses.simple_loss(denoiser, x0, t, eps)
        assert abs(loss.mean().item() - floor) < 5 * loss.std().item() / math.sqrt(n)
        other = losses.simple_loss(Denoiser(lambda x, t: 0.5 * x, CHAIN), x0, t, eps)
        assert other.mean() > loss.mean() - 5 * (other - loss).std() / math.sqrt(n)


def test_e_24_noise_at_the_last_step_would_stay(generator):
    """The data are the number 0: without z at t = 1 the walk ends on it, with z it keeps √β_1."""
    schedule = linear_beta(1000)
    denoiser = EmpiricalData(torch.zeros(1, 1, dtype=F64)).denoiser(schedule)
    x = sample(denoiser, DDPM("beta"), noise(64, 1, dtype=F64), time_grid(schedule, 50), generator)
    assert x.abs().max() < 1e-12
    assert schedule.beta[1].sqrt().item() == pytest.approx(0.01)


# ---- what the lesson hands out --------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", given.FAULTS)
def test_alg_1_each_loss_tells_and_makes_the_times_that_its_fault_says(fault):
    """With ε̂ = 0 the loss is the mean of ε²; without noise x_t/x_0 is √ᾱ of the time that was made."""
    u, x0, eps = torch.tensor([0.0, 0.3, 0.6, 0.999]), noise(4, 2, 3, dtype=F64), noise(4, 2, 3, seed=1, dtype=F64)
    told, made = [1, 2, 3, 4], [1, 2, 3, 4]
    if fault == "told one less":
        told = [0, 1, 2, 3]
    elif fault == "made one early":
        made = [0, 1, 2, 3]
    elif fault == "never the last":
        told = made = [1, 1, 2, 3]
    elif fault == "one for all":
        made = [1, 1, 1, 1]
    seen = []

    def spy(x_t, t):
        seen.append((x_t, t))
        return torch.zeros_like(x_t)

    loss = given.Loss("X", CHAIN.alpha_bar, fault)
    torch.testing.assert_close(loss(spy, x0, u, eps), eps.square().flatten(1).mean(1))
    loss(spy, x0, u, 0 * eps)
    assert seen[1][1].tolist() == told
    torch.testing.assert_close(seen[1][0], CHAIN.alpha_bar[made].sqrt()[:, None, None] * x0)


def test_the_four_losses_are_of_four_kinds():
    assert len({loss.fault for loss in given.losses(CHAIN.alpha_bar).values()}) == 4
    with pytest.raises(ValueError, match="unknown fault"):
        given.Loss("X", CHAIN.alpha_bar, "late")
