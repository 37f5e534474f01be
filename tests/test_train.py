"""The training command: on a folder of images, killed and resumed, in two processes; mistakes end in a sentence."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from dlgm import data, train, training
from dlgm.denoiser import Denoiser
from dlgm.losses import prediction_loss, sample_t
from dlgm.nets import UNet
from dlgm.schedules import cosine_beta
from dlgm.training import load


@pytest.fixture
def folder(tmp_path):
    """24 pictures in two subfolders, bright circles on dark ground and the other way round, and a file of words."""
    rng, root = np.random.default_rng(0), tmp_path / "pictures"
    for i in range(24):
        kind = "bright" if i % 2 else "dark"
        (root / kind).mkdir(parents=True, exist_ok=True)
        yy, xx = np.mgrid[:20, :30]
        inside = (yy - 10) ** 2 + (xx - rng.integers(10, 20)) ** 2 < 36
        grey = np.where(inside == (i % 2 == 1), 220, 30).astype(np.uint8)
        Image.fromarray(np.stack([grey, grey // 2, 255 - grey], -1)).save(root / kind / f"{i:02d}.png")
    (root / "notes.txt").write_text("not a picture")
    return root


TINY = [
    "--size",
    "8",
    "--widths",
    "8,8",
    "--batch",
    "8",
    "--T",
    "50",
    "--samples",
    "4",
    "--sample-steps",
    "3",
    "--quiet",
]


def weights(path):
    return [p for p in load(path)[0].parameters()]


def equal(a, b):
    return all(torch.equal(u, v) for u, v in zip(weights(a), weights(b), strict=True))


def command(*arguments, n=None):
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", "-m"] if n else ["-m"]
    return [sys.executable, *start, "dlgm.train", *map(str, arguments)]


ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_folder_of_images_is_trained_on_killed_and_resumed_bit_for_bit(folder, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments = [folder, "--steps", "120", "--every", "20", "--device", "cpu", *TINY]
    assert subprocess.run(command(*arguments, "--out", whole), env=ENV, timeout=110).returncode == 0
    process = subprocess.Popen(command(*arguments, "--out", cut), env=ENV, stdout=subprocess.DEVNULL)
    try:
        deadline = time.time() + 60
        while not (cut / "samples_000040.png").exists() and time.time() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()  # -9
        process.wait()
    assert not (cut / "model.safetensors").exists() and (cut / "checkpoint.pt").exists()
    halfway = int(load(cut / "checkpoint.pt")[1]["steps"])
    assert 20 <= halfway < 120
    assert subprocess.run(command(*arguments, "--out", cut), env=ENV, timeout=110).returncode == 0
    assert equal(whole / "model.safetensors", cut / "model.safetensors")
    picture = np.asarray(Image.open(whole / "samples_000120.png"))
    assert picture.shape == (17 * 8, 17 * 8, 3)  # 2 × 2 images of 8 pixels and a line between, each pixel 8 × 8 dots
    same = [np.asarray(Image.open(run / "samples_000120.png")) for run in (whole, cut)]
    assert (same[0] == same[1]).all()


@pytest.mark.slow
def test_two_processes_train_one_model(folder, tmp_path):
    arguments = [folder, "--steps", "6", "--every", "6", "--device", "cpu", *TINY]
    done = subprocess.run(
        command(*arguments, "--out", tmp_path / "two", n=2), env=ENV, timeout=110, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stdout.decode().count("24 images") == 1  # one of them speaks
    assert train.main([*map(str, arguments), "--accumulate", "2", "--out", str(tmp_path / "one")]) == 0
    for u, v in zip(*(weights(tmp_path / run / "model.safetensors") for run in ("two", "one")), strict=True):
        torch.testing.assert_close(u, v, rtol=1e-3, atol=1e-5)  # float32 sums in another order, 6 Adam steps


def test_with_labels(folder, tmp_path):
    assert train.main([str(folder), "--labels", "--steps", "2", "--out", str(tmp_path / "a"), *TINY]) == 0
    model, card = load(tmp_path / "a" / "model.safetensors")
    assert model.net.settings["classes"] == 2 and card["steps"] == "2"
    x = training.draw(model, 3, 8, steps=3)
    assert x.shape == (3, 3, 8, 8) and x.abs().max() <= 1


def test_the_loss_is_the_mean_squared_error_per_pixel_at_its_own_time_for_each_image():
    schedule = cosine_beta(50)
    model = Denoiser(lambda x, t: 0.3 * x + t[:, None, None, None] / 50, schedule, "v")
    v = torch.randint(0, 256, (5, 1, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    got = training.image_loss(model, v, torch.Generator().manual_seed(2), 0)
    g = torch.Generator().manual_seed(2)
    t = sample_t(schedule, 5, g)
    eps = torch.randn(v.shape, generator=g)
    assert len(set(t.tolist())) > 1
    one_by_one = [
        prediction_loss(model, data.from_uint8(v[i : i + 1]), int(t[i]), eps[i : i + 1]).item() / 16 for i in range(5)
    ]
    assert abs(got.item() - sum(one_by_one) / 5) < 1e-6


def test_a_tenth_of_the_labels_is_hidden():
    seen = []

    class Spy(UNet):
        def forward(self, x, t, y=None):
            seen.append(y)
            return x

    model = Denoiser(Spy(1, (8,), heads=2, classes=3), cosine_beta(50), "v")
    v, y = torch.zeros(4000, 1, 2, 2, dtype=torch.uint8), torch.arange(4000) % 3
    training.image_loss(model, (v, y), torch.Generator().manual_seed(0), 0)
    hidden = seen[0] == 3
    assert (seen[0][~hidden] == y[~hidden]).all()
    assert abs(hidden.float().mean() - 0.1) < 5 * (0.09 / 4000) ** 0.5


def test_images_of_a_folder(folder):
    v, y = data.images(folder, 8, raw=True)
    names = data.label_names(folder)
    assert v.shape == (24, 3, 8, 8) and v.dtype == torch.uint8 and names == ("bright", "dark")
    assert y.tolist() == [0] * 12 + [1] * 12
    inside, corner = v[:12, 0, 3:5, 3:6].float().mean((1, 2)), v[:12, 0, 0, 0]
    assert (inside > corner + 60).all()  # the middle square of a bright picture holds its circle
    grey, _ = data.images(folder, 8, channels=1, raw=True)
    assert grey.shape == (24, 1, 8, 8)
    x = data.from_uint8(v)
    assert torch.equal(data.to_uint8(x), v) and x.min() >= -1 and x.max() <= 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere"], "there is no folder nowhere"),
        (["mnist", "--size", "32"], "mnist has 28×28 pixels"),
        (["mnist", "--widths", "32;64"], "--widths must be numbers with commas between them"),
        (["mnist", "--batch", "0"], "batch_size must be a whole number of at least 1, got 0"),
        (["mnist", "--T", "0"], "T must be a whole number of at least 1"),
        (["mnist", "--ema", "1"], "decay must lie in [0, 1), got 1.0"),
        (["mnist", "--batch", "10", "--accumulate", "3"], "a batch of 10 cannot be cut into 3 equal parts"),
    ],
)
def test_mistakes_end_in_a_sentence(arguments, words, tmp_path, capsys):
    assert train.main([*arguments, "--quiet", "--device", "cpu", "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and words in err and "Traceback" not in err


def test_bad_files_are_named_and_nothing_is_overwritten(folder, tmp_path, capsys):
    (folder / "broken.png").write_text("no picture at all")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    assert train.main([str(folder), "--out", str(tmp_path / "run"), *TINY]) == 2
    assert "2 of 26 files" in (err := capsys.readouterr().err) and "broken.png, cut.jpg" in err
    (folder / "broken.png").unlink()
    (folder / "cut.jpg").unlink()
    out = tmp_path / "run"
    out.mkdir(exist_ok=True)
    (out / "model.safetensors").write_bytes(b"precious")
    assert train.main([str(folder), "--out", str(out), *TINY]) == 2
    assert "exists already" in capsys.readouterr().err and (out / "model.safetensors").read_bytes() == b"precious"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert train.main([str(empty), "--out", str(out / "b"), *TINY]) == 2
    assert "holds no image" in capsys.readouterr().err
    (empty / "a.png").write_bytes((folder / "dark" / "00.png").read_bytes())
    assert train.main([str(empty), "--labels", "--out", str(out / "b"), *TINY]) == 2
    assert "at least two classes" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert train.main([str(folder), "--device", "cuda", "--out", str(out / "c"), *TINY]) == 2
        assert "has no cuda device" in capsys.readouterr().err
