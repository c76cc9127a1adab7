"""Renders the report of a run, an HTML page that needs nothing else, its card, and its description for other programs.

All from what the stages before left.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pipeline.batches.label_space import read_roles
from pipeline.engine.sources import Sources
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.croissant import FILE as CROISSANT
from pipeline.files.inputs import OutputFile
from pipeline.images.picture import picture
from pipeline.models import MODELS
from pipeline.models.contract import in_vain, presets
from pipeline.reporting.card import Choice, RunCard, card
from pipeline.reporting.credits import Credit, credits_of
from pipeline.reporting.described import described
from pipeline.reporting.figures import History, history, sections
from pipeline.reporting.images import images
from pipeline.reporting.labels import label_matrix, label_names, ranked_labels
from pipeline.reporting.page import MAX_BYTES, SIDES_PX, Page, fitting, render
from pipeline.reporting.ran import facts, libraries, stage_totals
from schemas.command import Command
from schemas.config import Config
from schemas.errors import PipelineError
from schemas.features import FeatureSpec
from schemas.receipts import Receipt
from schemas.section import recipe
from schemas.status import ImageSplit

if TYPE_CHECKING:
    from PIL import Image

VERSION = 7

_EACH_END = 50  # labels shown from either end of a long list
_IDENTITY = ("dataset", "model", "preset", "protocol", "features", "weights", "images")


@dataclass(frozen=True)
class Settings:
    """What the page shows, and how its pictures are decoded.

    Attributes:
        orientation: `exif`, `dataset` or `none`, as for the features, so that maps lie over what the network saw.
        max_pixels: pictures with more are not decoded.
        vectors: of words, as the settings name them.
        about: what the model says of itself, paragraphs.
        choices: settings of the model and its training, for the card.
    """

    orientation: Literal["exif", "dataset", "none"]
    max_pixels: int
    vectors: str
    about: Sequence[str]
    choices: Sequence[Choice]


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings."""
    del sources  # nothing from outside shapes it
    return Stage(
        name="report",
        version=VERSION,
        recipe={},
        settings=Settings(
            config.extract.orientation,
            config.download.max_pixels,
            config.embed.vectors,
            _about(config.model.name),
            _choices(config),
        ),
        run=run,
        upstream=dict.fromkeys(
            ("index", "download", "extract", "embed", *config.split.role_stages, "train", "evaluate"), "all"
        ),
        outputs={
            "report": OutputFile("{folder}/report.html"),
            "card": OutputFile("{folder}/README.md"),
            "croissant": OutputFile(f"{{folder}}/{CROISSANT}"),
        },
        place="process",
        folder="{train.folder}",
        record="report.stage",
    )


def _about(model: str) -> tuple[str, ...]:
    """The first words of a model's module, paragraph by paragraph, each on one line."""
    said = inspect.cleandoc(str(getattr(MODELS.load(model), "__doc__", None) or "")).split("\n\n")
    return tuple(" ".join(paragraph.split()) for paragraph in said if paragraph.strip())


def _choices(config: Config) -> tuple[Choice, ...]:
    """Settings of model and training that shape a run, with where each value stands; none that nothing reads."""
    model = MODELS.load(config.model.name)
    given, unread, found = presets(model).get(config.model.preset, {}), in_vain(model, config), []
    for name, section in (("model", config.model), ("train", config.train)):
        defaults = type(section)().model_dump(mode="json")
        for key, value in recipe(name, section).items():
            if key in unread or key == "train.weights":  # the card names their file without its folder
                continue
            own = key.partition(".")[2]
            of_preset = given.get(name, {}).get(own, defaults[own])
            source = f"preset {config.model.preset}" if own in given.get(name, {}) else "default"
            differs = json.dumps(value) != json.dumps(of_preset)
            found.append(Choice(key, json.dumps(value), "set for this data set or run" if differs else source))
    return tuple(found)


