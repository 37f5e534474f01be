"""One training loop for the whole course, on one processor, one GPU or several.

Step i of a run with seed s is a function of (weights, optimiser, s, i) alone: the batch and the noise come from
generators that are seeded anew at each step. So a run that was interrupted and resumed gives the same weights as one
that was not, and nothing about random states has to be stored.
"""

import contextlib
import copy
import functools
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..tensors import DeviceNoise, to_device, whole
from .files import fingerprint, meaning, read_checkpoint, write_checkpoint
from .machine import mixed_precision, rank_and_world


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


def step_seed(seed, step, shard=0):
    """The seed of everything random in one step and part of a batch; different for all that a course can meet.

    It has 32 bits, since a generator of the CPU drops the others.
    """
    return (seed * 1_000_003 + step + shard * 2_654_435_769) % 2**32


def batch_indices(n, batch_size, seed, step):
    """Which examples step ``step`` uses: each epoch is one permutation of all n, cut into batches; (batch_size,).

    What is left over at the end of an epoch is skipped; a data set smaller than a batch is one batch. The indices lie
    on the CPU.
    """
    size = min(n, batch_size)
    epoch, k = divmod(step, n // size)
    return _order(n, seed, epoch)[k * size : (k + 1) * size]


@functools.lru_cache(maxsize=2)  # paid once an epoch
def _order(n, seed, epoch):
    generator = torch.Generator().manual_seed(step_seed(seed, -1 - epoch))
    return torch.randperm(n, generator=generator, device="cpu")


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


class _Objective(nn.Module):
    """The loss as a Module, so that DistributedDataParallel can wrap model and loss together."""

    def __init__(self, model, loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch, generator, step):
        return self.loss(self.model, batch, generator, step)


class HalfStep(KeyboardInterrupt):
    """An interrupt that came while the weights were changing: what they are now belongs to no step."""


@dataclass(frozen=True)
class Step:
    """What ``steps`` yields after each step: how many have been made, and the loss before the last update."""

    number: int
    loss: float


def steps(
    model, loss, data, *, steps, batch_size=128, lr=1e-3, optimizer=torch.optim.Adam, clip=None, seed=0, device=None,
    ema=None, precision="float32", compile=False, accumulate=1, device_noise=None, history=None, workers=0,
):  # fmt: skip
    """Train ``model`` in place, yielding a Step after each update; between two of them the caller may look or change.

    Under ``torchrun`` (inside ``processes()``) every process computes its share of each batch and all end with the
    same weights; p processes do what one does with ``accumulate=p``, up to the rounding of a sum.

    Args:
        model: a Module. If it has a method ``validate(*data)``, that is called before the first step.
        loss: function (model, batch, generator, step) -> scalar to minimise. ``batch`` is a tensor or a tuple of them,
            as ``data`` is; ``step`` counts from 0; all noise must come from ``generator``.
        data: a tensor (N, ...) or a tuple of tensors of equal length; or a torch Dataset of such examples, which is
            read as it is needed.
        steps: how many, those in ``history`` included.
        batch_size: of all processes together.
        lr: a number, or a function of the step such as CosineLR.
        optimizer: function (parameters, lr=...) -> Optimizer, or a ready Optimizer of the model's parameters, whose
            learning rates become ``lr``.
        clip: largest norm of the gradient, or None.
        device: "cpu", "cuda", ...; the model stays on it afterwards. None leaves the model where it is.
        ema: an EMA of this model, updated after every step.
        precision: see ``mixed_precision``.
        compile: whether to compile the network (``model.net`` if there is one); a string names a backend.
        accumulate: parts into which each process cuts its share of a batch, to save memory.
        device_noise: whether ``randn_like`` draws on the device what it draws from ``generator``, which saves the
            processor's time and an upload; the noise is then another than on the CPU. None: on a GPU.
        history: of the steps made before; the loss of each further one is appended.
        workers: processes that read a Dataset ahead; 0 reads it in this one.
    Raises:
        ValueError: the data are empty, not finite or of different lengths; the batch cannot be shared evenly; loss,
            gradient or weights become NaN or infinite (weights and average are then those before that step).
        HalfStep: interrupted during an update.
    """
    stored, n = isinstance(data, Dataset), _validate(model, data, steps, batch_size, accumulate)
    rank, world = rank_and_world()
    shards, size = world * accumulate, min(batch_size, n)
    if size % shards:
        whole_set = "" if size == batch_size else f", which is all {n} examples,"
        raise ValueError(f"a batch of {size}{whole_set} cannot be cut into {shards} equal parts")
    device = torch.device(device or next(model.parameters()).device)
    model.to(device).train()
    if ema is not None:
        ema.model.to(device)
    rate = lr if callable(lr) else lambda step: lr
    optimiser, history = _optimiser(optimizer, model), History() if history is None else history
    if compile:
        getattr(model, "net", model).compile(backend=compile if isinstance(compile, str) else "inductor")
    objective, each = _Objective(model, loss), contextlib.nullcontext
    if world > 1:
        objective = nn.parallel.DistributedDataParallel(objective)
        each = objective.no_sync
    amp, there = mixed_precision(device, precision), device.type == "cuda" if device_noise is None else device_noise

    def chosen(step, shard):
        return batch_indices(n, batch_size, seed, step)[shard::shards]

    if stored:
        mine = range(rank * accumulate, (rank + 1) * accumulate)
        order = (chosen(step, shard).tolist() for step in range(len(history.loss), steps) for shard in mine)
        how = {"num_workers": workers, "pin_memory": device.type == "cuda", "generator": torch.Generator()}
        ahead = iter(DataLoader(data, batch_sampler=order, **how))

    def part_of(step, shard):
        if stored:  # the loader gives batches in just this order
            batch = next(ahead)
        elif isinstance(data, tuple):
            batch = [part[to_device(chosen(step, shard), part.device)] for part in data]
        else:
            batch = data[to_device(chosen(step, shard), data.device)]
        several = isinstance(batch, list)
        batch = tuple(to_device(part, device) for part in batch) if several else to_device(batch, device)
        generator = (DeviceNoise if there else torch.Generator)().manual_seed(step_seed(seed, step, shard))
        torch.manual_seed(step_seed(seed, step, shard))  # for dropout, which takes no generator
        return batch, generator

    def gradient(step):
        """The mean loss over the whole batch, a tensor (); its gradient is left in the parameters."""
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
        return total / world

    weights = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in weights]
    cards = []  # whose generator dropout uses
    if device.type == "cuda":
        cards = [torch.cuda.current_device() if device.index is None else device.index]
    try:
        for step in range(len(history.loss), steps):
            with torch.random.fork_rng(cards):
                loss_now = gradient(step)
            norm = nn.utils.clip_grad_norm_(weights, math.inf if clip is None else clip)
            for group in optimiser.param_groups:
                group["lr"] = rate(step)
            try:
                torch._foreach_copy_(before, weights)
                optimiser.step()
                largest = torch.stack(torch._foreach_norm([p.detach() for p in weights], math.inf)).max()
                number, *others = torch.stack([loss_now, norm, largest]).tolist()  # a GPU is waited for here only
                for name, value in zip(("loss", "gradient's norm", "largest weight"), (number, *others), strict=True):
                    if not math.isfinite(value):
                        with torch.no_grad():
                            torch._foreach_copy_(weights, before)
                        raise ValueError(
                            f"the {name} is {value} at step {step}; the model keeps the weights before this step"
                        )
                if ema is not None:
                    ema.update(model)
                history.loss.append(number)
            except KeyboardInterrupt as stop:
                raise HalfStep from stop
            yield Step(step + 1, number)
            model.train()
    finally:
        model.eval()


