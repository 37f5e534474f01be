"""Distillation: targets that land where two steps do, exact students, weights, the loop, guided students, consistency.

Ledger DIST-1 to DIST-5, M-19, M-20.
"""

import itertools
import math

import pytest
import torch

from dlgm import distillation, losses
from dlgm.denoiser import Clipped, Denoiser, Prediction
from dlgm.distillation import Perfect, consistency_loss, ddim_step, guided_loss, halve, implied_x0, spread, target
from dlgm.guidance import ClassifierFree
from dlgm.nets import TimeMLP, UNet
from dlgm.oracles import GaussianMixture, Spectrum
from dlgm.samplers import DDIM, sample
from dlgm.schedules import VPCosine, cosine_beta, linear_beta, time_grid
from dlgm.training import build, describe

F64 = torch.float64


class Bent:
    """A teacher that is no denoiser of anything: x̂_0 = tanh(x_t + t/T), so that order and times matter."""

    def __init__(self, schedule):
        self.schedule = schedule

    def __call__(self, x_t, t, **cond):
        share = torch.as_tensor(t / self.schedule.last).to(x_t.dtype)
        return Prediction(self.schedule, x_t, t, x0=torch.tanh(x_t + share.reshape(-1, *[1] * (x_t.ndim - 1))))


def points(n=5, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize(
    "schedule, t, m, s",
    [
        (linear_beta(), 600, 400, 350), (linear_beta(), 2, 1, 0), (cosine_beta(), 1000, 999, 998),
        (cosine_beta(), 1000, 500, 0), (VPCosine(), 1.0, 0.75, 0.5), (VPCosine(), 0.5, 0.25, 0.0),
    ],
)  # fmt: skip
def test_dist_2_3_one_step_with_the_target_ends_where_the_teacher_is_after_two(schedule, t, m, s):
    """DIST-2, DIST-3: at the last pair (t'' = 0), with no signal at the start, and between; numbers and tensors."""
    teacher, x = Bent(schedule), points()
    two = sample(teacher, DDIM(), x, [t, m, s])
    aim = target(teacher, x, t, m, s)
    torch.testing.assert_close(ddim_step(schedule, x, aim, t, s), two)
    each = [torch.full((5,), v) for v in (t, m, s)]
    torch.testing.assert_close(target(teacher, x, *each), aim)


def test_the_target_of_each_example_is_that_of_its_own_times():
    teacher, x = Bent(linear_beta()), points()
    t, m, s = torch.tensor([900, 500, 20, 7, 2]), torch.tensor([800, 300, 10, 5, 1]), torch.tensor([700, 90, 5, 3, 0])
    alone = [target(teacher, x[i : i + 1], t[i].item(), m[i].item(), s[i].item()) for i in range(5)]
    torch.testing.assert_close(target(teacher, x, t, m, s), torch.cat(alone))
    with pytest.raises(ValueError, match="expected s < m < t"):
        target(teacher, x, s, m, t)


def test_dist_3_the_printed_quotient_is_the_mean_of_the_two_answers():
    schedule, teacher, x = VPCosine(), Bent(VPCosine()), points()
    for t, m, s in ((0.7, 0.5, 0.3), (1.0, 0.9, 0.2)):
        x_m = ddim_step(schedule, x, teacher(x, t).x0, t, m)
        x_s = ddim_step(schedule, x_m, teacher(x_m, m).x0, m, s)
        torch.testing.assert_close(implied_x0(schedule, x, x_s, t, s), target(teacher, x, t, m, s))
    torch.testing.assert_close(
        target(teacher, x, 0.4, 0.2, 0.0), teacher(ddim_step(schedule, x, teacher(x, 0.4).x0, 0.4, 0.2), 0.2).x0
    )


def test_the_target_in_float32_at_neighbouring_times_is_as_exact_as_the_answers():
    """The quotient loses digits there: ends of a walk of 100,000 steps differ in the fifth."""
    schedule, teacher, x = VPCosine(), Bent(VPCosine()), points()
    t, m, s = 0.5, 0.5 - 1e-5, 0.5 - 2e-5
    want = target(teacher, x, t, m, s)
    assert (target(teacher, x.float(), t, m, s) - want).abs().max() < 3e-7
    x_m = ddim_step(schedule, x.float(), teacher(x.float(), t).x0, t, m)
    x_s = ddim_step(schedule, x_m, teacher(x_m, m).x0, m, s)
    assert (implied_x0(schedule, x.float(), x_s, t, s) - want).abs().max() > 1e-4


def test_a_teacher_that_knows_the_answer_hands_it_on():
    point = GaussianMixture([1.0], [[0.4, -0.3, 0.2]], [[1e-12] * 3])
    aim = target(point.denoiser(cosine_beta()), points(), 800, 500, 200)
    torch.testing.assert_close(aim, torch.tensor([0.4, -0.3, 0.2], dtype=F64).expand(5, 3), rtol=0, atol=1e-9)


def test_dist_4_perfect_students_walk_as_their_teacher_did():
    """DIST-4: 16 steps, and students of 8, 4, 2 and 1, of one that bends and of an exact mixture."""
    ring = GaussianMixture([0.3, 0.7], [[1.0, 0.0, 0.5], [-0.5, 0.6, 0.0]], [[0.1] * 3, [0.2, 0.05, 0.3]])
    for schedule, make in itertools.product((linear_beta(), VPCosine()), (Bent, ring.denoiser)):
        times, x = time_grid(schedule, 16), points()
        denoiser = make(schedule)
        end = sample(denoiser, DDIM(), x, times)
        for _ in range(4):
            denoiser, times = Perfect(denoiser, times), distillation.student_times(times)
            torch.testing.assert_close(sample(denoiser, DDIM(), x, times), end)
        assert len(times) == 2


def test_a_perfect_student_knows_its_own_times_only():
    student = Perfect(Bent(linear_beta()), [1000, 750, 500, 250, 0])
    assert student(points(), 500).x0.shape == (5, 3)
    for t in (750, 0):
        with pytest.raises(ValueError, match=r"this student knows the times \[1000, 500\], got"):
            student(points(), t)
    for times in ([1000, 0], [1000, 500, 250, 0], time_grid(linear_beta(), 25)):
        with pytest.raises(ValueError, match=f"an even number of steps, got {len(times) - 1}"):
            Perfect(Bent(linear_beta()), times)


def test_dist_4_students_compose_cosines():
    """cos(π/2N)^N for N = 8 is .856, for 1024 .9988; the walk of N steps and its student of one step have both."""
    schedule = VPCosine()
    assert [round(spread(N), 5) for N in (1, 8, 1024)] == [0.0, 0.85623, 0.9988]
    unit = Spectrum([1.0])
    for N in (8, 1024):
        assert unit.walk(DDIM(), schedule, time_grid(schedule, N)).var.sqrt().item() == pytest.approx(spread(N), 1e-7)
    student, times = unit.denoiser(schedule), time_grid(schedule, 8)
    while len(times) > 2:
        student, times = Perfect(student, times), distillation.student_times(times)
    assert sample(student, DDIM(), torch.ones(1, 1, dtype=F64), times).item() == pytest.approx(spread(8), 1e-7)


def test_m_19_weights_are_the_losses_on_eps_and_on_v_and_never_vanish_where_they_must_not():
    schedule, t, x0 = linear_beta(), torch.tensor([1, 200, 500, 900, 1000]), points(seed=3)
    eps, teacher = points(seed=4), Bent(schedule)
    by = {w: distillation.weights(schedule, t, w) for w in distillation.WEIGHTS}
    error = losses.prediction_loss(teacher, x0, t, eps, "x0")
    torch.testing.assert_close(by["snr"] * error, losses.prediction_loss(teacher, x0, t, eps, "eps"))
    torch.testing.assert_close(by["snr+1"] * error, losses.prediction_loss(teacher, x0, t, eps, "v"))
    torch.testing.assert_close(by["truncated"], by["snr"].clamp(min=1))
    assert distillation.weights(schedule, 500, "truncated") == by["truncated"][2].item() == 1.0
    nothing_left = VPCosine()
    at_the_start = [distillation.weights(nothing_left, 1.0, w) for w in distillation.WEIGHTS]
    assert at_the_start == pytest.approx([0, 1, 1], abs=1e-12)
    alpha, sigma = 0.6, 0.8  # ‖v − v̂‖² = ‖x − x̂‖² (1 + SNR) = 1.5625 ‖x − x̂‖²
    assert distillation.weights(nothing_left, 2 / math.pi * math.atan2(sigma, alpha)) == pytest.approx(1.5625)
    with pytest.raises(ValueError, match="unknown weight 'v'; known: snr, truncated, snr\\+1"):
        distillation.weights(schedule, 5, "v")


def test_dist_1_the_loss_is_the_weighted_distance_from_the_target_at_the_pairs_of_the_grid():
    schedule, x0 = linear_beta(), points(4000)
    times, teacher, asked = torch.tensor([1000, 800, 500, 100, 0]), Bent(linear_beta()), []

    class Zero:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x_t, t):
            asked.append((x_t, t))
            return Prediction(schedule, x_t, t, x0=torch.zeros_like(x_t))

    found = distillation.loss(Zero(), teacher, x0, times, torch.Generator().manual_seed(1), "snr+1")
    x_t, t = asked[0]
    assert set(t.tolist()) == {1000, 500} and 0.45 < (t == 500).double().mean() < 0.55
    m, s = torch.where(t == 1000, 800, 100), torch.where(t == 1000, 500, 0)
    aim = target(teacher, x_t, t, m, s)
    torch.testing.assert_close(found, distillation.weights(schedule, t) * aim.square().sum(1))
    again = distillation.loss(Zero(), teacher, x0, times, torch.Generator().manual_seed(1), "snr+1")
    assert torch.equal(found, again)
    residue = (x_t - x0 * schedule.signal(t)[:, None]) / schedule.noise(t)[:, None]
    assert abs(residue.var().item() - 1) < 0.05


