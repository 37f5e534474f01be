"""What several test files share: closed forms in 50-digit arithmetic, the lines of a figure, a seeded module."""

import mpmath as mp
import numpy as np
import torch

mp.mp.dps = 50


def exact_alpha_bar(betas):
    """ᾱ_0..ᾱ_T in 50 digits from the float64 values of β_1..β_T."""
    out = [mp.mpf(1)]
    for b in betas:
        out.append(out[-1] * (1 - mp.mpf(float(b))))
    return out


def relative_error(got, exact):
    """Largest |got − exact| / |exact| over two equally long lists; 0/0 counts as 0."""
    worst = mp.mpf(0)
    for g, e in zip(got, exact, strict=True):
        g, e = mp.mpf(float(g)), mp.mpf(e)
        worst = max(worst, abs(g) if e == 0 else abs(g - e) / abs(e))
    return float(worst)


def lines(ax):
    """Label -> (x, y) of the lines drawn in a matplotlib Axes."""
    return {line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in ax.get_lines()}


def seeded(make, gain=2.0):
    """A float64 module with seeded weights, larger than PyTorch's by ``gain``, so that nothing is nearly linear."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = make().double()
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(gain)
    return module
