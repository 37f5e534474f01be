"""Floor 5: one training loop for the whole course, on one processor, one GPU or several.

Step i of a run with seed s is a function of (weights, optimiser, s, i) alone: the batch and the noise come from
generators that are seeded anew at each step. So a run that was interrupted and resumed gives the same weights as one
that was not, and nothing about random states has to be stored.
"""

import contextlib
import copy
import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
import torch.distributed as dist
from torch import nn
from tqdm.auto import tqdm

from . import nets, schedules
from .denoiser import Denoiser


@dataclass
class History:
    """What a run recorded.

    Attributes:
        loss: the training loss of each step.
        evaluations: pairs (step, value), what ``evaluate`` returned.
        seconds: time spent, evaluations included, over all sittings.
        interrupted: whether the run was stopped before its last step.
    """

    loss: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    def __repr__(self):
        last = sum(self.loss[-50:]) / max(1, len(self.loss[-50:]))
        seen = f", evaluation {self.evaluations[-1][1]:.4g}" if self.evaluations else ""
        stopped = ", interrupted" if self.interrupted else ""
        return f"{len(self.loss)} steps{stopped}, loss {last:.4g} (mean of the last 50){seen}"


def step_seed(seed, step):
    """The seed of everything random in one step; different for each (seed, step) that a course can meet."""
    return (seed * 1_000_003 + step) % 2**32


def batch_indices(n, batch_size, seed, step):
    """Which examples step ``step`` uses: each epoch is one permutation of all n, cut into batches; (batch_size,).

    What is left over at the end of an epoch is skipped; a data set smaller than a batch is one batch.
    """
    size = min(n, batch_size)
    epoch, k = divmod(step, n // size)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(step_seed(seed, -1 - epoch)))
    return order[k * size : (k + 1) * size]


@dataclass(frozen=True)
class CosineLR:
    """A learning rate that rises on a line over ``warmup`` steps and falls to 0 on half a cosine at ``steps``.

    lr(i) = peak · min(1, (i + 1)/warmup) · ½ (1 + cos(π i/steps)).
    """

    peak: float
    steps: int
    warmup: int = 100

    def __call__(self, step):
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return self.peak * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))


