"""Vectors of labels that a user types, as the label matrix would have them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from pipeline.files.storage import sha256_file
from pipeline.vectors.cache import remembered_vectors
from pipeline.vectors.embedding import Embedding, embedding
from pipeline.vectors.reader import WordVectors, read_vectors
from pipeline.vectors.rule import alternatives, choose
from pipeline.vectors.source import vectors_file
from schemas.config import EmbedConfig
from schemas.errors import PipelineError

Bases = Callable[[], AbstractContextManager[Mapping[str, str]]]


def asked_labels(names: Sequence[str], config: EmbedConfig, sha256: str, bases: Bases) -> dict[str, Embedding]:
    """Each name with its vector, by the same rule and out of the same file as the label matrix.

    The file is opened only for words that were never looked up in it.

    Args:
        sha256: hash of the file behind the label matrix.
        bases: gives the addresses of the servers that data sets run.

    Raises:
        PipelineError: the file cannot be had or read, or is another by now.
    """
    groups = {name: alternatives(name, config.overrides) for name in names}
    words = {word for group in groups.values() for some in group for word in some}
    known = remembered_vectors(sha256, words, partial(_read, config, sha256, bases))
    return {name: embedding(choose(group, known), known) for name, group in groups.items()}


def _read(config: EmbedConfig, sha256: str, bases: Bases, words: Collection[str]) -> WordVectors:
    with bases() as addresses, vectors_file(config, addresses) as path:
        if (found := sha256_file(path)) != sha256:
            raise PipelineError(
                f"embed.vectors: {path} has sha256 {found[:16]}..., the label matrix was made from {sha256[:16]}...; "
                "expected the same. Set embed.vectors to that file, or run: biam-pipe train"
            )
        return read_vectors(path, words)
