"""`compare` on a small demo: its runs are ordinary ones, what is up to date stays, and what fails is a row."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.flips.warm import Ended, Runner

SMALL = """
[dataset]
name = "demo"
num_images = 80
[backbone]
name = "tiny"
"""
MODELS = "compare --models fast0tag,conse --seeds 0,1 --set train.epochs=1"

Shell = Callable[..., Ended]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, warm: Runner) -> Shell:
    folder = tmp_path_factory.mktemp("compare")
    (folder / "biam-pipe.toml").write_text(SMALL)

    def run(command: str, code: int = 0, **variables: str) -> Ended:
        ended = warm(shlex.split(command), {"BIAM_PIPE_CACHE": str(folder / "cache"), **variables}, folder=folder)
        assert ended.code == code, f"{command}\n{ended.stdout}\n{ended.stderr}"
        return ended

    run.folder = folder  # type: ignore[attr-defined]
    return run


def work(shell: Shell) -> Path:
    return Path(shell.folder) / "work" / "demo"  # type: ignore[attr-defined]


def files(shell: Shell) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(work(shell).rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def compared(shell: Shell) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shell(f"{MODELS} --json").stdout)
    return found


def test_every_row_has_runs_figures_and_costs(compared: dict[str, Any], shell: Shell) -> None:
    rows = {row["title"]: row for row in compared["rows"]}
    assert list(rows) == ["fast0tag", "conse", "ridge: chosen", "ridge: DeViSE", "ridge: ConSE", "ridge: ESZSL"]
    assert [len(row["runs"]) for row in rows.values()] == [2, 2, 1, 1, 1, 1]
    assert all(row["failure"] is None and row["parameters"] > 0 for row in rows.values())
    assert {path.name for path in Path(compared["folder"]).iterdir()} == {
        "compare.json",
        "per_label.parquet",
        "report.html",
        "stage.json",
        "table.csv",
        "table.md",
        "table.tex",
    }
    assert {f"runs/{path.name}" for path in (work(shell) / "runs").iterdir()} == {
        run for row in rows.values() for run in row["runs"].values()
    }
    for told in compared["tasks"].values():
        assert 0 < told["chance"]["map"] < 1
        assert told["rows"][told["best"]]["behind_best"] is None
        assert all(
            one["behind_best"]["over"] == "images" for one in told["rows"].values() if one["behind_best"] is not None
        )


def test_what_is_up_to_date_stays_and_the_same_table_is_told(compared: dict[str, Any], shell: Shell) -> None:
    before = files(shell)
    again = json.loads(shell(f"{MODELS} --json").stdout)
    assert again == {**compared, "ran": 0}
    assert files(shell) == before
    assert "up to date" in shell(f"{MODELS} --plan").stdout


def test_a_run_that_is_gone_is_made_alone(compared: dict[str, Any], shell: Shell) -> None:
    row = next(row for row in compared["rows"] if row["title"] == "conse")
    kept = {path.name: path.stat().st_mtime_ns for path in (work(shell) / "runs").iterdir()}
    shutil.rmtree(work(shell) / row["runs"]["1"])
    planned = {
        (run["row"], run["seed"]): run["state"] for run in json.loads(shell(f"{MODELS} --plan --json").stdout)["runs"]
    }
    assert {run for run, state in planned.items() if state != "up to date"} == {("conse", 1)}
    again = json.loads(shell(f"{MODELS} --json").stdout)
    assert again["ran"] == 1
    assert again["tasks"] == compared["tasks"]
    stand = {path.name: path.stat().st_mtime_ns for path in (work(shell) / "runs").iterdir()}
    gone = Path(row["runs"]["1"]).name
    assert {name: time for name, time in stand.items() if name != gone} == {
        name: time for name, time in kept.items() if name != gone
    }


def test_a_comparison_that_is_killed_in_a_run_goes_on_to_the_same_table(
    compared: dict[str, Any], shell: Shell, tmp_path: Path
) -> None:
    for row in compared["rows"]:
        shutil.rmtree(work(shell) / row["runs"]["0"])
    fault = {"name": r"/runs/conse.*/history\.json$", "event": "os.rename", "count": 1, "signal": "SIGKILL"}
    shell(MODELS, code=-9, BIAM_PIPE_TEST_FAULT=json.dumps({**fault, "mark": str(tmp_path / "mark")}))
    states = [run["state"] for run in json.loads(shell(f"{MODELS} --plan --json").stdout)["runs"]]
    assert states.count("up to date") == 3  # the first of all, and both with seed 1
    assert json.loads(shell(f"{MODELS} --json").stdout)["tasks"] == compared["tasks"]


def test_a_run_that_fails_is_a_row_and_the_others_are_told(compared: dict[str, Any], shell: Shell) -> None:
    without_maps = '[{name="blind",model="ml2p",preset="paper"}]'
    ended = shell(f"compare --models conse --set train.epochs=1 --set 'compare.variants={without_maps}'", code=1)
    assert re.search(r"^blind +failed: setting backbone\.layers", ended.stdout, re.MULTILINE)
    assert re.search(r"^conse +ZSL", ended.stdout, re.MULTILINE)
    assert "rows failed" in ended.stderr


def test_labels_hidden_from_training_name_the_row_to_take(compared: dict[str, Any], shell: Shell) -> None:
    command = "compare --models conse --set train.epochs=1 --choose held_out_labels"
    choice = json.loads(shell(f"{command} --set split.held_out_folds=2 --json").stdout)["choice"]
    assert set(choice["rows"]) == {"conse", "ridge: chosen", "ridge: DeViSE", "ridge: ConSE", "ridge: ESZSL"}
    assert choice["chosen"] == max(choice["rows"], key=choice["rows"].__getitem__)


def test_rows_cannot_be_chosen_where_no_validation_image_is(shell: Shell) -> None:
    command = "compare --models conse --choose held_out_labels --set split.name=plain --set split.validation_fraction=0"
    wrong = shell(f"{command} --set split.held_out_folds=2", code=2).stderr
    assert "got 'held_out_labels', and there are no validation images" in wrong
    assert "--set split.validation_fraction=0.1" in wrong


def test_figures_stand_on_the_page_and_in_files_beside_it_and_are_made_once(shell: Shell) -> None:
    command = "compare --models biam,lesa,conse --set train.epochs=1 --figures"
    folder = Path(json.loads(shell(f"{command} --json").stdout)["folder"])
    left = {path.name for path in folder.iterdir()}
    assert left >= {"figures.json", "response_maps.parquet", "report.html"}
    told = json.loads((folder / "figures.json").read_text())
    assert [found["task"] for found in told["side_by_side"]] == ["zsl", "gzsl"]
    assert [found["row"] for found in told["attentions"]] == ["lesa"]
    html = (folder / "report.html").read_text()
    assert len(html) < 5_000_000
    assert html.count("data:image/jpeg") > 20
    assert "No picture" not in html
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    before = files(shell)
    shell(command)
    assert files(shell) == before
    wrong = shell(f'{command} --set \'compare.side_by_side=["biam","les"]\'', code=2)
    assert "Did you mean 'lesa'?" in wrong.stderr


def test_verify_knows_the_runs_and_their_files(compared: dict[str, Any], shell: Shell) -> None:
    assert "0 problems" in shell("verify").stdout or "as written" in shell("verify").stdout
