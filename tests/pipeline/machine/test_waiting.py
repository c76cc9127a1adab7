"""Every process that computes is started with threads that do not spin while they wait for each other."""

import json
import os
from pathlib import Path

import pytest

from pipeline.commands.process import prepare
from pipeline.engine.engine import Engine
from pipeline.engine.graph import resolve
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import Output, Place, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.storage import Storage
from pipeline.machine.waiting import patient
from schemas.config import EngineConfig

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture(autouse=True)
def nothing_said_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WAITING:
        monkeypatch.setenv(name, "")  # to be put back after the test
        monkeypatch.delenv(name)


def look(task: Task) -> list[Output]:
    task.storage.write(task.path("seen"), json.dumps({name: os.environ.get(name) for name in WAITING}).encode())
    return [Output(("seen",), rows=1)]


def seen(root: Path, place: Place) -> dict[str, str]:
    """What a task sees of the variables that are set."""
    storage = Storage(str(root))
    stage = Stage("look", 1, {}, None, look, {}, {"seen": OutputFile("{folder}/seen.json")}, place, "look")
    with ProgressView(quiet=True) as progress:
        Engine(resolve([stage], storage), storage, EngineConfig(), progress).run()
    return {name: value for name, value in json.loads((root / "look/seen.json").read_text()).items() if value}


@pytest.mark.parametrize("place", ["compute", "process"])
def test_a_process_that_computes_is_patient(tmp_path: Path, place: Place) -> None:
    asked = patient()
    assert asked
    assert seen(tmp_path, place) == asked


@pytest.mark.parametrize("place", ["compute", "process"])
def test_what_the_user_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    monkeypatch.setenv("KMP_BLOCKTIME", "5")
    assert seen(tmp_path, place) == {"KMP_BLOCKTIME": "5"}


def test_so_is_that_of_a_command() -> None:
    asked = patient()
    prepare()
    assert {name: os.environ[name] for name in asked} == asked
