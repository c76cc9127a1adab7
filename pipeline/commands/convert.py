"""Features in another form: in another store, as the authors' released files, or for Hugging Face's `datasets`.

Another store takes the features' own place in the work folder, receipts included, so that a run with that store finds
them up to date. The other forms go to a folder of the user's. What is there, made from the same features, stays: its
hash and theirs are compared.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.engine.engine import write_record
from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.graph import Graph, Node, inputs_of
from pipeline.engine.plan import not_up_to_date, plan
from pipeline.engine.progress import ProgressView
from pipeline.files.inputs import Inputs, shard_name
from pipeline.files.lock import writing
from pipeline.files.scratch import own_temporaries
from pipeline.files.storage import Storage, users_folder
from pipeline.machine import stopping
from pipeline.machine.ahead import ahead
from pipeline.machine.device import cores
from pipeline.machine.stopping import watching_signals
from pipeline.stores import STORES
from schemas.command import Command
from schemas.config import Config, StoreConfig
from schemas.datasets import DatasetSection
from schemas.errors import UsageError, unknown_name
from schemas.receipts import Receipt

if TYPE_CHECKING:
    from pipeline.batches.shards import FeatureShards

FORMS = ("huggingface", "released")  # beside the stores
_READS = ("index", "extract", "split", "unseen")  # the last where unseen labels are drawn
_SUFFIXES = (".parquet", ".h5", ".pkl")  # of the files of all forms


@dataclass(frozen=True)
class Converted:
    """What a conversion came to.

    Attributes:
        to: name of the store or form.
        folder: where it lies.
        files: shards or files in it.
        made: those of them that were made now; the others stood already.
        rows: images in them.
        size_bytes: of all.
        next_step: what one does with it; of a form, how it is read.
    """

    to: str
    folder: str
    files: int
    made: int
    rows: int
    size_bytes: int
    next_step: Command | str


@dataclass(frozen=True)
class Conversion:
    """What to convert.

    Attributes:
        to: name of the store or form.
        dataset: the settings of the data set whose features they are.
        store: the settings of the store that the features are in; compression and row groups are those of another, too.
        out: folder for a form; None for a store, whose shards have their place in the work folder.
        quiet: no progress on stderr.
    """

    to: str
    dataset: DatasetSection
    store: StoreConfig
    out: Path | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if not self.to:
            raise UsageError(
                "convert:",
                got="no TO",
                expected=f"a store ({', '.join(STORES)}), a form ({', '.join(FORMS)}) or --from FILE",
                run=Command("convert", (next(name for name in STORES if name != self.store.name),)),
            )
        if self.to not in (*STORES, *FORMS):
            raise unknown_name("store or form", self.to, (*STORES, *FORMS))
        if self.to == self.store.name:
            raise UsageError(
                f"convert: the features are in the store {self.to} already (store.name)",
                hint="To convert from another:",
                run=Command(sets={"store.name": next(name for name in STORES if name != self.to)}),
            )
        if self.to in FORMS and self.out is None:
            raise UsageError(
                f"convert: {self.to} wants a folder for its files: --out DIR",
                run=Command("convert", (self.to, "--out", self.to)),
            )
        if self.to not in FORMS and self.out is not None:
            raise UsageError(
                f"convert: {self.to} wants no --out: it has its place in the work folder",
                run=Command("convert", (self.to,)),
            )


def import_settings(config: Config, files: Sequence[str], to: str, out: Path | None) -> list[str]:
    """The settings, as `--set` takes them, with which the stage `extract` takes in these files.

    Args:
        config: the settings without them.
        to: store that the features go to; "" for that of the settings.
        out: what the user gave as --out.

    Raises:
        UsageError: the data set takes in no features, or a folder was named for them.
    """
    if "features" not in type(config.dataset).model_fields:
        raise UsageError(
            "convert: --from takes in features of the data set nuswide",
            got=f"{config.dataset.name} (--dataset, or the section [dataset] of the configuration)",
            run=Command("convert", ("--from", files[0]), dataset="nuswide"),
        )
    if out is not None:
        raise UsageError("convert: --from wants no --out: features that are taken in go to the work folder")
    return [f"dataset.features={json.dumps(list(files))}", *([f"store.name={to}"] if to else [])]


def convert(request: Conversion, storage: Storage, graph_of: Callable[[StoreConfig, str], Graph]) -> Converted:
    """The features in another store, or in a form for other programs.

    Args:
        graph_of: the graph with a store, up to a stage.

    Raises:
        PipelineError: they are not all there, or do not fit the form.
        IntegrityError: a shard is not what its receipt says.
        InterruptedRunError: asked to stop; what was converted stays.
    """
    graph = graph_of(request.store, "extract" if request.out is None else "train")
    plan(graph)
    read = ("extract",) if request.out is None else tuple(name for name in _READS if name in graph)
    _require_complete(graph, read, storage.name)
    with writing(storage), own_temporaries(), watching_signals(), ProgressView(quiet=request.quiet) as progress:
        if request.out is not None:
            return _to_files(graph, storage, request, request.out, progress)
        storage.sweep()
        options = request.store.model_copy(update={"name": request.to})
        target = graph_of(options, "extract")
        plan(target)
        return _to_store(graph, target["extract"], options, progress)


def _require_complete(graph: Graph, stages: Iterable[str], dataset: str) -> None:
    for name in stages:
        if not graph[name].complete:
            raise not_up_to_date("convert", graph[name], dataset)


def _to_store(graph: Graph, target: Node, options: StoreConfig, progress: ProgressView) -> Converted:
    """The features in another store; the target's node is that of the same features there."""
    from pipeline.batches.shards import open_features
    from pipeline.conversion.store import StoreCopy

    source, storage = graph["extract"], target.ledger.storage
    copy = StoreCopy(open_features(_left(graph)), options, target.ledger, target.outputs)

    def stand_or_make(receipt: Receipt) -> Receipt:
        standing = target.valid.get(receipt.shard)
        return standing if standing is not None and copy.stands(receipt, standing) else copy.make(receipt)

    before = dict(target.valid)
    with ahead(stand_or_make, _unless_stopped(source.receipts()), cores(), cores(), name="convert") as receipts:
        for done, receipt in enumerate(receipts):
            target.valid[receipt.shard] = receipt
            progress.update("convert", done + 1, len(source.valid))
    made = {shard for shard, receipt in target.valid.items() if receipt is not before.get(shard)}
    if made or not target.recorded:
        write_record(target)
    numbered = [receipt for receipt in target.receipts() if receipt.shard is not None]
    return Converted(
        to=options.name,
        folder=storage.shown(target.folder),
        files=len(numbered),
        made=len(made - {None}),
        rows=sum(receipt.rows for receipt in numbered),
        size_bytes=sum(file.size_bytes for receipt in numbered for file in receipt.files),
        next_step=Command("train", dataset=storage.name, sets={"store.name": options.name}),
    )


