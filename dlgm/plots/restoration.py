"""Figures of lesson 19: the law that a method ends with beside the right one, completions, a strip of edits."""

import math

import torch

from . import BLUE, GREEN, GREY, ORANGE, PINK, figure, styled


def _density(ax, mean, var, x, **look):
    ax.plot(x, (-((x - mean) ** 2) / (2 * var)).exp() / math.sqrt(2 * math.pi * var), **look)


@styled
def law_panel(rho, y, right, found, title):
    """Left: the pair's prior and where the known number lies. Right: densities of the other number.

    Args:
        rho: correlation of the two. y: what was measured of the first.
        right, found: (mean, variance) of the second: what is asked for, what the method ends with.
    """
    fig, (left, ax) = figure(8.4, 3.6, 1, 2, width_ratios=(1, 1.6))
    angle = torch.linspace(0, 2 * math.pi, 200)
    circle = torch.stack([angle.cos(), angle.sin()])
    root = torch.linalg.cholesky(torch.tensor([[1.0, rho], [rho, 1.0]]))
    for k in (1, 2):
        left.plot(*(k * root @ circle), color=GREY, lw=1.2, label="prior, one and two deviations" if k == 1 else None)
    left.axvline(y, color=GREEN, lw=1.2, ls=":", label="measured")
    for (mean, var), colour, shift in ((right, BLUE, -0.07), (found, ORANGE, 0.07)):
        left.errorbar([y + shift], [mean], [math.sqrt(var)], color=colour, marker="o", ms=5, capsize=3)
    left.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="first number", ylabel="second number")
    x = torch.linspace(-3, 3, 400)
    _density(ax, *right, x, color=BLUE, label=f"right: mean {right[0]:.3f}, variance {right[1]:.3f}")
    _density(ax, *found, x, color=ORANGE, ls="--", label=f"found: mean {found[0]:.3f}, variance {found[1]:.3f}")
    ax.set(xlabel="second number", ylabel="density", ylim=(0, None), xlim=(-3, 3))
    handles = [pair for part in (left, ax) for pair in zip(*part.get_legend_handles_labels(), strict=True)]
    fig.legend(*zip(*handles, strict=True), loc="outside lower center", ncols=2)
    fig.suptitle(title)
    return fig


@styled
def resampled(times, means, variances, right):
    """Mean and variance of the second number against the calls that resampling costs; right: (mean, variance)."""
    fig, axes = figure(8.4, 2.9, 1, 2)
    for ax, values, goal, name in zip(axes, (means, variances), right, ("mean", "variance"), strict=True):
        ax.plot(times, values, color=ORANGE, marker="o", ms=5, label="RePaint")
        ax.axhline(goal, color=BLUE, ls="--", lw=1.2, label="right")
        ax.set(xlabel="times that each step is made", xticks=times, ylim=(0, 1))
        ax.set_title(f"{name} of the second number")
    axes[1].legend(loc="upper right")
    return fig


LOOKS = {"psnr": ("one draw", ORANGE, "o"), "psnr of the mean": ("mean of 40 draws", BLUE, "s")}


@styled
def methods(rows):
    """Left: PSNR of a draw and of the draws' mean. Middle: spread over the exact one. Right: distance. A row a method.

    Args:
        rows: dict method -> dict "psnr", "psnr of the mean", "spread", "distance" -> (value, error).
    """
    fig, axes = figure(8.4, 0.9 + 0.34 * len(rows), 1, 3, sharey=True)
    places = list(range(len(rows)))[::-1]

    def draw(ax, key, colour, marker, label=None):
        values, errors = zip(*(row[key] for row in rows.values()), strict=True)
        ax.errorbar(values, places, xerr=[2 * e for e in errors], color=colour, marker=marker, ls="", ms=5, label=label)

    for key, (label, colour, marker) in LOOKS.items():
        draw(axes[0], key, colour, marker, label)
    draw(axes[1], "spread", GREEN, "o")
    draw(axes[2], "distance", PINK, "o")
    axes[1].axvline(1, color=GREY, lw=0.8)
    axes[2].axvline(0, color=GREY, lw=0.8)
    axes[0].set_yticks(places, list(rows))
    for ax, title in zip(axes, ("PSNR, dB", "spread / exact spread", "energy distance"), strict=True):
        ax.set_title(title)
        ax.grid(axis="y", color="#e5e5e5", lw=0.8)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig
