"""What lesson 11 hands out: DDIM steps as people write them, right and with one fault."""

from dataclasses import dataclass

from ..tensors import known

FAULTS = (None, "table", "never clean", "one too noisy", "on top", "old noise")


def step(alpha_bar, x_t, eps, s, t, eta=0.0, z=0.0, fault=None, clip=False):
    """x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ z, from t to s, with one fault of public samplers.

    Args:
        fault: "table" takes ᾱ_{t−1} for ᾱ_s, "never clean" ᾱ_1 for ᾱ_0, "one too noisy" ᾱ_{s+1}; "on top" adds σ z
            without taking σ² from the direction; "old noise" clips x̂_0 and keeps the ε̂ that belonged to it before.
        clip: keep x̂_0 in [−1, 1], and take the ε̂ that goes with it.
    Source: ledger DDIM-6, DDIM-9.
    """
    known("fault", fault, FAULTS)
    index = {"table": t - 1, "never clean": max(s, 1), "one too noisy": s + 1}.get(fault, s)
    a_s, a_t = alpha_bar[index], alpha_bar[t]
    x0 = (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()
    if clip:
        x0 = x0.clamp(-1, 1)
        eps = eps if fault == "old noise" else (x_t - a_t.sqrt() * x0) / (1 - a_t).sqrt()
    sigma2 = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    left = 1 - a_s if fault == "on top" else 1 - a_s - sigma2
    return a_s.sqrt() * x0 + left.sqrt() * eps + sigma2.sqrt() * z


@dataclass(frozen=True, repr=False)
class Code:
    """A closed box around ``step`` of η = 0, called as code(alpha_bar, x_t, eps, s, t)."""

    name: str  # says nothing of the fault
    fault: str | None = None

    def __call__(self, alpha_bar, x_t, eps, s, t):
        return step(alpha_bar, x_t, eps, s, t, fault=self.fault)

    def __repr__(self):
        return f"the {self.name} code"


CODES = {
    code.name: code for code in (Code("A", "table"), Code("B", "never clean"), Code("C", "one too noisy"), Code("D"))
}
