"""What a sampler step costs besides the arithmetic of its formula: python tests/benchmarks/sampler_step.py

A denoiser that does nothing answers at once; the whole of ``sample_path`` is timed against a hand-written loop with
the same tensor operations and its coefficients computed beforehand. 64 images of 1 x 32 x 32, one thread, medians of
many interleaved runs. Goal: at most 60 microseconds a step more than the hand-written loop.
"""

import statistics
import time

import torch

from dlgm.denoiser import Prediction
from dlgm.process import posterior_coefficients, tau
from dlgm.samplers import DDIM, DDPM, sample
from dlgm.schedules import VPLinear, linear_beta, time_grid

STEPS, RUNS = 50, 150


class Nothing:
    """A denoiser that returns an ε made beforehand."""

    def __init__(self, schedule, eps):
        self.schedule, self.eps = schedule, eps

    def __call__(self, x_t, t):
        return Prediction(self.schedule, x_t, t, eps=self.eps)


def by_hand(schedule, sampler, x, eps, times, generator):
    """The same walk with nothing but tensor arithmetic in the loop; returns a function that walks it."""
    rows = []
    for t, s in zip(times[:-1], times[1:], strict=True):
        signal_t, noise_t, signal_s, noise_s = (
            schedule.signal(t),
            schedule.noise(t),
            schedule.signal(s),
            schedule.noise(s),
        )
        share = tau(schedule, s, t)
        if isinstance(sampler, DDPM):
            c_0, c_t, v = posterior_coefficients(schedule, s, t)
            rows.append((signal_t, noise_t, c_0, c_t, v**0.5))
        else:
            v = noise_s**2 * sampler.eta**2 * share
            rows.append((signal_t, noise_t, signal_s, (noise_s**2 - v) ** 0.5, v**0.5))
    ddpm = isinstance(sampler, DDPM)

    @torch.no_grad()
    def walk():
        y = x
        for signal_t, noise_t, a, b, std in rows:
            x0 = (y - noise_t * eps) / signal_t
            y = a * x0 + b * (y if ddpm else eps)
            if std > 0:
                y = y + std * torch.randn(y.shape, generator=generator)
        return y

    return walk


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(64, 1, 32, 32, generator=generator) for _ in range(2))
    print("microseconds a step; medians, the last one of paired differences")
    print(f"{'schedule':12s} {'sampler':28s} {'hand':>8s} {'dlgm':>8s} {'more':>8s}")
    for name, schedule in (("discrete", linear_beta()), ("continuous", VPLinear())):
        times = time_grid(schedule, STEPS)
        for sampler in (DDIM(), DDIM(1.0), DDPM()):
            hand = by_hand(schedule, sampler, x, eps, times.tolist(), generator)
            ours = lambda: sample(Nothing(schedule, eps), sampler, x, times, generator)  # noqa: E731, B023
            seconds = {hand: [], ours: []}
            for _ in range(RUNS):
                for walk in (hand, ours):
                    start = time.perf_counter()
                    walk()
                    seconds[walk].append((time.perf_counter() - start) / STEPS * 1e6)
            a, b = (statistics.median(v) for v in seconds.values())
            more = statistics.median(y - x for x, y in zip(*seconds.values(), strict=True))
            print(f"{name:12s} {str(sampler):28s} {a:8.1f} {b:8.1f} {more:8.1f}")


if __name__ == "__main__":
    main()
