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
    with ProgressView(clock=count(0, LINE_EVERY_S).__next__) as progress:
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
    assert lines[:2] == ["talk 0/1", "talk 1 steps"]
    assert lines[-2:] == ["talk 999 steps", "talk 1/1"]
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
    with ProgressView(clock=lambda: now_s) as view:
        view.update("index", 0, None)
        view.tell("index", 2_000_000, None, "2.0 million rows read")
        now_s = 29.0
        view.tell("index", 3_000_000, None, "3.0 million rows read")
        assert capsys.readouterr().err == ""
        now_s = 31.0
        view.tell("index", 3_240_000, 9_000_000, "3.2 of 9.0 million rows")
        assert capsys.readouterr().err == "index 3.2 of 9.0 million rows\n"
        view.update("index", 11, 11)
        view.update("extract", 0, 11)
        now_s = 62.0
        view.tell("extract", 120, 548, "fetching 120 of 548 MB")
        assert capsys.readouterr().err == "index 11/11; extract 0/11 fetching 120 of 548 MB\n"
        view.update("extract", 1, 11)
    assert capsys.readouterr().err == "extract 1/11\n"


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
