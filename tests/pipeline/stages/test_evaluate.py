"""Evaluation counts every test image, agrees with slow loops, and shows what it claims."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_work import Recipe, SmallWork, image_id, make

from pipeline.inference.model_file import load_model
from pipeline.machine.telling import heard_by
from pipeline.metrics.paired import Replicates
from pipeline.metrics.score_table import ScoreTable
from pipeline.models.biam.settings import BiamConfig
from pipeline.stages import evaluate, train
from schemas.config import EvaluateConfig, TrainConfig
from schemas.errors import IntegrityError, PipelineError, TimeBudgetError, UsageError
from schemas.status import ImageStatus
from schemas.tables import EXAMPLES, PER_LABEL

MODEL = "runs/small/model.safetensors"
FILES = (
    "metrics.json",
    "per_label.parquet",
    "examples.parquet",
    "bootstrap.npz",
    "missing.csv",
    "calibration.json",
    "scores.parquet",
)


pytestmark = pytest.mark.usefixtures("one_thread")


def trained(root: Path, recipe: Recipe | None = None) -> SmallWork:
    work = make(root, recipe)
    config = TrainConfig(epochs=4, batch_images=8, lr=3e-3, device="cpu")
    model = BiamConfig(channels=16, heads=2, joint_size=12, top_k=2)
    task = work.task("train", train.Settings(model, config, threads=1))
    return work.with_receipts(task, train.run(task))


def settings(**changes: Any) -> evaluate.Settings:
    config = EvaluateConfig(
        **(
            {
                "protocol": "nuswide",
                "ks": (2, 3),
                "batch_images": 5,
                "draws": 4,
                "device": "cpu",
                "min_coverage": 0.99,
                "examples": 4,
                "replicates": 8,
            }
            | changes
        )
    )
    return evaluate.Settings(config, dataset="small", threads=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> SmallWork:
    """A folder with a trained and evaluated run."""
    lost = {5: ImageStatus.GONE, 10: ImageStatus.EMPTY}
    work = trained(tmp_path_factory.mktemp("evaluated"), Recipe(statuses=lost, sha256={0: "ab" * 32, 3: "ab" * 32}))
    task = work.task("evaluate", settings())
    return work.with_receipts(task, evaluate.run(task))


def metrics(work: SmallWork) -> dict[str, Any]:
    return json.loads(work.path("evaluate", "metrics.json").read_bytes())


def columns(work: SmallWork) -> list[int]:
    unseen = work.recipe.unseen_labels()
    return [label for label in range(work.recipe.labels) if label not in unseen] + unseen


def evaluated(work: SmallWork) -> list[int]:
    """Numbers of the test images with features."""
    return [n for n in range(0, 60, 5) if work.recipe.status(n) == ImageStatus.OK]


def slow_scores(work: SmallWork) -> np.ndarray:
    """One image at a time, straight from the maps the folder was made of."""
    model = load_model(work.path("train", "model.safetensors")).model
    vectors = torch.from_numpy(work.vectors[columns(work)])
    with torch.no_grad():
        rows = [
            model(torch.from_numpy(work.regions[[n]]), torch.from_numpy(work.global_features[[n]]), vectors)[0]
            for n in evaluated(work)
        ]
    return torch.stack(rows).numpy()


def slow_truth(work: SmallWork) -> np.ndarray:
    return np.array([[label in work.positives[n] for label in columns(work)] for n in evaluated(work)])


def slow_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Precision at the rank of each positive image, averaged."""
    order = np.argsort(-scores)
    right, found = 0, []
    for rank, image in enumerate(order, start=1):
        if truth[image]:
            right += 1
            found.append(right / rank)
    return float(np.mean(found)) if found else 0.0


