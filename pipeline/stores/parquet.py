"""Features as Parquet: one column of fixed-size binaries for each map, small row groups, a checksum on every page.

A row group is decompressed as a whole, 0.9 GB/s on one core with zstd; without compression maps are views of the mapped
file. With the defaults of pyarrow (one large group, dictionary, statistics) a random row costs 300 ms, here 0.3 to 8.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.stores.batch import FeatureBatch, dtype_of, regrouped
from pipeline.stores.reader import damage_named
from schemas.config import StoreConfig
from schemas.features import METADATA_KEY, FeatureSpec, MapSpec

SUFFIX = ".parquet"


def write(path: Path, spec: FeatureSpec, options: StoreConfig, batches: Iterable[FeatureBatch]) -> None:
    """Write a shard; one row group is in memory at a time. Equal rows give equal bytes."""
    schema = _schema(spec)
    level = options.compression_level if options.compression == "zstd" else None
    with (
        pq.ParquetWriter(
            path,
            schema,
            compression=options.compression,
            compression_level=level,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
            write_batch_size=1,  # a page ends at 1 MB, looked at after so many values: else it would hold a whole group
        ) as writer,
        _syncing(path) as sync,
    ):
        for group in regrouped(batches, spec, options.row_group_rows):
            table = pa.concat_tables([_table(batch, spec, schema) for batch in group])  # no copy: chunked columns
            writer.write_table(table, row_group_size=table.num_rows)
            sync()


@contextmanager
def _syncing(path: Path) -> Iterator[Callable[[], None]]:
    """A function that has what is written so far brought to the disk meanwhile: 5 % less to wait for at the end.

    Raises:
        OSError: the disk is full, for example. Whoever syncs the file afterwards is not told again.
    """
    with path.open("rb") as file, ThreadPoolExecutor(1, thread_name_prefix="biam-pipe sync") as thread:
        under_way: Future[None] = thread.submit(os.fsync, file.fileno())

        def sync() -> None:
            nonlocal under_way
            if under_way.done():
                under_way.result()
                under_way = thread.submit(os.fsync, file.fileno())

        yield sync
        under_way.result()


def example(one: MapSpec) -> str:
    """Three lines of Python with which another program reads a map."""
    return (
        "import numpy as np, pyarrow.parquet as pq\n"
        f'stored = pq.read_table("shard-00000{SUFFIX}", columns=["{one.column}"])["{one.column}"].drop_null()\n'
        f'{one.column} = np.frombuffer(b"".join(stored.to_pylist()), "{dtype_of(one).str}").reshape(-1, *{one.shape})\n'
    )


@contextmanager
def open_shard(path: Path, *, verified: bool = False) -> Iterator["ParquetReader"]:
    """The shard, open for reading.

    Args:
        verified: the caller has compared the file's hash with its receipt, so that pages need not be checked once more:
            on uncompressed maps that would take half of the time.

    Raises:
        IntegrityError: it is missing, torn or no feature shard.
    """
    with damage_named(path, pa.ArrowException):
        # One column chunk at a time: read-ahead and a thread of pyarrow's own made it slower (1.7 against 2.9 GB/s).
        # Mapped, uncompressed maps are read at 9 GB/s and not at 5, and a row of zstd comes 0.4 ms sooner: its column
        # chunk would be read as a whole first.
        file = pq.ParquetFile(path, pre_buffer=False, memory_map=verified, page_checksum_verification=not verified)
    with file:
        yield ParquetReader(path, file)


class ParquetReader:
    """A feature shard as `stores.reader.Reader` describes it."""

    def __init__(self, path: Path, file: pq.ParquetFile) -> None:
        self._path = path
        self._file = file
        with damage_named(path, pa.ArrowException):
            self.spec = FeatureSpec.model_validate_json(file.schema_arrow.metadata[METADATA_KEY.encode()])
            wanted = _schema(self.spec)
            if not file.schema_arrow.equals(wanted):
                raise ValueError(f"its columns are {file.schema_arrow.names}, its spec says {wanted.names}")
        self.num_rows: int = file.metadata.num_rows
        self._maps = {one.column: one for one in self.spec.maps}

    @cached_property
    def row_groups(self) -> list[range]:
        """The file's own row groups."""
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        stops = np.cumsum(sizes).tolist()
        return [range(stop - size, stop) for size, stop in zip(sizes, stops, strict=True)]

    def image_ids(self) -> list[str]:
        """One a row."""
        return self._texts("image_id")

    def statuses(self) -> list[str]:
        """One a row."""
        return self._texts("status")

    def errors(self) -> list[str | None]:
        """What was wrong, one a row, None where nothing was."""
        return self._texts("error")

    def read(self, rows: range, column: str) -> NDArray[Any]:
        """Maps of consecutive rows; reads the row groups that they lie in, the last of them no further than needed."""
        assert rows.stop <= self.num_rows, f"{rows} of {self.num_rows}"
        one = self._maps[column]
        parts = [
            self._part(number, slice(max(rows.start - group.start, 0), min(rows.stop, group.stop) - group.start), one)
            for number, group in enumerate(self.row_groups)
            if max(rows.start, group.start) < min(rows.stop, group.stop)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, *one.shape), dtype_of(one)), *parts])

    def each(self, rows: Sequence[int], column: str) -> Iterator[NDArray[Any]]:
        """The map of each of some rows; those between the first and the last are read, too."""
        if rows:
            stored = self.read(range(rows[0], rows[-1] + 1), column)
            yield from (stored[row - rows[0]] for row in rows)

    def _part(self, group: int, rows: slice, one: MapSpec) -> NDArray[Any]:
        """Maps of some rows of a row group; a view of what pyarrow read where no image failed."""
        with damage_named(self._path, pa.ArrowException):
            # In steps of the rows asked for, so that a late row does not take the memory of all before it; the pages
            # behind it are not looked at. Where the steps would miss the first row, all in one.
            length = rows.stop - rows.start
            step = rows.stop if rows.start % length else length
            found = self._file.iter_batches(step, row_groups=[group], columns=[one.column], use_threads=False)
            skipped = rows.start // step
            batch = [batch.column(0) for batch in islice(found, skipped, skipped + 1)]
            _require(sum(map(len, batch)), step, one.column)
            return _as_array(batch[0].slice(rows.start - skipped * step), one)

    def _texts(self, column: str) -> list[Any]:
        with damage_named(self._path, pa.ArrowException):
            # Threads, once asked for, stay on in a reader of pyarrow, and make each random row four times as slow.
            values = self._file.read(columns=[column], use_threads=False).column(0).to_pylist()
            _require(len(values), self.num_rows, column)
            return values


