"""Which images failed, why, and where they were sought: what status counts, row by row."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.engine.graph import Graph, inputs_of
from pipeline.files.inputs import Inputs
from schemas.receipts import Receipt
from schemas.status import FAULTS, ImageStatus

if TYPE_CHECKING:
    from pipeline.batches.shards import FeatureShards

_NAMED = 3


@dataclass(frozen=True)
class Failure:
    """An image that failed.

    Attributes:
        status: why, one of the closed list.
        error: the same in words; None where nothing more is known.
        address: where it was sought first, an address or a path; None where nobody says.
    """

    image_id: str
    status: str
    error: str | None
    address: str | None


def failures(graph: Graph, statuses: Collection[ImageStatus]) -> Iterator[Failure]:
    """The images with these statuses, in the order of the index, as far as stages have come; one shard is in memory.

    Raises:
        IntegrityError: a file of a shard that has some is damaged.
    """
    stages = [name for name in ("download", "extract") if name in graph]
    kept = {name: {**graph[name].kept, **graph[name].valid} for name in ("index", *stages)}
    if None not in kept.get("extract", {None: None}):  # features cannot be read before their spec is there
        stages.remove("extract")
    receipts = {name: kept[name].values() for name in ("index", *stages)}
    inputs = inputs_of(graph, "status", receipts)
    features = cache(partial(_features, inputs))
    wanted = {str(status) for status in statuses}
    for shard in sorted(shard for shard in kept["index"] if shard is not None):
        last = next((name for name in reversed(stages) if _has(kept[name].get(shard), wanted)), None)
        if last is not None:
            yield from _of_shard(inputs, shard, wanted, features() if last == "extract" else None)


def named(graph: Graph) -> str:
    """Three images that failed, by name, for a message that counts them."""
    some = failures(graph, FAULTS)
    return ", ".join(f"{failure.image_id} ({failure.status})" for failure in islice(some, _NAMED))


def _has(receipt: Receipt | None, wanted: Iterable[str]) -> bool:
    return receipt is not None and any(receipt.counts.get(status) for status in wanted)


def _features(inputs: Inputs) -> "FeatureShards":
    from pipeline.batches.shards import open_features

    return open_features(inputs)


def _of_shard(
    inputs: Inputs, shard: int, wanted: Collection[str], features: "FeatureShards | None"
) -> Iterator[Failure]:
    """Those of a shard, as its features say, or where these say nothing its downloads."""
    places = inputs.table("index", "index", shard, ["image_id", "locations"])
    if features is None:
        rows = inputs.table("download", "downloads", shard, ["status", "error"])
        statuses, errors = rows["status"].to_pylist(), rows["error"].to_pylist()
    else:
        stored = features.rows(features.numbers.index(shard))
        statuses, errors = stored.statuses, stored.errors
    for place, status, error in zip(places.to_pylist(), statuses, errors, strict=True):
        if status in wanted:
            first = next(iter(place["locations"] or ()), None)
            yield Failure(place["image_id"], status, error, first["address"] if first else None)
