"""A photo, and beside it the same with a response map laid over: with caption, score and the scale of the map."""

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from PIL import Image, ImageDraw, ImageFont

from pipeline.reporting.pictures import stretched
from schemas.readable import printable

COLOURS = "inferno"  # perceptually uniform, and rising in lightness, so it also reads without colour
_SIDE_PX = 480  # the longer side of either picture
_EDGE_PX = 12
_SCALE_PX = 14  # width of the scale
_NUMBERS_PX = 72  # room for the numbers beside it
_LINE_PX = 20
_TEXT_PX = 14
_MAX_OPACITY = 0.8
_PAPER, _INK = (255, 255, 255), (24, 34, 48)
_QUALITY = 90


def shrunk(picture: Image.Image, side_px: int) -> Image.Image:
    """The picture with its longer side at most that long, pixels alone; quick where it is many times larger."""
    scale = min(1.0, side_px / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return Image.fromarray(np.asarray(small.convert("RGB")))


def laid_over(photo: Image.Image, response: Float[np.ndarray, "height width"]) -> Image.Image:
    """The photo in its own colours, under a map that is clear where the response is weakest.

    Args:
        photo: upright RGB.
        response: values over the whole picture, row by row; upsampled bilinearly and stretched to its own range. One
            without any range, or with a value that is not finite, counts as weakest everywhere.
    """
    strength = Image.fromarray(stretched(response)).resize(photo.size, Image.Resampling.BILINEAR)
    level = np.clip(np.asarray(strength, dtype=np.float32), 0.0, 1.0)
    share = _share(level)
    blended = np.asarray(photo, dtype=np.float32) * (1 - share) + _coloured(level) * share
    return Image.fromarray(np.rint(blended).astype(np.uint8))


def _share(level: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width 1"]:
    """How much of the map is seen over the photo: the lower half of its range hardly is."""
    return (_MAX_OPACITY * level**1.5)[:, :, None]


def _coloured(level: Float32[np.ndarray, "*cell"]) -> Float32[np.ndarray, "*cell 3"]:
    import matplotlib

    found: Float32[np.ndarray, "*cell 3"] = np.asarray(matplotlib.colormaps[COLOURS](level), dtype=np.float32)
    return found[..., :3] * 255.0


def heat_picture(
    picture: Image.Image, response: Float[np.ndarray, "height width"], caption: Sequence[str]
) -> Image.Image:
    """Photo, map over photo, and the scale from the weakest to the strongest response; lines of text below.

    Args:
        picture: upright.
        caption: lines, such as the label with its score; what is too long for a line is cut, and what no font has, such
            as line ends in names of files, is written as an escape.
    """
    photo = shrunk(picture, _SIDE_PX)
    width = 4 * _EDGE_PX + 2 * photo.width + _SCALE_PX + _NUMBERS_PX
    height = 2 * _EDGE_PX + max(photo.height, 3 * _LINE_PX) + _LINE_PX * len(caption)
    sheet = Image.new("RGB", (width, height), _PAPER)
    sheet.paste(photo, (_EDGE_PX, _EDGE_PX))
    sheet.paste(laid_over(photo, response), (2 * _EDGE_PX + photo.width, _EDGE_PX))
    draw, font = ImageDraw.Draw(sheet), _font()
    _draw_scale(sheet, draw, font, 3 * _EDGE_PX + 2 * photo.width, max(photo.height, 3 * _LINE_PX), response)
    for number, line in enumerate(caption):
        at = (_EDGE_PX, height - _EDGE_PX // 2 - _LINE_PX * (len(caption) - number))
        draw.text(at, _cut(printable(line), font, width - 2 * _EDGE_PX), fill=_INK, font=font)  # no font has a line end
    return sheet


def _draw_scale(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    left: int,
    height: int,
    response: Float[np.ndarray, "height width"],
) -> None:
    """A strip of the colours as they lie over white, strongest above, with the numbers at its ends."""
    level = np.repeat(np.linspace(1, 0, height, dtype=np.float32)[:, None], _SCALE_PX, axis=1)
    share = _share(level)
    strip = np.rint(255.0 * (1 - share) + _coloured(level) * share).astype(np.uint8)
    sheet.paste(Image.fromarray(strip), (left, _EDGE_PX))
    draw.rectangle((left, _EDGE_PX, left + _SCALE_PX - 1, _EDGE_PX + height - 1), outline=_INK)
    beside = left + _SCALE_PX + 6
    draw.text((beside, _EDGE_PX), f"{np.max(response):.3g}", fill=_INK, font=font)
    draw.text((beside, _EDGE_PX + height - _LINE_PX), f"{np.min(response):.3g}", fill=_INK, font=font)


def _cut(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."


@cache
def _font() -> ImageFont.FreeTypeFont:
    """One with most scripts; it comes with Matplotlib."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), _TEXT_PX)


def jpeg_bytes(picture: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    data = BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()
