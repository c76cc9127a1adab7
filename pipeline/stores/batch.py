"""Rows of a feature shard on their way to disk."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.features import FeatureSpec, MapSpec
from schemas.status import ImageStatus


@dataclass(frozen=True)
class FeatureBatch:
    """Some consecutive rows of a shard.

    Attributes:
        image_ids: one a row.
        statuses: one a row; only rows that are `ok` have maps.
        errors: what was wrong, None where nothing was.
        maps: [row, *shape] by column. Rows of failed images are ignored.
    """

    image_ids: Sequence[str]
    statuses: Sequence[str]
    errors: Sequence[str | None]
    maps: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Which rows have maps, [row]."""
        return np.array([status == ImageStatus.OK for status in self.statuses], dtype=np.bool_)

    def rows(self, wanted: slice) -> "FeatureBatch":
        """Some of the rows; the maps are views."""
        maps = {column: values[wanted] for column, values in self.maps.items()}
        return FeatureBatch(self.image_ids[wanted], self.statuses[wanted], self.errors[wanted], maps)


def dtype_of(one: MapSpec) -> np.dtype[Any]:
    """The map's numbers as they lie on disk: little-endian on every machine."""
    return np.dtype(one.dtype).newbyteorder("<")


def regrouped(batches: Iterable[FeatureBatch], spec: FeatureSpec, rows: int) -> Iterator[list[FeatureBatch]]:
    """The same rows in groups of exactly that many, the last one smaller; each is views of the batches it lies in."""
    group: list[FeatureBatch] = []
    missing = rows
    for batch in checked(batches, spec):
        start = 0
        while len(batch) - start >= missing:
            yield [*group, batch.rows(slice(start, start + missing))]
            group, start, missing = [], start + missing, rows
        if start < len(batch):
            group.append(batch.rows(slice(start, None)))
            missing -= len(batch) - start
    if group:
        yield group


def checked(batches: Iterable[FeatureBatch], spec: FeatureSpec) -> Iterator[FeatureBatch]:
    """The same batches, each as the spec says: else this program has an error."""
    for batch in batches:
        assert len(batch.statuses) == len(batch.errors) == len(batch), "one status and one error a row"
        for one in spec.maps:
            values = batch.maps[one.column]
            assert values.shape == (len(batch), *one.shape), f"{one.column}: {values.shape}, expected {one.shape} a row"
            assert values.dtype == dtype_of(one), f"{one.column}: {values.dtype}, expected {one.dtype}"
        yield batch


def non_finite(maps: Mapping[str, NDArray[Any]]) -> dict[int, str]:
    """Rows that hold NaN or infinity, each with the first map in which it does."""
    found: dict[int, str] = {}
    for column, values in maps.items():
        for row in np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1)):
            found.setdefault(int(row), f"{column} holds NaN or infinity in {values.dtype.name}")
    return found
