"""What changes weights: torch's own optimisers by name, and TensorFlow's RMSProp, which torch has not."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from schemas.config import TrainConfig


def optimizer(network: nn.Module, train: TrainConfig) -> Optimizer:
    """The one that `train.optimizer` names, over all weights of a network; its rate is set at each epoch."""
    groups = parameter_groups(network, train)
    match train.optimizer:
        case "adam" | "adamw":
            kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[train.optimizer]
            on_mps = any(weights.device.type == "mps" for weights in network.parameters())
            return kind(groups, lr=train.lr, betas=train.betas, weight_decay=0.0, fused=not on_mps)
        case "sgd":
            return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=train.lr, alpha=0.9, momentum=train.momentum)
        case "tf-rmsprop":
            return TensorFlowRMSProp(groups, lr=train.lr, momentum=train.momentum)


def parameter_groups(network: nn.Module, train: TrainConfig) -> list[dict[str, Any]]:
    """All weights, each group with the decay that `train.weight_decay` and `train.decayed` give it."""
    weights = list(network.parameters())
    if train.decayed == "all":
        return [{"params": weights, "weight_decay": train.weight_decay}]
    matrices = [tensor for tensor in weights if tensor.ndim > 1]
    others = [tensor for tensor in weights if tensor.ndim <= 1]
    decays = ((matrices, train.weight_decay), (others, 0.0))
    return [{"params": group, "weight_decay": decay} for group, decay in decays if group]


class TensorFlowRMSProp(Optimizer):
    """RMSProp as TensorFlow 1 has it.

    The mean of squares m starts at 1, and epsilon stands under the root: m = decay m + (1 - decay) g^2,
    b = momentum b + lr g / sqrt(m + epsilon), weights -= b. torch's starts at 0 and adds epsilon to the root.

    Args:
        params: weights, or groups of them.
        lr: the rate.
        decay: of the mean of squares.
        momentum: share of the last change that is made again.
        epsilon: added to the mean of squares.
        weight_decay: factor of the L2 penalty that is added to the gradients.

    Source: the settings of LESA's released training (decay 0.9, momentum 0.9, epsilon 1).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        decay: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        of_group = {"lr": lr, "decay": decay, "momentum": momentum, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(params, of_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change all weights that have a gradient."""
        assert closure is None, "the loss is computed once a step"
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is not None:
                    self._change(weights, weights.grad, group)
        return None

    def _change(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weights]
        if not state:
            state["mean_square"], state["change"] = torch.ones_like(weights), torch.zeros_like(weights)
        if group["weight_decay"]:
            gradient = gradient.add(weights, alpha=group["weight_decay"])
        mean_square, change = state["mean_square"], state["change"]
        mean_square.mul_(group["decay"]).addcmul_(gradient, gradient, value=1 - group["decay"])
        root = (mean_square + group["epsilon"]).sqrt_()
        change.mul_(group["momentum"]).addcdiv_(gradient, root, value=group["lr"])
        weights.sub_(change)
