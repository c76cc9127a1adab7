"""What a task tells reaches the view of the run, whatever process the task runs in; and what the view shows."""

import io
import logging
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from pipeline.engine.engine import Engine
from pipeline.engine.graph import resolve
from pipeline.engine.progress import LINE_EVERY_S, ProgressView
from pipeline.engine.task import Output, Place, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.storage import Storage
from pipeline.machine.telling import tell
from schemas.config import EngineConfig
from schemas.receipts import BOUND, Receipt


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def talk(task: Task) -> list[Output]:
    for number in range(1, 1000):
        tell(number, None, f"{number} steps")
    task.storage.write(task.path("said"), b"all")
    return [Output(("said",), rows=1)]


def lines_of_a_run(root: Path, place: Place, capsys: pytest.CaptureFixture[str], scheduler: str | None = None) -> str:
    """What a run of the stage `talk` prints where every change is a line."""
    storage = Storage(str(root))
    files = {"said": OutputFile("{folder}/said.txt")}
    graph = resolve([Stage("talk", 1, {}, None, talk, {}, files, place, "talk")], storage)
    with ProgressView(clock=count(0, LINE_EVERY_S).__next__, now=lambda: "07:42:21") as progress:
        Engine(graph, storage, EngineConfig(io_workers=1), progress, scheduler).run()
    return capsys.readouterr().err


@pytest.fixture
def scheduler_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the schedulers of this process complain of; Dask's loggers hand nothing up."""
    logger = logging.getLogger("distributed.scheduler")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("place", ["io", "process"])
def test_a_run_hears_what_a_task_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: Place) -> None:
    lines = lines_of_a_run(tmp_path, place, capsys).splitlines()
    assert lines[:2] == ["07:42:21 talk 0/1", "07:42:21 talk 1 steps"]
    assert lines[-2:] == ["07:42:21 talk 999 steps", "07:42:21 talk 1/1"]
    assert len(lines) < 100


def test_a_run_that_ends_leaves_nothing_that_the_scheduler_still_wants_to_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scheduler_log: pytest.LogCaptureFixture
) -> None:
    lines_of_a_run(tmp_path, "io", capsys)
    assert [record.getMessage() for record in scheduler_log.records if record.levelno == logging.CRITICAL] == []


def test_so_does_a_run_on_a_cluster_that_somebody_else_started_and_no_other_client_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0", processes=False) as theirs,
        Client(theirs, set_as_default=False) as other,
    ):
        lines = lines_of_a_run(tmp_path, "io", capsys, theirs.scheduler_address)
        told_to_the_other = [message for _, message in other.get_events(other.id)]
    assert "talk 999 steps\n" in lines
    assert all(isinstance(message, dict) for message in told_to_the_other)  # those of Dask about itself


def test_elsewhere_than_on_a_terminal_a_line_every_30_s_holds_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 0.0
    with ProgressView(clock=lambda: now_s, now=lambda: f"{now_s:.0f} s") as view:
        view.update("index", 0, None)
        view.tell("index", 2_000_000, None, "2.0 million rows read")
        now_s = 29.0
        view.tell("index", 3_000_000, None, "3.0 million rows read")
        assert capsys.readouterr().err == ""
        now_s = 31.0
        view.tell("index", 3_240_000, 9_000_000, "3.2 of 9.0 million rows")
        assert capsys.readouterr().err == "31 s index 3.2 of 9.0 million rows\n"
        view.update("index", 11, 11)
        view.update("extract", 0, 11)
        now_s = 62.0
        view.tell("extract", 120, 548, "fetching 120 of 548 MB")
        assert capsys.readouterr().err == "62 s index 11/11\n62 s extract 0/11 fetching 120 of 548 MB\n"
        view.update("extract", 1, 11)
    assert capsys.readouterr().err == "62 s extract 1/11\n"


def receipt(shard: int, rows: int, **bound: float) -> Receipt:
    return Receipt(
        stage="extract", shard=shard, fingerprint="", content="", files=(), rows=rows,
        counts={"ok": rows - 1, "empty": 1}, facts={BOUND: bound}, started_at=0.0, seconds=4.0, versions={},
    )  # fmt: skip


def test_a_line_tells_the_rate_the_time_left_and_what_holds_a_stage_up(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 0.0
    with ProgressView(clock=lambda: now_s, now=lambda: "noon") as view:
        view.began("extract", 0, images=True)
        now_s = 10.0
        view.ended("extract", [receipt(0, 100, decoding=3.0, backbone=9.0)])
        now_s = 40.0
        view.ended("extract", [receipt(1, 100, decoding=13.0, backbone=1.0)])
        view.update("extract", 2, 10)
        assert capsys.readouterr().err == "noon extract 2/10, 5.00 images/s, 3 min left, bound by decoding\n"
        view.began("train", None, images=False)
        now_s = 80.0
        view.tell("train", 1, 4, "epoch 1/4")
        assert capsys.readouterr().err == "noon train epoch 1/4, 2 min left\n"
        now_s = 120.0
        view.tell("train", 2, 4, "epoch 2/4, 9 min left")
        assert capsys.readouterr().err == "noon train epoch 2/4, 9 min left\n"
        now_s = 160.0
        view.update("extract", 10, 10)
        assert capsys.readouterr().err == "noon extract 10/10, 1.25 images/s, bound by decoding\n"


def test_a_stage_that_waits_for_another_is_held_up_by_what_holds_up_that_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now_s = 0.0
    with ProgressView(clock=lambda: now_s, now=lambda: "noon") as view:
        for shard in (0, 1, 2):
            view.began("download", shard, images=True)
        view.ended("download", [receipt(0, 100, network=30.0, disk=1.0)])
        view.began("extract", 0, images=True)
        now_s = 5.0
        view.ended("extract", [receipt(0, 100, decoding=1.0, backbone=4.0)])
        view.update("extract", 1, 3)
        now_s = 60.0
        view.update("extract", 1, 3)
        assert "noon extract 1/3, 1.67 images/s, 2 min left, bound by network\n" in capsys.readouterr().err
        for shard in (1, 2):
            view.ended("download", [receipt(shard, 100, network=30.0, disk=1.0)])
            view.began("extract", shard, images=True)
        now_s = 150.0
        view.update("extract", 2, 3)
        assert "bound by backbone\n" in capsys.readouterr().err


def test_who_wants_to_know_more_gets_a_line_for_each_task(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 0.0
    with ProgressView(verbose=True, clock=lambda: now_s, now=lambda: "noon") as view:
        view.ended("extract", [receipt(3, 100)])
        now_s = 6.0
        view.update("extract", 1, 10)
    assert capsys.readouterr().err.splitlines() == [
        "noon extract shard 3 done in 4.0 s, 100 rows (ok 99, empty 1)",
        "noon extract 1/10, 54 s left",
    ]


def test_on_a_terminal_each_stage_has_a_bar_and_words_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with ProgressView() as view:
        view.tell("train", 5, 15, "epoch 1/3 [bold]")
        view.update("extract", 3, 11)
        view.tell("extract", 120, 548, "fetching 120 of 548 MB")
    shown = {line.split()[0].rpartition("K")[2]: line for line in terminal.getvalue().splitlines()}
    assert "epoch 1/3 [bold]" in shown["train"]
    assert "3/11" in shown["extract"]
    assert "fetching 120 of 548 MB" in shown["extract"]


def test_a_quiet_view_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView(quiet=True, clock=count(0, LINE_EVERY_S).__next__) as view:
        view.update("train", 0, 1)
        view.tell("train", 5, 15, "epoch 1/3")
    assert capsys.readouterr().err == ""
