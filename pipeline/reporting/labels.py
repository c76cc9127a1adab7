"""Labels on the page: their names, the word vectors found for them, and how well each was ranked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import pyarrow as pa

from schemas.status import LabelRole

_ROLES = (str(LabelRole.UNSEEN), str(LabelRole.SEEN))  # the unseen ones are what the page is about


@dataclass(frozen=True)
class LabelNames:
    """All that the page knows of the label space: names and roles by label index."""

    names: Mapping[int, str]
    roles: Mapping[int, str]

    def with_role(self, role: str) -> list[int]:
        """Indices of the labels with that role, in order."""
        return [index for index in sorted(self.names) if self.roles.get(index) == role]


def label_names(labels: pa.Table, roles: pa.Table) -> LabelNames:
    """Names from labels.parquet, and the roles of a split."""
    return LabelNames(
        names=dict(zip(labels["label_index"].to_pylist(), labels["name"].to_pylist(), strict=True)),
        roles=dict(zip(roles["label_index"].to_pylist(), roles["role"].to_pylist(), strict=True)),
    )


@dataclass(frozen=True)
class WordCoverage:
    """Labels of one role by how many of their words have a vector."""

    role: str
    labels: int
    all_words: int
    some_words: int
    no_word: int


@dataclass(frozen=True)
class Gap:
    """A label that lacks the vector of a word."""

    name: str
    role: str
    found: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class LabelMatrix:
    """How well word vectors cover the label space."""

    dimensions: int
    coverage: tuple[WordCoverage, ...]
    gaps: tuple[Gap, ...]


def label_matrix(embeddings: pa.Table, space: LabelNames) -> LabelMatrix:
    """Coverage of the label space by an embeddings table; a label without a row or a vector counts as `no_word`."""
    rows = {row["label_index"]: row for row in embeddings.drop_columns(["vector"]).to_pylist()}
    absent = set(embeddings.filter(embeddings["vector"].is_null())["label_index"].to_pylist())
    usable = {index: row for index, row in rows.items() if index not in absent}
    coverage, gaps = [], []
    for role in _ROLES:
        indices = space.with_role(role)
        partial = [index for index in indices if index in usable and usable[index]["words_missing"]]
        without = [index for index in indices if index not in usable]
        whole = len(indices) - len(partial) - len(without)
        coverage.append(WordCoverage(role, len(indices), whole, len(partial), len(without)))
        for index in without + partial:
            row = rows.get(index, {"words_found": [], "words_missing": []})
            gaps.append(Gap(space.names[index], role, tuple(row["words_found"]), tuple(row["words_missing"])))
    return LabelMatrix(embeddings.schema.field("vector").type.list_size, tuple(coverage), tuple(gaps))


@dataclass(frozen=True)
class RankedLabel:
    """One label's average precision beside that of random scores under the same protocol."""

    name: str
    label_id: str
    positives: int
    negatives: int
    average_precision: float
    chance: float


@dataclass(frozen=True)
class RankedLabels:
    """The labels of one role, best first; only both ends where there are many.

    Attributes:
        best: all of them where `worst` is empty.
        worst: the end of the list, the very worst last.
        left_out: labels between the two.
        without: labels that no test image has, which therefore have no average precision.
    """

    role: str
    best: tuple[RankedLabel, ...]
    worst: tuple[RankedLabel, ...]
    left_out: int
    without: int


def ranked_labels(per_label: pa.Table, each_end: int) -> list[RankedLabels]:
    """The labels of each role by average precision, at most `each_end` from either end."""
    rows = per_label.to_pylist()
    return [
        _ranked(role, of_role, each_end) for role in _ROLES if (of_role := [row for row in rows if row["role"] == role])
    ]


def _ranked(role: str, rows: list[dict], each_end: int) -> RankedLabels:
    scored = [row for row in rows if row["average_precision"] is not None]
    scored.sort(key=lambda row: (-row["average_precision"], row["label_index"]))
    labels = tuple(RankedLabel(**{field.name: row[field.name] for field in fields(RankedLabel)}) for row in scored)
    without = len(rows) - len(labels)
    if len(labels) <= 2 * each_end:
        return RankedLabels(role, labels, (), 0, without)
    return RankedLabels(role, labels[:each_end], labels[-each_end:], len(labels) - 2 * each_end, without)
