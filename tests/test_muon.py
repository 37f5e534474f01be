"""Muon: the orthogonal part of a gradient, the size of a step, what is left to Adam, and resuming."""

import copy

import pytest
import torch
from torch import nn

from dlgm.training import Muon, fit
from dlgm.training.muon import orthogonal


def matrices(n, r, c, values, generator):
    """U S Vᵀ with the given singular values, and U Vᵀ."""
    u, v = (torch.linalg.qr(torch.randn(n, k, len(values), generator=generator, dtype=torch.float64)).Q for k in (r, c))
    return u * torch.tensor(values, dtype=torch.float64) @ v.mT, u @ v.mT


@pytest.mark.parametrize("r, c", [(4, 4), (4, 9), (9, 4)])
def test_singular_values_become_one_and_directions_stay(r, c, generator):
    """s/‖G‖ → φ(…φ(s/‖G‖)), five times the polynomial a s + b s³ + c s⁵, on the same singular vectors."""
    values = [2.0, 1.0, 0.3, 0.1]
    G, _ = matrices(3, r, c, values, generator)
    s = torch.tensor(values, dtype=torch.float64)
    s = s / s.norm()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    assert (s > 0.65).all() and (s < 1.25).all()
    found = orthogonal(G)
    torch.testing.assert_close(
        torch.linalg.svdvals(found), s.sort(descending=True).values.expand(3, 4), rtol=1e-6, atol=0
    )
    # the same singular vectors: Gᵀ found and G foundᵀ are symmetric
    for product in (G.mT @ found, G @ found.mT):
        torch.testing.assert_close(product, product.mT, rtol=0, atol=1e-7)


def test_a_step_by_hand(generator):
    """W − lr scale √max(r, c) orthogonal(Nesterov's mean), twice; the kernel as a matrix (out, in k²)."""
    W = nn.Parameter(torch.randn(16, 3, 3, 3, generator=generator))
    want, m, optimiser = W.detach().clone(), torch.zeros(16, 27), Muon([W], lr=0.1, momentum=0.8, scale=0.5)
    for seed in (1, 2):
        g = torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
        W.grad, g = g.clone(), g.reshape(16, 27)
        optimiser.step()
        m = 0.8 * m + 0.2 * g
        step = 0.1 * 0.5 * 27**0.5 * orthogonal((0.2 * g + 0.8 * m)[None])[0]
        want -= step.reshape(16, 3, 3, 3)
        torch.testing.assert_close(W.detach(), want)
        assert step.square().mean().sqrt() == pytest.approx(0.05, rel=0.2)  # singular values between .7 and 1.2
    assert W.grad is None


def test_what_is_no_matrix_is_adams(generator):
    """Vectors, tables of fewer than 16 rows, first and last layers: bit for bit as torch's Adam; one rate for both."""
    shapes = [(16,), (16, 1, 3, 3), (1, 32, 3, 3), (11, 64), (16, 16), (20, 4, 2, 2)]
    ours = [nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    theirs = copy.deepcopy(ours)
    optimisers = Muon(ours, lr=1e-2, betas=(0.8, 0.9)), torch.optim.Adam(theirs, lr=1e-2, betas=(0.8, 0.9))
    for seed in range(3):
        for both in zip(ours, theirs, strict=True):
            g = torch.randn(both[0].shape, generator=torch.Generator().manual_seed(seed))
            for p in both:
                p.grad = g.clone()
        for optimiser in optimisers:
            optimiser.step()
    same = [torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert same == [True, True, True, True, False, False]
    assert [len(g["params"]) for g in optimisers[0].param_groups] == [2, 4]


def test_equal_shapes_together_are_as_each_alone(generator):
    layers = [nn.Parameter(torch.randn(s, generator=generator)) for s in ((16, 20), (16, 20), (32, 16), (16, 5, 2, 2))]
    alone = copy.deepcopy(layers)
    for a, b in zip(layers, alone, strict=True):
        a.grad = torch.randn(a.shape, generator=generator)
        b.grad = a.grad.clone()
    Muon(layers, lr=0.1).step()
    for a, b in zip(layers, alone, strict=True):
        Muon([b], lr=0.1).step()
        torch.testing.assert_close(a, b)


def test_a_run_is_resumed_with_its_momentum(tmp_path, generator):
    """Interrupted and gone on with: the weights of a run that was not; and not as a run of Adam."""
    x = torch.randn(64, 16, generator=generator)

    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 16))

    def loss(model, x, generator, step):
        return (model(x) - x.roll(1, 1)).square().mean()

    run = dict(batch_size=16, lr=1e-2, optimizer=Muon, progress=False)
    whole, parts = model(), model()
    history = fit(whole, loss, x, steps=8, **run)
    assert history.loss[-1] < history.loss[0]

    def stop(_):
        raise KeyboardInterrupt

    fit(parts, loss, x, steps=8, checkpoint=tmp_path / "a", every=3, evaluate=stop, **run)
    again = model()
    fit(again, loss, x, steps=8, checkpoint=tmp_path / "a", every=3, **run)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="optimiser"):
        fit(model(), loss, x, steps=8, checkpoint=tmp_path / "a", **run | {"optimizer": torch.optim.Adam})
