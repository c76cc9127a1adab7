"""Images with the bytes of an image in another split: what they are tested on may have been learnt.

They are told by their hashes alone: those of 9 million images take 0.7 GB and 20 s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.status import ImageSplit

_HEX_DIGITS = 32  # of a sha256, 128 bits: two of 9 million other images agree in them once in 10^24 data sets
_EXAMPLES = 3
_SPLITS = np.array([str(split) for split in ImageSplit])

Place = tuple[str, str]  # an image's id and its split
ImageIds = Callable[[NDArray[np.int32], NDArray[np.int32]], list[str]]


@dataclass(frozen=True)
class Duplicates:
    """Byte-equal images in different splits.

    Attributes:
        images: of each split, how many are in another one, too.
        examples: pairs of them, those that the index lists first.
    """

    images: Mapping[str, int]
    examples: tuple[tuple[Place, Place], ...]

    def as_json(self) -> dict[str, Any]:
        """As they stand in metrics.json."""
        pairs = [[{"image_id": image_id, "split": split} for image_id, split in pair] for pair in self.examples]
        return {"images": sum(self.images.values()), "splits": dict(self.images), "examples": pairs}

    def note(self) -> str | None:
        """What to tell a user; None where there are none."""
        if not self.images:
            return None
        counted = ", ".join(f"{split} {images}" for split, images in self.images.items())
        pairs = (" and ".join(f"{image_id!r} ({split})" for image_id, split in pair) for pair in self.examples)
        total = sum(self.images.values())
        return f"{total} images ({counted}) have the bytes of an image in another split, such as {'; '.join(pairs)}"


@dataclass
class SplitHashes:
    """What the images that are used hold, and where each lies: one array a shard, an entry an image."""

    _hashes: list[NDArray[np.uint64]] = field(default_factory=list)  # [image, half]
    _splits: list[NDArray[np.int8]] = field(default_factory=list)  # number in `_SPLITS`
    _shards: list[NDArray[np.int32]] = field(default_factory=list)
    _rows: list[NDArray[np.int32]] = field(default_factory=list)

    def add(self, shard: int, images: NDArray[np.int64], splits: NDArray[np.str_], sha256: pa.ChunkedArray) -> None:
        """Take some images of a shard; those whose hash nobody knows are left out.

        Args:
            shard: its position.
            images: their rows.
            splits: of all rows.
            sha256: of all rows, in hex, or null.
        """
        known = images[sha256.is_valid().to_numpy()[images]]
        if not len(known):
            return
        digits = "".join(text[:_HEX_DIGITS] for text in sha256.take(pa.array(known)).to_pylist())
        self._hashes.append(np.frombuffer(bytes.fromhex(digits), np.uint64).reshape(-1, 2))
        self._splits.append((splits[known, np.newaxis] == _SPLITS).argmax(axis=1).astype(np.int8))
        self._shards.append(np.full(len(known), shard, np.int32))
        self._rows.append(known.astype(np.int32))

    def duplicates(self, image_ids: ImageIds) -> Duplicates | None:
        """Those of the images taken that lie in different splits; None where no hash is known.

        Args:
            image_ids: gives the ids of some images by position of their shard and row.
        """
        if not self._hashes:
            return None
        hashes, splits = np.concatenate(self._hashes), np.concatenate(self._splits)
        order = np.lexsort(hashes.T)  # equal ones stay in the order of the index
        hashes, splits = hashes[order], splits[order]
        starts = np.flatnonzero(np.append(True, (hashes[1:] != hashes[:-1]).any(axis=1)))
        sizes = np.diff(starts, append=len(splits))
        mixed = np.minimum.reduceat(splits, starts) != np.maximum.reduceat(splits, starts)
        counts = np.bincount(splits[np.repeat(mixed, sizes)], minlength=len(_SPLITS))
        groups = np.flatnonzero(mixed)
        groups = groups[np.argsort(order[starts[groups]])][:_EXAMPLES]
        firsts = starts[groups]
        others = [start + (splits[start:] != splits[start]).argmax() for start in firsts]
        first_places, other_places = (
            self._places(order[chosen], splits[chosen], image_ids) for chosen in (firsts, np.array(others, np.int64))
        )
        return Duplicates(
            {str(split): int(count) for split, count in zip(_SPLITS, counts, strict=True) if count},
            tuple(zip(first_places, other_places, strict=True)),
        )

    def _places(self, images: NDArray[np.int64], splits: NDArray[np.int8], image_ids: ImageIds) -> list[Place]:
        ids = image_ids(np.concatenate(self._shards)[images], np.concatenate(self._rows)[images])
        return list(zip(ids, _SPLITS[splits].tolist(), strict=True))
