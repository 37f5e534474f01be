"""Every public function that takes tensors, on a pretended GPU: values, dtypes, devices, and how often the host waits.

``python tests/test_devices.py`` prints how often each loop waits for a GPU in one step.
"""

import contextlib
import functools
import importlib
import inspect
import itertools
import json
import math
import pkgutil
import sys
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from simulated_device import WHY_NOT, Device, Sim, apart, introduce
from torch import nn

import dlgm
from dlgm import (
    cascade,
    denoiser,
    distillation,
    elbo,
    families,
    flow,
    gaussian,
    guidance,
    hvae,
    likelihood,
    losses,
    metrics,
    nets,
    parameterization,
    probes,
    process,
    restoration,
    samplers,
    schedules,
    scores,
    tensors,
    training,
    vae,
    video,
    vlb,
)
from dlgm import (
    latent as smaller,
)
from dlgm.nets import inspect as looks
from dlgm.nets import time
from dlgm.oracles import affine, bounds, chains, guided, latent, mixtures, pyramid, spectrum
from dlgm.training import files

CONTINUOUS = schedules.VPCosine(), schedules.VE(), schedules.Linear(), schedules.Shifted(schedules.Linear(), 3.0)
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
# Every module but what reads files, draws, runs exercises or grades.
ROOFS = ("data", "plots", "course", "exercises", "grading", "train", "draw", "writing")
MODULES = [
    importlib.import_module(m.name)
    for m in pkgutil.walk_packages(dlgm.__path__, "dlgm.")
    if m.name.split(".")[1] not in ROOFS and not m.name.endswith("__main__")
]


# ---- what the cases are made of --------------------------------------------------------------------------------------
class Small(nn.Module):
    """(x_t, t) -> x_t's shape."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t, y=None):
        return self.conv(x) * (1 + 0.1 * t).to(x)[:, None, None, None]


class World:
    """The same things on any device: ``c`` moves there, ``g`` is the CPU's generator, ``there`` that of the device."""

    s, s4, vp = schedules.cosine_beta(12), schedules.DiscreteSchedule([0.1, 0.2, 0.3, 0.4]), schedules.VPLinear()
    tb = torch.tensor([2, 5, 9, 12])

    def __init__(self, device):
        self.device = torch.device(device)
        torch.manual_seed(0)
        pixels = (self.draw(4, 1, 4, 4) * 40 + 128).round().clamp(0, 255)
        self.x, self.eps, self.z = pixels / 127.5 - 1, self.draw(4, 1, 4, 4, seed=2), self.draw(6, 2, seed=3)
        self.clip = self.draw(2, 3, 1, 4, 4, seed=5)
        self.y, self.one = self.c(torch.tensor([0, 1, 2, 1, 0, 2])), self.z[:, :1]

    g = property(lambda w: torch.Generator().manual_seed(4))
    there = property(lambda w: torch.Generator(w.device).manual_seed(4))
    den = property(lambda w: denoiser.Denoiser(w.module(Small), w.s))
    den4 = property(lambda w: denoiser.Denoiser(w.module(lambda: nets.TimeMLP(2, 16, 1)), w.s4))
    two = property(
        lambda w: denoiser.Denoiser(
            w.module(lambda: nets.UNet(1, (8,), heads=2, out_channels=2)), w.s, variance="learned"
        )
    )
    labelled = property(lambda w: denoiser.Denoiser(w.module(lambda: nets.UNet(1, (8,), heads=2, classes=3)), w.s, "v"))
    told = property(
        lambda w: denoiser.Denoiser(w.module(lambda: nets.UNet(1, (8,), heads=2, classes=3, guided=True)), w.s, "v")
    )
    captioned = property(
        lambda w: denoiser.Denoiser(
            w.module(lambda: nets.CaptionedUNet(("a", "b"), 8, 1, channels=1, widths=(8,), heads=2)), w.s, "v"
        )
    )
    clips = property(
        lambda w: denoiser.Denoiser(w.module(lambda: nets.VideoUNet(1, (8,), heads=2, beside=2)), w.s, "v")
    )
    larger = property(
        lambda w: denoiser.Denoiser(w.module(lambda: nets.UNet(1, (8,), heads=2, beside=1, noised=True)), w.s, "v")
    )
    mix = property(lambda w: mixtures.GaussianMixture(*map(w.c, (torch.tensor([0.3, 0.7]), torch.eye(2), SPREAD))))
    bell = property(lambda w: mixtures.GaussianMixture([1.0], [[0.3, -0.5]], w.c(SPREAD[:1])))
    mix1 = property(lambda w: mixtures.GaussianMixture([0.4, 0.6], w.c(torch.tensor([-1.0, 1.0])), [0.04, 0.09]))
    classes = property(
        lambda w: guided.LabelledMixture([w.mix, mixtures.GaussianMixture([1.0], [[0.5, -1.0]], [0.3])], [0.4, 0.6])
    )
    emp = property(lambda w: mixtures.EmpiricalData(w.draw(9, 2)))
    spec = property(lambda w: spectrum.Spectrum(w.c(torch.tensor([0.5, 2.0])), [0.3, 0.0]))
    linear = property(lambda w: latent.LinearGaussian(w.draw(2, 1), w.draw(2), 0.5))
    chain = property(lambda w: latent.LinearGaussianChain([w.draw(2, 2), w.draw(2, 1)], [0.3, 0.4]))
    curved = property(lambda w: latent.NonlinearModel(torch.sin, 0.1))
    pixel = property(lambda w: bounds.PixelLaw(w.c(torch.arange(256.0))))
    law = property(lambda w: gaussian.Gaussian(w.x, w.eps.square() + 0.1))
    narrow = property(lambda w: gaussian.Gaussian(w.one, w.z[:, 1:].square() + 0.1))
    path = property(lambda w: list(process.q_path(w.s4, w.z, w.g)))
    vae = property(lambda w: w.module(lambda: vae.mlp_vae((1, 4, 4), 2, (8,), classes=3)))
    hvae = property(lambda w: w.module(lambda: hvae.HVAE((2,), (2, 1), (8,))))
    pictures = (torch.arange(256) % 251).to(torch.uint8).reshape(16, 1, 4, 4), torch.arange(16) % 3

    def c(self, v):
        return v.to(self.device)

    def draw(self, *shape, seed=1):
        return self.c(torch.randn(shape, generator=torch.Generator().manual_seed(seed), device="cpu"))

    def module(self, make):
        """Nowhere zero."""
        torch.manual_seed(3)
        module = make()
        with torch.no_grad():
            for weight in module.parameters():
                weight.add_(0.1 * torch.randn(weight.shape))
        return self.c(module)

    @property
    def toys(self):
        torch.manual_seed(3)
        toys = families.toys(metrics.grid(n=9)) | {"diffusion": families.Diffusion(T=5)}
        toys["energy-based"].steps = 5
        return {k: self.c(v) for k, v in toys.items()}

    def arguments(self, module):
        """Values for parameters of these names: a function with no others needs no case of its own."""
        w = self
        given = dict(
            schedule=w.s, x=w.x, x0=w.x, x_t=w.x, x_s=w.x, eps=w.eps, y=w.eps, t=5, s=3, generator=w.g, denoiser=w.den,
            coefficient=torch.linspace(1, 2, 4), v=w.x, score=w.eps, x0_mean=0.3, x0_var=0.5, dims=16, power=w.z[:, 0],
            mean=w.eps, signal=0.8, noise=0.6, truth=w.eps, jacobian=w.draw(4, 3, 3), weight=0.5, source="eps",
            target="v", n=5, p=w.z[0].exp(), evaluations=5, x_T=w.x, times=[9, 4, 0], step_size=0.1, moves=2, ratio=0.7,
            samples=w.z, draws=w.z, images=w.x, log_w=w.z, log_likelihood=w.z, noise_var=0.5, logvar=w.eps,
            x_hat=w.eps, steps=4, step=3, K=3, sampler=samplers.DDPM(), variance=0.5, batch_size=2, seed=0,
            before=w.x, after=w.eps, data=w.x,
        )  # fmt: skip
        own = {
            gaussian: lambda: dict(p=w.law, q=gaussian.Gaussian(w.eps, 0.7), prior=w.law, a=0.7, gaussian=w.law),
            scores: lambda: dict(score=lambda x: -x * x),
            samplers: lambda: dict(score=lambda x: -x, times=torch.tensor([9, 4, 0])),
            elbo: lambda: dict(x=w.z, z=w.one, model=w.linear, q=w.linear.best_independent,
                               log_joint=w.linear.log_joint,
                               log_posterior=lambda x, z: w.linear.posterior(x).log_prob(z)),
            bounds: lambda: dict(schedule=w.s4, x0=0.3, k=2, denoiser=bounds.short_chain()[0]),
            mixtures: lambda: dict(prior=w.c(torch.tensor([0.4, 0.6]))),
            files: lambda: dict(denoiser=w.labelled),
            metrics: lambda: dict(a=w.z, b=w.z + 1, k=1, A=w.z, B=w.one),
            time: lambda: dict(t=w.y, dim=8),
            vae: lambda: dict(q=w.narrow, z=w.z, codes=w.draw(9, 2), out=w.z, nats=w.eps[:, 0, 0, 0], terms=vae.Terms(
                w.z[:, 0], w.z)),
            families: lambda: dict(p=w.z[:, 0].softmax(0), p_g=w.z[:, 1].softmax(0), D=w.z[:, 0].sigmoid(),
                                   d_real=w.z[:, 0], d_fake=w.z[:, 1]),
        }  # fmt: skip
        return given | own.get(module, dict)()


