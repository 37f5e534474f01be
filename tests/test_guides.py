"""Guidance against exact worlds: Bayes' rule at every level, three laws, a chain summed by hand. Ledger GUIDE-1..13."""

import itertools
import math

import pytest
import torch

from dlgm import guidance, metrics, samplers
from dlgm.denoiser import Clipped, Denoiser, Prediction
from dlgm.gaussian import Gaussian
from dlgm.guidance import Classifier, ClassifierFree, Thresholded, drop_labels
from dlgm.oracles import DiscreteChain, GaussianMixture, LabelledMixture, guided
from dlgm.schedules import VE, DiscreteSchedule, VPCosine, cosine_beta, time_grid

KINDS = ("eps", "x0", "v", "score")
SCHEDULES = {"cosine": (cosine_beta(), 400), "VP": (VPCosine(), 0.4), "VE": (VE(0.01, 20.0), 0.6)}


class As:
    """A denoiser whose answers come in one form."""

    def __init__(self, denoiser, kind):
        self.denoiser, self.kind = denoiser, kind
        self.schedule, self.null_label = denoiser.schedule, denoiser.null_label

    def __call__(self, x_t, t, **cond):
        p = self.denoiser(x_t, t, **cond)
        return Prediction(self.schedule, x_t, t, **{self.kind: getattr(p, self.kind)})


@pytest.fixture
def world():
    """Three classes in the plane, one of them with two styles."""
    make = GaussianMixture
    return LabelledMixture(
        [
            make([0.3, 0.7], [[1.0, 0.0], [0.0, 1.5]], [0.1, 0.2]),
            make([1.0], [[-1.0, 0.3]], [[[0.3, 0.1], [0.1, 0.2]]]),
            make([1.0], [[0.2, -1.0]], [0.25]),
        ],
        [0.5, 0.2, 0.3],
    )


def points(generator, n=9):
    return torch.randn(n, 2, generator=generator, dtype=torch.float64), torch.arange(n) % 3


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_guide_1_bayes_rule_in_every_form(world, generator, name, kind):
    """GUIDE-1, GUIDE-7: the unconditional answer and the gradient of log p(y | x_t) are the conditional answer."""
    (schedule, t), (x, y) = SCHEDULES[name], points(generator)
    exact, log_prob = world.denoiser(schedule), world.log_posterior(schedule)
    guided_by = Classifier(As(exact, kind), log_prob)
    torch.testing.assert_close(guided_by(x, t, y=y).x0, exact(x, t, y=y).x0, rtol=0, atol=1e-10)
    assert guided_by(x, t, y=y).kind == kind
    times = torch.linspace(0.2, 0.8, 9) if name != "cosine" else torch.arange(100, 1000, 100)
    torch.testing.assert_close(guided_by(x, times, y=y).x0, exact(x, times, y=y).x0, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SCHEDULES)
def test_guide_10_with_and_without_a_classifier_gamma_is_1_plus_w(world, generator, name):
    """GUIDE-9, GUIDE-10, QUIZ-2.1, E-47: (1 + w) with − w without = without + γ gradient, in every form one map."""
    (schedule, t), (x, y) = SCHEDULES[name], points(generator)
    exact, log_prob = world.denoiser(schedule), world.log_posterior(schedule)
    answers = []
    for kind, w in itertools.product(KINDS, (2.0, torch.full((9,), 2.0))):
        answers += [
            ClassifierFree(As(exact, kind), w)(x, t, y=y).x0,
            Classifier(As(exact, kind), log_prob, 1 + w)(x, t, y=y).x0,
        ]
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], rtol=0, atol=1e-9)
    with_y, without = exact(x, t, y=y), exact(x, t)
    torch.testing.assert_close(answers[0], 3 * with_y.x0 - 2 * without.x0)
    gradient = guidance.implicit_gradient(with_y, without)
    torch.testing.assert_close(gradient, guidance.gradient(log_prob, x, t, y), rtol=0, atol=1e-10)
    torch.testing.assert_close(gradient, -(with_y.eps - without.eps) / schedule.noise(t))
    assert torch.equal(ClassifierFree(exact)(x, t, y=y).x0, with_y.x0)
    torch.testing.assert_close(ClassifierFree(exact, -1.0)(x, t, y=y).x0, without.x0)
    each = ClassifierFree(exact, torch.arange(9.0))(x, t, y=y).x0
    for i in range(9):
        torch.testing.assert_close(each[i : i + 1], ClassifierFree(exact, float(i))(x[i : i + 1], t, y=y[i : i + 1]).x0)


