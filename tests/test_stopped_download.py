"""Downloads that are killed or interrupted while four shards are in flight: only those are fetched again."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.fault_server import FaultServer, serving
from benchmarks.flips.warm import ROOT, end_session, outliving

DONE, SHARDS, IN_FLIGHT = 2, 8, 4  # of two images each; the second one of all but the first shards is held back
WITHIN_S = 120


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving() as faults:
        yield faults


def start(root: Path, server: FaultServer, workers: int) -> subprocess.Popen[str]:
    labels = root / "labels.csv"
    paths = [path for n in range(SHARDS) for path in (f"ok/{2 * n}", f"{'ok' if n < DONE else 'held'}/{2 * n + 1}")]
    labels.write_text("image,labels\n" + "".join(f"{server.base}/{path},x\n" for path in paths))
    command = [sys.executable, "-m", "cli", "download", "--dataset", "folder", "--work", str(root / "work"), "--json"]
    sets = (f"dataset.labels={labels}", "dataset.shard_images=2", 'download.allowed_networks=["127.0.0.0/8"]')
    for setting in (*sets, f"engine.io_workers={workers}"):
        command += ["--set", setting]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)


def stop_in_flight(root: Path, server: FaultServer, number: signal.Signals) -> int:
    """Send a signal once four shards wait for an image, and give the exit code."""
    process = start(root, server, workers=IN_FLIGHT)
    try:
        for _ in range(IN_FLIGHT):
            assert server.held.acquire(timeout=WITHIN_S)
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: to every process of the run
        else:
            process.send_signal(number)
        process.communicate(timeout=WITHIN_S)
        assert outliving(process.pid) == ()
    finally:
        end_session(process.pid)
        process.wait()
    return process.returncode


def asked_since(server: FaultServer, before: Counter[str]) -> dict[int, int]:
    """How often each shard that was asked for since then was asked for, by its images."""
    asked = server.requests - before
    before.update(asked)
    shards = {int(path.rpartition("/")[2]) // 2 for path in asked}
    return {n: max(count for path, count in asked.items() if int(path.rpartition("/")[2]) // 2 == n) for n in shards}


def test_only_the_shards_in_flight_are_fetched_again(server: FaultServer, tmp_path: Path) -> None:
    folder = tmp_path / "work/folder"
    before: Counter[str] = Counter()
    for number, code, finished in ((signal.SIGINT, 130, set(range(DONE))), (signal.SIGKILL, -signal.SIGKILL, set())):
        assert stop_in_flight(tmp_path, server, number) == code
        assert [path.stem for path in sorted(folder.glob("downloads/*.parquet"))] == ["shard-00000", "shard-00001"]
        asked = asked_since(server, before)
        assert set(range(DONE)) & asked.keys() == finished
        assert len(asked) == len(finished) + IN_FLIGHT
        assert set(asked.values()) == {1}

    server.released.set()
    process = start(tmp_path, server, workers=1)
    told, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, told
    assert asked_since(server, before) == dict.fromkeys(range(DONE, SHARDS), 1)
    statuses = [pq.read_table(path)["status"].to_pylist() for path in sorted(folder.glob("downloads/shard-*.parquet"))]
    assert statuses == [["ok", "ok"]] * SHARDS
