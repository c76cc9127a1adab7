"""What every data set promises, whatever it is made of."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks import nuswide_files, openimages_files
from benchmarks.openimages_files import Size
from pipeline.datasets import DATASETS
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.datasets.label import Label
from pipeline.datasets.nuswide.settings import NusWideDataset
from pipeline.datasets.openimages.settings import OpenImagesDataset
from pipeline.net.look import beginning, plain
from schemas.errors import UsageError
from schemas.status import LabelRole
from schemas.tables import RECORDS

Config = DemoDataset | FolderDataset | NusWideDataset | OpenImagesDataset


@pytest.fixture(params=list(DATASETS))
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    if request.param == "demo":
        return DemoDataset(num_images=7)
    if request.param == "openimages":
        sizes = {"train": Size(50, 200, 20, 5), "test": Size(30, 60, 20, 5)}
        return OpenImagesDataset.model_validate(openimages_files.write_files(tmp_path, sizes))
    if request.param == "nuswide":
        names = (["cat", "sky", "tree", "dog"], ["sky", "fire", "dog"])
        return NusWideDataset.model_validate(nuswide_files.write_files(tmp_path, 9, 5, *names, "http://localhost"))
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "images" / name).write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("image,labels\na.jpg,cat;dog\nhttp://localhost/c.jpg,dog\n")
    (tmp_path / "unseen.txt").write_text("dog\n")
    return FolderDataset(
        folders=(str(tmp_path / "images"),), labels=str(tmp_path / "labels.csv"), unseen=str(tmp_path / "unseen.txt")
    )


def test_records_have_the_schema_and_each_image_once(config: Config) -> None:
    tables = list(DATASETS.load(config.name).records(config, Counter()))

    assert all(table.schema == RECORDS for table in tables)
    ids = pa.concat_tables(tables)["image_id"].to_pylist()
    assert len(ids) == len(set(ids)) > 0


def test_records_come_in_the_same_order_every_time(config: Config) -> None:
    dataset = DATASETS.load(config.name)

    assert list(dataset.records(config, Counter())) == list(dataset.records(config, Counter()))


def test_labels_of_all_images_are_in_the_label_space(config: Config) -> None:
    dataset = DATASETS.load(config.name)
    labels: list[Label] = dataset.labels(config)
    ids = [label.label_id for label in labels]
    rows = [row for table in dataset.records(config, Counter()) for row in table.to_pylist()]

    assert len(ids) == len(set(ids))
    assert {label for row in rows for label in row["positive"] or ()} <= set(ids)


def test_seen_labels_stand_before_unseen_ones(config: Config) -> None:
    roles = [label.role for label in DATASETS.load(config.name).labels(config)]

    assert roles == sorted(roles, key=lambda role: role == LabelRole.UNSEEN)
    assert set(roles) == {LabelRole.SEEN, LabelRole.UNSEEN}


def test_every_location_is_a_full_place_or_has_a_base_address(config: Config) -> None:
    dataset = DATASETS.load(config.name)
    with dataset.base_addresses(config) as bases:
        for table in dataset.records(config, Counter()):
            for row in table.to_pylist():
                assert row["locations"]
                for place in row["locations"]:
                    known = place["source"] in {"local", "http", *bases}
                    assert known or place["address"].startswith(("http://", "https://"))


def test_sources_are_files_and_the_listing_stays_while_nothing_changes(config: Config) -> None:
    dataset = DATASETS.load(config.name)

    assert all(Path(path).is_file() for path in dataset.sources(config))
    assert dataset.listing(config) == dataset.listing(config)


def test_an_unknown_data_set_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'folders'\. Did you mean 'folder'"):
        DATASETS.load("folders")


def test_first_images_are_those_of_the_records_and_need_no_index(config: Config) -> None:
    dataset = DATASETS.load(config.name)
    first = dataset.first_images(config, 4)
    rows = {row["image_id"]: row for table in dataset.records(config, Counter()) for row in table.to_pylist()}

    assert first.schema == RECORDS
    assert 2 <= len(first) <= 5
    for row in first.to_pylist():
        assert row["locations"] == rows[row["image_id"]]["locations"]


def test_a_section_can_be_had_for_fewer_images(config: Config) -> None:
    dataset = DATASETS.load(config.name)
    fewer = config.at_most(4)

    assert fewer is not None
    assert 2 <= sum(len(table) for table in dataset.records(fewer, Counter())) <= 4
    assert fewer.at_most(100) == fewer
    assert fewer.model_dump().keys() == config.model_dump().keys()


def test_files_that_settings_name_are_there_and_begin_as_they_should(config: Config) -> None:
    for file in DATASETS.load(config.name).official_files(config):
        assert file.setting.startswith("dataset.")
        found = plain(beginning(file, 1000, 1.0).data)
        assert not file.begins or found.startswith(file.begins)
