"""LabelEM, a bilinear form of feature and word: what it says of itself. The network stands in `network`.

Tables 1 and 2 of BiAM (ICCV 2021) have a row of that name, whose settings are not known. The loss is after "ALE"; all
else is ours: presets `ours`, `tuned`, which centres the features, and `demo`, for small sets.

Source: Akata et al., "Label-Embedding for Attribute-Based Classification", CVPR 2013.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import TASKS as PARTS
from pipeline.models.shared.input_settings import InputNormConfig
from schemas.section import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.labelem.network import LabelEm
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets


class LabelEmConfig(InputNormConfig):
    """LabelEM: a bilinear form of the global feature and a word."""

    name: Recipe[str] = "labelem"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["ours", "tuned", "demo"]] = "ours"
    """Our settings for data sets of the papers' size (`ours`), the same with centred features (`tuned`), or settings
    for small sets (`demo`). Fills what is not set.
    """
    weights: Recipe[Literal["ranked", "uniform"]] = "ranked"
    """What the labels that violate the margin of a positive one count for: by how many there are (`ranked`), or 1 each
    (`uniform`).
    """


SETTINGS = LabelEmConfig
TASKS = PARTS["zero-shot"]
_TRAINING = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "epochs": 20, "warmup_epochs": 0, "weight_decay": 0.0}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ours": {"train": _TRAINING | {"validate_every_epochs": 1}},
    "tuned": {"model": {"input_norm": "centred"}, "train": _TRAINING | {"validate_every_epochs": 1}},
    "demo": {"model": {"input_norm": "centred"}, "train": _TRAINING},
}


def needs(settings: LabelEmConfig) -> Sequence[str]:
    """The global feature alone."""
    del settings
    return ("global",)


def build(settings: LabelEmConfig, sizes: "FeatureSizes") -> "LabelEm":
    """A network with fresh weights."""
    from pipeline.models.labelem.network import LabelEm

    return LabelEm(settings.input_norm, sizes.maps["global"], sizes.word_size)


def loss(output: "Tensor", targets: "Targets") -> "Tensor":
    """The hinges of each positive label, weighted by how many labels violate its margin."""
    from pipeline.models.shared.rank_weighted import rank_weighted_loss

    settings: LabelEmConfig = targets.model
    weighting: Literal["mean-harmonic", "uniform"] = "mean-harmonic" if settings.weights == "ranked" else "uniform"
    return rank_weighted_loss(output, targets.codes, weighting, targets.batch_images)


def fit(settings: LabelEmConfig, fitting: "Fitting") -> "Fitted":
    """The mean of the training images, where the feature is centred."""
    from pipeline.models.fitting import Fitted
    from pipeline.models.shared.input_norm import fitted_mean

    return Fitted(fitted_mean(settings.input_norm, fitting))
