"""What a comparison consists of: rows, each a model with settings, and their runs."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.config import Config, Variant


@dataclass(frozen=True)
class RowSettings:
    """One row of a comparison.

    Attributes:
        variant: the model with its settings.
        suits: whether the model can do the task of the data set; where it cannot, nothing is run.
        cells: the configuration of the run of each seed; one run for all where nothing of it is drawn.
    """

    variant: Variant
    suits: bool
    cells: Mapping[int, Config]


@dataclass(frozen=True)
class ComparisonSettings:
    """All rows of a comparison.

    Attributes:
        config: the settings that they share.
    """

    config: Config
    rows: tuple[RowSettings, ...]
