"""Figures of lesson 10: what a variance of the reverse step costs, and where it should lie."""

import math

import torch

from ..process import tau
from ..schedules import time_grid
from . import BLUE, GREEN, GREY, ORANGE, PINK, SKY, figure, log_ticks, styled

NAMES = {
    "beta": "$\\beta_t$", "posterior": "$\\tilde\\beta_t$", "optimal": "the best single number",
    "predicted": "learned",
}  # fmt: skip
LOOK = {"beta": (BLUE, "o"), "posterior": (ORANGE, "s"), "optimal": (GREEN, "^"), "predicted": (GREEN, "^")}


@styled
def excess_by_steps(steps, excess):
    """Bits per dimension above the entropy against the number of steps, both axes logarithmic.

    Args:
        steps: list. excess: dict variance -> list of bits.
    """
    fig, ax = figure(7.2, 3.4)
    for name, values in excess.items():
        colour, marker = LOOK[name]
        ax.plot(steps, values, color=colour, marker=marker, ms=5, label=NAMES[name])
    ax.set(xlabel="number of steps", ylabel="bits per dimension\nabove the entropy")
    log_ticks(ax, steps, y=[0.1, 0.3, 1, 3])
    ax.legend(title="variance of a step")
    return fig


@styled
def two_sources(law, variances):
    """The law of one step back as a mixture: the step for each x_0, their sum, and Gaussians laid over it.

    Args:
        law: q(x_s | x_t) in one dimension, a GaussianMixture with one component for each x_0.
        variances: dict label -> variance of a Gaussian with the mixture's mean.
    """
    mean, cov = (v.item() for v in law.moments())
    x = mean + cov**0.5 * torch.linspace(-4, 4, 400, dtype=torch.float64)

    def density(centre, variance):
        return torch.exp(-((x - centre) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    parts = [
        w * density(m, v)
        for w, m, v in zip(law.weights.tolist(), law.means[:, 0].tolist(), law.covs[:, 0, 0].tolist(), strict=True)
    ]
    fig, (left, right) = figure(8.4, 3.1, 1, 2, sharex=True, sharey=True)
    for part in parts:
        left.fill_between(x, part, color=PINK, alpha=0.45, lw=0)
    left.plot(x, sum(parts), color=SKY)
    right.fill_between(x, sum(parts), color=SKY, alpha=0.55, lw=0, label="sum of the bumps, $q(x_s|x_t)$")
    looks = zip(variances.items(), (BLUE, ORANGE, GREEN), ("-", "--", "-"), strict=False)
    for (label, variance), colour, style in looks:
        right.plot(x, density(mean, variance), color=colour, ls=style, lw=1.6, label=label)
    for ax in (left, right):
        ax.set(xlabel="$x_s$", yticks=[])
        ax.spines["left"].set_visible(False)
    left.set_ylim(0, 1.08 * density(mean, min(variances.values())).max().item())
    left.set_title("one bump for each possible $x_0$, and their sum")
    right.set_title("one Gaussian has to stand for all")
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


@styled
def fractions(variances, places):
    """Where the exact log-variance lies between log β̃ (0) and log β (1), against the variance of the data.

    Args:
        variances: (n,). places: dict label -> (n,).
    """
    fig, ax = figure(7.2, 3.2)
    for (label, values), colour in zip(places.items(), (BLUE, ORANGE, GREEN), strict=False):
        ax.plot(variances, values, color=colour, label=label)
    for y, name in ((0, "$\\tilde\\beta_t$: right for a point"), (1, "$\\beta_t$: right for variance 1")):
        ax.axhline(y, color=GREY, ls="--", lw=1)
        ax.text(variances[0], y - 0.05, name, color=GREY, fontsize=9.5, va="top")
    ax.axvline(1, color=GREY, ls=":", lw=1)
    log_ticks(ax, [0.01, 0.1, 1, 10])
    ax.set(xlabel="variance of the data", ylabel="fraction", ylim=(-0.4, 3.4))
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 0.9))
    return fig


@styled
def spread_by_steps(steps, ratios):
    """Spread of the samples over that of the data against the number of steps; ratios: dict label -> list."""
    fig, ax = figure(7.2, 3.0)
    for (label, values), colour, marker in zip(ratios.items(), (ORANGE, GREEN), "os", strict=True):
        ax.plot(steps, values, color=colour, marker=marker, ms=5, label=label)
    ax.axhline(1, color=GREY, ls="--", lw=1, label="the data")
    log_ticks(ax, steps)
    ax.set(xlabel="number of steps", ylabel="standard deviation\nof samples / of data", ylim=(0, 1.12))
    ax.legend(loc="lower right")
    return fig


