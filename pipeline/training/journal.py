"""What a training run tells people while it goes on: train.log, TensorBoard events, progress for the terminal."""

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from pipeline.files.refusals import refusals_named
from pipeline.machine.telling import counted, tell
from pipeline.training.checkpoint import Progress
from schemas.readable import rough_duration_text

Record = Callable[[str, float, int], None]

logger = logging.getLogger("biam_pipe.train")

_LINE_EVERY_S = 10.0  # so that the log of a long run stays readable

LOG_FILE = "train.log"
_EVENTS = "events.out.tfevents."

_EVENTS_VERSION = "brain.Event:2"


class _LogFile(logging.FileHandler):
    """A disk that fails is an error here, too; usually a handler prints a traceback and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Raise what the system refused."""
        del record
        error = sys.exception()
        assert error is not None, "called where one is handled"
        with refusals_named(self.baseFilename):
            raise error


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Inside, what training says is also appended to train.log.

    Raises:
        PipelineError: the system refuses to write it; also where something is said.
    """
    path = folder / LOG_FILE
    with refusals_named(path):
        folder.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        with refusals_named(path):
            handler.close()


@contextmanager
def curves(folder: Path, step: int) -> Iterator[Record]:
    """Keeps points of curves as TensorBoard events.

    They are written as they come, by this thread: that of TensorBoard's own writer prints what the system refuses.

    Args:
        folder: where the events lie.
        step: the last step that counts. 0 removes older events; otherwise those after it are marked as void, because
            the steps after a checkpoint are done again.

    Raises:
        PipelineError: the system refuses to write them; also where a point is kept.
    """
    if step == 0:
        for old in folder.glob(f"{_EVENTS}*"):
            with refusals_named(old, "remove"):
                old.unlink()
    path = folder / f"{_EVENTS}{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"  # read in the order of names
    with refusals_named(path):
        file = path.open("xb", buffering=0)

    def add(event: Event) -> None:
        event.wall_time = time.time()
        with refusals_named(path):
            RecordWriter(file).write(event.SerializeToString())

    def record(name: str, value: float, at: int) -> None:
        add(Event(step=at, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)])))

    with file:
        add(Event(file_version=_EVENTS_VERSION))
        if step:
            add(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        yield record


class TrainingLog:
    """How far a run is: told after every step, a line of the log every ten seconds and every epoch, and the curves.

    Args:
        record: keeps a point of a curve: name, value, step.
        epochs: in all.
        total_steps: in all.
    """

    def __init__(self, record: Record, epochs: int, total_steps: int) -> None:
        self.record, self._epochs, self._total = record, epochs, total_steps
        self._line_at, self._images = time.monotonic(), 0

    def step(self, progress: Progress, images: int, images_left: int) -> None:
        """After a step of so many images; a line where the last one is long ago."""
        self._images += images
        seconds = max(time.monotonic() - self._line_at, 1e-9)
        rate = self._images / seconds
        text = (
            f"epoch {progress.epoch + 1}/{self._epochs} step {progress.step} "
            f"loss {progress.loss_sum / progress.images:.4f}, "
            f"{rate:.0f} images/s, {rough_duration_text(images_left / rate)} left"
        )
        tell(progress.step, self._total, text)
        if seconds >= _LINE_EVERY_S:
            logger.info("%s", text)
            self._line_at, self._images = time.monotonic(), 0

    def validation(self, progress: Progress, images: int, of: int) -> None:
        """While the validation images are scored."""
        text = counted(images, of, "validation images scored")
        tell(progress.step, self._total, f"epoch {progress.epoch + 1}/{self._epochs}: {text}")

    def epoch(self, entry: Mapping[str, Any], images: int) -> None:
        """After an epoch, from its entry in the history."""
        validation = entry["validation"] or {}
        figures = "".join(f", {name} {value:.4f}" for name, value in validation.items())
        rate = images / max(entry["seconds"], 1e-9)
        text = f"epoch {entry['epoch']}/{self._epochs} loss {entry['train_loss']:.4f}{figures} ({rate:.0f} images/s)"
        tell(entry["step"], self._total, text)
        logger.info("%s", text)
        self.record("train/lr", entry["lr"], entry["step"])
        for name, value in validation.items():
            self.record(f"validation/{name}", value, entry["step"])
