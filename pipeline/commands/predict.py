"""What the trained model says of any images: scores of labels, any words among them, and where it sees the best.

Images take the way of stage `extract`, words that of stage `embed`, and the model is that of the run of settings and
data as they are, else of the latest run with these settings. An image that cannot be used is a result with a status.
Nothing in the work folder changes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones import describe, weights
from pipeline.engine.graph import Graph, Node, inputs_of, latest_of_recipe
from pipeline.engine.plan import plan
from pipeline.files.inputs import Inputs
from pipeline.files.storage import Storage, users_folder
from schemas.command import Command
from schemas.config import Config
from schemas.errors import PipelineError, UsageError
from schemas.features import FeatureSpec
from schemas.random_weights import is_random
from schemas.readable import hashes_apart
from schemas.status import ImageStatus

if TYPE_CHECKING:
    from pipeline.inference.predictor import ScoredImage

_PICTURE_PX = 640  # the longer side of a heat map picture, where the image is larger
_SLUG_BYTES = 60
_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class PredictRequest:
    """What to predict.

    Attributes:
        images: paths of image files.
        labels: any words; None for all labels of the data set.
        top: labels told of each image, best first.
        out: folder of the heat map pictures.
    """

    images: Sequence[str]
    labels: Sequence[str] | None
    top: int
    out: Path


@dataclass(frozen=True)
class LabelScore:
    """One label of an image: larger scores mean more likely, and compare within an image only.

    Attributes:
        heat_map: path of the picture that shows where the model sees the label; None where it has no response maps.
    """

    label: str
    score: float
    heat_map: str | None


@dataclass(frozen=True)
class ImagePrediction:
    """One image; `labels` are empty where the status is not `ok`."""

    image: str
    status: str
    error: str | None
    labels: Sequence[LabelScore]


@dataclass(frozen=True)
class Prediction:
    """What the model says.

    Attributes:
        model: path of the model file.
        weights: the backbone's.
        random_weights: whether those are random numbers.
        words_missing: by label, words without a vector, where others of the label have one.
        images: in the order asked for.
    """

    model: str
    weights: str
    random_weights: bool
    words_missing: dict[str, Sequence[str]]
    images: Sequence[ImagePrediction]

    @property
    def problem(self) -> PipelineError | None:
        """What makes the exit code differ from 0: that no image could be used."""
        counts = Counter(image.status for image in self.images)
        if counts[ImageStatus.OK]:
            return None
        counted, first = ", ".join(f"{name} {count}" for name, count in counts.items()), self.images[0]
        return PipelineError(
            f"predict: none of {len(self.images)} images could be used ({counted}; {first.image}: {first.error})",
            expected="at least one",
            hint="With other files, run:",
            run=Command("predict", ("photo.jpg",)),
        )

    def as_json(self) -> dict[str, Any]:
        """The prediction as JSON values, but for the problem."""
        return asdict(self)


@dataclass(frozen=True)
class _Labels:
    """What is scored.

    Attributes:
        names: of the labels that are told.
        vectors: [label, word], of those that are scored.
        words_missing: words without a vector, by name.
        columns: of the scores that are told, in the order of the names; None for all.
    """

    names: Sequence[str]
    vectors: NDArray[np.float32]
    words_missing: dict[str, Sequence[str]]
    columns: Sequence[int] | None = None


def predict_images(config: Config, storage: Storage, graph: Graph, request: PredictRequest) -> Prediction:
    """Score the labels in each image and draw where the model sees the best of them.

    Args:
        graph: of `train` and all that it needs; what is in the work folder counts, whether up to date or not.

    Raises:
        PipelineError: nothing is trained, weights or vectors are not those behind it, or no picture can be written.
        UsageError: no image or no label is asked for, or one has no word with a vector.
        IntegrityError: a file of the work folder is damaged.
    """
    import torch

    from pipeline.inference.determinism import repeatable
    from pipeline.inference.model_file import trained_model
    from pipeline.inference.predictor import Predictor
    from pipeline.machine.device import resolve_device

    if not request.images:
        raise UsageError("predict: no image given, expected at least one. Example: biam-pipe predict photo.jpg")
    if request.top < 1:
        raise UsageError(f"predict: --top is {request.top}, expected at least 1 label of each image. Example: --top 5")
    plan(graph)  # the run's folder gets its name by it
    _require_model(config, storage, graph["train"])
    left = inputs_of(graph, "predict", {name: node.kept.values() for name, node in graph.items()})
    model = storage.shown(left.file("train", "model").path)
    spec = _feature_spec(config, left)
    saved = trained_model(left)
    chosen = _labels if saved.reads_words else _learnt_labels
    labels = chosen(config, left, graph, request.labels)
    maps = tuple(map(spec.map_named, saved.needs))
    saved.require(left, maps, (len(labels.vectors), labels.vectors.shape[1]))
    device, pictures = resolve_device(config.evaluate.device, "evaluate.device"), users_folder(request.out, "predict")
    with repeatable(config.evaluate.seed, config.engine.threads, device):
        vectors = torch.from_numpy(labels.vectors).to(device)
        model_here = saved.model.to(device)
        predictor = Predictor(config, spec, maps, model_here, vectors, saved.has_response_maps, labels.columns)
        scored = enumerate(predictor.predict(request.images, request.top), start=1)
        images = [_prediction(image, labels.names, number, pictures) for number, image in scored]
    return Prediction(model, spec.weights, is_random(spec.weights), labels.words_missing, images)


def _require_model(config: Config, storage: Storage, train: Node) -> None:
    """See that there is a trained model of these settings, over whatever data, and say which others there are."""
    if not train.kept and config.train.run is None and (latest := latest_of_recipe(train)) is not None:
        train.place(latest)
    if train.kept:
        return
    others = [folder.rpartition("/")[2] for folder, names in storage.folders() if "model.safetensors" in names]
    there = f"; of other settings there are: {', '.join(others)}" if others else ""
    raise PipelineError(
        f"predict: no model was trained with these settings (none in {storage.shown('runs')}{there})",
        expected="one",
        run=Command("train", dataset=config.dataset.name),
    )


def _feature_spec(config: Config, left: Inputs) -> FeatureSpec:
    """The spec of the features that the model learnt from; the weights here have to be those."""
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


def _labels(config: Config, left: Inputs, graph: Graph, asked: Sequence[str] | None) -> _Labels:
    """What is asked for: labels of the data set have their row of the label matrix, other words are looked up."""
    from pipeline.batches.label_space import read_label_space
    from pipeline.vectors.source import source_of

    space = read_label_space(left)
    if asked is None:
        return _Labels(space.name, space.vectors, {})
    names = list(dict.fromkeys(" ".join(name.split()) for name in asked if name.strip()))
    if not names:
        raise UsageError('predict: no label asked for, expected some. Example: --labels "zebra,street protest"')
    known = dict(zip(space.name, space.vectors, strict=True))
    embed = graph["embed"]
    assert embed.stage.service is not None, "vectors may lie on a data set's own server"
    others = source_of(config.embed).requested(
        [name for name in names if name not in known],
        embed.kept[None].facts["vectors_sha256"],
        embed.stage.service,
        config.extract.device,
    )
    if without := [name for name, one in others.items() if one.vector is None]:
        raise UsageError(
            f"predict: no word of {', '.join(map(repr, without))} has a vector in {config.embed.vectors}, expected one "
            "at least. Leave it out of --labels, or name other words: --set embed.overrides.NAME=WORDS"
        )
    vectors = np.array([known[name] if name in known else others[name].vector for name in names], dtype=np.float32)
    return _Labels(names, vectors, {name: one.words.missing for name, one in others.items() if one.words.missing})


def _learnt_labels(config: Config, left: Inputs, graph: Graph, asked: Sequence[str] | None) -> _Labels:
    """What is asked for, of a model that scores the labels that it learnt and no other."""
    from pipeline.batches.label_space import read_label_space

    del graph  # no word is looked up
    space = read_label_space(left)
    if asked is None:
        return _Labels(space.name, space.vectors, {})
    column_of = {name: column for column, name in enumerate(space.name)}
    names = list(dict.fromkeys(" ".join(name.split()) for name in asked if name.strip()))
    if not names or (strange := [name for name in names if name not in column_of]):
        raise UsageError(
            f"predict: the model {config.model.name} knows no words, only the {len(space)} labels that it learnt;",
            got=", ".join(map(repr, strange)) if names else "no label",
            expected="some of its labels",
            hint="Leave out --labels for all of them",
        )
    return _Labels(names, space.vectors, {}, [column_of[name] for name in names])


def _prediction(scored: "ScoredImage", names: Sequence[str], number: int, pictures: Storage) -> ImagePrediction:
    """What is told of an image, with a heat map picture for each of its labels where the model has response maps."""
    from pipeline.reporting.pictures import overlay, png, shrink

    heat_maps: list[str | None] = [None] * len(scored.best)
    if scored.picture is not None and scored.responses is not None:
        small = shrink(scored.picture, _PICTURE_PX)
        for rank, label in enumerate(scored.best):
            name = f"{number:04d}-{_slug(Path(scored.path).stem)}-{rank + 1}-{_slug(names[label])}.png"
            pictures.write(name, png(overlay(small, scored.responses[rank])))
            heat_maps[rank] = pictures.shown(name)
    best = zip(scored.best, scored.scores, heat_maps, strict=True)
    labels = [LabelScore(names[label], score, heat_map) for label, score, heat_map in best]
    return ImagePrediction(scored.path, scored.status, scored.error, labels)


def _slug(text: str) -> str:
    """A text as part of a file name, of which file systems take 255 bytes."""
    return _UNSAFE.sub("-", text).strip("-.").encode()[:_SLUG_BYTES].decode(errors="ignore") or "x"
