"""A pretended GPU for a machine without one: tensors with real values that say they live on "cuda:0", or on "mps:0".

    with Device("cuda") as device:         # inside, x.to("cuda"), torch.zeros(3, device="cuda"), Module.to("cuda") work
        with device.counting() as log:
            step()
        print(log)                         # log.syncs, log.uploads, log.queued: Counter of "file:line  the line"

As on a GPU: an operation on tensors of both devices raises, but for a 0-dimensional one of the host where a kernel
takes it; a generator of the other device raises; so does numpy(). What makes the host wait is counted, by line of dlgm:
syncs are numbers and sizes that it must know (item, boolean masks, unique, eigh, copies to it), uploads are blocking
copies to the device, which PyTorch follows with a cudaStreamSynchronize; queued are copies that do not wait. "mps"
refuses float64, and copies that do not wait, since there they may read memory that is freed already.

Not as on a GPU: speed, asynchrony, rounding of its kernels, kernels of one device only (those of the CPU do the work),
torch.compile, several threads. It tells autograd that such a device exists, which cannot be taken back, must happen
before the first backward pass and forbids to fork after it: use it in a process of its own, see ``apart``. It needs a
build of PyTorch for Linux that knows no GPU itself, see ``WHY_NOT``.
"""

import contextlib
import ctypes
import importlib
import json
import linecache
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import dlgm

CPU, PACKAGE = torch.device("cpu"), str(Path(dlgm.__file__).parent)
WHY_NOT = "" if sys.platform == "linux" else "the pretended GPU is for Linux"
if torch.backends.cuda.is_built():
    WHY_NOT = "this build of PyTorch has CUDA, where autograd asks the driver for its cards"
elif not hasattr(getattr(torch._C, "_acc", None), "DeviceGuard"):
    WHY_NOT = "this version of PyTorch takes no device guard from Python"
# Operations after which the host must know a number or a size that the device has computed.
SYNC = set(
    "_local_scalar_dense nonzero nonzero_numpy masked_select equal is_nonzero allclose _unique _unique2 unique_dim "
    "unique_consecutive bincount histc _linalg_check_errors _linalg_eigh _linalg_svd linalg_eig linalg_lstsq".split()
)
# Operations whose kernels take a 0-dimensional tensor of the host among their inputs (TensorIterator).
SCALAR_OK = set(
    "add sub rsub mul div true_divide floor_divide pow float_power remainder fmod atan2 hypot copysign maximum minimum "
    "fmax fmin eq ne lt le gt ge where masked_fill fill copy lerp addcmul addcdiv xlogy special_xlogy logaddexp "
    "logaddexp2 bitwise_and bitwise_or bitwise_xor logical_and logical_or logical_xor heaviside nextafter isclose "
    "_foreach_mul _foreach_div _foreach_add squared_difference clamp clamp_min clamp_max index_put _index_put_impl "
    "allclose mse_loss huber_loss smooth_l1_loss".split()
)
LIKE = set("empty_like zeros_like ones_like full_like rand_like randn_like randint_like".split())
LIKE |= set("new_empty new_zeros new_ones new_full new_empty_strided".split())
INDEXING = {"index", "index_put", "_index_put_impl", "_unsafe_index", "_unsafe_index_put"}


@dataclass
class Log:
    """What was counted, each a Counter of "file:line  the line"."""

    syncs: Counter = field(default_factory=Counter)
    uploads: Counter = field(default_factory=Counter)
    queued: Counter = field(default_factory=Counter)
    largest: int = 0  # entries of the largest tensor that went to the device

    def __str__(self):
        return "\n".join(
            f"{n:6d} {kind}  {where}"
            for kind in ("syncs", "uploads", "queued")
            for where, n in getattr(self, kind).most_common()
        )


class Now:
    """The state of the pretended device; there is one at a time."""

    device = log = None
    drawing = None  # the generator= of the call that is running
    backward = False  # inside autograd's engine, which would ask for streams: C++ then sees "meta"


