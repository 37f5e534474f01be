"""Captions: words to numbers, numbers to features, and a U-Net that reads them.

    "a sad person"  ── Tokenizer ──►  (2, 7, 5, 0, 0)  ── TextEncoder ──►  Text  ──►  U-Net

A caption is a row of whole numbers, one a word, filled up with ``PAD``. What is padding is read off the numbers, in
training and in sampling alike, so the two cannot differ; a caption of nothing but padding says nothing, and is what
guidance takes for "none".
"""

import collections
import re

import torch
import torch.nn.functional as F
from torch import nn

from ..tensors import to_device
from .classifier import Classifier
from .time import sinusoidal
from .unet import Text, UNet, attend, heads_of

PAD, UNKNOWN = 0, 1


class Tokenizer:
    """Words to whole numbers, on the CPU: 0 is padding, 1 a word it does not know, 2 and on the words of ``words``.

    Args:
        words: the words, each once.
    Source: ledger COND-3, M-27.
    """

    def __init__(self, words):
        self.words = tuple(words)
        self._number = {word: i for i, word in enumerate(self.words, 2)}

    @classmethod
    def of(cls, captions, most=4000):
        """The Tokenizer of the words in captions, in their order; of more than ``most`` the most frequent ones."""
        counts = collections.Counter(word for caption in captions for word in split(caption))
        return cls(sorted(word for word, _ in counts.most_common(most)))

    def __len__(self):
        return len(self.words) + 2

    def __call__(self, captions, length=None):
        """(B, L) int64 on the CPU; L is that of the longest caption, or ``length``, to which longer ones are cut.

        No caption is refused: words that it does not know become UNKNOWN, see ``unknown``.
        """
        rows = [[self._number.get(word, UNKNOWN) for word in split(caption)] for caption in captions]
        length = max(map(len, rows), default=0) if length is None else length
        rows = [row[:length] + [PAD] * (length - len(row)) for row in rows]
        return torch.tensor(rows, dtype=torch.int64, device="cpu").reshape(len(rows), length)

    def unknown(self, caption):
        """The words of a caption that it does not know, in their order."""
        return [word for word in split(caption) if word not in self._number]

    def text(self, row):
        """The words of a row of numbers, without padding; "?" where one is not known."""
        names = ("", "?", *self.words)
        return " ".join(names[i] for i in row if i != PAD)


def split(caption):
    """The words of a caption, in small letters: runs of letters, digits, hyphens and apostrophes."""
    return re.findall(r"[^\W_]+(?:[-'’][^\W_]+)*", caption.lower())


class Layer(nn.Module):
    """x + attention(LN(x)), then x + W₂ GELU(W₁ LN(x)), (B, L, d); words that the mask hides are not read.

    Source: Vaswani et al. 2017, section 3.1 (normalised before, not after).
    """

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads_of(d, heads)
        self.norm1, self.qkv, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.norm2, self.wide, self.back = nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x, mask):
        x = x + self.out(attend(*self.qkv(self.norm1(x)).chunk(3, 2), self.heads, mask))
        return x + self.back(F.gelu(self.wide(self.norm2(x))))


class TextEncoder(nn.Module):
    """Numbers of words (B, L) -> Text with L + 1 features: a start that is always there, then one for each word.

    The start's feature is the summary; it is also what cross-attention reads of an empty caption. Positions are sines,
    so a caption may be longer than any in training.

    Args:
        words: how many numbers there are, padding and unknown included. width: of a feature. layers: 0 gives each
            word's own vector plus its position.
    Raises:
        ValueError: when called, a number that is not one of ``words``.
    Source: Vaswani et al. 2017; Saharia et al. 2022, section 2.1; ledger COND-3, M-27.
    """

    def __init__(self, words, width=64, layers=2, heads=4):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.start = nn.Parameter(torch.randn(width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens):
        """(B, L) int64 -> Text."""
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise ValueError(f"expected rows of whole numbers (B, L), got {tokens.dtype} {tuple(tokens.shape)}")
        B, L = tokens.shape
        x = self.embedding(tokens)
        x = x + sinusoidal(torch.arange(L, device=tokens.device), x.shape[2]).to(x)
        x = torch.cat([self.start.expand(B, 1, -1), x], 1)
        mask = torch.cat([torch.ones(B, 1, dtype=torch.bool, device=tokens.device), tokens != PAD], 1)
        for layer in self.layers:
            x = layer(x, mask)
        x = self.norm(x)
        return Text(x, mask, x[:, 0])


def as_text(vectors):
    """Vectors (B, d) as Texts of one feature each, for a U-Net with ``context=d``: what a decoder is told."""
    mask = torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device)
    return Text(vectors[:, None], mask, vectors)


class CaptionedUNet(nn.Module):
    """A U-Net with a text encoder of its own: (x_t, t, y) -> an image of x_t's size, y (B, L) numbers of words.

    ``tokenizer`` makes y of captions. Without y it is told the empty caption.

    Args:
        words: of the tokenizer. width, layers: of the encoder.
        frozen: whether the encoder stays as it is in training.
        unet: settings of ``UNet``, but for ``context``.
    Source: Saharia et al. 2022 (Imagen), section 2; ledger CASC-3, COND-3, APP-5, M-27.
    """

    null = PAD  # y of nothing but this is "none"
    version = UNet.version

    def __init__(self, words, width=64, layers=2, frozen=False, **unet):
        super().__init__()
        self.tokenizer = Tokenizer(words)
        self.encoder = TextEncoder(len(self.tokenizer), width, layers).requires_grad_(not frozen)
        self.unet = UNet(**{k: v for k, v in unet.items() if k != "context"}, context=width)
        self.settings = self.unet.settings | dict(words=self.tokenizer.words, width=width, layers=layers, frozen=frozen)

    def forward(self, x, t, y=None, **cond):
        """x: (B, channels, H, W); t: (B,); y: (B, L) int64 or None; cond: see ``UNet``."""
        y = torch.zeros(len(x), 0, dtype=torch.int64, device=x.device) if y is None else to_device(y, x.device)
        return self.unet(x, t, text=self.encoder(y), **cond)


class ContrastivePair(nn.Module):
    """Two encoders into one space, of pictures and of captions, whose scores say how well the two belong together.

        s_ij = e^τ ⟨a(x_i), b(y_j)⟩,   a, b of length 1, τ learned

    Args:
        words: of the tokenizer. width: of the space and of the text's features. channels: of pictures, of any size.
    Source: Radford et al. 2021 (CLIP), section 2; ledger LAT-3, M-30.
    """

    def __init__(self, words, width=64, layers=2, channels=3):
        super().__init__()
        self.settings = dict(words=tuple(words), width=width, layers=layers, channels=channels)
        self.tokenizer = Tokenizer(words)
        self.encoder = TextEncoder(len(self.tokenizer), width, layers)
        self.seeing = Classifier(channels, width, 24)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def pictures(self, x):
        """(B, C, H, W) -> (B, width), of length 1."""
        return F.normalize(self.seeing(x), dim=1)

    def captions(self, y):
        """(B, L) int64 -> (B, width), of length 1."""
        return F.normalize(self.encoder(y).summary, dim=1)

    def forward(self, x, y):
        """Scores (B, B'): each picture with each caption."""
        return self.log_scale.exp() * self.pictures(x) @ self.captions(y).T
