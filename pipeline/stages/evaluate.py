"""Score the test images against seen and unseen labels, and write what the scores are worth beside chance.

Writes runs/<run>/metrics.json, per_label.parquet, examples.parquet, bootstrap.npz: all figures over test images drawn
anew, calibration.json: what makes probabilities of scores, scores.parquet, and missing.csv: the images of the splits
that are not there. Changes nothing that training left. Scores that are too many for memory lie in a file of the run's
folder while the stage runs.
"""

import json
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.tables import write_table
from pipeline.machine import stopping
from pipeline.machine.device import require_device
from pipeline.machine.telling import counted, tell
from pipeline.metrics import PROTOCOLS
from pipeline.towers.space import pretraining_remark
from schemas.config import Config, EvaluateConfig
from schemas.figures import SectionName, remarks
from schemas.receipts import NOTE
from schemas.section import recipe
from schemas.status import ImageSplit, LabelRole
from schemas.tables import EXAMPLES, PER_LABEL, SCORES

if TYPE_CHECKING:
    import torch

    from pipeline.batches.coverage import Coverage
    from pipeline.batches.label_space import LabelSpace
    from pipeline.batches.selection import Selection
    from pipeline.inference.model_file import SavedModel
    from pipeline.inference.scoring import Scorer
    from pipeline.metrics.protocols import Evaluation
    from pipeline.metrics.score_table import ScoreTable

_PRELOAD = ("pipeline.inference.examples", "pipeline.inference.probabilities")

VERSION = 8


@dataclass(frozen=True)
class Settings:
    """What evaluation needs to know; how to build the model stands in its file.

    Attributes:
        evaluate: protocol, K, baselines, examples.
        dataset: name of the data set, for metrics.json.
        threads: of one operation; torch's own choice where None.
    """

    evaluate: EvaluateConfig
    dataset: str
    threads: int | None = None