def note(kind):
    if Now.log is None:
        return
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    where = "elsewhere"
    if frame is not None:
        file, line = frame.f_code.co_filename, frame.f_lineno
        where = f"{os.path.relpath(file, PACKAGE)}:{line}  {linecache.getline(file, line).strip()[:80]}"
    getattr(Now.log, kind)[where] += 1


def note_upload(v, quick):
    if Now.log is not None:
        Now.log.largest = max(Now.log.largest, v.numel())
    if quick and Now.device.type == "mps":
        raise RuntimeError("a copy to MPS that nobody waits for may read memory that is freed already")
    note("queued" if quick else "uploads")


class Sim(torch.Tensor):
    """A tensor on the pretended device; ``elem`` holds its values on the CPU."""

    @staticmethod
    def __new__(cls, elem):
        if Now.device.type == "mps" and elem.dtype in (torch.float64, torch.complex128):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
            shell = torch.empty_strided(elem.size(), elem.stride(), dtype=elem.dtype, device="meta")
            new = torch.Tensor._make_subclass(
                cls, shell, False, dispatch_device=True, device_for_backend_keys=Now.device
            )
        new.elem = elem
        return new

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: Now.device)
    is_cuda = property(lambda self: Now.device.type == "cuda")
    is_mps = property(lambda self: Now.device.type == "mps")
    is_cpu = is_meta = property(lambda self: False)

    def get_device(self):
        return 0

    def __repr__(self, **_):
        note("syncs")
        return f"Sim({self.elem!r})"

    def __format__(self, spec):
        return self.item().__format__(spec) if self.ndim == 0 else object.__format__(self, spec)

    def tolist(self):
        note("syncs")
        return self.elem.tolist()

    def cpu(self, *a, **k):
        return self.to("cpu")

    def numpy(self, *a, **k):
        raise TypeError(f"can't convert {Now.device} device type tensor to numpy. Use Tensor.cpu()")

    __array__ = numpy

    def __tensor_flatten__(self):  # with these, Module.to swaps parameters, so that they stay the same objects
        return ["elem"], None

    @staticmethod
    def __tensor_unflatten__(inner, meta, size, stride):
        return Sim(inner["elem"])

    def __reduce_ex__(self, protocol):  # torch.save: the values, to be put where map_location says
        plain = self.elem.detach().clone().requires_grad_(self.requires_grad and self.is_leaf)
        return (torch.nn.Parameter(plain) if isinstance(self, torch.nn.Parameter) else plain).__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def there(device):
    return device is not None and torch.device(device).type in (Now.device.type, "meta" if Now.backward else "")


def plain(v):
    return v.elem if isinstance(v, Sim) else v


def each(f, v):
    """f of every leaf of lists, tuples and dicts."""
    if type(v) is dict:
        return {k: each(f, i) for k, i in v.items()}
    return type(v)(each(f, i) for i in v) if type(v) in (list, tuple) else f(v)


def tensors(*args):
    """The tensors in the arguments of an operation."""
    for v in args:
        if isinstance(v, torch.Tensor):
            yield v
        elif type(v) in (list, tuple):
            yield from tensors(*v)


