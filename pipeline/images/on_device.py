"""Ordinary JPEGs to the backbone's input size on the network's device: torchvision decodes many at once, torch resizes.

On CUDA torchvision hands them to nvJPEG. Pixels are not those of Pillow, nor those of another device, so a recipe names
the device, and Pillow's way stays the default. What is no ordinary upright JPEG takes Pillow's way here, too, and so
does a file that this decoder refuses: statuses are Pillow's.
"""

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from pipeline.images import decode, resize
from pipeline.images.decode import Orientation
from pipeline.images.header import opened
from pipeline.machine.device import first_line, is_out_of_memory
from schemas.command import Command
from schemas.errors import PipelineError
from schemas.fit import Fit, Interpolation, Resizer

if TYPE_CHECKING:
    import torch

_WHITE = 255
_RGB_COMPONENTS = [*b"RGB"]  # libjpeg takes these identifiers for colours, other decoders may not


def decoder(device: str | None) -> str:
    """Name of what decodes, for recipe and spec; None is Pillow alone."""
    return (
        decode.DECODER if device is None else f"torchvision on {_type(device)} (upright JPEGs), else {decode.DECODER}"
    )


def interpolation(name: Interpolation, device: str | None, by: Resizer) -> str:
    """What resizes what `decoder` decodes, by this filter.

    Args:
        by: what resizes the images that Pillow decodes.
    """
    if device is None:
        return resize.interpolation(name, by)
    return f"{name}, torch float32 (upright JPEGs)" + (f", else {by}" if by != "pillow" else "")


def suits_device(data: bytes, orientation: Orientation, rotation: int | None, max_pixels: int) -> bool:
    """Whether a file is an ordinary JPEG, RGB or grey, that stands upright already; no pixel is decoded.

    Args:
        orientation: as of `decode.decode`, like the others.

    Raises:
        ImageProblem: as `header.inspect` raises.
    """
    with opened(data, max_pixels) as file:
        image = file.image
        # One cut off has no end: Pillow calls it broken, where other decoders may fill up with grey.
        whole = isinstance(image, JpegImagePlugin.JpegImageFile) and data.endswith(decode.JPEG_END)
        if not whole or file.several_pictures:
            return False
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        if orientation == "exif":
            return _colours_are_usual(image) and file.orientation == 1
        return _colours_are_usual(image) and (orientation == "none" or not rotation)


def _colours_are_usual(image: JpegImagePlugin.JpegImageFile) -> bool:
    stored_as_rgb = image.info.get("adobe_transform") == 0 or [one[0] for one in image.layer] == _RGB_COMPONENTS
    return image.mode == "L" or (image.mode == "RGB" and not stored_as_rgb)


def decode_on_device(jpegs: Sequence[bytes], fit: Fit, device: str) -> list[NDArray[np.uint8] | None]:
    """Each JPEG as [height, width, channel] of the size of `fit`; None for one that the decoder refuses.

    Resized by torch's filter with antialias in float32, then rounded to the nearest integer, halves to even. Where the
    middle is cut out, it begins and ends at whole pixels of the JPEG.

    Args:
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        PipelineError: nothing is decoded there at all, or memory does not hold a single image.
    """
    import torch

    require_decoder(device)
    try:
        return [*_resized(jpegs, fit, device)]
    except torch.AcceleratorError:  # the device is lost, not an image
        raise
    except (RuntimeError, MemoryError) as error:  # of one image, which is not named
        if len(jpegs) > 1:
            middle = len(jpegs) // 2
            return [
                pixels for half in (jpegs[:middle], jpegs[middle:]) for pixels in decode_on_device(half, fit, device)
            ]
        if is_out_of_memory(error):
            raise PipelineError(
                f"extract: {device} has not enough memory to decode one image ({first_line(error)})",
                hint="Close other programs, or run with:",
                run=Command(sets={"extract.decoder": "pillow"}),
            ) from error
        return [None]


def _resized(jpegs: Sequence[bytes], fit: Fit, device: str) -> NDArray[np.uint8]:
    import torch
    from torch.nn.functional import interpolate
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in jpegs]
    small = [
        interpolate(_seen(image, fit)[None].float(), fit.size_px, mode=fit.interpolation, antialias=True)
        .round()
        .clamp(0, _WHITE)  # bicubic swings beyond
        for image in decode_jpeg(encoded, ImageReadMode.RGB, device=device)
    ]
    pixels: NDArray[np.uint8] = torch.cat(small).permute(0, 2, 3, 1).to(torch.uint8).contiguous().cpu().numpy()
    return pixels


def _seen(image: "torch.Tensor", fit: Fit) -> "torch.Tensor":
    left, top, right, bottom = fit.whole_box(image.shape[2], image.shape[1])
    return image[:, top:bottom, left:right]


@cache
def require_decoder(device: str) -> None:
    """See that torchvision decodes there: else every single image would be refused, and go to Pillow.

    Raises:
        PipelineError: it does not.
    """
    buffer = BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    try:
        _resized([buffer.getvalue()], Fit((8, 8)), device)
    except RuntimeError as error:
        raise PipelineError(
            f"extract.decoder: torchvision decodes no JPEG on {device} here ({first_line(error)})",
            expected="it to",
            hint="Install a torchvision that does, or run with:",
            run=Command(sets={"extract.decoder": "pillow"}),
        ) from error


def _type(device: str) -> str:
    return device.partition(":")[0]
