"""Work that is history: other settings or data get a folder of their own, and what lies in one with a name stays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from numbers_stage import listing

from pipeline.engine.engine import Engine
from pipeline.engine.graph import Graph, latest_of_recipe, resolve
from pipeline.engine.plan import plan
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import CHECKPOINT, History, Output, Stage, Task
from pipeline.files.inputs import Inputs, OutputFile
from pipeline.files.storage import Storage
from schemas.config import EngineConfig
from schemas.errors import UsageError

DIGITS = "[0-9a-f]" * 8
SUM = {"sum": OutputFile("{folder}/sum.txt"), CHECKPOINT: OutputFile("{folder}/checkpoint.txt")}


def add_up(task: Task) -> list[Output]:
    numbers = [int(task.inputs.read("list", "number", shard)) for shard in task.inputs.shards("list")]
    task.storage.write(task.path(CHECKPOINT), task.fingerprint.encode())
    task.storage.write(task.path("sum"), str(sum(numbers) * task.settings).encode())
    return [Output(("sum",), rows=1)]


def tell(task: Task) -> list[Output]:
    task.storage.write(task.path("text"), b"The sum is " + task.inputs.read("sum", "sum"))
    return [Output(("text",), rows=1)]


def stopped(storage: Storage, path: str) -> str | None:
    return storage.read(path).decode() if storage.exists(path) else None


def refusal(left: Inputs) -> UsageError:
    return UsageError(f"{left.folder('sum')} holds another sum ({'done' if left.has('sum') else 'stopped'})")


def stages(numbers: Sequence[int], factor: int = 1, name: str = "") -> list[Stage]:
    folder, earlier = (name, None) if name else ("sums/sum-{task8}", "sums/sum-{fp8}")
    text = {"text": OutputFile("{folder}/text.txt")}
    return [
        listing(numbers),
        Stage(
            "sum", 1, {"sum.factor": factor}, factor, add_up, {"list": "all"}, SUM, "compute", folder, "sum.stage",
            history=History(stopped, refusal, earlier),
        ),
        Stage("tell", 1, {}, None, tell, {"sum": "all"}, text, "compute", "{sum.folder}", "tell.stage"),
    ]  # fmt: skip


def before(numbers: Sequence[int]) -> list[Stage]:
    """The same stages as they were when settings alone gave the name."""
    listed, added, told = stages(numbers)
    return [listed, replace(added, folder="sums/sum-{fp8}", history=None), told]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """One cluster for all tests, whose workers are threads: to start one takes seconds."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=False) as cluster:
        yield cluster.scheduler_address


@dataclass(frozen=True)
class Run:
    """Runs stages in a folder."""

    root: Path
    scheduler: str

    def __call__(self, described: Sequence[Stage], *, replaces: bool = False) -> dict[str, int]:
        storage = Storage(str(self.root))
        graph = resolve(described, storage)
        for node in graph.values():
            node.replaces = replaces
        with ProgressView(quiet=True) as progress:
            engine = Engine(graph, storage, EngineConfig(), progress, self.scheduler)
            engine.run()
        return engine.ran


@pytest.fixture
def run(tmp_path: Path, scheduler: str) -> Run:
    return Run(tmp_path, scheduler)


def planned(root: Path, described: Sequence[Stage]) -> Graph:
    graph = resolve(described, Storage(str(root)))
    plan(graph)
    return graph


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_other_data_and_other_settings_get_a_folder_of_their_own_and_nothing_is_lost(tmp_path: Path, run: Run) -> None:
    run(stages([1, 2]))
    (first,) = tmp_path.glob(f"sums/sum-{DIGITS}")
    written = files(first)

    line = plan(resolve(stages([1, 2, 3]), Storage(str(tmp_path))))[1]
    assert (line.to_run, line.reasons) == (1, ("after list",))
    assert line.notes == ("its folder gets its name once all that it reads is up to date",)
    assert run(stages([1, 2, 3])) == {"list": 1, "sum": 1, "tell": 1}
    assert run(stages([1, 2, 3], factor=2)) == {"sum": 1, "tell": 1}
    assert sorted(path.read_text() for path in tmp_path.glob("sums/*/text.txt")) == [
        f"The sum is {number}" for number in (12, 3, 6)
    ]
    assert files(first) == written

    graph = planned(tmp_path, stages([1, 2]))
    latest = latest_of_recipe(graph["sum"])
    assert latest is not None
    assert (tmp_path / latest / "sum.txt").read_text() == "6"
    assert run(stages([1, 2])) == {"list": 1}
    assert all(node.recorded for node in planned(tmp_path, stages([1, 2])).values())


