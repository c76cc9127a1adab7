"""Logistic regression of each label: what it says of itself. The network is `pipeline.models.shared.label_head`.

Tables 6 and 7 of BiAM (ICCV 2021) have a row of that name, whose settings are not known: those of preset `ours` are
ours, and so are those of `tuned`, which centres the features, and of `demo`, for small sets.
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


class LogisticConfig(InputNormConfig):
    """Logistic regression of each label from the global feature."""

    name: Recipe[str] = "logistic"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["ours", "tuned", "demo"]] = "ours"
    """Our settings for data sets of the papers' size (`ours`), the same with centred features (`tuned`), or settings
    for small sets (`demo`). Fills what is not set.
    """


SETTINGS = LogisticConfig
TASKS = PARTS["standard"]
LABEL_WEIGHTS = True
_TRAINING = {"lr": 1e-3, "epochs": 30, "warmup_epochs": 0, "weight_decay": 1e-5, "decayed": "matrices"}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ours": {"train": _TRAINING | {"batch_images": 256, "validate_every_epochs": 1}},
    "tuned": {
        "model": {"input_norm": "centred"},
        "train": _TRAINING | {"batch_images": 256, "validate_every_epochs": 1},
    },
    "demo": {"model": {"input_norm": "centred"}, "train": _TRAINING},
}


def needs(settings: LogisticConfig) -> Sequence[str]:
    """The global feature alone."""
    del settings
    return ("global",)


def build(settings: LogisticConfig, sizes: "FeatureSizes") -> "LabelHead":
    """A network with fresh weights."""
    from pipeline.models.shared.label_head import LabelHead

    return LabelHead(settings.input_norm, sizes.maps["global"], sizes.labels)


def loss(output: "Tensor", targets: "Targets") -> "Tensor":
    """The cross-entropy of each label by itself."""
    from pipeline.models.shared.label_head import logistic_loss

    return logistic_loss(output, targets.codes, targets.batch_images)


def fit(settings: LogisticConfig, fitting: "Fitting") -> "Fitted":
    """How often each label is met, and the mean of the training images where the feature is centred."""
    from pipeline.models.fitting import Fitted
    from pipeline.models.shared.label_head import fitted_head

    return Fitted(fitted_head(settings.input_norm, fitting))
