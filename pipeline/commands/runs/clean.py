"""What no kept run needs: older runs, what only they read, and images dropped after use that lie there still.

Needed is what the present settings would use, and what the settings of each kept run would. Runs are kept where they
are among the newest, where `latest` leads to them, or where a comparison below compare/ was made of them. What a run
needs of which the settings cannot be read is not known: then nothing but runs goes.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.commands.runs.found import FOLDER, Run
from pipeline.commands.runs.latest import whole_latest
from pipeline.engine.events import FOLDER as LOGS
from pipeline.engine.fingerprint import FP8
from pipeline.engine.graph import Graph
from pipeline.engine.ledger import Ledger, clear, is_record, ledgers
from pipeline.engine.task import RECORD
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from schemas.errors import PipelineError
from schemas.receipts import Receipt

COMPARED = "runs"  # the fact of a comparison's receipt that names the folders of all runs it was made of
_COMPARISONS = "compare"
_LOGS_KEPT = 20
_SHARED = ("features", "embeddings", "splits")  # below which stages lie that several runs read


@dataclass(frozen=True)
class Needless:
    """Something that no kept run needs.

    Attributes:
        kind: `run`, `features`, `embeddings`, `splits`, `dropped image` or `log`.
        path: below the data set's folder.
        why: in words.
    """

    kind: str
    path: str
    size_bytes: int
    why: str
    record: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Cleaning:
    """What was found, and whether it is gone.

    Attributes:
        found: largest first.
        kept: names of the runs that stay, each with why.
        removed: whether all that was found has been removed.
        notes: what could not be told.
    """

    root: str
    found: Sequence[Needless]
    kept: Mapping[str, str]
    removed: bool
    notes: Sequence[str] = ()

    @property
    def size_bytes(self) -> int:
        """Of all that was found."""
        return sum(one.size_bytes for one in self.found)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "work": self.root,
            "found": [
                {"kind": one.kind, "path": one.path, "size_bytes": one.size_bytes, "why": one.why} for one in self.found
            ],
            "size_bytes": self.size_bytes,
            "kept": dict(self.kept),
            "removed": self.removed,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class World:
    """What there is, and who says what is needed of it.

    Attributes:
        runs: all of them, newest first.
        present: the graph of the settings as they are, with what is up to date marked.
        graph_of: that of the settings of a run.
    """

    storage: Storage
    runs: Sequence[Run]
    present: Graph
    graph_of: Callable[[str], Graph]


def clean(world: Callable[[], World], keep: int | None, *, remove: bool) -> Cleaning:
    """What no kept run needs; removed where that is wanted.

    Args:
        world: looks at it; where something is to go once more, with the work folder held.
        keep: so many of the newest runs stay; None for all that came to an end or may go on.

    Raises:
        HeldFolderError: something is to go, and somebody writes in the work folder.
        IntegrityError: the pointer `latest` is damaged, so that nobody knows which run it keeps.
    """
    found = _look(world(), keep)
    if not remove or not found.found:
        return found
    storage = world().storage
    with writing(storage):
        found = _look(world(), keep)
        for one in found.found:
            _remove(storage, one)
    return Cleaning(found.root, found.found, found.kept, removed=True, notes=found.notes)


def _look(world: World, keep: int | None) -> Cleaning:
    kept = _kept(world, keep)
    gone = [run for run in world.runs if run.name not in kept]
    needless = [Needless("run", f"{FOLDER}/{run.name}", run.size_bytes, _why_gone(run, keep)) for run in gone]
    needed, notes = _needed(world, kept)
    if not notes:
        needless += _unread(world.storage, needed, _digits(world.storage, kept))
    needless += [*_dropped(world), *_old_logs(world.storage)]
    ordered = sorted(needless, key=lambda one: (-one.size_bytes, one.path))
    return Cleaning(world.storage.shown(""), tuple(ordered), kept, removed=False, notes=notes)


def _why_gone(run: Run, keep: int | None) -> str:
    return "it is empty" if run.state == "empty" else f"{run.state}, and not among the {keep} newest"


def _kept(world: World, keep: int | None) -> dict[str, str]:
    """The runs that stay, each with why."""
    kept: dict[str, str] = {}
    train = world.present.get("train")
    if train is not None and train.placed:
        kept[train.folder.rpartition("/")[2]] = "the run of the present settings"
    if (pointer := whole_latest(world.storage)) is not None:
        kept[pointer.run] = "latest"
    for folder, runs in _compared(world).items():
        kept |= dict.fromkeys(runs, f"in {folder}")
    kept |= {run.name: run.state for run in world.runs if run.state == "under way"}
    whole = [run.name for run in world.runs if run.state != "empty"]
    kept |= {name: "one of the newest" if keep is not None else "a run" for name in whole[:keep] if name not in kept}
    there = {run.name for run in world.runs}
    return {name: why for name, why in kept.items() if name in there}


def _compared(world: World) -> dict[str, list[str]]:
    """The runs that each comparison was made of, by its folder; of one that does not say, all there are."""
    found = {}
    for ledger in ledgers(world.storage):
        if not ledger.folder.startswith(f"{_COMPARISONS}/"):
            continue
        receipt = Ledger(world.storage, _COMPARISONS, ledger.folder, RECORD).read(None)
        told = None if receipt is None else receipt.facts.get(COMPARED)
        names = [run.name for run in world.runs] if told is None else [path.rpartition("/")[2] for path in told]
        found[ledger.folder] = names
    return found


def _needed(world: World, kept: Collection[str]) -> tuple[set[tuple[str, str]], list[str]]:
    """Folder and stem of the records of all stages that the present settings and the kept runs read."""
    graphs, notes = [world.present], []
    for name in kept:
        if _has_no_settings(world, name):
            state = next(run.state for run in world.runs if run.name == name)
            notes.append(f"{name} is {state}, so nobody can tell what it needs: features, vectors and splits stay")
            continue
        try:
            graphs.append(world.graph_of(name))
        except PipelineError as error:
            notes.append(f"what {name} needs cannot be told ({error}): features, vectors and splits stay")
    places = {(node.folder, node.ledger.record) for graph in graphs for node in graph.values()}
    return places, notes


def _has_no_settings(world: World, name: str) -> bool:
    return any(run.name == name and not run.settings for run in world.runs)


def _digits(storage: Storage, kept: Collection[str]) -> set[str]:
    """First digits of the recipes that kept runs were made from: an older version of the code gave others than now."""
    found = set()
    for name in kept:
        record = Ledger(storage, "train", f"{FOLDER}/{name}", "train.stage").read_record()
        found |= {digest[:FP8] for digest in record.recipe["upstream"].values()} if record is not None else set()
    return found


def _unread(storage: Storage, needed: Collection[tuple[str, str]], digits: Collection[str]) -> Iterator[Needless]:
    """Places of stages that no graph names, and whose names hold none of these digits."""
    for ledger in ledgers(storage):
        kind = ledger.folder.split("/")[0]
        if kind not in _SHARED or (ledger.folder, ledger.record) in needed:
            continue
        if any(f"-{digit}" in f"{ledger.folder}/{ledger.record}" for digit in digits):
            continue
        whole = kind == "features"
        files = list(_files(storage, ledger, whole=whole))
        size_bytes = sum(storage.size_bytes(path) for path in files)
        path = ledger.folder if whole else f"{ledger.folder}/{ledger.record}"
        yield Needless(kind, path, size_bytes, "no kept run reads it", ledger.record)


def _files(storage: Storage, ledger: Ledger, *, whole: bool) -> Iterator[str]:
    """The files of a place, records and receipts among them; of features all that lies in the folder."""
    if whole:
        yield from (f"{ledger.folder}/{name}" for name in storage.sizes(ledger.folder))
        return
    yield from ledger.paths()


def _dropped(world: World) -> Iterator[Needless]:
    """Images that a receipt calls dropped and that lie there still, as a kill between the two leaves them."""
    for node in world.present.values():
        for receipt in node.kept.values():
            yield from _still_there(world.storage, receipt, node.sizes)


def _old_logs(storage: Storage) -> Iterator[Needless]:
    """Logs of commands, but for those of the last ones; names begin with the time."""
    found = storage.sizes(LOGS)
    newest = sorted({name.rpartition(".")[0] for name in found}, reverse=True)[:_LOGS_KEPT]
    for name, size_bytes in found.items():
        if name.rpartition(".")[0] not in newest:
            yield Needless("log", f"{LOGS}/{name}", size_bytes, f"of a command before the last {_LOGS_KEPT}")


def _still_there(storage: Storage, receipt: Receipt, sizes: Mapping[str, int]) -> Iterator[Needless]:
    for file in receipt.files:
        if file.pruned and file.path in sizes:
            yield Needless("dropped image", file.path, sizes[file.path], "its receipt says that it was dropped")


def _remove(storage: Storage, one: Needless) -> None:
    """Remove it, receipts first: what a kill leaves then counts for nothing."""
    if one.record is None:
        if one.kind == "run":
            clear(storage, one.path)
            storage.remove_folder(one.path)
        else:
            storage.remove(one.path)
        return
    folder = one.path if one.kind == "features" else one.path.rpartition("/")[0]
    for path in list(Ledger(storage, "", folder, one.record).paths()):
        storage.remove(path)
    if not any(is_record(name) for name in storage.sizes(folder)):
        storage.remove_folder(folder)
