"""Pieces of work that take a second, or none, on a cluster of this machine: how long they take, what each costs.

python -m benchmarks.hosting.pieces late     30 of 1 s; one worker, four more 4 s after the first piece began
python -m benchmarks.hosting.pieces adapt    the same on a cluster that grows from none to four
python -m benchmarks.hosting.pieces many     10,000 of none
"""

import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.engine.engine import Engine
from pipeline.engine.graph import resolve
from pipeline.engine.progress import ProgressView
from pipeline.engine.task import Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.files.lock import writing
from pipeline.files.storage import Storage
from schemas.config import EngineConfig

_OPTIONS = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}


def count(task: Task) -> list[Output]:
    """As many shards as the settings say."""
    for number in range(task.settings):
        path = task.path("number", number)
        task.storage.local(path).parent.mkdir(parents=True, exist_ok=True)
        task.storage.local(path).write_text(str(number))
    outputs = [Output(("number",), rows=1, shard=number) for number in range(task.settings)]
    task.storage.write(task.path("all"), b"all")
    return [*outputs, Output(("all",), rows=0)]


def wait(task: Task) -> list[Output]:
    """Take as long as the settings say."""
    (Path(task.storage.root) / "begun").touch()
    time.sleep(task.settings)
    task.storage.write(task.path("done"), b"done")
    return [Output(("done",), rows=1)]


def run(pieces: int, seconds: float, scheduler: str, beside: Callable[[Path], None] | None = None) -> None:
    """Do so many pieces that take so long.

    Args:
        beside: gets the work folder, in a thread of its own.
    """
    files = {"number": OutputFile("numbers/{shard}.txt"), "all": OutputFile("numbers/all.txt")}
    stages = [
        Stage("list", 1, {}, pieces, count, {}, files, "compute", "numbers"),
        Stage("wait", 1, {}, seconds, wait, {"list": "shard"}, {"done": OutputFile("{folder}/{shard}.txt")}, "io", "w"),
    ]
    with tempfile.TemporaryDirectory() as folder, writing(Storage(folder)) as lease:
        graph = resolve(stages, lease.storage)
        if beside is not None:
            threading.Thread(target=beside, args=(Path(folder),)).start()
        Engine(graph, lease.storage, EngineConfig(), ProgressView(quiet=True), scheduler, end=lease.end).run()


@contextmanager
def elsewhere(workers: int) -> Iterator[str]:
    """Address of a cluster in processes of its own, so that what this one takes is the pipeline's."""
    command = [sys.executable, "-m", "benchmarks.hosting.pieces", "serve", str(workers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdin is not None
        assert serving.stdout is not None
        yield serving.stdout.readline().strip()
        serving.stdin.close()


def serve(workers: int) -> None:
    """A cluster until nothing more comes on standard input."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=workers, **_OPTIONS) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


def many(pieces: int) -> None:
    """What pieces cost the main process that take no time themselves."""
    with elsewhere(2) as address:
        used, began = time.process_time(), time.time()
        run(pieces, 0.0, address)
        spent, took = time.process_time() - used, time.time() - began
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{spent / pieces * 1e3:.2f} ms of CPU in the main process a piece, {size:.0f} MB, {took:.0f} s in all")


def growing(adapts: bool) -> None:
    """How long 30 pieces of 1 s take while workers come."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=0 if adapts else 1, **_OPTIONS) as cluster:

        def grow(root: Path) -> None:
            while not (root / "begun").exists():
                time.sleep(0.05)
            begun_at.append(time.time())
            time.sleep(4)
            cluster.scale(5)

        begun_at = [time.time()] if adapts else []
        if adapts:
            cluster.adapt(minimum=0, maximum=4)
        run(30, 1.0, cluster.scheduler_address, None if adapts else grow)
        print(f"{time.time() - begun_at[0]:.1f} s from the {'command' if adapts else 'first piece'} to the end")


def main() -> None:
    """Run what is asked for."""
    asked, *numbers = sys.argv[1:]
    if asked == "serve":
        serve(int(numbers[0]))
    elif asked == "many":
        many(int(numbers[0]) if numbers else 10_000)
    else:
        growing(adapts=asked == "adapt")


if __name__ == "__main__":
    main()
