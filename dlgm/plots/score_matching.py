"""The figures of lesson 12, on scores: fields, error maps, and Langevin walks.

Scores are drawn as σ s(x), σ the noise level: the size of −ε̂, which is of order one at every level (PAR-4).
A ``denoiser`` is asked for its score as denoiser(x, t).score; an exact one comes from ``GaussianMixture.denoiser``.
"""

import math

import torch
from matplotlib.colors import LogNorm

from ..samplers import AnnealedLangevin, states
from . import BLUE, GREEN, GREY, ORANGE, PINK, SKY, figure, log_ticks, styled

WINDOW = (7.0, 4.0)  # half the width and half the height of the part of the plane that is drawn


def _lattice(nx, ny, window=WINDOW):
    """Points (ny, nx, 2) of a rectangle, float64; the first coordinate runs along a row."""
    x, y = (torch.linspace(-w, w, n, dtype=torch.float64) for w, n in zip(window, (nx, ny), strict=True))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


@torch.no_grad()
def _noise_score(denoiser, x, t):
    """σ s(x) at points (..., 2)."""
    flat = x.reshape(-1, 2).float()
    return (float(denoiser.schedule.noise(t)) * denoiser(flat, t).score).double().reshape(x.shape)


def _reach(sigma):
    """Half the width and half the height of the window of a noise level: it grows once σ is above 2."""
    return tuple(w * max(1.0, sigma / 2) for w in WINDOW)


def _shade(ax, mixture, window):
    """The root of the density as blue shade: the root shows light parts, too."""
    (w, h), p = window, (mixture.log_prob(_lattice(181, 105, window).reshape(-1, 2)) / 2).exp().reshape(105, 181)
    box = {"extent": (-w, w, -h, h), "origin": "lower", "aspect": "equal"}
    ax.imshow(p.numpy(), cmap="Blues", vmin=0, vmax=1.6 * p.max().item(), **box)


def _arrows(ax, denoiser, t, window):
    """σ s as arrows; a vector of length r is drawn with length r/(1 + r), so that directions show everywhere."""
    x = _lattice(19, 11, window)
    s = _noise_score(denoiser, x, t)
    s = s / (1 + s.norm(dim=-1, keepdim=True))
    scale = 1.3 * WINDOW[0] / window[0]
    ax.quiver(*x.unbind(-1), *s.unbind(-1), color=GREY, angles="xy", scale_units="xy", scale=scale, width=0.0042)


def starts(window=WINDOW):
    """Six points spread over a window, the same in every figure, (6, 2)."""
    x = torch.tensor([[-0.85, 0.75], [-0.2, 0.75], [0.75, 0.7], [-0.75, -0.7], [0.2, -0.75], [0.85, -0.65]])
    return x * torch.tensor(window)


def _field(ax, mixture, denoiser, t, moves, step, title):
    """Density, arrows, and six Langevin walks, from a hollow dot to a full one, black if they began right of 0."""
    window = _reach(float(denoiser.schedule.noise(t)))
    _shade(ax, mixture.diffuse(denoiser.schedule, t), window)
    _arrows(ax, denoiser, t, window)
    generator = torch.Generator().manual_seed(0)
    path = states(denoiser, AnnealedLangevin(step), starts(window), [t] * (moves + 1), generator)
    for line in path.unbind(1):
        colour = ORANGE if line[0, 0] < 0 else "black"
        ax.plot(*line.T, color=colour, lw=0.7, alpha=0.7)
        ax.scatter(*line[0], s=16, facecolors="white", edgecolors=colour, zorder=4)
        ax.scatter(*line[-1], s=20, color=colour, zorder=5)
    _window(ax, title, window)


def _window(ax, title, window=WINDOW):
    (w, h) = window
    ax.set(xlim=(-w, w), ylim=(-h, h), title=title, xlabel="first coordinate", aspect="equal")


@styled
def fields(mixture, schedule, times, moves=30, step=0.3):
    """The exact score field of a mixture in the plane at several noise levels, with Langevin walks.

    Args:
        mixture: GaussianMixture in two dimensions.
        times: one panel each.
        moves, step: of walks from six points; h = step · noise². moves may be a sequence, a number for each panel.
    Source: ledger SCORE-1, SCORE-6, SCORE-7.
    """
    fig, axes = figure(8.8, 2.3, 1, len(times), squeeze=False)
    each = [moves] * len(times) if isinstance(moves, int) else moves
    for ax, t, count in zip(axes[0], times, each, strict=True):
        _field(ax, mixture, mixture.denoiser(schedule), t, count, step, f"σ = {float(schedule.noise(t)):.3g}")
    axes[0, 0].set_ylabel("second coordinate")
    return fig


