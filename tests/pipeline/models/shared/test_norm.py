"""Against torch's own batch normalisation, which is exact in float64."""

import pytest
import torch
from torch import nn

from pipeline.models.shared.norm import BatchNorm


def map_of(dtype=torch.float64, seed=0):
    maps = 3 + 2 * torch.randn(4, 5, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return maps.to(dtype).contiguous(memory_format=torch.channels_last)


def pair(momentum, eps):
    torch.manual_seed(0)
    norms = BatchNorm(5, eps=eps, momentum=momentum).double(), nn.BatchNorm2d(5, eps=eps, momentum=momentum).double()
    for norm in norms:
        torch.manual_seed(1)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norms


@pytest.mark.parametrize(("momentum", "eps"), [(0.1, 1e-5), (0.99, 1e-3)])
def test_values_gradients_and_running_statistics_are_torchs(momentum, eps):
    ours, torchs = pair(momentum, eps)
    results = []
    for norm in (ours, torchs):
        maps = map_of().requires_grad_()
        out = [norm(maps * scale) for scale in (1.0, 2.0)]
        (out[0] * map_of(seed=1)).sum().backward()
        evaluated = norm.eval()(maps)
        state = norm.state_dict()
        results.append([*out, maps.grad, norm.weight.grad, norm.bias.grad, evaluated, *state.values()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert ours.state_dict().keys() == torchs.state_dict().keys()


def test_bfloat16_maps_give_bfloat16_maps_by_float32_sums():
    norm = BatchNorm(5)
    maps = map_of(torch.bfloat16).requires_grad_()
    found = norm(maps)
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found.float(), norm(maps.float()), rtol=1e-2, atol=1e-2)
    found.float().square().sum().backward()
    assert maps.grad.dtype == torch.bfloat16
    assert norm.weight.grad.dtype == torch.float32