def _require(found: int, expected: int, column: str) -> None:
    """Page headers have no checksum: a damaged one can make pyarrow find fewer rows and say nothing."""
    if found != expected:
        raise ValueError(f"{column} gave {found} rows, expected {expected}")


def _schema(spec: FeatureSpec) -> pa.Schema:
    fields = [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
    fields += [pa.field(one.column, pa.binary(one.size_bytes)) for one in spec.maps]
    return pa.schema(fields, metadata={METADATA_KEY: spec.model_dump_json()})


def _table(batch: FeatureBatch, spec: FeatureSpec, schema: pa.Schema) -> pa.Table:
    errors = [error or None for error in batch.errors]
    columns: list[Any] = [pa.array(one, pa.string()) for one in (batch.image_ids, batch.statuses, errors)]
    columns += [_binaries(batch, one) for one in spec.maps]
    return pa.Table.from_arrays(columns, schema=schema)


def _binaries(batch: FeatureBatch, one: MapSpec) -> pa.Array:
    """A column of the batch without a copy; null where the image failed."""
    values = np.ascontiguousarray(batch.maps[one.column])
    good = batch.good
    present = None if good.all() else pa.py_buffer(np.packbits(good, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(one.size_bytes), len(batch), [present, pa.py_buffer(values)])


def _as_array(stored: pa.Array, one: MapSpec) -> NDArray[Any]:
    """[row, *shape]; zeros where the image failed."""
    buffer = stored.buffers()[1]
    if buffer is None or stored.null_count == len(stored):
        return np.zeros((len(stored), *one.shape), dtype_of(one))
    values = np.frombuffer(buffer, dtype_of(one)).reshape(-1, *one.shape)[stored.offset : stored.offset + len(stored)]
    if stored.null_count:
        values = values.copy()
        values[np.asarray(stored.is_null())] = 0
    return values
