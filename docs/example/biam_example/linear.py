"""Model `linear`: the global feature, mapped to the space of words, against the words of the labels."""

from typing import TYPE_CHECKING

from pipeline.models.contract import EVERY_TASK
from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import Fraction

if TYPE_CHECKING:
    from torch import nn

    from pipeline.models.sizes import FeatureSizes


class LinearConfig(ModelSection):
    """A linear map from the global feature to the words of labels."""

    name: Recipe[str] = "linear"
    preset: Recipe[str] = "default"
    dropout: Recipe[Fraction] = 0.0
    """Fraction, from 0 to 1, of the feature that is set to zero in training."""


SETTINGS = LinearConfig
TASKS = EVERY_TASK
PRESETS = {"default": {"train": {"lr": 1e-2, "warmup_epochs": 0}}}


def needs(settings: LinearConfig) -> tuple[str, ...]:
    """The global feature alone: no region map is read from disk."""
    return ("global",)


def build(settings: LinearConfig, sizes: "FeatureSizes") -> "nn.Module":
    """A network with fresh weights."""
    import torch
    from torch import Tensor, nn

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(settings.dropout)
            self.to_words = nn.Linear(sizes.maps["global"], sizes.word_size)

        def forward(self, feature: Tensor, words: Tensor) -> Tensor:
            mapped = self.to_words(self.dropout(feature.float()))
            return torch.nn.functional.normalize(mapped, dim=1) @ words.T

    return Linear()