def test_e_14_a_weight_that_is_used(world, generator):
    """E-14: the printed line of Algorithm 2 leaves the weight out; E-17: a gradient of p, not of log p, fades."""
    (schedule, t), (x, y) = SCHEDULES["cosine"], points(generator)
    exact, log_prob = world.denoiser(schedule), world.log_posterior(schedule)
    plain, g = exact(x, t).eps, guidance.gradient(log_prob, x, t, y)
    for s in (1.0, 3.0):
        want = plain - s * schedule.noise(t) * g
        torch.testing.assert_close(Classifier(exact, log_prob, s)(x, t, y=y).eps, want)
    p = guidance.gradient(lambda *a: log_prob(*a).exp(), x, t, y)
    torch.testing.assert_close(p, log_prob(x, t, y).exp()[:, None] * g)


def test_clipping_comes_after_guiding(world, generator):
    """M-21: the guided answer is clipped, or divided by the quantile that sticks out; inside nothing happens."""
    (schedule, t), (x, y) = SCHEDULES["cosine"], points(generator)
    exact = world.denoiser(schedule)
    free = ClassifierFree(exact, 4.0)
    torch.testing.assert_close(Clipped(free)(x, t, y=y).x0, (5 * exact(x, t, y=y).x0 - 4 * exact(x, t).x0).clamp(-1, 1))
    got, x0 = Thresholded(free, 0.6)(x, t, y=y).x0, free(x, t, y=y).x0
    for a, b in zip(got, x0, strict=True):
        s = max(1.0, b.abs().quantile(0.6).item())
        torch.testing.assert_close(a, b.clamp(-s, s) / s)
    assert (got.abs() <= 1).all() and (x0.abs() > 1).any()
    assert torch.equal(Thresholded(exact, 0.6)(0 * x, t, y=y).x0, exact(0 * x, t, y=y).x0)  # all inside: untouched


