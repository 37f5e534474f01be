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


@pytest.mark.parametrize(
    "header, body",
    [
        ("[1, 2]", b""),
        ('{"dict": [["x", {"tensor": "float64", "shape": [2]}]]}', b"12345678"),
        ('{"dict": [["x", {"tensor": "float64", "shape": [-1]}]]}', b""),
        ('{"dict": [["x", {"tensor": "float64", "shape": [1e9]}]]}', b""),
        ('{"dict": [["x", {"tensor": "object", "shape": [1]}]]}', b"12345678"),
        ('{"dict": [["x", {"tensor": "bool", "shape": [1]}]]}', b"\x07"),
        ('{"dict": [["x", {"plain": {"a": 1}}]]}', b""),
        ('{"dict": [["x"]]}', b""),
        ('{"dict": [["x", {"plain": 1}]]}', b"left over"),
        ("[" * 5000, b""),
        (json.dumps({"list": [{"plain": 1}]}), b""),
        ("not json", b""),
    ],
)
def test_forged_messages_are_malformed(header, body):
    with pytest.raises(wire.Malformed):
        wire.unpack(header.encode(), body)


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
