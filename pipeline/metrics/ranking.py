"""What a protocol says of the labels of a table."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int64

from pipeline.metrics.bootstrap import Resampling
from pipeline.metrics.computing import Computing


class Ranking(Protocol):
    """How one protocol ranks for each label of one table.

    Attributes:
        counted_images: bool [image], those that the best K of each image are counted over; None for all.
        counted_labels: bool [label], those that are in the means over labels; None for all.
        candidates: bool [label], those among which the best K of each image are sought; None for all. A label that is
            none has no positive image.
    """

    counted_images: Bool[np.ndarray, " image"] | None
    counted_labels: Bool[np.ndarray, " label"] | None
    candidates: Bool[np.ndarray, " label"] | None

    def average_precisions(
        self, orders: Int64[np.ndarray, "order label"], computing: Computing
    ) -> Float[np.ndarray, "order label"]:
        """AP of each label where it gets the scores of the label that an order names; NaN where it has none."""

    def random_average_precisions(
        self, generators: Sequence[np.random.Generator], computing: Computing
    ) -> Float[np.ndarray, "draw label"]:
        """AP of each label for one random score matrix a generator; NaN where it has none."""


class Resampled(Protocol):
    """What a ranking may have, too.

    Without, figures over images drawn anew are given for the best K labels alone (`f1@3`): those with `@` in their
    names, which must not depend on AP then.
    """

    def resampled_average_precisions(
        self, resampling: Resampling, computing: Computing
    ) -> Float[np.ndarray, "replicate label"]:
        """AP of each label over the images of each replicate; NaN where it has none there.

        `Resampling.average_precisions` gives those of a label.
        """


def counted_labels(ranking: Ranking, num_labels: int) -> Bool[np.ndarray, " label"]:
    """The labels that are in means over labels."""
    chosen = ranking.counted_labels
    return np.ones(num_labels, dtype=bool) if chosen is None else chosen


def candidates(ranking: Ranking, num_labels: int) -> Int64[np.ndarray, " candidate"]:
    """The labels among which the best K of each image are sought, ascending."""
    chosen = ranking.candidates
    return np.arange(num_labels) if chosen is None else np.flatnonzero(chosen)
