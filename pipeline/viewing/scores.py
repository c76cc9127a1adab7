"""The scores that an evaluation kept, an image at a time: of a file of gigabytes one row group is in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.files.inputs import Inputs
from pipeline.files.tables import TABLE_ERRORS
from schemas.status import LabelCode

RIGHT, WRONG = "right", "wrong"


@dataclass(frozen=True)
class ScoredRow:
    """Scores and codes of one image, [label] in the order of per_label.parquet."""

    scores: NDArray[np.float32]
    codes: NDArray[np.int8]

    @property
    def outcome(self) -> str | None:
        """Whether the best label is true; None where nobody knows."""
        return _OUTCOMES[int(self.codes[int(self.scores.argmax())])]


_OUTCOMES = {LabelCode.PRESENT: RIGHT, LabelCode.ABSENT: WRONG, LabelCode.UNKNOWN: None}


@dataclass
class ScoreFile:
    """scores.parquet of a run. Each page that is read of it is compared with its checksum.

    Attributes:
        inputs: what its stages left.
        label_index: of the columns.
        names: of those.
        roles: of those.
    """

    inputs: Inputs
    label_index: Sequence[int]
    names: Sequence[str]
    roles: Sequence[str]
    _groups: dict[int, tuple[NDArray[np.float32], NDArray[np.int8]]] = field(default_factory=dict)
    _lock: RLock = field(default_factory=RLock)

    @classmethod
    def of(cls, inputs: Inputs) -> "ScoreFile | None":
        """That of a run; None where it was not evaluated, or kept no scores.

        Raises:
            IntegrityError: its list of labels is damaged.
        """
        if not inputs.has("evaluate") or not inputs.receipt("evaluate").facts.get("keeps_scores"):
            return None
        labels = inputs.table("evaluate", "per_label", columns=["label_index", "name", "role"])
        return cls(inputs, *(labels[name].to_pylist() for name in ("label_index", "name", "role")))

    def row(self, image_id: str) -> ScoredRow | None:
        """The scores of an image; None where it was not evaluated.

        Raises:
            IntegrityError: the file is damaged.
        """
        row = self._rows.get(image_id)
        if row is None:
            return None
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        scores, codes = self._group(group)
        at = row - int(self._starts[group])
        return ScoredRow(scores[at], codes[at])

    @cached_property
    def outcomes(self) -> Mapping[str, str | None]:
        """Whether the best label of each evaluated image is true; the whole file is read for it, once.

        Raises:
            IntegrityError: the file is damaged.
        """
        found: list[str | None] = []
        with self._lock:
            for group in range(len(self._starts)):
                scores, codes = self._group(group)
                best = scores.argmax(axis=1)
                found += [_OUTCOMES[int(code)] for code in codes[np.arange(len(best)), best]]
        return dict(zip(self._rows, found, strict=True))

    @cached_property
    def _rows(self) -> dict[str, int]:
        with self._open() as file:
            names = file.read(["image_id"])["image_id"].to_pylist()
        return {name: row for row, name in enumerate(names)}

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """First row of each row group."""
        with self._open() as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        return np.cumsum([0, *sizes])[:-1]

    def _group(self, group: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        with self._lock:
            if group not in self._groups:
                with self._open() as file:
                    table = file.read_row_group(group, columns=["scores", "codes"])
                scores, codes = (
                    table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)
                    for name in ("scores", "codes")
                )
                self._groups = {**dict(list(self._groups.items())[-1:]), group: (scores, codes)}  # two at a time
            return self._groups[group]

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        path: Path = self.inputs.sized("evaluate", "scores")
        try:
            with pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False) as file:
                yield file
        except TABLE_ERRORS as error:
            raise self.inputs.damaged("evaluate", "scores", None, f"it cannot be read as a table ({error})") from error
