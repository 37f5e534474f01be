"""What lesson 16 hands out: guidance as libraries write it, each counting from an end of its own."""

from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Guide:
    """A closed box: guide(with_y, without, scale) -> the guided answer, of the same form (ε, x_0, v or score).

    Its weight is γ = start + slope · scale: (0, 1) counts from the answer without a label, (1, 1) from that with one,
    which is w; (1, −1) has the sign of w turned.

    Attributes:
        name: says nothing of start and slope.
    Source: ledger GUIDE-10, E-47.
    """

    name: str
    start: float
    slope: float

    def __call__(self, with_y, without, scale):
        return without + (self.start + self.slope * scale) * (with_y - without)

    def __repr__(self):
        return f"the {self.name} box"


GUIDES = {box.name: box for box in (Guide("A", 0.0, 1.0), Guide("B", 1.0, 1.0), Guide("C", 1.0, -1.0))}
