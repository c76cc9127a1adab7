"""Features in which concepts are planted: what an image shows is known, and how far words reach it, too.

A label is a thing with a quality ("red circle"): its word vector is the normalised sum of both words' vectors, so that
a label held out as unseen is made of words that seen labels have. What the features of an image hold:

- each of its labels covers a few neighbouring regions: the label's direction, which is a fixed linear image of its word
  vector with a turn of its own, plus what its regions do not share;
- things come in pairs that look alike and live in different scenes; labels of one scene occur together;
- every region shows a little of the scene; the global vector shows the scene, a little of the labels, and noise.
"""

from dataclasses import dataclass

import numpy as np
from small_work import Content, Recipe


@dataclass(frozen=True)
class Planted:
    """How much of each there is; lengths of vectors are 1, so strengths compare with each other and with the noise.

    Attributes:
        alike: cosine of two things that look alike.
        own: length of what is a label's own beside what its words say.
        label: strength of a label in its regions.
        part: strength of what a region of a label does not share with the others.
        scene: strength of the scene in each region.
        noise: standard deviation in each channel of a region and of the global vector, times the root of the channels.
    """

    images: int = 4000
    things: int = 12
    qualities: int = 8
    unseen: int = 24
    scenes: int = 6
    word: int = 32
    channels: int = 64
    side: int = 7
    alike: float = 0.9
    own: float = 0.4
    label: float = 1.0
    part: float = 0.7
    scene: float = 0.4
    noise: float = 1.2


def recipe(planted: Planted) -> Recipe:
    """The folder that holds such features."""
    labels, shards = planted.things * planted.qualities, 4
    return Recipe(
        shards=shards,
        shard_images=planted.images // shards,
        seen=labels - planted.unseen,
        unseen=planted.unseen,
        word=planted.word,
        channels=planted.channels,
        side=planted.side,
        global_size=planted.channels,
        row_group_rows=32,
    )


def content(planted: Planted, seed: int) -> Content:
    """Everything in that folder, from one seed."""
    rng = np.random.default_rng([seed, 5])
    labels = _labels(planted, rng)
    words = {
        name: _units(rng, count, planted.word)
        for name, count in (("thing", planted.things), ("quality", planted.qualities))
    }
    vectors = _normalised(words["thing"][labels[:, 0]] + words["quality"][labels[:, 1]])
    looks = _looks(planted, labels, words, rng)
    scenes = _units(rng, planted.scenes, planted.channels)
    positives, regions, whole = [], [], []
    for _ in range(planted.images):
        scene = int(rng.integers(planted.scenes))
        chosen = _chosen(planted, labels, scene, rng)
        positives.append(sorted(chosen))
        regions.append(_regions(planted, looks[chosen], scenes[scene], rng))
        whole.append(scenes[scene] + 0.2 * looks[chosen].sum(axis=0) + _noise(planted, (), rng))
    return Content(
        vectors.astype(np.float32),
        positives,
        [None] * planted.images,
        np.array(regions, dtype=np.float16),
        np.array(whole, dtype=np.float16),
    )


def _labels(planted: Planted, rng: np.random.Generator) -> np.ndarray:
    """[label, 2]: thing and quality by label index; every word is in some seen label."""
    pairs = np.array([(thing, quality) for thing in range(planted.things) for quality in range(planted.qualities)])
    held_out = recipe(planted).unseen_labels()
    others = [index for index in range(len(pairs)) if index not in set(held_out)]
    while True:
        order = rng.permutation(len(pairs))
        seen = pairs[order[planted.unseen :]]
        if len(set(seen[:, 0])) == planted.things and len(set(seen[:, 1])) == planted.qualities:
            break
    placed = np.empty_like(pairs)
    placed[held_out], placed[others] = pairs[order[: planted.unseen]], seen
    return placed


def _looks(planted: Planted, labels: np.ndarray, words: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """[label, channel]: the direction of each label in the features."""
    into = rng.normal(size=(planted.word, planted.channels)) / np.sqrt(planted.channels)
    thing = words["thing"] @ into
    thing[1::2] = planted.alike * thing[::2] + np.sqrt(1 - planted.alike**2) * thing[1::2]
    shared = _normalised(thing[labels[:, 0]] + (words["quality"] @ into)[labels[:, 1]])
    return _normalised(shared + planted.own * _units(rng, len(labels), planted.channels))


def _chosen(planted: Planted, labels: np.ndarray, scene: int, rng: np.random.Generator) -> list[int]:
    """Labels of an image: three to five, most of them at home in its scene; of two that look alike only one is."""
    home = labels[:, 0] % 2 == (labels[:, 0] // 2 + scene) % 2
    near = (labels[:, 0] // 2 + labels[:, 1]) % planted.scenes
    weight = np.where(home, 1.0, 0.05) * np.where(near == scene, 3.0, 1.0)
    return rng.choice(len(labels), rng.integers(3, 6), replace=False, p=weight / weight.sum()).tolist()


def _regions(planted: Planted, looks: np.ndarray, scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[height, width, channel] of an image; a later label hides an earlier one."""
    side = planted.side
    regions = np.broadcast_to(planted.scene * scene, (side, side, planted.channels)).copy()
    for look in looks:
        height, width = rng.integers(1, 4, size=2)
        top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
        parts = planted.label * look + planted.part * _units(rng, height * width, planted.channels)
        regions[top : top + height, left : left + width] = planted.scene * scene + parts.reshape(height, width, -1)
    return regions + _noise(planted, (side, side), rng)


def _noise(planted: Planted, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return planted.noise / np.sqrt(planted.channels) * rng.normal(size=(*shape, planted.channels))


def _units(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return _normalised(rng.normal(size=(count, size)))


def _normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
