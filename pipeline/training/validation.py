"""How good a model is at the seen labels of the validation images: what picks the epoch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing

from pipeline.batches.feature_cache import ImageSet
from pipeline.inference.scoring import Scorer, sorted_on
from pipeline.metrics.computing import Computing
from pipeline.metrics.protocols import measure
from pipeline.metrics.score_table import ScoreTable

OpenTable = Callable[[int, int], AbstractContextManager[ScoreTable]]


def validate(scorer: Scorer, images: ImageSet, selection_k: int, open_table: OpenTable) -> dict[str, float]:
    """F1@K and mAP; a label without a positive image counts 0.

    Args:
        scorer: the model.
        images: of the validation split.
        selection_k: K.
        open_table: gives an empty table for so many images and labels.
    """
    with open_table(len(images), len(scorer.label_vectors)) as table:
        with closing(scorer.stream(images)) as stream:
            for batch, scores in stream:
                table.append(scores, batch.codes)
        computing = Computing(sort=sorted_on(scorer.label_vectors.device))
        measured = measure("nuswide", "standard", table, (selection_k,), computing)  # of seen labels alone
    return {name: measured.figures[name] for name in (f"f1@{selection_k}", "map")}
