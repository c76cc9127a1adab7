"""Pictures: made small, with a response map laid over them, as data URIs or files."""

import base64
from io import BytesIO

import numpy as np
from jaxtyping import Float
from PIL import Image

_JPEG_QUALITY = 82
_COLOURS = "inferno"  # perceptually uniform, and rising in lightness, so it also reads without colour
_MAX_OPACITY = 0.85


def shrink(image: Image.Image, side_px: int) -> Image.Image:
    """The picture with its longer side at most that long, and nothing but its pixels (no EXIF, no comment)."""
    scale = min(1.0, side_px / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return Image.fromarray(np.asarray(small))


def overlay(
    image: Image.Image, response: Float[np.ndarray, "height width"], opacity: float | None = None
) -> Image.Image:
    """The picture in grey with a response map laid over it: the stronger the response, the brighter.

    Each map is stretched to its own range, so strengths do not compare between maps. One without any range, or with a
    value that is not finite, counts as weakest everywhere, which is plain grey unless an opacity is given.

    Args:
        image: upright RGB picture.
        response: values over the whole picture, row by row; upsampled bilinearly.
        opacity: of the map, in [0, 1]; where None it is the denser, the stronger the response.
    """
    import matplotlib

    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32)
    strength = Image.fromarray(stretched(response)).resize(image.size, Image.Resampling.BILINEAR)
    level = np.clip(np.asarray(strength, dtype=np.float32), 0.0, 1.0)
    colours = np.asarray(matplotlib.colormaps[_COLOURS](level), dtype=np.float32)[:, :, :3] * 255.0
    share = (_MAX_OPACITY * level**0.75 if opacity is None else np.full_like(level, opacity))[:, :, None]
    blended = grey * (1.0 - share) + colours * share
    return Image.fromarray(np.rint(blended).astype(np.uint8))


def stretched(response: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """The map from 0 to 1 over its own range; 0 everywhere where it has none, or a value that is not finite."""
    values = np.asarray(response, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high) or high <= low:
        return np.zeros_like(values)
    return (values - low) / (high - low)


def data_uri(image: Image.Image) -> str:
    """The picture as a JPEG `data:` address."""
    jpeg = BytesIO()
    image.save(jpeg, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
