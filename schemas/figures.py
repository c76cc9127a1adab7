"""A section of metrics.json: the figures' names as people read them, and what else stands in it."""

from typing import Literal

SectionName = Literal["zsl", "gzsl", "standard"]
CONTROLS = ("chance", "constant", "permuted")
NO_FIGURES = frozenset({"labels", "labels_left_out", "labels_without_positive", "headline", *CONTROLS})

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
