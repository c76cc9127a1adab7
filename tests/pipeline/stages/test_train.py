"""Training learns, repeats to the byte, goes on where it stopped, and never looks at an unseen label."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_work import Recipe, SmallWork, make
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.engine.sources import Sources
from pipeline.engine.task import Task
from pipeline.files.storage import Storage
from pipeline.inference.determinism import repeatable
from pipeline.inference.model_file import load_model
from pipeline.machine.telling import heard_by
from pipeline.models.biam.settings import BiamConfig
from pipeline.settings.layers import configuration
from pipeline.stages import train
from pipeline.training.checkpoint import Learner, Progress, restore, save
from pipeline.training.schedule import learning_rate
from schemas.config import TrainConfig
from schemas.errors import IntegrityError, PipelineError, TimeBudgetError
from schemas.section import recipe
from schemas.status import ImageSplit, ImageStatus

LONG_AGO = 1.0  # a deadline that has passed: a run saves and stops after every step


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks a shard, as in shards of the usual size."""
    monkeypatch.setattr("pipeline.batches.selection.BLOCK_ROWS", 4)


def settings(**changes: Any) -> train.Settings:
    fields = {"epochs": 3, "batch_images": 8, "shuffle_window_blocks": 3, "validate_every_epochs": 1, "device": "cpu"}
    model = BiamConfig(channels=16, heads=2, joint_size=12, top_k=2)
    return train.Settings(model, TrainConfig(**(fields | changes)), threads=1, config_toml="[train]\nepochs = 3\n")


def history(work: SmallWork) -> dict[str, Any]:
    return json.loads(work.path("train", "history.json").read_bytes())


def figures(work: SmallWork) -> list[dict[str, Any]]:
    """The history without its clock."""
    return [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in history(work)["epochs"]]


def model_bytes(work: SmallWork) -> bytes:
    return work.path("train", "model.safetensors").read_bytes()


TWO_PARTS = {"epochs": 2, "full_epochs": 2, "full_lr": 2e-3}


def run_in_pieces(task: Task) -> int:
    """Run with a deadline that has passed until it ends; returns how often it stopped."""
    stops = 0
    while True:
        try:
            train.run(replace(task, deadline=LONG_AGO))
        except TimeBudgetError:
            stops += 1
        else:
            return stops


def test_the_loss_falls_and_validation_beats_chance(tmp_path: Path):
    work = make(tmp_path, Recipe(shards=4, shard_images=40))
    outputs = train.run(work.task("train", settings(epochs=16, lr=3e-3, validate_every_epochs=4)))
    epochs = history(work)["epochs"]
    assert epochs[-1]["train_loss"] < 0.3 * epochs[0]["train_loss"]
    # Three labels in ten are present: so high is the mAP of random scores.
    assert epochs[-1]["validation"]["map"] > 0.6
    assert [epoch["epoch"] for epoch in epochs if epoch["validation"]] == [4, 8, 12, 16]
    assert outputs[0].rows == history(work)["images"]["train"]


def test_what_a_run_leaves(tmp_path: Path):
    work = make(tmp_path)
    (output,) = train.run(work.task("train", settings()))
    assert output.files == ("model", "history", "config")
    assert work.path("train", "config.toml").read_text() == "[train]\nepochs = 3\n"
    told = history(work)
    assert told["images"]["validation"] == 6
    assert told["epochs"][-1]["step"] == 3 * 5
    assert output.facts["selected_epoch"] == told["selected_epoch"]
    best = max(epoch["validation"]["f1@5"] for epoch in told["epochs"])
    assert told["epochs"][told["selected_epoch"] - 1]["validation"]["f1@5"] == best
    assert "epoch 3/3 loss" in work.path("train", "train.log").read_text()
    with safe_open(work.path("train", "model.safetensors"), framework="pt") as file:
        assert json.loads(file.metadata()["biam_pipe"])["sizes"] == {
            "region_channels": 8, "global_size": 6, "word_size": 5,
        }  # fmt: skip


