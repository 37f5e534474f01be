"""Clips of a folder: each kind gives the frames that were written; the command trains on them and draws animations."""

import numpy as np
import pytest
import torch
from PIL import Image

from dlgm import data, plots, train, training
from dlgm.denoiser import Denoiser
from dlgm.nets import VideoUNet
from dlgm.schedules import cosine_beta
from dlgm.training import __main__ as command
from dlgm.training import load

TINY = "--size 8 --widths 8,8 --batch 2 --T 50 --samples 4 --sample-steps 3 --device cpu --quiet".split()


def frames(n, seed=0):
    """n frames of 8 × 8 pixels, (n, 3, 8, 8) uint8, in 64 colours: a GIF has room for 256."""
    return torch.randint(0, 4, (n, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8) * 85


def images(v):
    return [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in v]


def write(v, path):
    """Write frames as an animation that loses nothing, or into a folder."""
    first, *rest = images(v)
    if path.suffix:
        how = {"lossless": True} if path.suffix == ".webp" else {}
        first.save(path, save_all=True, append_images=rest, duration=40, **how)
        return
    path.mkdir(parents=True)
    for i, image in enumerate((first, *rest)):
        image.save(path / f"{i}.png")  # 10 before 2, where names are sorted as letters


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.apng", "a.webp", "a", "deep/down/a"])
def test_each_kind_gives_the_frames_that_were_written(tmp_path, name):
    v = frames(13)
    write(v, tmp_path / name)
    clips = data.Clips(tmp_path, 8, 4)
    got = clips.read()
    assert got.dtype == torch.uint8 and got.shape == clips.shape == (3, 4, 3, 8, 8) and clips.short == clips.single == 0
    assert torch.equal(got.flatten(0, 1), v[:12])  # windows side by side; the thirteenth frame is left over
    whole = data.Clips(tmp_path, 8, 13).read()
    assert torch.equal(whole[0], v)


def test_frames_are_cropped_scaled_and_made_grey_as_single_pictures_are(tmp_path):
    rng = np.random.default_rng(0)
    wide = [Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)) for _ in range(3)]
    wide[0].save(tmp_path / "a.png", save_all=True, append_images=wide[1:])
    for i, image in enumerate(wide):
        (tmp_path / "stills").mkdir(exist_ok=True)
        image.save(tmp_path / "stills" / f"{i}.bmp")
    for channels in (1, 3):
        moving, still = data.Clips(tmp_path, 8, 3, channels).read()
        assert torch.equal(moving, still) and torch.equal(still, data.images(tmp_path / "stills", 8, channels, True)[0])


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_transparent_parts_of_every_frame_stand_on_white(tmp_path, name):
    clear = []
    for i in range(4):
        image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
        image.paste((255, 0, 0, 255), (i, 0, i + 2, 8))
        clear.append(image)
    how = {"lossless": True} if name == "a.webp" else {}
    clear[0].save(tmp_path / name, save_all=True, append_images=clear[1:], disposal=2, **how)
    got = data.Clips(tmp_path, 8, 4).read()[0]
    for i in range(4):
        red = torch.zeros(8, 8, dtype=torch.bool)
        red[:, i : i + 2] = True
        assert (got[i, 0] == 255).all() and (got[i, 1:, red] == 0).all() and (got[i, 1:, ~red] == 255).all()


def test_the_cover_of_an_apng_is_no_frame(tmp_path):
    v, cover = frames(4), Image.new("RGB", (8, 8), "red")
    cover.save(tmp_path / "a.png", save_all=True, append_images=images(v), default_image=True)
    assert torch.equal(data.Clips(tmp_path, 8, 4).read()[0], v)
    with pytest.raises(data.DataError, match="none of the 1 clips in .* has 5 frames, the longest has 4; a clip is an"):
        data.Clips(tmp_path, 8, 5)


