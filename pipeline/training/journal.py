"""What a training run tells people while it goes on: train.log, TensorBoard events, progress for the terminal."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from pipeline.machine.telling import counted, tell
from pipeline.training.checkpoint import Progress

Record = Callable[[str, float, int], None]

logger = logging.getLogger("biam_pipe.train")

_LINE_EVERY_S = 10.0  # so that the log of a long run stays readable

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
            f"{rate:.0f} images/s, {images_left / rate / 60:.0f} min left"
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
