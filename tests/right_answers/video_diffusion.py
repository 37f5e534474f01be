"""Right answers of video diffusion, written differently from the reference and from each other."""

import math

import torch

from dlgm.course.video_diffusion import FAULTS
from dlgm.oracles.affine import conditional


def through_by_stacking(h, frames):
    """Each frame of all clips by itself, then side by side."""
    parts = [h[f::frames].movedim(1, -1).flatten(0, 2) for f in range(frames)]
    return torch.stack(parts, 1)


def through_by_einsum(h, frames):
    clip = h.unflatten(0, (-1, frames)).flatten(3)
    return torch.einsum("bfcp->bpfc", clip).flatten(0, 1)


def through_loop(h, frames):
    rows = []
    for clip in h.split(frames):
        for i in range(h.shape[2]):
            for j in range(h.shape[3]):
                rows.append(clip[:, :, i, j])
    return torch.stack(rows)


def products_by_a_common_factor(F, H, W):
    places = F * H * W
    return places * places, places * (F + H * W)


def products_counted(F, H, W):
    def of(length, often=1):
        return often * length * length

    return of(F * H * W), of(H * W, F) + sum(of(F) for _ in range(H * W))


def products_by_shapes(F, H, W):
    """The sizes of the matrices of weights, on no memory."""

    def size(batch, length):
        x = torch.empty(batch, length, 1, device="meta")
        return (x @ x.mT).numel()

    return size(1, F * H * W), size(F, H * W) + size(H * W, F)


def _ramp(*shape):
    """Numbers that are all different and near 0."""
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) ** 1.5).reshape(shape)


def diagnose_by_jacobian(block):
    """Blocks of ∂out/∂in; order by two frames that change places."""
    B, F, C, H, W = 2, 3, 2, 2, 3
    x = _ramp(B * F, C, H, W)
    J = torch.autograd.functional.jacobian(lambda h: block(h, F), x).abs() > 0
    J = J.reshape(B, F, C, H * W, B, F, C, H * W).any(6).any(2)  # B, F, HW; B, F, HW
    if any(J[i, :, :, j].any() for i in range(B) for j in range(B) if i != j):
        return FAULTS[1]
    heard = J.any(3).any(0)  # F, HW, F, HW
    if (heard.any(2).any(0) & ~torch.eye(H * W, dtype=torch.bool)).any():
        return FAULTS[2]
    through = heard.any(3).any(1)
    if not through.triu(1).any():
        return FAULTS[4]
    exchanged = torch.cat([torch.tensor([1, 0, 2]) + F * b for b in range(B)])
    gap = (block(x[exchanged], F) - block(x, F)[exchanged]).abs().max()
    return FAULTS[3] if gap < 1e-10 else FAULTS[0]


def diagnose_by_parts(block):
    """Each part alone must give what it gives among others."""
    B, F, C, H, W = 3, 5, 4, 3, 2
    x = _ramp(B, F, C, H, W)
    run = lambda clips: block(clips.flatten(0, 1), F).unflatten(0, (-1, F))  # noqa: E731
    whole = run(x)
    if not torch.allclose(run(x[:1]), whole[:1]):
        return "mixes clips"
    for i in range(H):
        for j in range(W):
            if not torch.allclose(run(x[..., i : i + 1, j : j + 1]), whole[..., i : i + 1, j : j + 1]):
                return "mixes pixels"
    shorter = block(x[:, :2].flatten(0, 1), 2).unflatten(0, (-1, 2))
    if torch.allclose(shorter, whole[:, :2]):
        return "sees the past only"
    turns = [torch.roll(torch.arange(F), 1), torch.tensor([1, 0, *range(2, F)])]
    same = all(torch.allclose(run(x[:, turn]), whole[:, turn]) for turn in turns)
    return "blind to order" if same else "right"


def diagnose_in_float32(block):
    """A number at one place of a black clip."""
    g = torch.Generator().manual_seed(3)
    h = torch.rand(8, 3, 4, 5, generator=g)
    pushed = h.clone()
    pushed[7, :, 1, 3] -= 2  # clip 2, its last frame
    moved = (block(pushed, 4) != block(h, 4)).any(1).reshape(2, 4, 20)
    if moved[0].any():
        return "mixes clips"
    if moved[1].any(0).nonzero().flatten().tolist() != [8]:
        return "mixes pixels"
    if moved[1].any(1).tolist() == [False, False, False, True]:
        return "sees the past only"
    order = torch.randperm(4, generator=g)
    first, second = block(h[:4][order], 4), block(h[:4], 4)[order]
    return "blind to order" if (first - second).abs().max() < 1e-6 else "right"


def missing_by_conditioning(rho, a, b, before, after):
    """Each number by the Gaussian law of the two known frames and the missing one."""
    mean, var = torch.empty_like(before), torch.empty_like(before)
    for i in range(before.numel()):
        r = rho.flatten()[i].double()
        cov = r ** torch.tensor([[0, a + b, a], [a + b, 0, b], [a, b, 0]])
        y = torch.stack([before.flatten()[i], after.flatten()[i]]).double()
        m, v = conditional(torch.zeros(3, dtype=cov.dtype), cov, torch.eye(3, dtype=cov.dtype)[:2], y)
        mean.view(-1)[i], var.view(-1)[i] = m[2], v[2, 2]
    return mean, var


def missing_by_correction(rho, a, b, before, after):
    """The frame before predicts; the one after corrects, by as much as it surprises."""
    guess, unsure = rho**a * before, 1 - rho**a * rho**a
    surprise = after - rho**b * guess
    gain = unsure * rho**b / (1 - rho ** (2 * b) + rho ** (2 * b) * unsure)
    return guess + gain * surprise, unsure * (1 - gain * rho**b)


def missing_by_precisions(rho, a, b, before, after):
    """Two predictions and the law of the frame itself, which is in both and is taken out once."""
    p, q = 1 / (1 - rho ** (2 * a)), 1 / (1 - rho ** (2 * b))
    precision = p + q - 1
    return (p * rho**a * before + q * rho**b * after) / precision, 1 / precision


def weight_by_sum_and_difference(rho, signal, noise):
    """Along x^a ± x^b the posterior variance is λ noise²/(signal² λ + noise²), λ = 1 ± ρ."""
    s, n = signal.square(), noise.square()
    parts = [lam * n / (s * lam + n) for lam in (1 + rho, 1 - rho)]
    return n / s / (sum(parts) / 2)


def weight_by_matrices(rho, signal, noise):
    out = []
    for s, n in zip(signal.tolist(), noise.tolist(), strict=True):
        cov = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
        eye = torch.eye(2, dtype=torch.float64)
        law = conditional(torch.zeros(2, dtype=torch.float64), cov, s * eye, torch.zeros(2, dtype=torch.float64), n**2)
        out.append(n**2 / (s**2 * law[1][0, 0].item()))
    return torch.tensor(out, dtype=signal.dtype)


def weight_in_closed_form(rho, signal, noise):
    a, b = signal**2, noise**2
    return ((a + b) ** 2 - (a * rho) ** 2) / (a * (a * (1 - rho**2) + b))


RIGHT = {
    "through_time": (through_by_stacking, through_by_einsum, through_loop),
    "attention_products": (products_by_a_common_factor, products_counted, products_by_shapes),
    "diagnose_block": (diagnose_by_jacobian, diagnose_by_parts, diagnose_in_float32),
    "missing": (missing_by_conditioning, missing_by_correction, missing_by_precisions),
    "exact_weight": (weight_by_sum_and_difference, weight_by_matrices, weight_in_closed_form),
}
