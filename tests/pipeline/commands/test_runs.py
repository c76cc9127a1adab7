"""Runs beside each other: which there are, what two differ by over shared images, and which becomes the latest."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_folders import config_of, write_run

from pipeline import flow
from pipeline.commands.runs.found import Run, differing, opened
from pipeline.commands.runs.latest import PATH, latest, named, write_latest
from pipeline.commands.runs.promotion import promote as promote_run
from pipeline.commands.runs.told import cleaning_lines, difference_lines, promotion_lines, runs_lines
from pipeline.engine.graph import resolve
from pipeline.engine.ledger import Ledger, file_receipt
from pipeline.engine.sources import Sources
from pipeline.files.inputs import Inputs
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from schemas.errors import HeldFolderError, IntegrityError, PipelineError, UsageError
from schemas.receipts import Receipt

IMAGES, LABELS = 60, 5


def ids(count: int, first: int = 0) -> list[str]:
    return [f"image {number}" for number in range(first, first + count)]


def codes(count: int, first: int = 0) -> np.ndarray:
    """Of the images with these numbers, the same whichever run asks."""
    rows = [np.random.default_rng([3, number]).random(LABELS) < 0.4 for number in range(first, first + count)]
    return np.where(rows, 1, -1).astype(np.int8)


def scores(count: int, skill: float, first: int = 0) -> np.ndarray:
    """The more skill, the more they say of the labels."""
    noise = [np.random.default_rng([4, number]).normal(size=LABELS) for number in range(first, first + count)]
    return (np.array(noise) + skill * codes(count, first)).astype(np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three runs over the same images: `poor`, `good`, and `same`, which is as good as `good`."""
    folder = tmp_path / "demo"
    write_run(folder, "poor", ids(IMAGES), scores(IMAGES, 0.0), codes(IMAGES), started_at=1.0)
    write_run(folder, "good", ids(IMAGES), scores(IMAGES, 3.0), codes(IMAGES), "train.lr=0.002", started_at=2.0)
    write_run(folder, "same", ids(IMAGES), scores(IMAGES, 3.0), codes(IMAGES), "model.preset=paper", started_at=3.0)
    return folder


@pytest.fixture
def promote(root: Path) -> Callable[..., flow.Promotion]:
    config = config_of(root.parent)
    return lambda name, figure=None: flow.promote(config, root.parent, name, figure)


