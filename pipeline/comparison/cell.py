"""What the runs of a comparison came to, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.metrics.paired import Replicates


@dataclass(frozen=True)
class Cost:
    """What a run took.

    Attributes:
        parameters: numbers that the model holds, learnt or fitted.
        training_s: seconds of the stage train.
        scoring_ms: milliseconds of scoring an image, reading its maps included.
    """

    parameters: int
    training_s: float
    scoring_ms: float


@dataclass(frozen=True)
class Cell:
    """One run of a row.

    Attributes:
        run: folder of the run.
        metrics: content of metrics.json.
        replicates: of its bootstrap.
        labels: average precision by name of the label; None where it has none.
        unseen: names of the unseen labels.
        cost: what it took.
    """

    run: str
    metrics: Mapping[str, Any]
    replicates: Replicates = field(repr=False)
    labels: Mapping[str, float | None] = field(repr=False)
    unseen: frozenset[str]
    cost: Cost


@dataclass(frozen=True)
class Row:
    """What a row came to.

    Attributes:
        title: what it is called.
        published_as: row of the paper's tables that it repeats; None where it repeats none.
        model: its name.
        preset: of the model.
        cells: by seed; empty where the model cannot do the task, or a run failed.
        failure: first line of what a run failed with; None where none did.
        hidden: by seed, fold by fold, how well runs rank labels that they never saw; empty where nothing is chosen.
        settings: of model and training by dotted key, but for the seed; empty where the model cannot do the task.
        changed: those of them to which the user gave other values than the row has by itself.
    """

    title: str
    published_as: str | None
    model: str
    preset: str
    cells: Mapping[int, Cell]
    failure: str | None = None
    hidden: Mapping[int, Sequence[float]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    changed: Sequence[str] = ()
