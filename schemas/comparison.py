"""What a comparison consists of: rows, each a model with settings, and their runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.config import Config, Variant
from schemas.section import recipe


@dataclass(frozen=True)
class RowSettings:
    """One row of a comparison.

    Attributes:
        variant: the model with its settings.
        suits: whether the model can do the task of the data set; where it cannot, nothing is run.
        cells: the configuration of the run of each seed; one run for all where nothing of it is drawn.
        hidden: for the same seeds, of runs without a fold of the seen labels each, to choose by; empty where nothing is
            chosen.
        changed: settings of model and training, by dotted key, that --set or the environment gave other values than
            the row has by itself.
    """

    variant: Variant
    suits: bool
    cells: Mapping[int, Config]
    hidden: Mapping[int, tuple[Config, ...]] = field(default_factory=dict)
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparisonSettings:
    """All rows of a comparison.

    Attributes:
        config: the settings that they share.
    """

    config: Config
    rows: tuple[RowSettings, ...]


def shaping(config: Config) -> dict[str, Any]:
    """What shapes the model of a row and its training, by dotted key; the seed is that of a run."""
    settings = recipe("model", config.model) | recipe("train", config.train)
    return {key: value for key, value in settings.items() if key != "train.seed"}
