"""Pictures in a folder of yours: which files count, how each is read, and a folder that is too large for memory."""

import collections
import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from ..tensors import known
from .stored import SETS, DataError, from_uint8, stored_names

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".apng",
    ".tga", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
RUN_FILES = ("checkpoint.pt", "model.safetensors", "run.lock")  # a folder that holds one of them is a run's output
HIDDEN = ("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found")
WHITE = (255, 255, 255, 255)  # what stands behind transparent pixels


@dataclass(frozen=True)
class Listing:
    """What ``find`` found.

    Attributes:
        folder, files: the folder and the pictures in it, in the order of their paths.
        classes: the first subfolders that they lie in, 2 before 10; "" for the folder itself.
        passed: how many entries were passed over, by kind.
    """

    folder: Path
    files: tuple[Path, ...]
    classes: tuple[str, ...]
    passed: dict[str, int]

    @property
    def labels(self):
        """The class of each file, (N,) int64."""
        number = {name: i for i, name in enumerate(self.classes)}
        return torch.tensor([number[_class_of(file, self.folder)] for file in self.files])

    def refuse(self, bad):
        """Raise a DataError that names the files of a dict file -> error, if there are any."""
        if bad:
            few = [(file.relative_to(self.folder).as_posix(), error) for file, error in list(bad.items())[:3]]
            said = [f"{repr(name)[1:-1]} ({error})" for name, error in few]  # no sign that steers a terminal
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            raise DataError(
                f"{len(bad)} of {len(self.files)} files in {self.folder} cannot be read as images: "
                f"{', '.join(said)}{more}; remove or repair them"
            )


def find(folder, leave_out=None):
    """The pictures in a folder and its subfolders, and what else lies there.

    Passed over are hidden files and folders (a dot in front, a name of HIDDEN, which systems keep for themselves),
    kinds that are not in IMAGE_SUFFIXES, pipes and devices, links to folders, folders in which a run of
    ``python -m dlgm.train`` has written, and the folder ``leave_out``.

    Raises:
        DataError: there is no such folder, one of its folders cannot be opened, or it holds no picture.
    """
    folder, files, passed = Path(folder), [], collections.Counter()
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    out = None if leave_out is None else os.path.realpath(leave_out)
    for place, folders, names in os.walk(folder, onerror=_closed):
        inside = []
        for name in sorted(folders):
            path = Path(place, name)
            if name.startswith(".") or name.casefold() in HIDDEN:
                passed["hidden folders"] += 1
            elif path.is_symlink():
                passed["links to folders"] += 1
            elif os.path.realpath(path) == out or of_a_run(path):
                passed["folders of runs"] += 1
            else:
                inside.append(name)
        folders[:] = inside
        for name in names:
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                passed["hidden files"] += 1
            elif suffix in IMAGE_SUFFIXES and os.path.exists(path := Path(place, name)) and not path.is_file():
                passed["pipes and devices"] += 1
            elif suffix in IMAGE_SUFFIXES:
                files.append(Path(place, name))
            else:
                passed[f"{suffix or 'without a suffix'}"] += 1
    if not files:
        raise DataError(f"{folder} holds no image; looked for {', '.join(IMAGE_SUFFIXES)}{_said(passed)}")
    names = {_class_of(file, folder) for file in files}
    return Listing(folder, tuple(sorted(files)), tuple(sorted(names, key=_natural)), dict(passed))


def of_a_run(folder):
    """Whether a run of ``python -m dlgm.train`` has written into the folder."""
    return any(os.path.exists(folder / file) for file in RUN_FILES)


def _closed(error):
    raise DataError(f"the folder {error.filename} cannot be opened ({error.strerror})")


def _said(passed):
    return f"; passed over: {', '.join(f'{n} {kind}' for kind, n in sorted(passed.items()))}" if passed else ""