SPREAD = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.5, -0.3], [-0.3, 0.4]]])
SAMPLERS = [
    samplers.DDPM(), samplers.DDPM("beta"), samplers.DDIM(), samplers.DDIM(1.0), samplers.Langevin(0.01, 2),
    samplers.AnnealedLangevin(0.1, 2),
]  # fmt: skip


def every_t(w, f, t=None):
    """f at a number, at (B,) and at (B,) on the device."""
    tb = w.tb if t is None else t
    return [f(v) for v in (5, tb, w.c(tb))]


def fitted(w, model, loss, data, **options):
    options = dict(batch_size=4, clip=1.0, progress=False, device=w.device, device_noise=False) | options
    ema = training.EMA(model, 0.9)
    history = training.fit(model, loss, data, steps=3, ema=ema, lr=training.CosineLR(1e-3, 3), **options)
    return history.loss, list(model.parameters()), list(ema.model.parameters())


def elbo_loss(model, batch, generator, step):
    x, *y = batch if isinstance(batch, tuple) else (batch,)
    return -model.terms(x, *y, generator=generator).elbo.mean()


def files_again(w):
    """Answers of denoisers that were written and read, after a run that was resumed."""
    with tempfile.TemporaryDirectory() as folder:
        training.save(w.labelled, Path(folder, "a.safetensors"))
        training.save_weights(w.den4, Path(folder, "b.safetensors"))
        training.load_weights(w.den4, Path(folder, "b.safetensors"))
        for steps in (1, 2):
            run = dict(batch_size=4, device=w.device, progress=False, device_noise=False, checkpoint=Path(folder, "c"))
            training.fit(w.labelled, training.image_loss, w.pictures, steps=steps, **run)
        return [training.load(Path(folder, name), w.device)[0](w.x, 5).x0 for name in ("a.safetensors", "c")]


