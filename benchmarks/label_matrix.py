"""The label matrix from a file of 400,000 words x 300: the first time, again, and with another treatment of labels.

    python -m benchmarks.label_matrix [--words WORDS.txt.gz]

The vectors are random, the labels those of generated Open Images files; a list of real words can be given. Prints the
time and the peak memory of `biam-pipe embed`, process start included; the index is there before.
"""

import argparse
import gzip
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measured import biam_pipe
from benchmarks.openimages_files import Size, write_files, write_toml

_WORDS, _DIMENSIONS = 400_000, 300
_LABEL_WORDS = 8_000  # those that generated labels are made of


def write_vectors(path: Path, words: list[str]) -> None:
    """A text file of that form, gzipped; numbers come from a pool, since printing 120 million would take minutes."""
    pool = [f"{number:.5f}" for number in np.random.default_rng(0).normal(size=100_003)]
    lines = [" ".join(pool[start : start + _DIMENSIONS]) for start in range(0, len(pool) - _DIMENSIONS, 97)]
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for number, word in enumerate(words):
            file.write(f"{word} {lines[number % len(lines)]}\n")


def main() -> None:
    """Write the file, index, then embed three times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=Path, help="gzipped list of words, one a line")
    arguments = parser.parse_args()
    words = ["label", "number", *(f"word{number}" for number in range(_LABEL_WORDS))]
    if arguments.words:
        words += gzip.decompress(arguments.words.read_bytes()).decode().split("\n")
    words += [f"other{number}" for number in range(_WORDS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_vectors(folder / "vectors.txt.gz", list(dict.fromkeys(words))[:_WORDS])
        config = write_toml(folder / "biam-pipe.toml", write_files(folder / "files", {"train": Size(1000, 5000)}))
        common = ("--dataset", "openimages", "--config", str(config), "--work", str(folder / "work"))
        sets = {"embed.vectors": folder / "vectors.txt.gz"}
        biam_pipe("split", *common, sets=sets)
        print(f"first time: {biam_pipe('embed', *common, sets=sets)}")
        print(f"again: {biam_pipe('embed', *common, sets=sets)}")
        other = biam_pipe("embed", *common, sets=sets | {"embed.missing": "unseen-excluded"})
        print(f"another embed.missing: {other}")


if __name__ == "__main__":
    main()
