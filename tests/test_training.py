"""The training loop: a resumed run equals an uninterrupted one, nothing is lost or overwritten, bad data stop it."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from dlgm.denoiser import Denoiser
from dlgm.losses import simple_loss
from dlgm.nets import TimeMLP, UNet
from dlgm.schedules import VE, VPCosine, VPLinear, cosine_beta
from dlgm.tensors import randn_like
from dlgm.training import (
    EMA,
    CosineLR,
    HalfStep,
    History,
    batch_indices,
    build,
    describe,
    fit,
    has_bfloat16,
    load,
    load_weights,
    save,
    save_weights,
    step_seed,
    steps,
)  # fmt: skip
from dlgm.training.files import meaning


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


def walk(model, number, **options):
    return steps(model, noisy_loss, points(), steps=number, batch_size=16, lr=1e-2, **options)


def test_steps_are_those_of_fit_and_may_be_watched_one_by_one():
    a, b = line(), line()
    history, seen = run(a, 30), []
    for step in walk(b, 30):
        assert b.training and step.number == len(seen) + 1
        seen.append(step.loss)
        torch.rand(3)  # the caller's own draws change nothing
        b.eval()  # nor does a look in evaluation mode
    assert same(a, b) and seen == history.loss and not b.training


def test_a_run_may_be_changed_or_left_between_two_steps():
    """What a step changes is what the next one starts from; leaving the loop ends the run in evaluation mode."""
    model, loss = line(), []
    for step in walk(model, 30):
        loss.append(step.loss)
        if step.number == 10:
            before = {k: v.clone() for k, v in model.state_dict().items()}
            nn.init.zeros_(model[0].weight)
        if step.number == 11:
            break
    assert not model.training and len(loss) == 11
    assert torch.equal(model[3].bias, before["3.bias"]) is False and model[0].weight.abs().max() < 0.02  # one Adam step
    again, history = line(), History()
    for _ in walk(again, 10, history=history):
        pass
    assert history.loss == loss[:10] and same_values(again.state_dict(), before)
    optimiser = torch.optim.Adam(again.parameters(), lr=1.0)  # a ready one; its rate is set at each step
    more = list(walk(again, 12, history=history, optimizer=optimiser))
    assert [s.number for s in more] == [11, 12] and len(history.loss) == 12
    assert optimiser.param_groups[0]["lr"] == 1e-2


def same_values(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_an_interrupt_during_an_update_is_told_from_one_between_two():
    class Stopping(torch.optim.SGD):
        def step(self):
            raise KeyboardInterrupt

    with pytest.raises(HalfStep):
        next(walk(line(), 3, optimizer=Stopping))

    def stops(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as error:
        next(steps(line(), stops, points(), steps=3))
    assert error.type is KeyboardInterrupt


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
    with pytest.raises(ValueError, match=r"model Sequential\( there, Linear"):
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
    assert len(batch_indices(10, 4, 0, 1)) == 4


def test_no_two_steps_or_parts_of_a_batch_share_a_seed():
    """A generator of the CPU keeps 32 bits of its seed: they differ in these."""
    seeds = {step_seed(s, k, shard) & 0xFFFFFFFF for s in range(5) for k in range(-100, 400) for shard in range(8)}
    assert len(seeds) == 5 * 500 * 8


@pytest.mark.parametrize("device_noise", [False, True])
def test_parts_of_a_batch_have_noise_of_their_own(device_noise):
    """Drawn from the generator, and by a layer that takes none."""
    drawn, free = [], []

    def loss(model, batch, generator, step):
        drawn.append(randn_like(batch, generator))
        free.append(torch.rand(4))
        return model(batch).mean()

    run = dict(batch_size=8, accumulate=4, device_noise=device_noise, progress=False)
    fit(line(), loss, points(16)[0], steps=3, **run)
    for v in (drawn, free):
        assert len({tuple(x.flatten().tolist()) for x in v}) == 3 * 4


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


# --- averages, learning rates, precision -----------------------------------------------------------------------------


def test_the_average_forgets_its_start_and_then_follows_the_decay():
    """n updates from 0 towards constant weights 1 give 1 − Π d_i, d_i = min(decay, (1 + i)/(10 + i))."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
    ema = EMA(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(1.0)
    left = 1.0
    for i in range(1, 200):
        ema.update(model)
        left *= min(0.9, (1 + i) / (10 + i))
        assert abs(ema.model.weight.item() - (1 - left)) < 1e-6  # float32
        if i == 20:
            assert left < 1e-6  # with a plain decay of 0.9, 0.9^20 = 0.12 of the first weights would be left
    assert not ema.model.training and not any(p.requires_grad for p in ema.model.parameters())
    with pytest.raises(ValueError, match="decay must lie in"):
        EMA(model, 1.0)


def test_the_average_is_taken_after_each_step_and_buffers_are_copied():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    ema, seen = EMA(model, 0.0), []
    fit(
        model, lambda m, b, g, s: (m(b[0]) - b[1]).square().mean(), points(), steps=4, ema=ema, batch_size=16, every=1,
        progress=False, evaluate=lambda m: seen.append(m) or 0.0,
    )  # fmt: skip
    # d_1 = min(0, ...) = 0: the average is the last weights, and one step late would differ
    assert same(ema.model, model) and all(m is ema.model for m in seen)


def test_learning_rates():
    rate = CosineLR(2.0, 100, warmup=10)
    assert abs(rate(0) - 0.2) < 1e-12 and rate(100) == 0 and rate(150) == 0
    assert abs(rate(50) - 1.0) < 1e-12 and all(rate(i) > rate(i + 1) for i in range(10, 100))
    used = []

    class Recording(torch.optim.SGD):
        def step(self, closure=None):
            used.append(self.param_groups[0]["lr"])
            return super().step(closure)

    fit(
        line(),
        noisy_loss,
        points(),
        steps=6,
        batch_size=16,
        lr=CosineLR(1e-2, 6, 2),
        optimizer=Recording,
        progress=False,
    )
    assert used == [CosineLR(1e-2, 6, 2)(i) for i in range(6)]


def test_precision():
    model = line()
    seen = []

    def loss(m, b, g, s):
        out = m(b[0])
        seen.append(out.dtype)
        return (out.float() - b[1]).square().mean()

    fit(model, loss, points(), steps=1, precision="bfloat16", progress=False)
    fit(model, loss, points(), steps=1, precision="float32", progress=False)
    fit(model, loss, points(), steps=1, precision="auto", progress=False)
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16 if has_bfloat16("cpu") else torch.float32]
    assert all(p.dtype == torch.float32 for p in model.parameters())
    with pytest.raises(ValueError, match="unknown precision 'half'; known: float32, bfloat16, auto"):
        fit(model, loss, points(), steps=1, precision="half", progress=False)


