"""Fetches the images of a shard and says what became of each: stage `download`.

An image that fails is a row with a status; a shard in which all failed is a shard like any other, and the run decides
what to make of it. Images on a local disk are read and checked, not copied. Pixels are not decoded here.
"""

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from pipeline.datasets import DATASETS
from pipeline.engine.sources import Sources
from pipeline.engine.task import Estimate, Output, Stage, Task
from pipeline.files.inputs import shard_name
from pipeline.files.tables import write_table
from pipeline.images.children import inspecting_children
from pipeline.images.header import Header, inspect
from pipeline.images.local import read_local, vanished
from pipeline.images.problem import ImageProblem
from pipeline.images.rows import download_outputs
from pipeline.machine.loopback import loopback_of
from pipeline.net.answer import is_placeholder
from pipeline.net.image_shard import ImageShard, open_shard
from schemas.command import AGAIN, Command
from schemas.config import Config, DownloadConfig
from schemas.errors import IntegrityError, PipelineError
from schemas.receipts import BOUND
from schemas.section import recipe
from schemas.status import PASSING, ImageStatus
from schemas.tables import DOWNLOADS, LOCAL_SOURCE

if TYPE_CHECKING:
    from pipeline.net.client import Client

VERSION = 2

HASHES = "hashes"  # part of a shard's content, for a stage that does not ask which images failed, or how
PLACEHOLDERS = "placeholder_md5"  # the fact of a receipt that says by which hashes its rows were judged
_ROW_BYTES = 200  # of a row of the downloads table, and of an image shard without images
_ROWS_READ = 64  # of a shard that stands, at once
_FILE_THREADS = 4  # for disks and hashing; sha256 leaves Python's lock free
_CHECKED_AT_ONCE_BYTES = 2**20  # 0.6 ms of hashing; handing so little to a thread costs more than doing it
_ABSOLUTE = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
_HTTP, TAR = "http", "tar"

Row = Mapping[str, Any]
Inspect = Callable[[bytes, int], Header]


@dataclass(frozen=True)
class Settings:
    """What `run` needs."""

    download: DownloadConfig


