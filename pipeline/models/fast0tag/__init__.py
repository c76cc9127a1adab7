"""Fast0Tag, from the global feature to the space of words: what it says of itself. The network stands in `network`.

An image becomes a direction along which the words of its labels come before those of others. Preset `paper` has the
form of that paper: three layers, and a loss over pairs of labels. Widths, dropout and training are ours; so is preset
`tuned`, which centres the features, and `demo`, for small sets.

Source: Zhang, Gong and Shah, "Fast Zero-Shot Image Tagging", CVPR 2016.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from pipeline.models.shared.input_settings import InputNormConfig
from schemas.section import Recipe
from schemas.values import Fraction, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.fast0tag.network import Fast0Tag
    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets


class Fast0TagConfig(InputNormConfig):
    """Fast0Tag: a network from the global feature to the space of words."""

    name: Recipe[str] = "fast0tag"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["paper", "tuned", "demo"]] = "paper"
    """The form of the paper with training of ours (`paper`), the same with centred features (`tuned`), or settings for
    small sets (`demo`). Fills what is not set.
    """
    hidden_sizes: Recipe[tuple[Positive, Positive]] = (8192, 2048)
    """Sizes of the first and of the second layer."""
    dropout: Recipe[Fraction] = 0.3
    """Fraction, from 0 to 1, of what the second layer gives that is set to zero in training."""


SETTINGS = Fast0TagConfig
TASKS = EVERY_TASK
_TRAINING = {"batch_images": 1000, "epochs": 100, "warmup_epochs": 0, "weight_decay": 0.0, "patience": 10}
_RMSPROP = {"optimizer": "rmsprop", "momentum": 0.0, "lr": 1e-3, "fall_factor": 0.5}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"train": _TRAINING | _RMSPROP | {"validate_every_epochs": 1}},
    "tuned": {"model": {"input_norm": "centred"}, "train": _TRAINING | {"lr": 5e-4, "validate_every_epochs": 1}},
    "demo": {
        "model": {"input_norm": "centred", "hidden_sizes": [1024, 512]},
        "train": {"lr": 5e-4, "epochs": 20, "warmup_epochs": 0, "weight_decay": 0.0},
    },
}


def needs(settings: Fast0TagConfig) -> Sequence[str]:
    """The global feature alone."""
    del settings
    return ("global",)


def build(settings: Fast0TagConfig, sizes: "FeatureSizes") -> "Fast0Tag":
    """A network with fresh weights."""
    from pipeline.models.fast0tag.network import Fast0Tag

    return Fast0Tag(settings, sizes.maps["global"], sizes.word_size)


def loss(output: "Tensor", targets: "Targets") -> "Tensor":
    """The mean over images of the mean over their pairs of labels."""
    from pipeline.models.shared.pairs import ranknet_loss

    return ranknet_loss(output, targets.codes, targets.batch_images)


def fit(settings: Fast0TagConfig, fitting: "Fitting") -> "Fitted":
    """The mean of the training images, where the feature is centred."""
    from pipeline.models.fitting import Fitted
    from pipeline.models.shared.input_norm import fitted_mean

    return Fitted(fitted_mean(settings.input_norm, fitting))
