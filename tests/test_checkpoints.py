"""The shipped networks are the ones their cards describe."""

import importlib.util
import json
import shutil

import pytest
import torch

from dlgm import data, training

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
    assert sum(entry["bytes"] for entry in MANIFEST.values()) < 10_000_000


@pytest.mark.parametrize("name", [file.removesuffix(".safetensors") for file in MANIFEST])
def test_the_card_tells_the_truth_about_the_bound(train, name):
    steps, recipe = train.RECIPES[name]
    model, _, _, test = recipe()
    card = training.load_weights(model, data.checkpoint(name))
    assert card["steps"] == str(steps) and card["command"] == f"python data/train.py {name}" and card["seed"] == "0"
    with torch.no_grad():
        found = model.terms(*test, samples=2, generator=torch.Generator().manual_seed(7)).elbo.mean().item()
    value, error = (float(v) for v in card["elbo_nats"].split(" ± "))
    # the same 1,000 images, so only the draws differ: their part of the error is far below a tenth of a nat
    assert abs(found - value) < 0.5 < 2 * error
    tight = float(card["iwae500_nats"].split(" ± ")[0])
    assert tight > value
    assert float(card["elbo_bits_per_dim"]) == pytest.approx(-value / 784 / 0.693147, abs=1e-4)


def test_unknown_missing_and_altered_checkpoints_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no checkpoint is called 'vae'; there are cvae_mnist, vae_mnist"):
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
