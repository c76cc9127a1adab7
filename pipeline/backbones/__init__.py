"""Networks that turn an image into named maps: one module each, all with the same entry points.

`NORMALISATION`, `PUBLISHED` (weights that anyone can fetch, or None), `OFFER` (the maps it can give, an `offer.Offer`;
none of these needs torch), and `build(config)`, whose network maps normalised images [image, 3, height, width] to the
maps of `OFFER.columns(config)`.
"""

from pipeline.engine.registry import Registry

BACKBONES = Registry(
    "backbone",
    {
        "dino_resnet50": "pipeline.backbones.dino_resnet50",
        "tiny": "pipeline.backbones.tiny",
        "vgg19": "pipeline.backbones.vgg19",
        "vgg19_bn": "pipeline.backbones.vgg19_bn",
    },
)
