"""The power spectrum of known signals; the Fréchet distance in closed form. Ledger SCHED-3, NUM-2."""

import itertools
import math

import pytest
import torch

from dlgm.metrics import (
    energy_distance,
    frechet_distance,
    frechet_floor,
    frechet_gaussians,
    grid,
    hit_rate,
    inception_score,
    precision_recall,
    principal_angles,
    principal_subspace,
    radial_power_spectrum,
    spread,
)


def test_white_noise_is_flat_at_its_variance(generator):
    x = 0.5 * torch.randn(2000, 2, 16, 16, generator=generator, dtype=torch.float64)
    f, p = radial_power_spectrum(x)
    assert f.tolist() == list(range(1, 9))
    # each ring averages at least 4000 squared normals in conjugate pairs: standard error below 0.25 √(4/4000)·√2
    assert (p - 0.25).abs().max() < 5 * 0.25 * math.sqrt(2 * 4 / 4000)


def test_a_wave_has_its_power_at_its_frequency(generator):
    phase = 2 * math.pi * torch.rand(500, 1, 1, 1, generator=generator, dtype=torch.float64)
    column = torch.arange(16, dtype=torch.float64)
    x = torch.cos(2 * math.pi * 5 * column / 16 + phase).expand(500, 1, 16, 16)
    _, p = radial_power_spectrum(x)
    assert p[4] > 0 and (p[torch.arange(8) != 4] < 1e-20).all()  # rounding of the transform


def test_powers_sum_to_the_variance_of_the_pixels(generator):
    """Parseval: with 4x4 images rings 1 and 2 leave out only the mean and the corner; count them by hand."""
    x = torch.randn(50, 1, 4, 4, generator=generator, dtype=torch.float64)
    centred = x - x.mean(0)
    full = torch.fft.fft2(centred, norm="ortho").abs().square().mean((0, 1)) * 50 / 49
    assert full.sum().item() == pytest.approx(x.var(0).sum().item(), rel=1e-12)
    _, p = radial_power_spectrum(x)
    # radius 1 and √2 round to 1 (8 coefficients), 2 and √5 to 2 (6 coefficients); 2√2 rounds to 3
    one = full[[0, 0, 1, 3, 1, 1, 3, 3], [1, 3, 0, 0, 1, 3, 1, 3]].mean()
    two = full[[0, 2, 1, 3, 2, 2], [2, 0, 2, 2, 1, 3]].mean()
    torch.testing.assert_close(p, torch.stack([one, two]), rtol=1e-12, atol=0)


def test_errors():
    for shape in ((1, 1, 4, 4), (3, 1, 4, 5), (3, 4, 4)):
        with pytest.raises(ValueError, match="square images"):
            radial_power_spectrum(torch.zeros(shape))


def test_num_2_frechet_distance_of_gaussians():
    """Closed forms: commuting covariances give ‖Δm‖² + Σ (√λ_a − √λ_b)²; any two agree with SciPy-free matrix roots."""
    g = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64))
    a, b = torch.tensor([1.0, 4.0, 0.0, 9.0]).double(), torch.tensor([4.0, 1.0, 1.0, 9.0]).double()
    mean = torch.tensor([1.0, 0.0, -2.0, 0.0]).double()
    got = frechet_gaussians(mean, q @ torch.diag(a) @ q.T, 0 * mean, q @ torch.diag(b) @ q.T)
    assert abs(got - (5 + 1 + 1 + 1)) < 1e-6  # an eigenvalue 0 ± 1e-15 has a root of up to 3e-8
    A, B = (
        (lambda r: r @ r.T)(torch.randn(3, 3, generator=g).double()),
        (lambda r: r @ r.T)(torch.randn(3, 3, generator=g).double()),
    )
    values = torch.linalg.eigvals(A @ B)  # of the product, real and positive up to rounding
    want = (A.trace() + B.trace() - 2 * values.real.clamp(min=0).sqrt().sum()).item()
    zero = torch.zeros(3)
    assert abs(frechet_gaussians(zero, A, zero, B) - want) < 1e-6
    assert abs(frechet_gaussians(zero, A, zero, A)) < 1e-6
    for i, bad in itertools.product(range(4), (torch.zeros(2), torch.zeros(1), zero[:, None], A[:2], A[:, :2], A[:1])):
        with pytest.raises(ValueError, match="of one F"):  # also what would be broadcast
            frechet_gaussians(*[bad if k == i else v for k, v in enumerate((zero, A, zero, A))])


