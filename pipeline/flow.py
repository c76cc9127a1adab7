"""The door to the pipeline: what the command line, and whoever calls from Python, asks of it."""

import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dags import dag
from pipeline.backbones import BACKBONES
from pipeline.commands.failures import Failure, failures
from pipeline.commands.outcome import Result, Verified, outcome
from pipeline.commands.reexamine import examine, has_old_decoding, note_old_decoding
from pipeline.commands.request import Request, budget_s, deadline, shard_range
from pipeline.commands.retry import failed_statuses, recheck_placeholders, reopen
from pipeline.commands.runs.found import all_runs, opened, with_settings_of
from pipeline.commands.runs.latest import latest, named
from pipeline.commands.status import WorkStatus
from pipeline.commands.status import status as status_of
from pipeline.datasets import DATASETS
from pipeline.engine.engine import Engine
from pipeline.engine.events import run_log
from pipeline.engine.fingerprint import explain
from pipeline.engine.graph import Graph, inputs_of, resolve
from pipeline.engine.own_process import OwnProcesses
from pipeline.engine.plan import StagePlan, disks, refuse_missing_input, require_room, require_shards
from pipeline.engine.plan import plan as plan_graph
from pipeline.engine.progress import ProgressView
from pipeline.engine.pruning import nothing_to_drop
from pipeline.engine.registry import Registry
from pipeline.engine.sources import Sources
from pipeline.engine.task import Stage
from pipeline.files.lock import Lease, writer, writing
from pipeline.files.scratch import own_temporaries
from pipeline.files.slices import forget_slices, writing_shards
from pipeline.files.storage import Storage
from pipeline.machine.stopping import watching_signals
from pipeline.metrics import PROTOCOLS
from pipeline.models import MODELS
from pipeline.net.fetch import fetching
from pipeline.stores import STORES
from schemas.command import Command
from schemas.comparison import ComparisonSettings
from schemas.config import Config
from schemas.errors import PipelineError, UsageError
from schemas.receipts import status_counts
from schemas.section import files_named
from schemas.status import FAILURES, ImageStatus

if TYPE_CHECKING:
    from dags.units import Call, Unit
    from dags.units import write as write_units
    from pipeline.backbones import search as search_backbones
    from pipeline.commands.check import Checked
    from pipeline.commands.compare import CellPlan, Compared, Looked
    from pipeline.commands.convert import Conversion, Converted, import_settings
    from pipeline.commands.openmetrics import text as openmetrics
    from pipeline.commands.predict import Prediction, PredictRequest
    from pipeline.commands.runs.clean import Cleaning
    from pipeline.commands.runs.difference import RunDifference
    from pipeline.commands.runs.promotion import Promotion
    from pipeline.commands.runs.told import Runs
    from pipeline.viewing.world import World as Viewed

__all__ = [
    "FAILURES",
    "Call",
    "CellPlan",
    "Checked",
    "Cleaning",
    "Compared",
    "Conversion",
    "Converted",
    "Failure",
    "PredictRequest",
    "Prediction",
    "Promotion",
    "Request",
    "Result",
    "RunDifference",
    "Runs",
    "StagePlan",
    "Unit",
    "Verified",
    "cells",
    "check",
    "clean",
    "compare",
    "convert",
    "deadline",
    "disks",
    "failed",
    "failed_statuses",
    "import_settings",
    "names",
    "openmetrics",
    "plan",
    "predict",
    "promote",
    "run",
    "runs",
    "runs_difference",
    "search_backbones",
    "shard_range",
    "stages",
    "status",
    "units",
    "verify",
    "view",
    "with_run",
    "world",
    "write_units",
]