def _natural(name):
    """A key that puts 2 before 10."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def _class_of(file, folder):
    """The first subfolder that a file lies in, "" for the folder itself."""
    return "".join(file.relative_to(folder).parts[:-1][:1])


def label_names(source):
    """What the classes 0, 1, ... of a stored set are, or of the images in a folder.

    Args:
        source: one of SETS, or a folder for ``images``.
    Returns:
        label_names("fashion")[9] == "ankle boot"; of a folder its subfolders, "" for images that lie in it itself.
    Raises:
        ValueError: an unknown name that is no folder.
        DataError: the manifest is missing or damaged, or the folder holds no image.
    """
    if str(source) not in SETS and Path(source).is_dir():
        return find(source).classes
    known("data set", source, SETS)
    return stored_names(source)


def read(file, size, channels=3):
    """One picture, its middle square scaled to size × size pixels: (channels, size, size) uint8.

    Turned as its EXIF says, if that can be read; grey of 12 and 16 bits is scaled, transparent parts stand on white, of
    an animation the first frame counts.

    Raises:
        DataError: no picture, a damaged one, or of a kind without a stated range (32-bit grey); says which.
    """
    return _decoded(file, lambda image: _square(image, size, channels))


def read_frames(file, size, channels=3):
    """Every frame of an animation, each as ``read`` has the first: (F, channels, size, size) uint8.

    Raises:
        DataError: as ``read``.
    """
    from PIL import ImageSequence

    def frames(image):
        shown = [_square(frame, size, channels) for frame in ImageSequence.Iterator(image)]
        return torch.stack(shown[_cover(image) :])

    return _decoded(file, frames)


def count_frames(file):
    """How many frames ``read_frames`` has.

    Raises:
        DataError: as ``read``.
    """
    return _decoded(file, lambda image: getattr(image, "n_frames", 1) - _cover(image))


def _cover(image):
    """Whether the first picture of an APNG is none of its frames, but for programs that show no animation."""
    return bool(image.info.get("default_image"))


def _decoded(file, use):
    """What a function makes of the opened image; whatever goes wrong becomes a DataError."""
    from PIL import Image, UnidentifiedImageError  # here, so that the sets that ship load without it

    try:
        with Image.open(file) as image:
            return use(image)
    except UnidentifiedImageError:
        raise DataError("is no picture that Pillow can open") from None
    except MemoryError:
        raise
    except Exception as error:  # each decoder has errors of its own
        raise DataError(str(error) or type(error).__name__) from error


def _square(image, size, channels):
    """The middle square of an opened image, scaled: (channels, size, size) uint8."""
    from PIL import Image, ImageOps

    flat = _flat(image).convert("RGB" if channels == 3 else "L")
    square = np.asarray(ImageOps.fit(flat, (size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(square.copy()).reshape(size, size, channels).permute(2, 0, 1)


def _upright(file):
    """The image of an opened file, turned as its EXIF says; one that cannot be read says nothing."""
    from PIL import ImageOps

    file.load()
    try:
        return ImageOps.exif_transpose(file)
    except Exception:  # the pixels are there, whatever the text beside them is
        return file.copy()


def _flat(file):
    """The image of an opened file without transparency, its values spanning 8 bits."""
    from PIL import Image

    how = file.tile[0][3] if file.tile else ""  # how the file stores its pixels: "L;2" is grey of 2 bits
    how = how[0] if isinstance(how, tuple) and how else how
    image = _upright(file)
    clear = image.info.get("transparency", -1)
    if image.mode.startswith("I;16") or image.mode == "I" and file.format in ("PNG", "PPM"):  # these have 16 bits
        values = np.asarray(image).astype(np.int64)
        grey = (values * 255 / (4095 if how == "I;12" else 65535)).round().astype(np.uint8)
        if file.format == "TIFF" and file.tag_v2.get(262) == 0:  # 0 is white, which Pillow knows of 8 bits only
            grey = 255 - grey
        grey[values == clear] = 255
        return Image.fromarray(grey)
    if how in ("L;2", "L;4") and clear != -1:  # Pillow brings pixels to 8 bits, not the transparent colour
        image.info["transparency"] = clear * (85 if how == "L;2" else 17)
    if how == "RGB;16B" and clear != -1:
        image.info["transparency"] = tuple(v >> 8 for v in clear)
    if image.mode in ("I", "F"):
        raise DataError(f"has 32-bit grey values (mode {image.mode}) of unknown range; save it with 8 or 16 bits")
    if image.mode == "La":  # premultiplied
        image = image.convert("LA")
    if image.has_transparency_data or image.mode == "RGBa":
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba)
    return image.convert("RGB") if image.mode == "LAB" else image


def _animated(file):
    from PIL import Image

    try:
        with Image.open(file) as image:
            return getattr(image, "is_animated", False)
    except Exception:  # whatever is wrong with it, ``read`` says so
        return False


def images(folder, size, channels=3, raw=False):
    """Every picture in a folder and its subfolders, see ``find`` and ``read``.

    Args:
        size: in pixels.
        channels: 3 for colour, 1 for grey.
        raw: give uint8, a quarter of the memory; ``from_uint8`` makes x.
    Returns:
        x: (N, channels, size, size) float32 in [-1, 1], or uint8, in the order of the paths.
        y: (N,) int64, the class of each image, which is the first subfolder it lies in; see ``label_names``.
    Raises:
        ValueError: size or channels are of no use.
        DataError: there is no such folder, it holds no image, or a file cannot be read as one.
    """
    pictures = Pictures(folder, size, channels)
    out = torch.empty(pictures.shape, dtype=torch.uint8)
    pictures.checked(out)
    return out if raw else from_uint8(out), pictures.listing.labels


class Pictures(Dataset):
    """The pictures of a folder, read from disk each time that they are asked for, as ``images`` gives them in uint8.

    Args:
        labels: give pairs (picture, class). What is written into the attribute ``labels``, a tensor (N, ...), is given
            in the place of the classes.
        leave_out: a folder inside that does not count.
    Raises:
        ValueError, DataError: as ``images``; a broken file is named by ``checked``, or when it is asked for.
    """

    def __init__(self, folder, size, channels=3, labels=False, leave_out=None):
        if size < 1 or channels not in (1, 3):
            raise ValueError(f"expected size of at least 1 and 1 or 3 channels, got {size} and {channels}")
        self.listing, self.size, self.channels = find(folder, leave_out), size, channels
        self.labels = self.listing.labels if labels else None

    def __len__(self):
        return len(self.listing.files)

    def __getitem__(self, i):
        try:
            picture = read(self.listing.files[i], self.size, self.channels)
        except DataError as error:
            self.listing.refuse({self.listing.files[i]: error})
        return picture if self.labels is None else (picture, self.labels[i])

    @property
    def shape(self):
        """That of all of them together."""
        return torch.Size((len(self), self.channels, self.size, self.size))

    def checked(self, into=None):
        """Read every picture once: (SHA-256 as ``training.files.fingerprint`` has it, how many are animations).

        The same pictures have the same one in memory and on disk.

        Args:
            into: a uint8 tensor of ``shape`` that they are written into, or None.
        Raises:
            DataError: some cannot be read; up to three are named.
        """

        def one(i, file):
            try:
                picture = read(file, self.size, self.channels).contiguous()
            except DataError as error:
                return file, error, b"", False
            if into is not None:
                into[i] = picture
            moving = file.suffix.lower() in (".gif", ".png", ".apng", ".webp", ".tif", ".tiff", ".avif")
            return file, None, picture.numpy(), moving and _animated(file)

        total, bad, moving = hashlib.sha256(f"{torch.uint8} {tuple(self.shape)}".encode()), {}, 0
        with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it decodes
            for file, error, picture, animated in pool.map(one, range(len(self)), self.listing.files):
                if error:
                    bad[file] = error
                total.update(picture)
                moving += animated
        if self.labels is not None:
            total.update(f"{self.labels.dtype} {tuple(self.labels.shape)}".encode() + self.labels.numpy().tobytes())
        self.listing.refuse(bad)
        return total.hexdigest(), moving
