"""Figures of test images drawn anew: what they would be had chance picked other images of the same kind.

Images are drawn by groups, with replacement. Group and draw depend on an image's id and on the number of the replicate
alone, so that replicate b of two runs over the same images has the same images: their difference is paired.

A ranking is never sorted again. What stands at or above each positive of a label is counted once, by group; that many
times how often a replicate has each group is what stands above in the replicate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int8, Int64, UInt8

from schemas.status import LabelCode

GROUPS = 256

# Distinct scores of positives looked at together: 1,000 replicates of them are 2 MB, which stay in a core's cache.
_STEPS_AT_ONCE = 512
# Whole numbers below have the same sum in float32, whatever the order of a matrix product's additions.
_EXACT = 2**24

Cells = slice | Int[np.ndarray, " cell"]


@dataclass(frozen=True)
class Resampling:
    """Which images a replicate has, and how often.

    Attributes:
        groups: that each image is in: the last byte of the sha256 of its id.
        draws: how often each replicate has the images of a group: 256 draws of the 256 groups. Whole numbers in
            float32, in float64 where a replicate has so many images that float32 could not count them.
    """

    groups: UInt8[np.ndarray, " image"]
    draws: Float[np.ndarray, "group replicate"]

    @classmethod
    def of(cls, image_ids: Sequence[str], replicates: int) -> "Resampling":
        """So many replicates of these images."""
        groups = np.frombuffer(bytes(sha256(image_id.encode()).digest()[-1] for image_id in image_ids), np.uint8)
        draws = np.empty((replicates, GROUPS))
        for number, drawn in enumerate(draws):
            drawn[:] = np.random.default_rng(number).multinomial(GROUPS, [1 / GROUPS] * GROUPS)
        most = (draws @ np.bincount(groups, minlength=GROUPS)).max(initial=0)
        return cls(groups, draws.T.astype(np.float32 if most < _EXACT else np.float64, order="C"))

    @property
    def replicates(self) -> int:
        """How often images are drawn anew."""
        return self.draws.shape[1]

    def totals(self, by_group: Int[np.ndarray, "group *each"]) -> Int64[np.ndarray, "replicate *each"]:
        """Counts of each replicate, from those of the groups."""
        flat = by_group.reshape(GROUPS, -1).astype(np.float64)
        return (self.draws.T.astype(np.float64) @ flat).astype(np.int64).reshape(self.replicates, *by_group.shape[1:])

    def positives(self, codes: Int8[np.ndarray, "label image"]) -> Int64[np.ndarray, "replicate label"]:
        """Images of each replicate that bear each label."""
        by_label = [np.bincount(self.groups[row == LabelCode.PRESENT], minlength=GROUPS) for row in codes]
        return self.totals(np.array(by_label).T)

    def average_precisions(
        self, scores: Float32[np.ndarray, " cell"], codes: Int8[np.ndarray, " cell"], images: Cells
    ) -> Float64[np.ndarray, " replicate"]:
        """AP of one label in each replicate, as `average_precision.label_ap` has it for the images as they are.

        Args:
            scores: only their order matters; no NaN.
            codes: unknown cells are left out.
            images: which images the cells are of.

        Returns:
            NaN where a replicate has no positive image.
        """
        positive = codes == LabelCode.PRESENT
        steps = np.unique(scores[positive])
        if not steps.size:
            return np.full(self.replicates, np.nan)
        ranked = (codes != LabelCode.UNKNOWN) & (scores >= steps[0])  # what is below all positives changes nothing
        # how many steps are above the one that a cell stands on or above: 0 for those at the top
        step = steps.size - np.searchsorted(steps, scores[ranked], side="right")
        cell = step * GROUPS + self.groups[images][ranked]
        return self._walked(cell, positive[ranked], steps.size)

    def _walked(
        self, cell: Int64[np.ndarray, " ranked"], positive: Bool[np.ndarray, " ranked"], steps: int
    ) -> Float64[np.ndarray, " replicate"]:
        """The same, walking down the steps.

        Args:
            cell: step x groups + group.
        """
        above = np.zeros((2, GROUPS), dtype=np.int64)  # all that is ranked, and positives, by group
        total, right_before = np.zeros(self.replicates), np.zeros(self.replicates, dtype=self.draws.dtype)
        for start in range(0, steps, _STEPS_AT_ONCE):
            first, last = start * GROUPS, min(start + _STEPS_AT_ONCE, steps) * GROUPS
            inside = (cell >= first) & (cell < last)
            here = cell[inside] - first
            counts = np.array([_counted(here, last - first), _counted(here[positive[inside]], last - first)])
            counts[:, 0] += above
            counts = counts.cumsum(axis=1)
            above = counts[:, -1]
            ranked, right = counts.astype(self.draws.dtype) @ self.draws
            new = np.diff(right, axis=0, prepend=right_before[None])
            right_before = right[-1]
            precision = np.divide(right, np.maximum(ranked, 1, out=ranked), out=ranked)
            total += np.multiply(new, precision, out=new).sum(axis=0, dtype=np.float64)
        with np.errstate(invalid="ignore"):  # 0/0 where no positive is drawn
            return total / right_before


def _counted(cell: Int64[np.ndarray, " ranked"], cells: int) -> Int64[np.ndarray, "step group"]:
    return np.bincount(cell, minlength=cells).reshape(-1, GROUPS)
