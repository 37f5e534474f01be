"""What lesson 16 hands out: guidance as libraries write it, each with a convention of its own."""

from dataclasses import dataclass

from ..tensors import known

CONVENTIONS = {  # name -> γ as (at scale 0, for each unit of scale), the weight of the implied classifier
    "from the conditional answer": (1.0, 1.0),
    "from the unconditional answer": (0.0, 1.0),
    "sign turned": (1.0, -1.0),
    "halved": (1.0, 0.5),
    "scale 1 is none": (-1.0, 1.0),
}


@dataclass(frozen=True, repr=False)
class Guide:
    """A closed box: guide(with_y, without, scale) -> the guided answer, of the same form (ε, x_0, v or score).

    Attributes:
        name: says nothing of the convention.
        convention: one of CONVENTIONS.
    Source: ledger GUIDE-10, E-47.
    """

    name: str
    convention: str

    def __post_init__(self):
        known("convention", self.convention, CONVENTIONS)

    def __call__(self, with_y, without, scale):
        start, slope = CONVENTIONS[self.convention]
        gamma = start + slope * scale
        return without + gamma * (with_y - without)

    def __repr__(self):
        return f"the {self.name} box"


GUIDES = {
    box.name: box
    for box in (
        Guide("A", "from the unconditional answer"), Guide("B", "from the conditional answer"),
        Guide("C", "sign turned"),
    )
}  # fmt: skip
