"""How much of a data set is really there: labelled images with features against those that the index lists.

Published copies of a data set lack images, and each lacks others. Figures of two copies can only be compared by someone
who knows how much each was computed from. And which of it is there twice, in two splits.
"""

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.batches.annotations import from_table
from pipeline.batches.duplicates import Duplicates, SplitHashes
from pipeline.batches.label_space import LabelSpace
from pipeline.batches.shards import FeatureShards
from schemas.status import ImageStatus

_COLUMNS = ("image_id", "split", "status", "error")
_WORST_LABELS = 10


@dataclass
class Coverage:
    """Labelled images that are in a split: how many are listed, and how many of them can be used.

    Attributes:
        expected: by split.
        obtained: by split, those with features.
        sources: the obtained ones by the kind of place they came from.
        positives: int64 [2, label], images that bear each label: listed, and obtained.
        hashes: of the obtained ones, as far as they are known.
        duplicates: which of them are byte-equal to one in another split; None where no hash is known.
    """

    positives: NDArray[np.int64]
    expected: Counter[str] = field(default_factory=Counter)
    obtained: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    hashes: SplitHashes = field(default_factory=SplitHashes)
    duplicates: Duplicates | None = None

    @property
    def fraction(self) -> float:
        """Of all splits together, in [0, 1]."""
        return self.obtained.total() / max(self.expected.total(), 1)

    def as_json(self, space: LabelSpace) -> dict[str, Any]:
        """As it stands in metrics.json."""
        listed, there = self.positives
        share = there / np.maximum(listed, 1)
        worst = [int(column) for column in np.argsort(share, kind="stable") if listed[column] > there[column]]
        return {
            "splits": {
                split: {
                    "expected": expected,
                    "obtained": self.obtained[split],
                    "fraction": self.obtained[split] / expected,
                }
                for split, expected in sorted(self.expected.items())
            },
            "sources": dict(sorted(self.sources.items())),
            "duplicates": self.duplicates.as_json() if self.duplicates else None,
            "labels": {
                "without_any_positive_left": int(((there == 0) & (listed > 0)).sum()),
                "below_half_of_their_positives": int(((share < 0.5) & (listed > 0)).sum()),
                "worst": [
                    {"name": space.name[column], "expected": int(listed[column]), "obtained": int(there[column])}
                    for column in worst[:_WORST_LABELS]
                ],
            },
        }

    def warning(self, least: float) -> str | None:
        """What to tell where less than this share is there; None where enough is."""
        if self.fraction >= least:
            return None
        counted = f"{self.obtained.total()} of {self.expected.total()} labelled images"
        return (
            f"coverage is {self.fraction:.1%} ({counted}), below evaluate.min_coverage = {least:.1%}: "
            "the figures are not those of the whole data set"
        )


def cover(features: FeatureShards, space: LabelSpace, missing: Path) -> Coverage:
    """Count shard by shard; the images that are not there go to a CSV file, in index order.

    Args:
        features: the shards; what index, download and split left stands beside them.
        space: the columns to count.
        missing: written anew: image_id, split, status, error.
    """
    inputs = features.inputs
    coverage = Coverage(np.zeros((2, len(space)), dtype=np.int64))
    with missing.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for position, number in enumerate(features.numbers):
            tables = {
                "known": inputs.table("index", "annotations", number, ["positive", "negative"]),
                "found": inputs.table("download", "downloads", number, ["source", "sha256"]),
                "split": inputs.table("split", "images", number, ["split"]),
            }
            _add(coverage, tables, features, position, space, writer)
    coverage.duplicates = coverage.hashes.duplicates(features.image_ids)
    return coverage


def _add(
    coverage: Coverage,
    tables: Mapping[str, Any],
    features: FeatureShards,
    position: int,
    space: LabelSpace,
    writer: Any,
) -> None:
    """Count the images of one shard, and write those that are not there."""
    rows = features.rows(position)
    status = np.array(rows.statuses, dtype=np.str_)
    split = tables["split"]["split"].fill_null("").to_numpy().astype(np.str_)
    source = tables["found"]["source"].fill_null("").to_numpy().astype(np.str_)
    listed, fine = split != "", status == ImageStatus.OK
    positive = from_table(tables["known"], space.column_of, len(space)).positive
    for count, images in enumerate((listed, listed & fine)):
        columns = positive.pairs(np.flatnonzero(images))[1]
        coverage.positives[count] += np.bincount(columns, minlength=len(space))
    coverage.expected.update(split[listed].tolist())
    coverage.obtained.update(split[listed & fine].tolist())
    coverage.sources.update(source[listed & fine].tolist())
    coverage.hashes.add(position, np.flatnonzero(listed & fine), split, tables["found"]["sha256"])
    for image in np.flatnonzero(listed & ~fine):
        writer.writerow((rows.image_ids[image], split[image], status[image], rows.errors[image] or ""))