# ---- the cases: what no rule makes -----------------------------------------------------------------------------------
CASES = {
    "tensors.expand a number": lambda w: w.x * tensors.expand(0.5, w.x),
    "tensors.randn_like DeviceNoise": lambda w: 0 * tensors.randn_like(w.x, tensors.DeviceNoise().manual_seed(0)),
    "tensors.same_shape": lambda w: tensors.same_shape(a=w.x, b=w.eps),
    "tensors.pullback": lambda w: tensors.pullback([v := w.x.clone().requires_grad_(), v * v], [v]),
    "tensors.near": lambda w: tensors.near(SimpleNamespace(a=torch.ones(3), b=None), w.device, "a", "b"),
    "tensors.to_device": lambda w: tensors.to_device(torch.ones(3), w.device),
    "tensors.normal there": lambda w: tensors.normal((3,), w.there),
    "tensors.choose there": lambda w: tensors.choose(torch.ones(3), 4, w.there),
    "gaussian.Gaussian": lambda w: [
        w.law.sample(w.g), w.law.log_prob(w.eps), w.law.kl(gaussian.Gaussian(w.eps, 2.0)), w.law.repeat(2),
        gaussian.Gaussian.from_logvar(w.x, w.eps), gaussian.Gaussian(w.x, torch.ones(4)).sample(w.there),
    ],
    "gaussian.full": lambda w: [
        v for p in [gaussian.MultivariateGaussian(w.z, w.c(SPREAD[0]))]
        for v in (p.sample(w.g), p.log_prob(w.z + 1), p.kl(gaussian.MultivariateGaussian(w.z + 1, SPREAD[1])), p,
                  gaussian.full(p), gaussian.full(gaussian.Gaussian(w.z, 0.5)).kl(p))
    ],
    "schedules.start there": lambda w: [
        v.start((2, 3), w.there) for v in (w.s, w.vp, schedules.VE(), CONTINUOUS[-1], schedules.Rescaled(w.s4, "ve"))
    ],
    "denoiser.Prediction": lambda w: [
        every_t(w, lambda t, k=k: [
            p := denoiser.Prediction(w.s, w.x, t, **{k: w.eps}, **({"s": t - 1} if k == "mean" else {})),
            p.x0, p.eps, p.score, p.v, p.velocity, p.clip().x0, p.clip().eps,
        ]) for k in parameterization.TARGETS
    ],
    "denoiser.Denoiser": lambda w: [
        *[every_t(w, lambda t, k=k: denoiser.Denoiser(w.den.net, w.s, k)(w.x, t).v) for k in parameterization.TARGETS],
        *[denoiser.Denoiser(w.den.net, w.vp)(w.x, t).x0 for t in (0.3, w.tb / 20, w.c(w.tb) / 20)],
        w.labelled(w.x, 5, y=w.y[:4]).x0, w.labelled.channels, w.labelled.null_label,
    ],
    "denoiser.wrappers": lambda w: [
        d(w.x, 5).v
        for d in (denoiser.Clipped(w.den), denoiser.InCoordinates(w.den), denoiser.InCoordinates(w.den, "vp"))
    ],
    "metrics.Estimate": lambda w: [metrics.estimate(w.z).average(), str(metrics.estimate(w.z))],
    "metrics.frechet_gaussians": lambda w: metrics.frechet_gaussians(w.z[0], w.c(SPREAD[0]), w.z[1], w.c(SPREAD[1])),
    "metrics.frechet_floor": lambda w: str(metrics.frechet_floor(w.draw(40, 2), 10)),
    "metrics.features": lambda w: [
        v for net in [w.module(lambda: nets.Classifier(1, 3, 4))] for v in (metrics.features(net, w.x, 2), net(w.x))
    ],
    "metrics.energy_distance": lambda w: metrics.energy_distance(w.draw(40, 2), w.draw(40, 2, seed=9)),
    "metrics.precision_recall": lambda w: metrics.precision_recall(w.draw(20, 2), w.draw(20, 2, seed=9)),
    "metrics.hit_rate": lambda w: [
        metrics.hit_rate(w.z, w.y.clamp(max=1)), metrics.inception_score(w.z.log_softmax(1))
    ],
    "metrics.Grid": lambda w: metrics.Grid(w.z, 0.1).log_integral(w.z[:, 0]),
    "nets.Conditioned": lambda w: w.module(lambda: nets.Conditioned(nn.Identity(), nets.mlp(4, 3)))(w.z, w.z),
    "nets.TimeMLP": lambda w: [
        w.module(lambda f=f: nets.TimeMLP(2, 8, 1, classes=3, features=f))(w.z, w.c(torch.arange(6.0)), y)
        for f in time.TIME_FEATURES for y in (w.y, None)
    ],
    "nets.UNet": lambda w: w.module(lambda: nets.UNet(1, (4, 8), heads=2, conditioning="add"))(w.x, w.c(w.tb)),
    "inspect.layer_table": lambda w: [
        looks.layer_table(w.labelled.net, w.x[:1]), looks.count_passes(w.den4, lambda: w.den4(w.z, 2))
    ],
    "vlb.VLB": lambda w: [
        (v, v.total, v.bits_per_dim) for g, table in ((w.g, "beta"), (w.there, w.c(w.s.beta.float())))
        for v in [vlb.vlb_terms(w.den, w.x, g, table)]
    ],
    "vlb.vlb_term at 1": lambda w: [vlb.vlb_term(w.den, w.x, torch.tensor(t), w.eps) for t in (1, [1, 2, 1, 9])],
    "vlb.vlb_estimates": lambda w: vlb.vlb_estimates(w.den, w.x, 3, {"a": "beta", "b": w.s.beta}, w.g),
    "vlb.vlb_path": lambda w: vlb.vlb_path(w.den4, w.path, decoder="gaussian"),
    "vlb.vlb_consistency": lambda w: vlb.vlb_consistency(w.den4, w.path, decoder="gaussian"),
    "losses.sample_t there": lambda w: [losses.sample_t(w.s, 5, w.there, p) for p in (None, torch.ones(12))],
    "process.q_implicit": lambda w: every_t(w, lambda t: process.q_implicit(w.s, w.x, w.eps, t - 2, t, 0.0)),
    "samplers.solvers": lambda w: [
        samplers.sample(denoiser.Denoiser(w.den.net, w.vp), sampler, w.x, [0.9, 0.6, 0.3, 0.1, 0.0], w.g)
        for sampler in (
            samplers.EulerMaruyama(), samplers.Heun(), samplers.DPMSolverPP(3),
            samplers.PredictorCorrector(samplers.DPMSolverPP(2)),
        )
    ] + [samplers.sample(w.den, samplers.Euler(), w.x, [9, 4, 0])],
    "likelihood.log_prob": lambda w: [
        likelihood.log_prob(d, x, times, trace, 2, w.g)
        for d, x, times in (
            (w.den, w.x, [2, 5, 9]), (denoiser.Denoiser(w.den.net, w.vp), w.x, torch.tensor([0.1, 0.5, 0.9]))
        ) for trace in likelihood.TRACES
    ],
    "likelihood.continuous_loss": lambda w: [
        likelihood.continuous_loss(denoiser.Denoiser(w.den.net, w.vp), w.x, w.g, 0.1, 0.9, weight, even)
        for weight in (None, lambda t: t) for even in (True, False)
    ],
    "likelihood.staircase": lambda w: likelihood.staircase(w.c(torch.tensor([2.0, 0.0, -2.0])), w.z[:3]),
    "likelihood.dequantise": lambda w: likelihood.dequantise(w.x, w.g),
    "likelihood.augmentation": lambda w: likelihood.augmentation(w.c(torch.tensor([0.5, 1.0, 2.0]))),
    "likelihood.bits_per_dim": lambda w: likelihood.bits_per_dim(w.z[:, 0], 16),
    "likelihood.pointwise": lambda w: [
        likelihood.pointwise(w.mix.denoiser(w.vp), w.z, [0.1, 0.5, 0.9], 2, w.g),
        likelihood.pointwise(w.mix1.denoiser(w.vp), w.z[:, 0], [0.1, 0.5, 0.9], nodes=bounds.nodes(1)),
    ],
    "samplers.Rule": lambda w: samplers.sample(
        w.den, samplers.Rule(lambda x, p, t, s, z: p.x0 + 0.1 * z), w.x, [9, 4, 0], w.g
    ),
    "samplers.invert": lambda w: samplers.invert(w.den, w.x, [0, 4, 9]),
    "samplers.slerp": lambda w: [samplers.slerp(w.x, w.eps, v) for v in (0.3, torch.full((4,), 0.7, device="cpu"))],
    "denoiser.Respaced": lambda w: [
        d(w.x, t).v for d in [denoiser.Respaced(w.den, torch.tensor([12, 7, 0]))]
        for t in (1, torch.tensor(2), torch.tensor([2, 1, 1, 2]), w.c(torch.tensor([2, 1, 1, 2])))
    ],
    "process.implicit_path": lambda w: [
        process.implicit_path(w.s4, w.z, v, [w.z] * 4)
        for v in [0.5 * w.s4.posterior_variance, 0.5 * w.c(w.s4.posterior_variance.float())]
    ],
    "vlb.implicit_vlb": lambda w: vlb.implicit_vlb(w.den4, w.path, torch.full((5,), 0.05)),
    "losses.hybrid_loss": lambda w: every_t(w, lambda t: losses.hybrid_loss(w.two, w.x, t, w.eps)),
    "vlb.term_of": lambda w: [
        vlb.term_of(w.two(w.x, w.tb), w.x, "predicted"),
        vlb.vlb_term(w.two, w.x, torch.tensor([1, 5, 1, 9]), w.eps, "predicted"),
    ],
    "denoiser.Prediction.log_variance": lambda w: [
        every_t(w, lambda t: w.two(w.x, t).log_variance(t - 2)), w.two(w.x, 5).logvar, w.two(w.x, 5).frozen().x0,
        samplers.states(w.two, samplers.DDPM("predicted"), w.x, [12, 7, 0], w.g),
    ],
    "losses.prediction_loss": lambda w: [
        every_t(w, lambda t, k=k, v=v: losses.prediction_loss(w.den, w.x, t, w.eps, k, v))
        for k in parameterization.TARGETS for v in (2.0, torch.ones(4), w.c(torch.ones(4)))
    ],
    "samplers.steps": lambda w: [
        *[samplers.states(w.den, sampler, w.x, [12, 6, 0], w.g) for sampler in SAMPLERS],
        samplers.states(denoiser.Denoiser(w.den.net, w.vp), samplers.DDIM(0.5), w.x, [1.0, 0.5, 0.0], w.g),
    ],
    "samplers.sample": lambda w: samplers.sample(w.den, SAMPLERS[0], w.s.start(w.x.shape, w.there), [9, 0], w.there),
    "samplers.one_step_answers": lambda w: [
        v for a in [samplers.one_step_answers(w.den, w.x[0], w.eps[0], [3, 5])] for v in (a, a.error)
    ],
    "samplers.path_answers": lambda w: samplers.path_answers(w.den, samplers.DDIM(), w.x[0], [9, 4, 0]),
    "samplers.walk": lambda w: samplers.walk(w.den, lambda x, m, e, std, z: m + std * z, w.x, torch.tensor([9, 4, 0])),
    "bounds.short_chain": lambda w: bounds.short_chain()[0](w.one[:4], 2).x0,
    "bounds.PixelLaw": lambda w: every_t(w, lambda t: w.pixel.denoiser(w.s)(w.one, t).x0, torch.tensor(5)),
    "bounds.PixelLaw.sample there": lambda w: w.pixel.sample(5, w.there),
    "latent.LinearGaussian": lambda w: [
        (m.likelihood(w.one), m.log_joint(w.z, w.one), m.log_prob(w.z), m.posterior(w.z), m.best_independent(w.z),
         m.elbo(w.z, w.narrow), m.posterior_kl(w.z, w.narrow))
        for m in (w.linear, latent.LinearGaussian([[1.0], [0.4]], [0.0, 1.0], 0.5))
    ],
    "latent.LinearGaussian.sample there": lambda w: w.linear.sample(4, w.there),
    "latent.LinearGaussianChain": lambda w: [
        w.chain.log_prob(w.z), w.chain.infer()[0](w.z), w.chain.generate()[1](w.one),
        hvae.Hierarchy(lambda n: w.chain.prior(n, w.z), w.chain.generate(), w.chain.infer()).terms(w.z, 2, w.g),
    ],
    "latent.NonlinearModel": lambda w: [
        w.curved.log_joint(w.one, w.one), w.curved.log_prob(w.one), w.curved.log_posterior(w.one, w.z),
        w.curved.elbo(w.one, w.narrow), w.curved.posterior_kl(w.one, w.narrow),
    ],
    "latent.NonlinearModel.sample there": lambda w: w.curved.sample(4, w.there),
    "mixtures.GaussianMixture": lambda w: [
        (every_t(w, lambda t, m=m: m.posterior_mean(w.s, w.z, t), torch.arange(1, 7)), m.log_prob(w.z), m.score(w.z),
         m.diffuse(w.s, 5).score(w.z), m.sample(5, w.there))
        for m in (w.mix, mixtures.ring(3), mixtures.GaussianMixture([1, 1], torch.eye(2), torch.ones(2, 2)))
    ],
    "mixtures.denoiser": lambda w: [
        samplers.states(m.denoiser(schedule), SAMPLERS[0], w.z, times, w.g)
        for m in (w.mix, w.emp) for schedule, times in ((w.s, [12, 9, 1]), (w.vp, [0.9, 0.5, 0.1]))
    ],
    "mixtures.EmpiricalData.posterior_weights": lambda w: every_t(
        w, lambda t: w.emp.posterior_weights(w.s, w.z, t), torch.arange(1, 7)
    ),
    "spectrum.Spectrum": lambda w: [
        every_t(w, lambda t: w.spec.posterior_mean(w.s, w.z, t), torch.arange(1, 7)), w.spec.log_prob(w.z),
        w.spec.denoiser(w.s)(w.z, 5).x0, w.spec.flow_map(w.vp, w.z, 0.9, 0.2), w.spec.reflowed(w.vp)(w.z, 0.3).x0,
        w.spec.reflowed(w.vp)(w.z, w.c(torch.arange(1.0, 7)) / 20).x0,
    ],
    "spectrum.Spectrum.sample there": lambda w: w.spec.sample(4, w.there),
    "guidance": lambda w: [
        f(w.z, t, y=w.y.clamp(max=1)).x0
        for d in [w.classes.denoiser(w.s)] for t in (5, torch.tensor([2, 5, 9, 12, 3, 7])) for f in (
            guidance.Classifier(d, w.classes.log_posterior(w.s), 2.0), guidance.ClassifierFree(d, 2.0, rescale=0.5),
            guidance.ClassifierFree(d, w.z[:, 0], interval=(3, 8)),
            guidance.Thresholded(guidance.ClassifierFree(d, 4.0)),
        )
    ],
    "guidance.gradient": lambda w: [
        guidance.gradient(w.classes.log_posterior(w.vp), w.z, 0.4, w.y.clamp(max=1)),
        guidance.implicit_gradient(*(w.classes.denoiser(w.vp)(w.z, 0.4, y=w.y.clamp(0, k)) for k in (1, 2))),
        guidance.shifted(gaussian.Gaussian(w.z, 0.3), w.z, 2.0),
    ],
    "guidance.classifier_loss": lambda w: guidance.classifier_loss(
        lambda x, t: x * t[:, None], w.s, w.z, w.y.clamp(max=1), torch.tensor([2, 5, 9, 12, 3, 7]), w.g
    ),
    "guidance.drop_labels": lambda w: [guidance.drop_labels((w.y, w.z), 0.5, (7, 0.0), w.g)],
    "guidance.drop_labels there": lambda w: guidance.drop_labels(w.y, 0.5, 7, w.there),
    "distillation.target": lambda w: [
        distillation.target(w.mix.denoiser(w.s), w.z[:4], t, m, r)
        for t, m, r in ((9, 5, 0), (12, 11, 10), (w.tb, w.tb - 1, w.tb - 2))
    ] + [distillation.Perfect(w.den, [12, 9, 5, 2, 0])(w.x, 5).x0],
    "distillation.loss": lambda w: [
        distillation.loss(w.den, w.den, w.x, w.c(torch.tensor([12, 9, 5, 2, 0])), g, weight)
        for g in (w.g, w.there) for weight in distillation.WEIGHTS
    ],
    "distillation.guided_loss": lambda w: distillation.guided_loss(
        w.told, lambda v, d=w.labelled: guidance.ClassifierFree(d, v), w.x, w.tb, w.z[:4, 0], w.y[:4], w.g
    ),
    "distillation.consistency_loss": lambda w: [
        distillation.consistency_loss(w.den, w.den, w.den, w.x, w.c(torch.tensor([12, 9, 0])), g)
        for g in (w.g, w.there)
    ],
    "latent.VectorQuantizer": lambda w: [
        q := w.module(lambda: smaller.VectorQuantizer(5, 2)), *q(w.draw(3, 2, 4)), q.nearest(w.z), q.vectors(w.y),
        q.perplexity(w.y),
    ][1:],
    "latent.LatentDiffusion": lambda w: [
        m for scale in [smaller.Scale.of(w.x)]
        for d in [smaller.LatentDiffusion(lambda x: 2 * x, lambda z: z / 2, w.den, scale)]
        for m in (scale, d.encode(w.x), d.decode(w.x), d.sample((4, 1, 4, 4), [9, 4, 0], w.there))
    ],
    "latent.Orthogonal": lambda w: [
        v for o in [smaller.Orthogonal.fit(w.draw(9, 3), 2)]
        for v in (o.encode(w.draw(4, 3)), o.decode(w.z), o.residual(w.draw(4, 3)))
    ],
    "restoration.Linear": lambda w: [
        v for a in (
            restoration.mask(w.c(torch.arange(16).reshape(1, 4, 4) % 3 > 0)), restoration.downsample((1, 4, 4), 2),
            restoration.grey((1, 4, 4)), restoration.box_blur((1, 4, 4), 3),
        ) for y in [a(w.x)] for v in (y, a.transpose(y), a.solve(y, 0.5, 0.1))
    ] + [restoration.grey((1, 4, 4)).inverse(w.x), restoration.matrix(w.c(torch.eye(2)))(w.z)],
    "restoration.samplers": lambda w: [
        samplers.sample(w.den, make(samplers.DDPM(), known, w.eps), w.x, [9, 4, 0], w.g)
        for make in (restoration.Replacement, restoration.RePaint)
        for known in (w.c(torch.arange(4) > 1), torch.arange(4, device="cpu") > 1)
    ],
    "restoration.denoisers": lambda w: [
        d(w.x, 5).v for a in [restoration.box_blur((1, 4, 4), 3)] for d in (
            restoration.Reconstruction(w.den, a, w.eps, 0.1), restoration.NullSpace(w.den, a, a(w.eps)),
            restoration.Reconstruction(w.den, a, w.eps, 0.1, restoration.none, 2.0),
            restoration.Views(w.den, ((lambda x: x.flip(3),) * 2, (lambda x: -x,) * 2)),
            restoration.Bands(w.den, a, {}, {}),
        )
    ],
    "latent.contrastive_loss": lambda w: smaller.contrastive_loss(w.draw(5, 5)),
    "smaller.autoencoders": lambda w: [
        [m.loss(w.x, w.g), m.decode(m.encode(w.x))]
        for make in (lambda: smaller.KLAutoencoder(1, (16,), 2), lambda: smaller.VQAutoencoder(1, (16,), 5, 2))
        for m in [w.module(make)]
    ],
    "unet.UNet beside": lambda w: w.module(lambda: nets.UNet(1, (8, 8), heads=2, beside=1))(
        w.x, w.c(torch.ones(4)), beside=w.eps
    ),
    "text.CaptionedUNet": lambda w: [
        net(w.x, w.c(torch.ones(4)), w.c(net.tokenizer(["a b", "b", "", "c c a"]))) for net in [w.captioned.net]
    ] + [w.captioned.net(w.x, w.c(torch.ones(4))), w.captioned.net.tokenizer.text([2, 3])],
    "text.ContrastivePair": lambda w: [
        pair(w.x, w.c(pair.tokenizer(["a", "b b"])))
        for pair in [w.module(lambda: nets.ContrastivePair(("a", "b"), 8, 1, 1))]
    ],
    "text.as_text": lambda w: nets.as_text(w.z),
    "inspect.attention_maps": lambda w: looks.attention_maps(
        w.captioned.net, lambda: w.captioned.net(w.x, w.c(torch.ones(4)), w.c(torch.tensor([[2, 3, 0]] * 4)))
    ),
    "video.VideoUNet": lambda w: [
        w.clips.net(w.clip, w.c(torch.ones(2)), beside=video.beside(w.clip, known))
        for known in (torch.arange(3, device="cpu") > 1, w.c(torch.arange(6).reshape(2, 3) > 2))
    ],
    "video.inflate": lambda w: nets.inflate(nets.UNet(1, (8,), heads=2)).settings["widths"][0],
    "video.Told": lambda w: video.Told(w.clips, w.clip, torch.arange(3, device="cpu") > 1)(w.clip, 5).x0,
    "video.loss": lambda w: video.loss(w.clips, w.clip, torch.arange(6, device="cpu").reshape(2, 3) > 3, w.g),
    "video.longer": lambda w: [
        video.extend(w.clips, w.clip, 2, 1, [9, 4, 0], w.g), video.between(w.clips, w.clip, [9, 4, 0], 2, w.g)
    ],
    "video.motion": lambda w: [
        [*video.folded_line(p, 3.0), video.steps_of(p), video.centred(w.clip.flatten(0, 1), 6, 2)]
        for p in [video.centroids(w.clip)]
    ],
    "flow": lambda w: [
        flow.sample_times(4, w.there), flow.sample_times(4, w.there, spread=1.0), flow.couple(w.x, w.eps, w.y[:4]),
        *[[flow.loss(line, w.x, t, w.eps), flow.velocity(line(w.x, t))] for t in (0.3, w.tb / 20, w.c(w.tb) / 20)
          for line in [denoiser.Denoiser(w.module(Small), schedules.Linear(), "velocity")]],
        flow.reflow(denoiser.Denoiser(w.module(Small), CONTINUOUS[-1], "v"), w.x, [1, 0.5, 0]),
    ],
    "cascade.Cascade": lambda w: [
        cascade.shrink(w.x), cascade.enlarge(w.x), cascade.condition(w.s, w.x, 4, generator=w.g),
        cascade.Cascade((w.den, w.larger), 3).sample((4, 1, 2, 2), [9, 4, 0], w.there),
    ],
    "cascade.loss": lambda w: cascade.loss(w.larger, w.x, w.g, most=9),
    "cascade.PriorDecoder": lambda w: cascade.PriorDecoder(
        denoiser.Denoiser(w.module(lambda: nets.TimeMLP(2, 16, 1, beside=2)), w.s, "x0"),
        denoiser.Denoiser(w.module(lambda: nets.TimeMLP(3, 16, 1, beside=2)), w.s, "x0"),
    ).sample(w.z, 2, (3,), [9, 4, 0], w.there),
    "pyramid.Pyramid": lambda w: [
        [p.base(w.s, 0.3)(w.x[:, :, :2, :2], 5).x0, p.upsampler(w.s)(w.x, 5, beside=w.eps, level=3).x0]
        for p in [pyramid.Pyramid(w.c(torch.eye(16) + 0.1))]
    ],
    "pyramid.AutoRegression": lambda w: pyramid.AutoRegression(2, 0.5).denoiser(w.s)(w.z, 5).x0,
    "probes.hidden": lambda w: probes.hidden(w.den, w.x, 5, "conv", w.g),
    "probes.linear_probe": lambda w: probes.linear_probe(w.z, w.y, w.z, w.y).value,
    "restoration.edit": lambda w: restoration.edit(w.den, w.x, [9, 4, 0], generator=w.g),
    "restoration.outpaint": lambda w: restoration.outpaint(w.den, w.x, 2, [9, 4, 0], 2, w.g, 2),
    "affine.conditional": lambda w: affine.conditional(w.z[0], w.c(SPREAD[0]), w.z[1:2], w.z[2, :1], 0.3),
    "distillation.halve": lambda w: [
        student(w.x, 9, y=w.y[:4]).x0
        for student, _ in [
            distillation.halve(
                w.labelled, [12, 9, 5, 2, 0], w.pictures, steps=2, batch_size=4, lr=1e-4, decay=0.9, device=w.device,
                device_noise=False, progress=False,
            )
        ]
    ],
    "guided.LabelledMixture": lambda w: [w.classes.denoiser(w.s)(w.z, 4, y=y).x0 for y in (None, w.y)],
    "mixtures.log_marginal": lambda w: w.mix.log_marginal(w.vp, w.z, 0.3),
    "mixtures.bayes float64": lambda w: mixtures.bayes(w.z, tensors.host([0.4, 0.6])),
    "mixtures.flow": lambda w: [w.mix1.cdf(w.z[:, 0]), w.mix1.flow(w.vp, w.z[:, 0], 0.9, 0.2)],
    "mixtures.ClassDensities": lambda w: mixtures.ClassDensities(w.z, w.y, 1).log_prob(w.z),
    "mixtures.ClassDensities.sample there": lambda w: [
        mixtures.ClassDensities(w.z, w.y, 2, generator=w.g).sample(4, 1, w.there, style) for style in (None, 1)
    ],
    "mixtures.ClassDensities.posterior": lambda w: mixtures.ClassDensities(w.z, w.y, 1).posterior(w.z),
    "elbo.iwae": lambda w: [
        elbo.iwae(w.linear.log_joint, w.linear.best_independent, w.z, 3, 2, w.g, k) for k in ("plain", "doubly")
    ],
    "elbo.decompose": lambda w: elbo.decompose(w.linear, w.linear.best_independent, w.z).residual,
    "elbo.prior_log_weights": lambda w: [elbo.prior_log_weights(w.z[0], 0.5, 3, 2, g) for g in (w.g, w.there)],
    "vae.VAE": lambda w: [
        [m := w.vae, x := vae.binarize(w.x), y := w.y[:4], t := m.terms(x, y, 2, w.g), t.elbo, m.sample(4, w.g, y)][3:],
        m.log_joint(x, w.z[:4], y), m.prior(3), m.validate(x, y),
        [w.vae.decode(w.z[:4], w.y[:4]).sample(g) for g in (w.g, w.there)],
    ],
    "vae.conv_vae": lambda w: [
        w.module(lambda k=k: vae.conv_vae((1, 4, 4), 2, 2, likelihood=k)).terms(w.x, generator=w.g)
        for k in ("gaussian", "discretized")
    ],
    "vae.Autoencoder": lambda w: w.module(lambda: vae.Autoencoder((1, 4, 4), 2, (8,))).loss(w.x),
    "hvae.HVAE": lambda w: [
        [h := w.hvae, t := h.terms(w.z, 2, w.g), t.elbo, z := h.q(w.z).sample(w.g), h.log_joint(w.z, z)][1:],
        h.q(w.z).log_prob(z), h.sample(3, w.g), h.validate(w.z),
    ],
    "hvae.diffusion": lambda w: [
        h := hvae.diffusion(w.den4, (2,)), h.terms(w.z, 1, w.g), h.sample(3, w.g),
        h.log_joint(w.z, h.q(w.z).sample(w.g)),
    ][1:],
    "scores.projected_divergence": lambda w: scores.projected_divergence(torch.sin, w.x, [torch.ones_like(w.x)]),
    "scores.sliced": lambda w: [
        scores.sliced(lambda x: -x * x, w.x, 2, r, k, w.g) for r in (True, False) for k in scores.DIRECTIONS
    ],
    "families.toys": lambda w: [
        (name, toy.loss(w.z, w.g), toy.sample(3, w.g), toy.sample(3, w.there)) for name, toy in w.toys.items()
    ],
    "families.densities": lambda w: [
        w.toys["autoregressive"].log_prob(w.z), w.toys["flow"].log_prob(w.z), w.toys["flow"].inverse(w.z),
        w.toys["VAE"].bound(w.z, w.g, 2), w.toys["diffusion"].bound(w.z, w.g),
    ],
    "families.MaskedAR": lambda w: [
        m := w.module(lambda: families.MaskedAR(3, (4,))), m.log_prob(m.sample(2, w.g)), m.sample(2, w.there)
    ][1:],
    "families.report": lambda w: [
        families.table([families.report(name, toy, mixtures.ring(3), metrics.grid(n=9), n=60, generator=w.g)])
        for name, toy in w.toys.items()
    ],
    "training.fit": lambda w: [
        fitted(w, w.labelled, training.image_loss, w.pictures, accumulate=2),
        fitted(w, w.labelled, training.image_loss, w.pictures, optimizer=training.Muon),
        fitted(w, w.vae, elbo_loss, (w.c((w.pictures[0] > 99).float()), w.c(w.pictures[1]))),
        fitted(w, w.hvae, elbo_loss, w.draw(16, 2)),
        fitted(w, w.toys["flow"], families.batch_loss, w.draw(16, 2)),
    ],
    "files.load": files_again,
    "images.draw": lambda w: [
        *(training.draw(w.labelled, 4, 4, 3, device=d) for d in (w.device, None)),
        *(training.draw(w.labelled, 2, 4, 3, y=y, w=1.0) for y in (w.c(torch.tensor([2, 0])), torch.tensor([2, 0]))),
    ],
    "images.image_loss there": lambda w: training.image_loss(w.labelled, tuple(map(w.c, w.pictures)), w.there, 0),
}  # fmt: skip
# What answers on the CPU by design, wherever its arguments lie; its docstring, or that of its class or module, says so.
HOST = {
    "schedules": lambda w: [
        f(t)
        for s in (w.s, w.vp, *CONTINUOUS, *(schedules.Rescaled(w.s, c) for c in schedules.COORDINATES))
        for t in [w.c(w.tb) if s.last == 12 else w.c(w.tb) / 20]
        for f in (s.signal, s.noise, s.logsnr, functools.partial(schedules.rates, s),
                  *(getattr(s, n) for n in ("sde", "scale", "time") if hasattr(s, n)))
    ],
    "schedules.rates": lambda w: [f(s, t) for s in CONTINUOUS for t in [w.c(w.tb) / 20]
                                  for f in (schedules.rates, parameterization.turn)],
    "parameterization.turn": lambda w: parameterization.turn(w.s, w.c(w.tb)),
    "flow.sample_times": lambda w: [flow.sample_times(4, w.g), flow.sample_times(4, w.g, 1.0)],
    "schedules.DiscreteSchedule": lambda w: [
        schedules.DiscreteSchedule(w.c(torch.tensor([0.1, 0.2]))), schedules.linear_beta(30), schedules.cosine_beta(9),
        schedules.time_grid(w.s, 3), schedules.time_grid(w.vp, 3), w.s.start((2, 3)),
    ],
    "schedules.time_of": lambda w: [
        schedules.time_of(s, w.c(torch.tensor([1.0, -0.5]))) for s in (w.s, w.vp, schedules.LearnedMonotone(3))
    ],
    "schedules.time_grid": lambda w: [
        schedules.time_grid(w.vp, 4, 0.9, 0.1, spacing) for spacing in schedules.SPACINGS
    ],
    "likelihood.logsnr_rate": lambda w: [likelihood.logsnr_rate(w.vp, t) for t in (0.3, w.c(w.tb) / 20)],
    "likelihood.implied_weight": lambda w: [
        likelihood.implied_weight(w.vp, t, k) for t in (0.3, w.c(w.tb) / 20) for k in ("eps", "v")
    ],
    "schedules.increasing": lambda w: [f(w.c(torch.tensor([1, 3]))) for f in (schedules.increasing, schedules.listed)],
    "schedules.respaced": lambda w: schedules.respaced(w.s, w.c(torch.tensor([9, 4, 0]))),
    "schedules.LearnedMonotone": lambda w: [
        v for s in [schedules.LearnedMonotone(3)] for t in [w.c(w.tb) / 20] for v in (
            s.signal(t), s.noise(t), s.logsnr(t), s.signal(0.3), s.slope(w.c(s.logsnr(t).float())), s.shares,
            s.variance_loss(t, w.x[:, 0, 0, 0]), s.start((2, 3)), s.parameters(), *s.sde(t), *s.sde(0.4),
        )
    ],
    "losses.moments_by_time": lambda w: losses.moments_by_time(
        w.den, lambda p, x0, eps: (eps - p.eps).square().flatten(1).sum(1), w.x, [1, 3, 13], 2, w.g
    ),
    "losses.implicit_weight": lambda w: every_t(w, lambda t: losses.implicit_weight(w.s, t - 1, t, 0.01)),
    "losses.ImportanceTimes": lambda w: [
        times.probabilities for times in [losses.ImportanceTimes(12, 1)] for n in range(2)
        for _ in [times.update(w.c(torch.arange(1, 13)), w.c(torch.arange(12.0)))]
    ],
    "process.tau": lambda w: every_t(w, lambda t: process.tau(w.s, t - 1, t)),
    "process.posterior_coefficients": lambda w: every_t(w, lambda t: process.posterior_coefficients(w.s, t - 1, t)),
    "vlb.reverse_variances": lambda w: vlb.reverse_variances(w.s, w.c(w.s.beta.float())),
    "vlb.optimal_variances": lambda w: vlb.optimal_variances(w.den, w.x, w.g),
    "vlb.kl_constant": lambda w: every_t(w, lambda t: vlb.kl_constant(w.s, t, 3)),
    "losses.error_scale": lambda w: [
        every_t(w, lambda t, k=k: losses.error_scale(w.s, t, k)) for k in parameterization.TARGETS
    ],
    "losses.sample_t": lambda w: losses.sample_t(w.s, 4, w.g, w.c(torch.ones(12))),
    "losses.time_weights": lambda w: losses.time_weights(w.c(torch.ones(12)), w.c(w.tb)),
    "losses.loss_by_time": lambda w: losses.loss_by_time(w.den, w.x, [3, 5]),
    "metrics.modes": lambda w: metrics.modes(w.z, mixtures.ring(3)),
    "tensors.host": lambda w: [tensors.host(w.z), tensors.host([1, 2]), tensors.normal((3,), w.g)],
    "bounds.PixelLaw": lambda w: [
        w.pixel.sample(4, w.g), w.pixel.vlb(w.s4), w.pixel.entropy, bounds.PixelLaw.of(w.mix1).probabilities
    ],
    "chains.DiscreteChain": lambda w: [
        f() for c in [chains.DiscreteChain(w.c(torch.ones(2) / 2), [w.c(torch.ones(2, 2) / 2)])]
        for f in (c.marginals, c.joint, c.reverse)
    ],
    "guided.conditional_reverse": lambda w: guided.conditional_reverse(
        chains.DiscreteChain(torch.ones(2) / 2, [torch.ones(2, 2) / 2]), w.c(torch.tensor([0.2, 0.7]))
    ),
    "latent.LinearGaussian": lambda w: [latent.LinearGaussian.fit(w.z, 1), w.linear.sample(3)],
    "latent.LinearGaussianChain.prior": lambda w: w.chain.prior(3),
    "latent.NonlinearModel.best_gaussian": lambda w: [w.curved.best_gaussian(w.one[:1]), w.curved.sample(3)],
    "mixtures.GaussianMixture": lambda w: [
        w.mix, w.mix.covs, w.mix.moments(), w.mix.diffuse(w.s, 5), w.mix.reverse(w.s, w.z[:1], 3, 5), w.mix.sample(3),
        w.mix.mass_level(), w.mix1.non_gaussianity(), w.emp, w.emp.diffuse(w.s, 5),
    ],
    "mixtures.ClassDensities": lambda w: mixtures.ClassDensities(w.z, w.y, 1, generator=w.g),
    "spectrum.Spectrum": lambda w: [
        w.spec.variances, w.spec.mean, w.spec.walk(samplers.DDPM(), w.s, [12, 5, 0]), w.spec.marginal(w.s, 5),
        w.spec.frechet(gaussian.Gaussian(w.z[:1], 1.0)), w.spec.reverse_variance(w.s, 3, 5), w.spec.sample(3),
        w.spec.step_kl(w.s, [12, 5, 0]), spectrum.Spectrum.power_law(3).variances,
        spectrum.Spectrum.photographs(2, 4).variances,
    ],
    "pyramid.Pyramid.tables": lambda w: [
        [p.sample(3, w.g), p.drawn(0.8, 0.6, 0.2)]
        for p in [pyramid.Pyramid(w.c(torch.eye(16) + 0.1))]
    ],
    "pyramid.AutoRegression.tables": lambda w: [
        [a.missing(w.c(known), w.z[:3, 0]), a.spread(w.c(known))(w.s, 5)]
        for known in [torch.tensor([False, True, False], device="cpu")]
        for a in [pyramid.AutoRegression(3, 0.5)]
    ],
    "video.random_known": lambda w: [video.random_known(5, 4, w.g), video.every(5, 2)],
    "text.Tokenizer": lambda w: nets.Tokenizer.of(["a b", "b c"])(["c a", "d"]),
    "affine.walk_law": lambda w: affine.walk_law(
        w.bell.denoiser(w.s), samplers.DDPM(), [12, 5, 0], w.c(torch.zeros(2)), w.c(torch.eye(2))
    ),
    "spectrum.walk": lambda w: spectrum.walk(
        w.spec.denoiser(w.s), samplers.DPMSolverPP(2), w.c(torch.tensor([12, 7, 5])), w.spec.marginal(w.s, 12)
    ),
    "hvae.step_gaps": lambda w: hvae.step_gaps(w.mix, w.s4, "beta", 5),
} | dict.fromkeys([  # made by rule
    "bounds.nodes", "bounds.every_path", "bounds.exact_terms", "bounds.model_law", "bounds.path_posteriors",
    "distillation.student_times", "distillation.weights", "restoration.of_unit_data",
    "loop.batch_indices", "losses.convert_weight", "losses.vlb_weight",
    "metrics.radial_power_spectrum",
    "mixtures.ring", "tensors.choose", "vlb.gaussian_vlb",
])  # fmt: skip


