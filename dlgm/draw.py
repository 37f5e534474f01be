"""Draw with a trained model, from a shell: ``python -m dlgm.draw --help``.

    python -m dlgm.draw faces "a happy person with red hair" "a sad person" --w 2
    python -m dlgm.draw runs/cats --n 16 --out cats
    python -m dlgm.draw runs/kinds --label tabby

Each picture becomes a PNG, each clip a WebP, named after what was asked for and numbered; no file is overwritten. One
seed gives the same noise to every caption.
"""

import argparse
import contextlib
import itertools
import json
import re
import sys
from pathlib import Path

import torch

from . import data, plots, training
from .cascade import Cascade
from .denoiser import Clipped, Denoiser
from .guidance import ClassifierFree
from .nets import CaptionedUNet, VideoUNet
from .schedules import time_grid
from .tensors import known
from .writing import atomically

CASCADES = {  # name: checkpoints, levels of the noise on what the upsamplers are told, side of the smallest picture
    "faces": (("base_faces", "upsampler_faces_32", "upsampler_faces_64"), (100, 50), 16),
}
CHUNK = 64  # pictures that are drawn at once
RANGES = {"n": (1, 10**4), "size": (1, 2048), "steps": (1, 10**5), "seed": (0, 2**31 - 1), "w": (-1, 100)}


def parser():
    """The arguments of the command."""
    p = argparse.ArgumentParser(prog="python -m dlgm.draw", description="Draw with a trained model.")
    p.add_argument("model", help=f"{', '.join(CASCADES)}; or the OUT folder of dlgm.train, or a file in it")
    p.add_argument("captions", nargs="*", help="what to draw, for a model that was trained with captions")
    p.add_argument("--label", help="name or number of a class, for a model that was trained with labels")
    p.add_argument("--w", type=float, default=2.0, help="weight of guidance towards caption or label (%(default)s)")
    p.add_argument("--n", type=int, default=4, help="pictures of each caption (%(default)s)")
    p.add_argument("--size", type=int, help="side in pixels (that of training)")
    p.add_argument("--steps", type=int, default=50, help="DDIM steps (%(default)s)")
    p.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    p.add_argument("--out", type=Path, default=Path("drawn"), help="folder for the pictures (%(default)s)")
    p.add_argument("--device", choices=("cpu", "cuda", "mps"), help="the fastest there is unless said")
    return p


def check(args):
    """Refuse options that are out of range, before anything is read or written.

    Raises:
        ValueError: one is; it is named, with its range.
    """
    for name, (low, high) in RANGES.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"--{name} must be a number from {low} to {high}; got {value}")


def shipped(name):
    """The Cascade of that name that ships with the course, its models Denoisers that read captions, unguided.

    Raises:
        ValueError: there is no such cascade.
        DataError: one of its files is missing or damaged, or its networks know other words than each other.
    """
    known("cascade", name, CASCADES)
    files, levels, _ = CASCADES[name]
    models = tuple(training.load(data.checkpoint(file))[0] for file in files)
    if len({model.net.tokenizer.words for model in models}) > 1:  # one row of numbers is told to all of them
        raise data.DataError(f"{', '.join(files)} were trained with different words; train them on the same captions")
    return Cascade(models, levels)


def opened(place):
    """(Denoiser of pictures, card) of a file of ``training.save``, a checkpoint, or a folder with one of them.

    Raises:
        ValueError: there is none, or what it holds draws no pictures.
    """
    path = Path(place)
    if path.is_dir():
        found = [path / name for name in ("model.safetensors", "checkpoint.pt") if (path / name).is_file()]
        if not found:
            raise ValueError(f"the folder {place} holds no model.safetensors and no checkpoint.pt")
        path = found[0]
    if not path.is_file():
        raise ValueError(f"there is no model {place}; expected {', '.join(CASCADES)}, a file, or the folder of a run")
    model, card = training.load(path)
    if model.channels not in (1, 3):
        raise ValueError(f"{path} holds a {type(model.net).__name__}, which draws no pictures of 1 or 3 channels")
    return model, card


