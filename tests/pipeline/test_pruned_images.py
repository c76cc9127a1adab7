"""`images.keep = false`: image shards go once their features are there, and come back only where they are needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from benchmarks.fault_server import FaultServer, serving
from pipeline import flow
from pipeline.commands.outcome import Result
from pipeline.commands.retry import RETRIED
from pipeline.settings.layers import configuration
from schemas.config import Config
from schemas.errors import PipelineError
from schemas.status import ImageStatus

OTHER_FEATURES = "backbone.input_px=48"


@dataclass
class Folder:
    """Four images on a server, two to a shard; the last one cannot be had until the server is mended."""

    root: Path
    server: FaultServer
    scheduler: str

    def settings(self, *more: str) -> list[str]:
        labels = self.root / "labels.csv"
        paths = ("ok/1", "ok/2", "ok/3", "mendable/4")
        if not labels.exists():  # written again it would be hashed again
            labels.write_text("image,labels\n" + "".join(f"{self.server.base}/{path},x\n" for path in paths))
        usual = (
            f"dataset.labels={labels}", "dataset.shard_images=2", 'download.allowed_networks=["127.0.0.0/8"]',
            "download.attempts=1", "backbone.name=tiny", "backbone.weights=random:0", "backbone.input_px=32",
            "engine.threads=1", "images.keep=false", "model.top_k=4",
        )  # fmt: skip
        return [*usual, *more]

    def config(self, *more: str) -> Config:
        return configuration("folder", None, {}, self.settings(*more), self.root / "work")

    def run(self, *more: str, only: bool = False, retry: frozenset[ImageStatus] = frozenset()) -> Result:
        request = flow.Request("extract", only, self.scheduler, quiet=True, retry=retry)
        return flow.run(self.config(*more), self.root / "work", request)

    def plan(self, *more: str, retry: frozenset[ImageStatus] = frozenset()) -> dict[str, flow.StagePlan]:
        request = flow.Request("extract", retry=retry)
        return {line.name: line for line in flow.plan(self.config(*more), self.root / "work", request)}

    def plan_text(self, *more: str) -> str:
        sets = [word for setting in self.settings(*more) for word in ("--set", setting)]
        told = CliRunner().invoke(cli.app, ["plan", "--dataset", "folder", "--work", str(self.root / "work"), *sets])
        assert told.exit_code == 0, told.output
        return told.output

    def files(self, name: str) -> list[str]:
        return sorted(path.name for path in (self.root / "work/folder" / name).glob("*.parquet"))


@pytest.fixture
def folder(tmp_path: Path, scheduler: str) -> Iterator[Folder]:
    with serving() as server:
        made = Folder(tmp_path, server, scheduler)
        assert made.run().ran == {"index": 1, "download": 2, "extract": 3}
        yield made


def test_image_shards_are_dropped_and_what_became_of_the_images_stays(folder: Folder) -> None:
    assert folder.files("images") == []
    assert folder.files("downloads") == ["shard-00000.parquet", "shard-00001.parquet", "stage.parquet"]
    status = {line.name: line for line in flow.status(folder.config(), folder.root / "work").stages}
    assert (status["download"].shards, status["download"].pruned, status["extract"].pruned) == (2, 2, 0)
    assert flow.verify(folder.config(), folder.root / "work").files.problems == ()

    asked = dict(folder.server.requests)
    before = {path: path.stat().st_mtime_ns for path in (folder.root / "work").rglob("*")}
    assert folder.run().ran == folder.run("images.keep=true").ran == {}
    assert {path: path.stat().st_mtime_ns for path in (folder.root / "work").rglob("*")} == before
    assert folder.server.requests == asked


def test_other_features_are_priced_by_the_plan_refused_alone_and_made_from_images_fetched_again(folder: Folder) -> None:
    line = folder.plan(OTHER_FEATURES)["download"]
    assert line.reasons == ("dropped after use, and extract needs it again",)
    assert (line.to_run, line.again_rows) == (2, 4)
    assert line.again_bytes > 0
    assert " (4 images, " in folder.plan_text(OTHER_FEATURES)
    assert "to fetch again" not in folder.plan_text()

    told = r"extract --only: files of download were dropped .* 4 rows, .* MB.* Run: biam-pipe extract --dataset folder"
    with pytest.raises(PipelineError, match=told):
        folder.run(OTHER_FEATURES, only=True)
    assert folder.server.requests["/ok/1"] == 1
    assert folder.run(OTHER_FEATURES).ran == {"download": 2, "extract": 3}
    assert folder.server.requests["/ok/1"] == 2
    assert folder.files("images") == []
    assert folder.run().ran == {}  # equal bytes came again: the first features are as good as before


def test_failed_images_of_a_dropped_shard_are_tried_again_with_all_of_their_shard_and_no_other(folder: Folder) -> None:
    folder.server.mended.set()
    line = folder.plan(retry=RETRIED)["download"]
    assert (line.to_run, line.reasons) == (1, ("failed, to be tried again: server_error 1",))
    assert line.again_rows == 2
    result = folder.run(retry=RETRIED)
    assert result.ran == {"download": 1, "extract": 1}
    assert {line.name: line.counts for line in result.stages}["extract"] == {"ok": 4}
    assert [folder.server.requests[f"/ok/{number}"] for number in (1, 2, 3)] == [1, 1, 2]
    assert folder.files("images") == []
