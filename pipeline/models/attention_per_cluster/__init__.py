"""One attention for each cluster of labels: what it says of itself. The network stands in `network`.

As LESA, but a label does not choose among the attentions: labels are clustered by their words, and each cluster has
one. Tables 1, 2, 6 and 7 of BiAM (ICCV 2021) have a row of that name; no code of it and no settings are known. All that
is not LESA's here is ours: expect other figures than the published ones.

Source: Huynh and Elhamifar, "A Shared Multi-Attention Framework for Multi-Label Zero-Shot Learning", CVPR 2020.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.models.contract import EVERY_TASK
from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import Positive

if TYPE_CHECKING:
    from pipeline.models.attention_per_cluster.network import AttentionPerCluster
    from pipeline.models.fitting import Fitted, Fitting
    from pipeline.models.sizes import FeatureSizes


class AttentionPerClusterConfig(ModelSection):
    """One attention over regions for each cluster of labels."""

    name: Recipe[str] = "attention_per_cluster"
    """Name of the model; see `show models`."""
    preset: Recipe[Literal["ours", "demo"]] = "ours"
    """Our settings for data sets of the papers' size (`ours`), or those for small sets (`demo`). Fills what is not set.
    """
    clusters: Recipe[Positive] = 10
    """Clusters of labels, and attentions; at most as many as there are seen labels with different words."""


SETTINGS = AttentionPerClusterConfig
TASKS = EVERY_TASK
RESPONSE_MAPS = True
_TRAINING = {"optimizer": "tf-rmsprop", "lr": 1e-3, "momentum": 0.9, "warmup_epochs": 0, "weight_decay": 0.0}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ours": {"train": _TRAINING | {"epochs": 41, "fall_factor": 0.8, "validate_every_epochs": 1}},
    "demo": {"model": {"clusters": 4}, "train": _TRAINING | {"lr": 1e-2, "epochs": 8, "validate_every_epochs": 2}},
}


def needs(settings: AttentionPerClusterConfig) -> Sequence[str]:
    """The region map."""
    del settings
    return ("region",)


def build(settings: AttentionPerClusterConfig, sizes: "FeatureSizes") -> "AttentionPerCluster":
    """A network with fresh weights, without clusters yet."""
    from pipeline.models.attention_per_cluster.network import AttentionPerCluster

    return AttentionPerCluster(sizes.maps["region"], sizes.word_size, settings.clusters)


def fit(settings: AttentionPerClusterConfig, fitting: "Fitting") -> "Fitted":
    """The clusters of the seen labels.

    Raises:
        UsageError: more clusters than different words.
    """
    from pipeline.models.attention_per_cluster.clusters import fit

    return fit(settings.clusters, fitting)
