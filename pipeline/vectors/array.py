"""Reads the vectors of chosen words out of an array (.npy), with the list of words of its rows in a file beside it.

The array is mapped into memory, so that only the rows asked for are read; the list is read to its end, in less than a
second for the 400,000 words of GloVe. An array of Python objects, which would be a pickle, is refused.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from warnings import catch_warnings

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.files.damages import DAMAGES
from pipeline.vectors.parser import LONGEST_WORD_BYTES, MARK, MOST_DIMENSIONS, WordVectors, groups_without, with_usable
from schemas.errors import PipelineError

SUFFIX = ".npy"

_LISTS = (".words.txt", ".parquet")
_COLUMN = "word"
_BATCH_ROWS = 1 << 16


def list_beside(array: Path) -> Path:
    """The list of words of an array: under its name with another ending, text before Parquet.

    Where neither is there, the path that the first one would have.
    """
    beside = [array.with_name(array.stem + ending) for ending in _LISTS]
    return next((path for path in beside if path.is_file()), beside[0])


def lists_told(array: Path) -> str:
    """Where that list is sought, for error texts."""
    return " or ".join(array.stem + ending for ending in _LISTS)


def read_array(array: Path, listed: Path, words: Collection[str]) -> WordVectors:
    """The vectors of these words; of a word that is listed twice, the first.

    Args:
        listed: list of the words of the rows: text with a word a line, or Parquet with a column of that.

    Raises:
        PipelineError: a file is damaged or something else, or they do not fit together.
    """
    rows = _opened(array)
    wanted = {word.encode(): word for word in words if word}
    row_of: dict[str, int] = {}
    count = 0
    for word in _words(listed):
        if (name := wanted.get(word)) is not None:
            row_of.setdefault(name, count)
        count += 1
        if count > len(rows):
            break
    if count != len(rows):
        got = f"{count} words" if count < len(rows) else f"more than {len(rows)} words"
        raise PipelineError(f"{listed}:", got=got, expected=f"{len(rows)}, as {array.name} has rows")
    return WordVectors(rows.shape[1], with_usable({word: np.array(rows[row]) for word, row in row_of.items()}))


def without_listed(listed: Path, words: Sequence[Collection[str]]) -> list[int]:
    """Positions of the groups of which the list has no word.

    Raises:
        PipelineError: the list is damaged or something else.
    """
    return groups_without(_words(listed), words)


def _opened(path: Path) -> NDArray[np.float32]:
    """The array [word, dimension], of which nothing is read yet."""
    try:
        with catch_warnings(action="ignore"):  # numpy tells of headers by Python 2, which it reads
            rows = np.lib.format.open_memmap(path, mode="r")
    except (*DAMAGES, TokenError) as error:
        first = str(error).strip().partition("\n")[0]
        raise _refused(path, f"no .npy file of numbers, or a damaged one ({first})") from error
    if rows.dtype != np.float32 or rows.ndim != 2 or not 1 <= rows.shape[1] <= MOST_DIMENSIONS:
        raise _refused(path, f"{rows.dtype} of shape {rows.shape}")
    return rows


def _refused(path: Path, got: str) -> PipelineError:
    return PipelineError(
        f"{path}:",
        got=got,
        expected=f"an array of float32 [word, dimension], of at most {MOST_DIMENSIONS:,} dimensions",
        hint="Fetch the file again, or set embed.vectors to another",
    )


def _words(path: Path) -> Iterator[bytes]:
    """Every word of a list, row by row."""
    parquet = path.suffix == ".parquet"
    try:
        yield from _parquet_words(path) if parquet else _text_words(path)
    except (*DAMAGES, pa.ArrowException) as error:
        told = f"{path}: cannot be read as {'Parquet' if parquet else 'text'}"
        raise PipelineError(f"{told} ({error}), expected a list of words, one for each row of the array") from error


def _text_words(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(LONGEST_WORD_BYTES):
            if len(line) == LONGEST_WORD_BYTES:
                raise ValueError(f"{LONGEST_WORD_BYTES:,} bytes without an end of the line")
            yield line.removeprefix(MARK).rstrip(b"\r\n")


def _parquet_words(path: Path) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        if _COLUMN not in texts and len(texts) != 1:
            raise ValueError(f"columns of text: {', '.join(texts) or 'none'}; expected {_COLUMN!r}, or one alone")
        column = _COLUMN if _COLUMN in texts else texts[0]
        for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
            yield from ((word or "").encode() for word in batch.column(0).to_pylist())
