"""What the log of a run that goes on tells of stages that have left no receipt yet."""

from pathlib import Path

from pipeline.commands.console import status_lines
from pipeline.commands.status import WorkStatus
from pipeline.engine.events import FOLDER, run_log, under_way
from pipeline.engine.progress import ProgressView
from pipeline.files.lock import writer, writing
from pipeline.files.storage import Storage
from pipeline.viewing.pages import Site
from pipeline.viewing.query import Query
from pipeline.viewing.world import Recent, World
from schemas.command import Command

TRAINING = "epoch 7/10 step 57 loss 0.9666, 8 images/s, 2 min left"


def test_how_far_training_is_stands_in_the_status_and_on_the_page(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "demo"))
    times = iter(range(0, 100_000, 40))  # each look at the clock is a line's time later
    with writing(storage) as lease:
        log_of = run_log(lease.storage, "report", {"train": 1})
        with log_of as log, ProgressView(quiet=True, log=log, clock=lambda: float(next(times))) as progress:
            progress.update("split", 2, 2)
            progress.began("train", None, images=False)
            progress.update("train", 0, 1)
            progress.tell("train", 57, 80, TRAINING)
            who = writer(storage)
            assert who is not None
            found = under_way(storage, who.pid)
            assert [(one.stage, one.told) for one in found] == [("train", TRAINING)]
            status = WorkStatus((), who, under_way=found)
            assert f"  train: {TRAINING}" in list(status_lines(status))
            page = Site(Recent(_world(status))).state(Query())
            assert f"<dt>train</dt><dd>{TRAINING}</dd>" in page
            progress.update("train", 1, 1)
            assert under_way(storage, who.pid) == ()


def test_a_log_that_is_not_there_or_cut_in_the_middle_tells_nothing(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "demo"))
    assert under_way(storage, 7) == ()
    storage.write(f"{FOLDER}/20261129T000000Z-report-7.jsonl", b'"progress", "stage": "a"}\n[]\n\xff\n{"event": "prog')
    assert under_way(storage, 7) == ()


def _world(status: WorkStatus) -> World:
    from pipeline.commands.runs.told import Runs

    def nothing_left(run: str | None) -> object:
        raise AssertionError("the page of the state asks for no run")

    return World(Command("view", dataset="demo"), lambda: status, lambda: Runs("demo", (), None), nothing_left)  # type: ignore[arg-type]
