"""Cartoon faces whose every fact is known: pictures with captions at 16 to 128 pixels, and short clips.

A face is a stack of layers, back to front, over a background of one colour. Each pixel of a layer has an opacity a, a
fixed colour b (already multiplied by a) and a share s of one replaceable colour c (hair, skin or clothes), so a layer
turns the picture p into (1 − a) p + b + s c. The layers are put together at the size of Faces; smaller pictures are
averages over squares of its pixels. The drawings are ToonHead by Johan Melin, CC BY 4.0 (data/LICENSES.md).
"""

import math

import torch
from torch.nn.functional import avg_pool2d

from ..tensors import home, known
from .draws import integers, require_positive, uniform
from .scenes import with_article
from .stored import read_npz

FULL_SIZE = 128  # pixels of the stored layers

# attribute -> its values, in words -> the drawing of faces.npz; an empty name draws nothing
PARTS = {
    "mouth": {"laughing": "laugh", "angry": "angry", "surprised": "agape", "smiling": "smile", "sad": "sad"},
    "eyes": {"happy": "happy", "wide": "wide", "curved": "bow", "lowered": "humble", "winking": "wink"},
    "eyebrows": {k: k for k in ("raised", "angry", "happy", "sad", "neutral")},
    "hair": {"side-combed": "sideComed", "undercut": "undercut", "spiky": "spiky", "tied-up": "bun"},
    "rear_hair": {
        "none": "",
        "long straight": "longStraight",
        "long wavy": "longWavy",
        "shoulder-length": "shoulderHigh",
        "neck-length": "neckHigh",
    },
    "beard": {
        "none": "",
        "twirled moustache": "moustacheTwirl",
        "full beard": "fullBeard",
        "goatee": "chin",
        "goatee and moustache": "chinMoustache",
        "long beard": "longBeard",
    },
    "clothes": {
        "turtleneck": "turtleNeck",
        "open jacket": "openJacket",
        "dress": "dress",
        "shirt": "shirt",
        "t-shirt": "tShirt",
    },
}
COLOURS = {
    "hair_colour": {
        "black": 0x2C1B18,
        "brown": 0x724133,
        "auburn": 0xA55728,
        "blond": 0xD6B370,
        "grey": 0xA8A8A8,
        "red": 0xC8321E,
        "blue": 0x3F6FD8,
        "green": 0x3DA35A,
        "pink": 0xEF7FB0,
    },
    "clothes_colour": {
        "grey": 0x545454,
        "red": 0xB11F1F,
        "blue": 0x0B3286,
        "green": 0x147F3C,
        "yellow": 0xEAB308,
        "purple": 0x731AC3,
        "pink": 0xEC4899,
        "orange": 0xF97316,
        "black": 0x151613,
        "white": 0xE8E9E6,
    },
    "skin_colour": {"tone 1": 0xF1C3A5, "tone 2": 0xC68E7A, "tone 3": 0xB98E6A, "tone 4": 0xA36B4F, "tone 5": 0x5C3829},
    "background_colour": {
        "white": 0xFFFFFF,
        "sky blue": 0xB6E3F4,
        "lilac": 0xC0AEDE,
        "rose": 0xFFD5DC,
        "peach": 0xFFDFBF,
        "mint": 0xC7F0D2,
        "grey": 0x9AA3AD,
        "navy": 0x23304F,
    },
}
ATTRIBUTES = {name: tuple(values) for name, values in (PARTS | COLOURS).items()}

# back to front: the part of faces.npz, the attribute that chooses its drawing (None: there is one), its colour
LAYERS = (
    ("rearHair", "rear_hair", "hair_colour"),
    ("body", None, "skin_colour"),
    ("head", None, "skin_colour"),
    ("clothes", "clothes", "clothes_colour"),
    ("mouth", "mouth", "skin_colour"),
    ("beard", "beard", "hair_colour"),
    ("eyes", "eyes", "skin_colour"),
    ("eyebrows", "eyebrows", "hair_colour"),
    ("hair", "hair", "hair_colour"),
)
P_REAR_HAIR, P_BEARD = 0.5, 0.3  # how often a drawn face has them
# The mouths "smiling" and "sad" are thin lines, at most 28 levels of 255 apart at 64 pixels and 10 at 32, less in a
# beard. Drawn faces therefore wear the eyebrows of their expression, which show well down to 32 pixels.
EYEBROWS = {"laughing": "happy", "angry": "angry", "surprised": "raised", "smiling": "happy", "sad": "sad"}
HELD_OUT = (  # combinations that the networks of captions were never shown, for a test of composition
    {"hair_colour": "pink", "beard": "full beard"},
    {"hair_colour": "green", "background_colour": "rose"},
)
CHUNK = 128  # faces put together at once, to bound the memory