def slow_f1(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    right = sum(truth[image][label] for image in range(len(scores)) for label in np.argsort(-scores[image])[:k])
    precision, recall = right / (len(scores) * k), right / truth.sum()
    return 2 * precision * recall / (precision + recall)


def test_both_sections_agree_with_slow_loops(work: SmallWork):
    told, scores, truth = metrics(work), slow_scores(work), slow_truth(work)
    seen = work.recipe.seen
    for name, first in (("zsl", seen), ("gzsl", 0)):
        each = [slow_average_precision(scores[:, c], truth[:, c]) for c in range(first, work.recipe.labels)]
        assert told[name]["map"] == pytest.approx(np.mean(each), abs=1e-6)
        assert told[name]["labels"] == work.recipe.labels - first
        for k in (2, 3):
            assert told[name][f"f1@{k}"] == pytest.approx(slow_f1(scores[:, first:], truth[:, first:], k), abs=1e-6)
        controls, said = (
            {"chance", "constant", "permuted", "standardised"},
            {"labels", "labels_without_positive", "headline"},
        )
        for control in controls:
            assert set(told[name][control]) == set(told[name]) - controls - said
            assert all(0 <= value <= 1 for value in told[name][control].values())


def test_scores_on_one_scale_change_what_compares_images_and_nothing_else(work: SmallWork):
    before, files = metrics(work), {name: work.path("evaluate", name).read_bytes() for name in FILES}
    try:
        evaluate.run(work.task("evaluate", settings(standardise=True)))
        told = metrics(work)
    finally:
        for name, data in files.items():
            work.path("evaluate", name).write_bytes(data)
    seen, truth = work.recipe.seen, slow_truth(work)
    rows = [(row - np.mean(row[:seen])) / np.std(row[:seen]) for row in slow_scores(work).astype(np.float64)]
    scores = np.array(rows)
    for name, first in (("zsl", seen), ("gzsl", 0)):
        each = [slow_average_precision(scores[:, c], truth[:, c]) for c in range(first, work.recipe.labels)]
        assert told[name]["map"] == pytest.approx(np.mean(each), abs=1e-6)
        assert told[name]["map"] != before[name]["map"]
        assert told[name]["f1@3"] == before[name]["f1@3"]
        assert told["remarks"][name][-1] == "each image's scores are standardised over its seen labels"


def test_a_run_says_what_its_scores_are_worth_on_one_scale_and_over_images_drawn_anew(work: SmallWork):
    told = metrics(work)
    drawn = Replicates.of(work.path("evaluate", "bootstrap.npz").read_bytes())
    scaled = work.task("evaluate", settings(standardise=True))
    try:
        evaluate.run(scaled)
        again, alone = metrics(work), Replicates.of(work.path("evaluate", "bootstrap.npz").read_bytes())
    finally:
        evaluate.run(work.task("evaluate", settings()))
    figures = told["zsl"]["chance"]
    assert alone.figures.keys() == {f"{name}/{figure}" for name in ("zsl", "gzsl") for figure in figures}
    for name in ("zsl", "gzsl"):
        assert told[name]["standardised"] == {figure: again[name][figure] for figure in figures}
        assert "standardised" not in again[name]
        for figure in figures:
            own, other = (drawn.figures[f"{name}/{scale}{figure}"] for scale in ("", "standardised/"))
            assert own.shape == (8,)
            assert other.tolist() == alone.figures[f"{name}/{figure}"].tolist()
    assert drawn.pairing == alone.pairing
    assert len(drawn.pairing) == 64


def test_without_replicates_the_file_names_the_pairing_alone(tmp_path: Path):
    work = trained(tmp_path, Recipe(without_vector=(1, 3, 5)))  # no unseen label is left
    evaluate.run(work.task("evaluate", settings(replicates=0)))
    drawn = Replicates.of(work.path("evaluate", "bootstrap.npz").read_bytes())
    assert (len(drawn.pairing), drawn.figures) == (64, {})
    evaluate.run(work.task("evaluate", settings()))
    drawn = Replicates.of(work.path("evaluate", "bootstrap.npz").read_bytes())
    assert drawn.figures.keys() == {f"standard/{figure}" for figure in metrics(work)["standard"]["chance"]}
    assert "standardised" not in metrics(work)["standard"]


def test_scores_that_are_all_alike_stay_finite():
    alike = ScoreTable.of(np.full((1, 4), 3, np.float32), np.ones((1, 4), np.int8))
    assert alike.standardised(3).rows(range(1)).tolist() == [[0, 0, 0, 0]]


def test_the_generalised_map_is_the_mean_of_its_parts(work: SmallWork):
    told = metrics(work)
    table = pq.read_table(work.path("evaluate", "per_label.parquet")).to_pylist()
    each = [row["average_precision"] or 0.0 for row in table if row["role"] == "seen"]
    parts = (sum(each) + work.recipe.unseen * told["zsl"]["map"]) / work.recipe.labels
    assert told["gzsl"]["map"] == pytest.approx(parts, abs=1e-12)


def test_metrics_say_what_was_evaluated(work: SmallWork):
    told = metrics(work)
    assert {key: told[key] for key in ("dataset", "model", "preset", "protocol", "weights", "images")} == {
        "dataset": "small",
        "model": "biam",
        "preset": "released",
        "protocol": "nuswide",
        "weights": "random:0",
        "images": 10,
    }
    assert told["features"] == "features/tiny-00000000/parquet"
    assert told["recipe"] == "r" * 64
    failed = {"empty": 1, "gone": 1}
    coverage = told["coverage"]
    assert {key: coverage[key] for key in ("expected", "evaluated", "fraction", "unlabelled", "failed")} == {
        "expected": 12, "evaluated": 10, "fraction": 10 / 12, "unlabelled": 0, "failed": failed,
    }  # fmt: skip


def test_coverage_is_that_of_a_slow_loop_and_what_is_missing_is_listed(work: SmallWork):
    coverage = json.loads(work.path("evaluate", "metrics.json").read_text())["coverage"]
    recipe, images = work.recipe, range(work.recipe.shards * work.recipe.shard_images)
    listed = [image for image in images if recipe.split(image) and work.positives[image] is not None]
    there = [image for image in listed if recipe.status(image) == "ok"]
    for split in ("train", "validation", "test"):
        told = coverage["splits"][split]
        assert told["expected"] == sum(recipe.split(image) == split for image in listed)
        assert told["obtained"] == sum(recipe.split(image) == split for image in there)
    assert coverage["sources"] == dict(Counter(("bucket", "flickr")[image % 2] for image in there))
    lost = Counter(label for image in listed for label in work.positives[image])
    lost.subtract(label for image in there for label in work.positives[image])
    told = {one["name"]: one["expected"] - one["obtained"] for one in coverage["labels"]["worst"]}
    assert told == {f"label {label}": count for label, count in lost.items() if count}
    assert coverage["warning"] == (
        f"coverage is {len(there) / len(listed):.1%} ({len(there)} of {len(listed)} labelled images), below "
        "evaluate.min_coverage = 99.0%: the figures are not those of the whole data set"
    )
    with work.path("evaluate", "missing.csv").open(newline="") as file:
        missing = {row["image_id"]: (row["split"], row["status"]) for row in csv.DictReader(file)}
    gone = [image for image in listed if image not in there]
    assert missing == {image_id(image): (recipe.split(image), recipe.status(image)) for image in gone}
    assert gone


def test_images_that_are_in_two_splits_are_counted_and_noted(work: SmallWork):
    pair = [{"image_id": image_id(0), "split": "test"}, {"image_id": image_id(3), "split": "train"}]
    told = {"images": 2, "splits": {"train": 1, "test": 1}, "examples": [pair]}
    assert metrics(work)["coverage"]["duplicates"] == told
    assert work.left().receipt("evaluate").note == (
        "2 images (train 1, test 1) have the bytes of an image in another split, such as "
        "'folder/0000.jpg' (test) and 'folder/0003.jpg' (train)"
    )


def test_labels_are_listed_with_their_counts(work: SmallWork):
    table = pq.read_table(work.path("evaluate", "per_label.parquet"))
    assert table.schema.equals(PER_LABEL)
    truth, scores = slow_truth(work), slow_scores(work)
    for column, row in enumerate(table.to_pylist()):
        assert row["label_index"] == columns(work)[column]
        assert row["name"] == f"label {row['label_index']}"
        assert row["role"] == ("unseen" if row["label_index"] in work.recipe.unseen_labels() else "seen")
        assert row["positives"] == truth[:, column].sum()
        assert row["positives"] + row["negatives"] == len(truth)
        expected = slow_average_precision(scores[:, column], truth[:, column])
        assert (row["average_precision"] or 0.0) == pytest.approx(expected, abs=1e-6)
        assert (row["chance"] is None) == (row["average_precision"] is None)


def test_examples_show_unseen_labels_where_the_model_sees_them(work: SmallWork):
    table = pq.read_table(work.path("evaluate", "examples.parquet"))
    assert table.schema.equals(EXAMPLES)
    scores, unseen = slow_scores(work), set(work.recipe.unseen_labels())
    assert table.num_rows == 4
    for row in table.to_pylist():
        number = row["shard"] * work.recipe.shard_images + row["row"]
        assert row["image_id"] == image_id(number)
        assert sorted(row["positive"]) == work.positives[number]
        mine = dict(zip(columns(work), scores[evaluated(work).index(number)].tolist(), strict=True))
        assert row["top"] == sorted(mine, key=lambda label: -mine[label])[:5]
        assert row["top_scores"] == pytest.approx([mine[label] for label in row["top"]], abs=1e-5)
        assert {one["label_index"] for one in row["maps"]} == unseen & set(row["positive"]) != set()
        for one in row["maps"]:
            assert (one["height"], one["width"]) == (3, 3)
            # A label's score is the mean of its two best regions.
            assert np.mean(sorted(one["values"])[-2:]) == pytest.approx(mine[one["label_index"]], abs=1e-5)


def test_an_image_without_unseen_labels_shows_maps_of_seen_ones(tmp_path: Path):
    none_unseen = {n: ([0, 2, 4, 6], None) for n in range(0, 60, 5)} | {0: ([], None), 5: ([2, 1], None)}
    work = trained(tmp_path, Recipe(annotations=none_unseen))
    evaluate.run(work.task("evaluate", settings(examples=99)))
    rows = pq.read_table(work.path("evaluate", "examples.parquet")).to_pylist()
    shown = {row["image_id"]: [one["label_index"] for one in row["maps"]] for row in rows}
    assert len(shown) == 12
    assert shown[image_id(0)] == []
    assert shown[image_id(5)] == [1]
    assert shown[image_id(10)] == [0, 2, 4]


def test_the_same_evaluation_gives_the_same_bytes(work: SmallWork):
    before = [work.path("evaluate", name).read_bytes() for name in FILES]
    evaluate.run(work.task("evaluate", settings()))
    assert [work.path("evaluate", name).read_bytes() for name in FILES] == before


def test_without_unseen_labels_there_is_one_standard_section(tmp_path: Path):
    work = trained(tmp_path, Recipe(unseen=0))
    (output,) = evaluate.run(work.task("evaluate", settings()))
    told = metrics(work)
    assert "zsl" not in told
    assert "gzsl" not in told
    assert told["standard"]["labels"] == 6
    assert output.facts["standard_map"] == told["standard"]["map"]


def test_transfer_beats_chance_and_falls_with_exchanged_labels(tmp_path: Path):
    work = make(tmp_path, Recipe(shards=5, shard_images=60, seen=30, unseen=8, word=6, channels=16))
    config = TrainConfig(epochs=12, batch_images=16, lr=3e-3, device="cpu", validate_every_epochs=4)
    task = work.task("train", train.Settings(BiamConfig(channels=16, heads=2, joint_size=16, top_k=2), config, 1))
    work = work.with_receipts(task, train.run(task))
    evaluate.run(work.task("evaluate", settings(draws=10)))
    zsl = metrics(work)["zsl"]
    assert zsl["map"] > zsl["chance"]["map"] + 0.05
    assert zsl["permuted"]["map"] < zsl["map"] - 0.05


def test_an_unknown_protocol_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"unknown protocol 'nus-wide'\. Did you mean 'nuswide'"):
        evaluate.settled(EvaluateConfig(protocol="nus-wide"), "nuswide")


