"""Damage every kind of file of a finished work folder, and see whether what reads it goes on as if nothing was.

    python -m benchmarks.bit_flips                              all kinds, 30 random bits each and the aimed ones
    python -m benchmarks.bit_flips --kinds index,metrics --flips 5

For each damage a copy of the folder for every command that reads the file (as the file system tells: its access times
are looked at once), with what that command makes removed before, so that it has to read. What comes out of it:

    refused       exit code 4, and the text names the file
    anew          what was damaged is made anew, now or by the command that the text or `plan` names, equal to before
    equal         it makes no difference to files and text
    SILENT        exit code 0, and something is another than without the damage
    UNEXPECTED    anything else: an error nobody thought of, another exit code, no end
    STALE         once the damage is mended, running the command again does not lead to what it leads to undisturbed

Times, train.log, TensorBoard's events and the text of the lock are not compared; of files that a receipt covers,
`verify` has to find every damage. A file from outside (word vectors) may change what is made, but not for longer than
it is changed itself. Commands are those of `benchmarks.warm`; `--plain` runs each as a user does, which takes ten times
as long. Exit code 1 if something is silent, unexpected or stale.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.damage import Damage, aimed, listed_paths, random_flips
from benchmarks.kill_resume import SMALL
from benchmarks.measured import cpu
from benchmarks.warm import Ended, Plain, Runner, warm_runners

SMALLER = (
    *SMALL,
    "dataset.num_images=24",
    "dataset.shard_images=8",
    "download.max_bytes=37000",  # a few pictures are larger
    "extract.max_failed_fraction=0.5",
    "train.epochs=2",
    "train.warmup_epochs=1",
    "train.validate_every_epochs=1",
    "train.batch_images=8",
)
_DATASET = "demo"
_VECTORS = "vectors.txt"  # beside the folders of trials, one for all
_OUTSIDE = f"../../{_VECTORS}"  # from a data set's folder
_WORD_SIZE = 20
_HANGS_S = 120.0
_LOCK_POLL_S = 0.002
_MADE_HERE = "OUT"  # in arguments: a folder of the trial
_PHOTO = "PHOTO"


@dataclass(frozen=True)
class Action:
    """A command that is run on a damaged folder.

    Attributes:
        arguments: of the command line, settings and work folder aside.
        removed: what it makes, so that it has to make it; glob patterns.
        base: the folder it starts from: `finished`, or `stopped` inside training, or `died`, leaving its lock.
        always: it is run whether it opens a damaged file or not: all see the sizes, and `verify` should open it.
    """

    arguments: tuple[str, ...]
    removed: tuple[str, ...] = ()
    base: str = "finished"
    always: bool = False

    @property
    def name(self) -> str:
        """For people."""
        notes = [self.base] * (self.base != "finished") + [f"without {pattern}" for pattern in self.removed[:1]]
        return " ".join([*self.arguments, *(f"({note})" for note in notes)])

    @property
    def verifies(self) -> bool:
        """Whether it is there to find damage."""
        return self.arguments[0] == "verify"

    @property
    def looks(self) -> bool:
        """Whether it tells what is there, whatever that is."""
        return self.arguments[0] in ("status", "plan")


_EVALUATED = tuple(
    f"runs/*/{name}" for name in ("evaluate.stage.*", "metrics.json", "per_label.*", "examples.*", "missing.csv")
)
_RECORDS = ("**/*stage.parquet",)
_HDF5 = ("--set", "store.name=hdf5")
ACTIONS = (
    Action(("status",), always=True),
    Action(("status", "--json")),
    Action(("status",), base="died"),
    Action(("plan",)),
    Action(("plan", "--json"), always=True),
    Action(("run",), always=True),
    Action(("run", "--json")),
    Action(("run",), base="died"),
    Action(("run",), removed=_RECORDS),
    Action(("verify",), always=True),
    Action(("verify",), base="stopped", always=True),
    Action(("verify", "--json")),
    Action(("verify", "--reextract", "3")),
    Action(("index", "--only", "--set", "dataset.num_images=30")),  # older shards are read, and stay
    Action(("download", "--only"), removed=("downloads", "images")),
    Action(("download", "--only", "--retry-failed=too_large")),
    Action(("extract", "--only"), removed=("features/*/parquet",)),
    Action(("split", "--only"), removed=("splits",)),
    Action(("embed", "--only"), removed=("embeddings",)),
    Action(("train", "--only"), removed=("runs",)),
    Action(("train", "--only"), base="stopped"),
    Action(("train", "--only", *_HDF5), removed=("runs",)),
    Action(("evaluate", "--only"), removed=_EVALUATED),
    Action(("evaluate", "--only", *_HDF5), removed=_EVALUATED),
    Action(("report", "--only"), removed=("runs/*/report.*",)),
    Action(("report", "--only", "--json"), removed=("runs/*/report.*",)),
    Action(("predict", _PHOTO, "--out", _MADE_HERE)),
    Action(("predict", _PHOTO, "--labels", "red circle,green", "--json", "--out", _MADE_HERE)),
    Action(("convert", "hdf5")),
    Action(("convert", "hdf5"), removed=("features/*/hdf5",)),
    Action(("convert", "parquet", *_HDF5), removed=("features/*/parquet",)),
    Action(("convert", "released", "--out", _MADE_HERE)),
    Action(("convert", "huggingface", "--json", "--out", _MADE_HERE)),
)


@dataclass(frozen=True)
class Kind:
    """Files that hold the same sort of thing.

    Attributes:
        pattern: regular expression for their paths below the data set's folder.
        base: where there are some.
        covered: a receipt holds their hash, so that `verify` has to find any damage.
        told: `status` shows its text to people, damaged or not.
        outside: no file of the work folder.
    """

    name: str
    pattern: str
    base: str = "finished"
    covered: bool = True
    told: bool = False
    outside: bool = False


KINDS = (
    Kind("index", r"index/shard-\d+\.parquet"),
    Kind("annotations", r"annotations/shard-\d+\.parquet"),
    Kind("labels", r"labels\.parquet"),
    Kind("downloads", r"downloads/shard-\d+\.parquet"),
    Kind("images", r"images/shard-\d+\.parquet"),
    Kind("features parquet", r"features/.*/shard-\d+\.parquet"),
    Kind("features hdf5", r"features/.*/shard-\d+\.h5"),
    Kind("feature spec", r"features/.*/spec\.json"),
    Kind("feature card", r"features/.*/README\.md"),
    Kind("image splits", r"splits/.*/images-shard-\d+\.parquet"),
    Kind("label roles", r"splits/.*/labels\.parquet"),
    Kind("label matrix", r"embeddings/[^/]*(?<!\.stage)\.parquet"),
    Kind("checkpoint", r"runs/.*/checkpoint/.*", base="stopped"),
    Kind("model", r"runs/.*/model\.safetensors"),
    Kind("history", r"runs/.*/history\.json"),
    Kind("config", r"runs/.*/config\.toml"),
    Kind("metrics", r"runs/.*/metrics\.json"),
    Kind("per label", r"runs/.*/per_label\.parquet"),
    Kind("examples", r"runs/.*/examples\.parquet"),
    Kind("missing", r"runs/.*/missing\.csv"),
    Kind("report", r"runs/.*/report\.html"),
    Kind("shard receipts", r".*/shard-\d+\.json", covered=False),
    Kind("stage receipts", r".*stage\.json", covered=False),
    Kind("stage records", r".*stage\.parquet", covered=False),
    Kind("sources", r"sources\.json", covered=False),
    Kind("lock", r"\.lock", base="died", covered=False, told=True),
    Kind("log", r"runs/.*/train\.log", covered=False),
    Kind("events", r"runs/.*/events\..*", covered=False),
    Kind("vectors", re.escape(_OUTSIDE), covered=False, outside=True),
)
_UNCOMPARED = re.compile(r".*/(\.lock|train\.log|events\.[^/]*)")
_TIMED = ("history.json", "report.html")  # files that hold times, so that their hash is another each time
_TIMES = re.compile(r'("\w*(?:seconds|_s|at)": )[\d.]+|\b\d[\d,.]*\s?(?:ms|s|min|h|[kMG]?B|images/s)\b')
# What a file says of its own bytes (`hash`) covers the times in it.
_TIMED_KEYS = re.compile(r"seconds\w*|started_at|\w+_per_s|modified_ns|changed_ns|inode|hash|biam_pipe\.hash")
_WORK_DONE = re.compile(r'\bran \d+|\bup to date\b|"ran": \d+|\bkept \d+|"made": \d+|\d+ made')

Tree = dict[str, str]


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


@dataclass(frozen=True)
class Verdict:
    """What came of a damage with one action.

    Attributes:
        outcome: refused, anew, equal, SILENT, UNEXPECTED or STALE.
        why: what is wrong.
    """

    kind: str
    damage: str
    action: str
    outcome: str
    why: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is one that may not be."""
        return self.outcome.isupper()

    def __str__(self) -> str:
        return f"{self.outcome} {self.kind}: {self.damage} | {self.action} | {self.why}"