class Faces:
    """Draws cartoon faces from the layers of faces.npz.

    Args:
        size: side in pixels at which the layers are put together; pictures can be had at this size and smaller.
    Raises:
        ValueError: size does not divide 128.
        DataError: the file of the layers is missing, truncated or altered.
    """

    def __init__(self, size=64):
        _require_divisor(size, FULL_SIZE)
        self.size = size
        stored = read_npz("faces.npz")
        self._rows = {str(name): row for row, name in enumerate(stored["names"])}
        self._nothing = len(self._rows)  # an empty layer at the end

        def shrink(name):
            layers = torch.from_numpy(stored[name]).float().reshape(len(self._rows), FULL_SIZE, FULL_SIZE, -1) / 255
            small = avg_pool2d(layers.permute(0, 3, 1, 2), FULL_SIZE // size)
            return torch.cat([small, torch.zeros_like(small[:1])])

        self._base, self._tint, self._alpha = shrink("base"), shrink("tint"), shrink("alpha")

    def draw_attributes(self, generator=None):
        """Attributes of one random face.

        Rear hair is there with probability 0.5, a beard with 0.3. The eyebrows are those that go with the mouth
        (EYEBROWS), so that an expression can be seen. Everything else is uniform and independent.

        Args:
            generator: source of randomness.
        Returns:
            A value of ATTRIBUTES for each attribute, such as {"mouth": "sad", ..., "hair_colour": "red", ...}.
        """
        chosen = {name: _pick(values, generator) for name, values in ATTRIBUTES.items()}
        for name, probability in (("rear_hair", P_REAR_HAIR), ("beard", P_BEARD)):
            there = uniform((), generator).item() < probability
            chosen[name] = _pick(ATTRIBUTES[name][1:], generator) if there else "none"
        return chosen | {"eyebrows": EYEBROWS[chosen["mouth"]]}

    def render(self, attributes, size=None):
        """The picture of one face.

        Args:
            attributes: a value for each key of ATTRIBUTES.
            size: side in pixels, which must divide that of Faces; None: that of Faces.
        Returns:
            (3, size, size) float32 in [-1, 1], on the CPU.
        Raises:
            ValueError: an attribute or value is unknown or missing, or the size does not fit.
        """
        return self._render_all([attributes], size)[0]

    def caption(self, attributes, generator=None):
        """What the picture shows, such as "a sad person with spiky red hair in a blue shirt on a mint background".

        Args:
            attributes: a value for each key of ATTRIBUTES.
            generator: if given, each fact is left out at random (mouth, hair and beard with probability 0.1, clothes
                and background with 0.3), so that a model learns from short captions too. None: all of them.
        Returns:
            A sentence without a full stop. The expression is that of the mouth; eyes, eyebrows and skin go unmentioned.
        Raises:
            ValueError: an attribute or value is unknown or missing.
        """
        _require_attributes(attributes)
        a, keep = attributes, _draw_kept(generator)
        style = a["hair"] if a["rear_hair"] == "none" else a["rear_hair"]
        features = [f"{style} {a['hair_colour']} hair"] if keep["hair"] else []
        features += [with_article(a["beard"])] if keep["beard"] and a["beard"] != "none" else []
        words = [with_article(f"{a['mouth']} person") if keep["mouth"] else "a person"]
        words += ["with " + " and ".join(features)] if features else []
        words += ["in " + with_article(f"{a['clothes_colour']} {a['clothes']}")] if keep["clothes"] else []
        words += ["on " + with_article(f"{a['background_colour']} background")] if keep["background"] else []
        return " ".join(words)

    def batch(self, n, generator=None, size=None):
        """n random faces with captions from which facts are left out at random.

        Args:
            n: number of faces.
            generator: source of randomness; None: torch's global one.
            size: side in pixels, which must divide that of Faces; None: that of Faces.
        Returns:
            images (n, 3, size, size) float32 in [-1, 1] on the generator's device, n captions, n attribute dicts.
        Raises:
            ValueError: n <= 0, or the size does not fit.
        """
        require_positive(n=n)
        generator = torch.default_generator if generator is None else generator
        attributes = [self.draw_attributes(generator) for _ in range(n)]
        captions = [self.caption(a, generator) for a in attributes]
        return self._render_all(attributes, size).to(home(generator)), captions, attributes

    def clip(self, generator=None, frames=16, size=32):
        """A face that sways sideways, blinks once and changes its expression once; nothing else moves.

        The sway is a sine of one period a clip with an amplitude of 1/16 of the picture; the blink takes two frames;
        the expression is mouth and eyebrows.

        Args:
            generator: source of randomness.
            frames: length of the clip, at least 8.
            size: side in pixels, which must divide that of Faces.
        Returns:
            clip: (frames, 3, size, size) float32 in [-1, 1], on the generator's device.
            caption: such as "a sad person who turns surprised".
        Raises:
            ValueError: fewer than 8 frames, or the size does not fit.
        """
        if frames < 8:
            raise ValueError(f"a clip needs at least 8 frames, got {frames}")
        _require_divisor(size, self.size)
        face = self.draw_attributes(generator) | {"eyes": "wide"}
        before = face["mouth"]
        after = _pick([m for m in ATTRIBUTES["mouth"] if m != before], generator)
        turn = frames // 4 + integers(frames // 2, (), generator).item()
        blink = 1 + integers(frames - 4, (), generator).item()
        phase = 2 * math.pi * uniform((), generator).item()
        mouths = [before if f < turn else after for f in range(frames)]
        eyes = ["lowered" if blink <= f < blink + 2 else "wide" for f in range(frames)]
        changes = [{"mouth": m, "eyebrows": EYEBROWS[m], "eyes": e} for m, e in zip(mouths, eyes, strict=True)]
        pictures = self._render_all([face | change for change in changes], None)
        sway = [round(self.size / 16 * math.sin(2 * math.pi * f / frames + phase)) for f in range(frames)]
        moved = torch.stack([_shift(picture, by) for picture, by in zip(pictures, sway, strict=True)])
        clip = avg_pool2d(moved, self.size // size)
        return clip.to(home(generator)), f"{with_article(before)} person who turns {after}"

    def _render_all(self, attributes, size):
        """(n, 3, size, size) in [-1, 1]."""
        size = self.size if size is None else size
        _require_divisor(size, self.size)
        for a in attributes:
            _require_attributes(a)
        chunks = [self._compose(attributes[i : i + CHUNK]) for i in range(0, len(attributes), CHUNK)]
        return torch.cat([2 * avg_pool2d(c, self.size // size) - 1 for c in chunks])

    def _compose(self, attributes):
        """(n, 3, self.size, self.size) in [0, 1]: the layers laid over the background."""
        image = _rgb("background_colour", attributes).repeat(1, 1, self.size, self.size)
        for part, choice, colour in LAYERS:
            rows = [self._row(part, a[choice] if choice else None, choice) for a in attributes]
            image = (1 - self._alpha[rows]) * image + self._base[rows] + self._tint[rows] * _rgb(colour, attributes)
        return image.clamp(0, 1)

    def _row(self, part, value, choice):
        drawing = part if choice is None else PARTS[choice][value]
        return self._rows[f"{part}/{drawing}"] if drawing else self._nothing


def held_out(attributes):
    """Whether a face has one of the combinations of HELD_OUT."""
    return any(all(attributes[name] == value for name, value in pair.items()) for pair in HELD_OUT)


def facts(attributes):
    """Attributes as whole numbers, (n, 11): for each face and each key of ATTRIBUTES the place of its value there."""
    return torch.tensor([[values.index(a[name]) for name, values in ATTRIBUTES.items()] for a in attributes])


def _rgb(name, attributes):
    """(n, 3, 1, 1) in [0, 1]: the colour that each face has for one of the colour attributes."""
    codes = torch.tensor([COLOURS[name][a[name]] for a in attributes])
    return torch.stack([codes >> 16, codes >> 8 & 255, codes & 255], 1)[..., None, None] / 255


def _shift(picture, pixels):
    """The picture moved right by so many pixels; the column at the border is repeated."""
    width = picture.shape[-1]
    return picture[..., (torch.arange(width) - pixels).clamp(0, width - 1)]


def _draw_kept(generator):
    """Which facts a caption mentions."""
    keep = {"mouth": 0.9, "hair": 0.9, "beard": 0.9, "clothes": 0.7, "background": 0.7}
    if generator is None:
        return dict.fromkeys(keep, True)
    draws = uniform((len(keep),), generator).tolist()
    return {fact: draw < p for (fact, p), draw in zip(keep.items(), draws, strict=True)}


def _pick(values, generator):
    return values[integers(len(values), (), generator).item()]


def _require_attributes(attributes):
    """Raises ValueError unless every attribute is there with a known value, and nothing else."""
    for name, value in attributes.items():
        known("attribute", name, ATTRIBUTES)
        known(name, value, ATTRIBUTES[name])
    if missing := [name for name in ATTRIBUTES if name not in attributes]:
        raise ValueError(f"attributes lack {', '.join(missing)}; a face needs {', '.join(ATTRIBUTES)}")


def _require_divisor(size, whole):
    if size <= 0 or whole % size:
        raise ValueError(
            f"size {size} does not divide {whole}; known: "
            f"{', '.join(str(d) for d in range(1, whole + 1) if whole % d == 0)}"
        )
