"""Figures of lesson 16: clouds of guided samples, three laws, classifiers by time, fit against variety."""

import math

from . import BLUE, GREEN, GREY, ORANGE, figure, styled

WINDOW = 2.8


def _cloud(ax, others, asked, x, title):
    """Data of the other classes grey, of the class asked for light blue, samples orange."""
    for points, colour, label in (
        (others, "#bdbdbd", "other class"),
        (asked, "#9ecae1", "class asked for"),
        (x, ORANGE, "samples"),
    ):
        ax.scatter(*points.T, s=4, color=colour, lw=0, label=label)
    ax.set(xlim=(-WINDOW, WINDOW), ylim=(-WINDOW, WINDOW), aspect="equal")
    ax.set_title(title, loc="center")
    ax.set_axis_off()


@styled
def guided_clouds(others, asked, runs):
    """Samples in the plane over the data of two classes; all (n, 2); runs: dict title -> (n, 2)."""
    fig, axes = figure(8.4, 2.7, 1, len(runs))
    for ax, (title, x) in zip(axes, runs.items(), strict=True):
        _cloud(ax, others, asked, x, title)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=3)
    return fig


@styled
def three_laws(gammas, laws, drawn):
    """Variances at the end against γ, on a logarithmic axis.

    Args:
        gammas: list. laws: dict name -> list. drawn: dict name -> {γ: variance of samples}, names of laws.
    """
    fig, ax = figure(7.2, 3.4)
    for (name, values), colour, style, marker in zip(
        laws.items(), (GREY, BLUE, ORANGE), ("--", "-", "-."), ("", "o", "s"), strict=True
    ):
        ax.plot(gammas, values, color=colour, ls=style, label=name)
        points = drawn.get(name, {})
        if points:
            ax.plot([*points], [*points.values()], color=colour, ls="", marker=marker, ms=6, label=f"{name}, drawn")
    ax.set(xlabel="weight γ", ylabel="variance", yscale="log")
    ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2], ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"])
    ax.minorticks_off()
    ax.legend(loc="lower left")
    return fig


@styled
def classifiers(times, rows):
    """Left: log-loss against t. Right: the gradient's length over the exact one's. rows: name -> (losses, lengths)."""
    fig, (left, right) = figure(8.4, 3.1, 1, 2)
    for (name, (losses, lengths)), colour, style in zip(
        rows.items(), (GREY, BLUE, ORANGE), ("--", "-", "-."), strict=True
    ):
        over = {"zorder": 3} if style == "--" else {}  # dashes that lie on a line
        left.plot(times, losses, color=colour, ls=style, label=name, **over)
        right.plot(times, lengths, color=colour, ls=style, **over)
    left.axhline(math.log(2), color=GREY, lw=0.8)
    left.text(times[-1], math.log(2), "log 2", color=GREY, ha="right", va="bottom", fontsize=9)
    left.set(xlabel="t", ylim=(0, None))
    left.set_title("−log p(y | x_t), nats")
    right.set(xlabel="t", yscale="log")
    right.set_yticks([0.5, 1, 2, 5, 10, 20, 50, 100], ["0.5", "1", "2", "5", "10", "20", "50", "100"])
    right.minorticks_off()
    right.set_title("length of its gradient over the exact one's")
    left.legend(loc="upper left")
    return fig


@styled
def guided_panel(others, asked, x, log_p, title):
    """What one setting draws: the cloud, and the histogram of the log-density that the class gives it.

    Args:
        log_p: (log p(x | y) of the samples, the same of data of the class), each (n,), nats.
    """
    fig, (left, right) = figure(8.4, 3.2, 1, 2, width_ratios=(1, 1.35))
    _cloud(left, others, asked, x, title)
    bars = dict(bins=40, range=(-8, 0.5), density=True)
    right.hist(log_p[1].clamp(min=-8), color="#9ecae1", label="data of the class", **bars)
    right.hist(log_p[0].clamp(min=-8), color=ORANGE, histtype="step", lw=1.8, label="samples", **bars)
    right.set(xlabel="log p(x | y), nats (all below −8 in the first bar)", ylabel="density", ylim=(0, 1))
    right.legend(loc="upper left")
    return fig


@styled
def tradeoff(weights, rows, floor):
    """Shares and the Fréchet distance against w, with two standard errors.

    Args:
        rows: dict "hits", "fidelity", "variety", "distance" -> list of (value, error). floor: (value, error), a line.
    """
    fig, (left, right) = figure(8.4, 3.2, 1, 2)
    looks = {"hits": (BLUE, "o", left), "fidelity": (GREEN, "^", left), "variety": (ORANGE, "s", left)}
    looks["distance"] = (GREY, "D", right)
    for name, (colour, marker, ax) in looks.items():
        values, errors = zip(*rows[name], strict=True)
        ax.errorbar(weights, values, [2 * e for e in errors], color=colour, marker=marker, ms=4.5, lw=1.5, label=name)
    left.set(xlabel="w", ylim=(0, 1.03))
    left.set_title("share")
    left.legend(loc="lower left")
    right.axhline(floor[0], color=GREY, ls=":", lw=1.2)
    right.text(weights[-1], floor[0], "real digits", color=GREY, ha="right", va="bottom", fontsize=9)
    right.set(xlabel="w", ylim=(0, None))
    right.set_title("squared Fréchet distance")
    return fig