@pytest.mark.parametrize(
    ("given", "own", "settled"),
    [
        ({}, "nuswide", ("nuswide", (3, 5))),
        ({}, "openimages", ("openimages", (10, 20))),
        ({"protocol": "openimages-biam"}, "nuswide", ("openimages-biam", (10, 20))),
        ({"protocol": "nuswide", "ks": (7,)}, "openimages", ("nuswide", (7,))),
    ],
)
def test_what_is_not_set_is_the_data_sets_own(given: dict[str, Any], own: str, settled: tuple[str, tuple[int, ...]]):
    config = evaluate.settled(EvaluateConfig(**given), own)
    assert (config.protocol, config.ks) == settled


def test_scores_put_aside_in_a_file_give_the_same_bytes(work: SmallWork):
    before = [work.path("evaluate", name).read_bytes() for name in FILES]
    names = {path.name for path in work.path("evaluate", "metrics.json").parent.iterdir()}
    told = []
    with heard_by(lambda *words: told.append(words)):
        evaluate.run(work.task("evaluate", settings(scores_in_memory_bytes=1)))
    assert [work.path("evaluate", name).read_bytes() for name in FILES] == before
    assert {path.name for path in work.path("evaluate", "metrics.json").parent.iterdir()} == names
    assert told[0][2].startswith("10 images x 9 labels: 0.0 GB of scores are put aside in")
    assert [words for words in told[1:] if "scored" in words[2]] == told[1:]
    sections = ["zsl", "gzsl"]
    drawn = [f"{name}{scale} over images drawn anew" for name in sections for scale in ("", "/standardised")]
    assert told[-6:] == [(10, 10, f"10 images scored, measuring {name}") for name in [*sections, *drawn]]


