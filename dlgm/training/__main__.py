"""Train a diffusion model on images, from a shell: ``python -m dlgm.train --help``.

    python -m dlgm.train mnist --out runs/digits
    python -m dlgm.train photos/cats --size 64 --steps 100000 --out runs/cats
    python -m dlgm.train photos/described --captions --size 64 --out runs/described
    python -m dlgm.train films --clips 16 --size 32 --batch 8 --out runs/films
    torchrun --nproc-per-node=4 -m dlgm.train photos/cats --size 64 --steps 100000 --batch 256 --out runs/cats

The folder OUT receives checkpoint.pt (every so many steps; a run that was stopped goes on from it when the same command
is given again), samples_000500.png and so on (of clips samples_000500.webp; of captions samples.txt, too, which says
what was asked for), and at the end model.safetensors. Either of the two files gives a ready denoiser:
``denoiser, card = dlgm.training.load("runs/cats/model.safetensors")``; ``python -m dlgm.draw`` draws with it. Pictures
that would take more than a quarter of the free memory are read from disk as they are needed; clips are kept in memory.
"""

import argparse
import contextlib
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from .. import data, plots
from ..data.folder import of_a_run
from ..denoiser import Denoiser
from ..nets import CaptionedUNet, Tokenizer, UNet, VideoUNet
from ..schedules import cosine_beta, linear_beta
from ..writing import atomically
from .files import save
from .images import draw, image_loss, load_images
from .loop import EMA, CosineLR, fit
from .machine import free_memory, mixed_precision, processes, rank_and_world
from .muon import Muon

SCHEDULES = {"cosine": cosine_beta, "linear": linear_beta}
OPTIMIZERS = {"muon": Muon, "adam": torch.optim.Adam}
MOST_WORDS = 64  # of a caption; what is longer is cut


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
    p.add_argument(
        "--captions", action="store_true", help="tell it the caption: name.txt beside name.png, or captions.csv in the "
        "folder, with the columns file,caption",
    )  # fmt: skip
    p.add_argument(
        "--clips", type=int, metavar="F", help="train on clips of F frames: animations (GIF, APNG, WebP), and folders "
        "of frames; longer ones are cut into several",
    )  # fmt: skip
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
    "size": (1, 2048), "steps": (1, 10**9), "batch": (1, 10**6), "T": (1, 10**5), "blocks": (1, 64), "clips": (2, 1024),
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
    told = {"--labels": args.labels, "--captions": args.captions, "--clips": args.clips}
    several = [option for option, given in told.items() if given]
    if len(several) > 1:
        raise ValueError(f"{' and '.join(several)} do not go together; take one of them")
    if args.source in data.SETS and (args.captions or args.clips):
        raise ValueError(f"{several[0]} is for folders; {args.source} holds pictures with labels")
    if args.source in data.SETS and args.workers is not None:
        raise ValueError(f"--workers is for folders; {args.source} lies in memory")
    if args.clips and args.workers is not None:
        raise ValueError("--workers is for pictures; clips are kept in memory")


@dataclass
class Examples:
    """What is trained on: ``data`` as ``fit`` takes it, its shape, classes and captions if they are told; remarks."""

    data: object
    shape: tuple
    classes: tuple = ()
    captions: tuple = ()
    remarks: list = field(default_factory=list)


def model_for(args, examples):
    """The untrained Denoiser that the arguments ask for, its first weights fixed by the seed."""
    widths = args.widths
    settings = dict(
        channels=examples.shape[-3], widths=widths, blocks=args.blocks, dropout=args.dropout, time_scale=1000 / args.T,
        heads=math.gcd(4, *widths),
    )  # fmt: skip
    torch.manual_seed(args.seed)
    if args.captions:
        net = CaptionedUNet(Tokenizer.of(examples.captions).words, **settings)
    else:
        net = (VideoUNet if args.clips else UNet)(classes=len(examples.classes), **settings)
    return Denoiser(net, SCHEDULES[args.schedule](args.T), args.predicts)


def examples_of(args):
    """The Examples of a stored set or a folder, never of OUT."""
    channels, size, source = 1 if args.gray else 3, args.size or 32, Path(args.source)
    if args.source in data.SETS:
        v, y = load_images(args.source, args.size, channels)
        names = data.label_names(args.source) if args.labels else ()
        return Examples((v, y) if args.labels else v, v.shape, names)
    if source.is_dir() and source.resolve() == args.out.resolve():
        raise ValueError(f"--out is the folder of the pictures, {source}; name another one, it may lie inside")
    if source.resolve() in args.out.resolve().parents and args.out.is_dir() and not of_a_run(args.out):
        with contextlib.suppress(data.DataError):  # it holds none
            count = len(data.find(args.out).files)
            raise ValueError(f"--out is a folder with {count} of the pictures, {args.out}; name a new one")
    if args.clips:
        return clips(data.Clips(source, size, args.clips, channels, leave_out=args.out))
    return pictures(args, data.Pictures(source, size, channels, args.labels, leave_out=args.out))


