"""The (ML)2P encoder, channels as tokens: what it says of itself. The network stands in `network`.

Preset `released` follows the authors' code for testing, which reads the vectors of the groups interleaved; `paper`
reads them transposed and adds the residual of their slides. The loss is not released: that of SDL, with the weight that
the released options name, is our choice; so is the optimiser. Batch, epochs and rate are those of the release. The
backbone is frozen here, with the statistics of ImageNet, and was trained with the encoder there, with those of CIFAR.
Preset `demo`, and `model.maps = region`, which reads one region map where the authors read three, are ours.

Source: the (ML)2P-Encoder (CVPR 2023), its slides and released code.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from pipeline.models.shared.diversity import DiversityConfig
from schemas.section import Recipe
from schemas.values import Fraction, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.ml2p.network import Ml2p
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets

_PYRAMID = ("pool3", "pool4", "pool5")


class Ml2pConfig(DiversityConfig):
    """The (ML)2P encoder: attention between channels, in groups."""

    name: Recipe[str] = "ml2p"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["released", "paper", "demo"]] = "released"
    """Whether the model follows the authors' code (`released`) or their slides (`paper`), or is one for small sets
    (`demo`). Fills what is not set.
    """
    maps: Recipe[Literal["pyramid", "region"]] = "pyramid"
    """What is read: pool3, pool4 and pool5 of VGG-19-BN (`pyramid`), or one `region` map, which is ours."""
    groups: Recipe[Positive] = 7
    """Groups of channels; each gives a vector in the space of words, and a label takes the one that suits it best."""
    reading: Recipe[Literal["interleaved", "transposed"]] = "interleaved"
    """How vectors are read from the groups: mixing them, as the code does (`interleaved`), or one each (`transposed`).
    """
    residual: Recipe[bool] = False
    """Whether the channels are added to what the attention gives, as the slides have it."""
    shrink: Recipe[Positive] = 5
    """How many times narrower the hidden layers of the mixer are than its inputs."""
    variance_weight: Recipe[Fraction] = 0.4
    """Weight, from 0 to 1, of the variance among an image's vectors; what is left to 1 weighs the pairs of labels."""


SETTINGS = Ml2pConfig
TASKS = EVERY_TASK
_TRAINING = {"lr": 5e-5, "warmup_epochs": 0, "weight_decay": 0.0, "batch_images": 96, "epochs": 20}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "released": {"model": {"unknown": "negative"}, "train": _TRAINING | {"validate_every_epochs": 1}},
    "paper": {
        "model": {"reading": "transposed", "residual": True},
        "train": _TRAINING | {"validate_every_epochs": 1},
    },
    "demo": {
        "model": {"maps": "region", "groups": 2, "reading": "transposed", "residual": True},
        "train": _TRAINING | {"lr": 1e-3, "batch_images": 32, "epochs": 6, "validate_every_epochs": 2},
    },
}


def needs(settings: Ml2pConfig) -> Sequence[str]:
    """Three maps by column, or the region map."""
    return _PYRAMID if settings.maps == "pyramid" else ("region",)


def build(settings: Ml2pConfig, sizes: "FeatureSizes") -> "Ml2p":
    """A network with fresh weights."""
    from pipeline.models.ml2p.network import Ml2p

    return Ml2p([sizes.maps[name] for name in needs(settings)], sizes.word_size, settings)


def loss(output: "tuple[Tensor, Tensor]", targets: "Targets") -> "Tensor":
    """The loss of SDL."""
    from pipeline.models.shared.pairs import sdl_loss

    scores, vectors = output
    return sdl_loss(scores, vectors, targets.codes, targets.words, targets.model)
