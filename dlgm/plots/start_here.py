"""The figures of lesson 00: the picture of the course, and its chain."""

from . import BLUE, ORANGE, draw_image, figure, image_rows, styled


@styled
def there_and_back(forth, back, times):
    """A picture dissolves, and noise becomes a picture; the lower row is read from right to left.

    Args:
        forth, back: (C, H, W) each, as many as times, both ordered by rising t.
    """
    return image_rows([forth, back], [f"t = {t}" for t in times], labels=("forward", "reverse"))


@styled
def chain(images, names):
    """The chain: pictures (C, H, W) from clean to noise, arrows to the right for q and to the left for p."""
    fig, axes = figure(8.0, 1.75, 1, len(images))
    fig.get_layout_engine().set(wspace=0.3)
    for ax, x, name in zip(axes, images, names, strict=True):
        draw_image(ax, x, f"${name}$")
    look = dict(xycoords="axes fraction", textcoords="axes fraction", annotation_clip=False)
    for ax in axes[:-1]:
        for y, colour, style in ((0.62, BLUE, "->"), (0.38, ORANGE, "<-")):
            arrow = dict(arrowstyle=style, color=colour, lw=1.8)
            ax.annotate("", (1.42, y), xytext=(1.02, y), arrowprops=arrow, **look)
    fig.supxlabel("blue: $q$, fixed, adds noise        orange: $p_\\theta$, learned, removes it", fontsize=9.5)
    return fig
