"""Settings of the loss of SDL, for all models that are trained with it. They need no torch."""

from typing import Literal

from schemas.config import ModelSection
from schemas.section import Recipe
from schemas.values import Fraction


class DiversityConfig(ModelSection):
    """A model that is trained with the loss of SDL."""

    variance_weight: Recipe[Fraction] = 0.3
    """Weight, from 0 to 1, of the variance among an image's vectors; what is left to 1 weighs the pairs of labels."""
    unknown: Recipe[Literal["ignore", "negative"]] = "ignore"
    """What a label of unknown state is to an image in training: in no pair (`ignore`), or as good as absent
    (`negative`).
    """
    mean_negatives: Recipe[bool] = False
    """Whether the pairs of a positive label count by their mean, so that the loss does not grow with the labels."""