def run(task: Task) -> list[Output]:
    """Writes report.html, the card and croissant.json into the run's folder.

    Raises:
        PipelineError: the run has no metrics, or the page is too large even with the smallest pictures.
        IntegrityError: an example names another image than the shard holds in its place.
    """
    examples = task.inputs.table("evaluate", "examples").to_pylist()
    page = _page(task)
    settings: Settings = task.settings
    pictures = [picture(task.inputs, example, settings.orientation, settings.max_pixels) for example in examples]
    whose = credits_of(task.inputs, [(row["shard"], row["row"]) for row in examples])
    html = _rendered(page, examples, pictures, [whose.get((row["shard"], row["row"])) for row in examples])
    task.storage.write(task.path("report"), html)
    told = _card(task, page)
    task.storage.write(task.path("card"), card(told).encode())
    receipts = [receipt for stage in ("train", "evaluate") for receipt in task.inputs.receipts(stage)]
    task.storage.write(task.path("croissant"), described(told, receipts).encode())
    return [Output(("report", "card", "croissant"), rows=len(examples))]


def _card(task: Task, page: Page) -> RunCard:
    """What the card tells, which is what the page does in fewer words."""
    inputs, settings = task.inputs, task.settings
    metrics = inputs.json("evaluate", "metrics")
    return RunCard(
        model=metrics["model"],
        preset=metrics["preset"],
        about=settings.about,
        dataset=metrics["dataset"],
        protocol=metrics["protocol"],
        sections=sections(metrics),
        spec=FeatureSpec.model_validate_json(inputs.read("extract", "spec")),
        features=metrics["features"],
        vectors=settings.vectors,
        vectors_sha256=inputs.receipt("embed").facts.get("vectors_sha256"),
        training=page.history,
        images={split.name: split.used for split in page.images.splits if split.used is not None},
        warnings=page.warnings,
        choices=settings.choices,
        recipe=metrics["recipe"],
        versions={library.name: library.version for library in page.libraries},
    )


def _rendered(
    page: Page,
    rows: Sequence[dict[str, Any]],
    pictures: Sequence["Image.Image | str"],
    whose: Sequence[Credit | None],
) -> bytes:
    """The page with pictures as large as its limit allows."""
    from pipeline.reporting.examples import example

    def of_size(side_px: int) -> str:
        shown = zip(rows, pictures, whose, strict=True)
        examples = [example(row, picture, page.space, side_px, credit) for row, picture, credit in shown]
        return render(replace(page, examples=examples))

    if len(html := fitting(of_size).encode()) > MAX_BYTES:
        raise PipelineError(
            f"report: the page has {len(html):,} bytes with {len(rows)} examples of {SIDES_PX[-1]} px",
            expected=f"at most {MAX_BYTES:,}",
            run=Command("report", sets={"evaluate.examples": len(rows) // 2}),
        )
    return html


def _page(task: Task) -> Page:
    """Everything but the examples."""
    inputs = task.inputs
    metrics, training = inputs.json("evaluate", "metrics"), history(inputs.json("train", "history"))
    space = label_names(inputs.table("index", "labels"), read_roles(inputs))
    receipts = inputs.by_stage()
    return Page(
        title=f"{metrics['model']} on {metrics['dataset']}",
        run=task.folder,
        warnings=[
            text for text in (metrics.get("coverage", {}).get("warning"), inputs.receipt("evaluate").note) if text
        ],
        random_weights=str(metrics["weights"]).startswith("random"),
        identity=[
            ("run", task.folder.rpartition("/")[2]),
            ("trained", _day(inputs.receipt("train"))),
            *((name, _plain(metrics[name])) for name in _IDENTITY if name in metrics),
        ],
        protocol=metrics["protocol"],
        sections=tuple(sections(metrics).values()),
        stages=stage_totals(receipts),
        images=images(inputs, _used(training, metrics)),
        space=space,
        matrix=label_matrix(inputs.table("embed", "embeddings"), space),
        history=training,
        ranked=ranked_labels(inputs.table("evaluate", "per_label"), _EACH_END),
        examples=[],
        config=inputs.read("train", "config").decode(),
        recipe={"recipe of the metrics": str(metrics["recipe"]), "recipe of the report": task.recipe}
        | {f"folder of {stage}": folder or "." for stage, folder in inputs.folders().items()},
        libraries=libraries(receipts),
        facts=facts(receipts),
    )


def _used(training: History, metrics: dict[str, Any]) -> dict[str, int]:
    """Images that took part, by split."""
    return {**training.images, str(ImageSplit.TEST): metrics["images"]}


def _day(trained: Receipt) -> str:
    """When a training ended; the day alone, so that the same run made twice has the same page."""
    return datetime.fromtimestamp(trained.started_at + trained.seconds, UTC).date().isoformat()


def _plain(value: object) -> str:
    """A JSON value as a reader wants to see it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
