"""The figures that a protocol gives for one score matrix, under the names they have in metrics.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int64

from pipeline.metrics.topk import TopK


@dataclass(frozen=True)
class Measurement:
    """One protocol's view of one score matrix.

    Attributes:
        map: mean average precision.
        weighted_map: the mean weighted by each label's number of positives.
        topk: by K.
        per_label: AP of each label; NaN where the protocol gives it none.
    """

    map: float
    weighted_map: float
    topk: Mapping[int, TopK]
    per_label: Float[np.ndarray, " label"] = field(compare=False, repr=False)

    def as_json(self) -> dict[str, float]:
        """Each figure under its name: map, weighted_map, f1@3, precision@3, recall@3 ..."""
        values = {"map": self.map, "weighted_map": self.weighted_map}
        for k, scores in sorted(self.topk.items()):
            values |= {f"f1@{k}": scores.f1, f"precision@{k}": scores.precision, f"recall@{k}": scores.recall}
        return values


def mean_average_precision(per_label: Float[np.ndarray, " label"], keeps_empty_labels: bool) -> float:
    """The mean over labels; one without AP counts as 0, or is left out. 0 where no label is left."""
    counted = np.nan_to_num(per_label, nan=0.0) if keeps_empty_labels else per_label[~np.isnan(per_label)]
    return float(counted.mean()) if counted.size else 0.0


def weighted_average_precision(per_label: Float[np.ndarray, " label"], positives: Int64[np.ndarray, " label"]) -> float:
    """The mean over labels, weighted by their positives; 0 where there are none."""
    return float(np.nan_to_num(per_label, nan=0.0) @ positives / max(1, positives.sum()))


def mean_figures(measurements: Sequence[Measurement]) -> dict[str, float]:
    """The mean of each figure over several measurements under the same protocol."""
    rows = [measurement.as_json() for measurement in measurements]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
