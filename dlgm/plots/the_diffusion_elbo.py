"""Figures of lesson 07: where the bits of the variational bound go."""

import math

import torch

from ..gaussian import Gaussian, discretized_log_prob
from . import BLUE, GREEN, GREY, ORANGE, PINK, SKY, figure, log_ticks, styled

LOG2 = math.log(2)
BLACK = "#222222"
BETA, TILDE = "($\\sigma_t^2=\\beta_t$)", "($\\sigma_t^2=\\tilde\\beta_t$)"
VARIANCES = {"beta": "$\\sigma_t^2=\\beta_t$", "posterior": "$\\sigma_t^2=\\tilde\\beta_t$"}


def _bits(vlb):
    """(prior, sum of steps, reconstruction) of a VLB in bits per dimension, averaged over its rows."""
    parts = (vlb.prior, vlb.steps.sum(1), vlb.reconstruction)
    return [(p.mean() / (vlb.dims * LOG2)).item() for p in parts]


@styled
def bits_by_length(bounds, entropy):
    """Where the bits go: one stacked bar for each number of steps.

    Args:
        bounds: dict T -> VLB, discretised decoder.
        entropy: what no model can go below, bits.
    """
    fig, ax = figure(7.6, 3.5)
    for i, vlb in enumerate(bounds.values()):
        prior, steps, last = _bits(vlb)
        ax.bar(i, last, 0.6, color=GREEN, label="reconstruction, t = 1" if i == 0 else None)
        ax.bar(i, steps, 0.6, bottom=last, color=BLUE, label="steps, t = 2..T" if i == 0 else None)
        name = "prior" if prior > 0.03 else "prior (too small to see)"
        ax.bar(i, prior, 0.6, bottom=last + steps, color=ORANGE, label=name if i == 0 else None)
        box = dict(facecolor="white", edgecolor="none", pad=1)
        ax.text(i, last + steps + prior + 0.18, f"{last + steps + prior:.2f}", ha="center", fontsize=9.5, bbox=box)
    ax.axhline(entropy, color=BLACK, ls="--", lw=1.3, label=f"entropy of the pixel, {entropy:.2f} bits")
    ax.axhline(8, color=PINK, ls=":", zorder=0.5, label="uniform guess, 8 bits")
    ax.set_xticks(range(len(bounds)), [f"T = {T}" for T in bounds])
    ax.set(ylabel="bits per pixel", ylim=(0, 9.2))
    fig.legend(loc="outside upper center", ncols=3)
    return fig


@styled
def terms_panel(law, schedule, variance):
    """The bound of one pixel term by term: what the slider of lesson 07 moves.

    Args:
        law: PixelLaw.
        schedule: DiscreteSchedule; variance: "beta" or "posterior".
    Returns:
        A Figure: the cost of every step in bits, on log axes, and the three parts stacked against the entropy.
    """
    vlb = law.vlb(schedule, variance)
    prior, steps, last = _bits(vlb)
    fig, (left, right) = figure(8.4, 3.3, 1, 2, width_ratios=(1.9, 1))
    T = schedule.T
    costs = vlb.steps[0] / LOG2
    left.stairs([last], [0.75, 1.33], color=GREEN, fill=True)
    left.plot(range(2, T + 1), costs.tolist(), color=BLUE, marker="." if T <= 64 else "", lw=1.5)
    left.set(xscale="log", yscale="log", xlim=(0.7, T * 1.1), ylim=(1e-5, 20))
    left.set(xlabel="step $t$ (the block at $t=1$: the reconstruction)", ylabel="bits for this step")
    log_ticks(left, [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500) if t <= T])
    half = int((vlb.steps[0].cumsum(0) < vlb.steps.sum() / 2).sum()) + 2
    left.set_title(f"T = {T}: half of the steps' bits are paid up to t = {half}")
    for y, height, colour, name in ((0, last, GREEN, "reconstruction"), (last, steps, BLUE, "steps"),
                                    (last + steps, prior, ORANGE, "prior")):  # fmt: skip
        right.bar([0], [height], 0.5, bottom=y, color=colour, label=f"{name} {height:.2g}" if height < 0.01
                  else f"{name} {height:.2f}")  # fmt: skip
    right.axhline(law.entropy, color=BLACK, ls="--", lw=1.3, label=f"entropy {law.entropy:.2f}")
    top = max(prior + steps + last, law.entropy)
    right.set(xlim=(-0.35, 0.35), xticks=[], ylim=(0, 1.62 * top), ylabel="bits per pixel")
    right.set_title(f"total {prior + steps + last:.3f} bits")
    handles, labels = right.get_legend_handles_labels()
    right.legend(handles[::-1], labels[::-1], loc="upper center", fontsize=9)
    return fig


