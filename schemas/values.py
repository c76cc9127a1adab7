"""Kinds of values that settings have."""

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        ip_network(text, strict=False)  # a ValueError, whose words pydantic passes on
    return texts


def _known_blocks(names: tuple[str, ...]) -> tuple[str, ...]:
    """In the order of the model, so that equal models have equal recipes."""
    known = ("rcb", "scb")
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]!r} is no block, expected some of: {', '.join(known)}")
    return tuple(name for name in known if name in names)


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
Networks = Annotated[Texts, AfterValidator(_networks)]
Block = Annotated[Texts, AfterValidator(_known_blocks)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Seconds = Annotated[float, Field(gt=0.0)]
OfficialSplit = Literal["train", "validation", "test"]
