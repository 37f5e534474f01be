"""A smaller space: codebooks, scales, what is lost, what it costs. Ledger LAT-1, LAT-2, M-29."""

import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dlgm import latent, nets, training
from dlgm.data.faces import Faces
from dlgm.gaussian import Gaussian, MultivariateGaussian
from dlgm.latent import LatentDiffusion, Orthogonal, Scale, VectorQuantizer
from dlgm.oracles import GaussianMixture
from dlgm.process import q_marginal
from dlgm.schedules import DiscreteSchedule, VPCosine, cosine_beta, time_grid
from dlgm.vae import standard_kl

F64 = torch.float64


def codebook(*rows, commitment=0.25):
    quantizer = VectorQuantizer(len(rows), len(rows[0]), commitment)
    quantizer.codebook.weight.data = torch.tensor(rows)
    return quantizer


def test_m_29_codes_become_the_nearest_vectors():
    quantizer = codebook([0.0, 0.0], [1.0, 1.0], [-1.0, 2.0])
    z = torch.tensor([[[0.1, 0.9], [-0.8, 5.0]], [[0.2, 0.7], [1.7, 9.0]]]).movedim(0, 1)  # (2, 2, 2)
    q, indices, loss = quantizer(z)
    flat = torch.stack([z.movedim(1, -1).reshape(-1, 2)] * 3, 1)
    brute = (flat - quantizer.codebook.weight).square().sum(2).argmin(1).reshape(2, 2)
    assert indices.tolist() == brute.tolist()
    torch.testing.assert_close(q, quantizer.vectors(indices))
    assert loss.item() == pytest.approx(1.25 * (z - q).square().mean().item())
    with pytest.raises(ValueError, match=r"expected codes of 2 channels, got \(1, 3, 4\)"):
        quantizer(torch.zeros(1, 3, 4))


def test_m_29_gradients_go_straight_through_and_the_codebook_follows_the_codes():
    quantizer = codebook([0.0], [2.0], commitment=0.5)
    z = torch.tensor([[0.5], [1.5]], requires_grad=True)
    q, _, loss = quantizer(z)
    (q * torch.tensor([[3.0], [-1.0]])).sum().backward(retain_graph=True)
    assert z.grad.flatten().tolist() == [3.0, -1.0] and quantizer.codebook.weight.grad is None
    z.grad = None
    loss.backward()
    # β 2 (z − e)/2 on the codes, 2 (e − z)/2 on the vectors
    assert z.grad.flatten().tolist() == pytest.approx([0.25, -0.25])
    assert quantizer.codebook.weight.grad.flatten().tolist() == pytest.approx([-0.5, 0.5])


def test_m_29_how_much_of_a_codebook_is_used():
    quantizer = VectorQuantizer(4, 2)
    assert quantizer.perplexity(torch.tensor([[2, 2], [2, 2]])) == pytest.approx(1)
    assert quantizer.perplexity(torch.arange(8) % 4) == pytest.approx(4)
    assert quantizer.perplexity(torch.tensor([0, 1])) == pytest.approx(2)
    with pytest.raises(ValueError):
        VectorQuantizer(0, 2)


def test_lat_1_codes_are_scaled_channel_by_channel(generator):
    z = torch.randn(200, 3, 4, 4, generator=generator, dtype=F64) * torch.tensor([0.1, 1.0, 5.0])[:, None, None] + 2
    scale = Scale.of(z)
    down = scale.down(z).movedim(1, 0).flatten(1)
    torch.testing.assert_close(down.mean(1), torch.zeros(3, dtype=F64))
    torch.testing.assert_close(down.std(1), torch.ones(3, dtype=F64))
    torch.testing.assert_close(scale.up(scale.down(z)), z)
    with pytest.raises(ValueError, match=r"expected positive standard deviations, got \[1.0, 0.0\]"):
        Scale(torch.zeros(2), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="one shape"):
        Scale(torch.zeros(2), torch.ones(3))


