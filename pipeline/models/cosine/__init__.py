"""The cosine of an image's vector and a label's, both from one tower: nothing is trained.

What a tower that was trained on images and texts of the web gives by itself; for open_clip's, `backbone.name` and
`embed.vectors` name the same model and weights. Such a tower has met the words of unseen labels, so that its figures
are no zero-shot ones in the sense of the other models.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (ICML 2021), section
3.1. Differs from the paper: no temperature, no softmax over labels; an image may have several.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from schemas.config import ModelSection
from schemas.section import Recipe

if TYPE_CHECKING:
    from pipeline.models.cosine.network import Cosine
    from pipeline.models.sizes import FeatureSizes


class CosineConfig(ModelSection):
    """The cosine of an image's vector and a label's."""

    name: Recipe[str] = "cosine"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["default"]] = "default"
    """Name of a set of settings of `model` and `train` that belong together: there is one, `default`."""


SETTINGS = CosineConfig
TASKS = EVERY_TASK
EPOCHS = False
IN_WORD_SPACE = True
PRESETS: Mapping[str, Mapping[str, Any]] = {"default": {}}


def needs(settings: CosineConfig) -> Sequence[str]:
    """The image's vector."""
    del settings
    return ("global",)


def build(settings: CosineConfig, sizes: "FeatureSizes") -> "Cosine":
    """The network, which has no weights."""
    from pipeline.models.cosine.network import Cosine

    del settings, sizes
    return Cosine()
