"""Train a zero-shot model on the seen labels of the training images; the validation images pick the epoch.

Writes runs/<run>/: model.safetensors, history.json, config.toml, train.log, TensorBoard events, and
checkpoint/last.safetensors. An interrupted run goes on in the middle of its epoch and ends with the same bytes.

No annotation of an unseen label is read into anything here: the label space is cut to its seen columns first.
"""

import json
import logging
import os
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.backbones import BACKBONES
from pipeline.engine.sources import Sources
from pipeline.engine.task import CHECKPOINT, Output, Stage, Task
from pipeline.files.inputs import OutputFile
from pipeline.machine.device import require_device
from pipeline.models import MODELS
from schemas.command import Command
from schemas.config import Config, ModelConfig, TrainConfig
from schemas.errors import PipelineError, UsageError
from schemas.features import MapSpec
from schemas.section import recipe
from schemas.status import ImageSplit

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

    from pipeline.batches.label_space import LabelSpace
    from pipeline.batches.selection import Selection
    from pipeline.models.sizes import FeatureSizes
    from pipeline.training.checkpoint import Learner, Progress
    from pipeline.training.loop import Material

VERSION = 3

logger = logging.getLogger("biam_pipe.train")


@dataclass(frozen=True)
class Settings:
    """What training needs to know.

    Attributes:
        model: what to build.
        train: how to fit it.
        threads: of one operation; torch's own choice where None.
        config_toml: the whole configuration as TOML, kept beside the model.
        scores_in_memory_bytes: more scores than that, of a validation, lie in a file of the run's folder meanwhile.
    """

    model: ModelConfig
    train: TrainConfig
    threads: int | None = None
    config_toml: str = ""
    scores_in_memory_bytes: int = 2**30


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings."""
    del sources  # nothing from outside shapes it
    MODELS.require(config.model.name)
    named = f"{config.model.name}-{config.model.preset}-{{fp8}}"
    return Stage(
        name="train",
        version=VERSION,
        recipe=recipe("model", config.model) | recipe("train", config.train),
        settings=Settings(
            config.model,
            config.train,
            config.engine.threads,
            training_toml(config),
            config.evaluate.scores_in_memory_bytes,
        ),
        run=run,
        upstream={"index": "all", "extract": "all", "embed": "all", "split": "all"},
        outputs={
            "model": OutputFile("{folder}/model.safetensors"),
            "history": OutputFile("{folder}/history.json"),
            "config": OutputFile("{folder}/config.toml"),
            CHECKPOINT: OutputFile("{folder}/checkpoint/last.safetensors"),
        },
        place="process",
        folder=f"runs/{config.train.run or named}",
        record="train.stage",
        require=partial(_require, config),
    )


def _require(config: Config, scheduler: str | None) -> None:
    """See that the model finds the maps it reads among those to store, as many regions as it asks for, and its device.

    Raises:
        UsageError: it does not.
    """
    del scheduler  # training runs here
    maps = BACKBONES.load(config.backbone.name).OFFER.maps(config.backbone)
    side, model = _map(config, maps, "region").shape[0], config.model
    _map(config, maps, "global")
    if model.grid_side is not None and model.grid_side > side:
        raise _too_large("model.grid_side", model.grid_side, f"the region map has {side} x {side} regions", side)
    regions = (model.grid_side or side) ** 2
    if model.classification == "region" and model.top_k > regions:
        raise _too_large("model.top_k", model.top_k, f"there are {regions} regions", regions)
    require_device(config.train.device, "train.device", config.train.processes)


def _too_large(setting: str, got: int, there: str, most: int) -> UsageError:
    return UsageError(
        f"setting {setting}:",
        got=f"{got}, but {there}",
        expected=f"at most {most}",
        hint="Use:",
        run=Command(sets={setting: most}),
    )


def _map(config: Config, maps: Collection[MapSpec], role: str) -> MapSpec:
    """The first map with a role.

    Raises:
        UsageError: there is none.
    """
    found = next((spec for spec in maps if spec.role == role), None)
    if found is None:
        raise UsageError(
            "setting backbone.layers:",
            got=f"{', '.join(spec.column for spec in maps)}, and none of them is a {role} map",
            expected=f"one at least, which the model {config.model.name} reads",
            hint="Use:",
            run=Command(sets={"backbone.layers": []}),
        )
    return found


def training_toml(config: Config) -> str:
    """The settings behind a trained model. Those of later stages are not its own, and may change after it."""
    import tomli_w

    sections = {"dataset", "download", "backbone", "extract", "store", "embed", "split", "model", "train"}
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True, include=sections))


def run(task: Task) -> list[Output]:
    """Train, or go on training; returns what lies in the run folder.

    Raises:
        PipelineError: nothing to learn from, a loss that is not finite, or a stop asked for (after saving).
        IntegrityError: a shard or the checkpoint is damaged.
    """
    from pipeline.training.ranks import other_ranks

    settings: Settings = task.settings
    with other_ranks(_train, task, settings.train.processes):
        return _train(task)


def _train(task: Task) -> list[Output]:
    """What every process does. Only the first one writes, and its outputs count."""
    from pipeline.inference.determinism import repeatable
    from pipeline.machine.device import resolve_device
    from pipeline.training.fabric import start_fabric
    from pipeline.training.journal import log_file

    settings: Settings = task.settings
    fabric = start_fabric(settings.train, resolve_device(settings.train.device, "train.device"))
    first, device = fabric.is_global_zero, fabric.device
    writing = log_file(task.storage.scratch(task.folder)) if first else nullcontext()
    with writing, repeatable(settings.train.seed, _threads(settings), device):
        material, sizes = _material(task, settings, device)
        learner = _learner(settings, sizes, device)
        progress = _fit(task, material, learner, fabric)
        if not first:
            return []
        facts = _write(task, learner, progress, material, sizes)
    content = task.storage.sha256(task.path("model"))
    return [Output(("model", "history", "config"), rows=len(material.train), content=content, facts=facts)]


def _threads(settings: Settings) -> int | None:
    """Of one operation in each process: several processes share the cores out."""
    if settings.threads is None and settings.train.processes > 1:
        return max(1, (os.cpu_count() or 1) // settings.train.processes)
    return settings.threads


def _material(task: Task, settings: Settings, device: "torch.device") -> "tuple[Material, FeatureSizes]":
    """What to learn from, cut to the seen labels before any annotation is read."""
    import torch

    from pipeline.batches.feature_cache import ImageSet, free_memory, open_cache
    from pipeline.batches.label_space import read_label_space
    from pipeline.batches.selection import Selection, select
    from pipeline.batches.shards import open_features
    from pipeline.models.sizes import FeatureSizes
    from pipeline.training.loop import Material

    space = read_label_space(task.inputs).seen_only()
    features = open_features(task.inputs)
    selections = select(features, space, [ImageSplit.TRAIN, ImageSplit.VALIDATION])
    limit, full = settings.train.max_positives, settings.train.full_epochs > 0
    train, validation = selections[ImageSplit.TRAIN].trainable(limit), selections[ImageSplit.VALIDATION]
    _describe(space, train, validation)
    everything = train.with_others(validation.trainable(limit)) if full else None
    config = settings.train
    candidates = {"train and validation": train.with_others(validation), "train": everything or train}
    candidates |= {"validation": validation} if len(validation) else {}
    free = free_memory(device, config.batch_images, config.processes)
    cache = open_cache(features, candidates, free, config.feature_cache, device)

    def images(selection: Selection) -> ImageSet:
        return cache.image_set(selection) if cache else ImageSet(selection)

    vectors = torch.from_numpy(space.vectors).to(device)
    sizes = FeatureSizes(features.region.shape[-1], features.global_feature.shape[-1], vectors.shape[1])
    all_images = images(everything) if everything else None
    return Material(features, images(train), images(validation), all_images, vectors), sizes


def _describe(space: "LabelSpace", train: "Selection", validation: "Selection") -> None:
    """Say what there is to learn from; nothing is an error."""
    if space.without_vector:
        logger.info("labels without a vector, left out: %s", ", ".join(space.without_vector))
    for name, images in (("train", train), ("validation", validation)):
        out = ", ".join(f"{count} {why}" for why, count in (*images.failed.items(), *images.left_out.items()) if count)
        logger.info("%s: %d of %d images%s", name, len(images), images.expected, f" (left out: {out})" if out else "")
    if len(space) == 0:
        raise PipelineError(
            "train: no seen label with a vector",
            found=f"0 seen labels, {len(space.without_vector)} labels without a vector",
            expected="at least 1",
            hint="Check the list of unseen labels and the vectors, then run:",
            run=Command("embed"),
        )
    if len(train) == 0:
        all_failed = 0 < train.expected == sum(train.failed.values())
        raise PipelineError(
            "train: no images to learn from",
            found=f"0 of {train.expected} in the split; failed {dict(train.failed)}, left out {dict(train.left_out)}",
            expected="at least 1 with a positive seen label",
            hint="See what failed and why:" if all_failed else "Label more images or make the other splits smaller:",
            run=Command("status") if all_failed else Command("split", sets={"split.test_fraction": 0.1}),
        )


def _learner(settings: Settings, sizes: "FeatureSizes", device: "torch.device") -> "Learner":
    """Model with fresh weights and its optimiser, from torch's random state as it stands."""
    import torch

    from pipeline.training.checkpoint import Learner

    model = MODELS.load(settings.model.name).build(settings.model, sizes)
    model = model.to(device)
    config = settings.train
    optimizer = torch.optim.Adam(  # its rate is set at the beginning of every epoch
        model.parameters(), betas=config.betas, weight_decay=config.weight_decay, fused=device.type != "mps"
    )
    return Learner(model, optimizer)


