"""Writes files in the exact format of Open Images V4, at any size: what cannot be fetched where there is no network.

With what the official files are known for: mixed line endings, a byte order mark, quoted names and titles with commas,
quotes and line breaks, an empty Rotation or thumbnail, labels outside of the label space, conflicting verifications.
Everything follows from row numbers, so that more rows are the same rows and then some.

    python -m benchmarks.openimages_files FOLDER --images 10000 --verifications 30000
"""

import argparse
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.datasets.openimages.fixed_text import texts

HEADER = (
    "ImageID,Subset,OriginalURL,OriginalLandingURL,License,AuthorProfileURL,Author,Title,OriginalSize,OriginalMD5,"
    "Thumbnail300KURL,Rotation"
)
_TITLES = (
    "...die FNF-Kerze",
    '"Hello, world"',
    '"She said ""no"", twice"',
    "Ünïcode ☃ 写真",
    "",
    '"two\nlines"',
    "plain",
    "semi;colon 'single'",
)
_AUTHORS = ("Michael Beat", "摄影师", "<b>Somebody</b>", "")
_ROTATIONS = ("0.0", "0.0", "0.0", "90.0", "", "180.0", "270.0")
_ENDINGS = ("\n", "\n", "\r\n")
_VERIFICATIONS_OF_AN_IMAGE = 5
_CHUNK_ROWS = 500_000
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)


@dataclass(frozen=True)
class Size:
    """How much to write: images and verifications of a split, and labels of the label space."""

    images: int
    verifications: int
    seen: int = 7186
    unseen: int = 400


def write_files(folder: Path, sizes: Mapping[str, Size]) -> dict[str, object]:
    """Write all files of these splits; gives the settings of the section [dataset] that read them."""
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(sizes.values()))
    settings: dict[str, object] = {"sha256": {}, "splits": list(sizes), "images": {}, "annotations": {}}
    settings |= _label_files(folder, first)
    start = 0
    for split, size in sizes.items():
        images, annotations = folder / f"{split}-images.csv", folder / f"{split}-annotations.csv"
        write_images(images, split, start, size.images)
        write_verifications(annotations, start, size, first.seen + first.unseen + 50)
        settings["images"][split], settings["annotations"][split] = str(images), str(annotations)  # type: ignore[index]
        start += size.images
    return settings


