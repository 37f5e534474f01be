"""Worlds whose every answer is known exactly.

mixtures    Gaussian mixtures and finite data sets at every noise level; classes with Bayes' rule
chains      a discrete Markov chain, summed
latent      linear-Gaussian models with one or many latents; one nonlinear model by quadrature
spectrum    diagonal Gaussian data: the exact law of every walk, the exact price of a step
affine      the exact mean and covariance of any walk that is affine in its state
guided      labelled mixtures; what guidance draws, as closed forms
pyramid     Gaussian pictures and a cascade with an imperfect base; frames that follow each other
bounds      worlds in which every average of the variational bound is exact
"""

from . import affine, bounds, guided
from .chains import DiscreteChain
from .guided import LabelledMixture
from .latent import LinearGaussian, LinearGaussianChain, NonlinearModel
from .mixtures import ClassDensities, EmpiricalData, GaussianMixture, bayes, ring
from .pyramid import AutoRegression, Pyramid
from .spectrum import Spectrum

__all__ = [
    "AutoRegression", "ClassDensities", "DiscreteChain", "EmpiricalData", "GaussianMixture", "LabelledMixture",
    "LinearGaussian", "LinearGaussianChain", "NonlinearModel", "Pyramid", "Spectrum", "affine", "bayes", "bounds",
    "guided", "ring",
]  # fmt: skip
