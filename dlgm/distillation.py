"""Progressive distillation: a student makes in one step what its teacher makes in two; it is the next teacher.

A walk of DDIM without noise is a map from x_T to x_0, so it can be learned. Two of its steps, t → m → s, end somewhere;
there is one x̂_0 whose single step t → s ends there too, a weighted mean of the teacher's two answers, and the student
is trained to answer it. After K halvings a walk of N steps is one of N/2^K. What is lost on the way is the student's
error alone: the error of the teacher's steps is copied, not made again (``spread``).

A consistency model (``consistency_loss``) is asked for the end of the walk at once, and taught by itself, one step on.
"""

import copy
import math
from dataclasses import dataclass

import torch

from . import data as datasets
from . import training
from .denoiser import Denoiser, Prediction, Wrapper
from .losses import convert_weight
from .process import q_sample
from .schedules import listed
from .tensors import expand, home, host, known, randn_like, sum_non_batch

WEIGHTS = ("snr", "truncated", "snr+1")


def ddim_step(schedule, x_t, x0, t, s):
    """x_s = signal_s x̂_0 + (noise_s/noise_t)(x_t − signal_t x̂_0): DDIM without noise, each example at its own times.

    Args:
        x_t, x0: (B, ...). t, s: numbers, or (B,), s < t.
    Source: Salimans & Ho 2022, equation 8; ledger DIST-2.
    """
    ratio = expand(schedule.noise(s) / schedule.noise(t), x_t)
    return expand(schedule.signal(s), x_t) * x0 + ratio * (x_t - expand(schedule.signal(t), x_t) * x0)


def implied_x0(schedule, x_t, x_s, t, s):
    """The x̂_0 with which ``ddim_step`` goes from x_t to x_s: (x_s − r x_t)/(signal_s − r signal_t).

    r is noise_s/noise_t.

    Source: Salimans & Ho 2022, appendix G; ledger DIST-3.
    """
    ratio = schedule.noise(s) / schedule.noise(t)
    return (x_s - expand(ratio, x_t) * x_t) / expand(schedule.signal(s) - ratio * schedule.signal(t), x_t)


@torch.no_grad()
def target(teacher, x_t, t, m, s, **cond):
    """x̃: what a student must answer at (x_t, t) to be where the teacher is after its two steps t → m → s.

    x̃ = a x̂_0(x_t, t) + (1 − a) x̂_0(x_m, m), a = (√SNR_m − √SNR_t)/(√SNR_s − √SNR_t), x_m after the first step: in
    each step x/noise grows by √SNR's increase times x̂_0. It is ``implied_x0`` of the two steps' end; written as a mean
    of the teacher's answers nothing is subtracted and nothing divided by a small number. Down to s = 0 it is the second
    answer.

    Args:
        teacher: a denoiser; guided ones, wrappers and exact ones too. No gradient reaches it.
        x_t: (B, ...). t, m, s: numbers, or (B,) on the CPU; s < m < t.
    Returns:
        x0-target (B, ...).
    Raises:
        ValueError: not s < m < t.
    Source: Salimans & Ho 2022, algorithm 2; ledger DIST-2, DIST-3.
    """
    schedule = teacher.schedule
    root_t, root_m, root_s = ((host(schedule.logsnr(v)) / 2).exp() for v in (t, m, s))
    if not ((root_t < root_m) & (root_m < root_s)).all():
        raise ValueError(f"expected s < m < t, got s={s}, m={m}, t={t}")
    first = teacher(x_t, t, **cond).x0
    second = teacher(ddim_step(schedule, x_t, first, t, m), m, **cond).x0
    share = expand((root_m - root_t) / (root_s - root_t), x_t)
    return share * first + (1 - share) * second


