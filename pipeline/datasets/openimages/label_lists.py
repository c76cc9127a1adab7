"""The label space of Open Images V4 out of its official lists: 7,186 trainable labels, and 400 that are held out."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets.label import Label
from pipeline.datasets.official import opened
from pipeline.datasets.openimages.pickled_texts import MOST_BYTES, pickled_texts
from schemas.errors import PipelineError
from schemas.status import LabelRole

_POSITION = re.compile("[0-9]{1,9}")
_MOST_BYTES = 64 << 20  # of a list; the longest official one has 0.6 MB
_SHOWN = 100  # characters of a line


def label_space(descriptions: Path, seen: Path, unseen: Path, chosen: Path) -> list[Label]:
    """Seen labels in the order of their list, then the chosen unseen ones, keyed by MID: names repeat.

    Args:
        descriptions: CSV without header, MID and name.
        seen: a MID a line.
        unseen: pickled array of MIDs.
        chosen: lines of 0-based positions in `unseen`.

    Raises:
        PipelineError: a file is malformed, a MID repeats, or one has no name.
    """
    names = dict(_descriptions(descriptions))
    mids = read_mids(unseen)
    roles = dict.fromkeys(_lines(seen), LabelRole.SEEN)
    for number, line in enumerate(_lines(chosen), start=1):
        if not _POSITION.fullmatch(line) or int(line) >= len(mids):
            raise _malformed(chosen, number, repr(line[:_SHOWN]), f"a position below {len(mids)}")
        if mids[int(line)] in roles:
            raise _malformed(chosen, number, f"{mids[int(line)]} again", "each label once, and none that is seen")
        roles[mids[int(line)]] = LabelRole.UNSEEN
    if nameless := [mid for mid in roles if mid not in names]:
        raise PipelineError(
            f"{descriptions}: no name of {len(nameless)} labels, {nameless[0]} first;",
            expected=f"one for each of {len(roles)}",
            hint="Check dataset.class_descriptions",
        )
    return [Label(mid, names[mid], role) for mid, role in roles.items()]


def read_mids(path: Path) -> list[str]:
    """The MIDs of a pickled numpy array of texts.

    Raises:
        PipelineError: the file holds anything else.
    """
    with opened(path) as file:
        data = file.read(MOST_BYTES + 1)
    try:
        return pickled_texts(data)
    except ValueError as error:
        raise PipelineError(
            f"{path}: not a pickled array of MIDs ({error})",
            hint="Fetch it again, or check dataset.unseen_labels",
        ) from error


def _descriptions(path: Path) -> Iterator[tuple[str, str]]:
    reader = csv.reader(io.StringIO(_text(path), newline=""))
    try:
        for row in reader:
            if row and len(row) != 2:
                raise _malformed(path, reader.line_num, f"{len(row)} columns", "a MID and a name")
            if row:
                yield row[0], row[1]
    except csv.Error as error:
        raise _malformed(path, reader.line_num, str(error), "a MID and a name") from error


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if len(set(lines)) != len(lines):
        again = next(line for line in lines if lines.count(line) > 1)
        raise PipelineError(
            f"{path}: {again[:_SHOWN]!r} stands there twice", expected="each line once", hint="Fetch it again"
        )
    return lines


def _text(path: Path) -> str:
    with opened(path) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise PipelineError(
            f"{path}: more than {_MOST_BYTES} bytes", expected="a list of labels", hint="Fetch it again"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PipelineError(f"{path}: byte {error.start} is not UTF-8 text", hint="Fetch it again") from error


def _malformed(path: Path, line: int, found: str, expected: str) -> PipelineError:
    return PipelineError(f"{path}, line {line}:", found=found, expected=expected, hint="Fetch it again")
