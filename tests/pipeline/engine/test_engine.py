"""The engine on stages that only move numbers: what runs, what does not, and why."""

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from numbers_stage import listing

from pipeline.commands.verify import verify
from pipeline.engine.cluster import embedded
from pipeline.engine.engine import Engine
from pipeline.engine.graph import Graph, resolve
from pipeline.engine.ledger import written
from pipeline.engine.plan import plan
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import Output, Place, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.storage import Storage
from schemas.config import EngineConfig
from schemas.errors import PipelineError
from schemas.receipts import NOTE, Receipt

SQUARES = {"square": OutputFile("{folder}/{shard}.txt")}
SUM = {"sum": OutputFile("{folder}/sum.json")}
DEADLY, DEADLY_ONCE = 666, 667  # numbers that kill the process that squares them


def square(task: Task) -> list[Output]:
    number = int(task.inputs.read("list", "number", task.shard))
    if number < 0:
        raise PipelineError(f"{number} is negative")
    with task.storage.commit(task.path("square")) as temporary:
        temporary.write_text(str(number**2))
        if number == DEADLY or (number == DEADLY_ONCE and not task.isolated):
            os.kill(os.getpid(), signal.SIGKILL)
    return [Output(("square",), rows=1, counts={"ok": 1})]


def add_up(task: Task) -> list[Output]:
    total = sum(int(task.inputs.read("square", "square", shard)) for shard in task.inputs.shards("square"))
    task.storage.write(task.path("sum"), json.dumps(total * task.settings).encode())
    return [Output(("sum",), rows=1)]


def stages(numbers: Sequence[int], factor: int = 1, version: int = 1, last: Place = "process") -> list[Stage]:
    return [
        listing(numbers),
        Stage("square", version, {}, None, square, {"list": "shard"}, SQUARES, "io", "squares"),
        Stage("sum", 1, {"sum.factor": factor}, factor, add_up, {"square": "all"}, SUM, last, "sum"),
    ]


def graph_of(root: Path, *arguments: object, **options: object) -> Graph:
    storage = Storage(str(root))
    return resolve(stages(*arguments, **options), storage)  # type: ignore[arg-type]


def run(root: Path, *arguments: object, scheduler: str | None = None, **options: object) -> dict[str, int]:
    last = "compute" if scheduler else "process"  # to start one takes a second
    graph = graph_of(root, *arguments, last=last, **options)
    with ProgressView(quiet=True) as progress:
        engine = Engine(graph, Storage(str(root)), EngineConfig(), progress, scheduler)
        engine.run()
    return engine.ran


def reasons(root: Path, *arguments: object, **options: object) -> dict[str, tuple[str, ...]]:
    return {line.name: line.reasons for line in plan(graph_of(root, *arguments, **options))}


