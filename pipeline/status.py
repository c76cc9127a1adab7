"""What is in a work folder, from receipts alone: while a run is going on, after it, or after it died."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from pipeline.core.graph import Graph
from schemas.receipts import Receipt


@dataclass(frozen=True)
class StageStatus:
    """What one stage has committed so far, up to date or not.

    Attributes:
        shards: receipts of shards found; for a stage without shards, of the one piece.
        rows: rows in them, failures included.
        size_bytes: of the files they name.
        counts: rows by status.
        seconds: of work, added up over all pieces.
    """

    name: str
    shards: int
    rows: int
    size_bytes: int
    counts: dict[str, int]
    seconds: float


def status(graph: Graph) -> list[StageStatus]:
    """One line for each stage, in order."""
    return [line(node.name, node.kept.values()) for node in graph.values()]


def line(name: str, receipts: Collection[Receipt]) -> StageStatus:
    """What these receipts of a stage add up to."""
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.counts)
    shards = [receipt for receipt in receipts if receipt.shard is not None] or receipts
    return StageStatus(
        name=name,
        shards=len(shards),
        rows=sum(receipt.rows for receipt in shards),
        size_bytes=sum(file.size_bytes for receipt in receipts for file in receipt.files),
        counts=dict(counts.most_common()),
        seconds=round(sum(receipt.seconds for receipt in receipts), 1),
    )
