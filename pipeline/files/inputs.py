"""What earlier stages left, by stage, name and shard: the one way in which a work folder is read.

The bytes of a file are compared with its receipt before they are used for the first time. A table's columns are those
that its stage declares, and its statuses come from the closed lists. What does not hold is an error that names the file
and the command that makes it anew.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files.refusals import refusal_to_read
from pipeline.files.storage import Storage
from pipeline.files.tables import TABLE_ERRORS, parsed_row, parsed_table
from schemas.command import Command
from schemas.errors import IntegrityError, PipelineError
from schemas.readable import hashes_apart
from schemas.receipts import FileReceipt, Receipt


def shard_name(shard: int) -> str:
    """`shard-00007`: the stem of the files of that shard, in every stage."""
    return f"shard-{shard:05d}"


@dataclass(frozen=True)
class OutputFile:
    """A file that a stage leaves: one for each shard where `{shard}` stands in its path, else one of the whole.

    Attributes:
        path: below the data set's folder. `{folder}` is the stage's own, `{shard}` the name of the shard, `{fp8}` the
            first digits of its recipe.
        schema: of a table: its columns, and a list for a list of any fixed size. None for what is no table.
        closed: columns of the table whose values come from a closed list; null is always allowed.
    """

    path: str
    schema: pa.Schema | None = None
    closed: Mapping[str, type[StrEnum]] = field(default_factory=dict)

    @property
    def sharded(self) -> bool:
        """Whether each shard has one."""
        return "{shard}" in self.path

    def at(self, shard: int | None) -> str:
        """Its path below the data set's folder."""
        assert self.sharded == (shard is not None), f"{self.path} of shard {shard}"
        return self.path if shard is None else self.path.replace("{shard}", shard_name(shard))

    def within(self, folder: str) -> "OutputFile":
        """The same where the stage's own folder is known."""
        return replace(self, path=self.path.replace("{folder}", folder))


@dataclass(frozen=True)
class StageFiles:
    """What one stage left.

    Attributes:
        folder: of the stage, below the data set's.
        outputs: its files by name, with paths in which only the shard is open.
        receipts: in shard order.
        command: that makes them, where there is none of the stage's name.
    """

    folder: str
    outputs: Mapping[str, OutputFile]
    receipts: tuple[Receipt, ...]
    command: str | None = None

    @cached_property
    def by_shard(self) -> dict[int | None, Receipt]:
        """The receipts by shard; None for what belongs to no shard."""
        return {receipt.shard: receipt for receipt in self.receipts}