def test_a_compiled_network_keeps_its_names_and_gives_the_same_weights():
    plain, compiled = line(), line()
    run(plain, 5)
    run(compiled, 5, compile="eager")
    assert same(plain, compiled) and list(plain.state_dict()) == list(compiled.state_dict())


def test_accumulation_changes_the_noise_but_not_the_meaning():
    """In parts, the gradient is that of the mean over the whole batch: equal for a loss without noise."""
    loss = lambda m, b, g, s: (m(b[0]) - b[1]).square().mean()  # noqa: E731
    a, b = line().double(), line().double()
    data = tuple(p.double() for p in points(48))
    for model, parts in ((a, 1), (b, 4)):
        fit(model, loss, data, steps=20, batch_size=16, accumulate=parts, progress=False)
    for u, v in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(u, v, rtol=1e-9, atol=1e-12)  # sums in another order
    with pytest.raises(ValueError, match="a batch of 16 cannot be cut into 5 equal parts"):
        fit(a, loss, data, steps=1, batch_size=16, accumulate=5, progress=False)


def test_a_run_from_before_a_setting_existed_goes_on_where_the_setting_is_off(tmp_path):
    file = tmp_path / "run.pt"
    run(line(), 10, checkpoint=file)
    state = torch.load(file, weights_only=True)
    assert state["settings"].pop("clip") is None
    torch.save(state, file)
    assert len(run(line(), 12, checkpoint=file).loss) == 12
    torch.save(state, file)
    with pytest.raises(ValueError, match="clip None there, 1.0 here"):
        run(line(), 12, checkpoint=file, clip=1.0)