def test_frechet_distance_of_samples_and_its_bias():
    g = torch.Generator().manual_seed(0)
    draw = lambda n, shift=0.0: torch.randn(n, 3, generator=g) + shift  # noqa: E731
    big = frechet_distance(draw(100_000), draw(100_000, 2.0))
    assert abs(big - 12) < 0.1  # ‖(2, 2, 2)‖²; the standard error of the mean shift is 0.02
    same = [sum(frechet_distance(draw(n), draw(n)) for _ in range(20)) / 20 for n in (20, 80, 320)]
    assert same[0] > 2 * same[1] > 4 * same[2] > 0  # real against real is not 0: it falls like 1/n
    assert frechet_floor(draw(5000), 80).value == pytest.approx(same[1], rel=0.5)  # the bias of 80, mostly
    with pytest.raises(ValueError, match="more examples than features"):
        frechet_distance(draw(3), draw(10))


def test_num_2_a_covariance_of_lower_rank():
    """S_a = v vᵀ has eigenvalues 0, found a little above or below it: with S_b = I it is ‖v‖² + F − 2 ‖v‖."""
    g, below = torch.Generator().manual_seed(0), 0
    for _ in range(20):
        v = torch.randn(5, generator=g, dtype=torch.float64)
        cov, one, zero = torch.outer(v, v), torch.eye(5, dtype=torch.float64), torch.zeros(5)
        below += (torch.linalg.eigvalsh(cov) < 0).any().item()
        want = (v @ v + 5 - 2 * (v @ v).sqrt()).item()
        for pair in ((cov, one), (one, cov)):
            assert abs(frechet_gaussians(zero, pair[0], zero, pair[1]) - want) < 1e-6  # roots of 1e-16 are 1e-8
    assert below  # some are below 0, where a square root alone would be NaN


def test_both_sets_need_more_members_than_features():
    many, few = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 3)
    for pair in ((few, many), (many, few)):
        with pytest.raises(ValueError, match=r"more examples than features, got shape \(3, 3\)"):
            frechet_distance(*pair)


def test_ae_2_angles_in_float64_of_float32_planes():
    """The angle between the planes of (e1, e2) and (e1, cos a e2 + sin a e3) is a, small angles included."""
    for a in (1.0, 1e-3):
        B = torch.tensor([[1.0, 0.0], [0.0, math.cos(a)], [0.0, math.sin(a)]])
        angles = principal_angles(torch.eye(3)[:, :2], B)
        assert angles.dtype == torch.float64
        want = math.atan2(B[2, 1].item(), B[1, 1].item())
        assert angles[0].item() == pytest.approx(want, rel=1e-12) and angles[1].item() < 1e-12  # roundings of float64
    assert principal_angles(torch.eye(3)[:, :1], torch.eye(3)[:, 1:]).tolist() == [math.pi / 2]
    g = torch.Generator().manual_seed(0)
    for _ in range(50):  # right angles, of sines that rounding puts above 1, too, where asin alone would be NaN
        axes = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64)).Q
        angles = principal_angles(axes[:, :3], axes[:, 3:])
        torch.testing.assert_close(angles, torch.full((3,), math.pi / 2, dtype=torch.float64), rtol=0, atol=1e-7)


def test_a_grid_is_a_quadrature_whose_first_coordinate_runs_fastest():
    g = grid(3.0, 7, torch.float64)
    assert g.points[:8].tolist() == [[x, -3.0] for x in range(-3, 4)] + [[-3.0, -2.0]] and g.cell == 1
    fine = grid(8.0, 65, torch.float64)
    log_f = -0.5 * fine.points.square().sum(1) - math.log(2 * math.pi)
    assert fine.log_integral(log_f).item() == pytest.approx(0, abs=1e-12)  # trapezoid sums of a Gaussian are exact


def test_the_floor_is_an_estimate_over_orders_and_features_come_in_batches():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    found = frechet_floor(x, 50, splits=3)
    each = []
    for seed in range(3):
        order = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
        each.append(frechet_distance(x[order[:50]], x[order[50:]]))
    each = torch.tensor(each, dtype=torch.float64)
    assert found.value.item() == pytest.approx(each.mean().item(), rel=1e-12)
    assert found.error.item() == pytest.approx(each.std().item() / 3**0.5, rel=1e-12)


