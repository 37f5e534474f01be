"""The pretended GPU against what a real one is known to do, snippet by snippet."""

import copy
import io
import json
import sys

import pytest
import torch
from simulated_device import WHY_NOT, Device, apart
from torch import nn
from torch.nn import functional as F

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
TWO, GENERATOR, INDEX = "two devices", "device type for generator", "indices should be"
HERE = torch.arange(6.0).reshape(2, 3)


def there(v):
    return v.to("cuda", non_blocking=True)


def expect(call, value=None, syncs=0, uploads=0, error=None):
    """A snippet of x and k, tensors on the device: its value, the syncs and the blocking uploads, or its error."""
    return call, value, (syncs, uploads), error


def training(device, precision=torch.float32):
    """The weights after three steps of Adam with clipped gradients, and their optimiser."""
    torch.manual_seed(0)
    conv, dense = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(64, 2)
    model = nn.Sequential(conv, nn.GroupNorm(2, 4), nn.SiLU(), nn.Flatten(), dense)
    data = torch.rand(3, 1, 4, 4).to(device)
    model.to(device)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(3):
        optimiser.zero_grad()
        with torch.autocast(torch.device(device).type, torch.bfloat16, precision == torch.bfloat16):
            out = model(data)
        assert out.dtype is precision
        out.float().square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimiser.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()]), optimiser, model


