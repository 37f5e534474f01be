"""The shipped networks are the ones their cards describe."""

import importlib.util
import json
import math
import shutil

import pytest
import torch

from dlgm import data, distillation, latent, metrics, nets, training, vae, vlb
from dlgm.data.faces import ATTRIBUTES
from dlgm.denoiser import Clipped
from dlgm.process import q_sample
from dlgm.schedules import time_grid

FOLDER = data.data_folder() / "checkpoints"
MANIFEST = json.loads((FOLDER / "MANIFEST.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def train():
    spec = importlib.util.spec_from_file_location("train", FOLDER.parent / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_file_is_in_the_manifest_and_has_a_recipe(train):
    assert (
        set(MANIFEST) == {p.name for p in FOLDER.glob("*.safetensors")} == {f"{n}.safetensors" for n in train.RECIPES}
    )
    assert sum(entry["bytes"] for entry in MANIFEST.values()) < 48_000_000


def names(kind):
    return [file.removesuffix(".safetensors") for file in MANIFEST if kind in file]


def number(entry):
    """(value, error) of a card's "value ± error", whatever follows."""
    value, _, error, *_ = entry.split()
    return float(value), float(error)


def opened(train, name):
    """The recipe of a network, with the shipped weights in it, and the card, whose origin is checked."""
    steps, make = train.RECIPES[name]
    recipe = make(steps)
    path = data.checkpoint(name)
    if name.startswith(("ddpm", "ldm", "base", "upsampler")):
        recipe.model, card = training.load(path)
    else:
        card = training.load_weights(recipe.model, path)
    assert card["steps"] == str(steps) and card["command"] == f"python data/train.py {name}" and card["seed"] == "0"
    return recipe, card


@pytest.mark.parametrize("name", names("vae_mnist"))
def test_the_card_of_a_vae_tells_the_truth_about_the_bound(train, name):
    recipe, card = opened(train, name)
    x, y = data.load("mnist", split="test")
    test = (vae.binarize(x), y) if name.startswith("cvae") else (vae.binarize(x),)
    with torch.no_grad():
        found = recipe.model.terms(*test, samples=2, generator=torch.Generator().manual_seed(7)).elbo.mean().item()
    value, error = number(card["elbo_nats"])
    # the same 1,000 images, so only the draws differ: their part of the error is far below a tenth of a nat
    assert abs(found - value) < 0.5 < 2 * error
    tight = number(card["iwae500_nats"])[0]
    assert tight > value
    assert float(card["elbo_bits_per_dim"]) == pytest.approx(-value / 784 / 0.693147, abs=1e-4)


@pytest.mark.parametrize("name", names("judge"))
def test_the_card_of_a_judge_tells_the_truth_about_its_accuracy(train, name):
    recipe, card = opened(train, name)
    source = name.removeprefix("judge_").replace("captions", "faces")
    x, y = train.images(source, "test")
    with torch.no_grad():
        logits = recipe.model(data.from_uint8(x[:1000]))
    key = "accuracy"
    if source == "faces":  # of its eleven answers the hardest
        k, key = list(ATTRIBUTES).index("mouth"), "accuracy, mouth"
        logits, y = logits.split([len(values) for values in ATTRIBUTES.values()], 1)[k], y[:, k]
    right = (logits.argmax(1) == y[:1000]).float()
    value, error = number(card[key])
    # of mnist these are the very images of the card; of fashion a tenth of them
    assert abs(right.mean().item() - value) < 4.5 * max(error, right.std().item() / 1000**0.5)


@pytest.mark.parametrize("name", names("ddpm"))
def test_the_card_of_a_ddpm_tells_the_truth_about_the_bound(train, name):
    recipe, card = opened(train, name)
    v, y = (part[:48] for part in train.images(name.split("_")[1], "test"))
    x = data.from_uint8(v)
    variance, told = "posterior", {"y": y} if name.endswith("labels") else {}
    if name.endswith("variance"):
        assert recipe.model.variance == "learned"
        variance = "predicted"
    with torch.no_grad():
        nats = vlb.vlb_estimate(Clipped(recipe.model), x, 24, torch.Generator().manual_seed(7), variance, **told)
    bits = nats / (x[0].numel() * math.log(2))
    value, error = number(card["bits_per_dim"])
    assert abs(bits.mean().item() - value) < 4.5 * math.hypot(error, bits.std().item() / 48**0.5)
    assert float(card["frechet"].split()[0]) > float(card["frechet_floor"].split()[0]) > 0


@pytest.mark.parametrize("N", (4, 2, 1))
def test_a_student_ends_where_its_card_says_and_learned_every_step(train, N):
    """DIST-3, DIST-4: the walks of the card; at each time nearer to the teacher's two steps than the teacher's one."""
    student, card = training.load(data.checkpoint(f"student_mnist_{N}"))
    teacher = training.load(data.checkpoint(f"student_mnist_{2 * N}"))[0]
    ends = train.few_steps(teacher, 2 * N, 100)
    apart = [(train.few_steps(m, N, 100) - ends).square().mean((1, 2, 3)).sqrt().mean() for m in (student, teacher)]
    assert apart[0].item() == pytest.approx(number(card["apart"])[0], abs=2e-4)
    assert apart[0] < 0.7 * apart[1]
    x0, times = data.load("mnist", split="test")[0][:32], time_grid(teacher.schedule, 2 * N)
    for t, m, s in zip(times[::2], times[1::2], times[2::2], strict=False):
        x_t = q_sample(teacher.schedule, x0, t, torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)))
        aim = distillation.target(Clipped(teacher), x_t, t, m, s)
        with torch.no_grad():
            ours, before = ((d(x_t, t).x0 - aim).square().mean() for d in (student, teacher))
        assert ours < before, (N, t)


def test_dist_5_the_guided_student_draws_what_its_card_says(train):
    model, card = training.load(data.checkpoint("student_mnist_guided"))
    judge, y = nets.Classifier(), torch.arange(100) % 10
    training.load_weights(judge, data.checkpoint("judge_mnist"))
    for w in (0.0, 4.0):
        drawn = train.few_steps(model, 4, 100, y=y, w=torch.full((100,), w))
        found, (value, error) = metrics.hit_rate(judge(drawn), y), number(card[f"hits, w = {w:g}"])
        assert abs(found.value.item() - value) < 4.5 * math.hypot(error, found.error.item()) + 0.01


@pytest.mark.parametrize("name", ("autoencoder_faces", "vq_faces"))
def test_lat_1_the_card_of_an_autoencoder_tells_the_truth(train, name):
    recipe, card = opened(train, name)
    x = data.from_uint8(train.images("faces", "test")[0][:100])
    with torch.no_grad():
        error = (recipe.model.decode(recipe.model.encode(x)) - x).square().mean((1, 2, 3))
    db = 10 * (4 / error).log10()
    value, error = number(card["psnr_db"])
    assert abs(db.mean().item() - value) < 4.5 * math.hypot(error, db.std().item() / 10)


def test_lat_1_the_denoiser_of_codes_knows_codes(train):
    """Its error on test faces' codes at half noise is far below that of knowing their mean and variance only."""
    model, card = training.load(data.checkpoint("ldm_faces"))
    autoencoder = train.opened_autoencoder()
    with torch.no_grad():
        z = autoencoder.encode(data.from_uint8(train.images("faces", "test")[0][:200]))
        z, t = latent.Scale.of(z).down(z), 500
        x_t = q_sample(model.schedule, z, t, torch.randn(z.shape, generator=torch.Generator().manual_seed(0)))
        error = (model(x_t, t).x0 - z).square().mean().item()
    assert error < 0.7 * float(model.schedule.noise(t)) ** 2
    assert float(card["frechet"].split()[0]) > float(card["frechet_floor"].split()[0]) > 0


@pytest.mark.parametrize("name", names("_faces_") + ["base_faces"])
def test_casc_3_the_card_of_a_network_of_captions_tells_the_truth(train, name):
    """The share of pictures that show what was asked for, of fewer pictures than the card's."""
    recipe, card = opened(train, name)
    measure = train.measure_captions if name == "base_faces" else train.measure_upsampler
    for fact, entry in measure(recipe.model, n=48, steps=10).items():
        (value, error), (found, spread) = number(card[fact]), number(entry)
        assert abs(found - value) < 4.5 * math.hypot(error, spread) + 0.05, fact  # in half as many steps


def test_lat_3_the_card_of_the_contrastive_pair_tells_the_truth(train):
    recipe, card = opened(train, "clip_faces")
    for key, entry in recipe.measure(recipe.model).items():
        assert number(card[key])[0] == pytest.approx(number(entry)[0], abs=0.01)


def test_vid_1_the_card_of_the_network_of_clips_tells_the_truth(train):
    model, card = training.load(data.checkpoint("video_digits"))
    steps, _ = train.RECIPES["video_digits"]
    assert card["steps"] == str(steps) and card["command"] == "python data/train.py video_digits"
    for key, entry in train.measure_video(model, n=16).items():
        (value, error), (found, spread) = number(card[key]), number(entry)
        assert abs(found - value) < 4.5 * math.hypot(error, spread) + 0.02, key


def test_unknown_missing_and_altered_checkpoints_are_named(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="no checkpoint is called 'vae'; there are autoencoder_faces, base_faces, clip_faces, "
    ):
        data.checkpoint("vae")
    shutil.copytree(FOLDER, tmp_path / "checkpoints")
    monkeypatch.setenv("DLGM_DATA", str(tmp_path))
    path = tmp_path / "checkpoints" / "vae_mnist.safetensors"
    assert data.checkpoint("vae_mnist") == path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(data.DataError, match=r"truncated.*python data/train.py vae_mnist"):
        data.checkpoint("vae_mnist")
    path.unlink()
    with pytest.raises(data.DataError, match="is missing"):
        data.checkpoint("vae_mnist")


def test_an_existing_result_is_not_overwritten(train, tmp_path):
    (tmp_path / "vae_mnist.safetensors").write_bytes(b"precious")
    with pytest.raises(SystemExit, match="exists already"):
        train.main(["vae_mnist", "--out", str(tmp_path)])
    assert (tmp_path / "vae_mnist.safetensors").read_bytes() == b"precious"
