"""Any image model of the library timm, as `timm:<model>[.<tag>]`: a tag names the weights, as timm lists them.

Columns: `stage<i>`, or `block<i>` where all maps have one shape, is map i of timm's `forward_intermediates`, counted
from 0; `final` the map that the head reads, behind the last normalisation or convolution, where that is another;
`pooled` the vector that a classifier would read (`forward_head(pre_logits=True)`). What timm says of a model is kept
(`catalogue`), so that a plan needs neither timm nor torch.

Source: Wightman, "PyTorch Image Models", https://github.com/huggingface/pytorch-image-models.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.backbones.description import Description, Normalisation
from pipeline.backbones.offer import Layer, Offer
from pipeline.backbones.timm import catalogue
from pipeline.backbones.weights import Published
from pipeline.net.hub import HubFile
from schemas.config import BackboneConfig
from schemas.features import MapSpec

if TYPE_CHECKING:
    from torch import nn

FAMILY = "timm"
_WEIGHTS_FILE = "model.safetensors"


def input_px(config: BackboneConfig) -> int:
    """Side of the input that a model was made for.

    Raises:
        UsageError: as `describe`.
    """
    return catalogue.entry(_model(config)).resize[0]


def describe(config: BackboneConfig) -> Description:
    """What goes in and what comes out.

    Raises:
        UsageError: timm is not installed, knows no such model, or it gives no maps of this size; or as `Offer.columns`.
    """
    entry = catalogue.entry(_model(config), config.input_px)
    return Description(
        _chosen(entry, config),
        entry.resize,
        Normalisation(entry.mean, entry.std),
        _published(entry),
        entry.interpolation,
        entry.crop_fraction,
        libraries=(FAMILY,),
    )


def build(config: BackboneConfig) -> "nn.Module":
    """The network, in evaluation mode, with the weights that the settings name.

    Raises:
        PipelineError: as `weights.assemble`.
    """
    from pipeline.backbones.timm.network import network

    entry = catalogue.entry(_model(config), config.input_px)
    return network(config, _model(config), entry, _chosen(entry, config), _published(entry))


def members(text: str) -> Sequence[str]:
    """Models with published weights, with their tags, whose name has this text in it.

    Raises:
        UsageError: timm is not installed.
    """
    return [name for name in catalogue.names() if text in name]


def _model(config: BackboneConfig) -> str:
    return config.name.partition(":")[2]


def _chosen(entry: catalogue.Entry, config: BackboneConfig) -> tuple[MapSpec, ...]:
    """The maps that the settings choose, in their order."""
    maps = {one.column: one for one in entry.maps}
    layers = {column: Layer(one.layer, one.shape[-1]) for column, one in maps.items()}
    return tuple(maps[column] for column in Offer(config.name, layers, entry.usual, smallest_px=1).columns(config))


def _published(entry: catalogue.Entry) -> Published | None:
    licence, terms = entry.licence or "not told by timm", catalogue.terms(entry.licence)
    if entry.repository is not None:
        hub = HubFile(entry.repository, (_WEIGHTS_FILE,))
        return Published(entry.repository, hub.address(), None, licence, hub=hub, terms=terms)
    if entry.address is None:
        return None
    return Published(entry.address.rpartition("/")[2], entry.address, None, licence, terms=terms)