def test_a_run_brings_every_stage_up_to_date_and_a_second_one_has_nothing_to_do(tmp_path: Path) -> None:
    assert run(tmp_path, [1, 2, 3]) == {"list": 1, "square": 3, "sum": 1}
    assert json.loads((tmp_path / "sum/sum.json").read_bytes()) == 14
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    graph = graph_of(tmp_path, [1, 2, 3])
    graph["sum"].kept[None] = graph["sum"].kept[None].model_copy(update={"facts": {NOTE: "it is even"}})
    assert [(line.up_to_date, line.notes) for line in plan(graph)] == [(True, ()), (True, ()), (True, ("it is even",))]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_changed_shard_reruns_itself_and_what_gathers_it(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    assert reasons(tmp_path, [1, 5, 3])["list"] == ("numbers [1,2,3] -> [1,5,3]",)
    assert run(tmp_path, [1, 5, 3], scheduler=scheduler) == {"list": 1, "square": 1, "sum": 1}


def test_growth_runs_new_shards_only(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    kept = (tmp_path / "squares/shard-00001.json").stat().st_mtime_ns
    assert run(tmp_path, [1, 2, 3, 4], scheduler=scheduler) == {"list": 1, "square": 1, "sum": 1}
    assert (tmp_path / "squares/shard-00001.json").stat().st_mtime_ns == kept


def test_plan_names_the_option_that_changed(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, [1, 2], scheduler=scheduler)
    assert reasons(tmp_path, [1, 2], factor=3) == {"list": (), "square": (), "sum": ("sum.factor 1 -> 3",)}
    assert run(tmp_path, [1, 2], factor=3, scheduler=scheduler) == {"sum": 1}


def test_plan_names_a_new_code_version_and_what_follows_from_it(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, [1, 2], scheduler=scheduler)
    assert reasons(tmp_path, [1, 2], version=2) == {
        "list": (),
        "square": ("code version 1 -> 2",),
        "sum": ("after square",),
    }


def test_a_shard_without_receipt_is_made_again_and_the_rest_is_kept(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    (tmp_path / "squares/stage.parquet").unlink()
    (tmp_path / "squares/shard-00001.json").unlink()
    assert run(tmp_path, [1, 2, 3], scheduler=scheduler) == {"square": 1}


def test_a_file_that_went_missing_is_made_again(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    (tmp_path / "squares/shard-00002.txt").unlink()
    assert reasons(tmp_path, [1, 2, 3])["square"] == ("file gone or of another size",)
    assert run(tmp_path, [1, 2, 3], scheduler=scheduler) == {"square": 1}


def test_an_error_in_one_shard_ends_the_run_and_keeps_what_was_committed(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="-1 is negative"):
        run(tmp_path, [3, -1])
    assert not (tmp_path / "sum").exists()
    assert plan(graph_of(tmp_path, [3, -1]))[0].up_to_date


def test_a_task_whose_worker_died_is_tried_once_more_alone_and_isolated_and_nothing_is_left_of_it(
    tmp_path: Path,
) -> None:
    assert run(tmp_path, [3, DEADLY_ONCE, 4]).keys() == {"list", "square", "sum"}
    assert json.loads((tmp_path / "sum/sum.json").read_bytes()) == 9 + DEADLY_ONCE**2 + 16
    assert list(tmp_path.rglob("*.tmp")) == []


def test_a_task_that_kills_a_second_worker_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"square shard-0000\d: its worker process died .*Run the same"):
        run(tmp_path, [3, DEADLY, 4])


def test_workers_that_do_not_start_are_an_error_and_not_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_START_S", 0.01)
    with pytest.raises(PipelineError, match=r"worker processes did not start within 0\.01 s"):
        run(tmp_path, [1])


def die_for_good(task: Task) -> list[Output]:
    """Ends its worker, and sees that no other starts."""
    (task.storage.scratch("") / "broken").touch()
    os._exit(1)


def test_workers_that_do_not_come_back_are_an_error_and_not_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "work/broken"
    (tmp_path / "sitecustomize.py").write_text(f"import os\nif os.path.exists({str(broken)!r}): os._exit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setitem(embedded._DASK, "distributed.scheduler.no-workers-timeout", "1s")
    wired = stages([1])
    wired[1] = replace(wired[1], run=die_for_good)
    storage = Storage(str(tmp_path / "work"))
    with pytest.raises(PipelineError, match="its worker process died, and no other could be started"):
        Engine(resolve(wired, storage), storage, EngineConfig(io_workers=1), ProgressView(quiet=True)).run()


def test_a_cluster_without_workers_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    from distributed import LocalCluster

    storage = Storage(str(tmp_path))
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", processes=False) as theirs:
        settings = EngineConfig(wait_for_workers_s=0.5)
        engine = Engine(graph_of(tmp_path, [1]), storage, settings, ProgressView(quiet=True), theirs.scheduler_address)
        with pytest.raises(PipelineError, match=r"has no workers \(found 0, expected at least 1\)"):
            engine.run()


def test_a_run_on_a_cluster_that_somebody_else_started_needs_no_resources_of_ours(tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", processes=False) as theirs:
        graph = graph_of(tmp_path, [1, 2, 3])
        with ProgressView(quiet=True) as progress:
            Engine(graph, Storage(str(tmp_path)), EngineConfig(), progress, scheduler=theirs.scheduler_address).run()
    assert json.loads((tmp_path / "sum/sum.json").read_bytes()) == 14


def test_a_gpu_that_no_worker_has_is_an_error_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    wired = stages([1])
    wired[1] = replace(wired[1], place="gpu")
    storage = Storage(str(tmp_path))
    with pytest.raises(PipelineError, match=r"no worker has one\. Set extract.device=cpu"):
        Engine(resolve(wired, storage), storage, EngineConfig(), ProgressView(quiet=True)).run()
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_a_gpu_brought_up_to_date_stops_no_later_one_where_there_is_none(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run(tmp_path, [1, 2], scheduler=scheduler)
    wired = stages([1, 2], factor=3)
    wired[1] = replace(wired[1], place="gpu")
    storage = Storage(str(tmp_path))
    engine = Engine(resolve(wired, storage), storage, EngineConfig(), ProgressView(quiet=True))
    engine.run()
    assert engine.ran == {"sum": 1}


def test_a_damaged_receipt_or_record_counts_as_none_and_verify_names_it(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    (tmp_path / "squares/stage.parquet").write_bytes(b"PAR1")
    receipt = tmp_path / "squares/shard-00001.json"
    receipt.write_bytes(receipt.read_bytes()[:30])
    found = verify(Storage(str(tmp_path)))
    record = tmp_path / "squares/stage.parquet"
    assert [text.split(":")[0] for text in found.problems] == [str(receipt), str(record)]
    assert found.uncommitted == ("squares/shard-00001.txt",)
    assert run(tmp_path, [1, 2, 3], scheduler=scheduler) == {"square": 1}
    assert verify(Storage(str(tmp_path))).problems == ()


def test_receipts_that_are_gone_are_noticed_beside_standing_records_and_their_tasks_run_again(
    tmp_path: Path, scheduler: str
) -> None:
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.txt")}
    gone = [tmp_path / name for name in ("numbers/shard-00001.json", "squares/shard-00002.json", "sum/stage.json")]
    for receipt in gone:
        receipt.unlink()

    assert verify(Storage(str(tmp_path))).problems == tuple(
        f"{receipt}: gone, though the stage record holds it" for receipt in gone
    )
    assert reasons(tmp_path, [1, 2, 3]) == {
        "list": ("receipt gone",),
        "square": ("after list",),
        "sum": ("after square",),
    }
    assert run(tmp_path, [1, 2, 3], scheduler=scheduler) == {"list": 1, "square": 1, "sum": 1}
    assert verify(Storage(str(tmp_path))).problems == ()
    assert all(line.up_to_date for line in plan(graph_of(tmp_path, [1, 2, 3])))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.txt")} == before


def test_a_receipt_that_says_something_else_than_the_record_is_named(tmp_path: Path, scheduler: str) -> None:
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    receipt = tmp_path / "squares/shard-00002.json"
    said = Receipt.model_validate_json(receipt.read_bytes())
    receipt.write_bytes(written(said.model_copy(update={"rows": 9}), "squares/shard-00002.json"))
    assert verify(Storage(str(tmp_path))).problems == (f"{receipt}: says something else than the stage record",)


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("name", ["shard-00001.json", "stage.parquet"])
def test_a_receipt_or_record_of_another_place_counts_for_nothing(
    tmp_path: Path, scheduler: str, name: str, marked: bool
) -> None:
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.txt")}
    here, there = tmp_path / "squares" / name, next(path for path in tmp_path.rglob(name) if "squares" not in str(path))
    if not marked:  # as it was written before files said where they belong
        for path in (here, there):
            path.write_bytes(path.read_bytes().replace(b"biam_pipe.sha256=", b"biam_pipe.before_="))
    swapped = here.read_bytes(), there.read_bytes()
    there.write_bytes(swapped[0])
    here.write_bytes(swapped[1])
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    assert all(line.up_to_date for line in plan(graph_of(tmp_path, [1, 2, 3])))
    for problem in verify(Storage(str(tmp_path))).problems:  # a record that stands has said the same as its receipts
        Path(problem.partition(": ")[0]).unlink(missing_ok=True)
    run(tmp_path, [1, 2, 3], scheduler=scheduler)
    assert verify(Storage(str(tmp_path))).problems == ()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.txt")} == before


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"verify: no receipt in .*Run: biam-pipe run --dataset"):
        verify(Storage(str(tmp_path / "demo")))
