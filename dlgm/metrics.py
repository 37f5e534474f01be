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


def frechet_gaussians(mean_a, cov_a, mean_b, cov_b):
    """‖m_a − m_b‖² + Tr(S_a + S_b − 2 (S_a^½ S_b S_a^½)^½), the squared 2-Wasserstein distance of two Gaussians.

    Args:
        mean_a, mean_b: (F,). cov_a, cov_b: (F, F), symmetric, no negative eigenvalue.
    Returns:
        A number, 0 iff the two agree.
    Raises:
        ValueError: shapes do not fit.
    Source: Dowson & Landau 1982; Heusel et al. 2017, equation 6; ledger NUM-2, M-37.
    """
    mean_a, cov_a, mean_b, cov_b = (v.double() for v in (mean_a, cov_a, mean_b, cov_b))
    F = len(mean_a)
    if mean_b.shape != (F,) or cov_a.shape != (F, F) or cov_b.shape != (F, F):
        shapes = [tuple(v.shape) for v in (mean_a, cov_a, mean_b, cov_b)]
        raise ValueError(f"expected means (F,) and covariances (F, F) of one F, got shapes {shapes}")
    values, axes = torch.linalg.eigh(cov_a)
    root = axes * values.clamp(min=0).sqrt() @ axes.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return ((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross).item()


def frechet_distance(a, b):
    """``frechet_gaussians`` of the means and covariances of two sets of features (N, F) and (M, F).

    It is biased upwards for finite sets, more so for small ones: compare numbers from sets of equal sizes only, and
    beside that of real images against real ones.

    Raises:
        ValueError: a set has no more members than features, so that its covariance is singular.
    Source: Heusel et al. 2017; ledger NUM-2, M-37.
    """
    for x in (a, b):
        if x.ndim != 2 or len(x) <= x.shape[1]:
            raise ValueError(f"expected more examples than features, got shape {tuple(x.shape)}")
    a, b = a.double(), b.double()
    return frechet_gaussians(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))


@torch.no_grad()
def features(classifier, images, batch=500):
    """The features of images (N, C, H, W), a batch at a time: (N, F). For ``frechet_distance``."""
    return torch.cat([classifier.features(part) for part in images.split(batch)])