class Inputs:
    """Reads what stages left.

    Args:
        storage: the data set's folder.
        reader: the stage or command that reads, for error texts.
        stages: what each stage left, by its name.
    """

    def __init__(self, storage: Storage, reader: str, stages: Mapping[str, StageFiles]) -> None:
        self._storage = storage
        self._reader = reader
        self._stages = dict(stages)
        self._compared: set[str] = set()

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self._storage.name

    def folder(self, stage: str) -> str:
        """The folder of a stage, below the data set's."""
        return self._stages[stage].folder

    def folders(self) -> dict[str, str]:
        """The folder of each stage."""
        return {name: stage.folder for name, stage in self._stages.items()}

    def receipts(self, stage: str) -> tuple[Receipt, ...]:
        """What a stage left, in shard order, last what belongs to no shard; empty where it left nothing."""
        return self._stages[stage].receipts if stage in self._stages else ()

    def by_stage(self) -> dict[str, tuple[Receipt, ...]]:
        """The receipts of each stage."""
        return {name: stage.receipts for name, stage in self._stages.items()}

    def has(self, stage: str, shard: int | None = None) -> bool:
        """Whether a stage left something of this shard, or of the whole."""
        return stage in self._stages and shard in self._stages[stage].by_shard

    def receipt(self, stage: str, shard: int | None = None) -> Receipt:
        """What a stage left of one shard, or of the whole.

        Raises:
            PipelineError: it left nothing.
        """
        if not self.has(stage, shard):
            what = "of the whole data set" if shard is None else f"of {shard_name(shard)}"
            raise PipelineError(
                f"{self._reader}: {stage} has left nothing {what} in {self._where(stage)}",
                expected="its receipt",
                run=self._made_by(stage),
            )
        return self._stages[stage].by_shard[shard]

    def shards(self, stage: str) -> dict[int, Receipt]:
        """Receipts of the shards of a stage, by shard, in order.

        Raises:
            PipelineError: there are none.
        """
        found = {receipt.shard: receipt for receipt in self.receipts(stage) if receipt.shard is not None}
        if not found:
            raise PipelineError(
                f"{self._reader}: no shards of {stage} in {self._where(stage)}",
                found=0,
                expected="at least 1",
                run=self._made_by(stage),
            )
        return dict(sorted(found.items()))

    def file(self, stage: str, name: str, shard: int | None = None) -> FileReceipt:
        """The receipt of one file.

        Raises:
            PipelineError: the stage left no such file, or it was dropped on purpose.
        """
        file = self._named(stage, name, shard)
        path = self._stages[stage].outputs[name].at(shard)
        if file is None:
            raise PipelineError(
                f"{self._reader}: the receipt of {stage} names no {path}",
                expected="one of its files",
                run=self._made_by(stage),
            )
        if file.pruned:
            raise PipelineError(
                f"{self._reader}: {self._storage.shown(path)} was dropped on purpose (its receipt says pruned)",
                expected="the file",
                run=self._made_by(stage),
            )
        return file

    def _named(self, stage: str, name: str, shard: int | None) -> FileReceipt | None:
        """The receipt of a file; None where that of its shard names no such file.

        Raises:
            PipelineError: the stage left nothing of the shard.
        """
        receipt = self.receipt(stage, shard)
        path = self._stages[stage].outputs[name].at(shard)
        return next((file for file in receipt.files if file.path == path), None)

    def names(self, stage: str, name: str, shard: int | None = None) -> bool:
        """Whether a stage left a file that it does not always leave."""
        return self._named(stage, name, shard) is not None

    def pruned(self, stage: str, name: str, shard: int | None = None) -> bool:
        """Whether a file was dropped on purpose."""
        file = self._named(stage, name, shard)
        return file is not None and file.pruned

    def read(self, stage: str, name: str, shard: int | None = None) -> bytes:
        """All bytes of a file, for small ones.

        Raises:
            IntegrityError: it is not there, or has other bytes than its receipt says.
        """
        file = self.file(stage, name, shard)
        try:
            data = self._storage.read(file.path)
        except OSError as error:
            raise self._gone(stage, file, error) from error
        self._compare_size(stage, file, len(data))
        self._compare(stage, file, hashlib.sha256(data).hexdigest())
        return data

    def json(self, stage: str, name: str, shard: int | None = None) -> Any:
        """The value of a JSON file."""
        return json.loads(self.read(stage, name, shard))

    def table(self, stage: str, name: str, shard: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """A table, or some of its columns in the order asked for.

        Raises:
            IntegrityError: it is not there, has other bytes than its receipt says, or is not what the stage declares.
        """
        data = pa.BufferReader(self.read(stage, name, shard))
        with self._as_declared(stage, name, shard) as checked:
            return checked(parsed_table(data, columns))

    def unproven_table(self, output: OutputFile, shard: int | None = None) -> pa.Table:
        """A table that was committed but got no receipt, since its writer was killed.

        Raises:
            IntegrityError: it cannot be read, or is not what its stage declares.
        """
        path = output.at(shard)
        try:
            table = parsed_table(pa.BufferReader(self._storage.read(path)))
            if (difference := undeclared(table, output)) is None:
                return table
        except TABLE_ERRORS as error:
            difference = str(error)
        raise IntegrityError(
            f"{self._storage.shown(path)} is no table of {self._reader} ({difference})",
            expected="one",
            hint="Remove it and run:",
            run=self._made_by(self._reader),
        )

    def row(self, stage: str, name: str, shard: int, row: int) -> dict[str, Any]:
        """One row of a table; no more than its row group is in memory.

        Raises:
            IntegrityError: as `table` does, or the table has fewer rows.
        """
        path = self.path(stage, name, shard)
        with self._as_declared(stage, name, shard) as checked, pa.OSFile(str(path)) as data:
            found: dict[str, Any] = checked(parsed_row(data, row)).to_pylist()[0]
            return found

    def batches(self, stage: str, name: str, shard: int, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a large table, a few in memory at a time.

        Raises:
            IntegrityError: as `table` does.
        """
        path = self.path(stage, name, shard)
        with self._as_declared(stage, name, shard) as checked, pq.ParquetFile(path, pre_buffer=False) as file:
            checked(file.schema_arrow.empty_table())
            yield from file.iter_batches(rows)

    def path(self, stage: str, name: str, shard: int | None = None) -> Path:
        """Where a file lies on this machine, its bytes compared the first time; for libraries that want a path.

        Raises:
            IntegrityError: it is not there, or has other bytes than its receipt says.
        """
        path = self.sized(stage, name, shard)
        file = self.file(stage, name, shard)
        if file.path not in self._compared:
            self._compare(stage, file, self._storage.sha256(file.path))
            self._compared.add(file.path)
        return path

    def take_for_compared(self, stage: str, name: str, shard: int | None = None) -> None:
        """Take the word of another process of this program that it has compared a file since this one began."""
        self._compared.add(self.file(stage, name, shard).path)

    def sized(self, stage: str, name: str, shard: int | None = None) -> Path:
        """Where a file lies, its size compared only: whoever takes it compares what is read of it by other means.

        Raises:
            IntegrityError: it is not there, or has another size than its receipt says.
        """
        file = self.file(stage, name, shard)
        try:
            size_bytes = self._storage.size_bytes(file.path)
        except OSError as error:
            raise self._gone(stage, file, error) from error
        self._compare_size(stage, file, size_bytes)
        return self._storage.local(file.path)

    def damaged(self, stage: str, name: str, shard: int | None, found: str) -> IntegrityError:
        """The error about a file that is not what it should be.

        Args:
            found: in what it differs.
        """
        return self._damaged(stage, self.file(stage, name, shard), found)

    @contextmanager
    def _as_declared(self, stage: str, name: str, shard: int | None) -> Iterator[Callable[[pa.Table], pa.Table]]:
        """What looks at a table in this block; errors of parsing become those of the file."""
        output = self._stages[stage].outputs[name]

        def checked(table: pa.Table) -> pa.Table:
            if (difference := undeclared(table, output)) is not None:
                raise self.damaged(stage, name, shard, difference)
            return table

        try:
            yield checked
        except TABLE_ERRORS as error:
            path = self._storage.shown(self.file(stage, name, shard).path)
            if (refused := refusal_to_read(error, path)) is not None:
                raise refused from error
            raise self.damaged(stage, name, shard, f"it cannot be read as a table ({error})") from error

    def _compare_size(self, stage: str, file: FileReceipt, found: int) -> None:
        if found != file.size_bytes:
            raise self._damaged(stage, file, f"{found} bytes", file.size_bytes)

    def _compare(self, stage: str, file: FileReceipt, found: str) -> None:
        if found != file.sha256:
            got, expected = hashes_apart(found, file.sha256)
            raise self._damaged(stage, file, f"sha256 {got}", expected)

    def _gone(self, stage: str, file: FileReceipt, error: OSError) -> IntegrityError:
        gone = isinstance(error, FileNotFoundError)
        return self._damaged(stage, file, "there is no such file" if gone else f"it cannot be read ({error.strerror})")

    def _damaged(self, stage: str, file: FileReceipt, found: str, expected: str | int | None = None) -> IntegrityError:
        return IntegrityError(
            f"{self._storage.shown(file.path)} is not what its receipt says: {found}",
            expected=expected,
            hint="Remove it and run:",
            run=self._made_by(stage),
        )

    def _made_by(self, stage: str) -> Command:
        own = self._stages[stage].command if stage in self._stages else None
        return Command(own or stage, dataset=self._storage.name or None)

    def _where(self, stage: str) -> str:
        return self._storage.shown(self._stages[stage].folder if stage in self._stages else "")


def undeclared(table: pa.Table, output: OutputFile) -> str | None:
    """In what a table, or some of its columns, differs from what its stage declares; None where it does not."""
    assert output.schema is not None, "a table has a schema"
    for column in table.schema:
        position = output.schema.get_field_index(column.name)
        if position < 0:
            return f"it has the column {column.name!r}, expected some of {', '.join(output.schema.names)}"
        if not _is_a(column.type, expected := output.schema.field(position).type):
            return f"its column {column.name!r} is of type {column.type}, expected {expected}"
        if (values := output.closed.get(column.name)) is not None:
            stray = set(table[column.name].unique().to_pylist()) - {None, *map(str, values)}
            if stray:
                return f"its column {column.name!r} holds {min(stray)!r}, expected one of {', '.join(values)}"
    return None


def _is_a(found: pa.DataType, declared: pa.DataType) -> bool:
    if pa.types.is_list(declared) and pa.types.is_fixed_size_list(found):
        return bool(found.value_type == declared.value_type)
    return bool(found == declared)