def test_the_model_file_says_how_to_build_itself(tmp_path: Path):
    work = make(tmp_path)
    train.run(work.task("train", settings(epochs=1)))
    path = work.path("train", "model.safetensors")
    saved = load_model(path)
    assert saved.config == settings().model
    assert not saved.model.training
    for name, value in load_file(path).items():
        assert torch.equal(saved.model.state_dict()[name], value)


def test_the_weights_of_the_best_epoch_are_kept(tmp_path: Path):
    work = make(tmp_path)
    train.run(work.task("train", settings(epochs=6, lr=0.02)))
    chosen = history(work)["selected_epoch"]
    assert chosen < 6  # else this test says nothing
    shorter = make(tmp_path / "shorter")
    train.run(shorter.task("train", settings(epochs=chosen, lr=0.02)))
    assert model_tensors_equal(work, shorter)


def model_tensors_equal(one: SmallWork, other: SmallWork) -> bool:
    pairs = [load_file(work.path("train", "model.safetensors")) for work in (one, other)]
    return all(torch.equal(pairs[0][name], pairs[1][name]) for name in pairs[0])


def test_two_runs_give_the_same_bytes_and_another_seed_does_not(tmp_path: Path):
    works = [make(tmp_path / name) for name in ("one", "two", "three")]
    for work, seed in zip(works, (0, 0, 1), strict=True):
        train.run(work.task("train", settings(seed=seed)))
    assert model_bytes(works[0]) == model_bytes(works[1])
    assert model_bytes(works[0]) != model_bytes(works[2])
    assert figures(works[0]) == figures(works[1])


def test_the_row_groups_of_the_store_change_not_one_byte(tmp_path: Path):
    works = [make(tmp_path / str(rows), Recipe(row_group_rows=rows)) for rows in (3, 4, 1000)]
    for work in works:
        train.run(work.task("train", settings()))
    assert len({work.receipts["extract"][0].files[0].sha256 for work in works}) == 3
    assert len({model_bytes(work) for work in works}) == 1
    assert figures(works[0]) == figures(works[1]) == figures(works[2])


@pytest.mark.parametrize(
    ("preset", "changes"), [("released", {"precision": "bf16"}), ("released", TWO_PARTS), ("paper", {})], ids=str
)
def test_a_run_stopped_after_every_step_equals_an_undisturbed_one(tmp_path: Path, preset: str, changes: dict):
    chosen = settings(**({"epochs": 2, "validate_every_epochs": 1} | changes))
    chosen = replace(chosen, model=chosen.model.model_copy(update={"preset": preset}))
    whole, pieces = make(tmp_path / "whole"), make(tmp_path / "pieces")
    train.run(whole.task("train", chosen))
    stops = run_in_pieces(pieces.task("train", chosen))
    assert stops >= history(whole)["epochs"][-1]["step"]
    assert model_bytes(pieces) == model_bytes(whole)
    assert figures(pieces) == figures(whole)


def test_a_budget_shorter_than_a_validation_still_comes_to_an_end(tmp_path: Path):
    work = make(tmp_path)
    run_in_pieces(work.task("train", settings(epochs=1, batch_images=4)))  # six validation images: two batches
    assert len(figures(work)) == 1


def test_a_stop_comes_with_a_checkpoint_of_the_last_step(tmp_path: Path):
    work = make(tmp_path)
    with pytest.raises(TimeBudgetError, match="same command goes on from here"):
        train.run(work.task("train", settings(), deadline=LONG_AGO))
    with safe_open(work.path("train", "checkpoint/last.safetensors"), framework="pt") as file:
        progress = json.loads(file.metadata()["biam_pipe"])["progress"]
    assert (progress["epoch"], progress["batch"], progress["step"]) == (0, 1, 1)
    assert not work.path("train", "model.safetensors").exists()


def test_curves_hold_every_step_once_after_stops(tmp_path: Path):
    work = make(tmp_path)
    run_in_pieces(work.task("train", settings(epochs=2)))
    events = EventAccumulator(str(work.path("train", ".")))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert [step for step, _ in losses] == list(range(1, figures(work)[-1]["step"] + 1))
    assert [event.step for event in events.Scalars("validation/f1@5")] == [epoch["step"] for epoch in figures(work)]


