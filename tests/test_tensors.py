"""What other modules do to tensors, each with the value it must have."""

from types import SimpleNamespace

import pytest
import torch

from dlgm import tensors

F64 = torch.float64


def test_a_coefficient_of_a_batch_does_not_fit_one_number():
    with pytest.raises(ValueError, match=r"shape \(2,\) cannot be broadcast to x of shape \(\); expected \(\)$"):
        tensors.expand(torch.ones(2), torch.tensor(1.0))
    with pytest.raises(ValueError, match="a number or a tensor, got list"):
        tensors.expand([1.0], torch.ones(1))
    one = tensors.expand(torch.tensor(2.0, dtype=F64), torch.ones(3, 2))
    assert one.shape == () and one.dtype == torch.float32 and one == 2
    two = tensors.expand(torch.tensor([2.0, 3.0], dtype=F64), torch.ones(2, 3, 4))
    assert two.tolist() == [[[2.0]], [[3.0]]] and two.dtype == torch.float32


def test_sum_non_batch_leaves_the_first_axis():
    x = torch.arange(12.0).reshape(2, 3, 2)
    assert tensors.sum_non_batch(x).tolist() == [15, 51]
    assert tensors.sum_non_batch(x[:, 0, 0]).tolist() == [0, 6]


def test_pullback_weighs_the_entries_from_1_to_2():
    """Σ_i w_i y_i with w = 1, 4/3, 5/3, 2: of y = a x + b the gradients are w a and Σ w; parts are weighed alike."""
    x, b, other = (torch.ones(n, dtype=F64, requires_grad=True) for n in (4, 1, 2))
    w = torch.tensor([3.0, 4.0, 5.0, 6.0], dtype=F64) / 3
    by_x, by_b, by_other = tensors.pullback(5 * x + b, [x, b, other])
    torch.testing.assert_close(by_x, 5 * w, rtol=1e-15, atol=0)  # one rounding of float64; float32 weights miss by 1e-8
    torch.testing.assert_close(by_b, torch.tensor([6.0], dtype=F64), rtol=1e-15, atol=0)
    assert by_other.tolist() == [0, 0]
    (twice,) = tensors.pullback((x, "no tensor", torch.ones(3), 2 * x.reshape(2, 2)), [x])
    torch.testing.assert_close(twice, 3 * w, rtol=1e-15, atol=0)
    assert [v.tolist() for v in tensors.pullback("no tensor", [b, other])] == [[0], [0, 0]]


def test_draws_follow_their_generator():
    g = torch.Generator().manual_seed(3)
    z, k = tensors.normal((2, 3), g), tensors.choose(torch.tensor([1.0, 3.0]), 5, g)
    g = torch.Generator().manual_seed(3)
    assert z.dtype == F64 and torch.equal(z, torch.randn(2, 3, generator=g, dtype=F64))
    assert torch.equal(k, torch.multinomial(torch.tensor([1.0, 3.0]), 5, replacement=True, generator=g))
    assert tensors.choose(torch.tensor([0.0, 1.0]), 4).tolist() == [1, 1, 1, 1]  # with replacement
    noise = tensors.randn_like(torch.zeros(2, dtype=torch.bfloat16), torch.Generator().manual_seed(3))
    assert noise.dtype == torch.bfloat16
    torch.manual_seed(5)
    free = tensors.randn_like(torch.zeros(3))
    torch.manual_seed(5)
    assert torch.equal(free, torch.randn(3))


def test_device_noise_on_its_own_device_is_its_own_stream():
    x, g = torch.zeros(3, dtype=F64), tensors.DeviceNoise().manual_seed(1)
    first, second = tensors.randn_like(x, g), tensors.randn_like(x, g)
    plain = torch.Generator().manual_seed(1)
    assert torch.equal(torch.stack([first, second]), torch.stack([tensors.randn_like(x, plain) for _ in range(2)]))


def test_a_generator_that_makes_noise_is_asked_for_it():
    class Asked:
        def like(self, x):
            return x + 7

    assert tensors.randn_like(torch.ones(3), Asked()).tolist() == [8, 8, 8]


def test_near_keeps_one_copy_for_as_long_as_the_table_is_the_same():
    """On "meta", a device that every build has and where nothing is computed."""
    table, there = torch.arange(3.0), torch.device("meta")
    owner = SimpleNamespace(a=table, b=None, c=torch.ones(2))
    assert tensors.near(owner, table.device, "a", "b", "c") == [table, None, owner.c] and owner._kept == {}
    a, b, c = tensors.near(owner, there, "a", "b", "c")
    assert (a.device, a.shape, c.device, c.shape, b) == (there, (3,), there, (2,), None)
    again = tensors.near(owner, there, "c", "a")
    assert again[0] is c and again[1] is a and tensors.near(owner, table.device, "a")[0] is table
    owner.a = torch.ones(4)
    new, kept = tensors.near(owner, there, "a", "c")
    assert new.shape == (4,) and kept is c and tensors.near(owner, there, "a")[0] is new
    other = SimpleNamespace(a=table)
    assert tensors.near(other, there, "a")[0] is not a  # each owner has copies of its own


def test_bisect_finds_each_entry_between_its_own_ends():
    target, low, high = (
        torch.tensor([0.3, 5.0], dtype=F64),
        torch.zeros(2, dtype=F64),
        torch.tensor([1.0, 8.0]).double(),
    )
    found = tensors.bisect(lambda x: x < target, low, high)
    torch.testing.assert_close(found, target, rtol=1e-15, atol=0)  # 80 halvings go on to the last bit
    coarse = tensors.bisect(lambda x: x < target, low, high, steps=2)
    assert coarse.tolist() == [0.375, 5.0]  # the middle of [0.25, 0.5] and of [4, 6]


@pytest.mark.parametrize(
    "after",
    [
        torch.tensor([1.0, 3.0]),
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([1.0, 2.0], dtype=F64),
        torch.tensor([1.0, 2.0], requires_grad=True),
    ],
)
def test_touched_sees_bits_shape_dtype_and_gradients(after):
    before = torch.tensor([1.0, 2.0])
    assert tensors.touched(before, after) and not tensors.touched(before, before.clone())


def test_names_and_whole_numbers():
    with pytest.raises(ValueError, match="unknown fruit 'fig'; known: apple, 3"):
        tensors.known("fruit", "fig", ("apple", 3))
    tensors.known("fruit", 3, ("apple", 3))
    tensors.whole(n=1, m=7)
    for bad in (0, -1, 1.0, True, "1", None):
        with pytest.raises(ValueError, match="m must be a whole number of at least 1, got"):
            tensors.whole(n=1, m=bad)


def test_same_shape_names_all_that_came():
    tensors.same_shape(a=torch.ones(2), b=torch.zeros(2))
    with pytest.raises(ValueError, match=r"one shape for all, got a \(2,\), b \(2,\), c \(2, 1\)"):
        tensors.same_shape(a=torch.ones(2), b=torch.zeros(2), c=torch.ones(2, 1))


def test_host_is_float64_whatever_comes():
    for v in ([1, 2], torch.tensor([1, 2]), torch.tensor([1.0, 2.0], dtype=torch.bfloat16)):
        assert tensors.host(v).dtype == F64 and tensors.host(v).tolist() == [1, 2]
    assert tensors.double(torch.ones(1)).dtype == F64
