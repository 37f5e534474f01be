"""A U-Net for clips: the U-Net of pictures on every frame, and after each stage a block that looks through time.

    frames (B, F, C, H, W)  ->  (B·F, C, H, W): stage of pictures, frame by frame
                            ->  (B, F, C, H·W): block through time, pixel by pixel          ... stage by stage

Space and time are separated: a full look at F frames of H × W pixels costs (F H W)² products, this F (H W)² + H W F².
The blocks through time end in layers of zeros, so that a network of pictures becomes one of clips without a change.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .time import sinusoidal
from .unet import Stage, UNet, attend, group_norm, heads_of, zeroed


class TimeBlock(nn.Module):
    """h + conv(SiLU(GN(h))) over neighbouring frames, then h + attention over all frames where asked for; starts as h.

    Each pixel looks at the same pixel of other frames only. In attention the frames' numbers are told by sines.

    Args:
        channels: of h. attention: whether it attends.
    Source: Ho et al. 2022 (video), section 3; ledger VID-2, M-28.
    """

    def __init__(self, channels, attention, heads):
        super().__init__()
        self.norm = group_norm(channels)
        self.conv = zeroed(nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)))
        self.heads = heads_of(channels, heads) if attention else 0
        if attention:
            self.normed, self.qkv = nn.LayerNorm(channels), nn.Linear(channels, 3 * channels)
            self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, h, frames):
        """(B·F, C, H, W), F -> (B·F, C, H, W)."""
        _, C, H, W = h.shape
        clip = h.permute(0, 2, 3, 1).reshape(-1, frames, H * W, C)  # (B, F, HW, C)
        seen = clip.permute(0, 3, 1, 2)  # (B, C, F, HW)
        clip = clip + self.conv(F.silu(self.norm(seen))).permute(0, 2, 3, 1)
        if self.heads:
            through = clip.transpose(1, 2).flatten(0, 1)  # (B·HW, F, C)
            places = sinusoidal(torch.arange(frames, device=h.device), C + C % 2, max_period=100.0)[:, :C].to(h)
            q, k, v = self.qkv(self.normed(through) + places).chunk(3, 2)
            mixed = self.out(attend(q, k, v, self.heads)).unflatten(0, (-1, H * W)).transpose(1, 2)
            clip = clip + mixed
        return clip.reshape(-1, H, W, C).permute(0, 3, 1, 2)


class VideoStage(Stage):
    """A Stage of pictures, and a TimeBlock after it where there are several frames."""

    def __init__(self, c_in, c_out, width, attention, heads, *rest):
        super().__init__(c_in, c_out, width, attention, heads, *rest)
        self.through = TimeBlock(c_out, attention, heads)

    def forward(self, x, told):
        x = super().forward(x, told)
        return x if told.frames == 1 else self.through(x, told.frames)


class VideoUNet(UNet):
    """The denoiser's network of clips: (x_t, t, ...) -> a clip of x_t's shape (B, F, C, H, W); settings of ``UNet``.

    A clip of one frame is a picture: nothing looks through time then, so that pictures and clips can be trained on in
    turn. No value of one clip reaches another.

    Source: Ho et al. 2022 (video), section 3; ledger VID-2, APP-5, M-28.
    """

    stage = VideoStage

    def forward(self, x, t, y=None, w=None, beside=None, **cond):
        """x: (B, F, channels, H, W); t, y, w: (B,); beside: (B, F, channels of it, H, W)."""
        if x.ndim != 5:
            raise ValueError(f"expected clips (B, F, {self.channels}, H, W), got {tuple(x.shape)}")
        frames = x.shape[1]
        t, y, w = (None if v is None else v.repeat_interleave(frames, 0) for v in (t, y, w))
        beside = None if beside is None else beside.flatten(0, 1)
        out = super().forward(x.flatten(0, 1), t, y, w, beside, frames=frames, **cond)
        return out.unflatten(0, (-1, frames))


def inflate(unet, **more):
    """A VideoUNet with the weights of a UNet: on each frame, bit for bit, what the UNet says of it.

    Args:
        more: settings that the UNet has not, such as ``beside``; what they add starts at zero, too.
    Source: Ho et al. 2022 (video), section 3; ledger VID-2, M-28.
    """
    video = VideoUNet(**unet.settings | more)
    video.load_state_dict(unet.state_dict(), strict=False)
    return video.train(unet.training)
