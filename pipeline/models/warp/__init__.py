"""WARP, labels under a ranking loss: what it says of itself. The network is `pipeline.models.shared.label_head`.

A linear map from the global feature gives each label its score. The loss is after Gong et al., who train a whole
network with it and estimate ranks by sampling; here they are counted. Tables 6 and 7 of BiAM (ICCV 2021) have a row of
that name, whose settings are not known: those of preset `ours` are ours, and so are those of `tuned`, which centres the
features, and of `demo`, for small sets.

Source: Gong et al., "Deep Convolutional Ranking for Multilabel Image Annotation", 2013.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import TASKS as PARTS
from pipeline.models.shared.input_settings import InputNormConfig
from schemas.section import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.shared.label_head import LabelHead
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets


class WarpConfig(InputNormConfig):
    """WARP: a linear map from the global feature to labels, under a loss that weighs ranks."""

    name: Recipe[str] = "warp"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["ours", "tuned", "demo"]] = "ours"
    """Our settings for data sets of the papers' size (`ours`), the same with centred features (`tuned`), or settings
    for small sets (`demo`). Fills what is not set.
    """


SETTINGS = WarpConfig
TASKS = PARTS["standard"]
LABEL_WEIGHTS = True
_TRAINING = {"optimizer": "sgd", "lr": 0.01, "epochs": 30, "warmup_epochs": 0, "weight_decay": 0.0}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ours": {"train": _TRAINING | {"validate_every_epochs": 1}},
    "tuned": {"model": {"input_norm": "centred"}, "train": _TRAINING | {"validate_every_epochs": 1}},
    "demo": {"model": {"input_norm": "centred"}, "train": _TRAINING},
}


def needs(settings: WarpConfig) -> Sequence[str]:
    """The global feature alone."""
    del settings
    return ("global",)


def build(settings: WarpConfig, sizes: "FeatureSizes") -> "LabelHead":
    """A network with fresh weights."""
    from pipeline.models.shared.label_head import LabelHead

    return LabelHead(settings.input_norm, sizes.maps["global"], sizes.labels)


def loss(output: "Tensor", targets: "Targets") -> "Tensor":
    """The hinges of each positive label, weighted by the harmonic number of how many labels violate its margin."""
    from pipeline.models.shared.rank_weighted import rank_weighted_loss

    return rank_weighted_loss(output, targets.codes, "harmonic", targets.batch_images)


def fit(settings: WarpConfig, fitting: "Fitting") -> "Fitted":
    """How often each label is met, and the mean of the training images where the feature is centred."""
    from pipeline.models.fitting import Fitted
    from pipeline.models.shared.label_head import fitted_head

    return Fitted(fitted_head(settings.input_norm, fitting))
