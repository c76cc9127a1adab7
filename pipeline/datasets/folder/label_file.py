"""The user's two text files: labels of images (CSV), and the labels to hold out as unseen.

The CSV is UTF-8 (a byte order mark and CRLF are fine), separated by ',', ';', tabs or '|' as its first line says, and
quoted where needed. That line names the columns: an image (the path of a file below its folder, or an http(s) address)
and its labels, joined by ';'; a column `split` says train, validation or test, or nothing. An image may stand in
several lines, such as one for each label, and one without labels is known to have none. Other columns are not read.
The list of unseen labels has one label a line; blank lines are skipped, and those that begin
with '#' and are no label of an image.
"""

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from schemas.command import AGAIN
from schemas.errors import PipelineError
from schemas.values import OfficialSplit

_SEPARATORS = ",;\t|"
_JOINER = ";"
_SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class Row:
    """What one line says of an image.

    Attributes:
        line: number of its first line, from 1.
        image: as it is spelled there.
        labels: sorted, each once.
        split: train, validation or test; None where the line says nothing.
    """

    line: int
    image: str
    labels: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class LabelFile:
    """The CSV of labels.

    Attributes:
        unread: names of the columns that are not read.
    """

    path: Path
    rows: Sequence[Row]
    unread: Sequence[str]


def read_labels(path: Path, image_column: str = "image", labels_column: str = "labels") -> LabelFile:
    """What the CSV says, line by line.

    Raises:
        PipelineError: a malformed line; the text names file and line.
    """
    text = _text(path)
    separator, header = _header(path, text, image_column, labels_column)
    columns = [_folded(name) for name in header]
    image, labels = (columns.index(_folded(name)) for name in (image_column, labels_column))
    split = columns.index(_SPLIT_COLUMN) if _SPLIT_COLUMN in columns else None
    records = _records(path, text, separator)
    next(records)  # the header
    rows = []
    for line, cells in records:
        if len(cells) != len(columns):
            raise malformed(path, line, _count(len(cells)), f"{_count(len(columns))} as in the first line")
        if not cells[image].strip():
            raise malformed(path, line, "no image", "a path below the folder or an http(s) address")
        names = {label.strip() for label in cells[labels].split(_JOINER)} - {""}
        official = None if split is None else _official(path, line, cells[split])
        rows.append(Row(line, cells[image], tuple(sorted(names)), official))
    unread = [name.strip() for place, name in enumerate(header) if name.strip() and place not in {image, labels, split}]
    return LabelFile(path, rows, unread)


def read_unseen(path: Path, borne: Collection[str] = ()) -> dict[str, int]:
    """The unseen labels in the order of the file, each once, with the number of its first line.

    Args:
        borne: labels that images have. A line that begins with `#` is a remark, but for one of these: a hashtag that is
            to be unseen must not be trained on.

    Raises:
        PipelineError: bytes that are not UTF-8 text; the text names file and line.
    """
    lines: dict[str, int] = {}
    for line, word in enumerate(io.StringIO(_text(path), newline=None), start=1):
        label = word.strip()
        if label and (label in borne or not label.startswith("#")):
            lines.setdefault(label, line)
    return lines


def malformed(path: Path, line: int, found: str, expected: str) -> PipelineError:
    """The error for a line of a text file that cannot be used."""
    return PipelineError(
        f"{path}, line {line}:",
        found=found,
        expected=expected,
        hint="Mend the line and run the same command again:",
        run=AGAIN,
    )


def _header(path: Path, text: str, *wanted: str) -> tuple[str, list[str]]:
    """The separator with which the first line has the wanted columns, and the columns of that line."""
    for separator in _SEPARATORS:
        try:
            _, header = next(_records(path, text, separator), (1, []))
        except PipelineError:  # quoted as another separator wants it
            continue
        columns = [_folded(name) for name in header]
        if all(_folded(name) in columns for name in wanted):
            if twice := [name for name in (*wanted, _SPLIT_COLUMN) if columns.count(_folded(name)) > 1]:
                raise malformed(path, 1, f"the column {twice[0]!r} twice", "each column once")
            return separator, header
    _, header = next(_records(path, text, _SEPARATORS[0]), (1, []))
    raise malformed(
        path,
        1,
        f"the columns {','.join(header) or 'none'}",
        f"a first line with {','.join(wanted)} (dataset.image_column and dataset.labels_column; between them ',', ';', "
        "a tab or '|')",
    )


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Records of a CSV file, each with the number of its first line; blank lines are skipped."""
    blanks = f'{separator} "' in text  # "a.jpg", "cat": else the quotes would be letters of the label
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=blanks)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise malformed(path, line, str(error), f'values with {separator!r} between them, quoted with "') from error


def _official(path: Path, line: int, cell: str) -> str | None:
    split = cell.strip()
    if split and split not in get_args(OfficialSplit):
        raise malformed(path, line, f"the split {split!r}", f"{', '.join(get_args(OfficialSplit))}, or nothing")
    return split or None


def _folded(column: str) -> str:
    return column.strip().lower()


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PipelineError(
            f"cannot read {path}: {error.strerror}", hint="Make it readable, or name another"
        ) from error
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise malformed(path, line, "a NUL byte", "UTF-8 text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise malformed(path, line, f"the byte 0x{error.object[error.start]:02x}", "UTF-8 text") from error


def _count(columns: int) -> str:
    return f"{columns} column" if columns == 1 else f"{columns} columns"
