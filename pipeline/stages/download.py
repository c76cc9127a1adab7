"""Fetches the images of a shard and says what became of each: stage `download`.

An image that fails is a row with a status; a shard in which all failed is a shard like any other, and the run decides
what to make of it. Images on a local disk are read and checked, not copied. Pixels are not decoded here.
"""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine.task import Output, Task
from pipeline.files.tables import read_table, write_table
from pipeline.images.children import inspecting_children
from pipeline.images.header import Header, inspect
from pipeline.images.local import read_local
from pipeline.images.problem import ImageProblem
from pipeline.net.image_shard import ImageShard, open_shard
from schemas.config import DownloadConfig
from schemas.errors import PipelineError
from schemas.receipts import FileReceipt
from schemas.status import ImageStatus
from schemas.tables import DOWNLOADS

if TYPE_CHECKING:
    from pipeline.net.client import Client

VERSION = 2

IMAGES = "images"  # where the bytes lie, below the data set's folder

_ROWS_READ = 64  # of a shard that stands, at once
_FILE_THREADS = 4  # for disks and hashing; sha256 leaves Python's lock free
_CHECKED_AT_ONCE_BYTES = 2**20  # 0.6 ms of hashing; handing so little to a thread costs more than doing it
_ABSOLUTE = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL, _HTTP, _TAR = "local", "http", "tar"

Row = Mapping[str, Any]
Inspect = Callable[[bytes, int], Header]


@dataclass(frozen=True)
class Settings:
    """What `run` needs.

    Attributes:
        workers: that fetch at the same time; they share `download.host_requests`.
    """

    download: DownloadConfig
    workers: int = 1


@dataclass(frozen=True)
class _Outcome:
    """One row of the downloads shard, less its image id. Names and order are the table's."""

    status: ImageStatus
    error: str | None = None
    source: str | None = None
    size_bytes: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None


def run(task: Task) -> list[Output]:
    """Fetch and check every image of the task's index shard.

    Raises:
        PipelineError: the base address of a source is not known.
        InterruptedRunError: asked to stop; nothing of the shard stays.
        TimeBudgetError: the time budget is used up; nothing of the shard stays.
    """
    rows = read_table(task.storage, task.inputs["index"][0].files[0].path).to_pylist()
    _require_bases(task, rows)
    images_path, downloads_path = (f"{folder}/{task.shard_name}.parquet" for folder in (IMAGES, task.folder))
    known = _standing(task, rows)
    from pipeline.net import loop

    with (
        ThreadPoolExecutor(_FILE_THREADS) as threads,
        inspecting_children(_FILE_THREADS) if task.careful else nullcontext(inspect) as look,
        open_shard(task.storage, images_path, [row["image_id"] for row in rows], threads) as images,
    ):
        outcomes = loop.run(_fetch_shard(task, rows, known, images, look), task.deadline)
        facts = {"bytes": images.spool.size_bytes} | ({"careful": True} if task.careful else {})
    _write_downloads(task, downloads_path, rows, outcomes)
    counts = dict(sorted(Counter(str(outcome.status) for outcome in outcomes).items()))
    files = (downloads_path, images_path)
    return [Output(files, len(rows), counts=counts, content=_content(rows, outcomes), facts=facts)]


def _standing(task: Task, rows: Sequence[Row]) -> dict[int, _Outcome]:
    """Outcomes of rows that need not be fetched again, by position.

    Files that are gone, dropped or not what their receipt says are no help: then all is fetched again.
    """
    standing = task.standing
    if standing is None or any(not _as_receipted(task, file) for file in standing.files):
        return {}
    outcomes = read_table(task.storage, standing.files[0].path).to_pylist()
    return {
        position: _Outcome(ImageStatus(one.pop("status")), **{name: one[name] for name in one if name != "image_id"})
        for position, (row, one) in enumerate(zip(rows, outcomes, strict=True))
        if one["image_id"] == row["image_id"] and one["status"] not in task.redo
    }


def _standing_images(task: Task, known: Mapping[int, _Outcome]) -> Iterator[tuple[int, bytes]]:
    """Positions of the known rows and their bytes, from the shard that stands."""
    if not known:
        return
    assert task.standing is not None
    with pq.ParquetFile(task.storage.local(task.standing.files[1].path)) as file:
        batches = file.iter_batches(_ROWS_READ, columns=["data"])
        data = (one for batch in batches for one in batch["data"].to_pylist())
        yield from ((position, one or b"") for position, one in enumerate(data) if position in known)


def _as_receipted(task: Task, file: FileReceipt) -> bool:
    return task.storage.exists(file.path) and task.storage.sha256(file.path) == file.sha256


def _require_bases(task: Task, rows: Sequence[Row]) -> None:
    places = (place for row in rows if not row["removed"] for place in row["locations"] or ())
    relative = {one["source"] for one in places if one["source"] != _LOCAL and not _whole(one)}
    if unknown := sorted(relative - set(task.bases)):
        raise PipelineError(
            f"download: images of {task.shard_name} lie at {unknown[0]!r}, whose address is not known (known: "
            f"{', '.join(sorted(task.bases)) or 'none'}). Run it with the --dataset "
            "that the index belongs to, or index again: biam-pipe index"
        )