def test_the_reason_for_a_new_folder_is_the_data_where_the_settings_are_those_of_before(
    tmp_path: Path, run: Run
) -> None:
    run(stages([1, 2]))
    run(stages([1, 2, 3])[:1])
    line = plan(resolve(stages([1, 2, 3]), Storage(str(tmp_path))))[1]
    assert line.reasons == ("input changed",)
    assert line.notes == (f"in {planned(tmp_path, stages([1, 2, 3]))['sum'].folder}",)


def test_work_in_a_folder_of_the_earlier_name_stays_there_as_long_as_it_is_the_same(tmp_path: Path, run: Run) -> None:
    run(before([1, 2]))
    written = files(tmp_path / "sums")
    graph = planned(tmp_path, stages([1, 2]))
    assert all(node.recorded and node.complete for node in graph.values())
    assert graph["sum"].folder == graph["tell"].folder == planned(tmp_path, before([1, 2]))["sum"].folder
    assert run(stages([1, 2, 3])) == {"list": 1, "sum": 1, "tell": 1}
    assert files(tmp_path / "sums").items() >= written.items()
    assert len(list(tmp_path.glob("sums/*"))) == 2


def test_work_that_was_stopped_in_a_folder_of_the_earlier_name_goes_on_there(tmp_path: Path, run: Run) -> None:
    run(before([1, 2]))
    (folder,) = tmp_path.glob("sums/*")
    for gone in (*folder.glob("*.stage.*"), folder / "sum.txt", folder / "text.txt"):
        gone.unlink()
    assert run(stages([1, 2])) == {"sum": 1, "tell": 1}
    assert list(tmp_path.glob("sums/*")) == [folder]


@pytest.mark.parametrize("done", [True, False])
def test_other_work_in_a_folder_with_a_name_is_refused_until_it_may_go(tmp_path: Path, run: Run, done: bool) -> None:
    run(stages([1, 2], name="sums/mine"))
    if not done:
        for gone in tmp_path.glob("sums/mine/*.stage.*"):
            gone.unlink()
    written = files(tmp_path / "sums")
    told = rf"sums/mine holds another sum \({'done' if done else 'stopped'}\)"

    planned(tmp_path, stages([1, 2], name="sums/mine"))["sum"].require_free()
    with pytest.raises(UsageError, match=told):
        planned(tmp_path, stages([1, 2], factor=2, name="sums/mine"))["sum"].require_free()
    planned(tmp_path, stages([1, 2, 3], name="sums/mine"))["sum"].require_free()  # the numbers may come out equal
    with pytest.raises(UsageError, match=told):
        run(stages([1, 2, 3], name="sums/mine"))
    assert files(tmp_path / "sums") == written
    with pytest.raises(UsageError, match=told):
        planned(tmp_path, stages([1, 2, 3], name="sums/mine"))["sum"].require_free()

    assert run(stages([1, 2, 3], name="sums/mine")[:2], replaces=True) == {"sum": 1}
    assert (tmp_path / "sums/mine/sum.txt").read_text() == "6"
    assert (tmp_path / "sums/mine/text.txt").exists() is not done  # no receipt named it
    assert run(stages([1, 2, 3], name="sums/mine"), replaces=True) == {"tell": 1}


def test_settings_that_differ_are_told_before_the_data_are_known(tmp_path: Path, run: Run) -> None:
    run(stages([1, 2], name="sums/mine"))
    with pytest.raises(UsageError, match="holds another sum"):
        planned(tmp_path, stages([1, 2, 3], factor=2, name="sums/mine"))["sum"].require_free()
