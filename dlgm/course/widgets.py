"""Sliders over a pure function that returns a figure.

One pattern serves the course. It draws with no shared state and behind one lock, since recent JupyterLab may call
back on another thread than the cells run on; it lets errors through, so that a broken widget fails a test.
"""

import html
import threading

import ipywidgets as w

from . import notation
from .plots import kernel_panel, to_png
from .plots_elbo import bound_panel
from .plots_landscape import prior_sampling_panel

_LOCK = threading.Lock()


class Explorer(w.VBox):
    """Controls above a picture that follows them.

    Args:
        render: called as render(**values) with the controls' values; returns a Figure. Pure and quick.
        alt: what the picture shows, for readers who do not see it.
        controls: ipywidgets with a ``value``, by the names of render's arguments.
    Attributes:
        image: the picture, an ``ipywidgets.Image``. controls: the dict of controls.
    """

    def __init__(self, render, alt, **controls):
        self.controls, self._render = controls, render
        first = self._png()
        self.image = w.Image(value=first, format="png", layout=w.Layout(width="800px", max_width="100%"))
        for control in controls.values():
            control.observe(self._update, "value")
        super().__init__(
            [w.HBox(list(controls.values()), layout=w.Layout(flex_flow="row wrap")), self.image, w.HTML(alt)]
        )

    def _png(self):
        with _LOCK:
            return to_png(self._render(**{name: c.value for name, c in self.controls.items()}), colours=None)

    def _update(self, _):
        self.image.value = self._png()


def slider(label, low, high, value, step=1):
    """A slider in the house layout, of whole numbers unless step is a fraction."""
    kind = w.IntSlider if isinstance(step, int) else w.FloatSlider
    return kind(
        value=value, min=low, max=high, step=step, description=label, continuous_update=True,
        style={"description_width": "initial"}, layout=w.Layout(width="340px"),
    )  # fmt: skip


def choice(label, options, width="180px"):
    """A drop-down list of names."""
    layout = w.Layout(width=width)
    return w.Dropdown(options=list(options), description=label, style={"description_width": "initial"}, layout=layout)


def notation_card(name, deck):
    """A formula of ``notation.FORMULAS`` in the course's symbols and in a deck's: HTML with LaTeX in dollar signs."""
    rows = [("course", notation.formula(name))]
    if deck != "course" and notation.appears(name, deck):
        rows.append((deck, notation.formula(name, deck)))
    lines = [f"<p>{notation.deck_name(d)}:</p><p>$\\displaystyle {latex}$</p>" for d, latex in rows]
    return f"<b>{notation.FORMULAS[name].ledger}</b>{''.join(lines)}<p>{html.escape(notation.note(name, deck))}</p>"


def notation_explorer():
    """Lesson 00's widget: choose a formula and a deck, and read it in both notations."""
    formulas = {f"{f.title} ({f.ledger})": name for name, f in notation.FORMULAS.items()}
    decks = {notation.deck_name(deck): deck for deck in notation.DECKS if deck != "course"}
    which, whose = choice("formula", formulas, "420px"), choice("deck", decks, "280px")
    card = w.HTMLMath()

    def update(_=None):
        card.value = notation_card(formulas[which.value], decks[whose.value])

    for control in (which, whose):
        control.observe(update, "value")
    update()
    return w.VBox([w.HBox([which, whose], layout=w.Layout(flex_flow="row wrap")), card])


def prior_sampling_explorer():
    """Lesson 01's widget: the dimension and the number of draws; see ``plots_landscape.prior_sampling_panel``."""
    return Explorer(
        prior_sampling_panel,
        "Left: the largest weights of one run. Middle: 200 estimates of log p(x). Right: draws that count.",
        dimension=slider("dimension d", 1, 24, 4),
        doublings=slider("doublings: N = 2^", 0, 11, 8),
    )


def bound_explorer(models):
    """Lesson 02's widget: a Gaussian q over the true posterior, and the bound it gives; see ``plots_elbo.bound_panel``.

    Args:
        models: dict name -> oracles.NonlinearModel.
    """
    return Explorer(
        lambda model, x, mean, std: bound_panel(models[model], x, mean, std),
        "Left: prior, exact posterior and q. Right: log p(x) as the ELBO plus the gap.",
        model=choice("model", models),
        x=slider("x", 0.2, 3.0, 1.0, 0.1),
        mean=slider("mean of q", -2.0, 2.0, 0.0, 0.05),
        std=slider("std of q", 0.05, 1.5, 0.5, 0.05),
    )


def kernel_explorer(schedules, images, mixture, eps):
    """Lesson 05's widget: the time, the schedule and the digit; see ``plots.kernel_panel``.

    Args:
        schedules: dict name -> DiscreteSchedule, all with one T.
        images: dict name -> (1, H, W); eps: fixed noise of that shape; mixture: one-dimensional.
    """
    T = next(iter(schedules.values())).T
    return Explorer(
        lambda t, schedule, digit: kernel_panel(schedules[schedule], images[digit], mixture, t, eps),
        "Left: the digit after t steps. Middle: the exact density of x_t. Right: signal and noise variance, t marked.",
        t=slider("step t", 0, T, T // 4),
        schedule=choice("schedule", schedules),
        digit=choice("digit", images),
    )
