"""Measures what the lessons quote of the networks in checkpoints/ and is too long for a lesson.

    python data/measure.py bits_mnist       # bits per dimension against steps, under several variances: lesson 10
    python data/measure.py steps_mnist      # Fréchet distance against steps, for several samplers: lesson 11
    python data/measure.py steps_mnist --out folder

A table is a file measured/NAME.json: each entry has its value and standard error, and the file says by which command it
was made. ``data.measured(NAME)`` reads it.
"""

import argparse
import json
import math
import platform
import sys
from pathlib import Path

import torch

from dlgm import data, metrics, nets, training, vlb
from dlgm.denoiser import Clipped, Respaced
from dlgm.samplers import DDIM, DDPM, sample
from dlgm.schedules import time_grid

HERE = Path(__file__).resolve().parent
BITS = {"ddpm_mnist": ("beta", "posterior"), "ddpm_mnist_variance": ("beta", "posterior", "predicted")}
SAMPLERS = {
    "ddim": DDIM(), "posterior": DDPM(), "beta": DDPM("beta"), "predicted": DDPM("predicted"), "hat": DDIM("hat"),
}  # fmt: skip


def network(name):
    """A shipped denoiser whose x̂_0 is kept in [−1, 1]."""
    return Clipped(training.load(data.checkpoint(name))[0])


@torch.no_grad()
def bits_mnist(images=500, fitted=100, steps=(25, 50, 100, 250, 1000), evaluations=100):
    """The bound of held-out digits on chains of so many steps; the variances of a network share all draws.

    "optimal" is ``vlb.optimal_variances`` of training digits, but for t = 1, where it has β as the others do;
    "optimal to the end" has its own number there too.
    """
    x0 = data.load("mnist", split="test")[0][:images]
    for N in steps:
        for name, variances in BITS.items():
            model, generator = network(name), torch.Generator().manual_seed(0)
            short, own = Respaced(model, time_grid(model.schedule, N)), {v: v for v in variances}
            if "predicted" in own:
                own["optimal to the end"] = vlb.optimal_variances(short, data.load("mnist")[0][:fitted], generator)
                own["optimal"] = own["optimal to the end"].clone()
                own["optimal"][1] = short.schedule.beta[1]
            parts = [vlb.vlb_estimates(short, part, min(N, evaluations), own, generator) for part in x0.split(100)]
            bits = {v: torch.cat([part[v] for part in parts]) / (x0[0].numel() * math.log(2)) for v in own}
            for v in own:
                yield f"{name} {v} {N}", metrics.estimate(bits[v], 0)
            for v in own:
                if v != "posterior":
                    yield f"{name} {v} minus posterior {N}", metrics.estimate(bits[v] - bits["posterior"], 0)


@torch.no_grad()
def steps_mnist(images=1000, steps=(10, 20, 50), seeds=3):
    """The Fréchet distance, in the judge's features, of digits from one network by several samplers; seeds are runs."""
    judge, model = nets.Classifier(), network("ddpm_mnist_variance")
    training.load_weights(judge, data.checkpoint("judge_mnist"))
    real = metrics.features(judge, data.load("mnist")[0])
    yield "floor", metrics.frechet_floor(real, images)
    for N in steps:
        for name, sampler in SAMPLERS.items():
            found = []
            for seed in range(seeds):
                generator, drawn = torch.Generator().manual_seed(seed), []
                for _ in range(images // 250):
                    x_T = model.schedule.start((250, 1, 28, 28), generator)
                    drawn.append(sample(model, sampler, x_T, time_grid(model.schedule, N), generator))
                found.append(metrics.frechet_distance(metrics.features(judge, torch.cat(drawn)), real))
            yield f"{name} {N}", metrics.estimate(torch.tensor(found), 0)


TABLES = {
    "bits_mnist": (bits_mnist, "bits per dimension of 500 test images, 100 stratified times each at most"),
    "steps_mnist": (steps_mnist, "squared Fréchet distance of 1000 samples, in judge_mnist; 3 seeds"),
}


def main(argv=None):
    """The command."""
    parser = argparse.ArgumentParser(prog="python data/measure.py", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=TABLES)
    parser.add_argument("--out", type=Path, default=HERE / "measured")
    args = parser.parse_args(argv)
    path, (measure, what) = args.out / f"{args.name}.json", TABLES[args.name]
    if path.exists():
        sys.exit(f"{path.name} exists already; remove it first, or give --out another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "what": what,
        "command": f"python data/measure.py {args.name}",
        "hardware": f"{torch.get_num_threads()} threads of {platform.machine()}",
        "torch": torch.__version__.split("+")[0],
        "values": {},
    }
    for name, found in measure():
        table["values"][name] = [round(found.value.item(), 5), round(found.error.item(), 5)]
        print(f"{name:44s} {found}", flush=True)
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
