"""Train a diffusion model on images, from a shell: ``python -m dlgm.train --help``.

    python -m dlgm.train mnist --out runs/digits
    python -m dlgm.train photos/cats --size 64 --steps 100000 --out runs/cats
    torchrun --nproc-per-node=4 -m dlgm.train photos/cats --size 64 --steps 100000 --batch 256 --out runs/cats

The folder OUT receives checkpoint.pt (every so many steps; a run that was stopped goes on from it when the same command
is given again), samples_000500.png and so on, and at the end model.safetensors. Either of the two files gives a ready
denoiser: ``denoiser, card = dlgm.training.load("runs/cats/model.safetensors")``. Pictures that would take more than a
quarter of the free memory are read from disk as they are needed.
"""

import argparse
import contextlib
import json
import math
import sys
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from .. import data, plots
from ..data.folder import of_a_run
from ..denoiser import Denoiser
from ..nets import UNet
from ..schedules import cosine_beta, linear_beta
from .files import save
from .images import draw, image_loss, load_images
from .loop import EMA, CosineLR, fit
from .machine import free_memory, mixed_precision, processes, rank_and_world
from .muon import Muon

SCHEDULES = {"cosine": cosine_beta, "linear": linear_beta}
OPTIMIZERS = {"muon": Muon, "adam": torch.optim.Adam}


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
    p.add_argument("--optimizer", choices=OPTIMIZERS, default="muon", help="of the weights (%(default)s)")
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
    p.add_argument("--workers", type=int, help="read pictures from disk with so many processes (folders)")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return p


WHOLE = {  # option: smallest and largest value
    "size": (1, 2048), "steps": (1, 10**9), "batch": (1, 10**6), "T": (1, 10**5), "blocks": (1, 64),
    "every": (1, 10**9), "samples": (0, 10**5), "sample_steps": (1, 10**5), "accumulate": (1, 10**6),
    "seed": (0, 2**31 - 1), "workers": (0, 256),
}  # fmt: skip


def check(args):
    """Refuse options that are out of range, before anything is read or written; the widths become numbers.

    Raises:
        ValueError: one is; it is named, with its range.
    """
    for name, (low, high) in WHOLE.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"--{name.replace('_', '-')} must be a whole number from {low} to {high}; got {value}")
    if not 0 < args.lr <= 1000:
        raise ValueError(f"--lr must be a number above 0, at most 1000; got {args.lr}")
    for name, value in (("ema", args.ema), ("dropout", args.dropout)):
        if not 0 <= value < 1:
            raise ValueError(f"--{name} must lie in [0, 1); got {value}")
    try:
        args.widths = tuple(int(w) for w in args.widths.split(","))
        if not all(1 <= w <= 4096 for w in args.widths):
            raise ValueError
    except ValueError:
        raise ValueError(
            "--widths must be numbers from 1 to 4096 with commas between them, such as 32,64,96; "
            f"got {','.join(map(str, args.widths)) if isinstance(args.widths, tuple) else args.widths}"
        ) from None
    if not args.source:
        raise ValueError("the folder of the pictures has no name")
    if args.source in data.SETS and args.workers is not None:
        raise ValueError(f"--workers is for folders; {args.source} lies in memory")


def model_for(args, channels, classes):
    """The untrained Denoiser that the arguments ask for, its first weights fixed by the seed."""
    widths = args.widths
    schedule = SCHEDULES[args.schedule](args.T)
    torch.manual_seed(args.seed)
    net = UNet(
        channels, widths, blocks=args.blocks, classes=classes, dropout=args.dropout, time_scale=1000 / args.T,
        heads=math.gcd(4, *widths),
    )  # fmt: skip
    return Denoiser(net, schedule, args.predicts)


def pictures(args):
    """(examples for ``fit``, their shape, names of the classes, remarks): of a stored set or a folder, never of OUT."""
    channels, remarks = 1 if args.gray else 3, []
    if args.source in data.SETS:
        v, y = load_images(args.source, args.size, channels)
        return ((v, y) if args.labels else v), v.shape, data.label_names(args.source), remarks
    size, source = args.size or 32, Path(args.source)
    if source.is_dir() and source.resolve() == args.out.resolve():
        raise ValueError(f"--out is the folder of the pictures, {source}; name another one, it may lie inside")
    if source.resolve() in args.out.resolve().parents and args.out.is_dir() and not of_a_run(args.out):
        with contextlib.suppress(data.DataError):  # it holds none
            count = len(data.find(args.out).files)
            raise ValueError(f"--out is a folder with {count} of the pictures, {args.out}; name a new one")
    stored = data.Pictures(source, size, channels, args.labels, leave_out=args.out)
    on_disk = args.workers is not None or stored.shape.numel() > free_memory() // 4
    v = None if on_disk else torch.empty(stored.shape, dtype=torch.uint8)
    stored.digest, moving = stored.checked(v)
    names = stored.listing.classes
    if stored.listing.passed:
        said = ", ".join(f"{n} {kind}" for kind, n in sorted(stored.listing.passed.items()))
        remarks.append(f"passed over: {said}")
    if moving:
        remarks.append(f"of {moving} files with several pictures the first one counts")
    if on_disk:
        remarks.append("read from disk as they are needed")
        return stored, stored.shape, names, remarks
    return ((v, stored.labels) if args.labels else v), v.shape, names, remarks


