"""A small work folder as the stages before training leave it, written with the real stores and receipts.

Regions of an image hold the vectors of its labels, so that there is something to learn.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from stage_tasks import FOLDERS, inputs, sealed
from stage_tasks import task as task_of

from pipeline.engine.ledger import Ledger
from pipeline.engine.task import RECORD, Output, Task
from pipeline.files.inputs import Inputs
from pipeline.files.tables import write_table
from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch
from pipeline.stores.content import ContentHash
from schemas import tables
from schemas.config import StoreConfig
from schemas.features import FeatureSpec, MapSpec, PreprocessSpec
from schemas.receipts import Receipt
from schemas.status import ImageSplit, ImageStatus, LabelRole


@dataclass(frozen=True)
class Recipe:
    """What the folder holds. Every fifth image is for the test, one in ten for validation.

    Attributes:
        unseen_seed: shapes the unseen labels of training and validation images and nothing else.
        statuses: of images by number, where not ok.
        splits: of images by number, where not by the rule ("" for none).
        annotations: (positive, negative) label indices of images by number, where not drawn.
        without_vector: label indices.
        unlisted: indices of labels that the data set lists no more: they have no role.
        sha256: of the bytes of images by number, where anybody knows it.
        not_embedded: indices of labels without a row in the label matrix.
    """

    shards: int = 3
    shard_images: int = 20
    seen: int = 6
    unseen: int = 3
    word: int = 5
    channels: int = 8
    side: int = 3
    global_size: int = 6
    row_group_rows: int = 4
    seed: int = 0
    unseen_seed: int = 0
    statuses: Mapping[int, ImageStatus] | None = None
    splits: Mapping[int, str] | None = None
    annotations: Mapping[int, tuple[list[int] | None, list[int] | None]] | None = None
    without_vector: tuple[int, ...] = ()
    unlisted: tuple[int, ...] = ()
    not_embedded: tuple[int, ...] = ()
    sha256: Mapping[int, str] | None = None
    store: str = "parquet"

    @property
    def labels(self) -> int:
        return self.seen + self.unseen

    def unseen_labels(self) -> list[int]:
        """Scattered among the seen ones: a label's column is not its index."""
        return [1 + 2 * number for number in range(self.unseen)]

    def split(self, image: int) -> str:
        by_rule = {0: ImageSplit.TEST, 1: ImageSplit.VALIDATION, 5: ImageSplit.TEST}.get(image % 10, ImageSplit.TRAIN)
        return (self.splits or {}).get(image, by_rule)

    @property
    def folders(self) -> dict[str, str]:
        return FOLDERS | {"extract": f"features/tiny-00000000/{self.store}"}

    def status(self, image: int) -> ImageStatus:
        return (self.statuses or {}).get(image, ImageStatus.OK)


@dataclass(frozen=True)
class SmallWork:
    root: str
    recipe: Recipe
    spec: FeatureSpec
    receipts: dict[str, tuple[Receipt, ...]]
    regions: np.ndarray
    global_features: np.ndarray
    positives: list[list[int] | None]
    negatives: list[list[int] | None]
    vectors: np.ndarray

    def task(self, stage: str, settings: Any, **changes: Any) -> Task:
        return task_of(stage, self.root, settings, self.receipts, folders=self.recipe.folders, **changes)

    def left(self) -> Inputs:
        """What the stages left."""
        return inputs(self.root, "test", self.receipts, self.recipe.folders)

    def with_receipts(self, task: Task, outputs: list[Output]) -> "SmallWork":
        """The folder after a stage has run."""
        return replace(self, receipts=self.receipts | {task.stage: sealed(task, outputs)})

    def written_down(self, *stages: str) -> "SmallWork":
        """The same, with receipts and stage records on disk."""
        for stage in stages:
            storage = self.task(stage, None).storage
            ledger = Ledger(storage, stage, self.recipe.folders[stage], RECORD)
            for receipt in self.receipts[stage]:
                ledger.write(receipt)
            ledger.write_record({}, self.receipts[stage])
        return self

    def path(self, stage: str, file: str) -> Path:
        return Path(self.root, self.recipe.folders[stage], file)


