"""Clips: inflation, who hears whom, frames that are known, the exact law of missing ones, numbers of motion.

Ledger VID-1, VID-2, APP-3, APP-5, M-28.
"""

import pytest
import torch

from dlgm import data, nets, training, video
from dlgm.denoiser import Denoiser
from dlgm.oracles import AutoRegression, affine
from dlgm.process import q_sample
from dlgm.restoration import Reconstruction, Replacement, matrix
from dlgm.samplers import DDIM, sample
from dlgm.schedules import cosine_beta, time_grid

F64 = torch.float64
SCHEDULE = cosine_beta()


def stirred(module, dtype=torch.float32, seed=0):
    """The module with every weight moved, so that nothing starts at zero."""
    g = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.data.add_(0.2 * torch.randn(p.shape, generator=g))
    return module.to(dtype).eval()


@pytest.fixture(scope="module")
def net():
    return stirred(nets.VideoUNet(2, (8, 16), heads=2, attention=(False, True)), F64)


def test_vid_2_an_inflated_network_is_the_network_of_pictures_bit_for_bit(generator):
    still = stirred(nets.UNet(1, (16, 32, 32), attention=(False, True, True)))
    clips, t = torch.randn(3, 5, 1, 20, 20, generator=generator), torch.tensor([3, 500, 900])
    moving = nets.inflate(still)
    want = still(clips.flatten(0, 1), t.repeat_interleave(5)).unflatten(0, (3, 5))
    assert torch.equal(moving(clips, t), want)
    with_frames = nets.inflate(still, beside=2)
    told = video.beside(clips, torch.tensor([True, False, False, True, False]))
    assert torch.equal(with_frames(clips, t, beside=told), want)
    assert sum(p.numel() for p in moving.parameters()) > sum(p.numel() for p in still.parameters())


def test_vid_2_a_clip_of_one_frame_is_a_picture(net, generator):
    """So pictures and clips can be trained on in turn: the blocks through time are passed by."""
    x, t = torch.randn(4, 1, 2, 8, 8, generator=generator, dtype=F64), torch.tensor([1, 9, 99, 999])
    still = nets.UNet(2, (8, 16), heads=2, attention=(False, True)).double().eval()
    still.load_state_dict({k: v for k, v in net.state_dict().items() if "through" not in k})
    torch.testing.assert_close(net(x, t)[:, 0], still(x[:, 0], t), rtol=0, atol=1e-12)


def test_vid_2_no_value_crosses_between_clips_and_all_frames_are_heard(net, generator):
    """∂ out[i] / ∂ in[j] = 0 for clips i ≠ j, exactly; within a clip every frame hears every other, and itself most."""
    x = torch.randn(3, 4, 2, 8, 8, generator=generator, dtype=F64, requires_grad=True)
    t = torch.tensor([5, 50, 500])
    for i in range(3):
        grad = torch.autograd.grad(net(x, t)[i].sum(), x)[0].flatten(2).abs().sum(2)
        assert (grad[[j for j in range(3) if j != i]] == 0).all() and (grad[i] > 0).all()
    for f in range(4):
        heard = torch.autograd.grad(net(x, t)[0, f].square().sum(), x)[0][0].flatten(1).abs().sum(1)
        assert (heard > 0).all()


def test_vid_2_a_block_through_time_keeps_pixels_apart_and_knows_the_order(generator):
    block = stirred(nets.TimeBlock(8, True, 2), F64)
    h = torch.randn(2 * 5, 8, 3, 4, generator=generator, dtype=F64, requires_grad=True)
    out = block(h, 5)
    # normalisation is over the clip, so a pixel is heard by others through one mean and one variance only
    grad = torch.autograd.grad(out[1, :, 2, 1].sum(), h)[0].abs().sum(1)
    assert (grad[5:] == 0).all()
    same, others = grad[:5, 2, 1].mean(), grad[:5].mean()
    assert same > 5 * others
    order = torch.tensor([3, 0, 4, 1, 2])
    clip = h.unflatten(0, (2, 5))
    turned = block(clip[:, order].flatten(0, 1), 5).unflatten(0, (2, 5))
    assert (turned - out.unflatten(0, (2, 5))[:, order]).abs().max() > 0.01
    fresh = nets.TimeBlock(8, True, 2).double()
    torch.testing.assert_close(fresh(h, 5), h, rtol=0, atol=0)


def test_vid_2_separated_is_two_small_attentions():
    """(F H W)² products against F (H W)² + H W F²: 16 frames of 8 × 8 need 12.8 times fewer."""
    F, n = 16, 64
    assert (F * n) ** 2 / (F * n**2 + n * F**2) == pytest.approx(12.8)


def test_vid_2_shapes_are_asked_for(net):
    with pytest.raises(ValueError, match=r"expected clips \(B, F, 2, H, W\), got \(4, 2, 8, 8\)"):
        net(torch.zeros(4, 2, 8, 8, dtype=F64), torch.zeros(4))