def test_other_work_does_not_go_on_from_this_checkpoint(tmp_path: Path):
    work, fresh = make(tmp_path / "work"), make(tmp_path / "fresh")
    with pytest.raises(TimeBudgetError):
        train.run(work.task("train", settings(seed=1), deadline=LONG_AGO))
    train.run(work.task("train", settings(), fingerprint="e" * 64))
    train.run(fresh.task("train", settings()))
    assert model_bytes(work) == model_bytes(fresh)


@pytest.mark.parametrize("damage", ["flip", "cut", "text", "progress"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(tmp_path: Path, damage: str):
    work = make(tmp_path)
    task = work.task("train", settings())
    with pytest.raises(TimeBudgetError):
        train.run(replace(task, deadline=LONG_AGO))
    path = work.path("train", "checkpoint/last.safetensors")
    data = path.read_bytes()
    flipped = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    further = data.replace(b'step\\": ', b'step\\": 1', 1)
    damaged = {"flip": flipped, "cut": data[:-9], "text": b"{}" * 40, "progress": further}
    path.write_bytes(damaged[damage])
    with pytest.raises(IntegrityError, match=r"runs/small/checkpoint/last.safetensors is damaged .* Remove it"):
        train.run(task)


@pytest.mark.parametrize("changes", [{"max_positives": 3}, TWO_PARTS | {"patience": 1, "precision": "bf16"}], ids=str)
def test_annotations_of_unseen_labels_change_not_one_byte(tmp_path: Path, changes: dict):
    honest, tampered = make(tmp_path / "honest"), make(tmp_path / "tampered", Recipe(unseen_seed=1))
    learned_from = [n for n in range(60) if Recipe().split(n) != ImageSplit.TEST]
    changed = [n for n in learned_from if honest.positives[n] != tampered.positives[n]]
    assert len(changed) > len(learned_from) / 2
    for work in (honest, tampered):
        train.run(work.task("train", settings(**changes)))
    assert model_bytes(honest) == model_bytes(tampered)
    assert figures(honest) == figures(tampered)


def test_how_maps_are_read_changes_not_one_byte(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    works = []
    ways = [(0, "never"), (4, "never"), (4, "auto")]
    for number, (workers, cache) in enumerate(ways):
        works.append(make(tmp_path / str(number)))
        with caplog.at_level(logging.INFO, "biam_pipe.train"):
            train.run(works[-1].task("train", settings(loader_workers=workers, feature_cache=cache)))
    assert len({model_bytes(work) for work in works}) == 1
    assert figures(works[0]) == figures(works[-1])
    told = "features of 43 images (train and validation, 0.00 GB) are"
    assert f"{told} read from disk in every epoch: there is room for" in caplog.text
    assert f"{told} kept in memory: there is room for" in caplog.text


def test_scores_of_a_validation_that_are_put_aside_pick_the_same_epoch(tmp_path: Path):
    works = [make(tmp_path / "memory"), make(tmp_path / "file")]
    train.run(works[0].task("train", settings()))
    train.run(works[1].task("train", replace(settings(), scores_in_memory_bytes=1)))
    assert model_bytes(works[0]) == model_bytes(works[1])
    assert figures(works[0]) == figures(works[1])


def test_then_all_images_are_trained_on_from_the_best_weights(tmp_path: Path):
    work, before = make(tmp_path / "work"), make(tmp_path / "before")
    (output,) = train.run(work.task("train", settings(**TWO_PARTS)))
    train.run(before.task("train", settings(epochs=2)))
    epochs = history(work)["epochs"]
    assert [epoch["images"] for epoch in epochs] == ["train"] * 2 + ["train+validation"] * 2
    assert [epoch["lr"] for epoch in epochs[2:]] == [2e-3] * 2
    assert [epoch["validation"] is None for epoch in epochs] == [False, False, True, True]
    assert figures(work)[:2] == figures(before)
    assert output.facts["selected_epoch"] == 4
    assert not model_tensors_equal(work, before)
    assert epochs[2]["step"] - epochs[1]["step"] == 6  # 37 + 6 images in batches of 8


def test_a_run_ends_early_once_validation_has_not_improved_for_a_while(tmp_path: Path):
    work = make(tmp_path)
    train.run(work.task("train", settings(epochs=40, lr=0.02, patience=2)))
    told = history(work)
    assert len(told["epochs"]) == told["selected_epoch"] + 2 < 40


def test_bfloat16_learns_as_well(tmp_path: Path):
    work = make(tmp_path, Recipe(shards=4, shard_images=40))
    train.run(work.task("train", settings(epochs=12, lr=3e-3, validate_every_epochs=6, precision="bf16")))
    epochs = history(work)["epochs"]
    assert epochs[-1]["train_loss"] < 0.5 * epochs[0]["train_loss"]
    assert {value.dtype for value in load_file(work.path("train", "model.safetensors")).values()} == {
        torch.float32, torch.int64,
    }  # fmt: skip


def test_annotations_of_seen_labels_do_change_the_model(tmp_path: Path):
    one, other = make(tmp_path / "one"), make(tmp_path / "other", Recipe(annotations={2: ([0], None)}))
    for work in (one, other):
        train.run(work.task("train", settings(epochs=1)))
    assert model_bytes(one) != model_bytes(other)


def test_a_label_that_left_the_data_set_stops_no_training(tmp_path: Path):
    recipe = Recipe(unlisted=(0, 1), without_vector=(0,), annotations={2: ([0, 1], None)})
    work = make(tmp_path, recipe)
    (output,) = train.run(work.task("train", settings()))
    listed = set(range(recipe.labels)) - set(recipe.unseen_labels()) - {0}
    usable = [n for n in range(60) if recipe.split(n) == ImageSplit.TRAIN and listed & set(work.positives[n] or [])]
    assert 2 not in usable
    assert output.rows == len(usable)


def test_without_validation_images_the_last_weights_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    work = make(tmp_path, Recipe(splits=dict.fromkeys(range(1, 60, 10), "")))
    with caplog.at_level(logging.INFO, "biam_pipe.train"):
        (output,) = train.run(work.task("train", settings()))
    assert "no validation images: the weights of the last epoch are kept" in caplog.text
    assert output.facts["selected_epoch"] == 3
    assert {epoch["validation"] for epoch in history(work)["epochs"]} == {None}


def test_progress_tells_steps_done_and_in_all(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    work, told = make(tmp_path), []
    with caplog.at_level(logging.INFO, "biam_pipe.train"), heard_by(lambda *words: told.append(words)):
        train.run(work.task("train", settings()))
    epochs = [record.getMessage() for record in caplog.records if "images/s" in record.getMessage()]
    assert [(done, total) for done, total, text in told if text in epochs] == [(5, 15), (10, 15), (15, 15)]
    assert sorted({done for done, *_ in told}) == list(range(1, 16))
    assert {total for _, total, _ in told} == {15}
    assert "epoch 1/3 step 2 loss" in told[1][2]


@pytest.mark.parametrize(
    ("changes", "advised"),
    [
        ({}, "--set train.lr=0.001$"),
        ({"precision": "bf16"}, "With train.precision=fp32, or with a smaller rate, .*--set train.lr=0.001$"),
    ],
)
def test_a_loss_that_is_not_finite_names_step_rate_checkpoint_and_a_rate_that_may_do(
    tmp_path: Path, changes: dict[str, Any], advised: str
):
    wild = settings(warmup_epochs=0, **changes)
    wild = replace(
        wild, train=wild.train.model_copy(update={"lr": 1e30})
    )  # more than settings allow: it diverges at once
    found = rf"loss is (nan|inf) at step \d+ \(epoch \d, learning rate 1e\+30\).*checkpoint is .*{advised}"
    with pytest.raises(PipelineError, match=found):
        train.run(make(tmp_path).task("train", wild))


def test_nothing_to_learn_from_is_an_error_with_the_next_command(tmp_path: Path):
    no_images = make(tmp_path / "images", Recipe(splits=dict.fromkeys(range(60), "test")))
    with pytest.raises(PipelineError, match=r"found 0 of 0 .* biam-pipe split --set split.test_fraction"):
        train.run(no_images.task("train", settings()))
    failed = make(tmp_path / "failed", Recipe(statuses=dict.fromkeys(range(60), ImageStatus.NOT_FOUND)))
    with pytest.raises(PipelineError, match=r"found 0 of 42 .*'not_found': 42.* See what failed .*biam-pipe status$"):
        train.run(failed.task("train", settings()))
    no_labels = make(tmp_path / "labels", Recipe(without_vector=(0, 2, 4, 6, 7, 8)))
    with pytest.raises(PipelineError, match=r"no seen label with a vector \(found 0 seen labels, 6 labels without"):
        train.run(no_labels.task("train", settings()))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TrainConfig(epochs=5, lr=1.0, warmup_epochs=3), [1 / 3, 2 / 3, 1, 1, 1]),
        (TrainConfig(epochs=5, lr=1.0, final_lr=0.5, warmup_epochs=3), [1 / 3, 2 / 3, 1, 1, 0.75]),
        (TrainConfig(epochs=3, lr=1.0, final_lr=0.5, warmup_epochs=0), [1, 0.875, 0.625]),
        (TrainConfig(epochs=2, lr=1.0, final_lr=0.5, warmup_epochs=4), [0.25, 0.5]),
        (TrainConfig(epochs=1, lr=1.0, final_lr=0.5, warmup_epochs=1), [1]),
    ],
)
def test_the_rate_warms_up_then_stays_or_falls_along_a_cosine(config: TrainConfig, expected: list[float]):
    assert [learning_rate(config, epoch) for epoch in range(config.epochs)] == pytest.approx(expected)


def test_the_schedule_of_the_release_has_its_printed_rates(tmp_path: Path):
    config = configuration("nuswide", None, {}, [], tmp_path).train
    rates = [learning_rate(config, epoch) for epoch in range(config.epochs)]
    assert rates[:3] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3], rel=1e-9)
    expected = [5e-4 + (1e-3 - 5e-4) * (1 + np.cos(np.pi * (epoch - 4) / 37)) / 2 for epoch in range(4, 41)]
    assert rates[3:] == pytest.approx(expected, rel=0, abs=1e-9)
    assert (len(expected), rates[3]) == (37, 1e-3)


