"""Floor 5: one training loop for the whole course.

Step i of a run with seed s is a function of (weights, optimiser, s, i) alone: the batch and the noise come from
generators that are seeded anew at each step. So a run that was interrupted and resumed gives the same weights as one
that was not, and nothing about random states has to be stored.
"""

import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from tqdm.auto import tqdm


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


def fit(
    model, loss, data, *, steps, batch_size=128, lr=1e-3, optimizer=torch.optim.Adam, clip=None, seed=0,
    device=None, evaluate=None, every=None, checkpoint=None, progress=True,
):  # fmt: skip
    """Train ``model`` in place for ``steps`` steps; an interrupt keeps the weights reached so far.

    Args:
        model: a Module. If it has a method ``validate(*data)``, that is called before the first step.
        loss: function (model, batch, generator, step) -> scalar to minimise. ``batch`` is a tensor or a tuple of them,
            as ``data`` is; ``step`` counts from 0; all noise must come from ``generator``.
        data: a tensor (N, ...) or a tuple of tensors of equal length.
        optimizer: function (parameters, lr=...) -> Optimizer.
        clip: largest norm of the gradient, or None.
        device: "cpu", "cuda", ...; the model stays on it afterwards. None leaves the model where it is.
        evaluate: function model -> number, called every ``every`` steps and at the end, in evaluation mode and
            without gradients.
        checkpoint: a file, written every ``every`` steps, at the end and when interrupted, never half. If it exists
            the run goes on from it.
        progress: whether to show a bar with the loss and the time left.
    Returns:
        History.
    Raises:
        ValueError: the data are empty, not finite or of different lengths; a checkpoint belongs to another run; the
            loss becomes NaN or infinite (the weights are then those before that step).
    """
    parts = data if isinstance(data, tuple) else (data,)
    _validate(model, parts, steps, batch_size, every)
    device = torch.device(device or next(model.parameters()).device)
    model.to(device).train()
    optimiser, history = optimizer(model.parameters(), lr=lr), History()
    settings = {"batch_size": batch_size, "lr": lr, "clip": clip, "seed": seed, "examples": len(parts[0])}
    checkpoint = None if checkpoint is None else Path(checkpoint)
    if checkpoint is not None and checkpoint.exists():
        history = _resume(checkpoint, model, optimiser, settings, device)
    every, start, updating = every or steps, time.perf_counter() - history.seconds, False

    def keep():
        history.seconds = time.perf_counter() - start
        if checkpoint is not None:
            _save(checkpoint, model, optimiser, settings, history)

    bar = tqdm(total=steps, initial=len(history.loss), disable=not progress, leave=False, unit="step")
    try:
        for step in range(len(history.loss), steps):
            chosen = batch_indices(len(parts[0]), batch_size, seed, step)
            batch = tuple(part[chosen.to(part.device)].to(device) for part in parts)
            generator = torch.Generator().manual_seed(step_seed(seed, step))
            value = loss(model, batch if isinstance(data, tuple) else batch[0], generator, step)
            number = value.item()
            if not math.isfinite(number):
                raise ValueError(f"the loss is {number} at step {step}; the model keeps the weights before this step")
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            updating = True
            optimiser.step()
            history.loss.append(number)
            updating = False
            bar.set_postfix(loss=f"{number:.4g}", refresh=False)
            bar.update()
            if (step + 1) % every == 0 or step + 1 == steps:
                if evaluate is not None:
                    model.eval()
                    with torch.no_grad():
                        history.evaluations.append((step + 1, float(evaluate(model))))
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


def _save(path, model, optimiser, settings, history):
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "settings": settings,
        "history": {**asdict(history), "interrupted": False},
    }
    _atomically(path, lambda part: torch.save(state, part))


def _resume(path, model, optimiser, settings, device):
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


def save_weights(model, path, **card):
    """Write a model's weights as safetensors, with a card: what was trained, how, on what, and how good it is.

    Args:
        path: a new file; an existing one is not overwritten.
        card: strings or numbers, kept in the file as strings.
    Raises:
        ValueError: the file exists.
    """
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path.name} exists already; remove it or choose another name")
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
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
