"""The house style of the figures; the figures of a lesson are in the module named as its notebook.

Figures are built with matplotlib's object-oriented interface, never with pyplot: they can be made on any thread, and
none is shown twice or in another cell. They stand on a white ground of their own, readable in a light and a dark
JupyterLab. Colours are told apart by colour-blind readers (Okabe & Ito). The style holds for these figures only; your
own matplotlib settings are left alone.
"""

import functools
import html
import io

import torch
from IPython.display import HTML, display
from IPython.display import Image as IPythonImage
from matplotlib import cycler, rc_context
from matplotlib.figure import Figure
from PIL import Image

BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5f5f5f",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY)
DPI = 120
STYLE = {
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white", "font.size": 10.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10.5, "axes.titlelocation": "left",
    "axes.edgecolor": GREY, "axes.labelcolor": "#222222", "xtick.color": GREY, "ytick.color": GREY,
    "lines.linewidth": 2, "legend.frameon": False, "legend.fontsize": 9.5, "image.cmap": "gray",
    "axes.prop_cycle": cycler(color=COLOURS),
}  # fmt: skip


def styled(draw):
    """The function, drawing in the house style; every function that makes a figure is decorated with it."""

    @functools.wraps(draw)
    def in_style(*args, **options):
        with rc_context(STYLE):
            return draw(*args, **options)

    return in_style


@styled
def figure(width, height, rows=1, columns=1, **options):
    """A Figure of width x height inches in the house style, with its axes: one Axes, or an array of them."""
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots(rows, columns, **options)


def log_ticks(ax, values, form="{:g}", y=()):
    """A logarithmic x axis whose marks are the given values, and no others; with y, such a y axis, too."""
    ax.set_xscale("log")
    ax.set_xticks(values, [form.format(v) for v in values])
    if y:
        ax.set_yscale("log")
        ax.set_yticks(y, [form.format(v) for v in y])
    ax.minorticks_off()


def errorbars(ax, row, **look):
    """Values with two standard errors; row: list of (place, value, error)."""
    places, values, errors = zip(*row, strict=True)
    ax.errorbar(places, values, [2 * e for e in errors], ms=5, lw=1.5, **look)


@styled
def to_png(fig, colours=256):
    """The figure as the bytes of a PNG, the same bytes for the same figure.

    With a palette of so many colours the file is two to four times smaller; None leaves it out, which is quicker.
    """
    out = io.BytesIO()
    fig.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    if colours is None:
        return out.getvalue()
    picture, small = Image.open(out).convert("RGB"), io.BytesIO()
    kept = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)  # rare ones, too
    kept.save(small, "PNG", optimize=True)
    return small.getvalue()


def show(fig, alt):
    """Show a figure in a notebook, sharp on dense screens and with a text for readers who do not see it.

    JupyterLab gives a picture no alternative text, so the text stands beside it too, where screen readers find it.

    Raises:
        ValueError: alt is empty.
    """
    if not alt.strip():
        raise ValueError("a figure needs a text that says what it shows")
    display(_Picture(to_png(fig), width=round(96 * fig.get_figwidth()), alt=alt))
    display(HTML(f'<span role="img" aria-label="{html.escape(alt)}"></span>'))


def to_gif(clips, columns=None, scale=3, duration=120):
    """Clips (n, F, C, H, W) in [-1, 1] side by side as the bytes of a looping GIF, ``duration`` a frame in ms."""
    frames = []
    for tiled in clips.transpose(0, 1):
        large = _enlarged(tile(tiled, columns or len(clips)), scale).convert("RGB")
        frames.append(large.quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE))
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0, optimize=True)
    return out.getvalue()


def animate(clips, alt, columns=None, scale=3):
    """Show clips (n, F, C, H, W) as a looping picture in a notebook, with a text for readers who do not see it.

    Raises:
        ValueError: alt is empty.
    """
    if not alt.strip():
        raise ValueError("a moving picture needs a text that says what it shows")
    display(_Picture(to_gif(clips, columns, scale), format="gif", alt=alt))
    display(HTML(f'<span role="img" aria-label="{html.escape(alt)}"></span>'))


class _Picture(IPythonImage):
    """A picture whose text form is what it shows."""

    def __repr__(self):
        return self.alt


def to_gray(x):
    """(C, H, W) in [-1, 1] -> an array for imshow, values clipped to [0, 1]; one channel or three."""
    x = ((x.detach().cpu().float() + 1) / 2).clamp(0, 1)
    return x[0].numpy() if len(x) == 1 else x.permute(1, 2, 0).numpy()