def requests(args, net, card):
    """Pairs (what a file is named after, y of ``training.draw``): of each caption, of the label, or one of neither.

    Raises:
        ValueError: the network was not trained with what is asked for.
    """
    classes, reads = net.settings["classes"], isinstance(net, CaptionedUNet)
    if args.captions and not reads:
        hint = "--label" if classes else "--n alone"
        raise ValueError(f"{args.model} was trained without captions; take {hint} in the place of {args.captions[0]!r}")
    if args.label is not None and not classes:
        raise ValueError(f"{args.model} was trained without labels; leave --label out")
    if reads:
        return [(caption, net.tokenizer([caption]).expand(args.n, -1)) for caption in args.captions or [""]]
    if args.label is not None:
        return [(args.label, torch.full((args.n,), number_of(args.label, classes, card)))]
    return [("", torch.arange(args.n) % classes if classes else None)]


def number_of(label, classes, card):
    """The number of a class, given its name on the card, or the number."""
    names = json.loads(card.get("classes", "[]"))
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < classes:
        return int(label)
    there = ", ".join(map(repr, names)) or f"the numbers 0 to {classes - 1}"
    raise ValueError(f"there is no class {label!r}; there are {there}")


def places(folder, text, suffix):
    """Paths in the folder that do not exist yet, named after a text and numbered; a name that any system takes."""
    stem = "-".join(re.findall(r"\w+", text.lower()))[:48].strip("-_") or "picture"
    for i in itertools.count(1):
        path = folder / f"{stem}_{i:03d}{suffix}"
        if not path.exists():
            yield path


def model_of(args):
    """(Denoiser or Cascade, the network that is told what to draw, card) of what the arguments name."""
    if args.model not in CASCADES:
        model, card = opened(args.model)
        return model, model.net, card
    if args.size:
        raise ValueError(f"{args.model} draws pictures of one size; leave --size out")
    cascade = shipped(args.model)
    return cascade, cascade.models[0].net, {"size": CASCADES[args.model][2]}


def drawn(model, args, size, frames, seed, y, n, device):
    """n pictures or clips of a Denoiser, or the largest pictures of a Cascade; see ``training.draw``."""
    if isinstance(model, Denoiser):
        return training.draw(model.to(device), n, size, args.steps, seed, frames=frames, y=y, w=args.w)
    base = model.models[0]
    guided = Cascade(tuple(Clipped(ClassifierFree(m.to(device), args.w)) for m in model.models), model.levels)
    times = time_grid(base.schedule, min(args.steps, base.schedule.T))
    generator = torch.Generator().manual_seed(seed)
    return guided.sample((n, base.channels, size, size), times, generator, device=device, y=y.to(device))[-1]


@torch.no_grad()
def draw(args):
    """Draw what the arguments ask for, and write it."""
    check(args)
    model, net, card = model_of(args)
    asked, size = requests(args, net, card), args.size or int(card.get("size", 0))
    if not size:
        raise ValueError(f"{args.model} does not say how large its pictures are; add --size")
    frames = int(card.get("frames", 16)) if isinstance(net, VideoUNet) else None
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {args.out} cannot be made a folder ({error.strerror})") from None
    chunk = max(1, CHUNK // (frames or 1))
    fastest = "cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu"
    with training.processes(args.device or fastest) as device:
        for text, y in asked:
            if text and args.captions and (unknown := net.tokenizer.unknown(text)):
                print(f"words that the model does not know: {', '.join(unknown)}")
            paths, written = places(args.out, text, ".webp" if frames else ".png"), []
            for start in range(0, args.n, chunk):
                seed = training.step_seed(args.seed, start, 0) if start else args.seed
                n, told = min(chunk, args.n - start), None if y is None else y[start : start + chunk]
                x = drawn(model, args, size, frames, seed, told, n, device).float().cpu()
                written += [write(picture, path) for picture, path in zip(x, paths, strict=False)]
            print(f"{text}: " * bool(text) + f"{written[0]}" + f" to {written[-1].name}" * (args.n > 1))


def write(x, path):
    """Write a picture (C, H, W) as a PNG or a clip (F, C, H, W) as a WebP; returns the path."""
    atomically(path, lambda part: (plots.save_image if x.ndim == 3 else plots.save_animation)(x, part))
    return path


def main(argv=None):
    """The command; a mistake in the arguments, the model or the place ends it with a sentence."""
    for stream in (sys.stdout, sys.stderr):  # a name that the console cannot show must not stop a run
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")
    try:
        draw(parser().parse_intermixed_args(argv))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 1
    except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        print(f"error: {str(error).strip() or 'there is not enough memory'}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
