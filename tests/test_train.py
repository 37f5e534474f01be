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
        (
            ["mnist", "--widths", "32;64"],
            "--widths must be numbers from 1 to 4096 with commas between them, such as 32,64,96; got 32;64",
        ),
        (["mnist", "--batch", "0"], "--batch must be a whole number from 1 to 1000000; got 0"),
        (["mnist", "--T", "0"], "--T must be a whole number from 1 to 100000; got 0"),
        (["mnist", "--ema", "1"], "--ema must lie in [0, 1); got 1.0"),
        (["mnist", "--batch", "10", "--accumulate", "3"], "a batch of 10 cannot be cut into 3 equal parts"),
        (["mnist", "--samples", "-1"], "--samples must be a whole number from 0 to 100000; got -1"),
        (["mnist", "--sample-steps", "0"], "--sample-steps must be a whole number from 1 to"),
        (["mnist", "--accumulate", "0"], "--accumulate must be a whole number from 1 to"),
        (["mnist", "--widths", "0,8"], "from 1 to 4096 with commas between them, such as 32,64,96; got 0,8"),
        (["mnist", "--widths=-8,8"], "got -8,8"),
        (["photos", "--size", "0"], "--size must be a whole number from 1 to 2048; got 0"),
        (["photos", "--size", "100000"], "--size must be a whole number from 1 to 2048; got 100000"),
        (["mnist", "--lr", "nan"], "--lr must be a number above 0; got nan"),
        (["mnist", "--dropout", "1"], "--dropout must lie in [0, 1); got 1.0"),
        (["mnist", "--seed", "-1"], "--seed must be a whole number from 0 to"),
        (["mnist", "--widths", "8,8,8,8,8,8"], "images of 28 pixels cannot be halved 5 times"),
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
    assert (
        "2 of 26 files" in (err := capsys.readouterr().err)
        and "broken.png (is no picture that Pillow can open), cut.jpg (" in err
    )
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


def trained(folder, out, *more):
    return train.main([str(folder), "--out", str(out), "--steps", "2", "--every", "1", *TINY, *more])


@pytest.mark.slow
@pytest.mark.parametrize(
    "more, words",
    [
        (["--predicts", "eps"], "predicts v there, eps here"),
        (["--schedule", "linear"], "schedule "),
        (["--T", "60"], "schedule "),
        (["--dropout", "0.5"], "UNet dropout 0.0 there, 0.5 here"),
        (["--blocks", "2"], "UNet blocks"),
        (["--size", "16"], "size 8 there, 16 here"),
        (["--lr", "0.1"], "lr "),
        (["--seed", "1"], "seed 0 there, 1 here"),
    ],
)
def test_a_checkpoint_of_other_options_is_refused(folder, tmp_path, capsys, more, words):
    out = tmp_path / "run"
    assert trained(folder, out) == 0
    (out / "model.safetensors").unlink()
    before = (out / "checkpoint.pt").read_bytes()
    assert trained(folder, out, "--steps", "3", *more) == 2
    err = capsys.readouterr().err
    assert "belongs to a run with other settings" in err and words in err
    assert (out / "checkpoint.pt").read_bytes() == before


@pytest.mark.slow
def test_a_checkpoint_of_other_pictures_or_classes_is_refused(folder, tmp_path, capsys):
    out, file = tmp_path / "run", folder / "dark" / "00.png"
    assert trained(folder, out, "--labels") == 0
    (out / "model.safetensors").unlink()
    content = file.read_bytes()
    file.write_bytes((folder / "dark" / "02.png").read_bytes())  # as many files, another picture
    assert trained(folder, out, "--labels") == 2 and "other data" in capsys.readouterr().err
    file.write_bytes(content)
    (folder / "dark").rename(folder / "dim")
    assert trained(folder, out, "--labels") == 2
    assert """classes ["bright", "dark"] there, ["bright", "dim"] here""" in capsys.readouterr().err
    (folder / "dim").rename(folder / "dark")
    assert trained(folder, out, "--labels") == 0


