"""Floor 6: the bank of exercises, one module per lesson, and ``check``, which a learner calls."""

import difflib

from . import (
    generating_data,
    hierarchical_vaes,
    hw1_elbo_and_vaes,
    hw2_diffusion_from_scratch,
    score_matching,
    start_here,
    the_diffusion_elbo,
    the_diffusion_kernel,
    the_elbo,
    the_posterior_mean,
    training_a_ddpm,
    variational_autoencoders,
    what_to_predict,
)  # fmt: skip
from .engine import run

LESSONS = {
    "00 start_here": start_here.EXERCISES,
    "01 generating_data": generating_data.EXERCISES,
    "02 the_elbo": the_elbo.EXERCISES,
    "03 variational_autoencoders": variational_autoencoders.EXERCISES,
    "04 hierarchical_vaes": hierarchical_vaes.EXERCISES,
    "05 the_diffusion_kernel": the_diffusion_kernel.EXERCISES,
    "06 the_posterior_mean": the_posterior_mean.EXERCISES,
    "07 the_diffusion_elbo": the_diffusion_elbo.EXERCISES,
    "08 what_to_predict": what_to_predict.EXERCISES,
    "09 training_a_ddpm": training_a_ddpm.EXERCISES,
    "12 score_matching": score_matching.EXERCISES,
}


HOMEWORK = {  # assignment -> its exercises
    "hw1_elbo_and_vaes": hw1_elbo_and_vaes.EXERCISES,
    "hw2_diffusion_from_scratch": hw2_diffusion_from_scratch.EXERCISES,
}


def bank():
    """Name -> exercise, of all lessons and all homework."""
    return {e.name: e for part in (LESSONS, HOMEWORK) for exercises in part.values() for e in exercises}


def find(name):
    """The exercise of a lesson or of homework with that name.

    Raises:
        ValueError: there is none.
    """
    known = bank()
    if name not in known:
        near = ", ".join(difflib.get_close_matches(str(name), known, 5, 0.4)) or f"no name like it among {len(known)}"
        raise ValueError(f"no exercise is called {name!r}; there is {near}")
    return known[name]


def check(name, function):
    """Check a learner's function against the exercise of that name.

    Returns:
        A Report: not attempted, not yet (with the mistake named where it is a known one), or right. Its ``.function``
        is the learner's own if right, otherwise the reference, so that a lesson can always go on.
    Raises:
        ValueError: there is no exercise of that name, or ``function`` is not callable.
    """
    return run(find(name), function)
