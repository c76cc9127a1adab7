"""Runs that are killed, interrupted and run out of time end with the bytes of a run that nothing disturbed.

The scenarios are those of benchmarks/kill_resume.py, which plays each by itself. Here they follow each other in one
work folder, so that what one leaves is what the next one meets, and the work is done once.
"""

import shutil
from pathlib import Path

import pytest

from benchmarks.disturbed import Demo, Fault
from benchmarks.kill_resume import INTERRUPTS, KILLS, SMALL, Scenario, after_fault, after_resume, after_time_budget

DEMO = Demo(SMALL)
RIDGE = Demo((*(one for one in SMALL if not one.startswith(("model.", "train."))), "model.name=ridge"))
CHOSEN_KILLS = (
    "inside download",
    "inside extract",
    "between a shard and its receipt",
    "inside train, in an epoch",
    "while a checkpoint is written",
    "inside report",
)
CHOSEN_INTERRUPTS = ("Ctrl-C inside extract", "Ctrl-C inside train")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of an undisturbed run."""
    work = tmp_path_factory.mktemp("undisturbed")
    ended = DEMO.run(work)
    assert ended.code == 0, ended.text
    assert ended.left == ()
    return work


def disturb(work: Path, scenario: Scenario) -> None:
    ended = DEMO.run(work, fault=scenario.fault, extra=scenario.settings)
    assert after_fault(ended, work, scenario.fault.signal) == [], scenario.name


def test_a_run_killed_in_one_stage_after_the_other_ends_as_an_undisturbed_one(reference: Path, tmp_path: Path) -> None:
    scenarios = {scenario.name: scenario for scenario in KILLS}
    for name in CHOSEN_KILLS:
        disturb(tmp_path, scenarios[name])
    assert after_resume(DEMO, DEMO.run(tmp_path), reference, tmp_path) == []


def test_a_run_interrupted_and_out_of_time_ends_as_an_undisturbed_one(reference: Path, tmp_path: Path) -> None:
    scenarios = {scenario.name: scenario for scenario in INTERRUPTS}
    for name in CHOSEN_INTERRUPTS:
        disturb(tmp_path, scenarios[name])
    assert after_time_budget(DEMO.run(tmp_path, "--time-budget", "0s"), tmp_path) == []
    assert after_resume(DEMO, DEMO.run(tmp_path), reference, tmp_path) == []


def test_a_model_without_epochs_that_is_killed_in_its_pass_ends_as_an_undisturbed_one(
    reference: Path, tmp_path: Path
) -> None:
    models = []
    for number, fault in enumerate([None, Fault(r"/features/.*/shard-00001\.parquet$", "open")]):
        work = tmp_path / str(number)
        shutil.copytree(reference / "demo", work / "demo")
        if fault is not None:
            assert after_fault(RIDGE.run(work, verb="train", fault=fault), work, fault.signal) == []
        ended = RIDGE.run(work, verb="train")
        assert ended.code == 0, ended.text
        (model,) = (work / "demo").glob("runs/ridge-*/model.safetensors")
        models.append(model.read_bytes())
    assert models[0] == models[1]
