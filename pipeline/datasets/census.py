"""How many images bear each label: what can be learnt of it, and what a figure over it is worth."""

from collections.abc import Iterable, Iterator, Mapping
from statistics import median_low
from typing import Any

from pipeline.datasets.label import Label

FEW = 5  # images of a label: with fewer, hardly one is left to test on
_RAREST = 5

Census = dict[str, dict[str, Any]]


def census(labels: Iterable[Label], images: Mapping[str, int]) -> Census:
    """Images a label, by the role of labels, as JSON values.

    Args:
        images: that bear a label, by its id; none where it is not there.

    Returns:
        For `seen` and `unseen`, where there are such labels: how many (`labels`), the `least`, `median` and `most`
        images of one; how many labels are `on_none` and how many `on_few` (fewer than 5, and one at least); and the
        `rarest` of both, with their images, by name.
    """
    counts: dict[str, dict[str, int]] = {}
    for label in labels:
        counts.setdefault(str(label.role), {})[label.name] = images.get(label.label_id, 0)
    return {role: _summed(by_name) for role, by_name in counts.items()}


def sentences(found: Census, *, rare_only: bool = False) -> Iterator[str]:
    """What is said of a census, a line for each role.

    Args:
        rare_only: only of a role with labels that are on no image, or on few.
    """
    for role, told in found.items():
        kinds = {"on_none": "on no image", "on_few": f"on fewer than {FEW}"}
        rare = " and ".join(f"{told[kind]:,} {text}" for kind, text in kinds.items() if told[kind])
        if rare:
            named = ", ".join(f"{name!r} ({count})" for name, count in told["rarest"].items())
            more = ", ..." if told["on_none"] + told["on_few"] > len(told["rarest"]) else ""
            rare = f"; {rare}: {named}{more}"
        if rare or not rare_only:
            spread = f"{told['least']:,} to {told['most']:,} images each, median {told['median']:,}"
            yield f"{told['labels']:,} {role} labels on {spread}{rare}"


def _summed(by_name: Mapping[str, int]) -> dict[str, Any]:
    counts = list(by_name.values())
    few = sorted((count, name) for name, count in by_name.items() if count < FEW)
    return {
        "labels": len(counts),
        "least": min(counts),
        "median": median_low(counts),
        "most": max(counts),
        "on_none": counts.count(0),
        "on_few": len(few) - counts.count(0),
        "rarest": {name: count for count, name in few[:_RAREST]},
    }