def test_every_protocol_is_named_in_the_metrics(tmp_path: Path):
    partly = {n: ([n % 9], [(n + 1) % 9, (n + 4) % 9]) for n in range(0, 60, 5)}
    work = trained(tmp_path, Recipe(annotations=partly))
    for protocol in ("openimages", "openimages-biam"):
        evaluate.run(work.task("evaluate", settings(protocol=protocol)))
        told = metrics(work)
        assert told["protocol"] == protocol
        assert 0 < told["zsl"]["map"] <= 1
        assert 0 < told["gzsl"]["chance"]["map"] < 1


def test_a_zero_that_has_a_reason_names_it(tmp_path: Path):
    seen_alone = {n: ([n % 10 % 2 * 2], None) for n in range(0, 60, 5)}
    work = trained(tmp_path / "one", Recipe(annotations=seen_alone, without_vector=(1,)))
    evaluate.run(work.task("evaluate", settings()))
    told = metrics(work)
    assert (told["zsl"]["map"], told["zsl"]["chance"]["map"]) == (0, 0)
    assert told["remarks"]["zsl"] == [
        "ZSL has 2 labels; for F1@3 all are predicted",
        "ZSL: none of its 2 labels has a positive test image, so that its figures are 0",
        "ZSL: labels without a word vector are in no figure: 1 ('label 1')",
    ]
    work = trained(tmp_path / "none", Recipe(without_vector=(1, 3, 5)))
    evaluate.run(work.task("evaluate", settings()))
    first, *_ = metrics(work)["remarks"]["standard"]
    assert first == "these figures stand in place of ZSL and GZSL, since no unseen label has a word vector"