@dataclass(frozen=True)
class _Evaluated:
    """The test images, scored.

    Attributes:
        space: the columns.
        selection: the images.
        unlabelled: images of the whole data set that nobody labelled.
        coverage: how much of all splits is there.
        saved: the model and how it was built.
        scorer: the model on its device.
        seconds: that scoring took.
        table: scores and codes.
        on_one_scale: the same with each image's scores standardised; None where they are so already, or no label is
            unseen.
        calibration: content of calibration.json.
    """

    space: "LabelSpace"
    selection: "Selection"
    unlabelled: int
    coverage: "Coverage"
    saved: "SavedModel"
    scorer: "Scorer"
    seconds: float
    table: "ScoreTable"
    on_one_scale: "ScoreTable | None"
    calibration: Mapping[str, Any]

    @property
    def first_columns(self) -> "dict[SectionName, int]":
        """The sections, each with the first of its columns."""
        return {"zsl": self.space.num_seen, "gzsl": 0} if self.space.num_unseen else {"standard": 0}


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings."""
    del sources  # nothing from outside shapes it
    scoring = settled(config.evaluate, config.dataset.own_protocol)
    return Stage(
        name="evaluate",
        version=VERSION,
        recipe=recipe("evaluate", scoring) | PROTOCOLS.recipe(str(scoring.protocol)),
        settings=Settings(scoring, config.dataset.name, config.engine.threads),
        run=run,
        upstream=dict.fromkeys(("index", "download", "extract", "embed", *config.split.role_stages, "train"), "all"),
        outputs={
            "metrics": OutputFile("{folder}/metrics.json"),
            "per_label": OutputFile("{folder}/per_label.parquet", PER_LABEL, {"role": LabelRole}),
            "examples": OutputFile("{folder}/examples.parquet", EXAMPLES),
            "bootstrap": OutputFile("{folder}/bootstrap.npz"),
            "missing": OutputFile("{folder}/missing.csv"),
            "calibration": OutputFile("{folder}/calibration.json"),
            "scores": OutputFile("{folder}/scores.parquet", SCORES),
        },
        place="process",
        preload=_PRELOAD,
        folder="{train.folder}",
        record="evaluate.stage",
        require=partial(_require, scoring),
    )


def _require(config: EvaluateConfig, scheduler: str | None) -> None:
    """See that a protocol which is not ours gives its headline with these K, and that the device is here."""
    from pipeline.metrics.trial import trial

    del scheduler  # evaluation runs here
    name = str(config.protocol)
    PROTOCOLS.tried(name, partial(trial, PROTOCOLS.load(name), config.ks))
    require_device(config.device, "evaluate.device")


def settled(config: EvaluateConfig, own_protocol: str) -> EvaluateConfig:
    """The settings with a protocol and K: where they are null, the data set's own and that protocol's own.

    Raises:
        UsageError: no such protocol; better told now than after an hour.
    """
    protocol = config.protocol or own_protocol
    ks = PROTOCOLS.load(protocol).KS if config.ks is None else config.ks
    return config.model_copy(update={"protocol": protocol, "ks": ks})


def run(task: Task) -> list[Output]:
    """Evaluate the model of a run on the test images.

    Raises:
        PipelineError: no test image, a model that does not fit the features, or a stop asked for.
        UsageError: no such device.
        IntegrityError: a shard or the model file is damaged.
    """
    from pipeline.inference.determinism import repeatable
    from pipeline.machine.device import resolve_device

    settings: Settings = task.settings
    device = resolve_device(settings.evaluate.device, "evaluate.device")
    with repeatable(settings.evaluate.seed, settings.threads, device), _scored(task, device) as done:
        sections = _sections(settings, done)
        _write_metrics(task, done, sections)
        _write_bootstrap(task, done)
        _write_per_label(task, done, sections)
        _write_examples(task, done)
        task.storage.write(task.path("calibration"), (json.dumps(done.calibration, indent=2) + "\n").encode())
        keeps = _keep_scores(task, done)
    facts: dict[str, Any] = {"without_vector": done.space.without_vector, "seconds_scoring": done.seconds}
    facts |= {"keeps_scores": keeps, "calibrated": done.calibration["slope"] is not None}
    for name, section in sections.items():
        headline = section.headline
        facts |= {f"{name}_{headline}": section.measured.figures[headline]}
        facts |= {f"{name}_chance_{headline}": section.chance[headline]}
    if done.coverage.duplicates is not None and (note := done.coverage.duplicates.note()) is not None:
        facts |= {NOTE: note}
    files = ("metrics", "per_label", "examples", "bootstrap", "missing", "calibration", *(("scores",) if keeps else ()))
    return [Output(files, rows=len(done.selection), facts=facts)]


@contextmanager
def _scored(task: Task, device: "torch.device") -> Iterator[_Evaluated]:
    """The scores and codes of all test images."""
    from pipeline.batches.coverage import cover
    from pipeline.inference.opened import open_run
    from pipeline.inference.probabilities import calibrated

    def check(done: int, images: int) -> None:
        tell(done, images, counted(done, images, "images scored"))
        stopping.heed(task.deadline)

    config: EvaluateConfig = task.settings.evaluate
    run = open_run(task.inputs, ImageSplit(config.images), device, config.batch_images, check)
    space, images = run.space, run.images
    with task.storage.commit(task.path("missing")) as missing:
        coverage = cover(run.features, space, missing)
    with _table(task, len(images), len(space)) as table:
        started = time.perf_counter()
        with closing(run.scorer.stream(images)) as stream:
            for batch, scores in stream:
                table.append(scores, batch.codes)
        seconds = time.perf_counter() - started
        calibration = calibrated(run, table, check, trained_on=_trained_on_all(task))
        views: tuple[ScoreTable, ScoreTable | None] = (table, None)
        if config.standardise:
            views = (table.standardised(space.num_seen), None)
        elif space.num_unseen:
            views = (table, table.standardised(space.num_seen))
        yield _Evaluated(space, images, run.unlabelled, coverage, run.saved, run.scorer, seconds, *views, calibration)


def _trained_on_all(task: Task) -> bool:
    """Whether the validation images were trained on in the end."""
    told = tomllib.loads(task.inputs.read("train", "config").decode())
    return bool(told.get("train", {}).get("full_epochs"))


@contextmanager
def _table(task: Task, num_images: int, num_labels: int) -> "Iterator[ScoreTable]":
    """An empty table of scores; says where it lies if that is not in memory."""
    from pipeline.metrics.score_table import open_score_table, score_bytes

    folder, most = task.storage.scratch(task.folder), task.settings.evaluate.scores_in_memory_bytes
    if (size_bytes := score_bytes(num_images, num_labels)) > most:
        text = (
            f"{num_images} images x {num_labels} labels: {size_bytes / 1e9:.1f} GB of scores are put aside in "
            f"{folder}, as they are more than evaluate.scores_in_memory_bytes = {most / 1e9:.1f} GB"
        )
        tell(0, num_images, text)
    with open_score_table(folder, num_images, num_labels, most) as table:
        yield table


def _sections(settings: Settings, done: _Evaluated) -> "dict[SectionName, Evaluation]":
    """Zero-shot and generalised figures; the standard ones where no label is unseen."""
    from pipeline.inference.scoring import sorted_on
    from pipeline.metrics.computing import Computing
    from pipeline.metrics.protocols import Baselines, Evaluation, evaluate, measure

    config, images = settings.evaluate, len(done.selection)
    protocol, ks = str(config.protocol), config.ks or ()
    baselines = Baselines(config.draws, config.seed % 2**64)
    computing = Computing(settings.threads, sorted_on(done.scorer.label_vectors.device))

    def section(name: SectionName, first: int) -> Evaluation:
        tell(images, images, f"{counted(images, None, 'images scored')}, measuring {name}")
        found = evaluate(protocol, name, done.table.section(first), ks, baselines, computing)
        if done.on_one_scale is None:
            return found
        scaled = measure(protocol, name, done.on_one_scale.section(first), ks, computing)
        return replace(found, standardised=scaled.figures)

    return {name: section(name, first) for name, first in done.first_columns.items()}


def _write_metrics(task: Task, done: _Evaluated, sections: "Mapping[SectionName, Evaluation]") -> None:
    test, spec = done.selection, done.scorer.features.spec
    document: dict[str, Any] = {
        "dataset": task.settings.dataset,
        "model": done.saved.config.name,
        "preset": done.saved.config.preset,
        "protocol": task.settings.evaluate.protocol,
        "features": task.inputs.folder("extract"),
        "weights": spec.weights,
        "recipe": task.recipe,
        "images": len(test),
        "coverage": {
            "expected": test.expected,
            "evaluated": len(test),
            "fraction": len(test) / test.expected,
            "unlabelled": done.unlabelled,
            "failed": dict(test.failed),
            **done.coverage.as_json(done.space),
            "warning": done.coverage.warning(task.settings.evaluate.min_coverage),
        },
    }
    shown = {name: section.as_json() for name, section in sections.items() if name in done.saved.tasks}
    seen = pretraining_remark(spec, task.inputs.receipt("embed").facts)
    scale = ["each image's scores are standardised over its seen labels"] if task.settings.evaluate.standardise else []
    remarked = {name: [*_remarks(done.space, name, section, seen), *scale] for name, section in shown.items()}
    document |= shown | {"remarks": remarked}
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    task.storage.write(task.path("metrics"), text.encode())


def _remarks(space: "LabelSpace", name: str, section: Mapping[str, Any], seen: str | None) -> list[str]:
    """What to say beside the figures of a section.

    Args:
        seen: that unseen labels were met before, where that is so.
    """
    bare = space.unseen_without_vector
    said = list(remarks(name, section, bare if name == "zsl" else space.without_vector))
    if name == "standard" and bare:
        said.insert(0, "these figures stand in place of ZSL and GZSL, since no unseen label has a word vector")
    return [f"{name.upper()}: {seen}", *said] if seen is not None and name != "standard" else said


def _write_bootstrap(task: Task, done: _Evaluated) -> None:
    """All figures over images drawn anew, as two runs over the same images draw them alike."""
    from pipeline.metrics.bootstrap import Resampling
    from pipeline.metrics.computing import Computing
    from pipeline.metrics.paired import Replicates, pairing
    from pipeline.metrics.protocols import replicates

    config, space, images = task.settings.evaluate, done.space, len(done.selection)
    protocol, ks = str(config.protocol), config.ks or ()
    image_ids = done.scorer.features.image_ids(done.selection.shard, done.selection.row)
    resampling = Resampling.of(image_ids, config.replicates)
    found: dict[str, Any] = {}
    for name, first in done.first_columns.items():
        for prefix, table in ((name, done.table), (f"{name}/standardised", done.on_one_scale)):
            if table is None or name not in done.saved.tasks:
                continue
            tell(images, images, f"{counted(images, None, 'images scored')}, measuring {prefix} over images drawn anew")
            stopping.heed(task.deadline)
            drawn = replicates(protocol, name, table.section(first), ks, resampling, Computing(task.settings.threads))
            found |= {f"{prefix}/{figure}": values for figure, values in drawn.items()}
    labels = {"seen": space.label_id[: space.num_seen], "unseen": space.label_id[space.num_seen :]}
    paired = pairing(image_ids, labels, done.table.codes, protocol, ks)
    task.storage.write(task.path("bootstrap"), Replicates(paired, found).as_bytes())


def _keep_scores(task: Task, done: _Evaluated) -> bool:
    """Keep all scores where they are not too many; what was kept before goes in any case."""
    from pipeline.inference.kept_scores import write_scores
    from pipeline.metrics.score_table import score_bytes

    path, table = task.path("scores"), done.table
    if score_bytes(table.num_images, table.num_labels) > task.settings.evaluate.kept_scores_bytes:
        task.storage.remove(path)
        return False
    image_ids = done.scorer.features.image_ids(done.selection.shard, done.selection.row)
    with task.storage.commit(path) as temporary:
        write_scores(temporary, image_ids, table)
    return True


def _write_per_label(task: Task, done: _Evaluated, sections: "Mapping[SectionName, Evaluation]") -> None:
    """Average precision of every column beside how often it is present and absent."""
    import numpy as np
    import pyarrow as pa

    space, table = done.space, done.table
    everything = sections["standard" if "standard" in sections else "gzsl"]
    figures = {"average_precision": everything.measured.per_label, "chance": everything.chance_per_label}
    columns = {
        "label_index": space.label_index,
        "label_id": space.label_id,
        "name": space.name,
        "role": [str(space.role(column)) for column in range(len(space))],
        "positives": table.positives_by_label,
        "negatives": table.known_by_label - table.positives_by_label,
    } | {name: pa.array(values, mask=np.isnan(values)) for name, values in figures.items()}
    write_table(task.storage, task.path("per_label"), pa.table(columns, schema=PER_LABEL))


def _write_examples(task: Task, done: _Evaluated) -> None:
    import pyarrow as pa

    from pipeline.inference.examples import Examples

    examples = Examples(done.space, done.scorer, done.selection, done.table, done.saved.has_response_maps)
    config: EvaluateConfig = task.settings.evaluate
    images = examples.choose(config.examples, config.examples_seed)
    table = pa.Table.from_pylist(list(examples.rows(images)), schema=EXAMPLES)
    write_table(task.storage, task.path("examples"), table)
