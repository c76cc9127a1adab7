"""NUS-WIDE from files as the archives hold them: generated ones, and the real lists where they are at hand."""

import gzip
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stage_tasks import sealed
from stage_tasks import task as task_of

from benchmarks.fault_server import serving
from benchmarks.nuswide_files import PREFIX, NusWideFiles
from pipeline.datasets import nuswide
from pipeline.datasets.nuswide.lists import read_addresses, read_image_ids, read_names
from pipeline.datasets.nuswide.settings import NusWideDataset
from pipeline.stages import download, index
from schemas.config import DownloadConfig
from schemas.errors import PipelineError, UsageError
from schemas.status import LabelRole

TAGS, CONCEPTS = ("nature", "sky", "blue", "cat", "red"), ("cat", "fire", "sky")
SEEN = ("nature", "blue", "red")
FLICKR = "http://farm3.static.flickr.com/2244"


@pytest.fixture
def files(tmp_path: Path) -> NusWideFiles:
    files = NusWideFiles(tmp_path / "root", TAGS, CONCEPTS, train=30, test=20)
    files.write()
    return files


def config(files: NusWideFiles, **settings: Any) -> NusWideDataset:
    return NusWideDataset(root=str(files.root), **settings)


def rows(settings: NusWideDataset) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for table in nuswide.records(settings, Counter()) for row in table.to_pylist()}


def slow_labels(root: Path, split: str, *, tags: bool) -> dict[str, list[str]]:
    """Labels of each image, cell by cell."""
    names = (root / f"ImageList/{split}Imagelist.txt").read_text().split()
    matrix = (root / f"NUS_WID_Tags/{split}_Tags1k.dat").read_text().splitlines()
    human = {c: (root / f"Groundtruth/TrainTestLabels/Labels_{c}_{split}.txt").read_text().split() for c in CONCEPTS}
    found = {}
    for number, name in enumerate(names):
        borne = [tag for tag, cell in zip(TAGS, matrix[number].split(), strict=True) if cell == "1" and tag in SEEN]
        by_humans = [concept for concept in CONCEPTS if human[concept][number] == "1"]
        found[name.removeprefix(PREFIX).replace("\\", "/")] = (borne if tags else []) + by_humans
    return found


def test_the_labels_of_each_image_equal_a_slow_loop(files: NusWideFiles) -> None:
    found = rows(config(files))

    expected = slow_labels(files.root, "Train", tags=True) | slow_labels(files.root, "Test", tags=True)
    assert {image_id: row["positive"] for image_id, row in found.items()} == expected
    assert {label for borne in expected.values() for label in borne} == {*SEEN, *CONCEPTS}
    assert [row["split"] for row in found.values()] == ["train"] * 30 + ["test"] * 20
    assert {(row["negative"], row["label_source"]) for row in found.values()} == {(None, "tags+human")}


def test_the_standard_setting_has_human_labels_only_and_all_seen(files: NusWideFiles) -> None:
    standard = config(files, task="standard", splits=("train",))

    assert [(label.name, label.role) for label in nuswide.labels(standard)] == [(c, LabelRole.SEEN) for c in CONCEPTS]
    found = rows(standard)
    assert {name: row["positive"] for name, row in found.items()} == slow_labels(files.root, "Train", tags=False)
    assert {row["label_source"] for row in found.values()} == {"human"}
    assert not [path for path in nuswide.sources(standard) if "NUS_WID_Tags" in path]


def test_seen_labels_are_the_tags_that_are_no_concepts_and_unseen_ones_the_concepts(files: NusWideFiles) -> None:
    expected = [(name, LabelRole.SEEN) for name in SEEN] + [(name, LabelRole.UNSEEN) for name in CONCEPTS]

    assert [(label.name, label.role) for label in nuswide.labels(config(files))] == expected