@pytest.mark.slow
def test_the_card_knows_classes_in_natural_order_size_and_channels(tmp_path, capsys):
    root = tmp_path / "kinds"
    for name in ("0", "1", "2", "10", "11"):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), (20 * int(name), 0, 0)).save(root / name / "a.png")
    v, y = data.images(root, 8, raw=True)
    assert data.label_names(root) == ("0", "1", "2", "10", "11")
    assert [int(picture[0, 0, 0]) for picture in v[y.argsort()]] == [0, 20, 40, 200, 220]
    assert trained(root, tmp_path / "run", "--labels", "--batch", "5") == 0
    assert "5 classes: 0 '0', 1 '1', 2 '2', 3 '10', 4 '11'" in capsys.readouterr().out
    for file in ("model.safetensors", "checkpoint.pt"):
        card = load(tmp_path / "run" / file)[1]
        assert (card["classes"], card["size"], card["channels"]) == ('["0", "1", "2", "10", "11"]', "8", "3")


def test_the_checkpoint_is_written_before_samples_are_drawn(folder, tmp_path, monkeypatch, capsys):
    from dlgm.training import __main__ as command

    def full(*args, **options):
        raise torch.OutOfMemoryError("the card is full")

    monkeypatch.setattr(command, "draw", full)
    assert trained(folder, tmp_path / "run") == 2 and "the card is full" in capsys.readouterr().err
    assert load(tmp_path / "run" / "checkpoint.pt")[1]["steps"] == "1"