def net(seed=0):
    torch.manual_seed(seed)
    return Denoiser(TimeMLP(3, width=32), cosine_beta(), "v")


def test_no_gradient_reaches_the_teacher():
    student, teacher, times = net(), net(1), time_grid(cosine_beta(), 8)
    distillation.loss(student, teacher, points(6).float(), times, torch.Generator().manual_seed(0)).sum().backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in student.parameters())


def test_dist_4_halving_trains_a_copy_that_lands_nearer_to_the_teacher():
    teacher, times, x = net(2).eval(), time_grid(cosine_beta(), 8), points(200).float()
    for p in teacher.parameters():  # as if it had been trained
        p.data += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(5))
    before = [p.clone() for p in teacher.parameters()]
    options = dict(steps=200, batch_size=64, lr=2e-3, progress=False)
    student, shorter = halve(teacher, times, x, **options)
    averaged, _ = halve(teacher, times, x, decay=0.95, **options)
    assert shorter.tolist() == times[::2].tolist()
    end = sample(teacher, DDIM(), x, times)
    apart = [(sample(d, DDIM(), x, shorter) - end).square().mean().item() for d in (teacher, student, averaged)]
    assert max(apart[1:]) < 0.3 * apart[0]
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    with pytest.raises(ValueError, match="a Clipped has no weights to start from"):
        halve(Clipped(teacher), times, x, steps=1)


