"""The hash that a file carries of its own bytes, for what no receipt names: receipts, records, checkpoints.

The file is written with `BLANK` somewhere in it, and the hash of the whole then takes the place of its zeros. Whoever
reads the file compares before anything is parsed. A file without the mark was written before there was one.
"""

import hashlib
import mmap
import re
from pathlib import Path

_MARK = b"biam_pipe.sha256="
_DIGITS = 64
_FILLED = re.compile(_MARK + b"([0-9a-f]{%d})" % _DIGITS)

BLANK = _MARK.decode() + "0" * _DIGITS


def filled(data: bytes) -> bytes:
    """The bytes with their own hash in them."""
    assert data.count(_MARK) == 1, "the mark stands once in a file"
    return data.replace(BLANK.encode(), _MARK + hashlib.sha256(data).hexdigest().encode())


def fill(path: Path) -> None:
    """Put the hash of a file into it."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        digest = hashlib.sha256(data).hexdigest().encode()
        start = data.find(BLANK.encode()) + len(_MARK)
        data[start : start + _DIGITS] = digest


def is_whole(data: bytes | mmap.mmap) -> bool | None:
    """Whether the bytes are those that were written; None where they carry no hash."""
    if (found := _FILLED.search(data)) is None:
        return None if data.find(_MARK) < 0 else False
    (start, end), told = found.span(1), found[1]
    del found  # it would keep a mapped file open
    with memoryview(data) as view, view[:start] as before, view[end:] as after:
        digest = hashlib.sha256(before)
        digest.update(b"0" * _DIGITS)
        digest.update(after)
    return digest.hexdigest().encode() == told
