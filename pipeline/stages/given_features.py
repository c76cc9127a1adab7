"""Features that somebody shared, in place of images: the stages `download` and `extract` of a data set that has them.

Nothing is fetched and no image is run through a network; the region maps are taken from the authors' HDF5 files as they
are, in float16. The global feature is not in those files: it is computed from the region map, which determines it, with
the weights of `backbone.weights`. What is unknown of such features is said to be unknown.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.backbones import describe, settled, vgg19, weights
from pipeline.batches.feature_files import estimate, leave_spec, outputs, pages
from pipeline.datasets.nuswide.settings import NusWideDataset
from pipeline.engine.sources import Sources, require_unchanged
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.plain_hdf5 import NotPlainError, plain_numbers
from pipeline.files.tables import write_table
from pipeline.images.rows import address, download_outputs
from pipeline.machine import stopping
from pipeline.net.fetch import fetching
from pipeline.stores.batch import FeatureBatch, dtype_of, non_finite
from pipeline.stores.shard import write_shard
from schemas.config import BackboneConfig, Config, DownloadConfig, StoreConfig
from schemas.errors import UsageError
from schemas.features import FeatureSpec
from schemas.released import FEATURES, key
from schemas.status import ImageStatus
from schemas.tables import DOWNLOADS, FEATURES_SOURCE, IMAGES

if TYPE_CHECKING:
    import h5py
    from torch import nn

VERSION = 1

_BACKBONE, _REGION, _GLOBAL = "vgg19", "conv5", "fc7"  # what the authors' files are of
_BATCH = 16
_UNKNOWN = "unknown"
_NOT_THERE = "not in the files of features"


@dataclass(frozen=True)
class Settings:
    """What the two stages need.

    Attributes:
        files: paths of the authors' files.
        sha256: of each, by name.
        sources: sha256 of these and of the user's weights file, by path.
        backbone: whose weights give the global feature.
        download: how those are fetched.
    """

    files: tuple[str, ...]
    sha256: Mapping[str, str]
    backbone: BackboneConfig
    store: StoreConfig
    download: DownloadConfig
    threads: int | None
    sources: Mapping[str, str] = field(default_factory=dict)


def download(config: Config, sources: Sources) -> Stage:
    """In place of the stage `download`: says of each image whether its features are there. Fetches nothing."""
    _settings(config, sources)  # refuses settings that do not fit
    return Stage(
        name="download",
        version=2,  # with the stage that it stands for
        recipe={"dataset.features": "in place of images"},
        settings=None,
        run=list_given,
        upstream={"index": "shard"},
        reads={"index": "files"},
        outputs=download_outputs(),
        place="io",
        folder="downloads",
    )


def extract(config: Config, sources: Sources) -> Stage:
    """In place of the stage `extract`: takes the maps from the files that are given."""
    settings = _settings(config, sources)
    described, path = describe(config.backbone), weights.source(config.backbone) or ""
    return Stage(
        name="extract",
        version=3,  # with the stage that it stands for
        recipe={
            "dataset.features": sorted(settings.sha256.values()),
            "found.version": VERSION,
            "backbone.weights": weights.label(config.backbone, described.published),
            "backbone.weights_file": settings.sources.get(path),
        },
        settings=settings,
        run=run,
        upstream={"index": "shard", "download": "shard"},
        reads={"index": "places"},
        outputs=outputs(config.store),
        place="compute",
        folder=f"features/{_BACKBONE}-{{fp8}}/{config.store.name}",
        pages=pages(config.backbone, config.store.name),
        estimate=partial(estimate, described.maps, config.store),
    )


def _settings(config: Config, sources: Sources) -> Settings:
    """What the stages need.

    Raises:
        UsageError: the settings name another backbone than that of the files.
    """
    assert isinstance(config.dataset, NusWideDataset), "the one data set that takes features in"
    if settled(config.backbone) != settled(BackboneConfig(name=_BACKBONE, weights=config.backbone.weights)):
        raise UsageError(
            f"dataset.features: got files of {_REGION} of {_BACKBONE} at 224 px, expected the name = {_BACKBONE} "
            "at that size with its usual layers. Leave section [backbone] out but for weights"
        )
    files = config.dataset.features
    known = sources.hashes(str(Path(path).expanduser().resolve()) for path in files)
    hashes = {Path(path).name: digest for path, digest in known.items()}
    if (weights_file := weights.source(config.backbone)) is not None:
        known |= sources.hashes((weights_file,), "backbone.weights")
    return Settings(files, hashes, config.backbone, config.store, config.download, config.engine.threads, known)


def list_given(task: Task) -> list[Output]:
    """Write down that no image is fetched: those in the files are ok, the others missing."""
    rows = list(_rows(task))
    statuses = [str(ImageStatus.OK if file else ImageStatus.MISSING_FILE) for _, file in rows]
    none: list[None] = [None] * len(rows)
    columns: dict[str, Sequence[Any]] = dict.fromkeys(DOWNLOADS.names, none)
    columns |= {"image_id": [image_id for image_id, _ in rows], "status": statuses}
    columns |= {"source": [FEATURES_SOURCE if file else None for _, file in rows]}
    columns |= {"error": [None if file else _NOT_THERE for _, file in rows]}
    write_table(task.storage, task.path("downloads"), pa.table(dict(columns), schema=DOWNLOADS))
    images = pa.table({"image_id": columns["image_id"], "data": none}, schema=IMAGES)
    write_table(task.storage, task.path("images"), images)
    return [Output(("downloads", "images"), len(rows), counts=dict(sorted(Counter(statuses).items())))]


def run(task: Task) -> list[Output]:
    """Write the feature shard of the task, or, where it has no shard, the spec of all of them.

    Raises:
        PipelineError: the weights behind the global feature cannot be had.
        IntegrityError: a file is no longer the one that the run began with.
        InterruptedRunError: asked to stop; nothing of the shard stays.
    """
    with fetching(task.settings.download):
        require_unchanged(task.settings.sources)
        described = spec(task.settings, task.recipe)
        return [leave_spec(task, described) if task.shard is None else _shard(task, described)]


def spec(settings: Settings, recipe: str) -> FeatureSpec:
    """What is known of the features."""
    described = describe(settings.backbone)
    files = ", ".join(f"{name} (sha256 {digest})" for name, digest in sorted(settings.sha256.items()))
    label, digest = (of(settings.backbone, described.published) for of in (weights.label, weights.sha256))
    return FeatureSpec(
        backbone=_BACKBONE,
        weights=_UNKNOWN,
        weights_sha256=_UNKNOWN,
        maps=described.maps,
        preprocess=None,
        precision=_UNKNOWN,
        recipe=recipe,
        versions={name: version(name) for name in ("torch", "torchvision", "numpy")},
        origin=f"{_REGION} from {files}; {_GLOBAL} computed from it with the weights {label}, sha256 {digest}",
    )


def _shard(task: Task, described: FeatureSpec) -> Output:
    settings: Settings = task.settings
    counts = Counter[str]()
    with task.storage.commit(task.path("features")) as temporary:
        content = write_shard(temporary, described, settings.store, _batches(task, described, counts))
    return Output(
        ("features",),
        counts.total(),
        counts=dict(sorted(counts.items())),
        content=content.hexdigest(),
        parts=content.parts,
    )


def _rows(task: Task) -> Iterator[tuple[str, str | None]]:
    """Id of each image of the index shard, and the name of the file that has its features."""
    table = task.inputs.table("index", "index", task.shard, ["image_id", "locations"])
    for row in table.to_pylist():
        yield row["image_id"], address(row["locations"], FEATURES_SOURCE)


def _batches(task: Task, described: FeatureSpec, counts: Counter[str]) -> Iterator[FeatureBatch]:
    """The rows with their maps, a few at a time."""
    import h5py

    settings: Settings = task.settings
    tail = _tail(settings.backbone)
    region, whole = described.maps
    with ExitStack() as stack:
        opened = {
            Path(path).name: stack.enter_context(h5py.File(Path(path).expanduser(), "r", locking=False))
            for path in settings.files
        }
        rows = _rows(task)
        while part := list(islice(rows, _BATCH)):
            stopping.heed(task.deadline)
            regions = np.zeros((_BATCH, *region.shape), np.float32)
            outcomes = [_read(opened.get(file or ""), image_id, regions[n]) for n, (image_id, file) in enumerate(part)]
            with np.errstate(over="ignore"):  # what float16 does not hold becomes infinity, and is found below
                stored = regions.astype(dtype_of(region))
                maps = {region.column: stored, whole.column: _global(tail, regions, settings)}
            cut = {column: values[: len(part)] for column, values in maps.items()}
            for row, error in non_finite(cut).items():
                outcomes[row] = ImageStatus.NON_FINITE, error
            statuses = [str(status) for status, _ in outcomes]
            counts.update(statuses)
            errors = [error for _, error in outcomes]
            yield FeatureBatch([image_id for image_id, _ in part], statuses, errors, cut)


def _read(file: "h5py.File | None", image_id: str, target: NDArray[np.float32]) -> tuple[ImageStatus, str | None]:
    """Read the region map [channel, region] of an image into its place [height, width, channel]."""
    name = key(image_id) + FEATURES
    expected = target.shape[-1], target.shape[0] * target.shape[1]
    try:
        stored = None if file is None else plain_numbers(file, name, [expected])
    except NotPlainError as error:
        return ImageStatus.DECODE_ERROR, f"features {error}"
    if stored is None:
        return ImageStatus.MISSING_FILE, _NOT_THERE
    target[:] = stored.astype(np.float32).T.reshape(target.shape)
    return ImageStatus.OK, None


@lru_cache(maxsize=1)
def _tail(config: BackboneConfig) -> "nn.Module":
    """The layers from the region map to the global feature; half a gigabyte, loaded once in a process."""
    return vgg19.build(config).steps[_GLOBAL]


def _global(tail: "nn.Module", regions: NDArray[np.float32], settings: Settings) -> NDArray[Any]:
    """The global feature of each region map; always of a full batch, so that no neighbour counts."""
    import torch

    from pipeline.machine.device import cores

    torch.set_num_threads(settings.threads or cores())
    with torch.inference_mode():
        found = tail(torch.from_numpy(regions).permute(0, 3, 1, 2))
        return found.to(torch.float16).numpy()
