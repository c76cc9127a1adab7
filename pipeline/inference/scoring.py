"""Scores of the images of a selection, batch by batch."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.batches.feature_cache import ImageSet
from pipeline.batches.order import sequential
from pipeline.batches.selection import Selection
from pipeline.batches.shards import FeatureShards
from pipeline.batches.stream import Batch, batches
from pipeline.metrics.computing import sorted_rows

# Blocks of rows read at a time where order does not matter: enough to read ahead, 27 MB at the defaults.
_BLOCKS_AT_ONCE = 4


@dataclass(frozen=True)
class Scorer:
    """A model ready to score.

    Attributes:
        model: on its device.
        label_vectors: [label, word], on the same device; the columns of the scores.
        features: where the maps come from, read for those that the model takes.
        batch_images: images of a batch at most.
        check: called between batches with the images done so far; raises to stop.
    """

    model: nn.Module
    label_vectors: Tensor
    features: FeatureShards
    batch_images: int
    check: Callable[[int], None]

    def stream(self, images: ImageSet | Selection) -> Generator[tuple[Batch, NDArray[np.float32]]]:
        """Batches of a selection, in its order, each with its scores [image, label].

        The model is in evaluation mode meanwhile, and back in its own after.
        """
        training = self.model.training
        self.model.eval()
        image_set = images if isinstance(images, ImageSet) else ImageSet(images)
        order = sequential(image_set.selection.block, _BLOCKS_AT_ONCE, self.batch_images)
        done = 0
        try:
            with closing(batches(self.features, image_set, order)) as stream:
                for batch in stream:
                    yield batch, self._scores(batch)
                    done += len(batch)
                    if done < len(images):
                        self.check(done)
        finally:
            self.model.train(training)

    @torch.no_grad()
    def of_labels(self, function: str, batch: Batch, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """What a function of the network says of some labels in each image of a batch: [image, label, ...].

        Args:
            function: `response_maps`, `by_attention` or `label_features`, as `pipeline.models.contract` tells them.
            columns: of the labels.
        """
        wanted = self.label_vectors[torch.from_numpy(columns).to(self.label_vectors.device)]
        found: Tensor = getattr(self.model, function)(*inputs(batch, wanted.device), wanted)
        return found.float().cpu().numpy()

    @torch.no_grad()
    def _scores(self, batch: Batch) -> NDArray[np.float32]:
        scores: Tensor = self.model(*inputs(batch, self.label_vectors.device), self.label_vectors)
        return scores.float().cpu().numpy()


def inputs(batch: Batch, device: torch.device) -> tuple[Tensor, ...]:
    """The maps of a batch on a device, in the type of the store: models cast by themselves."""
    return tuple(torch.as_tensor(values).to(device) for values in batch.maps)


def sorted_on(device: torch.device) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """What sorts each row of a matrix ascending: the device, or NumPy where that is the CPU. Both give equal bits."""
    return sorted_rows if device.type == "cpu" else partial(sorted_by_torch, device)


def sorted_by_torch(device: torch.device, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row ascending, by a device."""
    return torch.from_numpy(rows).to(device).sort(dim=1).values.cpu().numpy()
