"""The figures of lesson 06."""

import math

import torch

from ..gaussian import Gaussian, product
from ..process import posterior_coefficients, q_marginal
from ..schedules import DiscreteSchedule
from . import BLUE, GREEN, GREY, ORANGE, SKY, figure, styled

LIGHT = "#d9d9d9"


def _density(mean, var, x):
    """N(x; mean, var) at each of the points x (n,), for numbers mean and var."""
    return Gaussian(torch.full_like(x, mean), var).log_prob(x).exp()


@styled
def reverse_steps(mixture, noise, betas, x_t):
    """The exact q(x_{t−1} | x_t) of a mixture for steps of several sizes, against the Gaussian of equal moments.

    Args:
        mixture: a one-dimensional GaussianMixture of numbers.
        noise: 1 − ᾱ_{t−1}, what had been added before the step; betas: the sizes of the step.
        x_t: the observed state, a number.
    Returns:
        A Figure with one panel for each β, as wide as its density; the total variation stands in the title.
    Source: ledger REV-2, REV-3, TAKE-1.
    """
    fig, ((*axes,),) = figure(8.4, 2.9, 1, len(betas), squeeze=False)
    for ax, beta in zip(axes, betas, strict=True):
        schedule = DiscreteSchedule([noise, beta])
        reverse = mixture.reverse(schedule, torch.tensor([x_t], dtype=torch.float64), 1, 2)
        mean, var = (float(v) for v in reverse.moments())
        x = mean + 4 * math.sqrt(var) * torch.linspace(-1, 1, 601, dtype=torch.float64)
        ax.fill_between(x, mixture.diffuse(schedule, 1).log_prob(x).exp(), color=LIGHT, label="$q(x_{t-1})$")
        ax.plot(x, reverse.log_prob(x).exp(), color=BLUE, label="exact $q(x_{t-1}|x_t)$")
        ax.plot(x, _density(mean, var, x), "--", color=ORANGE, label="Gaussian, same moments")
        ax.set(xlabel="$x_{t-1}$", title=f"$\\beta_t$ = {beta:g}, TV = {reverse.non_gaussianity():.2g}")
        ax.set_ylim(0, None)
    axes[0].set_ylabel("density")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


@styled
def gaussianity(betas, measured, predicted):
    """Total variation of the reverse step from a Gaussian against β, on logarithmic axes, with the small-β law.

    Args:
        betas: (n,) step sizes.
        measured: dict name -> (n,) total variations; predicted: dict name -> (n,), the law of the same name, or None;
            drawn as far as it is a total variation, up to 1.
    Source: ledger REV-3, M-07, E-57.
    """
    fig, ax = figure(6.6, 3.4)
    for (name, values), colour, marker in zip(measured.items(), (BLUE, GREEN, ORANGE), "os^", strict=False):
        ax.plot(betas, values, marker=marker, ls="", ms=5, color=colour, label=name)
        if predicted.get(name) is not None:
            law = torch.as_tensor(predicted[name], dtype=torch.float64)
            possible = law <= 1
            ax.plot(torch.as_tensor(betas)[possible], law[possible], color=colour, lw=1)
    ax.plot([], [], color=GREY, lw=1, label="small-β law")
    ax.set(xscale="log", yscale="log", xlabel="noise variance of the step, $\\beta_t$", ylabel="total variation")
    ax.set_ylim(min(v for values in measured.values() for v in values) / 2, 1)
    ax.legend(loc="lower right")
    return fig


def _bells(ax, schedule, x0, x_t, t, head=1.45):
    """Draw prior, likelihood and posterior of x_{t−1}; the axis is ``head`` times as high as the highest bell."""
    alpha, beta = schedule.alpha[t].item(), schedule.beta[t].item()
    one = torch.ones(1, dtype=torch.float64)
    likelihood = Gaussian(one * x_t / math.sqrt(alpha), beta / alpha)
    prior = q_marginal(schedule, one * x0, t - 1)
    posterior = product(prior, likelihood)[0] if t > 1 else prior
    x = torch.linspace(-4, 4, 801, dtype=torch.float64)
    names = ("prior $q(x_{t-1}|x_0)$", "likelihood $q(x_t|x_{t-1})$, area 1", "posterior $q(x_{t-1}|x_t,x_0)$")
    top = 0.0
    for law, name, colour, style in zip(
        (prior, likelihood, posterior), names, (GREEN, SKY, ORANGE), ("--", "-.", "-"), strict=True
    ):
        mean, var = law.mean.item(), law.var.item()
        if var > 0:
            y = _density(mean, var, x)
            ax.plot(x, y, style, color=colour, label=name)
            top = max(top, y.max().item())
        else:
            ax.axvline(mean, ymax=1 / head, ls=style, color=colour, label=name)  # below the legend
    ax.set(xlabel="$x_{t-1}$", ylabel="density", xlim=(-4, 4), ylim=(0, head * top))


@styled
def posterior_bells(schedule, x0, x_t, times):
    """The left panel of ``posterior_panel`` for several t, side by side.

    Args:
        schedule: DiscreteSchedule of a few steps.
        x0, x_t: numbers; times: the t, each in 1..T.
    Source: ledger POST-1, POST-2, POST-3, POST-4.
    """
    fig, ((*axes,),) = figure(8.4, 2.8, 1, len(times), squeeze=False)
    for ax, t in zip(axes, times, strict=True):
        _bells(ax, schedule, x0, x_t, t, head=1.1)
        ax.set(title=f"t = {t}", ylabel="density" if ax is axes[0] else "")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