class Bench:
    """Finished work folders, and trials on copies of them.

    Args:
        scratch: an empty folder.
        keep: leave the folders of trials that went wrong.
    """

    def __init__(self, scratch: Path, keep: bool = False) -> None:
        self.scratch, self.keep = scratch.resolve(), keep
        self.vectors = self.scratch / _VECTORS
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
        shutil.rmtree(stopped / _DATASET / "runs")
        self._must(run, stopped, "train", "--only", "--time-budget", "0s", code=75)
        shutil.copytree(finished, died)
        (died / _DATASET / ".lock").write_bytes(lock)

    def _seeing_its_lock(self, run: Runner, work: Path, *arguments: str) -> bytes:
        """Run a command; text of the lock meanwhile, which is what a run that dies leaves."""
        path, text = work / _DATASET / ".lock", b""
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(self._must, run, work, *arguments)
            while wait([running], _LOCK_POLL_S).not_done:
                text = (path.read_bytes() if path.exists() else b"") or text
            running.result()
        if not text:
            raise SystemExit(f"{' '.join(arguments)}: {path} was empty all the time")
        return text

    def _write_vectors(self, work: Path) -> None:
        labels = pq.read_table(work / _DATASET / "labels.parquet")["name"].to_pylist()
        rng = np.random.default_rng(0)
        lines = (
            f"{word} {' '.join(f'{number:.5f}' for number in rng.normal(size=_WORD_SIZE))}"
            for word in sorted({word for label in labels for word in label.split()} | {"green"})
        )
        self.vectors.write_text("\n".join(lines) + "\n")

    def _must(self, run: Runner, work: Path, *arguments: str, code: int = 0) -> None:
        ended = run(self._line(work, arguments))
        if ended.code != code:
            raise SystemExit(
                f"undisturbed {' '.join(arguments)} ended with {ended.code}: {ended.stderr or ended.stdout}"
            )

    def _line(self, work: Path, arguments: Iterable[str]) -> list[str]:
        places = {_MADE_HERE: str(work / "out"), _PHOTO: str(self.scratch / "photo.png")}
        line = [places.get(argument, argument) for argument in arguments]
        settings = [text for setting in self.settings for text in ("--set", setting)]
        return [*line[:1], *settings, *line[1:], "--dataset", _DATASET, "--work", str(work)]

    def files(self, kind: Kind) -> dict[str, bytes]:
        """Bytes of the files of a kind, by path below the data set's folder."""
        if kind not in self._files:
            root = self.scratch / kind.base / _DATASET
            paths = {path.relative_to(root).as_posix(): path for path in _paths(root)}
            paths[_OUTSIDE] = self.vectors
            self._files[kind] = {name: path.read_bytes() for name, path in paths.items() if kind_of(name) == kind}
        return self._files[kind]

    def undisturbed(self, action: Action, run: Runner) -> Undisturbed:
        """What an action comes to, and which files it opens."""
        with self._copy(action) as trial:
            before = self.tree(trial)
            watched = {path.relative_to(trial / _DATASET).as_posix(): path for path in _paths(trial / _DATASET)}
            watched[_OUTSIDE] = self.vectors
            for path in watched.values():
                os.utime(path, ns=(0, path.stat().st_mtime_ns))
            ended = run(self._line(trial, action.arguments))
            if ended.code:
                raise SystemExit(f"undisturbed {action.name} ended with {ended.code}: {ended.stderr or ended.stdout}")
            reads = {name for name, path in watched.items() if not path.exists() or path.stat().st_atime_ns}
            return Undisturbed(self._shown(ended, trial), before, self.tree(trial), frozenset(reads))

    def _copy(self, action: Action) -> "_Trial":
        trial = self.scratch / f"trial-{next(self._numbers):06d}"
        shutil.copytree(self.scratch / action.base, trial)
        for pattern in action.removed:
            for path in sorted((trial / _DATASET).glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return _Trial(trial)

    def tree(self, trial: Path) -> Tree:
        """What is in a folder, times aside: a hash by path."""
        paths = {path.relative_to(trial).as_posix(): path for path in _paths(trial)}
        return {name: self._digest(path) for name, path in paths.items() if not _UNCOMPARED.fullmatch(name)}

    def _digest(self, path: Path) -> str:
        data = path.read_bytes()
        key = path.name, hashlib.sha256(data).hexdigest()
        if key not in self._digests:
            self._digests[key] = hashlib.sha256(timeless(path.name, data)).hexdigest()
        return self._digests[key]

    def _shown(self, ended: Ended, trial: Path) -> Ended:
        return Ended(ended.code, ended.stdout.replace(str(trial), "WORK"), ended.stderr.replace(str(trial), "WORK"))

    def trial(self, kind: Kind, damage: Damage, action: Action, usual: Undisturbed, run: Runner) -> Verdict | None:
        """Damage a copy, run the action, mend it, run again; None where the action has nothing to do with the files."""
        with self._copy(action) as trial:
            root = trial / _DATASET
            whole = {name: (root / name).read_bytes() for name in damage.files if (root / name).exists()}
            if whole != {name: self.files(kind)[name] for name in damage.files}:  # not of this base, or removed
                return None
            _put(root, damage.files)
            attempt = _Attempt(self, kind, damage, action, usual, run, trial)
            outcome, why = attempt.judged()
            if outcome != "anew":
                _put(root, whole)
                if (stale := attempt.stale()) is not None:
                    outcome, why = "STALE", f"{outcome} {why}; {stale}".replace(" ;", ";")
            verdict = Verdict(kind.name, damage.text, action.name, outcome, why)
            if verdict.wrong and self.keep:
                kept = self.scratch / f"kept-{trial.name}"
                trial.rename(kept)
            return verdict


class _Trial:
    """A folder that goes at the end of the block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


@dataclass(frozen=True)
class _Attempt:
    """One action on one damaged folder."""

    bench: Bench
    kind: Kind
    damage: Damage
    action: Action
    usual: Undisturbed
    run: Runner
    trial: Path

    def judged(self) -> tuple[str, str]:
        """The outcome while the damage is there, and what is wrong."""
        ended = self._do(self.action.arguments)
        text = ended.stdout + ended.stderr
        if ended.code is None:
            return "UNEXPECTED", f"no end within {_HANGS_S:.0f} s"
        if "unexpected " in text or "Traceback" in text:
            return "UNEXPECTED", _last_line(text)
        if ended.code == 4:
            names = set(self.damage.files)
            names |= {path for data in self.damage.files.values() for path in listed_paths(data)}
            names |= {path for name in names for path in listed_paths(self.bench.files(self.kind).get(name, b""))}
            named = any(name.removeprefix("../../") in text for name in names)
            return (
                ("refused", "") if named else ("UNEXPECTED", f"exit code 4 without the file's name: {_last_line(text)}")
            )
        if ended.code == 1 and "biam-pipe" in text.partition("biam-pipe: ")[2]:
            return self._made_later(text)
        if ended.code:
            return "UNEXPECTED", f"exit code {ended.code}: {_last_line(text)}"
        return self._compared(ended)

    def _compared(self, ended: Ended) -> tuple[str, str]:
        """The outcome of a command that says all is well."""
        found, damaged = self.bench.tree(self.trial), {f"{_DATASET}/{name}" for name in self.damage.files}
        if self.kind.outside:  # another file is another input; what counts is that it ends with the change
            return "equal", ""
        if (wrong := differing(self.usual.after, found, damaged)) is not None:
            return "SILENT", wrong
        if self.action.verifies and self.kind.covered:
            return "SILENT", "verify finds nothing"
        anew = not any(self.usual.after.get(name) != found.get(name) for name in damaged) and not self._still_damaged()
        worked = anew or self.usual.before != self.usual.after
        said, usually = ((_worked(text) if worked else text) for text in (ended.stdout, self.usual.ended.stdout))
        same = said == usually
        if same or (self.kind.told and self.action.looks):
            return ("anew" if anew else "equal"), ""
        if self.action.looks and self._admitted():
            return "anew", ""
        return "SILENT", f"says {_first_difference(usually, said)}"

    def _still_damaged(self) -> bool:
        return any(
            (self.trial / _DATASET / name).read_bytes() == data
            for name, data in self.damage.files.items()
            if (self.trial / _DATASET / name).exists()
        )

    def _made_later(self, text: str) -> tuple[str, str]:
        """The outcome of a command that names another to run first: that one has to lead on, the damage being there."""
        if not self._admitted():
            return "UNEXPECTED", f"exit code 1, though plan says that nothing is to do: {_last_line(text)}"
        ended = self._brought()
        if ended.code == 4 and any(name in ended.stdout + ended.stderr for name in self.damage.files):
            return "refused", ""
        if ended.code:
            return "UNEXPECTED", f"{_last_line(text)} Then exit code {ended.code}: {_last_line(ended.stderr)}"
        wrong = differing(self.usual.after, self.bench.tree(self.trial), set())
        return ("anew", "") if wrong is None else ("SILENT", f"{_last_line(text)} Then {wrong}")

    def _admitted(self) -> bool:
        """Whether `plan` says that something is to be made anew."""
        ended = self._do(("plan", "--json", *self._settings()))
        return ended.code == 0 and any(line["to_run"] != 0 for line in json.loads(ended.stdout)["stages"])

    def stale(self) -> str | None:
        """What is wrong when the action runs on the mended folder; None where it ends as if nothing had been."""
        found = self.bench.tree(self.trial)
        if found in (self.usual.before, self.usual.after):  # where an undisturbed run starts, or ends
            return None
        ended = self._brought()
        if ended.code:
            return f"mended, it ends with {ended.code}: {_last_line(ended.stderr or ended.stdout)}"
        wrong = differing(self.usual.after, self.bench.tree(self.trial), set(), extra=self.kind.outside)
        return None if wrong is None else f"mended, {wrong} for good"

    def _brought(self) -> Ended:
        """The action, with all that it needs brought up to date first."""
        arguments = tuple(argument for argument in self.action.arguments if argument != "--only")
        if arguments == self.action.arguments and arguments[0] != "run":
            ended = self._do(("run", *self._settings()))
            if ended.code:
                return ended
        return self._do(arguments)

    def _settings(self) -> tuple[str, ...]:
        arguments = self.action.arguments
        return tuple(text for name, value in pairwise(arguments) if name == "--set" for text in (name, value))

    def _do(self, arguments: Iterable[str]) -> Ended:
        return self.bench._shown(self.run(self.bench._line(self.trial, arguments)), self.trial)


def kind_of(path: str) -> Kind:
    """The kind of a file; one of its own where it is none of the known, so that new files are not forgotten."""
    return next((kind for kind in KINDS if re.fullmatch(kind.pattern, path)), Kind(path, re.escape(path)))


def _paths(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _put(root: Path, files: Mapping[str, bytes]) -> None:
    """Change bytes in place, as a disk that forgets does: nothing but the bytes tells, and perhaps the size."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stamp = path.stat().st_mtime_ns if path.exists() else time.time_ns()
        path.write_bytes(data)
        os.utime(path, ns=(stamp, stamp))


def timeless(name: str, data: bytes) -> bytes:
    """A file's bytes without the times in it; unchanged where it does not read."""
    try:
        if name.endswith("stage.parquet"):
            table = pq.read_table(io.BytesIO(data), page_checksum_verification=True)
            receipts = [_without_times(json.loads(text)) for text in table["receipt"].to_pylist()]
            told = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
            return repr((receipts, _without_times(told))).encode()
        if name == "last.safetensors":  # the header tells how long it took
            return data[8 + int.from_bytes(data[:8], "little") :]
        if name.endswith(".json"):
            return repr(_without_times(json.loads(data))).encode()
        if name.endswith(".html"):
            return _TIMES.sub("", data.decode()).encode()
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return data
    return data


def _without_times(value: object) -> object:
    """JSON without times, and in receipts without size and hash of files that hold times."""
    if isinstance(value, list):
        return [_without_times(inside) for inside in value]
    if not isinstance(value, dict):
        return value
    if str(value.get("path", "")).endswith(_TIMED):
        value = {name: inside for name, inside in value.items() if name not in ("size_bytes", "sha256")}
    if any(str(file["path"]).endswith(_TIMED) for file in value.get("files", ()) if "sha256" in file):
        hashes = "+".join(str(file["sha256"]) for file in value["files"])
        value = {name: inside for name, inside in value.items() if inside != hashes}
    return {name: _without_times(inside) for name, inside in value.items() if not _TIMED_KEYS.fullmatch(name)}


def differing(expected: Tree, found: Tree, but: Collection[str], extra: bool = False) -> str | None:
    """How two folders differ; None where they do not.

    Args:
        but: paths that do not count.
        extra: further files in the second do not count either.
    """
    names = sorted((expected.keys() if extra else expected.keys() | found.keys()) - set(but))
    wrong = [name for name in names if expected.get(name) != found.get(name)]
    if not wrong:
        return None
    how = "is missing" if wrong[0] not in found else "is left over" if wrong[0] not in expected else "is another"
    return f"{wrong[0]} {how}" + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")


def _worked(text: str) -> str:
    """What a command says, but for what it had to do, times and sizes."""
    return re.sub(r" +", " ", _WORK_DONE.sub("", _TIMES.sub(r"\1", text)))


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip() not in ("", "}")]
    return lines[-1].partition(" --set ")[0][:300] if lines else "nothing said"


