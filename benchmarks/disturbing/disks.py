"""Disks that are full, fail or are read-only, at every stage: an error that says so, and nothing lost."""

import errno
import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.disturbing.bench import DATASET, WORK, WRITTEN, Bench, Trial
from benchmarks.disturbing.faulty_disk import Struck
from benchmarks.flips.trees import last_line, paths

_FULL = "the disk is full"
_READ_ONLY = "the file system is read-only"
_FAILS = "the disk fails"
# By name: the cause that the error has to tell, the call that fails, how, and how often.
_FAILURES = {
    "EIO on write": (_FAILS, "write", errno.EIO, 0),
    "failing fsync": (_FAILS, "fsync", errno.EIO, 1),  # the system tells of lost pages once
    "full disk, library": (_FULL, "write", errno.ENOSPC, 0),
    "read-only, library": (_READ_ONLY, "name", errno.EROFS, 0),
    "no permission": ("permission is denied", "name", errno.EACCES, 0),
}
_TMPDIR = r"/outside"
_DEMO = f"/{WORK}/{DATASET}"
# The stage that is run, with those before it where they are missing, and the files whose calls fail.
_PLACES = {
    "index": ("index", rf"{_DEMO}/(index|annotations|\.labels)"),
    "download": ("download", rf"{_DEMO}/(downloads|images)"),
    "extract": ("extract", rf"{_DEMO}/features"),
    "embed": ("embed", rf"{_DEMO}/embeddings"),
    "split": ("split", rf"{_DEMO}/splits"),
    "train": ("train", rf"{_DEMO}/runs/[^/]*/\."),
    "checkpoint": ("train", rf"{_DEMO}/runs/[^/]*/checkpoint"),
    "log of the training": ("train", rf"{_DEMO}/runs/[^/]*/train\.log"),
    "curves of the training": ("train", rf"{_DEMO}/runs/[^/]*/events"),
    "evaluate": ("evaluate", rf"{_DEMO}/runs"),
    "report": ("report", rf"{_DEMO}/runs"),
    "lock": ("index", rf"{_DEMO}/\.lock"),
    "TMPDIR": ("report", _TMPDIR),
}
_HDF5 = ("store.name=hdf5",)
_IN_HDF5 = "extract into HDF5"
_FEW = (  # what fails, and where
    ("full disk", _IN_HDF5),
    ("no inodes", "report"),
    ("remounted read-only", "report"),
    ("EIO on write", "checkpoint"),
    ("failing fsync", "embed"),
)


@dataclass(frozen=True)
class Failing:
    """Calls on some files that fail, by the library.

    Attributes:
        stage: that is run.
        cause: what the error has to tell.
    """

    name: str
    group: str
    before: str
    stage: str
    cause: str
    struck: Struck
    settings: tuple[str, ...] = ()
    on_small_disk: bool = False

    def disturb(self, bench: Bench, trial: Trial) -> tuple[list[str], str]:
        """Run the stage; gives what is wrong, and what was struck."""
        variables = bench.faulty(trial, self.struck)
        ended = bench.command(trial, self.stage, *self.settings, environment=variables)
        note = f"{self.struck.call} {self.struck.nth} of its files"
        if not trial.counted.exists() or trial.counted.stat().st_size < self.struck.nth:
            return ["the call that was to fail never came"], note
        if ended.code == 0 and self.struck.path == _TMPDIR:  # what was not to be removed there was all that failed
            return bench.wrong_with(ended, trial, (0,)), note
        problems = bench.wrong_with(ended, trial, (1,)) + _untold(ended.stderr, self.cause, trial.root)
        if self.struck.path != _TMPDIR:
            problems += bench.left_outside(trial)
        return problems + bench.false_alarms(trial), note


