"""Asks timm about a model: its settings, and by a pass without numbers the shapes of its maps."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from pipeline.backbones.timm import catalogue
from schemas.command import Command
from schemas.errors import UsageError
from schemas.features import MapSpec

with warnings.catch_warnings(action="ignore"):  # of what timm calls in other libraries
    import timm

# What networks raise on inputs that do not suit them, and on a pass without numbers where they look at some.
UNSUITED = (AssertionError, AttributeError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)

# Pixels from one region to the next, at most, of the map that is taken for the region map: 16, as in BiAM, with room
# for maps that are a row short (Inception's 17 x 17 of 299 pixels). Not for the 32 of most last maps.
_STRIDE_PX = 18.0


def all_names() -> tuple[str, ...]:
    """Models with published weights, by name and tag."""
    return tuple(sorted(timm.list_pretrained()))


def ask_for(model: str, input_px: int | None) -> catalogue.Entry:
    """What timm says of a model.

    Args:
        input_px: side of the input; None for the model's own.

    Raises:
        UsageError: there is no such model, or it gives no maps of this size.
    """
    config = _config(model)
    height, width = config.input_size[1:] if input_px is None else (input_px, input_px)
    try:
        maps = _maps(model, (height, width))
    except UNSUITED as error:
        raise _refusal(model, config, input_px, error) from error
    return catalogue.Entry(
        resize=(height, width),
        mean=config.mean,
        std=config.std,
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        crop_fraction=min(config.crop_pct, 1.0),
        repository=config.hf_hub_id or None,
        address=config.url or None,
        licence=config.license,
        maps=maps,
        usual=_usual(maps, height),
    )


def create(model: str, size_px: tuple[int, int], num_classes: int = 0, **more: Any) -> Any:
    """The network, by itself without a classifier, for inputs of this size."""
    config = _config(model)
    if config.fixed_input_size and size_px != tuple(config.input_size[1:]):
        more["img_size"] = size_px
    with warnings.catch_warnings(action="ignore"):
        return timm.create_model(model, num_classes=num_classes, **more).eval()


def classes(model: str) -> tuple[int, tuple[str, ...]]:
    """How many classes published weights tell apart, and the names of the tensors that do."""
    config = _config(model)
    named = config.classifier or ()
    layers = (named,) if isinstance(named, str) else tuple(named)
    return config.num_classes, tuple(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias"))


def _config(model: str) -> Any:
    """Timm's settings of a model.

    Raises:
        UsageError: it knows no such model.
    """
    name, _, tag = model.partition(".")
    tags = [one for one in catalogue.names() if one.startswith(f"{name}.")] if tag else []
    known = tags or timm.list_models()
    if model not in known:
        longer = [one for one in known if one.startswith(model)]
        raise catalogue.unknown(model, longer[:3] or get_close_matches(model, known, n=3))
    return timm.get_pretrained_cfg(model)


def _maps(model: str, size_px: tuple[int, int]) -> tuple[MapSpec, ...]:
    """All that the model can give, from the first layer to the last."""
    with _without_numbers():
        network = create(model, size_px)
        patch_px = getattr(getattr(network, "patch_embed", None), "patch_size", None) or (1, 1)
        if any(side % patch for side, patch in zip(size_px, patch_px, strict=True)):
            raise ValueError(f"patches of {patch_px[0]} px do not fill it")
        features, maps = network.forward_intermediates(torch.empty(2, 3, *size_px))
        found = [*_stages(network, maps)]
        last = maps[-1]
        if features is not last and (shape := _final_shape(features, last)) is not None:
            found.append(MapSpec(column="final", role="region", layer="forward_features", shape=shape))
        pooled = network.forward_head(features, pre_logits=True)
        if isinstance(pooled, Tensor) and pooled[0].numel() == pooled.shape[1]:
            found.append(
                MapSpec(column="pooled", role="global", layer="pre_logits", shape=(pooled.shape[1],), layout="C")
            )
    return tuple(found)


@contextmanager
def _without_numbers() -> Iterator[None]:
    with torch.device("meta"), torch.inference_mode():
        yield


def _stages(network: Any, maps: Sequence[Tensor]) -> Iterator[MapSpec]:
    word = "block" if len({one.shape for one in maps}) == 1 < len(maps) else "stage"
    modules = [one["module"] for one in network.feature_info]
    for number, one in enumerate(maps):
        _, channels, height, width = one.shape
        layer = modules[number] if len(modules) == len(maps) else f"{word} {number}"
        yield MapSpec(column=f"{word}{number}", role="region", layer=layer, shape=(height, width, channels))


def _final_shape(features: Any, last: Tensor) -> tuple[int, int, int] | None:
    """Height, width and channels of what the head reads; None where it is no map as large as the last one."""
    height, width = last.shape[2:]
    if not isinstance(features, Tensor):
        return None
    if features.ndim == 3 and features.shape[1] >= height * width:
        return height, width, features.shape[2]
    if features.ndim == 4 and features.shape[2:] == last.shape[2:]:
        return height, width, features.shape[1]
    if features.ndim == 4 and features.shape[1:3] == last.shape[2:]:
        return height, width, features.shape[3]
    return None


def _usual(maps: Sequence[MapSpec], height_px: int) -> tuple[str, ...]:
    """The last map whose regions lie close enough, then the last of all, then the global one."""
    regions = [one for one in maps if one.role == "region"]
    fine = [one for one in regions if height_px / one.shape[0] <= _STRIDE_PX]
    chosen = [*fine[-1:], regions[-1], *(one for one in maps if one.role == "global")]
    return tuple(dict.fromkeys(one.column for one in chosen))


def _refusal(model: str, config: Any, input_px: int | None, error: Exception) -> UsageError:
    own_px = config.input_size[1]
    told = (str(error).strip() or type(error).__name__).splitlines()[0]
    if input_px is None or input_px == own_px:
        return UsageError(f"backbone.name: timm gives no maps of {model!r} ({told})")
    return UsageError(
        f"backbone.input_px = {input_px}: timm's {model!r} does not take it ({told});",
        expected=f"{own_px}, the model's own, or what divides as that does",
        hint="Use:",
        run=Command(sets={"backbone.input_px": own_px}),
    )
