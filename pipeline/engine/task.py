"""What a stage is, what one task of its work is, and what comes back."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.files.inputs import Inputs, OutputFile
from pipeline.files.storage import Storage
from schemas.command import Command
from schemas.errors import UsageError

CHECKPOINT = "checkpoint"  # name of the output in which a task that was stopped keeps what it needs to go on
START = "start"  # the fact of a receipt that says which run the work began with, and the content of that
RECORD = "stage"  # the usual stem of a stage record; where several lie in one folder their stems end with ".stage"


@dataclass(frozen=True)
class Task:
    """One task of one stage, as it travels to a worker.

    Attributes:
        stage: name of the stage.
        shard: number of the shard, or None for what belongs to no shard.
        storage: the data set's folder.
        folder: the stage's own folder below it.
        recipe: recipe fingerprint of the stage (64 hex digits).
        fingerprint: recipe and the content hashes of the inputs of this task.
        settings: the stage's own settings object; picklable.
        inputs: what the stages upstream left, as far as `Stage.upstream` asks for it; and what this stage itself left
            before, where the task may build on that.
        outputs: the files that the stage leaves, by name.
        bases: base addresses resolved at run time (never part of a fingerprint).
        deadline: `time.time()` at which the task should save and stop, if it can.
        sharers: worker processes that do such tasks, among which limits of a host are shared out.
        redo: statuses of rows to be done again, where this stage did the same work before.
        isolated: a worker died over this task before: what may kill a process belongs in one of its own. There is no
            third attempt.
    """

    stage: str
    shard: int | None
    storage: Storage
    folder: str
    recipe: str
    fingerprint: str
    settings: Any
    inputs: Inputs
    outputs: Mapping[str, OutputFile]
    bases: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    sharers: int = 1
    redo: frozenset[str] = frozenset()
    isolated: bool = False

    def path(self, name: str, shard: int | None = None) -> str:
        """Path below the data set's folder of a file that this stage leaves.

        Args:
            name: as the stage declares it.
            shard: of a task that leaves several shards; that of the task where None.
        """
        return self.outputs[name].at(self.shard if shard is None else shard)


@dataclass(frozen=True)
class Output:
    """What a task did; the engine turns it into a receipt.

    Attributes:
        files: names of the files that were committed, as the stage declares them.
        rows: rows written, failures included.
        shard: for a stage that writes many shards in one task, which one this is.
        counts: rows by status.
        content: hash of what matters to the stages after this one; the hash of the files where None. Two runs with
            equal content leave the next stage clean, whatever the bytes.
        parts: the same for named parts of it. A stage that reads one part only (`Stage.reads`) stays clean when another
            changes: new annotations do not dirty features.
        facts: small figures worth keeping (JSON values), for `plan`, `status` and the report.
    """

    files: tuple[str, ...]
    rows: int
    shard: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    content: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A page about all that a stage left, written when the last receipt is there, and again where it is gone.

    Attributes:
        file: its name in the stage's folder.
        text: of what the stage left.
    """

    file: str
    text: Callable[[Inputs], str]


@dataclass(frozen=True)
class Start:
    """That work which is history begins with what other work of the same stage left, which counts by its content.

    Attributes:
        name: of the folder of that work; None for the latest that suits.
        unfit: why work with one recipe document cannot begin what has another; None where it can.
        setting: that asks for it, for error texts.
        without: the command that does without.
    """

    name: str | None
    unfit: Callable[[Mapping[str, Any], Mapping[str, Any]], str | None]
    setting: str
    without: Command


@dataclass(frozen=True)
class History:
    """Of work that other work does not replace in silence: how one tells what lies in a folder, and refuses it.

    Attributes:
        stopped: of a checkpoint, by its path, the fingerprint of the task that left it; None where nobody can tell.
        refusal: the error about a folder that holds other work, of what is left there.
        earlier: the folder as it was named before; the same work that lies there stays there. May hold `{fp8}`.
        start: other work that it begins with; None where it begins with nothing.
    """

    stopped: Callable[[Storage, str], str | None]
    refusal: Callable[[Inputs], UsageError]
    earlier: str | None = None
    start: Start | None = None


@dataclass(frozen=True)
class Estimate:
    """What a stage can tell of what it will leave, before it has left anything.

    Attributes:
        rows: of all its shards; None where that is not known. For the stage that decides which shards there are.
        row_bytes: that a row takes on disk; None where only a shard tells.
        at_most: whether a row may take less than that, nobody knows how much, and never takes more.
        savings: settings that make it less, for people to read.
        facts: what else is known of the rows, as JSON values; of the stage that decides which shards there are.
    """

    rows: int | None = None
    row_bytes: int | None = None
    at_most: bool = False
    savings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