@styled
def decoder_panel(mean, std, floor):
    """The discretised decoder: a density cut into bins at the dark end, and the penalty for a far-off mean.

    Args:
        mean, std: of the decoder's Gaussian, for the left panel.
        floor: probability at which careless code clamps, for the right panel.
    """
    fig, (left, right) = figure(8.4, 3.1, 1, 2)
    half, count = 1 / 255, 7
    x = torch.linspace(-1 - 9 * half, -1 + (2 * count - 1) * half, 500, dtype=torch.float64)
    density = Gaussian(0 * x + mean, std**2).log_prob(x).exp()
    left.plot(x, density, color=GREY, lw=1.2)
    levels = -1 + 2 * half * torch.arange(count, dtype=torch.float64)
    for k, centre in enumerate(levels.tolist()):
        inside = (x <= centre + half) & ((x > centre - half) | (k == 0))
        left.fill_between(x, density, where=inside.numpy(), color=(SKY, BLUE)[k % 2], lw=0)
        p = discretized_log_prob(
            Gaussian(torch.tensor([[float(mean)]], dtype=torch.float64), std**2), torch.tensor([[centre]]).double()
        ).exp()
        left.text(
            centre if k else centre - 2 * half, 1.06 * density.max(), f"{p.item():.2f}", ha="center", fontsize=8.5
        )
    left.set(xlabel="grey level (0 is black, $x_0=-1$)", ylabel="density", ylim=(0, 1.2 * density.max().item()))
    left.set_xticks(levels.tolist(), [str(k) for k in range(count)])
    left.set_title("the dark end: a probability for each level")
    distance = torch.linspace(0, 1, 256, dtype=torch.float64)
    middle = torch.full((256, 1), 1 / 255, dtype=torch.float64)
    law = Gaussian(middle + distance[:, None], 0.03**2)
    exact = -discretized_log_prob(law, middle) / LOG2
    right.plot(distance, exact, color=BLUE, label="exact tails")
    right.plot(
        distance, exact.clamp(max=-math.log2(floor)), "--", color=ORANGE, label=f"probability clamped at {floor:g}"
    )
    right.set(xlabel="distance of the mean above the pixel", ylabel="bits", title="the penalty, σ = 0.03")
    right.legend(loc="upper left")
    return fig


@styled
def excess_by_length(lengths, excess):
    """Bound minus entropy against the number of steps, both axes logarithmic; excess: dict name -> list, bits."""
    fig, ax = figure(6.6, 3.2)
    for (name, values), colour, marker in zip(excess.items(), (BLUE, ORANGE), "os", strict=False):
        ax.plot(lengths, values, marker=marker, ms=5, lw=1.6, color=colour, label=VARIANCES.get(name, name))
    ax.set(yscale="log", xlabel="number of steps $T$", ylabel="bound − entropy (bits)")
    log_ticks(ax, lengths)
    ax.legend(loc="lower left")
    return fig


@styled
def estimates_on_exact(estimates, exact, entropy):
    """Sampled bounds with error bars (2 standard errors) on exact ones.

    Args:
        estimates: dict name -> dict T -> Estimate of shape ().
        exact: dict name -> dict T -> number; entropy: a line; all in bits.
    """
    fig, ax = figure(6.6, 3.3)
    styles = zip(estimates.items(), (BLUE, ORANGE), "os", strict=False)
    for (name, by_length), colour, marker in styles:
        lengths = list(by_length)
        ax.plot(
            lengths,
            [exact[name][T] for T in lengths],
            color=colour,
            lw=1.2,
            label=f"{VARIANCES.get(name, name)}, exact",
        )
        values, errors = zip(*((e.value.item(), 2 * e.error.item()) for e in by_length.values()), strict=True)
        ax.errorbar(
            lengths,
            values,
            yerr=errors,
            fmt=marker,
            color=colour,
            ms=5,
            lw=1.5,
            label=f"{VARIANCES.get(name, name)}, sampled, ±2 standard errors",
        )
    ax.axhline(entropy, color=GREY, ls="--", label="entropy")
    ax.set(xlabel="number of steps $T$", ylabel="bits per pixel")
    log_ticks(ax, lengths)
    ax.legend(ncols=2, loc="upper right", fontsize=9)
    ax.set_ylim(top=ax.get_ylim()[1] + 0.3 * (ax.get_ylim()[1] - ax.get_ylim()[0]))
    return fig


@styled
def terms_by_step(bounds):
    """The cost of the steps of several models in bits per dimension, running total from t = T down to t = 1.

    Args:
        bounds: dict name -> VLB, discretised decoder. Curves start at the prior term at T and end at the total.
    """
    fig, ax = figure(7.6, 3.4)
    for (name, vlb), colour, style in zip(bounds.items(), (BLUE, GREEN, ORANGE), ("-", "--", "-."), strict=False):
        scale = vlb.dims * LOG2
        terms = torch.cat([vlb.reconstruction[:, None], vlb.steps], 1).mean(0) / scale
        total = terms.flip(0).cumsum(0).flip(0) + vlb.prior.mean() / scale
        label = f"{name.replace('(beta tilde)', TILDE).replace('(beta)', BETA)}: {total[0]:.2f} bits"
        ax.plot(range(1, len(total) + 1), total, style, color=colour, marker="o", markevery=[0], ms=6, label=label)
    ax.axhline(8, color=PINK, ls=":", label="uniform guess: 8 bits")
    ax.plot([], [], "o", color=GREY, label="t = 1: reconstruction included")
    ax.set(xscale="log", yscale="log", ylim=(1e-4, 1000), xlim=(len(total) * 1.1, 0.85))
    ax.set_xticks([1000, 100, 10, 1], ["1000", "100", "10", "1"])
    ax.set(xlabel="step $t$, from $T$ on the left down to 1", ylabel="bits per dimension\npaid so far")
    ax.legend(loc="lower right")
    return fig
