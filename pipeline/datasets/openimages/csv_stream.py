"""Chosen columns of an official CSV, a bounded batch at a time, however large the file is."""

import csv as text_csv
import io
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pipeline.datasets.official import opened
from pipeline.net.look import OutsideFile, beginning, plain
from schemas.errors import PipelineError

_BLOCK_BYTES = 16 << 20
_HEAD_BYTES = 1 << 16  # 200 rows of images
_HEAD_S = 20.0


def read_columns(
    path: Path, columns: Mapping[str, pa.DataType], optional: Mapping[str, pa.DataType] | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of these columns, in the order of the file. An empty field is null where the type is no text.

    A byte order mark, CRLF, LF and line breaks within quotes are fine.

    Args:
        optional: columns that come last in a batch, where the file has them.

    Raises:
        PipelineError: a column is missing, or a row is malformed.
    """
    with opened(path) as file:
        header = next(text_csv.reader([file.readline().decode("utf-8-sig", "replace")]), [])
        file.seek(0)
        there = {name: kind for name, kind in (optional or {}).items() if name in header}
        yield from _batches(file, str(path), {**columns, **there})


def first_rows(file: OutsideFile, columns: Mapping[str, pa.DataType], rows: int) -> pa.RecordBatch:
    """The same columns of the first rows alone, wherever the file lies; nothing but its beginning is fetched.

    Raises:
        PipelineError: the file cannot be had, or does not begin with such rows.
        OSError: likewise, of a file on this machine.
    """
    found = beginning(file, _HEAD_BYTES, _HEAD_S)
    if found.fault is not None:
        raise PipelineError(
            f"no row of {file.address}: {found.error}", hint=f"Check {file.setting}, or set it to the path of a copy"
        )
    text = plain(found.data).decode(errors="replace")
    head = io.StringIO(newline="")
    # The last row may be cut off; with it goes nothing that is wanted but of a file of less rows.
    text_csv.writer(head).writerows(islice(text_csv.reader(io.StringIO(text, newline="")), rows + 1))
    return next(_batches(io.BytesIO(head.getvalue().encode()), file.address, columns))


def _batches(file: BinaryIO, name: str, columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    from pyarrow import csv

    try:
        reader = csv.open_csv(
            file,
            read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict(columns), include_columns=list(columns), strings_can_be_null=False
            ),
        )
        yield from reader
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise PipelineError(
            f"{name}: {' '.join(str(error).split())};",
            expected=f"a CSV with the columns {', '.join(columns)}",
            hint="Fetch the file again",
        ) from error
