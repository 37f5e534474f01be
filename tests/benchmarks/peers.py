"""The networks that the benchmarks compare, with equal numbers of parameters, each called as net(x, t).

The two others are optional: ``pip install diffusers==0.42.1 denoising-diffusion-pytorch==2.3.4``.
"""

import sys
import types

import torch
from torch import nn

from dlgm.nets import UNet


class Diffusers(nn.Module):
    """diffusers.UNet2DModel, three sizes, one block each, attention at the smallest."""

    def __init__(self, size):
        super().__init__()
        from diffusers import UNet2DModel

        self.net = UNet2DModel(
            sample_size=size, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(24, 48, 96),
            norm_num_groups=8, attention_head_dim=24,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        )  # fmt: skip

    def forward(self, x, t):
        return self.net(x, t, return_dict=False)[0]


def lucidrains():
    """The Unet of denoising-diffusion-pytorch. It imports torchvision for reading files only, so a stub will do."""
    if "torchvision" not in sys.modules:
        parts = {n: types.ModuleType(f"torchvision.{n}") for n in ("transforms", "utils", "models")}
        root = types.ModuleType("torchvision")
        root.__dict__.update(parts, __spec__=None)
        sys.modules.update({"torchvision": root, **{f"torchvision.{n}": m for n, m in parts.items()}})
    from denoising_diffusion_pytorch.denoising_diffusion_pytorch import Unet

    return Unet(dim=24, dim_mults=(1, 2, 4), channels=1, attn_heads=4, attn_dim_head=32)


NETS = {
    "dlgm": lambda size: UNet(1, (16, 32, 64, 112)),
    "diffusers": Diffusers,
    "lucidrains": lambda size: lucidrains(),
}


def available(size=28):
    """Name -> network with seeded weights, those of NETS whose library is installed; a line says which are not."""
    found = {}
    for name, make in NETS.items():
        torch.manual_seed(0)
        try:
            found[name] = make(size)
        except ImportError as error:
            print(f"{name} is left out: {error}")
    return found
