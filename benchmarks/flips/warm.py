"""Commands of `biam-pipe` without the seconds that each start costs: children of a process that has all imported.

A command is a child of its own with a session of its own, so that a crash, a hang or a signal stays in it, and it goes
through `cli.main` like any other. What a command starts by itself, Dask's workers too, is forked instead of spawned.
Nothing of the product is replaced.
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
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
_HEAVY = ("torchvision", "distributed", "matplotlib.figure", "gensim.models")  # loaded inside of functions only


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


@contextlib.contextmanager
def warm_runners(number: int, limit_s: float) -> Iterator[list[Runner]]:
    """So many runners, which run at the same time, each one command after the other."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = zip(*(context.Pipe() for _ in range(number)), strict=True)
    process = context.Process(target=_serve_commands, args=(theirs, limit_s))
    process.start()
    for pipe in theirs:
        pipe.close()
    try:
        yield [partial(_asked, pipe) for pipe in ours]
    finally:
        for pipe in ours:
            pipe.close()
        process.join()


def _asked(pipe: Connection, arguments: Sequence[str]) -> Ended:
    pipe.send(list(arguments))
    ended: Ended = pipe.recv()
    return ended


def _serve_commands(pipes: Sequence[Connection], limit_s: float) -> None:
    os.environ["DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD"] = "fork"
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
