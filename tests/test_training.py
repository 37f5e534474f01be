"""The training loop: a resumed run equals an uninterrupted one, nothing is lost or overwritten, bad data stop it."""

import math
import time

import pytest
import torch
from torch import nn

from dlgm.training import History, batch_indices, fit, load_weights, save_weights, step_seed


def line(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.0), nn.Linear(8, 1))


def noisy_loss(model, batch, generator, step):
    x, y = batch
    return (model(x + 0.1 * torch.randn(x.shape, generator=generator)) - y).square().mean()


def points(n=50):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    return x, x.sum(1, keepdim=True)


def run(model, steps, **options):
    return fit(
        model, noisy_loss, points(), steps=steps, batch_size=16, lr=1e-2, device="cpu", progress=False, **options
    )


def same(a, b):
    return all(torch.equal(u, v) for u, v in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns_and_is_reproducible():
    a, b = line(), line()
    history = run(a, 200)
    run(b, 200)
    assert same(a, b) and not a.training
    assert len(history.loss) == 200 and sum(history.loss[-20:]) < 0.2 * sum(history.loss[:20])
    c = line()
    fit(c, noisy_loss, points(), steps=200, batch_size=16, lr=1e-2, seed=1, progress=False)
    assert not same(a, c)


def test_the_global_generator_is_left_alone():
    model = line()
    state = torch.get_rng_state()
    run(model, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    whole, first, second = line(), line(), line(seed=9)
    run(whole, 30)
    file = tmp_path / "run.pt"
    run(first, 20, checkpoint=file, every=10)
    history = run(second, 30, checkpoint=file, every=10)  # starts from other weights: the file's replace them
    assert same(whole, second) and len(history.loss) == 30
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


@pytest.mark.parametrize("at", [0, 13])
def test_an_interrupt_keeps_the_weights_and_the_run_can_go_on(tmp_path, capsys, at):
    whole, model, file = line(), line(), tmp_path / "run.pt"
    run(whole, 30)

    def interrupted(m, batch, generator, step):
        if step == at:
            raise KeyboardInterrupt
        return noisy_loss(m, batch, generator, step)

    history = fit(model, interrupted, points(), steps=30, batch_size=16, lr=1e-2, progress=False, checkpoint=file)
    assert history.interrupted and len(history.loss) == at and f"after {at} of 30" in capsys.readouterr().out
    half = line()
    if at:
        run(half, at)
    assert same(half, model)
    history = run(model, 30, checkpoint=file)
    assert same(whole, model) and not history.interrupted


def test_an_interrupt_inside_an_update_does_not_reach_the_checkpoint(tmp_path):
    whole, model, file = line(), line(), tmp_path / "run.pt"
    run(whole, 30)

    class Torn(torch.optim.Adam):
        def step(self, closure=None):
            if len(self.state) and next(iter(self.state.values()))["step"] == 14:
                with torch.no_grad():
                    self.param_groups[0]["params"][0].add_(1)  # one tensor is moved, the others are not
                raise KeyboardInterrupt
            super().step(closure)

    options = dict(steps=30, batch_size=16, lr=1e-2, progress=False, checkpoint=file, every=10)
    assert fit(model, noisy_loss, points(), optimizer=Torn, **options).interrupted
    run(model, 30, checkpoint=file, every=10)
    assert same(whole, model)


def test_a_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "run.pt"
    run(line(), 5, checkpoint=file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match="lr 0.01 there, 0.1 here"):
        fit(line(), noisy_loss, points(), steps=9, batch_size=16, lr=0.1, progress=False, checkpoint=file)
    with pytest.raises(ValueError, match="another model"):
        run(nn.Linear(3, 1), 9, checkpoint=file)
    assert file.read_bytes() == before
    file.write_bytes(before[: len(before) // 2])
    with pytest.raises(ValueError, match="run.pt is not a checkpoint of this loop, or it is damaged"):
        run(line(), 9, checkpoint=file)


def test_a_crash_while_writing_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "run.pt"
    run(line(), 10, checkpoint=file)
    before, save = file.read_bytes(), torch.save

    def crash(state, path):
        save(state, path)
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        run(line(), 20, checkpoint=file)
    assert file.read_bytes() == before


def test_each_epoch_uses_every_example_once():
    for epoch in range(3):
        seen = torch.cat([batch_indices(12, 4, seed=3, step=3 * epoch + k) for k in range(3)])
        assert sorted(seen.tolist()) == list(range(12))
    assert not torch.equal(batch_indices(12, 12, 3, 0), batch_indices(12, 12, 3, 1))
    assert len(batch_indices(5, 100, 0, 7)) == 5  # fewer examples than a batch
    assert len(batch_indices(10, 4, 0, 1)) == 4 and len({step_seed(s, k) for s in range(5) for k in range(500)}) == 2500


def test_evaluation_happens_every_n_steps_without_gradients_in_evaluation_mode():
    model, seen = line(), []

    def evaluate(m):
        seen.append((m.training, torch.is_grad_enabled()))
        return 7

    history = run(model, 25, evaluate=evaluate, every=10)
    assert [s for s, _ in history.evaluations] == [10, 20, 25] and history.evaluations[0][1] == 7
    assert seen == [(False, False)] * 3 and "evaluation 7" in repr(history)


def test_clip_limits_the_gradient():
    """Plain gradient descent with rate 1: the first step is as long as the clipped gradient."""
    model = nn.Linear(3, 1)
    before = nn.utils.parameters_to_vector(model.parameters()).clone()
    options = dict(steps=1, optimizer=torch.optim.SGD, lr=1.0, clip=1e-3, progress=False)
    fit(model, noisy_loss, points(), **options)
    moved = nn.utils.parameters_to_vector(model.parameters()) - before
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-3)  # clip_grad_norm_ adds 1e-6 to the norm


@pytest.mark.parametrize(
    "data, words",
    [
        ((torch.zeros(0, 3), torch.zeros(0, 1)), "at least 1"),
        ((torch.zeros(4, 3), torch.zeros(3, 1)), r"one length.*\[4, 3\]"),
        ((torch.full((4, 3), math.nan), torch.zeros(4, 1)), "12 values that are NaN or infinite"),
    ],
)
def test_bad_data_stop_before_the_first_step(data, words):
    with pytest.raises(ValueError, match=words):
        fit(line(), noisy_loss, data, steps=1, progress=False)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": 1.5}, {"steps": 1, "batch_size": 0}, {"steps": 1, "every": 0}]
)
def test_bad_numbers(options):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        fit(line(), noisy_loss, points(), progress=False, **options)


def test_a_loss_that_is_not_finite_stops_with_the_weights_before_it():
    model, good = line(), line()
    run(good, 4)

    def loss(m, batch, generator, step):
        return noisy_loss(m, batch, generator, step) * (math.inf if step == 4 else 1)

    with pytest.raises(ValueError, match="the loss is inf at step 4"):
        fit(model, loss, points(), steps=9, batch_size=16, lr=1e-2, progress=False)
    assert same(model, good)


def test_weights_and_their_card_come_back_and_are_not_overwritten(tmp_path):
    model, other, file = line(), line(seed=3), tmp_path / "w.safetensors"
    save_weights(model, file, command="python x.py", steps=3)
    assert load_weights(other, file) == {"command": "python x.py", "steps": "3"} and same(model, other)
    with pytest.raises(ValueError, match="exists already"):
        save_weights(other, file)
    with pytest.raises(ValueError, match="weights of this model"):
        load_weights(nn.Linear(3, 1), file)
    file.write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match="w.safetensors does not hold"):
        load_weights(model, file)
    with pytest.raises(ValueError, match="missing.safetensors"):
        load_weights(model, tmp_path / "missing.safetensors")


def test_the_bar_shows_loss_and_time_left_and_cleans_up(capsys):
    def slow(model, batch, generator, step):
        time.sleep(0.06)  # longer than tqdm's smallest interval between two pictures after two steps
        return noisy_loss(model, batch, generator, step)

    fit(line(), slow, points(), steps=6)
    text = capsys.readouterr().err
    assert "loss=" in text and "/6 [" in text and "<" in text  # tqdm writes elapsed<remaining
    assert text.rstrip(" ").endswith("\r")  # the line is wiped


def test_history_of_nothing_prints():
    assert "0 steps" in repr(History())
