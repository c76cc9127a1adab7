"""Feature files that somebody shared, in place of images."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from stage_tasks import sealed
from stage_tasks import task as made_task

from benchmarks.nuswide_files import NusWideFiles
from pipeline.backbones import vgg19
from pipeline.datasets import nuswide
from pipeline.datasets.nuswide.settings import NusWideDataset
from pipeline.engine.sources import Sources
from pipeline.engine.task import Stage, Task
from pipeline.files.storage import Storage
from pipeline.flow import stages
from pipeline.models.biam.settings import BiamConfig
from pipeline.stages import given_features, index
from pipeline.stores import STORES
from schemas.config import BackboneConfig, Config, StoreConfig
from schemas.errors import PipelineError, UsageError
from schemas.features import FeatureSpec
from schemas.released import image_id, key
from schemas.status import ImageStatus

TAGS, CONCEPTS = ("nature", "sky", "blue", "cat", "red"), ("cat", "fire", "sky")
SEEN = ("nature", "blue", "red")
RANDOM = BackboneConfig(name="vgg19", weights="random:0")


@pytest.fixture
def lists(tmp_path: Path) -> NusWideFiles:
    files = NusWideFiles(tmp_path / "root", TAGS, CONCEPTS, train=30, test=20)
    files.write()
    return files


def region(seed: int) -> np.ndarray:
    return np.maximum(np.random.default_rng(seed).normal(size=(512, 196)), 0).astype(np.float32)


def write(path: Path, names: list[str], labels: dict[str, list[int]], **regions: np.ndarray) -> Path:
    """A file as the authors shared them; labels by suffix."""
    with h5py.File(path, "w") as file:
        for number, name in enumerate(names):
            file.create_dataset(f"{name}-features", data=regions.get(f"r{number}", region(number)), compression="gzip")
            for suffix, codes in labels.items():
                file[f"{name}{suffix}"] = np.roll(np.array(codes, np.int8), number)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    train = write(
        tmp_path / "nus_wide_train.h5", [f"air_plane_000{n}_17.jpg" for n in range(4)],
        {"-labels": [1, -1, -1], "-labels_3": [-1, 1, -1]},
        r1=region(1)[:, :100], r2=np.full((512, 196), 1e6, np.float32),
    )  # fmt: skip
    test = write(tmp_path / "nus_wide_test.h5", ["sky_0001_9.jpg"], {"-labels": [1, -1, -1, -1, -1, 1]})
    return [str(train), str(test)]


def config(lists: NusWideFiles, files: list[str], **settings: Any) -> NusWideDataset:
    root = lists.root
    return NusWideDataset(
        features=files, tags=str(root / "NUS_WID_Tags/TagList1k.txt"), sha256={},
        concepts=str(root / "ConceptsList/Concepts81.txt"), shard_images=10, **settings,
    )  # fmt: skip


def rows(settings: NusWideDataset) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for table in nuswide.records(settings, Counter()) for row in table.to_pylist()}


def test_names_in_the_files_are_those_of_images() -> None:
    assert image_id("air_plane_0002_174174086.jpg") == "air_plane/0002_174174086.jpg"
    assert key("air_plane/0002_174174086.jpg") == "air_plane_0002_174174086.jpg"
    assert image_id("4fa8054781a4c382") == "4fa8054781a4c382"


def test_images_and_labels_are_those_of_the_files(lists: NusWideFiles, files: list[str]) -> None:
    listed = rows(config(lists, files))
    first, last = listed["air_plane/0000_17.jpg"], listed["sky/0001_9.jpg"]
    assert list(listed) == [f"air_plane/000{n}_17.jpg" for n in range(4)] + ["sky/0001_9.jpg"]
    assert (first["split"], first["positive"], first["negative"]) == ("train", ["nature", "fire"], None)
    assert (last["split"], last["positive"]) == ("test", ["nature", "sky"])
    assert [(one["source"], one["address"]) for one in last["locations"]] == [("features", "nus_wide_test.h5")]
    standard = rows(config(lists, files, task="standard"))
    assert standard["air_plane/0000_17.jpg"]["positive"] == ["fire"]


def test_with_the_lists_all_their_images_count_and_those_not_in_the_files_are_missing(
    lists: NusWideFiles, tmp_path: Path
) -> None:
    ids = list(rows(NusWideDataset(root=str(lists.root), images=str(tmp_path), sha256={})))
    path = write(tmp_path / "some.h5", [key(one) for one in ids[:7]], {"-labels": [1, -1, -1]})
    listed = rows(config(lists, [str(path)], root=str(lists.root)))
    assert list(listed) == ids
    assert [bool(row["locations"]) for row in listed.values()] == [True] * 7 + [False] * 43


def test_a_file_that_is_none_of_them_is_told(lists: NusWideFiles, files: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset\.features: no file 'nowhere\.h5'"):
        nuswide.sources(config(lists, ["nowhere.h5"]))
    other = write(tmp_path / "other.h5", ["a_0001_1.jpg"], {"-labels": [1, -1]})
    with pytest.raises(
        PipelineError, match=r"found 1 images with 2 labels, expected .* 3 labels \(train\) or 6 \(test"
    ):
        rows(config(lists, [str(other)]))
    Path(files[0]).write_bytes(Path(files[0]).read_bytes()[:1000])
    with pytest.raises(PipelineError, match="cannot be read as HDF5"):
        rows(config(lists, files))


def wired(lists: NusWideFiles, files: list[str], work: Path, **sections: Any) -> dict[str, Stage]:
    settings = Config(model=BiamConfig(), dataset=config(lists, files), backbone=RANDOM, **sections)
    sources = Sources(Storage(str(work)))
    return {stage.name: stage for stage in stages(settings, sources)}


def task_of(stage: Stage, work: Path, shard: int | None, **receipts: Any) -> Task:
    return made_task(stage.name, work, stage.settings, receipts, shard)


def test_features_of_the_files_become_shards_and_the_rest_rows_with_a_status(
    lists: NusWideFiles, files: list[str], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    wiring = wired(lists, files, work)
    task = task_of(wiring["index"], work, None)
    listed = next(receipt for receipt in sealed(task, index.run(task)) if receipt.shard == 0)

    (noted,) = given_features.list_given(task_of(wiring["download"], work, 0, index=(listed,)))
    assert noted.counts == {"ok": 5}
    told = pq.read_table(work / "downloads/shard-00000.parquet").to_pylist()
    assert {row["source"] for row in told} == {"features"}

    task = task_of(wiring["extract"], work, 0, index=(listed,))
    (shard,) = given_features.run(task)
    assert shard.counts == {"decode_error": 1, "non_finite": 1, "ok": 3}
    with STORES.load("parquet").open_shard(work / task.path("features")) as reader:
        assert reader.errors()[1] == "features of shape (512, 100), expected (512, 196)"
        conv5, fc7 = reader.read(range(5), "conv5"), reader.read(range(5), "fc7")
        described = reader.spec
    assert np.array_equal(conv5[3], region(3).T.reshape(14, 14, 512).astype(np.float16))
    network = vgg19.build(RANDOM)
    with torch.inference_mode():  # slow: one image, from the map on
        image = torch.from_numpy(region(3).reshape(1, 512, 14, 14))
        expected = network.steps["fc7"](image)[0].half().numpy()
    np.testing.assert_allclose(fc7[3].astype(np.float32), expected.astype(np.float32), atol=1e-3, rtol=2e-3)

    given_features.run(replace(task, shard=None))
    assert FeatureSpec(**json.loads((work / task.folder / "spec.json").read_text())) == described
    assert (described.weights, described.preprocess, described.precision) == ("unknown", None, "unknown")
    assert "conv5 from nus_wide_test.h5 (sha256 " in str(described.origin)
    assert "fc7 computed from it with the weights random:0" in str(described.origin)


def test_a_gone_image_of_the_lists_is_missing(lists: NusWideFiles, files: list[str], tmp_path: Path) -> None:
    assert ImageStatus.MISSING_FILE == "missing_file"
    work = tmp_path / "work"
    settings = Config(
        model=BiamConfig(), dataset=config(lists, files, root=str(lists.root)), backbone=RANDOM, store=StoreConfig()
    )
    sources = Sources(Storage(str(work)))
    wiring = {stage.name: stage for stage in stages(settings, sources)}
    task = task_of(wiring["index"], work, None)
    listed = next(receipt for receipt in sealed(task, index.run(task)) if receipt.shard == 0)
    (noted,) = given_features.list_given(task_of(wiring["download"], work, 0, index=(listed,)))
    assert noted.counts == {"missing_file": 10}


def test_another_backbone_is_refused(lists: NusWideFiles, files: list[str], tmp_path: Path) -> None:
    settings = Config(
        model=BiamConfig(), dataset=config(lists, files), backbone=BackboneConfig(name="tiny", weights="random:0")
    )
    sources = Sources(Storage(str(tmp_path)))
    with pytest.raises(UsageError, match=r"dataset\.features: got files of conv5 of vgg19"):
        stages(settings, sources)


def test_the_files_count_by_their_bytes(lists: NusWideFiles, files: list[str], tmp_path: Path) -> None:
    before = wired(lists, files, tmp_path / "a")["extract"].recipe
    assert wired(lists, files, tmp_path / "b")["extract"].recipe == before
    with h5py.File(files[0], "a") as file:
        file["more"] = 1
    assert wired(lists, files, tmp_path / "c")["extract"].recipe != before


SECRET = 7.5  # what lies in another file of this machine


def _elsewhere(file: h5py.File, name: str, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["numbers"] = np.full((512, 196), SECRET, np.float32)
    del file[name]
    file[name] = h5py.ExternalLink(str(folder / "secret.h5"), "numbers")


def _virtual(file: h5py.File, name: str, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["numbers"] = np.full((512, 196), SECRET, np.float32)
    layout = h5py.VirtualLayout((512, 196), np.float32)
    layout[:] = h5py.VirtualSource(folder / "secret.h5", "numbers", (512, 196))
    del file[name]
    file.create_virtual_dataset(name, layout)


def _external(file: h5py.File, name: str, folder: Path) -> None:
    (folder / "secret.bin").write_bytes(np.full((512, 196), SECRET, np.float32).tobytes())
    del file[name]
    size = 512 * 196 * 4
    file.create_dataset(name, (512, 196), np.float32, external=[(str(folder / "secret.bin"), 0, size)])


def _circle(file: h5py.File, name: str, folder: Path) -> None:
    del file[name]
    file[name] = h5py.SoftLink(f"/{name}")


def _group(file: h5py.File, name: str, folder: Path) -> None:
    del file[name]
    file.create_group(name)


def _text(file: h5py.File, name: str, folder: Path) -> None:
    del file[name]
    file[name] = "no numbers"


def _huge(file: h5py.File, name: str, folder: Path) -> None:
    del file[name]
    file.create_dataset(name, (3_000_000_000,), np.int8, chunks=(1_000_000,))


DAMAGES = [_elsewhere, _virtual, _external, _circle, _group, _text, _huge]


@pytest.mark.parametrize("damage", DAMAGES)
def test_features_that_are_no_plain_numbers_in_the_file_cost_their_row_and_nothing_is_read_elsewhere(
    files: list[str], tmp_path: Path, damage: Callable[[h5py.File, str, Path], None]
) -> None:
    target = np.zeros((14, 14, 512), np.float32)
    with h5py.File(files[0], "r+") as file:
        damage(file, "air_plane_0001_17.jpg-features", tmp_path)
    with h5py.File(files[0], "r") as file:
        status, error = given_features._read(file, "air_plane/0001_17.jpg", target)

    assert status == ImageStatus.DECODE_ERROR
    assert "expected" in str(error)
    assert not target.any()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("image", [0, 2])
def test_labels_that_are_no_plain_numbers_in_the_file_are_refused_by_name(
    lists: NusWideFiles, files: list[str], tmp_path: Path, damage: Callable[[h5py.File, str, Path], None], image: int
) -> None:
    name = f"air_plane_000{image}_17.jpg-labels"
    with h5py.File(files[0], "r+") as file:
        damage(file, name, tmp_path)
    with pytest.raises(PipelineError, match=r"nus_wide_train.h5: ('air_.*' is|found) .*expected"):
        rows(config(lists, files))
