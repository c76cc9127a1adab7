"""Whose an image is and on what terms, as a page says it under the image, for data sets that know."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.files.inputs import Inputs

_LINKED = ("https://", "http://")
_CREATIVE_COMMONS = re.compile(r"https?://creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/([\d.]+)/?")


@dataclass(frozen=True)
class Credit:
    """What a data set says of an image's author; each empty where it does not.

    Attributes:
        licence: its name, or the address of its text.
        landing_page: the address of the page that shows the image.
    """

    author: str
    licence: str
    landing_page: str

    @property
    def licence_name(self) -> str:
        """Such as CC BY 2.0."""
        if (found := _CREATIVE_COMMONS.fullmatch(self.licence)) is None:
            return self.licence
        return f"CC {'0' if found[1] == 'zero' else found[1].upper()} {found[2]}"

    @property
    def licence_link(self) -> str | None:
        """Where the licence can be read."""
        return _link(self.licence)

    @property
    def landing_link(self) -> str | None:
        """Where the image is shown."""
        return _link(self.landing_page)


def credits_of(inputs: Inputs, places: Iterable[tuple[int, int]]) -> Mapping[tuple[int, int], Credit]:
    """What is known of the images in these shards and rows, by shard and row.

    Raises:
        IntegrityError: a file of it is damaged.
    """
    wanted: dict[int, list[int]] = {}
    for shard, row in places:
        if inputs.names("index", "credits", shard):
            wanted.setdefault(shard, []).append(row)
    found = {}
    for shard, rows in wanted.items():
        told = inputs.table("index", "credits", shard).take(rows).to_pylist()
        for row, values in zip(rows, told, strict=True):
            texts = (values["author"] or "", values["licence"] or "", values["landing_page"] or "")
            if any(texts):
                found[shard, row] = Credit(*texts)
    return found


def _link(address: str) -> str | None:
    """An address from a file of somebody's, if nothing but a page can be behind it."""
    return address if address.startswith(_LINKED) else None
