"""What a worker sees and is, and what is told of one that differs."""

import json
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.cluster import probe
from pipeline.engine.cluster.probe import Expected, expected


@pytest.fixture
def wanted(tmp_path: Path) -> Expected:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/.lock").write_text("mine")
    (tmp_path / "photos/deep").mkdir(parents=True)
    (tmp_path / "photos/deep/one.jpg").write_bytes(b"123")
    return expected(
        ["pipeline.engine.task", "numbers_stage"], tmp_path / "work/.lock", [str(tmp_path / "photos")], None
    )


def test_a_process_like_this_one_is_fit(wanted: Expected) -> None:
    there = eval(probe._CALL, {"source": probe._SOURCE, "arguments": dict(wanted.arguments)})
    assert wanted.differences(json.loads(json.dumps(there)), 0.9, 0) == []
    assert {name for name, code in wanted.here["code"].items() if code} == {
        "pipeline",
        "schemas",
        "dags",
        "numbers_stage",
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda there: there["code"].update(pipeline="0"), "its code of pipeline is another"),
        (lambda there: there["code"].update(pipeline=None), "it has no package pipeline"),
        (lambda there: there["older"].append("dags"), "it has loaded older code of dags, and has to be started again"),
        (lambda there: there.update(problem="ImportError: no"), r"it cannot import biam-pipe \(ImportError: no\)"),
        (lambda there: there["versions"].update(pillow="11.3.0"), r"it has pillow 11\.3\.0, and this run \d+"),
        (lambda there: there["versions"].update(numpy=None), "it has numpy not at all, and this run"),
        (lambda there: there.update(lease="another's"), "it does not see the work folder .*/work, or may not write"),
        (lambda there: there["files"].update({next(iter(there["files"])): None}), "does not see .*photos/deep/one.jpg"),
    ],
)
def test_what_differs_is_named(wanted: Expected, change: Callable[[dict[str, Any]], None], told: str) -> None:
    there = deepcopy(dict(wanted.here))
    change(there)
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(*wanted.differences(there, 0.0, 0))


def test_clock_gpus_loopback_and_silence_are_named(wanted: Expected) -> None:
    there = {**wanted.here, "gpus": 0, "place": ["another"]}
    served = Expected(wanted.here, wanted.arguments, "http://127.0.0.1:81")
    assert served.differences(there, 60.2, 2) == [
        "its clock is 60 s off",
        "it offers GPU=2 and has none",
        "it cannot reach http://127.0.0.1:81, which is on the host that the run was started on",
    ]
    assert wanted.differences({**there, "gpus": 2}, 0.0, 2) == []
    assert wanted.differences(TimeoutError(), 0.0, 0) == ["it cannot be probed (TimeoutError: in 10 s)"]


def test_a_worker_without_our_packages_says_so(wanted: Expected) -> None:
    program = f"import json; print(json.dumps(eval({probe._CALL!r}, json.loads(input()))))"
    call = json.dumps({"source": probe._SOURCE, "arguments": dict(wanted.arguments)})
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", program], input=call, capture_output=True, text=True)
    told = wanted.differences(json.loads(bare.stdout), 0.0, 0)
    assert told[0] == "it has no package dags, numbers_stage, pipeline, schemas"


def test_code_that_changed_after_it_was_first_seen_has_to_be_loaded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "_biam_pipe_code", {}, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "edited_meanwhile.py").write_text("one = 1")
    look = {"packages": ["edited_meanwhile"], "libraries": [], "lease": None, "files": [], "entry": "json"}
    assert probe.look(**look)["older"] == []
    (tmp_path / "edited_meanwhile.py").write_text("two = 2")
    assert probe.look(**look)["older"] == ["edited_meanwhile"]
