"""Trains the networks of the folder checkpoints/ again, from the data of this folder.

    python data/train.py vae_mnist              # one of the names that --help lists
    python data/train.py vae_mnist --out folder # elsewhere, to compare

A run writes NAME.training beside the result every 500 steps and goes on from it if it was stopped. Each result is a
safetensors file with a card: the command, the seed, the steps, the hardware, the time, and how good the network is on
the test images. The weights depend on the machine's arithmetic; the numbers of the card should come out within their
standard errors.
"""

import argparse
import copy
import functools
import hashlib
import json
import math
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dlgm import (
    cascade,
    data,
    distillation,
    elbo,
    guidance,
    latent,
    losses,
    metrics,
    nets,
    samplers,
    schedules,
    training,
    vae,
    video,
    vlb,
)
from dlgm.course import text_to_image as captions_of
from dlgm.course import video_diffusion as clips_of
from dlgm.data.faces import ATTRIBUTES, Faces, facts, held_out
from dlgm.denoiser import Clipped, Denoiser
from dlgm.tensors import randn_like
from dlgm.training import draw, image_loss

HERE = Path(__file__).resolve().parent
STUDENT = {"batch_size": 64, "optimizer": training.Muon, "clip": 1.0, "precision": "auto"}
LICENCES = {"mnist": "CC BY-SA 3.0", "fashion": "MIT", "faces": "CC BY 4.0"}
FACES = {"train": (20_000, 0), "test": (2_000, 1)}  # how many, and their seed


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


@functools.cache
def images(name, split="train"):
    """(uint8 pictures, labels) of a set; the labels of faces (32 × 32) are their facts, (n, 11)."""
    if name != "faces":
        return data.load(name, split=split, raw=True)
    n, seed = FACES[split]
    x, _, attributes = Faces(64).batch(n, torch.Generator().manual_seed(seed), size=32)
    return data.to_uint8(x), facts(attributes)


def classifier_of(name):
    """The network that judges pictures of a set, with fresh weights."""
    return nets.Classifier(3, sum(map(len, ATTRIBUTES.values())), 24) if name == "faces" else nets.Classifier()


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

    return Recipe(model, loss, split("train"), measure, "mnist", dtype=torch.float16)


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


def smaller(x, size):
    """Pictures made smaller and enlarged again."""
    factor = x.shape[-1] // size
    return cascade.enlarge(cascade.shrink(x, factor), factor)


