"""Figures of lesson 13: walks against time, errors of straight steps, what noise on the way forgets."""

import torch

from ..samplers import EulerMaruyama, states
from ..schedules import time_grid
from . import BLUE, GREEN, GREY, ORANGE, PINK, figure, log_ticks, styled, walks_and_density

COLOURS = (BLUE, GREEN, ORANGE, PINK)
MARKERS = "o^sD"


@styled
def walks(times, paths, density):
    """Walks from noise (left) to data (right) in one dimension, panel by panel, and the law that all must reach.

    Args:
        times: (N + 1,), decreasing. paths: dict title -> (N + 1, n). density: (x (m,), p(x) (m,)) of the data.
    """
    fig, axes = figure(8.4, 3.0, 1, len(paths) + 1, sharey=True, width_ratios=[3] * len(paths) + [1])
    for ax, (title, x), colour in zip(axes, paths.items(), COLOURS, strict=False):
        ax.plot(times, x, color=colour, lw=0.9, alpha=0.8)
        ax.set(title=title, xlabel="$t$", ylim=(-2.6, 2.6), xticks=[0, 0.5, 1])
        ax.invert_xaxis()
    axes[0].set_ylabel("$x_t$")
    axes[-1].fill_between(density[1], density[0], color=GREY, alpha=0.4, lw=0)
    axes[-1].set(title="the data", xticks=[])
    return fig


@styled
def both_sides(x, sides):
    """Two sides of an equation along x: dict label -> (n,), the first a line, the second dots on it."""
    fig, ax = figure(6.6, 2.9)
    (a, left), (b, right) = sides.items()
    ax.plot(x, left, color=BLUE, label=a)
    ax.plot(x[::12], right[::12], "o", color=ORANGE, ms=4, label=b)
    ax.axhline(0, color=GREY, lw=0.8)
    ax.set(xlabel="$x$")
    ax.legend()
    return fig


@styled
def variance_by_steps(counts, ratios):
    """Variance of the samples over that of the data against steps; ratios: dict label -> list."""
    fig, ax = figure(7.2, 3.1)
    for (label, values), colour, marker in zip(ratios.items(), (BLUE, ORANGE), "os", strict=False):
        ax.plot(counts, values, color=colour, marker=marker, ms=5, label=label)
    ax.axhline(1, color=GREY, ls="--", lw=1, label="the data")
    log_ticks(ax, counts)
    ax.set(xlabel="number of steps $N$", ylabel="variance of samples / of data")
    ax.legend()
    return fig


@styled
def error_by_churn(churns, rows, ylabel):
    """An error against churn, with two standard errors where there are any.

    Args:
        rows: dict label -> list of numbers, or of (number, standard error).
    """
    fig, ax = figure(7.2, 3.2)
    for (label, values), colour, marker in zip(rows.items(), COLOURS, MARKERS, strict=False):
        if not isinstance(values[0], tuple):
            ax.plot(churns, values, color=colour, marker=marker, ms=5, label=label)
            continue
        means, bars = [v for v, _ in values], [2 * e for _, e in values]
        ax.errorbar(churns, means, yerr=bars, color=colour, marker=marker, ms=5, label=label)
    ax.set(xlabel="churn $a$", ylabel=ylabel)
    fig.legend(loc="outside upper right", ncols=len(rows))
    return fig


@styled
def churn_panel(world, schedule, steps, churn, walkers=3000, shown=30):
    """What the slider of lesson 13 moves: walks of Euler–Maruyama with the exact score, and where they end.

    Args:
        world: a GaussianMixture of scalars. schedule: with ``sde``. steps, churn: of the walk.
    """
    generator, times = torch.Generator().manual_seed(0), time_grid(schedule, steps)
    x_T = schedule.start((walkers,), generator, torch.float64)
    path = states(world.denoiser(schedule), EulerMaruyama(churn), x_T, times, generator)
    x = torch.linspace(-2.6, 2.6, 400, dtype=torch.float64)
    density = x, world.log_prob(x).exp()
    title = f"{steps} steps, churn {churn:g}: {shown} walks"
    return walks_and_density(times, path, density, title, shown)
