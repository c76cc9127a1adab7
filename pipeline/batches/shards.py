"""Files named by receipts, and the feature shards among them.

A file's bytes are compared with its receipt once, the first time they are used: a small table when it is read, a
feature shard when its first map is read (opening one looks at its size only: a run over terabytes starts at once).

Nothing here is open between two calls, so that processes of a data loader can get these objects, forked or pickled.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.engine.task import Task
from pipeline.files.storage import Storage
from pipeline.files.tables import read_table
from pipeline.machine.device import cores
from pipeline.stores import STORES
from pipeline.stores.batch import dtype_of
from pipeline.stores.reader import Reader
from schemas.errors import IntegrityError, PipelineError
from schemas.features import FeatureSpec, MapSpec
from schemas.receipts import FileReceipt, Receipt

_MADE_BY = {  # stage by folder; the index has several
    "downloads": "download",
    "images": "download",
    "features": "extract",
    "splits": "split",
    "embeddings": "embed",
    "runs": "train",
}
_THREADS = min(4, cores())  # that decompress; zstd gives 0.9 GB/s on one core


class Files:
    """Reads files of a work folder, each compared with its receipt before its first use."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._checked: set[str] = set()

    def sized(self, file: FileReceipt) -> Path:
        """Where the file lies, its size compared only.

        Raises:
            IntegrityError: it is not there, or has another size.
        """
        path = self._storage.local(file.path)
        try:
            size_bytes = path.stat().st_size
        except FileNotFoundError:
            raise self.damaged(file, "is not what its receipt says: there is no such file") from None
        if size_bytes != file.size_bytes:
            found = f"{size_bytes} bytes, expected {file.size_bytes}"
            raise self.damaged(file, f"is not what its receipt says: {found}")
        return path

    def checked(self, file: FileReceipt) -> Path:
        """Where the file lies, its bytes compared if they have not been yet.

        Raises:
            IntegrityError: it is not there, or has other bytes.
        """
        path = self.sized(file)
        if file.path not in self._checked:
            found = self._storage.sha256(file.path)
            if found != file.sha256:
                told = f"sha256 {found[:16]}..., expected {file.sha256[:16]}..."
                raise self.damaged(file, f"is not what its receipt says: {told}")
            self._checked.add(file.path)
        return path

    def table(self, file: FileReceipt, columns: list[str]) -> pa.Table:
        """Columns of a Parquet table, its bytes compared before."""
        self.checked(file)
        return read_table(self._storage, file.path, columns)

    def damaged(self, file: FileReceipt, told: str) -> IntegrityError:
        """The error about a file, with the command that makes it anew: the one at hand may be none that does."""
        stage = _MADE_BY.get(file.path.partition("/")[0], "index")
        dataset = Path(self._storage.root).name
        return IntegrityError(
            f"{self._storage.local(file.path)} {told}. Remove it and run: biam-pipe {stage} --dataset {dataset}"
        )


def whole_file(task: Task, stage: str) -> FileReceipt:
    """First file of the receipt that belongs to no shard.

    Raises:
        PipelineError: the stage has left none.
    """
    for receipt in task.inputs[stage]:
        if receipt.shard is None:
            return receipt.files[0]
    raise PipelineError(
        f"{task.stage}: {stage} has left nothing in {task.folders[stage] or task.root}, expected what it makes of the "
        f"whole data set. Run: biam-pipe {stage}"
    )


def shard_receipts(task: Task, stage: str, wanted: Iterable[int] = ()) -> dict[int, Receipt]:
    """Receipts of a stage by shard.

    Args:
        task: names the receipts.
        stage: whose.
        wanted: shards that have to be among them.

    Raises:
        PipelineError: there are none, a wanted one is missing, or one says that its files were dropped.
    """
    found = {receipt.shard: receipt for receipt in task.inputs[stage] if receipt.shard is not None}
    if not found:
        raise PipelineError(
            f"{task.stage}: no shards of {stage} in {task.folders[stage] or task.root} (found 0, expected at least 1). "
            f"Run: biam-pipe {stage}"
        )
    for shard in wanted:
        if shard not in found:
            raise PipelineError(
                f"{task.stage}: {stage} has no shard {shard}, expected one for each shard of features. "
                f"Run: biam-pipe {stage}"
            )
    for shard, receipt in found.items():
        if receipt.files[0].pruned:
            raise PipelineError(
                f"{task.stage}: shard {shard} of {stage} was dropped on purpose (its receipt says pruned), expected "
                f"its files. Run: biam-pipe {stage}"
            )
    return found


