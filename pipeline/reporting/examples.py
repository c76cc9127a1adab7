"""Test images with what the model said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipeline.reporting.credits import Credit
from pipeline.reporting.labels import LabelNames
from pipeline.reporting.pictures import data_uri, overlay, shrink

_MAPS = 3  # of one image; more crowd the page
_LABELS = 12  # of one image; NUS-WIDE has images with more than a hundred


@dataclass(frozen=True)
class Shown:
    """A label as a reader sees it."""

    name: str
    role: str


@dataclass(frozen=True)
class Prediction:
    """One of the highest-scored labels; `right` if it is among the image's labels."""

    label: Shown
    score: float
    right: bool


@dataclass(frozen=True)
class ResponseMap:
    """A picture with one label's response map over it."""

    label: Shown
    uri: str


@dataclass(frozen=True)
class Example:
    """One test image on the page.

    Attributes:
        image_id: its id.
        uri: the picture, None where it cannot be shown.
        problem: why there is no picture.
        width: of the picture as shown, in px.
        height: of the picture as shown, in px.
        labels: what it shows, the first so many.
        more_labels: how many are left out of `labels`.
        predictions: best first.
        maps: the first response maps.
        more_maps: how many are left out of `maps`.
        credit: whose the picture is, where that is known.
    """

    image_id: str
    uri: str | None
    problem: str | None
    width: int
    height: int
    labels: tuple[Shown, ...]
    more_labels: int
    predictions: tuple[Prediction, ...]
    maps: tuple[ResponseMap, ...]
    more_maps: int
    credit: Credit | None


def example(
    row: Mapping[str, Any], picture: Image.Image | str, space: LabelNames, side_px: int, credit: Credit | None = None
) -> Example:
    """A row of examples.parquet as it is shown.

    Args:
        row: image_id, positive, top, top_scores, maps.
        picture: upright RGB, or the reason why there is none.
        space: names and roles of the labels.
        side_px: the longer side of every picture.
        credit: whose the picture is.
    """
    image = None if isinstance(picture, str) else shrink(picture, side_px)
    positive, maps = row["positive"] or [], row["maps"] or []
    return Example(
        image_id=row["image_id"],
        uri=None if image is None else data_uri(image),
        problem=picture if isinstance(picture, str) else None,
        width=0 if image is None else image.width,
        height=0 if image is None else image.height,
        labels=tuple(_shown(index, space) for index in positive[:_LABELS]),
        more_labels=max(0, len(positive) - _LABELS),
        predictions=_predictions(row, set(positive), space),
        maps=() if image is None else _maps(image, maps[:_MAPS], space),
        more_maps=0 if image is None else max(0, len(maps) - _MAPS),
        credit=credit,
    )


def _shown(index: int, space: LabelNames) -> Shown:
    return Shown(space.names.get(index, f"label {index}"), space.roles.get(index, ""))


def _predictions(row: Mapping[str, Any], positive: set[int], space: LabelNames) -> tuple[Prediction, ...]:
    return tuple(
        Prediction(_shown(index, space), score, index in positive)
        for index, score in zip(row["top"], row["top_scores"], strict=True)
    )


def _maps(image: Image.Image, maps: Sequence[Mapping[str, Any]], space: LabelNames) -> tuple[ResponseMap, ...]:
    return tuple(
        ResponseMap(
            _shown(drawn["label_index"], space),
            data_uri(overlay(image, np.asarray(drawn["values"], np.float32).reshape(drawn["height"], drawn["width"]))),
        )
        for drawn in maps
    )
