"""The exceptions a user can meet, and the exit code of each.

PipelineError            1    what; what was got or found, and expected; what to do; the command to run next
|- UsageError            2    the command, a setting or a name is wrong
|- TooManyFailedError    3    finished, but more images were quarantined than the settings allow
|- IntegrityError        4    a shard or a file does not have the bytes its receipt says
|- HeldFolderError       5    another run holds the work folder
|- TimeBudgetError      75    the time budget is used up; run the same command again
|- InterruptedRunError 130    Ctrl-C or SIGTERM; the work folder is consistent
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from schemas.command import Command

Fact = str | int | None


class PipelineError(Exception):
    """An error that the command line prints as one text, without a traceback.

    "store.name: got 'x', expected one of: hdf5, parquet. Run: biam-pipe show stores", or
    "extract is not up to date (found 0 tasks, expected 3). Run: biam-pipe extract --dataset demo".

    Args:
        what: what is wrong: a sentence, or with a colon at its end what the facts are of.
        got: what the user gave.
        found: what there is; of `got` and `found` one at most.
        expected: in its place.
        hint: what to do, a sentence; with a colon at its end it leads to the command.
        run: the command to run next.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        got: Fact = None,
        found: Fact = None,
        expected: Fact = None,
        hint: str | None = None,
        run: Command | None = None,
    ) -> None:
        super().__init__(what)  # all else travels between processes in `__dict__`
        self.what, self.got, self.found, self.expected, self.hint, self.run = what, got, found, expected, hint, run

    def __str__(self) -> str:
        told = (("got", self.got), ("found", self.found), ("expected", self.expected))
        facts = ", ".join(f"{word} {fact}" for word, fact in told if fact is not None)
        text = self.what
        if facts and text.endswith((":", ";")):
            text = f"{text} {facts}"
        elif facts:
            text = f"{text}, {facts}" if self.found is None else f"{text} ({facts})"
        if self.hint is not None:
            text = f"{text}. {self.hint}"
        command = str(self.run or "")
        if command and not text.endswith(":"):
            text = f"{text}. Run:"
        return f"{text} {command}" if command else text.removesuffix(":")


class UsageError(PipelineError):
    """The command, a setting or a name is wrong."""

    exit_code = 2


class UnfitError(ValueError):
    """Settings that do not go together, as a check of the configuration raises it: a UsageError to be.

    Args:
        told: which settings, what they got, and what was expected.
        sets: settings that would do, by name.
    """

    def __init__(self, told: str, sets: Mapping[str, Any]) -> None:
        super().__init__(told)
        self.sets = dict(sets)


class TooManyFailedError(PipelineError):
    """Finished, but more images were quarantined than the settings allow."""

    exit_code = 3


class IntegrityError(PipelineError):
    """Bytes on disk are not the bytes that a receipt or a pinned hash names."""

    exit_code = 4


class HeldFolderError(PipelineError):
    """Another run holds the work folder, or this one no longer does."""

    exit_code = 5


class TimeBudgetError(PipelineError):
    """The time budget is used up; the same command goes on from here."""

    exit_code = 75


class InterruptedRunError(PipelineError):
    """The user or the system asked to stop; what was committed stays."""

    exit_code = 130


def problem_json(problem: PipelineError | None) -> dict[str, str | int | None]:
    """What a command's JSON says of how it ends; all null where there is no problem."""
    if problem is None:
        return {"error": None, "got": None, "expected": None, "next_command": None, "exit_code": 0}
    return {
        "error": str(problem),
        "got": problem.found if problem.got is None else problem.got,
        "expected": problem.expected,
        "next_command": str(problem.run) if problem.run is not None else None,
        "exit_code": problem.exit_code,
    }


def unknown_name(kind: str, name: str, known: Iterable[str], nearest: str | None = None) -> UsageError:
    """The error for a name that does not exist, with the nearest one that does.

    Args:
        nearest: where the caller knows it better than the letters tell.
    """
    names = sorted(known)
    near = [nearest] if nearest is not None else get_close_matches(name, names, n=1, cutoff=0.4)
    suggested = f"Did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}", hint=f"{suggested}Known: {', '.join(names)}")