def test_what_does_not_count_is_counted(tmp_path, capsys):
    films = tmp_path / "films"
    films.mkdir()
    write(frames(9), films / "b.gif")
    write(frames(3), films / "c.webp")
    write(frames(2), films / "few")
    write(frames(4, seed=1), films / "d" / "many")
    images(frames(1))[0].save(films / "poster.jpg")
    (films / "readme.md").write_text("x")
    clips = data.Clips(films, 8, 4)
    assert (len(clips.read()), clips.short, clips.single) == (3, 2, 1)
    out = films / "runs" / "a"  # may lie inside
    assert train.main([str(films), "--clips", "4", "--out", str(out), "--steps", "2", *TINY]) == 0
    said = capsys.readouterr().out
    assert "3 clips of 4 frames of 3×8×8" in said
    assert "passed over: 2 clips with fewer than 4 frames, 1 pictures beside animations\npassed over: 1 .md" in said


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a/2.png"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_broken_files_are_named(tmp_path, name, share):
    write(frames(12), (tmp_path / name).parent if "/" in name else tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    write(frames(12), tmp_path / "whole.gif")
    with pytest.raises(data.DataError, match=rf"1 of \d+ files in .* cannot be read as images: {name} \("):
        data.Clips(tmp_path, 8, 4).read()


def trained(films, out, *more, steps=2):
    options = ["--clips", "4", "--out", str(out), "--steps", str(steps), "--every", "1", *TINY]
    return train.main([str(films), *options, *more])


def test_the_command_trains_a_network_of_clips_that_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    films, whole, cut, real = tmp_path / "films", tmp_path / "whole", tmp_path / "cut", command.draw
    write(frames(12), films / "a")
    assert trained(films, whole, steps=3) == 0
    model, card = load(whole / "model.safetensors")
    assert isinstance(model.net, VideoUNet) and (card["frames"], card["size"], card["channels"]) == ("4", "8", "3")

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "draw", stop)
    assert trained(films, cut, steps=3) == 1
    monkeypatch.setattr(command, "draw", real)
    assert trained(films, cut, steps=3) == 0
    ours, theirs = (load(run / "model.safetensors")[0].state_dict() for run in (whole, cut))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with Image.open(whole / "samples_000003.webp") as moving:
        assert moving.n_frames == 4 and moving.size == (17 * 8, 17 * 8) and moving.info["loop"] == 0
    assert sorted(p.name for p in whole.iterdir() if "samples" in p.name) == [
        f"samples_00000{i}.webp" for i in (1, 2, 3)
    ]
    (cut / "model.safetensors").unlink()
    write(frames(4, seed=5), films / "b")
    capsys.readouterr()
    assert trained(films, cut, steps=3) == 2 and "examples 3 there, 4 here; other data" in capsys.readouterr().err


def test_draw_gives_clips(generator):
    model = Denoiser(VideoUNet(2, (8,), heads=2), cosine_beta(20), "v")
    x = training.draw(model, 3, 8, steps=2, frames=5)
    assert x.shape == (3, 5, 2, 8, 8)
    g = torch.Generator().manual_seed(0)
    x_T = torch.randn(x.shape, generator=g)  # the network answers 0: x0 = signal x, eps = noise x at every step
    times, s = (20, 10, 0), model.schedule
    for t, r in zip(times, times[1:], strict=False):
        x0 = (float(s.signal(t)) * x_T).clamp(-1, 1)
        eps = (x_T - float(s.signal(t)) * x0) / float(s.noise(t))
        x_T = float(s.signal(r)) * x0 + float(s.noise(r)) * eps
    torch.testing.assert_close(x, x_T, rtol=0, atol=1e-5)  # float32, two steps


def test_the_loss_of_clips_is_that_of_their_numbers():
    """A network that takes each pixel alone sees no difference between a clip and a picture with F C channels."""
    model = Denoiser(lambda x, t: 0.3 * x, cosine_beta(50), "v")
    v = torch.randint(0, 256, (5, 4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    clips, flat = (training.image_loss(model, x, torch.Generator().manual_seed(2), 0) for x in (v, v.flatten(1, 2)))
    assert abs(clips - flat) < 1e-6 * flat


def test_an_animation_that_was_written_is_read_again(tmp_path):
    v = frames(5)
    plots.save_animation(data.from_uint8(v), tmp_path / "a.webp")
    assert torch.equal(data.Clips(tmp_path, 8, 5).read()[0], v)
    plots.save_animation(data.from_uint8(v), tmp_path / "a.webp", scale=3)
    with Image.open(tmp_path / "a.webp") as image:
        assert image.size == (24, 24)


@pytest.mark.parametrize(
    "more, words",
    [
        (["mnist", "--clips", "4"], "--clips is for folders; mnist holds pictures with labels"),
        (["x", "--clips", "1"], "--clips must be a whole number from 2 to 1024; got 1"),
        (["x", "--clips", "4", "--labels"], "--labels and --clips do not go together; take one of them"),
        (["x", "--clips", "4", "--workers", "1"], "--workers is for pictures; clips are kept in memory"),
        (["x", "--clips", "4"], "there is no folder x"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    assert train.main([*more, "--out", str(tmp_path / "run")]) == 2 and words in capsys.readouterr().err


def test_clips_that_do_not_fit_into_memory_are_refused(tmp_path, capsys, monkeypatch):
    write(frames(8), tmp_path / "films" / "a")
    monkeypatch.setattr(command, "free_memory", lambda: 4 * 2 * 4 * 3 * 64 - 1)
    assert trained(tmp_path / "films", tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert (
        "2 clips take 1,536 bytes, more than a quarter of the 6,143 that are free; take a smaller --size, --gray" in err
    )