def test_the_interval_and_the_rescaled_spread(world, generator):
    (schedule, _), (x, y) = SCHEDULES["VP"], points(generator)
    exact, times = world.denoiser(schedule), torch.linspace(0.1, 0.9, 9)
    got = ClassifierFree(exact, 2.0, interval=(0.3, 0.6))(x, times, y=y).x0
    inside = ((times >= 0.3) & (times <= 0.6))[:, None]
    everywhere = ClassifierFree(exact, 2.0)(x, times, y=y).x0
    torch.testing.assert_close(got, torch.where(inside, everywhere, exact(x, times, y=y).x0))
    torch.testing.assert_close(ClassifierFree(exact, 2.0, interval=(0.3, 0.6))(x, 0.2, y=y).x0, exact(x, 0.2, y=y).x0)
    torch.testing.assert_close(
        ClassifierFree(exact, 2.0, interval=(0.3, 0.6))(x, 0.5, y=y).x0, ClassifierFree(exact, 2.0)(x, 0.5, y=y).x0
    )
    for phi in (1.0, 0.3):
        got, plain = ClassifierFree(exact, 2.0, rescale=phi)(x, 0.4, y=y).x0, ClassifierFree(exact, 2.0)(x, 0.4, y=y).x0
        ratio = exact(x, 0.4, y=y).x0.std(1) / plain.std(1)
        torch.testing.assert_close(got, plain * (phi * ratio + 1 - phi)[:, None])


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0, 7.5])
@pytest.mark.parametrize("c, u", [(1.0, 2.0), (0.4, 3.0)])
def test_guide_13_one_score_three_laws(gamma, c, u):
    """E-43: the tilted law by quadrature; flow and diffusion by walking, all linear here."""
    world = LabelledMixture([GaussianMixture([1.0], [[0.0]], [c]), GaussianMixture([1.0], [[0.0]], [u])], [1.0, 1.0])
    x = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    p = torch.exp(-0.5 * x**2 * (gamma / c + (1 - gamma) / u))
    torch.testing.assert_close((p @ x**2 / p.sum()).item(), guided.tilted_variance(c, u, gamma), rtol=1e-9, atol=0)
    schedule = VE(0.001, 1000.0)
    times = torch.linspace(1, 0, 4001, dtype=torch.float64)
    free = ClassifierFree(world.denoiser(schedule), gamma - 1, null=1)  # label 1 is all classes together
    one, label = torch.ones(4000, 1, dtype=torch.float64), torch.zeros(4000, dtype=torch.long)
    gains = free(one, times[:-1], y=label).x0[:, 0].tolist()  # x̂_0 = gain · x_t
    s = (schedule.noise(times) ** 2).tolist()
    flow, diffusion = s[0], s[0]
    for a, (now, later) in zip(gains, itertools.pairwise(s), strict=True):
        ratio = later / now
        flow *= (a + math.sqrt(ratio) * (1 - a)) ** 2  # DDIM: x̂_0 + noise_s/noise_t (x − x̂_0)
        diffusion = (a + ratio * (1 - a)) ** 2 * diffusion + later * (1 - ratio)  # the posterior of a VE step
    # walks of first order with steps of .0035 in log σ, whose error is multiplied by γ: 5 % at γ = 7.5
    assert abs(flow / guided.flow_variance(c, u, gamma) - 1) < 0.01 * (1 + gamma)
    assert abs(diffusion / guided.diffusion_variance(c, u, gamma) - 1) < 0.01 * (1 + gamma)


@pytest.mark.slow
def test_guide_13_the_laws_against_a_million_samples():
    """E-43: γ = 3, by steps of second order from noise variance 10⁴; the error of 10⁶ draws is .14 %."""
    c, u, gamma, n = 1.0, 2.0, 3.0, 1_000_000
    levels = [*torch.logspace(4, -4, 700, dtype=torch.float64).tolist(), 0.0]
    generator = torch.Generator().manual_seed(11)
    flow = diffusion = math.sqrt(levels[0]) * torch.randn(n, generator=generator)
    for high, low in itertools.pairwise(levels):
        middle, dt = (high + low) / 2, high - low
        pull = gamma / (c + middle) + (1 - gamma) / (u + middle)  # −score / x
        flow = flow * math.exp(-dt * pull / 2)
        noise = torch.randn(n, generator=generator)
        diffusion = math.exp(-dt * pull) * diffusion + math.sqrt(dt) * math.exp(-dt * pull / 2) * noise
    for x, law in ((flow, guided.flow_variance), (diffusion, guided.diffusion_variance)):
        assert x.var().item() == pytest.approx(law(c, u, gamma), rel=0.007)


def test_guide_13_the_numbers_of_the_lesson():
    """γ = 3: .5, .25, .3875 for c = 1, u = 2; all agree at γ = 1 with c and at 0 with u."""
    laws = (guided.tilted_variance, guided.flow_variance, guided.diffusion_variance)
    assert [round(law(1.0, 2.0, 3.0), 4) for law in laws] == [0.5, 0.25, 0.3875]
    for law in laws:
        assert math.isclose(law(1.0, 2.0, 1.0), 1.0) and math.isclose(law(0.3, 2.0, 0.0), 2.0)


