"""The families of generative models as six small toys, and what it takes to compare them.

Each toy is a Module with ``loss(x, generator)`` to minimise, ``sample(n, generator)``, and ``latent``, the number of
random numbers in its latent variable. Those with an exact density have ``log_prob``, those with a lower bound on it
``bound``, and the energy-based one ``log_unnormalised``. ``report`` measures a trained toy against a known truth.

Source: van den Oord et al. 2016; Germain et al. 2015; Dinh et al. 2017; Goodfellow et al. 2014; LeCun et al. 2006;
ledger GEN-1 to GEN-6, M-36.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from . import vae
from .denoiser import Denoiser
from .gaussian import LOG_2PI, Gaussian
from .losses import sample_t
from .metrics import energy_distance, estimate, grid, modes
from .nets import mlp
from .nets.inspect import count_passes
from .process import q_sample
from .samplers import DDPM, langevin, sample
from .schedules import DiscreteSchedule, time_grid
from .tensors import home, randn_like, same_shape, to_device
from .vlb import vlb_terms


class Density(nn.Module):
    """A toy that knows its own density: what maximum likelihood needs is ``log_prob``."""

    def loss(self, x, generator=None):
        """−mean log p(x), in nats."""
        return -self.log_prob(x).mean()


class MaskedLinear(nn.Linear):
    """A linear layer whose weights are multiplied by a fixed mask (out, in) of zeros and ones."""

    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.to(self.weight))

    def forward(self, x):
        return nn.functional.linear(x, self.mask * self.weight, self.bias)


class MaskedNet(nn.Module):
    """(B, d) -> (B, d, outputs), where outputs i are functions of x_j with j < i only.

    Each unit has a degree; input j has degree j. A hidden unit of degree m sees units of degree ≤ m, output i sees
    hidden units of degree < i.

    Source: Germain et al. 2015, equations 12 and 13; ledger GEN-3.
    """

    def __init__(self, d, outputs, hidden=(64, 64)):
        super().__init__()
        inputs = torch.arange(1, d + 1)
        degrees = [inputs, *(torch.arange(h) % max(1, d - 1) + 1 for h in hidden)]
        layers = []
        for before, after in zip(degrees, degrees[1:], strict=False):
            layers += [MaskedLinear(after[:, None] >= before), nn.SiLU()]
        layers += [MaskedLinear(inputs.repeat_interleave(outputs)[:, None] > degrees[-1])]
        self.layers = nn.Sequential(*layers, nn.Unflatten(1, (d, outputs)))

    def forward(self, x):
        return self.layers(x)


class MaskedAR(Density):
    """log p(x) = Σ_i log p(x_i | x_{<i}) for d bits, each conditional a Bernoulli with a logit from one masked network.

    Source: Germain et al. 2015; ledger GEN-3.
    """

    latent = 0

    def __init__(self, d, hidden=(64, 64)):
        super().__init__()
        self.d, self.net = d, MaskedNet(d, 1, hidden)

    def logits(self, x):
        """The logit of P(x_i = 1 | x_{<i}): (B, d) -> (B, d)."""
        return self.net(x)[..., 0]

    def log_prob(self, x):
        """log p(x) in nats: (B, d) of zeros and ones -> (B,)."""
        return vae.Bernoulli(self.logits(x)).log_prob(x)

    @torch.no_grad()
    def sample(self, n, generator=None):
        """n draws, bit by bit, d passes through the network: (n, d)."""
        x = next(self.parameters()).new_zeros(n, self.d)
        for i in range(self.d):
            x[:, i] = vae.Bernoulli(self.logits(x)[:, i]).sample(generator)
        return x


class MixtureAR(Density):
    """log p(x) = Σ_i log p(x_i | x_{<i}) for d real numbers, each conditional a mixture of Gaussians.

    Source: ledger GEN-3.
    """

    latent = 0

    def __init__(self, d=2, components=8, hidden=(64, 64)):
        super().__init__()
        self.d, self.net = d, MaskedNet(d, 3 * components, hidden)
        with torch.no_grad():  # conditionals start spread out over the range of the data
            self.net.layers[-2].bias.normal_()

    def _conditionals(self, x):
        """log-weights, means and log-standard-deviations of all conditionals, each (B, d, components)."""
        log_w, mean, log_std = self.net(x).chunk(3, dim=-1)
        return log_w.log_softmax(-1), mean, log_std.clamp(-5, 3)

    def log_prob(self, x):
        """log p(x) in nats: (B, d) -> (B,)."""
        log_w, mean, log_std = self._conditionals(x)
        z = (x[..., None] - mean) * (-log_std).exp()
        return (log_w - log_std - 0.5 * (z**2 + LOG_2PI)).logsumexp(-1).sum(1)

    @torch.no_grad()
    def sample(self, n, generator=None):
        """n draws, one coordinate after the other, d passes: (n, d)."""
        x = next(self.parameters()).new_zeros(n, self.d)
        for i in range(self.d):
            log_w, mean, log_std = (v[:, i] for v in self._conditionals(x))
            device = log_w.device if generator is None else generator.device
            k = torch.multinomial(log_w.exp().to(device), 1, generator=generator).to(log_w.device)
            x[:, i] = Gaussian(mean.gather(1, k), (2 * log_std.gather(1, k)).exp()).sample(generator)[:, 0]
        return x


class Coupling(nn.Module):
    """z_a = x_a, z_b = (x_b − t(x_a)) exp(−s(x_a)): invertible whatever s and t are, log|det ∂z/∂x| = −Σ s.

    a is the first half of the coordinates, b the rest; |s| stays below 2.

    Source: Dinh et al. 2017, equations 4 to 8 (there x and z change places); ledger GEN-4.
    """

    def __init__(self, d, hidden=(64, 64)):
        super().__init__()
        self.split = d // 2
        self.net = mlp(self.split, *hidden, 2 * (d - self.split))

    def shift_and_log_scale(self, x):
        """t and s of every coordinate, (B, d) each: 0 for a, functions of a for b. z does in place of x: z_a = x_a."""
        a = x[:, : self.split]
        shift, raw = self.net(a).chunk(2, dim=1)
        still = torch.zeros_like(a)
        return torch.cat([still, shift], 1), torch.cat([still, 2 * torch.tanh(raw / 2)], 1)

    def forward(self, x):
        """(B, d) -> z (B, d) and log|det ∂z/∂x| (B,)."""
        shift, log_scale = self.shift_and_log_scale(x)
        return (x - shift) * (-log_scale).exp(), -log_scale.sum(1)

    def inverse(self, z):
        """(B, d) -> x (B, d)."""
        shift, log_scale = self.shift_and_log_scale(z)
        return z * log_scale.exp() + shift


class RealNVP(Density):
    """log p(x) = log N(z; 0, I) + log|det ∂z/∂x| with z = f(x), f a chain of couplings and reversals.

    Source: Dinh et al. 2017, equations 2 and 3; ledger GEN-4.
    """

    def __init__(self, d=2, layers=6, hidden=(64, 64)):
        super().__init__()
        if d < 2:
            raise ValueError(f"a coupling needs at least two coordinates, got d = {d}")
        self.latent = d
        self.couplings = nn.ModuleList(Coupling(d, hidden) for _ in range(layers))

    def forward(self, x):
        """(B, d) -> z (B, d) and log|det ∂z/∂x| (B,)."""
        log_det = x.new_zeros(len(x))
        for coupling in self.couplings:
            x, change = coupling(x)
            x, log_det = x.flip(1), log_det + change
        return x, log_det

    def inverse(self, z):
        """The x that ``forward`` maps to z."""
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z.flip(1))
        return z

    def log_prob(self, x):
        """log p(x) in nats: (B, d) -> (B,)."""
        z, log_det = self(x)
        return Gaussian(torch.zeros_like(z), 1.0).log_prob(z) + log_det

    @torch.no_grad()
    def sample(self, n, generator=None):
        """n draws, one pass: (n, d)."""
        return self.inverse(randn_like(next(self.parameters()).new_zeros(n, self.latent), generator))


def gan_losses(d_real, d_fake):
    """The two losses of a GAN from the discriminator's logits.

    loss_D = −E log D(x) − E log(1 − D(G(z))); loss_G = −E log D(G(z)), the form that does not saturate; D = σ(logit).

    Args:
        d_real, d_fake: logits (B,), for data and for samples of the generator.
    Returns:
        (loss_D, loss_G), scalars.
    Source: Goodfellow et al. 2014, equation 1 and section 3; ledger GEN-5.
    """
    loss_d = nn.functional.softplus(-d_real).mean() + nn.functional.softplus(d_fake).mean()
    return loss_d, nn.functional.softplus(-d_fake).mean()


def gan_value(p, p_g, D):
    """V = Σ_x p(x) log D(x) + p_g(x) log(1 − D(x)) on a finite space, in nats; all (K,).

    Source: Goodfellow et al. 2014, equations 1 and 3; ledger GEN-5.
    """
    same_shape(p=p, p_g=p_g, D=D)
    return torch.special.xlogy(p, D).sum() + torch.special.xlogy(p_g, 1 - D).sum()


def optimal_discriminator(p, p_g):
    """D*(x) = p(x) / (p(x) + p_g(x)), the D of the largest value.

    Source: Goodfellow et al. 2014, proposition 1; ledger GEN-5.
    """
    same_shape(p=p, p_g=p_g)
    return p / (p + p_g)


class GAN(nn.Module):
    """A generator z -> x and a discriminator x -> logit, trained against each other.

    Source: Goodfellow et al. 2014; ledger GEN-5.
    """

    def __init__(self, d=2, latent=2, hidden=(64, 64)):
        super().__init__()
        self.latent = latent
        self.generator, self.discriminator = mlp(latent, *hidden, d), mlp(d, *hidden, 1)

    def loss(self, x, generator=None):
        """loss_D + loss_G, each reaching only the weights of its own player, so that one optimiser serves both."""
        fake = self.generator(randn_like(x.new_zeros(len(x), self.latent), generator))
        loss_d, _ = gan_losses(self.discriminator(x)[:, 0], self.discriminator(fake.detach())[:, 0])
        frozen = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        judged = torch.func.functional_call(self.discriminator, frozen, fake)[:, 0]
        return loss_d + gan_losses(judged, judged)[1]

    @torch.no_grad()
    def sample(self, n, generator=None):
        """n draws, one pass through the generator: (n, d)."""
        return self.generator(randn_like(next(self.parameters()).new_zeros(n, self.latent), generator))


class EBM(nn.Module):
    """p(x) = exp(−E(x)) / Z with any network as the energy E, and Z = ∫ exp(−E(x)) dx unknown.

    Args:
        energy: module (B, ...) -> (B,).
        quadrature: the Grid on which ``loss`` takes Z. Possible in two dimensions only; elsewhere samples stand in.
        start: side of the square from which ``sample`` starts. steps, step_size: of its Langevin walk.
    Source: LeCun et al. 2006; Song & Kingma 2021, equations 1 and 9; ledger GEN-6.
    """

    latent = 0

    def __init__(self, energy, quadrature=None, start=2.5, steps=300, step_size=0.002):
        super().__init__()
        self.energy, self.quadrature = energy, quadrature
        points = None if quadrature is None else quadrature.points
        self.register_buffer("_points", points, persistent=False)  # so that they go where the weights go
        self.start, self.steps, self.step_size = start, steps, step_size

    def log_unnormalised(self, x):
        """−E(x), which is log p(x) up to the unknown constant: (B, ...) -> (B,)."""
        return -self.energy(x)

    def score(self, x):
        """∇ log p(x) = −∇E(x): Z does not depend on x and drops out. (B, ...) -> (B, ...)."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.log_unnormalised(x).sum(), x)[0]

    def langevin(self, x, steps, step_size, generator=None):
        """Repeat x ← x + h ∇ log p(x) + √(2h) ξ, ξ ~ N(0, I), h = step_size: (B, ...) -> (B, ...)."""
        return langevin(self.score, x, steps, step_size, generator)

    def loss(self, x, generator=None):
        """−mean log p(x) = mean E(x) + log Z, Z by quadrature, in nats."""
        return self.energy(x).mean() + self.quadrature.log_integral(-self.energy(self._points))

    def sample(self, n, generator=None):
        """n Langevin walks from uniform starts: (n, 2)."""
        u = to_device(torch.rand(n, 2, generator=generator, device=home(generator)), next(self.parameters()).device)
        return self.langevin(u * (2 * self.start) - self.start, self.steps, self.step_size, generator)