def test_vid_1_masks_to_train_with_leave_something_to_predict(generator):
    known = video.random_known(4000, 16, generator)
    count = known.sum(1)
    assert known.shape == (4000, 16) and known.dtype == torch.bool and (count < 16).all()
    none = (count == 0).double().mean()
    assert abs(none - 0.3 - 0.1 / 16) < 0.04
    halves, quarters = ((known == video.every(16, k)).all(1).double().mean() for k in (2, 4))
    assert abs(halves - 0.15) < 0.03 and abs(quarters - 0.15) < 0.03


def test_vid_1_what_is_told_of_known_frames(generator):
    clip = torch.randn(2, 4, 3, 2, 2, generator=generator)
    known = torch.tensor([[True, False, True, False], [False, False, False, True]])
    told = video.beside(clip, known)
    assert told.shape == (2, 4, 4, 2, 2)
    for b in range(2):
        for f in range(4):
            assert torch.equal(told[b, f, :3], clip[b, f] * known[b, f])
            assert (told[b, f, 3] == known[b, f]).all()
    hidden = torch.full_like(clip, float("nan"))
    assert video.beside(torch.where(known[..., None, None, None], clip, hidden), known).isfinite().all()
    with pytest.raises(ValueError, match=r"expected a mask \(2, 4\) or \(4,\), got"):
        video.beside(clip, torch.tensor([True, False]))


def test_vid_1_the_loss_counts_unknown_frames_only(generator):
    x0 = torch.randn(3, 4, 1, 2, 2, generator=generator)
    known = torch.tensor([[True, True, False, False], [False] * 4, [True, False, True, True]])
    net = lambda x, t, beside: torch.zeros_like(x)  # noqa: E731
    value = video.loss(Denoiser(net, SCHEDULE, "x0"), x0, known, generator)
    want = [x0[b][~known[b]].square().mean() for b in range(3)]
    torch.testing.assert_close(value, torch.stack(want))


def test_vid_1_windows_and_frames_between_keep_what_is_given(generator):
    model = Denoiser(nets.VideoUNet(1, (8,), heads=2, beside=2), SCHEDULE, "v")
    clip, times = torch.randn(2, 4, 1, 4, 4, generator=generator), time_grid(SCHEDULE, 3)
    with torch.no_grad():
        longer = video.extend(model, clip, 5, 2, times, generator)
        denser = video.between(model, clip, times, 3, generator)
    assert longer.shape == (2, 10, 1, 4, 4) and torch.equal(longer[:, :4], clip)
    assert denser.shape == (2, 12, 1, 4, 4) and torch.equal(denser[:, ::3], clip)
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"expected 1 <= overlap < 4, got {wrong}"):
            video.extend(model, clip, 5, wrong, times)


def test_vid_1_frames_between_have_the_law_of_the_formula():
    """Of neighbours one apart: mean ρ/(1 + ρ²) (x₋ + x₊), variance (1 − ρ²)/(1 + ρ²)."""
    rho = 0.8
    mean, cov = AutoRegression(3, rho).missing([True, False, True], [1.0, 0.0, 0.5])
    assert mean[1].item() == pytest.approx(rho / (1 + rho**2) * 1.5)
    assert cov[1, 1].item() == pytest.approx((1 - rho**2) / (1 + rho**2))
    with pytest.raises(ValueError, match=r"expected rho in \(-1, 1\), got 1"):
        AutoRegression(3, 1)


@pytest.mark.parametrize("frames,known", [(2, 0), (5, 2)])
def test_vid_1_reconstruction_guidance_is_exact_for_one_weight(frames, known):
    """At every t the guided answer is that of the conditional law, which no constant weight's is; one frame known."""
    world = AutoRegression(frames, 0.8)
    mask = torch.arange(frames) == known
    y = torch.ones(frames, dtype=F64)
    operator = matrix(torch.eye(frames, dtype=F64)[known : known + 1])
    plain = world.denoiser(SCHEDULE)
    right = Reconstruction(plain, operator, torch.ones(1, 1, dtype=F64), 0.0, world.spread(mask))
    mean, cov = world.missing(mask, y)
    x = torch.randn(6, frames, generator=torch.Generator().manual_seed(0), dtype=F64)
    for t in (50, 400, 900):
        signal, noise = float(SCHEDULE.signal(t)), float(SCHEDULE.noise(t))
        S = signal**2 * cov + noise**2 * torch.eye(frames, dtype=F64)
        score = -torch.linalg.solve(S, (x - signal * mean).T).T
        torch.testing.assert_close(right(x, t).score, score)
        constant = Reconstruction(plain, operator, torch.ones(1, 1, dtype=F64), 0.0, video.of_weight(2.0))
        assert (constant(x, t).score - score).abs().max() > 0.01
    law = affine.walk_law(right, DDIM(), time_grid(SCHEDULE, 400), torch.zeros(frames), torch.eye(frames))
    torch.testing.assert_close(law[0], mean, rtol=0, atol=0.01)  # the walk's own error in 400 steps
    torch.testing.assert_close(law[1], cov, rtol=0, atol=0.01)


