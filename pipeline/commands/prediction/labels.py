"""The labels that `predict` scores: those of the data set, or any words; which of them nobody knows is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.engine.graph import Graph
from pipeline.files.inputs import Inputs
from schemas.config import Config
from schemas.errors import UsageError

Kind = Literal["seen", "unseen", "other"]


@dataclass(frozen=True)
class AskedLabels:
    """What is scored.

    Attributes:
        names: of the labels that are told.
        kinds: of those: labels of the data set, or other words.
        vectors: [label, word], of those that are scored.
        unknown: what was asked for and left out: no word of it has a vector, or the model did not learn it.
        words_missing: words without a vector, by name, where others of the label have one.
        columns: of the scores that are told, in the order of the names; None for all.
    """

    names: Sequence[str]
    kinds: Sequence[Kind]
    vectors: NDArray[np.float32]
    unknown: Sequence[str] = ()
    words_missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Sequence[int] | None = None


def asked_labels(
    config: Config, left: Inputs, graph: Graph, asked: Sequence[str] | None, *, reads_words: bool
) -> AskedLabels:
    """What is asked for: labels of the data set have their row of the label matrix, other words are looked up.

    Args:
        asked: None for all labels of the data set.
        reads_words: whether the model scores any words; else those that it learnt alone.

    Raises:
        PipelineError: the vectors are not those behind the label matrix.
        UsageError: no label is asked for, or nobody knows any of them.
    """
    from pipeline.batches.label_space import read_label_space

    space = read_label_space(left)
    roles: list[Kind] = ["seen" if column < space.num_seen else "unseen" for column in range(len(space))]
    if asked is None:
        return AskedLabels(space.name, roles, space.vectors)
    names = list(dict.fromkeys(" ".join(name.split()) for name in asked if name.strip()))
    if not names:
        raise UsageError('predict: no label asked for, expected some. Example: --labels "zebra,street protest"')
    column_of = {name: column for column, name in enumerate(space.name)}
    if not reads_words:
        return _learnt(config, names, roles, column_of, space.vectors)
    others = _looked_up(config, left, graph, [name for name in names if name not in column_of])
    unknown = [name for name, one in others.items() if one is None]
    known = [name for name in names if name not in unknown]
    if not known:
        raise UsageError(
            f"predict: no word of {', '.join(map(repr, unknown))} has a vector in {config.embed.vectors}, expected one "
            "at least. Name other words by --labels"  # embed.overrides is of the settings that a run was trained with
        )
    found = {name: space.vectors[column] for name, column in column_of.items() if name in known}
    found |= {name: vector for name, one in others.items() if one is not None for vector in [one[0]]}
    return AskedLabels(
        known,
        [roles[column_of[name]] if name in column_of else "other" for name in known],
        np.array([found[name] for name in known], dtype=np.float32),
        unknown,
        {name: one[1] for name, one in others.items() if one is not None and one[1]},
    )


def _looked_up(
    config: Config, left: Inputs, graph: Graph, names: Sequence[str]
) -> dict[str, tuple[NDArray[np.float32], Sequence[str]] | None]:
    """By name its vector, and its words without one; None where there is no vector."""
    from pipeline.vectors.source import source_of

    embed = graph["embed"]
    assert embed.stage.service is not None, "vectors may lie on a data set's own server"
    sha256 = left.receipt("embed").facts["vectors_sha256"]
    found = source_of(config.embed).requested(names, sha256, embed.stage.service, config.extract.device)
    return {name: None if one.vector is None else (one.vector, one.words.missing) for name, one in found.items()}


def _learnt(
    config: Config,
    names: Sequence[str],
    roles: Sequence[Kind],
    column_of: Mapping[str, int],
    vectors: NDArray[np.float32],
) -> AskedLabels:
    """Of a model that scores the labels that it learnt and no other."""
    known = [name for name in names if name in column_of]
    unknown = [name for name in names if name not in column_of]
    if not known:
        raise UsageError(
            f"predict: the model {config.model.name} knows no words, only the {len(vectors)} labels that it learnt;",
            got=", ".join(map(repr, names)),
            expected="some of its labels",
            hint="Leave out --labels for all of them",
        )
    columns = [column_of[name] for name in known]
    return AskedLabels(known, [roles[column] for column in columns], vectors, unknown, columns=columns)
