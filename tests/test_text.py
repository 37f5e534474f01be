"""Words to numbers, numbers to features, a U-Net that reads them: what must not change the answer, and what must.

Ledger COND-3, CASC-3, LAT-3, APP-5, M-27, M-30.
"""

import pytest
import torch

from dlgm import latent, training
from dlgm.denoiser import Denoiser
from dlgm.guidance import ClassifierFree
from dlgm.nets import CaptionedUNet, ContrastivePair, CrossAttention, Text, TextEncoder, Tokenizer, UNet
from dlgm.nets.inspect import attention_maps
from dlgm.nets.text import PAD, UNKNOWN, split
from dlgm.nets.unet import attend
from dlgm.schedules import cosine_beta
from dlgm.training import image_loss

F64 = torch.float64
WORDS = ("a", "beard", "blue", "hair", "red", "with")


def stirred(module, seed=0):
    """The module in float64 with every weight moved, so that nothing starts at zero."""
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data = p.data.double() + 0.3 * torch.randn(p.shape, generator=g, dtype=F64)
    return module.double().eval()


@pytest.fixture(scope="module")
def net():
    return stirred(CaptionedUNet(WORDS, width=16, layers=2, channels=2, widths=(8, 16), attention=(True, True)))


def test_cond_3_the_tokenizer_refuses_nothing_and_says_what_it_does_not_know():
    tokenizer = Tokenizer.of(["A red beard", "blue hair, with a red beard."])
    assert tokenizer.words == WORDS and len(tokenizer) == 8
    tokens = tokenizer(["A RED beard!", "", "a blue-haired snark"])
    assert tokens.tolist() == [[2, 6, 3], [PAD] * 3, [2, UNKNOWN, UNKNOWN]]
    assert tokenizer.unknown("a blue-haired snark, red") == ["blue-haired", "snark"]
    assert tokenizer.text(tokens[2].tolist()) == "a ? ?" and tokenizer.text(tokens[1].tolist()) == ""
    assert tokenizer(["a red beard", "a"], length=2).tolist() == [[2, 6], [2, PAD]]
    assert tokenizer([]).shape == (0, 0) and tokenizer(["", "..."]).shape == (2, 0)
    assert split("It's a t-shirt_42 café — «Über»") == ["it's", "a", "t-shirt", "42", "café", "über"]
    assert Tokenizer.of(["b a", "b c", "b a"], most=2).words == ("a", "b")


def test_cond_3_attention_by_hand():
    """One pixel, two words, scores log 1 and log 3: weights 1/4 and 3/4; a hidden third word changes nothing."""
    q, k = torch.tensor([[[1.0]]]), torch.tensor([[[0.0], [1.0986122887], [9.0]]])
    v = torch.tensor([[[4.0], [8.0], [100.0]]])
    mask = torch.tensor([[True, True, False]])
    assert attend(q, k, v, 1, mask).item() == pytest.approx(0.25 * 4 + 0.75 * 8)


def test_cond_3_words_are_a_set_to_cross_attention(generator):
    layer = stirred(CrossAttention(8, 6, heads=2))
    x = torch.randn(3, 8, 4, 5, generator=generator, dtype=F64)
    features = torch.randn(3, 7, 6, generator=generator, dtype=F64)
    mask = torch.tensor([[True] * 4 + [False] * 3, [True] * 7, [True, False] * 3 + [False]])
    out, order = layer(x, Text(features, mask, None)), torch.randperm(7, generator=generator)
    torch.testing.assert_close(layer(x, Text(features[:, order], mask[:, order], None)), out, rtol=0, atol=1e-12)
    other = torch.where(mask[..., None], features, torch.randn_like(features))
    torch.testing.assert_close(layer(x, Text(other, mask, None)), out, rtol=0, atol=0)
    assert (layer(x, Text(features, mask | True, None)) - out).abs().max() > 0.01
    fresh = CrossAttention(8, 6, heads=2).double()
    torch.testing.assert_close(fresh(x, Text(features, mask, None)), x, rtol=0, atol=0)


