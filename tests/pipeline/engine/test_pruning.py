"""Files that one stage writes for one other: dropped after use, made again where they are wanted again."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from numbers_stage import listing

from pipeline.commands.verify import verify
from pipeline.engine.engine import Engine
from pipeline.engine.graph import Graph, resolve
from pipeline.engine.ledger import Ledger
from pipeline.engine.plan import StagePlan, plan
from pipeline.engine.progress import ProgressView
from pipeline.engine.pruning import nothing_to_drop
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.storage import Storage
from schemas.config import EngineConfig

FETCHED = {"note": OutputFile("{folder}/{shard}.txt"), "data": OutputFile("data/{shard}.txt")}
SQUARES = {"square": OutputFile("{folder}/{shard}.txt")}
DROPPED = {"dropped": OutputFile("{folder}/dropped.txt")}
SLOTS = {"io": 2, "compute": 1}  # of the default settings
WINDOW = 2 * sum(SLOTS.values())


def fetch(task: Task) -> list[Output]:
    """A note that stays, and data that may go; the content is that of the data."""
    number = task.inputs.read("list", "number", task.shard)
    task.storage.write(task.path("note"), b"fetched")
    task.storage.write(task.path("data"), number * 100)
    return [Output(("note", "data"), rows=10, content=number.decode())]


def square(task: Task) -> list[Output]:
    """Counts the data that lies there while it works; the first waits until as much does as may."""
    count = lambda: len(task.storage.sizes("data"))  # noqa: E731
    if task.shard == 0 and task.settings == "wait":
        while count() < WINDOW:
            os.sched_yield()
    number = int(task.inputs.read("fetch", "data", task.shard)[:1])
    task.storage.write(task.path("square"), str(number**2).encode())
    return [Output(("square",), rows=10, facts={"data": count()})]


def add_up(task: Task) -> list[Output]:
    dropped = "".join(f"{receipt.pruned:d}" for receipt in task.inputs.receipts("fetch"))
    task.storage.write(task.path("dropped"), dropped.encode())
    return [Output(("dropped",), rows=1)]


def stages(numbers: Sequence[int], prunes: bool = True, version: int = 1, settings: str = "") -> list[Stage]:
    return [
        listing(numbers),
        Stage("fetch", 1, {}, None, fetch, {"list": "shard"}, FETCHED, "io", "notes"),
        Stage(
            "square", version, {}, settings, square, {"list": "shard", "fetch": "shard"}, SQUARES, "compute",
            "squares-{fp8}", consumes={"fetch": "data"}, prunes=prunes,
        ),
        Stage("sum", 1, {}, None, add_up, {"fetch": "all", "square": "all"}, DROPPED, "compute", "sum"),
    ]  # fmt: skip


def graph_of(root: Path, numbers: Sequence[int] = (1, 2, 3), last: int = 4, **options: object) -> Graph:
    return resolve(stages(numbers, **options)[:last], Storage(str(root)))  # type: ignore[arg-type]


def run(
    root: Path, numbers: Sequence[int] = (1, 2, 3), last: int = 4, scheduler: str | None = None, **options: object
) -> dict[str, int]:
    graph = graph_of(root, numbers, last, **options)
    with ProgressView(quiet=True) as progress:
        engine = Engine(graph, Storage(str(root)), EngineConfig(), progress, scheduler)
        engine.run()
    return engine.ran


def lines(root: Path, **options: object) -> dict[str, StagePlan]:
    return {line.name: line for line in plan(graph_of(root, **options))}


def data(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "data").glob("*.txt"))


@pytest.fixture
def finished(tmp_path: Path, scheduler: str) -> Path:
    """A folder in which all data were dropped after use."""
    assert run(tmp_path, scheduler=scheduler) == {"list": 1, "fetch": 3, "square": 3, "sum": 1}
    return tmp_path


def test_files_are_dropped_after_use_and_the_rest_of_the_shard_stays(finished: Path) -> None:
    assert data(finished) == []
    receipts = Ledger(Storage(str(finished)), "fetch", "notes", "stage").read_receipts()
    assert [(file.path[:5], file.pruned) for one in receipts for file in one.files] == 3 * [
        ("notes", False),
        ("data/", True),
    ]
    assert (finished / "sum/dropped.txt").read_text() == "111"  # the stages after it know
    assert verify(Storage(str(finished))).problems == ()
    (finished / "notes/shard-00001.txt").write_text("other")
    (problem,) = verify(Storage(str(finished))).problems
    assert "notes/shard-00001.txt" in problem


def test_nothing_runs_again_for_files_that_nobody_needs(finished: Path, scheduler: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    graph = graph_of(finished)
    assert all(line.up_to_date for line in plan(graph))
    assert all(node.recorded for node in graph.values())
    assert nothing_to_drop(graph)
    assert run(finished, scheduler=scheduler) == {}
    assert run(finished, prunes=False, scheduler=scheduler) == {}
    assert run(finished, last=2, scheduler=scheduler) == {}
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_dropped_files_are_made_again_where_they_are_wanted_and_the_plan_says_at_what_price(
    finished: Path, scheduler: str
) -> None:
    told = lines(finished, version=2)
    assert told["fetch"].reasons == ("dropped after use, and square needs it again",)
    assert (told["fetch"].to_run, told["fetch"].again_rows, told["fetch"].again_bytes) == (3, 30, 300)
    assert (told["square"].to_run, told["square"].reasons) == (3, ("after fetch",))
    assert run(finished, version=2, scheduler=scheduler) == {"fetch": 3, "square": 3, "sum": 1}
    assert data(finished) == []
    # Equal data came again: the older squares are as good as before.
    assert run(finished, version=1, scheduler=scheduler) == {"sum": 1}


def test_only_the_shard_that_is_wanted_is_made_again(finished: Path, scheduler: str) -> None:
    next(finished.glob("squares-*/shard-00001.txt")).unlink()
    told = lines(finished)
    assert (told["fetch"].to_run, told["fetch"].again_rows, told["fetch"].again_bytes) == (1, 10, 100)
    assert run(finished, scheduler=scheduler) == {"fetch": 1, "square": 1}
    assert data(finished) == []


def test_new_shards_are_dropped_too_and_the_old_ones_left_alone(finished: Path, scheduler: str) -> None:
    assert run(finished, (1, 2, 3, 4), scheduler=scheduler) == {"list": 1, "fetch": 1, "square": 1, "sum": 1}
    assert data(finished) == []


def test_a_run_that_stops_before_the_reader_drops_nothing(tmp_path: Path, scheduler: str) -> None:
    assert run(tmp_path, last=2, scheduler=scheduler) == {"list": 1, "fetch": 3}
    assert len(data(tmp_path)) == 3
    assert run(tmp_path, scheduler=scheduler) == {"square": 3, "sum": 1}
    assert data(tmp_path) == []


def test_files_that_were_kept_are_dropped_by_the_next_run_that_may(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, prunes=False, scheduler=scheduler)
    assert len(data(tmp_path)) == 3
    graph = graph_of(tmp_path)
    assert all(line.up_to_date for line in plan(graph))
    assert not nothing_to_drop(graph)
    assert run(tmp_path, scheduler=scheduler) == {}
    assert data(tmp_path) == []
    test_nothing_runs_again_for_files_that_nobody_needs(tmp_path, scheduler)


def test_a_file_that_a_crash_left_after_its_receipt_called_it_dropped_goes_with_the_next_run(
    finished: Path, scheduler: str
) -> None:
    left = finished / "data/shard-00002.txt"
    left.write_bytes(b"3" * 100)
    graph = graph_of(finished)
    plan(graph)
    assert not nothing_to_drop(graph)
    assert run(finished, scheduler=scheduler) == {}
    assert data(finished) == []


def test_no_more_data_lies_there_than_may_be_under_way_and_no_less_where_the_reader_is_slow(tmp_path: Path) -> None:
    numbers = [1] * 5 * WINDOW
    assert run(tmp_path, numbers, 3, settings="wait") == {"list": 1, "fetch": len(numbers), "square": len(numbers)}
    receipts = Ledger(Storage(str(tmp_path)), "square", graph_of(tmp_path)["square"].folder, "stage").read_receipts()
    assert max(receipt.facts["data"] for receipt in receipts) == WINDOW
    assert data(tmp_path) == []