def judge(steps, name, sizes=()):
    """A classifier, whose features the Fréchet distance is taken in; of faces it tells every fact.

    sizes: to which every second batch is first made smaller and back, so that it reads enlarged pictures too.
    """

    def answers(model, x, y):
        """Pairs of logits and labels, one for each question."""
        logits, sizes = model(x), [len(values) for values in ATTRIBUTES.values()]
        parts = logits.split(sizes, 1) if name == "faces" else [logits]
        return zip(parts, y.reshape(len(y), -1).T, strict=True)

    def loss(model, batch, generator, step):
        v, y = batch
        x = shifted(data.from_uint8(v), generator, 2)
        if sizes and step % 2:
            x = smaller(x, sizes[step // 2 % len(sizes)])
        pairs = answers(model, x, y)
        return sum(torch.nn.functional.cross_entropy(part, truth) for part, truth in pairs)

    def measure(model):
        v, y = images(name, "test")
        with torch.no_grad():
            pairs = answers(model, data.from_uint8(v), y)
        right = [(part.argmax(1) == truth).float() for part, truth in pairs]
        floor = metrics.frechet_floor(metrics.features(model, data.from_uint8(images(name)[0])), 2000)
        names = [f"accuracy, {fact}" for fact in ATTRIBUTES] if name == "faces" else ["accuracy"]
        told = {key: metrics.estimate(values, 0) for key, values in zip(names, right, strict=True)}
        for size in sizes:
            with torch.no_grad():
                pairs = answers(model, smaller(data.from_uint8(v), size), y)
            right = [(part.argmax(1) == truth).float() for part, truth in pairs]
            told |= {f"{key}, {size} pixels": metrics.estimate(r, 0) for key, r in zip(names, right, strict=True)}
        return told | {"frechet_floor": f"{floor.value:.4f}"}

    options = {"lr": training.CosineLR(3e-3, steps)}
    return Recipe(classifier_of(name), loss, images(name), measure, name, options, torch.float16)


def ddpm(steps, name, widths, out_channels=None, loss=image_loss, lr=2e-3, classes=0, **kind):
    """A denoiser of images, v-prediction on the cosine schedule, by Muon; the average of its weights is what counts.

    With classes it is told the label, which is hidden for a tenth of the images.
    """
    x, y = images(name)
    net = nets.UNet(x.shape[1], widths, out_channels=out_channels, classes=classes)
    model = Denoiser(net, schedules.cosine_beta(), "v", **kind)
    ema = training.EMA(model, 0.999)
    options = {
        "batch_size": 64, "lr": training.CosineLR(lr, steps), "optimizer": training.Muon, "clip": 1.0, "ema": ema,
        "precision": "auto",
    }  # fmt: skip
    split = (x, y) if classes else x
    return Recipe(model, loss, split, lambda model: measure_ddpm(model, name), name, options, torch.float16)


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


def aimed(teacher, times, told=lambda batch, generator: {}):
    """The loss of a student of ``teacher`` on the grid ``times``; told(batch, generator): what both are told."""

    def loss(model, batch, generator, step):
        x0 = data.from_uint8(batch[0] if isinstance(batch, tuple) else batch)
        found = distillation.loss(model, teacher, x0, times, generator, **told(batch, generator))
        return found.mean() / x0[0].numel()

    return loss


def begun(network, loss, split, steps, measure=None):
    """The recipe of a student that starts from ``network``; measure: of the one that is stored."""
    model = copy.deepcopy(network).requires_grad_(True).train()
    options = STUDENT | {"lr": training.CosineLR(1e-3, steps, 0), "ema": training.EMA(model, 0.99)}
    return Recipe(model, loss, split, measure, "mnist", options, torch.float16)


def taught(network, loss, split, steps):
    """A copy of the network after so many training steps of a student; the average of its weights."""
    recipe = begun(network, loss, split, steps)
    training.fit(recipe.model, loss, split, steps=steps, **recipe.options)
    return recipe.options["ema"].model


def student(steps, N, longest=64, early=150):
    """A student of N steps, 8, 4, 2 or 1: that of 2N steps is its teacher, and what it starts from.

    The first, of 8, comes from the denoiser's ``longest`` steps by halvings of ``early`` training steps each, and a
    last one.
    """
    network, _ = training.load(data.checkpoint("ddpm_mnist" if N == 8 else f"student_mnist_{2 * N}"))
    times = schedules.time_grid(network.schedule, longest if N == 8 else 2 * N)
    x = data.load("mnist", raw=True)[0]
    while len(times) > 2 * N + 1:
        network, times = taught(network, aimed(Clipped(network), times), x, early), times[::2]
    teacher = Clipped(network)
    return begun(network, aimed(teacher, times), x, steps, lambda model: measure_student(model, teacher, times))


def guided_student(steps, N=4, most=4.0, first=600, early=(150, 200)):
    """A student of N steps that is told the label and the guidance weight w, 0 to ``most``.

    First one network takes the place of the two guided answers, for all w and t; then that one is halved.
    """
    plain, _ = training.load(data.checkpoint("ddpm_mnist_labels"))
    network = Denoiser(nets.UNet(**plain.net.settings | {"guided": True}), plain.schedule, "v")
    network.load_state_dict(plain.state_dict(), strict=False)  # but for what hears w, which starts at 0
    split = data.load("mnist", raw=True)

    def told(batch, generator):
        y = batch[1]
        return {"y": y, "w": most * torch.rand(len(y), generator=generator, device=y.device)}

    def one_for_two(model, batch, generator, step):
        x0, t = data.from_uint8(batch[0]), torch.randint(1, plain.schedule.T + 1, (len(batch[1]),), generator=generator)
        cond = told(batch, generator)
        guided = lambda w: Clipped(guidance.ClassifierFree(plain, w))  # noqa: E731
        return distillation.guided_loss(model, guided, x0, t, generator=generator, **cond).mean() / x0[0].numel()

    network = taught(network, one_for_two, split, first)
    times = schedules.time_grid(network.schedule, N * 2 ** (1 + len(early)))
    for steps_of in early:
        network, times = taught(network, aimed(Clipped(network), times, told), split, steps_of), times[::2]
    return begun(network, aimed(Clipped(network), times, told), split, steps, lambda model: measure_guided(model, N))


@torch.no_grad()
def few_steps(model, steps, samples=2000, **cond):
    """Samples of a student in so many steps, from seeds 0, 1, ...; cond: of a hundred each."""
    times = schedules.time_grid(model.schedule, steps)

    def walk(seed):
        x_T = model.schedule.start((100, 1, 28, 28), torch.Generator().manual_seed(seed))
        return samplers.sample(Clipped(model), samplers.DDIM(), x_T, times, **cond)

    return torch.cat([walk(seed) for seed in range(samples // 100)])


def measure_student(model, teacher, times):
    """How far a student's walks end from its teacher's, and how good they are."""
    N, drawn = len(times) // 2, few_steps(model, len(times) // 2)
    apart = (drawn[:100] - few_steps(teacher, 2 * N, 100)).square().mean((1, 2, 3)).sqrt()
    return seen_by_judge(drawn, "mnist", N) | {"apart": f"{metrics.estimate(apart, 0)} of the range [-1, 1]"}


def measure_guided(model, N, weights=(0.0, 1.0, 4.0)):
    """How good the samples of each weight are."""
    y, card = torch.arange(100) % 10, {}
    for w in weights:
        drawn = few_steps(model, N, y=y, w=torch.full((100,), w))
        card |= {f"{name}, w = {w:g}": entry for name, entry in seen_by_judge(drawn, "mnist", N, y).items()}
    return card


def seen_by_judge(drawn, name, steps, y=None):
    """Entries of a card: the Fréchet distance of samples from the training images, hits where y says what was asked."""
    classifier, train = classifier_of(name), data.from_uint8(images(name)[0])
    training.load_weights(classifier, data.checkpoint(f"judge_{name}"))
    a, b = (metrics.features(classifier, images) for images in (drawn, train))
    n = len(drawn)
    card = {
        "frechet": f"{metrics.frechet_distance(a, b):.4f} ({n} samples, DDIM, {steps} steps; in judge_{name})",
        "frechet_floor": f"{metrics.frechet_floor(b, n).value:.4f} ({n} real images against the others)",
    }
    return card if y is None else card | {"hits": f"{metrics.hit_rate(classifier.head(a), y.repeat(n // len(y)))}"}


@torch.no_grad()
def measure_ddpm(model, name, n=500, evaluations=100, samples=2000):
    """Bits per dimension of held-out images, and the Fréchet distance of samples from the training images.

    A network with labels is told them: log p(x | y), and samples of all classes alike.
    """
    device, generator = next(model.parameters()).device, torch.Generator().manual_seed(0)
    variance = {"fixed": "posterior", "learned": "predicted"}[model.variance]
    (test, y), (train, _) = images(name, "test"), images(name)
    test = data.from_uint8(test)
    bound, classes = [], model.null_label
    for k in range(0, n, 100):
        x0, cond = test[k : k + 100].to(device), {"y": y[k : k + 100].to(device)} if classes else {}
        bound.append(vlb.vlb_estimate(Clipped(model), x0, evaluations, generator, variance, **cond).cpu())
    bits = metrics.estimate(torch.cat(bound) / (test[0].numel() * math.log(2)), 0)
    drawn = [draw(model, 100, test.shape[-1], seed=seed, device=device).cpu() for seed in range(samples // 100)]
    about = {
        "data": f"{len(train)} training images; {len(test)} test images",
        "bits_per_dim": f"{bits} ({n} images, {evaluations} times each; {variance}, x0 clipped)",
    }
    return about | seen_by_judge(torch.cat(drawn), name, 50, torch.arange(100) % classes if classes else None)


def autoencoder(steps, model):
    """A convolutional autoencoder of faces: its error is the ceiling of whatever is drawn through it."""

    def loss(model, batch, generator, step):
        return model.loss(data.from_uint8(batch), generator)

    @torch.no_grad()
    def measure(model):
        x = data.from_uint8(images("faces", "test")[0])
        z = model.encode(x)
        error = (model.decode(z) - x).square().mean((1, 2, 3))
        card = {"psnr_db": metrics.estimate(10 * (4 / error).log10(), 0)}
        if isinstance(model, latent.VQAutoencoder):
            return card | {
                "perplexity": f"{model.quantizer.perplexity(z):.1f} of {model.quantizer.codebook.num_embeddings}"
            }
        return card | {"std": " ".join(f"{std:.3f}" for std in latent.Scale.of(z).std)}

    options = STUDENT | {"lr": training.CosineLR(2e-3, steps)}
    return Recipe(model, loss, images("faces")[0], measure, "faces", options, torch.float16)


def opened_autoencoder():
    """The shipped autoencoder of faces."""
    model = latent.KLAutoencoder()
    training.load_weights(model, data.checkpoint("autoencoder_faces"))
    return model


@torch.no_grad()
def ldm(steps, widths):
    """A denoiser of the scaled codes of faces, the recipe of ``ddpm`` otherwise."""
    autoencoder = opened_autoencoder()
    codes = torch.cat([autoencoder.encode(data.from_uint8(part)) for part in images("faces")[0].split(500)])
    scale = latent.Scale.of(codes)
    model = Denoiser(nets.UNet(codes.shape[1], widths), schedules.cosine_beta(), "v")

    def loss(model, z, generator, step):
        t, eps = losses.sample_t(model.schedule, len(z), generator), randn_like(z, generator)
        return losses.prediction_loss(model, z, t, eps, weight=1 / z[0].numel()).mean()

    def measure(model, samples=2000):
        space = latent.LatentDiffusion(autoencoder.encode, autoencoder.decode, model, scale)
        times, shape = schedules.time_grid(model.schedule, 50), (100, *codes.shape[1:])
        drawn = [space.sample(shape, times, torch.Generator().manual_seed(k)) for k in range(samples // 100)]
        return seen_by_judge(torch.cat(drawn).clamp(-1, 1), "faces", 50)

    ema = training.EMA(model, 0.999)
    options = STUDENT | {"lr": training.CosineLR(2e-3, steps), "ema": ema}
    return Recipe(model, loss, scale.down(codes), measure, "faces", options, torch.float16)


@functools.cache
def captioned(size, split="train"):
    """(uint8 pictures, captions, facts) of faces; the training faces lack the combinations of HELD_OUT."""
    n, seed = FACES[split]
    x, captions, attributes = Faces(64).batch(n, torch.Generator().manual_seed(seed), size=size)
    kept = [i for i, a in enumerate(attributes) if split == "test" or not held_out(a)]
    return data.to_uint8(x)[kept], [captions[i] for i in kept], facts([attributes[i] for i in kept])


def told_captions(size, widths, attention, **kind):
    """A denoiser of faces that reads captions (v-prediction, cosine schedule), and (pictures, numbers of words)."""
    v, captions, _ = captioned(size)
    words = nets.Tokenizer.of(captions).words
    net = nets.CaptionedUNet(words, channels=3, widths=widths, attention=attention, **kind)
    return Denoiser(net, schedules.cosine_beta(), "v"), (v, net.tokenizer(captions))


def slow(steps, lr=2e-3, batch=64):
    """Options of a long run: Muon, a learning rate that falls to 0, an average of the weights."""
    return STUDENT | {"lr": training.CosineLR(lr, steps), "batch_size": batch}


def base(steps):
    """The first network of the cascade: captions to faces of 16 × 16."""
    model, split = told_captions(16, (32, 48, 64), (False, True, True))
    options = slow(steps) | {"ema": training.EMA(model, 0.999)}
    return Recipe(model, image_loss, split, measure_captions, "faces", options, torch.float16)


def upsampler(steps, size, widths, attention, crop=None):
    """A network of the cascade that makes faces of half the size into faces of ``size``, told the caption.

    It is trained on squares of ``crop`` pixels, the same place for a whole batch.
    """
    model, split = told_captions(size, widths, attention, beside=3, noised=True)

    def loss(model, batch, generator, step):
        v, y = batch
        if crop:
            i, j = (2 * torch.randint((size - crop) // 2 + 1, (2,), generator=generator)).tolist()
            v = v[:, :, i : i + crop, j : j + crop]
        y = guidance.drop_labels(y, 0.1, model.null_label, generator)
        return cascade.loss(model, data.from_uint8(v), generator, y=y).mean() / v[0].numel()

    options = slow(steps, batch=32) | {"ema": training.EMA(model, 0.999)}
    return Recipe(model, loss, split, measure_upsampler, "faces", options, torch.float16)


def contrastive(steps):
    """Encoders of faces (32 × 32) and captions into one space."""
    v, captions, _ = captioned(32)
    model = nets.ContrastivePair(nets.Tokenizer.of(captions).words)

    def loss(model, batch, generator, step):
        x = shifted(data.from_uint8(batch[0]), generator, 2)
        return latent.contrastive_loss(model(smaller(x, 16) if step % 2 else x, batch[1]))

    @torch.no_grad()
    def measure(model, n=500):
        v, captions, _ = captioned(32, "test")
        scores = model(data.from_uint8(v[:n]), model.tokenizer(captions[:n]))
        own = torch.arange(n)
        found = [(s.argmax(1) == own).float() for s in (scores, scores.T)]
        names = ("caption of a picture found", "picture of a caption found")
        return {f"{name} among {n}": str(metrics.estimate(f, 0)) for name, f in zip(names, found, strict=True)}

    options = slow(steps, batch=256)
    return Recipe(model, loss, (v, model.tokenizer(captions)), measure, "faces", options, torch.float16)


@torch.no_grad()
def measure_captions(model, n=256, steps=20):
    """The share of base pictures that show each fact of their caption, guided with w = 1."""
    asked, said = captions_of.asked(n, torch.Generator().manual_seed(1))
    x_T = model.schedule.start((n, 3, 16, 16), torch.Generator().manual_seed(1))
    guided, times = Clipped(guidance.ClassifierFree(model, 1.0)), schedules.time_grid(model.schedule, steps)
    drawn = samplers.sample(guided, samplers.DDIM(), x_T, times, y=model.net.tokenizer(said))
    return {f"{fact}, w = 1": str(metrics.estimate(v, 0)) for fact, v in captions_of.hits(drawn, asked).items()}


@torch.no_grad()
def measure_upsampler(model, n=128, steps=20):
    """The share of pictures, made larger from true small ones, that show each fact; the text is told, w = 1."""
    asked, said = captions_of.asked(n, torch.Generator().manual_seed(1))
    size = {3: 32, 4: 64}[model.net.unet.sizes]
    low = captions_of.pictures(asked, size // 2)
    guided, times = Clipped(guidance.ClassifierFree(model, 1.0)), schedules.time_grid(model.schedule, steps)
    fresh, y = torch.Generator().manual_seed(1), model.net.tokenizer(said)
    drawn = cascade.Cascade(()).enlarged(guided, low, 100, times, fresh, y=y)
    return {f"{fact}, w = 1": str(metrics.estimate(v, 0)) for fact, v in captions_of.hits(drawn, asked).items()}


def clip_loss(model, batch, generator, step):
    """What ``videos`` is trained on."""
    x0, kind = data.from_uint8(batch), step % 5
    x0 = x0[:, ::2] if kind == 3 else x0.flatten(0, 1)[:, None] if kind == 4 else x0
    if kind < 3:
        known = video.random_known(len(x0), x0.shape[1], generator)
    else:
        known = torch.zeros(x0.shape[:2], dtype=torch.bool)
    return video.loss(model, x0, known, generator).mean()


def flying():
    """4,000 clips, as bytes."""
    return data.to_uint8(clips_of.moving(4000, torch.Generator().manual_seed(1))[0])


def videos(steps, still_steps=1_600, before=(2_000, 3_000)):
    """A denoiser of moving digits that is told which frames are known; see ``video``.

    It starts from a denoiser of single frames, trained here first and inflated, and is trained in rounds, of ``before``
    and of ``steps``, each from the average of the one before. Of five batches three are clips with frames that are
    known, or none; one is clips of 8 frames, every second one of 16, nothing known; one is single frames, so that it
    stays a denoiser of pictures, too.
    """
    v = flying()
    net = nets.UNet(1, (32, 48, 64), attention=(False, True, True))
    still = Denoiser(net, schedules.cosine_beta(), "v")
    options = slow(still_steps) | {"ema": training.EMA(still, 0.999)}
    training.fit(still, image_loss, v.flatten(0, 1), steps=still_steps, **options)
    network = Denoiser(nets.inflate(options["ema"].model.net, beside=2), still.schedule, "v")
    for seed, n in enumerate(before):
        recipe = video_round(network, v, n, seed)
        training.fit(recipe.model, recipe.loss, v, steps=n, **recipe.options)
        network = recipe.options["ema"].model
    return video_round(network, v, steps, len(before))


def video_round(network, v, steps, seed):
    """One round of ``videos``, which starts from ``network``."""
    model = copy.deepcopy(network).requires_grad_(True).train()
    options = slow(steps, 1.5e-3, batch=4) | {"ema": training.EMA(model, 0.998), "seed": seed}
    return Recipe(model, clip_loss, v, measure_video, "mnist", options, torch.float16)


@torch.no_grad()
def measure_video(model, n=64):
    """How clips drawn from nothing move, beside real ones."""
    judge, generator = clips_of.judge(), torch.Generator().manual_seed(0)
    real, _ = clips_of.moving(n, generator)
    noise = torch.randn(real.shape, generator=generator)
    told = video.Told(Clipped(model), real, torch.zeros(16, dtype=torch.bool))
    drawn = samplers.sample(told, samplers.DDIM(), noise, schedules.time_grid(model.schedule, 25))
    return {
        f"{what}, {name}": str(metrics.estimate(values, 0))
        for name, clips in (("drawn", drawn), ("real", real))
        for what, values in clips_of.motion(clips, judge).items()
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
    "ddpm_mnist_labels": (10_000, lambda steps: ddpm(steps, "mnist", (16, 32, 64, 112), classes=10)),
    "student_mnist_8": (400, lambda steps: student(steps, 8)),
    "student_mnist_4": (800, lambda steps: student(steps, 4)),
    "student_mnist_2": (1_000, lambda steps: student(steps, 2)),
    "student_mnist_1": (1_200, lambda steps: student(steps, 1)),
    "student_mnist_guided": (600, guided_student),
    "judge_faces": (2_000, lambda steps: judge(steps, "faces")),
    "ddpm_faces": (3_000, lambda steps: ddpm(steps, "faces", (16, 32, 64, 96))),
    "autoencoder_faces": (4_000, lambda steps: autoencoder(steps, latent.KLAutoencoder())),
    "vq_faces": (2_500, lambda steps: autoencoder(steps, latent.VQAutoencoder())),
    "ldm_faces": (5_000, lambda steps: ldm(steps, (64, 96))),
    "base_faces": (4_500, base),
    "upsampler_faces_32": (5_000, lambda steps: upsampler(steps, 32, (16, 32, 64), (False, True, True))),
    "upsampler_faces_64": (
        3_000,
        lambda steps: upsampler(steps, 64, (16, 32, 48, 64), (False, False, True, True), 32),
    ),  # fmt: skip
    "video_digits": (9_000, videos),
    "judge_captions": (4_000, lambda steps: judge(steps, "faces", (16,))),
    "clip_faces": (800, contrastive),
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
