"""Data: the sets that ship with the course, and those that are drawn anew each time.

stored      MNIST, Fashion-MNIST, digits of 8 x 8 pixels, photographs, checkpoints
folder      pictures in a folder of yours
captions    of the pictures of a folder
clips       in a folder of yours
toys        points in the plane
scenes      captioned and moving digits
faces       captioned cartoon faces and their clips

Drawn sets take all their randomness from generator= and live on its device, the CPU if it is None. The same seed gives
the same data.
"""

from . import faces
from .captions import captions_of
from .clips import Clips
from .folder import IMAGE_SUFFIXES, Pictures, find, images, label_names
from .scenes import COLOURS, DIGIT_WORDS, RELATIONS, captioned_digits, moving_digits
from .stored import (
    CHECKPOINTS,
    SETS,
    SPLITS,
    DataError,
    checkpoint,
    data_folder,
    from_uint8,
    load,
    measured,
    photos,
    read_npz,
    to_uint8,
)
from .toys import TOYS, toy

__all__ = [
    "CHECKPOINTS", "COLOURS", "DIGIT_WORDS", "IMAGE_SUFFIXES", "RELATIONS", "SETS", "SPLITS", "TOYS", "Clips",
    "DataError", "Pictures", "captioned_digits", "captions_of", "checkpoint", "data_folder", "faces", "find",
    "from_uint8", "images", "label_names", "load", "measured", "moving_digits", "photos", "read_npz", "to_uint8", "toy",
]  # fmt: skip
