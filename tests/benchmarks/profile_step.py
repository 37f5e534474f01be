"""Where the time of a training step goes, and how far its convolutions are from plain ones.

    python tests/benchmarks/profile_step.py [--widths 16,32,64,112] [--threads 1]

Batch 64 of 1×28×28, float32. First a table: the processor time of each kind of operation in one step. Then the
roofline: every convolution of the network is timed beside a plain 3×3 convolution with as many channels in and out
on a picture of the same size, forward and backward; weighted by multiply-adds, that is what the machine could do
with these sizes, and the step and a call without gradients (sampling) are given as shares of it.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dlgm import data, training
from dlgm.denoiser import Denoiser
from dlgm.nets import UNet
from dlgm.schedules import cosine_beta
from dlgm.training import image_loss

BATCH, SIZE = 64, 28
KINDS = {  # kind -> parts of the names of torch's operations; the first that fits counts
    "convolution": ("convolution", "conv2d"),
    "normalisation": ("group_norm", "layer_norm", "rms_norm"),
    "activation": ("silu",),
    "attention": ("attention", "bmm", "softmax"),
    "linear layers": ("addmm", "aten::mm", "aten::t"),
    "resizing and concatenation": ("cat", "upsample", "slice", "narrow"),
    "optimiser, average, limits": ("foreach", "Optimizer", "lerp", "addcdiv", "addcmul_", "vector_norm", "sqrt"),
    "noise and data": ("normal_", "randn", "rand", "index", "uniform"),
}


def best(call, rounds=8):
    """The smallest processor time of a call over some rounds, in seconds; the first does not count."""
    call()
    found = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def convolutions(net, x, t):
    """(channels in, channels out, height of the result, multiply-adds counted twice) of each convolution of a call."""
    found = []

    def note(layer, given, out):
        c_out, c_in, *kernel = layer.weight.shape
        found.append((c_in, c_out, out.shape[-1], 2 * out.numel() * c_in * kernel[0] * kernel[1]))

    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        net(x, t)
    for hook in hooks:
        hook.remove()
    return found


def plain(channels, size):
    """FLOP/s of a 3×3 convolution that keeps channels and size: (with its backward pass, without)."""
    x = torch.randn(BATCH, channels, size, size).to(memory_format=torch.channels_last).requires_grad_()
    w = torch.randn(channels, channels, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    g, flop = torch.randn_like(x), 2 * x.numel() * channels * 9

    def both():
        torch.autograd.grad(F.conv2d(x, w, padding=1), (x, w), g)

    with torch.no_grad():
        forward = best(lambda: F.conv2d(x, w, padding=1))
    return 3 * flop / best(both), flop / forward


def main():
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--widths", default="16,32,64,112")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net = UNet(1, tuple(map(int, args.widths.split(","))))
    x, t = torch.randn(BATCH, 1, SIZE, SIZE), torch.full((BATCH,), 500.0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x, t)
    flop, layers = counter.get_total_flops(), convolutions(net, x, t)
    model, images = Denoiser(net, cosine_beta(), "v"), data.to_uint8(data.load("mnist")[0])
    ema = training.EMA(model, 0.999)
    walk = training.steps(model, image_loss, images, steps=10**6, batch_size=BATCH, lr=1e-3, clip=1.0, ema=ema)
    step = best(lambda: next(walk))
    with torch.no_grad():
        call = best(lambda: net(x, t))
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters, {flop / BATCH / 1e9:.3f} GFLOP a picture")

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(5):
            next(walk)
    spent = dict.fromkeys([*KINDS, "sums, products, copies"], 0.0)
    for event in seen.key_averages():
        kind = next((k for k, parts in KINDS.items() if any(p in event.key for p in parts)), "sums, products, copies")
        spent[kind] += event.self_cpu_time_total
    for kind, value in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"  {kind:28s} {value / sum(spent.values()):6.1%}")

    sizes = {(c, size) for c_in, c_out, size, _ in layers for c in (c_in, c_out) if c > 4}
    rates = {key: plain(*key) for key in sizes}
    total = sum(f for *_, f in layers)
    for name, k, mine in (("a training step", 0, 3 * flop / step), ("a call without gradients", 1, flop / call)):
        seconds = sum(f / min(rates[c, size][k] for c in (c_in, c_out) if c > 4) for c_in, c_out, size, f in layers)
        print(
            f"{name}: {(step, call)[k] * 1e3:.0f} ms, {mine / 1e9:.0f} GFLOP/s; "
            f"plain convolutions of these sizes {total / seconds / 1e9:.0f}; share {mine * seconds / total:.2f}"
        )


if __name__ == "__main__":
    main()