def test_old_prefixes_and_archives_in_folders_of_their_own_change_nothing(files: NusWideFiles) -> None:
    before = rows(config(files))
    replace(files, prefix=PREFIX).write()
    for archive in ("ImageList", "Groundtruth", "NUS_WID_Tags", "ConceptsList"):
        (files.root / archive).rename(files.root / "moving")
        (files.root / archive).mkdir()
        (files.root / "moving").rename(files.root / archive / archive)
    (files.root / "NUS-WIDE-urls").mkdir()
    (files.root / "NUS-WIDE-urls.txt").rename(files.root / "NUS-WIDE-urls/NUS-WIDE-urls.txt")

    assert rows(config(files)) == before
    assert all(Path(path).is_file() for path in nuswide.sources(config(files)))


def test_limit_and_splits_take_the_first_images_of_each_split(files: NusWideFiles) -> None:
    everything = rows(config(files))

    assert list(rows(config(files, limit=3)).values()) == [*everything.values()][:3] + [*everything.values()][30:33]
    assert list(rows(config(files, splits=("test",), limit=2)).values()) == [*everything.values()][30:32]


def test_addresses_stand_in_the_configured_order_without_nulls(files: NusWideFiles) -> None:
    found = [[(p["source"], p["address"]) for p in row["locations"]] for row in rows(config(files)).values()]

    whole = [("middle", f"{FLICKR}/0_ab.jpg"), ("large", f"{FLICKR}/0_ab_b.jpg"), ("small", f"{FLICKR}/0_ab_m.jpg")]
    assert found[0] == whole
    assert [source for source, _ in found[4]] == ["large", "small"]  # middle is null
    assert [source for source, _ in found[6]] == ["middle", "large", "small"]  # its line has lost a column
    assert found[22] == []  # it has no line
    small_first = rows(config(files, url_sizes=("small", "middle")))
    assert [place["source"] for place in next(iter(small_first.values()))["locations"]] == ["small", "middle"]


@pytest.mark.parametrize("name", ["folder000/0000_100000.jpg", "folder000_0000_100000.jpg"])
def test_a_local_file_in_either_naming_stands_before_addresses(files: NusWideFiles, tmp_path: Path, name: str) -> None:
    picture = tmp_path / "Flickr" / name
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"12345")
    (tmp_path / "Flickr/folder000_9_stray.jpg").write_bytes(b"")
    for images in ("Flickr", "."):
        row = rows(config(files, images=str(tmp_path / images)))["folder000/0000_100000.jpg"]

        assert [place["source"] for place in row["locations"]] == ["local", "middle", "large", "small"]
        assert row["locations"][0]["address"] == str(picture)
        assert (row["size_bytes"], row["modified_ns"]) == (5, picture.stat().st_mtime_ns)


def test_the_listing_changes_with_the_folder_of_images_only(files: NusWideFiles, tmp_path: Path) -> None:
    (tmp_path / "Flickr").mkdir()
    with_images = config(files, images=str(tmp_path / "Flickr"))
    before = nuswide.listing(with_images)
    assert (nuswide.listing(config(files)).digest, nuswide.listing(with_images)) == ("", before)

    (tmp_path / "Flickr/folder000_0000_100000.jpg").write_bytes(b"1")
    assert nuswide.listing(with_images) != before


def test_the_index_stage_writes_rows_and_annotations_by_label_index(files: NusWideFiles, tmp_path: Path) -> None:
    task = task_of("index", tmp_path, index.Settings(config(files, shard_images=20)))
    outputs = index.run(task)

    names = pq.read_table(tmp_path / "labels.parquet")["name"].to_pylist()
    assert names == [*SEEN, *CONCEPTS]
    shards = [pq.read_table(path) for path in sorted((tmp_path / "annotations").glob("*.parquet"))]
    found = {row["image_id"]: row for shard in shards for row in shard.to_pylist()}
    expected = slow_labels(files.root, "Train", tags=True) | slow_labels(files.root, "Test", tags=True)
    assert {name: [names[label] for label in row["positive"]] for name, row in found.items()} == expected
    assert sorted(output.rows for output in outputs) == [6, 10, 20, 20]


