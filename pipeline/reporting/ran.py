"""What ran, from the receipts: stages, counts by status, library versions, facts."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.receipts import Receipt
from schemas.status import ImageStatus

_LONGEST_FACT = 300  # characters; whole lists belong into the receipt, not on the page


@dataclass(frozen=True)
class StageRow:
    """One stage in figures. Seconds are summed over its pieces of work, which may have run side by side."""

    name: str
    shards: int
    rows: int
    size_bytes: int
    seconds: float
    pruned: int


def stage_rows(inputs: Mapping[str, Sequence[Receipt]]) -> list[StageRow]:
    """One row for each stage that has a receipt."""
    return [_stage_row(name, receipts) for name, receipts in inputs.items() if receipts]


def _stage_row(name: str, receipts: Sequence[Receipt]) -> StageRow:
    shards = [receipt for receipt in receipts if receipt.shard is not None]
    return StageRow(
        name=name,
        shards=len(shards),
        rows=sum(receipt.rows for receipt in shards or receipts),
        size_bytes=sum(receipt.size_bytes for receipt in receipts),
        seconds=sum(receipt.seconds for receipt in receipts),
        pruned=sum(receipt.pruned for receipt in receipts),
    )


@dataclass(frozen=True)
class StatusRow:
    """How many images have a status after fetching and after the backbone."""

    status: str
    counts: tuple[int, ...]


def status_rows(stages: Sequence[Mapping[str, int]]) -> list[StatusRow]:
    """Every status that any of the stages counted, in the order of the closed list."""
    order = {str(status): position for position, status in enumerate(ImageStatus)}
    names = {name for counts in stages for name in counts}
    return [
        StatusRow(name, tuple(counts.get(name, 0) for counts in stages))
        for name in sorted(names, key=lambda name: (order.get(name, len(order)), name))
    ]


def counts(receipts: Sequence[Receipt]) -> Counter[str]:
    """Rows by status over all receipts of a stage."""
    total: Counter[str] = Counter()
    for receipt in receipts:
        total.update(receipt.counts)
    return total


@dataclass(frozen=True)
class Library:
    """A library and its version; where stages differ, one version for each with the stages in brackets."""

    name: str
    version: str


def libraries(inputs: Mapping[str, Sequence[Receipt]]) -> list[Library]:
    """The libraries that the receipts name, by name."""
    used: dict[str, dict[str, dict[str, None]]] = {}
    for stage, receipts in inputs.items():
        for receipt in receipts:
            for library, version in receipt.versions.items():
                used.setdefault(library, {}).setdefault(version, {})[stage] = None
    return [Library(library, _versions(versions)) for library, versions in sorted(used.items())]


def _versions(versions: Mapping[str, Mapping[str, None]]) -> str:
    if len(versions) == 1:
        return next(iter(versions))
    return ", ".join(f"{version} ({', '.join(stages)})" for version, stages in sorted(versions.items()))


@dataclass(frozen=True)
class Fact:
    """A small figure that a stage wrote into its receipt."""

    stage: str
    name: str
    value: str


def facts(inputs: Mapping[str, Sequence[Receipt]]) -> list[Fact]:
    """The facts of the pieces that belong to no shard."""
    return [
        Fact(stage, name, _shown(value))
        for stage, receipts in inputs.items()
        for receipt in receipts
        if receipt.shard is None
        for name, value in sorted(receipt.facts.items())
    ]


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= _LONGEST_FACT else text[:_LONGEST_FACT] + " …"