@styled
def posterior_panel(schedule, x0, x_t, t):
    """Prior, likelihood and posterior of x_{t−1} as three Gaussians, and the coefficients over all t.

    The prior is q(x_{t−1} | x_0), the likelihood q(x_t | x_{t−1}) as a function of x_{t−1}, drawn with area 1; the
    posterior is their product, normalised (POST-4). What lesson 06's sliders move.

    Args:
        schedule: DiscreteSchedule of a few steps.
        x0, x_t: numbers; t: 1..T. At t = 1 prior and posterior are points at x_0, drawn as lines.
    Source: ledger POST-1, POST-2, POST-3, POST-4.
    """
    fig, (left, right) = figure(8.4, 3.3, 1, 2, width_ratios=(1.5, 1))
    c_0, c_t, v = posterior_coefficients(schedule, t - 1, t)
    _bells(left, schedule, x0, x_t, t)
    left.set_title(f"t = {t}, $x_0$ = {x0:g}, $x_t$ = {x_t:g}".replace("-", "−"))
    left.legend(loc="upper left", fontsize=8.5)
    steps = range(1, schedule.T + 1)
    table = [posterior_coefficients(schedule, k - 1, k) for k in steps]
    ratio = (schedule.posterior_variance / schedule.beta)[1:]
    curves = ([c for c, _, _ in table], [c for _, c, _ in table], ratio.tolist())
    labels = (f"$c_0$ = {c_0:.3f}", f"$c_t$ = {c_t:.3f}", f"$\\tilde\\beta_t/\\beta_t$ = {ratio[t - 1]:.3f}")
    for curve, name, colour, style in zip(curves, labels, (GREEN, SKY, ORANGE), ("o--", "s-.", "^-"), strict=True):
        right.plot(steps, curve, style, color=colour, ms=4, lw=1.4, label=name)
    right.plot([t, t], [-0.03, 1.03], color=GREY, lw=1)
    right.set(xlabel="step $t$", ylabel="coefficient", ylim=(-0.05, 1.7), yticks=[0, 0.5, 1])
    right.set_title(f"$\\tilde\\mu_t$ = {c_0 * x0 + c_t * x_t:.3f}, $\\tilde\\beta_t$ = {v:.4f}".replace("-", "−"))
    right.legend(loc="upper right", ncols=1, fontsize=8.5)
    return fig


@styled
def mean_of_posteriors(posteriors, reverse, best, means, kls):
    """Many posteriors average to the exact reverse step; the averaged KL against the mean of one Gaussian model.

    Args:
        posteriors: Gaussian (n,), q(x_{t−1} | x_t, x_0) for n equally likely x_0.
        reverse: the exact q(x_{t−1} | x_t), a one-dimensional GaussianMixture.
        best: (mean, variance) of the Gaussian to draw beside it.
        means, kls: (m,), the averaged KL in nats as a function of the model's mean.
    Source: ledger REV-6.
    """
    fig, (left, right) = figure(8.4, 3.2, 1, 2, width_ratios=(1.4, 1))
    centre, var = (float(v) for v in reverse.moments())
    x = centre + 4 * math.sqrt(var) * torch.linspace(-1, 1, 601, dtype=torch.float64)
    n = len(posteriors.mean)
    for k, (mean, v) in enumerate(zip(posteriors.mean.tolist(), posteriors.var.expand(n).tolist(), strict=True)):
        label = "$q(x_{t-1}|x_t,x_0)$, scaled" if k == 0 else None
        left.plot(x, 2 * _density(mean, v, x) / n, color=SKY, lw=0.8, label=label)
    left.plot(x, reverse.log_prob(x).exp(), color=BLUE, label="exact $q(x_{t-1}|x_t)$")
    left.plot(x, _density(*best, x), "--", color=ORANGE, label="best Gaussian")
    left.set(xlabel="$x_{t-1}$", ylabel="density", ylim=(0, 1.5 * reverse.log_prob(x).exp().max().item()))
    left.legend(loc="upper left", fontsize=8.5)
    right.plot(means, kls, color=ORANGE, label="averaged KL")
    right.plot([centre, centre], [0, max(kls)], color=BLUE, ls=":", label="mean of $q(x_{t-1}|x_t)$")
    low, high = min(kls), max(kls)
    right.set(xlabel="mean of the model", ylabel="nats", ylim=(low - 0.1 * (high - low), high + 0.3 * (high - low)))
    right.legend(loc="upper center", fontsize=8.5)
    return fig


@styled
def reverse_variances(schedule, times, variances, exact):
    """Exact reverse variance over β_t, for Gaussian data of many variances; β̃_t/β_t is the limit on the left.

    Args:
        schedule: DiscreteSchedule; times: the t of the curves.
        variances: (n,) of the data; exact: function (t, data variance) -> variance of q(x_{t−1} | x_t).
    Source: ledger POST-6, SCHED-2.
    """
    fig, ax = figure(6.6, 3.3)
    variances = variances.tolist()
    for t, colour, style in zip(times, (BLUE, GREEN, ORANGE), ("-", "--", "-."), strict=False):
        beta = schedule.beta[t].item()
        ax.plot(variances, [exact(t, v) / beta for v in variances], style, color=colour, label=f"t = {t}")
        limit = schedule.posterior_variance[t].item() / beta
        ax.plot([variances[0]], [limit], "o", color=colour, clip_on=False)
    ax.axhline(1, color=GREY, lw=1, ls=":")
    ax.plot([1], [1], "k*", ms=9)
    ax.annotate("N(0, 1) data", (1, 1), (0.9, 1.03), ha="right", color="#222222", fontsize=9.5)
    ax.set(xscale="log", xlabel="variance of the data", ylabel="reverse variance / $\\beta_t$", ylim=(0, 2.3))
    ax.set_xlim(variances[0], variances[-1])
    ax.legend(loc="lower right", title="dots: $\\tilde\\beta_t/\\beta_t$")
    return fig
