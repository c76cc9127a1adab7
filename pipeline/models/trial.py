"""A model tried on two made-up images: whether it can take a step and give scores."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.models import contract
from schemas.config import ModelSection, TrainConfig
from schemas.features import MapSpec
from schemas.section import flaw

if TYPE_CHECKING:
    from torch import Tensor

_IMAGES, _LABELS, _WORD = 2, 3, 300


def trial(model: contract.Model) -> str | None:
    """What is wrong with what a model says of itself, in words; None where it can be asked for more."""
    if (problem := flaw(model.SETTINGS, ModelSection)) is not None:
        return problem
    if isinstance(model.TASKS, str) or not set(model.TASKS) or not set(model.TASKS) <= set(contract.EVERY_TASK):
        return f"has TASKS = {model.TASKS!r}, expected some of: {', '.join(contract.EVERY_TASK)}"
    of_presets = contract.presets(model)
    layers = list(of_presets.values()) if isinstance(of_presets, Mapping) else [of_presets]
    if not all(
        isinstance(layer, Mapping) and all(isinstance(one, Mapping) for one in layer.values()) for layer in layers
    ):
        return f"has PRESETS = {of_presets!r}, expected settings by section by preset"
    known_keys = {"model": model.SETTINGS.model_fields, "train": TrainConfig.model_fields}
    for preset, layer in of_presets.items():
        for section, keys in layer.items():
            if unknown := [key for key in keys if key not in known_keys.get(section, {})]:
                return f"sets {section}.{unknown[0]} in PRESETS[{preset!r}], which is no setting of it"
    if not contract.learns_by_steps(model) and not hasattr(model, "fit"):
        return "has EPOCHS = False and no function fit, so that it learns nothing"
    needs = model.needs(model.SETTINGS())
    if isinstance(needs, str) or not all(isinstance(name, str) for name in needs) or len(set(needs)) < len(needs):
        return f"needs {needs!r}, expected names of maps in a list or tuple, each once"
    return None


def trial_of_network(
    model: contract.Model, settings: ModelSection, train: TrainConfig, maps: Sequence[MapSpec]
) -> str | None:
    """What is wrong with a model's network, in words; None where it scores.

    One that fits itself to all training images first is only built: what it gives before that means nothing.

    Args:
        maps: as the features will have them, in the order of `needs`.
    """
    import torch

    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets

    with torch.random.fork_rng(devices=[]):
        labels = _LABELS if contract.has_label_weights(model) else 0
        sizes = FeatureSizes.of(model.needs(settings), maps, _WORD, labels)
        with torch.device("meta"):  # as when a model file is looked at
            model.build(settings, sizes)
        network = model.build(settings, sizes)
        if not isinstance(network, torch.nn.Module):
            return f"builds {network!r}, expected a torch.nn.Module"
        told = {
            "RESPONSE_MAPS": (contract.has_response_maps(model), "response_maps"),
            "SHARED_ATTENTIONS": (contract.has_shared_attentions(model), "by_attention"),
            "LABEL_FEATURES": (contract.has_label_features(model), "label_features"),
        }
        for name, (wanted, function) in told.items():
            if wanted and not callable(getattr(network, function, None)):
                return f"has {name}, but its network no function {function}"
        if contract.is_fitted(model, settings):
            return None
        features = [torch.rand(_IMAGES, *one.shape).to(getattr(torch, one.dtype)) for one in maps]
        words = torch.nn.functional.normalize(torch.randn(_LABELS, _WORD), dim=1)
        codes = torch.tensor([[1, -1, -1], [-1, 1, 0]], dtype=torch.int8)
        optimizer = contract.optimizer(model, network, train)
        targets = Targets(codes, words, _IMAGES, settings, train)
        given = (*features, words, *([codes] if contract.reads_codes(model) else []))
        loss = contract.loss(model, network.train()(*given), targets)
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
    shape, kind = tuple(found.shape), str(found.dtype).removeprefix("torch.")
    if (shape, kind) == (expected, "float32"):
        return None
    return f"gives {what} of shape {shape} and type {kind} for 2 images and 3 labels, expected {expected}, float32"