def fit(
    model, loss, data, *, steps, batch_size=128, lr=1e-3, optimizer=torch.optim.Adam, clip=None, seed=0, device=None,
    ema=None, accumulate=1, evaluate=None, every=None, checkpoint=None, progress=True, about=None, **options,
):  # fmt: skip
    """``steps`` with a bar, evaluations and a checkpoint; an interrupt keeps the weights reached so far.

    Args:
        model, loss, data, steps, batch_size, lr, optimizer, clip, seed, device, ema, accumulate, options: see ``steps``
        evaluate: function model -> number, or None to record nothing, called every ``every`` steps and at the end, in
            evaluation mode and without gradients, with the average of ``ema`` where there is one; by the first
            process only.
        checkpoint: a file, written every ``every`` steps, at the end and when interrupted, never half. If it exists
            the run goes on from it, to the weights of a run that was not interrupted: bit for bit on the CPU; up to
            rounding on a GPU, whose kernels add in no fixed order unless ``torch.backends.cudnn.deterministic`` is set.
        progress: whether to show a bar with the loss and the time left.
        about: what else belongs to the run, a dict of strings: kept in the checkpoint and compared.
    Returns:
        History.
    Raises:
        ValueError: as ``steps``; or a checkpoint belongs to another run.
    """
    every = steps if every is None else every
    whole(steps=steps, every=every)
    rank, world = rank_and_world()
    model.to(device or next(model.parameters()).device)
    optimiser, history = _optimiser(optimizer, model), History()
    checkpoint, settings = None if checkpoint is None else Path(checkpoint), {}
    if checkpoint is not None:  # whatever changes what the weights mean
        settings = {"batch_size": batch_size, "lr": _rates(lr, steps), "clip": clip, "seed": seed}
        settings |= {"examples": len(data[0] if isinstance(data, tuple) else data)}
        settings |= {"shards": world * accumulate, "ema": ema and ema.decay, "optimiser": _kind_of(optimiser)}
        settings |= meaning(model) | {"data": fingerprint(data), "about": about or {}}
        if checkpoint.exists():
            history = History(**read_checkpoint(checkpoint, model, optimiser, ema, settings))
    start = time.perf_counter() - history.seconds

    def keep():
        history.seconds = time.perf_counter() - start
        if checkpoint is not None and rank == 0:
            write_checkpoint(checkpoint, model, optimiser, ema, settings, {**asdict(history), "interrupted": False})

    walk = _steps(
        model, loss, data, steps=steps, batch_size=batch_size, lr=lr, optimizer=optimiser, clip=clip, seed=seed,
        ema=ema, accumulate=accumulate, history=history, **options,
    )  # fmt: skip
    bar = tqdm(total=steps, initial=len(history.loss), disable=not progress or rank > 0, leave=False, unit="step")
    try:
        for step in walk:
            bar.set_postfix(loss=f"{step.loss:.4g}", refresh=False)
            bar.update()
            if step.number % every == 0 or step.number == steps:
                keep()  # before anything that may fail
                if evaluate is not None and rank == 0:
                    model.eval()
                    with torch.no_grad():
                        value = evaluate(model if ema is None else ema.model)
                    if value is not None:
                        history.evaluations.append((step.number, float(value)))
                        keep()
    except KeyboardInterrupt as stop:
        history.interrupted = True
        if not isinstance(stop, HalfStep):  # half an update is no state to resume from; the last checkpoint stays
            keep()
        print(f"Interrupted after {len(history.loss)} of {steps} steps; the model keeps the weights it has reached.")
    finally:
        bar.close()
        walk.close()
    return history


