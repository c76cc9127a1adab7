"""What a form for other programs consists of."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pipeline.batches.label_space import read_roles
from pipeline.batches.shards import FeatureShards
from pipeline.files.inputs import Inputs
from schemas.command import Command
from schemas.datasets import DatasetSection
from schemas.errors import PipelineError
from schemas.status import ImageStatus

UNSPLIT = "unlabelled"  # in the place of a split's name: images with features that nobody labelled

Write = Callable[[Path], int]
"""Writes a file, or into an empty folder, at this path; gives how many images are in it."""


@dataclass(frozen=True)
class Handover:
    """What is handed over.

    Attributes:
        features: the shards; what index, split and a draw of unseen labels left stands beside them.
        dataset: the settings of the data set.
        out: the folder that the files are for.
        licence: of what the backbone's weights gave, as its card says.
        max_pixels: images with more are none for this program.
    """

    features: FeatureShards
    dataset: DatasetSection
    out: Path
    licence: str
    max_pixels: int

    @property
    def inputs(self) -> Inputs:
        """What stages left."""
        return self.features.inputs

    @cached_property
    def labels(self) -> "Labels":
        """The labels of the data set."""
        return Labels.of(self.inputs)

    @cached_property
    def rows(self) -> Mapping[str, Mapping[int, Sequence[int]]]:
        """Rows of the images with features, by split and position of their shard; none where there are none.

        Raises:
            PipelineError: no image has features.
        """
        found: dict[str, dict[int, list[int]]] = {}
        for position, number in enumerate(self.features.numbers):
            splits = self.inputs.table("split", "images", number, ["split"])["split"].to_pylist()
            statuses = self.features.rows(position).statuses
            for row, (split, status) in enumerate(zip(splits, statuses, strict=True)):
                if status == ImageStatus.OK:
                    found.setdefault(split or UNSPLIT, {}).setdefault(position, []).append(row)
        if not found:
            raise PipelineError(
                "convert: no image has features", expected="at least 1", hint="See:", run=Command("status")
            )
        order = ("train", "validation", "test", UNSPLIT)
        return {split: found[split] for split in order if split in found}

    def known(self, number: int) -> list[dict[str, Any]]:
        """Id of each image of a shard, and label indices that it bears (`positive`) and does not bear (`negative`).

        Both are None where nobody labelled it; `negative` where every other label is absent.
        """
        columns = ["image_id", "positive", "negative"]
        rows: list[dict[str, Any]] = self.inputs.table("index", "annotations", number, columns).to_pylist()
        return rows


@dataclass(frozen=True)
class Labels:
    """All labels that the data set ever listed, by label index.

    Attributes:
        names: each of one label: where several have a name it is followed by the id.
        ids: the data set's own.
        roles: `seen`, `unseen`, or None where a label takes no part.
    """

    names: Sequence[str]
    ids: Sequence[str]
    roles: Sequence[str | None]

    @classmethod
    def of(cls, inputs: Inputs) -> "Labels":
        """Those that index, split and a draw of unseen labels left."""
        rows = sorted(inputs.table("index", "labels").to_pylist(), key=lambda row: row["label_index"])
        roles = {row["label_index"]: row["role"] for row in read_roles(inputs).to_pylist()}
        names, ids = [row["name"] for row in rows], [row["label_id"] for row in rows]
        return cls(distinct(names, ids), ids, [roles.get(row["label_index"]) for row in rows])


def distinct(names: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Names of labels; where several have one it is followed by the id."""
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({own})" for name, own in zip(names, ids, strict=True)]


class Form(Protocol):
    """A form's module.

    Attributes:
        VERSION: bumped when the files change: those that an older one made are made anew.
        READS: the stages whose output is in the files.
    """

    VERSION: int
    READS: Sequence[str]

    def jobs(self, handover: Handover) -> Mapping[str, Write]:
        """What to write, by path below the form's folder; one that ends with a slash is a folder."""

    def opened(self, out: str) -> str:
        """How another program opens it, for people to read."""


def pieces(handover: Handover) -> Iterator[tuple[str, int, Sequence[int]]]:
    """Split, position of a shard, and the rows of its images: what most forms make a file of each of."""
    for split, shards in handover.rows.items():
        for position, rows in shards.items():
            yield split, position, rows
