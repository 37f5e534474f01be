"""Figures of lesson 21: frames side by side, paths, what weights make of a missing frame."""

import torch

from . import BLUE, GREEN, GREY, ORANGE, draw_image, figure, styled


@styled
def strips(rows, every=2, true=()):
    """Clips as rows of frames; rows: dict name -> (F, C, H, W), of which every so many-th frame is shown.

    true: dict name -> how many of the first frames that are shown get a border, since nobody drew them.
    """
    shown = {name: clip[::every] for name, clip in rows.items()}
    columns = max(len(clip) for clip in shown.values())
    fig, axes = figure(8.4, 8.4 / columns * len(rows) + 0.3, len(rows), columns, squeeze=False)
    for line, (name, clip) in zip(axes, shown.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, x in zip(line, clip, strict=False):
            draw_image(ax, x)
        line[0].set_axis_on()
        line[0].set(xticks=[], yticks=[])
        line[0].spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for ax in line[: dict(true).get(name, 0)]:
            ax.set_axis_on()
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color=BLUE, linewidth=2)
    return fig


def _path(ax, path, side, colour, label=None):
    """A path (F, 2) in pixels, its first frame marked."""
    ax.plot(*path.T, color=colour, marker=".", ms=4, lw=1.2, label=label)
    ax.plot(*path[0], "o", color=colour, ms=6)
    low, high = 0.15 * side, 0.85 * side  # a digit of 12 pixels in 20 has its middle in 6..14
    ticks = [0.25 * side, 0.5 * side, 0.75 * side]
    ax.set(xlim=(low, high), ylim=(high, low), aspect="equal", xticks=ticks, yticks=ticks)


@styled
def paths(rows, side=20):
    """Where the centre of brightness goes; rows: dict name -> (n, F, 2) in pixels. A dot marks the first frame."""
    fig, axes = figure(8.4, 3.4, 1, len(rows))
    for ax, (name, many) in zip(axes, rows.items(), strict=True):
        for path, colour in zip(many, (BLUE, ORANGE, GREEN, GREY), strict=False):
            _path(ax, path, side, colour)
        ax.set_title(name)
        ax.set(xlabel="pixels")
    axes[0].set(ylabel="pixels")
    return fig


@styled
def weights(ws, found, exact, replaced, right):
    """Mean and variance of the missing frame against a constant weight, beside w*, replacement and what is right."""
    fig, axes = figure(8.4, 3.0, 1, 2)
    for k, (ax, name) in enumerate(zip(axes, ("mean", "variance"), strict=True)):
        ax.plot(ws, [pair[k] for pair in found], color=BLUE, marker="o", ms=5, label="constant w")
        ax.axhline(right[k], color=GREY, lw=5, alpha=0.4, label="right")
        ax.axhline(replaced[k], color=ORANGE, lw=1.4, ls="--", label="replacement")
        ax.axhline(exact[k], color=GREEN, lw=1.8, ls=":", label="w*, which depends on t")
        ax.set(xlabel="w", xscale="log", xticks=ws, xticklabels=[f"{w:g}" for w in ws])
        ax.minorticks_off()
        ax.set_title(f"{name} of the missing frame")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@styled
def told(real, drawn, known, path):
    """Rows of all frames: true, told (others grey), drawn; below, the paths of both, (2, F, 2)."""
    F, side = len(real), real.shape[-1]
    fig = figure(8.4, 4.3)[0]
    fig.clf()
    grid = fig.add_gridspec(2, 1, height_ratios=(1.0, 1.5))
    rows = grid[0].subgridspec(3, F, wspace=0.06, hspace=0.06)
    blank = torch.full_like(real, -0.2)
    clips = {"true": real, "told": torch.where(known[:, None, None, None], real, blank), "drawn": drawn}
    for i, (name, clip) in enumerate(clips.items()):
        for f in range(F):
            ax = fig.add_subplot(rows[i, f])
            draw_image(ax, clip[f])
            if f == 0:
                ax.set_axis_on()
                ax.set(xticks=[], yticks=[])
                ax.set_ylabel(name, fontsize=9)
    ax = fig.add_subplot(grid[1])
    _path(ax, path[0], side, BLUE, "true")
    _path(ax, path[1], side, ORANGE, "drawn")
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return fig
