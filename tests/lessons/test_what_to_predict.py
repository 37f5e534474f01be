"""Figures of lesson 08, and the facts about targets and weights that its formula sheet cites."""

import math

import pytest
import torch

from dlgm import losses, vlb
from dlgm import parameterization as P
from dlgm.course import what_to_predict as given
from dlgm.denoiser import Denoiser
from dlgm.exercises import check
from dlgm.exercises import what_to_predict as bank
from dlgm.oracles import EmpiricalData, GaussianMixture
from dlgm.plots import what_to_predict
from dlgm.process import q_posterior, q_sample
from dlgm.schedules import DiscreteSchedule, cosine_beta, linear_beta

F64 = torch.float64
CHAIN = DiscreteSchedule([0.1, 0.25, 0.4, 0.6])
LINEAR = linear_beta(1000)
SOME = Denoiser(lambda x, t: 0.3 * x + 0.1 * t[:, None], CHAIN)
RING = GaussianMixture([0.5, 0.5], [[1.0, 0.0], [-1.0, 0.5]], [0.02, 0.05])


def batch(n=5, d=3, seed=0):
    return torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_five_answers_draws_each_conversion_of_one_prediction():
    points = 2 * torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(1)) - 1
    eps = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(2))
    denoiser = EmpiricalData(points).denoiser(LINEAR)
    fig = what_to_predict.five_answers(denoiser, points[0], eps, [50, 900])
    drawn = [torch.tensor(ax.images[0].get_array().tolist()) for ax in fig.axes]
    for column, t in enumerate((50, 900)):
        x_t = q_sample(LINEAR, points[:1], t, eps[None])
        x0 = denoiser(x_t, t).x0
        noise = (x_t - LINEAR.signal(t) * x0) / LINEAR.noise(t)
        v = LINEAR.signal(t) * noise - LINEAR.noise(t) * x0
        mean = q_posterior(LINEAR, x_t, x0, t - 1, t).mean
        for row, x in enumerate((x_t, x0, noise / 3, v / 3, mean)):
            grey = ((x[0, 0] + 1) / 2).clamp(0, 1).float()
            torch.testing.assert_close(drawn[2 * row + column], grey, rtol=0, atol=2e-5)  # float32, divided by ~0.01


@pytest.mark.parametrize("variance", vlb.VARIANCES)
def test_loss_1_2_3_and_par_5_each_term_is_a_weighted_square_plus_a_constant(variance):
    """LOSS-1, LOSS-3, PAR-5 for t ≥ 2; LOSS-2, E-45 for t = 1: the same form, with the constant ½ d log 2πσ_1²."""
    x0, eps = batch()
    sigma2 = vlb.reverse_variances(CHAIN, variance)
    for t in range(1, 5):
        b, a, ab, before = CHAIN.beta[t], CHAIN.alpha[t], CHAIN.alpha_bar[t], CHAIN.alpha_bar[t - 1]
        lam = b**2 / (2 * sigma2[t] * a * (1 - ab))
        tilde = (1 - before) / (1 - ab) * b
        r = tilde / sigma2[t]
        constant = 1.5 * (r - 1 - r.log()) if t > 1 else 1.5 * torch.log(2 * math.pi * sigma2[1])
        x_t = ab.sqrt() * x0 + (1 - ab).sqrt() * eps
        square = (eps - 0.3 * x_t - 0.1 * t).square().sum(1)
        term = vlb.vlb_term(SOME, x0, t, eps, variance, decoder="gaussian")
        torch.testing.assert_close(term, lam * square + constant)


def test_loss_4_and_m_08_the_weight_of_x0_is_half_the_fall_of_the_snr():
    """LOSS-4, M-08: ½ (SNR_{t−1} − SNR_t)."""
    t = torch.arange(2, 1001)
    snr = LINEAR.alpha_bar[1:] / (1 - LINEAR.alpha_bar[1:])
    half = 0.5 * (snr[:-1] - snr[1:])
    # a difference of SNRs that agree to 1 % loses two of float64's sixteen digits
    torch.testing.assert_close(losses.vlb_weight(LINEAR, t, "x0", "posterior"), half, rtol=1e-9, atol=0)


def test_bound_weights_draws_both_variances_of_every_schedule():
    schedules = {"linear": LINEAR, "cosine": cosine_beta(50)}
    left, right = what_to_predict.bound_weights(schedules).axes
    for ax, target in ((left, "eps"), (right, "x0")):
        lines = iter(ax.lines)
        for s in schedules.values():
            for variance in vlb.VARIANCES[::-1]:
                want = losses.vlb_weight(s, torch.arange(1, s.T + 1), target, variance)
                torch.testing.assert_close(torch.tensor(next(lines).get_ydata()), want)


