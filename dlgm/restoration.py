"""Pictures mended by a denoiser that was trained for nothing of the kind: y = A x_0 + noise is known, x_0 asked for.

A is linear (``Linear``): a mask, blur, fewer pixels, grey for colour. Three ways to make a walk heed y: put what is
known into each state (``Replacement``, ``RePaint``), push the score by the gradient of log p(y | x_t)
(``Reconstruction``), or correct x̂_0 where A sees it (``NullSpace``). None draws from p(x_0 | y) in general; in a
Gaussian world what each draws from is known exactly (``oracles.affine``), so its bias is a number.

``edit`` walks from the middle, ``outpaint`` goes on beside what is there, ``Views`` and ``Bands`` ask for a picture
that is several at once.
"""

from dataclasses import dataclass, replace

import torch

from .denoiser import Prediction, Wrapper
from .process import q_sample, q_transition
from .samplers import DDIM, sample
from .tensors import expand, randn_like


# ---- measurements ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Linear:
    """A linear map A of examples, its transpose, and the systems that restoration solves with it.

    Args:
        apply: function (B, *shape) -> (B, ...), linear, each example by itself.
        shape: of one example.
        gram: the number c if A Aᵀ is c times a projection onto what A can give; None if it is no such thing.
    Source: ledger APP-3, M-38.
    """

    apply: object
    shape: tuple
    gram: float | None = None

    def __call__(self, x):
        """A x: (B, *shape) -> (B, ...)."""
        if x.shape[1:] != tuple(self.shape):
            raise ValueError(f"expected examples of shape {tuple(self.shape)}, got {tuple(x.shape[1:])}")
        return self.apply(x)

    def transpose(self, y):
        """Aᵀ y: the map with ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ for all x, read off A by automatic differentiation."""
        x = torch.zeros(len(y), *self.shape, dtype=y.dtype, device=y.device)
        with torch.enable_grad():
            return torch.func.vjp(self.apply, x)[1](y)[0]

    def solve(self, v, spread, noise_var, steps=200):
        """(spread A Aᵀ + noise_var I)⁻¹ v by conjugate gradients, for v among what A can give: v's shape.

        Where A Aᵀ is a multiple of a projection this is a division.

        Args:
            spread, noise_var: numbers, not negative and not both 0.
        Raises:
            ValueError: both are 0.
        """
        if not spread + noise_var > 0:
            raise ValueError(f"expected spread + noise_var > 0, got {spread} and {noise_var}: p(y | x) has no width")
        if self.gram is not None or spread == 0:
            return v / (spread * (self.gram or 0.0) + noise_var)

        def dot(a, b):
            return expand((a * b).flatten(1).sum(1), a)

        out, rest = torch.zeros_like(v), v
        way, size = rest, dot(rest, rest)
        goal = size.amax() * torch.finfo(v.dtype).eps ** 2
        for _ in range(steps):
            if size.amax() <= goal:
                break
            image = spread * self.apply(self.transpose(way)) + noise_var * way
            step = size / dot(way, image).clamp(min=torch.finfo(v.dtype).tiny)
            out, rest = out + step * way, rest - step * image
            size, before = dot(rest, rest), size
            way = rest + size / before.clamp(min=torch.finfo(v.dtype).tiny) * way
        return out

    def inverse(self, y):
        """A⁺ y, the shortest x with A x = y, for y among what A can give: (B, *shape)."""
        return self.transpose(self.solve(y, 1.0, 0.0))


def mask(known):
    """Keeps the entries where ``known`` (*shape, true or false) holds, 0 elsewhere."""
    known = torch.as_tensor(known).bool()
    return Linear(lambda x: torch.where(known.to(x.device), x, torch.zeros_like(x)), tuple(known.shape), 1.0)


def matrix(A):
    """x (B, D) -> x Aᵀ (B, d) for a matrix A (d, D)."""
    A = torch.as_tensor(A)
    return Linear(lambda x: x @ A.to(x).T, (A.shape[1],))


def downsample(shape, factor):
    """Means of squares of factor × factor pixels; shape (C, H, W)."""
    if any(n % factor for n in shape[1:]):
        raise ValueError(f"expected sides that {factor} divides, got {tuple(shape)}")
    return Linear(lambda x: torch.nn.functional.avg_pool2d(x, factor), tuple(shape), factor**-2)


def grey(shape):
    """The mean of the channels; shape (C, H, W)."""
    return Linear(lambda x: x.mean(1, keepdim=True), tuple(shape), 1 / shape[0])


def box_blur(shape, width):
    """Each pixel the mean of width × width around it, round the edges to the other side; shape (C, H, W), width odd."""
    if width % 2 == 0:
        raise ValueError(f"expected an odd width, got {width}")
    half = width // 2

    def blur(x):
        for side in (2, 3):
            x = sum(x.roll(k, side) for k in range(-half, half + 1)) / width
        return x

    return Linear(blur, tuple(shape))


