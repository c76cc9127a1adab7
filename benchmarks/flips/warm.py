"""Commands of `biam-pipe` without the seconds that each start costs: children of a process that has all imported.

A command is a child of its own with a session of its own, so that a crash, a hang or a signal stays in it, and it goes
through `cli.main` like any other. What a command starts by itself is forked too, instead of spawned; shards go to a
Dask cluster that stays. Nothing of the product is replaced.
"""

import contextlib
import importlib
import importlib.util
import multiprocessing
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from distributed import Worker

_POLL_S = 0.01
ROOT = Path(__file__).resolve().parents[2]
_HEAVY = ("torchvision", "distributed", "matplotlib.figure", "gensim.models")  # loaded inside of functions only
_SCHEDULED = ("run", "plan", "index", "download", "extract", "split", "embed", "train", "evaluate", "report")


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; negative for the signal that killed it; None where it was ended because it hung.
    """

    code: int | None
    stdout: str
    stderr: str


class Runner(Protocol):
    """Runs commands."""

    def __call__(self, arguments: Sequence[str]) -> Ended:
        """Run one to its end."""


@dataclass(frozen=True)
class Plain:
    """Commands as a user runs them: each a new process with a cluster of its own."""

    limit_s: float

    def __call__(self, arguments: Sequence[str]) -> Ended:
        """Run one to its end."""
        command = [sys.executable, "-m", "cli", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)
        try:
            stdout, stderr = process.communicate(timeout=self.limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Ended(None, *process.communicate())
        return Ended(process.returncode, stdout, stderr)


class Cluster:
    """A Dask cluster of one worker on this machine that outlives commands."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve_cluster, args=(theirs,))
        self._process.start()
        theirs.close()
        self.address: str = self._pipe.recv()

    def settle(self) -> None:
        """Wait until its worker does nothing: what a command that failed has submitted goes on without it."""
        self._pipe.send(None)
        self._pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pipe.close()
        self._process.join()


class Warm:
    """A process that has imported everything, and forks a child for each command; several of it after the imports.

    Attributes:
        runners: one for each cluster, that run at the same time, each one command after the other.
    """

    def __init__(self, clusters: Sequence[Cluster], limit_s: float) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = zip(*(context.Pipe() for _ in clusters), strict=True)
        self._pipes: Sequence[Connection] = ours
        self._process = context.Process(target=_serve_commands, args=(theirs, limit_s))
        self._process.start()
        for pipe in theirs:
            pipe.close()
        self.runners: list[Runner] = [partial(_asked, *pair) for pair in zip(ours, clusters, strict=True)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._process.join()


@contextlib.contextmanager
def warm_runners(number: int, limit_s: float) -> Iterator[list[Runner]]:
    """So many runners, each with a cluster."""
    with contextlib.ExitStack() as stack:
        clusters = [stack.enter_context(Cluster()) for _ in range(number)]
        yield stack.enter_context(Warm(clusters, limit_s)).runners


def _asked(pipe: Connection, cluster: Cluster, arguments: Sequence[str]) -> Ended:
    scheduled = arguments[0] in _SCHEDULED
    pipe.send([*arguments, *(("--scheduler", cluster.address) if scheduled else ())])
    ended: Ended = pipe.recv()
    if scheduled:
        cluster.settle()
    return ended


def _serve_cluster(pipe: Connection) -> None:
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"  # failures come back; workers need not print them as well
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        pipe.send(cluster.scheduler_address)
        with contextlib.suppress(EOFError):
            while True:
                pipe.recv()
                while any(client.run(_busy).values()):
                    time.sleep(_POLL_S)
                pipe.send(None)


def _busy(dask_worker: "Worker") -> bool:
    return bool(dask_worker.active_threads)


def _serve_commands(pipes: Sequence[Connection], limit_s: float) -> None:
    import pipeline

    for module in pkgutil.walk_packages(pipeline.__path__, "pipeline."):
        importlib.import_module(module.name)
    for name in _HEAVY:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    resource_tracker.ensure_running()  # else each command would start one
    first, *others = pipes
    servers = []
    for pipe in others:
        if (pid := os.fork()) == 0:
            _serve(pipe, limit_s)
            os._exit(0)
        servers.append(pid)
    _serve(first, limit_s)
    for pid in servers:
        os.waitpid(pid, 0)


def _serve(pipe: Connection, limit_s: float) -> None:
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(_forked(arguments, limit_s))


def _forked(arguments: Sequence[str], limit_s: float) -> Ended:
    with (
        tempfile.TemporaryFile("w+", errors="replace") as stdout,
        tempfile.TemporaryFile("w+", errors="replace") as stderr,
    ):
        pid = os.fork()
        if pid == 0:
            _be_command(arguments, stdout.fileno(), stderr.fileno())
        code = _awaited(pid, limit_s)
        stdout.seek(0)
        stderr.seek(0)
        return Ended(code, stdout.read(), stderr.read())


def _awaited(pid: int, limit_s: float) -> int | None:
    descriptor = os.pidfd_open(pid)
    try:
        in_time = bool(select.select([descriptor], [], [], limit_s)[0])
    finally:
        os.close(descriptor)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # also what it has left behind
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if in_time else None


def _be_command(arguments: Sequence[str], stdout: int, stderr: int) -> None:
    """Be that command; never returns."""
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    code = 1
    try:
        multiprocessing.get_context = partial(_forking, multiprocessing.get_context)  # type: ignore[assignment]
        sys.argv = ["biam-pipe", *arguments]
        import cli

        cli.main()
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:  # noqa: BLE001 - a child that must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forking(get_context: "partial[object]", method: str | None = None) -> object:
    return get_context("fork" if method == "spawn" else method)
