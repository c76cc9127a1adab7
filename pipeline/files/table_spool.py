"""Rows put aside on disk while a stage looks at all of them, then read back by number.

Memory holds a few batches at a time, whatever the number of rows: pages of a mapped file would count as memory too.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.files.refusals import TEMPORARY_SUFFIX, refusals_named
from pipeline.machine.telling import counted, tell

_BATCH_ROWS = 65_536
_BATCHES_HELD = 2  # rows that follow each other lie in one batch, or in two


@contextmanager
def open_table_spool(folder: Path, tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator["TableSpool"]:
    """Put the rows of all tables aside; while open, they can be read.

    Args:
        folder: where the file lies; it has a temporary name, so that `Storage.sweep` removes it after a kill.
        tables: consumed one by one.
        schema: of every table.

    Raises:
        PipelineError: the system refuses to write there.
    """
    path = folder / f".rows.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    with refusals_named(folder, "put rows aside in"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            starts = [0]
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
                for table in tables:
                    for batch in table.combine_chunks().to_batches(max_chunksize=_BATCH_ROWS):
                        writer.write_batch(batch)
                        starts.append(starts[-1] + batch.num_rows)
                        tell(starts[-1], None, counted(starts[-1], None, "rows read"))
            with pa.OSFile(str(path)) as whole, pa.ipc.open_file(whole) as reader:
                yield TableSpool(str(path), reader, starts)
        finally:
            with suppress(OSError):  # what ended the work is to be told; the next run sweeps
                path.unlink(missing_ok=True)


class TableSpool:
    """Rows by number, from 0 in the order they came."""

    def __init__(self, path: str, reader: pa.ipc.RecordBatchFileReader, starts: Sequence[int]) -> None:
        self._path = path
        self._reader = reader
        self._starts = np.asarray(starts, dtype=np.int64)
        self._batch = lru_cache(_BATCHES_HELD)(reader.get_batch)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def column(self, name: str) -> Iterator[pa.Array]:
        """One column of all rows, a batch at a time.

        The others are not read: a column cut out of a whole batch would keep all of its bytes in memory.
        """
        only = pa.ipc.IpcReadOptions(included_fields=[self._reader.schema.get_field_index(name)])
        with pa.OSFile(self._path) as whole, pa.ipc.open_file(whole, options=only) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).column(0)

    def rows(self, numbers: Sequence[int] | np.ndarray) -> pa.Table:
        """The rows with these numbers, in the order asked for. Fast where neighbours here came as neighbours."""
        wanted = np.asarray(numbers, dtype=np.int64)
        batch_of = np.searchsorted(self._starts, wanted, side="right") - 1
        pieces = [
            self._batch(int(batch)).take(pa.array(wanted[batch_of == batch] - self._starts[batch]))
            for batch in np.unique(batch_of)
        ]
        came_at = np.argsort(np.argsort(batch_of, kind="stable"), kind="stable")
        return pa.Table.from_batches(pieces, self._reader.schema).take(pa.array(came_at))
