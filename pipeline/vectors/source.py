"""Where the vectors of labels come from: a file of words, or a text tower."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.towers.tower import is_tower
from schemas.config import EmbedConfig
from schemas.random_weights import RANDOM

if TYPE_CHECKING:
    from pipeline.net.look import OutsideFile
    from pipeline.vectors.embedding import Embedding

Bases = Callable[[], AbstractContextManager[Mapping[str, str]]]


@dataclass(frozen=True)
class Embedded:
    """What a source gave.

    Attributes:
        rows: one a name.
        dimensions: of every vector.
        sha256: of the file that they come from, or what stands for it.
        facts: what more there is to tell of it, as JSON values.
    """

    rows: "Sequence[Embedding]"
    dimensions: int
    sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class VectorSource(Protocol):
    """A kind of source, with the settings of section `embed`. Only what computes vectors needs heavy libraries.

    Attributes:
        stem: short name, fit for a file name.
        paths: of the files that the user names, which count by their hashes; none where they are fetched.
        expected: the setting, and where more than one file is sought, for error texts.
        computes: whether a network computes the vectors, on the device that computes features.
    """

    @property
    def stem(self) -> str: ...  # noqa: D102

    @property
    def paths(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def expected(self) -> str: ...  # noqa: D102

    @property
    def computes(self) -> bool: ...  # noqa: D102

    def recipe(self, hashes: Sequence[str]) -> Mapping[str, Any]:
        """What shapes the vectors, where the section's settings do not say it themselves.

        Args:
            hashes: sha256 of the files at `paths`.
        """

    def outside_files(self, bases: Mapping[str, str]) -> "Sequence[OutsideFile]":
        """The files, for whoever looks before they are fetched.

        Args:
            bases: addresses of the servers that data sets run, by name.
        """

    def without(self, names: Sequence[str]) -> list[int]:
        """Positions of names that have no vector, as far as seconds tell.

        Raises:
            PipelineError: no vector can be had at all.
        """

    def embed(self, names: Sequence[str], bases: Mapping[str, str], device: str) -> Embedded:
        """A vector for each name, or none.

        Args:
            bases: as of `outside_files`.
            device: where a network computes, as settings name it.

        Raises:
            PipelineError: the file cannot be had or read.
            IntegrityError: it is not the one that `embed.sha256` names.
        """

    def requested(self, names: Sequence[str], sha256: str, bases: Bases, device: str) -> "dict[str, Embedding]":
        """The same for words that a user types, which are remembered.

        Args:
            sha256: that `embed` gave of the label matrix.
            bases: gives what `embed` takes.

        Raises:
            PipelineError: the file cannot be had or read, or is another by now.
        """


def source_of(config: EmbedConfig) -> VectorSource:
    """The source that the settings name.

    Raises:
        PipelineError: what it needs is not installed.
        UsageError: they name none.
    """
    from pipeline.vectors.text_tower import TextTower
    from pipeline.vectors.word_file import WordFile

    return TextTower(config) if is_tower(config.vectors) else WordFile(config)


def in_vain(config: EmbedConfig) -> dict[str, str]:
    """Settings that are not read, given the others, by dotted key: each with the reason."""
    if not is_tower(config.vectors):
        return {"embed.prompts": f"which is of text towers, and embed.vectors is {config.vectors!r}"}
    found = {"embed.missing": f"which is of files of words, and every label has a vector in {config.vectors}"}
    if f":{RANDOM}" in config.vectors:
        found["embed.sha256"] = "which is of a file, and the weights are random"
    return found
