"""Restoration against exact worlds: transposes, the law that each method draws from, its bias. Ledger APP-1, 3, 4."""

import math

import pytest
import torch

from dlgm import restoration
from dlgm.denoiser import Prediction
from dlgm.oracles import GaussianMixture, affine
from dlgm.restoration import Linear, NullSpace, Reconstruction, RePaint, Replacement, Views, edit, outpaint
from dlgm.samplers import DDIM, DDPM, Euler, EulerMaruyama, Heun, Rule, sample
from dlgm.schedules import DiscreteSchedule, VPCosine, cosine_beta, linear_beta, time_grid

F64 = torch.float64
SHAPE = (3, 6, 6)
SEEN = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.6
OPERATORS = {
    "mask": restoration.mask(SEEN),
    "downsample": restoration.downsample(SHAPE, 3),
    "grey": restoration.grey(SHAPE),
    "blur": restoration.box_blur(SHAPE, 3),
    "matrix": restoration.matrix(torch.randn(4, 7, generator=torch.Generator().manual_seed(1), dtype=F64)),
}


def draws(operator, n=3, seed=2):
    return torch.randn(n, *operator.shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def dense(operator):
    """A as a matrix, by columns."""
    unit = torch.eye(math.prod(operator.shape), dtype=F64)
    return operator(unit.reshape(-1, *operator.shape)).flatten(1).T


@pytest.mark.parametrize("name", OPERATORS)
def test_app_3_transposes_systems_and_inverses(name):
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩; the solver against a dense matrix; A⁺ the shortest x with A x = y."""
    operator, x = OPERATORS[name], draws(OPERATORS[name])
    y, A = operator(draws(operator, seed=3)), dense(operator)
    torch.testing.assert_close((operator(x) * y).sum(), (x * operator.transpose(y)).sum())
    for spread, noise_var in ((1.0, 0.0), (0.3, 0.2), (0.0, 0.5)):
        found = operator.solve(y, spread, noise_var).flatten(1)
        system = spread * A @ A.T + noise_var * torch.eye(len(A), dtype=F64)
        torch.testing.assert_close(found @ system, y.flatten(1), rtol=1e-6, atol=1e-7)
    shortest = operator.inverse(y)
    torch.testing.assert_close(operator(shortest), y, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(shortest.flatten(1), y.flatten(1) @ torch.linalg.pinv(A).T, rtol=1e-5, atol=1e-6)
    if operator.gram is not None:
        torch.testing.assert_close(operator(operator.transpose(y)), operator.gram * y)


def test_app_3_what_the_operators_see():
    x = torch.arange(12.0, dtype=F64).reshape(1, 3, 2, 2)
    assert restoration.grey((3, 2, 2))(x).flatten().tolist() == [4, 5, 6, 7]
    assert restoration.downsample((3, 2, 2), 2)(x).flatten().tolist() == [1.5, 5.5, 9.5]
    ring = restoration.box_blur((1, 1, 5), 1)(torch.arange(5.0).reshape(1, 1, 1, 5))
    assert ring.flatten().tolist() == [0, 1, 2, 3, 4]
    row = torch.zeros(1, 1, 3, 6)
    row[..., 0] = 3.0  # a column, blurred round the edge
    assert restoration.box_blur((1, 3, 6), 3)(row)[0, 0, 1].tolist() == pytest.approx([1, 1, 0, 0, 0, 1])
    known = torch.tensor([True, False])
    assert restoration.mask(known)(torch.tensor([[2.0, math.nan]])).tolist() == [[2.0, 0.0]]


def test_mistakes_end_in_a_sentence():
    for make, message in (
        (lambda: restoration.downsample((3, 6, 5), 3), r"expected sides that 3 divides, got \(3, 6, 5\)"),
        (lambda: restoration.box_blur((1, 4, 4), 2), "expected an odd width, got 2"),
        (
            lambda: OPERATORS["grey"](torch.zeros(2, 3, 5, 6)),
            r"of shape \(3, 6, 6\), got \(3, 5, 6\)",
        ),
        (lambda: OPERATORS["mask"].solve(torch.zeros(1, *SHAPE), 0.0, 0.0), "got 0.0 and 0.0.*no width"),
        (lambda: RePaint(DDPM(), KNOWN, ONE, 0), "expected resamplings >= 1, got 0"),
        (lambda: outpaint(None, torch.zeros(1, 1, 2, 4), 3, [1, 0], 4), "expected 1 <= overlap < 4, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


# ---- two numbers with correlation .8, the first of which is 1 -------------------------------------------------------
COV = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
PAIR, ZERO, EYE = GaussianMixture([1.0], [[0.0, 0.0]], COV[None]), torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)
KNOWN, ONE = torch.tensor([True, False]), torch.tensor([[1.0, math.nan]], dtype=F64)
LINEAR = linear_beta()
FIRST = restoration.matrix([[1.0, 0.0]])


def law(sampler, steps, denoiser=None, schedule=LINEAR):
    return affine.walk_law(denoiser or PAIR.denoiser(schedule), sampler, time_grid(schedule, steps), ZERO, EYE)


def test_app_3_replacement_is_biased_and_no_number_of_steps_helps():
    """APP-3, M-38: mean .499 where .8 is right, variance .496 where .36 is."""
    right = affine.conditional(ZERO, COV, torch.tensor([[1.0, 0.0]], dtype=F64), torch.ones(1, dtype=F64))
    assert right[0].tolist() == pytest.approx([1.0, 0.8]) and right[1][1, 1].item() == pytest.approx(0.36)
    found = {N: law(Replacement(DDPM("beta"), KNOWN, ONE), N) for N in (100, 1000)}
    assert [round(mean[1].item(), 3) for mean, _ in found.values()] == [0.490, 0.499]
    assert round(found[1000][1][1, 1].item(), 3) == 0.496
    for mean, cov in found.values():
        assert mean[0].item() == 1.0 and cov[0].abs().max().item() == 0.0


def test_app_3_resampling_mends_most_and_costs_calls():
    """M-38: with more resamplings the mean nears .8; one is replacement; the calls are counted."""
    schedule = DiscreteSchedule(torch.linspace(0.01, 0.3, 20).tolist())
    calls = []

    class Counted:
        def __init__(self):
            self.schedule, self.exact = schedule, PAIR.denoiser(schedule)

        def __call__(self, x_t, t):
            calls.append(t)
            return self.exact(x_t, t)

    means = []
    for n in (1, 3, 20):
        means.append(law(RePaint(DDPM("beta"), KNOWN, ONE, n), 20, schedule=schedule)[0][1].item())
        calls.clear()
        x_T = torch.zeros(1, 2, dtype=F64)
        sample(Counted(), RePaint(DDPM(), KNOWN, ONE, n), x_T, time_grid(schedule, 20))
        assert len(calls) == 19 * n + 1
    plain = law(Replacement(DDPM("beta"), KNOWN, ONE), 20, schedule=schedule)[0][1].item()
    assert means[0] == plain < means[1] < means[2] < 0.8 and means[2] > 0.7


@pytest.mark.parametrize("make", (Replacement, lambda *a: RePaint(*a, 3)), ids=("replacement", "repaint"))
def test_m_38_the_law_is_that_of_samples(make):
    """The recursion against 40,000 walks."""
    schedule, g = DiscreteSchedule(torch.linspace(0.01, 0.3, 12).tolist()), torch.Generator().manual_seed(3)
    sampler = make(DDPM("beta"), KNOWN, ONE)
    mean, cov = law(sampler, 12, schedule=schedule)
    x = sample(PAIR.denoiser(schedule), sampler, schedule.start((40_000, 2), g, F64), time_grid(schedule, 12), g)
    error = (cov[1, 1] / 40_000).sqrt().item()
    assert (x[:, 0] == 1).all()
    assert x[:, 1].mean().item() == pytest.approx(mean[1].item(), abs=5 * error)
    assert x[:, 1].var().item() == pytest.approx(cov[1, 1].item(), rel=5 * math.sqrt(2 / 40_000))


def test_m_38_the_law_of_plain_walks_is_the_spectrum_s_in_its_axes():
    """``affine`` against ``Spectrum``: a rotation apart."""
    from dlgm.oracles import Spectrum

    values, axes = torch.linalg.eigh(COV)
    for sampler in (DDPM(), DDPM("beta"), DDIM(), DDIM(0.5), Heun(), EulerMaruyama(), Euler()):
        schedule = VPCosine() if isinstance(sampler, EulerMaruyama) else LINEAR
        times = time_grid(schedule, 15, start=0.98 if schedule is not LINEAR else None)
        mean, cov = affine.walk_law(PAIR.denoiser(schedule), sampler, times, ZERO, EYE)
        want = Spectrum(values).walk(sampler, schedule, times)
        torch.testing.assert_close(axes.T @ cov @ axes, torch.diag(want.var[0]), rtol=1e-9, atol=1e-12)
        assert mean.abs().max() < 1e-12
    with pytest.raises(ValueError, match="is not affine in the state"):
        law(Rule(lambda x, p, t, s, z: x**2), 5)
    with pytest.raises(ValueError, match="is not affine in the state"):
        affine.walk_law(GaussianMixture([0.5, 0.5], [[1.0], [-1.0]], [[[0.1]]] * 2).denoiser(LINEAR), DDIM(),
                        [500, 0], ZERO[:1], EYE[:1, :1])  # fmt: skip


def exact_spread(schedule, t):
    """Var(x_0 | x_t) of the first coordinate."""
    signal, noise = float(schedule.signal(t)), float(schedule.noise(t))
    return affine.conditional(ZERO, COV, signal * EYE, ZERO, noise**2)[1][0, 0].item()


def test_app_3_reconstruction_is_exact_for_one_weight_only():
    """APP-3, M-38: with the exact variance the walk ends at p(x_0 | y); any other weight or variance is another law."""
    std, y = 0.5, torch.tensor([[1.0]], dtype=F64)
    mean, cov = affine.conditional(ZERO, COV, torch.tensor([[1.0, 0.0]], dtype=F64), y[0], std**2)

    def gap(spread, weight=1.0, steps=1000):
        guide = Reconstruction(PAIR.denoiser(LINEAR), FIRST, y, std, spread, weight)
        m, c = law(DDPM("beta"), steps, guide)
        return max((m - mean).abs().max().item(), (c - cov).abs().max().item())

    assert gap(exact_spread) < 0.01 < 0.02 < gap(restoration.of_unit_data, steps=300)
    assert gap(restoration.none, steps=300) > 0.1
    assert min(gap(exact_spread, w, 300) for w in (0.5, 2.0)) > 0.05


def test_m_38_the_push_is_the_gradient_in_every_form():
    """∇ log N(y; A x̂_0, (σ_y² + r²) I) by hand; the answer keeps its form; w = 0 is the plain answer."""
    exact, x, y = PAIR.denoiser(LINEAR), draws(FIRST), torch.tensor([[1.0]], dtype=F64)
    signal, noise = float(LINEAR.signal(400)), float(LINEAR.noise(400))
    gain = signal * COV @ torch.linalg.inv(signal**2 * COV + noise**2 * EYE)
    by_hand = (1 - x @ gain.T[:, :1]) / (0.1**2 + 0.3) * gain[0]

    class As:
        schedule = LINEAR

        def __init__(self, kind):
            self.kind = kind

        def __call__(self, x_t, t):
            return Prediction(LINEAR, x_t, t, **{self.kind: getattr(exact(x_t, t), self.kind)})

    for kind in ("eps", "x0", "v", "score"):
        for weight in (0.0, 1.0, 2.5):
            p = Reconstruction(As(kind), FIRST, y, 0.1, lambda schedule, t: 0.3, weight)(x, 400)
            assert p.kind == kind and not p.x0.requires_grad
            torch.testing.assert_close(p.score, exact(x, 400).score + weight * by_hand)


def test_m_38_how_much_too_sure_a_likelihood_without_spread_is():
    """(σ_y² + r²)/σ_y² = 51 at ᾱ = .5, data N(0, 1), σ_y = .1."""
    schedule, unit = DiscreteSchedule([0.5]), GaussianMixture([1.0], [[0.0]], [[[1.0]]])
    x, y = torch.tensor([[0.3]], dtype=F64), torch.tensor([[1.0]], dtype=F64)
    plain = unit.denoiser(schedule)(x, 1).score
    sure, right = (
        Reconstruction(unit.denoiser(schedule), restoration.matrix([[1.0]]), y, 0.1, spread)(x, 1).score - plain
        for spread in (restoration.none, restoration.of_unit_data)
    )
    assert (sure / right).item() == pytest.approx(51)


def test_app_3_null_space_keeps_what_is_measured():
    """A x̂_0 = y; the rest of x̂_0 as it was; walks end with A x_0 = y."""
    exact, y, x = PAIR.denoiser(LINEAR), torch.tensor([[0.7]], dtype=F64), draws(FIRST)
    both = restoration.matrix([[1.0, 2.0]])
    p, plain = NullSpace(exact, both, y)(x, 300), exact(x, 300)
    torch.testing.assert_close(both(p.x0), y.expand(3, 1))
    moved = p.x0 - plain.x0
    torch.testing.assert_close(moved[:, 0] * 2, moved[:, 1])
    drawn = sample(NullSpace(exact, both, y), DDPM(), x, time_grid(LINEAR, 20), torch.Generator().manual_seed(4))
    torch.testing.assert_close(both(drawn), y.expand(3, 1))


def test_app_4_the_two_ends_of_an_edit():
    """APP-4: from small t the picture comes back, from T it is forgotten; in between the walk down keeps a share."""
    schedule = cosine_beta()
    exact, x = PAIR.denoiser(schedule), torch.tensor([[3.0, -3.0]], dtype=F64).expand(2000, 2)
    g = torch.Generator().manual_seed(5)
    ends = {t: edit(exact, x, time_grid(schedule, 60 if t > 60 else 20, start=t), generator=g) for t in (20, 400, 1000)}
    far = {t: (e - x).square().sum(1).mean().sqrt().item() for t, e in ends.items()}
    assert far[20] < 0.2 < 0.5 < far[400] < far[1000]
    assert ends[1000].mean(0).abs().max() < 0.1
    torch.testing.assert_close(torch.cov(ends[1000].T), COV, rtol=0, atol=0.15)
    noisy = edit(exact, x[:50], time_grid(schedule, 20, start=400), DDPM(), torch.Generator().manual_seed(6))
    assert noisy.shape == (50, 2) and not torch.equal(noisy, ends[400][:50])


class Rows:
    """The exact denoiser of rows that are nearly constant: Gaussian, correlation .95 between columns, width 4."""

    def __init__(self, schedule, width=4):
        cov = 0.95 + 0.05 * torch.eye(width, dtype=F64)
        self.schedule, self.world = schedule, GaussianMixture([1.0], [[0.0] * width], cov[None])

    def __call__(self, x_t, t):
        x0 = self.world.denoiser(self.schedule)(x_t.flatten(0, 2), t).x0.reshape(x_t.shape)
        return Prediction(self.schedule, x_t, t, x0=x0)


def test_app_3_outpainting_goes_on_from_what_is_there():
    schedule, g = DiscreteSchedule(torch.linspace(0.01, 0.4, 15).tolist()), torch.Generator().manual_seed(7)
    x = torch.cat([torch.full((200, 1, 1, 4), v, dtype=F64) for v in (-1.5, 1.5)])
    wide = outpaint(Rows(schedule), x, 3, time_grid(schedule, 15), overlap=2, generator=g)
    assert wide.shape == (400, 1, 1, 8)  # two columns a window, at least three more
    assert torch.equal(wide[..., :4], x)
    new = wide[..., 4:].mean((1, 2, 3))
    assert new[:200].mean() < -1 and new[200:].mean() > 1


def test_app_1_views_agree_and_keep_the_law_of_the_noise():
    """A picture that is one in several views: ε̂ turns as the picture does; the plain view is the plain answer."""
    schedule, same = VPCosine(), (lambda x: x, lambda x: x)
    flip = (lambda x: x.flip(1), lambda x: x.flip(1))
    lop = GaussianMixture([0.4, 0.6], [[1.0, -0.5], [-0.3, 0.8]], [[0.1, 0.2]] * 2).denoiser(schedule)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(8), dtype=F64)
    torch.testing.assert_close(Views(lop, (same,))(x, 0.4).eps, lop(x, 0.4).eps)
    both = Views(lop, (same, flip))
    torch.testing.assert_close(both(x.flip(1), 0.4).eps, both(x, 0.4).eps.flip(1))
    torch.testing.assert_close(both(x, 0.4).eps, (lop(x, 0.4).eps + lop(x.flip(1), 0.4).eps.flip(1)) / 2)

    class Told:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x_t, t, y):
            return Prediction(schedule, x_t, t, eps=torch.full_like(x_t, float(y)))

    told = Views(Told(), (same, flip), ({"y": 1.0}, {"y": 4.0}))(x, 0.4)
    assert (told.eps == 2.5).all()


def test_linear_is_what_it_says():
    twice = Linear(lambda x: 2 * x, (2,))
    y = torch.tensor([[1.0, -3.0]], dtype=F64)
    assert twice.transpose(y).tolist() == [[2.0, -6.0]] and twice.inverse(y).tolist() == [[0.5, -1.5]]


def test_app_1_two_bands_of_one_picture():
    """APP-1: one condition twice changes nothing; what is coarse is the first's, what is fine the second's."""
    schedule, low = cosine_beta(), restoration.box_blur((1, 6, 6), 3)

    class Told:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x_t, t, y):
            return Prediction(schedule, x_t, t, eps=x_t * y)

    x = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=F64)
    same = restoration.Bands(Told(), low, {"y": 2.0}, {"y": 2.0})(x, 500)
    torch.testing.assert_close(same.eps, 2 * x)
    both = restoration.Bands(Told(), low, {"y": 1.0}, {"y": 3.0})(x, 500).eps
    torch.testing.assert_close(both, low(x) + 3 * (x - low(x)))