@dataclass(frozen=True)
class SmallDisk:
    """A disk of its own that has room for a share of what a stage writes, or is read-only.

    Attributes:
        before: the stage that is run.
        share: of the bytes or files; None for a disk that is mounted read-only.
    """

    name: str
    group: str
    before: str
    share: float | None
    settings: tuple[str, ...] = ()
    on_small_disk: bool = True

    def disturb(self, bench: Bench, trial: Trial) -> tuple[list[str], str]:
        """Run the stage; gives what is wrong, and how much room there was."""
        with self._limited(bench, trial.work) as room:
            ended = bench.command(trial, self.before, *self.settings)
            cause = _READ_ONLY if self.share is None else _FULL
            problems = bench.wrong_with(ended, trial, (1,)) + _untold(ended.stderr, cause, trial.root)
            return problems + bench.left_outside(trial) + bench.false_alarms(trial), room

    @contextmanager
    def _limited(self, bench: Bench, disk: Path) -> Iterator[str]:
        if self.share is None:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            yield "nothing can be written"
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            return
        files = _written(bench.reference / DATASET, self.before)
        there, filling = os.statvfs(disk), disk / "filling"
        filling.mkdir()
        if self.group == "no inodes":
            left = int(self.share * len(files))
            for number in range(there.f_favail - left - 1):
                (filling / str(number)).touch()
            room = f"room for {left} of {len(files)} files"
        else:
            pages = sum(-(-path.stat().st_size // there.f_frsize) for path in files)
            left = int(self.share * pages)
            with (filling / "file").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, (there.f_bavail - left) * there.f_frsize)
            room = f"room for {left} of {pages} pages"
        yield room
        subprocess.run(["rm", "-r", filling], check=True)


def _written(root: Path, stage: str) -> list[Path]:
    """Files that a stage has written."""
    stages = list(WRITTEN)
    later = {path for name in stages[stages.index(stage) + 1 :] for path in _matching(root, WRITTEN[name])}
    return sorted(set(_matching(root, WRITTEN[stage])) - later)


def _matching(root: Path, patterns: Sequence[str]) -> list[Path]:
    found = [path for pattern in patterns for path in root.glob(pattern)]
    return [path for top in found for path in (paths(top) if top.is_dir() else [top])]


def _untold(text: str, cause: str, root: Path) -> list[str]:
    """What the error does not tell: the cause, which path, what to run next."""
    wanted = {cause: "the cause", str(root): "a path", "biam-pipe ": "the next command"}
    error = text.partition("biam-pipe: ")[2]
    return [f"does not tell {what}: {last_line(text)}" for part, what in wanted.items() if part not in error]


def drawn(bench: Bench, seed: int, few: bool) -> list[Failing | SmallDisk]:
    """Every way to fail at every place, each at a random call, or with room for a random share."""
    rng = random.Random(seed)
    cases: list[Failing | SmallDisk] = []
    for stage in WRITTEN if bench.mounts else ():
        for kind in ("full disk", "no inodes"):
            cases.append(SmallDisk(f"{kind}, {stage}", kind, stage, rng.random()))
        cases.append(SmallDisk(f"remounted read-only, {stage}", "remounted read-only", stage, None))
    if bench.mounts:
        cases.append(SmallDisk(f"full disk, {_IN_HDF5}", "full disk", "extract", rng.random(), _HDF5))
    for kind, (cause, call, number, times) in _FAILURES.items() if bench.library is not None else ():
        for place, (stage, path) in _PLACES.items():
            struck = Struck(call, path, str(number), times=times)
            if calls := struck.calls(bench.calls if place == "TMPDIR" else bench.calls_of(stage)):
                struck = Struck(call, path, str(number), rng.randint(1, calls), times)
                before = "index" if place == "TMPDIR" else stage
                cases.append(Failing(f"{kind}, {place}", kind, before, stage, cause, struck))
        struck = Struck(call, rf"{_DEMO}/features/.*\.h5", str(number), times=times)
        cases.append(Failing(f"{kind}, {_IN_HDF5}", kind, "extract", "extract", cause, struck, _HDF5))
    names = {f"{kind}, {place}" for kind, place in _FEW}
    return [case for case in cases if not few or case.name in names]
