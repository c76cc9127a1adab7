"""The picture of an image of a work folder, for people to look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.files.inputs import Inputs
from pipeline.images.rows import address
from schemas.command import Command
from schemas.errors import IntegrityError
from schemas.tables import FEATURES_SOURCE, LOCAL_SOURCE

if TYPE_CHECKING:
    from PIL import Image

_FEATURES_ONLY = "the data set came as features, without images."
_DROPPED = "it was dropped once its features were there (images.keep = false)."


def picture(
    inputs: Inputs, image: Mapping[str, Any], orientation: Literal["exif", "dataset", "none"], max_pixels: int
) -> "Image.Image | str":
    """An image's picture, upright, or why it cannot be shown.

    Args:
        inputs: what index and download left.
        image: its `image_id`, `shard`, and `row` there.
        orientation: as for the features, so that maps lie over what the network saw.
        max_pixels: pictures with more are not decoded.

    Raises:
        IntegrityError: another image stands in that place, or a file is damaged.
    """
    from pipeline.images.decode import decode
    from pipeline.images.problem import ImageProblem

    index = _row(inputs, "index", "index", image)
    dropped = inputs.pruned("download", "images", image["shard"])
    try:
        stored = None if dropped else _row(inputs, "download", "images", image)["data"]
        data = _local_bytes(index) if stored is None else stored
        return decode(data, orientation, index["rotation"], max_pixels)
    except FileNotFoundError:
        if address(index["locations"], FEATURES_SOURCE) is not None:
            return _FEATURES_ONLY
        return _DROPPED if dropped else "its bytes are no longer there."
    except OSError as problem:
        return f"its file cannot be read ({problem.strerror})."
    except ImageProblem as problem:
        return f"{problem.status} ({problem})."


def _row(inputs: Inputs, stage: str, name: str, image: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an image in a table of its shard.

    Raises:
        IntegrityError: another image stands in that place.
    """
    found = inputs.row(stage, name, image["shard"], image["row"])
    if found["image_id"] != image["image_id"]:
        raise IntegrityError(
            f"row {image['row']} of {inputs.file(stage, name, image['shard']).path} is {found['image_id']!r}",
            expected=repr(image["image_id"]),
            run=Command("verify", dataset=inputs.dataset),
        )
    return found


def _local_bytes(index: Mapping[str, Any]) -> bytes:
    """Bytes of an image that was referenced, not copied."""
    path = address(index["locations"], LOCAL_SOURCE)
    if path is None:
        raise FileNotFoundError("neither stored nor on a local disk")
    return Path(path).read_bytes()
