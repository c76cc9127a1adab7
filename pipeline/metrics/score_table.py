"""Scores of all test images, taken in as the model gives them (by image) and read as a ranking wants them (by label).

Where they do not fit into memory they go to a file without a name, so that a kill leaves nothing. It is written and
read by calls and not mapped: the pages of a mapped file count as memory of the process. Codes stay in memory, a byte a
cell.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, Float64, Int8, Int64

from schemas.command import AGAIN, Command
from schemas.errors import PipelineError
from schemas.status import LabelCode

_CELL_BYTES = 4
_LARGEST = float(np.finfo(np.float32).max)
# Rows held until they are written: each label gets one piece of the file for all of them, of 9 kB with 7,586 labels.
_HELD_BYTES = 64 * 2**20


class _Area(Protocol):
    """Where scores lie, label by label."""

    def put(self, first_image: int, columns: Float32[np.ndarray, "label image"]) -> None: ...

    def read(self, labels: range, images: range) -> Float32[np.ndarray, "label image"]: ...


@dataclass(frozen=True)
class _Memory:
    cells: Float32[np.ndarray, "label image"]

    def put(self, first_image: int, columns: Float32[np.ndarray, "label image"]) -> None:
        self.cells[:, first_image : first_image + columns.shape[1]] = columns

    def read(self, labels: range, images: range) -> Float32[np.ndarray, "label image"]:
        return self.cells[labels.start : labels.stop, images.start : images.stop]


@dataclass(frozen=True)
class _File:
    descriptor: int
    num_images: int

    def put(self, first_image: int, columns: Float32[np.ndarray, "label image"]) -> None:
        for label, values in enumerate(np.ascontiguousarray(columns)):
            left, offset = memoryview(values).cast("B"), self._offset(label, first_image)
            while left:
                written = os.pwrite(self.descriptor, left, offset)
                left, offset = left[written:], offset + written

    def read(self, labels: range, images: range) -> Float32[np.ndarray, "label image"]:
        columns = np.empty((len(labels), len(images)), dtype=np.float32)
        for column, label in zip(columns, labels, strict=True):
            size_bytes = os.preadv(self.descriptor, [column.data], self._offset(label, images.start))
            assert size_bytes == column.nbytes, "every image was put before"
        return columns

    def _offset(self, label: int, image: int) -> int:
        return (label * self.num_images + image) * _CELL_BYTES


@dataclass(frozen=True)
class _Constant:
    """Every image has the same scores."""

    by_label: Float32[np.ndarray, " label"]

    def put(self, first_image: int, columns: Float32[np.ndarray, "label image"]) -> None:
        raise AssertionError("its scores are given")

    def read(self, labels: range, images: range) -> Float32[np.ndarray, "label image"]:
        return np.repeat(self.by_label[labels.start : labels.stop, None], len(images), axis=1)


@dataclass(frozen=True)
class _Scaled:
    """Scores that lie elsewhere, each image's minus a number and divided by another; computed where they are read."""

    area: _Area
    shifts: Float64[np.ndarray, " image"]
    scales: Float64[np.ndarray, " image"]

    def put(self, first_image: int, columns: Float32[np.ndarray, "label image"]) -> None:
        raise AssertionError("its scores are given")

    def read(self, labels: range, images: range) -> Float32[np.ndarray, "label image"]:
        shifts, scales = (values[images.start : images.stop] for values in (self.shifts, self.scales))
        scaled = np.empty((len(labels), len(images)), dtype=np.float32)
        for column, scores in zip(scaled, self.area.read(labels, images), strict=True):
            # Finite whatever the scale: the best labels of an image are sought by crossing out with -inf.
            column[:] = np.clip((scores - shifts) / scales, -_LARGEST, _LARGEST)
        return scaled


