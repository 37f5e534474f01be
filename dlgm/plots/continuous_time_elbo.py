"""Figures of lesson 15: stairs over a curve, weights, the integrand of a density."""

import math

import torch

from ..likelihood import staircase
from . import BLUE, GREEN, GREY, ORANGE, PINK, SKY, figure, log_ticks, styled

COLOURS = (BLUE, ORANGE, GREEN, PINK)
MARKERS = "os^D"


def _stairs(ax, snr, error, curve):
    """The bound as stairs over the curve; snr, error: (T + 1,), falling and rising; curve: (snr, error) fine."""
    ax.stairs(error[1:].flip(0), snr.flip(0), fill=True, color=SKY, alpha=0.55, lw=0)
    ax.stairs(error[1:].flip(0), snr.flip(0), color=BLUE, lw=1)
    ax.fill_between(*curve, color="white", lw=0)
    ax.fill_between(*curve, color=ORANGE, alpha=0.35, lw=0)
    ax.plot(*curve, color=ORANGE)
    ax.set(xlabel="SNR", xlim=(0, curve[0][-1].item()), ylim=(0, None))


@styled
def stairs(panels, curve):
    """The bound with few and with many steps as an area; panels: dict title -> (snr (T + 1,), error (T + 1,)).

    Args:
        curve: (snr (n,), error (n,)), rising in snr.
    """
    fig, axes = figure(8.4, 2.9, 1, len(panels), sharey=True)
    for ax, (title, (snr, error)) in zip(axes, panels.items(), strict=True):
        _stairs(ax, snr, error, curve)
        ax.set_title(title)
    axes[0].set_ylabel("$\\mathbb{E}\\,\\|x_0-\\hat x_0\\|^2$")
    return fig


@styled
def excess_by_steps(steps, excess, slope):
    """Bound above its limit against steps, both axes logarithmic; excess: dict label -> list; slope: (label, list)."""
    fig, ax = figure(7.4, 3.3)
    for (label, values), colour, marker in zip(excess.items(), COLOURS, MARKERS, strict=False):
        ax.plot(steps, values, color=colour, marker=marker, ms=5, label=label)
    ax.plot(steps, slope[1], ":", color=GREY, lw=1.2, label=slope[0])
    ax.set(yscale="log", xlabel="number of steps $T$", ylabel="above the limit (nats)")
    log_ticks(ax, steps)
    fig.legend(loc="outside right upper")
    return fig


@styled
def weights(curves):
    """Weights against the log-SNR, logarithmic; curves: dict label -> (log-SNR (n,), w (n,))."""
    fig, ax = figure(7.6, 3.2)
    for (label, (x, w)), colour in zip(curves.items(), COLOURS, strict=False):
        ax.plot(x, w, color=colour, label=label)
    ax.set(
        xlabel="log-SNR $\\lambda$ (noise left, data right)", ylabel="weight $w$, 1 at $\\lambda=0$", yscale="log",
        xlim=(-9, 9), ylim=(0.01, 100),
    )  # fmt: skip
    fig.legend(loc="outside right upper")
    return fig


@styled
def integrands(logsnr, rows):
    """What is integrated over the log-SNR for log p(x), at several x; rows: dict label -> (n,)."""
    fig, ax = figure(7.6, 3.2)
    for (label, values), colour in zip(rows.items(), COLOURS, strict=False):
        ax.plot(logsnr, values, color=colour, label=label)
    ax.axhline(0, color=GREY, lw=0.8)
    ax.set(xlabel="log-SNR $\\lambda$ (noise left, data right)", ylabel="SNR · error − SNR/(1 + SNR)",
           xlim=(-9, 9))  # fmt: skip
    fig.legend(loc="outside right upper")
    return fig


SPACINGS = ("even in SNR", "even in log-SNR", "even in noise/signal")


def _spaced(low, high, T, spacing):
    """T + 1 falling SNRs."""
    share = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    if spacing == SPACINGS[0]:
        return high + share * (low - high)
    if spacing == SPACINGS[1]:
        return torch.exp(math.log(high) + share * math.log(low / high))
    return (high**-0.5 + share * (low**-0.5 - high**-0.5)) ** -2


@styled
def stairs_panel(v, T, spacing, low=0.02, high=12.0):
    """What the controls of lesson 15 move: the bound of T steps for data N(0, v), between two fixed SNRs.

    Args:
        spacing: one of SPACINGS, of the stops.
    """
    fine = torch.linspace(low, high, 400, dtype=torch.float64)
    fig, ax = figure(7.4, 3.3)
    snr = _spaced(low, high, T, spacing)
    _stairs(ax, snr, v / (1 + v * snr), (fine, v / (1 + v * fine)))
    bound = staircase(snr.log(), v / (1 + v * snr)).item()
    limit = 0.5 * math.log((1 + v * high) / (1 + v * low))
    ax.set(ylabel="$\\mathbb{E}\\,(x_0-\\hat x_0)^2$")
    ax.set_title(f"{T} steps {spacing}: {bound:.3f} nats; limit {limit:.3f}")
    return fig
