"""Data sets that ship with the course.

Stored sets lie in the repository's folder data/ (or where the environment variable DLGM_DATA points). Each file is
compared with the SHA-256 in MANIFEST.json before it is read, once per process. Grey values become float32 numbers in
[-1, 1]: with m the largest value of the file (255; 16 for digits8), x = 2 v / m − 1.
"""

import functools
import gzip
import hashlib
import json
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from ..tensors import known

CHECKPOINTS = "checkpoints"  # the folder of trained weights, inside the data folder
MEASURED = "measured"  # the folder of tables that took long to measure
SETS = ("mnist", "fashion", "digits8")
SPLITS = ("train", "test")


class DataError(ValueError):
    """A data file is missing, truncated or altered; the message names it and says how to get it back."""


def load(name, split="train", folder=None, raw=False):
    """Images and labels of a stored set, or of a full-size set in the IDX format that lies in a folder of yours.

    Shipped are 9,000 + 1,000 images of mnist, 20,000 + 10,000 of fashion, 1,500 + 297 of digits8 (training + test).

    Args:
        name: one of SETS. With folder it only names the set in messages.
        split: "train" or "test".
        folder: where train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte lie, each as it is or with .gz. None: the shipped files.
        raw: give the bytes of the file as uint8, a quarter of the memory; for mnist and fashion ``from_uint8`` makes x.
    Returns:
        x: (N, 1, H, W) float32 in [-1, 1], or uint8; H = W = 28 for mnist and fashion, 8 for digits8.
        y: (N,) int64, the class of each image; label_names(name) tells what the classes are.
    Raises:
        ValueError: unknown name or split.
        DataError: a file is missing, truncated or altered.
    """
    known("split", split, SPLITS)
    if folder is not None:
        return _tensors(*_read_idx_pair(name, split, Path(folder)), top=255, raw=raw)
    known("data set", name, SETS)
    file = f"{name}.npz"
    arrays, n = read_npz(file), _entry(file)["train"]
    if "images" in arrays:
        part = slice(n) if split == "train" else slice(n, None)
        images, labels = arrays["images"][part], arrays["labels"][part]
    else:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    return _tensors(images, labels, top=16 if name == "digits8" else 255, raw=raw)


def stored_names(name):
    """What the classes of a stored set are."""
    return tuple(_entry(f"{name}.npz")["labels"])


def photos():
    """Four colour photographs, for demonstrations of noise and restoration; four pictures are no data set.

    Returns:
        Name -> (3, H, W) float32 in [-1, 1], 256 pixels on the shorter side.
    Raises:
        DataError: the file is missing, truncated or altered.
    """
    images = {name: torch.from_numpy(v).permute(2, 0, 1) for name, v in read_npz("photos.npz").items()}
    return {name: (v.float() / 127.5 - 1).contiguous() for name, v in images.items()}


def to_uint8(x, top=255):
    """Grey values or colours of x, v = round((x + 1) · top / 2): the exact inverse of loading.

    Args:
        x: any shape, meant to lie in [-1, 1]; values outside are clamped to it without a word.
        top: the value of x = 1: 255, or 16 to get the file's values of digits8 back.
    Returns:
        x's shape, uint8 in 0..top.
    Raises:
        ValueError: x holds NaN, for which there is no grey value.
    """
    if x.isnan().any():
        raise ValueError(f"{int(x.isnan().sum())} of {x.numel()} values are NaN and have no grey value")
    return ((x.float().clamp(-1, 1) + 1) * (top / 2)).round().to(torch.uint8)


def from_uint8(v):
    """x = v / 127.5 − 1: levels 0..255 as float32 numbers in [-1, 1]; ``to_uint8`` undoes it."""
    return v.float() / 127.5 - 1


def data_folder():
    """Where the data files are looked for: $DLGM_DATA if it is set, else data/ beside the package."""
    chosen = os.environ.get("DLGM_DATA")
    return Path(chosen) if chosen else Path(__file__).resolve().parents[2] / "data"


def read_npz(file):
    """The arrays of a shipped file, after its bytes were compared with the manifest.

    Args:
        file: a file named in MANIFEST.json, such as "mnist.npz".
    Returns:
        Array name -> values as stored.
    Raises:
        DataError: the file or the manifest is missing, truncated or altered.
    """
    path = _verified_path(file)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def checkpoint(name):
    """The file of trained weights of that name, after its bytes were compared with the manifest.

    Its card says what was trained, how and how good it is; see ``training.load_weights``.

    Args:
        name: such as "vae_mnist".
    Raises:
        ValueError: there is no checkpoint of that name.
        DataError: the file or the manifest is missing, truncated or altered.
    """
    manifest = data_folder() / CHECKPOINTS / "MANIFEST.json"
    if manifest.is_file() and f"{name}.safetensors" not in (known := json.loads(manifest.read_text(encoding="utf-8"))):
        raise ValueError(f"no checkpoint is called {name!r}; there are {', '.join(Path(k).stem for k in known)}")
    return _verified_path(f"{CHECKPOINTS}/{name}.safetensors")