@dataclass(frozen=True)
class Content:
    """What a folder holds of its images and labels; rows of the vectors by label index."""

    vectors: np.ndarray
    positives: list[list[int] | None]
    negatives: list[list[int] | None]
    regions: np.ndarray
    global_features: np.ndarray


def make(root: Path, recipe: Recipe | None = None) -> SmallWork:
    recipe = recipe or Recipe()
    vectors = _vectors(recipe)
    return write(root, recipe, Content(vectors, *_annotations(recipe), *_maps(recipe, vectors)))


def write(root: Path, recipe: Recipe, content: Content) -> SmallWork:
    work = SmallWork(str(root), recipe, _spec(recipe), {}, **vars(content))
    index = [_index_shard(work, shard) for shard in range(recipe.shards)]
    work.receipts["index"] = (*index, _labels(work))
    work.receipts["download"] = tuple(_download_shard(work, shard) for shard in range(recipe.shards))
    shards = [_feature_shard(work, shard) for shard in range(recipe.shards)]
    work.receipts["extract"] = (*shards, _feature_spec(work))
    splits = [_split_shard(work, shard) for shard in range(recipe.shards)]
    work.receipts["split"] = (*splits, _roles(work))
    work.receipts["embed"] = (_embedding(work),)
    return work


def image_id(image: int) -> str:
    return f"folder/{image:04d}.jpg"


def _vectors(recipe: Recipe) -> np.ndarray:
    vectors = np.random.default_rng(recipe.seed).normal(size=(recipe.labels, recipe.word))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _drawn(recipe: Recipe, image: int) -> list[int]:
    """Positive labels: the unseen ones of training and validation images have random numbers of their own."""
    unseen = set(recipe.unseen_labels())
    labels = np.random.default_rng([recipe.seed, image]).random(recipe.labels) < 0.3
    others = np.random.default_rng([recipe.unseen_seed, image, 1]).random(recipe.labels) < 0.5
    mine = others if recipe.split(image) != ImageSplit.TEST else labels
    return [label for label in range(recipe.labels) if (mine if label in unseen else labels)[label]]


def _annotations(recipe: Recipe) -> tuple[list[list[int] | None], list[list[int] | None]]:
    given = recipe.annotations or {}
    pairs = [given.get(image, (_drawn(recipe, image), None)) for image in range(recipe.shards * recipe.shard_images)]
    return [positive for positive, _ in pairs], [negative for _, negative in pairs]


