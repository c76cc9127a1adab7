"""Disturb runs of the demo in every stage, run the same command again, and compare with a run that nothing disturbed.

    python benchmarks/kill_resume.py            the demo as it is: VGG-19, 480 pictures
    python benchmarks/kill_resume.py --small    80 pictures, a tiny backbone: what the tests use, in minutes

One reference run comes first. Each scenario starts from a copy of its work folder without what the stage in question
and all stages after it wrote. What is looked at after each: no process of the run is left, every file that a receipt
names has the hash the receipt says (right after the blow, too), the second run ends with exit code 0, the work folder
holds the same files and, timings apart, the same bytes, and `verify` is content. Exit code 1 if a scenario fails.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "dataset.num_images=80",
    "backbone.name=tiny",
    "backbone.weights=random:0",
    "backbone.input_px=64",
    "model.channels=16",
    "model.heads=2",
    "model.joint_size=16",
    "train.epochs=3",
    "train.batch_images=16",
    "evaluate.draws=2",
    "report.examples=2",
    "engine.threads=1",
)
# A checkpoint after every step. Not part of any recipe: the second run may have another interval.
EVERY_STEP = "train.checkpoint_every_s=0.001"

_KILLED, _INTERRUPTED, _USED_UP = -9, 130, 75
_GONE_S = 10.0  # until every process of a run has to be gone after its main process
_STOP_S = 10.0  # that an interruption may take
_HANGS_S = 1800.0

# Files that hold times: compared by their presence alone.
_TIMED = ("history.json", "report.html")
# What each stage writes, in the order of the stages.
_WRITTEN = {
    "index": ("index", "annotations", "labels.parquet"),
    "download": ("downloads", "images"),
    "extract": ("features",),
    "embed": ("embeddings",),
    "split": ("splits",),
    "train": ("runs",),
    "evaluate": ("runs/*/evaluate.stage.*", "runs/*/metrics.json", "runs/*/per_label.*", "runs/*/examples.*"),
    "report": ("runs/*/report.*",),
}


@dataclass(frozen=True)
class Fault:
    """A signal at a chosen moment; `tests/faults/sitecustomize.py` sends it.

    Attributes:
        name: regular expression for the path of a file.
        event: `os.rename`: that file is about to get its name; `open`: it is about to be opened.
        count: how often that has to happen in one process before the signal comes.
        signal: SIGKILL goes to the main process, and the file about to be renamed is cut in half, as if it were still
            being written; any other signal goes to all processes of the run, as from a terminal.
    """

    name: str
    event: str = "os.rename"
    count: int = 1
    signal: str = "SIGKILL"


@dataclass(frozen=True)
class Scenario:
    """One way to disturb a run.

    Attributes:
        stage: the run starts with what this stage and all after it wrote removed.
        fault: what happens to it.
        settings: of the disturbed run alone.
        older: settings with which the stage runs to its end before that, so that the disturbed run writes over its work.
    """

    name: str
    stage: str
    fault: Fault
    settings: tuple[str, ...] = ()
    older: tuple[str, ...] = ()


_MID_EPOCH = r"/checkpoint$"  # the folder is synced after each checkpoint: opened while none is written
KILLS = (
    Scenario("inside index", "index", Fault(r"/index/shard-00001\.parquet$")),
    Scenario(
        "inside index, over older shards", "index", Fault(r"/index/shard-00001\.parquet$"), older=("dataset.seed=1",)
    ),
    Scenario("inside download", "download", Fault(r"/downloads/shard-00001\.parquet$")),
    Scenario("inside extract", "extract", Fault(r"/features/.*/shard-00001\.parquet$")),
    Scenario("between a shard and its receipt", "extract", Fault(r"/features/.*/shard-00001\.json$")),
    Scenario("inside embed", "embed", Fault(r"/embeddings/[^/]*\.parquet$")),
    Scenario("inside split", "split", Fault(r"/splits/.*/images-shard-00001\.parquet$")),
    Scenario(
        "before a receipt, over older shards", "split", Fault(r"/splits/.*/shard-00001\.json$"), older=("split.seed=1",)
    ),
    Scenario("before a stage record", "split", Fault(r"/splits/.*/stage\.parquet$")),
    Scenario("inside train, in an epoch", "train", Fault(_MID_EPOCH, "open", 7), (EVERY_STEP,)),
    Scenario("while a checkpoint is written", "train", Fault(r"/checkpoint/last\.safetensors$", count=2)),
    Scenario("between the model and its history", "train", Fault(r"/history\.json$")),
    Scenario("inside evaluate", "evaluate", Fault(r"/per_label\.parquet$")),
    Scenario("inside report", "report", Fault(r"/report\.html$")),
)
INTERRUPTS = (
    Scenario("SIGTERM to all inside download", "download", Fault(r"/downloads/shard-00000\.json$", signal="SIGTERM")),
    Scenario("Ctrl-C inside extract", "extract", Fault(r"/features/.*/shard-00000\.json$", signal="SIGINT")),
    Scenario("Ctrl-C inside train", "train", Fault(_MID_EPOCH, "open", 7, "SIGINT"), (EVERY_STEP,)),
)


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
        environment = os.environ.copy()
        if fault is not None:
            faults = str(ROOT / "tests" / "faults")
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (faults, environment.get("PYTHONPATH"))))
            environment["BIAM_PIPE_TEST_FAULT"] = json.dumps({**asdict(fault), "mark": str(mark)})
        with tempfile.TemporaryFile("w+") as output:
            started = time.time()
            main = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            code = main.wait(_HANGS_S)
            ended = time.time()
            left = _wait_for_session(main.pid)
            output.seek(0)
            after = ended - mark.stat().st_mtime if mark.exists() else None
            return Ended(code, ended - started, after, left, output.read())


def _wait_for_session(leader: int) -> tuple[str, ...]:
    """Wait for all processes of a session whose leader has ended; those that do not end are told."""
    deadline = time.monotonic() + _GONE_S
    while (found := _session(leader)) and time.monotonic() < deadline:
        psutil.wait_procs(found, timeout=0.5)
    return tuple(str(process) for process in found)


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
        if _sha256(work / "demo" / file["path"]) != file["sha256"]
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


def _receipted(root: Path) -> list[dict[str, str]]:
    """Entries of all files that receipts name."""
    documents = (json.loads(path.read_bytes()) for path in sorted(root.rglob("*.json")))
    return [file for document in documents if "fingerprint" in document for file in document["files"]]


def _history(root: Path) -> list[dict[str, object]]:
    (path,) = root.glob("runs/*/history.json")
    epochs = json.loads(path.read_bytes())["epochs"]
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def prepare(reference: Path, work: Path, stage: str) -> None:
    """A copy of a work folder as it was before a stage."""
    shutil.copytree(reference / "demo", work / "demo")
    names = list(_WRITTEN)
    for pattern in (one for name in names[names.index(stage) :] for one in _WRITTEN[name]):
        for path in (work / "demo").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def after_fault(ended: Ended, work: Path, signal: str) -> list[str]:
    """What is wrong right after a run was disturbed."""
    problems = [] if ended.after_fault_s is not None else ["the moment to disturb it never came"]
    return problems + _after_stop(ended, work, _KILLED if signal == "SIGKILL" else _INTERRUPTED)


def after_time_budget(ended: Ended, work: Path) -> list[str]:
    """What is wrong right after a run that had not enough time."""
    return _after_stop(ended, work, _USED_UP)


def _after_stop(ended: Ended, work: Path, expected: int) -> list[str]:
    problems = [] if ended.code == expected else [f"exit code {ended.code} instead of {expected}: {ended.text}"]
    return problems + [f"{process} survived" for process in ended.left] + torn(work)


def after_resume(demo: Demo, ended: Ended, reference: Path, work: Path) -> list[str]:
    """What is wrong after the same command has run again."""
    if ended.code:
        return [f"exit code {ended.code} of the second run: {ended.text}"]
    verified = demo.run(work, verb="verify")
    problems = [] if verified.code == 0 else [f"verify: {verified.text}"]
    return problems + [f"{process} survived" for process in ended.left] + torn(work) + differences(reference, work)


def play(demo: Demo, scenario: Scenario, reference: Path, work: Path) -> tuple[list[str], str]:
    """Disturb a run, run it again; gives what is wrong, and the figures."""
    prepare(reference, work, scenario.stage)
    if scenario.older:
        demo.run(work, verb=scenario.stage, extra=scenario.older)
    ended = demo.run(work, fault=scenario.fault, extra=scenario.settings)
    problems = after_fault(ended, work, scenario.fault.signal)
    if ended.after_fault_s is not None and ended.after_fault_s > _STOP_S:
        problems.append(f"took {ended.after_fault_s:.1f} s to stop, expected at most {_STOP_S:.0f} s")
    again = demo.run(work)
    figures = f"{ended.seconds:.0f} s + {again.seconds:.0f} s"
    if scenario.fault.signal != "SIGKILL":
        figures += f", stopped in {ended.after_fault_s or 0:.1f} s"
    return problems + after_resume(demo, again, reference, work), figures


def play_budgets(demo: Demo, reference: Path, work: Path) -> tuple[list[str], str]:
    """Run from an empty folder until all is done, without any time first, then with ever more."""
    budget_s, problems, runs = 0, [], 1
    while (ended := demo.run(work, "--time-budget", f"{budget_s}s")).code == _USED_UP:
        problems += after_time_budget(ended, work)
        budget_s, runs = max(1, 2 * budget_s), runs + 1
    if budget_s == 0:
        problems.append("a time budget of 0 s was enough")
    return problems + after_resume(demo, ended, reference, work), f"{runs} runs"


def main() -> None:
    """Play every scenario; a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="80 pictures, a tiny backbone")
    parser.add_argument("--only", metavar="TEXT", default="", help="scenarios with this in their name")
    parser.add_argument("--reference", metavar="DIR", type=Path, help="an undisturbed work folder, made if not there")
    arguments = parser.parse_args()
    demo = Demo(SMALL if arguments.small else ())
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as scratch:
        reference = arguments.reference or Path(scratch, "reference")
        undisturbed = demo.run(reference)
        if undisturbed.code:
            raise SystemExit(f"the undisturbed run ended with {undisturbed.code}: {undisturbed.text}")
        print(f"{'undisturbed':<36}{undisturbed.seconds:.0f} s", flush=True)
        plays = {one.name: (play, (demo, one, reference)) for one in (*KILLS, *INTERRUPTS)}
        plays["time budgets"] = (play_budgets, (demo, reference))
        failed = 0
        for name, (function, values) in plays.items():
            if arguments.only in name:
                with tempfile.TemporaryDirectory(dir=scratch) as work:
                    problems, figures = function(*values, Path(work))
                failed += bool(problems)
                print(f"{name:<36}{figures:<32}{'; '.join(problems) or 'equal'}", flush=True)
    raise SystemExit(f"{failed} scenarios failed" if failed else 0)


if __name__ == "__main__":
    main()