def test_cond_3_padding_moves_nothing(net, generator):
    x, t = torch.randn(3, 2, 8, 8, generator=generator, dtype=F64), torch.tensor([1, 500, 900])
    y = net.tokenizer(["a red beard", "blue hair with a beard", ""])
    out = net(x, t, y)
    padded = torch.nn.functional.pad(y, (0, 9))
    assert (net(x, t, padded) - out).abs().max() < 1e-12
    torch.testing.assert_close(net(x[2:], t[2:]), out[2:], rtol=0, atol=1e-12)  # nothing said is the empty caption
    for i in range(3):  # alone as in a batch
        torch.testing.assert_close(net(x[i : i + 1], t[i : i + 1], y[i : i + 1]), out[i : i + 1], rtol=0, atol=1e-12)


def test_cond_3_every_word_and_their_order_count(net, generator):
    x, t = torch.randn(1, 2, 8, 8, generator=generator, dtype=F64), torch.tensor([300])
    answers = [net(x, t, net.tokenizer([c])) for c in ("red beard blue hair", "blue beard red hair", "red beard", "")]
    for i in range(4):
        for j in range(i):
            assert (answers[i] - answers[j]).abs().max() > 1e-3


def test_cond_3_it_starts_as_a_network_without_text(generator):
    captioned = CaptionedUNet(WORDS, channels=2, widths=(8, 16))
    plain = UNet(2, (8, 16))
    missing, extra = plain.load_state_dict(captioned.unet.state_dict(), strict=False)
    assert not missing and all("reading" in name or "summary" in name for name in extra)
    for head in (captioned.unet.head[2], plain.head[2]):
        torch.nn.init.constant_(head.weight, 0.1)
    x, t = torch.randn(2, 2, 8, 8, generator=generator), torch.tensor([3, 700])
    y = captioned.tokenizer(["a red beard", "blue"])
    torch.testing.assert_close(captioned(x, t, y), plain(x, t), rtol=0, atol=0)


def test_cond_3_a_text_is_wanted_where_it_was_built_in():
    with pytest.raises(ValueError, match="built with a text"):
        UNet(1, (8,), context=4)(torch.zeros(1, 1, 4, 4), torch.zeros(1))
    text = TextEncoder(5, 4, 1)(torch.tensor([[2, 3]]))
    with pytest.raises(ValueError, match="built without a text"):
        UNet(1, (8,))(torch.zeros(1, 1, 4, 4), torch.zeros(1), text=text)
    with pytest.raises(ValueError, match=r"expected rows of whole numbers \(B, L\), got torch.float32 \(2,\)"):
        TextEncoder(5, 4, 1)(torch.zeros(2))


def test_casc_2_a_level_is_told_and_starts_as_nothing(generator):
    net = UNet(1, (8,), heads=2, beside=1, noised=True)
    x, t, level = torch.randn(2, 1, 4, 4, generator=generator), torch.tensor([5, 9]), torch.tensor([0, 300])
    torch.nn.init.normal_(net.head[2].weight)
    plain = net(x, t, beside=x)  # nothing hangs on the level yet
    torch.testing.assert_close(net(x, t, beside=x, level=level), plain, rtol=0, atol=0)
    torch.nn.init.normal_(net.embed.level[1].weight)
    torch.nn.init.normal_(net.down[0][0].block.modulated.project.weight)
    torch.nn.init.normal_(net.down[0][0].block.conv2.weight)
    told = net(x, t, beside=x, level=level)
    assert (told[1] - net(x, t, beside=x, level=0 * level)[1]).abs().max() > 1e-3
    torch.testing.assert_close(told[0], net(x, t, beside=x)[0], rtol=0, atol=1e-5)  # none said is level 0
    with pytest.raises(ValueError, match=r"built without level \(noised=False\)"):
        UNet(1, (8,), heads=2)(x, t, level=level)


def test_guide_10_an_empty_caption_is_what_guidance_takes_for_none(net, generator):
    model = Denoiser(net, cosine_beta(), "v")
    assert model.null_label == PAD
    x, y = torch.randn(2, 2, 8, 8, generator=generator, dtype=F64), net.tokenizer(["a red beard", "blue"])
    with_y, without = model(x, 400, y=y).v, model(x, 400).v
    torch.testing.assert_close(ClassifierFree(model, 2.0)(x, 400, y=y).v, 3 * with_y - 2 * without)