def short(module):
    return module.__name__.split(".")[-1]


def cases(device):
    """(name, function of a World, whether it answers on the CPU): the tables, and functions whose arguments we have.

    The latter are asked at a number t, at one for each example, and at those on the device.
    """
    yield from ((name, call, False) for name, call in CASES.items())
    yield from ((name, call, True) for name, call in HOST.items() if call)
    for module in MODULES:
        given = World(device).arguments(module)
        for name, f in vars(module).items():
            key = f"{short(module)}.{name}"
            if name[0] == "_" or getattr(f, "__module__", "") != module.__name__ or not inspect.isfunction(f):
                continue
            wanted = inspect.signature(f).parameters.values()
            needed = {p.name for p in wanted if p.default is p.empty and p.kind == p.POSITIONAL_OR_KEYWORD}
            if needed and needed <= given.keys() and key not in CASES and not HOST.get(key):
                takes = needed | {p.name for p in wanted} & {"generator"}

                def call(w, f=f, module=module, takes=takes):
                    times = every_t(w, lambda t: t) if "t" in takes and module is not time else [None]
                    given = [w.arguments(module) | ({} if t is None else {"t": t, "s": t - 2}) for t in times]
                    return [f(**{k: v for k, v in values.items() if k in takes}) for values in given]

                yield key, call, key in HOST


