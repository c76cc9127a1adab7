"""Work that begins with what other work of its stage left: which that is, and that none begins with itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from test_history import SUM, refusal, stages, stopped

from pipeline.engine.engine import Engine
from pipeline.engine.graph import resolve
from pipeline.engine.plan import plan
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import START, History, Output, Stage, Start, Task
from pipeline.files.storage import Storage
from schemas.command import Command
from schemas.config import EngineConfig
from schemas.errors import IntegrityError, UsageError


def add_to(task: Task) -> list[Output]:
    """The sum, and that of the work that it begins with."""
    before = int(task.inputs.read("sum", "sum"))
    numbers = [int(task.inputs.read("list", "number", shard)) for shard in task.inputs.shards("list")]
    task.storage.write(task.path("sum"), str(before + sum(numbers)).encode())
    began = {"run": task.inputs.folder("sum").rpartition("/")[2], "sha256": task.inputs.receipt("sum").content}
    return [Output(("sum",), rows=1, facts={START: began})]


def unfit(theirs: object, own: object) -> str | None:
    del own
    return "a factor of 7" if "'sum.factor': 7" in str(theirs) else None


def going_on(numbers: Sequence[int], name: str | None = None, folder: str = "sums/sum-{task8}") -> list[Stage]:
    listed, added, told = stages(numbers)
    start = Start(name, unfit, "sum.start", Command("sum", sets={"sum.start": None}))
    history = History(stopped, refusal, start=start)
    went = replace(added, recipe={"sum.start": "other"}, run=add_to, history=history, folder=folder, outputs=SUM)
    return [listed, went, told]


@dataclass(frozen=True)
class Run:
    root: Path
    scheduler: str

    def __call__(self, described: Sequence[Stage]) -> dict[str, int]:
        storage = Storage(str(self.root))
        with ProgressView(quiet=True) as progress:
            engine = Engine(resolve(described, storage), storage, EngineConfig(), progress, self.scheduler)
            engine.run()
        return engine.ran

    def sums(self) -> list[str]:
        """What all runs came to, the first one first."""
        found = sorted(self.root.glob("sums/*/sum.stage.parquet"), key=lambda path: path.stat().st_mtime_ns)
        return [(path.parent / "sum.txt").read_text() for path in found]


@pytest.fixture
def run(tmp_path: Path, scheduler: str) -> Run:
    return Run(tmp_path, scheduler)


def test_the_latest_begins_and_work_that_is_done_does_not_begin_with_itself(run: Run) -> None:
    run(stages([1, 2]))
    assert run(going_on([1, 2])) == {"sum": 1, "tell": 1}
    assert run(going_on([1, 2])) == {}
    assert run(going_on([1, 2, 3])) == {"list": 1, "sum": 1, "tell": 1}
    assert run.sums() == ["3", "6", "12"]
    run(stages([1, 2, 3, 4]))  # the latest of all
    assert run(going_on([1, 2, 3])) == {"list": 1}  # the list was another meanwhile; the sum is done
    assert run(going_on([1, 2, 3, 4]))["sum"] == 1
    assert run.sums() == ["3", "6", "12", "10", "20"]


def test_a_run_that_is_named_begins_and_another_content_of_it_is_other_work(run: Run) -> None:
    run(stages([1], name="sums/mine"))
    run(stages([5]))
    assert run(going_on([1], "mine")) == {"list": 1, "sum": 1, "tell": 1}
    assert run.sums()[-1] == "2"
    assert run(going_on([1], "mine")) == {}
    (run.root / "sums/mine/sum.txt").unlink()
    assert run(going_on([1], "mine")) == {}  # what is done is done


def test_work_does_not_begin_with_what_lies_in_its_own_folder(run: Run) -> None:
    run(stages([1], name="sums/mine"))
    with pytest.raises(UsageError, match=r"sum.start: sum has no run to start from; found no run that is done"):
        plan(resolve(going_on([1], folder="sums/mine"), Storage(str(run.root))))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (None, r"found sum-\w{8} has a factor of 7, expected one of the same model"),
        ("other", r"found no other that is done, .* Start anew: biam-pipe sum --set sum.start=null$"),
    ],
)
def test_what_does_not_suit_is_refused_by_name(run: Run, name: str | None, told: str) -> None:
    run(stages([1], factor=7))
    graph = resolve(going_on([1], name), Storage(str(run.root)))
    with pytest.raises(UsageError, match=told):
        graph["sum"].require_beginning()
    with pytest.raises(UsageError, match=told):
        plan(graph)


def test_a_damaged_beginning_is_told(run: Run) -> None:
    run(stages([1, 2]))
    (path,) = run.root.glob("sums/*/sum.txt")
    path.write_text("4")
    with pytest.raises(IntegrityError, match=r"sum.txt is not what its receipt says: sha256"):
        run(going_on([1, 2]))
