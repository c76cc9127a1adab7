r"""Writes the files of the NUS-WIDE archives, at any size: what the data set module reads, without the images.

    python -m benchmarks.nuswide_files FOLDER                  as many images as the original: 0.8 GB
    python -m benchmarks.nuswide_files FOLDER --measure        and what reading them all costs

Names are made up, the forms are the original's: CRLF lists, tab-separated matrices with a trailing tab, image names
with backslashes and, where asked for, the prefix of old copies, a URL file with a header of %, `null`s and lines that
have lost a column.
"""

import argparse
import resource
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PREFIX = "C:\\ImageData\\Flickr\\"
_BLOCK_ROWS = 4096
_NUM_TAGS, _NUM_CONCEPTS, _NUM_SHARED = 1000, 81, 75
_TAG_SHARE, _CONCEPT_SHARE = 0.006, 0.023  # of the cells that are one, as in the original


@dataclass(frozen=True)
class NusWideFiles:
    """What is written.

    Attributes:
        root: the folder, as `dataset.root` names it.
        tags: names of the tags, in order.
        concepts: names of the concepts, in order; some are tags, too.
        train: number of images.
        test: number of images.
        seed: of all labels.
        prefix: of the names in the image lists.
        base: where the addresses of the URL file point.
    """

    root: Path
    tags: tuple[str, ...]
    concepts: tuple[str, ...]
    train: int
    test: int
    seed: int = 0
    prefix: str = ""
    base: str = "http://farm3.static.flickr.com/2244"

    def write(self) -> None:
        """Write all files; those that are there are replaced."""
        _write_lines(self.root / "NUS_WID_Tags/TagList1k.txt", self.tags)
        _write_lines(self.root / "ConceptsList/Concepts81.txt", self.concepts)
        rng = np.random.default_rng(self.seed)
        for split, count in (("Train", self.train), ("Test", self.test)):
            names = [self.prefix + self.name(number) for number in self.numbers(split)]
            _write_lines(self.root / f"ImageList/{split}Imagelist.txt", names)
            self._write_tags(rng, split, count)
            for concept in self.concepts:
                flags = (rng.random(count) < _CONCEPT_SHARE + 10 / (10 + count)).astype(int).astype(str)
                _write_lines(self.root / f"Groundtruth/TrainTestLabels/Labels_{concept}_{split}.txt", flags)
        self._write_urls()

    def numbers(self, split: str) -> range:
        """Numbers of a split's images."""
        return range(self.train) if split == "Train" else range(self.train, self.train + self.test)

    def name(self, number: int) -> str:
        """An image as its list names it; every third photo id stands in two folders."""
        return f"folder{number % 704:03d}\\{number // 704:04d}_{100_000 + number - (number % 3 == 2)}.jpg"

    def _write_tags(self, rng: np.random.Generator, split: str, count: int) -> None:
        blank = np.frombuffer(b"0\t" * len(self.tags) + b"\r\n", dtype=np.uint8)
        with (self.root / f"NUS_WID_Tags/{split}_Tags1k.dat").open("wb") as file:
            for start in range(0, count, _BLOCK_ROWS):
                text = np.tile(blank, (min(_BLOCK_ROWS, count - start), 1))
                share = _TAG_SHARE + 2 / (2 + len(self.tags))
                text[:, : 2 * len(self.tags) : 2] += rng.random((len(text), len(self.tags)), dtype=np.float32) < share
                file.write(text.tobytes())

    def _write_urls(self) -> None:
        """Every 23rd image has no line, every fifth no middle size, every seventh line has lost its nulls."""
        lines = ["%%%%%%%%%%Photo_file    Photo_id    url_Large   url_Middle   url_Small  url_Original%%%%%%%%%%"]
        for number in range(self.train + self.test):
            photo = f"{self.base}/{number}_ab"
            middle = "null" if number % 5 == 4 else f"{photo}.jpg"
            columns = [f"{photo}_b.jpg", middle, f"{photo}_m.jpg", "null"]
            if number % 7 == 6:
                columns = [text for text in columns if text != "null"]
            if number % 23 != 22:
                lines.append(f"{PREFIX}{self.name(number)}   {number}  " + "  ".join(columns))
        _write_lines(self.root / "NUS-WIDE-urls.txt", lines)


def write_files(
    root: Path, train: int, test: int, tags: Sequence[str], concepts: Sequence[str], base: str
) -> dict[str, str]:
    """Write files of that many images, and give the settings of `dataset` that read them."""
    NusWideFiles(root, tuple(tags), tuple(concepts), train, test, base=base).write()
    return {"name": "nuswide", "root": str(root)}


def full_size(root: Path) -> NusWideFiles:
    """As many images, tags and concepts as the original."""
    tags = tuple(f"tag{number:04d}" for number in range(_NUM_TAGS))
    concepts = tags[:_NUM_SHARED] + tuple(f"concept{number}" for number in range(_NUM_CONCEPTS - _NUM_SHARED))
    return NusWideFiles(root, tags, concepts, train=161_789, test=107_859)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def _measure(root: Path) -> None:
    from pipeline.datasets import nuswide
    from pipeline.datasets.nuswide.settings import NusWideDataset

    started = time.perf_counter()
    rows = sum(len(table) for table in nuswide.records(NusWideDataset(root=str(root)), Counter()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{rows} images read in {time.perf_counter() - started:.1f} s, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measure", action="store_true")
    chosen = parser.parse_args()
    if not (chosen.folder / "NUS-WIDE-urls.txt").exists():
        full_size(chosen.folder).write()
    if chosen.measure:
        _measure(chosen.folder)
