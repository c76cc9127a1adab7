"""What a model may look at before training: passes over images that it may know, and what scores are worth there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

import numpy as np
import torch
from torch import Tensor

from pipeline.batches.feature_cache import ImageSet
from pipeline.batches.order import sequential
from pipeline.batches.selection import BLOCK_ROWS
from pipeline.batches.stream import batches
from pipeline.inference.scoring import inputs, sorted_on
from pipeline.machine import stopping
from pipeline.machine.telling import counted, tell
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.computing import Computing
from pipeline.metrics.protocols import measure
from pipeline.metrics.score_table import ScoreTable
from pipeline.models.fitting import Fitting, Maps, Validation
from pipeline.training.loop import Material
from pipeline.training.validation import OpenTable
from schemas.features import MapSpec

# The larger a batch, the nearer a processor comes to what it can multiply; beyond its caches it waits for memory.
_BATCH_BYTES = 8 * 2**20
_LEAST, _MOST = 32, 1024
_LEAST_BLOCKS = 4  # read at once, as in scoring


def fitting(material: Material, open_table: OpenTable, seed: int) -> Fitting:
    """What `fit` of a model may use of this material, with a seed for what it draws."""
    device = material.label_vectors.device
    if device.type == "mps":  # it has no float64
        device = torch.device("cpu")

    size = batch_images(material.features.maps)

    def passed(images: ImageSet, doing: str) -> Iterator[tuple[Maps, Tensor]]:
        order = sequential(images.selection.block, max(_LEAST_BLOCKS, size // BLOCK_ROWS), size)
        done = 0
        with closing(batches(material.features, images, order)) as stream:
            for batch in stream:
                yield inputs(batch, device), torch.from_numpy(batch.codes).to(device)
                done += len(batch)
                tell(done, len(images), f"{doing} {counted(done, len(images), 'images')}")
                stopping.heed(None)  # a budget shorter than this would never suffice: it goes on to its end

    def validated(scored: Callable[[Maps], Sequence[Tensor]]) -> list[float]:
        tables: list[ScoreTable] = []
        with ExitStack() as stack:
            for maps, codes in passed(material.validation, "validating on"):
                for number, scores in enumerate(scored(maps)):
                    if number == len(tables):
                        opened = open_table(len(material.validation), scores.shape[1])
                        tables.append(stack.enter_context(opened))
                    tables[number].append(scores.cpu().numpy(), codes.cpu().numpy())
            computing = Computing(sort=sorted_on(device))
            return [measure("nuswide", "standard", table, (1,), computing).figures["map"] for table in tables]

    present, absent = material.train.selection.annotations.counts()
    return Fitting(
        words=material.label_vectors.to(device),
        present=torch.from_numpy(present).to(device),
        absent=torch.from_numpy(absent).to(device),
        train=lambda: passed(material.train, "fitting to"),
        validated=validated if len(material.validation) else None,
        seed=seed,
        validation=Validation(len(material.validation), lambda: passed(material.validation, "validating on"), mean_ap)
        if len(material.validation)
        else None,
        zero_shot=material.zero_shot,
        reading=lambda needs: fitting(material.reading(needs), open_table, seed),
    )


def mean_ap(scores: Tensor, codes: Tensor) -> float:
    """The mean over labels [image, label] that some image bears; NaN where none does."""
    found = average_precision(scores.cpu().numpy(), codes.cpu().numpy())
    occurring = found[~np.isnan(found)]
    return float(occurring.mean()) if len(occurring) else float("nan")


def batch_images(maps: Sequence[MapSpec]) -> int:
    """Images that are looked at together."""
    return min(_MOST, max(_LEAST, _BATCH_BYTES // sum(spec.size_bytes for spec in maps)))
