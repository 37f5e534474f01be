"""A cascade in a world where its law is exact; conditions in their order; what an upsampler is trained on.

Ledger CASC-1, CASC-2, CASC-3, LAT-3, M-26.
"""

import pytest
import torch

from dlgm import cascade, nets
from dlgm.denoiser import Denoiser, Prediction
from dlgm.oracles import Pyramid
from dlgm.process import q_sample
from dlgm.samplers import DDPM, sample
from dlgm.schedules import cosine_beta, time_grid

F64 = torch.float64
SCHEDULE = cosine_beta()


@pytest.fixture
def pyramid():
    """4 × 4 pixels, neighbours correlated by .8 along rows and columns."""
    place = torch.arange(4, dtype=F64)
    row = 0.8 ** (place[:, None] - place).abs()
    return Pyramid(torch.kron(row, row))


def scales(level):
    return float(SCHEDULE.signal(level)), float(SCHEDULE.noise(level))


def test_casc_1_the_law_of_what_a_cascade_draws_is_its_formula(pyramid, generator):
    """Two linear steps by hand: low with an error, noised; then p(x | z) of the training. 400,000 draws agree."""
    signal, noise = scales(400)
    n, error, std = 400_000, 0.4, 0.3
    low = pyramid.sample(n, generator).flatten(1) @ pyramid.A.T
    low = low + error * torch.randn(low.shape, generator=generator, dtype=F64)
    told = signal * low + std * torch.randn(low.shape, generator=generator, dtype=F64)
    trained = signal**2 * pyramid.low_cov + noise**2 * torch.eye(4, dtype=F64)
    K = torch.linalg.solve(trained, signal * pyramid.A @ pyramid.cov).T
    rest = pyramid.cov - K @ trained @ K.T
    x = told @ K.T + torch.randn(n, 16, generator=generator, dtype=F64) @ torch.linalg.cholesky(rest).T
    want = pyramid.drawn(signal, noise, error, signal, std)
    error = (torch.cov(x.T) - want).abs().max().item()
    assert error < 6 * 2**0.5 * want.max().item() / n**0.5  # six standard errors of a variance
    assert (want - pyramid.cov).abs().max() > 0.02


@pytest.mark.parametrize("level,error", [(100, 0.0), (400, 0.3), (600, 0.9)])
def test_casc_1_adding_the_difference_restores_the_training_law(pyramid, level, error):
    signal, noise = scales(level)
    scale, std = cascade.added_level(SCHEDULE, level, error)
    torch.testing.assert_close(pyramid.drawn(signal, noise, error, scale, std), pyramid.cov, rtol=0, atol=1e-12)
    assert (std / scale) ** 2 == pytest.approx((noise / signal) ** 2 - error**2)  # s² − e²
    if error:
        more, none = (pyramid.drawn(signal, noise, error, signal, v).trace() for v in (noise, 0.0))
        assert none < pyramid.cov.trace() < more
    with pytest.raises(ValueError, match="covers errors up to"):
        cascade.added_level(SCHEDULE, level, 1.01 * noise / signal)


def test_casc_1_a_cascade_of_exact_denoisers_draws_the_joint_law(pyramid, generator):
    """Both walks ancestral in 250 steps: the covariance of (small, large) to the walk's own error and the draws'."""
    level, n = 300, 6000
    chain = cascade.Cascade((pyramid.base(SCHEDULE), pyramid.upsampler(SCHEDULE)), level)
    low, x = chain.sample((n, 1, 2, 2), time_grid(SCHEDULE, 250), generator, DDPM())
    assert low.shape == (n, 1, 2, 2) and x.shape == (n, 1, 4, 4)
    signal, noise = scales(level)
    trained = signal**2 * pyramid.low_cov + noise**2 * torch.eye(4, dtype=F64)
    K = torch.linalg.solve(trained, signal * pyramid.A @ pyramid.cov).T
    both = torch.cov(torch.cat([low.flatten(1), x.flatten(1)], 1).double().T)
    want = torch.cat(
        [
            torch.cat([pyramid.low_cov, signal * pyramid.low_cov @ K.T], 1),
            torch.cat([signal * K @ pyramid.low_cov, pyramid.cov], 1),
        ]
    )
    assert (both - want).abs().max() < 0.08  # 4.5 standard errors of a variance of 1, .018 each