@styled
def projections(table, dims):
    """The spread of sliced losses against the number of projections: predicted lines, measured dots.

    Args:
        table: dict name -> (M (k,), predicted standard deviation (k,), measured (k,), standard error of that (k,)).
        dims: D, for the axis: D exact backward passes need no projection.
    Source: ledger M-10.
    """
    fig, ax = figure(6.6, 3.3)
    marks = {"o": 10, "s": 4, "D": 5, "^": 5}  # the first is large and hollow, so that an equal second shows inside
    for (name, (m, predicted, measured, error)), colour, (mark, size) in zip(
        table.items(), (BLUE, SKY, ORANGE, PINK), marks.items(), strict=False
    ):
        ax.plot(m, predicted, color=colour, lw=1.4)
        hollow = {"mfc": "white", "mew": 1.6} if mark == "o" else {}
        ax.errorbar(m, measured, 2 * error, fmt=mark, ms=size, color=colour, label=name, capsize=2, **hollow)
    ax.set(yscale="log", xlabel="backward passes (directions M per example)")
    ax.set(ylabel="standard deviation over v")
    log_ticks(ax, (1, 4, 16, 64))
    ax.axvline(dims, color=GREY, ls=":", lw=1.4)
    ax.annotate(
        f"D = {dims}: implicit, exact", (dims, 0.97), xycoords=("data", "axes fraction"), xytext=(5, 0),
        textcoords="offset points", rotation=90, va="top", ha="left", color=GREY, fontsize=9,
    )  # fmt: skip
    ax.set_xlim(0.8, 1.5 * dims)
    ax.margins(y=0.1)
    ax.legend(loc="upper right", bbox_to_anchor=(0.9, 1.02), fontsize=9)
    return fig


@styled
def error_maps(mixture, panels, points=None):
    """How far a score is from the exact one, σ ‖s − ∇log q_t‖, over the plane, for several networks or levels.

    That is the length of the error of ε̂ (SCORE-5), which can be compared between levels. It is drawn from 0.01 to 5.
    The black lines are one level of q_t, and together hold 99 % of its mass.

    Args:
        mixture: two-dimensional GaussianMixture, the data.
        panels: dict title -> (denoiser, t); None for the denoiser draws σ ‖∇log q_t‖ itself, and then the third
            entry of the tuple is the schedule.
        points: (N, 2) training data, dots in every panel; or None.
    Source: ledger SCORE-2, SCORE-5.
    """
    columns = 2
    rows = math.ceil(len(panels) / columns)
    fig, axes = figure(8.6, 2.5 * rows + 0.3, rows, columns, sharex=True, sharey=True, squeeze=False)
    x = _lattice(113, 65)
    for ax, (title, (denoiser, t, *given)) in zip(axes.flat, panels.items(), strict=False):
        schedule = given[0] if given else denoiser.schedule
        size = _noise_score(mixture.denoiser(schedule), x, t)
        if denoiser is not None:
            size = _noise_score(denoiser, x, t) - size
        q = mixture.diffuse(schedule, t)
        box = (-WINDOW[0], WINDOW[0], -WINDOW[1], WINDOW[1])
        picture = ax.imshow(
            size.norm(dim=-1).clamp(0.01, 5).numpy(),
            extent=box,
            origin="lower",
            cmap="viridis",
            norm=LogNorm(0.01, 5),
        )
        density = q.log_prob(x.reshape(-1, 2)).reshape(x.shape[:2])
        ax.contour(x[..., 0], x[..., 1], density, levels=[q.mass_level()], colors="white", linewidths=3, linestyles="-")
        ax.contour(
            x[..., 0], x[..., 1], density, levels=[q.mass_level()], colors="black", linewidths=1.4, linestyles="-"
        )
        if points is not None:
            ax.scatter(*points.T, s=1.5, color="white", alpha=0.6, lw=0, rasterized=True)
        _window(ax, title)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    for ax in axes[:, 0]:
        ax.set_ylabel("second coordinate")
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    bar = fig.colorbar(picture, ax=axes, label="length, times σ", extend="both", shrink=0.9)
    bar.set_ticks((0.01, 0.1, 1, 5), labels=("0.01", "0.1", "1", "5"))
    return fig


