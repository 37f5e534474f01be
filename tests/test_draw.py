"""The command that draws: what was asked for, in files of their own, with sentences where something does not fit."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dlgm import data, draw, training
from dlgm.cascade import Cascade
from dlgm.denoiser import Clipped, Denoiser
from dlgm.guidance import ClassifierFree
from dlgm.nets import CaptionedUNet, TimeMLP, UNet, VideoUNet
from dlgm.schedules import cosine_beta, time_grid

WORDS = ("blue", "hair", "red", "woman")


def saved(path, net, **card):
    """A denoiser with random weights, written as a run writes it."""
    model = Denoiser(net, cosine_beta(20), "v")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=generator))
    path.parent.mkdir(parents=True, exist_ok=True)
    training.save(model, path, **card)
    return path.parent


def reading(channels=3, **more):
    return CaptionedUNet(WORDS, width=8, layers=1, channels=channels, widths=(8, 8), heads=2, **more)


@pytest.fixture
def reader(tmp_path):
    return saved(tmp_path / "reader" / "model.safetensors", reading(), size=8)


@pytest.fixture
def kinds(tmp_path):
    names = json.dumps(["tabby", "2", "Größe"])
    return saved(tmp_path / "kinds" / "model.safetensors", UNet(1, (8, 8), heads=2, classes=3), size=8, classes=names)


def run(*arguments, out):
    return draw.main([*map(str, arguments), "--steps", "3", "--device", "cpu", "--out", str(out)])


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def test_a_picture_for_each_caption_as_the_package_draws_it(reader, tmp_path, capsys):
    out = tmp_path / "out"
    captions = ["A woman, with BLUE hair!", "red/hair: con?"]
    assert run(reader, *captions, "--n", 2, "--w", 1.5, "--seed", 3, out=out) == 0
    names = [f"{stem}_{i:03d}.png" for stem in ("a-woman-with-blue-hair", "red-hair-con") for i in (1, 2)]
    assert sorted(p.name for p in out.iterdir()) == names
    said = capsys.readouterr().out
    assert "words that the model does not know: a, with\n" in said and "does not know: con\n" in said
    assert f"{captions[0]}: {out / names[0]} to {names[1]}\n" in said
    model, _ = training.load(reader / "model.safetensors")
    for caption, files in zip(captions, (names[:2], names[2:]), strict=True):
        y = model.net.tokenizer([caption, caption])
        x = training.draw(model, 2, 8, steps=3, seed=3, y=y, w=1.5)
        assert all((pixels(out / file) == data.to_uint8(v).numpy()).all() for file, v in zip(files, x, strict=True))
    assert (pixels(out / names[0]) != pixels(out / names[2])).any()


def test_no_file_is_overwritten(reader, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "red_002.png").write_bytes(b"precious")
    assert run(reader, "red", "--n", 2, out=out) == 0 and run("--n", 1, reader, "Red!", out=out) == 0
    assert sorted(p.name for p in out.iterdir()) == [f"red_00{i}.png" for i in (1, 2, 3, 4)]
    assert (out / "red_002.png").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "caption", ["CON", "nul.txt", "..", "a/../../b", "a\\b:c*?", "é" * 300, "x\x1b[2J\n", "\udcff", " "]
)
def test_names_that_any_system_takes(tmp_path, caption):
    path = next(draw.places(tmp_path, caption, ".png"))
    assert path.parent == tmp_path and len(path.name.encode()) < 200
    stem = path.name.removesuffix("_001.png")
    assert stem and all(part.isalnum() for part in stem.split("-"))


def test_without_a_caption_the_empty_one_is_drawn(reader, tmp_path, capsys):
    assert run(reader, "--n", 1, out=tmp_path / "a") == 0 and run(reader, "", "--n", 1, out=tmp_path / "b") == 0
    model, _ = training.load(reader / "model.safetensors")
    x = data.to_uint8(training.draw(model, 1, 8, steps=3)[0]).numpy()
    for folder in ("a", "b"):
        assert (pixels(tmp_path / folder / "picture_001.png") == x).all()
    assert capsys.readouterr().out == f"{tmp_path / 'a' / 'picture_001.png'}\n{tmp_path / 'b' / 'picture_001.png'}\n"


def test_labels_by_name_and_number_or_all_in_turn(kinds, tmp_path):
    out = tmp_path / "out"
    for label in ("tabby", "0", "2", "1", "Größe"):
        assert run(kinds, "--label", label, "--n", 1, out=out) == 0
    got = {p.name: pixels(p) for p in out.iterdir()}
    assert sorted(got) == ["0_001.png", "1_001.png", "2_001.png", "größe_001.png", "tabby_001.png"]
    assert (got["tabby_001.png"] == got["0_001.png"]).all() and (got["2_001.png"] == got["1_001.png"]).all()  # a name
    assert run(kinds, "--n", 5, out=tmp_path / "all") == 0
    model, _ = training.load(kinds / "model.safetensors")
    x = data.to_uint8(training.draw(model, 5, 8, steps=3, y=torch.tensor([0, 1, 2, 0, 1]), w=2.0))
    for i in range(5):
        assert (pixels(tmp_path / "all" / f"picture_00{i + 1}.png") == x[i].numpy()).all()


def test_many_are_drawn_in_parts_that_differ(kinds, tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "CHUNK", 2)
    assert run(kinds, "--label", "tabby", "--n", 5, out=tmp_path) == 0
    assert len({pixels(p).tobytes() for p in tmp_path.glob("*.png")}) == 5


def test_clips_become_animations(tmp_path):
    place = saved(tmp_path / "films" / "model.safetensors", VideoUNet(3, (8,), heads=2), size=8, frames=5)
    assert run(place, "--n", 2, out=tmp_path / "out") == 0
    model, _ = training.load(place / "model.safetensors")
    x = training.draw(model, 2, 8, steps=3, frames=5)
    for i in range(2):
        got = data.Clips(tmp_path / "out", 8, 5).read()[i]
        assert torch.equal(got, data.to_uint8(x[i]))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["picture_001.webp", "picture_002.webp"]


def test_a_checkpoint_a_file_and_a_folder_are_one_model(tmp_path):
    v = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model, place = Denoiser(UNet(1, (8, 8), heads=2), cosine_beta(20), "v"), tmp_path / "run"
    options = {"steps": 2, "batch_size": 4, "progress": False, "about": {"size": "8"}}
    training.fit(model, training.image_loss, v, checkpoint=place / "checkpoint.pt", **options)
    assert run(place, "--n", 1, out=tmp_path / "a") == 0
    training.save(model, place / "model.safetensors", size=8)
    for source in (place, place / "model.safetensors", place / "checkpoint.pt"):
        assert run(source, "--n", 1, out=tmp_path / "a") == 0
    assert (
        len({pixels(p).tobytes() for p in (tmp_path / "a").iterdir()}) == 1
        and len(list((tmp_path / "a").iterdir())) == 4
    )


def test_the_cascade_that_ships(tmp_path, monkeypatch, capsys):
    """With tiny networks in the place of those of the course."""
    saved(tmp_path / "base_faces.safetensors", reading())
    for size in (32, 64):
        saved(tmp_path / f"upsampler_faces_{size}.safetensors", reading(beside=3, noised=True))
    monkeypatch.setattr(data, "checkpoint", lambda name: tmp_path / f"{name}.safetensors")
    monkeypatch.setitem(draw.CASCADES, "faces", (draw.CASCADES["faces"][0], (10, 5), 16))  # of 20 steps
    assert run("faces", "red hair", "purple", "--n", 2, "--w", 1, out=tmp_path / "out") == 0
    assert "words that the model does not know: purple\n" in capsys.readouterr().out
    cascade = draw.shipped("faces")
    assert isinstance(cascade, Cascade) and len(cascade.models) == 3
    guided = Cascade(tuple(Clipped(ClassifierFree(m, 1.0)) for m in cascade.models), (10, 5))
    y = cascade.models[0].net.tokenizer(["red hair"] * 2)
    times = time_grid(cascade.models[0].schedule, 3)
    with torch.no_grad():
        x = guided.sample((2, 3, 16, 16), times, torch.Generator().manual_seed(0), y=y)[-1]
    assert x.shape == (2, 3, 64, 64)
    for i in range(2):
        assert (pixels(tmp_path / "out" / f"red-hair_00{i + 1}.png") == data.to_uint8(x[i]).numpy()).all()
    assert run("faces", "--size", 32, out=tmp_path / "out") == 2
    assert "faces draws pictures of one size; leave --size out" in capsys.readouterr().err
    with pytest.raises(ValueError, match="unknown cascade 'cats'; known: faces"):
        draw.shipped("cats")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["{kinds}", "a cat"], "was trained without captions; take --label in the place of 'a cat'"),
        (["{plain}", "a cat"], "was trained without captions; take --n alone in the place of 'a cat'"),
        (["{plain}", "--label", "1"], "was trained without labels; leave --label out"),
        (["{reader}", "--label", "red"], "was trained without labels; leave --label out"),
        (["{kinds}", "--label", "tiger"], "there is no class 'tiger'; there are 'tabby', '2', 'Größe'"),
        (["{kinds}", "--label", "3"], "there is no class '3'"),
        (["{unnamed}", "--label", "3"], "there is no class '3'; there are the numbers 0 to 2"),
        (["{unnamed}", "--label", "1"], "does not say how large its pictures are; add --size"),
        (["{points}"], "holds a TimeMLP, which draws no pictures of 1 or 3 channels"),
        (["{kinds}", "--size", "1"], "of at least 2×2 pixels"),
        (["nowhere"], "there is no model nowhere; expected faces, a file, or the folder of a run"),
        (["{empty}"], "holds no model.safetensors and no checkpoint.pt"),
        (["{kinds}", "--n", "0"], "--n must be a number from 1 to 10000; got 0"),
        (["{kinds}", "--w", "nan"], "--w must be a number from -1 to 100; got nan"),
        (["{kinds}", "--steps", "0"], "--steps must be a number from 1 to 100000; got 0"),
        (["{kinds}", "--out", "{kinds}/model.safetensors"], "model.safetensors cannot be made a folder"),
        (["{damaged}"], "damaged.safetensors is missing or damaged"),
    ],
)
def test_mistakes_end_in_a_sentence(tmp_path, capsys, kinds, reader, arguments, words):
    saved(tmp_path / "plain" / "model.safetensors", UNet(1, (8, 8), heads=2), size=8)
    saved(tmp_path / "unnamed" / "model.safetensors", UNet(1, (8, 8), heads=2, classes=3))
    saved(tmp_path / "points" / "model.safetensors", TimeMLP(2, 8, 1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    names = ("kinds", "reader", "plain", "unnamed", "points", "empty")
    places = {name: tmp_path / name for name in names} | {"damaged": tmp_path / "damaged.safetensors"}
    written = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    told = [argument.format(**places) for argument in arguments]
    told += [] if "--out" in told else ["--out", str(tmp_path / "out")]
    assert draw.main([*told, "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and words in captured.err and captured.err.count("\n") == 1
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == written


@pytest.mark.slow
def test_the_command_from_a_shell(kinds, tmp_path):
    start = [sys.executable, "-m", "dlgm.draw", str(kinds), "--n", "1", "--steps", "2", "--out", str(tmp_path / "out")]
    done = subprocess.run(start, capture_output=True, timeout=110)
    assert done.returncode == 0 and done.stdout.decode().strip() == str(tmp_path / "out" / "picture_001.png")