def test_an_image_whose_middle_size_is_gone_is_fetched_large(files: NusWideFiles, tmp_path: Path) -> None:
    settings = config(files, splits=("train",), limit=2)
    stages = {"index": index.Settings(settings), "download": download.Settings(loopback())}
    with serving() as flickr:
        urls = [f"{flickr.base}/{path}" for path in ("ok/5.jpg", "code/404", "ok/6.jpg", "ok/7.jpg")]
        gone = [f"{flickr.base}/code/404"] * 4
        names = [files.name(number) for number in (0, 1)]
        lines = [f"{PREFIX}{name} 1 {' '.join(sizes)}" for name, sizes in zip(names, (urls, gone), strict=True)]
        (files.root / "NUS-WIDE-urls.txt").write_text("\n".join(lines))
        listing = task_of("index", tmp_path, stages["index"])
        indexed = {"index": sealed(listing, index.run(listing))}
        download.run(task_of("download", tmp_path, stages["download"], indexed, shard=0))
        asked = flickr.requests

    found = pq.read_table(tmp_path / "downloads/shard-00000.parquet").to_pylist()
    assert [(row["status"], row["source"]) for row in found] == [("ok", "large"), ("not_found", "original")]
    assert asked == {"/code/404": 5, "/ok/5.jpg": 1}


def loopback() -> DownloadConfig:
    return DownloadConfig(timeout_s=20, backoff_s=0.001, allowed_networks=("127.0.0.0/8",))


@pytest.mark.parametrize("name", ["NUS_WID_Tags/Train_Tags1k.dat", "Groundtruth/TrainTestLabels/Labels_fire_Train.txt"])
def test_a_file_with_another_number_of_lines_is_named(files: NusWideFiles, name: str) -> None:
    path = files.root / name
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))

    with pytest.raises(
        PipelineError, match=rf"{path.name}: found 29 lines, expected 30, one for each image of .*Train"
    ):
        rows(config(files))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0\t1\t0\t", "line 2: found 3 values, expected 5"),
        ("0\t1\t11\t0\t0\t", "line 2: found '11', expected 0 or 1"),
        ("0\t1\tx2\t0\t0\t", "line 2: found 'x2', expected 0 or 1"),
    ],
)
def test_a_malformed_line_of_a_matrix_is_named(files: NusWideFiles, line: str, message: str) -> None:
    path = files.root / "NUS_WID_Tags/Train_Tags1k.dat"
    lines = path.read_text().splitlines()
    path.write_text("\r\n".join([lines[0], line, *lines[2:]]))

    with pytest.raises(PipelineError, match=rf"Train_Tags1k\.dat, {message}"):
        rows(config(files))


def test_missing_settings_and_files_say_what_to_set_and_what_to_download(files: NusWideFiles) -> None:
    with pytest.raises(UsageError, match=r"dataset\.root is not set; expected .*archives .*--set dataset\.root=PATH"):
        nuswide.sources(NusWideDataset())
    with pytest.raises(UsageError, match=r"dataset\.images: no folder 'nowhere'"):
        nuswide.sources(config(files, images="nowhere"))
    (files.root / "ImageList/TestImagelist.txt").unlink()
    with pytest.raises(UsageError, match=r"no file ImageList/TestImagelist\.txt below .* from the archive ImageList"):
        nuswide.sources(config(files))
    (files.root / "NUS-WIDE-urls.txt").unlink()
    with pytest.raises(UsageError, match=r"dataset\.images is not set and there is no NUS-WIDE-urls\.txt"):
        nuswide.sources(config(files))


def test_lists_of_labels_may_lie_elsewhere(files: NusWideFiles, tmp_path: Path) -> None:
    before = nuswide.labels(config(files))
    (files.root / "ConceptsList/Concepts81.txt").rename(tmp_path / "concepts.txt")

    assert nuswide.labels(config(files, concepts=str(tmp_path / "concepts.txt"), sha256={})) == before


