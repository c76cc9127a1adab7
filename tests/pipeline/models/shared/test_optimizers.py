import pytest
import torch
from torch import nn

from pipeline.models.shared.optimizers import TensorFlowRMSProp, optimizer
from schemas.config import TrainConfig


def test_rmsprop_takes_the_steps_of_tensorflow() -> None:
    weights = nn.Parameter(torch.ones(1, dtype=torch.float64))
    changes, states = TensorFlowRMSProp([weights], lr=1e-3), []
    for gradient in (0.5, 0.25, 0.0, 1.0):
        weights.grad = torch.full_like(weights, gradient)
        changes.step()
        states.append(weights.item())
    assert states == pytest.approx([0.99963963, 0.99913092, 0.99867309, 0.99751138], abs=5e-9)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop", "tf-rmsprop"])
def test_offsets_do_not_decay_where_matrices_alone_do(name: str) -> None:
    network = nn.Linear(3, 2)
    for weights in network.parameters():
        nn.init.ones_(weights)
    config = TrainConfig(optimizer=name, decayed="matrices", weight_decay=0.5, lr=0.1)
    for weights in network.parameters():
        weights.grad = torch.zeros_like(weights)
    optimizer(network, config).step()
    assert torch.equal(network.bias, torch.ones(2))
    assert (network.weight < 1).all()


def test_all_weights_decay_by_default() -> None:
    network = nn.Linear(3, 2)
    nn.init.ones_(network.bias)
    for weights in network.parameters():
        weights.grad = torch.zeros_like(weights)
    optimizer(network, TrainConfig(weight_decay=0.5)).step()
    assert (network.bias < 1).all()
