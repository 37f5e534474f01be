"""Right answers of text_to_image, written differently from the reference and from each other."""

import math

import torch
import torch.nn.functional as F

from dlgm.nets.unet import attend


def read_by_the_package(q, k, v, mask):
    return attend(q, k, v, 1, mask)


def read_by_exponentials(q, k, v, mask):
    """Masked after the exponential, and divided by what is left."""
    scores = torch.einsum("bnd,bmd->bnm", q, k) / q.shape[-1] ** 0.5
    weights = (scores - scores.amax(2, keepdim=True)).exp() * mask[:, None]
    return torch.einsum("bnm,bmd->bnd", weights / weights.sum(2, keepdim=True), v)


def read_loop(q, k, v, mask):
    """Only the words that are there, one text after the other."""
    rows = []
    for one, keys, values, there in zip(q, k, v, mask, strict=True):
        weights = torch.softmax(one @ keys[there].T / math.sqrt(q.shape[2]), dim=1)
        rows.append(weights @ values[there])
    return torch.stack(rows)


def _output(attention, pixels, words, padding):
    """What a pixel reads with q = 0 of words 1, 1, ... and padding 10, 10, ..."""
    n = words + padding
    v = torch.ones(1, n, 1)
    v[:, words:] = 10
    mask = torch.arange(n)[None] < words
    return attention(torch.zeros(1, pixels, 1), torch.zeros(1, n, 1), v, mask)[0, 0, 0].item()


def diagnose_by_questions(attention):
    saw = _output(attention, 5, 3, 0)
    if math.isnan(saw):
        return "mask inverted"
    if abs(saw - 1) > 1e-3:
        return "softmax over pixels"
    padded = _output(attention, 5, 3, 2)
    if padded > 1.001:
        return "padding is read"
    return "right" if padded > 0.999 else "masked after softmax"


def diagnose_by_weights(attention):
    """All weights of a random table: v is the identity."""
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 3, 4, generator=g), torch.randn(1, 4, 4, generator=g)
    mask = torch.tensor([[True, True, False, False]])
    w = attention(q, k, torch.eye(4)[None], mask)[0]
    words, padding = w[:, :2].sum(1), w[:, 2:].sum(1)
    if padding.max() > 0:
        return "mask inverted" if words.max() == 0 else "padding is read"
    if torch.allclose(words, torch.ones(3)):
        return "right"
    return "softmax over pixels" if torch.allclose(w[:, :2].sum(0), torch.ones(2)) else "masked after softmax"


def diagnose_by_comparison(attention):
    """Each behaviour computed here, on random inputs with padding."""
    g = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, n, 3, generator=g, dtype=torch.float64) for n in (4, 5, 5))
    mask = torch.tensor([[True, False, True, True, False], [False, True, True, False, True]])
    scores, there = q @ k.mT / 3**0.5, mask[:, None].double()
    e = scores.exp()
    weights = {
        "right": F.normalize(e * there, p=1, dim=2),
        "padding is read": F.normalize(e, p=1, dim=2),
        "mask inverted": F.normalize(e * (1 - there), p=1, dim=2),
        "masked after softmax": F.normalize(e, p=1, dim=2) * there,
        "softmax over pixels": F.normalize(e, p=1, dim=1) * there,
    }
    out = attention(q, k, v, mask)
    return next(name for name, w in weights.items() if torch.allclose(w @ v, out))


def told_in_parts(v, signal, noise, eps, enlarge):
    """Enlarging is linear: picture and noise can be made large one by one."""
    return signal * enlarge((v.to(eps.dtype) - 127.5) / 127.5) + noise * enlarge(eps)


def told_by_255(v, signal, noise, eps, enlarge):
    return enlarge(torch.add(signal * (2 * v.float() / 255 - 1), eps, alpha=noise))


def told_loop(v, signal, noise, eps, enlarge):
    table = torch.linspace(-1, 1, 256)
    rows = [enlarge((signal * table[one.long()] + noise * e)[None]) for one, e in zip(v, eps, strict=True)]
    return torch.cat(rows)


def excess_by_two_variances(v, s, e, a):
    k = 1 / (1 + s * s / v)
    return k * k * (v + e * e + a * a) + (1 - k) * v - v


def excess_by_training(v, s, e, a):
    """What z varies more than in training, through the slope of the posterior mean."""
    posterior = 1 / (1 / v + 1 / s.square())
    slope = posterior / s.square()
    return (slope * torch.hypot(e, a)).square() - (slope * s).square()


def prior_by_a_joint_law(a, prior_var, b, decoder_var, c):
    """(z, x) = L (n1, n2) + mean; the second entry of L Lᵀ."""
    zero = torch.zeros_like(a)
    L = torch.stack([prior_var.sqrt(), zero, b * prior_var.sqrt(), decoder_var.sqrt()], 1).reshape(-1, 2, 2)
    return b * (a * c), (L @ L.mT)[:, 1, 1]


def prior_loop(a, prior_var, b, decoder_var, c):
    rows = zip(*(z.tolist() for z in (a, prior_var, b, decoder_var, c)), strict=True)
    found = [(y * (x * w), q + y * p * y) for x, p, y, q, w in rows]
    return tuple(torch.tensor(z, dtype=a.dtype) for z in zip(*found, strict=True))


RIGHT = {
    "read": (read_by_the_package, read_by_exponentials, read_loop),
    "diagnose_attention": (diagnose_by_questions, diagnose_by_weights, diagnose_by_comparison),
    "told": (told_in_parts, told_by_255, told_loop),
    "excess": (excess_by_two_variances, excess_by_training),
    "through_prior": (prior_by_a_joint_law, prior_loop),
}
