"""Floor 1': the figures of lesson 04, in the house style of ``plots``."""

import torch

from .gaussian import Gaussian
from .hvae import diffusion
from .plots import BLUE, GREEN, GREY, ORANGE, PINK, SKY, figure
from .schedules import cosine_beta


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
    ax.set(xscale="log", xlabel="variance of $q(z_2|z_1)$ / exact variance", ylabel="nats")
    ax.set_xticks(scale.tolist(), [f"{v:g}" for v in scale.tolist()])
    ax.minorticks_off()
    ax.legend(loc="lower center")
    return fig


def gap_against_length(lengths, gaps):
    """log p(x) − ELBO against the number of levels; gaps: dict name -> list of Estimates, one for each length."""
    fig, ax = figure(6.6, 3.2)
    for (name, estimates), colour, marker in zip(gaps.items(), (BLUE, ORANGE, GREEN), "os^", strict=False):
        values, errors = [e.value.item() for e in estimates], [2 * e.error.item() for e in estimates]
        ax.errorbar(lengths, values, yerr=errors, marker=marker, color=colour, ms=5, lw=1.6, label=name)
    ax.set(xscale="log", yscale="log", xlabel="number of levels $T$", ylabel="gap log p(x) − ELBO (nats)")
    ax.set_xticks(lengths, [str(T) for T in lengths])
    ax.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
    ax.minorticks_off()
    ax.legend(loc="lower left")
    return fig


def step_gaps(world, schedule, variance, n=250, seed=0):
    """What each level of a diffusion hierarchy loses, E KL(q(x_{t−1} | x_t) ‖ p(x_{t−1} | x_t)), and the bound's terms.

    The true reverse kernel is known for a mixture: q(x_{t−1} | x_t) = q(x_t | x_{t−1}) q(x_{t−1}) / q(x_t), each
    factor in closed form. With the KL at the top, KL(q(x_T) ‖ N(0, I)), the losses sum to log p(x) − ELBO on average.

    Args:
        world: a GaussianMixture; schedule: DiscreteSchedule; variance: see ``hvae.diffusion``.
    Returns:
        The terms (n, T + 1): reconstruction first, then the levels; and the losses (n, T + 1): steps 1 to T, then
        the top, each with a control variate. One path for each of n draws of the data; nats.
    Source: ledger HVAE-2, VDM-1, VDM-2.
    """
    generator = torch.Generator().manual_seed(seed)
    x = world.sample(n, generator).double()
    model = diffusion(world.denoiser(schedule), world.shape, variance)
    path = [x, *model.q(x).sample(generator)]
    up = [q(below).log_prob(above) for q, below, above in zip(model.infer, path, path[1:], strict=False)]
    down = [p(above).log_prob(below) for p, below, above in zip(model.generate, path, path[1:], strict=False)]
    down.append(Gaussian(torch.zeros_like(x), 1.0).log_prob(path[-1]))
    marginal = [world.diffuse(schedule, t).log_prob(level) for t, level in enumerate(path)]
    terms = [down[0], *(p - q for p, q in zip(down[1:], up, strict=True))]
    losses = [u + a - b - p for u, a, b, p in zip(up, marginal, marginal[1:], down, strict=False)]
    return torch.stack(terms, 1), _quieter(torch.stack([*losses, marginal[-1] - down[-1]], 1))


def _quieter(f):
    """f − c (e^{−f} − 1) for each column, f = log q/p drawn from q: the same mean, since E_q[p/q] = 1, less noise.

    c is the regression coefficient of f on e^{−f}, estimated from the column itself.
    """
    ratio = (-f).exp()
    centred = ratio - ratio.mean(0)
    c = (centred * f).sum(0) / centred.square().sum(0).clamp(min=1e-300)
    return f - c * (ratio - 1)


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
    left.set(xlabel="level $t$ (green, 0: the reconstruction)", ylabel="nats")
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
