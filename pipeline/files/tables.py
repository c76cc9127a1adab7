"""Parquet tables: whole when written, parsed from bytes that were compared before, hashed by what they say.

Feature shards are not written here: their layout is a store's business.

Nothing is parsed by Arrow's threads: the last of them to let go of the bytes, which are Python's, asks for Python's
lock, and aborts the process where that is ending by then.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.files import own_hash
from pipeline.files.storage import Storage

_HASH_KEY = b"biam_pipe.hash"

TABLE_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError, LookupError)
"""What reading bytes as a Parquet table may raise where they are none, or lack the columns asked for."""


def write_table(storage: Storage, path: str, table: pa.Table) -> None:
    """Commit a table as zstd Parquet with a checksum on every page."""
    with storage.commit(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def write_hashed_table(storage: Storage, path: str, table: pa.Table) -> None:
    """Commit a table that carries the hash of its own bytes, for tables that no receipt names."""
    sink = pa.BufferOutputStream()
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), _HASH_KEY: own_hash.BLANK})
    pq.write_table(marked, sink, compression="zstd", write_page_checksum=True)
    storage.write(path, own_hash.filled(sink.getvalue().to_pybytes(), path))


def read_hashed_table(storage: Storage, path: str) -> pa.Table | None:
    """A table that no receipt names; None where it is not there, or its bytes are not those that were written."""
    try:
        return hashed_table(storage.read(path), path)
    except OSError:
        return None


def hashed_table(data: bytes, path: str) -> pa.Table | None:
    """The same from the bytes of its file."""
    try:
        return None if own_hash.is_whole(data, path) is False else parsed_table(pa.BufferReader(data))
    except TABLE_ERRORS:
        return None


def parsed_table(data: pa.NativeFile, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in some bytes, or some of its columns in the order asked for.

    Raises:
        TABLE_ERRORS: they are no Parquet table, or it lacks a column.
    """
    with pq.ParquetFile(data, pre_buffer=False, page_checksum_verification=True) as file:
        table = file.read(columns=None if columns is None else list(columns), use_threads=False)
        rows = file.metadata.num_rows
    if table.num_rows != rows:  # a flipped bit in a page's header is outside of its checksum
        raise pa.ArrowInvalid(f"{table.num_rows} rows of {rows}")
    return table if columns is None else table.select(list(columns))


def parsed_row(data: pa.NativeFile, row: int) -> pa.Table:
    """One row of the table in some bytes; no more than its row group is decoded.

    Raises:
        TABLE_ERRORS: they are no Parquet table, or it has fewer rows.
    """
    with pq.ParquetFile(data, pre_buffer=False, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < rows:
                return file.read_row_group(group, use_threads=False).slice(row, 1)
            row -= rows
    raise IndexError(f"it ends {row + 1} rows before the one asked for")


def content_hash(*tables: pa.Table) -> str:
    """Hash of names, types and values, 64 hex digits.

    Chunks, null slots and the Parquet writer's version leave no trace in it, so that a table written anew by another
    pyarrow still counts as the same.
    """
    digest = hashlib.sha256()
    for table in tables:
        for field, column in zip(table.schema, table.columns, strict=True):
            digest.update(f"{field.name}\0{field.type}\0{len(column)}\0".encode())
            for kind in _parts(column.combine_chunks()):
                digest.update(kind)
    return digest.hexdigest()


def _parts(array: pa.Array | pa.ChunkedArray) -> list[bytes]:
    """The bytes that tell one array of a type from another: validity, lengths, values."""
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    array = array.drop_null()
    kind = array.type
    if pa.types.is_struct(kind):
        parts = [part for child in array.flatten() for part in _parts(child)]
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        parts = [_lengths(pc.list_value_length(array)), *_parts(array.flatten())]
    elif pa.types.is_null(kind):
        parts = []
    elif pa.types.is_primitive(kind):
        parts = [array.to_numpy(zero_copy_only=False).tobytes()]
    else:
        values = array.cast(pa.large_binary())
        parts = [_lengths(pc.binary_length(values)), b"".join(values.to_pylist())]
    return [np.packbits(valid).tobytes(), *parts]


def _lengths(lengths: pa.Array) -> bytes:
    return lengths.cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes()