def test_spread_by_hand():
    """Of 0, 0, 2, 6: s² = 8 and m₄ = (16 + 16 + 0 + 256)/4 = 72, so that the error is √(72 − 64)/(2 √8 √4) = 1/4."""
    std, error = spread(torch.tensor([[0.0, 0.0, 2.0, 6.0], [0.0, 0.0, 0.0, 1e-9]], dtype=torch.float64))
    assert std[0].item() == pytest.approx(8**0.5) and error[0].item() == pytest.approx(0.25)
    two, none = spread(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert two.item() == pytest.approx(0.5**0.5) and none == 0  # m₄ = 1/16 lies below s⁴ = 1/4: no root of it


def test_gen_1_energy_distance_by_hand():
    """One block of 0, 1, 3 against 2, 2, 4: 2 · 18/9 − 2 · 6/6 − 2 · 4/6; what no block holds is left out."""
    x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[2.0], [2.0], [4.0]])
    across = sum(abs(a - b) for a in (0, 1, 3) for b in (2, 2, 4)) / 9
    want = 2 * across - (1 + 3 + 2) * 2 / 6 - (0 + 2 + 2) * 2 / 6
    assert energy_distance(x, y, 1).value.item() == pytest.approx(want, rel=1e-12)
    rest = torch.full((1, 1), 1e6)
    both = energy_distance(torch.cat([x, x, rest]), torch.cat([y, y, rest]), 2)
    assert both.value.item() == pytest.approx(want, rel=1e-12) and both.error == 0
    with pytest.raises(ValueError, match="3 points cannot be cut into 2 blocks of at least two"):
        energy_distance(x, y, 2)
    z = torch.arange(40.0)[:, None].square()  # 20 blocks unless said, which 40 points just fill
    assert str(energy_distance(z, z.flip(0))) == str(energy_distance(z, z.flip(0), 20))
    with pytest.raises(ValueError, match="39 points cannot be cut into 20 blocks"):
        energy_distance(z[1:], z[1:])


def test_ae_2_the_subspace_of_a_line_that_misses_the_origin():
    x = torch.tensor([[1.0, 5.0], [4.0, 9.0], [-2.0, 1.0]])  # (1, 5) + s (3, 4)
    found = principal_subspace(x, 1)
    assert found.shape == (2, 1) and found.dtype == torch.float64
    torch.testing.assert_close(found.abs(), torch.tensor([[0.6], [0.8]], dtype=torch.float64))


def test_precision_and_recall_by_hand():
    """Real 0, 1, 2, 3 reach 1 each; fake 0.5 and 10 reach 9.5 each. One fake is among the real, all real among them."""
    real, fake = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([[0.5], [10.0]])
    precision, recall = precision_recall(real, fake, 1)
    assert (precision.value, recall.value) == (0.5, 1.0)
    assert precision.error == pytest.approx(0.5)  # std of (1, 0) is 1/√2, over √2
    near = precision_recall(real, torch.tensor([[0.9], [1.0], [1.1]]), 2)
    assert (near[0].value, near[1].value) == (1.0, 0.25)  # reaches 0.2, 0.1, 0.2: only the real 1 lies among them
    far = precision_recall(real, torch.tensor([[0.0], [8.0], [9.0]]), 1)
    assert far[0].value == pytest.approx(1 / 3) and far[1].value == 1.0
    for bad in ((real, fake, 2), (real, fake.expand(2, 3), 1)):
        with pytest.raises(ValueError, match="expected two sets of more than"):
            precision_recall(*bad)


def test_precision_and_recall_tell_fidelity_from_variety(generator):
    """Two clusters; samples from one of them only are true and not all; samples around them are all and not true."""
    centres = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
    draw = lambda k, std=1.0: centres[k] + std * torch.randn(len(k), 2, generator=generator)  # noqa: E731
    k = torch.arange(600) % 2
    real, same, half, wide = draw(k), draw(k), draw(0 * k), draw(k, 4.0)
    (p, r), (p_half, r_half), (p_wide, r_wide) = (precision_recall(real, v) for v in (same, half, wide))
    assert min(p.value, r.value) > 0.9
    assert p_half.value > 0.9 and 0.45 < r_half.value < 0.55
    assert p_wide.value < 0.7 and r_wide.value > 0.9


def test_num_3_inception_score_and_hits():
    """K if sure and balanced, 1 if the classifier cannot tell or all samples are of one class; else by the formula."""
    sure = torch.eye(5, dtype=torch.float64).log()
    assert inception_score(sure.repeat(3, 1)) == pytest.approx(5)
    assert inception_score(sure[:1].repeat(9, 1)) == pytest.approx(1)
    generator = torch.Generator().manual_seed(0)
    draws = [sure[torch.randint(5, (10,), generator=generator)] for _ in range(200)]
    assert 3 < sum(map(inception_score, draws)) / 200 < 4.5  # too low of few: below 5, the score of the law
    assert inception_score(torch.full((7, 5), -math.log(5))) == pytest.approx(1)
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], dtype=torch.float64)
    kl = (p * (p / p.mean(0)).log()).sum(1)
    assert inception_score(p.log()) == pytest.approx(kl.mean().exp().item())
    with pytest.raises(ValueError, match="whose exponentials sum to 1"):
        inception_score(p)
    hits = hit_rate(p.log(), torch.tensor([0, 0, 0]))
    assert hits.value == pytest.approx(2 / 3) and hits.error == pytest.approx((1 / 3 / 3) ** 0.5)
