"""Commands of `biam-pipe`, as a user starts them or without the seconds that each start costs.

Each is a process with a session of its own, so that a crash, a hang or a signal stays in it. A warm one is a child of a
process that has all imported, and goes through `cli.main` like any other; what it starts by itself, Dask's workers too,
is forked instead of spawned. Nothing of the product is replaced.

Not for `check --images`: what it forks once it has asked servers would wait for the thread that asked them.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import multiprocessing
import os
import pkgutil
import runpy
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext, ForkContext
from multiprocessing.util import register_after_fork
from pathlib import Path
from typing import IO, Protocol

import psutil

ROOT = Path(__file__).resolve().parents[2]
_HEAVY = ("torchvision", "distributed", "matplotlib.figure", "gensim.models")  # loaded inside of functions only
_HOOKS = ROOT / "tests" / "faults"
_GONE_S = 10.0  # until every process of a command has to be gone after its main process


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: exit code; negative for the signal that killed it; None where it was ended because it hung.
        left: processes that outlived it for too long.
        at: when its main process ended, in seconds of `time.time()`.
    """

    code: int | None
    stdout: str
    stderr: str
    left: tuple[str, ...] = ()
    at: float = 0.0


class Runner(Protocol):
    """Runs commands."""

    def __call__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        started: Callable[[int], None] | None = None,
        folder: Path = ROOT,
    ) -> Ended:
        """Run one to its end, and wait until every process that it started is gone, too.

        Args:
            environment: variables beside those of this process.
            started: called meanwhile with the number of its main process, which leads its session.
            folder: to run it in.
        """


@dataclass(frozen=True)
class Plain:
    """Commands as a user runs them: each a new process with a cluster of its own."""

    limit_s: float

    def __call__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        started: Callable[[int], None] | None = None,
        folder: Path = ROOT,
    ) -> Ended:
        """Run one to its end, as `Runner` says."""
        command = [sys.executable, "-m", "cli", *arguments]
        paths = os.pathsep.join(filter(None, (str(_HOOKS), str(ROOT), os.environ.get("PYTHONPATH"))))
        variables = {**os.environ, "PYTHONPATH": paths, **(environment or {})}
        with _outputs() as (stdout, stderr):
            process = subprocess.Popen(
                command, cwd=folder, env=variables, stdout=stdout, stderr=stderr, start_new_session=True
            )
            if started is not None:
                started(process.pid)
            ended = _awaited(process.pid, self.limit_s, stdout, stderr)
            process.returncode = ended.code  # it is not to be waited for once more
            return ended


@contextlib.contextmanager
def warm_runners(number: int, limit_s: float, preloaded: Path | None = None) -> Iterator[list[Runner]]:
    """So many runners, which run at the same time, each one command after the other.

    Args:
        preloaded: a library that goes before those of the system, in all commands.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = zip(*(context.Pipe() for _ in range(number)), strict=True)
    process = context.Process(target=_serve_commands, args=(theirs, limit_s))
    with _preloading(preloaded):
        process.start()
    for pipe in theirs:
        pipe.close()
    try:
        yield [partial(_asked, pipe) for pipe in ours]
    finally:
        for pipe in ours:
            pipe.close()
        process.join()


@contextlib.contextmanager
def _preloading(library: Path | None) -> Iterator[None]:
    if library is not None:
        os.environ["LD_PRELOAD"] = str(library)
    try:
        yield
    finally:
        os.environ.pop("LD_PRELOAD", None)


def _asked(
    pipe: Connection,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
    started: Callable[[int], None] | None = None,
    folder: Path = ROOT,
) -> Ended:
    pipe.send((list(arguments), dict(environment or {}), folder))
    pid: int = pipe.recv()
    if started is not None:
        started(pid)
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
            arguments, environment, folder = pipe.recv()
        except EOFError:
            return
        with _outputs() as (stdout, stderr):
            pid = os.fork()
            if pid == 0:
                _be_command(arguments, environment, folder, stdout.fileno(), stderr.fileno())
            pipe.send(pid)
            ended = _awaited(pid, limit_s, stdout, stderr)
        pipe.send(ended)


@contextlib.contextmanager
def _outputs() -> Iterator[tuple[IO[str], IO[str]]]:
    with (
        tempfile.TemporaryFile("w+", errors="replace") as stdout,
        tempfile.TemporaryFile("w+", errors="replace") as stderr,
    ):
        yield stdout, stderr


def _awaited(pid: int, limit_s: float, stdout: IO[str], stderr: IO[str]) -> Ended:
    """How a child ends. Nothing of it is there afterwards, whatever went wrong."""
    descriptor = os.pidfd_open(pid)
    try:
        in_time = bool(select.select([descriptor], [], [], limit_s)[0])
    finally:
        os.close(descriptor)
    at = time.time()
    left = outliving(pid) if in_time else ()
    end_session(pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for file in (stdout, stderr):
        file.seek(0)
    return Ended(code if in_time else None, stdout.read(), stderr.read(), left, at)


def outliving(leader: int) -> tuple[str, ...]:
    """Wait for all processes of a session whose leader has ended; those that do not end are told."""
    deadline = time.monotonic() + _GONE_S
    while (found := session(leader)) and time.monotonic() < deadline:
        psutil.wait_procs(found, timeout=0.5)
    return tuple(str(process) for process in found)


def end_session(leader: int) -> None:
    """Leave no process of a session behind."""
    for process in session(leader):
        process.kill()


def session(leader: int) -> list[psutil.Process]:
    """The processes of a session that live."""
    found = []
    for number in psutil.pids():
        try:
            if os.getsid(number) == leader and (process := psutil.Process(number)).status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue  # it has ended meanwhile
    return found


def _be_command(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdout: int, stderr: int
) -> None:
    """Be that command; never returns."""
    os.setsid()
    os.chdir(folder)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    code = 1
    try:
        _begin_anew(environment)
        register_after_fork(sys.modules[__name__], _let_go)
        multiprocessing.get_context = partial(_context, multiprocessing.get_context)  # type: ignore[assignment]
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


def _begin_anew(environment: Mapping[str, str]) -> None:
    """Do what is done where a process starts, with these variables."""
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)  # torch sets it when it is imported
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    tempfile.tempdir = None
    runpy.run_path(str(_HOOKS / "sitecustomize.py"))
    if (begin := getattr(ctypes.CDLL(None), "faulty_disk_begin", None)) is not None:  # of a preloaded library
        begin()


def _let_go(_: object) -> None:
    """Drop the lock on a work folder in a child that would not have inherited it: it may outlive the run."""
    with Path(os.devnull).open() as nothing:
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # that of the listing is gone by now
                if descriptor.readlink().name == ".lock":
                    os.dup2(nothing.fileno(), int(descriptor.name))


def _context(get_context: "partial[BaseContext]", method: str | None = None) -> BaseContext:
    return _Forking() if method in ("spawn", "fork") else get_context(method)


class _Forking(ForkContext):
    """Forks where a command would start a new interpreter, which inherits nothing but the end of a pipe given to it."""

    def Pipe(self, duplex: bool = True) -> tuple[Connection, Connection]:  # noqa: N802 - as it is called there
        """A pipe whose first end a child does not hold: else it would never see that its parent is gone."""
        ours, theirs = super().Pipe(duplex)
        if duplex:
            register_after_fork(ours, Connection.close)
        return ours, theirs