class EMA:
    """An exponential moving average of a model's weights, as a model of its own: ``.model``.

    θ̄ ← d θ̄ + (1 − d) θ after each step, with d = min(decay, (1 + n)/(10 + n)) at update n. The second part lets the
    first, useless weights be forgotten in tens of steps and not in 1/(1 − decay).

    Args:
        model: a Module; it is copied.
        decay: in [0, 1); about 1 − 10/steps suits a short run.
    Raises:
        ValueError: decay outside [0, 1).
    Source: Ho et al. 2020, section 4; ledger M-25.
    """

    def __init__(self, model, decay=0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.decay, self.updates = decay, 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        """Move towards ``model``; to be called after the optimiser's step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
        for ours, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)


def has_bfloat16(device):
    """Whether the hardware multiplies bfloat16 itself; emulated, it is some ten times slower than float32."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return any(getattr(torch.cpu, f, bool)() for f in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return False


def mixed_precision(device, precision):
    """The context in which the loss is computed.

    Args:
        precision: "float32", "bfloat16" (matrix products and convolutions only; weights stay float32), or "auto":
            bfloat16 where the hardware has it.
    Raises:
        ValueError: an unknown precision.
    """
    device = torch.device(device)
    if precision not in ("float32", "bfloat16", "auto"):
        raise ValueError(f"unknown precision {precision!r}; known: float32, bfloat16, auto")
    if precision == "float32" or precision == "auto" and not has_bfloat16(device):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextlib.contextmanager
def processes(device=None):
    """Join the other processes of a ``torchrun``, if there are any, for as long as the context lasts.

    Args:
        device: "cuda" gives each process the card of its local rank; None takes a card where there is one.
    Yields:
        The device of this process.
    Raises:
        ValueError: there is no such device here.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available() or device.type == "mps" and not torch.mps.is_available():
        raise ValueError(f"this machine, or this build of PyTorch, has no {device.type} device; take cpu")
    if "RANK" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank_and_world():
    """(number of this process, number of processes): (0, 1) outside ``torchrun``."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


class _Objective(nn.Module):
    """The loss as a Module, so that DistributedDataParallel can wrap model and loss together."""

    def __init__(self, model, loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch, generator, step):
        return self.loss(self.model, batch, generator, step)


def fit(
    model, loss, data, *, steps, batch_size=128, lr=1e-3, optimizer=torch.optim.Adam, clip=None, seed=0,
    device=None, ema=None, precision="float32", compile=False, accumulate=1, evaluate=None, every=None,
    checkpoint=None, progress=True,
):  # fmt: skip
    """Train ``model`` in place for ``steps`` steps; an interrupt keeps the weights reached so far.

    Under ``torchrun`` (inside ``processes()``) every process computes its share of each batch and all end with the
    same weights; p processes do what one does with ``accumulate=p``, up to the rounding of a sum.

    Args:
        model: a Module. If it has a method ``validate(*data)``, that is called before the first step.
        loss: function (model, batch, generator, step) -> scalar to minimise. ``batch`` is a tensor or a tuple of them,
            as ``data`` is; ``step`` counts from 0; all noise must come from ``generator``.
        data: a tensor (N, ...) or a tuple of tensors of equal length.
        batch_size: of all processes together.
        lr: a number, or a function of the step such as CosineLR.
        optimizer: function (parameters, lr=...) -> Optimizer.
        clip: largest norm of the gradient, or None.
        device: "cpu", "cuda", ...; the model stays on it afterwards. None leaves the model where it is.
        ema: an EMA of this model, updated after every step and kept in the checkpoint.
        precision: see ``mixed_precision``.
        compile: whether to compile the network (``model.net`` if there is one); a string names a backend.
        accumulate: parts into which each process cuts its share of a batch, to save memory.
        evaluate: function model -> number, or None to record nothing, called every ``every`` steps and at the end, in
            evaluation mode and without gradients, with the average of ``ema`` where there is one; by the first
            process only.
        checkpoint: a file, written every ``every`` steps, at the end and when interrupted, never half. If it exists
            the run goes on from it.
        progress: whether to show a bar with the loss and the time left.
    Returns:
        History.
    Raises:
        ValueError: the data are empty, not finite or of different lengths; the batch cannot be shared evenly; a
            checkpoint belongs to another run; the loss becomes NaN or infinite (the weights are then those before
            that step).
    """
    parts = data if isinstance(data, tuple) else (data,)
    _validate(model, parts, steps, batch_size, every)
    rank, world = rank_and_world()
    shards, size = world * accumulate, min(batch_size, len(parts[0]))
    if size % shards:
        raise ValueError(f"a batch of {size} cannot be cut into {shards} equal parts")
    device = torch.device(device or next(model.parameters()).device)
    model.to(device).train()
    rate = lr if callable(lr) else lambda step: lr
    optimiser, history = optimizer(model.parameters(), lr=rate(0)), History()
    settings = {"batch_size": batch_size, "lr": repr(lr) if callable(lr) else lr, "clip": clip, "seed": seed}
    settings |= {"examples": len(parts[0]), "shards": shards, "ema": ema and ema.decay}
    checkpoint = None if checkpoint is None else Path(checkpoint)
    if ema is not None:
        ema.model.to(device)
    if checkpoint is not None and checkpoint.exists():
        history = _resume(checkpoint, model, optimiser, ema, settings, device)
    if compile:
        getattr(model, "net", model).compile(backend=compile if isinstance(compile, str) else "inductor")
    objective, each = _Objective(model, loss), contextlib.nullcontext
    if world > 1:
        objective = nn.parallel.DistributedDataParallel(objective)
        each = objective.no_sync
    amp, every, updating = mixed_precision(device, precision), every or steps, False
    start = time.perf_counter() - history.seconds

    def keep():
        history.seconds = time.perf_counter() - start
        if checkpoint is not None and rank == 0:
            _save(checkpoint, model, optimiser, ema, settings, history)

    def part_of(step, shard):
        chosen = batch_indices(len(parts[0]), batch_size, seed, step)[shard::shards]
        batch = tuple(part[chosen.to(part.device)].to(device) for part in parts)
        generator = torch.Generator().manual_seed(step_seed(seed, step) + (shard << 32))
        torch.manual_seed(step_seed(seed, step) + (shard << 32))  # for dropout, which takes no generator
        return batch if isinstance(data, tuple) else batch[0], generator

    def gradient(step):
        """The mean loss over the whole batch, its gradient left in the parameters."""
        optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        for k in range(accumulate):
            batch, generator = part_of(step, rank * accumulate + k)
            with each() if k + 1 < accumulate else contextlib.nullcontext():
                with amp:
                    value = objective(batch, generator, step) / accumulate
                value.backward()
            total += value.detach()
        if world > 1:
            dist.all_reduce(total)
        return total.item() / world

    bar = tqdm(total=steps, initial=len(history.loss), disable=not progress or rank > 0, leave=False, unit="step")
    cards = [device.index or 0] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(cards):
            for step in range(len(history.loss), steps):
                number = gradient(step)
                if not math.isfinite(number):
                    raise ValueError(
                        f"the loss is {number} at step {step}; the model keeps the weights before this step"
                    )
                if clip is not None:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                for group in optimiser.param_groups:
                    group["lr"] = rate(step)
                updating = True
                optimiser.step()
                if ema is not None:
                    ema.update(model)
                history.loss.append(number)
                updating = False
                bar.set_postfix(loss=f"{number:.4g}", refresh=False)
                bar.update()
                if (step + 1) % every == 0 or step + 1 == steps:
                    if evaluate is not None and rank == 0:
                        model.eval()
                        with torch.no_grad():
                            value = evaluate(model if ema is None else ema.model)
                        if value is not None:
                            history.evaluations.append((step + 1, float(value)))
                        model.train()
                    keep()
    except KeyboardInterrupt:
        history.interrupted = True
        if not updating:  # half an update is no state to resume from; the last checkpoint stays
            keep()
        print(f"Interrupted after {len(history.loss)} of {steps} steps; the model keeps the weights it has reached.")
    finally:
        bar.close()
        model.eval()
    return history


def _validate(model, parts, steps, batch_size, every):
    for name, number in {"steps": steps, "batch_size": batch_size, "every": 1 if every is None else every}.items():
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {number!r}")
    if len({len(part) for part in parts}) > 1 or len(parts[0]) == 0:
        raise ValueError(f"expected data of one length, at least 1; got lengths {[len(part) for part in parts]}")
    for part in parts:
        bad = int((~torch.isfinite(part)).sum())
        if bad:
            raise ValueError(f"the data hold {bad} values that are NaN or infinite, of {part.numel()}")
    if hasattr(model, "validate"):
        model.validate(*parts)


def _save(path, model, optimiser, ema, settings, history):
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "ema": None if ema is None else {"model": ema.model.state_dict(), "updates": ema.updates},
        "settings": settings,
        "history": {**asdict(history), "interrupted": False},
        "denoiser": describe(model) if isinstance(model, Denoiser) else None,
    }
    _atomically(path, lambda part: torch.save(state, part))


