"""The query of an address, read strictly: what it does not know is a mistake that the page tells."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlencode

from pipeline.viewing.gallery import WAITING
from pipeline.viewing.scores import RIGHT, WRONG
from schemas.errors import UsageError, unknown_name
from schemas.status import ImageSplit, ImageStatus

STATUSES = ("failed", WAITING, *map(str, ImageStatus))
SPLITS = (*map(str, ImageSplit), "none")
OUTCOMES = (RIGHT, WRONG, "missing")
ROLES = ("seen", "unseen")
SORTS = ("ap", "name", "positives", "gain")
_MOST_DIGITS = 9


@dataclass(frozen=True)
class Query:
    """What an address asks for; empty where it does not say.

    Attributes:
        run: name of the run.
        against: name of another one.
        split: of images.
        status: of images.
        label: words, a label's name or id.
        outcome: of images.
        role: of labels.
        sort: by what labels are listed.
        page: from 1 on.
        map: label index whose response map is shown.
    """

    run: str = ""
    against: str = ""
    split: str = ""
    status: str = ""
    label: str = ""
    outcome: str = ""
    role: str = ""
    sort: str = ""
    page: int = 1
    map: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Query":
        """That of an address.

        Raises:
            UsageError: a name that nothing has, a value that is none of the closed list, or no number.
        """
        names = [one.name for one in fields(cls)]
        if stray := next((name for name in given if name not in names), None):
            raise unknown_name("word of an address", stray, names)
        lists = {"split": SPLITS, "status": STATUSES, "outcome": OUTCOMES, "role": ROLES, "sort": SORTS}
        for name, known in lists.items():
            if given.get(name) and given[name] not in known:
                raise unknown_name(name, given[name], known)
        numbers = {name: _number(name, given[name]) for name in ("page", "map") if given.get(name)}
        words = {name: given[name].strip() for name in names if name in given and name not in ("page", "map")}
        told: dict[str, Any] = {**words, "page": max(1, numbers.get("page", 1)), "map": numbers.get("map")}
        return cls(**told)

    def with_(self, **changes: str | int | None) -> str:
        """The same with some changes as the end of an address; on the first page, where no other is asked for."""
        told = {one.name: getattr(self, one.name) for one in fields(self)} | {"page": 1, "map": None} | changes
        kept = {name: value for name, value in told.items() if value not in ("", None) and (name, value) != ("page", 1)}
        return f"?{urlencode(kept)}" if kept else "?"


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise UsageError(f"{name}:", got=repr(text), expected="a number")
    return int(text)