def test_m_29_a_forgotten_scale_shifts_log_snr():
    """LAT-1, M-29: 3.41 nats for a well-known constant; x_T of variance 1.136 where walks start from 1."""
    assert latent.logsnr_shift(1 / 0.18215) == pytest.approx(3.41, abs=5e-3)
    schedule, k = cosine_beta(), 3.0
    for t in (100, 700):
        p = q_marginal(schedule, torch.full((1, 1), k, dtype=F64), t)
        assert (p.mean.square() / p.var).log().item() == pytest.approx(schedule.logsnr(t) + latent.logsnr_shift(k))
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=F64) ** 2
    known = DiscreteSchedule(beta.tolist())
    assert known.alpha_bar[-1].item() == pytest.approx(0.00466, abs=5e-6)
    assert float(known.signal(1000)) / 0.18215 == pytest.approx(0.375, abs=5e-4)
    met, walked = latent.first_state(known, 1 / 0.18215, 1000)
    assert met**2 == pytest.approx(1.136, abs=5e-4) and walked == pytest.approx(1)


def world(D=6, d=2, noise_var=0.05, seed=3):
    g = torch.Generator().manual_seed(seed)
    W = torch.linalg.qr(torch.randn(D, d, generator=g, dtype=F64)).Q
    return Orthogonal(W, noise_var), torch.tensor([[1.0, 0.3], [0.3, 0.6]], dtype=F64)


