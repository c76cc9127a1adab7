"""What became of the images: coverage, statuses, sources, splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.engine.task import Task
from pipeline.reporting.files import shards, tally
from pipeline.reporting.ran import StatusRow, status_rows
from schemas.receipts import status_counts
from schemas.status import ImageSplit, ImageStatus

_STATUS_STAGES = ("download", "extract")


@dataclass(frozen=True)
class Step:
    """How many images got so far on their way from the index to a score."""

    name: str
    images: int


@dataclass(frozen=True)
class SplitRow:
    """Images that a split names, and how many of them were used; None where nobody wrote that down."""

    name: str
    assigned: int
    used: int | None


@dataclass(frozen=True)
class Images:
    """What became of the images.

    Attributes:
        steps: from the index on, each a subset of the one before.
        status_stages: names of the stages whose statuses are counted.
        statuses: counts in the order of `status_stages`.
        sources: images by the kind of place they came from.
        splits: by split; images in none of them come last.
    """

    steps: Sequence[Step]
    status_stages: Sequence[str]
    statuses: Sequence[StatusRow]
    sources: Mapping[str, int]
    splits: Sequence[SplitRow]


def images(task: Task, used: Mapping[str, int]) -> Images:
    """What became of the images of a run.

    Args:
        task: the report's.
        used: images that training and evaluation used, by split, as far as they wrote it down.
    """
    stages = [status_counts(task.inputs.get(stage, ())) for stage in _STATUS_STAGES]
    download, extract = stages
    indexed = sum(receipt.rows for receipt in shards(task, "index")) - download[ImageStatus.REMOVED]
    steps = [
        Step("In the index", indexed),
        Step("Fetched or found", download[ImageStatus.OK]),
        Step("With features", extract[ImageStatus.OK]),
    ]
    if ImageSplit.TRAIN in used and ImageSplit.TEST in used:
        steps.append(Step("Trained or tested on", sum(used.values())))
    return Images(steps, _STATUS_STAGES, status_rows(stages), _sources(task), _splits(task, used))


def _sources(task: Task) -> dict[str, int]:
    """Images by source, without those that came from nowhere."""
    named = {source: images for source, images in tally(task, "download", "source").items() if source is not None}
    return dict(sorted(named.items()))


def _splits(task: Task, used: Mapping[str, int]) -> list[SplitRow]:
    assigned = tally(task, "split", "split")
    rows = [SplitRow(str(split), assigned[split], used.get(split)) for split in ImageSplit]
    return [*rows, SplitRow("in none", assigned[None], None)]
