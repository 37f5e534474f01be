"""The figures of lesson 03."""

import math

import torch

from . import BLUE, COLOURS, GREEN, ORANGE, PINK, SKY, draw_image, figure, log_ticks, styled


def as_image(pixels):
    """Probabilities or binary pixels (C, H, W) in [0, 1] as an image in [-1, 1]."""
    return 2 * pixels - 1


def ellipse(mean, cov, share=0.95, points=181):
    """The border of the ellipse that holds this share of N(mean, cov) in two dimensions: (points, 2)."""
    angle = torch.linspace(0, 2 * math.pi, points, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], 1) * math.sqrt(-2 * math.log(1 - share))
    return mean + circle @ torch.linalg.cholesky(cov).mT


@styled
def linear_training(x, models, steps, elbo, evidence, best):
    """A linear VAE on its way to the maximum-likelihood model, in two dimensions.

    Args:
        x: (N, 2), the data.
        models: dict name -> LinearGaussian; the last is the maximum-likelihood model and drawn dashed.
        steps, elbo, evidence: the steps at which the bound and log p(x) were measured; mean nats per example.
        best: the mean log-likelihood of the maximum-likelihood model.
    """
    fig, (left, right) = figure(8.4, 3.3, 1, 2)
    left.scatter(*x[:400].T, s=5, color="#bbbbbb")
    for (name, model), colour in zip(models.items(), (PINK, SKY, BLUE, ORANGE), strict=True):
        style = "--" if colour == ORANGE else "-"
        left.plot(*ellipse(model.b, model.cov).T, style, color=colour, label=name)
    left.set(xlabel="$x_1$", ylabel="$x_2$", title="data and 95 % of the model's mass")
    left.set_ylim(top=5.5)
    left.legend(fontsize=8.5, loc="upper left", ncols=2)
    right.plot(steps, evidence, color=BLUE, label="log p(x) of the model")
    right.plot(steps, elbo, color=GREEN, label="its ELBO")
    right.axhline(best, color=ORANGE, ls="--", label="maximum likelihood")
    right.set(xlabel="step", ylabel="nats per example", title="the bound and the evidence", xlim=(0, steps[-1]))
    right.legend(loc="lower right")
    return fig


@styled
def gradient_variance(dims, variances):
    """Variance of one-draw gradient estimators against the dimension; variances: dict name -> list, as dims."""
    fig, ax = figure(6.4, 3.2)
    for (name, values), marker in zip(variances.items(), "os^", strict=False):
        ax.plot(dims, values, marker=marker, label=name)
    ax.set(yscale="log", xlabel="dimension $d$ of z", ylabel="variance of one draw")
    log_ticks(ax, dims)
    ax.legend(loc="upper left")
    return fig


@styled
def training_curve(loss, evaluations, long_run=None):
    """−loss at each step and the held-out bound at some; a line for a longer run's bound."""
    fig, ax = figure(7.2, 3.0)
    ax.plot(range(1, len(loss) + 1), [-v for v in loss], color=SKY, lw=0.9, label="a training batch")
    ax.plot(*zip(*evaluations, strict=True), "o-", color=BLUE, label="1,000 test digits")
    if long_run is not None:
        ax.axhline(long_run, color=ORANGE, ls="--", label="12,000 steps, stored")
    ax.set(xlabel="step", ylabel="ELBO (nats per digit)", ylim=(-250, -60), xlim=(0, len(loss)))
    ax.legend(loc="lower right")
    return fig


def _draw_codes(ax, codes, labels):
    for k, colour in enumerate((*COLOURS[:6], "#8c564b", "#1f9e9e", "#a5a61c", "#7f3fbf")):
        ax.scatter(*codes[labels == k].T, s=20, marker=f"${k}$", color=colour, linewidths=0.3, alpha=0.8)
    ax.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal", xlim=(-4.2, 4.2), ylim=(-4.2, 4.2))


