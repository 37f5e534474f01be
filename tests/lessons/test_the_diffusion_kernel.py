"""Figures and the widget of lesson 05 draw what their labels name and follow their controls."""

import threading

import numpy as np
import pytest
import torch
from helpers import lines

from dlgm import plots
from dlgm.course import widgets
from dlgm.oracles import GaussianMixture
from dlgm.plots import the_diffusion_kernel
from dlgm.process import q_sample
from dlgm.schedules import cosine_beta, linear_beta

MIXTURE = GaussianMixture([0.3, 0.7], [-1.2, 0.8], [0.03, 0.06])
BOTH = {"linear": linear_beta(), "cosine": cosine_beta()}


@pytest.mark.parametrize("t", [0, 1, 400, 1000])
def test_kernel_panel_draws_the_exact_quantities(t, digit, eps):
    schedule = BOTH["linear"]
    image, density, curve = the_diffusion_kernel.kernel_panel(schedule, digit, MIXTURE, t, eps).axes
    drawn = image.get_images()[0].get_array()
    x_t = q_sample(schedule, digit[None], t, eps[None])[0, 0]
    np.testing.assert_allclose(drawn, ((x_t + 1) / 2).clamp(0, 1), atol=1e-6)  # float32
    x, y = lines(density)[f"$x_t$, t = {t}"]
    np.testing.assert_allclose(y, MIXTURE.diffuse(schedule, t).log_prob(torch.tensor(x)).exp())
    np.testing.assert_allclose(lines(curve)["ᾱ: signal²"][1], schedule.alpha_bar)
    assert any(set(xs) == {t} for xs, _ in lines(curve).values())  # the mark stands at t


def test_spectra_marks_the_step_where_each_frequency_drowns():
    f, p = torch.tensor([1.0, 2.0, 4.0]).double(), torch.tensor([10.0, 1.0, 0.01]).double()
    _, right = the_diffusion_kernel.spectra({"data": (f, p)}, BOTH, (100,)).axes
    for name, schedule in BOTH.items():
        expected = [
            next(t for t in range(1, 1001) if schedule.alpha_bar[t] * power < 1 - schedule.alpha_bar[t]) for power in p
        ]
        assert lines(right)[f"data, {name}"][1].tolist() == expected


def test_heatmap_holds_the_exact_density_and_the_paths():
    schedule = linear_beta(100)
    paths = torch.linspace(-1, 1, 101 * 2).reshape(101, 2)
    ax = the_diffusion_kernel.marginal_heatmap(MIXTURE, schedule, paths).axes[0]
    mesh = ax.collections[0].get_array().reshape(301, 101)
    x = torch.linspace(-3, 3, 301, dtype=torch.float64)
    np.testing.assert_allclose(mesh[:, 40], MIXTURE.diffuse(schedule, 40).log_prob(x).exp())
    np.testing.assert_allclose(ax.get_lines()[1].get_ydata(), paths[:, 1])


def test_schedule_curves_and_histograms_show_what_they_are_given(generator):
    axes = the_diffusion_kernel.schedule_curves(BOTH).axes
    np.testing.assert_allclose(lines(axes[0])["cosine"][1], BOTH["cosine"].alpha_bar[1:])
    np.testing.assert_allclose(lines(axes[1])["linear"][1], BOTH["linear"].beta[1:])
    points = torch.tensor([0.05, 0.05, -1.05, 9.0])
    ax = plots.histogram_against_density([points], [lambda x: 0 * x + 0.3], ["one"]).axes[0]
    heights = {round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height() for bar in ax.patches}
    assert heights[0.05] == pytest.approx(2 * heights[-1.05]) and sum(heights.values()) * 0.1 == pytest.approx(1)
    assert set(ax.get_lines()[0].get_ydata().tolist()) == {0.3}


def explorer(digit, eps):
    """The widget of lesson 05."""
    digits = {"3": digit, "7": -digit}
    return widgets.Explorer(
        lambda t, schedule, digit: the_diffusion_kernel.kernel_panel(BOTH[schedule], digits[digit], MIXTURE, t, eps),
        "kernel",
        t=widgets.slider("step t", 0, 1000, 250),
        schedule=widgets.choice("schedule", BOTH),
        digit=widgets.choice("digit", digits),
    )


def test_widget_follows_each_control_and_shows_the_pure_figure(digit, eps):
    w = explorer(digit, eps)
    seen = {w.image.value}
    for name, value in (("t", 700), ("schedule", "cosine"), ("digit", "7")):
        w.controls[name].value = value
        seen.add(w.image.value)
    assert len(seen) == 4
    assert w.image.value == plots.to_png(
        the_diffusion_kernel.kernel_panel(BOTH["cosine"], -digit, MIXTURE, 700, eps), colours=None
    )
    w.controls["t"].value = 5000  # a slider clamps
    assert w.controls["t"].value == 1000


def test_callbacks_on_several_threads_do_not_mix(digit, eps):
    """Recent JupyterLab may call back on other threads: each widget shows its own figure."""
    first, second = explorer(digit, eps), explorer(-digit, eps)

    def drag(w, last):
        for t in (300, 600, last):
            w.controls["t"].value = t

    threads = [threading.Thread(target=drag, args=a) for a in ((first, 100), (second, 900))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for w, x, t in ((first, digit, 100), (second, -digit, 900)):
        assert w.image.value == plots.to_png(
            the_diffusion_kernel.kernel_panel(BOTH["linear"], x, MIXTURE, t, eps), colours=None
        )
