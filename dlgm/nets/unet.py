"""A U-Net that reads (x_t, t) and answers an image of x_t's size. It knows tensors only, no schedule.

    x ── stem ──► blocks ──────────────── skip ───────────────► blocks ──► head ──► out        full size
                    └─ down ─► blocks ─── skip ──► blocks ─ up ─┘                              half size
                                 └─ down ─► blocks, middle, blocks ─ up ─┘                     quarter size

On the way down a picture gets smaller and its channels more; on the way up the skips bring back where things were.
Every block is told the time; those that attend may read a text.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ..tensors import known
from .time import TimeEmbedding


def group_norm(channels):
    """Group normalisation in groups of 16 channels, or of the largest part of 16 that divides them."""
    return nn.GroupNorm(channels // math.gcd(16, channels), channels)


class Modulated(nn.Module):
    """How a block hears of the time, between normalisation and activation.

    "adagn": (1 + s) GN(h) + b with s, b linear in the embedding; "add": GN(h + b). Both start as plain GroupNorm,
    since the linear layer starts at zero.

    Source: Dhariwal & Nichol 2021, section 3; Perez et al. 2018; ledger ARCH-6, M-24.
    """

    def __init__(self, channels, width, conditioning):
        super().__init__()
        known("conditioning", conditioning, ("adagn", "add"))
        self.conditioning, self.norm = conditioning, group_norm(channels)
        self.project = zeroed(nn.Linear(width, channels * (1 + (conditioning == "adagn"))))

    def forward(self, h, e):
        """h: (B, C, H, W); e: (B, width)."""
        shift = self.project(e)[:, :, None, None]
        if self.conditioning == "add":
            return self.norm(h + shift)
        scale, shift = shift.chunk(2, 1)
        return torch.addcmul(shift, self.norm(h), 1 + scale)


def zeroed(layer):
    """The layer with weights and bias zero: what it is added to starts unchanged."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class ResBlock(nn.Module):
    """x + conv(SiLU(modulated(conv(SiLU(GN(x))), e))); the second convolution starts at zero, so the block as x.

    Where the channels change, a 1×1 convolution takes x along.

    Args:
        c_in, c_out: channels. width: of the time embedding e.
    Source: He et al. 2016; Ho et al. 2020, appendix B; ledger ARCH-3, M-25.
    """

    def __init__(self, c_in, c_out, width, conditioning="adagn", dropout=0.0):
        super().__init__()
        self.norm, self.conv1 = group_norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.modulated, self.dropout = Modulated(c_out, width, conditioning), nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x, e):
        """(B, c_in, H, W), (B, width) -> (B, c_out, H, W)."""
        h = self.conv1(F.silu(self.norm(x)))
        h = self.conv2(self.dropout(F.silu(self.modulated(h, e))))
        return self.shortcut(x) + h


class Text(NamedTuple):
    """A text as blocks read it: features (B, L, d), mask (B, L), true where there is a word, summary (B, d)."""

    features: torch.Tensor
    mask: torch.Tensor
    summary: torch.Tensor


class Told(NamedTuple):
    """What a block hears besides the picture: e (B, width) of time and label, a Text, how many pictures make a clip."""

    e: torch.Tensor
    text: Text | None = None
    frames: int = 1


