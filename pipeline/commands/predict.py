"""What the trained model says of any images: scores of labels, any words among them, and where it sees the best.

Images take the way of stage `extract`, words that of stage `embed`, and the model is that of the run of settings and
data as they are, else of the latest run with these settings. An image that cannot be used is a result with a status.
Nothing in the work folder changes; a page, a table and, on request, pictures go to a folder of the user's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backbones import describe, weights
from pipeline.commands.prediction.asked import asked_images
from pipeline.commands.prediction.labels import AskedLabels, asked_labels
from pipeline.commands.prediction.page import PICTURED, SIDE_PX, Thumbnail, page
from pipeline.commands.prediction.result import ImagePrediction, LabelScore, Prediction, Worth
from pipeline.commands.prediction.table import Form, table_bytes
from pipeline.engine.graph import Graph, inputs_of, latest_of_recipe
from pipeline.engine.plan import plan
from pipeline.engine.progress import ProgressView
from pipeline.files.inputs import Inputs
from pipeline.files.storage import Storage, users_folder
from pipeline.machine.telling import counted
from schemas.command import Command
from schemas.config import Config
from schemas.errors import PipelineError, UsageError
from schemas.features import FeatureSpec
from schemas.random_weights import is_random
from schemas.readable import hashes_apart

if TYPE_CHECKING:
    from pipeline.inference.calibration import Calibration
    from pipeline.inference.predictor import ScoredImage

_PAGE, _TABLE, _MAPS = "predictions.html", "predictions", "maps"
_SLUG_BYTES = 60
_UNSAFE = re.compile(r"[^\w.-]+")
_OWN_MAP = re.compile(r"\d{4,}-.*-\d+-.*\.jpg")

__all__ = ["PredictRequest", "Prediction", "predict_images"]


@dataclass(frozen=True)
class PredictRequest:
    """What to predict.

    Attributes:
        images: paths of image files and folders, patterns, addresses, or `-` for a list of these on stdin.
        labels: any words; None for all labels of the data set.
        top: labels told of each image, best first.
        out: folder of page, table and pictures.
        maps: whether pictures are drawn of where the model sees each label.
        form: of the table.
        quiet: no progress on stderr.
    """

    images: Sequence[str]
    labels: Sequence[str] | None
    top: int
    out: Path
    maps: bool = False
    form: Form = "csv"
    quiet: bool = True

    def __post_init__(self) -> None:
        if not self.images:
            raise UsageError("predict: no image given, expected at least one. Example: biam-pipe predict photo.jpg")
        if self.top < 1:
            raise UsageError(f"predict: --top is {self.top}, expected at least 1 label of each image. Example: --top 5")
        if self.form not in ("csv", "parquet"):
            raise UsageError("predict: --table", got=repr(self.form), expected="csv or parquet")


def predict_images(config: Config, storage: Storage, graph: Graph, request: PredictRequest) -> Prediction:
    """Score the labels in each image; write the page and the table, and draw where the model sees the best of them.

    Args:
        graph: up to `evaluate`, with all that it needs; what is in the work folder counts, up to date or not.

    Raises:
        PipelineError: nothing is trained, weights or vectors are not those behind it, or no file can be written.
        UsageError: no image or no label is asked for, or nobody knows any of the labels.
        IntegrityError: a file of the work folder is damaged.
    """
    import torch

    from pipeline.inference.determinism import repeatable
    from pipeline.inference.model_file import trained_model
    from pipeline.inference.predictor import Predictor, ScoredImage
    from pipeline.machine.device import resolve_device

    asked = asked_images(request.images)
    if not asked:
        raise UsageError("predict: the list on stdin is empty, expected an image a line")
    plan(graph)  # the run's folder gets its name by it
    _require_model(config, storage, graph)
    left = inputs_of(graph, "predict", {name: node.kept.values() for name, node in graph.items()})
    spec = feature_spec(config, left)
    saved = trained_model(left)
    labels = asked_labels(config, left, graph, request.labels, reads_words=saved.reads_words)
    maps = tuple(map(spec.map_named, saved.needs))
    saved.require(left, maps, (len(labels.vectors), labels.vectors.shape[1]))
    calibration, worth = _calibration(left)
    made = _Making(labels, calibration, users_folder(request.out, "predict"), request)
    with_maps = request.maps and saved.has_response_maps
    device = resolve_device(config.evaluate.device, "evaluate.device")
    with (
        repeatable(config.evaluate.seed, config.engine.threads, device),
        ProgressView(quiet=request.quiet) as progress,
    ):
        vectors = torch.from_numpy(labels.vectors).to(device)
        predictor = Predictor(config, spec, maps, saved.model.to(device), vectors, with_maps, labels.columns)
        found = predictor.predict([one.name for one in asked if one.status is None], request.top, pictures=True)
        progress.began("predict", None, images=False)
        for number, one in enumerate(asked, start=1):
            made.add(next(found) if one.status is None else ScoredImage(one.name, one.status, one.error))
            progress.tell("predict", number, len(asked), counted(number, len(asked), "images"))
        found.close()
    return made.written(
        Prediction(
            model=storage.shown(left.file("train", "model").path),
            weights=spec.weights,
            random_weights=is_random(spec.weights),
            words_missing=labels.words_missing,
            images=made.images,
            words_unknown=labels.unknown,
            worth=worth,
            blind=request.maps and not saved.has_response_maps,
        )
    )


def _calibration(left: Inputs) -> "tuple[Calibration | None, Worth]":
    """What makes probabilities of scores, and what they are worth."""
    from pipeline.inference.calibration import Calibration

    if not left.has("evaluate"):
        return None, Worth("the run was not evaluated (biam-pipe evaluate)")
    if "calibrated" not in left.receipt("evaluate").facts:
        return None, Worth("the run was evaluated by an older version (biam-pipe evaluate)")
    told = left.json("evaluate", "calibration")
    if (curve := Calibration.of(told)) is None:
        return None, Worth(told["reason"])
    seen, unseen = (None if told[role] is None else told[role]["error"] for role in ("seen", "unseen"))
    return curve, Worth(None, seen, unseen, trained_on=told["fitted_on"]["trained_on"])


@dataclass
class _Making:
    """What a prediction gathers on its way."""

    labels: AskedLabels
    calibration: "Calibration | None"
    folder: Storage
    request: PredictRequest
    images: list[ImagePrediction] = field(default_factory=list)
    thumbnails: dict[int, Thumbnail] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.folder.sizes(_MAPS):  # of an earlier prediction, which this one takes the place of
            if _OWN_MAP.fullmatch(name):
                self.folder.remove(f"{_MAPS}/{name}")

    def add(self, scored: "ScoredImage") -> None:
        """Take in the next image; draw its pictures."""
        number, names = len(self.images), self.labels.names
        likely: list[Any] = [None] * len(scored.best)
        if self.calibration is not None and len(scored.best):
            likely = self.calibration.probabilities(scored.scores).tolist()  # type: ignore[arg-type]
        labels = [
            LabelScore(names[label], self.labels.kinds[label], score, chance)
            for label, score, chance in zip(scored.best, scored.scores, likely, strict=True)
        ]
        if scored.picture is not None and scored.responses is not None:
            labels = [self._drawn(scored, number, rank, label) for rank, label in enumerate(labels)]
        if scored.picture is not None and number < PICTURED:
            self.thumbnails[number] = _thumbnail(scored)
        self.images.append(ImagePrediction(scored.path, scored.status, scored.error, labels))

    def _drawn(self, scored: "ScoredImage", number: int, rank: int, label: LabelScore) -> LabelScore:
        from pipeline.reporting.heat import heat_picture, jpeg_bytes

        assert scored.picture is not None, "drawn over a picture"
        assert scored.responses is not None, "drawn from a map"
        likely = "" if label.probability is None else f", probability {label.probability:.2f}"
        caption = (f"{label.label}: score {label.score:.3f}{likely}", Path(scored.path).name)
        drawn = heat_picture(scored.picture, scored.responses[rank], caption)
        name = f"{_MAPS}/{number + 1:04d}-{_slug(Path(scored.path).stem)}-{rank + 1}-{_slug(label.label)}.jpg"
        self.folder.write(name, jpeg_bytes(drawn))
        return replace(label, heat_map=self.folder.shown(name))

    def written(self, prediction: Prediction) -> Prediction:
        """The prediction, with where its table and its page lie now; of another form's table none is left."""
        table = f"{_TABLE}.{self.request.form}"
        for other in {f"{_TABLE}.csv", f"{_TABLE}.parquet"} - {table}:
            self.folder.remove(other)
        self.folder.write(table, table_bytes(prediction.images, self.request.form))
        self.folder.write(_PAGE, page(prediction, self.thumbnails, table).encode())
        return replace(prediction, page=self.folder.shown(_PAGE), table=self.folder.shown(table))