def test_bound_weights_marks_a_last_step_that_outweighs_the_one_before():
    left, _ = what_to_predict.bound_weights({"linear": LINEAR, "cosine": cosine_beta(1000)}).axes
    (dot,) = left.collections  # the linear schedule has none
    (text,) = left.texts
    # λ_T = β_T²/(2 β_T α_T (1−ᾱ_T)) with β_T = 0.999 and ᾱ_T ≈ 0
    assert dot.get_offsets().tolist()[0] == pytest.approx([1000, 0.999 / (2 * 0.001)], rel=1e-6)
    assert text.get_text() == "cosine, t = T: 500"


def test_loss_7_the_unweighted_losses_are_one_error_in_other_units():
    """LOSS-7, LOSS-8, LOSS-9, M-01, E-74: drawn on ε, the ε loss is flat, the x_0 loss 1/SNR, the v loss 1/ᾱ."""
    left, right = what_to_predict.loss_weights(LINEAR, "beta").axes
    ab, b = LINEAR.alpha_bar[1:], LINEAR.beta[1:]
    lam = b / (2 * (1 - b) * (1 - ab))
    on_eps = {
        "the bound": lam,
        "unweighted ε loss": torch.ones(1000, dtype=F64),
        "unweighted $x_0$ loss": (1 - ab) / ab,
        "unweighted v loss": 1 / ab,
        "unweighted mean $\\tilde\\mu_t$ loss": b**2 / ((1 - b) * (1 - ab)),
    }
    for ax, unit in ((left, 1.0), (right, ab / (1 - ab))):
        drawn = {line.get_label(): torch.tensor(line.get_ydata()) for line in ax.lines}
        assert set(drawn) == set(on_eps)
        for name, w in on_eps.items():
            torch.testing.assert_close(drawn[name], w * unit / (w * unit).mean(), rtol=1e-8, atol=0)
    assert lam.max() / lam.min() > 100  # what L_simple leaves out is not nearly constant


def test_loss_6_every_law_of_t_has_weights_that_leave_the_average_alone():
    """LOSS-6: the weight is 1/(T p_t), so Σ_t p_t weight_t f(t) = (1/T) Σ_t f(t)."""
    p = 0.1 + torch.rand(1000, generator=torch.Generator().manual_seed(3), dtype=F64)
    t = losses.sample_t(LINEAR, 50_000, torch.Generator().manual_seed(4), p)
    weight = losses.time_weights(p, t)
    torch.testing.assert_close(weight.double(), 1 / (1000 * (p / p.sum())[t - 1]), rtol=1e-6, atol=0)  # float32


def test_loss_10_and_take_2_the_best_noise_prediction_varies_less_than_the_noise():
    """LOSS-10, TAKE-2, E-19: for data N(0, c²) the best answer, k x_t, has variance (1−ᾱ)/(1−ᾱ + ᾱ c²)."""
    c2, one = 0.25, GaussianMixture([1.0], [[0.0]], [[0.25]])
    for t, published in ((10, 0.0075), (100, 0.315), (500, 0.979), (1000, 1.0)):
        ab = LINEAR.alpha_bar[t].item()
        k = one.denoiser(LINEAR)(torch.ones(1, 1, dtype=F64), t).eps.item()
        var = k**2 * (ab * c2 + 1 - ab)
        assert math.isclose(var, (1 - ab) / (1 - ab + ab * c2), rel_tol=1e-9)
        assert var < 1 and abs(var - published) < 6e-4  # rounded to three digits


def test_e_69_the_noise_of_one_step_is_a_known_share_of_the_total_noise():
    x = torch.tensor([[0.37, -0.2]], dtype=F64)
    for t in (2, 3, 4):
        before = RING.reverse(CHAIN, x, t - 1, t).moments()[0]
        step = (x - CHAIN.alpha[t].sqrt() * before) / CHAIN.beta[t].sqrt()
        share = (CHAIN.beta[t] / (1 - CHAIN.alpha_bar[t])).sqrt()
        torch.testing.assert_close(step, share * RING.denoiser(CHAIN)(x, t).eps)


def test_alg_5_the_graph_computes_the_simple_loss_and_all_of_it_is_drawn():
    """ALG-5."""
    x0, eps = batch()
    t, net = torch.tensor([1, 2, 3, 4, 2]), torch.nn.Linear(3, 3, dtype=F64)
    operations = {
        "x_t": lambda x0, eps, t: q_sample(CHAIN, x0, t, eps),
        "prediction": lambda x_t, t, theta: theta(x_t) * t[:, None],
        "loss": lambda eps, prediction: (eps - prediction).square().sum(1),
    }
    values = {"x0": x0, "eps": eps, "t": t, "theta": net}
    for node, inputs in what_to_predict.GRAPH.items():
        if inputs:
            values[node] = operations[node](**{name: values[name] for name in inputs})
    denoiser = Denoiser(lambda x, t: net(x) * t[:, None], CHAIN)
    torch.testing.assert_close(values["loss"], losses.simple_loss(denoiser, x0, t, eps))
    (ax,) = what_to_predict.training_graph().axes
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    boxes = [text for text in ax.texts if text.get_bbox_patch() is not None]
    assert len(boxes) == len(what_to_predict.GRAPH)
    assert len(arrows) == sum(map(len, what_to_predict.GRAPH.values())) + len(what_to_predict.GRADIENT)


