"""Kills and interrupts at chosen moments, and runs out of time."""

import json
from dataclasses import dataclass

from benchmarks.disturbing.bench import Bench, Trial

_KILLED, _INTERRUPTED, _USED_UP = -9, 130, 75
_STOP_S = 10.0  # that an interruption may take


@dataclass(frozen=True)
class Fault:
    """A signal at a chosen moment; `tests/faults/sitecustomize.py` sends it.

    Attributes:
        name: regular expression for the path of a file.
        event: `os.rename`: that file is about to get its name; `open`: it is about to be opened; `os.remove`: it is
            about to go.
        count: how often that has to happen in one process before the signal comes.
        signal: SIGKILL goes to the main process, and the file about to be renamed is cut in half, as if it were still
            being written; any other signal goes to all processes of the run, as from a terminal.
    """

    name: str
    event: str = "os.rename"
    count: int = 1
    signal: str = "SIGKILL"


@dataclass(frozen=True)
class Moment:
    """A signal at a chosen moment of a run.

    Attributes:
        before: the run starts with what this stage and all after it wrote removed.
        settings: of the disturbed run and of the one after it.
        older: settings with which the stage runs to its end first, so that the disturbed run writes over its work.
    """

    name: str
    before: str
    fault: Fault
    settings: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    on_small_disk: bool = False

    @property
    def group(self) -> str:
        """By the signal."""
        return self.fault.signal

    def disturb(self, bench: Bench, trial: Trial) -> tuple[list[str], str]:
        """Send the signal; gives what is wrong then, and how long it took to stop."""
        if self.older:
            bench.command(trial, self.before, *self.older)
        mark = trial.root / "mark"
        mark.unlink(missing_ok=True)
        variables = {"BIAM_PIPE_TEST_FAULT": json.dumps({**vars(self.fault), "mark": str(mark)})}
        ended = bench.command(trial, "run", *self.settings, environment=variables)
        if not mark.exists():
            return ["the moment to disturb it never came"], ""
        killed = self.fault.signal == "SIGKILL"
        problems = bench.wrong_with(ended, trial, (_KILLED if killed else _INTERRUPTED,))
        problems += bench.false_alarms(trial) if killed else bench.left_outside(trial)
        stopped_s = ended.at - mark.stat().st_mtime
        if stopped_s > _STOP_S:
            problems.append(f"took {stopped_s:.1f} s to stop, expected at most {_STOP_S:.0f} s")
        return problems, f"stopped in {stopped_s:.1f} s"


@dataclass(frozen=True)
class Budgets:
    """A run without any time first, then with ever more until all is done, or only so often."""

    name: str
    most: int | None = None
    group: str = "time budgets"
    before: None = None
    settings: tuple[str, ...] = ()
    on_small_disk: bool = False

    def disturb(self, bench: Bench, trial: Trial) -> tuple[list[str], str]:
        """Let the time run out; gives what is wrong, and how often it did."""
        budget_s, runs, problems = 0, 0, []
        while runs != self.most:
            ended = bench.command(trial, "run", options=("--time-budget", f"{budget_s}s"))
            problems += bench.wrong_with(ended, trial, (_USED_UP,) if budget_s == 0 else (_USED_UP, 0))
            if ended.code != _USED_UP:
                break
            budget_s, runs = max(1, 2 * budget_s), runs + 1
        return problems, f"{runs} times out of time"


_MID_EPOCH = r"/checkpoint$"  # the folder is synced after each checkpoint: opened while none is written
_DROPPING = 3  # of the times that the record of download is withdrawn: before each of its shards, then as they go
_DROPS = ("images.keep=false",)
_RIDGE = ("model.name=ridge",)
_SHARD_AND_RECEIPT = Moment("between a shard and its receipt", "extract", Fault(r"/features/.*/shard-0000[12]\.json$"))
_IN_AN_EPOCH = Moment("inside train, in an epoch", "train", Fault(_MID_EPOCH, "open", 3))
_HISTORY = Moment("between the model and its history", "train", Fault(r"/history\.json$"))
_CTRL_C_EXTRACT = Moment("Ctrl-C inside extract", "extract", Fault(r"/features/.*/shard-.*\.json$", signal="SIGINT"))
_CTRL_C_TRAIN = Moment("Ctrl-C inside train", "train", Fault(_MID_EPOCH, "open", 2, "SIGINT"))

# An interrupt lets the shards in hand end, which may be all: what needs one without its receipt comes before it.
FEW = (_SHARD_AND_RECEIPT, _CTRL_C_EXTRACT, _IN_AN_EPOCH, _CTRL_C_TRAIN, Budgets("no time at all", 1), _HISTORY)
ALL = (
    Moment(
        "over older shards of the index", "index", Fault(r"/index/shard-00001\.parquet$"), older=("dataset.seed=1",)
    ),
    Moment("between a download and its image shard", "download", Fault(r"/downloads/shard-00001\.parquet$")),
    _SHARD_AND_RECEIPT,
    Moment("before a receipt, over older", "split", Fault(r"/splits/.*/shard-00001\.json$"), older=("split.seed=1",)),
    Moment("before a stage record", "split", Fault(r"/splits/.*/stage\.parquet$")),
    _IN_AN_EPOCH,
    Moment("while a checkpoint is renamed", "train", Fault(r"/checkpoint/last\.safetensors$", count=2)),
    Moment(
        "in the pass of a model without epochs", "train", Fault(r"/features/.*/shard-00001\.parquet$", "open"), _RIDGE
    ),
    _HISTORY,
    Moment("between the tables and the figures", "evaluate", Fault(r"/metrics\.json$")),
    Moment("before the page", "report", Fault(r"/report\.html$")),
    Moment(
        "between features and a drop", "extract", Fault(r"/downloads/stage\.parquet$", "os.remove", _DROPPING), _DROPS
    ),
    Moment("before an image shard goes", "extract", Fault(r"/images/shard-00001\.parquet$", "os.remove"), _DROPS),
    Moment("SIGTERM to all inside download", "download", Fault(r"/downloads/shard-00000\.json$", signal="SIGTERM")),
    _CTRL_C_EXTRACT,
    _CTRL_C_TRAIN,
    Budgets("ever more time"),
)
