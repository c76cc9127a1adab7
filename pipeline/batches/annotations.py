"""What is known of each image's labels, and its label codes on demand.

Only the columns asked for are kept: a label that the caller did not name leaves no trace here. Training names the
seen labels and nothing else, so no annotation of an unseen label can reach it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.batches.ragged import Ragged
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.status import LabelCode


@dataclass(frozen=True)
class Annotations:
    """Known labels of images, as columns of a label space.

    Attributes:
        num_columns: width of the code matrix.
        positive: columns of the present labels of each image.
        negative: columns of the labels verified as absent.
        closed: bool [image]: every label that is not positive is absent.
    """

    num_columns: int
    positive: Ragged
    negative: Ragged
    closed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.closed)

    def codes(self, images: NDArray[np.int64]) -> NDArray[np.int8]:
        """Label codes of some images: int8 [image, label], +1 present, -1 absent, 0 unknown."""
        codes = np.full((len(images), self.num_columns), LabelCode.UNKNOWN, dtype=np.int8)
        codes[self.closed[images]] = LabelCode.ABSENT
        codes[self.negative.pairs(images)] = LabelCode.ABSENT
        codes[self.positive.pairs(images)] = LabelCode.PRESENT
        return codes

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many of the images are known to bear each label, and how many not to: int64 [label] each."""
        every, columns = np.arange(len(self)), self.num_columns
        present, absent = (_cells(known.pairs(every), columns) for known in (self.positive, self.negative))
        absent = np.setdiff1d(absent, present, assume_unique=True)
        of_closed = present[self.closed[present // columns]]
        bearing, known_not, closed = (
            np.bincount(cells % columns, minlength=columns) for cells in (present, absent, of_closed)
        )
        return bearing, known_not + int(self.closed.sum()) - closed

    def take(self, images: NDArray[np.int64]) -> "Annotations":
        """Those of these images, in this order."""
        return Annotations(
            self.num_columns, self.positive.take(images), self.negative.take(images), self.closed[images]
        )

    @classmethod
    def concatenate(cls, num_columns: int, parts: Sequence["Annotations"]) -> "Annotations":
        """Those of all parts, in order."""
        return cls(
            num_columns,
            Ragged.concatenate([part.positive for part in parts]),
            Ragged.concatenate([part.negative for part in parts]),
            np.concatenate([np.zeros(0, dtype=np.bool_), *(part.closed for part in parts)]),
        )


def _cells(pairs: tuple[NDArray[np.int64], NDArray[np.int32]], columns: int) -> NDArray[np.int64]:
    """Numbers of cells of the code matrix, row by row, each once."""
    images, labels = pairs
    return np.unique(images * columns + labels)


def from_table(table: pa.Table, column_of: NDArray[np.int32], num_columns: int) -> Annotations:
    """Annotations of the images of one shard.

    Args:
        table: with the columns `positive` and `negative` of `schemas.tables.ANNOTATIONS`.
        column_of: [label_index] -> column, -1 for a label that is not wanted.
        num_columns: number of columns wanted.

    Raises:
        PipelineError: a label index that the label space does not have.
    """
    return Annotations(
        num_columns,
        _columns(table.column("positive"), column_of),
        _columns(table.column("negative"), column_of),
        table.column("negative").is_null().to_numpy(),
    )


def _columns(lists: pa.ChunkedArray, column_of: NDArray[np.int32]) -> Ragged:
    """Label indices as columns, unwanted ones left out; a null list is an empty one."""
    flat = lists.combine_chunks().cast(pa.list_(pa.int32()))
    lengths = flat.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    indices = flat.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    if len(indices) and not (indices.min() >= 0 and indices.max() < len(column_of)):
        raise PipelineError(
            f"annotations name label index {int(indices.max())}",
            expected=f"0 to {len(column_of) - 1} (labels.parquet)",
            hint="Remove the folders index and annotations, then:",
            run=Command("index"),
        )
    columns = Ragged.from_lengths(lengths, column_of[indices])
    return columns.where(columns.values >= 0)
