"""How exact the package is, in numbers: python tests/benchmarks/accuracy.py

The tests assert bounds; this prints what is behind them. Relative errors against 50-digit arithmetic at every t = 1..T,
T = 1000, unless said otherwise.
"""

import itertools
import math
import sys
from pathlib import Path

import mpmath as mp
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from helpers import exact_alpha_bar, relative_error  # noqa: E402

from dlgm import parameterization as P  # noqa: E402
from dlgm.oracles import GaussianMixture  # noqa: E402
from dlgm.process import posterior_coefficients, q_sample, q_transition  # noqa: E402
from dlgm.samplers import DDIM, sample  # noqa: E402
from dlgm.schedules import VPCosine, cosine_beta, linear_beta, time_grid  # noqa: E402


def tables(schedule):
    """Worst relative errors of schedule, transition and posterior."""
    a, t = exact_alpha_bar(schedule.beta[1:]), torch.arange(1, 1001)
    beta = [mp.mpf(float(b)) for b in schedule.beta]
    yield "signal", relative_error(schedule.signal(t), [mp.sqrt(v) for v in a[1:]])
    yield "noise", relative_error(schedule.noise(t), [mp.sqrt(1 - v) for v in a[1:]])
    yield "SNR", relative_error(schedule.logsnr(t).exp(), [v / (1 - v) for v in a[1:]])
    step = q_transition(schedule, torch.ones(1000, dtype=torch.float64), t - 1, t)
    yield "transition variance", relative_error(step.var, beta[1:])
    far = q_transition(schedule, torch.ones(1000, dtype=torch.float64), t // 2, t)
    yield "transition t/2 -> t", relative_error(far.var, [1 - a[i] / a[i // 2] for i in range(1, 1001)])
    exact = [
        (mp.sqrt(a[i - 1]) * beta[i], mp.sqrt(1 - beta[i]) * (1 - a[i - 1]), (1 - a[i - 1]) * beta[i], 1 - a[i])
        for i in range(1, 1001)
    ]
    for name, got, k in zip(
        ("c_0", "c_t", "variance"), posterior_coefficients(schedule, t - 1, t), range(3), strict=True
    ):
        yield f"posterior {name}", relative_error(got, [row[k] / row[3] for row in exact])


def conversions(schedule, generator):
    """Worst relative error of each arrow and of the way back, over 50 dimensions at every t."""
    t = torch.arange(1, 1001)
    x0, eps = (torch.randn(1000, 50, generator=generator, dtype=torch.float64) for _ in range(2))
    x_t = q_sample(schedule, x0, t, eps)
    signal, noise = schedule.signal(t)[:, None], schedule.noise(t)[:, None]
    values = {"x0": x0, "eps": eps, "v": signal * eps - noise * x0, "score": -eps / noise}
    for source, target in itertools.permutations(values, 2):
        there = getattr(P, f"{target}_from_{source}")(schedule, x_t, values[source], t)
        back = getattr(P, f"{source}_from_{target}")(schedule, x_t, there, t)
        errors = [
            ((got - values[k]).abs().amax(1) / values[k].abs().amax(1)).max().item()
            for got, k in ((there, target), (back, source))
        ]
        yield f"{source} -> {target} -> {source}", max(errors)


def far_from_every_mode():
    """The mixture's score 50 standard deviations out against autograd of an independent log-density."""
    g = GaussianMixture([0.2, 0.8], [[-2.0, 0.5], [1.0, 1.0]], [[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.6]]])
    angle = torch.arange(0, 2 * math.pi, 0.1, dtype=torch.float64)
    x = (50 * torch.stack([angle.cos(), angle.sin()], 1)).requires_grad_()
    mix = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(g.weights), torch.distributions.MultivariateNormal(g.means, g.covs)
    )
    score = torch.autograd.grad(mix.log_prob(x).sum(), x)[0]
    return ((g.score(x) - score).norm(dim=1) / score.norm(dim=1)).max().item()


def ddim_slopes():
    """Order of convergence of DDIM to the exact flow of Gaussian data N(1, 0.25)."""
    schedule, g, start = VPCosine(), GaussianMixture([1.0], [1.0], [0.25]), 0.98
    x_T = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64)
    std = math.sqrt(schedule.signal(start) ** 2 * 0.25 + schedule.noise(start) ** 2)
    exact, errors = 1 + 0.5 * (x_T - schedule.signal(start)) / std, []
    for steps in (40, 80, 160, 320):
        x0 = sample(g.denoiser(schedule), DDIM(), x_T, time_grid(schedule, steps, start=start))
        errors.append((x0 - exact).abs().max().item())
    return errors, [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def main():
    generator = torch.Generator().manual_seed(0)
    for name, schedule in (("linear", linear_beta()), ("cosine", cosine_beta())):
        for what, error in itertools.chain(tables(schedule), conversions(schedule, generator)):
            print(f"{name}  {what:24s} {error:.1e}")
    print(f"mixture score at 50 standard deviations, against autograd: {far_from_every_mode():.1e}")
    errors, slopes = ddim_slopes()
    print(
        "DDIM errors at 40, 80, 160, 320 steps:",
        *(f"{e:.2e}" for e in errors),
        " slopes:",
        *(f"{s:.3f}" for s in slopes),
    )


if __name__ == "__main__":
    main()
