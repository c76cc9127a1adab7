"""From what a table of scores came to, to the figures under the names they have in metrics.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int64

from pipeline.metrics.topk import Hits
from schemas.figures import NO_FIGURES


@dataclass(frozen=True)
class Counts:
    """What a table came to under one protocol, of which that makes its figures.

    Attributes:
        per_label: AP of each label; NaN where it has none.
        positives: images that bear each label.
        hits: right predictions among the best K; None where no K was asked for.
        ks: that were asked for.
        counted: the labels that are in means over labels; None for all.
    """

    per_label: Float[np.ndarray, " label"]
    positives: Int64[np.ndarray, " label"]
    hits: Hits | None
    ks: Sequence[int]
    counted: Bool[np.ndarray, " label"] | None = None


@dataclass(frozen=True)
class Measurement:
    """One protocol's view of one score matrix.

    Attributes:
        figures: by name, each in [0, 1].
        per_label: AP of each label; NaN where the protocol gives it none.
    """

    figures: Mapping[str, float]
    per_label: Float[np.ndarray, " label"] = field(compare=False, repr=False)


def overall_figures(counts: Counts) -> dict[str, float]:
    """The figures of the papers: means of AP over labels, and F1, precision and recall of all images together.

    Returns:
        `map`, the mean of AP over the counted labels, where one without AP is 0; `weighted_map`, weighted by each
        label's positives; `map_of_occurring`, over the labels that have positives; and `f1@K`, `precision@K`,
        `recall@K` of each K, smallest first. A mean over no label is 0.
    """
    per_label, positives = np.nan_to_num(counts.per_label, nan=0.0), counts.positives
    figures = {
        "map": _mean(per_label if counts.counted is None else per_label[counts.counted]),
        "weighted_map": float(per_label @ positives / max(1, positives.sum())),
        "map_of_occurring": _mean(per_label[positives > 0]),
    }
    if counts.hits is not None:
        for k, scores in sorted(counts.hits.figures(counts.ks).items()):
            figures |= {f"f1@{k}": scores.f1, f"precision@{k}": scores.precision, f"recall@{k}": scores.recall}
    return figures


def _mean(values: Float[np.ndarray, " label"]) -> float:
    return float(values.mean()) if values.size else 0.0


def mean_figures(measurements: Sequence[Measurement]) -> dict[str, float]:
    """The mean of each figure over several measurements under the same protocol."""
    return {name: float(np.mean([one.figures[name] for one in measurements])) for name in measurements[0].figures}


def flaw(figures: Mapping[str, float], headline: str, ks: Sequence[int]) -> str | None:
    """What is wrong with figures under names, in words; None where all is as it should be."""
    if headline not in figures:
        asked = ", ".join(map(str, ks)) or "none"
        return f"gives the figures {', '.join(figures)} for K = {asked}, and not its headline {headline!r}"
    for name, value in figures.items():
        if name in NO_FIGURES:
            return f"gives a figure {name!r}, which is the name of something else in metrics.json"
        if not 0 <= value <= 1:
            return f"gives {name} = {value}, expected a number from 0 to 1"
    return None