# ---- what is known is put into the state ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Replacement:
    """A step of any sampler, then the known entries of x_s are drawn anew, signal_s y + noise_s z.

    The known entries have the law that they should have at each level, but the step never asks what the unknown ones
    owe to them beyond x_t: the walk draws neither p(x_0 | y) nor, however small its steps, anything near it.

    Args:
        predictor: any sampler.
        known, y: broadcast over the state; known is true where y is known, and elsewhere y is not looked at.
    Source: Song et al. 2021 (SDE), appendix I.2; Ho et al. 2022 (video), section 3.1; ledger APP-3, M-38.
    """

    predictor: object
    known: torch.Tensor
    y: torch.Tensor

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        x, schedule = self.predictor.step(denoiser, state, s, generator, **cond), denoiser.schedule
        known, y = self.known.to(x.device), self.y.to(x)
        drawn = schedule.signal(s) * y + schedule.noise(s) * randn_like(x, generator)
        return torch.where(known, drawn, x)


@dataclass(frozen=True)
class RePaint(Replacement):
    """``Replacement`` whose step is made ``resamplings`` times: down, up again by q(x_t | x_s), down, ...

    Between the levels the unknown entries have time to hear of the known ones; it costs as many calls more. The step to
    the clean state is made once.

    Args:
        resamplings: at least 1, which is ``Replacement``.
    Raises:
        ValueError: fewer than one.
    Source: Lugmayr et al. 2022, algorithm 1 (with the root that is missing there in line 5); ledger M-38.
    """

    resamplings: int = 10

    def __post_init__(self):
        if self.resamplings < 1:
            raise ValueError(f"expected resamplings >= 1, got {self.resamplings}")

    def step(self, denoiser, state, s, generator=None, **cond):
        """x_s from the State at t > s."""
        x = super().step(denoiser, state, s, generator, **cond)
        for _ in range(self.resamplings - 1 if denoiser.schedule.noise(s) > 0 else 0):
            x_t = q_transition(denoiser.schedule, x, s, state.t).sample(generator)
            again = replace(state, x=x_t, prediction=denoiser(x_t, state.t, **cond))
            x = super().step(denoiser, again, s, generator, **cond)
        return x


# ---- what is known pushes the answer --------------------------------------------------------------------------------
def none(schedule, t):
    """r_t² = 0: p(y | x_t) as if x̂_0 were x_0.

    Source: Chung et al. 2023 (DPS), equation 15; ledger M-38.
    """
    return 0.0


def of_unit_data(schedule, t):
    """r_t² = noise²/(signal² + noise²): Var(x_0 | x_t) of data N(0, I).

    Returns:
        A number for a number t, a float64 tensor (B,) on the CPU for (B,).
    Source: Song et al. 2023 (ΠGDM), section 3.2; ledger M-38.
    """
    signal2, noise2 = schedule.signal(t) ** 2, schedule.noise(t) ** 2
    return noise2 / (signal2 + noise2)


@dataclass(frozen=True)
class Reconstruction(Wrapper):
    """A denoiser that is pushed towards y: score + w ∇ log N(y; A x̂_0(x_t), σ_y² I + r_t² A Aᵀ), the gradient by x_t.

    With w = 1 and r_t² the variance of x_0 given x_t it is the score of p(x_t | y) where data are Gaussian with that
    one variance; any other choice is another law. With r = 0 the likelihood is (σ_y² + r²)/σ_y² times too sure.

    Args:
        denoiser: differentiable in x_t. operator: a ``Linear``. y: (B, ...) or one for all.
        noise_std: σ_y, in the units of x: on pixels in [−1, 1] twice what it is on [0, 1].
        spread: function (schedule, t) -> r_t², a number: ``none``, ``of_unit_data``, your own.
        weight: w.
    Source: Chung et al. 2023; Song et al. 2023 (ΠGDM); Ho et al. 2022 (video), equation 7; ledger APP-3, M-38.
    """

    operator: Linear
    y: torch.Tensor
    noise_std: float = 0.0
    spread: object = of_unit_data
    weight: float = 1.0

    def __call__(self, x_t, t, **cond):
        """x_t: (B, ...); t: a number. Returns a Prediction."""
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            p = self.denoiser(x, t, **cond)
            seen = self.operator(p.x0)
            rest = (self.y.to(seen) - seen).detach()
            pull = self.operator.solve(rest, self.spread(self.schedule, t), self.noise_std**2)
            push = torch.autograd.grad((seen * pull).sum(), x)[0]
        guided = Prediction(self.schedule, x_t, t, score=p.score.detach() + self.weight * push)
        kept = None if p.fraction is None else p.fraction.detach()
        return Prediction(self.schedule, x_t, t, fraction=kept, **{p.kind: getattr(guided, p.kind)})


