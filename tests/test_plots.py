"""The house style, pictures, and widgets without a browser."""

import importlib
import inspect
import io
import pkgutil
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dlgm import plots
from dlgm.course import widgets
from dlgm.oracles import GaussianMixture
from dlgm.plots import the_diffusion_kernel
from dlgm.schedules import cosine_beta, linear_beta

MIXTURE = GaussianMixture([0.3, 0.7], [-1.2, 0.8], [0.03, 0.06])
BOTH = {"linear": linear_beta(), "cosine": cosine_beta()}


def test_image_rows_are_upright_and_clipped():
    x = torch.zeros(1, 2, 2)
    x[0, 0, 1] = 5.0
    fig = plots.image_rows([[x, -x]], ["a", "b"], labels=["row"])
    first, second = (ax.get_images()[0].get_array() for ax in fig.axes)
    assert first[0, 1] == 1 and first[1, 0] == 0.5 and second[0, 1] == 0
    rgb = plots.to_gray(torch.stack([torch.ones(2, 2), -torch.ones(2, 2), torch.zeros(2, 2)]))
    assert rgb.shape == (2, 2, 3) and rgb[0, 0].tolist() == [1, 0, 0.5]


def test_png_is_repeatable_and_the_palette_keeps_the_picture(digit, eps):
    def fig():
        return the_diffusion_kernel.kernel_panel(BOTH["linear"], digit, MIXTURE, 100, eps)

    small, full = plots.to_png(fig()), plots.to_png(fig(), colours=None)
    assert small == plots.to_png(fig()) and len(small) < len(full)
    a, b = (np.asarray(Image.open(io.BytesIO(v)).convert("RGB"), float) for v in (small, full))
    assert np.abs(a - b).mean() < 2  # of 255 grey levels, on average


def test_show_needs_words(digit, eps):
    with pytest.raises(ValueError, match="needs a text"):
        plots.show(plots.figure(1, 1)[0], " ")


def test_widget_lets_errors_through():
    def broken(t):
        if t > 1:
            raise RuntimeError("broken figure")
        return plots.figure(1, 1)[0]

    w = widgets.Explorer(broken, "nothing", t=widgets.slider("t", 0, 5, 0))
    with pytest.raises(RuntimeError, match="broken figure"):
        w.controls["t"].value = 2


def test_the_house_style_is_that_of_our_figures_alone():
    """Importing and drawing change none of the user's settings, and each function that draws is in the style."""
    code = (
        "import matplotlib; before = dict(matplotlib.rcParams)\n"
        "from dlgm import plots\nfrom dlgm.plots import the_elbo\n"
        "plots.to_png(the_elbo.correlated_posterior([0.0], [0.0], 0.9))\n"
        "assert dict(matplotlib.rcParams) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    fig = the_diffusion_kernel.schedule_curves(BOTH)
    assert fig.axes[0].get_lines()[0].get_linewidth() == plots.STYLE["lines.linewidth"]
    assert not fig.axes[0].get_legend().get_frame_on() and fig.axes[0].get_title(loc="left")


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(plots.__path__)])
def test_the_figures_of_a_lesson_are_in_the_house_style(name):
    figures = importlib.import_module(f"dlgm.plots.{name}")
    assert not re.search(r"pyplot|\bFigure\(", inspect.getsource(figures)), "a figure is made with dlgm.plots.figure"
    for attribute, function in inspect.getmembers(figures, inspect.isfunction):
        if function.__module__ == figures.__name__ and not attribute.startswith("_"):
            draws = re.search(r"\b(figure|image_rows)\(", inspect.getsource(inspect.unwrap(function)))
            in_style = getattr(function, "__code__", None) is plots.styled(len).__code__
            assert not draws or in_style, f"{attribute} of dlgm/plots/{name}.py lacks @styled"


def test_a_graph_has_its_nodes_and_arrows():
    from dlgm.plots import ddim, hierarchical_vaes, start_here, the_diffusion_kernel, the_elbo

    def parts(ax):
        arrows = [t for t in ax.texts if getattr(t, "arrow_patch", None) is not None]
        return {t.get_text() for t in ax.texts if t.get_text()}, len(arrows)

    labels, arrows = parts(the_elbo.model_graph().axes[0])
    assert {"$z$", "$x$"} < labels and arrows == 2
    labels, arrows = parts(hierarchical_vaes.hierarchy_graph().axes[0])
    assert {"$x$", "$z_1$", "$z_2$"} < labels and arrows == 4
    labels, arrows = parts(the_diffusion_kernel.chain_graph().axes[0])
    assert {"$x_0$", "$x_T$"} < labels and arrows == 8
    assert [parts(ax)[1] for ax in ddim.two_graphs().axes] == [3, 5]
    images = [torch.full((1, 4, 4), v) for v in (-1.0, 0.0, 1.0)]
    fig = start_here.chain(images, ("x_0", "x_t", "x_T"))
    assert [ax.images[0].get_array().mean() for ax in fig.axes] == [0.0, 0.5, 1.0]
    assert [parts(ax)[1] for ax in fig.axes] == [2, 2, 0]


def test_jensen_shows_the_two_means():
    import math

    from dlgm.plots import the_elbo

    ax = the_elbo.jensen(0.25, 1.0).axes[0]
    low, high = ax.lines[3].get_ydata()
    assert high == pytest.approx(math.log(0.625)) and low == pytest.approx(math.log(0.25) / 2)


def test_a_figure_is_shown_with_its_text_as_text_form_and_beside_it(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", shown.append)
    fig, _ = plots.figure(2, 1)
    plots.show(fig, 'a "box" < 1')
    picture, beside = shown
    assert repr(picture) == picture.alt == 'a "box" < 1' and picture.data == plots.to_png(fig)
    assert beside.data == '<span role="img" aria-label="a &quot;box&quot; &lt; 1"></span>'
    with pytest.raises(ValueError, match="a text that says"):
        plots.show(fig, " ")
