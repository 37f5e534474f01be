"""The figures of lesson 05, on noise, schedules and what is lost first."""

import torch

from ..gaussian import Gaussian
from ..process import q_sample, spectral_snr
from . import BLUE, GREEN, GREY, ORANGE, PINK, draw_graph, draw_image, figure, log_ticks, styled


@styled
def marginal_heatmap(mixture, schedule, paths):
    """The exact density of x_t at every t of a mixture on a line; paths (T + 1, N), coloured by where they began."""
    x = torch.linspace(-3, 3, 301, dtype=torch.float64)
    times = torch.arange(0, schedule.T + 1, max(1, schedule.T // 250))
    density = torch.stack([mixture.diffuse(schedule, int(t)).log_prob(x).exp() for t in times], 1)
    fig, ax = figure(8, 3.4)
    top = density[:, len(times) // 8 :].max().item()
    mesh = ax.pcolormesh(
        times.numpy(),
        x.numpy(),
        density.numpy(),
        cmap="Blues",
        vmin=0,
        vmax=1.4 * top,
        shading="gouraud",
        rasterized=True,
    )
    began = (paths[0][:, None] - mixture.means.flatten()).abs().argmin(1)
    for path, part in zip(paths.T, began, strict=True):
        ax.plot(path, color=("black", ORANGE)[part % 2], lw=0.8, alpha=0.9)
    ax.set(xlabel="step $t$", ylabel="$x_t$", ylim=(-3, 3), xlim=(0, schedule.T))
    fig.colorbar(mesh, ax=ax, label="density of $x_t$", extend="max")
    return fig


@styled
def schedule_curves(schedules):
    """ᾱ, β and log-SNR of several discrete schedules, a dict name -> schedule, against t/T."""
    fig, axes = figure(8.4, 3.0, 1, 3)
    for (name, s), style in zip(schedules.items(), ("-", "--", ":", "-."), strict=False):
        t = torch.arange(1, s.T + 1)
        for ax, y in zip(axes, (s.alpha_bar[1:], s.beta[1:], s.logsnr(t)), strict=True):
            ax.plot(t / s.T, y, style, label=name)
    axes[0].set(title="signal left, ᾱ", xlabel="$t/T$", ylim=(-0.02, 1.02))
    axes[1].set(title="noise added per step, β (log scale)", xlabel="$t/T$", yscale="log")
    axes[2].set(title="log-SNR, log ᾱ/(1−ᾱ) (nats)", xlabel="$t/T$")
    axes[0].legend()
    return fig


@styled
def spectra(power, schedules, times):
    """What is lost first: power spectra against the noise floor, and the step at which each frequency drowns.

    Args:
        power: dict name -> (frequency (F,), power (F,)) of clean data, see ``metrics.radial_power_spectrum``.
        schedules: dict name -> DiscreteSchedule; the first one gives the noise floors of the left panel.
        times: the t at which the floor (1 − ᾱ_t)/ᾱ_t is drawn.
    """
    fig, (left, right) = figure(8.4, 3.2, 1, 2)
    first = next(iter(schedules.values()))
    for (name, (f, p)), style in zip(power.items(), ("-", "--"), strict=False):
        left.plot(f, p, style, marker=".", label=name)
        for (label, s), colour, marker in zip(schedules.items(), (GREEN, PINK), "os", strict=False):
            drowned = (spectral_snr(s, p, torch.arange(1, s.T + 1)) < 1).double().argmax(0) + 1
            right.plot(f, drowned, style, marker=marker, ms=4, color=colour, label=f"{name}, {label}")
    for t in times:
        floor = (1 / first.alpha_bar[t] - 1).item()
        left.axhline(floor, color=GREY, lw=1, ls=":")
        at = dict(xycoords=("axes fraction", "data"), ha="right", va="bottom")
        left.annotate(f"floor at t = {t}", (1, floor), color=GREY, fontsize=9, **at)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="frequency (cycles per picture)",
        ylabel="power per coefficient",
        title=f"data and noise floor, {next(iter(schedules))} schedule",
    )
    right.set(xlabel="frequency (cycles per picture)", ylabel="step $t$", title="first t with SNR below 1")
    for ax in (left, right):
        log_ticks(ax, [1, 2, 5, 10, 20])
        ax.legend()
    return fig


@styled
def kernel_panel(schedule, image, mixture, t, eps):
    """A digit, a mixture and the schedule at one time: what the slider of lesson 05 shows.

    Args:
        schedule: DiscreteSchedule.
        image: (1, H, W) in [-1, 1], and eps, noise of its shape, held fixed so that only t changes.
        mixture: a one-dimensional GaussianMixture.
        t: an integer 0..T.
    Returns:
        A Figure with three panels: x_t of the digit, the exact density of x_t of the mixture, ᾱ with t marked.
    """
    fig, axes = figure(8.4, 3.0, 1, 3, width_ratios=(1, 1.25, 1.25))
    x_t = q_sample(schedule, image[None], t, eps[None])[0]
    draw_image(axes[0], x_t, f"$x_t$ of a digit, t = {t}")
    x = torch.linspace(-3.5, 3.5, 400, dtype=torch.float64)
    axes[1].fill_between(x, mixture.log_prob(x).exp(), color="#d9d9d9", label="data, t = 0")
    axes[1].plot(x, Gaussian(0 * x, 1.0).log_prob(x).exp(), ":", color=GREY, label="N(0, 1)")
    axes[1].plot(x, mixture.diffuse(schedule, t).log_prob(x).exp(), color=BLUE, label=f"$x_t$, t = {t}")
    axes[1].set(title="density of $x_t$ of a mixture", xlabel="$x_t$", ylabel="density", ylim=(0, 1.4))
    axes[1].legend(loc="upper center", ncols=3, fontsize=8, columnspacing=0.8, handlelength=1.2)
    steps = torch.arange(schedule.T + 1)
    axes[2].plot(steps, schedule.alpha_bar, color=BLUE, label="ᾱ: signal²")
    axes[2].plot(steps, 1 - schedule.alpha_bar, "--", color=ORANGE, label="1−ᾱ: noise²")
    axes[2].plot([t, t], [-0.03, 1.03], color=GREY, lw=1)
    snr = "∞" if t == 0 else f"{schedule.logsnr(t):.2f} nats".replace("-", "−")
    axes[2].set(title=f"line: t = {t}, log-SNR {snr}", xlabel="step $t$", ylabel="share of variance")
    axes[2].set_ylim(-0.03, 1.25)
    axes[2].legend(loc="upper right", ncols=2, fontsize=8, columnspacing=0.8, handlelength=1.8)
    return fig


@styled
def chain_graph():
    """The chain x_0 → x_T: q adds noise to the right, p will lead back to the left."""
    fig, ax = figure(8.0, 1.8)
    names = ["*$x_0$", "$x_1$", "$x_2$", "$\\cdots$", "$x_T$"]
    plain = [name.removeprefix("*") for name in names]
    right = [(a, b, BLUE, -0.3, "-", "") for a, b in zip(plain, plain[1:], strict=False)]
    left = [(b, a, ORANGE, -0.3, "--", "") for a, b in zip(plain, plain[1:], strict=False)]
    draw_graph(ax, {name: (1.6 * i, 0) for i, name in enumerate(names)}, right + left)
    ax.text(0.8, 0.5, r"$q(x_t\mid x_{t-1})$, adds noise, fixed", color=BLUE, fontsize=10)
    ax.text(
        0.8, -0.72, r"$p_\theta(x_{t-1}\mid x_t)$, removes it, learned from lesson 06 on", color=ORANGE, fontsize=10
    )
    ax.set(xlim=(-0.5, 6.9), ylim=(-0.8, 0.8))
    return fig
