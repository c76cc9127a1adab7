"""LESA, attentions that all labels share: what it says of itself. The network stands in `network`.

Ten attentions over the regions of an image give ten pooled features; a label takes the one that suits it best. Sizes,
loss weights and training of preset `released` are those of the authors' code for NUS-WIDE, and `dags` has what differs
on Open Images. For the standard task of NUS-WIDE that code has two others, which are to be set:
`model.distribution_weight=1e-4`, and 100,000 steps in place of 200,000, `train.epochs=20`. Differs: images are
shuffled, those without a label are left out, and there is one validation an epoch; the release reads all in file order
and validates 50 times. Preset `demo` is ours, for small sets.

Source: Huynh and Elhamifar, "A Shared Multi-Attention Framework for Multi-Label Zero-Shot Learning", CVPR 2020; its
released code.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import NotBelowZero, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.lesa.network import Lesa, LesaOutput
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets


class LesaConfig(ModelSection):
    """LESA: attentions over regions that all labels share."""

    name: Recipe[str] = "lesa"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["released", "demo"]] = "released"
    """The authors' settings (`released`), or those for small sets (`demo`). Fills what is not set."""
    attentions: Recipe[Positive] = 10
    """Attentions over the regions; a label takes the one that gives it the largest score."""
    distribution_weight: Recipe[NotBelowZero] = 0.1
    """Weight of the part of the loss that has the labels of an image spread over the attentions."""
    global_weight: Recipe[NotBelowZero] = 0.001
    """Weight of the part that has attention serve a present label better than the mean of all regions. It is a sum over
    the images of a batch, of 32 in the release.
    """
    span_weight: Recipe[NotBelowZero] = 0.01
    """Weight of the part that has attentions look at different regions."""


SETTINGS = LesaConfig
TASKS = EVERY_TASK
RESPONSE_MAPS = True
SHARED_ATTENTIONS = True
_TRAINING = {"optimizer": "tf-rmsprop", "lr": 1e-3, "momentum": 0.9, "warmup_epochs": 0, "weight_decay": 0.0}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "released": {"train": _TRAINING | {"epochs": 41, "fall_factor": 0.8, "validate_every_epochs": 1}},
    "demo": {"model": {"attentions": 4}, "train": _TRAINING | {"lr": 1e-2, "epochs": 8, "validate_every_epochs": 2}},
}


def needs(settings: LesaConfig) -> Sequence[str]:
    """The region map."""
    del settings
    return ("region",)


def build(settings: LesaConfig, sizes: "FeatureSizes") -> "Lesa":
    """A network with fresh weights."""
    from pipeline.models.lesa.network import Lesa

    return Lesa(sizes.maps["region"], sizes.word_size, settings.attentions)


def loss(output: "LesaOutput", targets: "Targets") -> "Tensor":
    """The ranking loss and three parts about the attentions."""
    from pipeline.models.lesa.network import parts

    settings: LesaConfig = targets.model
    found = parts(output, targets.codes, targets.batch_images)
    return (
        found.rank
        + settings.distribution_weight * found.distribution
        + settings.global_weight * found.against_mean
        + settings.span_weight * found.span
    )