def pictures(args, stored):
    """The Examples of the pictures of a folder, in memory if there is room, with labels or captions."""
    passed, captions, remarks = dict(stored.listing.passed), (), []
    if args.captions:
        captions, read, remarks = data.captions_of(stored.listing)
        for file in read:  # they were passed over as pictures
            passed[file.suffix] -= 1
        tokens = Tokenizer.of(captions)(captions, MOST_WORDS + 1)
        longer = int((tokens[:, MOST_WORDS] != 0).sum())
        remarks += [f"{longer} captions are longer than {MOST_WORDS} words and are cut"] if longer else []
        stored.labels = tokens[:, : min(MOST_WORDS, int((tokens != 0).sum(1).max()))].contiguous()
    on_disk = args.workers is not None or stored.shape.numel() > free_memory() // 4
    v = None if on_disk else torch.empty(stored.shape, dtype=torch.uint8)
    stored.digest, moving = stored.checked(v)
    remarks += passed_over(passed)
    if moving:
        remarks.append(f"of {moving} files with several pictures the first one counts")
    if on_disk:
        remarks.append("read from disk as they are needed")
    told = v if stored.labels is None else (v, stored.labels)
    names = stored.listing.classes if args.labels else ()
    return Examples(stored if on_disk else told, stored.shape, names, tuple(captions), remarks)


def clips(stored):
    """The Examples of the clips of a folder."""
    count, free = stored.shape.numel(), free_memory()
    if count > free // 4:
        raise ValueError(
            f"{stored.shape[0]} clips take {count:,} bytes, more than a quarter of the {free:,} that are free; take a "
            "smaller --size, --gray, or fewer clips"
        )
    remarks = [f"{stored.short} clips with fewer than {stored.frames} frames"] if stored.short else []
    remarks += [f"{stored.single} pictures beside animations"] if stored.single else []
    remarks = [f"passed over: {', '.join(remarks)}"] if remarks else []
    return Examples(stored.read(), stored.shape, remarks=remarks + passed_over(stored.listing.passed))


def passed_over(passed):
    """The remark, if any, on what ``data.find`` passed over."""
    said = ", ".join(f"{n} {kind}" for kind, n in sorted(passed.items()) if n)
    return [f"passed over: {said}"] if said else []


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
    examples = examples_of(args)
    (n, *_, channels, size, _), names = examples.shape, examples.classes
    if args.labels and len(names) < 2:
        raise ValueError("--labels needs images of at least two classes (subfolders)")
    smallest = 2 ** (len(args.widths) - 1)
    if size < smallest:
        raise ValueError(f"images of {size} pixels cannot be halved {len(args.widths) - 1} times; take fewer --widths")
    model = model_for(args, examples)
    ema = EMA(model, args.ema)
    about = {"source": str(Path(args.source)), "size": str(size), "channels": str(channels)}
    about |= {"classes": json.dumps(names, ensure_ascii=False)} if args.labels else {}
    about |= {"frames": str(args.clips)} if args.clips else {}
    about = {key: value.encode(errors="backslashreplace").decode() for key, value in about.items()}  # names in no code
    device = args.device or ("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    with processes(device) as device, alone(args.out, leader := rank_and_world()[0] == 0):
        torch.set_float32_matmul_precision("high")
        if leader:
            count = sum(p.numel() for p in model.parameters())
            what = f"clips of {args.clips} frames" if args.clips else "images"
            print(f"{n} {what} of {channels}×{size}×{size}, {count:,} parameters, on {device}, into {args.out}")
            if args.labels:
                print(f"{len(names)} classes: {', '.join(f'{i} {name!r}' for i, name in enumerate(names))}")
            if args.captions:
                print(f"captions of {len(model.net.tokenizer.words)} different words")
            print("".join(f"{remark}\n" for remark in examples.remarks), end="")

        def grid(average):
            """Write a grid of samples as a picture, of clips as an animation; there is nothing to record."""
            if not args.samples:
                return
            asked = [examples.captions[i * n // args.samples] for i in range(args.samples)] if args.captions else []
            y = average.net.tokenizer(asked, MOST_WORDS) if asked else None
            with mixed_precision(device, args.precision):
                x = draw(average, args.samples, size, args.sample_steps, args.seed, device, args.clips, y)
            write_samples(x.float().cpu(), args.out / f"samples_{ema.updates:06d}")
            if asked:
                lines = "".join(f"{i} {caption}\n" for i, caption in enumerate(asked, 1))
                atomically(args.out / "samples.txt", lambda part: part.write_text(lines, encoding="utf-8"))

        history = fit(
            model, image_loss, examples.data, steps=args.steps, batch_size=args.batch, lr=CosineLR(args.lr, args.steps),
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


def write_samples(x, stem):
    """Pictures (N, C, H, W) as one, stem.png; clips (N, F, C, H, W) as an animation, stem.webp."""
    columns, scale = math.ceil(math.sqrt(len(x))), max(1, 64 // x.shape[-1])
    if x.ndim == 4:
        return plots.save_image(plots.tile(x, columns), f"{stem}.png", scale)
    frames = [plots.tile(frame, columns) for frame in x.unbind(1)]
    atomically(f"{stem}.webp", lambda part: plots.save_animation(frames, part, scale))


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
