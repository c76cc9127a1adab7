import pytest
import torch

from pipeline.models.biam.dropout import Dropout, draw_kept, drop, kept_share


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.937])
def test_the_share_is_dropped_and_the_others_are_scaled_up(share):
    torch.manual_seed(0)
    values = torch.full((301, 1001), 2.0, requires_grad=True)
    left = drop(values, share)
    assert (left == 0).double().mean().item() == pytest.approx(share, abs=0.003)
    assert left.mean().item() == pytest.approx(2, abs=0.02)
    left.sum().backward()
    torch.testing.assert_close(values.grad, left.detach() / 2)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = draw_kept((250_000, 4), 0.5, torch.device("cpu")).double()
    assert torch.allclose(torch.corrcoef(kept.T), torch.eye(4, dtype=torch.float64), atol=0.01)


def test_shares_at_the_ends_are_exact():
    values = torch.ones(7)
    assert torch.equal(drop(values, 0.0), values)
    assert torch.equal(drop(values, 1.0), torch.zeros(7))
    assert kept_share(0.5) == 0.5


def test_it_acts_only_while_training_and_by_the_seed():
    layer, values = Dropout(0.5), torch.ones(100)
    assert torch.equal(layer.eval()(values), values)
    layer.train()
    torch.manual_seed(3)
    first = layer(values)
    torch.manual_seed(3)
    assert torch.equal(layer(values), first)
