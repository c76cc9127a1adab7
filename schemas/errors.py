"""The exceptions a user can meet, and the exit code of each.

PipelineError            1    the text says what, what was found, what was expected, what to run next
|- UsageError            2    the command, a setting or a name is wrong
|- TooManyFailedError    3    finished, but more images were quarantined than the settings allow
|- IntegrityError        4    a shard or a file does not have the bytes its receipt says
|- TimeBudgetError      75    the time budget is used up; run the same command again
|- InterruptedRunError 130    Ctrl-C or SIGTERM; the work folder is consistent
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PipelineError(Exception):
    """An error that the command line prints as it is, without a traceback."""

    exit_code = 1


class UsageError(PipelineError):
    """The command, a setting or a name is wrong."""

    exit_code = 2


class TooManyFailedError(PipelineError):
    """Finished, but more images were quarantined than the settings allow."""

    exit_code = 3


class IntegrityError(PipelineError):
    """Bytes on disk are not the bytes that a receipt or a pinned hash names."""

    exit_code = 4


class TimeBudgetError(PipelineError):
    """The time budget is used up; the same command goes on from here."""

    exit_code = 75


class InterruptedRunError(PipelineError):
    """The user or the system asked to stop; what was committed stays."""

    exit_code = 130


def problem_json(problem: PipelineError | None) -> dict[str, str | int | None]:
    """What a command's JSON says of how it ends."""
    return {"error": str(problem) if problem else None, "exit_code": problem.exit_code if problem else 0}


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UsageError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}")