def test_dropout_resumes_bit_for_bit_too(tmp_path):
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 32), nn.Dropout(0.5), nn.Linear(32, 1))

    whole, first, second = net(), net(), net()
    run(whole, 12)
    torch.rand(5)  # the global state is another one now
    run(first, 6, checkpoint=tmp_path / "run.pt")
    torch.rand(3)
    run(second, 12, checkpoint=tmp_path / "run.pt")
    assert same(whole, second)


def test_the_average_is_resumed_too(tmp_path):
    whole, cut = line(), line()
    a, b = EMA(whole, 0.95), EMA(cut, 0.95)
    run(whole, 20, ema=a)
    run(cut, 10, ema=b, checkpoint=tmp_path / "run.pt")
    again = line(seed=3)
    c = EMA(again, 0.95)
    run(again, 20, ema=c, checkpoint=tmp_path / "run.pt")
    assert same(a.model, c.model) and c.updates == 20
    with pytest.raises(ValueError, match="ema 0.95 there, 0.5 here"):
        run(line(), 20, ema=EMA(line(), 0.5), checkpoint=tmp_path / "run.pt")


# --- several processes, and a process that is killed ------------------------------------------------------------------

WORKER = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_training import line, noisy_loss, points
from dlgm.training import EMA, fit, processes, rank_and_world
torch.set_num_threads(1)
with processes("cpu") as device:
    model = line()
    ema = EMA(model, 0.9)
    history = fit(model, noisy_loss, points(48), steps=12, batch_size=16, lr=1e-2, device=device, ema=ema,
                  checkpoint={file!r}, every=5, progress=False, evaluate=lambda m: 1.0)
    torch.save([model.state_dict(), ema.model.state_dict(), history.loss], {file!r} + f".{{rank_and_world()[0]}}")
"""


def torchrun(script, tmp_path, n):
    file = tmp_path / "worker.py"
    file.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", str(file)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=env)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_do_what_one_does_in_two_parts(tmp_path):
    file = tmp_path / "run.pt"
    torchrun(WORKER.format(tests=str(Path(__file__).parent), file=str(file)), tmp_path, 2)
    first, second = (torch.load(f"{file}.{rank}") for rank in (0, 1))
    for mine, theirs in zip(first[0].values(), second[0].values(), strict=True):
        assert torch.equal(mine, theirs)  # both processes hold the same weights
    one = line()
    ema = EMA(one, 0.9)
    history = fit(
        one, noisy_loss, points(48), steps=12, batch_size=16, lr=1e-2, accumulate=2, ema=ema, progress=False
    )  # fmt: skip
    for got, want in ((first[0], one.state_dict()), (first[1], ema.model.state_dict())):
        for u, v in zip(got.values(), want.values(), strict=True):
            torch.testing.assert_close(u, v, rtol=1e-4, atol=1e-6)  # float32 sums in another order, 12 Adam steps
    torch.testing.assert_close(first[2], history.loss, rtol=1e-5, atol=0)
    assert file.exists()  # one of the two wrote the checkpoint


KILLED = """
import sys, time, torch
sys.path.insert(0, {tests!r})
from test_training import line, noisy_loss, points
from dlgm.training import fit
torch.set_num_threads(1)

def slow(model, batch, generator, step):
    time.sleep(0.02)
    return noisy_loss(model, batch, generator, step)