class PlaneEnergy(nn.Module):
    """E(x) = network(x) + ‖x‖²/8: the second term makes Z finite whatever the network does far away."""

    def __init__(self, d=2, hidden=(64, 64)):
        super().__init__()
        self.net = mlp(d, *hidden, 1)

    def forward(self, x):
        return self.net(x)[:, 0] + x.square().sum(1) / 8


class PlaneVAE(nn.Module):
    """The VAE of lesson 03 for points of the plane, with a Gaussian likelihood of learned variance.

    Source: Kingma & Welling 2014; ledger GEN-2, LVM-1.
    """

    def __init__(self, d=2, latent=2, hidden=(64, 64)):
        super().__init__()
        self.latent, self.model = latent, vae.mlp_vae((d,), latent, hidden, likelihood="gaussian")
        with torch.no_grad():  # from variance 1 it would stay there: z unused, p(x | z) one broad Gaussian (lesson 03)
            self.model.likelihood.log_variance.fill_(-3.0)

    def loss(self, x, generator=None):
        """−mean ELBO, in nats."""
        return vae.objective(self.model.terms(x, generator=generator))

    def bound(self, x, generator=None, samples=50):
        """The ELBO from so many draws of z for each x, a lower bound on log p(x), in nats: (B, d) -> (B,)."""
        return self.model.terms(x, samples=samples, generator=generator).elbo

    @torch.no_grad()
    def sample(self, n, generator=None):
        """n draws of x, the noise of p(x | z) included: (n, d)."""
        return self.model.decode(self.model.prior(n).sample(generator)).sample(generator)


