"""Signals and the time budget: what a run stops at, and that it comes further each time."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.engine.engine import Engine
from pipeline.engine.graph import resolve
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import CHECKPOINT, Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.storage import Storage
from pipeline.machine import stopping
from schemas.config import EngineConfig
from schemas.errors import InterruptedRunError, PipelineError, TimeBudgetError


def count_up(task: Task) -> list[Output]:
    """Stops at its deadline before it has done anything."""
    if (why := stopping.reason(task.deadline)) is not None:
        raise why
    task.storage.write(task.path("done"), b"done")
    return [Output(("done",), rows=1)]


def add_a_stroke(task: Task) -> list[Output]:
    """One step in each run, three in all; what is done is kept."""
    path = task.path("strokes")
    strokes = (task.storage.read(path) if task.storage.exists(path) else b"") + b"|"
    task.storage.write(path, strokes)
    if len(strokes) < 3 and (why := stopping.reason(task.deadline)) is not None:
        raise why
    return [Output(("strokes",), rows=1)]


def run(root: Path, stages: list[Stage], deadline: float | None) -> dict[str, int]:
    storage = Storage(str(root))
    with ProgressView(quiet=True) as progress:
        engine = Engine(resolve(stages, storage), storage, EngineConfig(), progress, deadline=deadline)
        engine.run()
    return engine.ran


def runs_needed(root: Path, stages: list[Stage]) -> int:
    """Runs with a budget that is used up before they start, until all is done."""
    for number in range(1, 10):
        try:
            run(root, stages, deadline=time.time() - 1)
        except TimeBudgetError:
            continue
        return number
    raise AssertionError("ten runs were not enough")


def test_even_with_no_time_at_all_each_run_does_one_task(tmp_path: Path) -> None:
    files = {"done": OutputFile("{folder}/done.txt")}
    first = Stage("first", 1, {}, None, count_up, {}, files, "process", "first")
    second = Stage("second", 1, {}, None, count_up, {"first": "all"}, files, "process", "second")
    assert runs_needed(tmp_path, [first, second]) == 2


def test_a_stage_that_goes_on_where_it_stopped_has_to_stop_in_its_first_task_too(tmp_path: Path) -> None:
    files = {"strokes": OutputFile("{folder}/strokes.txt"), CHECKPOINT: OutputFile("{folder}/checkpoint")}
    assert runs_needed(tmp_path, [Stage("strokes", 1, {}, None, add_a_stroke, {}, files, "process", "s")]) == 3


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """A shell starts what it runs in the background deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_a_signal_is_remembered_until_the_end_of_the_block() -> None:
    with stopping.watching_signals():
        assert stopping.reason(None) is None
        signal.raise_signal(signal.SIGINT)
        assert isinstance(stopping.reason(None), InterruptedRunError)
    assert stopping.reason(None) is None
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_reaches_a_child_only_when_it_listens() -> None:
    program = """
import signal
from pipeline.machine import stopping
signal.raise_signal(signal.SIGINT)
print("alive")
with stopping.watching_signals():
    print(type(stopping.reason(None)).__name__)
"""
    with stopping.sparing_children():
        child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert child.stdout.split() == ["alive", "InterruptedRunError"]


@pytest.mark.usefixtures("hears_ctrl_c")
def test_the_main_process_hears_ctrl_c_again_after_it_has_started_children() -> None:
    with stopping.sparing_children():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_reasons_are_told_apart() -> None:
    assert stopping.reason(time.time() + 1000) is None
    assert isinstance(stopping.reason(time.time() - 1), TimeBudgetError)
    assert issubclass(TimeBudgetError, PipelineError)