def attend(q, k, v, heads, mask=None):
    """softmax(q kᵀ/√d) v, each head on its own: q (B, N, C), k, v (B, M, C) -> (B, N, C).

    Args:
        mask: (B, M), true where a key may be read; at least one in each row. None: all.
    Source: Vaswani et al. 2017, equation 1; ledger ARCH-3, COND-3.
    """
    q, k, v = (z.unflatten(2, (heads, -1)).transpose(1, 2) for z in (q, k, v))
    mask = None if mask is None else mask[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


def heads_of(channels, heads):
    """``heads``, if so many can share the channels."""
    if channels % heads:
        raise ValueError(f"{channels} channels cannot be shared among {heads} heads")
    return heads


class SelfAttention(nn.Module):
    """x + out(softmax(q kᵀ/√d) v) over all pixels, each of ``heads`` heads on its own; starts as x.

    It knows no positions: permuting the pixels of x permutes the result.

    Source: Vaswani et al. 2017; Ho et al. 2020, appendix B; ledger ARCH-3.
    """

    def __init__(self, channels, heads=4):
        super().__init__()
        self.heads, self.norm = heads_of(channels, heads), group_norm(channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H, W)."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, 2)  # (B, HW, C) each
        h = attend(q, k, v, self.heads)
        return x + self.out(h.transpose(1, 2).unflatten(2, x.shape[2:]))


class CrossAttention(nn.Module):
    """x + out(softmax(q kᵀ/√d) v), q of each pixel, k and v of each word of a text; starts as x.

    The order of the words counts only through their features: permuting them with the mask changes nothing, nor does a
    word that the mask hides.

    Args:
        channels: of x. context: numbers in the features of a word.
    Source: Rombach et al. 2022, section 3.3; Saharia et al. 2022, section 2.2; ledger COND-3, M-27.
    """

    def __init__(self, channels, context, heads=4):
        super().__init__()
        self.heads, self.norm = heads_of(channels, heads), group_norm(channels)
        self.q, self.kv = nn.Conv2d(channels, channels, 1), nn.Linear(context, 2 * channels)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def projected(self, x, text):
        """q (B, HW, C) and k, v (B, L, C)."""
        return self.q(self.norm(x)).flatten(2).transpose(1, 2), *self.kv(text.features).chunk(2, 2)

    def forward(self, x, text):
        """(B, C, H, W), Text -> (B, C, H, W)."""
        h = attend(*self.projected(x, text), self.heads, text.mask)
        return x + self.out(h.transpose(1, 2).unflatten(2, x.shape[2:]))


class Grow(nn.Conv2d):
    """A convolution, then nearest neighbours to the size of the skip, which need not be exactly double.

    In this order the convolution has a quarter of the pixels; the block that follows smooths the squares.

    Source: ledger ARCH-2.
    """

    def forward(self, h, size):
        """(B, c_in, h, w) -> (B, c_out, *size)."""
        return F.interpolate(super().forward(h), size=tuple(size))


class Stage(nn.Module):
    """A ResBlock, and self-attention after it where asked for; then cross-attention where there is a text to read."""

    def __init__(self, c_in, c_out, width, attention, heads, conditioning, dropout, context=0):
        super().__init__()
        self.block = ResBlock(c_in, c_out, width, conditioning, dropout)
        self.attention = SelfAttention(c_out, heads) if attention else nn.Identity()
        self.reading = CrossAttention(c_out, context, heads) if attention and context else None

    def forward(self, x, told):
        x = self.attention(self.block(x, told.e))
        return x if self.reading is None else self.reading(x, told.text)


class UNet(nn.Module):
    """The denoiser's network: (x_t, t, y) -> an image of x_t's size.

    Args:
        channels: of the images.
        widths: channels at each size, the full size first; each further one has half the height and width, rounded up.
        blocks: residual blocks at each size, each way; a number or one for each size.
        attention: for each size whether its blocks attend; the middle always does.
        heads: of the attention.
        classes: number of labels y, 0 for none. guided: whether it is told a guidance weight w.
        features, time_scale: see ``time.TimeEmbedding``.
        conditioning: "adagn" or "add"; see ``Modulated``.
        dropout: inside the blocks.
        out_channels: ``channels`` unless said; twice as many where a variance is predicted too.
        beside: channels of a picture that is given with x_t and laid beside it: a half, a small one made large, a grey
            one. What reads it starts at zero, so that the network starts as one without it.
    Raises:
        ValueError: widths, blocks and attention do not fit each other; when called, an image too small to be halved
            that often, or of other channels.
    Source: Ronneberger et al. 2015; Ho et al. 2020, appendix B; ledger ARCH-1, ARCH-2, ARCH-3, ARCH-7, QUIZ-1.3, M-25;
        beside: Saharia et al. 2022 (Palette), ledger COND-2; noised: Ho et al. 2022 (cascades), section 4, ledger
        CASC-2, M-26; context: ledger COND-3, M-27.
    """

    stage = Stage  # what is built at each size
    version = 2  # of what is computed from the weights; the first normalised in 8 groups and grew before convolving

    def __init__(
        self, channels=1, widths=(32, 64, 128), *, blocks=1, attention=None, heads=4, classes=0,
        features="sinusoidal", time_scale=1.0, conditioning="adagn", dropout=0.0, out_channels=None,
        guided=False, beside=0, noised=False, context=0, reading=True,
    ):  # fmt: skip
        super().__init__()
        sizes = len(widths)
        blocks = (blocks,) * sizes if isinstance(blocks, int) else tuple(blocks)
        attention = (*[False] * (sizes - 1), True) if attention is None else tuple(attention)
        if not sizes or len(blocks) != sizes or len(attention) != sizes or min(blocks) < 1:
            raise ValueError(
                f"expected blocks (at least 1) and attention for each of {sizes} widths, got {blocks}, {attention}"
            )
        self.channels, self.sizes = channels, sizes
        self.settings = dict(
            channels=channels, widths=tuple(widths), blocks=blocks, attention=attention, heads=heads, classes=classes,
            features=features, time_scale=time_scale, conditioning=conditioning, dropout=dropout,
            out_channels=out_channels, guided=guided, beside=beside, noised=noised, context=context, reading=reading,
        )  # fmt: skip
        width = 4 * widths[0]
        self.embed = TimeEmbedding(width, features, time_scale, classes, guided, noised)
        self.summary = zeroed(nn.Linear(context, width, bias=False)) if context else None

        def stage(c_in, c_out, attend):
            return self.stage(c_in, c_out, width, attend, heads, conditioning, dropout, context if reading else 0)

        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.aside = zeroed(nn.Conv2d(beside, widths[0], 3, padding=1, bias=False)) if beside else None
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        for i, c in enumerate(widths):
            self.down.append(nn.ModuleList(stage(c, c, attention[i]) for _ in range(blocks[i])))
            self.up.append(nn.ModuleList(stage(2 * c, c, attention[i]) for _ in range(blocks[i])))
            if i + 1 < sizes:
                self.shrink.append(nn.Conv2d(c, widths[i + 1], 3, stride=2, padding=1))
                self.grow.append(Grow(widths[i + 1], c, 3, padding=1))
        self.middle = stage(widths[-1], widths[-1], True)
        self.head = nn.Sequential(
            group_norm(widths[0]), nn.SiLU(), zeroed(nn.Conv2d(widths[0], out_channels or channels, 3, padding=1))
        )
        self.to(memory_format=torch.channels_last)  # convolutions run faster so, on CPU and GPU

    def forward(self, x, t, y=None, w=None, beside=None, level=None, text=None, frames=1):
        """(B, channels, H, W), any H and W -> (B, out_channels, H, W). t, y, w, level: (B,), see ``TimeEmbedding``.

        beside: (B, channels of it, H, W), where there is such a picture; text: a Text, where there is one.
        """
        if x.ndim != 4 or x.shape[1] != self.channels or min(x.shape[2:]) < 2 ** (self.sizes - 1):
            least = 2 ** (self.sizes - 1)
            raise ValueError(
                f"expected images (B, {self.channels}, H, W) of at least {least}×{least} pixels, got {tuple(x.shape)}"
            )
        want = None if self.aside is None else (len(x), self.aside.in_channels, *x.shape[2:])
        got = None if beside is None else tuple(beside.shape)
        if got != want:
            raise ValueError(f"expected a picture beside x of shape {want}, got {got}")
        if (text is None) != (self.summary is None):
            raise ValueError(f"this network was built {'without' if text else 'with'} a text (context)")
        e, h, skips = self.embed(t, y, w, level), self.stem(x), []
        told = Told(e if text is None else e + self.summary(text.summary), text, frames)
        h = h if beside is None else h + self.aside(beside)
        for i, stages in enumerate(self.down):
            h = self.shrink[i - 1](h) if i else h
            for stage in stages:
                h = stage(h, told)
                skips.append(h)
        h = self.middle(h, told)
        for i, stages in reversed(list(enumerate(self.up))):
            for stage in stages:
                h = stage(torch.cat([h, skips.pop()], 1), told)
            if i:
                h = self.grow[i - 1](h, skips[-1].shape[2:])
        return self.head(h)
