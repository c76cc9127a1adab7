"""Rows of a comparison as figures look at them: one run of each, opened for its test images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from pipeline.files.inputs import Inputs
from pipeline.reporting.examples import Shown
from schemas.figures import SectionName
from schemas.status import ImageSplit

if TYPE_CHECKING:
    import torch

    from pipeline.inference.opened import OpenedRun


@dataclass(frozen=True)
class FigureRow:
    """A row of a comparison, with one of its runs.

    Attributes:
        title: what it is called.
        model: its name.
        pairing: hash of the images and labels over which it was counted.
        inputs: what the stages of the run left.
    """

    title: str
    model: str
    pairing: str
    inputs: Inputs


@dataclass(frozen=True)
class Looking:
    """How models are looked at.

    Attributes:
        device: that scores.
        batch_images: images that are scored at once.
        seed: of the draws of images.
        tell: takes a line about what goes on.
    """

    device: "torch.device"
    batch_images: int
    seed: int
    tell: Callable[[str], None]
    _runs: dict[str, "OpenedRun"] = field(default_factory=dict, init=False, repr=False)

    def order(self, images: int) -> Int64[np.ndarray, " image"]:
        """So many images in a random order, the same one for the same seed."""
        return np.random.default_rng(self.seed % 2**64).permutation(images)

    def opened(self, row: FigureRow) -> "OpenedRun":
        """The model of a row, ready for the test images; opened once for all figures."""
        from pipeline.inference.opened import open_run

        if row.title not in self._runs:
            self.tell(f"compare: figures: {row.title}")
            run = open_run(row.inputs, ImageSplit.TEST, self.device, self.batch_images, lambda *_: None)
            self._runs[row.title] = run
        return self._runs[row.title]


@dataclass(frozen=True)
class ShownImage:
    """A test image in a figure.

    Attributes:
        image_id: its id.
        shard: number of its shard.
        row: in the shard.
        labels: that it bears, of those that the figure is about.
    """

    image_id: str
    shard: int
    row: int
    labels: tuple[Shown, ...]

    def as_json(self) -> dict[str, object]:
        """As JSON values."""
        labels = [shown.name for shown in self.labels]
        return {"image_id": self.image_id, "shard": self.shard, "row": self.row, "labels": labels}


def first_column(run: "OpenedRun", task: SectionName) -> int:
    """Of the labels of a task among all: the unseen ones come last."""
    return run.space.num_seen if task == "zsl" else 0


def first_shown(run: "OpenedRun") -> int:
    """Of the labels that figures are about: the unseen ones, or all where none is unseen."""
    return run.space.num_seen if run.space.num_unseen else 0


def label(run: "OpenedRun", column: int) -> Shown:
    """The label in a column, as a reader sees it."""
    return Shown(run.space.name[column], str(run.space.role(column)))


def borne(run: "OpenedRun", first: int) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Test images, by position, and columns from `first` on that they bear; image by image."""
    images, columns = run.images.annotations.positive.pairs(np.arange(len(run.images)))
    wanted = columns >= first
    return images[wanted], columns[wanted].astype(np.int64)


def shown_images(run: "OpenedRun", positions: Sequence[int], first: int) -> Mapping[int, ShownImage]:
    """Test images by their position, with what they bear of the labels from a column on."""
    chosen = run.images.take(np.array(positions, dtype=np.int64))
    ids = run.features.image_ids(chosen.shard, chosen.row)
    found = {}
    for at, position in enumerate(positions):
        columns = chosen.annotations.positive.pairs(np.array([at]))[1]
        labels = tuple(label(run, column) for column in np.sort(columns[columns >= first]).tolist())
        found[position] = ShownImage(ids[at], run.features.numbers[int(chosen.shard[at])], int(chosen.row[at]), labels)
    return found
