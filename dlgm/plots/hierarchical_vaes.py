"""The figures of lesson 04."""

import torch

from ..hvae import step_gaps
from ..schedules import cosine_beta
from . import BLUE, GREEN, GREY, ORANGE, PINK, SKY, draw_graph, figure, log_ticks, styled


@styled
def planes(panels, limits):
    """Clouds of points in the plane, side by side.

    Args:
        panels: list of (title, layers, axis); layers is a dict label -> points (N, 2), drawn in this order in dark
            blue, light blue and orange, or in light blue and orange where there are two; axis names the coordinates.
        limits: half width of each panel.
    """
    fig, axes = figure(8.4, 8.4 / len(panels) + 0.75, 1, len(panels), squeeze=False)
    for ax, (title, layers, axis), limit in zip(axes[0], panels, limits, strict=True):
        colours = (SKY, ORANGE) if len(layers) == 2 else (BLUE, SKY, ORANGE)
        for (label, points), colour in zip(layers.items(), colours, strict=False):
            ax.scatter(*points.T, s=3, color=colour, label=label, linewidths=0, alpha=0.7)
        ax.set(title=title, xlabel=f"${axis}$, first coordinate", xlim=(-limit, limit), ylim=(-limit, limit))
        ax.set_aspect("equal")
        ax.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=9,
            markerscale=4, handletextpad=0.1, columnspacing=0.6, borderaxespad=0,
        )  # fmt: skip
    axes[0, 0].set_ylabel("second coordinate")
    return fig


@styled
def bounds_by_recipe(bounds, exact):
    """Bounds of several recipes and seeds as points with error bars (2 standard errors).

    Args:
        bounds: dict recipe -> list over seeds of (ELBO, importance-weighted bound), Estimates.
        exact: mean of the exact log p(x), drawn as a line; nats.
    """
    fig, ax = figure(8.0, 3.1)
    styles = ((BLUE, "o", "ELBO"), (GREEN, "s", "importance-weighted bound, K = 100"))
    for row, seeds in enumerate(bounds.values()):
        for k, (colour, marker, label) in enumerate(styles):
            values = [pair[k].value.item() for pair in seeds]
            errors = [2 * pair[k].error.item() for pair in seeds]
            at = [row + 0.14 * (i - (len(seeds) - 1) / 2) for i in range(len(seeds))]
            label = label if row == 0 else None
            ax.errorbar(values, at, xerr=errors, fmt=marker, ms=5, lw=1.4, color=colour, label=label)
    ax.axvline(exact, color=ORANGE, ls="--", label="exact: mean log p(x)")
    ax.set_yticks(range(len(bounds)), list(bounds), color="#222222")
    ax.set(xlabel="nats per held-out example (higher is better)", ylim=(len(bounds) - 0.5, -0.5))
    fig.legend(loc="outside upper center", ncols=3)
    return fig


@styled
def bound_curve(scale, estimates, exact, log_p):
    """ELBO against the factor by which the top kernel's variance is wrong: estimates on the closed form.

    Args:
        scale: (n,) factors at which the bound was estimated; estimates: n Estimates of shape ().
        exact: function of a tensor of factors -> the bound in closed form; log_p: what it cannot exceed; nats.
    """
    fig, ax = figure(6.6, 3.2)
    fine = torch.logspace(scale[0].log10().item(), scale[-1].log10().item(), 200, dtype=torch.float64)
    ax.plot(fine, exact(fine), color=BLUE, label="log p(x) − KL, closed form")
    values, errors = [e.value.item() for e in estimates], [2 * e.error.item() for e in estimates]
    ax.errorbar(scale, values, yerr=errors, fmt="o", color=ORANGE, ms=5, lw=1.5, label="ELBO by sampling, ± 2 errors")
    ax.axhline(log_p, color=GREY, ls=":", label="log p(x)")
    ax.set(xlabel="variance of $q(z_2|z_1)$ / exact variance", ylabel="nats")
    log_ticks(ax, scale.tolist())
    ax.legend(loc="lower center")
    return fig


@styled
def gap_against_length(lengths, gaps):
    """log p(x) − ELBO against the number of levels; gaps: dict name -> list of Estimates, one for each length."""
    fig, ax = figure(6.6, 3.2)
    for (name, estimates), colour, marker in zip(gaps.items(), (BLUE, ORANGE, GREEN), "os^", strict=False):
        values, errors = [e.value.item() for e in estimates], [2 * e.error.item() for e in estimates]
        ax.errorbar(lengths, values, yerr=errors, marker=marker, color=colour, ms=5, lw=1.6, label=name)
    ax.set(xlabel="number of levels $T$", ylabel="gap log p(x) − ELBO (nats)")
    log_ticks(ax, lengths, y=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
    ax.legend(loc="lower left")
    return fig


@styled
def chain_panel(world, T, variance):
    """A diffusion model as a hierarchy of T levels: the terms of its ELBO, and where the bound is loose.

    Args:
        world: a GaussianMixture; T: number of levels, with the cosine schedule; variance: "beta" or "posterior".
    Returns:
        A Figure with two panels: terms by level, and the loss of each step, both in nats.
    """
    terms, losses = step_gaps(world, cosine_beta(T=T), variance)
    fig, (left, right) = figure(8.4, 3.1, 1, 2)
    left.bar([0], terms.mean(0)[0].item(), color=GREEN)
    left.bar(range(1, T + 1), terms.mean(0)[1:].tolist(), color=BLUE)
    left.axhline(0, color=GREY, lw=0.8)
    left.set(xlabel="level $t$ (0: the reconstruction)", ylabel="nats")
    left.set_title(f"T = {T}: terms of the ELBO, sum {terms.sum(1).mean():.2f}".replace("-", "−"))
    error = (2 * losses.std(0) / len(losses) ** 0.5).tolist()
    right.bar(range(1, T + 2), losses.mean(0).tolist(), yerr=error, color=PINK, error_kw={"lw": 0.8, "ecolor": GREY})
    right.axhline(0, color=GREY, lw=0.8)
    right.set(xlabel="step from $t$ to $t-1$ ($T+1$: the top)", ylabel="KL (nats)")
    total = losses.sum(1)
    right.set_title(f"loss of each step, sum {total.mean():.2f} ± {total.std() / len(total) ** 0.5:.2f}")
    for ax in (left, right):
        ax.set_xlim(-0.8 if ax is left else 0.2, T + 0.8 if ax is left else T + 1.8)
    return fig


@styled
def hierarchy_graph():
    """The model goes down from z_2 to x, inference goes up."""
    fig, ax = figure(6.4, 2.1)
    nodes = {"*$x$": (0, 0), "$z_1$": (2, 0), "$z_2$": (4, 0)}
    down = [
        ("$z_2$", "$z_1$", BLUE, 0.3, "-", r"$p(z_1\mid z_2)$"),
        ("$z_1$", "$x$", BLUE, 0.3, "-", r"$p(x\mid z_1)$"),
    ]
    up = [
        ("$x$", "$z_1$", ORANGE, 0.3, "--", r"$q(z_1\mid x)$"),
        ("$z_1$", "$z_2$", ORANGE, 0.3, "--", r"$q(z_2\mid z_1)$"),
    ]
    draw_graph(ax, nodes, down + up)
    ax.set(xlim=(-0.6, 4.6), ylim=(-0.75, 0.75))
    return fig
