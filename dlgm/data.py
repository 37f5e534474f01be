"""Data: the sets that ship with the course, and those that are drawn anew each time.

Stored sets lie in the repository's folder data/ (or where the environment variable DLGM_DATA points). Each file is
compared with the SHA-256 in MANIFEST.json before it is read, once per process. Grey values become float32 numbers in
[-1, 1]: with m the largest value of the file (255; 16 for digits8), x = 2 v / m − 1.

Generated sets (toys, captioned digits, moving digits; cartoon faces in dlgm.faces) draw all their randomness from
generator= and live on its device, the CPU if it is None. The same seed gives the same data.
"""

import functools
import gzip
import hashlib
import json
import math
import os
import struct
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CHECKPOINTS = "checkpoints"  # the folder of trained weights, inside the data folder
SETS = ("mnist", "fashion", "digits8")
SPLITS = ("train", "test")
TOYS = ("moons", "swiss_roll", "checkerboard", "eight_gaussians", "grid25", "rings", "pinwheel")

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {  # name -> red, green, blue, 0..255
    "red": (230, 40, 45),
    "green": (60, 190, 75),
    "blue": (50, 100, 240),
    "yellow": (250, 215, 50),
    "purple": (160, 70, 210),
    "orange": (250, 140, 30),
    "cyan": (60, 210, 220),
    "white": (245, 245, 245),
}
RELATIONS = ("above", "below", "left of", "right of")  # where the first digit lies, seen from the second


class DataError(ValueError):
    """A data file is missing, truncated or altered; the message names it and says how to get it back."""


# ---- stored sets ---------------------------------------------------------
def load(name: str, split: str = "train", folder: str | os.PathLike | None = None) -> tuple[Tensor, Tensor]:
    """Images and labels of a stored set, or of a full-size set in the IDX format that lies in a folder of yours.

    Shipped are 9,000 + 1,000 images of mnist, 20,000 + 10,000 of fashion, 1,500 + 297 of digits8 (training + test).

    Args:
        name: one of SETS. With folder it only names the set in messages.
        split: "train" or "test".
        folder: where train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte lie, each as it is or with .gz. None: the shipped files.
    Returns:
        x: (N, 1, H, W) float32 in [-1, 1]; H = W = 28 for mnist and fashion, 8 for digits8.
        y: (N,) int64, the class of each image; label_names(name) tells what the classes are.
    Raises:
        ValueError: unknown name or split.
        DataError: a file is missing, truncated or altered.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if folder is not None:
        return _with_signs(*_read_idx_pair(name, split, Path(folder)), top=255)
    _require_set(name)
    file = f"{name}.npz"
    arrays, n = read_npz(file), _entry(file)["train"]
    if "images" in arrays:
        part = slice(n) if split == "train" else slice(n, None)
        images, labels = arrays["images"][part], arrays["labels"][part]
    else:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    return _with_signs(images, labels, top=16 if name == "digits8" else 255)


def label_names(name: str) -> tuple[str, ...]:
    """What the classes 0, 1, ... of a stored set are.

    Args:
        name: one of SETS.
    Returns:
        Ten names: label_names("fashion")[9] == "ankle boot".
    Raises:
        ValueError: unknown name.
        DataError: the manifest is missing or damaged.
    """
    _require_set(name)
    return tuple(_entry(f"{name}.npz")["labels"])


def photos() -> dict[str, Tensor]:
    """Four colour photographs, for demonstrations of noise and restoration; four pictures are no data set.

    Returns:
        Name -> (3, H, W) float32 in [-1, 1], 256 pixels on the shorter side.
    Raises:
        DataError: the file is missing, truncated or altered.
    """
    images = {name: torch.from_numpy(v).permute(2, 0, 1) for name, v in read_npz("photos.npz").items()}
    return {name: (v.float() / 127.5 - 1).contiguous() for name, v in images.items()}


def to_uint8(x: Tensor, top: int = 255) -> Tensor:
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


def from_uint8(v: Tensor) -> Tensor:
    """x = v / 127.5 − 1: levels 0..255 as float32 numbers in [-1, 1]; ``to_uint8`` undoes it."""
    return v.float() / 127.5 - 1


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def images(folder: str | os.PathLike, size: int, channels: int = 3) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Every image in a folder and its subfolders, cut to the middle square and scaled to size × size pixels.

    Args:
        folder: with files of the kinds IMAGE_SUFFIXES; others are passed over.
        size: in pixels.
        channels: 3 for colour, 1 for grey.
    Returns:
        v: (N, channels, size, size) uint8, in the order of the paths; ``from_uint8`` gives numbers in [-1, 1].
        y: (N,) int64, the class of each image, which is the first subfolder it lies in.
        names: of the classes; "" for images that lie in the folder itself.
    Raises:
        ValueError: size or channels are of no use.
        DataError: there is no such folder, it holds no image, or a file cannot be read as one.
    """
    from PIL import Image, ImageOps  # here, so that the data sets that ship load without it

    folder = Path(folder)
    if size < 1 or channels not in (1, 3):
        raise ValueError(f"expected size of at least 1 and 1 or 3 channels, got {size} and {channels}")
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataError(f"{folder} holds no image; looked for {', '.join(IMAGE_SUFFIXES)}")
    out, bad = torch.empty(len(files), channels, size, size, dtype=torch.uint8), []
    for i, file in enumerate(files):
        try:
            with Image.open(file) as image:
                image = ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L")
            square = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS))
            out[i] = torch.from_numpy(square.copy()).reshape(size, size, channels).permute(2, 0, 1)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            bad.append(str(file.relative_to(folder)))
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise DataError(
            f"{len(bad)} of {len(files)} files in {folder} cannot be read as images: {', '.join(bad[:3])}{more}; "
            "remove or repair them"
        )
    first = [file.relative_to(folder).parts[:-1][:1] for file in files]
    names = tuple(sorted({"".join(part) for part in first}))
    return out, torch.tensor([names.index("".join(part)) for part in first]), names