def weights(schedule, t, weight="snr+1"):
    """w(λ_t) of ‖x̃ − x̂_0‖²: "snr" is the loss on ε, "truncated" max(SNR, 1), "snr+1" the loss on v.

    Where nothing of the data is left (SNR 0) an error of x̂_0 is no error of ε, so "snr" teaches nothing there, and a
    student with few steps starts there: the other two keep weight 1.

    Args:
        t: a number, or (B,), not 0.
    Returns:
        A number, or a float64 tensor on the CPU.
    Raises:
        ValueError: an unknown weight.
    Source: Salimans & Ho 2022, section 4; ledger M-19, DIST-1.
    """
    known("weight", weight, WEIGHTS)
    snr = convert_weight(schedule, t, 1.0, "eps", "x0")
    if weight == "snr":
        return snr
    if weight == "snr+1":
        return snr + 1
    return snr.clamp(min=1) if isinstance(snr, torch.Tensor) else max(1.0, snr)


def student_times(times):
    """Every second time of a grid, its first and last among them.

    Raises:
        ValueError: the grid has an odd number of steps, so that its last two are not a pair.
    Source: ledger DIST-4.
    """
    if len(times) % 2 == 0 or len(times) < 3:
        raise ValueError(f"a student needs pairs of steps: expected an even number of steps, got {len(times) - 1}")
    return times[::2]


def loss(student, teacher, x0, times, generator=None, weight="snr+1", **cond):
    """w(λ_t) ‖x̃ − x̂_0(x_t, t)‖² at a random pair of the teacher's steps for each example: (B,).

    Args:
        student: a denoiser on the teacher's schedule, which is trained.
        x0: (B, ...). times: 2N + 1, the teacher's grid. weight: see ``weights``.
    Raises:
        ValueError: see ``student_times``, ``weights``.
    Source: Salimans & Ho 2022, algorithm 2; ledger DIST-1, DIST-4, M-19.
    """
    times, pairs, schedule = torch.as_tensor(times).cpu(), len(student_times(times)) - 1, teacher.schedule
    first = 2 * torch.randint(pairs, (len(x0),), generator=generator, device=home(generator)).cpu()
    t, m, s = (times[first + k] for k in range(3))
    x_t = q_sample(schedule, x0, t, randn_like(x0, generator))
    return _weighted(target(teacher, x_t, t, m, s, **cond), student(x_t, t, **cond), weight)


def _weighted(aim, answer, weight):
    """w(λ_t) ‖aim − x̂_0‖² of a Prediction at its time: (B,)."""
    error = sum_non_batch((aim - answer.x0).square())
    return expand(weights(answer.schedule, answer.t, weight), error) * error


def halve(teacher, times, data, *, steps, student=None, weight="snr+1", lr=1e-3, decay=None, **options):
    """Train a student of half as many steps: (student, its times).

    Args:
        teacher: a Denoiser, or with ``student`` any denoiser.
        times: 2N + 1, the grid that the teacher walks.
        data: images (uint8 or in [−1, 1]), or a pair of them and labels, as ``training.fit`` takes them.
        steps: of training. lr: falls from there to 0 on half a cosine.
        student: where training starts; a copy of the teacher unless said. It is trained in place.
        decay: of an average of the student's weights, which is then what comes back; None for none.
        options: of ``training.fit``: batch_size, optimizer, seed, device, checkpoint, progress, ...
    Raises:
        ValueError: see ``student_times``; the teacher has no weights to start from.
    Source: Salimans & Ho 2022, algorithm 2; ledger DIST-4.
    """
    shorter = student_times(times)
    if student is None:
        if not isinstance(teacher, Denoiser):
            raise ValueError(f"a {type(teacher).__name__} has no weights to start from; give student=...")
        student = copy.deepcopy(teacher).requires_grad_(True)

    def objective(model, batch, generator, step):
        v, *y = batch if isinstance(batch, tuple) else (batch,)
        x0 = datasets.from_uint8(v) if v.dtype == torch.uint8 else v
        cond = {"y": y[0]} if y else {}
        return loss(model, teacher, x0, times, generator, weight, **cond).mean() / x0[0].numel()

    ema = None if decay is None else training.EMA(student, decay)
    training.fit(student, objective, data, steps=steps, lr=training.CosineLR(lr, steps, 0), ema=ema, **options)
    return (student if ema is None else ema.model).eval(), shorter


