"""What a run leaves of how it went: events for programs, a log for people, both with times."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.engine import Engine
from pipeline.engine.events import EVENTS, LOG, run_log
from pipeline.engine.graph import resolve
from pipeline.engine.own_process import OwnProcesses
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.storage import Storage
from schemas.config import EngineConfig
from schemas.errors import PipelineError
from schemas.receipts import BOUND


def say(task: Task) -> list[Output]:
    task.storage.write(task.path("said"), b"all")
    return [Output(("said",), rows=3, counts={"ok": 2, "empty": 1}, facts={BOUND: {"network": 2.0, "disk": 1.0}})]


def events(root: Path) -> list[dict[str, Any]]:
    (path,) = root.glob("logs/*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def lines(root: Path) -> str:
    (path,) = root.glob("logs/*.log")
    return path.read_text()


def test_a_run_leaves_an_event_for_each_task_that_began_and_ended(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    files = {"said": OutputFile("{folder}/said.txt")}
    graph = resolve([Stage("say", 1, {}, None, say, {}, files, "process", "say")], storage)
    kept = storage.scratch("runs/mine")
    with (
        OwnProcesses() as processes,
        run_log(storage, "say", {"say": 1}) as log,
        ProgressView(quiet=True, log=log) as progress,
    ):
        log.kept_in = lambda: kept
        Engine(graph, storage, EngineConfig(), progress, processes=processes).run()
    found = events(tmp_path)
    assert [event["event"] for event in found] == ["run_began", "began", "done", "progress", "run_ended"]
    began, _, done, progress_event, ended = found
    assert (began["command"], began["todo"]) == ("say", {"say": 1})
    assert (done["stage"], done["rows"], done["counts"]) == ("say", 3, {"ok": 2, "empty": 1})
    assert (done[BOUND], done["size_bytes"]) == ({"network": 2.0, "disk": 1.0}, 3)
    assert (progress_event["done"], progress_event["total"], progress_event["bound_by"]) == (1, 1, "network")
    assert ended["exit_code"] == 0
    assert all(event["time"].endswith("+00:00") for event in found)
    assert "say done in" in lines(tmp_path)
    assert (kept / EVENTS).read_text().splitlines()[0] == json.dumps(began, ensure_ascii=False)
    assert (kept / LOG).read_text() == lines(tmp_path)


def test_warnings_and_what_ended_a_run_are_told_and_warnings_stay_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest: a user's command has none

    def end_badly() -> None:
        with run_log(Storage(str(tmp_path)), "train", {}):
            logging.getLogger("biam_pipe.any").warning("look \x1b out")
            raise PipelineError("no more room")

    with pytest.raises(PipelineError, match="no more room"):
        end_badly()
    _, warned, ended = events(tmp_path)
    assert (warned["event"], warned["text"]) == ("warning", "look \x1b out")
    assert (ended["event"], ended["error"], ended["exit_code"]) == ("run_ended", "no more room", 1)
    assert "WARNING look \\x1b out" in lines(tmp_path)
    assert "ended after 0.0 s: no more room" in lines(tmp_path)
    assert "look" in capsys.readouterr().err


def test_a_disk_that_takes_no_log_is_an_error_that_names_it() -> None:
    with pytest.raises(PipelineError, match="/proc/logs"), run_log(Storage("/proc"), "train", {}):
        pass
