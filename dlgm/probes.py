"""What a network has learned about pictures without being told: linear probes on its hidden layers."""

import torch

from .metrics import estimate
from .process import q_sample
from .tensors import double, randn_like

RIDGES = (1e-2, 1e-1, 1.0, 10.0, 100.0)


@torch.no_grad()
def hidden(denoiser, x0, t, part="middle", generator=None, batch=250):
    """What a part of a denoiser's network gives for x_t ~ q(x_t | x_0): (N, ...) -> (N, F).

    Args:
        denoiser: a ``Denoiser``. t: a number. part: the name of a submodule of its network, such as "middle", "up.1.0".
    Raises:
        ValueError: the network has no such part, or it is a list of parts.
    Source: Baranchuk et al. 2022, section 3; ledger APP-2, M-39.
    """
    names = [name for name, _ in denoiser.net.named_modules() if name]
    if part not in names:
        raise ValueError(f"the network has no part {part!r}; the first ones are {', '.join(names[:5])}")
    found, module = [], denoiser.net.get_submodule(part)
    hook = module.register_forward_hook(lambda module, args, out: found.append(out.flatten(1)))
    try:
        for x in x0.split(batch):
            denoiser(q_sample(denoiser.schedule, x, t, randn_like(x, generator)), t)
    finally:
        hook.remove()
    if not found:
        raise ValueError(f"the part {part!r} is never called; name a layer or block inside it")
    return torch.cat(found)


def linear_probe(train, y, test, y_test):
    """The share of test examples whose label a linear map of the features tells, an Estimate.

    Ridge regression onto one-hot labels, features brought to mean 0 and standard deviation 1:
    W = Xᵀ (X Xᵀ + λ F I)⁻¹ Y. λ is chosen on every fifth training example. In float64, which on MPS means on the CPU.

    Args:
        train: (N, F). y: (N,), labels 0, 1, .... test, y_test: (M, F), (M,).
    Raises:
        ValueError: lengths differ, or a test label was not trained.
    Source: Alain & Bengio 2016; ledger APP-2, M-39.
    """
    if len(train) != len(y) or len(test) != len(y_test) or y_test.max() > y.max():
        got = f"{len(train)} and {len(y)}, {len(test)} and {len(y_test)}, labels up to {y.max()} and {y_test.max()}"
        raise ValueError(f"expected features and labels of equal length and test labels that were trained, got {got}")
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    X, Z = (double((v - mean) / std) for v in (train, test))
    Y = double(torch.nn.functional.one_hot(y.to(X.device), int(y.max()) + 1))

    def told(kept, asked, ridge):
        A, centre = X[kept], Y[kept].mean(0)
        gram = A @ A.T + ridge * A.shape[1] * torch.eye(len(A), dtype=A.dtype, device=A.device)
        return (asked @ A.T @ torch.linalg.solve(gram, Y[kept] - centre) + centre).argmax(1)

    held = torch.arange(len(X), device=X.device) % 5 == 0
    right = [(told(~held, X[held], ridge) == y.to(X.device)[held]).double().mean().item() for ridge in RIDGES]
    best = RIDGES[max(range(len(RIDGES)), key=right.__getitem__)]
    return estimate(double(told(torch.ones_like(held), Z, best) == y_test.to(X.device)), 0)