def _thumbnail(scored: "ScoredImage") -> Thumbnail:
    from pipeline.reporting.heat import shrunk
    from pipeline.reporting.pictures import data_uri

    assert scored.picture is not None, "made of a picture"
    small = shrunk(scored.picture, SIDE_PX)
    return Thumbnail(data_uri(small), small.width, small.height)


def _require_model(config: Config, storage: Storage, graph: Graph) -> None:
    """See that there is a trained model of these settings, over whatever data, and say which others there are."""
    train = graph["train"]
    if not train.kept and config.train.run is None and (latest := latest_of_recipe(train)) is not None:
        for node in (train, graph["evaluate"]):
            node.place(latest)
    if train.kept:
        return
    others = [folder.rpartition("/")[2] for folder, names in storage.folders() if "model.safetensors" in names]
    there = f"; of other settings there are: {', '.join(others)}" if others else ""
    raise PipelineError(
        f"predict: no model was trained with these settings (none in {storage.shown('runs')}{there})",
        expected="one",
        run=Command("train", dataset=config.dataset.name),
    )


def feature_spec(config: Config, left: Inputs) -> FeatureSpec:
    """The spec of the features that a model learnt from.

    Raises:
        PipelineError: the weights of the backbone here are others than those behind the features, or not here.
    """
    spec = FeatureSpec.model_validate_json(left.read("extract", "spec"))
    found = weights.sha256(config.backbone, describe(config.backbone).published)
    if found != spec.weights_sha256:
        got, before = hashes_apart(found, spec.weights_sha256)
        raise PipelineError(
            f"predict: the backbone's weights have sha256 {got}, the features were made with {before} "
            f"({spec.weights});",
            expected="the same",
            hint="Set backbone.weights to those, or run:",
            run=Command("train", dataset=config.dataset.name),
        )
    return spec


def _slug(text: str) -> str:
    """A text as part of a file name, of which file systems take 255 bytes."""
    return _UNSAFE.sub("-", text).strip("-.").encode()[:_SLUG_BYTES].decode(errors="ignore") or "x"
