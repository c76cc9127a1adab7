"""Protocol `nuswide`: every image and every label counts.

AP of a label over the images whose code is known; a label without positives has AP 0 and stays in the mean. F1@K is
micro over all images.

Source: BiAM (ICCV 2021), section 3, and the counts of its reference implementation.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int8

from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.measurement import Measurement
from pipeline.metrics.topk import topk_table
from schemas.status import LabelCode


def measure(
    scores: Float[np.ndarray, "image label"], codes: Int8[np.ndarray, "image label"], ks: Sequence[int]
) -> Measurement:
    """All figures of one score matrix."""
    per_label = average_precision(scores, codes)
    counted = np.nan_to_num(per_label, nan=0.0)
    positives = np.count_nonzero(codes == LabelCode.PRESENT, axis=0)
    return Measurement(
        map=float(counted.mean()),
        weighted_map=float(counted @ positives / max(1, positives.sum())),
        topk=topk_table(scores, codes, ks),
        per_label=per_label,
    )
