"""The figures of lesson 08, on what a network predicts and how a loss weighs the times."""

import math

import torch

from .. import losses
from ..denoiser import Prediction
from ..parameterization import mean_from_x0
from ..process import q_sample
from . import BLUE, COLOURS, GREEN, GREY, ORANGE, PINK, SKY, figure, image_rows, styled

NAMES = {"mean": r"mean $\tilde\mu_t$", "x0": "$x_0$", "eps": "ε", "v": "v", "score": "score"}
COLOUR = {"mean": PINK, "x0": ORANGE, "eps": BLUE, "v": GREEN, "score": SKY}
STYLES = {"mean": ":", "x0": "--", "eps": "-", "v": "-.", "score": ":"}
LEVEL = "log-SNR (nats): noise left, data right"

# A training step: each node with the nodes it is made from.
GRAPH = {
    "x0": (),
    "eps": (),
    "t": (),
    "x_t": ("x0", "eps", "t"),
    "prediction": ("x_t", "t", "theta"),
    "theta": (),
    "loss": ("eps", "prediction"),
}
GRADIENT = (("loss", "prediction"), ("prediction", "theta"))  # the edges it goes back along
_PLACES = {
    "x0": (1.0, 4.0, "data\n$x_0\\sim p(x_0)$"),
    "eps": (1.0, 2.4, "noise\n$ε\\sim N(0, I)$"),
    "t": (1.0, 0.8, "time\n$t\\sim U\\{1..T\\}$"),
    "x_t": (3.9, 4.0, "$x_t=\\sqrt{ᾱ_t}\\,x_0+\\sqrt{1-ᾱ_t}\\,ε$"),
    "prediction": (6.9, 4.0, "network\n$ε_θ(x_t,t)$"),
    "theta": (6.9, 0.8, "weights θ"),
    "loss": (9.1, 2.4, "loss\n$\\|ε-ε_θ\\|^2$"),
}


@styled
def five_answers(denoiser, x0, eps, times):
    """What a denoiser says about x_t, in pictures: a row for x_t and one for each of x̂_0, ε̂, v̂ and the mean.

    The exact denoiser answers with conditional means, which vary less than their targets: Var E[ε | x_t] < 1.

    Args:
        x0, eps: (1, H, W), pixels in [-1, 1] and the noise held fixed over all times.
        times: the columns, whole numbers from 1.
    Returns:
        A Figure; ε̂ and v̂ are shown at a third of their size, since they leave [-1, 1].
    Source: ledger PAR-1, PAR-2, PAR-3, LOSS-10, TAKE-2; erratum E-19.
    """
    rows = {"$x_t$": [], "$\\hat x_0$": [], "$\\hat ε/3$": [], "$\\hat v/3$": [], "mean $μ_θ$": []}
    for t in times:
        x_t = q_sample(denoiser.schedule, x0[None], t, eps[None])
        p = denoiser(x_t, t)
        mean = mean_from_x0(denoiser.schedule, x_t, p.x0, t - 1, t)
        for row, x in zip(rows.values(), (x_t, p.x0, p.eps / 3, p.v / 3, mean), strict=True):
            row.append(x[0])
    return image_rows(list(rows.values()), [f"t = {t}" for t in times], labels=list(rows))


@styled
def bound_weights(schedules):
    """The weight of the bound on ‖ε error‖² and on ‖x_0 error‖², for both variances.

    A dot marks λ_T where it is more than ten times λ_{T−1}, since a curve shows a single step badly.

    Args:
        schedules: dict name -> DiscreteSchedule.
    Source: ledger LOSS-3, LOSS-4.
    """
    fig, axes = figure(8.4, 3.6, 1, 2)
    for (name, s), colour in zip(schedules.items(), COLOURS, strict=False):
        t = torch.arange(1, s.T + 1)
        for variance, style, symbol in (("beta", "-", r"\beta_t"), ("posterior", "--", r"\tilde\beta_t")):
            for ax, target in zip(axes, ("eps", "x0"), strict=True):
                label = f"{name}, $σ_t^2={symbol}$"
                ax.plot(t, losses.vlb_weight(s, t, target, variance), style, color=colour, lw=1.6, label=label)
        before, last = losses.vlb_weight(s, torch.tensor([s.T - 1, s.T]), "eps", "beta").tolist()
        if last > 10 * before:
            axes[0].scatter(s.T, last, s=26, color=colour, zorder=3)
            axes[0].annotate(
                f"{name}, t = T: {last:.0f}",
                (s.T, last),
                xytext=(-8, 0),
                textcoords="offset points",
                ha="right",
                va="center",
            )
    axes[0].set(title=r"weight $λ_t$ of $\|ε-\hat ε\|^2$", ylabel="weight (nats per squared unit)")
    axes[1].set(title=r"weight of $\|x_0-\hat x_0\|^2$")
    for ax in axes:
        ax.set(xlabel="step $t$ (log scale)", xscale="log", yscale="log")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def _in_unit(schedule, unit, variance):
    """Each loss as a weight on ‖error of unit‖², scaled to mean 1 over t = 1..T."""
    t = torch.arange(1, schedule.T + 1)
    curves = {"bound": losses.vlb_weight(schedule, t, unit, variance)}
    for target in ("mean", "x0", "eps", "v"):
        curves[target] = losses.convert_weight(schedule, t, torch.ones(schedule.T).double(), target, unit)
    return {name: w / w.mean() for name, w in curves.items()}


