"""What a training run tells people while it goes on: train.log, TensorBoard events, progress for the terminal."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from pipeline.training.checkpoint import Progress

Record = Callable[[str, float, int], None]

logger = logging.getLogger("biam_pipe.train")

# A line of progress at most so often: logs of long runs stay readable, a terminal stays alive.
_TELL_EVERY_S = 10.0

LOG_FILE = "train.log"
EVENTS = "events.out.tfevents.*"


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Inside, what training says is also appended to train.log."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / LOG_FILE, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def curves(folder: Path, step: int) -> Iterator[Record]:
    """Keeps points of curves as TensorBoard events.

    Args:
        folder: where the events lie.
        step: the last step that counts. 0 removes older events; otherwise those after it are marked as void, because
            the steps after a checkpoint are done again.
    """
    if step == 0:
        for old in folder.glob(EVENTS):
            old.unlink()
    writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
    try:
        yield writer.add_scalar
    finally:
        writer.close()


class Teller:
    """Says how far a run is: a line at most every ten seconds, one an epoch, and the curves.

    Args:
        record: keeps a point of a curve: name, value, step.
        epochs: in all.
        total_steps: in all.
    """

    def __init__(self, record: Record, epochs: int, total_steps: int) -> None:
        self.record, self._epochs, self._total = record, epochs, total_steps
        self._told_at, self._images = time.monotonic(), 0

    def step(self, progress: Progress, images: int, images_left: int) -> None:
        """After a step of so many images; a line where the last one is long ago."""
        self._images += images
        seconds = time.monotonic() - self._told_at
        if seconds < _TELL_EVERY_S:
            return
        rate = self._images / seconds
        logger.info(
            "epoch %d/%d step %d loss %.4f, %.0f images/s, %s left",
            progress.epoch + 1,
            self._epochs,
            progress.step,
            progress.loss_sum / max(progress.images, 1),
            rate,
            f"{images_left / rate / 60:.0f} min" if rate else "unknown time",
            extra={"done": progress.step, "total": self._total},
        )
        self._told_at, self._images = time.monotonic(), 0

    def epoch(self, entry: Mapping[str, Any], images: int) -> None:
        """After an epoch, from its entry in the history."""
        validation = entry["validation"] or {}
        logger.info(
            "epoch %d/%d loss %.4f%s (%.0f images/s)",
            entry["epoch"],
            self._epochs,
            entry["train_loss"],
            "".join(f", {name} {value:.4f}" for name, value in validation.items()),
            images / max(entry["seconds"], 1e-9),
            extra={"done": entry["step"], "total": self._total},
        )
        self.record("train/lr", entry["lr"], entry["step"])
        for name, value in validation.items():
            self.record(f"validation/{name}", value, entry["step"])
