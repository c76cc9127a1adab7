"""Index of Open Images at full size: generated official CSVs to index and annotations, then 1 % more rows.

    python -m benchmarks.index_scale --images 9000000 --verifications 30000000

Prints the time and the peak memory of `biam-pipe index`, process start included, and which shards the second run wrote.
Nine million images take about 9 GB below the folder.
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.measured import biam_pipe
from benchmarks.openimages_files import Size, write_files, write_toml


def index(folder: Path, images: int, verifications: int) -> None:
    """Write the files, index them, and print what it took."""
    settings = write_files(folder / "files", {"train": Size(images, verifications)})
    file = write_toml(folder / "biam-pipe.toml", settings)
    took = biam_pipe(
        "index", "--dataset", "openimages", "--config", str(file), "--work", str(folder / "work"), "--json"
    )
    print(f"{images:,} image rows, {verifications:,} label rows: {took}", flush=True)


def shards(folder: Path) -> dict[str, int]:
    """When each file of index and annotations was written."""
    root = folder / "work/openimages"
    return {
        entry.path: entry.stat().st_mtime_ns for name in ("index", "annotations") for entry in os.scandir(root / name)
    }


def main() -> None:
    """Index once, then again with more rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=9_000_000)
    parser.add_argument("--verifications", type=int, default=30_000_000)
    parser.add_argument("--folder", type=Path, help="where files and work folder lie; a temporary one otherwise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        index(folder, arguments.images, arguments.verifications)
        before = shards(folder)
        index(folder, arguments.images + arguments.images // 100, arguments.verifications)
        after = shards(folder)
        written = [path for path in after if "shard-" in path and before.get(path) != after[path]]
        old = [path for path in written if path in before]
        print(f"1 % more rows: {len(written)} files written, {len(old)} of them of shards that stood before")


if __name__ == "__main__":
    main()
