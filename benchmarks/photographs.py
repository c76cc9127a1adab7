"""Pictures that cost a decoder what photographs cost: noise whose spectrum falls as that of photographs, and edges."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_FALL = 1.1  # of the amplitude with the frequency; of photographs about 1
_SIDES_PX = (500, 1024)
_QUALITIES = (80, 92)  # gives 3.1 bits a pixel; Open Images' bucket has 3.0 at 1,024 x 768


def photograph(seed: int) -> bytes:
    """A JPEG file of 500 to 1,024 px a side; the same for the same seed."""
    random = np.random.default_rng(seed)
    width, height = (int(side) for side in random.integers(_SIDES_PX[0], _SIDES_PX[1] + 1, 2))
    light = _noise(random, height, width)
    channels = [light * 50 + _noise(random, height, width) * 12 + 128 for _ in range(3)]
    picture = Image.fromarray(np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y, radius = (int(random.integers(low, high)) for low, high in ((0, width), (0, height), (20, 150)))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(random.integers(_QUALITIES[0], _QUALITIES[1] + 1)))
    return file.getvalue()


def photographs(folder: Path, images: int, distinct: int = 96) -> None:
    """Write so many files; beyond `distinct` they repeat."""
    folder.mkdir(parents=True)
    bodies = [photograph(seed) for seed in range(min(images, distinct))]
    for number in range(images):
        (folder / f"{number:05d}.jpg").write_bytes(bodies[number % len(bodies)])


def _noise(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf  # no mean
    shape = frequency.shape
    spectrum = (random.normal(size=shape) + 1j * random.normal(size=shape)) / frequency**_FALL
    found = np.fft.irfft2(spectrum, (height, width))
    return found / found.std()
