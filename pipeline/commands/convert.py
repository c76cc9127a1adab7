"""Features in another form: in another store, as the authors' released files, or for libraries of others.

Another store takes the features' own place in the work folder, receipts included, so that a run with that store finds
them up to date. The other forms go to a folder of the user's, and the work folder may be read-only. What is there, made
from the same features, stays: its hash and theirs are compared.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.backbones import describe, weights
from pipeline.engine.engine import write_record
from pipeline.engine.fingerprint import fingerprint
from pipeline.engine.graph import Graph, Node, inputs_of
from pipeline.engine.plan import not_up_to_date, plan
from pipeline.engine.progress import ProgressView
from pipeline.files.inputs import Inputs
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
from schemas.errors import UsageError, unknown_name
from schemas.receipts import Receipt

if TYPE_CHECKING:
    from pipeline.conversion.form import Form

FORMS = {  # beside the stores
    name: f"pipeline.conversion.{name}" for name in ("fiftyone", "huggingface", "released", "webdataset")
}


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
        config: the settings of the features; compression and row groups of their store are those of another, too.
        out: folder for a form; None for a store, whose shards have their place in the work folder.
        quiet: no progress on stderr.
    """

    to: str
    config: Config
    out: Path | None = None
    quiet: bool = False

    @property
    def store(self) -> StoreConfig:
        """The settings of the store that the features are in."""
        return self.config.store

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
    if request.out is not None:
        with own_temporaries(), watching_signals(), ProgressView(quiet=request.quiet) as progress:
            return _to_files(graph_of(request.store, "train"), request, request.out, progress)
    graph = graph_of(request.store, "extract")
    plan(graph)
    _require_complete(graph, ("extract",))
    with writing(storage), own_temporaries(), watching_signals(), ProgressView(quiet=request.quiet) as progress:
        storage.sweep()
        options = request.store.model_copy(update={"name": request.to})
        target = graph_of(options, "extract")
        plan(target)
        return _to_store(graph, target["extract"], options, progress)


def _require_complete(graph: Graph, stages: Iterable[str]) -> None:
    for name in stages:
        if not graph[name].complete:
            raise not_up_to_date("convert", graph[name], graph[name].ledger.storage.name)


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


def _to_files(graph: Graph, request: Conversion, out: Path, progress: ProgressView) -> Converted:
    """The features in a form for other programs, in a folder; the work folder is looked at alone, without a lock."""
    from pipeline.batches.shards import open_features
    from pipeline.conversion.form import Handover
    from pipeline.conversion.form_files import FormFiles

    form: Form = import_module(FORMS[request.to])
    plan(graph)
    read = [name for name in form.READS if name in graph]  # a draw of unseen labels is there where one is drawn
    _require_complete(graph, read)
    config, target = request.config, users_folder(out.resolve(), "convert")
    licence = weights.licence(config.backbone, describe(config.backbone).published)
    inputs = inputs_of(graph, "convert", {name: graph[name].receipts() for name in read})
    handover = Handover(open_features(inputs), config.dataset, out.resolve(), licence, config.download.max_pixels)
    jobs = form.jobs(handover)
    contents = [receipt.content for name in read for receipt in graph[name].receipts()]
    files = FormFiles(target, fingerprint([form.VERSION, *contents]))
    files.refuse_others(jobs)
    made = rows = size_bytes = 0
    for number, (name, write) in enumerate(jobs.items()):
        stopping.heed(None)
        note = files.standing(name)
        if note is None:
            note, made = files.make(name, write), made + 1
        rows, size_bytes = rows + note["rows"], size_bytes + note["size_bytes"]
        progress.update("convert", number + 1, len(jobs))
    for number in handover.features.numbers:  # what no file was made from now may have changed since
        inputs.path("extract", "features", number)
    return Converted(request.to, str(out), len(jobs), made, rows, size_bytes, form.opened(str(out)))


def _left(graph: Graph) -> Inputs:
    """The features."""
    return inputs_of(graph, "convert", {"extract": graph["extract"].receipts()})


def _unless_stopped(shards: Sequence[Receipt]) -> Iterator[Receipt]:
    """The shards until a stop is asked for."""
    for shard in shards:
        stopping.heed(None)
        yield shard
