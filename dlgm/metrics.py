"""Numbers that describe data and samples, each with its error; the quadrature grid."""

import math
from dataclasses import dataclass

import torch

from .tensors import double, same_shape, whole


@dataclass(frozen=True, eq=False)
class Estimate:
    """A Monte Carlo estimate and its standard error; prints as value ± error.

    Attributes:
        value: (B,) or (), in nats.
        error: standard error of the Monte Carlo average, of the same shape; NaN where one sample says nothing about it.
    """

    value: torch.Tensor
    error: torch.Tensor

    def average(self):
        """The mean over the examples, with the standard error that comes from the finite number of examples too.

        error = std(values) / √B: the values are independent, and their spread holds the spread between examples and
        the Monte Carlo error together.
        """
        return estimate(self.value.flatten(), 0)

    def __str__(self):
        if self.value.ndim:
            return f"[{', '.join(str(Estimate(v, e)) for v, e in zip(self.value, self.error, strict=True))}]"
        return f"{self.value.item():.4f} ± {self.error.item():.4f}"


def estimate(samples, dim=-1):
    """The mean of independent samples along ``dim`` and its standard error std / √n, as an Estimate."""
    n = samples.shape[dim]
    spread = samples.detach().std(dim) if n > 1 else torch.full_like(samples.detach().sum(dim), math.nan)
    return Estimate(samples.mean(dim), spread / math.sqrt(n))


def spread(draws):
    """The standard deviation of draws along the last axis, and its standard error √(m₄ − s⁴)/(2 s √n): (..., n)."""
    std, fourth = draws.std(-1), (draws - draws.mean(-1, keepdim=True)).pow(4).mean(-1)
    return std, (fourth - std**4).clamp(min=0).sqrt() / (2 * std * draws.shape[-1] ** 0.5)


def radial_power_spectrum(images):
    """Mean power of images in each spatial frequency, around their mean image.

    The two-dimensional discrete Fourier transform is taken orthonormal, so that white noise of variance 1 has power 1
    at every frequency and the powers of all coefficients sum to the total variance of the pixels. Coefficients are
    averaged over rings |f| in [k − ½, k + ½) cycles per image, k = 1, 2, ... up to the Nyquist frequency.

    Args:
        images: (N, C, H, H), square.
    Returns:
        (frequency (H // 2,), power (H // 2,)), float64 on the CPU; frequency in cycles per image.
    Raises:
        ValueError: images are not a batch of at least two square images.
    Source: ledger SCHED-3.
    """
    if images.ndim != 4 or images.shape[-1] != images.shape[-2] or len(images) < 2:
        raise ValueError(f"expected at least two square images (N, C, H, H), got shape {tuple(images.shape)}")
    x = images.cpu().double()
    power = torch.fft.fft2(x - x.mean(0), norm="ortho").abs().square().mean((0, 1)) * len(x) / (len(x) - 1)
    f = torch.fft.fftfreq(images.shape[-1], dtype=torch.float64, device="cpu") * images.shape[-1]
    ring = (f[:, None] ** 2 + f[None, :] ** 2).sqrt().round()
    frequency = torch.arange(1, images.shape[-1] // 2 + 1, dtype=torch.float64, device="cpu")
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
    mean_a, cov_a, mean_b, cov_b = map(double, (mean_a, cov_a, mean_b, cov_b))
    F = len(cov_a)
    if not (mean_a.shape == mean_b.shape == (F,) and cov_a.shape == cov_b.shape == (F, F)):
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
    a, b = double(a), double(b)
    return frechet_gaussians(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))


def frechet_floor(features, n, splits=5):
    """The Fréchet distance of n real examples from all others, over random choices of the n: an Estimate.

    What samples of the very same law would be charged; a distance below it says nothing.

    Args:
        features: (N, F), of real examples, in order of no meaning.
    Source: ledger M-37.
    """
    found = []
    for seed in range(splits):
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed), device="cpu")
        found.append(frechet_distance(features[order[:n]], features[order[n:]]))
    return estimate(torch.tensor(found, dtype=torch.float64, device="cpu"), 0)


def precision_recall(real, fake, neighbours=3):
    """Share of samples that lie among real examples, and share of real examples that lie among samples: Estimates.

    A point lies among a set if it is in a ball around one of its members that reaches to that member's k-th neighbour.
    Fidelity and variety apart, which one distance mixes; both hang on the sizes of the sets, so compare equal sizes. In
    float64, which on MPS means on the CPU.

    Args:
        real: (N, F). fake: (M, F), features of examples.
        neighbours: k, at least 1.
    Raises:
        ValueError: a set has no more than k members, or their features differ in number.
    Source: Kynkäänniemi et al. 2019, equations 1 and 2; ledger M-37.
    """
    whole(neighbours=neighbours)
    if real.shape[1:] != fake.shape[1:] or min(len(real), len(fake)) <= neighbours:
        got = f"{tuple(real.shape)} and {tuple(fake.shape)}"
        raise ValueError(f"expected two sets of more than {neighbours} examples (N, F) and (M, F), got {got}")
    real, fake = double(real), double(fake)

    def among(points, members):
        reach = torch.cdist(members, members).kthvalue(neighbours + 1, dim=1).values  # the nearest is the point itself
        return (torch.cdist(points, members) <= reach).any(1).double()

    return estimate(among(fake, real), 0), estimate(among(real, fake), 0)


