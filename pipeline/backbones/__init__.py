"""Networks that turn an image into named maps: one module each, all with the same entry points.

`NORMALISATION`, `PUBLISHED` (weights that anyone can fetch, or None), `maps(config)`, which needs no torch, and
`build(config)`, whose network maps normalised images [image, 3, height, width] to maps by column.
"""

from pipeline.core.registry import Registry

BACKBONES = Registry("backbone", {"tiny": "pipeline.backbones.tiny", "vgg19": "pipeline.backbones.vgg19"})
