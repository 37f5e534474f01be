"""Figures of lesson 14: where the flow takes each quantile, errors against calls, densities, bits."""

import torch

from ..samplers import states
from ..schedules import time_grid
from . import BLUE, GREEN, GREY, ORANGE, PINK, SKY, YELLOW, errorbars, figure, log_ticks, styled

COLOURS = (GREY, BLUE, ORANGE, SKY, GREEN, PINK)
MARKERS = "xosv^D"
BANDS = (BLUE, SKY, GREEN, YELLOW, ORANGE)


@styled
def quantiles(times, paths, noise, data):
    """Paths of the flow between two densities; each fifth of the mass has its colour on both sides.

    Args:
        times: (N + 1,), decreasing. paths: (N + 1, n), those of increasing quantiles.
        noise, data: (x (m,), p(x) (m,), share of the mass below x (m,)).
    """
    fig, (left, middle, right) = figure(8.4, 3.1, 1, 3, sharey=True, width_ratios=(1, 3, 1))
    for ax, (x, p, below), title in ((left, noise, "noise"), (right, data, "data")):
        for k, colour in enumerate(BANDS):
            ax.fill_betweenx(x, p, where=(below >= k / 5 - 0.005) & (below <= (k + 1) / 5 + 0.005), color=colour, lw=0)
        ax.set(title=title, xticks=[], ylim=(-2.8, 2.8))
        ax.spines.bottom.set_visible(False)
    left.invert_xaxis()
    left.set_ylabel("$x_t$")
    n = paths.shape[1]
    for i in range(n):
        middle.plot(times, paths[:, i], color=BANDS[5 * i // n], lw=1.1)
    middle.set(xlabel="$t$", title="the flow", xticks=[0, 0.5, 1])
    middle.invert_xaxis()
    return fig


@styled
def error_by_calls(rows):
    """Error against calls of the network, both axes logarithmic, beside lines of slopes −1, −2, −3.

    Args:
        rows: dict label -> (calls, errors).
    """
    fig, ax = figure(7.6, 3.8)
    for (label, (calls, errors)), colour, marker in zip(rows.items(), COLOURS, MARKERS, strict=False):
        wide = 3 * label.endswith("yours")  # it would hide under the same solver of the package
        ax.plot(calls, errors, color=colour, marker=marker, ms=5 + wide, lw=1.6 + wide, alpha=1 - wide / 6, label=label)
    calls, low = next(iter(rows.values()))[0], min(min(errors) for _, errors in rows.values())
    high = max(max(errors) for _, errors in rows.values())
    for order in (1, 2, 3):
        line = [high * (calls[0] / n) ** order for n in calls]
        ax.plot(calls, line, ":", color=GREY, lw=1, zorder=0)
        seen = max(i for i, v in enumerate(line) if v > low)
        ax.annotate(f"slope −{order}", (calls[seen], line[seen]), color=GREY, fontsize=8.5, xytext=(3, 3),
                    textcoords="offset points")  # fmt: skip
    ax.set(
        yscale="log", xlabel="calls of the network", ylabel="root mean squared error of $x$", ylim=(low / 2, high * 2)
    )
    log_ticks(ax, calls)
    fig.legend(loc="outside right upper")
    return fig


@styled
def distance_by_calls(rows, floor):
    """Fréchet distance against calls, with two standard errors; rows: dict label -> list of (calls, value, error)."""
    fig, ax = figure(7.6, 3.6)
    for (label, row), colour, marker in zip(rows.items(), COLOURS, MARKERS, strict=False):
        errorbars(ax, row, color=colour, marker=marker, label=label)
    ax.axhline(floor, color=GREY, ls="--", lw=1.2, label="real digits")
    log_ticks(ax, [5, 8, 12, 20, 40], y=[0.2, 0.5, 1, 2, 5, 10])
    ax.set(xlabel="calls of the network", ylabel="squared Fréchet distance", ylim=(floor / 1.3, 20))
    fig.legend(loc="outside right upper")
    return fig


@styled
def densities(side, reach, panels):
    """Log-densities in the plane, one scale; panels: dict title -> (side²,) on the grid of [−reach, reach]²."""
    fig, axes = figure(6.6, 3.0, 1, len(panels), sharey=True)
    for ax, (title, log_p) in zip(axes, panels.items(), strict=True):
        picture = ax.imshow(
            log_p.reshape(side, side).T.numpy(), origin="lower", extent=(-reach, reach, -reach, reach), vmin=-8, vmax=1,
            cmap="viridis",
        )  # fmt: skip
        ax.set(title=title, xlabel="$x_1$", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    axes[0].set_ylabel("$x_2$")
    fig.colorbar(picture, ax=axes, label="nats", extend="min")
    return fig


@styled
def bits_by_width(widths, rows, entropy):
    """Bits against the width of the bumps of a model; rows: dict label -> list of bits."""
    fig, ax = figure(7.4, 3.3)
    for (label, bits), colour, marker in zip(rows.items(), (ORANGE, BLUE, GREEN), "sov", strict=False):
        ax.plot(widths, bits, color=colour, marker=marker, ms=5, lw=1.6, label=label)
    ax.axhline(entropy, color=GREY, ls="--", lw=1.2, label="entropy of the data")
    log_ticks(ax, widths)
    ax.invert_xaxis()
    ax.set(xlabel="width of each bump, in bins", ylabel="bits", ylim=(-2, 9))
    fig.legend(loc="outside right upper")
    return fig


@styled
def flow_panel(world, schedule, name, solver, steps, walkers=15):
    """What the controls of lesson 14 move: the steps of a solver on the paths of the flow, and where they end.

    Args:
        world: a GaussianMixture of scalars. schedule: with times between. name: of the solver. steps: of the solver.
    """
    top, end = 0.9999, 0.001
    x_T = torch.linspace(-2.2, 2.2, walkers, dtype=torch.float64)
    fine, coarse = (time_grid(schedule, N, top, end, "logsnr") for N in (60, steps))
    exact = torch.stack([world.flow(schedule, x_T, top, t) for t in fine.tolist()])
    walked = states(world.denoiser(schedule), solver, x_T, coarse)
    fig, (left, right) = figure(8.4, 3.3, 1, 2, width_ratios=(1.7, 1))
    left.plot(schedule.logsnr(fine), exact, color=GREY, lw=0.9, alpha=0.7)
    left.plot(schedule.logsnr(coarse), walked, color=BLUE, lw=0.9, marker="o", ms=3.5)
    left.set(xlabel="log-SNR (noise left, data right)", ylabel="$x_t$", ylim=(-2.8, 2.8))
    left.set_title(f"{name}, {steps} steps; grey: the exact flow")
    line = torch.linspace(-2.4, 2.4, 300, dtype=torch.float64)
    right.plot(line, world.flow(schedule, line, top, end), color=GREY, lw=1.5, label="exact")
    right.plot(x_T, walked[-1], "o", color=BLUE, ms=4, label=name)
    error = (walked[-1] - exact[-1]).square().mean().sqrt().item()
    right.set(xlabel="$x_T$", ylabel="$x_0$", ylim=(-2.8, 2.8), title=f"rms error {error:.1e}")
    right.legend(loc="upper left")
    return fig