def test_guide_4_a_chain_with_a_label_summed_by_hand():
    """GUIDE-4, M-02: the kernel from the joint law of (y, x_0, …, x_3). E-33: not so where noise looks at the label."""
    generator = torch.Generator().manual_seed(3)
    law = lambda *shape: torch.rand(shape, generator=generator, dtype=torch.float64).softmax(-1)  # noqa: E731
    p_0, kernels, like = law(4), [law(4, 4) for _ in range(3)], torch.rand(4, generator=generator, dtype=torch.float64)
    chain = DiscreteChain(p_0, kernels)
    joint = chain.joint() * like[:, None, None, None]  # p(x_0, …, x_3, y)
    for t, step in enumerate(guided.conditional_reverse(chain, like)):
        pair = joint.sum([k for k in range(4) if k not in (t, t + 1)])  # (x_t, x_{t+1})
        torch.testing.assert_close(step, (pair / pair.sum(0)).T)
        torch.testing.assert_close(step.sum(1), torch.ones(4, dtype=torch.float64))
    other = [law(4, 4) for _ in range(3)]  # the noise of the label that is asked for
    mixed = DiscreteChain(p_0, [like.mean() * a + (1 - like.mean()) * b for a, b in zip(other, kernels, strict=True)])
    joint = (p_0 * like)[:, None] * other[0]
    assert (guided.conditional_reverse(mixed, like)[0] - (joint / joint.sum(0)).T).abs().max() > 0.02
    with pytest.raises(ValueError, match=r"expected q\(y \| x_0\) of shape \(4,\), got \(3,\)"):
        guided.conditional_reverse(chain, [0.1, 0.2, 0.3])


