"""The labels that somebody asks a trained model about: with vectors, or as columns of what it learnt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.backbones import describe, weights
from pipeline.batches.label_space import LabelSpace
from pipeline.inference.model_file import SavedModel
from pipeline.vectors.source import Bases, source_of
from schemas.command import Command
from schemas.config import BackboneConfig, EmbedConfig
from schemas.errors import PipelineError, UsageError
from schemas.features import FeatureSpec
from schemas.readable import hashes_apart


@dataclass(frozen=True)
class AskedLabels:
    """What is scored.

    Attributes:
        names: of the labels that are told.
        vectors: float32 [label, word], of those that are scored.
        words_missing: words without a vector, by name, where others of the name have one.
        columns: of the scores that are told, in the order of the names; None for all.
    """

    names: Sequence[str]
    vectors: NDArray[np.float32]
    words_missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Sequence[int] | None = None


@dataclass(frozen=True)
class Words:
    """Where vectors of words come from.

    Attributes:
        embed: the settings behind the label matrix.
        sha256: of the file behind it.
        bases: gives the addresses of the servers that the data set runs.
        device: where a text tower computes, as settings name it.
    """

    embed: EmbedConfig
    sha256: str
    bases: Bases
    device: str


def asked_labels(asked: Sequence[str] | None, saved: SavedModel, space: LabelSpace, words: Words) -> AskedLabels:
    """What is asked for: labels of the data set have their row of the label matrix, other words are looked up.

    Args:
        asked: names; None for all labels of the data set.
        saved: a model that reads words, or one that scores the labels that it learnt and no other.
        space: labels of the data set.

    Raises:
        UsageError: nothing is asked for, or a name that the model cannot score.
        PipelineError: the word vectors cannot be had, or are not those behind the label matrix.
    """
    if asked is None:
        return AskedLabels(space.name, space.vectors)
    names = list(dict.fromkeys(" ".join(name.split()) for name in asked if name.strip()))
    if not names:
        raise UsageError('predict: no label asked for, expected some. Example: "zebra,street protest"')
    return _with_vectors(names, space, words) if saved.reads_words else _learnt(names, saved, space)


def _with_vectors(names: Sequence[str], space: LabelSpace, words: Words) -> AskedLabels:
    known = dict(zip(space.name, space.vectors, strict=True))
    unknown = [name for name in names if name not in known]
    others = source_of(words.embed).requested(unknown, words.sha256, words.bases, words.device)
    if without := [name for name, one in others.items() if one.vector is None]:
        raise UsageError(
            f"predict: no word of {', '.join(map(repr, without))} has a vector in {words.embed.vectors}, expected one "
            "at least. Leave it out, or name other words: --set embed.overrides.NAME=WORDS"
        )
    vectors = np.array([known[name] if name in known else others[name].vector for name in names], dtype=np.float32)
    return AskedLabels(names, vectors, {name: one.words.missing for name, one in others.items() if one.words.missing})


def _learnt(names: Sequence[str], saved: SavedModel, space: LabelSpace) -> AskedLabels:
    column_of = {name: column for column, name in enumerate(space.name)}
    if strange := [name for name in names if name not in column_of]:
        raise UsageError(
            f"predict: the model {saved.config.name} knows no words, only the {len(space)} labels that it learnt;",
            got=", ".join(map(repr, strange)),
            expected="some of its labels",
            hint="Name none for all of them",
        )
    return AskedLabels(names, space.vectors, columns=[column_of[name] for name in names])


def require_weights(config: BackboneConfig, spec: FeatureSpec, dataset: str) -> None:
    """See that the weights of the backbone here are those behind features.

    Raises:
        PipelineError: they are others, or not here.
    """
    found = weights.sha256(config, describe(config).published)
    if found != spec.weights_sha256:
        got, before = hashes_apart(found, spec.weights_sha256)
        raise PipelineError(
            f"predict: the backbone's weights have sha256 {got}, the features were made with {before} "
            f"({spec.weights});",
            expected="the same",
            hint="Set backbone.weights to those, or run:",
            run=Command("train", dataset=dataset),
        )
