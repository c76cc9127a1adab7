"""Networks that turn an image into named maps: one module each.

What a backbone's module has to have stands in `contract.Backbone`.
"""

from functools import partial
from typing import TYPE_CHECKING

from pipeline.backbones.contract import Backbone, BackboneOptions
from pipeline.backbones.description import Description, flaw
from pipeline.backbones.offer import USUAL_PX
from pipeline.engine.registry import Registry
from schemas.config import BackboneConfig

if TYPE_CHECKING:
    from torch import nn

BACKBONES: Registry[Backbone] = Registry(
    "backbone",
    {
        "dino_resnet50": "pipeline.backbones.dino_resnet50",
        "efficientnet_lite0": "pipeline.backbones.efficientnet_lite0",
        "open_clip": "pipeline.backbones.open_clip",
        "tiny": "pipeline.backbones.tiny",
        "vgg19": "pipeline.backbones.vgg19",
        "vgg19_bn": "pipeline.backbones.vgg19_bn",
    },
    Backbone,
    "backbones",
    families={"open_clip": "<model>:<tag>"},
    optional=BackboneOptions,
)


def settled(config: BackboneConfig) -> BackboneConfig:
    """The same settings, with the backbone's own input size where they name none.

    Raises:
        UsageError: no such backbone.
    """
    if config.input_px is not None:
        return config
    room = BACKBONES.load(config.name)
    own_px = room.input_px(config) if hasattr(room, "input_px") else USUAL_PX
    return config.model_copy(update={"input_px": own_px})


def describe(config: BackboneConfig) -> Description:
    """What the backbone of these settings says of itself.

    Raises:
        UsageError: no such backbone, settings that do not suit it, or no description.
    """
    described = BACKBONES.load(config.name).describe(settled(config))
    BACKBONES.tried(config.name, partial(flaw, described))
    return described


def build(config: BackboneConfig) -> "nn.Module":
    """The network of these settings, in evaluation mode.

    Raises:
        PipelineError: its weights cannot be had, or are another network's.
    """
    return BACKBONES.load(config.name).build(settled(config))