@dataclass(frozen=True)
class FeatureShards:
    """The feature shards of a task, in shard order.

    Attributes:
        files: reader of the work folder.
        store: name of the store that wrote them.
        numbers: number of each shard.
        receipts: file of each shard.
        spec: what all of them hold.
    """

    files: Files
    store: str
    numbers: tuple[int, ...]
    receipts: tuple[FileReceipt, ...]
    spec: FeatureSpec

    @property
    def region(self) -> MapSpec:
        """The map with role `region`."""
        return self._map("region")

    @property
    def global_feature(self) -> MapSpec:
        """The map with role `global`."""
        return self._map("global")

    @property
    def model_maps(self) -> tuple[MapSpec, MapSpec]:
        """What a model takes: region map and global feature."""
        return self.region, self.global_feature

    def _map(self, role: str) -> MapSpec:
        try:
            return self.spec.map_with_role(role)
        except KeyError:
            has = ", ".join(f"{one.column} ({one.role})" for one in self.spec.maps)
            raise PipelineError(
                f"the features have no map with role {role!r}, found {has}. "
                "Extract with a backbone that gives one: biam-pipe extract --set backbone.name=..."
            ) from None

    @contextmanager
    def peek(self, position: int) -> Iterator[Reader]:
        """A shard opened for its small columns, its bytes not compared."""
        with STORES.load(self.store).open_shard(self.files.sized(self.receipts[position])) as reader:
            yield reader

    def require_spec(self, position: int, found: FeatureSpec) -> None:
        """Refuse a shard whose numbers mean something else than those of the others.

        Raises:
            IntegrityError: it has another spec, or its bytes are not those of its receipt.
        """
        if (difference := found.difference(self.spec)) is not None:
            file = self.receipts[position]
            self.files.checked(file)  # a damaged spec differs, too
            raise self.files.damaged(file, f"holds other features than its folder says: {difference}")

    @contextmanager
    def open(self, position: int) -> Iterator[Reader]:
        """A shard opened for its maps, its bytes compared with the receipt at the first opening.

        Raises:
            IntegrityError: they differ.
        """
        path = self.files.checked(self.receipts[position])
        with STORES.load(self.store).open_shard(path, verified=True) as reader:
            yield reader

    def read(
        self, shard: NDArray[np.int32], row: NDArray[np.int32], maps: Sequence[MapSpec]
    ) -> dict[str, NDArray[Any]]:
        """Maps of some images, [image, *shape] by column, by position of their shard and row, in any order.

        Each row group that has some of them is read once; several are decompressed at a time.

        Raises:
            IntegrityError: a shard does not have the bytes of its receipt.
        """
        found = {one.column: np.empty((len(row), *one.shape), dtype_of(one)) for one in maps}
        positions = [int(position) for position in np.unique(shard)]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="biam-pipe read") as threads:
            list(threads.map(self.files.checked, [self.receipts[position] for position in positions]))
            share = -(-_THREADS // max(len(positions), 1))
            parts = [
                (position, images)
                for position in positions
                for images in np.array_split(_by_row(shard, row, position), share)
                if len(images)
            ]
            list(threads.map(lambda part: self._fill(found, part[0], part[1], row), parts))
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
            with self.peek(int(position)) as reader:
                ids = reader.image_ids()
            for image in np.flatnonzero(shard == position):
                found[image] = ids[row[image]]
        return found


def _by_row(shard: NDArray[np.int32], row: NDArray[np.int32], position: int) -> NDArray[np.int64]:
    """The images of one shard, in the order of their rows."""
    images = np.flatnonzero(shard == position)
    return images[np.argsort(row[images], kind="stable")]


def open_features(task: Task) -> FeatureShards:
    """The feature shards that a task names under `extract`.

    Raises:
        PipelineError: there are none.
        IntegrityError: the first, or the spec of all, is missing or not what its receipt says.
    """
    receipts = shard_receipts(task, "extract")
    numbers = tuple(sorted(receipts))
    files = Files(task.storage)
    store = PurePosixPath(task.folders["extract"]).name
    shards = tuple(receipts[number].files[0] for number in numbers)
    return FeatureShards(files, store, numbers, shards, _spec(task, files, store, shards[0]))


def _spec(task: Task, files: Files, store: str, first: FileReceipt) -> FeatureSpec:
    """The spec that stands beside the shards; that of the first shard where none does."""
    for receipt in task.inputs["extract"]:
        if receipt.shard is None:
            return FeatureSpec.model_validate_json(files.checked(receipt.files[0]).read_bytes())
    with STORES.load(store).open_shard(files.sized(first)) as reader:
        return reader.spec
