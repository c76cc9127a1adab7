"""Feature shards as training reads them: refused at first touch where one bit differs, the same in every process."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_work import Recipe, SmallWork, make
from stage_tasks import sealed

from pipeline.batches.label_space import read_label_space
from pipeline.batches.selection import select
from pipeline.batches.shards import FeatureShards, open_features
from pipeline.engine.task import Output
from pipeline.stores import STORES
from pipeline.stores.batch import FeatureBatch
from pipeline.stores.content import ROWS, RowsHash
from schemas.config import StoreConfig
from schemas.errors import IntegrityError
from schemas.features import FeatureSpec
from schemas.status import ImageSplit

STORE_NAMES = ["parquet", "hdf5"]


def opened(work: SmallWork) -> FeatureShards:
    return open_features(work.left()).reading(["region"])


def region(features: FeatureShards, shard: list[int], row: list[int]) -> np.ndarray:
    positions, rows = (np.array(one, dtype=np.int32) for one in (shard, row))
    return features.read(positions, rows, features.maps)[features.maps[0].column]


def shard_path(work: SmallWork, number: int) -> Path:
    return work.path("extract", f"shard-0000{number}{STORES.load(work.recipe.store).SUFFIX}")


@pytest.mark.parametrize("store", STORE_NAMES)
def test_maps_come_in_the_order_asked_for(tmp_path: Path, store: str) -> None:
    work = make(tmp_path, Recipe(store=store))
    shard, row = [2, 0, 0, 1, 0, 2], [7, 19, 3, 0, 4, 7]
    images = [20 * s + r for s, r in zip(shard, row, strict=True)]
    found = region(opened(work), shard, row)
    assert found.tobytes() == work.regions[images].tobytes()


@pytest.mark.parametrize("store", STORE_NAMES)
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of threads, here those of pyarrow
def test_processes_of_a_data_loader_read_the_same(tmp_path: Path, store: str, method: str) -> None:
    work = make(tmp_path, Recipe(store=store, shards=2, shard_images=6))
    features = opened(work)
    region(features, [0], [0])  # this process has read already when it is forked
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as processes:
        parts = list(processes.map(region, [features] * 2, [[0] * 6, [1] * 6], [list(range(6))] * 2))
    assert np.concatenate(parts).tobytes() == work.regions.tobytes()


@pytest.mark.parametrize("store", STORE_NAMES)
def test_one_flipped_bit_anywhere_is_refused_at_first_touch(tmp_path: Path, store: str) -> None:
    work = make(tmp_path, Recipe(store=store, shards=1, shard_images=8))
    path = shard_path(work, 0)
    whole = path.read_bytes()
    ends = [*range(12), *range(len(whole) - 12, len(whole))]  # magic bytes, superblock, footer's length
    anywhere = np.random.default_rng(0).integers(0, len(whole), 60).tolist()
    features = opened(work)
    for position in [*ends, *anywhere]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        fresh = replace(features, inputs=work.left())
        with pytest.raises(IntegrityError, match=path.name):
            region(fresh, [0], [0])


def rewritten(work: SmallWork, number: int, spec: FeatureSpec) -> SmallWork:
    """The folder with one shard of another spec, whose receipt is in order."""
    images = range(number * work.recipe.shard_images, (number + 1) * work.recipe.shard_images)
    store = STORES.load(work.recipe.store)
    reader = opened(work)
    with reader.open(number) as shard:
        batch = FeatureBatch(
            shard.image_ids(), shard.statuses(), shard.errors(),
            {"last": work.regions[images], "whole": work.global_features[images]},
        )  # fmt: skip
    path = shard_path(work, number)
    store.write(path, spec, StoreConfig(name=work.recipe.store), [batch])
    *shards, spec_receipt = work.receipts["extract"]
    parts = RowsHash().add(batch.image_ids, batch.statuses, batch.errors).hexdigest()
    output = Output(("features",), 1, number, parts={ROWS: parts})
    (shards[number],) = sealed(work.task("extract", None, shard=number), [output])
    return replace(work, receipts=work.receipts | {"extract": (*shards, spec_receipt)})


@pytest.mark.parametrize("store", STORE_NAMES)
def test_a_shard_of_another_spec_is_refused_naming_the_field(tmp_path: Path, store: str) -> None:
    work = make(tmp_path, Recipe(store=store))
    other = work.spec.preprocess.model_copy(update={"resize": (9, 9)})
    work = rewritten(work, 1, work.spec.model_copy(update={"preprocess": other}))
    features = opened(work)
    with pytest.raises(IntegrityError, match=r"shard-00001.* preprocess\.resize: \[9, 9\], expected \[6, 6\]"):
        select(features, read_label_space(work.left()), [ImageSplit.TRAIN])


def test_a_spec_of_the_folder_that_fits_no_shard_is_refused_naming_the_field(tmp_path: Path) -> None:
    work = make(tmp_path)
    task = work.task("extract", None)
    maps = (work.spec.maps[0].model_copy(update={"layer": "other"}), work.spec.maps[1])
    stands = work.spec.model_copy(update={"maps": maps})
    task.storage.write(task.path("spec"), stands.model_dump_json().encode())
    receipts = (*work.receipts["extract"][:-1], *sealed(task, [Output(("spec",), 0)]))
    work = replace(work, receipts=work.receipts | {"extract": receipts})
    features = opened(work)
    with pytest.raises(IntegrityError, match=r"shard-00000.* maps\[0\]\.layer: conv, expected other"):
        select(features, read_label_space(work.left()), [ImageSplit.TRAIN])


def test_features_of_a_compiled_network_do_not_pass_for_those_of_a_plain_one(tmp_path: Path) -> None:
    work = make(tmp_path)
    work = rewritten(work, 1, work.spec.model_copy(update={"compiled": True}))
    features = opened(work)
    with pytest.raises(IntegrityError, match=r"shard-00001.*: compiled: True, expected None"):
        select(features, read_label_space(work.left()), [ImageSplit.TRAIN])


def test_a_spec_that_says_nothing_of_compiling_reads_and_stays_as_it_was() -> None:
    text = (
        '{"backbone":"tiny","weights":"w","weights_sha256":"0","maps":[],"preprocess":null,"precision":"unknown",'
        '"recipe":"0","versions":{}}'
    )
    read = FeatureSpec.model_validate_json(text)
    assert read.compiled is None
    assert read.model_dump_json() == text


def test_shards_made_with_other_library_versions_go_together(tmp_path: Path) -> None:
    work = make(tmp_path)
    work = rewritten(work, 1, work.spec.model_copy(update={"versions": {"torch": "0.1"}}))
    features = opened(work)
    assert len(select(features, read_label_space(work.left()), [ImageSplit.TRAIN])[ImageSplit.TRAIN])
