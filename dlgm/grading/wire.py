"""Messages between the grader and a worker: a line of JSON and raw arrays, nothing that can carry code.

A message is a dict of numbers, strings, None, lists and tensors. Tensors travel as name of dtype, shape and bytes.
Nothing received is trusted: sizes, dtypes and shapes are checked before an array is made.
"""

import json
import math
import struct
import time

import torch

LIMIT, HEAD, NODES = 16 * 2**20, 4 * 2**20, 100_000  # bytes of a message and of its header, values in it
DTYPES = {
    str(d)[6:]: d
    for d in (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool)
}


class Malformed(ValueError):
    """What came is no message."""


def pack(message):
    """dict -> bytes."""
    buffers = []
    header = json.dumps(_lower(message, buffers)).encode()
    body = b"".join(buffers)
    return struct.pack("<QQ", len(header), len(body)) + header + body


def _lower(value, buffers):
    if type(value) in (torch.Tensor, torch.nn.Parameter):  # another class may lie about its values
        plain = value.detach().cpu()
        name = str(plain.dtype)[6:]
        if name not in DTYPES:
            raise TypeError(f"a tensor of {plain.dtype} cannot be handed in; expected one of {', '.join(DTYPES)}")
        buffers.append(plain.numpy().tobytes())
        return {"tensor": name, "shape": list(plain.shape)}
    if isinstance(value, dict):
        return {"dict": [[str(k), _lower(v, buffers)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_lower(v, buffers) for v in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"plain": value}
    raise TypeError(
        f"a {type(value).__name__} cannot be handed in; expected tensors, numbers, strings or lists of them"
    )


def unpack(header, body):
    """Bytes of the two parts -> dict.

    Raises:
        Malformed: anything that ``pack`` would not have made.
    """
    try:
        if header.count(b"{") > NODES:
            raise Malformed(f"more than {NODES} values")
        value, used = _lift(json.loads(header), body, 0, 0)
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise Malformed(f"not a message: {error}") from None
    if used != len(body) or not isinstance(value, dict):
        raise Malformed("not a message: lengths do not fit")
    return value


def _lift(node, body, at, depth):
    if depth > 20 or not isinstance(node, dict):
        raise Malformed("not a message: too deep, or not of this form")
    if "tensor" in node:
        dtype, shape = DTYPES[node["tensor"]], node["shape"]
        if len(shape) > 16 or not all(type(n) is int and n >= 0 for n in shape):
            raise Malformed(f"not a shape: {str(shape)[:100]}")
        size = math.prod(shape) * dtype.itemsize
        if at + size > len(body):
            raise Malformed("a tensor is longer than the message")
        flat = torch.frombuffer(bytearray(body[at : at + size]), dtype=torch.uint8) if size else torch.empty(0)
        if dtype == torch.bool and size and flat.max() > 1:
            raise Malformed("a truth value is 0 or 1")
        return (flat.view(dtype) if size else flat.to(dtype)).reshape(shape), at + size
    if "plain" in node:
        if not (node["plain"] is None or isinstance(node["plain"], (bool, int, float, str))):
            raise Malformed("a plain value is a number, a string or None")
        return node["plain"], at
    kind, items = next(((k, node[k]) for k in ("dict", "list", "tuple") if k in node), (None, ()))
    if kind is None or not isinstance(items, list):
        raise Malformed(f"unknown value with keys {sorted(node)[:3]}")
    values = []
    for item in items:
        value, at = _lift(item[1] if kind == "dict" else item, body, at, depth + 1)
        values.append(value)
    if kind == "dict":
        return {str(item[0]): value for item, value in zip(items, values, strict=True)}, at
    return (tuple(values) if kind == "tuple" else values), at


def send(sock, message):
    """Write a message to a socket."""
    sock.sendall(pack(message))


def receive(sock, seconds=None):
    """The next message from a socket.

    Args:
        seconds: of wall clock to wait; None waits for ever.
    Raises:
        TimeoutError: it took longer. EOFError: the other side is gone. Malformed: not a message, or longer than LIMIT.
    """
    end = None if seconds is None else time.monotonic() + seconds
    head, body = struct.unpack("<QQ", _exactly(sock, 16, end))
    if head > HEAD or body > LIMIT:
        raise Malformed(f"a message of {head + body} bytes; at most {LIMIT} are taken")
    return unpack(_exactly(sock, head, end), _exactly(sock, body, end))


def _exactly(sock, n, end):
    parts, left = [], n
    while left:
        if end is not None:
            wait = end - time.monotonic()
            if wait <= 0:
                raise TimeoutError
            sock.settimeout(wait)
        piece = sock.recv(min(left, 1 << 20))
        if not piece:
            raise EOFError("the other side is gone")
        parts.append(piece)
        left -= len(piece)
    return b"".join(parts)