def test_casc_2_the_exact_upsampler_answers_the_conditional_mean(pyramid, generator):
    """By the Gaussian formula on (x_t, told) stacked; and a level given for each example reads the same."""
    x0 = pyramid.sample(5, generator)
    t, level = 500, 200
    beside = cascade.condition(SCHEDULE, cascade.shrink(x0), level, generator=generator)
    x_t = q_sample(SCHEDULE, x0, t, torch.randn(x0.shape, generator=generator, dtype=F64))
    told = pyramid.upsampler(SCHEDULE)(x_t, t, beside=beside, level=torch.full((5,), level)).x0
    (a, b), (c, d) = scales(t), scales(level)
    z = torch.linalg.lstsq(pyramid.E, beside.flatten(1).T).solution.T  # enlarging loses nothing
    H = torch.cat([a * torch.eye(16, dtype=F64), c * pyramid.A])
    S = H @ pyramid.cov @ H.T + torch.diag(torch.tensor([b**2] * 16 + [d**2] * 4, dtype=F64))
    want = torch.cat([x_t.flatten(1), z], 1) @ torch.linalg.solve(S, H @ pyramid.cov)
    torch.testing.assert_close(told.flatten(1), want)


def test_casc_2_conditions_in_their_order(generator):
    """signal · low + noise · ε at the small size, then enlarged; other orders have other strengths or grains."""
    low = torch.rand(4, 3, 8, 8, generator=generator, dtype=F64) * 2 - 1
    eps = torch.randn(low.shape, generator=torch.Generator().manual_seed(5), dtype=F64)
    signal, noise = scales(300)
    got = cascade.condition(SCHEDULE, low, 300, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(got, cascade.enlarge(signal * low + noise * eps))
    torch.testing.assert_close(cascade.condition(SCHEDULE, low, 0), cascade.enlarge(low))
    torch.testing.assert_close(cascade.shrink(cascade.enlarge(low)).mean((2, 3)), low.mean((2, 3)), rtol=0, atol=0.05)
    late = torch.randn(4, 3, 16, 16, generator=generator, dtype=F64).std()
    assert cascade.enlarge(eps).std() < 0.75 * late  # bilinear weights (3/4, 1/4) twice: .39 of the variance inside
    with pytest.raises(ValueError, match=r"sides that 2 divides, got \(5, 8\)"):
        cascade.shrink(torch.zeros(1, 3, 5, 8))


def test_casc_2_what_an_upsampler_is_trained_on():
    """The loss calls the network with the condition and its level; told exactly, the best answer reaches the floor."""
    seen = {}

    def net(x, t, beside, level):
        seen.update(beside=beside, level=level)
        return torch.zeros_like(x)

    x0 = torch.rand(6, 3, 8, 8) * 2 - 1
    value = cascade.loss(Denoiser(net, SCHEDULE, "x0"), x0, torch.Generator().manual_seed(0), most=50)
    torch.testing.assert_close(value, x0.square().flatten(1).sum(1))
    assert seen["beside"].shape == x0.shape and seen["level"].shape == (6,) and 0 <= seen["level"].max() <= 50


def test_casc_3_a_cascade_of_three_networks_and_its_shapes(generator):
    """Captions go to all; sizes double; nothing reaches a frozen text encoder."""
    words = ("a", "red", "cat")
    small = Denoiser(nets.CaptionedUNet(words, width=8, channels=3, widths=(8,), frozen=True), SCHEDULE, "v")
    large = [
        Denoiser(nets.CaptionedUNet(words, width=8, channels=3, widths=(8,), beside=3, noised=True), SCHEDULE, "v")
        for _ in range(2)
    ]
    y = small.net.tokenizer(["a red cat", "a dog"])
    with torch.no_grad():
        found = cascade.Cascade((small, *large), (50, 20)).sample((2, 3, 4, 4), time_grid(SCHEDULE, 3), generator, y=y)
    assert [p.shape for p in found] == [(2, 3, 4, 4), (2, 3, 8, 8), (2, 3, 16, 16)]
    small(torch.randn(2, 3, 4, 4), 10, y=y).x0.sum().backward()
    assert all(p.grad is None for p in small.net.encoder.parameters())
    assert any(p.grad is not None for p in small.net.unet.parameters())
    with pytest.raises(ValueError, match="expected 2 levels, one for each model that makes larger, got 1"):
        cascade.Cascade((small, *large), (50,)).sample((2, 3, 4, 4), time_grid(SCHEDULE, 3), generator, y=y)


def test_casc_1_a_pyramid_wants_a_square_with_even_sides():
    for wrong in (torch.eye(9), torch.eye(5), torch.zeros(16, 4)):
        with pytest.raises(ValueError, match="expected a covariance"):
            Pyramid(wrong)


class Line:
    """The exact denoiser of a number N(a c, var) that is told c beside it."""

    def __init__(self, a, var):
        self.a, self.var, self.schedule = a, var, SCHEDULE

    def __call__(self, x_t, t, beside):
        signal, noise = scales(t)
        gain = signal * self.var / (signal**2 * self.var + noise**2)
        x0 = self.a * beside + gain * (x_t - signal * self.a * beside)
        return Prediction(SCHEDULE, x_t, t, x0=x0)


def test_lat_3_prior_and_decoder_draw_the_integral(generator):
    """c → z ~ N(.8 c, .5) → x ~ N(2 z, .3): x | c has mean 1.6 c and variance .3 + 4 · .5. Told the mean of z, .3."""
    pair = cascade.PriorDecoder(Line(0.8, 0.5), Line(2.0, 0.3))
    n, c = 20_000, torch.full((20_000, 1), 1.5, dtype=F64)
    grid = time_grid(SCHEDULE, 200)
    z, x = pair.sample(c, 1, (1,), grid, generator, DDPM())
    assert z.mean().item() == pytest.approx(1.2, abs=0.03) and z.var().item() == pytest.approx(0.5, abs=0.03)
    assert x.mean().item() == pytest.approx(2.4, abs=0.06)
    assert x.var().item() == pytest.approx(2.3, abs=0.12)  # 2.3 √(2/n) = .023, and the walk's own error
    start = SCHEDULE.start((n, 1), generator).double()
    alone = sample(pair.decoder, DDPM(), start, grid, generator, beside=torch.full_like(c, 1.2))
    assert alone.var().item() == pytest.approx(0.3, abs=0.03)


def test_lat_3_a_decoder_of_pictures_hears_its_vector(generator):
    words = nets.UNet(1, (8,), heads=2, context=6)
    for p in words.parameters():
        p.data.add_(0.2 * torch.randn(p.shape, generator=generator))
    pair = cascade.PriorDecoder(
        Denoiser(nets.TimeMLP(6, 16, 1, beside=4), SCHEDULE, "x0"),
        Denoiser(words, SCHEDULE, "v"),
        lambda z: {"text": nets.as_text(z)},
    )
    with torch.no_grad():
        z, x = pair.sample(torch.randn(3, 4, generator=generator), 6, (1, 4, 4), time_grid(SCHEDULE, 3), generator)
        x_t = torch.randn(3, 1, 4, 4, generator=generator)
        moved = pair.decoder(x_t, 300, **pair.told(z)).x0 - pair.decoder(x_t, 300, **pair.told(-z)).x0
    assert z.shape == (3, 6) and x.shape == (3, 1, 4, 4) and moved.abs().amax((1, 2, 3)).min() > 1e-3
