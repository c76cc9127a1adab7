"""The labels of a data set with their roles and vectors: seen ones first, each role in label order."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.files.inputs import Inputs
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.status import LabelRole

TAKING_PART = "labels that take part"  # part of what the stage `unseen` left that all its draws share


@dataclass(frozen=True)
class LabelSpace:
    """Columns of every score and code matrix: the seen labels by label index, then the unseen ones.

    Attributes:
        label_index: int32 [label].
        label_id: the data set's own ids.
        name: what people read.
        num_seen: how many columns are seen ones.
        vectors: float32 [label, word], l2-normalised.
        without_vector: names of the labels that have no vector and therefore no column.
        column_of: int32 [label_index] -> column, -1 for a label without one: it has no vector, or is listed no more.
        unseen_without_vector: those of `without_vector` that are unseen.
    """

    label_index: NDArray[np.int32]
    label_id: tuple[str, ...]
    name: tuple[str, ...]
    num_seen: int
    vectors: NDArray[np.float32]
    without_vector: tuple[str, ...]
    column_of: NDArray[np.int32] = field(repr=False)
    unseen_without_vector: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.label_index)

    @property
    def num_unseen(self) -> int:
        """How many columns are unseen ones."""
        return len(self) - self.num_seen

    def role(self, column: int) -> LabelRole:
        """Role of the label in that column."""
        return LabelRole.SEEN if column < self.num_seen else LabelRole.UNSEEN

    def seen_only(self) -> "LabelSpace":
        """The same space without its unseen columns: all that training may know."""
        seen = self.num_seen
        return LabelSpace(
            self.label_index[:seen],
            self.label_id[:seen],
            self.name[:seen],
            seen,
            self.vectors[:seen],
            self.without_vector,
            np.where(self.column_of < seen, self.column_of, -1).astype(np.int32),
            self.unseen_without_vector,
        )


def read_roles(inputs: Inputs) -> pa.Table:
    """The role of each label that takes part, from a draw of unseen labels where there is one, else from the split.

    Raises:
        PipelineError: an input is missing.
        IntegrityError: a file does not have the bytes of its receipt.
    """
    roles = listed_roles(inputs)
    return roles.filter(pc.not_equal(roles["role"], LabelRole.LEFT_OUT))


def listed_roles(inputs: Inputs) -> pa.Table:
    """The same with labels that are left out while others are hidden."""
    return inputs.table("unseen" if inputs.has("unseen") else "split", "labels")


def read_label_space(inputs: Inputs) -> LabelSpace:
    """The label space, from what index, split, a draw of unseen labels and embed left.

    A label without a role is one that the data set lists no more, or that is left out of a draw: the index keeps its
    number, but it has no column.

    Raises:
        PipelineError: an input is missing, or the three tables do not fit each other.
        IntegrityError: a file does not have the bytes of its receipt.
    """
    labels = inputs.table("index", "labels")
    roles = _by_index(read_roles(inputs), "role")
    vectors = _by_index(inputs.table("embed", "embeddings", columns=["label_index", "vector"]), "vector")
    rows = [row for row in labels.to_pylist() if row["label_index"] in roles]
    rows.sort(key=lambda row: row["label_index"])
    for row in rows:
        if row["label_index"] not in vectors:
            raise PipelineError(
                f"label {row['name']!r} (index {row['label_index']}) has no row in the label matrix",
                expected="one for each label with a role",
                run=Command("embed", dataset=inputs.dataset),
            )
    last = max(labels["label_index"].to_pylist(), default=-1)
    return _arranged(rows, roles, vectors, np.full(1 + last, -1, dtype=np.int32))


def _by_index(table: pa.Table, column: str) -> dict[int, object]:
    """One column of a table, by label index."""
    return dict(zip(table.column("label_index").to_pylist(), table.column(column).to_pylist(), strict=True))


def _arranged(
    rows: Sequence[dict], roles: dict[int, object], vectors: dict[int, object], column_of: NDArray[np.int32]
) -> LabelSpace:
    """The label space of the labels in `rows`; `column_of` is filled in."""
    kept = [row for row in rows if vectors[row["label_index"]] is not None]
    kept.sort(key=lambda row: (roles[row["label_index"]] != LabelRole.SEEN, row["label_index"]))
    bare = [row for row in rows if vectors[row["label_index"]] is None]
    indices = np.array([row["label_index"] for row in kept], dtype=np.int32)
    column_of[indices] = np.arange(len(kept), dtype=np.int32)
    return LabelSpace(
        label_index=indices,
        label_id=tuple(row["label_id"] for row in kept),
        name=tuple(row["name"] for row in kept),
        num_seen=sum(roles[row["label_index"]] == LabelRole.SEEN for row in kept),
        vectors=np.array([vectors[row["label_index"]] for row in kept], dtype=np.float32),
        without_vector=tuple(row["name"] for row in bare),
        column_of=column_of,
        unseen_without_vector=tuple(row["name"] for row in bare if roles[row["label_index"]] == LabelRole.UNSEEN),
    )
