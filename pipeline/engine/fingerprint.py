"""Recipes and fingerprints: the same work has the same name, whenever and wherever it is asked for."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from pipeline.engine.task import Stage

_HASH = re.compile("[0-9a-f]{64}")
FP8 = 8  # hex digits of a recipe that names of folders carry


def canonical(value: Any) -> str:
    """JSON text with one spelling for each value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def recipe_document(stage: Stage, upstream: Mapping[str, str]) -> dict[str, Any]:
    """Everything that shapes the output of a stage by choice, as JSON. Its fingerprint is the recipe fingerprint.

    Args:
        upstream: recipe fingerprint of each stage upstream.
    """
    return {
        "stage": stage.name,
        "version": stage.version,
        "settings": json.loads(canonical(dict(stage.recipe))),
        "upstream": dict(upstream),
    }


def task_fingerprint(recipe: str, outside: Mapping[str, Any], contents: Iterable[str]) -> str:
    """Fingerprint of one task: the recipe and what it reads, from outside and of the stages before it."""
    return fingerprint([recipe, dict(outside), *contents])


def explain(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two documents of one stage (recipe, and what it read from outside), for a user to act on.

    Stages upstream are named last and only where nothing nearer differs: the stage that changed explains itself.
    """
    reasons = []
    if before["version"] != now["version"]:
        reasons.append(f"code version {before['version']} -> {now['version']}")
    reasons += changes(before["settings"], now["settings"])
    reasons += _outside_changes(before["outside"], now["outside"])
    if not reasons:
        names = [name for name in now["upstream"] if before["upstream"].get(name) != now["upstream"][name]]
        reasons += [f"after {name}" for name in names]
    return reasons


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two sets of settings by dotted key, such as "train.lr 0.001 -> 0.0002"."""
    return [_change(key, old, new) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]


def _change(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if _hashed(new.get(key)):
        return f"{key} changed"
    return f"{key} {_short(old[key])} -> {_short(new.get(key))}" if key in old else f"{key} is new: {_short(new[key])}"


def _outside_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs of what is read from outside: settings, and files that have other bytes under the same name.

    Another name of a file, and another hash of all files together, are told where nothing of that kind differs only:
    the setting that names another file says it already.
    """
    followed = {key for key in old.keys() | new.keys() if _hashed(old.get(key, new.get(key)))}
    replaced = {key for key in followed if key in old and key in new and PurePath(key).is_absolute()}
    told = [{key: value for key, value in one.items() if key not in followed - replaced} for one in (old, new)]
    if told_apart := changes(*told):
        return told_apart
    differing = [key for key in sorted(followed) if old.get(key) != new.get(key)]
    return [f"{key} {'is new' if key not in old else 'is gone' if key not in new else 'changed'}" for key in differing]


def _hashed(value: Any) -> bool:
    return _HASH.fullmatch(str(value)) is not None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 60 else text[:57] + "..."