Service = Callable[[], AbstractContextManager[Mapping[str, str]]]
Place = Literal["io", "compute", "gpu", "gpu-or-compute", "process"]
Edge = Literal["shard", "whole", "all"]


def place_of(name: str) -> Place:
    """Where work on the device of a setting runs."""
    if name == "auto":
        return "gpu-or-compute"
    return "gpu" if name.startswith("cuda") else "compute"


@dataclass(frozen=True)
class Stage:
    """One verb of the pipeline: what it reads, what it leaves, and who does it.

    Attributes:
        name: the verb.
        version: of the code; bumped when the output changes.
        recipe: the settings that shape the output, by dotted key, as JSON values. `plan` names the one that changed.
        settings: what `run` gets; may hold more than the recipe (threads, devices).
        run: module-level function, `run(task) -> [Output, ...]`; one output for each receipt to be written.
        upstream: what the stage reads of each stage before it: `shard` (task i reads shard i: the stage is then
            shard-wise), `whole` (the part that belongs to no shard, such as the label space) or `all`.
        outputs: the files that it leaves, by name. A stage of one task that leaves files of shards decides which shards
            there are (only the index does); a shard-wise one that leaves files of the whole has a task for these, too,
            which gets the `whole` part of every stage upstream. One named `checkpoint` has no receipt.
        place: where a task runs: an `io`, `compute` or `gpu` worker of the cluster, a GPU if there is one
            (`gpu-or-compute`), or a `process` of its own.
        folder: where the outputs lie, below the data set's folder; may hold `{fp8}`, the first 8 digits of the stage's
            own recipe, `{train}`, those of a stage upstream, or `{train.folder}`, the whole folder of that stage; where
            the stage is `history`, also `{task8}`, those of the fingerprint of its one task, of settings and data.
        record: stem of the stage record (`stage.parquet`) and of the receipt of a task without shard (`stage.json`);
            may hold the same.
        reads: the one part of a stage upstream whose content counts, where that is not all of it.
        outside: what is read from outside the work folder, as JSON values by name: hashes of files, a listing, how many
            rows are asked for. Part of the fingerprint of each task, not of the recipe, so that growth of a data set
            leaves what was there clean.
        consumes: output that this stage alone needs, shard by shard, by the stage upstream that leaves it. Once dropped
            it is made again where a task of this stage that reads it has to run again.
        prunes: that output of a shard is dropped as soon as this stage has done the shard.
        service: opened around the run of this stage, gives the base addresses for `Task.bases`.
        pages: about all that it left.
        history: of a stage of one task whose work stays where settings or data change; None where it is made anew.
        estimate: of what it leaves, for `plan`; called with the facts of the stage that decides which shards there are.
            None: it is small.
        notes: what a user should know before it runs, for `plan`.
        preload: modules that take long to load; one process does so for all stages that want a `process` of their own.
        command: that brings it up to date, where there is none of its own name.
        require: called before anything runs, with the address of a user's Dask scheduler or None: refuses what could
            not come to an end on this machine or with these settings.
    """

    name: str
    version: int
    recipe: Mapping[str, Any]
    settings: Any
    run: Callable[[Task], list[Output]]
    upstream: Mapping[str, Edge]
    outputs: Mapping[str, OutputFile]
    place: Place
    folder: str
    record: str = RECORD
    reads: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, Any] = field(default_factory=dict)
    consumes: Mapping[str, str] = field(default_factory=dict)
    prunes: bool = False
    service: Service | None = None
    pages: tuple[Page, ...] = ()
    history: History | None = None
    estimate: Callable[[Mapping[str, Any]], Estimate] | None = None
    notes: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    command: str | None = None
    require: Callable[[str | None], None] | None = None

    @property
    def shard_wise(self) -> bool:
        """Whether there is one task for each shard upstream."""
        return "shard" in self.upstream.values()

    @property
    def leaves_whole(self) -> bool:
        """Whether it leaves something that belongs to no shard."""
        return any(not output.sharded for output in self.outputs.values())

    @property
    def resumes(self) -> bool:
        """Whether a task that was stopped goes on where it was."""
        return CHECKPOINT in self.outputs

    @property
    def decides_shards(self) -> bool:
        """Whether its one task decides which shards there are."""
        return not self.shard_wise and any(output.sharded for output in self.outputs.values())
