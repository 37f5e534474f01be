"""Measures what the lessons quote and is too long for a lesson, mostly of the networks in checkpoints/.

    python data/measure.py bits_mnist       # bits per dimension against steps, under several variances: lesson 10
    python data/measure.py steps_mnist      # Fréchet distance against steps, for several samplers: lesson 11
    python data/measure.py calls_mnist      # the same against calls of the network, for the solvers: lesson 14
    python data/measure.py flow_mnist       # bits per dimension by the flow, beside the bound: lesson 14
    python data/measure.py guidance_mnist   # hits, variety and Fréchet distance against the guidance weight: lesson 16
    python data/measure.py students_mnist   # Fréchet distance of few steps, by students and by solvers: lesson 17
    python data/measure.py ways_digits8     # one step learned by halvings, by consistency, from pairs: lesson 17
    python data/measure.py spaces_faces     # pixels and codes after equal seconds of training: lesson 18
    python data/measure.py restoration_digits8  # completions beside the exact posterior's: lesson 19
    python data/measure.py captions_faces   # which facts of a caption the cascade's pictures show: lesson 20
    python data/measure.py encoders_faces   # the same for other encoders of captions, trained briefly: lesson 20
    python data/measure.py motion_digits    # clips against single frames, frames filled in, clips that go on: lesson 21
    python data/measure.py starts_digits    # training on clips from nothing, from pictures, on both: lesson 21
    python data/measure.py lines_plane      # few steps by coupling and by reflow, in the plane: lesson 22
    python data/measure.py lines_mnist      # straight lines against v-prediction after equal training: lesson 22
    python data/measure.py steps_mnist --out folder

A table is a file measured/NAME.json: each entry has its value and standard error, and the file says by which command it
was made. ``data.measured(NAME)`` reads it.
"""

import argparse
import copy
import functools
import json
import math
import platform
import sys
import time
from pathlib import Path

import torch

from dlgm import (
    cascade,
    data,
    distillation,
    flow,
    guidance,
    latent,
    likelihood,
    losses,
    metrics,
    nets,
    restoration,
    training,
    video,
    vlb,
)
from dlgm.course import flow_matching as plane
from dlgm.course import text_to_image as captions
from dlgm.course import video_diffusion as clips_of
from dlgm.course.restoration import SoftDigits, palette, walk
from dlgm.data.faces import ATTRIBUTES, HELD_OUT, Faces, held_out
from dlgm.denoiser import Clipped, Denoiser, Respaced
from dlgm.gaussian import Gaussian
from dlgm.process import q_sample
from dlgm.samplers import DDIM, DDPM, DPMSolverPP, Euler, EulerMaruyama, Heun, sample
from dlgm.schedules import Linear, Shifted, cosine_beta, time_grid, time_of

HERE = Path(__file__).resolve().parent
BITS = {"ddpm_mnist": ("beta", "posterior"), "ddpm_mnist_variance": ("beta", "posterior", "predicted")}
SAMPLERS = {
    "ddim": DDIM(), "posterior": DDPM(), "beta": DDPM("beta"), "predicted": DDPM("predicted"), "hat": DDIM("hat"),
}  # fmt: skip

