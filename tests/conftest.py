"""Fixtures for all tests."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import SMALL, Shell

from benchmarks.flips.warm import Plain, Runner, warm_runners
from pipeline.machine.waiting import patient

os.environ.update(patient())  # before a test imports torch: beside other work, threads that spin take minutes

SHARED = Path(__file__).resolve().parents[2] / "shared"
_COMMAND_WITHIN_S = 200.0


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of papers, real photographs and reference numbers beside the project; tests skip without it."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here")
    return SHARED


@pytest.fixture(scope="session")
def reference(shared: Path) -> Callable[[str], dict[str, Any]]:
    """Reads a file of numbers that the released implementation gave."""

    def read(name: str) -> dict[str, Any]:
        with np.load(shared / "fixtures" / name) as arrays:
            return dict(arrays)

    return read


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread: maps as small as those of tests only wait for a second one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A cluster whose workers are threads with the slots of the embedded one: to start that takes seconds."""
    from distributed import LocalCluster

    slots = {"io": 2, "compute": 1}
    options = {"dashboard_address": "127.0.0.1:0", "processes": False, "resources": slots}
    with LocalCluster(n_workers=1, threads_per_worker=sum(slots.values()), **options) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="session")
def warm() -> Iterator[Runner]:
    """Runs commands as processes of their own that have torch already: to import it takes 4 s of CPU in each."""
    with warm_runners(1, _COMMAND_WITHIN_S) as (runner,):
        yield runner


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run; copied by the tests that change it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "biam-pipe.toml").write_text(SMALL)
    Shell(folder, Plain(200.0))("run")  # as a user runs it
    return folder


@pytest.fixture
def shell(finished: Path, tmp_path: Path, warm: Runner) -> Shell:
    shutil.copytree(finished, tmp_path / "run")
    return Shell(tmp_path / "run", warm)


@pytest.fixture
def fresh(tmp_path: Path, warm: Runner) -> Shell:
    """A folder where nothing was run."""
    (tmp_path / "biam-pipe.toml").write_text(SMALL)
    return Shell(tmp_path, warm)
