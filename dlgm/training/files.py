"""Weights with a card that says what they are, and the checkpoint of a run."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from .. import nets, schedules
from ..denoiser import Denoiser
from ..writing import atomically


def meaning(model):
    """What the weights of a model mean, a dict: a Denoiser's network, schedule and target; else its printed form."""
    if not isinstance(model, Denoiser):
        return {"model": repr(model)}
    try:
        parts = json.loads(describe(model))
    except ValueError:  # a network or schedule of one's own
        return {"model": repr(model.net), "schedule": repr(model.schedule), "predicts": model.predicts}
    network, settings = parts["net"]
    schedule, shape = parts["schedule"]
    if "betas" in shape:
        betas = shape["betas"]
        digest = hashlib.sha256(json.dumps(betas).encode()).hexdigest()[:8]
        shape = f"{len(betas)} steps, β from {betas[0]:.3g} to {betas[-1]:.3g}, {digest}"
    if "version" in parts:
        settings["version"] = parts["version"]
    settings = {f"{network} {name}": value for name, value in settings.items()}
    return settings | {"schedule": f"{schedule} {shape}", "predicts": parts["predicts"], "variance": parts["variance"]}


def fingerprint(data):
    """SHA-256 of the examples themselves: of tensors, or of whatever tells its own ``digest``."""
    if hasattr(data, "digest"):
        return data.digest
    total = hashlib.sha256()
    for part in data if isinstance(data, tuple) else (data,):
        total.update(f"{part.dtype} {tuple(part.shape)}".encode())
        total.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()


def write_checkpoint(path, model, optimiser, ema, settings, history):
    """Write all that a run needs to go on: weights, optimiser, average, settings and history, dicts both.

    Raises:
        OSError: it could not be written; what was there before is as it was.
    """
    state = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "ema": None if ema is None else {"model": ema.model.state_dict(), "updates": ema.updates},
        "settings": settings,
        "history": history,
        "denoiser": describe(model) if isinstance(model, Denoiser) else None,
    }
    try:
        atomically(path, lambda part: torch.save(state, part))
    except (RuntimeError, OSError) as error:  # a full disk is either
        raise OSError(f"{path} could not be written, what was there before is as it was: {error}") from error


def _difference(name, there, here):
    """How a setting differs; of long ones only where they part."""
    if isinstance(there, dict) and isinstance(here, dict):
        both = {**there, **here}
        return "; ".join(_difference(k, there.get(k), here.get(k)) for k in both if there.get(k) != here.get(k))
    if isinstance(here, str) and len(here) == 64:  # a fingerprint
        return f"other {name}"
    if name.endswith(" words") and isinstance(there, list) and isinstance(here, list):  # there may be thousands
        parts = {"there": sorted({*there} - {*here}), "here": sorted({*here} - {*there})}
        return f"{name}: " + ", ".join(f"{len(v)} only {k} ({', '.join(v[:3])})" for k, v in parts.items() if v)
    if isinstance(there, str) and isinstance(here, str) and max(len(there), len(here)) > 80:
        lines = [(a, b) for a, b in zip(there.splitlines(), here.splitlines(), strict=False) if a != b]
        there, here = (part.strip() for part in lines[0]) if lines else ("shorter", "longer")
    return f"{name} {there} there, {here} here"


def read_checkpoint(path, model, optimiser, ema, settings):
    """Put the state of a run into model, optimiser and ema, in place, and return its history, a dict.

    Raises:
        ValueError: the file is no checkpoint or damaged, or it belongs to a run with other settings or another model.
    """
    try:  # on the host: Adam reads its step counter there, and the rest goes to where the parameters are
        state = torch.load(path, map_location="cpu", weights_only=True)
        theirs, kept, weights = dict(state["settings"]), state["history"], dict(state["model"])
        network = json.loads(state["denoiser"])["net"][0] if state.get("denoiser") else None
        history = {name: kept[name] for name in ("loss", "evaluations", "seconds", "interrupted")}
        history["evaluations"] = [tuple(e) for e in history["evaluations"]]
        averages = dict(state["ema"]["model"]) if state["ema"] else {}
        bad = [k for k, v in (*weights.items(), *averages.items()) if not torch.isfinite(v).all()]
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
    except Exception as error:
        raise ValueError(
            f"{path.name} is not a checkpoint of this loop, or it is damaged; remove it, or name another file"
        ) from error
    here = type(getattr(model, "net", None)).__name__
    if network not in (None, here):
        raise ValueError(
            f"{path.name} belongs to a run with another network ({network} there, {here} here); name another file"
        )
    asked = {k: v for k, v in settings.items() if v or k in theirs}  # what is new here, and off, was off there
    different = [_difference(k, theirs.get(k), v) for k, v in asked.items() if theirs.get(k) != v]
    if different:
        raise ValueError(
            f"{path.name} belongs to a run with other settings ({'; '.join(different)}); name another file"
        )
    if bad:
        raise ValueError(f"{path.name} holds weights that are NaN or infinite ({bad[0]}); name another file")
    try:
        model.load_state_dict(weights)
        optimiser.load_state_dict(state["optimiser"])
        if ema is not None:
            ema.model.load_state_dict(state["ema"]["model"])
            ema.updates = state["ema"]["updates"]
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} belongs to another model or optimiser: {error}") from error
    return history


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
    atomically(path, lambda part: safetensors.torch.save_file(weights, part, metadata=card))


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
            "variance": denoiser.variance,
        }
        | ({"version": net.version} if hasattr(net, "version") else {})
    )  # fmt: skip


def build(description):
    """The Denoiser that ``describe`` described, with fresh weights.

    Raises:
        ValueError: networks of this name computed something else when it was described.
    """
    parts = json.loads(description)
    (net, net_settings), (schedule, schedule_settings) = parts["net"], parts["schedule"]
    theirs, ours = parts.get("version", 1), getattr(getattr(nets, net), "version", 1)
    if theirs != ours:
        raise ValueError(
            f"the file holds a {net} of version {theirs}, here it has version {ours} and would compute something else "
            "with those weights; train it again, or load it with the dlgm that wrote it"
        )
    schedule = getattr(schedules, schedule)(**schedule_settings)
    net = getattr(nets, net)(**net_settings)
    return Denoiser(net, schedule, parts["predicts"], parts.get("variance", "fixed"))


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
            card = {"steps": str(len(state["history"]["loss"]))} | state["settings"].get("about", {})
        except Exception as error:
            why = f": {error.strerror}" if isinstance(error, OSError) else ""  # torch's own words say: load it unsafely
            raise ValueError(f"{path.name} is no checkpoint of a training run, or it is damaged{why}") from error
        if description is None:
            raise ValueError(f"{path.name} is a checkpoint of a model that is not a Denoiser")
        denoiser = build(description)
        denoiser.load_state_dict(weights)
    return denoiser.to(device).eval(), card