def test_lines_of_the_url_file_that_name_no_image_are_counted(files: NusWideFiles) -> None:
    path = files.root / "NUS-WIDE-urls.txt"
    path.write_bytes(path.read_bytes() + b"1 2 3\r\n\r\nno image\r\n")
    left_out: Counter[str] = Counter()

    assert sum(len(table) for table in nuswide.records(config(files), left_out)) == 50
    assert left_out == {"lines of the URL file without an image": 2}


def test_a_line_of_another_count_gives_the_middle_address_first_wherever_its_nulls_stand(tmp_path: Path) -> None:
    middle, large, small = (f"{FLICKR}/1_ab{letter}.jpg" for letter in ("", "_b", "_m"))
    forms = {
        f"null {middle} null": ["middle"],
        f"{large} {middle} null": ["middle", "large"],
        f"null {middle} null null null": ["middle"],
        f"null null {small} {middle} {large} null": ["middle", "large", "small"],
        f"{middle}": ["middle"],
        f"{small} null": ["small"],
        "null null null": [],
        f"null {middle} {small} null": ["middle", "small"],
    }
    names = {f"actor/{number}.jpg": text for number, text in enumerate(forms)}
    path = tmp_path / "NUS-WIDE-urls.txt"
    path.write_text("".join(f"C:\\Flickr\\{name}   100  {text}  \r\n" for name, text in names.items()))

    found = read_addresses(path, ["middle", "large", "small"], names, Counter())

    places = {"middle": middle, "large": large, "small": small}
    assert {name: [size for size, _ in found.get(name, ())] for name in names} == {
        name: forms[text] for name, text in names.items()
    }
    assert all(address == places[size] for addresses in found.values() for size, address in addresses)


def test_a_url_file_that_is_none_and_an_image_list_that_is_none_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "strange.txt"
    path.write_text("%\nnothing here\n")

    with pytest.raises(PipelineError, match="found no line with an image"):
        read_addresses(path, ["middle"], {"a/b.jpg"}, Counter())
    with pytest.raises(PipelineError, match="line 1: found '%', expected a folder and a file"):
        read_image_ids(path)


def test_the_real_lists_give_925_seen_and_81_unseen_labels_in_order(shared: Path) -> None:
    real = shared / "data/metadata/nuswide"
    tags, concepts = read_names(real / "TagList1k.txt"), read_names(real / "Concepts81.txt")
    settings = NusWideDataset(root=str(real), tags=str(real / "TagList1k.txt"), concepts=str(real / "Concepts81.txt"))
    found = nuswide.labels(settings)

    assert [len(tags), len(concepts), len(found)] == [1000, 81, 1006]
    assert [label.name for label in found] == [tag for tag in tags if tag not in concepts] + list(concepts)
    assert [label.role for label in found] == [LabelRole.SEEN] * 925 + [LabelRole.UNSEEN] * 81
    assert [name for name in concepts if name not in tags] == [
        "computer",
        "fire",
        "map",
        "swimmers",
        "tattoo",
        "whales",
    ]


def test_the_real_test_list_has_107859_distinct_images(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(
        gzip.decompress((shared / "data/metadata/nuswide/NUS_TestImagelist.txt.gz").read_bytes())
    )
    found = read_image_ids(tmp_path / "list.txt")

    assert len(found) == len(set(found)) == 107_859
    assert found[0] == "actor/0002_174174086.jpg"


def test_the_real_rows_of_the_url_file_give_their_addresses(shared: Path) -> None:
    path = shared / "data/metadata/nuswide/NUS-WIDE-urls_real_rows.txt"
    found = read_addresses(path, ["middle", "large", "original"], {"actor/0002_174174086.jpg"}, Counter())

    assert found == {
        "actor/0002_174174086.jpg": (
            ("middle", "http://farm1.static.flickr.com/44/174174086_a0b4e9d9cf.jpg"),
            ("large", "http://farm1.static.flickr.com/44/174174086_a0b4e9d9cf_b.jpg"),
        )
    }
