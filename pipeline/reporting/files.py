"""Reads what the stages before the report left in the work folder."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine.task import Task, shard_name
from pipeline.files.tables import read_table
from schemas.errors import IntegrityError, PipelineError
from schemas.receipts import Receipt


def text(task: Task, file: str) -> str | None:
    """A text file of the run's folder, None where there is none."""
    path = f"{task.folder}/{file}"
    return task.storage.read(path).decode() if task.storage.exists(path) else None


def table(task: Task, path: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """A Parquet file below the data set's folder, None where there is none.

    Raises:
        IntegrityError: it is damaged.
    """
    if not task.storage.exists(path):
        return None
    return read_table(task.storage, path, columns)


def whole(task: Task, stage: str) -> pa.Table | None:
    """The table of the piece of a stage that belongs to no shard, None where that has not run."""
    receipts = [receipt for receipt in task.inputs.get(stage, ()) if receipt.shard is None]
    return table(task, receipts[0].files[0].path) if receipts else None


def shards(task: Task, stage: str) -> list[Receipt]:
    """Receipts of the shards of a stage."""
    return [receipt for receipt in task.inputs.get(stage, ()) if receipt.shard is not None]


def tally(task: Task, stage: str, column: str) -> Counter[str | None]:
    """How often each value, null included, stands in a column of a stage's shards."""
    total: Counter[str | None] = Counter()
    for receipt in shards(task, stage):
        part = table(task, receipt.files[0].path, [column])
        for one in [] if part is None else part[column].value_counts().to_pylist():
            total[one["values"]] += one["counts"]
    return total


def dropped(task: Task, stage: str, shard: int) -> bool:
    """Whether files of a shard were dropped on purpose."""
    return any(receipt.pruned for receipt in shards(task, stage) if receipt.shard == shard)


def image_row(task: Task, stage: str, file: int, example: dict[str, Any]) -> dict[str, Any]:
    """The row of an example's image in a shard file of a stage.

    Args:
        task: the report's.
        stage: the stage that wrote the shard.
        file: which of the files in the shard's receipt.
        example: `image_id`, `shard`, and `row`, the position in the shard.

    Raises:
        FileNotFoundError: the shard file is not there.
        IntegrityError: the file is damaged, or another image stands in that place.
    """
    receipt = next((one for one in shards(task, stage) if one.shard == example["shard"]), None)
    if receipt is None:
        raise PipelineError(
            f"report: an example lies in {shard_name(example['shard'])} of {stage!r}, which has no receipt;"
            f" expected one of {len(shards(task, stage))} shards. Run: biam-pipe evaluate"
        )
    path = receipt.files[file].path
    found = _row(task, path, example["row"])
    if found is None or found["image_id"] != example["image_id"]:
        raise IntegrityError(
            f"report: row {example['row']} of {path} is {found and found['image_id']!r}, expected"
            f" {example['image_id']!r}. Run: biam-pipe verify"
        )
    return found


def _row(task: Task, path: str, row: int) -> dict[str, Any] | None:
    """One row, reading no more than its row group; None past the end."""
    try:
        with pq.ParquetFile(task.storage.local(path), page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if row < rows:
                    found: dict[str, Any] = file.read_row_group(group).slice(row, 1).to_pylist()[0]
                    return found
                row -= rows
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as problem:
        raise IntegrityError(
            f"report: {path} cannot be read ({problem}), expected a whole Parquet file. Run: biam-pipe verify"
        ) from problem
    return None
