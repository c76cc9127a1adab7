"""Networks that turn an image into named maps: one module each.

What a backbone's module has to have stands in `contract.Backbone`.
"""

from functools import partial

from pipeline.backbones.contract import Backbone
from pipeline.backbones.description import Description, flaw
from pipeline.engine.registry import Registry
from schemas.config import BackboneConfig

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
)


def describe(config: BackboneConfig) -> Description:
    """What the backbone of these settings says of itself.

    Raises:
        UsageError: no such backbone, settings that do not suit it, or no description.
    """
    described = BACKBONES.load(config.name).describe(config)
    BACKBONES.tried(config.name, partial(flaw, described))
    return described
