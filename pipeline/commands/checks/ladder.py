"""Some images, each sought at every one of its locations: which sources give how many of them."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commands.checks.addresses import looked_at, network_remedy
from pipeline.commands.checks.finding import Finding, Verdict, together
from pipeline.datasets import DATASETS
from pipeline.files.storage import Storage
from pipeline.images.header import inspect
from pipeline.net.fetch import fetch_settings
from pipeline.net.look import OutsideFile
from pipeline.stages import index
from pipeline.stages.download import TAR, Fetcher, Outcome, full_address, require_bases
from schemas.config import Config
from schemas.readable import printable
from schemas.status import ImageStatus
from schemas.tables import FEATURES_SOURCE, RECORDS

_IMAGES = 10
_LOCATION_S = 10.0
_ALL_S = 30.0
_GZIP = b"\x1f\x8b"

Location = Mapping[str, Any]


def ladder(config: Config, storage: Storage, bases: Mapping[str, str]) -> Iterator[Finding]:
    """A finding for each source, and one for the images.

    Args:
        bases: as the download has them.

    Raises:
        PipelineError: the index is damaged, or the data set cannot name an image.
    """
    rows = _rows(config, storage)
    if rows is None:
        told = "not known: there is no index yet, and the data set names no image without one"
        yield Finding("images", Verdict.WARNING, told, "Run biam-pipe index with these options, then this once more")
        return
    locations = [location for row in rows for location in row["locations"] or ()]
    if rows and all(location["source"] == FEATURES_SOURCE for location in locations):
        yield Finding("images", Verdict.OK, "none is fetched: features are given")
        return
    require_bases(rows, bases, "the first rows")
    yield from _archives(locations, bases)
    yield from _images(rows, bases, config.extract.max_failed_fraction)


def _rows(config: Config, storage: Storage) -> list[dict[str, Any]] | None:
    """Images of the first shard of the index, else the first ones of the data set; None where nobody names any."""
    left = index.left(storage, "check")
    shards = [receipt.shard for receipt in left.receipts("index") if receipt.shard is not None]
    if shards:
        table: pa.Table = left.table("index", "index", shards[0])
        table = table.filter(pc.invert(table["removed"]))
        return table.take(np.unique(np.linspace(0, len(table) - 1, _IMAGES).astype(int))).to_pylist()
    dataset = DATASETS.load(config.dataset.name)
    if not hasattr(dataset, "first_images"):
        return None
    first = dataset.first_images(config.dataset, _IMAGES)
    if not (isinstance(first, pa.Table) and first.schema.equals(RECORDS)):
        raise DATASETS.refusal(config.dataset.name, "first_images gives no table of columns as in RECORDS")
    return first.to_pylist()


def _archives(locations: Sequence[Location], bases: Mapping[str, str]) -> Iterator[Finding]:
    """The archives of these images: to get at an image in one it has to be read from its start."""
    addresses = (full_address(location, bases) for location in locations if location["source"] == TAR)
    places = {address.partition("#")[0] for address in addresses}
    files = [OutsideFile("dataset.sources", place, begins=(_GZIP,)) for place in sorted(places)]
    looks = {file.address: partial(looked_at, file, []) for file in files}
    for finding in together(looks, fetch_settings(), _ALL_S):
        told = Finding(f"images: {TAR}", finding.outcome, finding.found)
        if finding.outcome is not Verdict.OK:  # other sources may have them
            told = replace(told, outcome=Verdict.WARNING, remedy=f"Leave {TAR} out of dataset.sources")
        yield told


def _images(rows: Sequence[Mapping[str, Any]], bases: Mapping[str, str], allowed: float) -> Iterator[Finding]:
    from pipeline.net import loop

    with ThreadPoolExecutor(_IMAGES) as threads:
        tried = loop.run(_all_tried(rows, bases, threads), None)
    sources: dict[str, list[tuple[Location, Outcome]]] = {}
    for pair in (pair for row in tried for pair in row):
        sources.setdefault(pair[0]["source"], []).append(pair)
    for source, pairs in sources.items():
        yield _source(source, pairs)
    had = sum(any(outcome.status is ImageStatus.OK for _, outcome in row) for row in tried)
    sought = sum(bool(row) for row in tried)
    told, remedy = f"{had} of {sought} can be had from some source", "See to the sources; the lines before say why"
    if sought and not had:
        yield Finding("images", Verdict.FAULT, told, remedy)
    elif sought - had > allowed * sought:
        remedy = "More than extract.max_failed_fraction: a run would end with exit code 3"
        yield Finding("images", Verdict.WARNING, told, remedy)
    elif sought:
        yield Finding("images", Verdict.OK, told)


def _source(source: str, pairs: Sequence[tuple[Location, Outcome]]) -> Finding:
    """What one source gives; that an image is gone there is usual, that all are is not."""
    name = f"images: {source}"
    counts = Counter(str(outcome.status) for _, outcome in pairs)
    told = ", ".join(f"{status} {count}" for status, count in counts.most_common())
    if counts[ImageStatus.OK]:
        return Finding(name, Verdict.OK, told)
    location, outcome = pairs[0]
    remedy = network_remedy(outcome.status) or "Look at the address: has it moved, or is the setting wrong?"
    told = f"{told}: {outcome.error}, such as {printable(location['address'] or '')!r}"
    return Finding(name, Verdict.WARNING, told, remedy)


async def _all_tried(
    rows: Sequence[Mapping[str, Any]], bases: Mapping[str, str], threads: Executor
) -> list[list[tuple[Location, Outcome]]]:
    """What each location of each image comes to, but for archives."""
    from pipeline.net.client import Client

    config = fetch_settings()
    client = Client(config, config.host_requests)
    fetcher = Fetcher(config, bases, client, threads, inspect)

    async def tried(location: Location) -> tuple[Location, Outcome]:
        async with client.slots:
            return location, (await fetcher.location(location, _LOCATION_S))[0]

    async def image(row: Mapping[str, Any]) -> list[tuple[Location, Outcome]]:
        locations = [location for location in row["locations"] or () if location["source"] != TAR]
        return list(await asyncio.gather(*map(tried, locations)))

    return list(await asyncio.gather(*map(image, rows)))
