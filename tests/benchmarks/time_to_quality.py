"""How long a network trains on digits until its samples reach a Fréchet distance; ours beside diffusers' network.

    python tests/benchmarks/time_to_quality.py --net dlgm --predicts v --marks 1,2,4,8
    python tests/benchmarks/time_to_quality.py --net diffusers --predicts eps --lr 1e-4 --ema 0.9999 ...

One thread; the clock is the processor time of training, which other work on the machine does not stretch much; marks
are core-minutes. At each mark 2,000 images are drawn from the averaged weights (DDIM), and their Fréchet distance from
the training images in the features of the shipped classifier is printed beside the floor, real against real.
"""

import argparse
import time

import peers
import torch

from dlgm import data, metrics, nets, training
from dlgm.denoiser import Clipped, Denoiser
from dlgm.samplers import DDIM, DDPM, sample
from dlgm.schedules import cosine_beta, linear_beta, time_grid
from dlgm.training import image_loss

SAMPLERS = {"ddim": DDIM(), "ddpm": DDPM("beta")}


def main():
    """Parse, train, measure at the marks, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", choices=peers.NETS, default="dlgm")
    parser.add_argument("--predicts", choices=("v", "eps", "x0"), default="v")
    parser.add_argument("--schedule", choices=("cosine", "linear"), default="cosine")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--ema", type=float, default=0.995)
    parser.add_argument("--marks", default="1,2,4,8", help="core-minutes of training (%(default)s)")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--sample-steps", type=int, default=25)
    parser.add_argument("--sampler", choices=SAMPLERS, default="ddim")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    x = data.load("mnist")[0]
    judge = nets.Classifier()
    training.load_weights(judge, data.checkpoint("judge_mnist"))
    real = metrics.features(judge, x)
    torch.manual_seed(args.seed)
    net = peers.available()[args.net].to(memory_format=torch.channels_last)
    schedule = {"cosine": cosine_beta, "linear": linear_beta}[args.schedule]()
    model = Denoiser(net, schedule, args.predicts)
    ema, images = training.EMA(model, args.ema), data.to_uint8(x)
    optimiser = torch.optim.Adam(model.parameters(), lr=args.lr)
    print(vars(args), flush=True)
    spent, step = 0.0, 0
    for mark in (float(m) * 60 for m in args.marks.split(",")):
        model.train()
        while spent < mark:
            start = time.process_time()
            chosen = training.batch_indices(len(images), 64, args.seed, step)
            generator = torch.Generator().manual_seed(training.step_seed(args.seed, step))
            loss = image_loss(model, images[chosen], generator, step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = args.lr * min(1.0, (step + 1) / 100)
            optimiser.step()
            ema.update(model)
            step += 1
            spent += time.process_time() - start
        generator, drawn = torch.Generator().manual_seed(1), []
        for _ in range(0, args.samples, 100):
            x_T = torch.randn(100, *x.shape[1:], generator=generator)
            times = time_grid(schedule, args.sample_steps)
            drawn.append(sample(Clipped(ema.model), SAMPLERS[args.sampler], x_T, times, generator))
        found = metrics.features(judge, torch.cat(drawn))
        sure = (judge.head(found).softmax(1).amax(1) > 0.9).float().mean()
        distance = metrics.frechet_distance(found, real)
        print(f"{spent / 60:6.2f} core-minutes, {step:6d} steps: Fréchet {distance:8.4f}, sure {sure:.0%}", flush=True)


if __name__ == "__main__":
    main()
