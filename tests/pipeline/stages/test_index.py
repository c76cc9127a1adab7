"""The index grows and never moves a row."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_tasks import inputs, sealed
from stage_tasks import task as task_of

from benchmarks.openimages_files import Size, write_files
from pipeline import flow
from pipeline.datasets.demo.settings import DemoDataset
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.datasets.openimages.settings import OpenImagesDataset
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Task
from pipeline.files.storage import Storage
from pipeline.machine.telling import heard_by
from pipeline.models.biam.settings import BiamConfig
from pipeline.stages import index
from schemas import tables
from schemas.config import Config
from schemas.errors import IntegrityError, PipelineError, TimeBudgetError

Rows = dict[str, str]  # labels as in the CSV, by image


@dataclass(frozen=True)
class Work:
    """A work folder and the data set that fills it: addresses only, two images a shard."""

    path: Path
    shard_images: int = 2

    @property
    def root(self) -> Path:
        return self.path / "work"

    @property
    def task(self) -> Task:
        self.root.mkdir(exist_ok=True)
        config = FolderDataset(
            labels=str(self.path / "l.csv"), unseen=str(self.path / "u.txt"), shard_images=self.shard_images
        )
        return task_of("index", self.root, index.Settings(config))

    def lists(self, images: Rows, unseen: Sequence[str] = ()) -> None:
        lines = [f"http://h/{image},{labels}" for image, labels in images.items()]
        (self.path / "l.csv").write_text("\n".join(["image,labels", *lines, ""]))
        (self.path / "u.txt").write_text("\n".join(unseen))

    def index(self, images: Rows, unseen: Sequence[str] = ()) -> dict[int | None, Output]:
        self.lists(images, unseen)
        return {output.shard: output for output in index.run(self.task)}

    def rows(self, kind: str = "index") -> list[list[dict[str, Any]]]:
        return [pq.read_table(path).to_pylist() for path in sorted((self.root / kind).iterdir())]

    def images(self) -> list[list[str]]:
        """Names by shard; removed ones in brackets."""
        shown = [[(row["image_id"].removeprefix("http://h/"), row["removed"]) for row in rows] for rows in self.rows()]
        return [[f"({name})" if removed else name for name, removed in rows] for rows in shown]

    def labels(self) -> list[str]:
        return pq.read_table(self.root / "labels.parquet")["label_id"].to_pylist()

    def files(self) -> dict[str, tuple[bytes, int]]:
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): (path.read_bytes(), path.stat().st_ino) for path in found}


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


FIRST = {"a": "x", "b": "x;y", "c": "y"}


def test_tables_have_their_schemas_and_outputs_name_their_files(work: Work) -> None:
    outputs = work.index(FIRST, ["z"])

    assert work.images() == [["a", "b"], ["c"]]
    assert [[row["positive"] for row in rows] for rows in work.rows("annotations")] == [[[0], [0, 1]], [[1]]]
    assert work.labels() == ["x", "y", "z"]
    assert outputs[0].files == ("index", "annotations")
    assert outputs[None].files == ("labels",)
    assert (outputs[0].rows, outputs[1].rows, outputs[None].rows) == (2, 1, 3)
    assert pq.read_schema(work.root / "index/shard-00000.parquet").equals(tables.INDEX)
    assert pq.read_schema(work.root / "annotations/shard-00000.parquet").equals(tables.ANNOTATIONS)
    assert pq.read_schema(work.root / "labels.parquet").equals(tables.LABELS)


def test_rows_are_told_while_they_are_read_and_while_they_are_written(work: Work) -> None:
    told = []
    with heard_by(lambda *words: told.append(words)):
        work.index({"a": "x", "b": "", "c": "y"})
    assert told == [(3, None, "3 rows read"), (2, 3, "2 of 3 rows"), (3, 3, "3 of 3 rows")]


def test_a_second_run_writes_no_file_and_gives_the_same_outputs(work: Work) -> None:
    outputs, files = work.index(FIRST), work.files()

    assert work.index(FIRST) == outputs
    assert work.files() == files


def test_two_folders_get_equal_bytes(tmp_path: Path) -> None:
    works = [Work(tmp_path / name) for name in ("one", "two")]
    for work in works:
        work.path.mkdir()
        work.index(FIRST)

    one, two = ({name: data for name, (data, _) in work.files().items()} for work in works)
    assert one == two


def test_new_images_go_to_new_shards_and_touch_no_old_file(work: Work) -> None:
    before, files = work.index(FIRST), work.files()
    after = work.index({"new": "x", **FIRST, "newer": "", "newest": "y"})

    assert work.images() == [["a", "b"], ["c"], ["new", "newer"], ["newest"]]
    assert {shard: after[shard] for shard in before} == before
    assert {name: work.files()[name] for name in files} == files


def test_a_changed_row_changes_its_own_shard_only(work: Work) -> None:
    before, files = work.index(FIRST), work.files()
    after = work.index(FIRST | {"a": "y"})

    changed = {name for name in files if work.files()[name] != files[name]}
    assert changed == {"annotations/shard-00000.parquet"}
    assert [shard for shard in before if after[shard].content != before[shard].content] == [0]


def test_a_changed_shard_loses_its_receipt_and_the_others_keep_theirs(work: Work) -> None:
    work.index(FIRST)
    for shard in (0, 1):
        (work.root / f"index/shard-0000{shard}.json").touch()

    work.index({**FIRST, "c": "y;x"})

    assert [path.name for path in (work.root / "index").glob("*.json")] == ["shard-00000.json"]


def test_a_removed_image_leaves_a_tombstone_that_comes_back_to_life(work: Work) -> None:
    before, files = work.index(FIRST), work.files()
    gone = work.index({"b": "x;y", "c": "y", "d": "x"})

    assert work.images() == [["(a)", "b"], ["c"], ["d"]]
    assert work.rows()[0][0]["locations"] == [
        {"source": "http", "address": "http://h/a", "size_bytes": None, "md5": None}
    ]
    assert work.rows("annotations")[0] == [
        {"image_id": "http://h/a", "positive": None, "negative": None, "source": None},
        {"image_id": "http://h/b", "positive": [0, 1], "negative": None, "source": "human"},
    ]
    assert gone[0].counts == {"labelled": 1, "removed": 1}

    back = work.index({**FIRST, "d": "x"})
    assert work.images() == [["a", "b"], ["c"], ["d"]]
    assert back[0] == before[0]
    assert {name: work.files()[name][0] for name in files} == {name: data for name, (data, _) in files.items()}


def test_a_shard_of_tombstones_only_stays(work: Work) -> None:
    work.index(FIRST)
    outputs = work.index({"c": "y"})

    assert work.images() == [["(a)", "(b)"], ["c"]]
    assert outputs[0].counts == {"removed": 2}


def test_rows_stay_put_when_the_list_is_reordered_or_shards_get_another_size(work: Work) -> None:
    before = work.index(FIRST)
    files = work.files()
    after = replace(work, shard_images=3).index({"c": "y", "e": "x", "b": "x;y", "a": "x", "f": "x"})

    assert work.images() == [["a", "b"], ["c"], ["e", "f"]]
    assert {shard: after[shard] for shard in before} == before
    assert {name: work.files()[name] for name in files} == files


def test_labels_are_only_ever_added_at_the_end(work: Work) -> None:
    work.index(FIRST)
    work.index({"a": "w", "b": "x;y", "c": "y"})
    assert work.labels() == ["x", "y", "w"]

    work.index({"a": "w", "b": "w", "c": "v"})
    assert work.labels() == ["x", "y", "w", "v"]
    assert work.rows("annotations")[0][1]["positive"] == [2]


def test_a_label_that_changes_sides_changes_the_content_but_not_the_table(work: Work) -> None:
    before, files = work.index(FIRST), work.files()
    after = work.index(FIRST, ["x"])

    assert work.files() == files
    assert after[None].content != before[None].content
    assert {shard: after[shard] for shard in (0, 1)} == {shard: before[shard] for shard in (0, 1)}


def test_counts_tell_labelled_from_unlabelled_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / "images" / name).write_bytes(b"1")
    (tmp_path / "l.csv").write_text("image,labels\nb.jpg,\n")
    config = FolderDataset(folders=(str(tmp_path / "images"),), labels=str(tmp_path / "l.csv"))
    task = task_of("index", tmp_path / "work", index.Settings(config))

    (shard,) = (output for output in index.run(task) if output.shard is not None)

    assert shard.counts == {"labelled": 1, "unlabelled": 2}
    assert sum(shard.counts.values()) == shard.rows == 3


def test_files_that_are_left_out_are_counted_in_the_facts(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "notes.txt", "Thumbs.db", ".hidden"):
        (tmp_path / "images" / name).write_bytes(b"1")
    task = task_of("index", tmp_path / "work", index.Settings(FolderDataset(folders=(str(tmp_path / "images"),))))

    outputs = {output.shard: output for output in index.run(task)}

    assert outputs[0].rows == 1
    assert outputs[None].facts["left_out"] == {
        "hidden files and folders": 1,
        "files that are not called as images are": 2,
    }


def test_labels_on_few_images_are_told_by_the_images_that_are_listed_now(
    work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work.index({"a": "x;y", "b": "y", "c": "x", "d": "y;w"}, ["w", "zebra"])
    caplog.clear()
    work.index({"a": "x;y", "b": "y", "d": "y"}, ["w", "zebra"])  # c is gone
    assert caplog.messages == [
        "index: 2 seen labels on 1 to 3 images each, median 1; 2 on fewer than 5: 'x' (1), 'y' (3)",
        "index: 2 unseen labels on 0 to 0 images each, median 0; 2 on no image: 'w' (0), 'zebra' (0)",
    ]


def test_a_touched_or_rewritten_local_file_counts_for_the_download_and_for_nothing_else(tmp_path: Path) -> None:
    image = tmp_path / "images" / "a.jpg"
    image.parent.mkdir()
    image.write_bytes(b"1")
    config = FolderDataset(folders=(str(image.parent),))
    task = task_of("index", tmp_path / "work", index.Settings(config))

    def run() -> Output:
        return next(output for output in index.run(task) if output.shard == 0)

    outputs = [run()]
    os.utime(image, ns=(1, 1))
    outputs.append(run())
    image.write_bytes(b"12")
    os.utime(image, ns=(1, 1))
    outputs.append(run())

    assert len({output.parts[index.FILES] for output in outputs}) == 3
    assert len({output.parts[index.PLACES] for output in outputs}) == 1
    assert len({output.content for output in outputs}) == 1
    image.rename(image.with_name("b.jpg"))
    renamed = run()
    assert renamed.parts[index.PLACES] != outputs[0].parts[index.PLACES]
    assert renamed.content != outputs[0].content


def test_a_moved_folder_counts_for_the_download_and_for_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "before/a.jpg").write_bytes(b"1")

    def run(folder: str) -> Output:
        task = task_of("index", tmp_path / "work", index.Settings(FolderDataset(folders=(str(tmp_path / folder),))))
        return next(output for output in index.run(task) if output.shard == 0)

    before = run("before")
    (tmp_path / "before").rename(tmp_path / "after")
    after = run("after")
    (row,) = pq.read_table(tmp_path / "work/index/shard-00000.parquet").to_pylist()
    assert row["locations"][0]["address"] == str(tmp_path / "after/a.jpg")
    assert after.content == before.content
    assert {name for name in after.parts if after.parts[name] != before.parts[name]} == {index.FILES}


def test_a_shard_whose_receipt_counts_in_the_way_of_before_keeps_its_hashes_until_it_changes(work: Work) -> None:
    first = work.index(FIRST)[0]
    old = replace(first, content="old", parts={index.FILES: "old files", index.PLACES: "old places"})

    def again(images: Rows) -> Output:
        receipts = {"index": sealed(work.task, [old])}
        work.lists(images)
        outputs = index.run(replace(work.task, inputs=inputs(work.root, "index", receipts)))
        return next(output for output in outputs if output.shard == 0)

    assert again(FIRST) == old
    labelled = again(FIRST | {"a": "y"})
    assert labelled.parts == old.parts | {index.LABELLED: first.parts[index.LABELLED]}
    assert labelled.content not in ("old", first.content)


def test_which_images_are_labelled_is_a_part_of_its_own(work: Work) -> None:
    before, after = work.index(FIRST | {"a": ""})[0], work.index(FIRST)[0]
    assert after.parts == before.parts
    some, none = (pa.table({"positive": pa.array(value, pa.list_(pa.int32()))}) for value in ([[1]], [None]))
    table = pq.read_table(work.root / "index/shard-00001.parquet").slice(0, 1)
    one, other = (index._contents(table, annotations) for annotations in (some, none))
    assert {name for name in one if one[name] != other[name]} == {index._WHOLE, index.LABELLED}


def test_new_annotations_count_for_neither_download_nor_extract(work: Work) -> None:
    before, after = work.index(FIRST)[0], work.index(FIRST | {"a": "y"})[0]

    assert after.parts == before.parts
    assert after.content != before.content


def test_download_reads_the_files_and_extract_the_places(tmp_path: Path) -> None:
    wired = flow.stages(Config(model=BiamConfig(), dataset=DemoDataset()), Sources(Storage(str(tmp_path))))

    assert {stage.name: stage.reads["index"] for stage in wired if stage.reads} == {
        "download": index.FILES,
        "extract": index.PLACES,
    }


@pytest.mark.parametrize(
    "lost",
    [
        ["labels.parquet"],
        ["index/shard-00001.parquet"],
        ["annotations/shard-00001.parquet"],
        ["index/shard-00001.parquet", "annotations/shard-00001.parquet", "index/shard-00002.parquet"],
    ],
)
def test_files_that_a_killed_run_did_not_write_are_written_as_they_would_have_been(work: Work, lost: list[str]) -> None:
    images = dict.fromkeys("abcdef", "x;y")
    outputs, files = work.index(images), work.files()
    for name in lost:
        (work.root / name).unlink()

    assert work.index(images) == outputs
    assert {name: data for name, (data, _) in work.files().items()} == {name: data for name, (data, _) in files.items()}


def test_credits_lie_beside_the_rows_and_come_to_an_older_index_without_dirtying_anything(tmp_path: Path) -> None:
    files = write_files(tmp_path / "lists", {"validation": Size(5, 20, 3, 2)})
    listed = Path(files["images"]["validation"])  # type: ignore[index]
    whole = listed.read_text("utf-8-sig")
    config = OpenImagesDataset.model_validate({**files, "shard_images": 2})
    root = tmp_path / "work"
    root.mkdir()

    def indexed() -> dict[int | None, Output]:
        task = task_of("index", root, index.Settings(config))
        outputs = index.run(task)
        sealed(task, outputs)
        return {output.shard: output for output in outputs}

    def told_credits() -> list[dict[str, Any]]:
        return [row for path in sorted((root / "credits").iterdir()) for row in pq.read_table(path).to_pylist()]

    listed.write_text(whole.replace("Author", "Somebody").replace("License", "Terms").replace("LandingURL", "Page"))
    older = indexed()
    assert older[0].files == ("index", "annotations")
    assert not (root / "credits").exists()

    listed.write_text(whole)
    newer = indexed()
    assert newer[0].files == ("index", "annotations", "credits")
    assert {shard: (out.content, out.parts) for shard, out in newer.items()} == {
        shard: (out.content, out.parts) for shard, out in older.items()
    }
    told = told_credits()
    ids = [row["image_id"] for name in ("00000", "00001", "00002") for row in _table(root, name)]
    assert [row["image_id"] for row in told] == ids
    assert [row["author"] for row in told] == ["Michael Beat", "摄影师", "<b>Somebody</b>", None, "Michael Beat"]

    lines = whole.splitlines(keepends=True)
    listed.write_text("".join([*lines[:2], *lines[3:]]))
    indexed()
    assert [row["image_id"] for row in told_credits()] == ids
    assert [row["author"] for row in told_credits()][:2] == ["Michael Beat", None]


def _table(root: Path, number: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(root / f"index/shard-{number}.parquet").to_pylist()
    return rows


def test_a_damaged_shard_is_an_integrity_error_that_names_it(work: Work) -> None:
    work.index(FIRST)
    path = work.root / "index/shard-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(IntegrityError, match=r"index/shard-00001\.parquet is no table of index .*biam-pipe index"):
        work.index(FIRST)


def test_a_shard_that_is_not_what_its_receipt_says_is_an_integrity_error(work: Work) -> None:
    work.index(FIRST)
    task = work.task
    receipts = {"index": sealed(task, index.run(task))}
    path = work.root / "index/shard-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(IntegrityError, match=r"index/shard-00001\.parquet is not what its receipt says"):
        index.run(replace(task, inputs=inputs(work.root, "index", receipts)))


def test_an_error_of_the_data_set_leaves_the_index_as_it_was(work: Work) -> None:
    work.index(FIRST)
    files = work.files()
    (work.path / "l.csv").write_text("image,labels\nhttp://h/new,new\n,x\n")
    with pytest.raises(PipelineError, match="line 3: found no image"):
        index.run(work.task)

    assert work.files() == files


def test_an_image_listed_twice_is_an_error(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    work.index(FIRST)
    records = index.DATASETS.load("folder").records
    monkeypatch.setattr(index.DATASETS.load("folder"), "records", lambda *given: [*records(*given), *records(*given)])

    with pytest.raises(
        PipelineError, match=r"data set 'folder' lists the image http://h/a 2 times; expected each id once"
    ):
        index.run(work.task)


def test_a_label_outside_of_the_label_space_is_an_error(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    work.index({"a": "x"})
    monkeypatch.setattr(index.DATASETS.load("folder"), "records", lambda config, left_out: [table_with_label("stray")])

    with pytest.raises(PipelineError, match="the label 'stray', which is not among the 1 labels"):
        index.run(work.task)


def table_with_label(label: str) -> Any:
    return tables.RECORDS.empty_table().from_pylist([{"image_id": "s", "positive": [label]}], schema=tables.RECORDS)


def test_a_used_up_time_budget_stops_between_shards_and_the_next_run_goes_on(work: Work) -> None:
    undisturbed = work.index(FIRST)
    with pytest.raises(TimeBudgetError):
        index.run(replace(work.task, deadline=1.0))

    assert work.index(FIRST) == undisturbed


def test_the_demo_grows_without_dirtying_old_shards(tmp_path: Path) -> None:
    def run(**settings: Any) -> dict[int | None, Output]:
        config = DemoDataset(shard_images=40, **settings)
        outputs = index.run(task_of("index", tmp_path, index.Settings(config)))
        return {output.shard: output for output in outputs}

    small, large, other = run(num_images=100), run(num_images=140), run(num_images=140, seed=1)

    assert {shard: output.rows for shard, output in large.items()} == {None: 32, 0: 40, 1: 40, 2: 20, 3: 40}
    assert {shard: large[shard] for shard in small} == small
    assert all(other[shard].content != large[shard].content for shard in range(4))
    assert Storage(str(tmp_path)).sizes("index").keys() == {f"shard-{n:05d}.parquet" for n in range(4)}
