"""Fetched bytes between their arrival, in any order, and their place in a shard, in row order."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile


@contextmanager
def open_spool(folder: Path, num_rows: int, limits: "Limits") -> Iterator["Spool"]:
    """A spool whose file has no name: a kill leaves nothing.

    Beside the shard, and not in the system's temporary folder, which is memory on many machines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as file:
        yield Spool(num_rows, limits, file.fileno())


@dataclass(frozen=True)
class Limits:
    """How a spool cuts rows into groups, and what it holds.

    Attributes:
        group_rows: a group ends at so many rows,
        group_bytes: or with the row that brings it to so many bytes.
        held_bytes: kept in memory; what exceeds it goes to the file.
    """

    group_rows: int
    group_bytes: int
    held_bytes: int


@dataclass
class Spool:
    """Bytes by row: in memory, and in a file while a slow row holds back what comes after it.

    Attributes:
        size_bytes: of all rows put so far.
    """

    num_rows: int
    limits: Limits
    _file: int
    size_bytes: int = 0
    _held_bytes: int = 0
    _file_bytes: int = 0
    _held: dict[int, bytes] = field(default_factory=dict)
    _places: dict[int, tuple[int, int]] = field(default_factory=dict)  # offset and size in the file
    _sizes: dict[int, int] = field(default_factory=dict)  # of rows not in a group yet
    _start: int = 0
    _next: int = 0
    _group_bytes: int = 0

    def put(self, row: int, data: bytes) -> None:
        """Keep the bytes of a row; none for a row without image."""
        self._sizes[row] = len(data)
        self.size_bytes += len(data)
        if not data:
            return
        if self._held_bytes + len(data) <= self.limits.held_bytes:
            self._held[row] = data
            self._held_bytes += len(data)
        else:
            self._places[row] = self._file_bytes, len(data)
            self._write(data)

    def take(self, row: int) -> bytes | None:
        """The bytes of a row, once; None where it has none."""
        if (data := self._held.pop(row, None)) is not None:
            self._held_bytes -= len(data)
            return data
        if (place := self._places.pop(row, None)) is None:
            return None
        offset, size_bytes = place
        if not self._places:  # nothing in the file is wanted any more: begin it anew
            data = os.pread(self._file, size_bytes, offset)
            os.ftruncate(self._file, 0)
            self._file_bytes = 0
            return data
        return os.pread(self._file, size_bytes, offset)

    def complete(self) -> Iterator[range]:
        """Groups of consecutive rows that are all there by now; each group once, the same whatever came first."""
        while self._next in self._sizes:
            self._group_bytes += self._sizes.pop(self._next)
            self._next += 1
            full = self._next - self._start == self.limits.group_rows or self._group_bytes >= self.limits.group_bytes
            if full or self._next == self.num_rows:
                group = range(self._start, self._next)
                self._start, self._group_bytes = self._next, 0
                yield group

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = os.pwrite(self._file, left, self._file_bytes)
            self._file_bytes += written
            left = left[written:]
