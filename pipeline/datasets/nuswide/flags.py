"""Reads the files of zeros and ones: tag matrices (1,000 columns a line) and human labels (one column).

The train matrix is a third of a GB of text; blocks of a few MB are parsed at once, without a Python object a cell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import PipelineError

_BLOCK_BYTES = 4 * 2**20
_STRANGE, _SPACE, _FLAG = 0, 1, 2
_KIND = np.full(256, _STRANGE, dtype=np.uint8)
_KIND[list(b" \t\r\n")] = _SPACE
_KIND[list(b"01")] = _FLAG


@dataclass(frozen=True)
class Ones:
    """The cells of a matrix that are one.

    Attributes:
        rows: int64, ascending.
        columns: int64, of the same length.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def read_ones(path: Path, num_columns: int, num_rows: int, image_list: Path) -> Ones:
    """The ones of a file, row by row.

    Args:
        path: text, one row a line; values apart by tabs or spaces, trailing ones are fine, empty lines are skipped.
        num_columns: values a line.
        num_rows: images of the split.
        image_list: the file that says so, for error texts.

    Raises:
        PipelineError: another count of lines or values, or a value that is neither 0 nor 1.
    """
    found = 0
    rows, columns = [], []
    for flags in _blocks(path, num_columns):
        row, column = np.nonzero(flags)
        rows.append(row + found)
        columns.append(column)
        found += len(flags)
    if found != num_rows:
        raise PipelineError(
            f"{path}:",
            found=f"{found} lines",
            expected=f"{num_rows}, one for each image of {image_list}",
            hint="Extract both archives again",
        )
    return Ones(*(np.concatenate([np.zeros(0, dtype=np.int64), *arrays]) for arrays in (rows, columns)))


def side_by_side(parts: Sequence[Ones], columns: Sequence[NDArray[np.int64]]) -> Ones:
    """The ones of several matrices of equal height, in one.

    Args:
        parts: the matrices.
        columns: for each matrix the new column of every old one; -1 leaves it out.
    """
    rows = np.concatenate([part.rows for part in parts])
    places = np.concatenate([place[part.columns] for part, place in zip(parts, columns, strict=True)])
    rows, places = rows[places >= 0], places[places >= 0]
    order = np.lexsort((places, rows))
    return Ones(rows[order], places[order])


def _blocks(path: Path, num_columns: int) -> Iterator[NDArray[np.uint8]]:
    """The matrix, some whole rows at a time."""
    line = 1
    try:
        with path.open("rb") as file:
            while lines := file.readlines(_BLOCK_BYTES):
                yield _parsed(path, b"".join(lines), line, num_columns)
                line += len(lines)
    except OSError as error:
        raise PipelineError(
            f"cannot read {path}: {error.strerror}", hint="Make it readable, or extract it again"
        ) from error


def _parsed(path: Path, text: bytes, first_line: int, num_columns: int) -> NDArray[np.uint8]:
    """uint8 [row, column] of whole lines."""
    data = np.frombuffer(text, dtype=np.uint8)
    kind = _KIND[data]
    at = np.flatnonzero(kind == _FLAG)
    bad = np.concatenate([np.flatnonzero(kind == _STRANGE), at[1:][np.diff(at) == 1]])
    if len(bad):
        line = int(np.count_nonzero(data[: bad[0]] == ord("\n")))
        raise _malformed(path, first_line + line, repr(_word(text, int(bad[0]))), "0 or 1")
    ends = np.append(np.flatnonzero(data == ord("\n")), len(data))
    values = np.diff(np.searchsorted(at, ends), prepend=0)
    wrong = np.flatnonzero((values != 0) & (values != num_columns))
    if len(wrong):
        raise _malformed(path, first_line + int(wrong[0]), f"{values[wrong[0]]} values", str(num_columns))
    return (data[at] - ord("0")).reshape(-1, num_columns)


def _word(text: bytes, at: int) -> str:
    """The value around a byte."""
    start = max(text.rfind(space, 0, at) for space in (b" ", b"\t", b"\n")) + 1
    return text[start:].split(None, 1)[0][:20].decode("ascii", "backslashreplace")


def _malformed(path: Path, line: int, found: str, expected: str) -> PipelineError:
    return PipelineError(f"{path}, line {line}:", found=found, expected=expected, hint="Extract its archive again")
