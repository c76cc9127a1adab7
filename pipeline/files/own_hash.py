"""The hash that a file carries of its own bytes, for what no receipt names: receipts, records, checkpoints.

The file is written with `BLANK` somewhere in it, and the hash of its place and of the whole then takes the place of the
zeros. Whoever reads the file compares before anything is parsed: the same bytes elsewhere count for nothing. A file
without the mark was written before there was one.

A place is a path below the data set's folder (or the cache), so that a work folder can be moved as a whole.
"""

import hashlib
import mmap
import re
from pathlib import Path

_MARK = b"biam_pipe.sha256="
_DIGITS = 64
_FILLED = re.compile(_MARK + b"([0-9a-f]{%d})" % _DIGITS)

BLANK = _MARK.decode() + "0" * _DIGITS


def filled(data: bytes, place: str) -> bytes:
    """The bytes with their own hash in them."""
    assert data.count(_MARK) == 1, "the mark stands once in a file"
    digest = _at(place)
    digest.update(data)
    return data.replace(BLANK.encode(), _MARK + digest.hexdigest().encode())


def fill(path: Path, place: str) -> None:
    """Put the hash of a file into it.

    Args:
        path: where it lies now.
        place: where it is going to.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        hashed = _at(place)
        hashed.update(data)
        digest = hashed.hexdigest().encode()
        start = data.find(BLANK.encode()) + len(_MARK)
        data[start : start + _DIGITS] = digest


def is_whole(data: bytes | mmap.mmap, place: str) -> bool | None:
    """Whether the bytes are those that were written to this place; None where they carry no hash."""
    if (found := _FILLED.search(data)) is None:
        return None if data.find(_MARK) < 0 else False
    (start, end), told = found.span(1), found[1]
    del found  # it would keep a mapped file open
    with memoryview(data) as view, view[:start] as before, view[end:] as after:
        digest = _at(place)
        digest.update(before)
        digest.update(b"0" * _DIGITS)
        digest.update(after)
    return digest.hexdigest().encode() == told


def _at(place: str) -> "hashlib._Hash":
    return hashlib.sha256(place.encode() + b"\n")
