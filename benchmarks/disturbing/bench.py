"""A small demo whose runs are disturbed, how such a run ends, and what tells its folder from an undisturbed one."""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from benchmarks.disturbing.faulty_disk import Library, Struck
from benchmarks.flips.trees import UNCOMPARED, Tree, differing, last_line, paths, timeless
from benchmarks.flips.warm import Ended, Runner

WORK, DATASET = "work", "demo"  # folders of a trial, one in the other
SMALL = (
    "dataset.num_images=24",
    "dataset.shard_images=8",
    "backbone.name=tiny",
    "backbone.weights=random:0",
    "backbone.input_px=64",
    "model.channels=16",
    "model.heads=2",
    "model.joint_size=16",
    "train.epochs=2",
    "train.warmup_epochs=1",
    "train.validate_every_epochs=1",
    "train.batch_images=8",
    "evaluate.draws=2",
    "evaluate.examples=2",
    "engine.threads=1",
)
_EVERY_STEP = "train.checkpoint_every_s=0.001"  # a checkpoint after every step
# What each stage writes below the data set's folder, in the order of the stages.
WRITTEN = {
    "index": ("index", "annotations", "labels.parquet"),
    "download": ("downloads", "images"),
    "extract": ("features",),
    "embed": ("embeddings",),
    "split": ("splits",),
    "train": ("runs",),
    "evaluate": tuple(
        f"runs/*/{name}"
        for name in ("evaluate.stage.*", "metrics.json", "per_label.*", "examples.*", "bootstrap.npz", "missing.csv")
    ),
    "report": ("runs/*/report.*",),
}
_SMALL_DISK = "size=64m,nr_inodes=4096"
_NOTHING_YET = "no receipt in "
_UNTHOUGHT_OF = ("unexpected ", "Traceback", "Logging error", "Exception in ")


@dataclass(frozen=True)
class Trial:
    """A work folder of its own, with a folder for temporary files and a home beside it."""

    root: Path

    @property
    def work(self) -> Path:
        """What --work gets."""
        return self.root / WORK

    @property
    def outside(self) -> Path:
        """Where nothing may be left: TMPDIR and HOME."""
        return self.root / "outside"

    @property
    def counted(self) -> Path:
        """How often what was to be disturbed has come, a byte each."""
        return self.root / "counted"

    def empty(self) -> None:
        """Begin with an empty work folder."""
        shutil.rmtree(self.work)
        self.work.mkdir()


class Case(Protocol):
    """One disturbance.

    Attributes:
        name: for people.
        group: what it is counted with.
        before: the folder holds what an undisturbed run has before this stage; None for an empty one.
        settings: of the disturbed run and of the one after it.
        on_small_disk: the folder lies on a disk of its own.
    """

    name: str
    group: str
    before: str | None
    settings: tuple[str, ...]
    on_small_disk: bool

    def disturb(self, bench: "Bench", trial: Trial) -> tuple[list[str], str]:
        """Disturb a run; gives what is wrong right after, and a note."""


