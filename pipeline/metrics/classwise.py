"""Class-wise AP: each label ranks its own images, those whose code it knows."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from pipeline.metrics.average_precision import label_ap, random_ranking_ap, ranking_ap
from pipeline.metrics.bootstrap import Resampling
from pipeline.metrics.computing import Computing
from pipeline.metrics.score_table import ScoreTable
from schemas.figures import SectionName
from schemas.status import LabelCode

# Columns read and sorted together: 7 MB of scores of 107,859 images.
_LABELS_AT_ONCE = 16
# A label that knows fewer than one image in so many keeps a list of them: on the test set of Open Images, where labels
# know one in 600, that is faster than looking through all codes in each order.
_FEW = 16


class ClassWise:
    """Every image and label counts; a label ranks images whose code it knows, and has no AP without a positive one."""

    counted_images = counted_labels = candidates = None

    def __init__(self, table: ScoreTable, section: SectionName) -> None:
        del section  # all are ranked alike
        self._table = table
        knows_few = table.known_by_label * _FEW < table.num_images
        self._cells = [
            np.flatnonzero(codes).astype(np.int32) if few else slice(None)
            for codes, few in zip(table.codes, knows_few, strict=True)
        ]

    def average_precisions(
        self, orders: Int64[np.ndarray, "order label"], computing: Computing
    ) -> Float[np.ndarray, "order label"]:
        """AP of each label where it gets the scores of the label that an order names.

        Each column of scores is read and sorted once, whatever the number of orders: where labels know all their
        images, that is most of the work.
        """
        result = np.full(orders.shape, np.nan)
        label_of = np.argsort(orders, axis=1)  # [order, column of scores] -> the label that gets it
        complete = self._table.known_by_label == self._table.num_images

        def rank(columns: range) -> None:
            scores = self._table.columns(columns)
            ascending = computing.sort(scores) if complete[label_of[:, columns.start : columns.stop]].any() else scores
            for column, of_column, ranked in zip(columns, scores, ascending, strict=True):
                for order, label in enumerate(label_of[:, column]):
                    codes, cells = self._table.codes[label], self._cells[label]
                    if complete[label]:
                        result[order, label] = ranking_ap(np.sort(of_column[codes == LabelCode.PRESENT]), ranked)
                    else:
                        result[order, label] = label_ap(of_column[cells], codes[cells])

        computing.each(rank, self._blocks())
        return result

    def resampled_average_precisions(
        self, resampling: Resampling, computing: Computing
    ) -> Float[np.ndarray, "replicate label"]:
        """AP of each label over the images of each replicate."""
        result = np.empty((self._table.num_labels, resampling.replicates))

        def rank(labels: range) -> None:
            for label, scores in zip(labels, self._table.columns(labels), strict=True):
                codes, cells = self._table.codes[label], self._cells[label]
                result[label] = resampling.average_precisions(scores[cells], codes[cells], cells)

        computing.each(rank, self._blocks())
        return result.T

    def random_average_precisions(
        self, generators: Sequence[np.random.Generator], computing: Computing
    ) -> Float[np.ndarray, "draw label"]:
        """AP of each label for one random score matrix a generator."""
        counts = list(zip(self._table.positives_by_label.tolist(), self._table.known_by_label.tolist(), strict=True))

        def draw(generator: np.random.Generator) -> list[float]:
            return [random_ranking_ap(positives, known, generator) for positives, known in counts]

        return np.array(computing.each(draw, generators))

    def _blocks(self) -> list[range]:
        """All columns, those together that are read together."""
        last = self._table.num_labels
        return [range(n, min(n + _LABELS_AT_ONCE, last)) for n in range(0, last, _LABELS_AT_ONCE)]