def _first_difference(expected: str, found: str) -> str:
    lines = zip([*expected.splitlines(), ""], [*found.splitlines(), ""], strict=False)
    before, after = next(((before, after) for before, after in lines if before != after), ("", "something else"))
    return f"{after.strip()!r}, not {before.strip()!r}"[:300]


_OUTCOMES = ("refused", "anew", "equal", "SILENT", "UNEXPECTED", "STALE")


def table(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """One line a kind: how many damages, how many commands, what came of them."""
    outcomes: dict[str, Counter[str]] = {}
    damaged: dict[str, set[str]] = {}
    for verdict in verdicts:
        outcomes.setdefault(verdict.kind, Counter())[verdict.outcome] += 1
        damaged.setdefault(verdict.kind, set()).add(verdict.damage)
    yield f"{'':<18}{'damages':>8}{'commands':>9}" + "".join(f"{name:>11}" for name in _OUTCOMES)
    for kind, counts in outcomes.items():
        figures = "".join(f"{counts[name] or '':>11}" for name in _OUTCOMES)
        yield f"{kind:<18}{len(damaged[kind]):>8}{counts.total():>9}{figures}"


@dataclass(frozen=True)
class Options:
    """How much is damaged.

    Attributes:
        flips: random bits of each kind.
        aimed: damages of each sort that is aimed, at most.
    """

    flips: int = 30
    aimed: int = 3
    seed: int = 0


def damages(bench: Bench, kind: Kind, options: Options) -> list[Damage]:
    """All that happens to a kind of file: the aimed ones first."""
    files, rng = bench.files(kind), np.random.default_rng([options.seed, *kind.name.encode()])
    return [*aimed(files, options.aimed, rng), *random_flips(files, options.flips, rng)] if files else []


Trial = tuple[Kind, Damage, Action]


def trials(bench: Bench, kinds: Iterable[Kind], usual: Mapping[Action, Undisturbed], options: "Options") -> list[Trial]:
    """Every damage of these kinds with every action that reads one of its files."""
    return [
        (kind, damage, action)
        for kind in kinds
        for damage in damages(bench, kind, options)
        for action, before in usual.items()
        if action.always or before.reads & damage.files.keys()
    ]


def play(
    bench: Bench,
    chosen: Iterable[Trial],
    usual: Mapping[Action, Undisturbed],
    runners: Sequence[Runner],
) -> Iterator[Verdict]:
    """Try them all, as many at once as there are runners."""
    free: SimpleQueue[Runner] = SimpleQueue()
    for runner in runners:
        free.put(runner)

    def verdict(trial: Trial) -> Verdict | None:
        runner = free.get()
        try:
            return bench.trial(*trial, usual[trial[-1]], runner)
        finally:
            free.put(runner)

    with ThreadPoolExecutor(len(runners)) as threads:
        yield from (result for result in threads.map(verdict, chosen) if result is not None)


def main() -> None:
    """Make the folders, damage them, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=30, help="random bits of each kind")
    parser.add_argument("--aimed", type=int, default=3, help="damages of each sort that is aimed")
    parser.add_argument("--kinds", metavar="NAME,...", help=f"some of: {', '.join(kind.name for kind in KINDS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="trials at once")
    parser.add_argument("--plain", action="store_true", help="each command as a process with a cluster of its own")
    parser.add_argument("--work", metavar="DIR", type=Path, help="where the folders lie; made where they are not there")
    parser.add_argument("--keep", action="store_true", help="leave the folders of trials that went wrong, in --work")
    arguments = parser.parse_args()
    print(f"{cpu()}; {arguments.flips} random bits a kind, seed {arguments.seed}", flush=True)
    with ExitStack() as stack:
        scratch = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bit-flips-")))
        scratch.mkdir(parents=True, exist_ok=True)
        bench = Bench(scratch, arguments.keep)
        if arguments.plain:
            runners: list[Runner] = [Plain(_HANGS_S)] * arguments.jobs
        else:
            runners = stack.enter_context(warm_runners(arguments.jobs, _HANGS_S))
        if not (scratch / "died").exists():
            bench.make(runners[0])
        usual = {action: bench.undisturbed(action, runners[0]) for action in ACTIONS}
        options = Options(arguments.flips, arguments.aimed, arguments.seed)
        kinds = [kind for kind in present(bench) if arguments.kinds is None or kind.name in arguments.kinds.split(",")]
        outside = [kind for kind in kinds if kind.outside]  # their one file is the same for all trials
        started, verdicts = time.perf_counter(), []
        for some, with_runners in (([kind for kind in kinds if not kind.outside], runners), (outside, runners[:1])):
            for verdict in play(bench, trials(bench, some, usual, options), usual, with_runners):
                verdicts.append(verdict)
                if verdict.wrong:
                    print(verdict, flush=True)
    print(*table(verdicts), f"{time.perf_counter() - started:.0f} s", sep="\n")
    wrong = sum(verdict.wrong for verdict in verdicts)
    raise SystemExit(f"{wrong} commands were silent, failed or left something wrong" if wrong else 0)


def present(bench: Bench) -> list[Kind]:
    """Kinds of the files that there are, the known ones first."""
    found = {
        kind_of(path.relative_to(bench.scratch / base / _DATASET).as_posix())
        for base in ("finished", "stopped", "died")
        for path in _paths(bench.scratch / base / _DATASET)
    }
    known = [kind for kind in KINDS if kind in found or kind.outside]
    return known + sorted(found - set(known), key=lambda kind: kind.name)


if __name__ == "__main__":
    main()