def labelled(guided, seed=0):
    torch.manual_seed(seed)
    return Denoiser(UNet(1, (8, 16), heads=2, classes=3, guided=guided), cosine_beta(), "v")


def pictures(n=4):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(7))


def shaken(denoiser):
    """The denoiser with noise on its weights, as if it had been trained."""
    generator = torch.Generator().manual_seed(9)
    for p in denoiser.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=generator)
    return denoiser.eval()


@torch.no_grad()
def test_dist_5_a_guided_student_starts_as_the_plain_teacher_and_hears_of_w():
    teacher, student = shaken(labelled(False)), labelled(True)
    missing, unexpected = student.load_state_dict(teacher.state_dict(), strict=False)
    assert missing == ["net.embed.weight.1.weight"] and not unexpected
    student.eval()
    x, y, w = pictures(), torch.tensor([0, 1, 2, 1]), torch.tensor([0.0, 1.0, 4.0, 7.5])
    torch.testing.assert_close(student(x, 400, y=y, w=w).v, teacher(x, 400, y=y).v)
    shaken(student)
    assert (student(x, 400, y=y, w=w).v - student(x, 400, y=y, w=w.flip(0)).v).abs().max() > 1e-3
    torch.testing.assert_close(student(x, 400, y=y).v, student(x, 400, y=y, w=0 * w).v)
    assert describe(build(describe(student))) == describe(student)
    with pytest.raises(ValueError, match=r"built without w \(guided=False\), so it cannot use it"):
        teacher(x, 400, y=y, w=w)


@torch.no_grad()
def test_dist_5_the_first_stage_aims_at_the_guided_answer_of_each_w():
    teacher, student, times = shaken(labelled(False)), labelled(True), torch.tensor([900, 500, 300, 20])
    student.load_state_dict(teacher.state_dict(), strict=False)
    x0, y, w = pictures(), torch.tensor([0, 1, 2, 1]), torch.tensor([0.0, 1.0, 4.0, 7.5])

    def found(w):
        generator = torch.Generator().manual_seed(3)
        return guided_loss(student.eval(), lambda v: ClassifierFree(teacher, v), x0, times, w, y, generator)

    assert found(0 * w).abs().max() < 1e-9  # unguided, the student is the teacher
    one, three = found(w), found(2 * w)
    torch.testing.assert_close(three, 4 * one, rtol=1e-4, atol=1e-9)  # the error is w (x̂_y − x̂)
    assert (one[1:] > 0).all()


def test_consistency_compares_with_the_average_one_step_on_and_with_the_end_at_the_last_step():
    schedule, times = linear_beta(), torch.tensor([1000, 600, 0])
    teacher, x0 = Bent(schedule), points(400)

    class Constant:
        def __init__(self, value):
            self.schedule, self.value, self.asked = schedule, value, []

        def __call__(self, x_t, t):
            self.asked.append(t)
            return Prediction(schedule, x_t, t, x0=torch.full_like(x_t, self.value))

    student, average = Constant(0.5), Constant(-0.25)
    found = consistency_loss(student, average, teacher, x0, times, torch.Generator().manual_seed(2))
    t = student.asked[0]
    assert set(t.tolist()) == {1000, 600} and average.asked[0].min() > 0
    torch.testing.assert_close(found[t == 1000], torch.full_like(found[t == 1000], 3 * 0.75**2))
    x_t = torch.randn(x0.shape, dtype=F64)  # not that of the loss: only its law counts below
    end = ddim_step(schedule, x_t, teacher(x_t, 600).x0, 600, 0)
    aim = (0.5 - end).square().sum(1).mean().item()
    assert found[t == 600].mean().item() == pytest.approx(aim, rel=0.5)