@pytest.mark.parametrize(("preset", "other"), [("released", {"train.cosine": 2}), ("paper", {})])
def test_a_run_made_with_the_cosine_of_before_is_not_taken_for_the_same_recipe(
    preset: str, other: dict[str, int], tmp_path: Path
):
    config = configuration("nuswide", None, {}, [f"model.preset={preset}"], tmp_path)
    asked = train.stage(config, Sources(Storage(str(tmp_path)))).recipe
    before = recipe("model", config.model) | recipe("train", config.train)
    assert asked == before | other


def test_a_restored_learner_takes_the_same_next_steps(tmp_path: Path):
    from pipeline.files.storage import Storage

    def learner() -> Learner:
        model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5))
        model = model.to(memory_format=torch.channels_last)
        return Learner(model, torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=1e-3))

    def step(one: Learner) -> float:
        loss = one.model(torch.ones(2, 2, 4, 4)).square().sum()
        one.optimizer.zero_grad()
        loss.backward()
        one.optimizer.step()
        return loss.item()

    torch.manual_seed(0)
    first, storage = learner(), Storage(str(tmp_path))
    step(first)
    first.best.update({"0.weight": torch.ones(2)})
    progress = Progress(epoch=1, step=3, best_score=0.1 + 0.2, history=[{"epoch": 1}])
    save(storage, "c.safetensors", "fp", first, progress)
    expected = [step(first) for _ in range(3)]
    torch.manual_seed(5)
    second = learner()
    assert restore(storage, "c.safetensors", "fp", second) == progress
    assert [step(second) for _ in range(3)] == expected
    assert torch.equal(second.best["0.weight"], torch.ones(2))
    assert restore(storage, "c.safetensors", "other", second) is None
    assert restore(storage, "none.safetensors", "fp", second) is None


def test_arithmetic_settings_are_those_of_before_afterwards():
    with repeatable(0, 1, torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
        first = torch.rand(3)
    assert not torch.are_deterministic_algorithms_enabled()
    with repeatable(0, None, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)


def test_planning_imports_no_torch():
    code = "import sys, pipeline.stages.train, pipeline.stages.evaluate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
