"""The embedded cluster on machines with settings and limits of their own."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import dask
import pytest

from pipeline.engine.cluster.pool import Pool
from schemas.config import EngineConfig

ROOT = Path(__file__).resolve().parents[4]
_OPEN = """
from pipeline.engine.cluster.pool import Pool
from schemas.config import EngineConfig
from schemas.errors import PipelineError
try:
    with Pool(None, EngineConfig(), ["compute"], print) as pool:
        pool.open()
except PipelineError as error:
    print(error)
"""


def opened(command: list[str], **variables: str) -> str:
    ended = subprocess.run(command, env=os.environ | variables, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_settings_for_clusters_of_a_user_s_own_do_not_reach_it_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs = {"distributed.comm.require-encryption": True, "temporary-directory": "/nowhere"}
    with dask.config.set(theirs):
        with Pool(None, EngineConfig(compute_workers=1), ["compute"], lambda told: None) as pool:
            client = pool.open()
            (folder,) = client.run(lambda dask_worker: dask_worker.local_directory).values()
            assert Path(folder).is_relative_to(next(tmp_path.glob("biam-pipe-scratch-*")))
            assert len(list(tmp_path.iterdir())) == 1
        assert {name: dask.config.get(name) for name in theirs} == theirs
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_file_of_dask_settings_is_named(tmp_path: Path) -> None:
    (tmp_path / ".config/dask").mkdir(parents=True)
    (tmp_path / ".config/dask/mine.yaml").write_text("a: [1\nb: {")
    told = opened([sys.executable, "-c", _OPEN], HOME=str(tmp_path))
    assert len(told.splitlines()) == 1
    assert told.startswith(
        f"Dask cannot read its settings: A dask config file at '{tmp_path}/.config/dask/mine.yaml' is"
    )
    assert told.endswith("Correct that file or move it away\n")


@pytest.mark.parametrize("options", ["ro", "size=4k"])
def test_a_machine_without_room_for_semaphores_is_told_at_once(options: str) -> None:
    mounted = f'mount -t tmpfs -o {options} none /dev/shm && {{ cp /bin/sh /dev/shm/ 2> /dev/null; exec "$@"; }}'
    mounts = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*mounts, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount another /dev/shm")
    told = opened([*mounts, sys.executable, "-c", _OPEN])
    assert told.startswith("the system gives processes no semaphores (")
    assert "Is /dev/shm there, writable and not full?" in told
