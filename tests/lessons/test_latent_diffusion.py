"""Lesson 18: the numbers that its text quotes, the priors over pages, the faults, the tables, and its figures."""

import math

import pytest
import torch

from dlgm import data, latent, training
from dlgm.course import latent_diffusion as given
from dlgm.data.faces import Faces
from dlgm.exercises.latent_diffusion import codebook_loss, hidden_factor, lost_nats, scaled_codes, straight_through
from dlgm.latent import Scale
from dlgm.oracles import GaussianMixture, affine
from dlgm.plots import latent_diffusion as figures
from dlgm.samplers import DDIM
from dlgm.schedules import DiscreteSchedule, cosine_beta, time_grid

F64 = torch.float64


def test_lat_1_the_nats_by_hand():
    W = torch.tensor([[1.0], [0.0], [0.0]], dtype=F64)
    x = torch.tensor([[3.0, 1.0, 2.0]], dtype=F64)
    assert lost_nats(x, W, 0.5).item() == pytest.approx(0.5 * (5 / 0.5 + 2 * math.log(math.pi)))
    assert round(lost_nats(x, W, 0.5).item(), 3) == 6.145
    torch.testing.assert_close(lost_nats(x, W, 0.5), latent.Orthogonal(W, 0.5).residual(x))


def test_m_29_the_shifts_that_the_text_quotes():
    """3.41 nats for 1/0.18215, 3.22 for five; a walk from N(0, 1) ends .938 as wide as the codes' law."""
    k = 1 / 0.18215
    assert round(latent.logsnr_shift(k), 2) == 3.41 and round(latent.logsnr_shift(5), 2) == 3.22
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=F64) ** 2
    published = DiscreteSchedule(beta.tolist())
    met, walked = latent.first_state(published, k, 1000)
    assert round(met**2, 3) == 1.136
    wide, grid = GaussianMixture([1.0], [[0.0]], [k**2]).denoiser(published), time_grid(published, 200)
    ends = [affine.walk_law(wide, DDIM(), grid, [0.0], [[v**2]])[1].item() ** 0.5 for v in (walked, met)]
    assert ends[0] / ends[1] == pytest.approx(1 / met, rel=1e-6) and round(1 / met, 3) == 0.938


def test_m_29_the_exercises_agree_with_the_package(generator):
    z = 2 + 3 * torch.randn(50, 4, 3, 3, generator=generator, dtype=F64)
    torch.testing.assert_close(scaled_codes(z), Scale.of(z).down(z))
    quantizer = latent.VectorQuantizer(6, 3)
    points = torch.randn(40, 3, generator=generator)
    q, _, loss = quantizer(points)
    torch.testing.assert_close(straight_through(points, quantizer.codebook.weight), q)
    torch.testing.assert_close(codebook_loss(points, q.detach(), 0.25), loss)
    schedule, t = cosine_beta(), 400
    noised = schedule.signal(t) * 5 * torch.randn(10**5, generator=generator) + schedule.noise(t) * torch.randn(
        10**5, generator=generator
    )
    assert hidden_factor(noised, t, schedule.alpha_bar).item() == pytest.approx(2 * math.log(5), abs=0.02)


@pytest.mark.parametrize("neighbours", (True, False))
def test_m_29_a_prior_of_pages_is_a_law(neighbours):
    """Its probabilities sum to 1 over all grids; its draws have the bits that it says; a rule is found."""
    g = torch.Generator().manual_seed(0)
    first = torch.randint(2, (3000, 1), generator=g)
    grids = torch.stack([first[:, 0], 1 - first[:, 0], torch.randint(2, (3000,), generator=g)], 1)[:, None]
    prior = given.GridPrior(grids, 2, neighbours)
    every = torch.cartesian_prod(*[torch.arange(2)] * 3)[:, None]
    assert (2 ** -prior.bits(every)).sum().item() == pytest.approx(1)
    drawn = prior.sample(4000, g)
    shares = torch.stack([(drawn == grid).all(2).all(1).double().mean() for grid in every])
    wanted = 2 ** -prior.bits(every)
    assert ((shares - wanted).abs() < 4.5 * (wanted * (1 - wanted) / 4000).sqrt() + 1e-3).all()
    assert prior.bits(grids).mean().item() == pytest.approx(2 if neighbours else 3, abs=0.03)


