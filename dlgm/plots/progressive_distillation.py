"""Figures of lesson 17: clouds of students, distance against calls, a panel of clouds and spreads."""

from . import BLUE, GREEN, GREY, ORANGE, errorbars, figure, log_ticks, styled

WINDOW = 2.0


@styled
def clouds(runs):
    """Samples in the plane side by side; runs: dict title -> (n, 2)."""
    fig, axes = figure(8.4, 0.4 + 8.0 / len(runs), 1, len(runs))
    for ax, (title, x) in zip(axes, runs.items(), strict=True):
        ax.scatter(*x.T, s=12 / len(runs), color=BLUE, lw=0)
        ax.set(xlim=(-WINDOW, WINDOW), ylim=(-WINDOW, WINDOW), aspect="equal")
        ax.set_title(title, loc="center")
        ax.set_axis_off()
    return fig


@styled
def panel(real, student, plain, variances, kept, title):
    """Left: data, student, plain walk. Right: the share of each direction's spread that the two walks keep.

    Args:
        real, student, plain: (n, 2). variances: (D,), of the directions. kept: dict name -> (D,).
    """
    fig, axes = figure(8.4, 3.0, 1, 3)
    for ax, (name, x, colour) in zip(
        axes, (("data and student", student, ORANGE), ("data and plain walk", plain, BLUE)), strict=False
    ):
        ax.scatter(*real.T, s=3, color="#bdbdbd", lw=0)
        ax.scatter(*x.T, s=3, color=colour, lw=0)
        ax.set(xlim=(-WINDOW, WINDOW), ylim=(-WINDOW, WINDOW), aspect="equal")
        ax.set_title(name, loc="center")
        ax.set_axis_off()
    ax = axes[2]
    for (name, share), colour, style in zip(kept.items(), (ORANGE, BLUE), ("-", "--"), strict=True):
        ax.plot(variances, share, color=colour, ls=style, label=name)
    ax.axhline(1, color=GREY, lw=0.8)
    ax.set(xlabel="variance of the direction", xscale="log", ylim=(0, 1.1))
    ax.set_title("spread kept")
    fig.legend(loc="outside lower right", ncols=2)
    fig.suptitle(title)
    return fig


LOOK = {
    "student": ("students", ORANGE, "o"),
    "ddim": ("teacher, DDIM", BLUE, "s"),
    "dpm++ 2": ("teacher, DPM-Solver++(2)", GREEN, "^"),
}


@styled
def distance_by_calls(rows, teacher, floor):
    """Fréchet distance in few calls, with two standard errors, both axes logarithmic.

    Args:
        rows: dict name of LOOK -> list of (calls, value, error). teacher, floor: (value, error), lines.
    """
    fig, ax = figure(7.6, 3.4)
    for name, row in rows.items():
        label, colour, marker = LOOK[name]
        errorbars(ax, row, color=colour, marker=marker, label=label)
    ax.axhline(teacher[0], color=BLUE, ls="--", lw=1.2, label="teacher, 100 calls")
    ax.axhline(floor[0], color=GREY, ls=":", lw=1.2, label="real digits")
    log_ticks(ax, [1, 2, 4, 8], y=[0.1, 0.3, 1, 3, 10, 30, 100])
    ax.set(xlabel="calls of the network", ylabel="squared Fréchet distance")
    fig.legend(loc="outside right upper")
    return fig
