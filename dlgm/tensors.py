"""What other modules do to tensors: broadcast a coefficient, move, draw noise, ask what a result depends on."""

import torch


def expand(coefficient, x):
    """A coefficient, ready to be multiplied with x: one number for all of x, or one for each example.

    Args:
        coefficient: a number, or a tensor () or (B,).
        x: (B, ...), of any data shape, (B,) included.
    Returns:
        A number as it came, a tensor of shape () or (B, 1, ..., 1) in x's dtype and on x's device.
    Raises:
        ValueError: x holds integers, or the coefficient is neither () nor (B,). Nothing is guessed from matching sizes
            of other axes.
    """
    if not x.is_floating_point():
        raise ValueError(f"x must hold floating-point numbers, got {x.dtype}; for example x.float()")
    if isinstance(coefficient, (int, float)):
        return coefficient
    if not isinstance(coefficient, torch.Tensor):
        raise ValueError(f"a coefficient must be a number or a tensor, got {type(coefficient).__name__}")
    if coefficient.ndim == 0 or (x.ndim > 0 and coefficient.shape == x.shape[:1]):
        shape = (*coefficient.shape, *[1] * (x.ndim - coefficient.ndim)) if coefficient.ndim else ()
        return to_device(coefficient.to(x.dtype), x.device).reshape(shape)
    expected = f"() or ({x.shape[0]},)" if x.ndim else "()"
    raise ValueError(
        f"coefficient of shape {tuple(coefficient.shape)} cannot be broadcast to x of shape {tuple(x.shape)}; "
        f"expected {expected}"
    )


def sum_non_batch(x):
    """Sum over every dimension but the first: (B, ...) -> (B,)."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x


def to_device(x, device):
    """x on that device. The host does not wait for a copy to a GPU; elsewhere that would not be safe."""
    device = torch.device(device)
    return x.to(device, non_blocking=device.type == "cuda")


def double(x):
    """x in float64, on the CPU where the device has none (MPS)."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def host(v):
    """Numbers, or a tensor of any device, in float64 on the CPU: what tables are kept in."""
    return torch.as_tensor(v.cpu() if isinstance(v, torch.Tensor) else v, dtype=torch.float64, device="cpu")


def near(owner, device, *names):
    """The named attributes of an object, tables on the CPU or None, on that device.

    A GPU keeps its copy in ``owner._kept`` for the next call, for as long as the attribute is the same tensor.

    Returns:
        A list.
    """
    kept, tables = vars(owner).setdefault("_kept", {}), [getattr(owner, name) for name in names]
    for i, table in enumerate(tables):
        if table is not None and table.device != device:
            key = names[i], device
            if key not in kept or kept[key][0] is not table:
                kept[key] = table, to_device(table, device)
            tables[i] = kept[key][1]
    return tables


def home(generator):
    """The device on which a generator draws, the CPU for None."""
    return torch.device("cpu") if generator is None else generator.device


def normal(shape, generator=None):
    """Standard normal numbers, float64, on the generator's device; on the CPU for None and for MPS."""
    device = home(generator)
    dtype = torch.float32 if device.type == "mps" else torch.float64
    return double(torch.randn(shape, generator=generator, dtype=dtype, device=device))


def choose(p, n, generator=None):
    """n indices drawn with probabilities p (K,), scaled to sum 1: (n,), on the generator's device, the CPU for None."""
    device = home(generator)
    p = p.cpu() if device.type == "cpu" else to_device(p.float(), device)  # MPS has no float64
    return torch.multinomial(p, n, replacement=True, generator=generator)


class DeviceNoise(torch.Generator):
    """A generator of the CPU with which ``randn_like`` draws on the device of x, from a seed that it draws here.

    Saves the time of the CPU and the upload; the noise is then not that of a run on the CPU.
    """

    def like(self, x):
        """Noise of x's shape and dtype on its device."""
        there = self
        if x.device != self.device:
            seed = torch.randint(2**63 - 1, (), generator=self, device="cpu").item()
            there = torch.Generator(x.device).manual_seed(seed)
        return torch.randn(x.shape, generator=there, dtype=x.dtype, device=x.device)


def randn_like(x, generator=None):
    """Standard normal noise of x's shape, dtype and device.

    The draw happens on the generator's own device, so one CPU generator gives the same noise for a CPU and a GPU run;
    see ``DeviceNoise`` for the other choice. A generator that has a method ``like`` is asked for the noise itself.
    """
    if hasattr(generator, "like"):
        return generator.like(x)
    device = x.device if generator is None else generator.device
    return to_device(torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device), x.device)


def same_shape(**tensors):
    """Raise ValueError unless all named tensors have one shape; nothing is broadcast by accident."""
    if len({v.shape for v in tensors.values()}) > 1:
        got = ", ".join(f"{name} {tuple(v.shape)}" for name, v in tensors.items())
        raise ValueError(f"expected one shape for all, got {got}")


def pullback(value, inputs):
    """Gradients of Σ_i w_i y_i with respect to each input: y the entries of a tensor, w_i from 1 to 2, evenly spaced.

    Unequal weights, so that a gradient is seen also where entries of y always sum to the same.

    Args:
        value: a tensor, or several in a tuple or list; what is no tensor is passed over.
        inputs: tensors that require gradients.
    Returns:
        A list of tensors like the inputs; zeros where value does not depend on an input.
    """
    several = value if isinstance(value, (tuple, list)) else (value,)
    parts = [v.flatten() for v in several if isinstance(v, torch.Tensor) and v.requires_grad]
    if not parts:
        return [torch.zeros_like(v) for v in inputs]
    total = sum((v * torch.linspace(1, 2, len(v), dtype=v.dtype, device=v.device)).sum() for v in parts)
    return list(torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True))


def known(kind, name, names):
    """Raise ValueError unless name is one of names; the sentence lists them."""
    if name not in names:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(map(str, names))}")


def whole(**numbers):
    """Nothing, or a ValueError that names the number that is not whole or is below 1."""
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {number!r}")


def bisect(above, low, high, steps=80):
    """Where a condition changes, by halving: ``above(x)`` says, entry by entry, that the place lies above x."""
    for _ in range(steps):
        middle = (low + high) / 2
        up = above(middle)
        low, high = torch.where(up, middle, low), torch.where(up, high, middle)
    return (low + high) / 2


def touched(before, after):
    """Whether a tensor is no longer what it was: other bits, shape or dtype, or gradients wanted of it."""
    same = before.shape == after.shape and before.dtype == after.dtype and torch.equal(before, after)
    return not same or before.requires_grad != after.requires_grad
