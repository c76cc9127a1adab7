"""Where several rows of a comparison see the same label in the same test image, and which attention LESA takes for it.

Source: figures 1, 10 and 11 of BiAM (ICCV 2021).
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int64

from pipeline.comparison.figures.rows import FigureRow, Looking, ShownImage, borne, first_shown, label, shown_images
from pipeline.models import MODELS
from pipeline.models.contract import has_response_maps, has_shared_attentions
from pipeline.reporting.examples import Shown
from schemas.status import LabelCode

if TYPE_CHECKING:
    from pipeline.inference.opened import OpenedRun

_IMAGES = 6
_LABELS = 4  # of one image; more crowd the page
_COUNTED = 512  # test images whose labels are asked for their attention

MAPS = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("attention", pa.int16()),  # the one that the label takes; null where labels share none
        pa.field("height", pa.int16(), nullable=False),
        pa.field("width", pa.int16(), nullable=False),
        pa.field("values", pa.list_(pa.float32()), nullable=False),  # row by row
    ]
)


@dataclass(frozen=True)
class Response:
    """What a row says of a label in an image.

    Attributes:
        row: its title.
        score: of the label.
        values: where the row sees it.
        attention: number of the shared attention that gives the score, from 0 on; None where there are none.
    """

    row: str
    score: float
    values: Float32[np.ndarray, "height width"]
    attention: int | None


@dataclass(frozen=True)
class LabelResponses:
    """What several rows say of a label that an image bears."""

    image: ShownImage
    label: Shown
    responses: tuple[Response, ...]


@dataclass(frozen=True)
class AttentionCounts:
    """How often labels that images bear take each shared attention.

    Attributes:
        row: its title.
        num_images: test images that were looked at.
        counts: by number of the attention.
    """

    row: str
    num_images: int
    counts: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"row": self.row, "num_images": self.num_images, "counts": list(self.counts)}


@dataclass(frozen=True)
class Responses:
    """Response maps of rows, image by image, and the attentions that labels take.

    Attributes:
        labels: those of one image after those of the other.
        counts: of each row whose labels share attentions.
    """

    labels: tuple[LabelResponses, ...]
    counts: tuple[AttentionCounts, ...]

    @property
    def images(self) -> Iterator[ShownImage]:
        """All that are shown, once for each label."""
        for shown in self.labels:
            yield shown.image

    def table(self) -> pa.Table:
        """response_maps.parquet."""
        lines = [
            {"image_id": shown.image.image_id, "label": shown.label.name, "row": found.row, "score": found.score}
            | {"attention": found.attention, "values": found.values.ravel().tolist()}
            | dict(zip(("height", "width"), found.values.shape, strict=True))
            for shown in self.labels
            for found in shown.responses
        ]
        return pa.Table.from_pylist(lines, schema=MAPS)


def responses(rows: Sequence[FigureRow], looking: Looking) -> Responses:
    """What those rows say that have response maps, all counted over the same images and labels.

    Images are drawn among those with an unseen label, or with any where none is unseen.
    """
    by_label: dict[tuple[int, int], list[Response]] = {}
    counts: list[AttentionCounts] = []
    shown: tuple[LabelResponses, ...] = ()
    for row in rows:
        if not has_response_maps(MODELS.load(row.model)):
            continue
        run = looking.opened(row)
        chosen = _chosen(run, looking)
        for cell, response in _of_row(row, run, chosen):
            by_label.setdefault(cell, []).append(response)
        if has_shared_attentions(MODELS.load(row.model)):
            counts.append(_counts(row, run, looking))
        images = shown_images(run, list(chosen), first_shown(run))
        shown = tuple(
            LabelResponses(images[position], label(run, column), tuple(by_label[position, column]))
            for position, columns in chosen.items()
            for column in columns.tolist()
        )
    return Responses(shown, tuple(counts))


def _chosen(run: "OpenedRun", looking: Looking) -> dict[int, Int64[np.ndarray, " label"]]:
    """Positions of images in the test split, each with columns of labels that it bears."""
    images, columns = borne(run, first_shown(run))
    order = looking.order(len(run.images))
    drawn = order[np.isin(order, images)][:_IMAGES]
    return {position: np.sort(columns[images == position])[:_LABELS] for position in np.sort(drawn).tolist()}


def _of_row(
    row: FigureRow, run: "OpenedRun", chosen: dict[int, Int64[np.ndarray, " label"]]
) -> Iterator[tuple[tuple[int, int], Response]]:
    """Each label of the chosen images, by position and column, with what the row says of it."""
    positions = list(chosen)
    if not positions:
        return
    scorer = replace(run.scorer, batch_images=1)
    with closing(scorer.stream(run.images.take(np.array(positions)))) as stream:
        for batch, scores in stream:
            position = positions[int(batch.images[0])]
            columns = chosen[position]
            maps = scorer.of_labels("response_maps", batch, columns)[0]
            attentions: list[int | None] = [None] * len(columns)
            if has_shared_attentions(MODELS.load(row.model)):
                attentions = scorer.of_labels("by_attention", batch, columns)[0].argmax(axis=1).tolist()
            for column, values, attention in zip(columns.tolist(), maps, attentions, strict=True):
                yield (position, column), Response(row.title, float(scores[0, column]), values, attention)


def _counts(row: FigureRow, run: "OpenedRun", looking: Looking) -> AttentionCounts:
    """Of all labels that a part of the test images bear, drawn at random."""
    images = np.sort(looking.order(len(run.images))[:_COUNTED])
    every, counts = np.arange(len(run.space)), np.zeros(0, dtype=np.int64)
    with closing(run.scorer.stream(run.images.take(images))) as stream:
        for batch, _ in stream:
            by_attention = run.scorer.of_labels("by_attention", batch, every)
            counts = np.pad(counts, (0, by_attention.shape[2] - len(counts)))
            taken = by_attention.argmax(axis=2)[batch.codes == LabelCode.PRESENT]
            counts += np.bincount(taken, minlength=len(counts))
    return AttentionCounts(row.title, len(images), tuple(counts.tolist()))
