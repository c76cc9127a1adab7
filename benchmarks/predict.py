"""`predict` of photographs beside `extract` of the same ones, whole commands by the clock, in alternating pairs.

    python -m benchmarks.predict
    python -m benchmarks.predict --images 100 --pairs 3 --maps

A small demo is trained first, with the same backbone, so that there is a model to ask.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.measured import Measured, biam_pipe
from benchmarks.photographs import photographs

_DEMO = {"dataset.num_images": 80, "model.channels": 64, "train.epochs": 1, "train.warmup_epochs": 1}


def extract(photos: Path, work: Path, backbone: str) -> Measured:
    """The features of the photographs, made from nothing."""
    sets = {"dataset.folders": photos, "backbone.name": backbone, "backbone.weights": "random:0"}
    return biam_pipe("extract", "--dataset", "folder", "--work", str(work), "--json", sets=sets)


def predict(photos: Path, work: Path, out: Path, backbone: str, *, maps: bool) -> Measured:
    """All labels of the demo in the photographs."""
    words = ["predict", str(photos), "--dataset", "demo", "--work", str(work), "--out", str(out), "-q"]
    return biam_pipe(*words, *(["--maps"] if maps else []), sets={**_DEMO, "backbone.name": backbone})


def main() -> None:
    """Print both times of each pair, and the middle difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--backbone", default="vgg19")
    parser.add_argument("--maps", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos, model = Path(folder, "photos"), Path(folder, "model")
        photographs(photos, arguments.images)
        sets = {**_DEMO, "backbone.name": arguments.backbone}
        biam_pipe("evaluate", "--dataset", "demo", "--work", str(model), "--json", sets=sets)
        slower = []
        for pair in range(arguments.pairs):
            extracted = extract(photos, Path(folder, f"work-{pair}"), arguments.backbone)
            predicted = predict(photos, model, Path(folder, "out"), arguments.backbone, maps=arguments.maps)
            slower.append(predicted.seconds - extracted.seconds)
            print(f"  extract {extracted}; predict {predicted}; {slower[-1]:+.1f} s", flush=True)
        print(f"{arguments.images} photographs: predict is {statistics.median(slower):+.1f} s to extract (median)")


if __name__ == "__main__":
    main()
