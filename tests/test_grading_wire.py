"""Messages: what goes in comes out, and nothing else is believed."""

import json
import socket
import struct
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlgm.grading import wire


def there_and_back(message):
    raw = wire.pack(message)
    head, body = struct.unpack("<QQ", raw[:16])
    return wire.unpack(raw[16 : 16 + head], raw[16 + head :])


def test_values_of_every_kind_come_back_as_they_went():
    x = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    sent = {
        "tensors": [
            x,
            x.T,
            x[:, ::2],
            x[0].expand(4, 3),
            x.to(torch.float32),
            x.long(),
            x > 2,
            torch.empty(0, 3),
            torch.tensor(1.5),
            x[:1, 1],
        ],
        "plain": (1, -2.5, "é<b>", None, True, float("inf")),
        "nested": [[1, [2.0]], ("a",)],
    }
    got = there_and_back(sent)
    assert got["plain"] == sent["plain"] and got["nested"] == sent["nested"] and type(got["plain"]) is tuple
    for a, b in zip(got["tensors"], sent["tensors"], strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    assert torch.isnan(there_and_back({"x": torch.tensor(float("nan"))})["x"])


def test_what_is_no_array_cannot_be_sent():
    for value in (object(), torch.nn.Linear(1, 1), {1, 2}, torch.ones(2, dtype=torch.complex64), lambda: 0):
        with pytest.raises(TypeError, match="cannot be handed in"):
            wire.pack({"value": value})


def test_a_tensor_that_lies_about_itself_is_not_taken():
    class Liar(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return True

    with pytest.raises(TypeError, match="a Liar cannot be handed in"):
        wire.pack({"x": torch.zeros(2).as_subclass(Liar)})


def forged(tensors, data=b"", length=None):
    """The second part of a message, with any header in place of safetensors' own."""
    header = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype, shape, start, end):
    """A tensor in the header of safetensors."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


X, EIGHT, NONE = '{"x": ["tensor", "0"]}', b"12345678", forged({})


@pytest.mark.parametrize(
    "header, body",
    [
        ('["list", 1, 2]', NONE),
        ("1", NONE),
        (X, NONE),
        (X, b""),
        (X, forged({"0": entry("F64", [2], 0, 8)}, EIGHT)),
        (X, forged({"0": entry("F64", [2], 0, 16)}, EIGHT)),
        (X, forged({"0": entry("F64", [-1], 0, 8)}, EIGHT)),
        (X, forged({"0": entry("F64", [1e9], 0, 8)}, EIGHT)),
        (X, forged({"0": entry("F64", [2**63, 2**63, 0], 0, 0)})),
        (X, forged({"0": entry("F64", [0, 2**63], 0, 0)})),
        (X, forged({"0": entry("U8", [1] * 17, 0, 1)}, b"1")),
        (X, forged({"0": entry("U8", [0] * 100_000, 0, 0)})),
        (X, forged({"0": entry("object", [1], 0, 8)}, EIGHT)),
        (X, forged({"0": entry("C64", [1], 0, 8)}, EIGHT)),
        (X, forged({"0": entry("BF16", [4], 0, 8)}, EIGHT)),
        (X, forged({"0": entry("F4", [16], 0, 8)}, EIGHT)),
        (X, forged({"0": entry("BOOL", [1], 0, 1)}, b"\x07")),
        (X, forged({"0": entry("U8", [8], 0, 8), "1": entry("U8", [8], 0, 8)}, EIGHT)),
        (X, forged({"0": entry("U8", [4], 4, 8)}, EIGHT)),
        (X, forged({"0": entry("U8", [8], 0, 8)}, EIGHT + b"left over")),
        (X, forged({"0": entry("U8", [8], 0, 8)}, EIGHT, length=2**64 - 1)),
        (X, forged({"0": entry("U8", [8], 0, 8)}, EIGHT, length=10**6)),
        (X, forged(b" " * (wire.HEAD + 1))),
        (X, forged(b"[" * 5000)),
        (X, forged(b"\xff")),
        (X, forged({"0": 7})),
        ('{"x": 1}', forged({"0": entry("U8", [8], 0, 8)}, EIGHT)),
        ('{"x": ["tensor", "0"], "y": ["tensor", "0"]}', forged({"0": entry("U8", [8], 0, 8)}, EIGHT)),
        ('{"x": ["tensor", "0"], "x": 1}', forged({"0": entry("U8", [8], 0, 8)}, EIGHT)),
        ('{"x": ["tensor", 0]}', forged({"0": entry("U8", [8], 0, 8)}, EIGHT)),
        ('{"x": ["tensor", ["0"]]}', forged({"0": entry("U8", [8], 0, 8)}, EIGHT)),
        ('{"x": ["tensor"]}', NONE),
        ('{"x": []}', NONE),
        ('{"x": ["set", 1]}', NONE),
        ('{"x": [["list"], 1]}', NONE),
        ('{"x": ' + '["list", ' * 21 + "1" + "]" * 21 + "}", NONE),
        ('{"x": ' * 22 + "1" + "}" * 22, NONE),
        ('{"x": ["list"' + ", 0" * wire.MARKS + "]}", NONE),
        ('{"x": ' + "9" * 10_000 + "}", NONE),
        ("[" * 5000, NONE),
        ("not json", NONE),
    ],
)
def test_forged_messages_are_malformed(header, body):
    with pytest.raises(wire.Malformed):
        wire.unpack(header.encode(), body)


def test_names_that_come_twice_give_one_tensor_with_memory_of_its_own():
    twice = b'{"0": %s, "0": %s}' % ((json.dumps(entry("U8", [8], 0, 8)).encode(),) * 2)
    got = wire.unpack(X.encode(), forged(twice, EIGHT))
    assert list(got) == ["x"] and bytes(got["x"].tolist()) == EIGHT


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
def test_damaged_messages_are_malformed_or_messages(at, damage):
    raw = bytearray(wire.pack({"x": torch.arange(6).reshape(2, 3), "y": [torch.tensor(True), "text", None, (1.5,)]}))
    head, _ = struct.unpack("<QQ", raw[:16])
    at = 16 + at % (len(raw) - 16)
    raw[at : at + len(damage)] = damage
    try:
        assert isinstance(wire.unpack(bytes(raw[16 : 16 + head]), bytes(raw[16 + head :])), dict)
    except wire.Malformed:
        pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=50))
def test_random_bytes_never_raise_anything_else(header, body):
    try:
        assert isinstance(wire.unpack(header, body), dict)
    except wire.Malformed:
        pass


def test_limits_of_time_and_size_hold():
    ours, theirs = socket.socketpair()
    with pytest.raises(TimeoutError):
        wire.receive(ours, 0.05)
    theirs.sendall(struct.pack("<QQ", 10, 2**40))
    with pytest.raises(wire.Malformed, match="at most"):
        wire.receive(ours, 5)
    theirs.close()
    with pytest.raises(EOFError):
        wire.receive(ours, 5)


def test_a_large_message_arrives_in_pieces():
    ours, theirs = socket.socketpair()
    x = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
    writer = threading.Thread(target=wire.send, args=(theirs, {"x": x}))
    writer.start()
    assert torch.equal(wire.receive(ours, 60)["x"], x)
    writer.join()
