"""Which words are looked up for a label's name.

Source: the rule of the project for GloVe-like vectors. NFKC, lower-case, drop "(...)"; the whole name, else the name
joined by hyphens, else its words (split on space, hyphen, slash, comma and apostrophe-s), of which those found count.
"""

import re
import unicodedata
from collections.abc import Container, Mapping
from dataclasses import dataclass

from pipeline.vectors.overrides import OVERRIDES

_PARENTHESES = re.compile(r"\([^()]*\)")
_SEPARATORS = re.compile(r"['’]s\b|[\s\-/,]+")


@dataclass(frozen=True)
class Words:
    """The words that stand for a label."""

    found: tuple[str, ...]
    missing: tuple[str, ...]


def alternatives(name: str, overrides: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Groups of words to look up for a label's name, best first; the last group may be found in part.

    Args:
        overrides: what the user set; goes before the shipped table. Names are compared after normalisation.
    """
    table = {normalised(key): words for key, words in {**OVERRIDES, **overrides}.items()}
    whole = normalised(name)
    whole = normalised(table.get(whole, whole))
    words = tuple(word for word in _SEPARATORS.split(whole) if word)
    return ((whole,), (whole.replace(" ", "-"),), words) if whole else (words,)


def choose(groups: tuple[tuple[str, ...], ...], vocabulary: Container[str]) -> Words:
    """The first group that is in the vocabulary as a whole, else what is there of the last."""
    for group in groups:
        if group and all(word in vocabulary for word in group):
            return Words(group, ())
    last = groups[-1]
    found = tuple(word for word in last if word in vocabulary)
    return Words(found, tuple(word for word in last if word not in vocabulary))


def normalised(name: str) -> str:
    """The name as names are compared: lower-case, without what stands in parentheses."""
    text = _PARENTHESES.sub(" ", unicodedata.normalize("NFKC", name).lower())
    return " ".join(text.split())
