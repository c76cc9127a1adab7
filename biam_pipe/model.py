"""A trained model, applied to images of which no stage knows."""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from biam_pipe.runs import find_run
from pipeline import flow
from pipeline.batches.label_space import LabelSpace, read_label_space
from pipeline.commands.predict import feature_spec
from pipeline.commands.prediction.labels import asked_labels
from pipeline.engine.graph import Graph, inputs_of, resolve
from pipeline.engine.ledger import Ledger, files_left
from pipeline.engine.sources import Sources
from pipeline.files.inputs import Inputs, OutputFile
from pipeline.files.scratch import own_temporaries
from pipeline.inference.determinism import repeatable
from pipeline.inference.model_file import SavedModel, trained_model
from pipeline.inference.predictor import Predictor, ScoredImage
from pipeline.machine.device import resolve_device
from pipeline.net.fetch import fetching
from pipeline.settings.layers import config_class
from schemas.config import Config
from schemas.errors import UsageError
from schemas.features import FeatureSpec

_READER = "load_model"
_SETTINGS = {"config": OutputFile("{folder}/config.toml")}


@dataclass(frozen=True)
class Scores:
    """What a model says of one image.

    Attributes:
        image: as it was given.
        status: `ok`, or why there are no scores.
        error: what was found, where it is not `ok`.
        scores: by label, in the order asked for: larger means more likely. They compare within an image and are no
            probabilities. Empty where the status is not `ok`.
    """

    image: str
    status: str
    error: str | None
    scores: dict[str, float] = field(default_factory=dict)

    def best(self, number: int = 5) -> list[tuple[str, float]]:
        """The labels with the largest scores, best first."""
        return sorted(self.scores.items(), key=lambda pair: -pair[1])[:number]


@dataclass(frozen=True)
class _Trained:
    """What a run is, from its folder and those of the stages before it.

    Attributes:
        config: the settings of the run.
        graph: of the stages that led to it.
        left: what they left.
        saved: the model and how it was built.
        spec: of the features that it learnt from.
        space: labels of the data set that have a vector, seen ones first.
    """

    config: Config
    graph: Graph
    left: Inputs
    saved: SavedModel
    spec: FeatureSpec
    space: LabelSpace


class Model:
    """A trained model with its backbone and word vectors; made by `load_model`."""

    def __init__(self, trained: _Trained) -> None:
        """Use `load_model`."""
        self._trained = trained

    @property
    def path(self) -> Path:
        """The model file."""
        return self._trained.saved.file

    @property
    def name(self) -> str:
        """Name of the model, such as `biam`."""
        return self._trained.saved.config.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the data set, seen ones first: what `predict` scores where no words are given."""
        return self._trained.space.name

    @property
    def seen(self) -> tuple[str, ...]:
        """Those that training saw."""
        return self.labels[: self._trained.space.num_seen]

    @property
    def spec(self) -> FeatureSpec:
        """Of the features that it learnt from."""
        return self._trained.spec

    def predict(self, images: Sequence[str | Path], words: Sequence[str] | None = None) -> list[Scores]:
        """Score words in images, as `biam-pipe predict` does. One that cannot be used has a status and stops no other.

        Args:
            images: paths of image files.
            words: any that have a vector where the model reads words, else labels that it learnt. None: `labels`.

        Raises:
            UsageError: no image or word is given, or the model cannot score a word.
            PipelineError: the backbone's weights, or the word vectors, are not those behind the model, or not here.
        """
        if isinstance(images, str | Path) or isinstance(words, str):
            raise UsageError("predict:", got="a single path or word", expected="lists of images and of words")
        if not images:
            raise UsageError("predict: no image given, expected at least one")
        trained, config = self._trained, self._trained.config
        with own_temporaries(), fetching(config.download):
            reads_words = trained.saved.reads_words
            asked = asked_labels(config, trained.left, trained.graph, words, reads_words=reads_words)
            if asked.unknown:
                raise UsageError(
                    "predict: words that the model cannot score:",
                    got=", ".join(map(repr, asked.unknown)),
                    expected="words with a vector, or labels that it learnt"
                    if reads_words
                    else "labels that it learnt",
                )
            feature_spec(config, trained.left)
            device = resolve_device(config.evaluate.device, "evaluate.device")
            with repeatable(config.evaluate.seed, config.engine.threads, device):
                predictor = Predictor(
                    config,
                    trained.spec,
                    tuple(map(trained.spec.map_named, trained.saved.needs)),
                    trained.saved.model.to(device),
                    torch.from_numpy(asked.vectors).to(device),
                    has_response_maps=False,
                    columns=asked.columns,
                )
                found = predictor.predict([os.fspath(image) for image in images], len(asked.names))
                return [_told(image, asked.names) for image in found]

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}: {self.name}, {len(self.seen)} seen of {len(self.labels)} labels)"


def load_model(run: str | Path) -> Model:
    """The model that a run trained. Its backbone is loaded at the first prediction.

    Args:
        run: the run's folder, such as `work/demo/runs/biam-released-77fa804c`, inside of its work folder; or a work
            folder, whose run that was trained last is meant.

    Raises:
        UsageError: there is no such run.
        PipelineError: the features or the label matrix of the run are not around it.
        IntegrityError: a file is not as it was written.
    """
    found = find_run(run, _READER, "train")
    own = files_left(Ledger(found.storage, "train", found.folder, "train.stage"), _SETTINGS)
    config = _config(Inputs(found.storage, _READER, {"train": own}).read("train", "config").decode())
    graph = resolve(flow.stages(config, Sources(found.storage, needed=False)), found.storage)
    graph["train"].place(found.folder)
    left = inputs_of(graph, _READER, {name: node.kept.values() for name, node in graph.items()})
    saved, space = trained_model(left), read_label_space(left)
    spec = FeatureSpec.model_validate_json(left.read("extract", "spec"))
    saved.require(left, tuple(map(spec.map_named, saved.needs)), (len(space), space.vectors.shape[1]))
    return Model(_Trained(config, graph, left, saved, spec, space))


def _config(text: str) -> Config:
    """The settings that a run keeps; those of later stages have their defaults."""
    settings = tomllib.loads(text)
    return config_class(settings["dataset"]["name"], settings["model"]["name"]).model_validate(settings)


def _told(image: ScoredImage, names: Sequence[str]) -> Scores:
    score_of = dict(zip(image.best, image.scores, strict=True))
    scores = {name: score_of[column] for column, name in enumerate(names)} if score_of else {}
    return Scores(image.path, image.status, image.error, scores)
