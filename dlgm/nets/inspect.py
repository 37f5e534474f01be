"""What a network gives out and costs, part by part."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .unet import CrossAttention

PRODUCTS = torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm


def count_passes(model, call):
    """How often the busiest linear layer of ``model`` runs during call(): the network passes that follow each other."""
    counts = {}

    def count(layer, *_):
        counts[layer] = counts.get(layer, 0) + 1

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Linear)]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return max(counts.values(), default=0)


def layer_table(net, images):
    """What each part of a U-Net gives out and costs, one forward pass with hooks and a counter of operations.

    Args:
        net: a ``nets.UNet``.
        images: (1, C, H, W), of the size to be looked at.
    Returns:
        A list of dicts with part, level (where it computes; 0 is full size), out (C, H, W), parameters, and macs, the
        multiply-adds of convolutions and linear layers (the products inside attention are not counted).
    Source: ledger ARCH-1, ARCH-2, ARCH-3, ARCH-7.
    """
    last = net.sizes - 1
    parts = [("stem", 0, ["stem"])]
    for i in range(net.sizes):
        parts += [(f"shrink {i}", i, [f"shrink.{i - 1}"])] if i else []
        parts += [(f"down {i}", i, [f"down.{i}.{k}" for k in range(len(net.down[i]))])]
    parts += [("middle", last, ["middle"])]
    for i in reversed(range(net.sizes)):
        parts += [(f"up {i}", i, [f"up.{i}.{k}" for k in range(len(net.up[i]))])]
        parts += [(f"grow {i}", i, [f"grow.{i - 1}"])] if i else []
    parts += [("head", 0, ["head"])]
    seen = {}

    def record(name):
        return lambda module, args, out: seen.update({name: tuple(out.shape[1:])})

    hooks = [net.get_submodule(n).register_forward_hook(record(n)) for _, _, names in parts for n in names]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(images, torch.ones(1, device=images.device))
    for hook in hooks:
        hook.remove()
    counts = {
        name.removeprefix("UNet."): sum(ops.get(op, 0) for op in PRODUCTS) // 2
        for name, ops in counter.get_flop_counts().items()
    }
    return [
        {
            "part": part,
            "level": level,
            "out": seen[names[-1]],
            "parameters": sum(p.numel() for n in names for p in net.get_submodule(n).parameters()),
            "macs": sum(counts.get(n, 0) for n in names),
        }
        for part, level, names in parts
    ]


def attention_maps(model, call):
    """Where each CrossAttention of ``model`` reads during call(): a list of (B, heads, H, W, L), in the order of calls.

    Each pixel's shares sum to 1 over the L features of a text, the first of which is its start.

    Source: Vaswani et al. 2017, equation 1; ledger COND-3.
    """
    found = []

    def look(layer, args):
        x, text = args
        q, k, _ = (v.unflatten(2, (layer.heads, -1)).transpose(1, 2) for v in layer.projected(x, text))
        scores = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
        shares = scores.masked_fill(~text.mask[:, None, None], -torch.inf).softmax(3)
        found.append(shares.unflatten(2, x.shape[2:]))

    hooks = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, CrossAttention)]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return found
