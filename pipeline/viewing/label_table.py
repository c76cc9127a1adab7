"""Average precision by label, of a run or of two beside each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class LabelRow:
    """A label with its figures.

    Attributes:
        ap: of the first run; None where the protocol gives it none.
        other: of the second one; None where there is none, or it has no such label.
        chance: of random scores.
    """

    label_id: str
    index: int
    name: str
    role: str
    positives: int
    ap: float | None
    chance: float | None
    other: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "LabelRow":
        """That of a row of per_label.parquet."""
        names = ("label_id", "label_index", "name", "role", "positives", "average_precision", "chance")
        return cls(*(row[name] for name in names))

    @property
    def gain(self) -> float | None:
        """How much more the first run has than the second."""
        return None if self.ap is None or self.other is None else self.ap - self.other


def label_rows(runs: Sequence[Sequence[LabelRow]], role: str, sort: str, words: str) -> list[LabelRow]:
    """The labels of the first run, beside the second where there is one.

    Args:
        role: of the labels; empty for all.
        sort: by `ap`, `name`, `positives` or `gain`; empty for gain where there are two runs, else AP. Largest first,
            and what has no figure last.
        words: in the names of the labels; empty for all.
    """
    if not runs:
        return []
    rows = list(runs[0])
    if len(runs) > 1:
        others = {row.label_id: row.ap for row in runs[1]}
        rows = [replace(row, other=others.get(row.label_id)) for row in rows]
    rows = [row for row in rows if (not role or row.role == role) and words.casefold() in row.name.casefold()]
    if sort == "name":
        return sorted(rows, key=lambda row: row.name.casefold())
    if sort == "positives":
        return sorted(rows, key=lambda row: -row.positives)
    figure = "gain" if sort == "gain" or (not sort and len(runs) > 1) else "ap"
    return sorted(rows, key=lambda row: (getattr(row, figure) is None, -(getattr(row, figure) or 0.0)))