@dataclass(frozen=True)
class Perfect(Wrapper):
    """The student that makes no mistake: at a time of its grid it answers ``target``, by asking its teacher twice.

    Perfect(Perfect(...)) asks four times, and so on: exact, and as slow as the teacher's walk.

    Args:
        denoiser: the teacher. times: the teacher's grid, 2N + 1.
    Raises:
        ValueError: see ``student_times``; when asked, at a time that is not on the student's grid.
    Source: ledger DIST-4.
    """

    times: object

    def __post_init__(self):
        student_times(self.times)

    def __call__(self, x_t, t, **cond):
        """x_t: (B, ...); t: a number of the student's grid, its last one aside. Returns a Prediction."""
        grid = listed(self.times)
        if t not in grid[:-1:2]:
            raise ValueError(f"this student knows the times {grid[:-1:2]}, got {t}")
        i = grid.index(t)
        return Prediction(self.schedule, x_t, t, x0=target(self.denoiser, x_t, t, *grid[i + 1 : i + 3], **cond))


def spread(N):
    """cos(π/2N)^N: the standard deviation that N DDIM steps of equal angles give data N(0, 1), and every student of it.

    One step turns by π/2N and keeps the cosine of it; distillation multiplies no new factor. 0 for one step of its own,
    .9988 for one step of a student of 1024.

    Source: ledger DIST-4; lesson 11.
    """
    return math.cos(math.pi / 2 / N) ** N


def guided_loss(student, guided, x0, t, w, y, generator=None, weight="snr+1"):
    """w(λ_t) ‖x̂_0 of the guided teacher − x̂_0 of the student‖², the student being told the weight w: (B,).

    The first stage for a guided teacher: one network for all w takes the place of two answers. Its second stage is
    ``loss`` with that student as teacher and w among the conditions.

    Args:
        student: called as student(x_t, t, y=y, w=w); see ``nets.UNet(guided=True)``.
        guided: function w -> denoiser, such as lambda w: ClassifierFree(teacher, w).
        x0: (B, ...). t, w, y: (B,).
    Source: Meng et al. 2023, section 3.1; ledger DIST-5, M-20.
    """
    x_t = q_sample(student.schedule, x0, t, randn_like(x0, generator))
    with torch.no_grad():
        aim = guided(w)(x_t, t, y=y).x0
    return _weighted(aim, student(x_t, t, y=y, w=w), weight)


def consistency_loss(student, average, teacher, x0, times, generator=None, **cond):
    """‖x̂_0(x_t, t) − x̂_0⁻(x_s, s)‖², x_s the teacher's one step from x_t, x̂⁻ an average of the student: (B,).

    At the last step x_s is the end of the walk and stands for the answer, so no scalings are needed to say what the
    student must be at time 0.

    Args:
        average: of the student's weights (``training.EMA``), which no gradient reaches.
        times: N + 1, the teacher's grid, down to 0.
    Source: Song et al. 2023, algorithm 2; ledger M-20.
    """
    times, schedule = torch.as_tensor(times).cpu(), teacher.schedule
    i = torch.randint(len(times) - 1, (len(x0),), generator=generator, device=home(generator)).cpu()
    t, s = times[i], times[i + 1]
    x_t = q_sample(schedule, x0, t, randn_like(x0, generator))
    with torch.no_grad():
        x_s = ddim_step(schedule, x_t, teacher(x_t, t, **cond).x0, t, s)
        inside = torch.where(s > 0, s, times[-2])  # never asked at time 0
        end = expand((s == 0).double(), x_s)
        aim = end * x_s + (1 - end) * average(x_s, inside, **cond).x0
    return sum_non_batch((aim - student(x_t, t, **cond).x0).square())
