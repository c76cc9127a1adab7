"""Average precision of each label: how well scores rank the images that have it above those that have not."""

import numpy as np
from jaxtyping import Float, Int8

from schemas.status import LabelCode

# Labels turned to columns in memory at once; a strided read of one label touches as many cache lines as 16.
_LABELS_AT_ONCE = 16


def average_precision(
    scores: Float[np.ndarray, "image label"], codes: Int8[np.ndarray, "image label"]
) -> Float[np.ndarray, " label"]:
    """Average precision of each label over the images whose code is known.

    The mean over the positive images of (positives scored at least as high) / (known images scored at least as high).
    Equal scores are thus one step of the ranking: their order in memory does not matter, and a constant score gives the
    share of positives. scikit-learn's `average_precision_score` has the same rule.

    Args:
        scores: only the order within a label matters; no NaN.
        codes: unknown cells are left out of their label's ranking.

    Returns:
        AP in [0, 1] for every label, float64; NaN where a label has no positive image. The protocol decides what NaN
        counts as.

    Source: BiAM (ICCV 2021), section 3, "Evaluation Metrics".
    """
    result = np.full(scores.shape[1], np.nan)
    for start in range(0, scores.shape[1], _LABELS_AT_ONCE):
        block = slice(start, start + _LABELS_AT_ONCE)
        columns = np.ascontiguousarray(scores[:, block].T), np.ascontiguousarray(codes[:, block].T)
        result[block] = [_of_label(*column) for column in zip(*columns, strict=True)]
    return result


def _of_label(scores: Float[np.ndarray, " image"], codes: Int8[np.ndarray, " image"]) -> float:
    positive = np.sort(scores[codes == LabelCode.PRESENT])
    if not positive.size:
        return float("nan")
    known = np.sort(scores[codes != LabelCode.UNKNOWN])
    positives_above = positive.size - np.searchsorted(positive, positive)
    known_above = known.size - np.searchsorted(known, positive)
    return float(np.mean(positives_above / known_above))
