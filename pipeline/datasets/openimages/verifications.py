"""Human verifications of one split, joined by image: the whole file is gathered, whatever the order of its rows.

30 million rows take about 1 GB: a row is one 64-bit number (image, label, verdict), and sorting does the rest. Cutting
the file into blocks and grouping each would tear images at the seams.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.datasets.openimages.csv_stream import read_columns
from pipeline.datasets.openimages.fixed_text import image_numbers
from pipeline.machine.telling import counted, tell
from schemas.errors import PipelineError

_COLUMNS = {"ImageID": pa.string(), "LabelName": pa.string(), "Confidence": pa.float64()}
_CODE_BITS = 16
_NO_LABEL = (1 << _CODE_BITS) - 1  # of an image that humans looked at, if only for labels outside of the label space


@dataclass(frozen=True)
class Verifications:
    """What humans said of the images of a split.

    Attributes:
        images: numbers of the images, ascending.
        positive: label positions image by image, ascending.
        positive_at: where those of each image begin, and the end.
        negative: the same of labels that are known to be absent.
        negative_at: see `positive_at`.
    """

    images: NDArray[np.uint64]
    positive: NDArray[np.uint16]
    positive_at: NDArray[np.int64]
    negative: NDArray[np.uint16]
    negative_at: NDArray[np.int64]

    def lists(self, numbers: NDArray[np.uint64], label_ids: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Positive and negative label ids of these images; null where no human looked at the image."""
        at = np.searchsorted(self.images, numbers)
        at[at == len(self.images)] = 0
        known = self.images[at] == numbers if len(self.images) else np.zeros(len(numbers), bool)
        return (
            _gather(self.positive, self.positive_at, at, known, label_ids),
            _gather(self.negative, self.negative_at, at, known, label_ids),
        )


def read_verifications(path: Path, label_ids: pa.Array, left_out: Counter[str]) -> Verifications:
    """All verifications of a file.

    A pair of image and label that was verified both ways counts as unknown.

    Args:
        label_ids: the label space; rows of other labels are counted in `left_out`.

    Raises:
        PipelineError: the file is malformed.
    """
    if len(label_ids) >= _NO_LABEL >> 1:
        raise PipelineError(f"{len(label_ids)} labels;", expected=f"fewer than {_NO_LABEL >> 1}")
    parts = list(_coded(path, label_ids, left_out))
    numbers = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.uint64)
    codes = np.concatenate([part[1] for part in parts]) if parts else np.empty(0, np.uint16)
    parts.clear()
    images = np.unique(numbers)
    keys = np.searchsorted(images, numbers).astype(np.uint64)
    del numbers
    keys <<= np.uint64(_CODE_BITS)
    keys |= codes
    del codes
    keys.sort()
    keys = keys[_first_of_its_kind(keys)]
    keys = keys[(keys & np.uint64(_NO_LABEL)) != _NO_LABEL]
    keys = keys[~_contradicted(keys, left_out)]
    present = (keys & np.uint64(1)) == 1
    return Verifications(images, *_by_image(keys[present], len(images)), *_by_image(keys[~present], len(images)))


def _coded(
    path: Path, label_ids: pa.Array, left_out: Counter[str]
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint16]]]:
    """Number of the image, and twice the label's position plus the verdict, of every row."""
    rows = 0
    for batch in read_columns(path, _COLUMNS):
        numbers, good = image_numbers(batch["ImageID"])
        confidence = batch["Confidence"].fill_null(-1).to_numpy(zero_copy_only=False)
        good &= (confidence == 0) | (confidence == 1)
        if not good.all():
            row = batch.slice(int(np.argmin(good)), 1).to_pylist()[0]
            raise PipelineError(
                f"{path}:",
                found=f"the row {row}",
                expected="an ImageID of 16 hex digits and the Confidence 0 or 1",
                hint="Fetch the file again",
            )
        labels = pc.index_in(batch["LabelName"], value_set=label_ids).fill_null(-1).to_numpy(zero_copy_only=False)
        codes = np.where(labels < 0, _NO_LABEL, labels * 2 + confidence.astype(np.int32)).astype(np.uint16)
        left_out["verifications of labels outside of the label space"] += int((labels < 0).sum())
        rows += len(batch)
        tell(rows, None, counted(rows, None, "human verifications read"))
        yield numbers, codes


def _first_of_its_kind(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    return first


def _contradicted(keys: NDArray[np.uint64], left_out: Counter[str]) -> NDArray[np.bool_]:
    """Which keys stand there with both verdicts; sorted, the two are neighbours."""
    pairs = keys >> np.uint64(1)
    again = np.zeros(len(keys), bool)
    again[1:] = pairs[1:] == pairs[:-1]
    left_out["image and label verified both ways"] += int(again.sum())
    again[:-1] |= again[1:]
    return again


def _by_image(keys: NDArray[np.uint64], images: int) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    labels = ((keys & np.uint64(_NO_LABEL)) >> np.uint64(1)).astype(np.uint16)
    starts = np.arange(images + 1, dtype=np.uint64) << np.uint64(_CODE_BITS)
    return labels, np.searchsorted(keys, starts).astype(np.int64)


def _gather(
    labels: NDArray[np.uint16],
    starts: NDArray[np.int64],
    at: NDArray[np.intp],
    known: NDArray[np.bool_],
    label_ids: pa.Array,
) -> pa.Array:
    """Lists of label ids of the images at these positions; null where not known."""
    begins = np.where(known, starts[at], 0) if len(starts) > 1 else np.zeros(len(at), np.int64)
    lengths = np.where(known, starts[at + 1], 0) - begins if len(starts) > 1 else np.zeros(len(at), np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.arange(offsets[-1]) + np.repeat(begins - offsets[:-1], lengths)
    named = label_ids.take(pa.array(labels[flat]))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), named, mask=pa.array(~known))