SOLVERS = {  # name -> sampler, whether its grid is even in time, steps for so many calls at most
    "ddim": (DDIM(), True, lambda n: n),
    "posterior": (DDPM(), True, lambda n: n),
    "euler-maruyama": (EulerMaruyama(), True, lambda n: n),
    "heun": (Heun(), False, lambda n: (n + 1) // 2),
    "dpm++ 2": (DPMSolverPP(2), False, lambda n: n),
    "dpm++ 3": (DPMSolverPP(3), True, lambda n: n - 1),
}
BOUNDS = ("posterior", "predicted")


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


@functools.cache
def judged():
    """(features of images, a function; those of the training digits), in the judge's eyes."""
    judge = nets.Classifier()
    training.load_weights(judge, data.checkpoint("judge_mnist"))
    return lambda images: metrics.features(judge, images), metrics.features(judge, data.load("mnist")[0])


def distance(model, sampler, times, images, seeds):
    """The Fréchet distance of so many samples to the training digits; the error is that of the seeds."""
    found = [distance_of(model, sampler, times, images, seed) for seed in range(seeds)]
    return metrics.estimate(torch.tensor(found), 0)


@torch.no_grad()
def distance_of(model, sampler, times, images, seed):
    """The Fréchet distance of so many samples, drawn from one seed, to the training digits."""
    (features, real), generator, drawn = judged(), torch.Generator().manual_seed(seed), []
    for _ in range(images // 250):
        x_T = model.schedule.start((250, 1, 28, 28), generator)
        drawn.append(sample(model, sampler, x_T, times, generator))
    return metrics.frechet_distance(features(torch.cat(drawn)), real)


def karras(schedule, N):
    """N ≥ 2 steps: from noise/signal 80 to t = 1 by Karras' spacing, and then to 0."""
    top = int(time_of(schedule, [-2 * math.log(80)])[0])
    return torch.cat([time_grid(schedule, N - 1, top, 1, "karras"), torch.zeros(1, dtype=torch.int64)])


@torch.no_grad()
def steps_mnist(images=1000, steps=(10, 20, 50), seeds=3):
    """The Fréchet distance of digits from one network by several samplers."""
    model = network("ddpm_mnist_variance")
    yield "floor", metrics.frechet_floor(judged()[1], images)
    for N in steps:
        for name, sampler in SAMPLERS.items():
            yield f"{name} {N}", distance(model, sampler, time_grid(model.schedule, N), images, seeds)


@torch.no_grad()
def calls_mnist(images=1000, calls=(5, 8, 12, 20, 40), seeds=3):
    """The Fréchet distance of digits from one network by several solvers, against calls of the network.

    Each has the grid that was the better one for it in a trial: even in time from t = T, or Karras' from noise/signal
    80 to t = 1, and then 0.
    """
    model = network("ddpm_mnist_variance")
    schedule = model.schedule
    yield "floor", metrics.frechet_floor(judged()[1], images)
    for n in calls:
        for name, (sampler, even, steps) in SOLVERS.items():
            N = steps(n)
            times = time_grid(schedule, N) if even else karras(schedule, N)
            used = 2 * N - 1 if name == "heun" else n
            yield f"{name} {used}", distance(model, sampler, times, images, seeds)


def balanced_floor(features, y, images, splits=5):
    """The Fréchet distance of so many real digits, as many of each class, to the others; the error is of the splits."""
    found = []
    for seed in range(splits):
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        kept = torch.cat([order[y[order] == k][: images // 10] for k in range(10)])
        others = torch.ones(len(y), dtype=torch.bool)
        others[kept] = False
        found.append(metrics.frechet_distance(features[kept], features[others]))
    return metrics.estimate(torch.tensor(found), 0)


@torch.no_grad()
def guidance_mnist(images=400, steps=20, weights=range(8), seeds=3):
    """What guidance buys and costs: hits, fidelity, variety and Fréchet distance of digits by DDIM, for each w.

    Seeds differ in the samples and in the real digits that fidelity and variety are counted with.
    """
    model, _ = training.load(data.checkpoint("ddpm_mnist_labels"))
    judge, y = nets.Classifier(), torch.arange(images) % 10
    training.load_weights(judge, data.checkpoint("judge_mnist"))
    features, real = judged()
    yield "floor", metrics.frechet_floor(real, images)
    yield "floor, classes alike", balanced_floor(real, data.load("mnist")[1], images)
    for w in weights:
        found = {name: [] for name in ("hits", "fidelity", "variety", "distance")}
        for seed in range(seeds):
            x_T = model.schedule.start((images, 1, 28, 28), torch.Generator().manual_seed(seed))
            guide = Clipped(guidance.ClassifierFree(model, float(w)))
            parts = zip(x_T.split(200), y.split(200), strict=True)
            grid = time_grid(model.schedule, steps)
            seen = features(torch.cat([sample(guide, DDIM(), x, grid, y=told) for x, told in parts]))
            fidelity, variety = metrics.precision_recall(real[seed * images : (seed + 1) * images], seen)
            values = metrics.hit_rate(judge.head(seen), y), fidelity, variety, metrics.frechet_distance(seen, real)
            for name, value in zip(found, values, strict=True):
                found[name].append(float(getattr(value, "value", value)))
        for name, values in found.items():
            yield f"{name} {w}", metrics.estimate(torch.tensor(values), 0)


@torch.no_grad()
def students_mnist(images=1000, calls=(8, 4, 2, 1), seeds=3):
    """The Fréchet distance of digits in few calls: by students, and by their first teacher without any training."""
    model = network("ddpm_mnist")
    yield "floor", metrics.frechet_floor(judged()[1], images)
    yield "teacher 100", distance(model, DDIM(), time_grid(model.schedule, 100), images, seeds)
    for n in calls:
        times = time_grid(model.schedule, n)
        yield f"student {n}", distance(network(f"student_mnist_{n}"), DDIM(), times, images, seeds)
        yield f"ddim {n}", distance(model, DDIM(), times, images, seeds)
        if n > 2:  # in two steps, the last of them DDIM's, there is nothing to look back to
            yield f"dpm++ 2 {n}", distance(model, DPMSolverPP(2), karras(model.schedule, n), images, seeds)


def ways_digits8(budgets=(450, 1800), pairs=6000, seeds=3):
    """How far one step ends from the 64-step walks of the same starts, in grey levels, after so many training steps.

    One small teacher of 8 × 8 digits, its walk of 8 steps, and three ways to learn that walk as one step, with the same
    network, optimiser and number of training steps. "pairs" are the starts and ends of so many walks.
    """
    schedule, x0 = cosine_beta(), data.load("digits8")[0].flatten(1)
    options = {"batch_size": 256, "optimizer": training.Muon, "progress": False}

    def fitted(net, loss, examples, steps, lr, decay, seed):
        ema, rate = training.EMA(net, decay), training.CosineLR(lr, steps, 0)
        training.fit(net, lambda net, batch, g, step: loss(net, ema.model, batch, g).mean() / 64, examples, steps=steps,
                     lr=rate, ema=ema, seed=seed, **options)  # fmt: skip
        return ema.model

    def plain(net, mean, x0, g):
        t, eps = torch.randint(1, 1001, (len(x0),), generator=g), torch.randn(x0.shape, generator=g)
        return losses.prediction_loss(net, x0, t, eps)

    def walk(denoiser, steps, x_T):
        with torch.no_grad():
            return sample(Clipped(denoiser), DDIM(), x_T, time_grid(schedule, steps))

    torch.manual_seed(0)
    teacher = fitted(Denoiser(nets.TimeMLP(64, width=128), schedule, "v"), plain, x0, 2000, 3e-3, 0.99, 0)
    eight, generator = time_grid(schedule, 8), torch.Generator().manual_seed(0)
    starts, noise = (schedule.start((n, 64), generator) for n in (500, pairs))
    long, walks = walk(teacher, 64, starts), (noise, walk(teacher, 8, noise))

    def off(ends):
        return (ends - long).square().mean(1).sqrt() * 127.5

    def start():
        return copy.deepcopy(teacher).requires_grad_(True)

    def halved(steps, seed):
        net, times = teacher, eight
        while len(times) > 2:
            net, times = distillation.halve(
                Clipped(net), times, x0, student=copy.deepcopy(net).requires_grad_(True), steps=steps // 3, lr=5e-3,
                decay=0.98, seed=seed, **options,
            )  # fmt: skip
        return net

    def consistent(net, mean, x0, g):
        return distillation.consistency_loss(net, mean, Clipped(teacher), x0, eight, g)

    def by_pairs(net, mean, pair, g):
        return (net(pair[0], 1000).x0 - pair[1]).square().sum(1)

    ways = {
        "halvings": halved,
        "consistency": lambda steps, seed: fitted(start(), consistent, x0, steps, 5e-3, 0.98, seed),
        "pairs": lambda steps, seed: fitted(start(), by_pairs, walks, steps, 5e-3, 0.98, seed),
    }
    yield "teacher 8", metrics.estimate(off(walk(teacher, 8, starts)), 0)
    for steps in budgets:
        for name, way in ways.items():
            found = [off(walk(way(steps, seed), 1, starts)).mean() for seed in range(seeds)]
            yield f"{name} {steps}", metrics.estimate(torch.stack(found), 0)


@torch.no_grad()
def flow_mnist(images=300, steps=200, batch=100, evaluations=100):
    """Bits of held-out digits by the flow and by the bound: −log P(x) ≤ E log q(x_1|x) − log p(x_1) − log P(x|x_1).

    Between 1 and the top, log p(x_1) is that of the flow (one Rademacher direction an image), or bounded by the chain
    of 1000 steps; the decoder P(x|x_1) is the same. "as a density of pixels" takes log p at t = 1 of dequantised pixels
    for a log-density of the data and leaves out the noise that x_1 has and they have not.
    """
    model, x0 = network("ddpm_mnist_variance"), data.load("mnist", split="test")[0][:images]
    schedule, dims, bits = model.schedule, x0[0].numel(), {}
    generator = torch.Generator().manual_seed(0)

    def upwards(x, N):
        ends = [float(schedule.logsnr(1)), -2 * math.log(80)]
        times = time_of(schedule, torch.linspace(*ends, N + 1, dtype=torch.float64)).unique()
        return likelihood.log_prob(model, x, times, "rademacher", generator=generator)

    def note(name, nats):
        bits.setdefault(name, []).append(nats / (dims * math.log(2)))

    for i, part in enumerate(x0.split(batch)):
        eps = torch.randn(part.shape, generator=generator)
        x_1, sigma = q_sample(schedule, part, 1, eps), schedule.noise(1)
        log_q = Gaussian(torch.zeros_like(eps), 1.0).log_prob(eps) - dims * math.log(sigma)
        decoded = vlb.vlb_term(model, part, torch.ones(len(part), dtype=torch.int64), eps)
        flow = log_q - upwards(x_1, steps) + decoded
        note("flow", flow)
        for v, bound in vlb.vlb_estimates(model, part, evaluations, {v: v for v in BOUNDS}, generator).items():
            note(f"bound, {v}", bound)
            note(f"bound, {v}, minus flow", bound - flow)
        pixels = likelihood.dequantise(part, generator)
        note("flow, as a density of pixels", -upwards(pixels, steps) - dims * math.log(2 / 255))
        if i == 0:
            note("flow, half the steps, first 100, minus flow", log_q - upwards(x_1, steps // 2) + decoded - flow)
            note("flow, other directions, first 100, minus flow", log_q - upwards(x_1, steps) + decoded - flow)
    for name, values in bits.items():
        yield name, metrics.estimate(torch.cat(values), 0)


def restoration_digits8(seeds=3, digits=3, draws=40, steps=50, training_steps=1500):
    """Lower halves of soft digits, by each method of lesson 19 and by the exact posterior, for so many digits a seed.

    "psnr" is that of a draw and "psnr of the mean" that of the draws' mean, against the true lower half; "spread" the
    draws' standard deviation over the exact posterior's; "distance" the energy distance from its draws. "trained" is a
    network that was shown halves (Palette), the others ask the exact denoiser.
    """
    world, found = SoftDigits(), {}
    unknown = ~world.known

    def db(error):
        return 10 * math.log10(4 / error.mean().item())

    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        truth, y = world.draw(digits, generator)
        many, known = y.repeat_interleave(draws, 0), world.answers(y, draws, generator)
        ways = {name: (*way, {}) for name, way in world.methods(many).items()}
        ways["trained"] = (DDPM(), palette(world, training_steps, seed), {"beside": many})
        ends = {"exact": world.answers(y, draws, generator)}
        for name, (sampler, denoiser, cond) in ways.items():
            source = torch.Generator().manual_seed(seed)  # the same starts for all
            ends[name] = walk(world, sampler, denoiser, many, source, steps, **cond).reshape(known.shape)
        wanted, real = known[:, :, unknown], truth[:, unknown]
        for name, x in ends.items():
            x = x[:, :, unknown]
            row = {
                "psnr": db((x - real[:, None]).square()),
                "psnr of the mean": db((x.mean(1) - real).square()),
                "spread": (x.var(1).mean() / wanted.var(1).mean()).sqrt().item(),
                "distance": sum(metrics.energy_distance(a, b).value.item() for a, b in zip(x, wanted, strict=True))
                / digits,
            }
            for key, value in row.items():
                found.setdefault(f"{name}: {key}", []).append(value)
    for name, values in found.items():
        yield name, metrics.estimate(torch.tensor(values), 0)


@functools.cache
def faces():
    """(uint8 faces of 32 × 32 pixels, features of pictures in the judge's eyes, a function, those of the faces)."""
    v = Faces(64).batch(20_000, torch.Generator().manual_seed(0), size=32)[0]
    judge = nets.Classifier(3, sum(map(len, ATTRIBUTES.values())), 24)
    training.load_weights(judge, data.checkpoint("judge_faces"))
    see = lambda images: metrics.features(judge, images)  # noqa: E731
    return data.to_uint8(v), see, see(v)


def spaces_faces(marks=(30, 90), samples=500, steps=25, seeds=3):
    """The Fréchet distance of faces after so many seconds of the processor, for denoisers of pixels and of codes.

    Two networks, one recipe. "codes, not scaled" have a standard deviation of 1/0.18215. "given back" are real faces
    through the autoencoder, whose own training is not in the seconds.
    """
    v, see, real = faces()
    model = latent.KLAutoencoder()
    training.load_weights(model, data.checkpoint("autoencoder_faces"))
    with torch.no_grad():
        codes = torch.cat([model.encode(data.from_uint8(part)) for part in v.split(500)])
        back = torch.cat([model.decode(part) for part in codes[:2000].split(500)]).clamp(-1, 1)
    scale = latent.Scale.of(codes)
    z = scale.down(codes)
    yield "floor", metrics.frechet_floor(real, samples)
    parts = [metrics.frechet_distance(see(part), real) for part in back.split(samples)]
    yield "given back", metrics.estimate(torch.tensor(parts), 0)
    k = 1 / 0.18215
    spaces = {  # name -> what is diffused, its way back, widths, the range of x̂_0
        "pixels": (data.from_uint8(v), lambda x: x, (16, 32, 64, 96), 1.0),
        "codes": (z, lambda z: model.decode(scale.up(z)), (64, 96), math.inf),
        "codes, not scaled": (k * z, lambda z: model.decode(scale.up(z / k)), (64, 96), math.inf),
    }

    def loss(net, x0, generator, step):
        t, eps = losses.sample_t(net.schedule, len(x0), generator), torch.randn(x0.shape, generator=generator)
        return losses.prediction_loss(net, x0, t, eps, weight=1 / x0[0].numel()).mean()

    @torch.no_grad()
    def judged(net, shape, up, reach, seed):
        generator, drawn = torch.Generator().manual_seed(seed), []
        for _ in range(samples // 100):
            x_T, times = net.schedule.start((100, *shape), generator), time_grid(net.schedule, steps)
            drawn.append(up(sample(Clipped(net, -reach, reach), DDIM(), x_T, times)).clamp(-1, 1))
        return metrics.frechet_distance(see(torch.cat(drawn)), real)

    found = {}
    for seed in range(seeds):
        for name, (x, up, widths, reach) in spaces.items():
            torch.manual_seed(seed)
            net = Denoiser(nets.UNet(x.shape[1], widths), cosine_beta(), "v")
            ema, left = training.EMA(net, 0.99), list(marks)
            run = training.steps(net, loss, x, steps=100_000, batch_size=64, lr=2e-3, optimizer=training.Muon,
                                 clip=1.0, ema=ema, seed=seed)  # fmt: skip
            begin = time.process_time()
            for step in run:
                if time.process_time() - begin < left[0]:
                    continue
                mark = left.pop(0)
                found.setdefault(f"{name} {mark}", []).append(judged(ema.model, x.shape[1:], up, reach, seed))
                found.setdefault(f"steps of {name} {mark}", []).append(float(step.number))
                if not left:
                    break
                begin = time.process_time() - mark  # drawing does not count
            run.close()
    for name, values in found.items():
        yield name, metrics.estimate(torch.tensor(values), 0)


def shown(pictures, asked):
    """Fact -> share of pictures that show what was asked; "all" of a picture's facts but the expression."""
    found = captions.hits(pictures, asked)
    most = [found[fact] for fact in captions.FACTS if fact != "expression"]
    return {fact: right.mean() for fact, right in found.items()} | {"all": torch.stack(most).amin(0).mean()}


def captions_faces(n=128, seeds=3):
    """Which facts pictures show: of the base for several w, of the cascade, with and without text, by level, unseen.

    "real" are drawings made small. "to 32: true, text" starts from true pictures of 16 pixels; "another mouth" has a
    caption that contradicts the picture. "level" is the noise on the base's pictures; "kept" how far the result, made
    small, lies from them (root mean square). The combinations of HELD_OUT were never shown, their controls were.
    """
    return over_seeds(functools.partial(of_captions, n), seeds)


def of_captions(n, seed, steps=20):
    """The rows of ``captions_faces`` for one seed: pairs of a name and a dict of shares."""
    (base, to32, to64), tokenizer = captions.shipped()
    generator, times = torch.Generator().manual_seed(seed), time_grid(base.schedule, steps)

    def draw(model, said):
        x_T = model.schedule.start((len(said), 3, 16, 16), torch.Generator().manual_seed(seed))
        return sample(model, DDIM(), x_T, times, y=tokenizer(said))

    def larger(model, low, level, said):
        fresh = torch.Generator().manual_seed(seed)
        return cascade.Cascade(()).enlarged(model, low, level, times, fresh, y=tokenizer(said))

    asked, said = captions.asked(n, generator)
    real = captions.pictures(asked, 64)
    for size in (16, 32):
        yield f"real {size}", shown(cascade.shrink(real, 64 // size), asked)
    for w in (0.0, 1.0, 3.0):
        yield f"base w = {w:g}", shown(draw(captions.shipped(w)[0][0], said), asked)
    low, level = draw(base, said), captions.LEVELS[0]
    for noise in (0, 100, 200, 300):
        x = larger(to32, low, noise, said)
        yield f"level {noise}", shown(x, asked) | {"kept": (cascade.shrink(x) - low).square().mean().sqrt()}
    half = n // 2
    x = larger(to64, larger(to32, low[:half], level, said[:half]), captions.LEVELS[1], said[:half])
    yield "to 64", shown(x, asked[:half])
    low = cascade.shrink(real, 4)
    yield "to 32: true, text", shown(larger(to32, low, level, said), asked)
    yield "to 32: true, none", shown(larger(to32, low, level, [""] * n), asked)
    mouths = list(ATTRIBUTES["mouth"])
    other = [a | {"mouth": mouths[mouths.index(a["mouth"]) - 1]} for a in asked]
    x = larger(to32, low, level, captions.said(other))
    seen = {"the caption's": other, "the picture's": asked}
    yield "another mouth", {name: captions.hits(x, a)["expression"].mean() for name, a in seen.items()}
    for pair in HELD_OUT:
        (first, p), (second, q) = pair.items()
        others = [value for value in ATTRIBUTES[first] if value != p]
        unseen = captions.asked(n, generator, **pair)[0]
        control = [a | {first: others[i % len(others)]} for i, a in enumerate(unseen)]
        for kind, faces_of in (("never shown", unseen), ("control", control)):
            pictures = {"real": cascade.shrink(captions.pictures(faces_of, 64), 4)}
            pictures["drawn"] = draw(base, captions.said(faces_of))
            yield f"{p} + {q}, {kind}", {name: captions.has(x, faces_of, pair).mean() for name, x in pictures.items()}


ENCODERS = {  # name -> settings of the network; "frozen" ones get the weights that are named
    "summary only": dict(reading=False),
    "words": dict(),
    "words, frozen, random": dict(frozen=True),
    "words, frozen, contrastive": dict(frozen=True),
}


def encoders_faces(steps=500, n=128, seeds=3):
    """Which facts pictures of 16 pixels show after equally short trainings with other encoders; w = 1."""
    v, said, _ = faces_with_captions(8000)
    words = nets.Tokenizer.of(said).words
    pair = nets.ContrastivePair(words)
    training.load_weights(pair, data.checkpoint("clip_faces"))
    found = {}
    for seed in range(seeds):
        asked, texts = captions.asked(n, torch.Generator().manual_seed(100 + seed))
        for name, settings in ENCODERS.items():
            torch.manual_seed(seed)
            net = nets.CaptionedUNet(words, channels=3, widths=(16, 32, 64), attention=(False, True, True), **settings)
            if "contrastive" in name:
                net.encoder.load_state_dict(pair.encoder.state_dict())
            model = Denoiser(net, cosine_beta(), "v")
            ema = training.EMA(model, 0.99)
            begin = time.process_time()
            training.fit(model, training.image_loss, (v, net.tokenizer(said)), steps=steps, batch_size=32, clip=1.0,
                         lr=training.CosineLR(2e-3, steps), optimizer=training.Muon, ema=ema, seed=seed,
                         progress=False)  # fmt: skip
            found.setdefault(f"{name}: seconds", []).append(time.process_time() - begin)
            guided = Clipped(guidance.ClassifierFree(ema.model, 1.0))
            x_T = model.schedule.start((n, 3, 16, 16), torch.Generator().manual_seed(seed))
            with torch.no_grad():
                x = sample(guided, DDIM(), x_T, time_grid(model.schedule, 20), y=net.tokenizer(texts))
            for fact, value in shown(x, asked).items():
                found.setdefault(f"{name}: {fact}", []).append(float(value))
    for name, values in found.items():
        yield name, metrics.estimate(torch.tensor(values), 0)


def motion_digits(n=32, steps=25, seeds=3):
    """Clips of moving digits: how they move, what is filled in and how well, and what a start from pictures is worth.

    "one by one": clips of one frame each, with noise of their own; "one noise": the same noise for all 16;
    "in two steps": 8 frames, then those between. "path error" (pixels), "speed" (pixels a frame), "same digit",
    "alike": see ``course.video_diffusion.motion``, medians over clips for the first. "fill" has every fifth frame,
    "go on" the first four: median distance of the digit's centre from the true one in the other frames, pixels, and
    "right digit", the share of those frames in which the judge sees the true one.
    """
    return over_seeds(functools.partial(of_motion, n, steps), seeds)


def starts_digits(n=32, steps=25, seeds=3, mark=60):
    """How clips move that small networks draw after so many seconds of the processor on clips.

    From nothing; from a network of single frames that was trained as long; from nothing on clips and frames in turn.
    """
    return over_seeds(functools.partial(ways_to_clips, n, steps, mark), seeds)


def over_seeds(rows, seeds):
    """Estimates of what rows(seed) gives, pairs of a name and a dict of numbers."""
    found = {}
    for seed in range(seeds):
        for name, values in rows(seed):
            for key, value in values.items():
                found.setdefault(f"{name}: {key}", []).append(float(value))
    for name, values in found.items():
        yield name, metrics.estimate(torch.tensor(values), 0)


def summed_up(clips, judge):
    """The medians of errors and speeds, the means of shares."""
    numbers = clips_of.motion(clips, judge)
    return {k: v.median() if k in ("path error", "speed") else v.mean() for k, v in numbers.items()}


def of_motion(n, steps, seed):
    """Rows of ``motion_digits`` from the shipped networks: pairs of a name and a dict."""
    judge, generator = clips_of.judge(), torch.Generator().manual_seed(seed)
    real, _ = clips_of.moving(n, generator)
    moving, shape = training.load(data.checkpoint("video_digits"))[0], real.shape
    times, none = time_grid(moving.schedule, steps), torch.zeros(16, dtype=torch.bool)
    clipped = Clipped(moving)
    free = video.Told(clipped, real, none)
    still = video.Told(clipped, real.flatten(0, 1)[:, None], none[:1])  # clips of one frame
    yield "real", summed_up(real, judge)
    noise = torch.randn(shape, generator=generator)
    one_by_one = sample(still, DDIM(), noise.flatten(0, 1)[:, None], times)[:, 0].unflatten(0, (n, 16))
    yield "one by one", summed_up(one_by_one, judge)
    yield "one noise", summed_up(one_by_one[:, :1].expand(-1, 16, -1, -1, -1), judge)
    yield "clips", summed_up(sample(free, DDIM(), noise, times), judge)
    half = video.Told(clipped, real[:, ::2], none[::2])
    few = sample(half, DDIM(), noise[:, ::2], times)
    yield "in two steps", summed_up(video.between(clipped, few, times, 2, generator), judge)
    true = video.centroids(real)
    digit = judge(video.centred(real.flatten(0, 1), 28, clips_of.DIGIT)).argmax(1).unflatten(0, (n, 16))
    for task, known in (("fill", video.every(16, 5)), ("go on", torch.arange(16) < 4)):
        mask = known[:, None, None, None]
        operator = restoration.mask(mask.expand(shape[1:]))
        y = operator(real)
        put = restoration.Replacement(DDIM(), mask, real)
        drawn = {"straight mix": clips_of.straight(real, known)}
        drawn["told"] = sample(video.Told(clipped, real, known), DDIM(), noise, times)
        drawn["replacement"] = sample(free, put, noise, times)
        for w in (2.0, 10.0):
            push = restoration.Reconstruction(video.Told(moving, real, none), operator, y, 0.0, video.of_weight(w))
            drawn[f"guidance w = {w:g}"] = sample(Clipped(push), put, noise, times)
        for name, x in drawn.items():
            off = (video.centroids(x) - true).square().sum(2).sqrt()[:, ~known]
            seen = judge(video.centred(x.flatten(0, 1), 28, clips_of.DIGIT)).argmax(1).unflatten(0, (n, 16))
            yield f"{task}, {name}", {"off": off.median(), "right digit": (seen == digit)[:, ~known].float().mean()}


def ways_to_clips(n, steps, mark, seed):
    """Rows of ``starts_digits`` from small networks trained here for ``mark`` seconds of the processor."""
    judge, known = clips_of.judge(), torch.zeros(16, dtype=torch.bool)
    v = data.to_uint8(clips_of.moving(1500, torch.Generator().manual_seed(10 + seed))[0])
    settings = dict(channels=1, widths=(16, 32, 64), attention=(False, True, True))

    def loss(model, batch, generator, step, pictures=False):
        x0 = data.from_uint8(batch)
        x0 = x0.flatten(0, 1)[:, None] if pictures and step % 2 else x0
        return video.loss(model, x0, torch.zeros(x0.shape[:2], dtype=torch.bool), generator).mean()

    def trained(net, loss, x, batch):
        model = Denoiser(net, cosine_beta(), "v")
        ema, begin = training.EMA(model, 0.99), time.process_time()
        run = training.steps(model, loss, x, steps=100_000, batch_size=batch, lr=2e-3, optimizer=training.Muon,
                             clip=1.0, ema=ema, seed=seed)  # fmt: skip
        for _ in run:
            if time.process_time() - begin > mark:
                break
        run.close()
        return ema.model

    torch.manual_seed(seed)
    fresh = nets.UNet(**settings)
    still = trained(copy.deepcopy(fresh), training.image_loss, v.flatten(0, 1), 64)
    starts = {
        "nothing": (nets.inflate(fresh, beside=2), loss),
        "pictures": (nets.inflate(still.net, beside=2), loss),
        "nothing, pictures in turn": (nets.inflate(fresh, beside=2), functools.partial(loss, pictures=True)),
    }
    for name, (net, objective) in starts.items():
        model = trained(net, objective, v, 4)
        like = torch.empty(n, 16, 1, clips_of.SIZE, clips_of.SIZE)
        noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
        free = video.Told(Clipped(model), like, known)
        with torch.no_grad():
            x = sample(free, DDIM(), noise, time_grid(model.schedule, steps))
        yield f"after {name}", summed_up(x, judge)


def lines_plane(steps=1500, n=2000, counts=(1, 2, 4, 8, 64), seeds=3):
    """Errors of small networks of the plane against steps of Euler on the line, by how noise and data are paired.

    "from the exact end": root mean square distance from where the exact flow takes the same noise; "energy distance":
    of the points drawn from fresh draws of the data, whatever noise they came from. "t = 1 only" is trained on the
    pairs of the reflow at that time alone. "exact field" takes the oracle's velocity.
    """
    yield from over_seeds(functools.partial(of_plane, steps, n, counts), seeds)


def of_plane(steps, n, counts, seed):
    """Rows of ``lines_plane`` for one seed: pairs of a name and a dict."""
    world, line = plane.world(), Linear()
    exact, generator = world.denoiser(line), torch.Generator().manual_seed(100 + seed)
    eps, data_again = torch.randn(n, 2, generator=generator, dtype=torch.float64), world.sample(n, generator).double()
    end = sample(exact, Euler(), eps, time_grid(line, 400))
    blind = plane.learned(plane.independent, steps, seed)
    once = plane.reflowed(blind, seed=seed)
    again = plane.learned(once, steps, seed)
    fields = {
        "exact field": exact, "blind": blind, "coupled": plane.learned(plane.coupled, steps, seed), "reflow": again,
        "reflow twice": plane.learned(plane.reflowed(again, seed=seed + 50), steps, seed),
        "t = 1 only": plane.learned(once, steps, seed, times=torch.ones),
    }  # fmt: skip
    for name, field in fields.items():
        for N in counts[: 1 if name == "t = 1 only" else None]:
            with torch.no_grad():
                x = sample(field, Euler(), eps if field is exact else eps.float(), time_grid(line, N)).double()
            yield f"{name}: from the exact end", {f"{N}": (x - end).square().sum(1).mean().sqrt()}
            yield f"{name}: energy distance", {f"{N}": metrics.energy_distance(x, data_again, blocks=2).value}


LINES = {  # name -> schedule, what is predicted, spread of the times in training, whether noise and data are coupled
    "v, cosine": (cosine_beta(), "v", None, False),
    "line": (Linear(), "velocity", None, False),
    "line, middle times": (Linear(), "velocity", 1.0, False),
    "line, coupled": (Linear(), "velocity", None, True),
}


def lines_mnist(training_steps=1000, images=500, calls=(5, 10, 50), seeds=3):
    """The Fréchet distance of digits by equal networks after equally many steps of training, against steps of DDIM.

    "v, cosine" is what the course trains with. Of the line: times uniform, or of the logit-normal law, which prefers
    the middle; pairs as they come, or coupled in each batch of 64. "line, shift 3" walks the network of "line" on
    shifted times. "seconds" are those of a step of training, as a share of those of "v, cosine".
    """
    yield "floor", metrics.frechet_floor(judged()[1], images)
    v = data.to_uint8(data.load("mnist")[0])
    yield from over_seeds(functools.partial(of_lines, v, training_steps, images, calls), seeds)


def of_lines(v, training_steps, images, calls, seed):
    """Rows of ``lines_mnist`` for one seed: pairs of a name and a dict."""

    def loss(model, batch, generator, step, spread, coupled):
        x0 = data.from_uint8(batch)
        eps = torch.randn(x0.shape, generator=generator)
        if hasattr(model.schedule, "T"):
            return losses.prediction_loss(model, x0, losses.sample_t(model.schedule, len(x0), generator), eps).mean()
        eps = flow.couple(x0, eps) if coupled else eps
        return flow.loss(model, x0, flow.sample_times(len(x0), generator, spread), eps).mean()

    seconds = {}
    for name, (schedule, predicts, *how) in LINES.items():
        torch.manual_seed(seed)
        time_scale = 1.0 if hasattr(schedule, "T") else 1000.0
        model = Denoiser(nets.UNet(1, (16, 32, 64), time_scale=time_scale), schedule, predicts)
        ema, begin = training.EMA(model, 0.99), time.process_time()
        training.fit(
            model, functools.partial(loss, spread=how[0], coupled=how[1]), v, steps=training_steps, batch_size=64,
            lr=training.CosineLR(2e-3, training_steps), optimizer=training.Muon, clip=1.0, ema=ema, seed=seed,
            progress=False,
        )  # fmt: skip
        seconds[name] = time.process_time() - begin
        grids = {name: {N: time_grid(schedule, N) for N in calls}}
        if name == "line":
            shifted = Shifted(schedule, 3.0)
            grids["line, shift 3"] = {N: [shifted.time(t) for t in time_grid(shifted, N).tolist()] for N in calls}
        for key, grid in grids.items():
            found = {f"{N}": distance_of(Clipped(ema.model), DDIM(), grid[N], images, seed) for N in calls}
            yield key, found | ({"seconds": seconds[name] / seconds["v, cosine"]} if key == name else {})


def faces_with_captions(n, size=16):
    """(uint8 faces, captions, attributes) without the combinations of HELD_OUT."""
    x, said, attributes = Faces(64).batch(n, torch.Generator().manual_seed(0), size=size)
    kept = [i for i, a in enumerate(attributes) if not held_out(a)]
    return data.to_uint8(x)[kept], [said[i] for i in kept], [attributes[i] for i in kept]


TABLES = {
    "starts_digits": (starts_digits, "32 clips a seed after 60 seconds of training, in judge_mnist; 3 seeds"),
    "lines_plane": (lines_plane, "2000 points of three clouds, by networks after 1500 steps of training; 3 seeds"),
    "lines_mnist": (
        lines_mnist,
        "squared Fréchet distance of 500 digits after 1000 steps of training, in judge_mnist; 3 seeds",
    ),
    "motion_digits": (motion_digits, "32 clips a seed, DDIM in 25 steps, in judge_mnist; 3 seeds"),
    "captions_faces": (
        captions_faces,
        "shares of 128 pictures, in judge_captions, DDIM in 20 steps; 3 seeds",
    ),
    "encoders_faces": (
        encoders_faces,
        "shares of 128 pictures of 16 × 16 after 500 training steps; 3 seeds",
    ),
    "bits_mnist": (bits_mnist, "bits per dimension of 500 test images, 100 stratified times each at most"),
    "steps_mnist": (steps_mnist, "squared Fréchet distance of 1000 samples, in judge_mnist; 3 seeds"),
    "calls_mnist": (
        calls_mnist,
        "squared Fréchet distance of 1000 samples, in judge_mnist, against calls; 3 seeds",
    ),
    "guidance_mnist": (guidance_mnist, "400 digits for each w, DDIM in 20 steps, in judge_mnist; 3 seeds"),
    "students_mnist": (students_mnist, "squared Fréchet distance of 1000 samples, in judge_mnist; 3 seeds"),
    "ways_digits8": (ways_digits8, "one step of a small network: grey levels from the ends of 64 steps; 3 seeds"),
    "spaces_faces": (
        spaces_faces,
        "squared Fréchet distance of 500 faces, in judge_faces, by seconds of training; 3 seeds",
    ),
    "restoration_digits8": (
        restoration_digits8,
        "lower halves of soft 8 × 8 digits, 40 draws each of 3 digits; 3 seeds",
    ),
    "flow_mnist": (flow_mnist, "bits per dimension of 300 test images, by the flow and by the bound"),
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
