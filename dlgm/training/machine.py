"""What a run needs to know of the machine: precision, and other processes."""

import contextlib
import os
from pathlib import Path

import torch
import torch.distributed as dist

from ..tensors import known


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
    known("precision", precision, ("float32", "bfloat16", "auto"))
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


def free_memory():
    """Bytes that this process may still take: of the machine's memory, its limits and its container's."""
    found = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
        found += [limit for limit in limits if limit != resource.RLIM_INFINITY]
    with contextlib.suppress(ValueError, OSError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=4 << 30)


def rank_and_world():
    """(number of this process, number of processes): (0, 1) outside ``torchrun``."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
