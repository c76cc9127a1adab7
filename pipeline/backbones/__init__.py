"""Networks that turn an image into named maps: one module each.

What a backbone's module has to have stands in `contract.Backbone`.
"""

from pipeline.backbones.contract import Backbone
from pipeline.engine.registry import Registry

BACKBONES: Registry[Backbone] = Registry(
    "backbone",
    {
        "dino_resnet50": "pipeline.backbones.dino_resnet50",
        "tiny": "pipeline.backbones.tiny",
        "vgg19": "pipeline.backbones.vgg19",
        "vgg19_bn": "pipeline.backbones.vgg19_bn",
    },
    Backbone,
    "backbones",
)
