"""Rows of different lengths, kept as two flat arrays: millions of images cost bytes, not Python lists."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """Row i is `values[offsets[i]:offsets[i + 1]]`.

    Attributes:
        offsets: int64 [row + 1], starting at 0.
        values: int32 [value].
    """

    offsets: NDArray[np.int64]
    values: NDArray[np.int32]

    @classmethod
    def from_lengths(cls, lengths: NDArray[np.int64], values: NDArray[np.int32]) -> "Ragged":
        """Rows of these lengths, one after the other in `values`."""
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(offsets, values)

    @classmethod
    def concatenate(cls, parts: Sequence["Ragged"]) -> "Ragged":
        """The rows of all parts, in order."""
        lengths = np.concatenate([np.zeros(0, dtype=np.int64), *(part.lengths for part in parts)])
        values = np.concatenate([np.zeros(0, dtype=np.int32), *(part.values for part in parts)])
        return cls.from_lengths(lengths, values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of values of each row: [row]."""
        return np.diff(self.offsets)

    def pairs(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """All values of some rows, each beside the position of its row in `rows`."""
        lengths = self.lengths[rows]
        position = np.repeat(np.arange(len(rows)), lengths)
        first = np.repeat(self.offsets[rows] - (np.cumsum(lengths) - lengths), lengths)
        return position, self.values[first + np.arange(len(first))]

    def take(self, rows: NDArray[np.int64]) -> "Ragged":
        """These rows, in this order."""
        return Ragged.from_lengths(self.lengths[rows], self.pairs(rows)[1])

    def where(self, keep: NDArray[np.bool_]) -> "Ragged":
        """The same rows with only those values whose flag is set: `keep` is [value]."""
        before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(keep, dtype=np.int64)])
        return Ragged(before[self.offsets], self.values[keep])
