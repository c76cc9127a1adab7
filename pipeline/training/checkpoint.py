"""Everything needed to go on with a training run, in one file that is either the old one or the new one.

One file and not several, so that weights, optimiser, random state, position and best weights so far can never stem from
different moments: a kill at any time leaves the last checkpoint whole.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from pipeline.files import own_hash
from pipeline.files.storage import Storage
from pipeline.inference.model_file import METADATA_KEY, detached
from schemas.errors import IntegrityError

logger = logging.getLogger("biam_pipe.train")

_LENGTH_BYTES = 8  # of the header of a safetensors file, little-endian, before the header


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: epochs that are finished, validation included.
        batch: batches finished of the epoch in progress.
        step: optimiser steps since the start.
        loss_sum: of the epoch in progress, summed over its images so far.
        images: of the epoch in progress.
        seconds: spent on the epoch in progress.
        rate: learning rate of the epoch in progress.
        validation: what the validation of the epoch in progress found, None before there is one.
        best_epoch: finished epoch (counted from 1) with the best validation score so far, None before there is one.
        best_score: its score.
        without_better: validations since then.
        full_from: epochs that were finished when training on all images began, None before.
        history: one entry for each finished epoch, as in history.json.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    validation: dict[str, float] | None = None
    best_epoch: int | None = None
    best_score: float | None = None
    without_better: int = 0
    full_from: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def next_epoch(self) -> None:
        """The epoch in progress is finished."""
        self.epoch, self.batch, self.images = self.epoch + 1, 0, 0
        self.loss_sum, self.seconds, self.validation = 0.0, 0.0, None


@dataclass(frozen=True)
class Learner:
    """What a checkpoint holds besides the position: it is filled in place when one is restored.

    Attributes:
        model: on its device.
        optimizer: of the model's parameters.
        best: weights with the best validation score so far, on the CPU; empty before there are any.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor] = field(default_factory=dict)


def save(storage: Storage, path: str, fingerprint: str, learner: Learner, progress: Progress) -> None:
    """Commit a checkpoint.

    Args:
        storage: the data set's folder.
        path: of the checkpoint, below it.
        fingerprint: of the task: only the same one may go on from here.
        learner: model, optimiser, best weights.
        progress: the position.
    """
    document = {"fingerprint": fingerprint, "progress": asdict(progress), "hash": own_hash.BLANK}
    with storage.commit(path) as temporary:
        save_file(_tensors(learner), temporary, metadata={METADATA_KEY: json.dumps(document, sort_keys=True)})
        own_hash.fill(temporary, path)


def left_by(storage: Storage, path: str) -> str | None:
    """Fingerprint of the task that left a checkpoint; None where there is none, or none that can be read."""
    try:
        return str(_document(storage.read(path))["fingerprint"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def restore(storage: Storage, path: str, fingerprint: str, learner: Learner) -> Progress | None:
    """Fill a learner and torch's random state from a checkpoint.

    Returns:
        The position to go on from, or None where there is no checkpoint, or one of other work or without a hash.

    Raises:
        IntegrityError: the file is damaged.
    """
    if not storage.exists(path):
        return None
    data = storage.read(path)
    try:
        document = _document(data)
        whole = own_hash.is_whole(data, path)
        if whole is None and "hash" not in document:
            logger.warning("%s carries no hash of its own: nobody can tell whether it is whole; starting anew", path)
            return None
        if not whole:
            raise _damaged(storage, path, "its bytes are not those of the hash in it")
        if document["fingerprint"] != fingerprint:
            return None
        _fill(learner, load(data))
        return Progress(**document["progress"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:  # another version wrote it
        raise _damaged(storage, path, f"{type(error).__name__}: {error}") from error


def _document(data: bytes) -> dict[str, Any]:
    """What a checkpoint says of itself in the header of its file."""
    header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")])
    document: dict[str, Any] = json.loads(header["__metadata__"][METADATA_KEY])
    return document


def _damaged(storage: Storage, path: str, damage: str) -> IntegrityError:
    return IntegrityError(
        f"the checkpoint {storage.shown(path)} is damaged ({damage}), expected a whole safetensors file. "
        "Remove it and run the same command again: training then starts from the first epoch"
    )


def _tensors(learner: Learner) -> dict[str, Tensor]:
    """All state as named tensors on the CPU."""
    tensors = {f"model/{name}": value for name, value in detached(learner.model.state_dict()).items()}
    for number, state in learner.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in detached(state).items()}
    tensors |= {f"best/{name}": value for name, value in learner.best.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    device = _device(learner)
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def _fill(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    learner.model.load_state_dict(_below(tensors, "model/"))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _below(tensors, "optimizer/").items():
        number, key = name.split("/", 1)
        state.setdefault(int(number), {})[key] = value
    learner.optimizer.load_state_dict({"state": state, "param_groups": learner.optimizer.state_dict()["param_groups"]})
    learner.best.clear()
    learner.best.update(_below(tensors, "best/"))
    torch.set_rng_state(tensors["random/cpu"])
    device = _device(learner)
    if device.type == "cuda" and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"], device)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _device(learner: Learner) -> torch.device:
    return next(learner.model.parameters()).device
