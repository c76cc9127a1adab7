"""What all sections of the settings have in common, and what each setting says of itself: what it means and decides.

A field is declared as `Recipe[...]`, `Content[...]` or `Steers[...]`, with a docstring below it that explains it; one
without either fails a test.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from textwrap import dedent
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Value = TypeVar("Value")

_PREFIXED = re.compile(r"(.*=|open_clip:[^:]*:)?(.*)", re.DOTALL)


class Decides(Enum):
    """What a setting decides."""

    RECIPE = "the numbers: another value is another recipe"
    CONTENT = "which images and labels there are: another value dirties the shards that change, and no other"
    STEERS = "how the work is done, never what comes out"


@dataclass(frozen=True)
class Older:
    """Beside a mark: fingerprints from before the setting was called so keep their digits.

    Attributes:
        name: by which they know it; None where there was none such, and it is left out while it has its default.
    """

    name: str | None = None


class Names(Enum):
    """Beside a mark: what a setting names."""

    FILES = "files or folders of this machine, where it names no address: in a TOML file they count from its folder"


Recipe = Annotated[Value, Decides.RECIPE]
Content = Annotated[Value, Decides.CONTENT]
Steers = Annotated[Value, Decides.STEERS]


class Section(BaseModel):
    """Base of all sections: frozen; an unknown key is an error, and so is a number that is not finite, or true."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, field: ValidationInfo) -> Any:
        """True and false are no numbers, though Python counts them as 1 and 0."""
        if isinstance(value, bool) and not _may_be_bool(cls.model_fields[str(field.field_name)].annotation):
            raise PydanticCustomError("bool", "neither true nor false")
        return value


def _may_be_bool(kind: Any) -> bool:
    return kind in (bool, Any) or any(map(_may_be_bool, get_args(kind)))


def recipe(name: str, section: Section) -> dict[str, Any]:
    """The settings of a section that belong to a recipe, by dotted key, as JSON values."""
    return _deciding(Decides.RECIPE, name, section)


def content(name: str, section: Section) -> dict[str, Any]:
    """The settings of a section that decide which images and labels there are, by dotted key, as JSON values."""
    return _deciding(Decides.CONTENT, name, section)


def is_recipe(section: Section, key: str) -> bool:
    """Whether a section has a setting of this name that belongs to a recipe."""
    field = type(section).model_fields.get(key)
    return field is not None and Decides.RECIPE in field.metadata


def flaw(section: Any, base: type[Section]) -> str | None:
    """What is wrong with a class of settings that is not ours, in words; None where all is as it should be."""
    if not (isinstance(section, type) and issubclass(section, base)):
        return f"has SETTINGS = {section!r}, expected a class below {base.__name__}"
    for key, field in section.model_fields.items():
        if field.is_required():
            return f"has a setting {key} without a default"
        if sum(isinstance(mark, Decides) for mark in field.metadata) != 1:
            return f"has a setting {key} that does not say what it decides: Recipe[...], Content[...] or Steers[...]"
    return None


def explanations(section: type[Section]) -> dict[str, str]:
    """What each setting of a section means, by key: the docstring below it, else that of the class below, on one line.

    Read from the source when it is wanted. Pydantic would do so in every process that knows of settings, in 50 ms.
    """
    found: dict[str, str] = {}
    for base in reversed(section.__mro__[: section.__mro__.index(Section)]):
        found |= _explained(base)
    return found


def _explained(section: type) -> dict[str, str]:
    (definition,) = ast.parse(dedent(inspect.getsource(section))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


def files_named(config: BaseModel) -> Iterator[str]:
    """Files and folders of this machine that settings name, as they are written, without what stands before a path."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from files_named(value)
        elif Names.FILES in field.metadata:
            yield from (path for text in _texts(value) if "://" not in (path := prefixed(text)[1]))


def prefixed(text: str) -> tuple[str, str]:
    """What stands before a path, and the path: of a folder the prefix of its ids, of weights the tower they are for."""
    found = _PREFIXED.fullmatch(text)
    assert found is not None, "every text has a path at its end"
    return found[1] or "", found[2]


def _texts(value: Any) -> Iterator[str]:
    """A text, each of a list, or each of a table."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for item in value.values() for text in _texts(item))
    elif isinstance(value, Iterable):
        yield from (text for item in value for text in _texts(item))


def _deciding(what: Decides, name: str, section: Section) -> dict[str, Any]:
    found = {}
    for key, value in section.model_dump(mode="json").items():
        field = type(section).model_fields[key]
        older = next((mark.name for mark in field.metadata if isinstance(mark, Older)), key)
        unsaid = older is None and getattr(section, key) == field.default
        if what in field.metadata and not unsaid:
            found[f"{name}.{older or key}"] = value
    return found
