"""Stage `split`: which images train, validate and test, and which labels are seen.

An image is dealt by a hash of the seed and of what it is: its id, or, where the data set says so (`split_by_content`),
the sha256 of its bytes, so that equal images share a split. Either way it keeps its split however the data set grows.

An image whose bytes could not be had is dealt by its id. Where a later run gets them, it may change sides: until then
it had no features, so that nothing was learnt from it or tested on it, and training, which reads the shards of splits
and features by their content, runs anew as for a new image. Other bytes under the same id are another image.
"""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import pyarrow as pa

from pipeline.datasets import DATASETS
from pipeline.datasets.label import Label
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.tables import content_hash, write_table
from pipeline.net.fetch import fetching
from schemas.command import Command
from schemas.config import Config, DownloadConfig, SplitConfig
from schemas.datasets import DatasetSection
from schemas.errors import PipelineError
from schemas.section import recipe
from schemas.status import ImageSplit, LabelRole
from schemas.tables import IMAGE_SPLITS, LABEL_ROLES

VERSION = 1

# In the recipe of data sets that deal by content; others have no such key, so that their recipes stay what they were.
_BY_CONTENT = {"split.by": "sha256 of the bytes, so that equal images share a split"}

OUTPUTS = {
    "images": OutputFile("{folder}/images-{shard}.parquet", IMAGE_SPLITS, {"split": ImageSplit}),
    "labels": OutputFile("{folder}/labels.parquet", LABEL_ROLES, {"role": LabelRole}),
}

_HASH_BYTES = 8


@dataclass(frozen=True)
class Settings:
    """The split's section, the data set's for the roles of its labels, and how files that it names are fetched."""

    split: SplitConfig
    dataset: DatasetSection
    download: DownloadConfig = field(default_factory=DownloadConfig)


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings."""
    del sources  # nothing from outside shapes it but what the index lists
    by_content = config.dataset.split_by_content
    return Stage(
        name="split",
        version=VERSION,
        recipe=recipe("split", config.split) | (_BY_CONTENT if by_content else {}),
        settings=Settings(config.split, config.dataset, config.download),
        run=run,
        upstream={"index": "shard", "download": "shard"} if by_content else {"index": "shard"},
        reads={"download": "hashes"} if by_content else {},
        outputs=OUTPUTS,
        place="compute",
        folder=f"splits/{config.split.name}",
    )


def run(task: Task) -> list[Output]:
    """The split of the images of one index shard; without a shard, the roles of the labels."""
    return [_roles(task) if task.shard is None else _images(task)]


def _images(task: Task) -> Output:
    """A split for each row; null where the image is removed or unlabelled."""
    index = task.inputs.table("index", "index", task.shard, ["image_id", "split", "removed"])
    unlabelled = task.inputs.table("index", "annotations", task.shard, ["positive"])["positive"].is_null()
    hashes = _hashes(task, index["image_id"])
    splits: list[str | None] = []
    counts: Counter[str] = Counter()
    for row, without, sha256 in zip(index.to_pylist(), unlabelled.to_pylist(), hashes, strict=True):
        left_out = "removed" if row["removed"] else "unlabelled" if without else None
        splits.append(None if left_out else image_split(row["image_id"], row["split"], task.settings.split, sha256))
        counts[left_out or str(splits[-1])] += 1
    table = pa.table([index["image_id"], pa.array(splits, pa.string())], schema=IMAGE_SPLITS)
    write_table(task.storage, task.path("images"), table)
    return Output(("images",), table.num_rows, task.shard, dict(sorted(counts.items())), content_hash(table))


def _hashes(task: Task, image_ids: pa.ChunkedArray) -> list[str | None]:
    """Of the bytes of each image, where the stage reads what was downloaded; None where they are not known.

    Raises:
        IntegrityError: what was downloaded is of other images.
    """
    if not task.inputs.has("download", task.shard):
        return [None] * len(image_ids)
    downloads = task.inputs.table("download", "downloads", task.shard, ["image_id", "sha256"])
    if downloads["image_id"] != image_ids:
        raise task.inputs.damaged("download", "downloads", task.shard, "it lists other images than the index")
    hashes: list[str | None] = downloads["sha256"].to_pylist()
    return hashes


def image_split(image_id: str, official: str | None, config: SplitConfig, sha256: str | None = None) -> ImageSplit:
    """What a labelled image is used for.

    Args:
        official: the data set's own split; `train` gives a share to validation, the others stay as they are. Without
            one, the image is a test image with probability `test_fraction`.
        sha256: of its bytes, where it is dealt by these; else it is dealt by its id.

    Raises:
        PipelineError: the official split has an unknown name.
    """
    if official is not None and official not in set(ImageSplit):
        raise PipelineError(
            f"image {image_id!r} has the official split {official!r}; expected {', '.join(ImageSplit)}, or none"
        )
    dealt_by = sha256 or image_id
    if official is None and _fraction(dealt_by, config.seed, "test") < config.test_fraction:
        return ImageSplit.TEST
    if official is not None and official != ImageSplit.TRAIN:
        return ImageSplit(official)
    validates = _fraction(dealt_by, config.seed, "validation") < config.validation_fraction
    return ImageSplit.VALIDATION if validates else ImageSplit.TRAIN


def _fraction(dealt_by: str, seed: int, purpose: Literal["test", "validation"]) -> float:
    """A number in [0, 1) that looks random, independent between purposes."""
    digest = blake2b(f"{seed}:{dealt_by}".encode(), digest_size=_HASH_BYTES, person=purpose.encode()).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # 53 bits: what a float holds without rounding up to 1


def _roles(task: Task) -> Output:
    """The role of every label that the data set lists now; labels that it has dropped have none."""
    space = task.inputs.table("index", "labels", columns=["label_index", "label_id"])
    index_of = dict(zip(space["label_id"].to_pylist(), space["label_index"].to_pylist(), strict=True))
    with fetching(task.settings.download):
        labels: list[Label] = DATASETS.load(task.settings.dataset.name).labels(task.settings.dataset)
    if missing := [label.label_id for label in labels if label.label_id not in index_of]:
        raise PipelineError(
            f"split: the label {missing[0]!r} is not among the {len(index_of)} labels of the index; the data set has "
            "changed since it was indexed",
            run=Command("index", dataset=task.inputs.dataset),
        )
    roles = sorted((index_of[label.label_id], str(label.role)) for label in labels)
    table = pa.Table.from_pylist([{"label_index": i, "role": role} for i, role in roles], schema=LABEL_ROLES)
    write_table(task.storage, task.path("labels"), table)
    counts = dict(sorted(Counter(role for _, role in roles).items()))
    return Output(("labels",), table.num_rows, None, counts, content_hash(table))