@dataclass(frozen=True)
class Outcome:
    """One row of the downloads shard, less its image id. Names and order are the table's."""

    status: ImageStatus
    error: str | None = None
    source: str | None = None
    size_bytes: int | None = None
    width: int | None = None
    height: int | None = None
    sha256: str | None = None


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings."""
    del sources  # nothing from outside shapes it but what the index lists
    return Stage(
        name="download",
        version=VERSION,
        recipe=recipe("download", config.download),
        settings=Settings(settled(config)),
        run=run,
        upstream={"index": "shard"},
        reads={"index": "files"},
        outputs=download_outputs(),
        place="io",
        folder="downloads",
        service=partial(DATASETS.load(config.dataset.name).base_addresses, config.dataset),
        estimate=partial(_estimate, config.images.keep),
    )


def _estimate(keep: bool, facts: Mapping[str, Any]) -> Estimate:
    """How large images are that have to be fetched, only a shard tells; those of this machine are not copied."""
    if facts.get("fetched") == 0 or not keep:
        return Estimate(row_bytes=_ROW_BYTES, at_most=True)
    return Estimate(savings=("images.keep=false",))


def settled(config: Config) -> DownloadConfig:
    """The section with opt-outs respected or not, as the data set says where the settings leave it to that."""
    if config.download.respect_opt_out != "auto":
        return config.download
    settled = "never" if config.dataset.published else "always"
    return config.download.model_copy(update={"respect_opt_out": settled})


def run(task: Task) -> list[Output]:
    """Fetch and check every image of the task's index shard.

    Raises:
        PipelineError: the base address of a source is not known.
        VanishedFileError: a file that the index has seen is gone.
        InterruptedRunError: asked to stop; nothing of the shard stays.
        TimeBudgetError: the time budget is used up; nothing of the shard stays.
    """
    rows = task.inputs.table("index", "index", task.shard).to_pylist()
    assert task.shard is not None, "images come by shards"
    require_bases(rows, task.bases, shard_name(task.shard))
    known = _standing(task, rows)
    if known and len(known) == len(rows):  # looked at again, and all is as it was: the files stay
        return [_output(task, rows, list(known.values()), task.inputs.receipt("download", task.shard).facts["bytes"])]
    from pipeline.net import loop

    with (
        ThreadPoolExecutor(_FILE_THREADS) as threads,
        inspecting_children(_FILE_THREADS) if task.isolated else nullcontext(inspect) as look,
        open_shard(task.storage, task.path("images"), [row["image_id"] for row in rows], threads) as images,
    ):
        spent: Counter[str] = Counter()
        outcomes = loop.run(_fetch_shard(task, rows, known, images, look, spent), task.deadline)
        size_bytes = images.spool.size_bytes
    _write_downloads(task, rows, outcomes)
    return [_output(task, rows, outcomes, size_bytes, spent)]


def _output(
    task: Task,
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    size_bytes: int,
    spent: Mapping[str, float] | None = None,
) -> Output:
    """What a shard came to.

    Args:
        spent: seconds of all that waited side by side, by what for.
    """
    counts = dict(sorted(Counter(str(outcome.status) for outcome in outcomes).items()))
    facts = {"bytes": size_bytes, PLACEHOLDERS: list(task.settings.download.placeholder_md5)}
    facts |= {"isolated": True} if task.isolated else {}
    if spent:
        side_by_side = max(1, min(task.settings.download.requests, len(rows)))
        facts[BOUND] = {name: round(seconds / side_by_side, 3) for name, seconds in sorted(spent.items())}
    content, parts = _content(rows, outcomes), {HASHES: _content(rows, outcomes, with_status=False)}
    return Output(("downloads", "images"), len(rows), counts=counts, content=content, parts=parts, facts=facts)


def _standing(task: Task, rows: Sequence[Row]) -> dict[int, Outcome]:
    """Outcomes of rows that need not be fetched again, by position.

    Files that are gone, dropped or not what their receipt says are no help: then all is fetched again. Pictures that
    say that they are unavailable are fetched again: when they were stored, nobody knew.
    """
    if not task.inputs.has("download", task.shard) or task.inputs.pruned("download", "images", task.shard):
        return {}
    try:
        outcomes = task.inputs.table("download", "downloads", task.shard).to_pylist()
        task.inputs.path("download", "images", task.shard)
    except IntegrityError:
        return {}
    known = {
        position: Outcome(ImageStatus(told.pop("status")), **{name: told[name] for name in told if name != "image_id"})
        for position, (row, told) in enumerate(zip(rows, outcomes, strict=True))
        if told["image_id"] == row["image_id"] and told["status"] not in task.redo
    }
    hashes = task.settings.download.placeholder_md5
    reopened = {position for position, data in _standing_images(task, known) if is_placeholder(data, hashes)}
    return {position: outcome for position, outcome in known.items() if position not in reopened}


def _standing_images(task: Task, known: Mapping[int, Outcome]) -> Iterator[tuple[int, bytes]]:
    """Positions of the known rows and their bytes, from the shard that stands."""
    if known:
        assert task.shard is not None, "images come by shards"
        batches = task.inputs.batches("download", "images", task.shard, _ROWS_READ)
        bodies = (body for batch in batches for body in batch["data"].to_pylist())
        yield from ((position, body or b"") for position, body in enumerate(bodies) if position in known)


def require_bases(rows: Iterable[Row], bases: Mapping[str, str], named: str) -> None:
    """See that the base address of every source is known.

    Args:
        named: what the rows are of, for the error text.

    Raises:
        PipelineError: one is not.
    """
    places = (place for row in rows if not row.get("removed") for place in row["locations"] or ())
    relative = {place["source"] for place in places if place["source"] != LOCAL_SOURCE and not _whole(place)}
    if unknown := sorted(relative - set(bases)):
        raise PipelineError(
            f"download: images of {named} lie at {unknown[0]!r}, whose address is not known (known: "
            f"{', '.join(sorted(bases)) or 'none'})",
            hint="Run it with the --dataset that the index belongs to, or index again:",
            run=Command("index"),
        )


async def _fetch_shard(
    task: Task,
    rows: Sequence[Row],
    known: Mapping[int, Outcome],
    images: ImageShard,
    look: Inspect,
    spent: Counter[str],
) -> list[Outcome]:
    """One outcome a row, in order; the bytes of fetched images go to the shard, and what was waited for to `spent`."""
    from pipeline.net.client import shared_client

    config: DownloadConfig = task.settings.download
    outcomes = [known.get(position, Outcome(ImageStatus.REMOVED)) for position in range(len(rows))]
    numbered = iter([(position, row) for position, row in enumerate(rows) if position not in known])

    async def fetch_on() -> None:
        for position, row in numbered:  # shared: each of the runners takes the next row that nobody has
            async with client.slots:
                outcomes[position], data = await fetcher.image(row)
            with _timed(spent, "disk"):
                await images.put(position, data)

    for position, data in _standing_images(task, known):
        await images.put(position, data)
    client = shared_client(config, max(1, config.host_requests // task.sharers))
    fetcher = Fetcher(config, task.bases, client, images.threads, look, spent)
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
class Fetcher:
    """Gets one image from the first of its locations that has it.

    Attributes:
        look: at the header of an image.
        spent: takes the seconds that were waited, by what for.
    """

    config: DownloadConfig
    bases: Mapping[str, str]
    client: "Client"
    threads: Executor
    look: Inspect
    spent: Counter[str] = field(default_factory=Counter)

    async def image(self, row: Row) -> tuple[Outcome, bytes]:
        """The outcome of a row, and its bytes where they have to be kept.

        The deadline is shared out among the locations that are left, so that a dead first one leaves time for the next.

        Raises:
            VanishedFileError: a file that the index has seen is gone.
            PipelineError: the server of this host is gone where it lies.
        """
        if row["removed"]:
            return Outcome(ImageStatus.REMOVED), b""
        locations = row["locations"] or ()
        outcome = Outcome(ImageStatus.BAD_ADDRESS, "the index names no location")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.timeout_s
        for tried, location in enumerate(locations):
            budget_s = (deadline - loop.time()) / (len(locations) - tried)
            outcome, data = await self.location(location, budget_s)
            if outcome.status is ImageStatus.MISSING_FILE and row["size_bytes"] is not None:
                raise vanished(location["address"])
            if outcome.status in PASSING:
                await self._require_own_server(location, outcome)
            if outcome.status is ImageStatus.OK:
                return outcome, data
        if len(locations) > 1:
            outcome = replace(outcome, error=f"{outcome.error} (last of {len(locations)} locations)")
        return outcome, b""

    async def _require_own_server(self, location: Row, outcome: Outcome) -> None:
        """See that the server of a location is there, where it is one of this host.

        A run whose process was killed takes its server with it, and pieces of its work may go on elsewhere. That is no
        outcome of an image: it would count as failed for good.

        Raises:
            PipelineError: nobody listens there.
        """
        base = None if _whole(location) else loopback_of([self.bases[location["source"]]])
        if base is None:
            return
        place = urlsplit(base)
        try:
            _, opened = await asyncio.open_connection(place.hostname, place.port or 80)
        except ConnectionRefusedError as error:
            raise PipelineError(
                f"the server at {base}, where these images lie, is gone ({outcome.error})",
                hint="It ends with the run that started it. Run the same command again:",
                run=AGAIN,
            ) from error
        except OSError:  # this process cannot ask, such as without a free file handle
            return
        opened.close()

    async def location(self, location: Row, budget_s: float) -> tuple[Outcome, bytes]:
        """What one location comes to."""
        source = location["source"]
        loop = asyncio.get_running_loop()
        if source == LOCAL_SOURCE:
            path = location["address"] or ""
            with _timed(self.spent, "disk"):
                return await loop.run_in_executor(self.threads, _check_file, path, self.config, self.look), b""
        ask = self.client.member if source == TAR else self.client.fetch
        with _timed(self.spent, "network"):
            answer = await ask(full_address(location, self.bases), budget_s)
        if answer.status is not ImageStatus.OK:
            return Outcome(answer.status, answer.error, source), b""
        if (mismatch := _mismatch(answer.data, location)) is not None:
            return Outcome(ImageStatus.HASH_MISMATCH, mismatch, source, len(answer.data)), b""
        known = answer.data, source, self.config, self.look
        if len(answer.data) <= _CHECKED_AT_ONCE_BYTES and self.look is inspect:
            return _check(*known), answer.data
        return await loop.run_in_executor(self.threads, _check, *known), answer.data


@contextmanager
def _timed(spent: Counter[str], name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        spent[name] += time.perf_counter() - started  # type: ignore[assignment]  # seconds


def full_address(location: Row, bases: Mapping[str, str]) -> str:
    """Where a location on the web lies: as it says, or below the base address of its source."""
    address: str = (location["address"] or "").strip()
    return address if _whole(location) else f"{bases[location['source']].rstrip('/')}/{address.lstrip('/')}"


def _whole(location: Row) -> bool:
    """Whether the address is used as it is, and not below the base address of its source."""
    return location["source"] == _HTTP or _ABSOLUTE.match((location["address"] or "").lstrip()) is not None


def _mismatch(data: bytes, location: Row) -> str | None:
    """How the bytes differ from what the data set promises of a location; None where they do not."""
    if location["size_bytes"] is not None and len(data) != location["size_bytes"]:
        return f"{len(data)} bytes, expected {location['size_bytes']} as the data set says"
    if location["md5"] is None or hashlib.md5(data, usedforsecurity=False).hexdigest() == location["md5"]:
        return None
    return "another MD5 than the data set says"


def _check_file(path: str, config: DownloadConfig, look: Inspect) -> Outcome:
    """The outcome of an image on a local disk."""
    try:
        data = read_local(path, config.max_bytes)
    except ImageProblem as problem:
        return Outcome(problem.status, str(problem), LOCAL_SOURCE)
    return _check(data, LOCAL_SOURCE, config, look)


def _check(data: bytes, source: str, config: DownloadConfig, look: Inspect) -> Outcome:
    """The outcome of an image whose bytes are there: what its header says, and its hash."""
    known = Outcome(ImageStatus.OK, None, source, len(data), sha256=hashlib.sha256(data).hexdigest())
    try:
        header = look(data, config.max_pixels)
    except ImageProblem as problem:
        return replace(known, status=problem.status, error=str(problem))
    return replace(known, width=header.width, height=header.height)


def _write_downloads(task: Task, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
    columns: dict[str, list[Any]] = {"image_id": [row["image_id"] for row in rows]}
    columns |= {column.name: [getattr(outcome, column.name) for outcome in outcomes] for column in fields(Outcome)}
    write_table(task.storage, task.path("downloads"), pa.table(columns, schema=DOWNLOADS))


def _content(rows: Sequence[Row], outcomes: Sequence[Outcome], *, with_status: bool = True) -> str:
    """Hash of what later stages depend on: not where an image came from, nor the words of an error."""
    digest = hashlib.sha256()
    for row, outcome in zip(rows, outcomes, strict=True):
        status = outcome.status if with_status else ""
        digest.update(f"{row['image_id']}\t{status}\t{outcome.sha256 or ''}\n".encode())
    return digest.hexdigest()
