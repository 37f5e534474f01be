"""One training loop for the whole course, on one processor, one GPU or several.

loop        ``steps``, a generator of training steps, and ``fit``, its consumer with bar, evaluation and checkpoint
muon        an optimiser for matrices, with Adam for the rest
machine     precision, and the other processes of a ``torchrun``
files       weights with a card, checkpoints of runs
images      the loss for pictures and clips, samples, pictures from a folder
``python -m dlgm.train`` is the command.
"""

from .files import build, describe, load, load_weights, save, save_weights
from .images import draw, image_loss, load_images
from .loop import EMA, CosineLR, HalfStep, History, Step, batch_indices, fit, step_seed, steps
from .machine import has_bfloat16, mixed_precision, processes, rank_and_world
from .muon import Muon

__all__ = [
    "EMA", "CosineLR", "HalfStep", "History", "Muon", "Step", "batch_indices", "build", "describe", "draw", "fit",
    "has_bfloat16", "image_loss", "load", "load_images", "load_weights", "mixed_precision", "processes",
    "rank_and_world", "save", "save_weights", "step_seed", "steps",
]  # fmt: skip
