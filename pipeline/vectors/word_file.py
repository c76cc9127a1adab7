"""Vectors of labels from a file of word vectors, by the rule of `pipeline.vectors.rule`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.net.look import OutsideFile
from pipeline.vectors import location
from pipeline.vectors.embedding import Embedding, embedding
from pipeline.vectors.requested import embed_labels
from pipeline.vectors.rule import alternatives, choose
from pipeline.vectors.source import Bases, Embedded
from schemas.config import EmbedConfig


@dataclass(frozen=True)
class WordFile:
    """A file in the form of GloVe or word2vec, or an array with a list of its words."""

    config: EmbedConfig
    computes = False

    @property
    def stem(self) -> str:
        """Its name without endings."""
        return location.slug(self.config.vectors)

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the user has it, and the list of an array's words."""
        return location.local_files(self.config)

    @property
    def expected(self) -> str:
        """As `location.expected_files`."""
        return location.expected_files(self.config)

    def recipe(self, hashes: Sequence[str]) -> dict[str, str]:
        """The file by its hash, where it is the user's."""
        return {"embed.vectors": location.joint_hash(hashes) if hashes else self.config.vectors}

    def outside_files(self, bases: Mapping[str, str]) -> tuple[OutsideFile, ...]:
        """As `location.outside_files`."""
        return location.outside_files(self.config, bases)

    def without(self, names: Sequence[str]) -> list[int]:
        """Those without a word in the file, where it is here and small enough."""
        file = location.file_here(self.config)
        if file is None or not names or not file.quickly_scanned:
            return []
        groups = [alternatives(name, self.config.overrides) for name in names]
        return file.without([{word for group in of_name for word in group} for of_name in groups])

    def embed(self, names: Sequence[str], bases: Mapping[str, str], device: str) -> Embedded:
        """The l2-normalised mean of the raw vectors of each name's words."""
        del device  # nothing is computed
        groups = [alternatives(name, self.config.overrides) for name in names]
        with location.vectors_file(self.config, bases) as file:
            known = file.read({word for group in groups for words in group for word in words})
            sha256 = file.sha256
        rows = [embedding(choose(group, known.vectors), known.vectors) for group in groups]
        return Embedded(rows, known.dimensions, sha256)

    def requested(self, names: Sequence[str], sha256: str, bases: Bases, device: str) -> dict[str, Embedding]:
        """As `embed_labels`."""
        del device
        return embed_labels(names, self.config, sha256, bases)