class Bench:
    """Undisturbed runs, and folders to disturb others in.

    Attributes:
        calls: that the undisturbed run makes to the file system: what is done, and to which path below its folder.
        phases: seconds for which there are processes of a sort in it.
        seconds: that it takes.

    Args:
        scratch: for all of them.
        run: runs commands.
        library: makes disks fail; None where it cannot be made.
        mounts: whether disks can be mounted.
    """

    def __init__(self, scratch: Path, run: Runner, library: Library | None, mounts: bool) -> None:
        self.scratch = scratch.resolve()
        self.library = library
        self.mounts = mounts
        self.calls: list[tuple[str, str]] = []
        self.phases: dict[str, float] = {}
        self.seconds = 0.0
        self._run = run
        self._numbers = count()
        self._undisturbed: dict[tuple[str | None, tuple[str, ...]], Tree] = {}

    def impossible(self) -> list[str]:
        """What cannot be played here."""
        told = {"nobody may mount a disk here": self.mounts, "there is no C compiler": self.library is not None}
        return [problem for problem, possible in told.items() if not possible]

    @property
    def reference(self) -> Path:
        """The work folder of a run that nothing disturbed."""
        return self.scratch / "reference" / "work"

    def make(self, watching: Callable[[int], None] | None = None) -> None:
        """The undisturbed run, and which calls it makes to the file system.

        Args:
            watching: called meanwhile with the number of its main process.
        """
        trial = self._folders(self.scratch / "reference")
        log = trial.root / "log"
        variables = {"FAULTY_DISK_PATH": f"{trial.root}/(work|outside)/", "FAULTY_DISK_LOG": str(log)}
        started = time.time()
        ended = self.command(trial, "run", environment=variables, started=watching)
        self.seconds = ended.at - started
        if problems := self.wrong_with(ended, trial, (0,)) + self.left_outside(trial):
            raise SystemExit(f"the undisturbed run: {'; '.join(problems)}")
        if self.library is not None:
            lines = (line.split(" ", 1) for line in log.read_text().splitlines())
            self.calls = [(call, path.removeprefix(str(trial.root))) for call, path in lines]
        self._undisturbed[None, ()] = tree(trial.work)

    def calls_of(self, stage: str) -> list[tuple[str, str]]:
        """Calls of the undisturbed run while a stage ran, and of all others of that time."""
        last = ("train", "evaluate", "report")  # one begins when the record of the one before it has its name
        if stage not in last:
            return self.calls
        ends = [0, *(self._ending_of(name) for name in last)]
        number = last.index(stage)
        return self.calls[ends[number] : ends[number + 1]]

    def _ending_of(self, stage: str) -> int:
        """When a record gets its name; before, an older one is removed."""
        name = f"/{stage}.stage.parquet"
        return max((at for at, (_, path) in enumerate(self.calls) if path.endswith(name)), default=0)

    @contextmanager
    def trial(self, before: str | None = None, small_disk: bool = False) -> Iterator[Trial]:
        """A work folder for one disturbance, gone after the block.

        Args:
            before: it holds what an undisturbed run has before this stage; None for an empty one.
            small_disk: it lies on a disk of its own.
        """
        trial = self._folders(self.scratch / f"trial-{next(self._numbers):04d}")
        if small_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", _SMALL_DISK, "none", trial.work], check=True)
        try:
            if before is not None:
                prepare(self.reference, trial.work, before)
            yield trial
        finally:
            if small_disk:
                subprocess.run(["umount", "--lazy", trial.work], check=True)
            shutil.rmtree(trial.root)

    def _folders(self, root: Path) -> Trial:
        trial = Trial(root)
        trial.work.mkdir(parents=True)
        trial.outside.mkdir()
        return trial

    def command(
        self,
        trial: Trial,
        verb: str,
        *settings: str,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        started: Callable[[int], None] | None = None,
    ) -> Ended:
        """Run a command to its end."""
        line = [verb, *options, "--dataset", DATASET, "--work", str(trial.work)]
        for setting in (*_small(settings), *settings):
            line += ["--set", setting]
        places = {name: str(trial.outside) for name in ("HOME", "TMPDIR")}
        if self.library is not None:
            places["LD_PRELOAD"] = str(self.library.file)
        return self._run(line, {**places, **(environment or {})}, started)

    def faulty(self, trial: Trial, struck: Struck) -> dict[str, str]:
        """Variables with which the library strikes calls of a trial."""
        assert self.library is not None, "asked for by whoever knows that it is there"
        trial.counted.unlink(missing_ok=True)
        return self.library.variables(struck, trial.root, trial.counted)

    def wrong_with(self, ended: Ended, trial: Trial, codes: Sequence[int | None]) -> list[str]:
        """What is wrong with how a command ended, and with the files that receipts name."""
        text = ended.stdout + ended.stderr
        problems = [f"{process} survived" for process in ended.left]
        if ended.code not in codes:
            problems.append(f"exit code {ended.code}, not {' or '.join(map(str, codes))}: {last_line(text)}")
        problems += [f"says {word.strip()!r}: {_line_with(word, text)}" for word in _UNTHOUGHT_OF if word in text]
        return problems + torn(trial.work / DATASET)

    def false_alarms(self, trial: Trial) -> list[str]:
        """What `verify` takes for damage in a folder that holds none."""
        ended = self.command(trial, "verify")
        if ended.code == 1 and _NOTHING_YET in ended.stderr:
            return []
        return [f"verify: {problem}" for problem in self.wrong_with(ended, trial, (0,))]

    def finished(self, trial: Trial, before: str | None = None, settings: tuple[str, ...] = ()) -> list[str]:
        """Run the command to its end; what tells the folder from that of an undisturbed run.

        Args:
            before: as `trial` takes it.
            settings: of both runs.
        """
        if problems := self.wrong_with(self.command(trial, "run", *settings), trial, (0,)):
            return [f"run again: {problem}" for problem in problems]
        wrong = differing(self._tree_of(before if settings else None, settings), tree(trial.work), ())
        problems = [f"run again: {wrong}"] if wrong else []
        return problems + self.false_alarms(trial) + self.left_outside(trial)

    def _tree_of(self, before: str | None, settings: tuple[str, ...]) -> Tree:
        """An undisturbed run's folder."""
        if (before, settings) not in self._undisturbed:
            with self.trial(before) as trial:
                ended = self.command(trial, "run", *settings)
                if problems := self.wrong_with(ended, trial, (0,)):
                    raise SystemExit(f"the undisturbed run with {' '.join(settings)}: {'; '.join(problems)}")
                self._undisturbed[before, settings] = tree(trial.work)
        return self._undisturbed[before, settings]

    def left_outside(self, trial: Trial) -> list[str]:
        """What a command that came to an end has left among temporary files and in the home folder."""
        return [f"{name} is left in TMPDIR or HOME" for name in sorted(path.name for path in trial.outside.iterdir())]


