"""The training command: on a folder of images, killed and resumed, in two processes; mistakes end in a sentence."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import time
import zlib

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
        (["mnist", "--lr", "nan"], "--lr must be a number above 0, at most 1000; got nan"),
        (["mnist", "--lr", "1e308"], "--lr must be a number above 0, at most 1000; got 1e+308"),
        ([""], "the folder of the pictures has no name"),
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
        (["--optimizer", "adam"], "optimiser Muon"),
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
def test_a_class_whose_name_is_in_no_code_is_trained_on(folder, tmp_path):
    (folder / "dark").rename(os.fsdecode(os.fsencode(folder) + b"/\xff"))
    assert trained(folder, tmp_path / "run", "--labels") == 0
    assert json.loads(load(tmp_path / "run" / "model.safetensors")[1]["classes"]) == ["bright", "\udcff"]
    (tmp_path / "run" / "model.safetensors").unlink()
    assert trained(f"{folder}/", tmp_path / "run", "--labels") == 0  # a stroke behind the folder is the same folder


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


def test_an_out_that_is_no_folder_of_its_own_is_refused(folder, tmp_path, capsys):
    assert trained(folder, folder / "dark", "--labels") == 2
    assert f"--out is a folder with 12 of the pictures, {folder / 'dark'}" in capsys.readouterr().err
    assert len(list((folder / "dark").iterdir())) == 12
    (tmp_path / "file").write_text("x")
    assert trained(folder, tmp_path / "file") == 2
    assert f"--out {tmp_path / 'file'} cannot be made a folder" in capsys.readouterr().err


DAMAGE = [
    lambda state: state.update(history=[1]), lambda state: state["history"].pop("loss"),
    lambda state: state.update(model=[1]), lambda state: state.update(settings=[1]), lambda state: state.pop("ema"),
    lambda state: state["model"].update({next(iter(state["model"])): "a"}), lambda state: state.update(ema=None),
    lambda state: state.pop("optimiser"), lambda state: state.update(optimiser=3),
    lambda state: next(iter(state["ema"]["model"].values())).fill_(float("nan")),
]  # fmt: skip


def test_damaged_checkpoints_end_in_a_sentence(folder, tmp_path, capsys):
    file = tmp_path / "run" / "checkpoint.pt"
    assert trained(folder, tmp_path / "run", "--samples", "0") == 0
    whole = file.read_bytes()
    for harm in (b"", whole[:1], whole[:100], whole[:-1], b"hello", pickle.dumps({"a": print}, 2), *DAMAGE):
        if callable(harm):
            state = torch.load(io.BytesIO(whole), weights_only=True)
            harm(state)
            torch.save(state, file)
        else:
            file.write_bytes(harm)
        (tmp_path / "run" / "model.safetensors").unlink(missing_ok=True)
        assert trained(folder, tmp_path / "run", "--samples", "0") == 2
        err = capsys.readouterr().err
        assert any(words in err for words in ("or it is damaged; remove it", "another model or optimiser", "NaN or"))
        assert err.count("\n") == 1 and "weights_only" not in err


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_picture_that_is_lost_during_the_run_is_named(folder, tmp_path, monkeypatch, capsys, workers):
    from dlgm.training import __main__ as command

    real = command.fit

    def later(*args, **options):
        for file in folder.rglob("*.png"):
            file.unlink()
        return real(*args, **options)

    monkeypatch.setattr(command, "fit", later)
    assert trained(folder, tmp_path / "run", "--workers", workers) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: 1 of 24 files in ") and "No such file" in err and err.count("\n") == 1


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


def png(bits, kind, clear, *rows):
    """A PNG by hand: bits of a sample, the colour type, the transparent colour, eight rows of bytes."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">2I5B", 8, 8, bits, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"tRNS", clear) + data + chunk(b"IEND", b"")


