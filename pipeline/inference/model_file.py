"""model.safetensors: weights and how to build the model they belong to, equal to the byte for equal training."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.files.inputs import Inputs
from pipeline.files.storage import Storage
from pipeline.models import MODELS
from pipeline.models.sizes import FeatureSizes
from schemas.command import Command
from schemas.config import ModelConfig
from schemas.errors import IntegrityError, PipelineError

# One key with one JSON document: safetensors writes several keys in an order that changes from process to process.
METADATA_KEY = "biam_pipe"


@dataclass(frozen=True)
class SavedModel:
    """A trained model.

    Attributes:
        model: in evaluation mode, on the CPU.
        config: how it was built.
        sizes: what its inputs look like.
    """

    model: nn.Module
    config: ModelConfig
    sizes: FeatureSizes


def detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU in plain row-major layout, as safetensors wants them."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }


def save_model(
    storage: Storage, path: str, weights: Mapping[str, Tensor], config: ModelConfig, sizes: FeatureSizes
) -> None:
    """Commit a model file. It holds no time, host or recipe: equal weights give equal bytes."""
    document = {"model": config.model_dump(mode="json"), "sizes": asdict(sizes)}
    with storage.commit(path) as temporary:
        save_file(detached(weights), temporary, metadata={METADATA_KEY: json.dumps(document, sort_keys=True)})


def load_model(path: Path) -> SavedModel:
    """The model of a file that `save_model` wrote.

    Raises:
        IntegrityError: the file is damaged, or no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads(file.metadata()[METADATA_KEY])
            names = file.keys()
            weights = {name: file.get_tensor(name) for name in names}
        config, sizes = ModelConfig(**document["model"]), FeatureSizes(**document["sizes"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{path} is no model of ours ({type(error).__name__}: {error})",
            expected="what biam-pipe train writes",
            hint="Remove it and run:",
            run=Command("train"),
        ) from error
    model: nn.Module = MODELS.load(config.name).build(config, sizes)
    model.load_state_dict(weights)
    return SavedModel(model.eval(), config, sizes)


def trained_model(inputs: Inputs, sizes: FeatureSizes) -> SavedModel:
    """The model that training left, its file compared with the receipt.

    Args:
        inputs: what training left.
        sizes: of the features and label vectors that it is to score.

    Raises:
        PipelineError: there is none, or it was trained for others.
        IntegrityError: its file is damaged.
    """
    path = inputs.path("train", "model")
    saved = load_model(path)
    if saved.sizes != sizes:
        raise PipelineError(
            f"{path} was trained for {saved.sizes}, the features and label vectors are {sizes};",
            expected="the same",
            run=Command("train", dataset=inputs.dataset),
        )
    return saved
