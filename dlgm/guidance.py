"""Guidance: steering a denoiser by Bayes' rule, with a classifier, or with a network that knows with and without y.

At each noise level ∇ log p(x_t | y) = ∇ log p(x_t) + ∇ log p(y | x_t). A weight γ on the last term asks for the score
of p(x_t) p(y | x_t)^γ, level by level. Those are *not* the levels of one diffused law unless γ is 0 or 1: what a
sampler then draws depends on the sampler (``oracles.guided``).

A wrapper here is a denoiser that wraps a denoiser, so every sampler, bound and wrapper takes it. Each guides in the
form in which the network answers (eps, x0, v or score); the forms are linear in each other, so all give the same.
Clip after guiding, ``Clipped(ClassifierFree(...))``: clipping the two parts first is another map.
"""

from dataclasses import dataclass

import torch

from .denoiser import Prediction, Wrapper
from .process import q_sample
from .tensors import expand, randn_like, to_device


def gradient(log_prob, x_t, t, y):
    """∇_{x_t} log p(y | x_t) of each example: (B, ...).

    The gradient of the *sum* over the batch is that of each example, as long as examples do not see each other (no
    batch normalisation in training mode).

    Args:
        log_prob: function (x_t, t, y) -> (B,), nats; differentiable in x_t.
        x_t: (B, ...). t: a number, () or (B,). y: (B,).
    Raises:
        ValueError: log_prob does not answer one number for each example.
    Source: Dhariwal & Nichol 2021, section 4; ledger GUIDE-1, GUIDE-3.
    """
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        value = log_prob(x, t, y)
        if value.shape != x_t.shape[:1]:
            raise ValueError(f"expected log p(y | x_t) of shape ({len(x_t)},), got {tuple(value.shape)}")
        return torch.autograd.grad(value.sum(), x)[0]


@dataclass(frozen=True)
class Classifier(Wrapper):
    """A denoiser guided by a classifier: score + γ ∇ log p(y | x_t).

    In the other forms: ε − γ σ g, x_0 + γ (σ²/α) g, v − γ σ (α² + σ²)/α g, with g the gradient. A learned variance is
    kept as it was.

    Args:
        denoiser: of all classes together.
        log_prob: see ``gradient``; a classifier of *noisy* x_t, which is told t.
        gamma: weight, a number or (B,). 1 is Bayes' rule.
    Source: Dhariwal & Nichol 2021, algorithms 1 and 2; ledger GUIDE-1, GUIDE-7, GUIDE-8, E-14, E-17.
    """

    log_prob: object
    gamma: object = 1.0

    def __call__(self, x_t, t, *, y, **cond):
        """x_t: (B, ...); y: (B,), the classes asked for. Returns a Prediction."""
        p = self.denoiser(x_t, t, **cond)
        score = p.score + expand(self.gamma, x_t) * gradient(self.log_prob, x_t, t, y)
        guided = Prediction(self.schedule, x_t, t, score=score)
        return Prediction(self.schedule, x_t, t, fraction=p.fraction, **{p.kind: getattr(guided, p.kind)})


@dataclass(frozen=True)
class ClassifierFree(Wrapper):
    """A denoiser guided by itself: (1 + w) · (its answer with y) − w · (its answer without).

    w = 0 is the plain conditional model, w = −1 the unconditional one; γ = 1 + w is the weight of the classifier that
    the two answers imply, log p(x_t | y) − log p(x_t) up to a constant. What the network says of a variance is taken
    from the conditional answer.

    Args:
        denoiser: trained with ``drop_labels``.
        w: a number or (B,).
        null: what is given in the place of y for "none", one label; the network's own unless said.
        interval: (low, high): t outside gets w = 0; None guides everywhere.
        rescale: φ in [0, 1]: how far the spread of x̂_0 over each example is brought back to that of the conditional
            answer.
    Raises:
        ValueError: the denoiser has no null label and none is given.
    Source: Ho & Salimans 2022, equation 6; Kynkäänniemi et al. 2024 (interval); Lin et al. 2024, section 3.4
        (rescale); ledger GUIDE-10, GUIDE-11, M-21, E-47.
    """

    w: object = 0.0
    null: object = None
    interval: object = None
    rescale: float = 0.0

    def __call__(self, x_t, t, *, y, **cond):
        """x_t: (B, ...); y: (B,). Returns a Prediction."""
        null = getattr(self.denoiser, "null_label", None) if self.null is None else self.null
        if null is None:
            raise ValueError("this denoiser has no label that means 'none'; name it: ClassifierFree(..., null=...)")
        with_y = self.denoiser(x_t, t, y=y, **cond)
        if isinstance(self.w, (int, float)) and self.w == 0:
            return with_y
        without = self.denoiser(x_t, t, y=torch.full_like(y, null), **cond)
        w = expand(self.w, x_t)
        if self.interval:
            low, high = self.interval
            w = w * expand(1.0 * ((low <= t) & (t <= high)), x_t)
        a, b = getattr(with_y, with_y.kind), getattr(without, with_y.kind)
        guided = Prediction(self.schedule, x_t, t, fraction=with_y.fraction, **{with_y.kind: (1 + w) * a - w * b})
        if not self.rescale:
            return guided
        spread = [p.x0.flatten(1).std(1) for p in (with_y, guided)]
        factor = self.rescale * spread[0] / spread[1] + 1 - self.rescale
        return Prediction(self.schedule, x_t, t, fraction=with_y.fraction, x0=guided.x0 * expand(factor, x_t))


