"""The file for Airflow's dags folder: it stands alone, and says our exit codes in Airflow's words.

What a real scheduler does with it is tried by `python -m benchmarks.airflow`.
"""

import ast
import importlib.util
import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "dags/airflow/biam_pipe.py"
OURS = {"dags", "pipeline", "schemas", "cli"}


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def test_it_imports_nothing_of_ours_and_nothing_of_ours_imports_it() -> None:
    assert not {name for name in _imported(FILE) if name.split(".")[0] in OURS}
    sources = [path for folder in ("pipeline", "schemas", "dags") for path in (ROOT / folder).rglob("*.py")]
    others = [ROOT / "cli.py", *(path for path in sources if path != FILE)]
    assert not [
        path for path in others if any(name.startswith(("airflow", "dags.airflow")) for name in _imported(path))
    ]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The file, as Airflow loads it."""
    home = tmp_path_factory.mktemp("airflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(home))
        patch.setenv("BIAM_PIPE_WORK", "/some where/work")
        pytest.importorskip("airflow.sdk", reason="Airflow is not installed: see benchmarks/airflow.py")
        spec = importlib.util.spec_from_file_location("biam_pipe_for_airflow", FILE)
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    return found


def executed(module: ModuleType, folder: Path, code: int, patch: pytest.MonkeyPatch, *, quoted: bool = True) -> Any:
    """What a task comes to whose command ends with an exit code."""
    told = {"error": "what went wrong" if code else None, "stages": [{"name": "extract", "ran": 3}], "report": None}
    program = folder / "biam-pipe"
    called = shlex.quote(str(folder / "called"))
    program.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {called}\ncat <<'END'\n{json.dumps(told)}\nEND\nexit {code}\n"
    )
    program.chmod(0o755)
    patch.setenv("PATH", str(folder), prepend=":")
    task = module.Stage(stage="extract")
    task.dataset, task.budget, task.options = "demo", "50m", "--set 'download.user_agent=a b'" if quoted else "it's"
    return task.execute({})


@pytest.mark.parametrize("code", [0, 3])
def test_what_is_done_is_a_success(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    found = executed(module, tmp_path, code, monkeypatch)
    assert found == {"exit_code": code, "ran": {"extract": 3}, "report": None}
    assert (tmp_path / "called").read_text().splitlines() == [
        "extract", "--json", "--dataset", "demo", "--work", "/some where/work", "--time-budget", "50m", "--set",
        "download.user_agent=a b",
    ]  # fmt: skip


@pytest.mark.parametrize("code", [75, 5, 130])
def test_a_slice_is_followed_by_the_next_after_a_minute_or_more(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with pytest.raises(module.AirflowRescheduleException) as put_off:
        executed(module, tmp_path, code, monkeypatch)
    assert put_off.value.reschedule_date - datetime.now(UTC) > timedelta(seconds=55)


@pytest.mark.parametrize(("code", "final"), [(2, True), (4, True), (1, False), (137, False)])
def test_an_error_is_tried_again_but_where_that_meets_the_same(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, final: bool
) -> None:
    with pytest.raises(module.AirflowException, match=f"exit code {code}: what went wrong") as failed:
        executed(module, tmp_path, code, monkeypatch)
    assert isinstance(failed.value, module.AirflowFailException) is final


def test_options_that_no_shell_takes_fail_at_once(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(module.AirflowFailException, match='options: No closing quotation, in "it\'s"'):
        executed(module, tmp_path, 0, monkeypatch, quoted=False)
    assert not (tmp_path / "called").exists()


def test_all_stages_follow_each_other_in_the_pool_of_the_folder(module: ModuleType) -> None:
    dag = module.dag
    assert tuple(dag.task_ids) == module.STAGES
    assert [task.pool for task in dag.tasks] == [module.POOL] * len(module.STAGES)
    assert dag.max_active_runs == 1
    assert len({asset.uri for asset in module.ASSETS.values()}) == 2
    assert {task.task_id for task in dag.tasks if task.outlets} == {"extract", "report"}
    for before, after in zip(module.STAGES, module.STAGES[1:], strict=False):
        assert dag.get_task(before).downstream_task_ids == {after}
