"""Networks: shapes and sizes, what they start as, what they must not depend on, that they learn an exact answer."""

import math

import pytest
import torch
from torch import nn

from dlgm import losses
from dlgm.denoiser import Denoiser
from dlgm.nets import (
    Classifier,
    Fourier,
    ResBlock,
    SelfAttention,
    Sinusoidal,
    TimeEmbedding,
    TimeMLP,
    UNet,
    decoder,
    encoder,
    sinusoidal,
)
from dlgm.nets.unet import Modulated, group_norm
from dlgm.oracles import GaussianMixture
from dlgm.process import q_sample
from dlgm.schedules import cosine_beta
from dlgm.training import EMA, CosineLR, fit


def randomised(module, seed=0):
    """The module with every weight drawn anew, so that nothing starts at zero."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=g))
    return module.eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_arch_4_a_shift_of_time_is_a_rotation_of_each_pair():
    t = torch.tensor([0.0, 3.0, 500.0])
    before, after = sinusoidal(t, 16), sinusoidal(t + 7, 16)
    rate = 10_000.0 ** (-torch.arange(8) / 8)
    sin, cos = before.chunk(2, 1)
    turned = torch.cat(
        [sin * (7 * rate).cos() + cos * (7 * rate).sin(), cos * (7 * rate).cos() - sin * (7 * rate).sin()], 1
    )
    torch.testing.assert_close(after, turned, rtol=0, atol=1e-4)  # float32 angles of up to 500
    rows = sinusoidal(torch.arange(1001.0), 64)
    distance = torch.cdist(rows, rows) + 10 * torch.eye(1001)
    assert distance.min() > 0.1  # all times of T = 1000 differ
    with pytest.raises(ValueError, match="must be even, got 7"):
        sinusoidal(t, 7)


def test_arch_5_fourier_features_approach_a_gaussian_kernel_and_are_not_trained():
    torch.manual_seed(0)
    layer = Fourier(20_000, scale=2.0)
    t = torch.linspace(0, 1, 21)
    kernel = layer(t) @ layer(t[:1]).T
    want = torch.exp(-2 * (math.pi * 2.0 * t) ** 2)[:, None]
    assert (kernel - want).abs().max() < 5 / math.sqrt(20_000)  # a mean of 10,000 cosines, standard error below 0.0071
    assert list(layer.parameters()) == [] and "frequency" in layer.state_dict()


@pytest.mark.parametrize("size", [(28, 28), (7, 9), (5, 5), (32, 20)])
@pytest.mark.parametrize("channels", [1, 3])
def test_arch_7_the_unet_answers_in_the_shape_it_was_asked(size, channels):
    """QUIZ-1.3: input and output of ε_θ have one size; the batch does not mix; t matters."""
    net = randomised(UNet(channels, (8, 8, 16), heads=2))
    x, t = noise(2, channels, *size), torch.tensor([1, 900])
    out = net(x, t)
    assert out.shape == x.shape
    assert (out - net(x, torch.tensor([1, 20]))).flatten(1).abs().amax(1).tolist()[0] == 0  # examples do not mix
    assert (out - net(x, torch.tensor([1, 20]))).flatten(1).abs().amax(1).tolist()[1] > 1e-3  # and t matters


def test_twice_the_channels_for_a_learned_variance():
    net = UNet(3, (8, 16), heads=2, out_channels=6)
    assert net(noise(1, 3, 6, 6), torch.tensor([3])).shape == (1, 6, 6, 6)


def test_a_fresh_unet_answers_zero_and_its_blocks_are_the_identity():
    """Zero initialisation: the last convolution of each branch starts at zero (ARCH-3, ARCH-6)."""
    torch.manual_seed(0)
    assert UNet(1, (8, 16), heads=2)(noise(2, 1, 8, 8), torch.tensor([1, 2])).abs().max() == 0
    x, e = noise(2, 8, 5, 5), noise(2, 32)
    assert torch.equal(ResBlock(8, 8, 32)(x, e), x)
    assert torch.equal(SelfAttention(8, 2)(x), x)
    for kind in ("adagn", "add"):
        layer = Modulated(8, 32, kind)
        torch.testing.assert_close(layer(x, e), layer.norm(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels, size", [(16, 16), (112, 16), (8, 8), (24, 8), (10, 2), (5, 1)])
def test_group_normalisation_makes_groups_of_sixteen_channels_or_a_part_of_sixteen(channels, size):
    x = noise(2, channels, 3, 3)
    grouped = x.reshape(2, channels // size, -1)
    grouped = (grouped - grouped.mean(2, keepdim=True)) / (grouped.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(group_norm(channels)(x), grouped.reshape(x.shape))


def test_arch_6_adaptive_group_norm_is_scale_and_shift_of_the_normalised():
    layer, h, e = randomised(Modulated(8, 32, "adagn")), noise(2, 8, 3, 3), noise(2, 32, seed=1)
    s, b = layer.project(e).chunk(2, 1)
    want = (1 + s)[:, :, None, None] * layer.norm(h) + b[:, :, None, None]
    torch.testing.assert_close(layer(h, e), want)
    with pytest.raises(ValueError, match="unknown conditioning 'film'; known: adagn, add"):
        Modulated(8, 32, "film")


def test_arch_3_attention_is_the_softmax_formula_and_permutes_with_its_pixels():
    layer, x = randomised(SelfAttention(8, heads=2)), noise(2, 8, 3, 4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    moved = x.flatten(2)[:, :, order].reshape(x.shape)
    torch.testing.assert_close(layer(moved).flatten(2), layer(x).flatten(2)[:, :, order])
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, 1)  # each (2, 8, 12)
    heads = []
    for i in range(2):
        qi, ki, vi = (u[:, 4 * i : 4 * i + 4] for u in (q, k, v))
        share = (qi.mT @ ki / math.sqrt(4)).softmax(-1)  # (2, 12, 12): of each pixel, over all pixels
        heads.append((share @ vi.mT).mT)
    by_hand = x + layer.out(torch.cat(heads, 1).reshape(x.shape))
    torch.testing.assert_close(layer(x), by_hand)
    with pytest.raises(ValueError, match="6 channels cannot be shared among 4 heads"):
        SelfAttention(6, 4)


def test_arch_1_two_bare_convolutions_are_one_larger_one():
    """E-53: without a nonlinearity between them, two 3×3 convolutions are one 5×5 convolution."""
    a, b = (randomised(nn.Conv2d(1, 1, 3, bias=False), seed=i).double() for i in range(2))
    x = noise(1, 1, 9, 9).double()
    kernel = nn.functional.conv2d(a.weight.flip(2, 3), b.weight, padding=2).flip(2, 3)
    one = nn.functional.conv2d(x, kernel)
    torch.testing.assert_close(b(a(x)), one)
    assert kernel.shape == (1, 1, 5, 5)
    assert (b(a(x).relu()) - one).abs().max() > 1e-3


def test_labels():
    net = randomised(UNet(1, (8, 16), heads=2, classes=3))
    x, t = noise(4, 1, 8, 8).expand(4, 1, 8, 8).clone(), torch.full((4,), 5)
    x[:] = x[:1]
    out = net(x, t, torch.tensor([0, 1, 2, 3]))
    assert min((out[i] - out[j]).abs().max() for i in range(4) for j in range(i)) > 1e-4
    torch.testing.assert_close(net(x[:1], t[:1]), out[3:])  # none given is the null label
    with pytest.raises(ValueError, match="built without labels"):
        UNet(1, (8, 16), heads=2)(x, t, torch.zeros(4, dtype=torch.long))


def test_time_scale_lets_another_T_use_the_same_features():
    a, b = TimeEmbedding(8), TimeEmbedding(8, time_scale=10.0)
    b.load_state_dict(a.state_dict())
    torch.testing.assert_close(a(torch.tensor([250.0])), b(torch.tensor([25])))
    with pytest.raises(ValueError, match="unknown time features 'learned'; known: sinusoidal, fourier"):
        TimeEmbedding(8, "learned")


def test_what_a_unet_refuses():
    with pytest.raises(ValueError, match="for each of 2 widths"):
        UNet(1, (8, 16), attention=(True,))
    with pytest.raises(ValueError, match="for each of 2 widths"):
        UNet(1, (8, 16), blocks=(1, 0))
    net = UNet(1, (8, 8, 8), heads=2)
    for shape in ((2, 3, 8, 8), (2, 1, 3, 8), (2, 8, 8)):
        with pytest.raises(ValueError, match="expected images \\(B, 1, H, W\\) of at least 4×4 pixels"):
            net(torch.zeros(shape), torch.zeros(2))
    with pytest.raises(ValueError, match="expected points"):
        TimeMLP(2)(torch.zeros(2, 3), torch.zeros(2))


def test_the_mlp_learns_the_exact_noise_of_a_mixture(generator):
    """Trained on L_simple, ε̂ comes near E[ε | x_t] everywhere the data are: the only thing it can be right about."""
    world, schedule = (
        GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.5]], [[0.05, 0.05], [0.05, 0.2]]),
        cosine_beta(50),
    )
    torch.manual_seed(0)
    model = Denoiser(TimeMLP(2, 64, time_scale=20.0), schedule)
    ema = EMA(model, 0.99)

    def loss(model, batch, generator, step):
        t = losses.sample_t(schedule, len(batch), generator)
        return losses.simple_loss(model, batch, t, torch.randn(batch.shape, generator=generator)).mean()

    fit(
        model,
        loss,
        world.sample(4000, generator),
        steps=1200,
        batch_size=256,
        lr=CosineLR(5e-3, 1200),
        ema=ema,
        progress=False,
    )
    x0, t = world.sample(4000, generator), torch.randint(1, 51, (4000,), generator=generator)
    x_t = q_sample(schedule, x0, t, torch.randn(x0.shape, generator=generator))
    with torch.no_grad():
        error = (ema.model(x_t, t).eps - world.denoiser(schedule)(x_t, t).eps).square().mean()
    assert error < 0.02  # the target's own conditional variance is about 0.3; a constant guess misses by 0.7


def test_the_classifier_ignores_the_batch_around_an_image():
    net = randomised(Classifier(1, 5, width=8))
    x = noise(4, 1, 28, 28)
    torch.testing.assert_close(net(x)[2:3], net(x[2:3]))
    assert net.features(x).shape == (4, 32)


def test_settings_build_the_same_network_again():
    """What a checkpoint keeps: every argument, also where it is not the default, and the defaults themselves."""
    mlp = dict(dim=3, width=16, layers=3, classes=2, features="fourier", time_scale=5.0, beside=2)
    unet = dict(
        channels=2, widths=(8, 16), blocks=(1, 2), attention=(True, False), heads=2, classes=3, features="fourier",
        time_scale=5.0, conditioning="add", dropout=0.25, out_channels=4, guided=True, beside=3,
        noised=True, context=8, reading=False,
    )  # fmt: skip
    for kind, settings in ((TimeMLP, mlp), (UNet, unet), (Classifier, dict(channels=3, classes=4, width=8))):
        net = kind(**settings)
        assert net.settings == settings
        assert {k: v.shape for k, v in kind(**net.settings).state_dict().items()} == {
            k: v.shape for k, v in net.state_dict().items()
        }
    default = dict(features="sinusoidal", time_scale=1.0, classes=0)
    assert TimeMLP(2).settings == dict(dim=2, width=128, layers=2, beside=0, **default)
    assert UNet().settings == dict(
        channels=1, widths=(32, 64, 128), blocks=(1, 1, 1), attention=(False, False, True), heads=4,
        conditioning="adagn", dropout=0.0, out_channels=None, guided=False, beside=0,
        noised=False, context=0, reading=True, **default,
    )  # fmt: skip
    assert Classifier().settings == dict(channels=1, classes=10, width=16)


def test_cond_2_a_picture_beside_x_t():
    """COND-2: it starts as a network without it, then hears of it; what does not fit is refused."""
    net, x, t, picture = (
        UNet(2, (8, 16), heads=2, beside=3),
        noise(2, 2, 8, 8),
        torch.tensor([1.0, 5.0]),
        noise(2, 3, 8, 8),
    )
    plain = UNet(2, (8, 16), heads=2)
    missing, unexpected = plain.load_state_dict(net.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ["aside.weight"])
    net.head[2].weight.data.normal_()
    plain.head[2].weight.data.copy_(net.head[2].weight)
    torch.testing.assert_close(net(x, t, beside=picture), plain(x, t), rtol=0, atol=0)
    nn.init.normal_(net.aside.weight)
    assert (net(x, t, beside=picture) - plain(x, t)).abs().max() > 0.1
    for wrong in (None, picture[:, :2], picture[..., :4]):
        with pytest.raises(ValueError, match=r"expected a picture beside x of shape \(2, 3, 8, 8\), got"):
            net(x, t, beside=wrong)
    with pytest.raises(ValueError, match=r"of shape None, got \(2, 3, 8, 8\)"):
        plain(x, t, beside=picture)


def test_m_29_a_grid_of_codes_and_back():
    """A far pixel moves a code only through the normalisation, by little; an example does not see the batch."""
    down, up = encoder(3, (16, 32), 4), decoder(3, (16, 32), 4)
    g = torch.Generator().manual_seed(0)
    for net in (down, up):  # what starts at zero hides the blocks
        for p in net.parameters():
            nn.init.normal_(p, std=0.1, generator=g)
    x = noise(2, 3, 64, 64)
    z = down(x)
    torch.testing.assert_close(z[1:], down(x[1:]))
    torch.testing.assert_close(up(z)[1:], up(z[1:]))
    assert up(z).shape == x.shape
    moved = x.clone()
    moved[:, :, :4, :4] += 3
    change = (down(moved) - z).abs().amax((0, 1))
    assert change.shape == (16, 16) and change[8:, 8:].max() < 0.05 * change[0, 0]


def test_arch_6_the_mlp_is_its_formula():
    """h ← h + W₂ SiLU((1 + s) W₁ SiLU(h) + b), layer by layer."""
    net, x, t = randomised(TimeMLP(2, 8, 2)), noise(3, 2), torch.tensor([0.0, 3.0, 70.0])
    silu, h = nn.functional.silu, net.start(x)
    for first, second, time in zip(net.first, net.second, net.time, strict=True):
        s, b = time(net.embed(t))[:, :8], time(net.embed(t))[:, 8:]
        h = h + second(silu((1 + s) * first(silu(h)) + b))
    torch.testing.assert_close(net(x, t), net.end(silu(h)))
    assert len(net.first) == 2
    for shape in ((2,), (2, 1, 2), (2, 3)):
        with pytest.raises(ValueError, match=r"expected points \(B, 2\), got shape"):
            net(torch.zeros(shape), torch.zeros(2))


def test_lat_3_numbers_beside_a_point_are_heard():
    net, x, t, c = randomised(TimeMLP(3, 8, 1, beside=2)), noise(4, 3), torch.arange(4.0), noise(4, 2, seed=1)
    assert (net(x, t, beside=c) - net(x, t, beside=-c)).abs().amax(1).min() > 1e-3
    for wrong in (None, c[:, :1], c[:2]):
        with pytest.raises(ValueError, match=r"numbers beside x of shape \(4, 2\), got"):
            net(x, t, beside=wrong)
    with pytest.raises(ValueError, match=r"of shape None, got \(4, 2\)"):
        TimeMLP(3, 8)(x, t, beside=c)


def test_arch_6_the_other_conditioning_adds_before_the_norm():
    layer, h, e = randomised(Modulated(16, 32, "add")), noise(2, 16, 3, 3), noise(2, 32, seed=1)
    assert layer.norm.num_groups == 1  # in a group of one channel the norm would take the shift away again
    torch.testing.assert_close(layer(h, e), layer.norm(h + layer.project(e)[:, :, None, None]))


def test_arch_4_features_as_the_papers_write_them():
    """ω_i = 10000^(−i/32) for 64 features, in a layer and in the embedding; whole numbers serve as times."""
    t, i = torch.tensor([0, 1, 40, 1000]), torch.arange(32)
    angle = t.double()[:, None] * 10_000.0 ** (-i.double() / 32)
    want = torch.cat([angle.sin(), angle.cos()], 1).float()
    for features in (sinusoidal(t, 64), Sinusoidal(64)(t), TimeEmbedding(8).features(t)):
        torch.testing.assert_close(features, want, rtol=0, atol=2e-4)  # float32 angles of up to 1000
    short = sinusoidal(t.float(), 4, 100.0)
    torch.testing.assert_close(short[:, [0, 2]], torch.stack([t.sin(), t.cos()], 1), rtol=0, atol=1e-4)
    torch.testing.assert_close(short[:, 1], (t / 10).sin(), rtol=0, atol=1e-4)


def test_arch_5_fourier_features_are_sines_and_cosines_of_length_1():
    torch.manual_seed(0)
    layer, t = Fourier(6), torch.tensor([0, 1, 3])
    angle = 2 * math.pi * t[:, None] * layer.frequency
    torch.testing.assert_close(layer(t), torch.cat([angle.sin(), angle.cos()], 1) / 3**0.5)
    torch.testing.assert_close(layer(t.to(torch.bfloat16)), layer(t))  # the angle is taken in float32
    with pytest.raises(ValueError, match="must be even, got 5"):
        Fourier(5)


def test_a_label_is_added_to_the_features_of_the_time():
    layer = randomised(TimeEmbedding(8, classes=2, time_scale=3.0))
    t, y = torch.tensor([1, 2, 3]), torch.tensor([1, 0, 2])
    features = sinusoidal(3.0 * t, 64) + layer.label.weight[y]
    torch.testing.assert_close(layer(t, y), layer.layers(features))
    torch.testing.assert_close(layer(t), layer.layers(sinusoidal(3.0 * t, 64) + layer.label.weight[2]))


def test_the_least_picture_and_the_numbers_of_blocks():
    assert UNet(1, (8, 8, 8), heads=2)(noise(1, 1, 4, 5), torch.ones(1)).shape == (1, 1, 4, 5)
    for bad in (dict(blocks=(1,)), dict(blocks=0), dict(attention=(True, True, True)), dict(widths=())):
        with pytest.raises(ValueError, match="expected blocks"):
            UNet(**{"channels": 1, "widths": (8, 16), **bad})
    net = UNet(1, (8, 16), blocks=(1, 2), heads=2)
    assert [len(v) for v in net.down] == [len(v) for v in net.up] == [1, 2]
