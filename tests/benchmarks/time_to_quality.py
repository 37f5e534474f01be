"""How long networks train on digits until their samples are good: ours beside diffusers', several seeds.

    python tests/benchmarks/time_to_quality.py --out runs/quality [--seeds 3] [--only dlgm --minutes 2]

One thread; the clock is the processor time of training, which other work on the machine does not stretch much. Each row
is a run of its own that was given so many core-minutes, over which its learning rate rises and falls. Then 2,000 images
are drawn from the averaged weights, and their Fréchet distance from the training images is taken in the features of the
shipped classifier; real images are .15 from each other by that measure. When a level was reached is read off a line
between two budgets, in logarithms. Each row is written to OUT when it ends, so a command that was stopped goes on with
the rows that are missing, and several commands may share the rows by --only. The other library is optional, see
peers.py.
"""

import argparse
import functools
import itertools
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import peers
import torch

from dlgm import data, losses, metrics, nets, training, vlb
from dlgm.denoiser import Clipped, Denoiser
from dlgm.samplers import DDIM, DDPM, sample
from dlgm.schedules import cosine_beta, linear_beta, time_grid
from dlgm.tensors import randn_like
from dlgm.training import image_loss

LEVELS = (5.0, 3.5, 2.5)


def loss_with(weight=lambda snr: 1.0, middle=False, most=0):
    """A loss on v. weight: of SNR. middle: t = T · sigmoid of a normal number. most: pixels to move images by."""

    def loss(model, batch, generator, step):
        x0, T = data.from_uint8(batch), model.schedule.T
        if most:
            move = torch.randint(-most, most + 1, (2,), generator=generator).tolist()
            x0 = torch.roll(x0, move, (2, 3))
        if middle:
            t = (T * torch.randn(len(x0), generator=generator).sigmoid()).long() + 1
        else:
            t = losses.sample_t(model.schedule, len(x0), generator)
        w = weight(model.schedule.logsnr(t).exp())
        return losses.prediction_loss(model, x0, t, randn_like(x0, generator), weight=w).mean() / x0[0].numel()

    return loss


@dataclass(frozen=True)
class Contestant:
    """A network and a recipe: what is predicted, on which schedule, how it is trained, averaged and sampled."""

    net: str = "dlgm"
    minutes: tuple = (3,)
    predicts: str = "v"
    schedule: object = cosine_beta
    loss: object = image_loss
    optimizer: object = training.Muon
    lr: float = 2e-3
    batch: int = 32
    warmup: int = 100
    ema: float = 0.99
    sampler: object = DDIM()
    sample_steps: int = 25


OWN_RECIPE = dict(  # train_unconditional.py of diffusers, with 50 steps of its ancestral sampler in the place of 1000
    predicts="eps", schedule=linear_beta, lr=1e-4, batch=16, warmup=500, ema=0.9999, sampler=DDPM(), sample_steps=50,
    optimizer=functools.partial(torch.optim.AdamW, betas=(0.95, 0.999), weight_decay=1e-6),
)  # fmt: skip
CONTESTANTS = {
    "dlgm": Contestant("dlgm", (1, 1.5, 2, 3)),
    "diffusers, our recipe": Contestant("diffusers", (2, 4, 8)),
    "diffusers, its own recipe": Contestant("diffusers", (8,), **OWN_RECIPE),
}
TRIALS = {  # one thing changed of the first
    "Adam": Contestant(optimizer=torch.optim.Adam), "batch 16": Contestant(batch=16), "batch 64": Contestant(batch=64),
    "Adam, batch 64": Contestant(optimizer=torch.optim.Adam, batch=64), "rate 3e-3": Contestant(lr=3e-3),
    "decay .98": Contestant(ema=0.98), "decay .995": Contestant(ema=0.995),
    "min-SNR 5": Contestant(loss=loss_with(lambda snr: snr.clamp(max=5) / (snr + 1))),  # Hang et al. 2023
    "sigmoid": Contestant(loss=loss_with(lambda snr: snr / (snr + 1) / (1 + snr * math.exp(-2)))),  # Kingma 2023
    "middle times": Contestant(loss=loss_with(middle=True)), "moved": Contestant(loss=loss_with(most=1)),
}  # fmt: skip