@contextlib.contextmanager
def alone(out, leader):
    """The folder OUT for this run only, as long as the context lasts."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {out} cannot be made a folder ({error.strerror})") from None
    if not leader:
        yield
        return
    try:
        with FileLock(out / "run.lock", timeout=0):
            yield
    except Timeout:
        raise ValueError(f"another run is writing into {out}; wait for it, or name another --out") from None


def train(args):
    """Run the training that the arguments describe; returns its History."""
    check(args)
    result = args.out / "model.safetensors"
    if result.exists():
        raise ValueError(f"{result} exists already: this run is done. Name another --out, or remove the file first")
    examples, (n, channels, size, _), names, remarks = pictures(args)
    if args.labels and len(names) < 2:
        raise ValueError("--labels needs images of at least two classes (subfolders)")
    smallest = 2 ** (len(args.widths) - 1)
    if size < smallest:
        raise ValueError(f"images of {size} pixels cannot be halved {len(args.widths) - 1} times; take fewer --widths")
    model = model_for(args, channels, len(names) if args.labels else 0)
    ema = EMA(model, args.ema)
    about = {"source": str(Path(args.source)), "size": str(size), "channels": str(channels)}
    about |= {"classes": json.dumps(names, ensure_ascii=False)} if args.labels else {}
    about = {key: value.encode(errors="backslashreplace").decode() for key, value in about.items()}  # names in no code
    device = args.device or ("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    with processes(device) as device, alone(args.out, leader := rank_and_world()[0] == 0):
        torch.set_float32_matmul_precision("high")
        if leader:
            count = sum(p.numel() for p in model.parameters())
            print(f"{n} images of {channels}×{size}×{size}, {count:,} parameters, on {device}, into {args.out}")
            if args.labels:
                print(f"{len(names)} classes: {', '.join(f'{i} {name!r}' for i, name in enumerate(names))}")
            print("".join(f"{remark}\n" for remark in remarks), end="")

        def grid(average):
            """Write a grid of samples as a picture; there is nothing to record."""
            if args.samples:
                with mixed_precision(device, args.precision):
                    drawn = draw(average, args.samples, size, args.sample_steps, args.seed, device)
                picture = plots.tile(drawn.float().cpu(), math.ceil(math.sqrt(args.samples)))
                plots.save_image(picture, args.out / f"samples_{ema.updates:06d}.png", scale=max(1, 64 // size))

        history = fit(
            model, image_loss, examples, steps=args.steps, batch_size=args.batch, lr=CosineLR(args.lr, args.steps),
            optimizer=OPTIMIZERS[args.optimizer], clip=1.0, seed=args.seed, device=device, ema=ema,
            precision=args.precision, compile=args.compile, accumulate=args.accumulate, evaluate=grid,
            every=args.every, checkpoint=args.out / "checkpoint.pt", progress=not args.quiet, about=about,
            workers=args.workers or 0,
        )  # fmt: skip
        if leader and not history.interrupted:
            card = about | {"seed": args.seed, "steps": args.steps, "batch": args.batch, "lr": args.lr}
            card |= {"optimizer": args.optimizer}
            save(ema.model, result, **card, minutes=f"{history.seconds / 60:.1f}", device=device)
            print(f"{history}\nwrote {result}")
    return history


def main(argv=None):
    """The command; a mistake in the arguments or the data ends it with a sentence."""
    for stream in (sys.stdout, sys.stderr):  # a name that the console cannot show must not stop a run
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")
    args = parser().parse_args(argv)
    try:
        return 1 if train(args).interrupted else 0
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint, if there is one", file=sys.stderr)
        return 1
    except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        words = str(error).strip().rpartition("DataError: ")[2]  # of a process that read ahead, without its traceback
        print(f"error: {words or 'there is not enough memory'}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if "alloc" not in str(error):
            raise
        print(f"error: there is not enough memory: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
