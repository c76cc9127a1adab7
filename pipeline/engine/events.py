"""What happens in a run, as it happens: events as JSON lines for programs, and a log with clock times for people.

Both lie in logs/, two files for each command that had something to do, named after the time it began. Once it is known
in which folder training writes, what happened is also appended to `run.jsonl` and `run.log` there. No hash covers them,
and no stage reads them again; `status` asks the log of a run that goes on how far it is.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from pipeline.files.refusals import refusals_named
from pipeline.files.storage import Storage
from schemas.errors import PipelineError
from schemas.readable import printable, rough_duration_text

FOLDER = "logs"
EVENTS, LOG = "run.jsonl", "run.log"  # in the folder of a run
_LOGGER = "biam_pipe"
_TAIL_BYTES = 2**18  # of the events: a thousand lines, and each stage under way has one in half a minute


@dataclass
class RunLog:
    """The two files of a command, open.

    Attributes:
        events: takes JSON lines.
        log: takes text.
        clock: gives the time of a line, in seconds of `time.time()`.
        kept_in: gives the folder of the run that it is of, at its end; None where it is of none.
    """

    events: IO[str]
    log: IO[str]
    clock: Callable[[], float] = time.time
    kept_in: Callable[[], Path | None] = lambda: None

    def event(self, kind: str, **facts: Any) -> None:
        """Append an event; what is None is not known and left out.

        Raises:
            PipelineError: the system refuses to write it.
        """
        known = {name: value for name, value in facts.items() if value is not None}
        at = datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="milliseconds")
        self._append(self.events, json.dumps({"time": at, "event": kind, **known}, ensure_ascii=False))

    def line(self, text: str) -> None:
        """Append a line of text, with the date and the time of this machine's clock.

        Raises:
            PipelineError: the system refuses to write it.
        """
        at = datetime.fromtimestamp(self.clock()).astimezone().isoformat(" ", timespec="seconds")
        self._append(self.log, f"{at} {printable(text)}")

    def _append(self, file: IO[str], text: str) -> None:
        with refusals_named(file.name):
            file.write(text + "\n")
            file.flush()

    def keep(self) -> None:
        """Append all of it to the files in the folder of the run, where there is one."""
        folder = self.kept_in()
        if folder is None:
            return
        for file, name in ((self.events, EVENTS), (self.log, LOG)):
            with refusals_named(folder / name), (folder / name).open("ab") as copy:
                copy.write(Path(file.name).read_bytes())


@contextmanager
def run_log(storage: Storage, command: str, todo: Mapping[str, int | None]) -> Iterator[RunLog]:
    """The log of a command, from its begin to its end, whatever that is; warnings of ours are in it, too.

    Args:
        command: the verb.
        todo: tasks that are known to run, by stage; None where nobody knows how many.

    Raises:
        PipelineError: the system refuses to write it.
    """
    folder, started = storage.scratch(FOLDER), time.time()
    stem = f"{datetime.fromtimestamp(started, UTC):%Y%m%dT%H%M%SZ}-{command}-{os.getpid()}"
    with ExitStack() as stack:
        files = []
        for suffix in ("jsonl", "log"):
            path = folder / f"{stem}.{suffix}"
            with refusals_named(path):
                files.append(stack.enter_context(path.open("a", encoding="utf-8")))
        log = RunLog(files[0], files[1])
        log.event("run_began", command=command, pid=os.getpid(), host=socket.gethostname(), todo=dict(todo))
        log.line(f"{command} begins")
        with _heard(log):
            try:
                yield log
            except BaseException as error:
                code = error.exit_code if isinstance(error, PipelineError) else None
                with suppress(PipelineError):  # such as of a full disk; what ended the run is to be told
                    _end(log, started, error=str(error) or type(error).__name__, exit_code=code)
                raise
        _end(log, started, error=None, exit_code=0)


def _end(log: RunLog, started: float, *, error: str | None, exit_code: int | None) -> None:
    seconds = round(log.clock() - started, 3)
    log.event("run_ended", seconds=seconds, error=error, exit_code=exit_code)
    log.line(f"ended after {seconds:.1f} s{'' if error is None else f': {error}'}")
    log.keep()


class _Handler(logging.Handler):
    """Puts warnings into the log, and leaves them for stderr as they were."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self._log.event("warning", text=text)
        self._log.line(f"WARNING {text}")
        if logging.lastResort is not None and not _others(record):
            logging.lastResort.handle(record)


def _others(record: logging.LogRecord) -> Sequence[logging.Handler]:
    """Handlers beside ours that have this record, too: with none of them Python prints it on stderr."""
    found: list[logging.Handler] = []
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        found += [one for one in logger.handlers if not isinstance(one, _Handler)]
        logger = logger.parent if logger.propagate else None
    return found


@contextmanager
def _heard(log: RunLog) -> Iterator[None]:
    handler, logger = _Handler(log), logging.getLogger(_LOGGER)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@dataclass(frozen=True)
class UnderWay:
    """A stage under way.

    Attributes:
        stage: its name.
        told: how far it is, its rate and the time left, as far as it says.
        at: when it said so, ISO 8601.
    """

    stage: str
    told: str
    at: str


def under_way(storage: Storage, pid: int) -> tuple[UnderWay, ...]:
    """What the process that writes in a work folder last said of the stages that it has not done.

    Raises:
        PipelineError: the system refuses to read its log.
    """
    path = storage.newest(f"{FOLDER}/*-{pid}.jsonl")
    if path is None:
        return ()
    last: dict[str, dict[str, Any]] = {}
    for event in _events(storage.read_end(path, _TAIL_BYTES)):
        if event.get("event") == "progress":
            last[str(event.get("stage"))] = event
    unfinished = {stage: event for stage, event in last.items() if event.get("done") != event.get("total")}
    return tuple(
        UnderWay(stage, printable(_told(event)), str(event.get("time"))) for stage, event in unfinished.items()
    )


def _events(tail: bytes) -> Iterator[dict[str, Any]]:
    """Those of the last lines; the first may be cut, and one that is written just now is not whole."""
    for line in tail.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _told(event: dict[str, Any]) -> str:
    note, total = str(event.get("note", "")), event.get("total")
    count = "" if total is None or (total == 1 and note) else f"{event.get('done')}/{total}"
    told = [" ".join(filter(None, (count, note)))]
    if isinstance(rate := event.get("images_per_s"), int | float):
        told.append(f"{rate:.{0 if rate >= 9.95 else 2}f} images/s")
    if isinstance(left_s := event.get("left_s"), int | float) and "left" not in note:
        told.append(f"{rough_duration_text(left_s)} left")
    if bound_by := event.get("bound_by"):
        told.append(f"bound by {bound_by}")
    return ", ".join(filter(None, told))