@styled
def time_probabilities(times, probabilities):
    """Probabilities of t, both axes logarithmic.

    Args:
        times: (K + 1,), where intervals of t begin, and T + 1. probabilities: dict label -> (K,), p_t in an interval.
    """
    fig, ax = figure(7.2, 3.2)
    looks = zip(probabilities.items(), (GREY, BLUE, ORANGE, PINK), (":", "-", "--", "-"), strict=False)
    for (label, p), colour, style in looks:
        ax.stairs(p, times, color=colour, ls=style, lw=2, label=label, baseline=None)
    ax.set(xscale="log", yscale="log", xlabel="$t$", ylabel="probability of $t$")
    log_ticks(ax, [1, 10, 100, 1000])
    ax.legend()
    return fig


@styled
def learned_schedule(t, curves):
    """log-SNR against t for several schedules; curves: dict label -> (n,)."""
    fig, ax = figure(6.4, 3.0)
    looks = zip(curves.items(), (GREY, BLUE, GREEN), (":", "--", "-"), strict=False)
    for (label, values), colour, style in looks:
        ax.plot(t, values, color=colour, ls=style, label=label)
    ax.set(xlabel="$t$", ylabel="log-SNR $\\lambda$ (nats)")
    ax.legend()
    return fig


@styled
def bits_on_digits(curves):
    """Bits per dimension of test digits against steps, with two standard errors.

    Args:
        curves: dict (label, colour name, style) -> dict steps -> (value, error).
    """
    fig, ax = figure(7.2, 3.5)
    colours = {"beta": BLUE, "posterior": ORANGE, "optimal": GREY, "predicted": GREEN}
    for (label, variance, style), points in curves.items():
        values, errors = zip(*points.values(), strict=True)
        ax.errorbar(
            list(points), values, yerr=[2 * e for e in errors], color=colours[variance], ls=style, marker="o", ms=4,
            lw=1.8, label=label,
        )  # fmt: skip
    log_ticks(ax, list(next(iter(curves.values()))))
    ax.set(xlabel="number of steps", ylabel="bits per dimension\n(bars: two standard errors)")
    ax.legend()
    return fig


@styled
def variance_panel(world, schedule, steps, scale=1.0):
    """What the slider of lesson 10 moves: what each step pays, and what each direction would need.

    Args:
        world: Spectrum. schedule: DiscreteSchedule. steps: N. scale: of the data, whose variances get scale².
    Returns:
        A Figure: the excess bits of every step under three variances, and for the last step that adds noise the exact
        variance of each direction beside the three numbers.
    """
    world = type(world)(world.variances * scale**2)
    times = time_grid(schedule, steps).tolist()
    fig, (left, right) = figure(8.4, 3.6, 1, 2, width_ratios=(1.25, 1))
    D, sums = len(world.variances), []
    for name in ("beta", "posterior", "optimal"):
        costs = world.step_kl(schedule, times, name) / (D * math.log(2))
        colour, marker = LOOK[name]
        left.plot(
            times[:-1], costs.clamp(min=1e-9), color=colour, marker=marker if steps <= 30 else "", ms=4, lw=1.6,
        )  # fmt: skip
        sums.append(f"{NAMES[name].removeprefix('the ').removesuffix(' single number')} {costs.sum():.2f}")
    left.set(yscale="log", xlabel="$t$, where the step begins", ylabel="excess bits per dimension", ylim=(1e-7, 30))
    log_ticks(left, [t for t in (1000, 300, 100, 30, 10, 3, 1) if t >= times[-2]])
    left.invert_xaxis()
    left.set_title(f"all steps: {', '.join(sums)} bits")
    t, s = times[-3:-1]  # the last step that adds noise: there directions differ most
    exact, share = world.reverse_variance(schedule, s, t), tau(schedule, s, t)
    numbers = {"beta": schedule.noise(t) ** 2 * share, "posterior": schedule.noise(s) ** 2 * share}
    right.plot(world.variances.clamp(min=1e-8), exact, ".", color=PINK, ms=5, label="needed")
    for name, value in (numbers | {"optimal": exact.mean().item()}).items():
        right.axhline(value, color=LOOK[name][0], lw=1.6, label=NAMES[name])
    right.set(xscale="log", yscale="log", xlabel="variance of the data in a direction")
    right.set_title(f"the step from t = {t} to {s}")
    right.set_ylabel("variance of the step")
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig
