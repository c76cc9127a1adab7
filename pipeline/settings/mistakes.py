"""What is wrong with a setting, in words: which one, what it got, what it may be, and what to type."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from pipeline.datasets import DATASETS
from pipeline.engine.registry import Registry
from pipeline.models import MODELS
from schemas.command import Command
from schemas.config import Config
from schemas.errors import UnfitError, UsageError, unknown_name

Schema = Mapping[str, Any]
_KINDS = {
    "integer": "a whole number",
    "number": "a finite number",
    "string": "a text",
    "boolean": "true or false",
    "object": "a table",
    "null": "null",
}
_NOW = {  # settings of before, and what became of them
    "dataset.setting": "It is now dataset.task",
    "download.concurrency": "It is now download.requests",
    "download.host_concurrency": "It is now download.host_requests",
    "engine.network_workers": "It is now engine.io_workers",
    "report.examples": "It is now evaluate.examples",
    "report.seed": "It is now evaluate.examples_seed",
    "train.loader": "It is gone: threads read ahead, see train.loader_workers",
    "train.resident": "It is now train.feature_cache",
}
_BOUNDS = {
    "exclusiveMinimum": "more than",
    "minimum": "at least",
    "exclusiveMaximum": "less than",
    "maximum": "at most",
}


def explain(error: ValidationError, shape: type[Config]) -> UsageError:
    """The error of the first thing wrong, with what would be right.

    Args:
        shape: what the configuration was to be.
    """
    first = error.errors()[0]
    place, told = first["loc"], first.get("ctx", {}).get("error")  # `told` is a text of `schemas`
    if first["type"] == "extra_forbidden":
        return _renamed(_key(place), first["input"]) or _unknown(place, shape)
    if place[-1] == "[key]":
        return _unknown(place[:-1], shape)
    if isinstance(told, UnfitError):  # several settings that do not go together: the text names them
        return UsageError(str(told), hint="Use:", run=Command(sets=told.sets))
    if told is not None and len(place) == 1:
        return UsageError(str(told))
    key = _key(place)
    if told is not None:
        return UsageError(f"setting {key}: {told}")
    schema, default = _allowed(place, shape)
    what, got, expected = f"setting {key}:", repr(first["input"]), _expected(schema)
    in_list = any(isinstance(part, int) for part in place[:-1])  # where no key leads to
    if in_list or (default is None and "anyOf" not in schema):  # a key that the user made up
        return UsageError(what, got=got, expected=expected)
    return UsageError(what, got=got, expected=expected, hint="Use:", run=Command(sets={key: default}))


def _renamed(key: str, value: object) -> UsageError | None:
    """The error about a setting that is no more, also where its whole section is; None where there was none such."""
    keys = [key, *(f"{key}.{name}" for name in value)] if isinstance(value, dict) else [key]
    return next((UsageError(f"unknown setting {key!r}", hint=_NOW[key]) for key in keys if key in _NOW), None)


def _unknown(place: Sequence[int | str], shape: type[Config]) -> UsageError:
    key = _key(place)
    if len(place) == 1:
        return unknown_name("section", key, Config.model_fields)
    schema = _allowed(place[:-1], shape)[0]
    names = schema["properties"] if "properties" in schema else schema["propertyNames"]["enum"]
    known = [f"{_key(place[:-1])}.{name}" for name in names]
    near, others = get_close_matches(key, known, n=1), _others_with(place)
    nearest = f"Did you mean {near[0]!r}? " if near and not others else ""
    whose = f": it is one of the {place[0]} {' and '.join(others)}" if others else ""
    return UsageError(f"unknown setting {key!r}{whose}", hint=f"{nearest}Known: {', '.join(known)}")


def _others_with(place: Sequence[int | str]) -> list[str]:
    """Names of data sets or models that have a setting which the chosen one has not."""
    rooms: dict[int | str, Registry[Any]] = {"dataset": DATASETS, "model": MODELS}
    room = rooms.get(place[0])
    if room is None or len(place) != 2:
        return []
    return [name for name in room.ours if place[1] in room.load(name).SETTINGS.model_fields]


def _key(place: Sequence[int | str]) -> str:
    """The setting as one types it; a place within a list is none."""
    return ".".join(part for part in place if isinstance(part, str))


def _allowed(place: Sequence[int | str], shape: type[Config]) -> tuple[Schema, Any]:
    """The JSON schema of what stands at a place of the configuration, and the default of the setting there."""
    whole = shape.model_json_schema()
    here, default = whole, None
    for part in place:
        here = _inner(here, part)
        if "$ref" in here:
            here = whole["$defs"][here["$ref"].rpartition("/")[2]]
        if isinstance(default, dict):
            default = default.get(part)
        default = here.get("default", default)
    return here, default


def _inner(schema: Schema, part: int | str) -> dict[str, Any]:
    if isinstance(part, str):
        inner: dict[str, Any] = schema["properties"][part] if "properties" in schema else schema["additionalProperties"]
        return inner
    listed = next(one for one in (schema, *schema.get("anyOf", ())) if one.get("type") == "array")
    items: dict[str, Any] = listed["prefixItems"][part] if "prefixItems" in listed else listed["items"]
    return items


def _expected(schema: Schema) -> str:
    """What a JSON schema allows."""
    if "anyOf" in schema:
        return ", or ".join(_expected(one) for one in schema["anyOf"])
    if "description" in schema:
        return str(schema["description"])
    if "enum" in schema:
        return f"one of: {', '.join(schema['enum'])}"
    if "const" in schema:
        return repr(schema["const"])
    if schema["type"] == "array":
        fixed = schema.get("prefixItems")
        items = f"a list of {len(fixed)} items" if fixed else "a list"
        return f"{items}, each {_expected(fixed[0] if fixed else schema['items'])}"
    bounds = " and ".join(f"{words} {_figure(schema[name])}" for name, words in _BOUNDS.items() if name in schema)
    return _KINDS[schema["type"]] + (f", {bounds}" if bounds else "")


def _figure(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