# What a command alone wants is loaded when it is asked for: all of them together would take a second.
_LATER = {
    "Call": "dags.units:Call",
    "CellPlan": "pipeline.commands.compare:CellPlan",
    "Checked": "pipeline.commands.check:Checked",
    "Cleaning": "pipeline.commands.runs.clean:Cleaning",
    "Compared": "pipeline.commands.compare:Compared",
    "Conversion": "pipeline.commands.convert:Conversion",
    "Converted": "pipeline.commands.convert:Converted",
    "PredictRequest": "pipeline.commands.predict:PredictRequest",
    "Prediction": "pipeline.commands.predict:Prediction",
    "Promotion": "pipeline.commands.runs.promotion:Promotion",
    "RunDifference": "pipeline.commands.runs.difference:RunDifference",
    "Runs": "pipeline.commands.runs.told:Runs",
    "Unit": "dags.units:Unit",
    "import_settings": "pipeline.commands.convert:import_settings",
    "openmetrics": "pipeline.commands.openmetrics:text",
    "search_backbones": "pipeline.backbones:search",
    "write_units": "dags.units:write",
}

_log = logging.getLogger("biam_pipe.flow")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, own = _LATER[name].partition(":")
    return getattr(import_module(module), own)


def stages(config: Config, sources: Sources) -> list[Stage]:
    """The stages of these settings, first stage first: those that the data set's dag lists, or the default ones."""
    from dags import default

    describe: Callable[[Config, Sources], list[Stage]] = getattr(dag(config.dataset.name), "stages", default.stages)
    return describe(config, sources)


def run(config: Config, work: Path, request: Request) -> Result:
    """Bring a stage and what it needs up to date. Where that is so already nothing is touched, not even a lock.

    But for the hashes of files from outside that lie elsewhere now, or have another time stamp: they are kept.

    Raises:
        PipelineError: what a stage raised, an interruption, the end of the time budget, or a missing input of `only`.
    """
    storage = _storage(config, work)
    with OwnProcesses() as processes:
        bring = _up_to_date if request.shards is None else _slice_up_to_date
        graph, ran = bring(config, storage, request, processes)
    return outcome(config, storage, graph, ran)


def _up_to_date(
    config: Config,
    storage: Storage,
    request: Request,
    processes: OwnProcesses,
    seen: dict[str, Any] | None = None,
) -> tuple[Graph, Mapping[str, int]]:
    """The graph of a request, all of it up to date, and how many tasks ran for that, by stage."""
    graph, sources = _requested(config, storage, request, seen)
    lines = plan_graph(graph)
    if request.only:
        refuse_missing_input(request.stage, lines, graph, config.dataset.name)
    done = all(line.up_to_date for line in lines) and all(node.recorded for node in graph.values())
    died = (last := writer(storage)) is not None and last.alive is False  # then there is something to tidy up
    if done and not died and nothing_to_drop(graph) and not has_old_decoding(graph):
        _remember(sources, storage)
        return graph, {}
    _refuse_infeasible(graph, lines, request.scheduler)
    _tell_new_deal(graph)
    _tell_held(graph)
    require_room(lines)
    todo = {line.name: line.to_run for line in lines if not line.up_to_date}
    with (
        writing(storage) as lease,
        own_temporaries(),
        watching_signals(),
        run_log(storage, request.stage, todo) as log,
        ProgressView(quiet=request.quiet, verbose=request.verbose, log=log) as progress,
    ):
        storage.sweep()
        forget_slices(storage)
        graph, sources = _requested(config, lease.storage, request, seen)
        sources.save()
        examine(graph, config.download.max_pixels)
        engine = _engine(config, graph, lease, request, progress, processes)
        log.kept_in = partial(_folder_of_run, graph, storage, engine.ran)
        engine.run()
    return graph, engine.ran


def _folder_of_run(graph: Graph, storage: Storage, ran: Collection[str]) -> Path | None:
    """Where what happened belongs; None where no stage that writes in a run's folder ran."""
    train = graph.get("train")
    if train is None or not train.placed or not {"train", "evaluate", "report"} & set(ran):
        return None
    return storage.scratch(train.folder)


