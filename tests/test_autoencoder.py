"""The plain autoencoder and what is measured of its codes: AE-1, AE-2."""

import math

import pytest
import torch
from helpers import seeded

from dlgm import metrics, vae
from dlgm.gaussian import Gaussian

F64 = torch.float64


def test_reconstruction_error_is_the_negative_log_likelihood_in_disguise(generator):
    """AE-1: −mean log N(x; x̂, s²) = P J / 2s² + (P/2) log 2πs²."""
    x, x_hat = (torch.randn(6, 1, 3, 4, generator=generator, dtype=F64) for _ in range(2))
    s2, P = 0.3, 12
    nll = -Gaussian(x_hat, s2).log_prob(x).mean()
    J = vae.reconstruction_error(x, x_hat)
    torch.testing.assert_close(nll, P * J / (2 * s2) + P / 2 * math.log(2 * math.pi * s2))
    assert vae.reconstruction_error(torch.ones(1, 2), torch.tensor([[1.0, 4.0]])) == 4.5
    with pytest.raises(ValueError, match="expected one shape"):
        vae.reconstruction_error(x, x_hat[:, :, :, :1])


def test_a_linear_autoencoder_finds_the_principal_subspace(generator):
    """AE-2: at the optimum the decoder's columns span the leading eigenvectors of the covariance."""
    axes = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=F64)).Q
    stds = torch.tensor([3.0, 2.5, 2.0, 0.5, 0.3, 0.2], dtype=F64)
    x = torch.randn(500, 6, generator=generator, dtype=F64) * stds @ axes.T + 1.0
    model = seeded(lambda: vae.Autoencoder((6,), 3, hidden=()))
    search = torch.optim.LBFGS(
        model.parameters(), max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=1e-15
    )

    def closure():
        search.zero_grad()
        value = model.loss(x)
        value.backward()
        return value

    search.step(closure)
    decoder = model.decoder[0][0].weight.detach()
    assert metrics.principal_angles(decoder, metrics.principal_subspace(x, 3)).max() < 1e-3
    left = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[:3].sum() / 6  # what three components cannot explain
    torch.testing.assert_close(model.loss(x).detach(), left, rtol=1e-6, atol=0)


def test_principal_angles_of_known_planes():
    a = 1e-5
    A = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=F64)
    B = torch.tensor([[2.0, 1.0], [0.0, math.cos(a)], [0.0, math.sin(a)]], dtype=F64)
    angles = metrics.principal_angles(A, B)
    assert angles[0].item() == pytest.approx(a, rel=1e-9) and angles[1] < 1e-15
    line = torch.tensor([[0.0], [0.0], [1.0]], dtype=F64)
    assert metrics.principal_angles(line, A).item() == pytest.approx(math.pi / 2)


def test_outside_share_of_points_in_and_out_of_the_cloud(generator):
    codes = 5 + torch.randn(1000, 3, generator=generator)
    inside = vae.outside_share(5 + torch.randn(2000, 3, generator=generator), codes)
    # fresh draws of the codes' own law fall outside at a rate of about 1 %, with an error of 0.002
    assert abs(inside.value.item() - 0.01) < 0.015
    assert vae.outside_share(torch.randn(500, 3, generator=generator), codes).value > 0.99
