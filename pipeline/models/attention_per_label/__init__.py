"""One attention for each label: what it says of itself. The network stands in `network`.

Tables 1 and 6 of BiAM (ICCV 2021) have a row of that name, and cite bilinear attention networks for it; no code of it
and no settings are known. What is here is ours, made so that it transfers to unseen labels: expect other figures than
the published ones.

Source of the form of the attention: Kim et al., "Bilinear Attention Networks", NeurIPS 2018.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import Positive

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.attention_per_label.network import AttentionPerLabel, Sampled
    from pipeline.models.sizes import FeatureSizes
    from pipeline.models.targets import Targets


class AttentionPerLabelConfig(ModelSection):
    """One attention over regions for each label."""

    name: Recipe[str] = "attention_per_label"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["ours", "demo"]] = "ours"
    """Our settings for data sets of the papers' size (`ours`), or those for small sets (`demo`). Fills what is not set.
    """
    joint_size: Recipe[Positive] = 512
    """Size of the space where regions and words meet in the attention."""
    sampled_labels: Recipe[Positive] = 1024
    """Labels, beside those that an image of the batch bears, that a step looks at; drawn anew for each. The cost of a
    step grows with them.
    """


SETTINGS = AttentionPerLabelConfig
TASKS = EVERY_TASK
RESPONSE_MAPS = True
READS_CODES = True
_TRAINING = {"lr": 1e-3, "warmup_epochs": 0, "weight_decay": 0.0}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ours": {"train": _TRAINING | {"epochs": 20, "validate_every_epochs": 1}},
    "demo": {"model": {"joint_size": 64}, "train": _TRAINING | {"epochs": 8, "validate_every_epochs": 2}},
}


def needs(settings: AttentionPerLabelConfig) -> Sequence[str]:
    """The region map."""
    del settings
    return ("region",)


def build(settings: AttentionPerLabelConfig, sizes: "FeatureSizes") -> "AttentionPerLabel":
    """A network with fresh weights."""
    from pipeline.models.attention_per_label.network import AttentionPerLabel

    return AttentionPerLabel(sizes.maps["region"], sizes.word_size, settings)


def loss(output: "Sampled", targets: "Targets") -> "Tensor":
    """The ranking loss over the labels that the step looked at."""
    from pipeline.models.shared.ranking import ranking_loss

    return ranking_loss(output.scores, targets.codes[:, output.columns], "released", targets.batch_images)
