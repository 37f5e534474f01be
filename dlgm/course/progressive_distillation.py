"""What lesson 17 hands out: targets of distillation as people write them, right and with one fault in the walk."""

from dataclasses import dataclass

from ..distillation import ddim_step, implied_x0
from ..tensors import known

FAULTS = (None, "exchanged", "asked once", "told t again", "one pair late", "solved from the middle")


@dataclass(frozen=True, eq=False, repr=False)
class Loop:
    """A closed box, what a distillation loop gives its student to learn: loop(teacher, x_t, i), x_t at times[2i].

    Without a fault the teacher steps from times[2i] by way of times[2i + 1] to times[2i + 2], and what comes back is
    the x̂_0 whose one step ends where these two do. teacher(x_t, t) gives x̂_0.

    Attributes:
        name: says nothing of the fault.
        schedule, times: the teacher's; 2N + 1 times for a student of N steps.
        fault: "exchanged" walks to times[2i + 2] and from there to times[2i + 1]; "asked once" takes both steps with
            the first answer; "told t again" asks at the middle and says that it is still at times[2i]; "one pair late"
            stops at the two times of the pair that follows, if there is one; "solved from the middle" solves for the
            step that starts at times[2i + 1].
    Source: ledger DIST-2, DIST-3; diffusers issue 1010.
    """

    name: str
    schedule: object
    times: tuple
    fault: str | None = None

    def __post_init__(self):
        known("fault", self.fault, FAULTS)

    def __call__(self, teacher, x_t, i):
        k = 2 * min(i + (self.fault == "one pair late"), len(self.times) // 2 - 1)
        t, m, s = self.times[2 * i], self.times[k + 1], self.times[k + 2]
        if self.fault == "exchanged":
            m, s = s, m
        first = teacher(x_t, t)
        x_m = ddim_step(self.schedule, x_t, first, t, m)
        second = first if self.fault == "asked once" else teacher(x_m, t if self.fault == "told t again" else m)
        x_s = ddim_step(self.schedule, x_m, second, m, s)
        if self.fault == "solved from the middle":
            return implied_x0(self.schedule, x_m, x_s, m, s)
        return implied_x0(self.schedule, x_t, x_s, t, s)

    def __repr__(self):
        return f"the {self.name} loop"


def loops(schedule, times):
    """Five boxes "A" to "E" around that walk: a dictionary."""
    faults = ("asked once", None, "solved from the middle", "one pair late", "exchanged")
    return {name: Loop(name, schedule, tuple(times), fault) for name, fault in zip("ABCDE", faults, strict=True)}