def _slice_up_to_date(
    config: Config, storage: Storage, request: Request, processes: OwnProcesses
) -> tuple[Graph, Mapping[str, int]]:
    """The same of some shards, beside runs for others: nothing is done that belongs to all, and no record is written.

    Raises:
        UsageError: there are no such shards.
        PipelineError: the index is not up to date.
    """
    assert request.shards is not None, "for some shards"
    graph, _ = _requested(config, storage, request)
    lines = plan_graph(graph)
    require_shards(graph, request.stage, request.shards, config.dataset.name)
    if all(line.up_to_date for line in lines):
        return graph, {}
    _refuse_infeasible(graph, lines, request.scheduler)
    with (
        writing_shards(storage, request.shards) as lease,
        own_temporaries(),
        watching_signals(),
        ProgressView(quiet=request.quiet, verbose=request.verbose) as progress,
    ):
        graph, _ = _requested(config, lease.storage, request)
        engine = _engine(config, graph, lease, request, progress, processes)
        engine.run()
    return graph, engine.ran


def _engine(
    config: Config, graph: Graph, lease: Lease, request: Request, progress: ProgressView, processes: OwnProcesses
) -> Engine:
    """One that writes below a lease."""
    return Engine(
        graph,
        lease.storage,
        config.engine,
        progress,
        request.scheduler,
        request.deadline,
        processes,
        lease.end,
        tuple(files_named(config)),
    )


def plan(config: Config, work: Path, request: Request) -> list[StagePlan]:
    """What `run` would do, and why. A user's cluster is connected to, and its workers are probed.

    Raises:
        PipelineError: it would come to nothing: a device is not here, settings do not fit each other, or no worker of
            the cluster is fit.
    """
    storage = _storage(config, work)
    graph, _ = _requested(config, storage, request)
    lines = plan_graph(graph)
    _refuse_infeasible(graph, lines, request.scheduler)
    if request.scheduler is not None:
        outside = (*files_named(config), storage.shown())
        with watching_signals(), ProgressView(quiet=True) as progress:
            Engine(graph, storage, config.engine, progress, request.scheduler, outside=outside).require_workers()
    return [_with_unlabelled(line, graph, config) for line in lines]


def compare(settings: ComparisonSettings, work: Path, request: Request) -> "Compared":
    """Bring all runs of a comparison up to date, one after the other, and write what they came to.

    Raises:
        PipelineError: a run cannot come to an end here, or a stop was asked for. A run that fails otherwise is a row.
    """
    from pipeline.commands.compare import compare as compare_rows

    storage, seen = _storage(settings.config, work), dict[str, Any]()

    def tell(line: str) -> None:
        if not request.quiet:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    with ExitStack() as stack:

        @cache
        def processes() -> OwnProcesses:
            """Of all runs; where none has to be made, nothing is touched."""
            stack.enter_context(own_temporaries())
            return stack.enter_context(OwnProcesses())

        def bring_up_to_date(config: Config, stage: str) -> Graph:
            return _up_to_date(config, storage, replace(request, stage=stage), processes(), seen)[0]

        look = _look(storage, request, seen)
        return compare_rows(settings, storage, look, bring_up_to_date, request.deadline, tell)


def cells(settings: ComparisonSettings, work: Path, request: Request) -> "list[CellPlan]":
    """What `compare` would do, and why."""
    from pipeline.commands.compare import plan_cells

    return plan_cells(settings, _look(_storage(settings.config, work), request, {}))


def _look(storage: Storage, request: Request, seen: dict[str, Any]) -> "Callable[[Config], Looked]":
    """Tells how a run of these settings stands."""
    from pipeline.commands.compare import Looked

    def look(config: Config) -> "Looked":
        graph, _ = _requested(config, storage, request, seen)
        lines = plan_graph(graph)
        try:
            _refuse_infeasible(graph, lines, request.scheduler)
        except PipelineError as refusal:
            return Looked(graph, lines, refusal)
        return Looked(graph, lines, None)

    return look


