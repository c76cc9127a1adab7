"""The vector of a label from the vectors of its words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.vectors.rule import Words


@dataclass(frozen=True)
class Embedding:
    """A label's words, and the vector [word] they give, if any."""

    words: Words
    vector: NDArray[np.float32] | None


def embedding(words: Words, vectors: Mapping[str, NDArray[np.float32]]) -> Embedding:
    """The l2-normalised mean of the vectors of the words found; none where there are no words, or theirs cancel out."""
    if not words.found:
        return Embedding(words, None)
    mean = np.mean([vectors[word].astype(np.float64) for word in words.found], axis=0)
    norm = np.linalg.norm(mean)
    # Words whose vectors cancel out say nothing together; dividing by their norm would only scale rounding errors.
    return Embedding(words, (mean / norm).astype(np.float32) if norm > np.finfo(np.float32).eps else None)
