"""The paper's tables on generated NUS-WIDE files: every row that can be run, once with each store.

    python -m benchmarks.paper_tables [--images 2000] [--table 1] [--epochs 1] [--work FOLDER]

Files, pictures and word vectors are drawn, the backbone is a tiny one with random weights: the figures mean nothing.
Trainings are short, and BiAM has few channels.
What counts is which rows come out, where published figures stand, and that both stores give equal figures.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measured import biam_pipe, cpu
from benchmarks.nuswide_files import NusWideFiles

_TAGS, _CONCEPTS, _WORD = 120, 40, 50
_SIDE_PX = 48


def generated(folder: Path, images: int) -> dict[str, object]:
    """Write lists, pictures and vectors; gives the settings that read them."""
    tags = tuple(f"tag{number:03d}" for number in range(_TAGS))
    concepts = tags[: _CONCEPTS // 2] + tuple(f"concept{number}" for number in range(_CONCEPTS // 2))
    files = NusWideFiles(folder / "lists", tags, concepts, train=images * 3 // 5, test=images - images * 3 // 5)
    files.write()
    rng = np.random.default_rng(0)
    for split in ("Train", "Test"):
        for number in files.numbers(split):
            path = folder / "pictures" / files.name(number).replace("\\", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), dtype=np.uint8)).save(path)
    words = sorted({*tags, *concepts})
    lines = [f"{word} {' '.join(f'{value:.4f}' for value in rng.normal(size=_WORD))}" for word in words]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    return {
        "dataset.root": folder / "lists",
        "dataset.images": folder / "pictures",
        "embed.vectors": folder / "vectors.txt",
        "backbone.name": "tiny",
        "backbone.weights": "random:0",
        "extract.max_failed_fraction": 0.5,
    }


def main() -> None:
    """Generate, compare with both stores, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--table", default="1")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    print(cpu(), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.work or Path(scratch)
        short = {
            "train.epochs": arguments.epochs,
            "train.warmup_epochs": 0,
            "train.full_epochs": 0,
            "model.channels": 32,
        }
        sets = generated(folder, arguments.images) | short
        found = {}
        for store in ("parquet", "hdf5"):
            command = ["compare", "--dataset", "nuswide", "--table", arguments.table, "--work", str(folder / store)]
            told = biam_pipe(*command, sets=sets | {"store.name": store}, codes=(0, 1))
            print(f"{store}: {told}")
            (document,) = (folder / store).glob("nuswide/compare/*/compare.json")
            found[store] = json.loads(document.read_bytes())
            print((document.parent / "table.md").read_text(), flush=True)
        equal = found["parquet"]["tasks"] == found["hdf5"]["tasks"]
        print(f"both stores give {'equal' if equal else 'OTHER'} figures")


if __name__ == "__main__":
    main()
