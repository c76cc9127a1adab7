"""One l2-normalised vector a label, from a file of word vectors or a text tower (`pipeline.vectors`): stage `embed`.

A label of which no word is known has no vector, never a row of zeros; `embed.missing` says what to make of it. A label
that the data set lists no more keeps its row, with a vector or without one: nobody reads it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline.batches.label_space import TAKING_PART, listed_roles
from pipeline.datasets import DATASETS
from pipeline.engine.sources import Sources, require_unchanged
from pipeline.engine.task import Output, Stage, Task, place_of
from pipeline.files.inputs import OutputFile
from pipeline.files.tables import content_hash, write_table
from pipeline.net.fetch import fetching
from pipeline.vectors.embedding import Embedding
from pipeline.vectors.source import source_of
from schemas.command import Command
from schemas.config import Config, DownloadConfig, EmbedConfig
from schemas.errors import PipelineError
from schemas.section import recipe
from schemas.status import LabelRole
from schemas.tables import EMBEDDINGS, embeddings

VERSION = 2

Label = Mapping[str, Any]

_SHOWN_LABELS = 5
_log = logging.getLogger("biam_pipe.embed")


@dataclass(frozen=True)
class Settings:
    """What `run` needs.

    Attributes:
        sources: sha256 of the user's file of vectors or weights, and of the list of an array's words, by path; empty
            where they are fetched.
        device: where a text tower computes.
    """

    embed: EmbedConfig
    download: DownloadConfig = field(default_factory=DownloadConfig)
    sources: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"


def stage(config: Config, sources: Sources) -> Stage:
    """The stage of these settings. A file of vectors or of a tower's weights counts by its hash, whatever its path."""
    vectors = source_of(config.embed)
    hashes = sources.hashes(vectors.paths, vectors.expected)
    stem = vectors.stem + "-{fp8}"
    return Stage(
        name="embed",
        version=VERSION,
        recipe={**recipe("embed", config.embed), **vectors.recipe(tuple(hashes.values()))},
        settings=Settings(config.embed, config.download, hashes, config.extract.device),
        run=run,
        # The split tells which labels are still listed, and a draw which of them take part.
        upstream={"index": "whole", **dict.fromkeys(config.split.role_stages, "whole")},
        reads=_reads(config),
        outputs={"embeddings": OutputFile(f"{{folder}}/{stem}.parquet", EMBEDDINGS)},
        place=place_of(config.extract.device) if vectors.computes else "compute",
        folder="embeddings",
        record=f"{stem}.stage",
        service=partial(DATASETS.load(config.dataset.name).base_addresses, config.dataset),
        require=partial(_require, config),
    )


def _reads(config: Config) -> dict[str, str]:
    """Of a draw of unseen labels which take part, unless it counts, too, which of them are unseen."""
    drawn = "unseen" in config.split.role_stages and config.embed.missing != "unseen-excluded"
    return {"unseen": TAKING_PART} if drawn else {}


def _require(config: Config, scheduler: str | None) -> None:
    """See that labels have vectors, where that is told in seconds: else the stage itself says so.

    It comes right after the index, before the first shard of features.

    Raises:
        PipelineError: a label that needs a vector has none, or no vector can be had at all.
    """
    del scheduler  # the file is one of this machine
    told_now = config.dataset.labels_here and config.split.unseen_seed is None  # else the index counts their images
    labels = DATASETS.load(config.dataset.name).labels(config.dataset) if told_now else []
    without = [labels[number] for number in source_of(config.embed).without([label.name for label in labels])]
    _refuse_missing(config.embed, [(label.name, label.role) for label in without], len(labels))
    if without:
        names = _named([label.name for label in without])
        _log.warning(
            "embed: %d of %d labels have no word in %s: %s", len(without), len(labels), config.embed.vectors, names
        )


def run(task: Task) -> list[Output]:
    """Write the label matrix.

    Raises:
        PipelineError: the vectors cannot be had or read, or a label that needs one has no vector.
        IntegrityError: the file of vectors is not the one that `embed.sha256` names, or that the run began with.
    """
    config: EmbedConfig = task.settings.embed
    labels = task.inputs.table("index", "labels").to_pylist()
    names = [label["name"] for label in labels]
    with fetching(task.settings.download):
        found = source_of(config).embed(names, task.bases, task.settings.device)
        require_unchanged(task.settings.sources)
    rows = found.rows
    roles = _roles(task)
    listed = [(label, row) for label, row in zip(labels, rows, strict=True) if label["label_index"] in roles]
    without = [(label["name"], roles[label["label_index"]]) for label, row in listed if row.vector is None]
    _refuse_missing(config, without, len(listed))
    table = _table(labels, rows, found.dimensions)
    write_table(task.storage, task.path("embeddings"), table)
    told = {"dimensions": found.dimensions, "vectors_sha256": found.sha256, **found.facts}
    facts = {**_coverage([row for _, row in listed]), **told}
    return [Output(("embeddings",), len(rows), content=content_hash(table), facts=facts)]


def _refuse_missing(config: EmbedConfig, without: Sequence[tuple[str, str]], labels: int) -> None:
    """Refuse labels without a vector, unless the settings leave them out.

    Args:
        without: their names and roles.
        labels: how many there are in all.
    """
    if config.missing == "drop":
        return
    kind = "labels"
    if config.missing == "unseen-excluded":
        without = [(name, role) for name, role in without if role != LabelRole.UNSEEN]
        kind = "seen labels"
    if without:
        names = _named([name for name, _ in without])
        raise PipelineError(
            f"embed: {len(without)} {kind} of {labels} have no word in {config.vectors}: {names};",
            expected="one at least",
            hint="Name other words under [embed.overrides], or leave them out:",
            run=Command(sets={"embed.missing": "drop"}),
        )


def _named(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN_LABELS])) + (", ..." if len(names) > _SHOWN_LABELS else "")


def _roles(task: Task) -> dict[int, str]:
    """Roles by label index: of the labels that take part now, which may be fewer than the index keeps."""
    roles = listed_roles(task.inputs)
    return dict(zip(roles["label_index"].to_pylist(), roles["role"].to_pylist(), strict=True))


def _table(labels: Sequence[Label], rows: Sequence[Embedding], dimensions: int) -> pa.Table:
    columns = {
        "label_index": [label["label_index"] for label in labels],
        "label_id": [label["label_id"] for label in labels],
        "vector": [row.vector for row in rows],
        "words_found": [row.words.found for row in rows],
        "words_missing": [row.words.missing for row in rows],
    }
    return pa.table(columns, schema=embeddings(dimensions))


def _coverage(rows: Sequence[Embedding]) -> dict[str, int]:
    without = sum(row.vector is None for row in rows)
    partial = sum(row.vector is not None and bool(row.words.missing) for row in rows)
    return {"labels": len(rows), "complete": len(rows) - partial - without, "partial": partial, "without": without}
