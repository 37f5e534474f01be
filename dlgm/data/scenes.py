"""Scenes of MNIST digits with captions, and clips of them that move."""

import functools
import math

import torch

from ..tensors import home
from .draws import integers, on_circle, require_positive, uniform
from .stored import _verified_path, load

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


def captioned_digits(
    n,
    generator=None,
    size=32,
    digit=16,
    p_pair=0.7,
    held_out=(),
):
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
    require_positive(n=n, digit=digit)
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


def moving_digits(n, generator=None, frames=16, size=32, digit=20, count=1):
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
    require_positive(n=n, frames=frames, digit=digit, count=count)
    if digit >= size:
        raise ValueError(f"digits of {digit} pixels cannot move in frames of {size}")
    images, _ = _digit_bank(digit)
    which = integers(len(images), (n, count), generator)
    tracks = _draw_tracks(n, count, frames, size - digit, size / 32, generator)
    clips = torch.zeros(n, frames, size, size, device=tracks.device)
    for k in range(count):
        mask = images.to(tracks.device)[which[:, k]].repeat_interleave(frames, 0)
        corner = tracks[:, k].reshape(n * frames, 2).round().long()
        clips = torch.maximum(clips, _place(mask, corner, size).reshape(clips.shape))
    return 2 * clips.unsqueeze(2) - 1, tracks


def _allowed_pairs(held_out):
    """(P, 2) int64: digit and colour of each pair that may appear."""
    for colour, digit in held_out:
        if colour not in COLOURS or digit not in range(10):
            raise ValueError(f"unknown pair {(colour, digit)!r}; known: ({', '.join(COLOURS)}) with a digit 0..9")
    forbidden = {(colour, int(digit)) for colour, digit in held_out}
    left = [(d, c) for c, colour in enumerate(COLOURS) for d in range(10) if (colour, d) not in forbidden]
    if not left:
        raise ValueError("held_out leaves no pair of a colour and a digit to draw")
    return torch.tensor(left)


def _draw_facts(n, generator, p_pair, pairs):
    """(n, 5) int64: digit, colour, relation, digit, colour; -1 where there is no second digit."""
    first, second = pairs.to(home(generator))[integers(len(pairs), (2, n), generator)]
    relation = integers(len(RELATIONS), (n, 1), generator)
    alone = uniform((n, 1), generator) >= p_pair
    return torch.cat([first, torch.cat([relation, second], 1).masked_fill(alone, -1)], 1)


def _draw_corners(relation, span, generator):
    """Upper left corners (x, y), each (n, 2) int64 in 0..span, of the first and the second digit."""
    n = len(relation)
    jitter = integers(span // 8 + 1, (n, 2, 2), generator)
    near, far = jitter[:, 0], span - jitter[:, 1]
    middle = span // 2 + (jitter[:, 0] - jitter[:, 1]) // 2
    anywhere = integers(span + 1, (n, 2), generator)
    along = torch.stack([relation >= 2, relation <= 1], -1)  # x for left of and right of, y for above and below
    first_is_near = ((relation == 0) | (relation == 2))[:, None]
    first = torch.where(along, torch.where(first_is_near, near, far), middle)
    second = torch.where(along, torch.where(first_is_near, far, near), middle)
    return torch.where(relation[:, None] < 0, anywhere, first), second


def _draw_tracks(n, count, frames, span, speed, generator):
    """(n, count, frames, 2): straight paths folded back into [0, span] at both ends."""
    start = span * uniform((n, count, 1, 2), generator)
    angle = 2 * math.pi * uniform((n, count, 1), generator)
    velocity = speed * (1 + 1.5 * uniform((n, count, 1, 1), generator)) * on_circle(angle)
    time = torch.arange(frames, device=start.device)[:, None]
    return span - (span - (start + velocity * time).remainder(2 * span)).abs()


def _digits_of_class(classes, digit, generator):
    """(n, digit, digit) opacity 0..1: for each class a random training digit of it, nothing for the class -1."""
    images, starts = (v.to(classes.device) for v in _digit_bank(digit))
    counts = starts.diff()
    share = uniform(classes.shape, generator)
    kind = classes.clamp(min=0)
    # A float32 share just below 1 can round up to the whole count: the clamp keeps it inside its class.
    within = torch.minimum((share * counts[kind]).long(), counts[kind] - 1)
    return images[starts[kind] + within] * (classes >= 0)[:, None, None]


def _digit_bank(digit):
    """MNIST's training digits sorted by class: opacity (N, digit, digit) in 0..1, and where each class starts (11,)."""
    path = _verified_path("mnist.npz")
    return _shrunk_digits(digit, path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _shrunk_digits(digit, path, mtime_ns):
    x, y = load("mnist", "train")
    order = y.argsort(stable=True)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), y.bincount(minlength=10).cumsum(0)])
    weights = _area_weights(x.shape[-1], digit)
    return weights @ ((x[order, 0] + 1) / 2) @ weights.T, starts


def _area_weights(old, new):
    """(new, old) matrix: the share of each old pixel in each new one, along one axis. Rows sum to 1."""
    left = torch.arange(new)[:, None] * (old / new)
    pixel = torch.arange(old)[None]
    overlap = torch.minimum(left + old / new, pixel + 1) - torch.maximum(left, pixel)
    return overlap.clamp(min=0) * (new / old)


def _place(pictures, corners, size):
    """Pictures (n, d, d) on black canvases (n, size, size), upper left corners at corners (n, 2) = (x, y)."""
    n, d, _ = pictures.shape
    at = torch.arange(size, device=pictures.device) - corners[:, :, None]  # (n, 2, size): canvas to picture
    inside = (at >= 0) & (at < d)
    column, row = at.clamp(0, d - 1).unbind(1)
    placed = pictures[torch.arange(n, device=pictures.device)[:, None, None], row[:, :, None], column[:, None, :]]
    return placed * (inside[:, 1, :, None] & inside[:, 0, None, :])


def _digit_caption(digit, colour, relation, digit2, colour2):
    names = list(COLOURS)
    caption = with_article(f"{names[colour]} {DIGIT_WORDS[digit]}")
    if relation < 0:
        return caption
    return f"{caption} {RELATIONS[relation]} {with_article(f'{names[colour2]} {DIGIT_WORDS[digit2]}')}"


def with_article(words):
    """The words with "a" or "an" before them, judged by their first letter."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