def status(config: Config, work: Path) -> WorkStatus:
    """What is in the work folder.

    Raises:
        PipelineError: there is none.
    """
    storage = _standing(config, work)
    try:
        graph, _ = _graph(config, storage, "report")
        plan_graph(graph)  # marks what is up to date
    except PipelineError as problem:  # such as a list that is not here: what was made is told all the same
        graph, _ = _graph(config, storage, "report", needs_sources=False)
        return status_of(graph, storage, unknown=str(problem))
    return status_of(graph, storage)


def failed(config: Config, work: Path, statuses: Collection[ImageStatus]) -> Iterator[Failure]:
    """The images that failed with some of these statuses, row by row.

    Raises:
        PipelineError: there is no work folder.
    """
    graph, _ = _graph(config, _standing(config, work), "extract", needs_sources=False)
    return failures(graph, statuses)


def runs(config: Config, work: Path) -> "Runs":
    """All runs of a data set, newest first, whatever settings they were made with.

    Raises:
        PipelineError: there is no work folder.
    """
    from pipeline.commands.runs.told import Runs

    storage = _standing(config, work, "runs")
    found = sorted(all_runs(_any_graph(config, storage), storage), key=lambda run: run.trained_at, reverse=True)
    pointer = latest(storage)
    return Runs(storage.shown(""), tuple(found), None if pointer is None else pointer.run)


def runs_difference(config: Config, work: Path, first: str, second: str) -> "RunDifference":
    """In what two runs differ: settings, and figures over the test images of both.

    Raises:
        UsageError: there is no such run.
        PipelineError: one was not evaluated.
    """
    from pipeline.commands.runs.difference import differences

    storage = _standing(config, work, "runs")
    graph = _any_graph(config, storage)
    names = [named(storage, name) for name in (first, second)]
    lefts = [opened(graph, storage, name) for name in names]
    return differences(names[0], lefts[0], names[1], lefts[1])


def promote(config: Config, work: Path, name: str, figure: str | None = None) -> "Promotion":
    """Make a run the latest one, where it is better than that by more than the luck of the test images.

    Args:
        figure: by which, as `section/figure`; None for the headline of its first section.

    Raises:
        UsageError: there is no such run, or no such figure.
        PipelineError: it was not evaluated.
    """
    from pipeline.commands.runs.promotion import promote as promote_run

    storage = _standing(config, work, "runs")
    graph = _any_graph(config, storage)
    return promote_run(storage, named(storage, name), figure, lambda one: opened(graph, storage, one))


def clean(config: Config, work: Path, keep: int | None = None, *, remove: bool = False) -> "Cleaning":
    """What no kept run needs; removed where that is wanted.

    Args:
        keep: so many of the newest runs stay, beside those that something else holds; None for all.

    Raises:
        HeldFolderError: something is to go, and somebody writes in the work folder.
    """
    from pipeline.commands.runs.clean import World
    from pipeline.commands.runs.clean import clean as clean_work

    storage = _standing(config, work, "clean")

    def world() -> World:
        present = _any_graph(config, storage)
        plan_graph(present)  # gives the present run its name where that is known
        return World(
            storage,
            runs(config, work).runs,
            present,
            lambda name: _any_graph(with_run(config, work, name), storage),
        )

    return clean_work(world, keep, remove=remove)


def with_run(config: Config, work: Path, name: str) -> Config:
    """The settings with which a run was made, for commands that are to look at that one; `latest` is the promoted one.

    Raises:
        UsageError: there is no such run.
        PipelineError: it has not come so far as to leave its settings.
    """
    storage = _standing(config, work, "runs")
    name = named(storage, name)
    left = opened(_any_graph(config, storage), storage, name)
    found = with_settings_of(config, left)
    return found.model_copy(update={"train": found.train.model_copy(update={"run": name})})


def view(config: Config, work: Path, given: Command, port: int, began: Callable[[str], None]) -> None:
    """Show what is in the work folder on pages, on loopback alone, until somebody stops it. Writes nothing.

    Args:
        given: the command that the user gave.
        port: to listen on; 0 for any that is free.
        began: told the address of the pages.

    Raises:
        UsageError: the port cannot be had.
        PipelineError: there is no work folder, or a library that the pages need.
    """
    from pipeline.viewing.server import serve

    serve(world(config, work, given), port, began)