@pytest.mark.slow
def test_own_output_is_never_data(folder, tmp_path, capsys, monkeypatch):
    assert trained(folder, folder / "runs" / "a", "--labels") == 0
    assert "24 images" in capsys.readouterr().out
    (folder / "runs" / "a" / "model.safetensors").unlink()  # the same command again goes on
    assert trained(folder, folder / "runs" / "a", "--labels") == 0
    assert trained(folder, folder / "runs" / "b", "--labels") == 0  # beside another run
    out = capsys.readouterr().out
    assert (
        out.count("24 images") == 2 and out.count("2 classes") == 2 and "passed over: 1 .txt, 1 folders of runs" in out
    )
    monkeypatch.chdir(folder / "dark")
    assert (
        train.main([".", "--out", ".", *TINY]) == 2 and "--out is the folder of the pictures" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_two_runs_in_one_folder_lose_nothing(folder, tmp_path, capsys):
    from filelock import FileLock

    out = tmp_path / "run"
    assert trained(folder, out) == 0
    (out / "model.safetensors").unlink()
    before = (out / "checkpoint.pt").read_bytes()
    with FileLock(out / "run.lock"):
        assert trained(folder, out, "--steps", "9") == 2
    assert "another run is writing into" in capsys.readouterr().err
    assert (out / "checkpoint.pt").read_bytes() == before


def test_what_a_person_does_not_see_and_what_is_left_out_is_counted(folder, tmp_path, capsys):
    (folder / "._a.png").write_bytes(b"AppleDouble")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._b.png").write_bytes(b"AppleDouble")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / "x.png").mkdir()
    (folder / "a.heic").write_bytes(b"?")
    (folder / "linked").symlink_to(folder / "dark", target_is_directory=True)
    Image.new("RGB", (9, 9)).save(folder / "b.gif", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    assert trained(folder, tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "25 images" in out and "of 1 files with several pictures the first one counts" in out
    assert "passed over: 1 .heic, 1 .txt, 1 hidden files, 2 hidden folders, 1 links to folders" in out


def one(image, tmp_path, channels=3, name="a.png", **options):
    """What the course makes of one saved picture of 8 × 8 pixels, (C, 8, 8)."""
    image.save(tmp_path / name, **options)
    return data.images(tmp_path, 8, channels, raw=True)[0][0]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_read_right_or_refused_by_name(tmp_path, channels):
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040  # 0 to 65520
    for name in ("deep.png", "deep.tif"):
        got = one(Image.fromarray(ramp), tmp_path, channels, name)
        np.testing.assert_array_equal(got[0], (ramp / 257).round())
        (tmp_path / name).unlink()
    got = one(Image.fromarray(ramp.astype(np.int32)), tmp_path, channels, "deep.pgm")
    np.testing.assert_allclose(got[0], ramp / 257, atol=1)
    (tmp_path / "deep.pgm").unlink()
    for kind in (np.float32, np.int32):
        with pytest.raises(data.DataError, match="32-bit grey values .mode [FI]. of unknown range"):
            one(Image.fromarray(ramp.astype(kind)), tmp_path, channels, "deep.tif")
        (tmp_path / "deep.tif").unlink()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "L", "RGB", "1"])
def test_transparent_parts_stand_on_white(tmp_path, channels, mode):
    """Left half opaque grey 20, right half transparent, with a hidden colour behind."""
    rgba = Image.new("RGBA", (8, 8), (255, 0, 255, 0))
    rgba.paste((20, 20, 20, 255), (0, 0, 4, 8))
    options, name = {}, "a.png"
    if mode == "LA":
        image = Image.new("LA", (8, 8), (90, 0))
        image.paste((20, 255), (0, 0, 4, 8))
    elif mode in ("P", "PA"):
        image = Image.new(mode, (8, 8), 1 if mode == "P" else (1, 0))
        image.paste(0 if mode == "P" else (0, 255), (0, 0, 4, 8))
        image.putpalette([20, 20, 20, 255, 0, 255])
        if mode == "P":
            options = {"transparency": 1}
        else:
            image, name = image.convert("RGBA"), "a.webp"
            options = {"lossless": True}
    elif mode in ("L", "RGB"):
        dark, hidden = (20, 90) if mode == "L" else ((20, 20, 20), (255, 0, 255))
        image = Image.new(mode, (8, 8), hidden)
        image.paste(dark, (0, 0, 4, 8))
        options = {"transparency": hidden}
    elif mode == "1":
        image = Image.new("1", (8, 8), 1)
        image.paste(0, (0, 0, 4, 8))
    else:
        image = rgba
    got = one(image, tmp_path, channels, name, **options)
    assert (got[:, :, :4] == (0 if mode == "1" else 20)).all() and (got[:, :, 4:] == 255).all()


@pytest.mark.slow
@pytest.mark.parametrize("labels", [False, True])
def test_from_disk_and_from_memory_give_the_same_weights_killed_or_not(folder, tmp_path, labels, capsys):
    more = ["--labels"] * labels
    assert trained(folder, tmp_path / "memory", "--steps", "6", "--every", "2", *more) == 0
    assert trained(folder, tmp_path / "disk", "--steps", "6", "--every", "2", "--workers", "0", *more) == 0
    assert "read from disk as they are needed" in capsys.readouterr().out
    assert equal(tmp_path / "memory" / "model.safetensors", tmp_path / "disk" / "model.safetensors")


@pytest.mark.slow
def test_a_run_from_disk_with_workers_goes_on_to_the_same_weights(folder, tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    assert trained(folder, whole, "--steps", "6", "--every", "3", "--workers", "2") == 0
    from dlgm.training import __main__ as command

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "draw", lambda *a, **k: (_ for _ in ()).throw(torch.OutOfMemoryError("stop")))
        assert trained(folder, half, "--steps", "6", "--every", "3", "--workers", "2") == 2
    assert load(half / "checkpoint.pt")[1]["steps"] == "3"
    assert trained(folder, half, "--steps", "6", "--every", "3", "--workers", "1") == 0
    assert equal(whole / "model.safetensors", half / "model.safetensors")


def test_pictures_that_outgrow_memory_are_read_from_disk(folder, tmp_path, monkeypatch, capsys):
    from dlgm.training import __main__ as command

    monkeypatch.setattr(command, "free_memory", lambda: 4 * (24 * 3 * 8 * 8 - 1))
    assert trained(folder, tmp_path / "run") == 0
    assert "read from disk as they are needed" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are those of Unix")
def test_a_full_disk_keeps_the_last_checkpoint_and_ends_in_a_sentence(folder, tmp_path):
    out = tmp_path / "run"
    assert trained(folder, out, "--samples", "0") == 0
    (out / "model.safetensors").unlink()
    before = (out / "checkpoint.pt").read_bytes()
    code = (
        "import resource, sys; from dlgm import train; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        f"sys.exit(train.main([{str(folder)!r}, '--out', {str(out)!r}, '--steps', '4', '--every', '1', "
        f"'--samples', '0', *{[o for o in TINY if o not in ('--samples', '4')]!r}, '--lr', '2e-3']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 2 and "other settings" in done.stderr  # four steps are another schedule of the rate
    code = code.replace("'--steps', '4'", "'--steps', '2'")
    (out / "checkpoint.pt").unlink()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 2 and "could not be written" in done.stderr and "Traceback" not in done.stderr
    assert not list(out.glob("*.part")) and len(before) > 20000
