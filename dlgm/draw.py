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
import math
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
    p.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu", help="(%(default)s)")
    return p


def shipped(name):
    """The models of a cascade that ships with the course, the smallest picture's first: a list of (Denoiser, card).

    Raises:
        ValueError: there is no such cascade.
        DataError: a file is missing or damaged.
    """
    known("cascade", name, CASCADES)
    return [training.load(data.checkpoint(file)) for file in CASCADES[name][0]]