async def _fetch_shard(
    task: Task, rows: Sequence[Row], known: Mapping[int, _Outcome], images: ImageShard, look: Inspect
) -> list[_Outcome]:
    """One outcome a row, in order; the bytes of fetched images go to the shard."""
    from pipeline.net.client import shared_client

    config: DownloadConfig = task.settings.download
    outcomes = [known.get(position, _Outcome(ImageStatus.REMOVED)) for position in range(len(rows))]
    numbered = iter([(position, row) for position, row in enumerate(rows) if position not in known])

    async def fetch_on() -> None:
        for position, row in numbered:  # shared: each of the runners takes the next row that nobody has
            async with client.slots:
                outcomes[position], data = await fetcher.image(row)
            await images.put(position, data)

    for position, data in _standing_images(task, known):
        await images.put(position, data)
    client = shared_client(config, max(1, config.host_requests // task.settings.workers))
    fetcher = _Fetcher(config, task.bases, client, images.threads, look)
    await _all(fetch_on() for _ in range(min(config.requests, len(rows))))
    return outcomes


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Wait for all; an exception of one (a full disk) ends the others, and comes out as it is."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class _Fetcher:
    """Gets one image from the first of its locations that has it.

    Attributes:
        look: at the header of an image.
    """

    config: DownloadConfig
    bases: Mapping[str, str]
    client: "Client"
    threads: Executor
    look: Inspect

    async def image(self, row: Row) -> tuple[_Outcome, bytes]:
        """The outcome of a row, and its bytes where they have to be kept.

        The deadline is shared out among the locations that are left, so that a dead first one leaves time for the next.
        """
        if row["removed"]:
            return _Outcome(ImageStatus.REMOVED), b""
        locations = row["locations"] or ()
        outcome = _Outcome(ImageStatus.BAD_ADDRESS, "the index names no location")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.timeout_s
        for tried, location in enumerate(locations):
            budget_s = (deadline - loop.time()) / (len(locations) - tried)
            outcome, data = await self._location(location, budget_s)
            if outcome.status is ImageStatus.OK:
                return outcome, data
        if len(locations) > 1:
            outcome = replace(outcome, error=f"{outcome.error} (last of {len(locations)} locations)")
        return outcome, b""

    async def _location(self, location: Row, budget_s: float) -> tuple[_Outcome, bytes]:
        source, address = location["source"], location["address"] or ""
        loop = asyncio.get_running_loop()
        if source == _LOCAL:
            return await loop.run_in_executor(self.threads, _check_file, address, self.config, self.look), b""
        if not _whole(location):
            address = f"{self.bases[source].rstrip('/')}/{address.lstrip('/')}"
        ask = self.client.member if source == _TAR else self.client.fetch
        answer = await ask(address, budget_s)
        if answer.status is not ImageStatus.OK:
            return _Outcome(answer.status, answer.error, source), b""
        if (mismatch := _mismatch(answer.data, location)) is not None:
            return _Outcome(ImageStatus.HASH_MISMATCH, mismatch, source, len(answer.data)), b""
        known = answer.data, source, self.config, self.look
        if len(answer.data) <= _CHECKED_AT_ONCE_BYTES and self.look is inspect:
            return _check(*known), answer.data
        return await loop.run_in_executor(self.threads, _check, *known), answer.data


def _whole(location: Row) -> bool:
    """Whether the address is used as it is, and not below the base address of its source."""
    return location["source"] == _HTTP or _ABSOLUTE.match(location["address"] or "") is not None


def _mismatch(data: bytes, location: Row) -> str | None:
    """How the bytes differ from what the data set promises of a location; None where they do not."""
    if location["size_bytes"] is not None and len(data) != location["size_bytes"]:
        return f"{len(data)} bytes, expected {location['size_bytes']} as the data set says"
    if location["md5"] is None or hashlib.md5(data, usedforsecurity=False).hexdigest() == location["md5"]:
        return None
    return "another MD5 than the data set says"


def _check_file(path: str, config: DownloadConfig, look: Inspect) -> _Outcome:
    """The outcome of an image on a local disk."""
    try:
        data = read_local(path, config.max_bytes)
    except ImageProblem as problem:
        return _Outcome(problem.status, str(problem), _LOCAL)
    return _check(data, _LOCAL, config, look)


def _check(data: bytes, source: str, config: DownloadConfig, look: Inspect) -> _Outcome:
    """The outcome of an image whose bytes are there: what its header says, and its hash."""
    known = _Outcome(ImageStatus.OK, None, source, len(data), sha256=hashlib.sha256(data).hexdigest())
    try:
        header = look(data, config.max_pixels)
    except ImageProblem as problem:
        return replace(known, status=problem.status, error=str(problem))
    return replace(known, width=header.width, height=header.height)


def _write_downloads(task: Task, path: str, rows: Sequence[Row], outcomes: Sequence[_Outcome]) -> None:
    columns: dict[str, list[Any]] = {"image_id": [row["image_id"] for row in rows]}
    columns |= {one.name: [getattr(outcome, one.name) for outcome in outcomes] for one in fields(_Outcome)}
    write_table(task.storage, path, pa.table(columns, schema=DOWNLOADS))


def _content(rows: Sequence[Row], outcomes: Sequence[_Outcome]) -> str:
    """Hash of what later stages depend on: not where an image came from, nor the words of an error."""
    digest = hashlib.sha256()
    for row, outcome in zip(rows, outcomes, strict=True):
        digest.update(f"{row['image_id']}\t{outcome.status}\t{outcome.sha256 or ''}\n".encode())
    return digest.hexdigest()
