"""What a training run tells people while it goes on: train.log, TensorBoard events, progress for the terminal."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

LOG_FILE = "train.log"
EVENTS = "events.out.tfevents.*"


@contextmanager
def log_file(folder: Path, logger: logging.Logger) -> Iterator[None]:
    """Inside, what the logger says is also appended to train.log."""
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
def events(folder: Path, step: int) -> Iterator[SummaryWriter]:
    """A writer of TensorBoard events.

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
        yield writer
    finally:
        writer.close()