def _maps(recipe: Recipe, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps of all images: they do not depend on what is annotated as unseen."""
    rng = np.random.default_rng([recipe.seed, 7])
    images = recipe.shards * recipe.shard_images
    regions = 0.1 * rng.normal(size=(images, recipe.side, recipe.side, recipe.channels))
    into = rng.normal(size=(recipe.word, recipe.channels))
    for image in range(images):
        for label in _drawn(replace(recipe, unseen_seed=0), image):
            regions[image, rng.integers(recipe.side), rng.integers(recipe.side)] += vectors[label] @ into
    return regions.astype(np.float16), rng.normal(size=(images, recipe.global_size)).astype(np.float16)


def _spec(recipe: Recipe) -> FeatureSpec:
    preprocess = PreprocessSpec(
        decoder="pillow", orientation="exif", resize=(6, 6), interpolation="bilinear", antialias=True,
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
    )  # fmt: skip
    maps = (
        MapSpec(column="last", role="region", layer="conv", shape=(recipe.side, recipe.side, recipe.channels)),
        MapSpec(column="whole", role="global", layer="fc", shape=(recipe.global_size,), layout="C"),
    )
    return FeatureSpec(
        backbone="tiny", weights="random:0", weights_sha256="0" * 64, maps=maps, preprocess=preprocess,
        precision="fp32", recipe="0" * 64, versions={},
    )  # fmt: skip


def _images(work: SmallWork, shard: int) -> range:
    return range(shard * work.recipe.shard_images, (shard + 1) * work.recipe.shard_images)


def _commit(
    work: SmallWork, stage: str, shard: int | None, tables_of: Mapping[str, tuple[dict[str, list[Any]], pa.Schema]]
) -> Receipt:
    """The receipt of the tables of a stage, by name."""
    task = work.task(stage, None, shard=shard)
    for name, (columns, schema) in tables_of.items():
        write_table(task.storage, task.path(name), pa.table(columns, schema=schema))
    (receipt,) = sealed(task, [Output(files=tuple(tables_of), rows=work.recipe.shard_images, shard=shard)])
    return receipt


def _index_shard(work: SmallWork, shard: int) -> Receipt:
    images = _images(work, shard)
    ids = [image_id(image) for image in images]
    empty = {field.name: [None] * len(ids) for field in tables.INDEX}
    listed = {**empty, "image_id": ids, "removed": [False] * len(ids)}
    known = {
        "image_id": ids,
        "positive": [work.positives[image] for image in images],
        "negative": [work.negatives[image] for image in images],
        "source": ["human"] * len(ids),
    }
    return _commit(work, "index", shard, {"index": (listed, tables.INDEX), "annotations": (known, tables.ANNOTATIONS)})


def _download_shard(work: SmallWork, shard: int) -> Receipt:
    """Every other image came from the bucket, the others from Flickr."""
    images = _images(work, shard)
    empty = {field.name: [None] * len(images) for field in tables.DOWNLOADS}
    told = {
        "image_id": [image_id(image) for image in images],
        "status": [str(work.recipe.status(image)) for image in images],
        "source": [("bucket", "flickr")[image % 2] for image in images],
        "sha256": [(work.recipe.sha256 or {}).get(image) for image in images],
    }
    return _commit(work, "download", shard, {"downloads": ({**empty, **told}, tables.DOWNLOADS)})


def _labels(work: SmallWork) -> Receipt:
    numbers = list(range(work.recipe.labels))
    columns = {
        "label_index": numbers,
        "label_id": [f"id{number}" for number in numbers],
        "name": [f"label {number}" for number in numbers],
    }
    return _commit(work, "index", None, {"labels": (columns, tables.LABELS)})


def _feature_shard(work: SmallWork, shard: int) -> Receipt:
    images = list(_images(work, shard))
    statuses = [str(work.recipe.status(image)) for image in images]
    batch = FeatureBatch(
        image_ids=[image_id(image) for image in images],
        statuses=statuses,
        errors=[None if status == ImageStatus.OK else "broken" for status in statuses],
        maps={"last": work.regions[images], "whole": work.global_features[images]},
    )
    store = STORES.load(work.recipe.store)
    task, content = work.task("extract", None, shard=shard), ContentHash(work.spec)
    with task.storage.commit(task.path("features")) as temporary:
        options = StoreConfig(name=work.recipe.store, row_group_rows=work.recipe.row_group_rows)
        store.write(temporary, work.spec, options, content.passing([batch]))
    counts = dict(Counter(statuses))
    output = Output(("features",), len(images), shard, counts, content.hexdigest(), content.parts)
    return sealed(task, [output])[0]


def _feature_spec(work: SmallWork) -> Receipt:
    task = work.task("extract", None)
    task.storage.write(task.path("spec"), work.spec.model_dump_json().encode())
    return sealed(task, [Output(("spec",), rows=0)])[0]


def _split_shard(work: SmallWork, shard: int) -> Receipt:
    images = _images(work, shard)
    columns = {
        "image_id": [image_id(image) for image in images],
        "split": [work.recipe.split(image) or None for image in images],
    }
    return _commit(work, "split", shard, {"images": (columns, tables.IMAGE_SPLITS)})


def _roles(work: SmallWork) -> Receipt:
    unseen = set(work.recipe.unseen_labels())
    numbers = [number for number in range(work.recipe.labels) if number not in work.recipe.unlisted]
    roles = [str(LabelRole.UNSEEN if number in unseen else LabelRole.SEEN) for number in numbers]
    return _commit(work, "split", None, {"labels": ({"label_index": numbers, "role": roles}, tables.LABEL_ROLES)})


def _embedding(work: SmallWork) -> Receipt:
    numbers = [number for number in range(work.recipe.labels) if number not in work.recipe.not_embedded]
    columns = {
        "label_index": numbers,
        "label_id": [f"id{number}" for number in numbers],
        "vector": [None if n in work.recipe.without_vector else work.vectors[n].tolist() for n in numbers],
        "words_found": [[f"label {number}"] for number in numbers],
        "words_missing": [[] for _ in numbers],
    }
    return _commit(work, "embed", None, {"embeddings": (columns, tables.embeddings(work.recipe.word))})
