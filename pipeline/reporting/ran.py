"""What ran, from the receipts: stages, statuses, library versions, facts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.receipts import Receipt, Totals, totals
from schemas.status import ImageStatus

_LONGEST_FACT = 300  # characters; whole lists belong into the receipt, not on the page


def stage_totals(inputs: Mapping[str, Sequence[Receipt]]) -> dict[str, Totals]:
    """What the receipts of each stage that has any add up to."""
    return {stage: totals(receipts) for stage, receipts in inputs.items() if receipts}


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
    """The facts of the tasks that belong to no shard, but for times: equal runs have equal pages."""
    return [
        Fact(stage, name, _shown(value))
        for stage, receipts in inputs.items()
        for receipt in receipts
        if receipt.shard is None
        for name, value in sorted(receipt.facts.items())
        if not name.startswith("seconds_")
    ]


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= _LONGEST_FACT else text[:_LONGEST_FACT] + " …"
