"""Captions of a folder: read from files and tables, trained on by the command, compared when a run goes on."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dlgm import data, train, training
from dlgm.nets import CaptionedUNet
from dlgm.training import __main__ as command
from dlgm.training import load
from dlgm.training.files import fingerprint

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220)}
TINY = "--size 8 --widths 8,8 --batch 4 --T 50 --samples 4 --sample-steps 3 --device cpu --quiet".split()


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of one colour each, every third in a subfolder, without captions."""
    root = tmp_path / "pictures"
    (root / "more").mkdir(parents=True)
    for i in range(12):
        picture = Image.new("RGB", (9, 9), list(COLOURS.values())[i % 3])
        picture.save(root / "more" / f"{i:02d}.png" if i % 3 == 0 else root / f"{i:02d}.png")
    return root


def described(folder):
    """A caption for each picture, in the order of the files."""
    files = data.find(folder).files
    return {file: f"number {int(file.stem)}, {list(COLOURS)[int(file.stem) % 3]}" for file in files}


def as_files(folder):
    for file, caption in described(folder).items():
        file.with_suffix(".txt").write_text(f"{caption}\n")


def as_table(folder, head="file,caption\n", encoding="utf-8", end="\n"):
    rows = [f'{file.relative_to(folder).as_posix()},"{text}"' for file, text in described(folder).items()]
    (folder / "captions.csv").write_bytes((head + end.join(rows)).encode(encoding))


@pytest.mark.parametrize(
    "write",
    [
        as_files,
        as_table,
        lambda folder: as_table(folder, head=""),
        lambda folder: as_table(folder, head="File, Caption\r\n", encoding="utf-8-sig", end="\r\n"),
        lambda folder: as_table(folder, head="\n\n", end="\n\n"),
    ],
)
def test_files_and_tables_say_the_same(folder, write):
    write(folder)
    captions, read, remarks = data.captions_of(data.find(folder))
    assert captions == list(described(folder).values()) and remarks == []
    assert all(file.suffix in (".txt", ".csv") for file in read) and len(read) in (1, 12)


def test_oddities_of_a_table_are_understood_or_counted(folder):
    Image.new("RGB", (9, 9)).save(folder / "cafe\u0301.png")  # as a Mac writes é
    rows = [
        '01.png,"a ""quoted"" word, a comma"', '02.png, "blank before, and a', 'line break"', ".\\04.png,plain",
        "more\\00.png,with a backslash", "./more/03.png,ünïcode", "caf\u00e9.png,composed", "04.png,again",
        "gone.png,no picture", "../01.png,outside", "05.png,", "06.png,  ", "07.png,x", "08.png,x",
    ]  # fmt: skip
    (folder / "captions.csv").write_text("\n".join(rows), encoding="utf-8")
    listing = data.find(folder)
    captions, _, remarks = data.captions_of(listing)
    got = {file.name: text for file, text in zip(listing.files, captions, strict=True)}
    assert got["01.png"] == 'a "quoted" word, a comma' and got["02.png"] == "blank before, and a line break"
    assert got["04.png"] == "plain" and got["00.png"] == "with a backslash" and got["03.png"] == "ünïcode"
    assert got["cafe\u0301.png"] == "composed" and got["05.png"] == got["10.png"] == ""
    assert remarks == [
        "4 pictures without a caption, trained on with the empty one",  # 06 lies in a subfolder, 09 to 11 have no row
        "3 rows of captions.csv that name no picture",
        "1 rows of captions.csv that name a picture again; the first counts",
    ]


