"""Epochs and steps of a training run, from its beginning or from where a checkpoint left it."""

import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from pipeline.batches.order import Order, batch_sizes, epoch_rng, shuffled
from pipeline.batches.selection import Selection
from pipeline.batches.shards import FeatureShards
from pipeline.batches.stream import Batch, batches
from pipeline.core import stopping
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.topk import topk_scores
from pipeline.models.losses import ranking_loss
from pipeline.training.checkpoint import Learner, Progress
from pipeline.training.schedule import learning_rate
from pipeline.training.scoring import Scorer, inputs
from pipeline.training.weights import detached
from schemas.config import TrainConfig
from schemas.errors import PipelineError

logger = logging.getLogger("biam_pipe.train")

# A line of progress at most so often: logs of long runs stay readable, a terminal stays alive.
_REPORT_EVERY_S = 10.0


@dataclass(frozen=True)
class Material:
    """What a run learns from. Seen labels only: there is no column for anything else.

    Attributes:
        features: the shards.
        train: images to learn from.
        validation: images that pick the epoch; may be none.
        label_vectors: [label, word], on the device.
    """

    features: FeatureShards
    train: Selection
    validation: Selection
    label_vectors: Tensor


@dataclass(frozen=True)
class Hooks:
    """What the loop asks of its surroundings.

    Attributes:
        save: commits a checkpoint.
        deadline: `time.time()` at which to save and stop, None for never.
        saved_as: how error texts name the checkpoint.
        events: gets the curves.
    """

    save: Callable[[], None]
    deadline: float | None
    saved_as: str
    events: SummaryWriter