def test_vid_1_what_replacement_and_constant_weights_end_with():
    """Mean .8 and variance .36 are right. The linear schedule, as the text quotes it."""
    from dlgm.schedules import linear_beta

    schedule, world = linear_beta(), AutoRegression(2, 0.8)
    known, y = torch.tensor([True, False]), torch.tensor([1.0, 0.0], dtype=F64)
    operator, grid = matrix(torch.tensor([[1.0, 0.0]], dtype=F64)), time_grid(schedule, 1000)
    plain, one = world.denoiser(schedule), torch.ones(1, 1, dtype=F64)

    def ends(denoiser, sampler):
        mean, cov = affine.walk_law(denoiser, sampler, grid, torch.zeros(2), torch.eye(2))
        return [round(v, 2) for v in (mean[1].item(), cov[1, 1].item())]

    assert ends(plain, Replacement(DDIM(), known, y)) == [0.35, 0.6]
    for w, want in ((1.0, [0.37, 0.56]), (2.0, [0.56, 0.42]), (5.0, [0.79, 0.31])):
        got = ends(Reconstruction(plain, operator, one, 0.0, video.of_weight(w)), DDIM())
        assert got == pytest.approx(want, abs=0.11)


def test_vid_1_a_constant_weight_as_the_paper_writes_it(generator):
    """x̂_0 − (w signal/2) ∇‖y − x̂_known‖², by automatic differentiation."""
    world, t, w = AutoRegression(3, 0.6), 500, 2.0
    plain, operator = world.denoiser(SCHEDULE), matrix(torch.eye(3, dtype=F64)[:1])
    y = torch.tensor([[0.7]], dtype=F64)
    x = torch.randn(4, 3, generator=generator, dtype=F64)
    z = x.clone().requires_grad_()
    gap = (y - plain(z, t).x0[:, :1]).square().sum()
    want = plain(x, t).x0 - 0.5 * w * float(SCHEDULE.signal(t)) * torch.autograd.grad(gap, z)[0]
    got = Reconstruction(plain, operator, y, 0.0, video.of_weight(w))(x, t).x0
    torch.testing.assert_close(got, want)


def test_vid_1_a_told_denoiser_keeps_what_is_known(generator):
    clip = torch.randn(2, 3, 1, 4, 4, generator=generator)
    known = torch.tensor([True, False, True])
    model = Denoiser(nets.VideoUNet(1, (8,), heads=2, beside=2), SCHEDULE, "v")
    told = video.Told(model, clip, known)
    with torch.no_grad():
        x = sample(told, DDIM(), torch.randn(2, 3, 1, 4, 4, generator=generator), time_grid(SCHEDULE, 4))
        p = told(q_sample(SCHEDULE, clip, 300, torch.randn(clip.shape, generator=generator)), 300)
    assert torch.equal(x[:, known], clip[:, known]) and torch.equal(p.x0[:, known], clip[:, known])


def test_vid_1_numbers_of_motion_know_real_flights(generator):
    clips, tracks = data.moving_digits(48, generator, size=20, digit=12)
    path = video.centroids(clips)
    rms, speed = video.folded_line(path, 8.0)
    assert rms.max() < 0.6  # a digit is drawn at the nearest whole pixel: .29 an axis
    flight = (tracks[:, 0].diff(dim=1).abs().max(1).values).square().sum(1).sqrt()  # steps that touch no wall
    assert (speed - flight).abs().median() < 0.1
    walk = torch.randn(48, 16, 2, generator=generator).cumsum(1)
    assert video.folded_line(walk, 8.0)[0].median() > 0.8
    still = clips[:, :1].expand(-1, 16, -1, -1, -1)
    rms, speed = video.folded_line(video.centroids(still), 8.0)
    assert rms.max() < 1e-3 and speed.max() == 0  # perfect, and does not move: never the one without the other
    assert video.steps_of(video.centroids(still)).max() < 1e-4


def test_vid_1_a_digit_is_known_wherever_it_flies(generator):
    """Moved to the middle and enlarged, the judge of still digits sees one digit in all 16 frames of 95 % of clips."""
    clips, _ = data.moving_digits(40, generator, size=20, digit=12)
    judge = nets.Classifier()
    training.load_weights(judge, data.checkpoint("judge_mnist"))
    with torch.no_grad():
        seen = judge(video.centred(clips.flatten(0, 1), 28, 12)).argmax(1).unflatten(0, (40, 16))
    assert (seen == seen[:, :1]).all(1).double().mean() > 0.95