def test_casc_3_a_frozen_encoder_stays_as_it_is():
    net = CaptionedUNet(WORDS, width=8, channels=1, widths=(8,), frozen=True, heads=2)
    before = [p.clone() for p in net.encoder.parameters()]
    data = torch.randint(0, 256, (16, 1, 4, 4), dtype=torch.uint8), net.tokenizer(["a red beard"]).expand(16, -1)
    training.fit(Denoiser(net, cosine_beta(50), "v"), image_loss, data, steps=3, batch_size=8, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, net.encoder.parameters(), strict=True))


def test_app_5_a_network_of_captions_is_stored_with_its_words(tmp_path, generator):
    model = Denoiser(CaptionedUNet(WORDS, width=8, layers=1, channels=1, widths=(8,), heads=2), cosine_beta(20), "v")
    torch.nn.init.normal_(model.net.unet.head[2].weight)
    training.save(model, tmp_path / "m.safetensors")
    again, _ = training.load(tmp_path / "m.safetensors")
    assert again.net.tokenizer.words == WORDS
    x, y = torch.randn(1, 1, 4, 4, generator=generator), again.net.tokenizer(["red hair"])
    torch.testing.assert_close(again(x, 7, y=y).x0, model.eval()(x, 7, y=y).x0, rtol=0, atol=0)


def test_lat_3_a_contrastive_pair_finds_the_pointwise_mutual_information():
    """A 3 × 4 table of (picture, caption) pairs: trained scores are log p(x, c)/(p(x) p(c)) up to one constant a row
    and a column (here: their double differences agree), to .1 nats after 600 steps."""
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    table = torch.tensor([[0.20, 0.05, 0.05, 0.03], [0.04, 0.20, 0.05, 0.04], [0.05, 0.05, 0.04, 0.20]])
    table = table / table.sum()
    pictures = torch.randn(3, 1, 8, 8, generator=g)
    model = ContrastivePair(("a", "b", "c", "d"), width=16, layers=1, channels=1)
    y = model.tokenizer(["a", "b", "c", "d"])
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    rows = torch.arange(12)
    for _ in range(600):  # the loss of an endless batch: every pair in the proportion of the table
        scores = model(pictures, y)
        p = table.flatten()
        s = scores.flatten()
        up = (table.sum(0).log() + scores).logsumexp(1)[rows // 4]
        down = (table.sum(1, keepdim=True).log() + scores).logsumexp(0)[rows % 4]
        loss = -(p * (2 * s - up - down)).sum() / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        scores = model(pictures, y)
    pmi = (table / (table.sum(0) * table.sum(1, keepdim=True))).log()

    def centred(m):
        return m - m.mean(0) - m.mean(1, keepdim=True) + m.mean()

    torch.testing.assert_close(centred(scores), centred(pmi), rtol=0, atol=0.1)
    assert latent.contrastive_loss(scores[:3, :3]).isfinite()
    for vectors in (model.pictures(pictures), model.captions(y)):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


def test_cond_3_maps_of_attention_are_what_the_layer_computes(net, generator):
    """Shares sum to 1, hidden words have none, and shares times values, through the last layer, are what was added."""
    x, y = torch.randn(2, 2, 8, 8, generator=generator, dtype=F64), net.tokenizer(["a red beard", "blue"])
    maps = attention_maps(net, lambda: net(x, torch.tensor([5, 600]), y))
    assert [m.shape for m in maps] == [(2, 4, s, s, 4) for s in (8, 4, 4, 4, 8)]  # down, middle, up
    for m in maps:
        torch.testing.assert_close(m.sum(4), torch.ones_like(m[..., 0]))
        assert (m[1, ..., 2:] == 0).all() and (m[0] > 0).all()
    layer, text = stirred(CrossAttention(8, 6, heads=2)), Text(torch.randn(2, 3, 6).double(), None, None)
    text = text._replace(mask=torch.tensor([[True] * 3, [True, False, True]]))
    h = torch.randn(2, 8, 2, 3, generator=generator, dtype=F64)
    (m,) = attention_maps(layer, lambda: layer(h, text))
    v = layer.projected(h, text)[2].unflatten(2, (2, -1)).transpose(1, 2)
    mixed = (m.flatten(2, 3) @ v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(layer(h, text), h + layer.out(mixed.transpose(1, 2).unflatten(2, (2, 3))))