def measured(name):
    """What a long run measured of the shipped networks: a dict with "what", "command", "hardware" and "values".

    values: dict entry -> [value, standard error]. ``data/measure.py`` makes the files again.

    Args:
        name: "bits_mnist" (lesson 10), "steps_mnist" (11), "calls_mnist" or "flow_mnist" (14).
    Raises:
        DataError: there is no such file, or it is damaged.
    """
    path = data_folder() / MEASURED / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise DataError(
            f"cannot read the table {name!r} ({error}); there: {there}. python data/measure.py NAME makes one again"
        ) from None


def _tensors(images, labels, top, raw):
    """Grey values 0..top and labels -> x (N, 1, H, W) float32 in [-1, 1] or uint8, y (N,) int64."""
    y = torch.from_numpy(labels.astype(np.int64))
    if raw:
        return torch.from_numpy(images.astype(np.uint8)).unsqueeze(1), y
    x = torch.from_numpy(images.astype(np.float32)).unsqueeze(1)
    return x.div_(top / 2).sub_(1), y


# ---- verification --------------------------------------------------------------------------------------------------
def _verified_path(file):
    """Path of a shipped file whose bytes are those of the manifest."""
    path, expected = data_folder() / file, _entry(file)
    if not path.is_file():
        raise DataError(f"data file {path} is missing (expected sha256 {expected['sha256']}). {_way_back(file)}")
    status = path.stat()
    found = _sha256(path, status.st_mtime_ns, status.st_size)
    if found != expected["sha256"]:
        size, whole = status.st_size, expected["bytes"]
        what = f"truncated: {size:,} of {whole:,} bytes" if size < whole else "altered"
        raise DataError(
            f"data file {path} is {what} (expected sha256 {expected['sha256']}, found {found}). {_way_back(file)}"
        )
    return path


@functools.lru_cache(maxsize=64)
def _sha256(path, mtime_ns, size):
    """Hash of a file's bytes; the time stamp and the size make a changed file a new question."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _entry(file):
    """The manifest's entry of a shipped file."""
    manifest = (Path(file).parent / "MANIFEST.json").as_posix()  # each folder has one
    path = data_folder() / manifest
    if not path.is_file():
        raise DataError(f"data file {path} is missing. {_way_back(manifest)}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))[Path(file).name]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"data file {path} is damaged or lacks {Path(file).name} ({error}). {_way_back(manifest)}"
        ) from error


def _way_back(file):
    """How to get a shipped file back, as the last sentence of an error message."""
    rebuild = "all" if file.endswith("MANIFEST.json") else Path(file).stem
    script = "train.py" if file.startswith(CHECKPOINTS) else "build.py"
    place = f" Files are looked for in DLGM_DATA={os.environ['DLGM_DATA']}." if os.environ.get("DLGM_DATA") else ""
    return f"To get it back: `git checkout -- data/{file}`, or `python data/{script} {rebuild}`.{place}"


# ---- IDX files ------------------------------------------------------------------------------------------------------
def _read_idx_pair(name, split, folder):
    """Images (N, H, W) and labels (N,), uint8, of one split of an MNIST-like set."""
    stem = {"train": "train", "test": "t10k"}[split]
    image_file = _find_idx(name, folder, f"{stem}-images-idx3-ubyte")
    label_file = _find_idx(name, folder, f"{stem}-labels-idx1-ubyte")
    images, labels = _read_idx(image_file, dimensions=3), _read_idx(label_file, dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{image_file} holds {len(images)} images, but {label_file} holds {len(labels)} labels")
    return images, labels


def _find_idx(name, folder, file):
    for candidate in (folder / file, folder / f"{file}.gz"):
        if candidate.is_file():
            return candidate
    raise DataError(f"data set {name}: neither {file} nor {file}.gz is in {folder}")


def _read_idx(path, dimensions):
    """Values of an IDX file of unsigned bytes: magic number 0x0800 + dimensions, the sizes, then the values."""
    content = _read_bytes(path)
    header = 4 + 4 * dimensions
    magic = struct.unpack(">I", content[:4])[0] if len(content) >= 4 else None
    if magic is not None and magic != 0x0800 + dimensions:
        raise DataError(f"{path} begins with the magic number {magic}, expected {0x0800 + dimensions}")
    if len(content) < header:
        raise DataError(f"{path} is truncated: {len(content)} bytes, the header alone has {header}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "too long"
        raise DataError(f"{path} is {what}: {len(content)} bytes, its header {shape} promises {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_bytes(path):
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or not a gzip file ({error})") from error
