"""From scores to probabilities: a logistic curve of the score, fitted on seen labels of validation images.

One curve for all labels, so that words which training never met have probabilities, too; what these are worth is
measured on test images, apart for seen and unseen labels. No annotation of an unseen label is looked at in the fit.

Source: Platt, "Probabilistic outputs for support vector machines" (1999), with his targets, which keep the curve from
being a step where the scores tell all labels apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64

BINS = 15
_STEPS = 100
_CLOSE = 1e-10


@dataclass(frozen=True)
class Calibration:
    """The probability that a label is present, given its score: 1 / (1 + exp(-(slope * score + intercept))).

    Attributes:
        slope: never below 0: a larger score is never less likely.
    """

    slope: float
    intercept: float

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Calibration | None":
        """As calibration.json has it; None where nothing could be fitted."""
        return None if document["slope"] is None else cls(document["slope"], document["intercept"])

    def probabilities(self, scores: Float[np.ndarray, "*cell"]) -> Float64[np.ndarray, "*cell"]:
        """One for each score, in [0, 1]."""
        return _logistic(self.slope * np.asarray(scores, dtype=np.float64) + self.intercept)


def fit(scores: Float[np.ndarray, " cell"], present: Bool[np.ndarray, " cell"]) -> Calibration | None:
    """The curve under which what is present is likeliest; None where all cells are present, or all absent.

    Args:
        scores: finite.
        present: whether the label is there, of each score.
    """
    positives = int(np.count_nonzero(present))
    negatives = len(scores) - positives
    if not positives or not negatives:
        return None
    values = np.asarray(scores, dtype=np.float64)
    middle, spread = float(values.mean()), float(values.std())
    target = np.where(present, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    base = float(np.log(positives / negatives))
    slope, intercept = _newton((values - middle) / spread, target, base) if spread > 0 else (0.0, base)
    if slope <= 0:
        return Calibration(0.0, base)
    return Calibration(slope / spread, intercept - slope * middle / spread)


def _newton(
    scores: Float64[np.ndarray, " cell"], target: Float64[np.ndarray, " cell"], base: float
) -> tuple[float, float]:
    """Slope and intercept by Newton's method with halved steps: the loss is convex in both."""
    found, loss = np.array([0.0, base]), np.inf
    for _ in range(_STEPS):
        likely = _logistic(found[0] * scores + found[1])
        weight, off = likely * (1 - likely), likely - target
        gradient = np.array([off @ scores, off.sum()])
        curvature = np.array([[weight @ scores**2, weight @ scores], [weight @ scores, weight.sum()]])
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        before, loss = loss, _loss(found, scores, target)
        while (after := _loss(found - step, scores, target)) > loss and np.abs(step).max() > _CLOSE:
            step /= 2
        found = found - step
        if before - after < _CLOSE * len(scores) and np.abs(step).max() < 1e-6:
            break
    return float(found[0]), float(found[1])


def _loss(
    curve: Float64[np.ndarray, "2"], scores: Float64[np.ndarray, " cell"], target: Float64[np.ndarray, " cell"]
) -> float:
    logits = curve[0] * scores + curve[1]
    return float((np.logaddexp(0, logits) - target * logits).sum())


def _logistic(logits: Float64[np.ndarray, "*cell"]) -> Float64[np.ndarray, "*cell"]:
    found: Float64[np.ndarray, "*cell"] = 0.5 * (1 + np.tanh(0.5 * logits))  # overflows nowhere
    return found


@dataclass
class Reliability:
    """How far probabilities are from how often labels are present, taken in piece by piece.

    Attributes:
        cells: by bin: how many cells of a known label.
        sums: of their probabilities.
        present: how many of them are present.
    """

    cells: Float64[np.ndarray, " bin"]
    sums: Float64[np.ndarray, " bin"]
    present: Float64[np.ndarray, " bin"]

    @classmethod
    def empty(cls) -> "Reliability":
        """With nothing taken in yet."""
        return cls(*(np.zeros(BINS) for _ in range(3)))

    def add(self, probabilities: Float[np.ndarray, " cell"], present: Bool[np.ndarray, " cell"]) -> None:
        """Take in cells of known labels."""
        bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
        self.cells += np.bincount(bins, minlength=BINS)
        self.sums += np.bincount(bins, probabilities, minlength=BINS)
        self.present += np.bincount(bins, present, minlength=BINS)

    @property
    def error(self) -> float | None:
        """The expected calibration error over bins of equal width, in [0, 1]; None of no cell.

        That is the mean, weighted by cells, of how far the mean probability of a bin is from the share that is present.
        """
        total = self.cells.sum()
        return float(np.abs(self.sums - self.present).sum() / total) if total else None

    def as_json(self) -> dict[str, Any]:
        """What calibration.json says of it; the bins are those of a reliability diagram."""
        filled = np.maximum(self.cells, 1)
        bins = [
            {"cells": int(cells), "probability": round(mean, 6), "present": round(share, 6)}
            for cells, mean, share in zip(self.cells, self.sums / filled, self.present / filled, strict=True)
        ]
        return {"cells": int(self.cells.sum()), "error": self.error, "bins": bins}