def resumed(place):
    """A step of Adam whose state was saved and read to ``place``: it reads its step counter where that lies."""
    _, optimiser, model = training("cuda")
    file = io.BytesIO()
    torch.save(optimiser.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    state["state"] = {i: {k: v.to(place) for k, v in s.items()} for i, s in state["state"].items()}
    optimiser = torch.optim.Adam(model.parameters())
    optimiser.load_state_dict(state)
    return optimiser.step


def moved():
    """A copy keeps its values through state_dict, and parameters stay the same objects when they move."""
    model = nn.Linear(3, 2)
    before = list(model.parameters())
    other = copy.deepcopy(model.to("cuda"))
    nn.init.zeros_(other.weight)
    other.load_state_dict(model.state_dict())
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    return other.weight - model.weight


def second_derivative(x):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    return torch.autograd.grad(slope.sum(), x)[0]


def through_a_view(x):
    x = x.clone()
    x[:, 1] = 7.0
    return x


Q = torch.rand(2, 2, 5, 4, generator=torch.Generator().manual_seed(0))
SNIPPETS = {
    "tensor + tensor of the host": expect(lambda x, k: x + HERE, error=TWO),
    "the host first": expect(lambda x, k: HERE * x, error=TWO),
    "a number of the host in arithmetic": expect(lambda x, k: x * torch.tensor(2.0), 2 * HERE),
    "a number of the device with the host": expect(lambda x, k: HERE + x[0, 0], error=TWO),
    "numbers of both in a stack": expect(lambda x, k: torch.stack([x[0, 0], torch.tensor(1.0)]), error=TWO),
    "matmul": expect(lambda x, k: x @ HERE.T, error=TWO),
    "a network of the host": expect(lambda x, k: nn.Linear(3, 2)(x), error=TWO),
    "a table of the host, an index of the device": expect(lambda x, k: HERE[k], error=INDEX),
    "the reverse": expect(lambda x, k: x[torch.tensor([1, 0])], HERE.flip(0), uploads=1),
    "gather with an index of the host": expect(lambda x, k: x.gather(1, torch.zeros(2, 1).long()), error=TWO),
    "numpy": expect(lambda x, k: x.numpy(), error="can't convert"),
    "cpu().numpy()": expect(lambda x, k: torch.from_numpy(x.cpu().numpy()), HERE, syncs=1),
    "item, float, bool": expect(lambda x, k: (x[0, 0].item(), float(x[0, 1]), bool((x > 0).any())), syncs=3),
    "tolist, f-string": expect(lambda x, k: (x.tolist(), f"{x[0, 0]:.1f}"), syncs=2),
    "a boolean mask read": expect(lambda x, k: x[x > 2], HERE[HERE > 2], syncs=1),
    "a boolean mask filled": expect(lambda x, k: x.clone().masked_fill(x > 2, 1.0)),
    "nonzero, unique": expect(lambda x, k: (x.nonzero(), x.unique()), syncs=2),
    "the device's names": expect(
        lambda x, k: torch.tensor([x.device == d for d in map(torch.device, ("cuda", "cuda:0"))] + [
            x.device == torch.device("cuda", 0), x.device == torch.device(type="cuda", index=0)]), [True] * 4
    ),
    "torch.full": expect(lambda x, k: torch.full((3,), 5, device="cuda"), [5, 5, 5]),
    "as_tensor of a number": expect(lambda x, k: torch.as_tensor(5, device="cuda"), uploads=1),
    "to() where it is already": expect(lambda x, k: x.to("cuda:0").to(torch.float64), HERE),
    "a blocking upload": expect(lambda x, k: HERE.to("cuda"), HERE, uploads=1),
    "one that does not wait": expect(lambda x, k: HERE.to("cuda", non_blocking=True), HERE),
    "randn": expect(lambda x, k: torch.randn(3, generator=torch.Generator(), device="cuda"), error=GENERATOR),
    "normal_": expect(lambda x, k: x.clone().normal_(generator=torch.Generator()), error=GENERATOR),
    "multinomial": expect(lambda x, k: torch.multinomial(x + 1, 2, generator=torch.Generator()), error=GENERATOR),
    "rand there": expect(lambda x, k: torch.rand(3, generator=torch.Generator("cuda"), device="cuda")),
    "randn of the device here": expect(lambda x, k: torch.randn(3, generator=torch.Generator("cuda")), error=GENERATOR),
    "eigh, cholesky": expect(lambda x, k: (torch.linalg.eigh(x @ x.T), torch.linalg.cholesky(x @ x.T + 1)), syncs=2),
    "cholesky_ex": expect(lambda x, k: torch.linalg.cholesky_ex(torch.eye(2, device="cuda")).L, torch.eye(2)),
    "views in place": expect(lambda x, k: x.clone().unsqueeze_(0).squeeze_(0).t_(), HERE.T),
    "a write through a view": expect(lambda x, k: through_a_view(x), [[0, 7, 2], [3, 7, 5]]),
    "one_hot": expect(lambda x, k: F.one_hot(k, 3), [[0, 1, 0], [1, 0, 0]]),
    "attention": expect(
        lambda x, k: F.scaled_dot_product_attention(*[there(Q)] * 3), F.scaled_dot_product_attention(Q, Q, Q)
    ),
    "second derivative": expect(lambda x, k: second_derivative(x), 6 * HERE),
    "modules": expect(lambda x, k: moved(), torch.zeros(2, 3), uploads=2),
    "Adam": expect(lambda x, k: training("cuda")[0], lambda: training("cpu")[0], uploads=7),
    "Adam in bfloat16": expect(lambda x, k: training("cuda", torch.bfloat16)[0], uploads=7),
    "Adam, resumed": expect(lambda x, k: resumed("cpu")),
    "Adam, resumed on the device": expect(lambda x, k: resumed("cuda"), syncs=12),  # twice for each of 6 parameters
}  # fmt: skip


def outcomes():
    """{snippet: None, or what a real GPU would do otherwise}."""
    found = {}
    with Device("cuda") as device:
        for name, (call, value, counts, error) in SNIPPETS.items():
            x, k, seen = there(HERE), there(torch.tensor([1, 0])), None
            call = call(x, k) if name.startswith("Adam, resumed") else lambda call=call, x=x, k=k: call(x, k)
            with device.counting() as log:
                try:
                    result = call()
                except Exception as e:  # noqa: BLE001
                    seen = str(e)
            got = log.syncs.total(), log.uploads.total()
            right = bool(error) and error in seen if seen else error is None and got == counts
            if right and value is not None:
                want = torch.as_tensor(value() if callable(value) else value)
                right = result.shape == want.shape and torch.allclose(result.cpu().double(), want.double(), atol=1e-5)
            found[name] = None if right else f"{seen or result}, (syncs, uploads) {got}; expected {error or counts}"
    with Device("mps") as device:
        found["float64 on MPS"] = raises(TypeError, lambda: torch.ones(2).to("mps").double())
        found["MPS does not wait"] = raises(RuntimeError, lambda: torch.ones(2).to("mps", non_blocking=True))
        weights = training("mps")[0]
        found["Adam on MPS"] = None if weights.device.type == "mps" else weights.device.type
        found["float64 of the host"] = (
            str(v.dtype) if (v := HERE.double().to("mps", torch.float32)).sum() != 15 else None
        )
    found["nothing stays"] = (
        None if torch.Generator().device.type == "cpu" and not torch.cuda.is_available() else "it does"
    )
    return found


def raises(kind, call):
    try:
        return f"no {kind.__name__}: {call()}"
    except kind:
        return None


OTHERS = ["float64 on MPS", "MPS does not wait", "Adam on MPS", "float64 of the host", "nothing stays"]


@pytest.fixture(scope="module")
def found():
    return apart(__file__)


@pytest.mark.parametrize("name", [*SNIPPETS, *OTHERS])
def test_as_a_real_gpu(name, found):
    assert found[name] is None, found[name]


if __name__ == "__main__":
    print(json.dumps(outcomes()) if "--outcomes" in sys.argv else {k: v for k, v in outcomes().items() if v})
