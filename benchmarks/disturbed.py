"""Runs of the demo with a signal at a chosen moment, and what tells two work folders apart.

The benchmark `kill_resume` and the test of the same name share it. It imports nothing of the product.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
_GONE_S = 10.0  # until every process of a run has to be gone after its main process
_HANGS_S = 1800.0

# Files that hold times: compared by their presence alone.
_TIMED = ("history.json", "report.html")


@dataclass(frozen=True)
class Fault:
    """A signal at a chosen moment; `tests/faults/sitecustomize.py` sends it.

    Attributes:
        name: regular expression for the path of a file.
        event: `os.rename`: that file is about to get its name; `open`: it is about to be opened; `os.remove`: it is
            about to go.
        count: how often that has to happen in one process before the signal comes.
        signal: SIGKILL goes to the main process, and the file about to be renamed is cut in half, as if it were still
            being written; any other signal goes to all processes of the run, as from a terminal.
    """

    name: str
    event: str = "os.rename"
    count: int = 1
    signal: str = "SIGKILL"


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: exit code; negative for the signal that killed the main process.
        seconds: it took.
        after_fault_s: from the fault to the end of the main process; None where there was no fault.
        left: processes that outlived it for too long.
        text: what it printed.
    """

    code: int
    seconds: float
    after_fault_s: float | None
    left: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Demo:
    """The demo with some settings, run as a user runs it: as a process with a session of its own."""

    settings: tuple[str, ...] = ()

    def run(
        self, work: Path, *options: str, verb: str = "run", fault: Fault | None = None, extra: Sequence[str] = ()
    ) -> Ended:
        """Run a command to its end, and wait until every process that it started is gone, too.

        Args:
            work: the work folder.
            options: further ones.
            verb: the command.
            fault: what happens to it.
            extra: settings of this run alone.
        """
        command = [sys.executable, "-m", "cli", verb, "--dataset", "demo", "--work", str(work), *options]
        for setting in (*self.settings, *extra):
            command += ["--set", setting]
        work.mkdir(parents=True, exist_ok=True)
        mark = work / "fault-happened"
        mark.unlink(missing_ok=True)
        environment = os.environ | ({} if fault is None else _with_fault(fault, mark))
        with tempfile.TemporaryFile("w+") as output:
            started = time.time()
            main = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code = main.wait(_HANGS_S)
                ended = time.time()
                left = outliving(main.pid)
            finally:
                end_session(main)
            output.seek(0)
            after = ended - mark.stat().st_mtime if mark.exists() else None
            return Ended(code, ended - started, after, left, output.read())


def _with_fault(fault: Fault, mark: Path) -> dict[str, str]:
    """Environment in which the fault happens; it leaves the mark then."""
    paths = (str(ROOT / "tests" / "faults"), os.environ.get("PYTHONPATH"))
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "BIAM_PIPE_TEST_FAULT": json.dumps({**asdict(fault), "mark": str(mark)}),
    }


def outliving(leader: int) -> tuple[str, ...]:
    """Wait for all processes of a session whose leader has ended; those that do not end are told."""
    deadline = time.monotonic() + _GONE_S
    while (found := _session(leader)) and time.monotonic() < deadline:
        psutil.wait_procs(found, timeout=0.5)
    return tuple(str(process) for process in found)


def end_session(main: subprocess.Popen[str]) -> None:
    """Leave nothing behind, whatever went wrong."""
    for process in _session(main.pid):
        process.kill()
    main.wait()


def _session(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue  # it has ended meanwhile
    return found


def torn(work: Path) -> list[str]:
    """Files that a receipt names and that are not what it says. The product's own `verify` is not asked."""
    return [
        f"{file['path']} is not what its receipt says"
        for file in _receipted(work / "demo")
        if not file["pruned"] and _sha256(work / "demo" / file["path"]) != file["sha256"]
    ]


def differences(reference: Path, work: Path) -> list[str]:
    """What tells two work folders apart, timings aside."""
    expected, found = _files(reference / "demo"), _files(work / "demo")
    problems = [f"{path} is missing" for path in sorted(expected - found)]
    problems += [f"{path} is left over" for path in sorted(found - expected)]
    wanted = {file["path"]: file["sha256"] for file in _receipted(reference / "demo")}
    problems += [
        f"{path} has other bytes than that of the undisturbed run"
        for path, sha256 in sorted(wanted.items())
        if path in found and not path.endswith(_TIMED) and _sha256(work / "demo" / path) != sha256
    ]
    histories = [_history(folder / "demo") for folder in (reference, work)]
    return problems if histories[0] == histories[1] else [*problems, "history.json tells of other epochs"]


def _files(root: Path) -> set[str]:
    """Paths of all files but TensorBoard's events, of which each start of a training writes another one."""
    paths = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return {path for path in paths if "events.out.tfevents" not in path}


def _receipted(root: Path) -> list[dict[str, Any]]:
    """Entries of all files that receipts name."""
    documents = (json.loads(path.read_bytes()) for path in sorted(root.rglob("*.json")))
    return [file for document in documents if "fingerprint" in document for file in document["files"]]


def _history(root: Path) -> list[dict[str, object]]:
    (path,) = root.glob("runs/*/history.json")
    epochs = json.loads(path.read_bytes())["epochs"]
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
