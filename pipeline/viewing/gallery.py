"""All images of a data set by pages, filtered by what is known of them; a damaged shard costs its own rows.

Small tables are read shard by shard, when a page needs them: without a filter that is the one shard a page lies in.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from sys import intern
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.batches.shards import open_features
from pipeline.files.inputs import Inputs, shard_name
from pipeline.viewing.scores import ScoreFile
from schemas.errors import PipelineError
from schemas.status import FAILURES

WAITING = "waiting"  # for the stage that looks at an image first
_STAGES = ("index", "download", "extract", "split")
_SHARDS_KEPT = 1024  # of the small columns in memory: a million images, some 150 MB


@dataclass(frozen=True)
class Filter:
    """Which images are shown; None for all.

    Attributes:
        split: by name; empty for images in none.
        status: of the closed list, `waiting`, or `failed` for every failure.
        label: label index among the true labels.
        outcome: `right`, `wrong`: whether the best label of a test image is true; `missing`: of a split, with no
            features.
    """

    split: str | None = None
    status: str | None = None
    label: int | None = None
    outcome: str | None = None

    @property
    def takes_all(self) -> bool:
        """Whether it leaves nothing out."""
        return self == Filter()


@dataclass(frozen=True)
class ShardRows:
    """What is known of the images of a shard, in order.

    Attributes:
        splits: empty where an image is in none.
        errors: in words, of rows that failed.
        problems: what could not be read, with the command that mends it.
    """

    number: int
    image_ids: Sequence[str]
    statuses: NDArray[np.object_]
    splits: NDArray[np.object_]
    positive: pa.ListArray
    errors: Mapping[int, str]
    problems: Sequence[str]

    @cached_property
    def failed(self) -> NDArray[np.bool_]:
        """Which rows are failures."""
        return np.isin(self.statuses.astype(np.str_), [str(status) for status in FAILURES])


@dataclass(frozen=True)
class Shown:
    """An image of the gallery: where it stands, and what is known of it."""

    shard: int
    row: int
    image_id: str
    status: str
    split: str
    positive: Sequence[int]
    error: str | None


@dataclass(frozen=True)
class Found:
    """Some of the images that a filter lets through.

    Attributes:
        images: of one page.
        total: of all pages.
        problems: what could not be read.
    """

    images: Sequence[Shown]
    total: int
    problems: Sequence[str]


@dataclass
class Gallery:
    """Small columns of shards, kept in memory by the hashes of the files that they come from."""

    _kept: "OrderedDict[tuple[object, ...], ShardRows]" = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def rows(self, inputs: Inputs, shard: int) -> ShardRows:
        """What is known of a shard."""
        held = [stage for stage in _STAGES if inputs.has(stage, shard)]
        key = (shard, *(file.sha256 for stage in held for file in inputs.receipt(stage, shard).files))
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        found = _read(inputs, shard)
        if not found.problems:  # what is damaged may be mended with the same bytes
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > _SHARDS_KEPT:
                    self._kept.popitem(last=False)
        return found

    def image(self, inputs: Inputs, shard: int, row: int) -> tuple[Shown, Sequence[str]] | None:
        """One image, and what could not be read of its shard; None where there is none."""
        if not inputs.has("index", shard):
            return None
        rows = self.rows(inputs, shard)
        return (_shown(rows, row), rows.problems) if 0 <= row < len(rows.image_ids) else None

    def page(self, inputs: Inputs, wanted: Filter, scores: ScoreFile | None, first: int, count: int) -> Found:
        """The images from `first` on that a filter lets through, in the order of the index."""
        problems: list[str] = []
        images: list[Shown] = []
        total = 0
        for shard in _shards(inputs):
            size = inputs.receipt("index", shard).rows
            if wanted.takes_all and not (total < first + count and first < total + size):
                total += size
                continue
            if _holds_none(inputs, shard, wanted):
                continue
            rows = self.rows(inputs, shard)
            problems += rows.problems
            matching = _matching(rows, wanted, scores)
            low, high = max(first - total, 0), max(first + count - total, 0)
            images += [_shown(rows, int(row)) for row in matching[low:high]]
            total += size if wanted.takes_all else len(matching)
        return Found(images, total, list(dict.fromkeys(problems)))


def _shards(inputs: Inputs) -> list[int]:
    return sorted(receipt.shard for receipt in inputs.receipts("index") if receipt.shard is not None)


def _holds_none(inputs: Inputs, shard: int, wanted: Filter) -> bool:
    """Whether the receipts of a shard say that a filter by failures lets nothing of it through."""
    if wanted.status not in {"failed", *map(str, FAILURES)}:
        return False
    last = next((stage for stage in ("extract", "download") if inputs.has(stage, shard)), None)
    if last is None:
        return True
    counts = inputs.receipt(last, shard).counts
    names = map(str, FAILURES) if wanted.status == "failed" else [str(wanted.status)]
    return not any(counts.get(name) for name in names)


def _matching(rows: ShardRows, wanted: Filter, scores: ScoreFile | None) -> NDArray[np.int64]:
    """Rows that a filter lets through."""
    let = np.ones(len(rows.image_ids), bool)
    if wanted.split is not None:
        let &= rows.splits == wanted.split
    if wanted.status == "failed":
        let &= rows.failed
    elif wanted.status is not None:
        let &= rows.statuses == wanted.status
    if wanted.label is not None:
        let &= _with_label(rows.positive, wanted.label)
    if wanted.outcome == "missing":
        let &= rows.failed & (rows.splits != "")
    elif wanted.outcome is not None:
        let &= np.array([_outcome(scores, name) == wanted.outcome for name in rows.image_ids], bool)
    return np.flatnonzero(let)


def _outcome(scores: ScoreFile | None, image_id: str) -> str | None:
    return None if scores is None else scores.outcomes.get(image_id)


def _with_label(positive: pa.ListArray, label: int) -> NDArray[np.bool_]:
    found = np.zeros(len(positive), bool)
    parents = pc.list_parent_indices(positive).to_numpy()
    found[parents[positive.flatten().to_numpy(zero_copy_only=False) == label]] = True
    return found


def _shown(rows: ShardRows, row: int) -> Shown:
    return Shown(
        rows.number,
        row,
        rows.image_ids[row],
        str(rows.statuses[row]),
        str(rows.splits[row]),
        rows.positive[row].as_py() or [],
        rows.errors.get(row),
    )


def _read(inputs: Inputs, shard: int) -> ShardRows:
    """The small columns of a shard; what cannot be read is a problem, and its columns are empty."""
    problems: list[str] = []
    size = inputs.receipt("index", shard).rows

    def table(stage: str, name: str, columns: Sequence[str]) -> pa.Table | None:
        if not inputs.has(stage, shard):
            return None
        try:
            found = inputs.table(stage, name, shard, columns)
        except PipelineError as problem:
            problems.append(str(problem))
            return None
        if found.num_rows == size:
            return found
        problems.append(f"{shard_name(shard)} of {stage} has {found.num_rows} rows, its index {size}")
        return None

    known = table("index", "annotations", ["image_id", "positive"])
    fetched = table("download", "downloads", ["image_id", "status", "error"])
    dealt = table("split", "images", ["image_id", "split"])
    named = next((one for one in (known, fetched, dealt) if one is not None), None)
    if named is None:
        named = table("index", "index", ["image_id"])
    if named is None:
        return ShardRows(shard, [], _texts([]), _texts([]), pa.array([], pa.list_(pa.int32())), {}, problems)
    statuses, errors = _statuses(inputs, shard, fetched, size, problems)
    splits = _texts([""] * size if dealt is None else [name or "" for name in dealt["split"].to_pylist()])
    positive = pa.nulls(size, pa.list_(pa.int32())) if known is None else known["positive"].combine_chunks()
    return ShardRows(shard, named["image_id"].to_pylist(), statuses, splits, positive, errors, problems)


def _texts(names: Sequence[str]) -> NDArray[np.object_]:
    return np.array([intern(name) for name in names], dtype=object)


def _statuses(
    inputs: Inputs, shard: int, fetched: pa.Table | None, size: int, problems: list[str]
) -> tuple[NDArray[np.object_], dict[int, str]]:
    """Status of each row, and what went wrong with some: as the features say, else as the download does."""
    statuses: Sequence[str] = [WAITING] * size if fetched is None else fetched["status"].to_pylist()
    errors: Sequence[str | None] = [None] * size if fetched is None else fetched["error"].to_pylist()
    if inputs.has("extract", shard) and not inputs.pruned("extract", "features", shard):
        try:
            inputs.sized("extract", "features", shard)
            if set(inputs.receipt("extract", shard).counts) == {"ok"}:
                return _texts(["ok"] * size), {}
            features = open_features(inputs)
            rows = features.rows(features.numbers.index(shard))
            if len(rows.statuses) == size:
                statuses, errors = rows.statuses, rows.errors
        except PipelineError as problem:
            problems.append(str(problem))
    return _texts(statuses), dict(_told(errors))


def _told(errors: Sequence[str | None]) -> Iterator[tuple[int, str]]:
    for row, error in enumerate(errors):
        if error:
            yield row, error
