"""Floor 1': numbers that describe data and samples."""

import torch


def radial_power_spectrum(images):
    """Mean power of images in each spatial frequency, around their mean image.

    The two-dimensional discrete Fourier transform is taken orthonormal, so that white noise of variance 1 has power 1
    at every frequency and the powers of all coefficients sum to the total variance of the pixels. Coefficients are
    averaged over rings |f| in [k − ½, k + ½) cycles per image, k = 1, 2, ... up to the Nyquist frequency.

    Args:
        images: (N, C, H, H), square.
    Returns:
        (frequency (H // 2,), power (H // 2,)), float64; frequency in cycles per image.
    Raises:
        ValueError: images are not a batch of at least two square images.
    Source: ledger SCHED-3.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2] or len(images) < 2:
        raise ValueError(f"expected at least two square images (N, C, H, H), got shape {tuple(images.shape)}")
    x = images.double()
    power = torch.fft.fft2(x - x.mean(0), norm="ortho").abs().square().mean((0, 1)) * len(x) / (len(x) - 1)
    f = torch.fft.fftfreq(images.shape[-1], dtype=torch.float64, device=x.device) * images.shape[-1]
    ring = (f[:, None] ** 2 + f[None, :] ** 2).sqrt().round()
    frequency = torch.arange(1, images.shape[-1] // 2 + 1, dtype=torch.float64, device=x.device)
    return frequency, torch.stack([power[ring == k].mean() for k in frequency])