def world(config: Config, work: Path, given: Command) -> "Viewed":
    """What the pages of `view` ask of the work folder.

    Raises:
        PipelineError: there is no work folder.
    """
    from pipeline.viewing.world import Left
    from pipeline.viewing.world import World as Viewed

    storage = _standing(config, work, "view")

    def left(run: str | None) -> Left:
        made_with = config if run is None else with_run(config, work, run)
        graph = _any_graph(made_with, storage)
        if run is not None:
            opened(graph, storage, run)  # places the stages that write in its folder
        return Left(
            run, made_with, inputs_of(graph, "view", {name: node.kept.values() for name, node in graph.items()})
        )

    given = replace(given, dataset=config.dataset.name)
    return Viewed(given, lambda: status(config, work), lambda: runs(config, work), left)


def _any_graph(config: Config, storage: Storage) -> Graph:
    """The graph of these settings, whether what they are made of is there or not."""
    return _graph(config, storage, "report", needs_sources=False)[0]


def verify(config: Config, work: Path, count: int = 0, seed: int = 0) -> Verified:
    """Compare every file of the data set with its receipt, whatever settings it was made with.

    Args:
        count: images whose features of these settings are made anew, too, and compared.
        seed: of the draw of those.
    """
    from pipeline.commands.reextract import reextract as reextract_images
    from pipeline.commands.verify import verify as verify_files

    storage = _storage(config, work)
    files, again = verify_files(storage), None
    if count:
        graph, _ = _graph(config, storage, "extract")
        with own_temporaries(), fetching(config.download):
            again = reextract_images(graph, config, count, seed)
    return Verified(config.dataset.name, files, again)


def check(config: Config, work: Path, images: int | None = None, *, quiet: bool = False) -> "Checked":
    """Whether all that a run needs can be had; changes nothing in the work folder.

    Args:
        images: to run through all stages in a folder of their own, and to remove after; None for none.
        quiet: no progress on stderr.
    """
    from pipeline.commands.check import check as check_world

    def run_in(small: Config, folder: Path) -> tuple[Result, WorkStatus]:
        return run(small, folder, Request("report", quiet=quiet)), status(small, folder)

    return check_world(config, _storage(config, work), images, run_in)


def predict(config: Config, work: Path, request: "PredictRequest") -> "Prediction":
    """What the trained model of these settings says of some images; changes nothing in the work folder."""
    from pipeline.commands.predict import predict_images

    storage = _storage(config, work)
    graph, _ = _graph(config, storage, "evaluate")
    with own_temporaries(), fetching(config.download):
        return predict_images(config, storage, graph, request)


def convert(config: Config, work: Path, request: "Conversion") -> "Converted":
    """The features in another store, or in a form for other programs."""
    from pipeline.commands.convert import convert as make_conversion

    storage = _storage(config, work)
    return make_conversion(
        request, storage, lambda store, last: _graph(config.model_copy(update={"store": store}), storage, last)[0]
    )


def units(kind: str, config: Config, call: "Call") -> "list[Unit]":
    """The files with which a scheduler runs a command: `systemd`, `cron`, `slurm` or `kubernetes`.

    Raises:
        UsageError: no such kind, options that say nothing, or root as the user.
    """
    from dags.units import units as units_of

    failed_statuses(call.retry_failed)
    return units_of(kind, config, call, budget_s(call.time_budget))


def names(room: str) -> list[str]:
    """What a room offers: `datasets`, `backbones`, `models`, `stores` or `protocols`."""
    rooms: dict[str, Registry[Any]] = {
        "datasets": DATASETS,
        "backbones": BACKBONES,
        "models": MODELS,
        "stores": STORES,
        "protocols": PROTOCOLS,
    }
    return list(rooms[room])