class Loop:
    """Runs epochs until all are done. The position lives in `progress`, the weights in `learner`."""

    def __init__(
        self, config: TrainConfig, material: Material, learner: Learner, progress: Progress, hooks: Hooks
    ) -> None:
        self.config = config
        self.material = material
        self.learner = learner
        self.progress = progress
        self.hooks = hooks
        self.steps_per_epoch = len(batch_sizes(len(material.train), config.batch_images))
        self._saved_at = self._reported_at = self._epoch_from = time.monotonic()
        self._saved_step = progress.step
        self._images_since = 0
        self._advanced = False

    def run(self) -> None:
        """All epochs that are left.

        Raises:
            PipelineError: a stop was asked for (after saving), or the loss is not finite any more.
        """
        while self.progress.epoch < self.config.epochs:
            self._epoch()

    def _epoch(self) -> None:
        progress, train = self.progress, self.material.train
        rate = learning_rate(self.config, progress.epoch)
        for group in self.learner.optimizer.param_groups:
            group["lr"] = rate
        self._epoch_from = time.monotonic() - progress.seconds
        order = self._order().after(progress.batch)
        self.learner.model.train()
        with closing(batches(self.material.features, train, order)) as stream:
            for batch in stream:
                self._step(batch, rate)
                self._attend()
        self._finish(rate)

    def _order(self) -> Order:
        return shuffled(
            self.material.train.block,
            epoch_rng(self.config.seed, self.progress.epoch),
            self.config.shuffle_window_blocks,
            self.config.batch_images,
        )

    def _step(self, batch: Batch, rate: float) -> None:
        """One step of the optimiser."""
        device = self.material.label_vectors.device
        codes = torch.from_numpy(batch.codes).to(device)
        scores = self.learner.model(*inputs(batch, device), self.material.label_vectors)
        loss = ranking_loss(scores, codes, self.config.loss)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise PipelineError(
                f"train: the loss is {value} at step {self.progress.step + 1} (epoch {self.progress.epoch + 1}, "
                f"learning rate {rate:g}), expected a finite number; the last checkpoint is {self._last_checkpoint()}. "
                f"Run again with a smaller rate: biam-pipe train --set train.lr={self.config.lr / 10:g}"
            )
        self.learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.learner.optimizer.step()
        self._advanced = True
        self.progress.batch += 1
        self.progress.step += 1
        self.progress.loss_sum += value * len(batch)
        self.progress.images += len(batch)
        self._images_since += len(batch)
        self.hooks.events.add_scalar("train/loss", value, self.progress.step)

    def _last_checkpoint(self) -> str:
        if self._saved_step == 0:
            return "none"
        return f"{self.hooks.saved_as} (step {self._saved_step})"

    def _attend(self, _: int = 0) -> None:
        """Between two batches: stop if asked to, save if due, say how far it is.

        The deadline counts only once this process has made a step or a validation: with a budget shorter than one
        validation, running the same command again and again would otherwise never end.
        """
        now = time.monotonic()
        self.progress.seconds = now - self._epoch_from
        if (why := stopping.reason(self.hooks.deadline if self._advanced else None)) is not None:
            self._save()
            raise why
        if now - self._saved_at >= self.config.checkpoint_every_s:
            self._save()
        if now - self._reported_at >= _REPORT_EVERY_S:
            self._report(now)

    def _save(self) -> None:
        self.hooks.save()
        self._saved_at = time.monotonic()
        self._saved_step = self.progress.step

    def _report(self, now: float) -> None:
        progress = self.progress
        rate = self._images_since / (now - self._reported_at)
        total = self.config.epochs * len(self.material.train)
        left = total - progress.epoch * len(self.material.train) - progress.images
        logger.info(
            "epoch %d/%d step %d loss %.4f, %.0f images/s, %s left",
            progress.epoch + 1,
            self.config.epochs,
            progress.step,
            progress.loss_sum / max(progress.images, 1),
            rate,
            f"{left / rate / 60:.0f} min" if rate else "unknown time",
            extra={"done": progress.step, "total": self.config.epochs * self.steps_per_epoch},
        )
        self._reported_at, self._images_since = now, 0

    def _finish(self, rate: float) -> None:
        """Validate where it is due, keep the best weights, write the epoch into the history, save."""
        progress = self.progress
        epoch = progress.epoch + 1
        due = epoch % self.config.validate_every_epochs == 0 or epoch == self.config.epochs
        validation = self._validate() if due and len(self.material.validation) else None
        if validation is not None:
            self._keep_if_best(validation[f"f1@{self.config.selection_k}"], epoch)
        progress.history.append(
            {
                "epoch": epoch,
                "step": progress.step,
                "lr": rate,
                "train_loss": progress.loss_sum / progress.images,
                "validation": validation,
                "seconds": round(time.monotonic() - self._epoch_from, 3),
            }
        )
        self._announce(progress.history[-1])
        self._advanced = True
        progress.epoch, progress.batch, progress.loss_sum, progress.images, progress.seconds = epoch, 0, 0.0, 0, 0.0
        self._save()

    def _validate(self) -> dict[str, float]:
        """F1@K and mAP of the seen labels on the validation images; a label without a positive image counts 0."""
        scorer = Scorer(
            self.learner.model,
            self.material.label_vectors,
            self.material.features,
            self.config.batch_images,
            self._attend,
        )
        scored = scorer.score(self.material.validation)
        best = topk_scores(scored.scores, scored.codes, self.config.selection_k)
        each = average_precision(scored.scores, scored.codes)
        return {f"f1@{self.config.selection_k}": best.f1, "map": float(np.nan_to_num(each, nan=0.0).mean())}

    def _keep_if_best(self, score: float, epoch: int) -> None:
        if self.progress.best_score is None or score > self.progress.best_score:
            self.progress.best_score, self.progress.best_epoch = score, epoch
            self.learner.best.update(detached(self.learner.model.state_dict()))

    def _announce(self, entry: dict[str, Any]) -> None:
        shown = "".join(f", {name} {value:.4f}" for name, value in (entry["validation"] or {}).items())
        logger.info(
            "epoch %d/%d loss %.4f%s (%.0f images/s)",
            entry["epoch"],
            self.config.epochs,
            entry["train_loss"],
            shown,
            self.progress.images / max(entry["seconds"], 1e-9),
            extra={"done": self.progress.step, "total": self.config.epochs * self.steps_per_epoch},
        )
        self.hooks.events.add_scalar("train/lr", entry["lr"], entry["step"])
        for name, value in (entry["validation"] or {}).items():
            self.hooks.events.add_scalar(f"validation/{name}", value, entry["step"])