def _small(others: Sequence[str]) -> Iterator[str]:
    """The settings of all runs beside others: another model has other ones."""
    other_model = any(setting.startswith("model.name=") for setting in others)
    return (
        setting for setting in (*SMALL, _EVERY_STEP) if not (other_model and setting.startswith(("model.", "train.")))
    )


def prepare(reference: Path, work: Path, stage: str) -> None:
    """A copy of a work folder as it was before a stage."""
    shutil.copytree(reference / DATASET, work / DATASET)
    names = list(WRITTEN)
    for pattern in (pattern for name in names[names.index(stage) :] for pattern in WRITTEN[name]):
        for path in (work / DATASET).glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def tree(work: Path) -> Tree:
    """What is in a folder, times aside: a hash by path, and its folders."""
    found = {f"{path.relative_to(work).as_posix()}/": "" for path in work.rglob("*") if path.is_dir()}
    named = {path.relative_to(work).as_posix(): path for path in paths(work)}
    return found | {
        name: hashlib.sha256(timeless(path.name, path.read_bytes())).hexdigest()
        for name, path in named.items()
        if not UNCOMPARED.fullmatch(name)
    }


def torn(root: Path) -> list[str]:
    """Files that a receipt names and that are not what it says. The product's own `verify` is not asked."""
    documents = (json.loads(path.read_bytes()) for path in sorted(root.rglob("*.json")))
    files = [file for document in documents if "fingerprint" in document for file in document["files"]]
    return [
        f"{file['path']} is not what its receipt says"
        for file in files
        if not file["pruned"] and _sha256(root / file["path"]) != file["sha256"]
    ]


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _line_with(word: str, text: str) -> str:
    return next(line.strip()[:300] for line in text.splitlines() if word in line)