def test_runs_are_listed_newest_first_with_what_tells_them_apart(root: Path) -> None:
    (root / "runs/stopped/checkpoint").mkdir(parents=True)
    (root / "runs/stopped/checkpoint/last.safetensors").write_bytes(b"half")
    found = flow.runs(config_of(root.parent), root.parent)
    assert [run.name for run in found.runs] == ["stopped", "same", "good", "poor"]
    states = {run.name: run.state for run in found.runs}
    assert states == {"stopped": "stopped", "same": "evaluated", "good": "evaluated", "poor": "evaluated"}
    told = {run["name"]: run for run in found.as_json()["runs"]}
    assert told["good"]["settings"]["train.lr"] == 0.002
    assert told["same"]["settings"]["model.preset"] == "paper"
    assert "train.epochs" not in told["good"]["settings"]
    assert told["good"]["images"] == {"train": 9, "validation": 3, "test": IMAGES}
    assert told["good"]["metrics"]["zsl"]["chance"]["map"] > 0
    assert told["good"]["size_bytes"] == sum(path.stat().st_size for path in (root / "runs/good").iterdir())
    lines = list(runs_lines(found))
    assert any("train.lr=0.002" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_run_that_is_trained_now_is_no_stopped_one(root: Path) -> None:
    (root / "runs/old/checkpoint").mkdir(parents=True)
    (root / "runs/old/checkpoint/last.safetensors").write_bytes(b"half")
    for path in (root / "runs/old/checkpoint/last.safetensors", root / "runs/old/checkpoint"):
        os.utime(path, (1.0, 1.0))
    config, storage = config_of(root.parent), Storage(str(root))
    with writing(storage) as lease:
        for name, file in (("now", "checkpoint/last.safetensors"), ("begun", "train.log")):
            lease.storage.write(f"runs/{name}/{file}", b"half")
        states = {run.name: run.state for run in flow.runs(config, root.parent).runs}
        kept = flow.clean(config, root.parent, keep=0).kept
    assert (states["now"], states["begun"], states["old"]) == ("under way", "under way", "stopped")
    assert (kept["now"], kept["begun"], "old" in kept) == ("under way", "under way", False)
    states = {run.name: run.state for run in flow.runs(config, root.parent).runs}
    assert (states["now"], states["begun"]) == ("stopped", "empty")


def test_a_setting_that_only_one_model_has_tells_no_runs_apart() -> None:
    runs = [Run("a", "", "", 0, settings={"x": 1, "y": 1}), Run("b", "", "", 0, settings={"x": 2})]
    assert differing(runs) == {"a": {"x": 1}, "b": {"x": 2}}


def test_a_damaged_run_is_told_and_costs_no_other(root: Path) -> None:
    path = root / "runs/good/metrics.json"
    path.write_bytes(path.read_bytes().replace(b"zsl", b"ZSL", 1))
    found = {run.name: run for run in flow.runs(config_of(root.parent), root.parent).runs}
    assert (found["good"].state, found["poor"].state) == ("damaged", "evaluated")
    assert "is not what its receipt says" in (found["good"].problem or "")


def test_two_runs_over_the_same_images_differ_by_their_settings_and_paired_figures(root: Path) -> None:
    found = flow.runs_difference(config_of(root.parent), root.parent, "poor", "good")
    assert (list(found.settings), found.settings["train.lr"][1]) == (["train.lr"], 0.002)
    assert (found.images, found.note) == ((IMAGES, IMAGES, IMAGES), None)
    gain = found.figure("zsl/map")
    assert gain is not None
    assert gain.gain == pytest.approx(gain.second - gain.first)
    low, high = gain.interval or (0.0, 0.0)
    assert 0 < low < gain.gain < high
    assert max(map(len, difference_lines(found))) <= 80


def test_runs_that_grew_are_compared_over_the_images_of_both_as_if_tested_on_these_alone(root: Path) -> None:
    more = IMAGES + 5
    write_run(root, "grown", ids(more), scores(more, 3.0), codes(more))
    config = config_of(root.parent)
    alone, shared = (flow.runs_difference(config, root.parent, "poor", name) for name in ("same", "grown"))
    assert shared.images == (IMAGES, more, IMAGES)
    assert shared.shared == IMAGES / more
    for one in shared.figures:
        as_alone = alone.figure(f"{one.section}/{one.figure}")
        assert as_alone is not None
        assert (one.first, one.second) == pytest.approx((as_alone.first, as_alone.second))
        assert one.interval == pytest.approx(as_alone.interval, abs=1e-6)


def test_what_cannot_be_compared_says_why(root: Path) -> None:
    config, more = config_of(root.parent), IMAGES + 5
    write_run(root, "silent", ids(more), scores(more, 3.0), codes(more), keeps_scores=False)
    told = flow.runs_difference(config, root.parent, "poor", "silent")
    assert "silent kept no scores" in (told.note or "")
    assert {one.interval for one in told.figures} == {None}
    write_run(root, "others", ids(IMAGES), scores(IMAGES, 3.0), codes(IMAGES), label_ids="01245")
    told = flow.runs_difference(config, root.parent, "poor", "others")
    assert told.note == "ZSL: they rank other labels; GZSL: they rank other labels"
    write_run(root, "elsewhere", ids(9, IMAGES), scores(9, 3.0, IMAGES), codes(9, IMAGES))
    assert flow.runs_difference(config, root.parent, "poor", "elsewhere").note == "no test image is in both"
    with pytest.raises(UsageError, match=r"unknown run 'godo'\. Did you mean 'good'"):
        flow.runs_difference(config, root.parent, "poor", "godo")


def test_the_pointer_moves_to_what_is_better_beyond_luck_alone(
    root: Path, promote: Callable[..., flow.Promotion]
) -> None:
    storage = Storage(str(root))
    assert latest(storage) is None
    assert promote("poor").moved
    assert named(storage, "latest") == "poor"
    better = promote("good", "gzsl/map")
    assert better.moved
    pointer = latest(storage)
    assert pointer is not None
    assert (pointer.run, pointer.before, pointer.figure) == ("good", "poor", "gzsl/map")
    assert pointer.gain is not None
    assert pointer.gain > 0
    before = (root / PATH).stat().st_mtime_ns
    for name, told in (("same", "no better beyond the luck of the images"), ("poor", "is worse than good")):
        refused = promote(name)
        assert told in str(refused.problem)
        assert not refused.moved
        assert max(map(len, promotion_lines(refused))) <= 80
    assert promote("good").problem is None
    assert (root / PATH).stat().st_mtime_ns == before
    assert flow.runs(config_of(root.parent), root.parent).latest == "good"


def test_runs_that_share_less_than_nine_tenths_of_their_test_images_are_not_promoted(
    root: Path, promote: Callable[..., flow.Promotion]
) -> None:
    for name, more in (("far", 7), ("near", 6)):
        write_run(root, name, ids(IMAGES + more), scores(IMAGES + more, 3.0), codes(IMAGES + more))
    promote("poor")
    problem = promote("far").problem
    assert problem is not None
    assert (problem.expected, problem.exit_code) == ("90% of each at least", 1)
    assert "60 test images are in both, of 60 and 67" in str(problem)
    assert promote("near").moved


def test_a_figure_or_an_evaluation_that_is_not_there_is_told(
    root: Path, promote: Callable[..., flow.Promotion]
) -> None:
    with pytest.raises(UsageError, match="good has no figure, got 'map', expected one of zsl/map"):
        promote("good", "map")
    (root / "runs/good/evaluate.stage.json").unlink()
    with pytest.raises(PipelineError, match="good was not evaluated"):
        promote("good")


def test_a_pointer_that_was_changed_by_hand_counts_for_nothing_and_is_moved_over_by_nobody(
    root: Path, promote: Callable[..., flow.Promotion]
) -> None:
    promote("good")
    told = json.loads((root / PATH).read_text())
    (root / PATH).write_text(json.dumps(told | {"run": "same"}))
    config = config_of(root.parent)
    assert latest(Storage(str(root))) is None
    assert flow.runs(config, root.parent).latest is None
    doings: list[Callable[[], object]] = [
        lambda: promote("poor"),  # which is worse than what was latest
        lambda: flow.with_run(config, root.parent, "latest"),
        lambda: flow.clean(config, root.parent, keep=0),
    ]
    for doing in doings:
        with pytest.raises(IntegrityError, match=r"latest\.json is not as it was written.*runs promote RUN"):
            doing()


def test_a_pointer_that_moved_during_the_comparison_stays_where_it_is(root: Path) -> None:
    config, storage = config_of(root.parent), Storage(str(root))
    flow.promote(config, root.parent, "poor")
    pointer = latest(storage)
    assert pointer is not None

    def left_of(name: str) -> Inputs:
        if name == "poor":  # looked at for the comparison
            with writing(storage):
                write_latest(storage, replace(pointer, run="same"))
        graph = resolve(flow.stages(config, Sources(storage, needed=False)), storage)
        return opened(graph, storage, name)

    with pytest.raises(PipelineError, match="another run became latest while good was compared"):
        promote_run(storage, "good", None, left_of)
    assert named(storage, "latest") == "same"


def test_a_name_that_leads_to_no_run_says_how_to_get_one(root: Path) -> None:
    config = config_of(root.parent)
    with pytest.raises(UsageError, match=r"no run is latest yet.*One is made so by: biam-pipe runs promote RUN"):
        flow.with_run(config, root.parent, "latest")
    for doing in (
        lambda: flow.runs_difference(config, root.parent, "", "good"),
        lambda: flow.promote(config, root.parent, ""),
        lambda: flow.with_run(config, root.parent, ""),
    ):
        with pytest.raises(UsageError, match="no run is named, expected its name, or latest"):
            doing()


def test_a_run_of_a_model_that_is_not_here_any_more_costs_no_other(root: Path) -> None:
    storage, folder = Storage(str(root)), "runs/good"
    text = storage.read(f"{folder}/config.toml").replace(b'name = "biam"', b'name = "gone"')
    storage.write(f"{folder}/config.toml", text)
    ledger = Ledger(storage, "train", folder, "train.stage")
    told = ledger.read(None)
    assert told is not None
    files = [file_receipt(storage, file.path) for file in told.files]
    ledger.write(told.model_copy(update={"files": tuple(files)}))
    config = config_of(root.parent)
    found = {run.name: run for run in flow.runs(config, root.parent).runs}
    assert (found["good"].state, found["same"].state) == ("unknown", "evaluated")
    assert "unknown model 'gone'" in (found["good"].problem or "")
    cleaned = flow.clean(config, root.parent)
    assert "good is unknown, so nobody can tell what it needs" in cleaned.notes[0]


def test_a_run_is_looked_at_with_its_own_settings(root: Path, promote: Callable[..., flow.Promotion]) -> None:
    promote("poor")
    promote("good")
    config = config_of(root.parent, "evaluate.draws=7")
    found = flow.with_run(config, root.parent, "latest")
    assert (found.train.run, found.train.lr, found.evaluate.draws) == ("good", 0.002, 7)
    assert flow.status(found, root.parent).run == str(root / "runs/good")


def test_clean_lists_what_no_kept_run_needs_and_removes_only_that(
    root: Path, promote: Callable[..., flow.Promotion]
) -> None:
    config, work = config_of(root.parent), root.parent
    promote("poor")
    old = root / "features/other-01234567/parquet"
    old.mkdir(parents=True)
    storage = Storage(str(root))
    for folder in ("features/other-01234567/parquet", "compare/c-00000000"):
        storage.write(f"{folder}/a.bin", b"x" * 1000)
        receipt = Receipt(
            stage="extract", shard=None, fingerprint="", content="", files=(file_receipt(storage, f"{folder}/a.bin"),),
            rows=0, counts={}, facts={"runs": ["runs/same"]}, started_at=0.0, seconds=0.0, versions={},
        )  # fmt: skip
        Ledger(storage, "extract", folder, "stage").write(receipt)

    nothing = flow.clean(config, work)
    assert [(one.kind, one.path) for one in nothing.found] == [("features", "features/other-01234567/parquet")]
    found = flow.clean(config, work, keep=0)
    assert {one.path for one in found.found} == {"features/other-01234567/parquet", "runs/good"}
    assert found.kept == {"poor": "latest", "same": "in compare/c-00000000"}
    assert max(len(line) for line in cleaning_lines(found)) <= 80
    assert old.exists()
    with writing(storage), pytest.raises(HeldFolderError):
        flow.clean(config, work, keep=0, remove=True)
    assert (root / "runs/good").exists()
    assert flow.clean(config, work, keep=0, remove=True).removed
    assert {path.name for path in (root / "runs").iterdir()} == {"poor", "same", "latest.json"}
    assert not old.exists()
    assert (root / "compare/c-00000000/a.bin").exists()
    assert flow.clean(config, work, keep=0).found == ()


def test_features_stay_where_nobody_can_tell_what_a_kept_run_needs(root: Path) -> None:
    storage = Storage(str(root))
    told = Receipt(
        stage="extract", shard=None, fingerprint="", content="", files=(), rows=0, counts={}, facts={}, started_at=0.0,
        seconds=0.0, versions={},
    )  # fmt: skip
    Ledger(storage, "extract", "features/other-01234567/parquet", "stage").write(told)
    (root / "runs/stopped/checkpoint").mkdir(parents=True)
    (root / "runs/stopped/checkpoint/last.safetensors").write_bytes(b"half")
    found = flow.clean(config_of(root.parent), root.parent)
    assert found.found == ()
    assert "stopped is stopped, so nobody can tell what it needs" in found.notes[0]


def test_logs_of_all_but_the_last_commands_can_go(root: Path) -> None:
    (root / "logs").mkdir()
    for number in range(22):
        for suffix in ("jsonl", "log"):
            (root / f"logs/202611{number:02d}T000000Z-run-1.{suffix}").write_text("{}")
    found = flow.clean(config_of(root.parent), root.parent, remove=True)
    assert {one.path for one in found.found} == {
        f"logs/202611{number:02d}T000000Z-run-1.{suffix}" for number in (0, 1) for suffix in ("jsonl", "log")
    }
    assert len(list((root / "logs").iterdir())) == 40
