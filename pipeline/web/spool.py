"""Fetched bytes between their arrival, in any order, and their place in a shard, in row order."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO


@contextmanager
def open_spool(folder: Path) -> Iterator["Spool"]:
    """A spool in a nameless file in that folder: a kill leaves nothing.

    Beside the shard, and not in the system's temporary folder, which is memory on many machines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as file:
        yield Spool(file)


@dataclass
class Spool:
    """Bytes by row, in a file: a shard of large images need not fit into memory.

    Attributes:
        size_bytes: of all rows.
    """

    file: IO[bytes]
    size_bytes: int = 0
    _places: dict[int, tuple[int, int]] = field(default_factory=dict)

    def put(self, row: int, data: bytes) -> None:
        """Keep the bytes of a row."""
        self.file.seek(self.size_bytes)
        self.file.write(data)
        self._places[row] = (self.size_bytes, len(data))
        self.size_bytes += len(data)

    def take(self, row: int) -> bytes | None:
        """The bytes of a row, None where none were put."""
        if row not in self._places:
            return None
        offset, size_bytes = self._places[row]
        self.file.seek(offset)
        return self.file.read(size_bytes)

    def groups(self, num_rows: int, most_rows: int, enough_bytes: int) -> Iterator[range]:
        """All rows in consecutive groups; one ends at so many rows, or with the row that brings it to so many bytes."""
        start = size_bytes = 0
        for row in range(num_rows):
            size_bytes += self._places.get(row, (0, 0))[1]
            if row + 1 - start == most_rows or size_bytes >= enough_bytes:
                yield range(start, row + 1)
                start, size_bytes = row + 1, 0
        if start < num_rows:
            yield range(start, num_rows)