def test_each_fault_of_a_scale_does_what_it_says(generator):
    scale = Scale(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0]))
    z = scale.up(torch.randn(500, 2, 3, 3, generator=generator))
    ways = {fault: given.Faulty(scale, fault) for fault in given.FAULTS}
    there = {fault: torch.allclose(way.up(way.down(z)), z, atol=1e-5) for fault, way in ways.items()}
    assert [fault for fault, holds in there.items() if not holds] == ["not undone"]
    down = {fault: Scale.of(way.down(z)) for fault, way in ways.items()}
    assert (down[None].std - 1).abs().max() < 0.05 and down[None].mean.abs().max() < 0.05
    torch.testing.assert_close(down["multiplied"].std, torch.tensor([0.25, 4.0]), rtol=0.05, atol=0)
    torch.testing.assert_close(down["mean kept"].mean, torch.tensor([2.0, -1.0]), rtol=0.05, atol=0.05)
    assert down["one for all"].std.square().mean().item() == pytest.approx(1, rel=0.1)
    with pytest.raises(ValueError, match="unknown fault 'late'"):
        given.Faulty(scale, "late")


def test_lat_1_what_the_shipped_autoencoders_keep():
    faces = Faces(64).batch(60, torch.Generator().manual_seed(9), size=32)[0]
    for name, model in (("autoencoder_faces", latent.KLAutoencoder()), ("vq_faces", latent.VQAutoencoder())):
        card = training.load_weights(model, data.checkpoint(name))
        with torch.no_grad():
            error = (model.decode(model.encode(faces)) - faces).square().mean((1, 2, 3))
        value = float(card["psnr_db"].split()[0])
        assert (10 * (4 / error).log10()).mean().item() == pytest.approx(value, abs=0.7)


def test_lat_2_the_table_of_spaces_says_what_the_lesson_says():
    table = data.measured("spaces_faces")["values"]
    for seconds in (30, 90):
        (pixels, p), (codes, c) = table[f"pixels {seconds}"], table[f"codes {seconds}"]
        assert codes + 2 * c < pixels - 2 * p, seconds
    assert table["codes, not scaled 90"][0] > table["codes 90"][0]
    (floor, f), (back, b) = table["floor"], table["given back"]
    assert abs(back - floor) < 4 * math.hypot(f, b) and max(back, floor) < table["codes 90"][0]


def test_the_figures_hold_their_data():
    f = torch.tensor([1.0, 2.0])
    ax = figures.shares({"a": (f, f / 2, f / 4), "b": (f, f / 3, f / 5)}, 4).axes[0]
    assert [line.get_label() for line in ax.lines[:4]] == ["a, variance", "a, bits", "b, variance", "b, bits"]
    assert ax.lines[1].get_ydata().tolist() == [0.25, 0.5]
    left, right = figures.shifted(cosine_beta(), (1.0, 2.0, 0.5)).axes
    gap = torch.as_tensor(left.lines[1].get_ydata()) - torch.as_tensor(left.lines[0].get_ydata())
    assert gap.mean().item() == pytest.approx(2 * math.log(2)) and right.lines[0].get_ydata().std() < 1e-6
    rows = {"pixels": [(30, 9.0, 1.0), (90, 4.0, 0.5)], "codes": [(30, 3.0, 0.1), (90, 2.0, 0.1)]}
    ax = figures.by_seconds(rows, (0.5, 0.1), (0.7, 0.1)).axes[0]
    assert [bar.lines[0].get_ydata().tolist() for bar in ax.containers] == [[9.0, 4.0], [3.0, 2.0]]
    fig = figures.mixes({"a": torch.zeros(3, 4, 4), "b": torch.ones(3, 4, 4)}, "t")
    assert [ax.get_title(loc="center") for ax in fig.axes] == ["a", "b"]
