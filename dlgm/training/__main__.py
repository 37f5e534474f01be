"""Train a diffusion model on images, from a shell: ``python -m dlgm.train --help``.

    python -m dlgm.train mnist --out runs/digits
    python -m dlgm.train photos/cats --size 64 --steps 100000 --out runs/cats
    torchrun --nproc-per-node=4 -m dlgm.train photos/cats --size 64 --steps 100000 --batch 256 --out runs/cats

The folder OUT receives checkpoint.pt (every so many steps; a run that was stopped goes on from it when the same command
is given again), samples_000500.png and so on, and at the end model.safetensors. Either of the two files gives a ready
denoiser: ``denoiser, card = dlgm.training.load("runs/cats/model.safetensors")``.
"""

import argparse
import math
import sys
from pathlib import Path

import torch

from .. import data, plots
from ..denoiser import Denoiser
from ..nets import UNet
from ..schedules import cosine_beta, linear_beta
from .files import save
from .images import draw, image_loss, load_images
from .loop import EMA, CosineLR, fit
from .machine import mixed_precision, processes, rank_and_world

SCHEDULES = {"cosine": cosine_beta, "linear": linear_beta}


def parser():
    """The arguments of the command."""
    p = argparse.ArgumentParser(
        prog="python -m dlgm.train", description="Train a diffusion model on images.",
        epilog="Stopped? The same command goes on from the last checkpoint in OUT.",
    )  # fmt: skip
    p.add_argument("source", help=f"{', '.join(data.SETS)}, or a folder of images (subfolders are classes)")
    p.add_argument("--out", type=Path, required=True, help="folder for checkpoint, sample grids and the result")
    p.add_argument("--size", type=int, help="side of the images in pixels (folders; 32)")
    p.add_argument("--gray", action="store_true", help="one channel instead of three (folders)")
    p.add_argument("--labels", action="store_true", help="tell the network the class of each image")
    p.add_argument("--steps", type=int, default=10_000, help="optimiser steps (%(default)s)")
    p.add_argument("--batch", type=int, default=64, help="images a step, of all processes together (%(default)s)")
    p.add_argument("--lr", type=float, default=2e-3, help="largest learning rate; it falls to 0 (%(default)s)")
    p.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights (%(default)s)")
    p.add_argument(
        "--predicts", choices=("v", "eps", "x0"), default="v", help="what the network predicts (%(default)s)"
    )
    p.add_argument("--schedule", choices=SCHEDULES, default="cosine", help="noise schedule (%(default)s)")
    p.add_argument("--T", type=int, default=1000, help="steps of the chain (%(default)s)")
    p.add_argument("--widths", default="32,64,96", help="channels at each size of the U-Net (%(default)s)")
    p.add_argument("--blocks", type=int, default=1, help="residual blocks at each size (%(default)s)")
    p.add_argument("--dropout", type=float, default=0.0, help="inside the blocks (%(default)s)")
    p.add_argument("--every", type=int, default=500, help="steps between checkpoints and sample grids (%(default)s)")
    p.add_argument("--samples", type=int, default=64, help="images in a grid, 0 for none (%(default)s)")
    p.add_argument("--sample-steps", type=int, default=50, help="DDIM steps to draw them (%(default)s)")
    p.add_argument("--device", choices=("cpu", "cuda", "mps"), help="the fastest there is unless said")
    p.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="(%(default)s)")
    p.add_argument("--compile", action="store_true", help="compile the network first (a minute or two)")
    p.add_argument("--accumulate", type=int, default=1, help="parts of a batch, to save memory (%(default)s)")
    p.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return p


def model_for(args, channels, classes):
    """The untrained Denoiser that the arguments ask for, its first weights fixed by the seed."""
    try:
        widths = tuple(int(w) for w in args.widths.split(","))
    except ValueError:
        raise ValueError(
            f"--widths must be numbers with commas between them, such as 32,64,96; got {args.widths}"
        ) from None
    schedule = SCHEDULES[args.schedule](args.T)
    torch.manual_seed(args.seed)
    net = UNet(
        channels, widths, blocks=args.blocks, classes=classes, dropout=args.dropout, time_scale=1000 / args.T,
        heads=math.gcd(4, *widths),
    )  # fmt: skip
    return Denoiser(net, schedule, args.predicts)


def train(args):
    """Run the training that the arguments describe; returns its History."""
    result = args.out / "model.safetensors"
    if result.exists():
        raise ValueError(f"{result} exists already: this run is done. Name another --out, or remove the file first")
    images, labels = load_images(args.source, args.size, 1 if args.gray else 3)
    names = data.label_names(args.source)
    if args.labels and len(names) < 2:
        raise ValueError("--labels needs images of at least two classes (subfolders)")
    channels, size = images.shape[1], images.shape[-1]
    model = model_for(args, channels, len(names) if args.labels else 0)
    ema, examples = EMA(model, args.ema), (images, labels) if args.labels else images
    device = args.device or ("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    with processes(device) as device:
        torch.set_float32_matmul_precision("high")
        args.out.mkdir(parents=True, exist_ok=True)
        leader = rank_and_world()[0] == 0
        if leader:
            count = sum(p.numel() for p in model.parameters())
            print(
                f"{len(images)} images of {channels}×{size}×{size}, {count:,} parameters, on {device}, into {args.out}"
            )

        def grid(average):
            """Write a grid of samples as a picture; there is nothing to record."""
            if args.samples:
                with mixed_precision(device, args.precision):
                    drawn = draw(average, args.samples, size, args.sample_steps, args.seed, device)
                picture = plots.tile(drawn.float().cpu(), math.ceil(math.sqrt(args.samples)))
                plots.save_image(picture, args.out / f"samples_{ema.updates:06d}.png", scale=max(1, 64 // size))

        history = fit(
            model, image_loss, examples, steps=args.steps, batch_size=args.batch, lr=CosineLR(args.lr, args.steps),
            clip=1.0, seed=args.seed, device=device, ema=ema, precision=args.precision, compile=args.compile,
            accumulate=args.accumulate, evaluate=grid, every=args.every, checkpoint=args.out / "checkpoint.pt",
            progress=not args.quiet,
        )  # fmt: skip
        if leader and not history.interrupted:
            card = {"source": args.source, "seed": args.seed, "steps": args.steps, "batch": args.batch, "lr": args.lr}
            save(ema.model, result, **card, minutes=f"{history.seconds / 60:.1f}", device=device)
            print(f"{history}\nwrote {result}")
    return history


def main(argv=None):
    """The command; a mistake in the arguments or the data ends it with a sentence."""
    args = parser().parse_args(argv)
    try:
        return 1 if train(args).interrupted else 0
    except (ValueError, OSError, torch.OutOfMemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
