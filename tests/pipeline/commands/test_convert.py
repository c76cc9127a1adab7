"""Features in the forms of others; `benchmarks/exchange.py` has their own libraries read them."""

import fnmatch
import io
import json
import pickle
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from small_work import Recipe, SmallWork, image_id, make

from pipeline.batches.shards import open_features
from pipeline.conversion import huggingface, released, webdataset
from pipeline.conversion.form import UNSPLIT, Form, Handover, distinct
from pipeline.settings.layers import configuration
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


def handover(work: SmallWork, tmp_path: Path) -> Handover:
    dataset = configuration("demo", None, {}, (), tmp_path).dataset
    return Handover(open_features(work.left()), dataset, tmp_path / "out", "free", 10**6)


def made(form: Form, work: SmallWork, tmp_path: Path) -> dict[str, Path]:
    """The files of a form, by name."""
    found = {}
    for name, write_file in form.jobs(handover(work, tmp_path)).items():
        found[name] = tmp_path / "out" / name
        found[name].parent.mkdir(parents=True, exist_ok=True)
        write_file(found[name])
    return found


def by_split(work: SmallWork) -> dict[str, list[int]]:
    images: dict[str, list[int]] = {}
    for image in (image for image in range(60) if image not in FAILED):
        images.setdefault(work.recipe.split(image) or UNSPLIT, []).append(image)
    return images


def test_datasets_get_a_file_set_a_split_with_labels_and_shapes(tmp_path: Path) -> None:
    known = {12: ([0, 1], [2, 3]), 4: (None, None)}
    work = make(tmp_path / "work", Recipe(statuses=FAILED, splits={4: ""}, annotations=known))
    files = made(huggingface, work, tmp_path)
    for split, images in by_split(work).items():
        paths = [path for name, path in files.items() if name.startswith(f"data/{split}-")]
        table = pa.concat_tables(pq.read_table(path) for path in paths)
        assert table["image_id"].to_pylist() == [image_id(image) for image in images]
        assert table["labels"].to_pylist() == [work.positives[image] for image in images]
        assert table["absent_labels"].to_pylist() == [work.negatives[image] for image in images]
        assert np.array_equal(np.array(table["last"].to_pylist(), np.float16), work.regions[images])
        assert np.array_equal(np.array(table["whole"].to_pylist(), np.float16), work.global_features[images])
    told = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert told["last"] == {"shape": [3, 3, 8], "dtype": "float16", "_type": "Array3D"}
    assert told["labels"]["feature"] == {"names": [f"label {number}" for number in range(9)], "_type": "ClassLabel"}
    roles = pq.read_table(files["labels.parquet"]).to_pydict()
    unseen = work.recipe.unseen_labels()
    assert roles["role"] == ["unseen" if number in unseen else "seen" for number in range(9)]


def test_the_card_for_datasets_names_the_files_of_each_split(work: SmallWork, tmp_path: Path) -> None:
    files = made(huggingface, work, tmp_path)
    _, head, text = files["README.md"].read_text().split("---\n", 2)
    stated = yaml.safe_load(head)
    (config,) = stated["configs"]
    assert [part["split"] for part in config["data_files"]] == ["train", "validation", "test", UNSPLIT]
    for part in config["data_files"]:
        assert fnmatch.filter(files, part["path"])
    assert (stated["license"], stated["size_categories"]) == ("other", ["n<1K"])
    assert f"| train | {len(by_split(work)['train'])} |" in text
    assert "**Random weights** (random:0)" in text
    assert "of 9: 6 seen, 3 unseen" in text


def test_labels_of_the_same_name_are_told_apart() -> None:
    assert distinct(["Bat", "Cat", "Bat"], ["/m/1", "/m/2", "/m/3"]) == ["Bat (/m/1)", "Cat", "Bat (/m/3)"]


def test_webdataset_gets_a_sample_an_image(work: SmallWork, tmp_path: Path) -> None:
    files = made(webdataset, work, tmp_path)
    for split, images in by_split(work).items():
        samples: dict[str, dict[str, bytes]] = {}
        for path in (path for name, path in files.items() if name.startswith(f"{split}-")):
            with tarfile.open(path) as tar:
                for entry in tar:
                    key, _, suffix = entry.name.partition(".")
                    samples.setdefault(key, {})[suffix] = tar.extractfile(entry).read()  # type: ignore[union-attr]
        for sample, image in zip(samples.values(), images, strict=True):
            told = json.loads(sample["json"])
            labels = work.positives[image]
            assert (told["image_id"], told["split"]) == (image_id(image), None if split == UNSPLIT else split)
            assert told["labels"] == (None if labels is None else [f"label {label}" for label in labels])
            assert np.array_equal(np.load(io.BytesIO(sample["last.npy"])), work.regions[image])
            assert np.array_equal(np.load(io.BytesIO(sample["whole.npy"])), work.global_features[image])
    assert [row["role"] for row in json.loads(files["labels.json"].read_text())].count("unseen") == 3


def test_a_form_without_images_is_an_error(tmp_path: Path) -> None:
    every = dict.fromkeys(range(4), ImageStatus.TIMEOUT)
    work = make(tmp_path / "work", Recipe(shards=1, shard_images=4, statuses=every))
    with pytest.raises(PipelineError, match="convert: no image has features, expected at least 1"):
        huggingface.jobs(handover(work, tmp_path))
