"""Parquet tables below a storage: whole and checked when written, checked when read, and hashed by what they say.

Feature shards are not written here: their layout is a store's business.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.files.storage import Storage
from schemas.errors import IntegrityError


def write_table(storage: Storage, path: str, table: pa.Table) -> None:
    """Commit a table as zstd Parquet with a checksum on every page."""
    with storage.commit(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_table(storage: Storage, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A table, or some of its columns in the order asked for.

    Raises:
        IntegrityError: the file is missing, cut short or damaged. Pages that are not read are not checked, and Parquet
            has no checksum for its footer: for certainty compare the file with the hash in its receipt.
    """
    names = None if columns is None else list(columns)
    try:
        with pq.ParquetFile(storage.local(path), page_checksum_verification=True) as file:
            table = file.read(columns=names)
            rows = file.metadata.num_rows
    except FileNotFoundError as error:
        raise IntegrityError(
            f"missing table: {storage.local(path)} is not there, though it was written. Run the same command again"
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(storage.local(path), str(error)) from error
    if table.num_rows != rows:  # a flipped bit in a page's header is outside of its checksum
        raise _damaged(storage.local(path), f"{table.num_rows} rows of {rows}")
    return table


def _damaged(path: Path, found: str) -> IntegrityError:
    return IntegrityError(
        f"damaged table: {path} cannot be read ({found}); expected the Parquet file that was committed there."
        " Remove that file and run the same command again"
    )


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