def test_guide_5_a_gaussian_step_tilted_by_an_exponential():
    """GUIDE-2, GUIDE-5: N(x; μ, v) exp(s g x), normalised on a grid, has mean μ + s v g and variance v."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    mu, v, g, s = 0.4, 0.7, -1.3, 2.0
    p = torch.exp(-0.5 * (x - mu) ** 2 / v + s * g * x)
    p = p / p.sum()
    mean = (p * x).sum()
    step = guidance.shifted(Gaussian(torch.tensor([[mu]]), torch.tensor([[v]])), torch.tensor([[g]]), s)
    assert math.isclose(step.mean.item(), mean.item(), rel_tol=1e-6)
    assert math.isclose(step.var.item(), (p * (x - mean) ** 2).sum().item(), rel_tol=1e-6)


def test_e_48_where_the_gradient_is_taken(world, generator):
    """GUIDE-6: Algorithm 1 takes it at x_t, its derivation at μ; the two draw together as β → 0."""
    gaps = []
    for beta in (0.2, 0.02, 0.002):
        schedule = DiscreteSchedule([0.3, beta])
        exact, log_prob = world.denoiser(schedule), world.log_posterior(schedule)
        x, y = points(torch.Generator().manual_seed(0))
        mean = (x + beta * exact(x, 2).score) / math.sqrt(1 - beta)
        at_x, at_mean = guidance.gradient(log_prob, x, 2, y), guidance.gradient(log_prob, mean, 1, y)
        gaps.append((at_x - at_mean).abs().max().item())
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]


def test_guide_8_a_walk_with_the_exact_scores_reaches_the_class(world):
    """GUIDE-8: γ = 1 draws p(x | y); the share of another class is that of the true law, not zero (QUIZ-2.3)."""
    schedule, generator = cosine_beta(), torch.Generator().manual_seed(0)
    free = ClassifierFree(world.denoiser(schedule), 0.0)
    x_T, y = schedule.start((4000, 2), generator), torch.zeros(4000, dtype=torch.long)
    drawn = samplers.sample(free, samplers.DDIM(), x_T, time_grid(schedule, 100), y=y)
    distance = metrics.energy_distance(drawn, world.classes[0].sample(4000, generator))
    assert abs(distance.value) < 5 * distance.error + 2e-3  # a walk of 100 steps is a little off


@pytest.mark.parametrize("gamma, want", [(1, 0.1587), (3, 0.0248), (10, 1.1e-4)])
def test_quiz_2_3_the_wrong_class_stays_possible(gamma, want):
    """E-70: classes N(±1, 1): mass of p(x) p(y | x)^γ on the other side, by quadrature."""
    classes = [GaussianMixture([1.0], [[m]], [1.0]) for m in (1.0, -1.0)]
    world, schedule = LabelledMixture(classes, [1.0, 1.0]), DiscreteSchedule([1e-12])
    x = torch.linspace(-14, 14, 100_001, dtype=torch.float64)[:, None]
    log_p = world.whole.log_prob(x) + gamma * world.log_posterior(schedule)(x, 0, torch.zeros(len(x), dtype=torch.long))
    p = log_p.softmax(0)
    assert math.isclose(p[x[:, 0] < 0].sum().item(), want, rel_tol=0.02)


def test_guide_11_labels_are_dropped_together():
    """One draw an example: both parts go or both stay; the share is p, not p²."""
    n, generator = 20_000, torch.Generator().manual_seed(0)
    y, caption = torch.arange(n) % 10, torch.ones(n, 5, dtype=torch.long)
    a, b = drop_labels((y, caption), 0.1, (10, 0), generator)
    hidden = a == 10
    assert torch.equal(hidden, (b == 0).all(1)) and torch.equal(~hidden, (b == 1).all(1))
    assert torch.equal(a[~hidden], y[~hidden])
    assert abs(hidden.double().mean() - 0.1) < 5 * math.sqrt(0.09 / n)  # one in two million runs
    assert torch.equal(drop_labels(y, 0.1, 10, torch.Generator().manual_seed(0)), a)
    assert torch.equal(drop_labels(y, 0.0, 10), y) and (drop_labels(y, 1.0, 10) == 10).all()
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\], got 10"):
        drop_labels(y, 10, 10)
    with pytest.raises(ValueError, match="2 conditions need as many"):
        drop_labels((y, caption), 0.1, (10,))


def test_guide_3_a_classifier_of_noisy_data_is_trained_on_noisy_data(world, generator):
    """−log p(y | x_t) at x_t; the exact posterior has the least expected loss (calibration: M-22)."""
    schedule, n = cosine_beta(), 4000
    y = torch.multinomial(world.prior, n, replacement=True, generator=generator)
    x0 = torch.stack([world.classes[k].sample(1, generator)[0] for k in y.tolist()]).double()
    t = torch.full((n,), 500)
    log_prob = world.log_posterior(schedule)

    def exact(x_t, t):
        return torch.stack([log_prob(x_t, t, torch.full((n,), k)) for k in range(3)], 1)

    def clean(x_t, t):
        return exact(x_t, torch.ones_like(t))

    losses = [guidance.classifier_loss(f, schedule, x0, y, t, torch.Generator().manual_seed(1)) for f in (exact, clean)]
    assert losses[0].shape == (n,)
    gap = metrics.estimate(losses[1] - losses[0], 0)
    assert gap.value > 5 * gap.error


def test_what_is_refused(world, generator):
    (schedule, t), (x, y) = SCHEDULES["cosine"], points(generator)
    with pytest.raises(ValueError, match="no label that means 'none'"):
        ClassifierFree(Denoiser(lambda x, t, y: x, schedule), 1.0)(x, t, y=y)
    with pytest.raises(ValueError, match=r"expected log p\(y \| x_t\) of shape \(9,\), got \(9, 3\)"):
        Classifier(world.denoiser(schedule), lambda x, t, y: x.new_zeros(9, 3) * x.sum())(x, t, y=y)
    with pytest.raises(ValueError, match="expected 3 positive priors"):
        LabelledMixture(world.classes, [0.5, 0.5])
