"""Renders the report of a run: one HTML page that needs nothing else, from the files that the stages before left."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.engine.task import Output, Task
from pipeline.reporting import files
from pipeline.reporting.figures import History, history, sections
from pipeline.reporting.images import images
from pipeline.reporting.labels import LabelSpace, label_matrix, label_space, ranked_labels
from pipeline.reporting.page import Page, render
from pipeline.reporting.ran import facts, libraries, stage_rows
from schemas.errors import PipelineError
from schemas.status import ImageSplit
from schemas.tables import FEATURES_SOURCE

if TYPE_CHECKING:
    from PIL import Image

VERSION = 3

MAX_BYTES = 5_000_000
_SIDES_PX = (320, 240, 160, 96)  # of the pictures; tried in turn until the page is small enough
_FEATURES_ONLY = "the data set came as features, without images."
_DROPPED = "it was dropped once its features were there (images.keep = false)."
_EACH_END = 50  # labels shown from either end of a long list
_IDENTITY = ("dataset", "model", "preset", "protocol", "features", "weights", "images")


@dataclass(frozen=True)
class Settings:
    """What the page shows, and how its pictures are decoded.

    Attributes:
        orientation: `exif`, `dataset` or `none`, as for the features, so that maps lie over what the network saw.
        max_pixels: pictures with more are not decoded.
    """

    orientation: Literal["exif", "dataset", "none"]
    max_pixels: int


def run(task: Task) -> list[Output]:
    """Writes report.html into the run's folder.

    Raises:
        PipelineError: the run has no metrics, or the page is too large even with the smallest pictures.
        IntegrityError: an example names another image than the shard holds in its place.
    """
    table = files.table(task, f"{task.folder}/examples.parquet")
    examples = [] if table is None else table.to_pylist()
    html = _fitting(_page(task), examples, [_picture(task, example) for example in examples])
    path = f"{task.folder}/report.html"
    task.storage.write(path, html)
    return [Output(files=(path,), rows=len(examples))]


def _fitting(page: Page, rows: Sequence[dict[str, Any]], pictures: Sequence["Image.Image | str"]) -> bytes:
    """The page with pictures as large as its limit allows."""
    from pipeline.reporting.examples import example

    for side_px in _SIDES_PX:
        examples = [example(row, picture, page.space, side_px) for row, picture in zip(rows, pictures, strict=True)]
        html = render(replace(page, examples=examples)).encode()
        if len(html) <= MAX_BYTES:
            return html
    raise PipelineError(
        f"report: the page has {len(html):,} bytes with {len(rows)} examples of {_SIDES_PX[-1]} px, expected at most"
        f" {MAX_BYTES:,}. Run: biam-pipe report --set evaluate.examples={len(rows) // 2}"
    )


def _page(task: Task) -> Page:
    """Everything but the examples."""
    metrics, training, space = _metrics(task), _history(task), _space(task)
    matrix = files.whole(task, "embed")
    per_label = files.table(task, f"{task.folder}/per_label.parquet")
    return Page(
        title=f"{metrics['model']} on {metrics['dataset']}",
        run=task.folder,
        warning=metrics.get("coverage", {}).get("warning"),
        random_weights=str(metrics["weights"]).startswith("random"),
        identity=[(name, _plain(metrics[name])) for name in _IDENTITY if name in metrics],
        protocol=metrics["protocol"],
        sections=sections(metrics),
        stages=stage_rows(task.inputs),
        images=images(task, _used(training, metrics)),
        space=space,
        matrix=None if matrix is None else label_matrix(matrix, space),
        history=training,
        ranked=[] if per_label is None else ranked_labels(per_label, _EACH_END),
        examples=[],
        config=files.text(task, "config.toml"),
        recipe={"recipe of the metrics": str(metrics["recipe"]), "recipe of the report": task.recipe}
        | {f"folder of {stage}": folder or "." for stage, folder in task.folders.items()},
        libraries=libraries(task.inputs),
        facts=facts(task.inputs),
    )


def _metrics(task: Task) -> dict[str, Any]:
    written = files.text(task, "metrics.json")
    if written is None:
        raise PipelineError(
            f"report: no metrics.json in {task.folder}, expected the one evaluation writes. Run: biam-pipe evaluate"
        )
    metrics: dict[str, Any] = json.loads(written)
    return metrics


def _history(task: Task) -> History | None:
    written = files.text(task, "history.json")
    return None if written is None else history(json.loads(written))


def _space(task: Task) -> LabelSpace:
    tables = []
    for stage in ("index", "split"):
        table = files.whole(task, stage)
        if table is None:
            raise PipelineError(f"report: no label table of {stage!r}, expected labels.parquet. Run: biam-pipe {stage}")
        tables.append(table)
    labels, roles = tables
    return label_space(labels, roles)


def _used(training: History | None, metrics: dict[str, Any]) -> dict[str, int]:
    """Images that took part, by split, as far as the run says."""
    used = {} if training is None else dict(training.images)
    return used | ({str(ImageSplit.TEST): metrics["images"]} if isinstance(metrics.get("images"), int) else {})


def _plain(value: object) -> str:
    """A JSON value as a reader wants to see it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _picture(task: Task, example: dict[str, Any]) -> "Image.Image | str":
    """An example's picture, upright, or why it cannot be shown."""
    from pipeline.images.decode import decode
    from pipeline.images.problem import ImageProblem

    index, dropped = files.image_row(task, "index", 0, example), files.dropped(task, "download", example["shard"])
    try:
        stored = None if dropped else files.image_row(task, "download", 1, example)["data"]
        data = _local_bytes(index) if stored is None else stored
        return decode(data, task.settings.orientation, index["rotation"], task.settings.max_pixels)
    except FileNotFoundError:
        if any(one["source"] == FEATURES_SOURCE for one in index["locations"] or ()):
            return _FEATURES_ONLY
        return _DROPPED if dropped else "its bytes are no longer there."
    except OSError as problem:
        return f"its file cannot be read ({problem.strerror})."
    except ImageProblem as problem:
        return f"{problem.status} ({problem})."


def _local_bytes(index: dict[str, Any]) -> bytes:
    """Bytes of an image that was referenced, not copied."""
    local = next((one["address"] for one in index["locations"] or () if one["source"] == "local"), None)
    if local is None:
        raise FileNotFoundError("neither stored nor on a local disk")
    return Path(local).read_bytes()