class ScoreTable:
    """Scores and codes of images x labels; `append` takes in all images, then the others read.

    Attributes:
        codes: int8 [label, image].
    """

    def __init__(self, area: _Area, codes: Int8[np.ndarray, "label image"], first_label: int = 0) -> None:
        self.codes = codes
        self._area = area
        self._first_label = first_label
        self._put = 0
        self._held: list[Float32[np.ndarray, "image label"]] = []

    @classmethod
    def of(cls, scores: Float[np.ndarray, "image label"], codes: Int8[np.ndarray, "image label"]) -> "ScoreTable":
        """A table in memory of scores that are there."""
        assert scores.shape == codes.shape, (scores.shape, codes.shape)
        table = cls(_Memory(np.empty(scores.T.shape, np.float32)), np.empty(codes.T.shape, np.int8))
        table.append(scores.astype(np.float32), codes)
        return table

    @property
    def num_images(self) -> int:
        """Rows of the score matrix."""
        return self.codes.shape[1]

    @property
    def num_labels(self) -> int:
        """Columns of the score matrix."""
        return self.codes.shape[0]

    @cached_property
    def positives_by_label(self) -> Int64[np.ndarray, " label"]:
        """Images that bear each label. Counted row by row: NumPy would copy all codes to count along an axis."""
        return np.array([np.count_nonzero(codes == LabelCode.PRESENT) for codes in self.codes], dtype=np.int64)

    @cached_property
    def known_by_label(self) -> Int64[np.ndarray, " label"]:
        """Images whose code each label knows."""
        return np.array([np.count_nonzero(codes) for codes in self.codes], dtype=np.int64)

    @cached_property
    def positives_by_image(self) -> Int64[np.ndarray, " image"]:
        """Labels that each image bears."""
        total = np.zeros(self.num_images, dtype=np.int64)
        for codes in self.codes:
            total += codes == LabelCode.PRESENT
        return total

    def append(self, scores: Float32[np.ndarray, "image label"], codes: Int8[np.ndarray, "image label"]) -> None:
        """Take in the next images.

        Raises:
            PipelineError: a score is NaN or infinite, or the disk is full.
        """
        # The sum is finite just when all cells are; float64 cannot overflow on float32 cells.
        if not np.isfinite(scores.sum(dtype=np.float64)):
            raise PipelineError(
                f"{np.count_nonzero(~np.isfinite(scores))} of {scores.size} scores of a batch are not finite;",
                expected="numbers",
                hint="With a smaller train.lr, run:",
                run=Command("train"),
            )
        first = self._put + sum(map(len, self._held))
        self.codes[:, first : first + len(codes)] = codes.T
        self._held.append(scores)
        full = sum(batch.nbytes for batch in self._held) >= _HELD_BYTES
        if full or first + len(scores) == self.num_images:
            held, self._held = np.concatenate(self._held), []
            self._area.put(self._put, held.T)
            self._put += len(held)

    def section(self, first_label: int) -> "ScoreTable":
        """The same images with the labels from that one on; nothing is copied."""
        return ScoreTable(self._area, self.codes[first_label:], self._first_label + first_label)

    def constant(self) -> "ScoreTable":
        """The same images, each with the mean over images of the scores here: one ranking for all of them."""
        means = np.empty(self.num_labels, dtype=np.float32)
        labels_read = max(1, _HELD_BYTES // (_CELL_BYTES * max(1, self.num_images)))
        for start in range(0, self.num_labels, labels_read):
            labels = range(start, min(start + labels_read, self.num_labels))
            means[labels.start : labels.stop] = self.columns(labels).mean(axis=1, dtype=np.float64)
        return ScoreTable(_Constant(means), self.codes)

    def standardised(self, num_seen: int) -> "ScoreTable":
        """The same images on one scale: each one's scores minus their mean over its seen labels, by their deviation.

        An image whose seen labels all score alike is only shifted. The order of an image's labels stays. Scores are
        not copied, but computed where they are read.

        Args:
            num_seen: of the first columns.
        """
        shifts, scales = np.empty(self.num_images), np.empty(self.num_images)
        images_read = max(1, _HELD_BYTES // (_CELL_BYTES * max(1, num_seen)))
        for start in range(0, self.num_images, images_read):
            images = range(start, min(start + images_read, self.num_images))
            # An image's cells side by side: added up in another order they would give other last bits.
            seen = np.array(self._read(range(num_seen), images).T, dtype=np.float64, order="C")
            deviations = seen.std(axis=1)
            shifts[images.start : images.stop] = seen.mean(axis=1)
            scales[images.start : images.stop] = np.where(deviations > 0, deviations, 1)
        return ScoreTable(_Scaled(self._area, shifts, scales), self.codes, self._first_label)

    def columns(self, labels: range) -> Float32[np.ndarray, "label image"]:
        """All scores of some labels that follow each other."""
        return self._read(labels, range(self.num_images))

    def rows(self, images: range) -> Float32[np.ndarray, "image label"]:
        """All scores of some images that follow each other; in memory they still lie label by label."""
        return self._read(range(self.num_labels), images).T

    def _read(self, labels: range, images: range) -> Float32[np.ndarray, "label image"]:
        return self._area.read(range(labels.start + self._first_label, labels.stop + self._first_label), images)


@contextmanager
def open_score_table(folder: Path, num_images: int, num_labels: int, memory_bytes: int) -> Iterator[ScoreTable]:
    """An empty table, its scores in memory or, if they take more than `memory_bytes`, in a file in that folder.

    Raises:
        PipelineError: the disk is full.
    """
    codes = np.empty((num_labels, num_images), dtype=np.int8)
    if score_bytes(num_images, num_labels) <= memory_bytes:
        yield ScoreTable(_Memory(np.empty((num_labels, num_images), dtype=np.float32)), codes)
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryFile(dir=folder, buffering=0) as file:
            yield ScoreTable(_File(file.fileno(), num_images), codes)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PipelineError(
            f"the disk is full: cannot put {score_bytes(num_images, num_labels):,} bytes of scores aside in {folder}",
            hint="Free space, or set evaluate.scores_in_memory_bytes to more, and run the same command:",
            run=AGAIN,
        ) from error


def score_bytes(num_images: int, num_labels: int) -> int:
    """Size of the scores of a table."""
    return num_images * num_labels * _CELL_BYTES
