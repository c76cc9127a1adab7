"""How good a model is at the seen labels of the validation images: what picks the epoch."""

import numpy as np

from pipeline.batches.selection import Selection
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.topk import topk_scores
from pipeline.training.scoring import Scorer


def validate(scorer: Scorer, images: Selection, selection_k: int) -> dict[str, float]:
    """F1@K and mAP; a label without a positive image counts 0."""
    scored = scorer.score(images)
    best = topk_scores(scored.scores, scored.codes, selection_k)
    each = average_precision(scored.scores, scored.codes)
    return {f"f1@{selection_k}": best.f1, "map": float(np.nan_to_num(each, nan=0.0).mean())}
