"""A module is checked against its room's contract when its name is loaded, in every room, for each member in turn."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from dags import DAGS
from pipeline.backbones import BACKBONES
from pipeline.datasets import DATASETS
from pipeline.engine.registry import Registry, attributes, functions
from pipeline.metrics import PROTOCOLS
from pipeline.models import MODELS
from pipeline.stores import STORES
from schemas.errors import UsageError

ROOMS: list[tuple[Registry[Any], str]] = [
    (BACKBONES, "tiny"), (DATASETS, "folder"), (DAGS, "folder"), (STORES, "parquet"), (MODELS, "ridge"),
    (PROTOCOLS, "nuswide"),
]  # fmt: skip


def members(room: Registry[Any]) -> Iterator[str]:
    """What the room's contract asks for."""
    yield from (*attributes(room.contract), *functions(room.contract))


def copied(room: Registry[Any], name: str, **changes: object) -> Registry[Any]:
    """A registry of the same contract, whose one module has all of another but for some members; None for no such."""
    module = ModuleType("of_a_stranger")
    theirs = {key: value for key, value in vars(room.load(name)).items() if not key.startswith("__")}
    module.__dict__.update({**theirs, **changes})
    for gone in [member for member, value in changes.items() if value is None]:
        del module.__dict__[gone]
    sys.modules[module.__name__] = module
    return Registry(room.kind, {"theirs": module.__name__}, room.contract, room.room)


@pytest.mark.parametrize("room", [room for room, _ in ROOMS], ids=lambda room: room.kind)
def test_every_module_of_ours_fulfils_its_contract(room: Registry[Any]) -> None:
    for name in room:
        room.load(name)


CASES = [(room, name, member) for room, name in ROOMS for member in members(room)]


@pytest.mark.parametrize(("room", "name", "member"), CASES, ids=lambda value: getattr(value, "kind", value))
def test_a_module_without_a_member_is_refused_by_its_name(room: Registry[Any], name: str, member: str) -> None:
    copied(room, name).load("theirs")
    told = rf"^{room.kind} 'theirs' of biam-pipe: it has no (function )?{member}\. .*(contract\..*|Dag) says"
    with pytest.raises(UsageError, match=told):
        copied(room, name, **{member: None}).load("theirs")


def test_a_function_with_other_arguments_is_refused() -> None:
    told = r"it has build\(config\), expected the arguments of build\(settings, sizes\)"
    with pytest.raises(UsageError, match=told):
        copied(MODELS, "ridge", build=lambda config: config).load("theirs")


def test_names_of_a_family_are_all_of_one_module() -> None:
    room: Registry[Any] = Registry(
        "backbone", {"tiny": "pipeline.backbones.tiny"}, BACKBONES.contract, "backbones", families={"tiny": "<size>"}
    )
    assert list(room) == ["tiny:<size>"]
    assert room.load("tiny:large") is BACKBONES.load("tiny")
    assert room.recipe("tiny:large") == {}
    for alone in ("tiny", "tiny:", "large"):
        with pytest.raises(UsageError, match="tiny:<size>"):
            room.load(alone)