def _storage(config: Config, work: Path) -> Storage:
    if work.exists() and not work.is_dir():
        raise UsageError(f"--work wants a folder, and {work} is a file")
    return Storage(str(work.resolve() / config.dataset.name))


def _standing(config: Config, work: Path, reader: str = "status") -> Storage:
    """The same for what looks at it alone: an absent folder is no empty one.

    Args:
        reader: the command, for the error text.
    """
    storage = _storage(config, work)
    if not storage.stands():
        raise PipelineError(
            f"{reader}: there is no folder {storage.shown('')}, so nothing was run there yet",
            hint="Is --work the right one? Else:",
            run=Command("run", dataset=config.dataset.name),
        )
    return storage


def _graph(
    config: Config,
    storage: Storage,
    last: str,
    retry: Collection[ImageStatus] = (),
    *,
    needs_sources: bool = True,
    seen: dict[str, Any] | None = None,
) -> tuple[Graph, Sources]:
    """The graph of a stage and all it needs; shards with failed rows that are to be tried again are marked.

    Args:
        seen: as `Sources` has it, where several graphs share it.
    """
    sources = Sources(storage, needs_sources, {} if seen is None else seen)
    with fetching(config.download):
        every = {stage.name: stage for stage in stages(config, sources)}
    wanted, todo = set(), [last]
    while todo:
        name = todo.pop()
        wanted.add(name)
        todo.extend(every[name].upstream)
    graph = resolve([stage for name, stage in every.items() if name in wanted], storage)
    if "download" in graph:
        reopen(graph["download"], retry)
        recheck_placeholders(graph["download"], config.download.placeholder_md5)
    if "extract" in graph:
        note_old_decoding(graph)
    return graph, sources


def _tell_new_deal(graph: Graph) -> None:
    """Log where images are about to change sides: by other settings than those that dealt them."""
    split = graph.get("split")
    if split is None or not split.kept or split.previous is None:
        return
    if split.previous["settings"] != split.recipe["settings"]:
        _log.warning("split: images are dealt anew (%s)", "; ".join(explain(split.previous, split.recipe)))


def _tell_held(graph: Graph) -> None:
    """Log where a run may be refused hours later, once it is known what it reads."""
    for node in graph.values():
        if node.may_be_refused():
            told = "%s: %s holds a run; one over other data ends there, unless --replace or another train.run is given"
            _log.warning(told, node.name, node.folder)


def _requested(
    config: Config, storage: Storage, request: Request, seen: dict[str, Any] | None = None
) -> tuple[Graph, Sources]:
    """The graph of a request."""
    graph, sources = _graph(config, storage, request.stage, request.retry, seen=seen)
    for node in graph.values():
        node.replaces = request.replace
        if not node.stage.decides_shards:
            node.shards = request.shards
    return graph, sources


def _with_unlabelled(line: StagePlan, graph: Graph, config: Config) -> StagePlan:
    """A line of a plan; that of an extraction with how many images take part in it that nobody labelled."""
    if line.name != "extract" or line.up_to_date or config.extract.only_labelled:
        return line
    images = status_counts(graph["index"].valid.values())["unlabelled"]
    note = f"images without labels get features, too, unless extract.only_labelled is set: {images}"
    return replace(line, notes=(*line.notes, note)) if images else line


def _remember(sources: Sources, storage: Storage) -> None:
    """Keep hashes that were learnt by the way. Where nobody can write now they are learnt once more."""
    if sources.learnt:
        with suppress(PipelineError), writing(storage):
            sources.save()


def _refuse_infeasible(graph: Graph, plan: Collection[StagePlan], scheduler: str | None) -> None:
    """Refuse before the first stage begins what could not come to an end: training starts hours after downloading.

    Raises:
        PipelineError: what the first stage that is to run and cannot says, or that other work lies in its place.
    """
    for line in plan:
        node = graph[line.name]
        if line.up_to_date:
            continue
        node.require_free()
        node.require_beginning()
        if node.stage.require is not None:
            node.stage.require(scheduler)
