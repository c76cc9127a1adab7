"""Files named by receipts, and the feature shards among them.

A file's bytes are compared with its receipt once, the first time they are used: a small table when it is read, a
feature shard when its first map is read (opening one looks at its size only: a run over terabytes starts at once).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.storage import Storage
from pipeline.core.tables import read_table
from pipeline.core.task import Task
from pipeline.stores import STORES
from pipeline.stores.reader import Reader
from schemas.errors import IntegrityError, PipelineError
from schemas.features import FeatureSpec, MapSpec
from schemas.receipts import FileReceipt, Receipt


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
            raise _damaged(file, "there is no such file") from None
        if size_bytes != file.size_bytes:
            raise _damaged(file, f"{size_bytes} bytes, expected {file.size_bytes}")
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
                raise _damaged(file, f"sha256 {found[:16]}..., expected {file.sha256[:16]}...")
            self._checked.add(file.path)
        return path

    def table(self, file: FileReceipt, columns: list[str]) -> pa.Table:
        """Columns of a Parquet table, its bytes compared before."""
        self.checked(file)
        return read_table(self._storage, file.path, columns)


def _damaged(file: FileReceipt, found: str) -> IntegrityError:
    return IntegrityError(
        f"{file.path} is not what its receipt says: {found}. "
        "Remove the file and run the same command again; it is then made anew"
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
        f"{task.stage}: no receipt of {stage} without shard in {task.folders[stage] or task.root}, expected 1. "
        f"Run: biam-pipe {stage}"
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
        if receipt.pruned:
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

    @contextmanager
    def open(self, position: int) -> Iterator[Reader]:
        """A shard opened for its maps, its bytes compared with the receipt at the first opening.

        Raises:
            IntegrityError: they differ.
        """
        self.files.checked(self.receipts[position])
        with self.peek(position) as reader:
            yield reader

    def image_ids(self, shard: NDArray[np.int32], row: NDArray[np.int32]) -> list[str]:
        """Ids of some images, by position of their shard and row."""
        found = [""] * len(row)
        for position in np.unique(shard):
            with self.peek(int(position)) as reader:
                ids = reader.image_ids()
            for image in np.flatnonzero(shard == position):
                found[image] = ids[row[image]]
        return found


def open_features(task: Task) -> FeatureShards:
    """The feature shards that a task names under `extract`.

    Raises:
        PipelineError: there are none.
        IntegrityError: the first is missing or has another size than its receipt says.
    """
    receipts = shard_receipts(task, "extract")
    numbers = tuple(sorted(receipts))
    files = Files(task.storage)
    store = PurePosixPath(task.folders["extract"]).name
    first = receipts[numbers[0]].files[0]
    with STORES.load(store).open_shard(files.sized(first)) as reader:
        spec = reader.spec
    return FeatureShards(files, store, numbers, tuple(receipts[number].files[0] for number in numbers), spec)
