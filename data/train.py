"""Trains the networks of the folder checkpoints/ again, from the data of this folder.

    python data/train.py vae_mnist              # one of: vae_mnist vae_mnist_plane cvae_mnist
    python data/train.py vae_mnist --out folder # elsewhere, to compare

A run writes NAME.training beside the result every 500 steps and goes on from it if it was stopped. Each result is a
safetensors file with a card: the command, the seed, the steps, the hardware, the time, and how good the network is on
the test images. The weights depend on the machine's arithmetic; the numbers of the card should come out within their
standard errors.
"""

import argparse
import hashlib
import json
import platform
import sys
from pathlib import Path

import torch

from dlgm import data, elbo, training, vae

HERE = Path(__file__).resolve().parent


def shifted(x, generator, most):
    """The batch moved by up to ``most`` pixels each way, the same for all its images; the border is empty."""
    move = torch.randint(-most, most + 1, (2,), generator=generator).tolist()
    return torch.roll(x, move, (2, 3))


def vae_mnist(latent, classes=0, most=2):
    """A convolutional VAE of binarised digits: model, loss, training data, test data; see ``shifted`` for ``most``."""
    model = vae.conv_vae((1, 28, 28), latent, width=16, likelihood="bernoulli", classes=classes)

    def loss(model, batch, generator, step):
        x, *y = batch
        return vae.objective(model.terms(shifted(x, generator, most), *y, generator=generator))

    def split(which):
        x, y = data.load("mnist", split=which)
        return (vae.binarize(x), y) if classes else (vae.binarize(x),)

    return model, loss, split("train"), split("test")


RECIPES = {  # name -> steps, recipe; two coordinates have no room for a digit's position, so nothing is moved there
    "vae_mnist": (12_000, lambda: vae_mnist(16)),
    "vae_mnist_plane": (3_000, lambda: vae_mnist(2, most=0)),
    "cvae_mnist": (12_000, lambda: vae_mnist(8, classes=10)),
}


@torch.no_grad()
def bounds(model, test, K=500):
    """The ELBO (100 draws) and the importance-weighted bound (K draws) of the test images, Estimates of averages."""
    generator, found = torch.Generator().manual_seed(0), {1: [], K: []}
    for part in zip(*(t.split(20) for t in test), strict=True):
        x, *y = part
        found[1].append(model.terms(x, *y, samples=100, generator=generator).elbo)
        repeated = [v.repeat_interleave(K, 0) for v in y]
        joint = lambda x, z, y=repeated: model.log_joint(x, z, *y)  # noqa: E731
        q = lambda x, y=repeated: model.encode(x, *y)  # noqa: E731
        found[K].append(elbo.iwae(joint, q, x, K, generator=generator).value)
    return [elbo.estimate(torch.cat(values), 0) for values in found.values()]


def main(argv=None):
    """The command."""
    parser = argparse.ArgumentParser(prog="python data/train.py", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=HERE / "checkpoints")
    parser.add_argument("--steps", type=int, help="fewer or more than the recipe's")
    args = parser.parse_args(argv)
    torch.manual_seed(0)  # the first weights
    planned, recipe = RECIPES[args.name]
    steps = args.steps or planned
    model, loss, train, test = recipe()
    path = args.out / f"{args.name}.safetensors"
    if path.exists():
        sys.exit(f"{path.name} exists already; remove it first, or give --out another folder")
    unfinished = args.out / f"{args.name}.training"
    device, hardware = "cpu", f"{torch.get_num_threads()} threads of {platform.machine()}"
    if torch.cuda.is_available():
        device, hardware = "cuda", torch.cuda.get_device_name()
    history = training.fit(model, loss, train, steps=steps, device=device, checkpoint=unfinished, every=500)
    if history.interrupted:
        return 1
    model.cpu()
    flat, tight = bounds(model, test)
    bits = [vae.bits_per_dim(b.value, test[0]).item() for b in (flat, tight)]
    card = {
        "command": f"python data/train.py {args.name}" + (f" --steps {steps}" if steps != planned else ""),
        "seed": 0,
        "steps": steps,
        "minutes": f"{history.seconds / 60:.1f}",
        "hardware": hardware,
        "torch": torch.__version__.split("+")[0],
        "data": f"{len(train[0])} binarised training images; {len(test[0])} test images",
        "elbo_nats": flat,
        "elbo_bits_per_dim": f"{bits[0]:.4f}",
        "iwae500_nats": tight,
        "iwae500_bits_per_dim": f"{bits[1]:.4f}",
    }
    training.save_weights(model, path, **card)
    unfinished.unlink()
    manifest = args.out / "MANIFEST.json"
    entries = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    entries[path.name] = {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "CC BY-SA 3.0",
        "command": card["command"],
    }
    manifest.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n", encoding="utf-8", newline="\n")
    print("\n".join(f"{name}: {value}" for name, value in card.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
