"""What a model says of image files that no stage has seen: mapped as stage `extract` maps its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from pipeline.inference.mapping import mapped
from pipeline.metrics.topk import top_labels
from schemas.config import Config
from schemas.errors import PipelineError
from schemas.features import FeatureSpec, MapSpec
from schemas.status import ImageStatus


@dataclass(frozen=True)
class ScoredImage:
    """An image file and what the model says of it; all but the first three are empty where the status is not `ok`.

    Attributes:
        path: of the file.
        status: as in the status column of a feature shard.
        error: what was found, where it is not `ok`.
        picture: the whole image, upright.
        best: columns of the label vectors with the largest scores, best first.
        scores: of those.
        responses: [label, height, width], the response maps of those; None where the model has none.
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
    """A backbone and a model, ready for files.

    Attributes:
        config: of the backbone, and of what images may be.
        spec: of the features that the model learnt from.
        maps: those of them that it reads, in its order.
        model: in evaluation mode, on the device of the label vectors.
        label_vectors: [label, word].
        has_response_maps: whether the model tells where it sees a label.
        columns: of the scores that count; None for all.
    """

    config: Config
    spec: FeatureSpec
    maps: Sequence[MapSpec]
    model: nn.Module
    label_vectors: Tensor
    has_response_maps: bool
    columns: Sequence[int] | None = None

    def predict(self, paths: Sequence[str], top: int) -> Iterator[ScoredImage]:
        """Each file in order, with its `top` best labels. One that cannot be used has a status, and stops no other."""
        extract = self.config.extract
        backbone = network(self.config.backbone, extract, self.config.engine.threads)
        with mapped(map(self._row, paths), backbone, self._pixel_options(), extract.decode_threads) as batches:
            for batch in batches:
                for image, maps in batch:
                    yield self._scored(image, maps, top)

    def _row(self, path: str) -> ImageRow:
        file = LocalFile(path, self.config.download.max_bytes)
        if Path(path).is_dir():
            error = "a folder; the files in it are what is wanted"
            return ImageRow(path, ImageStatus.UNREADABLE_FILE, error, file, None)
        return ImageRow(path, ImageStatus.OK, None, file, None)

    def _pixel_options(self) -> PixelOptions:
        preprocess = self.spec.preprocess
        if preprocess is None:
            raise PipelineError(
                "predict: the model's features were not made here, and nobody knows how their images were prepared "
                f"({self.spec.origin});",
                expected="features from biam-pipe extract",
            )
        return PixelOptions(
            preprocess.orientation,
            self.config.download.max_pixels,
            describe(self.config.backbone).fit(self.config.backbone),
            self.config.extract.jpeg_device,
            keep_picture=True,
        )

    @torch.no_grad()
    def _scored(self, image: ReadyImage, maps: dict[str, NDArray[Any]], top: int) -> ScoredImage:
        if image.status != ImageStatus.OK:
            return ScoredImage(image.image_id, str(image.status), image.error)
        device = self.label_vectors.device
        inputs = [torch.from_numpy(maps[spec.column]).to(device) for spec in self.maps]
        scores = self.model(*inputs, self.label_vectors).cpu().numpy()
        if self.columns is not None:
            scores = scores[:, self.columns]
        best = top_labels(scores, top)[0]
        responses = None
        if self.has_response_maps:
            model: Any = self.model
            wanted = self.label_vectors[torch.from_numpy(best).to(device)]
            responses = model.response_maps(*inputs, wanted)[0].float().cpu().numpy()
        return ScoredImage(
            image.image_id,
            str(image.status),
            picture=image.picture,
            best=best.tolist(),
            scores=scores[0, best].tolist(),
            responses=responses,
        )
