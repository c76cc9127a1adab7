"""A model tried on two made-up images: whether it can take a step and give scores."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.models import contract
from schemas.config import ModelSection, TrainConfig
from schemas.features import MapSpec

if TYPE_CHECKING:
    from torch import Tensor

_IMAGES, _LABELS, _WORD = 2, 3, 300


def trial(model: contract.Model, settings: ModelSection, train: TrainConfig, maps: Sequence[MapSpec]) -> str | None:
    """What is wrong with a model, in words; None where it scores.

    One that fits itself to all training images first is only built: what it gives before that means nothing.

    Args:
        maps: as the features will have them, in the order of `needs`.
    """
    import torch

    from pipeline.models.sizes import FeatureSizes

    with torch.random.fork_rng(devices=[]):
        network = model.build(settings, FeatureSizes.of(model.needs(settings), maps, _WORD))
        if contract.has_response_maps(model) and not callable(getattr(network, "response_maps", None)):
            return "has RESPONSE_MAPS, but its network no function response_maps"
        if hasattr(model, "fit"):
            return None
        features = [torch.rand(_IMAGES, *one.shape).to(getattr(torch, one.dtype)) for one in maps]
        words = torch.nn.functional.normalize(torch.randn(_LABELS, _WORD), dim=1)
        codes = torch.tensor([[1, -1, -1], [-1, 1, 0]], dtype=torch.int8)
        optimizer = contract.optimizer(model, network, train)
        loss = contract.loss(model, network.train()(*features, words), codes, words, train, _IMAGES)
        if loss.ndim or not torch.isfinite(loss):
            return f"has the loss {loss}, expected one finite number"
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            if problem := _misshapen("scores", network.eval()(*features, words), (_IMAGES, _LABELS)):
                return problem
            if not contract.has_response_maps(model):
                return None
            response_maps: Any = network.response_maps
            responses: Tensor = response_maps(*features, words)
            return _misshapen("response maps", responses, (_IMAGES, _LABELS, *responses.shape[2:4]))


def _misshapen(what: str, found: "Tensor", expected: tuple[int, ...]) -> str | None:
    shape = tuple(found.shape)
    return None if shape == expected else f"gives {what} of shape {shape} for 2 images and 3 labels"
