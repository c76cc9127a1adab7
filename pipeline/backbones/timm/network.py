"""A model of timm as a network that gives maps by column, with weights of timm's own form or of the authors'."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pipeline.backbones import weights
from pipeline.backbones.timm.asking import UNSUITED, classes, create
from pipeline.backbones.timm.catalogue import Entry
from pipeline.backbones.weights import Published
from pipeline.files.weights_file import WeightsFile
from pipeline.machine.device import first_line
from schemas.config import BackboneConfig
from schemas.features import MapSpec

_DRAWS = frozenset({"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"})


class Maps(nn.Module):
    """Gives some maps of a model of timm.

    Args:
        network: without a classifier.
        maps: wanted.
    """

    def __init__(self, network: nn.Module, maps: Sequence[MapSpec]) -> None:
        super().__init__()
        self.network = network
        self.maps = tuple(maps)
        self.stages = {int("".join(filter(str.isdigit, one.column))): one.column for one in maps if _is_stage(one)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by column: [image, height, width, channel] or [image, channel].

        Args:
            images: normalised, [image, 3, height, width].
        """
        network: Any = self.network
        wanted = sorted(self.stages)
        features: Any = None
        stages: Sequence[Tensor] = ()
        if len(wanted) == len(self.maps):
            stages = network.forward_intermediates(images, indices=wanted, stop_early=True, intermediates_only=True)
        elif wanted:
            features, stages = network.forward_intermediates(images, indices=wanted)
        else:
            features = network.forward_features(images)
        found = {self.stages[number]: stage.permute(0, 2, 3, 1) for number, stage in zip(wanted, stages, strict=True)}
        for one in self.maps:
            if one.column == "final":
                found[one.column] = _grid(features, one)
            elif one.column == "pooled":
                found[one.column] = network.forward_head(features, pre_logits=True).flatten(1)
        return found


def network(
    config: BackboneConfig, model: str, entry: Entry, maps: Sequence[MapSpec], published: Published | None
) -> nn.Module:
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: as `weights.assemble`.
    """
    made = partial(create, model, entry.resize)
    return Maps(weights.assemble(made, config, published, partial(_loaded, made, model)), maps)


def _is_stage(one: MapSpec) -> bool:
    return one.column not in ("final", "pooled")


def _grid(features: Tensor, one: MapSpec) -> Tensor:
    """What the head reads as [image, height, width, channel]; tokens that are no region come first."""
    height, width, channels = one.shape
    if features.ndim == 3:
        return features[:, -height * width :].unflatten(1, (height, width))
    return features if tuple(features.shape[1:]) == (height, width, channels) else features.permute(0, 2, 3, 1)


def _loaded(made: "partial[Any]", model: str, file: WeightsFile) -> nn.Module:
    """The network with the tensors of a file, in timm's names or those that timm translates.

    Raises:
        PipelineError: the file is of another network.
    """
    found = file.read()
    num_classes, of_classes = classes(model)
    bare = {key: value for key, value in found.items() if key not in of_classes}
    if not bare:  # of an empty dictionary timm takes no notice: it would fetch the published weights itself
        raise file.refused("tensors of classes alone", f"those of {file.network}")
    try:
        network = _filled(made, bare, 0)  # nobody asks for classes, and a file may tell others apart
    except UNSUITED as error:
        try:  # the authors' names: timm knows what to make of a whole file
            network = _filled(made, found, num_classes)
        except UNSUITED:
            _require_fit(made, bare, file)
            told = f"tensors that timm does not load ({first_line(error)})"
            raise file.refused(told, f"those of {file.network}") from error
    if network is None:
        _require_fit(made, bare, file)
        raise file.refused(f"{len(found)} tensors, which are not all that it needs", f"those of {file.network}")
    return network


def _filled(made: "partial[Any]", found: dict[str, Tensor], num_classes: int) -> nn.Module | None:
    """The network with these tensors; None where it needs more than there are, which timm does not always say."""
    overlay = {"state_dict": found, "num_classes": num_classes, "label_offset": 0}
    networks = []
    for value in (0.25, 0.5):  # what a file gives is equal whatever the first numbers were
        with _FilledWith(value):
            network = made(num_classes=num_classes, pretrained=True, pretrained_cfg_overlay=dict(overlay))
        network.pretrained_cfg = {}  # it holds all tensors once more
        networks.append(network)
        if network.state_dict().keys() <= found.keys():
            break
    first, last = (one.state_dict() for one in (networks[0], networks[-1]))
    if not all(torch.allclose(value, last[key], rtol=0, atol=0, equal_nan=True) for key, value in first.items()):
        return None
    if num_classes:
        networks[0].reset_classifier(0)
    filled: nn.Module = networks[0]
    return filled


class _FilledWith(TorchFunctionMode):
    """Puts one number where others would be drawn: to draw those of VGG-19 takes seconds, and a file replaces them."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """What a function of torch gives, if it draws nothing."""
        named = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWS:
            tensor = args[0] if args else named["tensor"]
            tensor.detach().fill_(self.value)
            return tensor
        return func(*args, **named)


def _require_fit(made: "partial[Any]", found: dict[str, Tensor], file: WeightsFile) -> None:
    """Say in our words what does not fit, where names are timm's own."""
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in made().state_dict().items()}
    file.require_fit(shapes, found)