def draw_image(ax, x, title=""):
    """An image (C, H, W) in [-1, 1] without axes."""
    ax.imshow(to_gray(x), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_title(title, loc="center")
    ax.set_axis_off()


@styled
def image_rows(rows, titles, labels=()):
    """Rows of images: each row (N, C, H, W) in [-1, 1]; N titles over the first row, a label beside each row."""
    fig, axes = figure(8, 8 / len(titles) * len(rows) + 0.3, len(rows), len(titles), squeeze=False)
    for i, row in enumerate(rows):
        for j, x in enumerate(row):
            draw_image(axes[i, j], x, titles[j] if i == 0 else "")
        if labels:
            axes[i, 0].set_axis_on()
            axes[i, 0].set(xticks=[], yticks=[])
            axes[i, 0].spines[:].set_visible(False)
            axes[i, 0].set_ylabel(labels[i])
    return fig


def tile(images, columns, gap=1):
    """Images (N, C, H, W) as one, (C, rows (H + gap) − gap, columns (W + gap) − gap), white between them."""
    N, C, H, W = images.shape
    rows = -(-N // columns)
    out = images.new_ones(C, rows * (H + gap) - gap, columns * (W + gap) - gap)
    for i, image in enumerate(images):
        top, left = i // columns * (H + gap), i % columns * (W + gap)
        out[:, top : top + H, left : left + W] = image
    return out


def save_image(x, path, scale=1):
    """Write an image (C, H, W) in [-1, 1] as a PNG, each pixel scale × scale dots, over an existing file too."""
    _enlarged(x, scale).save(path, "PNG")


def save_animation(frames, path, scale=1, duration=125):
    """Write frames, images (C, H, W) in [-1, 1], as a WebP that loses nothing and begins again, as ``save_image`` does.

    Args:
        duration: of a frame, in milliseconds.
    """
    first, *rest = (_enlarged(x, scale) for x in frames)
    first.save(path, "WEBP", save_all=True, append_images=rest, duration=duration, loop=0, lossless=True)


def _enlarged(x, scale):
    """An image (C, H, W) in [-1, 1] as one of Pillow, each pixel scale × scale dots."""
    image = Image.fromarray((to_gray(x) * 255).round().astype("uint8"))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


@styled
def histogram_against_density(samples, density, titles, xlabel="$x_t$"):
    """Histograms of samples, a list of (n,), against exact densities on [-3.5, 3.5]; density: functions of x."""
    fig, ((*axes,),) = figure(8.4, 2.6, 1, len(samples), sharey=True, squeeze=False)
    x = torch.linspace(-3.5, 3.5, 400, dtype=torch.float64)
    for ax, points, p, title in zip(axes, samples, density, titles, strict=True):
        ax.hist(points.numpy(), bins=70, range=(-3.5, 3.5), density=True, color=SKY, label="samples")
        ax.plot(x, p(x), color=ORANGE, label="exact density")
        ax.set(title=title, xlabel=xlabel)
    axes[0].set_ylabel("density")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return fig


@styled
def walks_and_density(times, path, density, title, shown):
    """Some walks in one dimension against time, and a histogram of where all of them end beside the exact density.

    Args:
        times: (N + 1,), decreasing. path: (N + 1, n). density: (x (m,), p(x) (m,)) of the data. shown: walks drawn.
    """
    fig, (left, right) = figure(8.4, 3.2, 1, 2, width_ratios=(1.8, 1), sharey=True)
    marker = "." if len(times) <= 21 else ""
    left.plot(times, path[:, :shown], color=BLUE, lw=0.8, alpha=0.6, marker=marker, ms=3)
    left.set(xlabel="$t$", ylabel="$x_t$", ylim=(-2.6, 2.6))
    left.invert_xaxis()
    left.set_title(title)
    right.hist(
        path[-1].numpy(), bins=80, range=(-2.6, 2.6), density=True, orientation="horizontal", color=SKY, label="walks"
    )
    right.plot(density[1], density[0], color=ORANGE, lw=1.6, label="the data")
    right.set(xlabel="density at $t=0$", xlim=(0, 1.35))
    right.legend(loc="upper right")
    return fig


def draw_graph(ax, nodes, arrows):
    """A graphical model: circles with labels and arrows between them, on axes without frame.

    Args:
        nodes: dict label -> (x, y); a label that begins with "*" is drawn filled, as observed.
        arrows: list of (from, to, colour, bend, "-" or "--", text), labels without their "*".
    """
    places = {}
    for label, (x, y) in nodes.items():
        name = label.removeprefix("*")
        places[name] = (x, y)
        box = dict(
            boxstyle="circle,pad=0.35", facecolor="#dcebf5" if name != label else "white", edgecolor=GREY, lw=1.3
        )
        ax.text(x, y, name, ha="center", va="center", fontsize=12, bbox=box)
    for start, end, colour, bend, style, text in arrows:
        look = dict(
            arrowstyle="-|>", color=colour, lw=1.7, ls=style, shrinkA=17, shrinkB=17,
            connectionstyle=f"arc3,rad={bend}",
        )  # fmt: skip
        (a, b), (c, d) = places[start], places[end]
        ax.annotate("", (c, d), (a, b), arrowprops=look)
        lift = -bend * (c - a) / 2  # of an arc's middle, where both axes have one scale
        ax.annotate(
            text, ((a + c) / 2, (b + d) / 2 + lift), (0, 11 if lift >= 0 else -11), textcoords="offset points",
            ha="center", va="center", color=colour, fontsize=10,
        )  # fmt: skip
    ax.set_aspect("equal")
    ax.set_axis_off()
