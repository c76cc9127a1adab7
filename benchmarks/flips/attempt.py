"""One damage and one command: what comes of it while the damage is there, and once it is mended."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.flips.actions import Action
from benchmarks.flips.bench import DATASET, Bench, Undisturbed, shown
from benchmarks.flips.damage import Damage, listed_paths
from benchmarks.flips.kinds import Kind
from benchmarks.flips.trees import differing, first_difference, has_worked, last_line, worked
from benchmarks.flips.warm import Ended, Runner

Trial = tuple[Kind, Damage, Action]
OUTCOMES = ("refused", "anew", "equal", "SILENT", "UNEXPECTED", "STALE")


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


def attempt(bench: Bench, trial: Trial, usual: Undisturbed, run: Runner, keep: bool = False) -> Verdict | None:
    """Damage a copy, run the action, mend it, run again; None where the action has nothing to do with the files.

    Args:
        usual: what the action comes to undisturbed.
        keep: leave the folder where something is wrong.
    """
    kind, damage, action = trial
    with bench.copy(action) as work:
        root = work / DATASET
        whole = {name: (root / name).read_bytes() for name in damage.files if (root / name).exists()}
        if whole != {name: bench.files(kind)[name] for name in damage.files}:  # not of this base, or removed
            return None
        _put(root, damage.files)
        tried = _Attempt(bench, kind, damage, action, usual, run, work)
        outcome, why = tried.judged()
        if outcome != "anew":
            _put(root, whole)
            if (stale := tried.stale()) is not None:
                outcome, why = "STALE", f"{outcome} {why}; {stale}".replace(" ;", ";")
        verdict = Verdict(kind.name, damage.text, action.name, outcome, why)
        if verdict.wrong and keep:
            work.rename(bench.scratch / f"kept-{work.name}")
        return verdict


@dataclass(frozen=True)
class _Attempt:
    """One action on one damaged folder."""

    bench: Bench
    kind: Kind
    damage: Damage
    action: Action
    usual: Undisturbed
    run: Runner
    work: Path

    def judged(self) -> tuple[str, str]:
        """The outcome while the damage is there, and what is wrong."""
        ended = self._do(self.action.arguments)
        text = ended.stdout + ended.stderr
        if ended.code is None:
            return "UNEXPECTED", "it hangs"
        if "unexpected " in text or "Traceback" in text:
            return "UNEXPECTED", last_line(text)
        if ended.code == 4 or (ended.code == 1 and self.kind.outside):
            names = set(self.damage.files)
            names |= {path for data in self.damage.files.values() for path in listed_paths(data)}
            names |= {path for name in names for path in listed_paths(self.bench.files(self.kind).get(name, b""))}
            names |= {name.removeprefix("../../") for name in names}
            if not self.kind.covered:  # receipts and records: those beside will do
                names |= {f"{name.rpartition('/')[0]}/" for name in self.damage.files if "/" in name}
            named = any(name in text for name in names)
            return ("refused", "") if named else ("UNEXPECTED", f"the file is not named: {last_line(text)}")
        if ended.code == 1 and "biam-pipe" in text.partition("biam-pipe: ")[2]:
            return self._made_later(text)
        if ended.code:
            return "UNEXPECTED", f"exit code {ended.code}: {last_line(text)}"
        return self._compared(ended)

    def _compared(self, ended: Ended) -> tuple[str, str]:
        """The outcome of a command that says all is well."""
        found, damaged = self.bench.tree(self.work), {f"{DATASET}/{name}" for name in self.damage.files}
        if self.kind.outside:  # another file is another input; what counts is that it ends with the change
            return "equal", ""
        if (wrong := differing(self.usual.after, found, damaged)) is not None:
            return "SILENT", wrong
        if self.action.verifies and self.kind.covered:
            return "SILENT", "verify finds nothing"
        anew = not self._still_damaged() and not any(self.usual.after.get(name) != found.get(name) for name in damaged)
        made = anew or self.usual.before != self.usual.after or has_worked(ended.stdout)
        said, usually = ((worked(text) if made else text) for text in (ended.stdout, self.usual.ended.stdout))
        same = said == usually
        if same or (self.kind.told and self.action.looks):
            return ("anew" if anew else "equal"), ""
        if self.action.looks and self._admitted():
            return "anew", ""
        if self.action.verifies and any(name in said and name not in usually for name in self.damage.files):
            return "refused", ""
        return "SILENT", f"says {first_difference(usually, said)}"

    def _still_damaged(self) -> set[str]:
        """Paths of files that nobody has written anew, as in the trees."""
        root = self.work / DATASET
        stand = {name: root / name for name in self.damage.files if (root / name).exists()}
        return {f"{DATASET}/{name}" for name, path in stand.items() if path.read_bytes() == self.damage.files[name]}

    def _made_later(self, text: str) -> tuple[str, str]:
        """The outcome of a command that names another to run first: that one has to lead on, the damage being there."""
        if not self._admitted():
            return "UNEXPECTED", f"exit code 1, though plan says that nothing is to do: {last_line(text)}"
        ended = self._brought()
        if ended.code == 4 and any(name in ended.stdout + ended.stderr for name in self.damage.files):
            return "refused", ""
        if ended.code:
            return "UNEXPECTED", f"{last_line(text)} Then exit code {ended.code}: {last_line(ended.stderr)}"
        wrong = differing(self.usual.after, self.bench.tree(self.work), self._still_damaged())
        return ("anew", "") if wrong is None else ("SILENT", f"{last_line(text)} Then {wrong}")

    def _admitted(self) -> bool:
        """Whether `plan` says that something is to be made anew."""
        ended = self._do(("plan", "--json", *self._settings()))
        return ended.code == 0 and any(line["to_run"] != 0 for line in json.loads(ended.stdout)["stages"])

    def stale(self) -> str | None:
        """What is wrong when the action runs on the mended folder; None where it ends as if nothing had been."""
        found = self.bench.tree(self.work)
        if found in (self.usual.before, self.usual.after):  # where an undisturbed run starts, or ends
            return None
        ended = self._brought()
        if ended.code:
            return f"mended, it ends with {ended.code}: {last_line(ended.stderr or ended.stdout)}"
        memory = {f"{DATASET}/sources.json"} if self.kind.outside else set()  # of another file is no harm
        wrong = differing(self.usual.after, self.bench.tree(self.work), memory, extra=self.kind.outside)
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
        return shown(self.run(self.bench.line(self.work, arguments)), self.work)


def _put(root: Path, files: Mapping[str, bytes]) -> None:
    """Change bytes in place, as a disk that forgets does: nothing but the bytes tells, and perhaps the size."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stamp = path.stat().st_mtime_ns if path.exists() else time.time_ns()
        path.write_bytes(data)
        os.utime(path, ns=(stamp, stamp))
