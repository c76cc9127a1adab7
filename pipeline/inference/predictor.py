"""What a model says of images that no stage has seen: mapped as stage `extract` maps its own."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pipeline.backbones import describe
from pipeline.backbones.network import network
from pipeline.images.local import LocalFile
from pipeline.images.ready import ImageRow, PixelOptions, ReadyImage
from pipeline.inference.mapping import Mapped, mapped
from pipeline.inference.web_images import fetched
from pipeline.metrics.topk import top_labels
from schemas.config import Config
from schemas.errors import PipelineError
from schemas.features import FeatureSpec, MapSpec
from schemas.status import ImageStatus


@dataclass(frozen=True)
class ScoredImage:
    """An image and what the model says of it; all but the first three are empty where the status is not `ok`.

    Attributes:
        path: of the file, or its address.
        status: as in the status column of a feature shard.
        error: what was found, where it is not `ok`.
        picture: the whole image, upright; None where nobody wants it.
        best: columns of the label vectors with the largest scores, best first.
        scores: of those.
        responses: [label, height, width], the response maps of those; None where there are none.
    """

    path: str
    status: str
    error: str | None = None
    picture: Image.Image | None = None
    best: Sequence[int] = ()
    scores: Sequence[float] = ()
    responses: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Predictor:
    """A backbone and a model, ready for images.

    Attributes:
        config: of the backbone, and of what images may be.
        spec: of the features that the model learnt from.
        maps: those of them that it reads, in its order.
        model: in evaluation mode, on the device of the label vectors.
        label_vectors: [label, word].
        has_response_maps: whether the model tells where it sees a label, and somebody wants that.
        columns: of the scores that count; None for all.
    """

    config: Config
    spec: FeatureSpec
    maps: Sequence[MapSpec]
    model: nn.Module
    label_vectors: Tensor
    has_response_maps: bool
    columns: Sequence[int] | None = None

    def predict(self, paths: Iterable[str], top: int, *, pictures: bool = False) -> Generator[ScoredImage]:
        """Each image in order, with its `top` best labels. One that cannot be used has a status, and stops no other.

        Args:
            paths: of files, or addresses.
            pictures: whether the whole image is wanted, too.
        """
        extract = self.config.extract
        backbone = network(self.config.backbone, extract, self.config.engine.threads)
        pixels = self._pixel_options(keep_picture=pictures)
        with (
            fetched(map(self._row, paths), self.config.download) as found,
            mapped(found, backbone, pixels, extract.decode_threads) as batches,
        ):
            for batch in batches:
                yield from self._scored(batch, top)

    def _row(self, path: str) -> ImageRow:
        return ImageRow(path, ImageStatus.OK, None, LocalFile(path, self.config.download.max_bytes), None)

    def _pixel_options(self, *, keep_picture: bool) -> PixelOptions:
        if self.spec.preprocess is None:
            raise PipelineError(
                "predict: the model's features were not made here, and nobody knows how their images were prepared "
                f"({self.spec.origin});",
                expected="features from biam-pipe extract",
            )
        fit = describe(self.config.backbone).fit(self.config.backbone)
        return PixelOptions.of(self.config.extract, self.config.download.max_pixels, fit, keep_picture=keep_picture)

    @torch.no_grad()
    def _scored(self, batch: Mapped, top: int) -> Iterator[ScoredImage]:
        good = [row for row, image in enumerate(batch.images) if image.status == ImageStatus.OK]
        device = self.label_vectors.device
        inputs = [torch.from_numpy(batch.maps[spec.column][good]).to(device) for spec in self.maps]
        scores = np.empty((0, 0), np.float32)
        if good:
            scores = self.model(*inputs, self.label_vectors).float().cpu().numpy()
            scores = scores if self.columns is None else scores[:, self.columns]
        best = top_labels(scores, top) if good else ()
        numbers = {row: number for number, row in enumerate(good)}
        for row, image in enumerate(batch.images):
            if row not in numbers:
                yield ScoredImage(image.image_id, str(image.status), image.error)
                continue
            at = numbers[row]
            own = [values[at : at + 1] for values in inputs]
            responses = self._responses(own, best[at]) if self.has_response_maps else None
            yield _found(image, best[at], scores[at], responses)

    def _responses(self, inputs: Sequence[Tensor], best: NDArray[np.int64]) -> NDArray[np.float32]:
        columns = best if self.columns is None else np.asarray(self.columns)[best]
        vectors = self.label_vectors[torch.from_numpy(columns).to(self.label_vectors.device)]
        model: Any = self.model
        found: NDArray[np.float32] = model.response_maps(*inputs, vectors)[0].float().cpu().numpy()
        return found


def _found(
    image: ReadyImage, best: NDArray[np.int64], scores: NDArray[np.float32], responses: NDArray[np.float32] | None
) -> ScoredImage:
    return ScoredImage(
        image.image_id,
        str(image.status),
        picture=image.picture,
        best=best.tolist(),
        scores=scores[best].tolist(),
        responses=responses,
    )