# ---- what is public, and what the cases reach ------------------------------------------------------------------------
EXEMPT = dict.fromkeys(
    ["images.load_images", "machine.free_memory", "machine.has_bfloat16", "machine.processes"], "takes no tensors"
)
EXEMPT |= dict.fromkeys(
    [
        "distillation.spread",
        "cascade.added_level",
        "video.of_weight",
        "text.Tokenizer.unknown",
        *(f"latent.{name}" for name in ("attention_cost", "conv_cost", "first_state", "logsnr_shift", "unet_cost")),
        *(f"guided.{law}_variance" for law in ("tilted", "flow", "diffusion")),
    ],
    "numbers for numbers",
)
EXEMPT |= dict.fromkeys(
    ["mixtures.ExactDenoiser.x0_variance", "spectrum.Spectrum.x0_variance"], "a number for a number"
)
EXEMPT |= {"losses.ImportanceTimes.probabilities": "of what was seen, which lies on the CPU"}
EXEMPT |= dict.fromkeys(
    ["families.EBM.__init__", "families.MaskedLinear.__init__", "families.toys", "nets.Conditioned.__init__",
     "unet.zeroed", "video.inflate", "vae.VAE.__init__"], "makes a module, which is moved later",
)  # fmt: skip
TABLES = ("dlgm.schedules", "dlgm.oracles")  # their objects hold tables of the CPU, on purpose