fit(line(), slow, points(), steps=100_000, batch_size=16, lr=1e-2, checkpoint={file!r}, every=10, progress=False)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_weights(tmp_path):
    """kill -9, no time to clean up: the checkpoint is whole, and the rest of the run gives the same weights."""
    file = tmp_path / "run.pt"
    script = KILLED.format(tests=str(Path(__file__).parent), file=str(file))
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        deadline = time.time() + 100
        while not file.exists() and time.time() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
    finally:
        process.kill()
        process.wait()
    done = len(torch.load(file, weights_only=True)["history"]["loss"])
    assert done >= 10
    whole, again = line(), line(seed=4)
    run(whole, done + 15)
    run(again, done + 15, checkpoint=file)
    assert same(whole, again)


# --- files that give a ready denoiser ---------------------------------------------------------------------------------


def denoiser(predicts="v", schedule=None, seed=0):
    torch.manual_seed(seed)
    net = UNet(1, (8, 16), heads=2, classes=3, time_scale=10.0)
    for p in net.parameters():
        nn.init.normal_(p, std=0.1)
    return Denoiser(net, schedule or cosine_beta(100), predicts).eval()


@pytest.mark.parametrize("schedule", [cosine_beta(100), VPCosine(), VPLinear(0.2, 15.0), VE(0.02, 30.0)])
def test_a_file_gives_back_the_denoiser(tmp_path, schedule):
    model = denoiser(schedule=schedule)
    save(model, tmp_path / "a.safetensors", steps=3, words="noise to ε")
    back, card = load(tmp_path / "a.safetensors")
    x, y = torch.randn(2, 1, 8, 8), torch.tensor([1, 2])
    t = torch.tensor([3, 90]) if hasattr(schedule, "T") else torch.tensor([0.03, 0.9])
    assert torch.equal(back(x, t, y=y).x0, model(x, t, y=y).x0) and not back.training
    assert card == {"steps": "3", "words": "noise to ε"}
    if hasattr(schedule, "T"):
        assert torch.equal(back.schedule.alpha_bar, schedule.alpha_bar)
    else:
        assert back.schedule == schedule


def test_half_the_bytes_for_weights_rounded_to_half_precision(tmp_path):
    model = denoiser()
    save(model, tmp_path / "full.safetensors")
    save(model, tmp_path / "half.safetensors", dtype=torch.float16)
    full, half = (tmp_path / f"{n}.safetensors" for n in ("full", "half"))
    head = len(describe(model)) + 6000  # both files carry the description and the table of names
    assert half.stat().st_size - head < 0.55 * (full.stat().st_size - head) + head
    back, _ = load(half)
    for u, v in zip(back.parameters(), model.parameters(), strict=True):
        assert u.dtype == torch.float32 and torch.equal(u, v.half().float())


def test_a_checkpoint_of_a_run_gives_the_averaged_denoiser(tmp_path):
    model = denoiser()
    ema = EMA(model, 0.5)

    def loss(m, x, generator, step):
        return simple_loss(m, x, 5, torch.randn(x.shape, generator=generator)).mean()

    fit(
        model,
        loss,
        torch.randn(8, 1, 8, 8),
        steps=3,
        batch_size=4,
        ema=ema,
        checkpoint=tmp_path / "run.pt",
        progress=False,
    )
    back, card = load(tmp_path / "run.pt")
    assert same(back, ema.model) and not same(back, model) and card == {"steps": "3"}


