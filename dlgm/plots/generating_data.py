"""The figures of lesson 01."""

import math

import torch
from matplotlib.colors import LinearSegmentedColormap

from ..elbo import effective_sample_size, evidence_integral, prior_log_weights, prior_weight_ratio
from ..gaussian import Gaussian
from . import BLUE, GREEN, GREY, ORANGE, SKY, figure, styled


def _image(ax, values, extent, **options):
    """A quadrature grid's values (n²,), the first coordinate running fastest, as a picture of the square."""
    n = math.isqrt(len(values))
    options = {"origin": "lower", "interpolation": "bilinear", **options}
    return ax.imshow(values.reshape(n, n).numpy(), extent=(-extent, extent, -extent, extent), **options)


@styled
def two_questions(log_p_y, log_p_x, extent, draws, labels, probes, names):
    """The same world twice: what a classifier knows of it, and what a density knows.

    Args:
        log_p_y: (n²,), log p(second class | x) on a grid of [-extent, extent]². log_p_x: (n²,), log p(x).
        draws, labels: (N, 2) and (N,) of 0 and 1. probes: dict name -> (2,), points to mark. names: of the classes.
    """
    fig, (left, right) = figure(8.4, 3.9, 1, 2, sharey=True)
    pale = LinearSegmentedColormap.from_list("pale", ["#fdd0a2", "white", "#c3b5dd"])
    mesh = _image(left, log_p_y.exp(), extent, cmap=pale, vmin=0, vmax=1)
    fig.colorbar(mesh, ax=left, label=f"p({names[1]} | x)", shrink=0.8)
    mesh = _image(right, log_p_x / math.log(10), extent, cmap="Blues", vmin=-12, vmax=0)
    fig.colorbar(mesh, ax=right, label="log₁₀ p(x)", extend="min", shrink=0.8)
    for ax, title in ((left, "discriminative: which one?"), (right, "generative: is there such an x?")):
        for k, (colour, marker) in enumerate(((ORANGE, "o"), ("#5e3c99", "^"))):
            ax.scatter(*draws[labels == k].T, s=9, color=colour, marker=marker, linewidths=0, alpha=0.8, label=names[k])
        for name, point in probes.items():
            ax.plot(*point, "s", color="black", ms=6, mfc="none", mew=1.8)
            ax.annotate(name, point, (5, 5), textcoords="offset points", fontweight="bold")
        ax.set(title=title, xlabel="$x_1$", xlim=(-extent, extent), ylim=(-extent, extent))
    left.set_ylabel("$x_2$")
    right.legend(loc="lower left", markerscale=1.8, handletextpad=0.1)
    return fig


@styled
def samples_of_families(truth, samples, extent=2.6, shown=1500):
    """The true density and samples of each family; samples: dict name -> (N, 2), seven of them."""
    fig, axes = figure(8.4, 5.0, 2, 4, sharex=True, sharey=True)
    axis = torch.linspace(-extent, extent, 121)
    points = torch.cartesian_prod(axis, axis).flip(1)
    _image(axes[0, 0], truth.log_prob(points).exp(), extent, cmap="Blues")
    axes[0, 0].set_title("the true density")
    for ax, (name, x) in zip(axes.flat[1:], samples.items(), strict=True):
        ax.scatter(*x[:shown].T, s=2.0, color=GREY if name == "the truth" else BLUE, linewidths=0, alpha=0.7)
        ax.set_title(name)
    for ax in axes.flat:
        ax.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    for ax in axes[1]:
        ax.set_xlabel("$x_1$")
    for ax in axes[:, 0]:
        ax.set_ylabel("$x_2$")
    return fig


