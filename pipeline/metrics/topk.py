"""The K best labels of each image, and how often they are right."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int8, Int64

from pipeline.metrics.bootstrap import GROUPS, Resampling
from pipeline.metrics.computing import Computing, Result
from pipeline.metrics.score_table import ScoreTable
from schemas.status import LabelCode

# Scores copied at once: 4 MiB of float32.
_CELLS_AT_ONCE = 1 << 20
# Scores read from a table at once: 64 MiB, so that what a file gives of one label is not a few bytes.
_CELLS_READ_AT_ONCE = 1 << 24

_Images = Int64[np.ndarray, " image"]
_Codes = Int8[np.ndarray, "image label"]
_Best = Int64[np.ndarray, "image rank"]


@dataclass(frozen=True)
class TopK:
    """Micro-averaged over all images ("overall"), each in [0, 1]."""

    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Hits:
    """Right predictions of some images.

    Attributes:
        by_rank: int64 [rank], how many of the best, second best ... labels are right.
        images: how many there are.
        positives: cells that are present.
    """

    by_rank: Int64[np.ndarray, " rank"]
    images: int
    positives: int

    def figures(self, ks: Sequence[int]) -> dict[int, TopK]:
        """Precision = right / predicted, recall = right / positives, F1 = their harmonic mean; 0 for 0/0."""
        most = len(self.by_rank)
        return {k: _micro(int(self.by_rank[:k].sum()), self.images * min(k, most), self.positives) for k in ks}


def top_labels(scores: Float[np.ndarray, "image label"], k: int) -> Int64[np.ndarray, "image k"]:
    """The k labels with the largest scores, best first; of equal scores the lower label index. All, where k is more."""
    k = min(k, scores.shape[1])
    result = np.empty((scores.shape[0], k), dtype=np.int64)
    for images in _image_blocks(*scores.shape):
        left = np.array(scores[images], order="C")
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
    """
    return hits(scores, codes, k).figures((k,))[k]


def hits(scores: Float[np.ndarray, "image label"], codes: Int8[np.ndarray, "image label"], most: int) -> Hits:
    """Right predictions among the `most` best labels of each image."""
    best = top_labels(scores, most)
    return Hits(_right(codes, best).sum(axis=0), len(scores), int(np.count_nonzero(codes == LabelCode.PRESENT)))


def table_hits(
    table: ScoreTable,
    most: int,
    images: Bool[np.ndarray, " image"] | None,
    candidates: Int64[np.ndarray, " candidate"],
    orders: Int64[np.ndarray, "order label"],
    computing: Computing,
) -> list[Hits]:
    """Right predictions among the `most` best labels of those images of a table, of all where None, for each order.

    Args:
        candidates: the labels among which they are sought, ascending; the orders leave all others where they are.
        orders: each label gets the scores of the label that an order names. Scores are looked at once for all of them:
            what is best under an order is the label that got the best score. (Of equal scores the one goes first whose
            own index is lower.)
    """
    places = np.argsort(orders, axis=1)  # the label that got a label's scores

    def count(_: _Images, codes: _Codes, best: _Best) -> Int64[np.ndarray, "order rank"]:
        return np.array([_right(codes, got[best]).sum(axis=0) for got in places])

    by_order = np.sum(_over_blocks(count, table, most, images, candidates, computing), axis=0)
    positives = table.positives_by_image if images is None else table.positives_by_image[images]
    return [Hits(by_rank, len(positives), int(positives.sum())) for by_rank in by_order]


def resampled_hits(
    table: ScoreTable,
    most: int,
    images: Bool[np.ndarray, " image"] | None,
    candidates: Int64[np.ndarray, " candidate"],
    resampling: Resampling,
    computing: Computing,
) -> list[Hits]:
    """Right predictions in each replicate of the images, counted as `table_hits` does."""

    def count(chosen: _Images, codes: _Codes, best: _Best) -> Int64[np.ndarray, "group rank"]:
        image, rank = np.nonzero(_right(codes, best))
        cells = resampling.groups[chosen[image]].astype(np.int64) * best.shape[1] + rank
        return np.bincount(cells, minlength=GROUPS * best.shape[1]).reshape(GROUPS, -1)

    by_rank = resampling.totals(np.sum(_over_blocks(count, table, most, images, candidates, computing), axis=0))
    counted = slice(None) if images is None else images
    groups, positives = resampling.groups[counted], table.positives_by_image[counted]
    num_images = resampling.totals(np.bincount(groups, minlength=GROUPS)).tolist()
    num_positives = resampling.totals(np.bincount(groups, positives, GROUPS).astype(np.int64)).tolist()
    return list(map(Hits, by_rank, num_images, num_positives))


def _over_blocks(
    count: Callable[[_Images, _Codes, _Best], Result],
    table: ScoreTable,
    most: int,
    images: Bool[np.ndarray, " image"] | None,
    candidates: Int64[np.ndarray, " candidate"],
    computing: Computing,
) -> list[Result]:
    """What is counted of the images of a table, some at a time: of which these are, their codes and best labels."""
    rows_read = max(1, _CELLS_READ_AT_ONCE // table.num_labels)
    columns = slice(None) if len(candidates) == table.num_labels else candidates  # a slice copies nothing

    def counted(rows: range) -> Result:
        chosen = slice(None) if images is None else images[rows.start : rows.stop]
        codes = table.codes[:, rows.start : rows.stop].T[chosen]
        best = candidates[top_labels(table.rows(rows)[chosen][:, columns], most)]
        return count(np.arange(rows.start, rows.stop)[chosen], codes, best)

    last = table.num_images
    return computing.each(counted, [range(n, min(n + rows_read, last)) for n in range(0, last, rows_read)])


def _right(codes: _Codes, best: _Best) -> Bool[np.ndarray, "image rank"]:
    return np.take_along_axis(codes, best, axis=1) == LabelCode.PRESENT


def random_hits(
    positives: Int64[np.ndarray, " image"], num_labels: int, ks: Sequence[int], generator: np.random.Generator
) -> Hits:
    """Right predictions of one random score matrix.

    Such a matrix puts a random set of labels on top of each image, each set equally likely. How many of k such labels
    are right follows the hypergeometric distribution, so the sets themselves are not drawn.

    Args:
        positives: present labels of each image.
        num_labels: among which the best are sought.
        ks: the ranks at which hits are looked at; those between two are counted at the later one.
    """
    by_rank = np.zeros(min(max(ks), num_labels), dtype=np.int64)
    left, before = positives, 0
    for k in sorted({min(k, num_labels) for k in ks} - {0}):
        right = generator.hypergeometric(left, num_labels - before - left, k - before)
        by_rank[k - 1] = right.sum()
        left, before = left - right, k
    return Hits(by_rank, len(positives), int(positives.sum()))


def _micro(right: int, predicted: int, positives: int) -> TopK:
    precision = right / predicted if predicted else 0.0
    recall = right / positives if positives else 0.0
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return TopK(f1, precision, recall)


def _image_blocks(num_images: int, num_labels: int) -> Iterator[slice]:
    rows = max(1, _CELLS_AT_ONCE // max(1, num_labels))
    for start in range(0, num_images, rows):
        yield slice(start, start + rows)