def test_alg_5_the_gradient_goes_back_along_edges_of_the_graph_from_the_loss_to_the_weights():
    path = [what_to_predict.GRADIENT[0][0], *(node for _, node in what_to_predict.GRADIENT)]
    assert path[0] == "loss" and path[-1] == "theta"
    for node, source in what_to_predict.GRADIENT:
        assert source in what_to_predict.GRAPH[node]


def test_errors_by_level_draws_the_geometric_mean_over_seeds():
    e = torch.tensor([[1.0, 4.0, 9.0], [4.0, 4.0, 1.0]], dtype=F64)
    fig = what_to_predict.errors_by_level(torch.tensor([2.0, 0.0, -2.0]), {"raw": {"eps": e, "v": 2 * e}}, "error")
    lines = fig.axes[0].lines
    torch.testing.assert_close(torch.tensor(lines[0].get_ydata()), torch.tensor([2.0, 4.0, 3.0], dtype=F64))
    torch.testing.assert_close(torch.tensor(lines[1].get_ydata()), torch.tensor([4.0, 8.0, 6.0], dtype=F64))


def test_a_detached_prediction_is_said_to_be_one():
    def detached(predict, x0, t, eps, alpha_bar):
        return bank.simple_loss(lambda x, t: predict(x, t).detach(), x0, t, eps, alpha_bar)

    report = check("simple_loss", detached)
    assert report.state == "not yet" and report.fails == "the gradient reaches the network"
    assert "no gradient" in report.observed


def test_sample_rows_draws_every_picture_beside_its_label():
    rows = [torch.linspace(-1, 1, 3)[:, None, None, None].expand(3, 1, 2, 2) * k for k in (1.0, 0.5)]
    axes = what_to_predict.sample_rows(rows, ["data", "ε"]).axes
    assert [ax.get_ylabel() for ax in axes[::3]] == ["data", "ε"]
    assert [float(ax.images[0].get_array()[0, 0]) for ax in axes] == pytest.approx([0, 0.5, 1, 0.25, 0.5, 0.75])


@pytest.mark.parametrize("target", ["mean", "x0", "eps", "v"])
def test_par_3_the_panel_puts_the_clean_points_where_the_error_leads(target):
    x0, eps = torch.tensor([1.0, 0.2]), torch.tensor([0.3, -0.8])
    fig = what_to_predict.error_panel(RING, CHAIN, x0, eps, 3, target, size=0.1)
    left, right = fig.axes
    seen, star = (torch.tensor(c.get_offsets().tolist(), dtype=F64) for c in left.collections[1:3])
    x_t = q_sample(CHAIN, x0[None].double(), 3, eps[None].double())
    torch.testing.assert_close(star, RING.posterior_mean(CHAIN, x_t, 3))
    distance = 0.1 / float(losses.error_scale(CHAIN, 3, target))
    torch.testing.assert_close((seen - star).norm(dim=1), torch.full((24,), distance, dtype=F64))
    moved = (P.mean_from_x0(CHAIN, x_t, star + 1.0, 2, 3) - P.mean_from_x0(CHAIN, x_t, star, 2, 3))[0, 0].item()
    drawn = {line.get_label(): line.get_ydata() for line in right.lines}
    assert math.isclose(drawn[what_to_predict.NAMES["mean"]][2], 1 / moved, rel_tol=1e-9)


def test_par_1_the_checkpoints_say_what_their_head_says_within_two_per_cent():
    """PAR-1, PAR-3, PAR-4: against the exact denoiser of one point."""
    point, x_t, t = torch.tensor([1.5, -1.0, 0.5], dtype=F64), batch()[0], torch.tensor([1, 250, 500, 750, 1000])
    truth = EmpiricalData(point[None]).denoiser(LINEAR)(x_t, t)
    found = []
    for network in given.checkpoints(LINEAR.alpha_bar, point).values():
        want = getattr(truth, network.head)
        assert ((network(x_t, t) - want).abs() <= 0.02 * want.abs() + 1e-9).all(), network.head
        found.append(network.head)
    assert sorted(found) == sorted(given.HEADS)
    for bad_x, bad_t, message in ((x_t[:, :2], t, "shape"), (x_t, t - 1, "times"), (x_t, t.double(), "times")):
        with pytest.raises(ValueError, match=message):
            network(bad_x, bad_t)