@dataclass(frozen=True)
class NullSpace(Wrapper):
    """A denoiser whose x̂_0 is corrected where A sees it: x̂_0 + A⁺ (y − A x̂_0). For a y without noise.

    Args:
        operator: a ``Linear``. y: (B, ...) or one for all.
    Source: Wang et al. 2023 (DDNM), equation 13; ledger APP-3, M-38.
    """

    operator: Linear
    y: torch.Tensor

    def __call__(self, x_t, t, **cond):
        """x_t: (B, ...); t: a number or (B,). Returns a Prediction."""
        p = self.denoiser(x_t, t, **cond)
        x0 = p.x0 + self.operator.inverse(self.y.to(p.x0) - self.operator(p.x0))
        return Prediction(self.schedule, x_t, t, fraction=p.fraction, x0=x0)


# ---- other walks ----------------------------------------------------------------------------------------------------
def edit(denoiser, x, times, sampler=None, generator=None, **cond):
    """x noised to times[0] and walked down from there: near to x if times[0] is small, forgotten if it is T.

    Args:
        x: (B, ...), a picture, a sketch, a collage. times: see ``samplers.sample_path``. sampler: DDIM() unless said.
    Source: Meng et al. 2022 (SDEdit), algorithm 1; ledger APP-4, M-38.
    """
    x_t = q_sample(denoiser.schedule, x, times[0], randn_like(x, generator))
    return sample(denoiser, sampler or DDIM(), x_t, times, generator, **cond)


def outpaint(denoiser, x, columns, times, overlap, generator=None, resamplings=10, predictor=None, **cond):
    """x (B, C, H, W) with at least so many columns more on its right, drawn window by window by ``RePaint``.

    Each window is as wide as x, and its first ``overlap`` columns are the last ones that are there.

    Raises:
        ValueError: overlap does not lie between 1 and W − 1.
    Source: Saharia et al. 2022 (Palette), section 4.3; ledger APP-3, M-38.
    """
    W = x.shape[3]
    if not 1 <= overlap < W:
        raise ValueError(f"expected 1 <= overlap < {W}, got {overlap}")
    known = torch.arange(W, device=x.device) < overlap
    while (out := x).shape[3] < W + columns:
        window = torch.cat([out[..., -overlap:], torch.zeros_like(out[..., : W - overlap])], 3)
        sampler = RePaint(predictor or DDIM(1.0), known, window, resamplings)
        start = denoiser.schedule.start(window.shape, generator).to(x)
        x = torch.cat([out, sample(denoiser, sampler, start, times, generator, **cond)[..., overlap:]], 3)
    return x


@dataclass(frozen=True)
class Views(Wrapper):
    """A denoiser of a picture seen in several ways at once: ε̂ is the mean of Vᵢ⁻¹ ε̂(Vᵢ x_t).

    A view must map N(0, I) to N(0, I), so it is orthogonal: a turn, a mirror, a permutation of pixels, negated colours.
    Then each Vᵢ x_t is what the network expects.

    Args:
        views: list of pairs (there, back) of functions (B, ...) -> (B, ...).
        conds: a dict of conditions for each view (its label, its caption), or None for none.
    Source: Geng et al. 2024 (Visual Anagrams), equations 4 and 5; ledger APP-1, M-38.
    """

    views: tuple
    conds: tuple | None = None

    def __call__(self, x_t, t):
        """x_t: (B, ...); t: a number or (B,). Returns a Prediction."""
        conds = self.conds or ({},) * len(self.views)
        eps = [
            back(self.denoiser(there(x_t), t, **cond).eps)
            for (there, back), cond in zip(self.views, conds, strict=True)
        ]
        return Prediction(self.schedule, x_t, t, eps=torch.stack(eps).mean(0))


@dataclass(frozen=True)
class Bands(Wrapper):
    """A denoiser of a picture that is one thing from afar and another from near: ε̂ = L ε̂(far) + (I − L) ε̂(near).

    L keeps what is coarse, such as ``box_blur``. If both conditions are the same, so is ε̂.

    Args:
        low: a ``Linear`` from pictures to pictures. far, near: dicts of conditions.
    Source: Geng et al. 2024 (Factorized Diffusion), equation 5; ledger APP-1, M-38.
    """

    low: Linear
    far: dict
    near: dict

    def __call__(self, x_t, t):
        """x_t: (B, ...); t: a number or (B,). Returns a Prediction."""
        far, near = (self.denoiser(x_t, t, **cond).eps for cond in (self.far, self.near))
        return Prediction(self.schedule, x_t, t, eps=near + self.low(far - near))
