"""The receipt: proof that a shard is whole, what it was made from and what is in it. And what receipts add up to."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

NOTE = "note"  # the fact of a receipt that `plan`, `status`, a run and the report tell: what a user should know of it

# The fact that says in seconds what a task spent its time on, by name, such as network, decoding, backbone or disk:
# whatever has most held it up.
BOUND = "seconds_by"


class FileReceipt(BaseModel):
    """One committed file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str  # below the data set's folder
    size_bytes: int
    sha256: str
    pruned: bool = False  # dropped on purpose: the stage that reads it has done so


class Receipt(BaseModel):
    """Written after the files of a shard, never before. Stands beside the shard as `shard-00000.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # what another version adds is no damage

    stage: str
    shard: int | None  # None: the stage writes one thing, not shards
    fingerprint: str  # recipe + content of the inputs
    content: str  # what stages downstream depend on
    parts: dict[str, str] = {}  # the same for parts of it, for stages that read no more than one part
    files: tuple[FileReceipt, ...]
    rows: int
    counts: dict[str, int]  # rows by status
    facts: dict[str, Any]
    started_at: float  # unix time
    seconds: float
    versions: dict[str, str]
    lease: str | None = None  # id of the run that wrote it, as the lease of the work folder has it

    @property
    def pruned(self) -> bool:
        """Whether files of it were dropped on purpose."""
        return any(file.pruned for file in self.files)

    @property
    def note(self) -> str | None:
        """What a user should know of what it is the receipt of; None where there is nothing."""
        return self.facts.get(NOTE)

    @property
    def size_bytes(self) -> int:
        """Of the files that are there."""
        return sum(file.size_bytes for file in self.files if not file.pruned)


@dataclass(frozen=True)
class Totals:
    """What the receipts of a stage add up to.

    Attributes:
        shards: how many there are; 0 for a stage without shards.
        rows: of the shards, failures included; of a stage without shards, what it wrote.
        size_bytes: of all files that are there.
        seconds: of work, which may have run side by side.
        pruned: receipts with files that were dropped on purpose.
        counts: rows by status.
    """

    shards: int
    rows: int
    size_bytes: int
    seconds: float
    pruned: int
    counts: Counter[str]


def totals(receipts: Collection[Receipt]) -> Totals:
    """What the receipts of one stage add up to."""
    shards = [receipt for receipt in receipts if receipt.shard is not None]
    return Totals(
        shards=len(shards),
        rows=sum(receipt.rows for receipt in shards or receipts),
        size_bytes=sum(receipt.size_bytes for receipt in receipts),
        seconds=sum(receipt.seconds for receipt in receipts),
        pruned=sum(receipt.pruned for receipt in receipts),
        counts=status_counts(receipts),
    )


def under_way_s(receipts: Iterable[Receipt]) -> float:
    """Seconds in which at least one of the tasks behind these receipts was under way."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted((receipt.started_at, receipt.started_at + receipt.seconds) for receipt in receipts):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def status_counts(receipts: Iterable[Receipt]) -> Counter[str]:
    """Rows by status over receipts of one stage."""
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.counts)
    return counts
