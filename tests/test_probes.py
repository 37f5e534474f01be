"""Linear probes. Ledger APP-2, M-39."""

import pytest
import torch

from dlgm import nets, probes
from dlgm.denoiser import Denoiser
from dlgm.process import q_sample
from dlgm.schedules import cosine_beta


def test_app_2_a_probe_finds_what_is_linear_and_nothing_else(generator):
    """Classes by the sign of two coordinates among noise are told; labels drawn apart from features are not."""
    x = torch.randn(1200, 12, generator=generator)
    y = 2 * (x[:, 3] > 0).long() + (x[:, 7] > 0).long()
    found = probes.linear_probe(x[:800], y[:800], x[800:], y[800:])
    assert found.value > 0.85
    other = torch.randint(4, (1200,), generator=generator)
    blind = probes.linear_probe(x[:800], other[:800], x[800:], other[800:])
    assert abs(blind.value - 0.25) < 4 * blind.error
    xor = (x[:, 3] * x[:, 7] > 0).long()
    assert abs(probes.linear_probe(x[:800], xor[:800], x[800:], xor[800:]).value - 0.5) < 0.12


def test_app_2_scales_and_shifts_of_features_do_not_matter(generator):
    x = torch.randn(300, 5, generator=generator)
    y = (x[:, 0] + 0.3 * x[:, 1] > 0.4).long()
    moved = 100 * x * torch.tensor([1.0, 5.0, 0.1, 1.0, 2.0]) - 7
    found = [probes.linear_probe(v[:200], y[:200], v[200:], y[200:]).value for v in (x, moved)]
    assert found[0] == found[1]


def test_app_2_hidden_layers_are_those_of_noised_pictures(generator):
    torch.manual_seed(0)
    model = Denoiser(nets.UNet(1, (8, 16), heads=2), cosine_beta(), "v").eval()
    x0 = torch.randn(5, 1, 8, 8, generator=generator)
    found = probes.hidden(model, x0, 300, "middle", torch.Generator().manual_seed(1), batch=5)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    kept = []
    model.net.middle.register_forward_hook(lambda module, args, out: kept.append(out))
    with torch.no_grad():
        model(q_sample(model.schedule, x0, 300, eps), 300)
    torch.testing.assert_close(found, kept[0].flatten(1))
    assert found.shape == (5, 16 * 4 * 4) and len(probes.hidden(model, x0, 300, batch=2)) == 5
    with pytest.raises(ValueError, match="no part 'centre'; the first ones are embed"):
        probes.hidden(model, x0, 300, "centre")
    with pytest.raises(ValueError, match="'up.1' is never called"):
        probes.hidden(model, x0, 300, "up.1")


def test_bad_shapes_are_refused():
    x, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="equal length and test labels that were trained, got 4 and 4, 3 and 4"):
        probes.linear_probe(x, y, x[:3], y)
    with pytest.raises(ValueError, match="labels up to 1 and 2"):
        probes.linear_probe(x, y, x, y + 1)
