"""A thousand digits in few steps: students, their first teacher's 100, diffusers' network and scheduler.

    python tests/benchmarks/few_steps.py [--threads 2] [--images 1000]

For each: calls of a network, seconds, digits a second, and the squared Fréchet distance in judge_mnist, all from the
same starts, hundreds of them. diffusers' network has as many parameters and seeded weights: its seconds do not depend
on them, and its distance is not printed. Its scheduler, DPMSolverMultistepScheduler, takes as many calls as
DPM-Solver++(2) takes with our teacher to come within 1.25 times the distance of its 100 steps (``--calls``). Nothing
else should run meanwhile.
"""

import argparse
import sys
import time

import peers
import torch

from dlgm import data, metrics
from dlgm.samplers import DDIM, DPMSolverPP, sample
from dlgm.schedules import time_grid

sys.path.append(str(data.data_folder()))
import measure  # noqa: E402  (data/measure.py)


@torch.no_grad()
def ours(name, sampler, times, starts, **told):
    """Samples of a shipped denoiser; told: conditions of a hundred each."""
    model = measure.network(name)
    grid = times(model.schedule)
    return torch.cat([sample(model, sampler, part, grid, **told) for part in starts.split(100)])


@torch.no_grad()
def theirs(net, calls, starts):
    """As many calls of diffusers' network by its multistep scheduler."""
    from diffusers import DPMSolverMultistepScheduler

    drawn = []
    for x in starts.split(100):
        scheduler = DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
        scheduler.set_timesteps(calls)
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t.expand(len(x))), t, x).prev_sample
        drawn.append(x)
    return torch.cat(drawn)


def main():
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    schedule = measure.network("ddpm_mnist").schedule
    starts = schedule.start((args.images, 1, 28, 28), torch.Generator().manual_seed(0))
    runs = {  # name -> calls, function
        "teacher, DDIM": (100, lambda: ours("ddpm_mnist", DDIM(), lambda s: time_grid(s, 100), starts)),
        "teacher, DPM-Solver++(2)": (
            args.calls, lambda: ours("ddpm_mnist", DPMSolverPP(2), lambda s: measure.karras(s, args.calls), starts),
        ),
    }  # fmt: skip
    for n in (8, 4, 2, 1):
        runs[f"student of {n}"] = (
            n, lambda n=n: ours(f"student_mnist_{n}", DDIM(), lambda s: time_grid(s, n), starts),
        )  # fmt: skip
    y = torch.arange(100) % 10
    runs["told the digit, DDIM"] = (
        100, lambda: ours("ddpm_mnist_labels", DDIM(), lambda s: time_grid(s, 100), starts, y=y),
    )  # fmt: skip
    runs["its student of 4, w = 0"] = (
        4, lambda: ours("student_mnist_guided", DDIM(), lambda s: time_grid(s, 4), starts, y=y, w=torch.zeros(100)),
    )  # fmt: skip
    others = peers.available()
    if "diffusers" in others:
        runs["diffusers, DPMSolver"] = (args.calls, lambda: theirs(others["diffusers"], args.calls, starts))
    features, real = measure.judged()
    print(f"{args.threads} threads, {args.images} digits of 28 × 28; real digits: "
          f"{metrics.frechet_floor(real, args.images)}")  # fmt: skip
    for name, (calls, draw) in runs.items():
        start = time.perf_counter()
        x = draw()
        seconds = time.perf_counter() - start
        quality = "" if "diffusers" in name else f"{metrics.frechet_distance(features(x), real):8.3f}"
        print(f"{name:26s} {calls:4d} calls {seconds:8.1f} s {args.images / seconds:8.0f} digits/s {quality}")


if __name__ == "__main__":
    main()
