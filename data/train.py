"""Trains the networks of the folder checkpoints/ again, from the data of this folder.

    python data/train.py vae_mnist              # one of the names that --help lists
    python data/train.py vae_mnist --out folder # elsewhere, to compare

A run writes NAME.training beside the result every 500 steps and goes on from it if it was stopped. Each result is a
safetensors file with a card: the command, the seed, the steps, the hardware, the time, and how good the network is on
the test images. The weights depend on the machine's arithmetic; the numbers of the card should come out within their
standard errors.
"""

import argparse
import hashlib
import json
import math
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dlgm import data, elbo, losses, metrics, nets, schedules, training, vae, vlb
from dlgm.denoiser import Clipped, Denoiser
from dlgm.tensors import randn_like
from dlgm.training import draw, image_loss

HERE = Path(__file__).resolve().parent
LICENCES = {"mnist": "CC BY-SA 3.0", "fashion": "MIT"}


@dataclass
class Recipe:
    """What is trained, on what, and how it is measured: ``measure(model)`` gives entries of the card."""

    model: torch.nn.Module
    loss: object
    data: object
    measure: object
    source: str
    options: dict = field(default_factory=dict)
    dtype: torch.dtype | None = None  # in which the weights are stored


def shifted(x, generator, most):
    """The batch moved by up to ``most`` pixels each way, the same for all its images; the border is empty."""
    move = torch.randint(-most, most + 1, (2,), generator=generator).tolist()
    return torch.roll(x, move, (2, 3))


def vae_mnist(steps, latent, classes=0, most=2):
    """A convolutional VAE of binarised digits; see ``shifted`` for ``most``."""
    model = vae.conv_vae((1, 28, 28), latent, width=16, likelihood="bernoulli", classes=classes)

    def loss(model, batch, generator, step):
        x, *y = batch
        return vae.objective(model.terms(shifted(x, generator, most), *y, generator=generator))

    def split(which):
        x, y = data.load("mnist", split=which)
        return (vae.binarize(x), y) if classes else (vae.binarize(x),)

    def measure(model):
        test = split("test")
        flat, tight = bounds(model, test)
        bits = [vae.bits_per_dim(b.value, test[0]).item() for b in (flat, tight)]
        return {
            "data": f"{len(split('train')[0])} binarised training images; {len(test[0])} test images",
            "elbo_nats": flat,
            "elbo_bits_per_dim": f"{bits[0]:.4f}",
            "iwae500_nats": tight,
            "iwae500_bits_per_dim": f"{bits[1]:.4f}",
        }

    return Recipe(model, loss, split("train"), measure, "mnist")


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
    return [metrics.estimate(torch.cat(values), 0) for values in found.values()]


def judge(steps, name):
    """A classifier, whose features the Fréchet distance is taken in."""

    def loss(model, batch, generator, step):
        x, y = batch
        return torch.nn.functional.cross_entropy(model(shifted(x, generator, 2)), y)

    def measure(model):
        x, y = data.load(name, split="test")
        with torch.no_grad():
            right = (model(x).argmax(1) == y).float()
        floor = metrics.frechet_floor(metrics.features(model, data.load(name)[0]), 2000)
        return {"accuracy": metrics.estimate(right, 0), "frechet_floor": f"{floor.value:.4f}"}

    options = {"lr": training.CosineLR(3e-3, steps)}
    return Recipe(nets.Classifier(), loss, data.load(name), measure, name, options, torch.float16)


def ddpm(steps, name, widths, out_channels=1, loss=image_loss, lr=2e-3, **kind):
    """A denoiser of images, v-prediction on the cosine schedule, by Muon; the average of its weights is what counts."""
    x = data.to_uint8(data.load(name)[0])
    model = Denoiser(nets.UNet(1, widths, out_channels=out_channels), schedules.cosine_beta(), "v", **kind)
    ema = training.EMA(model, 0.999)
    options = {
        "batch_size": 64, "lr": training.CosineLR(lr, steps), "optimizer": training.Muon, "clip": 1.0, "ema": ema,
        "precision": "auto",
    }  # fmt: skip
    return Recipe(model, loss, x, lambda model: measure_ddpm(model, name), name, options, torch.float16)


def ddpm_variance(steps, name, widths):
    """The denoiser ``ddpm_NAME`` with a second output for the variance, trained further by the hybrid loss."""

    def loss(model, batch, generator, step):
        x0 = data.from_uint8(batch)
        t = losses.sample_t(model.schedule, len(x0), generator)
        hybrid = losses.hybrid_loss(model, x0, t, randn_like(x0, generator), target="v")
        return hybrid.mean() / x0[0].numel()

    recipe = ddpm(steps, name, widths, 2, loss, 5e-4, variance="learned")
    mean, _ = training.load(data.checkpoint(f"ddpm_{name}"))
    for model in (recipe.model, recipe.options["ema"].model):
        ours, theirs = model.state_dict(), mean.state_dict()
        for key, value in theirs.items():
            ours[key][: len(value)] = value  # the head's second row stays zero: half way between log β̃ and log β
    return recipe


@torch.no_grad()
def measure_ddpm(model, name, images=500, evaluations=100, samples=2000):
    """Bits per dimension of held-out images, and the Fréchet distance of samples from the training images."""
    device, generator = next(model.parameters()).device, torch.Generator().manual_seed(0)
    variance = {"fixed": "posterior", "learned": "predicted"}[model.variance]
    test, train = (data.load(name, split=which)[0] for which in ("test", "train"))
    bound = [
        vlb.vlb_estimate(Clipped(model), part.to(device), evaluations, generator, variance).cpu()
        for part in test[:images].split(100)
    ]
    bits = metrics.estimate(torch.cat(bound) / (test[0].numel() * math.log(2)), 0)
    drawn = [draw(model, 100, test.shape[-1], seed=seed, device=device).cpu() for seed in range(samples // 100)]
    classifier = nets.Classifier()
    training.load_weights(classifier, data.checkpoint(f"judge_{name}"))
    a, b = (metrics.features(classifier, images) for images in (torch.cat(drawn), train))
    return {
        "data": f"{len(train)} training images; {len(test)} test images",
        "bits_per_dim": f"{bits} ({images} images, {evaluations} times each; {variance}, x0 clipped)",
        "frechet": f"{metrics.frechet_distance(a, b):.4f} ({samples} samples, DDIM, 50 steps; in judge_{name})",
        "frechet_floor": f"{metrics.frechet_floor(b, samples).value:.4f} ({samples} real images against the others)",
    }


RECIPES = {  # name -> steps, recipe; two coordinates have no room for a digit's position, so nothing is moved there
    "vae_mnist": (12_000, lambda steps: vae_mnist(steps, 16)),
    "vae_mnist_plane": (3_000, lambda steps: vae_mnist(steps, 2, most=0)),
    "cvae_mnist": (12_000, lambda steps: vae_mnist(steps, 8, classes=10)),
    "judge_mnist": (2_000, lambda steps: judge(steps, "mnist")),
    "judge_fashion": (4_000, lambda steps: judge(steps, "fashion")),
    "ddpm_mnist": (10_000, lambda steps: ddpm(steps, "mnist", (16, 32, 64, 112))),
    "ddpm_mnist_variance": (4_000, lambda steps: ddpm_variance(steps, "mnist", (16, 32, 64, 112))),
    "ddpm_fashion": (7_000, lambda steps: ddpm(steps, "fashion", (16, 32, 64, 112))),
}


def main(argv=None):
    """The command."""
    parser = argparse.ArgumentParser(prog="python data/train.py", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=HERE / "checkpoints")
    parser.add_argument("--steps", type=int, help="fewer or more than the recipe's")
    args = parser.parse_args(argv)
    path = args.out / f"{args.name}.safetensors"
    if path.exists():
        sys.exit(f"{path.name} exists already; remove it first, or give --out another folder")
    planned, make = RECIPES[args.name]
    steps = args.steps or planned
    torch.manual_seed(0)  # the first weights
    recipe = make(steps)
    unfinished = args.out / f"{args.name}.training"
    device, hardware = "cpu", f"{torch.get_num_threads()} threads of {platform.machine()}"
    if torch.cuda.is_available():
        device, hardware = "cuda", torch.cuda.get_device_name()
    history = training.fit(
        recipe.model, recipe.loss, recipe.data, steps=steps, device=device, checkpoint=unfinished, every=500,
        **recipe.options,
    )  # fmt: skip
    if history.interrupted:
        return 1
    ema = recipe.options.get("ema")
    model = recipe.model.cpu() if ema is None else ema.model.to(device)
    if recipe.dtype:  # what is stored is what is measured
        for p in model.parameters():
            p.data = p.data.to(recipe.dtype).float()
    card = {
        "command": f"python data/train.py {args.name}" + (f" --steps {steps}" if steps != planned else ""),
        "seed": 0,
        "steps": steps,
        "minutes": f"{history.seconds / 60:.1f}",
        "hardware": hardware,
        "torch": torch.__version__.split("+")[0],
        **recipe.measure(model),
    }
    write = training.save if isinstance(model, Denoiser) else training.save_weights
    write(model, path, dtype=recipe.dtype, **card)
    unfinished.unlink()
    manifest = args.out / "MANIFEST.json"
    entries = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    entries[path.name] = {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": LICENCES[recipe.source],
        "command": card["command"],
    }
    manifest.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n", encoding="utf-8", newline="\n")
    print("\n".join(f"{name}: {value}" for name, value in card.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