def _fit(task: Task, material: "Material", learner: "Learner", fabric: "Fabric") -> "Progress":
    """All epochs that are left."""
    from pipeline.metrics.score_table import open_score_table
    from pipeline.training import checkpoint, journal
    from pipeline.training.loop import Hooks, Loop

    config = task.settings.train
    open_table = partial(
        open_score_table, task.storage.scratch(task.folder), memory_bytes=task.settings.scores_in_memory_bytes
    )
    path = task.path(CHECKPOINT)
    progress = checkpoint.restore(task.storage, path, task.fingerprint, learner)
    if progress is None:
        progress = checkpoint.Progress()
        logger.info(
            "starting: %d epochs on %s, %s, %d process(es)",
            config.epochs + config.full_epochs,
            fabric.device,
            config.precision,
            fabric.world_size,
        )
    else:
        logger.info("going on after step %d in epoch %d", progress.step, progress.epoch + 1)

    if not fabric.is_global_zero:
        Loop(
            config, material, learner, progress, Hooks(lambda: None, None, path, lambda *_: None, open_table), fabric
        ).run()
        return progress

    def save() -> None:
        checkpoint.save(task.storage, path, task.fingerprint, learner, progress)

    with journal.curves(task.storage.scratch(task.folder), progress.step) as record:
        Loop(config, material, learner, progress, Hooks(save, task.deadline, path, record, open_table), fabric).run()
    return progress


def _write(
    task: Task, learner: "Learner", progress: "Progress", material: "Material", sizes: "FeatureSizes"
) -> dict[str, Any]:
    """Commit the model and the history.

    The weights are those with the best validation score; without validation images, or once they were trained on, the
    last ones.
    """
    from pipeline.inference.model_file import save_model

    settings: Settings = task.settings
    weights, selected = learner.best, progress.best_epoch
    if selected is None or progress.full_from is not None:
        why = "no validation images" if selected is None else "all images were trained on"
        logger.info("%s: the weights of the last epoch are kept", why)
        weights, selected = learner.model.state_dict(), progress.epoch
    images = {"train": len(material.train), "validation": len(material.validation)}
    save_model(task.storage, task.path("model"), weights, settings.model, sizes)
    history = {"epochs": progress.history, "selected_epoch": selected, "images": images}
    task.storage.write(task.path("history"), json.dumps(history, indent=2).encode())
    task.storage.write(task.path("config"), settings.config_toml.encode())
    logger.info("kept epoch %d of %d", selected, progress.epoch)
    return {"selected_epoch": selected, "steps": progress.step, "score": progress.best_score, "images": images}
