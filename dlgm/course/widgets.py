"""Sliders over a pure function that returns a figure.

One pattern serves the course. It draws with no shared state and behind one lock, since recent JupyterLab may call
back on another thread than the cells run on; it lets errors through, so that a broken widget fails a test.
"""

import threading

import ipywidgets as w

from ..plots import to_png

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

    def __repr__(self):
        return "(Run this cell to get the controls.)"  # what a notebook keeps that is saved and opened again

    def _png(self):
        with _LOCK:
            return to_png(self._render(**{name: c.value for name, c in self.controls.items()}), colours=None)

    def _update(self, _):
        self.image.value = self._png()


def slider(label, low, high, value, step=1):
    """A slider in the house layout, of whole numbers unless step is a fraction."""
    kind = w.IntSlider if isinstance(step, int) else w.FloatSlider
    return kind(value=value, min=low, max=high, step=step, **_named(label, "340px"))


def stops(label, options, value):
    """A slider in the house layout that rests on the given numbers only."""
    return w.SelectionSlider(options=options, value=value, **_named(label, "340px"))


def choice(label, options):
    """A drop-down list of names, as wide as the longest."""
    return w.Dropdown(options=list(options), **_named(label, "max-content"))


def line(label, text):
    """A line to write on; it counts when Enter is pressed or the line is left."""
    return w.Text(value=text, continuous_update=False, **_named(label, "720px"))


def _named(label, width):
    """What all controls have: a name beside them, a width, and a tooltip, without which it reads "null"."""
    layout, style = w.Layout(width=width), {"description_width": "initial"}
    return {"description": label, "tooltip": label, "style": style, "layout": layout}
