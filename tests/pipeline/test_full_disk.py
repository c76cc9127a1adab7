"""A disk that fills up while features are written: an error that says so, and nothing half written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.stores import STORES

ROOT = Path(__file__).resolve().parents[2]

_SMALL_DISK = 'mount -t tmpfs -o size=2300k none "$0" || exit 77; exec "$@"'

_FILL = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [".", "tests/support", "tests/pipeline/stages"]
from schemas.errors import PipelineError
from test_extract import Item, jpeg, run, settings, task_of

work = Path(sys.argv[1])
chosen = settings(sys.argv[2])
large = replace(chosen, backbone=chosen.backbone.model_copy(update={"input_px": 448}))  # 25 kB an image
task = task_of(work, [Item(jpeg(number)) for number in range(60)], large)
filling = work / "filling"
filling.write_bytes(bytes(2 * 2**20))
try:
    run(task)
except PipelineError as error:
    print(error)
print([str(path) for path in work.glob("features/**/*") if path.is_file()])
"""


@pytest.mark.parametrize("store", list(STORES))
def test_a_disk_that_fills_up_is_an_error_and_leaves_no_half_shard(tmp_path: Path, store: str) -> None:
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _SMALL_DISK, str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*own_mounts, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk")

    command = [*own_mounts, sys.executable, "-c", _FILL, str(tmp_path), store]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    error, left = ended.stdout.splitlines()
    assert error.startswith(f"the disk is full: cannot write {tmp_path}/features")
    assert left == "[]"
