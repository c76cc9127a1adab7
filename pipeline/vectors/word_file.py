"""Vectors of labels from a file of word vectors, by the rule of `pipeline.vectors.rule`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.storage import sha256_once
from pipeline.net.look import OutsideFile
from pipeline.vectors import location
from pipeline.vectors.embedding import Embedding, embedding
from pipeline.vectors.parser import is_quickly_scanned, read_vectors, without_words
from pipeline.vectors.requested import embed_labels
from pipeline.vectors.rule import alternatives, choose
from pipeline.vectors.source import Bases, Embedded
from schemas.config import EmbedConfig


@dataclass(frozen=True)
class WordFile:
    """A file in the form of GloVe or word2vec."""

    config: EmbedConfig
    computes = False

    @property
    def stem(self) -> str:
        """Its name without endings."""
        return location.slug(self.config.vectors)

    @property
    def path(self) -> str | None:
        """Where the user has it."""
        return location.local_file(self.config)

    def recipe(self, sha256: str | None) -> dict[str, str]:
        """The file by its hash, where it is the user's."""
        return {"embed.vectors": sha256 or self.config.vectors}

    def outside_file(self, bases: Mapping[str, str]) -> OutsideFile:
        """As `location.outside_file`."""
        return location.outside_file(self.config, bases)

    def without(self, names: Sequence[str]) -> list[int]:
        """Those without a word in the file, where it is here and small enough."""
        if (path := self.path) is None or not names or not is_quickly_scanned(Path(path)):
            return []
        groups = [alternatives(name, self.config.overrides) for name in names]
        return without_words(Path(path), [{word for group in of_name for word in group} for of_name in groups])

    def embed(self, names: Sequence[str], bases: Mapping[str, str], device: str) -> Embedded:
        """The l2-normalised mean of the raw vectors of each name's words."""
        del device  # nothing is computed
        groups = [alternatives(name, self.config.overrides) for name in names]
        with location.vectors_file(self.config, bases) as path:
            known = read_vectors(path, {word for group in groups for words in group for word in words})
            sha256 = sha256_once(path)
        rows = [embedding(choose(group, known.vectors), known.vectors) for group in groups]
        return Embedded(rows, known.dimensions, sha256)

    def requested(self, names: Sequence[str], sha256: str, bases: Bases, device: str) -> dict[str, Embedding]:
        """As `embed_labels`."""
        del device
        return embed_labels(names, self.config, sha256, bases)
