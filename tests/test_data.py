import gzip
import importlib.util
import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dlgm import data
from dlgm.data import COLOURS, DIGIT_WORDS, RELATIONS, SETS, TOYS, DataError
from dlgm.data.faces import ATTRIBUTES, EYEBROWS, Faces
from dlgm.data.faces import COLOURS as FACE_COLOURS

REPO = Path(__file__).resolve().parent.parent
DATA = REPO / "data"
MANIFEST = json.loads((DATA / "MANIFEST.json").read_text(encoding="utf-8"))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def build():
    """The rebuild script, as a module."""
    spec = importlib.util.spec_from_file_location("build_data", DATA / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """A private copy of MNIST and the manifest, which a test may damage."""
    for file in ("MANIFEST.json", "mnist.npz"):
        shutil.copy(DATA / file, tmp_path / file)
    monkeypatch.setenv("DLGM_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def faces():
    return Faces(64)


# ---- the committed files -------------------------------------------------
def test_manifest_lists_exactly_the_files_and_the_folder_stays_small():
    assert set(MANIFEST) == {p.name for p in DATA.glob("*.npz")}
    # 60 MB is what the course allows itself, so that cloning it stays quick.
    assert sum(p.stat().st_size for p in DATA.rglob("*") if p.is_file()) < 60e6


@pytest.mark.parametrize("file", sorted(MANIFEST))
def test_file_is_the_one_of_the_manifest(file, build, monkeypatch):
    monkeypatch.delenv("DLGM_DATA", raising=False)
    arrays, entry = data.read_npz(file), MANIFEST[file]  # read_npz compares the hash of the bytes
    assert (DATA / file).stat().st_size == entry["bytes"]
    assert {k: {"dtype": str(v.dtype), "shape": list(v.shape)} for k, v in arrays.items()} == entry["arrays"]
    assert build.hash_arrays(arrays) == entry["sha256_of_arrays"]
    assert all(entry[key] for key in ("licence", "credit", "source"))
    assert f"## {file}" in (DATA / "LICENSES.md").read_text(encoding="utf-8")


def test_builder_writes_repeatable_bytes_and_refuses_to_overwrite(build, tmp_path, monkeypatch, capsys):
    arrays = data.read_npz("digits8.npz")
    monkeypatch.setattr(build, "fetch", lambda source, cache: None)
    monkeypatch.setitem(build.BUILDERS, "digits8", lambda archive: arrays)
    assert build.build("digits8", tmp_path, tmp_path)
    first = (tmp_path / "digits8.npz").read_bytes()
    os.utime(tmp_path / "digits8.npz", (0, 0))
    assert build.build("digits8", tmp_path, tmp_path)
    assert (tmp_path / "digits8.npz").read_bytes() == first
    other = arrays | {"labels": (arrays["labels"] + 1).astype(np.uint8)}
    monkeypatch.setitem(build.BUILDERS, "digits8", lambda archive: other)
    assert not build.build("digits8", tmp_path, tmp_path)
    assert "DIFFERS" in capsys.readouterr().out
    assert (tmp_path / "digits8.npz").read_bytes() == first
    assert not build.build("digits8", tmp_path, tmp_path, force=True)
    with np.load(tmp_path / "digits8.npz") as written:
        assert (written["labels"] == other["labels"]).all()


def test_loading_needs_only_torch_and_numpy():
    code = (
        "import sys, dlgm.data, dlgm.data.faces; print({'matplotlib', 'sklearn', 'PIL', 'skimage'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


# ---- load ----------------------------------------------------------------
COUNTS = {"mnist": (9000, 1000, 28), "fashion": (20000, 10000, 28), "digits8": (1500, 297, 8)}


@pytest.mark.parametrize("name", SETS)
def test_splits_have_the_promised_form_range_and_balance(name):
    *counts, side = COUNTS[name]
    shares = []
    for split, n in zip(data.SPLITS, counts, strict=True):
        x, y = data.load(name, split)
        assert x.shape == (n, 1, side, side) and x.dtype == torch.float32 and x.is_contiguous()
        assert y.shape == (n,) and y.dtype == torch.int64
        assert x.min() == -1 and x.max() == 1
        shares.append(y.bincount(minlength=10) / n)
    assert len(data.label_names(name)) == 10
    # The digits themselves are uneven: in MNIST's 60,000 the fives are 9.0 %, the ones 11.2 %.
    assert all(0.08 < share.min() and share.max() < 0.12 for share in shares)
    # Both splits are samples of one population: their shares differ by less than 4 standard errors of a difference.
    error = (shares[0] * (1 - shares[0]) * (1 / counts[0] + 1 / counts[1])).sqrt()
    assert ((shares[0] - shares[1]).abs() < 4 * error).all()


@pytest.mark.parametrize("name", SETS)
def test_no_image_is_in_both_splits(name):
    train, test = ({row.numpy().tobytes() for row in data.load(name, split)[0]} for split in data.SPLITS)
    assert not train & test
    assert (len(train), len(test)) == COUNTS[name][:2]  # nor twice in one


def test_images_stand_upright_with_the_right_labels():
    x, y = data.load("mnist")
    mean = {digit: (x[y == digit, 0].mean(0) + 1) / 2 for digit in (1, 6, 7)}
    # Upside down, a seven's bar would not be on top nor a six's loop below; transposed, a one would be wider than tall;
    # mirrored, a seven's stem would not run from the upper right to the lower left.
    assert mean[7].sum(1).argmax() < 14 <= mean[6].sum(1).argmax()
    assert (mean[1].mean(1) > 0.1).sum() > (mean[1].mean(0) > 0.1).sum()
    assert mean[7][12].argmax() > mean[7][20].argmax()
    # A nearest-class-mean classifier finds about 82 % of MNIST; chance is 10 %.
    means = torch.stack([x[y == k].mean(0) for k in range(10)])
    test_x, test_y = data.load("mnist", "test")
    found = torch.cdist(test_x.flatten(1), means.flatten(1)).argmin(1)
    assert (found == test_y).float().mean() > 0.7
    fashion_y = data.load("fashion", "test")[1]
    names = data.label_names("fashion")
    # The first test images of Fashion-MNIST, as its documentation shows them.
    assert [names[k] for k in fashion_y[:4]] == ["ankle boot", "pullover", "trousers", "trousers"]


def test_to_uint8_is_the_exact_inverse_of_loading():
    for name, top in (("mnist", 255), ("fashion", 255), ("digits8", 16)):
        arrays = data.read_npz(f"{name}.npz")
        stored = arrays["test_images"] if name == "fashion" else arrays["images"][-len(data.load(name, "test")[0]) :]
        assert (data.to_uint8(data.load(name, "test")[0], top)[:, 0].numpy() == stored).all()
    every = torch.arange(256, dtype=torch.uint8)
    assert (data.to_uint8(every.float() / 127.5 - 1) == every).all()
    assert data.to_uint8(torch.tensor([-7.0, 1.01, torch.inf])).tolist() == [0, 255, 255]
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        data.to_uint8(torch.tensor([0.0, torch.nan]))


def test_photos_are_colour_pictures_and_in_range():
    photos = data.photos()
    assert sorted(photos) == ["astronaut", "chelsea", "coffee", "rocket"]
    for name, x in photos.items():
        assert x.dtype == torch.float32 and x.shape[0] == 3 and min(x.shape[1:]) == 256
        assert (data.to_uint8(x).permute(1, 2, 0).numpy() == data.read_npz("photos.npz")[name]).all()
    red, _, blue = photos["coffee"].mean((1, 2))  # a red-brown table under a red saucer
    assert red > blue + 0.2
    red, _, blue = photos["rocket"][:, :128].mean((1, 2))  # a blue evening sky
    assert blue > red + 0.2


def test_unknown_names_are_answered_with_the_known_ones():
    for call in (lambda: data.load("minst"), lambda: data.label_names("minst")):
        with pytest.raises(ValueError, match="unknown data set 'minst'; known: mnist, fashion, digits8"):
            call()
    with pytest.raises(ValueError, match="unknown split 'valid'; known: train, test"):
        data.load("mnist", "valid")
    with pytest.raises(ValueError, match="unknown toy 'spirals'; known: moons, swiss_roll"):
        data.toy("spirals", 3)


# ---- damaged files -------------------------------------------------------
WAY_BACK = ["`git checkout -- data/mnist.npz`", "`python data/build.py mnist`"]


def message_of_load(name="mnist"):
    with pytest.raises(DataError) as caught:
        data.load(name)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def damage(path, change):
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))  # a time stamp of its own, however coarse the clock of the file system is


def test_missing_file(own_data):
    (own_data / "mnist.npz").unlink()
    message = message_of_load()
    for part in [str(own_data / "mnist.npz"), "is missing", MANIFEST["mnist.npz"]["sha256"], *WAY_BACK, "DLGM_DATA"]:
        assert part in message


def test_truncated_file(own_data, build):
    data.load("mnist")  # was verified once; the change must still be seen
    damage(own_data / "mnist.npz", lambda content: content.__delitem__(slice(1000, None)))
    message = message_of_load()
    found = build.hashlib.sha256((own_data / "mnist.npz").read_bytes()).hexdigest()
    for part in ["mnist.npz", "truncated: 1,000 of", MANIFEST["mnist.npz"]["sha256"], found, *WAY_BACK]:
        assert part in message


def test_altered_file(own_data, build):
    damage(own_data / "mnist.npz", lambda content: content.__setitem__(12345, content[12345] ^ 1))
    message = message_of_load()
    found = build.hashlib.sha256((own_data / "mnist.npz").read_bytes()).hexdigest()
    for part in ["mnist.npz", "is altered", MANIFEST["mnist.npz"]["sha256"], found, *WAY_BACK]:
        assert part in message
    shutil.copy(DATA / "mnist.npz", own_data / "mnist.npz")
    assert len(data.load("mnist")[0]) == 9000  # the way back leads back


def test_a_file_is_hashed_once_per_process(own_data, monkeypatch):
    data.load("mnist")
    monkeypatch.setattr(data.stored.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    data.load("mnist", "test")


@pytest.mark.parametrize("content", [None, "{", '{"other.npz": {}}', "[]"])
def test_missing_or_damaged_manifest(own_data, content):
    path = own_data / "MANIFEST.json"
    path.unlink() if content is None else path.write_text(content)
    message = message_of_load()
    assert str(path) in message and "`git checkout -- data/MANIFEST.json`" in message


# ---- IDX files -----------------------------------------------------------
def idx_bytes(values):
    """The IDX format of unsigned bytes: two zero bytes, type 8, number of dimensions, sizes, values; big-endian."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_idx(folder, file, values, packed=False):
    path = folder / (file + ".gz" * packed)
    path.write_bytes(gzip.compress(idx_bytes(values)) if packed else idx_bytes(values))
    return path


@pytest.fixture
def idx_folder(tmp_path):
    """A folder with both splits of a small set: training files as they are, test files packed."""
    arrays = data.read_npz("fashion.npz")
    for split, stem, packed in (("train", "train", False), ("test", "t10k", True)):
        write_idx(tmp_path, f"{stem}-images-idx3-ubyte", arrays[f"{split}_images"][:50], packed)
        write_idx(tmp_path, f"{stem}-labels-idx1-ubyte", arrays[f"{split}_labels"][:50], packed)
    return tmp_path


def test_idx_files_give_back_what_was_written(idx_folder):
    for split in data.SPLITS:
        x, y = data.load("fashion", split, folder=idx_folder)
        shipped_x, shipped_y = data.load("fashion", split)
        assert x.dtype == torch.float32 and y.dtype == torch.int64
        assert torch.equal(x, shipped_x[:50]) and torch.equal(y, shipped_y[:50])
    assert torch.equal(data.load("kmnist", "test", str(idx_folder))[1], y)  # with a folder any set has a name


def test_idx_images_need_not_be_square(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7), dtype=np.uint8)
    write_idx(tmp_path, "train-images-idx3-ubyte", images)
    write_idx(tmp_path, "train-labels-idx1-ubyte", np.arange(3, dtype=np.uint8))
    assert (data.to_uint8(data.load("mine", folder=tmp_path)[0])[:, 0].numpy() == images).all()


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
BROKEN = {
    "missing": (IMAGES, lambda p: p.unlink(), rf"neither {IMAGES} nor {IMAGES}\.gz is in "),
    "wrong magic number": (IMAGES, lambda p: p.write_bytes(idx_bytes(np.zeros(9, np.uint8))), "2049, expected 2051"),
    "labels with the magic of images": (
        LABELS,
        lambda p: p.write_bytes(idx_bytes(np.zeros((5, 1, 1), np.uint8))),
        "2051, expected 2049",
    ),
    "no header": (IMAGES, lambda p: p.write_bytes(p.read_bytes()[:10]), "truncated: 10 bytes, the header alone has 16"),
    "empty": (LABELS, lambda p: p.write_bytes(b""), "truncated: 0 bytes, the header alone has 8"),
    "truncated": (IMAGES, lambda p: p.write_bytes(p.read_bytes()[:-1]), r"truncated: 39215 bytes.* promises 39216"),
    "too long": (LABELS, lambda p: p.write_bytes(p.read_bytes() + b"x"), r"too long: 59 bytes.* promises 58"),
    "counts differ": (
        LABELS,
        lambda p: p.write_bytes(idx_bytes(np.zeros(49, np.uint8))),
        rf"{IMAGES} holds 50 images, but .*{LABELS} holds 49 labels",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_idx_file_is_named(idx_folder, case):
    file, breaking, message = BROKEN[case]
    breaking(idx_folder / file)
    with pytest.raises(DataError, match=message) as caught:
        data.load("fashion", folder=idx_folder)
    assert file in str(caught.value) and str(idx_folder) in str(caught.value)


@pytest.mark.parametrize("cut", [slice(0, -20), slice(5, None)], ids=["cut off", "not gzip"])
def test_broken_gzip_is_named(idx_folder, cut):
    path = idx_folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[cut])
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte.gz is truncated or not a gzip file"):
        data.load("fashion", "test", folder=idx_folder)


# ---- toys ----------------------------------------------------------------
N = 20_000
FIVE_SIGMA = 5.0  # with a fixed seed a test either always passes or never; 5 standard errors are hit once in 2 million


def close_to_share(count, n, share):
    """Whether a count is what n draws with probability share give, within 5 standard errors."""
    return abs(count - n * share) < FIVE_SIGMA * math.sqrt(n * share * (1 - share))


def is_std(values, expected, slack=0.0):
    """Whether values with mean 0 have the standard deviation expected: its standard error is σ / √(2n)."""
    return abs(values.square().mean().sqrt() / expected - 1) < FIVE_SIGMA / math.sqrt(2 * values.numel()) + slack


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_reproducible_centred_and_of_unit_scale(name):
    p = data.toy(name, N, seeded())
    assert p.shape == (N, 2) and p.dtype == torch.float32
    assert torch.equal(p, data.toy(name, N, seeded()))
    assert not torch.isclose(p, data.toy(name, N, seeded(1))).all(1).any()
    # All densities have mean exactly zero; a coordinate's standard deviation is at most 1.07.
    assert (p.mean(0).abs() < FIVE_SIGMA * 1.07 / math.sqrt(N)).all()
    assert (p.std(0) > 0.55).all() and (p.std(0) < 1.1).all()
    for n in (0, -3):
        with pytest.raises(ValueError, match=f"n must be positive, got {n}"):
            data.toy(name, n)


def distance_to_curve(p, curve):
    """Distance of each point to the nearest of the curve's points."""
    return torch.cdist(p, curve).min(1).values


def arc(start, end, centre=(0.0, 0.0), radius=1.2):
    a = torch.linspace(start, end, 4000)
    return torch.stack([a.cos(), a.sin()], 1) * radius + torch.tensor(centre)


def test_moons_lie_on_two_arcs():
    p = data.toy("moons", N, seeded())
    distances = torch.stack(
        [
            distance_to_curve(p, arc(0, math.pi, (-0.6, -0.3))),
            distance_to_curve(p, arc(math.pi, 2 * math.pi, (0.6, 0.3))),
        ]
    )
    # The distance is the normal part of the noise; about 3 % of the points lie at an end, where both parts count.
    assert is_std(distances.min(0).values, 0.06, slack=0.02)
    assert close_to_share((distances[0] < distances[1]).sum(), N, 0.5)


def test_swiss_roll_lies_on_its_spiral():
    p = data.toy("swiss_roll", N, seeded()) + torch.tensor([2.0, 2 / (3 * math.pi)]) / 7.5  # centre put back
    t = torch.linspace(1.5 * math.pi, 4.5 * math.pi, 4000)
    spiral = torch.stack([t * t.cos(), t * t.sin()], 1) / 7.5
    # Normal part of the noise; fewer than 2 % of the points lie at an end of the roll, of length 12.
    assert is_std(distance_to_curve(p, spiral), 0.05, slack=0.02)
    # The angle is uniform over three half turns; the noise adds 0.05 · 7.5 to the radius, 1 % of its variance.
    radius = p.norm(dim=1) * 7.5 - 3 * math.pi
    assert is_std(radius, 3 * math.pi / math.sqrt(12), slack=0.02)


def test_checkerboard_fills_the_dark_squares_evenly():
    at = data.toy("checkerboard", N, seeded()) / 0.85 + 2
    cell = at.floor()
    assert (cell >= 0).all() and (cell <= 3).all()
    assert (cell.sum(1) % 2 == 0).all()
    counts = (4 * cell[:, 0] + cell[:, 1]).long().bincount(minlength=16)
    assert (counts > 0).sum() == 8
    assert all(close_to_share(c, N, 1 / 8) for c in counts[counts > 0])
    quarter = ((at - cell) * 4).floor()  # 16 equal parts inside the squares
    assert all(close_to_share(c, N, 1 / 16) for c in (4 * quarter[:, 0] + quarter[:, 1]).long().bincount(minlength=16))


EIGHTHS = torch.arange(8) * math.pi / 4
CENTRES = {
    "eight_gaussians": (1.5 * torch.stack([EIGHTHS.cos(), EIGHTHS.sin()], 1), 0.1),
    "grid25": (torch.cartesian_prod(torch.arange(-2.0, 3), torch.arange(-2.0, 3)) * 0.75, 0.06),
}


@pytest.mark.parametrize("name", CENTRES)
def test_clusters_have_the_promised_centres_weights_and_widths(name):
    centres, std = CENTRES[name]
    p = data.toy(name, N, seeded())
    which = torch.cdist(p, centres).argmin(1)
    assert all(close_to_share(c, N, 1 / len(centres)) for c in which.bincount(minlength=len(centres)))
    residual = p - centres[which]
    # Neighbouring centres are 11 or 12 standard deviations apart, so no point is taken for another's.
    assert is_std(residual, std)
    assert residual.abs().max() < 5.5 * std  # 40,000 normal draws exceed 5.5 σ with probability 0.0015
    for k in range(len(centres)):
        own = residual[which == k]
        assert (own.mean(0).abs() < FIVE_SIGMA * std / math.sqrt(len(own))).all()


def test_rings_have_three_radii_and_no_direction():
    p = data.toy("rings", N, seeded())
    radius = p.norm(dim=1)
    which = (radius / 0.6).round().clamp(1, 3)
    assert is_std(radius - 0.6 * which, 0.04)  # rings are 15 σ apart
    assert all(close_to_share((which == k).sum(), N, 1 / 3) for k in (1, 2, 3))
    # The mean of cos and sin of a uniform angle: standard error 1 / √(2N).
    assert ((p / radius[:, None]).mean(0).abs() < FIVE_SIGMA / math.sqrt(2 * N)).all()


def test_pinwheel_arms_bend_by_the_exponential_of_the_radius():
    p = data.toy("pinwheel", N, seeded()) / 1.2
    along = p.norm(dim=1)
    p, along = p[along > 0.5], along[along > 0.5]  # where the radius tells the place along the arm
    turned = torch.atan2(p[:, 1], p[:, 0]) - 0.7 * along.exp()
    turns = turned / (2 * math.pi / 5)
    across = (turns - turns.round()) * (2 * math.pi / 5) * along
    # Radius and place along the arm differ by across² / (2 along) < 0.04, which moves the angle by far less than 10 %.
    assert is_std(across, 0.06, slack=0.05)
    assert all(close_to_share(c, len(p), 1 / 5) for c in (turns.round() % 5).long().bincount(minlength=5))


# ---- captioned digits ----------------------------------------------------
def read_caption(caption):
    """The facts that a caption states, in the form of captioned_digits."""
    words, facts = caption.split(), []
    for article, colour, digit in ((words[:3]), (words[-3:])) if len(words) > 3 else ((words),):
        assert article == ("an" if colour == "orange" else "a")
        facts.append((DIGIT_WORDS.index(digit), list(COLOURS).index(colour)))
    relation = " ".join(words[3:-3])
    return [*facts[0], RELATIONS.index(relation), *facts[1]] if relation else [*facts[0], -1, -1, -1]


def found_colour(image):
    """Index of the colour of the ink in (3, H, W), or None without ink: direction of the brightest pixel."""
    ink = ((image + 1) / 2).flatten(1)
    brightest = ink[:, ink.sum(0).argmax()]
    if brightest.sum() < 0.5:
        return None
    paint = torch.tensor(list(COLOURS.values()), dtype=torch.float32)
    return torch.nn.functional.cosine_similarity(paint, brightest[None]).argmax().item()


def test_captions_state_the_facts():
    _, captions, facts = data.captioned_digits(400, seeded())
    assert facts.dtype == torch.int64
    assert [read_caption(c) for c in captions] == facts.tolist()
    pair = facts[:, 2] >= 0
    assert close_to_share(pair.sum(), 400, 0.7)
    assert (facts[~pair, 2:] == -1).all()
    assert set(facts[pair, 2].tolist()) == {0, 1, 2, 3}


def test_colours_and_places_in_the_image_are_those_of_the_facts():
    # With 28 of 64 pixels the squares of a pair lie on different sides of the middle.
    images, _, facts = data.captioned_digits(200, seeded(), size=64, digit=28)
    assert images.shape == (200, 3, 64, 64) and images.min() == -1 and images.max() <= 1
    halves = {"above": (slice(None), slice(0, 32)), "below": (slice(None), slice(32, 64))}
    halves |= {"left of": (..., slice(0, 32)), "right of": (..., slice(32, 64))}
    opposite = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
    for image, (_, colour, relation, _, colour2) in zip(images, facts.tolist(), strict=True):
        if relation < 0:
            assert found_colour(image) == colour
        else:
            name = RELATIONS[relation]
            assert found_colour(image[halves[name]]) == colour
            assert found_colour(image[halves[opposite[name]]]) == colour2


def test_digits_in_the_image_are_training_digits_of_the_class():
    images, _, facts = data.captioned_digits(50, seeded(), size=28, digit=28, p_pair=0)
    train, y = data.load("mnist")
    paint = torch.tensor(list(COLOURS.values()), dtype=torch.float32)[facts[:, 1]] / 255
    opacity = ((images + 1) / 2).sum(1) / paint.sum(1)[:, None, None]
    gap = torch.cdist(opacity.flatten(1), ((train + 1) / 2).flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    # The same digit up to float32 rounding of 784 values; different digits are at least 1 apart.
    assert (gap.min(1).values < 1e-4).all()
    assert (y[gap.argmin(1)] == facts[:, 0]).all()
    # Draws vary within a class: among 50 of 9,000 digits 0.14 equal pairs are to be expected.
    assert len(gap.argmin(1).unique()) > 44


def test_a_shrunk_digit_keeps_its_mean():
    whole, _, _ = data.captioned_digits(20, seeded(), size=28, digit=28, p_pair=0)
    small, _, _ = data.captioned_digits(20, seeded(), size=16, digit=16, p_pair=0)  # the same draws
    # Area sampling keeps the mean exactly, but for float32 rounding.
    torch.testing.assert_close(small.mean((1, 2, 3)), whole.mean((1, 2, 3)), atol=1e-5, rtol=0)


def test_held_out_pairs_never_appear_and_all_others_do():
    held_out = {("red", 3), ("blue", 7), ("white", 0)}
    _, captions, facts = data.captioned_digits(3000, seeded(), held_out=held_out)
    colours = list(COLOURS)
    shown = {(colours[c], d) for d, c, _, d2, c2 in facts.tolist() for d, c in ((d, c), (d2, c2)) if d >= 0}
    # 5,100 draws of 77 pairs: one pair is missed with probability 77 · (76/77)^5100 < 1e-26.
    assert shown == {(c, d) for c in colours for d in range(10)} - held_out
    assert not any("red three" in c or "blue seven" in c or "white zero" in c for c in captions)


def test_captioned_digits_repeat_with_the_seed_and_refuse_nonsense():
    a, b = (data.captioned_digits(20, seeded(), size=32, digit=16) for _ in range(2))
    assert torch.equal(a[0], b[0]) and a[1] == b[1]
    assert data.captioned_digits(20, seeded(1))[1] != a[1]
    assert (data.captioned_digits(50, seeded(), p_pair=1)[2] >= 0).all()
    every = [(c, d) for c in COLOURS for d in range(10)]
    for options, message in (
        ({"held_out": every}, "held_out leaves no pair"),
        ({"held_out": [("mauve", 3)]}, r"unknown pair \('mauve', 3\); known: \(red, green, .*a digit 0..9"),
        ({"held_out": [("red", 10)]}, "unknown pair"),
        ({"n": 0}, "n must be positive, got 0"),
        ({"digit": 40}, "digits of 40 pixels do not fit into images of 32"),
        ({"p_pair": 1.5}, "p_pair is a probability, got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            data.captioned_digits(**{"n": 2, "generator": seeded(), **options})
    # All but one pair held out: that one is drawn.
    assert set(data.captioned_digits(5, seeded(), p_pair=0, held_out=every[1:])[1]) == {"a red zero"}


# ---- moving digits -------------------------------------------------------
def test_tracks_are_straight_lines_reflected_at_the_border():
    span = 32 - 20
    _, tracks = data.moving_digits(50, seeded(), count=2)
    assert tracks.shape == (50, 2, 16, 2)
    assert (tracks >= 0).all() and (tracks <= span).all()
    before, after = tracks[:, :, :-1], tracks[:, :, 1:]
    step = (after - before).abs()
    speed = step.max(2, keepdim=True).values  # a digit crosses 12 pixels at most at 2.5 a frame: some step is unbroken
    straight = (step - speed).abs() < 1e-4  # float32 rounding of positions up to 12 + 16 · 2.5
    at_zero = (before + after - speed).abs() < 1e-4  # before and after together went the step's length
    at_span = (2 * span - before - after - speed).abs() < 1e-4
    assert (straight | at_zero | at_span).all()
    # A direction turns only at a border.
    signs = (after - before).sign()
    turned = (signs[:, :, 1:] != signs[:, :, :-1]) & straight[:, :, 1:] & straight[:, :, :-1] & (speed > 1e-3)
    near = torch.minimum(tracks, span - tracks)[:, :, 1:-1] < 1e-3
    assert (~turned | near).all()
    pace = speed.squeeze(2).norm(dim=-1)
    assert (pace > 1 - 1e-4).all() and (pace < 2.5 + 1e-4).all()
    assert not straight.all()  # some do bounce in 16 frames


def test_the_digit_is_rigid_and_lies_at_its_track():
    clips, tracks = data.moving_digits(30, seeded())
    assert clips.shape == (30, 16, 1, 32, 32) and clips.min() == -1 and clips.max() <= 1
    train = data.load("mnist")[0]
    for clip, track in zip(clips[:, :, 0], tracks[:, 0].round().long(), strict=True):
        crops = [frame[y : y + 20, x : x + 20] for frame, (x, y) in zip(clip, track.tolist(), strict=True)]
        assert all(torch.equal(crop, crops[0]) for crop in crops)
        # All the ink is in the crop, and its mean over 20 x 20 pixels is that of an MNIST digit over 28 x 28.
        ink = ((clip + 1) / 2).sum((1, 2))
        torch.testing.assert_close(ink, ((crops[0] + 1) / 2).sum().expand(16), rtol=1e-5, atol=0)
        mean = ((train + 1) / 2).mean((1, 2, 3))
        assert (mean - ink[0] / 400).abs().min() < 1e-5  # area sampling keeps the mean, float32


def test_two_digits_show_both_and_nonsense_is_refused():
    clips, tracks = data.moving_digits(10, seeded(), frames=4, size=64, digit=28, count=2)
    again, _ = data.moving_digits(10, seeded(), frames=4, size=64, digit=28, count=2)
    assert torch.equal(clips, again)
    for clip, two in zip(clips[:, :, 0], tracks.round().long(), strict=True):
        outside = torch.ones(4, 64, 64, dtype=torch.bool)
        for f in range(4):
            for x, y in two[:, f].tolist():
                assert clip[f, y : y + 28, x : x + 28].max() > 0
                outside[f, y : y + 28, x : x + 28] = False
        assert (clip[outside] == -1).all()
    with pytest.raises(ValueError, match="digits of 32 pixels cannot move in frames of 32"):
        data.moving_digits(1, digit=32)
    for name in ("n", "frames", "count"):
        with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
            data.moving_digits(**{"n": 1, name: 0})


# ---- faces ---------------------------------------------------------------
def colour_bytes(attribute, name):
    return torch.tensor(list(FACE_COLOURS[attribute][name].to_bytes(3, "big")), dtype=torch.uint8)


@pytest.mark.parametrize("colour", FACE_COLOURS["hair_colour"])
def test_hair_has_its_colour_where_only_hair_is(colour):
    layers = data.read_npz("faces.npz")
    rows = {str(name): i for i, name in enumerate(layers["names"])}
    whole, generator = Faces(128), seeded()
    for hair, drawing in (
        ("spiky", "spiky"),
        ("undercut", "undercut"),
        ("side-combed", "sideComed"),
        ("tied-up", "bun"),
    ):
        i = rows[f"hair/{drawing}"]
        # Hair is the front layer: where it is opaque and all tint, the picture is the hair's colour and nothing else.
        only_hair = torch.from_numpy((layers["tint"][i] == 255) & (layers["alpha"][i] == 255))
        assert only_hair.float().mean() > 0.04
        face = whole.draw_attributes(generator) | {"hair": hair, "hair_colour": colour}
        seen = data.to_uint8(whole.render(face))[:, only_hair]
        assert (seen == colour_bytes("hair_colour", colour)[:, None]).all()


def test_background_and_clothes_have_their_colours(faces):
    generator = seeded()
    for _ in range(20):
        face = faces.draw_attributes(generator) | {"rear_hair": "none", "beard": "none"}
        seen = data.to_uint8(faces.render(face))
        background = colour_bytes("background_colour", face["background_colour"])
        assert (seen[:, :, :8] == background[:, None, None]).all()  # no layer reaches the eight left columns
        clothes = colour_bytes("clothes_colour", face["clothes_colour"])
        # Even the smallest garment, the dress, shows its plain colour on more than 3 % of the picture.
        assert (seen == clothes[:, None, None]).all(0).float().mean() > 0.03


def test_render_agrees_with_the_layers_put_together_in_float64(faces):
    from dlgm.data.faces import LAYERS, PARTS

    layers = data.read_npz("faces.npz")
    rows = {str(name): i for i, name in enumerate(layers["names"])}
    face = faces.draw_attributes(seeded(3)) | {"beard": "goatee", "rear_hair": "long wavy"}
    picture = np.broadcast_to(colour_bytes("background_colour", face["background_colour"]).numpy() / 255, (128, 128, 3))
    for part, choice, colour in LAYERS:
        i = rows[f"{part}/{PARTS[choice][face[choice]] if choice else part}"]
        base, tint, alpha = (layers[k][i].astype(np.float64) / 255 for k in ("base", "tint", "alpha"))
        c = colour_bytes(colour, face[colour]).numpy() / 255
        picture = (1 - alpha[..., None]) * picture + base + tint[..., None] * c
    expected = torch.from_numpy(2 * picture.clip(0, 1) - 1).permute(2, 0, 1).float()
    # Nine float32 steps with values of order 1.
    torch.testing.assert_close(Faces(128).render(face), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("size", [32, 16])
def test_smaller_pictures_are_averages_of_the_large_one(faces, size):
    images, _, attributes = faces.batch(20, seeded(), size)
    for image, face in zip(images, attributes, strict=True):
        large = faces.render(face)
        k = 64 // size
        pooled = large.reshape(3, size, k, size, k).mean((2, 4))
        # Means of 4 or 16 float32 values in another order of summation.
        torch.testing.assert_close(faces.render(face, size), pooled, atol=1e-6, rtol=0)
        torch.testing.assert_close(image, pooled, atol=1e-6, rtol=0)


def test_full_captions_state_the_attributes(faces):
    generator = seeded()
    for _ in range(50):
        a = faces.draw_attributes(generator)
        words = f" {faces.caption(a)} "
        style = a["hair"] if a["rear_hair"] == "none" else a["rear_hair"]
        for phrase in (
            f"{a['mouth']} person",
            f"{style} {a['hair_colour']} hair",
            f"{a['clothes_colour']} {a['clothes']}",
        ):
            assert f" {phrase} " in words
        assert words.endswith(f" on a {a['background_colour']} background ")
        assert [b for b in ATTRIBUTES["beard"][1:] if f" and a {b} in " in words] == [a["beard"]] * (
            a["beard"] != "none"
        )
        assert " a angry" not in words and " a orange" not in words and " a open" not in words


def test_drawn_captions_leave_facts_out_and_add_none(faces):
    images, captions, attributes = faces.batch(400, seeded(), 8)
    assert images.shape == (400, 3, 8, 8)
    for caption, face in zip(captions, attributes, strict=True):
        full = iter(faces.caption(face).replace("an ", "a ").split())
        assert all(word in full for word in caption.replace("an ", "a ").split())  # in the same order
    # Probabilities 0.7, 0.7 and 0.9 of mentioning clothes, background and expression.
    assert close_to_share(sum(" in a" in c for c in captions), 400, 0.7)
    assert close_to_share(sum(c.endswith("background") for c in captions), 400, 0.7)
    assert close_to_share(sum(not c.startswith("a person") for c in captions), 400, 0.9)
    assert close_to_share(sum(" in a" in c and c.endswith("background") for c in captions), 400, 0.7**2)  # independent


def test_drawn_attributes_have_the_promised_frequencies(faces):
    generator, n = seeded(), 2000
    drawn = [faces.draw_attributes(generator) for _ in range(n)]
    assert all(list(a) == list(ATTRIBUTES) for a in drawn)
    assert close_to_share(sum(a["rear_hair"] != "none" for a in drawn), n, 0.5)
    assert close_to_share(sum(a["beard"] != "none" for a in drawn), n, 0.3)
    assert all(a["eyebrows"] == EYEBROWS[a["mouth"]] for a in drawn)
    for name in ("mouth", "hair", "eyes", "hair_colour", "clothes_colour", "background_colour"):
        for value in ATTRIBUTES[name]:
            assert close_to_share(sum(a[name] == value for a in drawn), n, 1 / len(ATTRIBUTES[name]))


def test_every_attribute_shows_in_the_picture(faces):
    face = faces.draw_attributes(seeded()) | {"eyes": "wide", "rear_hair": "none", "hair": "undercut", "beard": "none"}
    face |= {"skin_colour": "tone 1", "hair_colour": "black"}
    for name, values in ATTRIBUTES.items():
        pictures = [faces.render(face | {name: value}) for value in values]
        for i in range(len(values)):
            for j in range(i):
                # The closest two, skin of tone 2 and tone 3, differ by 16 levels of 255 in blue.
                assert (pictures[i] - pictures[j]).abs().max() > 15 / 127.5, (name, values[i], values[j])


def test_facts_are_the_places_of_the_values(faces):
    drawn = [faces.draw_attributes(seeded(k)) for k in range(5)]
    y = data.faces.facts(drawn)
    assert y.shape == (5, len(ATTRIBUTES)) and not y.is_floating_point()
    for row, face in zip(y.tolist(), drawn, strict=True):
        assert {name: ATTRIBUTES[name][k] for name, k in zip(ATTRIBUTES, row, strict=True)} == face


def test_faces_refuse_what_they_cannot_draw(faces):
    face = faces.draw_attributes(seeded())
    for broken, message in (
        (face | {"nose": "long"}, "unknown attribute 'nose'; known: mouth, eyes"),
        (face | {"beard": "moustache"}, "unknown beard 'moustache'; known: none, twirled moustache, full beard"),
        (face | {"hair_colour": "mauve"}, "unknown hair_colour 'mauve'; known: black, brown"),
        ({k: v for k, v in face.items() if k != "mouth"}, "attributes lack mouth; a face needs mouth, eyes"),
    ):
        for call in (faces.render, faces.caption):
            with pytest.raises(ValueError, match=message):
                call(broken)
    for call in (lambda: Faces(48), lambda: Faces(0), lambda: Faces(256)):
        with pytest.raises(ValueError, match=r"does not divide 128; known: 1, 2, 4, 8, 16, 32, 64, 128"):
            call()
    for call in (lambda: faces.render(face, 128), lambda: faces.batch(2, size=24), lambda: faces.clip(size=128)):
        with pytest.raises(ValueError, match="does not divide 64"):
            call()
    with pytest.raises(ValueError, match="n must be positive, got 0"):
        faces.batch(0)
    with pytest.raises(ValueError, match="at least 8 frames, got 7"):
        faces.clip(frames=7)


def test_faces_repeat_with_the_seed(faces):
    for draw in (lambda seed: faces.batch(5, seeded(seed), 16), lambda seed: faces.clip(seeded(seed))):
        assert torch.equal(draw(0)[0], draw(0)[0]) and draw(0)[1] == draw(0)[1]
        assert not torch.equal(draw(0)[0], draw(1)[0])


def runs(labels):
    """How often a sequence changes."""
    return sum(a != b for a, b in zip(labels, labels[1:], strict=False))


def labels_of(pictures):
    """A number for each picture, the same for equal ones."""
    distinct = []
    for p in pictures:
        if not any(torch.equal(p, q) for q in distinct):
            distinct.append(p)
    return [next(i for i, q in enumerate(distinct) if torch.equal(p, q)) for p in pictures]


@pytest.mark.parametrize("seed", range(6))
def test_a_clip_moves_only_as_promised(faces, seed):
    clip, _ = faces.clip(seeded(seed), size=64)
    assert clip.shape == (16, 3, 64, 64)
    # Rows above the eyebrows and below the mouth never change; they tell how far each frame has swayed.
    still = torch.cat([torch.arange(0, 23), torch.arange(46, 64)])
    inside = slice(8, 56)
    first = clip[0][:, still][..., inside]
    shifts = {d: clip[:, :, still].roll(-d, 3)[..., inside] for d in range(-8, 9)}
    moved = [[d for d, frames in shifts.items() if torch.equal(frames[f], first)] for f in range(16)]
    assert all(len(d) == 1 for d in moved)
    sway = [d for (d,) in moved]
    phases = torch.linspace(0, 2 * math.pi, 5001)[:, None]
    sines = (4 * torch.sin(2 * math.pi * torch.arange(16) / 16 + phases)).round()
    assert ((sines - sines[:, :1]) == torch.tensor(sway)).all(1).any()
    # With the sway undone, the mouth (rows 40 to 45) changes once, between the second and the last quarter.
    steady = [f.roll(-d, 2)[..., inside] for f, d in zip(clip, sway, strict=True)]
    mouth = labels_of([p[:, 40:46] for p in steady])
    assert runs(mouth) == 1 and 4 <= mouth.index(1) < 12
    # The eyes (rows 33 to 36) close once, for two frames; every row between belongs to eyes, eyebrows and mouth.
    eyes = labels_of([p[:, 33:37] for p in steady])
    closed = [f for f, e in enumerate(eyes) if e == 1]
    assert runs(eyes) == 2 and closed == [closed[0], closed[0] + 1]
    assert len(set(labels_of(steady))) <= 4


@pytest.mark.parametrize("seed", range(6))
def test_a_clip_shows_the_change_of_its_caption(seed, monkeypatch, faces):
    drawn = []
    draw = Faces.draw_attributes
    monkeypatch.setattr(
        Faces, "draw_attributes", lambda self, generator: drawn.append(draw(self, generator)) or drawn[0]
    )
    clip, caption = faces.clip(seeded(seed), size=64)
    _, before, *_, after = caption.split()
    assert caption == f"{'an' if before == 'angry' else 'a'} {before} person who turns {after}" and before != after

    def shown(mouth, eyes):
        """Which frames are the drawn face with this expression, moved by at most four pixels."""
        face = faces.render(drawn[0] | {"mouth": mouth, "eyebrows": EYEBROWS[mouth], "eyes": eyes})
        return [any(torch.equal(f.roll(-d, 2)[..., 4:60], face[..., 4:60]) for d in range(-4, 5)) for f in clip]

    first, second = (
        [a or b for a, b in zip(shown(m, "wide"), shown(m, "lowered"), strict=True)] for m in (before, after)
    )
    turn = sum(first)
    assert first == [f < turn for f in range(16)] and second == [f >= turn for f in range(16)]


def test_a_small_clip_is_the_average_of_the_large_one(faces):
    large, caption = faces.clip(seeded(), size=64)
    small, same = faces.clip(seeded(), size=32)
    assert caption == same
    # Means of four float32 values in another order of summation.
    torch.testing.assert_close(small, large.reshape(16, 3, 32, 2, 32, 2).mean((3, 5)), atol=1e-6, rtol=0)
