"""A section of metrics.json: the figures' names as people read them, what else stands in it, and why a figure is 0."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

SectionName = Literal["zsl", "gzsl", "standard"]
CONTROLS = ("chance", "constant", "permuted")
NO_FIGURES = frozenset({"labels", "labels_left_out", "labels_without_positive", "headline", "standardised", *CONTROLS})

_NAMED = 3
_FIGURES = {
    "map": "mAP",
    "weighted_map": "Weighted mAP",
    "map_of_occurring": "mAP of occurring labels",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
}


def figure_name(key: str) -> str:
    """`F1@3` for `f1@3`; what is unknown keeps its name."""
    name, at, k = key.partition("@")
    return f"{_FIGURES.get(name, name)}{at}{k}"


def figure_order(key: str) -> tuple[int, int, str]:
    """Sorts whole rankings first, then the figures at each K, smallest K first."""
    name, _, k = key.partition("@")
    known = list(_FIGURES)
    return int(k) if k.isdigit() else 0, known.index(name) if name in known else len(known), key


def ks(section: Mapping[str, Any]) -> list[int]:
    """The K of F1@K in a section."""
    return [int(key.removeprefix("f1@")) for key in section if key.startswith("f1@")]


def remarks(name: str, section: Mapping[str, Any], without_vector: Sequence[str] = ()) -> Iterator[str]:
    """What makes figures of a section 0, null or trivial, in sentences that stand beside them.

    Args:
        name: `zsl`, `gzsl` or `standard`.
        without_vector: labels that belong to it and are in no figure, since no word of theirs has a vector.
    """
    title, labels, without = name.upper(), section["labels"], section["labels_without_positive"]
    left_out = section.get("labels_left_out", 0)
    ranked = labels + left_out
    too_large = [f"F1@{k}" for k in ks(section) if k > ranked]
    if labels == 1:
        yield f"{title} has 1 label: no other can change places with it, and the best K of an image always hold it"
    elif too_large:
        yield f"{title} has {ranked} labels; for {' and '.join(too_large)} all are predicted"
    if left_out:
        yield f"{title}: {left_out} of {ranked} labels are in no mean, by the rule of the protocol"
    if without == labels:
        none = "its one label" if labels == 1 else f"none of its {labels} labels"
        yield f"{title}: {none} has {'no' if labels == 1 else 'a'} positive test image, so that its figures are 0"
    elif without:
        text = f"{title}: {without} of {labels} labels have no positive test image"
        others = section.get("map_of_occurring")  # a protocol of one's own may have no such figure
        yield text if others is None else f"{text}; {figure_name('map_of_occurring')} {others:.3f}"
    if without_vector:
        more = ", ..." if len(without_vector) > _NAMED else ""
        named = ", ".join(map(repr, without_vector[:_NAMED])) + more
        yield f"{title}: labels without a word vector are in no figure: {len(without_vector)} ({named})"
