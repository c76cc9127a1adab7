"""Features in the forms of others: the released HDF5 files, and what `datasets` opens."""

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from small_work import Recipe, SmallWork, image_id, make

from pipeline.batches.shards import open_features
from pipeline.conversion import huggingface, released
from schemas.errors import IntegrityError, PipelineError
from schemas.status import ImageStatus

FAILED = {3: ImageStatus.TIMEOUT, 10: ImageStatus.DECODE_ERROR}


@pytest.fixture(params=["parquet", "hdf5"])
def work(tmp_path: Path, request: pytest.FixtureRequest) -> SmallWork:
    return make(tmp_path / "work", Recipe(store=request.param, statuses=FAILED, splits={4: ""}))


def write(work: SmallWork, path: Path, part: str) -> int:
    return released.write(path, open_features(work.left()), part)


def test_a_released_file_holds_what_the_authors_code_reads(work: SmallWork, tmp_path: Path) -> None:
    unseen = work.recipe.unseen_labels()
    seen = [label for label in range(work.recipe.labels) if label not in unseen]
    for part, labels in (("train", seen), ("test", seen + unseen)):
        wanted = [
            image for image in range(60)
            if image not in FAILED and image != 4 and (work.recipe.split(image) == "test") == (part == "test")
        ]  # fmt: skip
        assert write(work, tmp_path / f"{part}.h5", part) == len(wanted)
        with h5py.File(tmp_path / f"{part}.h5") as file:
            assert len(file) == 3 * len(wanted)
            for image in wanted:
                key = image_id(image).replace("/", "_")
                stored = file[f"{key}-features"]
                assert (stored.dtype, stored.compression) == (np.dtype("<f4"), "gzip")
                assert np.array_equal(stored[:].T.reshape(3, 3, 8), work.regions[image].astype(np.float32))
                codes = [1 if label in (work.positives[image] or []) else -1 for label in labels]
                assert file[f"{key}-labels"][:].tolist() == codes
                assert file[f"{key}-labels"].dtype == np.int8
                assert file[f"{key}-labels_3"][:].tolist() == [
                    1 if label in (work.positives[image] or []) else -1 for label in unseen
                ]


def test_the_names_that_the_authors_loader_opens_first_are_those_in_the_file(work: SmallWork, tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(work, tmp_path / f"{part}.h5", part)
        released.write_names(tmp_path / f"{part}.pkl", open_features(work.left()), part)
        told = pickle.loads((tmp_path / f"{part}.pkl").read_bytes())
        assert list(told) == ["img_names"]
        names = told["img_names"]
        with h5py.File(tmp_path / f"{part}.h5") as file:
            assert {f"{name}-features" for name in names} == {name for name in file if name.endswith("-features")}
        splits = [work.recipe.split(int(name.rpartition("_")[2].partition(".")[0])) for name in names]
        assert splits == sorted(splits)  # train before validation


def test_a_damaged_shard_is_not_handed_on(work: SmallWork, tmp_path: Path) -> None:
    path = next(work.path("extract", "").glob("shard-00001.*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="shard-00001"):
        write(work, tmp_path / "train.h5", "train")


def test_a_part_without_images_is_an_error(tmp_path: Path) -> None:
    work = make(tmp_path, Recipe(shards=1, shard_images=4, splits=dict.fromkeys(range(4), "train")))
    with pytest.raises(PipelineError, match="no test image has features, expected at least 1"):
        write(work, tmp_path / "test.h5", "test")


def test_rows_for_datasets_are_nested_lists_with_shapes_in_the_metadata(work: SmallWork, tmp_path: Path) -> None:
    features = open_features(work.left())
    with features.open(0) as reader:
        assert huggingface.write(tmp_path / "a.parquet", reader, {image_id(0): "test"}) == 18
    table = pq.read_table(tmp_path / "a.parquet")
    told = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert told["last"] == {"shape": [3, 3, 8], "dtype": "float16", "_type": "Array3D"}
    good = [image for image in range(20) if image not in FAILED]
    assert table["image_id"].to_pylist() == [image_id(image) for image in good]
    assert table["split"].to_pylist()[:2] == ["test", None]
    assert np.array_equal(np.array(table["last"].to_pylist(), np.float16), work.regions[good])
    assert np.array_equal(np.array(table["whole"].to_pylist(), np.float16), work.global_features[good])


def test_datasets_opens_the_rows_with_shapes(work: SmallWork, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets.load")  # the tests' own folder datasets has none
    features = open_features(work.left())
    with features.open(0) as reader:
        huggingface.write(tmp_path / "a.parquet", reader, {})
    rows = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "a.parquet"), cache_dir=str(tmp_path / "cache"), split="train"
    )
    assert rows.features["last"].shape == (3, 3, 8)
    assert np.array_equal(rows.with_format("numpy")[0]["last"], work.regions[0].astype(np.float32))
