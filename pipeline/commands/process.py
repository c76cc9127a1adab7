"""The process of a command: what it needs before anything is done, and what is said of an error that nobody raised."""

import logging
import os
import sys

from pipeline.files.refusals import refusal
from pipeline.machine.environment import provide_home
from pipeline.machine.waiting import patient
from schemas.errors import PipelineError
from schemas.readable import printable


def prepare() -> None:
    """Make up for what whoever started us did not give: streams, a home, patience of threads; see to what is logged."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # closed (`2>&-`): the next file opened would get its number
            os.open(os.devnull, os.O_RDWR)  # the system gives the lowest number that is free
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))
    provide_home()
    os.environ.update(patient())
    if logging.lastResort is not None:  # where no handler is set it prints warnings on stderr
        logging.lastResort.setFormatter(_Printable())


class _Printable(logging.Formatter):
    """Warnings, in which names of files stand, without what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), "\n")


def explained(error: Exception) -> PipelineError:
    """The error to show for one that is none of ours: what the system refused, or something unexpected."""
    unexpected = PipelineError(
        f"unexpected {type(error).__name__}: {error}", hint="Run again with --debug for a traceback"
    )
    return refusal(error, "a file, or what is printed") or unexpected


def drop_unwritten() -> None:
    """Send nowhere what stdout and stderr cannot write, such as on a full disk or to a reader that is gone.

    Python tries once more at the exit, and then ends with an exit code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
