"""The images shard: bytes as they came, in row order, written while they arrive in any order."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files.storage import Storage
from pipeline.net.spool import Limits, Spool, open_spool
from schemas.tables import IMAGES

# 32 images at the cap of 64 MiB would be a row group of 2 GiB, so bytes end one too.
_LIMITS = Limits(group_rows=32, group_bytes=32 * 2**20, held_bytes=8 * 2**20)

# JPEG does not compress again, and no two images are equal: both would only cost time. So would a checksum on each page
# (26 us an image): the downloads table holds the sha256 of each image, which is compared before it is decoded.
_OPTIONS = {"compression": "none", "use_dictionary": False, "write_statistics": False}


@contextmanager
def open_shard(storage: Storage, path: str, image_ids: Sequence[str], threads: Executor) -> Iterator["ImageShard"]:
    """A shard that is committed when the block ends, with a row for each image id.

    Args:
        threads: where row groups are written.
    """
    with (
        open_spool(storage.scratch(str(PurePosixPath(path).parent)), len(image_ids), _LIMITS) as spool,
        storage.commit(path) as temporary,
        pq.ParquetWriter(temporary, IMAGES, **_OPTIONS) as writer,
    ):
        yield ImageShard(image_ids, spool, writer, threads)


@dataclass(frozen=True)
class ImageShard:
    """Takes the bytes of each row once."""

    image_ids: Sequence[str]
    spool: Spool
    writer: pq.ParquetWriter
    threads: Executor
    _gate: asyncio.Lock = field(default_factory=asyncio.Lock)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def put(self, row: int, data: bytes) -> None:
        """Take the bytes of a row, none for a row without image.

        Whoever completes a row group waits until it lies, and while one is written and the next waits, all others wait
        too: without that the spool put three images in four on disk twice, where disks were slower than the network.

        Raises:
            OSError: the disk is full.
        """
        async with self._gate:
            self.spool.put(row, data)
            groups = list(self.spool.complete())
            if groups:
                await self._turn.acquire()
        if groups:
            try:
                for rows in groups:
                    group = [self.spool.take(one) for one in rows]
                    await asyncio.get_running_loop().run_in_executor(self.threads, self._write, rows, group)
            finally:
                self._turn.release()

    def _write(self, rows: range, group: list[bytes | None]) -> None:
        table = pa.table({"image_id": self.image_ids[rows.start : rows.stop], "data": group}, schema=IMAGES)
        self.writer.write_table(table, row_group_size=len(rows))