def public():
    """{code: name} of the public functions, methods and properties that are written in MODULES."""
    found = {}
    for module in MODULES:
        for name, v in vars(module).items():
            if name[0] == "_" or getattr(v, "__module__", "") != module.__name__:
                continue
            for key, f in {"": v}.items() if not inspect.isclass(v) else vars(v).items():
                f = getattr(f, "fget", None) or getattr(f, "func", None) or getattr(f, "__func__", f)
                code = getattr(inspect.unwrap(f), "__code__", None) if callable(f) else None
                if code and code.co_filename == module.__file__ and (key[:1] != "_" or key in ("__init__", "__call__")):
                    found[code] = f"{short(module)}.{name}{key and '.'}{key}"
    return found


def holds(v, there, depth=4):
    """Whether v is, or has in it, a tensor; ``there``: a tensor or a generator of the device."""
    if isinstance(v, torch.Tensor):
        return isinstance(v, Sim) or not there
    if isinstance(v, torch.Generator):
        return there and v.device.type != "cpu"
    if isinstance(v, nn.Module):
        return "_parameters" in vars(v) and any(holds(p, there) for p in [*v.parameters(), *v.buffers()])
    where = type(v).__module__
    own = where.startswith("dlgm") and not where.startswith(TABLES) and hasattr(v, "__dict__")
    inside = (
        v.values() if isinstance(v, dict) else v if isinstance(v, (list, tuple)) else vars(v).values() if own else ()
    )
    return depth > 0 and any(holds(i, there, depth - 1) for i in inside)


