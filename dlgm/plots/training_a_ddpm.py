"""The figures of lesson 09, on a network that denoises, its training, and what it draws."""

import math

import torch
from matplotlib import colormaps
from matplotlib.patches import FancyArrowPatch, Rectangle

from . import BLUE, COLOURS, GREEN, GREY, ORANGE, draw_image, figure, styled, tile


@styled
def sheets(images, columns, across=4):
    """Several sets of images, each as a sheet of its own: a dict title -> (N, C, H, W) in [-1, 1].

    Args:
        columns: images side by side in a sheet.
        across: sheets side by side.
    """
    down = -(-len(images) // across)
    N, _, H, W = next(iter(images.values())).shape
    aspect = math.ceil(N / columns) * H / (columns * W)
    fig, axes = figure(8.4, down * (8.4 / across * aspect + 0.32), down, across, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (title, x) in zip(axes.flat, images.items(), strict=False):
        draw_image(ax, tile(x, columns), title)
    return fig


@styled
def unet_map(table):
    """The parts of ``layer_table`` on a U: the way down left, the way up right, skips across; darker costs more.

    ↓ halves the size ("shrink" in the table), ↑ doubles it ("grow").
    """
    fig, ax = figure(8.4, 3.9)
    top, most = max(row["level"] for row in table), max(row["macs"] for row in table)
    width, places = 0.94, {}
    for column, row in enumerate(table):
        x, y, share = column, top - row["level"], row["macs"] / most
        places[row["part"]] = (x, y)
        ax.add_patch(
            Rectangle((x - width / 2, y - 0.3), width, 0.6, fc=colormaps["Blues"](0.08 + 0.72 * share), ec=GREY)
        )
        C, H, _ = row["out"]
        part = row["part"].replace("shrink", "↓").replace("grow", "↑")
        label = f"{part}\n{C}×{H}²\n{row['macs'] / 1e6:.2f} M"
        ax.text(x, y, label, ha="center", va="center", fontsize=7.2, color="white" if share > 0.6 else "#222222")
    for a, b in zip(table, table[1:], strict=False):
        (x, y), (u, v) = places[a["part"]], places[b["part"]]
        if y != v:
            ends = ((x, y - 0.3), (u - width / 2, v)) if v < y else ((x + width / 2, y), (u, v - 0.3))
            ax.add_patch(
                FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=9, color=GREY, lw=1, shrinkA=0, shrinkB=0)
            )
    for i in range(top + 1):
        (x, y), (u, v) = places[f"down {i}"], places[f"up {i}"]
        if u - x > 1:
            start, end = (x + 0.2, y + 0.3), (u - 0.2, v + 0.3)
            bend = f"arc3,rad={-0.09 if i < top else -0.3}"
            ax.add_patch(
                FancyArrowPatch(
                    start, end, connectionstyle=bend, arrowstyle="-|>", mutation_scale=9, color=ORANGE, lw=1.2, ls="--",
                    label="skip" if i == 0 else None,
                )
            )  # fmt: skip
    ax.text((len(table) - 1) / 2, top + 0.95, "skips", color=ORANGE, ha="center", fontsize=9)
    ax.set(xlim=(-0.6, len(table) - 0.4), ylim=(-0.45, top + 1.15))
    ax.set_axis_off()
    return fig


@styled
def time_similarity(features, times, cut):
    """How alike the features of two times are: cosines of the angle between rows, for each kind of features.

    Args:
        features: dict name -> (N, dim), a row for each of the times (N,).
        cut: index of the time whose row is drawn as a curve below the maps.
    Source: ledger ARCH-4, ARCH-5.
    """
    fig, axes = figure(8.4, 5.0, 2, len(features), height_ratios=(1.3, 1), squeeze=False)
    maps = axes[0]
    for ax in axes[1]:
        ax.remove()
    curves = fig.add_subplot(maps[0].get_gridspec()[1, :])
    low, high = float(times[0]), float(times[-1])
    for (name, f), ax, colour, style in zip(features.items(), maps, COLOURS, ("-", "--", "-."), strict=False):
        unit = f / f.norm(dim=1, keepdim=True)
        cosine = (unit @ unit.T).detach().numpy()
        mesh = ax.imshow(cosine, cmap="cividis", vmin=-0.4, vmax=1, origin="lower", extent=(low, high, low, high))
        ax.set(title=name, xlabel="time $t$")
        curves.plot(times, cosine[cut], style, color=colour, label=name, lw=1.5)
        curves.annotate(name, (1.01, cosine[cut, -1]), xycoords=("axes fraction", "data"), color=colour, va="center",
                        fontsize=9).set_in_layout(False)  # fmt: skip
    maps[0].set_ylabel("time $t'$")
    fig.colorbar(mesh, ax=list(maps), label="cosine")
    curves.set(title=f"similarity to t = {float(times[cut]):g}", xlabel="time $t$", ylabel="cosine", ylim=(-0.4, 1.05))
    curves.margins(x=0.01)
    return fig


@styled
def training_report(loss, by_time, floor=None, window=20):
    """A training run: the loss step by step, and at its end for each t.

    Args:
        loss: a list of numbers, the loss of each step.
        by_time: dict name -> (t (N,), mean (N,), standard error (N,)).
        floor: a level to mark in the left panel, or None.
        window: steps in the running mean.
    Source: ledger LOSS-5, ALG-1.
    """
    fig, (left, right) = figure(8.4, 3.0, 1, 2)
    y = torch.tensor(loss)
    left.plot(torch.arange(1, len(y) + 1), y, ".", color=GREY, ms=3, alpha=0.5, label="each step")
    smooth = y.unfold(0, window, 1).mean(1)
    left.plot(torch.arange(window, len(y) + 1), smooth, color=BLUE, label=f"mean of {window} steps")
    left.axhline(1, color=GREY, ls=":", lw=1.2)
    left.annotate("answering ε̂ = 0", (0.98, 1.05), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                  fontsize=9, color=GREY)  # fmt: skip
    if floor is not None:
        left.axhline(floor, color=GREEN, ls="--", lw=1.2, label="floor")
    left.set(xlabel="step", ylabel="mean squared error of ε", yscale="log", title="training", ylim=(None, 2))
    left.legend(loc="upper right", bbox_to_anchor=(1, 0.8), fontsize=8.5)
    for (name, (t, mean, error)), colour, style in zip(by_time.items(), COLOURS, ("-", "--", "-.", ":"), strict=False):
        right.plot(t, mean, style, color=colour, label=name, lw=1.6)
        right.fill_between(t, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.2, lw=0)
    right.set(xlabel="time $t$", ylabel="mean squared error of ε", yscale="log", title="held-out digits, by $t$")
    right.legend()
    return fig


@styled
def one_step_panel(answers, name, t):
    """x_t, ε̂ (a third of it) and x̂_0 at one time, and the error of x̂_0 over all times: the slider of lesson 09.

    Args:
        answers: dict name -> Answers. t: the nearest of its times is shown.
    Source: ledger ALG-1, NUM-6, TAKE-2.
    """
    a = answers[name]
    i = min(range(len(a.times)), key=lambda k: abs(a.times[k] - t))
    fig, axes = figure(8.4, 2.6, 1, 4, width_ratios=(1, 1, 1, 1.6))
    draw_image(axes[0], a.x_t[i], f"$x_t$, t = {a.times[i]}")
    draw_image(axes[1], a.eps[i] / 3, f"$\\hat ε$, std {a.eps[i].std():.3f}")
    draw_image(axes[2], a.x0[i], "$\\hat x_0$")
    axes[3].plot(a.times, a.error, ".-", color=BLUE)
    axes[3].plot(a.times[i], a.error[i], "o", color=ORANGE, ms=8)
    axes[3].set(xlabel="time $t$", title="error of $\\hat x_0$ (grey levels)", ylim=(0, 1.1 * a.error.max().item()))
    return fig
