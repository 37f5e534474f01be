"""Points in the plane, drawn anew each time."""

import math

import torch

from ..tensors import home, known
from .draws import integers, normal, on_circle, require_positive, uniform

TOYS = ("moons", "swiss_roll", "checkerboard", "eight_gaussians", "grid25", "rings", "pinwheel")


def toy(name, n, generator=None):
    """n independent points of a 2-D density with about zero mean and unit scale.

    Args:
        name: one of TOYS.
            moons: two half circles of radius 1.2 that interlock, noise 0.06.
            swiss_roll: the spiral r = angle / 7.5 for angles from 1.5 π to 4.5 π, noise 0.05.
            checkerboard: uniform on the eight dark squares, of side 0.85, of a 4 x 4 board.
            eight_gaussians: equal weights, at radius 1.5, standard deviation 0.1.
            grid25: 5 x 5 Gaussians at distances of 0.75, standard deviation 0.06.
            rings: radius 0.6, 1.2 or 1.8, noise 0.04.
            pinwheel: five bent arms.
        n: number of points.
        generator: source of randomness.
    Returns:
        (n, 2) float32.
    Raises:
        ValueError: unknown name, or n <= 0.
    """
    known("toy", name, TOYS)
    require_positive(n=n)
    return _TOYS[name](n, generator)


def _moons(n, generator):
    upper = on_circle(math.pi * uniform((n,), generator))
    lower = torch.tensor([1.0, 0.5], device=upper.device) - upper
    which = integers(2, (n, 1), generator)
    centre = torch.tensor([0.5, 0.25], device=upper.device)
    return 1.2 * (torch.where(which == 0, upper, lower) - centre) + 0.06 * normal((n, 2), generator)


def _swiss_roll(n, generator):
    angle = math.pi * (1.5 + 3 * uniform((n,), generator))
    # The mean of angle * (cos, sin) over the three half turns is (2, 2 / (3 pi)), by parts.
    centre = torch.tensor([2.0, 2 / (3 * math.pi)], device=angle.device)
    return (angle[:, None] * on_circle(angle) - centre) / 7.5 + 0.05 * normal((n, 2), generator)


def _checkerboard(n, generator):
    column, row = integers(4, (n,), generator), 2 * integers(2, (n,), generator)
    corner = torch.stack([column, row + column % 2], -1) - 2
    return 0.85 * (corner + uniform((n, 2), generator))


def _eight_gaussians(n, generator):
    angle = integers(8, (n,), generator) * (math.pi / 4)
    return 1.5 * on_circle(angle) + 0.1 * normal((n, 2), generator)


def _grid25(n, generator):
    return 0.75 * (integers(5, (n, 2), generator) - 2) + 0.06 * normal((n, 2), generator)


def _rings(n, generator):
    angle, which = 2 * math.pi * uniform((n,), generator), integers(3, (n,), generator)
    radius = 0.6 * (which + 1) + 0.04 * normal((n,), generator)
    return radius[:, None] * on_circle(angle)


def _pinwheel(n, generator):
    along, across = (normal((n, 2), generator) * torch.tensor([0.3, 0.06], device=home(generator))).unbind(-1)
    along = along + 1
    angle = integers(5, (n,), generator) * (2 * math.pi / 5) + 0.7 * along.exp()
    forward = on_circle(angle)
    left = torch.stack([-forward[:, 1], forward[:, 0]], -1)
    return 1.2 * (along[:, None] * forward + across[:, None] * left)


_TOYS = {
    "moons": _moons,
    "swiss_roll": _swiss_roll,
    "checkerboard": _checkerboard,
    "eight_gaussians": _eight_gaussians,
    "grid25": _grid25,
    "rings": _rings,
    "pinwheel": _pinwheel,
}
