"""Figures of lesson 02: bounds and the laws that make them loose."""

import math

import torch
from matplotlib.patches import Ellipse

from ..gaussian import Gaussian
from . import BLUE, GREEN, GREY, ORANGE, SKY, draw_graph, figure, log_ticks, styled


@styled
def bound_panel(model, x, mean, std):
    """q over the true posterior, and log p(x) as ELBO plus gap: what the sliders of lesson 02 move.

    Args:
        model: oracles.NonlinearModel.
        x: the observation, a number.
        mean, std: of q.
    Returns:
        A Figure: the densities of prior, posterior and q; the bound, the gap and log p(x) in nats.
    """
    fig, (left, right) = figure(8.4, 3.1, 1, 2, width_ratios=(1.5, 1))
    x = torch.tensor([[float(x)]], dtype=torch.float64)
    q = Gaussian(torch.tensor([[float(mean)]], dtype=torch.float64), float(std) ** 2)
    z = torch.linspace(-3.5, 3.5, 701, dtype=torch.float64)
    left.fill_between(z, model.log_posterior(x, z[None])[0].exp(), color=SKY, alpha=0.5, label="posterior p(z | x)")
    left.plot(z, Gaussian(0 * z, 1.0).log_prob(z).exp(), ":", color=GREY, label="prior p(z)")
    left.plot(z, Gaussian(0 * z + mean, std**2).log_prob(z).exp(), color=ORANGE, label="q(z)")
    left.set(xlabel="$z$", ylabel="density", title=f"x = {x.item():g}", ylim=(0, 4.4), xlim=(-3.5, 3.5))
    left.legend(loc="upper center", ncols=3, fontsize=8, columnspacing=0.8, handlelength=1.2)
    log_p, elbo, kl = (f.item() for f in (model.log_prob(x), model.elbo(x, q), model.posterior_kl(x, q)))
    low = max(elbo, log_p - 8)  # a bound that is lower still is drawn there
    right.plot([0.25, 1], [log_p, log_p], color=BLUE, lw=2.5)
    right.plot([0.25, 1], [low, low], color=ORANGE, lw=2.5)
    right.vlines(0.2, low, log_p, color=GREY, lw=4)
    place = {"fontsize": 9, "ha": "right"}
    right.text(1, log_p + 0.15, f"log p(x) = {log_p:.2f}".replace("-", "−"), color=BLUE, va="bottom", **place)
    lower = ", below the axis" if elbo < low else ""
    right.text(1, low - 0.15, f"ELBO = {elbo:.2f}{lower}".replace("-", "−"), color=ORANGE, va="top", **place)
    right.text(0.15, (log_p + low) / 2, f"KL {kl:.2f}", color=GREY, va="center", **place)
    right.set(xlim=(-0.25, 1.1), ylim=(log_p - 9.2, log_p + 1.2), xticks=[], ylabel="nats")
    right.set_title("ELBO + KL(q ‖ posterior) = log p(x)")
    return fig


@styled
def weight_histogram(log_w, log_p, low=-15.0):
    """The log weights of two laws q, a dict name -> (n,); their means, the ELBOs, against log p(x).

    What lies below ``low`` is drawn in the first bin.
    """
    fig, axes = figure(8.4, 2.7, 1, len(log_w))
    for ax, (name, values) in zip(axes, log_w.items(), strict=True):
        ax.hist(values.clamp(min=low).numpy(), bins=80, range=(low, 1), density=True, color=SKY, label="single draws")
        ax.axvline(values.mean().item(), color=ORANGE, label="their mean: the ELBO")
        ax.axvline(log_p, color=BLUE, ls="--", label="log p(x)")
        ax.set(title=f"{name}: {(values < low).double().mean():.1%} below {low:g}".replace("-", "−"))
        ax.set(xlabel="log w (nats)", xlim=(low - 0.3, 1.3))
    axes[0].set_ylabel("density")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