def test_no_test_images_is_an_error_with_the_next_command(work: SmallWork, tmp_path: Path):
    empty = trained(tmp_path, Recipe(splits=dict.fromkeys(range(0, 60, 5), "")))
    with pytest.raises(PipelineError, match=r"no test images \(found 0 of 0 .* --set split.test_fraction"):
        evaluate.run(empty.task("evaluate", settings()))


def test_a_model_for_other_features_is_told_apart(work: SmallWork, tmp_path: Path):
    other = trained(tmp_path, Recipe(channels=4))
    Path(other.root, MODEL).write_bytes(Path(work.root, MODEL).read_bytes())
    receipts = other.receipts | {"train": work.receipts["train"]}
    with pytest.raises(PipelineError, match=r"trained for .*'region': 8.* are .*'region': 4"):
        evaluate.run(replace(other, receipts=receipts).task("evaluate", settings()))


def test_a_model_file_that_is_not_the_trained_one_is_refused(tmp_path: Path):
    work = trained(tmp_path)
    path = work.path("train", "model.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"runs/small/model\.safetensors is not what its receipt says"):
        evaluate.run(work.task("evaluate", settings()))
    path.write_text("not a model")
    with pytest.raises(IntegrityError, match="is no model of ours"):
        load_model(path)


def test_a_stop_leaves_no_metrics(tmp_path: Path):
    work = trained(tmp_path)
    with pytest.raises(TimeBudgetError):
        evaluate.run(work.task("evaluate", settings(), deadline=1.0))
    assert not work.path("evaluate", "metrics.json").exists()


def test_scores_are_kept_as_they_were_evaluated_and_none_where_they_are_too_many(tmp_path: Path) -> None:
    from pipeline.inference.kept_scores import read_scores

    work = trained(tmp_path)
    task = work.task("evaluate", settings())
    done = work.with_receipts(task, evaluate.run(task))
    kept = read_scores(done.left())
    assert kept is not None
    examples = pq.read_table(work.path("evaluate", "examples.parquet")).to_pylist()
    places = {f"id{label['label_index']}": label["label_index"] for label in per_label(work)}
    for row in examples:
        at = kept.image_ids.index(row["image_id"])
        by_label = dict(zip((places[name] for name in kept.label_ids), kept.scores[at], strict=True))
        assert [by_label[label] for label in row["top"]] == pytest.approx(row["top_scores"])
        present = {places[name] for name, code in zip(kept.label_ids, kept.codes[at], strict=True) if code == 1}
        assert present == set(row["positive"])
    few = work.task("evaluate", settings(kept_scores_bytes=10))
    silent = work.with_receipts(few, evaluate.run(few))
    assert read_scores(silent.left()) is None
    assert not work.path("evaluate", "scores.parquet").exists()


def per_label(work: SmallWork) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(work.path("evaluate", "per_label.parquet")).to_pylist()
    return found


def test_probabilities_are_fitted_without_any_annotation_of_an_unseen_label(tmp_path: Path) -> None:
    told = []
    for seed in (0, 1):
        work = trained(tmp_path / str(seed), Recipe(unseen_seed=seed))
        task = work.task("evaluate", settings())
        evaluate.run(task)
        told.append(json.loads(work.path("evaluate", "calibration.json").read_text()))
    assert told[0] == told[1]
    assert told[0]["fitted_on"]["cells"] == told[0]["fitted_on"]["images"] * 6
    assert told[0]["slope"] >= 0
    assert told[0]["seen"]["cells"] == 12 * 6
    assert 0 <= told[0]["unseen"]["error"] <= 1


def test_without_a_validation_image_there_are_no_probabilities_and_the_reason_is_told(tmp_path: Path) -> None:
    everywhere = {image: "train" for image in range(60) if image % 10 == 1}
    work = trained(tmp_path, Recipe(splits=everywhere))
    evaluate.run(work.task("evaluate", settings()))
    told = json.loads(work.path("evaluate", "calibration.json").read_text())
    assert (told["slope"], told["seen"], told["unseen"]) == (None, None, None)
    assert told["reason"].startswith("no validation image has a seen label")