@torch.no_grad()
def quality(model, contestant, n):
    """Fréchet distance of n samples from the training images, how many the classifier is sure of, bits/dim."""
    judge, generator, found = nets.Classifier(), torch.Generator().manual_seed(1), []
    training.load_weights(judge, data.checkpoint("judge_mnist"))
    times = time_grid(model.schedule, contestant.sample_steps)
    for _ in range(0, n, 100):
        x_T = model.schedule.start((100, 1, 28, 28), generator)
        found.append(metrics.features(judge, sample(Clipped(model), contestant.sampler, x_T, times, generator)))
    found = torch.cat(found)
    sure = (judge.head(found).softmax(1).amax(1) > 0.9).float().mean().item()
    test, generator = data.load("mnist", split="test")[0][:300], torch.Generator().manual_seed(3)
    nats = torch.cat([vlb.vlb_estimate(Clipped(model), part, 30, generator, "posterior") for part in test.split(100)])
    bits = nats.mean().item() / (test[0].numel() * math.log(2))
    return metrics.frechet_distance(found, metrics.features(judge, data.load("mnist")[0])), sure, bits


def run(contestant, minutes, seed, n):
    """Train for so many core-minutes and measure: a dict."""
    torch.manual_seed(seed)
    net = peers.NETS[contestant.net](28).to(memory_format=torch.channels_last)
    model = Denoiser(net, contestant.schedule(), contestant.predicts)
    ema, budget, spent = training.EMA(model, contestant.ema), 60 * minutes, 0.0

    def rate(step):  # up on a line, down on half a cosine of the time that is left
        return contestant.lr * min(1.0, (step + 1) / contestant.warmup) * 0.5 * (1 + math.cos(math.pi * spent / budget))

    walk = training.steps(
        model, contestant.loss, data.to_uint8(data.load("mnist")[0]), steps=10**9, batch_size=contestant.batch, lr=rate,
        clip=1.0, optimizer=contestant.optimizer, ema=ema, seed=seed,
    )  # fmt: skip
    while spent < budget:
        start = time.process_time()
        step = next(walk)
        spent = min(budget, spent + time.process_time() - start)
    distance, sure, bits = quality(ema.model, contestant, n)
    return {"minutes": minutes, "steps": step.number, "frechet": distance, "sure": sure, "bits": bits}


def reached(rows, level):
    """The core-minutes at which the Fréchet distance was ``level``; the least if it began below, infinite if above."""
    rows = sorted((row["minutes"], row["frechet"]) for row in rows)
    if rows[0][1] <= level:
        return rows[0][0]
    for (a, high), (b, low) in itertools.pairwise(rows):
        if low <= level:
            return a * (b / a) ** (math.log(high / level) / math.log(high / low))
    return math.inf


def main():
    """Run what is missing, print what is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=CONTESTANTS | TRIALS)
    parser.add_argument("--minutes", type=float, help="one budget in the place of the contestant's")
    parser.add_argument("--samples", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, seed in itertools.product([args.only] if args.only else CONTESTANTS, range(args.seeds)):
        contestant = (CONTESTANTS | TRIALS)[name]
        for minutes in [args.minutes] if args.minutes else contestant.minutes:
            file = args.out / f"{name} {minutes:g} {seed}.json".replace(",", "").replace(" ", "_")
            if not file.exists():
                file.write_text(json.dumps(run(contestant, minutes, seed, args.samples)) + "\n", encoding="utf-8")
            row = json.loads(file.read_text(encoding="utf-8"))
            found.setdefault(name, {}).setdefault(seed, []).append(row)
            print(
                f"{name}, seed {seed}: {minutes:g} core-minutes, {row['steps']} steps, "
                f"Fréchet distance {row['frechet']:.2f}, {row['sure']:.0%} sure, {row['bits']:.3f} bits/dim",
                flush=True,
            )
    if args.minutes:
        for name, key in itertools.product(found, ("frechet", "bits")):
            values = torch.tensor([rows[0][key] for rows in found[name].values()], dtype=torch.float64)
            print(f"{args.minutes:g} core-minutes, {name}: {key} {metrics.estimate(values, 0)}")
    for level, (name, seeds) in itertools.product([] if args.minutes else LEVELS, found.items()):
        when = torch.tensor([reached(rows, level) for rows in seeds.values()], dtype=torch.float64)
        inside, last = when[when.isfinite()], max(row["minutes"] for rows in seeds.values() for row in rows)
        said = (
            f"{metrics.estimate(inside, 0)} core-minutes" if len(inside) == len(when) else f"not within {last:g} by all"
        )
        print(f"Fréchet distance {level}, {name}: {said}")


if __name__ == "__main__":
    main()