@styled
def correlated_posterior(correlations, gaps, shown):
    """What independent coordinates cost: the gap against correlation, and both laws at one correlation.

    Args:
        correlations, gaps: (n,), the gap in nats of the best independent Gaussian.
        shown: the correlation at which 2-standard-deviation contours are drawn, for a posterior of unit variances.
    """
    fig, (left, right) = figure(8.4, 3.1, 1, 2)
    for angle, width, colour, label in (
        (45, (1 + shown, 1 - shown), BLUE, "posterior"),
        (0, (1 - shown**2, 1 - shown**2), ORANGE, "best independent q"),
    ):
        size = [4 * math.sqrt(v) for v in width]
        left.add_patch(Ellipse((0, 0), *size, angle=angle, fill=False, color=colour, lw=2, label=label))
    left.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
    left.set_title(f"correlation {shown}: contours at 2 std")
    left.legend(loc="upper left", fontsize=8)
    right.plot(correlations, gaps, color=GREEN)
    right.set(xlabel="correlation of the posterior", ylabel="gap (nats)", title="cost of independent coordinates")
    right.set(xlim=(0, 1), ylim=(0, None))
    return fig


@styled
def bounds_against_draws(K, curves, log_p):
    """Importance-weighted bounds against the number of draws K, with error bars of two standard errors.

    Args:
        K: list of numbers of draws.
        curves: dict name -> list of Estimates of one number each.
        log_p: the exact value.
    """
    fig, ax = figure(7.2, 3.2)
    for (name, bounds), colour, marker in zip(curves.items(), (ORANGE, GREEN, BLUE), "osv", strict=False):
        values, errors = ([getattr(b, part).item() for b in bounds] for part in ("value", "error"))
        ax.errorbar(K, values, [2 * e for e in errors], color=colour, marker=marker, capsize=3, label=name)
    ax.axhline(log_p, color=GREY, ls="--", label="log p(x), exact")
    ax.set(xlabel="draws K inside the logarithm", ylabel="bound (nats)")
    log_ticks(ax, K)
    ax.legend(loc="lower right")
    return fig


@styled
def model_graph():
    """z → x, the model, and the way back, q."""
    fig, ax = figure(5.0, 2.0)
    model, back = r"$p_\theta(x\mid z)$, the model", r"$q_\phi(z\mid x)$, our choice"
    arrows = [("$z$", "$x$", BLUE, -0.25, "-", model), ("$x$", "$z$", ORANGE, -0.25, "--", back)]
    draw_graph(ax, {"$z$": (0, 0), "*$x$": (3, 0)}, arrows)
    ax.set(xlim=(-0.6, 3.6), ylim=(-0.8, 0.8))
    return fig


@styled
def jensen(a, b):
    """log w with two equally likely weights a < b: the mean of the logarithms lies below the logarithm of the mean."""
    fig, ax = figure(6.6, 3.2)
    w, c = torch.linspace(a / 2, 1.25 * b, 200, dtype=torch.float64), (a + b) / 2
    ax.plot(w, w.log(), color=BLUE, label="log w")
    ax.plot(w, math.log(c) + (w - c) / c, color=GREY, lw=1.2, ls="--", label="tangent at the mean")
    logs = [math.log(a), math.log(b)]
    ax.plot([a, b], logs, color=ORANGE, marker="o", lw=1.4, label="two weights")
    ax.plot([c, c], [sum(logs) / 2, math.log(c)], color="black", lw=1.2, marker="_")
    ax.annotate("log of the mean", (c, math.log(c)), (c - 0.02, math.log(c) + 0.12), ha="right", fontsize=9.5)
    ax.annotate("mean of the logs", (c, sum(logs) / 2), (c + 0.02, sum(logs) / 2 - 0.18), fontsize=9.5)
    ax.set(xlabel="weight $w$", ylabel="log w", ylim=(math.log(a) - 0.5, 0.5))
    ax.legend(loc="lower right")
    return fig
