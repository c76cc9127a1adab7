"""What the tasks to run will take, of disk and of time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from numbers_stage import list_numbers, listing

from pipeline.engine.engine import Engine
from pipeline.engine.forecast import Basis, Disk, Forecast, by_device, expected_s
from pipeline.engine.graph import Graph, resolve
from pipeline.engine.plan import StagePlan, plan, require_room
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import Estimate, Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.storage import Storage
from schemas.config import EngineConfig
from schemas.errors import PipelineError
from schemas.receipts import Receipt

FETCHED = {"note": OutputFile("{folder}/{shard}.txt"), "data": OutputFile("data/{shard}.txt")}
SQUARES = {"square": OutputFile("{folder}/{shard}.txt"), "spec": OutputFile("{folder}/spec.txt")}
ADDED = {"sum": OutputFile("{folder}/sum.txt")}


def fetch(task: Task) -> list[Output]:
    """A note of 10 bytes that stays, and 1,000 bytes that may go."""
    task.storage.write(task.path("note"), bytes(10))
    task.storage.write(task.path("data"), bytes(1000))
    return [Output(("note", "data"), rows=1)]


def square(task: Task) -> list[Output]:
    """100 bytes a shard, and 5,000 beside all shards."""
    name = "spec" if task.shard is None else "square"
    task.storage.write(task.path(name), bytes(5000 if task.shard is None else 100))
    return [Output((name,), rows=int(task.shard is not None))]


def add_up(task: Task) -> list[Output]:
    task.storage.write(task.path("sum"), b"6")
    return [Output(("sum",), rows=1)]


def foreseen(facts: Mapping[str, Any]) -> Estimate:
    return Estimate(row_bytes=300, at_most=facts["packed"], savings=("fewer squares",))


def stages(numbers: Sequence[int], rows: int | None, packed: bool, prunes: bool, version: int) -> list[Stage]:
    listed = listing(numbers)
    told = Estimate(rows=rows, row_bytes=20, facts={"packed": packed})
    outside: Any = {"outside": listed.outside, "estimate": lambda _: told}
    first = Stage("list", 1, {}, listed.settings, list_numbers, {}, listed.outputs, "compute", "numbers", **outside)
    return [
        first,
        Stage(
            "fetch", version, {}, None, fetch, {"list": "shard"}, FETCHED, "io", "notes", estimate=lambda _: Estimate()
        ),
        Stage(
            "square", 1, {}, None, square, {"list": "shard", "fetch": "shard"}, SQUARES, "compute", "squares",
            consumes={"fetch": "data"}, prunes=prunes, estimate=foreseen,
        ),
        Stage("sum", 1, {}, None, add_up, {"square": "all"}, ADDED, "compute", "sum"),
    ]  # fmt: skip


def graph_of(
    root: Path, numbers: Sequence[int] = (1, 2, 3), rows: int | None = 3, packed: bool = True, prunes: bool = False,
    version: int = 1, last: int = 4,
) -> Graph:  # fmt: skip
    return resolve(stages(numbers, rows, packed, prunes, version)[:last], Storage(str(root)))


def run(graph: Graph, root: Path) -> None:
    with ProgressView(quiet=True) as progress:
        Engine(graph, Storage(str(root)), EngineConfig(), progress).run()


def told(root: Path, **options: Any) -> dict[str, tuple[int | None, int | None, Basis, int]]:
    """Rows, bytes, basis and bytes that are written over, of the stages that are not up to date."""
    lines = plan(graph_of(root, **options))
    forecasts = {line.name: line.forecast for line in lines if line.forecast is not None}
    return {name: (one.rows, one.size_bytes, one.basis, one.replaced_bytes) for name, one in forecasts.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    run(graph_of(root), root)
    return root


def test_before_the_first_shard_a_stage_says_what_it_foresees(tmp_path: Path) -> None:
    assert told(tmp_path) == {
        "list": (3, 60, "settings", 0),
        "fetch": (3, None, "unknown until the first shard", 0),
        "square": (3, 900, "at most", 0),
        "sum": (None, None, "small", 0),
    }
    assert told(tmp_path, packed=False)["square"] == (3, 900, "settings", 0)
    unknown = told(tmp_path, rows=None)
    assert {unknown[name][2] for name in ("list", "fetch", "square")} == {"unknown until the index"}
    run(graph_of(tmp_path, rows=None, last=1), tmp_path)  # now the rows are those of the index, whatever was foreseen
    assert told(tmp_path, rows=None)["square"] == (3, 900, "at most", 0)
    assert list(tmp_path.iterdir()) == [tmp_path / "numbers"]


def test_after_it_shards_tell_and_what_has_no_shard_is_not_counted_in(finished: Path) -> None:
    assert told(finished) == {}
    assert told(finished, numbers=range(1, 6), rows=5) == {
        "list": (2, 2, "earlier shards", 0),
        "fetch": (2, 2020, "earlier shards", 0),
        "square": (2, 200, "earlier shards", 0),
        "sum": (None, None, "small", 0),
    }


def test_what_is_dropped_after_use_takes_no_room(finished: Path) -> None:
    assert told(finished, numbers=range(1, 6), rows=5, prunes=True)["fetch"] == (2, 20, "earlier shards", 0)


def test_files_that_are_written_anew_free_their_place(finished: Path) -> None:
    assert told(finished, version=2)["fetch"] == (3, 3030, "earlier shards", 3030)
    grown = told(finished, version=2, numbers=range(1, 6), rows=5)
    assert grown["fetch"] == (5, 5050, "earlier shards", 3030)


def receipt(shard: int | None, started_at: float, seconds: float, rows: int) -> Receipt:
    return Receipt(
        stage="square", shard=shard, fingerprint="", content="", files=(), rows=rows, counts={}, facts={},
        started_at=started_at, seconds=seconds, versions={},
    )  # fmt: skip


def test_time_is_that_of_earlier_shards_in_proportion_to_their_rows(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, rows=100)
    node = graph["square"]
    assert expected_s(node, graph) is None
    node.kept = {None: receipt(None, 0.0, 0.2, 0)}  # the spec of all shards takes no time and says nothing of them
    assert expected_s(node, graph) is None
    node.kept |= {0: receipt(0, 10.0, 4.0, 10), 1: receipt(1, 12.0, 4.0, 10)}  # side by side for 2 s
    assert expected_s(node, graph) == 24.0
    graph["sum"].kept = {None: receipt(None, 0.0, 7.0, 1)}
    assert expected_s(graph["sum"], graph) == 7.0


def disk(free_bytes: int | None, *sizes: tuple[int | None, Basis]) -> Disk:
    forecasts = {
        f"stage {number}": Forecast(1, size, basis, 0, 7, free_bytes, ("less",))
        for number, (size, basis) in enumerate(sizes)
    }
    (found,) = by_device(forecasts)
    return found


def test_whether_it_fits_is_said_as_surely_as_it_is_known() -> None:
    assert disk(100, (60, "at most"), (40, "settings")).verdict == "fits"
    assert disk(100, (60, "at most"), (None, "unknown until the first shard")).verdict == "unknown"
    assert disk(100, (101, "at most"), (None, "unknown until the first shard")).verdict == "may not fit"
    assert disk(100, (101, "earlier shards")).verdict == "will not fit"
    assert disk(100, (201, "earlier shards")).verdict == "cannot fit"
    assert disk(100, (10**9, "at most")).verdict == "may not fit"
    assert disk(None, (10**9, "settings")).text == "to write: 1.0 GB; free: unknown"
    assert disk(1_500, (2_000, "at most"), (None, "unknown until the first shard")).text == (
        "to write: at most 2.0 kB, and what stage 1 will leave; free: 1.5 kB. That may not fit. "
        "Use less, or another --work"
    )


def test_each_file_system_is_told_apart_and_what_is_small_is_not_told() -> None:
    large = {"one": Forecast(1, 5, "settings", 9, 7, 10), "two": Forecast(1, 5, "settings", 2, 8, 10)}
    found = by_device({**large, "three": Forecast(None, None, "small", 0, 9, 10)})
    assert [(disk.device, disk.added_bytes) for disk in found] == [(7, 0), (8, 3)]
    assert by_device({}) == []


def line(size_bytes: int) -> StagePlan:
    written = Forecast(1, size_bytes, "settings", 0, 7, 100, ("less",))
    return StagePlan("extract", "r" * 64, 0, 1, (), 0, 0, None, 0, 0, (), forecast=written)


def test_a_run_that_cannot_fit_is_refused_and_one_that_will_not_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    require_room([line(100)])
    assert caplog.messages == []
    require_room([line(150)])
    assert caplog.messages == ["to write: 150 B; free: 100 B. That will not fit. Use less, or another --work"]
    expected = (
        r"will write \(found 100 B free, expected about 201 B\)\. Use less, or another --work\. See: biam-pipe plan"
    )
    with pytest.raises(PipelineError, match=expected):
        require_room([line(201)])
