"""Figures of lesson 20: from words to pictures, where attention looks, hits, what noise on a condition costs."""

import textwrap

from . import BLUE, GREEN, GREY, ORANGE, PINK, draw_image, errorbars, figure, styled


@styled
def sizes(captions, rows):
    """Each caption above its pictures; rows: a list, one for each size, of (n, 3, s, s), the smallest first."""
    n = len(captions)
    fig, axes = figure(8.4, 8.4 / n * len(rows) + 0.75, len(rows), n, squeeze=False)
    for i, row in enumerate(rows):
        for j, x in enumerate(row):
            draw_image(axes[i, j], x)
        axes[i, 0].set_axis_on()
        axes[i, 0].set(xticks=[], yticks=[])
        axes[i, 0].spines[:].set_visible(False)
        axes[i, 0].set_ylabel(f"{row.shape[-1]} pixels")
    for ax, caption in zip(axes[0], captions, strict=True):
        ax.set_title(textwrap.fill(caption, 21 if n > 3 else 32), loc="center", fontsize=8.5)
    return fig


@styled
def asked(pictures, caption, w, unknown):
    """Pictures (n, 3, s, s) under their caption, with the words that were not known."""
    fig, axes = figure(8.4, 8.4 / max(3, len(pictures)) + 0.5, 1, len(pictures), squeeze=False)
    for ax, x in zip(axes[0], pictures, strict=True):
        draw_image(ax, x)
    said = textwrap.fill(f"“{caption}”, w = {w:g}", 90)
    note = f"\nnot known: {', '.join(unknown)}" if unknown else ""
    fig.suptitle(said + note, fontsize=10)
    return fig


@styled
def looks(picture, words, maps):
    """A picture, and for each word how much each pixel reads it: maps (L, h, w) on one scale."""
    columns = 6
    rows = -(-(len(words) + 1) // columns)
    fig, axes = figure(8.4, 1.55 * rows, rows, columns, squeeze=False)
    flat = axes.flatten()
    draw_image(flat[0], picture, "x_t")
    for ax, word, m in zip(flat[1:], words, maps, strict=False):
        shown = ax.imshow(m, cmap="viridis", vmin=0, vmax=float(maps.max()), interpolation="nearest")
        ax.set_title(word, loc="center")
        ax.set_axis_off()
    for ax in flat[len(words) + 1 :]:
        ax.set_axis_off()
    fig.colorbar(shown, ax=axes, shrink=0.8, label="share of attention")
    return fig


COLOURS = (GREY, BLUE, ORANGE, PINK, GREEN)
MARKS = ("_", "o", "s", "^", "D")


@styled
def hits(facts, rows, xlabel="share of pictures that show it"):
    """Dots with two standard errors for each fact; rows: dict name -> list of (value, error), the first a ceiling."""
    fig, ax = figure(7.6, 0.42 * len(facts) + 1.3)
    places = list(range(len(facts)))
    for k, ((name, row), colour, mark) in enumerate(zip(rows.items(), COLOURS, MARKS, strict=False)):
        at = [place + 0.16 * (k - (len(rows) - 1) / 2) for place in places]
        value, error = zip(*row, strict=True)
        ax.errorbar(
            value, at, xerr=[2 * e for e in error], color=colour, marker="|" if k == 0 else mark,
            ms=14 if k == 0 else 5, mew=2 if k == 0 else 1, ls="", capsize=2, label=name,
        )  # fmt: skip
    ax.set_yticks(places, facts)
    ax.invert_yaxis()
    lowest = min(v - 2 * e for row in rows.values() for v, e in row)
    ax.set(xlabel=xlabel, xlim=(lowest - 0.02, 1.02))
    ax.grid(axis="y", visible=False)
    fig.legend(loc="outside upper center", ncols=len(rows))
    return fig


@styled
def excesses(curves, s):
    """Excess variance against the noise that is added; curves: dict error -> (a, excess). Zero is marked for each."""
    fig, ax = figure(7.6, 3.2)
    for (e, (a, excess)), colour in zip(curves.items(), (BLUE, ORANGE, PINK), strict=False):
        ax.plot(a, excess, color=colour, label=f"error of the base e = {e:g}")
        best = (s**2 - e**2) ** 0.5
        ax.plot(best, 0, "o", color=colour, ms=7)
    ax.axhline(0, color=GREY, lw=0.8)
    ax.axvline(s, color=GREY, lw=1.2, ls=":")
    ax.text(s, ax.get_ylim()[1], " as much as\n in training", color=GREY, fontsize=9, va="top")
    ax.set(xlabel="standard deviation of the noise that is added, a", ylabel="variance, drawn − true")
    fig.legend(loc="outside upper center", ncols=3)
    return fig


@styled
def sweeps(rows, xlabel):
    """Two panels, hits and distance to the true small picture, against the level; rows: name -> list of (x, y, e)."""
    fig, axes = figure(8.4, 3.0, 1, len(rows))
    for ax, (title, lines) in zip(axes, rows.items(), strict=True):
        colours = (BLUE, ORANGE, PINK) if len(lines) > 1 else (GREY,)
        for (name, row), colour, mark in zip(lines.items(), colours, "os^", strict=False):
            errorbars(ax, row, color=colour, marker=mark, label=name)
        ax.set(xlabel=xlabel)
        ax.set_title(title)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig
