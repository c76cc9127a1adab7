"""What a comparison consists of: rows, each a model with settings, and their runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.config import Config, Variant


@dataclass(frozen=True)
class RowSettings:
    """One row of a comparison.

    Attributes:
        variant: the model with its settings.
        suits: whether the model can do the task of the data set; where it cannot, nothing is run.
        cells: the configuration of the run of each seed; one run for all where nothing of it is drawn.
        hidden: for the same seeds, of runs without a fold of the seen labels each, to choose by; empty where nothing is
            chosen.
    """

    variant: Variant
    suits: bool
    cells: Mapping[int, Config]
    hidden: Mapping[int, tuple[Config, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparisonSettings:
    """All rows of a comparison.

    Attributes:
        config: the settings that they share.
    """

    config: Config
    rows: tuple[RowSettings, ...]
