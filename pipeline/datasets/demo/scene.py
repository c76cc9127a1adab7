"""What is in each picture of the demo: labels dealt from a deck, then places, sizes and colours. Draws nothing.

Everything is a function of the seed and the picture's number.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from random import Random

Rgb = tuple[int, int, int]

# Saturated and far apart, and brighter or darker than the grey backgrounds: random convolutions tell these apart.
# With darker green and purple, AP of "green somewhere" fell from 0.92 to 0.76 (300 pictures, linear read-out).
COLOURS: dict[str, Rgb] = {
    "red": (220, 30, 40),
    "yellow": (240, 215, 20),
    "green": (40, 205, 50),
    "cyan": (20, 200, 215),
    "blue": (25, 50, 230),
    "pink": (255, 70, 190),
}
TEXTURES = ("striped", "dotted")
TEXTURE_COLOUR: Rgb = (235, 235, 235)
SHAPES = ("circle", "square", "triangle", "cross")

LOOKS = (*COLOURS, *TEXTURES)
LABELS = tuple(f"{look} {shape}" for look, shape in product(LOOKS, SHAPES))
# One label of each look, shapes in turn: each word stands in at least three seen labels, and two unseen ones share at
# most a shape, so that exchanging their word vectors leaves next to nothing.
UNSEEN = tuple(f"{look} {SHAPES[i % len(SHAPES)]}" for i, look in enumerate(LOOKS))

_OBJECT_COUNTS = (2, 3, 4, 5)
_BLOCK_IMAGES = 64  # 16 pictures of each count: 224 objects, seven decks of the 32 labels
_SIZE_RANGE = (0.25, 0.44)  # of the shorter side; smaller ones vanish in 14x14 maps
_PLACING_TRIES = 80


@dataclass(frozen=True)
class Item:
    """One object: where it is (centre), how large, how turned, what it looks like."""

    look: str
    shape: str
    x_px: float
    y_px: float
    side_px: int
    angle: float  # radians
    rgb: Rgb


@dataclass(frozen=True)
class Scene:
    """One picture: its size, its background as two small grids of greyish RGB bytes, its objects from back to front."""

    width: int
    height: int
    coarse: bytes
    fine: bytes
    items: tuple[Item, ...]


def dealt_labels(seed: int, number: int) -> tuple[str, ...]:
    """Labels of the objects of a picture, one for each object; seldom the same twice."""
    block, place = divmod(number, _BLOCK_IMAGES)
    return _block(seed, block)[place]


def scene(seed: int, number: int) -> Scene:
    """Everything there is to draw in a picture."""
    random = Random(f"{seed}:picture:{number}")
    width = round(random.triangular(240, 1024, 320))
    height = min(1024, max(240, round(width * random.uniform(0.75, 1.33))))
    base = random.randint(110, 190)
    coarse = _grid(random, base, random.choice((2, 3)))
    fine = _grid(random, base, random.choice((8, 16, 24)))
    items: list[Item] = []
    for label in dealt_labels(seed, number):
        items.append(_place(random, label, (width, height), items))
    return Scene(width, height, coarse, fine, tuple(items))


@lru_cache(maxsize=128)
def _block(seed: int, block: int) -> tuple[tuple[str, ...], ...]:
    """Labels of the pictures of one block: all decks are dealt to the last card, so every label is equally frequent."""
    random = Random(f"{seed}:block:{block}")
    counts = list(_OBJECT_COUNTS) * (_BLOCK_IMAGES // len(_OBJECT_COUNTS))
    random.shuffle(counts)
    cards: list[str] = []
    while len(cards) < sum(counts):
        cards += random.sample(LABELS, len(LABELS))
    return tuple(tuple(cards.pop() for _ in range(count)) for count in counts)


def _grid(random: Random, base: int, side: int) -> bytes:
    """RGB cells of a square, each channel within 14 of the base: muted, so that objects carry the colour."""
    return bytes(base + random.randint(-14, 14) for _ in range(side * side * 3))


def _place(random: Random, label: str, size_px: tuple[int, int], others: list[Item]) -> Item:
    """An object where it overlaps the others least, of a number of random places."""
    width, height = size_px
    best: tuple[float, float, float, float] | None = None
    for _ in range(_PLACING_TRIES):
        side = random.uniform(*_SIZE_RANGE) * min(width, height)
        x, y = random.uniform(side / 2, width - side / 2), random.uniform(side / 2, height - side / 2)
        gap = min((_gap(x, y, side, other) for other in others), default=0.0)
        if best is None or gap > best[0]:
            best = (gap, x, y, side)
        if gap >= 0:
            break
    assert best is not None
    look, shape = label.split()
    rgb = COLOURS.get(look, TEXTURE_COLOUR)
    red, green, blue = (min(255, max(0, channel + random.randint(-12, 12))) for channel in rgb)
    return Item(look, shape, best[1], best[2], round(best[3]), random.uniform(-0.2, 0.2), (red, green, blue))


def _gap(x: float, y: float, side: float, other: Item) -> float:
    """Pixels between two objects taken as circles a little smaller than they are; negative where they overlap."""
    return math.hypot(x - other.x_px, y - other.y_px) - 0.45 * (side + other.side_px)