_steps = steps  # in ``fit`` that name is a number


def _optimiser(optimizer, model):
    """A ready Optimizer; its learning rate is set anew at each step."""
    return optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(model.parameters(), lr=1e-3)


def _rates(lr, steps):
    """A learning rate as a number, or a function's value at the first, a middle and the last step."""
    return [lr(0), lr(steps // 2), lr(steps - 1)] if callable(lr) else lr


def _kind_of(optimiser):
    """Its class, as torch or this package calls it, with what changes its steps."""
    kind = next(c for c in type(optimiser).__mro__ if c.__module__.startswith(("torch.optim", "dlgm.")))
    kept = {k: v for k, v in optimiser.defaults.items() if k not in ("lr", "foreach", "fused", "capturable")}
    return f"{kind.__name__} {kept}"


def _validate(model, data, steps, batch_size, accumulate):
    """The number of examples, after a look at everything that can be wrong before the first step."""
    whole(steps=steps, batch_size=batch_size, accumulate=accumulate)
    if isinstance(data, Dataset):
        if len(data) == 0:
            raise ValueError("expected at least 1 example, the Dataset is empty")
        return len(data)
    parts = data if isinstance(data, tuple) else (data,)
    if len({len(part) for part in parts}) > 1 or len(parts[0]) == 0:
        raise ValueError(f"expected data of one length, at least 1; got lengths {[len(part) for part in parts]}")
    for part in parts:
        bad = int((~torch.isfinite(part)).sum())
        if bad:
            raise ValueError(f"the data hold {bad} values that are NaN or infinite, of {part.numel()}")
    if hasattr(model, "validate"):
        model.validate(*parts)
    return len(parts[0])
