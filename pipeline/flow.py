"""The stages of a run wired up: the whole pipeline on one screen, and the door for the command line."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.backbones import BACKBONES
from pipeline.commands.convert import Conversion, Converted
from pipeline.commands.convert import convert as make_conversion
from pipeline.commands.feasible import refuse_infeasible
from pipeline.commands.outcome import Result, Verified, outcome
from pipeline.commands.predict import Prediction, PredictRequest, predict_images
from pipeline.commands.reextract import reextract as reextract_images
from pipeline.commands.request import Request, deadline
from pipeline.commands.retry import failed_statuses, reopen
from pipeline.commands.status import WorkStatus
from pipeline.commands.status import status as status_of
from pipeline.commands.verify import verify as verify_files
from pipeline.datasets import DATASETS
from pipeline.engine.engine import Engine
from pipeline.engine.graph import Graph, resolve
from pipeline.engine.plan import StagePlan, refuse_missing_input
from pipeline.engine.plan import plan as plan_graph
from pipeline.engine.progress import ProgressView
from pipeline.engine.pruning import nothing_to_drop
from pipeline.engine.sources import Sources
from pipeline.engine.task import Stage, place_of
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from pipeline.machine.stopping import watching_signals
from pipeline.models import MODELS
from pipeline.stages import download, embed, evaluate, extract, index, report, split, train
from pipeline.stages.given_features import import_settings, instead
from pipeline.stores import STORES
from schemas.config import Config, EvaluateConfig, TrainConfig
from schemas.errors import UsageError
from schemas.status import ImageStatus

__all__ = [
    "Conversion",
    "Converted",
    "Request",
    "Result",
    "StagePlan",
    "Verified",
    "convert",
    "deadline",
    "failed_statuses",
    "import_settings",
    "names",
    "plan",
    "predict",
    "run",
    "stages",
    "status",
    "verify",
]


def stages(config: Config, sources: Sources) -> list[Stage]:
    """The whole pipeline, first stage first."""
    MODELS.require(config.model.name)
    STORES.require(config.store.name)
    dataset = DATASETS.load(config.dataset.name)
    serve = partial(dataset.base_addresses, config.dataset)
    run_folder = (
        f"runs/{config.train.run}" if config.train.run else f"runs/{config.model.name}-{config.model.preset}-{{train}}"
    )
    threads, hash_of = config.engine.threads, partial(_file_hash, sources)
    scoring = evaluate.settled(config.evaluate, config.dataset.own_protocol)
    features = extract.Settings(config.backbone, config.extract, config.store, config.download.max_pixels, threads)
    return [
        Stage(
            name="index",
            version=index.VERSION,
            recipe={"dataset.name": config.dataset.name, **_keys("dataset", config.dataset, {"seed"})},
            outside={
                **_keys("dataset", config.dataset, set(type(config.dataset).model_fields) - {"name", "seed"}),
                **sources.hashes(dataset.sources(config.dataset)),
                "files": dataset.listing(config.dataset),
            },
            settings=index.Settings(config.dataset),
            run=index.run,
            upstream={},
            place="compute",
            folder="index",
            many=True,
        ),
        Stage(
            name="download",
            version=download.VERSION,
            recipe=_keys("download", config.download, {"max_bytes", "max_pixels"}),
            settings=download.Settings(config.download, config.engine.io_workers),
            run=download.run,
            upstream={"index": "shard"},
            reads={"index": index.FILES},
            place="network",
            folder="downloads",
            service=serve,
        ),
        Stage(
            name="extract",
            version=extract.VERSION,
            recipe=extract.recipe(features)
            | {"backbone.weights_file": hash_of("backbone.weights", extract.sources(features))},
            settings=features,
            run=extract.run,
            upstream={"index": "shard", "download": "shard"},
            reads={"index": index.PLACES},
            place=place_of(config.extract.device),
            folder=f"features/{config.backbone.name}-{{fp8}}/{config.store.name}",
            whole_piece=True,
            consumes={"download": download.IMAGES},
            prunes=not config.images.keep,
            finish=partial(extract.write_card, features),
            page=extract.CARD,
        ),
        Stage(
            name="split",
            version=split.VERSION,
            recipe=_keys("split", config.split),
            settings=split.Settings(config.split, config.dataset),
            run=split.run,
            upstream={"index": "shard"},
            place="compute",
            folder=f"splits/{config.split.name}",
            whole_piece=True,
        ),
        Stage(
            name="embed",
            version=embed.VERSION,
            recipe=_keys("embed", config.embed, {"missing", "overrides"})
            | {"embed.vectors": hash_of("embed.vectors", embed.sources(config.embed)) or config.embed.vectors},
            settings=embed.Settings(config.embed),
            run=embed.run,
            upstream={"index": "whole", "split": "whole"},  # the split tells which labels are still listed
            place="compute",
            folder="embeddings",
            record=f"{embed.record(config.embed)}.stage",
            service=serve,
        ),
        Stage(
            name="train",
            version=train.VERSION,
            recipe=_keys("model", config.model) | _keys("train", config.train, _TRAIN_RECIPE),
            settings=train.Settings(
                config.model, config.train, threads, train.training_toml(config), config.evaluate.scores_in_memory_bytes
            ),
            run=train.run,
            upstream={"index": "all", "extract": "all", "embed": "all", "split": "all"},
            place="process",
            folder=run_folder,
            record="train.stage",
            resumes=True,
        ),
        Stage(
            name="evaluate",
            version=evaluate.VERSION,
            recipe=_keys("evaluate", scoring, _EVALUATE_RECIPE),
            settings=evaluate.Settings(scoring, config.dataset.name, threads),
            run=evaluate.run,
            upstream=dict.fromkeys(("index", "download", "extract", "embed", "split", "train"), "all"),
            place="process",
            folder=run_folder,
            record="evaluate.stage",
        ),
        Stage(
            name="report",
            version=report.VERSION,
            recipe={},
            settings=report.Settings(config.extract.orientation, config.download.max_pixels),
            run=report.run,
            upstream=dict.fromkeys(("index", "download", "extract", "embed", "split", "train", "evaluate"), "all"),
            place="process",
            folder=run_folder,
            record="report.stage",
        ),
    ]


# Settings that steer how work is done, not what comes out, stay outside of recipes.
_TRAIN_RECIPE = set(TrainConfig.model_fields) - {
    "run",
    "device",
    "processes",
    "loader_workers",
    "feature_cache",
    "checkpoint_every_s",
}
_EVALUATE_RECIPE = set(EvaluateConfig.model_fields) - {"device", "batch_images", "scores_in_memory_bytes"}


def run(config: Config, work: Path, request: Request) -> Result:
    """Bring a stage and what it needs up to date. Where that is so already nothing is touched, not even a lock.

    Raises:
        PipelineError: what a stage raised, an interruption, the end of the time budget, or a missing input of `only`.
    """
    storage = _storage(config, work)
    graph, _ = _graph(config, storage, request.stage, request.retry)
    lines = plan_graph(graph)
    if request.only:
        refuse_missing_input(request.stage, lines, graph, config.dataset.name)
    done = all(line.up_to_date for line in lines) and all(node.recorded for node in graph.values())
    if done and nothing_to_drop(graph):
        return outcome(config, storage, graph, {})
    refuse_infeasible(config, lines, request.scheduler)
    with writing(Path(storage.root)), watching_signals(), ProgressView(quiet=request.quiet) as progress:
        storage.sweep()
        graph, sources = _graph(config, storage, request.stage, request.retry)
        sources.save()
        engine = Engine(graph, storage, config.engine, progress, request.scheduler, request.deadline)
        engine.run()
    return outcome(config, storage, graph, engine.ran)


def plan(config: Config, work: Path, request: Request) -> list[StagePlan]:
    """What `run` would do, and why.

    Raises:
        PipelineError: it would come to nothing: a device is not here, or settings do not fit each other.
    """
    graph, _ = _graph(config, _storage(config, work), request.stage, request.retry)
    lines = plan_graph(graph)
    refuse_infeasible(config, lines, request.scheduler)
    return lines


def status(config: Config, work: Path) -> WorkStatus:
    """What is in the work folder."""
    storage = _storage(config, work)
    graph, _ = _graph(config, storage, "report")
    return status_of(graph, Path(storage.root))


def verify(config: Config, work: Path, count: int = 0, seed: int = 0) -> Verified:
    """Compare every file of the data set with its receipt, whatever settings it was made with.

    Args:
        count: images whose features of these settings are made anew, too, and compared.
        seed: of the draw of those.
    """
    storage = _storage(config, work)
    files, again = verify_files(storage), None
    if count:
        again = reextract_images(_graph(config, storage, "extract")[0], storage, config, count, seed)
    return Verified(config.dataset.name, files, again)


def predict(config: Config, work: Path, request: PredictRequest) -> Prediction:
    """What the trained model of these settings says of some images; changes nothing in the work folder."""
    storage = _storage(config, work)
    graph, _ = _graph(config, storage, "train")
    return predict_images(config, storage, graph, request)


def convert(config: Config, work: Path, request: Conversion) -> Converted:
    """The features in another store, or in a form for other programs."""
    storage = _storage(config, work)
    return make_conversion(
        request, storage, lambda store, last: _graph(config.model_copy(update={"store": store}), storage, last)[0]
    )


def names(room: str) -> list[str]:
    """What a room offers: `datasets`, `backbones`, `models` or `stores`."""
    return list({"datasets": DATASETS, "backbones": BACKBONES, "models": MODELS, "stores": STORES}[room])


def _storage(config: Config, work: Path) -> Storage:
    if work.exists() and not work.is_dir():
        raise UsageError(f"--work wants a folder, and {work} is a file")
    return Storage(str(work.resolve() / config.dataset.name))


def _graph(config: Config, storage: Storage, last: str, retry: Collection[ImageStatus] = ()) -> tuple[Graph, Sources]:
    """The graph of a stage and all it needs; shards with failed rows that are to be tried again are marked."""
    sources = Sources(storage)
    every = {stage.name: stage for stage in instead(config, stages(config, sources), sources)}
    wanted, todo = set(), [last]
    while todo:
        name = todo.pop()
        wanted.add(name)
        todo.extend(every[name].upstream)
    graph = resolve([stage for name, stage in every.items() if name in wanted], storage)
    if "download" in graph:
        reopen(graph["download"], retry)
    return graph, sources


def _keys(section: str, config: BaseModel, fields: set[str] | None = None) -> dict[str, Any]:
    """Settings by dotted key, as JSON values."""
    return {f"{section}.{key}": value for key, value in config.model_dump(mode="json", include=fields).items()}


def _file_hash(sources: Sources, setting: str, paths: tuple[str, ...]) -> str | None:
    """Hash of the one file from outside that a setting names, whatever its path; None where it names none."""
    return next(iter(sources.hashes(paths, setting).values()), None)
