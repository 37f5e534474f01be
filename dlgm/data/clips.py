"""Clips in a folder of yours: animations, and folders of frames, cut into windows of one length."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import torch

from .folder import _natural, count_frames, find, read, read_frames
from .stored import DataError

MOVING = (".gif", ".png", ".apng", ".webp", ".avif")  # these may hold an animation


class Clips:
    """The clips of a folder and its subfolders, each cut into as many windows of F frames as it has room for.

    A clip is an animation (GIF, APNG, WebP), or a folder that holds pictures and no animation, its frames in natural
    order, 2 before 10. Pictures beside animations do not count, nor do the frames that are left at the end of a clip.
    How long a frame is shown is not read.

    Attributes:
        short, single: how many clips have fewer than F frames, how many pictures lie beside animations.
    Args:
        size, channels: as of ``images``. frames: F.
        leave_out: a folder inside that does not count.
    Raises:
        ValueError: size, frames or channels are of no use.
        DataError: as ``find``; an animation is damaged, or no clip has F frames.
    """

    def __init__(self, folder, size, frames, channels=3, leave_out=None):
        if size < 1 or frames < 1 or channels not in (1, 3):
            raise ValueError(
                f"expected size and frames of at least 1 and 1 or 3 channels, got {size}, {frames} and {channels}"
            )
        self.listing, self.size, self.frames, self.channels = find(folder, leave_out), size, frames, channels
        files, bad = self.listing.files, {}

        def count(file):
            try:
                return count_frames(file) if file.suffix.lower() in MOVING else 1
            except DataError as error:
                bad[file] = error
                return 0

        with ThreadPoolExecutor() as pool:
            clips = [((file,), n) for file, n in zip(files, pool.map(count, files), strict=True) if n > 1]
        self.listing.refuse(dict(sorted(bad.items())))
        moving = {file for (file,), _ in clips}
        still, beside = [file for file in files if file not in moving], {file.parent for file in moving}
        places = {}
        for file in sorted(still, key=lambda file: _natural(file.name)):
            places.setdefault(file.parent, []).append(file)
        clips += [(tuple(inside), len(inside)) for place, inside in sorted(places.items()) if place not in beside]
        self.single = sum(file.parent in beside for file in still)
        self.clips = [(inside, n // frames) for inside, n in clips if n >= frames]
        self.short = len(clips) - len(self.clips)
        if not self.clips:
            raise DataError(
                f"none of the {len(clips)} clips in {folder} has {frames} frames, the longest has "
                f"{max(n for _, n in clips)}; a clip is an animation (GIF, APNG, WebP) or a folder of frames"
            )

    @property
    def shape(self):
        """(N, F, channels, size, size), N the windows of all clips together."""
        windows = sum(n for _, n in self.clips)
        return torch.Size((windows, self.frames, self.channels, self.size, self.size))

    def read(self):
        """All windows, a uint8 tensor of ``shape``; each frame as ``images`` gives a picture.

        Raises:
            DataError: some files cannot be read; up to three are named.
        """
        out, bad = torch.empty(self.shape, dtype=torch.uint8), {}
        through = out.flatten(0, 1)  # (N F, channels, size, size)

        def fill(files, start, needed):
            for i, file in enumerate(files[:needed], start):
                try:
                    if len(files) > 1:
                        through[i] = read(file, self.size, self.channels)
                    elif len(frames := read_frames(file, self.size, self.channels)) < needed:
                        raise DataError(f"ends after {len(frames)} frames")
                    else:
                        through[start : start + needed] = frames[:needed]
                except DataError as error:
                    bad[file] = error

        files, needed = zip(*((files, windows * self.frames) for files, windows in self.clips), strict=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(fill, files, itertools.accumulate(needed, initial=0), needed))
        self.listing.refuse(dict(sorted(bad.items())))
        return out
