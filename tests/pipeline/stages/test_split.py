"""Splits follow from a seed and ids, or the bytes of images; roles from the data set."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_tasks import sealed, task

from pipeline.datasets.demo.settings import DemoDataset
from pipeline.datasets.folder.settings import FolderDataset
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.storage import Storage
from pipeline.files.tables import write_table
from pipeline.settings.layers import configuration
from pipeline.stages import download, index, split
from pipeline.stages.split import image_split
from schemas import tables
from schemas.config import SplitConfig
from schemas.errors import IntegrityError, PipelineError
from schemas.receipts import Receipt

IDS = [f"image-{n}" for n in range(3000)]


def sha256(image: str) -> str:
    return hashlib.sha256(image.encode()).hexdigest()


def share(splits: list[str], name: str) -> float:
    return splits.count(name) / len(splits)


def task_on(root: Path, receipt: Receipt, config: DemoDataset | FolderDataset, **settings: Any) -> Task:
    chosen = split.Settings(SplitConfig(**settings), config)
    return task("split", root, chosen, {"index": [receipt]}, receipt.shard)


def indexed(root: Path, config: DemoDataset | FolderDataset) -> dict[int | None, Receipt]:
    listing = task("index", root, index.Settings(config))
    return {receipt.shard: receipt for receipt in sealed(listing, index.run(listing))}


def rows_left(root: Path, stage: str, rows: list[dict[str, Any]], schemas: dict[str, pa.Schema]) -> Receipt:
    """One shard made by hand."""
    made = task(stage, root, None)
    for name, schema in schemas.items():
        chosen = [{"removed": False} | {name: row.get(name) for name in schema.names if name in row} for row in rows]
        write_table(made.storage, made.path(name, 0), pa.Table.from_pylist(chosen, schema=schema))
    return sealed(made, [Output(tuple(schemas), len(rows), shard=0)])[0]


def rows_indexed(root: Path, rows: list[dict[str, Any]]) -> Receipt:
    return rows_left(root, "index", rows, {"index": tables.INDEX, "annotations": tables.ANNOTATIONS})


def split_by_content(root: Path, hashes: dict[str, str | None], **official: str) -> tuple[dict[str, str], Output]:
    """The splits of images in one shard, some of them official, and the output; an image without a hash failed."""
    rows = [{"image_id": name, "split": official.get(name), "positive": [0]} for name in hashes]
    told = [
        {"image_id": name, "sha256": sha256, "status": "ok" if sha256 else "timeout"} for name, sha256 in hashes.items()
    ]
    left = {
        "index": [rows_indexed(root, rows)],
        "download": [rows_left(root, "download", told, {"downloads": tables.DOWNLOADS})],
    }
    (output,) = split.run(task("split", root, split.Settings(SplitConfig(), FolderDataset()), left, shard=0))
    table = pq.read_table(root / "splits/default/images-shard-00000.parquet")
    return dict(zip(table["image_id"].to_pylist(), table["split"].to_pylist(), strict=True)), output


def test_fractions_come_out_as_configured() -> None:
    splits = [str(image_split(name, None, SplitConfig(test_fraction=0.3, validation_fraction=0.25))) for name in IDS]

    assert share(splits, "test") == pytest.approx(0.3, abs=0.03)
    assert share(splits, "validation") == pytest.approx(0.7 * 0.25, abs=0.03)


def test_the_split_agrees_with_the_formula() -> None:
    def fraction(name: str, purpose: bytes) -> float:
        return int(hashlib.blake2b(f"7:{name}".encode(), digest_size=8, person=purpose).hexdigest(), 16) / 2**64

    for name in IDS[:200]:
        expected = "validation" if fraction(name, b"validation") < 0.2 else "train"
        expected = "test" if fraction(name, b"test") < 0.2 else expected
        assert image_split(name, None, SplitConfig(seed=7)) == expected


def test_another_seed_is_another_split() -> None:
    one, other = ([image_split(name, None, SplitConfig(seed=seed)) for name in IDS] for seed in (0, 1))

    assert sum(a != b for a, b in zip(one, other, strict=True)) > 500


def test_validation_does_not_depend_on_being_near_the_test_share() -> None:
    small, large = (
        [image_split(name, None, SplitConfig(test_fraction=fraction)) for name in IDS] for fraction in (0.1, 0.3)
    )

    for before, after in zip(small, large, strict=True):
        assert after in (before, "test")


def test_an_official_split_stays_and_training_images_give_a_share_to_validation() -> None:
    config = SplitConfig(validation_fraction=0.25)

    assert {str(image_split(name, "test", config)) for name in IDS} == {"test"}
    assert {str(image_split(name, "validation", config)) for name in IDS} == {"validation"}
    train = [str(image_split(name, "train", config)) for name in IDS]
    assert set(train) == {"train", "validation"}
    assert share(train, "validation") == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, {"train"}), (1.0, {"test"})])
def test_fractions_of_none_and_all(fraction: float, expected: set[str]) -> None:
    config = SplitConfig(test_fraction=fraction, validation_fraction=0.0)

    assert {str(image_split(name, None, config)) for name in IDS} == expected


def test_an_unknown_official_split_is_an_error() -> None:
    with pytest.raises(PipelineError, match=r"official split 'dev'; expected train, validation, test, or none"):
        image_split("a", "dev", SplitConfig())


def test_removed_and_unlabelled_images_are_in_no_split_and_counted(tmp_path: Path) -> None:
    receipt = rows_indexed(
        tmp_path,
        [
            {"image_id": "a", "split": "test", "positive": [0]},
            {"image_id": "b", "split": "test", "positive": None},
            {"image_id": "c", "split": "test", "positive": None, "removed": True},
            {"image_id": "d", "split": "validation", "positive": []},
        ],
    )

    (output,) = split.run(task_on(tmp_path, receipt, DemoDataset()))

    table = pq.read_table(tmp_path / "splits/default/images-shard-00000.parquet")
    assert table.schema.equals(tables.IMAGE_SPLITS)
    assert table["split"].to_pylist() == ["test", None, None, "validation"]
    assert output.files == ("images",)
    assert output.counts == {"removed": 1, "test": 1, "unlabelled": 1, "validation": 1}
    assert output.rows == sum(output.counts.values())


def test_every_image_of_the_demo_keeps_its_split_when_the_data_set_grows(tmp_path: Path) -> None:
    found = []
    for number, images in enumerate((50, 90)):
        root = tmp_path / str(number)
        root.mkdir()
        config = DemoDataset(num_images=images, shard_images=20)
        receipts = indexed(root, config)
        for shard in sorted(shard for shard in receipts if shard is not None):
            split.run(task_on(root, receipts[shard], config))
        paths = sorted((root / "splits/default").iterdir())
        found.append({row["image_id"]: row["split"] for path in paths for row in pq.read_table(path).to_pylist()})

    assert len(found[0]) == 50
    assert found[1].items() >= found[0].items()
    assert set(found[1].values()) == {"train", "validation", "test"}


def test_roles_follow_the_label_index_and_dropped_labels_have_none(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("image,labels\nhttp://h/a,x;y\n")
    config = FolderDataset(labels=str(tmp_path / "l.csv"), unseen=str(tmp_path / "u.txt"))
    (tmp_path / "u.txt").write_text("x\nnever\n")
    indexed(tmp_path, config)
    (tmp_path / "l.csv").write_text("image,labels\nhttp://h/a,a;x\n")
    receipt = indexed(tmp_path, config)[None]

    (output,) = split.run(task_on(tmp_path, receipt, config))

    assert pq.read_table(tmp_path / "labels.parquet")["label_id"].to_pylist() == ["y", "x", "never", "a"]
    table = pq.read_table(tmp_path / "splits/default/labels.parquet")
    assert table.schema.equals(tables.LABEL_ROLES)
    assert table.to_pylist() == [
        {"label_index": 1, "role": "unseen"},
        {"label_index": 2, "role": "unseen"},
        {"label_index": 3, "role": "seen"},
    ]
    assert (output.shard, output.counts) == (None, {"seen": 1, "unseen": 2})


def test_a_split_column_decides_for_its_images_and_the_others_are_dealt_by_hash(tmp_path: Path) -> None:
    said = {f"http://h/{number}": ("test", "validation", "train", "")[number % 4] for number in range(40)}
    lines = [f"{image},x,{name}" for image, name in said.items()]
    (tmp_path / "l.csv").write_text("\n".join(["image,labels,split", *lines]))
    config = FolderDataset(labels=str(tmp_path / "l.csv"))
    receipts = indexed(tmp_path, config)

    split.run(task_on(tmp_path, receipts[0], config, validation_fraction=0.0))

    table = pq.read_table(tmp_path / "splits/default/images-shard-00000.parquet")
    assert {row["image_id"]: said[row["image_id"]] or row["split"] for row in table.to_pylist()} == {
        row["image_id"]: row["split"] for row in table.to_pylist()
    }
    assert {row["split"] for row in table.to_pylist() if not said[row["image_id"]]} == {"train", "test"}


def test_a_label_that_came_after_the_index_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("image,labels\nhttp://h/a,x\n")
    config = FolderDataset(labels=str(tmp_path / "l.csv"))
    receipt = indexed(tmp_path, config)[None]
    (tmp_path / "l.csv").write_text("image,labels\nhttp://h/a,x;new\n")

    with pytest.raises(PipelineError, match=r"the label 'new' is not among the 1 labels.*Run: biam-pipe index"):
        split.run(task_on(tmp_path, receipt, config))


def test_only_a_data_set_that_says_so_is_split_by_content_and_others_keep_their_recipe() -> None:
    def described(dataset: str, *sets: str) -> Stage:
        config = configuration(dataset, None, {}, sets, Path("nowhere"))
        return split.stage(config, Sources(Storage("nowhere")))

    mine, theirs = described("folder", "dataset.folders=x"), described("demo")
    assert (mine.upstream, mine.reads) == ({"index": "shard", "download": "shard"}, {"download": download.HASHES})
    assert (theirs.upstream, theirs.reads) == ({"index": "shard"}, {})
    assert mine.recipe.keys() - theirs.recipe.keys() == {"split.by"}


def test_equal_images_share_a_split_and_keep_it_as_the_folder_grows(tmp_path: Path) -> None:
    hashes: dict[str, str | None] = {f"{copy}/{name}": sha256(name) for name in IDS[:30] for copy in "ab"}

    first, _ = split_by_content(tmp_path, hashes)
    second, _ = split_by_content(tmp_path, hashes | {f"c/{name}": sha256(name) for name in IDS[:60]})

    assert [first[f"a/{name}"] for name in IDS[:30]] == [first[f"b/{name}"] for name in IDS[:30]]
    assert [first[f"a/{name}"] for name in IDS[:30]] == [
        image_split(sha256(name), None, SplitConfig()) for name in IDS[:30]
    ]
    assert second.items() >= first.items()
    assert [second[f"c/{name}"] for name in IDS[:30]] == [first[f"a/{name}"] for name in IDS[:30]]


def test_an_image_that_failed_is_dealt_by_its_id_and_one_that_comes_late_joins_its_equals(tmp_path: Path) -> None:
    known: dict[str, str | None] = {f"known/{name}": sha256(name) for name in IDS[:40]}
    late = [f"late/{name}" for name in IDS[:40]]

    before, output = split_by_content(tmp_path, known | dict.fromkeys(late))
    after, changed = split_by_content(tmp_path, known | {name: sha256(name.removeprefix("late/")) for name in late})

    assert [before[name] for name in late] == [image_split(name, None, SplitConfig()) for name in late]
    assert [after[name] for name in late] == [after[name] for name in known]
    assert [after[name] for name in known] == [before[name] for name in known]
    assert output.content != changed.content  # what is trained on them has another fingerprint


def test_an_explicit_split_stays_whatever_the_bytes_and_equal_training_images_validate_together(tmp_path: Path) -> None:
    names = {f"{copy}/{name}": sha256(name) for name in IDS[:40] for copy in ("dealt", "train", "train-too", "test")}
    official = {name: name.partition("/")[0].removesuffix("-too") for name in names if not name.startswith("dealt")}

    found, _ = split_by_content(tmp_path, dict(names), **official)

    assert {found[f"test/{name}"] for name in IDS[:40]} == {"test"}
    assert {found[f"train/{name}"] for name in IDS[:40]} == {"train", "validation"}
    assert [found[f"train/{name}"] for name in IDS[:40]] == [found[f"train-too/{name}"] for name in IDS[:40]]


def test_downloads_of_other_images_than_the_index_are_damage(tmp_path: Path) -> None:
    left = {
        "index": [rows_indexed(tmp_path, [{"image_id": "a", "positive": [0]}])],
        "download": [
            rows_left(tmp_path, "download", [{"image_id": "b", "status": "ok"}], {"downloads": tables.DOWNLOADS})
        ],
    }
    with pytest.raises(IntegrityError, match=r"lists other images than the index.* run: biam-pipe download"):
        split.run(task("split", tmp_path, split.Settings(SplitConfig(), FolderDataset()), left, shard=0))