def tif(bits, photometric, content):
    """A TIFF of 8 × 8 grey pixels by hand."""
    tags = [(256, 8), (257, 8), (258, bits), (259, 1), (262, photometric), (273, 122), (277, 1), (278, 8)]
    tags = [struct.pack("<2H2I", tag, 3, 1, value) for tag, value in (*tags, (279, len(content)))]
    return b"II*\0" + struct.pack("<IH", 8, 9) + b"".join(tags) + struct.pack("<I", 0) + content


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "name, content, left, right",
    [
        ("a.png", png(2, 0, struct.pack(">H", 1), *[b"\0\x55"] * 8), 0, 255),
        ("a.png", png(2, 0, struct.pack(">H", 3), *[b"\0\x55"] * 8), 0, 85),
        ("a.png", png(4, 0, struct.pack(">H", 7), *[b"\x11\x11\x77\x77"] * 8), 17, 255),
        (
            "a.png",
            png(
                16,
                2,
                struct.pack(">3H", 30000, 0, 30000),
                *[b"\x14" * 24 + b"\x75\x30\0\0\x75\x30" * 4] * 8,
            ),
            20,
            255,
        ),
        ("a.tif", tif(12, 1, (b"\0" * 6 + b"\xff" * 6) * 8), 0, 255),
        ("a.tif", tif(12, 1, (b"\0" * 6 + b"\x80\x08\x00" * 2) * 8), 0, 128),
        ("a.tif", tif(16, 0, (b"\0" * 8 + b"\xff" * 8) * 8), 255, 0),
        ("a.tif", tif(8, 0, (b"\0" * 4 + b"\xff" * 4) * 8), 255, 0),
    ],
)
def test_depths_and_transparent_colours_as_the_file_means_them(tmp_path, channels, name, content, left, right):
    (tmp_path / name).write_bytes(content)
    got = data.images(tmp_path, 8, channels, raw=True)[0][0]
    assert (got[:, :, :4] == left).all() and (got[:, :, 4:] == right).all()


def test_an_exif_that_cannot_be_read_turns_nothing_and_a_decoder_that_fails_names_its_file(tmp_path, monkeypatch):
    got = one(Image.new("RGB", (8, 8), (200, 30, 60)), tmp_path, exif=b"Exif\0\0no TIFF")
    assert got[:, 3, 3].tolist() == [200, 30, 60]

    def broken(*args, **options):
        raise RuntimeError("Failed to decode image")

    monkeypatch.setattr(Image, "open", broken)  # as the one of AVIF does
    with pytest.raises(data.DataError, match=r"a.png \(Failed to decode image\)"):
        data.images(tmp_path, 8)


def test_folders_that_systems_keep_pipes_and_names_that_steer_a_terminal(tmp_path, monkeypatch):
    systems = ("@eaDir", "$RECYCLE.BIN", "#recycle", "lost+found", "System Volume Information", "__macosx")
    for name in (*systems, "x²", "x1"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "b.png")  # whoever opens it waits for ever
    found = data.find(tmp_path)
    assert found.classes == ("x1", "x²") and found.passed["hidden folders"] == 6
    assert found.passed.get("pipes and devices", 0) == hasattr(os, "mkfifo")
    (tmp_path / "x1" / "a\x1b[2J.png").write_bytes(b"")
    with pytest.raises(data.DataError, match=r"x1/a\\x1b\[2J.png \(is no picture"):
        data.images(tmp_path, 8)
    look = os.scandir

    def closed(path):
        if os.path.basename(path) == "x1":
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(data.DataError, match="the folder .*x1 cannot be opened .Permission denied"):
        data.find(tmp_path)


@pytest.mark.parametrize("labels", [False, True])
def test_pictures_are_the_same_data_in_memory_and_on_disk(folder, labels):
    """Memory may be scarce when a run goes on that began in it."""
    from dlgm.training.files import fingerprint

    stored = data.Pictures(folder, 8, labels=labels)
    v, y = data.images(folder, 8, raw=True)
    assert stored.checked()[0] == fingerprint((v, y) if labels else v)


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