def _resume(path, model, optimiser, ema, settings, device):
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        theirs, history = state["settings"], History(**state["history"])
    except Exception as error:
        raise ValueError(f"{path.name} is not a checkpoint of this loop, or it is damaged: {error}") from error
    different = [f"{k} {theirs.get(k)} there, {v} here" for k, v in settings.items() if theirs.get(k) != v]
    if different:
        raise ValueError(
            f"{path.name} belongs to a run with other settings ({'; '.join(different)}); name another file"
        )
    try:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        if ema is not None:
            ema.model.load_state_dict(state["ema"]["model"])
            ema.updates = state["ema"]["updates"]
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path.name} belongs to another model or optimiser: {error}") from error
    history.evaluations = [tuple(e) for e in history.evaluations]
    return history


def _atomically(path, write):
    """Let ``write`` fill a file beside ``path``, then put it in its place: a reader sees the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    write(part)
    os.replace(part, path)


def save_weights(model, path, dtype=None, **card):
    """Write a model's weights as safetensors, with a card: what was trained, how, on what, and how good it is.

    Args:
        path: a new file; an existing one is not overwritten.
        dtype: torch.float16 halves the file; numbers of the card should then be those of the rounded weights.
        card: strings or numbers, kept in the file as strings.
    Raises:
        ValueError: the file exists.
    """
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path.name} exists already; remove it or choose another name")
    weights = {k: v.detach().to("cpu", dtype if v.is_floating_point() else None) for k, v in model.state_dict().items()}
    weights = {name: value.contiguous() for name, value in weights.items()}
    card = {name: str(value) for name, value in card.items()}
    _atomically(path, lambda part: safetensors.torch.save_file(weights, part, metadata=card))


def load_weights(model, path):
    """Read weights that ``save_weights`` wrote into ``model``, and return the card, a dict of strings.

    Raises:
        ValueError: there is no such file, it is damaged, or it belongs to another architecture.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            card = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
        model.load_state_dict(weights)
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path.name} does not hold weights of this model: {error}") from error
    model.eval()
    return card


