"""Figures of lesson 11: fewer steps, with and without noise, down and up."""

import math

import torch

from ..samplers import DDIM, states
from ..schedules import time_grid
from . import BLUE, GREEN, GREY, ORANGE, PINK, SKY, draw_graph, figure, log_ticks, styled, walks_and_density

LOOK = {
    "0": ("η = 0", BLUE, "o"), "0.2": ("η = 0.2", SKY, "v"), "0.5": ("η = 0.5", GREEN, "^"),
    "1": ("η = 1", ORANGE, "s"), "hat": ("σ̂", PINK, "D"), "beta": ("DDPM with β", GREY, "x"),
    "predicted": ("learned variance", GREEN, "^"),
}  # fmt: skip


@styled
def few_steps(data, runs):
    """Samples in the plane over the data; data: (n, 2); runs: dict title -> (n, 2)."""
    fig, axes = figure(8.4, 3.1, 1, len(runs), sharex=True, sharey=True)
    for ax, (title, x), colour in zip(axes, runs.items(), (ORANGE, BLUE, PINK), strict=False):
        ax.scatter(*data.T, s=4, color="#bbbbbb", lw=0)
        ax.scatter(*x.T, s=4, color=colour, lw=0)
        ax.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
        ax.set_title(title, loc="center")
        ax.set_axis_off()
    return fig


@styled
def two_graphs():
    """The graph of the Markov chain beside that of the family q_σ, for T = 3."""
    fig, (left, right) = figure(8.4, 2.3, 1, 2)
    nodes = {("*" if t == 0 else "") + f"$x_{t}$": (t, 0) for t in range(4)}
    draw_graph(left, nodes, [(f"$x_{t}$", f"$x_{t + 1}$", BLUE, 0.0, "-", "") for t in range(3)])
    down = [(f"$x_{t}$", f"$x_{t - 1}$", ORANGE, 0.0, "-", "") for t in (3, 2)]
    bends = ((1, -0.5), (2, -0.5), (3, -0.45))
    known = [("$x_0$", f"$x_{t}$", BLUE, bend, "-" if t == 3 else "--", "") for t, bend in bends]
    draw_graph(right, nodes, down + known)
    for ax in (left, right):
        ax.set(xlim=(-0.5, 3.5), ylim=(-0.9, 1.05))
    left.set_title("the chain: each state from the one before")
    right.set_title("the family: $x_T$ first, then down, with $x_0$ known")
    return fig


@styled
def angle_paths(counts):
    """The normalised spread along DDIM walks of N equal angles, in the plane of (data, noise); counts: list of N."""
    fig, ax = figure(6.2, 3.2)
    arc = torch.linspace(0, math.pi / 2, 100)
    ax.plot(arc.cos(), arc.sin(), color=GREY, lw=1, ls="--", label="the true spread")
    for N, colour in zip(counts, (PINK, ORANGE, GREEN, BLUE), strict=False):
        theta = torch.arange(N, -1, -1) * math.pi / 2 / N
        radius = math.cos(math.pi / 2 / N) ** torch.arange(N + 1.0)
        ax.plot(
            radius * theta.cos(), radius * theta.sin(), "o-", color=colour, ms=3.5, lw=1.5,
            label=f"N = {N}: ends at {radius[-1]:.3f}",
        )  # fmt: skip
    ax.annotate("", (0.5, 0.5), (0, 0), arrowprops=dict(arrowstyle="-", color=GREY, ls=":"))
    ax.text(0.12, 0.02, "θ", color=GREY)
    ax.set(
        xlabel="spread · cos θ (data)",
        ylabel="spread · sin θ (noise)",
        aspect="equal",
        xlim=(-0.04, 1.08),
        ylim=(-0.04, 1.08),
    )
    ax.legend(fontsize=9, loc="lower left", bbox_to_anchor=(1.0, 0.3))
    return fig


