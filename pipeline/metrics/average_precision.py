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
        result[block] = [label_ap(*column) for column in zip(*columns, strict=True)]
    return result


def label_ap(scores: Float[np.ndarray, " image"], codes: Int8[np.ndarray, " image"]) -> float:
    """AP of one label; NaN where it has no positive image."""
    return ranking_ap(np.sort(scores[codes == LabelCode.PRESENT]), np.sort(scores[codes != LabelCode.UNKNOWN]))


def ranking_ap(positive: Float[np.ndarray, " cell"], ranked: Float[np.ndarray, " cell"]) -> float:
    """AP of a ranking.

    Args:
        positive: the scores of what is right, ascending.
        ranked: the scores of all that is ranked, `positive` among them, ascending.

    Returns:
        NaN where there is nothing right.
    """
    if not positive.size:
        return float("nan")
    positives_above = positive.size - np.searchsorted(positive, positive)
    ranked_above = ranked.size - np.searchsorted(ranked, positive)
    return float(np.mean(positives_above / ranked_above))


def random_ranking_ap(positives: int, ranked: int, generator: np.random.Generator) -> float:
    """AP of a ranking by random scores without ties.

    Such scores give the positives a random set of ranks, each set equally likely, and AP depends on nothing else. So
    the ranks are drawn, not the scores of all that is ranked: NUS-WIDE has 108,000 images and 2,000 positives a label.

    Returns:
        NaN where there is nothing right.
    """
    if not positives:
        return float("nan")
    ranks = np.sort(generator.choice(ranked, positives, replace=False, shuffle=False)) + 1
    return float(np.mean(np.arange(1, positives + 1) / ranks))