def test_what_cannot_be_loaded_or_described(tmp_path):
    with pytest.raises(ValueError, match="a.safetensors is missing or damaged"):
        load(tmp_path / "a.safetensors")
    (tmp_path / "b.pt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ValueError, match="b.pt is no checkpoint"):
        load(tmp_path / "b.pt")
    save_weights(line(), tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="c.safetensors holds weights without network and schedule"):
        load(tmp_path / "c.safetensors")
    run(line(), 1, checkpoint=tmp_path / "d.pt")
    with pytest.raises(ValueError, match="d.pt is a checkpoint of a model that is not a Denoiser"):
        load(tmp_path / "d.pt")
    with pytest.raises(ValueError, match="a Linear cannot be described"):
        describe(Denoiser(nn.Linear(2, 2), cosine_beta(10)))
    rebuilt = build(describe(denoiser()))
    assert [p.shape for p in rebuilt.parameters()] == [p.shape for p in denoiser().parameters()]


def test_networks_that_computed_something_else_with_their_weights_are_refused(tmp_path):
    """A U-Net of the first version normalised in other groups, with weights of the same shapes."""
    now = Denoiser(UNet(1, (8,), heads=2), cosine_beta(10))
    parts = json.loads(describe(now))
    assert parts.pop("version") == UNet.version == 2
    save_weights(now, tmp_path / "old.safetensors", denoiser=json.dumps(parts))
    with pytest.raises(ValueError, match="holds a UNet of version 1, here it has version 2"):
        load(tmp_path / "old.safetensors")
    save(now, tmp_path / "new.safetensors")
    assert describe(load(tmp_path / "new.safetensors")[0]) == describe(now)
    same = Denoiser(TimeMLP(2), cosine_beta(10))  # what never changed is described as ever, and old runs of it go on
    assert "version" not in json.loads(describe(same)) and not any("version" in name for name in meaning(same))
    assert meaning(now)["UNet version"] == 2


@pytest.mark.parametrize("what", ["gradient", "weights"])
@pytest.mark.parametrize("at", [4, 8])
def test_what_is_not_finite_never_reaches_weights_average_or_checkpoint(tmp_path, what, at):
    """A finite loss with an infinite gradient, and a step that spoils the weights; in the middle and at the end."""
    good, model, file = line(), line(), tmp_path / "run.pt"
    ema, good_ema = EMA(model), EMA(good)
    run(good, at, ema=good_ema)

    class Spoiled(torch.optim.Adam):
        count = 0

        def step(self, closure=None):
            super().step(closure)
            Spoiled.count += 1
            if what == "weights" and Spoiled.count == at + 1:
                with torch.no_grad():
                    self.param_groups[0]["params"][0][0, 0] = math.nan

    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g * math.inf

    def loss(m, batch, generator, step):
        value = noisy_loss(m, batch, generator, step)
        return Steep.apply(value) if what == "gradient" and step == at else value

    options = {"steps": 9, "batch_size": 16, "lr": 1e-2, "progress": False, "optimizer": Spoiled, "ema": ema}
    word = "gradient's norm" if what == "gradient" else "largest weight"
    with pytest.raises(
        ValueError, match=f"the {word} is .* at step {at}; the model keeps the weights before this step"
    ):
        fit(model, loss, points(), checkpoint=file, every=2, **options)
    assert same(model, good) and same(ema.model, good_ema.model)
    kept = torch.load(file)
    assert all(torch.isfinite(v).all() for part in (kept["model"], kept["ema"]["model"]) for v in part.values())
    assert len(kept["history"]["loss"]) == at


def test_a_dataset_gives_the_weights_of_the_tensors_in_it(tmp_path):
    tensors, stored, file = line(), line(), tmp_path / "run.pt"
    run(tensors, 9)
    data = torch.utils.data.TensorDataset(*points())
    data.digest = "a"
    options = {"batch_size": 16, "lr": 1e-2, "progress": False, "checkpoint": file, "workers": 1}
    state = torch.get_rng_state()
    fit(stored, noisy_loss, data, steps=4, **options)
    assert torch.equal(torch.get_rng_state(), state)
    fit(stored, noisy_loss, data, steps=9, **options)
    assert same(tensors, stored)
    data.digest = "b" * 64
    with pytest.raises(ValueError, match="other data"):
        fit(stored, noisy_loss, data, steps=10, **options)