def data_folder() -> Path:
    """Where the data files are looked for: $DLGM_DATA if it is set, else data/ beside the package."""
    chosen = os.environ.get("DLGM_DATA")
    return Path(chosen) if chosen else Path(__file__).resolve().parent.parent / "data"


def read_npz(file: str) -> dict[str, np.ndarray]:
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


def checkpoint(name: str) -> Path:
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


def _require_set(name: str) -> None:
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(SETS)}")


def _with_signs(images: np.ndarray, labels: np.ndarray, top: int) -> tuple[Tensor, Tensor]:
    """Grey values 0..top and labels -> x (N, 1, H, W) float32 in [-1, 1], y (N,) int64."""
    x = torch.from_numpy(images.astype(np.float32)).unsqueeze(1)
    return x.div_(top / 2).sub_(1), torch.from_numpy(labels.astype(np.int64))


# ---- verification --------------------------------------------------------
def _verified_path(file: str) -> Path:
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
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    """Hash of a file's bytes; the time stamp and the size make a changed file a new question."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _entry(file: str) -> dict:
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


def _way_back(file: str) -> str:
    """How to get a shipped file back, as the last sentence of an error message."""
    rebuild = "all" if file.endswith("MANIFEST.json") else Path(file).stem
    script = "train.py" if file.startswith(CHECKPOINTS) else "build.py"
    place = f" Files are looked for in DLGM_DATA={os.environ['DLGM_DATA']}." if os.environ.get("DLGM_DATA") else ""
    return f"To get it back: `git checkout -- data/{file}`, or `python data/{script} {rebuild}`.{place}"


# ---- IDX files -----------------------------------------------------------
def _read_idx_pair(name: str, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W) and labels (N,), uint8, of one split of an MNIST-like set."""
    stem = {"train": "train", "test": "t10k"}[split]
    image_file = _find_idx(name, folder, f"{stem}-images-idx3-ubyte")
    label_file = _find_idx(name, folder, f"{stem}-labels-idx1-ubyte")
    images, labels = _read_idx(image_file, dimensions=3), _read_idx(label_file, dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{image_file} holds {len(images)} images, but {label_file} holds {len(labels)} labels")
    return images, labels


def _find_idx(name: str, folder: Path, file: str) -> Path:
    for candidate in (folder / file, folder / f"{file}.gz"):
        if candidate.is_file():
            return candidate
    raise DataError(f"data set {name}: neither {file} nor {file}.gz is in {folder}")


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
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


def _read_bytes(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or not a gzip file ({error})") from error


# ---- randomness ----------------------------------------------------------
def _uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.rand(shape, generator=generator, device=_device(generator))


def _normal(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, device=_device(generator))


def _integers(high: int, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Whole numbers 0..high-1, int64."""
    return torch.randint(high, shape, generator=generator, device=_device(generator))


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _require_positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")


# ---- toys ----------------------------------------------------------------
def toy(name: str, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n independent points of a 2-D density with about zero mean and unit scale.

    Args:
        name: one of TOYS.
            moons: two half circles of radius 1.2 that interlock, noise 0.06.
            swiss_roll: the spiral r = angle / 7.5 for angles from 1.5 π to 4.5 π, noise 0.05.
            checkerboard: uniform on the eight dark squares, of side 0.85, of a 4 x 4 board.
            eight_gaussians: equal weights, at radius 1.5, standard deviation 0.1.
            grid25: 5 x 5 Gaussians at distances of 0.75, standard deviation 0.06.
            rings: radius 0.6, 1.2 or 1.8, noise 0.04.
            pinwheel: five bent arms.
        n: number of points.
        generator: source of randomness.
    Returns:
        (n, 2) float32.
    Raises:
        ValueError: unknown name, or n <= 0.
    """
    if name not in _TOYS:
        raise ValueError(f"unknown toy {name!r}; known: {', '.join(TOYS)}")
    _require_positive(n=n)
    return _TOYS[name](n, generator)


def _on_circle(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], -1)


def _moons(n, generator):
    upper = _on_circle(math.pi * _uniform((n,), generator))
    lower = torch.tensor([1.0, 0.5], device=upper.device) - upper
    which = _integers(2, (n, 1), generator)
    centre = torch.tensor([0.5, 0.25], device=upper.device)
    return 1.2 * (torch.where(which == 0, upper, lower) - centre) + 0.06 * _normal((n, 2), generator)


def _swiss_roll(n, generator):
    angle = math.pi * (1.5 + 3 * _uniform((n,), generator))
    # The mean of angle * (cos, sin) over the three half turns is (2, 2 / (3 pi)), by parts.
    centre = torch.tensor([2.0, 2 / (3 * math.pi)], device=angle.device)
    return (angle[:, None] * _on_circle(angle) - centre) / 7.5 + 0.05 * _normal((n, 2), generator)


def _checkerboard(n, generator):
    column, row = _integers(4, (n,), generator), 2 * _integers(2, (n,), generator)
    corner = torch.stack([column, row + column % 2], -1) - 2
    return 0.85 * (corner + _uniform((n, 2), generator))


def _eight_gaussians(n, generator):
    angle = _integers(8, (n,), generator) * (math.pi / 4)
    return 1.5 * _on_circle(angle) + 0.1 * _normal((n, 2), generator)


def _grid25(n, generator):
    return 0.75 * (_integers(5, (n, 2), generator) - 2) + 0.06 * _normal((n, 2), generator)


def _rings(n, generator):
    angle, which = 2 * math.pi * _uniform((n,), generator), _integers(3, (n,), generator)
    radius = 0.6 * (which + 1) + 0.04 * _normal((n,), generator)
    return radius[:, None] * _on_circle(angle)


def _pinwheel(n, generator):
    along, across = (_normal((n, 2), generator) * torch.tensor([0.3, 0.06], device=_device(generator))).unbind(-1)
    along = along + 1
    angle = _integers(5, (n,), generator) * (2 * math.pi / 5) + 0.7 * along.exp()
    forward = _on_circle(angle)
    left = torch.stack([-forward[:, 1], forward[:, 0]], -1)
    return 1.2 * (along[:, None] * forward + across[:, None] * left)


_TOYS = {
    "moons": _moons,
    "swiss_roll": _swiss_roll,
    "checkerboard": _checkerboard,
    "eight_gaussians": _eight_gaussians,
    "grid25": _grid25,
    "rings": _rings,
    "pinwheel": _pinwheel,
}


# ---- digit scenes and clips ----------------------------------------------
def captioned_digits(
    n: int,
    generator: torch.Generator | None = None,
    size: int = 32,
    digit: int = 16,
    p_pair: float = 0.7,
    held_out: Collection[tuple[str, int]] = (),
) -> tuple[Tensor, list[str], Tensor]:
    """Coloured MNIST digits on black, with captions such as "a red three above a blue seven".

    Args:
        n: number of images.
        generator: source of randomness.
        size: side of the images in pixels.
        digit: side of one digit's square in pixels; with digit <= size / 2 the digits of a pair hardly touch.
        p_pair: probability that an image shows two digits.
        held_out: (colour, digit) pairs such as ("red", 3) that never appear, for a test of composition.
    Returns:
        images: (n, 3, size, size) float32 in [-1, 1].
        captions: n strings.
        facts: (n, 5) int64: digit, colour, relation, second digit, its colour; the last three are -1 for one digit.
            Colours count the names in COLOURS, relations those in RELATIONS.
    Raises:
        ValueError: n <= 0, digit > size, p_pair outside [0, 1], an unknown held-out pair, or all pairs held out.
        DataError: the file of the digits is missing, truncated or altered.
    """
    _require_positive(n=n, digit=digit)
    if digit > size:
        raise ValueError(f"digits of {digit} pixels do not fit into images of {size}")
    if not 0 <= p_pair <= 1:
        raise ValueError(f"p_pair is a probability, got {p_pair}")
    facts = _draw_facts(n, generator, p_pair, _allowed_pairs(held_out))
    corners = _draw_corners(facts[:, 2], size - digit, generator)
    masks = [_digits_of_class(facts[:, k], digit, generator) for k in (0, 3)]
    rgb = torch.tensor(list(COLOURS.values()), dtype=torch.float32, device=facts.device) / 255
    images = torch.zeros(n, 3, size, size, device=facts.device)
    for mask, corner, colour in zip(masks, corners, (facts[:, 1], facts[:, 4]), strict=True):
        opacity = _place(mask, corner, size).unsqueeze(1)
        images = opacity * rgb[colour][:, :, None, None] + (1 - opacity) * images
    return 2 * images - 1, [_digit_caption(*row) for row in facts.tolist()], facts


def moving_digits(
    n: int, generator: torch.Generator | None = None, frames: int = 16, size: int = 32, digit: int = 20, count: int = 1
) -> tuple[Tensor, Tensor]:
    """Clips of MNIST digits that fly straight on and bounce off the borders, white on black.

    Args:
        n: number of clips.
        generator: source of randomness.
        frames: length of a clip.
        size: side of the frames in pixels.
        digit: side of a digit's square in pixels, less than size.
        count: digits in each clip.
    Returns:
        clips: (n, frames, 1, size, size) float32 in [-1, 1].
        tracks: (n, count, frames, 2) float32, the upper left corner (x, y) of each digit's square, in pixels. Speeds
            lie between 1 and 2.5 pixels a frame (times size / 32). A digit is drawn at the nearest whole pixel.
    Raises:
        ValueError: a number <= 0, or digit >= size.
        DataError: the file of the digits is missing, truncated or altered.
    """
    _require_positive(n=n, frames=frames, digit=digit, count=count)
    if digit >= size:
        raise ValueError(f"digits of {digit} pixels cannot move in frames of {size}")
    images, _ = _digit_bank(digit)
    which = _integers(len(images), (n, count), generator)
    tracks = _draw_tracks(n, count, frames, size - digit, size / 32, generator)
    clips = torch.zeros(n, frames, size, size, device=tracks.device)
    for k in range(count):
        mask = images.to(tracks.device)[which[:, k]].repeat_interleave(frames, 0)
        corner = tracks[:, k].reshape(n * frames, 2).round().long()
        clips = torch.maximum(clips, _place(mask, corner, size).reshape(clips.shape))
    return 2 * clips.unsqueeze(2) - 1, tracks


def _allowed_pairs(held_out: Collection[tuple[str, int]]) -> Tensor:
    """(P, 2) int64: digit and colour of each pair that may appear."""
    for colour, digit in held_out:
        if colour not in COLOURS or digit not in range(10):
            raise ValueError(f"unknown pair {(colour, digit)!r}; known: ({', '.join(COLOURS)}) with a digit 0..9")
    forbidden = {(colour, int(digit)) for colour, digit in held_out}
    left = [(d, c) for c, colour in enumerate(COLOURS) for d in range(10) if (colour, d) not in forbidden]
    if not left:
        raise ValueError("held_out leaves no pair of a colour and a digit to draw")
    return torch.tensor(left)


def _draw_facts(n: int, generator: torch.Generator | None, p_pair: float, pairs: Tensor) -> Tensor:
    """(n, 5) int64: digit, colour, relation, digit, colour; -1 where there is no second digit."""
    first, second = pairs.to(_device(generator))[_integers(len(pairs), (2, n), generator)]
    relation = _integers(len(RELATIONS), (n, 1), generator)
    alone = _uniform((n, 1), generator) >= p_pair
    return torch.cat([first, torch.cat([relation, second], 1).masked_fill(alone, -1)], 1)


def _draw_corners(relation: Tensor, span: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Upper left corners (x, y), each (n, 2) int64 in 0..span, of the first and the second digit."""
    n = len(relation)
    jitter = _integers(span // 8 + 1, (n, 2, 2), generator)
    near, far = jitter[:, 0], span - jitter[:, 1]
    middle = span // 2 + (jitter[:, 0] - jitter[:, 1]) // 2
    anywhere = _integers(span + 1, (n, 2), generator)
    along = torch.stack([relation >= 2, relation <= 1], -1)  # x for left of and right of, y for above and below
    first_is_near = ((relation == 0) | (relation == 2))[:, None]
    first = torch.where(along, torch.where(first_is_near, near, far), middle)
    second = torch.where(along, torch.where(first_is_near, far, near), middle)
    return torch.where(relation[:, None] < 0, anywhere, first), second


def _draw_tracks(n: int, count: int, frames: int, span: int, speed: float, generator) -> Tensor:
    """(n, count, frames, 2): straight paths folded back into [0, span] at both ends."""
    start = span * _uniform((n, count, 1, 2), generator)
    angle = 2 * math.pi * _uniform((n, count, 1), generator)
    velocity = speed * (1 + 1.5 * _uniform((n, count, 1, 1), generator)) * _on_circle(angle)
    time = torch.arange(frames, device=start.device)[:, None]
    return span - (span - (start + velocity * time).remainder(2 * span)).abs()


def _digits_of_class(classes: Tensor, digit: int, generator: torch.Generator | None) -> Tensor:
    """(n, digit, digit) opacity 0..1: for each class a random training digit of it, nothing for the class -1."""
    images, starts = (v.to(classes.device) for v in _digit_bank(digit))
    counts = starts.diff()
    share = _uniform(classes.shape, generator)
    kind = classes.clamp(min=0)
    # A float32 share just below 1 can round up to the whole count: the clamp keeps it inside its class.
    within = torch.minimum((share * counts[kind]).long(), counts[kind] - 1)
    return images[starts[kind] + within] * (classes >= 0)[:, None, None]


def _digit_bank(digit: int) -> tuple[Tensor, Tensor]:
    """MNIST's training digits sorted by class: opacity (N, digit, digit) in 0..1, and where each class starts (11,)."""
    path = _verified_path("mnist.npz")
    return _shrunk_digits(digit, path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _shrunk_digits(digit: int, path: Path, mtime_ns: int) -> tuple[Tensor, Tensor]:
    x, y = load("mnist", "train")
    order = y.argsort(stable=True)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), y.bincount(minlength=10).cumsum(0)])
    weights = _area_weights(x.shape[-1], digit)
    return weights @ ((x[order, 0] + 1) / 2) @ weights.T, starts


def _area_weights(old: int, new: int) -> Tensor:
    """(new, old) matrix: the share of each old pixel in each new one, along one axis. Rows sum to 1."""
    left = torch.arange(new)[:, None] * (old / new)
    pixel = torch.arange(old)[None]
    overlap = torch.minimum(left + old / new, pixel + 1) - torch.maximum(left, pixel)
    return overlap.clamp(min=0) * (new / old)


def _place(pictures: Tensor, corners: Tensor, size: int) -> Tensor:
    """Pictures (n, d, d) on black canvases (n, size, size), upper left corners at corners (n, 2) = (x, y)."""
    n, d, _ = pictures.shape
    at = torch.arange(size, device=pictures.device) - corners[:, :, None]  # (n, 2, size): canvas to picture
    inside = (at >= 0) & (at < d)
    column, row = at.clamp(0, d - 1).unbind(1)
    placed = pictures[torch.arange(n, device=pictures.device)[:, None, None], row[:, :, None], column[:, None, :]]
    return placed * (inside[:, 1, :, None] & inside[:, 0, None, :])


def _digit_caption(digit: int, colour: int, relation: int, digit2: int, colour2: int) -> str:
    names = list(COLOURS)
    caption = with_article(f"{names[colour]} {DIGIT_WORDS[digit]}")
    if relation < 0:
        return caption
    return f"{caption} {RELATIONS[relation]} {with_article(f'{names[colour2]} {DIGIT_WORDS[digit2]}')}"


def with_article(words: str) -> str:
    """The words with "a" or "an" before them, judged by their first letter."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
