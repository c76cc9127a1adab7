"""What turns a run's scores into probabilities, and what those are worth on the images that were evaluated."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from pipeline.batches.selection import Selection
from pipeline.inference.calibration import Calibration, Reliability, fit
from pipeline.inference.opened import OpenedRun
from pipeline.metrics.score_table import ScoreTable
from schemas.status import LabelCode

_MOST_CELLS = 2**23  # that a curve of two numbers is fitted on: 130 MB while it is
_LABELS_AT_ONCE = 256
_UNFITTED = "no validation image has a seen label whose absence and presence are known"


def calibrated(
    run: OpenedRun, table: ScoreTable, check: Callable[[int, int], None], *, trained_on: bool
) -> dict[str, Any]:
    """The content of calibration.json: a curve fitted on seen labels of validation images, and how far it is off.

    Args:
        table: scores of the images of the run, as the model gives them, and their codes.
        check: called between batches with the images done so far, and of how many; raises to stop.
        trained_on: whether the validation images were trained on in the end.
    """
    num_seen = run.space.num_seen
    chosen = _spread(run.validation, num_seen)
    scores, present = _seen_cells(run, chosen, check)
    curve = fit(scores, present)
    return {
        "slope": None if curve is None else curve.slope,
        "intercept": None if curve is None else curve.intercept,
        "fitted_on": {
            "images": len(chosen),
            "cells": len(scores),
            "present": int(np.count_nonzero(present)),
            "trained_on": trained_on,
        },
        "reason": _UNFITTED if curve is None else None,
        "seen": None if curve is None else _worth(curve, table, range(num_seen)),
        "unseen": _worth(curve, table, range(num_seen, len(run.space))) if curve and run.space.num_unseen else None,
    }


def _spread(images: Selection, num_labels: int) -> Selection:
    """As many images as can be looked at, spread evenly over all."""
    most = max(1, _MOST_CELLS // max(1, num_labels))
    step = -(-len(images) // most)
    return images if step <= 1 else images.take(np.arange(0, len(images), step))


def _seen_cells(
    run: OpenedRun, images: Selection, check: Callable[[int, int], None]
) -> tuple[Float[np.ndarray, " cell"], Bool[np.ndarray, " cell"]]:
    """Scores of the seen labels that are known of the images, and whether each is present."""
    num_seen = run.space.num_seen
    scores, present = [np.empty(0, np.float32)], [np.empty(0, bool)]
    if len(images):
        scorer = replace(run.scorer, check=lambda done: check(done, len(images)))
        with closing(scorer.stream(images)) as stream:
            for batch, found in stream:
                codes = batch.codes[:, :num_seen]
                known = codes != LabelCode.UNKNOWN
                scores.append(found[:, :num_seen][known])
                present.append(codes[known] == LabelCode.PRESENT)
    return np.concatenate(scores), np.concatenate(present)


def _worth(curve: Calibration, table: ScoreTable, labels: range) -> dict[str, Any]:
    """How far the probabilities of some labels are from how often they are present."""
    found = Reliability.empty()
    for start in range(labels.start, labels.stop, _LABELS_AT_ONCE):
        some = range(start, min(start + _LABELS_AT_ONCE, labels.stop))
        for codes, scores in zip(table.codes[some.start : some.stop], table.columns(some), strict=True):
            known = codes != LabelCode.UNKNOWN
            found.add(curve.probabilities(scores[known]), codes[known] == LabelCode.PRESENT)
    return found.as_json()