def inception_score(log_p):
    """exp of the mean KL(p(y | x) ‖ p(y)) over samples, p(y) their average: between 1 and K, a number.

    High if a classifier is sure of each sample and they spread over all classes; K only if both hold fully. It knows no
    real data: one perfect sample of each class repeated scores K. Of few samples it is too low (of one it is 1): their
    own average lies nearer to them than p(y) does.

    Args:
        log_p: (N, K), log p(y | x) of a classifier, nats.
    Raises:
        ValueError: rows are no log-probabilities.
    Source: Salimans et al. 2016, section 4; ledger NUM-3, M-37.
    """
    log_p = double(log_p)
    if log_p.ndim != 2 or not torch.allclose(log_p.exp().sum(1), log_p.new_ones(len(log_p))):
        raise ValueError(f"expected log-probabilities (N, K) whose exponentials sum to 1, got {tuple(log_p.shape)}")
    p = log_p.exp()
    return torch.special.xlogy(p, p).sum(1).sub(torch.special.xlogy(p, p.mean(0)).sum(1)).mean().exp().item()


def hit_rate(log_p, y):
    """The share of samples that a classifier takes for the class they were asked for, an Estimate.

    In float64, which on MPS means on the CPU.

    Args:
        log_p: (N, K), logits or log-probabilities. y: (N,).
    Source: ledger GUIDE-12, M-37.
    """
    return estimate(double(log_p.argmax(1) == y), 0)


@torch.no_grad()
def features(classifier, images, batch=500):
    """The features of images (N, C, H, W), a batch at a time: (N, F). For ``frechet_distance``."""
    return torch.cat([classifier.features(part) for part in images.split(batch)])


def energy_distance(x, y, blocks=20):
    """2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖, zero if and only if the two laws agree; an Estimate.

    Samples are cut into blocks; in each, the averages run over different pairs only, so that it is unbiased and may
    come out below 0. The standard error is that of the mean of the blocks. In float64, which on MPS means on the CPU.

    Args:
        x, y: (N, D) each.
    Raises:
        ValueError: the shapes differ, or N is less than twice the number of blocks.
    Source: Székely & Rizzo 2013, equation 2.1; ledger GEN-1.
    """
    same_shape(x=x, y=y)
    size = len(x) // blocks
    if size < 2:
        raise ValueError(f"{len(x)} points cannot be cut into {blocks} blocks of at least two")
    x, y = (double(v[: size * blocks].reshape(blocks, size, -1)) for v in (x, y))
    across = torch.cdist(x, y).mean((1, 2))
    within = [torch.cdist(v, v).sum((1, 2)) / (size * (size - 1)) for v in (x, y)]
    return estimate(2 * across - within[0] - within[1])


def modes(x, mixture, reach=4.0):
    """How samples spread over the components of a mixture whose components have one variance in all directions.

    Args:
        x: (N, D). reach: a sample belongs to its nearest mean if that is at most so many standard deviations away.
    Returns:
        (share of all samples at each mean (K,), on the CPU; share of samples at no mean).
    Source: ledger GEN-2.
    """
    distance, nearest = torch.cdist(x.cpu().double(), mixture.means).min(1)
    std = mixture.covs[:, 0, 0].sqrt()
    near = distance <= reach * std[nearest]
    return torch.bincount(nearest[near], minlength=len(std)) / len(x), 1 - near.double().mean().item()


def principal_angles(A, B):
    """The angles, in radians and falling, between the column spaces of A (D, a) and B (D, b): (min(a, b),).

    They come from the sines, the singular values of (I − Q_A Q_Aᵀ) Q_B, which are exact for small angles. In float64,
    which on MPS means on the CPU.

    Source: Björck & Golub 1973; ledger AE-2.
    """
    if A.shape[1] < B.shape[1]:
        A, B = B, A
    Q, R = (torch.linalg.qr(double(v)).Q for v in (A, B))
    return torch.linalg.svdvals(R - Q @ (Q.T @ R)).clamp(max=1.0).asin()


def principal_subspace(x, k):
    """The k leading eigenvectors of the covariance of x (N, ...): (D, k), float64, which on MPS means on the CPU.

    Source: ledger AE-2.
    """
    x = double(x.flatten(1))
    return torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:k].T


@dataclass(frozen=True, eq=False)
class Grid:
    """Evenly spaced points of a square [-extent, extent]², (n², 2), and the area of one cell."""

    points: torch.Tensor
    cell: float

    def log_integral(self, log_f):
        """log ∫ f by quadrature: the log of the sum of f over the points times the area of a cell; (n²,) -> ()."""
        return log_f.logsumexp(0) + math.log(self.cell)


def grid(extent=3.2, n=129, dtype=torch.float32):
    """The Grid of n × n points on [-extent, extent]²; the first coordinate runs fastest."""
    axis = torch.linspace(-extent, extent, n, dtype=dtype)
    return Grid(torch.cartesian_prod(axis, axis).flip(1), (2 * extent / (n - 1)) ** 2)