class _TimeNet(nn.Module):
    """(x_t, t) -> ε̂: an MLP that sees sines and cosines of t/T beside x_t."""

    def __init__(self, d, T, hidden):
        super().__init__()
        self.T, self.net = T, mlp(d + 8, *hidden, d)

    def forward(self, x_t, t):
        octaves = to_device(torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=x_t.dtype, device="cpu"), x_t.device)
        angle = (t / self.T).to(x_t)[:, None] * octaves * math.pi
        return self.net(torch.cat([x_t, angle.sin(), angle.cos()], 1))


class Diffusion(nn.Module):
    """A denoising diffusion model of points: predict the noise in x_t, then walk back from N(0, I) in T steps.

    Source: Ho et al. 2020, algorithms 1 and 2; ledger GEN-2.
    """

    def __init__(self, d=2, T=100, hidden=(128, 128)):
        super().__init__()
        log_snr = torch.linspace(7, -7, T, device="cpu")  # falls evenly
        alpha_bar = torch.cat([torch.ones(1, device="cpu"), log_snr.sigmoid()]).double()
        self.d, self.schedule, self.latent = d, DiscreteSchedule(1 - alpha_bar[1:] / alpha_bar[:-1]), d * T
        self.denoiser = Denoiser(_TimeNet(d, T, hidden), self.schedule)

    def loss(self, x, generator=None):
        """Mean squared error of the predicted noise at one random t for each example."""
        t = sample_t(self.schedule, len(x), generator)
        eps = randn_like(x, generator)
        return (self.denoiser(q_sample(self.schedule, x, t, eps), t).eps - eps).square().mean()

    @torch.no_grad()
    def bound(self, x, generator=None):
        """The variational bound on log p(x), one draw of x_t at every t, in nats: (B, d) -> (B,).

        Lesson 07 derives it.
        """
        return -vlb_terms(self.denoiser, x, generator, decoder="gaussian").total

    def sample(self, n, generator=None):
        """n draws, T passes: (n, d)."""
        x_T = randn_like(next(self.parameters()).new_zeros(n, self.d), generator)
        return sample(self.denoiser, DDPM("beta"), x_T, time_grid(self.schedule, self.schedule.T), generator)


