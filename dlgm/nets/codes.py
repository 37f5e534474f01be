"""Pictures to a grid of codes and back, by convolutions: any size that the halvings divide."""

import torch.nn.functional as F
from torch import nn

from .unet import group_norm, zeroed


class Residual(nn.Module):
    """x + conv(SiLU(GN(conv(SiLU(GN(x)))))), (B, c, H, W); the second convolution starts at zero."""

    def __init__(self, c):
        super().__init__()
        self.norm1, self.conv1 = group_norm(c), nn.Conv2d(c, c, 3, padding=1)
        self.norm2, self.conv2 = group_norm(c), zeroed(nn.Conv2d(c, c, 3, padding=1))

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


def encoder(channels, widths, code):
    """(B, channels, H, W) -> (B, code, H/f, W/f), f = 2^len(widths): squares of 2 × 2 pixels first, then halvings.

    Args:
        widths: channels at each size, half of the picture's first.
    Source: Rombach et al. 2022, section 3.1; ledger LAT-1, M-29.
    """
    layers = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, widths[0], 3, padding=1), Residual(widths[0])]
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), Residual(b)]
    return nn.Sequential(*layers, group_norm(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], code, 3, padding=1))


def decoder(channels, widths, code):
    """(B, code, h, w) -> (B, channels, f h, f w): the mirror image of ``encoder``, same arguments."""
    layers = [nn.Conv2d(code, widths[-1], 3, padding=1), Residual(widths[-1])]
    for a, b in zip(widths[::-1], widths[-2::-1], strict=False):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.Upsample(scale_factor=2), Residual(b)]
    head = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)
    return nn.Sequential(*layers, group_norm(widths[0]), nn.SiLU(), head, nn.PixelShuffle(2))
