"""Vectors of labels that a user types, as the label matrix would have them."""

from collections.abc import Collection, Sequence
from functools import partial

from pipeline.vectors.cache import cached_vectors
from pipeline.vectors.embedding import Embedding, embedding
from pipeline.vectors.location import vectors_file
from pipeline.vectors.parser import WordVectors
from pipeline.vectors.rule import alternatives, choose
from pipeline.vectors.source import Bases
from schemas.command import Command
from schemas.config import EmbedConfig
from schemas.errors import PipelineError
from schemas.readable import hashes_apart


def embed_labels(names: Sequence[str], config: EmbedConfig, sha256: str, bases: Bases) -> dict[str, Embedding]:
    """Each name with its vector, by the same rule and out of the same file as the label matrix.

    The file is opened only for words that were never looked up in it.

    Args:
        sha256: hash of the file behind the label matrix.
        bases: gives the addresses of the servers that data sets run.

    Raises:
        PipelineError: the file cannot be had or read, or is another by now.
    """
    groups_of = {name: alternatives(name, config.overrides) for name in names}
    words = {word for groups in groups_of.values() for group in groups for word in group}
    vectors = cached_vectors(sha256, words, partial(_read, config, sha256, bases))
    return {name: embedding(choose(groups, vectors), vectors) for name, groups in groups_of.items()}


def _read(config: EmbedConfig, sha256: str, bases: Bases, words: Collection[str]) -> WordVectors:
    with bases() as addresses, vectors_file(config, addresses) as file:
        if file.sha256 != sha256:
            got, before = hashes_apart(file.sha256, sha256)
            raise PipelineError(
                f"embed.vectors: {file.path} has sha256 {got}, the label matrix was made from {before};",
                expected="the same",
                hint="Set embed.vectors to that file, or run:",
                run=Command("train"),
            )
        return file.read(words)
