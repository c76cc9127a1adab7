"""What is known before anything runs, or right after the index, is told then and not hours later."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

import cli
from benchmarks.fault_server import serving
from pipeline import flow
from pipeline.commands.console import plan_lines
from pipeline.settings.layers import configuration
from schemas.config import Config
from schemas.errors import PipelineError

SHARDS = 6
DROP = "embed.missing=drop"


@dataclass(frozen=True)
class Photos:
    """Six pictures, one a shard, that bear `Red` or `zzyzx`; and word vectors that know one of these words."""

    root: Path
    scheduler: str | None

    def settings(self, *more: str) -> list[str]:
        usual = (
            f'dataset.folders=["{self.root}/photos"]', f"dataset.labels={self.root}/labels.csv",
            "dataset.shard_images=1", "backbone.name=tiny", "backbone.weights=random:0", "backbone.input_px=32",
            "engine.threads=1", "model.top_k=4", f"embed.vectors={self.root}/vectors.txt",
        )  # fmt: skip
        return [*usual, *more]

    def config(self, *more: str) -> Config:
        return configuration("folder", None, {}, self.settings(*more), self.root / "work")

    def plan(self, *more: str) -> list[flow.StagePlan]:
        return flow.plan(self.config(*more), self.root / "work", flow.Request("report"))

    def run(self, stage: str, *more: str) -> dict[str, int]:
        request = flow.Request(stage, scheduler=self.scheduler, quiet=True)
        return dict(flow.run(self.config(*more), self.root / "work", request).ran)

    def json(self, *more: str) -> dict[str, Any]:
        sets = [word for setting in self.settings(*more) for word in ("--set", setting)]
        words = ["plan", "--json", "--dataset", "folder", "--work", str(self.root / "work"), *sets]
        found: dict[str, Any] = json.loads(CliRunner().invoke(cli.app, words).stdout)
        return found


def made(root: Path, scheduler: str) -> Photos:
    (root / "photos").mkdir()
    lines = ["image,labels"]
    for number in range(SHARDS):
        Image.new("RGB", (8, 8)).save(root / f"photos/{number:02}.png")
        lines.append(f"{number:02}.png,{'Red' if number % 2 else 'zzyzx'}")
    (root / "labels.csv").write_text("\n".join(lines))
    (root / "vectors.txt").write_text("red 1 0\nblue 0 1\n")
    return Photos(root, scheduler)


@pytest.fixture
def photos(tmp_path: Path, scheduler: str) -> Photos:
    return made(tmp_path, scheduler)


def test_a_label_without_a_word_is_refused_by_the_plan_and_before_the_run(photos: Photos) -> None:
    told = r"embed: 1 labels of 2 have no word in .*vectors.txt: 'zzyzx'; expected one at least.*embed.missing=drop"
    with pytest.raises(PipelineError, match=told):
        photos.plan()
    with pytest.raises(PipelineError, match=told):
        photos.run("report")
    assert not (photos.root / "work").exists()
    flow.plan(photos.config(), photos.root / "work", flow.Request("extract"))  # which needs no words


def test_labels_that_are_left_out_for_want_of_a_word_are_told(photos: Photos, caplog: pytest.LogCaptureFixture) -> None:
    photos.plan(DROP)
    (told,) = [text for text in caplog.messages if text.startswith("embed")]
    assert told == f"embed: 1 of 2 labels have no word in {photos.root}/vectors.txt: 'zzyzx'"
    caplog.clear()
    photos.plan(DROP, 'embed.overrides.zzyzx="blue"')
    assert not [text for text in caplog.messages if text.startswith("embed")]


def test_where_only_the_stage_can_say_so_it_does_before_the_second_shard_of_features(photos: Photos) -> None:
    """Of an address the plan does not know what lies there. To a cluster of a user's more tasks are given ahead."""
    photos = replace(photos, scheduler=None)
    with serving() as server:
        elsewhere = (f"embed.vectors={server.base}/vectors", 'download.allowed_networks=["127.0.0.0/8"]')
        photos.plan(*elsewhere)
        with pytest.raises(PipelineError, match=r"embed: 1 labels of 2 have no word in http"):
            photos.run("report", *elsewhere)
    made = list((photos.root / "work/folder/features").glob("*/parquet/shard-*.json"))
    assert len(made) <= 2  # the one that was in line, and the one that ran meanwhile


def test_a_run_for_which_there_is_no_room_is_refused_and_a_plan_only_says_so(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "store.compression=none"
    used = type(shutil.disk_usage("/"))(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: used)
    text = "\n".join(plan_lines(lines := photos.plan(DROP, whole), flow.disks(lines)))
    assert "free: 0 B. That cannot fit. Use fewer or smaller maps (backbone.layers), store.compression=zstd, or" in text
    with pytest.raises(PipelineError, match=r"cannot hold what this run will write \(found 0 B free, expected about"):
        photos.run("report", DROP, whole)
    assert not (photos.root / "work").exists()


def test_the_plan_counts_before_anything_runs_and_makes_no_folder(photos: Photos) -> None:
    plan = {line["name"]: line for line in photos.json(DROP)["stages"]}
    assert not (photos.root / "work").exists()
    facts = plan["index"]["facts"]
    assert (facts["images"], facts["labelled"], facts["fetched"]) == (SHARDS, SHARDS, 0)
    assert facts["images_a_label"]["seen"]["least"] == SHARDS // 2
    assert {name: line["forecast"]["basis"] for name, line in plan.items()} == {
        "index": "at most", "download": "at most", "extract": "at most", "split": "small",
        "embed": "small", "train": "small", "evaluate": "small", "report": "small",
    }  # fmt: skip
    assert (plan["extract"]["forecast"]["rows"], plan["extract"]["expected_s"]) == (SHARDS, None)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Photos:
    """One of the pictures is none; the features of the others are there."""
    photos = made(tmp_path_factory.mktemp("extracted"), scheduler)
    (photos.root / "photos/00.png").write_bytes(b"no picture")
    photos.run("extract", DROP)
    return photos


def test_status_adds_up_what_all_stages_come_to(extracted: Photos) -> None:
    found = flow.status(extracted.config(DROP), extracted.root / "work").totals
    assert found is not None
    assert (found.images, found.done, found.failed) == (SHARDS, SHARDS - 1, 1)
    assert found.size_bytes > 0
    assert found.left_s is None  # no shard of the split is there
    assert found.outdated == ("split", "embed", "train", "evaluate", "report")


def test_a_plan_of_more_images_goes_by_the_shards_that_are_there_and_changes_nothing(extracted: Photos) -> None:
    for number in range(SHARDS, SHARDS + 2):
        Image.new("RGB", (8, 8)).save(extracted.root / f"photos/{number:02}.png")
    before = {path: path.stat().st_mtime_ns for path in (extracted.root / "work").rglob("*")}
    told = extracted.json(DROP)
    lines = list(plan_lines(plan := extracted.plan(DROP), flow.disks(plan)))
    assert {path: path.stat().st_mtime_ns for path in (extracted.root / "work").rglob("*")} == before

    extract = {line["name"]: line for line in told["stages"]}["extract"]
    assert (extract["forecast"]["rows"], extract["forecast"]["basis"]) == (2, "earlier shards")
    assert extract["forecast"]["size_bytes"] > 0
    assert extract["expected_s"] is not None
    assert [disk["verdict"] for disk in told["disks"]] == ["fits"]
    assert any(line.startswith(f"{SHARDS + 2} images, ") for line in lines)
    assert lines[-1] == "time of split: unknown until the first shard"