@styled
def densities_of_families(log_p, extent):
    """log₁₀ densities on a grid of [-extent, extent]²; log_p: dict name -> (n²,)."""
    fig, ((*axes,),) = figure(8.4, 2.5, 1, len(log_p), sharey=True, squeeze=False)
    for ax, (name, values) in zip(axes, log_p.items(), strict=True):
        mesh = _image(ax, values / math.log(10), extent, cmap="Blues", vmin=-5, vmax=0)
        ax.set(title=name, xlabel="$x_1$", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    axes[0].set_ylabel("$x_2$")
    fig.colorbar(mesh, ax=axes, label="log₁₀ density", extend="both")
    return fig


@styled
def sampling_the_prior(dims, sizes, errors, counts, noise_var, x=1.0):
    """Why draws from the prior fail: effective sample size and error of the estimate of log p(x), by dimension.

    Args:
        dims: dimensions. sizes: dict N -> mean ESS for each of dims, each a list. noise_var: s² of p(x | z).
        errors: dict d -> (mean error of log p̂ in nats, its standard error), each a list over counts.
        counts: the numbers N of draws behind ``errors``.
    """
    fig, (left, right) = figure(8.4, 3.5, 1, 2)
    ratio = [prior_weight_ratio(torch.full((1, d), x, dtype=torch.float64), noise_var).item() for d in dims]
    for (n, values), colour, marker in zip(sizes.items(), (BLUE, ORANGE), "os", strict=False):
        left.plot(dims, values, marker, color=colour, ms=5, label=f"measured, N = {n:,}")
        left.plot(dims, [n * r for r in ratio], "--", color=colour, lw=1.3, label=f"exact share × {n:,}")
    left.set(yscale="log", ylim=(0.3, 2 * max(sizes)), xlabel="dimension d of z", ylabel="effective sample size")
    left.axhline(1, color=GREY, lw=1, ls=":")
    left.set_title("how many draws count")
    left.legend(fontsize=8.5)
    for (d, (mean, se)), colour, marker in zip(errors.items(), (GREEN, BLUE, ORANGE), "os^", strict=False):
        right.errorbar(
            counts, mean, [3 * v for v in se], marker=marker, ms=5, capsize=3, color=colour, label=f"d = {d}"
        )
    right.axhline(0, color=GREY, lw=1, ls=":")
    right.set(xscale="log", xlabel="number N of draws", ylabel="mean error of log p̂(x) (nats)")
    right.set_title("biased low (bars: 3 standard errors)")
    right.legend(loc="lower right")
    return fig


@styled
def prior_sampling_panel(dimension, doublings, noise_var=0.25, x=1.0, repeats=200):
    """Estimating log p(x) with draws from the prior: what the sliders of lesson 01 show.

    Args:
        dimension: d; z and x have d coordinates, x | z ~ N(z, s² I), every coordinate of x is ``x``.
        doublings: N = 2**doublings draws. noise_var: s². repeats: independent estimates.
    Returns:
        A Figure with three panels: the largest shares of the weights, estimates of log p(x), ESS by dimension.
    """
    d, n = dimension, 2**doublings
    point = torch.full((d,), x, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    log_w = prior_log_weights(point, noise_var, n, repeats, generator)
    estimates = evidence_integral(log_w)
    exact = Gaussian(torch.zeros(1, d).double(), 1 + noise_var).log_prob(point[None]).item()
    fig, axes = figure(8.4, 3.2, 1, 3)
    top = log_w[0].softmax(0).sort(descending=True).values[:16].tolist()
    axes[0].bar(range(1, len(top) + 1), top, color=SKY)
    axes[0].set(ylim=(0, 1), xlim=(0.3, 16.7), xlabel="draws, the heaviest first", ylabel="share of the weight")
    axes[0].set_title(f"d = {d}, N = {n:,}: one run")
    low = min(exact - 3, estimates.min().item())
    high = max(exact + 1, estimates.max().item())
    tallest = axes[1].hist(estimates.numpy(), bins=40, range=(low, high), color=SKY)[0].max()
    axes[1].plot([exact] * 2, [0, 1.1 * tallest], color=ORANGE, label="log p(x)")
    axes[1].plot([estimates.mean().item()] * 2, [0, 1.1 * tallest], color=BLUE, ls="--", label="mean of the runs")
    axes[1].set(xlabel="estimate (nats)", ylabel=f"runs of {repeats}")
    axes[1].set_ylim(0, 1.5 * tallest)
    axes[1].set_title("estimates of log p(x)")
    axes[1].legend(loc="upper left", fontsize=8.5)
    dims = range(1, 25)
    shares = [prior_weight_ratio(torch.full((1, k), x, dtype=torch.float64), noise_var).item() for k in dims]
    axes[2].plot(dims, [n * s for s in shares], color=GREY, lw=1.5, label="N × exact share")
    axes[2].plot([d], [effective_sample_size(log_w).mean().item()], "o", color=ORANGE, ms=8, label="measured")
    axes[2].axhline(1, color=GREY, lw=1, ls=":")
    axes[2].set(yscale="log", ylim=(0.2, 2**13), xlabel="dimension d", ylabel="effective sample size")
    axes[2].set_title("draws that count")
    axes[2].legend(loc="upper right", fontsize=8.5)
    return fig


@styled
def codes_and_prior(codes, draws, to_code, to_draw):
    """Where an autoencoder's codes lie, and where N(0, I) does.

    Args:
        codes: (N, d); draws: (M, d) from N(0, I). The two first coordinates are drawn.
        to_code, to_draw: distances of other codes, and of draws, to their nearest code.
    """
    fig, (left, right) = figure(8.4, 3.6, 1, 2)
    for points, colour, name in ((codes, SKY, "codes of digits"), (draws, "black", "draws from N(0, I)")):
        left.scatter(*points[:, :2].T, s=4, color=colour, linewidths=0, label=name)
    left.set(xlabel="$z_1$", ylabel="$z_2$", title="the two first coordinates")
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.15 * (high - low))
    left.legend(loc="upper right", markerscale=3, handletextpad=0.1)
    top = 1.05 * max(to_code.max().item(), to_draw.max().item())
    for values, colour, name in ((to_code, SKY, "codes of test digits"), (to_draw, "black", "draws from N(0, I)")):
        right.hist(values.numpy(), bins=60, range=(0, top), color=colour, density=True, alpha=0.8, label=name)
    right.set(xlabel="distance to the nearest training code", ylabel="density", title="in all coordinates")
    right.set_ylim(top=1.3 * right.get_ylim()[1])
    right.legend(loc="upper right")
    return fig
