"""Figures of lesson 22: lines and the paths they make, errors against steps, clocks, the map of the course."""

from . import BLUE, GREEN, GREY, ORANGE, PINK, SKY, errorbars, figure, log_ticks, styled


@styled
def paths(panels, shown=60):
    """From noise (orange) to data (blue); panels: dict title -> (N + 1, n, 2), states from the first to the last."""
    fig, axes = figure(8.6, 3.2, 1, len(panels), squeeze=False)
    for ax, (title, states) in zip(axes[0], panels.items(), strict=True):
        states = states[:, :shown]
        for k in range(states.shape[1]):
            ax.plot(*states[:, k].T, color=GREY, lw=0.6, alpha=0.6)
        ax.scatter(*states[0].T, s=7, color=ORANGE, zorder=3)
        ax.scatter(*states[-1].T, s=7, color=BLUE, zorder=3)
        ax.set(xlim=(-3.4, 3.4), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
        ax.set_title(title)
    return fig


@styled
def errors(rows):
    """Errors against steps, both in logarithms; rows: dict name -> [(steps, value, error)]."""
    fig, ax = figure(6.4, 3.6)
    looks = zip((GREY, BLUE, ORANGE, GREEN, PINK), ("o", "s", "^", "D", "v"), strict=True)
    for (name, row), (colour, mark) in zip(rows.items(), looks, strict=False):
        errorbars(ax, row, color=colour, marker=mark, label=name)
    ax.set(xlabel="steps", ylabel="distance from the exact end", yscale="log")
    log_ticks(ax, [steps for steps, *_ in next(iter(rows.values()))], y=(0.1, 0.2, 0.5, 1, 2))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


@styled
def clocks(t, curves):
    """Where a shifted walk stands on the line at each of its times; curves: dict name -> (n,)."""
    fig, ax = figure(4.6, 3.2)
    for (name, curve), colour in zip(curves.items(), (GREY, BLUE, ORANGE, PINK), strict=False):
        ax.plot(t, curve, color=colour, label=name)
    ax.set(xlabel="time of the walk", ylabel="noise on the line", xlim=(0, 1), ylim=(0, 1))
    ax.legend(loc="lower right")
    return fig


@styled
def ends(panels, data):
    """Where walks end, upon draws of the data; panels: dict title -> (n, 2)."""
    fig, axes = figure(8.6, 3.1, 1, len(panels), squeeze=False)
    for ax, (title, points) in zip(axes[0], panels.items(), strict=True):
        ax.scatter(*data.T, s=5, color=SKY, alpha=0.5, label="data")
        ax.scatter(*points.T, s=5, color=ORANGE, alpha=0.8, label="drawn")
        ax.set(xlim=(-3.4, 3.4), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
        ax.set_title(title)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=3)
    return fig


PLACES = {
    "log p(x)": (0, 3), "ELBO": (2.6, 3), "VAE": (5.2, 3.6), "hierarchy": (5.2, 2.4), "kernel": (7.8, 3),
    "posterior\nmean": (7.8, 1.5), "L_t": (5.2, 1), "x̂₀, ε̂, v̂": (2.6, 1), "score": (0, 1),
    "SDE, ODE": (0, -0.6), "DDIM": (2.6, -0.6), "guidance": (5.2, -0.6), "velocity": (2.6, -2.1),
    "line": (5.2, -2.1), "reflow": (7.8, -2.1),
}  # fmt: skip
ARROWS = [
    ("log p(x)", "ELBO", "03, Jensen"), ("ELBO", "VAE", "04"), ("ELBO", "hierarchy", "05"),
    ("hierarchy", "kernel", "06"),
    ("kernel", "posterior\nmean", "06, Bayes"), ("posterior\nmean", "L_t", "07, KL"), ("L_t", "x̂₀, ε̂, v̂", "08"),
    ("x̂₀, ε̂, v̂", "score", "12, Tweedie"), ("score", "SDE, ODE", "13, 14"), ("x̂₀, ε̂, v̂", "DDIM", "11"),
    ("SDE, ODE", "DDIM", "14, one step"), ("x̂₀, ε̂, v̂", "guidance", "16"), ("DDIM", "velocity", "22, Euler"),
    ("line", "velocity", "22, average"), ("line", "reflow", "22"),
]  # fmt: skip


@styled
def course():
    """The formulas of the course, an arrow where one was derived from the other; on it the lesson."""
    fig, ax = figure(8.6, 5.2)
    for name, (x, y) in PLACES.items():
        ax.text(
            x,
            y,
            name,
            ha="center",
            va="center",
            fontsize=10.5,
            bbox=dict(boxstyle="round,pad=0.35", fc="white", ec=GREY),
        )
    for start, end, text in ARROWS:
        (a, b), (c, d) = PLACES[start], PLACES[end]
        colour = ORANGE if text.startswith("22") else BLUE
        look = dict(arrowstyle="-|>", color=colour, lw=1.5, shrinkA=26 if b == d else 16, shrinkB=26 if b == d else 16)
        ax.annotate("", (c, d), (a, b), arrowprops=look)
        ax.text((a + c) / 2, (b + d) / 2 + 0.22, text, ha="center", va="center", fontsize=8.5, color=colour)
    ax.set(xlim=(-1, 8.8), ylim=(-2.7, 4.2))
    ax.set_axis_off()
    return fig