@styled
def loss_weights(schedule, variance="beta"):
    """How the unweighted losses and the bound spread their weight over the times, against the log-SNR.

    Left as weights of ‖ε error‖², right of the same losses as weights of ‖x_0 error‖²; each curve has mean 1 over
    t = 1..T, so that only its shape counts. The v loss is a broad band, since two others coincide with it in part.

    Source: ledger LOSS-5, LOSS-7, M-08, E-18, E-74.
    """
    fig, axes = figure(8.4, 3.3, 1, 2)
    lam = schedule.logsnr(torch.arange(1, schedule.T + 1))
    for ax, unit in zip(axes, ("eps", "x0"), strict=True):
        for name, w in _in_unit(schedule, unit, variance).items():
            label = "the bound" if name == "bound" else f"unweighted {NAMES[name]} loss"
            colour, style = ("black", "-") if name == "bound" else (COLOUR[name], STYLES[name])
            band = (
                {"ls": "-", "lw": 6, "alpha": 0.35, "solid_capstyle": "butt"}
                if name == "v"
                else {"ls": style, "lw": 1.6}
            )
            ax.plot(lam, w, color=colour, label=label, zorder=1 if name == "v" else 2, **band)
        what = r"\varepsilon-\hat \varepsilon" if unit == "eps" else r"x_0-\hat x_0"
        ax.set(title=rf"weight of $\|{what}\|^2$, scaled to mean 1 over t", xlabel=LEVEL, yscale="log")
    axes[0].set_ylabel("relative weight")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def _arrow(ax, boxes, source, node, bend=0.0, **options):
    """An arrow from one box to another, cut off at their borders; bend makes it an arc."""
    ends = {
        "patchA": boxes[source].get_bbox_patch(),
        "patchB": boxes[node].get_bbox_patch(),
        "shrinkA": 1,
        "shrinkB": 3,
    }
    style = {"arrowstyle": "-|>", "lw": 1.4, "color": GREY, "connectionstyle": f"arc3,rad={bend}", **ends, **options}
    ax.annotate("", _PLACES[node][:2], _PLACES[source][:2], arrowprops=style, zorder=4)  # over the boxes, drawn first


@styled
def training_graph():
    """One step of training as a graph: what is drawn, what is computed, and where the gradient goes.

    Source: ledger ALG-5; Ho et al. 2020, algorithm 1.
    """
    fig, ax = figure(8.4, 3.3)
    ax.set(xlim=(0.2, 9.8), ylim=(0.3, 4.6))
    ax.set_axis_off()
    boxes = {}
    for node, inputs in GRAPH.items():
        colour = ORANGE if node in ("theta", "loss") else BLUE if inputs else GREY
        frame = {"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": colour, "lw": 1.6}
        x, y, text = _PLACES[node]
        boxes[node] = ax.text(x, y, text, ha="center", va="center", fontsize=11, bbox=frame, zorder=3)
    for node, inputs in GRAPH.items():
        for source in inputs:
            _arrow(ax, boxes, source, node)
    for (source, node), bend in zip(GRADIENT, (0.35, -0.35), strict=True):
        _arrow(ax, boxes, source, node, bend=bend, color=ORANGE, linestyle="--")
    ax.text(8.95, 3.75, "gradient", color=ORANGE, ha="center")
    return fig


