"""Messages between the grader and a worker: a line of JSON and tensors as safetensors, nothing that can carry code.

A message is a dict of numbers, strings, None, lists and tensors. In the JSON a list is ["list" or "tuple", values ...]
and a tensor ["tensor", its name among the safetensors]. Nothing received is trusted: sizes are bounded before anything
is parsed, and every tensor is looked at before it is passed on.
"""

import json
import struct
import time

import torch
from safetensors.numpy import save
from safetensors.torch import load

LIMIT, HEAD = 16 * 2**20, 4 * 2**20  # bytes of the safetensors; of the JSON, and of the safetensors' own header
MARKS = 400_000  # brackets and commas in the JSON: no more values than that; the longest cell that is run has fewer
DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool)


class Malformed(ValueError):
    """What came is no message."""


def pack(message):
    """dict -> bytes."""
    arrays = {}
    header = json.dumps(_lower(message, arrays)).encode()
    body = save(arrays)
    return struct.pack("<QQ", len(header), len(body)) + header + body


def _lower(value, arrays):
    if type(value) in (torch.Tensor, torch.nn.Parameter):  # another class may lie about its values
        if value.dtype not in DTYPES:
            names = ", ".join(str(dtype)[6:] for dtype in DTYPES)
            raise TypeError(f"a tensor of {value.dtype} cannot be handed in; expected one of {names}")
        name = str(len(arrays))
        array = value.detach().cpu().numpy(force=True)  # forced: a view of conjugate or negative numbers as well
        arrays[name] = array.copy()  # safetensors reads the memory as if it had no strides
        return ["tensor", name]
    if isinstance(value, dict):
        return {str(k): _lower(v, arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return ["tuple" if isinstance(value, tuple) else "list", *(_lower(v, arrays) for v in value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"a {type(value).__name__} cannot be handed in; expected tensors, numbers, strings or lists of them"
    )


def unpack(header, body):
    """Bytes of the two parts -> dict.

    Raises:
        Malformed: anything that ``pack`` would not have made.
    """
    try:
        if sum(map(header.count, b"[{,")) > MARKS or int.from_bytes(body[:8], "little") > HEAD:
            raise Malformed("too many values")
        tensors = load(body)
        message = _lift(json.loads(header), tensors)
    except Exception as error:  # of three libraries
        raise Malformed(f"not a message: {error}") from None
    if tensors or not isinstance(message, dict):
        raise Malformed("not a message: no dict, or a tensor that is nowhere in it")
    return message


def _lift(node, tensors, depth=0):
    if depth > 20:
        raise Malformed("too deep")
    if isinstance(node, dict):
        return {name: _lift(value, tensors, depth + 1) for name, value in node.items()}
    if not isinstance(node, list):
        return node
    kind, *items = node
    if kind != "tensor":
        return {"list": list, "tuple": tuple}[kind](_lift(item, tensors, depth + 1) for item in items)
    (name,) = items
    tensor = tensors.pop(name)
    if tensor.dtype not in DTYPES or tensor.ndim > 16:
        raise Malformed(f"no tensor may be of {tensor.dtype} with {tensor.ndim} axes")
    if tensor.dtype == torch.bool and (tensor.view(torch.uint8) > 1).any():
        raise Malformed("a truth value is 0 or 1")
    return tensor


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