def _to_files(graph: Graph, storage: Storage, request: Conversion, out: Path, progress: ProgressView) -> Converted:
    """The features in a form for other programs, in a folder; files that are whole stay whatever happens."""
    from pipeline.batches.shards import open_features

    files = _Files(users_folder(out.resolve(), "convert"), {name: graph[name] for name in _READS if name in graph})
    features = open_features(_left(graph))
    jobs = _huggingface(features) if request.to == "huggingface" else _released(features, request.dataset)
    files.refuse_others(jobs)
    made = rows = size_bytes = 0
    for number, (name, write) in enumerate(jobs.items()):
        stopping.heed(None)
        note = files.standing(name)
        if note is None:
            note, made = files.make(name, write), made + 1
        rows, size_bytes = rows + note["rows"], size_bytes + note["size_bytes"]
        progress.update("convert", number + 1, len(jobs))
    for number in features.numbers:  # what no file was made from now may have changed since
        features.inputs.path("extract", "features", number)
    opened = f'load_dataset("parquet", data_files="{out}/*.parquet")'
    example = opened if request.to == "huggingface" else f"h5py, {out}/*.h5; pickle, the names in {out}/*.pkl"
    return Converted(request.to, str(out), len(jobs), made, rows, size_bytes, example)


Write = Callable[[Path], int]


@dataclass(frozen=True)
class _Files:
    """Files of a folder outside of the work folder, each with a note of what it was made from.

    Attributes:
        nodes: the stages that they are made from.
    """

    storage: Storage
    nodes: Mapping[str, Node]

    def refuse_others(self, jobs: Collection[str]) -> None:
        """Refuse a folder where files of other features would be read together with those made here.

        Raises:
            UsageError: it holds such a file.
        """
        others = [name for name in self.storage.sizes(".") if name.endswith(_SUFFIXES) and name not in jobs]
        if others:
            raise UsageError(
                f"convert: {self.storage.shown(min(others))} is none of the {len(jobs)} files of this conversion",
                found=f"{len(others)} such",
                expected=0,
                hint="Remove what is old, or use another --out",
            )

    def standing(self, name: str) -> dict[str, Any] | None:
        """The note of a file that was made from the same features and stands; None where it has to be made."""
        path = self._note(name)
        try:
            note: dict[str, Any] = json.loads(self.storage.read(path))
            same = note["made_from"] == self._made_from and self.storage.sha256(name) == note["sha256"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return note if same else None

    def make(self, name: str, write: Write) -> dict[str, Any]:
        """Write the file, then its note."""
        self.storage.remove(self._note(name))
        with self.storage.commit(name) as temporary:
            rows = write(temporary)
        size_bytes = self.storage.size_bytes(name)
        sha256 = self.storage.sha256(name)
        note = {"made_from": self._made_from, "rows": rows, "size_bytes": size_bytes, "sha256": sha256}
        self.storage.write(self._note(name), json.dumps(note, indent=1).encode())
        return note

    @cached_property
    def _made_from(self) -> str:
        return fingerprint([receipt.content for node in self.nodes.values() for receipt in node.receipts()])

    def _note(self, name: str) -> str:
        return f"{name}.json"


def _huggingface(features: "FeatureShards") -> dict[str, Write]:
    """One Parquet file a shard."""
    from pipeline.conversion import huggingface

    def write(position: int, path: Path) -> int:
        table = features.inputs.table("split", "images", features.numbers[position])
        splits = dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
        with features.open(position) as reader:
            return huggingface.write(path, reader, splits)

    return {
        f"{shard_name(number)}.parquet": partial(write, position) for position, number in enumerate(features.numbers)
    }


def _released(features: "FeatureShards", dataset: DatasetSection) -> dict[str, Write]:
    """One HDF5 file for training and one for testing, and for each the names of its images."""
    from pipeline.conversion import released

    prefix = dataset.released_name or dataset.name
    jobs: dict[str, Write] = {}
    for part, named in (("train", "img_names.pkl"), ("test", "test_img_names.pkl")):
        jobs[f"{prefix}_{part}.h5"] = partial(released.write, features=features, part=part)
        jobs[named] = partial(released.write_names, features=features, part=part)
    return jobs


def _left(graph: Graph) -> Inputs:
    """The features and what is known of their images."""
    return inputs_of(graph, "convert", {name: graph[name].receipts() for name in _READS if name in graph})


def _unless_stopped(shards: Sequence[Receipt]) -> Iterator[Receipt]:
    """The shards until a stop is asked for."""
    for shard in shards:
        stopping.heed(None)
        yield shard
