"""Work folders of a small demo that nothing disturbed, and what each command comes to on a copy of them."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.disturbing.bench import SMALL
from benchmarks.flips.actions import OUT, PHOTO, Action
from benchmarks.flips.kinds import KINDS, OUTSIDE, VECTORS, Kind, kind_of
from benchmarks.flips.trees import UNCOMPARED, Tree, paths, timeless
from benchmarks.flips.warm import Ended, Runner

DATASET = "demo"
SMALLER = (
    *SMALL,
    "download.max_bytes=37000",  # a few pictures are larger
    "extract.max_failed_fraction=0.5",
)
_WORD_SIZE = 20
_LOCK_POLL_S = 0.002


@dataclass(frozen=True)
class Undisturbed:
    """What an action comes to when nothing is damaged.

    Attributes:
        before: the folder that it starts from.
        after: what it leaves.
        reads: paths of files that it opens.
    """

    ended: Ended
    before: Tree
    after: Tree
    reads: frozenset[str]


class Bench:
    """Finished work folders to take copies of.

    Args:
        scratch: for all of them.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch.resolve()
        self.vectors = self.scratch / VECTORS
        self.settings = (*SMALLER, f"embed.vectors={self.vectors}")
        self._numbers = count()
        self._digests: dict[tuple[str, str], str] = {}
        self._files: dict[Kind, dict[str, bytes]] = {}

    def make(self, run: Runner) -> None:
        """The folders that actions start from, and the files from outside."""
        Image.linear_gradient("L").convert("RGB").save(self.scratch / "photo.png")
        finished, stopped, died = (self.scratch / name for name in ("finished", "stopped", "died"))
        self.vectors.touch()  # the index does not read it
        lock = self._seeing_its_lock(run, finished, "index")
        self._write_vectors(finished)
        self._must(run, finished, "run")
        self._must(run, finished, "convert", "hdf5")
        shutil.copytree(finished, stopped)
        shutil.rmtree(stopped / DATASET / "runs")
        self._must(run, stopped, "train", "--only", "--time-budget", "0s", code=75)
        shutil.copytree(finished, died)
        (died / DATASET / ".lock").write_bytes(lock)

    def _seeing_its_lock(self, run: Runner, work: Path, *arguments: str) -> bytes:
        """Run a command; text of the lock meanwhile, which is what a run that dies leaves."""
        path, text = work / DATASET / ".lock", b""
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(self._must, run, work, *arguments)
            while wait([running], _LOCK_POLL_S).not_done:
                text = (path.read_bytes() if path.exists() else b"") or text
            running.result()
        if not text:
            raise SystemExit(f"{' '.join(arguments)}: {path} was empty all the time")
        return text

    def _write_vectors(self, work: Path) -> None:
        labels = pq.read_table(work / DATASET / "labels.parquet")["name"].to_pylist()
        rng = np.random.default_rng(0)
        lines = (
            f"{word} {' '.join(f'{number:.5f}' for number in rng.normal(size=_WORD_SIZE))}"
            for word in sorted({word for label in labels for word in label.split()} | {"green"})
        )
        self.vectors.write_text("\n".join(lines) + "\n")

    def _must(self, run: Runner, work: Path, *arguments: str, code: int = 0) -> None:
        ended = run(self.line(work, arguments))
        if ended.code != code:
            raise SystemExit(
                f"undisturbed {' '.join(arguments)} ended with {ended.code}: {ended.stderr or ended.stdout}"
            )

    def line(self, work: Path, arguments: Iterable[str]) -> list[str]:
        """The whole command line for a folder."""
        places = {OUT: str(work / "out"), PHOTO: str(self.scratch / "photo.png")}
        line = [places.get(argument, argument) for argument in arguments]
        settings = [text for setting in self.settings for text in ("--set", setting)]
        return [*line[:1], *settings, *line[1:], "--dataset", DATASET, "--work", str(work)]

    def files(self, kind: Kind) -> dict[str, bytes]:
        """Bytes of the files of a kind, by path below the data set's folder."""
        if kind not in self._files:
            root = self.scratch / kind.base / DATASET
            named = {path.relative_to(root).as_posix(): path for path in paths(root)}
            named[OUTSIDE] = self.vectors
            self._files[kind] = {name: path.read_bytes() for name, path in named.items() if kind_of(name) == kind}
        return self._files[kind]

    def undisturbed(self, action: Action, run: Runner) -> Undisturbed:
        """What an action comes to, and which files it opens."""
        with self.copy(action) as trial:
            before = self.tree(trial)
            watched = {path.relative_to(trial / DATASET).as_posix(): path for path in paths(trial / DATASET)}
            watched[OUTSIDE] = self.vectors
            for path in watched.values():
                os.utime(path, ns=(0, path.stat().st_mtime_ns))
            ended = run(self.line(trial, action.arguments))
            if ended.code:
                raise SystemExit(f"undisturbed {action.name} ended with {ended.code}: {ended.stderr or ended.stdout}")
            reads = {name for name, path in watched.items() if not path.exists() or path.stat().st_atime_ns}
            return Undisturbed(shown(ended, trial), before, self.tree(trial), frozenset(reads))

    @contextmanager
    def copy(self, action: Action) -> Iterator[Path]:
        """A copy of the folder that an action starts from, without what it makes; goes at the end of the block."""
        trial = self.scratch / f"trial-{next(self._numbers):06d}"
        shutil.copytree(self.scratch / action.base, trial)
        for pattern in action.removed:
            for path in sorted((trial / DATASET).glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            yield trial
        finally:
            shutil.rmtree(trial, ignore_errors=True)

    def tree(self, trial: Path) -> Tree:
        """What is in a folder, times aside: a hash by path."""
        named = {path.relative_to(trial).as_posix(): path for path in paths(trial)}
        return {name: self._digest(path) for name, path in named.items() if not UNCOMPARED.fullmatch(name)}

    def _digest(self, path: Path) -> str:
        data = path.read_bytes()
        key = path.name, hashlib.sha256(data).hexdigest()
        if key not in self._digests:
            self._digests[key] = hashlib.sha256(timeless(path.name, data)).hexdigest()
        return self._digests[key]

    def present(self) -> list[Kind]:
        """Kinds of the files that there are, the known ones first."""
        roots = [self.scratch / base / DATASET for base in ("finished", "stopped", "died")]
        found = {kind_of(path.relative_to(root).as_posix()) for root in roots for path in paths(root)}
        known = [kind for kind in KINDS if kind in found or kind.outside]
        return known + sorted(found - set(known), key=lambda kind: kind.name)


def shown(ended: Ended, trial: Path) -> Ended:
    """What a command said, wherever its folder lies."""
    return Ended(ended.code, ended.stdout.replace(str(trial), "WORK"), ended.stderr.replace(str(trial), "WORK"))
