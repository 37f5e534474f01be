"""One training step, and 50 DDIM steps, of our U-Net beside two well-known ones: same size, same machine, same run.

    python tests/benchmarks/training_step.py [--threads 2] [--device cuda --peak 989] [--compile] [--sampling]

Batch 64 of 1×28×28: noise, forward, backward, fused Adam, averaged weights. Every contestant runs in every
configuration the hardware has a use for (memory format, bfloat16, compiled) and counts with its best. Contestants take
turns, so that a machine that slows down slows all of them; what is printed is the median, its ratio to ours, and on a
GPU images a second, memory and the share of the stated peak (TFLOP/s, multiply and add counted apart).
"""

import argparse
import copy
import itertools
import statistics
import time

import peers
import torch
from torch.utils.flop_counter import FlopCounterMode

from dlgm.denoiser import Clipped, Denoiser
from dlgm.losses import prediction_loss, sample_t
from dlgm.samplers import DDIM, sample
from dlgm.schedules import cosine_beta, time_grid
from dlgm.training import EMA, has_bfloat16, mixed_precision

SIZE, BATCH = 28, 64


class Contestant:
    """A network in one configuration, with all that a training step needs."""

    def __init__(self, name, net, channels_last, precision, compiled, device):
        self.name, self.device, self.precision = name, device, precision
        self.label = " + ".join(
            ["channels-last"] * channels_last + [precision] * (precision != "float32") + ["compiled"] * compiled
        )
        net = copy.deepcopy(net).to(device)
        net = net.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = Denoiser(net, cosine_beta(), "v")
        self.ema = EMA(self.model, 0.999)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        if compiled:
            net.compile()

    def step(self, x0):
        """One training step on a batch."""
        x0 = x0.to(memory_format=self.format)
        t = sample_t(self.model.schedule, len(x0))
        with mixed_precision(self.device, self.precision):
            loss = prediction_loss(self.model, x0, t, torch.randn_like(x0)).mean() / x0[0].numel()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.ema.update(self.model)

    @torch.no_grad()
    def draw(self, x_T):
        """64 images in 50 DDIM steps."""
        with mixed_precision(self.device, self.precision):
            sample(Clipped(self.model), DDIM(), x_T.to(memory_format=self.format), time_grid(self.model.schedule, 50))


def seconds(device, call):
    """Wall time of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def table(contestants, work, rounds, device, unit):
    """Median time of each contestant over interleaved rounds, the best configuration of each name; printed."""
    times = {c: [] for c in contestants}
    for c in contestants:
        seconds(device, lambda c=c: work(c))  # the first call is slow: caches, compilation
    for _ in range(rounds):
        for c in contestants:
            times[c].append(seconds(device, lambda c=c: work(c)))
    median = {c: statistics.median(v) for c, v in times.items()}
    best = {}
    for c in sorted(contestants, key=median.get):
        best.setdefault(c.name, c)
        print(f"    {c.name:11} {c.label or 'as it comes':34} {median[c] * 1e3:9.1f} ms")
    for name, c in best.items():
        ratio = median[c] / median[best["dlgm"]]
        print(f"{unit}, best of {name:11} {median[c] * 1e3:9.1f} ms   {ratio:5.2f} × ours   ({c.label})")
    return {name: (c, median[c]) for name, c in best.items()}


def main():
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--sampling", action="store_true")
    parser.add_argument("--peak", type=float, help="of the card in bfloat16, TFLOP/s")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    nets, x = peers.available(SIZE), torch.randn(BATCH, 1, SIZE, SIZE, device=args.device)
    flops = {}
    for name, net in nets.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.zeros(1, 1, SIZE, SIZE), torch.zeros(1, dtype=torch.long))
        flops[name] = counter.get_total_flops()
        count = sum(p.numel() for p in net.parameters())
        print(f"{name:11} {count:,} parameters, {flops[name] / 1e9:.3f} GFLOP forward an image")
    print(f"{args.device}, {args.threads} threads, bfloat16 in hardware: {has_bfloat16(args.device)}")
    precisions = ["float32", "bfloat16"] if has_bfloat16(args.device) else ["float32"]
    choices = itertools.product(nets, (True, False), precisions, (False, True) if args.compile else (False,))
    contestants = [Contestant(name, nets[name], *rest, args.device) for name, *rest in choices]
    best = table(contestants, lambda c: c.step(x), args.rounds, args.device, "training step")
    if args.device == "cuda":
        for name, (c, median) in best.items():
            torch.cuda.reset_peak_memory_stats()
            c.step(x)
            share = f", {3 * flops[name] * BATCH / median / args.peak / 1e12:.1%} of the peak" if args.peak else ""
            memory = torch.cuda.max_memory_allocated() / 2**20
            print(f"{name}: {BATCH / median:,.0f} images/s, {memory:,.0f} MiB{share}")
    if args.sampling:
        table([c for c, _ in best.values()], lambda c: c.draw(x), 3, args.device, "64 images, 50 DDIM steps")


if __name__ == "__main__":
    main()