def run(func, args, kwargs):
    """One operation of which an argument lives on the device, or that makes something there."""
    if func == torch.ops.prim.device.default:
        return torch.device("meta") if Now.backward else Now.device
    given = list(tensors(*args, *kwargs.values()))
    sims, hosts = [v for v in given if isinstance(v, Sim)], [v for v in given if not isinstance(v, Sim)]
    base = func._schema.name.split("::")[1].rstrip("_")
    kwargs, device = dict(kwargs), kwargs.get("device")
    out_there = there(device) if device is not None else bool(sims)
    if device is not None:
        kwargs["device"] = CPU
    if base == "_to_copy":
        if sims and not out_there:
            note("syncs")
        elif not sims and out_there:
            note_upload(args[0], kwargs.get("non_blocking", False))
        kwargs = {**kwargs, "non_blocking": False}
        kwargs.pop("pin_memory", None)
        out = func(*each(plain, args), **kwargs)
        return Sim(out) if out_there else out
    if base in ("copy", "_copy_from") and sims and hosts:
        if isinstance(args[0], Sim):
            note_upload(args[1], kwargs.get("non_blocking", args[2] if len(args) > 2 else False))
        else:
            note("syncs")
        func(*each(plain, args), **each(plain, kwargs))
        return args[0]
    generator = drawn_with(kwargs)
    if generator is not None and (generator.device.type != "cpu") != out_there:
        want = Now.device.type if out_there else "cpu"
        raise RuntimeError(f"Expected a '{want}' device type for generator but found '{generator.device}'")
    if sims and hosts and base not in LIKE:
        refuse_mixing(func, base, args, hosts)
    if sims:
        count(base, args)
    out = func(*each(plain, args), **each(plain, kwargs))
    written = {}  # what the operation has changed in place: the same object comes back
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            written |= {id(plain(v)): v for v in (value if isinstance(value, (list, tuple)) else [value])}
    for v in written.values():  # squeeze_, t_ and so on change the geometry too
        if isinstance(v, Sim) and (v.elem.shape != v.shape or v.elem.stride() != v.stride()):
            with torch._C._DisableTorchDispatch(), torch._C._AutoDispatchBelowAutograd():
                torch.ops.aten.as_strided_.default(v, v.elem.shape, v.elem.stride(), 0)

    def wrap(v):
        if id(v) in written:
            return written[id(v)]
        return Sim(v) if isinstance(v, torch.Tensor) and not isinstance(v, Sim) and out_there else v

    return each(wrap, out)


def drawn_with(kwargs):
    """The generator as the caller gave it: the dispatcher hands over another object for the same one."""
    given = kwargs.get("generator")
    return given if given is None or Now.drawing is None else Now.drawing


def refuse_mixing(func, base, args, hosts):
    """Raise where a kernel of a GPU would; a tensor of the host that serves as an index is copied to the device."""
    indices = [v for v in args[1] if v is not None and not isinstance(v, Sim)] if base in INDEXING else []
    if base in INDEXING and not isinstance(args[0], Sim):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    for v in indices:
        note_upload(v, False)
    rest = [v for v in hosts if not any(v is i for i in indices)]
    few = base == "where" or len(rest) < 2
    if rest and not (few and base in SCALAR_OK and all(v.ndim == 0 for v in rest)):
        shapes = ", ".join(str(tuple(v.shape)) for v in rest)
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {Now.device} and cpu! "
            f"({func}; CPU tensors of shape {shapes})"
        )


def count(base, args):
    if base in SYNC:
        note("syncs")
    elif base in INDEXING and any(isinstance(v, Sim) and v.dtype in (torch.bool, torch.uint8) for v in args[1]):
        value = args[2] if len(args) > 2 else None
        if not (value is not None and value.numel() == 1 and not isinstance(value, Sim)):  # that is a masked_fill
            note("syncs")
    elif base == "multinomial" and not (len(args) > 2 and args[2] and args[1] > 1):
        note("syncs")  # it checks its input


