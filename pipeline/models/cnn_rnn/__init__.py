"""CNN-RNN, labels said one after the other: what it says of itself. The network stands in `network`.

A recurrent network reads the labels said so far and the global feature, and says the next one. Tables 6 and 7 of BiAM
(ICCV 2021) have a row of that name, whose settings are not known: sizes and training are ours. Differs from the paper:
a usual LSTM stands in place of its own.

A ranking of all labels is no more than a by-product of such a model: its mAP is rough.

Source: Wang et al., "CNN-RNN: A Unified Framework for Multi-label Image Classification", CVPR 2016.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import TASKS as PARTS
from pipeline.models.shared.input_settings import InputNormConfig
from schemas.section import Recipe
from schemas.values import Positive

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.cnn_rnn.network import CnnRnn
    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets


class CnnRnnConfig(InputNormConfig):
    """CNN-RNN: a recurrent network that says an image's labels one after the other."""

    name: Recipe[str] = "cnn_rnn"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["ours", "demo"]] = "ours"
    """Our settings for data sets of the papers' size (`ours`), or those for small sets (`demo`). Fills what is not set.
    """
    label_size: Recipe[Positive] = 64
    """Elements of a label's own vector."""
    state_size: Recipe[Positive] = 512
    """Elements of what the recurrent network remembers."""
    most_labels: Recipe[Positive] = 20
    """Labels of a training image that are said at most, the most frequent ones."""
    beams: Recipe[Positive] = 5
    """Beginnings that are followed at once when an image is scored."""
    steps: Recipe[Positive] = 7
    """Labels that are said at most when an image is scored; 2 more than the largest K that is looked at."""


SETTINGS = CnnRnnConfig
TASKS = PARTS["standard"]
LABEL_WEIGHTS = True
READS_CODES = True
_TRAINING = {"optimizer": "rmsprop", "momentum": 0.0, "lr": 1e-3, "warmup_epochs": 0, "weight_decay": 0.0}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ours": {"train": _TRAINING | {"batch_images": 128, "epochs": 30, "validate_every_epochs": 1}},
    "demo": {
        "model": {"input_norm": "centred", "state_size": 64},
        "train": _TRAINING | {"epochs": 15, "validate_every_epochs": 3},
    },
}


def needs(settings: CnnRnnConfig) -> Sequence[str]:
    """The global feature alone."""
    del settings
    return ("global",)


def build(settings: CnnRnnConfig, sizes: "FeatureSizes") -> "CnnRnn":
    """A network with fresh weights."""
    from pipeline.models.cnn_rnn.network import CnnRnn

    return CnnRnn(settings, sizes.maps["global"], sizes.labels)


def loss(output: "Tensor", targets: "Targets") -> "Tensor":
    """The mean over images of what `forward` gives in training: how unlikely an image's labels are."""
    return output.sum() / targets.batch_images


def fit(settings: CnnRnnConfig, fitting: "Fitting") -> "Fitted":
    """How often each label is met, by which they are ordered, and the training images' mean of a centred feature."""
    from pipeline.models.fitting import Fitted
    from pipeline.models.shared.input_norm import fitted_mean

    return Fitted(fitted_mean(settings.input_norm, fitting) | {"frequency": fitting.present})
