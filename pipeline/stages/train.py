"""Train a zero-shot model on the seen labels of the training images; the validation images pick the epoch.

Writes runs/<run>/: model.safetensors, history.json, config.toml, train.log, TensorBoard events, and
checkpoint/last.safetensors. An interrupted run goes on in the middle of its epoch and ends with the same bytes. It may
start from the weights of an earlier run (`train.init_from`). Where `train.weights` names a file, its weights are the
model, and nothing is trained.

No annotation of an unseen label is read into anything here: the label space is cut to its seen columns first.
"""

import json
import logging
import tomllib
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.backbones import describe, settled
from pipeline.engine.fingerprint import changes
from pipeline.engine.sources import Sources, require_unchanged
from pipeline.engine.task import CHECKPOINT, START, History, Output, Stage, Start, Task
from pipeline.files.inputs import Inputs, OutputFile
from pipeline.files.storage import Storage, sha256_once
from pipeline.machine.device import cores, require_device
from pipeline.machine.precision import require_precision, told_slower
from pipeline.models import MODELS, contract
from pipeline.models.trial import trial_of_network
from pipeline.towers import space
from pipeline.training import schedule
from schemas.command import Command
from schemas.config import Config, ModelSection, TrainConfig
from schemas.errors import PipelineError, UsageError
from schemas.features import MapSpec, map_named
from schemas.section import is_recipe, recipe
from schemas.status import ImageSplit

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric
    from torch import nn

    from pipeline.batches.label_space import LabelSpace
    from pipeline.batches.selection import Selection
    from pipeline.models.sizes import FeatureSizes
    from pipeline.training.loop import Material
    from pipeline.training.validation import OpenTable

_PRELOAD = (
    "pipeline.inference.model_file",
    "pipeline.training.fabric",
    "pipeline.training.fitting",
    "pipeline.training.journal",
    "pipeline.training.loop",
)

VERSION = 3
_DEALING = ("split", "unseen")  # stages that say which images and labels may be learnt from
LATEST = "latest"  # as the run that training starts from
_LEARNT = "seen_labels"  # in history.json: ids of labels whose annotations the weights come from

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
        sources: sha256 of the file of weights, where one is given, by path.
    """

    model: ModelSection
    train: TrainConfig
    threads: int | None = None
    config_toml: str = ""
    scores_in_memory_bytes: int = 2**30
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Learnt:
    """What epochs came to, where there were any.

    Attributes:
        weights: all that the network holds.
        epoch: after which they were kept.
        history: one entry an epoch.
        steps: of the optimiser.
        score: on the validation images.
    """

    weights: "Mapping[str, torch.Tensor]"
    epoch: int | None = None
    history: Sequence[Mapping[str, Any]] = ()
    steps: int = 0
    score: float | None = None


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings.

    A run is history: its folder is named after settings and data, so that another one leaves it as it is. Before, the
    settings alone gave the name; a run that lies there stays there.
    """
    MODELS.require(config.model.name)
    given = config.train.weights
    hashes = {} if given is None else sources.hashes((given,), "train.weights")
    named = f"runs/{config.model.name}-{config.model.preset}"
    return Stage(
        name="train",
        version=VERSION,
        recipe={
            **recipe("model", config.model),
            **recipe("train", config.train),
            **schedule.recipe(config.train),
            **({"train.weights": hashes[given]} if given else {}),
            **({"train.init_from": "a run"} if config.train.init_from else {}),  # which one: by hash, with the data
            **MODELS.recipe(config.model.name),
        },
        settings=Settings(
            config.model,
            config.train,
            config.engine.threads,
            training_toml(config),
            config.evaluate.scores_in_memory_bytes,
            hashes,
        ),
        run=run,
        upstream=dict.fromkeys(("index", "extract", "embed", *config.split.role_stages), "all"),
        outputs={
            "model": OutputFile("{folder}/model.safetensors"),
            "history": OutputFile("{folder}/history.json"),
            "config": OutputFile("{folder}/config.toml"),
            CHECKPOINT: OutputFile("{folder}/checkpoint/last.safetensors"),
        },
        place="process",
        preload=_PRELOAD,
        folder=f"runs/{config.train.run}" if config.train.run else f"{named}-{{task8}}",
        record="train.stage",
        history=History(
            _stopped, partial(_refusal, config), None if config.train.run else f"{named}-{{fp8}}", _start(config.train)
        ),
        require=partial(_require, config),
    )