class _Named(TorchFunctionMode):
    """Names the card: "cuda" becomes "cuda:0" in every call, as torch.cuda.current_device() would say."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.device and len(args) + len(kwargs or {}) > 1:  # torch.device("cuda", 0) names it already
            return func(*args, **kwargs or {})

        def named(v):
            whole = v == Now.device.type if isinstance(v, str) else isinstance(v, torch.device) and v.index is None
            return Now.device if whole and there(v) else v

        kwargs = {k: named(v) for k, v in (kwargs or {}).items()}
        if func is torch._C._nn.scaled_dot_product_attention:  # its choice of a kernel asks the hardware
            q, k, v, *rest = args
            mask = rest[0] if rest else kwargs.pop("attn_mask", None)
            if mask is not None and mask.dtype == torch.bool:  # as torch does before it chooses
                mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -torch.inf)
            return torch.ops.aten._scaled_dot_product_attention_math(q, k, v, mask, *rest[1:], **kwargs)[0]
        before, Now.drawing = Now.drawing, kwargs.get("generator")
        try:
            return func(*map(named, args), **kwargs)
        finally:
            Now.drawing = before


_Generator = torch.Generator


class Generator(_Generator):
    """A generator of the device: one of the CPU that says otherwise."""

    def __new__(cls, device="cpu"):
        return _Generator.__new__(cls) if there(device) else _Generator(device)

    def __init__(self, device="cpu"):
        pass

    device = property(lambda self: Now.device)


class Device(TorchDispatchMode):
    """The context in which the device exists: "cuda" or "mps"."""

    def __init__(self, kind="cuda"):
        super().__init__()
        self.kind = kind

    def __enter__(self):
        introduce(self.kind)
        self.stack, Now.device = contextlib.ExitStack(), torch.device(self.kind, 0)
        self.stack.callback(setattr, Now, "device", None)
        self.stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(.., device="cuda") is built here, then copied: seen
        for module, name, value in patches(self.kind):
            self.stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        for module in ("torch.optim.optimizer", "torch.utils._foreach_utils"):  # Adam, clip and EMA as on a GPU
            types = importlib.import_module(module)._foreach_supported_types
            types.append(Sim)
            self.stack.callback(types.remove, Sim)
        self.stack.enter_context(_Named())
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.stack.close()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        generator = drawn_with(kwargs)
        ours = there(kwargs.get("device")) or generator is not None and generator.device.type != "cpu"
        if ours or any(isinstance(v, Sim) for v in tensors(*args, *kwargs.values())):
            return run(func, args, kwargs)
        return func(*args, **kwargs)

    @contextlib.contextmanager
    def counting(self):
        before, Now.log = Now.log, Log()
        try:
            yield Now.log
        finally:
            Now.log = before


def introduce(kind, keep={}):  # noqa: B006
    """Tell C++ that one device of this type exists: autograd asks it for streams and threads.

    PyTorch lets Python register such a guard for the type PrivateUse1 only; its entry in the table is copied.
    """
    if kind in keep:
        return
    type_ = {"cuda": torch._C._autograd.DeviceType.CUDA, "mps": torch._C._autograd.DeviceType.MPS}[kind]
    keep[kind] = type("Guard", (torch._C._acc.DeviceGuard,), {"type_": lambda self: type_})()
    library = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libc10.so"))
    table = (ctypes.c_void_p * 21).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    torch._C._acc.register_python_privateuseone_device_guard(keep[kind])
    table[int(type_)], table[20] = table[20], None


def _run_backward(*args, real=torch.autograd._engine_run_backward, **options):
    before, Now.backward = Now.backward, True
    try:
        return real(*args, **options)
    finally:
        Now.backward = before


def patches(kind):
    """(module, name, value): what PyTorch says of the machine."""
    yield from [(torch, "Generator", Generator), (torch.autograd, "_engine_run_backward", _run_backward)]
    if kind == "mps":
        yield torch.mps, "manual_seed", lambda seed: None
        return
    answers = dict(is_available=True, device_count=1, _lazy_init=None, is_bf16_supported=True, set_rng_state=None)
    yield from ((torch.cuda, name, lambda *a, v=value, **k: v) for name, value in answers.items())
    yield torch.cuda, "get_rng_state", lambda device=0: torch.get_rng_state()
    yield torch.cuda, "synchronize", lambda device=None: note("syncs")


def apart(file):
    """What ``python file --outcomes`` prints in its last line, a JSON object, from a process of its own."""
    path = os.pathsep.join([str(Path(PACKAGE).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, file, "--outcomes"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, f"{file} ended with {done.returncode}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])
