"""Deep latent generative models: every formula of the course as one named, tested function.

The map, in reading order. A file imports only what stands above it (in the packages: or beside it).

    tensors            broadcast a coefficient, draw noise, move to a device
    gaussian           Gaussians and the algebra the course needs of them
    schedules          how much signal and how much noise x_t holds
    process            the forward process q, for any pair of times
    parameterization   eps, x0, v, score, mean, velocity: each from each other
    denoiser           a network, its schedule and what it predicts; the Prediction it gives

    writing            files that are never half written
    data               data sets that ship, pictures in a folder, scenes and toys
    metrics            numbers about samples: estimates with errors, distances, spectra; the quadrature grid
    nets               networks: they know tensors, and no schedule
    vlb                the variational bound, term by term
    losses             what a denoiser is trained on
    samplers           one loop; each sampler a small frozen dataclass with ``step``
    cascade            a small picture made larger, by networks that are told it with noise
    oracles            worlds with exact answers

    elbo               bounds on log p(x) by sampling; the evidence
    vae                autoencoders, plain and variational
    hvae               hierarchies of latents; a diffusion model as one
    scores             objectives that learn a score
    likelihood         log p(x) in continuous time: the flow, the bound, denoising alone
    guidance           steering by a classifier, or by a network that knows with and without the label
    probes             what hidden layers know, by linear probes
    latent             diffusion in a smaller space: codebooks, scales, what is lost, what it costs
    restoration        pictures mended: what is known, put into a walk or pushing it; edits, views
    video              clips: frames that are told, frames between, how things move
    flow               the straight line, couplings, reflow
    families           the six toy models of lesson 01

    plots              the house style of the figures
    training           one loop for the whole course; checkpoints; ``python -m dlgm.train``
    train
    draw               pictures and clips with a trained model: ``python -m dlgm.draw``
    distillation       a student makes in one step what its teacher makes in two

    course             what only the notebooks and their makers call
    plots.*            the figures of one lesson, named as its notebook
    exercises          the engine, and the bank: one file a lesson or homework, named as its notebook
    grading            releases, checks and grades homework

``import dlgm`` is light: a submodule is imported when it is first used, so ``dlgm.data.load("mnist")`` works
without further imports and drawing libraries load only when something is drawn.
"""

import importlib
import re

__version__ = "0.2.0"
__all__ = re.findall(r"(?m)^    ([a-z]+)(?: |$)", __doc__)  # in reading order


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'dlgm' has no attribute {name!r}; its modules are {', '.join(__all__)}")


def __dir__():
    return sorted([*globals(), *__all__])