class Reached:
    """Which public functions are called, and which of them with tensors (of the device, where there is one)."""

    def __init__(self, device):
        self.called, self.given, self.names, self.there = set(), set(), public(), device != "cpu"

    def __call__(self, frame, event, arg):
        name = self.names.get(frame.f_code)
        if name is not None and name not in self.given:
            self.called.add(name)
            if holds(frame.f_locals, self.there):
                self.given.add(name)


# ---- running and comparing -------------------------------------------------------------------------------------------
def leaves(v):
    """Numbers, words and tensors in an answer, in order."""
    if isinstance(v, (torch.Tensor, int, float, str)):
        yield v
    elif isinstance(v, dict):
        yield from leaves(list(v.values()))
    elif isinstance(v, (list, tuple)) or inspect.isgenerator(v):
        yield from (leaf for i in v for leaf in leaves(i))
    elif type(v).__module__.startswith("dlgm") and not isinstance(v, nn.Module) and hasattr(v, "__dict__"):
        yield from leaves([i for k, i in vars(v).items() if k not in ("_kept", "schedule", "t")])


def answers(device, reached=None):
    """{case: its leaves, or what it raised}."""
    found = {}
    for name, call, host in cases(device):
        sys.settrace(reached)
        try:
            found[name, host] = list(leaves(call(World(device))))
        except Exception as error:  # noqa: BLE001
            found[name, host] = "".join(traceback.format_exception(error)[-2:])
        finally:
            sys.settrace(None)
    return found


def says_so(name):
    """Whether the docstring of a function, its class or its module speaks of the CPU."""
    first, *path = name.split()[0].split(".")
    named = [m for m in [*MODULES, training] if short(m) == first]  # dlgm.latent and dlgm.oracles.latent
    here = next((m for m in named if path and hasattr(m, path[0])), named[0])
    docs = [here.__doc__]
    for part in path:
        here = getattr(here, part, None)
        docs.append(getattr(here, "__doc__", None))
    return any("CPU" in (doc or "") for doc in docs)


def differs(name, host, got, want, device):
    """What is wrong with an answer, or None."""
    if isinstance(got, str) or isinstance(want, str) or len(got) != len(want):
        return f"{str(got)[-1500:]}\non the CPU: {str(want)[-300:]}"
    for a, b in zip(got, want, strict=True):
        if not isinstance(b, torch.Tensor):
            if a != b and not math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) and not (a != a and b != b):
                return f"{a}, {b} on the CPU"
            continue
        by_design = host or b.dtype == torch.float64 and device == "mps"
        if by_design and not says_so(name):
            return "answers on the CPU, and no docstring says so"
        right = "cpu" if by_design else device
        if a.device.type != right or a.dtype != b.dtype:
            return f"{a.dtype} {tuple(a.shape)} on {a.device.type}, expected {b.dtype} on {right}"
        gap = (a.detach().cpu().double() - b.detach().double()).abs()
        if not torch.allclose(a.detach().cpu().double(), b.detach().double(), rtol=1e-4, atol=2e-5, equal_nan=True):
            return f"values differ by {gap.max():.2g}"  # Adam's loops over all tensors at once round otherwise
    return None


# ---- how often the host waits ----------------------------------------------------------------------------------------
def training_steps(w, model, loss, data, **options):
    return training.steps(model, loss, data, steps=3, batch_size=8, device=w.device, **options)


def on_pictures(w, labels=False, there=False, **options):
    """Steps of a U-Net."""
    net = nets.UNet(1, (8,), heads=2, classes=3 if labels else 0)
    data = tuple(map(w.c, w.pictures)) if there else w.pictures
    return training_steps(
        w, denoiser.Denoiser(net, w.s, "v"), training.image_loss, data if labels else data[0],
        ema=training.EMA(net), clip=1.0, **options,
    )  # fmt: skip


def whole_runs(w):
    """Runs of ``fit`` of one step each, bar and History included."""
    model = w.labelled
    run = dict(steps=1, batch_size=8, device=w.device)
    return (training.fit(model, training.image_loss, w.pictures, **run) for _ in range(3))


def resumed(w):
    """Steps from a checkpoint on."""
    with tempfile.TemporaryDirectory() as folder:
        run, path = dict(batch_size=8, device=w.device, progress=False), Path(folder, "c")
        training.fit(w.labelled, training.image_loss, w.pictures, steps=1, checkpoint=path, **run)
        model = w.labelled
        optimiser = torch.optim.Adam(model.parameters())
        history = training.History(**files.read_checkpoint(path, model, optimiser, None, {}))
    return training_steps(w, model, training.image_loss, w.pictures, optimizer=optimiser, history=history)


def walks(w, sampler):
    """Walks of networks in every schedule and wrapper, with every generator."""
    for schedule, times in ((w.s, [12, 8, 4, 1]), (w.vp, [0.9, 0.6, 0.3, 0.1])):
        den = denoiser.Denoiser(w.module(Small), schedule, "v")
        for d in (den, denoiser.Clipped(den), denoiser.InCoordinates(den), denoiser.InCoordinates(den, "vp")):
            for g in (w.g, w.there, None):
                yield samplers.sample_path(d, sampler, w.x, times, g)


def exact_walks(w, world):
    for schedule, times in ((w.s, [12, 8, 4, 1]), (w.vp, [0.9, 0.6, 0.3, 0.1])):
        for sampler in (samplers.DDPM(), samplers.DDIM()):
            yield samplers.sample_path(world.denoiser(schedule), sampler, w.z, times, w.g)


def terms(w, times):
    """Terms of the bound, one after the other."""
    den = w.den
    return (vlb.vlb_term(den, w.x, t, w.eps) for t in times)


def batches(w):
    den = w.den
    return (vlb.vlb_terms(den, w.x, w.g) for _ in range(3))


def binary(w):
    return (w.pictures[0] > 99).float()


