"""Chosen columns of an official CSV, a bounded batch at a time, however large the file is."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from pipeline.datasets.official import opened
from schemas.errors import PipelineError

_BLOCK_BYTES = 16 << 20


def read_columns(path: Path, columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Batches of these columns, in the order of the file. An empty field is null where the type is no text.

    A byte order mark, CRLF, LF and line breaks within quotes are fine.

    Raises:
        PipelineError: a column is missing, or a row is malformed.
    """
    from pyarrow import csv

    with opened(path) as file:
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
                f"{path}: {' '.join(str(error).split())};",
                expected=f"a CSV with the columns {', '.join(columns)}",
                hint="Fetch the file again",
            ) from error
