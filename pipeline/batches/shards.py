"""The feature shards of a work folder: compared with their receipts, read by row group.

A shard's bytes are compared when its first map is read; opening one for its small columns looks at its size, and
compares these columns with what the receipt says of them: a run over terabytes starts at once.

Nothing here is open between two calls.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files.inputs import Inputs
from pipeline.machine.device import cores
from pipeline.stores import STORES
from pipeline.stores.batch import dtype_of
from pipeline.stores.content import ROWS, RowsHash
from pipeline.stores.reader import Reader
from schemas.command import Command
from schemas.errors import IntegrityError, PipelineError
from schemas.features import FeatureSpec, MapSpec

READ_THREADS = min(4, cores())  # that decompress; zstd gives 0.9 GB/s on one core


@dataclass(frozen=True)
class ShardRows:
    """The small columns of a feature shard, one entry a row.

    Attributes:
        image_ids: in the order of the index.
        statuses: of the closed list.
        errors: what was wrong, None where nothing was.
    """

    image_ids: list[str]
    statuses: list[str]
    errors: list[str | None]


@dataclass(frozen=True)
class FeatureShards:
    """The feature shards that `extract` left, in shard order.

    Attributes:
        inputs: what was left.
        store: name of the store that wrote them.
        numbers: number of each shard.
        spec: what all of them hold.
        maps: those that are read, in this order.
    """

    inputs: Inputs
    store: str
    numbers: tuple[int, ...]
    spec: FeatureSpec
    maps: tuple[MapSpec, ...] = ()

    def reading(self, names: Sequence[str]) -> "FeatureShards":
        """The same shards, read for these maps: by role, the first one with it, or by column.

        Raises:
            PipelineError: there is no such map.
        """
        return replace(self, maps=tuple(map(self._map, names)))

    def _map(self, name: str) -> MapSpec:
        try:
            return self.spec.map_named(name)
        except KeyError:
            raise PipelineError(
                f"the features have no map {name!r}",
                found=", ".join(f"{spec.column} ({spec.role})" for spec in self.spec.maps),
                hint="Extract with a backbone that gives one:",
                run=Command("show", ("backbones",)),
            ) from None

    def rows(self, position: int) -> ShardRows:
        """Ids, statuses and errors of a shard, compared with its receipt; its maps are not looked at.

        Raises:
            IntegrityError: the shard is damaged, or holds other features than its folder says.
        """
        number = self.numbers[position]
        receipt = self.inputs.receipt("extract", number)
        try:
            with STORES.load(self.store).open_shard(self.inputs.sized("extract", "features", number)) as reader:
                spec, rows = reader.spec, ShardRows(reader.image_ids(), reader.statuses(), reader.errors())
        except IntegrityError:
            self.inputs.path("extract", "features", number)  # says it in the words of the receipt
            raise
        proof = receipt.parts.get(ROWS)
        if proof is None:  # a shard from before receipts said so much
            proven = Counter(rows.statuses) == Counter(receipt.counts) and not any(rows.errors)
        else:
            proven = RowsHash().add(rows.image_ids, rows.statuses, rows.errors).hexdigest() == proof
        difference = spec.difference(self.spec)
        if not proven or difference is not None:
            self.inputs.path("extract", "features", number)
        if difference is not None:
            found = f"it holds other features than its folder says: {difference}"
            raise self.inputs.damaged("extract", "features", number, found)
        return rows

    @contextmanager
    def open(self, position: int) -> Iterator[Reader]:
        """A shard opened for its maps, its bytes compared with the receipt at the first opening.

        Raises:
            IntegrityError: they differ.
        """
        path = self.inputs.path("extract", "features", self.numbers[position])
        with STORES.load(self.store).open_shard(path, verified=True) as reader:
            yield reader

    def read(
        self, shard: NDArray[np.int32], row: NDArray[np.int32], maps: Sequence[MapSpec], threads: int = READ_THREADS
    ) -> dict[str, NDArray[Any]]:
        """Maps of some images, [image, *shape] by column, by position of their shard and row, in any order.

        Each row group that has some of them is read once; several are decompressed at a time.

        Args:
            threads: that decompress; with one a row group is never read twice, as it is where two threads share one.

        Raises:
            IntegrityError: a shard does not have the bytes of its receipt.
        """
        found = {one.column: np.empty((len(row), *one.shape), dtype_of(one)) for one in maps}
        positions = [int(position) for position in np.unique(shard)]
        with ThreadPoolExecutor(threads, thread_name_prefix="biam-pipe read") as pool:
            numbers = [self.numbers[position] for position in positions]
            list(pool.map(partial(self.inputs.path, "extract", "features"), numbers))
            share = -(-threads // max(len(positions), 1))
            parts = [
                (position, images)
                for position in positions
                for images in np.array_split(_by_row(shard, row, position), share)
                if len(images)
            ]
            list(pool.map(lambda part: self._fill(found, part[0], part[1], row), parts))
        return found

    def _fill(
        self, found: dict[str, NDArray[Any]], position: int, images: NDArray[np.int64], row: NDArray[np.int32]
    ) -> None:
        """Read the maps of some images of one shard, in the order of their rows, each straight to its place."""
        rows = row[images]
        with self.open(position) as reader:
            for group in reader.row_groups:
                first, last = np.searchsorted(rows, (group.start, group.stop))
                if first == last:
                    continue
                wanted = rows[first:last].tolist()
                for column, values in found.items():
                    # row by row: an array of rows in brackets would copy them twice
                    for image, stored in zip(images[first:last], reader.each(wanted, column), strict=True):
                        values[image] = stored

    def image_ids(self, shard: NDArray[np.int32], row: NDArray[np.int32]) -> list[str]:
        """Ids of some images, by position of their shard and row."""
        found = [""] * len(row)
        for position in np.unique(shard):
            ids = self.rows(int(position)).image_ids
            for image in np.flatnonzero(shard == position):
                found[image] = ids[row[image]]
        return found


def _by_row(shard: NDArray[np.int32], row: NDArray[np.int32], position: int) -> NDArray[np.int64]:
    """The images of one shard, in the order of their rows."""
    images = np.flatnonzero(shard == position)
    return images[np.argsort(row[images], kind="stable")]


def open_features(inputs: Inputs) -> FeatureShards:
    """The feature shards that `extract` left.

    Raises:
        PipelineError: there are none.
        IntegrityError: the spec of all is missing or not what its receipt says.
    """
    numbers = tuple(inputs.shards("extract"))
    store = PurePosixPath(inputs.folder("extract")).name
    spec = FeatureSpec.model_validate_json(inputs.read("extract", "spec"))
    return FeatureShards(inputs, store, numbers, spec)
