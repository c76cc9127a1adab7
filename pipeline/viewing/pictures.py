"""Pictures of images as JPEG, and where a run's model sees a label in one; made when they are looked at."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from pipeline.images.picture import picture
from pipeline.viewing.gallery import Shown
from pipeline.viewing.world import Left
from schemas.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SIDES_PX = (240, 640)  # of pictures in the grid, and of one alone
_KEPT_BYTES = 32 * 2**20


@dataclass
class Pictures:
    """Makes pictures, and keeps the last ones in memory."""

    _kept: "OrderedDict[Hashable, bytes]" = field(default_factory=OrderedDict)
    _size_bytes: int = 0
    _lock: Lock = field(default_factory=Lock)
    _model: "Model | None" = None
    _model_lock: Lock = field(default_factory=Lock)

    def photo(self, left: Left, image: Shown, side_px: int) -> bytes | str:
        """The picture of an image as JPEG, or why there is none."""
        from pipeline.reporting.heat import jpeg_bytes, shrunk

        def made() -> bytes | str:
            found = _picture(left, image)
            return found if isinstance(found, str) else jpeg_bytes(shrunk(found, side_px))

        return self._kept_or(("photo", _stands(left, image), side_px), made)

    def response(self, left: Left, image: Shown, label: int) -> bytes | str:
        """The picture with the response map of a label laid over, as JPEG, or why there is none.

        Args:
            label: label index.
        """
        from pipeline.reporting.heat import jpeg_bytes, laid_over, shrunk

        def made() -> bytes | str:
            found = _picture(left, image)
            if isinstance(found, str):
                return found
            try:
                response = self.model(left).response(image, label)
            except PipelineError as problem:
                return str(problem)
            if isinstance(response, str):
                return response
            return jpeg_bytes(laid_over(shrunk(found, SIDES_PX[-1]), response))

        return self._kept_or(("response", left.run, _stands(left, image), label), made)

    def model(self, left: Left) -> "Model":
        """The model of a run; the one that was looked at last stays in memory.

        Raises:
            PipelineError: nothing is trained, or it does not fit the features.
            IntegrityError: a file is damaged.
        """
        with self._model_lock:
            if self._model is None or self._model.left is not left:
                self._model = None  # before the next one needs memory
                self._model = Model.of(left)
            return self._model

    def _kept_or(self, key: Hashable, made: Callable[[], bytes | str]) -> bytes | str:
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        found = made()
        if isinstance(found, bytes):
            with self._lock:
                if key not in self._kept:
                    self._kept[key] = found
                    self._size_bytes += len(found)
                while self._size_bytes > _KEPT_BYTES:
                    self._size_bytes -= len(self._kept.popitem(last=False)[1])
        return found


def _stands(left: Left, image: Shown) -> tuple[Hashable, ...]:
    """What tells an image from one that takes its place later."""
    held = (stage for stage in ("index", "download") if left.inputs.has(stage, image.shard))
    receipts = (left.inputs.receipt(stage, image.shard) for stage in held)
    return (image.row, *(file.sha256 for receipt in receipts for file in receipt.files))


def _picture(left: Left, image: Shown) -> "Image.Image | str":
    place = {"image_id": image.image_id, "shard": image.shard, "row": image.row}
    try:
        return picture(left.inputs, place, left.config.extract.orientation, left.config.download.max_pixels)
    except PipelineError as problem:
        return str(problem)


@dataclass(frozen=True)
class Model:
    """A run's model with the features that it reads.

    Attributes:
        left: what its run left.
        features: read for its maps.
        network: in evaluation mode, on the CPU.
        space: labels by column.
        has_response_maps: whether it tells where it sees a label.
    """

    left: Left
    features: Any
    network: Any
    space: Any
    has_response_maps: bool
    _lock: Lock = field(default_factory=Lock, repr=False)

    @classmethod
    def of(cls, left: Left) -> "Model":
        """The one of a run.

        Raises:
            PipelineError: nothing is trained, or it does not fit the features.
            IntegrityError: a file is damaged.
        """
        from pipeline.batches.label_space import read_label_space
        from pipeline.batches.shards import open_features
        from pipeline.inference.model_file import trained_model

        space, saved = read_label_space(left.inputs), trained_model(left.inputs)
        features = open_features(left.inputs).reading(saved.needs)
        saved.require(left.inputs, features.maps, (len(space), space.vectors.shape[1]))
        return cls(left, features, saved.model, space, saved.has_response_maps)

    def response(self, image: Shown, label: int) -> "NDArray[np.float32] | str":
        """Where the model sees a label, [height, width], or why nobody can tell.

        Raises:
            IntegrityError: the feature shard is damaged.
        """
        import numpy as np
        import torch

        if not self.has_response_maps:
            return "the model scores an image as a whole, so there is no map of where it sees a label"
        column = int(self.space.column_of[label]) if 0 <= label < len(self.space.column_of) else -1
        if column < 0:
            return "the label has no word vector, or takes no part, so the model does not score it"
        if image.shard not in self.features.numbers or image.status != "ok":
            return f"the image has no features ({image.status})"
        position = np.array([self.features.numbers.index(image.shard)], np.int32)
        maps = self.features.read(position, np.array([image.row], np.int32), self.features.maps, threads=1)
        with self._lock, torch.inference_mode():
            inputs = [torch.from_numpy(maps[spec.column]) for spec in self.features.maps]
            vectors = torch.from_numpy(self.space.vectors[column : column + 1])
            found: NDArray[np.float32] = self.network.response_maps(*inputs, vectors)[0, 0].float().numpy()
        return found
