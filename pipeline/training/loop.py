"""Epochs and steps of a training run, from its beginning or from where a checkpoint left it.

First on the training images, with the validation images picking the epoch; then, where asked for, some epochs more on
both from the weights that were picked. With several processes each takes its share of every batch.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from lightning_fabric import Fabric
from torch import Tensor

from pipeline.batches.feature_cache import ImageSet
from pipeline.batches.order import Order, batch_sizes, epoch_rng, shuffled
from pipeline.batches.selection import Selection
from pipeline.batches.shards import FeatureShards
from pipeline.batches.stream import Batch, batches
from pipeline.inference.model_file import detached
from pipeline.inference.scoring import Scorer, inputs
from pipeline.machine import stopping
from pipeline.models import contract
from pipeline.models.targets import Targets
from pipeline.training.checkpoint import Learner, Progress
from pipeline.training.journal import Record, TrainingLog
from pipeline.training.schedule import fallen, learning_rate
from pipeline.training.validation import OpenTable, validate
from schemas.command import Command
from schemas.config import ModelSection, TrainConfig
from schemas.errors import PipelineError, UsageError


@dataclass(frozen=True)
class Material:
    """What a run learns from. Seen labels only: there is no column for anything else.

    Attributes:
        features: the shards.
        train: images to learn from.
        validation: images that pick the epoch; may be none.
        everything: both, for the epochs after the picking; None where there are none.
        label_vectors: [label, word], on the device.
        zero_shot: whether there are unseen labels, which will be scored by their words.
    """

    features: FeatureShards
    train: ImageSet
    validation: ImageSet
    everything: ImageSet | None
    label_vectors: Tensor
    zero_shot: bool = True

    def reading(self, needs: Sequence[str]) -> "Material":
        """The same with other maps, none of which stays in memory."""
        train, validation = ImageSet(self.train.selection), ImageSet(self.validation.selection)
        features = self.features.reading(needs)
        return replace(self, features=features, train=train, validation=validation, everything=None)


@dataclass(frozen=True)
class Hooks:
    """What the loop asks of its surroundings.

    Attributes:
        save: commits a checkpoint.
        deadline: `time.time()` at which to save and stop, None for never.
        saved_as: how error texts name the checkpoint.
        record: keeps a point of a curve.
        open_table: gives an empty table for scores of so many images and labels.
    """

    save: Callable[[], None]
    deadline: float | None
    saved_as: str
    record: Record
    open_table: OpenTable


@dataclass(frozen=True)
class Learning:
    """What is trained, and how.

    Attributes:
        model: the module of the model, for its loss.
        settings: section `model`.
        train: section `train`.
    """

    model: contract.Model
    settings: ModelSection
    train: TrainConfig


class Loop:
    """Runs epochs until all are done. The position lives in `progress`, the weights in `learner`."""

    def __init__(
        self,
        learning: Learning,
        material: Material,
        learner: Learner,
        progress: Progress,
        hooks: Hooks,
        fabric: Fabric,
    ) -> None:
        self.learning, self.config, self.material, self.learner = learning, learning.train, material, learner
        self.progress, self.hooks, self.fabric = progress, hooks, fabric
        self.fitted = fabric.setup_module(learner.model)
        config = learning.train
        epochs, image_sets = config.epochs + config.full_epochs, (material.train, material.everything)
        steps = [len(batch_sizes(len(image_set), config.batch_images)) if image_set else 0 for image_set in image_sets]
        self.log = TrainingLog(hooks.record, epochs, config.epochs * steps[0] + config.full_epochs * steps[1])
        self._saved_at = self._epoch_from = time.monotonic()
        self._saved_step = progress.step
        self._advanced = False

    def run(self) -> None:
        """All epochs that are left.

        Raises:
            PipelineError: a stop was asked for (after saving), or the loss is not finite any more.
            UsageError: batches smaller than the number of processes.
        """
        progress, config = self.progress, self.config
        while progress.full_from is None and progress.epoch < config.epochs and not self._out_of_patience():
            self._epoch(self.material.train, fallen(config, learning_rate(config, progress.epoch), self._scores()))
            self._validate_where_due()
            self._close_epoch("train")
        if self.material.everything is not None:
            self._begin_on_everything()
            while progress.epoch < (progress.full_from or 0) + config.full_epochs:
                self._epoch(self.material.everything, config.full_lr)
                self._close_epoch("train+validation")

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.progress.without_better >= self.config.patience

    def _scores(self) -> list[float]:
        """F1@K of all validations so far."""
        validations = [epoch["validation"] for epoch in self.progress.history]
        return [found[f"f1@{self.config.selection_k}"] for found in validations if found is not None]

    def _begin_on_everything(self) -> None:
        """Back to the best weights, with an optimiser that knows nothing yet."""
        if self.progress.full_from is None:
            if self.learner.best:
                self.learner.model.load_state_dict(self.learner.best)
            self.learner.optimizer.state.clear()
            self.progress.full_from = self.progress.epoch
            self._save()

    def _epoch(self, images: ImageSet, rate: float) -> None:
        for group in self.learner.optimizer.param_groups:
            group["lr"] = rate
        self.progress.rate = rate
        self._epoch_from = time.monotonic() - self.progress.seconds
        order = self._order(images.selection).after(self.progress.batch)
        share = order.share(self.fabric.global_rank, self.fabric.world_size)
        self.learner.model.train()
        with closing(batches(self.material.features, images, share, self.config.loader_workers)) as stream:
            for batch, size in zip(stream, order.sizes, strict=True):
                self._step(batch, size)
                self._attend()
                self.log.step(self.progress, size, self._images_left(len(images)))

    def _order(self, images: Selection) -> Order:
        config = self.config
        order = shuffled(
            images.block,
            epoch_rng(config.seed, self.progress.epoch),
            config.shuffle_window_blocks,
            config.batch_images,
        )
        if min(order.sizes) < self.fabric.world_size:
            raise UsageError(
                f"train.processes is {self.fabric.world_size}, but a batch has {min(order.sizes)} images;",
                expected="at least one for each",
                run=Command("train", sets={"train.processes": min(order.sizes)}),
            )
        return order

    def _step(self, batch: Batch, batch_images: int) -> None:
        """One step of the optimiser, on a batch of which this process may have a part only."""
        fabric, progress = self.fabric, self.progress
        if not fabric.is_global_zero:  # other dropouts than in the first, whose random numbers alone are in checkpoints
            torch.manual_seed(hash((self.config.seed, fabric.global_rank, progress.step)) % 2**63)
        self.learner.optimizer.zero_grad(set_to_none=True)  # before the forward pass, which needs the memory
        codes = torch.from_numpy(batch.codes).to(fabric.device)
        words = self.material.label_vectors
        learning = self.learning
        given = (*inputs(batch, fabric.device), words, *([codes] if contract.reads_codes(learning.model) else []))
        targets = Targets(codes, words, batch_images, learning.settings, learning.train)
        loss = contract.loss(learning.model, self.fitted(*given), targets)
        total = fabric.all_reduce(loss.detach().clone(), reduce_op="sum")
        assert isinstance(total, Tensor)
        value = float(total)
        if not math.isfinite(value):
            raise self._not_finite(value)
        fabric.backward(loss * fabric.world_size)  # gradients are averaged over the processes, and losses add up
        self.learner.optimizer.step()
        self._advanced = True
        progress.batch += 1
        progress.step += 1
        progress.loss_sum += value * batch_images
        progress.images += batch_images
        self.log.record("train/loss", value, progress.step)

    def _not_finite(self, value: float) -> PipelineError:
        config, progress = self.config, self.progress
        saved = f"{self.hooks.saved_as} (step {self._saved_step})" if self._saved_step else "none"
        key = "lr" if progress.full_from is None else "full_lr"
        rate = min(TrainConfig.model_fields[key].default, getattr(config, key) / 10)
        precision = "With train.precision=fp32, or with" if config.precision != "fp32" else "With"
        return PipelineError(
            f"train: the loss is {value} at step {progress.step + 1} (epoch {progress.epoch + 1}, "
            f"learning rate {progress.rate:g}), the last checkpoint is {saved};",
            expected="a finite number",
            hint=f"{precision} a smaller rate, run:",
            run=Command("train", sets={f"train.{key}": rate}),
        )

    def _attend(self) -> None:
        """Between two batches: stop if asked to, save if due. All processes stop after the same batch.

        The deadline counts only once this process has made a step or a validation: with a budget shorter than one
        validation, running the same command again and again would otherwise never end.
        """
        now = time.monotonic()
        self.progress.seconds = now - self._epoch_from
        why = self.fabric.broadcast(stopping.reason(self.hooks.deadline if self._advanced else None))
        if why is not None:
            self._save()
            raise why
        if now - self._saved_at >= self.config.checkpoint_every_s:
            self._save()

    def _save(self) -> None:
        self.hooks.save()
        self._saved_at, self._saved_step = time.monotonic(), self.progress.step

    def _validate_where_due(self) -> None:
        """Keep the weights if they are the best so far."""
        progress, config, validation = self.progress, self.config, self.material.validation
        epoch = progress.epoch + 1
        if not len(validation) or (epoch % config.validate_every_epochs and epoch != config.epochs):
            return
        model, vectors = self.learner.model, self.material.label_vectors

        def check(images: int) -> None:
            self.log.validation(progress, images, len(validation))
            self._attend()

        scorer = Scorer(model, vectors, self.material.features, config.batch_images, check)
        figures = self.fabric.broadcast(validate(scorer, validation, config.selection_k, self.hooks.open_table))
        score = figures[f"f1@{config.selection_k}"]
        progress.validation = figures
        progress.without_better += 1
        if progress.best_score is None or score > progress.best_score:
            progress.best_score, progress.best_epoch, progress.without_better = score, epoch, 0
            self.learner.best.update(detached(model.state_dict()))

    def _close_epoch(self, images: str) -> None:
        """Write the epoch into the history and save."""
        progress = self.progress
        progress.history.append(
            {
                "epoch": progress.epoch + 1,
                "step": progress.step,
                "images": images,
                "lr": progress.rate,
                "train_loss": progress.loss_sum / progress.images,
                "validation": progress.validation,
                "seconds": round(time.monotonic() - self._epoch_from, 3),
            }
        )
        self.log.epoch(progress.history[-1], progress.images)
        self._advanced = True
        progress.next_epoch()
        self._save()

    def _images_left(self, of_epoch: int) -> int:
        """Of all epochs; those that an early stop would spare included."""
        progress, config, everything = self.progress, self.config, self.material.everything
        left = of_epoch - progress.images
        if progress.full_from is None:
            left += (config.epochs - progress.epoch - 1) * len(self.material.train)
            return left + config.full_epochs * (len(everything) if everything else 0)
        return left + (progress.full_from + config.full_epochs - progress.epoch - 1) * of_epoch
