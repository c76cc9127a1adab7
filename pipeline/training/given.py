"""Weights that a file gives (`train.weights`), in place of training: a model of ours, or tensors by name."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.files.weights_file import Shape, WeightsFile, widened
from pipeline.inference.model_file import holds_model, load_model
from pipeline.models import MODELS, contract
from pipeline.models.sizes import FeatureSizes
from schemas.command import Command
from schemas.config import ModelSection
from schemas.errors import IntegrityError, UsageError
from schemas.features import MapSpec

logger = logging.getLogger("biam_pipe.train")

_SETTING, _INIT = "train.weights", "train.init_from"
_SOME_WORDS = (2, 3)  # sizes of word vectors that differ, and the shapes of what depends on them with them


def given_weights(
    path: Path, settings: ModelSection, maps: Sequence[MapSpec], word_size: int | None
) -> Mapping[str, Tensor]:
    """All that the network of these settings holds, out of a file.

    Args:
        path: `model.safetensors` of a run, or tensors under the network's own names or those of its publisher.
        settings: of the model. What shapes do not tell, such as heads, is as they say.
        maps: that the model reads, in the order of its needs.
        word_size: elements of a word vector; None where it is not known yet, and compared with nothing.

    Raises:
        PipelineError: the file is none of weights, or of another network.
        UsageError: it holds a model with other settings, or the model cannot be given weights.
    """
    model = MODELS.load(settings.name)
    file = WeightsFile(path, _SETTING, "train", f"model {settings.name!r} with these settings")
    if contract.has_label_weights(model):
        raise UsageError(
            f"setting {_SETTING}: model {settings.name} has weights for each label, and a file does not say which",
            expected="a model that scores labels by their words",
            hint="Train it instead:",
            run=Command("train", sets={_SETTING: None}),
        )
    if holds_model(path):
        return _of_ours(file, settings, maps, word_size)
    if hasattr(model, "fit"):
        raise file.refused("tensors alone", f"model.safetensors of a run: model {settings.name} is fitted to images")
    return _of_names(file, settings, maps, word_size)


def weights_of_run(path: Path, settings: ModelSection, maps: Sequence[MapSpec], word_size: int) -> Mapping[str, Tensor]:
    """All that the network of these settings holds, out of the model file of a run that training starts from.

    Raises:
        PipelineError: the file is damaged, or its model is of other sizes.
        UsageError: it holds a model with other settings.
    """
    file = WeightsFile(path, _INIT, "train", f"model {settings.name!r} with these settings")
    return _of_ours(file, settings, maps, word_size)


def _of_ours(
    file: WeightsFile, settings: ModelSection, maps: Sequence[MapSpec], word_size: int | None
) -> Mapping[str, Tensor]:
    """Those of a file that training wrote."""
    try:
        saved = load_model(file.path)
    except IntegrityError as error:
        raise file.refused(
            "a damaged model, or a checkpoint", "model.safetensors as biam-pipe train writes it"
        ) from error
    own, asked = saved.config.model_dump(mode="json"), settings.model_dump(mode="json")
    if other := {f"model.{key}": value for key, value in own.items() if asked.get(key) != value}:
        raise UsageError(
            f"{file.setting} = {file.path}: it holds a model with other settings;",
            found=", ".join(f"{key} {value!r}" for key, value in other.items()),
            expected=", ".join(repr(asked.get(key.partition(".")[2])) for key in other),
            run=Command("train", sets=other),
        )
    wanted = FeatureSizes.of(saved.needs, maps, word_size or saved.sizes.word_size)
    if saved.sizes != wanted:
        held, asked = (dict(sorted(sizes.as_json().items())) for sizes in (saved.sizes, wanted))
        raise file.refused(f"a model for {held}", f"one for {asked}")
    return saved.model.state_dict()


def _of_names(
    file: WeightsFile, settings: ModelSection, maps: Sequence[MapSpec], word_size: int | None
) -> Mapping[str, Tensor]:
    """Those of a file of tensors, floats widened to float32."""
    model, found = MODELS.load(settings.name), file.read()
    shapes = _shapes(settings, maps, word_size)
    names = {name: name for name in shapes}
    if found.keys().isdisjoint(names):
        names = dict(contract.published_names(model, list(shapes)))
    file.require_fit({names[own]: shape for own, shape in shapes.items()}, found)
    weights = {own: found[name] for own, name in names.items()}
    for own, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise file.refused(f"{names[own]!r} with numbers that are not finite", "finite ones")
    return widened(weights)


def _shapes(settings: ModelSection, maps: Sequence[MapSpec], word_size: int | None) -> Mapping[str, Shape]:
    """Shapes of all that the network holds, with None for lengths that depend on a word size that is not known."""
    model, built = MODELS.load(settings.name), []
    for size in (word_size,) if word_size else _SOME_WORDS:
        with torch.device("meta"):
            network = model.build(settings, FeatureSizes.of(model.needs(settings), maps, size))
        built.append({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})
    first, last = built[0], built[-1]
    return {
        name: tuple(length if length == other else None for length, other in zip(shape, last[name], strict=True))
        for name, shape in first.items()
    }
