"""All figures of a comparison that need its models, and what they show for other programs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.comparison.figures.points import FEWEST, LABELS, Points, points
from pipeline.comparison.figures.responses import Responses, responses
from pipeline.comparison.figures.rows import FigureRow, Looking
from pipeline.comparison.figures.side_by_side import SideBySide, side_by_side
from pipeline.images.picture import picture
from pipeline.models import MODELS
from pipeline.models.contract import has_label_features, has_response_maps
from schemas.config import Config

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Figures:
    """What models show of test images.

    Attributes:
        side_by_side: the best labels of two rows, task by task.
        responses: where rows see labels.
        points: what rows read scores of labels from; None where none tells, or few images suit.
        pictures: of all images shown, by id; a text says why there is none.
        notes: what is not shown, and why.
    """

    side_by_side: Sequence[SideBySide]
    responses: Responses
    points: Points | None
    pictures: Mapping[str, "Image.Image | str"]
    notes: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """All but pictures and what has a table of its own, as JSON values."""
        return {
            "side_by_side": [found.as_json() for found in self.side_by_side],
            "attentions": [found.as_json() for found in self.responses.counts],
            "points": None if self.points is None else self.points.as_json(),
            "notes": list(self.notes),
        }

    def tables(self) -> dict[str, pa.Table]:
        """Tables for other programs, by the name of their file."""
        placed = {} if self.points is None else {"points.parquet": self.points.table()}
        return {"response_maps.parquet": self.responses.table()} | placed


def make_figures(
    rows: Sequence[FigureRow], document: Mapping[str, Any], config: Config, tell: Callable[[str], None]
) -> Figures:
    """Look at the models of a comparison's rows.

    Args:
        rows: those that came to an end.
        document: of the comparison.
        config: that the rows share.
        tell: takes a line about what goes on.

    Raises:
        IntegrityError: a file of the work folder is damaged.
    """
    from pipeline.inference.determinism import repeatable
    from pipeline.machine.device import resolve_device

    evaluate = config.evaluate
    device = resolve_device(evaluate.device, "evaluate.device")
    looking = Looking(device, evaluate.batch_images, evaluate.examples_seed, tell)
    alike, notes = _alike(rows)
    with repeatable(evaluate.seed, config.engine.threads, device):
        pair = _pair(alike, document, config.compare.side_by_side)
        beside = side_by_side(pair, list(document["tasks"]), looking) if pair else []
        seen, placed = responses(alike, looking), points(alike, looking)
    notes = [*notes, *nothing_to_show(alike, seen, placed)]
    if not pair:
        notes = [*notes, "No two rows are set side by side: there are none over the same images and labels."]
    shown = chain(seen.images, *(found.images for found in beside))
    images = {image.image_id: image for image in shown}
    pictures = {
        image_id: picture(rows[0].inputs, image.as_json(), config.extract.orientation, config.download.max_pixels)
        for image_id, image in images.items()
    }
    return Figures(beside, seen, placed, pictures, notes)


def _alike(rows: Sequence[FigureRow]) -> tuple[Sequence[FigureRow], list[str]]:
    """The rows that were counted over the images and labels of the first one, and which were not."""
    alike = [row for row in rows if row.pairing == rows[0].pairing]
    others = [row.title for row in rows if row not in alike]
    return alike, [f"Over other images or labels, and not shown: {', '.join(others)}."] if others else []


def nothing_to_show(rows: Sequence[FigureRow], seen: Responses, placed: Points | None) -> Iterator[str]:
    """Why rows that could show something show nothing."""
    models = [MODELS.load(row.model) for row in rows]
    if not seen.labels and any(map(has_response_maps, models)):
        yield "No response maps are shown: no test image bears a label that they are of."
    if placed is None and any(map(has_label_features, models)):
        yield (
            f"No vectors are placed: fewer than {FEWEST} test images bear just one of the {LABELS} most frequent "
            "labels, or all of them bear the same one."
        )


def _pair(rows: Sequence[FigureRow], document: Mapping[str, Any], wanted: Sequence[str]) -> list[FigureRow]:
    """Two rows to be set side by side: those that are wanted, else the best in the first task; none where one lacks."""
    by_title = {row.title: row for row in rows}
    for task in [] if wanted else [*document["tasks"].values()][:1]:
        figures, headline = task["rows"], task["headline"]
        best = sorted(figures, key=lambda title: figures[title]["mean"][headline], reverse=True)
        wanted = [title for title in best if title in by_title][:2]
    pair = [by_title[title] for title in wanted if title in by_title]
    return pair if len(pair) == 2 else []
