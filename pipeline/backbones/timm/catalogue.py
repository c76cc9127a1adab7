"""What timm says of its models, kept below the cache folder by its version: asking takes seconds, and torch."""

import importlib.metadata
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.files import own_hash
from pipeline.files.storage import Storage
from pipeline.net.fetch import cache_folder
from schemas.command import Command
from schemas.errors import PipelineError, UsageError
from schemas.features import MapSpec
from schemas.fit import Interpolation

_FORM = 1  # of what is kept; another where `asking` gives something else
_NAME = re.compile(r"\w+(\.\w+)?", re.ASCII)
_FREE = frozenset({"apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0"})
_NOT_FOR_TRADE = re.compile(r"\bnc\b|non-?commercial|research|amlr|seer")

Kept = TypeVar("Kept", bound="_Kept")


class _Kept(BaseModel):
    """A file of the catalogue; `hash` is that of its own bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hash: str = own_hash.BLANK


class Entry(_Kept):
    """One model, for inputs of one size.

    Attributes:
        resize: height and width of the input, in pixels.
        crop_fraction: of the shorter side, that the model was evaluated on.
        repository: of the hub, that has the published weights; None where it has not.
        address: of the weights' file elsewhere; None where there is none.
        licence: of the weights, as timm spells it; None where it says nothing.
        maps: all that the model can give.
        usual: columns that are stored where the settings name none.
    """

    resize: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation
    crop_fraction: float
    repository: str | None
    address: str | None
    licence: str | None
    maps: tuple[MapSpec, ...]
    usual: tuple[str, ...]


class _Names(_Kept):
    """Models with published weights, by name and tag."""

    names: tuple[str, ...]


def version() -> str:
    """Of timm, as it is installed.

    Raises:
        UsageError: it is not.
    """
    try:
        return importlib.metadata.version("timm")
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            "backbones named timm:<model> come with timm, which is not installed",
            hint="Install it: pip install 'biam-pipe[timm]'",
        ) from None


def entry(model: str, input_px: int | None = None) -> Entry:
    """What timm says of a model.

    Args:
        input_px: side of the input; None for the model's own.

    Raises:
        UsageError: timm is not installed, knows no such model, or the model gives no maps of this size.
    """
    if not _NAME.fullmatch(model):
        raise unknown(model, [])
    own = _entry(version(), model, None)
    return own if input_px in (None, own.resize[0]) else _entry(version(), model, input_px)


def names() -> tuple[str, ...]:
    """Models with published weights, by name and tag.

    Raises:
        UsageError: timm is not installed.
    """

    def ask() -> _Names:
        from pipeline.backbones.timm.asking import all_names

        return _Names(names=all_names())

    return _kept(_Names, f"timm/{version()}/names-{_FORM}.json", ask).names


def unknown(model: str, near: list[str]) -> UsageError:
    """The error for a name that timm does not know.

    Args:
        near: names that are like it.
    """
    meant = f"Did you mean {', '.join(map(repr, near))}? " if near else ""
    look = Command("show", ("backbones", "--search", near[0].partition(".")[0] if near else "resnet"))
    return UsageError(
        f"backbone.name: timm {version()} has no model {model!r}", hint=f"{meant}To look for more: {look}"
    )


def terms(licence: str | None) -> str | None:
    """What a user of weights should know of their licence; None where it lets everybody use them."""
    if licence in _FREE:
        return None
    if licence is None or licence == "unknown":
        return "timm names no licence of these weights"
    if _NOT_FOR_TRADE.search(licence):
        return f"licence {licence} forbids commercial use"
    return f"licence {licence} has terms of its own"


@lru_cache(maxsize=64)
def _entry(timm_version: str, model: str, input_px: int | None) -> Entry:
    def ask() -> Entry:
        from pipeline.backbones.timm.asking import ask_for

        return ask_for(model, input_px)

    size = "" if input_px is None else f"-{input_px}"
    return _kept(Entry, f"timm/{timm_version}/{model}{size}-{_FORM}.json", ask)


def _kept(kind: type[Kept], path: str, ask: Callable[[], Kept]) -> Kept:
    """What is kept at a path below the cache folder, else what timm says, kept where that can be."""
    try:
        storage = Storage(str(cache_folder()))
    except PipelineError:  # a user without a home folder: each process asks for itself
        return ask()
    try:
        data = storage.read(path)
        if own_hash.is_whole(data, path):
            return kind.model_validate_json(data)
    except (FileNotFoundError, ValidationError):
        pass
    found = ask()
    try:
        storage.write(path, own_hash.filled(found.model_dump_json(indent=1).encode(), path))
    except PipelineError:  # a folder that is full, or not to be written
        return found
    return found
