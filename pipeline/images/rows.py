"""The images of a shard as the stages before left them, row by row in index order."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine.task import Task
from pipeline.files.tables import read_table
from pipeline.images.ready import ImageRow
from pipeline.images.source import ImageSource
from schemas.command import Command
from schemas.errors import IntegrityError, PipelineError
from schemas.receipts import Receipt
from schemas.status import ImageStatus

_LOCAL = "local"
_ROWS_AT_ONCE = 16  # image bytes are read so many at a time


def image_rows(task: Task) -> Iterator[ImageRow]:
    """The rows of the task's shard, from its inputs `index` and `download`; a few are in memory at a time.

    Raises:
        PipelineError: the image bytes are not there.
        IntegrityError: the shards do not hold the same images, or one is damaged.
    """
    index, downloads = task.inputs["index"][0], task.inputs["download"][0]
    places = read_table(task.storage, index.files[0].path, ["image_id", "locations", "rotation"])
    outcomes = read_table(task.storage, downloads.files[0].path)
    if places.num_rows != outcomes.num_rows:
        raise _mixed_up(task, f"{places.num_rows} rows in the index, {outcomes.num_rows} in downloads")
    images = _bodies(task, downloads)
    for number, (place, outcome) in enumerate(zip(places.to_pylist(), outcomes.to_pylist(), strict=True)):
        image_id, data = next(images, (None, None))
        if not place["image_id"] == outcome["image_id"] == image_id:
            raise _mixed_up(task, f"row {number} is {place['image_id']!r} in the index, {image_id!r} in images")
        path = next((one["address"] for one in place["locations"] or () if one["source"] == _LOCAL), None)
        if outcome["status"] == ImageStatus.OK and data is None and path is None:
            raise _mixed_up(task, f"{place['image_id']!r} is ok, but its bytes are not there")
        source = ImageSource(data, path, outcome["size_bytes"], outcome["sha256"])
        yield ImageRow(place["image_id"], outcome["status"], outcome["error"], source, place["rotation"])


def _bodies(task: Task, downloads: Receipt) -> Iterator[tuple[str, bytes | None]]:
    path = task.storage.local(downloads.files[1].path)
    if downloads.pruned or not path.exists():
        raise PipelineError(
            f"{task.stage}: no images of {task.shard_name} at {path}",
            expected="them",
            run=Command("download", dataset=_dataset(task)),
        )
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                ids, bodies = (batch.column(name).to_pylist() for name in ("image_id", "data"))
                yield from zip(ids, bodies, strict=True)
    except (pa.ArrowException, OSError) as error:
        raise _mixed_up(task, str(error)) from error


def _mixed_up(task: Task, found: str) -> IntegrityError:
    return IntegrityError(
        f"{task.stage}: {task.shard_name} of {_dataset(task)} does not hold together: {found};",
        expected="the same images in index, downloads and images",
        run=Command("verify", dataset=_dataset(task)),
    )


def _dataset(task: Task) -> str:
    return Path(task.root).name