@styled
def latent_plane(codes, labels, decoded, extent):
    """A two-dimensional latent space from both sides.

    Args:
        codes: (N, 2), the means of q(z | x), with the class of each.
        decoded: (n, n, H, W) in [0, 1], what the decoder makes of a grid of z on [-extent, extent]²; the first axis
            is z_2 from high to low, the second z_1 from low to high.
    """
    fig, (left, right) = figure(8.4, 4.5, 1, 2)
    _draw_codes(left, codes, labels)
    limits = (-extent, extent)
    left.set(title=f"codes of {len(codes):,} digits", xlim=limits, ylim=limits)
    n, _, H, W = decoded.shape
    sheet = decoded.permute(0, 2, 1, 3).reshape(n * H, n * W)
    right.imshow(sheet.numpy(), cmap="gray", extent=(-extent, extent, -extent, extent), vmin=0, vmax=1)
    right.set(xlabel="$z_1$", ylabel="$z_2$", title="what the decoder makes of a grid of z")
    return fig


@styled
def plane_panel(model, codes, labels, z1, z2):
    """One point of the plane and the digit that is decoded from it: what the sliders of lesson 03 show.

    Args:
        model: a VAE with two latent coordinates and binary pixels.
        codes: (N, 2), the means of q(z | x) of some digits, with the class of each.
        z1, z2: the point.
    Returns:
        A Figure with three panels: the codes with the point, P(pixel = 1) there, one binary image drawn from it.
    """
    with torch.no_grad():
        law = model.decode(torch.tensor([[float(z1), float(z2)]]))
    fig, axes = figure(8.4, 3.2, 1, 3, width_ratios=(1.25, 1, 1))
    _draw_codes(axes[0], codes, labels)
    axes[0].plot([z1], [z2], "+", color="black", ms=16, mew=2.5, zorder=6)
    axes[0].set(title=f"z = ({z1:.1f}, {z2:.1f})".replace("-", "−"))
    draw_image(axes[1], as_image(law.mean[0]), "P(pixel = 1)")
    draw_image(axes[2], as_image(law.sample(torch.Generator().manual_seed(0))[0]), "one draw of all pixels")
    return fig


@styled
def information_curve(sizes, information):
    """Estimated I_q(x; z) against the number N of examples, with its cap log N; information: dict name -> list."""
    fig, ax = figure(6.4, 3.2)
    ax.plot(sizes, [math.log(n) for n in sizes], "--", color="black", lw=1.2, zorder=5, label="the cap, log N")
    for (name, values), marker in zip(information.items(), "os", strict=False):
        ax.plot(sizes, values, marker=marker, label=name)
    ax.set(xlabel="number N of digits in the aggregate", ylabel="information (nats)")
    log_ticks(ax, sizes, "{:,}")
    ax.legend(loc="upper left")
    return fig


@styled
def collapse(variances, learned, eigenvalues):
    """Squared column lengths of a trained linear decoder against its fixed variance; lines max(λ − σ², 0).

    Args:
        variances: the σ², a list; learned: the squared lengths, (len(variances), d), largest first.
        eigenvalues: (d,) of the data's covariance, largest first.
    """
    fig, ax = figure(6.8, 3.3)
    grid = torch.linspace(0, 1.05 * max(variances), 200)
    looks = zip(eigenvalues.tolist(), (BLUE, ORANGE, GREEN, PINK), "os^D", strict=True)
    for k, (value, colour, marker) in enumerate(looks):
        ax.plot(grid, (value - grid).clamp(min=0), color=colour, lw=1.5)
        ax.plot(variances, learned[:, k], marker, color=colour, ms=6, label=f"λ = {value:.2f}")
    ax.set(xlabel="fixed decoder variance σ²", ylabel=r"$\Vert w_d\Vert^2$ of coordinate $d$", ylim=(-0.1, None))
    ax.legend(title="line: exact, marker: trained", loc="upper right", ncols=2)
    return fig


@styled
def coordinate_kl(kl):
    """KL of each latent coordinate, sorted, for several trainings; kl: dict name -> (d,)."""
    fig, ax = figure(7.2, 3.2)
    for (name, values), marker in zip(kl.items(), "os^vD", strict=False):
        ordered = values.sort(descending=True).values.clamp(min=1e-4)
        ax.plot(range(1, len(values) + 1), ordered, marker=marker, ms=5, lw=1.5, label=name)
    ax.set(yscale="log", xlabel="latent coordinate, sorted", ylabel="mean KL (nats, log scale)")
    ax.set_xticks(range(1, len(values) + 1))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig
