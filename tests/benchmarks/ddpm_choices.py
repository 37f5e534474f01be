"""What the choices behind a DDPM cost or buy; the tables of lesson 09.

    python tests/benchmarks/ddpm_choices.py nets --out runs/choices        # small networks, one choice changed in each
    python tests/benchmarks/ddpm_choices.py samplers --out runs/choices    # the shipped network, variances and steps

One thread; about 20 core-minutes in all. Each row is written to OUT/NAME.json when it is done, and a run that was
stopped goes on with the rows that are missing. Fréchet distances are in the features of the shipped classifier, of
samples against all training images, beside that of as many real images against the others ("real").

nets: digits of 14 × 14 pixels (2 × 2 averages), widths 16 and 32, 400 steps of 32 images by Muon, loss on ε, averaged
weights, 500 samples in 25 DDIM steps, doubled in size for the classifier. samplers: 28 × 28 pixels, 300 samples.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from dlgm import data, losses, metrics, nets, training
from dlgm.denoiser import Clipped, Denoiser
from dlgm.samplers import DDIM, DDPM, sample
from dlgm.schedules import cosine_beta, linear_beta, time_grid

STEPS, BATCH = 400, 32


class Blind(nn.Module):
    """A network that is told t = 500 always."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, t):
        return self.net(x, torch.full_like(t, 500))


def without_attention(net):
    """The network with every attention layer left out."""
    for module in net.modules():
        if isinstance(getattr(module, "attention", None), nets.SelfAttention):
            module.attention = nn.Identity()
    return net


def without_skips(net):
    """The network with zeros where the skips come in; the number of parameters stays."""

    def cut(module, args):
        h, e = args
        return torch.cat([h[:, : h.shape[1] // 2], torch.zeros_like(h[:, h.shape[1] // 2 :])], 1), e

    for stages in net.up:
        for stage in stages:
            stage.register_forward_pre_hook(cut)
    return net


def unet(**options):
    """The small U-Net."""
    return nets.UNet(1, (16, 32), **options)


VARIANTS = {  # name -> (network, schedule, what it predicts)
    "base": lambda: (unet(), cosine_beta(), "v"),
    "no attention": lambda: (without_attention(unet()), cosine_beta(), "v"),
    "no skips": lambda: (without_skips(unet()), cosine_beta(), "v"),
    "blind to t": lambda: (Blind(unet()), cosine_beta(), "v"),
    "Fourier features": lambda: (unet(features="fourier", time_scale=1e-3), cosine_beta(), "v"),
    "shift only": lambda: (unet(conditioning="add"), cosine_beta(), "v"),
    "T = 100": lambda: (unet(time_scale=10.0), cosine_beta(100), "v"),
    "linear schedule": lambda: (unet(), linear_beta(), "v"),
    "ε head": lambda: (unet(), cosine_beta(), "eps"),
    "Adam": lambda: (unet(), cosine_beta(), "v"),
}
WALKS = {"DDIM": DDIM(), "variance β̃": DDPM(), "variance β": DDPM("beta")}


def judge():
    """The shipped classifier."""
    classifier = nets.Classifier()
    training.load_weights(classifier, data.checkpoint("judge_mnist"))
    return classifier


def floor(real, n, splits=5):
    """Mean distance of n real images from the others."""
    found = []
    for seed in range(splits):
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
        found.append(metrics.frechet_distance(real[order[:n]], real[order[n:]]))
    return sum(found) / splits


@torch.no_grad()
def held_out(model, x, seed=7):
    """The loss on ε of test images, one t each, mean and standard error."""
    generator = torch.Generator().manual_seed(seed)
    t = 1 + (torch.arange(len(x)) * model.schedule.T) // len(x)
    eps = torch.randn(x.shape, generator=generator)
    parts = zip(x.split(250), t.split(250), eps.split(250), strict=True)
    loss = torch.cat([losses.simple_loss(model, *part) for part in parts])
    return metrics.estimate(loss / x[0].numel(), 0)


def train_variant(name, seed):
    """Train one variant and measure it: a dict."""
    train, test = (F.avg_pool2d(data.load("mnist", split=which)[0], 2) for which in ("train", "test"))
    torch.manual_seed(seed)
    model = Denoiser(*VARIANTS[name]())
    ema = training.EMA(model, 0.99)

    def loss(model, x0, generator, step):
        t = losses.sample_t(model.schedule, len(x0), generator)
        eps = torch.randn(x0.shape, generator=generator)
        return losses.simple_loss(model, x0, t, eps).mean() / x0[0].numel()

    start = time.process_time()
    training.fit(
        model, loss, train, steps=STEPS, batch_size=BATCH, lr=training.CosineLR(3e-3, STEPS, 50), clip=1.0, ema=ema,
        seed=seed, progress=False, optimizer=torch.optim.Adam if name == "Adam" else training.Muon,
    )  # fmt: skip
    seconds, generator, classifier = time.process_time() - start, torch.Generator().manual_seed(seed), judge()
    times = time_grid(model.schedule, 25)
    drawn = [
        sample(Clipped(ema.model), DDIM(), torch.randn(100, 1, 14, 14, generator=generator), times) for _ in range(5)
    ]
    seen, real = (metrics.features(classifier, F.interpolate(v, scale_factor=2.0)) for v in (torch.cat(drawn), train))
    bound = held_out(ema.model, test)
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "seconds": round(seconds, 1),
        "loss": bound.value.item(), "error": bound.error.item(),
        "frechet": metrics.frechet_distance(seen, real), "real": floor(real, 500),
    }  # fmt: skip


def walk(path, name, steps, n=300):
    """The shipped network, one sampler, one number of steps: a dict."""
    model, _ = training.load(path)
    generator, classifier = torch.Generator().manual_seed(0), judge()
    times = time_grid(model.schedule, steps)
    drawn = [
        sample(Clipped(model), WALKS[name], torch.randn(100, 1, 28, 28, generator=generator), times, generator)
        for _ in range(n // 100)
    ]
    seen, real = metrics.features(classifier, torch.cat(drawn)), metrics.features(classifier, data.load("mnist")[0])
    return {"frechet": metrics.frechet_distance(seen, real), "real": floor(real, n)}


def rows(args):
    """The rows of a table: name -> function that measures it."""
    if args.table == "nets":
        return {
            f"{name}, seed {seed}": lambda name=name, seed=seed: train_variant(name, seed)
            for seed in range(args.seeds)
            for name in VARIANTS
        }
    path = args.model or data.checkpoint("ddpm_mnist")
    return {
        f"{name}, {steps} steps": lambda name=name, steps=steps: walk(path, name, steps)
        for steps in (5, 10, 25, 50, 100)
        for name in WALKS
    }


def main():
    """Measure what is missing, print what is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", choices=("nets", "samplers"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each network (%(default)s)")
    parser.add_argument("--model", type=Path, help="another network than the shipped one")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, measure in rows(args).items():
        file = args.out / f"{args.table} {name}.json".replace(" ", "_").replace(",", "")
        if not file.exists():
            file.write_text(json.dumps(measure()) + "\n", encoding="utf-8")
        found = json.loads(file.read_text(encoding="utf-8"))
        shown = (f"{k} {v:.4g}" if math.isfinite(v) else f"{k} {v}" for k, v in found.items())
        print(f"{name:26s} " + "  ".join(shown), flush=True)


if __name__ == "__main__":
    main()
