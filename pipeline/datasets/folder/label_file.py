"""The user's two text files: labels of images (CSV), and the labels to hold out as unseen.

The CSV is UTF-8 (a byte order mark and CRLF are fine), comma-separated, quoted where needed. Its first line names the
columns, `image,labels` first; more columns may follow and are ignored. `image` is the path of a file below its folder,
or an http(s) address; `labels` are joined by ';'. An image with an empty `labels` is known to have none.
The list of unseen labels has one label a line; blank lines and those that begin with '#' are skipped.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from schemas.command import AGAIN
from schemas.errors import PipelineError

_HEADER = ["image", "labels"]
_SEPARATOR = ";"


def read_labels(path: Path) -> dict[str, tuple[str, ...]]:
    """Labels by image, images in the order of the file, labels of an image sorted and without repetition.

    Raises:
        PipelineError: a malformed line; the text names file and line.
    """
    rows = _rows(path)
    _, header = next(rows, (1, []))
    if [name.strip().lower() for name in header[:2]] != _HEADER:
        raise _malformed(path, 1, f"the columns {','.join(header) or 'none'}", "a first line with image,labels")
    labels: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for line, row in rows:
        if len(row) != len(header):
            raise _malformed(path, line, _count(len(row)), f"{_count(len(header))} as in the first line")
        image = row[0]
        if not image.strip():
            raise _malformed(path, line, "no image", "a path below the folder or an http(s) address")
        if image in labels:
            raise _malformed(path, line, f"{image!r} again (first in line {lines[image]})", "each image once")
        labels[image] = tuple(sorted({label.strip() for label in row[1].split(_SEPARATOR)} - {""}))
        lines[image] = line
    return labels


def read_unseen(path: Path) -> tuple[str, ...]:
    """The unseen labels in the order of the file, each once.

    Raises:
        PipelineError: bytes that are not UTF-8 text; the text names file and line.
    """
    words = (line.strip() for line in io.StringIO(_text(path), newline=None))
    return tuple(dict.fromkeys(word for word in words if word and not word.startswith("#")))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records of a CSV file, each with the number of its first line; blank lines are skipped."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise _malformed(path, line, str(error), 'comma-separated values, quoted with "') from error


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PipelineError(
            f"cannot read {path}: {error.strerror}", hint="Make it readable, or name another"
        ) from error
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise _malformed(path, line, "a NUL byte", "UTF-8 text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _malformed(path, line, f"the byte 0x{error.object[error.start]:02x}", "UTF-8 text") from error


def _count(columns: int) -> str:
    return f"{columns} column" if columns == 1 else f"{columns} columns"


def _malformed(path: Path, line: int, found: str, expected: str) -> PipelineError:
    return PipelineError(
        f"{path}, line {line}:",
        found=found,
        expected=expected,
        hint="Mend the line and run the same command again:",
        run=AGAIN,
    )