def write_toml(path: Path, settings: Mapping[str, object]) -> Path:
    """A configuration with these settings of the data set."""
    path.write_text("[dataset]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items()))
    return path


def write_images(path: Path, split: str, start: int, rows: int) -> None:
    """Image metadata of the images with these numbers."""
    with path.open("wb") as file:
        file.write(b"\xef\xbb\xbf" + HEADER.encode() + b"\n")
        for begin in range(start, start + rows, _CHUNK_ROWS):
            numbers = np.arange(begin, min(begin + _CHUNK_ROWS, start + rows), dtype=np.uint64)
            file.write(_bytes(_image_lines(split, numbers)))


def write_verifications(path: Path, start: int, size: Size, labels: int) -> None:
    """Human verifications of the first images, five each, image by image; one in a hundred is repeated at the end.

    Of those that are repeated, half say the opposite of the first time.
    """
    repeated = size.verifications // 100
    rows = size.verifications - repeated
    with path.open("wb") as file:
        file.write(b"ImageID,Source,LabelName,Confidence\n")
        for begin in range(0, rows, _CHUNK_ROWS):
            numbers = np.arange(begin, min(begin + _CHUNK_ROWS, rows))
            file.write(_bytes(_verification_lines(numbers, start, size.images, labels, numbers * 0)))
        again = np.arange(repeated) * 97 % max(rows, 1)
        file.write(_bytes(_verification_lines(again, start, size.images, labels, np.arange(repeated) % 2)))


def image_id(number: int) -> str:
    """The ImageID of the image with this number."""
    return f"{int(_scrambled(np.array([number], np.uint64))[0]):016x}"


def label_id(number: int) -> str:
    """The MID of the label with this number; its order has nothing to do with the number's."""
    return f"/m/0{number * 7919 % 99991:05d}"


def _label_files(folder: Path, size: Size) -> dict[str, str]:
    total = size.seen + size.unseen
    mids = [label_id(number) for number in range(total + 50)]
    names = [f'"Label, number {number}"' if number % 5 == 0 else f"word{number}" for number in range(total + 50)]
    lines = [f"{mid},{name}{_ENDINGS[i % 3]}" for i, (mid, name) in enumerate(zip(mids, names, strict=True))]
    held_out = np.array(mids[size.seen :][::-1], dtype=object)
    chosen = [len(held_out) - 1 - number for number in range(size.unseen)]
    files = {
        "class_descriptions": "".join(lines).encode(),
        "seen_labels": "".join(f"{mid}\n" for mid in mids[: size.seen]).encode(),
        "unseen_labels": pickle.dumps(held_out, protocol=2),
        "unseen_chosen": b"\xef\xbb\xbf" + "\r\n".join(map(str, chosen)).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return {name: str(folder / name) for name in files}


def _image_lines(split: str, numbers: NDArray[np.uint64]) -> pa.Array:
    ids, photos = _ids(numbers), pa.array(numbers).cast(pa.string())
    noise = _scrambled(numbers + np.uint64(1 << 40))
    landing = pc.binary_join_element_wise("https://www.flickr.com/photos/someone", photos, "/")
    author = pc.binary_join_element_wise("https://www.flickr.com/people/someone", "", "/")
    original = pc.binary_join_element_wise("https://farm3.staticflickr.com/5310", ids, "/")
    thumbnail = pc.binary_join_element_wise("https://c1.staticflickr.com/6/5310/", ids, "_z.jpg", "")
    columns = [
        ids,
        split,
        pc.binary_join_element_wise(original, "_o.jpg", ""),
        landing,
        "https://creativecommons.org/licenses/by/2.0/",
        author,
        _cycled(_AUTHORS, numbers),
        _cycled(_TITLES, numbers),
        pa.array(noise % np.uint64(5_000_000)).cast(pa.string()),
        _md5(noise),
        pc.if_else(pa.array(numbers % np.uint64(40) == 7), "", thumbnail),
        pc.binary_join_element_wise(_cycled(_ROTATIONS, numbers), _cycled(_ENDINGS, numbers), ""),
    ]
    return pc.binary_join_element_wise(*columns, ",")


def _verification_lines(
    rows: NDArray[np.int64], start: int, images: int, labels: int, turned: NDArray[np.int64]
) -> pa.Array:
    image = rows // _VERIFICATIONS_OF_AN_IMAGE % images + start
    label = rows * 31 % labels
    verdict = (rows * 13 // 7 + turned) % 2
    columns = [
        _ids(image.astype(np.uint64)),
        "verification",
        pa.array([label_id(number) for number in range(labels)]).take(pa.array(label)),
        pc.binary_join_element_wise(pa.array(verdict).cast(pa.string()), _cycled(_ENDINGS, rows), ""),
    ]
    return pc.binary_join_element_wise(*columns, ",")


def _scrambled(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Distinct numbers that look random (the finaliser of splitmix64)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


def _ids(numbers: NDArray[np.uint64]) -> pa.Array:
    raw = _scrambled(numbers).astype(">u8").view(np.uint8).reshape(-1, 8)
    return texts(np.stack([_HEX[raw >> 4], _HEX[raw & 15]], axis=2).reshape(-1, 16))


def _md5(noise: NDArray[np.uint64]) -> pa.Array:
    shifts = np.arange(22, dtype=np.uint64) * np.uint64(2)
    characters = _BASE64[(noise[:, None] >> shifts & np.uint64(63)).astype(np.intp)]
    return texts(np.concatenate([characters, np.full((len(noise), 2), ord("="), np.uint8)], axis=1))


def _cycled(values: tuple[str, ...], numbers: NDArray[np.uint64] | NDArray[np.int64]) -> pa.Array:
    return pa.array(values).take(pa.array((numbers % len(values)).astype(np.int64)))


def _bytes(lines: pa.Array) -> bytes:
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "")[0]
    return joined.as_buffer().to_pybytes()


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


def main() -> None:
    """Write train files of the size that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--verifications", type=int, default=30_000)
    options = parser.parse_args()
    print(write_files(options.folder, {"train": Size(options.images, options.verifications)}))


if __name__ == "__main__":
    main()
