"""What became of the images: coverage, statuses, sources, splits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.files.inputs import Inputs
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


def images(inputs: Inputs, used: Mapping[str, int]) -> Images:
    """What became of the images of a run.

    Args:
        inputs: what the stages left.
        used: images that training and evaluation used, by split, as far as they wrote it down.
    """
    stages = [status_counts(inputs.receipts(stage)) for stage in _STATUS_STAGES]
    download, extract = stages
    indexed = sum(receipt.rows for receipt in inputs.shards("index").values()) - download[ImageStatus.REMOVED]
    steps = [
        Step("In the index", indexed),
        Step("Fetched or found", download[ImageStatus.OK]),
        Step("With features", extract[ImageStatus.OK]),
    ]
    if ImageSplit.TRAIN in used and ImageSplit.TEST in used:
        steps.append(Step("Trained or tested on", sum(used.values())))
    return Images(steps, _STATUS_STAGES, status_rows(stages), _sources(inputs), _splits(inputs, used))


def _sources(inputs: Inputs) -> dict[str, int]:
    """Images by source, without those that came from nowhere."""
    images = _tally(inputs, "download", "downloads", "source")
    return {source: images[source] for source in sorted(source for source in images if source is not None)}


def _splits(inputs: Inputs, used: Mapping[str, int]) -> list[SplitRow]:
    assigned = _tally(inputs, "split", "images", "split")
    rows = [SplitRow(str(split), assigned[split], used.get(split)) for split in ImageSplit]
    return [*rows, SplitRow("in none", assigned[None], None)]


def _tally(inputs: Inputs, stage: str, name: str, column: str) -> Counter[str | None]:
    """How often each value, null included, stands in a column of a stage's shards."""
    total: Counter[str | None] = Counter()
    for shard in inputs.shards(stage):
        for value in inputs.table(stage, name, shard, [column])[column].value_counts().to_pylist():
            total[value["values"]] += value["counts"]
    return total
