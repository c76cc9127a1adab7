"""The runs in a work folder, whatever settings they were made with, each as its receipts and files tell it."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from pipeline.datasets import DATASETS
from pipeline.engine.graph import Graph, inputs_of
from pipeline.engine.task import CHECKPOINT
from pipeline.files.inputs import Inputs
from pipeline.files.lock import writer
from pipeline.files.storage import Storage
from pipeline.models import MODELS
from schemas.command import Command
from schemas.config import Config
from schemas.errors import IntegrityError, PipelineError, UsageError, unknown_name
from schemas.figures import SectionName
from schemas.section import Section, content, recipe

FOLDER = "runs"
SECTIONS: tuple[SectionName, ...] = ("zsl", "gzsl", "standard")
_STAGES = ("train", "evaluate", "report")  # those that leave their files in a run's folder
_UNSHAPING = frozenset({"train.run"})
_UNDONE = ("stopped", "empty")  # while nobody writes in it


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        name: of its folder below runs/.
        state: `finished`, `evaluated`, `trained`, `under way`, `stopped` in the middle of its training, `empty`,
            `damaged`, or `unknown` where this version cannot read its settings.
        trained_at: when its training ended, ISO 8601; where it has not, when a file of it was written last.
        size_bytes: of all its files.
        images: that took part, by split.
        settings: those that decide its numbers or its data, by dotted key.
        metrics: its sections of metrics.json, by name; empty where it was not evaluated.
        problem: what is wrong with one that is damaged or unknown.
    """

    name: str
    state: str
    trained_at: str
    size_bytes: int
    images: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problem: str | None = None


def run_names(storage: Storage) -> list[str]:
    """Names of the folders of runs, the one in which something was written last first."""
    found = (path.split("/")[1] for path in storage.by_age(f"{FOLDER}/*/*"))
    return list(dict.fromkeys(found))


def placed(graph: Graph, name: str) -> Inputs:
    """What a run left, of which the graph's stages now are.

    Args:
        graph: of any settings; only what all runs have in common is read of it.
    """
    folder = f"{FOLDER}/{name}"
    for stage in _STAGES:
        graph[stage].place(folder)
    return inputs_of(graph, "runs", {stage: graph[stage].kept.values() for stage in _STAGES})


def opened(graph: Graph, storage: Storage, name: str) -> Inputs:
    """What a run of this name left.

    Raises:
        UsageError: there is no such run.
    """
    names = run_names(storage)
    if name not in names:
        if not names:
            raise UsageError(f"no run {name!r}: there is none in {storage.shown(FOLDER)}", run=Command("run"))
        raise unknown_name("run", name, names)
    return placed(graph, name)


def all_runs(graph: Graph, storage: Storage) -> Iterator[Run]:
    """Every run, in no order. A damaged one is told as such."""
    since = _written_since(storage)
    for name in run_names(storage):
        left = placed(graph, name)
        files = Storage(storage.shown(f"{FOLDER}/{name}"))
        size_bytes = sum(files.size_bytes(path) for path in files.files())
        try:
            run = _run(name, left, size_bytes, storage)
            is_now = since is not None and run.state in _UNDONE and run.trained_at >= since
            yield replace(run, state="under way") if is_now else run
        except IntegrityError as error:
            yield Run(name, "damaged", _written_at(storage, name), size_bytes, problem=str(error))
        except PipelineError as error:  # settings of another version, or of a package that is not here any more
            yield Run(name, "unknown", _written_at(storage, name), size_bytes, problem=str(error))


def _run(name: str, left: Inputs, size_bytes: int, storage: Storage) -> Run:
    if not left.has("train"):
        stopped = storage.exists(f"{FOLDER}/{name}/{CHECKPOINT}/last.safetensors")
        return Run(name, "stopped" if stopped else "empty", _written_at(storage, name), size_bytes)
    receipt = left.receipt("train")
    images = dict(receipt.facts.get("images", {}))
    metrics: dict[str, Any] = {}
    if left.has("evaluate"):
        document = left.json("evaluate", "metrics")
        metrics = {section: document[section] for section in SECTIONS if section in document}
        images["test"] = document["images"]
    return Run(
        name,
        "finished" if left.has("report") and metrics else "evaluated" if metrics else "trained",
        _iso(receipt.started_at + receipt.seconds),
        size_bytes,
        images,
        shaping(sections_of(left)),
        metrics,
    )


def _written_since(storage: Storage) -> str | None:
    """When the command began that writes in the work folder; None where none does, or nobody knows that it does."""
    who = writer(storage)
    return who.since if who is not None and who.alive else None


def _written_at(storage: Storage, name: str) -> str:
    path = storage.newest(f"{FOLDER}/{name}/**/*")
    return "" if path is None else _iso(storage.written_at(path))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def sections_of(left: Inputs) -> dict[str, Section]:
    """The sections of settings that a run was made with.

    Raises:
        PipelineError: this version does not know one of them.
        IntegrityError: its file of settings is damaged.
    """
    layers = tomllib.loads(left.read("train", "config").decode())
    kinds: dict[str, type[Section]] = {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    try:
        kinds["dataset"] = DATASETS.load(layers["dataset"]["name"]).SETTINGS
        kinds["model"] = MODELS.load(layers["model"]["name"]).SETTINGS
        return {name: kinds[name].model_validate(values) for name, values in layers.items()}
    except (KeyError, ValidationError) as error:
        path = left.file("train", "config").path
        raise PipelineError(
            f"{path} has settings that this version does not know ({str(error).splitlines()[0]})",
            expected="those of this version",
        ) from error


def shaping(sections: Mapping[str, Section]) -> dict[str, Any]:
    """The settings that decide numbers or data, by dotted key."""
    found: dict[str, Any] = {}
    for name, section in sections.items():
        found |= recipe(name, section) | content(name, section)
    return {key: value for key, value in found.items() if key not in _UNSHAPING}


def differing(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """By name of the run, its settings that are not the same in all the runs that have them."""
    values: dict[str, list[Any]] = {}
    for run in runs:
        for key, value in run.settings.items():
            values.setdefault(key, []).append(value)
    told_apart = {key for key, found in values.items() if any(value != found[0] for value in found)}
    return {run.name: {key: value for key, value in run.settings.items() if key in told_apart} for run in runs}


def with_settings_of(config: Config, left: Inputs) -> Config:
    """The settings of a run in place of the user's; what shapes neither training nor what it reads stays.

    Raises:
        PipelineError: this version does not know one of them.
    """
    return config.model_copy(update=dict(sections_of(left)))