def toys(quadrature=None):
    """The six toys for data in the plane, untrained: a dict name -> Module. quadrature: the Grid of the energy's Z.

    Source: ledger GEN-2, M-36.
    """
    return {
        "autoregressive": MixtureAR(),
        "flow": RealNVP(),
        "GAN": GAN(),
        "energy-based": EBM(PlaneEnergy(hidden=(128, 128)), grid(n=65) if quadrature is None else quadrature),
        "VAE": PlaneVAE(),
        "diffusion": Diffusion(),
    }


RECIPES = {  # steps of 256 points, learning rate, and Adam's first decay rate: enough for data like ``ring``
    "autoregressive": (1000, 5e-3, 0.9),
    "flow": (1200, 5e-3, 0.9),
    "GAN": (2500, 1e-3, 0.5),
    "energy-based": (500, 5e-3, 0.9),
    "VAE": (1500, 3e-3, 0.9),
    "diffusion": (2500, 2e-3, 0.9),
}


def batch_loss(model, batch, generator, step):
    """A toy's own loss in the form that ``training.fit`` calls."""
    return model.loss(batch, generator)


@dataclass(frozen=True, eq=False)
class Row:
    """One family, measured; see ``report``.

    Attributes:
        density: "exact", "up to Z", "a bound" or "none".
        integral: ∫ of what the model says p(x) is, over the plane; None where it says nothing or it would be noise.
        gap: Estimate of E[log p(x) − log p_model(x)], or of its upper bound, in nats; None where there is no density.
        latent, passes: random numbers in the latent variable; passes through the network for one sample.
        distance: energy distance of samples to the truth, an Estimate.
        found: modes that hold at least a quarter of their share. stray: share of samples at no mode.
        seconds: training time.
    """

    name: str
    density: str
    integral: float | None
    gap: object
    latent: int
    passes: int
    distance: object
    found: int
    stray: float
    seconds: float