def test_a_file_beside_the_picture_counts_before_the_table(folder):
    as_table(folder)
    (folder / "01.txt").write_text("﻿beside", encoding="utf-8")
    (folder / "02.txt").write_text(" \n")
    listing = data.find(folder)
    captions, _, remarks = data.captions_of(listing)
    got = {file.name: text for file, text in zip(listing.files, captions, strict=True)}
    assert got["01.png"] == "beside" and got["02.png"] == "" and got["04.png"] == "number 4, green"
    assert remarks == ["2 pictures with a row of captions.csv and a .txt; the .txt counts"]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"01.png,one, two\n", "line 1: expected two columns, file,caption, got 3; a caption with commas stands in"),
        (b"file,caption\n01.png;one\n", "line 2: expected two columns, file,caption, got 1"),
        (b'01.png,"never closed\n02.png,b\n', "line 2: unexpected end of data; is a quote not closed?"),
        (b"01.png,caf\xe9\n", "is not UTF-8 (byte 10); save it as UTF-8"),
        ("01.png,a".encode("utf-16"), "is not UTF-8 (byte 0); save it as UTF-8"),
        (b"image,text\nred.png,red\n", "none of the 12 pictures in "),
        (b"01.png,\n", "none of the 12 pictures in "),
        (b"", "has a caption; put name.txt beside name.png, or a captions.csv with the columns file,caption into"),
        (b"01.png,a\n02.png,b\n", "10 of the 12 pictures in "),
    ],
)
def test_a_table_of_no_use_ends_in_a_sentence(folder, tmp_path, capsys, content, words):
    (folder / "captions.csv").write_bytes(content)
    assert train.main([str(folder), "--captions", "--out", str(tmp_path / "run"), *TINY]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and words in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def trained(folder, out, *more, steps=2):
    return train.main(
        [str(folder), "--captions", "--out", str(out), "--steps", str(steps), "--every", "1", *TINY, *more]
    )


def test_the_command_trains_a_network_that_reads_and_says_what_it_drew(folder, tmp_path, capsys):
    as_files(folder)
    (folder / "01.txt").write_text("long " * 65)
    (folder / "02.txt").unlink()
    (folder / "notes.txt").write_text("beside no picture")
    assert trained(folder, tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "12 images" in out and "captions of 15 different words" in out  # long, number, 3 colours, 10 numbers
    assert "1 pictures without a caption" in out and "1 captions are longer than 64 words and are cut" in out
    assert "passed over: 1 .txt\n" in out
    model, card = load(tmp_path / "run" / "model.safetensors")
    assert isinstance(model.net, CaptionedUNet) and "green" in model.net.tokenizer.words and card["size"] == "8"
    lines = (tmp_path / "run" / "samples.txt").read_text(encoding="utf-8").splitlines()
    listing = data.find(folder)
    captions = data.captions_of(listing)[0]
    assert lines == [f"{i + 1} {captions[3 * i]}" for i in range(4)]
    assert np.asarray(Image.open(tmp_path / "run" / "samples_000002.png")).shape == (17 * 8, 17 * 8, 3)
    assert trained(folder, folder / "runs" / "a") == 0 and "12 images" in capsys.readouterr().out  # OUT may lie inside


def arguments(folder, *more):
    args = command.parser().parse_args([str(folder), "--captions", "--out", str(folder / "run"), *TINY, *more])
    command.check(args)
    return args


def test_each_picture_is_trained_on_with_its_own_words(folder):
    as_table(folder)
    memory = command.examples_of(arguments(folder))
    disk = command.examples_of(arguments(folder, "--workers", "0"))
    v, tokens = memory.data
    tokenizer = command.model_for(arguments(folder), memory).net.tokenizer
    for i, text in enumerate(described(folder).values()):
        assert tokenizer.text(tokens[i]) == text.replace(",", "")
        assert torch.equal(v[i], disk.data[i][0]) and torch.equal(tokens[i], disk.data[i][1])
        assert tuple(v[i, :, 4, 4].tolist()) == COLOURS[text.split()[-1]]
    assert fingerprint(memory.data) == fingerprint(disk.data)
    assert memory.captions == disk.captions == tuple(described(folder).values())


@pytest.mark.parametrize("more", [[], ["--workers", "0"]])
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(folder, tmp_path, monkeypatch, more):
    as_table(folder)
    whole, cut, real = tmp_path / "whole", tmp_path / "cut", command.draw
    assert trained(folder, whole, steps=4) == 0

    def stop(*args):
        raise KeyboardInterrupt if (cut / "checkpoint.pt").exists() else real(*args)

    monkeypatch.setattr(command, "draw", stop)
    assert trained(folder, cut, *more, steps=4) == 1 and load(cut / "checkpoint.pt")[1]["steps"] == "1"
    monkeypatch.setattr(command, "draw", real)
    assert trained(folder, cut, *more, steps=4) == 0
    ours, theirs = (load(run / "model.safetensors")[0].state_dict() for run in (whole, cut))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours) and ours.keys() == theirs.keys()
    pictures = [np.asarray(Image.open(run / "samples_000004.png")) for run in (whole, cut)]
    assert (pictures[0] == pictures[1]).all()


def test_a_checkpoint_of_other_captions_is_refused(folder, tmp_path, capsys):
    as_files(folder)
    out = tmp_path / "run"
    assert trained(folder, out, "--samples", "0") == 0
    (out / "model.safetensors").unlink()
    before = (out / "checkpoint.pt").read_bytes()
    first, second = (folder / f"0{i}.txt" for i in (1, 2))
    texts = first.read_text(), second.read_text()
    first.write_text(texts[1])
    second.write_text(texts[0])  # the same words, exchanged
    assert trained(folder, out, "--samples", "0") == 2
    assert "settings (other data)" in capsys.readouterr().err
    second.write_text("number two, violet")
    assert trained(folder, out, "--samples", "0") == 2
    assert "CaptionedUNet words: 1 only there (1), 2 only here (two, violet); other data" in capsys.readouterr().err
    assert train.main([str(folder), "--out", str(out), "--steps", "2", *TINY]) == 2
    assert "a run with another network (CaptionedUNet there, UNet here)" in capsys.readouterr().err
    assert (out / "checkpoint.pt").read_bytes() == before
    first.write_text(texts[0])
    second.write_text(texts[1])
    assert trained(folder, out, "--samples", "0") == 0


@pytest.mark.parametrize(
    "more, words",
    [
        (["mnist", "--captions"], "--captions is for folders; mnist holds pictures with labels"),
        (["x", "--captions", "--labels"], "--labels and --captions do not go together; take one of them"),
        (["x", "--captions", "--clips", "8"], "--captions and --clips do not go together"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, capsys, more, words):
    assert train.main([*more, "--out", str(tmp_path / "run")]) == 2 and words in capsys.readouterr().err


def test_guidance_of_minus_one_draws_as_without_a_caption(generator):
    from dlgm.denoiser import Denoiser
    from dlgm.schedules import cosine_beta

    model = Denoiser(CaptionedUNet(("red",), width=8, layers=1, channels=1, widths=(8,), heads=2), cosine_beta(20), "v")
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=generator))
    model, y = model.eval(), torch.full((3, 1), 2)
    without, told, at_zero, back = (
        training.draw(model, 3, 8, 4, **how).detach() for how in ({}, {"y": y, "w": 1.0}, {"y": y}, {"y": y, "w": -1.0})
    )
    assert (told - at_zero).abs().max() > 0.01 and (at_zero - without).abs().max() > 0.01
    torch.testing.assert_close(back, without, rtol=0, atol=1e-4)  # float32, 0 · a is added to each answer


@pytest.mark.slow
def test_two_processes_train_one_network_that_reads(folder, tmp_path):
    as_files(folder)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "dlgm.train"]
    more = ["--steps", "3", "--samples", "0"]
    two = [*start, str(folder), "--captions", *TINY, *more, "--out", str(tmp_path / "two")]
    done = subprocess.run(two, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=110, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert trained(folder, tmp_path / "one", "--accumulate", "2", *more) == 0
    ours, theirs = (load(tmp_path / run / "model.safetensors")[0].state_dict() for run in ("two", "one"))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5)  # float32 sums in another order