@styled
def walks(paths, sigmas, density, true_share):
    """The first coordinate of walkers over the moves, and where all of them ended against the exact density.

    Args:
        paths: dict title -> (moves + 1, N); the first 4 walkers are drawn as lines, all of them in the histogram.
        sigmas: dict title -> (moves + 1,), the noise level at each move, drawn as a grey band between −σ and σ.
        density: function of x, exact, where the walk ends.
        true_share: mass left of 0.
    Source: ledger SCORE-7, M-11.
    """
    fig, axes = figure(8.6, 2.4 * len(paths) + 0.1, len(paths), 2, width_ratios=(1.75, 1), squeeze=False)
    x = torch.linspace(-8, 8, 400, dtype=torch.float64)
    for (left, right), (title, path) in zip(axes, paths.items(), strict=True):
        for line, colour in zip(path[:, :4].T, (BLUE, SKY, GREEN, PINK), strict=False):
            left.plot(line, color=colour, lw=0.7)
        sigma, end = sigmas[title], len(path) - 1
        left.fill_between(range(len(sigma)), -sigma, sigma, color="#d9d9d9", lw=0, zorder=0)
        for edge in (sigma, -sigma):
            left.plot(edge, color="black", lw=1.1, ls=(0, (4, 2)))
        left.annotate(
            f"grey:\nσ either way\n(end: {sigma[-1]:.3g})", (end, 0), xytext=(5, 0), textcoords="offset points",
            va="center", fontsize=8.5,
        )  # fmt: skip
        left.set(title=title, ylabel="first coordinate", ylim=(-13, 13), xlim=(-0.02 * end, 1.16 * end))
        bars = {"bins": 64, "range": (-8, 8), "density": True, "orientation": "horizontal"}
        right.hist(path[-1].numpy(), color=SKY, label="walkers", **bars)
        right.plot(density(x), x, color=ORANGE, lw=1.5, label="exact")
        share = (path[-1] < 0).double().mean().item()
        error = math.sqrt(share * (1 - share) / path.shape[1])
        right.set(title=f"below 0: {share:.2f} ± {error:.2f} (exact {true_share:g})", ylim=(-13, 13))
        right.legend(loc="upper right", fontsize=8.5)
    axes[-1, 0].set_xlabel("move")
    axes[-1, 1].set_xlabel("density where they ended")
    return fig


@styled
def score_panel(mixture, schedule, t, nets, which="true", moves=30, step=0.3):
    """The score field of a noise level, true or learned, with Langevin walks; what the controls of lesson 12 show.

    Args:
        mixture: two-dimensional GaussianMixture.
        t: a time of the schedule.
        nets: dict name -> denoiser of that schedule; "true" is always there.
        which: "true" or a name in nets; its field and walks are drawn.
        moves, step: h = step · noise².
    Returns:
        A Figure: the field; and, along the line through the means, σ times the first component of every score.
    Source: ledger SCORE-1, SCORE-6, SCORE-7.
    """
    fig, (left, right) = figure(8.8, 2.9, 1, 2, width_ratios=(1.45, 1))
    known, sigma = {"true": mixture.denoiser(schedule), **nets}, float(schedule.noise(t))
    _field(left, mixture, known[which], t, moves, step, f"{which} score, σ = {sigma:.3g}; {moves} Langevin moves")
    left.set_ylabel("second coordinate")
    x = torch.linspace(-WINDOW[0], WINDOW[0], 281, dtype=torch.float64)
    line = torch.stack([x, torch.zeros_like(x)], 1)
    for (name, denoiser), colour, style in zip(known.items(), (BLUE, ORANGE, GREEN), ("-", "--", ":"), strict=False):
        right.plot(x, _noise_score(denoiser, line, t)[:, 0], style, color=colour, lw=2, label=name)
    density = mixture.diffuse(schedule, t).log_prob(line).exp()
    right.fill_between(x, -5, -5 + 1.5 * density / density.max(), color="#d9d9d9", lw=0, label="density (any unit)")
    right.set(
        ylim=(-5, 5),
        xlim=(-7, 7),
        xlabel="first coordinate",
        title="along the line through both islands",
        ylabel="σ × score",
    )
    right.set_yticks((-2, 0, 2))
    right.legend(loc="upper center", ncols=3, fontsize=8.5, columnspacing=1.0, handlelength=1.6)
    return fig
