"""What a model says of image files that no stage has seen: decoded, resized and extracted as stage `extract` does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pipeline.backbones.network import network
from pipeline.images.decode import decode, resize
from pipeline.images.local import read_local
from pipeline.images.on_device import decode_on_device, suits_device
from pipeline.images.problem import ImageProblem
from pipeline.machine.ahead import ahead
from pipeline.machine.device import cores
from pipeline.metrics.topk import top_labels
from pipeline.stores.batch import non_finite
from schemas.config import Config
from schemas.errors import PipelineError
from schemas.features import FeatureSpec, PreprocessSpec
from schemas.status import ImageStatus


@dataclass(frozen=True)
class ScoredImage:
    """An image file and what the model says of it; all but the first three are empty where the status is not `ok`.

    Attributes:
        path: of the file.
        status: as in the status column of a feature shard.
        error: what was found, where it is not `ok`.
        picture: the whole image, upright.
        pixels: the same, as the backbone takes it: [height, width, 3].
        best: columns of the label vectors with the largest scores, best first.
        scores: of those.
        responses: [label, height, width], the response maps of those.
    """

    path: str
    status: str
    error: str | None = None
    picture: Image.Image | None = None
    pixels: NDArray[np.uint8] | None = None
    best: Sequence[int] = ()
    scores: Sequence[float] = ()
    responses: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Predictor:
    """A backbone and a model, ready for files.

    Attributes:
        config: of the backbone, and of what images may be.
        spec: of the features that the model learnt from.
        model: in evaluation mode, on the device of the label vectors.
        label_vectors: [label, word].
    """

    config: Config
    spec: FeatureSpec
    model: nn.Module
    label_vectors: Tensor

    def predict(self, paths: Sequence[str], top: int) -> Iterator[ScoredImage]:
        """Each file in order, with its `top` best labels. One that cannot be used has a status, and stops no other."""
        extract = self.config.extract
        backbone = network(self.config.backbone, extract, self.config.engine.threads)
        limit = 2 * backbone.batch_images * backbone.lanes  # one batch for each lane of the network, one in the making

        def computed(batch: Sequence[ScoredImage]) -> tuple[Sequence[ScoredImage], dict[str, NDArray[Any]]]:
            pixels = [image.pixels for image in batch if image.pixels is not None]
            return batch, backbone.run(pixels) if pixels else {}

        with ahead(self._opened, paths, extract.decode_threads or cores(), limit) as opened:
            batches = iter(lambda: list(islice(opened, backbone.batch_images)), [])
            with ahead(computed, batches, backbone.lanes, backbone.lanes + 1) as done:
                for batch, maps in done:
                    yield from self._batch(batch, top, maps)

    def _opened(self, path: str) -> ScoredImage:
        preprocess, limits = self.spec.preprocess, self.config.download
        if preprocess is None:
            raise PipelineError(
                "predict: the model's features were not made here, and nobody knows how their images were prepared "
                f"({self.spec.origin}); expected features from biam-pipe extract"
            )
        if Path(path).is_dir():
            return ScoredImage(path, str(ImageStatus.UNREADABLE_FILE), "a folder; the files in it are what is wanted")
        try:
            data = read_local(path, limits.max_bytes)
            picture = decode(data, preprocess.orientation, None, limits.max_pixels)
            pixels = self._pixels(data, picture, preprocess)
        except ImageProblem as problem:
            return ScoredImage(path, str(problem.status), str(problem))
        return ScoredImage(path, str(ImageStatus.OK), None, picture, pixels)

    def _pixels(self, data: bytes, picture: Image.Image, preprocess: PreprocessSpec) -> NDArray[np.uint8]:
        """Those that extraction gets of the file: Pillow's, or those of the device that decodes there."""
        size_px, device = preprocess.resize[0], self.config.extract.jpeg_device
        if device and suits_device(data, preprocess.orientation, None, self.config.download.max_pixels):
            (pixels,) = decode_on_device([data], size_px, device)
            if pixels is not None:
                return pixels
        return resize(picture, size_px)

    def _batch(self, batch: Sequence[ScoredImage], top: int, maps: dict[str, NDArray[Any]]) -> Iterator[ScoredImage]:
        """The same images, those that could be opened with what the model says."""
        row = 0
        for image in batch:
            if image.pixels is None:
                yield image
                continue
            yield self._scored(image, {column: values[row : row + 1] for column, values in maps.items()}, top)
            row += 1

    @torch.no_grad()
    def _scored(self, image: ScoredImage, maps: dict[str, NDArray[Any]], top: int) -> ScoredImage:
        if error := non_finite(maps).get(0):
            return ScoredImage(image.path, str(ImageStatus.NON_FINITE), error)
        device = self.label_vectors.device
        columns = (self.spec.map_with_role(role).column for role in ("region", "global"))
        inputs = [torch.from_numpy(maps[column]).to(device) for column in columns]
        scores = self.model(*inputs, self.label_vectors).cpu().numpy()
        best = top_labels(scores, top)[0]
        model: Any = self.model
        wanted = self.label_vectors[torch.from_numpy(best).to(device)]
        responses = model.response_maps(*inputs, wanted)[0].float().cpu().numpy()
        return replace(image, best=best.tolist(), scores=scores[0, best].tolist(), responses=responses)
