"""One word vector a label, by the rule of `pipeline.vectors.rule`: stage `embed`.

The vector of a label is the l2-normalised mean of the raw vectors of its words. A label of which no word is known has
no vector, never a row of zeros; `embed.missing` says what to make of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.storage import sha256_file
from pipeline.core.tables import content_hash, read_table, write_table
from pipeline.core.task import Edge, Output, Task
from pipeline.vectors.reader import WordVectors, read_vectors
from pipeline.vectors.rule import Words, alternatives, choose
from pipeline.vectors.source import local_file, slug, vectors_file
from schemas.config import EmbedConfig
from schemas.errors import PipelineError
from schemas.status import LabelRole
from schemas.tables import embeddings

VERSION = 1

Label = Mapping[str, Any]

_SHOWN_LABELS = 5


@dataclass(frozen=True)
class Settings:
    """What `run` needs."""

    embed: EmbedConfig


@dataclass(frozen=True)
class _Embedding:
    """A label's words, and the vector [word] they give, if any."""

    words: Words
    vector: NDArray[np.float32] | None


def upstream(config: EmbedConfig) -> dict[str, Edge]:
    """What the stage reads. Only `unseen-excluded` has to know which labels are unseen."""
    edges: dict[str, Edge] = {"index": "whole"}
    return edges | {"split": "whole"} if config.missing == "unseen-excluded" else edges


def sources(config: EmbedConfig) -> tuple[str, ...]:
    """Paths of outside files that shape the output."""
    path = local_file(config)
    return () if path is None else (path,)


def record(config: EmbedConfig) -> str:
    """Stem of the stage's files, `<vectors>-{fp8}`."""
    return slug(config.vectors) + "-{fp8}"


def run(task: Task) -> list[Output]:
    """Write the label matrix.

    Raises:
        PipelineError: the vectors cannot be had or read, or a label that needs one has no vector.
        IntegrityError: the file of vectors is not the one that `embed.sha256` names.
    """
    config: EmbedConfig = task.settings.embed
    labels = read_table(task.storage, task.inputs["index"][0].files[0].path).to_pylist()
    groups = [alternatives(label["name"], config.overrides) for label in labels]
    with vectors_file(config, task.bases) as path:
        known = read_vectors(path, {word for group in groups for words in group for word in words})
        vectors_sha256 = sha256_file(path)
    rows = [_embedding(choose(group, known.vectors), known) for group in groups]
    _refuse_missing(task, config, labels, rows)
    file = task.path("embed", record(config).format(fp8=task.recipe[:8]) + ".parquet")
    table = _table(labels, rows, known.dimensions)
    write_table(task.storage, file, table)
    facts = {**_coverage(rows), "dimensions": known.dimensions, "vectors_sha256": vectors_sha256}
    return [Output((file,), len(rows), content=content_hash(table), facts=facts)]


def _embedding(words: Words, known: WordVectors) -> _Embedding:
    if not words.found:
        return _Embedding(words, None)
    mean = np.mean([known.vectors[word].astype(np.float64) for word in words.found], axis=0)
    norm = np.linalg.norm(mean)
    # Words whose vectors cancel out say nothing together; dividing by their norm would only scale rounding errors.
    return _Embedding(words, (mean / norm).astype(np.float32) if norm > np.finfo(np.float32).eps else None)


def _refuse_missing(task: Task, config: EmbedConfig, labels: Sequence[Label], rows: Sequence[_Embedding]) -> None:
    if config.missing == "drop":
        return
    without = [label for label, row in zip(labels, rows, strict=True) if row.vector is None]
    kind = "labels"
    if config.missing == "unseen-excluded":
        unseen = _unseen(task)
        without = [label for label in without if label["label_index"] not in unseen]
        kind = "seen labels"
    if without:
        names = ", ".join(repr(label["name"]) for label in without[:_SHOWN_LABELS])
        more = ", ..." if len(without) > _SHOWN_LABELS else ""
        raise PipelineError(
            f"embed: {len(without)} {kind} of {len(labels)} have no word in {config.vectors}: {names}{more}; expected "
            "one at least. Leave them out with --set embed.missing=drop, or name other words under [embed.overrides]"
        )


def _unseen(task: Task) -> set[int]:
    roles = read_table(task.storage, task.inputs["split"][0].files[0].path).to_pylist()
    return {row["label_index"] for row in roles if row["role"] == LabelRole.UNSEEN}


def _table(labels: Sequence[Label], rows: Sequence[_Embedding], dimensions: int) -> pa.Table:
    columns = {
        "label_index": [label["label_index"] for label in labels],
        "label_id": [label["label_id"] for label in labels],
        "vector": [row.vector for row in rows],
        "words_found": [row.words.found for row in rows],
        "words_missing": [row.words.missing for row in rows],
    }
    return pa.table(columns, schema=embeddings(dimensions))


def _coverage(rows: Sequence[_Embedding]) -> dict[str, int]:
    without = sum(row.vector is None for row in rows)
    partial = sum(row.vector is not None and bool(row.words.missing) for row in rows)
    return {"labels": len(rows), "complete": len(rows) - partial - without, "partial": partial, "without": without}