def _start(config: TrainConfig) -> Start | None:
    """The run that training starts from, where it starts from one."""
    if config.init_from is None:
        return None
    name = None if config.init_from == LATEST else config.init_from
    without = Command("train", sets={"train.init_from": None})
    return Start(name, _unfit, "train.init_from", without)


def _unfit(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """Why weights of one recipe cannot begin a training with another; None where they can."""
    models = [{key: v for key, v in one["settings"].items() if key.startswith("model.")} for one in (theirs, own)]
    if told := changes(*models):
        return f"another model ({'; '.join(told)})"
    if theirs["upstream"].get("extract") != own["upstream"].get("extract"):
        return "other features"
    if any(theirs["upstream"].get(name) != own["upstream"].get(name) for name in _DEALING):
        return "another split, so that it may have learnt from images that are for testing now"
    return None


def _require_to_begin(config: Config) -> None:
    """See that weights of another run can be taken.

    Raises:
        UsageError: some are of labels, in an order that a model file does not tell.
    """
    if config.train.init_from is not None and contract.has_label_weights(MODELS.load(config.model.name)):
        raise UsageError(
            f"setting train.init_from: model {config.model.name} has weights for each label, and no run says which",
            expected="a model that scores labels by their words",
            hint="Start anew:",
            run=Command("train", sets={"train.init_from": None}),
        )


def _require(config: Config, scheduler: str | None) -> None:
    """See that the model can do the task, finds the maps it reads among those to store and can read them; its device.

    Raises:
        UsageError: it does not.
    """
    del scheduler  # training runs here
    _require_to_begin(config)
    model = MODELS.load(config.model.name)
    contract.require_task(model, config)
    stored = describe(config.backbone).maps
    maps = [_map(config, stored, name) for name in model.needs(config.model)]
    contract.require(model, config.model, maps)
    if contract.is_in_word_space(model):
        space.require_planned(config.model.name, config.backbone, config.embed.vectors, maps)
    MODELS.tried(config.model.name, partial(trial_of_network, model, config.model, config.train, maps))
    if config.train.weights is not None:
        from pipeline.training.given import given_weights  # with torch, which a plan does without

        given_weights(Path(config.train.weights), config.model, maps, word_size=None)
        return
    require_device(config.train.device, "train.device", config.train.processes)
    require_precision(config.train.precision, config.train.device, "train.precision")


def _map(config: Config, stored: Sequence[MapSpec], name: str) -> MapSpec:
    """A map by role or column.

    Raises:
        UsageError: there is none.
    """
    try:
        return map_named(stored, name)
    except KeyError:
        raise UsageError(
            "setting backbone.layers:",
            got=f"{', '.join(spec.column for spec in stored)}, and none of them is a {name} map",
            expected=f"one at least, which the model {config.model.name} reads",
            hint="Use:",
            run=Command(sets={"backbone.layers": []}),
        ) from None


def training_toml(config: Config) -> str:
    """The settings behind a trained model. Those of later stages are not its own, and may change after it."""
    import tomli_w

    sections = {"dataset", "download", "backbone", "extract", "store", "embed", "split", "model", "train"}
    whole = config.model_copy(update={"backbone": settled(config.backbone)})
    return tomli_w.dumps(whole.model_dump(mode="json", exclude_none=True, include=sections))


def _stopped(storage: Storage, path: str) -> str | None:
    """Fingerprint of the training that was stopped and left this checkpoint; None where nobody can tell."""
    if not storage.exists(path):
        return None
    from pipeline.training import checkpoint  # with torch, which a plan does without

    return checkpoint.left_by(storage, path)


def _refusal(config: Config, left: Inputs) -> UsageError:
    """The error about a folder with a name of its own that holds another run, with what differs."""
    other = "a training that was stopped, with other settings or data"
    if left.has("train"):
        before = _shaping(config, left.read("train", "config").decode())
        told = "; ".join(changes(before, _shaping(config, training_toml(config))))
        other = f"a run with other settings ({told})" if told else "a run over other data, or of another version"
    return UsageError(
        f"train: {left.folder('train')} holds {other};",
        expected="the same, or none",
        hint="Runs stay as they are. Give this one another name by train.run, or replace that one:",
        run=Command(words=("--replace",), dataset=left.dataset),
    )


def _shaping(config: Config, text: str) -> dict[str, Any]:
    """The settings in a TOML text that belong to recipes, by dotted key."""
    return {
        f"{name}.{key}": value
        for name, section in tomllib.loads(text).items()
        for key, value in section.items()
        if is_recipe(getattr(config, name), key)
    }


def run(task: Task) -> list[Output]:
    """Train, go on training, or take weights that are given; returns what lies in the run folder.

    Raises:
        PipelineError: nothing to learn from, a loss that is not finite, or a stop asked for (after saving).
        IntegrityError: a shard or the checkpoint is damaged.
    """
    from pipeline.training.ranks import other_ranks

    settings: Settings = task.settings
    if settings.train.weights is not None:
        return _take(task, Path(settings.train.weights))
    with other_ranks(_train, task, settings.train.processes):
        return _train(task)


def _take(task: Task, path: Path) -> list[Output]:
    """The model that a file gives."""
    from pipeline.batches.label_space import read_label_space
    from pipeline.batches.shards import open_features
    from pipeline.models.sizes import FeatureSizes
    from pipeline.training.given import given_weights
    from pipeline.training.journal import log_file

    settings: Settings = task.settings
    needs = MODELS.load(settings.model.name).needs(settings.model)
    maps = open_features(task.inputs).reading(needs).maps
    sizes = FeatureSizes.of(needs, maps, read_label_space(task.inputs).vectors.shape[1])
    told = {"file": path.name, "sha256": sha256_once(path)}
    with log_file(task.storage.scratch(task.folder)):
        weights = given_weights(path, settings.model, maps, sizes.word_size)
        require_unchanged(settings.sources)
        logger.info("the weights are those of %s, sha256 %s", path, told["sha256"])
    facts = _write(task, _Learnt(weights), {"weights": told} | _labels_learnt(task), {}, sizes)
    return _outputs(task, 0, facts)


def _outputs(task: Task, rows: int, facts: Mapping[str, Any]) -> list[Output]:
    content = task.storage.sha256(task.path("model"))
    return [Output(("model", "history", "config"), rows=rows, content=content, facts=facts)]


def _train(task: Task) -> list[Output]:
    """What every process does. Only the first one writes, and its outputs count."""
    from pipeline.inference.determinism import repeatable
    from pipeline.machine.device import resolve_device
    from pipeline.training.fabric import start_fabric
    from pipeline.training.journal import log_file

    settings: Settings = task.settings
    fabric = start_fabric(settings.train, resolve_device(settings.train.device, "train.device"))
    first, device = fabric.is_global_zero, fabric.device
    slower = told_slower("train.precision", settings.train.precision, device.type) if first else None
    writing = log_file(task.storage.scratch(task.folder)) if first else nullcontext()
    with writing, repeatable(settings.train.seed, _threads(settings), device):
        material, sizes = _material(task, settings, device)
        labels = _labels_learnt(task)  # before the hours in which the run that it starts from may go
        network, fitted = _network(task, material, sizes, device)
        learnt = _all_epochs(task, material, network, fabric) if _by_steps(settings) else _Learnt(network.state_dict())
        if not first:
            return []
        images = {"train": len(material.train), "validation": len(material.validation)}
        began = _began(task)
        more = ({"fit": dict(fitted)} if fitted else {}) | began | labels
        facts = _write(task, learnt, more, images, sizes)
        facts |= began
        facts |= {"precision_note": slower} if slower else {}
    return _outputs(task, len(material.train), facts)


def _began(task: Task) -> dict[str, Any]:
    """Of the run that training started from, for receipt and history; nothing where it started from none."""
    if task.settings.train.init_from is None:
        return {}
    run = task.inputs.folder("train").rpartition("/")[2]
    return {START: {"run": run, "sha256": task.inputs.receipt("train").content}}


def _labels_learnt(task: Task) -> dict[str, Any]:
    """For history: ids of the labels whose annotations the weights come from, with those of the run before them.

    Of weights that a file gives nobody knows them: whoever gives it says that they are those of these settings.
    """
    from pipeline.batches.label_space import read_label_space

    began = () if task.settings.train.init_from is None else _earlier_labels(task)
    return {_LEARNT: sorted({*read_label_space(task.inputs).seen_only().label_id, *began})}


def _earlier_labels(task: Task) -> Collection[str]:
    """The same of the run that training starts from.

    Raises:
        UsageError: it is of a version that did not tell them.
    """
    learnt: Collection[str] | None = task.inputs.json("train", "history").get(_LEARNT)
    if learnt is None:
        raise UsageError(
            f"setting train.init_from: {task.inputs.folder('train')} does not tell from which labels it has learnt",
            expected="a run of this version",
            hint="Name another run, or start anew:",
            run=Command("train", dataset=task.inputs.dataset, sets={"train.init_from": None}),
        )
    return learnt


def _require_unseen(task: Task) -> None:
    """See that the weights that training starts from come from no annotation of a label that is unseen now.

    Raises:
        UsageError: they do.
    """
    from pipeline.batches.label_space import read_label_space

    space = read_label_space(task.inputs)
    unseen = dict(zip(space.label_id[space.num_seen :], space.name[space.num_seen :], strict=True))
    if known := [unseen[label] for label in sorted(unseen.keys() & set(_earlier_labels(task)))]:
        told = ", ".join(map(repr, known[:3])) + (f" and {len(known) - 3} more" if known[3:] else "")
        raise UsageError(
            f"setting train.init_from: {task.inputs.folder('train')} has learnt labels that are unseen now;",
            found=told,
            expected="a run that never saw them",
            hint="Name another run, or start anew:",
            run=Command("train", dataset=task.inputs.dataset, sets={"train.init_from": None}),
        )


def _begin(task: Task, material: "Material", network: "nn.Module") -> None:
    """Give a network the weights of the run that training starts from, and what was fitted then.

    Raises:
        IntegrityError: its model file is damaged.
        PipelineError: the run is gone, or its word vectors were of another size.
        UsageError: it has learnt labels that are unseen now.
    """
    from pipeline.training.given import weights_of_run

    _require_unseen(task)
    path, settings = task.inputs.path("train", "model"), task.settings
    weights = weights_of_run(path, settings.model, material.features.maps, material.label_vectors.shape[1])
    device = material.label_vectors.device
    contract.put(network, {name: weights[name].to(device) for name, _ in network.named_buffers() if name in weights})
    network.load_state_dict(weights)
    logger.info("starting from the weights of %s", task.inputs.folder("train"))


def _by_steps(settings: Settings) -> bool:
    return contract.learns_by_steps(MODELS.load(settings.model.name))


def _threads(settings: Settings) -> int | None:
    """Of one operation in each process: several processes share the cores out."""
    if settings.threads is None and settings.train.processes > 1:
        return max(1, cores() // settings.train.processes)
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

    every_label = read_label_space(task.inputs)
    labels = every_label.seen_only()
    model = MODELS.load(settings.model.name)
    needs = model.needs(settings.model)
    features = open_features(task.inputs).reading(needs)
    if contract.is_in_word_space(model):
        embedded = task.inputs.receipt("embed").facts
        space.require_one_space(settings.model.name, features.maps, labels.vectors.shape[1], features.spec, embedded)
    selections = select(features, labels, [ImageSplit.TRAIN, ImageSplit.VALIDATION])
    limit, full = settings.train.max_positives, settings.train.full_epochs > 0
    train, validation = selections[ImageSplit.TRAIN].trainable(limit), selections[ImageSplit.VALIDATION]
    _describe(labels, train, validation)
    everything = train.with_others(validation.trainable(limit)) if full else None
    config = settings.train
    candidates = {"train and validation": train.with_others(validation), "train": everything or train}
    candidates |= {"validation": validation} if len(validation) else {}
    free = free_memory(device, config.batch_images, config.processes)
    mode = config.feature_cache if _by_steps(settings) else "never"  # there is one pass, and one for validation
    cache = open_cache(features, candidates, free, mode, device)

    def images(selection: Selection) -> ImageSet:
        return cache.image_set(selection) if cache else ImageSet(selection)

    vectors = torch.from_numpy(labels.vectors).to(device)
    learnt = len(labels) if contract.has_label_weights(model) else 0
    sizes = FeatureSizes.of(needs, features.maps, vectors.shape[1], learnt)
    all_images = images(everything) if everything else None
    zero_shot = every_label.num_unseen > 0
    return Material(features, images(train), images(validation), all_images, vectors, zero_shot), sizes


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


def _network(
    task: Task, material: "Material", sizes: "FeatureSizes", device: "torch.device"
) -> "tuple[nn.Module, Mapping[str, Any]]":
    """The network from torch's random state as it stands, with what is fitted beforehand, and what is told of that."""
    from pipeline.training.fitting import fitting

    settings: Settings = task.settings
    model = MODELS.load(settings.model.name)
    network: nn.Module = model.build(settings.model, sizes)
    fitted = contract.fit(model, settings.model, fitting(material, _open_table(task), settings.train.seed))
    contract.put(network, fitted.buffers)
    if fitted.facts:
        logger.info("fitted: %.300s", json.dumps(fitted.facts))
    return network.to(device), fitted.facts


def _open_table(task: Task) -> "OpenTable":
    """Gives an empty table for scores, in a file of the run's folder where memory is not to hold them."""
    from pipeline.metrics.score_table import open_score_table

    folder = task.storage.scratch(task.folder)
    return partial(open_score_table, folder, memory_bytes=task.settings.scores_in_memory_bytes)


def _all_epochs(task: Task, material: "Material", network: "nn.Module", fabric: "Fabric") -> _Learnt:
    """Run all epochs that are left.

    The weights are those with the best validation score; without validation images, or once they were trained on, the
    last ones.
    """
    from pipeline.training import checkpoint, journal
    from pipeline.training.loop import Hooks, Learning, Loop

    settings: Settings = task.settings
    config, model, open_table = settings.train, MODELS.load(settings.model.name), _open_table(task)
    learner = checkpoint.Learner(network, contract.optimizer(model, network, config))
    learning, path = Learning(model, settings.model, config), task.path(CHECKPOINT)
    progress = checkpoint.restore(task.storage, path, task.fingerprint, learner)
    if progress is None:
        if config.init_from is not None:
            _begin(task, material, network)
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

    def save() -> None:
        checkpoint.save(task.storage, path, task.fingerprint, learner, progress)

    if fabric.is_global_zero:
        with journal.curves(task.storage.scratch(task.folder), progress.step) as record:
            hooks = Hooks(save, task.deadline, path, record, open_table)
            Loop(learning, material, learner, progress, hooks, fabric).run()
    else:
        hooks = Hooks(lambda: None, None, path, lambda *_: None, open_table)
        Loop(learning, material, learner, progress, hooks, fabric).run()
    weights, selected = learner.best, progress.best_epoch
    if selected is None or progress.full_from is not None:
        why = "no validation images" if selected is None else "all images were trained on"
        logger.info("%s: the weights of the last epoch are kept", why)
        weights, selected = learner.model.state_dict(), progress.epoch
    logger.info("kept epoch %d of %d", selected, progress.epoch)
    return _Learnt(weights, selected, progress.history, progress.step, progress.best_score)


def _write(
    task: Task, learnt: _Learnt, more: Mapping[str, Any], images: Mapping[str, int], sizes: "FeatureSizes"
) -> dict[str, Any]:
    """Commit the model and the history, with what more is to be told in it."""
    from pipeline.inference.model_file import save_model

    settings: Settings = task.settings
    save_model(task.storage, task.path("model"), learnt.weights, settings.model, sizes)
    history = {"epochs": learnt.history, "selected_epoch": learnt.epoch, "images": images, **more}
    task.storage.write(task.path("history"), json.dumps(history, indent=2).encode())
    task.storage.write(task.path("config"), settings.config_toml.encode())
    return {"selected_epoch": learnt.epoch, "steps": learnt.steps, "score": learnt.score, "images": images}
