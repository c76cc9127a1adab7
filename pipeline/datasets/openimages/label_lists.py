"""The label space of Open Images V4 out of its official lists: 7,186 trainable labels, and 400 that are held out."""

import csv
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.datasets.label import Label
from pipeline.datasets.official import opened
from schemas.errors import PipelineError
from schemas.status import LabelRole


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
        if not line.isdecimal() or int(line) >= len(mids):
            raise _malformed(chosen, number, repr(line), f"a position below {len(mids)}")
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
    """The MIDs of a pickled numpy array of texts. Nothing else is loaded: a pickle can run code.

    Raises:
        PipelineError: the file holds anything else.
    """
    try:
        with opened(path) as file:
            mids = _TextArrays(file).load()
            found = [str(mid) for mid in mids.ravel()]
    except (pickle.UnpicklingError, EOFError, AttributeError, ValueError, TypeError, IndexError, KeyError) as error:
        raise PipelineError(
            f"{path}: not a pickled array of MIDs ({error})",
            hint="Fetch it again, or check dataset.unseen_labels",
        ) from error
    return found


class _TextArrays(pickle.Unpickler):
    """Knows what a numpy array of texts is made of, and refuses any other name."""

    _KNOWN = frozenset({("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")})
    _MODULES = frozenset({"numpy.core.multiarray", "numpy._core.multiarray"})  # numpy 1 and 2

    def find_class(self, module: str, name: str) -> Any:
        if module in self._MODULES and name == "_reconstruct":
            return super().find_class("numpy._core.multiarray", name)
        if (module, name) in self._KNOWN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _descriptions(path: Path) -> Iterator[tuple[str, str]]:
    reader = csv.reader(io.StringIO(_text(path), newline=""))
    for row in reader:
        if row and len(row) != 2:
            raise _malformed(path, reader.line_num, f"{len(row)} columns", "a MID and a name")
        if row:
            yield row[0], row[1]


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if len(set(lines)) != len(lines):
        again = next(line for line in lines if lines.count(line) > 1)
        raise PipelineError(f"{path}: {again!r} stands there twice", expected="each line once", hint="Fetch it again")
    return lines


def _text(path: Path) -> str:
    with opened(path) as file:
        data = file.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PipelineError(f"{path}: byte {error.start} is not UTF-8 text", hint="Fetch it again") from error


def _malformed(path: Path, line: int, found: str, expected: str) -> PipelineError:
    return PipelineError(f"{path}, line {line}:", found=found, expected=expected, hint="Fetch it again")