def describe(denoiser):
    """All that is needed to build this denoiser again, but for the weights, as one JSON string; see ``build``.

    Raises:
        ValueError: its network is not one of ``dlgm.nets``, or its schedule not one of ``dlgm.schedules``.
    """
    net, schedule = denoiser.net, denoiser.schedule
    if not hasattr(net, "settings") or getattr(nets, type(net).__name__, None) is not type(net):
        raise ValueError(f"a {type(net).__name__} cannot be described by its settings, only networks of dlgm.nets can")
    if getattr(schedules, type(schedule).__name__, None) is not type(schedule):
        raise ValueError(f"a {type(schedule).__name__} cannot be described, only schedules of dlgm.schedules can")
    discrete = isinstance(schedule, schedules.DiscreteSchedule)
    return json.dumps(
        {
            "net": [type(net).__name__, net.settings],
            "schedule": [
                type(schedule).__name__, {"betas": schedule.beta[1:].tolist()} if discrete else asdict(schedule)
            ],
            "predicts": denoiser.predicts,
        }
    )  # fmt: skip


def build(description):
    """The Denoiser that ``describe`` described, with fresh weights."""
    parts = json.loads(description)
    (net, net_settings), (schedule, schedule_settings) = parts["net"], parts["schedule"]
    schedule = getattr(schedules, schedule)(**schedule_settings)
    return Denoiser(getattr(nets, net)(**net_settings), schedule, parts["predicts"])


def save(denoiser, path, dtype=None, **card):
    """``save_weights`` of a Denoiser with its network, schedule and target, so that ``load`` needs the path only."""
    save_weights(denoiser, path, dtype, denoiser=describe(denoiser), **card)


def load(path, device="cpu"):
    """A Denoiser ready to use, in evaluation mode, and its card, from a file of ``save`` or a checkpoint of ``fit``.

    A checkpoint gives the averaged weights where the run kept an EMA; its card says how many steps it had done.

    Returns:
        (Denoiser, dict of strings).
    Raises:
        ValueError: there is no such file, it is damaged, or holds no denoiser.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(path, "pt") as file:
                card = file.metadata() or {}
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(f"{path.name} is missing or damaged: {error}") from error
        if "denoiser" not in card:
            raise ValueError(f"{path.name} holds weights without network and schedule; use load_weights")
        denoiser = build(card.pop("denoiser"))
        load_weights(denoiser, path)
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            description, weights = state["denoiser"], (state["ema"] or state)["model"]
            card = {"steps": str(len(state["history"]["loss"]))}
        except Exception as error:
            raise ValueError(f"{path.name} is no checkpoint of a training run, or it is damaged: {error}") from error
        if description is None:
            raise ValueError(f"{path.name} is a checkpoint of a model that is not a Denoiser")
        denoiser = build(description)
        denoiser.load_state_dict(weights)
    return denoiser.to(device).eval(), card
