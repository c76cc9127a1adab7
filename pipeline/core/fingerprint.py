"""Recipes and fingerprints: the same work has the same name, whenever and wherever it is asked for."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.core.task import Stage

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


def piece_fingerprint(recipe: str, outside: Mapping[str, Any], contents: Iterable[str]) -> str:
    """Fingerprint of one piece of work: the recipe and what it reads, from outside and of the stages before it."""
    return fingerprint([recipe, dict(outside), *contents])


def explain(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two documents of one stage (recipe, and what it read from outside), for a user to act on.

    Stages upstream are named last and only where nothing nearer differs: the stage that changed explains itself.
    """
    reasons = []
    if before["version"] != now["version"]:
        reasons.append(f"code version {before['version']} -> {now['version']}")
    old = {**before["settings"], **before["outside"]}
    new = {**now["settings"], **now["outside"]}
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            hashed = _HASH.fullmatch(str(new.get(key)))
            reasons.append(f"{key} changed" if hashed else f"{key} {_short(old.get(key))} -> {_short(new.get(key))}")
    if not reasons:
        names = [name for name in now["upstream"] if before["upstream"].get(name) != now["upstream"][name]]
        reasons += [f"after {name}" for name in names]
    return reasons


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical(value)
    return text if len(text) <= 60 else text[:57] + "..."
