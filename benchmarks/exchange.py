"""Forms for other programs, read back by the libraries that they are for, in environments of their own.

    python -m benchmarks.exchange make FOLDER       # a small run of the data set demo, in all forms; in FOLDER
    OTHER/bin/python benchmarks/exchange.py read FOLDER

The second line needs numpy, and of `datasets`, `webdataset`, `mlcroissant` and `fiftyone` takes what is
installed. It compares ids, splits, labels and maps with what `biam_pipe` gave, bit by bit, and validates every
croissant.json.
Environments: `pip install datasets webdataset mlcroissant`, and another one with `fiftyone`.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

FORMS = ("huggingface", "webdataset", "fiftyone")
SPLITS = ("train", "validation", "test")
SETS = {"dataset.num_images": 80, "backbone.name": "tiny", "model.channels": 8, "train.epochs": 1}
Truth = dict[str, dict[str, Any]]


def make(folder: Path) -> None:
    """Run the demo, convert its features to each form, and write down what they are."""
    from benchmarks.measured import biam_pipe
    from biam_pipe import open_features

    options = ("--dataset", "demo", "--work", str(folder / "work"))
    biam_pipe("run", *options, sets=SETS)
    for form in FORMS:
        biam_pipe("convert", form, "--out", str(folder / form), *options, sets=SETS)
        print(form, "made", flush=True)
    features = open_features(folder / "work")
    arrays, told = {}, {}
    for split in SPLITS:
        data = features.torch_dataset(split=split, labels="all")
        names = np.array(data.label_names)
        for sample in data:
            labels = sorted(names[sample["labels"].numpy() == 1].tolist())
            told[sample["image_id"]] = {"split": split, "labels": labels}
            for role in ("region", "global"):
                arrays[f"{role}/{sample['image_id']}"] = sample[role].numpy()
    np.savez(folder / "truth.npz", **arrays)
    told_maps = {one.role: one.column for one in features.spec.maps}
    (folder / "truth.json").write_text(json.dumps({"images": told, "columns": told_maps, "path": str(features.path)}))


def read_huggingface(folder: Path, truth: "Known") -> str:
    """By `datasets`."""
    from datasets import load_dataset

    rows = load_dataset(str(folder / "huggingface"), cache_dir=str(folder / "cache"))
    seen: Truth = {}
    for split, images in rows.items():
        names = images.features["labels"].feature.names
        shape = images.features[truth.columns["region"]].shape
        for row in images.with_format("numpy"):
            assert row[truth.columns["region"]].shape == tuple(shape)
            seen[str(row["image_id"])] = {"split": split, "labels": sorted(names[label] for label in row["labels"])}
            truth.same(str(row["image_id"]), row[truth.columns["region"]], row[truth.columns["global"]])
    assert seen == truth.images, "other labels or splits"
    return f"{len(seen)} images in {list(rows)}, {shape}"


def read_webdataset(folder: Path, truth: "Known") -> str:
    """By `webdataset`."""
    from webdataset import WebDataset

    seen: Truth = {}
    for split in SPLITS:
        tars = sorted(str(path) for path in (folder / "webdataset").glob(f"{split}-*.tar"))
        for sample in WebDataset(tars, shardshuffle=False).decode():
            told = sample["json"]
            assert told["split"] == split
            seen[told["image_id"]] = {"split": split, "labels": sorted(told["labels"])}
            maps = (sample[f"{truth.columns[role]}.npy"] for role in ("region", "global"))
            truth.same(told["image_id"], *maps)
    assert seen == truth.images, "other labels or splits"
    return f"{len(seen)} images"


def read_fiftyone(folder: Path, truth: "Known") -> str:
    """By the importer of FiftyOne, which `Dataset.from_dir` uses; its database is not needed for that."""
    from fiftyone.utils.data.importers import FiftyOneImageClassificationDatasetImporter

    seen: Truth = {}
    for split in SPLITS:
        place = folder / "fiftyone" / split
        ids = json.loads((place / "labels.json").read_text())["image_ids"]
        vectors = np.load(place / "embeddings.npy")
        with FiftyOneImageClassificationDatasetImporter(str(place), data_path="data.json") as rows:
            for (path, _, label), image_id, vector in zip(rows, ids.values(), vectors, strict=True):
                assert Path(path).is_file()
                seen[image_id] = {"split": split, "labels": sorted(one.label for one in label.classifications)}
                truth.same(image_id, None, vector)
    assert seen == truth.images, "other labels or splits"
    return f"{len(seen)} images"


def read_croissant(folder: Path, truth: "Known") -> str:
    """By mlcroissant: each file valid, and the rows that the features' one describes."""
    import mlcroissant

    found = sorted((folder / "work").rglob("croissant.json"))
    records = 0
    for path in found:
        described = mlcroissant.Dataset(jsonld=str(path))
        assert not described.metadata.issues.errors, described.metadata.issues.report()
        for record_set in described.metadata.record_sets:
            for record in described.records(record_set=record_set.uuid):
                records += 1
                if record_set.uuid == "images":
                    read = {key.partition("/")[2]: value for key, value in record.items()}
                    maps = (np.frombuffer(read[truth.columns[role]], "<f2") for role in ("region", "global"))
                    truth.same(read["image_id"].decode(), *maps)
    assert found, "no croissant.json"
    return f"{len(found)} files, {records} records"


class Known:
    """What the forms have to say."""

    def __init__(self, folder: Path) -> None:
        document = json.loads((folder / "truth.json").read_text())
        self.images: Truth = document["images"]
        self.columns: dict[str, str] = document["columns"]
        self._arrays = np.load(folder / "truth.npz")

    def same(self, image_id: str, region: Any, whole: Any) -> None:
        """See that both maps of an image are those that they were; None for one that is not in the form."""
        for role, found in (("region", region), ("global", whole)):
            if found is not None:
                kept = self._arrays[f"{role}/{image_id}"]
                assert np.array_equal(np.asarray(found).reshape(kept.shape), kept), f"{role} of {image_id}"


READ: dict[str, Callable[[Path, Known], str]] = {
    "datasets": read_huggingface,
    "webdataset": read_webdataset,
    "mlcroissant": read_croissant,
    "fiftyone": read_fiftyone,
}


def main() -> None:
    """Make the forms, or print a line for each library that reads its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("make", "read"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    if arguments.action == "make":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        return
    sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    truth = Known(folder)
    for library, read in READ.items():
        if find_spec(library) is not None:
            print(f"{library}: {read(folder, truth)}", flush=True)


if __name__ == "__main__":
    main()