@dataclass(frozen=True)
class Thresholded(Wrapper):
    """A denoiser whose x̂_0 is kept in [−1, 1] by dynamic thresholding: clipped to [−s, s] and divided by s.

    s is the quantile of |x̂_0| over the entries of each example, at least 1: then nothing happens inside the range, and
    a guided answer beyond it loses contrast in the place of saturating.

    Args:
        denoiser: any.
        quantile: of |x̂_0|, in (0, 1].
    Source: Saharia et al. 2022, section 2.3; ledger M-21.
    """

    quantile: float = 0.995

    def __call__(self, x_t, t, **cond):
        p = self.denoiser(x_t, t, **cond)
        s = p.x0.abs().flatten(1).quantile(self.quantile, dim=1).clamp(min=1)
        s = expand(s, x_t)
        return Prediction(self.schedule, x_t, t, fraction=p.fraction, x0=torch.clamp(p.x0, -s, s) / s)


def implicit_gradient(with_y, without):
    """∇ log p(y | x_t) of the classifier that two Predictions imply, −(ε_y − ε)/σ: the difference of their scores.

    Source: Ho & Salimans 2022, section 3.2; ledger GUIDE-9.
    """
    return with_y.score - without.score


def shifted(step, gradient, scale=1.0):
    """A reverse step N(μ, Σ) tilted by exp(scale · gradientᵀ x): N(μ + scale Σ gradient, Σ), exactly.

    With the gradient of log p(y | x_{t−1}) at μ it is the guided step up to the curvature of log p(y | ·); with that at
    x_t it is Algorithm 1. The two agree as β → 0 only (E-48).

    Args:
        step: a Gaussian. gradient: of its mean's shape.
    Source: Dhariwal & Nichol 2021, equations 7 to 10; ledger GUIDE-2, GUIDE-5, GUIDE-6, E-48.
    """
    return type(step)(step.mean + scale * step.var * gradient, step.var)


def drop_labels(y, share, null, generator=None):
    """The conditions of a batch with a random share of its examples made unconditional, in all their parts at once.

    One draw for each example decides for every part: parts that are dropped independently, with probability p each,
    leave an example without all m of them only with probability p^m.

    Args:
        y: a tensor (B, ...), or a tuple of them (label, caption, ...).
        share: in [0, 1].
        null: what stands for "none": a number, or one for each part.
    Returns:
        As y.
    Raises:
        ValueError: share lies outside [0, 1], or the parts and their nulls differ in number.
    Source: Ho & Salimans 2022, algorithm 1; ledger GUIDE-11, E-49.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    parts = y if isinstance(y, tuple) else (y,)
    nulls = null if isinstance(null, tuple) else (null,) * len(parts)
    if len(nulls) != len(parts):
        raise ValueError(f"{len(parts)} conditions need as many values that mean 'none', got {len(nulls)}")
    device = parts[0].device if generator is None else generator.device
    hidden = torch.rand(len(parts[0]), generator=generator, device=device) < share
    out = tuple(
        torch.where(to_device(hidden, v.device).reshape(-1, *[1] * (v.ndim - 1)), none, v)
        for v, none in zip(parts, nulls, strict=True)
    )
    return out if isinstance(y, tuple) else out[0]


def classifier_loss(classifier, schedule, x0, y, t, generator=None):
    """−log p(y | x_t) at x_t = α x_0 + σ ε: what a classifier for guidance is trained on; (B,), nats.

    A classifier that has seen clean data only is asked about x_t all the same, and answers with confidence; its
    gradients are then arbitrary.

    Args:
        classifier: called as classifier(x_t, t), gives logits (B, classes).
        x0: (B, ...). y: (B,). t: (B,).
    Source: Dhariwal & Nichol 2021, section 4; ledger GUIDE-3, M-22.
    """
    x_t = q_sample(schedule, x0, t, randn_like(x0, generator))
    return torch.nn.functional.cross_entropy(classifier(x_t, to_device(t, x_t.device)), y, reduction="none")