@styled
def distance_by_steps(steps, rows, ylabel, errors=None, floor=None):
    """Distance to the data against steps, both axes logarithmic.

    Args:
        rows: dict name of LOOK -> list. errors: the same, standard errors of which two are drawn, or None.
        floor: of real data against real data, a line, or None.
    """
    fig, ax = figure(7.2, 3.5)
    for i, (name, values) in enumerate(rows.items()):
        label, colour, marker = LOOK[name]
        if errors is None:
            ax.plot(steps, values, color=colour, marker=marker, ms=5, lw=1.7, label=label)
            continue
        beside = [S * 1.035 ** (i - (len(rows) - 1) / 2) for S in steps]  # so that no bar hides another
        bars = [2 * e for e in errors[name]]
        ax.errorbar(beside, values, yerr=bars, color=colour, marker=marker, ms=5, lw=0, elinewidth=1.6, label=label)
    if floor is not None:
        ax.axhline(floor, color=GREY, ls="--", lw=1.2, label="real digits")
    ax.set(yscale="log", xlabel="number of steps", ylabel=ylabel)
    low, high = ax.get_ylim()
    marks = [v for v in (0.1, 0.2, 0.5, 1, 2, 5, 10) if low <= v <= high]
    log_ticks(ax, steps, y=marks)
    fig.legend(loc="outside right upper")
    return fig


@styled
def spread_by_direction(variances, ratios):
    """Spread of samples over that of the data against the variance of a direction; ratios: dict of LOOK -> (n,)."""
    fig, ax = figure(7.2, 3.2)
    for name, values in ratios.items():
        label, colour, _ = LOOK[name]
        ax.plot(variances, values, color=colour, label=label, ls={"1": "--", "beta": ":"}.get(name, "-"))
    ax.axhline(1, color=GREY, lw=1, ls=":", label="the data")
    log_ticks(ax, [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100])
    ax.set(
        yscale="log", xlabel="variance of the data in a direction", ylabel="standard deviation\nof samples / of data"
    )
    ax.legend()
    return fig


@styled
def round_trip(steps, errors):
    """Error of up and down again against steps, beside a line of slope −1; errors: dict label -> list."""
    fig, ax = figure(6.6, 3.2)
    for (label, values), colour, marker in zip(errors.items(), (BLUE, ORANGE), "os", strict=False):
        ax.plot(steps, values, color=colour, marker=marker, ms=5, label=label)
    line = next(iter(errors.values()))[-1]
    ax.plot(steps, [line * steps[-1] / N for N in steps], ":", color=GREY, label="halved when the steps are doubled")
    log_ticks(ax, steps)
    ax.set(yscale="log", xlabel="number of steps each way", ylabel="error of the round trip")
    ax.legend()
    return fig


@styled
def four_codes(steps, ratios):
    """Spread of samples over that of the data against steps for several codes; ratios: dict label -> list."""
    fig, ax = figure(7.2, 3.3)
    looks = zip(ratios.items(), (PINK, ORANGE, GREEN, BLUE), "Dv^o", strict=False)
    for (label, values), colour, marker in looks:
        wide = label.endswith("B")  # it would hide under D
        ax.plot(
            steps, values, color=colour, marker=marker, ms=5, lw=5 if wide else 1.6, alpha=1 - wide / 2, label=label
        )
    ax.axhline(1, color=GREY, ls=":", lw=1.2, label="the data")
    log_ticks(ax, steps)
    ax.set(xlabel="number of steps", ylabel="standard deviation\nof samples / of data", ylim=(0.6, 2.1))
    ax.legend()
    return fig


@styled
def walk_panel(world, schedule, steps, eta, walkers=3000, shown=40):
    """What the slider of lesson 11 moves: walks in one dimension with the exact denoiser.

    Args:
        world: a GaussianMixture of scalars. schedule: any. steps, eta: of the walk.
        walkers: how many make the histogram. shown: how many paths are drawn.
    """
    generator, times = torch.Generator().manual_seed(0), time_grid(schedule, steps)
    x_T = schedule.start((walkers,), generator, torch.float64)
    path = states(world.denoiser(schedule), DDIM(eta), x_T, times, generator)
    x = torch.linspace(-2.6, 2.6, 400, dtype=torch.float64)
    density = x, world.log_prob(x).exp()
    title = f"{steps} steps, η = {eta:g}: {shown} walks"
    return walks_and_density(times, path, density, title, shown)