@torch.no_grad()
def report(name, model, truth, square, seconds=0.0, n=5000, generator=None):
    """Measure a trained toy, on whichever device it is, against the known truth.

    Args:
        truth: GaussianMixture in the plane. square: the Grid for integrals.
        seconds: training time, passed through. n: number of samples and of held-out points.
    Returns:
        Row.
    Source: ledger GEN-2.
    """
    device, draws = next(model.parameters()).device, {}
    held_out, points = to_device(truth.sample(n, generator), device), to_device(square.points, device)
    passes = count_passes(model, lambda: draws.update(x=model.sample(n, generator)))
    density, integral, log_p = "none", None, None
    if hasattr(model, "log_prob"):
        density, log_p = "exact", model.log_prob(held_out)
        integral = square.log_integral(model.log_prob(points)).exp().item()
    elif hasattr(model, "log_unnormalised"):
        log_z = square.log_integral(model.log_unnormalised(points))
        density, integral, log_p = "up to Z", log_z.exp().item(), model.log_unnormalised(held_out) - log_z
    elif hasattr(model, "bound"):
        density, log_p = "a bound", model.bound(held_out, generator)
        if isinstance(model, PlaneVAE):
            integral = square.log_integral(model.bound(points, generator)).exp().item()
    gap = None if log_p is None else estimate(truth.log_prob(held_out) - log_p)
    share, stray = modes(draws["x"], truth)
    distance = energy_distance(draws["x"], to_device(truth.sample(n, generator), device))
    return Row(
        name, density, integral, gap, model.latent, passes, distance, int((share >= truth.weights / 4).sum()), stray,
        seconds,
    )  # fmt: skip


def table(rows):
    """The rows of ``report`` as text: a line of header and one for each family.

    Source: ledger GEN-2.
    """
    total = sum(row.seconds for row in rows) or 1.0
    lines = [
        f"{'':14s}{'density':>7s} {'∫':>5s} {'gap (nats)':>13s} {'latent':>6s} {'passes':>6s} "
        f"{'1000·dist.':>10s} {'modes':>5s} {'stray':>5s} {'time':>4s}"
    ]
    for r in rows:
        integral = "–" if r.integral is None else f"{r.integral:.3f}" if r.integral < 10 else f"{r.integral:.1f}"
        gap = "–" if r.gap is None else f"{r.gap.value:.3f} ± {r.gap.error:.3f}"
        distance = f"{1000 * r.distance.value:.1f} ± {1000 * r.distance.error:.1f}"
        lines.append(
            f"{r.name:14s}{r.density:>7s} {integral:>5s} {gap:>13s} {r.latent:>6d} {r.passes:>6d} "
            f"{distance:>10s} {r.found:>5d} {r.stray:>5.1%} {r.seconds / total:>4.0%}"
        )
    return "\n".join(lines)
