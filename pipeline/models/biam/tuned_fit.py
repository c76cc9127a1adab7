"""What preset `tuned` computes before training: the closed forms, the place of words, and what labels weigh."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.models.biam.settings import BiamConfig
from pipeline.models.fitting import Fitted, Fitting
from pipeline.models.ridge import choice
from pipeline.models.ridge import network as ridge
from pipeline.models.ridge.settings import RidgeConfig
from pipeline.models.shared.precision import long_type
from pipeline.models.shared.word_space import word_space
from pipeline.models.sizes import FeatureSizes
from schemas.command import Command
from schemas.errors import UsageError

_IMAGES_FOR_SCALE = 512

# Of the ridge regression that is a part, and that teaches the scene: it chooses all by held-out labels.
CLOSED_FORM = RidgeConfig()
# Of the one that spreads seen labels' scores over their neighbours, which leads where seen labels count.
KERNEL = RidgeConfig(form="kernel", words="centred", strength=1e4)


def fit(settings: BiamConfig, fitting: Fitting) -> Fitted:
    """The buffers of the network.

    Raises:
        UsageError: there are no validation images; or as `ridge.fit`.
    """
    if fitting.validation is None:
        raise UsageError(
            "setting model.preset:",
            got="'tuned', and there are no validation images",
            expected="some, by which its closed form is chosen, and by which scores are brought to one scale",
            hint="Use:",
            run=Command(sets={"split.validation_fraction": 0.1}),
        )
    assert fitting.reading is not None, "the global feature alone is read"
    of_global = fitting.reading(("global",))
    words = fitting.words.to(long_type(fitting.words.device))
    space = word_space(settings.words, words)
    buffers = {
        "word_centre": space.centre.float(),
        "word_axes": space.axes.float(),
        "label_weights": _label_weights(settings, fitting.present),
    }
    region, global_feature = _scales(fitting)
    if not settings.blocks:
        buffers |= _named("regions.fusion", region)
    if settings.scene_weight:
        buffers |= _named("scene", global_feature)
    facts: dict[str, Any] = {}
    weighs = {"closed_form": settings.closed_form_weight, "kernel": settings.kernel_weight}
    for name, config in closed_forms(settings).items():
        fitted = _fitted(name, config, of_global)
        buffers |= {f"{name}.{key}": value for key, value in fitted.buffers.items()}
        if weighs[name]:
            buffers[f"scales.{name}.deviation"] = _deviation(config, fitted.buffers, of_global)
        facts[name] = dict(fitted.facts)
    return Fitted(buffers, facts)


def _fitted(name: str, config: RidgeConfig, of_global: Fitting) -> Fitted:
    """A closed form.

    Raises:
        UsageError: there is nothing to choose its settings by. This model has none of them, and can do without it.
    """
    try:
        return choice.fit(config, of_global)
    except choice.UndecidedError as error:
        raise UsageError(
            f"setting model.{name}_weight: a closed form chooses its own settings, and {error.why} to choose by;",
            expected="0, and the same of model.teacher_weight",
            hint="Use:",
            run=Command(sets={f"model.{name}_weight": 0, "model.teacher_weight": 0}),
        ) from error


def closed_forms(settings: BiamConfig) -> dict[str, RidgeConfig]:
    """Those of a network that weigh something, or teach: settings of each by its name there."""
    taught = bool(settings.scene_weight and settings.teacher_weight)
    wanted = {"closed_form": bool(settings.closed_form_weight) or taught, "kernel": bool(settings.kernel_weight)}
    return {name: config for name, config in {"closed_form": CLOSED_FORM, "kernel": KERNEL}.items() if wanted[name]}


def _scales(fitting: Fitting) -> list[tuple[Tensor, Tensor]]:
    """Mean and deviation of each map by channel, over the first training images; a deviation of 0 is told as 1."""
    held: list[list[Tensor]] = [[], []]
    for maps, _ in fitting.train():
        for parts, values in zip(held, maps, strict=True):
            parts.append(values.float().flatten(0, -2))
        if sum(map(len, held[1])) >= _IMAGES_FOR_SCALE:
            break
    scales = []
    for parts in held:
        found = torch.cat(parts).to(long_type(parts[0].device))
        deviation = found.std(dim=0, correction=0)
        scales.append((found.mean(dim=0).float(), torch.where(deviation > 0, deviation, 1.0).float()))
    return scales


def _named(prefix: str, scale: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.mean": scale[0], f"{prefix}.deviation": scale[1]}


def _label_weights(settings: BiamConfig, present: Tensor) -> Tensor:
    """One for each seen label, for its share of an image's loss."""
    counts = present.float().clamp(min=1)
    return 1 / counts if settings.label_weights == "rare" else torch.ones_like(counts)


def _deviation(config: RidgeConfig, buffers: Mapping[str, Tensor], of_global: Fitting) -> Tensor:
    """Of the scores of a closed form over the validation images and the seen labels."""
    assert of_global.validation is not None, "it was chosen by them"
    size, word_size = buffers["mean"].shape[0], of_global.words.shape[1]
    network = ridge.build(config, FeatureSizes({config.feature: size}, word_size))
    for name, value in buffers.items():
        network.register_buffer(name, value)
    scores = torch.cat([network(*maps, of_global.words) for maps, _ in of_global.validation.passed()])
    return scores.double().std(correction=0).float()
