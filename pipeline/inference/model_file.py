"""model.safetensors: weights and how to build the model they belong to, equal to the byte for equal training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.files.damages import DAMAGES
from pipeline.files.inputs import Inputs
from pipeline.files.refusals import refusal_to_read
from pipeline.files.storage import Storage
from pipeline.models import MODELS
from pipeline.models.contract import has_response_maps, put, reads_words
from pipeline.models.sizes import FeatureSizes
from schemas.command import Command
from schemas.config import ModelSection
from schemas.errors import IntegrityError, PipelineError
from schemas.features import MapSpec

# One key with one JSON document: safetensors writes several keys in an order that changes from process to process.
METADATA_KEY = "biam_pipe"

_FITTED_ELEMENTS = 2**24  # of buffers that stand in a file with other shapes than they were built with: 64 MB
_SHOWN = 300  # characters of what a library says of a damaged file


@dataclass(frozen=True)
class SavedModel:
    """A trained model.

    Attributes:
        model: in evaluation mode, on the CPU.
        config: how it was built.
        sizes: what its inputs look like.
        file: where it lies, for error texts.
    """

    model: nn.Module
    config: ModelSection
    sizes: FeatureSizes
    file: Path

    @property
    def needs(self) -> Sequence[str]:
        """The maps it reads, by role or column."""
        return tuple(MODELS.load(self.config.name).needs(self.config))

    @property
    def tasks(self) -> Sequence[str]:
        """Sections of metrics.json that it can be measured in."""
        return MODELS.load(self.config.name).TASKS

    @property
    def has_response_maps(self) -> bool:
        """Whether `model.response_maps` tells where in an image it sees a label."""
        return has_response_maps(MODELS.load(self.config.name))

    @property
    def reads_words(self) -> bool:
        """Whether it scores any labels by their words; else those that it learnt, in their order."""
        return reads_words(MODELS.load(self.config.name))

    def require(self, inputs: Inputs, maps: Sequence[MapSpec], words: tuple[int, int]) -> None:
        """See that it can score features with these maps, which are those of `needs`, and so many words of this size.

        Raises:
            PipelineError: it was trained for others.
        """
        labels, word_size = words
        given = FeatureSizes.of(self.needs, maps, word_size, self.sizes.labels if self.reads_words else labels)
        if self.sizes != given:
            raise PipelineError(
                f"{self.file} was trained for {self.sizes}, the features and label vectors are {given};",
                expected="the same",
                run=Command("train", dataset=inputs.dataset),
            )


def detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU in plain row-major layout, as safetensors wants them."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }


def save_model(
    storage: Storage, path: str, weights: Mapping[str, Tensor], config: ModelSection, sizes: FeatureSizes
) -> None:
    """Commit a model file. It holds no time, host or recipe: equal weights give equal bytes."""
    document = {"model": config.model_dump(mode="json"), "sizes": sizes.as_json()}
    with storage.commit(path) as temporary:
        save_file(detached(weights), temporary, metadata={METADATA_KEY: json.dumps(document, sort_keys=True)})


def holds_model(path: Path) -> bool:
    """Whether a file says that `save_model`, or a checkpoint of ours, wrote it."""
    try:
        with safe_open(path, framework="pt") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (*DAMAGES, SafetensorError):
        return False


def load_model(path: Path) -> SavedModel:
    """The model of a file that `save_model` wrote.

    Raises:
        IntegrityError: the file is damaged, or no such file.
    """
    try:
        return _loaded(path)
    except (*DAMAGES, SafetensorError) as error:
        if (refused := refusal_to_read(error, path)) is not None:
            raise refused from error
        raise IntegrityError(
            f"{path} is no model of ours ({type(error).__name__}: {str(error)[:_SHOWN]})",
            expected="what biam-pipe train writes",
            hint="Remove it and run:",
            run=Command("train"),
        ) from error


def _loaded(path: Path) -> SavedModel:
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()[METADATA_KEY])
        names = file.keys()
        weights = {name: file.get_tensor(name) for name in names}
    module = MODELS.load(document["model"]["name"])
    config, sizes = module.SETTINGS(**document["model"]), FeatureSizes.from_json(document["sizes"])
    with torch.device("meta"):  # takes no memory: what a file asks for is in proportion to what it holds
        asked = _num_elements(module.build(config, sizes).state_dict())
    if asked > _num_elements(weights) + _FITTED_ELEMENTS:
        raise ValueError(f"it asks for {asked} weights and holds {_num_elements(weights)}")
    model: nn.Module = module.build(config, sizes)
    put(model, {name: weights[name] for name, _ in model.named_buffers() if name in weights})
    model.load_state_dict(weights)
    return SavedModel(model.eval(), config, sizes, path)


def _num_elements(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def trained_model(inputs: Inputs) -> SavedModel:
    """The model that training left, its file compared with the receipt.

    Raises:
        PipelineError: there is none.
        IntegrityError: its file is damaged.
    """
    return load_model(inputs.path("train", "model"))