def test_lat_1_bits_of_pixels_are_those_of_codes_and_a_residual(generator):
    """LAT-1: −log p(x) = −log p(Wᵀ x) + residual, to rounding; what the residual's share of the D dimensions is."""
    pair, cov = world()
    W = pair.W
    full = W @ cov @ W.T + pair.noise_var * (torch.eye(6, dtype=F64) - W @ W.T)
    x = MultivariateGaussian(torch.zeros(50, 6, dtype=F64), full).sample(generator)
    pixels = -MultivariateGaussian(torch.zeros(50, 6, dtype=F64), full).log_prob(x)
    codes = -MultivariateGaussian(torch.zeros(50, 2, dtype=F64), cov).log_prob(pair.encode(x))
    torch.testing.assert_close(pixels, codes + pair.residual(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pair.encode(pair.decode(pair.encode(x))), pair.encode(x))
    found = Orthogonal.fit(x @ torch.eye(6, dtype=F64), 2)
    angles = torch.linalg.svdvals(found.W.T @ W)
    assert angles.min() > 0.9 and 0.5 < found.noise_var / pair.noise_var < 1.5
    for wrong in (lambda: Orthogonal(2 * W, 0.1), lambda: Orthogonal(W, 0.0), lambda: Orthogonal(torch.eye(3), 0.1)):
        with pytest.raises(ValueError, match="expected fewer orthonormal columns than rows"):
            wrong()


def test_lat_1_samples_are_decoded_codes(generator):
    """An exact denoiser of scaled codes: the pictures have the mean and the covariance of the data's plane."""
    pair, cov = world()
    mean, std = torch.tensor([0.5, -1.0], dtype=F64), torch.tensor([2.0, 0.5], dtype=F64)
    scaled = cov / (std[:, None] * std)
    schedule = VPCosine()
    denoiser = GaussianMixture([1.0], [[0.0, 0.0]], scaled[None]).denoiser(schedule)
    model = LatentDiffusion(pair.encode, pair.decode, denoiser, Scale(mean, std))
    x = model.sample((4000, 2), time_grid(schedule, 60), generator)
    codes = pair.encode(x.double())
    torch.testing.assert_close(codes.mean(0), mean, rtol=0, atol=0.1)
    torch.testing.assert_close(torch.cov(codes.T), cov, rtol=0.1, atol=0.05)
    torch.testing.assert_close(model.decode(model.encode(x)), x)


def counted(net, *args):
    plain = sdpa_kernel(SDPBackend.MATH)  # of the fused one the counter knows nothing
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        net(*args)
    return counter.get_total_flops() / 2


def test_lat_3_the_best_scores_are_mutual_informations(generator):
    """LAT-3, M-30: over all batches of 2 and of 3 of a 2 x 3 world, the gradient vanishes at log p(x, y)/p(x)p(y)."""
    p = torch.rand(2, 3, generator=generator, dtype=F64) + 0.1
    p = p / p.sum()
    best = (p / (p.sum(1, keepdim=True) * p.sum(0))).log()
    cells = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    for N in (2, 3):
        batches = torch.cartesian_prod(*[torch.arange(6)] * N)

        def expected(S, batches=batches):
            x, y = cells[batches].unbind(2)
            share = p[x, y].prod(1)
            return sum(w * latent.contrastive_loss(S[a][:, b]) for w, a, b in zip(share, x, y, strict=True))

        S = (best + 0.7).requires_grad_()  # a constant does not matter
        value = expected(S)
        (slope,) = torch.autograd.grad(value, S)
        assert slope.abs().max() < 1e-12
        for _ in range(3):
            assert expected(best + 0.3 * torch.randn(2, 3, generator=generator, dtype=F64)) > value
    alike = latent.contrastive_loss(torch.zeros(5, 5))
    assert alike.item() == pytest.approx(math.log(5))
    with pytest.raises(ValueError, match=r"expected scores \(N, N\), got \(2, 3\)"):
        latent.contrastive_loss(torch.zeros(2, 3))


def test_lat_2_costs_as_counted():
    """LAT-2: convolutions exactly, attention within 10 %; a quarter of the side: 16 and 256 times less."""
    conv = torch.nn.Conv2d(5, 7, 3, padding=1)
    assert counted(conv, torch.zeros(1, 5, 8, 8)) == latent.conv_cost(8, 5, 7)
    attention = nets.SelfAttention(16, 2)
    found = counted(attention, torch.zeros(1, 16, 8, 8))
    assert found == pytest.approx(latent.attention_cost(8, 16), rel=0.1)
    assert latent.conv_cost(32, 4, 4) == 16 * latent.conv_cost(8, 4, 4)
    products = [latent.attention_cost(n, 16) - 4 * n**2 * 16**2 for n in (32, 8)]
    assert products[0] == 256 * products[1] and math.isclose(products[1], 2 * 64**2 * 16)


@pytest.mark.parametrize(("settings", "size"), [
    (dict(channels=3, widths=(16, 32, 64, 96)), 32), (dict(channels=4, widths=(64, 96)), 8),
    (dict(channels=1, widths=(8, 24), blocks=(2, 1), attention=(True, True), out_channels=2, beside=2), 10),
])  # fmt: skip
def test_lat_2_the_cost_of_a_network_as_counted(settings, size):
    """LAT-2: the model against a counter of operations, within 10 %."""
    net, aside = nets.UNet(**settings), settings.get("beside")
    x = torch.zeros(1, settings["channels"], size, size)
    beside = torch.zeros(1, aside, size, size) if aside else None
    found = counted(net, x, torch.ones(1), None, None, beside)
    assert latent.unet_cost(net, size) == pytest.approx(found, rel=0.1)


def faces(n=64):
    return Faces(64).batch(n, torch.Generator().manual_seed(3), size=16)[0]


def test_m_29_the_loss_is_a_bound_and_its_weight_a_claim():
    """LAT-1, M-29: loss = 2 s²/P (−ELBO) but for a constant, the ELBO that of a VAE with variance s²."""
    torch.manual_seed(0)
    model, x = latent.KLAutoencoder(3, (16, 16), 4, noise_std=0.3), faces(5)
    nn.init.normal_(model.encoder[-1].weight, std=0.1)
    q, seed = model.posterior(x), 4
    z = q.sample(torch.Generator().manual_seed(seed))
    P = x[0].numel()
    elbo = Gaussian(model.decode(z), 0.09).log_prob(x) - standard_kl(q).flatten(1).sum(1)
    constant = 0.09 * math.log(2 * math.pi * 0.09)
    found = model.loss(x, torch.Generator().manual_seed(seed))
    assert found.item() == pytest.approx(-2 * 0.09 / P * elbo.mean().item() - constant, rel=1e-4)
    torch.testing.assert_close(model.encode(x), q.mean)
    with pytest.raises(ValueError, match="expected noise_std > 0, got 0"):
        latent.KLAutoencoder(noise_std=0)


@pytest.mark.parametrize("kind", ("kl", "vq"))
def test_m_29_autoencoders_learn_to_give_back(kind):
    torch.manual_seed(0)
    model = latent.KLAutoencoder(3, (16, 16)) if kind == "kl" else latent.VQAutoencoder(3, (16, 16), 32, 4)
    x = faces()
    error = lambda: (model.decode(model.encode(x)) - x).square().mean().item()  # noqa: E731
    before = error()
    training.fit(
        model, lambda m, batch, g, step: m.loss(batch, g), x, steps=60, batch_size=32, lr=2e-3,
        optimizer=training.Muon, progress=False,
    )  # fmt: skip
    assert error() < 0.25 * before
    if kind == "vq":
        indices = model.encode(x)
        assert indices.shape == (64, 4, 4) and not indices.is_floating_point()
        loss, quantizer = model.loss(x), model.quantizer
        q, _, moved = quantizer(model.encoder(x))
        torch.testing.assert_close(loss, (x - model.decoder(q)).square().mean() + moved)