# name: (syncs allowed in one step, generators of steps, steps not counted)
LOOPS = {
    "fit, float32": (1, lambda w: [on_pictures(w), on_pictures(w, precision="float32", device_noise=False)], 1),
    "fit, images on the GPU": (1, lambda w: [on_pictures(w, there=True)], 1),
    "fit, labels": (1, lambda w: [on_pictures(w, labels=True), on_pictures(w, labels=True, there=True)], 1),
    "fit, bfloat16": (1, lambda w: [on_pictures(w, labels=v, precision="bfloat16") for v in (False, True)], 1),
    "fit, accumulate=2": (1, lambda w: [on_pictures(w, labels=True, accumulate=2)], 1),
    "fit, Muon": (1, lambda w: [on_pictures(w, optimizer=training.Muon)], 1),
    "fit, a run of one step": (1, lambda w: [whole_runs(w)], 0),
    "fit, resumed, its first step too": (1, lambda w: [resumed(w)], 0),
    "fit, VAE": (1, lambda w: [
        training_steps(w, vae.mlp_vae((1, 4, 4), 2, (8,)), elbo_loss, w.c(binary(w))),
        training_steps(w, vae.conv_vae((1, 4, 4), 2, 4, likelihood="discretized"), elbo_loss, 2 * binary(w) - 1),
    ], 1),
    "fit, conditional VAE": (1, lambda w: [training_steps(w, w.vae, elbo_loss, (binary(w), w.pictures[1]))], 1),
    "fit, HVAE": (1, lambda w: [training_steps(w, w.hvae, elbo_loss, w.draw(16, 2))], 1),
} | {
    f"fit, toy: {k}": (1, lambda w, k=k: [training_steps(w, w.toys[k], families.batch_loss, w.draw(16, 2))], 1)
    for k in families.RECIPES
} | {f"{sampler}, network": (0, lambda w, v=sampler: walks(w, v), 0) for sampler in SAMPLERS} | {
    "DDPM, DDIM of a GaussianMixture": (0, lambda w: exact_walks(w, mixtures.ring(64)), 2),
    "DDPM, DDIM of EmpiricalData": (0, lambda w: exact_walks(w, mixtures.EmpiricalData(torch.randn(64, 2))), 2),
    "vlb_term at one t": (0, lambda w: [terms(w, [1, 2, 9, torch.tensor(3)])], 0),
    "vlb_term at a t for each example": (0, lambda w: [terms(w, [w.tb, torch.tensor([1, 2, 1, 9])])], 0),
    "vlb_terms, a batch of all t": (0, lambda w: [batches(w)], 0),
}  # fmt: skip


def waits(name, device):
    """The most (syncs, uploads, copies that do not wait) in one step, the largest of them, and where it waited."""
    _, make, skipped = LOOPS[name]
    most, largest, where = (0, 0, 0), 0, ""
    for steps in make(World("cuda")):
        for i in range(100):
            with device.counting() as log:
                done = next(steps, None) is None
            if done:
                assert i > skipped + 1, "too few steps"
                break
            if i >= skipped:
                seen = log.syncs.total(), log.uploads.total(), log.queued.total()
                most, largest = tuple(map(max, most, seen)), max(largest, log.largest)
                where = str(log) if seen[:2] == most[:2] else where
    return *most, largest, where


# ---- noise that is drawn on the device ------------------------------------------------------------------------------
CALLS = itertools.count()


def noise_of_a_run(device, seed=0, **options):
    """The noise of 3 steps of 2 parts, two draws for each part: 12 tensors (4, 5, 100)."""
    drawn = []

    def loss(model, batch, generator, step):
        torch.rand(next(CALLS), device="cpu")  # the noise must not hang on the state that all share
        drawn.extend(tensors.randn_like(batch, generator) for _ in range(2))
        return (model(batch) - drawn[-1]).square().mean()

    torch.manual_seed(3)
    run = dict(steps=3, batch_size=8, accumulate=2, seed=seed, device=device, progress=False)
    history = training.fit(nn.Linear(100, 100), loss, torch.zeros(16, 5, 100), **run | {"device_noise": True} | options)
    return drawn, history.loss


def device_noise(device):
    """{what must hold of the noise of DeviceNoise: None, or what was found}, inside a Device.

    Each z-score is standard normal but for terms of order 1/√2000, so right code exceeds 6 standard deviations
    with probability 2e-9; there are 1 + 1 + 276 of them.
    """
    kind = device.kind
    (mine, losses_), (again, losses_again) = (noise_of_a_run(kind) for _ in range(2))
    other, cpu = noise_of_a_run(kind, seed=1)[0], noise_of_a_run("cpu", device_noise=False)[0]
    there = noise_of_a_run(kind, device_noise=False)[0]
    x = torch.stack([v.cpu().double().flatten() for v in [*mine, *other]])  # 24 rows of 2000
    n = x.numel()
    pairs = (x @ x.T / x.shape[1] ** 0.5).triu(1).abs().max().item()
    z_mean, z_var = x.mean().item() * n**0.5, (x.square().mean().item() - 1) * (n / 2) ** 0.5
    holds = {
        "device, dtype and shape": {(v.device, v.dtype, v.shape) for v in mine}
        == {(torch.device(kind, 0), torch.float32, (4, 5, 100))},
        "the same seed, the same noise": all(map(torch.equal, cpu_of(mine), cpu_of(again))) and losses_ == losses_again,
        "not that of the CPU": not any(torch.equal(a, b) for a in cpu_of(mine) for b in cpu),
        "without it, that of the CPU": all(map(torch.equal, cpu_of(there), cpu)),
        "mean 0": abs(z_mean) < 6 or z_mean,
        "variance 1": abs(z_var) < 6 or z_var,
        "draws, parts, steps and seeds are independent": pairs < 6 or pairs,
    }
    dtypes = (torch.float32, torch.bfloat16, torch.float16) + (torch.float64,) * (kind == "cuda")
    for dtype in dtypes:
        for shape in ((), (0, 3), (2, 3), (2, 1, 4, 4)):
            v = tensors.randn_like(torch.zeros(shape, dtype=dtype, device=kind), tensors.DeviceNoise().manual_seed(1))
            if (v.device, v.dtype, v.shape) != (torch.device(kind, 0), dtype, shape):
                holds["device, dtype and shape"] = f"{v.device}, {v.dtype}, {tuple(v.shape)}, not {dtype}, {shape}"
    large, g = torch.zeros(50, device=kind), tensors.DeviceNoise().manual_seed(1)
    with device.counting() as log:
        tensors.randn_like(large, g)
    holds["no upload and no wait"] = log == type(log)() or str(log)
    return {name: None if found is True else str(found) for name, found in holds.items()}


def cpu_of(values):
    return [v.cpu() for v in values]


# ---- the tests -------------------------------------------------------------------------------------------------------
KINDS = ("cuda", "mps", "cuda by default")
with torch.random.fork_rng([]):
    KEYS = [f"{name}{' (CPU)' * host}" for name, _, host in cases("cpu")]


def outcomes():
    """{kind: {case: what is wrong, or None}}; what is not reached, or excused in vain; {loop: its counts}; of noise."""
    torch.set_num_threads(1)
    introduce("cuda")
    introduce("mps")
    here, there, found = Reached("cpu"), Reached("cuda"), {}
    want = answers("cpu", here)
    for kind in KINDS:
        word, _, default = kind.partition(" ")
        with Device(word), torch.device(word) if default else contextlib.nullcontext():
            got = answers(word, there if kind == "cuda" else None)  # tracing takes time
            found[kind] = dict(zip(KEYS, (differs(*key, got[key], want[key], word) for key in want), strict=True))
    missed = here.given - there.given | set(here.names.values()) - here.called
    with Device("cuda") as device:
        loops, noise = {name: waits(name, device) for name in LOOPS}, {"cuda": device_noise(device)}
    with Device("mps") as device:
        noise["mps"] = device_noise(device)
    return found, sorted(missed ^ EXEMPT.keys()), loops, noise


def table(loops):
    """Counts in one step, as text."""
    lines = [f"{'in one step':52s}{'syncs':>6s}{'uploads':>9s}{'queued':>8s}"]
    return "\n".join([*lines, *(f"{name:52s}{v[0]:6d}{v[1]:9d}{v[2]:8d}" for name, v in loops.items())])


@pytest.fixture(scope="module")
def found():
    return apart(__file__)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", KEYS)
def test_the_answer_is_that_of_the_cpu(key, kind, found):
    assert found[0][kind][key] is None, found[0][kind][key]


def test_every_public_function_is_reached_on_the_device(found):
    """A new one needs an argument in World.arguments, a case, or a reason in EXEMPT."""
    assert found[1] == []


@pytest.mark.parametrize("name", LOOPS)
def test_a_step_does_not_make_the_gpu_wait(name, found):
    syncs, uploads, queued, largest, where = found[2][name]
    assert syncs <= LOOPS[name][0] and uploads == 0, where
    if name.endswith(("Mixture", "Data")):
        assert 0 < largest <= 12  # entries of a batch of noise; the worlds have 128


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_noise_of_the_device(kind, found):
    """``fit`` with ``device_noise``: seeds decide, shards differ, and it is standard normal."""
    assert not any(found[3][kind].values()), found[3][kind]


def test_the_table(found):
    print("", table(found[2]), sep="\n")


if __name__ == "__main__":
    print(json.dumps(outcomes()) if "--outcomes" in sys.argv else table(apart(__file__)[2]))
