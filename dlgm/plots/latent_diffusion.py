"""Figures of lesson 18: where variance and bits are, what a forgotten scale shifts, quality by seconds, mixes."""

import torch

from . import BLUE, GREEN, GREY, ORANGE, PINK, draw_image, errorbars, figure, log_ticks, styled


@styled
def shares(rows, kept):
    """Shares of variance (solid) and of bits (dashed) at or below each frequency.

    Args:
        rows: dict name -> (frequency, variance share, bit share), each (n,), cumulative. kept: a frequency to mark.
    """
    fig, ax = figure(7.6, 3.2)
    for (name, (f, variance, bits)), colour in zip(rows.items(), (BLUE, ORANGE), strict=False):
        ax.plot(f, variance, color=colour, marker="o", ms=4, label=f"{name}, variance")
        ax.plot(f, bits, color=colour, ls="--", marker="s", ms=4, label=f"{name}, bits")
    ax.axvline(kept, color=GREY, ls=":", lw=1.2)
    ax.text(kept, 0.03, " a quarter of the side keeps this", color=GREY, fontsize=9)
    log_ticks(ax, [1, 2, 4, 8, 16])
    ax.set(xlabel="cycles per picture", ylabel="share at or below", ylim=(0, 1.03))
    fig.legend(loc="outside right upper")
    return fig


@styled
def shifted(schedule, factors):
    """Left: log-SNR against t for codes of several scales. Right: the standard deviation of x_t, which should be 1."""
    fig, (left, right) = figure(8.4, 3.0, 1, 2)
    t = torch.arange(1, schedule.T + 1)
    signal, noise = (torch.as_tensor(v).double() for v in (schedule.signal(t), schedule.noise(t)))
    for k, colour, style in zip(factors, (GREY, ORANGE, BLUE), ("-", "--", "-."), strict=True):
        left.plot(t, 2 * (k * signal / noise).log(), color=colour, ls=style, label=f"std {k:.3g}")
        right.plot(t, (k**2 * signal**2 + noise**2).sqrt(), color=colour, ls=style)
    left.axhline(0, color=GREY, lw=0.8)
    left.set(xlabel="t", ylim=(-9, 12))
    left.set_title("log-SNR, nats")
    right.set(xlabel="t", yscale="log")
    right.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    right.minorticks_off()
    right.set_title("standard deviation of x_t")
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


LOOKS = {"pixels": (BLUE, "o"), "codes": (ORANGE, "s"), "codes, not scaled": (PINK, "^")}


@styled
def by_seconds(rows, floor, back):
    """Fréchet distance against seconds of training, with two standard errors, both axes logarithmic.

    Args:
        rows: dict name of LOOKS -> list of (seconds, value, error). floor, back: (value, error), lines.
    """
    fig, ax = figure(7.6, 3.3)
    for name, row in rows.items():
        colour, marker = LOOKS[name]
        errorbars(ax, row, color=colour, marker=marker, label=name)
    ax.axhline(back[0], color=GREEN, ls="--", lw=1.2, label="real faces, given back")
    ax.axhline(floor[0], color=GREY, ls=":", lw=1.2, label="real faces")
    log_ticks(ax, [s for s, *_ in next(iter(rows.values()))], y=[0.5, 1, 2, 5, 10, 20, 50, 100])
    ax.set(xlabel="seconds of one core", ylabel="squared Fréchet distance")
    fig.legend(loc="outside right upper")
    return fig


@styled
def mixes(pictures, title):
    """Pictures (C, H, W) side by side, each under its name; pictures: dict name -> picture."""
    fig, axes = figure(8.4, 2.1, 1, len(pictures))
    for ax, (name, x) in zip(axes, pictures.items(), strict=True):
        draw_image(ax, x, name)
    fig.suptitle(title)
    return fig
