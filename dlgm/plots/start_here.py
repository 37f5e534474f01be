"""The figure of lesson 00, which is the picture of the course."""

from . import image_rows, styled


@styled
def there_and_back(forth, back, times):
    """A picture dissolves, and noise becomes a picture; the lower row is read from right to left.

    Args:
        forth, back: (C, H, W) each, as many as times, both ordered by rising t.
    """
    return image_rows([forth, back], [f"t = {t}" for t in times], labels=("forward", "reverse"))
