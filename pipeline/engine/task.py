"""What a stage is, what one piece of its work is, and what comes back."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.files.storage import Storage
from schemas.receipts import Receipt

RECORD = "stage"  # the usual stem of a stage record; where several lie in one folder their stems end with ".stage"


@dataclass(frozen=True)
class Task:
    """One piece of work of one stage, as it travels to a worker.

    Attributes:
        stage: name of the stage.
        shard: number of the shard, or None for a stage that runs as one piece.
        root: the data set's folder in the work folder.
        folder: the stage's own folder below root.
        recipe: recipe fingerprint of the stage (64 hex digits).
        fingerprint: recipe and the content hashes of the inputs of this piece.
        settings: the stage's own settings object; picklable.
        inputs: receipts by upstream stage, in shard order: those that `Stage.upstream` asks for.
        folders: folder of each stage upstream, below root.
        bases: base addresses resolved at run time (never part of a fingerprint).
        deadline: `time.time()` at which the piece should save and stop, if it can.
        standing: receipt of what the same work gave before, where some of its rows are to be done again.
        redo: statuses of those rows.
        careful: a worker died over this piece before: what may kill a process belongs in one of its own. There is no
            third attempt.
    """

    stage: str
    shard: int | None
    root: str
    folder: str
    recipe: str
    fingerprint: str
    settings: Any
    inputs: Mapping[str, tuple[Receipt, ...]]
    folders: Mapping[str, str]
    bases: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    standing: Receipt | None = None
    redo: frozenset[str] = frozenset()
    careful: bool = False

    @property
    def storage(self) -> Storage:
        """The data set's folder as a storage."""
        return Storage(self.root)

    @property
    def shard_name(self) -> str:
        """`shard-00007`, the stem of every file of this shard."""
        assert self.shard is not None
        return shard_name(self.shard)

    def path(self, stage: str, file: str) -> str:
        """Path below root of a file of an upstream stage, or of this one."""
        folder = self.folder if stage == self.stage else self.folders[stage]
        return f"{folder}/{file}" if folder else file


def shard_name(shard: int) -> str:
    """`shard-00007`: the stem of the files of that shard, in every stage."""
    return f"shard-{shard:05d}"


@dataclass(frozen=True)
class Output:
    """What a piece of work did; core turns it into a receipt.

    Attributes:
        files: paths below root that were committed, the one that names the shard first.
        rows: rows written, failures included.
        shard: for a stage that writes many shards in one piece, which one this is.
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


Finish = Callable[[Storage, str, Sequence[Receipt]], None]
Service = Callable[[], AbstractContextManager[Mapping[str, str]]]
Place = Literal["network", "compute", "gpu", "gpu-or-compute", "process"]
Edge = Literal["shard", "whole", "all"]


def place_of(name: str) -> Place:
    """Where work on the device of a setting runs."""
    if name == "auto":
        return "gpu-or-compute"
    return "gpu" if name.startswith("cuda") else "compute"


@dataclass(frozen=True)
class Stage:
    """One verb of the pipeline, wired to what it reads.

    Attributes:
        name: the verb.
        version: of the code; bumped when the output changes.
        recipe: the settings that shape the output, by dotted key, as JSON values. `plan` names the one that changed.
        settings: what `run` gets; may hold more than the recipe (threads, devices).
        run: module-level function, `run(task) -> [Output, ...]`; one output for each receipt to be written.
        upstream: what the stage reads of each stage before it: `shard` (piece i reads shard i: the stage is then
            shard-wise), `whole` (the part that belongs to no shard, such as the label space) or `all`.
        reads: the one part of a stage upstream whose content counts, where that is not all of it.
        many: one piece writes many shards (only the index does).
        resumes: a piece that was stopped goes on where it was (only training does).
        whole_piece: a shard-wise stage that also has a piece without shard (the label roles of a split); that piece
            gets the `whole` part of every stage upstream.
        place: where a piece runs: a `network`, `compute` or `gpu` worker of the cluster, a GPU if there is one
            (`gpu-or-compute`), or a `process` of its own.
        folder: where the outputs lie, below the data set's folder; may hold `{fp8}`, the first 8 digits of the stage's
            own recipe, or `{train}`, those of a stage upstream.
        record: stem of the stage record (`stage.parquet`) and of the receipt of a piece without shard (`stage.json`);
            may hold the same.
        outside: what is read from outside the work folder, as JSON values by name: hashes of files, a listing, how many
            rows are asked for. Part of the fingerprint of each piece, not of the recipe, so that growth of a data set
            leaves what was there clean.
        consumes: files that this stage alone needs, shard by shard: their folder, by the stage upstream that writes
            them. Once dropped they are made again where a piece of this stage that reads them has to run again.
        prunes: those files of a shard are dropped as soon as this stage has done the shard.
        service: opened around the run of this stage, gives the base addresses for `Task.bases`.
        finish: called with storage, folder and all receipts when the last of them is there, before the record is
            written; for a page about the whole.
        page: name of the file that it writes; where that is gone, `finish` is called again.
    """

    name: str
    version: int
    recipe: Mapping[str, Any]
    settings: Any
    run: Callable[[Task], list[Output]]
    upstream: Mapping[str, Edge]
    place: Place
    folder: str
    record: str = RECORD
    reads: Mapping[str, str] = field(default_factory=dict)
    many: bool = False
    resumes: bool = False
    whole_piece: bool = False
    outside: Mapping[str, Any] = field(default_factory=dict)
    consumes: Mapping[str, str] = field(default_factory=dict)
    prunes: bool = False
    service: Service | None = None
    finish: Finish | None = None
    page: str | None = None

    @property
    def shard_wise(self) -> bool:
        """Whether there is one piece of work for each shard upstream."""
        return "shard" in self.upstream.values()