@styled
def errors_by_level(logsnr, errors, ylabel):
    """Errors of several networks over the noise level, one panel for each way of training.

    Args:
        logsnr: (n,), nats.
        errors: dict panel title -> dict target -> (S, n), one row for each seed; the line is the geometric mean over
            seeds, the band their range.
        ylabel: what is measured, with its unit.
    """
    fig, axes = figure(8.4, 3.6, 1, len(errors), sharey=True, squeeze=False)
    for ax, (title, lines) in zip(axes[0], errors.items(), strict=True):
        for target, e in lines.items():
            ax.plot(logsnr, e.log().mean(0).exp(), STYLES[target], color=COLOUR[target], lw=1.7, label=NAMES[target])
            ax.fill_between(logsnr, e.amin(0), e.amax(0), color=COLOUR[target], alpha=0.2, lw=0)
        ax.set(title=title, xlabel=LEVEL, yscale="log")
    axes[0, 0].set_ylabel(ylabel)
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, title="the network predicts"
    )
    return fig


@styled
def sample_rows(rows, labels):
    """Rows of images as ``image_rows`` draws them, without titles and with more room between the rows."""
    fig = image_rows(rows, [""] * len(rows[0]), labels=labels)
    fig.set_size_inches(8, fig.get_figheight() + 0.05 * len(rows))
    fig.get_layout_engine().set(hspace=0.06)
    return fig


@styled
def error_panel(mixture, schedule, x0, eps, t, target, size=0.1):
    """An error of one size in each head, and where it puts x̂_0: what the slider of lesson 08 shows.

    Args:
        mixture: a two-dimensional GaussianMixture, for the background and the exact answer.
        schedule: DiscreteSchedule.
        x0, eps: (2,), the point and the noise that make x_t.
        t: a whole number, 1..T.
        target: "mean", "x0", "eps" or "v", the head that errs.
        size: length of the error, in the head's own unit.
    Returns:
        A Figure with two panels: the exact x̂_0 and those that errors in 24 directions lead to; the amplification of
        every head against t, with t marked.
    Source: ledger PAR-3; ``losses.error_scale``.
    """
    fig, (left, right) = figure(8.4, 3.6, 1, 2, width_ratios=(1, 1.25))
    x_t = q_sample(schedule, x0[None].double(), t, eps[None].double())
    exact = mixture.denoiser(schedule)(x_t, t)
    value = mean_from_x0(schedule, x_t, exact.x0, t - 1, t) if target == "mean" else getattr(exact, target)
    angle = torch.arange(24, dtype=torch.float64) * 2 * math.pi / 24
    wrong = value + size * torch.stack([angle.cos(), angle.sin()], 1)
    seen = Prediction(schedule, x_t.expand(24, 2), t, s=t - 1 if target == "mean" else None, **{target: wrong}).x0
    data = mixture.sample(1500, torch.Generator().manual_seed(0))
    left.scatter(*data.T, s=2, color="#cfcfcf", label="data", rasterized=True)
    left.scatter(*seen.T, s=10, color=COLOUR[target], label="$\\hat x_0$ with the error", zorder=4)
    star = {"marker": "*", "facecolors": "none", "edgecolors": "black"}  # hollow and below: small errors lie inside it
    left.scatter(*exact.x0.T, s=130, label="exact $\\hat x_0$", zorder=3, **star)
    left.scatter(*x_t.T, s=40, marker="x", color=GREY, label="$x_t$", zorder=2)
    reach = max(2.6, 1.2 * seen.abs().max().item())  # large errors shrink the data to a dot, which is the point
    left.set(xlim=(-reach, reach), ylim=(-reach, 1.5 * reach), aspect="equal")
    left.set(xlabel="first coordinate", ylabel="second coordinate")
    left.legend(loc="upper center", ncols=2, fontsize=8.5, columnspacing=0.8, handletextpad=0.2)
    factor = 1 / float(losses.error_scale(schedule, t, target))
    left.set_title(f"{NAMES[target]} head off by {size:g}: $\\hat x_0$ off by {size * factor:.3g}")
    times = torch.arange(1, schedule.T + 1)
    for name in ("mean", "eps", "v", "x0"):
        curve = 1 / losses.error_scale(schedule, times, name)
        right.plot(times, curve, STYLES[name], color=COLOUR[name], lw=3 if name == target else 1.4, label=NAMES[name])
    right.axvline(t, color=GREY, lw=1)
    right.plot([t], [factor], "o", color=COLOUR[target])
    right.set(yscale="log", xlabel="step $t$", title=f"error of $\\hat x_0$ per unit error of the head, t = {t}")
    right.legend(loc="lower right", ncols=2, frameon=True, framealpha=1, edgecolor="none")
    return fig
