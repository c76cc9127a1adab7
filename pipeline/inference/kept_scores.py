"""scores.parquet of a run: what its model says of each evaluated image, and what is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int8

from pipeline.files.inputs import Inputs
from pipeline.metrics.score_table import ScoreTable
from schemas.status import LabelRole
from schemas.tables import scores as scores_schema

_BLOCK_BYTES = 16 * 2**20  # of a row group


@dataclass(frozen=True)
class KeptScores:
    """Scores and codes of evaluated images.

    Attributes:
        label_ids: of the columns, seen ones first.
        roles: of those.
    """

    image_ids: Sequence[str]
    label_ids: Sequence[str]
    roles: Sequence[str]
    scores: Float32[np.ndarray, "image label"]
    codes: Int8[np.ndarray, "image label"]

    @property
    def num_seen(self) -> int:
        """How many of the columns are seen labels."""
        return sum(role == LabelRole.SEEN for role in self.roles)

    def labels(self) -> dict[str, list[str]]:
        """Ids of the columns in order, by role."""
        return {
            str(role): [name for name, found in zip(self.label_ids, self.roles, strict=True) if found == role]
            for role in (LabelRole.SEEN, LabelRole.UNSEEN)
        }


def write_scores(path: Path, image_ids: Sequence[str], table: ScoreTable) -> None:
    """Write all scores and codes of a table, a block of images at a time; equal ones give equal bytes."""
    schema = scores_schema(table.num_labels)
    rows = max(1, _BLOCK_BYTES // (5 * max(1, table.num_labels)))
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False, write_page_checksum=True) as file:
        for start in range(0, table.num_images, rows):
            images = range(start, min(start + rows, table.num_images))
            codes = np.ascontiguousarray(table.codes[:, images.start : images.stop].T)
            scores = np.ascontiguousarray(table.rows(images))
            columns = [
                pa.array(image_ids[images.start : images.stop], pa.string()),
                *(pa.FixedSizeListArray.from_arrays(values.ravel(), table.num_labels) for values in (codes, scores)),
            ]
            file.write_table(pa.table(columns, schema=schema))


def read_scores(inputs: Inputs) -> KeptScores | None:
    """What an evaluation kept; None where it kept no scores.

    Raises:
        IntegrityError: a file is damaged.
    """
    if not inputs.has("evaluate") or not inputs.receipt("evaluate").facts.get("keeps_scores"):
        return None
    labels = inputs.table("evaluate", "per_label", columns=["label_id", "role"])
    found = inputs.table("evaluate", "scores").combine_chunks()
    width = labels.num_rows

    def matrix(name: str) -> np.ndarray:
        column = found[name].combine_chunks()
        return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)

    return KeptScores(
        found["image_id"].to_pylist(),
        labels["label_id"].to_pylist(),
        labels["role"].to_pylist(),
        matrix("scores"),
        matrix("codes"),
    )
