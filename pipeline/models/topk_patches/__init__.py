"""The cosines of a label with the regions that are most like it, mixed with that of the whole image: no training.

Score = share * cosine with the image's vector + (1 - share) * mean of the k largest cosines with its regions. All
vectors are of one tower, as for the model `cosine`, whose figures are as far from zero-shot ones. The share is chosen
on validation images and seen labels.

Source: the head of MKT (He et al., "Open-Vocabulary Multi-Label Classification via Multi-Modal Knowledge Transfer",
AAAI 2023): the mean of k = 16 patches and the class token, half and half. Differs from the paper: the tower stays as it
was trained, with its own projection for patches, and the share is chosen.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import Fraction, Positive

if TYPE_CHECKING:
    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.topk_patches.network import TopkPatches


class TopkPatchesConfig(ModelSection):
    """Cosines of a label with the regions most like it and with the image."""

    name: Recipe[str] = "topk_patches"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["default"]] = "default"
    """Name of a set of settings of `model` and `train` that belong together: there is one, `default`."""
    top_k: Recipe[Positive] = 16
    """Regions whose cosines count, the largest of each label; all where an image has fewer."""
    global_share: Recipe[Fraction | None] = None
    """Share of the cosine with the whole image, from 0 to 1; the regions have the rest. null: of 0, 0.25, 0.5, 0.75 and
    1 the one with the best mAP of seen labels on the validation images.
    """


SETTINGS = TopkPatchesConfig
TASKS = EVERY_TASK
EPOCHS = False
RESPONSE_MAPS = True
IN_WORD_SPACE = True
PRESETS: Mapping[str, Mapping[str, Any]] = {"default": {}}


def needs(settings: TopkPatchesConfig) -> Sequence[str]:
    """Regions, and the image's vector."""
    del settings
    return ("region", "global")


def build(settings: TopkPatchesConfig, sizes: "FeatureSizes") -> "TopkPatches":
    """A network without a fitted share."""
    from pipeline.models.topk_patches.network import TopkPatches

    del sizes
    return TopkPatches(settings)


def fit(settings: TopkPatchesConfig, fitting: "Fitting") -> "Fitted":
    """The share, chosen on the validation images where the settings name none.

    Raises:
        UsageError: they name none, and there are no validation images.
    """
    from pipeline.models.topk_patches import network

    return network.fit(settings, fitting)
