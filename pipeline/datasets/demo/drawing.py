"""Scenes to JPEG bytes with Pillow."""

import io
import math

from PIL import Image, ImageDraw

from pipeline.datasets.demo.scene import Item, Rgb, Scene

Point = tuple[float, float]

_QUALITY = 90
_BARS = 5  # stripes, or rows of dots, across an object
_ARM = 0.3  # half the width of a cross's arm
_OUTLINES: dict[str, list[Point]] = {
    "square": [(-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (-0.75, 0.75)],
    "triangle": [(0.0, -1.0), (0.9, 0.7), (-0.9, 0.7)],
    "cross": [
        *((-_ARM, -1.0), (_ARM, -1.0), (_ARM, -_ARM), (1.0, -_ARM), (1.0, _ARM), (_ARM, _ARM)),
        *((_ARM, 1.0), (-_ARM, 1.0), (-_ARM, _ARM), (-1.0, _ARM), (-1.0, -_ARM), (-_ARM, -_ARM)),
    ],
}


def jpeg(scene: Scene) -> bytes:
    """The picture's bytes: equal for equal scenes and an equal Pillow."""
    picture = _background(scene)
    for item in scene.items:
        corner = (round(item.x_px - item.side_px / 2), round(item.y_px - item.side_px / 2))
        picture.paste(_surface(item), corner, _mask(item))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def _background(scene: Scene) -> Image.Image:
    """A slow gradient with some grain."""
    size = (scene.width, scene.height)
    coarse, fine = (_grid_image(cells).resize(size, Image.Resampling.BICUBIC) for cells in (scene.coarse, scene.fine))
    return Image.blend(coarse, fine, 0.35)


def _grid_image(cells: bytes) -> Image.Image:
    side = math.isqrt(len(cells) // 3)
    return Image.frombytes("RGB", (side, side), cells)


def _mask(item: Item) -> Image.Image:
    """The object's outline, drawn at twice its size for smooth edges."""
    side = 2 * item.side_px
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    centre, radius = side / 2, side / 2 - 1
    if item.shape == "circle":
        inset = centre - 0.86 * radius
        draw.ellipse((inset, inset, side - inset, side - inset), fill=255)
    else:
        turned = [_turn(point, item.angle) for point in _OUTLINES[item.shape]]
        draw.polygon([(centre + radius * x, centre + radius * y) for x, y in turned], fill=255)
    return mask.resize((item.side_px, item.side_px), Image.Resampling.BOX)


def _turn(point: Point, angle: float) -> Point:
    (x, y), cosine, sine = point, math.cos(angle), math.sin(angle)
    return (x * cosine - y * sine, x * sine + y * cosine)


def _surface(item: Item) -> Image.Image:
    """The object's colour or texture, over its whole square."""
    side = item.side_px
    surface = Image.new("RGB", (side, side), item.rgb)
    draw = ImageDraw.Draw(surface)
    step = side / _BARS
    dark: Rgb = (item.rgb[0] // 16, item.rgb[1] // 16, item.rgb[2] // 16)
    for row in range(_BARS):
        top = row * step
        if item.look == "striped":
            draw.rectangle((0, top, side, top + step / 2), fill=dark)
        elif item.look == "dotted":
            for column in range(_BARS):
                x, y, radius = (column + 0.5) * step, top + step / 2, 0.28 * step
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=dark)
    return surface
