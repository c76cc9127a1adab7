"""The K best labels of each image, and how often they are right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8, Int64

from schemas.status import LabelCode

# Scores copied at once: 4 MiB of float32.
_CELLS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class TopK:
    """Micro-averaged over all images ("overall"), each in [0, 1]."""

    f1: float
    precision: float
    recall: float


def top_labels(scores: Float[np.ndarray, "image label"], k: int) -> Int64[np.ndarray, "image k"]:
    """The k labels with the largest scores, best first; of equal scores the lower label index. All, where k is more."""
    k = min(k, scores.shape[1])
    result = np.empty((scores.shape[0], k), dtype=np.int64)
    for images in _image_blocks(*scores.shape):
        left = np.array(scores[images])
        rows = np.arange(left.shape[0])
        for rank in range(k):
            best = left.argmax(axis=1)
            result[images, rank] = best
            left[rows, best] = -np.inf
    return result


def topk_scores(scores: Float[np.ndarray, "image label"], codes: Int8[np.ndarray, "image label"], k: int) -> TopK:
    """F1, precision and recall of the k best labels of each image.

    Args:
        scores: only the order within an image matters; finite.
        codes: an unknown cell among the best counts as wrong.
        k: labels predicted for each image; all of them where there are fewer.

    Returns:
        Precision = right / predicted, recall = right / positives, F1 = their harmonic mean; 0 for 0/0.
    """
    return topk_table(scores, codes, (k,))[k]


def topk_table(
    scores: Float[np.ndarray, "image label"], codes: Int8[np.ndarray, "image label"], ks: Sequence[int]
) -> dict[int, TopK]:
    """What `topk_scores` gives for several k, ranking once."""
    if not ks:
        return {}
    best = top_labels(scores, max(ks))
    right = np.zeros(best.shape[1], dtype=np.int64)
    positives = 0
    for images in _image_blocks(*scores.shape):
        present = np.asarray(codes[images]) == LabelCode.PRESENT
        right += np.take_along_axis(present, best[images], axis=1).sum(axis=0)
        positives += int(present.sum())
    return {k: _micro(int(right[:k].sum()), best[:, :k].size, positives) for k in ks}


def _micro(right: int, predicted: int, positives: int) -> TopK:
    precision = right / predicted if predicted else 0.0
    recall = right / positives if positives else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return TopK(f1, precision, recall)


def _image_blocks(num_images: int, num_labels: int) -> Iterator[slice]:
    rows = max(1, _CELLS_AT_ONCE // max(1, num_labels))
    for start in range(0, num_images, rows):
        yield slice(start, start + rows)
