"""Protocol `openimages-biam`: how the numbers of the paper's Open Images tables were counted.

Images without a positive among the evaluated labels are dropped. A label's ranking pools all verified cells, of
whatever label, of the images verified for it: the released function selects the images of a label, but never its
column. Such figures differ from those of `openimages` and are no average precision of labels in the usual sense; but
only they can be compared with the published ones.

What becomes of a label without any verified cell depends on the section, as in the release. ZSL keeps it, with AP 0, so
that neither a limit on images nor dead links raise the mean. GZSL leaves it out of the mean, but seeks the K best
labels of an image among all. The standard section leaves it out of both.

The paper's Open Images mAP is the mean weighted by positives: its Table 2 is one evaluation of the authors' log, and no
plain mean in that log reaches the published figures. So `weighted_map` stands first.

Source: the counts of the authors' release (the paper, section 3.1, refers to "the same evaluation protocol" as SDL).
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from pipeline.metrics.average_precision import ranking_ap
from pipeline.metrics.computing import Computing
from pipeline.metrics.measurement import overall_figures
from pipeline.metrics.score_table import ScoreTable
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.figures import SectionName
from schemas.status import LabelCode

KS = (10, 20)
HEADLINE = "weighted_map"

# Scores of verified cells held at once, for several orders or draws together.
_HELD_BYTES = 512 * 2**20
# The whole test set of Open Images pools about 4e7 cells; where all cells are known, the pools of NUS-WIDE hold 1e11.
_MOST_POOLED = 2 * 10**9

_Fill = Callable[[slice], Float32[np.ndarray, "order cell"]]


class Pooled:
    """The rankings of a table; its verified cells are numbered image by image.

    Raises:
        PipelineError: the pools are larger than anyone can wait for.
    """

    def __init__(self, table: ScoreTable, section: SectionName) -> None:
        self._table = table
        self.counted_images: Bool[np.ndarray, " image"] = table.positives_by_image > 0
        labels, images = np.nonzero(table.codes)
        counted = self.counted_images[images]
        labels, images = labels[counted], images[counted]
        by_image = np.argsort(images, kind="stable")
        self._images = images  # [cell], label by label
        self._place = np.empty_like(by_image)  # [cell], label by label -> number of the cell
        self._place[by_image] = np.arange(len(by_image))
        self._positive = table.codes[labels, images][by_image] == LabelCode.PRESENT
        verified = np.bincount(labels, minlength=table.num_labels)
        self.counted_labels = None if section == "zsl" else verified > 0
        self.candidates = self.counted_labels if section == "standard" else None
        self._label_starts = _starts(verified)
        per_image = np.bincount(images, minlength=table.num_images)
        self._image_starts = _starts(per_image)
        if (pooled := int((per_image.astype(np.float64) ** 2).sum())) > _MOST_POOLED:
            raise PipelineError(
                f"protocol openimages-biam pools {pooled:,} cells here",
                expected=f"at most {_MOST_POOLED:,}: it is meant for labels of which few cells are verified",
                run=Command("evaluate", sets={"evaluate.protocol": "openimages"}),
            )

    def average_precisions(
        self, orders: Int64[np.ndarray, "order label"], computing: Computing
    ) -> Float[np.ndarray, "order label"]:
        """AP of each label's pool, the cells of each label scored as those of the label that an order names."""
        label_of = np.argsort(orders, axis=1)

        def fill(block: slice) -> Float32[np.ndarray, "order cell"]:
            values = np.empty((len(label_of[block]), len(self._images)), dtype=np.float32)
            for column in range(self._table.num_labels):
                (scores,) = self._table.columns(range(column, column + 1))
                for row, label in enumerate(label_of[block, column]):
                    cells = self._cells(label)
                    values[row, self._place[cells]] = scores[self._images[cells]]
            return values

        return self._ranked(len(orders), fill, computing)

    def random_average_precisions(
        self, generators: Sequence[np.random.Generator], computing: Computing
    ) -> Float[np.ndarray, "draw label"]:
        """AP of each label's pool for one random score matrix a generator, of which only verified cells are drawn."""

        def fill(block: slice) -> Float32[np.ndarray, "order cell"]:
            return np.stack([generator.random(len(self._images), dtype=np.float32) for generator in generators[block]])

        return self._ranked(len(generators), fill, computing)

    def _ranked(self, num_orders: int, fill: _Fill, computing: Computing) -> Float[np.ndarray, "order label"]:
        """AP of the pools, for as many orders at a time as fit."""
        at_once = max(1, _HELD_BYTES // max(1, 4 * len(self._images)))
        result = np.full((num_orders, self._table.num_labels), np.nan)
        for start in range(0, num_orders, at_once):
            block = slice(start, start + at_once)
            values = fill(block)

            def rank(label: int, block: slice = block, values: Float32[np.ndarray, "order cell"] = values) -> None:
                pool = self._pool(label)
                ranked = np.sort(values[:, pool], axis=1)
                positive = np.sort(values[:, pool[self._positive[pool]]], axis=1)
                result[block, label] = [ranking_ap(*scores) for scores in zip(positive, ranked, strict=True)]

            computing.each(rank, range(self._table.num_labels))
        return result

    def _cells(self, label: int) -> slice:
        """A label's own verified cells, in the order label by label."""
        return slice(self._label_starts[label], self._label_starts[label + 1])

    def _pool(self, label: int) -> Int64[np.ndarray, " cell"]:
        """Numbers of all verified cells of the images verified for a label."""
        images = self._images[self._cells(label)]
        lengths = self._image_starts[images + 1] - self._image_starts[images]
        first = self._image_starts[images] - (np.cumsum(lengths) - lengths)
        return np.repeat(first, lengths) + np.arange(lengths.sum())


def _starts(counts: Int64[np.ndarray, " group"]) -> Int64[np.ndarray, " start"]:
    """Where each group of so many cells begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])


ranking = Pooled
figures = overall_figures
